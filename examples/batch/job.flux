#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# A Flux job over cte.  Change the lines marked <--, then: flux batch job.flux
#
# flux: --job-name=cte
# flux: --nodes=1
# flux: --nslots=4
# flux: --time-limit=1h
# SIGTERM to this script two minutes before the limit: time to drain.
# flux: --signal=SIGTERM@120s

program=(./my_program input.nml)    # <-- the MPI program
inputs=()                           # <-- what it reads, to have it in the node's memory first
options=(--drain async)             # <-- of `cte run`; () drains inside each close
slots=4                             # <-- as --nslots

# What this script starts are jobs of their own, with ids of their own: they share one store by name.
export CTE_STORE_NAME=job-${FLUX_JOB_ID//[!A-Za-z0-9._-]/_}

ranks() {
    exec flux run --ntasks="$slots" "$@"
}

# The commands of `flux exec` have the environment of the brokers.
each_node() {
    flux exec --rank=all --dir="$PWD" env PATH="$PATH" CTE_STORE_NAME="$CTE_STORE_NAME" \
        ${CTE_CONFIG:+CTE_CONFIG="$CTE_CONFIG"} "$@"
}

for place in "${CTE_BATCH:-}" "$PWD" "$(dirname "$(command -v cte)")/../share/cte/batch"; do
    [ ! -r "$place/cte-job.sh" ] || break
done
# shellcheck source=examples/batch/cte-job.sh
. "$place/cte-job.sh" || exit 1
run_job

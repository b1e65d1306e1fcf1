# SPDX-License-Identifier: BSD-3-Clause
# To be sourced: runs commands in two directories, with HDF5's default driver and with cte picked by the
# environment alone.  Expects `kind` and `library`, see run_tools; goes to a scratch directory.
# shellcheck shell=bash disable=SC2154
export LC_ALL=C
work=$(mktemp -d "${TMPDIR:-/tmp}/cte-tools.XXXXXX") || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir "$work/store" "$work/stock" "$work/cte" || exit 2
cd "$work" || exit 2
unset CTE_DRAIN CTE_MODE CTE_LOG_LEVEL CTE_CONFIG WRP_RUNTIME_CONF HDF5_DRIVER HDF5_DRIVER_CONFIG
# Settings that tell the store by name are needed by the tool as well.
export CTE_STORE_NAME=tools CTE_STORE_DIRECTORY=$work/store CTE_RAM_CAPACITY=64MiB
failed=0

fail() { echo "FAILED: $*"; failed=1; }

# with CONFIG COMMAND...: runs it on cte with this text as configuration.
with() {
    local config=$1
    shift
    if [ "$kind" = plugin ]; then
        env HDF5_PLUGIN_PATH="$library" HDF5_DRIVER=cte HDF5_DRIVER_CONFIG="$config" "$@"
    else
        env LD_PRELOAD="$library${LD_PRELOAD:+ $LD_PRELOAD}" HDF5_DRIVER_CONFIG="$config" "$@"
    fi
}

# both COMMAND...: in stock/ with the default driver and in cte/ with cte; compares what it says.
both() {
    local a b
    (cd stock && "$@") >stock.out 2>&1 </dev/null
    a=$?
    (cd cte && with '' "$@") >cte.out 2>&1 </dev/null
    b=$?
    [ $a -eq $b ] || fail "$* exits $a, with cte $b: $(head -n 5 cte.out)"
    cmp -s stock.out cte.out || { fail "$* says (< default, > cte):"; diff stock.out cte.out | head; }
}

# same FILE...: both directories hold it with the same bytes.
same() {
    local file
    for file; do
        cmp "stock/$file" "cte/$file" || fail "$file differs"
    done
}

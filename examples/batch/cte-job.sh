# SPDX-License-Identifier: BSD-3-Clause
# The steps of a batch job over cte: stage in, run, drain, recover on failure, clean up.
# Sourced by the job scripts beside it, which say how their batch system starts things:
#
#   ranks COMMAND...      runs a command as the ranks of the job
#   each_node COMMAND...  runs a command once on every node of the job; fails if it failed on one,
#                         and goes on with the others
#   program=(...)         the program and its arguments
#   inputs=(...)          files and directories to bring to the nodes first; may be empty
#   options=(...)         of `cte run`; may be empty
#
# and end with `run_job`, which is the exit status of the job: that of the program; 0 only if all its
# files are complete too.
# shellcheck shell=bash
# shellcheck disable=SC2154 # program, inputs, options: set by who sources this

say() {
    printf 'cte-job: %s\n' "$*" >&2
}

# on_nodes COMMAND...: a command of cte on every node.  Exit status 3 is no failure: there is no store
# on that node, so there is nothing to do.
on_nodes() {
    # shellcheck disable=SC2016 # for the shell on the node
    each_node sh -c 'cte "$@"; status=$?; [ "$status" -ne 3 ] || status=0; exit "$status"' cte "$@"
}

# Near the time limit, or when the job is cancelled, the batch system signals this script: the ranks
# get the signal, and their files are drained as far as the time allows.
forward() {
    say "signal $1: ending the ranks"
    signalled=$1
    kill -s "$1" "$ranks_pid" 2>/dev/null
}

# Waits for the ranks, whatever signals come; their exit status is the result.
wait_for_ranks() {
    local status
    while :; do
        wait "$ranks_pid"
        status=$?
        kill -0 "$ranks_pid" 2>/dev/null || return "$status"
    done
}

run_program() {
    signalled=
    ranks cte run ${options[@]+"${options[@]}"} -- "${program[@]}" &
    ranks_pid=$!
    trap 'forward TERM' TERM
    trap 'forward INT' INT
    wait_for_ranks
}

# Completes the files, and tries harder if the first attempt failed.
complete_files() {
    if [ "$1" -eq 0 ] && on_nodes drain; then
        return 0
    fi
    on_nodes recover
}

run_job() {
    local status=0
    # What cannot be staged in is read from its file: slower, not wrong.
    if [ ${#inputs[@]} -gt 0 ]; then
        on_nodes stage-in "${inputs[@]}" || say "not all inputs are staged in; going on without"
    fi
    run_program || status=$?
    # A second signal must not end what saves the data; the batch system has the last word anyway.
    trap '' TERM INT
    [ "$status" -eq 0 ] || say "the program ended with status $status"
    if complete_files "$status"; then
        on_nodes destroy || say "a store could not be removed; the epilogue will try again"
    else
        say "some data could not be written to its files; it is kept on the nodes, in the store of" \
            "this job: mend the cause and run 'cte recover' there before the nodes are cleaned"
        [ "$status" -ne 0 ] || status=1
    fi
    [ -z "$signalled" ] || [ "$status" -ne 0 ] || status=143
    return "$status"
}

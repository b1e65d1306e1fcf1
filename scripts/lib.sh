# SPDX-License-Identifier: BSD-3-Clause
# What the scripts of this folder share; to be sourced.
# shellcheck shell=bash disable=SC2034
set -u
export LC_ALL=C

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) || exit 2
# Where everything is built; CTE_BUILD_DIRECTORY names another place.
build=${CTE_BUILD_DIRECTORY:-$root/build}
case $build in
/*) ;;
*) build=$PWD/$build ;;
esac
cores=$(nproc)

bold='' red='' green='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\033[1m' red=$'\033[31m' green=$'\033[32m' plain=$'\033[0m'
fi

say() { printf '%s== %s%s\n' "$bold" "$*" "$plain"; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 2; }

# usage: prints the comment at the top of the script, from its third line on.
usage() { awk 'NR < 3 { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$0"; }

# quietly COMMAND...: shows the output only if the command fails, and fails then.
quietly() {
    local log status
    log=$(mktemp "${TMPDIR:-/tmp}/cte-log.XXXXXX") || exit 2
    "$@" >"$log" 2>&1 </dev/null
    status=$?
    [ $status -eq 0 ] || cat "$log" >&2
    rm -f "$log"
    return $status
}

# configure OPTION...: configures the build directory, which keeps the generator that it has.
configure() {
    local generator=(-G Ninja)
    [ -e "$build/CMakeCache.txt" ] && generator=()
    say "Configuring $build"
    quietly cmake -S "$root" -B "$build" "${generator[@]}" "$@" ||
        die "configuring failed, see above"
}

# SPDX-License-Identifier: BSD-3-Clause
# What the tests of the tool share: a store of their own, and what is expected of a command.
# shellcheck shell=bash
set -u
cte=$1
leave_data=$2
work=$(mktemp -d "${TMPDIR:-/tmp}/cte-cli.XXXXXX") || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

mkdir "$work/store" || exit 2
cat >"$work/config.yaml" <<EOF
store: {name: cli, directory: '$work/store'}
storage:
  - {bdev_type: ram, capacity_limit: 8MiB}
EOF
export CTE_CONFIG=$work/config.yaml
unset CTE_STORE_NAME CTE_STORE_DIRECTORY CTE_DRAIN CTE_MODE CTE_LOG_LEVEL
store=$work/store/cte-$(id -u)-cli
failed=0

# Before commands: as a user who may not open files by their handles, as most. Such a user cannot tell a
# file that was deleted from one that was moved to another directory; `doubt` is 0 if there is none here.
plain=() doubt=1
if [ "$(id -u)" -eq 0 ]; then
    plain=(setpriv --bounding-set -dac_read_search)
    "${plain[@]}" true 2>/dev/null || { plain=() doubt=0; }
fi
mkdir "$work/away"

# expect STATUS COMMAND...: runs it; what it prints goes to $work/out and $work/err.
expect() {
    local wanted=$1 status=0
    shift
    "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
    [ "$status" -eq "$wanted" ] && return
    echo "FAILED: $* exits $status instead of $wanted"
    cat "$work/out" "$work/err"
    failed=1
}

# says PATTERN: the last command printed a line that matches.
says() {
    grep -Eq -- "$1" "$work/out" "$work/err" && return
    echo "FAILED: no line matches '$1' in:"
    cat "$work/out" "$work/err"
    failed=1
}

# says_not PATTERN
says_not() {
    grep -Eq -- "$1" "$work/out" "$work/err" || return 0
    echo "FAILED: a line matches '$1' in:"
    cat "$work/out" "$work/err"
    failed=1
}

# holds WORDS...: a condition
holds() {
    "$@" && return
    echo "FAILED: $*"
    failed=1
}

# json: what was printed is JSON, as far as this machine can tell.
json() {
    command -v python3 >/dev/null || return 0
    python3 -m json.tool <"$work/out" >/dev/null && return
    echo "FAILED: not JSON:"
    cat "$work/out"
    failed=1
}

gone() {
    holds test ! -e "$store"
}

# in_segment PATTERN: prints FILE:OFFSET: of the first match in the segment, a large file of which
# little has memory.
in_segment() {
    perl -e '
        my ($pattern, $file) = @ARGV;
        my ($at, $bytes) = (0);
        open(my $segment, "<:raw", $file) or die "$file: $!";
        while (my $data = sysseek($segment, $at, 3)) { # SEEK_DATA
            $at = sysseek($segment, $data, 4);         # SEEK_HOLE
            sysseek($segment, $data, 0);
            sysread($segment, $bytes, $at - $data);
            print("$file:", $data + $-[0], ":\n"), exit if $bytes =~ /$pattern/;
        }' "$1" "$store/segment"
}

# overwrite PATTERN BYTE: puts a byte where a line that matches begins in the store, of which
# small blobs are in the segment and large ones in the RAM target; the place is in $place for
# another time.
overwrite() {
    [ -z "$1" ] || place=$({ grep -raobE -- "$1" "$store/ram.0" ||
        in_segment "$1"; } | head -n 1)
    [ -n "$place" ] || { echo "FAILED: '$1' is not stored"; failed=1; return; }
    local file=${place%%:*} offset=${place#*:}
    printf '%s' "$2" | dd of="$file" bs=1 seek="${offset%%:*}" conv=notrunc status=none
}

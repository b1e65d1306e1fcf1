# SPDX-License-Identifier: BSD-3-Clause
# bash completion for cte(1).  The words come from the tool itself: `cte help --words`.
# shellcheck shell=bash

# The command, and the words behind it that are neither options nor look like the value of one; of
# those that stand before the cursor.
_cte_command() {
    local i word seen=no
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
        -C | --config) ((i++)) ;;
        -*) ;;
        *)
            [ "$seen" = no ] || [[ ${COMP_WORDS[i - 1]} != -?* ]] || continue
            printf '%s\n' "$word"
            seen=yes
            ;;
        esac
    done
}

# Tags, and files that the store knows.
_cte_names() {
    "${COMP_WORDS[0]}" ls 2>/dev/null | sed -nE 's/^ +[^A-Z]+ (yes|no) +(yes|no) +[a-z]+ +//p
        s/^ +[0-9.]+ [KMGTPE]?i?B +[0-9]+  //p'
}

_cte() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local line words=() command=() asked
    COMPREPLY=()
    while IFS= read -r line; do
        command+=("$line")
    done < <(_cte_command)
    # What a program that is run takes is the program's.
    if [ "${command[0]-}" = run ] && [ "${#command[@]}" -gt 1 ]; then
        compopt -o default
        return
    fi
    asked=("${command[@]:0:2}")
    [[ $previous != -* ]] || asked+=("$previous")
    while IFS= read -r line; do
        words+=("$line")
    done < <("${COMP_WORDS[0]}" help --words -- "${asked[@]}" 2>/dev/null)
    case ${command[0]-} in
    ls | stat | put | get | rm | mv | drain)
        while IFS= read -r line; do
            words+=("$line")
        done < <(_cte_names)
        ;;
    esac
    # Files, where nothing else fits.
    compopt -o default
    while IFS= read -r line; do
        COMPREPLY+=("$line")
    done < <(compgen -W "$(printf '%q ' "${words[@]}")" -- "$current")
}
complete -F _cte cte

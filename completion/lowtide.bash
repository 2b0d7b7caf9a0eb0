# bash completion of lowtide. What can follow is asked of the command itself, so that it never is out of date.
_lowtide() {
    local word=${COMP_WORDS[COMP_CWORD]} last=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[0]} i
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W "$("$command" --help 2>/dev/null | sed -n 's/^  \([a-z]*\)  .*/\1/p')" -- "$word")
        return
    fi
    for ((i = 2; i < COMP_CWORD; i++)); do
        [[ ${COMP_WORDS[i]} == -- ]] || continue
        if declare -F _command_offset >/dev/null; then
            _command_offset $((i + 1))
        elif ((i + 1 == COMP_CWORD)); then
            mapfile -t COMPREPLY < <(compgen -c -- "$word")
        else
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
        fi
        return
    done
    case $last in
    --with) mapfile -t COMPREPLY < <(compgen -W "glibc glibc-tuned jemalloc mimalloc tcmalloc lowtide all" -- "$word") ;;
    --out) mapfile -t COMPREPLY < <(compgen -d -- "$word") ;;
    --set) mapfile -t COMPREPLY < <(compgen -S = -W "$("$command" options 2>/dev/null |
        sed -n 's/^LOWTIDE_\([A-Z_]*\) .*/\L\1/p')" -- "$word"); compopt -o nospace ;;
    *) mapfile -t COMPREPLY < <(compgen -W "-- $("$command" "${COMP_WORDS[1]}" --help 2>/dev/null |
        grep -oE -- '(^|[ ,])--?[a-zA-Z][a-z-]*' | tr -d ' ,' | sort -u)" -- "$word") ;;
    esac
}
complete -F _lowtide lowtide

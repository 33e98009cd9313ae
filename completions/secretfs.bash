# bash completion for secretfs; `secretfs __complete` knows what can stand where.
_secretfs()
{
    local words=() word cut="" line directive=0 i
    # bash cuts words at "=" and ":", as COMP_WORDBREAKS says: put them together again
    for ((i = 1; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if ((${#words[@]} > 0)) && [[ $word == [=:]* || ${COMP_WORDS[i-1]} == *[=:] ]]; then
            words[-1]+=$word
        else
            words+=("$word")
        fi
    done
    # and leave out of the candidates what bash has cut off
    word=${words[-1]}
    cut=${word%"${COMP_WORDS[COMP_CWORD]}"}
    [[ ${COMP_WORDS[COMP_CWORD]} == [=:] ]] && cut=$word

    COMPREPLY=()
    while IFS= read -r line; do
        if [[ $line == :* ]]; then
            directive=${line#:}
        else
            COMPREPLY+=("$(printf '%q' "${line#"$cut"}")")
        fi
    done < <("${COMP_WORDS[0]}" __complete "${words[@]}" 2>/dev/null)

    ((directive & 2)) && compopt -o nospace
    if ((${#COMPREPLY[@]} == 0)); then
        ((directive & 16)) && compopt -o plusdirs
        ((directive & 20)) || compopt -o default
    fi
}
complete -F _secretfs secretfs

#!/bin/sh
# Completion of command lines, out of what each program says of itself (--completion, and the usage line of --help).
#
#   completions.sh bash|zsh PROGRAM...    prints the script for that shell
set -eu
shell=$1
shift

# The words that stand for themselves in a usage line: "ls|stat|cat [FILE...]" gives ls, stat, cat.
words() { "$1" --help | sed -n 's/^Usage: [^ ]* \[OPTION\.\.\.\]//p' | tr '| ' '\n\n' | grep -E '^[a-z]+$' | tr '\n' ' ' || true; }
summary() { "$1" --help | sed -n '1s/^[^ ]* - //p'; }

bash_script() {
    echo '# bash completion for assay, made from the option tables of its programs.'
    echo '_assay_words() {'
    echo '    case $1 in'
    for program in "$@"; do
        printf "    %s) echo '%s%s' ;;\n" "${program##*/}" "$(words "$program")" \
            "$("$program" --completion | awk -F '\t' '{ printf " --%s", $1; if ($2 != "-") printf " -%s", $2 }')"
    done
    printf '    esac\n}\n# What the value of an option can be: file, a list of words, or none where nobody can know; "flag" has no value.\n'
    printf '_assay_value() {\n    case "$1 $2" in\n'
    for program in "$@"; do
        "$program" --completion | awk -F '\t' -v tool="${program##*/}" '{
            gsub(/\|/, " ", $5)
            letter = $2 == "-" ? "" : "|\"" tool " -" $2 "\""
            printf "    \"%s --%s\"%s) echo \"%s\" ;;\n", tool, $1, letter, $3 == "-" ? "flag" : $5 == "-" ? "none" : $5
        }'
    done
    cat << 'END'
    *) echo flag ;;
    esac
}
_assay_tool() {
    local tool=$1 word=${COMP_WORDS[COMP_CWORD]} option=${COMP_WORDS[COMP_CWORD - 1]} value
    [[ $word == '=' ]] && word=
    [[ $option == '=' ]] && option=${COMP_WORDS[COMP_CWORD - 2]}
    value=$(_assay_value "$tool" "$option")
    case $value in
    none) COMPREPLY=() ;;
    flag)
        COMPREPLY=($(compgen -W "$(_assay_words "$tool")" -- "$word"))
        [[ $word == -* ]] || { compopt -o filenames; COMPREPLY+=($(compgen -f -- "$word")); }
        ;;
    file) compopt -o filenames; COMPREPLY=($(compgen -f -- "$word")) ;;
    *) COMPREPLY=($(compgen -W "$value" -- "$word")) ;;
    esac
}
_assay_plain() { _assay_tool "${1##*/}"; }
END
    names=
    for program in "$@"; do names="$names${names:+ }${program##*/}"; done
    cat << END
_assay() {
    if ((COMP_CWORD == 1)); then
        COMPREPLY=(\$(compgen -W '$names help env --help --version' -- "\${COMP_WORDS[1]}"))
    elif [[ \${COMP_WORDS[1]} == help ]]; then
        COMPREPLY=(\$(compgen -W '$names' -- "\${COMP_WORDS[COMP_CWORD]}"))
    else
        _assay_tool "\${COMP_WORDS[1]}"
    fi
}
complete -F _assay assay
# The plain names, where they are these programs.
for _assay_name in $names; do
    case \$(type -P \$_assay_name) in */libexec/assay/*) complete -F _assay_plain \$_assay_name ;; esac
done
unset _assay_name
END
}

zsh_script() {
    echo '#compdef assay'
    echo '# zsh completion for assay, made from the option tables of its programs.'
    echo '_assay() {'
    echo '    local -a tools'
    echo '    tools=('
    for program in "$@"; do printf "        '%s:%s'\n" "${program##*/}" "$(summary "$program" | sed "s/'/'\\\\''/g; s/:/\\\\:/g")"; done
    printf "        'help:the manual of a tool'\n        'env:the tools by their plain names'\n    )\n"
    cat << 'END'
    if ((CURRENT == 2)); then
        _describe tool tools
        return
    fi
    shift words
    ((CURRENT--))
    case $words[1] in
    help) _describe tool tools ;;
END
    for program in "$@"; do
        operand=$(words "$program")
        printf '    %s)\n        _arguments -s -S \\\n' "${program##*/}"
        "$program" --completion | awk -F '\t' '{
            help = $4
            gsub(/\047/, "\047\\\047\047", help)
            gsub(/\[/, "\\[", help)
            gsub(/\]/, "\\]", help)
            gsub(/:/, "\\:", help)
            action = $5 == "file" ? "_files" : $5 == "-" ? " " : "(" $5 ")"
            gsub(/\|/, " ", action)
            value = $3 == "-" ? "" : ":" $3 ":" action
            if ($2 == "-") printf "            \047--%s[%s]%s\047 \\\n", $1, help, value
            else printf "            \047(-%s --%s)\047{-%s,--%s}\047[%s]%s\047 \\\n", $2, $1, $2, $1, help, value
        }'
        [ -z "$operand" ] || printf "            '1:operand:(%s)' \\\\\n" "${operand% }"
        printf "            '*:file:_files'\n        ;;\n"
    done
    printf '    esac\n}\n_assay "$@"\n'
}

case $shell in
bash) bash_script "$@" ;;
zsh) zsh_script "$@" ;;
*) echo "completions.sh: bash or zsh, '$shell' found" >&2; exit 2 ;;
esac

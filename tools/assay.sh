#!/bin/sh
# assay TOOL ...: finds assay's programs, which are kept apart because names such as fetch and report are common.
set -eu

here=$(dirname -- "$(readlink -f -- "$0")")
programs=$here/../libexec/assay
tree=
[ -d "$programs" ] || { programs=$here tree=$here/..; }  # in the source tree
programs=$(cd -- "$programs" && pwd)

case ${1-} in
'' | -h | --help)
    cat << END
assay - what a vision classifier leaks and withstands

Usage: assay TOOL [OPTION...] [OPERAND...]
       assay help [TOOL]     the manual of a tool
       eval "\$(assay env)"   the tools by their plain names, in this shell

Tools:
@TOOLS@
END
    [ $# -gt 0 ] || exit 2
    ;;
--version) echo "assay @VERSION@" ;;
help)
    case ${2-} in
    '' | assay) page=assay.7 name=assay ;;
    *) page=$2.1 name=assay-$2 ;;
    esac
    case $page in
    */*) ;;
    *) [ -z "$tree" ] || [ ! -r "$tree/man/$page" ] || exec man -l "$tree/man/$page" ;;
    esac
    exec man "${page##*.}" "$name"
    ;;
env)
    printf 'PATH="%s:$PATH"; export PATH\n' "$programs"
    completion=$here/../share/bash-completion/completions/assay
    [ ! -r "$completion" ] || printf '[ -z "${BASH_VERSION-}" ] || . "%s"\n' "$(readlink -f -- "$completion")"
    ;;
*)
    tool=$1
    shift
    case $tool in
    -* | */* | assay) found=no ;;
    *) [ -x "$programs/$tool" ] && found=yes || found=no ;;
    esac
    if [ $found = no ]; then
        echo "assay: no tool '$tool'; assay --help lists them" >&2
        exit 2
    fi
    exec "$programs/$tool" "$@"
    ;;
esac

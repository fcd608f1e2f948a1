# Completion scripts: made from the programs, loaded and asked.

setup_file() {
    export SCRIPTS="$BATS_FILE_TMPDIR"
    tools="$(find bin -type f -perm -1 ! -name assay | sort)"
    tools/completions.sh bash $tools > "$SCRIPTS/assay"
    tools/completions.sh zsh $tools > "$SCRIPTS/_assay"
}

# ask WORD... prints what bash would offer for the last word.
ask() {
    bash -c '
        . "$SCRIPTS/assay"
        compopt() { :; }  # outside of a real completion it has nothing to change
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _assay assay
        printf "%s\n" "${COMPREPLY[@]}"' ask "$@" | sort | tr '\n' ' '
}

@test "bash takes the script" { bash -n "$SCRIPTS/assay"; }

@test "zsh takes the script" {
    command -v zsh > /dev/null || skip "zsh is not installed"
    zsh -n "$SCRIPTS/_assay"
}

@test "tools, options, choices and files are offered" {
    cd "$BATS_TEST_TMPDIR"
    touch some.st
    [[ "$(ask assay '')" == *"fetch "*"tensor "*"trainclf "* ]]
    [ "$(ask assay tr)" = "trainclf " ]
    [ "$(ask assay fetch --spl)" = "--split " ]
    [ "$(ask assay fetch --split te)" = "test " ]
    [ "$(ask assay fetch --split = ex)" = "extra " ]
    [ "$(ask assay trainclf --optimiser '')" = "adam adamw sgd " ]
    [ "$(ask assay trainclf -i so)" = "some.st " ]
    [ "$(ask assay trainclf --epochs '')" = " " ]
    [ "$(ask assay tensor ver)" = "verify " ]
    [ "$(ask assay tensor verify so)" = "some.st " ]
}

@test "every option of every program is in both scripts" {
    for tool in bin/*; do
        name=${tool#bin/}
        [ "$name" != assay ] || continue
        for option in $("$tool" --completion | cut -f 1); do
            echo "$name --$option"
            [ "$(ask assay "$name" "--$option" | tr ' ' '\n' | grep -cx -- "--$option")" -eq 1 ]
            sed -n "/^    $name)/,/;;/p" "$SCRIPTS/_assay" | grep -q -- "--$option"
        done
    done
}

# make install and uninstall: what lands where, the dispatcher, manuals, completions, the library.

setup_file() {
    export PLACE="$BATS_FILE_TMPDIR/place with a blank"
    make --no-print-directory install DESTDIR="$BATS_FILE_TMPDIR/stage" PREFIX=/usr > "$BATS_FILE_TMPDIR/log" 2>&1
    # Where it would end up; nothing in it knows its path but the pkg-config file.
    mkdir "$PLACE"
    cp -r "$BATS_FILE_TMPDIR/stage/usr/." "$PLACE/"
    tools="$(find bin -type f -perm -1 ! -name assay -printf '%f\n' | sort)"
    export tools
}

setup() {
    PATH="$PLACE/bin:/usr/bin:/bin"
    cd "$BATS_TEST_TMPDIR"
}

@test "bin holds the dispatcher alone" {
    [ "$(ls "$PLACE/bin")" = assay ]
    [ "$(ls "$PLACE/libexec/assay")" = "$tools" ]
}

@test "assay TOOL passes arguments, streams and exit status" {
    assay fetch -q synthetic --count 12 -o set.st
    [ "$(assay tensor cat --blob set.st | assay tensor ls -q | head -1 | grep -c dataset)" -eq 1 ]
    run assay fetch
    [ "$status" -eq 2 ]
    run assay tensor ls missing.st
    [ "$status" -eq 4 ]
}

@test "assay lists its tools, and refuses what is none" {
    for tool in $tools; do
        assay --help | grep -q "^  assay $tool - "
    done
    for word in nothing assay ../../bin/assay --nothing; do
        run assay "$word"
        [ "$status" -eq 2 ]
        [[ "$output" == "assay: no tool '$word'"* ]]
    done
    [[ "$(assay --version)" == "assay "[0-9]* ]]
}

@test "assay help shows the manual, in the source tree too" {
    mkdir programs
    printf '#!/bin/sh\necho "$*"\nfor page; do :; done\n[ "$1" != -l ] || [ -r "$page" ]\n' > programs/man
    chmod +x programs/man
    PATH="$PWD/programs:$PATH"
    [ "$(assay help)" = "7 assay" ]
    [ "$(assay help fetch)" = "1 assay-fetch" ]
    tree="$(cd "$BATS_TEST_DIRNAME/../.." && pwd)"
    for tool in $tools; do
        [[ "$("$tree/bin/assay" help "$tool")" == "-l $tree/"*"/man/$tool.1" ]]
    done
    [[ "$("$tree/bin/assay" help)" == "-l $tree/"*"/man/assay.7" ]]
    [ "$("$tree/bin/assay" help nothing)" = "1 assay-nothing" ]
}

@test "assay env puts the plain names on PATH" {
    [ "$(sh -c 'eval "$(assay env)"; command -v fetch')" = "$PLACE/libexec/assay/fetch" ]
    [ "$(bash -c 'eval "$(assay env)"; complete -p trainclf')" = "complete -F _assay_plain trainclf" ]
    [ "$(bash -c 'eval "$(assay env)"; complete -p assay')" = "complete -F _assay assay" ]
}

@test "a link to the dispatcher works" {
    mkdir links
    ln -s "$PLACE/bin/assay" links/assay
    links/assay fetch --version
}

@test "manuals are installed as assay-TOOL and refer to each other so" {
    for tool in $tools; do
        file="$PLACE/share/man/man1/assay-$tool.1"
        [ -s "$file" ]
        # The new names stand in another order of the alphabet; nothing else has changed.
        [ "$(mandoc -T lint -W warning "$file" | grep -v 'unusual Xr order')" = "" ]
        ! grep -E "^\.Xr ($(tr '\n' '|' <<< "$tools" | sed 's/|$//')) 1" "$file"
    done
    [ -s "$PLACE/share/man/man5/blob.5" ]
    [ -s "$PLACE/share/man/man7/assay.7" ]
}

@test "the example compiles with pkg-config's words alone and runs" {
    export PKG_CONFIG_PATH="$PLACE/lib/pkgconfig"
    eval "gcc -Wall -Werror '$PLACE/share/doc/assay/histogram.c' $(pkg-config --define-variable=prefix="$(sed 's/ /\\ /g' <<< "$PLACE")" --cflags --libs assay) -o histogram"
    [ "$(assay fetch -q synthetic --count 20 --classes 3 | ./histogram counts.st)" = "0 7
1 7
2 6" ]
    assay tensor verify counts.st
    [ "$(assay tensor ls -q counts.st | grep -c '^  counts ')" -eq 1 ]
    [ "$(wc -l < "$PLACE/share/doc/assay/histogram.c")" -le 45 ]
}

@test "uninstall leaves no file" {
    make -C "$BATS_TEST_DIRNAME/../.." --no-print-directory uninstall DESTDIR="$BATS_FILE_TMPDIR/stage" PREFIX=/usr > log
    [ "$(find "$BATS_FILE_TMPDIR/stage" -type f)" = "" ]
}

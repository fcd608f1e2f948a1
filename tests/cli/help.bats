# What a program says of itself against its manual: options, defaults, choices, examples, references.

tools() { find bin -type f -perm -1 ! -name assay -printf '%f\n' | sort; }

page() { mandoc -T ascii -O width=500 "man/$1" | sed 's/.\x08//g'; }

# One line for each item of OPTIONS: long name, letter, argument, text; tab-separated as --completion has it.
manual_options() {
    page "$1.1" | awk '
        function flush() { if (name != "") print name "\t" letter "\t" argument "\t" text; name = "" }
        /^[A-Z]/ { flush(); inside = $1 == "OPTIONS"; next }
        !inside { next }
        /^     -/ {
            flush()
            letter = $1 ~ /^-[A-Za-z0-9],$/ ? substr($1, 2, 1) : "-"
            name = letter == "-" ? $1 : $2
            argument = letter == "-" ? $2 : $3
            text = $0
            # A short item has its text on the same line, after a gap.
            if (match(substr($0, 6), /  +/)) {
                head = substr($0, 6, RSTART - 1)
                n = split(head, word, " ")
                argument = letter == "-" ? word[2] : word[3]
            }
            sub(/^--/, "", name)
            if (argument == "") argument = "-"
            next
        }
        { text = text " " $0 }
        END { flush() }'
}

@test "every program has a manual, every manual of section 1 a program, with the same summary" {
    for tool in $(tools); do
        echo "$tool"
        [ "$(sed -n 's/^\.Nd //p' "man/$tool.1")" = "$("$tool" --help | sed -n "1s/^$tool - //p")" ]
    done
    for file in man/*.1; do
        tool=$(basename "$file" .1)
        echo "$tool"
        # While the programs are built in pieces, a page may come before its program: the source decides.
        [ -x "bin/$tool" ] || [ ! -e "tools/$tool.c" ]
    done
}

@test "manuals list the options that programs take, with letters and arguments" {
    for tool in $(tools); do
        diff <("$tool" --completion | cut -f 1-3 | sort) <(manual_options "$tool" | cut -f 1-3 | sort) | sed "s/^/$tool: /" >&2
        [ "${PIPESTATUS[0]}" -eq 0 ]
    done
}

@test "manuals state the defaults that programs have" {
    wrong=0
    for tool in $(tools); do
        while IFS=$'\t' read -r name letter argument help values default; do
            [ "$default" != - ] || continue
            text=$(manual_options "$tool" | awk -F '\t' -v name="$name" '$1 == name { print $4 }')
            # The value itself, in a sentence that calls it the default.
            if ! grep -qi default <<< "$text" || ! tr -s ' ,;:()' '\n' <<< "$text" | sed 's/\.$//' | grep -qxF -- "${default%%,*}"; then
                echo "$tool --$name: default $default; the manual has: $text"
                wrong=$((wrong + 1))
            fi
        done < <("$tool" --completion)
    done
    [ $wrong -eq 0 ]
}

@test "manuals name every choice of an option" {
    wrong=0
    for tool in $(tools); do
        while IFS=$'\t' read -r name letter argument help values default; do
            [[ $values == *'|'* ]] || continue
            text=$(manual_options "$tool" | awk -F '\t' -v name="$name" '$1 == name { print $4 }')
            for word in ${values//|/ }; do
                tr -s ' ,;:()' '\n' <<< "$text" | sed 's/\.$//' | grep -qxF -- "$word" || { echo "$tool --$name: $word is not in: $text"; wrong=$((wrong + 1)); }
            done
        done < <("$tool" --completion)
    done
    [ $wrong -eq 0 ]
}

@test "examples of --help stand in the manual" {
    for tool in $(tools); do
        page "$tool.1" | sed -n '/^EXAMPLES/,/^[A-DF-Z]/p' | sed 's/^ *//' > "$BATS_TEST_TMPDIR/examples"
        "$tool" --help | sed -n '/^Examples:/,/^$/p' | sed '1d; /^$/d; s/^ *//' > "$BATS_TEST_TMPDIR/lines"
        [ -s "$BATS_TEST_TMPDIR/lines" ]
        while IFS= read -r line; do
            echo "$tool: $line"
            grep -qxF -- "$line" "$BATS_TEST_TMPDIR/examples"
        done < "$BATS_TEST_TMPDIR/lines"
    done
}

@test "a manual refers to pages that there are, and to those that --help names" {
    for file in man/*.[0-9]; do
        while read -r name section; do
            echo "$file: $name($section)"
            # Programs of others that our pages speak of.
            case "$name" in curl | gnuplot | parallel | sh | man | make) continue ;; esac
            [ -e "man/$name.$section" ]
        done < <(sed -nE 's/^\.Xr ([^ ]+) ([0-9]).*/\1 \2/p' "$file")
    done
    for tool in $(tools); do
        for word in $("$tool" --help | sed -n 's/^See also: //p' | tr -d ,); do
            echo "$tool: $word"
            grep -qF -- ".Xr ${word%(*} $(tr -dc 0-9 <<< "${word##*(}")" "man/$tool.1"
        done
    done
}

@test "--help and --version go to standard output; mistakes to the other, with status 2" {
    for tool in $(tools); do
        echo "$tool"
        [ "$("$tool" --help 2>&1 > /dev/null)" = "" ]
        [[ "$("$tool" --version)" == "$tool (assay) "* ]]
        status=0
        "$tool" --no-such-option > "$BATS_TEST_TMPDIR/out" 2> "$BATS_TEST_TMPDIR/err" || status=$?
        [ "$status" -eq 2 ]
        [ ! -s "$BATS_TEST_TMPDIR/out" ]
        grep -q -- --help "$BATS_TEST_TMPDIR/err"
    done
}

@test "the README's table names every program" {
    for tool in $(tools); do
        echo "$tool"
        grep -qF "| \`$tool\` |" README.md
    done
}

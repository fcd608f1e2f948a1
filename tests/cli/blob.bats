# Blobs as the command line sees them: what is refused, with which status and words, and what is left behind.

setup() {
    cd "$BATS_TEST_TMPDIR"
    TESTS="$BATS_TEST_DIRNAME/.."
    make_blob() { python3 "$TESTS/make_blob.py" "$@"; }
    read_blob() { python3 "$TESTS/reader.py" "$@"; }
    make_blob a.st '{"assay.kind": "dataset", "assay.record": {"config": {"classes": 2}}}' \
        '{"x": ["U8", [4, 1, 1, 2], [0, 1, 2, 3, 4, 5, 6, 7]], "y": ["I64", [4], [0, 1, 0, 1]]}'
}

# Runs, expecting status 3, no output on stdout and these words on stderr.
refuses() {
    local words="$1"
    shift
    local status=0
    "$@" > out.txt 2> err.txt || status=$?
    [ "$status" -eq 3 ]
    [ ! -s out.txt ]
    grep -qF -- "$words" err.txt
}

@test "the check values of blob(5)" {
    make_blob c.st '{"assay.kind": "dataset"}' '{"a": ["F32", [], [1.5]], "x": ["U8", [3], [1, 2, 3]]}'
    tensor verify c.st | grep -qF 4b2af574165e0415d54f59bf43cc550c042fa2ede90efd2d07e92212f7f68f05
    PYTHONPATH="$TESTS" python3 -c '
import reader
assert reader.seal({"assay.kind": "dataset", "assay.digest":
    "4b2af574165e0415d54f59bf43cc550c042fa2ede90efd2d07e92212f7f68f05"}) == \
    "c279d88d6d5177bddada0051a9c48aee8d3ce63774e37f86c350c65c52db76f6"'
}

@test "a cut file is named with what was expected and what is there" {
    head -c -3 a.st > cut.st
    refuses "cut.st: 8 bytes of x expected, 5 there" tensor ls cut.st
    head -c 100 a.st > cut.st
    refuses "bytes of header expected, 92 there" tensor ls cut.st
    head -c -3 a.st | refuses "standard input: 8 bytes of x expected, 5 there" tensor ls -
    : > empty.st
    refuses "empty.st: a blob expected, nothing found" tensor ls empty.st
}

@test "one byte changed in the data or in the metadata is noticed" {
    python3 - << 'END'
raw = bytearray(open("a.st", "rb").read())
raw[-1] ^= 1
open("data.st", "wb").write(raw)
raw[-1] ^= 1
at = raw.index(b"dataset")
raw[at:at + 7] = b"datasex"
open("meta.st", "wb").write(raw)
END
    refuses "data.st: the digest does not match" tensor verify data.st
    refuses "meta.st: the seal does not match" tensor verify meta.st
}

@test "a program that takes one blob refuses what follows it, from a file and from a pipe" {
    cat a.st a.st > two.st
    refuses "one blob expected, more bytes follow it" tensor cut --rows 0:1 two.st -o out.st
    [ ! -e out.st ]
    cat two.st | refuses "one blob expected, more bytes follow it" tensor cut --rows 0:1 -o out.st
    [ ! -e out.st ]
    [ "$(tensor ls -q two.st | grep -c 'two.st: dataset')" -eq 2 ]
    [ "$(cat two.st | tensor ls -q | grep -c 'standard input: dataset')" -eq 2 ]
}

@test "gzip is undone without asking" {
    gzip -kn a.st
    tensor cmp a.st a.st.gz
    gzip -dc < a.st.gz | tensor cmp a.st -
    head -c -4 a.st.gz > cut.gz
    refuses "gzip data stops early" tensor cut --rows 0:1 cut.gz
}

@test "a refused input leaves no output and an old output stays" {
    head -c -3 a.st > cut.st
    echo old > out.st
    refuses "bytes of x expected" tensor cut --rows 0:1 cut.st -o out.st
    [ "$(cat out.st)" = old ]
    [ "$(ls -A | grep -c part)" -eq 0 ]
}

@test "a full disk is status 4" {
    run tensor cut --rows 0:1 a.st -o /dev/full
    [ "$status" -eq 4 ]
    run bash -c 'tensor cat --raw a.st > /dev/full'
    [ "$status" -eq 4 ]
}

@test "what a later version or somebody else adds is kept; a later major version is refused" {
    make_blob k.st '{"assay.kind": "dataset", "assay.version": "1.4", "assay.later": "kept", "mine": "too"}' \
        '{"x": ["U8", [2, 1, 1, 1], [1, 2]], "y": ["I64", [2], [0, 1]]}'
    tensor cut --tensors x,y k.st -o cut.st
    read_blob cut.st
    tensor ls --json cut.st | grep -qF '"assay.later":"kept"'
    tensor ls --json cut.st | grep -qF '"mine":"too"'
    make_blob k.st '{"assay.version": "2"}' '{}'
    refuses "assay.version: 1 expected, 2 found" tensor ls k.st
}

@test "names and texts cannot speak to the terminal" {
    make_blob evil.st '{"k\u001b[2J": "v\u001b[2J", "assay.kind": "\u001b[31m",
        "assay.record": {"config": {"a\u001b": "\u001bc"}, "x\u001b": 1, "notes": ["\u001b"]},
        "assay.lineage": [1, "\u001b", [], {"program": "\u001b[0m", "version": 3, "inputs": 7, "options": [1], "seed": {}},
                          {"options": {"\u001b": "\u001b"}, "inputs": ["\u001b", {}]}]}' \
        '{"t\u001b[2J": ["U8", [1], [1]]}'
    for command in ls stat cat verify 'cut --rows 0:1'; do
        tensor $command evil.st > out.txt 2> err.txt
        [ "$command" = 'cut --rows 0:1' ] || [ "$(cat out.txt err.txt | grep -c $'\033')" -eq 0 ]
    done
    refuses 'tensor y expected, t?[2J found' tensor npy -t y evil.st
}

@test "a plain safetensors file is read, and gets a seal when it is written again" {
    make_blob plain.st null '{"w": ["F32", [2], [1, 2]]}'
    tensor ls plain.st | grep -q 'plain safetensors, 1 tensor, 8 bytes'
    tensor verify plain.st | grep -q 'readable, but has no seal'
    tensor cat --blob plain.st > sealed.st
    read_blob sealed.st
    tensor verify sealed.st | grep -q good
    tensor cmp plain.st sealed.st
}

# An independent reader of blobs (tests/reader.py: Python's standard library alone) agrees on what programs write.

setup_file() {
    cd "$BATS_FILE_TMPDIR"
    fetch -q synthetic --count 60 --classes 4 --size 3x8x8 -o set.st
    fetch -q synthetic --count 60 --classes 4 --size 3x8x8 --subset random-half:7 -o half.st
    trainclf -q -i set.st --test half.st --arch "conv 4 3 | relu | norm batch | flatten | linear 4" --epochs 1 --checkpoint check.st -o model.st
    tensor release -q model.st -o released.st
    tensor cut -q --parts 3 set.st > parts.st
    tensor join -q parts.st -o joined.st
    [ ! -x "$BATS_TEST_DIRNAME/../../bin/attack" ] || attack -q model.st -i set.st --eps .1 -o attack.st
}

setup() {
    cd "$BATS_FILE_TMPDIR"
    READER="$BATS_TEST_DIRNAME/../reader.py"
}

@test "files of every kind are what blob(5) says" {
    for file in *.st; do
        echo "$file"
        python3 "$READER" --record "$file"
    done
    [ "$(python3 "$READER" parts.st | grep -c '^#')" -eq 3 ]
}

@test "pipes carry the same" {
    cat set.st model.st | python3 "$READER" - > both
    [ "$(grep -c '^#' both)" -eq 2 ]
    gzip -c set.st | tensor cat --blob -q | python3 "$READER" - | sed '1d' > piped
    python3 "$READER" set.st | sed '1d' > direct
    cmp piped direct
}

@test "both readers list the same tensors and digests" {
    for file in set.st half.st model.st released.st joined.st; do
        python3 "$READER" "$file" > theirs
        digest=$(sed -n '1s/.* //p' theirs)
        echo "$file $digest"
        tensor ls -q --full "$file" | grep -qF "$digest"
        tensor verify "$file" | grep -qF "$digest"
        # NAME DTYPE [SHAPE]
        sed '1d' theirs | while read -r name dtype shape; do
            tensor ls -q "$file" | grep -F "$name" | grep -F "$dtype" | grep -qF "$shape"
        done
    done
}

@test "the reader refuses what is damaged" {
    python3 -c '
data = bytearray(open("set.st", "rb").read())
data[-1] ^= 1
open("bad", "wb").write(data)
open("short", "wb").write(data[:-1])'
    for file in bad short; do
        run python3 "$READER" "$file"
        [ "$status" -eq 1 ]
        run tensor verify "$file"
        [ "$status" -eq 3 ]
    done
}

# attack: what it writes, the same bytes every time, gates, refusals.

bats_require_minimum_version 1.5.0

setup_file() {
    export DATA="$BATS_FILE_TMPDIR"
    fetch -q synthetic --count 300 --size 1x12x12 --seed 1 -o "$DATA/train.st"
    fetch -q synthetic --count 60 --size 1x12x12 --seed 2 --split test -o "$DATA/test.st"
    fetch -q synthetic --count 60 --size 1x12x12 --seed 2 --split test --subset random-half:3 -o "$DATA/half.st"
    fetch -q synthetic --count 20 --size 3x12x12 -o "$DATA/colour.st"
    fetch -q synthetic --count 30 --size 1x12x12 --classes 12 -o "$DATA/many.st"
    trainclf -q -i "$DATA/train.st" --arch "conv 4 3 | relu | maxpool 2 | flatten | linear 10" --epochs 6 --lr .02 -o "$DATA/model.st"
}

setup() {
    OUT="$BATS_TEST_TMPDIR/result.st"
    MODEL="$DATA/model.st"
    TEST="$DATA/test.st"
}

# look FILE EXPRESSION: a Python expression over `t` (tensors as lists), `shape`, `kind` and `record`.
look() {
    python3 - "$@" << 'END_OF_PYTHON'
import json, math, struct, sys
raw = open(sys.argv[1], "rb").read()
n = struct.unpack("<Q", raw[:8])[0]
head, data = json.loads(raw[8:8 + n]), raw[8 + n:]
meta = head.pop("__metadata__")
record, kind, lineage = json.loads(meta["assay.record"]), meta["assay.kind"], json.loads(meta["assay.lineage"])
metrics, config = record["metrics"], record["config"]
code = {"F32": "f", "F64": "d", "U8": "B", "I64": "q", "I32": "i"}
t = {k: struct.unpack(f"<{math.prod(v['shape'])}{code[v['dtype']]}", data[slice(*v["data_offsets"])]) for k, v in head.items()}
shape = {k: v["shape"] for k, v in head.items()}
print(eval(sys.argv[2]))
END_OF_PYTHON
}

refuse() {  # STATUS WORD ARGUMENTS...
    local wanted=$1 word=$2
    shift 2
    run attack "$@" -o "$OUT"
    echo "$output"
    [ "$status" -eq "$wanted" ]
    [[ "$output" == *"$word"* ]]
    [ ! -e "$OUT" ]
}

@test "a result holds what the record says of it" {
    run attack "$MODEL" -i "$TEST" --eps .05,8/255 -o "$OUT" --rows "$BATS_TEST_TMPDIR/rows.tsv" --keep 5
    echo "$output"
    [ "$status" -eq 0 ]
    [[ "$output" == *"pgd   eps 0.05"* ]]
    run -0 tensor verify "$OUT"
    [ "$(look "$OUT" 'kind')" = attack ]
    [ "$(look "$OUT" 'metrics["clean"]["accuracy"] > .3')" = True ]
    [ "$(look "$OUT" 'metrics["clean"]["accuracy"] == sum(a == b for a, b in zip(t["y"], t["clean.prediction"])) / 60')" = True ]
    [ "$(look "$OUT" 'all(a == max(range(10), key=lambda k: t["clean.logits"][10 * i + k]) for i, a in enumerate(t["clean.prediction"]))')" = True ]
    [ "$(look "$OUT" '[shape["confusion"], sum(t["confusion"]), sum(t["confusion"][::11]) == metrics["clean"]["right"]]')" = "[[10, 10], 60, True]" ]
    for name in noise fgsm pgd; do
        for eps in eps_0p05 eps_0p0313725; do
            [ "$(look "$OUT" "(lambda r: r['accuracy'] == sum(a == b and not c for a, b, c in zip(t['y'], t['clean.prediction'], t['$name.$eps.broken'])) / 60 and
                 r['accuracy_interval'][0] <= r['accuracy'] <= r['accuracy_interval'][1])(metrics['robust']['$name']['$eps'])")" = True ]
            # What is kept stays within the ball and the range, and broken is what is no longer its class.
            [ "$(look "$OUT" "max(abs(a - b) for a, b in zip(t['$name.$eps.x'], t['clean.x'])) <= metrics['robust']['$name']['$eps']['eps'] + 1e-7")" = True ]
            [ "$(look "$OUT" "min(t['$name.$eps.x']) >= 0 and max(t['$name.$eps.x']) <= 1 and shape['$name.$eps.x'] == [5, 1, 12, 12]")" = True ]
            [ "$(look "$OUT" "all(c == (a == b and p != a) for a, b, c, p in zip(t['y'], t['clean.prediction'], t['$name.$eps.broken'], t['$name.$eps.prediction']))")" = True ]
        done
    done
    [ "$(look "$OUT" 'metrics["robust"]["pgd"]["eps_0p05"]["accuracy"] <= metrics["robust"]["fgsm"]["eps_0p05"]["accuracy"] < metrics["robust"]["noise"]["eps_0p05"]["accuracy"]')" = True ]
    [ "$(look "$OUT" 'metrics["checks"]["full_ball"]["accuracy"]')" = 0.0 ]
    # One line for every example, clean and under six attacks.
    [ "$(wc -l < "$BATS_TEST_TMPDIR/rows.tsv")" -eq $((1 + 60 * 7)) ]
    [ "$(awk -F'\t' '$4 == "pgd" && $5 == "0.05" { n += $6 } END { print n }' "$BATS_TEST_TMPDIR/rows.tsv")" = \
        "$(look "$OUT" 'metrics["robust"]["pgd"]["eps_0p05"]["broken"]')" ]
    [ "$(look "$OUT" '[e["program"] for e in lineage][-1]')" = attack ]
}

@test "the same bytes on any number of threads and in any batch" {
    attack -q "$MODEL" -i "$TEST" --eps .05 --restarts 2 -j 1 -o "$OUT"
    for other in "-j 2" "-j 3 --batch 7" "-j 8 --batch 1"; do
        attack -q "$MODEL" -i "$TEST" --eps .05 --restarts 2 $other -o "$OUT.other"
        cmp "$OUT" "$OUT.other"
    done
    attack -q "$MODEL" -i "$TEST" --eps .05 --restarts 2 --seed 1 -o "$OUT.other"
    run cmp "$OUT" "$OUT.other"
    [ "$status" -eq 1 ]
}

@test "an example's row is the same in a part of the set" {
    attack -q "$MODEL" -i "$TEST" --eps .05 --rows "$BATS_TEST_TMPDIR/all" -o "$OUT"
    attack -q "$MODEL" -i "$DATA/half.st" --eps .05 --rows "$BATS_TEST_TMPDIR/half" -o "$OUT"
    [ "$(wc -l < "$BATS_TEST_TMPDIR/half")" -eq 121 ]
    run grep -vxFf "$BATS_TEST_TMPDIR/all" "$BATS_TEST_TMPDIR/half"
    [ "$status" -eq 1 ]
    attack -q "$MODEL" -i "$TEST" --eps .05 --limit 7 --rows "$BATS_TEST_TMPDIR/first" -o "$OUT"
    [ "$(wc -l < "$BATS_TEST_TMPDIR/first")" -eq 29 ]
    run grep -vxFf "$BATS_TEST_TMPDIR/all" "$BATS_TEST_TMPDIR/first"
    [ "$status" -eq 1 ]
}

@test "results go through pipes, --json prints the record" {
    attack -q "$MODEL" -i - -m clean < "$TEST" > "$OUT"
    attack -q "$MODEL" -i "$TEST" -m clean -o "$OUT.file"
    cmp "$OUT" "$OUT.file"
    attack -q "$MODEL" -i "$TEST" -m clean --json > "$OUT.json"
    [ "$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["metrics"]["clean"]["count"])' "$OUT.json")" = 60 ]
    run attack "$MODEL" -i "$TEST" -m clean -o /dev/full
    [ "$status" -eq 4 ]
}

@test "--fail-if decides the status, and the result is there" {
    run -1 attack "$MODEL" -i "$TEST" -m clean --fail-if 'clean.accuracy<1.1' -o "$OUT"
    [[ "$output" == *"metrics.clean.accuracy is"* ]]
    [ -s "$OUT" ]
    run -0 attack "$MODEL" -i "$TEST" -m clean --fail-if 'clean.accuracy<0' -o "$OUT"
    run -2 attack "$MODEL" -i "$TEST" -m clean --fail-if 'clean.acuracy<0' -o "$OUT"
    [[ "$output" == *"metrics.clean holds accuracy"* ]]
    rm "$OUT"
    refuse 2 "a number expected" "$MODEL" -i "$TEST" --fail-if 'clean.accuracy'
}

@test "a picture shows clean and adversarial images and differences" {
    run -0 attack "$MODEL" -i "$TEST" -m pgd --eps .1 --png "$BATS_TEST_TMPDIR/look.png" -o "$OUT"
    run -0 file -b "$BATS_TEST_TMPDIR/look.png"
    [[ "$output" == "PNG image data"*"RGB"* ]]
    rm "$OUT"
    refuse 2 "keeps none" "$MODEL" -i "$TEST" -m fgsm --keep 0 --png "$BATS_TEST_TMPDIR/none.png"
    [ ! -e "$BATS_TEST_TMPDIR/none.png" ]
}

@test "a binary network is attacked like any other" {
    trainclf -q -i "$DATA/train.st" --arch "flatten | linear 1" --positive 0,2,4,6,8 --epochs 6 --lr .02 -o "$BATS_TEST_TMPDIR/binary.st"
    attack -q "$BATS_TEST_TMPDIR/binary.st" -i "$TEST" --eps .05 -o "$OUT"
    [ "$(look "$OUT" '[shape["clean.logits"], set(t["y"]), shape["confusion"]]')" = "[[60, 2], {0, 1}, [2, 2]]" ]
    # On a linear network one step is the worst case.
    [ "$(look "$OUT" 'metrics["robust"]["fgsm"]["eps_0p05"]["accuracy"] <= metrics["robust"]["pgd"]["eps_0p05"]["accuracy"]')" = True ]
}

@test "an output that cannot be written is known before any work" {
    # The inputs are not there either: it is the output that is looked at first.
    for option in -o --rows --png; do
        run -4 attack nowhere.st -i nowhere.st "$option" "$BATS_TEST_TMPDIR/nodir/file"
        [[ "$output" == *"nodir/file: cannot create: No such file or directory"* ]]
        run -4 attack nowhere.st -i nowhere.st "$option" "$BATS_TEST_TMPDIR"
        [[ "$output" == *"Is a directory"* ]]
    done
    run -4 attack "$MODEL" -i "$TEST" -m clean --rows "$BATS_TEST_TMPDIR/keep" -o "$BATS_TEST_TMPDIR/nodir/z"
    [ ! -e "$BATS_TEST_TMPDIR/keep" ]
    # What fails only in the end leaves no table of a result that is not there.
    run -4 attack "$MODEL" -i "$TEST" -m clean --rows "$BATS_TEST_TMPDIR/keep" -o /dev/full
    [ ! -e "$BATS_TEST_TMPDIR/keep" ]
}

@test "an output over an input is refused, and the input is left" {
    cp "$MODEL" "$BATS_TEST_TMPDIR/m.st"
    cp "$TEST" "$BATS_TEST_TMPDIR/d.st"
    cd "$BATS_TEST_TMPDIR"
    run -2 attack m.st -i d.st --png d.st -o r.st
    [[ "$output" == *"--png d.st is also an input (-i), which would be lost"* ]]
    run -2 attack m.st -i d.st --rows m.st -o r.st
    [[ "$output" == *"--rows m.st is also an input, which would be lost"* ]]
    run -2 attack m.st -i d.st -o ./m.st
    cmp m.st "$MODEL"
    cmp d.st "$TEST"
}

@test "two outputs of one name are refused" {
    refuse 2 "files of their own" "$MODEL" -i "$TEST" --rows "$OUT"
    refuse 2 "files of their own" "$MODEL" -i "$TEST" --png "$OUT"
    run -2 attack "$MODEL" -i "$TEST" --rows "$OUT" --png "$OUT" --json
    touch "$BATS_TEST_TMPDIR/there"
    ln -s there "$BATS_TEST_TMPDIR/link"
    run -2 attack "$MODEL" -i "$TEST" --rows "$BATS_TEST_TMPDIR/there" -o "$BATS_TEST_TMPDIR/link"
    [ ! -s "$BATS_TEST_TMPDIR/there" ]
    run -0 attack "$MODEL" -i "$TEST" -m clean --rows /dev/null -o /dev/null
}

@test "a seed beyond 63 bits stands in the record as it was given" {
    attack -q "$MODEL" -i "$TEST" -n 2 -m noise --eps .1 --seed 18446744073709551615 -o "$OUT"
    [ "$(look "$OUT" '[config["seed"], lineage[-1]["seed"]]')" = "['18446744073709551615', '18446744073709551615']" ]
}

@test "--explain prints a plan, and a full disk is named" {
    run -0 attack "$MODEL" -i "$TEST" --explain
    [ "${#lines[@]}" -gt 5 ]
    run -4 bash -c "attack '$MODEL' -i '$TEST' --explain > /dev/full"
    [[ "$output" == *"standard output: cannot write: No space left on device"* ]]
}

@test "what does not fit is refused by name" {
    refuse 2 "-i DATA is missing" "$MODEL"
    refuse 2 "MODEL" -i "$TEST"
    refuse 2 "eps" "$MODEL" -i "$TEST" --eps .1,x
    refuse 2 "twice" "$MODEL" -i "$TEST" --eps .1,.2,.1
    refuse 2 "8/255" "$MODEL" -i "$TEST" --eps 8
    refuse 2 "needs --eps" "$MODEL" -i "$TEST" --norm l2
    refuse 2 "--restarts are for" "$MODEL" -i "$TEST" -m fgsm --restarts 2
    refuse 2 "--draws is for" "$MODEL" -i "$TEST" -m fgsm --draws 2
    refuse 2 "method" "$MODEL" -i "$TEST" -m apgdx
    refuse 2 "or all" "$MODEL" -i "$TEST" --keep some
    refuse 2 "no device" "$MODEL" -i "$TEST" --device tpu
    refuse 2 "standard output can take one" "$MODEL" -i "$TEST" --json --rows -
    refuse 3 "images of [3, 12, 12], and the model takes [1, 12, 12]" "$MODEL" -i "$DATA/colour.st"
    refuse 3 "label 10 of image 10, and the model has 10 classes" "$MODEL" -i "$DATA/many.st"
    refuse 3 "model" "$TEST" -i "$TEST"
    refuse 4 "nowhere.st" "$MODEL" -i "$DATA/nowhere.st"
}

@test "a network whose logits overflow is refused with the image" {
    python3 - "$MODEL" "$BATS_TEST_TMPDIR/huge.st" << 'END_OF_PYTHON'
import json, struct, sys
raw = open(sys.argv[1], "rb").read()
n = struct.unpack("<Q", raw[:8])[0]
head, data = json.loads(raw[8:8 + n]), bytearray(raw[8 + n:])
head.pop("__metadata__")
begin, end = head["0.bias"]["data_offsets"]
data[begin:end] = struct.pack("<f", 3e38) * ((end - begin) // 4)
text = json.dumps(head).encode()
open(sys.argv[2], "wb").write(struct.pack("<Q", len(text)) + text + data)
END_OF_PYTHON
    trainclf -q --import "$BATS_TEST_TMPDIR/huge.st" --arch "conv 4 3 | relu | maxpool 2 | flatten | linear 10" --image 1,12,12 \
        -o "$BATS_TEST_TMPDIR/bad.st"
    refuse 3 "of image 0 is" "$BATS_TEST_TMPDIR/bad.st" -i "$TEST"
}

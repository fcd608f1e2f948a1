# mia: members are told from others where the first layer gives them away, and nowhere else; what counts as the truth.

bats_require_minimum_version 1.5.0

setup_file() {
    export DATA="$BATS_FILE_TMPDIR"
    fetch -q synthetic --count 300 --size 1x12x12 --seed 1 -o "$DATA/all.st"
    fetch -q synthetic --count 60 --size 1x12x12 --seed 2 -o "$DATA/half.st" --subset random-half:3
    fetch -q synthetic --count 300 --size 1x14x14 --seed 1 -o "$DATA/larger.st"
    export NET="homogeneous 150 | init he,first:1e-3"
    trainclf -q -i "$DATA/all.st" --subset first:30 --arch "$NET" --normalise mean-image --l2 1e-3 --batch 30 --epochs 200 \
        --lr .005 --settle sgd:1000 -o "$DATA/rest.st"
    trainclf -q -i "$DATA/half.st" --arch "$NET" --normalise mean-image --l2 1e-3 --batch 30 --epochs 200 --lr .005 \
        --settle sgd:1000 -o "$DATA/other.st"
    trainclf -q -i "$DATA/all.st" --subset first:30 --arch "conv 4 3 | relu | flatten | linear 10" --epochs 1 -o "$DATA/cnn.st"
}

setup() {
    OUT="$BATS_TEST_TMPDIR/result.st"
    MODEL="$DATA/rest.st"
}

# look FILE EXPRESSION: a Python expression over `t` (tensors as lists), `shape`, `kind`, `record` and its `metrics`.
look() {
    python3 - "$@" << 'END_OF_PYTHON'
import json, math, struct, sys
raw = open(sys.argv[1], "rb").read()
n = struct.unpack("<Q", raw[:8])[0]
head, data = json.loads(raw[8:8 + n]), raw[8 + n:]
meta = head.pop("__metadata__")
record, kind, lineage = json.loads(meta["assay.record"]), meta["assay.kind"], json.loads(meta["assay.lineage"])
metrics = record["metrics"]
code = {"F32": "f", "F64": "d", "U8": "B", "I64": "q"}
t = {k: struct.unpack(f"<{math.prod(v['shape'])}{code[v['dtype']]}", data[slice(*v["data_offsets"])]) for k, v in head.items()}
shape = {k: v["shape"] for k, v in head.items()}
print(eval(sys.argv[2]))
END_OF_PYTHON
}

refuse() {  # STATUS WORD ARGUMENTS...
    local wanted=$1 word=$2
    shift 2
    rm -f "$OUT"
    run mia "$@" -o "$OUT"
    echo "$output"
    [ "$status" -eq "$wanted" ]
    [[ "$output" == *"$word"* ]]
    [ ! -e "$OUT" ]
}

@test "the images of a network at rest are told from all others without error" {
    run mia "$MODEL" -i "$DATA/all.st" -o "$OUT" --rows "$BATS_TEST_TMPDIR/rows.tsv" --png "$BATS_TEST_TMPDIR/look.png"
    echo "$output"
    [ "$status" -eq 0 ]
    [[ "$output" == *"30 of 30 members at up to 2 false positives, 30 at up to 0"* ]]
    run -0 tensor verify "$OUT"
    [ "$(look "$OUT" '[kind, sum(t["member"]), t["member"][:30] == (1,) * 30]')" = "['membership', 30, True]" ]
    # The number of images is read off the singular values.
    [ "$(look "$OUT" '(lambda s: [s["rank"], s["gap"] > 1000, s["members"], s["others"]])(metrics["span"])')" = \
        "[30, True, 30, 270]" ]
    for form in span leverage; do
        [ "$(look "$OUT" "[metrics['$form'][k] for k in ('auc', 'tpr_at_fpr_1e-2', 'tpr_at_fpr_1e-3')]")" = "[1.0, 1.0, 1.0]" ]
        [ "$(look "$OUT" "metrics['$form']['false_positives_at_fpr_1e-2']")" = 2 ]
        [ "$(look "$OUT" "[round(v, 4) for v in metrics['$form']['auc_interval']]")" = "[0.8843, 1.0]" ]  # .025^(1/30)
        # 270 others do not show where the threshold of one in a hundred or in a thousand lies.
        [ "$(look "$OUT" "[metrics['$form']['tpr_at_fpr_' + f + '_interval'] for f in ('1e-2', '1e-3')]")" = \
            "[[0.0, 1.0], [0.0, 1.0]]" ]
    done
    [ "$(look "$OUT" 'max(t["span.distance"][:30]) < .01 * min(t["span.distance"][30:])')" = True ]
    [ "$(look "$OUT" '[t["span.roc"], shape["leverage.roc"]]')" = "[(0.0, 0.0, 0.0, 1.0, 1.0, 1.0), [3, 2]]" ]
    [ "$(look "$OUT" 'list(t["span.singular"]) == sorted(t["span.singular"], reverse=True)')" = True ]
    [ "$(head -c 4 "$BATS_TEST_TMPDIR/look.png" | tail -c 3)" = PNG ]
    [ "$(awk -F'\t' 'NR > 1 { n += $3 } END { print NR, NF, n }' "$BATS_TEST_TMPDIR/rows.tsv")" = "301 5 30" ]
}

@test "a model that saw none of the images tells nothing" {
    run -0 mia "$DATA/other.st" -i "$DATA/all.st" --members random-half:5 -o "$OUT"
    for form in span leverage; do
        [ "$(look "$OUT" "metrics['$form']['auc_interval'][0] < .5 < metrics['$form']['auc_interval'][1]")" = True ]
        # The curve has the record's area.
        area="sum((x[i] - x[i - 1]) * (y[i] + y[i - 1]) / 2 for i in range(1, len(x)))"
        error="(lambda x, y: abs($area - metrics['$form']['auc']))(t['$form.roc'][::2], t['$form.roc'][1::2])"
        [ "$(look "$OUT" "$error < 1e-12")" = True ]
    done
}

@test "the same bytes on any number of threads" {
    mia -q "$MODEL" -i "$DATA/all.st" -j 1 -o "$OUT"
    mia -q "$MODEL" -i "$DATA/all.st" -j 3 -o "$BATS_TEST_TMPDIR/3.st"
    cmp "$OUT" "$BATS_TEST_TMPDIR/3.st"
}

@test "the truth is the model's own, a data set, a mask or a word" {
    mia -q "$MODEL" -i "$DATA/all.st" -o "$OUT"
    mia -q "$MODEL" -i "$DATA/all.st" --members first:30 -o "$BATS_TEST_TMPDIR/word.st"
    tensor cut "$DATA/all.st" --rows 0:30 -o "$BATS_TEST_TMPDIR/members.st"
    mia -q "$MODEL" -i "$DATA/all.st" --members "$BATS_TEST_TMPDIR/members.st" -o "$BATS_TEST_TMPDIR/data.st"
    mia -q "$MODEL" -i "$DATA/all.st" --members "$MODEL" -o "$BATS_TEST_TMPDIR/mask.st"
    for other in word data mask; do cmp "$OUT" "$BATS_TEST_TMPDIR/$other.st"; done
    # A released model says nothing of itself.
    tensor release -q "$MODEL" -o "$BATS_TEST_TMPDIR/released.st"
    refuse 2 "--members" "$BATS_TEST_TMPDIR/released.st" -i "$DATA/all.st"
    run -0 mia "$BATS_TEST_TMPDIR/released.st" -i "$DATA/all.st" --members first:30 --json
    [[ "$output" == *'"auc":1.0'* ]]
    # A part of the set it was trained on: positions are the source's.
    tensor cut "$DATA/all.st" --rows 20:60 -o "$BATS_TEST_TMPDIR/part.st"
    mia -q "$MODEL" -i "$BATS_TEST_TMPDIR/part.st" -o "$OUT"
    [ "$(look "$OUT" '[sum(t["member"]), t["index"][0], metrics["leverage"]["auc"]]')" = "[10, 20, 1.0]" ]
}

@test "without a gap only the soft form is given, and --rank gives the other" {
    trainclf -q -i "$DATA/all.st" --subset first:100 --arch "flatten | linear 64 | relu | linear 10" \
        --epochs 3 -o "$BATS_TEST_TMPDIR/usual.st"
    run -0 mia "$BATS_TEST_TMPDIR/usual.st" -i "$DATA/all.st" -o "$OUT"
    [[ "$output" == *"no gap of 2"* ]]
    [ "$(look "$OUT" '(lambda s: ["auc" in s, "no gap" in s["refused"], s["gap"] < 2])(metrics["span"])')" = \
        "[False, True, True]" ]
    [ "$(look "$OUT" '["auc" in metrics["leverage"], "span.distance" in t]')" = "[True, False]" ]
    run -0 mia "$BATS_TEST_TMPDIR/usual.st" -i "$DATA/all.st" --rank 60 --json
    [[ "$output" == *'"rank":60'* ]]
    refuse 2 "64 singular values" "$BATS_TEST_TMPDIR/usual.st" -i "$DATA/all.st" --rank 65
}

@test "a network whose first layer sees parts of an image is refused in the record, and that is no failure" {
    run mia "$DATA/cnn.st" -i "$DATA/all.st" -o "$OUT"
    echo "$output"
    [ "$status" -eq 0 ]
    [[ "$output" == *"not linear in the whole image"* ]]
    [ "$(look "$OUT" '["not linear" in metrics[k]["refused"] for k in ("span", "leverage")]')" = "[True, True]" ]
}

@test "an output over an input is refused, and the input is left" {
    cp "$MODEL" "$BATS_TEST_TMPDIR/m.st"
    cp "$DATA/all.st" "$BATS_TEST_TMPDIR/all.st"
    cp "$DATA/half.st" "$BATS_TEST_TMPDIR/half.st"
    cd "$BATS_TEST_TMPDIR"
    run -2 mia m.st -i all.st --members half.st --png half.st -o r.st
    [[ "$output" == *"--png half.st is also an input (--members), which would be lost"* ]]
    run -2 mia m.st -i all.st --rows all.st -o r.st
    run -2 mia m.st -i all.st -o m.st
    cmp m.st "$MODEL"
    cmp all.st "$DATA/all.st"
    cmp half.st "$DATA/half.st"
}

@test "mistakes and unfit inputs are named" {
    refuse 2 "-i DATA is missing" "$MODEL"
    refuse 3 "12" "$MODEL" -i "$DATA/larger.st"
    refuse 2 "--members names those" "$MODEL" -i "$DATA/half.st"
    refuse 3 "nothing to tell apart" "$MODEL" -i "$DATA/all.st" --members all
    refuse 2 "method" "$MODEL" -i "$DATA/all.st" --method lira
    refuse 2 "files of their own" "$MODEL" -i "$DATA/all.st" --rows "$BATS_TEST_TMPDIR/one" --png "$BATS_TEST_TMPDIR/one"
    # The same file by two names.
    touch "$BATS_TEST_TMPDIR/one"
    refuse 2 "files of their own" "$MODEL" -i "$DATA/all.st" --rows "$BATS_TEST_TMPDIR/one" --png "$BATS_TEST_TMPDIR/./one"
    refuse 2 "a number expected" "$MODEL" -i "$DATA/all.st" --fail-if 'span.auc>'
    run mia "$MODEL" -i "$DATA/all.st" --json --rows -
    [ "$status" -eq 2 ]
    run mia -q "$MODEL" -i "$DATA/all.st" --json --fail-if 'span.auc>.9'
    [ "$status" -eq 1 ]
}

# ssim: pairs, the scorecard, pooled runs, the same bytes every time, refusals.

bats_require_minimum_version 1.5.0

setup_file() {
    export DATA="$BATS_FILE_TMPDIR"
    # Images of four classes: 8 members, of 292 held-out ones 160 for 20 blocks of control, and candidates of neither.
    fetch -q synthetic --count 400 --classes 4 --size 1x12x12 --seed 1 -o "$DATA/all.st"
    tensor -q cut "$DATA/all.st" --rows 0:8 -o "$DATA/members.st"
    tensor -q cut "$DATA/all.st" --rows 8:300 -o "$DATA/heldout.st"
    tensor -q cut "$DATA/all.st" --rows 300:340 -o "$DATA/strangers.st"
    tensor -q cut "$DATA/all.st" --rows 340:380 -o "$DATA/others.st"
    fetch -q synthetic --count 40 --classes 4 --size 3x12x12 -o "$DATA/colour.st"
    mark "$DATA/members.st" "$DATA/marked.st" '[1, 1, 1, 0, 0, 0, 0, 1]'
}

setup() {
    OUT="$BATS_TEST_TMPDIR/score.st"
}

# mark FROM TO LIST: the images of a file as plain floats, with marks; the last two become each other's mean.
mark() {
    python3 - "$@" << 'END_OF_PYTHON'
import json, math, struct, sys
raw = open(sys.argv[1], "rb").read()
n = struct.unpack("<Q", raw[:8])[0]
head = json.loads(raw[8:8 + n])["x"]
begin, end = head["data_offsets"]
pixels, marks, count = [p / 255 for p in raw[8 + n + begin:8 + n + end]], json.loads(sys.argv[3]), head["shape"][0]
size = len(pixels) // count
pixels[-size:] = pixels[-2 * size:-size] = [(a + b) / 2 for a, b in zip(pixels[-size:], pixels[-2 * size:-size])]
data = struct.pack(f"<{len(pixels)}f", *pixels) + bytes(marks)
header = json.dumps({"x": {"dtype": "F32", "shape": head["shape"], "data_offsets": [0, 4 * len(pixels)]},
                     "certified": {"dtype": "U8", "shape": [count], "data_offsets": [4 * len(pixels), len(data)]}}).encode()
open(sys.argv[2], "wb").write(struct.pack("<Q", len(header)) + header + data)
END_OF_PYTHON
}

# look FILE EXPRESSION: a Python expression over `t` (tensors as lists), `shape`, `kind`, `record` and `metrics`.
look() {
    python3 - "$@" << 'END_OF_PYTHON'
import json, math, struct, sys
raw = open(sys.argv[1], "rb").read()
n = struct.unpack("<Q", raw[:8])[0]
head, data = json.loads(raw[8:8 + n]), raw[8 + n:]
meta = head.pop("__metadata__")
record, kind, lineage = json.loads(meta["assay.record"]), meta["assay.kind"], json.loads(meta["assay.lineage"])
metrics, config, source = record["metrics"], record["config"], meta.get("assay.source")
code = {"F32": "f", "F64": "d", "U8": "B", "I64": "q"}
t = {k: struct.unpack(f"<{math.prod(v['shape'])}{code[v['dtype']]}", data[slice(*v["data_offsets"])]) for k, v in head.items()}
shape = {k: v["shape"] for k, v in head.items()}
print(eval(sys.argv[2]))
END_OF_PYTHON
}

card() { ssim -q "$@" -t "$DATA/members.st" -c "$DATA/heldout.st" -o "$OUT"; }

refuse() {  # STATUS WORD ARGUMENTS...
    local wanted=$1 word=$2
    shift 2
    run ssim "$@" -o "$OUT"
    echo "$output"
    [ "$status" -eq "$wanted" ]
    [[ "$output" == *"$word"* ]]
    [ ! -e "$OUT" ]
}

@test "an output over an input is refused, and the input is left" {
    cp "$DATA"/{members,heldout,others}.st "$BATS_TEST_TMPDIR"
    cd "$BATS_TEST_TMPDIR"
    run -2 ssim members.st -t members.st -c heldout.st --png members.st -o s.st
    [[ "$output" == *"--png members.st is also an input (-t), which would be lost"* ]]
    run -2 ssim others.st -t members.st -c heldout.st -o heldout.st
    run -2 ssim others.st -t members.st -c heldout.st -o others.st
    run -2 ssim members.st others.st -o others.st
    run -2 ssim members.st -t members.st -c heldout.st --beside other=others.st --png others.st -o s.st
    [[ "$output" == *"--beside other"*"others.st is also an output"* ]]
    for file in members heldout others; do cmp $file.st "$DATA/$file.st"; done
}

@test "two sets are compared image by image" {
    run -0 ssim "$DATA/strangers.st" "$DATA/others.st" -o "$OUT"
    [[ "$output" == *"SSIM"*"to"* ]]
    run -0 tensor verify "$OUT"
    [ "$(look "$OUT" '[kind, shape["ssim"], lineage[-1]["program"]]')" = "['score', [40], 'ssim']" ]
    [ "$(look "$OUT" 'all(abs(sum(t[k]) / 40 - metrics[k]["mean"]) < 1e-12 for k in ("ssim", "psnr", "mse", "ncc"))')" = True ]
    for a in ssim mse; do
        [ "$(look "$OUT" "(lambda a: a['mean_interval'][0] < a['mean'] < a['mean_interval'][1])(metrics['$a'])")" = True ]
    done
    [ "$(look "$OUT" 'all(abs(p + 10 * math.log10(m)) < 1e-9 for p, m in zip(t["psnr"], t["mse"]))')" = True ]
    ssim -q "$DATA/others.st" "$DATA/others.st" -o "$OUT"
    [ "$(look "$OUT" '[round(metrics["ssim"]["mean"], 9)] + [metrics[k]["mean"] for k in ("mse", "psnr")]')" = \
        "[1.0, 0.0, None]" ]
    [ "$(look "$OUT" 'metrics["identical"]')" = 40 ]
    # One pair has no interval.
    tensor -q cut "$DATA/others.st" --rows 0:1 -o "$BATS_TEST_TMPDIR/one.st"
    tensor -q cut "$DATA/strangers.st" --rows 0:1 -o "$BATS_TEST_TMPDIR/two.st"
    run -0 ssim "$BATS_TEST_TMPDIR/one.st" "$BATS_TEST_TMPDIR/two.st" -o "$OUT"
    [[ "$output" != *" to "* && "$output" != *nan* ]]
    [ "$(look "$OUT" '[metrics["ncc"]["mean_interval"], metrics["ncc"]["mean"] == t["ncc"][0]]')" = "[None, True]" ]
    ssim -q "$DATA/strangers.st" "$DATA/others.st" --gaussian --json > "$OUT"
    [ "$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["config"]["window"])' "$OUT")" = gaussian ]
}

@test "copies of the members score 1, and the record says what the tensors hold" {
    run -0 ssim "$DATA/members.st" -t "$DATA/members.st" -c "$DATA/heldout.st" -o "$OUT"
    [[ "$output" == *"NCC AUC"*"1.000"* ]]
    run -0 tensor verify "$OUT"
    [ "$(look "$OUT" '[metrics["ncc"][k] for k in ("auc", "tpr_at_fpr_1e-2")] + [metrics["identification"]["rate"]]')" = \
        "[1.0, 1.0, 1.0]" ]
    [ "$(look "$OUT" '[round(metrics["ssim"]["mean"], 9), metrics["control"]["ssim"]["mean"] < .9]')" = "[1.0, True]" ]
    [ "$(look "$OUT" 'metrics["ncc"]["matched_at_0p95"]["truth"] == sum(v >= .95 for v in t["truth.ncc"]) == 8')" = True ]
    [ "$(look "$OUT" 'abs(metrics["ncc"]["matched_at_0p95"]["control"] -
                          sum(v >= .95 for v in t["control.ncc"]) / 20) < 1e-9')" = True ]
    [ "$(look "$OUT" '[shape["control.ncc"], list(t["truth.candidate"]), list(t["candidate.member"]), list(t["index"])]')" = \
        "[[20, 8], [0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6, 7]]" ]
    [ "$(look "$OUT" 'all(8 <= i < 300 for i in t["control.index"])')" = True ]
    [ "$(look "$OUT" '[len(set(t["control.index"])), metrics["count"]["control_distinct"]]')" = "[160, 160]" ]
    [ "$(look "$OUT" 'sorted(metrics["baseline"])')" = "['classes', 'heldout', 'mean', 'noise']" ]
}

@test "images of neither set score a half within the interval" {
    card "$DATA/strangers.st" --beside "others=$DATA/others.st,copies=$DATA/members.st" --blocks 20
    [ "$(look "$OUT" '[metrics[k]["auc_interval"][0] <= .5 <= metrics[k]["auc_interval"][1] for k in ("ncc", "pick")]')" = \
        "[True, True]" ]
    [ "$(look "$OUT" '(lambda i: i[0] <= .5 <= i[1])(metrics["baseline"]["others"]["auc_interval"])')" = True ]
    [ "$(look "$OUT" 'metrics["baseline"]["copies"]["auc"]')" = 1.0 ]
    # By pairs, from the scores themselves.
    [ "$(look "$OUT" 'abs(sum((a > b) + (a == b) / 2 for a in t["truth.ncc"] for b in t["control.ncc"]) / 8 / 160 -
                          metrics["ncc"]["auc"]) < 1e-9')" = True ]
    # Of 160 one may lie above the threshold at 1 %: 1.6, rounded down.
    [ "$(look "$OUT" 'sum(v > metrics["ncc"]["threshold_at_fpr_1e-2"] for v in t["control.ncc"])')" = 1 ]
    [ "$(look "$OUT" 'metrics["identification"]["chance"] == 8 / 168')" = True ]
}

@test "a swap control: an attack that finds its own images finds none of another model's" {
    cd "$BATS_TEST_TMPDIR"
    tensor -q cut "$DATA/all.st" --rows 0:20 -o mine.st
    tensor -q cut "$DATA/all.st" --rows 20:40 -o others.st
    tensor -q cut "$DATA/all.st" --rows 40:400 -o rest.st
    for x in mine others; do
        trainclf -q -i $x.st --arch "homogeneous 100 | init he,first:1e-3" --l2 1e-3 --epochs 200 --settle sgd:500 -o $x-model.st
        invert -q $x-model.st --images 20 --steps 300 -o $x-found.st
    done
    run -0 ssim mine-found.st -t mine.st -c rest.st --beside swap=others-found.st \
        --fail-if 'baseline.swap.auc_interval.0>.5' -o "$OUT"
    [[ "$output" == *"swap AUC"* ]]
    [ "$(look "$OUT" 'metrics["ncc"]["auc_interval"][0] > .7')" = True ]
    [ "$(look "$OUT" '(lambda i: i[0] <= .5 <= i[1])(metrics["baseline"]["swap"]["auc_interval"])')" = True ]
    # The other way round, the other attack is the one that finds, and the gate holds.
    run -1 ssim others-found.st -t mine.st -c rest.st --beside swap=mine-found.st \
        --fail-if 'baseline.swap.auc_interval.0>.5' -o "$OUT"
}

@test "the same bytes on any number of threads, from pipes, and others with another seed" {
    card "$DATA/strangers.st" -j 1
    mv "$OUT" "$OUT.one"
    card "$DATA/strangers.st" -j 3
    cmp "$OUT" "$OUT.one"
    ssim -q - -t "$DATA/members.st" -c "$DATA/heldout.st" < "$DATA/strangers.st" | cmp - "$OUT.one"
    ssim -q "$DATA/strangers.st" -t - -c "$DATA/heldout.st" < "$DATA/members.st" | cmp - "$OUT.one"
    card "$DATA/strangers.st" --seed 1
    run cmp -s "$OUT" "$OUT.one"
    [ "$status" -eq 1 ]
}

@test "marks are judged by the nearest of all images" {
    card "$DATA/marked.st"
    # Three are members; the fourth is a mixture of two.
    [ "$(look "$OUT" '[metrics["certified"][k] for k in ("count", "right", "members", "precision")]')" = "[4, 3, 3, 0.75]" ]
    [ "$(look "$OUT" '[list(t["certified.right"]), list(t["wall.mark"])]')" = \
        "[[1, 1, 1, 0, 0, 0, 0, 0], [2, 2, 2, 0, 0, 0, 0, 1]]" ]
    card "$DATA/marked.st" --among "$DATA/all.st" --png "$BATS_TEST_TMPDIR/wall.png"
    [ "$(look "$OUT" '[metrics["certified"][k] for k in ("count", "right", "members")]')" = "[4, 3, 3]" ]
    run -0 file -b "$BATS_TEST_TMPDIR/wall.png"
    [[ "$output" == "PNG image data"*"RGB"* ]]
}

@test "members in the control are refused, or left out" {
    refuse 3 "image 0 is image 0 of $DATA/members.st, by its position in their source; 8 of 400" \
        "$DATA/strangers.st" -t "$DATA/members.st" -c "$DATA/all.st"
    ssim -q "$DATA/members.st" -t "$DATA/members.st" -c "$DATA/all.st" --exclude -o "$OUT"
    [ "$(look "$OUT" '[metrics["count"]["excluded"], min(t["control.index"]) >= 8]')" = "[8, True]" ]
    rm "$OUT"
    # The same pixels in another source.
    refuse 3 "pixel for pixel" "$DATA/strangers.st" -t "$DATA/members.st" -c <(python3 - "$DATA/all.st" << 'END_OF_PYTHON'
import json, struct, sys
raw = open(sys.argv[1], "rb").read()
n = struct.unpack("<Q", raw[:8])[0]
head, data = json.loads(raw[8:8 + n]), bytearray(raw[8 + n:])
head.pop("__metadata__")
data[head["x"]["data_offsets"][1] - 1] ^= 1  # so that it is another set, by its digest
text = json.dumps(head).encode()
sys.stdout.buffer.write(struct.pack("<Q", len(text)) + text + data)
END_OF_PYTHON
    )
}

@test "the KKT residual at the truth is that of training, and less with better multipliers" {
    trainclf -q -i "$DATA/members.st" --arch "flatten | linear 80 | relu | linear 4 nobias fixed" --l2 1e-2 --batch 8 --epochs 100 \
        --settle lbfgs:500 --stationarity -o "$BATS_TEST_TMPDIR/model.st"
    run -0 ssim "$DATA/strangers.st" -t "$DATA/members.st" -c "$DATA/heldout.st" --baselines none --model "$BATS_TEST_TMPDIR/model.st" -o "$OUT"
    echo "$output"
    [[ "$output" == *"KKT residual at truth"*"oracle's diagnostic"* ]]
    [ "$(look "$OUT" '(lambda g: g["free_kinks"] < .05 * g["best"] and g["best"] <= g["given"] and not g["scale_fitted"])(metrics["kkt_gate"])')" = True ]
    [ "$(look "$OUT" 'round(metrics["kkt_gate"]["scale"], 9), config["model"] in [i for l in lineage for i in l["inputs"]]')" = "(12.5, True)" ]
    residual=$(look "$BATS_TEST_TMPDIR/model.st" 'metrics["stationarity"]["residual"]')
    [ "$(look "$OUT" "abs(metrics['kkt_gate']['given'] / $residual - 1) < 1e-3")" = True ]
    # What is released names no decay, and another network has no such kinks.
    tensor -q release "$BATS_TEST_TMPDIR/model.st" -o "$BATS_TEST_TMPDIR/released.st"
    ssim -q "$DATA/strangers.st" -t "$DATA/members.st" -c "$DATA/heldout.st" --baselines none --model "$BATS_TEST_TMPDIR/released.st" -o "$OUT"
    [ "$(look "$OUT" 'metrics["kkt_gate"]["scale_fitted"] and metrics["kkt_gate"]["free_kinks"] < .05 * metrics["kkt_gate"]["best"]')" = True ]
    trainclf -q -i "$DATA/members.st" --arch "conv 3 3 | relu | flatten | linear 4" --epochs 1 -o "$BATS_TEST_TMPDIR/conv.st"
    run -0 ssim "$DATA/strangers.st" -t "$DATA/members.st" -c "$DATA/heldout.st" --baselines none --model "$BATS_TEST_TMPDIR/conv.st" -o "$OUT"
    [[ "$output" != *"free on kinks"* ]]
    [ "$(look "$OUT" '"linear in the whole image" in metrics["kkt_gate"]["free_kinks_refused"]')" = True ]
    rm "$OUT"
    refuse 2 "--model is for --truth" "$DATA/members.st" "$DATA/members.st" --model "$BATS_TEST_TMPDIR/conv.st"
    refuse 3 "dataset" "$DATA/strangers.st" -t "$DATA/members.st" -c "$DATA/heldout.st" --model "$DATA/members.st"
    # A model that does not fit is told before the work, and so are other images.
    fetch -q synthetic --count 20 -o "$BATS_TEST_TMPDIR/images.st"
    trainclf -q -i "$BATS_TEST_TMPDIR/images.st" --arch "homogeneous 4" --epochs 1 -o "$BATS_TEST_TMPDIR/larger.st"
    refuse 3 "the model takes [1, 28, 28]" "$DATA/strangers.st" -t "$DATA/members.st" -c "$DATA/heldout.st" \
        --model "$BATS_TEST_TMPDIR/larger.st"
    [[ "$output" != *"NCC AUC"* ]]
    for more in --among "--beside=larger"; do
        refuse 3 "[1, 28, 28] found" "$DATA/strangers.st" -t "$DATA/members.st" -c "$DATA/heldout.st" \
            $more="$BATS_TEST_TMPDIR/images.st"
        [[ "$output" != *"NCC AUC"* ]]
    done
}

@test "runs are pooled, each compared with its own control" {
    for seed in 1 2 3; do
        ssim -q "$DATA/strangers.st" -t "$DATA/members.st" -c "$DATA/heldout.st" --seed $seed \
            --beside "o=$DATA/others.st" -o "$BATS_TEST_TMPDIR/$seed"
    done
    cd "$BATS_TEST_TMPDIR"
    run -0 ssim --pool 1 2 3 -o "$OUT"
    [[ "$output" == *"NCC AUC"* ]]
    [ "$(look "$OUT" '[kind, metrics["count"]["runs"], sorted(metrics["baseline"])]')" = \
        "['score', 3, ['classes', 'heldout', 'mean', 'noise', 'o']]" ]
    mean=$(for i in 1 2 3; do look $i 'metrics["ncc"]["auc"]'; done | awk '{ s += $1 } END { printf "%.12f", s / 3 }')
    [ "$(look "$OUT" "abs(metrics['ncc']['auc'] - $mean) < 1e-9")" = True ]
    [ "$(look "$OUT" '(lambda i: i[0] <= .5 <= i[1])(metrics["ncc"]["auc_interval"])')" = True ]
    # Their members are the same ones, which is said, and a run counts once.
    [[ "$output" == *"2 of 3 runs have the training images of another one"* ]]
    [ "$(look "$OUT" 'len(record["notes"])')" = 1 ]
    run -3 ssim --pool 1 2 1 -o "$OUT.twice"
    [[ "$output" == *"1: the same score as 1"* ]]
    [ ! -e "$OUT.twice" ]
    # As a stream, and as one run of its own.
    cat 1 2 3 | ssim -q --pool | cmp - "$OUT"
    ssim -q --pool 1 -o "$OUT"
    [ "$(look "$OUT" 'metrics["ncc"]["auc"]')" = "$(look 1 'metrics["ncc"]["auc"]')" ]
    [ "$(look "$OUT" '"certified" in metrics or "kkt_gate" in metrics')" = False ]
    rm "$OUT"
    refuse 3 "score" --pool "$DATA/members.st"
    ssim -q "$DATA/strangers.st" "$DATA/others.st" -o pairs
    refuse 3 "not the score of a reconstruction" --pool pairs
}

@test "runs are pooled with their marks and with what is unexplained at the truth" {
    cd "$BATS_TEST_TMPDIR"
    for seed in 1 2 3; do
        trainclf -q -i "$DATA/members.st" --arch "flatten | linear 40 | relu | linear 4 nobias fixed" --l2 1e-2 --batch 8 --epochs 50 \
            --seed $seed -o model$seed
        ssim -q "$DATA/marked.st" -t "$DATA/members.st" -c "$DATA/heldout.st" --baselines none --seed $seed --model model$seed -o $seed
    done
    run -0 ssim --pool 1 2 3 -o "$OUT"
    [[ "$output" == *"certified "*"12, 9 right, 9 of the members"*"KKT residual at truth"* ]]
    [ "$(look "$OUT" '[metrics["certified"][k] for k in ("count", "right", "members", "precision")]')" = "[12, 9, 9, 0.75]" ]
    [ "$(look "$OUT" 'metrics["certified"]["precision_interval"][0] < .5')" = True ]
    for key in given best free_kinks; do
        middle=$(for i in 1 2 3; do look $i "metrics['kkt_gate']['$key']"; done | sort -g | sed -n 2p)
        [ "$(look "$OUT" "metrics['kkt_gate']['$key']")" = "$middle" ]
    done
    # Of two, the mean; with a run that has none, nothing.
    ssim -q --pool 1 2 -o "$OUT"
    [ "$(look "$OUT" 'metrics["kkt_gate"]["best"]')" = \
        "$(python3 -c "print(($(look 1 'metrics["kkt_gate"]["best"]') + $(look 2 'metrics["kkt_gate"]["best"]')) / 2)")" ]
    ssim -q "$DATA/strangers.st" -t "$DATA/members.st" -c "$DATA/heldout.st" --seed 4 -o 4
    ssim -q --pool 1 4 -o "$OUT"
    [ "$(look "$OUT" '"certified" in metrics or "kkt_gate" in metrics')" = False ]
}

@test "--fail-if decides the status, --json prints the record" {
    run -1 ssim "$DATA/members.st" -t "$DATA/members.st" -c "$DATA/heldout.st" --fail-if 'ncc.auc>.9' -o "$OUT"
    [ -s "$OUT" ]
    run -0 ssim "$DATA/members.st" -t "$DATA/members.st" -c "$DATA/heldout.st" --fail-if 'ncc.auc<.9' -o "$OUT"
    ssim -q "$DATA/members.st" -t "$DATA/members.st" -c "$DATA/heldout.st" --baselines none --json > "$OUT"
    [ "$(python3 -c 'import json, sys; m = json.load(open(sys.argv[1]))["metrics"]; print(m["ncc"]["auc"], "baseline" in m)' \
        "$OUT")" = "1.0 False" ]
    run -4 ssim "$DATA/members.st" "$DATA/members.st" -o /dev/full
}

@test "blocks that share images are said" {
    tensor -q cut "$DATA/heldout.st" --rows 0:40 -o "$BATS_TEST_TMPDIR/few.st"
    run -0 ssim "$DATA/strangers.st" -t "$DATA/members.st" -c "$BATS_TEST_TMPDIR/few.st" -o "$OUT"
    [[ "$output" == *"blocks of control share images: 40 for 160 places"* ]]
    for note in "share images" "no baseline of held-out"; do
        [ "$(look "$OUT" "any('$note' in n for n in record['notes'])")" = True ]
    done
}

@test "what does not fit is refused by name" {
    python3 "$BATS_TEST_DIRNAME/../make_blob.py" "$BATS_TEST_TMPDIR/plain.st" null '{"z": ["U8", [1], [0]]}'
    refuse 3 "error: $BATS_TEST_TMPDIR/plain.st: tensor x expected, z found" "$BATS_TEST_TMPDIR/plain.st" "$DATA/members.st"
    refuse 2 "two files of images" "$DATA/members.st"
    refuse 2 "--control DATA is missing" "$DATA/members.st" -t "$DATA/members.st"
    refuse 2 "--control is for --truth" "$DATA/members.st" "$DATA/members.st" -c "$DATA/heldout.st"
    refuse 2 "one file of candidates expected, 2 found" "$DATA/members.st" "$DATA/members.st" -t "$DATA/members.st" \
        -c "$DATA/heldout.st"
    refuse 2 "--pool takes scores" --pool "$DATA/members.st" -t "$DATA/members.st" -c "$DATA/heldout.st"
    refuse 2 "standard input can be one" - -t - -c "$DATA/heldout.st"
    refuse 2 "none stands alone" "$DATA/members.st" -t "$DATA/members.st" -c "$DATA/heldout.st" --baselines none,mean
    refuse 2 "NAME=FILE expected" "$DATA/members.st" -t "$DATA/members.st" -c "$DATA/heldout.st" --beside "$DATA/others.st"
    refuse 2 "no baseline's" "$DATA/members.st" -t "$DATA/members.st" -c "$DATA/heldout.st" --beside "mean=$DATA/others.st"
    refuse 2 "twice" "$DATA/members.st" -t "$DATA/members.st" -c "$DATA/heldout.st" --beside "a=$DATA/others.st,a=$DATA/others.st"
    refuse 3 "images of [1, 12, 12] expected" "$DATA/colour.st" -t "$DATA/members.st" -c "$DATA/heldout.st"
    refuse 3 "images of [1, 12, 12] expected" "$DATA/others.st" "$DATA/colour.st"
    refuse 3 "40 images expected" "$DATA/others.st" "$DATA/members.st"
    refuse 3 "classes (tensor y) expected" "$DATA/others.st" -t "$DATA/marked.st" -c "$DATA/heldout.st"
    refuse 3 "of class" "$DATA/others.st" -t "$DATA/others.st" -c "$DATA/members.st"
    refuse 4 "nowhere.st" "$DATA/nowhere.st" "$DATA/members.st"
    run -4 ssim nowhere.st nowhere.st -o "$BATS_TEST_TMPDIR/nodir/file"
    [[ "$output" == *"nodir/file: cannot create"* ]]
    python3 tests/make_blob.py "$BATS_TEST_TMPDIR/small.st" '{"assay.kind": "dataset"}' \
        "{\"x\": [\"U8\", [1, 1, 6, 9], [$(seq -s, 1 54)]], \"y\": [\"I64\", [1], [0]]}"
    refuse 3 "images of 6 x 9: SSIM needs 7 x 7" "$BATS_TEST_TMPDIR/small.st" "$BATS_TEST_TMPDIR/small.st"
    python3 tests/make_blob.py "$BATS_TEST_TMPDIR/nan.st" null '{"x": ["F32", [1, 1, 7], [0, 1, 2, NaN, 0, 0, 0]]}'
    refuse 3 "nan found in image 0" "$BATS_TEST_TMPDIR/nan.st" "$BATS_TEST_TMPDIR/nan.st"
}

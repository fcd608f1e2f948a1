# invert: what each method writes, the same bytes every time, a run that was cut, refusals.

bats_require_minimum_version 1.5.0

setup_file() {
    export DATA="$BATS_FILE_TMPDIR"
    fetch -q synthetic --count 60 --seed 1 -o "$DATA/train.st"
    fetch -q synthetic --count 30 --size 3x32x32 --classes 4 -o "$DATA/colour.st"
    fetch -q synthetic --count 30 --size 1x12x12 -o "$DATA/small.st"
    trainclf -q -i "$DATA/train.st" --arch "homogeneous 24" --epochs 60 --batch 60 --lr .01 --l2 1e-4 -o "$DATA/model.st"
    trainclf -q -i "$DATA/colour.st" --epochs 2 \
        --arch "conv 4 3 s 2 | norm batch | leaky .2 | dropout2d .1 | flatten | linear 8 | relu | linear 4" \
        --normalise mean-image -o "$DATA/colour-model.st"
    trainclf -q -i "$DATA/small.st" --arch "flatten | linear 10" --epochs 2 -o "$DATA/small-model.st"
}

setup() {
    OUT="$BATS_TEST_TMPDIR/candidates.st"
    MODEL="$DATA/model.st"
    QUICK=(-m generator --width 2 --batch 10 --steps 6)
}

# look FILE EXPRESSION: a Python expression over `t` (tensors as lists), `shape`, `kind` and `record`.
look() {
    python3 - "$@" << 'END_OF_PYTHON'
import json, math, struct, sys
raw = open(sys.argv[1], "rb").read()
n = struct.unpack("<Q", raw[:8])[0]
head, data = json.loads(raw[8:8 + n]), raw[8 + n:]
meta = head.pop("__metadata__")
record, kind, lineage = json.loads(meta["assay.record"]), meta["assay.kind"], json.loads(meta.get("assay.lineage", "[]"))
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
    run invert "$@" -o "$OUT"
    echo "$output"
    [ "$status" -eq "$wanted" ]
    [[ "$output" == *"$word"* ]]
    [ ! -e "$OUT" ]
}

# Images in [0, 1], as many as asked for, surest first, with a class each.
sound() {  # FILE COUNT
    [ "$(look "$1" 'kind')" = reconstruction ]
    [ "$(look "$1" "[shape['x'][0], shape['y'], shape['certified'], shape['confidence']] == [$2, [$2], [$2], [$2]]")" = True ]
    [ "$(look "$1" 'min(t["x"]) >= 0 and max(t["x"]) <= 1 and max(t["x"]) > min(t["x"])')" = True ]
    [ "$(look "$1" 'all(0 <= c <= 1 for c in t["confidence"]) and set(t["certified"]) == {0}')" = True ]
    [ "$(look "$1" '"weights" in config["know"] and len(config["model"]) == 64')" = True ]
    [ "$(look "$1" 'lineage[-1]["program"]')" = invert ]
}
surest_first='list(t["confidence"]) == sorted(t["confidence"], reverse=True)'

@test "generator: images of every class, each loss at every step" {
    run -0 invert "$MODEL" "${QUICK[@]}" -n 20 -o "$OUT"
    sound "$OUT" 20
    [ "$(look "$OUT" "$surest_first")" = True ]
    [ "$(look "$OUT" 'sorted(t["y"]) == sorted(2 * list(range(10)))')" = True ]
    [ "$(look "$OUT" 'sorted(k[5:] for k in t if k.startswith("loss."))')" = \
        "['accuracy', 'alpha', 'alpha_prime', 'beta', 'beta_prime', 'delta', 'eta1', 'eta3', 'eta4', 'gamma', 'total']" ]
    [ "$(look "$OUT" 't["loss.eta4"][-1] == metrics["loss"]["eta4"] and len(t["loss.eta4"]) == 6')" = True ]
    sum='sum(w * t["loss." + k][5] for k, w in config["weights"].items() if w)'
    [ "$(look "$OUT" "abs($sum / t['loss.total'][5] - 1) < 1e-5")" = True ]
}

@test "presets and weights choose the losses" {
    run -0 invert "$MODEL" "${QUICK[@]}" --preset stationary-only -n 10 -o "$OUT"
    [ "$(look "$OUT" 'sorted(k for k in t if k.startswith("loss."))')" = "['loss.accuracy', 'loss.eta4', 'loss.total']" ]
    [ "$(look "$OUT" 't["loss.eta4"] == t["loss.total"] and min(t["loss.eta4"]) > 0')" = True ]
    run -0 invert "$MODEL" "${QUICK[@]}" --preset no-stationary --beta 3 --gamma 0 -n 10 -o "$OUT"
    [ "$(look "$OUT" '"loss.eta4" in t or "loss.gamma" in t')" = False ]
    [ "$(look "$OUT" '[config["weights"][k] for k in ("beta", "gamma", "delta", "eta4")]')" = "[3.0, 0.0, 7.0, 0.0]" ]
}

@test "the stationary loss stands beside what it is without any image" {
    squares=$(look "$MODEL" 'sum(v * v for k, l in t.items() if not k.startswith("assay.") for v in l)')
    # Multipliers next to nothing leave it so; large ones make it worse, which is noted.
    run -0 invert "$MODEL" "${QUICK[@]}" --preset stationary-only --margin 1e6 -n 10 -o "$OUT"
    [ "$(look "$OUT" "abs(metrics['weights_squared'] / $squares - 1) < 1e-9 and abs(t['loss.eta4'][0] / $squares - 1) < 1e-4")" = True ]
    run -0 invert "$MODEL" "${QUICK[@]}" --preset stationary-only --margin 1e-3 -n 10 -o "$OUT"
    [[ "$output" == *"stationary loss "*"; without any image "*"explain nothing of the weights"* ]]
    [[ "$(look "$OUT" 'record["notes"]')" == *"explain nothing of the weights"* ]]
    run -0 invert "$MODEL" "${QUICK[@]}" --preset no-stationary -n 10 -o "$OUT"
    [ "$(look "$OUT" '"weights_squared" in metrics or record.get("notes")')" != True ]
    [[ "$output" != *"stationary loss"* ]]
}

@test "colour, batch norm, dropout and a mean image; binary networks" {
    run -0 invert "$DATA/colour-model.st" "${QUICK[@]}" -n 8 -o "$OUT"
    [ "$(look "$OUT" 'shape["x"]')" = "[8, 3, 32, 32]" ]
    [ "$(look "$OUT" 'config["know"]')" = "['weights', 'architecture', 'classes', 'pixel-range', 'mean-image', 'equal-classes']" ]
    for arch in mlp cnn vit; do
        trainclf -q -i "$DATA/colour.st" --arch "$arch" --epochs 1 --batch 30 -o "$BATS_TEST_TMPDIR/colour.st"
        run -0 invert "$BATS_TEST_TMPDIR/colour.st" -m generator --width 2 --batch 4 --steps 2 -n 4 -o "$OUT"
        sound "$OUT" 4
        [ "$(look "$OUT" 'shape["x"]')" = "[4, 3, 32, 32]" ]
    done
    run -0 trainclf -q -i "$DATA/train.st" --arch "homogeneous 8" --positive 1,3,5 --epochs 2 -o "$BATS_TEST_TMPDIR/binary.st"
    run -0 invert "$BATS_TEST_TMPDIR/binary.st" "${QUICK[@]}" -n 6 -o "$OUT"
    [ "$(look "$OUT" 'sorted(t["y"])')" = "[0, 0, 0, 1, 1, 1]" ]
}

@test "miface: the model is sure of what it climbs to" {
    run -0 invert "$MODEL" -m miface -n 20 --steps 80 -o "$OUT"
    sound "$OUT" 20
    [ "$(look "$OUT" "$surest_first")" = True ]
    [ "$(look "$OUT" 'min(t["confidence"]) > .9 and len(set(t["y"])) == 10')" = True ]
    run -0 invert "$MODEL" -m miface -n 20 --steps 80 --fail-if 'confidence.mean<.9' -o "$OUT"
    run -1 invert "$MODEL" -m miface -n 20 --steps 1 --step .01 --fail-if 'confidence.mean<.9' -o "$OUT"
}

@test "rows: the first layer, its negatives, no more than there are" {
    run -0 invert "$MODEL" -m rows -n 30 -o "$OUT"
    sound "$OUT" 30
    [ "$(look "$OUT" 'all(abs(a + b - 1) < 1e-5 for a, b in zip(t["x"][:784], t["x"][784:1568]))')" = True ]
    run -0 invert "$MODEL" -m rows -n 1000 -o "$OUT"
    [ "$(look "$OUT" 'shape["x"][0]')" = 48 ]
    rm "$OUT"
    refuse 3 "not linear in the whole image" "$DATA/colour-model.st" -m rows
}

@test "kkt: candidates in the span, their number read off the weights, a certificate" {
    fetch -q synthetic --count 20 --seed 2 -o "$DATA/few.st"
    trainclf -q -i "$DATA/few.st" --arch "homogeneous 200 | init torch,first:1e-3" --normalise mean-image --l2 1e-3 --batch 20 \
        --schedule cosine --epochs 1000 --settle sgd:1000 -o "$DATA/few-model.st"
    tensor release "$DATA/few-model.st" -o "$DATA/released.st"
    run -0 invert "$DATA/released.st" --steps 300 --restarts 2 -o "$OUT"
    [[ "$output" == *"20 training images, read off the singular values"* ]]
    [ "$(look "$OUT" "[kind, shape['x'], shape['certified'], shape['loss.residual']]")" = \
        "['reconstruction', [160, 1, 28, 28], [160], [2, 300]]" ]
    [ "$(look "$OUT" 'min(t["x"]) >= 0 and max(t["x"]) <= 1 and all(0 <= c <= 1 for c in t["confidence"])')" = True ]
    [ "$(look "$OUT" 'sorted(set(t["y"])) == list(range(10)) and config["images"] == 20')" = True ]
    [ "$(look "$OUT" 'config["know"]')" = "['weights', 'architecture', 'classes', 'pixel-range', 'mean-image', 'equal-classes']" ]
    # The residual falls, and what is certain says how often.
    [ "$(look "$OUT" 't["loss.residual"][299] < .3 * t["loss.residual"][0] and 0 < metrics["residual"] < .4')" = True ]
    [ "$(look "$OUT" 'sum(t["certified"]) == metrics["certified"]["images"] <= metrics["certified"]["candidates"]')" = True ]
    # Members come back, other images of the same classes do not.
    fetch -q synthetic --count 600 --seed 2 -o "$DATA/many.st"
    run -0 ssim "$OUT" --truth "$DATA/few.st" --control "$DATA/many.st" --exclude --baselines none --fail-if 'ncc.auc<.6' \
        -o "$OUT.score"
    # The number told, and fewer images written.
    run -0 invert "$DATA/released.st" --images 18 --steps 20 --restarts 1 --candidates 30 -n 12 -o "$OUT"
    [ "$(look "$OUT" "[shape['x'][0], config['candidates'], 'number-of-images' in config['know']]")" = "[12, 30, True]" ]
}

@test "kkt without the span: any architecture, pixel by pixel; the claim is lowered in words" {
    run -0 invert "$DATA/colour-model.st" --images 6 --steps 5 --restarts 2 -o "$OUT"
    [[ "$output" == *"no span: the first layer is not linear"* ]]
    [ "$(look "$OUT" "[shape['x'], set(t['certified'])]")" = "[[48, 3, 32, 32], {0}]" ]
    [ "$(look "$OUT" '"nothing promises" in record["notes"][0] and "certified" not in metrics')" = True ]
    run -0 invert "$MODEL" --span off --images 5 --steps 5 --restarts 1 -o "$OUT"
    [ "$(look "$OUT" '"nothing promises" in record["notes"][0]')" = False ]
    run -0 trainclf -q -i "$DATA/train.st" --arch "homogeneous 8" --positive 1,3,5 --epochs 2 -o "$BATS_TEST_TMPDIR/binary.st"
    run -0 invert "$BATS_TEST_TMPDIR/binary.st" --images 6 --steps 5 -o "$OUT"
    [ "$(look "$OUT" 'sorted(set(t["y"]))')" = "[0, 1]" ]
    run -0 invert "$MODEL" --images 5 --explain
    [[ "$output" == *gemm* ]]
}

@test "the same bytes on any number of threads, other bytes from another seed" {
    for method in generator miface kkt; do
        case $method in
        generator) extra=("${QUICK[@]}") ;;
        miface) extra=(-m miface --steps 20) ;;
        kkt) extra=(--images 6 --steps 20 --restarts 2) ;;
        esac
        invert -q "$MODEL" "${extra[@]}" -n 20 --threads 1 -o "$OUT.1"
        invert -q "$MODEL" "${extra[@]}" -n 20 --threads 3 -o "$OUT.3"
        cmp "$OUT.1" "$OUT.3"
        invert -q "$MODEL" "${extra[@]}" -n 20 --seed 1 -o "$OUT.4"
        run ! cmp -s "$OUT.1" "$OUT.4"
    done
}

@test "a run that was cut ends as if it had not been" {
    long=(-m generator --width 2 --batch 10 --steps 100000 -n 10)
    invert -q "$MODEL" "${long[@]}" --checkpoint "$OUT.cp" --every 20 -o "$OUT" &
    pid=$!
    until [ -e "$OUT.cp" ]; do sleep .05; done
    kill -TERM $pid
    status=0
    wait $pid || status=$?
    [ "$status" -eq 143 ]
    [ ! -e "$OUT" ]
    [ -s "$OUT.cp" ]
    run -0 tensor verify "$OUT.cp"
    step=$(look "$OUT.cp" 't["assay.run.step"][0]')
    [ "$step" -gt 0 ] && [ "$step" -lt 100000 ]
    refuse 3 "checkpoint of another run: seed is 0 there and 1 here" "$MODEL" "${long[@]}" --resume "$OUT.cp" --seed 1
    # Whether it ends the same is for the unit test, bit for bit; a short run is saved at its end and goes no further.
    invert -q "$MODEL" "${QUICK[@]}" -n 10 --checkpoint "$OUT.end" --every 4 -o "$OUT.1"
    invert -q "$MODEL" "${QUICK[@]}" -n 10 --resume "$OUT.end" -o "$OUT.2"
    cmp "$OUT.1" "$OUT.2"
}

@test "kkt: a network at rest gives every image back, exactly; what is certain is taken off for the rest" {
    fetch -q synthetic --count 400 --size 1x12x12 -o "$OUT.all"
    fetch -q synthetic --count 400 --size 1x12x12 --per-class 2 -o "$OUT.few"
    trainclf -q -i "$OUT.few" --arch "flatten | linear 200 | relu | linear classes nobias fixed | init he,first:1e-3" \
        --normalise mean-image --l2 1e-3 --batch 20 --schedule cosine --epochs 300 --settle lbfgs:600 -o "$OUT.rest"
    invert -q "$OUT.rest" --steps 700 --rounds 1 -o "$OUT.once"
    run -0 invert "$OUT.rest" --steps 700 --threads 1 --checkpoint "$OUT.cp" -o "$OUT"
    rounds='metrics["rounds"]'
    [ "$(look "$OUT" "[$rounds[0]['images'], sum(r['certified'] for r in $rounds) == metrics['certified']['images'] == sum(t['certified'])]")" = "[20, True]" ]
    [ "$(look "$OUT" "all(b['images'] == a['images'] - a['certified'] > 0 for a, b in zip($rounds, $rounds[1:]))")" = True ]
    [ "$(look "$OUT.once" "len($rounds)")" = 1 ]
    [ "$(look "$OUT" "$rounds[0]['certified'] <= $(look "$OUT.once" "$rounds[0]['certified']")")" = True ]  # only exact ones
    # A quarter was certain after the first restart, so there was no other one; the record keeps the three that were asked for.
    [ "$(look "$OUT" "[config['restarts'], config['rounds'], shape['loss.residual']]")" = "[3, 8, [1, 700]]" ]
    # With a candidate for an image, the first round misses some, and another one follows.
    run -0 invert "$OUT.rest" --steps 700 --candidates 20 -o "$OUT.few.st"
    [[ "$output" == *"are sought in what these leave of the weights"* ]]
    [ "$(look "$OUT.few.st" "len($rounds) > 1 and sum(r['certified'] for r in $rounds) > $rounds[0]['certified']")" = True ]
    # A number that the weights contradict is taken, with a word.
    run -0 invert "$OUT.rest" --steps 200 --images 19 -o "$OUT.few.st"
    [[ "$output" == *"--images 19, but the singular values have their gap after the 20th"* ]]
    ssim -q "$OUT" -t "$OUT.few" -c "$OUT.all" --exclude --baselines none --json -o "$OUT.score" > "$OUT.json" 
    python3 -c 'import json, sys; m = json.load(open(sys.argv[1]))["metrics"]
assert m["certified"]["right"] == m["certified"]["count"] >= 18 and m["ncc"]["matched_at_0p999"]["truth"] >= 18, m' "$OUT.json"
    # Rounds are made again after a checkpoint, on other threads, to the same bytes.
    invert -q "$OUT.rest" --steps 700 --threads 2 --resume "$OUT.cp" -o "$OUT.again"
    cmp "$OUT" "$OUT.again"
    rm "$OUT"
    refuse 3 "rounds is 8 there and 1 here" "$OUT.rest" --steps 700 --rounds 1 --resume "$OUT.cp"
    refuse 2 "--rounds is for --method kkt" "$OUT.rest" -m rows --rounds 2
    # Pixel by pixel there are no rows to be sure of.
    run -0 invert "$OUT.rest" --span off --images 20 --steps 20 --restarts 2 -o "$OUT"
    [ "$(look "$OUT" '[shape["loss.residual"], "rounds" in metrics]')" = "[[2, 20], False]" ]
}

@test "kkt --also: starts at what the generator made, and goes its own way from there" {
    invert -q "$MODEL" "${QUICK[@]}" -n 20 -o "$OUT.made"
    one=(--also "$OUT.made" --images 5 --candidates 20 --restarts 1)
    # One step of one restart is the start: without the span the images themselves, each in its class.
    run -0 invert "$MODEL" "${one[@]}" --span off --steps 1 -o "$OUT"
    [[ "$output" == *"20 of 20 candidates start at images of"*" has 20"* ]]
    rows='sorted((t["y"][i], t["x"][784 * i:784 * (i + 1)]) for i in range(20))'
    [ "$(look "$OUT" "$rows" | sha256sum)" = "$(look "$OUT.made" "$rows" | sha256sum)" ]
    # Inside it their projections, whatever the seed: no draw is left.
    run -0 invert "$MODEL" "${one[@]}" --box 0 --steps 1 --seed 1 -o "$OUT.1"
    run -0 invert "$MODEL" "${one[@]}" --box 0 --steps 1 --seed 2 -o "$OUT.2"
    [ "$(look "$OUT.1" 't["x"]' | sha256sum)" = "$(look "$OUT.2" 't["x"]' | sha256sum)" ]
    [ "$(look "$OUT.1" 't["loss.residual"]')" = "$(look "$OUT.2" 't["loss.residual"]')" ]
    run -0 invert "$MODEL" --images 5 --candidates 20 --restarts 1 --steps 1 -o "$OUT.drawn"
    [ "$(look "$OUT.1" 't["loss.residual"]')" != "$(look "$OUT.drawn" 't["loss.residual"]')" ]
    # The attack goes on from that residual, with its own settings; both stand in the lineage.
    run -0 invert "$MODEL" "${one[@]}" --steps 40 -o "$OUT"
    [ "$(look "$OUT" 't["loss.residual"][0]')" = "$(look "$OUT.1" 't["loss.residual"][0]')" ]
    [ "$(look "$OUT" 't["loss.residual"][39] < t["loss.residual"][0]')" = True ]
    [ "$(look "$OUT" '[entry["program"] for entry in lineage]')" = "['fetch', 'trainclf', 'invert', 'invert']" ]
    [ "$(look "$OUT" '[entry["options"]["method"] for entry in lineage[2:]]')" = "['generator', 'kkt']" ]
    [ "$(look "$OUT" 'len(config["also"]), metrics["started"], config["steps"]')" = "(64, 20, 40)" ]
    # By a pipe, and with room left, which is drawn.
    invert -q "$MODEL" "${QUICK[@]}" -n 20 | invert -q "$MODEL" --also - "${one[@]:2}" --steps 40 -o "$OUT.pipe"
    cmp "$OUT" "$OUT.pipe"
    run -0 invert "$MODEL" --also "$OUT.made" --images 5 --restarts 2 --steps 3 -o "$OUT"
    [ "$(look "$OUT" 'metrics["started"], metrics["candidates"]')" = "(20, 40)" ]
    run -0 invert "$MODEL" "${QUICK[@]}" -n 20 -o "$OUT"
    [ "$(look "$OUT" '"also" in config')" = False ]
}

@test "kkt --also: threads, a cut run, and what is refused" {
    invert -q "$MODEL" "${QUICK[@]}" -n 20 -o "$OUT.made"
    run=(--also "$OUT.made" --images 6 --steps 30 --restarts 2)
    invert -q "$MODEL" "${run[@]}" --threads 1 --checkpoint "$OUT.cp" -o "$OUT.1"
    invert -q "$MODEL" "${run[@]}" --threads 3 -o "$OUT.3"
    cmp "$OUT.1" "$OUT.3"
    invert -q "$MODEL" "${run[@]}" --resume "$OUT.cp" -o "$OUT.2"
    cmp "$OUT.1" "$OUT.2"
    refuse 3 "checkpoint of another run: also is" "$MODEL" "${run[@]:2}" --resume "$OUT.cp"
    refuse 2 "--also is for --method kkt" "$MODEL" -m rows --also "$OUT.made"
    refuse 2 "one of the model, the images of --also and the checkpoint" - --also -
    refuse 2 "one of the model, the images of --also and the checkpoint" "$MODEL" --also - --resume -
    refuse 3 "made of another model" "$DATA/colour-model.st" --images 6 --also "$OUT.made"
    refuse 3 "reconstruction" "$MODEL" --images 6 --also "$DATA/train.st"
    # What another attack was told counts as known.
    run -0 invert "$MODEL" --images 5 --steps 3 -o "$OUT.told"
    run -0 invert "$MODEL" -m kkt --also "$OUT.told" --know
    [[ "$output" == *number-of-images* ]]
}

@test "--know: what the attack would use, and nothing is run" {
    words() { invert -q "$@" --know | cut -d ' ' -f 1 | tr '\n' ' '; }
    [ "$(words "$DATA/colour-model.st")" = "weights architecture classes pixel-range mean-image equal-classes " ]
    [ "$(words "$DATA/colour-model.st" --images 3 --margin 5)" = \
        "weights architecture classes pixel-range mean-image equal-classes number-of-images margin " ]
    [ "$(words "$MODEL" -m generator)" = "weights architecture classes pixel-range scalar-normalisation equal-classes " ]
    [ "$(words "$MODEL" -m rows -o "$OUT")" = "weights architecture classes pixel-range scalar-normalisation " ]
    [ ! -e "$OUT" ]
    # Each with its meaning, and the words of the record.
    run -0 invert -q "$MODEL" --images 3 --know
    [ "$(grep -cE '^[a-z-]+  +[a-z]' <<< "$output")" -eq "${#lines[@]}" ]
    run -0 invert "$MODEL" --images 3 --steps 1 --restarts 1 -o "$OUT"
    [ "$(look "$OUT" '" ".join(config["know"])') " = "$(words "$MODEL" --images 3)" ]
    invert "$MODEL" --know > /dev/full && return 1
    [ $? -eq 4 ]
}

@test "kkt: a signal while candidates are ranked keeps the run" {
    long=(--images 6 --span off --steps 1 --candidates 100 --restarts 80)
    invert "$MODEL" "${long[@]}" --checkpoint "$OUT.cp" -o "$OUT" 2> "$OUT.said" &
    pid=$!
    until [ -e "$OUT.cp" ]; do sleep .02; done
    kill -TERM $pid
    status=0
    wait $pid || status=$?
    [ "$status" -eq 143 ]
    [ ! -e "$OUT" ]
    grep -q "interrupted after step 80; --resume $OUT.cp continues" "$OUT.said"
}

@test "refusals" {
    refuse 2 "--eta4 is for --method generator" "$MODEL" -m miface --eta4 1
    refuse 2 "--patience is for --method miface" "$MODEL" --patience 3
    refuse 2 "--steps is for --method kkt or generator or miface" "$MODEL" -m rows --steps 3
    refuse 2 "--images N" "$DATA/colour-model.st"
    refuse 2 "--images N" "$MODEL" --span off
    refuse 2 "--sharpen: two numbers" "$MODEL" --sharpen 3
    refuse 2 "every weight is zero" "$MODEL" -m generator --preset stationary-only --eta4 0
    refuse 2 "12 x 12" "$DATA/small-model.st" -m generator
    refuse 2 "--every needs --checkpoint" "$MODEL" -m generator --every 3
    refuse 2 "files of their own" "$MODEL" --images 6 --checkpoint "$OUT"
    cp "$MODEL" "$BATS_TEST_TMPDIR/m.st"
    run -2 invert "$BATS_TEST_TMPDIR/m.st" --images 6 -o "$BATS_TEST_TMPDIR/m.st"
    [[ "$output" == *"m.st is also an input, which would be lost"* ]]
    run -2 invert "$BATS_TEST_TMPDIR/m.st" --images 6 --checkpoint "$BATS_TEST_TMPDIR/m.st" -o "$OUT"
    run -2 invert "$MODEL" --images 6 --also "$BATS_TEST_TMPDIR/m.st" -o "$BATS_TEST_TMPDIR/m.st"
    run -2 invert "$MODEL" --images 6 --resume "$BATS_TEST_TMPDIR/m.st" -o "$BATS_TEST_TMPDIR/m.st"
    cmp "$BATS_TEST_TMPDIR/m.st" "$MODEL"
    refuse 3 "dataset" "$DATA/train.st"
    refuse 2 "no-such-device" "$MODEL" --device no-such-device "${QUICK[@]}"
}

@test "kkt: a run that was cut ends as if it had not been" {
    long=(--images 6 --steps 400 --restarts 50)
    invert -q "$MODEL" "${long[@]}" -o "$OUT" &
    pid=$!
    sleep .5
    kill -TERM $pid
    status=0
    wait $pid || status=$?
    [ "$status" -eq 143 ]
    [ ! -e "$OUT" ]
    run -0 tensor verify "$OUT.checkpoint"
    refuse 3 "checkpoint of another run: seed is 0 there and 1 here" "$MODEL" "${long[@]}" --resume "$OUT.checkpoint" --seed 1
    run -0 invert -q "$MODEL" "${QUICK[@]}" -o "$OUT"
    [[ "$output" == *"$OUT.checkpoint holds an earlier run: --resume goes on with it"* ]]
    run -0 invert -q "$MODEL" "${long[@]}" --resume "$OUT.checkpoint" -o "$OUT.1"
    [ -z "$output" ]
    invert -q "$MODEL" "${long[@]}" -o "$OUT.2"
    cmp "$OUT.1" "$OUT.2"
}

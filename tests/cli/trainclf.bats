# trainclf: what it writes, the same bytes every time, cut and continued, imported, refused.

bats_require_minimum_version 1.5.0

setup_file() {
    export DATA="$BATS_FILE_TMPDIR"
    fetch -q synthetic --count 240 --size 1x12x12 --seed 1 -o "$DATA/train.st"
    fetch -q synthetic --count 100 --size 1x12x12 --seed 2 -o "$DATA/test.st"
    fetch -q synthetic --count 20 --size 3x12x12 -o "$DATA/colour.st"
}

setup() {
    OUT="$BATS_TEST_TMPDIR/model.st"
    SMALL="conv 4 3 | relu | maxpool 2 | flatten | linear 10"
}

# look FILE EXPRESSION: a Python expression over `t` (tensors as lists), `shape` and `record`.
look() {
    python3 - "$@" << 'END'
import json, math, struct, sys
raw = open(sys.argv[1], "rb").read()
n = struct.unpack("<Q", raw[:8])[0]
head, data = json.loads(raw[8:8 + n]), raw[8 + n:]
meta = head.pop("__metadata__")
record, kind, lineage = json.loads(meta["assay.record"]), meta["assay.kind"], json.loads(meta.get("assay.lineage", "[]"))
code = {"F32": "f", "F64": "d", "U8": "B", "I64": "q"}
t = {k: struct.unpack(f"<{math.prod(v['shape'])}{code[v['dtype']]}", data[slice(*v["data_offsets"])]) for k, v in head.items()}
shape = {k: v["shape"] for k, v in head.items()}
print(eval(sys.argv[2]))
END
}

refuse() {  # STATUS WORD ARGUMENTS...
    local wanted=$1 word=$2
    shift 2
    run trainclf "$@" -o "$OUT"
    echo "$output"
    [ "$status" -eq "$wanted" ]
    [[ "$output" == *"$word"* ]]
    [ ! -e "$OUT" ]
}

@test "a model holds weights by PyTorch's names, the record and the history" {
    run trainclf -i "$DATA/train.st" --test "$DATA/test.st" --arch "$SMALL" --epochs 6 --lr .02 -o "$OUT"
    [ "$status" -eq 0 ]
    [[ "$output" == *"epoch 6/6: loss"* ]]
    [ "$(look "$OUT" 'kind')" = model ]
    [ "$(look "$OUT" '[shape[k] for k in ("0.weight", "0.bias", "4.weight", "4.bias", "assay.keep")]')" = \
        "[[4, 1, 3, 3], [4], [10, 144], [10], [240]]" ]
    [ "$(look "$OUT" 'record["config"]["arch"]')" = "$SMALL" ]
    [ "$(look "$OUT" 'sum(t["assay.keep"])')" = 240 ]
    # What the record says of the run is the history's end, and it has learnt.
    [ "$(look "$OUT" 'list(t["assay.history.test_loss"]) == record["metrics"]["history"]["test_loss"]')" = True ]
    [ "$(look "$OUT" 't["assay.history.test_accuracy"][-1] == record["metrics"]["test"]["accuracy"]')" = True ]
    [ "$(look "$OUT" 'record["metrics"]["test"]["accuracy_interval"][0] > .3')" = True ]
    [ "$(look "$OUT" 'record["metrics"]["history"]["train_loss"][0] > record["metrics"]["history"]["train_loss"][-1]')" = True ]
}

@test "the same command gives the same bytes, whatever the threads; another seed does not" {
    for threads in 1 2 3; do
        trainclf -q -i "$DATA/train.st" --arch "$SMALL | init he" --epochs 2 --augment shift:1 --threads $threads -o "$BATS_TEST_TMPDIR/$threads.st"
    done
    cmp "$BATS_TEST_TMPDIR/1.st" "$BATS_TEST_TMPDIR/2.st"
    cmp "$BATS_TEST_TMPDIR/1.st" "$BATS_TEST_TMPDIR/3.st"
    trainclf -q -i "$DATA/train.st" --arch "$SMALL | init he" --epochs 2 --augment shift:1 --seed 1 -o "$OUT"
    ! cmp "$BATS_TEST_TMPDIR/1.st" "$OUT"
}

@test "a terminated run leaves a checkpoint and no model, and --resume gives the bytes of an uncut run" {
    ARGS=(-q -i "$DATA/train.st" --arch "conv 16 3 | relu | conv 16 3 | relu | maxpool 2 | dropout .2 | flatten | linear 10" --epochs 60 --batch 16
          --schedule cosine --validation .2 --keep-best)
    trainclf "${ARGS[@]}" -o "$BATS_TEST_TMPDIR/whole.st"
    trainclf "${ARGS[@]}" --checkpoint "$BATS_TEST_TMPDIR/cut.st" -o "$OUT" 3>&- &
    while [ ! -e "$BATS_TEST_TMPDIR/cut.st" ]; do sleep .01; done
    kill -TERM $!
    status=0
    wait $! || status=$?
    [ "$status" -eq 143 ]
    [ ! -e "$OUT" ]
    [ "$(look "$BATS_TEST_TMPDIR/cut.st" 'kind, 0 < t["assay.run.counters"][0] < 720')" = "('checkpoint', True)" ]
    trainclf "${ARGS[@]}" --resume "$BATS_TEST_TMPDIR/cut.st" -o "$OUT"
    cmp "$BATS_TEST_TMPDIR/whole.st" "$OUT"
    rm "$OUT"
    refuse 3 "lr is 0.001 there and 0.01 here" "${ARGS[@]}" --lr .01 --resume "$BATS_TEST_TMPDIR/cut.st"
}

@test "an interrupted run is saved beside its output" {
    ARGS=(-q -i "$DATA/train.st" --arch "conv 16 3 | relu | flatten | linear 10" --epochs 10000 --batch 16 -o "$OUT")
    trainclf "${ARGS[@]}" 3>&- &
    sleep .5
    kill -INT $!
    status=0
    wait $! || status=$?
    [ "$status" -eq 130 ]
    [ ! -e "$OUT" ]
    [ "$(look "$OUT.checkpoint" 'kind')" = checkpoint ]
}

@test "halves of the data are recorded and complete each other" {
    trainclf -q -i "$DATA/train.st" --arch "$SMALL" --epochs 1 --subset random-half:7 -o "$OUT"
    trainclf -q -i "$DATA/train.st" --arch "$SMALL" --epochs 1 --subset random-half:7:other -o "$BATS_TEST_TMPDIR/other.st"
    [ "$(look "$OUT" 'sum(t["assay.keep"])')" = 120 ]
    keep=$(look "$OUT" 'str([1 - k for k in t["assay.keep"]])')
    [ "$(look "$BATS_TEST_TMPDIR/other.st" 'str(list(t["assay.keep"]))')" = "$keep" ]
    # A model's own keep is a mask for the next one; validation examples are not members.
    trainclf -q -i "$DATA/train.st" --arch "$SMALL" --epochs 1 --subset "$OUT" --validation .25 -o "$BATS_TEST_TMPDIR/third.st"
    [ "$(look "$BATS_TEST_TMPDIR/third.st" 'sum(t["assay.keep"])')" = 90 ]
}

@test "a binary network has one output and says which labels are positive" {
    trainclf -q -i "$DATA/train.st" --arch "homogeneous 20" --positive 1,3,5,7,9 --epochs 2 -o "$OUT"
    [ "$(look "$OUT" 'shape["3.weight"], record["config"]["positive"], "3.bias" in shape')" = "([1, 20], [1, 3, 5, 7, 9], False)" ]
}

@test "--json prints the record alone" {
    run --separate-stderr trainclf -q -i "$DATA/train.st" --arch "$SMALL" --epochs 1 --json
    [ "$status" -eq 0 ]
    echo "$output" | python3 -c 'import json, sys; r = json.load(sys.stdin); assert r["metrics"]["steps"] == 2 and r["config"]["optimiser"] == "adam"'
}

@test "--explain prints the plan, --profile the time" {
    run --separate-stderr trainclf -i "$DATA/train.st" --arch "$SMALL" --explain
    [ "$status" -eq 0 ]
    [[ "$output" == *"conv"* && "$output" == *"instructions"* ]]
    run trainclf -i "$DATA/train.st" --arch "$SMALL" --epochs 1 --profile -o "$OUT"
    [[ "$output" == *"optimiser"*"%"* && "$output" == *"conv"*"%"* ]]
}

@test "the products of attention read and write in place" {
    plan=$(trainclf -i "$DATA/train.st" --arch "patch 4 8 | encoder 2 16 | flatten | linear 10" --explain)
    [ "$(grep -c ' product ' <<< "$plan")" -eq 6 ]
    [ "$(grep -c ' copy ' <<< "$plan")" -eq 0 ]
}

@test "an output over an input is refused, and the input is left" {
    cp "$DATA/train.st" "$BATS_TEST_TMPDIR/in.st"
    cp "$DATA/test.st" "$BATS_TEST_TMPDIR/other.st"
    cd "$BATS_TEST_TMPDIR"
    ln -s in.st link.st
    run -2 trainclf -i in.st -o in.st
    [[ "$output" == *"-o in.st is also an input (-i), which would be lost"* ]]
    run -2 trainclf -i in.st -o link.st
    run -2 trainclf -i in.st --checkpoint in.st -o model.st
    [[ "$output" == *"--checkpoint in.st is also an input (-i)"* ]]
    run -2 trainclf -i in.st --test other.st -o other.st
    run -2 trainclf -i in.st --subset other.st -o other.st
    run -2 trainclf --import other.st -i in.st -o other.st
    run -2 trainclf -i in.st --resume other.st -o other.st
    cmp in.st "$DATA/train.st"
    cmp other.st "$DATA/test.st"
    # A word is no file, and a checkpoint goes on in its own.
    trainclf -q -i in.st --arch "$SMALL" --epochs 1 --checkpoint run.st -o all
    trainclf -q -i in.st --arch "$SMALL" --epochs 1 --checkpoint run.st --resume run.st -o again.st
    cmp all again.st
    trainclf -q -i in.st --arch "$SMALL" --epochs 1 -o all
}

@test "what is no data set is named for what it is, once" {
    cd "$BATS_TEST_TMPDIR"
    trainclf -q -i "$DATA/train.st" --arch "flatten | linear 10" --epochs 1 -o m.st
    refuse 3 "error: m.st: kind dataset expected, model found" -i m.st
    # Reconstructions have x and y as a data set has.
    invert -q m.st --method rows -o found.st
    refuse 3 "error: found.st: kind dataset expected, reconstruction found" -i found.st
    python3 "$BATS_TEST_DIRNAME/../make_blob.py" plain.st null '{"x": ["U8", [1, 1, 1, 1], [0]]}'
    refuse 3 "error: plain.st: tensor y expected, x found" -i plain.st
    tensor png "$DATA/train.st" -o look.png
    refuse 3 "error: look.png: not a safetensors file: it begins like a PNG picture" -i look.png
    gzip -nc "$DATA/train.st" | gzip -nc > twice.gz
    refuse 3 "it begins like gzip inside gzip" -i twice.gz
}

@test "--import takes its own and other weights, and refuses what does not fit" {
    trainclf -q -i "$DATA/train.st" --arch "$SMALL" --epochs 1 -o "$OUT"
    trainclf -q --import "$OUT" --arch "$SMALL" --image 1,12,12 --normalise constant:.5,.25 -o "$BATS_TEST_TMPDIR/again.st"
    weights=$(look "$OUT" 't["4.weight"]')
    [ "$(look "$BATS_TEST_TMPDIR/again.st" 't["4.weight"]')" = "$weights" ]
    [ "$(look "$BATS_TEST_TMPDIR/again.st" 't["assay.mean"], t["assay.std"]')" = "((0.5,), (0.25,))" ]
    mv "$OUT" "$BATS_TEST_TMPDIR/first.st"
    refuse 3 "tensor 0.weight: F32 [5,1,3,3] expected" --import "$BATS_TEST_TMPDIR/first.st" --image 1,12,12 \
        --arch "conv 5 3 | relu | maxpool 2 | flatten | linear 10"
    refuse 3 "has no place in the architecture" --import "$BATS_TEST_TMPDIR/first.st" --image 1,12,12 --arch "relu | relu | relu | flatten | linear 10"
    refuse 2 "shape of an image" --import "$BATS_TEST_TMPDIR/first.st" --arch "$SMALL"
}

@test "mistakes are named before any work" {
    refuse 2 "-i DATA is missing" --arch cnn
    refuse 2 'column 12 ("rlu")' -i "$DATA/train.st" --arch "conv 4 3 | rlu"
    refuse 2 "ends with [7] where [10] is needed" -i "$DATA/train.st" --arch "flatten | linear 7"
    refuse 2 "schedule" -i "$DATA/train.st" --arch "$SMALL" --schedule linear
    refuse 2 "augmentation" -i "$DATA/train.st" --arch "$SMALL" --augment spin
    refuse 2 "normalisation" -i "$DATA/train.st" --arch "$SMALL" --normalise max
    refuse 2 "--keep-best needs --validation" -i "$DATA/train.st" --keep-best
    refuse 2 "--positive" -i "$DATA/train.st" --positive 1,x
    refuse 2 "files of their own" -i "$DATA/train.st" --checkpoint "$OUT"
    refuse 2 "class weights" -i "$DATA/train.st" --arch "$SMALL" --class-weights 1,2
    refuse 4 "no executor for CUDA" -i "$DATA/train.st" --arch "$SMALL" --device cuda
    refuse 2 "no device" -i "$DATA/train.st" --arch "$SMALL" --device tpu
    refuse 3 "images of [3, 12, 12], and the model takes [1, 12, 12]" -i "$DATA/train.st" --arch "$SMALL" --test "$DATA/colour.st"
    refuse 4 "nowhere.st" -i "$DATA/nowhere.st"
}

@test "an output that cannot be written is told before the training" {
    for bad in "$BATS_TEST_TMPDIR/nowhere/m.st" "$BATS_TEST_TMPDIR"; do
        run trainclf -i "$DATA/train.st" --arch "$SMALL" --epochs 1000000 -o "$bad"
        echo "$output"
        [ "$status" -eq 4 ]
        [[ "$output" == *"$bad"* && "$output" != *"steps an epoch"* ]]
    done
    refuse 4 "nowhere/c.st" -i "$DATA/train.st" --arch "$SMALL" --epochs 1000000 --checkpoint "$BATS_TEST_TMPDIR/nowhere/c.st"
}

@test "settings that would train nothing are refused" {
    ARGS=(-i "$DATA/train.st" --arch "$SMALL" --epochs 1)
    refuse 2 "--validation 0.001 of 240 examples is none" "${ARGS[@]}" --validation .001 --patience 3
    refuse 2 "WIDTHS is missing" -i "$DATA/train.st" --arch homogeneous
    refuse 2 "no example to train on has a positive weight" "${ARGS[@]}" --class-weights 0,0,0,0,0,0,0,0,0,0
    refuse 2 "numbers from 0 to 1e6" "${ARGS[@]}" --class-weights 1e30,1,1,1,1,1,1,1,1,1
    refuse 2 "numbers from 0 to 1e6" "${ARGS[@]}" --class-weights 1,1,1,1,1,1,1,1,1,1,
    BINARY=(-i "$DATA/train.st" --arch "flatten | linear 1" --epochs 1)
    refuse 3 "none of the 240 examples to train on is in the positive class" "${BINARY[@]}" --positive 30
    refuse 3 "all of the 240 examples to train on are in the positive class" "${BINARY[@]}" --positive 0,1,2,3,4,5,6,7,8,9
    refuse 2 "labels are whole numbers" "${BINARY[@]}" --positive 1.5
    fetch -q synthetic --count 20 --size 1x12x12 --classes 1 -o "$BATS_TEST_TMPDIR/one.st"
    refuse 3 "one class only" -i "$BATS_TEST_TMPDIR/one.st" --arch "flatten | linear 1"
    trainclf -q "${ARGS[@]}" --class-weights 0,0,0,0,0,0,0,0,1,2 -o "$OUT"
}

@test "a seed is written as it was given" {
    trainclf -q -i "$DATA/train.st" --arch "$SMALL" --epochs 1 --seed 18446744073709551615 -o "$OUT"
    [ "$(look "$OUT" 'record["config"]["seed"], lineage[-1]["seed"]')" = "('18446744073709551615', '18446744073709551615')" ]
}

@test "one word for one thing: onecycle is one-cycle, the normalisation has one key" {
    trainclf -q -i "$DATA/train.st" --arch "$SMALL" --epochs 2 --schedule onecycle --normalise constant:.5,.25 -o "$BATS_TEST_TMPDIR/a.st"
    trainclf -q -i "$DATA/train.st" --arch "$SMALL" --epochs 2 --schedule one-cycle --normalise constant:.5,.25 -o "$OUT"
    cmp "$BATS_TEST_TMPDIR/a.st" "$OUT"
    [ "$(look "$OUT" '[(k, v) for k, v in record["config"].items() if k.startswith("normalis")]')" = "[('normalise', 'constant:.5,.25')]" ]
    [ "$(look "$OUT" 'record["config"]["schedule"]')" = one-cycle ]
}

@test "a batch larger than the data costs no more than the data" {
    for batch in 240 1000000; do
        trainclf -q -i "$DATA/train.st" --arch "$SMALL" --epochs 2 --batch $batch -o "$BATS_TEST_TMPDIR/$batch.st"
    done
    [ "$(look "$BATS_TEST_TMPDIR/240.st" 't["4.weight"]')" = "$(look "$BATS_TEST_TMPDIR/1000000.st" 't["4.weight"]')" ]
    # A million images of this size are 576 MB.
    (ulimit -v 524288; trainclf -q -i "$DATA/train.st" --arch "$SMALL" --epochs 1 --threads 1 --batch 1000000 -o "$OUT")
}

@test "a run that is interrupted after its last step leaves a checkpoint" {
    # Much to evaluate and little to train: the signal comes while the last epoch is evaluated, or later.
    fetch -q synthetic --count 20000 --size 1x12x12 --seed 3 -o "$BATS_TEST_TMPDIR/large.st"
    ARGS=(-i "$DATA/train.st" --test "$BATS_TEST_TMPDIR/large.st" --epochs 1 --batch 240 --threads 1
          --arch "conv 32 3 | relu | conv 32 3 | relu | maxpool 2 | flatten | linear 10")
    for moment in "steps an epoch" "epoch 1/1"; do
        rm -f "$OUT" "$OUT.checkpoint"
        trainclf "${ARGS[@]}" -o "$OUT" 2> "$BATS_TEST_TMPDIR/said" 3>&- &
        until grep -q "$moment" "$BATS_TEST_TMPDIR/said"; do sleep .01; done
        sleep .2
        kill -INT $!
        status=0
        wait $! || status=$?
        cat "$BATS_TEST_TMPDIR/said"
        [ "$status" -eq 130 ]
        [ ! -e "$OUT" ]
        [ "$(look "$OUT.checkpoint" 'kind, t["assay.run.counters"][:2]')" = "('checkpoint', (1, 1))" ]
    done
    run -0 trainclf -q "${ARGS[@]}" --resume "$OUT.checkpoint" -o "$OUT"
    [ -z "$output" ]
    trainclf -q "${ARGS[@]}" -o "$BATS_TEST_TMPDIR/whole.st"
    cmp "$BATS_TEST_TMPDIR/whole.st" "$OUT"
}

@test "a run beside whose output an earlier one is kept says so before it may take its place" {
    trainclf -q -i "$DATA/train.st" --arch "$SMALL" --epochs 1 --checkpoint "$OUT.checkpoint" -o "$BATS_TEST_TMPDIR/other.st"
    run -0 trainclf -q -i "$DATA/train.st" --arch "$SMALL" --epochs 1 -o "$OUT"
    [[ "$output" == *"model.st.checkpoint holds an earlier run: --resume goes on with it"* ]]
    run -0 trainclf -q -i "$DATA/train.st" --arch "$SMALL" --epochs 1 --resume "$BATS_TEST_TMPDIR/model.st.checkpoint" -o "$OUT"
    [ -z "$output" ]
    cp "$OUT.checkpoint" "$BATS_TEST_TMPDIR/apart.st"
    run -0 trainclf -q -i "$DATA/train.st" --arch "$SMALL" --epochs 1 --resume "$BATS_TEST_TMPDIR/apart.st" -o "$OUT"
    [[ "$output" == *"holds an earlier run"* ]]
    run -0 trainclf -q -i "$DATA/train.st" --arch "$SMALL" --epochs 1 --checkpoint "$BATS_TEST_TMPDIR/named.st" -o "$OUT"
    [ -z "$output" ]
}

# forge FROM TO NUMBER VALUE: another value of a counter, and sums that fit it.
forge() {
    PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$BATS_TEST_DIRNAME/.." python3 - "$@" << 'END'
import json, reader, struct, sys
raw = open(sys.argv[1], "rb").read()
n = struct.unpack("<Q", raw[:8])[0]
head, data = json.loads(raw[8:8 + n]), bytearray(raw[8 + n:])
meta = head.pop("__metadata__")
at = head["assay.run.counters"]["data_offsets"][0] + 8 * int(sys.argv[3])
data[at:at + 8] = struct.pack("<q", int(sys.argv[4]))
del meta["assay.seal"]
meta["assay.digest"] = reader.digest(head, bytes(data))
meta["assay.seal"] = reader.seal(meta)
text = json.dumps({"__metadata__": meta, **head}).encode()
text = text.ljust((len(text) + 8 + 63) // 64 * 64 - 8)
open(sys.argv[2], "wb").write(struct.pack("<Q", len(text)) + text + data)
END
}

@test "counters that no run comes to are refused" {
    ARGS=(-i "$DATA/train.st" --arch "$SMALL" --epochs 2)
    trainclf -q "${ARGS[@]}" --checkpoint "$BATS_TEST_TMPDIR/kept.st" -o "$OUT"
    rm "$OUT"
    # Step, epoch, step of the epoch, handed out, seen, right, best epoch, bad epochs.
    for forged in "0 9223372036854775807" "0 3" "1 3" "1 -1" "2 1" "3 241" "4 -1" "4 9223372036854775807" "5 1" "6 3" "7 -1"; do
        forge "$BATS_TEST_TMPDIR/kept.st" "$BATS_TEST_TMPDIR/forged.st" $forged
        refuse 3 "forged.st: assay.run.counters: " "${ARGS[@]}" --resume "$BATS_TEST_TMPDIR/forged.st"
    done
}

@test "an interrupted run without a place for a checkpoint says so" {
    trainclf -q -i "$DATA/train.st" --arch "conv 16 3 | relu | flatten | linear 10" --epochs 10000 --batch 16 2> "$BATS_TEST_TMPDIR/said" > "$BATS_TEST_TMPDIR/out" 3>&- &
    sleep .5
    kill -INT $!
    status=0
    wait $! || status=$?
    [ "$status" -eq 130 ]
    [ ! -s "$BATS_TEST_TMPDIR/out" ]
    grep -q "nothing is kept" "$BATS_TEST_TMPDIR/said"
}

@test "a model that cannot be written at the end leaves the run in its checkpoint" {
    ARGS=(-i "$DATA/train.st" --arch "$SMALL" --epochs 2 --checkpoint "$BATS_TEST_TMPDIR/kept.st")
    # /dev/full can be opened and takes nothing.
    run trainclf "${ARGS[@]}" -o /dev/full
    echo "$output"
    [ "$status" -eq 4 ]
    [[ "$output" == *"No space left on device"* && "$output" == *"--resume $BATS_TEST_TMPDIR/kept.st"* ]]
    trainclf -q "${ARGS[@]}" --resume "$BATS_TEST_TMPDIR/kept.st" -o "$OUT"
    run bash -c "trainclf -i '$DATA/train.st' --arch '$SMALL' --explain > /dev/full"
    [ "$status" -eq 4 ]
    [[ "$output" == *"standard output: cannot write: No space left on device"* ]]
}

@test "--import takes no option of training, and its lineage names all it read" {
    trainclf -q -i "$DATA/train.st" --arch "flatten | linear 1" --positive 1,2 --epochs 1 -o "$BATS_TEST_TMPDIR/binary.st"
    IMPORT=(--import "$BATS_TEST_TMPDIR/binary.st" --arch "flatten | linear 1")
    refuse 2 "--epochs is for training" "${IMPORT[@]}" --image 1,12,12 --epochs 5
    refuse 2 "--l2 is for training" "${IMPORT[@]}" --image 1,12,12 --l2 .1
    refuse 2 "--subset is for training" "${IMPORT[@]}" -i "$DATA/train.st" --subset first:2
    refuse 2 "needs --positive" "${IMPORT[@]}" --image 1,12,12
    refuse 2 "shape of an image" "${IMPORT[@]}" --image 1,12
    trainclf -q "${IMPORT[@]}" --positive 1,2 -i "$DATA/train.st" -o "$OUT"
    [ "$(look "$OUT" 'lineage[-1]["options"]')" = "{'arch': 'flatten | linear 1', 'normalise': 'scalar', 'positive': [1, 2]}" ]
    [ "$(look "$OUT" 'len(lineage[-1]["inputs"])')" = 2 ]
    [ "$(look "$OUT" 't["assay.mean"]')" = "$(look "$BATS_TEST_TMPDIR/binary.st" 't["assay.mean"]')" ]
}

@test "a loss that is not finite stops the run with the step" {
    refuse 3 "step " -i "$DATA/train.st" --arch "$SMALL" --optimiser sgd --lr 1e6 --epochs 20
    [[ "$output" == *"the loss of example"* || "$output" == *"the gradient of tensor"* ]]
    [[ "$output" != *"-nan"* ]]
}

@test "training that diverges to finite weights says so, and training that does not is silent" {
    run -0 trainclf -q -i "$DATA/train.st" --arch "$SMALL" --lr 1000 --epochs 2 -o "$OUT"
    [[ "$output" == *"training ended at a loss of "*"where a model that knows nothing has 2.303"* ]]
    [[ "$(look "$OUT" 'record["notes"]')" == *"training ended at a loss of"* ]]
    run -0 trainclf -q -i "$DATA/train.st" --arch "$SMALL" --epochs 1 -o "$OUT"
    [ -z "$output" ]
    [ "$(look "$OUT" 'record.get("notes", [])')" = "[]" ]
}

@test "--settle comes to rest, the same bytes whatever the threads, and the record says how near" {
    fetch -q synthetic --count 30 --size 1x12x12 --seed 4 -o "$BATS_TEST_TMPDIR/few.st"
    ARGS=(-i "$BATS_TEST_TMPDIR/few.st" --arch "homogeneous 100" --l2 1e-3 --normalise mean-image --batch 30 --epochs 60 --lr .01)
    for threads in 1 3; do
        trainclf "${ARGS[@]}" --settle lbfgs:1000 --threads $threads -o "$BATS_TEST_TMPDIR/$threads.st"
    done
    cmp "$BATS_TEST_TMPDIR/1.st" "$BATS_TEST_TMPDIR/3.st"
    run trainclf "${ARGS[@]}" --stationarity -o "$OUT"
    [ "$status" -eq 0 ]
    [[ "$output" == *"stationarity: residual "*" kinks of the first layer "* ]]
    before="$(look "$OUT" 'record["metrics"]["stationarity"]["residual_kinks"]')"
    [ "$(look "$BATS_TEST_TMPDIR/1.st" "record['metrics']['stationarity']['residual_kinks'] < .1 * $before")" = True ]
    [ "$(look "$BATS_TEST_TMPDIR/1.st" '[record["metrics"]["settle"]["steps"] <= 1000, record["config"]["settle"], lineage[-1]["options"]["settle"]]')" = \
        "[True, 'lbfgs:1000', 'lbfgs:1000']" ]
    # The loss is the one that was trained, of one output and with weights of classes too: it falls, and stays the same loss.
    for more in "--positive 0,1,2" "--class-weights balanced" "--label-smoothing .1"; do
        trainclf -q "${ARGS[@]}" $more --stationarity -o "$OUT"
        before="$(look "$OUT" 'record["metrics"]["stationarity"]["loss"]')"
        trainclf -q "${ARGS[@]}" $more --settle lbfgs:300 -o "$OUT"
        [ "$(look "$OUT" "record['metrics']['stationarity']['loss'] < $before and record['metrics']['stationarity']['residual_kinks'] < .2")" = True ]
    done
    # Which examples it was trained on is there as after any training.
    [ "$(look "$BATS_TEST_TMPDIR/1.st" 'sum(t["assay.keep"])')" = 30 ]
}

@test "settling that is interrupted begins again when its checkpoint is resumed" {
    fetch -q synthetic --count 30 --size 1x12x12 --seed 4 -o "$BATS_TEST_TMPDIR/few.st"
    ARGS=(-i "$BATS_TEST_TMPDIR/few.st" --arch "homogeneous 100" --l2 1e-3 --epochs 2 --threads 1 --settle sgd:20000)
    trainclf "${ARGS[@]}" -o "$OUT" 2> "$BATS_TEST_TMPDIR/said" 3>&- &
    until grep -q "settle 2000/20000" "$BATS_TEST_TMPDIR/said"; do sleep .01; done
    kill -INT $!
    status=0
    wait $! || status=$?
    [ "$status" -eq 130 ]
    [ ! -e "$OUT" ]
    refuse 3 "settle is \"sgd:20000\" there" "${ARGS[@]:0:8}" --settle sgd:5 --resume "$OUT.checkpoint"
    trainclf -q "${ARGS[@]}" --resume "$OUT.checkpoint" -o "$OUT"
    trainclf -q "${ARGS[@]}" -o "$BATS_TEST_TMPDIR/whole.st"
    cmp "$BATS_TEST_TMPDIR/whole.st" "$OUT"
}

@test "what cannot be settled is refused" {
    refuse 2 "--settle needs --l2 over 0" -i "$DATA/train.st" --settle sgd:10
    refuse 2 "--stationarity needs --l2 over 0" -i "$DATA/train.st" --stationarity
    refuse 2 "adamw" -i "$DATA/train.st" --l2 1e-3 --optimiser adamw --settle sgd:10
    refuse 2 "no --augment" -i "$DATA/train.st" --l2 1e-3 --augment flip --settle sgd:10
    refuse 2 "--settle-to and --settle-lr are for --settle" -i "$DATA/train.st" --l2 1e-3 --settle-lr .1
    refuse 2 "dropout" -i "$DATA/train.st" --l2 1e-3 --arch "flatten | dropout .1 | linear 10" --epochs 1 --settle sgd:10
    refuse 2 "sgd:STEPS or lbfgs:STEPS" -i "$DATA/train.st" --l2 1e-3 --arch "$SMALL" --epochs 1 --settle newton:10
    refuse 2 "batch norm" -i "$DATA/train.st" --l2 1e-3 --arch "conv 4 3 | norm batch | flatten | linear 10" --epochs 1 --stationarity
}

# tensor: every sub-command on small blobs with known contents.

setup() {
    cd "$BATS_TEST_TMPDIR"
    TESTS="$BATS_TEST_DIRNAME/.."
    make_blob a.st '{"assay.kind": "dataset",
            "assay.record": {"config": {"classes": 2, "class_names": ["cat", "dog"]}, "metrics": {"count": 5}, "notes": ["made by hand"]},
            "assay.lineage": [{"program": "fetch", "version": "0", "seed": 7, "inputs": [],
                "options": {"sha256": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}}]}' \
        '{"x": ["U8", [5, 1, 2, 2], [0,1,2,3, 4,5,6,7, 8,9,10,11, 12,13,14,15, 255,254,253,252]],
          "y": ["I64", [5], [0, 1, 0, 1, 0]]}'
    make_blob f.st null '{"v": ["F32", [2, 3], [0.1, -1.5, 1e-8, 3, 1e20, 0]], "big": ["I64", [], [9007199254740993]]}'
}

make_blob() { python3 "$TESTS/make_blob.py" "$@"; }
read_blob() { python3 "$TESTS/reader.py" "$@"; }

# The exit status and one line of stderr.
fails() {
    local expected="$1" words="$2" status=0
    shift 2
    "$@" > out.txt 2> err.txt || status=$?
    [ "$status" -eq "$expected" ]
    grep -qF -- "$words" err.txt
}

@test "ls: tensors, record and the lineage back to the checksum" {
    tensor ls a.st > out.txt
    grep -qE '^a.st: dataset, 2 tensors, 60 bytes, [0-9a-f]{12}$' out.txt
    grep -qE '^  x +U8 +\[5, 1, 2, 2\] +20$' out.txt
    grep -qE '^    classes = 2$' out.txt
    grep -qE '^    made by hand$' out.txt
    grep -qE '^    1. fetch 0, seed 7$' out.txt
    grep -qE '^ +sha256 = 0123456789ab$' out.txt
    tensor ls --full a.st | grep -qE 'sha256 = (0123456789abcdef){4}$'
    tensor ls --json a.st f.st > out.txt
    [ "$(wc -l < out.txt)" -eq 2 ]
    python3 - << 'END'
import json
a, f = map(json.loads, open("out.txt"))
assert a["tensors"]["x"] == {"dtype": "U8", "shape": [5, 1, 2, 2], "bytes": 20}
assert a["record"]["config"]["classes"] == 2 and a["lineage"][0]["seed"] == 7 and a["kind"] == "dataset"
assert f["kind"] == "" and f["record"] is None and len(f["digest"]) == 64
END
}

@test "stat: known values, NaN and infinities apart" {
    make_blob s.st null '{"v": ["F64", [6], [1, 2, 3, 4, NaN, -Infinity]], "none": ["F32", [0], []]}'
    tensor stat s.st > out.txt
    grep -qE '^v +F64 +\[6\] +1 +4 +2.5 +1.118034 +1 +1$' out.txt
    grep -qE '^none .*nan +nan +nan +nan +0 +0$' out.txt
    tensor stat --json -t v s.st | python3 -c '
import json, sys
v = json.load(sys.stdin)["tensors"]
assert list(v) == ["v"] and v["v"]["mean"] == 2.5 and v["v"]["std"] == 1.25 ** .5 and v["v"]["nan"] == 1, v'
    # A mean far from 0 does not cost the deviation its digits.
    make_blob s.st null '{"v": ["F64", [2], [1000000000.0, 1000000001.0]]}'
    tensor stat s.st | grep -qE ' 0.5 +0 +0$'
    fails 3 "tensor w expected, v found" tensor stat -t w s.st
}

@test "cat: values exactly, raw bytes, whole blobs" {
    [ "$(tensor cat -t v f.st)" = $'0.1 -1.5 1e-8\n3 1e20 0' ]
    [ "$(tensor cat -t big f.st)" = 9007199254740993 ]
    [ "$(tensor cat -t y a.st | tr '\n' ' ')" = "0 1 0 1 0 " ]
    tensor cat a.st | grep -qxF '# x U8 [5, 1, 2, 2]'
    [ "$(tensor cat --raw -t x a.st | od -An -tu1 -N4 | tr -s ' ')" = ' 0 1 2 3' ]
    tensor cat --blob a.st f.st > both.st
    read_blob both.st > out.txt
    [ "$(grep -c '^#' out.txt)" -eq 2 ]
    tensor cat --blob both.st | cmp - both.st
    fails 2 "--raw and --blob exclude each other" tensor cat --raw --blob a.st
}

@test "cmp: says where, exits 1, and tolerates what it is told" {
    tensor cmp a.st a.st
    make_blob g.st null '{"v": ["F32", [2, 3], [0.1, -1.5, 1e-8, 3.25, 1e20, NaN]], "w": ["U8", [1], [1]]}'
    make_blob h.st null '{"v": ["F32", [2, 3], [0.1, -1.5, 1e-8, 3, 1e20, NaN]], "w": ["U8", [2], [1, 2]], "z": ["U8", [0], []]}'
    status=0; tensor cmp g.st h.st > out.txt || status=$?
    [ "$status" -eq 1 ]
    grep -qxF 'v: 1 of 6 values differ, first at [1, 0]: 3.25 and 3; most at [1, 0]: 3.25 and 3, by 0.25' out.txt
    grep -qxF 'w: U8 [1] and U8 [2]' out.txt
    grep -qxF 'z: only in h.st' out.txt
    tensor cmp --tensors v --tolerance .25 g.st h.st
    fails 1 "" tensor cmp --tensors v --tolerance .2 g.st h.st
    # A NaN is no number, whatever the tolerance; 64-bit integers are not rounded.
    make_blob g.st null '{"v": ["F32", [1], [NaN]]}'
    make_blob h.st null '{"v": ["F32", [1], [0]]}'
    fails 1 "" tensor cmp --tolerance 1e30 g.st h.st
    make_blob g.st null '{"v": ["I64", [1], [9007199254740993]]}'
    make_blob h.st null '{"v": ["I64", [1], [9007199254740992]]}'
    fails 1 "" tensor cmp g.st h.st
}

@test "png: a grid that another program can open" {
    tensor png a.st --columns 3 --scale 4 -o a.png
    file a.png | grep -qE 'PNG image data, 48 x 50, 8-bit grayscale'
    make_blob c.st null '{"w": ["F32", [2, 3, 1, 1], [0, 0.5, 1, -3, 2, 7]]}'
    tensor png c.st -o c.png 2> err.txt
    grep -q '3 values lie outside' err.txt
    tensor png --stretch c.st -q -o c.png 2> err.txt
    [ ! -s err.txt ]
    file c.png | grep -qE 'RGB'
    make_blob c.st null '{"w": ["F32", [2, 2, 1, 1], [0, 0, 0, 0]]}'
    fails 3 "images [N, 1, H, W], [N, 3, H, W] or [N, H, W]" tensor png c.st -o no.png
    [ ! -e no.png ]
    fails 3 "no tensor of images" tensor png f.st -o no.png
}

@test "npy: numpy reads it" {
    tensor npy -t v f.st -o v.npy
    [ "$(head -c 6 v.npy | od -An -c | tr -d ' ')" = '223NUMPY' ]
    if ! /usr/bin/python3 -c 'import numpy' 2> /dev/null; then skip "numpy is not installed"; fi
    /usr/bin/python3 -c '
import numpy
v = numpy.load("v.npy")
assert v.dtype == numpy.float32 and v.shape == (2, 3) and v[1, 1] == numpy.float32(1e20)'
    fails 3 "2 tensors found; choose one with --tensors" tensor npy f.st
}

@test "cut: rows keep their positions in the source, and lineage" {
    tensor cut --rows 1:3 a.st -o b.st
    read_blob b.st > out.txt
    grep -qxF 'index I64 [2]' out.txt
    [ "$(tensor cat -t index b.st | tr '\n' ' ')" = '1 2 ' ]
    [ "$(tensor cat -t x b.st | head -n 1)" = '4 5' ]
    digest="$(tensor ls --full a.st | sed -n '1s/.* //p')"
    tensor ls --full b.st | grep -qxF "  assay.source = $digest"
    tensor ls --full b.st | grep -qF "2. tensor 0" 
    tensor ls --full b.st | grep -qF "from $digest"
    # Of a part: still positions in the first source.
    tensor cut --rows 1: b.st | tensor cat -t index > out.txt
    [ "$(cat out.txt)" = 2 ]
    tensor cut --rows :0 a.st | tensor ls | grep -qF '[0, 1, 2, 2]'
    tensor cut --tensors y a.st | read_blob - > out.txt
    [ "$(tail -n +2 out.txt)" = 'y I64 [5]' ]
    # The same cut in other words is the same file.
    cmp <(tensor cut -t y,x --rows :3 a.st) <(tensor cut -t x,y --rows 0:3 a.st)
    fails 2 "A:B with 0 <= A <= B expected" tensor cut --rows 3:1 a.st
    fails 2 "A:B with 0 <= A <= B expected" tensor cut --rows 3 a.st
    fails 3 "rows 0:5 expected, 4:6 asked for" tensor cut --rows 4:6 a.st
    fails 3 "do not have the same rows" tensor cut --rows 0:1 f.st
    fails 2 "expected" tensor cut a.st
}

@test "cut --parts and join: the parts give the whole back" {
    tensor cut --parts 3 a.st > parts.st
    read_blob parts.st > out.txt
    [ "$(grep -c '^#' out.txt)" -eq 3 ]
    tensor join parts.st -o whole.st
    tensor cmp a.st whole.st
    read_blob whole.st
    [ "$(tensor ls --full whole.st | sed -n '1s/.* //p')" = "$(tensor ls --full a.st | sed -n '1s/.* //p')" ]
    # In any order, out of any number of files.
    for k in 1 2 3; do
        python3 - "$k" << 'END'
import json, struct, sys
raw, k = open("parts.st", "rb").read(), int(sys.argv[1])
starts, at = [], 0
while at < len(raw):
    starts.append(at)
    n = struct.unpack("<Q", raw[at:at + 8])[0]
    head = json.loads(raw[at + 8:at + 8 + n])
    at += 8 + n + max(t["data_offsets"][1] for name, t in head.items() if name != "__metadata__")
starts.append(at)
open(f"part{k}.st", "wb").write(raw[starts[k - 1]:starts[k]])
END
    done
    cat part3.st part1.st | tensor join - part2.st | tensor cmp a.st -
    fails 3 "1 of 3 parts are missing: 2" tensor join part3.st part1.st
    fails 3 "2 of 3 parts are missing: 1, 3" tensor join part2.st
    fails 3 "part 2 of 3 is there twice" tensor join part2.st part1.st part2.st
    tensor cut --parts 2 a.st > halves.st
    fails 3 "a part of 3 expected" tensor join part1.st halves.st
    fails 3 "assay.part expected" tensor join part1.st a.st
    make_blob lie.st '{"assay.part": "1/4000000000000000000"}' '{"x": ["U8", [1], [1]]}'
    fails 3 "parts are missing: 2, 3, 4" tensor join lie.st
    make_blob lie.st '{"assay.part": "3/2"}' '{"x": ["U8", [1], [1]]}'
    fails 3 "K/N with 1 <= K <= N expected" tensor join lie.st
}

@test "join: rows behind each other in the order given" {
    make_blob p.st null '{"v": ["F32", [1, 2], [1, 2]], "c": ["U8", [], [9]]}'
    make_blob q.st null '{"v": ["F32", [2, 2], [3, 4, 5, 6]], "c": ["U8", [], [9]]}'
    make_blob r.st null '{"v": ["F32", [2, 3], [3, 4, 5, 6, 7, 8]], "c": ["U8", [], [9]]}'
    make_blob s.st null '{"v": ["F32", [1, 2], [1, 2]], "c": ["U8", [], [8]]}'
    [ "$(tensor join q.st p.st | tensor cat -t v)" = $'3 4\n5 6\n1 2' ]
    fails 3 "tensor v: F32 [2, 3] cannot stand behind F32 [1, 2]" tensor join p.st r.st
    fails 3 "tensor c: the same value expected" tensor join p.st s.st
    fails 3 "tensor c expected, big, v found" tensor join p.st f.st
}

@test "verify: goes on after a bad file and names them all" {
    head -c -1 a.st > bad.st
    status=0; tensor verify bad.st a.st none.st f.st > out.txt 2> err.txt || status=$?
    [ "$status" -eq 4 ]  # the file that is not there weighs most
    [ "$(wc -l < out.txt)" -eq 2 ]
    grep -qE '^a.st: good: dataset [0-9a-f]{64}$' out.txt
    grep -qF 'bad.st: ' err.txt
    grep -qF 'none.st: cannot open' err.txt
    status=0; tensor verify bad.st a.st -q 2> /dev/null || status=$?
    [ "$status" -eq 3 ]
}

@test "release: weights, architecture and normalisation only" {
    make_blob m.st '{"assay.kind": "model", "private.note": "seen by nobody",
            "assay.record": {"config": {"arch": "flatten | linear 2", "input": [1, 1, 2], "classes": 2, "outputs": 2, "normalise": "mean-image",
                "seed": 7, "epochs": 3}, "metrics": {"train": {"accuracy": 1.0}}, "notes": ["secret"], "extra": {"a": 1}},
            "assay.lineage": [{"program": "trainclf", "version": "0", "options": {}, "inputs": [], "seed": 7}]}' \
        '{"1.weight": ["F32", [2, 2], [1, 2, 3, 4]], "1.bias": ["F32", [2], [0, 0]], "assay.keep": ["U8", [3], [1, 0, 1]],
          "assay.history": ["F32", [2], [1, 2]], "assay.mean": ["F32", [1, 1, 2], [0.5, 0.25]], "assay.std": ["F32", [], [0.3]],
          "assay.later": ["U8", [1], [1]]}'
    tensor release m.st -o out.st 2> err.txt
    grep -qF 'mean image of the training set' err.txt
    read_blob --record out.st > out.txt
    [ "$(sed '1d;$d' out.txt)" = $'1.bias F32 [2]\n1.weight F32 [2, 2]\nassay.mean F32 [1, 1, 2]\nassay.std F32 []' ]
    [ "$(tail -n 1 out.txt)" = '{"config": {"arch": "flatten | linear 2", "classes": 2, "input": [1, 1, 2], "normalise": "mean-image", "outputs": 2}, "metrics": {}, "notes": []}' ]
    [ "$(grep -caE 'secret|nobody|seed|lineage|epochs|keep' out.st)" -eq 0 ]
    tensor release m.st | cmp - out.st
    make_blob m.st '{"assay.kind": "model", "assay.record": {"config": {"normalise": "scalar"}}}' \
        '{"0.weight": ["F32", [1, 1], [1]], "assay.mean": ["F32", [1], [0.5]]}'
    tensor release -q m.st -o out.st 2> err.txt
    [ ! -s err.txt ]
    fails 3 "kind model expected, dataset found" tensor release a.st
}

@test "a picture, an array or a text is not written over the blob it is made of; a blob may be" {
    cp a.st kept.st
    fails 2 "-o a.st is also an input, which would be lost" tensor png a.st -o a.st
    fails 2 "also an input" tensor npy -t x a.st -o a.st
    for command in ls stat cat verify; do fails 2 "also an input" tensor $command f.st a.st -o ./a.st; done
    fails 2 "also an input" tensor cmp a.st f.st -o f.st
    cmp a.st kept.st
    tensor cut --rows 0:2 a.st -o a.st
    tensor cat --blob a.st -o a.st
    tensor ls a.st | grep -qF '[2, 1, 2, 2]'
}

@test "what is no blob is named, at the beginning and behind a blob" {
    echo "some words of text" > words.txt
    fails 3 "words.txt: not a safetensors file: it begins like text" tensor ls words.txt
    cat a.st words.txt > both
    fails 3 "both: no blob follows the last one: it begins like text" tensor ls both
}

@test "the command line: unknown words and options of another command" {
    fails 2 "'list' found" tensor list a.st
    fails 2 "ls takes no --rows" tensor ls --rows 0:1 a.st
    fails 2 "cmp: two files expected, 1 found" tensor cmp a.st
    fails 2 "--tensors: one name expected here" tensor png -t x,y a.st
    fails 4 "cannot open" tensor ls no.st
    tensor ls < a.st | grep -q '^standard input: dataset'
}

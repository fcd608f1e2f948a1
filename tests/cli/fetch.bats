# fetch: what it takes, what it refuses, and downloads from mirrors of every manner.

setup_file() {
    export SETS="$BATS_FILE_TMPDIR/sets"
    mkdir "$SETS"
    coproc SERVER { exec python3 tests/server.py "$SETS"; }
    read -r PORT <&"${SERVER[0]}"
    export PORT SERVER_PID
    # The server ends with its standard input: hold that open.
    exec 7>&"${SERVER[1]}"
    python3 tests/sets.py "$SETS" > /dev/null
}

teardown_file() {
    kill "$SERVER_PID" 2> /dev/null || true
}

setup() {
    export XDG_CACHE_HOME="$BATS_TEST_TMPDIR/cache" ASSAY_SOURCES="$BATS_TEST_TMPDIR/SOURCES"
    OUT="$BATS_TEST_TMPDIR/out.st"
    rm -f "$SETS/log"
}

# The table with mirrors of these manners.
mirrors() {
    python3 tests/sets.py "$SETS" $(printf "http://127.0.0.1:$PORT/%s/ " "$@") > "$ASSAY_SOURCES"
}

# y, index and the first value of every image, one line each.
show() {
    python3 - "$1" << 'END'
import json, struct, sys
raw = open(sys.argv[1], "rb").read()
n = struct.unpack("<Q", raw[:8])[0]
head, data = json.loads(raw[8:8 + n]), raw[8 + n:]
def part(name):
    begin, end = head[name]["data_offsets"]
    return data[begin:end]
for name in ("y", "index"):
    if name in head:
        print(name, *struct.unpack(f"<{head[name]['shape'][0]}q", part(name)))
x, shape, kind = part("x"), head["x"]["shape"], head["x"]["dtype"]
if kind == "F32":
    x = struct.unpack(f"<{len(x) // 4}f", x)
size = shape[1] * shape[2] * shape[3]
print("x", kind, "x".join(map(str, shape[1:])), *(x[i * size] for i in range(shape[0])))
END
}

cached() { test -f "$XDG_CACHE_HOME/assay/$1"; }

refuse() {  # STATUS WORD COMMAND...
    local status_wanted=$1 word=$2
    shift 2
    run "$@"
    echo "$output"
    [ "$status" -eq "$status_wanted" ]
    [[ "$output" == *"$word"* ]]
    [ ! -e "$OUT" ]
}

# ---- parts

@test "a set comes whole, readable by another reader" {
    mirrors ok
    fetch tiny --from "$SETS" -o "$OUT"
    python3 tests/reader.py "$OUT"
    run show "$OUT"
    [ "${lines[0]}" = "y $(printf '0 1 2 %.0s' {1..10} | sed 's/ $//')" ]
    [ "${lines[1]}" = "x U8 1x16x16 $(seq -s ' ' 0 29)" ]
}

@test "the test split is another file" {
    mirrors ok
    fetch tiny --from "$SETS" --split test -o "$OUT"
    run show "$OUT"
    [ "${lines[1]}" = "x U8 1x16x16 $(seq -s ' ' 100 111)" ]
}

@test "classes are renumbered in the order given, by name or number" {
    mirrors ok
    fetch tiny --from "$SETS" --classes c,0 --limit 4 -o "$OUT"
    run show "$OUT"
    [ "${lines[0]}" = "y 1 0 1 0" ]
    [ "${lines[1]}" = "index 0 2 3 5" ]
    [ "${lines[2]}" = "x U8 1x16x16 0 2 3 5" ]
    fetch tiny --from "$SETS" --classes c,0 --limit 4 --json > "$OUT"
    grep -q '"chosen_classes":\[2,0\]' "$OUT"
    grep -q '"class_names":\["c","a"\]' "$OUT"
    grep -q '"per_class":\[2,2\]' "$OUT"
}

@test "two halves make the whole, and exclude gives the other one" {
    mirrors ok
    fetch tiny --from "$SETS" --subset random-half:5 -o "$OUT"
    fetch tiny --from "$SETS" --subset random-half:5:other -o "$OUT.other"
    fetch tiny --from "$SETS" --exclude "$OUT" -o "$OUT.excluded"
    [ "$(show "$OUT.other")" = "$(show "$OUT.excluded")" ]
    [ "$( (show "$OUT"; show "$OUT.other") | grep index | cut -d' ' -f2- | tr ' ' '\n' | sort -n | tr '\n' ' ')" = "$(seq -s ' ' 0 29) " ]
}

@test "the same command gives the same bytes, another seed others" {
    mirrors ok
    fetch tiny --from "$SETS" --per-class 3 --seed 1 > "$OUT"
    fetch tiny --from "$SETS" --per-class 3 --seed 1 | cmp - "$OUT"
    ! fetch tiny --from "$SETS" --per-class 3 --seed 2 | cmp -s - "$OUT"
    [ "$(show "$OUT" | head -1 | tr ' ' '\n' | grep -c 1)" -eq 3 ]
}

@test "a mask file chooses" {
    mirrors ok
    printf '\1\0\1%027d' 0 | tr 0 '\0' > "$BATS_TEST_TMPDIR/mask"
    fetch tiny --from "$SETS" --subset "$BATS_TEST_TMPDIR/mask" -o "$OUT"
    [ "$(show "$OUT" | tail -1)" = "x U8 1x16x16 0 2" ]
}

@test "exclude refuses parts of another set" {
    mirrors ok
    fetch tiny --from "$SETS" --split test --limit 3 -o "$OUT.test"
    refuse 3 "another set" fetch tiny --from "$SETS" --exclude "$OUT.test" -o "$OUT"
    fetch tiny --from "$SETS" -o "$OUT.all"
    refuse 2 "nothing is left" fetch tiny --from "$SETS" --exclude "$OUT.all" -o "$OUT"
}

@test "an archive of batches: one split only, labels and planes in place" {
    mirrors ok
    fetch tinycifar --from "$SETS" --unchecked -o "$OUT"
    run show "$OUT"
    [ "${lines[0]}" = "y 0 1 2 3 4 5 6 7 8 9" ]
    [ "${lines[1]}" = "x U8 3x32x32 0 1 2 3 4 5 6 7 8 9" ]
    fetch tinycifar --from "$SETS" --unchecked --split test -o "$OUT"
    run show "$OUT"
    [ "${lines[0]}" = "y 0 1 2" ]
    [ "${lines[1]}" = "x U8 3x32x32 10 11 12" ]
}

@test "street numbers: ten is zero" {
    mirrors ok
    fetch tinysvhn --from "$SETS" -o "$OUT"
    run show "$OUT"
    [ "${lines[0]}" = "y 0 1 2 3 4 5" ]
    [ "${lines[1]}" = "x U8 3x32x32 0 8 16 24 32 40" ]
    rm "$OUT"
    refuse 2 "no split 'extra'" fetch tinysvhn --from "$SETS" --split extra -o "$OUT"
}

@test "FashionMNIST of the system's package, checked by its unpacked bytes" {
    unset ASSAY_SOURCES
    [ -d /usr/share/datasets/fashion-mnist ] || skip "package dataset-fashion-mnist is not installed"
    fetch fashion --split test --offline --limit 3 -o "$OUT"
    run show "$OUT"
    [ "${lines[0]}" = "y 9 2 1" ]  # an ankle boot, a pullover, trousers
    cd "$BATS_TEST_TMPDIR"  # the table is inside the program
    fetch fashion --split test --offline --json | grep -q '"per_class":\[1000,1000,1000,1000,1000,1000,1000,1000,1000,1000\]'
}

# ---- own images

# png FILE W H VALUE: a grey picture of one value
png() {
    python3 - "$@" << 'END'
import struct, sys, zlib
path, w, h, value = sys.argv[1], *map(int, sys.argv[2:])
def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
open(path, "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">2I5B", w, h, 8, 0, 0, 0, 0)) +
                       chunk(b"IDAT", zlib.compress((b"\0" + bytes([value]) * w) * h)) + chunk(b"IEND", b""))
END
}

pictures() {
    mkdir -p "$BATS_TEST_TMPDIR/pictures/"{2,10,.hidden}
    png "$BATS_TEST_TMPDIR/pictures/10/a1.png" 5 4 11
    png "$BATS_TEST_TMPDIR/pictures/2/b10.png" 5 4 23
    png "$BATS_TEST_TMPDIR/pictures/2/b9.PNG" 5 4 22
    png "$BATS_TEST_TMPDIR/pictures/.hidden/c.png" 9 9 1
    echo text > "$BATS_TEST_TMPDIR/pictures/2/notes.txt"
    echo text > "$BATS_TEST_TMPDIR/pictures/README"
}

@test "a folder of pictures: classes and files in natural order" {
    pictures
    unset ASSAY_SOURCES
    fetch png "$BATS_TEST_TMPDIR/pictures" -o "$OUT"
    run show "$OUT"
    [ "${lines[0]}" = "y 0 0 1" ]
    [ "${lines[1]}" = "x U8 1x4x5 22 23 11" ]
    fetch png "$BATS_TEST_TMPDIR/pictures" --json | grep -q '"class_names":\["2","10"\]'
}

@test "pictures that do not fit are refused" {
    pictures
    unset ASSAY_SOURCES
    png "$BATS_TEST_TMPDIR/pictures/10/z.png" 5 5 1
    refuse 3 "z.png: 1x4x5 expected as in the first picture, 1x5x5 found" fetch png "$BATS_TEST_TMPDIR/pictures" -o "$OUT"
    echo "no picture" > "$BATS_TEST_TMPDIR/pictures/10/z.png"
    refuse 3 "z.png" fetch png "$BATS_TEST_TMPDIR/pictures" -o "$OUT"
    mkdir "$BATS_TEST_TMPDIR/empty"
    refuse 3 "no sub-directory holds PNG files" fetch png "$BATS_TEST_TMPDIR/empty" -o "$OUT"
    refuse 4 "nowhere" fetch png "$BATS_TEST_TMPDIR/nowhere" -o "$OUT"
}

# npy FILE DESCR SHAPE FORMAT VALUE...: FORMAT as in Python's struct
npy() {
    python3 - "$@" << 'END'
import struct, sys
path, descr, shape, form, *values = sys.argv[1:]
head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
head = head.ljust(128 - 10 - 1) + "\n"
data = struct.pack(f"<{len(values)}{form}", *(float(v) if form in "fd" else int(v) for v in values))
open(path, "wb").write(b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head.encode() + data)
END
}

@test "arrays of numpy: bytes and floats, channels first and last" {
    unset ASSAY_SOURCES
    cd "$BATS_TEST_TMPDIR"
    npy y.npy '<i4' '(2,)' i 1 0
    npy x.npy '|u1' '(2, 2, 1)' B 1 2 3 4
    fetch npy x.npy y.npy -o "$OUT"
    [ "$(show "$OUT" | tr '\n' ' ')" = "y 1 0 x U8 1x2x1 1 3 " ]
    npy x.npy '|u1' '(2, 1, 2, 3)' B 1 2 3 4 5 6 7 8 9 10 11 12   # N H W C would be 2 images of 1x2x3 as well: C first wins
    fetch npy x.npy y.npy -o "$OUT"
    [ "$(show "$OUT" | tail -1)" = "x U8 1x2x3 1 7" ]
    npy x.npy '|u1' '(2, 2, 1, 3)' B 1 2 3 4 5 6 7 8 9 10 11 12
    fetch npy x.npy y.npy -o "$OUT"
    [ "$(show "$OUT" | tail -1)" = "x U8 3x2x1 1 7" ]
    npy x.npy '<f4' '(2, 1, 2)' f 0.5 1 0.25 0
    fetch npy x.npy y.npy -o "$OUT"
    [ "$(show "$OUT" | tail -1)" = "x F32 1x1x2 0.5 0.25" ]
    rm "$OUT"
    npy x.npy '<f8' '(2, 1, 2)' d 0.5 255 0.25 0
    refuse 3 "[0, 1] expected, 255 found" fetch npy x.npy y.npy -o "$OUT"
    npy y.npy '<f8' '(2,)' d 0.5 1
    npy x.npy '|u1' '(2, 2, 1)' B 1 2 3 4
    refuse 3 "0.5 found" fetch npy x.npy y.npy -o "$OUT"
    npy y.npy '<i8' '(3,)' q 0 1 2
    refuse 3 "2 labels expected" fetch npy x.npy y.npy -o "$OUT"
}

@test "an output that cannot be written is known before any work" {
    unset ASSAY_SOURCES
    refuse 4 "nodir/x.st: cannot create: No such file or directory" fetch npy nowhere.npy nowhere.npy -o "$BATS_TEST_TMPDIR/nodir/x.st"
    refuse 4 "Is a directory" fetch npy nowhere.npy nowhere.npy -o "$BATS_TEST_TMPDIR"
}

@test "arrays and folders are no streams" {
    unset ASSAY_SOURCES
    refuse 2 "does not read standard input" fetch npy - y.npy -o "$OUT"
    refuse 2 "does not read standard input" fetch npy x.npy - -o "$OUT"
    refuse 2 "does not read standard input" fetch png - -o "$OUT"
}

@test "a test fraction cuts own images into two splits" {
    unset ASSAY_SOURCES
    cd "$BATS_TEST_TMPDIR"
    npy x.npy '|u1' '(10, 1, 1)' B $(seq 0 9)
    npy y.npy '|u1' '(10,)' B $(seq 0 9)
    fetch npy x.npy y.npy --test-fraction .3 --seed 2 --split test -o "$OUT"
    fetch npy x.npy y.npy --test-fraction .3 --seed 2 -o "$OUT.train"
    [ "$(show "$OUT" | grep index | wc -w)" -eq 4 ]
    [ "$( (show "$OUT"; show "$OUT.train") | grep index | cut -d' ' -f2- | tr ' ' '\n' | sort -n | tr '\n' ' ')" = "$(seq -s ' ' 0 9) " ]
}

# ---- drawings

@test "drawings: any size, number and classes" {
    unset ASSAY_SOURCES
    fetch synthetic --count 7 --classes 3 --size 3x8x12 --seed 4 -o "$OUT"
    run show "$OUT"
    [ "${lines[0]}" = "y 0 1 2 0 1 2 0" ]
    [[ "${lines[1]}" == "x U8 3x8x12 "* ]]
    python3 tests/reader.py "$OUT"
    fetch synthetic --count 7 --classes 3 --size 3x8x12 --seed 4 | cmp - "$OUT"
    fetch synthetic --count 7 --classes 3 --size 3x8x12 --seed 4 --limit 2 -o "$OUT.part"
    [ "$(show "$OUT.part" | grep index)" = "index 0 1" ]
}

# ---- command lines

@test "an output over an input is refused; the name of a set is no input" {
    unset ASSAY_SOURCES
    cd "$BATS_TEST_TMPDIR"
    fetch -q synthetic --count 20 -o one.st
    cp one.st kept.st
    run fetch synthetic --count 30 --exclude one.st -o one.st
    [ "$status" -eq 2 ]
    [[ "$output" == *"-o one.st is also an input (--exclude), which would be lost"* ]]
    run fetch npy x.npy one.st -o one.st
    [ "$status" -eq 2 ]
    cmp one.st kept.st
    fetch -q synthetic --count 20 -o synthetic
    fetch -q synthetic --count 20 -o synthetic
    cmp one.st synthetic
}

@test "mistakes on the command line are named" {
    unset ASSAY_SOURCES
    refuse 2 "a set expected" fetch -o "$OUT"
    refuse 2 "no known set" fetch imagenet -o "$OUT"
    refuse 2 "takes 1 operand" fetch png -o "$OUT"
    refuse 2 "takes 2 operands" fetch npy x.npy -o "$OUT"
    refuse 2 "takes 0 operands" fetch fashion mnist -o "$OUT"
    refuse 2 "--unchecked goes with --from" fetch mnist --unchecked -o "$OUT"
    refuse 2 "synthetic only" fetch mnist --count 5 -o "$OUT"
    refuse 2 "needs --test-fraction" fetch png . --split test -o "$OUT"
    refuse 2 "CxHxW" fetch synthetic --size 28x28 -o "$OUT"
    refuse 2 "CxHxW" fetch synthetic --size 1x1x28 -o "$OUT"
    refuse 2 "number of classes" fetch synthetic --classes 0,1 -o "$OUT"
    refuse 2 "no split extra" fetch synthetic --split extra -o "$OUT"
    refuse 2 "neither a name nor a number" fetch fashion --offline --split test --classes Hat -o "$OUT"
    refuse 2 "random-half:SEED" fetch synthetic --subset random-half:x -o "$OUT"
}

@test "the list says what there is and where" {
    unset ASSAY_SOURCES
    run fetch --list
    [ "$status" -eq 0 ]
    [[ "$output" == *"svhn      extra     531131  3x32x32"* ]]
    [[ "$output" == *"Licence: CC-BY-SA-3.0"* ]]
    run bash -c 'fetch --list > /dev/full'
    [ "$status" -eq 4 ]
}

@test "a full disk leaves nothing behind" {
    unset ASSAY_SOURCES
    run bash -c 'fetch synthetic > /dev/full'
    [ "$status" -eq 4 ]
}

# ---- downloads

@test "a download is checked, cached and not asked for again" {
    mirrors ok
    fetch tiny -o "$OUT"
    cached tiny/tiny-train-images.gz
    [ "$(wc -l < "$SETS/log")" -eq 2 ]
    fetch tiny --offline -o "$OUT.again"
    cmp "$OUT" "$OUT.again"
    [ "$(wc -l < "$SETS/log")" -eq 2 ]
    [ -z "$(find "$XDG_CACHE_HOME" -name '*.part')" ]
    run fetch --list
    [[ "$output" == *"$XDG_CACHE_HOME/assay/tiny/tiny-train-images.gz"* ]]
}

@test "offline downloads nothing and says what is missing" {
    mirrors ok
    refuse 4 "--offline downloads nothing" fetch tiny --offline -o "$OUT"
    [ ! -e "$SETS/log" ]
}

@test "a directory given is the only one" {
    mirrors ok
    mkdir "$BATS_TEST_TMPDIR/empty"
    refuse 4 "looks nowhere else" fetch tiny --from "$BATS_TEST_TMPDIR/empty" -o "$OUT"
    [ ! -e "$SETS/log" ]
}

@test "the system's directory comes before the cache and the mirrors" {
    mirrors ok
    sed -i "s|^Set: tiny$|&\nSystem: $SETS|" "$ASSAY_SOURCES"
    fetch tiny -o "$OUT"
    [ ! -e "$SETS/log" ]
}

@test "a connection cut in the middle is continued by ranges" {
    mirrors cut
    fetch tiny -o "$OUT"
    grep -q "cut tiny-train-images.gz bytes=[1-9]" "$SETS/log"
    cached tiny/tiny-train-images.gz
}

@test "the part of an earlier try is continued" {
    mirrors ok
    mkdir -p "$XDG_CACHE_HOME/assay/tiny"
    head -c 1000 "$SETS/tiny-train-images.gz" > "$XDG_CACHE_HOME/assay/tiny/tiny-train-images.gz.part"
    fetch tiny -o "$OUT"
    grep -q "ok tiny-train-images.gz bytes=1000-" "$SETS/log"
}

@test "a part that is rubbish is begun again" {
    mirrors ok
    mkdir -p "$XDG_CACHE_HOME/assay/tiny"
    head -c 1000 /dev/zero > "$XDG_CACHE_HOME/assay/tiny/tiny-train-images.gz.part"
    head -c 100000 /dev/zero > "$XDG_CACHE_HOME/assay/tiny/tiny-train-labels.gz.part"
    fetch tiny -o "$OUT"
    grep -q "ok tiny-train-images.gz -" "$SETS/log"
}

@test "a server that ignores ranges is asked from the start" {
    mirrors norange
    fetch tiny -o "$OUT"
    grep -q "norange tiny-train-images.gz bytes=[1-9]" "$SETS/log"
}

@test "a range answered from another place is not believed" {
    mirrors badrange
    fetch tiny -o "$OUT"
    grep -q "badrange tiny-train-images.gz bytes=[1-9]" "$SETS/log"
}

@test "a length that is too long: the bytes are there all the same" {
    mirrors long
    fetch tiny -o "$OUT"
}

@test "a length that is too short: the rest is asked for" {
    mirrors short
    fetch tiny -o "$OUT"
    grep -q "short tiny-train-images.gz bytes=[1-9]" "$SETS/log"
}

@test "a redirection is followed, a circle is not" {
    mirrors redirect
    fetch tiny -o "$OUT"
    rm -r "$OUT" "$XDG_CACHE_HOME"
    mirrors loop
    refuse 4 "redirect" fetch tiny -o "$OUT"
}

@test "a busy server is asked again" {
    mirrors busyonce
    fetch tiny -o "$OUT"
}

@test "a web page is named for what it is, said so or not" {
    mirrors html
    refuse 3 "web page" fetch tiny -o "$OUT"
    mirrors page
    refuse 3 "web page" fetch tiny -o "$OUT"
    ! cached tiny/tiny-train-labels.gz
}

@test "other bytes never get the final name" {
    mirrors wrong
    refuse 3 "SHA-256" fetch tiny -o "$OUT"
    ! cached tiny/tiny-train-labels.gz
    mirrors more
    refuse 3 "more than" fetch tiny -o "$OUT"
    ! cached tiny/tiny-train-labels.gz
}

@test "silence ends, and the next mirror serves" {
    mirrors silent missing ok
    fetch tiny --timeout 1 --split test -o "$OUT" 2> "$BATS_TEST_TMPDIR/said"
    cat "$BATS_TEST_TMPDIR/said"
    grep -q "trying the next mirror" "$BATS_TEST_TMPDIR/said"
    grep -q "404" "$BATS_TEST_TMPDIR/said"
}

@test "a stall in the middle ends, and the next mirror continues" {
    mirrors ok
    mkdir -p "$XDG_CACHE_HOME/assay/tiny"
    cp "$SETS/tiny-train-labels.gz" "$XDG_CACHE_HOME/assay/tiny"
    mirrors stall ok
    fetch tiny --timeout 1 -o "$OUT"
    grep -q "ok tiny-train-images.gz bytes=100-" "$SETS/log"
}

@test "where the unpacked bytes decide, packing again is no damage" {
    mirrors ok
    fetch plain -o "$OUT"
    cached plain/plain-train-images.gz
}

@test "a damaged file in the cache is named, with what to do" {
    mirrors ok
    for set in tiny plain; do
        fetch $set > /dev/null
        for name in images labels; do
            file="$XDG_CACHE_HOME/assay/$set/$set-train-$name.gz"
            cp "$file" "$BATS_TEST_TMPDIR/good"
            printf '\377' | dd of="$file" bs=1 seek=25 conv=notrunc status=none
            refuse 3 "remove it" fetch $set -o "$OUT"
            head -c 20 "$BATS_TEST_TMPDIR/good" > "$file"
            refuse 3 "remove it" fetch $set -o "$OUT"
            echo "<html>" > "$file"
            refuse 3 "web page" fetch $set -o "$OUT"
            cp "$BATS_TEST_TMPDIR/good" "$file"
        done
    done
}

@test "the cache falls back to the home directory" {
    mirrors ok
    unset XDG_CACHE_HOME
    HOME="$BATS_TEST_TMPDIR/home" fetch tiny -o "$OUT"
    [ -f "$BATS_TEST_TMPDIR/home/.cache/assay/tiny/tiny-train-images.gz" ]
}

@test "a table that is wrong is refused with its line" {
    printf 'Set: a\nColour: red\n' > "$ASSAY_SOURCES"
    refuse 3 "SOURCES:2: unknown key: 'Colour'" fetch a -o "$OUT"
    ASSAY_SOURCES=/nowhere refuse 4 "/nowhere" fetch a -o "$OUT"
}

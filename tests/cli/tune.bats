# tune: what it finds, the same on resuming, failures that are kept, children that end with it, refusals, its report.

bats_require_minimum_version 1.5.0

setup() {
    cd "$BATS_TEST_TMPDIR" || return 1
}

# A bowl with its least value, 2, at a = 3, b = 5, w = low; integers, so that the shell can do it. Prints a record.
BOWL='w={w}; [ $w = low ] && w=0 || w=7; echo "{\"metrics\":{\"v\":$(( ({a} - 3) * ({a} - 3) + ({b} - 5) * ({b} - 5) + w + 2))}}"'
RANGES=(a=-20..20:int b=0..40:int w=high,low)

# look FILE EXPRESSION: a Python expression over `t` (tensors as lists), `shape`, `kind`, `record`, `metrics`, `config`.
look() {
    python3 - "$@" << 'END_OF_PYTHON'
import json, math, struct, sys
raw = open(sys.argv[1], "rb").read()
n = struct.unpack("<Q", raw[:8])[0]
head, data = json.loads(raw[8:8 + n]), raw[8 + n:]
meta = head.pop("__metadata__")
record, kind, lineage = json.loads(meta["assay.record"]), meta["assay.kind"], json.loads(meta["assay.lineage"])
metrics, config = record["metrics"], record["config"]
code = {"F64": "d", "U8": "B"}
t = {k: struct.unpack(f"<{math.prod(v['shape'])}{code[v['dtype']]}", data[slice(*v["data_offsets"])]) for k, v in head.items()}
shape = {k: v["shape"] for k, v in head.items()}
print(eval(sys.argv[2]))
END_OF_PYTHON
}

@test "a search finds the settings and writes down how" {
    run -0 tune -m v -n 40 -o t.st "$BOWL" "${RANGES[@]}"
    [[ "$output" == *"best 2 (least):"* ]]
    run -0 tensor verify t.st
    [ "$(look t.st 'kind')" = trials ]
    [ "$(look t.st 'metrics["best"]["at"]')" = "{'a': 3, 'b': 5, 'w': 'low'}" ]
    [ "$(look t.st '[metrics["best"]["value"], metrics["trials"], metrics["failed"], config["starts"]]')" = "[2.0, 40, 0, 8]" ]
    [ "$(look t.st '[shape["x"], shape["value"], shape["best"], shape["status"]]')" = "[[40, 3], [40], [40], [40]]" ]
    # What stands there is what was run, no point twice, and the best is the least so far.
    [ "$(look t.st 'all(v == (a - 3) ** 2 + (b - 5) ** 2 + 7 * (w == 0) + 2 for v, a, b, w in zip(t["value"], t["x"][::3], t["x"][1::3], t["x"][2::3]))')" = True ]
    [ "$(look t.st 'len(set(zip(t["x"][::3], t["x"][1::3], t["x"][2::3])))')" = 40 ]
    [ "$(look t.st 'all(b == min(t["value"][:i + 1]) for i, b in enumerate(t["best"]))')" = True ]
    [ "$(look t.st 'metrics["starts"]["best"] == min(t["value"][:8]) > 2')" = True ]
    # The command that it names gives that value.
    [ "$(sh -c "$(look t.st 'metrics["best"]["command"]')")" = '{"metrics":{"v":2}}' ]
    # Curves: the whole of a range of words, within the range of numbers.
    [ "$(look t.st '[t["effect.w.x"], t["effect.a.x"][0], t["effect.a.x"][-1]]')" = "[(0.0, 1.0), -20.0, 20.0]" ]
    [ "$(look t.st 'metrics["importance"]["b"]["share"] > metrics["importance"]["w"]["share"] and metrics["importance"]["b"]["total"] > .1')" = True ]
    [ ! -e t.st.checkpoint ]
}

@test "the greatest value, through a pipe and as a record" {
    run -0 tune -q -M -m metrics.v -n 12 --json "echo '{\"metrics\":{\"v\":-{x}}}'" x=1..4
    [ "$(python3 -c 'import json, sys; r = json.loads(sys.argv[1]); print(r["metrics"]["best"]["value"], r["config"]["goal"])' "$output")" = "-1.0 maximise" ]
    tune -q -m v -n 6 'echo "{\"v\":{x}}"' x=1..4 > t.st
    tune -q -m v -n 6 -o u.st 'echo "{\"v\":{x}}"' x=1..4
    cmp t.st u.st
    run -1 tune -q -m v -n 6 -o u.st --fail-if 'best.value<2' 'echo "{\"v\":{x}}"' x=1..4
    cmp t.st u.st
}

@test "real numbers, on a logarithmic scale too, and the trial's number" {
    tune -q -m v -n 30 -o t.st \
        'python3 -c "import math; print(\"{\\\"v\\\":\", (math.log10({lr}) + 2.5) ** 2 + ({m} - .3) ** 2, \"}\")"; echo {trial} >> numbers' lr=1e-5..1:log m=0..1 || true
    # The number comes after the JSON there: nothing on standard output but the JSON.
    [ "$(cat numbers | tr '\n' ' ')" = "$(seq 0 29 | tr '\n' ' ')" ]
    [ "$(look t.st 'abs(math.log10(metrics["best"]["at"]["lr"]) + 2.5) < .1 and abs(metrics["best"]["at"]["m"] - .3) < .1')" = True ]
}

@test "a search that was interrupted goes on to the same bytes" {
    tune -q -m v -n 20 -o whole.st "$BOWL" "${RANGES[@]}"
    # The twelfth trial stops the search, once.
    stop='n={trial}; [ $n -ne 11 ] || [ -e once ] || { touch once; kill -INT $PPID; sleep 20; };'
    run -130 tune -m v -n 20 -o part.st "$stop $BOWL" "${RANGES[@]}"
    [[ "$output" == *"interrupted after 11 trials; --resume part.st.checkpoint goes on"* ]]
    [ ! -e part.st ]
    [ "$(look part.st.checkpoint '[kind, metrics["trials"]]')" = "['trials', 11]" ]
    tune -q -m v -n 20 -o part.st --resume part.st.checkpoint "$stop $BOWL" "${RANGES[@]}"
    [ ! -e part.st.checkpoint ]
    tune -q -m v -n 20 -o once.st "$stop $BOWL" "${RANGES[@]}"
    cmp part.st once.st
    [ "$(look part.st '[t["x"], t["value"]]')" = "$(look whole.st '[t["x"], t["value"]]')" ]
    # Also where no trial had ended yet.
    rm once
    run -130 tune -q -m v -n 3 -o none.st "[ -e once ] || { touch once; kill -INT \$PPID; sleep 20; }; $BOWL" "${RANGES[@]}"
    tune -q -m v -n 3 -o none.st --resume none.st.checkpoint "[ -e once ] || { touch once; kill -INT \$PPID; sleep 20; }; $BOWL" "${RANGES[@]}"
    [ "$(look none.st 'metrics["trials"]')" = 3 ]
    # More trials than were wanted first: the beginning stays.
    tune -q -m v -n 25 -o more.st --resume whole.st "$BOWL" "${RANGES[@]}"
    [ "$(look more.st '[t["x"][:60], config["starts"]]')" = "$(look whole.st '[t["x"], config["starts"]]')" ]
}

@test "a log of another search is refused" {
    tune -q -m v -n 4 -o t.st "$BOWL" "${RANGES[@]}"
    run -3 tune -m v -n 4 -s 1 --resume t.st -o u.st "$BOWL" "${RANGES[@]}"
    [[ "$output" == *"t.st: the log of another search: seed is 0 there and 1 here"* ]]
    run -3 tune -m v -M -n 4 --resume t.st -o u.st "$BOWL" "${RANGES[@]}"
    [[ "$output" == *"goal is"* ]]
    run -3 tune -m v -n 4 --resume t.st -o u.st "$BOWL" a=-20..20:int b=0..41:int w=high,low
    [[ "$output" == *"ranges is"* ]]
    run -3 tune -m v -n 3 --resume t.st -o u.st "$BOWL" "${RANGES[@]}"
    [[ "$output" == *"4 trials there, and --trials 3"* ]]
    head -c 300 t.st > cut.st
    run -3 tune -m v -n 4 --resume cut.st -o u.st "$BOWL" "${RANGES[@]}"
    [ ! -e u.st ]
    # Cut in its data; no log at all; no log of trials.
    head -c -20 t.st > cut.st
    run -3 tune -m v -n 4 --resume cut.st -o u.st "$BOWL" "${RANGES[@]}"
    run -4 tune -m v -n 4 --resume none.st -o u.st "$BOWL" "${RANGES[@]}"
    fetch -q synthetic --count 3 -o images.st
    run -3 tune -m v -n 4 --resume images.st -o u.st "$BOWL" "${RANGES[@]}"
    # A value that no trial had: between two whole numbers, out of the range, none.
    for x in 2.5 21 -1e+300 nan; do
        PYTHONPATH="$BATS_TEST_DIRNAME/.." python3 - $x << 'END_OF_PYTHON'
import json, math, struct, sys, make_blob
raw = open("t.st", "rb").read()
n = struct.unpack("<Q", raw[:8])[0]
head, data = json.loads(raw[8:8 + n]), raw[8 + n:]
meta = head.pop("__metadata__")
code = {"F64": "d", "U8": "B"}
t = {k: [v["dtype"], v["shape"], list(struct.unpack(f"<{math.prod(v['shape'])}{code[v['dtype']]}", data[slice(*v["data_offsets"])]))] for k, v in head.items()}
t["x"][2][0] = float(sys.argv[1])
make_blob.main("bad.st", meta, t)
END_OF_PYTHON
        run -3 tune -m v -n 4 --resume bad.st -o u.st "$BOWL" "${RANGES[@]}"
        echo "$output"
        [[ "$output" == *"bad.st: trial 0: a is $x, no value of its range"* ]]
    done
    [ ! -e u.st ]
}

@test "trials that fail are kept, told and left alone by the search" {
    run -0 tune -m v -n 24 --starts 8 -t .3 -o t.st 'case {k} in 1) exit 5;; 2) echo no;; 3) echo "{\"w\":1}";; 4) kill -9 $$;; 5) sleep 30;; 6) :;; 7) echo bad >&2; false;;
        *) echo "{\"v\":{x}}";; esac' k=1..12:int x=0..1
    echo "$output"
    [ "$(look t.st 'metrics["failed"] == t["status"].count(0) > 3')" = True ]
    [ "$(look t.st 'all((s == 1) == (k > 7) == math.isfinite(v) for s, k, v in zip(t["status"], t["x"][::2], t["value"]))')" = True ]
    [ "$(look t.st 'all(n.startswith("trial ") for n in record["notes"][:min(10, metrics["failed"])]) and len(record["notes"]) <= 11')" = True ]
    [ "$(look t.st 'metrics["best"]["value"] < .01')" = True ]
    # The first trial met a failure here, and best has nothing to say until there is a value.
    [ "$(look t.st '[math.isnan(b) for b in t["best"]] == [not any(t["status"][:i + 1]) for i in range(24)]')" = True ]
}

@test "each kind of failure is named" {
    one() { run tune -m v -n 2 -t .3 --json "$1; : {x}" x=0..1; echo "$output"; [ "$status" -eq 3 ]; [[ "$output" == *"no trial gave a value"*"$2"* ]]; }
    one 'exit 5' 'exit status 5'
    one 'echo what is wrong >&2; exit 1' 'exit status 1'
    [[ "$output" == *"what is wrong"* ]]
    one 'echo hello' 'JSON expected'
    one 'echo "{\"v\":NaN}"' "invalid token near 'NaN'"
    one 'echo "{\"v\":1e999}"' 'real number overflow'
    one 'true' 'it printed nothing'
    one 'echo "{\"w\":1}"' 'v is not in what it printed'
    one 'echo "{\"v\":\"1\"}"' 'v is no number'
    one 'kill -9 $$' 'killed by signal 9'
    one 'sleep 30' 'still ran after 0.3 s'
    one 'head -c 20000000 /dev/zero' 'more than 16 MiB'
    # A number that comes too late, or with a status that is not 0, does not count.
    one 'echo "{\"v\":1}"; exit 3' 'exit status 3'
}

@test "what a trial said last is told, however much it said" {
    last() { run -3 tune -m v -n 1 -o t.st "$1; exit 1 {x}" x=0..1; echo "$output"; [[ "${lines[0]}" == "tune: trial 0 failed: exit status 1 (x 0."*"): $2" ]]; }
    last 'printf "first\nlast\n\n  \n" >&2' last
    last 'printf "zero\0byte" >&2' 'zero?byte'
    last 'printf "10 %%\r20 %%\r" >&2' '20 %'
    last 'yes "a line" | head -n 6000000 >&2; sleep .3; echo "the end" >&2' 'the end'
    last 'head -c 100000 /dev/zero | tr "\0" x >&2' "$(printf '%0239d' 0 | tr 0 x)"
}

# Nothing of a trial runs on: no program with such a command line. Of a search that was killed the guards hear when it is
# gone, so a moment later.
gone() {
    for _ in $(seq 100); do
        pgrep -f "sleep $1" > running || return 0
        sleep .05
    done
    return 1
}

@test "what a trial leaves running ends with it, and all of it with the search" {
    # A program in the background, and one that does not listen.
    tune -q -m v -n 2 -o t.st "sleep 7301.5 & echo '{\"v\":{x}}'" x=0..1
    gone 7301.5
    run -0 tune -m v -n 3 --starts 3 -p 3 -t .2 -o t.st "case {trial} in 0) echo '{\"v\":{x}}';; *) trap '' TERM; sleep 7302.5 & wait; sleep 7302.5;; esac" x=0..1
    gone 7302.5
    [ "$(look t.st 'metrics["failed"]')" = 2 ]
    # Interrupted.
    tune -m v -n 4 -p 2 -o i.st 'echo {x} >> began; sleep 7303.5' x=0..1 2> said &
    search=$!
    for _ in $(seq 100); do [ "$(wc -l < began 2> /dev/null || echo 0)" -ge 2 ] && break; sleep .1; done
    kill -TERM $search
    status=0
    wait $search || status=$?
    [ "$status" -eq 143 ]
    gone 7303.5
    [ ! -e i.st ] && [ -s i.st.checkpoint ]
    # Nobody reads the record any more: the search ends quietly, and keeps what it has.
    # `true` ends at once, and closes the pipe.
    { tune -q -m v -n 50 --json --checkpoint c.st 'sleep .1; echo "{\"v\":{x}}"' x=0..1; echo $? > status; } | true
    [ "$(cat status)" = 0 ]
    [ "$(look c.st 'metrics["trials"] < 50')" = True ]
}

@test "however the search ends, its trials end with it" {
    # The third trial begins a program more, and then ends the search.
    for signal in INT TERM HUP QUIT KILL; do
        began="echo \$\$ > began-$signal; sleep 7310.5 & sleep 7311.5 | cat & kill -$signal \$PPID; sleep 7312.5"
        run env --default-signal bash -c "ulimit -c 0; exec \"\$@\"" - tune -v -m v -n 9 -o $signal.st "if [ {trial} = 2 ]; then $began; fi; echo '{\"v\":{x}}'" x=0..1
        echo "$signal: $status: $output"
        [ "$status" -eq $((128 + $(kill -l $signal))) ]
        gone 731[0-2].5
        [ -s began-$signal ] && [ ! -e $signal.st ]
        # Nothing that had ended is lost.
        [ "$(look $signal.st.checkpoint 'metrics["trials"]')" = 2 ]
    done
    # A second signal does not wait for programs that do not listen.
    run -143 tune -m v -n 2 -o twice.st 'trap "" TERM; kill -TERM $PPID; sleep .3; kill -TERM $PPID; sleep 7313.5; : {x}' x=0..1
    gone 7313.5
    # Nobody hears what it says, nor reads its output: it ends with the trial that runs.
    { tune -v -m v -n 9 -o unread.st 'sleep .1; [ {trial} -lt 8 ] || { touch eighth; sleep 7314.5; }; echo "{\"v\":{x}}"' x=0..1 2>&1; } | true
    gone 7314.5
    [ ! -e unread.st ]
}

@test "a trial that prints without end is ended, one that talks without end is not" {
    run -3 tune -m v -n 1 -o t.st 'yes {x}' x=0..1
    [[ "$output" == *"it printed more than 16 MiB"* ]]
    # What was said does not pile up.
    run -0 tune -q -m v -n 1 -o t.st 'timeout .5 yes {x} >&2; sleep .3; echo "{\"v\":$(stat -Lc %s /proc/self/fd/2)}"' x=0..1
    [ "$(look t.st 't["value"][0] <= 2 ** 24')" = True ]
    # A program's own files may be as large as they like.
    run -0 tune -q -m v -n 1 -o t.st 'head -c 30000000 /dev/zero > large; echo "{\"v\":{x}}"; rm large' x=0..1
}

@test "a full disk ends the search, and its log stays whole" {
    tune -q -m v -n 200 --starts 200 -o whole.st 'echo "{\"v\":{k}}"' k=1..200:int
    run -4 bash -c 'ulimit -f 4; exec "$@"' - tune -m v -n 200 --starts 200 -o t.st 'echo "{\"v\":{k}}"' k=1..200:int
    [[ "$output" == *"t.st.checkpoint: cannot write: File too large"* ]]
    tensor verify t.st.checkpoint
    [ ! -e t.st ] && [ -z "$(ls -A | grep part)" ]
    n=$(look t.st.checkpoint 'metrics["trials"]')
    [ "$n" -gt 10 ] && [ "$n" -lt 200 ]
    tune -q -m v -n 200 -o t.st --resume t.st.checkpoint 'echo "{\"v\":{k}}"' k=1..200:int
    cmp t.st whole.st
    run -4 tune -q -m v -n 2 -o /dev/full 'echo "{\"v\":{x}}"' x=0..1
    [[ "$output" == *"/dev/full: cannot write: No space left on device"* ]]
}

@test "trials go to a pipe or a device, and no log beside it" {
    tune -q -m v -n 4 -o t.st 'echo "{\"v\":{x}}"' x=0..1
    tune -q -m v -n 4 -o >(cat > piped.st) 'echo "{\"v\":{x}}"' x=0..1
    for _ in $(seq 100); do cmp -s t.st piped.st && break; sleep .05; done
    cmp t.st piped.st
    tune -q -m v -n 4 -o /dev/null 'echo "{\"v\":{x}}"' x=0..1
}

@test "the log of a search that did not end is not written over" {
    tune -q -m v -n 4 -o t.st 'echo "{\"v\":{x}}"' x=0..1
    cp t.st t.st.checkpoint
    run -2 tune -m v -n 9 -o t.st 'touch ran; echo "{\"v\":{x}}"' x=0..1
    [[ "$output" == *"t.st.checkpoint is the log of a search that did not end"* ]]
    [ ! -e ran ] && cmp t.st t.st.checkpoint
    tune -q -m v -n 5 -o t.st --resume t.st.checkpoint 'echo "{\"v\":{x}}"' x=0..1
    [ ! -e t.st.checkpoint ]
}

@test "several at a time" {
    tune -q -m v -n 30 -p 4 -o t.st "$BOWL" "${RANGES[@]}"
    [ "$(look t.st '[metrics["trials"], len(set(zip(t["x"][::3], t["x"][1::3], t["x"][2::3])))]')" = "[30, 30]" ]
    [ "$(look t.st 'metrics["best"]["value"] < metrics["starts"]["best"]')" = True ]
    # Really at a time: each waits for the other.
    run -0 tune -q -m v -n 2 -p 2 -t 10 -o t.st 'touch here{trial}; until [ -e here0 ] && [ -e here1 ]; do sleep .05; done; echo "{\"v\":{x}}"' x=0..1
    [ "$(look t.st 'metrics["failed"]')" = 0 ]
}

@test "a space that is used up ends the search" {
    run -0 tune -q -m v -n 20 -o t.st 'echo "{\"v\":{k}}"; : {w}' k=1..3:int w=a,b
    [ "$(look t.st '[metrics["trials"], record["notes"]]')" = "[6, ['The ranges hold 6 points, and all were tried.']]" ]
}

@test "mistakes are told before anything runs" {
    no() { local word=$1; shift; run -2 tune -o t.st "$@"; echo "$output"; [[ "$output" == *"$word"* ]]; [ ! -e ran ]; [ ! -e t.st ]; }
    no "-m PATH is missing" 'touch ran; {x}' x=0..1
    no "{x} does not stand in the command" -m v 'touch ran' x=0..1
    no "two numbers" -m v 'touch ran; {x}' x=0..
    no "given twice" -m v 'touch ran; {x}' x=0..1 x=1..2
    no "words of letters" -m v 'touch ran; {x}' 'x=a,b;c'
    no "is missing" -m v 'touch ran'
    no "--starts 5 of --trials 3" -m v -n 3 --starts 5 'touch ran; {x}' x=0..1
    run -2 tune -m v --json -o - 'touch ran; {x}' x=0..1
    [[ "$output" == *"standard output can take one"* ]]
    run -4 tune -m v -o none/t.st 'touch ran; {x}' x=0..1
    [ ! -e ran ]
    run -4 tune -m v -o t.st --checkpoint none/c.st 'touch ran; {x}' x=0..1
    [ ! -e ran ]
}

@test "a report shows the search's progress and the effects" {
    tune -q -m v -n 30 -o bowl.st "$BOWL" "${RANGES[@]}"
    tune -q -m v -n 10 -o lr.st 'echo "{\"v\":{lr}}"' lr=1e-4..1e-1:log
    report -q bowl.st lr.st -o page > said
    head -1 said | grep -qE '^search  best +at +trials$'  # and no table of models
    sed -n 2p said | grep -qE '^bowl +2 +a=3, b=5, w=low +30$'
    sed -n 3p said | grep -qE '^lr +[0-9.e-]+ +lr=[0-9.e-]+ +10$'
    grep -qF '<title>Search</title>' page/report.html
    [ "$(ls page | tr '\n' ' ')" = "report.html rows.csv search_bowl.png search_bowl_a.png search_bowl_b.png search_bowl_w.png search_lr.png search_lr_lr.png summary.json " ]
    python3 - << 'END_OF_PYTHON'
import json, re, xml.etree.ElementTree as tree
text = open("page/report.html").read()
tree.fromstring(text.split("\n", 1)[1])
assert text.count("<svg") == 6 and "id=\"search\"" in text and "Verdict" not in text
assert "found is <strong>2</strong>, in 30 trials of which 0 failed" in text
s = json.load(open("page/summary.json"))
a, b = s["searches"]
assert a["id"] == "bowl" and a["best"]["at"] == {"a": 3, "b": 5, "w": "low"}
assert len(a["value"]) == len(a["so_far"]) == 30 and min(a["value"]) == a["so_far"][-1] == 2
assert a["ranges"][2]["words"] == ["high", "low"] and b["ranges"][0]["log"] is True and a["ranges"][0]["log"] is False
assert any("luckiest" in l for l in s["limits"])
rows = open("page/rows.csv").read().splitlines()
assert sum(r.startswith("bowl,search,,,,") and ",value," in r for r in rows) == 30
END_OF_PYTHON
}

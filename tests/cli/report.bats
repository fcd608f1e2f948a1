# report: from blobs to a page: what it writes, in any order, from files and pipes; hostile texts; gates; refusals.

bats_require_minimum_version 1.5.0

setup_file() {
    export DATA="$BATS_FILE_TMPDIR"
    fetch -q synthetic --count 200 --size 1x12x12 --seed 1 -o "$DATA/train.st"
    fetch -q synthetic --count 60 --size 1x12x12 --split test -o "$DATA/test.st"
    trainclf -q -i "$DATA/train.st" --test "$DATA/test.st" --arch "conv 4 3 | relu | maxpool 2 | flatten | linear 10" --epochs 6 --lr .02 \
        -o "$DATA/cnn.st"
    trainclf -q -i "$DATA/train.st" --arch "flatten | linear 10" --epochs 2 -o "$DATA/linear.st"
    attack -q "$DATA/cnn.st" -i "$DATA/test.st" --eps .1,.2 -o "$DATA/attack.st"
    report -q "$DATA/cnn.st" "$DATA/attack.st" "$DATA/linear.st" -o "$DATA/report" > "$DATA/said"
}

setup() {
    OUT="$BATS_TEST_TMPDIR/report"
    PAGE="$DATA/report/report.html"
}

# look FILE EXPRESSION: a Python expression over `s`, the summary.
look() { python3 -c 'import json, sys; s = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$@"; }

# One blob with a record: make NAME KIND RECORD [VALUE]
make_blob() { python3 tests/make_blob.py "$1" "{\"assay.kind\": \"$2\", \"assay.version\": \"1\", \"assay.record\": $3}" "{\"w\": [\"F32\", [1], [${4:-1}]]}"; }

# Checks that a page is well-formed, stands by itself and describes its pictures.
check_page() {
    python3 - "$1" << 'END_OF_PYTHON'
import html.parser, re, sys, xml.etree.ElementTree as tree
text = open(sys.argv[1], encoding="utf-8").read()
assert text.startswith("<!DOCTYPE html>\n") and len(text.encode()) < 3_000_000
root = tree.fromstring(text.split("\n", 1)[1])  # well-formed as XML: balanced, escaped, no attribute twice
ids = [e.get("id") for e in root.iter() if e.get("id")]
assert len(ids) == len(set(ids)), sorted(i for i in ids if ids.count(i) > 1)

class Parser(html.parser.HTMLParser):
    pictures = tables = 0
    def handle_starttag(self, tag, attributes):
        a = dict(attributes)
        assert tag not in ("script", "link", "iframe", "object", "base", "form"), tag
        assert not any(k.startswith("on") for k in a), a
        for key in ("src", "href", "action", "data", "poster", "srcset"):
            if key in a:
                assert a[key].startswith(("#", "data:image/png;base64,")), a[key][:80]
                if a[key].startswith("#"): assert a[key][1:] in ids, a[key]
        if tag == "img": assert len(a["alt"]) > 20
        if tag == "svg":
            assert a["role"] == "img" and len(a["aria-label"]) > 5
        self.pictures += tag in ("img", "svg")
        self.tables += tag == "table"
p = Parser()
p.feed(text)
p.close()
assert not re.search(r"https?:|url\(|@import", text)
assert "prefers-color-scheme:dark" in text
print(p.pictures, p.tables)
END_OF_PYTHON
}

@test "a report is a page, charts, a summary and rows; the page's path comes last" {
    [ "$(tail -1 "$DATA/said")" = "$PAGE" ]
    grep -qE '^cnn +[0-9.]+ % +[0-9.]+ % \([0-9.]+ to [0-9.]+\)' "$DATA/said"
    grep -qE '^linear +[0-9.]+ % +- .*accuracy not measured$' "$DATA/said"
    [ "$(ls "$DATA/report" | tr '\n' ' ')" = "images_cnn_fgsm.png images_cnn_pgd.png report.html robust_fgsm.png robust_pgd.png rows.csv summary.json test_acc_vs_epoch.png test_loss_vs_epoch.png tradeoff.png " ]
    for chart in robust_fgsm robust_pgd test_acc_vs_epoch test_loss_vs_epoch tradeoff; do
        python3 - "$DATA/report/$chart.png" << 'END_OF_PYTHON'
import struct, sys, zlib
raw = open(sys.argv[1], "rb").read()
assert raw[:8] == b"\x89PNG\r\n\x1a\n"
width, height = struct.unpack(">2I", raw[16:24])
assert (width, height) == (1280, 800), (width, height)
assert 10_000 < len(raw) < 400_000, len(raw)
END_OF_PYTHON
    done
}

@test "numbers and intervals are those of the records" {
    [ "$(look "$DATA/report/summary.json" 's["schema"]')" = assay.report/1 ]
    attack -q "$DATA/cnn.st" -i "$DATA/test.st" --eps .1,.2 --json > "$BATS_TEST_TMPDIR/record"
    python3 - "$BATS_TEST_TMPDIR/record" "$DATA/report/summary.json" "$DATA/report/rows.csv" << 'END_OF_PYTHON'
import csv, json, sys
record, summary = (json.load(open(p))["metrics"] for p in sys.argv[1:3])
mine = summary["cnn"]
for key in ("accuracy", "accuracy_interval", "loss"):
    assert mine["clean"][key] == record["clean"][key]
for method in ("noise", "fgsm", "pgd"):
    for eps in ("eps_0p1", "eps_0p2"):
        for key in ("accuracy", "accuracy_interval"):
            assert mine["robust"][method][eps][key] == record["robust"][method][eps][key]
rows = list(csv.DictReader(open(sys.argv[3])))
row, = [r for r in rows if (r["entry"], r["set"], r["method"], r["eps"]) == ("cnn", "robust", "pgd", "0.1")]
assert [float(row["low"]), float(row["high"])] == record["robust"]["pgd"]["eps_0p1"]["accuracy_interval"]
assert len([r for r in rows if r["set"] == "history" and r["metric"] == "test_loss"]) == 6
END_OF_PYTHON
    # And the page's: the robustness tile of the verdict.
    number="$(look "$DATA/report/summary.json" '"%.1f" % (100 * s["verdict"][0]["robustness"]["accuracy"])')"
    grep -qF "<div class=\"number\">$number %</div>" "$PAGE"
}

@test "the page is well-formed, stands by itself and describes its pictures" {
    run check_page "$PAGE"
    echo "$output"
    [ "$status" -eq 0 ]
    # Two bars in the tiles, five charts, two pictures; six tables besides those of the charts.
    [ "$output" = "9 11" ]
    for word in 'not measured' 'Distinguishable from chance: <strong>yes</strong>' 'Attack distinguishable from noise:' \
        'How strong the attacks were' 'Per class' 'From data set to report' 'upper bound'; do
        grep -qF "$word" "$PAGE"
    done
}

@test "files and pipes, one after the other or in one stream, in any order, come to the same" {
    cd "$DATA"
    report -q attack.st linear.st cnn.st -o "$OUT" > /dev/null
    [ "$(look "$OUT/summary.json" 's["metrics"]["cnn"]')" = "$(look report/summary.json 's["metrics"]["cnn"]')" ]
    [ "$(look "$OUT/summary.json" '[e["id"] for e in s["entries"]]')" = "['linear', 'cnn']" ]
    cat attack.st linear.st | report -q cnn.st - -o "$OUT" > /dev/null
    [ "$(look "$OUT/summary.json" 's["metrics"]["cnn"]')" = "$(look report/summary.json 's["metrics"]["cnn"]')" ]
    # Without names: by architecture and digest.
    cat cnn.st attack.st | report -q --json > "$BATS_TEST_TMPDIR/json"
    [[ "$(look "$BATS_TEST_TMPDIR/json" 's["entries"][0]["id"]')" == cnn_?????? ]]
}

@test "the same command gives the same bytes" {
    cd "$DATA"
    report -q cnn.st attack.st linear.st -o "$OUT" > /dev/null
    diff -r "$OUT" report
    report -q cnn.st attack.st linear.st --json > "$BATS_TEST_TMPDIR/json"
    cmp "$BATS_TEST_TMPDIR/json" report/summary.json
    ! grep -qF "$(hostname)" report/summary.json
}

@test "only models, only attacks, other kinds, nothing" {
    report -q "$DATA/cnn.st" -o "$OUT" > "$BATS_TEST_TMPDIR/said"
    [ "$(ls "$OUT" | tr '\n' ' ')" = "report.html rows.csv summary.json test_acc_vs_epoch.png test_loss_vs_epoch.png " ]
    grep -q 'robustness not measured$' "$BATS_TEST_TMPDIR/said"
    check_page "$OUT/report.html"
    rm -r "$OUT"
    report -q "$DATA/attack.st" -o "$OUT" > /dev/null
    [ -s "$OUT/robust_pgd.png" ]
    [ ! -e "$OUT/test_acc_vs_epoch.png" ]
    grep -q 'not among the inputs' "$OUT/summary.json"
    check_page "$OUT/report.html"
    rm -r "$OUT"
    make_blob "$BATS_TEST_TMPDIR/odd.st" accountant '{"metrics": {"epsilon": 3}}'
    report -q "$BATS_TEST_TMPDIR/odd.st" "$DATA/test.st" "$DATA/linear.st" -o "$OUT" > /dev/null
    [ "$(look "$OUT/summary.json" '[b["kind"] for b in s["blobs"]]')" = "['accountant', 'dataset', 'model']" ]
    grep -qF 'accountant <span class="soft">(not shown here)' "$OUT/report.html"
    check_page "$OUT/report.html"
    run report -o "$BATS_TEST_TMPDIR/none" < /dev/null
    [ "$status" -eq 3 ]
    [ ! -e "$BATS_TEST_TMPDIR/none" ]
    for words in "-o $BATS_TEST_TMPDIR/none" --json; do
        run -3 report "$BATS_TEST_TMPDIR/odd.st" "$DATA/test.st" $words
        [[ "$output" == *"no model, no attack, no membership test, no reconstruction and no search among the inputs"* ]]
        [ ! -e "$BATS_TEST_TMPDIR/none" ]
    done
}

@test "hostile texts in records, names and titles stay texts" {
    evil='</title><script>alert(1)</script>`touch ran`\u0001 \"quoted\" & $(touch ran) \ud83d\ude00'
    export PYTHONDONTWRITEBYTECODE=1
    work="$BATS_TEST_TMPDIR/work"
    mkdir "$work"
    make_blob "$work/x'\`touch ran\`<b>.st" model "{\"config\": {\"arch\": \"$evil\", \"regime\": \"$evil\", \"classes\": 3}, \"notes\": [\"$evil\"],
        \"metrics\": {\"history\": {\"test_accuracy\": [0.5, 0.6], \"$evil\": [1]}, \"test\": {\"accuracy\": 0.6}}}" 1
    make_blob "$work/a.st" attack "{\"config\": {\"$evil\": \"$evil\", \"norm\": \"$evil\", \"class_names\": [\"$evil\"]}, \"notes\": [\"$evil\"],
        \"metrics\": {\"clean\": {\"accuracy\": 0.5, \"per_class\": {\"accuracy\": [0.5], \"count\": [9]}},
        \"robust\": {\"$evil\": {\"eps_0p1\": {\"accuracy\": 0.2}}, \"../../up\": {\"eps_0p1\": {\"accuracy\": 0.2}}}}}" 2
    (cd "$work" && report -q ./*.st -o deep/er --title "</title><script>'x'&" > said)
    [ -z "$(find "$work" -name 'ran*')" ]
    [ "$(ls -A "$work" "$work/deep" | grep -cE 'up|robust')" -eq 0 ]
    ! grep -qi '<script' "$work/deep/er/report.html"
    grep -qF '&lt;script&gt;alert(1)' "$work/deep/er/report.html"
    [ "$(look "$work/deep/er/summary.json" '[e["id"] for e in s["entries"]]')" = "['x__touch_ran__b_', 'model']" ]
    check_page "$work/deep/er/report.html"
}

@test "a history of 100000 epochs and names of 10000 letters make a page of a readable size" {
    long=$(printf 'x%.0s' $(seq 10000))
    python3 - "$BATS_TEST_TMPDIR/long.st" "$long" << 'END_OF_PYTHON'
import json, sys
sys.path.insert(0, "tests")
sys.dont_write_bytecode = True
import make_blob
record = {"config": {"arch": sys.argv[2], "classes": 10}, "metrics": {"history": {"test_accuracy": [.5] * 100000, "test_loss": [1.5] * 100000}},
          "notes": [sys.argv[2]] * 3}
make_blob.main(sys.argv[1], {"assay.kind": "model", "assay.version": "1", "assay.record": record}, {"w": ["F32", [1], [1]]})
END_OF_PYTHON
    report -q "$BATS_TEST_TMPDIR/long.st" -o "$OUT" > /dev/null
    check_page "$OUT/report.html"
    [ "$(stat -c %s "$OUT/report.html")" -lt 300000 ]
    [ "$(wc -l < "$OUT/rows.csv")" -eq 200001 ]
}

@test "a thousand models make one page of a readable size" {
    python3 - "$BATS_TEST_TMPDIR/many.st" << 'END_OF_PYTHON'
import json, sys
sys.path.insert(0, "tests")
sys.dont_write_bytecode = True
import make_blob
with open(sys.argv[1], "wb") as all:
    for k in range(1000):
        record = {"config": {"arch": "flatten | linear 10", "classes": 10}, "metrics": {"history": {"test_accuracy": [.5] * 10},
                  "test": {"accuracy": .5, "accuracy_interval": [.4, .6]}}}
        lineage = [{"program": "trainclf", "version": "1", "inputs": ["ab" * 32], "seed": k, "options": {"lr": .001, "arch": "flatten | linear 10"}}]
        make_blob.main(sys.argv[1] + ".one", {"assay.kind": "model", "assay.version": "1", "assay.record": record, "assay.lineage": lineage},
                       {"w": ["F32", [1], [k]]})
        all.write(open(sys.argv[1] + ".one", "rb").read())
END_OF_PYTHON
    report -q "$BATS_TEST_TMPDIR/many.st" -o "$OUT" > /dev/null
    check_page "$OUT/report.html"
    [ "$(look "$OUT/summary.json" 'len(s["entries"])')" -eq 1000 ]
    [ "$(stat -c %s "$OUT/report.html")" -lt 3000000 ]
}

@test "gates: what holds ends with 1 after the files are there, what is not there with 2" {
    run report -q "$DATA/cnn.st" "$DATA/attack.st" -o "$OUT" --fail-if 'cnn.clean.accuracy>.1'
    [ "$status" -eq 1 ]
    [[ "$output" == *"cnn.clean.accuracy"* ]]
    [ -s "$OUT/report.html" ]
    run report -q "$DATA/cnn.st" "$DATA/attack.st" -o "$OUT" --fail-if 'metrics.cnn.robust.pgd.eps_0p1.accuracy>.99,cnn.chance>.5'
    [ "$status" -eq 0 ]
    run report -q "$DATA/cnn.st" --json --fail-if 'cnn.robust.pgd.eps_0p1.accuracy<.5'
    [ "$status" -eq 2 ]
    run report "$DATA/cnn.st" -o "$OUT" --fail-if 'cnn.clean'
    [ "$status" -eq 2 ]
}

@test "the closing line comes after the result, and not after one that was not written" {
    report "$DATA/cnn.st" -o "$OUT" > "$BATS_TEST_TMPDIR/both" 2>&1
    tail -1 "$BATS_TEST_TMPDIR/both" | grep -q ' s wall, '
    tail -2 "$BATS_TEST_TMPDIR/both" | head -1 | grep -qxF "$OUT/report.html"
    for words in "-o $OUT" --json; do
        run -4 bash -c "report '$DATA/cnn.st' $words > /dev/full"
        [[ "$output" == *"cannot write: No space left on device"* ]]
        [[ "$output" != *" s wall"* ]]
    done
}

@test "a directory that cannot be is known before anything is read" {
    touch "$BATS_TEST_TMPDIR/file"
    mkdir -p "$OUT/report.html"
    for directory in "$BATS_TEST_TMPDIR/file" "$BATS_TEST_TMPDIR/file/deeper" "$OUT"; do
        echo "$directory"
        run -4 report nowhere.st -o "$directory"
        [[ "$output" != *nowhere.st* ]]
    done
    run -4 report nowhere.st -o "$BATS_TEST_TMPDIR/new/er/"
    [[ "$output" == *nowhere.st* ]]
    [ ! -e "$BATS_TEST_TMPDIR/new" ]
}

@test "refusals name what is wrong and leave nothing behind" {
    run report "$DATA/cnn.st"
    [ "$status" -eq 2 ]
    [[ "$output" == *"-o DIR is missing"* ]]
    head -c 1000 "$DATA/cnn.st" > "$BATS_TEST_TMPDIR/cut.st"
    run report "$BATS_TEST_TMPDIR/cut.st" -o "$OUT"
    [ "$status" -eq 3 ]
    [[ "$output" == *cut.st* ]]
    [ ! -e "$OUT" ]
    touch "$BATS_TEST_TMPDIR/file"
    run report "$DATA/cnn.st" -o "$BATS_TEST_TMPDIR/file"
    [ "$status" -eq 4 ]
    [[ "$output" == *"a directory expected"* ]]
    mkdir "$BATS_TEST_TMPDIR/empty"
    run env PATH="$BATS_TEST_TMPDIR/empty" "$(command -v report)" "$DATA/cnn.st" -o "$OUT"
    [ "$status" -eq 4 ]
    [[ "$output" == *gnuplot-nox* ]]
    [ ! -e "$OUT/summary.json" ]
}

@test "colour images are shown in colour" {
    fetch -q synthetic --count 60 --size 3x12x12 -o "$BATS_TEST_TMPDIR/colour.st"
    trainclf -q -i "$BATS_TEST_TMPDIR/colour.st" --arch "flatten | linear 10" --epochs 8 -o "$BATS_TEST_TMPDIR/c.st"
    attack -q "$BATS_TEST_TMPDIR/c.st" -i "$BATS_TEST_TMPDIR/colour.st" -m fgsm --norm l2 --eps 1 -o "$BATS_TEST_TMPDIR/a.st"
    report -q "$BATS_TEST_TMPDIR/c.st" "$BATS_TEST_TMPDIR/a.st" -o "$OUT" > /dev/null
    [ "$(look "$OUT/summary.json" 's["entries"][0]["id"]')" = c_l2 ]
    [ -s "$OUT/images_c_l2_fgsm.png" ]
    [ -s "$OUT/robust_fgsm_l2.png" ]
    check_page "$OUT/report.html"
}

@test "reconstructions stand beside their control and baselines, and in the verdict of their model" {
    cd "$BATS_TEST_TMPDIR"
    tensor -q cut "$DATA/train.st" --rows 0:5 -o members.st
    tensor -q cut "$DATA/train.st" --rows 5:200 -o heldout.st
    ssim -q members.st -t members.st -c heldout.st --blocks 4 -o copies.st
    ssim -q "$DATA/test.st" -t members.st -c heldout.st --blocks 4 --beside members=members.st -o strangers.st
    ssim -q --pool copies.st strangers.st -o pooled.st
    ssim -q members.st members.st -o pairs.st
    report -q copies.st strangers.st pooled.st pairs.st -o "$OUT" > said
    check_page "$OUT/report.html"
    [ "$(ls "$OUT" | tr '\n' ' ')" = "report.html rows.csv summary.json wall_copies.png wall_strangers.png " ]
    [ "$(look "$OUT/summary.json" '[r["id"] for r in s["reconstructions"]]')" = "['copies', 'strangers', 'pooled']" ]
    [ "$(look "$OUT/summary.json" '(lambda r: [r["auc"], r["matched"], r["members"], r["candidates"]])(s["reconstructions"][0])')" = "[1.0, 5.0, 5.0, 5.0]" ]
    [ "$(look "$OUT/summary.json" '[b["name"] for b in s["reconstructions"][1]["baselines"]]')" = "['classes', 'heldout', 'mean', 'members', 'noise']" ]
    ssim -q "$DATA/test.st" -t members.st -c heldout.st --blocks 4 --json > record
    [ "$(look "$OUT/summary.json" '[s["reconstructions"][1]["auc"]] + s["reconstructions"][1]["auc_interval"]')" = \
        "$(look record '[s["metrics"]["ncc"]["auc"]] + s["metrics"]["ncc"]["auc_interval"]')" ]
    grep -qE '^strangers .*chance' said
    grep -qF '<h1>Reconstruction</h1>' "$OUT/report.html"
    [ "$(grep -c '^strangers,reconstruction,noise,' "$OUT/rows.csv")" -eq 4 ]
    grep -qF 'score <span class="soft">(not shown here)' "$OUT/report.html"  # pairs.st
    # What is unexplained at the truth, where a score was told the model.
    trainclf -q -i members.st --arch "flatten | linear 20 | relu | linear 10 nobias fixed" --l2 1e-2 --batch 5 --epochs 20 -o model.st
    ssim -q members.st -t members.st -c heldout.st --blocks 4 --model model.st -o gate.st
    report -q gate.st strangers.st -o gate > /dev/null
    check_page gate/report.html
    [ "$(look gate/summary.json '[0 < r["kkt_residual_best"] <= r["kkt_residual"] if "kkt_residual" in r else None for r in s["reconstructions"]]')" = "[True, None]" ]
    [ "$(grep -cF 'of the weights stay unexplained' gate/report.html)" -eq 1 ]
    # A record that does not fit shows what does, and breaks nothing.
    python3 "$OLDPWD/tests/make_blob.py" odd.st '{"assay.kind": "score", "assay.version": "1", "assay.record": {"config": {}, "metrics": {"ncc": {"auc": 0.5}, "baseline": [1]}}}' \
        '{"wall.x": ["F32", [1, 3, 1, 2, 2], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]], "wall.ncc": ["F32", [1], [0]], "wall.mark": ["U8", [1], [0]]}'
    report -q odd.st -o odd > /dev/null
    [ "$(look odd/summary.json '[s["reconstructions"][0]["auc"], s["reconstructions"][0]["baselines"]]')" = "[0.5, []]" ]
    [ ! -e odd/wall_odd.png ]
    # The verdict: through the step of the attack in the candidates' lineage.
    report -q "$DATA/linear.st" --json > record
    digest=$(look record 's["blobs"][0]["digest"]')
    for k in 1 2; do
        python3 "$OLDPWD/tests/make_blob.py" made$k.st "{\"assay.kind\": \"score\", \"assay.version\": \"1\", \"assay.record\": {\"metrics\": {\"ncc\": {\"auc\": 0.$((5 + k)),
            \"auc_interval\": [0.55, 0.8]}, \"baseline\": {\"</td><script>\": {\"auc\": 0.5}}}, \"notes\": [\"</td><script>\"]},
            \"assay.lineage\": [{\"program\": \"invert\", \"version\": \"1\", \"inputs\": [\"$digest\"], \"options\": {}}]}" "{\"w\": [\"F32\", [1], [$k]]}"
    done
    report -q "$DATA/linear.st" made1.st made2.st -o "$OUT" > /dev/null
    check_page "$OUT/report.html"
    ! grep -qi '<script' "$OUT/report.html"
    [ "$(look "$OUT/summary.json" '(lambda v: [v["measured"], v["score"], v["auc"], v["differs_from_chance"]])(s["verdict"][0]["reconstruction"])')" = "[True, 'made2', 0.7, True]" ]
}

@test "a membership test is shown with its singular values and curves, one that was refused with its reason" {
    cd "$BATS_TEST_TMPDIR"
    trainclf -q -i "$DATA/train.st" --subset first:20 --arch "homogeneous 100 | init he,first:1e-3" --normalise mean-image \
        --l2 1e-3 --batch 20 --epochs 100 --lr .005 --settle sgd:500 -o rest.st
    for model in rest.st "$DATA/linear.st" "$DATA/cnn.st"; do
        mia -q "$model" -i "$DATA/train.st" --members first:20 -o "mia-$(basename "$model")"
    done
    report -q rest.st "$DATA/cnn.st" mia-rest.st mia-linear.st mia-cnn.st -o "$OUT" > said
    check_page "$OUT/report.html"
    [ "$(cd "$OUT" && ls mia_* | tr '\n' ' ')" = \
        "mia_roc_leverage.png mia_roc_span.png mia_scores_mia-linear.png mia_scores_mia-rest.png mia_singular.png " ]
    # The numbers are the record's; the histograms count every image once.
    mia -q rest.st -i "$DATA/train.st" --json > record
    for what in auc auc_interval tpr_at_fpr_1e-2 tpr_at_fpr_1e-3_interval; do
        [ "$(look "$OUT/summary.json" "s['memberships'][0]['methods']['span']['$what']")" = \
            "$(look record "s['metrics']['span']['$what']")" ]
    done
    [ "$(look "$OUT/summary.json" '[s["memberships"][0][k] for k in ("rank", "members", "others")]')" = "[20.0, 20.0, 180.0]" ]
    counts='s["memberships"][0]["methods"]["span"]["scores"]'
    [ "$(look "$OUT/summary.json" "[sum($counts[k]) for k in ('members', 'others')]")" = "[20, 180]" ]
    verdicts='[v["membership"].get("auc", "refused" in v["membership"]) for v in s["verdict"]]'
    [ "$(look "$OUT/summary.json" "$verdicts")" = "[1.0, True]" ]
    grep -qE '^mia-rest +span +1\.000 .* 20 ' said
    grep -qE '^mia-cnn +span +- .*not linear in the whole image' said
    for word in 'allowed</th>' 'refused: the first layer is not linear' 'refused: the singular values show no gap of 2' \
        'Reconstruction of training images was not measured'; do
        grep -qF "$word" "$OUT/report.html"
    done
    [ "$(grep -c '^mia-rest,membership,,,,[0-9]*,singular,' "$OUT/rows.csv")" -eq 100 ]
    # Without any model the page has no verdict.
    report -q mia-rest.st -o alone > said
    ! grep -q 'id="verdict"' alone/report.html
    [ "$(head -c 10 said)" = membership ]
    grep -qF '<h1>Membership</h1>' alone/report.html
    grep -qF '<h1>Utility and robustness</h1>' "$OUT/report.html"
}

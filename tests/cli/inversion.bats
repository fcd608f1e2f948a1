# make pipeline-inversion, tiny, on drawings and in colour: every step leaves its file, what runs again, what the table names.

run_pipeline() { make --no-print-directory pipeline-inversion DATA=synthetic EACH=2 STEPS=2 EPOCHS=2 REST=20 DIRECT=20 WIDTH=2 ARCHS=mlp,vit THREADS=1 OUT="$OUT" "$@"; }

setup_file() {
    export OUT="$BATS_FILE_TMPDIR/out"
    run_pipeline > "$BATS_FILE_TMPDIR/first" 2>&1
}

newer() { find "$OUT" -type f -newer "$1" ! -path '*/settings/*' -printf '%f\n' | sort | tr '\n' ' '; }

@test "models, candidates and scores are there, and a table of every attack" {
    for file in members mlp mlp-all mlp-stationary-only vit-no-stationary vit-miface mlp-rows other-images-scaled more-data-attack score-mlp score-defences; do
        tensor verify "$OUT/1/$file.st"
    done
    [ -s "$OUT/1/wall-mlp.png" ] && [ -s "$OUT/report/summary.json" ]
    for row in stationary-only no-stationary scaled miface rows other-images noise classes trained-last adam sgd large-start early more-data; do
        grep -qE "^ssim: $row AUC +[0-9.]+ \(" "$OUT/report.txt"
    done
}

@test "the table says what every attacked model is worth on other images, and what its first layer tells of its members" {
    table=$(sed -n '/^the models/,$p' "$OUT/report.txt")
    for model in mlp vit other-images target others-target trained-last adam sgd large-start early more-data; do
        grep -qE "^$model +[0-9.]+ % +[0-9.]+ % \([0-9.]+ to [0-9.]+\) " <<< "$table"
        tensor verify "$OUT/1/mia/$model.st"
    done
    for model in mlp target more-data; do grep -qE "^$model +leverage +[0-9.]+ \(" <<< "$table"; done
    grep -qE "^vit +span +- .*not linear in the whole image" <<< "$table"
    grep -qE "^more-data +[0-9]" <<< "$table"
    ! grep -q '^reconstruction ' <<< "$table"
    [ "$(tensor cat -t member "$OUT/1/mia/more-data.st" | awk '{ n += $1 } END { print n }')" -eq 200 ]
    for name in mia_singular mia_roc_leverage mia_scores_target; do [ -s "$OUT/report/$name.png" ]; done
    [ "$(tail -1 "$BATS_FILE_TMPDIR/first")" = "$(tail -1 "$OUT/report.txt")" ]
}

@test "the control holds none of the members and none of the other images" {
    tensor cat -t index "$OUT/1/others.st" | sort > "$BATS_TEST_TMPDIR/others"
    tensor cat -t index "$OUT/1/members.st" | sort > "$BATS_TEST_TMPDIR/members"
    tensor cat -t index "$OUT/1/control.st" | sort > "$BATS_TEST_TMPDIR/control"
    [ -z "$(comm -12 "$BATS_TEST_TMPDIR/others" "$BATS_TEST_TMPDIR/control")" ]
    [ -z "$(comm -12 "$BATS_TEST_TMPDIR/others" "$BATS_TEST_TMPDIR/members")" ]
    [ "$(wc -l < "$BATS_TEST_TMPDIR/members")" -eq 20 ]
}

@test "a second make does nothing; more steps train no classifier again" {
    touch "$BATS_TEST_TMPDIR/mark"
    run_pipeline > /dev/null 2>&1
    [ "$(newer "$BATS_TEST_TMPDIR/mark")" = "" ]
    run_pipeline STEPS=3 > /dev/null 2>&1
    again=" $(newer "$BATS_TEST_TMPDIR/mark")"
    [[ "$again" == *" mlp-all.st "* && "$again" == *" score-mlp.st "* ]]
    [[ "$again" != *" mlp.st "* && "$again" != *" members.st "* ]]
}

@test "sizes are quick or full" {
    run make --no-print-directory pipeline-inversion SIZE=huge OUT="$BATS_TEST_TMPDIR/huge"
    [ "$status" -eq 2 ]
    [[ "$output" == *"SIZE=huge: quick or full expected"* ]]
}

@test "the plan of five seeds is made in a moment" {
    run timeout 30 make -n --no-print-directory pipeline-inversion SIZE=full OUT="$BATS_TEST_TMPDIR/plan"
    [ "$status" -eq 0 ]
    [ "$(grep -c 'invert .* --preset all' <<< "$output")" -eq 15 ]
}

@test "colour: published files of one's own, scored beside a control, the direct attack and the generator" {
    local sets="$BATS_TEST_TMPDIR/sets" out="$BATS_TEST_TMPDIR/colours"
    mkdir "$sets"
    python3 tests/sets.py "$sets" > "$BATS_TEST_TMPDIR/SOURCES"
    ASSAY_SOURCES="$BATS_TEST_TMPDIR/SOURCES" run_pipeline DATA=colours FROM="$sets" EACH=1 ARCHS=mlp OUT="$out" > /dev/null 2>&1
    [ "$(tensor ls "$out/1/mlp-all.st" | grep -c 'x .*\[20, 3, 32, 32\]')" -eq 1 ]
    for attack in mlp defences; do
        run tensor ls "$out/1/score-$attack.st"
        for key in ncc.auc ncc.auc_interval ncc.tpr_at_fpr_1e-2 baseline.classes.auc; do [[ "$output" == *" $key = "* ]]; done
        [[ "$output" == *"wall.x "*", 3, 3, 32, 32]"* ]]
        [ -s "$out/1/wall-$attack.png" ]
    done
    # The direct attack finds patches that nothing resembles.
    awk '$2 == "NCC" && $4 > .9 { found = 1 } END { exit !found }' "$out/pooled-defences.txt"
}

@test "drawings have the shape that is asked for" {
    run_pipeline OUT="$BATS_TEST_TMPDIR/shape" SHAPE=3x32x32 -n > "$BATS_TEST_TMPDIR/commands"
    [ "$(grep -c 'fetch -q synthetic --count 6000 --size 3x32x32' "$BATS_TEST_TMPDIR/commands")" -eq 6 ]
    [ "$(grep -c 'fetch -q synthetic' "$BATS_TEST_TMPDIR/commands")" -eq 6 ]
}

@test "make reconstruct is training, a stripped file and the attack on that alone, to the byte" {
    cd "$BATS_TEST_TMPDIR"
    reconstruct() { make -C "$OLDPWD" --no-print-directory reconstruct MEMBERS="$PWD/few.st" NEURONS=100 THREADS=1 "$@"; }
    fetch -q synthetic --count 400 --size 1x12x12 -o all.st
    fetch -q synthetic --count 400 --size 1x12x12 --per-class 2 -o few.st
    run reconstruct
    [[ "$status" -eq 2 && "$output" == *"make reconstruct MEMBERS=FILE OUT=FILE"* ]]
    for place in "OUT=nowhere/a.st" "OUT=$PWD/a.st MODEL=nowhere/m.st"; do  # before anything is trained
        run reconstruct $place
        [[ "$status" -eq 2 && "$output" == *"nowhere/"*".st: its folder is not there"* && "$output" != *"epoch"* ]]
    done
    run reconstruct OUT="$PWD/a.st" MODEL="$PWD/m.st" SEED=3
    [[ "$status" -eq 0 && "$output" == *"20 training images, read off the singular values"* ]]
    trainclf -q -i few.st --arch 'flatten | linear 100 | relu | linear 10 nobias fixed | init he,first:1e-3' --normalise mean-image \
        --l2 1e-3 --batch 65536 --schedule cosine --epochs 300 --settle lbfgs:1000 --seed 3 --threads 1 -o whole.st
    tensor release -q whole.st -o released.st
    cmp released.st m.st
    [ "$(tensor ls -q m.st | grep -c keep)" -eq 0 ]
    invert -q released.st --seed 3 --threads 1 -o b.st
    cmp a.st b.st
    ssim -q a.st -t few.st -c all.st --exclude --fail-if 'ncc.auc<.9' --baselines none -o score.st
    # As many classes as there are, and not as many of each.
    fetch -q synthetic --count 10 --classes 3 --size 1x12x12 -o three.st
    run reconstruct MEMBERS="$PWD/three.st" OUT="$PWD/c.st"
    [[ "$status" -eq 0 && "$output" == *"10 training images, read off the singular values"* ]]
}

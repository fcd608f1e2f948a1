# make pipeline-fashion, small and on drawings: what runs, what does not run again, what a changed setting does.

run_pipeline() { make --no-print-directory pipeline-fashion DATA=synthetic TRAIN=120 TEST=40 EPOCHS=1 ARCHS=mlp,vit OUT="$OUT" "$@"; }

setup_file() {
    export OUT="$BATS_FILE_TMPDIR/out"
    run_pipeline > "$BATS_FILE_TMPDIR/first" 2>&1
}

# Files that are newer than the mark, by name.
newer() { find "$OUT" -type f -newer "$1" ! -path '*/settings/*' -printf '%f\n' | sort | tr '\n' ' '; }

@test "every step leaves its file, and the end says where the report is" {
    for file in train-set test-set mlp vit attack-mlp attack-vit; do
        tensor verify "$OUT/$file.st"
    done
    [ -s "$OUT/attack-vit.png" ]
    tail -2 "$BATS_FILE_TMPDIR/first" | grep -qF "$OUT"
    [ ! -e tools/report.c ] || [ -s "$OUT/report/summary.json" ]
}

@test "a second make does nothing and says the same" {
    touch "$BATS_TEST_TMPDIR/mark"
    run_pipeline > "$BATS_TEST_TMPDIR/second" 2>&1
    [ "$(newer "$BATS_TEST_TMPDIR/mark")" = "" ]
    ! grep -q 'bin/trainclf' "$BATS_TEST_TMPDIR/second"
    [ "$(tail -1 "$BATS_TEST_TMPDIR/second")" = "$(tail -1 "$BATS_FILE_TMPDIR/first")" ]
}

@test "make -n says what another setting would do, and leaves everything as it is" {
    touch "$BATS_TEST_TMPDIR/mark"
    run run_pipeline -n EPOCHS=2
    [[ "$output" == *bin/trainclf*--epochs\ 2* && "$output" == *bin/attack* ]]
    [ -z "$(find "$OUT" -type f -newer "$BATS_TEST_TMPDIR/mark")" ]
    run run_pipeline -n
    [[ "$status" -eq 0 && "$output" != *bin/trainclf* ]]
    run_pipeline -n OUT="$BATS_TEST_TMPDIR/none" > /dev/null 2>&1
    [ ! -e "$BATS_TEST_TMPDIR/none" ]
}

@test "in a tree where nothing is built the programs come first, in every pipeline" {
    local bin="$BATS_TEST_TMPDIR/none" goal
    for goal in pipeline-fashion pipeline-inversion tune-inversion; do
        make -n --no-print-directory "$goal" V=1 BIN="$bin" OUT="$BATS_TEST_TMPDIR/out" > "$BATS_TEST_TMPDIR/plan"
        built="$(grep -n -m1 -- "-o $bin/fetch " "$BATS_TEST_TMPDIR/plan" | cut -d: -f1)"
        used="$(grep -n -m1 "^ *$bin/fetch " "$BATS_TEST_TMPDIR/plan" | cut -d: -f1)"
        [ "$built" -lt "$used" ]
    done
}

@test "another epsilon attacks again and trains nothing" {
    touch "$BATS_TEST_TMPDIR/mark"
    run_pipeline EPS=.05 > /dev/null 2>&1
    again="$(newer "$BATS_TEST_TMPDIR/mark")"
    [[ "$again" == *attack-mlp.st*attack-vit.st* ]]
    [[ " $again" != *" mlp.st"* && "$again" != *train-set.st* ]]
    [ "$(tensor ls --json "$OUT/attack-mlp.st" | grep -c eps_0p05)" -ge 1 ]
}

@test "the same settings give the same bytes" {
    OUT="$BATS_TEST_TMPDIR/again" run_pipeline THREADS=1 EPS=.05 > /dev/null 2>&1
    run_pipeline EPS=.05 > /dev/null 2>&1
    for file in mlp vit attack-mlp attack-vit; do
        cmp "$OUT/$file.st" "$BATS_TEST_TMPDIR/again/$file.st"
    done
}

@test "sizes are quick or full" {
    run make --no-print-directory pipeline-fashion SIZE=huge OUT="$BATS_TEST_TMPDIR/huge"
    [ "$status" -eq 2 ]
    [[ "$output" == *"SIZE=huge: quick or full expected"* ]]
}

@test "CUDA=1 is refused while there is nothing to build" {
    [ -z "$(ls common/engine/cuda* 2> /dev/null)" ] || skip "there is an executor for CUDA"
    run make --no-print-directory CUDA=1
    [ "$status" -eq 2 ]
    [[ "$output" == *"CPU only"* ]]
}

# make tune-inversion, tiny and on drawings: what it leaves, what runs again, how it goes on, what it refuses.

run_search() {
    make --no-print-directory tune-inversion DATA=synthetic EACH=2 STEPS=2 EPOCHS=2 WIDTH=2 CALLS=3 THREADS=1 OUT="$OUT" "$@"
}

setup_file() {
    export OUT="$BATS_FILE_TMPDIR/out"
    run_search > "$BATS_FILE_TMPDIR/first" 2>&1
}

newer() { find "$OUT" -type f -newer "$1" ! -path '*/settings/*' -printf '%f\n' | sort | tr '\n' ' '; }

# A part of the search's record, by a Python expression over r.
record() { tensor ls -q --json "$OUT/trials.st" | python3 -c "import json, sys; r = json.load(sys.stdin)['record']; print($1)"; }

@test "a search over the ten weights, a table, pictures, and the weights on other members" {
    tensor verify "$OUT/trials.st" "$OUT/target-100.st" "$OUT/again.st"
    [ "$(record '[r["metrics"]["trials"], r["metrics"]["failed"], r["config"]["metric"], r["config"]["goal"]]')" = "[3, 0, 'ncc.auc', 'maximise']" ]
    [ "$(record 'len(r["config"]["ranges"]) == 10 and all(x.endswith("=0..10") for x in r["config"]["ranges"])')" = True ]
    grep -qF "best of 3 trials on the members that were searched on: AUC $(record 'r["metrics"]["best"]["value"]'), by" "$OUT/report.txt"
    [ "$(grep -cE '^    --[a-z0-9-]+ +[0-9.]+(e-[0-9]+)?$' "$OUT/report.txt")" = 10 ]
    grep -qE '^    --beta-prime +'"$(record 'r["metrics"]["best"]["at"]["beta_prime"]')"'$' "$OUT/report.txt"
    grep -qE '^ssim: published AUC +[0-9.]+ \(' "$OUT/report.txt"
    [ -s "$OUT/again.png" ] && ls "$OUT/report" | grep -q search_trials_eta4.png
    [ "$(tail -1 "$BATS_FILE_TMPDIR/first")" = "pictures: $OUT/report/report.html" ]
}

@test "the weights found are those that are tried on other members" {
    tensor ls -q --json "$OUT/again-found.st" > "$BATS_TEST_TMPDIR/found"
    for weight in alpha alpha_prime eta4; do
        grep -qF "\"$weight\":$(record "float(r['metrics']['best']['at']['$weight'])")" "$BATS_TEST_TMPDIR/found"
    done
    ! cmp -s "$OUT/members-100.st" "$OUT/members-101.st"
}

@test "a second make does nothing; more calls go on from the log, other steps begin again" {
    touch "$BATS_TEST_TMPDIR/mark"
    run_search > "$BATS_TEST_TMPDIR/second" 2>&1
    [ "$(newer "$BATS_TEST_TMPDIR/mark")" = "" ]
    tail -n "$(wc -l < "$OUT/report.txt")" "$BATS_FILE_TMPDIR/first" | cmp - "$OUT/report.txt"
    first=$(tensor cat -q -t value "$OUT/trials.st")
    # Interrupted: no trials, only their log. One call more, by other threads.
    rm "$OUT/trials.st"
    run_search CALLS=4 THREADS=2 > /dev/null 2>&1
    [ "$(tensor cat -q -t value "$OUT/trials.st" | head -3)" = "$first" ]
    [ "$(record 'r["metrics"]["trials"]')" = 4 ]
    [ ! "$OUT/target-100.st" -nt "$BATS_TEST_TMPDIR/mark" ]
    run_search STEPS=3 > /dev/null 2>&1
    [ "$(record 'r["metrics"]["trials"]')" = 3 ]
    [ "$(tensor cat -q -t value "$OUT/trials.st")" != "$first" ]
    [ ! "$OUT/target-100.st" -nt "$BATS_TEST_TMPDIR/mark" ]
}

@test "seeds that are reported on are not searched on" {
    run make --no-print-directory tune-inversion SEED=3 OUT="$BATS_TEST_TMPDIR/three"
    [ "$status" -eq 2 ]
    [[ "$output" == *"SEED=3: 100 or more expected"* ]]
}

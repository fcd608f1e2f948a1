// ROC: areas by counting pairs, the false-positive budget, and intervals that hold what they should.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/bootstrap.h"
#include "audit/roc.h"
#include "base/arena.h"

static double by_pairs(const struct roc_run *r) {
    double won = 0;
    for (int64_t i = 0; i < r->positives; i++)
        for (int64_t j = 0; j < r->negatives; j++)
            won += r->positive[i] > r->negative[j] ? 1 : r->positive[i] == r->negative[j] ? .5 : 0;
    return won / (double)(r->positives * r->negatives);
}

static void draw(float *out, int n, uint32_t set, uint32_t repetition, double levels, double shift) {
    rng_uniform(rng_stream(8, "test/roc"), set, repetition, 0, out, n);
    for (int i = 0; i < n; i++) out[i] = (float)(floor(levels * out[i]) / levels + shift);
}

static void test_area(void **state) {
    (void)state;
    float a[37], b[113];
    for (uint32_t t = 0; t < 20; t++) {
        draw(a, 37, 0, t, t % 2 ? 5 : 1e6, .2);
        draw(b, 113, 1, t, t % 2 ? 5 : 1e6, 0);
        struct roc_run r = {a, b, 37, 113};
        assert_true(fabs(roc_auc(&r, 1) - by_pairs(&r)) < 1e-12);
    }
    // Runs on other scales: each is perfect by itself, and so they are together.
    const float low[] = {.2f, .3f}, under[] = {.1f, .15f, .1f}, high[] = {.9f}, over[] = {.8f};
    struct roc_run runs[] = {{low, under, 2, 3}, {high, over, 1, 1}, {over, high, 1, 1}};
    assert_true(roc_auc(runs, 2) == 1);
    assert_true(fabs(roc_auc(runs, 3) - .75) < 1e-15);  // four positives, three of them above
    struct interval i = roc_auc_interval(runs, 2, 0);
    assert_true(fabs(i.low - cbrt(.025)) < 1e-12 && i.high == 1);  // three positives: as rare as three shares of .29 all being ones
    struct roc_run turned[] = {{under, low, 3, 2}};
    i = roc_auc_interval(turned, 1, 0);
    assert_true(i.low == 0 && fabs(i.high - (1 - sqrt(.025))) < 1e-12);
    assert_true(isnan(roc_auc(runs, 0)));
}

static void test_rate(void **state) {
    (void)state;
    float negative[250], positive[] = {.5f, .9881f, .9879f, .992f, 1}, threshold;
    for (int i = 0; i < 250; i++) negative[i] = (float)i / 250;  // the third largest of 250 is .988
    struct roc_run r = {positive, negative, 5, 250};
    assert_int_equal(roc_hits(&r, .01, &threshold), 3);
    assert_true(threshold == 247 / 250.f);  // two of 250 lie above, .8 %
    // Exactly a hundred: one may lie above. Fewer: none.
    r.negatives = 100;
    roc_hits(&r, .01, &threshold);
    assert_true(threshold == 98 / 250.f);
    r.negatives = 99;
    roc_hits(&r, .01, &threshold);
    assert_true(threshold == 98 / 250.f);
    // Ties with the threshold are no hits.
    for (int i = 0; i < 250; i++) negative[i] = .5f;
    r.negatives = 250;
    assert_int_equal(roc_hits(&r, .01, &threshold), 4);
}

// The share of intervals that hold the truth, for sixty positives and a thousand negatives, as a reconstruction has them.
// The percentile bootstrap's true level there is 93 % or more, and then fewer than 178 of 200, or all of them, hold it
// once in a hundred times at most.
static void test_coverage(void **state) {
    (void)state;
    float a[60], b[1000];
    int held = 0;
    for (uint32_t t = 0; t < 200; t++) {
        draw(a, 60, 2, t, 1e6, .1);
        draw(b, 1000, 3, t, 1e6, 0);
        struct roc_run r = {a, b, 60, 1000};
        struct interval i = roc_auc_interval(&r, 1, t);
        held += i.low <= .595 && .595 <= i.high;  // of U(.1, 1.1) over U(0, 1): 1 - .9^2 / 2
    }
    print_message("# %d of 200 intervals hold the area\n", held);
    assert_in_range(held, 178, 199);
}

static void test_bootstrap(void **state) {
    (void)state;
    double x[200], sum = 0, squares = 0;
    float u[200];
    rng_normal(rng_stream(9, "test/mean"), 0, 0, 0, u, 200);
    for (int i = 0; i < 200; i++) sum += x[i] = u[i];
    for (int i = 0; i < 200; i++) squares += (x[i] - sum / 200) * (x[i] - sum / 200);
    // The interval of a mean of many is that of the normal distribution: within a tenth of its width, since the ends of
    // 2000 draws are off by a twentieth of a standard error.
    double half = 1.96 * sqrt(squares / 200 / 200);
    struct interval i = bootstrap_mean(x, 200, 1, "test/bootstrap"), again = bootstrap_mean(x, 200, 1, "test/bootstrap");
    assert_true(fabs(i.low - (sum / 200 - half)) < .1 * half && fabs(i.high - (sum / 200 + half)) < .1 * half);
    assert_true(i.low == again.low && i.high == again.high);
    double few[] = {3, 1, 2};
    i = bootstrap_percentiles(few, 3);
    assert_true(fabs(i.low - 1.05) < 1e-12 && fabs(i.high - 2.95) < 1e-12);  // numpy.percentile([1, 2, 3], [2.5, 97.5])
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_area), cmocka_unit_test(test_rate), cmocka_unit_test(test_coverage),
                                       cmocka_unit_test(test_bootstrap)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

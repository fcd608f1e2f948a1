// ROC: areas by counting pairs, the false-positive budget, and intervals that hold what they should.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdbool.h>
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
    assert_true(fabs(i.low - cbrt(.025)) < 1e-12 && i.high == 1);  // three positives: three shares of .29 are all ones so rarely
    struct roc_run turned[] = {{under, low, 3, 2}};
    i = roc_auc_interval(turned, 1, 0);
    assert_true(i.low == 0 && fabs(i.high - (1 - sqrt(.025))) < 1e-12);
    assert_true(isnan(roc_auc(runs, 0)));
}

// Draws that do not differ, or hardly, show no spread, and that is no certainty.
static void test_sure(void **state) {
    (void)state;
    float flat[50], spread[60], one = .6f;
    for (int i = 0; i < 50; i++) flat[i] = .5f;
    for (int i = 0; i < 60; i++) spread[i] = (float)i / 60;
    const struct {
        struct roc_run run;
        int least;  // images of the smaller group
    } unsure[] = {{{flat, flat, 50, 50}, 50}, {{&one, spread, 1, 60}, 1}, {{spread, &one, 60, 1}, 1}, {{&one, &one, 1, 1}, 1}};
    for (int k = 0; k < 4; k++) {
        double area = roc_auc(&unsure[k].run, 1), seen = pow(.025, 1. / unsure[k].least);
        struct interval i = roc_auc_interval(&unsure[k].run, 1, 0);
        assert_true(fabs(i.low - seen * area) < 1e-12 && fabs(i.high - (1 - seen * (1 - area))) < 1e-12);
    }
    // Of runs with one positive each the draws know nothing either, though these differ.
    const struct roc_run runs[] = {{&one, spread, 1, 60}, {flat, spread, 1, 60}};
    struct interval i = roc_auc_interval(runs, 2, 0);
    assert_true(i.high - i.low > .84);
    // One positive of 50 below one negative is no surer than none.
    float high[50];
    for (int k = 0; k < 50; k++) high[k] = k ? 2 : .99f;
    spread[0] = 1;
    const struct roc_run nearly = {high, spread, 50, 60};
    i = roc_auc_interval(&nearly, 1, 0);
    assert_true(i.low < .929 && i.high > roc_auc(&nearly, 1));
    // Where there is spread to see, it decides: wider than what 60 images cannot show.
    const struct roc_run wide = {spread, spread, 60, 60};
    i = roc_auc_interval(&wide, 1, 0);
    assert_true(i.low < .42 && i.high > .58);
}

static struct roc_rate rate_of(const struct roc_run *run, int runs, double fpr) {
    struct roc_above above[4] = {{0}};
    for (int i = 0; i < runs; i++) above[i] = roc_above(&run[i]);
    struct roc_rate rate = roc_rate(above, runs, fpr);
    for (int i = 0; i < runs; i++) free(above[i].count);
    return rate;
}

static void test_rate(void **state) {
    (void)state;
    float negative[250], positive[] = {.5f, .9881f, .9879f, .992f, 1};
    for (int i = 0; i < 250; i++) negative[i] = (float)i / 250;  // the third largest of 250 is .988
    struct roc_run r = {positive, negative, 5, 250};
    assert_int_equal(rate_of(&r, 1, .01).hits, 3);
    assert_true(roc_threshold(&r, .01) == 247 / 250.f);  // two of 250 lie above, .8 %
    // Exactly a hundred: one may lie above. Fewer: none.
    r.negatives = 100;
    assert_true(roc_threshold(&r, .01) == 98 / 250.f);
    r.negatives = 99;
    assert_true(roc_threshold(&r, .01) == 98 / 250.f);
    // Ties with the threshold are no hits.
    for (int i = 0; i < 250; i++) negative[i] = .5f;
    r.negatives = 250;
    assert_int_equal(rate_of(&r, 1, .01).hits, 4);
}

// The interval by its definition: P(J) from log-gammas, hits from counting pairs, and each tail's mean at the end found.
static double chance(int64_t n, int64_t j, double p) {
    double m = (double)n, k = (double)j;
    return exp(lgamma(m + 1) - lgamma(k + 1) - lgamma(m - k + 1) + k * log(p) + (m - k) * log1p(-p));
}

// Positives above the j-th largest negative.
static int64_t above(const struct roc_run *r, int64_t j) {
    int64_t count = 0;
    if (j < 1) return 0;
    if (j > r->negatives) return r->positives;
    for (int64_t i = 0; i < r->negatives; i++) {
        int64_t larger = 0, tied = 0;
        for (int64_t k = 0; k < r->negatives; k++) {
            larger += r->negative[k] > r->negative[i];
            tied += r->negative[k] == r->negative[i];
        }
        if (larger >= j || larger + tied < j) continue;
        for (int64_t k = 0; k < r->positives; k++) count += r->positive[k] > r->negative[i];
        break;
    }
    return count;
}

static double tail_at(int64_t k, int64_t n, double rate, bool upper) {
    double sum = 0;
    for (int64_t i = upper ? k : 0; i <= (upper ? n : k); i++) sum += chance(n, i, rate);
    return sum;
}

static void test_rate_interval(void **state) {
    (void)state;
    float a[2][25], b[2][220];
    struct roc_run run[2];
    for (uint32_t t = 0; t < 6; t++) {
        for (uint32_t i = 0; i < 2; i++) {
            draw(a[i], 25, 10 + i, t, t % 2 ? 40 : 1e6, .5);
            draw(b[i], 220, 12 + i, t, t % 2 ? 40 : 1e6, 0);
            run[i] = (struct roc_run){a[i], b[i], 25, 220 - 20 * i};
        }
        // One run, and two together, whose thresholds lie where they lie independently.
        struct roc_rate one = rate_of(run, 1, .02), both = rate_of(run, 2, .02);
        double low[2] = {0}, high[2] = {0};
        for (int64_t j = 0; j <= 40; j++) {
            low[0] += chance(220, j, .02) * tail_at(above(run, j), 25, one.interval.low, true);
            high[0] += chance(220, j, .02) * tail_at(above(run, j + 1), 25, one.interval.high, false);
            for (int64_t k = 0; k <= 40 && j <= 20; k++) {
                double p = chance(220, j, .02) * chance(200, k, .02);
                if (p < 1e-12) continue;
                low[1] += p * tail_at(above(run, j) + above(run + 1, k), 50, both.interval.low, true);
                high[1] += p * tail_at(above(run, j + 1) + above(run + 1, k + 1), 50, both.interval.high, false);
            }
        }
        for (int i = 0; i < 2; i++) assert_true(fabs(low[i] - .025) < 1e-6 && fabs(high[i] - .025) < 1e-6);
        assert_true(both.hits == above(run, 5) + above(run + 1, 5) && both.positives == 50);  // 4 of 220 and of 200 may pass
    }
}

// At the borders: a threshold that lies in a gap wherever it lies, one that may lie above all, scores that are all the same.
static void test_rate_ends(void **state) {
    (void)state;
    float positive[50], negative[2000];
    for (int i = 0; i < 50; i++) positive[i] = i < 30 ? 2 : -1;
    for (int i = 0; i < 2000; i++) negative[i] = (float)i / 2000;
    struct roc_run r = {positive, negative, 50, 2000};
    struct interval i = rate_of(&r, 1, .01).interval, exact = stats_clopper_pearson(30, 50, .95);
    assert_true(fabs(i.low - exact.low) < 1e-6 && fabs(i.high - exact.high) < 1e-6);  // none above with a chance of 2e-9
    r.positives = 30;
    i = rate_of(&r, 1, .01).interval;
    assert_true(fabs(i.low - pow(.025, 1. / 30)) < 1e-6 && i.high == 1);
    // 160 negatives: the true threshold lies above all with a chance of .2, and what passes there nobody knows.
    r.negatives = 160;
    assert_true(rate_of(&r, 1, .01).hits == 30);
    i = rate_of(&r, 1, .01).interval;
    assert_true(i.low == 0 && i.high == 1);
    for (int k = 0; k < 2000; k++) negative[k] = 2;
    r.negatives = 2000;
    i = rate_of(&r, 1, .01).interval;
    exact = stats_clopper_pearson(0, 30, .95);
    assert_true(i.low == 0 && fabs(i.high - exact.high) < 1e-12);
    const float one = 1;
    r = (struct roc_run){&one, &one, 1, 1};
    i = rate_of(&r, 1, .01).interval;
    assert_true(i.low == 0 && i.high > .97 && i.high <= 1);
}

// Where positives crowd about the threshold a thousand negatives leave it so uncertain that an interval which takes it for
// given holds the true rate in half of the cases or fewer. This one does in 95 % or more: of 200 at least 180.
static void test_rate_coverage(void **state) {
    (void)state;
    float a[500], b[1000];
    int held = 0, naive = 0;
    for (uint32_t t = 0; t < 200; t++) {
        draw(a, 500, 20, t, 1e6, 0);
        draw(b, 1000, 21, t, 1e6, 0);
        for (int i = 0; i < 500; i++) a[i] = .97f + .04f * a[i];  // half of them lie above .99
        struct roc_run r = {a, b, 500, 1000};
        struct roc_rate rate = rate_of(&r, 1, .01);
        struct interval given = stats_clopper_pearson((long)rate.hits, 500, .95);
        held += rate.interval.low <= .5 && .5 <= rate.interval.high;
        naive += given.low <= .5 && .5 <= given.high;
        assert_true(rate.interval.low <= (double)rate.hits / 500 && (double)rate.hits / 500 <= rate.interval.high);
    }
    print_message("# %d of 200 intervals hold the rate, %d where the threshold is taken for given\n", held, naive);
    assert_in_range(held, 180, 200);
    assert_in_range(naive, 0, 120);
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
    i = bootstrap_mean(x, 1, 1, "test/bootstrap");
    assert_true(isnan(i.low) && isnan(i.high));  // of one there is no spread to see
    double few[] = {3, 1, 2};
    i = bootstrap_percentiles(few, 3);
    assert_true(fabs(i.low - 1.05) < 1e-12 && fabs(i.high - 2.95) < 1e-12);  // numpy.percentile([1, 2, 3], [2.5, 97.5])
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_area),          cmocka_unit_test(test_sure),
                                       cmocka_unit_test(test_rate),          cmocka_unit_test(test_rate_interval),
                                       cmocka_unit_test(test_rate_ends),     cmocka_unit_test(test_rate_coverage),
                                       cmocka_unit_test(test_coverage),      cmocka_unit_test(test_bootstrap)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

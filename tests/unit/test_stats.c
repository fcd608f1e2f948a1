// Intervals and sums against values of 40-digit arithmetic (mpmath) and identities.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

#include "base/stats.h"

#define assert_close(x, y, relative) assert_near(x, y, relative, __LINE__)
static void assert_near(double x, double y, double relative, int line) {
    if (!(fabs(x - y) <= relative * fabs(y)))
        fail_msg("line %d: %.17g instead of %.17g, off by %.2g of it", line, x, y, fabs(x - y) / fabs(y));
}

static void test_beta(void **state) {
    (void)state;
    static const double known[][4] = {
        {2, 3, .4, 0.52480000000000003837},
        {0.5, 0.5, .1, 0.20483276469913345754},
        {0.001, 2, .5, 0.99980674653694774818},
        {30, 1, .99, 0.73970037338828022364},
        {100, 200, .3, 0.10884306564490975751},
        {5000, 7000, .42, 0.7706878535437866194},
        {1, 1, .25, 0.25},
        {0.7, 300, 1e-6, 0.0037617349818248125612},
        {12, 0.4, .9999, 0.92429414606083957731},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        assert_close(stats_beta(known[i][0], known[i][1], known[i][2]), known[i][3], 1e-13);
        assert_close(stats_beta(known[i][1], known[i][0], 1 - known[i][2]), 1 - known[i][3], 1e-11);
    }
    assert_true(stats_beta(3, 4, 0) == 0 && stats_beta(3, 4, 1) == 1);
}

static void test_beta_inverse(void **state) {
    (void)state;
    static const double size[] = {0.3, 1, 2, 10.5, 1000, 1e6, 1e9};
    static const double at[] = {1e-12, 0.005, 0.025, 0.3, 0.5, 0.8, 0.975, 0.9999};
    for (int i = 0; i < 7; i++)
        for (int j = 0; j < 7; j++) {
            double before = 0;
            for (int k = 0; k < 8; k++) {
                double x = stats_beta_inverse(size[i], size[j], at[k]);
                assert_true(x >= before && x <= 1);
                before = x;
                // A double near 1 cannot hold x itself: half a unit there moves I by the density times that.
                double step = x * 1e-12 + 1e-16, low = fmax(x - step, 0), high = fmin(x + step, 1);
                double under = stats_beta(size[i], size[j], low), over = stats_beta(size[i], size[j], high);
                if (!(under <= at[k] * (1 + 1e-12) + 1e-15 && over >= at[k] * (1 - 1e-12) - 1e-15))
                    fail_msg("a %g, b %g, p %g: x %.17g, between %.17g and %.17g", size[i], size[j], at[k], x, under, over);
            }
        }
    assert_close(stats_beta_inverse(1, 5, 0.5), 1 - pow(0.5, 0.2), 1e-14);
    assert_close(stats_beta_inverse(0.01, 1, 0.025), pow(0.025, 100), 1e-11);  // 6e-161
    assert_true(stats_beta_inverse(2, 2, 0) == 0 && stats_beta_inverse(2, 2, 1) == 1);
}

static void test_clopper_pearson(void **state) {
    (void)state;
    static const struct {
        long k, n;
        double level, low, high;
    } known[] = {
        {0, 10, .95, 0, 0.308497107818760824},
        {5, 10, .95, 0.187086028447398532, 0.812913971552601468},
        {1, 10, .95, 0.0025285785444617845, 0.44501611702819542},
        {9, 10, .95, 0.55498388297180458, 0.997471421455538215},
        {37, 100, .99, 0.249487066774738053, 0.503241203334748656},
        {921, 1000, .95, 0.902512905093098818, 0.936958797190540057},
        {9213, 10000, .95, 0.915848776359989671, 0.926504334763093447},
        {3, 60000, .95, 0.0000103113207435610411, 0.000146114195301705096},
        {1, 1, .9, 0.05, 1},
        {0, 0, .95, 0, 1},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct interval c = stats_clopper_pearson(known[i].k, known[i].n, known[i].level);
        assert_close(c.low, known[i].low, 1e-12);
        assert_close(c.high, known[i].high, 1e-12);
    }
    // Large counts: the normal approximation holds to its own order, 1 / n.
    for (long n = 1000000; n <= 1000000000; n *= 1000) {
        struct interval c = stats_clopper_pearson(n / 4, n, .95);
        double s = sqrt(0.25 * 0.75 / (double)n) * 1.959963984540054;
        assert_true(fabs(c.low - (0.25 - s)) < 3.0 / (double)n && fabs(c.high - (0.25 + s)) < 3.0 / (double)n);
        c = stats_clopper_pearson(0, n, .95);
        assert_true(c.low == 0);
        assert_close(c.high, -expm1(log(0.025) / (double)n), 1e-12);
    }
}

static void test_normal(void **state) {
    (void)state;
    static const double known[][2] = {
        {.975, 1.9599639845400538556},  {.3, -0.52440051270804081597},     {.02425, -1.9729610513118848376},
        {1e-10, -6.3613409024040561991}, {1e-100, -21.273453560965324294}, {1e-300, -37.047096299361199237},
        {.9999, 3.7190164854557083867},  {.50001, 0.000025066282748820862706},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        assert_close(stats_normal_quantile(known[i][0]), known[i][1], 1e-14 + (known[i][0] > .5 ? 1e-11 * (known[i][0] < .6) : 0));
    assert_true(fabs(stats_normal_quantile(0.5)) < 1e-16);
    assert_true(stats_normal_cdf(0) == 0.5);
    for (double p = 0.0005; p < 0.9996; p += 0.0005) {
        assert_close(stats_normal_cdf(stats_normal_quantile(p)), p, 1e-14);
        assert_true(stats_normal_quantile(p) < stats_normal_quantile(p + 1e-7));
    }
}

static void test_sums(void **state) {
    (void)state;
    enum { N = 1000003 };
    double *x = malloc(N * sizeof *x);
    for (long i = 0; i < N; i++)
        x[i] = 0.1;
    for (long n = 0; n < 3000; n++)
        assert_close(stats_sum(x, n), 0.1 * (double)n, 1e-14);
    // Added one after the other the million is off by 1.3e-11 of itself.
    assert_close(stats_sum(x, N), 0.1 * N, 1e-15);
    for (long i = 0; i < N; i++)
        x[i] = i % 2 ? 1e8 + (double)i : -1e8;
    assert_true(stats_sum(x, 1000000) == 250000000000.0);  // whole numbers add up exactly
    assert_true(stats_sum(x, 0) == 0);
    free(x);
}

static void test_medians(void **state) {
    (void)state;
    double x[] = {3, -1, 2, 10}, y[] = {INFINITY, 1, INFINITY, INFINITY};
    assert_true(isnan(stats_median(x, 0)));
    assert_true(stats_median(x, 1) == 3);
    assert_true(stats_median(x, 3) == 2);
    assert_true(stats_median(x, 4) == 2.5);
    assert_true(stats_median(y, 4) == INFINITY);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_beta),   cmocka_unit_test(test_beta_inverse), cmocka_unit_test(test_clopper_pearson),
        cmocka_unit_test(test_normal), cmocka_unit_test(test_sums), cmocka_unit_test(test_medians),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

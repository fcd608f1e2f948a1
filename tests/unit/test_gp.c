// Gaussian process: values of scikit-learn (tests/golden/gp_sklearn.py), gradients by central differences, what every such
// process has to do, and bounds.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "audit/box.h"
#include "audit/gp.h"
#include "base/arena.h"
#include "base/rng.h"

#define assert_close(x, y, tolerance) assert_near(x, y, tolerance, __LINE__)
static void assert_near(double x, double y, double tolerance, int line) {
    if (!(fabs(x - y) <= tolerance * fmax(1, fabs(y)))) fail_msg("line %d: %.17g instead of %.17g", line, x, y);
}

// ---- scikit-learn

enum { N = 12, D = 3, M = 4 };

static void golden(struct gp **g, double at[M * D]) {
    static const double step[D] = {.8191725133961645, .6710436067037893, .5497004779019703}, shift[D] = {.37, .73, .91};
    double x[N * D], y[N];
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < D; j++) x[i * D + j] = fmod((i + 1) * step[j], 1);
        const double *p = x + i * D;
        y[i] = sin(7 * p[0]) + 2 * p[1] * p[1] - p[0] * p[2];
    }
    for (int i = 0; i < M * D; i++) at[i] = fmod((i / D + .5) * shift[i % D], 1);
    *g = gp_new(D, NULL);
    gp_data(*g, N, x, y);
    (*g)->variance = 1.7;
    (*g)->noise = .01;
    memcpy((*g)->length, (double[]){.3, .8, 2.5}, D * sizeof(double));
    assert_true(gp_condition(*g));
}

static void values_are_those_of_scikit_learn(void **state) {
    (void)state;
    static const double mean[M] = {1.1965044809136658, -0.8361026418529427, 0.5260894546172367, 1.5477472496437845};
    static const double sd[M] = {0.28217933487472363, 0.21580492339262264, 0.47193038170716883, 0.19585930425822043};
    static const double slope[D + 2] = {-1.3681380203153966, 0.12638501221315457, 1.5352129516601303, 0.7732589491724967, -0.20344774787637096};
    struct gp *g;
    double at[M * D], m[M], s[M], gradient[D + 2];
    golden(&g, at);
    gp_predict(g, M, at, m, s);
    for (int i = 0; i < M; i++) {
        // Two orders of summation, and a condition of K near 1e3: 1e-12 is what may be left.
        assert_close(m[i], mean[i], 1e-12);
        assert_close(s[i], sd[i], 1e-12);
    }
    double theta[] = {log(1.7), log(.3), log(.8), log(2.5), log(.01)};
    assert_close(gp_likelihood(g, theta, gradient), -10.488487083158141, 1e-12);
    assert_close(g->likelihood, -10.488487083158141, 1e-12);
    for (int i = 0; i < D + 2; i++) assert_close(gradient[i], slope[i], 1e-11);
    gp_free(g);
}

// ---- gradients

// Points and values of a seed, the last coordinate of three words.
static struct gp *random_process(uint64_t seed, int n, int d) {
    struct stream s = rng_stream(seed, "test/gp");
    bool nominal[GP_INPUTS] = {0};
    double *x = memory_take((size_t)(n * d) * sizeof *x), *y = memory_take((size_t)n * sizeof *y);
    nominal[d - 1] = true;
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < d; j++) x[i * d + j] = rng_one(s, (uint32_t)i, (uint32_t)j, 0);
        x[i * d + d - 1] = (floor(3 * x[i * d + d - 1]) + .5) / 3;
        y[i] = 40 + 25 * sin(5 * x[i * d]) * x[i * d + 1] + 8 * (x[i * d + d - 1] > .6) + rng_one(s, (uint32_t)i, 0, 1);
    }
    struct gp *g = gp_new(d, nominal);
    gp_data(g, n, x, y);
    free(x);
    free(y);
    return g;
}

static void the_likelihood_rises_as_its_gradient_says(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        enum { d = 4 };
        struct gp *g = random_process(seed, 25, d);
        double theta[d + 2], gradient[d + 2];
        struct stream s = rng_stream(seed, "test/theta");
        for (int i = 0; i < d + 2; i++) theta[i] = (i == d + 1 ? log(1e-3) : log(.3)) + 3 * (rng_one(s, (uint32_t)i, 0, 0) - .5);
        gp_likelihood(g, theta, gradient);
        for (int i = 0; i < d + 2; i++) {
            // h^2 f''' / 6 and 1e-16 |f| cond(K) / h are both below 1e-6 at h = 1e-4 for values in the hundreds.
            double h = 1e-4, before = theta[i];
            theta[i] = before + h;
            double high = gp_likelihood(g, theta, NULL);
            theta[i] = before - h;
            double low = gp_likelihood(g, theta, NULL);
            theta[i] = before;
            assert_close(gradient[i], (high - low) / (2 * h), 1e-5);
        }
        gp_free(g);
    }
}

static void predictions_change_as_their_slopes_say(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        enum { d = 4 };
        struct gp *g = random_process(seed, 15, d);
        struct stream s = rng_stream(seed, "test/at");
        double x[d], mean, sd, mean_slope[d], sd_slope[d], m[2], v[2];
        assert_true(gp_condition(g));
        for (int j = 0; j < d; j++) x[j] = rng_one(s, (uint32_t)j, 0, 0);
        x[d - 1] = .5;
        gp_slope(g, x, &mean, &sd, mean_slope, sd_slope);
        gp_predict(g, 1, x, m, v);
        assert_close(mean, m[0], 1e-10);
        assert_close(sd, v[0], 1e-7);
        for (int j = 0; j < d - 1; j++) {
            double h = 1e-5, before = x[j];
            for (int k = 0; k < 2; k++) {
                x[j] = before + (k ? h : -h);
                gp_predict(g, 1, x, m + k, v + k);
            }
            x[j] = before;
            assert_close(mean_slope[j], (m[1] - m[0]) / (2 * h), 1e-5);
            assert_close(sd_slope[j], (v[1] - v[0]) / (2 * h), 1e-4);  // a root of a small difference: fewer digits
        }
        assert_true(mean_slope[d - 1] == 0 && sd_slope[d - 1] == 0);
        gp_free(g);
    }
}

// ---- what a process does

static void without_noise_it_passes_through_its_points(void **state) {
    (void)state;
    double x[] = {.1, .35, .6, .95}, y[] = {3, -2, 5, 5.5}, at[] = {.1, .35, .6, .95, .8}, mean[5], sd[5];
    struct gp *g = gp_new(1, NULL);
    gp_data(g, 4, x, y);
    g->noise = 1e-12;
    assert_true(gp_condition(g));
    gp_predict(g, 5, at, mean, sd);
    for (int i = 0; i < 4; i++) {
        assert_close(mean[i], y[i], 1e-9);
        assert_true(sd[i] < 1e-4);
    }
    assert_true(sd[4] > .01);
    // Far away, as far as a coordinate goes: the mean of the values, and the whole variance.
    g->length[0] = .01;
    assert_true(gp_condition(g));
    gp_predict(g, 1, (double[]){.8}, mean, sd);
    assert_close(mean[0], 2.875, 1e-9);
    assert_close(sd[0], g->scale, 1e-9);
    gp_free(g);
}

static void a_fit_is_a_maximum_within_bounds(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 5; seed++) {
        enum { d = 4 };
        struct gp *g = random_process(seed, 40, d), *again = random_process(seed, 40, d);
        double theta[d + 2], gradient[d + 2];
        gp_fit(g, 7);
        gp_fit(again, 7);
        assert_memory_equal(g->length, again->length, d * sizeof(double));
        theta[0] = log(g->variance);
        theta[d + 1] = log(g->noise);
        for (int j = 0; j < d; j++) theta[1 + j] = log(g->length[j]);
        gp_likelihood(g, theta, gradient);
        for (int i = 0; i < d + 2; i++) {
            double low = log(!i ? GP_VARIANCE_LOW : i <= d ? GP_LENGTH_LOW : GP_NOISE_LOW);
            double high = log(!i ? GP_VARIANCE_HIGH : i <= d ? GP_LENGTH_HIGH : GP_NOISE_HIGH);
            assert_true(theta[i] >= low - 1e-9 && theta[i] <= high + 1e-9);
            bool held = (theta[i] < low + 1e-9 && gradient[i] < 0) || (theta[i] > high - 1e-9 && gradient[i] > 0);
            if (!held && !(fabs(gradient[i]) < 1e-2)) fail_msg("seed %d: slope %g of hyper-parameter %d", (int)seed, gradient[i], i);
        }
        // Coordinate 2 says nothing, 0 and 1 say much.
        assert_true(g->length[2] > 4 * g->length[0]);
        // Values of another unit and origin: the same process.
        double before = g->likelihood;
        assert_close(again->likelihood, before, 1e-9);
        gp_free(g);
        gp_free(again);
    }
}

static void the_same_point_twice_needs_no_luck(void **state) {
    (void)state;
    double x[60], y[60], mean, sd;
    for (int i = 0; i < 60; i++) {
        x[i] = i < 30 ? .5 : .5 + 1e-9 * i;
        y[i] = 1;
    }
    struct gp *g = gp_new(1, NULL);
    gp_data(g, 60, x, y);
    g->noise = 0;
    assert_true(gp_condition(g));
    assert_true(g->jitter > 0);
    gp_fit(g, 0);
    gp_predict(g, 1, x, &mean, &sd);
    assert_close(mean, 1, 1e-9);
    gp_free(g);
}

static void a_believed_point_moves_no_mean_and_takes_doubt_away(void **state) {
    (void)state;
    struct gp *g = random_process(3, 20, 3);
    double at[] = {.31, .77, .5}, other[] = {.8, .2, .5}, mean[2], sd[2], mean2[2], sd2[2];
    assert_true(gp_condition(g));
    gp_predict(g, 1, at, mean, sd);
    gp_predict(g, 1, other, mean + 1, sd + 1);
    assert_true(gp_believe(g, at));
    gp_predict(g, 1, at, mean2, sd2);
    gp_predict(g, 1, other, mean2 + 1, sd2 + 1);
    assert_int_equal(g->n, 21);
    for (int i = 0; i < 2; i++) assert_close(mean2[i], mean[i], 1e-9);
    // One noisy look at a value of known variance: precisions add up.
    double noise = g->noise * g->scale * g->scale;
    assert_close(1 / (sd2[0] * sd2[0]), 1 / (sd[0] * sd[0]) + 1 / noise, 1e-6);
    assert_true(sd2[1] <= sd[1] + 1e-12);
    gp_free(g);
}

// ---- minimiser

// Rosenbrock's valley in n variables.
static double valley(void *data, const double *x, double *g) {
    int n = *(int *)data;
    double f = 0;
    memset(g, 0, (size_t)n * sizeof *g);
    for (int i = 0; i + 1 < n; i++) {
        double a = x[i + 1] - x[i] * x[i], b = 1 - x[i];
        f += 100 * a * a + b * b;
        g[i] += -400 * a * x[i] - 2 * b;
        g[i + 1] += 200 * a;
    }
    return f;
}

static void the_minimiser_follows_a_valley_and_stops_at_walls(void **state) {
    (void)state;
    double low[8], high[8], x[8];
    for (int n = 2; n <= 8; n += 3) {
        struct box box = {n, low, high, valley, &n};
        for (int i = 0; i < n; i++) low[i] = -2, high[i] = 2, x[i] = i % 2 ? 1.1 : -.2;
        assert_close(box_minimise(&box, x, 500), 0, 1e-8);
        for (int i = 0; i < n; i++) assert_close(x[i], 1, 1e-3);
    }
    // In two variables with x <= .5 the least value is at (.5, .25): (1 - .5)^2.
    int two = 2;
    struct box box = {2, low, high, valley, &two};
    high[0] = .5;
    x[0] = -3, x[1] = 3;
    assert_close(box_minimise(&box, x, 500), .25, 1e-8);
    assert_close(x[0], .5, 1e-9);
    assert_close(x[1], .25, 1e-5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_those_of_scikit_learn),
        cmocka_unit_test(the_likelihood_rises_as_its_gradient_says),
        cmocka_unit_test(predictions_change_as_their_slopes_say),
        cmocka_unit_test(without_noise_it_passes_through_its_points),
        cmocka_unit_test(a_fit_is_a_maximum_within_bounds),
        cmocka_unit_test(the_same_point_twice_needs_no_luck),
        cmocka_unit_test(a_believed_point_moves_no_mean_and_takes_doubt_away),
        cmocka_unit_test(the_minimiser_follows_a_valley_and_stops_at_walls),
    };
    return cmocka_run_group_tests_name("gp", tests, NULL, NULL);
}

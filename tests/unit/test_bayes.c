// Search: expected improvement against numbers of chance and of many digits, ranges and commands, a low-discrepancy sequence,
// proposals, and two functions whose least value is known.
//
// ASSAY_TEST_SEEDS=FROM:COUNT runs the two functions with these seeds and nothing else, and prints what was reached.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/effect.h"
#include "audit/search.h"
#include "base/msg.h"
#include "base/opt.h"

#define assert_close(x, y, tolerance) assert_near(x, y, tolerance, __LINE__)
static void assert_near(double x, double y, double tolerance, int line) {
    if (!(fabs(x - y) <= tolerance * fmax(1, fabs(y)))) fail_msg("line %d: %.17g instead of %.17g", line, x, y);
}

static void ranges(struct space *s, const char *const *text) {
    struct error e = {0};
    *s = (struct space){0};
    for (; *text; text++)
        if (!space_add(s, *text, &e)) fail_msg("%s", e.text);
}

// ---- expected improvement

static void improvement_is_an_expectation(void **state) {
    (void)state;
    static const double cases[][4] = {{0, 1, 0, 0}, {1, 2, .5, .01}, {-3, .5, -2, .2}, {4, 1, 2, 0}};  // mean, sd, best, xi
    enum { DRAWS = 1 << 20, ROW = 1 << 10 };
    float z[ROW];
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        const double *c = cases[k];
        double sum = 0, square = 0;
        for (uint32_t i = 0; i < DRAWS / ROW; i++) {
            rng_normal(rng_stream(1, "test/ei"), i, (uint32_t)k, 0, z, ROW);
            for (int j = 0; j < ROW; j++) {
                double gain = fmax(c[2] - c[3] - (c[0] + c[1] * z[j]), 0);
                sum += gain;
                square += gain * gain;
            }
        }
        double mean = sum / DRAWS, error = sqrt((square / DRAWS - mean * mean) / DRAWS), got = bayes_improvement(c[0], c[1], c[2], c[3]);
        if (!(fabs(got - mean) < 5 * error)) fail_msg("case %zu: %g, by chance %g with an error of %g", k, got, mean, error);
        assert_close(bayes_log_improvement(c[0], c[1], c[2], c[3], NULL, NULL), log(got), 1e-12);
    }
    // A function known for sure gains what it gains.
    assert_true(bayes_improvement(1, 0, 3, .5) == 1.5 && bayes_improvement(5, 0, 3, 0) == 0);
    assert_true(bayes_log_improvement(5, 0, 3, 0, NULL, NULL) == -INFINITY);
}

static void its_logarithm_goes_on_where_doubles_end(void **state) {
    (void)state;
    // log(phi(z) + z Phi(z)) by mpmath with 60 digits, for z = -1, -5, -20, -25.5, -40, -1000.
    static const double known[][2] = {{-1, -2.4851210257126413}, {-5, -16.74430116266099}, {-20, -206.9178385094251},
                                      {-25.5, -332.525884462205}, {-40, -808.29856835662}, {-1000, -500014.73445209116}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        // mean = -z with sd 1 and best 0. Near -25 the closed form cancels to 1 / z^2 of 1e-16, the series to 1e-10 of EI.
        assert_close(bayes_log_improvement(-known[i][0], 1, 0, 0, NULL, NULL), known[i][1], 1e-11);
    }
    double before = INFINITY;
    for (double z = 0; z < 60; z += .01) {  // it falls all the way, over the seam too
        double now = bayes_log_improvement(z, 1, 0, 0, NULL, NULL);
        assert_true(now < before);
        before = now;
    }
    for (int i = 0; i < 60; i++) {
        double mean = -30 + i, sd = .7 + .01 * i, by_mean, by_sd, h = 1e-5, high, low;
        bayes_log_improvement(mean, sd, 1, .1, &by_mean, &by_sd);
        // h^2 over 6 times the third derivative, and the rounding of values near 1000 over h.
        high = bayes_log_improvement(mean + h, sd, 1, .1, NULL, NULL), low = bayes_log_improvement(mean - h, sd, 1, .1, NULL, NULL);
        assert_close(by_mean, (high - low) / (2 * h), 1e-6);
        high = bayes_log_improvement(mean, sd + h, 1, .1, NULL, NULL), low = bayes_log_improvement(mean, sd - h, 1, .1, NULL, NULL);
        assert_close(by_sd, (high - low) / (2 * h), 1e-6);
    }
}

// ---- ranges

static void ranges_scale_there_and_back(void **state) {
    (void)state;
    struct space s;
    ranges(&s, (const char *const[]){"lr=1e-4..1e-1:log", "x=-5..10", "n=3..12:int", "w=1..1000:int:log", "o=sgd,adam,rms_prop-2", NULL});
    assert_true(s.axis[4].kind == SPACE_CHOICE && s.axis[4].words == 3 && isinf(space_points(&s)));
    assert_close(space_value(&s.axis[0], .5), sqrt(1e-4 * 1e-1), 1e-6);
    assert_close(space_value(&s.axis[1], 1. / 3), 0, 1e-5);
    for (int j = 0; j < s.count; j++) {
        const struct space_axis *a = &s.axis[j];
        assert_true(space_value(a, 0) == a->low && space_value(a, 1) == a->high);
        double before = -INFINITY;
        for (int i = 0; i <= 3000; i++) {
            double v = space_value(a, i / 3000.), u = space_unit(a, v), back;
            char text[SPACE_TEXT];
            // What is printed is what is searched: a value comes back from its place, and from its text, bit for bit.
            assert_true(space_value(a, u) == v && space_unit(a, space_value(a, u)) == u);
            if (a->kind != SPACE_CHOICE) {
                assert_true(parse_real(space_text(a, v, text), &back) && back == v);
                assert_true(strlen(text) < 13);
            }
            assert_true(v >= before && v >= a->low && v <= a->high);
            before = v;
        }
    }
    // Where a grid is coarser than whole numbers, too.
    space_free(&s);
    ranges(&s, (const char *const[]){"x=-1e7..2e7", "y=8.298267264989335e22..2.93876e24", "z=4.67318786758612e+17..2.414853e+19",
                                     NULL});
    assert_true(space_value(&s.axis[0], .123456) == -6296300);
    for (int j = 0; j < s.count; j++)
        for (int i = 0; i <= 3000; i++) {
            double v = space_value(&s.axis[j], i / 3000.);
            assert_true(space_value(&s.axis[j], space_unit(&s.axis[j], v)) == v);
        }
    space_free(&s);
    ranges(&s, (const char *const[]){"n=3..12:int", NULL});
    // Whole numbers and words share the way evenly.
    int count[13] = {0};
    for (int i = 0; i < 10000; i++) count[(int)space_value(&s.axis[0], (i + .5) / 10000)]++;
    for (int k = 3; k <= 12; k++) assert_int_equal(count[k], 1000);
    space_free(&s);
    ranges(&s, (const char *const[]){"a=0..2:int", "b=x,y", NULL});
    assert_true(space_points(&s) == 6);
    bool seen[6] = {0};
    for (int i = 0; i < 6; i++) {
        double u[2];
        space_point(&s, i, u);
        int at = (int)space_value(&s.axis[0], u[0]) * 2 + (int)space_value(&s.axis[1], u[1]);
        assert_false(seen[at]);
        seen[at] = true;
    }
    space_free(&s);
}

static void wide_and_narrow_ranges_scale_too(void **state) {
    (void)state;
    struct space s;
    ranges(&s, (const char *const[]){"a=-1e30..1e30", "b=0..1e-30", "c=-1e-21..-9.99e-22", "d=1e-300..1e300:log", "e=1e-308..1.7e308:log", NULL});
    for (int j = 0; j < s.count; j++) {
        const struct space_axis *a = &s.axis[j];
        double before = -INFINITY;
        for (int i = 0; i <= 200; i++) {
            double v = space_value(a, i / 200.), back;
            char text[SPACE_TEXT];
            assert_true(v > before && v >= a->low && v <= a->high);
            assert_true(space_value(a, space_unit(a, v)) == v);
            assert_true(parse_real(space_text(a, v, text), &back) && back == v);
            before = v;
        }
        // Where it was meant to be, to the last digit that is kept.
        double half = a->log ? sqrt(a->low) * sqrt(a->high) : .5 * (a->low + a->high);
        if (!(fabs(space_value(a, .5) - half) <= (a->log ? 1e-5 * half : 1e-5 * (a->high - a->low))))
            fail_msg("%s: %g in the middle", a->range, space_value(a, .5));
    }
    space_free(&s);
}

static void bad_ranges_are_told(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"lr", "a range"}, {"1a=0..1", "a range"}, {"=0..1", "a range"}, {"a=", "words"}, {"a=x", "nothing to choose"}, {"a=1..", "two numbers"},
        {"a=..2", "two numbers"}, {"a=1..x", "two numbers"}, {"a=2..1", "smaller"}, {"a=1..1", "smaller"}, {"a=0..1:log", "above 0"},
        {"a=0..1:lg", "neither int nor log"}, {"a=0.5..2:int", "whole"}, {"a=0..1e10:int", "whole"}, {"a=x,y z", "words"}, {"a=x,$(id)", "words"},
        {"a=x,;", "words"}, {"a=x,,y", "words"}, {"a=x,y,x", "twice"}, {"trial=0..1", "trial"}, {"a=1..1.0000000001", "too narrow"},
        {"a=-1e308..1e308", "up to 1e+30"}, {"a=0..1.1e30", "up to 1e+30"}, {"a=0..9e-31", "1e-30 or more"}, {"a=1e-40..2e-40", "1e-30 or more"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct space s = {0};
        struct error e = {0};
        if (space_add(&s, cases[i][0], &e) || !strstr(e.text, cases[i][1])) fail_msg("%s: %s", cases[i][0], e.text);
        space_free(&s);
    }
    struct space s;
    struct error e = {0};
    ranges(&s, (const char *const[]){"a=0..1", NULL});
    assert_false(space_add(&s, "a=0..2", &e));
    space_free(&s);
}

static void commands_are_filled_in(void **state) {
    (void)state;
    struct space s;
    struct error e = {0};
    ranges(&s, (const char *const[]){"a=0..1", "b=one,two", NULL});
    char *text = space_command(&s, "x {a} {b}{b} ${a} {c} {trial} ${HOME} awk '{print $1}' {", (double[]){.25, 1}, 7);
    assert_string_equal(text, "x 0.25 twotwo ${a} {c} 7 ${HOME} awk '{print $1}' {");
    free(text);
    assert_true(space_fits(&s, "{b}{a}", &e));
    assert_false(space_fits(&s, "{a} ${b}", &e));
    assert_non_null(strstr(e.text, "{b}"));
    space_free(&s);
}

// ---- sequence

// The share of points in a box at the origin against its volume v: n random points are sqrt(v (1 - v) / n) off. Of a
// low-discrepancy sequence a fifth of that is asked in one and two dimensions, and in six, where it has less to give, 7/10.
static void the_sequence_fills_evenly(void **state) {
    (void)state;
    enum { COUNT = 1000 };
    for (int d = 1; d <= 6; d += (d == 1 ? 1 : 4)) {
        double u[COUNT * 6], part[COUNT * 6], off = 0, random = 0;
        bayes_sequence(d, rng_stream(5, "test/sequence"), 3, 0, COUNT, u);
        bayes_sequence(d, rng_stream(5, "test/sequence"), 3, 400, 10, part);
        assert_memory_equal(part, u + 400 * d, (size_t)(10 * d) * sizeof *u);
        for (int k = 0; k < 200; k++) {
            double volume = 1, corner[6];
            int inside = 0;
            for (int j = 0; j < d; j++) volume *= corner[j] = pow(rng_one(rng_stream(6, "test/corner"), (uint32_t)k, (uint32_t)j, 0), 1. / d);
            for (int i = 0; i < COUNT; i++) {
                bool in = true;
                for (int j = 0; j < d; j++) in = in && u[i * d + j] < corner[j];
                inside += in;
            }
            off += pow((double)inside / COUNT - volume, 2);
            random += volume * (1 - volume) / COUNT;
        }
        for (int i = 0; i < COUNT * d; i++) assert_true(u[i] >= 0 && u[i] < 1);
        if (!(sqrt(off / random) < (d > 2 ? .7 : .2))) fail_msg("%d dimensions: %g of what chance gives", d, sqrt(off / random));
    }
}

// ---- known functions

// Branin on [-5, 10] x [0, 15]: .397887 at three places. Hartmann 6: -3.32237. (Surjanovic & Bingham, Virtual Library of
// Simulation Experiments.)
static double branin(const double *v) {
    double b = 5.1 / (4 * M_PI * M_PI), c = 5 / M_PI, t = 1 / (8 * M_PI), a = v[1] - b * v[0] * v[0] + c * v[0] - 6;
    return a * a + 10 * (1 - t) * cos(v[0]) + 10;
}

static double hartmann(const double *v) {
    static const double alpha[4] = {1, 1.2, 3, 3.2};
    static const double a[4][6] = {{10, 3, 17, 3.5, 1.7, 8}, {.05, 10, 17, .1, 8, 14}, {3, 3.5, 1.7, 10, 17, 8}, {17, 8, .05, 10, .1, 14}};
    static const double p[4][6] = {{.1312, .1696, .5569, .0124, .8283, .5886}, {.2329, .4135, .8307, .3736, .1004, .9991},
                                   {.2348, .1451, .3522, .2883, .3047, .6650}, {.4047, .8828, .8732, .5743, .1091, .0381}};
    double sum = 0;
    for (int i = 0; i < 4; i++) {
        double r = 0;
        for (int j = 0; j < 6; j++) r += a[i][j] * (v[j] - p[i][j]) * (v[j] - p[i][j]);
        sum -= alpha[i] * exp(-r);
    }
    return sum;
}

struct problem {
    const char *name;
    double (*f)(const double *v);
    const char *const *ranges;
    int calls;
    double least, within;  // the optimum, and the share of it that may be missing
};
static const struct problem problems[] = {
    {"Branin", branin, (const char *const[]){"x=-5..10", "y=0..15", NULL}, 60, .397887, .01},
    {"Hartmann-6", hartmann, (const char *const[]){"a=0..1", "b=0..1", "c=0..1", "d=0..1", "e=0..1", "f=0..1", NULL}, 100, -3.32237, .05},
};

enum { CALLS = 100 };

// (best - least) / |least| after all calls; `random`: of as many points of the low-discrepancy sequence instead.
static double regret(const struct problem *p, uint64_t seed, bool random) {
    struct space s;
    ranges(&s, p->ranges);
    struct bayes b = {&s, seed, random ? p->calls : p->calls / 5, .01, 10000};
    double u[CALLS * 6], value[CALLS], v[6], best = INFINITY;
    unsigned char status[CALLS];
    for (int i = 0; i < p->calls; i++) {
        assert_true(bayes_propose(&b, i, u, value, status, u + i * s.count));
        for (int j = 0; j < s.count; j++) v[j] = space_value(&s.axis[j], u[i * s.count + j]);
        best = fmin(best, value[i] = p->f(v));
        status[i] = BAYES_DONE;
    }
    space_free(&s);
    return (best - p->least) / fabs(p->least);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n) {
    qsort(x, (size_t)n, sizeof *x, ascending);
    return .5 * (x[n / 2] + x[(n - 1) / 2]);
}

static int seed_from = 1, seed_count = 3;

static void known_functions_are_solved(void **state) {
    const struct problem *p = *state;
    double got[64], plain[64];
    for (int i = 0; i < seed_count; i++) {
        double start = msg_clock();
        got[i] = regret(p, (uint64_t)(seed_from + i), false);
        plain[i] = regret(p, (uint64_t)(seed_from + i), true);
        fprintf(stderr, "# %s, seed %d: %.4f %% above the optimum in %d calls, evenly spread %.1f %%, %.1f s\n", p->name, seed_from + i, 100 * got[i],
                p->calls, 100 * plain[i], msg_clock() - start);
    }
    double reached = median(got, seed_count), without = median(plain, seed_count);
    fprintf(stderr, "# %s: median of %d seeds %.4f %%, evenly spread %.1f %%\n", p->name, seed_count, 100 * reached, 100 * without);
    assert_true(reached >= -1e-5);  // nothing lies below the optimum but the rounding of its digits
    if (!(reached < p->within)) fail_msg("%s: median %g %% above the optimum", p->name, 100 * reached);
    // The control: as many points without a model do not get there.
    assert_true(without > p->within);
}

// ---- proposals

static void proposals_depend_on_nothing_else(void **state) {
    (void)state;
    struct space s;
    ranges(&s, (const char *const[]){"x=0..1", "n=1..8:int", "w=a,b,c", NULL});
    enum { T = 14, D = 3 };
    struct bayes b = {&s, 9, 5, .01, 2000};
    double u[T * D], value[T], again[D], other[D];
    unsigned char status[T];
    for (int i = 0; i < T; i++) {
        assert_true(bayes_propose(&b, i, u, value, status, u + i * D));
        double x = u[i * D], n = space_value(&s.axis[1], u[i * D + 1]), w = space_value(&s.axis[2], u[i * D + 2]);
        value[i] = (x - .3) * (x - .3) + .1 * fabs(n - 4) + .3 * (w != 1);
        status[i] = i == 6 ? BAYES_FAILED : BAYES_DONE;
        if (i == 6) value[i] = NAN;
        for (int j = 0; j < i; j++) assert_memory_not_equal(u + i * D, u + j * D, D * sizeof *u);
        for (int j = 0; j < D; j++) assert_true(space_unit(&s.axis[j], space_value(&s.axis[j], u[i * D + j])) == u[i * D + j]);
    }
    assert_true(bayes_propose(&b, 10, u, value, status, again));
    assert_memory_equal(again, u + 10 * D, sizeof again);
    b.seed = 10;
    assert_true(bayes_propose(&b, 0, u, value, status, other));
    assert_memory_not_equal(other, u, sizeof other);
    // What still runs is avoided: two at a time are two places.
    b.seed = 9;
    status[10] = BAYES_PENDING;
    value[10] = NAN;
    assert_true(bayes_propose(&b, 11, u, value, status, other));
    assert_memory_not_equal(other, u + 10 * D, sizeof other);
    space_free(&s);
}

static void a_small_space_is_tried_whole(void **state) {
    (void)state;
    struct space s;
    ranges(&s, (const char *const[]){"n=1..5:int", "w=a,b", NULL});
    struct bayes b = {&s, 2, 3, .01, 10000};
    double u[22], value[11];
    unsigned char status[11];
    for (int i = 0; i < 10; i++) {
        assert_true(bayes_propose(&b, i, u, value, status, u + 2 * i));
        for (int j = 0; j < i; j++) assert_memory_not_equal(u + 2 * i, u + 2 * j, 2 * sizeof *u);
        status[i] = BAYES_DONE;
        value[i] = 1;  // flat: nothing to be learned
    }
    assert_false(bayes_propose(&b, 10, u, value, status, u + 20));
    // All failed: there is no model, and the sequence goes on.
    memset(status, BAYES_FAILED, sizeof status);
    assert_true(bayes_model(&b, 8, u, value, status) == NULL);
    assert_true(bayes_propose(&b, 8, u, value, status, u + 20));
    space_free(&s);
}

static void a_region_that_fails_is_left(void **state) {
    (void)state;
    struct space s;
    ranges(&s, (const char *const[]){"x=0..1", "y=0..1", NULL});
    struct bayes b = {&s, 4, 8, .01, 5000};
    enum { T = 40 };
    double u[2 * T], value[T];
    unsigned char status[T];
    int failed = 0, late = 0;
    for (int i = 0; i < T; i++) {
        assert_true(bayes_propose(&b, i, u, value, status, u + 2 * i));
        bool fails = u[2 * i] > .5;  // half of all
        value[i] = fails ? NAN : pow(u[2 * i] - .2, 2) + pow(u[2 * i + 1] - .7, 2);
        status[i] = fails ? BAYES_FAILED : BAYES_DONE;
        failed += fails;
        late += fails && i >= 20;
    }
    assert_true(failed > 0);
    if (late > 4) fail_msg("%d of the last 20 trials where all fail", late);  // chance: 10
    space_free(&s);
}

static void effects_show_what_matters(void **state) {
    (void)state;
    struct space s;
    ranges(&s, (const char *const[]){"x=0..1", "y=0..1", "w=a,b,c", NULL});
    struct bayes b = {&s, 1, 80, .01, 1000};
    enum { T = 80 };
    double u[3 * T], value[T], share[3], total[3];
    unsigned char status[T];
    for (int i = 0; i < T; i++) {
        assert_true(bayes_propose(&b, i, u, value, status, u + 3 * i));
        value[i] = 3 * u[3 * i] + 2 * (space_value(&s.axis[2], u[3 * i + 2]) == 1);
        status[i] = BAYES_DONE;
    }
    struct gp *g = bayes_model(&b, T, u, value, status);
    effect_shares(&s, g, share, total);
    // Variances: 9 / 12 of x, 4 * 2/9 of w, nothing of y, and no terms of two.
    double x = 9. / 12, w = 8. / 9;
    assert_close(share[0], x / (x + w), .03);
    assert_close(share[1], 0, .01);
    assert_close(share[2], w / (x + w), .03);
    for (int j = 0; j < 3; j++) assert_close(total[j], share[j], .02);
    struct effect e;
    effect_along(&s, g, 0, (double[]){.5, .5, .5}, &e);
    assert_int_equal(e.count, EFFECT_POINTS);
    for (int64_t i = 0; i < e.count; i++) assert_close(e.mean[i], 3 * e.x[i] + 2, .05);
    effect_along(&s, g, 2, (double[]){.5, .5, .5}, &e);
    assert_int_equal(e.count, 3);
    for (int64_t i = 0; i < e.count; i++) assert_close(e.mean[i], 1.5 + 2 * (i == 1), .05);
    gp_free(g);
    // (2 x - 1) (2 y - 1): neither says anything without the other.
    for (int i = 0; i < T; i++) value[i] = (2 * u[3 * i] - 1) * (2 * u[3 * i + 1] - 1);
    g = bayes_model(&b, T, u, value, status);
    effect_shares(&s, g, share, total);
    for (int j = 0; j < 2; j++) {
        assert_close(share[j], 0, .03);
        assert_close(total[j], 1, .06);
    }
    assert_close(total[2], 0, .02);
    gp_free(g);
    space_free(&s);
}

// ---- what commands print

static void numbers_are_found_in_json(void **state) {
    (void)state;
    static const struct {
        const char *text, *path;
        double value;
        const char *why;
    } cases[] = {
        {"{\"metrics\":{\"a\":{\"b\":1.5}}}", "metrics.a.b", 1.5, NULL},
        {"{\"metrics\":{\"a\":{\"b\":1.5}}}\n", "a.b", 1.5, NULL},
        {"epoch 1\nepoch 2\n{\"loss\": 3}\n\n", "loss", 3, NULL},
        {"{\n \"loss\":\n 4\n}\n", "loss", 4, NULL},
        {"{\"l\":[1,2]}", "l.1", 2, NULL},
        {"", "a", 0, "nothing"},
        {"\n \n", "a", 0, "nothing"},
        {"hello\n", "a", 0, "JSON expected"},
        {"{\"a\":1}\nhello\n", "a", 0, "the last line it printed: JSON expected"},
        {"{\"a\":NaN}\n", "a", 0, "invalid token near 'NaN'"},
        {"{\"a\":-Infinity}\n", "a", 0, "invalid token"},
        {"{\"a\":1e999}\n", "a", 0, "real number overflow"},
        {"{\"a\":1", "a", 0, "JSON expected"},
        {"{\"a\":1,\"a\":2}", "a", 0, "duplicate"},
        {"{\"a\":1}", "b", 0, "b is not in"},
        {"{\"a\":null}", "a", 0, "no number"},
        {"{\"a\":\"1\"}", "a", 0, "no number"},
        {"{\"a\":-1e200}", "a", 0, "too large"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char why[200] = "";
        double value = NAN;
        bool fine = search_read(cases[i].text, strlen(cases[i].text), cases[i].path, &value, why);
        if (fine != !cases[i].why || (fine ? value != cases[i].value : !strstr(why, cases[i].why)))
            fail_msg("case %zu: %d, %g, '%s'", i, fine, value, why);
    }
}

int main(void) {
    const struct CMUnitTest known[] = {
        {"branin_is_solved", known_functions_are_solved, NULL, NULL, (void *)&problems[0]},
        {"hartmann_6_is_solved", known_functions_are_solved, NULL, NULL, (void *)&problems[1]},
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(improvement_is_an_expectation), cmocka_unit_test(its_logarithm_goes_on_where_doubles_end),
        cmocka_unit_test(ranges_scale_there_and_back),   cmocka_unit_test(wide_and_narrow_ranges_scale_too),
        cmocka_unit_test(bad_ranges_are_told),
        cmocka_unit_test(commands_are_filled_in),        cmocka_unit_test(the_sequence_fills_evenly),
        cmocka_unit_test(proposals_depend_on_nothing_else), cmocka_unit_test(a_small_space_is_tried_whole),
        cmocka_unit_test(a_region_that_fails_is_left),   cmocka_unit_test(effects_show_what_matters),
        cmocka_unit_test(numbers_are_found_in_json),
    };
    const char *seeds = getenv("ASSAY_TEST_SEEDS");
    if (seeds && *seeds) {
        int used = 0;
        if (sscanf(seeds, "%d:%d%n", &seed_from, &seed_count, &used) != 2 || seeds[used] || seed_count < 1 || seed_count > 64) {
            fprintf(stderr, "ASSAY_TEST_SEEDS=%s: expected FROM:COUNT, 64 at most\n", seeds);
            return 2;
        }
        return cmocka_run_group_tests_name("known functions", known, NULL, NULL);
    }
    // Under the sanitizers one seed is enough to run every line.
    if (getenv("ASSAY_TEST_INNER")) seed_count = 1;
    return cmocka_run_group_tests_name("bayes", tests, NULL, NULL) + cmocka_run_group_tests_name("known functions", known, NULL, NULL);
}

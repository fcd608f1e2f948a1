// Optimisers against their formulas in double, the same bits on any number of threads, the gradient that is
// not finite found; schedules at places worked out by hand.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nn/optim.h"

enum { SIZE = 3 * 16384 + 21, STEPS = 12 };

static double slope(int64_t i, int step) { return sin(.37 * (double)i + 1.7 * step) * exp(-4 + 4 * cos((double)i)); }

struct setting {
    enum optim_kind kind;
    double momentum, l2, decay;
    bool nesterov;
};
static const struct setting settings[] = {
    {OPTIM_SGD, 0, 0, 0, false},   {OPTIM_SGD, .9, .01, 0, false}, {OPTIM_SGD, .9, .01, 0, true},
    {OPTIM_ADAM, 0, 0, 0, false},  {OPTIM_ADAM, 0, .01, 0, false}, {OPTIM_ADAMW, 0, 0, .1, false},
};

static float *train(const struct setting *s, double lr, int threads) {
    float *p = malloc(SIZE * sizeof *p), *g = malloc(SIZE * sizeof *g);
    struct pool *pool = pool_new(threads);
    struct optim o;
    optim_defaults(&o, s->kind);
    o.momentum = s->momentum, o.l2 = s->l2, o.weight_decay = s->decay, o.nesterov = s->nesterov;
    optim_open(&o, SIZE);
    for (int64_t i = 0; i < SIZE; i++) p[i] = (float)cos((double)i);
    for (int t = 0; t < STEPS; t++) {
        for (int64_t i = 0; i < SIZE; i++) g[i] = (float)slope(i, t);
        assert_int_equal(optim_step(&o, lr, p, g, pool), -1);
    }
    assert_int_equal(o.step, STEPS);
    optim_close(&o);
    pool_free(pool);
    free(g);
    return p;
}

// The documentation of torch.optim.SGD, Adam, AdamW, a parameter at a time.
static double reference(const struct setting *s, double lr, int64_t i) {
    double p = (float)cos((double)i), m = 0, v = 0;
    for (int t = 1; t <= STEPS; t++) {
        double g = (float)slope(i, t - 1);
        if (s->kind == OPTIM_ADAMW) p -= lr * s->decay * p;
        g += s->l2 * p;
        if (s->kind == OPTIM_SGD) {
            m = t > 1 ? s->momentum * m + g : g;
            p -= lr * (s->nesterov ? g + s->momentum * m : m);
            continue;
        }
        m = .9 * m + .1 * g;
        v = .999 * v + .001 * g * g;
        p -= lr * (m / (1 - pow(.9, t))) / (sqrt(v / (1 - pow(.999, t))) + 1e-8);
    }
    return p;
}

static void test_formulas(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof settings / sizeof *settings; k++) {
        double lr = .03;
        float *p = train(&settings[k], lr, 2);
        for (int64_t i = 0; i < SIZE; i++) {
            // A dozen steps of float32 rounding: a parameter moves by less than 1, each step rounds by 6e-8.
            double want = reference(&settings[k], lr, i);
            if (!(fabs(p[i] - want) < 3e-6)) fail_msg("setting %zu, parameter %ld: %.9g, not %.9g", k, (long)i, (double)p[i], want);
        }
        free(p);
    }
}

static void test_threads_do_not_matter(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof settings / sizeof *settings; k++) {
        float *one = train(&settings[k], .03, 1), *three = train(&settings[k], .03, 3);
        assert_memory_equal(one, three, SIZE * sizeof *one);
        free(one), free(three);
    }
}

static void test_a_gradient_that_is_not_finite_is_found(void **state) {
    (void)state;
    static const int64_t places[] = {0, 16383, 16384, SIZE - 22, SIZE - 1};
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    struct pool *pool = pool_new(2);
    float *p = calloc(SIZE, sizeof *p), *g = calloc(SIZE, sizeof *g);
    for (size_t k = 0; k < sizeof settings / sizeof *settings; k++)
        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
            struct optim o;
            optim_defaults(&o, settings[k].kind);
            o.momentum = settings[k].momentum;
            optim_open(&o, SIZE);
            g[places[i]] = bad[i % 3];
            assert_int_equal(optim_step(&o, .1, p, g, pool), places[i]);
            g[places[i]] = 0;
            memset(p, 0, SIZE * sizeof *p);
            optim_close(&o);
        }
    free(p), free(g);
    pool_free(pool);
}

static double rate(const char *word, int64_t step) {
    struct schedule s;
    struct error e = {0};
    assert_true(schedule_parse(&s, word, .8, 10, 10, &e));  // 100 steps
    return schedule_lr(&s, step);
}

static void test_schedules(void **state) {
    (void)state;
    static const struct {
        const char *word;
        int64_t step;
        double lr;
    } known[] = {
        {"constant", 0, .8}, {"constant", 99, .8}, {"cosine", 0, .8}, {"cosine", 50, .4}, {"cosine", 25, .4 * (1 + M_SQRT1_2)},
        {"step:3:.1", 29, .8}, {"step:3:.1", 30, .08}, {"step:3:.1", 60, .008},
        // torch.optim.lr_scheduler.OneCycleLR(optimizer, .8, total_steps=100), PyTorch 1.13
        {"onecycle", 0, .032}, {"onecycle", 10, .23613115877}, {"onecycle", 29, .8}, {"one-cycle", 64, .4000016}, {"onecycle", 99, 3.2e-6},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        double got = rate(known[i].word, known[i].step);
        if (!(fabs(got - known[i].lr) < 1e-9)) fail_msg("%s at %ld: %.9g", known[i].word, (long)known[i].step, got);
    }
    static const char *const wrong[] = {"linear", "step", "step:", "step:0:.1", "step:3", "step:3:0", "step:3:2", "step:x:.1", ""};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct schedule s;
        struct error e = {0};
        assert_false(schedule_parse(&s, wrong[i], .1, 10, 10, &e));
        assert_int_equal(e.status, EXIT_USAGE);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formulas), cmocka_unit_test(test_threads_do_not_matter),
        cmocka_unit_test(test_a_gradient_that_is_not_finite_is_found), cmocka_unit_test(test_schedules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

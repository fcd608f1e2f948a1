// Settling: a smooth network comes to rest, a ReLU network comes to rest but for its kinks, and the residual is what its
// formula says.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/msg.h"
#include "nn/settle.h"
#include "nn/train.h"

enum { IMAGES = 60, SIDE = 6, SIZE = SIDE * SIDE };
static uint8_t pixel[IMAGES * SIZE];
static int64_t digit[IMAGES], all[IMAGES];

// Three patterns and noise.
static struct dataset *data_new(void) {
    struct error e = {0};
    for (int i = 0; i < IMAGES; i++) {
        digit[i] = (i * 7 + i / 5) % 3;
        all[i] = i;
        for (int j = 0; j < SIZE; j++)
            pixel[i * SIZE + j] = (uint8_t)(128 + 80 * sin(j * (1 + .6 * (double)digit[i])) + 40 * sin(97.3 * i + 31.7 * j * j));
    }
    struct blob *b = blob_new("dataset");
    blob_add(b, "x", U8, 4, (int64_t[]){IMAGES, 1, SIDE, SIDE}, pixel);
    blob_add(b, "y", I64, 1, (int64_t[]){IMAGES}, digit);
    struct dataset *d = dataset_of(b, &e);
    if (!d) fail_msg("%s", e.text);
    return d;
}

struct setting {
    const char *line, *normalise, *device, *word;
    int64_t examples;
    int threads;
    double l2, residual, smoothing;
};
struct outcome {
    struct model *m;
    struct stationarity before, after;
    int64_t steps;
    struct error e;
};

static struct outcome run(const struct setting *s) {
    struct outcome out = {0};
    struct dataset *d = data_new();
    struct arch *a = arch_parse(s->line, shape_of(3, 1, SIDE, SIDE), 3, &out.e);
    if (!a) fail_msg("%s", out.e.text);
    struct model *m = out.m = model_new(a, 5);
    struct pool *pool = pool_new(s->threads ? s->threads : 1);
    assert_true(train_normalise(m, s->normalise ? s->normalise : "mean-image", d, all, s->examples, pool, &out.e));
    struct settle_options o = {.lr = .1, .l2 = s->l2 ? s->l2 : 1e-2, .residual = s->residual, .smoothing = s->smoothing,
                               .device = s->device ? s->device : "cpu"};
    bool interrupted = false;
    if (settle_parse(s->word, &o.method, &o.steps, &out.e) && settle_measure(m, d, all, s->examples, &o, &out.before, pool, &out.e) &&
        settle_run(m, d, all, s->examples, &o, &out.steps, &interrupted, pool, &out.e))
        assert_true(settle_measure(m, d, all, s->examples, &o, &out.after, pool, &out.e));
    assert_false(interrupted);
    pool_free(pool);
    dataset_free(d);
    return out;
}

// ---- it comes to rest

// Both ways: all parameters (60 examples, 36 inputs), and the coordinates of the span (20 examples). float32 weights leave a
// gradient of about 1e-6 of its parts; 1e-4 is far above that and three orders below the start.
static void test_smooth(void **state) {
    (void)state;
    static const int64_t examples[] = {60, 20};
    for (int i = 0; i < 2; i++) {
        struct outcome o = run(&(struct setting){.line = "flatten | linear 12 | tanh | linear 3", .word = "lbfgs:2000", .examples = examples[i]});
        assert_int_equal(o.e.status, 0);
        assert_true(o.before.residual > .1);
        assert_true(o.after.residual < 1e-4);
        assert_true(o.after.loss < o.before.loss);
        assert_true(isnan(o.after.residual_kinks));  // no relu, no kinks
        model_free(o.m);
    }
}

// On the kinks the plain residual stays; with free derivatives it falls by a factor of a hundred and more.
static void test_kinks(void **state) {
    (void)state;
    static const struct setting settings[] = {
        {.line = "homogeneous 80", .word = "lbfgs:2000", .examples = 20},
        {.line = "flatten | linear 80 nobias | relu | linear 3", .word = "lbfgs:2000", .examples = 20},
        {.line = "homogeneous 80", .word = "lbfgs:2000", .examples = 60},
    };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        struct outcome o = run(&settings[i]);
        assert_int_equal(o.e.status, 0);
        assert_int_equal(o.after.pairs, settings[i].examples * 80);
        assert_true(o.after.residual_kinks <= o.after.residual);
        assert_true(o.after.residual_kinks < .01 * o.before.residual_kinks);
        model_free(o.m);
    }
}

static void test_descent(void **state) {
    (void)state;
    struct outcome o = run(&(struct setting){.line = "homogeneous 80", .word = "sgd:2000", .examples = 20});
    assert_int_equal(o.e.status, 0);
    assert_int_equal(o.steps, 2000);
    assert_true(o.after.loss < .5 * o.before.loss);
    assert_true(o.after.residual_kinks < .1 * o.before.residual_kinks);
    model_free(o.m);
}

static void test_stops_at_residual(void **state) {
    (void)state;
    struct outcome o = run(&(struct setting){.line = "flatten | linear 12 | tanh | linear 3", .word = "lbfgs:2000", .residual = .01, .examples = 20});
    assert_int_equal(o.e.status, 0);
    assert_true(o.steps < 2000);
    assert_true(o.after.residual < .011 && o.after.residual > 1e-4);  // .01 but for rounding the weights, and not much past it
    model_free(o.m);
}

// ---- what is written

static void test_same_bytes(void **state) {
    (void)state;
    static const char *const words[] = {"sgd:200", "lbfgs:200"};
    static const int64_t examples[] = {60, 20};
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            struct setting s = {.line = "flatten | linear 300 | relu | linear 64 | tanh | linear 3", .word = words[i], .examples = examples[j], .threads = 1};
            struct outcome one = run(&s);
            s.threads = 3;
            struct outcome three = run(&s);
            assert_int_equal(one.e.status | three.e.status, 0);
            assert_memory_equal(one.m->theta, three.m->theta, (size_t)one.m->arch->size * sizeof(float));
            assert_memory_equal(&one.after, &three.after, sizeof one.after);
            model_free(one.m);
            model_free(three.m);
        }
}

// "sgd:0" moves nothing within the span and empties the rest: W v = 0 for v orthogonal to all [x, 1].
static void test_outside_is_empty(void **state) {
    (void)state;
    enum { EXAMPLES = 20, COLUMNS = SIZE + 1, WIDTH = 80 };
    struct outcome o = run(&(struct setting){.line = "homogeneous 80", .word = "sgd:0", .examples = EXAMPLES});
    assert_int_equal(o.e.status, 0);
    double basis[EXAMPLES + 1][COLUMNS], worst = 0;
    for (int i = 0; i <= EXAMPLES; i++) {  // Gram-Schmidt; the last is any vector
        for (int j = 0; j < COLUMNS; j++)
            basis[i][j] = i == EXAMPLES ? sin(3. * j) : j < SIZE ? pixel[i * SIZE + j] / 255. - o.m->mean[j] : 1;
        for (int pass = 0; pass < 2; pass++)
            for (int k = 0; k < i; k++) {
                double dot = 0;
                for (int j = 0; j < COLUMNS; j++) dot += basis[i][j] * basis[k][j];
                for (int j = 0; j < COLUMNS; j++) basis[i][j] -= dot * basis[k][j];
            }
        double norm = 0;
        for (int j = 0; j < COLUMNS; j++) norm += basis[i][j] * basis[i][j];
        for (int j = 0; j < COLUMNS; j++) basis[i][j] /= sqrt(norm);
    }
    for (int i = 0; i < WIDTH; i++) {
        double dot = 0;
        for (int j = 0; j < COLUMNS; j++)
            dot += basis[EXAMPLES][j] * (double)(j < SIZE ? o.m->theta[o.m->arch->param[0].offset + i * SIZE + j] : o.m->theta[o.m->arch->param[1].offset + i]);
        worst = fabs(dot) > worst ? fabs(dot) : worst;
    }
    // Images are float32 there (3e-8 a pixel) and nearly dependent: the least of these vectors has length .01. It was .1 before.
    assert_true(worst < 1e-5);
    assert_true(o.after.loss <= o.before.loss);
    model_free(o.m);
}

// How many directions the first layer's 80 neurons have, those that decay has emptied left out.
static int directions(const struct model *m) {
    const float *w = m->theta + m->arch->param[0].offset;
    int found[80], count = 0;
    double longest = 0, length[80];
    for (int i = 0; i < 80; i++) {
        length[i] = 0;
        for (int j = 0; j < SIZE; j++) length[i] += (double)w[i * SIZE + j] * w[i * SIZE + j];
        longest = fmax(longest, length[i]);
    }
    for (int i = 0; i < 80; i++) {
        bool seen = length[i] < 1e-6 * longest;
        for (int k = 0; k < count && !seen; k++) {
            double dot = 0;
            for (int j = 0; j < SIZE; j++) dot += (double)w[i * SIZE + j] * w[found[k] * SIZE + j];
            seen = dot > .9999 * sqrt(length[i] * length[found[k]]);
        }
        if (!seen) found[count++] = i;
    }
    return count;
}

// A fixed last layer does not move and does not count, and neurons keep directions of their own.
static void test_fixed(void **state) {
    (void)state;
    static const char *const words[] = {"lbfgs:1000", "sgd:200"};
    for (int i = 0; i < 2; i++) {
        const char *line = "flatten | linear 80 | relu | linear 3 nobias fixed";
        struct outcome o = run(&(struct setting){.line = line, .word = words[i], .examples = 20}), start = run(&(struct setting){.line = line, .word = "sgd:0", .examples = 20});
        assert_int_equal(o.e.status | start.e.status, 0);
        const struct arch_tensor *last = &o.m->arch->param[2];
        assert_memory_equal(o.m->theta + last->offset, start.m->theta + last->offset, (size_t)last->count * sizeof(float));
        double moving = 0;
        for (int64_t j = 0; j < last->offset; j++) moving += (double)o.m->theta[j] * o.m->theta[j];
        assert_true(fabs(o.after.norm - sqrt(moving)) < 1e-6 * o.after.norm);
        if (i == 0) {
            struct outcome all_move = run(&(struct setting){.line = "flatten | linear 80 | relu | linear 3 nobias", .word = words[i], .examples = 20});
            assert_true(o.after.residual_kinks < 2e-3);
            assert_true(directions(o.m) > 2 * directions(all_move.m));
            model_free(all_move.m);
        }
        model_free(o.m);
        model_free(start.m);
    }
}

// ---- the residual

// Softmax regression by hand, label smoothing .1 included, in double.
static void test_formula(void **state) {
    (void)state;
    static const char *const devices[] = {"ref", "cpu"};
    for (int i = 0; i < 2; i++) {
        struct outcome o = run(&(struct setting){.line = "flatten | linear 3 | init normal:.5", .normalise = "constant:.5,.25", .word = "sgd:0",
                                                 .device = devices[i], .examples = IMAGES, .smoothing = .1});
        assert_int_equal(o.e.status, 0);
        const float *w = o.m->theta + o.m->arch->param[0].offset, *b = o.m->theta + o.m->arch->param[1].offset;
        double g[3][SIZE + 1] = {{0}}, loss = 0, squares = 0, norm = 0;
        for (int n = 0; n < IMAGES; n++) {
            double x[SIZE + 1], z[3], sum = 0;
            for (int j = 0; j < SIZE; j++) x[j] = (pixel[n * SIZE + j] / 255. - .5) / .25;
            x[SIZE] = 1;
            for (int k = 0; k < 3; k++) {
                z[k] = b[k];
                for (int j = 0; j < SIZE; j++) z[k] += w[k * SIZE + j] * x[j];
                sum += exp(z[k]);
            }
            for (int k = 0; k < 3; k++) {
                double target = .1 / 3 + .9 * (digit[n] == k);
                loss += target * (log(sum) - z[k]) / IMAGES;
                for (int j = 0; j <= SIZE; j++) g[k][j] += (exp(z[k]) / sum - target) * x[j] / IMAGES;
            }
        }
        for (int k = 0; k < 3; k++)
            for (int j = 0; j <= SIZE; j++) {
                double theta = j < SIZE ? w[k * SIZE + j] : b[k], all_of_it = g[k][j] + 1e-2 * theta;
                norm += theta * theta;
                squares += all_of_it * all_of_it;
            }
        assert_true(fabs(o.before.loss - loss - .005 * norm) < 1e-5 * loss);  // float32 logits
        assert_true(fabs(o.before.residual - sqrt(squares / norm) / 1e-2) < 1e-5 * o.before.residual);
        assert_true(fabs(o.before.norm - sqrt(norm)) < 1e-6 * o.before.norm);
        model_free(o.m);
    }
}

// One neuron of weights 0: every pair is a kink, and the least over derivatives of two examples is found on a grid.
static void test_free_derivatives(void **state) {
    (void)state;
    struct error e = {0};
    struct dataset *d = data_new();
    struct pool *pool = pool_new(1);
    struct model *m = model_new(arch_parse("flatten | linear 1 nobias | relu | linear 3 nobias", shape_of(3, 1, SIDE, SIDE), 3, &e), 5);
    static const float out[] = {.7f, -.4f, .2f};
    enum { GRID = 400 };
    const double l2 = 2e-2;
    float *w = m->theta + m->arch->param[0].offset;
    memcpy(m->theta + m->arch->param[1].offset, out, sizeof out);
    for (int trial = 0; trial < 3; trial++) {
        for (int j = 0; j < SIZE; j++) w[j] = (float)(1e-5 * cos(j * (trial + 1.)));  // within the kink, nearly no weight
        int64_t two[] = {trial, trial + 3};
        struct stationarity s;
        assert_true(settle_measure(m, d, two, 2, &(struct settle_options){.l2 = l2, .device = "cpu"}, &s, pool, &e));
        assert_int_equal(s.kinks, 2);
        // Logits are nearly 0: u_i = (1/2) sum_k (1/3 - [k = y]) out_k.
        double u[2], x[2][SIZE], outer = 0, best = INFINITY, norm = 0;
        for (int i = 0; i < 2; i++) {
            u[i] = ((double)out[0] + out[1] + out[2]) / 6 - .5 * out[digit[two[i]]];
            for (int j = 0; j < SIZE; j++) x[i][j] = pixel[two[i] * SIZE + j] / 255.;
        }
        for (int k = 0; k < 3; k++) norm += (double)out[k] * out[k];
        outer = l2 * l2 * norm;  // the second layer's data share is of order 1e-5
        for (int a = 0; a <= GRID; a++)
            for (int c = 0; c <= GRID; c++) {
                double squares = 0;
                for (int j = 0; j < SIZE; j++) {
                    double v = l2 * w[j] + u[0] * a / GRID * x[0][j] + u[1] * c / GRID * x[1][j];
                    squares += v * v;
                }
                best = squares < best ? squares : best;
            }
        double grid = sqrt(best + outer) / (l2 * sqrt(norm));
        assert_true(s.residual_kinks <= grid * (1 + 1e-3));
        assert_true(fabs(s.residual_kinks - grid) < 5e-3 * grid);  // the grid's step
        assert_true(s.residual_kinks <= s.residual * (1 + 1e-9));
    }
    model_free(m);
    pool_free(pool);
    dataset_free(d);
}

static void test_refusals(void **state) {
    (void)state;
    struct outcome o = run(&(struct setting){.line = "flatten | linear 8 | dropout .1 | linear 3", .word = "sgd:1", .examples = 20});
    assert_int_equal(o.e.status, EXIT_USAGE);
    assert_non_null(strstr(o.e.text, "dropout"));
    model_free(o.m);
    static const char *const words[] = {"", "sgd", "sgd:", "sgd:-1", "sgd:1.5", "newton:3", "lbfgs:1000001"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        struct error e = {0};
        enum settle_method method;
        int64_t steps;
        assert_false(settle_parse(words[i], &method, &steps, &e));
        assert_int_equal(e.status, EXIT_USAGE);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_smooth), cmocka_unit_test(test_kinks), cmocka_unit_test(test_descent), cmocka_unit_test(test_stops_at_residual),
        cmocka_unit_test(test_same_bytes), cmocka_unit_test(test_outside_is_empty), cmocka_unit_test(test_fixed), cmocka_unit_test(test_formula),
        cmocka_unit_test(test_free_derivatives), cmocka_unit_test(test_refusals),
    };
    msg_verbosity(-1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

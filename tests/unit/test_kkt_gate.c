// The KKT residual at the truth: that of training at a stationary point, the least over all active sets in a small case, and
// its order whatever the network.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "audit/kkt_gate.h"
#include "base/arena.h"
#include "io/record.h"
#include "nn/settle.h"

enum { SIDE = 6, PIXELS = SIDE * SIDE, CLASSES = 3, IMAGES = 12 };
static float pixel[IMAGES * PIXELS];
static int64_t digit[IMAGES];

static struct blob *blob_for(int64_t n) {
    rng_uniform(rng_stream(4, "test/images"), 0, 0, 0, pixel, IMAGES * PIXELS);
    for (int i = 0; i < IMAGES; i++) digit[i] = (i * 7 + i / 5) % CLASSES;
    struct blob *b = blob_new("dataset");
    blob_add(b, "x", F32, 4, (int64_t[]){n, 1, SIDE, SIDE}, pixel);
    blob_add(b, "y", I64, 1, &n, digit);
    return b;
}

static struct model *model_for(const char *line, int outputs) {
    struct error e = {0};
    struct arch *a = arch_parse(line, shape_of(3, 1, SIDE, SIDE), outputs, &e);
    if (!a) fail_msg("%s", e.text);
    return model_new(a, 5);
}

// The record of a training with coupled L2.
static void remember_decay(struct model *m, double l2) {
    json_t *record = record_new();
    record_real(record, "config.l2", l2);
    record_text(record, "config.optimiser", "adam");
    m->blob = blob_new("model");
    blob_set_record(m->blob, record);
    json_decref(record);
}

static struct kkt_gate gate_of(const struct model *m, int64_t n, int threads) {
    struct error e = {0};
    struct kkt_gate gate;
    struct pool *pool = pool_new(threads);
    struct images *s = images_of(blob_for(n), &e);
    assert_non_null(s);
    if (!kkt_gate_measure(m, s, &gate, pool, &e)) fail_msg("%s", e.text);
    images_free(s);
    pool_free(pool);
    assert_true(gate.best <= gate.given && gate.best > 0);
    assert_true(gate.refused ? isnan(gate.free_kinks) : gate.free_kinks <= gate.best);
    return gate;
}

// ---- at rest

static struct stationarity rest(struct model *m, double l2) {
    struct error e = {0};
    struct pool *pool = pool_new(1);
    struct dataset *d = dataset_of(blob_for(IMAGES), &e);
    struct settle_options o = {.method = SETTLE_LBFGS, .steps = 2000, .l2 = l2, .device = "cpu"};
    struct stationarity s = {0};
    int64_t steps, index[IMAGES];
    bool interrupted = false;
    for (int i = 0; i < IMAGES; i++) index[i] = i;
    bool fine = settle_run(m, d, index, IMAGES, &o, &steps, &interrupted, pool, &e);
    if (!fine || !settle_measure(m, d, index, IMAGES, &o, &s, pool, &e)) fail_msg("%s", e.text);
    dataset_free(d);
    pool_free(pool);
    return s;
}

// `given` is the stationarity residual, by another way: 1e-4 of it for the rounding of float32 sums. With a known decay and
// without, since what fits best is the decay itself.
static void stationary_point(void **state) {
    (void)state;
    const double l2 = 1e-2;
    struct model *smooth = model_for("flatten | linear 12 | tanh | linear 3", CLASSES);
    struct model *kinked = model_for("flatten | linear 80 | relu | linear 3 nobias fixed", CLASSES);
    struct stationarity s = rest(smooth, l2), k = rest(kinked, l2);
    struct kkt_gate fitted = gate_of(smooth, IMAGES, 1);
    assert_true(fitted.fitted && fabs(fitted.scale * IMAGES * l2 - 1) < 1e-3);
    assert_true(fitted.given < 1e-4 && s.residual < 1e-4);
    remember_decay(kinked, l2);
    struct kkt_gate gate = gate_of(kinked, IMAGES, 1);
    assert_true(!gate.fitted && gate.settled && !gate.refused);
    assert_true(fabs(gate.scale * IMAGES * l2 - 1) < 1e-12);
    assert_true(fabs(gate.given - k.residual) < 1e-4 * k.residual);
    assert_int_equal(gate.pairs, IMAGES * 80);
    assert_true(gate.kinks > 0 && gate.kinks < gate.pairs / 2);
    // Multipliers alone do not help a network on its kinks; derivatives do.
    assert_true(gate.best > .02);
    assert_true(gate.free_kinks < .01 * gate.best);
    assert_true(gate.free_kinks < 1.01 * k.residual_kinks + 1e-4);
    model_free(smooth);
    model_free(kinked);
}

// ---- the best multipliers

enum { FEW = 3, ATOMS = FEW * CLASSES, WIDTH = 5 };

// Solves a x = b by elimination with pivots; false where a is singular.
static bool solve(int n, double a[ATOMS][ATOMS], double *b) {
    for (int i = 0; i < n; i++) {
        int best = i;
        for (int r = i; r < n; r++) best = fabs(a[r][i]) > fabs(a[best][i]) ? r : best;
        if (fabs(a[best][i]) < 1e-12) return false;
        for (int c = 0; c < n; c++) {
            double t = a[i][c];
            a[i][c] = a[best][c], a[best][c] = t;
        }
        double t = b[i];
        b[i] = b[best], b[best] = t;
        for (int r = 0; r < n; r++) {
            if (r == i) continue;
            double f = a[r][i] / a[i][i];
            for (int c = i; c < n; c++) a[r][c] -= f * a[i][c];
            b[r] -= f * b[i];
        }
    }
    for (int i = 0; i < n; i++) b[i] /= a[i][i];
    return true;
}

// The gradients of every image's logits for `flatten | linear 5 | relu | linear 3`, by hand: signed, as columns.
static double *atoms_of(const struct model *m, int64_t *size) {
    const struct arch_tensor *p = m->arch->param;
    const float *w = m->theta + p[0].offset, *b = m->theta + p[1].offset, *v = m->theta + p[2].offset;
    *size = WIDTH * (PIXELS + 1) + CLASSES * (WIDTH + 1);
    double *atom = memory_zero((size_t)(ATOMS * *size) * sizeof *atom);
    for (int i = 0; i < FEW; i++)
        for (int k = 0; k < CLASSES; k++) {
            double *a = atom + (i * CLASSES + k) * *size, sign = k == digit[i] ? 1 : -1;
            const float *x = pixel + i * PIXELS;
            for (int j = 0; j < WIDTH; j++) {
                double z = b[j], *last = a + WIDTH * (PIXELS + 1) + k * (WIDTH + 1);
                for (int c = 0; c < PIXELS; c++) z += (double)w[j * PIXELS + c] * x[c];
                last[j] = z > 0 ? sign * z : 0;
                last[WIDTH] = sign;
                for (int c = 0; c <= PIXELS && z > 0; c++) a[j * (PIXELS + 1) + c] = sign * v[k * WIDTH + j] * (c < PIXELS ? x[c] : 1);
            }
        }
    return atom;
}

static double *theta_of(const struct model *m, int64_t size) {
    double *theta = memory_zero((size_t)size * sizeof *theta), *at = theta;
    const struct arch_tensor *p = m->arch->param;
    for (int layer = 0; layer < 4; layer += 2)
        for (int64_t j = 0; j < p[layer].shape.dim[0]; j++) {
            for (int64_t i = 0; i < p[layer].shape.dim[1]; i++) *at++ = m->theta[p[layer].offset + j * p[layer].shape.dim[1] + i];
            *at++ = m->theta[p[layer + 1].offset + j];
        }
    return theta;
}

static double inner(const double *a, const double *b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

// Of a network as drawn the weights are no sum of its gradients. The best multipliers are found by trying all 2^9 sets of
// those that are not 0: the least squares of each, where no multiplier has the wrong sign. Float32 against double: 1e-4.
static void best_of_all_sets(void **state) {
    (void)state;
    struct model *m = model_for("flatten | linear 5 | relu | linear 3", CLASSES);
    struct kkt_gate gate = gate_of(m, FEW, 1);
    int64_t size;
    double *atom = atoms_of(m, &size), *theta = theta_of(m, size), gram[ATOMS][ATOMS], b[ATOMS];
    double norm = inner(theta, theta, size), least = norm;
    for (int i = 0; i < ATOMS; i++) {
        b[i] = inner(atom + i * size, theta, size);
        for (int j = 0; j < ATOMS; j++) gram[i][j] = inner(atom + i * size, atom + j * size, size);
    }
    int zeros = 0;
    for (int set = 1; set < 1 << ATOMS; set++) {
        double a[ATOMS][ATOMS], x[ATOMS], squares = norm;
        int n = 0, member[ATOMS];
        for (int i = 0; i < ATOMS; i++)
            if (set >> i & 1) member[n++] = i;
        for (int i = 0; i < n; i++) {
            x[i] = b[member[i]];
            for (int j = 0; j < n; j++) a[i][j] = gram[member[i]][member[j]];
        }
        bool fine = solve(n, a, x);
        for (int i = 0; i < n; i++) {
            fine = fine && x[i] >= 0;
            squares -= x[i] * b[member[i]];
        }
        if (!fine || squares >= least) continue;
        least = squares;
        zeros = ATOMS - n;
    }
    assert_true(zeros > 0);  // bounds hold, or this test sees none
    double want = sqrt(least / norm);
    assert_true(want > .1 && want < .99);
    if (!(fabs(gate.best - want) < 1e-4 * want)) fail_msg("%.7f is best, of all sets %.7f", gate.best, want);
    assert_true(gate.settled && gate.fitted && gate.given > gate.best && gate.given <= 1 + 1e-6);
    // With a decay that it was never trained with, it is nowhere near.
    remember_decay(m, 1e-2);
    struct kkt_gate wrong = gate_of(m, FEW, 1);
    assert_true(wrong.given > 1 && fabs(wrong.best - want) < 1e-4 * want);
    free(atom);
    free(theta);
    model_free(m);
}

// ---- any network

static void any_network(void **state) {
    (void)state;
    static const char *const lines[] = {
        "conv 3 3 | relu | maxpool 2 | flatten | linear 3", "flatten | linear 9 | tanh | linear 7 | relu | linear 3",
        "flatten | linear 9 fixed | relu | linear 3",       "homogeneous 20 10",
        "flatten | linear 20 nobias | relu | linear 3",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct model *m = model_for(lines[i], CLASSES);
        m->mean_count = 1;
        m->mean = memory_take(sizeof *m->mean);
        m->mean[0] = .5f;
        m->std = .3f;
        struct kkt_gate one = gate_of(m, IMAGES, 1), three = gate_of(m, IMAGES, 3);
        assert_memory_equal(&one, &three, sizeof one);
        assert_true(one.best < 1);
        assert_true((one.refused != NULL) == (i < 3));
        model_free(m);
    }
    struct model *binary = model_for("homogeneous 20", 1);
    binary->positive = 2;
    assert_true(gate_of(binary, IMAGES, 1).best < 1);
    model_free(binary);
}

static void refuse(const struct model *m, const struct images *s, const char *word) {
    struct error e = {0};
    struct kkt_gate gate;
    struct pool *pool = pool_new(1);
    assert_false(kkt_gate_measure(m, s, &gate, pool, &e));
    assert_int_equal(e.status, EXIT_INPUT);
    if (!strstr(e.text, word)) fail_msg("%s: %s expected", e.text, word);
    pool_free(pool);
}

static void what_does_not_fit(void **state) {
    (void)state;
    struct error e = {0};
    struct model *m = model_for("homogeneous 20", CLASSES), *two = model_for("homogeneous 20", 2);
    struct images *s = images_of(blob_for(IMAGES), &e);
    const int64_t *y = s->y;
    refuse(two, s, "label 2 of image");
    s->y = NULL;
    refuse(m, s, "classes (tensor y) expected");
    s->y = y;
    s->height = 9;
    refuse(m, s, "[1, 9, 6]");
    s->height = SIDE;
    m->theta[0] = NAN;
    refuse(m, s, "not finite");
    memset(m->theta, 0, (size_t)m->arch->size * sizeof *m->theta);
    refuse(m, s, "all zero");
    images_free(s);
    model_free(m);
    model_free(two);
    struct images *many = images_of(blob_for(IMAGES), &e);
    struct model *fine = model_for("homogeneous 20", CLASSES);
    many->y = memory_zero((KKT_GATE_IMAGES + 1) * sizeof *many->y);
    many->count = KKT_GATE_IMAGES + 1;
    refuse(fine, many, "2001 images");
    free((int64_t *)many->y);
    images_free(many);
    model_free(fine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stationary_point),
        cmocka_unit_test(best_of_all_sets),
        cmocka_unit_test(any_network),
        cmocka_unit_test(what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

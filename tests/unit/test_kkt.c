// The direct attack: its derivatives against differences, the reduced network against the whole one, the residual at a
// stationary point and what is found from it, and that a run is the same bytes however it is run.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "audit/direct.h"
#include "base/arena.h"
#include "base/out.h"
#include "io/record.h"
#include "nn/settle.h"

enum { SIDE = 6, PIXELS = SIDE * SIDE, CLASSES = 3, IMAGES = 6 };

static struct model *model_for(const char *line, int classes, uint64_t seed) {
    struct error e = {0};
    struct arch *a = arch_parse(line, shape_of(3, 1, SIDE, SIDE), classes, &e);
    if (!a) fail_msg("%s", e.text);
    return model_new(a, seed);
}

static struct model *model(const char *line, uint64_t seed) { return model_for(line, CLASSES, seed); }

static struct kkt *attack(const struct model *m, const struct reduced *in, const struct kkt_options *o, struct pool *pool) {
    struct error e = {0};
    struct kkt *k = kkt_open(m, in, o, pool, &e);
    if (!k) fail_msg("%s", e.text);
    return k;
}

static double residual_of(struct kkt *k, float *dx, float *dl) {
    struct error e = {0};
    double residual;
    if (!kkt_gradient(k, 0, 0, &residual, dx, dl, &e)) fail_msg("%s", e.text);
    return residual;
}

static float *floats(int64_t n) { return memory_zero((size_t)n * sizeof(float)); }

// Central differences of the residual, which is the whole loss without penalties. The networks are smooth: for ReLUs the
// derivative is declared, not that of the forward pass. Candidates are floats, so h is a power of two that their rounding
// leaves exact; the error of a difference is about h^2 f''' / 6, some 1e-6 here.
static void check_gradient(const char *line) {
    struct model *m = model(line, 5);
    for (int64_t i = 0; i < m->arch->size; i++) m->theta[i] *= 2;
    struct kkt_options o = kkt_defaults(false);
    o.device = "ref";
    o.candidates = 4;
    o.box = o.floor = 0;
    struct kkt *k = attack(m, NULL, &o, NULL);
    float *dx = floats(4 * PIXELS), *dl = floats(4 * CLASSES), *spare = floats(4 * PIXELS), *spare_l = floats(4 * CLASSES);
    rng_normal(rng_stream(1, "test/kkt"), 0, 0, 0, k->x, 4 * PIXELS);
    residual_of(k, dx, dl);
    double h = 0x1p-10, largest = 0;
    for (int64_t i = 0; i < 4 * (PIXELS + CLASSES); i++) {
        bool image = i < 4 * PIXELS;
        float *at = image ? &k->x[i] : &k->l[i - 4 * PIXELS], before = roundf(*at * 1024) / 1024;
        *at = before;
        residual_of(k, dx, dl);
        double want = image ? dx[i] : dl[i - 4 * PIXELS];
        *at = before + (float)h;
        double high = residual_of(k, spare, spare_l);
        *at = before - (float)h;
        double low = residual_of(k, spare, spare_l);
        *at = before;
        double got = (high - low) / (2 * h);
        largest = fmax(largest, fabs(want));
        if (!(fabs(got - want) < 1e-4 * (fabs(want) + 1e-2)))
            fail_msg("%s: derivative %lld is %g, by differences %g", line, (long long)i, want, got);
    }
    assert_true(largest > 1e-3);
    free(dx), free(dl), free(spare), free(spare_l);
    kkt_free(k);
    model_free(m);
}

static void gradient_is_that_of_differences(void **state) {
    (void)state;
    check_gradient("flatten | linear 7 | tanh | linear 3");
    check_gradient("conv 3 3 | tanh | avgpool 2 | flatten | linear 5 | gelu | linear 3");
}

// The penalties' derivatives in closed form: 2 box (x - 1) above 1, 2 box x below 0; 2 floor l where the sign is wrong.
static void penalties(void **state) {
    (void)state;
    struct model *m = model("flatten | linear 7 | relu | linear 3", 5);
    struct kkt_options o = kkt_defaults(false);
    o.device = "ref";
    o.candidates = 3;
    float *d[4] = {floats(3 * PIXELS), floats(3 * CLASSES), floats(3 * PIXELS), floats(3 * CLASSES)};
    struct kkt *k[2];
    for (int i = 0; i < 2; i++) {
        o.box = i ? .25 : 0;
        o.floor = i ? .5 : 0;
        k[i] = attack(m, NULL, &o, NULL);
        rng_normal(rng_stream(1, "test/kkt"), 0, 0, 0, k[i]->x, 3 * PIXELS);
        rng_normal(rng_stream(2, "test/kkt"), 0, 0, 0, k[i]->l, 3 * CLASSES);
        residual_of(k[i], d[2 * i], d[2 * i + 1]);
    }
    for (int i = 0; i < 3 * PIXELS; i++) {
        double x = k[0]->x[i], want = x > 1 ? 2 * .25 * (x - 1) : x < 0 ? 2 * .25 * x : 0;
        assert_true(fabs(d[2][i] - d[0][i] - want) < 1e-6 * (1 + fabs(d[0][i])));
    }
    for (int i = 0; i < 3 * CLASSES; i++) {
        bool own = i % CLASSES == k[0]->y[i / CLASSES];
        double l = k[0]->l[i], want = (own ? l < 0 : l > 0) ? 2 * .5 * l : 0;
        assert_true(fabs(d[3][i] - d[1][i] - want) < 1e-6 * (1 + fabs(d[1][i])));
    }
    for (int i = 0; i < 4; i++) free(d[i]);
    for (int i = 0; i < 2; i++) kkt_free(k[i]);
    model_free(m);
}

// ---- the reduced network

// On images in the span both networks give the same logits and the same residual: all singular values are kept, so nothing of
// the first layer lies outside. Floats of some 1 are compared: 1e-5.
static void reduced_network_is_the_whole_one(void **state) {
    (void)state;
    static const char *const lines[] = {"flatten | linear 12 | relu | linear 5 nobias | leaky .2 | linear 3",
                                        "flatten | linear 12 nobias | norm batch | relu | linear 3 nobias"};
    struct error e = {0};
    struct pool *pool = pool_new(1);
    for (int with = 0; with < 2; with++) {
        struct model *m = model(lines[with], 9);
        m->mean_count = 1;
        m->mean = memory_take(sizeof *m->mean);
        m->mean[0] = .3f;
        m->std = .5f;
        struct span *s = span_open(m, &e);
        assert_non_null(s);
        struct reduced *r = reduced_open(s, s->values, &e);
        if (!r) fail_msg("%s", e.text);
        assert_int_equal(r->columns, 12);
        assert_int_equal(r->dims, with ? 12 : 11);
        struct kkt_options o = kkt_defaults(true);
        o.candidates = 5;
        o.box = 0;
        struct kkt *inside = attack(m, r, &o, pool), *outside = attack(m, NULL, &o, pool);
        reduced_images(r, inside->x, 5, outside->x);
        float *c = floats(5 * 12), *d[4] = {floats(5 * 12), floats(5 * CLASSES), floats(5 * PIXELS), floats(5 * CLASSES)};
        reduced_coordinates(r, outside->x, 5, c);
        for (int i = 0; i < 5 * 12; i++) assert_true(fabs(c[i] - inside->x[i]) < 1e-5);
        float z[2][5 * CLASSES];
        struct evaluator *v[2] = {evaluator_open(m, "cpu", pool, &e), evaluator_open(r->net, "cpu", pool, &e)};
        assert_true(evaluator_rows(v[0], outside->x, 5, z[0], &e) && evaluator_rows(v[1], inside->x, 5, z[1], &e));
        for (int i = 0; i < 5 * CLASSES; i++) assert_true(fabs(z[0][i] - z[1][i]) < 1e-5);
        double a = residual_of(inside, d[0], d[1]), b = residual_of(outside, d[2], d[3]);
        assert_true(a > 0 && fabs(a - b) < 1e-5 * b);
        for (int i = 0; i < 5 * CLASSES; i++) assert_true(fabs(d[1][i] - d[3][i]) < 1e-4 * (1e-3 + fabs(d[3][i])));
        // The chain rule: d/dc = basis' d/dx.
        for (int i = 0; i < 5; i++)
            for (int k = 0; k < r->dims; k++) {
                double want = 0;
                for (int j = 0; j < PIXELS; j++) want += r->basis[j * 12 + k] * d[2][i * PIXELS + j];
                assert_true(fabs(d[0][i * 12 + k] - want) < 1e-4 * (1e-3 + fabs(want)));
            }
        for (int i = 0; i < 4; i++) free(d[i]);
        for (int i = 0; i < 2; i++) evaluator_free(v[i]);
        free(c);
        kkt_free(inside), kkt_free(outside);
        reduced_free(r);
        span_free(s);
        model_free(m);
    }
    pool_free(pool);
}

// ---- a stationary point

struct point {
    struct model *m;
    struct dataset *d;
    float *x;      // [IMAGES][PIXELS]
    float *lambda; // [IMAGES][IMAGES] of the truth
};

enum { TRAINED_L2 = 1000 };  // 1 / l2

// A smooth network brought to rest by L-BFGS on one image of each class (several of one class would share a direction: without
// kinks the rank of the first layer is that of the classes), and the multipliers of cross-entropy there.
static struct point stationary_point(struct pool *pool) {
    struct point p = {.x = floats(IMAGES * PIXELS), .lambda = floats(IMAGES * IMAGES)};
    static int64_t y[IMAGES], count = IMAGES;
    struct error e = {0};
    rng_uniform(rng_stream(4, "test/images"), 0, 0, 0, p.x, IMAGES * PIXELS);
    for (int i = 0; i < IMAGES; i++) y[i] = i;
    struct blob *b = blob_new("dataset");
    blob_add(b, "x", F32, 4, (int64_t[]){IMAGES, 1, SIDE, SIDE}, p.x);
    blob_add(b, "y", I64, 1, &count, y);
    p.d = dataset_of(b, &e);
    assert_non_null(p.d);
    p.m = model_for("flatten | linear 30 | gelu | linear 6 nobias", IMAGES, 2);
    struct settle_options o = {.method = SETTLE_LBFGS, .steps = 3000, .l2 = 1. / TRAINED_L2, .device = "cpu"};
    int64_t steps, index[IMAGES];
    bool interrupted = false;
    for (int i = 0; i < IMAGES; i++) index[i] = i;
    if (!settle_run(p.m, p.d, index, IMAGES, &o, &steps, &interrupted, pool, &e)) fail_msg("%s", e.text);
    float z[IMAGES * IMAGES];
    struct evaluator *v = evaluator_open(p.m, "cpu", pool, &e);
    assert_true(evaluator_rows(v, p.x, IMAGES, z, &e));
    evaluator_free(v);
    for (int i = 0; i < IMAGES; i++)
        for (int k = 0; k < IMAGES; k++)
            p.lambda[i * IMAGES + k] =
                ((k == y[i]) - (float)candidates_probability(z + i * IMAGES, IMAGES, k)) * TRAINED_L2 / IMAGES;
    return p;
}

static void point_free(struct point *p) {
    model_free(p->m);
    dataset_free(p->d);
    free(p->x);
    free(p->lambda);
}

static double ncc(const float *a, const float *b) {
    double ma = 0, mb = 0, ab = 0, aa = 0, bb = 0;
    for (int j = 0; j < PIXELS; j++) ma += a[j] / (double)PIXELS, mb += b[j] / (double)PIXELS;
    for (int j = 0; j < PIXELS; j++) {
        ab += (a[j] - ma) * (b[j] - mb);
        aa += (a[j] - ma) * (a[j] - ma);
        bb += (b[j] - mb) * (b[j] - mb);
    }
    return ab / sqrt(aa * bb);
}

// At the truth the residual is what training left of the gradient, next to nothing; from random starts the attack, which is
// told nothing but the weights, ends at every image.
static void truth_is_found(void **state) {
    (void)state;
    struct error e = {0};
    struct pool *pool = pool_new(2);
    struct point p = stationary_point(pool);
    struct kkt_options o = kkt_defaults(true);
    o.candidates = IMAGES;
    o.restarts = 24;  // which of them find the last image changes with every rounding: 16 do on every instruction set
    o.steps = 3000;
    o.lr = NAN;
    o.start = NAN;
    o.margin = 1;
    struct direct *d = direct_open(p.m, true, 0, &o, pool, &e);
    if (!d) fail_msg("%s", e.text);
    assert_int_equal(d->images, IMAGES);
    assert_false(d->images_given);
    struct kkt *k = direct_kkt(d);
    float *start = floats(IMAGES * k->columns), *dx = floats(IMAGES * k->columns), *dl = floats(IMAGES * IMAGES);
    memcpy(start, k->x, (size_t)(IMAGES * k->columns) * sizeof *start);
    float *multiplier = floats(IMAGES * IMAGES);
    memcpy(multiplier, k->l, (size_t)(IMAGES * IMAGES) * sizeof *multiplier);
    assert_true(residual_of(k, dx, dl) > .01);  // the start
    memset(k->l, 0, (size_t)(IMAGES * IMAGES) * sizeof *k->l);
    reduced_coordinates(d->round[0].reduced, p.x, IMAGES, k->x);
    for (int i = 0; i < IMAGES * IMAGES; i++) k->l[i] = p.lambda[i] / (float)k->scale;
    double truth = residual_of(k, dx, dl);
    if (!(truth < 1e-6)) fail_msg("residual^2 %g at the truth", truth);
    memcpy(k->x, start, (size_t)(IMAGES * k->columns) * sizeof *start);
    memcpy(k->l, multiplier, (size_t)(IMAGES * IMAGES) * sizeof *multiplier);
    bool interrupted = false;
    assert_true(kkt_run(k, &interrupted, &e));
    assert_false(interrupted);
    struct candidates *c = direct_candidates(d, pool, &e);
    assert_non_null(c);
    assert_null(d->round[0].certificate);  // no ReLU
    for (int i = 0; i < IMAGES; i++) {
        double best = -1;
        for (int64_t j = 0; j < c->count; j++) best = fmax(best, ncc(c->x + j * PIXELS, p.x + i * PIXELS));
        if (!(best > .95)) fail_msg("image %d: the best candidate's correlation is %.3f", i, best);
    }
    candidates_free(c);
    free(start), free(multiplier), free(dx), free(dl);
    direct_free(d);
    point_free(&p);
    pool_free(pool);
}

// ---- the same bytes

static void bytes_do_not_depend_on_threads_or_checkpoints(void **state) {
    (void)state;
    struct error e = {0};
    struct model *m = model("conv 3 3 | relu | maxpool 2 | flatten | linear 3", 3);
    struct kkt_options o = kkt_defaults(false);
    json_t *identity = json_pack("{s:s}", "run", "one");
    char path[] = "/tmp/test_kkt_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    o.candidates = 20;
    o.steps = 12;
    o.restarts = 2;
    struct kkt *k[3];
    for (int i = 0; i < 3; i++) {
        struct pool *pool = pool_new(i ? 1 : 3);
        bool interrupted = false;
        k[i] = attack(m, NULL, &o, pool);
        if (i == 2) {  // from after the first restart
            k[2]->stop = 1;
            assert_true(kkt_run(k[2], &interrupted, &e));
            assert_true(kkt_save(k[2], identity, path, &e));
            kkt_free(k[2]);
            k[2] = attack(m, NULL, &o, pool);
            if (!kkt_resume(k[2], identity, path, &e)) fail_msg("%s", e.text);
            assert_int_equal(k[2]->restart, 1);
        }
        assert_true(kkt_run(k[i], &interrupted, &e));
        assert_memory_equal(k[i]->x, k[0]->x, 2 * 20 * PIXELS * sizeof(float));
        assert_memory_equal(k[i]->l, k[0]->l, 2 * 20 * CLASSES * sizeof(float));
        assert_memory_equal(k[i]->history, k[0]->history, 2 * 12 * sizeof(double));
        assert_true(k[i]->history[11] < k[i]->history[0]);
        k[i]->pool = NULL;
        pool_free(pool);
    }
    assert_memory_not_equal(k[0]->x, k[0]->x + 20 * PIXELS, 20 * PIXELS * sizeof(float));
    json_object_set_new(identity, "run", json_string("two"));
    assert_false(kkt_resume(k[0], identity, path, &e));
    assert_int_equal(e.status, EXIT_INPUT);
    unlink(path);
    for (int i = 0; i < 3; i++) kkt_free(k[i]);
    json_decref(identity);
    model_free(m);
}

// Images given take the first candidates of their classes, restart after restart, whatever the seed; the others start as drawn.
// Inside the span an image starts at its orthogonal projection: what is left of it is orthogonal to the slice, which a second
// projection leaves where it is.
static void given_images_are_starts(void **state) {
    (void)state;
    struct error e = {0};
    struct pool *pool = pool_new(1);
    struct model *m = model("flatten | linear 12 | relu | linear 3", 9);
    struct span *s = span_open(m, &e);
    struct reduced *r = s ? reduced_open(s, 8, &e) : NULL;
    if (!r) fail_msg("%s", e.text);
    enum { EACH = 2, RESTARTS = 2, ALL = RESTARTS * EACH * CLASSES };
    static const int64_t y[] = {2, 0, 2, 2, 0, 1, 2, 2};  // of class 2 more than there is room for
    static const int place[] = {4, 0, 5, 10, 1, 2, 11, -1};
    enum { GIVEN = sizeof y / sizeof *y };
    float image[GIVEN * PIXELS], back[PIXELS], again[8];
    rng_uniform(rng_stream(6, "test/starts"), 0, 0, 0, image, GIVEN * PIXELS);
    for (int inside = 0; inside < 2; inside++) {
        struct kkt_options o = kkt_defaults(inside);
        o.candidates = EACH * CLASSES;
        o.restarts = RESTARTS;
        struct kkt *drawn = attack(m, inside ? r : NULL, &o, pool), *k = attack(m, inside ? r : NULL, &o, pool);
        assert_int_equal(kkt_start(k, image, y, GIVEN), GIVEN - 1);
        for (int i = 0; i < ALL; i++) {
            int from = GIVEN - 1;
            while (from >= 0 && place[from] != i) from--;
            const float *x = k->x + i * k->columns;
            if (from < 0) assert_memory_equal(x, drawn->x + i * k->columns, (size_t)k->columns * sizeof *x);
            else if (!inside) assert_memory_equal(x, image + from * PIXELS, PIXELS * sizeof *x);
            else {
                reduced_images(r, x, 1, back);
                reduced_coordinates(r, back, 1, again);
                for (int c = 0; c < 8; c++) assert_true(fabs(again[c] - x[c]) < 1e-5);
                double left = 0;
                for (int j = 0; j < PIXELS; j++) left += fabs(image[from * PIXELS + j] - back[j]);
                assert_true(left > .1);  // the image is not in the slice
                for (int c = 0; c < r->dims; c++) {
                    double along = 0;
                    for (int j = 0; j < PIXELS; j++) along += r->basis[j * 8 + c] * (image[from * PIXELS + j] - back[j]);
                    assert_true(fabs(along) < 1e-5);
                }
            }
            assert_int_equal(k->y[i], drawn->y[i]);
        }
        kkt_free(k), kkt_free(drawn);
    }
    reduced_free(r);
    span_free(s);
    model_free(m);
    pool_free(pool);
}

// A signal that comes after the last step has cut nothing short, and is told all the same.
static void late_signal_is_told(void **state) {
    (void)state;
    pid_t child = fork();
    if (!child) {
        struct error e = {0};
        struct pool *pool = pool_new(1);
        struct model *m = model("flatten | linear 7 | relu | linear 3", 5);
        struct kkt_options o = kkt_defaults(false);
        o.candidates = 4;
        o.steps = 3;
        struct kkt *k = attack(m, NULL, &o, pool);
        bool interrupted = true;
        out_handle_signals();
        out_graceful();
        bool told = kkt_run(k, &interrupted, &e) && !interrupted && k->restart == o.restarts;
        raise(SIGTERM);
        told = told && kkt_run(k, &interrupted, &e) && interrupted && k->restart == o.restarts;
        _exit(told ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

// ---- what is refused, what is claimed

static void number_of_images(void **state) {
    (void)state;
    struct error e = {0};
    struct pool *pool = pool_new(1);
    struct kkt_options o = kkt_defaults(true);
    struct model *conv = model("conv 3 3 | relu | flatten | linear 3", 3);
    struct model *flat = model("flatten | linear 20 | relu | linear 3 nobias", 3);
    assert_null(direct_open(conv, true, 0, &o, pool, &e));
    assert_int_equal(e.status, EXIT_USAGE);
    e = (struct error){0};
    assert_null(direct_open(flat, true, 0, &o, pool, &e));  // weights as drawn: no gap
    assert_int_equal(e.status, EXIT_USAGE);
    e = (struct error){0};
    struct direct *d = direct_open(flat, true, 7, &o, pool, &e);
    assert_non_null(d);
    assert_true(d->images_given && d->round[0].reduced && d->round[0].reduced->columns == 7 && direct_kkt(d)->o.candidates == 28);
    direct_free(d);
    d = direct_open(flat, false, 7, &o, pool, &e);
    assert_true(d && !d->round[0].reduced && direct_kkt(d)->columns == PIXELS);
    direct_free(d);
    assert_non_null(strstr(direct_claim(conv), "promises"));
    assert_null(strstr(direct_claim(flat), "promises"));
    model_free(conv);
    model_free(flat);
    pool_free(pool);
}

static void not_a_number_stops(void **state) {
    (void)state;
    struct error e = {0};
    struct pool *pool = pool_new(1);
    struct model *m = model("flatten | linear 7 | relu | linear 3", 5);
    struct kkt_options o = kkt_defaults(false);
    o.candidates = 4;
    o.lr = 1e30;
    struct kkt *k = attack(m, NULL, &o, pool);
    bool interrupted = false;
    assert_false(kkt_run(k, &interrupted, &e));
    assert_int_equal(e.status, EXIT_INPUT);
    assert_non_null(strstr(e.text, "restart 0, step "));
    kkt_free(k);
    model_free(m);
    pool_free(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradient_is_that_of_differences),
        cmocka_unit_test(penalties),
        cmocka_unit_test(reduced_network_is_the_whole_one),
        cmocka_unit_test(truth_is_found),
        cmocka_unit_test(bytes_do_not_depend_on_threads_or_checkpoints),
        cmocka_unit_test(given_images_are_starts),
        cmocka_unit_test(late_signal_is_told),
        cmocka_unit_test(number_of_images),
        cmocka_unit_test(not_a_number_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// The certificate on a planted network: a first layer that is stationary for known images, kinks included, so that rows,
// duals, slopes and marks have known answers.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/certificate.h"
#include "base/arena.h"

enum { PIXELS = 15, N = PIXELS + 1, NEURONS = 600, CLASSES = 4 };  // as many images as coordinates, bias included

struct plant {
    struct model *m;
    struct span *span;
    struct reduced *reduced;
    float image[N][PIXELS], c[N][N];
    double u[N][NEURONS], s[N][NEURONS], lambda[N][CLASSES];
};

// Neuron j alone: B_j = sum_i s_i u_i c_i with s_i in the subdifferential of relu at c_i . B_j is a stationary point of
// |B|^2 / 2 - sum_i u_i relu(c_i . B). Images with u > 0 keep s = 1 or 0 by the sign; for those with u < 0 the problem is convex,
// and coordinate ascent on s in [0, 1] solves it, kinks included. Repeated until nothing changes; false where it does not settle.
static bool settle_neuron(double x[N][N], const double *u, double *s, double *b) {
    for (int i = 0; i < N; i++) s[i] = u[i] > 0;
    for (int outer = 0; outer < 50; outer++) {
        bool changed = false;
        memset(b, 0, N * sizeof *b);
        for (int i = 0; i < N; i++)
            for (int k = 0; k < N; k++) b[k] += s[i] * u[i] * x[i][k];
        for (int sweep = 0; sweep < 4000; sweep++) {
            double moved = 0;
            for (int i = 0; i < N; i++) {
                if (u[i] > 0) continue;
                double a = 0, squares = 0;
                for (int k = 0; k < N; k++) a += b[k] * x[i][k], squares += x[i][k] * x[i][k];
                double next = fmin(1, fmax(0, s[i] - a / (u[i] * squares))), d = (next - s[i]) * u[i];
                for (int k = 0; k < N; k++) b[k] += d * x[i][k];
                moved = fmax(moved, fabs(next - s[i]));
                s[i] = next;
            }
            if (moved < 1e-12) break;
        }
        for (int i = 0; i < N; i++) {
            double a = 0;
            for (int k = 0; k < N; k++) a += b[k] * x[i][k];
            if (u[i] > 0 && s[i] != (a > 0)) {
                s[i] = a > 0;
                changed = true;
            }
        }
        if (!changed) return true;
    }
    return false;
}

static struct plant plant(void) {
    struct plant p = {0};
    struct error e = {0};
    struct arch *a = arch_parse("flatten | linear 600 | relu | linear 4 nobias", shape_of(3, 1, 3, 5), CLASSES, &e);
    if (!a) fail_msg("%s", e.text);
    p.m = model_new(a, 1);
    float *first = p.m->theta + a->param[0].offset, *bias = p.m->theta + a->param[1].offset;
    float *second = p.m->theta + a->param[2].offset;
    double x[N][N], (*lambda)[CLASSES] = p.lambda, b[N];
    for (int i = 0; i < N; i++) {
        rng_normal(rng_stream(1, "test/images"), (uint32_t)i, 0, 0, p.image[i], PIXELS);
        for (int k = 0; k < PIXELS; k++) x[i][k] = p.image[i][k];
        x[i][PIXELS] = 1;
        for (int k = 0; k < CLASSES; k++) {
            double draw = rng_one(rng_stream(2, "test/multipliers"), (uint32_t)i, (uint32_t)k, 0);
            lambda[i][k] = (k == i % CLASSES ? 1.5 : -.5) * (.7 + .6 * draw);
        }
    }
    uint32_t draw = 0;
    for (int j = 0; j < NEURONS; draw++) {
        float w[CLASSES];
        double u[N], s[N], length = 0;
        rng_normal(rng_stream(3, "test/neurons"), draw, 0, 0, w, CLASSES);
        for (int i = 0; i < N; i++) {
            u[i] = 0;
            for (int k = 0; k < CLASSES; k++) u[i] += lambda[i][k] * w[k];
        }
        if (!settle_neuron(x, u, s, b)) continue;
        for (int k = 0; k < N; k++) length += b[k] * b[k];
        if (length < 1e-6) continue;  // a dead neuron says nothing
        for (int i = 0; i < N; i++) p.u[i][j] = u[i], p.s[i][j] = s[i];
        for (int k = 0; k < PIXELS; k++) first[j * PIXELS + k] = (float)b[k];
        bias[j] = (float)b[PIXELS];
        for (int k = 0; k < CLASSES; k++) second[k * NEURONS + j] = w[k];
        j++;
    }
    p.span = span_open(p.m, &e);
    assert_non_null(p.span);
    p.reduced = reduced_open(p.span, N, &e);
    if (!p.reduced) fail_msg("%s", e.text);
    reduced_coordinates(p.reduced, p.image[0], N, p.c[0]);
    return p;
}

static void uproot(struct plant *p) {
    reduced_free(p->reduced);
    span_free(p->span);
    model_free(p->m);
}

static struct certificate *certify(const struct plant *p, const float *c, int64_t count, int threads) {
    struct error e = {0};
    struct pool *pool = pool_new(threads);
    struct certificate *t = certificate_open(p->reduced, c, count, pool, &e);
    if (!t) fail_msg("%s", e.text);
    pool_free(pool);
    return t;
}

// The cosine of a row found with image i's own.
static double cosine(const struct plant *p, const struct certificate *t, int64_t row, int i) {
    double dot = 0, squares = 0;
    for (int j = 0; j < NEURONS; j++) {
        double d = p->s[i][j] * p->u[i][j];
        dot += d * t->row[row * NEURONS + j];
        squares += d * d;
    }
    return dot / sqrt(squares);
}

// The plant itself is what it is said to be: sum_i s_ij u_ij c_i is the first layer, and many pairs sit on a kink.
static void plant_is_stationary(void **state) {
    (void)state;
    struct plant p = plant();
    const struct arch *a = p.reduced->net->arch;
    const float *b = p.reduced->net->theta + a->param[0].offset;
    int kinks = 0;
    for (int j = 0; j < NEURONS; j++) {
        for (int k = 0; k < N; k++) {
            double sum = 0;
            for (int i = 0; i < N; i++) sum += p.s[i][j] * p.u[i][j] * p.c[i][k];
            assert_true(fabs(sum - b[j * N + k]) < 1e-4);  // floats of up to some 10
        }
        for (int i = 0; i < N; i++) kinks += p.s[i][j] > .2 && p.s[i][j] < .8;
    }
    assert_true(kinks > 10 * N);
    uproot(&p);
}

static double distance_to_nearest(const struct plant *p, const double *c) {
    double nearest = INFINITY;
    for (int k = 0; k < N; k++) {
        double squares = 0;
        for (int l = 0; l < N; l++) squares += (c[l] - p->c[k][l]) * (c[l] - p->c[k][l]);
        nearest = fmin(nearest, sqrt(squares));
    }
    return nearest;
}

static int kinks_of(const struct plant *p, int i) {
    int kinks = 0;
    for (int j = 0; j < NEURONS; j++) kinks += p->s[i][j] > .05 && p->s[i][j] < .95;
    return kinks;
}

// At every image: its row, its dual and the slopes; no two are the same, and every one with enough kinks is certified.
static void images_are_certified(void **state) {
    (void)state;
    struct plant p = plant();
    struct certificate *t = certify(&p, p.c[0], N, 2);
    int certified = 0;
    assert_int_equal(t->distinct, N);
    for (int i = 0; i < N; i++) {
        double along = cosine(&p, t, i, i);
        if (!(along > .9999)) fail_msg("image %d: the row's cosine is %.5f", i, along);
        if (!t->found[i]) fail_msg("image %d: inside %.3f, active %.3f, kink %.4f", i, t->inside[i], t->active[i], t->kink[i]);
        if (kinks_of(&p, i) >= 2 * N && !t->certified[i])
            fail_msg("image %d: %d kinks, signs %.4f", i, kinks_of(&p, i), t->signs[i]);
        certified += t->certified[i];
        double away = distance_to_nearest(&p, t->solved + i * N);
        if (t->certified[i] && !(away < .02)) fail_msg("image %d: %d kinks, solved %.4f away", i, kinks_of(&p, i), away);
        assert_int_equal(t->same[i], i);
        for (int k = 0; k < N; k++) {
            double dot = 0;
            for (int l = 0; l < N; l++) dot += t->dual[i * N + l] * p.c[k][l];
            assert_true(fabs(dot - (i == k)) < 1e-2);
        }
        int off = 0;
        for (int j = 0; j < NEURONS; j++) off += fabs(p.u[i][j]) > .3 && fabs(t->slope[i * NEURONS + j] - p.s[i][j]) > .05;
        assert_true(off < NEURONS / 100);
    }
    assert_int_equal(certified, N);  // with few kinks too: the others' rows make up for them
    certificate_free(t);
    uproot(&p);
}

// Near an image its row is found all the same, and where kinks tell, the image itself; between two images and at random points
// nothing is certain. Nothing depends on threads.
static void others_are_not(void **state) {
    (void)state;
    struct plant p = plant();
    enum { CASES = 3 * N };
    float c[CASES][N];
    double near[CASES];
    for (int i = 0; i < CASES; i++) {
        float noise[N];
        rng_normal(rng_stream(5, "test/noise"), (uint32_t)i, 0, 0, noise, N);
        for (int k = 0; k < N - 1; k++)
            c[i][k] = i < N       ? p.c[i][k] + .004f * noise[k]
                      : i < 2 * N ? (p.c[i - N][k] + p.c[(i - N + 1) % N][k]) / 2
                                  : .5f * noise[k];
        c[i][N - 1] = (float)p.reduced->last;
        double wide[N];
        for (int k = 0; k < N; k++) wide[k] = c[i][k];
        near[i] = distance_to_nearest(&p, wide);
    }
    struct certificate *t = certify(&p, c[0], CASES, 1), *again = certify(&p, c[0], CASES, 3);
    int found = 0, solved = 0, strangers = 0;
    for (int i = 0; i < CASES; i++) {
        double from = 0, to = 0;  // the image: of the candidate, of its solution
        for (int k = 0; i < N && k < N; k++) {
            from += (c[i][k] - p.c[i][k]) * (c[i][k] - p.c[i][k]);
            to += (t->solved[i * N + k] - p.c[i][k]) * (t->solved[i * N + k] - p.c[i][k]);
        }
        solved += i < N && t->certified[i] && to < .02 * from;
        if (i < N) found += t->found[i] && cosine(&p, t, i, i) > .999;
        // Whatever is certain is an image, also where its candidate was none.
        if (t->certified[i] && !(distance_to_nearest(&p, t->solved + i * N) < .02))
            fail_msg("case %d, %.3f from the nearest image, is certain of a point %.3f from it", i, near[i],
                     distance_to_nearest(&p, t->solved + i * N));
        strangers += i >= 2 * N && t->certified[i];
    }
    assert_int_equal(strangers, 0);
    assert_true(found >= N - 1);
    assert_true(solved >= N / 2);
    assert_memory_equal(t->solved, again->solved, sizeof(double) * CASES * N);
    assert_memory_equal(t->signs, again->signs, sizeof(double) * CASES);
    assert_memory_equal(t->certified, again->certified, CASES);
    assert_memory_equal(t->row, again->row, sizeof(double) * CASES * NEURONS);
    assert_memory_equal(t->kink, again->kink, sizeof(double) * CASES);
    assert_memory_equal(t->same, again->same, sizeof(int64_t) * CASES);
    certificate_free(t);
    certificate_free(again);
    uproot(&p);
}

// Candidates of one image share a row: the one that suits it best stands for all.
static void copies_are_one(void **state) {
    (void)state;
    struct plant p = plant();
    float c[4][N];
    for (int i = 0; i < 4; i++) {
        memcpy(c[i], p.c[i == 3 ? 7 : 2], sizeof c[i]);
        c[i][0] += i == 0 ? .01f : i == 1 ? -.005f : 0;
    }
    struct certificate *t = certify(&p, c[0], 4, 1);
    assert_int_equal(t->distinct, 2);
    for (int i = 0; i < 4; i++) assert_int_equal(t->same[i], i == 3 ? 3 : 2);
    certificate_free(t);
    uproot(&p);
}

// Two rows that are not alike, of candidates that are certain of one image, are one member's, and one candidate stands for both;
// what is not certain of its image is not so judged.
static void one_image_is_one_member(void **state) {
    (void)state;
    struct plant p = plant();
    float c[3][N];
    int at[2], certain = 0;
    struct certificate *all = certify(&p, p.c[0], N, 1);
    for (int i = 0; i < N && certain < 2; i++)
        if (all->certified[i]) at[certain++] = i;
    assert_int_equal(certain, 2);
    certificate_free(all);
    for (int i = 0; i < 3; i++) memcpy(c[i], p.c[at[i / 2]], sizeof c[i]);
    struct certificate *t = certify(&p, c[0], 3, 1);
    assert_int_equal(t->distinct, 2);
    // Another row, the same image.
    for (int j = 0; j < NEURONS; j++) t->row[NEURONS + j] = t->row[2 * NEURONS + (j + 1) % NEURONS];
    certificate_group(t);
    assert_int_equal(t->distinct, 2);
    assert_int_equal(t->same[0], t->same[1]);
    assert_int_equal(t->same[2], 2);
    t->certified[1] = 0;
    certificate_group(t);
    assert_int_equal(t->distinct, 3);
    t->certified[1] = 1;
    t->solved[N] *= 1.5;  // another image too
    for (int k = 1; k < N - 1; k++) t->solved[N + k] *= .5;
    certificate_group(t);
    assert_int_equal(t->distinct, 3);
    certificate_free(t);
    uproot(&p);
}

// What is known of some images leaves a first layer of the others alone, in as many dimensions as they are: the same images, the
// same pre-activations, and rows that are certified as before. Twice is as well as once.
static void known_images_are_peeled_off(void **state) {
    (void)state;
    enum { KNOWN = 6, TIMES = 2 };
    struct plant p = plant();
    struct error e = {0};
    struct reduced *at[TIMES + 1] = {p.reduced};
    float c[N][N];
    memcpy(c, p.c, sizeof c);
    for (int time = 0, first = 0; time < TIMES; time++, first += KNOWN) {
        int left = N - first, rest = left - KNOWN;
        struct pool *pool = pool_new(2);
        struct certificate *t = certificate_open(at[time], &c[0][0], left, pool, &e);
        assert_non_null(t);
        double known[KNOWN * N];
        for (int i = 0; i < KNOWN * left; i++) known[i] = (&c[0][0])[i];
        struct reduced *r = at[time + 1] = reduced_peel(at[time], known, t->dual, t->lambda, KNOWN, &e);
        if (!r) fail_msg("%s", e.text);
        assert_int_equal(r->columns, rest);
        float image[N][PIXELS];
        reduced_coordinates(r, p.image[first + KNOWN], rest, &c[0][0]);
        reduced_images(r, &c[0][0], rest, image[0]);
        const struct arch_tensor *a = &r->net->arch->param[0], *b = &p.reduced->net->arch->param[0];
        double squares = 0;
        for (int i = 0; i < rest; i++) {
            const float *x = &c[0][0] + i * rest;
            for (int k = 0; k < PIXELS; k++) assert_true(fabsf(image[i][k] - p.image[first + KNOWN + i][k]) < 5e-3f);
            for (int j = 0; j < NEURONS; j++) {
                double here = 0, there = 0;
                for (int k = 0; k < rest; k++) here += r->net->theta[a->offset + j * rest + k] * x[k];
                for (int k = 0; k < N; k++) there += p.reduced->net->theta[b->offset + j * N + k] * p.c[first + KNOWN + i][k];
                assert_true(fabs(here - there) < .2);  // of 20 in the root mean square
            }
        }
        for (int j = 0; j < NEURONS; j++)
            for (int k = 0; k < rest; k++) {
                double sum = 0, target = r->net->theta[a->offset + j * rest + k] - r->explained[a->offset + j * rest + k];
                for (int i = 0; i < rest; i++)
                    sum += p.s[first + KNOWN + i][j] * p.u[first + KNOWN + i][j] * (&c[0][0])[i * rest + k];
                squares += target * target;
                assert_true(fabs(sum - target) < .1);
            }
        // The second layer's part: lambda_i (x) relu(B c_i), summed over all that are known.
        const struct arch_tensor *second = &r->net->arch->param[1];
        double wrong = 0, most = 0;
        for (int o = 0; o < CLASSES; o++)
            for (int j = 0; j < NEURONS; j++) {
                double sum = 0, target = r->net->theta[second->offset + o * NEURONS + j], part = r->explained[second->offset + o * NEURONS + j];
                for (int i = 0; i < first + KNOWN; i++) {
                    double sum_at = 0;
                    for (int k = 0; k < N; k++) sum_at += p.reduced->net->theta[b->offset + j * N + k] * p.c[i][k];
                    sum += p.lambda[i][o] * fmax(sum_at, 0);
                }
                wrong = fmax(wrong, fabs(sum - part));
                most = fmax(most, fabs(sum));
                squares += (target - part) * (target - part);
            }
        if (!(wrong < .01 * most)) fail_msg("the second layer's part is off by %g of %g", wrong, most);
        assert_true(fabs(squares / r->left - 1) < 1e-5);
        struct certificate *again = certificate_open(r, &c[0][0], rest, pool, &e);
        assert_non_null(again);
        for (int i = 0; i < rest; i++)
            if (!(cosine(&p, again, i, first + KNOWN + i) > .999)) fail_msg("image %d: the row's cosine is %.5f", i, cosine(&p, again, i, first + KNOWN + i));
        certificate_free(again);
        certificate_free(t);
        pool_free(pool);
    }
    for (int i = 1; i <= TIMES; i++) reduced_free(at[i]);
    // Images that are one another cannot be told apart.
    double twice[2 * N], dual[2 * N] = {0}, lambda[2 * CLASSES] = {0};
    for (int k = 0; k < 2 * N; k++) twice[k] = p.c[0][k % N];
    dual[0] = dual[N] = 1;
    assert_null(reduced_peel(p.reduced, twice, dual, lambda, 2, &e));
    assert_int_equal(e.status, EXIT_INPUT);
    uproot(&p);
}

static void which_networks(void **state) {
    (void)state;
    static const struct {
        const char *line;
        bool fine;
    } of[] = {
        {"flatten | linear 20 | relu | linear 3", true},
        {"flatten | linear 20 nobias | relu | linear 3 nobias | init he", true},
        {"flatten | linear 20 | tanh | linear 3", false},
        {"flatten | linear 20 | leaky .2 | linear 3", false},
        {"flatten | linear 20 | relu | linear 10 | relu | linear 3", false},
        {"flatten | linear 20 | norm batch | relu | linear 3", false},
        {"flatten | linear 3", false},
        {"conv 2 3 | relu | flatten | linear 3", false},
    };
    struct error e = {0};
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        struct model *m = model_new(arch_parse(of[i].line, shape_of(3, 1, 6, 6), 3, &e), 0);
        if (!certificate_refused(m) != of[i].fine) fail_msg("%s", of[i].line);
        model_free(m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plant_is_stationary), cmocka_unit_test(images_are_certified), cmocka_unit_test(others_are_not),
        cmocka_unit_test(copies_are_one),      cmocka_unit_test(one_image_is_one_member), cmocka_unit_test(which_networks),
        cmocka_unit_test(known_images_are_peeled_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

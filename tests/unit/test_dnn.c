// test_dnn.c: convolutions, pooling and layouts against naive loops in double; rows that know no neighbours.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/pool.h"
#include "engine/dnn.h"

// ---- numbers, and memory with sentinels on both sides

static uint32_t seed = 1;
static float number(void) {
    seed = seed * 1664525u + 1013904223u;
    return (float)(seed >> 8) / (1 << 23) - 1;
}

enum { GUARD = 32 };
static const uint32_t SENTINEL = 0x7fc0dead;  // a NaN: reading it shows as well

static float *guarded(size_t count) {
    uint32_t *p = aligned_alloc(64, (count + 2 * GUARD + 15) / 16 * 64);
    for (size_t i = 0; i < count + 2 * GUARD; i++) p[i] = SENTINEL;
    return (float *)p + GUARD;
}

static float *guarded_numbers(size_t count) {
    float *p = guarded(count);
    for (size_t i = 0; i < count; i++) p[i] = number();
    return p;
}

static void guarded_free(float *at, size_t count) {
    const uint32_t *p = (const uint32_t *)(at - GUARD);
    for (size_t i = 0; i < GUARD; i++) {
        assert_int_equal(p[i], SENTINEL);
        assert_int_equal(p[GUARD + count + i], SENTINEL);
    }
    free(at - GUARD);
}

// ---- convolutions

static struct dnn_shape shape(int examples, int C, int H, int W, int O, int kh, int kw, int stride, int padding) {
    return (struct dnn_shape){
        .examples = examples, .channels = C, .height = H, .width = W, .out_channels = O,
        .out_height = (H + 2 * padding - kh) / stride + 1, .out_width = (W + 2 * padding - kw) / stride + 1,
        .kernel_height = kh, .kernel_width = kw, .stride = stride, .padding = padding,
    };
}

static size_t count_x(const struct dnn_shape *s) { return (size_t)s->channels * s->height * s->width; }
static size_t count_y(const struct dnn_shape *s) { return (size_t)s->out_channels * s->out_height * s->out_width; }
static size_t count_w(const struct dnn_shape *s) {
    return (size_t)s->out_channels * s->channels * s->kernel_height * s->kernel_width;
}

// All three kinds are one sum: T += x[p] w[t] dy[q] over the same triples. visit gets their places.
struct sums {
    double *value, *size;  // the sum, and the sum of absolute values
    int *terms;
};

static struct sums sums_new(size_t count) {
    return (struct sums){calloc(count, sizeof(double)), calloc(count, sizeof(double)), calloc(count, sizeof(int))};
}

static void sums_add(struct sums *s, size_t i, double v) {
    s->value[i] += v;
    s->size[i] += fabs(v);
    s->terms[i]++;
}

// A float sum of n terms is off by about sqrt(n) roundings of the sum of sizes (and never by more than n).
static void sums_check(struct sums *s, const float *found, size_t count) {
    for (size_t i = 0; i < count; i++) {
        double slack = (8 + sqrt(s->terms[i])) * 6e-8 * s->size[i];
        if (!(fabs(found[i] - s->value[i]) <= slack))
            fail_msg("element %zu of %zu: %.9g found, %.9g expected (slack %.2g)", i, count, found[i], s->value[i], slack);
    }
    free(s->value), free(s->size), free(s->terms);
}

static void naive(enum dnn_kind kind, const struct dnn_shape *s, const float *x, const float *w, const float *y,
                  struct sums *out) {
    for (int e = 0; e < s->examples; e++)
        for (int p = 0; p < s->out_height; p++)
            for (int q = 0; q < s->out_width; q++)
                for (int i = 0; i < s->kernel_height; i++)
                    for (int j = 0; j < s->kernel_width; j++) {
                        int r = p * s->stride + i - s->padding, c = q * s->stride + j - s->padding;
                        if (r < 0 || c < 0 || r >= s->height || c >= s->width) continue;
                        size_t at_x = (((size_t)e * s->height + r) * s->width + c) * s->channels;
                        size_t at_y = (((size_t)e * s->out_height + p) * s->out_width + q) * s->out_channels;
                        for (int o = 0; o < s->out_channels; o++)
                            for (int k = 0; k < s->channels; k++) {
                                size_t at_w = (((size_t)o * s->channels + k) * s->kernel_height + i) * s->kernel_width + j;
                                if (kind == DNN_FORWARD) sums_add(out, at_y + o, (double)x[at_x + k] * w[at_w]);
                                if (kind == DNN_DX) sums_add(out, at_x + k, (double)y[at_y + o] * w[at_w]);
                                if (kind == DNN_DW) sums_add(out, at_w, (double)x[at_x + k] * y[at_y + o]);
                            }
                    }
}

static void check_forward(const struct dnn_shape *s, bool bias, bool relu) {
    struct dnn_conv *c = dnn_conv_new(DNN_FORWARD, s, bias, relu);
    size_t nx = count_x(s) * s->examples, ny = count_y(s) * s->examples, nw = count_w(s);
    size_t np = dnn_conv_weight_floats(c), ns = dnn_conv_scratch(c) / sizeof(float) + 1;
    float *x = guarded_numbers(nx), *w = guarded_numbers(nw), *b = guarded_numbers(s->out_channels);
    float *packed = guarded(np), *y = guarded(ny), *scratch = guarded(ns);
    dnn_conv_pack(c, w, packed);
    dnn_conv_run(c, x, packed, bias ? b : NULL, y, scratch);
    struct sums want = sums_new(ny);
    naive(DNN_FORWARD, s, x, w, NULL, &want);
    for (size_t i = 0; i < ny && bias; i++) sums_add(&want, i, b[i % s->out_channels]);
    if (relu)  // clear of rounding, a negative is 0 exactly
        for (size_t i = 0; i < ny; i++) assert_true(y[i] == 0 || want.value[i] > -1e-4 * want.size[i]);
    for (size_t i = 0; i < ny; i++)
        if (relu && want.value[i] < 0) want.value[i] = 0;
    sums_check(&want, y, ny);
    guarded_free(x, nx), guarded_free(w, nw), guarded_free(b, s->out_channels);
    guarded_free(packed, np), guarded_free(y, ny), guarded_free(scratch, ns);
    dnn_conv_free(c);
}

static void check_dx(const struct dnn_shape *s) {
    struct dnn_conv *c = dnn_conv_new(DNN_DX, s, false, false);
    size_t nx = count_x(s) * s->examples, ny = count_y(s) * s->examples, nw = count_w(s);
    size_t np = dnn_conv_weight_floats(c), ns = dnn_conv_scratch(c) / sizeof(float) + 1;
    float *dy = guarded_numbers(ny), *w = guarded_numbers(nw);
    float *packed = guarded(np), *dx = guarded(nx), *scratch = guarded(ns);
    dnn_conv_pack(c, w, packed);
    dnn_conv_run(c, dx, packed, NULL, dy, scratch);
    struct sums want = sums_new(nx);
    naive(DNN_DX, s, NULL, w, dy, &want);
    sums_check(&want, dx, nx);
    guarded_free(dy, ny), guarded_free(w, nw);
    guarded_free(packed, np), guarded_free(dx, nx), guarded_free(scratch, ns);
    dnn_conv_free(c);
}

static void check_dw(const struct dnn_shape *s, bool bias) {
    struct dnn_conv *c = dnn_conv_new(DNN_DW, s, bias, false);
    size_t nx = count_x(s) * s->examples, ny = count_y(s) * s->examples, nw = count_w(s);
    size_t np = dnn_conv_weight_floats(c), ns = dnn_conv_scratch(c) / sizeof(float) + 1, nb = s->out_channels;
    float *x = guarded_numbers(nx), *dy = guarded_numbers(ny);
    float *packed = guarded(np), *dw = guarded(nw), *db = guarded(nb), *scratch = guarded(ns);
    dnn_conv_run(c, x, packed, bias ? db : NULL, dy, scratch);
    dnn_conv_unpack(c, packed, dw);
    struct sums want = sums_new(nw), want_bias = sums_new(nb);
    naive(DNN_DW, s, x, NULL, dy, &want);
    sums_check(&want, dw, nw);
    for (size_t i = 0; i < ny; i++) sums_add(&want_bias, i % nb, dy[i]);
    if (!bias) memset(db, 0, nb * sizeof *db), memset(want_bias.value, 0, nb * sizeof(double));
    sums_check(&want_bias, db, nb);
    guarded_free(x, nx), guarded_free(dy, ny);
    guarded_free(packed, np), guarded_free(dw, nw), guarded_free(db, nb), guarded_free(scratch, ns);
    dnn_conv_free(c);
}

static const int shapes[][9] = {
    // examples, C, H, W, O, kernel height and width, stride, padding
    {8, 1, 28, 28, 32, 3, 3, 1, 1}, {8, 32, 9, 9, 64, 3, 3, 1, 1},  {8, 64, 7, 7, 32, 3, 3, 1, 1},
    {1, 1, 28, 28, 32, 3, 3, 1, 1}, {1, 32, 9, 9, 64, 3, 3, 1, 1},  {1, 3, 32, 32, 16, 3, 3, 1, 1},
    {8, 3, 12, 17, 10, 5, 5, 1, 2}, {8, 2, 11, 13, 7, 3, 5, 1, 1},  {8, 4, 10, 10, 33, 4, 4, 2, 1},
    {8, 1, 28, 28, 16, 8, 8, 2, 3}, {8, 5, 9, 7, 20, 2, 3, 3, 0},   {8, 16, 8, 8, 16, 1, 1, 1, 0},
    {8, 16, 9, 9, 48, 1, 1, 2, 0},  {8, 17, 9, 9, 31, 3, 3, 2, 1},  {8, 32, 14, 14, 16, 4, 4, 2, 1},
    {8, 32, 7, 7, 64, 7, 7, 1, 0},  {8, 6, 16, 16, 16, 5, 5, 1, 0}, {8, 48, 6, 6, 96, 3, 3, 1, 2},
    {8, 1, 5, 5, 3, 5, 5, 1, 4},    {8, 3, 6, 6, 8, 2, 2, 1, 3},    {8, 20, 6, 6, 20, 2, 2, 1, 3},
    {8, 16, 8, 8, 1, 3, 3, 1, 1},   {8, 1, 4, 30, 1, 3, 3, 1, 1},   {8, 3, 32, 32, 64, 8, 8, 8, 0},
    {1, 64, 5, 5, 8, 6, 7, 1, 3}, {8, 2, 1, 40, 24, 1, 3, 1, 1}, {8, 3, 12, 17, 33, 5, 5, 1, 2},
    {8, 1, 5, 5, 40, 5, 5, 1, 4}, {8, 2, 9, 14, 16, 2, 4, 3, 3}, {1, 2, 30, 6, 70, 3, 3, 2, 1},
    {8, 100, 4, 4, 10, 3, 3, 1, 1},
};

static void test_convolutions(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const int *v = shapes[i];
        struct dnn_shape s = shape(v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8]);
        check_forward(&s, true, true);
        check_forward(&s, i % 2, !(i % 2));
        check_dx(&s);
        check_dw(&s, true);
        if (i % 3 == 0) check_dw(&s, false);
    }
}

static void test_random_shapes(void **state) {
    (void)state;
    for (int i = 0; i < 60; i++) {
        int v[9] = {i % 2 ? 8 : 1, 1 + fabsf(number()) * 40, 1 + fabsf(number()) * 12, 1 + fabsf(number()) * 12,
                    1 + fabsf(number()) * 40, 1 + fabsf(number()) * 8, 1 + fabsf(number()) * 8, 1 + fabsf(number()) * 3,
                    fabsf(number()) * 4};
        if (i % 3 == 0) v[1] = 1 + i / 3 % 3, v[4] += 16;  // our own loops
        if (v[2] + 2 * v[8] < v[5] || v[3] + 2 * v[8] < v[6]) continue;
        struct dnn_shape s = shape(v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8]);
        check_forward(&s, true, i % 2);
        check_dx(&s);
        check_dw(&s, true);
    }
}

// An example at every place of the shard, among neighbours that are huge, infinite or not a number.
static void check_rows(enum dnn_kind kind, const struct dnn_shape *s) {
    struct dnn_conv *c = dnn_conv_new(kind, s, kind == DNN_FORWARD, false);
    size_t from_row = kind == DNN_FORWARD ? count_x(s) : count_y(s), to_row = kind == DNN_FORWARD ? count_y(s) : count_x(s);
    float *w = guarded_numbers(count_w(s)), *b = guarded_numbers(s->out_channels), *packed = guarded(dnn_conv_weight_floats(c));
    float *row = guarded_numbers(from_row), *first = guarded(to_row);
    float *from = guarded(from_row * s->examples), *to = guarded(to_row * s->examples);
    size_t ns = dnn_conv_scratch(c) / sizeof(float) + 1;
    float *scratch = guarded(ns);
    const float odd[] = {0, 1e30f, INFINITY, NAN};
    dnn_conv_pack(c, w, packed);
    for (int place = 0; place < s->examples; place++)
        for (int o = 0; o < 4; o++) {
            for (size_t i = 0; i < from_row * s->examples; i++) from[i] = o ? odd[o] : number();
            memcpy(from + place * from_row, row, from_row * sizeof *row);
            dnn_conv_run(c, kind == DNN_FORWARD ? from : to, packed, kind == DNN_FORWARD ? b : NULL,
                         kind == DNN_FORWARD ? to : from, scratch);
            if (!place && !o) memcpy(first, to, to_row * sizeof *to);
            assert_memory_equal(first, to + place * to_row, to_row * sizeof *to);
        }
    guarded_free(w, count_w(s)), guarded_free(b, s->out_channels), guarded_free(packed, dnn_conv_weight_floats(c));
    guarded_free(row, from_row), guarded_free(first, to_row), guarded_free(scratch, ns);
    guarded_free(from, from_row * s->examples), guarded_free(to, to_row * s->examples);
    dnn_conv_free(c);
}

static void test_rows_know_no_neighbours(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const int *v = shapes[i];
        struct dnn_shape s = shape(8, v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8]);
        check_rows(DNN_FORWARD, &s);
        check_rows(DNN_DX, &s);
    }
}

// A network that has diverged must not look healthy: ReLU leaves NaN what it is.
static void test_relu_keeps_nan(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const int *v = shapes[i];
        struct dnn_shape s = shape(v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8]);
        struct dnn_conv *c = dnn_conv_new(DNN_FORWARD, &s, true, true);
        size_t nx = count_x(&s) * s.examples, ny = count_y(&s) * s.examples, np = dnn_conv_weight_floats(c);
        size_t ns = dnn_conv_scratch(c) / sizeof(float) + 1;
        float *x = guarded_numbers(nx), *w = guarded_numbers(count_w(&s)), *b = guarded_numbers(s.out_channels);
        float *packed = guarded(np), *y = guarded(ny), *scratch = guarded(ns);
        b[s.out_channels / 2] = NAN;
        dnn_conv_pack(c, w, packed);
        dnn_conv_run(c, x, packed, b, y, scratch);
        for (size_t k = 0; k < ny; k++) assert_int_equal(isnan(y[k]) != 0, k % s.out_channels == (size_t)s.out_channels / 2);
        guarded_free(x, nx), guarded_free(w, count_w(&s)), guarded_free(b, s.out_channels);
        guarded_free(packed, np), guarded_free(y, ny), guarded_free(scratch, ns);
        dnn_conv_free(c);
    }
}

// ---- one primitive, many workers

struct crowd {
    struct dnn_conv *conv;
    enum dnn_kind kind;
    size_t nx, ny, nw, jobs;
    float **x, **y, **w, **b;
};

static void crowd_job(void *data, long i, int worker) {
    (void)worker;
    struct crowd *g = data;
    void *scratch = aligned_alloc(64, dnn_conv_scratch(g->conv) / 64 * 64 + 64);
    dnn_conv_run(g->conv, g->x[i], g->w[i], g->kind == DNN_DX ? NULL : g->b[i], g->y[i], scratch);
    free(scratch);
}

static void test_workers_share_a_primitive(void **state) {
    (void)state;
    enum { JOBS = 12 };
    struct pool *pool = pool_new(3);
    struct dnn_shape s = shape(8, 16, 10, 10, 32, 3, 3, 1, 1), few = shape(8, 1, 12, 12, 20, 3, 3, 1, 1);
    for (int kind = 0; kind < 6; kind++) {
        const struct dnn_shape *t = kind < 3 ? &s : &few;
        struct dnn_conv *c = dnn_conv_new(kind % 3, t, kind % 3 != DNN_DX, false);
        float *x[2][JOBS], *y[2][JOBS], *w[2][JOBS], *b[2][JOBS];
        size_t nx = count_x(t) * t->examples, ny = count_y(t) * t->examples, nw = dnn_conv_weight_floats(c);
        for (int i = 0; i < JOBS; i++)
            for (int r = 0; r < 2; r++) {
                seed = 99 + i;  // the same for both runs
                x[r][i] = guarded_numbers(nx), y[r][i] = guarded_numbers(ny);
                w[r][i] = guarded_numbers(nw), b[r][i] = guarded_numbers(t->out_channels);
            }
        struct crowd alone = {c, kind % 3, nx, ny, nw, JOBS, x[0], y[0], w[0], b[0]};
        struct crowd crowd = {c, kind % 3, nx, ny, nw, JOBS, x[1], y[1], w[1], b[1]};
        for (int i = 0; i < JOBS; i++) crowd_job(&alone, i, 0);
        pool_run(pool, JOBS, crowd_job, &crowd);
        for (int i = 0; i < JOBS; i++) {
            assert_memory_equal(x[0][i], x[1][i], nx * sizeof(float));
            assert_memory_equal(y[0][i], y[1][i], ny * sizeof(float));
            assert_memory_equal(w[0][i], w[1][i], nw * sizeof(float));
            assert_memory_equal(b[0][i], b[1][i], t->out_channels * sizeof(float));
            for (int r = 0; r < 2; r++) {
                guarded_free(x[r][i], nx), guarded_free(y[r][i], ny);
                guarded_free(w[r][i], nw), guarded_free(b[r][i], t->out_channels);
            }
        }
        dnn_conv_free(c);
    }
    pool_free(pool);
}

// Weights of 1e-42 count as nothing on a thread that flushes denormals: exactly zero comes out.
static void denormal_job(void *data, long i, int worker) {
    (void)worker;
    const struct dnn_shape *s = data;
    enum dnn_kind kind = i % 3;
    struct dnn_conv *c = dnn_conv_new(kind, s, false, false);
    size_t nx = count_x(s) * s->examples, ny = count_y(s) * s->examples, nw = count_w(s), np = dnn_conv_weight_floats(c);
    float *x = guarded_numbers(nx), *y = guarded_numbers(ny), *w = guarded(nw), *packed = guarded(np);
    void *scratch = aligned_alloc(64, dnn_conv_scratch(c) / 64 * 64 + 64);
    for (size_t k = 0; k < nw; k++) w[k] = 1e-42f;
    if (kind == DNN_DW)
        for (size_t k = 0; k < nx; k++) x[k] = 1e-42f;
    else
        dnn_conv_pack(c, w, packed);
    dnn_conv_run(c, x, packed, NULL, y, scratch);
    if (kind == DNN_DW) dnn_conv_unpack(c, packed, w);
    const float *result = kind == DNN_FORWARD ? y : kind == DNN_DX ? x : w;
    const size_t count = kind == DNN_FORWARD ? ny : kind == DNN_DX ? nx : nw;
    for (size_t k = 0; k < count; k++) assert_true(result[k] == 0 && fpclassify(result[k]) == FP_ZERO);
    guarded_free(x, nx), guarded_free(y, ny), guarded_free(w, nw), guarded_free(packed, np);
    free(scratch);
    dnn_conv_free(c);
}

static void test_denormals_are_zero(void **state) {
    (void)state;
    struct pool *pool = pool_new(1);  // its caller flushes
    struct dnn_shape s = shape(8, 16, 6, 6, 16, 3, 3, 1, 1), few = shape(8, 1, 12, 12, 20, 3, 3, 1, 1);
    pool_run(pool, 3, denormal_job, &s);
    pool_run(pool, 3, denormal_job, &few);
    pool_free(pool);
}

// ---- pooling and layouts

static void check_pool_shape(int n, int H, int W, int C, int k) {
    const int h = H / k, w = W / k;
    const size_t large = (size_t)n * H * W * C, small = (size_t)n * h * w * C;
    float *x = guarded_numbers(large), *y = guarded(small), *v = guarded_numbers(small), *dx = guarded(large);
    unsigned char *index = malloc(small + 64), *again = malloc(small + 64);
    memset(index, 0xee, small + 64), memset(again, 0xee, small + 64);
    // Many ties, and here and there a NaN, alone or with another behind it.
    for (size_t i = 0; i < large; i++) {
        x[i] = roundf(x[i] * 3);
        if (number() > .9f) x[i] = NAN;
    }
    dnn_pool_argmax(x, n, H, W, C, k, y, index);
    dnn_pool_argmax(x, n, H, W, C, k, NULL, again);
    assert_memory_equal(index, again, small + 64);
    for (size_t i = 0; i < 64; i++) assert_int_equal(index[small + i], 0xee);
    memset(again, 0, small);

    char *covered = calloc(large, 1);
    dnn_pool_scatter(v, index, n, H, W, C, k, dx);
    for (int e = 0; e < n; e++)
        for (int r = 0; r < h; r++)
            for (int q = 0; q < w; q++)
                for (int c = 0; c < C; c++) {
                    size_t out = (((size_t)e * h + r) * w + q) * C + c;
                    int best = 0;
                    float top = 0;
                    for (int t = 0; t < k * k; t++) {
                        float a = x[(((size_t)e * H + r * k + t / k) * W + q * k + t % k) * C + c];
                        if (t == 0 || (!isnan(top) && (isnan(a) || a > top))) best = t, top = a;
                    }
                    assert_int_equal(index[out], best);
                    if (isnan(top)) assert_true(isnan(y[out]));
                    else assert_true(y[out] == top);
                    for (int t = 0; t < k * k; t++) {
                        size_t at = (((size_t)e * H + r * k + t / k) * W + q * k + t % k) * C + c;
                        covered[at] = 1;
                        assert_true(dx[at] == (t == best ? v[out] : 0));
                    }
                }
    for (size_t i = 0; i < large; i++)
        if (!covered[i]) assert_true(dx[i] == 0);

    // The values alone are the same, and gathering by the index gives them again, bit for bit.
    float *other = guarded(small);
    dnn_pool_argmax(x, n, H, W, C, k, other, NULL);
    assert_memory_equal(y, other, small * sizeof *y);
    dnn_pool_gather(x, index, n, H, W, C, k, other);
    assert_memory_equal(y, other, small * sizeof *y);
    free(covered), free(index), free(again);
    guarded_free(x, large), guarded_free(y, small), guarded_free(v, small), guarded_free(dx, large), guarded_free(other, small);
}

static void test_pooling(void **state) {
    (void)state;
    const int cases[][5] = {{8, 28, 28, 64, 2}, {3, 14, 14, 128, 2}, {2, 5, 7, 3, 2}, {2, 9, 10, 17, 3},
                            {1, 16, 16, 1, 16}, {2, 7, 7, 33, 7},    {2, 6, 6, 20, 1}, {1, 31, 11, 40, 4}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_pool_shape(cases[i][0], cases[i][1], cases[i][2], cases[i][3], cases[i][4]);
}

static void test_layouts(void **state) {
    (void)state;
    const int cases[][3] = {{8, 1, 784}, {2, 3, 1024}, {3, 64, 196}, {2, 17, 33}, {1, 8, 8}, {2, 7, 5}, {1, 128, 1}, {2, 16, 9}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int n = cases[i][0], C = cases[i][1], P = cases[i][2];
        const size_t count = (size_t)n * C * P;
        float *x = guarded_numbers(count), *y = guarded(count), *back = guarded(count);
        dnn_to_channels_last(x, n, C, P, y);
        for (int e = 0; e < n; e++)
            for (int c = 0; c < C; c++)
                for (int p = 0; p < P; p++)
                    assert_true(x[((size_t)e * C + c) * P + p] == y[((size_t)e * P + p) * C + c]);
        dnn_to_channels_first(y, n, C, P, back);
        assert_memory_equal(x, back, count * sizeof *x);
        guarded_free(x, count), guarded_free(y, count), guarded_free(back, count);
    }
}

// ---- the same under lesser instruction sets: both are read once a process, so in a process of its own

static void test_lesser_machines(void **state) {
    (void)state;
    static const char *const isa[][2] = {{"AVX2", "avx2"}, {"SSE41", "baseline"}};
    for (int i = 0; i < 2; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (!child) {
            setenv("ONEDNN_MAX_CPU_ISA", isa[i][0], 1);
            setenv("ASSAY_ISA", isa[i][1], 1);
            execl("/proc/self/exe", "test_dnn", "--lesser", (char *)NULL);
            _exit(127);
        }
        int status = -1;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

int main(int argc, char **argv) {
    // The library decides at creation how many threads a primitive takes: workers, and this thread, take one.
    pool_free(pool_new(1));
    const struct CMUnitTest here[] = {
        cmocka_unit_test(test_convolutions),
        cmocka_unit_test(test_random_shapes),
        cmocka_unit_test(test_rows_know_no_neighbours),
        cmocka_unit_test(test_relu_keeps_nan),
        cmocka_unit_test(test_workers_share_a_primitive),
        cmocka_unit_test(test_denormals_are_zero),
        cmocka_unit_test(test_pooling),
        cmocka_unit_test(test_layouts),
    };
    const struct CMUnitTest elsewhere[] = {cmocka_unit_test(test_lesser_machines)};
    int failed = cmocka_run_group_tests_name("dnn", here, NULL, NULL);
    if (argc > 1 && !strcmp(argv[1], "--lesser")) return failed;
    return failed + cmocka_run_group_tests_name("dnn elsewhere", elsewhere, NULL, NULL);
}

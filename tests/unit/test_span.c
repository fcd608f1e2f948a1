// The span of a first layer made of known images: its rank, its slice, distances and leverages against plain linear algebra.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "audit/span.h"
#include "audit/svd.h"
#include "base/msg.h"

enum { IMAGES = 60, SIDE = 6, SIZE = SIDE * SIDE, MEMBERS = 12, WIDTH = 50, CLASSES = 3 };
static uint8_t pixel[IMAGES * SIZE];
static int64_t digit[IMAGES];

// Pixels at random; the first two are the same in every image.
static void draw_images(void) {
    for (int i = 0; i < IMAGES; i++) {
        float draw[SIZE];
        rng_uniform(rng_stream(3, "test/pixels"), (uint32_t)i, 0, 0, draw, SIZE);
        digit[i] = i % CLASSES;
        for (int j = 0; j < SIZE; j++) pixel[i * SIZE + j] = j < 2 ? 0 : (uint8_t)(256 * draw[j]);
    }
}

static struct dataset *data_new(void) {
    struct error e = {0};
    struct blob *b = blob_new("dataset");
    blob_add(b, "x", U8, 4, (int64_t[]){IMAGES, 1, SIDE, SIDE}, pixel);
    blob_add(b, "y", I64, 1, (int64_t[]){IMAGES}, digit);
    struct dataset *d = dataset_of(b, &e);
    if (!d) fail_msg("%s", e.text);
    return d;
}

static struct model *model_of(const char *line) {
    struct error e = {0};
    struct arch *a = arch_parse(line, shape_of(3, 1, SIDE, SIDE), CLASSES, &e);
    if (!a) fail_msg("%s", e.text);
    struct model *m = model_new(a, 5);
    m->mean_count = SIZE;  // a mean image that is 0 where all images are, and a deviation
    m->mean = memory_zero(SIZE * sizeof *m->mean);
    for (int j = 2; j < SIZE; j++) m->mean[j] = .5f + .01f * (float)j;
    m->std = .5f;
    return m;
}

static void augmented(const struct model *m, int i, double out[SIZE + 1]) {
    for (int j = 0; j < SIZE; j++) out[j] = (pixel[i * SIZE + j] / 255. - m->mean[j]) / m->std;
    out[SIZE] = 1;
}

// [W | b] = sum_i d_i [x_i, 1] over the first MEMBERS images, plus noise where a pixel ever changes.
static void fill(struct model *m, float noise) {
    const struct arch_tensor *bias, *weight = arch_first_linear(m->arch, &bias);
    float d[WIDTH * MEMBERS], extra[WIDTH * (SIZE + 1)];
    rng_normal(rng_stream(3, "test/d"), 0, 0, 0, d, WIDTH * MEMBERS);
    rng_normal(rng_stream(3, "test/noise"), 0, 0, 0, extra, WIDTH * (SIZE + 1));
    for (int i = 0; i < WIDTH; i++)
        for (int j = 0; j <= SIZE; j++) {
            double sum = j > 1 ? (double)noise * extra[i * (SIZE + 1) + j] : 0, x[SIZE + 1];
            for (int k = 0; k < MEMBERS; k++) {
                augmented(m, k, x);
                sum += d[i * MEMBERS + k] * x[j];
            }
            if (j < SIZE) m->theta[weight->offset + i * SIZE + j] = (float)sum;
            else if (bias) m->theta[bias->offset + i] = (float)sum;
        }
}

static const char *const lines[] = {"flatten | linear 50 | relu | linear 3", "flatten | linear 50 nobias | tanh | linear 3"};

static struct span *open_span(const struct model *m) {
    struct error e = {0};
    struct span *s = span_open(m, &e);
    if (!s) fail_msg("%s", e.text);
    return s;
}

// The columns of pixels that never change are empty; a second gap is where they begin, and is not taken.
static void test_rank(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct model *m = model_of(lines[i]);
        fill(m, 0);
        struct span *s = open_span(m);
        assert_int_equal(s->rank, MEMBERS);
        assert_true(s->gap > 1e4);  // float32
        span_free(s);
        fill(m, .05f);
        s = open_span(m);
        assert_int_equal(s->rank, MEMBERS);
        assert_true(s->gap > SPAN_GAP && s->gap < 1e3);
        span_free(s);
        fill(m, 30);  // what the images left is drowned
        s = open_span(m);
        assert_true(s->gap < SPAN_GAP);
        span_free(s);
        // Neurons that nothing reaches decay: the gap in front of them tells nothing of images.
        const struct arch_tensor *bias, *weight = arch_first_linear(m->arch, &bias);
        for (int64_t j = 0; j < 20; j++) {
            for (int64_t k = 0; k < SIZE; k++) m->theta[weight->offset + j * SIZE + k] *= .01f;
            if (bias) m->theta[bias->offset + j] *= .01f;
        }
        s = open_span(m);
        assert_true(s->rank < WIDTH - 20);
        span_free(s);
        model_free(m);
    }
}

// a = left diag(value) right, tall and wide, and what is no number is refused.
static void test_svd(void **state) {
    (void)state;
    enum { LONG = 9, SHORT = 5 };
    for (int wide = 0; wide < 2; wide++) {
        int rows = wide ? SHORT : LONG, columns = wide ? LONG : SHORT;
        struct error e = {0};
        float draw[LONG * SHORT];
        double a[LONG * SHORT], value[SHORT], left[LONG * SHORT], right[LONG * SHORT];
        rng_normal(rng_stream(4, "test/svd"), 0, 0, 0, draw, LONG * SHORT);
        for (int i = 0; i < LONG * SHORT; i++) a[i] = draw[i];
        assert_true(svd(rows, columns, a, value, left, right, "a", &e));
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < columns; j++) {
                double sum = 0;
                for (int k = 0; k < SHORT; k++) sum += left[i * SHORT + k] * value[k] * right[k * columns + j];
                assert_true(fabs(sum - draw[i * columns + j]) < 1e-13 * value[0]);
            }
        for (int i = 0; i < LONG * SHORT; i++) a[i] = NAN;
        assert_false(svd(rows, columns, a, value, left, right, "a", &e));
        assert_string_equal(e.text, "the singular values of a did not converge");
    }
}

static void test_decomposition(void **state) {
    (void)state;
    struct model *m = model_of(lines[0]);
    fill(m, .05f);
    struct span *s = open_span(m);
    int64_t c = s->columns;
    assert_int_equal(c, SIZE + 1);
    const float *w = m->theta + m->arch->param[0].offset, *b = m->theta + m->arch->param[1].offset;
    for (int64_t k = 0; k < s->values; k++) {  // |A v_k| = s_k, and the vectors are orthonormal
        double squares = 0;
        for (int i = 0; i < WIDTH; i++) {
            double dot = b[i] * s->axis[k * c + SIZE];
            for (int j = 0; j < SIZE; j++) dot += w[i * SIZE + j] * s->axis[k * c + j];
            squares += dot * dot;
        }
        assert_true(fabs(sqrt(squares) - s->value[k]) < 1e-10 * s->value[0]);
        assert_true(k == 0 || s->value[k] <= s->value[k - 1]);
        for (int64_t l = 0; l <= k; l++) {
            double dot = 0;
            for (int64_t j = 0; j < c; j++) dot += s->axis[k * c + j] * s->axis[l * c + j];
            assert_true(fabs(dot - (k == l)) < 1e-12);
        }
    }
    span_free(s);
    model_free(m);
}

static void test_slice(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct error e = {0};
        struct model *m = model_of(lines[i]);
        struct dataset *d = data_new();
        fill(m, 0);
        struct span *s = open_span(m);
        struct span_slice slice;
        assert_true(span_slice_open(s, MEMBERS, &slice, &e));
        int64_t dims = slice.dims;
        assert_int_equal(dims, MEMBERS - s->bias);
        for (int64_t k = 0; k < dims; k++) {
            double along = 0;
            for (int j = 0; j < SIZE; j++) along += slice.q[j * dims + k] * slice.x0[j];
            assert_true(fabs(along) < 1e-10);
            for (int64_t l = 0; l <= k; l++) {
                double dot = 0;
                for (int j = 0; j < SIZE; j++) dot += slice.q[j * dims + k] * slice.q[j * dims + l];
                assert_true(fabs(dot - (k == l)) < 1e-10);
            }
        }
        // Every member is x0 + q e; others are not (12 of 37 dimensions).
        for (int n = 0; n < IMAGES; n++) {
            double x[SIZE + 1], left[SIZE], squares = 0, whole = 0;
            augmented(m, n, x);
            for (int j = 0; j < SIZE; j++) left[j] = x[j] - slice.x0[j];
            for (int64_t k = 0; k < dims; k++) {
                double dot = 0;
                for (int j = 0; j < SIZE; j++) dot += slice.q[j * dims + k] * (x[j] - slice.x0[j]);
                for (int j = 0; j < SIZE; j++) left[j] -= dot * slice.q[j * dims + k];
            }
            for (int j = 0; j < SIZE; j++) squares += left[j] * left[j], whole += x[j] * x[j];
            if (n < MEMBERS) assert_true(squares < 1e-9 * whole);  // float32 weights
            else assert_true(squares > .1 * whole);
        }
        span_slice_free(&slice);
        assert_false(span_slice_open(s, s->values + 1, &slice, &e));
        assert_int_equal(e.status, EXIT_INPUT);
        span_free(s);
        dataset_free(d);
        model_free(m);
    }
}

// x' M^-1 x by elimination.
static double quadratic_inverse(double M[SIZE + 1][SIZE + 1], const double x[SIZE + 1]) {
    enum { N = SIZE + 1 };
    double a[N][N + 1], sum = 0;
    for (int i = 0; i < N; i++) {
        memcpy(a[i], M[i], N * sizeof(double));
        a[i][N] = x[i];
    }
    for (int k = 0; k < N; k++)  // positive definite: no pivots
        for (int i = 0; i < N; i++) {
            double f = i == k ? 0 : a[i][k] / a[k][k];
            for (int j = k; j <= N && i != k; j++) a[i][j] -= f * a[k][j];
        }
    for (int k = 0; k < N; k++) sum += x[k] * a[k][N] / a[k][k];
    return sum;
}

static void test_measures(void **state) {
    (void)state;
    struct model *m = model_of(lines[0]);
    struct dataset *d = data_new();
    struct pool *one = pool_new(1), *three = pool_new(3);
    fill(m, .05f);
    struct span *s = open_span(m);
    double distance[IMAGES], leverage[IMAGES], again[2][IMAGES], x[SIZE + 1], M[SIZE + 1][SIZE + 1] = {{0}};
    span_measure(s, MEMBERS, d, NULL, IMAGES, distance, leverage, one);
    span_measure(s, MEMBERS, d, NULL, IMAGES, again[0], again[1], three);
    assert_memory_equal(distance, again[0], sizeof distance);
    assert_memory_equal(leverage, again[1], sizeof leverage);
    const float *w = m->theta + m->arch->param[0].offset, *b = m->theta + m->arch->param[1].offset;
    for (int i = 0; i <= SIZE; i++)
        for (int j = 0; j <= SIZE; j++)
            for (int k = 0; k < WIDTH; k++)
                M[i][j] += (double)(i < SIZE ? w[k * SIZE + i] : b[k]) * (double)(j < SIZE ? w[k * SIZE + j] : b[k]);
    double eps = .1 * s->value[SIZE / 2] * s->value[SIZE / 2];  // the median of 37
    for (int i = 0; i <= SIZE; i++) M[i][i] += eps;
    double most = 0, least = INFINITY, low = INFINITY, high = 0;
    for (int n = 0; n < IMAGES; n++) {
        double squares = 0, inside = 0;
        augmented(m, n, x);
        for (int j = 0; j <= SIZE; j++) squares += x[j] * x[j];
        for (int k = 0; k < MEMBERS; k++) {
            double dot = 0;
            for (int j = 0; j <= SIZE; j++) dot += x[j] * s->axis[k * (SIZE + 1) + j];
            inside += dot * dot;
        }
        assert_true(fabs(distance[n] - sqrt(squares - inside)) < 1e-6);  // pixels are float32 there
        assert_true(fabs(leverage[n] - quadratic_inverse(M, x) / squares) < 1e-5 * leverage[n]);
        if (n < MEMBERS) most = fmax(most, distance[n]), high = fmax(high, leverage[n]);
        else least = fmin(least, distance[n]), low = fmin(low, leverage[n]);
    }
    assert_true(most < least);  // every member is nearer than every other image
    assert_true(high < low);
    // A part of the set, in another order.
    const int64_t index[] = {7, 50};
    span_measure(s, MEMBERS, d, index, 2, again[0], NULL, three);
    assert_true(again[0][0] == distance[7] && again[0][1] == distance[50]);
    span_free(s);
    pool_free(one);
    pool_free(three);
    dataset_free(d);
    model_free(m);
}

static void test_refusals(void **state) {
    (void)state;
    static const char *const without[] = {"conv 4 3 | relu | flatten | linear 3",
                                          "patch 3 8 | cls | pos | encoder 2 8 | head | linear 3", "flatten | relu | linear 3",
                                          "flatten | dropout .1 | linear 3"};
    for (size_t i = 0; i < sizeof without / sizeof *without; i++) {
        struct error e = {0};
        struct model *m = model_of(without[i]);
        assert_non_null(span_refused(m));
        assert_null(span_open(m, &e));
        assert_int_equal(e.status, EXIT_INPUT);
        model_free(m);
    }
    struct error e = {0};
    struct model *m = model_of(lines[0]);
    assert_null(span_refused(m));
    m->theta[m->arch->param[1].offset + 3] = NAN;
    assert_null(span_open(m, &e));
    assert_non_null(strstr(e.text, "1.bias"));
    model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rank),  cmocka_unit_test(test_svd),      cmocka_unit_test(test_decomposition),
        cmocka_unit_test(test_slice), cmocka_unit_test(test_measures), cmocka_unit_test(test_refusals),
    };
    msg_verbosity(-1);
    draw_images();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

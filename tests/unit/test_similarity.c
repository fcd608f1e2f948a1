// Similarity of images: scikit-image's answers, identities, and what windows fit.
//
// The stored values are those of scikit-image 0.19.3 (metrics.structural_similarity with data_range 1 and channel_axis 0;
// --gaussian: gaussian_weights, sigma 1.5, use_sample_covariance False; peak_signal_noise_ratio, mean_squared_error), and NCC
// of numpy 1.24, all on doubles, for images made as below.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/pairs.h"
#include "base/arena.h"
#include "io/record.h"

enum { MOST = 3 * 32 * 32 };

// By integers alone, so that another language makes the same ones.
static void image(int k, int size, float *out) {
    for (int64_t i = 0; i < size; i++) out[i] = (float)((i * i * (2 * k + 3) + i * (5 * k + 1) + 7 * k) % 251) / 250.f;
}

static void ramp(int c, int h, int w, float *out) {
    for (int i = 0; i < c * h * w; i++) out[i] = (float)(i % w + 2 * (i / w % h)) / (float)(w + 2 * h);
}

static void mix(float *a, const float *b, float t, int size) {
    for (int i = 0; i < size; i++) a[i] = (1 - t) * a[i] + t * b[i];
}

enum { OTHER, NEAR, RAMP };
static const struct answer {
    int c, h, w, kind;
    double ssim, gaussian, psnr, mse, ncc;
} answers[] = {
    {1, 28, 28, OTHER, 0.0394545520, 0.0545213523, 7.7723703962, 0.167017877540, 0.0652640749},
    {1, 28, 28, NEAR, 0.9251097726, 0.9266717131, 19.8135702826, 0.010438617202, 0.9491010708},
    {1, 28, 28, RAMP, 0.8049915386, 0.7316297614, 26.6457581878, 0.002164831912, 0.9809832530},
    {3, 32, 32, OTHER, 0.0612719412, 0.0726355962, 7.7271860806, 0.168764614589, 0.0556966588},
    {3, 32, 32, NEAR, 0.9264304984, 0.9265796224, 19.7683859688, 0.010547788262, 0.9488703219},
    {3, 32, 32, RAMP, 0.7690480796, 0.6934626280, 26.7830032082, 0.002097488939, 0.9811848853},
    {1, 12, 17, OTHER, -0.0104479179, -0.1025890751, 7.5627074633, 0.175278744461, 0.0189225165},
    {1, 12, 17, NEAR, 0.9187895674, 0.9113347012, 19.6039073287, 0.010954921431, 0.9439955170},
    {1, 12, 17, RAMP, 0.9360378729, 0.8817596723, 27.5823570870, 0.001744874884, 0.9816849162},
    {1, 7, 7, OTHER, 0.3834763089, NAN, 9.2726196691, 0.118232815893, 0.3908894955},
    {1, 7, 7, NEAR, 0.9512934259, NAN, 21.3138197816, 0.007389550507, 0.9581554803},
    {1, 7, 7, RAMP, 0.9790568155, NAN, 27.5692567995, 0.001750146162, 0.9834686462},
};

static void make(const struct answer *q, float *a, float *b) {
    int size = q->c * q->h * q->w;
    float other[MOST];
    image(1, size, a);
    image(2, size, b);
    if (q->kind == OTHER) return;
    memcpy(other, q->kind == NEAR ? b : a, (size_t)size * sizeof *other);
    if (q->kind == RAMP) ramp(q->c, q->h, q->w, a);
    memcpy(b, a, (size_t)size * sizeof *b);
    mix(b, other, q->kind == NEAR ? .25f : .125f, size);
}

static void test_scikit_image(void **state) {
    (void)state;
    static float a[MOST], b[MOST];
    double most = 0;
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        const struct answer *q = &answers[i];
        make(q, a, b);
        struct similarity s = similarity_of(a, b, q->c, q->h, q->w, SIMILARITY_UNIFORM);
        most = fmax(most, fabs(s.ssim - q->ssim));
        // Both sides are in double on the same floats; the answers have ten decimals.
        assert_true(fabs(s.mse - q->mse) < 1e-10);
        assert_true(fabs(s.psnr - q->psnr) < 1e-8);
        assert_true(fabs(s.ncc - q->ncc) < 1e-9);
        if (isnan(q->gaussian)) continue;
        s = similarity_of(a, b, q->c, q->h, q->w, SIMILARITY_GAUSSIAN);
        most = fmax(most, fabs(s.ssim - q->gaussian));
    }
    print_message("# SSIM differs from scikit-image by at most %.1e\n", most);
    assert_true(most < 1e-9);
}

static void test_identities(void **state) {
    (void)state;
    static float a[28 * 28], b[28 * 28];
    for (enum similarity_window w = SIMILARITY_UNIFORM; w <= SIMILARITY_GAUSSIAN; w++) {
        image(1, 28 * 28, a);
        image(2, 28 * 28, b);
        struct similarity s = similarity_of(a, a, 1, 28, 28, w), one = similarity_of(a, b, 1, 28, 28, w), other = similarity_of(b, a, 1, 28, 28, w);
        assert_true(fabs(s.ssim - 1) < 1e-12 && s.mse == 0 && s.psnr == INFINITY && fabs(s.ncc - 1) < 1e-12);
        assert_true(fabs(one.ssim - other.ssim) < 1e-15 && one.mse == other.mse && fabs(one.ncc - other.ncc) < 1e-15);
        // Correlation does not see brightness and contrast, SSIM does.
        for (int i = 0; i < 28 * 28; i++) b[i] = .25f * a[i] + .125f;
        s = similarity_of(a, b, 1, 28, 28, w);
        assert_true(fabs(s.ncc - 1) < 1e-6 && s.ssim < .6);
        for (int i = 0; i < 28 * 28; i++) b[i] = .3f;
        assert_true(similarity_of(a, b, 1, 28, 28, w).ncc == 0);
    }
}

static void test_windows(void **state) {
    (void)state;
    struct error e = {0};
    assert_true(similarity_fits(SIMILARITY_UNIFORM, 7, 7, &e) && similarity_fits(SIMILARITY_GAUSSIAN, 11, 40, &e));
    assert_false(similarity_fits(SIMILARITY_UNIFORM, 6, 28, &e));
    assert_int_equal(e.status, EXIT_INPUT);
    assert_non_null(strstr(e.text, "6 x 28"));
    e = (struct error){0};
    assert_false(similarity_fits(SIMILARITY_GAUSSIAN, 28, 10, &e));
    assert_non_null(strstr(e.text, "11 x 11"));
}

static void test_centred(void **state) {
    (void)state;
    static float a[784], b[784], flat[784];
    image(1, 784, a);
    image(2, 784, b);
    double wanted = similarity_of(a, b, 1, 28, 28, SIMILARITY_UNIFORM).ncc, dot = 0;
    similarity_centre(a, 784);
    similarity_centre(b, 784);
    for (int i = 0; i < 784; i++) dot += (double)a[i] * b[i];
    assert_true(fabs(dot - wanted) < 1e-6);  // single precision of 784 products of order 1 / 784
    for (int i = 0; i < 784; i++) flat[i] = .1f;
    similarity_centre(flat, 784);
    for (int i = 0; i < 784; i++) assert_true(flat[i] == 0);
    for (int i = 0; i < 784; i++) flat[i] = 0;
    flat[5] = 1 / 255.f;  // one step of one pixel is an image
    similarity_centre(flat, 784);
    assert_true(flat[5] > .9f);
}

static struct images *set(const char *name, const float *x, int64_t count) {
    struct error e = {0};
    struct blob *b = blob_new("");
    blob_add(b, "x", F32, 3, (int64_t[]){count, 28, 28}, x);
    struct images *s = images_of(b, &e);
    if (!s) fail_msg("%s", e.text);
    s->name = name;
    return s;
}

static void test_pairs(void **state) {
    (void)state;
    enum { N = 40 };
    struct error e = {0};
    float *x = memory_take(N * 784 * sizeof *x), *y = memory_take(N * 784 * sizeof *y), p[784];
    for (int i = 0; i < N; i++) {
        image(i, 784, x + i * 784);
        image(i + 3, 784, y + i * 784);
    }
    memcpy(y + 7 * 784, x + 7 * 784, 784 * sizeof *y);
    x[3] = 1.5f;  // clamped, not rescaled
    y[4] = -.25f;
    struct images *a = set("a", x, N), *b = set("b", y, N), *less = set("less", y, N - 1);
    assert_int_equal(a->outside, 1);
    images_row(a, 0, p);
    assert_true(p[3] == 1 && p[5] == x[5]);
    images_row(b, 0, p);
    assert_true(p[4] == 0);
    struct pairs one, three;
    for (int t = 0; t < 2; t++) {
        struct pool *pool = pool_new(t ? 3 : 1);
        assert_true(pairs_of(a, b, SIMILARITY_UNIFORM, pool, t ? &three : &one, &e));
        assert_false(t == 0 && pairs_of(a, less, SIMILARITY_UNIFORM, pool, &three, &e));
        pool_free(pool);
    }
    assert_non_null(strstr(e.text, "less: 40 images expected, as in a, 39 found"));
    assert_memory_equal(one.ssim, three.ssim, N * sizeof *one.ssim);
    assert_true(one.ssim[9] == similarity_of(x + 9 * 784, y + 9 * 784, 1, 28, 28, SIMILARITY_UNIFORM).ssim);
    // Summaries: the equal pair's infinite PSNR is in no mean.
    struct blob *blob = blob_new("score");
    json_t *record = record_new();
    pairs_save(&one, 0, blob, record);
    double mean, sum = 0, low, high, identical;
    for (int i = 0; i < N; i++) sum += i == 7 ? 0 : one.psnr[i];
    assert_true(record_get_real(record, "metrics.psnr.mean", &mean) && fabs(mean - sum / (N - 1)) < 1e-9);
    assert_true(record_get_real(record, "metrics.psnr.mean_interval.0", &low) && record_get_real(record, "metrics.psnr.mean_interval.1", &high));
    assert_true(low < mean && mean < high);
    assert_true(record_get_real(record, "metrics.identical", &identical) && identical == 1);
    json_decref(record);
    blob_free(blob);
    pairs_free(&one);
    pairs_free(&three);
    images_free(a);
    images_free(b);
    images_free(less);
    free(x);
    free(y);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_scikit_image), cmocka_unit_test(test_identities), cmocka_unit_test(test_windows),
                                       cmocka_unit_test(test_centred), cmocka_unit_test(test_pairs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

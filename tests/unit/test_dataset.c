// Data sets as programs see them: what is accepted, what is refused and why, and which examples a word chooses.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../common/io/dataset.h"
#include "../../common/io/record.h"

enum { N = 4 };
static const uint8_t pixels[N * 6] = {0,  51, 255, 102, 3,  4,  5,  6,  7,  8,  9,  10,
                                      11, 12, 13,  14,  15, 16, 17, 18, 19, 20, 21, 22};
static const int64_t labels[N] = {2, 0, 1, 2};
static const int64_t x_dim[4] = {N, 1, 2, 3}, y_dim[1] = {N};

static struct blob *small_set(void) {
    struct blob *b = blob_new("dataset");
    blob_add(b, "x", U8, 4, x_dim, pixels);
    blob_add(b, "y", I64, 1, y_dim, labels);
    return b;
}

static void images_lie_in_the_unit_interval(void **state) {
    (void)state;
    struct error e = {0};
    struct dataset *d = dataset_of(small_set(), &e);
    assert_non_null(d);
    assert_int_equal(d->count, N);
    assert_int_equal(d->channels, 1);
    assert_int_equal(d->height, 2);
    assert_int_equal(d->width, 3);
    assert_int_equal(d->classes, 3);
    assert_null(d->index);
    assert_int_equal(dataset_image_size(d), 6);
    float image[6];
    dataset_image(d, 0, image);
    const float expected[6] = {0, 0.2f, 1, 0.4f, 3 / 255.0f, 4 / 255.0f};
    for (int i = 0; i < 6; i++) assert_true(image[i] == expected[i]);  // a correctly rounded quotient
    dataset_image(d, 3, image);
    assert_true(image[5] == 22 / 255.0f);
    dataset_free(d);
}

static void a_class_without_examples_counts(void **state) {
    (void)state;
    struct error e = {0};
    struct blob *b = small_set();
    json_t *record = record_new();
    record_int(record, "config.classes", 10);
    blob_set_record(b, record);
    json_decref(record);
    struct dataset *d = dataset_of(b, &e);
    assert_non_null(d);
    assert_int_equal(d->classes, 10);
    dataset_free(d);
}

static void floats_pass_as_they_are(void **state) {
    (void)state;
    static const float x[2] = {0.25f, 1};
    static const int64_t y[2] = {0, 1}, dim[4] = {2, 1, 1, 1};
    struct error e = {0};
    struct blob *b = blob_new("dataset");
    blob_add(b, "x", F32, 4, dim, x);
    blob_add(b, "y", I64, 1, dim, y);
    struct dataset *d = dataset_of(b, &e);
    assert_non_null(d);
    float value;
    dataset_image(d, 1, &value);
    assert_true(value == 1);
    dataset_free(d);
}

// One tensor replaced (data NULL: left out); the sentence must hold `word`.
static void refused(const char *name, enum dtype t, int rank, const int64_t *dim, const void *data, const char *word) {
    struct error e = {0};
    struct blob *b = blob_new("dataset");
    if (strcmp(name, "x") != 0) blob_add(b, "x", U8, 4, x_dim, pixels);
    if (strcmp(name, "y") != 0) blob_add(b, "y", I64, 1, y_dim, labels);
    if (data) blob_add(b, name, t, rank, dim, data);
    assert_null(dataset_of(b, &e));
    assert_int_equal(e.status, EXIT_INPUT);
    if (!strstr(e.text, word)) fail_msg("'%s' does not speak of '%s'", e.text, word);
}

static void what_is_no_data_set_is_refused(void **state) {
    (void)state;
    static const int64_t negative[N] = {0, -1, 0, 0}, huge[N] = {0, 0, INT64_MAX, 0}, three[1] = {3},
                         none[4] = {0, 1, 2, 3}, flat[4] = {N, 1, 0, 3};
    float real[N * 6] = {0};
    refused("x", U8, 0, NULL, NULL, "x");
    refused("y", I64, 0, NULL, NULL, "y");
    refused("x", I64, 1, y_dim, labels, "[N, C, H, W]");
    refused("x", U8, 1, y_dim, pixels, "[N, C, H, W]");
    refused("x", U8, 4, none, pixels, "no images");
    refused("x", U8, 4, flat, pixels, "size");
    refused("y", I64, 1, three, labels, "y");
    refused("y", U8, 1, y_dim, pixels, "y");
    refused("y", I64, 1, y_dim, negative, "-1");
    refused("y", I64, 1, y_dim, huge, "labels");
    refused("index", I64, 1, three, labels, "index");
    refused("index", I64, 1, y_dim, negative, "-1");
    real[7] = 1.5f;
    refused("x", F32, 4, x_dim, real, "1.5 found in image 1");
    real[7] = NAN;
    refused("x", F32, 4, x_dim, real, "nan");
}

// ---- choosing

static int64_t kept(const unsigned char *keep, int64_t count) {
    int64_t n = 0;
    for (int64_t i = 0; i < count; i++) {
        assert_true(keep[i] <= 1);
        n += keep[i];
    }
    return n;
}

static void the_first_and_all(void **state) {
    (void)state;
    struct error e = {0};
    unsigned char *keep = dataset_choose("all", 5, &e);
    assert_int_equal(kept(keep, 5), 5);
    free(keep);
    keep = dataset_choose("first:2", 5, &e);
    assert_memory_equal(keep, "\1\1\0\0\0", 5);
    free(keep);
}

static void halves_are_exact_and_complete(void **state) {
    (void)state;
    enum { COUNT = 1001 };
    struct error e = {0};
    unsigned char *a = dataset_choose("random-half:7", COUNT, &e), *again = dataset_choose("random-half:7", COUNT, &e);
    unsigned char *other = dataset_choose("random-half:7:other", COUNT, &e),
                  *b = dataset_choose("random-half:8", COUNT, &e);
    assert_int_equal(kept(a, COUNT), COUNT / 2);
    assert_memory_equal(a, again, COUNT);
    int64_t both = 0, early = 0;
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(a[i] + other[i], 1);
        both += a[i] && b[i];
        early += i < COUNT / 2 && a[i];
    }
    // Two independent halves share a quarter, and a half of the first half is kept: hypergeometric, sd below 8; five of
    // them.
    assert_in_range(both, 210, 290);
    assert_in_range(early, 210, 290);
    free(a);
    free(again);
    free(other);
    free(b);
}

static void word_refused(const char *word, enum exit_status status, const char *part) {
    struct error e = {0};
    assert_null(dataset_choose(word, 10, &e));
    assert_int_equal(e.status, status);
    if (!strstr(e.text, part)) fail_msg("'%s' does not speak of '%s'", e.text, part);
}

static void wrong_words_are_refused(void **state) {
    (void)state;
    word_refused("first:0", EXIT_USAGE, "[1, 10]");
    word_refused("first:11", EXIT_USAGE, "[1, 10]");
    word_refused("first:2x", EXIT_USAGE, "[1, 10]");
    word_refused("random-half:", EXIT_USAGE, "SEED");
    word_refused("random-half:-1", EXIT_USAGE, "SEED");
    word_refused("random-half:1:rest", EXIT_USAGE, "SEED");
    word_refused("random-half:11111111111111111111111111111111111", EXIT_USAGE, "SEED");
    word_refused("no/such/file", EXIT_USAGE, "no such file");
}

static void temporary(char path[64], const void *bytes, size_t count) {
    strcpy(path, "/tmp/assay-dataset-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, count), (ssize_t)count);
    close(fd);
}

static void a_mask_file_chooses(void **state) {
    (void)state;
    char path[64];
    struct error e = {0};
    temporary(path, "\0\1\1\0\0\0\0\0\0\1", 10);
    unsigned char *keep = dataset_choose(path, 10, &e);
    assert_non_null(keep);
    assert_memory_equal(keep, "\0\1\1\0\0\0\0\0\0\1", 10);
    free(keep);
    assert_null(dataset_choose(path, 11, &e));  // neither a mask of 11 nor a blob
    assert_int_equal(e.status, EXIT_INPUT);
    unlink(path);
    temporary(path, "\0\2\1\0\0\0\0\0\0\1", 10);
    word_refused(path, EXIT_INPUT, path);
    unlink(path);
}

static void a_blob_chooses_by_its_keep(void **state) {
    (void)state;
    static const unsigned char mask[10] = {1, 0, 0, 0, 0, 0, 0, 0, 0, 1}, wrong[10] = {3};
    static const int64_t ten[1] = {10}, nine[1] = {9};
    const struct {
        const char *name;
        enum dtype dtype;
        const int64_t *dim;
        const unsigned char *mask;
        bool good;
    } cases[] = {{"assay.keep", U8, ten, mask, true}, {"keep", BOOL, ten, mask, true}, {"keep", U8, nine, mask, false},
                 {"keep", U8, ten, wrong, false},     {"other", U8, ten, mask, false}, {"keep", I8, ten, mask, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[64];
        struct error e = {0};
        temporary(path, "", 0);
        struct blob *b = blob_new("model");
        blob_add(b, cases[i].name, cases[i].dtype, 1, cases[i].dim, cases[i].mask);
        assert_true(blob_write(b, path, &e));
        blob_free(b);
        unsigned char *keep = dataset_choose(path, 10, &e);
        assert_int_equal(keep != NULL, cases[i].good);
        if (keep) assert_memory_equal(keep, mask, 10);
        if (!keep) assert_int_equal(e.status, EXIT_INPUT);
        free(keep);
        unlink(path);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(images_lie_in_the_unit_interval),
        cmocka_unit_test(a_class_without_examples_counts),
        cmocka_unit_test(floats_pass_as_they_are),
        cmocka_unit_test(what_is_no_data_set_is_refused),
        cmocka_unit_test(the_first_and_all),
        cmocka_unit_test(halves_are_exact_and_complete),
        cmocka_unit_test(wrong_words_are_refused),
        cmocka_unit_test(a_mask_file_chooses),
        cmocka_unit_test(a_blob_chooses_by_its_keep),
    };
    return cmocka_run_group_tests_name("dataset", tests, NULL, NULL);
}

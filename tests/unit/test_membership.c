// The score of a membership test against its definitions, and who counts as a member.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit/membership.h"
#include "base/msg.h"
#include "io/part.h"
#include "io/record.h"

// ---- the score

// Pair by pair (DeLong et al. 1988, equations 4 to 7).
static double kernel(double member, double other) { return member > other ? 1 : member == other ? .5 : 0; }

static void by_definition(const double *score, const unsigned char *member, int n, double *auc, double *variance) {
    double sum[2] = {0}, squares[2] = {0}, count[2] = {0};
    for (int i = 0; i < n; i++) count[member[i]]++;
    for (int i = 0; i < n; i++) {
        double share = 0;
        for (int j = 0; j < n; j++)
            if (member[j] != member[i]) share += member[i] ? kernel(score[i], score[j]) : kernel(score[j], score[i]);
        share /= count[!member[i]];
        sum[member[i]] += share;
        squares[member[i]] += share * share;
    }
    *auc = sum[1] / count[1];
    *variance = 0;
    for (int k = 0; k < 2; k++) *variance += (squares[k] - sum[k] * sum[k] / count[k]) / (count[k] - 1) / count[k];
}

static void test_definition(void **state) {
    (void)state;
    enum { N = 157 };
    for (uint32_t trial = 0; trial < 20; trial++) {
        float draw[N];
        double score[N], auc, variance;
        unsigned char member[N];
        rng_normal(rng_stream(1, "test/score"), trial, 0, 0, draw, N);
        for (int i = 0; i < N; i++) {
            member[i] = i % 5 == 0;
            score[i] = draw[i] + .4 * member[i];
            if (trial % 2) score[i] = floor(3 * score[i]);  // many ties
        }
        by_definition(score, member, N, &auc, &variance);
        struct membership s = membership_of(score, member, N);
        assert_int_equal(s.members + s.others, N);
        assert_true(fabs(s.auc - auc) < 1e-12);
        double wide = 1.959963984540054 * sqrt(variance) / (auc * (1 - auc));
        assert_true(fabs(log(s.interval.low / (1 - s.interval.low)) - log(auc / (1 - auc)) + wide) < 1e-9);
        assert_true(fabs(log(s.interval.high / (1 - s.interval.high)) - log(auc / (1 - auc)) - wide) < 1e-9);
        // The curve is a way to the same area, by trapezia: a tie counts half.
        int64_t corners;
        double *at = membership_roc(score, member, N, &corners), area = 0;
        assert_true(at[0] == 0 && at[1] == 0 && at[2 * corners - 2] == 1 && at[2 * corners - 1] == 1);
        for (int64_t i = 1; i < corners; i++) area += (at[2 * i] - at[2 * i - 2]) * (at[2 * i + 1] + at[2 * i - 1]) / 2;
        assert_true(fabs(area - auc) < 1e-12);
        free(at);
    }
}

// 95 % intervals of a score that knows nothing hold 1/2 in 95 % of cases: 500 draws, five standard deviations either way.
static void test_coverage(void **state) {
    (void)state;
    enum { N = 120, DRAWS = 500 };
    int held = 0;
    for (uint32_t trial = 0; trial < DRAWS; trial++) {
        float draw[N];
        double score[N];
        unsigned char member[N];
        rng_normal(rng_stream(2, "test/score"), trial, 0, 0, draw, N);
        for (int i = 0; i < N; i++) score[i] = draw[i], member[i] = i < 40;
        struct membership s = membership_of(score, member, N);
        held += s.interval.low <= .5 && .5 <= s.interval.high;
    }
    assert_in_range(held, 475 - 25, 475 + 24);
}

static void test_rates(void **state) {
    (void)state;
    // 1000 others with scores 0 .. 999: 10 and 1 of them may pass, so a member needs over 989 and over 998.
    enum { N = 1004 };
    double score[N] = {990, 989, 999, 5000};
    unsigned char member[N] = {1, 1, 1, 1};
    for (int i = 4; i < N; i++) score[i] = i - 4;
    struct membership s = membership_of(score, member, N);
    assert_int_equal(s.at[0].allowed, 10);
    assert_int_equal(s.at[0].hits, 3);  // 989 ties with the eleventh best, which is not over it
    assert_int_equal(s.at[1].allowed, 1);
    assert_int_equal(s.at[1].hits, 2);
    // A score that is the same for all passes nobody, and its AUC is 1/2.
    double flat[N] = {0};
    s = membership_of(flat, member, N);
    assert_int_equal(s.at[0].hits + s.at[1].hits, 0);
    assert_true(s.auc == .5);
    json_t *record = record_new();
    double value;
    membership_save(&s, record, "metrics.span");
    assert_true(record_get_real(record, "metrics.span.tpr_at_fpr_1e-2", &value) && value == 0);
    assert_true(record_get_real(record, "metrics.span.false_positives_at_fpr_1e-3", &value) && value == 1);
    json_decref(record);
}

// Told apart without error: all 50 right bound the share from below by .025^(1/50), not by 1.
// Corners only: what goes on in the same direction is one step, and equal scores are a slope.
static void test_roc(void **state) {
    (void)state;
    static const double score[] = {9, 8, 7, 6, 5, 5, 5, 4, 3};
    static const unsigned char member[] = {1, 1, 0, 0, 1, 0, 0, 1, 0};
    static const double wanted[][2] = {{0, 0}, {0, .5}, {.4, .5}, {.8, .75}, {.8, 1}, {1, 1}};
    int64_t corners;
    double *at = membership_roc(score, member, 9, &corners);
    assert_int_equal(corners, 6);
    for (int i = 0; i < 12; i++) assert_true(fabs(at[i] - wanted[i / 2][i % 2]) < 1e-15);
    free(at);
}

static void test_perfect(void **state) {
    (void)state;
    double score[250];
    unsigned char member[250];
    for (int i = 0; i < 250; i++) member[i] = i < 50, score[i] = member[i] ? 2 + i : -i;
    struct membership s = membership_of(score, member, 250);
    assert_true(s.auc == 1 && s.interval.high == 1);
    assert_true(fabs(s.interval.low - .928878) < 1e-6);
    for (int i = 0; i < 250; i++) score[i] = -score[i];
    s = membership_of(score, member, 250);
    assert_true(s.auc == 0 && fabs(s.interval.high - .071122) < 1e-6);
}

// What shows no spread is not known for certain, nor what shows nearly none.
static void expect_width(const double *score, const unsigned char *member, int n, double auc, int k) {
    struct membership s = membership_of(score, member, n);
    assert_true(fabs(s.auc - auc) < 1e-12);
    assert_true(fabs(s.interval.low - auc * pow(.025, 1. / k)) < 1e-12);
    assert_true(fabs(s.interval.high - (1 - (1 - auc) * pow(.025, 1. / k))) < 1e-12);
}

static void test_sure(void **state) {
    (void)state;
    enum { N = 250 };
    double score[N] = {0};
    unsigned char member[N] = {0};
    memset(member, 1, 50);
    expect_width(score, member, N, .5, 50);  // all the same
    for (int k = 0; k < 2; k++) {            // one member, one other
        for (int i = 0; i < N; i++) member[i] = (i == 225) != k, score[i] = k ? -i : i;
        expect_width(score, member, N, 225 / 249., 1);
    }
    expect_width((double[]){1, 1}, (unsigned char[]){1, 0}, 2, .5, 1);
    expect_width((double[]){2, 1}, (unsigned char[]){1, 0}, 2, 1, 1);
    // One pair of 10 000 in the wrong order is no surer than none: the low end moves by as little.
    for (int i = 0; i < N; i++) member[i] = i < 50, score[i] = i < 50 ? 1000 + i : i;
    score[249] = 1000.5;
    struct membership s = membership_of(score, member, N);
    assert_true(fabs(s.auc - (1 - 1e-4)) < 1e-12 && fabs(s.interval.low - s.auc * .928878) < 1e-6);
    assert_true(s.interval.high > s.auc && s.interval.high < 1);
}

// Rates know that the others only estimate the threshold: 300 of them do not show where one in a thousand lies.
static void test_rate_intervals(void **state) {
    (void)state;
    enum { N = 5050 };
    static double score[N];
    static unsigned char member[N];
    for (int i = 0; i < N; i++) member[i] = i < 50, score[i] = i < 40 ? 2e6 : i < 50 ? -1 : i;
    struct membership s = membership_of(score, member, N);
    struct interval exact = stats_clopper_pearson(40, 50, .95);
    assert_true(s.at[0].hits == 40 && fabs(s.at[0].interval.low - exact.low) < 1e-6 &&
                fabs(s.at[0].interval.high - exact.high) < 1e-6);
    s = membership_of(score, member, 350);
    assert_true(s.at[1].hits == 40 && s.at[1].interval.low == 0);
    json_t *record = record_new();
    double value;
    membership_save(&s, record, "metrics.span");
    assert_true(record_get_real(record, "metrics.span.tpr_at_fpr_1e-3_interval.0", &value) && value == 0);
    json_decref(record);
}

// ---- the truth

enum { IMAGES = 20, SIZE = 16 };
static uint8_t pixel[IMAGES * SIZE];
static int64_t digit[IMAGES];
static char directory[] = "/tmp/assay-test-membership-XXXXXX";

static const char *file(const char *name) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static struct dataset *data_new(int shift) {
    struct error e = {0};
    for (int i = 0; i < IMAGES * SIZE; i++) pixel[i] = (uint8_t)(i * 7 + i / 3 + shift);
    struct blob *b = blob_new("dataset");
    blob_add(b, "x", U8, 4, (int64_t[]){IMAGES, 1, 4, 4}, pixel);
    blob_add(b, "y", I64, 1, (int64_t[]){IMAGES}, digit);
    if (!blob_write(b, file("data.st"), &e)) fail_msg("%s", e.text);
    blob_free(b);
    struct dataset *d = dataset_open(file("data.st"), &e);
    if (!d) fail_msg("%s", e.text);
    return d;
}

static struct dataset *part_of_data(const struct dataset *d, int64_t from, int64_t to) {
    struct error e = {0};
    struct blob *part = part_cut(d->blob, NULL, &(struct part_rows){from, to}, &e);
    if (!part || !blob_write(part, file("part.st"), &e)) fail_msg("%s", e.text);
    blob_free(part);
    return dataset_open(file("part.st"), &e);
}

// A model that says it was trained on every third image of `on`.
static struct model *model_on(const struct dataset *on) {
    struct error e = {0};
    struct model *m = model_new(arch_parse("flatten | linear 10", shape_of(3, 1, 4, 4), 10, &e), 1);
    json_t *record = record_new();
    m->keep_count = on->count;
    m->keep = memory_zero((size_t)on->count);
    for (int64_t i = 0; i < on->count; i++) m->keep[i] = i % 3 == 0;
    record_text(record, "config.data", on->blob->digest);
    m->blob = blob_new("model");
    m->blob->source = "model.st";
    blob_set_record(m->blob, record);
    json_decref(record);
    return m;
}

static void expect(const struct model *m, const struct dataset *d, const char *word, int64_t from, int64_t step, int64_t to) {
    struct error e = {0};
    unsigned char *member = membership_truth(m, d, word, &e);
    if (!member) fail_msg("%s", e.text);
    for (int64_t i = 0; i < d->count; i++) assert_int_equal(member[i] != 0, i >= from && i < to && (i - from) % step == 0);
    free(member);
}

static void expect_refusal(const struct model *m, const struct dataset *d, const char *word, enum exit_status status,
                           const char *text) {
    struct error e = {0};
    assert_null(membership_truth(m, d, word, &e));
    assert_int_equal(e.status, status);
    if (!strstr(e.text, text)) fail_msg("%s", e.text);
}

static void test_truth(void **state) {
    (void)state;
    assert_non_null(mkdtemp(directory));
    struct dataset *d = data_new(0), *part = part_of_data(d, 6, 20);
    struct model *m = model_on(d);
    expect(m, d, NULL, 0, 3, 20);        // its own set
    expect(m, part, NULL, 0, 3, 14);     // a part of it: image 6 is kept, and is the first here
    expect(m, d, "first:4", 0, 1, 4);
    // A part that it says nothing about, by its positions in the source.
    expect(m, d, file("part.st"), 6, 1, 20);
    struct model *on_part = model_on(part);
    expect_refusal(on_part, d, NULL, EXIT_USAGE, "--members names those");
    expect(on_part, d, file("part.st"), 6, 3, 20);  // those of the part that it kept
    struct model *released = model_on(d);
    free(released->keep);
    released->keep = NULL;
    expect_refusal(released, d, NULL, EXIT_USAGE, "does not say");
    expect_refusal(released, d, "all", EXIT_INPUT, "nothing to tell apart");
    // Another file with the same images, found by their pixels.
    FILE *mask = fopen(file("mask"), "wb");
    for (int i = 0; i < IMAGES; i++) fputc(i == 7, mask);
    assert_int_equal(fclose(mask), 0);
    expect(m, d, file("mask"), 7, 1, 8);
    struct blob *copy = blob_new("dataset");
    struct error e = {0};
    blob_add(copy, "x", U8, 4, (int64_t[]){3, 1, 4, 4}, pixel + 5 * SIZE);
    blob_add(copy, "y", I64, 1, (int64_t[]){3}, digit);
    assert_true(blob_write(copy, file("copy.st"), &e));
    blob_free(copy);
    expect(m, d, file("copy.st"), 5, 1, 8);
    expect_refusal(m, d, file("absent"), EXIT_USAGE, "absent");
    model_free(m);
    model_free(on_part);
    model_free(released);
    dataset_free(part);
    dataset_free(d);
    static const char *const names[] = {"data.st", "part.st", "mask", "copy.st"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) unlink(file(names[i]));
    rmdir(directory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_definition),     cmocka_unit_test(test_coverage),
        cmocka_unit_test(test_rates),          cmocka_unit_test(test_roc),
        cmocka_unit_test(test_perfect),        cmocka_unit_test(test_sure),
        cmocka_unit_test(test_rate_intervals), cmocka_unit_test(test_truth),
    };
    msg_verbosity(-1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

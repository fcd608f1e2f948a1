// A run's arrays to a file and back: bit for bit, all of them or none, and only of the same run.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <stdlib.h>
#include <unistd.h>

#include "io/checkpoint.h"
#include "io/record.h"

struct run {
    int64_t step;
    float x[4];
    double history[2][3];
};
enum { SAVED = 3 };

static void parts_of(struct run *r, struct checkpoint_part out[SAVED]) {
    const struct checkpoint_part part[SAVED] = {{"assay.run.step", I64, 0, {0}, &r->step},
                                                {"assay.run.x", F32, 1, {4}, r->x},
                                                {"assay.run.history", F64, 2, {2, 3}, r->history}};
    memcpy(out, part, sizeof part);
}

static char path[] = "/tmp/assay-test-checkpoint-XXXXXX";

static bool save(struct run *r, const json_t *identity, int count) {
    struct checkpoint_part part[SAVED];
    struct error e = {0};
    parts_of(r, part);
    struct checkpoint c = checkpoint_begin(identity, part, count);
    record_int(c.record, "config.more", 1);  // what a caller adds is no part of the identity
    return checkpoint_end(&c, path, &e);
}

static bool restore(struct run *r, const json_t *identity, struct error *e) {
    struct checkpoint_part part[SAVED];
    struct blob *b = checkpoint_open(path, identity, e);
    if (!b) return false;
    parts_of(r, part);
    bool fine = checkpoint_take(b, part, SAVED, e);
    blob_free(b);
    return fine;
}

static void test_there_and_back(void **state) {
    (void)state;
    struct run was = {7, {1, -2, .1f, 3e-30f}, {{1, 2, 3}, {4, 5, 1. / 3}}}, is = {0};
    struct error e = {0};
    json_t *one = json_pack("{s:i}", "seed", 4), *two = json_pack("{s:i}", "seed", 5);
    assert_true(save(&was, one, SAVED));
    if (!restore(&is, one, &e)) fail_msg("%s", e.text);
    assert_memory_equal(&was, &is, sizeof is);
    assert_true(restore(&is, NULL, &e));
    assert_false(restore(&is, two, &e));
    assert_int_equal(e.status, EXIT_INPUT);
    assert_non_null(strstr(e.text, "checkpoint of another run: seed is 4 there and 5 here"));
    json_decref(one), json_decref(two);
}

// Where one part is missing, or has another shape, nothing is overwritten.
static void test_all_or_none(void **state) {
    (void)state;
    struct run was = {7, {1, 2, 3, 4}, {{0}}}, is = {0}, none = {0};
    struct error e = {0};
    assert_true(save(&was, NULL, 2));
    assert_false(restore(&is, NULL, &e));
    assert_int_equal(e.status, EXIT_INPUT);
    assert_non_null(strstr(e.text, "assay.run.history"));
    assert_memory_equal(&is, &none, sizeof is);
    struct checkpoint_part part[SAVED];
    parts_of(&was, part);
    part[2].dim[1] = 2;
    struct checkpoint c = checkpoint_begin(NULL, part, SAVED);
    assert_true(checkpoint_end(&c, path, &e));
    e = (struct error){0};
    assert_false(restore(&is, NULL, &e));
    assert_non_null(strstr(e.text, "F64 [2, 3] expected, F64 [2, 2] found"));
    assert_memory_equal(&is, &none, sizeof is);
    struct blob *b = blob_new("model");
    assert_true(blob_write(b, path, &e));
    blob_free(b);
    e = (struct error){0};
    assert_false(restore(&is, NULL, &e));
    assert_int_equal(e.status, EXIT_INPUT);
}

static void test_beside(void **state) {
    (void)state;
    char room[CHECKPOINT_ROOM], *longest = calloc(1, CHECKPOINT_ROOM);
    assert_string_equal(checkpoint_beside("a/b.st", room), "a/b.st.checkpoint");
    assert_null(checkpoint_beside("-", room));
    assert_null(checkpoint_beside(NULL, room));
    assert_null(checkpoint_beside("/dev/null", room));
    memset(longest, 'x', CHECKPOINT_ROOM - 1);
    assert_null(checkpoint_beside(longest, room));
    free(longest);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_all_or_none),
        cmocka_unit_test(test_beside),
    };
    int file = mkstemp(path);
    if (file < 0) return 1;
    close(file);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}

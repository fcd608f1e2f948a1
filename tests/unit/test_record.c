// Records: paths, rates with intervals, keys of epsilons, and texts that are the same for the same record.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/record.h"

static void assert_text(const json_t *value, const char *expected) {
    char *text = record_dump(value);
    assert_string_equal(text, expected);
    free(text);
}

static void paths(void **state) {
    (void)state;
    json_t *r = record_new();
    record_real(r, "metrics.robust.pgd.eps_0p1.accuracy", .25);
    record_int(r, "config.epochs", 3);
    record_text(r, "config.arch", "conv 32 3 | relu");
    record_real(r, "metrics.loss", NAN);
    record_set(r, "metrics.curve", json_pack("[f, f]", .5, 2.));
    record_note(r, "%d images of %s", 7, "a set");
    assert_text(
        r, "{\"config\":{\"arch\":\"conv 32 3 | relu\",\"epochs\":3},\"metrics\":{\"curve\":[0.5,2.0],\"loss\":null,"
           "\"robust\":{\"pgd\":{\"eps_0p1\":{\"accuracy\":0.25}}}},\"notes\":[\"7 images of a set\"]}");
    double value;
    assert_true(record_get_real(r, "metrics.robust.pgd.eps_0p1.accuracy", &value) && value == .25);
    assert_true(record_get_real(r, "config.epochs", &value) && value == 3);
    assert_true(record_get_real(r, "metrics.curve.1", &value) && value == 2);
    assert_false(record_get_real(r, "metrics.curve.2", &value));
    assert_false(record_get_real(r, "metrics.curve.-1", &value));
    assert_false(record_get_real(r, "metrics.loss", &value));
    assert_false(record_get_real(r, "config.arch", &value));
    assert_null(record_get(r, "metrics.robust.fgsm.eps_0p1"));
    assert_null(record_get(r, "config.arch.deeper"));
    assert_null(record_get(NULL, "config"));
    json_decref(r);
}

static void rates(void **state) {
    (void)state;
    json_t *r = record_new();
    double value;
    // Clopper & Pearson for 0 of 10: [0, 1 - .025^(1/10)].
    record_rate(r, "metrics.tpr", 0, 10);
    assert_true(record_get_real(r, "metrics.tpr", &value) && value == 0);
    assert_true(record_get_real(r, "metrics.tpr_interval.0", &value) && value == 0);
    assert_true(record_get_real(r, "metrics.tpr_interval.1", &value));
    assert_true(fabs(value - (1 - pow(.025, .1))) < 1e-12);
    record_rate(r, "metrics.none", 0, 0);
    assert_true(json_is_null(record_get(r, "metrics.none")));
    assert_true(record_get_real(r, "metrics.none_interval.1", &value) && value == 1);
    json_decref(r);
}

static void epsilons(void **state) {
    (void)state;
    static const struct {
        double eps;
        const char *key;
    } cases[] = {{.1, "eps_0p1"}, {8. / 255, "eps_0p0313725"}, {1, "eps_1"},       {.30000000000000004, "eps_0p3"},
                 {0, "eps_0"},    {12.5, "eps_12p5"},          {1e-5, "eps_1e-5"}, {2. / 3, "eps_0p666667"}};
    char key[32];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(record_eps_key(cases[i].eps, key), cases[i].key);
}

static void dumps(void **state) {
    (void)state;
    static const char *const same[] = {
        "{}",
        "[]",
        "null",
        "[true,false,null]",
        "{\"a\":1,\"b\":{\"c\":[1,2.5,-3]}}",
        "[0.1,1e-300,1.7976931348623157e308,5.0]",
        "[9223372036854775807,-9223372036854775808]",
        "[\"\\u0001 \\\" \\\\ / caf\u00e9\"]",
        "[4.9406564584124654e-324]",
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        json_t *v = json_loads(same[i], JSON_DECODE_ANY, NULL);
        assert_non_null(v);
        char *text = record_dump(v);
        if (i < 8) assert_string_equal(text, same[i]);  // the last has a shorter text for the same double
        json_t *back = json_loads(text, JSON_DECODE_ANY, NULL);
        assert_true(json_equal(v, back));
        json_decref(back);
        free(text);
        json_decref(v);
    }
    json_t *v = json_pack("{s:i, s:i, s:i, s:i}", "b", 1, "a", 2, "B", 3, "\u00e9", 4);
    assert_text(v, "{\"B\":3,\"a\":2,\"b\":1,\"\u00e9\":4}");  // byte order
    json_decref(v);
}

static void parsing(void **state) {
    (void)state;
    static const char *const bad[] = {"", "{", "{\"a\":1,\"a\":2}", "{} {}", "nan", "[1e999]", "{\"a\":\x01}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error e = {0};
        assert_null(record_parse(bad[i], strlen(bad[i]), "here", &e));
        assert_int_equal(e.status, EXIT_INPUT);
        assert_memory_equal(e.text, "here: ", 6);
    }
    // Depth is bounded, not the stack's business.
    size_t depth = 1 << 20;
    char *deep = malloc(depth);
    memset(deep, '[', depth);
    struct error e = {0};
    assert_null(record_parse(deep, depth, "deep", &e));
    assert_int_equal(e.status, EXIT_INPUT);
    free(deep);
}

static void seeds(void **state) {
    (void)state;
    json_t *list = json_array();
    json_array_append_new(list, record_seed(0));
    json_array_append_new(list, record_seed(INT64_MAX));
    json_array_append_new(list, record_seed((uint64_t)INT64_MAX + 1));
    json_array_append_new(list, record_seed(UINT64_MAX));
    assert_text(list, "[0,9223372036854775807,\"9223372036854775808\",\"18446744073709551615\"]");
    json_decref(list);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths), cmocka_unit_test(rates),   cmocka_unit_test(epsilons),
        cmocka_unit_test(dumps), cmocka_unit_test(parsing), cmocka_unit_test(seeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// Conditions on a record: what parses, what holds, and that a gate on nothing is no open gate.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "io/gate.h"
#include "io/record.h"

static json_t *record(void) {
    json_t *r = record_new();
    record_real(r, "metrics.clean.accuracy", .75);
    record_int(r, "metrics.count", 4);
    record_real(r, "metrics.nothing", 0. / 0.);
    record_real(r, "config.eps", .1);
    return r;
}

static enum exit_status status;
static char text[480];

static bool holds(const char *condition) {
    struct gate g;
    struct error e = {0};
    char why[GATE_TEXT] = "";
    json_t *r = record();
    bool held = gate_parse(condition, &g, &e) && gate_holds(&g, r, why, &e);
    json_decref(r);
    status = e.status;
    memcpy(text, e.status ? e.text : why, e.status ? sizeof e.text : sizeof why);
    return held;
}

static void test_relations(void **state) {
    (void)state;
    static const char *const yes[] = {"clean.accuracy<.8", "clean.accuracy<=.75", "clean.accuracy>=.75", "clean.accuracy>7e-1", "count==4", "count!=5",
                                      "metrics.clean.accuracy < 8/10", " config.eps == .1 ", "count>9,count>3"};
    static const char *const no[] = {"clean.accuracy<.75", "clean.accuracy>.75", "clean.accuracy<=.7", "count==5", "count!=4", "config.eps>.1", "count>9,count<3"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        if (!holds(yes[i]) || status) fail_msg("%s: %s", yes[i], text);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (holds(no[i]) || status) fail_msg("%s: %s", no[i], text);
    assert_true(holds("count>9,clean.accuracy<.8"));
    assert_string_equal(text, "metrics.clean.accuracy is 0.75, and < 0.8 fails");
}

static void test_mistakes(void **state) {
    (void)state;
    static const char *const bad[] = {"", "clean.accuracy", "clean.accuracy<", "<.8", "clean.accuracy=.8", "clean.accuracy<>.8", "clean.accuracy<.8x",
                                      "clean.accuracy<.8,", "a<b", "a=<1", "clean.accuracy<nan"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (holds(bad[i]) || status != EXIT_USAGE) fail_msg("\"%s\" parsed", bad[i]);
    assert_false(holds("clean.acuracy<.8"));
    assert_int_equal(status, EXIT_USAGE);
    assert_non_null(strstr(text, "no metrics.clean.acuracy; metrics.clean holds accuracy"));
    assert_false(holds("count>3,lost.path>1"));  // not open even where another condition holds
    assert_int_equal(status, EXIT_USAGE);
    assert_false(holds("nothing<1"));
    assert_int_equal(status, EXIT_INPUT);
    assert_false(holds("clean<1"));
    assert_int_equal(status, EXIT_INPUT);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_relations), cmocka_unit_test(test_mistakes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

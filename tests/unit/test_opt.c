// The option table: what it accepts, what it refuses and in which words; --help, --version, --completion.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/msg.h"
#include "base/opt.h"

static struct {
    double eps;
    struct reals list;
    int64_t steps;
    uint64_t seed;
    const char *output, *method, *norm, *title;
    bool json, plain;
} o;

static struct opt table[] = {
    {"eps", 'e', OPT_REAL, &o.eps, "E", "radius of the ball", NULL, 0, 1, false},
    {"eps-list", 0, OPT_REALS, &o.list, "LIST", "radii", NULL, 0, 1, false},
    {"steps", 'n', OPT_INT, &o.steps, "N", "steps", NULL, 1, INFINITY, false},
    {"seed", 0, OPT_SEED, &o.seed, "N", "seed of every draw", NULL, 0, 0, false},
    {"output", 'o', OPT_FILE, &o.output, "FILE", "where the result goes", NULL, 0, 0, false},
    {"method", 'm', OPT_WORDS, &o.method, "LIST", "attacks", "clean|noise|fgsm|pgd", 0, 0, false},
    {"norm", 0, OPT_CHOICE, &o.norm, "NORM", "norm of the ball", "linf|l2", 0, 0, false},
    {"title", 0, OPT_TEXT, &o.title, "TEXT", "a title", NULL, 0, 0, false},
    {"json", 'j', OPT_FLAG, &o.json, NULL, "print the record", NULL, 0, 0, false},
    {"plain", 'p', OPT_FLAG, &o.plain, NULL, "no frills", NULL, 0, 0, false},
};
static struct program program;

static void reset(void) {
    memset(&o, 0, sizeof o);
    o.eps = 0.1;
    o.list = (struct reals){2, {0.25, 0.5}};
    o.steps = 10;
    o.seed = UINT64_MAX;
    o.method = "pgd";
    o.norm = "linf";
    program = (struct program){
        .name = "attack", .summary = "attack a classifier", .operands = "MODEL [FILE...]", .operands_min = 1,
        .operands_max = 2, .opts = table, .count = sizeof table / sizeof *table,
        .examples = "attack -e 8/255 model.st\nattack - < model.st", .see_also = "report(1)",
    };
}

enum { WORDS_MAX = 20 };
static int split(char *line, char **argv) {
    int argc = 0;
    for (char *word = strtok(line, " "); word; word = strtok(NULL, " "))
        argv[argc++] = word;
    argv[argc] = NULL;
    return argc;
}

// How many of a plain and a detailed line the level lets through to standard error.
static int lines_said(void) {
    int ends[2], kept = dup(STDERR_FILENO), lines = 0;
    char text[200];
    assert_int_equal(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    msg_say("plain");
    msg_more("detailed");
    dup2(kept, STDERR_FILENO);
    close(kept);
    for (ssize_t count; (count = read(ends[0], text, sizeof text)) > 0;)
        for (ssize_t i = 0; i < count; i++)
            lines += text[i] == '\n';
    close(ends[0]);
    return lines;
}

static struct operands parse(const char *line) {
    static char text[500];
    static char *argv[WORDS_MAX];
    snprintf(text, sizeof text, "attack %s", line);
    reset();
    return opt_parse(&program, split(text, argv), argv);
}

// In a child, since it ends the program. Returns its status.
static char out[8000], err[8000];
static int parse_apart(const char *line, const char *stdout_name) {
    FILE *files[2] = {stdout_name ? fopen(stdout_name, "w") : tmpfile(), tmpfile()};
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        dup2(fileno(files[0]), 1);
        dup2(fileno(files[1]), 2);
        parse(line);
        _exit(77);  // went through
    }
    int status;
    waitpid(child, &status, 0);
    for (int i = 0; i < 2; i++) {
        char *text = i ? err : out;
        rewind(files[i]);
        size_t n = stdout_name && i == 0 ? 0 : fread(text, 1, sizeof out - 1, files[i]);
        text[n] = '\0';
        fclose(files[i]);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_values(void **state) {
    (void)state;
    struct operands f = parse("model.st -e 8/255 --eps-list=.1,1e-2,1/4 -n5 --seed 7 -o - --method clean,pgd --norm l2 -jp data.st");
    assert_int_equal(f.count, 2);
    assert_string_equal(f.value[0], "model.st");
    assert_string_equal(f.value[1], "data.st");
    assert_true(o.eps == 8.0 / 255);
    assert_int_equal(o.list.count, 3);
    assert_true(o.list.value[0] == 0.1 && o.list.value[1] == 0.01 && o.list.value[2] == 0.25);
    assert_int_equal(o.steps, 5);
    assert_int_equal(o.seed, 7);
    assert_string_equal(o.output, "-");
    assert_string_equal(o.method, "clean,pgd");
    assert_string_equal(o.norm, "l2");
    assert_true(o.json && o.plain);
    assert_true(opt_given(&program, "eps") && opt_given(&program, "json"));
    assert_false(opt_given(&program, "title"));
    assert_int_equal(lines_said(), 1);

    f = parse("-q - -j -j");
    assert_int_equal(lines_said(), 0);
    assert_int_equal(f.count, 1);
    assert_string_equal(f.value[0], "-");
    assert_true(o.eps == 0.1 && o.steps == 10 && o.list.count == 2);  // defaults stay
    assert_false(opt_given(&program, "eps"));

    parse("-v m");
    assert_int_equal(lines_said(), 2);
    f = parse("-- --eps -j");
    assert_string_equal(f.value[0], "--eps");
    assert_string_equal(f.value[1], "-j");
    assert_false(o.json);
    parse("m --title=--eps --out x");  // a value that looks like an option; a unique prefix
    assert_string_equal(o.title, "--eps");
    assert_string_equal(o.output, "x");
    parse("m --eps 1");  // exact, though a prefix of --eps-list
    assert_true(o.eps == 1);
}

static void test_refusals(void **state) {
    (void)state;
    static const char *const refused[][2] = {
        {"m --esp .1", "unknown option --esp; did you mean --eps?"},
        {"m --seeed 1", "did you mean --seed?"},
        {"m --zzzzzzz", "unknown option --zzzzzzz\n"},
        {"m -x", "unknown option -x"},
        {"m --s 1", "option --s is ambiguous: --steps, --seed"},
        {"m --eps 2", "option --eps: 2 is out of range; expected 0 to 1"},
        {"m --eps nan", "option --eps: 'nan' is not a number"},
        {"m --eps inf", "'inf' is not a number"},
        {"m --eps 0x1p-3", "'0x1p-3' is not a number"},
        {"m --eps 0,1", "'0,1' is not a number"},
        {"m --eps=", "'' is not a number"},
        {"m --eps 1/0", "'1/0' is not a number"},
        {"m --eps .1x", "'.1x' is not a number"},
        {"m --eps-list .1,,2", "'' in '.1,,2' is not a number"},
        {"m --eps-list .1,2", "2 is out of range; expected 0 to 1"},
        {"m -n 0", "option --steps: 0 is out of range; expected at least 1"},
        {"m -n 1.5", "'1.5' is not a whole number"},
        {"m -n 9223372036854775808", "is not a whole number"},
        {"m --seed -1", "is not a whole number from 0 to 18446744073709551615"},
        {"m --seed 18446744073709551616", "is not a whole number from 0"},
        {"m --norm l3", "option --norm: 'l3' is not one of linf, l2; did you mean 'l2'?"},
        {"m --norm lin", "'lin' is not one of linf, l2"},
        {"m --method clean,pdg", "'pdg' is not one of clean, noise, fgsm, pgd; did you mean 'pgd'?"},
        {"m --method clean,", "'' is not one of"},
        {"m --eps", "option --eps: needs a value (E)"},
        {"m -o --eps .1", "option --output: needs a value (FILE), found --eps"},
        {"m --json=1", "option --json: takes no value"},
        {"m -e .1 --eps .2", "option --eps: given twice"},
        {"m -q -v", "exclude each other"},
        {"", "MODEL is missing; usage: attack [OPTION...] MODEL [FILE...]"},
        {"a b c", "'c' is one operand too many"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        int status = parse_apart(refused[i][0], NULL);
        if (status != EXIT_USAGE || !strstr(err, refused[i][1]) || !strstr(err, "attack: try 'attack --help'\n") || *out)
            fail_msg("'%s': status %d, '%s'", refused[i][0], status, err);
        assert_memory_equal(err, "attack: ", 8);
    }
    assert_int_equal(parse_apart("m -e .1", NULL), 77);
    assert_string_equal(err, "");
}

static void test_help(void **state) {
    (void)state;
    static const char *const lines[] = {"--help", "-h", "--bogus -h", "--eps .9 --help", "--he"};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(parse_apart(lines[i], NULL), EXIT_DONE);
        assert_string_equal(err, "");
        assert_non_null(strstr(out, "attack - attack a classifier\n\nUsage: attack [OPTION...] MODEL [FILE...]\n"));
        assert_non_null(strstr(out, "  -e, --eps E             radius of the ball (default 0.1)\n"));
        assert_non_null(strstr(out, "      --eps-list LIST     radii (default 0.25,0.5)\n"));
        assert_non_null(strstr(out, "(default 18446744073709551615)\n"));
        assert_non_null(strstr(out, "norm of the ball: linf, l2 (default linf)\n"));
        assert_non_null(strstr(out, "  -o, --output FILE       where the result goes\n"));
        assert_null(strstr(out, "completion"));
        char *options = strstr(out, "\nOptions:\n"), *examples = strstr(out, "\nExamples:\n  attack -e 8/255 model.st\n"),
             *also = strstr(out, "\nSee also: report(1)\n");
        assert_true(options && examples && also && options < examples && examples < also);
        for (char *line = strtok(out, "\n"); line; line = strtok(NULL, "\n"))
            assert_true(strlen(line) <= 80);
    }
    assert_int_equal(parse_apart("--version", NULL), EXIT_DONE);
    assert_string_equal(out, "attack (assay) " ASSAY_VERSION "\n");
    // A value is no option: this title is "-h".
    assert_int_equal(parse_apart("m --title -h", NULL), 77);
    assert_int_equal(parse_apart("-- --help", NULL), 77);
    // A full disk is not silence.
    assert_int_equal(parse_apart("--help", "/dev/full"), EXIT_SYSTEM);
    assert_non_null(strstr(err, "No space left on device"));
}

static void test_completion(void **state) {
    (void)state;
    assert_int_equal(parse_apart("--completion", NULL), EXIT_DONE);
    assert_non_null(strstr(out, "eps\te\tE\tradius of the ball (default 0.1)\t-\t0.1\n"));
    assert_non_null(strstr(out, "output\to\tFILE\twhere the result goes\tfile\t-\n"));
    assert_non_null(strstr(out, "norm\t-\tNORM\tnorm of the ball: linf, l2 (default linf)\tlinf|l2\tlinf\n"));
    assert_non_null(strstr(out, "json\tj\t-\tprint the record\t-\t-\n"));
    int lines = 0;
    for (const char *c = out; *c; c++)
        lines += *c == '\n';
    assert_int_equal(lines, (int)(sizeof table / sizeof *table) + 4);  // and help, version, quiet, verbose
}

static void test_parsing(void **state) {
    (void)state;
    static const struct {
        const char *text;
        double value;
    } good[] = {{"0.1", .1}, {"1e-3", .001}, {"8/255", 8.0 / 255}, {"-.5", -.5}, {"+3.", 3}, {"1E2", 100}, {"1e-999", 0},
                {"-1/4", -.25}, {"1e1/1e2", .1}, {"123456789012345678901234567890", 123456789012345678901234567890.0}};
    static const char *const bad[] = {"", " 1", "1 ", "1e", "1e+", ".", "-", "e5", "1/", "/2", "1/2/3", "1e999", "0/0",
                                      "1/0", "nan", "infinity", "0x10", "1,5", "1_000", "--1", "1..2", "1/nan"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        double value = -1;
        assert_true(parse_real(good[i].text, &value));
        assert_true(value == good[i].value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        double value = 77;
        if (parse_real(bad[i], &value) || value != 77)
            fail_msg("'%s' was read as %g", bad[i], value);
    }
    int64_t n;
    uint64_t u;
    assert_true(parse_int("-9223372036854775808", &n) && n == INT64_MIN);
    assert_true(parse_int("9223372036854775807", &n) && n == INT64_MAX);
    assert_true(parse_int("+007", &n) && n == 7);
    assert_false(parse_int("-9223372036854775809", &n) || parse_int("", &n) || parse_int("-", &n) || parse_int("+-1", &n) ||
                 parse_int("1 ", &n) || parse_int("1e3", &n));
    assert_true(parse_seed("18446744073709551615", &u) && u == UINT64_MAX);
    assert_false(parse_seed("18446744073709551616", &u) || parse_seed("-1", &u) || parse_seed("+1", &u) || parse_seed("", &u));
}

static void test_format(void **state) {
    (void)state;
    static const struct {
        double value;
        bool single;
        const char *text;
    } known[] = {
        {0.1, false, "0.1"}, {(double)0.1f, true, "0.1"}, {(double)0.1f, false, "0.10000000149011612"}, {1e-5, false, "1e-5"},
        {1e20, false, "1e20"}, {1e15, false, "1e15"}, {123456, false, "123456"}, {1.0 / 3, false, "0.3333333333333333"},
        {(double)(1.0f / 3), true, "0.33333334"}, {5e-324, false, "5e-324"}, {0, false, "0"}, {-2.5, false, "-2.5"},
        {1.7976931348623157e308, false, "1.7976931348623157e308"}, {(double)3.4028235e38f, true, "3.4028235e38"},
    };
    char text[32];
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        format_real(known[i].value, known[i].single, text);
        assert_string_equal(text, known[i].text);
    }
    uint64_t x = 88172645463325252;
    for (int i = 0; i < 20000; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        double d, back;
        float f;
        memcpy(&d, &x, sizeof d);
        memcpy(&f, &x, sizeof f);
        if (isfinite(d)) {
            format_real(d, false, text);
            assert_true(parse_real(text, &back) && back == d);
        }
        if (isfinite(f)) {
            format_real((double)f, true, text);
            assert_true(parse_real(text, &back) && (float)back == f);
            assert_true(strlen(text) < 16);
        }
    }
}

// Numbers do not change with the user's language, wherever such a locale is installed.
static void test_locale(void **state) {
    (void)state;
    if (!setlocale(LC_ALL, "de_DE.UTF-8") && !setlocale(LC_ALL, "fr_FR.UTF-8"))
        skip();
    double value;
    char text[32];
    assert_true(parse_real("0.5", &value) && value == 0.5);
    assert_false(parse_real("0,5", &value));
    format_real(0.5, false, text);
    assert_string_equal(text, "0.5");
    setlocale(LC_ALL, "C");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),  cmocka_unit_test(test_refusals),   cmocka_unit_test(test_help),
        cmocka_unit_test(test_parsing), cmocka_unit_test(test_completion), cmocka_unit_test(test_format),
        cmocka_unit_test(test_locale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// opt.c: one option table drives parsing, --help and completion.
//
// The command line is walked twice: a dry walk looks for --help, --version and --completion, which win over
// any mistake and see the defaults before a value is stored; then the walk that stores.
#include "opt.h"

#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arena.h"
#include "msg.h"
#include "out.h"

// --- numbers ---

// "C", whatever setlocale was told.
static locale_t plain_locale(void) {
    static locale_t plain;
    if (plain == NULL)
        plain = newlocale(LC_ALL_MASK, "C", NULL);
    BUG_IF(plain == NULL, "no C locale");
    return plain;
}

static const char *skip_digits(const char *c, int *count) {
    for (; *c >= '0' && *c <= '9'; c++)
        ++*count;
    return c;
}

// [+-] digits [. digits] [e [+-] digits], at least one digit before the exponent. NULL when there is no such
// thing; strtod alone would also take "inf", "nan", "0x1p3" and leading blanks.
static const char *scan_decimal(const char *c) {
    int digits = 0, exponent = 0;
    c += *c == '+' || *c == '-';
    c = skip_digits(c, &digits);
    if (*c == '.')
        c = skip_digits(c + 1, &digits);
    if (digits == 0)
        return NULL;
    if (*c == 'e' || *c == 'E') {
        c += 1 + (c[1] == '+' || c[1] == '-');
        c = skip_digits(c, &exponent);
        if (exponent == 0)
            return NULL;
    }
    return c;
}

bool parse_real(const char *text, double *value) {
    const char *end = scan_decimal(text);
    if (end == NULL || (*end != '\0' && *end != '/'))
        return false;
    double x = strtod_l(text, NULL, plain_locale());
    if (*end == '/') {
        const char *below = end + 1;
        end = scan_decimal(below);
        if (end == NULL || *end != '\0')
            return false;
        x /= strtod_l(below, NULL, plain_locale());
    }
    if (!isfinite(x))
        return false;
    *value = x;
    return true;
}

bool parse_seed(const char *text, uint64_t *value) {
    uint64_t sum = 0;
    if (*text == '\0')
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || __builtin_mul_overflow(sum, 10, &sum) ||
            __builtin_add_overflow(sum, (uint64_t)(*text - '0'), &sum))
            return false;
    }
    *value = sum;
    return true;
}

bool parse_int(const char *text, int64_t *value) {
    bool negative = *text == '-';
    uint64_t size;
    if (!parse_seed(text + (*text == '-' || *text == '+'), &size) || size > (uint64_t)INT64_MAX + negative)
        return false;
    *value = negative ? (int64_t)-size : (int64_t)size;
    return true;
}

void format_real(double value, bool single, char *out) {
    locale_t old = uselocale(plain_locale());
    // A decimal of 15 (6) digits survives a double (float), so no shorter one is lost by starting there, except
    // among denormals, which have fewer digits.
    int digits = fabs(value) < (single ? 0x1p-126 : 0x1p-1022) ? 1 : single ? 6 : 15, last = single ? 9 : 17;
    for (; digits <= last; digits++) {
        snprintf(out, 32, "%.*g", digits, value);
        if (single ? strtof(out, NULL) == (float)value : strtod(out, NULL) == value)
            break;
    }
    uselocale(old);
    // 1e-05 -> 1e-5, 1e+20 -> 1e20
    char *e = strchr(out, 'e');
    if (e) {
        char *to = e + 1, *from = e + 1;
        if (*from == '-')
            to++;
        from += *from == '-' || *from == '+';
        from += strspn(from, "0");
        memmove(to, from, strlen(from) + 1);
    }
}

// --- the table ---

enum builtin { QUIET, VERBOSE, HELP, VERSION, COMPLETION, BUILTINS };

static bool builtin_flag[BUILTINS];
static struct opt builtin[BUILTINS] = {
    [QUIET] = {"quiet", 'q', OPT_FLAG, &builtin_flag[QUIET], NULL, "say only errors and warnings", NULL, 0, 0, false},
    [VERBOSE] = {"verbose", 'v', OPT_FLAG, &builtin_flag[VERBOSE], NULL, "say more", NULL, 0, 0, false},
    [HELP] = {"help", 'h', OPT_FLAG, &builtin_flag[HELP], NULL, "print this help", NULL, 0, 0, false},
    [VERSION] = {"version", 0, OPT_FLAG, &builtin_flag[VERSION], NULL, "print the version", NULL, 0, 0, false},
    [COMPLETION] = {"completion", 0, OPT_FLAG, &builtin_flag[COMPLETION], NULL, "", NULL, 0, 0, false},
};

// The tool's options, then the ones that every tool has.
static int option_count(const struct program *p) {
    return p->count + BUILTINS;
}

static struct opt *option(const struct program *p, int i) {
    return i < p->count ? &p->opts[i] : &builtin[i - p->count];
}

static void check_table(const struct program *p) {
    for (int i = 0; i < option_count(p); i++) {
        const struct opt *o = option(p, i);
        BUG_IF(!o->name || !o->at || !o->help, "%s: option %d lacks its name, place or help", p->name, i);
        BUG_IF((o->kind == OPT_FLAG) != (o->argument == NULL), "%s: --%s: a flag has no argument, others do", p->name, o->name);
        BUG_IF((o->kind == OPT_CHOICE || o->kind == OPT_WORDS) && !o->choices, "%s: --%s has no choices", p->name, o->name);
        for (int j = 0; j < i; j++)
            BUG_IF(strcmp(o->name, option(p, j)->name) == 0 || (o->letter && o->letter == option(p, j)->letter),
                   "%s: --%s and --%s share a name", p->name, option(p, j)->name, o->name);
    }
}

bool opt_given(const struct program *p, const char *name) {
    for (int i = 0; i < p->count; i++)
        if (strcmp(p->opts[i].name, name) == 0)
            return p->opts[i].given;
    BUG("%s has no option --%s", p->name, name);
}

// --- outputs and inputs ---

// The option whose name a comma-separated list begins with; *list moves on to the next one, and NULL is its end.
static const struct opt *next_named(const struct program *p, const char **list) {
    if (**list == '\0')
        return NULL;
    size_t length = strcspn(*list, ",");
    const char *name = *list;
    *list += length + (name[length] == ',');
    for (int i = 0; i < p->count; i++)
        if (strncmp(p->opts[i].name, name, length) == 0 && p->opts[i].name[length] == '\0')
            return &p->opts[i];
    BUG("%s has no option --%.*s", p->name, (int)length, name);
}

static const char *file_of(const struct opt *o) {
    return *(const char *const *)o->at;
}

static const char *typed(const struct opt *o, char out[64]) {
    if (o->letter)
        snprintf(out, 64, "-%c", o->letter);
    else
        snprintf(out, 64, "--%s", o->name);
    return out;
}

static void keep_from_inputs(const struct program *p, const struct opt *output, const char *inputs,
                             const struct operands *operands) {
    char written[64], read[64];
    for (const struct opt *input; (input = next_named(p, &inputs));)
        if (input->given && out_same_file(file_of(output), file_of(input)))  // a default is a word
            msg_usage("%s %s is also an input (%s), which would be lost", typed(output, written), file_of(output),
                      typed(input, read));
    for (int i = 0; operands && i < operands->count; i++)
        if (out_same_file(file_of(output), operands->value[i]))
            msg_usage("%s %s is also an input, which would be lost", typed(output, written), file_of(output));
}

void opt_keep_apart(const struct program *p, const char *outputs, const char *inputs, const struct operands *operands) {
    char one[64], two[64];
    for (const struct opt *output; (output = next_named(p, &outputs));) {
        const char *others = outputs;
        for (const struct opt *other; (other = next_named(p, &others));)
            if (out_same_file(file_of(output), file_of(other)))
                msg_usage("%s and %s need files of their own", typed(output, one), typed(other, two));
        keep_from_inputs(p, output, inputs, operands);
    }
}

// --- --help, --completion ---

static bool is_number(const struct opt *o) {
    return o->kind == OPT_INT || o->kind == OPT_REAL || o->kind == OPT_REALS || o->kind == OPT_SEED;
}

// The value an option has now, as it would be typed; "" where there is none. NaN stands for "not set".
static const char *value_text(struct arena *a, const struct opt *o) {
    char number[32];
    const char *text = "";
    switch (o->kind) {
    case OPT_FLAG:
        break;
    case OPT_INT:
        text = arena_print(a, "%lld", (long long)*(int64_t *)o->at);
        break;
    case OPT_SEED:
        text = arena_print(a, "%llu", (unsigned long long)*(uint64_t *)o->at);
        break;
    case OPT_REAL:
        if (isfinite(*(double *)o->at)) {
            format_real(*(double *)o->at, false, number);
            text = arena_text(a, number);
        }
        break;
    case OPT_REALS:
        for (int i = 0; i < ((struct reals *)o->at)->count; i++) {
            format_real(((struct reals *)o->at)->value[i], false, number);
            text = arena_print(a, "%s%s%s", text, i ? "," : "", number);
        }
        break;
    case OPT_TEXT:
    case OPT_FILE:
    case OPT_CHOICE:
    case OPT_WORDS:
        text = *(const char **)o->at ? *(const char **)o->at : "";
        break;
    }
    return text;
}

// "at least 0", "0 to 1"; "" where anything goes.
static const char *range_text(struct arena *a, const struct opt *o) {
    if ((o->low == 0 && o->high == 0) || !is_number(o))
        return "";
    char low[32], high[32];
    format_real(o->low, false, low);
    format_real(o->high, false, high);
    // INT64_MAX and the like say "no limit" as infinity does.
    bool open_low = o->low <= -0x1p53, open_high = o->high >= 0x1p53;
    if (open_low && open_high)
        return "";
    return open_high ? arena_print(a, "at least %s", low)
         : open_low  ? arena_print(a, "at most %s", high)
                     : arena_print(a, "%s to %s", low, high);
}

static const char *choices_text(struct arena *a, const char *choices) {
    const char *text = "";
    while (*choices) {
        size_t length = strcspn(choices, "|");
        text = arena_print(a, "%s%s%.*s", text, *text ? ", " : "", (int)length, choices);
        choices += length + (choices[length] == '|');
    }
    return text;
}

static const char *help_text(struct arena *a, const struct opt *o) {
    const char *text = o->help, *value = value_text(a, o);
    if (o->choices)
        text = arena_print(a, "%s: %s", text, choices_text(a, o->choices));
    if (*value)
        text = arena_print(a, "%s (default %s)", text, value);
    return text;
}

// Words of `text` from column `column` on, broken before column 80 and continued at `indent`.
static void print_wrapped(const char *text, int column, int indent) {
    enum { WIDTH = 80 };
    bool first = true;
    while (*text) {
        int length = (int)strcspn(text, " ");
        if (!first && column + 1 + length > WIDTH) {
            printf("\n%*s", indent, "");
            column = indent;
        } else if (!first) {
            putchar(' ');
            column++;
        }
        printf("%.*s", length, text);
        column += length;
        text += length;
        text += strspn(text, " ");
        first = false;
    }
    putchar('\n');
}

static void print_option(struct arena *a, const struct opt *o) {
    enum { INDENT = 26 };
    int column = o->letter ? printf("  -%c, --%s", o->letter, o->name) : printf("      --%s", o->name);
    if (o->argument)
        column += printf(" %s", o->argument);
    if (column + 2 > INDENT) {
        putchar('\n');
        column = 0;
    }
    printf("%*s", INDENT - column, "");
    print_wrapped(help_text(a, o), INDENT, INDENT);
}

static void print_help(const struct program *p) {
    struct arena a = {0};
    printf("%s - %s\n\nUsage: %s [OPTION...]%s%s\n\nOptions:\n", p->name, p->summary, p->name, *p->operands ? " " : "",
           p->operands);
    for (int i = 0; i < option_count(p); i++)
        if (option(p, i) != &builtin[COMPLETION])
            print_option(&a, option(p, i));
    if (p->examples && *p->examples) {
        printf("\nExamples:\n");
        for (const char *line = p->examples; *line;) {
            int length = (int)strcspn(line, "\n");
            printf("%s%.*s\n", length ? "  " : "", length, line);
            line += length + (line[length] == '\n');
        }
    }
    if (p->see_also && *p->see_also)
        printf("\nSee also: %s\n", p->see_also);
    arena_free(&a);
}

// Tab-separated, "-" where there is nothing: name, letter, argument, help as --help has it, values ("file" or the
// choices with '|'), default.
static void print_completion(const struct program *p) {
    struct arena a = {0};
    for (int i = 0; i < option_count(p); i++) {
        const struct opt *o = option(p, i);
        if (o == &builtin[COMPLETION])
            continue;
        const char *value = value_text(&a, o);
        printf("%s\t%c\t%s\t%s\t%s\t%s\n", o->name, o->letter ? o->letter : '-', o->argument ? o->argument : "-",
               help_text(&a, o), o->kind == OPT_FILE ? "file" : o->choices ? o->choices : "-", *value ? value : "-");
    }
    arena_free(&a);
}

// --- values ---

static _Noreturn void refuse(const struct opt *o, const char *format, ...) __attribute__((format(printf, 2, 3)));
static _Noreturn void refuse(const struct opt *o, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    msg_usage("option --%s: %s", o->name, text);
}

// Edit distance with transpositions (optimal string alignment), case ignored.
static int distance(const char *x, int nx, const char *y, int ny) {
    enum { MOST = 40 };
    if (nx > MOST || ny > MOST)
        return MOST;
    int d[MOST + 1][MOST + 1];
    for (int i = 0; i <= nx; i++)
        for (int j = 0; j <= ny; j++) {
            if (i == 0 || j == 0) {
                d[i][j] = i + j;
                continue;
            }
            int same = tolower((unsigned char)x[i - 1]) == tolower((unsigned char)y[j - 1]);
            int best = d[i - 1][j - 1] + !same;
            if (d[i - 1][j] + 1 < best)
                best = d[i - 1][j] + 1;
            if (d[i][j - 1] + 1 < best)
                best = d[i][j - 1] + 1;
            if (i > 1 && j > 1 && x[i - 1] == y[j - 2] && x[i - 2] == y[j - 1] && d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    return d[nx][ny];
}

static bool close_enough(int wrong, int length) {
    return wrong <= (length <= 4 ? 1 : length <= 8 ? 2 : 3);
}

static bool is_choice(const char *choices, const char *word, int length) {
    while (*choices) {
        int n = (int)strcspn(choices, "|");
        if (n == length && strncmp(choices, word, (size_t)n) == 0)
            return true;
        choices += n + (choices[n] == '|');
    }
    return false;
}

static void check_choice(const struct opt *o, const char *word, int length) {
    if (is_choice(o->choices, word, length))
        return;
    struct arena a = {0};
    const char *closest = NULL, *c = o->choices;
    int best = 99, size = 0;
    while (*c) {
        int n = (int)strcspn(c, "|"), d = distance(word, length, c, n);
        if (d < best) {
            best = d;
            closest = c;
            size = n;
        }
        c += n + (c[n] == '|');
    }
    if (closest && close_enough(best, length))
        refuse(o, "'%.*s' is not one of %s; did you mean '%.*s'?", length, word, choices_text(&a, o->choices), size, closest);
    refuse(o, "'%.*s' is not one of %s", length, word, choices_text(&a, o->choices));
}

static void check_range(const struct opt *o, double value, const char *text) {
    if ((o->low == 0 && o->high == 0) || (value >= o->low && value <= o->high))
        return;
    struct arena a = {0};
    refuse(o, "%s is out of range; expected %s", text, range_text(&a, o));
}

static void store(struct opt *o, const char *text) {
    switch (o->kind) {
    case OPT_FLAG:
        *(bool *)o->at = true;
        break;
    case OPT_INT: {
        int64_t value;
        if (!parse_int(text, &value))
            refuse(o, "'%s' is not a whole number", text);
        check_range(o, (double)value, text);
        *(int64_t *)o->at = value;
        break;
    }
    case OPT_SEED: {
        uint64_t value;
        if (!parse_seed(text, &value))
            refuse(o, "'%s' is not a whole number from 0 to 18446744073709551615", text);
        check_range(o, (double)value, text);
        *(uint64_t *)o->at = value;
        break;
    }
    case OPT_REAL: {
        double value;
        if (!parse_real(text, &value))
            refuse(o, "'%s' is not a number", text);
        check_range(o, value, text);
        *(double *)o->at = value;
        break;
    }
    case OPT_REALS: {
        struct reals *r = o->at;
        r->count = 0;
        for (const char *at = text;; at++) {
            size_t length = strcspn(at, ",");
            char one[64];
            double value;
            if (length >= sizeof one)
                refuse(o, "'%s' is not a list of numbers", text);
            memcpy(one, at, length);
            one[length] = '\0';
            if (!parse_real(one, &value))
                refuse(o, "'%s' in '%s' is not a number", one, text);
            check_range(o, value, one);
            if (r->count == OPT_REALS_MAX)
                refuse(o, "more than %d values", OPT_REALS_MAX);
            r->value[r->count++] = value;
            at += length;
            if (*at == '\0')
                break;
        }
        break;
    }
    case OPT_TEXT:
    case OPT_FILE:
        *(const char **)o->at = text;
        break;
    case OPT_CHOICE:
        check_choice(o, text, (int)strlen(text));
        *(const char **)o->at = text;
        break;
    case OPT_WORDS:
        for (const char *at = text;; at++) {
            size_t length = strcspn(at, ",");
            check_choice(o, at, (int)length);
            at += length;
            if (*at == '\0')
                break;
        }
        *(const char **)o->at = text;
        break;
    }
}

// --- the walk ---

static struct opt *find_letter(const struct program *p, char letter) {
    for (int i = 0; i < option_count(p); i++)
        if (option(p, i)->letter == letter)
            return option(p, i);
    return NULL;
}

static _Noreturn void unknown_name(const struct program *p, const char *name, int length) {
    const char *closest = NULL;
    int best = 99;
    for (int i = 0; i < option_count(p); i++) {
        const char *candidate = option(p, i)->name;
        int d = distance(name, length, candidate, (int)strlen(candidate));
        if (d < best && option(p, i) != &builtin[COMPLETION]) {
            best = d;
            closest = candidate;
        }
    }
    if (closest && close_enough(best, length))
        msg_usage("unknown option --%.*s; did you mean --%s?", length, name, closest);
    msg_usage("unknown option --%.*s", length, name);
}

// An exact name, or a prefix that fits one option alone. NULL in the dry walk where there is none.
static struct opt *find_name(const struct program *p, const char *name, int length, bool dry) {
    struct opt *found = NULL;
    for (int i = 0; i < option_count(p); i++) {
        struct opt *o = option(p, i);
        if (strncmp(o->name, name, (size_t)length) != 0 || length == 0)
            continue;
        if (o->name[length] == '\0')
            return o;
        if (o == &builtin[COMPLETION])
            continue;
        if (found && dry)
            return NULL;
        if (found) {  // an exact name may still come
            for (int j = i + 1; j < option_count(p); j++)
                if (strncmp(option(p, j)->name, name, (size_t)length) == 0 && option(p, j)->name[length] == '\0')
                    return option(p, j);
            msg_usage("option --%.*s is ambiguous: --%s, --%s", length, name, found->name, o->name);
        }
        found = o;
    }
    if (found == NULL && !dry)
        unknown_name(p, name, length);
    return found;
}

static void take(struct opt *o, const char *value, bool dry) {
    if (dry) {
        if (o->kind == OPT_FLAG && o >= builtin && o < builtin + BUILTINS)
            *(bool *)o->at = true;
        return;
    }
    if (o->given && o->kind != OPT_FLAG)
        refuse(o, "given twice");
    o->given = true;
    store(o, value);
}

// The value of an option that has it in the next argument. Another option's name there is a forgotten value.
static const char *next_value(const struct opt *o, int argc, char **argv, int *i, bool dry) {
    const char *value = *i + 1 < argc ? argv[*i + 1] : NULL;
    if (value == NULL || strncmp(value, "--", 2) == 0) {
        if (dry)
            return NULL;
        if (value)
            refuse(o, "needs a value (%s), found %s; write --%s=%s if it is meant", o->argument, value, o->name, value);
        refuse(o, "needs a value (%s)", o->argument);
    }
    ++*i;
    return value;
}

static struct operands walk(struct program *p, int argc, char **argv, char **operand, bool dry) {
    struct operands found = {.value = operand};
    bool options = true;
    for (int i = 1; i < argc; i++) {
        char *word = argv[i];
        if (!options || word[0] != '-' || word[1] == '\0') {
            operand[found.count++] = word;
        } else if (strcmp(word, "--") == 0) {
            options = false;
        } else if (word[1] == '-') {
            const char *name = word + 2, *equals = strchr(name, '=');
            struct opt *o = find_name(p, name, equals ? (int)(equals - name) : (int)strlen(name), dry);
            if (o == NULL)
                continue;
            if (o->kind == OPT_FLAG && equals && !dry)
                refuse(o, "takes no value");
            take(o, equals                ? equals + 1
                    : o->kind == OPT_FLAG ? ""
                                          : next_value(o, argc, argv, &i, dry), dry);
        } else {
            // -q, -qv, -o FILE, -oFILE
            for (const char *c = word + 1; *c; c++) {
                struct opt *o = find_letter(p, *c);
                if (o == NULL) {
                    if (dry)
                        break;
                    msg_usage(isprint((unsigned char)*c) ? "unknown option -%c" : "unknown option", *c);
                }
                if (o->kind == OPT_FLAG) {
                    take(o, "", dry);
                    continue;
                }
                take(o, c[1] ? c + 1 : next_value(o, argc, argv, &i, dry), dry);
                break;
            }
        }
    }
    return found;
}

// The n-th word of the operands line, for "MODEL is missing".
static const char *operand_name(struct arena *a, const struct program *p, int n) {
    const char *c = p->operands;
    for (;;) {
        c += strspn(c, " ");
        int length = (int)strcspn(c, " ");
        if (length == 0)
            return "an operand";
        if (n-- == 0)
            return arena_print(a, "%.*s", length, c);
        c += length;
    }
}

struct operands opt_parse(struct program *p, int argc, char **argv) {
    check_table(p);
    msg_open(p->name);
    msg_verbosity(0);
    for (int i = 0; i < option_count(p); i++)
        option(p, i)->given = false;
    for (int i = 0; i < BUILTINS; i++)
        builtin_flag[i] = false;

    static char **operand;  // lives as long as the program
    free(operand);
    operand = memory_zero((size_t)(argc + 1) * sizeof *operand);
    walk(p, argc, argv, operand, true);
    if (builtin_flag[HELP] || builtin_flag[VERSION] || builtin_flag[COMPLETION]) {
        if (builtin_flag[HELP])
            print_help(p);
        else if (builtin_flag[VERSION])
            printf("%s (assay) %s\n", p->name, ASSAY_VERSION);
        else
            print_completion(p);
        msg_verbosity(-1);  // no closing line
        exit(msg_close());
    }

    struct operands found = walk(p, argc, argv, operand, false);
    msg_verbosity(builtin_flag[QUIET] ? -1 : builtin_flag[VERBOSE] ? 1 : 0);
    if (builtin_flag[QUIET] && builtin_flag[VERBOSE])
        msg_usage("options -q and -v exclude each other");
    struct arena a = {0};
    if (found.count < p->operands_min)
        msg_usage("%s is missing; usage: %s [OPTION...] %s", operand_name(&a, p, found.count), p->name, p->operands);
    if (p->operands_max >= 0 && found.count > p->operands_max) {
        if (p->operands_max == 0)
            msg_usage("'%s': no operands expected", found.value[0]);
        msg_usage("'%s' is one operand too many; usage: %s [OPTION...] %s", found.value[p->operands_max], p->name, p->operands);
    }
    return found;
}

// space.c: reading ranges, scaling, and filling in a command.
#include "space.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/opt.h"

// ---- reading

static bool is_name(const char *text, size_t length) {
    if (!length || isdigit((unsigned char)*text)) return false;
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)text[i]) && text[i] != '_') return false;
    return true;
}

static bool is_word(const char *text, size_t length) {
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)text[i]) && !strchr("._+-:/", text[i])) return false;
    return length > 0 && length < SPACE_TEXT;
}

static bool number(struct arena *a, const char *text, size_t length, double *value) {
    return parse_real(arena_print(a, "%.*s", (int)length, text), value);
}

// LOW..HIGH[:int][:log]
static bool read_numbers(struct space *s, struct space_axis *a, const char *dots, struct error *e) {
    size_t low = (size_t)(dots - a->range), high = strcspn(dots + 2, ":");
    const char *after = dots + 2 + high;
    if (!number(&s->arena, a->range, low, &a->low) || !number(&s->arena, dots + 2, high, &a->high))
        return error_set(e, EXIT_USAGE, "%s=%s: two numbers expected, LOW..HIGH", a->name, a->range);
    while (*after) {
        size_t length = strcspn(++after, ":");
        if (length == 3 && !strncmp(after, "int", 3))
            a->kind = SPACE_INT;
        else if (length == 3 && !strncmp(after, "log", 3))
            a->log = true;
        else
            return error_set(e, EXIT_USAGE, "%s=%s: '%.*s' is neither int nor log", a->name, a->range, (int)length,
                             after);
        after += length;
    }
    if (!(a->low < a->high))
        return error_set(e, EXIT_USAGE, "%s=%s: the first number has to be the smaller one", a->name, a->range);
    if (a->log && !(a->low > 0))
        return error_set(e, EXIT_USAGE, "%s=%s: a logarithmic range begins above 0", a->name, a->range);
    if (a->kind == SPACE_INT &&
        (a->low != rint(a->low) || a->high != rint(a->high) || fmax(fabs(a->low), fabs(a->high)) > 1e9))
        return error_set(e, EXIT_USAGE, "%s=%s: whole numbers up to 1e9 expected", a->name, a->range);
    double most = fmax(fabs(a->low), fabs(a->high));
    if (a->kind == SPACE_REAL && !(a->high - a->low > 1e-9 * most))
        return error_set(e, EXIT_USAGE, "%s=%s: too narrow a range to tell its values apart", a->name, a->range);
    if (a->kind == SPACE_REAL && !a->log && (most > SPACE_MOST || a->high - a->low < 1 / SPACE_MOST))
        return error_set(e, EXIT_USAGE, "%s=%s: numbers up to %g, and a width of %g or more, expected, or :log", a->name,
                         a->range, SPACE_MOST, 1 / SPACE_MOST);
    return true;
}

static bool read_words(struct space *s, struct space_axis *a, struct error *e) {
    a->kind = SPACE_CHOICE;
    for (const char *at = a->range;; at++) {
        size_t length = strcspn(at, ",");
        if (!is_word(at, length))
            return error_set(
                e, EXIT_USAGE,
                "%s=%s: words of letters, digits and . _ + - : / expected, with commas between them, or LOW..HIGH",
                a->name, a->range);
        if (a->words == SPACE_WORDS)
            return error_set(e, EXIT_USAGE, "%s: at most %d words to choose from", a->name, SPACE_WORDS);
        const char *word = arena_print(&s->arena, "%.*s", (int)length, at);
        for (int i = 0; i < a->words; i++)
            if (!strcmp(a->word[i], word))
                return error_set(e, EXIT_USAGE, "%s=%s: %s stands there twice", a->name, a->range, word);
        a->word[a->words++] = word;
        at += length;
        if (!*at) break;
    }
    a->high = a->words - 1;
    return a->words > 1 ||
           error_set(e, EXIT_USAGE, "%s=%s: nothing to choose from; LOW..HIGH or several words expected", a->name,
                     a->range);
}

bool space_add(struct space *s, const char *text, struct error *e) {
    size_t length = strcspn(text, "=");
    if (!text[length] || !is_name(text, length))
        return error_set(e, EXIT_USAGE, "%s: a range NAME=LOW..HIGH[:int][:log] or NAME=WORD,WORD expected", text);
    if (s->count == SPACE_AXES) return error_set(e, EXIT_USAGE, "at most %d ranges", SPACE_AXES);
    struct space_axis a = {.name = arena_print(&s->arena, "%.*s", (int)length, text),
                           .range = arena_text(&s->arena, text + length + 1)};
    if (!strcmp(a.name, "trial"))
        return error_set(e, EXIT_USAGE, "%s: {trial} is the trial's number, call the range something else", text);
    for (int i = 0; i < s->count; i++)
        if (!strcmp(s->axis[i].name, a.name)) return error_set(e, EXIT_USAGE, "range %s is given twice", a.name);
    const char *dots = strstr(a.range, "..");
    if (!(dots ? read_numbers(s, &a, dots, e) : read_words(s, &a, e))) return false;
    s->axis[s->count++] = a;
    return true;
}

void space_free(struct space *s) {
    arena_free(&s->arena);
    s->count = 0;
}

// ---- scale

// Whole numbers and words own a cell each, half a unit to both sides.
static double edge(const struct space_axis *a, double end) {
    double x = a->kind == SPACE_REAL ? end : end == a->low ? end - .5 : end + .5;
    return a->log ? log(x) : x;
}

static double rounded(const struct space_axis *a, double x) {
    char text[48];  // room for all those behind the point of a width of 1 / SPACE_MOST
    if (a->kind != SPACE_REAL)
        x = rint(x);
    else if (a->log) {
        snprintf(text, sizeof text, "%.5e", x);
        parse_real(text, &x);
    } else {
        int digits = 5 - (int)floor(log10(a->high - a->low));
        if (digits >= 0) snprintf(text, sizeof text, "%.*f", digits, x);
        else snprintf(text, sizeof text, "%.0fe%d", x / pow(10, -digits), -digits);
        parse_real(text, &x);
    }
    return fmin(fmax(x, a->low), a->high);
}

double space_value(const struct space_axis *a, double u) {
    double low = edge(a, a->low), x = low + fmin(fmax(u, 0), 1) * (edge(a, a->high) - low);
    return rounded(a, a->log ? exp(x) : x);
}

double space_unit(const struct space_axis *a, double value) {
    double low = edge(a, a->low), high = edge(a, a->high);
    return fmin(fmax(((a->log ? log(value) : value) - low) / (high - low), 0), 1);
}

void space_snap(const struct space *s, double *u) {
    for (int i = 0; i < s->count; i++) u[i] = space_unit(&s->axis[i], space_value(&s->axis[i], u[i]));
}

double space_points(const struct space *s) {
    double points = 1;
    for (int i = 0; i < s->count; i++)
        points *= s->axis[i].kind == SPACE_REAL ? INFINITY : s->axis[i].high - s->axis[i].low + 1;
    return points;
}

void space_point(const struct space *s, int64_t i, double *u) {
    for (int k = 0; k < s->count; k++) {
        int64_t cells = (int64_t)(s->axis[k].high - s->axis[k].low) + 1;
        u[k] = space_unit(&s->axis[k], s->axis[k].low + (double)(i % cells));
        i /= cells;
    }
}

// ---- commands

char *space_text(const struct space_axis *a, double value, char out[SPACE_TEXT]) {
    if (a->kind == SPACE_CHOICE)
        snprintf(out, SPACE_TEXT, "%s", a->word[(int)value]);
    else
        format_real(value, false, out);
    return out;
}

// The axis whose {NAME} begins here, or NULL. ${NAME} is the shell's.
static const struct space_axis *hole(const struct space *s, const char *command, const char *at, size_t *length) {
    if (*at != '{' || (at > command && at[-1] == '$')) return NULL;
    size_t n = strcspn(at + 1, "}");
    *length = n + 2;
    for (int i = 0; i < s->count && at[n + 1]; i++)
        if (strlen(s->axis[i].name) == n && !strncmp(s->axis[i].name, at + 1, n)) return &s->axis[i];
    return NULL;
}

bool space_fits(const struct space *s, const char *command, struct error *e) {
    for (int i = 0; i < s->count; i++) {
        size_t length;
        bool found = false;
        for (const char *at = command; *at && !found; at++) found = hole(s, command, at, &length) == &s->axis[i];
        if (!found)
            return error_set(e, EXIT_USAGE, "{%s} does not stand in the command, so %s would change nothing",
                             s->axis[i].name, s->axis[i].name);
    }
    return true;
}

char *space_command(const struct space *s, const char *command, const double *value, int64_t trial) {
    char *text = NULL, one[SPACE_TEXT];
    size_t size, length;
    FILE *f = open_memstream(&text, &size);
    BUG_IF(!f, "no memory stream");
    for (const char *at = command; *at; at += length) {
        const struct space_axis *a = hole(s, command, at, &length);
        if (a) {
            fputs(space_text(a, value[a - s->axis], one), f);
        } else if (!strncmp(at, "{trial}", 7) && (at == command || at[-1] != '$')) {
            fprintf(f, "%lld", (long long)trial);
            length = 7;
        } else {
            fputc(*at, f);
            length = 1;
        }
    }
    BUG_IF(fclose(f) != 0, "no memory for a command");
    return text;
}

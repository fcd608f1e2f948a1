// gate.c: --fail-if: parses conditions before any work is done, and holds the record against them after it.
#include "gate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/msg.h"
#include "../base/opt.h"
#include "record.h"

static const char *const relations[] = {
    [GATE_LESS] = "<", [GATE_LESS_EQUAL] = "<=", [GATE_MORE] = ">",
    [GATE_MORE_EQUAL] = ">=", [GATE_EQUAL] = "==", [GATE_UNEQUAL] = "!=",
};

// Copies without the blanks around it; false where there is nothing or too much.
static bool take(const char *from, size_t length, char *to, size_t room) {
    for (; length && *from == ' '; from++) length--;
    while (length && from[length - 1] == ' ') length--;
    if (!length || length >= room) return false;
    memcpy(to, from, length);
    to[length] = 0;
    return true;
}

static bool parse_one(const char *text, size_t length, struct gate *g) {
    char number[64];
    size_t at = 0, sign;
    while (at < length && !strchr("<>=!", text[at])) at++;
    for (sign = at; sign < length && strchr("<>=!", text[sign]);) sign++;
    if (g->count == GATE_MAX || !take(text, at, g->condition[g->count].path, GATE_PATH)) return false;
    if (!take(text + sign, length - sign, number, sizeof number)) return false;
    for (enum gate_relation r = GATE_LESS; r <= GATE_UNEQUAL; r++)
        if (sign - at == strlen(relations[r]) && !strncmp(text + at, relations[r], sign - at)) {
            g->condition[g->count].relation = r;
            return parse_real(number, &g->condition[g->count++].bound);
        }
    return false;
}

bool gate_parse(const char *text, struct gate *g, struct error *e) {
    g->count = 0;
    for (const char *at = text;; at++) {
        size_t length = strcspn(at, ",");
        if (!parse_one(at, length, g))
            return error_set(e, EXIT_USAGE, "condition \"%.*s\": PATH, one of < <= > >= == !=, and a number expected%s", (int)length, at,
                             g->count == GATE_MAX ? "; at most 32 of them" : "");
        at += length;
        if (!*at) return true;
    }
}

// The deepest part of the path that is there, and what it holds, for the message.
static bool missing(const json_t *record, const char *path, struct error *e) {
    char there[GATE_PATH + 16], keys[200] = "";
    const json_t *at = NULL;
    snprintf(there, sizeof there, "%s", path);
    while (!at) {
        char *dot = strrchr(there, '.');
        if (dot) *dot = 0;
        at = dot ? record_get(record, there) : record;
        if (!dot) snprintf(there, sizeof there, "the record");
    }
    size_t count = 0, used = 0;
    const char **key = json_is_object(at) ? record_keys(at, &count) : NULL;
    for (size_t i = 0; i < count && used < sizeof keys; i++)
        used += (size_t)snprintf(keys + used, sizeof keys - used, "%s%s", i ? ", " : "", key[i]);
    free(key);
    return error_set(e, EXIT_USAGE, "--fail-if: no %s; %s holds %s", path, there, count ? keys : "no such keys");
}

static bool compare(double value, enum gate_relation relation, double bound) {
    switch (relation) {
    case GATE_LESS: return value < bound;
    case GATE_LESS_EQUAL: return value <= bound;
    case GATE_MORE: return value > bound;
    case GATE_MORE_EQUAL: return value >= bound;
    case GATE_EQUAL: return value == bound;
    case GATE_UNEQUAL: return value != bound;
    }
    return false;
}

bool gate_holds(const struct gate *g, const json_t *record, char why[GATE_TEXT], struct error *e) {
    bool holds = false;
    for (int i = 0; i < g->count; i++) {
        char path[GATE_PATH + 16];
        snprintf(path, sizeof path, "%s", g->condition[i].path);
        if (!record_get(record, path)) snprintf(path, sizeof path, "metrics.%s", g->condition[i].path);
        if (!record_get(record, path)) return missing(record, path, e);
        double value;
        if (!record_get_real(record, path, &value)) return error_set(e, EXIT_INPUT, "--fail-if: %s is no number", path);
        if (holds || !compare(value, g->condition[i].relation, g->condition[i].bound)) continue;
        snprintf(why, GATE_TEXT, "%s is %.6g, and %s %.6g fails", path, value, relations[g->condition[i].relation], g->condition[i].bound);
        holds = true;
    }
    return holds;
}

struct gate gate_open(const char *condition) {
    struct gate g = {0};
    struct error e = {0};
    if (condition && !gate_parse(condition, &g, &e)) msg_usage("--fail-if: %s", e.text);
    return g;
}

int gate_close(const struct gate *g, const json_t *record) {
    struct error e = {0};
    char why[GATE_TEXT];
    bool failed = record && gate_holds(g, record, why, &e);
    if (e.status) msg_fail(&e);
    if (failed) msg_warn("--fail-if: %s", why);
    int status = msg_close();
    return failed ? EXIT_GATE : status;
}

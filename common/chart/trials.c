// trials.c: from a log of trials to numbers that a page shows.
#include "trials.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../io/record.h"
#include "summary.h"

static bool is_name(const char *text, size_t length) {
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)text[i]) && text[i] != '_') return false;
    return length > 0 && length < 40;
}

// A column of a tensor [n] or [n, d] of doubles, null where there is no number; NULL where there is no such tensor.
static json_t *column(const struct blob *b, const char *name, int64_t d, int64_t at) {
    const struct tensor *t = blob_find(b, name);
    if (!t || t->dtype != F64 || t->rank != (d ? 2 : 1) || (d && t->dim[1] != d)) return NULL;
    json_t *list = json_array();
    for (int64_t i = 0; i < t->dim[0] && i < TRIALS_SHOWN; i++) {
        double v = tensor_value(t, d ? i * d + at : i);
        json_array_append_new(list, isfinite(v) ? json_real(v) : json_null());
    }
    return list;
}

static void put(json_t *to, const char *key, json_t *value) {
    if (value) json_object_set_new(to, key, value);
}

static json_t *copy_of(const json_t *record, const char *path) { return json_deep_copy(record_get(record, path)); }

// The words of "sgd,adam"; NULL for "1..3".
static json_t *words_of(const char *range) {
    if (strstr(range, "..")) return NULL;
    json_t *words = json_array();
    while (*range) {
        size_t length = strcspn(range, ",");
        json_array_append_new(words, json_stringn(range, length));
        range += length + (range[length] == ',');
    }
    return words;
}

static json_t *effect_of(const struct blob *b, const char *name) {
    static const char *const parts[] = {"x", "mean", "sd"};
    json_t *effect = json_object();
    for (int i = 0; i < 3; i++) {
        char tensor[80];
        snprintf(tensor, sizeof tensor, "effect.%s.%s", name, parts[i]);
        put(effect, parts[i], column(b, tensor, 0, 0));
    }
    size_t count = json_array_size(json_object_get(effect, "x"));
    bool whole = count && json_array_size(json_object_get(effect, "mean")) == count &&
                 json_array_size(json_object_get(effect, "sd")) == count;
    if (whole) return effect;
    json_decref(effect);
    return NULL;
}

static json_t *range_of(const struct blob *b, const char *text, int64_t d, int64_t at) {
    size_t length = strcspn(text, "=");
    if (!text[length] || !is_name(text, length)) return NULL;
    char name[40], path[80];
    snprintf(name, sizeof name, "%.*s", (int)length, text);
    const char *range = text + length + 1, *flags = strchr(range, ':');
    json_t *one = json_pack("{s:s, s:s, s:b}", "name", name, "range", range, "log",
                            strstr(range, "..") && flags && strstr(flags, ":log"));
    put(one, "words", words_of(range));
    put(one, "x", column(b, "x", d, at));
    snprintf(path, sizeof path, "metrics.importance.%s.share", name);
    summary_put_real(one, "share", summary_real(b->record, path));
    snprintf(path, sizeof path, "metrics.importance.%s.total", name);
    summary_put_real(one, "total", summary_real(b->record, path));
    snprintf(path, sizeof path, "metrics.importance.%s.length", name);
    summary_put_real(one, "length", summary_real(b->record, path));
    put(one, "effect", effect_of(b, name));
    return one;
}

void trials_add(json_t *summary, const struct blob *b, const char *stem) {
    static const char *const texts[] = {"goal", "metric", "command"}, *const counts[] = {"trials", "failed"};
    json_t *searches = json_object_get(summary, "searches"), *ranges = json_array();
    char id[SUMMARY_ID];
    summary_new_id(searches, *stem ? stem : "search", id);
    json_t *s = json_pack("{s:s, s:s, s:[]}", "id", id, "digest", b->digest, "notes");
    for (int i = 0; i < 3; i++) {
        char path[40];
        snprintf(path, sizeof path, "config.%s", texts[i]);
        json_object_set_new(s, texts[i], json_string(summary_text(b->record, path)));
    }
    for (int i = 0; i < 2; i++) {
        char path[40];
        snprintf(path, sizeof path, "metrics.%s", counts[i]);
        summary_put_real(s, counts[i], summary_real(b->record, path));
    }
    summary_put_real(s, "starts", summary_real(b->record, "config.starts"));
    summary_put_real(s, "starts_best", summary_real(b->record, "metrics.starts.best"));
    put(s, "best", copy_of(b->record, "metrics.best"));
    put(s, "value", column(b, "value", 0, 0));
    put(s, "so_far", column(b, "best", 0, 0));
    const json_t *given = record_get(b->record, "config.ranges");
    int64_t d = (int64_t)json_array_size(given);
    for (int64_t j = 0; j < d && j < TRIALS_RANGES; j++) {
        const char *text = json_string_value(json_array_get(given, (size_t)j));
        json_t *one = text ? range_of(b, text, d, j) : NULL;
        if (one) json_array_append_new(ranges, one);
    }
    json_object_set_new(s, "ranges", ranges);
    size_t i;
    json_t *note;
    json_array_foreach(record_get(b->record, "notes"), i, note) if (json_is_string(note))
        json_array_append(json_object_get(s, "notes"), note);
    json_array_append_new(searches, s);
}

void trials_limits(const json_t *summary, json_t *limits) {
    if (json_array_size(json_object_get(summary, "searches")))
        summary_say(limits, "The best value of a search is the luckiest of many and flatters the settings: measure "
                            "them again on data that the "
                            "search did not see.");
}

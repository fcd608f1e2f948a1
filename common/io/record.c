// record.c: JSON records on jansson. The writer is our own because jansson prints a real with 17 digits
// (0.1 as 0.10000000000000001); here it is the shortest text that reads back as the same double.
#include "record.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/opt.h"
#include "../base/out.h"

json_t *record_new(void) {
    return json_pack("{s:{}, s:{}, s:[]}", "config", "metrics", "notes");
}

void record_set(json_t *record, const char *path, json_t *value) {
    BUG_IF(strncmp(path, "config.", 7) != 0 && strncmp(path, "metrics.", 8) != 0,
           "record path %s: config.* or metrics.* expected", path);
    json_t *at = record;
    for (const char *dot; (dot = strchr(path, '.')); path = dot + 1) {
        char key[256];
        BUG_IF(dot == path || dot - path >= (long)sizeof key, "record path with a part of %ld bytes",
               (long)(dot - path));
        memcpy(key, path, (size_t)(dot - path));
        key[dot - path] = 0;
        json_t *next = json_object_get(at, key);
        if (!json_is_object(next)) json_object_set_new(at, key, next = json_object());
        at = next;
    }
    BUG_IF(!*path, "record path ends with a dot");
    BUG_IF(json_object_set_new(at, path, value) != 0, "record value for %s", path);
}

void record_copy(json_t *record, const json_t *from, const char *path) {
    json_t *value = from ? record_get(from, path) : NULL;
    if (value) record_set(record, path, json_incref(value));
}

void record_real(json_t *record, const char *path, double value) {
    record_set(record, path, isfinite(value) ? json_real(value) : json_null());
}

void record_int(json_t *record, const char *path, int64_t value) {
    record_set(record, path, json_integer(value));
}

void record_text(json_t *record, const char *path, const char *value) {
    record_set(record, path, json_string(value));
}

void record_estimate(json_t *record, const char *path, double value, struct interval i) {
    char sibling[512];
    snprintf(sibling, sizeof sibling, "%s_interval", path);
    record_real(record, path, value);
    record_set(record, sibling, isfinite(i.low) && isfinite(i.high) ? json_pack("[f, f]", i.low, i.high) : json_null());
}

void record_rate(json_t *record, const char *path, long k, long n) {
    record_estimate(record, path, n > 0 ? (double)k / (double)n : NAN, stats_clopper_pearson(k, n, 0.95));
}

json_t *record_seed(uint64_t seed) {
    return seed <= INT64_MAX ? json_integer((json_int_t)seed) : json_sprintf("%llu", (unsigned long long)seed);
}

void record_note(json_t *record, const char *format, ...) {
    char *text;
    va_list list;
    va_start(list, format);
    int length = vasprintf(&text, format, list);
    va_end(list);
    BUG_IF(length < 0, "note: %s", format);
    json_t *notes = json_object_get(record, "notes");
    if (!json_is_array(notes)) json_object_set_new(record, "notes", notes = json_array());
    BUG_IF(json_array_append_new(notes, json_string(text)) != 0, "note is not UTF-8: %s", format);
    free(text);
}

json_t *record_get(const json_t *record, const char *path) {
    const json_t *at = record;
    while (at) {
        size_t length = strcspn(path, ".");
        char key[256];
        if (length >= sizeof key) return NULL;
        memcpy(key, path, length);
        key[length] = 0;
        int64_t index;
        if (json_is_array(at))
            at = parse_int(key, &index) && index >= 0 ? json_array_get(at, (size_t)index) : NULL;
        else
            at = json_object_get(at, key);
        if (!path[length]) break;
        path += length + 1;
    }
    return (json_t *)at;
}

bool record_get_real(const json_t *record, const char *path, double *value) {
    const json_t *found = record_get(record, path);
    if (!json_is_number(found)) return false;
    *value = json_number_value(found);
    return true;
}

bool record_continues(const json_t *record, const json_t *identity, const char *where, struct error *e) {
    const json_t *config = record ? json_object_get(record, "config") : NULL;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)identity, key, value) {
        const json_t *other = json_object_get(config, key);
        if (other && json_equal(other, value)) continue;
        char *here = record_dump(value), *there = other ? record_dump(other) : NULL;
        error_set(e, EXIT_INPUT, "%s is a checkpoint of another run: %s is %s there and %s here", where, key, there ? there : "missing", here);
        free(here);
        free(there);
        return false;
    }
    return true;
}

char *record_eps_key(double eps, char out[32]) {
    char text[32];
    snprintf(text, sizeof text, "%.6g", eps);
    parse_real(text, &eps);
    memcpy(out, "eps_", 4);
    format_real(eps, true, text);
    snprintf(out + 4, 28, "%.27s", text);
    for (char *c = out; *c; c++)
        if (*c == '.') *c = 'p';
    return out;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

const char **record_keys(const json_t *object, size_t *count) {
    const char **keys = memory_take((json_object_size(object) + 1) * sizeof *keys);
    const char *key;
    json_t *value;
    *count = 0;
    json_object_foreach ((json_t *)object, key, value) keys[(*count)++] = key;
    qsort(keys, *count, sizeof *keys, by_text);
    return keys;
}

static void write_text(FILE *f, const json_t *text) {
    char *quoted = json_dumps(text, JSON_ENCODE_ANY);
    BUG_IF(!quoted, "JSON string");
    fputs(quoted, f);
    free(quoted);
}

static void write_value(FILE *f, const json_t *v) {
    switch (json_typeof(v)) {
    case JSON_OBJECT: {
        size_t count;
        const char **keys = record_keys(v, &count);
        fputc('{', f);
        for (size_t i = 0; i < count; i++) {
            if (i) fputc(',', f);
            json_t *key = json_string(keys[i]);
            write_text(f, key);
            json_decref(key);
            fputc(':', f);
            write_value(f, json_object_get(v, keys[i]));
        }
        fputc('}', f);
        free(keys);
        break;
    }
    case JSON_ARRAY:
        fputc('[', f);
        for (size_t i = 0; i < json_array_size(v); i++) {
            if (i) fputc(',', f);
            write_value(f, json_array_get(v, i));
        }
        fputc(']', f);
        break;
    case JSON_REAL: {
        char text[32];
        format_real(json_real_value(v), false, text);
        fputs(text, f);
        if (!strpbrk(text, ".e")) fputs(".0", f);  // so that it stays a real when it is read
        break;
    }
    case JSON_INTEGER: fprintf(f, "%" JSON_INTEGER_FORMAT, json_integer_value(v)); break;
    case JSON_STRING: write_text(f, v); break;
    case JSON_TRUE: fputs("true", f); break;
    case JSON_FALSE: fputs("false", f); break;
    case JSON_NULL: fputs("null", f); break;
    }
}

char *record_dump(const json_t *value) {
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    BUG_IF(!f, "no memory stream");
    write_value(f, value);
    BUG_IF(fclose(f) != 0, "no memory for a record");
    return text;
}

bool record_print(const json_t *value, struct error *e) {
    char *text = record_dump(value);
    struct out *out = out_open(NULL, false, e);
    bool fine = out && out_print(out, e, "%s\n", text);
    if (fine)
        fine = out_close(out, e);
    else
        out_drop(out);
    free(text);
    return fine;
}

json_t *record_parse(const char *text, size_t length, const char *where, struct error *e) {
    json_error_t why;
    json_t *value = json_loadb(text, length, JSON_REJECT_DUPLICATES, &why);
    if (value) return value;
    error_set(e, EXIT_INPUT, "%s: JSON expected: %s (line %d, column %d)", where, why.text, why.line, why.column);
    return NULL;
}

// look.c: blobs for people: lists, statistics, values, differences, pictures.
#include "look.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/opt.h"
#include "part.h"
#include "record.h"

enum { SHORT_DIGEST = 12, SHORT_VALUE = 100 };

// ---- text

// Without control characters, so that a name cannot speak to the terminal.
static void print_plain(FILE *f, const char *text) {
    for (; *text; text++) fputc((unsigned char)*text < ' ' || *text == 127 ? '?' : *text, f);
}

static bool is_digest(const char *text) {
    return strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
}

static void print_digest(FILE *f, const char *digest, bool full) {
    fprintf(f, "%.*s", full || !is_digest(digest) ? 64 : SHORT_DIGEST, digest);
}

// A value on one line: text bare, anything else as JSON; long ones are cut.
static void print_value(FILE *f, const json_t *value, bool full) {
    const char *bare = json_string_value(value);
    if (bare && is_digest(bare)) {
        print_digest(f, bare, full);
        return;
    }
    char *text = bare ? NULL : record_dump(value);
    const char *shown = bare ? bare : text;
    size_t length = strlen(shown), most = full || length <= SHORT_VALUE ? length : SHORT_VALUE;
    while (most < length && most > 0 && ((unsigned char)shown[most] & 0xc0) == 0x80) most--;  // not inside a character
    char *cut = strndup(shown, most);
    print_plain(f, cut);
    if (most < length) fputs("...", f);
    free(cut);
    free(text);
}

// The leaves of an object as "a.b.c = value" lines.
static void print_leaves(FILE *f, int indent, const json_t *value, const char *path, bool full) {
    if (json_is_object(value) && json_object_size(value)) {
        size_t count;
        const char **keys = record_keys(value, &count);
        for (size_t i = 0; i < count; i++) {
            char longer[512];
            snprintf(longer, sizeof longer, "%s%s%s", path, *path ? "." : "", keys[i]);
            print_leaves(f, indent, json_object_get(value, keys[i]), longer, full);
        }
        free(keys);
        return;
    }
    fprintf(f, "%*s", indent, "");
    print_plain(f, path);
    fputs(" = ", f);
    print_value(f, value, full);
    fputc('\n', f);
}

static void print_record(FILE *f, const json_t *record, bool full) {
    size_t count;
    const char **keys = record_keys(record, &count);
    for (size_t i = 0; i < count; i++) {
        const json_t *part = json_object_get(record, keys[i]);
        if ((json_is_object(part) && !json_object_size(part)) || (json_is_array(part) && !json_array_size(part)))
            continue;
        fputs("  ", f);
        print_plain(f, keys[i]);
        fputc('\n', f);
        for (size_t k = 0; k < json_array_size(part); k++) {
            fputs("    ", f);
            print_value(f, json_array_get(part, k), full);
            fputc('\n', f);
        }
        if (!json_is_array(part)) print_leaves(f, 4, part, "", full);
    }
    free(keys);
}

static const char *text_of(const json_t *entry, const char *key) {
    const char *text = json_string_value(json_object_get(entry, key));
    return text ? text : "?";
}

static void print_lineage(FILE *f, const json_t *lineage, bool full) {
    if (json_array_size(lineage)) fputs("  lineage\n", f);
    for (size_t i = 0; i < json_array_size(lineage); i++) {
        const json_t *entry = json_array_get(lineage, i), *seed = json_object_get(entry, "seed");
        fprintf(f, "    %zu. ", i + 1);
        print_plain(f, text_of(entry, "program"));
        fputc(' ', f);
        print_plain(f, text_of(entry, "version"));
        if (seed) {
            fputs(", seed ", f);
            print_value(f, seed, full);
        }
        const json_t *inputs = json_object_get(entry, "inputs"), *options = json_object_get(entry, "options");
        for (size_t k = 0; k < json_array_size(inputs); k++) {
            fputs(k ? ", " : ", from ", f);
            print_value(f, json_array_get(inputs, k), full);
        }
        fputc('\n', f);
        if (json_object_size(options)) print_leaves(f, 7, options, "", full);
    }
}

// Writes and frees what was printed into memory.
static bool write_text(struct out *o, char *text, size_t size, struct error *e) {
    bool good = out_write(o, text, size, e);
    free(text);
    return good;
}

static int name_width(const struct blob *b, const char *names) {
    int width = 4;
    for (int i = 0; i < b->count; i++) {
        int length = (int)strnlen(b->tensor[i].name, 40);
        if (part_names_hold(names, b->tensor[i].name) && length > width) width = length;
    }
    return width;
}

static void print_name(FILE *f, const char *name, int width) {
    print_plain(f, name);
    int length = (int)strnlen(name, 1000);
    fprintf(f, "%*s", length < width ? width - length : 0, "");
}

// ---- lists

static uint64_t all_bytes(const struct blob *b) {
    uint64_t sum = 0;
    for (int i = 0; i < b->count; i++) sum += tensor_bytes(&b->tensor[i]);
    return sum;
}

bool look_list(const struct blob *b, bool full, struct out *o, struct error *e) {
    char *text = NULL, bytes[32], shape[128];
    size_t size;
    FILE *f = open_memstream(&text, &size);
    print_plain(f, b->source);
    fprintf(f, ": ");
    print_plain(f, *b->kind ? b->kind : "plain safetensors");
    const char *part = blob_meta(b, "assay.part");
    if (part) {
        fputs(", part ", f);
        print_plain(f, part);
    }
    fprintf(f, ", %d tensor%s, %s bytes, ", b->count, b->count == 1 ? "" : "s", tensor_size_text(all_bytes(b), bytes));
    print_digest(f, b->digest, full);
    fputc('\n', f);
    int width = name_width(b, NULL);
    for (int i = 0; i < b->count; i++) {
        const struct tensor *t = &b->tensor[i];
        fputs("  ", f);
        print_name(f, t->name, width);
        fprintf(f, "  %-4s  %-22s  %s\n", dtype_name(t->dtype), tensor_shape_text(t, shape),
                tensor_size_text(tensor_bytes(t), bytes));
    }
    if (b->record) print_record(f, b->record, full);
    print_lineage(f, b->lineage, full);
    const char *key;
    json_t *value;
    json_object_foreach (b->metadata, key, value) {
        bool known = strcmp(key, "assay.record") == 0 || strcmp(key, "assay.lineage") == 0 ||
                     strcmp(key, "assay.kind") == 0 || strcmp(key, "assay.version") == 0 ||
                     strcmp(key, "assay.part") == 0 || strcmp(key, "format") == 0;
        if (known) continue;
        fputs("  ", f);
        print_plain(f, key);
        fputs(" = ", f);
        print_value(f, value, full);
        fputc('\n', f);
    }
    fclose(f);
    return write_text(o, text, size, e);
}

bool look_verified(const struct blob *b, struct out *o, struct error *e) {
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    print_plain(f, b->source);
    fputs(b->sealed ? ": good: " : ": readable, but has no seal: ", f);
    print_plain(f, *b->kind ? b->kind : "plain");
    fprintf(f, " %s\n", b->digest);
    fclose(f);
    return write_text(o, text, size, e);
}

static json_t *shape_json(const struct tensor *t) {
    json_t *shape = json_array();
    for (int i = 0; i < t->rank; i++) json_array_append_new(shape, json_integer(t->dim[i]));
    return shape;
}

json_t *look_list_json(const struct blob *b) {
    json_t *tensors = json_object(), *list = json_object(), *metadata = json_copy(b->metadata);
    for (int i = 0; i < b->count; i++) {
        const struct tensor *t = &b->tensor[i];
        json_object_set_new(tensors, t->name,
                            json_pack("{s:s, s:o, s:I}", "dtype", dtype_name(t->dtype), "shape", shape_json(t), "bytes",
                                      (json_int_t)tensor_bytes(t)));
    }
    // What has a parsed form of its own need not stand there twice.
    static const char *const parsed[] = {"assay.record", "assay.lineage", "assay.kind"};
    for (size_t i = 0; i < sizeof parsed / sizeof *parsed; i++) json_object_del(metadata, parsed[i]);
    json_object_set_new(list, "source", json_string(b->source));
    json_object_set_new(list, "kind", json_string(b->kind));
    json_object_set_new(list, "digest", json_string(b->digest));
    json_object_set_new(list, "tensors", tensors);
    json_object_set_new(list, "metadata", metadata);
    json_object_set(list, "record", b->record ? b->record : json_null());
    json_object_set(list, "lineage", b->lineage ? b->lineage : json_null());
    return list;
}

// ---- statistics

struct statistics {
    int64_t count, nan, infinite;
    double min, max, mean, deviation;  // of the finite values, NaN where there are none; population deviation
};

static struct statistics statistics_of(const struct tensor *t) {
    struct statistics s = {.count = tensor_count(t), .min = INFINITY, .max = -INFINITY};
    // Two passes: the sum of squares of a mean far from 0 would lose the deviation.
    double sum = 0, square = 0;
    for (int64_t i = 0; i < s.count; i++) {
        double value = tensor_value(t, i);
        if (isnan(value))
            s.nan++;
        else if (isinf(value))
            s.infinite++;
        else {
            sum += value;
            s.min = fmin(s.min, value);
            s.max = fmax(s.max, value);
        }
    }
    int64_t finite = s.count - s.nan - s.infinite;
    if (finite == 0) {
        s.min = s.max = s.mean = s.deviation = NAN;
        return s;
    }
    s.mean = sum / (double)finite;
    for (int64_t i = 0; i < s.count; i++) {
        double value = tensor_value(t, i);
        if (isfinite(value)) square += (value - s.mean) * (value - s.mean);
    }
    s.deviation = sqrt(square / (double)finite);
    return s;
}

bool look_statistics(const struct blob *b, const char *names, struct out *o, struct error *e) {
    if (!part_check_names(b, names, e)) return false;
    char *text = NULL, shape[128];
    size_t size;
    FILE *f = open_memstream(&text, &size);
    int width = name_width(b, names);
    fprintf(f, "%-*s  %-4s  %-22s %13s %13s %13s %13s %9s %9s\n", width, "name", "type", "shape", "min", "max", "mean",
            "std", "NaN", "inf");
    for (int i = 0; i < b->count; i++) {
        const struct tensor *t = &b->tensor[i];
        if (!part_names_hold(names, t->name)) continue;
        struct statistics s = statistics_of(t);
        print_name(f, t->name, width);
        fprintf(f, "  %-4s  %-22s %13.7g %13.7g %13.7g %13.7g %9" PRId64 " %9" PRId64 "\n", dtype_name(t->dtype),
                tensor_shape_text(t, shape), s.min, s.max, s.mean, s.deviation, s.nan, s.infinite);
    }
    fclose(f);
    return write_text(o, text, size, e);
}

static json_t *finite_json(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *look_statistics_json(const struct blob *b, const char *names) {
    json_t *tensors = json_object();
    for (int i = 0; i < b->count; i++) {
        const struct tensor *t = &b->tensor[i];
        if (!part_names_hold(names, t->name)) continue;
        struct statistics s = statistics_of(t);
        json_object_set_new(tensors, t->name,
                            json_pack("{s:s, s:o, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "dtype", dtype_name(t->dtype),
                                      "shape", shape_json(t), "count", (json_int_t)s.count, "nan", (json_int_t)s.nan,
                                      "infinite", (json_int_t)s.infinite, "min", finite_json(s.min), "max",
                                      finite_json(s.max), "mean", finite_json(s.mean), "std",
                                      finite_json(s.deviation)));
    }
    return json_pack("{s:s, s:s, s:o}", "source", b->source, "digest", b->digest, "tensors", tensors);
}

// ---- values

static char *value_text(const struct tensor *t, int64_t i, char out[32]) {
    switch (t->dtype) {
    case I64: snprintf(out, 32, "%" PRId64, ((const int64_t *)t->data)[i]); break;
    case U64: snprintf(out, 32, "%" PRIu64, ((const uint64_t *)t->data)[i]); break;
    default: format_real(tensor_value(t, i), t->dtype != F64, out);
    }
    return out;
}

bool look_heading(const struct tensor *t, struct out *o, struct error *e) {
    char *text = NULL, shape[128];
    size_t size;
    FILE *f = open_memstream(&text, &size);
    fputs("# ", f);
    print_plain(f, t->name);
    fprintf(f, " %s %s\n", dtype_name(t->dtype), tensor_shape_text(t, shape));
    fclose(f);
    return write_text(o, text, size, e);
}

bool look_values(const struct tensor *t, struct out *o, struct error *e) {
    int64_t count = tensor_count(t), row = t->rank > 1 ? t->dim[t->rank - 1] : 1;
    char text[40];
    for (int64_t i = 0; i < count; i++) {
        value_text(t, i, text);
        strcat(text, (i + 1) % row ? " " : "\n");
        if (!out_write(o, text, strlen(text), e)) return false;
    }
    return true;
}

// ---- differences

// "[3, 1, 0]", the place of element i.
static char *place_text(const struct tensor *t, int64_t i, char out[256]) {
    struct tensor place = *t;
    for (int k = t->rank - 1; k >= 0; k--) {
        place.dim[k] = i % t->dim[k];
        i /= t->dim[k];
    }
    return tensor_shape_text(&place, out);
}

// How far element i of two tensors of one dtype is apart; 64-bit integers are compared exactly.
static double distance(const struct tensor *t, const struct tensor *u, int64_t i) {
    double x = tensor_value(t, i), y = tensor_value(u, i);
    if (isnan(x) || isnan(y)) return isnan(x) && isnan(y) ? 0 : INFINITY;
    if (x != y) return fabs(x - y);
    if (t->dtype != I64 && t->dtype != U64) return 0;
    uint64_t a = ((const uint64_t *)t->data)[i], b = ((const uint64_t *)u->data)[i];
    return (double)(a > b ? a - b : b - a);
}

static bool same_tensor(const struct tensor *t, const struct tensor *u, double tolerance, FILE *f) {
    char one[256], other[256];
    bool fits =
        t->dtype == u->dtype && t->rank == u->rank && memcmp(t->dim, u->dim, sizeof *t->dim * (size_t)t->rank) == 0;
    if (!fits) {
        print_plain(f, t->name);
        fprintf(f, ": %s %s and %s %s\n", dtype_name(t->dtype), tensor_shape_text(t, one), dtype_name(u->dtype),
                tensor_shape_text(u, other));
        return false;
    }
    int64_t count = tensor_count(t), differ = 0, first = 0, most = 0;
    double largest = 0;
    for (int64_t i = 0; i < count; i++) {
        double d = distance(t, u, i);
        if (d <= tolerance) continue;
        if (differ++ == 0) first = i;
        if (d > largest) {
            largest = d;
            most = i;
        }
    }
    if (!differ) return true;
    char x[32], y[32];
    print_plain(f, t->name);
    fprintf(f, ": %" PRId64 " of %" PRId64 " values differ, first at %s: %s and %s", differ, count,
            place_text(t, first, one), value_text(t, first, x), value_text(u, first, y));
    fprintf(f, "; most at %s: %s and %s, by %.7g\n", place_text(t, most, one), value_text(t, most, x),
            value_text(u, most, y), largest);
    return false;
}

bool look_differences(const struct blob *a, const struct blob *b, const char *names, double tolerance, bool *same,
                      struct out *o, struct error *e) {
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    *same = true;
    for (int i = 0, k = 0; i < a->count || k < b->count;) {
        const struct tensor *t = i < a->count ? &a->tensor[i] : NULL, *u = k < b->count ? &b->tensor[k] : NULL;
        int order = !u ? -1 : !t ? 1 : strcmp(t->name, u->name);
        i += order <= 0;
        k += order >= 0;
        const char *name = order <= 0 ? t->name : u->name;
        if (!part_names_hold(names, name)) continue;
        if (order == 0) {
            *same = same_tensor(t, u, tolerance, f) && *same;
            continue;
        }
        *same = false;
        print_plain(f, name);
        fprintf(f, ": only in %s\n", order < 0 ? a->source : b->source);
    }
    fclose(f);
    return write_text(o, text, size, e);
}

// ---- pictures

static const struct tensor *images_of(const struct blob *b, const char *name, struct error *e) {
    if (name) return blob_need(b, name, e);
    const struct tensor *found = blob_find(b, "x");
    if (found) return found;
    for (int i = 0; i < b->count; i++)
        if (b->tensor[i].rank == 3 || b->tensor[i].rank == 4) {
            if (found) {
                blob_refuse(b, e, "tensors %s and %s may be images; name one", found->name, b->tensor[i].name);
                return NULL;
            }
            found = &b->tensor[i];
        }
    if (!found) blob_refuse(b, e, "no tensor of images [N, C, H, W] or [N, H, W] found");
    return found;
}

// Image i as floats; the number of values outside [0, 1], NaN among them.
static int64_t take_image(const struct tensor *t, int64_t i, int64_t size, bool stretch, float *out) {
    int64_t outside = 0;
    double low = INFINITY, high = -INFINITY, scale = t->dtype == U8 ? 1 / 255.0 : 1;
    for (int64_t k = 0; k < size; k++) {
        double value = tensor_value(t, i * size + k) * scale;
        out[k] = (float)value;
        outside += !(value >= 0 && value <= 1);
        if (isfinite(value)) {
            low = fmin(low, value);
            high = fmax(high, value);
        }
    }
    for (int64_t k = 0; stretch && k < size; k++) out[k] = (float)((out[k] - low) / (high > low ? high - low : 1));
    return outside;
}

static const char *label_of(const struct blob *b, int64_t i, int64_t rows, struct arena *arena) {
    const struct tensor *y = blob_find(b, "y");
    if (!y || y->dtype != I64 || y->rank != 1 || y->dim[0] != rows) return arena_print(arena, "%" PRId64, i);
    int64_t label = ((const int64_t *)y->data)[i];
    const json_t *names = record_get(b->record, "config.class_names");
    const char *name = label >= 0 ? json_string_value(json_array_get(names, (size_t)label)) : NULL;
    return name ? arena_print(arena, "%" PRId64 " %s", i, name) : arena_print(arena, "%" PRId64 ": %" PRId64, i, label);
}

struct picture *look_picture(const struct blob *b, const struct look_wall *wall, int64_t *outside, struct error *e) {
    enum { SIDE_MAX = 4096 };
    const struct tensor *t = images_of(b, wall->name, e);
    char shape[128];
    *outside = 0;
    if (!t) return NULL;
    bool good = t->rank == 3 || (t->rank == 4 && (t->dim[1] == 1 || t->dim[1] == 3));
    int64_t high = good ? t->dim[t->rank - 2] : 0, wide = good ? t->dim[t->rank - 1] : 0;
    if (!good || high < 1 || wide < 1 || high > SIDE_MAX || wide > SIDE_MAX || t->dim[0] < 1) {
        blob_refuse(b, e,
                    "tensor %s: images [N, 1, H, W], [N, 3, H, W] or [N, H, W] with sides up to %d expected, %s found",
                    t->name, SIDE_MAX, tensor_shape_text(t, shape));
        return NULL;
    }
    int channels = t->rank == 4 ? (int)t->dim[1] : 1;
    int64_t count = t->dim[0] < wall->limit ? t->dim[0] : wall->limit, size = channels * high * wide;
    // A PNG file's sides, and one shade a byte, in what a person can still open.
    if (wide * wall->scale * wall->columns > 1 << 16 ||
        high * wall->scale * ((count + wall->columns - 1) / wall->columns) > 1 << 17) {
        blob_refuse(b, e, "%" PRId64 " images of %s at scale %d make too large a picture", count,
                    tensor_shape_text(t, shape), wall->scale);
        return NULL;
    }
    struct arena arena = {0};
    struct picture_cell *cell = arena_take(&arena, (size_t)count * sizeof *cell);
    float *image = arena_take(&arena, (size_t)(count * size) * sizeof *image);
    for (int64_t i = 0; i < count; i++) {
        *outside += take_image(t, i, size, wall->stretch, image + i * size);
        cell[i] = (struct picture_cell){.image = image + i * size, .label = label_of(b, i, t->dim[0], &arena)};
    }
    struct picture_grid grid = {
        .channels = channels, .height = (int)high, .width = (int)wide, .columns = wall->columns, .scale = wall->scale};
    struct picture *p = picture_of_grid(&grid, cell, count);
    arena_free(&arena);
    return p;
}

// intake.c: which images of a set are wanted, decided on the labels alone, then kept while they pass by.
#include "intake.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "../base/arena.h"
#include "../base/hash.h"
#include "../base/opt.h"
#include "../base/rng.h"
#include "record.h"

size_t intake_image_bytes(const struct intake *in) {
    return (size_t)in->channels * (size_t)in->height * (size_t)in->width * dtype_size(in->dtype);
}

// Keeps the positions whose byte in `keep` is set.
static void retain(struct intake *in, const unsigned char *keep) {
    int64_t n = 0;
    for (int64_t i = 0; i < in->count; i++)
        if (keep[i]) in->index[n++] = in->index[i];
    in->count = n;
}

// The k positions of `at` with the smallest draws: a random k of them, whoever else is there.
struct draw {
    double value;
    int64_t place;  // in in->index
};

static int by_value(const void *a, const void *b) {
    const struct draw *p = a, *q = b;
    if (p->value != q->value) return p->value < q->value ? -1 : 1;
    return (p->place > q->place) - (p->place < q->place);
}

static void test_part(struct intake *in) {
    struct stream s = rng_stream(in->choice.seed, "split/test");
    struct draw *draw = memory_take((size_t)in->count * sizeof *draw + 1);
    unsigned char *keep = memory_take((size_t)in->count + 1);
    for (int64_t i = 0; i < in->count; i++) draw[i] = (struct draw){rng_one(s, (uint32_t)in->index[i], 0, 0), i};
    qsort(draw, (size_t)in->count, sizeof *draw, by_value);
    int64_t tests = (int64_t)((double)in->count * in->choice.test_fraction + 0.5);
    for (int64_t i = 0; i < in->count; i++) keep[draw[i].place] = (i < tests) == in->choice.test;
    retain(in, keep);
    free(keep);
    free(draw);
}

// ---- classes

static int class_of(const struct intake *in, const char *word) {
    int64_t number;
    if (parse_int(word, &number)) return number >= 0 && number < in->classes ? (int)number : -1;
    for (int c = 0; c < in->classes; c++)
        if (in->class_name[c] && strcasecmp(in->class_name[c], word) == 0) return c;
    return -1;
}

// Fills to[old class] with the new one or -1.
static bool read_classes(struct intake *in, int *to, struct error *e) {
    const char *name[INTAKE_CLASSES_MAX];
    int count = 0;
    for (int c = 0; c < in->classes; c++) to[c] = -1;
    char *list = strdup(in->choice.classes), *rest = list, *word;
    bool good = true;
    while (good && (word = strsep(&rest, ","))) {
        while (*word == ' ') word++;
        int c = class_of(in, word);
        if (c < 0)
            good = error_set(e, EXIT_USAGE, "--classes: '%s' is neither a name nor a number in [0, %d]", word,
                             in->classes - 1);
        else if (to[c] >= 0)
            good = error_set(e, EXIT_USAGE, "--classes: '%s' is there twice", word);
        else {
            name[count] = in->class_name[c];
            in->chosen[count] = c;
            to[c] = count++;
        }
    }
    free(list);
    if (!good) return false;
    memcpy(in->class_name, name, (size_t)count * sizeof *name);
    in->classes = count;
    return true;
}

static bool take_classes(struct intake *in, int *to, struct error *e) {
    int classes = in->classes;
    for (int c = 0; c < classes; c++) to[c] = in->chosen[c] = c;
    if (!in->choice.classes) return true;
    if (!read_classes(in, to, e)) return false;
    unsigned char *keep = memory_take((size_t)in->count + 1);
    for (int64_t i = 0; i < in->count; i++) keep[i] = to[in->label[in->index[i]]] >= 0;
    retain(in, keep);
    free(keep);
    for (int c = 0; c < classes; c++) in->part |= to[c] != c;
    return true;
}

// ---- the other choices

static bool leave_out(struct intake *in, struct error *e) {
    const struct dataset *d = in->choice.exclude;
    const char *source = blob_meta(d->blob, "assay.source");
    if (d->index && !source)
        return error_set(e, EXIT_INPUT, "%s: has an index and no assay.source to say of what", d->blob->source);
    in->excluded = source ? source : d->blob->digest;
    unsigned char *keep = memory_take((size_t)in->total + 1);
    memset(keep, 1, (size_t)in->total);
    for (int64_t i = 0; i < d->count; i++) {
        int64_t at = d->index ? d->index[i] : i;
        // A position beyond the source means another source: told as such once its digest is known.
        if (at < in->total) keep[at] = 0;
    }
    for (int64_t i = 0; i < in->count; i++)
        keep[i] = keep[in->index[i]];  // index ascends: never reads what it has written
    retain(in, keep);
    free(keep);
    return true;
}

static bool take_subset(struct intake *in, struct error *e) {
    unsigned char *keep = dataset_choose(in->choice.subset, in->count, e);
    if (!keep) return error_prefix(e, "--subset");
    retain(in, keep);
    free(keep);
    return true;
}

static bool take_per_class(struct intake *in, const int *to, struct error *e) {
    int64_t k = in->choice.per_class;
    struct stream s = rng_stream(in->choice.seed, "subset/per-class");
    struct draw *draw = memory_take((size_t)in->count * sizeof *draw + 1);
    unsigned char *keep = memory_zero((size_t)in->count + 1);
    bool good = true;
    for (int64_t i = 0; i < in->count; i++) draw[i] = (struct draw){rng_one(s, (uint32_t)in->index[i], 0, 0), i};
    qsort(draw, (size_t)in->count, sizeof *draw, by_value);
    int64_t *found = memory_zero((size_t)in->classes * sizeof *found);
    for (int64_t i = 0; i < in->count; i++) {
        int c = to[in->label[in->index[draw[i].place]]];
        keep[draw[i].place] = found[c]++ < k;
    }
    for (int c = 0; good && c < in->classes; c++)
        if (found[c] < k)
            good = error_set(e, EXIT_INPUT, "--per-class %lld: class %d has %lld images", (long long)k, c,
                             (long long)found[c]);
    retain(in, keep);
    free(found);
    free(keep);
    free(draw);
    return good;
}

static bool make_choice(struct intake *in, struct error *e) {
    int to[INTAKE_CLASSES_MAX];
    in->count = in->total;
    for (int64_t i = 0; i < in->count; i++) in->index[i] = i;
    if (in->choice.test_fraction > 0) test_part(in);
    if (!take_classes(in, to, e)) return false;
    if (in->choice.exclude && !leave_out(in, e)) return false;
    if (in->choice.subset && in->count && !take_subset(in, e)) return false;
    if (in->choice.per_class && !take_per_class(in, to, e)) return false;
    if (in->choice.limit && in->choice.limit < in->count) in->count = in->choice.limit;
    if (!in->count) return error_set(e, EXIT_USAGE, "nothing is left of the set's %lld images", (long long)in->total);
    in->part |= in->count < in->total;
    in->y = memory_take((size_t)in->count * sizeof *in->y);
    for (int64_t i = 0; i < in->count; i++) in->y[i] = to[in->label[in->index[i]]];
    return true;
}

// ---- taking

// The digest of blob(5), fed as the images pass: the name of the whole source without ever holding it.
static void hash_head(struct hash *h, const char *name, enum dtype d, int rank, const int64_t *dim) {
    uint64_t bytes = dtype_size(d);
    hash_add_counted(h, name);
    hash_add_counted(h, dtype_name(d));
    hash_add_u64(h, (uint64_t)rank);
    for (int i = 0; i < rank; i++) {
        hash_add_u64(h, (uint64_t)dim[i]);
        bytes *= (uint64_t)dim[i];
    }
    hash_add_u64(h, bytes);
}

bool intake_begin(struct intake *in, int64_t total, const int64_t *label, struct error *e) {
    size_t image = intake_image_bytes(in), bytes;
    BUG_IF(image == 0 || in->classes < 1 || in->classes > INTAKE_CLASSES_MAX, "an intake of %d classes without a shape",
           in->classes);
    if (total < 1 || total > UINT32_MAX)
        return error_set(e, EXIT_INPUT, "images in [1, %u] expected, %lld found", UINT32_MAX, (long long)total);
    in->total = total;
    in->label = memory_take((size_t)total * sizeof *in->label);
    in->index = memory_take((size_t)total * sizeof *in->index);
    memcpy(in->label, label, (size_t)total * sizeof *label);
    for (int64_t i = 0; i < total; i++)
        if (label[i] < 0 || label[i] >= in->classes)
            return error_set(e, EXIT_INPUT, "labels in [0, %d] expected, %lld found for image %lld", in->classes - 1,
                             (long long)label[i], (long long)i);
    if (!make_choice(in, e)) return false;
    if (__builtin_mul_overflow((size_t)in->count, image, &bytes))
        return error_set(e, EXIT_INPUT, "images of %zu bytes are too many", image);
    in->x = memory_take(bytes);
    if (in->part || in->excluded) {
        in->hash = hash_new();
        hash_head(in->hash, "x", in->dtype, 4, (const int64_t[]){total, in->channels, in->height, in->width});
    }
    return true;
}

bool intake_image(struct intake *in, const void *image, struct error *e) {
    size_t bytes = intake_image_bytes(in);
    if (in->seen == in->total)
        return error_set(e, EXIT_INPUT, "more than the %lld images that have labels", (long long)in->total);
    if (in->hash) hash_add(in->hash, image, bytes);
    if (in->kept < in->count && in->index[in->kept] == in->seen)
        memcpy((char *)in->x + (size_t)in->kept++ * bytes, image, bytes);
    in->seen++;
    return true;
}

bool intake_end(struct intake *in, struct error *e) {
    if (in->seen < in->total)
        return error_set(e, EXIT_INPUT, "%lld images expected, %lld found", (long long)in->total, (long long)in->seen);
    if (!in->hash) return true;
    unsigned char digest[32];
    hash_head(in->hash, "y", I64, 1, &in->total);
    hash_add(in->hash, in->label, (size_t)in->total * sizeof *in->label);
    hash_end(in->hash, digest);
    in->hash = NULL;
    hash_hex(digest, in->source);
    if (in->excluded && strcmp(in->excluded, in->source) != 0)
        return error_set(e, EXIT_INPUT,
                         "--exclude %s: is taken from another set (source %.12s... expected, %.12s... found)",
                         in->choice.exclude->blob->source, in->source, in->excluded);
    return true;
}

void intake_free(struct intake *in) {
    unsigned char digest[32];
    if (in->hash) hash_end(in->hash, digest);
    free(in->label);
    free(in->index);
    free(in->y);
    free(in->x);
    memset(in, 0, sizeof *in);
}

struct blob *intake_blob(const struct intake *in, json_t *record) {
    struct blob *b = blob_new("dataset");
    json_t *names = json_array(), *counts = json_array();
    blob_add(b, "x", in->dtype, 4, (const int64_t[]){in->count, in->channels, in->height, in->width}, in->x);
    blob_add(b, "y", I64, 1, &in->count, in->y);
    if (in->part) {
        blob_add(b, "index", I64, 1, &in->count, in->index);
        blob_set_meta(b, "assay.source", in->source);
    }
    int64_t *count = memory_zero((size_t)in->classes * sizeof *count);
    for (int64_t i = 0; i < in->count; i++) count[in->y[i]]++;
    for (int c = 0; c < in->classes; c++) {
        json_array_append_new(counts, json_integer(count[c]));
        if (in->class_name[c]) json_array_append_new(names, json_string(in->class_name[c]));
    }
    free(count);
    record_int(record, "config.classes", in->classes);
    if (json_array_size(names) == (size_t)in->classes)
        record_set(record, "config.class_names", names);
    else
        json_decref(names);
    record_int(record, "metrics.count", in->count);
    record_set(record, "metrics.per_class", counts);
    blob_set_record(b, record);
    return b;
}

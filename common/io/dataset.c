// dataset.c: labelled images out of a blob, checked once so that no program has to ask again: shapes agree,
// labels are small and not negative, images lie in [0, 1].
#include "dataset.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../base/arena.h"
#include "../base/opt.h"
#include "../base/rng.h"
#include "record.h"

// Programs keep tables of classes x classes; a label out of a hostile file must not size them.
enum { CLASSES_MAX = 65536 };

static bool check_images(struct dataset *d, struct error *e) {
    const struct tensor *x = d->x;
    char shape[128];
    if ((x->dtype != U8 && x->dtype != F32) || x->rank != 4)
        return error_set(e, EXIT_INPUT, "tensor x: U8 or F32 [N, C, H, W] expected, %s %s found", dtype_name(x->dtype),
                         tensor_shape_text(x, shape));
    // The product cannot overflow: each factor is below 2^31 and it is compared after every step.
    int64_t size = 1;
    for (int i = 1; i < 4; i++) {
        if (x->dim[i] < 1 || x->dim[i] > INT_MAX || (size *= x->dim[i]) > INT_MAX)
            return error_set(e, EXIT_INPUT, "tensor x: %s is no size for images", tensor_shape_text(x, shape));
    }
    if (x->dim[0] < 1) return error_set(e, EXIT_INPUT, "tensor x: %s holds no images", tensor_shape_text(x, shape));
    d->count = x->dim[0];
    d->channels = (int)x->dim[1];
    d->height = (int)x->dim[2];
    d->width = (int)x->dim[3];
    if (x->dtype == F32) {
        const float *value = x->data;
        for (int64_t i = 0, n = tensor_count(x); i < n; i++)
            if (!(value[i] >= 0 && value[i] <= 1))  // NaN fails as well
                return error_set(e, EXIT_INPUT, "tensor x: values in [0, 1] expected, %g found in image %lld",
                                 (double)value[i], (long long)(i / dataset_image_size(d)));
    }
    return true;
}

static bool check_labels(struct dataset *d, struct error *e) {
    const struct tensor *y = blob_find(d->blob, "y");
    if (!tensor_expect(y, I64, 1, &d->count, e)) return false;
    d->y = y->data;
    int64_t largest = 0;
    for (int64_t i = 0; i < d->count; i++) {
        if (d->y[i] < 0 || d->y[i] >= CLASSES_MAX)
            return error_set(e, EXIT_INPUT, "tensor y: labels in [0, %d] expected, %lld found for image %lld",
                             CLASSES_MAX - 1, (long long)d->y[i], (long long)i);
        if (d->y[i] > largest) largest = d->y[i];
    }
    d->classes = (int)largest + 1;
    const json_t *named = d->blob->record ? record_get(d->blob->record, "config.classes") : NULL;
    if (json_is_integer(named) && json_integer_value(named) > d->classes) {
        if (json_integer_value(named) > CLASSES_MAX)
            return error_set(e, EXIT_INPUT, "record config.classes: at most %d expected, %lld found", CLASSES_MAX,
                             (long long)json_integer_value(named));
        d->classes = (int)json_integer_value(named);
    }
    return true;
}

static bool check_index(struct dataset *d, struct error *e) {
    const struct tensor *index = blob_find(d->blob, "index");
    if (!index) return true;
    if (!tensor_expect(index, I64, 1, &d->count, e)) return false;
    d->index = index->data;
    for (int64_t i = 0; i < d->count; i++)
        if (d->index[i] < 0)
            return error_set(e, EXIT_INPUT, "tensor index: positions expected, %lld found for image %lld",
                             (long long)d->index[i], (long long)i);
    return true;
}

struct dataset *dataset_of(struct blob *b, struct error *e) {
    struct dataset *d = memory_zero(sizeof *d);
    d->blob = b;
    // Where a tensor is missing the kind of the file says more, and the message has the file's name already.
    if (!blob_find(b, "x") && *b->kind && !blob_expect_kind(b, "dataset", e)) return dataset_free(d), NULL;
    d->x = blob_need(b, "x", e);
    if (!d->x || !blob_need(b, "y", e)) return dataset_free(d), NULL;
    if (check_images(d, e) && check_labels(d, e) && check_index(d, e)) return d;
    error_prefix(e, "%s: not a data set", b->source ? b->source : "blob");
    dataset_free(d);
    return NULL;
}

struct dataset *dataset_open(const char *path, struct error *e) {
    struct blob *b = blob_open(path, e);
    return b ? dataset_of(b, e) : NULL;
}

void dataset_free(struct dataset *d) {
    if (!d) return;
    blob_free(d->blob);
    free(d);
}

int64_t dataset_image_size(const struct dataset *d) {
    return (int64_t)d->channels * d->height * d->width;
}

void dataset_image(const struct dataset *d, int64_t i, float *out) {
    int64_t size = dataset_image_size(d);
    BUG_IF(i < 0 || i >= d->count, "image %lld of %lld", (long long)i, (long long)d->count);
    if (d->x->dtype == F32) {
        memcpy(out, (const float *)d->x->data + i * size, (size_t)size * sizeof *out);
        return;
    }
    const uint8_t *pixel = (const uint8_t *)d->x->data + i * size;
    for (int64_t j = 0; j < size; j++) out[j] = (float)pixel[j] / 255.0f;
}

// ---- choosing

struct draw {
    double value;
    int64_t example;
};

static int by_value(const void *a, const void *b) {
    const struct draw *p = a, *q = b;
    if (p->value != q->value) return p->value < q->value ? -1 : 1;
    return (p->example > q->example) - (p->example < q->example);
}

// Exactly floor(n / 2) of the examples: those with the smallest draws.
static void random_half(uint64_t seed, bool other, unsigned char *keep, int64_t count) {
    struct stream s = rng_stream(seed, "subset/half");
    struct draw *draw = memory_take((size_t)count * sizeof *draw);
    for (int64_t i = 0; i < count; i++) draw[i] = (struct draw){rng_one(s, (uint32_t)i, 0, 0), i};
    qsort(draw, (size_t)count, sizeof *draw, by_value);
    for (int64_t i = 0; i < count; i++) keep[draw[i].example] = (i < count / 2) != other;
    free(draw);
}

static bool seed_of_half(const char *text, uint64_t *seed, bool *other) {
    char number[32];
    const char *colon = strchr(text, ':');
    size_t length = colon ? (size_t)(colon - text) : strlen(text);
    *other = colon != NULL;
    if (length >= sizeof number || (colon && strcmp(colon, ":other") != 0)) return false;
    memcpy(number, text, length);
    number[length] = 0;
    return parse_seed(number, seed);
}

static bool mask_bytes(const unsigned char *keep, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (keep[i] > 1) return false;
    return true;
}

static bool read_mask_file(const char *path, unsigned char *keep, int64_t count) {
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size != count) return false;
    FILE *f = fopen(path, "rb");
    if (!f) return false;
    bool whole = fread(keep, 1, (size_t)count, f) == (size_t)count;
    fclose(f);
    return whole && mask_bytes(keep, count);
}

static bool read_mask_blob(const char *path, unsigned char *keep, int64_t count, struct error *e) {
    struct blob *b = blob_open(path, e);
    if (!b) return false;
    const struct tensor *t = blob_find(b, "keep");
    if (!t) t = blob_find(b, "assay.keep");
    bool good = false;
    if (!t)
        error_set(e, EXIT_INPUT, "%s: holds no tensor keep or assay.keep, and is no mask of %lld bytes of 0 and 1",
                  path, (long long)count);
    else if (t->dtype != BOOL && t->dtype != U8)
        error_set(e, EXIT_INPUT, "%s: tensor %s: U8 or BOOL expected, %s found", path, t->name, dtype_name(t->dtype));
    else if (t->rank != 1 || t->dim[0] != count)
        error_set(e, EXIT_INPUT, "%s: tensor %s: one byte for each of %lld examples expected, %lld found", path,
                  t->name, (long long)count, (long long)tensor_count(t));
    else if (!mask_bytes(t->data, count))
        error_set(e, EXIT_INPUT, "%s: tensor %s: bytes of 0 and 1 expected", path, t->name);
    else {
        memcpy(keep, t->data, (size_t)count);
        good = true;
    }
    blob_free(b);
    return good;
}

static bool choose(const char *word, unsigned char *keep, int64_t count, struct error *e) {
    if (strcmp(word, "all") == 0) {
        memset(keep, 1, (size_t)count);
        return true;
    }
    if (strncmp(word, "first:", 6) == 0) {
        int64_t k;
        if (!parse_int(word + 6, &k) || k < 1 || k > count)
            return error_set(e, EXIT_USAGE, "%s: a number in [1, %lld] expected after first:", word, (long long)count);
        memset(keep, 0, (size_t)count);
        memset(keep, 1, (size_t)k);
        return true;
    }
    if (strncmp(word, "random-half:", 12) == 0) {
        uint64_t seed;
        bool other;
        if (!seed_of_half(word + 12, &seed, &other))
            return error_set(e, EXIT_USAGE, "%s: random-half:SEED or random-half:SEED:other expected", word);
        random_half(seed, other, keep, count);
        return true;
    }
    struct stat st;
    if (strcmp(word, "-") != 0 && stat(word, &st) != 0)
        return error_set(e, EXIT_USAGE,
                         "%s: no such file, and none of all, first:K, random-half:SEED, random-half:SEED:other", word);
    return read_mask_file(word, keep, count) || read_mask_blob(word, keep, count, e);
}

unsigned char *dataset_choose(const char *word, int64_t count, struct error *e) {
    if (count < 0 || count > UINT32_MAX) {  // an example is one word of the counter
        error_set(e, EXIT_INPUT, "%lld examples: at most %lld can be chosen from", (long long)count,
                  (long long)UINT32_MAX);
        return NULL;
    }
    unsigned char *keep = memory_take((size_t)count + 1);
    if (choose(word, keep, count, e)) return keep;
    free(keep);
    return NULL;
}

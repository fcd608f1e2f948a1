// images.c: sets of images, checked once.
#include "images.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"

static bool check_shape(struct images *s, struct error *e) {
    const struct tensor *x = s->x;
    char shape[128];
    if ((x->dtype != U8 && x->dtype != F32) || (x->rank != 3 && x->rank != 4))
        return error_set(e, EXIT_INPUT, "tensor x: U8 or F32 [N, C, H, W] or [N, H, W] expected, %s %s found", dtype_name(x->dtype),
                         tensor_shape_text(x, shape));
    int64_t size = 1;  // cannot overflow: each factor is below 2^31, and it is compared after every step
    for (int i = 1; i < x->rank; i++)
        if (x->dim[i] < 1 || x->dim[i] > INT_MAX || (size *= x->dim[i]) > INT_MAX)
            return error_set(e, EXIT_INPUT, "tensor x: %s is no size for images", tensor_shape_text(x, shape));
    if (x->dim[0] < 1) return error_set(e, EXIT_INPUT, "tensor x: %s holds no images", tensor_shape_text(x, shape));
    s->count = x->dim[0];
    s->channels = x->rank == 4 ? (int)x->dim[1] : 1;
    s->height = (int)x->dim[x->rank - 2];
    s->width = (int)x->dim[x->rank - 1];
    s->size = size;
    return true;
}

static bool check_values(struct images *s, struct error *e) {
    const float *value = s->x->data;
    if (s->x->dtype != F32) return true;
    for (int64_t i = 0; i < s->count * s->size; i++) {
        if (isnan(value[i])) return error_set(e, EXIT_INPUT, "tensor x: numbers expected, nan found in image %lld", (long long)(i / s->size));
        s->outside += value[i] < 0 || value[i] > 1;
    }
    return true;
}

static bool take_list(const struct images *s, const char *name, const int64_t **list, struct error *e) {
    const struct tensor *t = blob_find(s->blob, name);
    if (!t) return true;
    if (!tensor_expect(t, I64, 1, &s->count, e)) return false;
    *list = t->data;
    for (int64_t i = 0; i < s->count; i++)
        if ((*list)[i] < 0)
            return error_set(e, EXIT_INPUT, "tensor %s: no negative numbers expected, %lld found for image %lld", name, (long long)(*list)[i], (long long)i);
    return true;
}

static bool take_certified(struct images *s, struct error *e) {
    const struct tensor *t = blob_find(s->blob, "certified");
    if (!t) return true;
    if (!tensor_expect(t, U8, 1, &s->count, e)) return false;
    s->certified = t->data;
    for (int64_t i = 0; i < s->count; i++)
        if (s->certified[i] > 1)
            return error_set(e, EXIT_INPUT, "tensor certified: 0 or 1 expected, %d found for image %lld", s->certified[i], (long long)i);
    return true;
}

struct images *images_of(struct blob *b, struct error *e) {
    struct images *s = memory_zero(sizeof *s);
    s->blob = b;
    s->name = b->source ? b->source : "blob";
    s->x = blob_need(b, "x", e);
    if (!s->x) return images_free(s), NULL;  // that message has the name already
    if (check_shape(s, e) && check_values(s, e) && take_list(s, "y", &s->y, e) && take_list(s, "index", &s->index, e) &&
        take_certified(s, e)) {
        s->source = s->index ? blob_meta(b, "assay.source") : b->digest;
        return s;
    }
    error_prefix(e, "%s", s->name);
    images_free(s);
    return NULL;
}

struct images *images_open(const char *path, struct error *e) {
    struct blob *b = blob_open(path, e);
    return b ? images_of(b, e) : NULL;
}

struct images *images_made(const struct images *like, const char *name, int64_t count, float **x) {
    struct images *s = memory_zero(sizeof *s);
    s->name = name;
    s->count = count;
    s->channels = like->channels;
    s->height = like->height;
    s->width = like->width;
    s->size = like->size;
    s->made = (struct tensor){.name = "x", .dtype = F32, .rank = 4, .dim = {count, like->channels, like->height, like->width}};
    s->made.data = *x = memory_zero((size_t)(count * like->size) * sizeof **x);
    s->x = &s->made;
    return s;
}

void images_free(struct images *s) {
    if (!s) return;
    blob_free(s->blob);
    free(s->made.data);
    free(s);
}

bool images_agree(const struct images *a, const struct images *b, struct error *e) {
    if (a->channels == b->channels && a->height == b->height && a->width == b->width) return true;
    return error_set(e, EXIT_INPUT, "%s: images of [%d, %d, %d] expected, as in %s, [%d, %d, %d] found", b->name, a->channels, a->height,
                     a->width, a->name, b->channels, b->height, b->width);
}

void images_row(const struct images *s, int64_t i, float *out) {
    BUG_IF(i < 0 || i >= s->count, "image %lld of %lld", (long long)i, (long long)s->count);
    if (s->x->dtype == F32) {
        const float *from = (const float *)s->x->data + i * s->size;
        for (int64_t j = 0; j < s->size; j++) out[j] = from[j] > 0 ? (from[j] < 1 ? from[j] : 1) : 0;
        return;
    }
    const uint8_t *pixel = (const uint8_t *)s->x->data + i * s->size;
    for (int64_t j = 0; j < s->size; j++) out[j] = (float)pixel[j] / 255.0f;
}

int64_t images_position(const struct images *s, int64_t i) { return s->index ? s->index[i] : i; }

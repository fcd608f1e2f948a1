// candidates.c: arrays in step, a sort that moves whole rows, the tensors of a reconstruction.
#include "candidates.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../io/record.h"

struct candidates *candidates_new(struct shape shape, int64_t count) {
    struct candidates *c = memory_zero(sizeof *c);
    size_t n = (size_t)count + 1;
    c->count = count;
    c->shape = shape;
    c->size = shape_count(&shape);
    c->x = memory_zero(n * (size_t)c->size * sizeof *c->x);
    c->y = memory_zero(n * sizeof *c->y);
    c->score = memory_zero(n * sizeof *c->score);
    c->confidence = memory_zero(n * sizeof *c->confidence);
    c->certified = memory_zero(n);
    return c;
}

static bool made_of(const struct blob *b, const struct model *m, struct error *e) {
    const json_t *model = b->record ? record_get(b->record, "config.model") : NULL;
    if (!blob_expect_kind(b, "reconstruction", e)) return false;
    return (json_is_string(model) && m->blob && !strcmp(json_string_value(model), m->blob->digest)) ||
           blob_refuse(b, e, "its images were made of another model");
}

struct candidates *candidates_of(const struct blob *b, const struct model *m, struct error *e) {
    const struct shape *s = &m->arch->input;
    const struct tensor *x = made_of(b, m, e) ? blob_need(b, "x", e) : NULL, *y = x ? blob_need(b, "y", e) : NULL;
    if (!y) return NULL;
    if (!tensor_expect(x, F32, 4, (int64_t[]){-1, s->dim[0], s->dim[1], s->dim[2]}, e) || !tensor_expect(y, I64, 1, x->dim, e)) {
        error_prefix(e, "%s", b->source);
        return NULL;
    }
    struct candidates *c = candidates_new(*s, x->dim[0]);
    const float *pixel = x->data;
    const int64_t *label = y->data;
    bool fine = true;
    for (int64_t i = 0; i < c->count * c->size && fine; i++)
        fine = (pixel[i] >= 0 && pixel[i] <= 1) ||
               blob_refuse(b, e, "tensor x: image %lld is not in [0, 1]", (long long)(i / c->size));
    for (int64_t i = 0; i < c->count && fine; i++)
        fine = (label[i] >= 0 && label[i] < m->classes) ||
               blob_refuse(b, e, "tensor y: a class below %d expected, %lld found", m->classes, (long long)label[i]);
    if (!fine) {
        candidates_free(c);
        return NULL;
    }
    if (c->count) memcpy(c->x, pixel, tensor_bytes(x));
    if (c->count) memcpy(c->y, label, tensor_bytes(y));
    return c;
}

void candidates_free(struct candidates *c) {
    if (!c) return;
    free(c->x);
    free(c->y);
    free(c->score);
    free(c->confidence);
    free(c->certified);
    free(c);
}

double candidates_probability(const float *logits, int64_t classes, int64_t y) {
    double top = logits[0], sum = 0;
    for (int64_t k = 1; k < classes; k++) top = fmax(top, logits[k]);
    for (int64_t k = 0; k < classes; k++) sum += exp(logits[k] - top);
    return exp(logits[y] - top) / sum;
}

void candidates_judge(struct candidates *c, const float *logits, int64_t classes) {
    for (int64_t i = 0; i < c->count; i++) {
        c->score[i] = candidates_probability(logits + i * classes, classes, c->y[i]);
        c->confidence[i] = (float)c->score[i];
    }
}

struct place {
    double score;
    int64_t at;
};

static int better_first(const void *a, const void *b) {
    const struct place *p = a, *q = b;
    if (p->score != q->score) return p->score > q->score ? -1 : 1;
    return (p->at > q->at) - (p->at < q->at);
}

void candidates_copy(struct candidates *to, int64_t at, const struct candidates *from, int64_t row) {
    memcpy(to->x + at * to->size, from->x + row * from->size, (size_t)from->size * sizeof *from->x);
    to->y[at] = from->y[row];
    to->score[at] = from->score[row];
    to->confidence[at] = from->confidence[row];
    to->certified[at] = from->certified[row];
}

void candidates_rank(struct candidates *c, int64_t keep) {
    if (!keep || keep > c->count) keep = c->count;
    struct place *order = memory_take((size_t)(c->count + 1) * sizeof *order);
    for (int64_t i = 0; i < c->count; i++) order[i] = (struct place){c->score[i], i};
    qsort(order, (size_t)c->count, sizeof *order, better_first);
    struct candidates *sorted = candidates_new(c->shape, keep);
    for (int64_t i = 0; i < keep; i++) candidates_copy(sorted, i, c, order[i].at);
    struct candidates swap = *c;
    *c = *sorted;
    *sorted = swap;
    candidates_free(sorted);
    free(order);
}

void candidates_save(struct candidates *c, struct blob *b) {
    for (int64_t i = 0; i < c->count * c->size; i++) c->x[i] = fminf(fmaxf(c->x[i], 0), 1);
    blob_add(b, "x", F32, 4, (int64_t[]){c->count, c->shape.dim[0], c->shape.dim[1], c->shape.dim[2]}, c->x);
    blob_add(b, "y", I64, 1, &c->count, c->y);
    blob_add(b, "confidence", F32, 1, &c->count, c->confidence);
    blob_add(b, "certified", U8, 1, &c->count, c->certified);
}

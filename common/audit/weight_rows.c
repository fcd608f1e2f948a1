// weight_rows.c: rows, their negatives, and what the model calls them.
#include "weight_rows.h"

#include <math.h>
#include <stdlib.h>

#include "../base/arena.h"

// Row w, or its negative, stretched to [0, 1]; a flat row is grey.
static void stretch(const float *w, float sign, int64_t n, float *out) {
    float low = sign * w[0], high = low;
    for (int64_t i = 1; i < n; i++) low = fminf(low, sign * w[i]), high = fmaxf(high, sign * w[i]);
    for (int64_t i = 0; i < n; i++) out[i] = high > low ? (sign * w[i] - low) / (high - low) : .5f;
}

struct candidates *weight_rows(const struct model *m, int64_t count, const char *device, struct pool *pool, struct error *e) {
    const struct arch_tensor *bias, *weight = arch_first_linear(m->arch, &bias);
    if (!weight) {
        error_set(e, EXIT_INPUT, "the first layer is not linear in the whole image, so its rows are no images");
        return NULL;
    }
    int64_t width = weight->shape.dim[0], size = weight->shape.dim[1];
    struct candidates *c = candidates_new(m->arch->input, 2 * width);
    for (int64_t i = 0; i < c->count; i++) {
        const float *w = m->theta + weight->offset + i / 2 * size;
        double squares = 0;
        for (int64_t j = 0; j < size; j++) squares += (double)w[j] * w[j];
        c->score[i] = sqrt(squares);
        stretch(w, i % 2 ? -1 : 1, size, c->x + i * size);
    }
    candidates_rank(c, count);
    float *logits = memory_take((size_t)(c->count * m->classes) * sizeof *logits);
    struct evaluator *v = evaluator_open(m, device, pool, e);
    bool fine = v && evaluator_rows(v, c->x, c->count, logits, e);
    for (int64_t i = 0; fine && i < c->count; i++) {
        const float *z = logits + i * m->classes;
        c->y[i] = evaluation_class(z, m->classes);
        c->confidence[i] = (float)candidates_probability(z, m->classes, c->y[i]);
    }
    evaluator_free(v);
    free(logits);
    if (fine) return c;
    candidates_free(c);
    return NULL;
}

// reduced.c: the architecture line with another first layer, and its weights in the span's basis.
#include "reduced.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"

// The line without a bias in its first linear element.
static struct arch *parse_without_bias(const struct arch *a, int64_t columns, struct error *e) {
    const char *linear = strstr(a->line, "linear "), *rest = linear + strcspn(linear, "|");
    struct arena arena = {0};
    int width = atoi(linear + strlen("linear "));
    char *line = arena_print(&arena, "%.*slinear %d nobias%s%s", (int)(linear - a->line), a->line, width, *rest ? " " : "", rest);
    struct arch *reduced = arch_parse(line, (struct shape){3, {columns, 1, 1}}, a->outputs, e);
    arena_free(&arena);
    return reduced;
}

static void project(const struct reduced *r, const struct span_slice *slice, const struct arch_tensor *weight,
                    const struct arch_tensor *bias) {
    const struct model *m = r->full;
    const struct arch_tensor *to = arch_first_linear(r->net->arch, &(const struct arch_tensor *){NULL});
    for (int64_t i = 0; i < weight->shape.dim[0]; i++) {
        const float *w = m->theta + weight->offset + i * slice->inputs;
        float *b = r->net->theta + to->offset + i * r->columns;
        double constant = bias ? m->theta[bias->offset + i] : 0, *row = memory_zero((size_t)(r->dims + 1) * sizeof *row);
        for (int64_t j = 0; j < slice->inputs; j++) {
            constant += w[j] * slice->x0[j];
            for (int64_t k = 0; k < r->dims; k++) row[k] += w[j] * slice->q[j * r->dims + k];
        }
        for (int64_t k = 0; k < r->dims; k++) b[k] = (float)row[k];
        if (bias) b[r->dims] = (float)(constant / r->last);
        free(row);
    }
}

static void copy_rest(const struct reduced *r, const struct arch_tensor *weight, const struct arch_tensor *bias) {
    const struct arch *from = r->full->arch, *to = r->net->arch;
    int at = 0;
    for (int i = 0; i < from->count; i++) {
        if (&from->param[i] == bias) continue;
        const struct arch_tensor *p = &from->param[i], *t = &to->param[at++];
        if (p == weight) continue;
        BUG_IF(t->count != p->count, "tensor %s became another one", p->name);
        memcpy(r->net->theta + t->offset, r->full->theta + p->offset, (size_t)p->count * sizeof(float));
    }
    if (from->state_size) memcpy(r->net->state, r->full->state, (size_t)from->state_size * sizeof(float));
}

struct reduced *reduced_open(const struct span *s, int64_t rank, struct error *e) {
    struct span_slice slice;
    if (!span_slice_open(s, rank, &slice, e)) return NULL;
    const struct arch_tensor *bias, *weight = arch_first_linear(s->m->arch, &bias);
    struct arch *a = parse_without_bias(s->m->arch, rank, e);
    if (!a) {
        span_slice_free(&slice);
        return NULL;
    }
    struct reduced *r = memory_zero(sizeof *r);
    r->full = s->m;
    r->net = model_new(a, 0);
    r->net->positive = s->m->positive;
    r->columns = rank;
    r->dims = slice.dims;
    r->pixels = slice.inputs;
    double squares = 1;
    for (int64_t j = 0; j < slice.inputs; j++) squares += slice.x0[j] * slice.x0[j];
    r->last = bias ? sqrt(squares) : 0;
    project(r, &slice, weight, bias);
    copy_rest(r, weight, bias);
    r->basis = memory_zero((size_t)(r->pixels * rank) * sizeof *r->basis);
    r->mean = memory_zero((size_t)r->pixels * sizeof *r->mean);
    for (int64_t j = 0; j < r->pixels; j++) {
        for (int64_t k = 0; k < r->dims; k++) r->basis[j * rank + k] = s->m->std * slice.q[j * r->dims + k];
        if (bias) r->basis[j * rank + r->dims] = s->m->std * slice.x0[j] / r->last;
        if (s->m->mean_count) r->mean[j] = s->m->mean[s->m->mean_count > 1 ? j : 0];
    }
    span_slice_free(&slice);
    return r;
}

void reduced_free(struct reduced *r) {
    if (!r) return;
    model_free(r->net);
    free(r->basis);
    free(r->mean);
    free(r);
}

void reduced_images(const struct reduced *r, const float *c, int64_t n, float *image) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < r->pixels; j++) {
            double sum = r->mean[j];
            for (int64_t k = 0; k < r->columns; k++) sum += r->basis[j * r->columns + k] * c[i * r->columns + k];
            image[i * r->pixels + j] = (float)sum;
        }
}

// The columns of the basis are std times orthonormal ones for e; the last is orthogonal to them.
void reduced_coordinates(const struct reduced *r, const float *image, int64_t n, float *c) {
    double scale = 1 / ((double)r->full->std * r->full->std);
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < r->dims; k++) {
            double sum = 0;
            for (int64_t j = 0; j < r->pixels; j++) sum += r->basis[j * r->columns + k] * (image[i * r->pixels + j] - r->mean[j]);
            c[i * r->columns + k] = (float)(scale * sum);
        }
        if (r->last > 0) c[i * r->columns + r->dims] = (float)r->last;
    }
}

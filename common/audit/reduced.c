// reduced.c: the architecture line with another first layer, and its weights in the span's basis.
#include "reduced.h"

#include <cblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "svd.h"

// LAPACK, column-major; libopenblas has it, no header of Debian's does.
extern void dgesv_(const int *n, const int *nrhs, double *a, const int *lda, int *pivot, double *b, const int *ldb, int *info);

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

// Every parameter but the first layer's.
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
    r->left = model_trained_squares(r->net);
    return r;
}

// ---- peeling

// Rows of dual that are dual to the rows of c to the last digit: (dual c')^-1 dual.
static bool make_dual(const double *c, const double *dual, int64_t count, int64_t columns, double *exact, struct error *e) {
    int n = (int)count, k = (int)columns, info;
    double *gram = memory_take((size_t)(count * count) * sizeof *gram);
    int *pivot = memory_take((size_t)count * sizeof *pivot);
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, n, k, 1, c, k, dual, k, 0, gram, n);  // dual c', as columns
    double *right = memory_take((size_t)(count * columns) * sizeof *right);
    for (int64_t i = 0; i < count; i++)
        for (int64_t j = 0; j < columns; j++) right[j * count + i] = dual[i * columns + j];
    dgesv_(&n, &k, gram, &n, pivot, right, &n, &info);
    for (int64_t i = 0; i < count; i++)
        for (int64_t j = 0; j < columns; j++) exact[i * columns + j] = right[j * count + i];
    free(right);
    free(gram);
    free(pivot);
    return !info || error_set(e, EXIT_INPUT, "the images that are known are not independent");
}

// The rows of `axis` [m][n], orthonormal, turned so that all but the last are 0 in the last column: the last is then the
// slice's origin. A Householder reflection; returns the last row's own last number.
static double turn_last(double *axis, int64_t m, int64_t n) {
    double length = 0, squares = 0, *v = memory_take((size_t)m * sizeof *v);
    for (int64_t k = 0; k < m; k++) length += axis[k * n + n - 1] * axis[k * n + n - 1];
    length = sqrt(length);
    for (int64_t k = 0; k < m; k++) {
        v[k] = (length > 0 ? axis[k * n + n - 1] / length : k == m - 1) - (k == m - 1);
        squares += v[k] * v[k];
    }
    for (int64_t j = 0; j < n && squares > 0; j++) {
        double along = 0;
        for (int64_t k = 0; k < m; k++) along += v[k] * axis[k * n + j];
        for (int64_t k = 0; k < m; k++) axis[k * n + j] -= 2 * along / squares * v[k];
    }
    free(v);
    return length;
}

static struct reduced *peeled_network(const struct reduced *r, int64_t columns, struct error *e) {
    struct arch *a = parse_without_bias(r->full->arch, columns, e);
    if (!a) return NULL;
    struct reduced *p = memory_zero(sizeof *p);
    const struct arch_tensor *bias, *weight = arch_first_linear(r->full->arch, &bias);
    *p = (struct reduced){.full = r->full, .net = model_new(a, 0), .columns = columns, .dims = columns - (r->last > 0), .pixels = r->pixels};
    p->net->positive = r->full->positive;
    copy_rest(p, weight, bias);
    p->basis = memory_zero((size_t)(p->pixels * columns) * sizeof *p->basis);
    p->mean = memory_take((size_t)p->pixels * sizeof *p->mean);
    memcpy(p->mean, r->mean, (size_t)p->pixels * sizeof *p->mean);
    p->explained = memory_zero((size_t)(a->size + 1) * sizeof *p->explained);
    return p;
}

static const struct arch_tensor *first_of(const struct reduced *r) {
    return arch_first_linear(r->net->arch, &(const struct arch_tensor *){NULL});
}

// What the known account for of the layer after the first: sum_i lambda_i (x) relu(B c_i), and of its bias sum_i lambda_i.
static void explain_second(const struct reduced *r, struct reduced *p, const double *c, const double *length, const double *lambda,
                           int64_t count) {
    const struct arch_tensor *first = first_of(r), *own = first_of(p);
    const float *b = r->net->theta + first->offset;
    for (int i = 0; i < p->net->arch->count; i++) {
        const struct arch_tensor *t = &p->net->arch->param[i], *from = &r->net->arch->param[i];
        if (t == own) continue;
        if (r->explained) memcpy(p->explained + t->offset, r->explained + from->offset, (size_t)t->count * sizeof(float));
        if (t->fixed) continue;
        for (int64_t k = 0; k < count && t->shape.rank == 1; k++)  // its bias
            for (int64_t o = 0; o < t->count; o++) p->explained[t->offset + o] += (float)(length[k] * lambda[k * t->count + o]);
        for (int64_t k = 0; k < count && t->shape.rank == 2; k++)
            for (int64_t j = 0; j < first->shape.dim[0]; j++) {
                double a = 0;
                for (int64_t l = 0; l < r->columns; l++) a += b[j * r->columns + l] * c[k * r->columns + l];
                for (int64_t o = 0; o < t->shape.dim[0] && a > 0; o++)
                    p->explained[t->offset + o * t->shape.dim[1] + j] += (float)(length[k] * lambda[k * t->shape.dim[0] + o] * a);
            }
    }
}

static double squares_left(const struct reduced *p) {
    double sum = 0;
    for (int i = 0; i < p->net->arch->count; i++) {
        const struct arch_tensor *t = &p->net->arch->param[i];
        for (int64_t j = t->offset; j < t->offset + t->count && !t->fixed; j++) {
            double left = (double)p->net->theta[j] - (double)p->explained[j];
            sum += left * left;
        }
    }
    return sum;
}

double *reduced_unexplained(const struct reduced *r) {
    const struct arch_tensor *first = first_of(r);
    double *target = memory_take((size_t)first->count * sizeof *target);
    for (int64_t i = 0; i < first->count; i++)
        target[i] = (double)r->net->theta[first->offset + i] - (r->explained ? (double)r->explained[first->offset + i] : 0);
    return target;
}

struct reduced *reduced_peel(const struct reduced *r, const double *c, const double *dual, const double *lambda, int64_t count,
                             struct error *e) {
    const struct arch_tensor *first = first_of(r);
    int64_t h = first->shape.dim[0], n = r->columns, m = n - count;
    BUG_IF(m < 1 || count < 1, "%lld of %lld images known", (long long)count, (long long)n);
    double *y = memory_take((size_t)(count * n) * sizeof *y), *d = memory_zero((size_t)(h * count) * sizeof *d);
    double *target = reduced_unexplained(r), *value = memory_zero((size_t)n * sizeof *value), *length = memory_zero((size_t)count * sizeof *length);
    double *left = memory_zero((size_t)(h * n) * sizeof *left), *axis = memory_zero((size_t)(n * n) * sizeof *axis);
    double *rest = memory_take((size_t)(h * n) * sizeof *rest);
    struct reduced *p = NULL;
    openblas_set_num_threads(1);
    bool fine = h >= n || error_set(e, EXIT_INPUT, "the first layer has less than %lld dimensions", (long long)n);
    fine = fine && make_dual(c, dual, count, n, y, e);
    if (fine) {
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)h, (int)count, (int)n, 1, target, (int)n, y, (int)n, 0, d, (int)count);
        for (int64_t k = 0; k < count; k++) length[k] = cblas_dnrm2((int)h, d + k, (int)count);
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)h, (int)n, (int)count, -1, d, (int)count, c, (int)n, 1, target, (int)n);
        memcpy(rest, target, (size_t)(h * n) * sizeof *rest);
        fine = svd(h, n, rest, value, left, axis, "the first layer less the images known", e);
    }
    double last = fine && r->last > 0 ? turn_last(axis, m, n) : 0;
    if (fine && r->last > 0 && !(last > 1e-9)) fine = error_set(e, EXIT_INPUT, "the images that are left have no slice");
    if (fine && (p = peeled_network(r, m, e))) {
        const struct arch_tensor *own = first_of(p);
        float *b = p->net->theta + own->offset, *explained = p->explained + own->offset;
        p->last = last > 0 ? r->last / last : 0;
        for (int64_t i = 0; i < h; i++)
            for (int64_t k = 0; k < m; k++) {
                double all = 0, part = 0;
                for (int64_t j = 0; j < n; j++) {
                    all += (double)r->net->theta[first->offset + i * n + j] * axis[k * n + j];
                    part += target[i * n + j] * axis[k * n + j];
                }
                b[i * m + k] = (float)all;
                explained[i * m + k] = (float)(all - part);
            }
        for (int64_t i = 0; i < p->pixels; i++)
            for (int64_t k = 0; k < m; k++)
                for (int64_t j = 0; j < n; j++) p->basis[i * m + k] += r->basis[i * n + j] * axis[k * n + j];
        explain_second(r, p, c, length, lambda, count);
        p->left = squares_left(p);
    }
    free(y), free(d), free(target), free(value), free(length), free(left), free(axis), free(rest);
    return p;
}

void reduced_free(struct reduced *r) {
    if (!r) return;
    model_free(r->net);
    free(r->basis);
    free(r->mean);
    free(r->explained);
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

// span.c: the row space of a first layer, by its singular value decomposition.
//
// The decomposition is of the weights themselves: a Gram matrix would square the ratio that has to be seen.
#include "span.h"

#include <cblas.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "svd.h"

const char *span_refused(const struct model *m) {
    const struct arch_tensor *bias, *first = arch_first_linear(m->arch, &bias);
    if (first && first->fixed) return "the first layer stays as it was drawn, so its rows tell nothing of the training images";
    if (first) return NULL;
    return "the first layer is not linear in the whole image, so its rows do not span the training images";
}

// Singular values below this are what rounding the weights to float32 makes of zero: errors of 2^-25 of each weight,
// independent, give a matrix of norm 2^-25 |A| / sqrt(width columns) (sqrt(width) + sqrt(columns)); the Frobenius norm is
// at most sqrt(values) of the largest singular value.
static double rounding(const struct span *s) {
    double squares = 0, w = (double)s->width, c = (double)s->columns;
    for (int64_t i = 0; i < s->values; i++) squares += s->value[i] * s->value[i];
    return .5 * FLT_EPSILON / 2 * sqrt(squares / (w * c)) * (sqrt(w) + sqrt(c));
}

// Columns that training feeds. That of a pixel which is 0 to the network in every image, as at the border once the mean
// image is subtracted, only decays, and is empty in the end: a gap that tells nothing of the number of images.
static int64_t live_columns(const struct span *s, const double *a) {
    double *squares = memory_zero((size_t)s->columns * sizeof *squares), most = 0;
    int64_t live = 0;
    for (int64_t i = 0; i < s->width; i++)
        for (int64_t j = 0; j < s->columns; j++) squares[j] += a[i * s->columns + j] * a[i * s->columns + j];
    for (int64_t j = 0; j < s->columns; j++) most = squares[j] > most ? squares[j] : most;
    for (int64_t j = 0; j < s->columns; j++) live += squares[j] > 1e-6 * most;
    free(squares);
    return live;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Rows that training feeds. A neuron that no image reaches only decays too, and as many as are left over at the end make a
// gap in front of the last few singular values: rows shorter than a tenth of the median count as such.
static int64_t live_rows(const struct span *s, const double *a) {
    double *squares = memory_zero((size_t)s->width * sizeof *squares);
    int64_t live = 0;
    for (int64_t i = 0; i < s->width; i++)
        for (int64_t j = 0; j < s->columns; j++) squares[i] += a[i * s->columns + j] * a[i * s->columns + j];
    qsort(squares, (size_t)s->width, sizeof *squares, by_size);
    for (int64_t i = 0; i < s->width; i++) live += squares[i] > .01 * squares[s->width / 2];
    free(squares);
    return live;
}

double span_ratio(const struct span *s, int64_t k) {
    double floor = rounding(s), next = s->value[k] > floor ? s->value[k] : floor;
    return next > 0 ? s->value[k - 1] / next : 1;
}

static void find_gap(struct span *s, int64_t live) {
    for (int64_t k = s->m->classes; k < s->values && k < live; k++) {
        double ratio = span_ratio(s, k);
        if (ratio <= s->gap) continue;
        s->gap = ratio;
        s->rank = k;
    }
}

static bool decompose(struct span *s, double *a, struct error *e) {
    double *left = memory_take((size_t)(s->width * s->values) * sizeof *left);
    bool fine = svd(s->width, s->columns, a, s->value, left, s->axis, "the first layer", e);
    free(left);
    return fine;
}

static bool take_rows(const struct span *s, const struct arch_tensor *weight, const struct arch_tensor *bias, double *a,
                      struct error *e) {
    const float *w = s->m->theta + weight->offset, *b = bias ? s->m->theta + bias->offset : NULL;
    for (int64_t i = 0; i < s->width; i++)
        for (int64_t j = 0; j < s->columns; j++) {
            float v = j < s->inputs ? w[i * s->inputs + j] : b[i];
            if (!isfinite(v))
                return error_set(e, EXIT_INPUT, "tensor %s: a finite number expected, %s found",
                                 j < s->inputs ? weight->name : bias->name, isnan(v) ? "nan" : "inf");
            a[i * s->columns + j] = v;
        }
    return true;
}

struct span *span_open(const struct model *m, struct error *e) {
    const struct arch_tensor *bias, *weight = arch_first_linear(m->arch, &bias);
    if (!weight) {
        error_set(e, EXIT_INPUT, "%s", span_refused(m));
        return NULL;
    }
    struct span *s = memory_zero(sizeof *s);
    s->m = m;
    s->width = weight->shape.dim[0];
    s->inputs = weight->shape.dim[1];
    s->bias = bias;
    s->columns = s->inputs + s->bias;
    s->values = s->width < s->columns ? s->width : s->columns;
    s->value = memory_zero((size_t)s->values * sizeof *s->value);
    s->axis = memory_zero((size_t)(s->values * s->columns) * sizeof *s->axis);
    double *a = memory_take((size_t)(s->width * s->columns) * sizeof *a);
    bool fine = take_rows(s, weight, bias, a, e);
    int64_t columns = live_columns(s, a), rows = live_rows(s, a);
    fine = fine && decompose(s, a, e);
    free(a);
    if (fine) {
        find_gap(s, columns < rows ? columns : rows);
        return s;
    }
    span_free(s);
    return NULL;
}

void span_free(struct span *s) {
    if (!s) return;
    free(s->value);
    free(s->axis);
    free(s);
}

// ---- the slice

// With V' = axis (rank rows) and last coordinates l = V' e_last: x0 = V l / |l|^2, and q = V N with N an orthonormal basis of
// the complement of l, whose columns have last coordinate 0 and so stay orthonormal without it. N is the Householder
// reflection that takes l to a multiple of the first unit vector, without its first column.
bool span_slice_open(const struct span *s, int64_t rank, struct span_slice *out, struct error *e) {
    *out = (struct span_slice){.inputs = s->inputs, .dims = rank - s->bias};
    if (rank < 1 + s->bias || rank > s->values)
        return error_set(e, EXIT_INPUT, "a span of %lld dimensions: %d to %lld expected of this first layer", (long long)rank,
                         1 + s->bias, (long long)s->values);
    int64_t c = s->columns, dims = out->dims;
    double squares = 0;
    for (int64_t k = 0; s->bias && k < rank; k++) squares += s->axis[k * c + c - 1] * s->axis[k * c + c - 1];
    if (s->bias && !(squares > 1e-12))
        return error_set(e, EXIT_INPUT, "the first layer's bias is zero in the span of %lld dimensions", (long long)rank);
    out->x0 = memory_zero((size_t)s->inputs * sizeof *out->x0);
    out->q = memory_zero((size_t)(s->inputs * dims) * sizeof *out->q);
    if (!s->bias) {
        for (int64_t k = 0; k < rank; k++)
            for (int64_t j = 0; j < s->inputs; j++) out->q[j * dims + k] = s->axis[k * c + j];
        return true;
    }
    double *h = memory_take((size_t)rank * sizeof *h), along = 0;  // h: l + sign(l_0) |l| e_0, normalised to |h|^2 = 2
    for (int64_t k = 0; k < rank; k++) h[k] = s->axis[k * c + c - 1];
    for (int64_t j = 0; j < s->inputs; j++)
        for (int64_t k = 0; k < rank; k++) out->x0[j] += s->axis[k * c + j] * h[k] / squares;
    h[0] += h[0] < 0 ? -sqrt(squares) : sqrt(squares);
    for (int64_t k = 0; k < rank; k++) along += h[k] * h[k] / 2;
    for (int64_t k = 0; k < rank; k++) h[k] /= sqrt(along);
    for (int64_t j = 0; j < s->inputs; j++) {
        double dot = 0;
        for (int64_t k = 0; k < rank; k++) dot += s->axis[k * c + j] * h[k];
        for (int64_t k = 1; k < rank; k++) out->q[j * dims + k - 1] = s->axis[k * c + j] - dot * h[k];
    }
    free(h);
    return true;
}

void span_slice_free(struct span_slice *slice) {
    free(slice->x0);
    free(slice->q);
    *slice = (struct span_slice){0};
}

// ---- distances

// Blocks of a fixed size, the last one filled up: a product of few rows may be another kernel's, with other bits, and an image is
// to have the same whatever stands beside it.
enum { IMAGES_PER_JOB = 256 };
struct measuring {
    const struct span *s;
    const struct dataset *d;
    const int64_t *index;
    int64_t n, rank;
    double eps, *distance, *leverage;
    double *rows, *part;  // per worker: [IMAGES_PER_JOB][columns], [IMAGES_PER_JOB][values]
    float *image;         // per worker: [inputs]
};

static void measure_block(void *data, long job, int worker) {
    struct measuring *w = data;
    const struct span *s = w->s;
    const struct model *m = s->m;
    int64_t from = (int64_t)job * IMAGES_PER_JOB, n = w->n - from < IMAGES_PER_JOB ? w->n - from : IMAGES_PER_JOB, c = s->columns;
    double *rows = w->rows + worker * IMAGES_PER_JOB * c, *part = w->part + worker * IMAGES_PER_JOB * s->values;
    float *image = w->image + worker * s->inputs;
    for (int64_t i = 0; i < n; i++) {
        dataset_image(w->d, w->index ? w->index[from + i] : from + i, image);
        for (int64_t j = 0; j < s->inputs; j++) {
            double mean = m->mean_count ? (double)m->mean[m->mean_count > 1 ? j : 0] : 0;
            rows[i * c + j] = (image[j] - mean) / m->std;
        }
        if (s->bias) rows[i * c + c - 1] = 1;
    }
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, IMAGES_PER_JOB, (int)s->values, (int)c, 1, rows, (int)c, s->axis, (int)c, 0,
                part, (int)s->values);
    for (int64_t i = 0; i < n; i++) {
        double squares = 0, inside = 0, outside = 0, weighted = 0;
        for (int64_t j = 0; j < c; j++) squares += rows[i * c + j] * rows[i * c + j];
        for (int64_t k = 0; k < s->values; k++) {
            double p = part[i * s->values + k] * part[i * s->values + k];
            if (k < w->rank) inside += p;
            else outside += p;
            weighted += p / (s->value[k] * s->value[k] + w->eps);
        }
        double beyond = squares - inside - outside;  // what no axis reaches
        if (!(beyond > 0) || s->values == c) beyond = 0;
        if (w->distance) w->distance[from + i] = sqrt(outside + beyond);
        if (w->leverage) w->leverage[from + i] = squares > 0 ? (weighted + beyond / w->eps) / squares : 0;
    }
}

// A tenth of the median eigenvalue. Where half of them are zero (a layer narrower than half its inputs, a start at
// zero) the rounding of the weights takes the median's place.
static double ridge(const struct span *s) {
    int64_t middle = s->columns / 2, other = s->columns % 2 ? middle : middle - 1;
    double high = other < s->values ? s->value[other] * s->value[other] : 0;
    double low = middle < s->values ? s->value[middle] * s->value[middle] : 0;
    double median = (high + low) / 2, least = rounding(s) * rounding(s);
    return .1 * (median > least ? median : least > 0 ? least : 1);
}

void span_measure(const struct span *s, int64_t rank, const struct dataset *d, const int64_t *index, int64_t n, double *distance,
                  double *leverage, struct pool *pool) {
    int64_t threads = pool_threads(pool);
    struct measuring w = {.s = s, .d = d, .index = index, .n = n, .rank = rank, .eps = ridge(s), .distance = distance,
                          .leverage = leverage};
    w.rows = memory_zero((size_t)(threads * IMAGES_PER_JOB * s->columns) * sizeof *w.rows);
    w.part = memory_take((size_t)(threads * IMAGES_PER_JOB * s->values) * sizeof *w.part);
    w.image = memory_take((size_t)(threads * s->inputs) * sizeof *w.image);
    openblas_set_num_threads(1);
    pool_run(pool, (long)((n + IMAGES_PER_JOB - 1) / IMAGES_PER_JOB), measure_block, &w);
    free(w.rows);
    free(w.part);
    free(w.image);
}

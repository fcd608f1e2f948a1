// direct.c: the choice of space and number, and the ranking.
#include "direct.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/out.h"
#include "../io/record.h"

static bool read_number(struct direct *d, int64_t images, struct error *e) {
    d->images = images;
    d->images_given = images > 0;
    if (images) return true;
    if (!d->span)
        return error_set(e, EXIT_USAGE, "the number of training images is to be told (--images N) where it is not read off the "
                         "first layer's span: %s", span_refused(d->m) ? span_refused(d->m) : "--span off");
    if (d->span->gap < SPAN_GAP)
        return error_set(e, EXIT_USAGE, "the singular values of the first layer show no gap (at most a factor of %.2f, after the "
                         "%lldth), so --images N is to tell the number of training images", d->span->gap,
                         (long long)d->span->rank);
    d->images = d->span->rank;
    return true;
}

struct direct *direct_open(const struct model *m, bool in_span, int64_t images, const struct kkt_options *o, struct pool *pool,
                           struct error *e) {
    struct direct *d = memory_zero(sizeof *d);
    struct kkt_options options = *o;
    d->m = m;
    bool fine = true;
    if (in_span && !span_refused(m)) fine = (d->span = span_open(m, e)) != NULL;
    fine = fine && read_number(d, images, e);
    if (fine && d->span) {  // more images than dimensions span the whole space
        int64_t rank = d->images < d->span->values ? d->images : d->span->values;
        fine = (d->reduced = reduced_open(d->span, rank, e)) != NULL;
    }
    if (fine) {
        struct kkt_options own = kkt_defaults(d->reduced != NULL);
        if (!options.candidates) options.candidates = 4 * d->images;
        if (isnan(options.lr)) options.lr = own.lr;
        if (isnan(options.start)) options.start = own.start;
        d->kkt = kkt_open(m, d->reduced, &options, pool, e);
        if (d->kkt) return d;
    }
    direct_free(d);
    return NULL;
}

void direct_free(struct direct *d) {
    if (!d) return;
    certificate_free(d->certificate);
    kkt_free(d->kkt);
    reduced_free(d->reduced);
    span_free(d->span);
    free(d);
}

// ---- ranking

// Images as the certificate leaves them.
static void take_solved(const struct direct *d, struct candidates *c) {
    size_t numbers = (size_t)(c->count * d->reduced->columns);
    float *x = memory_take((numbers + 1) * sizeof *x);
    for (size_t i = 0; i < numbers; i++) x[i] = (float)d->certificate->solved[i];
    reduced_images(d->reduced, x, c->count, c->x);
    free(x);
}

// Over the order that there is: first one candidate for each member, certified ones before others, then their copies, then the
// rest.
static void lift_certified(struct direct *d, struct candidates *c) {
    const struct certificate *t = d->certificate;
    for (int64_t i = 0; i < c->count; i++) {
        bool first = t->same[i] == i;
        d->copies += t->certified[i];
        d->certified += c->certified[i] = first && t->certified[i];
        c->score[i] = fmin(fmax(c->confidence[i], 0), 1);
        if (!t->found[i]) continue;
        c->confidence[i] = (float)(t->inside[i] * t->signs[i]);
        c->score[i] = c->confidence[i] + (c->certified[i] ? 3 : first ? 2 : 1);
        if (!t->certified[i]) continue;
        const double *lambda = t->lambda + i * t->classes;  // positive for the own class
        for (int64_t k = c->y[i] = 0; k < t->classes; k++)
            if (lambda[k] > lambda[c->y[i]]) c->y[i] = k;
    }
}

static void rank_by_agreement(const struct direct *d, struct candidates *c) {
    const struct kkt *k = d->kkt;
    enum { ROWS = 512 };
    int n = (int)c->count, size = (int)c->size;
    float *row = memory_take((size_t)n * (size_t)size * sizeof *row), *ncc = memory_take((size_t)n * ROWS * sizeof *ncc);
    for (int64_t i = 0; i < n; i++) {
        double mean = 0, squares = 0;
        for (int64_t j = 0; j < size; j++) mean += fminf(fmaxf(c->x[i * size + j], 0), 1) / (double)size;
        for (int64_t j = 0; j < size; j++) {
            row[i * size + j] = (float)(fminf(fmaxf(c->x[i * size + j], 0), 1) - mean);
            squares += (double)row[i * size + j] * row[i * size + j];
        }
        for (int64_t j = 0; j < size && squares > 0; j++) row[i * size + j] /= (float)sqrt(squares);
    }
    openblas_set_num_threads(1);  // the bits of a result do not depend on the processors
    for (int from = 0; from < n && !out_stopping(); from += ROWS) {
        int rows = n - from < ROWS ? n - from : ROWS;
        const float *block = row + (size_t)from * (size_t)size;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, n, size, 1, block, size, row, size, 0, ncc, n);
        for (int64_t i = from; i < from + rows; i++) {
            float most = 0;
            for (int64_t j = 0; j < n; j++)
                if (i / k->o.candidates != j / k->o.candidates && c->y[i] == c->y[j]) most = fmaxf(most, ncc[(i - from) * n + j]);
            c->score[i] = c->confidence[i] = fminf(most, 1);
        }
    }
    free(row);
    free(ncc);
}

static void rank_by_multiplier(const struct direct *d, struct candidates *c) {
    const struct kkt *k = d->kkt;
    double most = 0;
    for (int64_t i = 0; i < c->count; i++) {
        const float *l = k->l + i * k->classes;
        // The binary network's class 0 has the logit 0: its multiplier is that of class 1, negative.
        c->score[i] = fmax(0, k->m->binary && !c->y[i] ? -l[1] : l[c->y[i]]);
        most = fmax(most, c->score[i]);
    }
    for (int64_t i = 0; i < c->count; i++) c->confidence[i] = most > 0 ? (float)(c->score[i] / most) : 0;
}

struct candidates *direct_candidates(struct direct *d, struct pool *pool, struct error *e) {
    const struct kkt *k = d->kkt;
    struct candidates *c = candidates_new(d->m->arch->input, k->o.restarts * k->o.candidates);
    memcpy(c->y, k->y, (size_t)c->count * sizeof *c->y);
    if (d->reduced) reduced_images(d->reduced, k->x, c->count, c->x);
    else memcpy(c->x, k->x, (size_t)(c->count * c->size) * sizeof *c->x);
    if (k->o.restarts > 1) rank_by_agreement(d, c);
    else rank_by_multiplier(d, c);
    if (!d->reduced || d->images != d->reduced->columns || certificate_refused(d->reduced->net)) return c;
    d->certificate = certificate_open(d->reduced, k->x, c->count, pool, e);
    if (!d->certificate) {
        candidates_free(c);
        return NULL;
    }
    take_solved(d, c);
    lift_certified(d, c);
    return c;
}

double direct_residual(const struct direct *d) {
    double least = INFINITY;
    for (int64_t i = 0; i < d->kkt->o.restarts; i++) least = fmin(least, sqrt(d->kkt->residual[i]));
    return least;
}

void direct_note(const struct direct *d, struct blob *b, json_t *record) {
    const struct kkt *k = d->kkt;
    blob_add(b, "loss.residual", F64, 2, (int64_t[]){k->o.restarts, k->o.steps}, k->history);
    record_real(record, "metrics.residual", direct_residual(d));
    if (d->span) {
        record_real(record, "metrics.span.gap", d->span->gap);
        record_int(record, "metrics.span.rank", d->span->rank);
    }
    if (d->certificate) {
        record_int(record, "metrics.certified.images", d->certified);
        record_int(record, "metrics.certified.candidates", d->copies);
    }
}

const char *direct_claim(const struct model *m) {
    if (model_coupled_l2(m) > 0)
        return "coupled L2 on every parameter: at a stationary point the weights are a weighted sum of the training examples' "
               "gradients";
    if (m->arch->homogeneous)
        return "a homogeneous network: with coupled L2, or long after the fit, its weights are a weighted sum of the training "
               "examples' gradients, and Euler's identity gives the scale of the multipliers";
    return "neither decay nor homogeneity is known of this network: nothing promises that its weights are a weighted sum of "
           "gradients, and a small residual proves nothing";
}

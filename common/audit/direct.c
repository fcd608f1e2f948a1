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

static bool can_certify(const struct direct_round *r) {
    return r->reduced && r->images == r->reduced->columns && !certificate_refused(r->reduced->net);
}

struct direct *direct_open(const struct model *m, bool in_span, int64_t images, const struct kkt_options *o, struct pool *pool,
                           struct error *e) {
    struct direct *d = memory_zero(sizeof *d);
    struct direct_round *r = &d->round[0];
    d->m = m;
    d->o = *o;
    d->rounds = 1;
    bool fine = true;
    if (in_span && !span_refused(m)) fine = (d->span = span_open(m, e)) != NULL;
    fine = fine && read_number(d, images, e);
    r->images = d->images;
    if (fine && d->span) {  // more images than dimensions span the whole space
        int64_t rank = d->images < d->span->values ? d->images : d->span->values;
        fine = (r->reduced = reduced_open(d->span, rank, e)) != NULL;
    }
    if (fine) {
        struct kkt_options own = kkt_defaults(r->reduced != NULL);
        if (!d->o.candidates) d->o.candidates = 4 * d->images;
        if (isnan(d->o.lr)) d->o.lr = own.lr;
        if (isnan(d->o.start)) d->o.start = own.start;
        r->kkt = kkt_open(m, r->reduced, &d->o, pool, e);
        if (r->kkt && can_certify(r)) r->kkt->stop = 1;
        if (r->kkt) return d;
    }
    direct_free(d);
    return NULL;
}

static void free_round(struct direct_round *r) {
    certificate_free(r->certificate);
    kkt_free(r->kkt);
    reduced_free(r->reduced);
}

void direct_free(struct direct *d) {
    if (!d) return;
    for (int i = 0; i < d->rounds; i++) free_round(&d->round[i]);
    span_free(d->span);
    free(d);
}

struct kkt *direct_kkt(const struct direct *d) { return d->round[d->rounds - 1].kkt; }

int64_t direct_certified(const struct direct *d) {
    int64_t sum = 0;
    for (int i = 0; i < d->rounds; i++) sum += d->round[i].certified;
    return sum;
}

void direct_profile(struct direct *d, double seconds[PARTS]) {
    for (int p = 0; p < PARTS; p++) seconds[p] = 0;
    for (int i = 0; i < d->rounds; i++) {
        double part[PARTS];
        kkt_profile(d->round[i].kkt, part);
        for (int p = 0; p < PARTS; p++) seconds[p] += part[p];
    }
}

// ---- rounds

// Whether a round marks the candidate, for its member. Where another round follows, what is not exact is left to that.
static bool is_marked(const struct direct_round *r, int64_t i) {
    const struct certificate *t = r->certificate;
    return t->certified[i] && t->same[i] == i && (!r->peeled || t->sharp[i] < CERTIFICATE_SURE);
}

static void count_marks(struct direct_round *r) {
    r->certified = r->copies = 0;
    for (int64_t i = 0; r->certificate && i < r->certificate->count; i++) {
        r->copies += r->certificate->certified[i];
        r->certified += is_marked(r, i);
    }
}

// One that can have a certificate and has none gets it.
static bool certify_round(struct direct_round *r, struct pool *pool, struct error *e) {
    const struct kkt *k = r->kkt;
    if (r->certificate || !can_certify(r)) return true;
    r->certificate = certificate_open(r->reduced, k->x, k->restart * k->o.candidates, pool, e);
    count_marks(r);
    return r->certificate;
}

// Of images that are certain.
static int64_t exact_rows(const struct direct_round *r) {
    int64_t rows = 0;
    for (int64_t i = 0; i < r->certificate->count; i++) rows += is_marked(r, i) && r->certificate->sharp[i] < CERTIFICATE_SURE;
    return rows;
}

static struct reduced *peel(const struct direct_round *r, struct error *e) {
    const struct certificate *t = r->certificate;
    int64_t n = t->columns, classes = t->classes, known = 0;
    double *c = memory_take((size_t)(r->certified * n) * sizeof *c), *dual = memory_take((size_t)(r->certified * n) * sizeof *dual);
    double *lambda = memory_take((size_t)(r->certified * classes) * sizeof *lambda);
    for (int64_t i = 0; i < t->count; i++) {
        if (!is_marked(r, i)) continue;
        memcpy(c + known * n, t->solved + i * n, (size_t)n * sizeof *c);
        memcpy(dual + known * n, t->dual + i * n, (size_t)n * sizeof *dual);
        memcpy(lambda + known++ * classes, t->lambda + i * classes, (size_t)classes * sizeof *lambda);
    }
    struct reduced *p = reduced_peel(r->reduced, c, dual, lambda, known, e);
    free(c), free(dual), free(lambda);
    return p;
}

// False where there are no more rounds: the images that are certain are not independent, or explain everything.
static bool open_round(struct direct *d, struct pool *pool) {
    struct direct_round *r = &d->round[d->rounds - 1], *next = r + 1;
    struct kkt_options o = d->o;
    struct error refused = {0};
    r->peeled = true;
    count_marks(r);
    *next = (struct direct_round){.images = r->images - r->certified, .reduced = r->certified ? peel(r, &refused) : NULL};
    o.round = d->rounds;
    o.share = (double)next->images / (double)d->images;
    o.candidates = d->o.candidates * next->images / d->images;
    if (o.candidates < 1) o.candidates = 1;
    next->kkt = next->reduced ? kkt_open(d->m, next->reduced, &o, pool, &refused) : NULL;
    d->rounds++;
    if (next->kkt) next->kkt->stop = 1;
    else direct_drop(d);
    return next->kkt;
}

void direct_drop(struct direct *d) {
    struct direct_round *r = &d->round[--d->rounds];
    free_round(r);
    *r = (struct direct_round){0};
    r[-1].peeled = false;
    count_marks(r - 1);
}

bool direct_next(struct direct *d, int rounds, struct pool *pool, struct error *e) {
    struct direct_round *r = &d->round[d->rounds - 1];
    struct kkt *k = r->kkt;
    if (!can_certify(r) || k->restart < k->stop || !certify_round(r, pool, e) || out_stopping()) return false;
    bool rests = 4 * exact_rows(r) >= r->images;
    if (!rests && k->stop < k->o.restarts) {
        certificate_free(r->certificate);
        r->certificate = NULL;
        k->stop = k->o.restarts;
        return true;
    }
    bool more = r->certified < r->images && (rests || d->rounds > 1);
    return more && d->rounds < rounds && d->rounds < DIRECT_ROUNDS && open_round(d, pool);
}

// ---- ranking

// Images as the certificate leaves them.
static void take_solved(const struct direct_round *r, struct candidates *c) {
    size_t numbers = (size_t)(c->count * r->reduced->columns);
    float *x = memory_take((numbers + 1) * sizeof *x);
    for (size_t i = 0; i < numbers; i++) x[i] = (float)r->certificate->solved[i];
    reduced_images(r->reduced, x, c->count, c->x);
    free(x);
}

// Over the order that there is: first one candidate for each member, certified ones before others, then their copies, then the
// rest.
static void lift_certified(const struct direct_round *r, struct candidates *c) {
    const struct certificate *t = r->certificate;
    for (int64_t i = 0; i < c->count; i++) {
        bool first = t->same[i] == i;
        c->certified[i] = is_marked(r, i);
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

static void rank_by_agreement(const struct kkt *k, struct candidates *c) {
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

static void rank_by_multiplier(const struct kkt *k, struct candidates *c) {
    double most = 0;
    for (int64_t i = 0; i < c->count; i++) {
        const float *l = k->l + i * k->classes;
        // The binary network's class 0 has the logit 0: its multiplier is that of class 1, negative.
        c->score[i] = fmax(0, k->m->binary && !c->y[i] ? -l[1] : l[c->y[i]]);
        most = fmax(most, c->score[i]);
    }
    for (int64_t i = 0; i < c->count; i++) c->confidence[i] = most > 0 ? (float)(c->score[i] / most) : 0;
}

static struct candidates *candidates_of_round(struct direct *d, struct direct_round *r, struct pool *pool, struct error *e) {
    const struct kkt *k = r->kkt;
    if (!certify_round(r, pool, e)) return NULL;
    struct candidates *c = candidates_new(d->m->arch->input, k->restart * k->o.candidates);
    memcpy(c->y, k->y, (size_t)c->count * sizeof *c->y);
    if (r->reduced) reduced_images(r->reduced, k->x, c->count, c->x);
    else memcpy(c->x, k->x, (size_t)(c->count * c->size) * sizeof *c->x);
    if (k->restart > 1) rank_by_agreement(k, c);
    else rank_by_multiplier(k, c);
    if (!r->certificate) return c;
    take_solved(r, c);
    lift_certified(r, c);
    return c;
}

struct candidates *direct_candidates(struct direct *d, struct pool *pool, struct error *e) {
    int64_t count = 0, at = 0;
    for (int i = 0; i < d->rounds; i++) count += d->round[i].kkt->restart * d->round[i].kkt->o.candidates;
    struct candidates *all = candidates_new(d->m->arch->input, count);
    for (int i = 0; i < d->rounds; i++) {
        struct candidates *c = candidates_of_round(d, &d->round[i], pool, e);
        if (!c) {
            candidates_free(all);
            return NULL;
        }
        for (int64_t j = 0; j < c->count; j++) candidates_copy(all, at++, c, j);
        candidates_free(c);
    }
    return all;
}

double direct_residual(const struct direct_round *r) {
    double least = INFINITY;
    for (int64_t i = 0; i < r->kkt->restart; i++) least = fmin(least, sqrt(r->kkt->residual[i]));
    return least;
}

void direct_note(const struct direct *d, struct blob *b, json_t *record) {
    const struct kkt *k = d->round[0].kkt;
    blob_add(b, "loss.residual", F64, 2, (int64_t[]){k->restart, k->o.steps}, k->history);
    record_real(record, "metrics.residual", direct_residual(&d->round[0]));
    if (d->span) {
        record_real(record, "metrics.span.gap", d->span->gap);
        record_int(record, "metrics.span.rank", d->span->rank);
    }
    if (!d->round[0].certificate) return;
    json_t *rounds = json_array();
    int64_t copies = 0;
    for (int i = 0; i < d->rounds; i++) {
        const struct direct_round *r = &d->round[i];
        json_array_append_new(rounds, json_pack("{s:I, s:I, s:f}", "images", (json_int_t)r->images, "certified", (json_int_t)r->certified,
                                                "residual", direct_residual(r)));
        copies += r->copies;
    }
    record_set(record, "metrics.rounds", rounds);
    record_int(record, "metrics.certified.images", direct_certified(d));
    record_int(record, "metrics.certified.candidates", copies);
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

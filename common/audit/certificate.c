// certificate.c: the fits, by LAPACK's Cholesky factorisation in double, a candidate at a time.
//
// Unknowns are whitened: B^T = U S V^T (columns x neurons), d = y^T B^T = w^T V^T with w = S U^T y, so that the equations
// of w have rows of like length however small the smallest singular value is.
#include "certificate.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/out.h"
#include "svd.h"

// LAPACK, column-major; libopenblas has it, no header of Debian's does.
extern void dposv_(const char *uplo, const int *n, const int *nrhs, double *a, const int *lda, double *b, const int *ldb,
                   int *info);

enum { FIT_STEPS = 10, ROUNDS = 3, TURNS = 4, REFINES = 10 };
static const double CLEAR = .12;      // pre-activations beyond so many of their root mean square have a sign to be believed
static const double NEAR = .15;       // of a slope to 0 or 1, to choose an equation
static const double ON_KINK = .05, SETTLED = .02;  // slopes inside (0, 1), and those that are 0 or 1
static const double NONE = .005;      // of their root mean square: pre-activations too small to have a sign
static const double INSIDE = .9, ACTIVE = .15, SIGNS = .999, KINK = .025;
static const double LEFT = .01;       // of `sharp`, for a row of what known images leave to be believed
static const double TIGHT = 1e-3;     // pre-activations on kinks that vanish, over the root mean square
static const double SURE = 30;        // weight of another image's dual against a kink: nearly a constraint, and yet forgiven if wrong
static const double SAME = .98, CLOSE = .1;  // cosine of two rows, relative distance of two images of one member
enum { KINKS = 5, SPARE = 4 };

struct work {  // of one worker
    double *f, *weight, *g, *z, *r, *sorted;
};

struct certifying {
    struct certificate *c;
    const float *candidate;
    struct factors {       // B^T = U S V^T
        double *u, *s, *v; // u [columns][columns]: u[k] is the k-th left vector; s [columns]; v [neurons][columns]
    } rows, points;        // of what the images looked for leave in the first layer, and of the layer itself: the same, unless
                           // others are known
    const float *w2, *b;   // [classes][neurons], [neurons][columns]: the layer itself
    struct work *work;
};

// ---- the network

static const struct arch_tensor *second_layer(const struct arch *a) {
    const struct arch_tensor *bias, *first = arch_first_linear(a, &bias);
    for (int i = 0; first && i < a->count; i++)
        if (a->param[i].element != first->element && a->param[i].shape.rank == 2) return &a->param[i];
    return NULL;
}

const char *certificate_refused(const struct model *m) {
    static const char *const sentence = "a certificate needs two linear layers with a ReLU between them";
    const struct arch_tensor *bias, *first = arch_first_linear(m->arch, &bias), *second = second_layer(m->arch);
    if (!first || !second || m->arch->states || second->element != first->element + 2) return sentence;
    int last = 0;
    for (int i = 0; i < m->arch->count; i++) last = m->arch->param[i].element > last ? m->arch->param[i].element : last;
    const char *relu = strstr(m->arch->line, "| relu |");
    return last == second->element && m->arch->elements == last + 1 && relu ? NULL : sentence;
}

// ---- one fit

// argmin |F z|_1 with c . z = 1, by iteratively re-weighted least squares; F [rows][n]. False where it has no solution.
static bool fit_l1(struct work *w, int64_t rows, int64_t n, const double *c) {
    int in = (int)n, one = 1, info;
    for (int64_t i = 0; i < rows; i++) w->weight[i] = 1;
    for (int step = 0; step < FIT_STEPS; step++) {
        double *scaled = w->f + rows * n, trace = 0, along = 0;
        for (int64_t i = 0; i < rows; i++) {
            double root = sqrt(w->weight[i]);
            for (int64_t j = 0; j < n; j++) scaled[i * n + j] = root * w->f[i * n + j];
        }
        cblas_dsyrk(CblasColMajor, CblasUpper, CblasNoTrans, in, (int)rows, 1, scaled, in, 0, w->g, in);
        for (int64_t j = 0; j < n; j++) trace += w->g[j * n + j];
        for (int64_t j = 0; j < n; j++) w->g[j * n + j] += 1e-12 * trace / (double)n;
        memcpy(w->z, c, (size_t)n * sizeof *c);
        dposv_("U", &in, &one, w->g, &in, w->z, &in, &info);
        if (info) return false;
        for (int64_t j = 0; j < n; j++) along += c[j] * w->z[j];
        if (!(along > 0)) return false;
        for (int64_t j = 0; j < n; j++) w->z[j] /= along;
        cblas_dgemv(CblasRowMajor, CblasNoTrans, (int)rows, in, 1, w->f, in, w->z, 1, 0, w->r, 1);
        double largest = 0, mean = 0;
        for (int64_t i = 0; i < rows; i++) {
            w->r[i] = fabs(w->r[i]);
            largest = fmax(largest, w->r[i]);
            mean += w->r[i] / (double)rows;
        }
        // A floor under the residuals: where nearly all equations hold exactly the weights would lose them all but those.
        double floor = fmax(.05 * mean, 1e-9 * largest);
        for (int64_t i = 0; i < rows; i++) w->weight[i] = floor > 0 ? 1 / fmax(w->r[i], floor) : 1;
    }
    return true;
}

// The row's d, u and s out of w->z.
static void read_row(const struct certifying *t, const struct work *w, double *d, double *u, double *s) {
    const struct certificate *c = t->c;
    cblas_dgemv(CblasRowMajor, CblasNoTrans, (int)c->neurons, (int)c->columns, 1, t->rows.v, (int)c->columns, w->z, 1, 0, d, 1);
    for (int64_t j = 0; j < c->neurons; j++) {
        u[j] = 0;
        for (int64_t k = 0; k < c->classes; k++) u[j] += w->z[c->columns + k] * t->w2[k * c->neurons + j];
        s[j] = u[j] != 0 ? d[j] / u[j] : INFINITY;
    }
}

// One equation for each neuron with choice 1 (on) or 0 (off); -1: none.
static int64_t equations(const struct certifying *t, struct work *w, const signed char *choice) {
    const struct certificate *c = t->c;
    int64_t n = c->columns + c->classes, rows = 0;
    for (int64_t j = 0; j < c->neurons; j++) {
        if (choice[j] < 0) continue;
        double *f = w->f + rows++ * n;
        memcpy(f, t->rows.v + j * c->columns, (size_t)c->columns * sizeof *f);
        for (int64_t k = 0; k < c->classes; k++) f[c->columns + k] = choice[j] ? -t->w2[k * c->neurons + j] : 0;
    }
    return rows;
}

static int ascending(const void *a, const void *b) {
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static double median(double *x, int64_t n) {
    qsort(x, (size_t)n, sizeof *x, ascending);
    return x[n / 2];
}

static void pre_activations(const struct certifying *t, const double *x, double *a) {
    for (int64_t j = 0; j < t->c->neurons; j++) {
        a[j] = 0;
        for (int64_t l = 0; l < t->c->columns; l++) a[j] += (double)t->b[j * t->c->columns + l] * x[l];
    }
}

// a: the candidate's pre-activations.
static void judge(struct certificate *c, int64_t i, const double *u, const double *a, double *sorted) {
    const double *s = c->slope + i * c->neurons;
    for (int64_t j = 0; j < c->neurons; j++) sorted[j] = fabs(u[j]);
    qsort(sorted, (size_t)c->neurons, sizeof *sorted, ascending);
    double small = sorted[c->neurons / 5], squares = 0;
    int64_t big = 0, inside = 0, active = 0, kinks = 0, off = 0;
    for (int64_t j = 0; j < c->neurons; j++) {
        squares += a[j] * a[j];
        if (!(fabs(u[j]) > small)) continue;
        big++;
        active += fabs(s[j] - 1) < .1;
        inside += s[j] > -.1 && s[j] < 1.1;
        sorted[c->neurons + off++] = fmin(fabs(s[j]), fabs(s[j] - 1));
        if (s[j] > .2 && s[j] < .8) sorted[kinks++] = fabs(a[j]);
    }
    c->inside[i] = big ? (double)inside / (double)big : 0;
    c->active[i] = (double)active / (double)c->neurons;
    c->kink[i] = kinks >= KINKS ? median(sorted, kinks) / sqrt(squares / (double)c->neurons) : INFINITY;
    c->sharp[i] = off ? median(sorted + c->neurons, off) : INFINITY;
    c->found[i] = c->inside[i] >= INSIDE && c->active[i] > ACTIVE;
}

// The row of the image near x, and what it tells of x; false where the fit fails.
static bool fit_row(const struct certifying *t, struct work *w, int64_t job, const double *x) {
    struct certificate *c = t->c;
    int64_t n = c->columns, neurons = c->neurons;
    double *unit = memory_zero((size_t)(n + c->classes + 2 * neurons) * sizeof *unit);
    double *u = unit + n + c->classes, *a = u + neurons;
    double *d = c->row + job * neurons, *s = c->slope + job * neurons, *y = c->dual + job * n;
    signed char *choice = memory_take((size_t)neurons);
    for (int64_t k = 0; k < n; k++) {
        for (int64_t l = 0; l < n; l++) unit[k] += t->rows.u[k * n + l] * x[l];
        unit[k] /= t->rows.s[k];
    }
    pre_activations(t, x, a);
    double clear = CLEAR * cblas_dnrm2((int)neurons, a, 1) / sqrt((double)neurons);
    for (int64_t j = 0; j < neurons; j++) choice[j] = a[j] > clear ? 1 : a[j] < -clear ? 0 : -1;
    bool fine = true;
    for (int round = 0; round <= ROUNDS && fine; round++) {
        int64_t rows = equations(t, w, choice);
        if (rows < 2 * (n + c->classes)) {
            fine = round > 0;  // the last fit stands, if there was one
            break;
        }
        fine = fit_l1(w, rows, n + c->classes, unit);
        if (!fine) break;
        read_row(t, w, d, u, s);
        double largest = 0;
        for (int64_t j = 0; j < neurons; j++) largest = fmax(largest, fabs(d[j]));
        for (int64_t j = 0; j < neurons; j++)
            choice[j] = fabs(s[j]) < NEAR || fabs(d[j]) < .02 * largest ? 0 : fabs(s[j] - 1) < NEAR ? 1 : -1;
        judge(c, job, u, a, w->sorted);
        if (c->inside[job] < .4) break;  // nothing that more rounds would mend
    }
    double length = cblas_dnrm2((int)neurons, d, 1), scale = length > 0 ? 1 / length : 0;
    if (!fine) scale = c->inside[job] = c->found[job] = c->certified[job] = 0;
    for (int64_t j = 0; j < neurons; j++) d[j] *= scale;
    for (int64_t k = 0; k < c->classes; k++) c->lambda[job * c->classes + k] = fine ? scale * w->z[n + k] : 0;
    for (int64_t l = 0; l < n; l++) {
        y[l] = 0;
        for (int64_t k = 0; k < n && fine; k++) y[l] += t->rows.u[k * n + l] * w->z[k] / t->rows.s[k];
    }
    free(choice);
    free(unit);
    return fine;
}

// ---- the image itself

// The image that a row's kinks pin down: c . B_j = 0 for every neuron j with a slope inside (0, 1), the last number of c known; and
// what the duals of other images add, c . y = 0, as `more` [mores][columns] in whitened numbers, but for number `own` of them.
// In whitened numbers p = S U^T c the kinks' equations are rows of V. A neuron whose pre-activation is clear at a point nearby,
// as in a (NULL: not known), is no kink: one such would pull the fit away. False where there are too few equations.
static bool solve_kinks(const struct certifying *t, struct work *w, int64_t job, const double *a, const double *more, int64_t mores,
                        int64_t own, double *solved) {
    const struct certificate *c = t->c;
    const struct factors *f = &t->points;
    int64_t n = c->columns, rows = 0;
    const double *s = c->slope + job * c->neurons;
    double clear = a ? CLEAR * cblas_dnrm2((int)c->neurons, a, 1) / sqrt((double)c->neurons) : INFINITY;
    for (int64_t j = 0; j < c->neurons; j++)
        if (s[j] > ON_KINK && s[j] < 1 - ON_KINK && (!a || fabs(a[j]) < clear))
            memcpy(w->f + rows++ * n, f->v + j * n, (size_t)n * sizeof(double));
    for (int64_t k = 0; k < mores; k++)
        if (k != own) memcpy(w->f + rows++ * n, more + k * n, (size_t)n * sizeof(double));
    if (rows < n + n / 8 || !(c->in->last > 0)) return false;
    double *unit = memory_take((size_t)n * sizeof *unit);
    for (int64_t k = 0; k < n; k++) unit[k] = f->u[k * n + n - 1] / f->s[k] / c->in->last;
    bool fine = fit_l1(w, rows, n, unit);
    free(unit);
    for (int64_t l = 0; l < n; l++) {
        solved[l] = 0;
        for (int64_t k = 0; k < n && fine; k++) solved[l] += f->u[k * n + l] * w->z[k] / f->s[k];
    }
    return fine;
}

// The share of neurons off their kinks whose pre-activation has the sign that their slope asks for; 0 where there are too few
// to tell.
static double signs_right(const struct certifying *t, int64_t job, const double *x, double *a) {
    const struct certificate *c = t->c;
    const double *s = c->slope + job * c->neurons;
    int64_t right = 0, count = 0;
    pre_activations(t, x, a);
    double none = NONE * cblas_dnrm2((int)c->neurons, a, 1) / sqrt((double)c->neurons);
    for (int64_t j = 0; j < c->neurons; j++) {
        bool on = fabs(s[j] - 1) < SETTLED, off = fabs(s[j]) < SETTLED;
        if ((!on && !off) || fabs(a[j]) <= none) continue;
        count++;
        right += on ? a[j] > 0 : a[j] < 0;
    }
    return count >= 2 * (c->columns + c->classes) ? (double)right / (double)count : 0;
}

// What fit_row leaves of a candidate, but for the numbers that judge it.
static void copy_fit(const struct certificate *c, int64_t job, double *kept, bool back) {
    double *const part[] = {c->row + job * c->neurons, c->slope + job * c->neurons, c->dual + job * c->columns,
                            c->lambda + job * c->classes};
    const int64_t count[] = {c->neurons, c->neurons, c->columns, c->classes};
    for (int i = 0; i < 4; kept += count[i++])
        memcpy(back ? part[i] : kept, back ? kept : part[i], (size_t)count[i] * sizeof *kept);
}

// From the candidate to the row of an image near it, from the row to that image, and again, as long as more signs come right.
// What is left is one row and its point.
static void certify(void *data, long job, int worker) {
    struct certifying *t = data;
    struct certificate *c = t->c;
    struct work *w = &t->work[worker];
    if (out_stopping()) return;
    int64_t n = c->columns, h = c->neurons;
    double *next = memory_take((size_t)(2 * n + 3 * h + c->classes) * sizeof *next), *a = next + n, *kept = a + h;
    double *x = c->solved + job * n;
    bool pinned = false;
    for (int64_t l = 0; l < n; l++) x[l] = t->candidate[job * n + l];
    bool fine = fit_row(t, w, job, x) && c->found[job];
    c->signs[job] = fine ? signs_right(t, job, x, a) : 0;
    for (int turn = 0; turn < TURNS && fine; turn++) {
        if (!solve_kinks(t, w, job, NULL, NULL, 0, -1, next)) break;
        double signs = signs_right(t, job, next, a), inside = c->inside[job], active = c->active[job], kink = c->kink[job];
        double sharp = c->sharp[job];
        pinned |= signs >= SIGNS;
        if (signs < c->signs[job] || (turn && signs == c->signs[job])) break;
        c->signs[job] = signs;
        memcpy(x, next, (size_t)n * sizeof *x);
        if (signs == 1) break;
        copy_fit(c, job, kept, false);
        if (fit_row(t, w, job, x) && c->found[job] && (signs = signs_right(t, job, x, a)) >= c->signs[job]) {
            c->signs[job] = signs;
            continue;
        }
        copy_fit(c, job, kept, true);
        c->inside[job] = inside;
        c->active[job] = active;
        c->kink[job] = kink;
        c->sharp[job] = sharp;
        c->found[job] = true;
        break;
    }
    c->certified[job] = fine && c->signs[job] >= SIGNS && (pinned || c->kink[job] < KINK) && (!c->in->explained || c->sharp[job] < LEFT);
    free(next);
}

// ---- all of them

// Takes a [neurons][columns] over.
static bool decompose(const struct certificate *c, double *a, struct factors *out, struct error *e) {
    int64_t n = c->columns, h = c->neurons;
    *out = (struct factors){memory_zero((size_t)(n * n) * sizeof(double)), memory_zero((size_t)n * sizeof(double)),
                            memory_zero((size_t)(n * h) * sizeof(double))};
    bool fine = svd(h, n, a, out->s, out->v, out->u, "the first layer", e);
    free(a);
    // Fewer neurons than dimensions leave the last value at zero.
    return fine && (out->s[n - 1] > 0 || error_set(e, EXIT_INPUT, "the first layer has less than %lld dimensions", (long long)n));
}

static double *widened(const float *x, size_t count) {
    double *wide = memory_take(count * sizeof *wide);
    for (size_t i = 0; i < count; i++) wide[i] = x[i];
    return wide;
}

static void free_factors(struct factors *f) { free(f->u), free(f->s), free(f->v); }

static bool better(const struct certificate *c, int64_t i, int64_t j) {
    return c->signs[i] > c->signs[j] || (c->signs[i] == c->signs[j] && c->kink[i] < c->kink[j]);
}

// The distance of two images that are certain, over the geometric mean of their distances from the slice's origin.
static bool same_image(const struct certificate *c, int64_t i, int64_t j) {
    if (!c->certified[i] || !c->certified[j]) return false;
    const double *x = c->solved + i * c->columns, *y = c->solved + j * c->columns;
    double xx = 0, yy = 0, apart = 0;
    for (int64_t k = 0; k < c->columns - (c->in->last > 0); k++) {
        xx += x[k] * x[k];
        yy += y[k] * y[k];
        apart += (x[k] - y[k]) * (x[k] - y[k]);
    }
    return apart < CLOSE * CLOSE * sqrt(xx * yy);
}

void certificate_group(struct certificate *c) {
    for (int64_t i = 0; i < c->count; i++) c->same[i] = -1;
    c->distinct = 0;
    for (;;) {
        int64_t best = -1;
        for (int64_t i = 0; i < c->count; i++)
            if (c->found[i] && c->same[i] < 0 && (best < 0 || better(c, i, best))) best = i;
        if (best < 0) return;
        c->distinct++;
        for (int64_t i = 0; i < c->count; i++) {
            if (!c->found[i] || c->same[i] >= 0) continue;
            double along = cblas_ddot((int)c->neurons, c->row + i * c->neurons, 1, c->row + best * c->neurons, 1);
            if (i == best || along > SAME || same_image(c, i, best)) c->same[i] = best;
        }
    }
}

// ---- what the rows of some images tell of all

// The y of a row is orthogonal to every other image. So rows that are exact add an equation each to the kinks of any image whose
// own row is: fewer kinks pin it down, and more precisely. The fit forgives a row that is wrong.
struct refining {
    struct certifying *t;
    const int64_t *of;      // [..] the candidates to refine
    const double *dual;     // [known][columns], whitened, SURE times as long as a neuron's row is on average
    const int64_t *number;  // [count]: of a candidate among the known, or -1
    int64_t known;
};

// The median of a row's pre-activations on its kinks, over the root mean square of all.
static double on_kinks(const struct certifying *t, double *sorted, int64_t i, const double *a, int64_t *kinks) {
    const struct certificate *c = t->c;
    const double *s = c->slope + i * c->neurons;
    double square = cblas_dnrm2((int)c->neurons, a, 1) / sqrt((double)c->neurons);
    *kinks = 0;
    for (int64_t j = 0; j < c->neurons; j++)
        if (s[j] > ON_KINK && s[j] < 1 - ON_KINK && fabs(a[j]) < CLEAR * square) sorted[(*kinks)++] = fabs(a[j]);
    return *kinks ? median(sorted, *kinks) / square : INFINITY;
}

static void refine(void *data, long job, int worker) {
    const struct refining *r = data;
    struct certificate *c = r->t->c;
    int64_t i = r->of[job], n = c->columns;
    if (out_stopping()) return;
    double *next = memory_take((size_t)(n + c->neurons) * sizeof *next), *a = next + n;
    pre_activations(r->t, c->solved + i * n, a);
    // Its last number and the rows that are sure leave so many unknown.
    int64_t unknown = n - 1 - r->known + (r->number[i] >= 0), kinks;
    if (c->sharp[i] < CERTIFICATE_SURE && solve_kinks(r->t, &r->t->work[worker], i, a, r->dual, r->known, r->number[i], next)) {
        double signs = signs_right(r->t, i, next, a), off = on_kinks(r->t, r->t->work[worker].sorted, i, a, &kinks);
        if (signs >= SIGNS && signs >= c->signs[i] && kinks >= unknown + unknown / 8 + SPARE && off < TIGHT) {
            c->signs[i] = signs;
            c->certified[i] = 1;
            memcpy(c->solved + i * n, next, (size_t)n * sizeof *next);
        }
    }
    free(next);
}

static void whiten_dual(const struct certifying *t, int64_t i, double *out) {
    const struct certificate *c = t->c;
    const struct factors *f = &t->points;
    int64_t n = c->columns;
    for (int64_t k = 0; k < n; k++) out[k] = cblas_ddot((int)n, c->dual + i * n, 1, f->u + k * n, 1) / f->s[k];
    double length = cblas_dnrm2((int)n, out, 1);
    for (int64_t k = 0; k < n && length > 0; k++) out[k] *= SURE * sqrt((double)n / (double)c->neurons) / length;
}

// How many more images are certain than before.
static int64_t refine_all(struct certifying *t, struct pool *pool) {
    struct certificate *c = t->c;
    int64_t *of = memory_take((size_t)(c->count + 1) * sizeof *of), *number = memory_take((size_t)(c->count + 1) * sizeof *number);
    int64_t count = 0, before = 0, after = 0;
    struct refining r = {.t = t, .of = of, .number = number};
    for (int64_t i = 0; i < c->count; i++) {
        number[i] = -1;
        if (c->same[i] != i) continue;
        of[count++] = i;
        before += c->certified[i];
        if (c->certified[i] && c->sharp[i] < CERTIFICATE_SURE && r.known < c->columns) number[i] = r.known++;
    }
    double *dual = memory_take((size_t)(r.known * c->columns + 1) * sizeof *dual);
    for (int64_t i = 0; i < c->count; i++)
        if (number[i] >= 0) whiten_dual(t, i, dual + number[i] * c->columns);
    r.dual = dual;
    if (r.known) pool_run(pool, (long)count, refine, &r);
    certificate_group(c);
    for (int64_t i = 0; i < c->count; i++) after += c->same[i] == i && c->certified[i];
    free(of), free(number), free(dual);
    return after - before;
}

struct certificate *certificate_open(const struct reduced *in, const float *candidate, int64_t count, struct pool *pool,
                                     struct error *e) {
    const struct model *m = in->net;
    const struct arch_tensor *bias, *first = arch_first_linear(m->arch, &bias), *second = second_layer(m->arch);
    BUG_IF(certificate_refused(m) != NULL, "%s", certificate_refused(m));
    struct certificate *c = memory_zero(sizeof *c);
    *c = (struct certificate){.in = in, .columns = in->columns, .neurons = first->shape.dim[0], .classes = second->shape.dim[0],
                              .count = count};
    size_t n = (size_t)c->columns, h = (size_t)c->neurons, k = (size_t)c->classes, rows = (size_t)count;
    c->dual = memory_zero(rows * n * sizeof(double));
    c->row = memory_zero(rows * h * sizeof(double));
    c->lambda = memory_zero(rows * k * sizeof(double));
    c->slope = memory_zero(rows * h * sizeof(double));
    c->inside = memory_zero(rows * sizeof(double));
    c->active = memory_zero(rows * sizeof(double));
    c->kink = memory_zero(rows * sizeof(double));
    c->sharp = memory_zero(rows * sizeof(double));
    c->signs = memory_zero(rows * sizeof(double));
    c->solved = memory_zero(rows * n * sizeof(double));
    c->found = memory_zero(rows + 1);
    c->certified = memory_zero(rows + 1);
    c->same = memory_zero(rows * sizeof *c->same);
    int threads = pool_threads(pool);
    struct certifying t = {.c = c, .candidate = candidate, .w2 = m->theta + second->offset, .b = m->theta + first->offset};
    t.work = memory_zero((size_t)threads * sizeof *t.work);
    size_t unknowns = n + k;
    for (int i = 0; i < threads; i++) {
        size_t rows_most = h + n;  // an equation a neuron, or those of kinks and of other images' duals
        double *at = memory_take((2 * rows_most * unknowns + 2 * rows_most + 2 * h + unknowns * unknowns + unknowns) * sizeof(double));
        t.work[i] = (struct work){.f = at, .weight = at + 2 * rows_most * unknowns};
        t.work[i].r = t.work[i].weight + rows_most;
        t.work[i].sorted = t.work[i].r + rows_most;
        t.work[i].g = t.work[i].sorted + 2 * h;
        t.work[i].z = t.work[i].g + unknowns * unknowns;
    }
    openblas_set_num_threads(1);
    bool fine = decompose(c, reduced_unexplained(in), &t.rows, e);
    if (fine && in->explained) fine = decompose(c, widened(t.b, n * h), &t.points, e);
    else t.points = t.rows;
    if (fine) pool_run(pool, (long)count, certify, &t);
    if (fine) certificate_group(c);
    for (int i = 0; i < REFINES && fine && !out_stopping() && refine_all(&t, pool) > 0; i++) continue;
    for (int i = 0; i < threads; i++) free(t.work[i].f);
    free(t.work);
    if (t.points.u != t.rows.u) free_factors(&t.points);
    free_factors(&t.rows);
    if (fine) return c;
    certificate_free(c);
    return NULL;
}

void certificate_free(struct certificate *c) {
    if (!c) return;
    void *own[] = {c->dual, c->row,    c->lambda, c->slope,     c->inside, c->active, c->kink, c->sharp,
                   c->signs, c->solved, c->found,  c->certified, c->same,   c};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) free(own[i]);
}

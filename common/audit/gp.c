// gp.c: kernel matrices, their Cholesky factors (LAPACK), likelihood and prediction. Matrices are row-major; LAPACK's upper
// triangle by columns is the lower one by rows.
#include "gp.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/error.h"
#include "../base/rng.h"
#include "box.h"

// LAPACK, column-major; libopenblas has it, no header of Debian's does.
extern void dpotrf_(const char *uplo, const int *n, double *a, const int *lda, int *info);
extern void dpotri_(const char *uplo, const int *n, double *a, const int *lda, int *info);

enum { BATCH = 256, FIT_CALLS = 120, FIT_STARTS = 3 };

static const double root5 = 2.23606797749978969641;

struct gp *gp_new(int64_t d, const bool *nominal) {
    struct gp *g = memory_zero(sizeof *g);
    BUG_IF(d < 1 || d > GP_INPUTS, "%lld coordinates", (long long)d);
    g->d = d;
    g->variance = 1;
    g->noise = 1e-4;
    for (int64_t j = 0; j < d; j++) {
        g->nominal[j] = nominal && nominal[j];
        g->length[j] = .5;
    }
    openblas_set_num_threads(1);
    return g;
}

void gp_free(struct gp *g) {
    if (!g) return;
    free(g->x);
    free(g->y);
    free(g->factor);
    free(g->alpha);
    free(g);
}

static void make_room(struct gp *g, int64_t n) {
    g->x = memory_grow(g->x, (size_t)(n * g->d) * sizeof *g->x);
    g->y = memory_grow(g->y, (size_t)n * sizeof *g->y);
    g->alpha = memory_grow(g->alpha, (size_t)n * sizeof *g->alpha);
    g->factor = memory_grow(g->factor, (size_t)(n * n) * sizeof *g->factor);
    g->n = n;
}

void gp_data(struct gp *g, int64_t n, const double *x, const double *y) {
    BUG_IF(n < 1 || n > 20000, "%lld points", (long long)n);
    make_room(g, n);
    memcpy(g->x, x, (size_t)(n * g->d) * sizeof *x);
    double sum = 0, square = 0;
    for (int64_t i = 0; i < n; i++) sum += y[i];
    g->mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) square += (y[i] - g->mean) * (y[i] - g->mean);
    g->scale = sqrt(square / (double)n);
    if (!(g->scale > 1e-12 * fabs(g->mean)) || !(g->scale > 0)) g->scale = 1;
    for (int64_t i = 0; i < n; i++) g->y[i] = (y[i] - g->mean) / g->scale;
}

// ---- kernel

static double apart(const struct gp *g, int64_t j, double a, double b) { return g->nominal[j] ? a != b : a - b; }

static double distance(const struct gp *g, const double *length, const double *a, const double *b) {
    double sum = 0;
    for (int64_t j = 0; j < g->d; j++) {
        double u = apart(g, j, a[j], b[j]) / length[j];
        sum += u * u;
    }
    return sqrt(sum);
}

// Matern 5/2 without its constant, and -dk/dr / r, which stays finite at r = 0.
static double matern(double r) { return (1 + root5 * r + 5. / 3 * r * r) * exp(-root5 * r); }
static double matern_fall(double r) { return 5. / 3 * (1 + root5 * r) * exp(-root5 * r); }

// K with noise and jitter, its lower triangle; matern_fall of the pairs in the same places of `fall` where that is wanted.
static void fill(const struct gp *g, double variance, const double *length, double diagonal, double *k, double *fall) {
    for (int64_t i = 0; i < g->n; i++) {
        for (int64_t j = 0; j < i; j++) {
            double r = distance(g, length, g->x + i * g->d, g->x + j * g->d), decay = exp(-root5 * r);
            k[i * g->n + j] = variance * (1 + root5 * r + 5. / 3 * r * r) * decay;
            if (fall) fall[i * g->n + j] = 5. / 3 * (1 + root5 * r) * decay;
        }
        k[i * g->n + i] = variance + diagonal;
    }
}

static bool factorise(const struct gp *g, double variance, const double *length, double noise, double *factor,
                      double *fall, double *jitter) {
    int n = (int)g->n, info = 1;
    for (*jitter = 0; *jitter <= 1e-2 * variance; *jitter = *jitter > 0 ? 10 * *jitter : 1e-10 * variance) {
        fill(g, variance, length, noise + *jitter, factor, fall);
        dpotrf_("U", &n, factor, &n, &info);
        if (!info) return true;
    }
    return false;
}

static void solve(const struct gp *g, const double *factor, double *alpha) {
    int n = (int)g->n;
    memcpy(alpha, g->y, (size_t)n * sizeof *alpha);
    cblas_dtrsv(CblasRowMajor, CblasLower, CblasNoTrans, CblasNonUnit, n, factor, n, alpha, 1);
    cblas_dtrsv(CblasRowMajor, CblasLower, CblasTrans, CblasNonUnit, n, factor, n, alpha, 1);
}

static double evidence(const struct gp *g, const double *factor, const double *alpha) {
    double fit = 0, log_det = 0;
    for (int64_t i = 0; i < g->n; i++) {
        fit += g->y[i] * alpha[i];
        log_det += log(factor[i * g->n + i]);
    }
    return -.5 * fit - log_det - .5 * (double)g->n * log(2 * M_PI);
}

bool gp_condition(struct gp *g) {
    if (!factorise(g, g->variance, g->length, g->noise, g->factor, NULL, &g->jitter)) return false;
    solve(g, g->factor, g->alpha);
    g->likelihood = evidence(g, g->factor, g->alpha);
    return true;
}

// ---- likelihood

// dL/dtheta = 1/2 tr((alpha alpha^T - K^-1) dK/dtheta), theta the logarithms. `inverse` holds the lower half of K^-1.
static void likelihood_slope(const struct gp *g, double variance, const double *length, double noise, double jitter,
                             const double *alpha, const double *inverse, const double *fall, double *gradient) {
    double rate[GP_INPUTS];  // sum of w fall u^2, over l^2 in the end
    double by_variance = 0, by_noise = 0;
    memset(rate, 0, sizeof rate);
    for (int64_t i = 0; i < g->n; i++) {
        const double *a = g->x + i * g->d;
        for (int64_t j = 0; j < i; j++) {  // both halves at once: the factor 1/2 goes
            const double *b = g->x + j * g->d;
            double w = (alpha[i] * alpha[j] - inverse[i * g->n + j]) * fall[i * g->n + j];
            for (int64_t k = 0; k < g->d; k++) {
                double u = apart(g, k, a[k], b[k]);
                rate[k] += w * u * u;
            }
        }
        by_noise += .5 * (alpha[i] * alpha[i] - inverse[i * g->n + i]);
    }
    // c dK/dc is K less its diagonal's noise, and tr((alpha alpha^T - K^-1) K) = y^T alpha - n.
    for (int64_t i = 0; i < g->n; i++) by_variance += .5 * (g->y[i] * alpha[i] - 1);
    gradient[0] = by_variance - (noise + jitter) * by_noise;
    for (int64_t k = 0; k < g->d; k++) gradient[1 + k] = variance * rate[k] / (length[k] * length[k]);
    gradient[1 + g->d] = noise * by_noise;
}

double gp_likelihood(const struct gp *g, const double *theta, double *gradient) {
    double variance = exp(theta[0]), noise = exp(theta[1 + g->d]), length[GP_INPUTS], jitter, value = -INFINITY;
    int n = (int)g->n, info = 0;
    size_t square = (size_t)(g->n * g->n);
    for (int64_t j = 0; j < g->d; j++) length[j] = exp(theta[1 + j]);
    double *factor = memory_take((2 * square + (size_t)g->n) * sizeof *factor), *fall = factor + square,
           *alpha = fall + square;
    if (factorise(g, variance, length, noise, factor, gradient ? fall : NULL, &jitter)) {
        solve(g, factor, alpha);
        value = evidence(g, factor, alpha);
        if (gradient) dpotri_("U", &n, factor, &n, &info);
        // Jitter is a noise that the gradient holds fast.
        if (gradient && !info) likelihood_slope(g, variance, length, noise, jitter, alpha, factor, fall, gradient);
        if (info) value = -INFINITY;
    }
    free(factor);
    return value;
}

static double unlikeliness(void *data, const double *theta, double *gradient) {
    const struct gp *g = data;
    double value = -gp_likelihood(g, theta, gradient);
    for (int64_t i = 0; i < g->d + 2; i++) gradient[i] = -gradient[i];
    return value;
}

void gp_fit(struct gp *g, uint64_t seed) {
    double low[GP_INPUTS + 2], high[GP_INPUTS + 2], theta[GP_INPUTS + 2], best[GP_INPUTS + 2], least = INFINITY;
    int count = (int)g->d + 2;
    struct stream s = rng_stream(seed, "gp/starts");
    for (int i = 0; i < count; i++) {
        low[i] = log(i == 0 ? GP_VARIANCE_LOW : i < count - 1 ? GP_LENGTH_LOW : GP_NOISE_LOW);
        high[i] = log(i == 0 ? GP_VARIANCE_HIGH : i < count - 1 ? GP_LENGTH_HIGH : GP_NOISE_HIGH);
        best[i] = i == 0 ? 0 : i < count - 1 ? log(.5) : log(1e-4);
    }
    struct box box = {count, low, high, unlikeliness, g};
    for (uint32_t start = 0; start < FIT_STARTS; start++) {
        // The restarts begin where a search's process may lie: c in [.1, 10], l in [.1, 3], s^2 in [1e-6, 1e-1].
        for (int i = 0; i < count; i++) {
            double u = rng_one(s, (uint32_t)i, start, 0);
            theta[i] = i == 0          ? (2 * u - 1) * log(10)
                       : i < count - 1 ? log(.1) + u * log(30)
                                       : log(1e-6) + u * log(1e5);
            if (!start) theta[i] = i == 0 ? 0 : i < count - 1 ? log(.5) : log(1e-4);
        }
        double value = box_minimise(&box, theta, FIT_CALLS);
        if (value < least) {
            least = value;
            memcpy(best, theta, sizeof best);
        }
    }
    g->variance = fmin(fmax(exp(best[0]), GP_VARIANCE_LOW), GP_VARIANCE_HIGH);
    g->noise = fmin(fmax(exp(best[count - 1]), GP_NOISE_LOW), GP_NOISE_HIGH);
    for (int64_t j = 0; j < g->d; j++) g->length[j] = fmin(fmax(exp(best[1 + j]), GP_LENGTH_LOW), GP_LENGTH_HIGH);
    BUG_IF(!gp_condition(g), "no factor at hyper-parameters that had one");
}

// ---- prediction

void gp_predict(const struct gp *g, int64_t m, const double *x, double *mean, double *sd) {
    double *k = memory_take((size_t)(g->n * BATCH) * sizeof *k);
    int n = (int)g->n;
    for (int64_t from = 0; from < m; from += BATCH) {
        int rows = (int)(m - from < BATCH ? m - from : BATCH);
        for (int64_t i = 0; i < g->n; i++)
            for (int j = 0; j < rows; j++)
                k[i * BATCH + j] = g->variance * matern(distance(g, g->length, g->x + i * g->d, x + (from + j) * g->d));
        cblas_dgemv(CblasRowMajor, CblasTrans, n, rows, g->scale, k, BATCH, g->alpha, 1, 0, mean + from, 1);
        for (int j = 0; j < rows; j++) mean[from + j] += g->mean;
        if (!sd) continue;
        cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, n, rows, 1, g->factor, n, k,
                    BATCH);
        for (int j = 0; j < rows; j++) sd[from + j] = g->variance;
        for (int64_t i = 0; i < g->n; i++)
            for (int j = 0; j < rows; j++) sd[from + j] -= k[i * BATCH + j] * k[i * BATCH + j];
        for (int j = 0; j < rows; j++) sd[from + j] = g->scale * sqrt(fmax(sd[from + j], 0));
    }
    free(k);
}

void gp_slope(const struct gp *g, const double *x, double *mean, double *sd, double *mean_slope, double *sd_slope) {
    int n = (int)g->n;
    double *k = memory_take((size_t)(2 * n) * sizeof *k), *v = k + n;
    for (int i = 0; i < n; i++) v[i] = k[i] = g->variance * matern(distance(g, g->length, g->x + i * g->d, x));
    cblas_dtrsv(CblasRowMajor, CblasLower, CblasNoTrans, CblasNonUnit, n, g->factor, n, v, 1);
    double variance = fmax(g->variance - cblas_ddot(n, v, 1, v, 1), 1e-14 * g->variance), root = sqrt(variance);
    *mean = g->mean + g->scale * cblas_ddot(n, k, 1, g->alpha, 1);
    *sd = g->scale * root;
    cblas_dtrsv(CblasRowMajor, CblasLower, CblasTrans, CblasNonUnit, n, g->factor, n, v, 1);  // K^-1 k
    memset(mean_slope, 0, (size_t)g->d * sizeof *mean_slope);
    memset(sd_slope, 0, (size_t)g->d * sizeof *sd_slope);
    for (int i = 0; i < n; i++) {
        const double *at = g->x + i * g->d;
        double fall = -g->variance * matern_fall(distance(g, g->length, at, x));
        for (int64_t j = 0; j < g->d; j++) {
            if (g->nominal[j]) continue;
            double slope = fall * (x[j] - at[j]) / (g->length[j] * g->length[j]);  // dk_i / dx_j
            mean_slope[j] += g->scale * slope * g->alpha[i];
            sd_slope[j] -= g->scale * slope * v[i] / root;
        }
    }
    free(k);
}

bool gp_believe(struct gp *g, const double *x) {
    double value;
    gp_predict(g, 1, x, &value, NULL);
    make_room(g, g->n + 1);
    memcpy(g->x + (g->n - 1) * g->d, x, (size_t)g->d * sizeof *x);
    g->y[g->n - 1] = (value - g->mean) / g->scale;
    return gp_condition(g);
}

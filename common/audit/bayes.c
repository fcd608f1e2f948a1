// bayes.c: expected improvement and where it is greatest.
#include "bayes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/rng.h"
#include "box.h"

// ---- expected improvement

static double density(double z) { return exp(-.5 * z * z) / sqrt(2 * M_PI); }
static double cumulative(double z) { return .5 * erfc(-z / M_SQRT2); }

double bayes_improvement(double mean, double sd, double best, double xi) {
    double gain = best - xi - mean;
    if (!(sd > 0)) return fmax(gain, 0);
    return fmax(gain * cumulative(gain / sd) + sd * density(gain / sd), 0);
}

// (phi(z) + z Phi(z)) / phi(z). Far out the two nearly cancel: there by the asymptotic series of Mills' ratio in w = 1 / z^2,
// whose first term left out is 1e-10 of the whole at the seam.
static double over_density(double z) {
    double w = 1 / (z * z);
    if (z > -25) return 1 + z * cumulative(z) / density(z);
    return w * (1 - w * (3 - w * (15 - w * (105 - w * 945))));
}

// dEI/dmean = -Phi(z), dEI/dsd = phi(z).
double bayes_log_improvement(double mean, double sd, double best, double xi, double *by_mean, double *by_sd) {
    double gain = best - xi - mean, z = sd > 0 ? gain / sd : gain > 0 ? INFINITY : -INFINITY;
    bool sure = z > 25;  // nothing but the gain: phi(z) is 1e-136
    double tail = sure ? INFINITY : over_density(z);
    if (by_sd) *by_sd = sure ? 0 : 1 / (sd * tail);
    if (by_mean) *by_mean = sure ? -1 / gain : -(z > -25 ? cumulative(z) / density(z) : (tail - 1) / z) / (sd * tail);
    return sure ? log(gain) : sd > 0 ? log(sd * tail) - .5 * z * z - .5 * log(2 * M_PI) : -INFINITY;
}

// ---- sequence

void bayes_sequence(int64_t d, struct stream shift, uint32_t number, int64_t from, int64_t count, double *u) {
    double g = 2;
    for (int i = 0; i < 60; i++) g = pow(1 + g, 1 / (double)(d + 1));  // g^(d+1) = g + 1, a contraction
    for (int64_t j = 0; j < d; j++) {
        double step = pow(g, -(double)(j + 1)), start = rng_one(shift, (uint32_t)j, number, 0);
        for (int64_t i = 0; i < count; i++) {
            double at = start + (double)(from + i + 1) * step;
            u[i * d + j] = at - floor(at);
        }
    }
}

// ---- proposals

struct view {
    const struct bayes *b;
    const struct gp *g;
    double best, xi;
    int64_t d;
    int free[SPACE_AXES], frees;  // coordinates that are real numbers
    double at[SPACE_AXES];        // the point that they vary
};

static bool tried(int64_t d, int64_t trials, const double *u, const double *point) {
    for (int64_t i = 0; i < trials; i++) {
        double far = 0;
        for (int64_t j = 0; j < d; j++) far = fmax(far, fabs(u[i * d + j] - point[j]));
        if (far < 1e-7) return true;  // below what snapping tells apart
    }
    return false;
}

// -log EI and its gradient in the free coordinates.
static double emptiness(void *data, const double *x, double *gradient) {
    struct view *v = data;
    double mean, sd, mean_slope[SPACE_AXES], sd_slope[SPACE_AXES], by_mean, by_sd;
    for (int i = 0; i < v->frees; i++) v->at[v->free[i]] = x[i];
    gp_slope(v->g, v->at, &mean, &sd, mean_slope, sd_slope);
    double value = bayes_log_improvement(mean, sd, v->best, v->xi, &by_mean, &by_sd);
    for (int i = 0; i < v->frees; i++) gradient[i] = -by_mean * mean_slope[v->free[i]] - by_sd * sd_slope[v->free[i]];
    return -value;
}

static double promise(const struct view *v, const double *point) {
    double mean, sd;
    gp_predict(v->g, 1, point, &mean, &sd);
    return bayes_log_improvement(mean, sd, v->best, v->xi, NULL, NULL);
}

// Real numbers by L-BFGS, whole ones and words by their neighbours, one after the other while that helps.
static void refine(struct view *v, double *point) {
    static const double low[SPACE_AXES], high[SPACE_AXES] = {[0 ... SPACE_AXES - 1] = 1};
    struct box box = {v->frees, low, high, emptiness, v};
    double x[SPACE_AXES], now = promise(v, point);
    for (int round = 0; round < 3; round++) {
        double before = now;
        memcpy(v->at, point, (size_t)v->d * sizeof *point);
        for (int i = 0; i < v->frees; i++) x[i] = point[v->free[i]];
        if (v->frees && -box_minimise(&box, x, 60) > now)
            for (int i = 0; i < v->frees; i++) point[v->free[i]] = x[i];
        space_snap(v->b->space, point);
        now = promise(v, point);
        for (int j = 0; j < v->d; j++) {
            const struct space_axis *a = &v->b->space->axis[j];
            if (a->kind == SPACE_REAL) continue;
            double value = space_value(a, point[j]), kept = point[j];
            int64_t reach = a->kind == SPACE_CHOICE ? a->words : 1;
            for (int64_t k = -reach; k <= reach; k++) {
                double there = value + (double)k, gain;
                if (there < a->low || there > a->high) continue;
                point[j] = space_unit(a, there);
                if ((gain = promise(v, point)) > now) {
                    now = gain;
                    kept = point[j];
                }
            }
            point[j] = kept;
        }
        if (!(now > before + 1e-6)) break;
    }
}

struct candidate {
    double gain;
    int64_t at;
};

static int by_gain(const void *a, const void *b) {
    const struct candidate *x = a, *y = b;
    if (x->gain != y->gain) return x->gain > y->gain ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

struct gp *bayes_model(const struct bayes *b, int64_t trials, const double *u, const double *value,
                       const unsigned char *status) {
    int64_t d = b->space->count, n = 0, done = 0;
    double worst = -INFINITY;
    bool nominal[SPACE_AXES];
    for (int64_t i = 0; i < trials; i++) {
        if (status[i] != BAYES_DONE) continue;
        worst = fmax(worst, value[i]);
        done++;
    }
    if (!done) return NULL;
    double *x = memory_take((size_t)(trials * d) * sizeof *x), *y = memory_take((size_t)trials * sizeof *y);
    for (int64_t i = 0; i < trials; i++) {
        if (status[i] == BAYES_PENDING) continue;
        memcpy(x + n * d, u + i * d, (size_t)d * sizeof *x);
        y[n++] = status[i] == BAYES_DONE ? value[i] : worst;
    }
    for (int64_t j = 0; j < d; j++) nominal[j] = b->space->axis[j].kind == SPACE_CHOICE;
    struct gp *g = gp_new(d, nominal);
    gp_data(g, n, x, y);
    gp_fit(g, b->seed);
    free(x);
    free(y);
    return g;
}

// The candidates, whole numbers and words snapped, as the model has to see them: all points where there are not more of
// them, else a sequence with a shift that no other trial has.
static int64_t candidates(const struct bayes *b, int64_t trial, double **u) {
    int64_t d = b->space->count, n = b->candidates;
    bool all = space_points(b->space) <= (double)n;
    if (all) n = (int64_t)space_points(b->space);
    *u = memory_take((size_t)(n * d) * sizeof **u);
    if (!all) bayes_sequence(d, rng_stream(b->seed, "bayes/candidates"), (uint32_t)trial, 0, n, *u);
    for (int64_t i = 0; i < n; i++) {
        if (all) space_point(b->space, i, *u + i * d);
        for (int64_t j = 0; j < d && !all; j++) {
            const struct space_axis *a = &b->space->axis[j];
            if (a->kind != SPACE_REAL) (*u)[i * d + j] = space_unit(a, space_value(a, (*u)[i * d + j]));
        }
    }
    return n;
}

static bool start(const struct bayes *b, int64_t trial, const double *u, double *next) {
    int64_t d = b->space->count;
    for (int64_t i = trial; i < trial + b->candidates; i++) {
        bayes_sequence(d, rng_stream(b->seed, "bayes/starts"), 0, i, 1, next);
        space_snap(b->space, next);
        if (!tried(d, trial, u, next)) return true;
    }
    return false;
}

// Where the model expects most. False where there is no point that was not tried.
static bool most_promising(const struct bayes *b, struct view *v, int64_t trial, const double *u, double *next) {
    double *point, *mean, *sd, best = -INFINITY;
    int64_t n = candidates(b, trial, &point), d = v->d;
    int refined = 0;
    struct candidate *order = memory_take((size_t)n * sizeof *order);
    mean = memory_take((size_t)(2 * n) * sizeof *mean);
    sd = mean + n;
    gp_predict(v->g, n, point, mean, sd);
    for (int64_t i = 0; i < n; i++)
        order[i] = (struct candidate){bayes_log_improvement(mean[i], sd[i], v->best, v->xi, NULL, NULL), i};
    qsort(order, (size_t)n, sizeof *order, by_gain);
    bool found = false;
    for (int64_t i = 0; i < n && (refined < BAYES_REFINED || !found); i++) {
        double *at = point + order[i].at * d, before[SPACE_AXES], gain = order[i].gain;
        space_snap(b->space, at);
        if (tried(d, trial, u, at)) continue;
        if (refined++ < BAYES_REFINED) {
            memcpy(before, at, (size_t)d * sizeof *before);
            refine(v, at);
            gain = promise(v, at);
            if (tried(d, trial, u, at)) {
                memcpy(at, before, (size_t)d * sizeof *before);
                gain = order[i].gain;
            }
        }
        if (found && !(gain > best)) continue;
        best = gain;
        found = true;
        memcpy(next, at, (size_t)d * sizeof *next);
    }
    free(order);
    free(mean);
    free(point);
    return found;
}

// What a small improvement is measured by: the mean distance from the best of the better half of the values. Their standard
// deviation would let a single very bad one decide, and as the search closes in this shrinks with it.
static double spread(int64_t trials, const double *value, const unsigned char *status) {
    double *y = memory_take((size_t)trials * sizeof *y), sum = 0;
    int64_t n = 0;
    for (int64_t i = 0; i < trials; i++)
        if (status[i] == BAYES_DONE) y[n++] = value[i];
    qsort(y, (size_t)n, sizeof *y, by_value);
    int64_t half = (n + 1) / 2;
    for (int64_t i = 0; i < half; i++) sum += (y[i] - y[0]) / (double)half;
    free(y);
    return sum;
}

bool bayes_propose(const struct bayes *b, int64_t trial, const double *u, const double *value,
                   const unsigned char *status, double *next) {
    int64_t d = b->space->count;
    struct gp *g = trial < b->starts ? NULL : bayes_model(b, trial, u, value, status);
    if (!g) return start(b, trial, u, next);
    // The best of what the model expects at the trials: of noisy values the least is luck.
    struct view v = {.b = b, .g = g, .best = INFINITY, .d = d, .xi = b->xi * spread(trial, value, status)};
    double *mean = memory_take((size_t)trial * sizeof *mean);
    gp_predict(g, trial, u, mean, NULL);
    for (int64_t i = 0; i < trial; i++)
        if (status[i] == BAYES_DONE) v.best = fmin(v.best, mean[i]);
    free(mean);
    for (int64_t i = 0; i < trial; i++)
        if (status[i] == BAYES_PENDING && !gp_believe(g, u + i * d)) break;
    for (int j = 0; j < d; j++)
        if (b->space->axis[j].kind == SPACE_REAL) v.free[v.frees++] = j;
    bool found = most_promising(b, &v, trial, u, next);
    gp_free(g);
    return found;
}

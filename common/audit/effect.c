// effect.c: curves and shares. The mean over all other ranges is one over SAMPLE points of the low-discrepancy sequence,
// the same for every value of the range, so that differences between values are the range's own.
#include "effect.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bayes.h"

enum { SAMPLE = 512, VALUES = 16 };

// The values shown: evenly spaced, all of them where there are few.
static int64_t values_of(const struct space_axis *a, int64_t most, double *u) {
    double cells = a->kind == SPACE_REAL ? INFINITY : a->high - a->low + 1;
    int64_t count = cells < (double)most ? (int64_t)cells : most;
    for (int64_t i = 0; i < count; i++) {
        double at = a->kind == SPACE_REAL ? (double)i / (double)(count - 1) : ((double)i + .5) / (double)count;
        u[i] = cells <= (double)most ? space_unit(a, a->low + (double)i) : space_unit(a, space_value(a, at));
    }
    return count;
}

void effect_along(const struct space *s, const struct gp *g, int axis, const double *u, struct effect *out) {
    double at[EFFECT_POINTS], *x = memory_take((size_t)(EFFECT_POINTS * s->count) * sizeof *x);
    out->count = values_of(&s->axis[axis], EFFECT_POINTS, at);
    for (int64_t i = 0; i < out->count; i++) {
        memcpy(x + i * s->count, u, (size_t)s->count * sizeof *x);
        x[i * s->count + axis] = at[i];
        out->x[i] = space_value(&s->axis[axis], at[i]);
    }
    gp_predict(g, out->count, x, out->mean, out->sd);
    free(x);
}

// Mean and variance.
static void moments(const double *x, int64_t n, double *mean, double *variance) {
    *mean = *variance = 0;
    for (int64_t i = 0; i < n; i++) *mean += x[i] / (double)n;
    for (int64_t i = 0; i < n; i++) *variance += (x[i] - *mean) * (x[i] - *mean) / (double)n;
}

void effect_shares(const struct space *s, const struct gp *g, double *share, double *total) {
    int64_t d = s->count;
    double *base = memory_take((size_t)(2 * SAMPLE * d + (VALUES + 1) * SAMPLE) * sizeof *base), *x = base + SAMPLE * d;
    double *value = x + SAMPLE * d, at[VALUES], level[VALUES], row[VALUES], mean, all, one;
    bayes_sequence(d, rng_stream(0, "effect/sample"), 0, 0, SAMPLE, base);
    for (int64_t i = 0; i < SAMPLE; i++) space_snap(s, base + i * d);
    gp_predict(g, SAMPLE, base, value, NULL);
    moments(value, SAMPLE, &mean, &all);
    bool flat = !(all > 1e-18 * g->scale * g->scale);
    for (int j = 0; j < d; j++) {
        // Of a range of real numbers the middles of equal parts, of others their values.
        int64_t n = s->axis[j].kind == SPACE_REAL ? VALUES : values_of(&s->axis[j], VALUES, at);
        for (int64_t k = 0; k < n; k++) {  // value [n, SAMPLE]
            memcpy(x, base, (size_t)(SAMPLE * d) * sizeof *x);
            for (int64_t i = 0; i < SAMPLE; i++)
                x[i * d + j] = s->axis[j].kind == SPACE_REAL ? ((double)k + .5) / VALUES : at[k];
            gp_predict(g, SAMPLE, x, value + k * SAMPLE, NULL);
            moments(value + k * SAMPLE, SAMPLE, &level[k], &one);
        }
        moments(level, n, &mean, &one);
        share[j] = flat ? 0 : one / all;
        total[j] = 0;
        for (int64_t i = 0; i < SAMPLE && !flat; i++) {
            for (int64_t k = 0; k < n; k++) row[k] = value[k * SAMPLE + i];
            moments(row, n, &mean, &one);
            total[j] += one / all / SAMPLE;
        }
    }
    free(base);
}

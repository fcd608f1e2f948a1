// bootstrap.c: percentile intervals.
#include "bootstrap.h"

#include <math.h>
#include <stdlib.h>

#include "../base/arena.h"
#include "../base/error.h"

void bootstrap_sample(struct stream s, uint32_t draw, uint32_t group, uint32_t sample, int64_t n, int64_t *out) {
    BUG_IF(n > BOOTSTRAP_MOST, "a bootstrap of %lld", (long long)n);
    float *u = memory_take((size_t)(n + 1) * sizeof *u);
    rng_uniform(s, draw, group, sample, u, (long)n);
    for (int64_t i = 0; i < n; i++) out[i] = (int64_t)((double)u[i] * (double)n);
    free(u);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(const double *sorted, long count, double p) {
    double at = p * (double)(count - 1), low = floor(at);
    long i = (long)low, next = i + 1 < count ? i + 1 : i;
    return sorted[i] + (at - low) * (sorted[next] - sorted[i]);
}

struct interval bootstrap_percentiles(double *value, long count) {
    if (!count) return (struct interval){NAN, NAN};
    qsort(value, (size_t)count, sizeof *value, ascending);
    return (struct interval){percentile(value, count, .025), percentile(value, count, .975)};
}

struct interval bootstrap_mean(const double *x, int64_t n, uint64_t seed, const char *purpose) {
    if (n < 2) return (struct interval){NAN, NAN};
    struct stream s = rng_stream(seed, purpose);
    int64_t *at = memory_take((size_t)n * sizeof *at);
    double *mean = memory_take(BOOTSTRAP_DRAWS * sizeof *mean);
    for (uint32_t d = 0; d < BOOTSTRAP_DRAWS; d++) {
        bootstrap_sample(s, d, 0, 0, n, at);
        double sum = 0;
        for (int64_t i = 0; i < n; i++) sum += x[at[i]];
        mean[d] = sum / (double)n;
    }
    struct interval i = bootstrap_percentiles(mean, BOOTSTRAP_DRAWS);
    free(mean);
    free(at);
    return i;
}

// bootstrap.h: 95 % intervals by drawing the same data again with replacement (Efron 1979, percentile form). Draws are
// keyed, so an interval is a function of the data and the seed.
#ifndef ASSAY_AUDIT_BOOTSTRAP_H
#define ASSAY_AUDIT_BOOTSTRAP_H

#include <stdint.h>
#include "../base/rng.h"
#include "../base/stats.h"

// BOOTSTRAP_MOST: a uniform draw is a multiple of 2^-24; of more data some would never be drawn.
enum { BOOTSTRAP_DRAWS = 2000, BOOTSTRAP_MOST = 1 << 24 };

// `n` positions in [0, n), n <= BOOTSTRAP_MOST: repetition `draw` of sample `sample` in group `group`.
void bootstrap_sample(struct stream s, uint32_t draw, uint32_t group, uint32_t sample, int64_t n, int64_t *out);
// The 2.5th and 97.5th percentile (linear between order statistics); sorts. NaN for no values.
struct interval bootstrap_percentiles(double *value, long count);
// Of the mean of x [n]. NaN for fewer than two: of one, every draw is the same and says nothing.
struct interval bootstrap_mean(const double *x, int64_t n, uint64_t seed, const char *purpose);

#endif

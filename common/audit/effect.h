// effect.h: what each range of a search does to the value, as its Gaussian process sees it.
#ifndef ASSAY_AUDIT_EFFECT_H
#define ASSAY_AUDIT_EFFECT_H

#include "gp.h"
#include "space.h"

enum { EFFECT_POINTS = 65 };

struct effect {
    int64_t count;  // at most EFFECT_POINTS
    double x[EFFECT_POINTS];                        // in the range's units; of a choice the word's number
    double mean[EFFECT_POINTS], sd[EFFECT_POINTS];  // of the value there, everything else held at `u`
};
void effect_along(const struct space *s, const struct gp *g, int axis, const double *u, struct effect *out);

// The share of the variance of the process' mean over all ranges that each one explains alone (first-order Sobol index:
// Sobol' 1993, "Sensitivity estimates for nonlinear mathematical models"): share [D], the sum at most 1 but for the error of
// the sample, what is missing lies in ranges that act together. 0 where the mean is flat.
void effect_shares(const struct space *s, const struct gp *g, double *share);

#endif

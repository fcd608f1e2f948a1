// effect.h: what each range of a search does to the value, as its Gaussian process sees it.
#ifndef ASSAY_AUDIT_EFFECT_H
#define ASSAY_AUDIT_EFFECT_H

#include "gp.h"
#include "space.h"

enum { EFFECT_POINTS = 65 };

struct effect {
    int64_t count;                                  // at most EFFECT_POINTS
    double x[EFFECT_POINTS];                        // in the range's units; of a choice the word's number
    double mean[EFFECT_POINTS], sd[EFFECT_POINTS];  // of the value there, everything else held at `u`
};
void effect_along(const struct space *s, const struct gp *g, int axis, const double *u, struct effect *out);

// Shares of the variance of the process' mean over all ranges (Sobol' 1993, "Sensitivity estimates for nonlinear mathematical
// models"; Homma & Saltelli 1996, "Importance measures in global sensitivity analysis"): share [D], what each range explains
// alone, Var(E[f | x_j]) / Var f, and total [D], what it explains alone and together with others, E[Var(f | all but x_j)] / Var f.
// The shares' sum is at most 1 but for the error of the sample. 0 where the mean is flat.
void effect_shares(const struct space *s, const struct gp *g, double *share, double *total);

#endif

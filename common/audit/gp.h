// gp.h: regression by a Gaussian process (Rasmussen & Williams 2006, "Gaussian processes for machine learning", chapters 2
// and 5) with the kernel
//
//     k(x, x') = c (1 + sqrt(5) r + 5/3 r^2) exp(-sqrt(5) r) + s^2 [x is x'],   r^2 = sum_j ((x_j - x'_j) / l_j)^2,
//
// a constant times Matern 5/2 with one length for each coordinate, and noise. Coordinates lie in [0, 1]; in a nominal one,
// whose values have no order, two values are 1 apart or the same. Values are taken to mean 0 and variance 1 before anything
// else, so c, s^2 and the lengths are in those units; what is predicted is in the units of the values given.
//
// A struct gp owns copies of all it is given. LAPACK runs on one thread: no result depends on the number of processors.
#ifndef ASSAY_AUDIT_GP_H
#define ASSAY_AUDIT_GP_H

#include <stdbool.h>
#include <stdint.h>

enum { GP_INPUTS = 32 };  // the most coordinates

// Bounds of what gp_fit chooses.
#define GP_LENGTH_LOW .01
#define GP_LENGTH_HIGH 100.
#define GP_VARIANCE_LOW 1e-3
#define GP_VARIANCE_HIGH 1e3
#define GP_NOISE_LOW 1e-8
#define GP_NOISE_HIGH 1.

struct gp {
    int64_t n, d;  // points, coordinates
    bool nominal[GP_INPUTS];
    double variance, noise;    // c, s^2
    double length[GP_INPUTS];  // l
    double mean, scale;        // of the values; scale is 1 where all are alike
    double likelihood;         // log marginal likelihood of the values as they are worked with
    double jitter;             // had to be added to the diagonal for a Cholesky factor; 0 as a rule
    double *x, *y;             // private: [n, d], [n] normalised
    double *factor, *alpha;    // private: [n, n] lower Cholesky factor of K, [n] K^-1 y
};

// nominal NULL: no coordinate is.
struct gp *gp_new(int64_t d, const bool *nominal);
void gp_free(struct gp *g);

// The points x [n, d] and their values y [n], n > 0. Nothing else changes; gp_fit or gp_condition has to follow.
void gp_data(struct gp *g, int64_t n, const double *x, const double *y);

// Hyper-parameters by maximum marginal likelihood: L-BFGS within the bounds on their logarithms from a fixed start and
// two more that the seed draws. A function of data and seed alone.
void gp_fit(struct gp *g, uint64_t seed);
// With the hyper-parameters that stand in g. Adds jitter, tenfold at a time, until there is a factor; false when a
// hundredth of c does not help.
bool gp_condition(struct gp *g);
// One more point, whose value is what g predicts for it (kriging believer: Ginsbourger et al. 2010, "Kriging is well-suited
// to parallelize optimization"); hyper-parameters stay.
bool gp_believe(struct gp *g, const double *x);

// log p(y | x) at hyper-parameters log (c, l_1 .. l_d, s^2), and its gradient [d + 2] where that is not NULL. -infinity
// where K has no factor. (Rasmussen & Williams, equations 5.8 and 5.9.)
double gp_likelihood(const struct gp *g, const double *theta, double *gradient);

// Mean [m] and standard deviation [m] (may be NULL) of the function, noise left out, at x [m, d].
void gp_predict(const struct gp *g, int64_t m, const double *x, double *mean, double *sd);
// The same at one point, and their gradients [d] in the coordinates that are not nominal, 0 in those that are.
void gp_slope(const struct gp *g, const double *x, double *mean, double *sd, double *mean_slope, double *sd_slope);

#endif

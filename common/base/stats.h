// stats.h: the intervals and sums that results are printed with. Everything in double.
#ifndef ASSAY_BASE_STATS_H
#define ASSAY_BASE_STATS_H

// Regularised incomplete beta function I_x(a, b) (continued fraction, Lentz) and its inverse in x.
double stats_beta(double a, double b, double x);
double stats_beta_inverse(double a, double b, double p);
double stats_normal_cdf(double z);
double stats_normal_quantile(double p);  // 0 < p < 1

struct interval {
    double low, high;
};
// Clopper & Pearson 1934: exact two-sided interval of `level` (0.95) for k successes in n trials.
// n = 0 gives [0, 1].
struct interval stats_clopper_pearson(long k, long n, double level);

// Pairwise summation: error O(log n), order fixed.
double stats_sum(const double *x, long n);

// The middle value, or the mean of the middle two; sorts x. No values: NaN. Equal infinite ones are no NaN.
double stats_median(double *x, long n);

#endif

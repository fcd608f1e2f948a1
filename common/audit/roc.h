// roc.h: how well scores tell positives from negatives: the area under the ROC curve, and the true-positive rate at a
// given false-positive rate.
//
// Where there are several runs, positives are compared with the negatives of their own run only: scores of different
// runs need not share a scale, and the spread between runs would pass for overlap.
#ifndef ASSAY_AUDIT_ROC_H
#define ASSAY_AUDIT_ROC_H

#include <stdint.h>
#include "../base/stats.h"

struct roc_run {  // borrowed; no NaN
    const float *positive, *negative;
    int64_t positives, negatives;
};

// P(positive > negative) + P(equal) / 2 (Mann & Whitney), every positive counting the same. NaN without either.
double roc_auc(const struct roc_run *run, int runs);
// Its 95 % interval: bootstrap over positives and negatives within their run, stream "roc/bootstrap", and roc_widen with k the
// smaller group over all runs.
struct interval roc_auc_interval(const struct roc_run *run, int runs, uint64_t seed);
// Of an interval at 95 % that was found from the spread of k images (of the smaller group), one that also holds what k images
// cannot show: a share 1 - .025^(1/k) of those they were drawn from is missing among them with a probability of 2.5 %, and
// whether that share has an area of 0 or of 1, the whole has .025^(1/k) area or 1 - .025^(1/k) (1 - area). Groups that do not
// overlap have .025^(1/k) to 1 by it, and nothing that shows no spread (all scores the same, a group of one) passes for certain.
struct interval roc_widen(struct interval found, double area, int64_t k);

// How many positives lie above each negative, all that a rate needs to know of a run.
struct roc_above {
    int64_t positives, negatives;
    int64_t *count;  // [negatives + 2]: above the j-th largest negative; 0 for j = 0, positives for j = negatives + 1
};
struct roc_above roc_above(const struct roc_run *run);  // free count with free()

// The true-positive rate at a false-positive rate of `fpr`, over all runs: positives above the threshold of their run, the
// least value with at most a share `fpr` of its negatives above it. Fewer than 1 / fpr negatives leave no room for any:
// the threshold is then the largest of them.
//
// The 95 % interval is of the rate at the threshold that the negatives' own distribution has there, which m negatives only
// estimate; Clopper & Pearson's, which takes the threshold for given, is too narrow (Linnet 1987, "Comparison of
// quantitative diagnostic tests"; Zhou & Qin 2005, "Improved confidence intervals for the sensitivity at a fixed level of
// specificity of a continuous-scale diagnostic test"). How many of m negatives lie above the true threshold is binomial,
// J ~ B(m, fpr), whatever the distribution (Thompson 1936, "On confidence ranges for the median and other expectation
// distributions"): with a probability of P(J) it lies between the J-th and the next largest of them. The ends of the
// interval are where Clopper & Pearson's tails, averaged over J, are 2.5 %, with the positives above the upper of the two
// negatives for the low end and those above the lower one for the high end. With ever more negatives it becomes theirs;
// with few, where the threshold may lie above all of them with a probability over 2.5 %, the low end is 0.
// Negatives count as independent. Nothing is drawn. BUG where a run has no negatives; [0, 1] without positives.
struct roc_rate {
    int64_t hits, positives;
    struct interval interval;
};
struct roc_rate roc_rate(const struct roc_above *run, int runs, double fpr);
// How many of `negatives` may lie above the threshold: floor(fpr negatives).
int64_t roc_allowed(int64_t negatives, double fpr);
// The threshold itself.
float roc_threshold(const struct roc_run *run, double fpr);

#endif

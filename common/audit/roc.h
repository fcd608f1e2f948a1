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
// Its 95 % interval: bootstrap over positives and negatives within their run, stream "roc/bootstrap". Groups that do not overlap
// are the same however often they are drawn; the exact bound takes the bootstrap's place there: with k the smaller group
// over all runs, .025^(1/k) (and 1 less it), the least mean of a share that shows k ones with a probability of 2.5 %.
struct interval roc_auc_interval(const struct roc_run *run, int runs, uint64_t seed);
// How many positives lie above the threshold: the least value with at most a share `fpr` of the negatives above it.
// Fewer than 1 / fpr negatives leave no room for any: the threshold is then the largest of them.
int64_t roc_hits(const struct roc_run *run, double fpr, float *threshold);

#endif

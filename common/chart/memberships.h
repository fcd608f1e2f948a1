// memberships.h: what a report shows of membership tests, out of blobs of kind "membership" by mia(1).
//
// Each is one object in the list `memberships` of a summary (summary.h): id, digest, model and data (digests), members, others,
// rank, gap, rank_given (the rank was named, not found), singular (the singular values of the first layer), and `methods` by
// name (span, leverage): either refused, a sentence, or
//     auc, tpr_at_fpr_1e-2, tpr_at_fpr_1e-3     with their intervals, and false_positives_at_fpr_...
//     roc      fpr and tpr, lists: the corners of the curve, thinned to what can be seen on logarithmic axes
//     scores   edge [n + 1], members [n] and others [n]: how many images have a score between two edges
#ifndef ASSAY_CHART_MEMBERSHIPS_H
#define ASSAY_CHART_MEMBERSHIPS_H

#include "../io/blob.h"

enum { MEMBERSHIPS_SINGULAR = 4096, MEMBERSHIPS_BINS = 40 };  // values of one result, the first; bins of its scores

// The methods a report knows; low scores of all of them mean member.
struct membership_method {
    const char *name;    // in the record
    const char *tensor;  // its scores in the blob; NAME.roc has its curve
    const char *title;
};
extern const struct membership_method membership_methods[];  // ends with a NULL name

// Whether a blob is such a result.
bool memberships_shown(const struct blob *b);
// Adds one; `stem` as in trials_add.
void memberships_add(json_t *summary, const struct blob *b, const char *stem);
// The method with the largest area among the results of this model, or NULL; *result: whose it is, or the first result that has
// none because it was refused, or NULL.
const json_t *memberships_of_model(const json_t *summary, const char *digest, const json_t **result, const char **method);
// Sentences on what such results are worth, where there are any.
void memberships_limits(const json_t *summary, json_t *limits);

#endif

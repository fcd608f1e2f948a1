// scores.h: what a report shows of reconstructions, out of ssim(1)'s blobs of kind "score".
//
// Each score is one object in the list `reconstructions` of a summary (summary.h): id, digest, candidates, members,
// and rows, the attack first, then what was scored beside it and the baselines: name, auc and tpr_at_fpr_1e-2 with
// their intervals, matched and control_matched (at an NCC of .95), median and control_median; of the attack also certified,
// right and certified_members, where it marked any.
#ifndef ASSAY_CHART_SCORES_H
#define ASSAY_CHART_SCORES_H

#include "../io/blob.h"

enum { SCORES_ROWS = 64 };  // of one score, the first

// `stem` as for trials_add. What does not fit is passed over: a file may come from anywhere.
void scores_add(json_t *summary, const struct blob *b, const char *stem);
// The id of the score with that digest, or NULL.
const char *scores_id(const json_t *summary, const char *digest);
// What these numbers do not say, where there are any.
void scores_limits(const json_t *summary, json_t *limits);

#endif

// scores.h: what a report shows of reconstructions, out of blobs of kind "score" by ssim(1).
//
// Each is one object in the list `reconstructions` of a summary (summary.h): id, digest, made_from (digests of the models that
// the candidates were made from, where their lineage knows), members, candidates, runs, auc, tpr_at_fpr_1e-2, matched and
// matched_control (at .95), identification and its chance, ssim and ssim_control, certified, certified_right,
// certified_members, kkt_residual, kkt_residual_best and kkt_residual_free_kinks (ssim(1), kkt_gate), baselines (a list of name,
// auc, tpr_at_fpr_1e-2, matched, matched_control) and notes. Rates have their intervals beside them.
#ifndef ASSAY_CHART_SCORES_H
#define ASSAY_CHART_SCORES_H

#include "../io/blob.h"

enum { SCORES_BASELINES = 40 };  // of one score, the first

// Whether a blob is such a score: pairs compared image by image (no control) are not.
bool scores_shown(const struct blob *b);
// Adds one; returns its id, borrowed. `stem` as in trials_add.
const char *scores_add(json_t *summary, const struct blob *b, const char *stem);
// The reconstruction with the largest area that was made from this model, or NULL.
const json_t *scores_of_model(const json_t *summary, const char *digest);
// Sentences on what such scores are worth, where there are any.
void scores_limits(const json_t *summary, json_t *limits);

#endif

// membership.h: who was in the training set: the truth, and how well a score tells members from others.
#ifndef ASSAY_AUDIT_MEMBERSHIP_H
#define ASSAY_AUDIT_MEMBERSHIP_H

#include "../base/stats.h"
#include "../nn/model.h"

// One byte for each image of d: whether m was trained on it (free with free). NULL: an error that says what is missing.
//   word NULL: the model's own assay.keep, where d is the set it was trained on, or a part of it (index and source)
//   word a data set's file: its images, by their positions in the source where both sets have the same one, else by
//   their pixels; where it is the set that m was trained on, those of them that m kept
//   any other word: as dataset_choose
// Without a member, or without another image, there is nothing to tell apart: EXIT_INPUT.
unsigned char *membership_truth(const struct model *m, const struct dataset *d, const char *word, struct error *e);

enum { MEMBERSHIP_RATES = 2 };
extern const double membership_fpr[MEMBERSHIP_RATES];       // 1e-2, 1e-3
extern const char *const membership_fpr_key[MEMBERSHIP_RATES];  // "1e-2", "1e-3"

struct membership {
    int64_t members, others;
    double auc;             // P(score of a member > of another) + half of P(equal)
    struct interval interval;  // 95 %
    struct {
        int64_t allowed;    // false positives: floor(fpr others)
        int64_t hits;       // members whose score is over that of the (allowed + 1)-th best other
        struct interval interval;  // 95 % of their share, at a threshold that the others only estimate (roc_rate)
    } at[MEMBERSHIP_RATES];
};
// score: larger for members; numbers. The interval is DeLong's (DeLong, DeLong & Clarke-Pearson 1988; ranks as Sun & Xu 2014)
// on the logit scale, widened by what as few images as the smaller group has cannot show (roc_widen).
struct membership membership_of(const double *score, const unsigned char *member, int64_t n);
// The corners of the ROC curve from (0, 0) to (1, 1), [*corners][2]: the share of others, and of members, that score above a
// threshold as it falls. Images of equal score come together, as a slope. free() it.
double *membership_roc(const double *score, const unsigned char *member, int64_t n, int64_t *corners);
// PATH.auc, .auc_interval, .tpr_at_fpr_1e-2 ..., .false_positives_at_fpr_1e-2 ..., .members, .others.
void membership_save(const struct membership *s, json_t *record, const char *path);

#endif

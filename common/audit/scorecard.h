// scorecard.h: whether candidates are training images: a comparison with held-out images under the same matcher.
//
// Candidates are matched one to one with the members by centred normalised cross-correlation (NCC), so that its sum is the
// largest; each block of control (control.h) is matched alone with the same candidates. The scores of members against those
// of all blocks give the area under the ROC curve. A member no candidate is left for scores -1. Which class a candidate
// claims plays no part.
//
// SSIM of matched pairs stands beside it and decides nothing: on such data held-out images pass the usual bar too.
//
// A match borrows the control and owns its numbers. Results are the same bits on any number of threads.
#ifndef ASSAY_AUDIT_SCORECARD_H
#define ASSAY_AUDIT_SCORECARD_H

#include "control.h"
#include "similarity.h"

// ---- one set of candidates

// Set 0 are the members, set 1 + b is block b.
struct scorecard_match {
    int64_t candidates;
    float *ncc;           // [1 + blocks, n]; -1 where unmatched
    int64_t *candidate;   // [1 + blocks, n]; -1 where unmatched
    double *ssim, *psnr, *mse;  // [1 + blocks, n] of the matched pairs, NaN where unmatched; or NULL
    // For each candidate the nearest member and the nearest image of any block, by NCC. [candidates]
    int64_t *member, *held_out;  // rows of the truth and of the held-out set
    float *member_ncc, *held_out_ncc;
};
// Matches the first `limit` candidates (0: all). pairs: the window of SSIM, where matched pairs are to be measured too, or NULL.
// As many sets are matched at a time as the control has room for, n + 3 numbers a candidate; as much again where there are
// fewer candidates than members. EXIT_INPUT: images of another shape, no window fits, or no room for a single set.
struct scorecard_match *scorecard_match(const struct control *s, const struct images *candidates, int64_t limit,
                                        const enum similarity_window *pairs, struct error *e);
void scorecard_match_free(struct scorecard_match *m);

// What an attacker without the model could offer: `count` images each (fewer held-out ones where there are not as many).
//   noise    uniform in [0, 1], pixel by pixel
//   mean     the members' mean image
//   classes  the members' class means, in turn: more than such an attacker knows
//   heldout  control images that are in no block, NULL where there are none
struct images *scorecard_baseline(const struct control *s, const char *name, int64_t count);

// ---- what is written

// Tensors of a score, borrowed from both: index, y, control.index, truth.ncc, control.ncc, truth.candidate,
// control.candidate, candidate.member, candidate.ncc, candidate.control, candidate.control_ncc, twin.* and, where pairs were
// measured, truth.ssim, truth.psnr and truth.mse.
void scorecard_save_tensors(const struct control *s, const struct scorecard_match *m, struct blob *b);
// Of a baseline: baseline.NAME.truth.ncc and baseline.NAME.control.ncc.
void scorecard_save_baseline(const struct control *s, const struct scorecard_match *m, const char *name, struct blob *b);

// Scores of one run: [1 + blocks, n] as scorecard_match has them, here or out of a file.
struct scorecard_run {
    const float *truth, *control;
    int64_t n;
    int blocks;
};

// Metrics under PATH, over all runs together: auc and tpr_at_fpr_1e-2 with their intervals (roc.h), matched_at_0p95 and
// matched_at_0p999 (truth: members; control: mean over blocks; over several runs means of a run), median.truth, median.control.
void scorecard_save(const struct scorecard_run *run, int runs, uint64_t seed, json_t *record, const char *path);
struct scorecard_run scorecard_run(const struct control *s, const struct scorecard_match *m);
// The scores in a blob of kind score: those of the candidates (baseline NULL) or of a baseline. False with e->status
// EXIT_DONE where the blob has no such baseline; EXIT_INPUT where what it has does not fit.
bool scorecard_run_of(const struct blob *score, const char *baseline, struct scorecard_run *out, struct error *e);

// Share of candidates whose nearest image is a member, and what chance gives where candidates know nothing of the
// members: n / (n + used).
struct scorecard_found {
    int64_t count, of;
    double chance;
};
struct scorecard_found scorecard_identify(const struct control *s, const struct scorecard_match *m);

// The first `count` candidates in the attack's own order, each between its nearest member and its nearest control image.
struct scorecard_wall {
    int64_t count;
    float *x;             // [count, 3, C, H, W]: member, candidate, control image
    float *ncc;           // [count, 2]: of the candidate with either
    unsigned char *mark;  // [count]: 0 unmarked, 1 marked, 2 marked and right
};
// verdict: of scorecard_marks, or NULL. Free with scorecard_wall_free.
struct scorecard_wall scorecard_wall(const struct control *s, const struct scorecard_match *m, const struct images *candidates,
                                     const unsigned char *verdict, int64_t count);
void scorecard_wall_free(struct scorecard_wall *w);
void scorecard_save_wall(const struct control *s, const struct scorecard_wall *w, struct blob *b);  // wall.x, .ncc, .mark

#endif

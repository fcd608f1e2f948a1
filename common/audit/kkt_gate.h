// kkt_gate.h: how well the equation that reconstruction lives on holds at the truth: an oracle's diagnostic, which needs the
// training images. It tells whether an attack failed by itself or because training did not end where the equation holds.
//
//     |theta - sum_ik lambda_ik grad_theta z_k(x_i)| / |theta|       theta: what was trained, not `fixed` (kkt.h)
//
// at the training images x_i, three times, each no greater than the one before:
//   given        the multipliers that cross-entropy dictates, lambda_ik = ([k = y_i] - p_k(x_i)) / (n mu), with coupled L2 mu of
//                the model's record; where it names none (a released model, no decay) with the scale that fits best. With the
//                loss and decay of the training, and all of its images, this is its stationarity residual (settle.h)
//   best         the multipliers that fit best, lambda_ik >= 0 for the own class and <= 0 for the others: a convex problem,
//                by conjugate gradients with proportioning (Dostal & Schoeberl 2005, "Minimizing quadratic functions subject
//                to bound constraints with the rate of convergence and finite termination")
//   free_kinks   besides, derivatives of the first layer's ReLUs anywhere in [0, 1] where a pre-activation is within
//                KKT_GATE_KINK times the root mean square of all of them; multipliers and derivatives in turn. That is not
//                convex: an upper bound of the least.
// The first two take a ReLU's derivative as 1 where its input is positive and 0 elsewhere, as training does. Networks run as they
// are evaluated: without dropout, with running statistics.
#ifndef ASSAY_AUDIT_KKT_GATE_H
#define ASSAY_AUDIT_KKT_GATE_H

#include "../nn/model.h"
#include "images.h"

#define KKT_GATE_KINK .003
enum { KKT_GATE_IMAGES = 2000 };

struct kkt_gate {
    double given, best, free_kinks;  // free_kinks: NaN where it is refused
    const char *refused;             // why there is no free_kinks, a sentence without full stop; or NULL
    double scale;                    // 1 / (n mu), or what fits best
    bool fitted;                     // the scale
    double bound;                    // of a kink, as a pre-activation
    int64_t kinks, pairs;            // of (image, neuron of the first layer): within the bound; all
    bool settled;                    // best and free_kinks stopped falling; else they are upper bounds
};

// members: all images that m was trained on, with their classes. EXIT_INPUT where kkt_gate_fits says so, or a residual is no
// number.
bool kkt_gate_measure(const struct model *m, const struct images *members, struct kkt_gate *out, struct pool *pool,
                      struct error *e);
// Told beforehand, so that no other work is lost: EXIT_INPUT where the images have no classes, do not fit the network or are more
// than KKT_GATE_IMAGES, or the trained weights are all zero or not finite.
bool kkt_gate_fits(const struct model *m, const struct images *members, struct error *e);
// metrics.kkt_gate.given, .best, .free_kinks or .free_kinks_refused, .scale, .scale_fitted, .kinks, .pairs, .settled.
void kkt_gate_save(const struct kkt_gate *gate, json_t *record);
// The first three as medians over the records of scores, each where all have it.
void kkt_gate_pool(const struct blob *const *score, int scores, json_t *record);

#endif

// inversion_loss.h: what images rebuilt out of a classifier are asked to be: ten terms and their weighted sum, by the
// names and with the weights of "Vision-Model-Inversion (EE 691)".
//
// A run has `batch` images x_i with classes y_i, logits z_i, penultimate features f_i (the input of the last linear
// layer), margins m_i = z_y - max of the others. x' = x + noise * (a fair coin's sign per pixel); it is not clipped to
// [0, 1], so half of its pixels lie outside at the default noise of .6. t is one-hot at y, smoothed: 1 - s + s / K there, s / K elsewhere.
//
//     alpha, alpha_prime  mean KL(t | softmax z), of x and of x'; with s = 0 equal to beta, beta_prime
//     beta, beta_prime    mean cross-entropy of x and of x'
//     gamma               mean of cos(f_i, f_j) over i != j
//     delta               mean of (F F' - I)^2, over batch times the number of features
//     eta1                mean total variation, sum of squared differences of neighbours, times `ramp`
//     eta2                mean distance outside [0, 1], sum over pixels
//     eta3                |gradient in theta of the mean cross-entropy|
//     eta4                |theta - sum_i c a_i^2 grad_theta m_i|^2: stationarity (Lyu & Li 2020; Haim et al. 2022)
//
// theta is every parameter of the classifier. eta3 and eta4 are functions of gradients: where the classifier has ReLUs,
// arch_build.sharpness gives their second derivative more than zero.
#ifndef ASSAY_AUDIT_INVERSION_LOSS_H
#define ASSAY_AUDIT_INVERSION_LOSS_H

#include "../nn/model.h"

enum inversion_term {
    INVERSION_ALPHA, INVERSION_ALPHA_PRIME, INVERSION_BETA, INVERSION_BETA_PRIME, INVERSION_GAMMA, INVERSION_DELTA,
    INVERSION_ETA1, INVERSION_ETA2, INVERSION_ETA3, INVERSION_ETA4, INVERSION_TERMS
};
extern const char *const inversion_term_name[INVERSION_TERMS];  // "alpha", "alpha_prime", ...

struct inversion_weights {
    double of[INVERSION_TERMS];
};
// "all": 5 5 10 10 10 7 2 0 2 2; "stationary-only": eta4 alone, 1; "no-stationary": as all, eta4 0. False: no such name.
bool inversion_preset(const char *name, struct inversion_weights *w);
extern const char *const inversion_presets;  // "all|stationary-only|no-stationary"

struct inversion_loss {
    // Settings.
    struct inversion_weights weight;
    int64_t batch;            // images of every run
    double smoothing, noise;  // s; of x'
    double scale;             // c; 1 in the study
    struct stream stream;     // of x'
    // Nodes the caller gives.
    struct node *x, *y, *key; // batch: [C, H, W]; index [1]; index [3] = slot, step, restart, for x'
    struct node *a;           // batch [1]; read where eta4 has a weight
    struct node *ramp;        // whole [1]; read where eta1 has a weight
    // Results, whole [1]; a term without weight costs nothing and is NULL.
    struct node *term[INVERSION_TERMS];  // unweighted, eta1 without its ramp
    struct node *total;
    struct node *logits;      // batch [classes], of x
};
// n: as for model_build; set n->arch.sharpness before. At least one weight is positive; gamma needs two images.
void inversion_loss_build(const struct model *m, struct graph *g, struct arena *arena, struct model_nodes *n, struct inversion_loss *l);

#endif

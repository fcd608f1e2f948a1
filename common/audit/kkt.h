// kkt.h: the direct attack: training images as the solution of the equations that the weights satisfy (Haim et al. 2022,
// "Reconstructing training data from trained neural networks"; Buzaglo et al. 2023 for several classes).
//
// Weights theta at a stationary point of cross-entropy with coupled L2 on every parameter are a weighted sum of the
// training examples' gradients, theta = sum_i sum_k lambda_ik grad_theta z_k(x_i), lambda_ik > 0 for the own class and
// < 0 for the others; a homogeneous network trained past the fit without decay comes to the same equation with the
// margin's gradient (Lyu & Li 2020). The attack looks for candidates (x_i, lambda_i) that make
//
//     |theta - sum_ik lambda_ik grad_theta z_k(x_i)|^2 / |theta|^2
//         + box sum max(0, x - 1, -x)^2 + floor sum max(0, -sign_ik l_ik)^2 ,     lambda = scale l ,
//
// small (theta less what known images explain, in later rounds), by Adam with one second moment for each candidate, the learning rate falling by a cosine. ReLUs have the
// derivative sigmoid(s a), with s rising geometrically over the run. `scale` is Euler's identity for a network of degree
// k: sum_ik lambda_ik z_k = |theta|^2 / k, with an assumed margin. Candidates are coordinates in the span of the first
// layer (reduced.h) or images.
//
// A struct kkt borrows model, reduced network and pool and owns the rest.
#ifndef ASSAY_AUDIT_KKT_H
#define ASSAY_AUDIT_KKT_H

#include "../base/msg.h"
#include "reduced.h"

struct kkt_options {
    const char *device;
    uint64_t seed;
    int64_t candidates;       // of one restart
    int64_t steps, restarts;
    double polish;            // share of the steps, the last: from where the others ended, another cosine from a small rate, with
                              // the sharpness from a third of its last value to three times it
    double lr, lr_multiplier; // largest, of candidates and of l
    double start;             // deviation of candidates from the mean at the start
    double sharpness[2];      // s at the first and at the last step
    double box, floor;        // weights of the penalties
    double margin;            // assumed, of a training example
    int round;                // 0; later ones look for what the images known leave, and draw their own starts
    double share;             // of the training images that are looked for: 1, less in later rounds
};
struct kkt_options kkt_defaults(bool in_span);
void kkt_describe(const struct kkt_options *o, json_t *config);  // adds what decides the result

struct kkt {
    const struct model *m;      // the whole network
    const struct reduced *in;   // NULL: candidates are images
    struct kkt_options o;
    struct pool *pool;
    int64_t columns, classes;   // of a candidate, of its multipliers
    double scale;               // of the multipliers
    int64_t restart, step;      // where the run stands: whole restarts done, steps done of the next
    int64_t stop;               // restarts after which kkt_run returns: all of them, unless the caller wants to look before
    // Rows of all restarts, one after the other: [restarts][candidates].
    int64_t *y;                 // own class
    float *x, *l;               // [..][columns], [..][classes]: the best iterate of a restart that is done
    double *residual;           // [restarts]: |residual|^2 of it over the square of what is to explain; NaN before it is done
    double *history;            // [restarts][steps]: the same before each step; NaN before it was made
    struct progress *progress;  // NULL, or drawn
    struct kkt_engine *engine;  // private
};

// in: of m, or NULL. EXIT_INPUT where the options do not fit the network.
struct kkt *kkt_open(const struct model *m, const struct reduced *in, const struct kkt_options *o, struct pool *pool,
                     struct error *e);
void kkt_free(struct kkt *k);
const struct plan *kkt_plan(const struct kkt *k);
void kkt_profile(struct kkt *k, double seconds[PARTS]);  // as exec_profile

// Before the run: images [count][C H W] in the place of random starts, inside the span their orthogonal projections onto the
// slice. An image of class y, as in y [count], goes to the first candidate of that class which has none yet, restart after
// restart. Returns how many found a place.
int64_t kkt_start(struct kkt *k, const float *image, const int64_t *y, int64_t count);
// Runs every restart up to `stop` to its end, or until out_stopping(). `interrupted` tells of a signal, also of one that came with the last
// step: all is done then, and a checkpoint ends at once. The best iterate is looked for in the last tenth of the steps.
// EXIT_INPUT with restart and step where the residual is no number.
bool kkt_run(struct kkt *k, bool *interrupted, struct error *e);
// The residual, and the derivatives of the whole loss in the rows of a restart as they stand, at the sharpness of a step: what a
// step follows. dx, dl: rows as x and l.
bool kkt_gradient(struct kkt *k, int64_t restart, int64_t step, double *residual, float *dx, float *dl, struct error *e);

// A checkpoint of a run with the given identity (its config): continues bit for bit. kkt_resume refuses one of another run.
bool kkt_save(const struct kkt *k, const json_t *identity, const char *path, struct error *e);
bool kkt_resume(struct kkt *k, const json_t *identity, const char *path, struct error *e);

#endif

// settle.h: a trained network brought to rest: towards a stationary point of
//
//     J(theta) = mean cross-entropy of the training examples + (l2 / 2) |theta|^2  (of theta that is not fixed, arch.h),
//
// and how far from one it is: the stationarity residual |grad J| / (l2 |theta|). Where it is small, every weight is a
// weighted sum of the examples' gradients, which is what reconstruction lives on.
//
// A ReLU network is not smooth, and its minima lie on kinks: some pre-activations are 0 with a derivative anywhere in
// [0, 1]. With the derivative taken as 0 there (as training does) the residual stays near .1 however long one waits; so it is
// measured twice, and the second measure lets the derivatives on kinks of the first layer free.
//
// Where the first layer is linear in the image and the examples are fewer than its inputs, the work is done in the
// coordinates of the examples' span: no gradient leaves it, and what the first layer has outside it is set to 0, the
// minimum of its share in J. Otherwise all parameters move. Nothing here draws at random.
#ifndef ASSAY_NN_SETTLE_H
#define ASSAY_NN_SETTLE_H

#include "model.h"

enum settle_method {
    SETTLE_SGD,    // gradient descent with momentum .9, learning rate falling by a cosine to a thousandth of lr
    SETTLE_LBFGS,  // L-BFGS on smooth relus log(1 + exp(k x)) / k, k = 100, 300, ... 30000 for a sixth of the steps each, or less
};
struct settle_options {
    enum settle_method method;
    int64_t steps;       // 0: only what lies outside the span
    double residual;     // stop below this; 0: never
    double lr;           // SETTLE_SGD
    double l2;           // > 0
    double smoothing;    // of labels
    const double *class_weight;  // [classes] or NULL
    const char *device;
};
// "sgd:STEPS" or "lbfgs:STEPS". EXIT_USAGE.
bool settle_parse(const char *word, enum settle_method *method, int64_t *steps, struct error *e);

struct stationarity {
    double loss, norm;       // J, |theta|
    double residual;         // derivative of relu at 0: 0
    double residual_kinks;   // the least over derivatives in [0, 1] on kinks of the first layer; NAN where not measured
    int64_t kinks, pairs;    // of (example, neuron of the first layer): |pre-activation| < SETTLE_KINK; all
};
#define SETTLE_KINK .003

// Why a network cannot be settled: it draws at random, or its output for one example depends on others. NULL where it can.
const char *settle_refused(const struct model *m);

// The examples index[0..n) of d. The kinks are measured on up to SETTLE_EXAMPLES of them and where relu follows a linear
// first layer.
enum { SETTLE_EXAMPLES = 2000 };
bool settle_measure(struct model *m, const struct dataset *d, const int64_t *index, int64_t n, const struct settle_options *o,
                    struct stationarity *out, struct pool *pool, struct error *e);

// A first layer behind which relu stands, on images [n][C H W]: the least of
//
//     sum_j |l2 [w_j, b_j] + sum_i s_ij u_ij [x_i, 1]|^2 ,     s_ij in [0, 1] where |w_j x_i + b_j| < bound,
//
// over neurons j, with u [n][width], x_i as the network sees it. s [n][width]: the start, and the only value off the kinks; at
// the end the best. NULL: 1 where the pre-activation is positive, else 0. *kinks: how many are within the bound.
double settle_kinks(const struct model *m, const float *image, int64_t n, double l2, double bound, const double *u, double *s,
                    int64_t *kinks, struct pool *pool);

// Moves m->theta. An interruption (out.h) sets *interrupted and leaves m as it was. *steps: taken.
bool settle_run(struct model *m, const struct dataset *d, const int64_t *index, int64_t n, const struct settle_options *o,
                int64_t *steps, bool *interrupted, struct pool *pool, struct error *e);

#endif

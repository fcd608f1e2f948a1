// miface.h: class-gradient ascent (Fredrikson, Jha & Ristenpart 2015, "Model inversion attacks that exploit confidence
// information", algorithm 1, MI-Face): an image of a class is what the model is surest of.
//
// From each start gradient descent on the cross-entropy -log softmax_y, in steps of one length (the paper descends 1 - softmax_y,
// with the same minima, whose gradient vanishes where the model is sure of another class):
//     x = clip(x - step g / (|g| + 1e-12)), and every `smooth_every` steps x = denoise(x)
// until the probability reaches `enough`, or has not grown for `patience` steps, or the steps are over; the surest iterate is
// kept. denoise is a 3 x 3 binomial filter, [1 2 1] x [1 2 1] / 16, edges repeated. The first start of a class is black, as in
// the paper; others are uniform noise around grey, 1/2 + spread (u - 1/2).
#ifndef ASSAY_AUDIT_MIFACE_H
#define ASSAY_AUDIT_MIFACE_H

#include "../base/msg.h"
#include "candidates.h"

struct miface_options {
    const char *device;
    uint64_t seed;
    int64_t each;          // images a class
    int64_t steps, patience;
    int64_t smooth_every;  // 0: never
    double step, enough, spread;
    struct progress *progress;  // NULL, or drawn
};
// 10 a class, 500 steps of length .5, patience 100, smoothed every 10, enough .99999, spread 1.
struct miface_options miface_defaults(void);
void miface_describe(const struct miface_options *o, json_t *config);  // adds what decides the result

struct miface {
    struct candidates *found;  // ranked by the model's probability
    int64_t steps;             // gradients taken, over all images
};
// Takes the gradients of all images together; an image's path does not depend on the others. Free `found` by candidates_free.
bool miface_run(const struct model *m, const struct miface_options *o, struct pool *pool, struct miface *out, struct error *e);

#endif

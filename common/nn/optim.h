// optim.h: optimisers over one flat array of parameters, PyTorch's formulas and defaults.
//
// The update is elementwise, in one pass over fixed tiles on the pool: parameter, gradient and moments are
// each touched once, and the result does not depend on the number of threads.
//   sgd    (torch.optim.SGD):   g += l2 p; m = momentum m + g (m = g at first); p -= lr m  (lr (g + momentum m) with nesterov)
//   adam   (Kingma & Ba 2015):  g += l2 p; m, v moments; p -= lr / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps)
//   adamw  (Loshchilov & Hutter 2019): p -= lr decay p first, then adam's step
#ifndef ASSAY_NN_OPTIM_H
#define ASSAY_NN_OPTIM_H

#include <stdbool.h>
#include <stdint.h>
#include "../base/error.h"
#include "../base/pool.h"

enum optim_kind { OPTIM_SGD, OPTIM_ADAM, OPTIM_ADAMW };

struct optim {
    enum optim_kind kind;
    double momentum;       // sgd
    bool nesterov;         // sgd
    double beta1, beta2, epsilon;  // adam, adamw: .9, .999, 1e-8
    double l2;             // coupled: l2 p is added to the gradient of every parameter
    double weight_decay;   // adamw: decoupled
    int64_t size;          // floats
    int64_t step;          // updates made
    float *m, *v;          // moments; NULL where the kind has none
    unsigned char *spoilt; // private: per tile, a gradient that is not finite
};

bool optim_parse(const char *name, enum optim_kind *kind);  // "sgd", "adam", "adamw"
void optim_defaults(struct optim *o, enum optim_kind kind);  // PyTorch's
// Zero moments for `size` parameters, once the settings stand. optim_close frees them.
void optim_open(struct optim *o, int64_t size);
void optim_close(struct optim *o);
// One update of p by gradient g. Returns -1, or the position of the first gradient that is not finite (the
// parameters are then spoilt and the run must stop).
int64_t optim_step(struct optim *o, double lr, float *p, const float *g, struct pool *pool);

// Learning rates over a run of `total` steps.
enum schedule_kind { SCHEDULE_CONSTANT, SCHEDULE_COSINE, SCHEDULE_STEP, SCHEDULE_ONECYCLE };
struct schedule {
    enum schedule_kind kind;
    double lr;         // the largest
    double gamma;      // step: factor
    int64_t every;     // step: after so many steps
    int64_t total;
};
// "constant", "cosine" (to 0 at the end), "step:EPOCHS:GAMMA", "one-cycle" or "onecycle"
// (torch.optim.lr_scheduler.OneCycleLR's defaults: up from lr / 25 over 30 % of the steps, then down to lr / 250000, by cosines; the momentum stays).
bool schedule_parse(struct schedule *s, const char *text, double lr, int64_t steps_per_epoch, int64_t epochs, struct error *e);
double schedule_lr(const struct schedule *s, int64_t step);  // step from 0

#endif

// generator.h: a conditioned generator trained against a classifier (after "Vision-Model-Inversion (EE 691)" and Suhail &
// Sethi 2024, "Network inversion for training-like data reconstruction").
//
// z (`latent` normals) and a class become an image: a class embedding is appended to z, transposed convolutions make
// 10 x 10 channels of it, a class matrix (row and column y are 1) is appended as one more channel, and transposed
// convolutions with dropout end in pixels. The weights are trained by Adam so that the images of a batch lower a weighted
// sum of inversion_loss.h; the multipliers c a_i^2 of its stationary term belong to the slots of the batch and are trained along.
// Slot i always has class i mod K and a fresh z each step. The classifier is in evaluation mode throughout and never changes.
//
// A struct generator borrows model and pool and owns the rest. Every draw is keyed by (slot, step): the same bytes for
// any number of threads, and a run that was cut continues bit for bit.
#ifndef ASSAY_AUDIT_GENERATOR_H
#define ASSAY_AUDIT_GENERATOR_H

#include "../base/msg.h"
#include "../nn/optim.h"
#include "candidates.h"
#include "inversion_loss.h"

struct generator_options {
    const char *device;
    uint64_t seed;
    struct inversion_weights weight;
    int64_t steps, batch;
    int64_t width;              // channels after the first transposed convolution; the others are multiples
    double lr, multiplier_lr;   // Adam's
    double noise, smoothing;    // inversion_loss.h
    double sharpness;           // of the classifier's ReLUs under a derivative (arch_build.sharpness); 0: a step
    // Margin assumed of the images, for the multipliers' scale c by Euler's identity, sum_i c a_i^2 = |theta|^2 / (degree margin)
    // at the start, the degree being the number of weight layers; 0: c = 1, whatever the weights, as in the study.
    double margin;
    int64_t ramp;               // steps until eta1 has its whole weight, from 0 up in a line
    const char *line[3];        // other networks for embedding [K, 1, 1], first half and second half; NULL: the ones above
};
// 1000 steps of 64 images, width 64, lr 3e-3 and .01, noise .6, sharpness 100, ramp 500, preset "all".
struct generator_options generator_defaults(void);
void generator_describe(const struct generator_options *o, json_t *config);  // adds what decides the result

// The terms, their weighted sum, and the accuracy: the share that the model puts in its class.
enum { GENERATOR_COLUMNS = INVERSION_TERMS + 2 };
extern const char *const generator_column_name[GENERATOR_COLUMNS];

struct generator {
    int64_t step;      // done so far
    double *history;   // [GENERATOR_COLUMNS][steps]; NaN for terms without weight and steps not done
    int64_t parameters;  // of the generator, numbers a user would count
    bool interrupted;  // SIGINT or SIGTERM came, be it with the last step
    struct progress *progress;  // NULL, or drawn
    struct generator_run *run;  // private
};

// Refuses (EXIT_USAGE) images that the architecture cannot make: it makes squares of 25 to 64 pixels a side.
struct generator *generator_open(const struct model *m, const struct generator_options *o, struct pool *pool, struct error *e);
void generator_free(struct generator *r);
const struct plan *generator_plan(const struct generator *r);

// Trains until step `to` (no further than `steps`), or until out_stopping(). A loss that is not finite stops it (EXIT_INPUT),
// naming step and term.
bool generator_train(struct generator *r, int64_t to, struct error *e);
void generator_profile(struct generator *r, double seconds[PARTS]);  // as exec_profile

// Images of the generator in evaluation mode, `each` a class, ranked by the model's probability of the class.
struct candidates *generator_sample(struct generator *r, int64_t each, struct error *e);

// Once trained: every step's terms, their sum and the accuracy as tensors loss.NAME [steps], which the blob borrows, and in the
// record's metrics their means over the last tenth of the steps. Where the stationary loss has a weight, also the squared length
// of the classifier's weights, which that loss is without any image, and a note where it is no less.
void generator_note(const struct generator *r, struct blob *b, json_t *record);

// A checkpoint of a run with the given identity (its config; NULL: none): continues bit for bit. generator_resume refuses one of
// another run.
bool generator_save(const struct generator *r, const json_t *identity, const char *path, struct error *e);
bool generator_resume(struct generator *r, const json_t *identity, const char *path, struct error *e);

#endif

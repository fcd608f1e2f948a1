// train.h: the training loop: batches, gradient, update; evaluation, early stopping, checkpoints.
//
// How a regime differs from plain training (adversarial examples, differential privacy) is a struct of
// hooks that the audit layer fills; every hook may be NULL. A struct training borrows model, data and pool.
#ifndef ASSAY_NN_TRAIN_H
#define ASSAY_NN_TRAIN_H

#include "../base/pool.h"
#include "../engine/exec.h"
#include "../io/dataset.h"
#include "augment.h"
#include "model.h"
#include "optim.h"

struct training;

struct regime {
    const char *name;  // "erm", "pgd", "dp"
    void *own;         // handed to every hook

    // Before the graph is built; the model stands.
    bool (*open)(void *own, struct training *t, struct error *e);
    // The examples of a step: at most `room` positions of the data set into index; returns how many (0 is
    // legal). NULL: shuffled epochs. `most` is the largest number, 0 for the batch size.
    int64_t (*batch)(void *own, struct training *t, int64_t *index, int64_t room);
    int64_t most;
    // Changes the images of a step in place (adversarial examples).
    bool (*perturb)(void *own, struct training *t, const int64_t *index, int64_t n, float *images, struct error *e);
    // Graph: the loss of every example, batch [1], out of the cross-entropy.
    struct node *(*loss)(void *own, struct training *t, struct node *loss);
    // Graph: the gradient of every parameter (whole nodes), out of the loss of every example. NULL: of the
    // mean loss, that is of the sum of loss times t->scale.
    void (*reduce)(void *own, struct training *t, struct node *loss, struct node **gradient);
    // After the run: changes the flat gradient (noise).
    bool (*finish)(void *own, struct training *t, int64_t n, float *gradient, struct error *e);
    // After an epoch: may set the score that picks the best weights (larger is better; the default is minus
    // the validation loss) and stop the run.
    bool (*epoch_end)(void *own, struct training *t, double *score, bool *stop, struct error *e);
};

struct train_options {
    uint64_t seed;
    const char *device;
    int64_t epochs, batch;
    struct optim optim;        // settings; train_open opens its own copy
    double lr;
    const char *schedule;      // optim.h
    double smoothing;          // of labels
    const double *class_weight;  // [classes] or NULL
    struct augment augment;
    int64_t patience;          // epochs without a better score before it stops; 0: never stops early
    bool keep_best;            // end with the best weights, not the last
    const char *checkpoint;    // where an interrupted run is saved, or NULL
    bool checkpoint_epochs;    // save after every epoch too
    const json_t *identity;    // what must be equal for a run to be resumed (config of the checkpoint)
};

// Which of the data's examples train and which validate. keep: one byte per example; validation examples
// are taken out of it (drawn from the stream "train/validation").
struct train_split {
    int64_t *train, *validation;
    int64_t trains, validations;
};
struct train_split train_split(unsigned char *keep, int64_t count, double fraction, uint64_t seed);
void train_split_free(struct train_split *s);

// A weight for each class (free with free): "none" gives NULL; "balanced" weighs by n / (classes x examples of the
// class), as scikit-learn does; else numbers separated by commas. NULL and an error where that is none of them or leaves
// no example any weight.
double *train_class_weights(const char *word, const struct model *m, const struct dataset *d, const struct train_split *s,
                            struct error *e);
// Both classes of a binary network occur among the examples to train on.
bool train_two_classes(const struct model *m, const struct dataset *d, const struct train_split *s, struct error *e);

// Input normalisation: "none", "constant:M,S", "scalar" (mean and deviation of all pixels of the examples),
// "mean-image" (their mean image is subtracted). The first two need no data.
bool train_normalise(struct model *m, const char *word, const struct dataset *d, const int64_t *index, int64_t n,
                     struct pool *pool, struct error *e);

enum train_column { TRAIN_LOSS, TRAIN_ACCURACY, VALIDATION_LOSS, VALIDATION_ACCURACY, TEST_LOSS, TEST_ACCURACY, TRAIN_LR, TRAIN_COLUMNS };
extern const char *const train_column_name[TRAIN_COLUMNS];  // "train_loss", ...

enum train_part { TRAIN_DATA = PARTS, TRAIN_OPTIMISER, TRAIN_HOOKS, TRAIN_EVALUATION, TRAIN_PARTS };

struct training {
    struct model *model;
    const struct train_options *options;
    struct regime *regime;
    struct pool *pool;
    const struct dataset *data, *test;  // test may be NULL
    struct train_split split;           // borrowed arrays
    int64_t steps_per_epoch;

    // The graph of a step.
    struct graph *graph;
    struct arena arena;
    struct model_nodes nodes;
    struct node *x, *y, *key;    // batch inputs: images [C, H, W] in [0, 1], labels index [1], index [3]
    struct node *scale;          // batch [1]: what a loss counts in the mean, 1 / N without class weights
    struct node *loss;

    // The run.
    int64_t step, epoch;         // done so far
    int64_t best_epoch;          // from 1; 0: none
    double best_score;
    double *history;             // [TRAIN_COLUMNS][epochs], NaN where not measured
    double seconds[TRAIN_PARTS]; // of all workers for the plan's parts, wall for the rest
    bool interrupted;            // by SIGINT or SIGTERM: the checkpoint is written
    struct train_run *run;       // private
};

struct training *train_open(struct model *m, const struct train_options *o, struct regime *r, const struct dataset *data,
                            const struct train_split *split, const struct dataset *test, struct pool *pool, struct error *e);
const struct plan *train_plan(const struct training *t);
// Continues a checkpoint bit for bit; refuses one of another run, naming the first difference.
bool train_resume(struct training *t, const char *path, struct error *e);
bool train_run(struct training *t, struct error *e);
// Saves the run as it stands, where the options have a checkpoint. After the last epoch such a checkpoint resumes to the
// same end at once.
bool train_save(struct training *t, struct error *e);
void train_free(struct training *t);

void train_say_profile(const struct training *t);  // where the time went

// Loss and accuracy of the model as it is, on those examples (index NULL: all).
bool train_evaluate(struct training *t, const struct dataset *d, const int64_t *index, int64_t n, struct evaluation *out,
                    struct error *e);

#endif

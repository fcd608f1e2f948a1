// model.h: a classifier: architecture, weights, input normalisation, classes; its file; its evaluation.
//
// Every model takes images in [0, 1]; normalisation is part of it. Every model has `classes` logits: a
// binary network (one output z) is the two-class network with logits (0, z), so its loss is the logistic
// loss and its margin y z, and nobody else needs to know. Labels of the data are turned into classes by
// model_label.
//
// A struct model owns its arrays and its arch. theta may be changed in place (training does); whoever runs
// a plan over it then calls model_bind again.
#ifndef ASSAY_NN_MODEL_H
#define ASSAY_NN_MODEL_H

#include "../base/pool.h"
#include "../engine/exec.h"
#include "../io/blob.h"
#include "../io/dataset.h"
#include "arch.h"

struct model {
    struct arch *arch;
    float *theta;           // arch->size
    float *state;           // arch->state_size
    int classes;            // of the logits, >= 2
    bool binary;            // one output
    uint64_t positive;      // binary: bit l is set where label l is the positive class
    char normalise[128];    // as train_normalise was asked: "none", "constant:M,S", "scalar", "mean-image"
    int64_t mean_count;     // 0 (none), 1, or C H W
    float *mean;            // [mean_count], subtracted
    float std;              // then divided by
    unsigned char *keep;    // which examples of its source it was trained on (assay.keep), or NULL
    int64_t keep_count;
    struct blob *blob;      // the file it came from, for lineage and record, or NULL
};

// A fresh model with the arch's starting values. Takes the arch.
struct model *model_new(struct arch *a, uint64_t seed);
// Reads a model blob, or a checkpoint's weights. EXIT_INPUT names tensor, expected and found.
struct model *model_open(const char *path, struct error *e);
void model_free(struct model *m);
// Weights of any safetensors state dict whose names and shapes are the arch's; `assay.*` is passed over,
// anything else left over is refused. F16, BF16 and F64 are converted.
bool model_load(struct model *m, const struct blob *from, struct error *e);
// How many outputs a state dict's network has: the first dimension of the last element's tensors; 0 where no name
// begins with an element's number.
int64_t model_outputs(const struct blob *weights);
// Adds the model to a blob under construction: weights by PyTorch's names, normalisation, keep, and its
// config (arch, input, classes, normalise ...) to `record`. The blob borrows the model's arrays.
void model_save(const struct model *m, struct blob *to, json_t *record);

// Refuses a data set whose images or labels the model cannot take, saying which.
bool model_fits(const struct model *m, const struct dataset *d, struct error *e);
int model_label(const struct model *m, int64_t label);  // the class of a label
json_t *model_positive(const struct model *m);          // binary: the labels of the positive class, a new list

// ---- a model inside any graph

struct model_nodes {
    struct arch_build arch;  // set training, seed, key, count before model_build
    struct node *mean;       // whole input, or NULL
    struct node *logits;     // batch [classes]
    struct node *features;   // batch [in], input of the last linear element
};
// x: batch [C, H, W], images in [0, 1]. May be called several times with the same nodes and other x (the
// inputs are made by the first call, arch.param then is set). The arrays are the arena's.
void model_build(const struct model *m, struct graph *g, struct arena *arena, struct model_nodes *n, struct node *x);

// Sets every input that model_build made. `store` keeps what a device of double reals needs; start it as
// {0} and free it with model_unbind. Call again after theta changed.
struct model_binding {
    double *wide;  // parameters, state and mean as doubles, on devices that take them
};
void model_bind(const struct model *m, const struct model_nodes *n, struct exec *x, struct model_binding *b);
void model_unbind(struct model_binding *b);

// ---- evaluation

// Logits of images, EVALUATE_BATCH at a time, by a plan without any derivative.
enum { EVALUATE_BATCH = 512 };
struct evaluator;
struct evaluator *evaluator_open(const struct model *m, const char *device, struct pool *pool, struct error *e);
void evaluator_free(struct evaluator *v);
void evaluator_refresh(struct evaluator *v);  // after the model's weights changed
// rows: n images, C H W floats each -> n rows of `classes` logits.
bool evaluator_rows(struct evaluator *v, const float *rows, int64_t n, float *logits, struct error *e);
// The images index[0..n) of a data set (NULL: 0 .. n - 1) -> n rows of logits.
bool evaluator_dataset(struct evaluator *v, const struct dataset *d, const int64_t *index, int64_t n, float *logits,
                       struct error *e);

struct evaluation {
    int64_t count, right;
    double loss;  // mean cross-entropy, summed in double
};
// Logits rows against labels.
struct evaluation evaluation_of(const struct model *m, const float *logits, const int64_t *labels, const int64_t *index,
                                int64_t n);
int evaluation_class(const float *logits, int classes);  // the first largest

// Runs dataset images into rows on the pool: out[i] = image index[i] (NULL: from + i) in [0, 1].
void model_images(const struct dataset *d, const int64_t *index, int64_t from, int64_t n, float *out, struct pool *pool);

// The coefficient of coupled L2 that the record tells of; 0 where it tells of none, or of AdamW, whose decay is decoupled.
double model_coupled_l2(const struct model *m);
// Of the parameters that were trained, not `fixed`: the sum of squares, and through how many layers their scale passes, the degree
// of a homogeneous network in them.
double model_trained_squares(const struct model *m);
int model_degree(const struct model *m);

#endif

// graph.h: a network, its loss and their derivatives as one graph of ops.
//
// A graph describes the computation for ONE example. A node is either a *batch* node, which has a value per
// example, or a *whole* node, which has a single one (a weight, the sum of the losses). No shape contains
// the number of examples: it is known only when a plan runs. All inputs of an op are of one sort; two ops
// cross over, and they are each other's derivative:
//
//     graph_each(w)          whole -> batch   the same value for every example
//     graph_sum_examples(l)  batch -> whole   the sum over the examples
//
// so the gradient of a sum of losses with respect to a weight w is the usual gradient, and with respect to
// graph_each(w) it is the gradient of every example by itself.
//
// A graph owns its nodes; a node is never changed, and equal nodes are one node. Builders take and return
// nodes and abort (BUG) on shapes that do not fit, naming both. Shapes are logical, in PyTorch's order
// (C, H, W); where a value lies in memory is the planner's business. Calculus is in grad.h.
#ifndef ASSAY_ENGINE_GRAPH_H
#define ASSAY_ENGINE_GRAPH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "../base/rng.h"

enum { GRAPH_RANK_MAX = 6 };

struct shape {
    int rank;
    int64_t dim[GRAPH_RANK_MAX];
};

// Every op: enum name, name in print, number of inputs. The derivative of each stands in grad.c, or it is
// declared to be zero there; a test walks this table.
#define GRAPH_OPS(X)                                                                              \
    /* sources */                                                                                 \
    X(INPUT, "input", 0)                  /* a value set from outside */                          \
    X(FILL, "fill", 0)                    /* the number a everywhere (whole) */                   \
    X(UNIFORM, "uniform", 1)              /* [0, 1) from (stream, key); key: index [3] = example, step, restart */ \
    /* between one and all examples */                                                            \
    X(EACH, "each", 1)                                                                            \
    X(SUM_EXAMPLES, "sum_examples", 1)                                                            \
    /* shape */                                                                                   \
    X(BROADCAST, "broadcast", 1)          /* dimensions of 1 repeated */                          \
    X(SUM, "sum", 1)                      /* over the dimensions that are 1 in the result */      \
    X(RESHAPE, "reshape", 1)                                                                      \
    X(TRANSPOSE, "transpose", 1)          /* result dimension i is input dimension perm[i] */     \
    X(SLICE, "slice", 1)                  /* [from, from + result) of one axis */                 \
    X(PAD, "pad", 1)                      /* zeros around one axis: the input lies at from */     \
    X(GATHER, "gather", 2)                /* x [.., n], index [.., m] -> x[.., index[.., j]] [.., m] */ \
    X(SCATTER, "scatter", 2)              /* v [.., m], index [.., m] -> zeros [.., n] plus v at index (adds) */ \
    X(ARGMAX, "argmax", 1)                /* [.., n] -> index [.., 1], the first maximum */       \
    X(ROW_MAX, "row_max", 1)              /* [.., n] -> [.., 1], with derivative zero: only ever a shift */ \
    /* elementwise, inputs of equal shape */                                                      \
    X(ADD, "add", 2)                                                                              \
    X(SUB, "sub", 2)                                                                              \
    X(MUL, "mul", 2)                                                                              \
    X(DIV, "div", 2)                                                                              \
    X(NEG, "neg", 1)                                                                              \
    X(EXP, "exp", 1)                                                                              \
    X(LOG, "log", 1)                                                                              \
    X(SQRT, "sqrt", 1)                                                                            \
    X(TANH, "tanh", 1)                                                                            \
    X(SIGMOID, "sigmoid", 1)                                                                      \
    X(ERF, "erf", 1)                                                                              \
    X(RELU, "relu", 1)                                                                            \
    X(SOFT_RELU, "soft_relu", 1)          /* forward relu; its declared derivative is sigmoid(a x) */ \
    X(STEP, "step", 1)                    /* 1 where x > 0, else 0 */                             \
    X(SIGN, "sign", 1)                    /* -1, 0, 1 */                                          \
    X(DETACH, "detach", 1)                /* the value, with derivative zero */                   \
    /* products */                                                                                \
    X(MATMUL, "matmul", 2)                /* [.., m, k] [.., k, n] -> [.., m, n]; transpose flags; equal leading dims */ \
    X(CONV, "conv", 2)                    /* x [C,H,W], w [O,C,k,k] -> y [O,H',W'] (cross-correlation) */ \
    X(CONV_DX, "conv_dx", 2)              /* dy, w -> dx */                                       \
    X(CONV_DW, "conv_dw", 2)              /* x, dy -> dw */                                       \
    /* max pooling, windows of k x k side by side */                                              \
    X(POOL_ARGMAX, "pool_argmax", 1)      /* x [C,H,W] -> index [C,H/k,W/k]: position in the window, the first maximum */ \
    X(POOL_GATHER, "pool_gather", 2)      /* x [C,H,W], index -> [C,H/k,W/k] */                   \
    X(POOL_SCATTER, "pool_scatter", 2)    /* v [C,H/k,W/k], index -> [C,H,W], zeros elsewhere */

enum op {
#define X(name, text, inputs) OP_##name,
    GRAPH_OPS(X)
#undef X
    OPS
};

extern const char *const op_name[OPS];
extern const int op_inputs[OPS];
bool op_elementwise(enum op op);

struct node {
    enum op op;
    int id;               // position in the graph; the inputs' ids are smaller
    bool batch;           // has a value per example
    bool index;           // holds integers (int32), not reals
    struct shape shape;   // of one example
    struct node *in[2];
    // attributes; those an op does not use are zero
    double a;             // FILL's number, SOFT_RELU's sharpness
    int axis;             // SLICE, PAD
    int64_t from;         // SLICE, PAD
    int perm[GRAPH_RANK_MAX];  // TRANSPOSE
    bool ta, tb;          // MATMUL: use the transpose of the last two dimensions
    int stride, padding;  // CONV*; POOL*: stride is k
    struct stream stream; // UNIFORM
    const char *name;     // INPUT: for messages and --explain; part of its identity
};

struct graph;
struct graph *graph_new(void);
void graph_free(struct graph *g);
int graph_count(const struct graph *g);
struct node *graph_node(const struct graph *g, int id);
void graph_print(const struct graph *g, FILE *f);  // one node a line

struct shape shape_of(int rank, ...);  // shape_of(3, 1, 28, 28); arguments are int
int64_t shape_count(const struct shape *s);
bool shape_equal(const struct shape *a, const struct shape *b);
char *shape_text(const struct shape *s, char out[96]);

// ---- the ops. `like` gives a shape.
struct node *graph_input(struct graph *g, const char *name, bool batch, struct shape s);
struct node *graph_input_index(struct graph *g, const char *name, bool batch, struct shape s);
struct node *graph_fill(struct graph *g, double a, struct shape s);                       // whole
struct node *graph_fill_like(struct graph *g, double a, const struct node *like);         // same sort and shape
struct node *graph_uniform(struct graph *g, struct stream s, struct node *key, struct shape shape);
struct node *graph_each(struct graph *g, struct node *x);          // x itself if it is batch
struct node *graph_sum_examples(struct graph *g, struct node *x);

struct node *graph_broadcast(struct graph *g, struct node *x, struct shape s);  // equal rank
struct node *graph_sum(struct graph *g, struct node *x, struct shape s);        // equal rank, summed dims 1
struct node *graph_reshape(struct graph *g, struct node *x, struct shape s);
struct node *graph_transpose(struct graph *g, struct node *x, const int *perm);
struct node *graph_slice(struct graph *g, struct node *x, int axis, int64_t from, int64_t count);
struct node *graph_pad(struct graph *g, struct node *x, int axis, int64_t from, int64_t size);
struct node *graph_gather(struct graph *g, struct node *x, struct node *index);
struct node *graph_scatter(struct graph *g, struct node *v, struct node *index, int64_t n);
struct node *graph_argmax(struct graph *g, struct node *x);
struct node *graph_row_max(struct graph *g, struct node *x);

struct node *graph_add(struct graph *g, struct node *x, struct node *y);
struct node *graph_sub(struct graph *g, struct node *x, struct node *y);
struct node *graph_mul(struct graph *g, struct node *x, struct node *y);
struct node *graph_div(struct graph *g, struct node *x, struct node *y);
struct node *graph_neg(struct graph *g, struct node *x);
struct node *graph_exp(struct graph *g, struct node *x);
struct node *graph_log(struct graph *g, struct node *x);
struct node *graph_sqrt(struct graph *g, struct node *x);
struct node *graph_tanh(struct graph *g, struct node *x);
struct node *graph_sigmoid(struct graph *g, struct node *x);
struct node *graph_erf(struct graph *g, struct node *x);
struct node *graph_relu(struct graph *g, struct node *x);
struct node *graph_soft_relu(struct graph *g, struct node *x, double sharpness);
struct node *graph_step(struct graph *g, struct node *x);
struct node *graph_sign(struct graph *g, struct node *x);
struct node *graph_detach(struct graph *g, struct node *x);

struct node *graph_matmul(struct graph *g, struct node *x, struct node *y, bool tx, bool ty);
struct node *graph_conv(struct graph *g, struct node *x, struct node *w, int stride, int padding);
// The input's shape cannot be told from the output's where the stride is over 1, so it is given.
struct node *graph_conv_dx(struct graph *g, struct node *dy, struct node *w, struct shape x, int stride, int padding);
struct node *graph_conv_dw(struct graph *g, struct node *x, struct node *dy, struct shape w, int stride, int padding);
struct node *graph_pool_argmax(struct graph *g, struct node *x, int k);
struct node *graph_pool_gather(struct graph *g, struct node *x, struct node *index, int k);
struct node *graph_pool_scatter(struct graph *g, struct node *v, struct node *index, struct shape x, int k);

// ---- small compositions everyone needs
struct node *graph_scale(struct graph *g, struct node *x, double a);       // a x
struct node *graph_shift(struct graph *g, struct node *x, double a);       // x + a
struct node *graph_square(struct graph *g, struct node *x);
struct node *graph_sum_all(struct graph *g, struct node *x);               // -> shape [1]
struct node *graph_sum_last(struct graph *g, struct node *x);              // [.., n] -> [.., 1]
struct node *graph_max_pool(struct graph *g, struct node *x, int k);
struct node *graph_log_sum_exp(struct graph *g, struct node *x);           // [.., n] -> [.., 1], shifted by row_max
struct node *graph_softmax(struct graph *g, struct node *x);               // over the last axis

// The op again with other inputs of the same shapes and sorts (grad.c, planner rewrites).
struct node *graph_again(struct graph *g, const struct node *n, struct node *x, struct node *y);

#endif

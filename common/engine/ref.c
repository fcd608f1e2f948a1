// ref.c: the oracle. Every op in double precision by the shortest loop that says what the op means; nothing
// is fused, shared, reordered or sharded, and nothing of the planner is used but the list of outputs. The
// other executors are compared with this one, so it is written to be read.
//
// A value is an array of doubles, [shape] for a whole node and [examples, shape] for a batch node; indices
// are doubles here too (every int32 is one).
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "device.h"

struct ref {
    const struct plan *plan;
    int count;            // nodes up to the last output; the arrays below go by node id
    bool *needed;
    const void **input;   // borrowed
    void **output;        // borrowed
    double **value;       // during a run
};

// ---- positions. A node's elements are in row-major order.

static void unravel(const struct shape *s, int64_t flat, int64_t at[GRAPH_RANK_MAX]) {
    for (int i = s->rank; i-- > 0; flat /= s->dim[i]) at[i] = flat % s->dim[i];
}

static int64_t ravel(const struct shape *s, const int64_t at[GRAPH_RANK_MAX]) {
    int64_t flat = 0;
    for (int i = 0; i < s->rank; i++) flat = flat * s->dim[i] + at[i];
    return flat;
}

// Broadcast and sum: where element `flat` of `big` lies in `small`, whose dimensions are big's or 1.
static int64_t shrink(const struct shape *big, int64_t flat, const struct shape *small) {
    int64_t at[GRAPH_RANK_MAX];
    unravel(big, flat, at);
    for (int i = 0; i < small->rank; i++)
        if (small->dim[i] == 1) at[i] = 0;
    return ravel(small, at);
}

// Slice and pad: where element `flat` of the part lies in the whole it is cut from or put into.
static int64_t shift(const struct shape *part, int64_t flat, const struct shape *whole, int axis, int64_t from) {
    int64_t at[GRAPH_RANK_MAX];
    unravel(part, flat, at);
    at[axis] += from;
    return ravel(whole, at);
}

static int64_t permute(const struct shape *result, int64_t flat, const struct shape *x, const int *perm) {
    int64_t at[GRAPH_RANK_MAX], from[GRAPH_RANK_MAX];
    unravel(result, flat, at);
    for (int i = 0; i < x->rank; i++) from[perm[i]] = at[i];
    return ravel(x, from);
}

// Element (channel, i, j) of a [C, H / k, W / k] value: the place in [C, H, W] that its window index names.
static int64_t window(const struct shape *small, int64_t flat, const struct shape *big, int k, double index) {
    int64_t at[GRAPH_RANK_MAX];
    unravel(small, flat, at);
    at[1] = at[1] * k + (int64_t)index / k;
    at[2] = at[2] * k + (int64_t)index % k;
    return ravel(big, at);
}

static int64_t last(const struct shape *s) { return s->dim[s->rank - 1]; }

static int64_t place(const struct node *n, double index, int64_t size) {
    BUG_IF(!(index >= 0 && index < (double)size), "node %d (%s): index %g outside [0, %lld)", n->id,
           op_name[n->op], index, (long long)size);
    return (int64_t)index;
}

// ---- products

static void matmul(const struct node *n, const double *x, const double *y, double *z) {
    int rank = n->shape.rank;
    int64_t rows = n->shape.dim[rank - 2], cols = n->shape.dim[rank - 1];
    int64_t inner = n->in[0]->shape.dim[n->ta ? rank - 2 : rank - 1];
    int64_t products = shape_count(&n->shape) / (rows * cols);
    for (int64_t b = 0; b < products; b++, x += rows * inner, y += inner * cols, z += rows * cols)
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < cols; j++) {
                double sum = 0;
                for (int64_t l = 0; l < inner; l++)
                    sum += (n->ta ? x[l * rows + i] : x[i * inner + l]) * (n->tb ? y[j * inner + l] : y[l * cols + j]);
                z[i * cols + j] = sum;
            }
}

// The three derivatives of one trilinear form  T(x, w, dy) = sum x[c, i s + p - pad, j s + q - pad] w[o, c, p, q] dy[o, i, j]:
// conv is dT / d dy, conv_dx is dT / dx, conv_dw is dT / dw.
static void trilinear(const struct node *n, const double *first, const double *second, double *z) {
    const struct shape *x = &(n->op == OP_CONV_DX ? n : n->in[0])->shape;
    const struct shape *w = &(n->op == OP_CONV_DW ? n : n->in[1])->shape;
    const struct shape *dy = &(n->op == OP_CONV ? n : n->in[n->op == OP_CONV_DX ? 0 : 1])->shape;
    memset(z, 0, (size_t)shape_count(&n->shape) * sizeof *z);
    for (int64_t t = 0; t < shape_count(dy); t++) {
        int64_t y[GRAPH_RANK_MAX];
        unravel(dy, t, y);
        for (int64_t c = 0; c < x->dim[0]; c++)
            for (int64_t p = 0; p < w->dim[2]; p++)
                for (int64_t q = 0; q < w->dim[3]; q++) {
                    int64_t row = y[1] * n->stride + p - n->padding, col = y[2] * n->stride + q - n->padding;
                    if (row < 0 || row >= x->dim[1] || col < 0 || col >= x->dim[2]) continue;
                    int64_t at_x = (c * x->dim[1] + row) * x->dim[2] + col;
                    int64_t at_w = ((y[0] * w->dim[1] + c) * w->dim[2] + p) * w->dim[3] + q;
                    if (n->op == OP_CONV) z[t] += first[at_x] * second[at_w];
                    if (n->op == OP_CONV_DX) z[at_x] += first[t] * second[at_w];
                    if (n->op == OP_CONV_DW) z[at_w] += first[at_x] * second[t];
                }
    }
}

// The position of the first of the largest of n values.
static int64_t argmax(const double *x, int64_t n) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

static void pool_argmax(const struct node *n, const double *x, double *z) {
    int k = n->stride;
    for (int64_t i = 0; i < shape_count(&n->shape); i++) {
        z[i] = 0;
        for (int index = 1; index < k * k; index++)
            if (x[window(&n->shape, i, &n->in[0]->shape, k, index)] > x[window(&n->shape, i, &n->in[0]->shape, k, z[i])])
                z[i] = index;
    }
}

static void uniform(const struct node *n, const double *key, double *z) {
    int64_t count = shape_count(&n->shape);
    float *draws = memory_take((size_t)count * sizeof *draws);
    rng_uniform(n->stream, (uint32_t)(int32_t)key[0], (uint32_t)(int32_t)key[1], (uint32_t)(int32_t)key[2], draws, count);
    for (int64_t i = 0; i < count; i++) z[i] = draws[i];
    free(draws);
}

// ---- one node for one example: z = op(x, y)

static void evaluate(const struct node *n, const double *x, const double *y, double *z) {
    const struct shape *s = &n->shape, *sx = n->in[0] ? &n->in[0]->shape : NULL;
    int64_t count = shape_count(s), wide = sx ? last(sx) : 0;
#define EVERY(value) for (int64_t i = 0; i < count; i++) z[i] = (value); break
    switch (n->op) {
    case OP_FILL: EVERY(n->a);
    case OP_UNIFORM: uniform(n, x, z); break;

    case OP_BROADCAST: EVERY(x[shrink(s, i, sx)]);
    case OP_SUM:
        memset(z, 0, (size_t)count * sizeof *z);
        for (int64_t i = 0; i < shape_count(sx); i++) z[shrink(sx, i, s)] += x[i];
        break;
    case OP_RESHAPE: EVERY(x[i]);
    case OP_TRANSPOSE: EVERY(x[permute(s, i, sx, n->perm)]);
    case OP_SLICE: EVERY(x[shift(s, i, sx, n->axis, n->from)]);
    case OP_PAD:
        memset(z, 0, (size_t)count * sizeof *z);
        for (int64_t i = 0; i < shape_count(sx); i++) z[shift(sx, i, s, n->axis, n->from)] = x[i];
        break;
    case OP_GATHER: EVERY(x[i / last(s) * wide + place(n, y[i], wide)]);
    case OP_SCATTER:
        memset(z, 0, (size_t)count * sizeof *z);
        for (int64_t i = 0; i < shape_count(sx); i++) z[i / wide * last(s) + place(n, y[i], last(s))] += x[i];
        break;
    case OP_ARGMAX: EVERY((double)argmax(x + i * wide, wide));
    case OP_ROW_MAX: EVERY(x[i * wide + argmax(x + i * wide, wide)]);

    case OP_ADD: EVERY(x[i] + y[i]);
    case OP_SUB: EVERY(x[i] - y[i]);
    case OP_MUL: EVERY(x[i] * y[i]);
    case OP_DIV: EVERY(x[i] / y[i]);
    case OP_NEG: EVERY(-x[i]);
    case OP_EXP: EVERY(exp(x[i]));
    case OP_LOG: EVERY(log(x[i]));
    case OP_SQRT: EVERY(sqrt(x[i]));
    case OP_TANH: EVERY(tanh(x[i]));
    case OP_SIGMOID: EVERY(1 / (1 + exp(-x[i])));
    case OP_ERF: EVERY(erf(x[i]));
    case OP_RELU:
    case OP_SOFT_RELU: EVERY(x[i] < 0 ? 0 : x[i]);  // NaN stays NaN
    case OP_STEP: EVERY(x[i] > 0);
    case OP_SIGN: EVERY((x[i] > 0) - (x[i] < 0));
    case OP_DETACH: EVERY(x[i]);

    case OP_MATMUL: matmul(n, x, y, z); break;
    case OP_CONV:
    case OP_CONV_DX:
    case OP_CONV_DW: trilinear(n, x, y, z); break;

    case OP_POOL_ARGMAX: pool_argmax(n, x, z); break;
    case OP_POOL_GATHER: EVERY(x[window(s, i, sx, n->stride, y[i])]);
    case OP_POOL_SCATTER:
        memset(z, 0, (size_t)count * sizeof *z);
        for (int64_t i = 0; i < shape_count(sx); i++) z[window(sx, i, s, n->stride, y[i])] += x[i];
        break;

    case OP_INPUT:
    case OP_EACH:
    case OP_SUM_EXAMPLES:
    case OPS: BUG("node %d (%s) is not a function of one example", n->id, op_name[n->op]);
    }
#undef EVERY
}

// ---- one node for all examples

static void fetch(const struct node *n, int64_t count, const void *data, double *z) {
    for (int64_t i = 0; i < count; i++) z[i] = n->index ? ((const int32_t *)data)[i] : ((const double *)data)[i];
}

static void deliver(const struct node *n, int64_t count, const double *z, void *data) {
    for (int64_t i = 0; i < count; i++)
        if (n->index)
            ((int32_t *)data)[i] = (int32_t)z[i];
        else
            ((double *)data)[i] = z[i];
}

static double *compute(const struct ref *r, const struct node *n, int64_t examples) {
    int64_t rows = n->batch ? examples : 1, size = shape_count(&n->shape);
    double *z = memory_zero((size_t)(rows * size + 1) * sizeof *z);
    const double *x = n->in[0] ? r->value[n->in[0]->id] : NULL;
    const double *y = n->in[1] ? r->value[n->in[1]->id] : NULL;
    int64_t size_x = x ? shape_count(&n->in[0]->shape) : 0, size_y = y ? shape_count(&n->in[1]->shape) : 0;

    if (n->op == OP_INPUT) {
        BUG_IF(!r->input[n->id] && rows, "input \"%s\" was never set", n->name);
        fetch(n, rows * size, r->input[n->id], z);
    } else if (n->op == OP_EACH) {
        for (int64_t i = 0; i < rows * size; i++) z[i] = x[i % size];
    } else if (n->op == OP_SUM_EXAMPLES) {
        for (int64_t i = 0; i < examples * size; i++) z[i % size] += x[i];
    } else {
        for (int64_t i = 0; i < rows; i++)
            evaluate(n, x ? x + i * size_x : NULL, y ? y + i * size_y : NULL, z + i * size);
    }
    return z;
}

// ---- the device

static bool run(void *state, int64_t examples, struct error *e) {
    (void)e;
    struct ref *r = state;
    for (int id = 0; id < r->count; id++)
        if (r->needed[id]) r->value[id] = compute(r, graph_node(plan_graph(r->plan), id), examples);
    for (int id = 0; id < r->count; id++) {
        const struct node *n = graph_node(plan_graph(r->plan), id);
        if (r->output[id]) deliver(n, (n->batch ? examples : 1) * shape_count(&n->shape), r->value[id], r->output[id]);
        free(r->value[id]);
        r->value[id] = NULL;
    }
    return true;
}

static void *open(const struct plan *p, struct pool *pool, struct error *e) {
    (void)pool, (void)e;
    struct ref *r = memory_zero(sizeof *r);
    r->plan = p;
    int outputs;
    struct node *const *output = plan_outputs(p, &outputs);
    for (int i = 0; i < outputs; i++)
        if (output[i]->id >= r->count) r->count = output[i]->id + 1;
    size_t count = (size_t)r->count + 1;
    r->needed = memory_zero(count * sizeof *r->needed);
    r->input = memory_zero(count * sizeof *r->input);
    r->output = memory_zero(count * sizeof *r->output);
    r->value = memory_zero(count * sizeof *r->value);
    for (int i = 0; i < outputs; i++) r->needed[output[i]->id] = true;
    for (int id = r->count; id-- > 0;)
        for (int i = 0; r->needed[id] && i < 2; i++) {
            const struct node *in = graph_node(plan_graph(p), id)->in[i];
            if (in) r->needed[in->id] = true;
        }
    return r;
}

static void close(void *state) {
    struct ref *r = state;
    free(r->needed);
    free(r->input);
    free(r->output);
    free(r->value);
    free(r);
}

// An input that no output depends on is accepted and not read.
static void set(void *state, const struct node *input, const void *data) {
    struct ref *r = state;
    if (input->id < r->count) r->input[input->id] = data;
}

static void get(void *state, const struct node *output, void *data) {
    struct ref *r = state;
    r->output[output->id] = data;
}

static void profile(void *state, double seconds[PARTS]) {
    (void)state;
    for (int i = 0; i < PARTS; i++) seconds[i] = 0;
}

const struct exec_device exec_ref = {"ref", open, close, sizeof(double), set, get, run, profile};

// oracle.h: what the tests of the engine share: random graphs around every op, values for their inputs, and
// a run on any executor with guards around every buffer it is given.
//
// A `struct subject` is a small graph with one node under test. subject_make(op, seed, ...) walks a table
// with a case for every op of GRAPH_OPS; an op without one fails the test that asks for it.
#ifndef ASSAY_TESTS_ORACLE_H
#define ASSAY_TESTS_ORACLE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "engine/exec.h"
#include "engine/grad.h"
#include "engine/graph.h"
#include "engine/plan.h"

// ---- random choices, independent of the generator under test (splitmix64, Steele et al. 2014)

struct draws {
    uint64_t state;
};

static inline uint64_t draw(struct draws *d) {
    uint64_t z = d->state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static inline int draw_int(struct draws *d, int low, int high) { return low + (int)(draw(d) % (uint64_t)(high - low + 1)); }
static inline double draw_real(struct draws *d, double low, double high) { return low + (high - low) * (double)(draw(d) >> 11) * 0x1p-53; }
static inline bool draw_bool(struct draws *d) { return draw(d) >> 63; }

// ---- subjects

// What values an input may take.
enum domain {
    ANY,       // [-2, 2]
    SMALL,     // [-.6, .6]: a weight
    POSITIVE,  // [.3, 3]
    NONZERO,   // [.5, 2] and its negative
    KINKED,    // at least .1 from 0: a finite difference does not step over the kink
    DISTINCT,  // no two closer than .1: nor over a change of maximum
    CHOICE,    // an index in [0, limit)
    COUNTER,   // any example, step, restart
};

enum { VARIABLES = 64 };
struct variable {
    struct node *node;  // an INPUT
    enum domain domain;
    int64_t limit;
};

struct subject {
    struct graph *g;
    struct draws draws;
    bool batch;    // the sort of the node under test
    int scale;     // dimensions up to about this
    struct variable variable[VARIABLES];
    int variables;
    struct node *node;  // the op's node (or what its builder made of it)
    struct node *out;   // a real function of it and the variables: the node itself unless that is no use for derivatives
};

static inline struct node *subject_variable(struct subject *s, bool batch, enum domain domain, int64_t limit, struct shape shape) {
    assert_true(s->variables < VARIABLES);
    static char names[VARIABLES][16];
    int i = s->variables++;
    snprintf(names[i], sizeof names[i], "v%d", i);
    bool index = domain == CHOICE || domain == COUNTER;
    struct node *n = (index ? graph_input_index : graph_input)(s->g, names[i], batch, shape);
    s->variable[i] = (struct variable){n, domain, limit};
    return n;
}

// An input of the subject's sort; now and then a batch one is a whole one, the same for every example.
static inline struct node *subject_input(struct subject *s, enum domain domain, int64_t limit, struct shape shape) {
    bool shared = s->batch && draw_int(&s->draws, 0, 2) == 0;
    struct node *n = subject_variable(s, s->batch && !shared, domain, limit, shape);
    return shared ? graph_each(s->g, n) : n;
}

static inline int64_t subject_dim(struct subject *s) { return draw_int(&s->draws, 0, 3) ? draw_int(&s->draws, 1, s->scale) : 1; }

static inline struct shape subject_shape(struct subject *s, int low, int high) {
    struct shape shape = {.rank = draw_int(&s->draws, low, high)};
    for (int i = 0; i < shape.rank; i++) shape.dim[i] = subject_dim(s);
    // many dimensions, each a small one: the oracle is slow
    for (int i = 0; i < shape.rank; i++)
        while (shape_count(&shape) > 40 * s->scale && shape.dim[i] > 1) shape.dim[i] = (shape.dim[i] + 1) / 2;
    return shape;
}

static inline struct shape shape_with(struct shape shape, int64_t extra) {
    shape.dim[shape.rank++] = extra;
    return shape;
}

// Some dimensions set to 1.
static inline struct shape subject_shrunk(struct subject *s, struct shape shape) {
    for (int i = 0; i < shape.rank; i++)
        if (draw_bool(&s->draws)) shape.dim[i] = 1;
    return shape;
}

static inline void case_input(struct subject *s) { s->node = subject_variable(s, s->batch, ANY, 0, subject_shape(s, 1, 4)); }

static inline void case_fill(struct subject *s) { s->node = graph_fill(s->g, draw_real(&s->draws, -2, 2), subject_shape(s, 1, 4)); }

static inline void case_uniform(struct subject *s) {
    struct node *x = subject_input(s, ANY, 0, subject_shape(s, 1, 3));
    struct node *key = subject_input(s, COUNTER, 0, shape_of(1, 3));
    s->node = graph_uniform(s->g, rng_stream(draw(&s->draws), "test/uniform"), key, x->shape);
    s->out = graph_mul(s->g, s->node, x);  // a mask: its derivative must see the same draws
}

static inline void case_each(struct subject *s) { s->node = graph_each(s->g, subject_variable(s, false, ANY, 0, subject_shape(s, 1, 3))); }

static inline void case_sum_examples(struct subject *s) {
    s->node = graph_sum_examples(s->g, subject_variable(s, true, ANY, 0, subject_shape(s, 1, 3)));
}

static inline void case_broadcast(struct subject *s) {
    struct shape big = subject_shape(s, 1, 4);
    s->node = graph_broadcast(s->g, subject_input(s, ANY, 0, subject_shrunk(s, big)), big);
}

static inline void case_sum(struct subject *s) {
    struct shape big = subject_shape(s, 1, 4);
    s->node = graph_sum(s->g, subject_input(s, ANY, 0, big), subject_shrunk(s, big));
}

static inline void case_reshape(struct subject *s) {
    // the same factors in the same order, grouped twice
    struct shape from = {.rank = draw_int(&s->draws, 1, 4)}, to = {.rank = draw_int(&s->draws, 1, 4)};
    for (int i = 0; i < GRAPH_RANK_MAX; i++) from.dim[i] = to.dim[i] = i < 4;
    for (int i = 0; i < 3; i++) {
        int64_t factor = draw_int(&s->draws, 1, s->scale < 5 ? s->scale : 5);
        from.dim[draw_int(&s->draws, 0, from.rank - 1)] *= factor;
        to.dim[draw_int(&s->draws, 0, to.rank - 1)] *= factor;
    }
    s->node = graph_reshape(s->g, subject_input(s, ANY, 0, from), to);
}

static inline void case_transpose(struct subject *s) {
    struct node *x = subject_input(s, ANY, 0, subject_shape(s, 1, 4));
    int perm[GRAPH_RANK_MAX] = {0, 1, 2, 3};
    for (int i = x->shape.rank - 1; i > 0; i--) {
        int j = draw_int(&s->draws, 0, i), swap = perm[i];
        perm[i] = perm[j], perm[j] = swap;
    }
    s->node = graph_transpose(s->g, x, perm);
}

static inline void case_slice(struct subject *s) {
    struct node *x = subject_input(s, ANY, 0, subject_shape(s, 1, 4));
    int axis = draw_int(&s->draws, 0, x->shape.rank - 1), size = (int)x->shape.dim[axis];
    int from = draw_int(&s->draws, 0, size - 1);
    s->node = graph_slice(s->g, x, axis, from, draw_int(&s->draws, 1, size - from));
}

static inline void case_pad(struct subject *s) {
    struct node *x = subject_input(s, ANY, 0, subject_shape(s, 1, 4));
    int axis = draw_int(&s->draws, 0, x->shape.rank - 1), from = draw_int(&s->draws, 0, 3);
    s->node = graph_pad(s->g, x, axis, from, from + x->shape.dim[axis] + draw_int(&s->draws, 0, 3));
}

static inline void case_gather(struct subject *s) {
    struct shape lead = subject_shape(s, 0, 2);
    int64_t n = subject_dim(s), m = subject_dim(s);
    struct node *x = subject_input(s, ANY, 0, shape_with(lead, n));
    s->node = graph_gather(s->g, x, subject_input(s, CHOICE, n, shape_with(lead, m)));
}

static inline void case_scatter(struct subject *s) {
    struct shape lead = subject_shape(s, 0, 2);
    int64_t n = subject_dim(s), m = subject_dim(s);
    struct node *v = subject_input(s, ANY, 0, shape_with(lead, m));
    s->node = graph_scatter(s->g, v, subject_input(s, CHOICE, n, shape_with(lead, m)), n);
}

static inline void case_argmax(struct subject *s) {
    struct node *x = subject_input(s, DISTINCT, 0, subject_shape(s, 1, 3));
    s->node = graph_argmax(s->g, x);
    s->out = graph_gather(s->g, x, s->node);
}

static inline void case_row_max(struct subject *s) { s->node = graph_row_max(s->g, subject_input(s, DISTINCT, 0, subject_shape(s, 1, 3))); }

typedef struct node *unary(struct graph *g, struct node *x);
typedef struct node *binary(struct graph *g, struct node *x, struct node *y);

static inline void case_unary(struct subject *s, unary *build, enum domain domain) {
    s->node = build(s->g, subject_input(s, domain, 0, subject_shape(s, 1, 4)));
}

static inline void case_binary(struct subject *s, binary *build, enum domain domain) {
    struct shape shape = subject_shape(s, 1, 4);
    struct node *x = subject_input(s, ANY, 0, shape);
    s->node = build(s->g, x, subject_input(s, domain, 0, shape));
}

static inline void case_add(struct subject *s) { case_binary(s, graph_add, ANY); }
static inline void case_sub(struct subject *s) { case_binary(s, graph_sub, ANY); }
static inline void case_mul(struct subject *s) { case_binary(s, graph_mul, ANY); }
static inline void case_div(struct subject *s) { case_binary(s, graph_div, NONZERO); }
static inline void case_neg(struct subject *s) { case_unary(s, graph_neg, ANY); }
static inline void case_exp(struct subject *s) { case_unary(s, graph_exp, ANY); }
static inline void case_log(struct subject *s) { case_unary(s, graph_log, POSITIVE); }
static inline void case_sqrt(struct subject *s) { case_unary(s, graph_sqrt, POSITIVE); }
static inline void case_tanh(struct subject *s) { case_unary(s, graph_tanh, ANY); }
static inline void case_sigmoid(struct subject *s) { case_unary(s, graph_sigmoid, ANY); }
static inline void case_erf(struct subject *s) { case_unary(s, graph_erf, ANY); }
static inline void case_relu(struct subject *s) { case_unary(s, graph_relu, KINKED); }
static inline void case_step(struct subject *s) { case_unary(s, graph_step, KINKED); }
static inline void case_sign(struct subject *s) { case_unary(s, graph_sign, KINKED); }
static inline void case_detach(struct subject *s) { case_unary(s, graph_detach, ANY); }

static inline void case_soft_relu(struct subject *s) {
    s->node = graph_soft_relu(s->g, subject_input(s, KINKED, 0, subject_shape(s, 1, 4)), draw_real(&s->draws, .5, 5));
}

static inline void case_matmul(struct subject *s) {
    struct shape lead = s->scale > 8 ? shape_of(0) : subject_shape(s, 0, 2);
    if (s->scale > 8 && draw_bool(&s->draws)) lead = shape_of(1, draw_int(&s->draws, 1, 3));
    int64_t m = subject_dim(s), k = subject_dim(s), n = subject_dim(s);
    bool ta = draw_bool(&s->draws), tb = draw_bool(&s->draws);
    struct node *x = subject_input(s, ANY, 0, shape_with(shape_with(lead, ta ? k : m), ta ? m : k));
    struct node *y = subject_input(s, ANY, 0, shape_with(shape_with(lead, tb ? n : k), tb ? k : n));
    s->node = graph_matmul(s->g, x, y, ta, tb);
}

// Kernels 1, 3, 4; strides 1 and 2; paddings 0 to 2; odd and uneven images.
struct conv_case {
    struct shape x, w, y;
    int stride, padding;
};

static inline struct conv_case subject_conv(struct subject *s) {
    int channels = s->scale > 8 ? 20 : 3, side = s->scale > 8 ? 9 : 6;
    int c = draw_int(&s->draws, 1, channels), o = draw_int(&s->draws, 1, channels);
    int k = (const int[]){1, 3, 4}[draw_int(&s->draws, 0, 2)];
    struct conv_case v = {.stride = draw_int(&s->draws, 1, 2), .padding = draw_int(&s->draws, 0, 2)};
    int smallest = k > 2 * v.padding ? k - 2 * v.padding : 1;
    int height = draw_int(&s->draws, smallest, side), width = draw_int(&s->draws, smallest, side);
    v.x = shape_of(3, c, height, width);
    v.w = shape_of(4, o, c, k, k);
    v.y = shape_of(3, o, (height + 2 * v.padding - k) / v.stride + 1, (width + 2 * v.padding - k) / v.stride + 1);
    return v;
}

static inline void case_conv(struct subject *s) {
    struct conv_case v = subject_conv(s);
    struct node *x = subject_input(s, ANY, 0, v.x), *w = subject_input(s, ANY, 0, v.w);
    s->node = graph_conv(s->g, x, w, v.stride, v.padding);
}

static inline void case_conv_dx(struct subject *s) {
    struct conv_case v = subject_conv(s);
    struct node *dy = subject_input(s, ANY, 0, v.y), *w = subject_input(s, ANY, 0, v.w);
    s->node = graph_conv_dx(s->g, dy, w, v.x, v.stride, v.padding);
}

static inline void case_conv_dw(struct subject *s) {
    struct conv_case v = subject_conv(s);
    struct node *x = subject_input(s, ANY, 0, v.x), *dy = subject_input(s, ANY, 0, v.y);
    s->node = graph_conv_dw(s->g, x, dy, v.w, v.stride, v.padding);
}

static inline struct shape subject_image(struct subject *s, int k) {
    int channels = s->scale > 8 ? 20 : 3;
    return shape_of(3, draw_int(&s->draws, 1, channels), draw_int(&s->draws, k, 7), draw_int(&s->draws, k, 7));
}

static inline struct shape shape_pooled(struct shape x, int k) { return shape_of(3, (int)x.dim[0], (int)x.dim[1] / k, (int)x.dim[2] / k); }

static inline void case_pool_argmax(struct subject *s) {
    int k = draw_int(&s->draws, 1, 3);
    struct node *x = subject_input(s, DISTINCT, 0, subject_image(s, k));
    s->node = graph_pool_argmax(s->g, x, k);
    s->out = graph_pool_gather(s->g, x, s->node, k);
}

static inline void case_pool_gather(struct subject *s) {
    int k = draw_int(&s->draws, 1, 3);
    struct shape big = subject_image(s, k);
    struct node *x = subject_input(s, ANY, 0, big);
    s->node = graph_pool_gather(s->g, x, subject_input(s, CHOICE, k * k, shape_pooled(big, k)), k);
}

static inline void case_pool_scatter(struct subject *s) {
    int k = draw_int(&s->draws, 1, 3);
    struct shape big = subject_image(s, k), small = shape_pooled(big, k);
    struct node *v = subject_input(s, ANY, 0, small);
    s->node = graph_pool_scatter(s->g, v, subject_input(s, CHOICE, k * k, small), big, k);
}

static void (*const subject_case[OPS])(struct subject *s) = {
    [OP_INPUT] = case_input, [OP_FILL] = case_fill, [OP_UNIFORM] = case_uniform, [OP_EACH] = case_each,
    [OP_SUM_EXAMPLES] = case_sum_examples, [OP_BROADCAST] = case_broadcast, [OP_SUM] = case_sum,
    [OP_RESHAPE] = case_reshape, [OP_TRANSPOSE] = case_transpose, [OP_SLICE] = case_slice, [OP_PAD] = case_pad,
    [OP_GATHER] = case_gather, [OP_SCATTER] = case_scatter, [OP_ARGMAX] = case_argmax, [OP_ROW_MAX] = case_row_max,
    [OP_ADD] = case_add, [OP_SUB] = case_sub, [OP_MUL] = case_mul, [OP_DIV] = case_div, [OP_NEG] = case_neg,
    [OP_EXP] = case_exp, [OP_LOG] = case_log, [OP_SQRT] = case_sqrt, [OP_TANH] = case_tanh,
    [OP_SIGMOID] = case_sigmoid, [OP_ERF] = case_erf, [OP_RELU] = case_relu, [OP_SOFT_RELU] = case_soft_relu,
    [OP_STEP] = case_step, [OP_SIGN] = case_sign, [OP_DETACH] = case_detach, [OP_MATMUL] = case_matmul,
    [OP_CONV] = case_conv, [OP_CONV_DX] = case_conv_dx, [OP_CONV_DW] = case_conv_dw,
    [OP_POOL_ARGMAX] = case_pool_argmax, [OP_POOL_GATHER] = case_pool_gather, [OP_POOL_SCATTER] = case_pool_scatter,
};

static inline struct subject subject_make(enum op op, uint64_t seed, int scale) {
    if (!subject_case[op]) fail_msg("op %s has no case in oracle.h", op_name[op]);
    struct subject s = {.g = graph_new(), .draws = {seed * OPS + (uint64_t)op}, .scale = scale};
    s.batch = draw_bool(&s.draws);
    subject_case[op](&s);
    if (!s.out) s.out = s.node;
    return s;
}

// The variables that can be differentiated.
static inline int subject_reals(const struct subject *s, struct node **x) {
    int count = 0;
    for (int i = 0; i < s->variables; i++)
        if (!s->variable[i].node->index) x[count++] = s->variable[i].node;
    return count;
}

// ---- values: one array per variable, [shape] or [examples, shape]; reals are floats, so that every executor
// starts from the same numbers

static inline int64_t node_count(const struct node *n, int64_t examples) { return (n->batch ? examples : 1) * shape_count(&n->shape); }

// `edges`: ties and zeros where a domain otherwise keeps away from them.
static inline void value_draw(struct draws *d, const struct variable *v, bool edges, double *at) {
    int64_t count = shape_count(&v->node->shape);
    for (int64_t i = 0; i < count; i++) {
        double x = draw_real(d, -2, 2);
        switch (v->domain) {
        case ANY: break;
        case SMALL: x *= .3; break;
        case POSITIVE: x = draw_real(d, .3, 3); break;
        case NONZERO: x = (x < 0 ? -1 : 1) * draw_real(d, .5, 2); break;
        case KINKED: x = edges ? draw_int(d, -1, 1) : (x < 0 ? -1 : 1) * draw_real(d, .1, 2); break;
        case DISTINCT: x = edges ? draw_int(d, -1, 1) : .1 * (double)(i - count / 2); break;
        case CHOICE: x = draw_int(d, 0, (int)v->limit - 1); break;
        case COUNTER: x = (double)(int32_t)draw(d); break;
        }
        at[i] = v->node->index ? x : (float)x;
    }
    if (v->domain == DISTINCT && !edges)
        for (int64_t i = count - 1; i > 0; i--) {
            int64_t j = (int64_t)(draw(d) % (uint64_t)(i + 1));
            double swap = at[i];
            at[i] = at[j], at[j] = swap;
        }
}

static inline void values_new(struct subject *s, int64_t examples, bool edges, double **value) {
    for (int i = 0; i < s->variables; i++) {
        const struct node *n = s->variable[i].node;
        value[i] = memory_zero((size_t)(node_count(n, examples) + 1) * sizeof **value);
        for (int64_t r = 0; r < (n->batch ? examples : 1); r++)
            value_draw(&s->draws, &s->variable[i], edges, value[i] + r * shape_count(&n->shape));
    }
}

static inline void values_free(double **value, int count) {
    for (int i = 0; i < count; i++) free(value[i]);
}

// ---- running

enum { GUARD = 264 };  // bytes before and after every buffer an executor is given, which so is aligned for a double and no more

struct guarded {
    unsigned char *at;
    size_t bytes;
};

static inline struct guarded guarded_new(size_t bytes) {
    struct guarded b = {memory_take(bytes + 2 * GUARD), bytes};
    memset(b.at, 0xa5, bytes + 2 * GUARD);
    return b;
}

static inline void guarded_free(struct guarded b) {
    for (size_t i = 0; i < GUARD; i++) {
        assert_int_equal(b.at[i], 0xa5);
        assert_int_equal(b.at[GUARD + b.bytes + i], 0xa5);
    }
    free(b.at);
}

struct runner {
    struct plan *plan;
    struct pool *pool;
    struct exec *exec;
    int outputs;
    struct node *output[VARIABLES];
};

static inline struct runner runner_open(const char *device, int threads, struct graph *g, struct node *const *output, int outputs) {
    struct runner r = {.outputs = outputs};
    struct error e = {0};
    assert_true(outputs <= VARIABLES);
    for (int i = 0; i < outputs; i++) r.output[i] = output[i];
    r.plan = plan_new(g, r.output, outputs);
    r.pool = threads ? pool_new(threads) : NULL;
    r.exec = exec_open(device, r.plan, r.pool, &e);
    if (!r.exec) fail_msg("%s", e.text);
    return r;
}

static inline void runner_close(struct runner *r) {
    exec_free(r->exec);
    plan_free(r->plan);
    if (r->pool) pool_free(r->pool);
}

// Runs for `examples` and returns every output as doubles, to be freed with values_free.
static inline void runner_run(struct runner *r, const struct subject *s, int64_t examples, double *const *value, double **result) {
    size_t real = (size_t)exec_real_size(r->exec);
    struct guarded in[VARIABLES], before[VARIABLES], out[VARIABLES];
    int same[VARIABLES];
    for (int i = 0; i < s->variables; i++) {
        const struct node *n = s->variable[i].node;
        int64_t count = node_count(n, examples);
        in[i] = guarded_new((size_t)count * (n->index ? 4 : real));
        before[i] = guarded_new(in[i].bytes);
        for (int64_t j = 0; j < count; j++)
            if (n->index) ((int32_t *)(void *)(in[i].at + GUARD))[j] = (int32_t)value[i][j];
            else if (real == 4) ((float *)(void *)(in[i].at + GUARD))[j] = (float)value[i][j];
            else ((double *)(void *)(in[i].at + GUARD))[j] = value[i][j];
        memcpy(before[i].at + GUARD, in[i].at + GUARD, in[i].bytes);
        exec_set(r->exec, n, in[i].at + GUARD);
    }
    for (int i = 0; i < r->outputs; i++) {
        out[i] = guarded_new((size_t)node_count(r->output[i], examples) * (r->output[i]->index ? 4 : real));
        same[i] = 0;  // one node asked for twice is written once
        while (r->output[same[i]] != r->output[i]) same[i]++;
        if (same[i] == i) exec_get(r->exec, r->output[i], out[i].at + GUARD);
    }
    struct error e = {0};
    if (!exec_run(r->exec, examples, &e)) fail_msg("%s", e.text);
    for (int i = 0; i < r->outputs; i++) {
        int64_t count = node_count(r->output[i], examples);
        result[i] = memory_zero((size_t)(count + 1) * sizeof **result);
        const void *from = out[same[i]].at + GUARD;
        for (int64_t j = 0; j < count; j++)
            result[i][j] = r->output[i]->index ? ((const int32_t *)from)[j] : real == 4 ? (double)((const float *)from)[j] : ((const double *)from)[j];
    }
    for (int i = 0; i < s->variables; i++) {
        if (in[i].bytes) assert_memory_equal(in[i].at + GUARD, before[i].at + GUARD, in[i].bytes);
        guarded_free(in[i]);
        guarded_free(before[i]);
    }
    for (int i = 0; i < r->outputs; i++) guarded_free(out[i]);
}

// ---- misuse

// Whether `misuse` ends in BUG's abort (in a child, so that the test lives on).
static inline bool aborts(void (*misuse)(void)) {
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        signal(SIGABRT, SIG_DFL);
        if (!freopen("/dev/null", "w", stderr)) _exit(9);
        misuse();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

#endif

// grad.c: all the calculus. One line per op: the products of the incoming derivative `dy` with the
// derivatives of y with respect to the op's two inputs, a and b, written with ops of the same set, so that
// every derivative can be differentiated again.
//
// The ops come in pairs that are each other's transpose (each / sum_examples, broadcast / sum, reshape,
// transpose, slice / pad, gather / scatter, the pool pair); the three convolutions are the partial
// derivatives of one trilinear form T(x, w, dy) = sum dy * conv(x, w), so each is differentiated into the
// other two. Rules use the output where they can, so that inputs need not be kept.
#include "grad.h"

#include <math.h>
#include <stdlib.h>

#include "../base/arena.h"
#include "../base/error.h"

typedef struct node *rule(struct graph *g, struct node *y, struct node *a, struct node *b, struct node *dy);

static struct node *untranspose(struct graph *g, const struct node *y, struct node *dy) {
    int inverse[GRAPH_RANK_MAX];
    for (int i = 0; i < y->shape.rank; i++) inverse[y->perm[i]] = i;
    return graph_transpose(g, dy, inverse);
}
static struct node *one_minus(struct graph *g, struct node *x) { return graph_shift(g, graph_neg(g, x), 1); }
static int64_t last(const struct node *x) { return x->shape.dim[x->shape.rank - 1]; }

#define RULES(R1, R2, ZERO) \
    R1(EACH, graph_sum_examples(g, dy)) \
    R1(SUM_EXAMPLES, graph_each(g, dy)) \
    R1(BROADCAST, graph_sum(g, dy, a->shape)) \
    R1(SUM, graph_broadcast(g, dy, a->shape)) \
    R1(RESHAPE, graph_reshape(g, dy, a->shape)) \
    R1(TRANSPOSE, untranspose(g, y, dy)) \
    R1(SLICE, graph_pad(g, dy, y->axis, y->from, a->shape.dim[y->axis])) \
    R1(PAD, graph_slice(g, dy, y->axis, y->from, a->shape.dim[y->axis])) \
    R2(GATHER, graph_scatter(g, dy, b, last(a)), NULL) \
    R2(SCATTER, graph_gather(g, dy, b), NULL) \
    R2(ADD, dy, dy) \
    R2(SUB, dy, graph_neg(g, dy)) \
    R2(MUL, graph_mul(g, dy, b), graph_mul(g, dy, a)) \
    R2(DIV, graph_div(g, dy, b), graph_neg(g, graph_div(g, graph_mul(g, dy, y), b))) \
    R1(NEG, graph_neg(g, dy)) \
    R1(EXP, graph_mul(g, dy, y)) \
    R1(LOG, graph_div(g, dy, a)) \
    R1(SQRT, graph_div(g, graph_scale(g, dy, .5), y)) \
    R1(TANH, graph_mul(g, dy, one_minus(g, graph_square(g, y)))) \
    R1(SIGMOID, graph_mul(g, dy, graph_mul(g, y, one_minus(g, y)))) \
    R1(ERF, graph_mul(g, dy, graph_scale(g, graph_exp(g, graph_neg(g, graph_square(g, a))), M_2_SQRTPI))) \
    R1(RELU, graph_mul(g, dy, graph_step(g, y))) \
    R1(SOFT_RELU, graph_mul(g, dy, graph_sigmoid(g, graph_scale(g, a, y->a)))) \
    R2(MATMUL, y->ta ? graph_matmul(g, b, dy, y->tb, true) : graph_matmul(g, dy, b, false, !y->tb), \
               y->tb ? graph_matmul(g, dy, a, true, y->ta) : graph_matmul(g, a, dy, !y->ta, false)) \
    R2(CONV, graph_conv_dx(g, dy, b, a->shape, y->stride, y->padding), \
             graph_conv_dw(g, a, dy, b->shape, y->stride, y->padding)) \
    R2(CONV_DX, graph_conv(g, dy, b, y->stride, y->padding), \
                graph_conv_dw(g, dy, a, b->shape, y->stride, y->padding)) \
    R2(CONV_DW, graph_conv_dx(g, b, dy, a->shape, y->stride, y->padding), \
                graph_conv(g, a, dy, y->stride, y->padding)) \
    R2(POOL_GATHER, graph_pool_scatter(g, dy, b, a->shape, y->stride), NULL) \
    R2(POOL_SCATTER, graph_pool_gather(g, dy, b, y->stride), NULL) \
    ZERO(INPUT) ZERO(FILL) ZERO(UNIFORM) /* sources */ \
    ZERO(STEP) ZERO(SIGN) ZERO(ARGMAX) ZERO(POOL_ARGMAX) /* constant almost everywhere */ \
    ZERO(DETACH) ZERO(ROW_MAX) /* by declaration */

#define ARGUMENTS struct graph *g, struct node *y, struct node *a, struct node *b, struct node *dy
#define UNUSED (void)g, (void)y, (void)a, (void)b, (void)dy
#define R1(op, da) static struct node *op##_a(ARGUMENTS) { UNUSED; return da; }
#define R2(op, da, db) R1(op, da) static struct node *op##_b(ARGUMENTS) { UNUSED; return db; }
#define ZERO(op)
RULES(R1, R2, ZERO)
#undef R1
#undef R2
#undef ZERO

static const struct {
    enum grad_kind kind;
    rule *d[2];
} rules[OPS] = {
#define R1(op, da) [OP_##op] = {GRAD_RULE, {op##_a}},
#define R2(op, da, db) [OP_##op] = {GRAD_RULE, {op##_a, op##_b}},
#define ZERO(op) [OP_##op] = {GRAD_ZERO, {NULL}},
    RULES(R1, R2, ZERO)
};

enum grad_kind grad_kind(enum op op) { return rules[op].kind; }

static bool flipped[OPS];
void grad_flip_for_test(enum op op) { flipped[op] = !flipped[op]; }

void grad_of(struct graph *g, struct node *y, struct node *seed, struct node *const *x, int count, struct node **out) {
    BUG_IF(y->index, "the derivative of an index (node %d, %s)", y->id, op_name[y->op]);
    if (!seed) seed = graph_fill_like(g, 1, y);
    BUG_IF(seed->batch != y->batch || !shape_equal(&seed->shape, &y->shape), "the seed's shape is not the shape of node %d (%s)", y->id, op_name[y->op]);

    // Nodes from which some x can be reached; only these are visited.
    int n = y->id + 1;
    bool *leads = memory_zero((size_t)n);
    struct node **adjoint = memory_zero((size_t)n * sizeof *adjoint);
    for (int i = 0; i < count; i++)
        if (x[i]->id < n) leads[x[i]->id] = true;
    for (int id = 0; id < n; id++) {
        const struct node *node = graph_node(g, id);
        if (rules[node->op].kind == GRAD_MISSING) BUG("op %s has neither a derivative nor a declared zero", op_name[node->op]);
        for (int i = 0; i < op_inputs[node->op]; i++)
            if (rules[node->op].d[i] && leads[node->in[i]->id]) leads[id] = true;
    }

    adjoint[y->id] = seed;
    for (int id = y->id; id >= 0; id--) {
        struct node *node = graph_node(g, id);
        if (!adjoint[id]) continue;
        for (int i = 0; i < op_inputs[node->op]; i++) {
            struct node *in = node->in[i];
            if (!rules[node->op].d[i] || !leads[in->id]) continue;
            struct node *d = rules[node->op].d[i](g, node, node->in[0], node->in[1], adjoint[id]);
            if (flipped[node->op]) d = graph_neg(g, d);
            adjoint[in->id] = adjoint[in->id] ? graph_add(g, adjoint[in->id], d) : d;
        }
    }
    for (int i = 0; i < count; i++) {
        out[i] = x[i]->id < n ? adjoint[x[i]->id] : NULL;
        if (!out[i]) out[i] = graph_fill_like(g, 0, x[i]);
    }
    free(leads);
    free(adjoint);
}

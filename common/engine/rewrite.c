// rewrite.c: the planner's algebra. Nodes are rebuilt in order on rewritten inputs, and a rule looks at one
// node and a few below it.
#include "rewrite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/error.h"
#include "planner.h"

// Of moderate size, so that moving it hardly brings a value nearer to the ends of the floats.
static bool factor_fits(double a) { return fabs(a) > 1e-4 && fabs(a) < 1e4; }
static bool is_each(const struct node *n) { return n->op == OP_EACH; }

// A product whose sum over the examples has an instruction of its own, also through views of it.
static bool is_product(const struct node *n) {
    while (n->op == OP_RESHAPE || n->op == OP_TRANSPOSE || n->op == OP_NEG) n = n->in[0];
    return n->op == OP_MATMUL || n->op == OP_CONV_DW;
}

// f(each(w)) = each(f(w)): computed once, not for every example.
static struct node *hoist_each(struct graph *g, struct node *n) {
    bool movable = op_elementwise(n->op) || n->op == OP_RESHAPE || n->op == OP_TRANSPOSE || n->op == OP_SLICE ||
                   n->op == OP_PAD || n->op == OP_SUM || n->op == OP_MATMUL;
    if (!n->batch || !movable) return NULL;
    for (int i = 0; i < op_inputs[n->op]; i++)
        if (!is_each(n->in[i])) return NULL;
    return graph_each(g, graph_again(g, n, n->in[0]->in[0], op_inputs[n->op] == 2 ? n->in[1]->in[0] : NULL));
}

// n = a x for a number a that is the same everywhere.
static bool is_scale(const struct node *n, struct node **x, double *a) {
    if (n->op == OP_NEG) {
        *x = n->in[0];
        *a = -1;
        return true;
    }
    if (n->op != OP_MUL) return false;
    int number = planner_number(n->in[1], a) ? 1 : planner_number(n->in[0], a) ? 0 : -1;
    double other;
    if (number < 0 || planner_number(n->in[1 - number], &other)) return false;
    *x = n->in[1 - number];
    return true;
}

// Scales move from the inputs of products and sums to their results, where they meet others and end in one number;
// so what calculus makes of f(a x) is computed from x. Large and small factors, by which somebody may guard a square, stay.
static struct node *lift_scale(struct graph *g, struct node *n) {
    struct node *x, *y;
    double a, b;
    if (is_scale(n, &x, &b)) {
        if (!is_scale(x, &y, &a)) return NULL;
        return factor_fits(a * b) ? graph_scale(g, y, a * b) : NULL;
    }
    switch (n->op) {
    case OP_MUL:
    case OP_DIV: {
        bool first = is_scale(n->in[0], &x, &a), second = is_scale(n->in[1], &y, &b);
        if (!first) x = n->in[0], a = 1;
        if (!second) y = n->in[1], b = 1;
        double c = n->op == OP_MUL ? a * b : a / b;
        if ((!first && !second) || !factor_fits(a) || !factor_fits(b) || !factor_fits(c)) return NULL;
        return graph_scale(g, graph_again(g, n, x, y), c);
    }
    case OP_SUM:
    case OP_SUM_EXAMPLES:
        if (!is_scale(n->in[0], &x, &a) || !factor_fits(a)) return NULL;
        return graph_scale(g, graph_again(g, n, x, NULL), a);
    default: return NULL;
    }
}

// t + (t + y) = 2 t + y: what the derivative of a square becomes.
static struct node *add_twice(struct graph *g, struct node *n) {
    if (n->op != OP_ADD) return NULL;
    for (int i = 0; i < 2; i++) {
        struct node *t = n->in[i], *s = n->in[1 - i];
        if (s == t) return graph_scale(g, t, 2);
        if (s->op != OP_ADD || (s->in[0] != t && s->in[1] != t)) continue;
        return graph_add(g, graph_scale(g, t, 2), s->in[0] == t ? s->in[1] : s->in[0]);
    }
    return NULL;
}

// What does not change along the summed axes is a factor of the sum.
static struct node *factor_of_sum(struct graph *g, struct node *n) {
    struct node *x = n->in[0];
    if (n->op != OP_SUM || (x->op != OP_MUL && x->op != OP_DIV)) return NULL;
    for (int i = x->op == OP_MUL ? 0 : 1; i < 2; i++) {
        struct node *c = x->in[i];
        double a;
        if (c->op != OP_BROADCAST || !shape_equal(&c->in[0]->shape, &n->shape) || planner_number(c, &a)) continue;
        struct node *rest = graph_sum(g, x->in[1 - i], n->shape);
        return x->op == OP_MUL ? graph_mul(g, rest, c->in[0]) : graph_div(g, rest, c->in[0]);
    }
    return NULL;
}

// A transpose of the last two axes becomes a flag of the product.
static bool is_flip(const struct node *n) {
    int r = n->shape.rank;
    if (n->op != OP_TRANSPOSE || r < 2 || n->perm[r - 1] != r - 2 || n->perm[r - 2] != r - 1) return false;
    for (int i = 0; i < r - 2; i++)
        if (n->perm[i] != i) return false;
    return true;
}
static struct node *fold_transpose(struct graph *g, struct node *n) {
    if (n->op != OP_MATMUL || (!is_flip(n->in[0]) && !is_flip(n->in[1]))) return NULL;
    bool a = is_flip(n->in[0]), b = is_flip(n->in[1]);
    return graph_matmul(g, a ? n->in[0]->in[0] : n->in[0], b ? n->in[1]->in[0] : n->in[1], n->ta ^ a, n->tb ^ b);
}

// The sum over the examples moves below whatever stands between it and a product.
static struct node *sink_sum(struct graph *g, struct node *n) {
    if (n->op != OP_SUM_EXAMPLES) return NULL;
    struct node *x = n->in[0];
    switch (x->op) {
    case OP_RESHAPE: return graph_reshape(g, graph_sum_examples(g, x->in[0]), x->shape);
    case OP_TRANSPOSE: return graph_transpose(g, graph_sum_examples(g, x->in[0]), x->perm);
    case OP_NEG: return graph_neg(g, graph_sum_examples(g, x->in[0]));
    case OP_BROADCAST: return graph_broadcast(g, graph_sum_examples(g, x->in[0]), x->shape);
    case OP_ADD:
    case OP_SUB:
        if (!is_product(x->in[0]) && !is_product(x->in[1])) return NULL;
        return graph_again(g, x, graph_sum_examples(g, x->in[0]), graph_sum_examples(g, x->in[1]));
    case OP_MUL:
        for (int i = 0; i < 2; i++) {
            struct node *p = x->in[i], *c = x->in[1 - i];
            if (!is_product(p)) continue;
            if (is_each(c)) return graph_mul(g, graph_sum_examples(g, p), c->in[0]);
            // sum_e c_e (A_e B_e) = sum_e (c_e A_e) B_e for a number c_e
            if (p->op == OP_MATMUL && c->op == OP_BROADCAST && shape_count(&c->in[0]->shape) == 1) {
                struct node *a = p->in[0], *one = c->in[0];
                struct shape ones = a->shape;
                for (int d = 0; d < ones.rank; d++) ones.dim[d] = 1;
                struct node *weight = graph_broadcast(g, graph_reshape(g, one, ones), a->shape);
                return graph_sum_examples(g, graph_matmul(g, graph_mul(g, a, weight), p->in[1], p->ta, p->tb));
            }
        }
        return NULL;
    default: return NULL;
    }
}

// scatter(v, i) step(x) = scatter(v step(x[i]), i) where i = argmax(x): the mask is applied to the pooled
// values, and x itself is not needed any more.
static struct node *mask_before_scatter(struct graph *g, struct node *n) {
    if (n->op != OP_MUL) return NULL;
    for (int i = 0; i < 2; i++) {
        struct node *s = n->in[i], *mask = n->in[1 - i];
        if (s->op != OP_POOL_SCATTER || mask->op != OP_STEP) continue;
        struct node *index = s->in[1], *x = mask->in[0];
        if (index->op != OP_POOL_ARGMAX || index->in[0] != x) continue;
        struct node *top = graph_pool_gather(g, x, index, s->stride);
        return graph_pool_scatter(g, graph_mul(g, s->in[0], graph_step(g, top)), index, s->shape, s->stride);
    }
    return NULL;
}

// The squared norm of a product of k rows, |A' B|^2: for k = 1 it is |a|^2 |b|^2, else with 2 k k <= m n
// the sum of (A A') o (B B') is cheaper than the product (book-keeping of per-example norms).
static struct node *norm_of_product(struct graph *g, struct node *n) {
    if (n->op != OP_SUM || !n->batch || shape_count(&n->shape) != 1) return NULL;
    struct node *x = n->in[0];
    while (x->op == OP_RESHAPE) x = x->in[0];
    if (x->op != OP_MUL || x->in[0] != x->in[1]) return NULL;
    struct node *p = x->in[0];
    while (p->op == OP_RESHAPE) p = p->in[0];
    if (p->op != OP_MATMUL || p->shape.rank != 2) return NULL;
    struct node *a = p->in[0], *b = p->in[1];
    int64_t k = a->shape.dim[p->ta ? 0 : 1];
    struct node *norm;
    if (k == 1) {
        norm = graph_mul(g, graph_sum_all(g, graph_square(g, a)), graph_sum_all(g, graph_square(g, b)));
    } else if (2 * k * k <= shape_count(&p->shape)) {
        struct node *aa = graph_matmul(g, a, a, !p->ta, p->ta), *bb = graph_matmul(g, b, b, p->tb, !p->tb);
        norm = graph_relu(g, graph_sum_all(g, graph_mul(g, aa, bb)));  // rounding leaves less than 0, and roots are taken
    } else {
        return NULL;
    }
    return graph_reshape(g, norm, n->shape);
}

// A sum over all places does not care where a scatter put its values.
static struct node *sum_of_scatter(struct graph *g, struct node *n) {
    if (n->op != OP_SUM || n->in[0]->op != OP_POOL_SCATTER || n->shape.dim[1] != 1 || n->shape.dim[2] != 1) return NULL;
    return graph_sum(g, n->in[0]->in[0], n->shape);
}

static struct node *join_reshapes(struct graph *g, struct node *n) {
    if (n->op != OP_RESHAPE || n->in[0]->op != OP_RESHAPE) return NULL;
    return graph_reshape(g, n->in[0]->in[0], n->shape);
}

// Choosing among one is no choice.
static struct node *single_column(struct graph *g, struct node *n) {
    (void)g;
    bool chooses = n->op == OP_GATHER || n->op == OP_SCATTER || n->op == OP_ROW_MAX;
    return chooses && shape_equal(&n->shape, &n->in[0]->shape) && n->shape.dim[n->shape.rank - 1] == 1 ? n->in[0]
                                                                                                       : NULL;
}

static struct node *drop_detach(struct graph *g, struct node *n) {
    (void)g;
    return n->op == OP_DETACH ? n->in[0] : NULL;
}

static struct node *(*const rules[])(struct graph *, struct node *) = {
    drop_detach, single_column,       join_reshapes,  hoist_each,      fold_transpose, lift_scale,    add_twice,
    sink_sum,    mask_before_scatter, sum_of_scatter, norm_of_product, factor_of_sum,
};

struct state {
    struct graph *g;
    struct node **done;  // by id; rewritten nodes map to themselves
    int room;
};

static struct node **slot(struct state *s, const struct node *n) {
    if (n->id >= s->room) {
        int room = 2 * (n->id + 1);
        s->done = memory_grow(s->done, (size_t)room * sizeof *s->done);
        memset(s->done + s->room, 0, (size_t)(room - s->room) * sizeof *s->done);
        s->room = room;
    }
    return &s->done[n->id];
}

// Inputs first. Where they are done already, the recursion goes only as deep as what the rules add.
static struct node *rewrite(struct state *s, struct node *n) {
    if (*slot(s, n)) return *slot(s, n);
    struct node *in[2] = {NULL, NULL};
    for (int i = 0; i < op_inputs[n->op]; i++) in[i] = rewrite(s, n->in[i]);
    struct node *now = graph_again(s->g, n, in[0], in[1]);
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        struct node *better = rules[i](s->g, now);
        if (better && better != now) {
            now = rewrite(s, better);
            break;
        }
    }
    *slot(s, now) = now;
    return *slot(s, n) = now;
}

void rewrite_all(struct graph *g, struct node *const *from, int count, struct node **to) {
    struct state s = {.g = g};
    // Depth first, each node behind its inputs, on a stack of our own: a graph may be deeper than the thread's.
    struct node **stack = NULL;
    int waiting = 0, room = 0;
    for (int i = 0; i < count; i++) {
        struct node *n = from[i];
        for (;;) {
            struct node *first = NULL;
            for (int j = op_inputs[n->op] - 1; j >= 0; j--)
                if (!*slot(&s, n->in[j])) first = n->in[j];
            if (first) {
                if (waiting == room) stack = memory_grow(stack, (size_t)(room = 2 * room + 256) * sizeof *stack);
                stack[waiting++] = n;
                n = first;
                continue;
            }
            rewrite(&s, n);
            if (!waiting) break;
            n = stack[--waiting];
        }
        to[i] = rewrite(&s, from[i]);
    }
    free(stack);
    free(s.done);
}

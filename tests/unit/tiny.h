// tiny.h: an MLP, a CNN and a vision transformer of a few weights each, and the three derivatives of them
// that everything above the engine is made of: of the loss, of a function of gradients, of each example.
#ifndef ASSAY_TESTS_TINY_H
#define ASSAY_TESTS_TINY_H

#include "oracle.h"

enum net { MLP, CNN, VIT, NETS };
static const char *const net_name[NETS] = {"mlp", "cnn", "vit"};
enum { CLASSES = 3, TENSORS = 24 };

struct tiny {
    struct subject s;
    unary *activation;
    struct node *x, *y;      // batch: image, label [1]
    int tensors;
    struct node *theta[TENSORS], *each[TENSORS];  // weights, and as every example has them
    struct node *logits, *loss, *margin;          // batch [3], [1], [1]
};

static inline struct node *gelu(struct graph *g, struct node *x) {
    return graph_scale(g, graph_mul(g, x, graph_shift(g, graph_erf(g, graph_scale(g, x, M_SQRT1_2)), 1)), .5);
}
static inline struct node *soft_relu(struct graph *g, struct node *x) { return graph_soft_relu(g, x, 3); }

static inline struct node *tiny_weight(struct tiny *t, struct shape shape) {
    assert_true(t->tensors < TENSORS);
    int i = t->tensors++;
    t->theta[i] = subject_variable(&t->s, false, SMALL, 0, shape);
    return t->each[i] = graph_each(t->s.g, t->theta[i]);
}

// x [m, in] -> [m, out]
static inline struct node *tiny_linear(struct tiny *t, struct node *x, int out) {
    struct graph *g = t->s.g;
    struct node *w = tiny_weight(t, shape_of(2, out, (int)x->shape.dim[1])), *b = tiny_weight(t, shape_of(1, out));
    struct node *y = graph_matmul(g, x, w, false, true);
    return graph_add(g, y, graph_broadcast(g, graph_reshape(g, b, shape_of(2, 1, out)), y->shape));
}

static inline struct node *tiny_conv(struct tiny *t, struct node *x, int out, int k, int stride, int padding) {
    struct graph *g = t->s.g;
    struct node *w = tiny_weight(t, shape_of(4, out, (int)x->shape.dim[0], k, k)), *b = tiny_weight(t, shape_of(1, out));
    struct node *y = graph_conv(g, x, w, stride, padding);
    return graph_add(g, y, graph_broadcast(g, graph_reshape(g, b, shape_of(3, out, 1, 1)), y->shape));
}

// Over the last axis of x [m, d], with gain and bias.
static inline struct node *tiny_layer_norm(struct tiny *t, struct node *x) {
    struct graph *g = t->s.g;
    int d = (int)x->shape.dim[1];
    struct node *gain = tiny_weight(t, shape_of(1, d)), *bias = tiny_weight(t, shape_of(1, d));
    struct node *mean = graph_scale(g, graph_sum_last(g, x), 1. / d), *centred = graph_sub(g, x, graph_broadcast(g, mean, x->shape));
    struct node *variance = graph_scale(g, graph_sum_last(g, graph_square(g, centred)), 1. / d);
    struct node *y = graph_div(g, centred, graph_broadcast(g, graph_sqrt(g, graph_shift(g, variance, 1e-5)), x->shape));
    y = graph_mul(g, y, graph_broadcast(g, graph_reshape(g, gain, shape_of(2, 1, d)), x->shape));
    return graph_add(g, y, graph_broadcast(g, graph_reshape(g, bias, shape_of(2, 1, d)), x->shape));
}

// Self-attention of tokens x [m, d] with two heads.
static inline struct node *tiny_attention(struct tiny *t, struct node *x) {
    struct graph *g = t->s.g;
    int m = (int)x->shape.dim[0], d = (int)x->shape.dim[1], heads = 2;
    struct node *all = graph_reshape(g, tiny_linear(t, x, 3 * d), shape_of(4, m, 3, heads, d / heads)), *part[3];
    all = graph_transpose(g, all, (const int[]){1, 2, 0, 3});  // [3, heads, m, d / heads]
    for (int i = 0; i < 3; i++) part[i] = graph_reshape(g, graph_slice(g, all, 0, i, 1), shape_of(3, heads, m, d / heads));
    struct node *score = graph_scale(g, graph_matmul(g, part[0], part[1], false, true), 1 / sqrt((double)d / heads));
    struct node *mixed = graph_matmul(g, graph_softmax(g, score), part[2], false, false);  // [heads, m, d / heads]
    mixed = graph_reshape(g, graph_transpose(g, mixed, (const int[]){1, 0, 2}), shape_of(2, m, d));
    return tiny_linear(t, mixed, d);
}

static inline struct node *tiny_mlp(struct tiny *t) {
    struct node *h = graph_reshape(t->s.g, t->x, shape_of(2, 1, 36));
    h = t->activation(t->s.g, tiny_linear(t, h, 7));
    h = t->activation(t->s.g, tiny_linear(t, h, 5));
    return tiny_linear(t, h, CLASSES);
}

static inline struct node *tiny_cnn(struct tiny *t) {
    struct graph *g = t->s.g;
    struct node *h = t->activation(g, tiny_conv(t, t->x, 3, 3, 1, 1));
    h = t->activation(g, tiny_conv(t, h, 4, 3, 1, 1));
    h = graph_max_pool(g, h, 2);
    h = t->activation(g, tiny_linear(t, graph_reshape(g, h, shape_of(2, 1, 36)), 5));
    return tiny_linear(t, h, CLASSES);
}

static inline struct node *tiny_vit(struct tiny *t) {
    struct graph *g = t->s.g;
    enum { D = 4, TOKENS = 5 };
    struct node *h = graph_reshape(g, tiny_conv(t, t->x, D, 3, 3, 0), shape_of(2, D, TOKENS - 1));
    h = graph_pad(g, graph_transpose(g, h, (const int[]){1, 0}), 0, 1, TOKENS);
    h = graph_add(g, h, graph_pad(g, tiny_weight(t, shape_of(2, 1, D)), 0, 0, TOKENS));  // the class token
    h = graph_add(g, h, tiny_weight(t, shape_of(2, TOKENS, D)));                         // positions
    h = graph_add(g, h, tiny_attention(t, tiny_layer_norm(t, h)));
    struct node *wide = t->activation(g, tiny_linear(t, tiny_layer_norm(t, h), 2 * D));
    h = graph_add(g, h, tiny_linear(t, wide, D));
    return tiny_linear(t, graph_slice(g, tiny_layer_norm(t, h), 0, 0, 1), CLASSES);
}

static inline struct tiny tiny_make(enum net net, unary *activation, uint64_t seed) {
    struct tiny t = {.s = {.g = graph_new(), .draws = {seed}}, .activation = activation};
    struct graph *g = t.s.g;
    t.x = subject_variable(&t.s, true, ANY, 0, shape_of(3, 1, 6, 6));
    t.y = subject_variable(&t.s, true, CHOICE, CLASSES, shape_of(1, 1));
    struct node *z = net == MLP ? tiny_mlp(&t) : net == CNN ? tiny_cnn(&t) : tiny_vit(&t);
    t.logits = graph_reshape(g, z, shape_of(1, CLASSES));
    struct node *right = graph_gather(g, t.logits, t.y);
    t.loss = graph_sub(g, graph_log_sum_exp(g, t.logits), right);
    // z_y - log sum_{k != y} exp z_k: smooth, so that it can be differentiated twice
    struct node *hot = graph_scatter(g, graph_fill_like(g, 1, right), t.y, CLASSES);
    t.margin = graph_sub(g, right, graph_log_sum_exp(g, graph_sub(g, t.logits, graph_scale(g, hot, 1e4))));
    return t;
}

// The sum of squares of all entries of some nodes of one sort: [1].
static inline struct node *tiny_squares(struct graph *g, struct node *const *x, int count) {
    struct node *sum = NULL;
    for (int i = 0; i < count; i++) {
        struct node *part = graph_sum_all(g, graph_square(g, x[i]));
        sum = sum ? graph_add(g, sum, part) : part;
    }
    return sum;
}

// |theta - sum_i lambda_i grad_theta margin_i|^2 : whole [1]. lambda: batch [1].
static inline struct node *tiny_stationarity(struct tiny *t, struct node *lambda) {
    struct graph *g = t->s.g;
    struct node *d[TENSORS], *residual[TENSORS];
    grad_of(g, t->margin, lambda, t->theta, t->tensors, d);
    for (int i = 0; i < t->tensors; i++) residual[i] = graph_sub(g, t->theta[i], d[i]);
    return tiny_squares(g, residual, t->tensors);
}

// Every example's gradient in every weight times min(1, C / its norm), summed over the examples. C is the
// number `clip`; min(1, C / n) is C / (C + relu(n - C)). norm: batch [1].
static inline void tiny_clipped(struct tiny *t, double clip, struct node **sum, struct node **norm) {
    struct graph *g = t->s.g;
    struct node *d[TENSORS];
    grad_of(g, t->loss, NULL, t->each, t->tensors, d);
    *norm = graph_sqrt(g, graph_shift(g, tiny_squares(g, d, t->tensors), 1e-12));
    struct node *over = graph_relu(g, graph_shift(g, *norm, -clip));
    struct node *factor = graph_div(g, graph_fill_like(g, clip, over), graph_shift(g, over, clip));
    for (int i = 0; i < t->tensors; i++) {
        struct shape ones = {.rank = d[i]->shape.rank};
        for (int j = 0; j < ones.rank; j++) ones.dim[j] = 1;
        struct node *f = graph_broadcast(g, graph_reshape(g, factor, ones), d[i]->shape);
        sum[i] = graph_sum_examples(g, graph_mul(g, d[i], f));
    }
}

#endif

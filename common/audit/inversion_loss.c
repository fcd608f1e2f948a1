// inversion_loss.c: the ten terms as builders over the graph.
#include "inversion_loss.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../engine/grad.h"
#include "../nn/loss.h"

const char *const inversion_term_name[INVERSION_TERMS] = {"alpha", "alpha_prime", "beta", "beta_prime", "gamma",
                                                          "delta", "eta1", "eta2", "eta3", "eta4"};
const char *const inversion_presets = "all|stationary-only|no-stationary";

bool inversion_preset(const char *name, struct inversion_weights *w) {
    static const struct inversion_weights all = {{5, 5, 10, 10, 10, 7, 2, 0, 2, 2}};
    bool only = !strcmp(name, "stationary-only"), without = !strcmp(name, "no-stationary");
    if (!only && !without && strcmp(name, "all")) return false;
    *w = only ? (struct inversion_weights){{[INVERSION_ETA4] = 1}} : all;
    if (without) w->of[INVERSION_ETA4] = 0;
    return true;
}

struct work {
    const struct model *m;
    struct graph *g;
    struct model_nodes *n;
    struct inversion_loss *l;
    struct node *features;
};

static struct node *mean(const struct work *w, struct node *batch) {
    return graph_scale(w->g, graph_sum_examples(w->g, batch), 1 / (double)w->l->batch);
}

// KL(t | p) = H(t, p) - H(t), and H(t, p) is the cross-entropy with smoothing.
static struct node *divergence(const struct work *w, struct node *z) {
    double k = (double)w->m->classes, s = w->l->smoothing, own = 1 - s + s / k, other = s / k, entropy = 0;
    if (s > 0) entropy = -own * log(own) - (k - 1) * other * log(other);
    return graph_shift(w->g, mean(w, loss_cross_entropy(w->g, z, w->l->y, s, NULL)), -entropy);
}

// A normal draw's sign is a fair coin.
static struct node *perturbed(const struct work *w) {
    struct graph *g = w->g;
    struct node *u = graph_uniform(g, w->l->stream, w->l->key, w->l->x->shape);
    struct node *up = graph_step(g, graph_shift(g, u, -.5));
    return graph_add(g, w->l->x, graph_shift(g, graph_scale(g, up, 2 * w->l->noise), -w->l->noise));
}

// With u_i = f_i / |f_i|: sum over i != j of u_i . u_j = |sum_i u_i|^2 - sum_i |u_i|^2.
static struct node *cosine(const struct work *w) {
    struct graph *g = w->g;
    double b = (double)w->l->batch;
    struct node *norm = graph_sqrt(g, graph_shift(g, graph_sum_all(g, graph_square(g, w->features)), 1e-12));
    struct node *unit = graph_div(g, w->features, graph_broadcast(g, norm, w->features->shape));
    struct node *own = graph_sum_examples(g, graph_sum_all(g, graph_square(g, unit)));
    struct node *all = graph_sum_all(g, graph_square(g, graph_sum_examples(g, unit)));
    return graph_scale(g, graph_sub(g, all, own), 1 / (b * (b - 1)));
}

// |F F' - I|^2 = |F' F|^2 - 2 |F|^2 + batch, and F' F is a sum over the examples.
static struct node *orthogonality(const struct work *w) {
    struct graph *g = w->g;
    int64_t d = w->features->shape.dim[0];
    double b = (double)w->l->batch;
    struct node *row = graph_reshape(g, w->features, (struct shape){2, {1, d}});
    struct node *gram = graph_sum_examples(g, graph_matmul(g, row, row, true, false));  // [d, d]
    struct node *trace = graph_sum_examples(g, graph_sum_all(g, graph_square(g, w->features)));
    struct node *sum = graph_sub(g, graph_sum_all(g, graph_square(g, gram)), graph_scale(g, trace, 2));
    return graph_scale(g, graph_shift(g, sum, b), 1 / (b * b) / (b * (double)d));
}

static struct node *variation(const struct work *w) {
    struct graph *g = w->g;
    struct node *x = w->l->x, *sum = NULL;
    for (int axis = 1; axis < 3; axis++) {
        int64_t n = x->shape.dim[axis] - 1;
        if (n < 1) continue;
        struct node *d = graph_sub(g, graph_slice(g, x, axis, 1, n), graph_slice(g, x, axis, 0, n));
        struct node *part = graph_sum_all(g, graph_square(g, d));
        sum = sum ? graph_add(g, sum, part) : part;
    }
    return mean(w, sum ? sum : graph_scale(g, graph_sum_all(g, x), 0));
}

static struct node *outside(const struct work *w) {
    struct graph *g = w->g;
    struct node *x = w->l->x;
    return mean(w, graph_sum_all(g, graph_add(g, graph_relu(g, graph_shift(g, x, -1)), graph_relu(g, graph_neg(g, x)))));
}

// |base - d y / d theta|^2, y weighed by seed; base NULL: |d y / d theta|^2.
static struct node *residual(const struct work *w, struct node *y, struct node *seed, bool base) {
    struct graph *g = w->g;
    const struct arch_build *b = &w->n->arch;
    int count = w->m->arch->count;
    struct node **d = memory_take((size_t)(count + 1) * sizeof *d), *sum = NULL;
    grad_of(g, y, seed, b->param, count, d);
    for (int i = 0; i < count; i++) {
        if (w->m->arch->param[i].fixed) continue;  // no sum of gradients
        struct node *part = graph_sum_all(g, graph_square(g, base ? graph_sub(g, b->param[i], d[i]) : d[i]));
        sum = sum ? graph_add(g, sum, part) : part;
    }
    free(d);
    return sum;
}

static struct node *term(const struct work *w, enum inversion_term t, struct node *z, struct node *noisy) {
    struct graph *g = w->g;
    struct inversion_loss *l = w->l;
    switch (t) {
    case INVERSION_ALPHA: return divergence(w, z);
    case INVERSION_ALPHA_PRIME: return divergence(w, noisy);
    case INVERSION_BETA: return mean(w, loss_cross_entropy(g, z, l->y, 0, NULL));
    case INVERSION_BETA_PRIME: return mean(w, loss_cross_entropy(g, noisy, l->y, 0, NULL));
    case INVERSION_GAMMA: return cosine(w);
    case INVERSION_DELTA: return orthogonality(w);
    case INVERSION_ETA1: return variation(w);
    case INVERSION_ETA2: return outside(w);
    case INVERSION_ETA3: {
        struct node *squares = residual(w, mean(w, loss_cross_entropy(g, z, l->y, 0, NULL)), NULL, false);
        return graph_sqrt(g, graph_shift(g, squares, 1e-12));
    }
    case INVERSION_ETA4: return residual(w, loss_margin(g, z, l->y), graph_scale(g, graph_square(g, l->a), l->scale), true);
    case INVERSION_TERMS: break;
    }
    BUG("term %d", (int)t);
}

void inversion_loss_build(const struct model *m, struct graph *g, struct arena *arena, struct model_nodes *n, struct inversion_loss *l) {
    struct work w = {.m = m, .g = g, .n = n, .l = l};
    const double *weight = l->weight.of;
    BUG_IF(l->batch < 2 && weight[INVERSION_GAMMA] > 0, "gamma compares images, and a run has %lld", (long long)l->batch);
    model_build(m, g, arena, n, l->x);
    l->logits = n->logits;
    w.features = n->features;
    struct node *noisy = NULL;
    if (weight[INVERSION_ALPHA_PRIME] > 0 || weight[INVERSION_BETA_PRIME] > 0) {
        model_build(m, g, arena, n, perturbed(&w));
        noisy = n->logits;
    }
    l->total = NULL;
    for (enum inversion_term t = 0; t < INVERSION_TERMS; t++) {
        l->term[t] = NULL;
        if (!(weight[t] > 0)) continue;
        l->term[t] = term(&w, t, l->logits, noisy);
        struct node *part = graph_scale(g, t == INVERSION_ETA1 ? graph_mul(g, l->term[t], l->ramp) : l->term[t], weight[t]);
        l->total = l->total ? graph_add(g, l->total, part) : part;
    }
    BUG_IF(!l->total, "no term has a weight");
}

// loss.c: losses written with the graph's ops, so that the calculus gives their derivatives of any order.
#include "loss.h"

// 1 at y, 0 elsewhere: [classes].
static struct node *one_hot(struct graph *g, struct node *y, int64_t classes) {
    struct node *one = graph_each(g, graph_fill(g, 1, shape_of(1, 1)));
    return graph_scatter(g, one, y, classes);
}

// With smoothing e and weights w (PyTorch's documentation of CrossEntropyLoss):
//     (1 - e) w_y (lse - z_y)  +  e / K  sum_k w_k (lse - z_k)
struct node *loss_cross_entropy(struct graph *g, struct node *z, struct node *y, double smoothing, struct node *weights) {
    int64_t classes = z->shape.dim[0];
    struct node *lse = graph_log_sum_exp(g, z);
    struct node *own = graph_sub(g, lse, graph_gather(g, z, y));
    if (weights) own = graph_mul(g, own, graph_gather(g, weights, y));
    if (!(smoothing > 0)) return own;
    struct node *all = graph_sub(g, graph_broadcast(g, lse, z->shape), z);
    if (weights) all = graph_mul(g, all, weights);
    return graph_add(g, graph_scale(g, own, 1 - smoothing), graph_scale(g, graph_sum_last(g, all), smoothing / (double)classes));
}

struct node *loss_margin(struct graph *g, struct node *z, struct node *y) {
    // The own class is sunk out of sight; only the index is taken from the sunken row, so nothing is lost.
    struct node *others = graph_sub(g, z, graph_scale(g, one_hot(g, y, z->shape.dim[0]), 1e30));
    return graph_sub(g, graph_gather(g, z, y), graph_gather(g, z, graph_argmax(g, others)));
}

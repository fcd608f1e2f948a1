// layout.c: logical shapes and the memory behind them.
#include "layout.h"

// Layouts differ only where there is something on both sides of the first axis.
bool layout_flat(const struct shape *s) { return s->rank < 2 || s->dim[0] == 1 || shape_count(s) == s->dim[0]; }

// Dimensions in the order in which they lie in memory.
void layout_physical(const struct shape *s, bool last, int64_t dim[GRAPH_RANK_MAX]) {
    dim[0] = 1;
    for (int i = 0; i < s->rank; i++) dim[i] = s->dim[last ? (i + 1) % s->rank : i];
}

void layout_space(const struct shape *s, bool last, int64_t *rows, int64_t *cols) {
    int64_t dim[GRAPH_RANK_MAX];
    layout_physical(s, last, dim);
    *cols = s->rank ? dim[s->rank - 1] : 1;
    *rows = 1;
    for (int i = 0; i + 1 < s->rank; i++) *rows *= dim[i];
}

void layout_strides(const struct shape *s, bool last, int64_t stride[GRAPH_RANK_MAX]) {
    int64_t step = 1;
    for (int i = s->rank - 1; i >= 0; i--) {
        int axis = last ? (i + 1) % s->rank : i;
        stride[axis] = step;
        step *= s->dim[axis];
    }
}

// The elements of one shape seen in another: as few runs of equal steps as there are, and every new dimension
// within one of them (what numpy calls a reshape without a copy).
static bool regroup(const struct shape *from, const struct shape *to, int64_t stride[GRAPH_RANK_MAX]) {
    int64_t size[GRAPH_RANK_MAX + 1] = {1}, step[GRAPH_RANK_MAX + 1] = {1};
    int run = 0;
    if (!shape_count(from)) return false;
    for (int i = 0; i < from->rank; i++) {
        if (from->dim[i] == 1) continue;
        if (size[run] > 1 && step[run] != stride[i] * from->dim[i]) size[++run] = 1;
        size[run] *= from->dim[i];
        step[run] = stride[i];
    }
    for (int i = to->rank - 1; i >= 0; i--) {
        if (size[run] == 1 && to->dim[i] > 1) run--;
        if (size[run] % to->dim[i]) return false;
        stride[i] = step[run];
        size[run] /= to->dim[i];
        step[run] *= to->dim[i];
    }
    return true;
}

bool layout_view_of(const struct node *n, struct layout_view *v) {
    const struct layout_view x = *v;
    switch (n->op) {
    case OP_RESHAPE: return regroup(&n->in[0]->shape, &n->shape, v->stride);
    case OP_TRANSPOSE:
        for (int i = 0; i < n->shape.rank; i++) v->stride[i] = x.stride[n->perm[i]];
        return true;
    case OP_SLICE: v->start += n->from * v->stride[n->axis]; return true;
    case OP_BROADCAST:
        for (int i = 0; i < n->shape.rank; i++)
            if (n->in[0]->shape.dim[i] != n->shape.dim[i]) v->stride[i] = 0;
        return true;
    default: return false;
    }
}

bool layout_view_under(const struct node *n, struct layout_view *v) {
    const struct layout_view y = *v;
    switch (n->op) {
    case OP_RESHAPE: return regroup(&n->shape, &n->in[0]->shape, v->stride);
    case OP_TRANSPOSE:
        for (int i = 0; i < n->shape.rank; i++) v->stride[n->perm[i]] = y.stride[i];
        return true;
    case OP_PAD: v->start += n->from * v->stride[n->axis]; return true;
    default: return false;
    }
}

// A transpose that only renames the layout: axis 0 moves to the end, or the end to axis 0.
bool layout_first_to_end(const struct node *n) {
    for (int i = 0; i < n->shape.rank; i++)
        if (n->perm[i] != (i + 1) % n->shape.rank) return false;
    return true;
}
bool layout_end_to_first(const struct node *n) {
    int r = n->shape.rank;
    for (int i = 0; i < r; i++)
        if (n->perm[i] != (i + r - 1) % r) return false;
    return true;
}

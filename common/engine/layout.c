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

// layout.h: where a value's elements lie. Shapes are logical, in PyTorch's order; memory holds a value either in
// that order or *channels-last*, with axis 0 behind all others. `last` says which.
#ifndef ASSAY_ENGINE_LAYOUT_H
#define ASSAY_ENGINE_LAYOUT_H

#include "graph.h"

// Whether the two are the same memory: nothing stands on one side of axis 0.
bool layout_flat(const struct shape *s);
// Dimensions in the order in which they lie in memory.
void layout_physical(const struct shape *s, bool last, int64_t dim[GRAPH_RANK_MAX]);
// The shape as rows and columns: the innermost dimension, and all others together.
void layout_space(const struct shape *s, bool last, int64_t *rows, int64_t *cols);
// Elements between neighbours along every logical axis.
void layout_strides(const struct shape *s, bool last, int64_t stride[GRAPH_RANK_MAX]);

// Where a node's elements lie within a value, which need not be its own.
struct layout_view {
    int64_t start, stride[GRAPH_RANK_MAX];
};
// From the elements of n's input to those of n, a RESHAPE, TRANSPOSE, SLICE or BROADCAST; false where no strides say it.
bool layout_view_of(const struct node *n, struct layout_view *v);
// From the elements of n, a RESHAPE, TRANSPOSE or PAD, to the places of its input's.
bool layout_view_under(const struct node *n, struct layout_view *v);

// A transpose that moves axis 0 to the end, or the end to axis 0, only renames the layout.
bool layout_first_to_end(const struct node *n);
bool layout_end_to_first(const struct node *n);

#endif

// cluster.h: elementwise ops and their reductions on the way to one fused program (vec.h).
//
// A cluster gathers nodes over one space of rows and columns and stays open until somebody needs a value of
// theirs; then it becomes one instruction. What ends a program, a sum over the rows of an example, has its
// value only when all rows were seen: it can be a member but not an operand of one.
#ifndef ASSAY_ENGINE_CLUSTER_H
#define ASSAY_ENGINE_CLUSTER_H

#include "graph.h"

enum { CLUSTERS = 64, MEMBERS = 96 };

struct cluster {
    bool open, batch, last;
    int64_t rows, cols;
    int count;
    const struct node *member[MEMBERS];
    uint64_t needs;  // open clusters it depends on, also indirectly
};

struct planner;
// Puts n into the cluster of its operands where that is possible, else into a new one. The space is that of
// n, or of what it reduces; x, y: operands, y may be NULL.
void cluster_join(struct planner *s, const struct node *n, bool last, int64_t rows, int64_t cols, const struct node *x,
                  const struct node *y);
// Turns cluster k into an instruction, after those that it needs; nothing if it is not open.
void cluster_close(struct planner *s, int k);
// The open clusters that must be closed before n has a value, also through views that are not made yet.
uint64_t cluster_needs(const struct planner *s, const struct node *n);

// What a sum does in its input's space.
enum sum_form { SUM_LAST, SUM_ROWS, SUM_EVERYTHING, SUM_OTHER };
enum sum_form cluster_sum_form(const struct node *n, bool last);
bool cluster_ends(const struct planner *s, const struct node *n);

#endif

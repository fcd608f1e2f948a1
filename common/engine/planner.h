// planner.h: what the files of the planner share: the state while a plan is written, and the making of values.
//
// A *value* is a node's result in one layout. planner_materialise is how one instruction asks for the
// operands of another: views, copies and clusters are written when somebody asks, so an instruction is added
// only after its operands were asked for.
#ifndef ASSAY_ENGINE_PLANNER_H
#define ASSAY_ENGINE_PLANNER_H

#include "cluster.h"
#include "instr.h"
#include "layout.h"

struct planner {
    struct plan *p;
    struct graph *g;
    int n;  // nodes
    bool *live;
    int *pass;  // the pass in which a node can be computed
    int **user, *users;
    int *order;  // in which nodes are processed
    bool *output;
    bool *last;           // layout at home
    int (*value)[2];      // by node and layout, -1 where there is none
    bool *done;           // became part of an instruction
    bool *left;           // sums over rows that the sum over the examples does too
    bool *spread;         // of members of clusters: operands that are broadcasts are stored first
    unsigned char *vary;  // the same: along what the register changes (cluster.c)
    int *cluster;         // open cluster or -1
    int *concat;          // the concatenation that a node is part of (concat.h), or -1
    int *room;            // of a concatenation or PAD: its value while not all of it is written, or -1
    struct cluster open[CLUSTERS];
    int now;  // pass being written
};

// n's value in a layout, computed now if it is not there yet.
int planner_materialise(struct planner *s, const struct node *n, bool last);
// Writes the instruction that computes n; bias and ReLU that follow a product may go into it too.
void planner_make(struct planner *s, const struct node *n);

// A new value; root: the value whose memory it is a view of, or -1.
int planner_value(struct planner *s, const struct node *n, bool last, int root);
// The same in two steps: nobody finds the value before it is handed out.
int planner_room(struct planner *s, const struct node *n, bool last, int root);
void planner_hand_out(struct planner *s, int value);
// A place for an instruction that computes n; valid until the next one.
struct instr *planner_emit(struct planner *s, enum code code, const struct node *n);
// The same with operands and a fresh value.
struct instr *planner_emit_to(struct planner *s, enum code code, const struct node *n, bool last, int a, int b);
// A value in which n can be seen, and how: n's own, or that of a node from which only views lead to n.
struct planner_view {
    int value;
    struct layout_view lies;
};
struct planner_view planner_view(struct planner *s, const struct node *n);
// A strided copy of elements of a shape; from.value -1: the constant of n.
void planner_copy(struct planner *s, const struct node *n, const struct shape *shape, struct planner_view from,
                  struct planner_view to);
// A copy that lives as long as the plan.
void *planner_keep(struct plan *p, const void *bytes, size_t size);
// Writes the sum over the examples n, by whichever instruction suits what is summed.
void planner_sum_examples(struct planner *s, const struct node *n);
// A whole value given to every example.
static inline bool planner_weight(const struct node *n) { return n->op == OP_EACH; }
static inline const struct node *planner_under_broadcast(const struct node *o) {
    return o->op == OP_BROADCAST ? o->in[0] : o;
}
// Whether o is the same number everywhere, and which.
bool planner_number(const struct node *o, double *a);

#endif

// grad.h: derivatives. The rule of every op is written with ops of the same set, so a gradient is a graph
// and can be differentiated again.
//
// Reverse accumulation (e.g. Griewank & Walther 2008, ch. 3). grad_of(y, seed, x) returns for every x[i] the
// node  sum_j seed_j d y_j / d x[i]_j , of x[i]'s sort and shape; a zero fill where y does not depend on it.
#ifndef ASSAY_ENGINE_GRAD_H
#define ASSAY_ENGINE_GRAD_H

#include "graph.h"

// y is any real node; `seed` has y's sort and shape, NULL means 1 everywhere. With a batch y and NULL this
// is the gradient of every example's y by itself with respect to batch nodes, and of their sum with respect
// to whole nodes.
void grad_of(struct graph *g, struct node *y, struct node *seed, struct node *const *x, int count, struct node **out);

// Whether an op has a rule, is declared to have derivative zero, or neither (a defect a test looks for).
enum grad_kind { GRAD_MISSING, GRAD_RULE, GRAD_ZERO };
enum grad_kind grad_kind(enum op op);

// Tests only: flips the sign of one op's rule for the rest of the run, to see that a test notices.
void grad_flip_for_test(enum op op);

#endif

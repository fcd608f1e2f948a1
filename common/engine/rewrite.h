// rewrite.h: algebra before planning. Every rule replaces a node by an equal one that costs less or that the
// planner knows a better instruction for; rewrite.c lists them.
#ifndef ASSAY_ENGINE_REWRITE_H
#define ASSAY_ENGINE_REWRITE_H

#include "graph.h"

// to[i] computes what from[i] does. New nodes are added to g.
void rewrite_all(struct graph *g, struct node *const *from, int count, struct node **to);

#endif

// plan.h: from a graph to a flat list of instructions.
//
// The planner prunes, rewrites (rewrite.h), fuses elementwise chains with their reductions, cuts passes where
// a batch value becomes whole, and assigns buffers by liveness. A plan owns its instructions and borrows the
// graph's nodes. It knows no machine: shards have SHARD examples everywhere.
#ifndef ASSAY_ENGINE_PLAN_H
#define ASSAY_ENGINE_PLAN_H

#include "graph.h"

enum { SHARD = 8 };

struct plan;
// The rewrites add nodes to g. Outputs are what exec_get can ask for.
struct plan *plan_new(struct graph *g, struct node *const *outputs, int count);
void plan_free(struct plan *p);
void plan_print(const struct plan *p, FILE *f);  // --explain
struct node *const *plan_outputs(const struct plan *p, int *count);
struct graph *plan_graph(const struct plan *p);

#endif

// loss.h: losses as builders over the graph. z: batch [classes] logits, y: batch index [1] labels.
// All results are batch [1].
#ifndef ASSAY_NN_LOSS_H
#define ASSAY_NN_LOSS_H

#include "../engine/graph.h"

// Cross-entropy as torch.nn.functional.cross_entropy(reduction="none") computes it: with label smoothing
// (0: none) and, optionally, weights per class (batch [classes], usually graph_each of a whole node).
struct node *loss_cross_entropy(struct graph *g, struct node *z, struct node *y, double smoothing, struct node *weights);
// z_y - max_{j != y} z_j: positive where the example is classified rightly.
struct node *loss_margin(struct graph *g, struct node *z, struct node *y);

#endif

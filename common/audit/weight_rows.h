// weight_rows.h: the first layer's weight rows as images: what an attacker has for nothing.
//
// Where a network begins with `flatten | linear`, each row of that layer is a template in the shape of an image, and at a
// stationary point of training with decay a weighted sum of training images. A row and its negative are both taken,
// stretched to [0, 1] each by its own least and greatest value; longer rows come first. y is the class that the model
// gives the image.
#ifndef ASSAY_AUDIT_WEIGHT_ROWS_H
#define ASSAY_AUDIT_WEIGHT_ROWS_H

#include "candidates.h"

// The first `count` of them (0: all, twice the width). Refuses (EXIT_INPUT) a model whose first weights are not linear in the image.
struct candidates *weight_rows(const struct model *m, int64_t count, const char *device, struct pool *pool, struct error *e);

#endif

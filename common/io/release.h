// release.h: what of a model file may leave the house: weights, architecture, input normalisation.
//
// A model file as trained carries which examples it saw (assay.keep), the seed in its lineage and the history of its
// training. None of that is in the released blob, nor any metadata that someone else put there.
#ifndef ASSAY_IO_RELEASE_H
#define ASSAY_IO_RELEASE_H

#include "blob.h"

// The blob borrows the model's tensors. *mean_image: the normalisation holds a mean image, which is an average of
// private images and stays in, since the model does not work without it.
struct blob *release_of(const struct blob *model, bool *mean_image, struct error *e);

#endif

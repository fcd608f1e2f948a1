// triptych.h: what an attack did, for people to look at: a row per example with its clean image and, for every result,
// the adversarial image and the difference.
#ifndef ASSAY_AUDIT_TRIPTYCH_H
#define ASSAY_AUDIT_TRIPTYCH_H

#include "../io/picture.h"
#include "attack.h"

// Examples of which images were kept and that the model gets right by itself, at most `rows`. A difference d is
// drawn as 1/2 + d / (2 max |d|). A red frame marks an image that is misclassified. Grey and RGB images only; NULL where
// there is nothing to show.
struct picture *triptych(const struct attack *a, struct attack_result *const *r, int results, int rows);

#endif

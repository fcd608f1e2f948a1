// triptych.h: what an attack did, for people to look at: a row per example with its clean image and, for every result,
// the adversarial image and the difference.
#ifndef ASSAY_AUDIT_TRIPTYCH_H
#define ASSAY_AUDIT_TRIPTYCH_H

#include "../io/picture.h"
#include "attack.h"

// Of the examples whose images were kept the first `rows` that the model gets right by itself (where there is
// none, of all). A difference d is drawn as 1/2 + d / (2 max |d|). A red frame marks an image that is misclassified. NULL where
// nothing was kept, or images are neither grey nor RGB.
struct picture *triptych(const struct attack *a, struct attack_result *const *r, int results, int rows);

#endif

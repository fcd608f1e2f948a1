// slope.h: the gradient an attack follows: d loss / d images of a model, with no gradient of any weight.
//
// A struct slope borrows model and pool and owns its plan. Images are rows of C H W floats in [0, 1].
#ifndef ASSAY_AUDIT_SLOPE_H
#define ASSAY_AUDIT_SLOPE_H

#include "../nn/model.h"

enum slope_loss {
    SLOPE_CE,      // cross-entropy
    SLOPE_MARGIN,  // max_{j != y} z_j - z_y: does not vanish where the network is certain
};
extern const char *const slope_loss_name[2];  // "ce", "margin"

struct slope;
struct slope *slope_open(const struct model *m, enum slope_loss loss, const char *device, struct pool *pool, struct error *e);
void slope_free(struct slope *s);
const struct plan *slope_plan(const struct slope *s);
// x: n images; y: their classes -> logits: n rows of `classes`, gradient: n rows like x.
bool slope_run(struct slope *s, const float *x, const int32_t *y, int64_t n, float *logits, float *gradient, struct error *e);
// As exec_profile.
void slope_profile(struct slope *s, double seconds[PARTS]);

#endif

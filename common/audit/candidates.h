// candidates.h: images that an attacker believes to come from a training set, best first.
//
// A struct candidates owns its arrays. Nothing in it knows the truth: order, confidence and marks are the attacker's own.
#ifndef ASSAY_AUDIT_CANDIDATES_H
#define ASSAY_AUDIT_CANDIDATES_H

#include "../io/blob.h"
#include "../nn/model.h"

struct candidates {
    int64_t count, size;       // images, numbers of one
    struct shape shape;        // [C, H, W]
    float *x;                  // [count, size], in [0, 1]
    int64_t *y;                // [count]: the class it was made for
    double *score;             // [count]: what they are ranked by, larger is better; equal scores keep their order
    float *confidence;         // [count]: in [0, 1]; the model's probability of y on x, or the method's own measure
    unsigned char *certified;  // [count]: 1 where the attacker calls it a training image
};

struct candidates *candidates_new(struct shape shape, int64_t count);  // zeros
// The images and classes of a reconstruction that was made of this very model, in its order. EXIT_INPUT where it was made of
// another one, or does not fit it.
struct candidates *candidates_of(const struct blob *b, const struct model *m, struct error *e);
void candidates_free(struct candidates *c);

// confidence from rows of `classes` logits, and score the same: softmax_y, in double.
void candidates_judge(struct candidates *c, const float *logits, int64_t classes);
// The same for one row of logits.
double candidates_probability(const float *logits, int64_t classes, int64_t y);
// One row in the place of another, of images of the same shape.
void candidates_copy(struct candidates *to, int64_t at, const struct candidates *from, int64_t row);
// Sorts by score, largest first, and keeps the first `keep` (0: all).
void candidates_rank(struct candidates *c, int64_t keep);
// Clamps x to [0, 1] and adds x, y, confidence, certified to a blob under construction, which borrows them.
void candidates_save(struct candidates *c, struct blob *b);

#endif

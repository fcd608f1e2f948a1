// reduced.h: a network on coordinates in the span of its training images.
//
// Inside the slice x = x0 + q e of the first layer's span (span.h), the products of the first layer need W q alone: with
// s = sqrt(|x0|^2 + 1), c = [e, s] and
//
//     B = [W q, (W x0 + b) / s],     W x + b = B c,
//
// the network of c whose first layer is B and has no bias computes what the network of x computes. The basis is
// orthonormal, so [W | b] and its gradients have the same length in both, as far as [W | b] lies in the span: whatever is
// made of a network's gradients is the same on the reduced one, with `columns` in the place of inputs + 1. Without a bias
// c = e and B = W q.
//
// Where some training images are known, with their rows d_i of B = sum_i d_i c_i', they can be peeled off: B - sum_known d_i c_i'
// has the other images alone in its row space, which has as many dimensions as there are others. The network of coordinates in
// that space computes what it did; what is left to explain are its weights less `explained`.
//
// A struct reduced owns its model and arrays and borrows the model it came from.
#ifndef ASSAY_AUDIT_REDUCED_H
#define ASSAY_AUDIT_REDUCED_H

#include "span.h"

struct reduced {
    const struct model *full;
    struct model *net;     // input [columns, 1, 1], no normalisation
    int64_t columns, dims; // of c, of e: dims + 1 with a bias, else dims
    double last;           // s; 0 without a bias
    int64_t pixels;        // of an image
    double *basis;         // [pixels][columns]: image = mean + basis c, in [0, 1] units
    float *mean;           // [pixels], zeros where nothing is subtracted
    float *explained;      // [net->arch->size]: what known images account for of net->theta; NULL where none are
    double left;           // squared length of the trained weights that are not explained
};

// The first `rank` axes of the span. EXIT_INPUT as span_slice_open.
struct reduced *reduced_open(const struct span *s, int64_t rank, struct error *e);
// What known images, [count], leave of r. c [count][columns]; dual [count][columns], y_i . c_i = 1 and y_i . c_k = 0 for every
// other training image k, so that d_i = B y_i; lambda [count][classes], the multipliers where d_i has length 1. EXIT_INPUT where
// the known are not independent, or as span_slice_open. At least one column must be left.
struct reduced *reduced_peel(const struct reduced *r, const double *c, const double *dual, const double *lambda, int64_t count,
                             struct error *e);
// The first layer [neurons][columns] less what known images explain of it: a sum over the images looked for. free() it.
double *reduced_unexplained(const struct reduced *r);
void reduced_free(struct reduced *r);
// c [n][columns] -> images [n][pixels], not clamped.
void reduced_images(const struct reduced *r, const float *c, int64_t n, float *image);
// The nearest c of images, its last number set.
void reduced_coordinates(const struct reduced *r, const float *image, int64_t n, float *c);

#endif

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
};

// The first `rank` axes of the span. EXIT_INPUT as span_slice_open.
struct reduced *reduced_open(const struct span *s, int64_t rank, struct error *e);
void reduced_free(struct reduced *r);
// c [n][columns] -> images [n][pixels], not clamped.
void reduced_images(const struct reduced *r, const float *c, int64_t n, float *image);
// The nearest c of images, its last number set.
void reduced_coordinates(const struct reduced *r, const float *image, int64_t n, float *c);

#endif

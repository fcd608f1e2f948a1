// ncc.h: centred normalised cross-correlations of many images with many, as matrix products in single precision.
//
// The correlation of two images is the same bits wherever they stand (gemm.h); it is off by the rounding of a chain of
// sums, NCC_ROUNDING for images of some thousand numbers.
#ifndef ASSAY_AUDIT_NCC_H
#define ASSAY_AUDIT_NCC_H

#include "images.h"

#define NCC_ROUNDING 1e-5f

// Images less their means, of norm 1 (similarity_centre): [count, size], free() it. rows: which; NULL: the first `count`.
float *ncc_centred(const struct images *s, const int64_t *rows, int64_t count);

// One side of many products: images that others are compared with.
struct ncc_side {
    int64_t count, size;
    float *packed;  // private
};
struct ncc_side ncc_side_of(const struct images *s, int64_t count);  // the first `count`; free with ncc_side_free
void ncc_side_free(struct ncc_side *side);

// ncc: [rows, side's count], of centred images x, within [-1, 1].
void ncc_products(const float *x, int64_t rows, const struct ncc_side *side, float *ncc);

#endif

// span.h: what the first layer gives away: the span of the training images.
//
// At a stationary point of training with coupled L2 the gradient of every row of the first layer is balanced by its own
// weights, so [W | b] = sum_i d_i [x_i, 1]^T over the training images x_i, as the network sees them (normalised), whatever
// derivative is taken at the kinks: [W | b] has rank min(n, width, inputs + 1), and its row space is the span of the
// augmented images [x_i, 1]. (Close to it also after long training without decay from a small start. A span estimated
// from changes of the first layer is also the step of arXiv 2605.06519, 2026.) A first layer without bias has no last
// coordinate: read "[x, 1]" below as "x".
//
// Everything is in double. A struct span owns its arrays and borrows the model.
#ifndef ASSAY_AUDIT_SPAN_H
#define ASSAY_AUDIT_SPAN_H

#include "../nn/model.h"

struct span {
    const struct model *m;
    int64_t inputs, width;  // of the first layer
    int64_t columns;        // of [W | b]: inputs + 1, or inputs where there is no bias
    bool bias;
    int64_t values;         // min(width, columns)
    double *value;          // [values] singular values of [W | b], the largest first
    double *axis;           // [values][columns] its right singular vectors, orthonormal, in the same order
    int64_t rank;           // where the largest ratio of a singular value and the next is, from the number of classes on (each
                            // has an image, and class means stand out in any network) to
                            // the number of rows and columns that training feeds, and
    double gap;             // that ratio; values below the rounding of float32 count as that rounding; 0 where there is none
};

// A gap from here on is believed: the rank is the number of training images.
enum { SPAN_GAP = 2 };

// Why a model's first layer has no such span, a sentence without full stop; NULL where it has one (convolutions and
// patches see parts of an image, so their rows span parts).
const char *span_refused(const struct model *m);
// The singular values and vectors, by LAPACK on one thread. EXIT_INPUT where span_refused, or where a weight is not finite.
struct span *span_open(const struct model *m, struct error *e);
void span_free(struct span *s);
// The k-th singular value over the next, 1 <= k < values, as in `gap`.
double span_ratio(const struct span *s, int64_t k);

// The slice of the first `rank` axes' span whose last coordinate is 1: normalised images = x0 + q e.
struct span_slice {
    int64_t inputs, dims;  // dims: rank - 1; without bias: rank
    double *x0;            // [inputs], orthogonal to every column of q; zero without bias
    double *q;             // [inputs][dims], orthonormal columns
};
// EXIT_INPUT where rank is not within [1, values] (with bias: [2, values]), or the span has no such slice. Free with
// span_slice_free.
bool span_slice_open(const struct span *s, int64_t rank, struct span_slice *out, struct error *e);
void span_slice_free(struct span_slice *slice);

// How far images are from the span; low means member. Images are index[0..n) of d (NULL: 0 .. n - 1).
//   distance [n]: of [x, 1] from the span of the first `rank` axes (NULL: not asked for)
//   leverage [n]: x~' (A A' + eps I)^-1 x~ / |x~|^2 with x~ = [x, 1], A = [W | b]', eps = a tenth of the median of the
//                 `columns` eigenvalues of A A': needs no rank (NULL: not asked for)
void span_measure(const struct span *s, int64_t rank, const struct dataset *d, const int64_t *index, int64_t n, double *distance,
                  double *leverage, struct pool *pool);

#endif

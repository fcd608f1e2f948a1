// certificate.h: which candidates are training images, told without the truth.
//
// For a network W2 relu(B c) at a stationary point (reduced.h: c [n], B [neurons][n], n training images) the first layer
// is B = sum_i d_i c_i^T with d_ij = s_ij u_ij, u_i = W2^T lambda_i, and s_ij the derivative of neuron j's ReLU at image i: 1
// where its pre-activation is positive, 0 where it is negative, and anywhere in [0, 1] where the neuron sits on its kink.
// So with y_i the dual of c_i (y_i . c_i = 1, y_i . c_k = 0 for every other training image k)
//
//     y_i . B_j = 0   or   y_i . B_j = lambda_i . W2_j        for every neuron j off the kink:
//
// some hundreds of linear equations in n + classes unknowns. Which of the two holds is read off the candidate's own signs, an L1
// fit (iteratively re-weighted least squares) forgives those that are wrong, and s = y . B_j / u_j then chooses the
// equations anew. Near a training image nearly every s lies in [0, 1]; elsewhere the equations have no solution and s lies
// anywhere. That finds the row d of an image near the candidate.
//
// The row tells the image itself: neurons with s inside (0, 1) are on their kink, so their pre-activations c . B_j vanish, often
// more equations than c has unknowns, and an L1 fit solves them. Whether the solution is a training image is told by what went
// into neither fit: at it, neurons with s = 1 must have a positive pre-activation and those with s = 0 a negative one. Where the
// kinks are too few to be solved the candidate itself is judged. Its signs chose the first equations of the row, so they prove
// less there, and the kinks, which went into no fit then, must vanish at it too.
//
// With every row comes its dual y_i, orthogonal to every other training image. So the row of an image that is certain, if it is
// exact, adds an equation, y_i . c = 0, to the kinks of every other image whose row is. Solved with these, most images are exact,
// and some are certain that were not, whose rows add to the equations, as long as their number grows. A row is exact where training came to
// rest: then s is 0 or 1 off the kinks to a few parts in 100 000, elsewhere to some in a hundred.
//
// Where some images are known and peeled off (reduced.h), B is the sum over the others: rows are fitted to what is left of it, and
// pre-activations are those of the whole layer, as ever.
//
// A struct certificate owns its arrays and borrows the reduced network.
#ifndef ASSAY_AUDIT_CERTIFICATE_H
#define ASSAY_AUDIT_CERTIFICATE_H

#include "../base/pool.h"
#include "reduced.h"

#define CERTIFICATE_SURE 1e-3  // of `sharp`, for a row to say something of other images

struct certificate {
    const struct reduced *in;
    int64_t columns, neurons, classes;
    int64_t count;             // candidates
    double *dual;              // [count][columns] y, with y . c = 1 for the candidate c
    double *row;               // [count][neurons] d, of length 1
    double *lambda;            // [count][classes], with d of length 1
    double *slope;             // [count][neurons] s
    // Judged by neurons with a large |u|, all but a fifth of them. [count]
    double *inside;            // share with s within [-.1, 1.1]
    double *active;            // those with s within .1 of 1, as a share of all neurons
    double *kink;              // median |c . B_j| where s is within [.2, .8] at the candidate of the last fit, over the root
                               // mean square of all; INFINITY for under 5
    double *sharp;             // median distance of s from 0 or 1, whichever is nearer: next to 0 where the row is exact
    unsigned char *found;      // inside >= .9 and active > .15: the row of a training image, near or not so near
    double *signs;             // share of the neurons with s within .02 of 0 or 1 whose pre-activation at `solved` has the right
                               // sign; those under .005 of the root mean square have none; 0 for under 2 (columns + classes)
                               // neurons
    unsigned char *certified;  // found, at least .999 of the signs right, and solved by its kinks or `kink` < .025 (once images
                               // are peeled off also `sharp` < .01): `solved` is that image
    double *solved;            // [count][columns]: the image that kinks and other images' duals pin down where its signs are
                               // better, else the candidate
    // Of those found: the one with the most signs right that is the same member's; itself for that one; -1. The same are rows at
    // a cosine over .98, and certified ones whose images are within a tenth of each other: one image can suit two fits.
    int64_t *same;
    int64_t distinct;          // that are not the same
};

// Why a network has no such certificate, a sentence without full stop; NULL where it has one: flatten, linear, relu, linear.
const char *certificate_refused(const struct model *m);
// candidates [count][columns] as kkt's. Those that out_stopping() leaves undone are not found.
struct certificate *certificate_open(const struct reduced *in, const float *candidate, int64_t count, struct pool *pool,
                                     struct error *e);
void certificate_free(struct certificate *c);
// Fills `same` and `distinct` out of the rest; done by certificate_open.
void certificate_group(struct certificate *c);

#endif

// ball.h: the set an adversarial image may lie in: within eps of the clean image x0 in L-infinity or L2, and
// in [0, 1]. Images are flat arrays of `size` floats.
//
// "Projected" means into the ball around x0, then into [0, 1]; x0 lies in [0, 1], so the second step stays in the
// ball. Every result depends on the arguments alone. Draws come from the stream given, with the counter (example, 0 or
// 1, restart).
#ifndef ASSAY_AUDIT_BALL_H
#define ASSAY_AUDIT_BALL_H

#include <stdbool.h>
#include <stdint.h>
#include "../base/rng.h"

enum ball_norm { BALL_LINF, BALL_L2 };
struct ball {
    enum ball_norm norm;
    double eps;
    int64_t size;
};

// Names of ball_norm on the command line and in records: "linf", "l2".
extern const char *const ball_norm_name[2];

// The place of the largest linear gain: x = x + step sign(g) or x + step g / (|g| + 1e-12), projected.
struct ball_slope {
    bool zero;    // g is zero everywhere: there is nothing to follow
    bool finite;  // every g is a number; x is left alone otherwise
};
struct ball_slope ball_step(const struct ball *b, const float *x0, const float *g, double step, float *x);

// A start uniform in the ball: L-infinity eps (2u - 1) per pixel, L2 a random direction times eps u^(1/size).
void ball_inside(const struct ball *b, struct stream s, uint32_t example, uint32_t restart, const float *x0, float *x);
// Noise as far out as the ball allows: a random corner, or in L2 a random direction of length eps.
void ball_edge(const struct ball *b, struct stream s, uint32_t example, uint32_t restart, const float *x0, float *x);

// The distance of x from x0 in the ball's norm, in double. x holds numbers.
double ball_distance(const struct ball *b, const float *x0, const float *x);
// Whether x lies in the ball and in [0, 1], but for the rounding of float32: 2^-24 per pixel; and its distance.
bool ball_holds(const struct ball *b, const float *x0, const float *x, double *distance);

#endif

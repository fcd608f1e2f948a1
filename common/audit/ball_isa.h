// ball_isa.h: private to ball.c and ball_isa.c, which is compiled once per instruction set.
#ifndef ASSAY_AUDIT_BALL_ISA_H
#define ASSAY_AUDIT_BALL_ISA_H

#include <stdint.h>

enum { BALL_NONZERO = 1, BALL_WILD = 2 };  // some number is not zero; some number is not finite

struct ball_loops {
    int (*look)(int64_t n, const float *g);  // flags above
    // x = clip(x + step sign(g)) to [x0 - eps, x0 + eps], then to [0, 1]
    void (*corner)(int64_t n, const float *x0, const float *g, float step, float eps, float *x);
    // x = clip(x0 + scale (x - x0)) to [0, 1]
    void (*shrink)(int64_t n, const float *x0, float scale, float *x);
    void (*along)(int64_t n, const float *g, float scale, float *x);     // x += scale g
    int (*outside)(int64_t n, const float *x);                          // some x is not in [0, 1], or NaN
    double (*furthest)(int64_t n, const float *x0, const float *x);     // the largest |x - x0| of numbers
    double (*squares)(int64_t n, const float *x0, const float *x);     // sum of (x - x0)^2; x0 NULL: of x^2
};
extern const struct ball_loops ball_loops_baseline, ball_loops_avx2, ball_loops_avx512;

#endif

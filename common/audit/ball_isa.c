// ball_isa.c: steps and projections, written so that the compiler turns every loop into vectors.
#include "ball_isa.h"

#include <float.h>

static inline float clip(float x, float low, float high) {
    x = x < low ? low : x;
    return x > high ? high : x;
}

static int look(int64_t n, const float *g) {
    int nonzero = 0, wild = 0;
    for (int64_t i = 0; i < n; i++) {
        nonzero |= g[i] != 0;
        wild |= !(__builtin_fabsf(g[i]) <= FLT_MAX);
    }
    return (nonzero ? BALL_NONZERO : 0) | (wild ? BALL_WILD : 0);
}

static void corner(int64_t n, const float *restrict x0, const float *restrict g, float step, float eps, float *restrict x) {
    for (int64_t i = 0; i < n; i++) {
        float up = g[i] > 0 ? step : 0, down = g[i] < 0 ? step : 0;
        float low = x0[i] - eps, high = x0[i] + eps;
        x[i] = clip(clip(x[i] + (up - down), low, high), 0, 1);
    }
}

static void shrink(int64_t n, const float *restrict x0, float scale, float *restrict x) {
    for (int64_t i = 0; i < n; i++) x[i] = clip(x0[i] + scale * (x[i] - x0[i]), 0, 1);
}

static void along(int64_t n, const float *restrict g, float scale, float *restrict x) {
    for (int64_t i = 0; i < n; i++) x[i] += scale * g[i];
}

static int outside(int64_t n, const float *x) {
    int bad = 0;
    for (int64_t i = 0; i < n; i++) bad |= !(x[i] >= 0) | !(x[i] <= 1);
    return bad;
}

// Eight of a kind side by side, so that they can be one vector.
enum { SUMS = 8 };
static double furthest(int64_t n, const float *restrict x0, const float *restrict x) {
    double most[SUMS] = {0};
    int64_t i = 0;
    for (; i + SUMS <= n; i += SUMS)
        for (int j = 0; j < SUMS; j++) {
            double d = __builtin_fabs((double)x[i + j] - (double)x0[i + j]);
            most[j] = d > most[j] ? d : most[j];
        }
    for (; i < n; i++) {
        double d = __builtin_fabs((double)x[i] - (double)x0[i]);
        most[0] = d > most[0] ? d : most[0];
    }
    for (int j = 1; j < SUMS; j++) most[0] = most[j] > most[0] ? most[j] : most[0];
    return most[0];
}

// In double: the squares of a gradient may be far below what a float holds.
static double squares(int64_t n, const float *restrict x0, const float *restrict x) {
    double sum[SUMS] = {0}, total = 0;
    int64_t i = 0;
    if (x0)
        for (; i + SUMS <= n; i += SUMS)
            for (int j = 0; j < SUMS; j++) {
                double d = (double)x[i + j] - (double)x0[i + j];
                sum[j] += d * d;
            }
    else
        for (; i + SUMS <= n; i += SUMS)
            for (int j = 0; j < SUMS; j++) sum[j] += (double)x[i + j] * (double)x[i + j];
    for (; i < n; i++) {
        double d = (double)x[i] - (x0 ? (double)x0[i] : 0);
        total += d * d;
    }
    for (int j = 0; j < SUMS; j++) total += sum[j];
    return total;
}

#define NAME_(isa) ball_loops_##isa
#define NAME(isa) NAME_(isa)
const struct ball_loops NAME(ISA) = {look, corner, shrink, along, outside, furthest, squares};

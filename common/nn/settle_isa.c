// settle_isa.c: the two loops of a quasi-Newton step.
#include "settle_isa.h"

enum { LANES = 64, BLOCK = 1024 };

static double dot(int64_t n, const float *x, const float *y) {
    double sum = 0;
    for (int64_t from = 0; from < n; from += BLOCK) {
        int64_t to = from + BLOCK < n ? from + BLOCK : n, i = from;
        float lane[LANES] = {0}, rest = 0;
        for (; i + LANES <= to; i += LANES)
            for (int j = 0; j < LANES; j++) lane[j] += x[i + j] * y[i + j];
        for (; i < to; i++) rest += x[i] * y[i];
        for (int width = LANES / 2; width; width /= 2)
            for (int j = 0; j < width; j++) lane[j] += lane[j + width];
        sum += (double)lane[0] + rest;
    }
    return sum;
}

static void along(int64_t n, float a, const float *x, float *y) {
    for (int64_t i = 0; i < n; i++) y[i] += a * x[i];
}

#define NAME_(isa) settle_loops_##isa
#define NAME(isa) NAME_(isa)
const struct settle_loops NAME(ISA) = {dot, along};

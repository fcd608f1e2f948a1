// settle_isa.h: private to settle.c and settle_isa.c, which is compiled once per instruction set.
#ifndef ASSAY_NN_SETTLE_ISA_H
#define ASSAY_NN_SETTLE_ISA_H

#include <stdint.h>

struct settle_loops {
    double (*dot)(int64_t n, const float *x, const float *y);            // blocks in float, their sum in double
    void (*along)(int64_t n, float a, const float *x, float *y);         // y += a x
};
extern const struct settle_loops settle_loops_baseline, settle_loops_avx2, settle_loops_avx512;

#endif

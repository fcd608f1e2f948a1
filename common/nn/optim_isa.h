// optim_isa.h: private to optim.c and optim_isa.c, which is compiled once per instruction set.
#ifndef ASSAY_NN_OPTIM_ISA_H
#define ASSAY_NN_OPTIM_ISA_H

#include <stdbool.h>
#include <stdint.h>

// One step's numbers, worked out in double and rounded once.
struct optim_numbers {
    float l2;
    float keep;                      // adamw: 1 - lr decay; else 1
    float lr, momentum;              // sgd
    float beta1, rest1, beta2, rest2;  // rest: 1 - beta
    float step;                      // adam: lr / (1 - beta1^t)
    float root;                      // adam: 1 / sqrt(1 - beta2^t)
    float epsilon;
};

// n is a multiple of OPTIM_LANES. False where a gradient is not finite.
enum { OPTIM_LANES = 16 };
typedef bool optim_loop(const struct optim_numbers *c, int64_t n, float *p, const float *g, float *m, float *v);

struct optim_loops {
    optim_loop *sgd, *momentum, *nesterov, *adam;
};
extern const struct optim_loops optim_loops_baseline, optim_loops_avx2, optim_loops_avx512;

#endif

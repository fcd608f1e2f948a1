// rng_isa.h: the inner loops of rng.c, compiled once per instruction set. All variants give the same bits.
#ifndef ASSAY_BASE_RNG_ISA_H
#define ASSAY_BASE_RNG_ISA_H

#include <stdint.h>

enum {
    RNG_LANES = 32,                  // blocks per call
    RNG_WORDS = 4 * RNG_LANES,       // uniforms per call
    RNG_NORMALS = 2 * RNG_LANES,     // normals per call
};

// Blocks first .. first + RNG_LANES - 1 of the counter (example, step, restart, .).
typedef void rng_fill(const uint32_t key[2], const uint32_t counter[3], uint32_t first, float *out);

rng_fill rng_uniform_baseline, rng_uniform_avx2, rng_uniform_avx512;  // RNG_WORDS floats
rng_fill rng_normal_baseline, rng_normal_avx2, rng_normal_avx512;     // RNG_NORMALS floats

#endif

// rng.h: counter-based random numbers (Philox4x32-10, Salmon et al. 2011, "Parallel random numbers: as easy
// as 1, 2, 3"). A draw is a pure function of (stream, counter): the same on any host, whatever the thread,
// shard or batch.
//
// A stream's key is the first 8 bytes of SHA-256(seed as u64 little-endian, then the purpose's name), e.g.
// "train/dropout3", "attack/square". The counter is (example, step, restart, block).
#ifndef ASSAY_BASE_RNG_H
#define ASSAY_BASE_RNG_H

#include <stdint.h>

struct stream {
    uint32_t key[2];
};
struct stream rng_stream(uint64_t seed, const char *purpose);

// Philox4x32-10 itself: four words out of a counter and a key.
void rng_block(const uint32_t counter[4], struct stream s, uint32_t out[4]);

// Fill `out` with draws for one (example, step, restart), blocks 0, 1, ...
// The i-th value does not depend on `count`.
void rng_uniform(struct stream s, uint32_t example, uint32_t step, uint32_t restart, float *out, long count);  // [0, 1), multiples of 2^-24
void rng_normal(struct stream s, uint32_t example, uint32_t step, uint32_t restart, float *out, long count);   // N(0, 1), Box-Muller in double
double rng_one(struct stream s, uint32_t example, uint32_t step, uint32_t restart);  // [0, 1), 53 bits

// An unbiased integer in [0, n), n > 0, and a Fisher-Yates permutation of 0..count-1 keyed by `step`.
uint64_t rng_below(struct stream s, uint32_t example, uint32_t step, uint32_t restart, uint64_t n);
void rng_permutation(struct stream s, uint32_t step, int64_t *out, int64_t count);

#endif

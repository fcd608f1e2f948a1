// rng.c: streams of counter-based random numbers (Philox4x32-10, Salmon, Moraes, Dror, Shaw 2011).
// Bulk draws go through rng_isa.c, many blocks at a time; a short tail is cut from one whole batch, which is
// what makes value i independent of the count.
#include "rng.h"

#include <stdatomic.h>
#include <string.h>

#include "error.h"
#include "hash.h"
#include "isa.h"
#include "rng_isa.h"

struct stream rng_stream(uint64_t seed, const char *purpose) {
    unsigned char digest[32];
    struct hash *h = hash_new();
    hash_add_u64(h, seed);
    hash_add(h, purpose, strlen(purpose));
    hash_end(h, digest);
    struct stream s;
    for (int i = 0; i < 2; i++)
        s.key[i] = (uint32_t)digest[4 * i] | (uint32_t)digest[4 * i + 1] << 8 | (uint32_t)digest[4 * i + 2] << 16 |
                   (uint32_t)digest[4 * i + 3] << 24;
    return s;
}

void rng_block(const uint32_t counter[4], struct stream s, uint32_t out[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    for (uint32_t round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)c0 * 0xD2511F53u, p1 = (uint64_t)c2 * 0xCD9E8D57u;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ (s.key[0] + round * 0x9E3779B9u);
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ (s.key[1] + round * 0xBB67AE85u);
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

struct variant {
    rng_fill *uniform, *normal;
};

static const struct variant variant_baseline = {rng_uniform_baseline, rng_normal_baseline},
                            variant_avx2 = {rng_uniform_avx2, rng_normal_avx2},
                            variant_avx512 = {rng_uniform_avx512, rng_normal_avx512};

static void fill(rng_fill *batch, long values, struct stream s, const uint32_t counter[3], float *out, long count) {
    BUG_IF(count < 0 || count > (1L << 32), "%ld random values", count);
    uint32_t block = 0;
    long i = 0;
    for (; i + values <= count; i += values, block += RNG_LANES)
        batch(s.key, counter, block, out + i);
    if (i < count) {
        float rest[RNG_WORDS];
        batch(s.key, counter, block, rest);
        memcpy(out + i, rest, (size_t)(count - i) * sizeof *out);
    }
}

void rng_uniform(struct stream s, uint32_t example, uint32_t step, uint32_t restart, float *out, long count) {
    fill(ISA_PICK(variant)->uniform, RNG_WORDS, s, (const uint32_t[]){example, step, restart}, out, count);
}

void rng_normal(struct stream s, uint32_t example, uint32_t step, uint32_t restart, float *out, long count) {
    fill(ISA_PICK(variant)->normal, RNG_NORMALS, s, (const uint32_t[]){example, step, restart}, out, count);
}

static uint64_t bits64(struct stream s, uint32_t example, uint32_t step, uint32_t restart, uint32_t block) {
    uint32_t word[4];
    rng_block((const uint32_t[]){example, step, restart, block}, s, word);
    return (uint64_t)word[0] << 32 | word[1];
}

double rng_one(struct stream s, uint32_t example, uint32_t step, uint32_t restart) {
    return (double)(bits64(s, example, step, restart, 0) >> 11) * 0x1p-53;
}

// Lemire 2019, "Fast random integer generation in an interval": the high word of bits * n, drawn again where
// the low word falls into the part that would favour some results.
uint64_t rng_below(struct stream s, uint32_t example, uint32_t step, uint32_t restart, uint64_t n) {
    BUG_IF(n == 0, "an integer below 0");
    for (uint32_t block = 0;; block++) {
        unsigned __int128 product = (unsigned __int128)bits64(s, example, step, restart, block) * n;
        uint64_t low = (uint64_t)product;
        if (low >= n || low >= -n % n)
            return (uint64_t)(product >> 64);
    }
}

void rng_permutation(struct stream s, uint32_t step, int64_t *out, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        out[i] = i;
    for (int64_t i = count - 1; i > 0; i--) {
        int64_t j = (int64_t)rng_below(s, (uint32_t)i, step, (uint32_t)(i >> 32), (uint64_t)i + 1);
        int64_t swap = out[i];
        out[i] = out[j];
        out[j] = swap;
    }
}

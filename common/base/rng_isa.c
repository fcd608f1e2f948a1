// rng_isa.c: Philox4x32-10 on many blocks at once, and Box-Muller (1958) on top of it.
//
// Logarithm, sine and cosine are written out here instead of called: the C library's differ in the last bit
// between machines, and noise must not. For the same reason products and sums are never contracted.
#if defined(__clang__)
#pragma clang fp contract(off)
#else
#pragma GCC optimize("fp-contract=off")
#endif

#include "rng_isa.h"

#include <math.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define JOIN2(name, isa) name##_##isa
#define JOIN(name, isa) JOIN2(name, isa)
#define VARIANT(name) JOIN(name, ISA)

// Philox's 32-bit words stand one each in 64-bit lanes, since the processor's widening product reads the low
// half of a lane. What the rounds leave in the high halves is never looked at, and never cleared before the end.
#if defined(__AVX512F__)
enum { WIDE = 8 };
#elif defined(__AVX2__)
enum { WIDE = 4 };
#else
enum { WIDE = 2 };
#endif
typedef uint64_t wide __attribute__((vector_size(8 * WIDE)));

static inline wide product(wide x, wide y) {
#if defined(__AVX512F__)
    return (wide)_mm512_mul_epu32((__m512i)x, (__m512i)y);
#elif defined(__AVX2__)
    return (wide)_mm256_mul_epu32((__m256i)x, (__m256i)y);
#elif defined(__SSE2__)
    return (wide)_mm_mul_epu32((__m128i)x, (__m128i)y);
#else
    return (x & 0xffffffff) * (y & 0xffffffff);
#endif
}

// sqrt of each; the C function, which may set errno, is not vectorised.
static inline void root(double x[WIDE]) {
#if defined(__AVX512F__)
    _mm512_storeu_pd(x, _mm512_sqrt_pd(_mm512_loadu_pd(x)));
#elif defined(__AVX2__)
    _mm256_storeu_pd(x, _mm256_sqrt_pd(_mm256_loadu_pd(x)));
#elif defined(__SSE2__)
    _mm_storeu_pd(x, _mm_sqrt_pd(_mm_loadu_pd(x)));
#else
    for (int lane = 0; lane < WIDE; lane++)
        x[lane] = sqrt(x[lane]);
#endif
}

// Words 0 and 1 of each block go to `a`, 2 and 3 to `b`, the even one in the low half.
static inline void philox(const uint32_t key[2], const uint32_t counter[3], uint32_t first, wide a[RNG_LANES / WIDE],
                          wide b[RNG_LANES / WIDE]) {
    const wide zero = {0}, m0 = zero + 0xD2511F53u, m1 = zero + 0xCD9E8D57u;
    const uint64_t numbers[] = {0, 1, 2, 3, 4, 5, 6, 7};
    wide lanes;
    memcpy(&lanes, numbers, sizeof lanes);
    enum { TOGETHER = 2 };  // enough to hide the product's latency, few enough for 16 registers
    for (int i = 0; i < RNG_LANES / WIDE; i += TOGETHER) {
        wide c0[TOGETHER], c1[TOGETHER], c2[TOGETHER], c3[TOGETHER];
        for (int j = 0; j < TOGETHER; j++) {
            c0[j] = zero + counter[0];
            c1[j] = zero + counter[1];
            c2[j] = zero + counter[2];
            c3[j] = lanes + (first + (uint32_t)((i + j) * WIDE));
        }
        uint32_t k0 = key[0], k1 = key[1];
        for (int round = 0; round < 10; round++) {
            for (int j = 0; j < TOGETHER; j++) {
                wide p0 = product(c0[j], m0), p1 = product(c2[j], m1);
                c0[j] = (p1 >> 32) ^ c1[j] ^ (zero + k0);
                c2[j] = (p0 >> 32) ^ c3[j] ^ (zero + k1);
                c1[j] = p1;
                c3[j] = p0;
            }
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        for (int j = 0; j < TOGETHER; j++) {
            a[i + j] = (c0[j] & 0xffffffff) | c1[j] << 32;
            b[i + j] = (c2[j] & 0xffffffff) | c3[j] << 32;
        }
    }
}

void VARIANT(rng_uniform)(const uint32_t key[2], const uint32_t counter[3], uint32_t first, float *restrict out) {
    wide a[RNG_LANES / WIDE], b[RNG_LANES / WIDE];
    philox(key, counter, first, a, b);
    uint64_t x[RNG_LANES], y[RNG_LANES], pair[2 * RNG_LANES];
    uint32_t word[RNG_WORDS];
    memcpy(x, a, sizeof x);
    memcpy(y, b, sizeof y);
    for (int lane = 0; lane < RNG_LANES; lane++) {
        pair[2 * lane] = x[lane];
        pair[2 * lane + 1] = y[lane];
    }
    memcpy(word, pair, sizeof word);  // little-endian: the even word first
    for (int i = 0; i < RNG_WORDS; i++)
        out[i] = (float)(int32_t)(word[i] >> 8) * 0x1p-24f;
}

static inline double as_double(uint64_t bits) {
    double d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

static inline uint64_t as_bits(double d) {
    uint64_t bits;
    memcpy(&bits, &d, sizeof bits);
    return bits;
}

// The upper 52 bits as a double in [1, 2).
static inline double one_to_two(uint64_t bits) {
    return as_double(0x3ffull << 52 | bits >> 12);
}

// ln u for 2^-52 <= u <= 1: u = 2^e m with m in [sqrt(1/2), sqrt(2)), ln m = 2 artanh((m - 1) / (m + 1)).
static inline double logarithm(double u) {
    const uint64_t root_half = 0x3fe6a09e667f3bcdull;
    uint64_t shifted = as_bits(u) - root_half;
    // The exponent is at most 0 and above -64: a double holds it exactly without an integer conversion.
    double e = as_double((0x433ull << 52 | 1ull << 51) + (((shifted >> 52) + 1024) & 2047)) - (0x1.8p52 + 1024);
    double m = as_double((shifted & 0xfffffffffffffull) + root_half);
    double s = (m - 1) / (m + 1), z = s * s, sum = 1.0 / 23;
    sum = sum * z + 1.0 / 21;
    sum = sum * z + 1.0 / 19;
    sum = sum * z + 1.0 / 17;
    sum = sum * z + 1.0 / 15;
    sum = sum * z + 1.0 / 13;
    sum = sum * z + 1.0 / 11;
    sum = sum * z + 1.0 / 9;
    sum = sum * z + 1.0 / 7;
    sum = sum * z + 1.0 / 5;
    sum = sum * z + 1.0 / 3;
    return e * 0x1.62e42fefa39efp-1 + 2 * (s + s * z * sum);
}

// Pair i of a block's normals: radius sqrt(-2 ln u), angle 2 pi v. The angle is a quarter turn q and a rest
// within an eighth, where the Taylor series of sine and cosine converge to the last bit.
void VARIANT(rng_normal)(const uint32_t key[2], const uint32_t counter[3], uint32_t first, float *restrict out) {
    wide a[RNG_LANES / WIDE], b[RNG_LANES / WIDE];
    philox(key, counter, first, a, b);
    uint64_t x[RNG_LANES], y[RNG_LANES];
    memcpy(x, a, sizeof x);
    memcpy(y, b, sizeof y);
    double radius[RNG_LANES];
    for (int lane = 0; lane < RNG_LANES; lane++)
        radius[lane] = -2 * logarithm(2 - one_to_two(x[lane]));
    for (int lane = 0; lane < RNG_LANES; lane += WIDE)
        root(radius + lane);
    for (int lane = 0; lane < RNG_LANES; lane++) {
        double turn = 4 * (one_to_two(y[lane]) - 1);  // quarter turns, [0, 4)
        double nearest = turn + 0x1.8p52;
        uint64_t quarter = as_bits(nearest);
        double angle = (turn - (nearest - 0x1.8p52)) * 0x1.921fb54442d18p0, z = angle * angle;
        double sine = -1.0 / 1307674368000;  // 15!
        sine = sine * z + 1.0 / 6227020800;
        sine = sine * z - 1.0 / 39916800;
        sine = sine * z + 1.0 / 362880;
        sine = sine * z - 1.0 / 5040;
        sine = sine * z + 1.0 / 120;
        sine = sine * z - 1.0 / 6;
        sine = angle + angle * z * sine;
        double cosine = 1.0 / 20922789888000;  // 16!
        cosine = cosine * z - 1.0 / 87178291200;
        cosine = cosine * z + 1.0 / 479001600;
        cosine = cosine * z - 1.0 / 3628800;
        cosine = cosine * z + 1.0 / 40320;
        cosine = cosine * z - 1.0 / 720;
        cosine = cosine * z + 1.0 / 24;
        cosine = cosine * z - 1.0 / 2;
        cosine = 1 + z * cosine;
        // A quarter turn: (c, s) -> (-s, c). Done on bits, so that the loop has no branch.
        uint64_t odd = -(quarter & 1), c = as_bits(cosine), s = as_bits(sine), swap = (c ^ s) & odd;
        c ^= swap;
        s ^= swap;
        c ^= ((quarter + 1) & 2) << 62;
        s ^= (quarter & 2) << 62;
        out[2 * lane] = (float)(radius[lane] * as_double(c));
        out[2 * lane + 1] = (float)(radius[lane] * as_double(s));
    }
}

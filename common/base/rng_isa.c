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

#define JOIN2(name, isa) name##_##isa
#define JOIN(name, isa) JOIN2(name, isa)
#define VARIANT(name) JOIN(name, ISA)

static inline void philox(const uint32_t key[2], const uint32_t counter[3], uint32_t first, uint32_t word[4][RNG_LANES])
{
    for (int lane = 0; lane < RNG_LANES; lane++) {
        uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = first + (uint32_t)lane;
        uint32_t k0 = key[0], k1 = key[1];
        for (int round = 0; round < 10; round++) {
            uint64_t p0 = (uint64_t)c0 * 0xD2511F53u, p1 = (uint64_t)c2 * 0xCD9E8D57u;
            c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
            c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
            c1 = (uint32_t)p1;
            c3 = (uint32_t)p0;
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        word[0][lane] = c0;
        word[1][lane] = c1;
        word[2][lane] = c2;
        word[3][lane] = c3;
    }
}

void VARIANT(rng_uniform)(const uint32_t key[2], const uint32_t counter[3], uint32_t first, float *restrict out)
{
    uint32_t word[4][RNG_LANES];
    philox(key, counter, first, word);
    for (int lane = 0; lane < RNG_LANES; lane++)
        for (int w = 0; w < 4; w++)
            out[4 * lane + w] = (float)(int32_t)(word[w][lane] >> 8) * 0x1p-24f;
}

static inline double as_double(uint64_t bits)
{
    double d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

static inline uint64_t as_bits(double d)
{
    uint64_t bits;
    memcpy(&bits, &d, sizeof bits);
    return bits;
}

// 52 bits of two words as a double in [1, 2).
static inline double one_to_two(uint32_t high, uint32_t low)
{
    return as_double(0x3ffull << 52 | ((uint64_t)high << 32 | low) >> 12);
}

// ln u for 2^-52 <= u <= 1: u = 2^e m with m in [sqrt(1/2), sqrt(2)), ln m = 2 artanh((m - 1) / (m + 1)).
static inline double logarithm(double u)
{
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
void VARIANT(rng_normal)(const uint32_t key[2], const uint32_t counter[3], uint32_t first, float *restrict out)
{
    uint32_t word[4][RNG_LANES];
    philox(key, counter, first, word);
    for (int lane = 0; lane < RNG_LANES; lane++) {
        double radius = sqrt(-2 * logarithm(2 - one_to_two(word[0][lane], word[1][lane])));
        double turn = 4 * (one_to_two(word[2][lane], word[3][lane]) - 1);  // quarter turns, [0, 4)
        double nearest = turn + 0x1.8p52;
        uint64_t quarter = as_bits(nearest);
        double x = (turn - (nearest - 0x1.8p52)) * 0x1.921fb54442d18p0, z = x * x;
        double sine = -1.0 / 1307674368000;  // 15!
        sine = sine * z + 1.0 / 6227020800;
        sine = sine * z - 1.0 / 39916800;
        sine = sine * z + 1.0 / 362880;
        sine = sine * z - 1.0 / 5040;
        sine = sine * z + 1.0 / 120;
        sine = sine * z - 1.0 / 6;
        sine = x + x * z * sine;
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
        out[2 * lane] = (float)(radius * as_double(c));
        out[2 * lane + 1] = (float)(radius * as_double(s));
    }
}

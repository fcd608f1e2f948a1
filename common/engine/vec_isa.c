// vec_isa.c: the inner loops of fused elementwise programs, compiled once per instruction set.
//
// One source over a small set of vector operations: W lanes, loads and stores of the first n lanes for the
// end of a row, fused multiply-add where the machine has it. A lane's result never depends on the other
// lanes or on where the row lies, so the end of a row goes through the same instructions as its middle.
//
// Functions are the usual reduction to a short interval and a minimax polynomial there (Muller, "Elementary
// functions", 3rd ed., ch. 3 and 11); the coefficients were fitted for this file by Lawson's iteration on
// the relative error. Results below the smallest normal float are zero, as they are in the threads that
// compute (denormals flushed), and a denormal argument of log counts as zero.
#include "vec_isa.h"

#include <math.h>
#include <string.h>

#if defined(ISA_avx512) || defined(ISA_avx2)
#include <immintrin.h>
#endif

// A loop calls its function on two or three places; none of them may be a call.
#define INLINE static inline __attribute__((always_inline))

// ---- vectors

#if defined(ISA_avx512)

enum { W = 16 };
typedef __m512 vf;
typedef __m512i vi;
typedef __mmask16 mask;  // one truth value per lane
typedef __mmask16 part;  // the first n lanes

INLINE part part_of(int64_t n) { return (part)((1u << n) - 1); }
INLINE vf load(const float *p) { return _mm512_loadu_ps(p); }
INLINE vf load_part(const float *p, part n) { return _mm512_maskz_loadu_ps(n, p); }
INLINE vf load_fill(const float *p, part n, vf fill) { return _mm512_mask_loadu_ps(fill, n, p); }
INLINE void store(float *p, vf v) { _mm512_storeu_ps(p, v); }
INLINE void store_part(float *p, vf v, part n) { _mm512_mask_storeu_ps(p, n, v); }
INLINE vf all(float a) { return _mm512_set1_ps(a); }
INLINE vi all_int(int32_t a) { return _mm512_set1_epi32(a); }
INLINE vf fma_(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vf root(vf a) { return _mm512_sqrt_ps(a); }
INLINE vf high(vf a, vf b) { return _mm512_max_ps(a, b); }
INLINE vf low(vf a, vf b) { return _mm512_min_ps(a, b); }
INLINE vf bits(vi a) { return _mm512_castsi512_ps(a); }
INLINE vi ints(vf a) { return _mm512_castps_si512(a); }
INLINE vi add_int(vi a, vi b) { return _mm512_add_epi32(a, b); }
INLINE vi sub_int(vi a, vi b) { return _mm512_sub_epi32(a, b); }
INLINE vi and_int(vi a, vi b) { return _mm512_and_si512(a, b); }
INLINE vi or_int(vi a, vi b) { return _mm512_or_si512(a, b); }
#define SHIFT_LEFT(a, n) _mm512_slli_epi32(a, n)
#define SHIFT_RIGHT(a, n) _mm512_srai_epi32(a, n)
INLINE vf to_float(vi a) { return _mm512_cvtepi32_ps(a); }
INLINE mask less(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
INLINE mask equal(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
INLINE mask not_ordered(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q); }  // a NaN on either side
INLINE mask either(mask a, mask b) { return a | b; }
INLINE vf pick(mask m, vf a, vf b) { return _mm512_mask_blend_ps(m, b, a); }
INLINE mask first(int64_t n) { return (mask)((1u << (n < W ? n : W)) - 1); }
INLINE unsigned lanes(mask m) { return m; }
#define EVEN(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
#define ODD(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31)

#elif defined(ISA_avx2)

enum { W = 8 };
typedef __m256 vf;
typedef __m256i vi;
typedef __m256 mask;
typedef __m256i part;

INLINE part part_of(int64_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
INLINE vf load(const float *p) { return _mm256_loadu_ps(p); }
INLINE vf load_part(const float *p, part n) { return _mm256_maskload_ps(p, n); }
INLINE vf load_fill(const float *p, part n, vf fill) {
    return _mm256_blendv_ps(fill, _mm256_maskload_ps(p, n), _mm256_castsi256_ps(n));
}
INLINE void store(float *p, vf v) { _mm256_storeu_ps(p, v); }
INLINE void store_part(float *p, vf v, part n) { _mm256_maskstore_ps(p, n, v); }
INLINE vf all(float a) { return _mm256_set1_ps(a); }
INLINE vi all_int(int32_t a) { return _mm256_set1_epi32(a); }
INLINE vf fma_(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
INLINE vf root(vf a) { return _mm256_sqrt_ps(a); }
INLINE vf high(vf a, vf b) { return _mm256_max_ps(a, b); }
INLINE vf low(vf a, vf b) { return _mm256_min_ps(a, b); }
INLINE vf bits(vi a) { return _mm256_castsi256_ps(a); }
INLINE vi ints(vf a) { return _mm256_castps_si256(a); }
INLINE vi add_int(vi a, vi b) { return _mm256_add_epi32(a, b); }
INLINE vi sub_int(vi a, vi b) { return _mm256_sub_epi32(a, b); }
INLINE vi and_int(vi a, vi b) { return _mm256_and_si256(a, b); }
INLINE vi or_int(vi a, vi b) { return _mm256_or_si256(a, b); }
#define SHIFT_LEFT(a, n) _mm256_slli_epi32(a, n)
#define SHIFT_RIGHT(a, n) _mm256_srai_epi32(a, n)
INLINE vf to_float(vi a) { return _mm256_cvtepi32_ps(a); }
INLINE mask less(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
INLINE mask equal(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
INLINE mask not_ordered(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_UNORD_Q); }
INLINE mask either(mask a, mask b) { return _mm256_or_ps(a, b); }
INLINE vf pick(mask m, vf a, vf b) { return _mm256_blendv_ps(b, a, m); }
INLINE mask first(int64_t n) { return _mm256_castsi256_ps(part_of(n < W ? n : W)); }
INLINE unsigned lanes(mask m) { return (unsigned)_mm256_movemask_ps(m); }
#define EVEN(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14)
#define ODD(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15)

#else  // plain C over four lanes

enum { W = 4 };
typedef float vf __attribute__((vector_size(16)));
typedef int32_t vi __attribute__((vector_size(16)));
typedef vi mask;
typedef int64_t part;

INLINE part part_of(int64_t n) { return n; }
INLINE vf load(const float *p) {
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}
INLINE vf load_fill(const float *p, part n, vf fill) {
    for (int64_t i = 0; i < n; i++) fill[i] = p[i];
    return fill;
}
INLINE vf load_part(const float *p, part n) { return load_fill(p, n, (vf){0}); }
INLINE void store(float *p, vf v) { memcpy(p, &v, sizeof v); }
INLINE void store_part(float *p, vf v, part n) {
    for (int64_t i = 0; i < n; i++) p[i] = v[i];
}
INLINE vf all(float a) { return (vf){a, a, a, a}; }
INLINE vi all_int(int32_t a) { return (vi){a, a, a, a}; }
INLINE vf bits(vi a) { return (vf)a; }
INLINE vi ints(vf a) { return (vi)a; }
INLINE vf pick(mask m, vf a, vf b) { return bits((m & ints(a)) | (~m & ints(b))); }
INLINE vf fma_(vf a, vf b, vf c) { return a * b + c; }
INLINE vf root(vf a) { return (vf){sqrtf(a[0]), sqrtf(a[1]), sqrtf(a[2]), sqrtf(a[3])}; }
INLINE vf high(vf a, vf b) { return pick(a > b, a, b); }
INLINE vf low(vf a, vf b) { return pick(a < b, a, b); }
typedef uint32_t vu __attribute__((vector_size(16)));  // wraps around
INLINE vi add_int(vi a, vi b) { return (vi)((vu)a + (vu)b); }
INLINE vi sub_int(vi a, vi b) { return (vi)((vu)a - (vu)b); }
INLINE vi and_int(vi a, vi b) { return a & b; }
INLINE vi or_int(vi a, vi b) { return a | b; }
#define SHIFT_LEFT(a, n) ((vi)((vu)(a) << (n)))
#define SHIFT_RIGHT(a, n) ((a) >> (n))
INLINE vf to_float(vi a) { return __builtin_convertvector(a, vf); }
INLINE mask less(vf a, vf b) { return a < b; }
INLINE mask equal(vf a, vf b) { return a == b; }
INLINE mask not_ordered(vf a, vf b) { return (a != a) | (b != b); }
INLINE mask either(mask a, mask b) { return a | b; }
INLINE mask first(int64_t n) { return all_int((int32_t)(n < W ? n : W)) > (vi){0, 1, 2, 3}; }
INLINE unsigned lanes(mask m) { return (m[0] & 1u) | (m[1] & 2u) | (m[2] & 4u) | (m[3] & 8u); }
#define EVEN(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6)
#define ODD(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7)

#endif
// high(a, b) and low(a, b) are a > b ? a : b and a < b ? a : b: with a NaN on either side they give b.
INLINE mask is_nan(vf a) { return not_ordered(a, a); }

// ---- functions

// a[0] + a[1] x + ... + a[n - 1] x^(n - 1). Horner's scheme: the loops have enough independent vectors in flight.
INLINE vf polynomial(const float *a, int n, vf x) {
    vf p = all(a[n - 1]);
    for (int i = n - 2; i >= 0; i--) p = fma_(p, x, all(a[i]));
    return p;
}

// x = n log 2 + r, |r| <= log(2) / 2; e^x = 2^n (1 + r + r^2 P(r)), for -105 <= x <= 90. 2^n in two halves, so
// that too large and too small come out as infinity and zero.
INLINE vf exp_within(vf x) {
    static const float p[] = {4.999999404e-01f, 1.666651964e-01f, 4.166839644e-02f, 8.368796669e-03f, 1.381443348e-03f};
    const float round = 0x1.8p23f;
    vf t = fma_(x, all(0x1.715476p0f), all(round));
    vf n = t - all(round);
    vf r = fma_(n, all(-0x1.62e4p-1f), x);
    r = fma_(n, all(-0x1.7f7d1cp-20f), r);
    vf y = fma_(polynomial(p, 5, r), r * r, r) + all(1.0f);
#if defined(ISA_avx512)
    return _mm512_scalef_ps(y, n);
#else
    vi k = sub_int(ints(t), all_int(0x4b400000)), half = SHIFT_RIGHT(k, 1);
    vf a = bits(SHIFT_LEFT(add_int(half, all_int(127)), 23));
    vf b = bits(SHIFT_LEFT(add_int(sub_int(k, half), all_int(127)), 23));
    return y * a * b;
#endif
}
INLINE vf f_exp(vf x) {
    return exp_within(low(all(90.0f), high(all(-105.0f), x)));
}

// 1 / x for 1 <= x < 2^127
INLINE vf inverse(vf x) {
#if defined(ISA_avx512)
    vf y = _mm512_rcp14_ps(x);  // 14 bits, and a step of Newton's method
    return fma_(y, _mm512_fnmadd_ps(x, y, all(1.0f)), y);
#else
    return all(1.0f) / x;
#endif
}

// x = 2^n m, m in [sqrt(1/2), sqrt(2)), f = m - 1; log x = n log 2 + f - f^2 / 2 + f^3 P(f)
INLINE vf f_log(vf x) {
    static const float p[] = {3.333333135e-01f,  -2.500082850e-01f, 2.000129372e-01f, -1.662310511e-01f,
                              1.419995129e-01f, -1.316088736e-01f, 1.277557760e-01f, -7.650797814e-02f};
    vi k = sub_int(ints(x), all_int(0x3f3504f3));
    vf n = to_float(SHIFT_RIGHT(k, 23));
    vf f = bits(add_int(and_int(k, all_int(0x007fffff)), all_int(0x3f3504f3))) - all(1.0f);
    vf s = f * f;
    vf y = fma_(n, all(0x1.7f7d1cp-20f), s * f * polynomial(p, 8, f));
    y = fma_(s, all(-0.5f), y) + f;
    y = fma_(n, all(0x1.62e4p-1f), y);
    y = pick(less(x, all(0x1p-126f)), pick(less(all(-0x1p-126f), x), all(-INFINITY), all(NAN)), y);
    return pick(less(x, all(INFINITY)), y, high(all(-INFINITY), x));  // infinity and NaN
}

INLINE vf sign_of(vf x) { return bits(and_int(ints(x), all_int(INT32_MIN))); }
INLINE vf magnitude(vf x) { return bits(and_int(ints(x), all_int(INT32_MAX))); }
INLINE vf with_sign(vf x, vf sign) { return bits(or_int(ints(x), ints(sign))); }

// |x| < .625: x + x^3 P(x^2); beyond: 1 - 2 / (e^(2 |x|) + 1), which is 1 from 9.02 on
INLINE vf f_tanh(vf x) {
    static const float p[] = {-3.333325982e-01f, 1.333083063e-01f, -5.368802324e-02f, 2.046941966e-02f, -5.515163764e-03f};
    vf t = low(all(10.0f), magnitude(x)), s = x * x;
    vf small = fma_(s * x, polynomial(p, 5, s), x);
    vf large = fma_(all(-2.0f), inverse(exp_within(t + t) + all(1.0f)), all(1.0f));
    return pick(less(t, all(0.625f)), small, with_sign(large, sign_of(x)));
}

INLINE vf f_sigmoid(vf x) {
    vf y = inverse(all(1.0f) + exp_within(low(all(88.0f), high(all(-88.0f), all(0.0f) - x))));
    return pick(less(x, all(-87.33654f)), all(0.0f), y);
}

// |x| < .93: x + x P(x^2); beyond: 1 - e^-Q(|x|), which is 1 from 3.92 on
INLINE vf f_erf(vf x) {
    static const float p[] = {1.283791363e-01f,  -3.761244714e-01f, 1.128132045e-01f,
                              -2.674885839e-02f, 4.967500456e-03f,  -5.862057442e-04f};
    static const float q[] = {-2.040571999e-03f, -1.119617820e+00f, -6.515426040e-01f,
                              -9.058129787e-02f, 1.540648192e-02f,  -1.229571411e-03f};
    vf t = magnitude(x), s = x * x;
    vf small = fma_(x, polynomial(p, 6, s), x);
    vf large = all(1.0f) - exp_within(polynomial(q, 6, low(all(3.95f), t)));
    return pick(less(t, all(0.93f)), small, with_sign(large, sign_of(x)));
}

INLINE vf f_neg(vf x) {
    return bits(add_int(ints(x), all_int(INT32_MIN)));
}
INLINE vf f_sqrt(vf x) {
    return root(x);
}
INLINE vf f_relu(vf x) {
    return high(all(0.0f), x);
}
INLINE vf f_step(vf x) {
    return pick(less(all(0.0f), x), all(1.0f), all(0.0f));
}
INLINE vf f_sign(vf x) {
    return pick(less(all(0.0f), x), all(1.0f), pick(less(x, all(0.0f)), all(-1.0f), all(0.0f)));
}
INLINE vf f_copy(vf x) {
    return x;
}

INLINE vf g_add(vf x, vf y) { return x + y; }
#define ADD_OF(x, y) ((x) + (y))
#define SUB_OF(x, y) ((x) - (y))
#define MUL_OF(x, y) ((x) * (y))
#define DIV_OF(x, y) ((x) / (y))
#define COMBINE_OF(x, y) fma_(x, a, (y) * b)
#define MUL_SCALED_OF(x, y) ((x) * (y) * a)
#define GATE_OF(x, y) pick(less(all(0.0f), x), y, all(0.0f))

// ---- elementwise loops

// BODY says what becomes of the vector v.
#define UNARY(name, BODY)                                                                                         \
    static void name(int64_t rows, int64_t cols, const float *x, int64_t x_row, const struct vec_op *op, float *out, \
                     int64_t out_row) {                                                                           \
        const int64_t whole = cols - cols % W;                                                                    \
        const part rest = part_of(cols - whole);                                                                  \
        const vf a = all(op->a), b = all(op->b), e = all(op->c), d = all(op->d);                                  \
        (void)a, (void)b, (void)e, (void)d;                                                                       \
        for (int64_t r = 0; r < rows; r++, x += x_row, out += out_row) {                                          \
            for (int64_t c = 0; c < whole; c += W) {                                                              \
                const vf v = load(x + c);                                                                         \
                store(out + c, BODY);                                                                             \
            }                                                                                                     \
            if (whole < cols) {                                                                                   \
                const vf v = load_part(x + whole, rest);                                                          \
                store_part(out + whole, BODY, rest);                                                              \
            }                                                                                                     \
        }                                                                                                         \
    }
#define FUNCTION(f)     \
    UNARY(each_##f, f(v)) \
    UNARY(affine_##f, fma_(f(fma_(v, a, b)), e, d))
FUNCTION(f_exp)
FUNCTION(f_log)
FUNCTION(f_sqrt)
FUNCTION(f_tanh)
FUNCTION(f_sigmoid)
FUNCTION(f_erf)
FUNCTION(f_step)
UNARY(each_f_neg, f_neg(v))
UNARY(each_f_relu, f_relu(v))
UNARY(each_f_sign, f_sign(v))
UNARY(each_f_copy, f_copy(v))
UNARY(each_f_scale, v * a)
UNARY(each_f_shift, v + a)
UNARY(each_f_affine, fma_(v, a, b))

#define BINARY_FORM(g, OF, form, X, X_PART, Y, Y_PART)                                                                \
    static void form##_##g(int64_t rows, int64_t cols, const float *x, int64_t x_row, const float *y, int64_t y_row, \
                           const struct vec_op *op, float *out, int64_t out_row) {                                \
        const vf a = all(op->a), b = all(op->b);                                                                  \
        (void)a, (void)b;                                                                                         \
        const int64_t whole = cols - cols % W;                                                                    \
        const part rest = part_of(cols - whole);                                                                  \
        (void)rest;                                                                                               \
        for (int64_t r = 0; r < rows; r++, x += x_row, y += y_row, out += out_row) {                              \
            const vf x0 = all(*x), y0 = all(*y);                                                                  \
            (void)x0, (void)y0;                                                                                   \
            for (int64_t c = 0; c < whole; c += W) store(out + c, OF(X, Y));                                       \
            if (whole < cols) store_part(out + whole, OF(X_PART, Y_PART), rest);                                   \
        }                                                                                                         \
    }

// The same for one number a row where rows lie end to end and do not fill vectors: vectors run on over the
// ends of rows, and each takes the numbers of the two rows it lies in. For cols >= W.
#define BINARY_FLAT(g, OF, form, FULL, ROW, X, Y)                                                                     \
    static void flat_##form##_##g(int64_t rows, int64_t cols, const float *x, const float *y, const struct vec_op *op, \
                                  float *out) {                                                                   \
        const vf a = all(op->a), b = all(op->b);                                                                  \
        (void)a, (void)b;                                                                                         \
        const int64_t count = rows * cols;                                                                        \
        int64_t left = cols, r = 0;  /* of row r */                                                               \
        for (int64_t i = 0; i < count; i += W) {                                                                  \
            const vf one = pick(first(left), all(ROW[r]), all(ROW[r + (r + 1 < rows)]));                          \
            if (i + W <= count) {                                                                                 \
                const vf each = load(FULL + i);                                                                   \
                store(out + i, OF(X, Y));                                                                          \
            } else {                                                                                              \
                const vf each = load_part(FULL + i, part_of(count - i));                                          \
                store_part(out + i, OF(X, Y), part_of(count - i));                                                 \
            }                                                                                                     \
            left -= W;                                                                                            \
            r += left <= 0;                                                                                       \
            left += left <= 0 ? cols : 0;                                                                         \
        }                                                                                                         \
    }
INLINE bool flat_pays(int64_t rows, int64_t cols) { return rows > 1 && cols > W && cols < 2 * W; }

#define BINARY(g, OF)                                                                                               \
    BINARY_FORM(g, OF, each_each, load(x + c), load_part(x + whole, rest), load(y + c), load_part(y + whole, rest))  \
    BINARY_FORM(g, OF, rows_each_one, load(x + c), load_part(x + whole, rest), y0, y0)                               \
    BINARY_FORM(g, OF, rows_one_each, x0, x0, load(y + c), load_part(y + whole, rest))                               \
    BINARY_FLAT(g, OF, each_one, x, y, each, one)                                                                     \
    BINARY_FLAT(g, OF, one_each, y, x, one, each)                                                                     \
    static void one_each_##g(int64_t rows, int64_t cols, const float *x, int64_t x_row, const float *y, int64_t y_row, \
                             const struct vec_op *op, float *out, int64_t out_row) {                              \
        if (x_row == 1 && y_row == cols && out_row == cols && flat_pays(rows, cols))                              \
            flat_one_each_##g(rows, cols, x, y, op, out);                                                             \
        else                                                                                                      \
            rows_one_each_##g(rows, cols, x, x_row, y, y_row, op, out, out_row);                                      \
    }                                                                                                             \
    static void each_one_##g(int64_t rows, int64_t cols, const float *x, int64_t x_row, const float *y, int64_t y_row, \
                             const struct vec_op *op, float *out, int64_t out_row) {                              \
        if (y_row == 1 && x_row == cols && out_row == cols && flat_pays(rows, cols))                              \
            flat_each_one_##g(rows, cols, x, y, op, out);                                                             \
        else                                                                                                      \
            rows_each_one_##g(rows, cols, x, x_row, y, y_row, op, out, out_row);                                      \
    }
BINARY(g_add, ADD_OF)
BINARY(g_sub, SUB_OF)
BINARY(g_mul, MUL_OF)
BINARY(g_div, DIV_OF)
BINARY(g_combine, COMBINE_OF)
BINARY(g_gate, GATE_OF)
BINARY(g_mul_scaled, MUL_SCALED_OF)

#define MUL_ADD(form, X, X_PART, Y, Y_PART, Z, Z_PART)                                                            \
    static void mul_add_##form(int64_t rows, int64_t cols, const float *x, int64_t x_row, const float *y, int64_t y_row, \
                               const float *z, int64_t z_row, const struct vec_op *op, float *out, int64_t out_row) {    \
        const int64_t whole = cols - cols % W;                                                                    \
        const part rest = part_of(cols - whole);                                                                  \
        const vf a = all(op->a), b = all(op->b);                                                                  \
        (void)rest;                                                                                               \
        for (int64_t r = 0; r < rows; r++, x += x_row, y += y_row, z += z_row, out += out_row) {                  \
            const vf x0 = all(*x), y0 = all(*y), z0 = all(*z);                                                    \
            (void)x0, (void)y0, (void)z0;                                                                         \
            for (int64_t c = 0; c < whole; c += W) store(out + c, fma_(a * (X), Y, b * (Z)));                     \
            if (whole < cols) store_part(out + whole, fma_(a * (X_PART), Y_PART, b * (Z_PART)), rest);            \
        }                                                                                                         \
    }
#define EACH(p) load(p + c), load_part(p + whole, rest)
#define MUL_ADD_OF(form, ...) MUL_ADD(form, __VA_ARGS__)
MUL_ADD_OF(x, EACH(x), y0, y0, z0, z0)
MUL_ADD_OF(y, x0, x0, EACH(y), z0, z0)
MUL_ADD_OF(xy, EACH(x), EACH(y), z0, z0)
MUL_ADD_OF(z, x0, x0, y0, y0, EACH(z))
MUL_ADD_OF(xz, EACH(x), y0, y0, EACH(z))
MUL_ADD_OF(yz, x0, x0, EACH(y), EACH(z))
MUL_ADD_OF(xyz, EACH(x), EACH(y), EACH(z))

// A row over one number: by its inverse (1.5 ulp), but for the row whose inverse would be a denormal.
static void over_one(int64_t rows, int64_t cols, const float *x, int64_t x_row, const float *y, int64_t y_row,
                     const struct vec_op *op, float *out, int64_t out_row) {
    enum { MOST = 64 };
    float by[MOST];
    for (int64_t n; rows > 0; rows -= n, x += n * x_row, y += n * y_row, out += n * out_row) {
        n = y_row && rows > MOST ? MOST : rows;
        bool fine = true;
        for (int64_t i = 0; i < (y_row ? n : 1); i++) {
            by[i] = 1.0f / y[i * y_row];
            fine &= fabsf(y[i * y_row]) <= 0x1p125f;
        }
        if (fine) {
            each_one_g_mul(n, cols, x, x_row, by, y_row ? 1 : 0, op, out, out_row);
            continue;
        }
        for (int64_t i = 0; i < n; i++) {
            const float *d = y + i * y_row, *inverted = by + (y_row ? i : 0);
            if (fabsf(*d) <= 0x1p125f)
                each_one_g_mul(1, cols, x + i * x_row, 0, inverted, 0, op, out + i * out_row, 0);
            else
                each_one_g_div(1, cols, x + i * x_row, 0, d, 0, op, out + i * out_row, 0);
        }
    }
}

// ---- along the row

// W vectors to one whose lane i is the sum (or the maximum) of vector i, by a tree of neighbouring lanes.
#define TREE(name, op)                                                                    \
    INLINE vf name(vf *v) {                         \
        if (W > 8)                                                                        \
            for (int i = 0; i < 8; i++) v[i] = op(EVEN(v[2 * i], v[2 * i + 1]), ODD(v[2 * i], v[2 * i + 1])); \
        if (W > 4)                                                                        \
            for (int i = 0; i < 4; i++) v[i] = op(EVEN(v[2 * i], v[2 * i + 1]), ODD(v[2 * i], v[2 * i + 1])); \
        for (int i = 0; i < 2; i++) v[i] = op(EVEN(v[2 * i], v[2 * i + 1]), ODD(v[2 * i], v[2 * i + 1])); \
        return op(EVEN(v[0], v[1]), ODD(v[0], v[1]));                                     \
    }
TREE(tree_sum, g_add)
TREE(tree_high, high)

// One row to one vector: four running sums, so that an addition need not wait for the last one. `rest` is the
// part of the last, unfinished vector.
INLINE vf row_lanes(const float *x, int64_t cols, part rest) {
    if (cols < W) return load_part(x, rest);
    if (cols < 2 * W) return load(x) + load_part(x + W, rest);
    vf a = all(0.0f), b = a, c = a, d = a;
    int64_t i = 0;
    for (; i + 4 * W <= cols; i += 4 * W) {
        a += load(x + i);
        b += load(x + i + W);
        c += load(x + i + 2 * W);
        d += load(x + i + 3 * W);
    }
    a = (a + b) + (c + d);
    for (; i + W <= cols; i += W) a += load(x + i);
    if (i < cols) a += load_part(x + i, rest);
    return a;
}

// Long rows in pieces of LONG, the pieces in double.
enum { LONG = 4096 };

static float long_sum(const float *x, int64_t cols) {
    double sum = 0;
    for (int64_t c = 0; c < cols; c += LONG) {
        float lane[W];
        int64_t n = cols - c < LONG ? cols - c : LONG;
        store(lane, row_lanes(x + c, n, part_of(n % W)));
        for (int i = 0; i < W; i++) sum += lane[i];
    }
    return (float)sum;
}

static void row_sum(int64_t rows, int64_t cols, const float *x, int64_t x_row, float *out) {
    if (cols > LONG) {
        for (int64_t r = 0; r < rows; r++) out[r] = long_sum(x + r * x_row, cols);
        return;
    }
    const part rest = part_of(cols % W);
    for (int64_t r = 0; r < rows; r += W, x += W * x_row) {
        vf v[W];
        if (rows - r >= W) {
            for (int i = 0; i < W; i++) v[i] = row_lanes(x + i * x_row, cols, rest);
            store(out + r, tree_sum(v));
        } else {
            for (int i = 0; i < W; i++) v[i] = r + i < rows ? row_lanes(x + i * x_row, cols, rest) : all(0.0f);
            store_part(out + r, tree_sum(v), part_of(rows - r));
        }
    }
}

// The sum of x y: as row_sum, the products fused into the running sums.
INLINE vf dot_lanes(const float *x, const float *y, int64_t cols, part rest) {
    vf a = all(0.0f), b = a, c = a, d = a;
    int64_t i = 0;
    for (; i + 4 * W <= cols; i += 4 * W) {
        a = fma_(load(x + i), load(y + i), a);
        b = fma_(load(x + i + W), load(y + i + W), b);
        c = fma_(load(x + i + 2 * W), load(y + i + 2 * W), c);
        d = fma_(load(x + i + 3 * W), load(y + i + 3 * W), d);
    }
    a = (a + b) + (c + d);
    for (; i + W <= cols; i += W) a = fma_(load(x + i), load(y + i), a);
    if (i < cols) a = fma_(load_part(x + i, rest), load_part(y + i, rest), a);
    return a;
}

static void row_dot(int64_t rows, int64_t cols, const float *x, int64_t x_row, const float *y, int64_t y_row, float *out) {
    if (cols > LONG) {
        for (int64_t r = 0; r < rows; r++, x += x_row, y += y_row) {
            double sum = 0;
            for (int64_t c = 0; c < cols; c += LONG) {
                float lane[W];
                const int64_t n = cols - c < LONG ? cols - c : LONG;
                store(lane, dot_lanes(x + c, y + c, n, part_of(n % W)));
                for (int i = 0; i < W; i++) sum += lane[i];
            }
            out[r] = (float)sum;
        }
        return;
    }
    const part rest = part_of(cols % W);
    for (int64_t r = 0; r < rows; r += W, x += W * x_row, y += W * y_row) {
        vf v[W];
        if (rows - r >= W) {
            for (int i = 0; i < W; i++) v[i] = dot_lanes(x + i * x_row, y + i * y_row, cols, rest);
            store(out + r, tree_sum(v));
        } else {
            for (int i = 0; i < W; i++) v[i] = r + i < rows ? dot_lanes(x + i * x_row, y + i * y_row, cols, rest) : all(0.0f);
            store_part(out + r, tree_sum(v), part_of(rows - r));
        }
    }
}

// The maximum of a row; whether it holds a NaN, which the hardware's maximum passes over, is noted in *seen.
INLINE vf row_high(const float *x, int64_t cols, part rest, mask *seen) {
    vf a = all(-INFINITY), b = a;
    int64_t i = 0;
    for (; i + 2 * W <= cols; i += 2 * W) {
        const vf v = load(x + i), w = load(x + i + W);
        *seen = either(*seen, not_ordered(v, w));
        a = high(v, a);
        b = high(w, b);
    }
    if (i + W <= cols) {
        const vf v = load(x + i);
        *seen = either(*seen, is_nan(v));
        b = high(v, b);
        i += W;
    }
    if (i < cols) {
        const vf v = load_fill(x + i, rest, all(-INFINITY));
        *seen = either(*seen, is_nan(v));
        a = high(v, a);
    }
    return high(a, b);
}

// Up to W rows. The maximum of a row with a NaN is NaN: such rows are rare, and set right afterwards.
INLINE void group_max(int64_t rows, int64_t cols, const float *x, int64_t x_row, float *out) {
    const part rest = part_of(cols % W);
    vf v[W];
    mask seen = is_nan(all(0.0f));
    for (int i = 0; i < W; i++) v[i] = i < rows ? row_high(x + i * x_row, cols, rest, &seen) : all(0.0f);
    store_part(out, tree_high(v), part_of(rows));
    for (int64_t i = 0; lanes(seen) && i < rows; i++)
        for (int64_t c = 0; c < cols; c++)
            if (isnan(x[i * x_row + c])) out[i] = NAN;
}

static void row_max(int64_t rows, int64_t cols, const float *x, int64_t x_row, float *out) {
    for (int64_t r = 0; r < rows; r += W) group_max(rows - r < W ? rows - r : W, cols, x + r * x_row, x_row, out + r);
}

// The first place of the maximum; a NaN counts as the maximum.
static int32_t first_of(const float *x, int64_t cols, float value) {
    for (int64_t c = 0; c < cols; c += W) {
        vf v = cols - c < W ? load_fill(x + c, part_of(cols - c), all(-INFINITY)) : load(x + c);
        unsigned hit = lanes(equal(v, all(value))) | lanes(is_nan(v));
        if (hit) return (int32_t)c + __builtin_ctz(hit);
    }
    return 0;
}

static void row_argmax(int64_t rows, int64_t cols, const float *x, int64_t x_row, float *out) {
    for (int64_t r = 0; r < rows; r += W) {
        const int64_t n = rows - r < W ? rows - r : W;
        float most[W];
        group_max(n, cols, x + r * x_row, x_row, most);
        for (int64_t i = 0; i < n; i++) {
            const int32_t place = first_of(x + (r + i) * x_row, cols, most[i]);
            memcpy(out + r + i, &place, sizeof place);
        }
    }
}

// ---- over the rows

static void sum_rows(int64_t rows, int64_t cols, const float *x, int64_t x_row, float *sum, bool begin) {
    int64_t c = 0;
    for (; c + W <= cols; c += W) {
        vf s = begin ? all(0.0f) : load(sum + c);
        for (int64_t r = 0; r < rows; r++) s += load(x + r * x_row + c);
        store(sum + c, s);
    }
    if (c < cols) {
        const part rest = part_of(cols - c);
        vf s = begin ? all(0.0f) : load_part(sum + c, rest);
        for (int64_t r = 0; r < rows; r++) s += load_part(x + r * x_row + c, rest);
        store_part(sum + c, s, rest);
    }
}

// The sums of a chunk of rows go into double: total = (begin ? 0 : total) + part.
static void add_chunk(int64_t cols, const float *chunk, double *total, bool begin) {
    if (begin)
        for (int64_t c = 0; c < cols; c++) total[c] = chunk[c];
    else
        for (int64_t c = 0; c < cols; c++) total[c] += chunk[c];
}
static void write_sum(int64_t cols, const double *total, float *out) {
    for (int64_t c = 0; c < cols; c++) out[c] = (float)total[c];
}
static void add_lanes(int64_t count, const float *x, double *lane) {
    double sum[VEC_LANES];
    memcpy(sum, lane, sizeof sum);
    for (int64_t i = 0; i < count; i += VEC_LANES)
        for (int j = 0; j < VEC_LANES; j++) sum[j] += x[i + j];
    memcpy(lane, sum, sizeof sum);
}

#define FORMS(g) {each_each_##g, each_one_##g, one_each_##g}
#define PASTE(a, b) a##b
#define NAME(isa) PASTE(vec_kernels_, isa)
#define TEXT_OF(isa) #isa
#define TEXT(isa) TEXT_OF(isa)

const struct vec_kernels NAME(ISA) = {
    .name = TEXT(ISA),
    .unary = {[VEC_NEG] = each_f_neg, [VEC_EXP] = each_f_exp, [VEC_LOG] = each_f_log, [VEC_SQRT] = each_f_sqrt,
              [VEC_TANH] = each_f_tanh, [VEC_SIGMOID] = each_f_sigmoid, [VEC_ERF] = each_f_erf,
              [VEC_RELU] = each_f_relu, [VEC_STEP] = each_f_step, [VEC_SIGN] = each_f_sign,
              [VEC_COPY] = each_f_copy, [VEC_SCALE] = each_f_scale, [VEC_SHIFT] = each_f_shift, [VEC_AFFINE] = each_f_affine},
    .affine = {[VEC_EXP] = affine_f_exp, [VEC_LOG] = affine_f_log, [VEC_SQRT] = affine_f_sqrt, [VEC_TANH] = affine_f_tanh,
               [VEC_SIGMOID] = affine_f_sigmoid, [VEC_ERF] = affine_f_erf, [VEC_STEP] = affine_f_step},
    .binary = {[VEC_ADD] = FORMS(g_add), [VEC_SUB] = FORMS(g_sub), [VEC_MUL] = FORMS(g_mul), [VEC_DIV] = {each_each_g_div, over_one, one_each_g_div},
               [VEC_COMBINE] = FORMS(g_combine), [VEC_GATE] = FORMS(g_gate), [VEC_MUL_SCALED] = FORMS(g_mul_scaled)},
    .mul_add = {NULL, mul_add_x, mul_add_y, mul_add_xy, mul_add_z, mul_add_xz, mul_add_yz, mul_add_xyz},
    .row_dot = row_dot,
    .row_sum = row_sum,
    .row_max = row_max,
    .row_argmax = row_argmax,
    .sum_rows = sum_rows,
    .add_chunk = add_chunk,
    .write_sum = write_sum,
    .add_lanes = add_lanes,
};

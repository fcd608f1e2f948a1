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

// ---- vectors

#if defined(ISA_avx512)

enum { W = 16 };
typedef __m512 vf;
typedef __m512i vi;
typedef __mmask16 mask;  // one truth value per lane
typedef __mmask16 part;  // the first n lanes

static inline part part_of(int64_t n) { return (part)((1u << n) - 1); }
static inline vf load(const float *p) { return _mm512_loadu_ps(p); }
static inline vf load_part(const float *p, part n) { return _mm512_maskz_loadu_ps(n, p); }
static inline vf load_fill(const float *p, part n, vf fill) { return _mm512_mask_loadu_ps(fill, n, p); }
static inline void store(float *p, vf v) { _mm512_storeu_ps(p, v); }
static inline void store_part(float *p, vf v, part n) { _mm512_mask_storeu_ps(p, n, v); }
static inline vf all(float a) { return _mm512_set1_ps(a); }
static inline vi all_int(int32_t a) { return _mm512_set1_epi32(a); }
static inline vf fma_(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
static inline vf root(vf a) { return _mm512_sqrt_ps(a); }
static inline vf high(vf a, vf b) { return _mm512_max_ps(a, b); }
static inline vf low(vf a, vf b) { return _mm512_min_ps(a, b); }
static inline vf bits(vi a) { return _mm512_castsi512_ps(a); }
static inline vi ints(vf a) { return _mm512_castps_si512(a); }
static inline vi add_int(vi a, vi b) { return _mm512_add_epi32(a, b); }
static inline vi sub_int(vi a, vi b) { return _mm512_sub_epi32(a, b); }
static inline vi and_int(vi a, vi b) { return _mm512_and_si512(a, b); }
static inline vi or_int(vi a, vi b) { return _mm512_or_si512(a, b); }
#define SHIFT_LEFT(a, n) _mm512_slli_epi32(a, n)
#define SHIFT_RIGHT(a, n) _mm512_srai_epi32(a, n)
static inline vf to_float(vi a) { return _mm512_cvtepi32_ps(a); }
static inline mask less(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
static inline mask equal(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
static inline mask is_nan(vf a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
static inline vf pick(mask m, vf a, vf b) { return _mm512_mask_blend_ps(m, b, a); }
static inline unsigned lanes(mask m) { return m; }
#define EVEN(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
#define ODD(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31)

#elif defined(ISA_avx2)

enum { W = 8 };
typedef __m256 vf;
typedef __m256i vi;
typedef __m256 mask;
typedef __m256i part;

static inline part part_of(int64_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline vf load(const float *p) { return _mm256_loadu_ps(p); }
static inline vf load_part(const float *p, part n) { return _mm256_maskload_ps(p, n); }
static inline vf load_fill(const float *p, part n, vf fill) {
    return _mm256_blendv_ps(fill, _mm256_maskload_ps(p, n), _mm256_castsi256_ps(n));
}
static inline void store(float *p, vf v) { _mm256_storeu_ps(p, v); }
static inline void store_part(float *p, vf v, part n) { _mm256_maskstore_ps(p, n, v); }
static inline vf all(float a) { return _mm256_set1_ps(a); }
static inline vi all_int(int32_t a) { return _mm256_set1_epi32(a); }
static inline vf fma_(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
static inline vf root(vf a) { return _mm256_sqrt_ps(a); }
static inline vf high(vf a, vf b) { return _mm256_max_ps(a, b); }
static inline vf low(vf a, vf b) { return _mm256_min_ps(a, b); }
static inline vf bits(vi a) { return _mm256_castsi256_ps(a); }
static inline vi ints(vf a) { return _mm256_castps_si256(a); }
static inline vi add_int(vi a, vi b) { return _mm256_add_epi32(a, b); }
static inline vi sub_int(vi a, vi b) { return _mm256_sub_epi32(a, b); }
static inline vi and_int(vi a, vi b) { return _mm256_and_si256(a, b); }
static inline vi or_int(vi a, vi b) { return _mm256_or_si256(a, b); }
#define SHIFT_LEFT(a, n) _mm256_slli_epi32(a, n)
#define SHIFT_RIGHT(a, n) _mm256_srai_epi32(a, n)
static inline vf to_float(vi a) { return _mm256_cvtepi32_ps(a); }
static inline mask less(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
static inline mask equal(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
static inline mask is_nan(vf a) { return _mm256_cmp_ps(a, a, _CMP_UNORD_Q); }
static inline vf pick(mask m, vf a, vf b) { return _mm256_blendv_ps(b, a, m); }
static inline unsigned lanes(mask m) { return (unsigned)_mm256_movemask_ps(m); }
#define EVEN(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14)
#define ODD(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15)

#else  // plain C over four lanes

enum { W = 4 };
typedef float vf __attribute__((vector_size(16)));
typedef int32_t vi __attribute__((vector_size(16)));
typedef vi mask;
typedef int64_t part;

static inline part part_of(int64_t n) { return n; }
static inline vf load(const float *p) {
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline vf load_fill(const float *p, part n, vf fill) {
    for (int64_t i = 0; i < n; i++) fill[i] = p[i];
    return fill;
}
static inline vf load_part(const float *p, part n) { return load_fill(p, n, (vf){0}); }
static inline void store(float *p, vf v) { memcpy(p, &v, sizeof v); }
static inline void store_part(float *p, vf v, part n) {
    for (int64_t i = 0; i < n; i++) p[i] = v[i];
}
static inline vf all(float a) { return (vf){a, a, a, a}; }
static inline vi all_int(int32_t a) { return (vi){a, a, a, a}; }
static inline vf bits(vi a) { return (vf)a; }
static inline vi ints(vf a) { return (vi)a; }
static inline vf pick(mask m, vf a, vf b) { return bits((m & ints(a)) | (~m & ints(b))); }
static inline vf fma_(vf a, vf b, vf c) { return a * b + c; }
static inline vf root(vf a) { return (vf){sqrtf(a[0]), sqrtf(a[1]), sqrtf(a[2]), sqrtf(a[3])}; }
static inline vf high(vf a, vf b) { return pick(a > b, a, b); }
static inline vf low(vf a, vf b) { return pick(a < b, a, b); }
static inline vi add_int(vi a, vi b) { return a + b; }
static inline vi sub_int(vi a, vi b) { return a - b; }
static inline vi and_int(vi a, vi b) { return a & b; }
static inline vi or_int(vi a, vi b) { return a | b; }
#define SHIFT_LEFT(a, n) ((vi)((vu)(a) << (n)))
#define SHIFT_RIGHT(a, n) ((a) >> (n))
typedef uint32_t vu __attribute__((vector_size(16)));
static inline vf to_float(vi a) { return __builtin_convertvector(a, vf); }
static inline mask less(vf a, vf b) { return a < b; }
static inline mask equal(vf a, vf b) { return a == b; }
static inline mask is_nan(vf a) { return a != a; }
static inline unsigned lanes(mask m) { return (m[0] & 1u) | (m[1] & 2u) | (m[2] & 4u) | (m[3] & 8u); }
#define EVEN(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6)
#define ODD(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7)

#endif
// high(a, b) and low(a, b) are a > b ? a : b and a < b ? a : b: with a NaN on either side they give b.

// ---- functions

// a[0] + a[1] x + ... + a[n - 1] x^(n - 1)
static inline __attribute__((always_inline)) vf polynomial(const float *a, int n, vf x) {
    vf p = all(a[n - 1]);
    for (int i = n - 2; i >= 0; i--) p = fma_(p, x, all(a[i]));
    return p;
}

// x = n log 2 + r, |r| <= log(2) / 2; e^x = 2^n (1 + r + r^2 P(r)). 2^n in two halves, so that too large
// and too small come out as infinity and zero.
static inline vf f_exp(vf x, float unused) {
    (void)unused;
    static const float p[] = {4.999999404e-01f, 1.666651964e-01f, 4.166839644e-02f, 8.368796669e-03f, 1.381443348e-03f};
    const float round = 0x1.8p23f;
    x = low(all(90.0f), high(all(-105.0f), x));
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

// x = 2^n m, m in [sqrt(1/2), sqrt(2)), f = m - 1; log x = n log 2 + f - f^2 / 2 + f^3 P(f)
static inline vf f_log(vf x, float unused) {
    (void)unused;
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

static inline vf sign_of(vf x) { return bits(and_int(ints(x), all_int(INT32_MIN))); }
static inline vf magnitude(vf x) { return bits(and_int(ints(x), all_int(INT32_MAX))); }
static inline vf with_sign(vf x, vf sign) { return bits(or_int(ints(x), ints(sign))); }

// |x| < .625: x + x^3 P(x^2); beyond: 1 - 2 / (e^(2 |x|) + 1)
static inline vf f_tanh(vf x, float unused) {
    static const float p[] = {-3.333325982e-01f, 1.333083063e-01f, -5.368802324e-02f, 2.046941966e-02f, -5.515163764e-03f};
    vf t = magnitude(x), s = x * x;
    vf small = fma_(s * x, polynomial(p, 5, s), x);
    vf large = all(1.0f) - all(2.0f) / (f_exp(t + t, unused) + all(1.0f));
    return pick(less(t, all(0.625f)), small, with_sign(large, sign_of(x)));
}

static inline vf f_sigmoid(vf x, float unused) { return all(1.0f) / (all(1.0f) + f_exp(all(0.0f) - x, unused)); }

// |x| < .93: x + x P(x^2); beyond: 1 - e^-Q(|x|)
static inline vf f_erf(vf x, float unused) {
    static const float p[] = {1.283791661e-01f, -3.761263192e-01f, 1.128366366e-01f, -2.685770392e-02f,
                              5.196950864e-03f, -8.097692626e-04f, 8.185057231e-05f};
    static const float q[] = {2.113134542e-04f, 1.127611160e+00f, 6.372904181e-01f, 1.038369015e-01f,
                              -2.218138427e-02f, 3.031819360e-03f, -1.947776182e-04f};
    vf t = magnitude(x), s = x * x;
    vf small = fma_(x, polynomial(p, 7, s), x);
    vf large = all(1.0f) - f_exp(all(0.0f) - polynomial(q, 7, low(all(3.95f), t)), unused);
    return pick(less(t, all(0.93f)), small, with_sign(large, sign_of(x)));
}

static inline vf f_neg(vf x, float unused) {
    (void)unused;
    return bits(add_int(ints(x), all_int(INT32_MIN)));
}
static inline vf f_sqrt(vf x, float unused) {
    (void)unused;
    return root(x);
}
static inline vf f_relu(vf x, float unused) {
    (void)unused;
    return high(all(0.0f), x);
}
static inline vf f_step(vf x, float unused) {
    (void)unused;
    return pick(less(all(0.0f), x), all(1.0f), all(0.0f));
}
static inline vf f_sign(vf x, float unused) {
    (void)unused;
    return pick(less(all(0.0f), x), all(1.0f), pick(less(x, all(0.0f)), all(-1.0f), all(0.0f)));
}
static inline vf f_copy(vf x, float unused) {
    (void)unused;
    return x;
}
static inline vf f_scale(vf x, float a) { return x * all(a); }
static inline vf f_shift(vf x, float a) { return x + all(a); }

static inline vf g_add(vf x, vf y) { return x + y; }
static inline vf g_sub(vf x, vf y) { return x - y; }
static inline vf g_mul(vf x, vf y) { return x * y; }
static inline vf g_div(vf x, vf y) { return x / y; }

// ---- elementwise loops

#define UNARY(f)                                                                                                  \
    static void each_##f(int64_t rows, int64_t cols, const float *x, int64_t x_row, float a, float *out, int64_t out_row) { \
        const int64_t whole = cols - cols % W;                                                                    \
        const part rest = part_of(cols - whole);                                                                  \
        for (int64_t r = 0; r < rows; r++, x += x_row, out += out_row) {                                          \
            for (int64_t c = 0; c < whole; c += W) store(out + c, f(load(x + c), a));                             \
            if (whole < cols) store_part(out + whole, f(load_part(x + whole, rest), a), rest);                    \
        }                                                                                                         \
    }
UNARY(f_neg)
UNARY(f_exp)
UNARY(f_log)
UNARY(f_sqrt)
UNARY(f_tanh)
UNARY(f_sigmoid)
UNARY(f_erf)
UNARY(f_relu)
UNARY(f_step)
UNARY(f_sign)
UNARY(f_copy)
UNARY(f_scale)
UNARY(f_shift)

#define BINARY_FORM(g, form, X, X_PART, Y, Y_PART)                                                                \
    static void form##_##g(int64_t rows, int64_t cols, const float *x, int64_t x_row, const float *y, int64_t y_row, \
                           float *out, int64_t out_row) {                                                         \
        const int64_t whole = cols - cols % W;                                                                    \
        const part rest = part_of(cols - whole);                                                                  \
        (void)rest;                                                                                               \
        for (int64_t r = 0; r < rows; r++, x += x_row, y += y_row, out += out_row) {                              \
            const vf x0 = all(*x), y0 = all(*y);                                                                  \
            (void)x0, (void)y0;                                                                                   \
            for (int64_t c = 0; c < whole; c += W) store(out + c, g(X, Y));                                       \
            if (whole < cols) store_part(out + whole, g(X_PART, Y_PART), rest);                                   \
        }                                                                                                         \
    }
#define BINARY(g)                                                                                                 \
    BINARY_FORM(g, each_each, load(x + c), load_part(x + whole, rest), load(y + c), load_part(y + whole, rest))  \
    BINARY_FORM(g, each_one, load(x + c), load_part(x + whole, rest), y0, y0)                                    \
    BINARY_FORM(g, one_each, x0, x0, load(y + c), load_part(y + whole, rest))
BINARY(g_add)
BINARY(g_sub)
BINARY(g_mul)
BINARY(g_div)

// ---- along the row

// W vectors to one whose lane i is the sum (or the maximum) of vector i, by a tree of neighbouring lanes.
static inline __attribute__((always_inline)) vf tree_sum(vf *v) {
    for (int n = W; n > 1; n /= 2)
        for (int i = 0; i < n / 2; i++) v[i] = EVEN(v[2 * i], v[2 * i + 1]) + ODD(v[2 * i], v[2 * i + 1]);
    return v[0];
}
// The larger; NaN where either is.
static inline vf high_nan(vf a, vf b) { return pick(is_nan(a), a, high(a, b)); }
static inline __attribute__((always_inline)) vf tree_max(vf *v) {
    for (int n = W; n > 1; n /= 2)
        for (int i = 0; i < n / 2; i++) v[i] = high_nan(EVEN(v[2 * i], v[2 * i + 1]), ODD(v[2 * i], v[2 * i + 1]));
    return v[0];
}

// One row to one vector: four running sums, so that an addition need not wait for the last one.
static inline vf row_lanes(const float *x, int64_t cols) {
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
    if (i < cols) a += load_part(x + i, part_of(cols - i));
    return a;
}
static inline vf row_high(const float *x, int64_t cols) {
    vf a = all(-INFINITY), b = a;
    int64_t i = 0;
    for (; i + 2 * W <= cols; i += 2 * W) {
        a = high_nan(load(x + i), a);
        b = high_nan(load(x + i + W), b);
    }
    a = high_nan(b, a);
    if (i + W <= cols) a = high_nan(load(x + i), a), i += W;
    return i < cols ? high_nan(load_fill(x + i, part_of(cols - i), a), a) : a;
}

// Long rows in pieces of LONG, the pieces in double.
enum { LONG = 4096 };

static float long_sum(const float *x, int64_t cols) {
    double sum = 0;
    for (int64_t c = 0; c < cols; c += LONG) {
        float lane[W];
        store(lane, row_lanes(x + c, cols - c < LONG ? cols - c : LONG));
        for (int i = 0; i < W; i++) sum += lane[i];
    }
    return (float)sum;
}

static void row_sum(int64_t rows, int64_t cols, const float *x, int64_t x_row, float *out) {
    if (cols > LONG) {
        for (int64_t r = 0; r < rows; r++) out[r] = long_sum(x + r * x_row, cols);
        return;
    }
    for (int64_t r = 0; r < rows; r += W) {
        int64_t n = rows - r < W ? rows - r : W;
        vf v[W];
        for (int64_t i = 0; i < W; i++) v[i] = i < n ? row_lanes(x + (r + i) * x_row, cols) : all(0.0f);
        store_part(out + r, tree_sum(v), part_of(n));
    }
}

static void row_max(int64_t rows, int64_t cols, const float *x, int64_t x_row, float *out) {
    for (int64_t r = 0; r < rows; r += W) {
        int64_t n = rows - r < W ? rows - r : W;
        vf v[W];
        for (int64_t i = 0; i < W; i++) v[i] = i < n ? row_high(x + (r + i) * x_row, cols) : all(0.0f);
        store_part(out + r, tree_max(v), part_of(n));
    }
}

// The first place of the maximum; a NaN counts as the maximum.
static int32_t first_of(const float *x, int64_t cols, float value) {
    for (int64_t c = 0; c < cols; c += W) {
        vf v = cols - c < W ? load_part(x + c, part_of(cols - c)) : load(x + c);
        unsigned hit = lanes(equal(v, all(value))) | lanes(is_nan(v));
        if (hit) return (int32_t)c + __builtin_ctz(hit);
    }
    return 0;
}

static void row_argmax(int64_t rows, int64_t cols, const float *x, int64_t x_row, float *out) {
    for (int64_t r = 0; r < rows; r++) {
        float value;
        row_max(1, cols, x + r * x_row, 0, &value);
        int32_t place = first_of(x + r * x_row, cols, value);
        memcpy(out + r, &place, sizeof place);
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
              [VEC_COPY] = each_f_copy, [VEC_SCALE] = each_f_scale, [VEC_SHIFT] = each_f_shift},
    .binary = {[VEC_ADD] = FORMS(g_add), [VEC_SUB] = FORMS(g_sub), [VEC_MUL] = FORMS(g_mul), [VEC_DIV] = FORMS(g_div)},
    .row_sum = row_sum,
    .row_max = row_max,
    .row_argmax = row_argmax,
    .sum_rows = sum_rows,
};

// dnn_isa.c: pooling, transposes and convolution gradients for few channels, vectorised over channels.
//
// Compiled once per instruction set (ISA names it); GCC's vector types give one source for all widths.
#include "dnn_isa.h"

#include <string.h>
#if defined ISA_avx512
#include <immintrin.h>
#endif

#if defined ISA_avx512
enum { WIDTH = 64 };
#elif defined ISA_avx2
enum { WIDTH = 32 };
#else
enum { WIDTH = 16 };
#endif
enum { LANES = WIDTH / 4 };

typedef float vf __attribute__((vector_size(WIDTH)));
typedef int32_t vi __attribute__((vector_size(WIDTH)));
#ifndef ISA_avx512
typedef unsigned char vb __attribute__((vector_size(LANES)));
#endif
typedef float v8 __attribute__((vector_size(32)));

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")  // register arrays need constant indices

// ---- vectors, whole or in part

INLINE vf load(const float *p) {
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

// The first `count` lanes only, zeros in the others; count > 0 may exceed LANES.
#if defined ISA_avx512
INLINE __mmask16 first(int count) {
    return (__mmask16)(count >= LANES ? 0xffff : (1 << count) - 1);
}

INLINE vf load_some(const float *p, int count) {
    return (vf)_mm512_maskz_loadu_ps(first(count), p);
}

INLINE void store_some(float *p, vf v, int count) {
    _mm512_mask_storeu_ps(p, first(count), (__m512)v);
}

INLINE vi load_bytes(const unsigned char *p, int count) {
    return (vi)_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(first(count), p));
}

INLINE void store_bytes(unsigned char *p, vi v, int count) {
    _mm512_mask_cvtepi32_storeu_epi8(p, first(count), (__m512i)v);
}
#else
INLINE vf load_some(const float *p, int count) {
    if (count >= LANES) return load(p);
    vf v = {0};
    memcpy(&v, p, (size_t)count * sizeof *p);
    return v;
}

INLINE void store_some(float *p, vf v, int count) {
    memcpy(p, &v, count >= LANES ? sizeof v : (size_t)count * sizeof *p);
}

INLINE vi load_bytes(const unsigned char *p, int count) {
    vb b = {0};
    memcpy(&b, p, count >= LANES ? sizeof b : (size_t)count);
    return __builtin_convertvector(b, vi);
}

INLINE void store_bytes(unsigned char *p, vi v, int count) {
    vb b = __builtin_convertvector(v, vb);
    memcpy(p, &b, count >= LANES ? sizeof b : (size_t)count);
}
#endif

INLINE vi choose_int(vi mask, vi yes, vi no) {
    return (mask & yes) | (~mask & no);
}

INLINE vf choose(vi mask, vf yes, vf no) {
    return (vf)choose_int(mask, (vi)yes, (vi)no);
}

// ---- max pooling

// The walk all three share: every window of every example, channels in vectors. `at` is the window's first
// element in the large tensor, `out` its place in the small one.
#define EACH_WINDOW(BODY)                                                                          \
    const int64_t down = (int64_t)width * channels;                                                \
    const int rows = height / k, cols = width / k;                                                 \
    for (int64_t e = 0; e < n; e++)                                                                \
        for (int64_t r = 0; r < rows; r++)                                                         \
            for (int64_t q = 0; q < cols; q++)                                                     \
                for (int c = 0; c < channels; c += LANES) {                                        \
                    const int64_t at = ((e * height + r * k) * width + q * k) * channels + c;      \
                    const int64_t out = ((e * rows + r) * cols + q) * channels + c;                \
                    const int count = channels - c;                                                \
                    BODY                                                                           \
                }

// k is a constant at the usual calls, so the window's loops unroll.
INLINE void argmax_windows(const float *x, int n, int height, int width, int channels, int k, float *y,
                                  unsigned char *index) {
    EACH_WINDOW({
        vf best = load_some(x + at, count);
        vi place = {0};
        for (int i = 0; i < k; i++)
            for (int j = 0; j < k; j++) {
                vf v = load_some(x + at + i * down + j * channels, count);
                // Greater, or not a number; but nothing follows a NaN.
                vi better = ~(v <= best) & (best == best);
                best = choose(better, v, best);
                place = choose_int(better, (vi){0} + (i * k + j), place);
            }
        if (y) store_some(y + out, best, count);
        if (index) store_bytes(index + out, place, count);
    })
}

INLINE void gather_windows(const float *x, const unsigned char *index, int n, int height, int width,
                                  int channels, int k, float *y) {
    EACH_WINDOW({
        vi place = load_bytes(index + out, count);
        vf v = {0};
        for (int i = 0; i < k; i++)
            for (int j = 0; j < k; j++)
                v = choose(place == i * k + j, load_some(x + at + i * down + j * channels, count), v);
        store_some(y + out, v, count);
    })
}

INLINE void scatter_windows(const float *v, const unsigned char *index, int n, int height, int width,
                                   int channels, int k, float *dx) {
    EACH_WINDOW({
        vi place = load_bytes(index + out, count);
        vi value = (vi)load_some(v + out, count);
        for (int i = 0; i < k; i++)
            for (int j = 0; j < k; j++)
                store_some(dx + at + i * down + j * channels, (vf)((place == i * k + j) & value), count);
    })
    // Rows and columns that no window covers.
    const int64_t right = (int64_t)(width - cols * k) * channels;
    for (int64_t e = 0; e < n; e++) {
        float *image = dx + e * height * down;
        if (right)
            for (int64_t r = 0; r < (int64_t)rows * k; r++)
                memset(image + (r + 1) * down - right, 0, (size_t)right * sizeof *image);
        memset(image + (int64_t)rows * k * down, 0, (size_t)((height - rows * k) * down) * sizeof *image);
    }
}

static void pool_argmax(const float *x, int n, int height, int width, int channels, int k, float *y,
                        unsigned char *index) {
    if (k == 2) argmax_windows(x, n, height, width, channels, 2, y, index);
    else argmax_windows(x, n, height, width, channels, k, y, index);
}

static void pool_gather(const float *x, const unsigned char *index, int n, int height, int width, int channels, int k,
                        float *y) {
    if (k == 2) gather_windows(x, index, n, height, width, channels, 2, y);
    else gather_windows(x, index, n, height, width, channels, k, y);
}

static void pool_scatter(const float *v, const unsigned char *index, int n, int height, int width, int channels,
                         int k, float *dx) {
    if (k == 2) scatter_windows(v, index, n, height, width, channels, 2, dx);
    else scatter_windows(v, index, n, height, width, channels, k, dx);
}

// ---- transposes

// An 8 x 8 tile in three rounds: pairs of rows, quads, halves.
INLINE void transpose_tile(const float *x, int64_t x_row, float *y, int64_t y_row) {
    v8 a[8], b[8];
    UNROLL for (int i = 0; i < 8; i++) memcpy(&a[i], x + i * x_row, sizeof a[i]);
    UNROLL for (int i = 0; i < 8; i += 2) {
        b[i] = __builtin_shufflevector(a[i], a[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
        b[i + 1] = __builtin_shufflevector(a[i], a[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
    }
    UNROLL for (int i = 0; i < 8; i += 4)
        for (int j = i; j < i + 2; j++) {
            a[j] = __builtin_shufflevector(b[j], b[j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            a[j + 2] = __builtin_shufflevector(b[j], b[j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    UNROLL for (int j = 0; j < 4; j++) {
        b[j] = __builtin_shufflevector(a[j], a[j + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        b[j + 4] = __builtin_shufflevector(a[j], a[j + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
    UNROLL for (int i = 0; i < 8; i++) memcpy(y + i * y_row, &b[i], sizeof b[i]);
}

static void transpose(const float *x, int n, int64_t rows, int64_t cols, float *y) {
    const int64_t whole_rows = rows / 8 * 8, whole_cols = cols / 8 * 8;
    if (rows == 1 || cols == 1) {
        memcpy(y, x, (size_t)(n * rows * cols) * sizeof *x);
        return;
    }
    for (int e = 0; e < n; e++, x += rows * cols, y += rows * cols) {
        for (int64_t c = 0; c < whole_cols; c += 8)
            for (int64_t r = 0; r < whole_rows; r += 8) transpose_tile(x + r * cols + c, cols, y + c * rows + r, rows);
        for (int64_t c = 0; c < cols; c++)
            for (int64_t r = c < whole_cols ? whole_rows : 0; r < rows; r++) y[c * rows + r] = x[r * cols + c];
    }
}

// ---- convolutions of few channels: their input gradient, dx[p, c] = sum over taps t of dy[p - t, :] . w[c, t, :]

// out[i]: the sum of a[i]'s lanes.
INLINE void sum_lanes(const vf a[8], float out[8]) {
    v8 b[8];
    UNROLL for (int i = 0; i < 8; i++) {
#if defined ISA_avx512
        b[i] = __builtin_shufflevector(a[i], a[i], 0, 1, 2, 3, 4, 5, 6, 7) +
               __builtin_shufflevector(a[i], a[i], 8, 9, 10, 11, 12, 13, 14, 15);
#elif defined ISA_avx2
        b[i] = a[i];
#else
        b[i] = __builtin_shufflevector(a[i], (vf){0}, 0, 1, 2, 3, 4, 5, 6, 7);
#endif
    }
    UNROLL for (int i = 0; i < 4; i++)
        b[i] = __builtin_shufflevector(b[2 * i], b[2 * i + 1], 0, 8, 2, 10, 4, 12, 6, 14) +
               __builtin_shufflevector(b[2 * i], b[2 * i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
    UNROLL for (int i = 0; i < 2; i++)
        b[i] = __builtin_shufflevector(b[2 * i], b[2 * i + 1], 0, 1, 8, 9, 4, 5, 12, 13) +
               __builtin_shufflevector(b[2 * i], b[2 * i + 1], 2, 3, 10, 11, 6, 7, 14, 15);
    b[0] = __builtin_shufflevector(b[0], b[1], 0, 1, 2, 3, 8, 9, 10, 11) +
           __builtin_shufflevector(b[0], b[1], 4, 5, 6, 7, 12, 13, 14, 15);
    memcpy(out, &b[0], sizeof b[0]);
}

// A tap that meets a row of dx: its weights [O], and the first place's partner in dy.
struct tap {
    const float *weight, *dy;
};

// Places of one row of dx, `stride` apart, meet the same taps, and neighbours of dy meet each tap: a weight is
// loaded once for eight.
INLINE void dx_block(const struct tap *tap, int taps, int64_t from, int O, float out[8]) {
    vf sum[8] = {{0}};
    for (int i = 0; i < taps; i++) {
        const float *w = tap[i].weight, *g = tap[i].dy + from;
        int o = 0;
        for (; o + LANES <= O; o += LANES) {
            const vf weight = load(w + o);
            UNROLL for (int p = 0; p < 8; p++) sum[p] += load(g + p * O + o) * weight;
        }
        if (o < O) {
            const vf weight = load_some(w + o, O - o);
            UNROLL for (int p = 0; p < 8; p++) sum[p] += load_some(g + p * O + o, O - o) * weight;
        }
    }
    sum_lanes(sum, out);
}

static void narrow_dx(const struct dnn_shape *s, const float *dy, const float *w, float *dx, float *lines) {
    const int C = s->channels, O = s->out_channels, kh = s->kernel_height, kw = s->kernel_width;
    const int64_t line = dnn_narrow_line(s), length = (int64_t)s->out_width * O;
    float *const zero = lines + (int64_t)(kw - 1) * O;  // dy's column 0
    struct tap tap[DNN_NARROW_TAPS];
    memset(lines, 0, (size_t)(kh * line) * sizeof *lines);
    for (int e = 0; e < s->examples; e++, dy += s->out_height * length)
        for (int r = 0, ready = 0; r < s->height; r++, dx += (int64_t)s->width * C) {
            // Row q of dy lies in line q % kh until q + kh takes its place.
            const int last = (r + s->padding) / s->stride;
            for (; ready <= last && ready < s->out_height; ready++)
                memcpy(zero + ready % kh * line, dy + ready * length, (size_t)length * sizeof *dy);
            for (int c = 0; c < C; c++)
                for (int phase = 0; phase < s->stride; phase++) {
                    int taps = 0;
                    for (int i = (r + s->padding) % s->stride, q = last; i < kh && q >= 0; i += s->stride, q--)
                        for (int j = (phase + s->padding) % s->stride; q < s->out_height && j < kw; j += s->stride)
                            tap[taps++] = (struct tap){
                                .weight = w + ((int64_t)(c * kh + i) * kw + j) * O,
                                .dy = zero + q % kh * line + (int64_t)((phase + s->padding - j) / s->stride) * O,
                            };
                    for (int first = phase, block = 0; first < s->width; first += 8 * s->stride, block++) {
                        float eight[8];
                        if (O == 32) dx_block(tap, taps, (int64_t)block * 8 * 32, 32, eight);
                        else dx_block(tap, taps, (int64_t)block * 8 * O, O, eight);
                        for (int p = 0, at = first; p < 8 && at < s->width; p++, at += s->stride) dx[at * C + c] = eight[p];
                    }
                }
        }
}

// ---- and their forward pass and weight gradient, on rows of x with their padding around
//
// A tap is one of the kernel's kh kw C places: its element of x lies at a fixed distance from its window's first.
// AHEAD windows times STEP outputs stay in registers while the taps go by, or TAPS taps while the windows do.

enum {
    VECTORS = WIDTH == 64 ? 2 : 1,
    STEP = VECTORS * LANES,
    AHEAD = 7,  // divides 28, 14 and 7
    TAPS = 9,
};

// The example with its padding, or the example itself where it has none.
static const float *pad(const struct dnn_shape *s, const float *x, float *padded) {
    if (!s->padding) return x;
    const size_t line = (size_t)s->width * s->channels, margin = (size_t)s->padding * s->channels;
    float *out = padded;
    memset(out, 0, s->padding * (line + 2 * margin) * sizeof *out), out += s->padding * (line + 2 * margin);
    for (int r = 0; r < s->height; r++, x += line) {
        memset(out, 0, margin * sizeof *out), out += margin;
        memcpy(out, x, line * sizeof *out), out += line;
        memset(out, 0, margin * sizeof *out), out += margin;
    }
    memset(out, 0, s->padding * (line + 2 * margin) * sizeof *out);
    return padded;
}

// `count` neighbouring windows times STEP outputs, of which `width` exist.
INLINE void forward_block(const struct dnn_shape *s, const float *x, int64_t line, const float *w, int64_t panels,
                                 const float *bias, bool relu, float *y, int count, int width) {
    const int across = s->stride * s->channels, run = s->kernel_width * s->channels;
    vf sum[AHEAD][VECTORS];
    UNROLL for (int v = 0; v < VECTORS; v++) {
        const vf start = bias && v * LANES < width ? load_some(bias + v * LANES, width - v * LANES) : (vf){0};
        UNROLL for (int p = 0; p < count; p++) sum[p][v] = start;
    }
    for (int i = 0; i < s->kernel_height; i++)
        for (int j = 0; j < run; j++, w += panels) {
            const float *from = x + i * line + j;
            vf weight[VECTORS];
            UNROLL for (int v = 0; v < VECTORS; v++) weight[v] = load(w + v * LANES);
            UNROLL for (int p = 0; p < count; p++)
                UNROLL for (int v = 0; v < VECTORS; v++) sum[p][v] += from[p * across] * weight[v];
        }
    UNROLL for (int p = 0; p < count; p++)
        UNROLL for (int v = 0; v < VECTORS; v++) {
            // A NaN stays one.
            if (relu) sum[p][v] = (vf)(~(sum[p][v] <= 0) & (vi)sum[p][v]);
            if (v * LANES < width) store_some(y + (int64_t)p * s->out_channels + v * LANES, sum[p][v], width - v * LANES);
        }
}

static void narrow_forward(const struct dnn_shape *s, const float *x, const float *w, const float *bias, bool relu,
                           float *y, float *padded) {
    const int C = s->channels, O = s->out_channels, Q = s->out_width;
    const int64_t line = (int64_t)(s->width + 2 * s->padding) * C, panels = dnn_narrow_panels(s);
    for (int e = 0; e < s->examples; e++) {
        const float *image = pad(s, x, padded);
        for (int r = 0; r < s->out_height; r++)
            for (int o = 0; o < O; o += STEP) {
                const float *from = image + r * s->stride * line, *b = bias ? bias + o : NULL;
                float *to = y + (int64_t)r * Q * O + o;
                const int width = O - o, across = s->stride * C;
                int q = 0;
                for (; q + AHEAD <= Q; q += AHEAD) {
                    const float *first = from + q * across;
                    if (width >= STEP) forward_block(s, first, line, w + o, panels, b, relu, to + q * O, AHEAD, STEP);
                    else forward_block(s, first, line, w + o, panels, b, relu, to + q * O, AHEAD, width);
                }
                for (; q < Q; q++)
                    forward_block(s, from + q * across, line, w + o, panels, b, relu, to + q * O, 1, width);
            }
        x += (int64_t)s->height * s->width * C;
        y += (int64_t)s->out_height * Q * O;
    }
}

// TAPS taps of one example's weight gradient, added to dw; with `bias` the sum of dy too.
INLINE void dw_block(const struct dnn_shape *s, const float *x, int64_t line, const int64_t *tap, const float *dy,
                            float *const *dw, float *bias, int width) {
    const int across = s->stride * s->channels;
    vf sum[TAPS][VECTORS], total[VECTORS];
    UNROLL for (int v = 0; v < VECTORS; v++) {
        UNROLL for (int t = 0; t < TAPS; t++) sum[t][v] = load(dw[t] + v * LANES);
        total[v] = bias ? load(bias + v * LANES) : (vf){0};
    }
    for (int r = 0; r < s->out_height; r++) {
        const float *from = x + r * s->stride * line;
        for (int q = 0; q < s->out_width; q++, from += across, dy += s->out_channels) {
            vf g[VECTORS];
            UNROLL for (int v = 0; v < VECTORS; v++) {
                g[v] = v * LANES < width ? load_some(dy + v * LANES, width - v * LANES) : (vf){0};
                if (bias) total[v] += g[v];
            }
            UNROLL for (int t = 0; t < TAPS; t++)
                UNROLL for (int v = 0; v < VECTORS; v++) sum[t][v] += from[tap[t]] * g[v];
        }
    }
    UNROLL for (int v = 0; v < VECTORS; v++) {
        UNROLL for (int t = 0; t < TAPS; t++) store_some(dw[t] + v * LANES, sum[t][v], LANES);
        if (bias) store_some(bias + v * LANES, total[v], LANES);
    }
}

static void narrow_dw(const struct dnn_shape *s, const float *x, float *dw, const float *dy, float *padded) {
    const int C = s->channels, O = s->out_channels, run = s->kernel_width * C, taps = s->kernel_height * run;
    const int64_t line = (int64_t)(s->width + 2 * s->padding) * C, panels = dnn_narrow_panels(s);
    float spare[STEP];
    float *const bias = dw + taps * panels;
    memset(dw, 0, (size_t)((taps + 1) * panels) * sizeof *dw);
    for (int e = 0; e < s->examples; e++) {
        const float *image = pad(s, x, padded);
        for (int o = 0; o < O; o += STEP)
            for (int t = 0; t < taps; t += TAPS) {
                int64_t tap[TAPS];
                float *at[TAPS];
                for (int i = 0; i < TAPS; i++) {
                    const bool is = t + i < taps;
                    tap[i] = is ? (t + i) / run * line + (t + i) % run : 0;
                    at[i] = is ? dw + (t + i) * panels + o : spare;
                }
                if (t + TAPS > taps) memset(spare, 0, sizeof spare);
                if (O - o >= STEP && t) dw_block(s, image, line, tap, dy + o, at, NULL, STEP);
                else if (O - o >= STEP) dw_block(s, image, line, tap, dy + o, at, bias + o, STEP);
                else dw_block(s, image, line, tap, dy + o, at, t ? NULL : bias + o, O - o);
            }
        x += (int64_t)s->height * s->width * C;
        dy += (int64_t)s->out_height * s->out_width * O;
    }
}

#define NAME_(isa) dnn_loops_##isa
#define NAME(isa) NAME_(isa)
const struct dnn_loops NAME(ISA) = {
    .pool_argmax = pool_argmax,
    .pool_gather = pool_gather,
    .pool_scatter = pool_scatter,
    .transpose = transpose,
    .narrow_forward = narrow_forward,
    .narrow_dx = narrow_dx,
    .narrow_dw = narrow_dw,
};

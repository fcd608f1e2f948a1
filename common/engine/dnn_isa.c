// dnn_isa.c: pooling, transposes and convolution gradients for few channels, vectorised over channels.
//
// Compiled once per instruction set (ISA names it); GCC's vector types give one source for all widths.
#include "dnn_isa.h"

#include <string.h>

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
typedef unsigned char vb __attribute__((vector_size(LANES)));
typedef float v8 __attribute__((vector_size(32)));

// ---- vectors, whole or in part

static inline vf load(const float *p)
{
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline vf load_some(const float *p, int count)
{
    if (count >= LANES) return load(p);
    vf v = {0};
    memcpy(&v, p, (size_t)count * sizeof *p);
    return v;
}

static inline void store_some(float *p, vf v, int count)
{
    memcpy(p, &v, count >= LANES ? sizeof v : (size_t)count * sizeof *p);
}

static inline vi load_bytes(const unsigned char *p, int count)
{
    vb b = {0};
    memcpy(&b, p, count >= LANES ? sizeof b : (size_t)count);
    return __builtin_convertvector(b, vi);
}

static inline void store_bytes(unsigned char *p, vi v, int count)
{
    vb b = __builtin_convertvector(v, vb);
    memcpy(p, &b, count >= LANES ? sizeof b : (size_t)count);
}

static inline vi choose_int(vi mask, vi yes, vi no)
{
    return (mask & yes) | (~mask & no);
}

static inline vf choose(vi mask, vf yes, vf no)
{
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
static inline void argmax_windows(const float *x, int n, int height, int width, int channels, int k, float *y,
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

static inline void gather_windows(const float *x, const unsigned char *index, int n, int height, int width,
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

static inline void scatter_windows(const float *v, const unsigned char *index, int n, int height, int width,
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
static inline void transpose_tile(const float *x, int64_t x_row, float *y, int64_t y_row)
{
    v8 a[8], b[8];
    for (int i = 0; i < 8; i++) memcpy(&a[i], x + i * x_row, sizeof a[i]);
    for (int i = 0; i < 8; i += 2) {
        b[i] = __builtin_shufflevector(a[i], a[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
        b[i + 1] = __builtin_shufflevector(a[i], a[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = i; j < i + 2; j++) {
            a[j] = __builtin_shufflevector(b[j], b[j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            a[j + 2] = __builtin_shufflevector(b[j], b[j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int j = 0; j < 4; j++) {
        b[j] = __builtin_shufflevector(a[j], a[j + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        b[j + 4] = __builtin_shufflevector(a[j], a[j + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
    for (int i = 0; i < 8; i++) memcpy(y + i * y_row, &b[i], sizeof b[i]);
}

static void transpose(const float *x, int n, int64_t rows, int64_t cols, float *y)
{
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

// ---- convolutions of few channels: dx[p, c] = sum over taps t of dy[p - t, :] . w[c, t, :]

// out[i]: the sum of a[i]'s lanes.
static inline void sum_lanes(const vf a[8], float out[8])
{
    v8 b[8];
    for (int i = 0; i < 8; i++) {
#if defined ISA_avx512
        b[i] = __builtin_shufflevector(a[i], a[i], 0, 1, 2, 3, 4, 5, 6, 7) +
               __builtin_shufflevector(a[i], a[i], 8, 9, 10, 11, 12, 13, 14, 15);
#elif defined ISA_avx2
        b[i] = a[i];
#else
        b[i] = __builtin_shufflevector(a[i], (vf){0}, 0, 1, 2, 3, 4, 5, 6, 7);
#endif
    }
    for (int i = 0; i < 4; i++)
        b[i] = __builtin_shufflevector(b[2 * i], b[2 * i + 1], 0, 8, 2, 10, 4, 12, 6, 14) +
               __builtin_shufflevector(b[2 * i], b[2 * i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
    for (int i = 0; i < 2; i++)
        b[i] = __builtin_shufflevector(b[2 * i], b[2 * i + 1], 0, 1, 8, 9, 4, 5, 12, 13) +
               __builtin_shufflevector(b[2 * i], b[2 * i + 1], 2, 3, 10, 11, 6, 7, 14, 15);
    b[0] = __builtin_shufflevector(b[0], b[1], 0, 1, 2, 3, 8, 9, 10, 11) +
           __builtin_shufflevector(b[0], b[1], 4, 5, 6, 7, 12, 13, 14, 15);
    memcpy(out, &b[0], sizeof b[0]);
}

// One place of dx: all taps that meet dy, one by one. w is channel c's.
static float dx_border(const struct dnn_shape *s, const float *dy, const float *w, int row, int col)
{
    const int O = s->out_channels;
    vf sum = {0};
    for (int i = 0; i < s->kernel_height; i++) {
        const int r = row + s->padding - i;
        if (r < 0 || r % s->stride || r / s->stride >= s->out_height) continue;
        for (int j = 0; j < s->kernel_width; j++) {
            const int q = col + s->padding - j;
            if (q < 0 || q % s->stride || q / s->stride >= s->out_width) continue;
            const float *g = dy + ((int64_t)(r / s->stride) * s->out_width + q / s->stride) * O;
            const float *t = w + ((int64_t)i * s->kernel_width + j) * O;
            for (int o = 0; o < O; o += LANES) sum += load_some(g + o, O - o) * load_some(t + o, O - o);
        }
    }
    float total = 0;
    for (int i = 0; i < LANES; i++) total += sum[i];
    return total;
}

// Eight neighbours of a row whose every column tap meets dy (stride 1): a weight is loaded once for eight.
static inline void dx_inside(const struct dnn_shape *s, const float *dy, const float *w, int row, int col, float out[8])
{
    const int O = s->out_channels;
    vf sum[8] = {{0}};
    for (int i = 0; i < s->kernel_height; i++) {
        const int r = row + s->padding - i;
        if (r < 0 || r >= s->out_height) continue;
        for (int j = 0; j < s->kernel_width; j++) {
            const float *g = dy + ((int64_t)r * s->out_width + col + s->padding - j) * O;
            const float *t = w + ((int64_t)i * s->kernel_width + j) * O;
            int o = 0;
            for (; o + LANES <= O; o += LANES) {
                const vf weight = load(t + o);
                for (int p = 0; p < 8; p++) sum[p] += load(g + p * O + o) * weight;
            }
            if (o < O) {
                const vf weight = load_some(t + o, O - o);
                for (int p = 0; p < 8; p++) sum[p] += load_some(g + p * O + o, O - o) * weight;
            }
        }
    }
    sum_lanes(sum, out);
}

static void narrow_dx(const struct dnn_shape *s, const float *dy, const float *w, float *dx)
{
    const int C = s->channels, O = s->out_channels;
    const int64_t filter = (int64_t)s->kernel_height * s->kernel_width * O;
    // Columns [from, to) see every tap.
    int from = s->kernel_width - 1 - s->padding, to = s->out_width - s->padding;
    if (from < 0) from = 0;
    if (to > s->width) to = s->width;
    if (s->stride != 1) to = from = 0;
    for (int e = 0; e < s->examples; e++) {
        for (int row = 0; row < s->height; row++)
            for (int c = 0; c < C; c++) {
                float *out = dx + (int64_t)row * s->width * C + c;
                const float *filters = w + c * filter;
                int col = 0;
                for (; col < from && col < s->width; col++) out[(int64_t)col * C] = dx_border(s, dy, filters, row, col);
                for (; col + 8 <= to; col += 8) {
                    float eight[8];
                    dx_inside(s, dy, filters, row, col, eight);
                    for (int p = 0; p < 8; p++) out[(int64_t)(col + p) * C] = eight[p];
                }
                for (; col < s->width; col++) out[(int64_t)col * C] = dx_border(s, dy, filters, row, col);
            }
        dy += (int64_t)s->out_height * s->out_width * O;
        dx += (int64_t)s->height * s->width * C;
    }
}

#define NAME_(isa) dnn_loops_##isa
#define NAME(isa) NAME_(isa)
const struct dnn_loops NAME(ISA) = {
    .pool_argmax = pool_argmax,
    .pool_gather = pool_gather,
    .pool_scatter = pool_scatter,
    .transpose = transpose,
    .narrow_dx = narrow_dx,
};

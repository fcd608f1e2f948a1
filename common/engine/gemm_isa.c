// gemm_isa.c: the kernel of the matrix product, compiled for each instruction set.
//
// A tile of C, a few rows by a few vectors, stays in registers while k runs: c[r][v] += a[r] b[v], with a[r]
// broadcast from memory as it lies and b[v] from a strip (the outer-product form of K. Goto and R. van de
// Geijn, Anatomy of High-Performance Matrix Multiplication, ACM TOMS 34:3, 2008). A tile begins from the
// sums in C, so every element is one chain of (fused) multiply-adds from the first k to the last, however
// k, the rows and the columns are cut.
#include "gemm_isa.h"

#include <string.h>

// WIDTH: floats of a vector; ROWS x STRIPS: the largest tile whose sums fit the registers.
#if defined ISA_avx512
#include <immintrin.h>
enum { WIDTH = 16, ROWS = 8, STRIPS = 3 };
#elif defined ISA_avx2
enum { WIDTH = 8, ROWS = 6, STRIPS = 1 };
#else
enum { WIDTH = 4, ROWS = 2, STRIPS = 1 };
#endif
enum {
    LANES = GEMM_STRIP / WIDTH,           // vectors of a strip
    VECTORS = STRIPS * LANES,
    SQUARE = WIDTH == 16 ? 16 : 4,        // columns that pack_square turns
    LINE = 16,                            // of the cache, in floats
};

typedef float vec __attribute__((vector_size(4 * WIDTH)));
typedef float loose_vec __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
typedef int32_t ints __attribute__((vector_size(4 * WIDTH)));
typedef float quad __attribute__((vector_size(16)));
typedef float loose_quad __attribute__((vector_size(16), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

INLINE int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

// The first `count` floats at p (all of a vector where count >= WIDTH, none where it is <= 0), else zero.
INLINE vec load_part(const float *p, int count) {
#if defined ISA_avx512
    const __mmask16 mask = count >= 16 ? 0xffff : count <= 0 ? 0 : (1u << count) - 1;
    return (vec)_mm512_maskz_loadu_ps(mask, p);
#else
    vec v = {0};
    if (count >= WIDTH) return *(const loose_vec *)p;
    if (count > 0) memcpy(&v, p, 4 * (size_t)count);
    return v;
#endif
}

INLINE void store_part(float *p, int count, vec v) {
#if defined ISA_avx512
    const __mmask16 mask = count >= 16 ? 0xffff : count <= 0 ? 0 : (1u << count) - 1;
    _mm512_mask_storeu_ps(p, mask, (__m512)v);
#else
    if (count >= WIDTH) *(loose_vec *)p = v;
    else if (count > 0) memcpy(p, &v, 4 * (size_t)count);
#endif
}

// Only vectors of the last strip can be partial.
INLINE vec load_sum(const float *p, int v, int vectors, int columns) {
    if (v < vectors - LANES) return *(const loose_vec *)(p + v * WIDTH);
    return load_part(p + v * WIDTH, columns - v * WIDTH);
}

INLINE vec relu(vec x) {
    return (vec)((ints)x & ~(x < 0));  // NaN is not less than 0: it stays
}

// `fetch` lies what somebody will read soon, a line for every k, which comes while the sums run.
INLINE void tile(int rows, int strips, const struct gemm_block *g, const float *a, float *c, const float *fetch, int64_t stride) {
    const int vectors = strips * LANES, columns = g->columns;
    const int64_t row = g->a.row, col = g->a.col, step = g->b.step, strip = g->b.strip, ldc = g->ldc;
    const float *b = g->b.at;
    vec sum[ROWS][VECTORS];

    if (g->add) {
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int v = 0; v < vectors; v++) sum[r][v] = load_sum(c + r * ldc, v, vectors, columns);
    } else {
        UNROLL for (int r = 0; r < rows; r++) {
            UNROLL for (int v = 0; v < vectors; v++) sum[r][v] = (vec){0};
            UNROLL for (int i = 0; i < strips; i++) __builtin_prefetch(c + r * ldc + i * GEMM_STRIP, 1);
        }
    }

    const float *far = a + 4 * row;  // two pointers and three distances reach all rows: there are few registers
    for (int64_t k = g->k; k > 0; k--) {
        vec bv[VECTORS];
        UNROLL for (int v = 0; v < vectors; v++)
            bv[v] = *(const loose_vec *)(b + v / LANES * strip + v % LANES * WIDTH);
        UNROLL for (int r = 0; r < rows; r++) {
            const vec x = (r < 4 ? a : far)[r % 4 * row] - (vec){0};  // broadcast; x - 0 is x for every x
            UNROLL for (int v = 0; v < vectors; v++) sum[r][v] += x * bv[v];
        }
        a += col;
        far += col;
        __builtin_prefetch(fetch, 0, 2);
        fetch += stride;
        b += step;
    }

    if (g->bias)
        UNROLL for (int v = 0; v < vectors; v++) {
            const vec bias = load_sum(g->bias, v, vectors, columns);
            UNROLL for (int r = 0; r < rows; r++) sum[r][v] += bias;
        }
    if (g->relu)
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int v = 0; v < vectors; v++) sum[r][v] = relu(sum[r][v]);
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < vectors; v++) {
            float *p = c + r * ldc + v * WIDTH;
            if (v < vectors - LANES) *(loose_vec *)p = sum[r][v];
            else store_part(p, columns - v * WIDTH, sum[r][v]);
        }
}

#define TILE(rows, strips) \
    static void tile_##rows##x##strips(const struct gemm_block *g, const float *a, float *c, const float *fetch, int64_t stride) \
    { tile(rows, strips, g, a, c, fetch, stride); }
typedef void run_tile(const struct gemm_block *g, const float *a, float *c, const float *fetch, int64_t stride);

#if defined ISA_avx512
#define TILES(s) TILE(1, s) TILE(2, s) TILE(3, s) TILE(4, s) TILE(5, s) TILE(6, s) TILE(7, s) TILE(8, s)
#define NAMES(s) {tile_1x##s, tile_2x##s, tile_3x##s, tile_4x##s, tile_5x##s, tile_6x##s, tile_7x##s, tile_8x##s}
TILES(1)
TILES(2)
TILES(3)
static run_tile *const tiles[STRIPS][ROWS] = {NAMES(1), NAMES(2), NAMES(3)};
#elif defined ISA_avx2
TILE(1, 1) TILE(2, 1) TILE(3, 1) TILE(4, 1) TILE(5, 1) TILE(6, 1)
static run_tile *const tiles[STRIPS][ROWS] = {{tile_1x1, tile_2x1, tile_3x1, tile_4x1, tile_5x1, tile_6x1}};
#else
TILE(1, 1) TILE(2, 1)
static run_tile *const tiles[STRIPS][ROWS] = {{tile_1x1, tile_2x1}};
#endif

// The last rows are shared by two tiles: one of a single row would wait for its own sums.
INLINE int64_t next_tile(int64_t left) {
    return left >= 2 * ROWS ? ROWS : left > ROWS ? (left + 1) / 2 : left;
}

static void block(struct gemm_block *g) {
    const int strips = (g->columns + GEMM_STRIP - 1) / GEMM_STRIP;
    const float *a = g->a.at;
    int64_t fetched = g->next ? 0 : strips, rows;

    for (int64_t i = 0; i < g->m; i += rows) {
        rows = next_tile(g->m - i);
        for (int64_t line = 0; line < g->share; line += LINE)
            for (int64_t r = 0; r < rows; r++) __builtin_prefetch(a + r * g->a.row + g->soon + line, 0, 2);
        struct gemm_soon *later = g->later[0].tiles > 0 ? &g->later[0] : &g->later[1];
        const float *fetch = g->b.at;  // which costs nothing
        int64_t stride = g->b.step;
        if (fetched < strips) {  // a strip a tile
            fetch = g->next + fetched++ * g->b.strip;
        } else if (later->tiles-- > 0) {
            fetch = later->at;
            stride = later->step;
            later->at += later->next;
        }
        tiles[strips - 1][rows - 1](g, a, g->c + i * g->ldc, fetch, stride);
        a += g->tile ? g->tile : rows * g->a.row;
    }
}

// Copies A, whose rows lie side by side, tile by tile: each [k][ROWS].
static void gather(struct gemm_block *g, float *room) {
    enum { RUN = 8 };
    const struct gemm_matrix a = g->a;
    int64_t rows;

    g->a = (struct gemm_matrix){room, 1, ROWS};
    g->tile = ROWS * g->k;
    for (int64_t from = 0; from < g->k; from += RUN) {
        const int64_t to = least(from + RUN, g->k);
        float *tile = room;
        for (int64_t i = 0; i < g->m; i += rows, tile += g->tile) {
            rows = next_tile(g->m - i);
            for (int64_t k = from; k < to; k++)
                if (rows == ROWS) memcpy(tile + k * ROWS, a.at + i + k * a.col, sizeof(float) * ROWS);
                else memcpy(tile + k * ROWS, a.at + i + k * a.col, sizeof(float) * (size_t)rows);
        }
    }
}

// 4 k by SQUARE columns, which lie `col` apart, each contiguous in k: every lane of four turns a 4 x 4 square.
INLINE void pack_square(float *strip, const float *b, int64_t col) {
#if defined ISA_avx512
    __m512 row[4];
    UNROLL for (int r = 0; r < 4; r++) {
        const float *p = b + r * col;
        row[r] = _mm512_castps128_ps512(_mm_loadu_ps(p));
        row[r] = _mm512_insertf32x4(row[r], _mm_loadu_ps(p + 4 * col), 1);
        row[r] = _mm512_insertf32x4(row[r], _mm_loadu_ps(p + 8 * col), 2);
        row[r] = _mm512_insertf32x4(row[r], _mm_loadu_ps(p + 12 * col), 3);
    }
    const __m512 low = _mm512_unpacklo_ps(row[0], row[1]), low2 = _mm512_unpacklo_ps(row[2], row[3]);
    const __m512 high = _mm512_unpackhi_ps(row[0], row[1]), high2 = _mm512_unpackhi_ps(row[2], row[3]);
    _mm512_storeu_ps(strip, _mm512_shuffle_ps(low, low2, 0x44));
    _mm512_storeu_ps(strip + GEMM_STRIP, _mm512_shuffle_ps(low, low2, 0xee));
    _mm512_storeu_ps(strip + 2 * GEMM_STRIP, _mm512_shuffle_ps(high, high2, 0x44));
    _mm512_storeu_ps(strip + 3 * GEMM_STRIP, _mm512_shuffle_ps(high, high2, 0xee));
#else
    const quad x = *(const loose_quad *)b, y = *(const loose_quad *)(b + col);
    const quad z = *(const loose_quad *)(b + 2 * col), w = *(const loose_quad *)(b + 3 * col);
    const quad xy = __builtin_shufflevector(x, y, 0, 4, 1, 5), xy2 = __builtin_shufflevector(x, y, 2, 6, 3, 7);
    const quad zw = __builtin_shufflevector(z, w, 0, 4, 1, 5), zw2 = __builtin_shufflevector(z, w, 2, 6, 3, 7);

    *(loose_quad *)strip = __builtin_shufflevector(xy, zw, 0, 1, 4, 5);
    *(loose_quad *)(strip + GEMM_STRIP) = __builtin_shufflevector(xy, zw, 2, 3, 6, 7);
    *(loose_quad *)(strip + 2 * GEMM_STRIP) = __builtin_shufflevector(xy2, zw2, 0, 1, 4, 5);
    *(loose_quad *)(strip + 3 * GEMM_STRIP) = __builtin_shufflevector(xy2, zw2, 2, 3, 6, 7);
#endif
}

// Rows of B side by side: a few at a time, so that both sides are read and written in runs.
static void pack_rows(float *strips, int64_t stride, struct gemm_matrix b, int64_t k, int64_t n) {
    enum { RUN = 8 };
    for (int64_t from = 0; from < k; from += RUN) {
        const int64_t to = least(from + RUN, k);
        float *strip = strips;
        for (int64_t j = 0; j < n; j += GEMM_STRIP, strip += stride)
            for (int64_t kk = from; kk < to; kk++)
                UNROLL for (int v = 0; v < LANES; v++)
                    *(loose_vec *)(strip + kk * GEMM_STRIP + v * WIDTH) =
                        load_part(b.at + kk * b.row + j + v * WIDTH, (int)least(n - j, GEMM_STRIP) - v * WIDTH);
    }
}

static void pack(float *strips, int64_t stride, struct gemm_matrix b, int64_t k, int64_t n) {
    if (b.col == 1) {
        pack_rows(strips, stride, b, k, n);
        return;
    }
    for (int64_t j = 0; j < n; j += GEMM_STRIP, strips += stride) {
        const int columns = (int)least(n - j, GEMM_STRIP);
        const float *at = b.at + j * b.col;
        int64_t kk = 0;
        int q;
        if (columns < GEMM_STRIP) memset(strips, 0, sizeof(float) * GEMM_STRIP * (size_t)k);
        if (b.row == 1)
            for (; kk + 4 <= k; kk += 4) {
                for (q = 0; q + SQUARE <= columns; q += SQUARE) pack_square(strips + kk * GEMM_STRIP + q, at + kk + q * b.col, b.col);
                for (; q < columns; q++)
                    for (int i = 0; i < 4; i++) strips[(kk + i) * GEMM_STRIP + q] = at[kk + i + q * b.col];
            }
        for (; kk < k; kk++)
            for (q = 0; q < columns; q++) strips[kk * GEMM_STRIP + q] = at[kk * b.row + q * b.col];
    }
}

#define PASTE(a, b) a##b
#define NAME(isa) PASTE(gemm_kernel_, isa)
const struct gemm_kernel NAME(ISA) = {ROWS, STRIPS, block, gather, pack};

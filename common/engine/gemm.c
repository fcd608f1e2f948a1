// gemm.c: cuts a matrix product into blocks that stay in cache and picks the kernel for this machine.
//
// The sums over k are chains that pass through C from one block of k to the next (gemm_isa.c), so no cut
// changes a bit of the result.
#include "gemm.h"

#include <stdlib.h>
#include <string.h>

#include "gemm_isa.h"

enum {
    BLOCK_M = 256,
    BLOCK_K = 128,    // a strip's block of k, with a tile's rows of A, fits the first-level cache
    BLOCK_N = 480,    // BLOCK_K x BLOCK_N floats of packed B stay in the second
};

static const struct gemm_kernel *kernel(void)
{
    static const struct gemm_kernel *chosen;  // every thread finds the same
    const struct gemm_kernel *k = __atomic_load_n(&chosen, __ATOMIC_RELAXED);
    if (k) return k;

    const char *limit = getenv("ASSAY_ISA");
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    k = &gemm_kernel_baseline;
    if (avx2 && !(limit && strcmp(limit, "baseline") == 0)) k = &gemm_kernel_avx2;
    if (avx512 && !(limit && strcmp(limit, "avx512") != 0)) k = &gemm_kernel_avx512;
    __atomic_store_n(&chosen, k, __ATOMIC_RELAXED);
    return k;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

// Cuts `length` into equal pieces of at most `limit`.
static int64_t piece(int64_t length, int64_t limit)
{
    if (length <= limit) return length;
    const int64_t pieces = (length + limit - 1) / limit;
    return (length + pieces - 1) / pieces;
}

size_t gemm_packed_floats(int64_t k, int64_t n)
{
    return (size_t)((n + GEMM_STRIP - 1) / GEMM_STRIP * GEMM_STRIP * k);
}

size_t gemm_scratch(void)
{
    return sizeof(float) * BLOCK_K * (BLOCK_M + 8 + BLOCK_N);
}

void gemm_pack(float *packed, struct gemm_matrix b, int64_t k, int64_t n, int64_t from, int64_t to)
{
    b.at += from * b.col;
    kernel()->pack(packed + from * k, GEMM_STRIP * k, b, k, least(to, n) - from);
}

// Columns [from, to) of C over k in [begin, begin + k) of the `whole`; b is what was packed for `from` and `begin`.
static void product(const struct gemm_kernel *kern, int64_t m, int64_t begin, int64_t k, int64_t whole,
                    struct gemm_matrix a, const float *b, int64_t stride, float *c, int64_t ldc, int64_t from,
                    int64_t to, const struct gemm_tail *tail, float *room)
{
    const bool last = begin + k == whole;
    const int64_t rows = piece(m, BLOCK_M);

    for (int64_t i = 0; i < m; i += rows) {
        struct gemm_block g = {.m = least(rows, m - i), .k = k, .a = {a.at + i * a.row + begin * a.col, a.row, a.col},
                               .strip = stride, .b = b, .ldc = ldc,
                               .add = begin > 0 || (tail && tail->add), .relu = last && tail && tail->relu};
        if (a.row == 1 && a.col != 1 && to - from > 2 * GEMM_STRIP) kern->gather(&g, room);
        for (int64_t j = from; j < to; j += g.columns) {
            int64_t strips = (to - j + GEMM_STRIP - 1) / GEMM_STRIP;
            // Four strips are two pairs: one alone has too few sums to hide their latency.
            strips = strips == 4 && kern->strips == 3 ? 2 : least(strips, kern->strips);
            g.columns = (int)least(strips * GEMM_STRIP, to - j);
            g.c = c + i * ldc + j;
            g.bias = last && tail && tail->bias ? tail->bias + j : NULL;
            g.next = j + g.columns < to ? g.b + strips * stride : NULL;
            kern->block(&g);
            g.b += strips * stride;
        }
    }
}

void gemm_packed(int64_t m, int64_t n, int64_t k, struct gemm_matrix a, const float *packed, float *c, int64_t ldc,
                 int64_t from, int64_t to, const struct gemm_tail *tail, void *scratch)
{
    const struct gemm_kernel *kern = kernel();
    const int64_t step = piece(k, BLOCK_K);

    to = least(to, n);
    for (; from < to; from += BLOCK_N) {
        const int64_t end = least(from + BLOCK_N, to);
        int64_t begin = 0;
        do {
            const int64_t kk = least(step, k - begin);
            product(kern, m, begin, kk, k, a, packed + from * k + begin * GEMM_STRIP, GEMM_STRIP * k, c, ldc, from, end,
                    tail, scratch);
            begin += kk;
        } while (begin < k);
    }
}

void gemm_plain(int64_t m, int64_t n, int64_t k, struct gemm_matrix a, struct gemm_matrix b, float *c, int64_t ldc,
                const struct gemm_tail *tail, void *scratch)
{
    const struct gemm_kernel *kern = kernel();
    const int64_t step = piece(k, BLOCK_K);
    float *strips = scratch, *room = strips + BLOCK_K * BLOCK_N;

    for (int64_t from = 0; from < n; from += BLOCK_N) {
        const int64_t to = least(from + BLOCK_N, n);
        int64_t begin = 0;
        do {
            const int64_t kk = least(step, k - begin);
            const struct gemm_matrix rows = {b.at + begin * b.row + from * b.col, b.row, b.col};
            kern->pack(strips, GEMM_STRIP * kk, rows, kk, to - from);
            product(kern, m, begin, kk, k, a, strips, GEMM_STRIP * kk, c, ldc, from, to, tail, room);
            begin += kk;
        } while (begin < k);
    }
}

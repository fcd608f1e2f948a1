// gemm.c: cuts a matrix product into blocks that stay in cache and picks the kernel for this machine.
//
// The sums over k are chains that pass through C from one block of k to the next (gemm_isa.c), so no cut
// changes a bit of the result, and nor does the choice between B as it lies and B packed.
#include "gemm.h"

#include <string.h>

#include "../base/isa.h"
#include "gemm_isa.h"

enum {
    BLOCK_K = 128,  // three strips of B and a tile's rows of A fit the first-level cache
    BLOCK_N = 480,  // BLOCK_K x BLOCK_N of B, BLOCK_M x BLOCK_K of A and their part of C the second
    BLOCK_M = 256,
    LINE = 16,      // of the cache, in floats
    SLACK = 8,      // rows a gathered A may have beyond: its last tile is stored as if it were full
    SOME = 96,      // columns that do not repay the gathering of A
    FEW = 40,       // at most as many rows use B too seldom to repay its packing,
    FEWER = 8,      // though so few as these want it read in order, once, whatever the cost
};

static const struct gemm_kernel *kernel(void) {
    return ISA_PICK(gemm_kernel);
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

// Cuts `length` into equal pieces of at most `limit`.
static int64_t piece(int64_t length, int64_t limit) {
    if (length <= limit) return length;  // a division takes as long as a tile of attention
    const int64_t pieces = (length + limit - 1) / limit;
    return (length + pieces - 1) / pieces;
}

size_t gemm_packed_floats(int64_t k, int64_t n) {
    return (size_t)((n + GEMM_STRIP - 1) / GEMM_STRIP * GEMM_STRIP * k);
}

size_t gemm_scratch(void) {
    return sizeof(float) * BLOCK_K * (BLOCK_N + BLOCK_M + SLACK);
}

void gemm_pack(float *packed, struct gemm_matrix b, int64_t k, int64_t n, int64_t from, int64_t to) {
    b.at += from * b.col;
    kernel()->pack(packed + from * k, GEMM_STRIP * k, b, k, least(to, n) - from);
}

struct product {
    const struct gemm_kernel *kern;
    int64_t m, k;
    struct gemm_matrix a;
    float *c;
    int64_t ldc;
    const struct gemm_tail *tail;
    float *room;  // [BLOCK_M + SLACK][BLOCK_K] for A
    struct gemm_matrix b_later;  // what the next block of k reads of B, rows side by side; or NULL
};

// Lets the tiles of this block of k fetch the next block's A and B, where these have a row for every k. What lies in
// one piece comes at an even pace: with more lines on their way than the machine can await, what is needed now
// would have to wait too.
static void fetch_later(const struct product *p, struct gemm_block *g, int64_t columns) {
    const int64_t strips = (columns + GEMM_STRIP - 1) / GEMM_STRIP, wide[2] = {g->m, columns};
    struct gemm_matrix rows[2] = {{NULL, 0, 1}, p->b_later};
    int64_t tiles = (strips + p->kern->strips - 1) / p->kern->strips * (g->m / p->kern->rows) - strips, floats = 0;

    if (g->a.row == 1 && g->a.col != 1) rows[0] = (struct gemm_matrix){g->a.at + g->k * g->a.col, g->a.col, 1};
    for (int i = 0; i < 2; i++) {
        if (!rows[i].at) continue;
        if (rows[i].row == wide[i]) floats += wide[i] * g->k;
        else tiles -= (wide[i] + LINE - 1) / LINE;
    }
    const int64_t step = tiles > 0 ? least(floats / (tiles * g->k) + 1, LINE) : LINE;
    for (int i = 0; i < 2; i++) {
        if (!rows[i].at) continue;
        if (rows[i].row == wide[i]) g->later[i] = (struct gemm_soon){rows[i].at, step, step * g->k, wide[i] / step + 1};
        else g->later[i] = (struct gemm_soon){rows[i].at, rows[i].row, LINE, (wide[i] + LINE - 1) / LINE};
    }
}

// Columns [from, to) of C over k in [begin, begin + k); b: the strips of these columns and this k.
static void multiply(const struct product *p, int64_t begin, int64_t k, struct gemm_strips b, int64_t from, int64_t to) {
    const bool last = begin + k == p->k;
    const int64_t rows = piece(p->m, BLOCK_M);

    for (int64_t i = 0; i < p->m; i += rows) {
        struct gemm_block g = {.m = least(rows, p->m - i), .k = k, .a = p->a, .b = b, .ldc = p->ldc,
                               .add = begin > 0 || p->tail->add, .relu = last && p->tail->relu};
        g.a.at += i * g.a.row + begin * g.a.col;
        if (!last) fetch_later(p, &g, to - from);
        if (g.a.row == 1 && g.a.col != 1 && to - from > SOME) p->kern->gather(&g, p->room);
        // Rows that lie far apart defeat the machine's own prefetching: each call fetches a share of the next block's.
        int64_t share = 0;
        if (!last && g.a.col == 1 && p->m <= BLOCK_M) {
            const int64_t calls = (to - from) / (GEMM_STRIP * p->kern->strips) + 1;
            share = (k / calls + GEMM_STRIP) / GEMM_STRIP * GEMM_STRIP;
        }
        for (int64_t j = from, soon = 0; j < to; j += g.columns, soon += share) {
            const int64_t left = (to - j + GEMM_STRIP - 1) / GEMM_STRIP;
            // Four strips are two pairs: one alone has too few sums to hide their latency.
            const int64_t strips = left == 4 && p->kern->strips == 3 ? 2 : least(left, p->kern->strips);
            g.columns = (int)least(strips * GEMM_STRIP, to - j);
            g.c = p->c + i * p->ldc + j;
            g.bias = last && p->tail->bias ? p->tail->bias + j : NULL;
            g.next = j + g.columns < to ? g.b.at + strips * b.strip : NULL;
            g.soon = k + soon;
            g.share = least(share, k - soon);
            p->kern->block(&g);
            g.b.at += strips * b.strip;
        }
    }
}

static const struct gemm_tail no_tail;

void gemm_packed(int64_t m, int64_t n, int64_t k, struct gemm_matrix a, const float *packed, float *c, int64_t ldc,
                 int64_t from, int64_t to, const struct gemm_tail *tail, void *scratch) {
    const struct product p = {kernel(), m, k, a, c, ldc, tail ? tail : &no_tail, scratch, {NULL, 0, 0}};
    const int64_t step = piece(k, BLOCK_K);

    to = least(to, n);
    for (; from < to; from += BLOCK_N) {
        int64_t begin = 0;
        do {  // once for k = 0: the tail of zeros
            const struct gemm_strips b = {packed + from * k + begin * GEMM_STRIP, GEMM_STRIP, GEMM_STRIP * k};
            multiply(&p, begin, least(step, k - begin), b, from, least(from + BLOCK_N, to));
            begin += step;
        } while (begin < k);
    }
}

void gemm_plain(int64_t m, int64_t n, int64_t k, struct gemm_matrix a, struct gemm_matrix b, float *c, int64_t ldc,
                const struct gemm_tail *tail, void *scratch) {
    float *const room = scratch, *const strips = room + (BLOCK_M + SLACK) * BLOCK_K;
    struct product p = {kernel(), m, k, a, c, ldc, tail ? tail : &no_tail, room, {NULL, 0, 0}};
    const int64_t step = piece(k, BLOCK_K);
    const bool as_it_lies = b.col == 1 && n % GEMM_STRIP == 0 && m <= FEW && m > FEWER;

    for (int64_t from = 0; from < n; from += BLOCK_N) {
        const int64_t to = least(from + BLOCK_N, n);
        int64_t begin = 0;
        do {
            const int64_t length = least(step, k - begin);
            const struct gemm_matrix part = {b.at + begin * b.row + from * b.col, b.row, b.col};
            if (as_it_lies) {
                multiply(&p, begin, length, (struct gemm_strips){part.at, b.row, GEMM_STRIP}, from, to);
            } else {
                if (b.col == 1) p.b_later = (struct gemm_matrix){part.at + length * b.row, b.row, 1};
                p.kern->pack(strips, GEMM_STRIP * length, part, length, to - from);
                multiply(&p, begin, length, (struct gemm_strips){strips, GEMM_STRIP, GEMM_STRIP * length}, from, to);
            }
            begin += step;
        } while (begin < k);
    }
}

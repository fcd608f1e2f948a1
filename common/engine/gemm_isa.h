// gemm_isa.h: between gemm.c and gemm_isa.c, which is compiled once per instruction set.
#ifndef ASSAY_ENGINE_GEMM_ISA_H
#define ASSAY_ENGINE_GEMM_ISA_H

#include "gemm.h"

// B is read in strips of 16 columns, one to four vectors wide whatever the instruction set. Packed strips are
// [k][16] without gaps, with zeros for the columns beyond n.
enum { GEMM_STRIP = 16 };

struct gemm_strips {
    const float *at;
    int64_t step, strip;     // floats from k to k + 1 and from strip to strip
};

// Memory that is read soon and fetched by `tiles` tiles: with every k `step` floats further, with every tile `next`.
struct gemm_soon {
    const float *at;
    int64_t step, next, tiles;
};

// C[m x columns] over one block of k, for a few strips side by side.
struct gemm_block {
    int64_t m, k;
    int columns;             // 1 .. GEMM_STRIP * gemm_kernel.strips
    struct gemm_matrix a;
    int64_t tile;            // from tile to tile of a gathered A, otherwise 0
    int64_t soon, share;     // fetch `share` floats of every row of A from a.at + `soon` on: the next block's
    struct gemm_strips b;
    const float *next;       // the strips of the next call, or NULL
    struct gemm_soon later[2];  // what the next block of k reads of A and B; the tiles count it down
    float *c;
    int64_t ldc;
    bool add;                // continue the sums that stand in C
    const float *bias;       // NULL, or one a column; bias and relu follow the last block of k
    bool relu;
};

struct gemm_kernel {
    int rows, strips;        // of a tile: the most
    void (*block)(struct gemm_block *g);
    // Copies A (a.row = 1) to where it is read in order, k times m rounded up to a tile, and points the block there.
    void (*gather)(struct gemm_block *g, float *room);
    // n columns of B into packed strips that begin `stride` floats apart.
    void (*pack)(float *strips, int64_t stride, struct gemm_matrix b, int64_t k, int64_t n);
};

extern const struct gemm_kernel gemm_kernel_baseline, gemm_kernel_avx2, gemm_kernel_avx512;

#endif

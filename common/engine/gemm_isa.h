// gemm_isa.h: private to gemm.c and gemm_isa.c, which is compiled once per instruction set.
#ifndef ASSAY_ENGINE_GEMM_ISA_H
#define ASSAY_ENGINE_GEMM_ISA_H

#include "gemm.h"

// B stands ready as strips of 16 columns, each [k][16] without gaps, zeros beyond column n: the same for
// every instruction set, one to four vectors wide.
enum { GEMM_STRIP = 16 };

// C[m x columns] over one block of k, for a few strips side by side.
struct gemm_block {
    int64_t m, k;
    int columns;             // 1 .. GEMM_STRIP * strips of the kernel
    struct gemm_matrix a;
    int64_t tile;            // where A was gathered: from tile to tile
    const float *b;          // row kk of strip s: b + s * strip + kk * GEMM_STRIP
    int64_t strip;
    const float *next;
    float *c;
    int64_t ldc;
    bool add;                // continue the sums that stand in C
    const float *bias;       // NULL or one a column; with relu, what follows the last block
    bool relu;
};

struct gemm_kernel {
    int strips;              // how many side by side
    void (*block)(const struct gemm_block *g);
    // Copies A of the block to where it is read in order: k times gemm_block.m rounded up to 8 floats.
    void (*gather)(struct gemm_block *g, float *room);
    // n columns of B into strips that begin `stride` floats apart.
    void (*pack)(float *strips, int64_t stride, struct gemm_matrix b, int64_t k, int64_t n);
};

extern const struct gemm_kernel gemm_kernel_baseline, gemm_kernel_avx2, gemm_kernel_avx512;

#endif

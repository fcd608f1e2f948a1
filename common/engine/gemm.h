// gemm.h: matrix products for one worker. C = A B with any strides; transposes are strides.
//
// Every element of C is one chain of multiply-adds from the first k to the last (fused for AVX2 and AVX-512),
// so it is the same bits whatever m, n, its position and its neighbours, and from gemm_plain as from gemm_packed.
// Instruction sets are chosen at run time as in vec.h. Any alignment will do; 64 bytes are fastest.
#ifndef ASSAY_ENGINE_GEMM_H
#define ASSAY_ENGINE_GEMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gemm_matrix {
    const float *at;
    int64_t row, col;  // strides in elements
};

// B (k x n) rearranged for the kernel; worth it where B is used often (a weight) or has awkward strides.
size_t gemm_packed_floats(int64_t k, int64_t n);
// Columns [from, to) of the packed form, `from` a multiple of GEMM_PANEL: workers can share the packing.
enum { GEMM_PANEL = 48 };
void gemm_pack(float *packed, struct gemm_matrix b, int64_t k, int64_t n, int64_t from, int64_t to);

// What goes with the product. All optional.
struct gemm_tail {
    bool add;            // C += instead of C =: the chain begins with C
    const float *bias;   // [n], added after the last k
    bool relu;           // at the very end; NaN stays
};

// C[m x n] (row stride ldc, columns contiguous) = A B for packed B; columns [from, to) only, as above.
void gemm_packed(int64_t m, int64_t n, int64_t k, struct gemm_matrix a, const float *packed, float *c, int64_t ldc,
                 int64_t from, int64_t to, const struct gemm_tail *tail, void *scratch);
// The same with B as it lies; packs what it needs into the scratch (small products take a short way).
void gemm_plain(int64_t m, int64_t n, int64_t k, struct gemm_matrix a, struct gemm_matrix b, float *c, int64_t ldc,
                const struct gemm_tail *tail, void *scratch);
size_t gemm_scratch(void);  // bytes a worker must lend, whatever the shapes

#endif

// vec_isa.h: the inner loops of vec.c, one table per instruction set. Private to vec.
//
// Every loop goes over [rows, cols] with the columns side by side and a stride (in elements) between rows;
// an input stride of 0 repeats a row. The output may be one of the inputs with the same stride.
#ifndef ASSAY_ENGINE_VEC_ISA_H
#define ASSAY_ENGINE_VEC_ISA_H

#include <stdint.h>
#include "vec.h"

typedef void vec_unary(int64_t rows, int64_t cols, const float *x, int64_t x_row, const struct vec_op *op, float *out,
                       int64_t out_row);

// How the operands of a binary op move along a row: element by element, or one number for the whole row.
enum vec_form { VEC_EACH_EACH, VEC_EACH_ONE, VEC_ONE_EACH, VEC_FORMS };
typedef void vec_binary(int64_t rows, int64_t cols, const float *x, int64_t x_row, const float *y, int64_t y_row,
                        const struct vec_op *op, float *out, int64_t out_row);
// The form of three: bits for the operands that move along the row.
enum { VEC_EACH_X = 1, VEC_EACH_Y = 2, VEC_EACH_Z = 4, VEC_TERNARY_FORMS = 8 };
typedef void vec_ternary(int64_t rows, int64_t cols, const float *x, int64_t x_row, const float *y, int64_t y_row,
                         const float *z, int64_t z_row, const struct vec_op *op, float *out, int64_t out_row);

typedef void vec_reduce(int64_t rows, int64_t cols, const float *x, int64_t x_row, float *out);

enum { VEC_LANES = 8 };  // running sums of a column of single numbers

struct vec_kernels {
    const char *name;
    vec_unary *unary[VEC_ROW_SUM];                   // by code; NULL for the others and for VEC_FILL
    vec_unary *affine[VEC_ROW_SUM];                  // with scales and shifts on both sides; NULL where there are none
    vec_binary *binary[VEC_MUL_SCALED + 1][VEC_FORMS];  // by code
    vec_ternary *mul_add[VEC_TERNARY_FORMS];         // none for 0
    void (*row_dot)(int64_t rows, int64_t cols, const float *x, int64_t x_row, const float *y, int64_t y_row, float *out);
    vec_reduce *row_sum, *row_max, *row_argmax;  // row_argmax writes int32
    // sum[c] = (begin ? 0 : sum[c]) + x[0][c] + x[1][c] + ... in this order
    void (*sum_rows)(int64_t rows, int64_t cols, const float *x, int64_t x_row, float *sum, bool begin);
    // total[c] = (begin ? 0 : total[c]) + chunk[c], and out[c] = total[c]
    void (*add_chunk)(int64_t cols, const float *chunk, double *total, bool begin);
    void (*write_sum)(int64_t cols, const double *total, float *out);
    // lane[i % VEC_LANES] += x[i], for a count that is a multiple of VEC_LANES
    void (*add_lanes)(int64_t count, const float *x, double *lane);
};

// The kind of an op's result, given its operands'.
enum vec_kind vec_kind_of(const struct vec_op *op, const unsigned char *kind);

extern const struct vec_kernels vec_kernels_baseline, vec_kernels_avx2, vec_kernels_avx512;

#endif

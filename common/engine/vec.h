// vec.h: fused elementwise programs for the CPU.
//
// A program runs over an index space [examples, rows, cols] a cache-sized block of rows at a time, so a
// chain such as softmax, layer norm or GELU with its reductions touches memory once. Every register is one
// of four kinds: FULL [row, col], ROW [row], COL [col], ONE. An op works on the smallest kind that holds
// its inputs. Registers live in the worker's scratch and never leave it; loads and stores do.
//
// The inner loops are compiled for AVX2+FMA and AVX-512 (and the baseline) and chosen at run time (isa.h).
// Each row's result depends on that row alone (and on COL and ONE inputs): same bits wherever it stands.
#ifndef ASSAY_ENGINE_VEC_H
#define ASSAY_ENGINE_VEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A kind is two bits: whether the value changes with the row, and with the column.
enum vec_kind { VEC_ONE, VEC_ROW, VEC_COL, VEC_FULL };

enum vec_code {
    // elementwise: out = f(x) or f(x, y)
    VEC_ADD, VEC_SUB, VEC_MUL, VEC_DIV,
    VEC_COMBINE,     // a x + b y
    VEC_GATE,        // y where x > 0, else 0
    VEC_MUL_SCALED,  // a x y
    VEC_MUL_ADD,     // a x y + b z
    VEC_NEG, VEC_EXP, VEC_LOG, VEC_SQRT, VEC_TANH, VEC_SIGMOID, VEC_ERF, VEC_RELU, VEC_STEP, VEC_SIGN, VEC_COPY,
    VEC_SCALE,       // a x
    VEC_SHIFT,       // x + a
    VEC_AFFINE,      // a x + b
    VEC_FILL,        // a (kind ONE)
    // along the row
    VEC_ROW_SUM,     // FULL -> ROW (a ROW or COL input is summed as if it were FULL)
    VEC_ROW_DOT,     // FULL or COL x and y -> ROW: the sum of x y
    VEC_ROW_MAX,     // FULL -> ROW
    VEC_ROW_ARGMAX,  // FULL -> ROW of int32 (the bits of the register), the first maximum; NaN counts as the maximum
    VEC_ROW_GATHER,  // x FULL or COL, y ROW int32 -> ROW: x[row][y[row]], 0 where there is no such column
    VEC_ROW_SCATTER, // x ROW, y ROW int32 -> FULL: x[row] where col == y[row], else 0
    VEC_CODES        // how many there are
};

struct vec_op {
    enum vec_code code;
    int x, y;     // registers; y is -1 where unused
    int out;      // a register not written before
    float a;      // VEC_SCALE, VEC_SHIFT, VEC_FILL, VEC_AFFINE, VEC_COMBINE, VEC_MUL_SCALED, VEC_MUL_ADD
    float b;
    int z;        // VEC_MUL_ADD's third register
    bool affine;  // VEC_EXP to VEC_ERF, VEC_STEP: c f(a x + b) + d instead of f(x)
    float c, d;
};

int vec_operands(const struct vec_op *op, int in[3]);  // how many registers it reads, and which

struct vec_load {
    int reg;
    bool by_row, by_col;  // FULL, ROW (by_row only), COL (by_col only; the same in every row of every example), ONE
};

enum vec_store_kind {
    VEC_STORE,          // the register as it is
    VEC_SUM_ROWS,       // per example: the sum over its rows -> [cols] (or one number for a ROW register)
    VEC_SUM_ALL,        // over all rows of all examples of this call -> [cols] (or one number)
};
struct vec_store {
    int reg;
    enum vec_store_kind kind;
};

struct vec_program {
    int ops, loads, stores, registers;
    struct vec_op *op;      // in an order that defines registers before use
    struct vec_load *load;
    struct vec_store *store;
    unsigned char *kind;    // per register: enum vec_kind, filled by vec_prepare
    // private to vec.c, filled by vec_prepare:
    int *slot;              // per register: its place in the scratch among those of its kind (dead ones share)
    int *last;              // per register: the last op that reads it, `ops` where a store does, -1 for nobody
    int slots[4];           // by kind
    int room;               // floats a FULL register may take
    bool row_ops;           // has an op that needs the whole row
};

// Fewer ops for the same result but for rounding: scales and shifts go into what they stand beside, a product
// into the sum behind it, so that two equal products cancel to rounding only; and a closed gate hides a NaN. `room`: ops
// that fit p->op. Before vec_prepare.
void vec_fuse(struct vec_program *p, int room);

// Infers the kind of every register and shares scratch between registers. Call once. vec_release frees it.
void vec_prepare(struct vec_program *p);
void vec_release(struct vec_program *p);

// Where an operand lies: element (e, r, c) is at[e * example + r * row + c * by_col]; strides in elements, 0 to repeat.
// (A ROW operand has one element a row; a load declared COL or ONE has example = row = 0. A load that is the
// same for every row of one example but differs between examples is declared FULL or ROW with row = 0.)
// Stores: VEC_STORE as above; VEC_SUM_ROWS: at[e * example + c]; VEC_SUM_ALL: at[c]. A COL or ONE register is
// stored once for every distinct (e, r) of the view: once in all where both strides are 0.
struct vec_view {
    float *at;
    int64_t example, row;
};

// Scratch bytes a worker needs for this program over rows of `cols` elements.
size_t vec_scratch(const struct vec_program *p, int64_t cols);
// Runs over all examples and rows. loads[i] and stores[i] belong to p->load[i] and p->store[i]. Stores may not
// overlap loads, except that a VEC_STORE may lie exactly on a load of the same strides.
void vec_run(const struct vec_program *p, const struct vec_view *loads, const struct vec_view *stores,
             int64_t examples, int64_t rows, int64_t cols, void *scratch);

#endif

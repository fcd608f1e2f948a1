// Speed of fused elementwise programs: nanoseconds per element, data in the cache of one core, best of many runs.
//     cc -O2 -D_GNU_SOURCE -Icommon -o bench_vec tests/bench/bench_vec.c build/libassay.a -lm && ./bench_vec
// ASSAY_ISA=avx2 or baseline shows the other loops.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "base/isa.h"
#include "engine/vec.h"

#define OP(name, in, other, to, number) {.code = VEC_##name, .x = in, .y = other, .out = to, .a = number}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// Runs a program whose loads and stores are all dense, best of 15 times about a millisecond each.
static double measure(struct vec_program *p, int64_t examples, int64_t rows, int64_t cols) {
    enum { MOST = 8 };
    struct vec_view in[MOST], out[MOST];
    vec_prepare(p);
    for (int i = 0; i < p->loads + p->stores; i++) {
        struct vec_view *v = i < p->loads ? &in[i] : &out[i - p->loads];
        const int kind = p->kind[i < p->loads ? p->load[i].reg : p->store[i - p->loads].reg];
        const bool sum = i >= p->loads && p->store[i - p->loads].kind != VEC_STORE;
        const int64_t wide = kind & VEC_COL ? cols : 1;
        *v = (struct vec_view){0};
        if (kind & VEC_ROW && !sum) v->row = wide, v->example = rows * wide;
        if (sum && p->store[i - p->loads].kind == VEC_SUM_ROWS) v->example = wide;
        const int64_t size = kind & VEC_ROW ? examples * rows * wide : wide;
        v->at = memory_take((size_t)size * sizeof(float));
        for (int64_t j = 0; j < size; j++) v->at[j] = (float)(j * 7919 % 1000) * 2e-3f + .1f;
    }
    void *scratch = memory_take(vec_scratch(p, cols));
    double best = 1e9;
    long calls = 1;
    for (int round = 0; round < 15; round++) {
        double start = now();
        for (long i = 0; i < calls; i++) vec_run(p, in, out, examples, rows, cols, scratch);
        double seconds = (now() - start) / (double)calls;
        if (seconds < best) best = seconds;
        if (round == 0) calls = 1 + (long)(1e-3 / seconds);
    }
    for (int i = 0; i < p->loads; i++) free(in[i].at);
    for (int i = 0; i < p->stores; i++) free(out[i].at);
    free(scratch);
    vec_release(p);
    return best * 1e9;
}

#define COUNT(a) (int)(sizeof(a) / sizeof *(a))
#define PROGRAM(regs, ...) \
    &(struct vec_program){.ops = COUNT(op), .loads = COUNT(load), .stores = COUNT(store), .registers = regs, .op = op, .load = load, .store = store}

static void show(const char *name, struct vec_program *p, int64_t examples, int64_t rows, int64_t cols) {
    double ns = measure(p, examples, rows, cols), n = (double)(examples * rows * cols);
    printf("%-24s [%3ld %4ld %4ld]  %7.3f ns/element  %8.1f ns/op and call\n", name, (long)examples, (long)rows, (long)cols, ns / n,
           ns / p->ops);
}

static void single(const char *name, enum vec_code code, int kind_y, int64_t examples, int64_t rows, int64_t cols) {
    struct vec_op op[] = {{.code = code, .y = kind_y < 0 ? -1 : 1, .out = 2, .a = 1.5f}};
    struct vec_load load[] = {{0, true, true}, {1, kind_y >= 0 && kind_y & VEC_ROW, kind_y >= 0 && kind_y & VEC_COL}};
    struct vec_store store[] = {{2, VEC_STORE}};
    show(name, PROGRAM(3), examples, rows, cols);
}

static void softmax(int64_t examples, int64_t rows, int64_t cols) {
    struct vec_op op[] = {OP(ROW_MAX, 0, -1, 1, 0), OP(SUB, 0, 1, 2, 0), OP(EXP, 2, -1, 3, 0), OP(ROW_SUM, 3, -1, 4, 0), OP(DIV, 3, 4, 5, 0)};
    struct vec_load load[] = {{0, true, true}};
    struct vec_store store[] = {{5, VEC_STORE}};
    show("softmax", PROGRAM(6), examples, rows, cols);
}

static void layer_norm(int64_t examples, int64_t rows, int64_t cols) {
    const float inverse = 1.0f / (float)cols;
    struct vec_op op[] = {
        OP(ROW_SUM, 0, -1, 3, 0), OP(SCALE, 3, -1, 4, inverse), OP(SUB, 0, 4, 5, 0),  OP(MUL, 5, 5, 6, 0),
        OP(ROW_SUM, 6, -1, 7, 0), OP(SCALE, 7, -1, 8, inverse), OP(SHIFT, 8, -1, 9, 1e-5f), OP(SQRT, 9, -1, 10, 0),
        OP(DIV, 5, 10, 11, 0),    OP(MUL, 11, 1, 12, 0),        OP(ADD, 12, 2, 13, 0)};
    struct vec_load load[] = {{0, true, true}, {1, false, true}, {2, false, true}};
    struct vec_store store[] = {{13, VEC_STORE}};
    show("layer norm", PROGRAM(14), examples, rows, cols);
}

static void gelu(int64_t examples, int64_t rows, int64_t cols) {
    struct vec_op op[] = {OP(ADD, 0, 1, 2, 0), OP(SCALE, 2, -1, 3, .70710678f), OP(ERF, 3, -1, 4, 0), OP(SHIFT, 4, -1, 5, 1), OP(MUL, 2, 5, 6, 0), OP(SCALE, 6, -1, 7, .5f)};
    struct vec_load load[] = {{0, true, true}, {1, false, true}};
    struct vec_store store[] = {{7, VEC_STORE}};
    show("bias + GELU", PROGRAM(8), examples, rows, cols);
}

static void sums(const char *name, enum vec_store_kind kind, int64_t examples, int64_t rows, int64_t cols) {
    struct vec_op op[] = {OP(MUL, 0, 1, 2, 0)};
    struct vec_load load[] = {{0, true, true}, {1, true, true}};
    struct vec_store store[] = {{2, kind}};
    show(name, PROGRAM(3), examples, rows, cols);
}

// The weights' step of Adam, without the bias corrections.
static void adam(int64_t cols) {
    struct vec_op op[] = {OP(SCALE, 0, -1, 4, .1f), OP(SCALE, 1, -1, 5, .9f), OP(ADD, 4, 5, 6, 0),   OP(MUL, 0, 0, 7, 0),
                          OP(SCALE, 7, -1, 8, .001f), OP(SCALE, 2, -1, 9, .999f), OP(ADD, 8, 9, 10, 0), OP(SQRT, 10, -1, 11, 0),
                          OP(SHIFT, 11, -1, 12, 1e-8f), OP(DIV, 6, 12, 13, 0), OP(SCALE, 13, -1, 14, 1e-3f), OP(SUB, 3, 14, 15, 0)};
    struct vec_load load[] = {{0, true, true}, {1, true, true}, {2, true, true}, {3, true, true}};
    struct vec_store store[] = {{6, VEC_STORE}, {10, VEC_STORE}, {15, VEC_STORE}};
    show("Adam", PROGRAM(16), 1, 1, cols);
}

int main(void) {
    static const struct {
        const char *name;
        enum vec_code code;
    } functions[] = {{"copy", VEC_COPY}, {"scale", VEC_SCALE}, {"relu", VEC_RELU}, {"exp", VEC_EXP}, {"log", VEC_LOG}, {"sqrt", VEC_SQRT},
                     {"tanh", VEC_TANH}, {"sigmoid", VEC_SIGMOID}, {"erf", VEC_ERF}};
    printf("%s\n", isa_name());
    for (int i = 0; i < COUNT(functions); i++) single(functions[i].name, functions[i].code, -1, 1, 16, 128);
    static const struct {
        const char *name;
        int kind;
    } kinds[] = {{"full", VEC_FULL}, {"row", VEC_ROW}, {"col", VEC_COL}, {"one", VEC_ONE}};
    static const int widths[] = {10, 16, 17, 49, 64};
    for (int k = 0; k < 4; k++) {
        char name[32];
        snprintf(name, sizeof name, "add full %s", kinds[k].name);
        for (int w = 0; w < 5; w++) single(name, VEC_ADD, kinds[k].kind, 1, 2048 / widths[w], widths[w]);
    }
    for (int w = 0; w < 5; w++) single("div full row", VEC_DIV, VEC_ROW, 1, 2048 / widths[w], widths[w]);
    for (int w = 0; w < 5; w++) single("row sum", VEC_ROW_SUM, -1, 1, 2048 / widths[w], widths[w]);
    for (int w = 0; w < 5; w++) single("row max", VEC_ROW_MAX, -1, 1, 2048 / widths[w], widths[w]);
    for (int w = 0; w < 5; w++) single("row argmax", VEC_ROW_ARGMAX, -1, 1, 2048 / widths[w], widths[w]);
    softmax(8, 4 * 17, 17);
    softmax(8, 1, 10);
    softmax(1, 64, 64);
    layer_norm(8, 17, 64);
    layer_norm(1, 17, 64);
    gelu(8, 17, 128);
    sums("mul, sum of rows", VEC_SUM_ROWS, 8, 17, 64);
    sums("mul, sum of rows", VEC_SUM_ROWS, 8, 196, 32);
    sums("mul, sum of all", VEC_SUM_ALL, 8, 1, 10);
    sums("mul, sum of all", VEC_SUM_ALL, 8, 784, 10);
    sums("mul, sum of all", VEC_SUM_ALL, 8, 784, 1);
    adam(4096);
    adam(1000000);
    single("call", VEC_ADD, VEC_FULL, 1, 1, 16);
    return 0;
}

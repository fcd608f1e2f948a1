// Fused elementwise programs against a plain interpreter in double: every op, kind and shape, the accuracy
// of the functions, what a row may depend on, and what must not be written. Every instruction set of the
// machine runs in a process of its own.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/arena.h"
#include "base/isa.h"
#include "engine/vec.h"

#define OP(name, in, other, to, number) {.code = VEC_##name, .x = in, .y = other, .out = to, .a = number}

// ---- numbers

static uint64_t state = 88172645463325252u;
static uint64_t draw(void) {
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}
static int below(int n) { return (int)(draw() % (uint64_t)n); }
static float real(float low, float high) { return low + (high - low) * (float)(draw() >> 40) / 16777216.0f; }

static int32_t int_of(float x) {
    int32_t i;
    memcpy(&i, &x, sizeof i);
    return i;
}
static float float_of(int32_t i) {
    float x;
    memcpy(&x, &i, sizeof x);
    return x;
}

// ---- the interpreter: every register is FULL and double; `slack` bounds what float may lose on the way

enum { REGISTERS = 24, OPS = 16, FUSED = 64, VIEWS = 8 };

struct truth {
    double *value[REGISTERS], *slack[REGISTERS];
};

static void truth_op(struct truth *t, const struct vec_op *o, int64_t rows, int64_t cols) {
    for (int64_t r = 0; r < rows; r++) {
        const int64_t row = r * cols;
        const double *xs = o->code == VEC_FILL ? NULL : t->value[o->x] + row, *ys = o->y < 0 ? NULL : t->value[o->y] + row;
        const double *zs = o->code == VEC_MUL_ADD ? t->value[o->z] + row : NULL, *zf = zs ? t->slack[o->z] + row : NULL;
        const double *xe = o->code == VEC_FILL ? NULL : t->slack[o->x] + row, *ye = o->y < 0 ? NULL : t->slack[o->y] + row;
        double *z = t->value[o->out] + row, *ze = t->slack[o->out] + row;
        double sum = 0, size = 0, dot = 0, dot_size = 0, most = xs ? xs[0] : 0, worst = 0;
        int64_t place = 0;
        for (int64_t c = 0; xs && c < cols; c++) {
            sum += xs[c];
            size += fabs(xs[c]) * 1e-6 + xe[c];
            worst = fmax(worst, xe[c]);
            if (o->code == VEC_ROW_DOT) {
                dot += xs[c] * ys[c];
                dot_size += fabs(xs[c] * ys[c]) * 1e-6 + xe[c] * fabs(ys[c]) + ye[c] * fabs(xs[c]) + xe[c] * ye[c];
            }
            if (xs[c] > most) most = xs[c], place = c;
        }
        for (int64_t c = 0; c < cols; c++) {
            double x = xs ? xs[c] : 0, y = ys ? ys[c] : 0, e = xs ? xe[c] : 0, f = ys ? ye[c] : 0;
            double v = 0, s = 0;
            switch (o->code) {
            case VEC_ADD: v = x + y, s = e + f; break;
            case VEC_SUB: v = x - y, s = e + f; break;
            case VEC_MUL: v = x * y, s = e * fabs(y) + f * fabs(x) + e * f; break;
            case VEC_DIV: v = x / y, s = (e + fabs(v) * f) / (fabs(y) > f ? fabs(y) - f : 0); break;
            case VEC_COMBINE:
                v = o->a * x + o->b * y;
                s = fabs((double)o->a) * e + fabs((double)o->b) * f + 4e-7 * (fabs(o->a * x) + fabs(o->b * y));
                break;
            case VEC_MUL_SCALED:
                v = o->a * x * y;
                s = fabs((double)o->a) * (e * fabs(y) + f * fabs(x) + e * f) + 4e-7 * fabs(v);
                break;
            case VEC_GATE: v = x > 0 ? y : 0, s = fabs(x) > e || e == 0 ? f : fabs(y) + f; break;
            case VEC_MUL_ADD:
                v = o->a * x * y + o->b * zs[c];
                s = fabs((double)o->a) * (e * fabs(y) + f * fabs(x) + e * f) + fabs((double)o->b) * zf[c];
                s += 4e-7 * (fabs(o->a * x * y) + fabs(o->b * zs[c]));
                break;
            case VEC_AFFINE: v = o->a * x + o->b, s = fabs((double)o->a) * e + 4e-7 * (fabs(o->a * x) + fabs((double)o->b)); break;
            case VEC_ROW_DOT: v = dot, s = dot_size; break;
            case VEC_NEG: v = -x, s = e; break;
            case VEC_EXP: v = exp(x), s = v * expm1(e); break;
            case VEC_LOG: v = log(x), s = x > e ? -log1p(-e / x) : INFINITY; break;
            case VEC_SQRT: v = sqrt(x), s = x > e ? v - sqrt(x - e) : INFINITY; break;
            case VEC_TANH: v = tanh(x), s = e; break;
            case VEC_SIGMOID: v = 1 / (1 + exp(-x)), s = e; break;
            case VEC_ERF: v = erf(x), s = 1.2 * e; break;
            case VEC_RELU: v = x < 0 ? 0 : x, s = e; break;
            case VEC_STEP: v = x > 0, s = fabs(x) > e || e == 0 ? 0 : 1; break;
            case VEC_SIGN: v = (x > 0) - (x < 0), s = fabs(x) > e || e == 0 ? 0 : 2; break;
            case VEC_COPY: v = x, s = e; break;
            case VEC_SCALE: v = x * (double)o->a, s = e * fabs((double)o->a); break;
            case VEC_SHIFT: v = x + (double)o->a, s = e + 1.2e-7 * (fabs(x) + fabs((double)o->a)); break;  // fused: a x + b, both rounded
            case VEC_FILL: v = o->a; break;
            case VEC_ROW_SUM: v = sum, s = size; break;
            case VEC_ROW_MAX: v = most, s = worst; break;
            case VEC_ROW_ARGMAX: v = (double)place; break;
            case VEC_ROW_GATHER: v = y >= 0 && y < (double)cols ? xs[(int64_t)y] : 0, s = worst; break;
            case VEC_ROW_SCATTER: v = y == (double)c ? x : 0, s = e; break;
            case VEC_CODES: fail_msg("no op"); break;
            }
            z[c] = v;
            ze[c] = s + fabs(v) * 4e-7 + (v == 0 && s == 0 ? 0 : 2e-38);
            if (o->code == VEC_ROW_ARGMAX || o->code == VEC_STEP || o->code == VEC_SIGN) ze[c] = s;
        }
    }
}

// ---- a program with its operands

struct trial {
    struct vec_program p;
    struct vec_op op[FUSED];
    struct vec_load load[VIEWS];
    struct vec_store store[VIEWS];
    bool integer[REGISTERS];
    int64_t examples, rows, cols;
    struct vec_view in[VIEWS], out[VIEWS];
    float *memory[2 * VIEWS];
    size_t size[2 * VIEWS];  // floats
    int on[VIEWS];           // the load a store lies on, -1
};

enum { GUARD = 32 };
static const float sentinel = -12345.5f;

static void trial_begin(struct trial *t, int64_t examples, int64_t rows, int64_t cols) {
    memset(t, 0, sizeof *t);
    t->p.op = t->op;
    t->p.load = t->load;
    t->p.store = t->store;
    t->examples = examples;
    t->rows = rows;
    t->cols = cols;
}

static float *guarded(struct trial *t, int i, size_t size) {
    t->size[i] = size;
    t->memory[i] = memory_take((size + 2 * GUARD) * sizeof(float));
    for (size_t j = 0; j < size + 2 * GUARD; j++) t->memory[i][j] = sentinel;
    return t->memory[i] + GUARD;
}

// A view of the kind with random gaps; a load may repeat rows or examples. Returns how many floats it spans.
static size_t random_view(const struct trial *t, struct vec_view *v, int kind, bool load) {
    int64_t wide = kind & VEC_COL ? t->cols : 1;
    *v = (struct vec_view){0};
    if (!(kind & VEC_ROW)) return (size_t)wide;
    v->row = wide + (below(3) ? 0 : below(7));
    v->example = v->row * t->rows + (below(3) ? 0 : below(9));
    if (load && !below(4)) v->row = 0;
    if (load && !below(4)) v->example = 0;
    return (size_t)((t->examples - 1) * v->example + (t->rows - 1) * v->row + wide);
}

static int add_load(struct trial *t, int kind, bool integer) {
    int i = t->p.loads++, reg = t->p.registers++;
    t->load[i] = (struct vec_load){reg, kind & VEC_ROW, kind & VEC_COL};
    t->integer[reg] = integer;
    size_t size = random_view(t, &t->in[i], kind, true);
    t->in[i].at = guarded(t, i, size);
    for (size_t j = 0; j < size; j++) t->in[i].at[j] = integer ? float_of(below((int)t->cols)) : real(-3, 3);
    return reg;
}

static int add_op(struct trial *t, enum vec_code code, int x, int y, float a) {
    int reg = t->p.registers++;
    t->op[t->p.ops++] = (struct vec_op){.code = code, .x = x, .y = y, .out = reg, .a = a, .b = real(-2, 2)};
    t->integer[reg] = code == VEC_ROW_ARGMAX || (code == VEC_COPY && t->integer[x]);
    return reg;
}

static void add_store(struct trial *t, int reg, enum vec_store_kind kind) {
    t->store[t->p.stores++] = (struct vec_store){reg, kind};
}

// Views for the stores, known once the kinds are.
static void place_stores(struct trial *t, bool in_place) {
    bool covered[VIEWS] = {false};
    for (int i = 0; i < t->p.stores; i++) {
        int kind = t->p.kind[t->store[i].reg];
        struct vec_view *v = &t->out[i];
        t->on[i] = -1;
        for (int l = 0; in_place && l < t->p.loads && t->store[i].kind == VEC_STORE; l++) {
            int load_kind = t->p.kind[t->load[l].reg];
            bool single = (t->in[l].row || t->rows == 1 || !(kind & VEC_ROW)) && (t->in[l].example || t->examples == 1 || !(kind & VEC_ROW));
            if (t->on[i] < 0 && load_kind == kind && single && !covered[l]) {
                t->on[i] = l;
                covered[l] = true;
                *v = t->in[l];
            }
        }
        if (t->on[i] >= 0) continue;
        size_t size;
        if (t->store[i].kind == VEC_STORE) {
            size = random_view(t, v, kind, false);
        } else {
            int64_t wide = kind & VEC_COL ? t->cols : 1;
            *v = (struct vec_view){.example = t->store[i].kind == VEC_SUM_ROWS ? wide + below(3) : 0};
            size = (size_t)((t->examples > 0 ? t->examples - 1 : 0) * v->example + wide);
        }
        v->at = guarded(t, VIEWS + i, size);
    }
}

static void trial_end(struct trial *t) {
    for (int i = 0; i < 2 * VIEWS; i++) free(t->memory[i]);
    vec_release(&t->p);
}

static void run_in_guarded_scratch(struct trial *t) {
    size_t bytes = vec_scratch(&t->p, t->cols);
    unsigned char *scratch = memory_take(bytes + 128);
    memset(scratch, 0xff, bytes + 128);  // NaN
    int shift = 4 * below(16);
    vec_run(&t->p, t->in, t->out, t->examples, t->rows, t->cols, scratch + shift);
    for (size_t i = 0; i < bytes + 128; i++)
        if (i < (size_t)shift || i >= (size_t)shift + bytes) assert_int_equal(scratch[i], 0xff);
    free(scratch);
}

static int64_t compared, closely;  // values, and those of them to within 1e-4

static void assert_near(const struct trial *t, int store, float got, double want, double slack, bool integer) {
    double value = integer ? (double)int_of(got) : (double)got;
    compared++;
    closely += slack <= 1e-4 * fmax(1, fabs(want));
    if (fabs(value - want) <= slack || (isnan(value) && isnan(want)) || value == want || !isfinite(slack)) return;
    for (int i = 0; i < t->p.ops; i++)
        print_message("  r%d = %d(r%d, r%d) kind %d\n", t->op[i].out, t->op[i].code, t->op[i].x, t->op[i].y, t->p.kind[t->op[i].out]);
    for (int i = 0; i < t->p.loads; i++)
        print_message("  load %d: r%d kind %d stride %ld %ld\n", i, t->load[i].reg, t->p.kind[t->load[i].reg], (long)t->in[i].example, (long)t->in[i].row);
    for (int i = 0; i < t->p.stores; i++)
        print_message("  store %d: r%d kind %d stride %ld %ld on load %d\n", i, t->store[i].reg, t->store[i].kind, (long)t->out[i].example, (long)t->out[i].row, t->on[i]);
    fail_msg("%s: [%ld %ld %ld] store %d of register %d, kind %d: %.9g, expected %.9g within %.3g", isa_name(), (long)t->examples,
             (long)t->rows, (long)t->cols, store, t->store[store].reg, t->store[store].kind, value, want, slack);
}

// Runs the program, as it is or fused, and compares what it stores with the truth about the program as it was.
static void check_as(struct trial *t, bool in_place, bool fused) {
    struct vec_op op[OPS];
    const int ops = t->p.ops, registers = t->p.registers;
    memcpy(op, t->op, sizeof op);
    if (fused) vec_fuse(&t->p, FUSED);
    vec_prepare(&t->p);
    place_stores(t, in_place);
    const int64_t rows = t->examples * t->rows, cols = t->cols;
    struct truth truth;
    for (int r = 0; r < registers; r++) {
        truth.value[r] = memory_zero((size_t)(rows * cols + 1) * sizeof(double));
        truth.slack[r] = memory_zero((size_t)(rows * cols + 1) * sizeof(double));
    }
    for (int i = 0; i < t->p.loads; i++)
        for (int64_t g = 0; g < rows; g++)
            for (int64_t c = 0; c < cols; c++) {
                float v = t->in[i].at[g / t->rows * t->in[i].example + g % t->rows * t->in[i].row + (t->load[i].by_col ? c : 0)];
                truth.value[t->load[i].reg][g * cols + c] = t->integer[t->load[i].reg] ? (double)int_of(v) : (double)v;
            }
    for (int i = 0; i < ops; i++) truth_op(&truth, &op[i], rows, cols);

    run_in_guarded_scratch(t);
    for (int i = 0; i < t->p.stores; i++) {
        const int reg = t->store[i].reg, kind = t->p.kind[reg];
        const int64_t wide = kind & VEC_COL ? cols : 1;
        const double *value = truth.value[reg], *slack = truth.slack[reg];
        const int64_t groups = t->store[i].kind == VEC_STORE ? rows : t->store[i].kind == VEC_SUM_ROWS ? t->examples : 1;
        const int64_t count = t->store[i].kind == VEC_STORE ? 1 : t->store[i].kind == VEC_SUM_ROWS ? t->rows : rows;
        for (int64_t k = 0; k < groups; k++)
            for (int64_t c = 0; c < wide; c++) {
                double sum = 0, bound = 0;
                for (int64_t j = 0; j < count; j++) {
                    sum += value[(k * count + j) * cols + c];
                    bound += slack[(k * count + j) * cols + c] + (count > 1 ? 1e-6 * fabs(value[(k * count + j) * cols + c]) : 0);
                }
                int64_t e = t->store[i].kind == VEC_STORE ? k / t->rows : k, r = t->store[i].kind == VEC_STORE ? k % t->rows : 0;
                float *out = t->out[i].at + e * t->out[i].example + r * t->out[i].row + c;
                assert_near(t, i, *out, sum, bound, t->integer[reg] && t->store[i].kind == VEC_STORE);
            }
    }
    // nothing outside: put the sentinel back where a store belongs, then all must be sentinels
    for (int i = 0; i < t->p.stores; i++) {
        if (t->on[i] >= 0) continue;
        const int64_t wide = t->p.kind[t->store[i].reg] & VEC_COL ? cols : 1;
        for (int64_t e = 0; e < t->examples; e++)
            for (int64_t r = 0; r < t->rows; r++)
                for (int64_t c = 0; c < wide; c++) t->out[i].at[e * t->out[i].example + r * t->out[i].row + c] = sentinel;
        for (size_t j = 0; j < t->size[VIEWS + i] + 2 * GUARD; j++) assert_true(t->memory[VIEWS + i][j] == sentinel);
    }
    for (int i = 0; i < t->p.loads; i++)
        for (size_t j = 0; j < GUARD; j++) {
            assert_true(t->memory[i][j] == sentinel);
            assert_true(t->memory[i][GUARD + t->size[i] + j] == sentinel);
        }
    for (int r = 0; r < registers; r++) {
        free(truth.value[r]);
        free(truth.slack[r]);
    }
}

static void check(struct trial *t, bool in_place) { check_as(t, in_place, below(2)); }

// ---- tests

// What is written about fusing: how many ops are left of some that a network has, and that the result is the same.
static void test_what_fuses(void **unused) {
    (void)unused;
    static const struct {
        const char *name;
        int ops, left, stores;
        struct vec_op op[8];
        int store[3];
    } cases[] = {  // registers 0 and 1 are loads
        {"gelu", 5, 2, 1, {OP(SCALE, 0, -1, 2, .70710678f), OP(ERF, 2, -1, 3, 0), OP(SCALE, 3, -1, 4, .5f), OP(SHIFT, 4, -1, 5, .5f), OP(MUL, 0, 5, 6, 0)}, {6}},
        {"variance", 5, 4, 1, {OP(ROW_SUM, 0, -1, 2, 0), OP(SCALE, 2, -1, 3, .25f), OP(SUB, 0, 3, 4, 0), OP(MUL, 4, 4, 5, 0), OP(ROW_SUM, 5, -1, 6, 0)}, {6, 4}},
        {"x y + z", 2, 1, 1, {OP(MUL, 0, 1, 2, 0), OP(ADD, 2, 0, 3, 0)}, {3}},
        {"a x y - b z", 4, 1, 1, {OP(MUL, 0, 1, 2, 0), OP(SCALE, 2, -1, 3, -1.5f), OP(SCALE, 1, -1, 4, .3f), OP(SUB, 3, 4, 5, 0)}, {5}},
        {"x y + z, both wanted", 2, 2, 2, {OP(MUL, 0, 1, 2, 0), OP(ADD, 2, 0, 3, 0)}, {3, 2}},
        {"relu's derivative", 2, 1, 1, {OP(STEP, 0, -1, 2, 0), OP(MUL, 1, 2, 3, 0)}, {3}},
        {"its mask wanted", 2, 2, 2, {OP(STEP, 0, -1, 2, 0), OP(MUL, 1, 2, 3, 0)}, {3, 2}},
        {"dropout", 4, 2, 2, {OP(SHIFT, 0, -1, 2, -.3f), OP(STEP, 2, -1, 3, 0), OP(MUL, 3, 1, 4, 0), OP(SCALE, 4, -1, 5, 1.25f)}, {5, 3}},
        {"dropout forgotten", 4, 2, 1, {OP(SHIFT, 0, -1, 2, -.3f), OP(STEP, 2, -1, 3, 0), OP(MUL, 3, 1, 4, 0), OP(SCALE, 4, -1, 5, 1.25f)}, {5}},
        {"a step scaled", 3, 2, 1, {OP(STEP, 0, -1, 2, 0), OP(SCALE, 2, -1, 3, -2), OP(MUL, 3, 1, 4, 0)}, {4}},
        {"largest of - x", 2, 2, 1, {OP(NEG, 0, -1, 2, 0), OP(ROW_MAX, 2, -1, 3, 0)}, {3}},
        {"largest of a x + b", 4, 3, 1, {OP(SCALE, 0, -1, 2, .5f), OP(SHIFT, 2, -1, 3, 2), OP(ROW_MAX, 3, -1, 4, 0), OP(SUB, 3, 4, 5, 0)}, {5}},
        {"too large a scale", 2, 2, 1, {OP(SCALE, 0, -1, 2, 1e15f), OP(SCALE, 2, -1, 3, 1e-20f)}, {3}},
        {"squares of a x", 2, 2, 1, {OP(SCALE, 0, -1, 2, 3), OP(MUL, 2, 2, 3, 0)}, {3}},
        {"nothing", 0, 0, 1, {OP(COPY, 0, -1, 2, 0)}, {1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int round = 0; round < 60; round++) {
            struct trial t;
            trial_begin(&t, 1 + below(5), 1 + below(20), 1 + below(90));
            add_load(&t, VEC_FULL, false);
            add_load(&t, round < 20 ? VEC_FULL : below(4), false);
            for (int k = 0; k < cases[i].ops; k++) {
                t.op[t.p.ops++] = cases[i].op[k];
                t.p.registers++;
            }
            for (int k = 0; k < cases[i].stores; k++) add_store(&t, cases[i].store[k], VEC_STORE);
            check_as(&t, false, true);
            if (t.p.ops > cases[i].left) fail_msg("%s: %d ops are left, %d expected", cases[i].name, t.p.ops, cases[i].left);
            trial_end(&t);
        }
}

// a (x - b) is 0 where x is b, and a (sqrt x - b) where the root is: rounding of a b must leave nothing there, of which a
// step would make 1 and a root NaN.
static void test_zeros_stay_after_fusing(void **unused) {
    (void)unused;
    for (int round = 0; round < 400; round++) {
        const float b = (float)(1 + below(4095)) / 4096, a = round % 2 ? real(.01f, 2) : real(-2, -.01f);  // b^2 is exact
        const enum vec_code last[] = {VEC_STEP, VEC_SQRT, VEC_RELU, VEC_COPY};
        const bool root = round % 4 > 1;
        struct trial t;
        trial_begin(&t, 1 + below(3), 1 + below(9), 1 + below(40));
        int x = add_load(&t, VEC_FULL, false);
        for (size_t j = 0; j < t.size[0]; j++) t.in[0].at[j] = root ? b * b : b;
        if (root) x = add_op(&t, VEC_SQRT, x, -1, 0);
        x = add_op(&t, VEC_SCALE, add_op(&t, VEC_SHIFT, x, -1, -b), -1, a);
        add_store(&t, add_op(&t, last[below(4)], x, -1, 0), VEC_STORE);
        vec_fuse(&t.p, FUSED);
        vec_prepare(&t.p);
        place_stores(&t, false);
        run_in_guarded_scratch(&t);
        const float got = t.out[0].at[0];
        if (!(got == 0)) fail_msg("%s: %g (x - %g) is %g where it is 0", isa_name(), (double)a, (double)b, (double)got);
        trial_end(&t);
    }
}

static void test_every_op_on_every_kind(void **unused) {
    (void)unused;
    for (int code = VEC_ADD; code < VEC_CODES; code++)
        for (int kinds = 0; kinds < 16; kinds++)
            for (int round = 0; round < 12; round++) {
                int kx = kinds & 3, ky = kinds >> 2;
                bool dot = code == VEC_ROW_DOT, index = code >= VEC_ROW_GATHER, binary = code <= VEC_MUL_ADD || index || dot;
                if ((!binary && ky) || (dot && !(kx & ky & VEC_COL))) continue;
                if (index && (ky & VEC_COL || (code == VEC_ROW_SCATTER && kx & VEC_COL))) continue;
                struct trial t;
                trial_begin(&t, 1 + below(9), 1 + below(37), 1 + below(130));
                int x = add_load(&t, kx, false), y = binary ? add_load(&t, ky, index) : -1;
                if (code == VEC_LOG || code == VEC_SQRT) {
                    x = add_op(&t, VEC_MUL, x, x, 0);
                    x = add_op(&t, VEC_SHIFT, x, -1, .01f);
                }
                if (code == VEC_DIV) {
                    y = add_op(&t, VEC_MUL, y, y, 0);
                    y = add_op(&t, VEC_SHIFT, y, -1, .25f);
                }
                const int third = code == VEC_MUL_ADD ? add_load(&t, below(4), false) : 0;
                int z = add_op(&t, (enum vec_code)code, code == VEC_FILL ? -1 : x, y, real(-2, 2));
                t.op[t.p.ops - 1].z = third;
                add_store(&t, z, VEC_STORE);
                if (code != VEC_ROW_ARGMAX) {
                    add_store(&t, z, VEC_SUM_ROWS);
                    add_store(&t, z, VEC_SUM_ALL);
                }
                check(&t, below(2));
                trial_end(&t);
            }
}

static int real_register(const struct trial *t) {
    int reg;
    do reg = below(t->p.registers); while (t->integer[reg]);
    return reg;
}

static int drawn[VEC_CODES];  // how often random programs have had an op

// One op, behind those that bring its operands into its domain. Denominators, and what logarithms and roots are taken of,
// are a square and a number: well above what float has lost on the way there, or the slack would allow anything. What
// multiplies values, or adds up a row of them, goes through tanh, and only a tanh into exp: numbers stay small.
static void random_op(struct trial *t, enum vec_code code, int loads, int index) {
    int x = real_register(t), y = real_register(t), z = real_register(t);
    bool grows = false;
    switch (code) {
    case VEC_EXP:
        x = add_op(t, VEC_TANH, x, -1, 0);
        if (below(2)) x = add_op(t, VEC_SCALE, x, -1, real(-2, 2));
        break;
    case VEC_LOG:
    case VEC_SQRT: x = add_op(t, VEC_SHIFT, add_op(t, VEC_MUL, x, x, 0), -1, .01f); break;
    case VEC_DIV: y = add_op(t, VEC_SHIFT, add_op(t, VEC_MUL, y, y, 0), -1, .25f); break;
    case VEC_MUL:
    case VEC_MUL_SCALED:
    case VEC_MUL_ADD:
    case VEC_ROW_SUM: grows = true; break;
    case VEC_ROW_DOT:  // of two that change along the row, as the first load does
        x = add_op(t, VEC_ADD, x, 0, 0);
        y = below(2) ? add_op(t, VEC_SUB, 0, y, 0) : 0;
        grows = true;
        break;
    case VEC_ROW_ARGMAX: x = below(loads); break;  // exact: rounding must not choose between two places
    case VEC_ROW_SCATTER: x = add_op(t, VEC_ROW_MAX, x, -1, 0); y = index; break;
    case VEC_ROW_GATHER: y = index; break;
    case VEC_FILL: x = -1; break;
    default: break;
    }
    const bool binary = code <= VEC_MUL_ADD || code == VEC_ROW_DOT || code == VEC_ROW_GATHER || code == VEC_ROW_SCATTER;
    const int out = add_op(t, code, x, binary ? y : -1, real(-2, 2));
    t->op[t->p.ops - 1].z = code == VEC_MUL_ADD ? z : 0;
    if (grows) add_op(t, VEC_TANH, out, -1, 0);
    drawn[code]++;
}

static void random_program(struct trial *t, bool row_ops) {
    int loads = 1 + below(4), ops = 1 + below(10);
    for (int i = 0; i < loads; i++) add_load(t, i ? below(4) : VEC_FULL, false);
    int index = row_ops ? add_load(t, VEC_ROW, true) : -1;
    for (int i = 0; i < ops && t->p.ops <= OPS - 4; i++) {
        const enum vec_code any = (enum vec_code)below(row_ops ? VEC_CODES : VEC_ROW_SUM);
        random_op(t, below(3) ? any : below(2) ? VEC_SCALE : VEC_SHIFT, loads, index);  // much to fuse
    }
    int stores = 1 + below(4);
    for (int i = 0; i < stores; i++)
        add_store(t, i ? real_register(t) : t->p.registers - 1, (enum vec_store_kind)(i ? below(3) : 0));
}

// Also that there was something to see: every op, and nearly all values within a slack that tells right from wrong.
static void test_random_programs(void **unused) {
    (void)unused;
    compared = closely = 0;
    for (int round = 0; round < 1500; round++) {
        struct trial t;
        trial_begin(&t, 1 + below(9), 1 + below(below(4) ? 37 : 3), 1 + below(below(3) ? 20 : 130));
        random_program(&t, true);
        check(&t, round & 1);
        trial_end(&t);
    }
    for (int code = 0; code < VEC_CODES; code++)
        if (!drawn[code]) fail_msg("op %d was never drawn", code);
    assert_true((double)closely > .95 * (double)compared);
}

static void test_wide_rows(void **unused) {
    (void)unused;
    for (int round = 0; round < 40; round++) {
        struct trial t;
        trial_begin(&t, 1 + below(2), 1 + below(2), 9000 + below(20000));
        random_program(&t, round % 2);
        check(&t, below(2));
        trial_end(&t);
    }
}

static void test_tall_sums(void **unused) {
    (void)unused;
    static const int64_t shapes[][3] = {{3, 784, 10}, {2, 1000, 1}, {40, 17, 64}, {1, 5000, 3}, {9, 1, 17}, {5, 16, 33}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int round = 0; round < 4; round++) {
            struct trial t;
            trial_begin(&t, shapes[i][0], shapes[i][1], shapes[i][2]);
            int x = add_load(&t, VEC_FULL, false), y = add_op(&t, VEC_ROW_MAX, x, -1, 0), z = add_op(&t, VEC_SUB, x, y, 0);
            add_store(&t, z, VEC_SUM_ROWS);
            add_store(&t, z, VEC_SUM_ALL);
            add_store(&t, y, VEC_SUM_ROWS);
            add_store(&t, y, VEC_SUM_ALL);
            add_store(&t, z, VEC_STORE);
            check(&t, round & 1);
            trial_end(&t);
        }
}

static void test_no_examples(void **unused) {
    (void)unused;
    struct vec_op op[] = {OP(EXP, 0, -1, 1, 0), OP(ROW_SUM, 1, -1, 2, 0)};
    struct vec_load load[] = {{0, true, true}};
    struct vec_store store[] = {{1, VEC_SUM_ALL}, {2, VEC_SUM_ALL}, {1, VEC_STORE}};
    struct vec_program p = {.ops = 2, .loads = 1, .stores = 3, .registers = 3, .op = op, .load = load, .store = store};
    vec_prepare(&p);
    void *scratch = memory_take(vec_scratch(&p, 5));
    float sum[5] = {1, 1, 1, 1, 1}, one = 1, none = 7;
    vec_run(&p, (struct vec_view[]){{NULL, 5, 5}}, (struct vec_view[]){{sum, 0, 0}, {&one, 0, 0}, {&none, 5, 5}}, 0, 1, 5, scratch);
    for (int i = 0; i < 5; i++) assert_true(sum[i] == 0);
    assert_true(one == 0);
    assert_true(none == 7);
    free(scratch);
    vec_release(&p);
}

// f over n values
static void apply(enum vec_code code, const float *x, float *y, int64_t n) {
    struct vec_op op = {.code = code, .y = -1, .out = 1};
    struct vec_load load = {0, true, true};
    struct vec_store store = {1, VEC_STORE};
    struct vec_program p = {.ops = 1, .loads = 1, .stores = 1, .registers = 2, .op = &op, .load = &load, .store = &store};
    vec_prepare(&p);
    void *scratch = memory_take(vec_scratch(&p, n));
    vec_run(&p, &(struct vec_view){(float *)(uintptr_t)x, 0, 0}, &(struct vec_view){y, 0, 0}, 1, 1, n, scratch);
    free(scratch);
    vec_release(&p);
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

// Every 1009th float: exponents of all sizes, both signs.
static void test_accuracy(void **unused) {
    (void)unused;
    static const struct {
        enum vec_code code;
        const char *name;
        double (*f)(double);
        double ulps;
    } functions[] = {{VEC_EXP, "exp", exp, 2},   {VEC_LOG, "log", log, 2}, {VEC_TANH, "tanh", tanh, 3}, {VEC_SIGMOID, "sigmoid", sigmoid, 3},
                     {VEC_ERF, "erf", erf, 3}, {VEC_SQRT, "sqrt", sqrt, .51}};
    enum { N = 1 << 13 };
    static float x[N], y[N];
    for (size_t f = 0; f < sizeof functions / sizeof *functions; f++) {
        double worst = 0;
        float at = 0;
        for (int64_t pattern = 0; pattern < INT64_C(1) << 32;) {
            int n = 0;
            for (; n < N && pattern < INT64_C(1) << 32; pattern += 1009) {
                x[n] = float_of((int32_t)(uint32_t)pattern);
                if (fabsf(x[n]) >= 0x1p-126f && isfinite(x[n])) n++;
            }
            apply(functions[f].code, x, y, n);
            for (int i = 0; i < n; i++) {
                double want = functions[f].f((double)x[i]);
                if (isnan(want)) {
                    assert_true(isnan(y[i]));
                } else if (fabs(want) >= 0x1.ffffffp127) {
                    assert_true((double)y[i] == (want > 0 ? INFINITY : -INFINITY) || (double)fabsf(y[i]) >= 0x1.fffffcp127);
                } else if (fabs(want) < 0x1p-126) {
                    assert_true((double)fabsf(y[i]) <= 0x1.0001p-126);
                } else {
                    int exponent;
                    frexp(want, &exponent);
                    double ulps = fabs((double)y[i] - want) / ldexp(1, exponent - 24);
                    if (ulps > worst || isnan(ulps)) worst = isnan(ulps) ? INFINITY : ulps, at = x[i];
                }
            }
        }
        print_message("%s %s: %.2f ulp at %.9g\n", isa_name(), functions[f].name, worst, (double)at);
        assert_true(worst <= functions[f].ulps);
    }
}

static void assert_same(float got, float want) {
    if (isnan(want) ? isnan(got) : got == want) return;
    fail_msg("%s: %g, expected %g", isa_name(), (double)got, (double)want);
}

static void test_special_values(void **unused) {
    (void)unused;
    const float inf = INFINITY, nan = NAN;
    float payload = float_of(0x7fc12345);  // a NaN with something in its low bits
    const float x[] = {0, inf, -inf, nan, 1, -1, payload, -payload, 89, -104, 200, -200, 1e30f, -1e30f, 3e38f, -3e38f, 20, -20};
    enum { N = sizeof x / sizeof *x };
    static const struct {
        enum vec_code code;
        float want[6];  // of the first six
    } rows[] = {
        {VEC_EXP, {1, INFINITY, 0, NAN, 2.71828183f, .367879441f}},
        {VEC_LOG, {-INFINITY, INFINITY, NAN, NAN, 0, NAN}},
        {VEC_SQRT, {0, INFINITY, NAN, NAN, 1, NAN}},
        {VEC_TANH, {0, 1, -1, NAN, .761594156f, -.761594156f}},
        {VEC_SIGMOID, {.5f, 1, 0, NAN, .731058579f, .268941421f}},
        {VEC_ERF, {0, 1, -1, NAN, .842700793f, -.842700793f}},
        {VEC_RELU, {0, INFINITY, 0, NAN, 1, 0}},
        {VEC_STEP, {0, 1, 0, 0, 1, 0}},
        {VEC_SIGN, {0, 1, -1, 0, 1, -1}},
        {VEC_NEG, {0, -INFINITY, INFINITY, NAN, -1, 1}},
        {VEC_COPY, {0, INFINITY, -INFINITY, NAN, 1, -1}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        float y[N];
        apply(rows[i].code, x, y, N);
        for (int j = 0; j < 6; j++)
            if (isfinite(rows[i].want[j]) && rows[i].want[j] != 0) {
                assert_true(fabsf(y[j] - rows[i].want[j]) <= 3e-7f * fabsf(rows[i].want[j]));
            } else {
                assert_same(y[j], rows[i].want[j]);
            }
        bool counts = rows[i].code == VEC_STEP || rows[i].code == VEC_SIGN;
        assert_true(counts ? y[6] == 0 && y[7] == 0 : isnan(y[6]) && isnan(y[7]));
        if (rows[i].code == VEC_EXP) {
            assert_same(y[8], inf), assert_same(y[10], inf), assert_same(y[12], inf), assert_same(y[14], inf);
            assert_same(y[9], 0), assert_same(y[11], 0), assert_same(y[13], 0), assert_same(y[15], 0);
        }
        if (rows[i].code == VEC_TANH || rows[i].code == VEC_ERF) {
            assert_same(y[10], 1), assert_same(y[11], -1), assert_same(y[16], 1), assert_same(y[17], -1);
        }
    }
}

// Division by one number a row goes by its inverse where that is one.
static void test_division_by_extremes(void **unused) {
    (void)unused;
    struct vec_op op = OP(DIV, 0, 1, 2, 0);
    struct vec_load load[] = {{0, true, true}, {1, true, false}};
    struct vec_store store = {2, VEC_STORE};
    struct vec_program p = {.ops = 1, .loads = 2, .stores = 1, .registers = 3, .op = &op, .load = load, .store = &store};
    vec_prepare(&p);
    enum { ROWS = 11, MOST = 40 };
    float by[ROWS] = {2, 0, INFINITY, NAN, 3e38f, -3e38f, 1e38f, 1.2e-38f, -0.0f, 7, -INFINITY}, x[ROWS * MOST], out[ROWS * MOST];
    for (int cols = 2; cols <= MOST; cols++) {
        void *scratch = memory_take(vec_scratch(&p, cols));
        static const float values[] = {1, -3, 0, INFINITY, NAN, 3e38f, 5e-3f, 1e10f};
        for (int i = 0; i < ROWS * cols; i++) x[i] = values[below(8)];
        vec_run(&p, (struct vec_view[]){{x, 0, cols}, {by, 0, 1}}, &(struct vec_view){out, 0, cols}, 1, ROWS, cols, scratch);
        for (int i = 0; i < ROWS * cols; i++) {
            const float want = x[i] / by[i / cols];
            if (isfinite(want) && want != 0) {
                assert_true(fabsf(out[i] - want) <= 2.4e-7f * fabsf(want) + 0x1p-126f);
            } else {
                assert_same(out[i], want);
            }
        }
        free(scratch);
    }
    vec_release(&p);
}

// A maximum shows a NaN anywhere in the row; argmax finds the first of it, or the first of equal maxima.
static void test_nan_and_ties_in_rows(void **unused) {
    (void)unused;
    struct vec_op op[] = {OP(ROW_MAX, 0, -1, 1, 0), OP(ROW_ARGMAX, 0, -1, 2, 0), OP(ROW_SUM, 0, -1, 3, 0)};
    struct vec_load load[] = {{0, true, true}};
    struct vec_store store[] = {{1, VEC_STORE}, {2, VEC_STORE}, {3, VEC_STORE}};
    struct vec_program p = {.ops = 3, .loads = 1, .stores = 3, .registers = 4, .op = op, .load = load, .store = store};
    vec_prepare(&p);
    for (int cols = 1; cols < 80; cols++) {
        void *scratch = memory_take(vec_scratch(&p, cols));
        float *x = memory_take((size_t)(cols * cols) * sizeof(float)), *out = memory_take((size_t)(3 * cols) * sizeof(float));
        for (int ties = 0; ties < 2; ties++) {
            for (int i = 0; i < cols * cols; i++) x[i] = real(-5, -1);
            for (int r = 0; r < cols; r++) {
                x[r * cols + r] = ties ? -.5f : NAN;  // in every column once
                if (r + 1 < cols) x[r * cols + r + 1 + below(cols - r - 1)] = -.5f;
            }
            vec_run(&p, &(struct vec_view){x, 0, cols},
                    (struct vec_view[]){{out, 0, 1}, {out + cols, 0, 1}, {out + 2 * cols, 0, 1}}, 1, cols, cols, scratch);
            for (int r = 0; r < cols; r++) {
                assert_same(out[r], ties ? -.5f : NAN);
                assert_int_equal(int_of(out[cols + r]), r);
                assert_int_equal(isnan(out[2 * cols + r]), !ties);
            }
        }
        free(scratch);
        free(x);
        free(out);
    }
    vec_release(&p);
}

// The same example gives the same bits alone, among others, and at any place among them.
static void test_an_example_stands_by_itself(void **unused) {
    (void)unused;
    enum { MOST = 7 };
    static const struct vec_op op[] = {
        OP(ROW_MAX, 0, -1, 2, 0), OP(SUB, 0, 2, 3, 0), OP(EXP, 3, -1, 4, 0), OP(ROW_SUM, 4, -1, 5, 0),
        OP(DIV, 4, 5, 6, 0),      OP(MUL, 6, 1, 7, 0), OP(ERF, 7, -1, 8, 0), OP(TANH, 8, -1, 9, 0)};
    static const struct vec_load load[] = {{0, true, true}, {1, false, true}};
    static const struct vec_store store[] = {{9, VEC_STORE}, {7, VEC_SUM_ROWS}, {5, VEC_SUM_ROWS}, {5, VEC_STORE}};
    struct vec_program p = {.ops = 8, .loads = 2, .stores = 4, .registers = 10, .op = (struct vec_op *)(uintptr_t)op,
                            .load = (struct vec_load *)(uintptr_t)load, .store = (struct vec_store *)(uintptr_t)store};
    vec_prepare(&p);
    for (int round = 0; round < 60; round++) {
        const int64_t rows = 1 + below(below(2) ? 300 : 20), cols = 1 + below(below(2) ? 70 : 20), size = rows * cols;
        float *x = memory_take((size_t)(MOST * size) * sizeof(float)), *w = memory_take((size_t)cols * sizeof(float));
        float *y[2], *sum[2], *one[2], *den[2];
        for (int i = 0; i < 2; i++) {
            y[i] = memory_take((size_t)(MOST * size) * sizeof(float));
            sum[i] = memory_take((size_t)(MOST * cols) * sizeof(float));
            one[i] = memory_take(MOST * sizeof(float));
            den[i] = memory_take((size_t)(MOST * rows) * sizeof(float));
        }
        for (int64_t i = 0; i < MOST * size; i++) x[i] = real(-8, 8);
        for (int64_t c = 0; c < cols; c++) w[c] = real(-2, 2);
        void *scratch = memory_take(vec_scratch(&p, cols));
        for (int i = 0; i < 2; i++) {
            const int step = i ? 1 : MOST;  // all at once, then one at a time
            for (int e = 0; e < MOST; e += step)
                vec_run(&p, (struct vec_view[]){{x + e * size, size, cols}, {w, 0, 0}},
                        (struct vec_view[]){{y[i] + e * size, size, cols}, {sum[i] + e * cols, cols, 0}, {one[i] + e, 1, 0}, {den[i] + e * rows, rows, 1}},
                        step, rows, cols, scratch);
        }
        assert_memory_equal(y[0], y[1], (size_t)(MOST * size) * sizeof(float));
        assert_memory_equal(sum[0], sum[1], (size_t)(MOST * cols) * sizeof(float));
        assert_memory_equal(one[0], one[1], MOST * sizeof(float));
        assert_memory_equal(den[0], den[1], (size_t)(MOST * rows) * sizeof(float));
        // rows one by one
        for (int64_t r = 0; r < MOST * rows; r++)
            vec_run(&p, (struct vec_view[]){{x + r * cols, 0, 0}, {w, 0, 0}},
                    (struct vec_view[]){{y[1] + r * cols, 0, 0}, {sum[1], 0, 0}, {one[1], 0, 0}, {den[1] + r, 0, 0}}, 1, 1, cols, scratch);
        assert_memory_equal(y[0], y[1], (size_t)(MOST * size) * sizeof(float));
        assert_memory_equal(den[0], den[1], (size_t)(MOST * rows) * sizeof(float));
        for (int i = 0; i < 2; i++) free(y[i]), free(sum[i]), free(one[i]), free(den[i]);
        free(x);
        free(w);
        free(scratch);
    }
    vec_release(&p);
}

static void test_long_sums_are_accurate(void **unused) {
    (void)unused;
    enum { N = 1000000 };
    float *x = memory_take(N * sizeof(float)), out[2];
    double sum = 0;
    for (int i = 0; i < N; i++) sum += (double)(x[i] = real(0, 1));
    for (int across = 0; across < 2; across++) {  // along one row, then over a million rows
        struct vec_op op = OP(ROW_SUM, 0, -1, 1, 0);
        struct vec_load load = {0, true, true};
        struct vec_store store = {across ? 0 : 1, across ? VEC_SUM_ALL : VEC_STORE};
        struct vec_program p = {.ops = across ? 0 : 1, .loads = 1, .stores = 1, .registers = across ? 1 : 2, .op = &op, .load = &load, .store = &store};
        vec_prepare(&p);
        const int64_t cols = across ? 2 : N, rows = N / cols;
        void *scratch = memory_take(vec_scratch(&p, cols));
        vec_run(&p, &(struct vec_view){x, 0, cols}, &(struct vec_view){out, 0, 0}, 1, rows, cols, scratch);
        double got = across ? (double)out[0] + (double)out[1] : (double)out[0];
        assert_true(fabs(got - sum) <= 1.5e-7 * sum);
        free(scratch);
        vec_release(&p);
    }
    free(x);
}

static int run_all(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_fuses), cmocka_unit_test(test_zeros_stay_after_fusing),
        cmocka_unit_test(test_every_op_on_every_kind), cmocka_unit_test(test_random_programs),
        cmocka_unit_test(test_wide_rows),              cmocka_unit_test(test_tall_sums),
        cmocka_unit_test(test_no_examples),            cmocka_unit_test(test_accuracy),
        cmocka_unit_test(test_special_values),         cmocka_unit_test(test_nan_and_ties_in_rows),
        cmocka_unit_test(test_an_example_stands_by_itself), cmocka_unit_test(test_long_sums_are_accurate),
        cmocka_unit_test(test_division_by_extremes),
    };
    return cmocka_run_group_tests_name(isa_name(), tests, NULL, NULL);
}

int main(void) {
    static const char *const isa[] = {"avx512", "avx2", "baseline"};
    int failed = 0;
    for (int i = 0; i < 3; i++) {
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            setenv("ASSAY_ISA", isa[i], 1);
            if (strcmp(isa_name(), isa[i])) {
                printf("%s: not on this machine\n", isa[i]);
                exit(0);
            }
            exit(run_all() ? 1 : 0);
        }
        int status;
        if (child < 0 || waitpid(child, &status, 0) != child || status) failed = 1;
    }
    return failed;
}

// vec_fuse.c: rewrites a program into one of fewer passes over its rows.
//
// A register is seen as a r + b of another one, r. Scales, shifts and signs are then no ops at all: they change
// how a register is seen, until an op takes a and b along (a sum as its coefficients, a function as the scale and
// shift of its argument), or until a number is wanted as it is (a store). A product that only a sum reads is
// computed where it is added, one that only a sum over the row reads becomes a dot product, and a step that only a
// product reads lets the other factor through or not.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/error.h"
#include "vec_isa.h"

struct view {
    int reg;
    double a, b;  // rounded once, when an op takes them
    int maker;    // the op in `to` that computes reg, where nothing but this view reads it, or -1
};

struct fuse {
    struct vec_program *p;
    const struct vec_op *from;
    struct vec_op *to;
    int ops, room;
    struct view *view;    // by register of the program as it was
    int *uses;            // by register: readers, stores too
    int *reader;          // by register: an op that reads it
    bool *stored, *gone;  // by register; by op of `from`
    unsigned char *kind;  // by register
    int registers;        // with those added
};

static bool is_linear(const struct vec_op *op, double *a, double *b) {
    *a = op->code == VEC_NEG ? -1 : op->code == VEC_SCALE || op->code == VEC_AFFINE ? op->a : 1;
    *b = op->code == VEC_SHIFT ? op->a : op->code == VEC_AFFINE ? op->b : 0;
    return op->code == VEC_NEG || op->code == VEC_SCALE || op->code == VEC_SHIFT || op->code == VEC_AFFINE;
}

// Factors are multiplied only where that can neither overflow nor vanish.
static bool fits(double a) { return fabs(a) > 1e-5 && fabs(a) < 1e5; }

// Whether a stays a factor of v when it is multiplied in: a (x - b) has to be 0 where x is b, not what rounding leaves.
static bool exact(double a, struct view v) {
    return v.b == 0 || ((double)(float)a * (float)v.a == (float)(a * v.a) && (double)(float)a * (float)v.b == (float)(a * v.b));
}

static int fresh(struct fuse *f, enum vec_kind kind) {
    f->kind[f->registers] = (unsigned char)kind;
    return f->registers++;
}

static struct vec_op *emit(struct fuse *f, struct vec_op op) {
    BUG_IF(f->ops == f->room, "a fused program has over %d ops", f->room);
    f->to[f->ops] = op;
    return &f->to[f->ops++];
}

static void emit_affine(struct fuse *f, struct view v, int out) {
    emit(f, (struct vec_op){.code = v.b == 0 ? VEC_SCALE : v.a == 1 ? VEC_SHIFT : VEC_AFFINE, .x = v.reg, .y = -1, .out = out,
                            .a = (float)(v.b != 0 && v.a == 1 ? v.b : v.a), .b = (float)v.b});
}

// A register that holds r's value as it is.
static int plain(struct fuse *f, int r) {
    struct view *v = &f->view[r];
    if (v->a == 1 && v->b == 0) return v->reg;
    int out = fresh(f, f->kind[v->reg]);
    emit_affine(f, *v, out);
    *v = (struct view){out, 1, 0, -1};
    return out;
}

// r without its shift.
static struct view scaled(struct fuse *f, int r) {
    if (f->view[r].b != 0 || !fits(f->view[r].a)) plain(f, r);
    return f->view[r];
}

// Whether nobody but one op reads r.
static bool single(const struct fuse *f, int r) { return f->uses[r] == 1 && !f->stored[r]; }

// op's result is a r + b of what `out` of the original program holds. Where that is stored it is made as it is.
static void finish(struct fuse *f, struct vec_op op, int out, double a, double b) {
    if (op.code == VEC_MUL && f->stored[out] && a != 1 && b == 0) {
        op.code = VEC_MUL_SCALED;
        op.a = (float)a;
        a = 1;
    }
    bool as_it_is = a == 1 && b == 0;
    op.out = f->stored[out] && !as_it_is ? fresh(f, f->kind[out]) : out;
    emit(f, op);
    f->view[out] = (struct view){op.out, a, b, single(f, out) ? f->ops - 1 : -1};
    if (!f->stored[out] || as_it_is) return;
    emit_affine(f, f->view[out], out);
    f->view[out] = (struct view){out, 1, 0, -1};
}

// Whether v is made by a plain op of that code for whoever reads v now.
static bool made_by(const struct fuse *f, struct view v, enum vec_code code) {
    return v.maker >= 0 && f->to[v.maker].code == code && !f->to[v.maker].affine;
}

// Takes the op at `at` out of the program again; its operands are still there.
static struct vec_op take_back(struct fuse *f, int at) {
    struct vec_op op = f->to[at];
    memmove(f->to + at, f->to + at + 1, (size_t)(--f->ops - at) * sizeof *f->to);
    for (int r = 0; r < f->p->registers; r++)
        if (f->view[r].maker > at) f->view[r].maker--;
    return op;
}

static void fuse_linear(struct fuse *f, const struct vec_op *op, double a, double b) {
    if (!exact(a, f->view[op->x])) plain(f, op->x);
    struct view v = f->view[op->x];
    if (!fits(a) || !fits(a * v.a)) {
        v = (struct view){plain(f, op->x), 1, 0, -1};
        finish(f, (struct vec_op){.code = VEC_AFFINE, .x = v.reg, .y = -1, .a = (float)a, .b = (float)b}, op->out, 1, 0);
        return;
    }
    v = (struct view){v.reg, a * v.a, a * v.b + b, v.maker};
    if (!single(f, op->out) && made_by(f, v, VEC_MUL) && v.b == 0) {
        struct vec_op m = take_back(f, v.maker);
        finish(f, (struct vec_op){.code = VEC_MUL_SCALED, .x = m.x, .y = m.y, .a = (float)v.a}, op->out, 1, 0);
        return;
    }
    if (!single(f, op->out)) v.maker = -1;
    if (f->stored[op->out]) {
        emit_affine(f, v, op->out);
        v = (struct view){op->out, 1, 0, -1};
    }
    f->view[op->out] = v;
}

// out = c f(a x + b) + d, with the scales and shifts that follow.
static void fuse_function(struct fuse *f, const struct vec_op *op) {
    struct view v = f->view[op->x];
    struct vec_op to = {.code = op->code, .x = v.reg, .y = -1, .a = (float)v.a, .b = (float)v.b};
    int out = op->out;
    double a, b, c = 1, d = 0;
    while (single(f, out)) {
        const struct vec_op *next = &f->from[f->reader[out]];
        if (!is_linear(next, &a, &b) || !fits(a) || !fits(c * a) || !exact(a, (struct view){.a = c, .b = d})) break;
        c *= a;
        d = a * d + b;
        f->gone[f->reader[out]] = true;
        out = next->out;
    }
    to.c = (float)c;
    to.d = (float)d;
    to.affine = v.a != 1 || v.b != 0 || c != 1 || d != 0;
    finish(f, to, out, 1, 0);
}

static void fuse_product(struct fuse *f, const struct vec_op *op) {
    struct view x = scaled(f, op->x), y = scaled(f, op->y);
    x = f->view[op->x];  // both may be the same register
    double a = op->code == VEC_MUL ? x.a * y.a : x.a / y.a;
    if (!fits(a)) {
        x = (struct view){plain(f, op->x), 1, 0, -1};
        y = (struct view){plain(f, op->y), 1, 0, -1};
        a = 1;
    }
    if (op->code == VEC_MUL && op->x != op->y && made_by(f, y, VEC_STEP)) {
        struct view t = x;
        x = y;
        y = t;
    }
    if (op->code == VEC_MUL && op->x != op->y && made_by(f, x, VEC_STEP)) {
        const int gate = take_back(f, x.maker).x;
        finish(f, (struct vec_op){.code = VEC_GATE, .x = gate, .y = y.reg}, op->out, a, 0);
        return;
    }
    finish(f, (struct vec_op){.code = op->code, .x = x.reg, .y = y.reg}, op->out, a, 0);
}

static void fuse_sum(struct fuse *f, const struct vec_op *op) {
    struct view v[2] = {f->view[op->x], f->view[op->y]};
    double sign = op->code == VEC_SUB ? -1 : 1, b = v[0].b + sign * v[1].b;
    v[1].a *= sign;
    if (v[0].reg == v[1].reg) {  // so that x - x is 0
        double a = v[0].a + v[1].a;
        finish(f, (struct vec_op){.code = VEC_AFFINE, .x = v[0].reg, .y = -1, .a = (float)a, .b = (float)b}, op->out, 1, 0);
        return;
    }
    for (int i = 0; i < 2; i++) {
        if (!made_by(f, v[i], VEC_MUL) || op->x == op->y || f->kind[v[i].reg] != VEC_FULL) continue;
        struct vec_op m = take_back(f, v[i].maker);
        m.code = VEC_MUL_ADD;
        m.a = (float)v[i].a;
        m.z = v[1 - i].reg;
        m.b = (float)v[1 - i].a;
        finish(f, m, op->out, 1, b);
        return;
    }
    struct vec_op to = {.code = VEC_COMBINE, .x = v[0].reg, .y = v[1].reg, .a = (float)v[0].a, .b = (float)v[1].a};
    double scale = 1;
    if (v[0].a == v[1].a || v[0].a == -v[1].a) {  // a (x - y), which is 0 where x is y
        to.code = v[0].a == v[1].a ? VEC_ADD : VEC_SUB;
        scale = v[0].a;
    }
    finish(f, to, op->out, scale, b);
}

static void fuse_row_sum(struct fuse *f, const struct vec_op *op) {
    struct view v = scaled(f, op->x);
    if (made_by(f, v, VEC_MUL)) {
        struct vec_op m = f->to[v.maker];
        if (f->kind[m.x] & f->kind[m.y] & VEC_COL) {
            take_back(f, v.maker);
            m.code = VEC_ROW_DOT;
            finish(f, m, op->out, v.a, 0);
            return;
        }
    }
    finish(f, (struct vec_op){.code = VEC_ROW_SUM, .x = v.reg, .y = -1}, op->out, v.a, 0);
}

static void fuse_row_max(struct fuse *f, const struct vec_op *op) {
    if (!(f->view[op->x].a > 0)) plain(f, op->x);
    struct view v = f->view[op->x];
    finish(f, (struct vec_op){.code = VEC_ROW_MAX, .x = v.reg, .y = -1}, op->out, v.a, v.b);
}

static void fuse_op(struct fuse *f, const struct vec_op *op) {
    double a, b;
    if (is_linear(op, &a, &b)) {
        fuse_linear(f, op, a, b);
        return;
    }
    switch (op->code) {
    case VEC_EXP:
    case VEC_LOG:
    case VEC_SQRT:
    case VEC_TANH:
    case VEC_SIGMOID:
    case VEC_ERF:
    case VEC_STEP: fuse_function(f, op); return;
    case VEC_MUL:
    case VEC_DIV: fuse_product(f, op); return;
    case VEC_ADD:
    case VEC_SUB: fuse_sum(f, op); return;
    case VEC_ROW_SUM: fuse_row_sum(f, op); return;
    case VEC_ROW_MAX: fuse_row_max(f, op); return;
    default: break;
    }
    struct vec_op to = *op;
    int in[3], operands = vec_operands(op, in);
    if (operands > 0) to.x = plain(f, op->x);
    if (operands > 1) to.y = plain(f, op->y);
    if (operands > 2) to.z = plain(f, op->z);
    finish(f, to, op->out, 1, 0);
}

void vec_fuse(struct vec_program *p, int room) {
    size_t n = (size_t)p->registers, most = n + (size_t)room + 1, ops = (size_t)p->ops;
    struct vec_op *from = memory_take((ops + 1) * sizeof *from);
    memcpy(from, p->op, ops * sizeof *from);
    struct fuse f = {.p = p, .from = from, .to = p->op, .room = room, .registers = p->registers};
    f.view = memory_take((n + 1) * sizeof *f.view);
    f.uses = memory_zero((n + 1) * sizeof *f.uses);
    f.reader = memory_zero((n + 1) * sizeof *f.reader);
    f.stored = memory_zero(n + 1);
    f.gone = memory_zero(ops + 1);
    f.kind = memory_zero(most);
    for (size_t r = 0; r < n; r++) f.view[r] = (struct view){(int)r, 1, 0, -1};
    for (int i = 0; i < p->loads; i++)
        f.kind[p->load[i].reg] = (unsigned char)(p->load[i].by_row * VEC_ROW + p->load[i].by_col * VEC_COL);
    for (int i = 0; i < p->ops; i++) {
        int in[3], operands = vec_operands(&from[i], in);
        for (int j = 0; j < operands; j++) f.uses[in[j]]++, f.reader[in[j]] = i;
        f.kind[from[i].out] = (unsigned char)vec_kind_of(&from[i], f.kind);
    }
    for (int i = 0; i < p->stores; i++) f.uses[p->store[i].reg]++, f.stored[p->store[i].reg] = true;
    for (int i = 0; i < p->ops; i++)
        if (!f.gone[i]) fuse_op(&f, &from[i]);
    p->ops = f.ops;
    p->registers = f.registers;
    free(from);
    free(f.view);
    free(f.uses);
    free(f.reader);
    free(f.stored);
    free(f.gone);
    free(f.kind);
}

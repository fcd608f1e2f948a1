// vec.c: runs fused elementwise programs block by block.
//
// What does not depend on the row (COL, ONE) is computed once per call. The rows then go through all ops in
// blocks whose registers fit the first-level cache. A load is used where it lies when its rows have one
// stride over the block, and the op that defines a stored register writes to the destination; only the rest
// is copied. Where the views allow, examples are strung together into one long list of rows. Without row
// ops, wide rows are cut into pieces as well.
//
// Sums over rows: CHUNK rows in float, the chunks in double. Chunks are counted from the example's (or the
// call's) first row, so neither blocks nor neighbours show in the result.
#include "vec.h"

#include <stdlib.h>
#include <string.h>
#include "../base/arena.h"
#include "../base/error.h"
#include "../base/isa.h"
#include "vec_isa.h"

enum {
    CHUNK = 16,
    ROOM = 8192,        // floats of a block in all FULL registers
    SMALL = 2048,       // an example with fewer elements is strung together with others even where that copies loads
    NARROW = 256,       // the least width of a piece of a row
};

static const struct vec_kernels *kernels(void) { return ISA_PICK(vec_kernels); }

// ---- preparation

int vec_operands(const struct vec_op *op, int in[3]) {
    in[0] = op->x;
    in[1] = op->y;
    in[2] = op->z;
    if (op->code == VEC_FILL) return 0;
    if (op->code == VEC_MUL_ADD) return 3;
    bool two = op->code <= VEC_MUL_SCALED || op->code == VEC_ROW_DOT || op->code == VEC_ROW_GATHER || op->code == VEC_ROW_SCATTER;
    return two ? 2 : 1;
}

enum vec_kind vec_kind_of(const struct vec_op *op, const unsigned char *kind) {
    int in[3], n = vec_operands(op, in), all = VEC_ONE;
    for (int i = 0; i < n; i++) all |= kind[in[i]];
    switch (op->code) {
    case VEC_ROW_SUM:
    case VEC_ROW_DOT:
    case VEC_ROW_MAX:
    case VEC_ROW_ARGMAX: return VEC_ROW;
    case VEC_ROW_GATHER:
        BUG_IF(kind[op->y] & VEC_COL, "the index of a gather must be one number a row");
        return VEC_ROW;
    case VEC_ROW_SCATTER:
        BUG_IF(all & VEC_COL, "the inputs of a scatter must be one number a row");
        return VEC_FULL;
    default: return (enum vec_kind)all;
    }
}

void vec_prepare(struct vec_program *p) {
    size_t n = (size_t)p->registers;
    p->kind = memory_zero(n + 1);
    p->slot = memory_zero((2 * n + 1) * sizeof *p->slot);
    p->last = p->slot + n;
    p->row_ops = false;
    memset(p->slots, 0, sizeof p->slots);

    for (size_t r = 0; r < n; r++) p->slot[r] = p->last[r] = -1;
    unsigned char *defined = memory_zero(n + 1), *taken = memory_zero(4 * n + 1);
    for (int i = 0; i < p->loads; i++) {
        const struct vec_load *l = &p->load[i];
        BUG_IF(l->reg < 0 || l->reg >= p->registers || defined[l->reg]++, "load %d: register %d", i, l->reg);
        p->kind[l->reg] = (unsigned char)(l->by_row * VEC_ROW + l->by_col * VEC_COL);
    }
    for (int i = 0; i < p->ops; i++) {
        const struct vec_op *op = &p->op[i];
        int in[3], operands = vec_operands(op, in);
        for (int j = 0; j < operands; j++) {
            BUG_IF(in[j] < 0 || in[j] >= p->registers || !defined[in[j]], "op %d reads register %d", i, in[j]);
            p->last[in[j]] = i;
        }
        BUG_IF(op->out < 0 || op->out >= p->registers || defined[op->out]++, "op %d writes register %d", i, op->out);
        p->kind[op->out] = (unsigned char)vec_kind_of(op, p->kind);
        p->row_ops |= op->code >= VEC_ROW_SUM;
    }
    for (int i = 0; i < p->stores; i++) {
        int r = p->store[i].reg;
        BUG_IF(r < 0 || r >= p->registers || !defined[r], "store %d reads register %d", i, r);
        p->last[r] = p->ops;
    }

    // Slots, first free first. An op's output may take the slot of an input that dies there: all loops allow it.
    // COL and ONE registers outlive the blocks, so each keeps its own.
    for (int i = -p->loads; i < p->ops; i++) {
        int out = i < 0 ? p->load[i + p->loads].reg : p->op[i].out;
        if (i >= 0) {
            int in[3], operands = vec_operands(&p->op[i], in);
            for (int j = 0; j < operands; j++)
                if (p->last[in[j]] == i && p->kind[in[j]] & VEC_ROW) taken[p->kind[in[j]] * n + (size_t)p->slot[in[j]]] = 0;
        }
        unsigned char *used = taken + p->kind[out] * n;
        int s = 0;
        while (used[s]) s++;
        p->slot[out] = s;
        used[s] = p->last[out] >= 0 || !(p->kind[out] & VEC_ROW);
        if (s >= p->slots[p->kind[out]]) p->slots[p->kind[out]] = s + 1;
    }
    p->room = ROOM / (p->slots[VEC_FULL] ? p->slots[VEC_FULL] : 1);
    free(defined);
    free(taken);
}

void vec_release(struct vec_program *p) {
    free(p->kind);
    free(p->slot);
    p->kind = NULL;
    p->slot = p->last = NULL;
}

// ---- scratch

// Where a register lies during a block.
struct place {
    float *at;
    int64_t row;                  // stride; 1 for ROW, 0 for COL and ONE
    const struct vec_view *view;  // the load or store it lies in, NULL for the scratch
};

struct sum {
    double *total;   // [width], or [VEC_LANES] for one column
    float *partial;  // [width]
};

struct run {
    const struct vec_program *p;
    const struct vec_kernels *k;
    const struct vec_view *loads, *stores;
    int64_t examples, rows;  // rows of an example
    int64_t from, width;     // columns of this piece
    int64_t widest;          // of the pieces
    bool last;               // the last piece
    int64_t block;           // rows of a block
    struct place *place;     // [registers]
    struct sum *sum;         // [stores]
};

static size_t aligned(size_t bytes) { return (bytes + 63) & ~(size_t)63; }

static int64_t piece_width(const struct vec_program *p, int64_t cols) {
    const int64_t width = p->room < NARROW ? NARROW : p->room & -64;
    return p->row_ops || cols <= 2 * width ? cols : width;
}

static int64_t block_rows(const struct vec_program *p, int64_t width) {
    if (width >= p->room) return 1;
    const int rows = p->room / (int)(width ? width : 1);
    return rows > CHUNK ? rows & -CHUNK : rows;
}

// Lays the scratch out for blocks of `block` rows and pieces of at most `widest` columns, this one of `width`;
// returns its size. With a NULL base it only measures.
static size_t lay_out(const struct vec_program *p, size_t block, int64_t widest, int64_t width, char *base, struct place *place,
                      struct sum *sum) {
    size_t cols = (size_t)widest;
    const size_t floats[4] = {[VEC_ONE] = 1, [VEC_ROW] = block, [VEC_COL] = cols, [VEC_FULL] = block * cols};
    const int64_t stride[4] = {[VEC_ROW] = 1, [VEC_FULL] = width};
    size_t at[4], end = 0;
    for (int k = 0; k < 4; k++) {
        at[k] = end;
        end += aligned(floats[k] * sizeof(float)) * (size_t)p->slots[k];
    }
    for (int r = 0; base && r < p->registers; r++) {
        int k = p->kind[r];
        size_t offset = at[k] + aligned(floats[k] * sizeof(float)) * (size_t)(p->slot[r] < 0 ? 0 : p->slot[r]);
        place[r] = (struct place){(float *)(base + offset), stride[k], NULL};
    }
    for (int i = 0; i < p->stores; i++) {
        if (p->store[i].kind == VEC_STORE || !(p->kind[p->store[i].reg] & VEC_ROW)) continue;
        bool full = p->kind[p->store[i].reg] == VEC_FULL;
        size_t n = full && cols > VEC_LANES ? cols : VEC_LANES;
        if (base) {
            sum[i].total = (double *)(base + end);
            sum[i].partial = (float *)(base + end + aligned(n * sizeof(double)));
        }
        end += aligned(n * sizeof(double)) + (full ? aligned(n * sizeof(float)) : 0);
    }
    return end;
}

static size_t head_bytes(const struct vec_program *p) {
    return aligned((size_t)p->registers * sizeof(struct place)) + aligned((size_t)p->stores * sizeof(struct sum));
}

// 63 bytes more, so that the caller's alignment does not matter.
size_t vec_scratch(const struct vec_program *p, int64_t cols) {
    const int64_t widest = piece_width(p, cols);
    return 63 + head_bytes(p) + lay_out(p, (size_t)block_rows(p, widest), widest, 0, NULL, NULL, NULL);
}

// ---- one op over n rows

static void run_binary(const struct run *u, const struct vec_op *op, int64_t n) {
    const unsigned char *kind = u->p->kind;
    struct place x = u->place[op->x], y = u->place[op->y], out = u->place[op->out];
    int64_t width = u->width;
    bool x_each, y_each;  // runs along the row
    if (kind[op->out] != VEC_FULL) {  // one row of n, of width or of 1
        x_each = kind[op->x] == kind[op->out];
        y_each = kind[op->y] == kind[op->out];
        width = kind[op->out] == VEC_ROW ? n : kind[op->out] == VEC_COL ? width : 1;
        n = 1;
    } else {
        const int along = width == 1 ? VEC_ROW : VEC_COL;  // one column: the rows are the row
        x_each = kind[op->x] & along;
        y_each = kind[op->y] & along;
        bool flat = out.row == width && x.row == (x_each ? width : 0) && y.row == (y_each ? width : 0);
        if (flat) width *= n, n = 1;
    }
    enum vec_form form = x_each && y_each ? VEC_EACH_EACH : x_each ? VEC_EACH_ONE : VEC_ONE_EACH;
    u->k->binary[op->code][form](n, width, x.at, x.row, y.at, y.row, op, out.at, out.row);
}

static void run_ternary(const struct run *u, const struct vec_op *op, int64_t n) {
    const unsigned char *kind = u->p->kind;
    const int in[3] = {op->x, op->y, op->z};
    struct place p[3], out = u->place[op->out];
    for (int i = 0; i < 3; i++) p[i] = u->place[in[i]];
    int64_t width = u->width;
    int form = 0;
    if (kind[op->out] != VEC_FULL) {
        for (int i = 0; i < 3; i++) form |= (kind[in[i]] == kind[op->out]) << i;
        width = kind[op->out] == VEC_ROW ? n : kind[op->out] == VEC_COL ? width : 1;
        n = 1;
    } else {
        const int along = width == 1 ? VEC_ROW : VEC_COL;
        bool flat = out.row == width;
        for (int i = 0; i < 3; i++) {
            const bool each = kind[in[i]] & along;
            form |= each << i;
            flat &= p[i].row == (each ? width : 0);
        }
        if (flat) width *= n, n = 1;
    }
    u->k->mul_add[form ? form : VEC_EACH_X](n, width, p[0].at, p[0].row, p[1].at, p[1].row, p[2].at, p[2].row, op, out.at, out.row);
}

static void run_unary(const struct run *u, const struct vec_op *op, int64_t n) {
    struct place x = u->place[op->x], out = u->place[op->out];
    int64_t width = u->width;
    switch (u->p->kind[op->out]) {
    case VEC_ONE: n = width = 1; break;
    case VEC_COL: n = 1; break;
    case VEC_ROW: width = n, n = 1; break;
    default:
        if (x.row == width && out.row == width) width *= n, n = 1;
    }
    (op->affine ? u->k->affine : u->k->unary)[op->code](n, width, x.at, x.row, op, out.at, out.row);
}

// The index a ROW or ONE register holds for row r, -1 where it is no column.
static int64_t column_at(struct place y, int64_t r, int64_t width) {
    int32_t c;
    memcpy(&c, y.at + r * y.row, sizeof c);
    return c >= 0 && c < width ? c : -1;
}

static void run_op(const struct run *u, const struct vec_op *op, int64_t n) {
    struct place x = u->place[op->code == VEC_FILL ? op->out : op->x], out = u->place[op->out];
    int64_t width = u->width;
    switch (op->code) {
    case VEC_ADD:
    case VEC_SUB:
    case VEC_MUL:
    case VEC_DIV:
    case VEC_COMBINE:
    case VEC_GATE:
    case VEC_MUL_SCALED: run_binary(u, op, n); break;
    case VEC_MUL_ADD: run_ternary(u, op, n); break;
    case VEC_FILL: *out.at = op->a; break;
    case VEC_ROW_SUM:
    case VEC_ROW_MAX:
    case VEC_ROW_ARGMAX:
        if (u->p->kind[op->x] & VEC_COL) {
            (op->code == VEC_ROW_SUM ? u->k->row_sum : op->code == VEC_ROW_MAX ? u->k->row_max : u->k->row_argmax)(
                n, width, x.at, x.row, out.at);
            break;
        }
        for (int64_t r = 0; r < n; r++)  // the row holds one value everywhere; the first column has the bits of 0.0f
            out.at[r] = op->code == VEC_ROW_SUM ? (float)width * x.at[r * x.row] : op->code == VEC_ROW_MAX ? x.at[r * x.row] : 0;
        break;
    case VEC_ROW_DOT:
        u->k->row_dot(n, width, x.at, x.row, u->place[op->y].at, u->place[op->y].row, out.at);
        break;
    case VEC_ROW_GATHER: {
        bool along = u->p->kind[op->x] & VEC_COL;
        for (int64_t r = 0; r < n; r++) {
            int64_t c = column_at(u->place[op->y], r, width);
            out.at[r] = c < 0 ? 0 : x.at[r * x.row + (along ? c : 0)];
        }
        break;
    }
    case VEC_ROW_SCATTER:
        for (int64_t r = 0; r < n; r++) {
            int64_t c = column_at(u->place[op->y], r, width);
            memset(out.at + r * out.row, 0, (size_t)width * sizeof(float));
            if (c >= 0) out.at[r * out.row + c] = x.at[r * x.row];
        }
        break;
    default: run_unary(u, op, n);
    }
}

// ---- loads and stores

static int64_t kind_width(const struct run *u, int kind) { return kind & VEC_COL ? u->width : 1; }

static float *view_at(const struct run *u, const struct vec_view *v, int kind, int64_t example, int64_t row) {
    return v->at + (kind & VEC_COL ? u->from : 0) + example * v->example + row * v->row;
}

// Whether the rows of all examples have one stride, and which.
static bool strung(const struct run *u, const struct vec_view *v, int64_t *stride) {
    *stride = u->rows == 1 ? v->example : v->row;
    return u->examples == 1 || u->rows == 1 || v->example == u->rows * v->row;
}

// Rows [at, at + n) of the list of all rows, and where the first one lies.
struct stretch {
    int64_t at, n;
    int64_t example, row;
};

// Copies a stretch between a view and a register.
static void copy_rows(const struct run *u, const struct vec_view *v, int reg, const struct stretch *s, bool store) {
    const int kind = u->p->kind[reg];
    const struct place x = u->place[reg];
    const int64_t width = kind_width(u, kind);
    int64_t stride;
    if (strung(u, v, &stride) && stride == width && x.row == width) {
        float *outside = view_at(u, v, kind, s->example, s->row);
        if (outside != x.at) memcpy(store ? outside : x.at, store ? x.at : outside, (size_t)(s->n * width) * sizeof(float));
        return;
    }
    float *inside = x.at;
    for (int64_t i = 0, e = s->example, r = s->row; i < s->n; i++, inside += x.row) {
        float *outside = view_at(u, v, kind, e, r), *to = store ? outside : inside, *from = store ? inside : outside;
        if (width == 1)
            *to = *from;
        else if (to != from)
            memcpy(to, from, (size_t)width * sizeof(float));
        if (++r == u->rows) e++, r = 0;
    }
}

// Adds rows [r, r + n) of `count` in all; after the last one writes the sum.
static void add_rows(const struct run *u, const struct sum *s, int kind, struct place x, int64_t r, int64_t n, int64_t count,
                     float *out) {
    const int64_t end = r + n;
    if (x.row == 1 && kind_width(u, kind) == 1) {  // row r belongs to lane r % VEC_LANES
        if (r == 0) memset(s->total, 0, VEC_LANES * sizeof *s->total);
        for (; r < end && r % VEC_LANES; r++) s->total[r % VEC_LANES] += *x.at++;
        const int64_t whole = (end - r) & -VEC_LANES;
        u->k->add_lanes(whole, x.at, s->total);
        x.at += whole;
        for (r += whole; r < end; r++) s->total[r % VEC_LANES] += *x.at++;
        if (r < count) return;
        double sum = 0;
        for (int i = 0; i < VEC_LANES; i++) sum += s->total[i];
        *out = (float)sum;
        return;
    }
    while (r < end) {
        const int64_t step = CHUNK - r % CHUNK < end - r ? CHUNK - r % CHUNK : end - r;
        u->k->sum_rows(step, u->width, x.at, x.row, s->partial, r % CHUNK == 0);
        x.at += step * x.row;
        r += step;
        if (r % CHUNK && r < count) continue;
        u->k->add_chunk(u->width, s->partial, s->total, r <= CHUNK);
        if (r == count) u->k->write_sum(u->width, s->total, out);
    }
}

static void add_block(const struct run *u, int i, const struct stretch *s) {
    const struct vec_store *store = &u->p->store[i];
    const struct vec_view *v = &u->stores[i];
    const int kind = u->p->kind[store->reg];
    struct place x = u->place[store->reg];
    if (store->kind == VEC_SUM_ALL) {
        add_rows(u, &u->sum[i], kind, x, s->at, s->n, u->examples * u->rows, view_at(u, v, kind, 0, 0));
        return;
    }
    for (int64_t n = s->n, e = s->example, r = s->row, step; n > 0; n -= step, e++, r = 0) {
        step = u->rows - r < n ? u->rows - r : n;
        add_rows(u, &u->sum[i], kind, x, r, step, u->rows, view_at(u, v, kind, e, 0));
        x.at += step * x.row;
    }
}

// Stores of what does not depend on the row, and of sums over no rows.
static void store_rest(const struct run *u, int i) {
    const struct vec_store *store = &u->p->store[i];
    const struct vec_view *v = &u->stores[i];
    const int kind = u->p->kind[store->reg];
    const int64_t width = kind_width(u, kind);
    const bool by_row = kind & VEC_ROW, plain = store->kind == VEC_STORE, all = store->kind == VEC_SUM_ALL;
    const int64_t count = all ? u->examples * u->rows : u->rows;
    if (by_row && (plain || count)) return;  // done with the blocks
    if (!(kind & VEC_COL) && !u->last) return;
    const float *x = u->place[store->reg].at;
    const int64_t examples = all || (plain && !v->example) ? 1 : u->examples, rows = plain && v->row ? u->rows : 1;
    for (int64_t e = 0; e < examples; e++)
        for (int64_t r = 0; r < rows; r++) {
            float *out = view_at(u, v, kind, e, r);
            for (int64_t c = 0; c < width; c++) out[c] = by_row ? 0 : plain ? x[c] : (float)count * x[c];
        }
}

// ---- the run

// Whether a store may overwrite load i before another store has read it.
static bool overwritten(const struct run *u, int i) {
    const struct vec_program *p = u->p;
    const int reg = p->load[i].reg;
    for (int s = 0; s < p->stores && p->last[reg] == p->ops; s++)
        if (p->store[s].kind == VEC_STORE && u->stores[s].at == u->loads[i].at && p->store[s].reg != reg) return true;
    return false;
}

// A load lies in place unless its rows have no common stride or it is overwritten.
static void place_load(const struct run *u, int i, bool string) {
    const int reg = u->p->load[i].reg, kind = u->p->kind[reg];
    const struct vec_view *v = &u->loads[i];
    int64_t row = v->row;
    if (string && !strung(u, v, &row)) return;
    if (kind == VEC_ROW && row != 1 && u->block > 1) return;
    if (overwritten(u, i)) return;
    u->place[reg].view = v;
    u->place[reg].row = kind == VEC_ROW ? 1 : row;
}

// The op that defines a stored register writes in the destination unless a load there is still to be read.
static void place_store(const struct run *u, int i, bool string) {
    const struct vec_program *p = u->p;
    const int reg = p->store[i].reg, kind = p->kind[reg];
    const struct vec_view *v = &u->stores[i];
    int64_t row = v->row;
    if (p->store[i].kind != VEC_STORE || !(kind & VEC_ROW) || u->place[reg].view) return;
    if (string && !strung(u, v, &row)) return;
    if (kind == VEC_ROW && ((row != 1 && u->block > 1) || !u->last)) return;
    int def = 0;
    while (def < p->ops && p->op[def].out != reg) def++;
    if (def == p->ops) return;  // a load
    for (int l = 0; l < p->loads; l++)
        if (u->loads[l].at == v->at && p->last[p->load[l].reg] > def) return;
    u->place[reg].view = v;
    u->place[reg].row = kind == VEC_ROW ? 1 : row;
}

static void run_block(const struct run *u, const struct stretch *s) {
    const struct vec_program *p = u->p;
    for (int r = 0; r < p->registers; r++)
        if (u->place[r].view) u->place[r].at = view_at(u, u->place[r].view, p->kind[r], s->example, s->row);
    for (int i = 0; i < p->loads; i++) {
        const int r = p->load[i].reg;
        if (p->kind[r] & VEC_ROW && !u->place[r].view && p->last[r] >= 0) copy_rows(u, &u->loads[i], r, s, false);
    }
    for (int i = 0; i < p->ops; i++)
        if (p->kind[p->op[i].out] & VEC_ROW) run_op(u, &p->op[i], s->n);
    for (int sums = 1; sums >= 0; sums--)  // sums first: a store may overwrite what they read
        for (int i = 0; i < p->stores; i++) {
            const int r = p->store[i].reg;
            if (!(p->kind[r] & VEC_ROW) || (p->kind[r] == VEC_ROW && !u->last)) continue;
            if ((p->store[i].kind != VEC_STORE) != sums || u->place[r].view == &u->stores[i]) continue;
            if (sums)
                add_block(u, i, s);
            else
                copy_rows(u, &u->stores[i], r, s, true);
        }
}

static void run_piece(struct run *u, char *base) {
    const struct vec_program *p = u->p;
    lay_out(p, (size_t)u->block, u->widest, u->width, base, u->place, u->sum);
    for (int i = 0; i < p->loads; i++) {
        const int r = p->load[i].reg;
        if (p->kind[r] & VEC_ROW || p->last[r] < 0) continue;
        float *at = view_at(u, &u->loads[i], p->kind[r], 0, 0);
        if (overwritten(u, i))
            memcpy(u->place[r].at, at, (size_t)kind_width(u, p->kind[r]) * sizeof *at);
        else
            u->place[r].at = at;
    }
    for (int i = 0; i < p->ops; i++)
        if (!(p->kind[p->op[i].out] & VEC_ROW)) run_op(u, &p->op[i], 1);

    // Whether to string the examples together: always where it costs nothing.
    bool string = u->rows * u->width < SMALL;
    int64_t stride;
    if (!string) {
        string = true;
        for (int i = 0; i < p->loads; i++) string &= !p->load[i].by_row || strung(u, &u->loads[i], &stride);
        for (int i = 0; i < p->stores; i++)
            string &= p->store[i].kind != VEC_STORE || !(p->kind[p->store[i].reg] & VEC_ROW) || strung(u, &u->stores[i], &stride);
    }
    for (int i = 0; i < p->loads; i++)
        if (p->load[i].by_row) place_load(u, i, string);
    for (int i = 0; i < p->stores; i++) place_store(u, i, string);

    const int64_t all = u->examples * u->rows, list = string ? all : u->rows;
    for (int64_t at = 0, end = list; at < all; end += list)
        while (at < end) {
            struct stretch s = {.at = at, .n = end - at < u->block ? end - at : u->block};
            s.example = u->rows == 1 ? at : at < u->rows ? 0 : at / u->rows;
            s.row = at - s.example * u->rows;
            run_block(u, &s);
            at += s.n;
        }
    for (int i = 0; i < p->stores; i++) store_rest(u, i);
}

void vec_run(const struct vec_program *p, const struct vec_view *loads, const struct vec_view *stores,
             int64_t examples, int64_t rows, int64_t cols, void *scratch) {
    char *base = (char *)(((uintptr_t)scratch + 63) & ~(uintptr_t)63);
    struct run u = {.p = p, .k = kernels(), .loads = loads, .stores = stores, .examples = examples, .rows = rows};
    u.place = (struct place *)base;
    u.sum = (struct sum *)(base + aligned((size_t)p->registers * sizeof *u.place));
    u.widest = piece_width(p, cols);
    u.block = block_rows(p, u.widest);
    for (u.from = 0; u.from < cols; u.from += u.widest) {
        u.width = cols - u.from < u.widest ? cols - u.from : u.widest;
        u.last = u.from + u.width == cols;
        run_piece(&u, base + head_bytes(p));
    }
}

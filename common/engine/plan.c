// plan.c: the planner, in the order in which it works:
//   1. rewrite (rewrite.c), reachability, the pass of every node, its layout;
//   2. walk the nodes and write instructions; elementwise ops and their reductions are gathered in *clusters*
//      that stay open until somebody needs a value of theirs, and become one fused program each;
//   3. decide where every value lives, and pack the arenas by liveness.
#include "plan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/error.h"
#include "instr.h"
#include "rewrite.h"

enum { CLUSTERS = 64, MEMBERS = 96, BIG_WEIGHT = 1 << 15 };  // floats above which a product wants many rows

struct cluster {
    bool open, batch, last;
    int64_t rows, cols;
    int count;
    const struct node *member[MEMBERS];
    uint64_t needs;  // open clusters it depends on, also indirectly
};

struct planner {
    struct plan *p;
    struct graph *g;
    int n;              // nodes
    bool *live;
    int *pass;          // the pass in which a node can be computed
    int **user, *users;
    int *order;         // in which they are processed
    bool *output;
    bool *last;         // layout at home
    int (*value)[2];    // by node and layout, -1 where there is none
    bool *done;         // became part of an instruction
    bool *left;         // sums over rows that the sum over the examples does too
    bool *spread;       // operands that are broadcasts are stored first
    unsigned char *vary;  // members: 1 by row, 2 by column
    int *cluster;       // open cluster or -1
    struct cluster open[CLUSTERS];
    int now;            // pass being written
};

static int materialise(struct planner *s, const struct node *n, bool last);

// ---- layouts

// Layouts differ only where there is something on both sides of the first axis.
static bool flat_layout(const struct shape *s) {
    return s->rank < 2 || s->dim[0] == 1 || shape_count(s) == s->dim[0];
}

// Dimensions in the order in which they lie in memory.
static void physical(const struct shape *s, bool last, int64_t dim[GRAPH_RANK_MAX]) {
    dim[0] = 1;
    for (int i = 0; i < s->rank; i++) dim[i] = s->dim[last ? (i + 1) % s->rank : i];
}

static void space_of(const struct shape *s, bool last, int64_t *rows, int64_t *cols) {
    int64_t dim[GRAPH_RANK_MAX];
    physical(s, last, dim);
    *cols = s->rank ? dim[s->rank - 1] : 1;
    *rows = 1;
    for (int i = 0; i + 1 < s->rank; i++) *rows *= dim[i];
}

static void strides_in(const struct shape *s, bool last, int64_t stride[GRAPH_RANK_MAX]) {
    int64_t step = 1;
    for (int i = s->rank - 1; i >= 0; i--) {
        int axis = last ? (i + 1) % s->rank : i;
        stride[axis] = step;
        step *= s->dim[axis];
    }
}

void value_strides(const struct value *v, int64_t stride[GRAPH_RANK_MAX]) { strides_in(&v->node->shape, v->last, stride); }

// A transpose that only renames the layout: axis 0 moves to the end, or the end to axis 0.
static bool moves_first_to_end(const struct node *n) {
    for (int i = 0; i < n->shape.rank; i++)
        if (n->perm[i] != (i + 1) % n->shape.rank) return false;
    return true;
}
static bool moves_end_to_first(const struct node *n) {
    int r = n->shape.rank;
    for (int i = 0; i < r; i++)
        if (n->perm[i] != (i + r - 1) % r) return false;
    return true;
}

static bool home_layout(const struct planner *s, const struct node *n) {
    const struct node *x = n->in[0], *y = n->in[1];
    if (!n->batch || flat_layout(&n->shape)) return false;
    switch (n->op) {
    case OP_CONV: case OP_CONV_DX: case OP_POOL_ARGMAX: case OP_POOL_GATHER: case OP_POOL_SCATTER: return true;
    case OP_SLICE: case OP_PAD: case OP_SUM: return s->last[x->id];
    case OP_BROADCAST: return s->last[x->id];
    case OP_RESHAPE: return s->last[x->id] && x->shape.dim[0] == n->shape.dim[0];
    case OP_TRANSPOSE: return !s->last[x->id] && !flat_layout(&x->shape) && moves_end_to_first(n);
    default: break;
    }
    if (!op_elementwise(n->op)) return false;
    return s->last[x->id] || (y && s->last[y->id]);
}

// ---- values and instructions

static int new_value(struct planner *s, const struct node *n, bool last, int root) {
    struct plan *p = s->p;
    if (p->values == p->value_room) {
        p->value_room = p->value_room ? 2 * p->value_room : 64;
        p->value = memory_grow(p->value, (size_t)p->value_room * sizeof *p->value);
    }
    int64_t count = shape_count(&n->shape);
    struct value v = {.node = n, .last = last, .root = root < 0 ? p->values : root, .born = -1, .dies = -1, .pass = s->now};
    v.bytes = n->op == OP_POOL_ARGMAX && last;
    v.floats = v.bytes ? (count + 3) / 4 : count;
    if (n->op == OP_INPUT && !last) v.place = AT_INPUT;
    else if (!n->batch) v.place = AT_WHOLE;
    p->value[p->values] = v;
    s->value[n->id][last] = p->values;
    if (flat_layout(&n->shape) && n->op != OP_POOL_ARGMAX) s->value[n->id][!last] = p->values;
    return p->values++;
}

// A place for an instruction that computes n; the caller fills the rest.
static struct instr *emit(struct planner *s, enum code code, const struct node *n) {
    struct plan *p = s->p;
    if (p->instrs == p->instr_room) {
        p->instr_room = p->instr_room ? 2 * p->instr_room : 64;
        p->instr = memory_grow(p->instr, (size_t)p->instr_room * sizeof *p->instr);
    }
    struct instr *i = &p->instr[p->instrs++];
    *i = (struct instr){.code = code, .pass = s->now, .whole = !n->batch, .node = n, .in = {-1, -1}, .out = -1, .bias = -1, .top = -1};
    return i;
}

// The same with operands and a fresh value. Operands are materialised before, since that emits too.
static struct instr *emit_to(struct planner *s, enum code code, const struct node *n, bool last, int a, int b) {
    int out = new_value(s, n, last, -1);
    struct instr *i = emit(s, code, n);
    i->in[0] = a;
    i->in[1] = b;
    i->out = out;
    return i;
}

// ---- strided copies and sums

static void emit_copy(struct planner *s, const struct node *n, bool last, int from, struct strided walk) {
    int out = new_value(s, n, last, -1);
    struct instr *i = emit(s, I_COPY, n);
    i->in[0] = from;
    i->out = out;
    i->walk = walk;
}

// How to walk from value `from` to a value of n in layout `last`.
static struct strided walk_of(const struct planner *s, const struct node *n, bool last, int from) {
    const struct value *v = &s->p->value[from];
    struct strided w = {0};
    int64_t in[GRAPH_RANK_MAX], out[GRAPH_RANK_MAX];
    strides_in(&v->node->shape, v->last, in);
    strides_in(&n->shape, last, out);
    for (int i = 0; i < n->shape.rank; i++) {
        w.dim[i] = n->shape.dim[i];
        w.to[i] = out[i];
        w.from[i] = i < v->node->shape.rank ? in[i] : 0;
    }
    switch (n->op == v->node->op && n->id == v->node->id ? OP_INPUT : n->op) {
    case OP_TRANSPOSE:
        for (int i = 0; i < n->shape.rank; i++) w.from[i] = in[n->perm[i]];
        break;
    case OP_SLICE: w.from_start = n->from * in[n->axis]; break;
    case OP_PAD:
        w.dim[n->axis] = v->node->shape.dim[n->axis];
        w.to_start = n->from * out[n->axis];
        w.clear = true;
        break;
    case OP_BROADCAST:
        for (int i = 0; i < n->shape.rank; i++)
            if (v->node->shape.dim[i] == 1) w.from[i] = 0;
        break;
    default: break;  // the same node in another layout
    }
    return w;
}

// ---- clusters

// The open clusters that must be closed before n has a value, also through views that are not made yet.
static uint64_t needs_of(const struct planner *s, const struct node *n) {
    if (s->value[n->id][0] >= 0 || s->value[n->id][1] >= 0) return 0;
    int k = s->cluster[n->id];
    uint64_t needs = k >= 0 ? 1ull << k | s->open[k].needs : 0;
    for (int i = 0; k < 0 && i < op_inputs[n->op]; i++) needs |= needs_of(s, n->in[i]);
    return needs;
}

static const struct node *under_broadcast(const struct node *o) { return o->op == OP_BROADCAST ? o->in[0] : o; }

static bool is_number(const struct node *o, double *a) {
    while (o->op == OP_EACH || o->op == OP_BROADCAST) o = o->in[0];
    if (o->op != OP_FILL) return false;
    *a = o->a;
    return true;
}

// How operand o looks from a space: the view's strides, and along what it varies. False where no view does.
static bool view_in(const struct node *o, const struct shape *space, bool last, int64_t rows, int64_t cols, struct vec_view *view, unsigned *vary, bool batch) {
    const struct node *src = under_broadcast(o);
    const struct node *value = src->op == OP_EACH ? src->in[0] : src;
    int64_t q[GRAPH_RANK_MAX], p[GRAPH_RANK_MAX];
    bool by_row, by_col;
    if (o->op == OP_BROADCAST) {
        physical(&src->shape, last, q);
        physical(&o->shape, last, p);
        int r = o->shape.rank;
        by_col = r && q[r - 1] > 1;
        bool all = true, none = true;
        for (int i = 0; i + 1 < r; i++) {
            if (q[i] != p[i]) all = false;
            if (q[i] != 1) none = false;
        }
        if (!all && !none) return false;
        by_row = !none;
        (void)space;
    } else {
        int64_t r, c;
        space_of(&o->shape, last, &r, &c);
        if (r != rows || (c != cols && c != 1 && cols != 1)) return false;
        by_row = rows > 1;
        by_col = c > 1;
    }
    int64_t count = shape_count(&src->shape), width = by_col ? (last ? src->shape.dim[0] : src->shape.dim[src->shape.rank - 1]) : 1;
    *view = (struct vec_view){NULL, value->batch ? count : 0, by_row ? width : 0};
    bool rowwise = value->batch || by_row || !batch;
    *vary = (rowwise ? 1u : 0) | (by_col ? 2u : 0);
    return true;
}

// Whether u's value is computed inside cluster k, from registers.
static bool inside(const struct planner *s, int u, int k) { return s->cluster[u] == k; }

// Whether somebody outside cluster k wants n's value stored.
static bool used_outside(const struct planner *s, const struct node *n, int k) {
    if (s->output[n->id]) return true;
    for (int i = 0; i < s->users[n->id]; i++) {
        int u = s->user[n->id][i];
        enum op op = graph_node(s->g, u)->op;
        if (inside(s, u, k)) continue;
        // Broadcasts, and sums that are taken together with the sum over the examples, are looked through.
        bool through = !s->output[u] && (op == OP_BROADCAST || s->left[u]);
        for (int j = 0; through && j < s->users[u]; j++) {
            int v = s->user[u][j];
            through = inside(s, v, k) && !(op == OP_BROADCAST && s->spread[v]);
        }
        if (!through) return true;
    }
    return false;
}

static enum vec_code vec_code(enum op op) {
    switch (op) {
    case OP_ADD: return VEC_ADD;
    case OP_SUB: return VEC_SUB;
    case OP_MUL: return VEC_MUL;
    case OP_DIV: return VEC_DIV;
    case OP_NEG: return VEC_NEG;
    case OP_EXP: return VEC_EXP;
    case OP_LOG: return VEC_LOG;
    case OP_SQRT: return VEC_SQRT;
    case OP_TANH: return VEC_TANH;
    case OP_SIGMOID: return VEC_SIGMOID;
    case OP_ERF: return VEC_ERF;
    case OP_RELU: case OP_SOFT_RELU: return VEC_RELU;
    case OP_STEP: return VEC_STEP;
    case OP_SIGN: return VEC_SIGN;
    case OP_GATHER: return VEC_ROW_GATHER;
    case OP_SCATTER: return VEC_ROW_SCATTER;
    case OP_ARGMAX: return VEC_ROW_ARGMAX;
    case OP_ROW_MAX: return VEC_ROW_MAX;
    case OP_SUM: return VEC_ROW_SUM;
    case OP_RESHAPE: case OP_DETACH: return VEC_COPY;
    default: BUG("op %s is no part of a fused program", op_name[op]);
    }
}

// What a sum does in its input's space.
enum sum_form { SUM_LAST, SUM_ROWS, SUM_EVERYTHING, SUM_OTHER };
static enum sum_form sum_form(const struct node *n, bool last) {
    const struct shape *x = &n->in[0]->shape;
    int64_t p[GRAPH_RANK_MAX], q[GRAPH_RANK_MAX];
    physical(x, last, p);
    physical(&n->shape, last, q);
    bool rows_gone = true, rows_kept = true;
    for (int i = 0; i + 1 < x->rank; i++) {
        if (q[i] != 1) rows_gone = false;
        if (q[i] != p[i]) rows_kept = false;
    }
    bool last_gone = !x->rank || q[x->rank - 1] == 1;
    if (rows_kept && last_gone) return SUM_LAST;
    if (rows_gone && last_gone) return SUM_EVERYTHING;
    if (rows_gone && q[x->rank - 1] == p[x->rank - 1]) return SUM_ROWS;
    return SUM_OTHER;
}

// A sum over the rows of an example, whose value exists only when all of them were seen.
static bool ends_program(const struct planner *s, const struct node *n) {
    if (n->op == OP_SUM_EXAMPLES) return true;
    if (n->op != OP_SUM) return false;
    return sum_form(n, s->last[n->in[0]->id]) != SUM_LAST;
}

struct build {  // a program under construction
    struct planner *s;
    struct cluster *c;
    int k;
    struct vec_program q;
    struct vec_op op[4 * MEMBERS];
    struct vec_load load[2 * MEMBERS];
    struct vec_view load_view[2 * MEMBERS];
    int load_value[2 * MEMBERS];
    struct vec_store store[2 * MEMBERS];
    struct vec_view store_view[2 * MEMBERS];
    int store_value[2 * MEMBERS];
    const struct node *load_node[2 * MEMBERS];
    int reg[MEMBERS];  // of members
    bool has_sum;
};

static int add_op(struct build *b, enum vec_code code, int x, int y, float a) {
    b->op[b->q.ops++] = (struct vec_op){code, x, y, b->q.registers, a};
    return b->q.registers++;
}

static void add_store(struct build *b, int reg, enum vec_store_kind kind, const struct node *n, int64_t example, int64_t row) {
    int i = b->q.stores++;
    b->store[i] = (struct vec_store){reg, kind};
    b->store_view[i] = (struct vec_view){NULL, example, row};
    b->store_value[i] = new_value(b->s, n, b->s->last[n->id], -1);
}

static int member_register(const struct build *b, const struct node *o) {
    for (int i = 0; i < b->c->count; i++)
        if (b->c->member[i] == o) return b->reg[i];
    return -1;
}

// The register that holds operand o of member n.
static int operand(struct build *b, const struct node *n, const struct node *o) {
    struct planner *s = b->s;
    double a;
    int r = member_register(b, o);
    if (r < 0 && o->op == OP_BROADCAST && !s->spread[n->id]) r = member_register(b, o->in[0]);
    if (r >= 0) return r;
    if (is_number(o, &a)) return add_op(b, VEC_FILL, -1, -1, (float)a);
    for (int i = 0; i < b->q.loads; i++)
        if (b->load_node[i] == o) return b->load[i].reg;
    int i = b->q.loads++;
    unsigned vary;
    bool stored = o->op == OP_BROADCAST && s->spread[n->id];
    const struct node *seen = stored ? &(struct node){.op = OP_INPUT, .batch = o->batch, .shape = o->shape} : o;
    if (!view_in(seen, NULL, b->c->last, b->c->rows, b->c->cols, &b->load_view[i], &vary, b->c->batch))
        BUG("operand %d (%s) of node %d (%s) fits no view", o->id, op_name[o->op], n->id, op_name[n->op]);
    b->load_node[i] = o;
    b->load_value[i] = materialise(s, stored ? o : under_broadcast(o), b->c->last);
    b->load[i] = (struct vec_load){b->q.registers++, vary & 1, (vary & 2) != 0};
    return b->load[i].reg;
}

static void build_member(struct build *b, int at) {
    struct planner *s = b->s;
    const struct node *n = b->c->member[at];
    double a;
    if (n->op == OP_SUM || n->op == OP_SUM_EXAMPLES) {
        const struct node *x = n->in[0];
        bool absorbed = n->op == OP_SUM_EXAMPLES && s->left[x->id];
        const struct node *sum = n->op == OP_SUM ? n : absorbed ? x : NULL;
        int r = operand(b, n, sum ? sum->in[0] : x);
        enum sum_form form = sum ? sum_form(sum, b->c->last) : SUM_ROWS;
        int64_t rows, cols = 1;  // of what is summed, which may be one number a row of a wider space
        if (sum) space_of(&sum->in[0]->shape, b->c->last, &rows, &cols);
        if ((form == SUM_LAST || form == SUM_EVERYTHING) && cols > 1) r = add_op(b, VEC_ROW_SUM, r, -1, 0);
        b->reg[at] = r;
        if (n->op == OP_SUM_EXAMPLES) {
            add_store(b, r, VEC_SUM_ALL, n, 0, 0);
            b->has_sum = true;
        } else if (form != SUM_LAST) {
            add_store(b, r, VEC_SUM_ROWS, n, shape_count(&n->shape), 0);
        }
    } else if (n->op == OP_RESHAPE || n->op == OP_DETACH) {
        b->reg[at] = operand(b, n, n->in[0]);
    } else if (op_inputs[n->op] == 1) {
        b->reg[at] = add_op(b, vec_code(n->op), operand(b, n, n->in[0]), -1, 0);
    } else if ((n->op == OP_MUL || n->op == OP_ADD) && (is_number(n->in[0], &a) || is_number(n->in[1], &a))) {
        const struct node *x = is_number(n->in[0], &a) ? n->in[1] : n->in[0];
        is_number(x == n->in[0] ? n->in[1] : n->in[0], &a);
        b->reg[at] = add_op(b, n->op == OP_MUL ? VEC_SCALE : VEC_SHIFT, operand(b, n, x), -1, (float)a);
    } else {
        int x = operand(b, n, n->in[0]), y = operand(b, n, n->in[1]);
        b->reg[at] = add_op(b, vec_code(n->op), x, y, 0);
    }
}

static void *keep(struct plan *p, const void *bytes, size_t size) {
    void *copy = arena_take(p->arena, size ? size : 1);
    memcpy(copy, bytes, size);
    return copy;
}

static int compare_nodes(const void *a, const void *b) {
    return (*(const struct node *const *)a)->id - (*(const struct node *const *)b)->id;
}

// Turns cluster k into one instruction.
static void close_cluster(struct planner *s, int k) {
    struct cluster *c = &s->open[k];
    if (!c->open) return;
    for (int i = 0; i < CLUSTERS; i++)
        if (c->needs >> i & 1) close_cluster(s, i);
    c->open = false;
    qsort(c->member, (size_t)c->count, sizeof *c->member, compare_nodes);
    struct build *b = memory_zero(sizeof *b);
    b->s = s;
    b->c = c;
    b->k = k;
    for (int i = 0; i < c->count; i++) build_member(b, i);
    for (int i = 0; i < c->count; i++) {
        const struct node *n = c->member[i];
        if (ends_program(s, n) || !used_outside(s, n, k)) continue;
        int64_t rows, cols, count = shape_count(&n->shape);
        space_of(&n->shape, c->last, &rows, &cols);
        add_store(b, b->reg[i], VEC_STORE, n, count, cols == c->cols && !(cols == 1 && c->cols > 1) ? cols : 1);
    }
    struct plan *p = s->p;
    struct instr *in = emit(s, I_VEC, c->member[c->count - 1]);
    in->whole = !c->batch;
    in->rows = c->rows;
    in->cols = c->cols;
    in->has_sum = b->has_sum;
    in->program = b->q;
    in->program.op = keep(p, b->op, (size_t)b->q.ops * sizeof *b->op);
    in->program.load = keep(p, b->load, (size_t)b->q.loads * sizeof *b->load);
    in->program.store = keep(p, b->store, (size_t)b->q.stores * sizeof *b->store);
    in->load = keep(p, b->load_value, (size_t)b->q.loads * sizeof *b->load_value);
    in->store = keep(p, b->store_value, (size_t)b->q.stores * sizeof *b->store_value);
    in->load_view = keep(p, b->load_view, (size_t)b->q.loads * sizeof *b->load_view);
    in->store_view = keep(p, b->store_view, (size_t)b->q.stores * sizeof *b->store_view);
    vec_prepare(&in->program);
    for (int i = 0; i < c->count; i++) {
        s->cluster[c->member[i]->id] = -1;
        s->done[c->member[i]->id] = true;
    }
    for (int i = 0; i < CLUSTERS; i++) s->open[i].needs &= ~(1ull << k);
    free(b);
}

static int new_cluster(struct planner *s, bool batch, bool last, int64_t rows, int64_t cols) {
    int k = 0;
    while (k < CLUSTERS && s->open[k].open) k++;
    if (k == CLUSTERS) {
        k = 0;
        close_cluster(s, k);
    }
    s->open[k] = (struct cluster){.open = true, .batch = batch, .last = last, .rows = rows, .cols = cols};
    return k;
}

static bool fits_space(const struct cluster *c, bool batch, bool last, int64_t rows, int64_t cols) {
    bool same_layout = c->last == last || c->rows == 1;
    return c->open && c->batch == batch && c->rows == rows && same_layout && (c->cols == cols || c->cols == 1 || cols == 1);
}

// Puts n into the cluster of its operands where that is possible, else into a new one. `x`, `y`: operands.
static void join(struct planner *s, const struct node *n, bool last, int64_t rows, int64_t cols, const struct node *x, const struct node *y) {
    const struct node *operand[2] = {x, y};
    uint64_t needs = 0;
    int into = -1;
    bool batch = n->batch || n->op == OP_SUM_EXAMPLES;

    // Does what the operands vary along give n's value its full extent?
    unsigned vary = n->op == OP_SCATTER ? 3 : n->op == OP_SUM || n->op == OP_GATHER || n->op == OP_ARGMAX || n->op == OP_ROW_MAX ? 1 : 0;
    bool spread = false;
    for (int i = 0; i < 2; i++) {
        const struct node *o = operand[i], *src = o ? under_broadcast(o) : NULL;
        double a;
        struct vec_view view;
        unsigned v = 0;
        if (!o || is_number(o, &a)) continue;
        if (s->cluster[src->id] >= 0 && s->open[s->cluster[src->id]].open) v = s->vary[src->id];
        else if (!view_in(o, NULL, last, rows, cols, &view, &v, batch)) spread = true;
        vary |= v;
    }
    bool wide = op_elementwise(n->op) || n->op == OP_SCATTER || n->op == OP_RESHAPE || ends_program(s, n);
    unsigned wanted = 1u | (wide && cols > 1 ? 2u : 0);
    if ((vary & wanted) != wanted) spread = true;
    s->spread[n->id] = spread;
    s->vary[n->id] = (unsigned char)(spread ? 3 : op_elementwise(n->op) || n->op == OP_RESHAPE ? vary : n->op == OP_SCATTER ? 3 : 1);
    if (spread)
        for (int i = 0; i < 2; i++)
            if (operand[i] && operand[i]->op == OP_BROADCAST) materialise(s, operand[i], last);

    for (int i = 0; i < 2; i++) {
        const struct node *o = operand[i];
        if (!o) continue;
        const struct node *src = spread ? o : under_broadcast(o);
        int k = s->cluster[src->id];
        if (k < 0) {
            needs |= needs_of(s, src);
            continue;
        }
        struct cluster *c = &s->open[k];
        struct vec_view view;
        unsigned v;
        bool can = !ends_program(s, src) && fits_space(c, batch, last, rows, cols) && c->count < MEMBERS - 1 && k != into &&
                   (s->last[src->id] == last || flat_layout(&src->shape)) &&
                   view_in(o, NULL, last, rows, cols, &view, &v, batch);
        if (can && into >= 0) {  // join two clusters into one
            struct cluster *d = &s->open[into];
            bool circle = (c->needs >> into & 1) || (d->needs >> k & 1);
            for (int j = 0; j < CLUSTERS; j++)
                if (j != k && j != into && ((c->needs | d->needs) >> j & 1) && (s->open[j].needs >> k & 1 || s->open[j].needs >> into & 1)) circle = true;
            if (!circle && fits_space(d, c->batch, c->last, c->rows, c->cols) && c->count + d->count < MEMBERS - 1) {
                for (int j = 0; j < c->count; j++) {
                    d->member[d->count++] = c->member[j];
                    s->cluster[c->member[j]->id] = into;
                }
                if (c->cols > d->cols) d->cols = c->cols, d->last = c->last;
                d->needs |= c->needs;
                c->open = false;
                for (int j = 0; j < CLUSTERS; j++)
                    if (s->open[j].needs >> k & 1) s->open[j].needs = (s->open[j].needs & ~(1ull << k)) | 1ull << into;
                continue;
            }
        } else if (can) {
            into = k;
            continue;
        }
        if (k != into || ends_program(s, src)) needs |= 1ull << k | c->needs;
    }
    // Joining a cluster that something we need depends on would close a circle.
    if (into >= 0 && needs >> into & 1) {
        needs |= s->open[into].needs | 1ull << into;
        into = -1;
    }
    if (into < 0) {
        for (int k = 0; k < CLUSTERS; k++)  // a new one may push an old one out; then needs are written first
            if (needs >> k & 1 && !s->open[k].open) needs &= ~(1ull << k);
        into = new_cluster(s, batch, last, rows, cols);
        needs &= ~(1ull << into);
    }
    struct cluster *c = &s->open[into];
    if (cols > c->cols) c->cols = cols, c->last = last;
    c->needs |= needs;
    c->member[c->count++] = n;
    s->cluster[n->id] = into;
    for (int j = 0; j < CLUSTERS; j++)  // what waits for this cluster now waits for its needs too
        if (s->open[j].open && s->open[j].needs >> into & 1) s->open[j].needs |= c->needs;
}

// ---- products

static bool is_weight(const struct node *n) { return n->op == OP_EACH; }

// Rows of A that follow each other at one distance over all examples, so that a job is one product.
static bool rows_uniform(const struct node *n) {
    const struct shape *a = &n->in[0]->shape;
    for (int i = 0; i < a->rank - 2; i++)
        if (a->dim[i] != 1) return false;
    int r = a->rank;
    return !n->ta || a->dim[r - 1] == 1 || a->dim[r - 2] == 1;
}

// Follows bias and ReLU behind a product whose rows have `cols` numbers; returns the node that is computed.
static const struct node *follow_tail(struct planner *s, const struct node *n, int64_t cols, bool conv, const struct node **bias, bool *relu) {
    const struct node *end = n, *at = n;
    *bias = NULL;
    *relu = false;
    while (s->users[at->id] == 1 && !s->output[at->id]) {
        const struct node *u = graph_node(s->g, s->user[at->id][0]);
        if (s->pass[u->id] != s->pass[n->id] || !u->batch) break;
        if (u->op == OP_RESHAPE && !conv && u->shape.rank && u->shape.dim[u->shape.rank - 1] == cols) {
            at = u;
            continue;
        }
        if (u->op == OP_ADD && !*bias && !*relu && u->in[0] != u->in[1]) {
            const struct node *other = u->in[0] == at ? u->in[1] : u->in[0], *src = under_broadcast(other);
            if (!is_weight(src) || src->in[0]->op == OP_FILL || shape_count(&src->shape) != cols) break;
            if (src->shape.dim[conv ? 0 : src->shape.rank - 1] != cols) break;
            *bias = src;
        } else if (u->op == OP_RELU) {
            *relu = true;
        } else {
            break;
        }
        at = end = u;
        if (*relu) break;
    }
    for (const struct node *d = n; d != end; d = graph_node(s->g, s->user[d->id][0])) s->done[d->id] = true;
    s->done[end->id] = true;
    return end;
}

static void emit_product(struct planner *s, const struct node *n) {
    const struct node *a = n->in[0], *b = n->in[1];
    int64_t cols = n->shape.dim[n->shape.rank - 1], k = a->shape.dim[a->shape.rank - 1 - n->ta];
    if (n->batch && is_weight(b) && !is_weight(a) && rows_uniform(n)) {
        const struct node *bias;
        bool relu;
        const struct node *end = follow_tail(s, n, cols, false, &bias, &relu);
        int va = materialise(s, a, false), vb = materialise(s, b, false), vbias = bias ? materialise(s, bias, false) : -1;
        struct instr *i = emit_to(s, I_GEMM, end, false, va, vb);
        i->node = n;
        i->by_job = cols * k > BIG_WEIGHT;
        i->bias = vbias;
        i->relu = relu;
        return;
    }
    int va = materialise(s, a, false), vb = materialise(s, b, false);
    emit_to(s, I_PRODUCT, n, false, va, vb);
}

static void emit_conv(struct planner *s, const struct node *n) {
    const struct node *a = n->in[0], *b = n->in[1];
    if (n->op == OP_CONV_DW) {
        if (!n->batch || is_weight(a) || is_weight(b)) {
            int va = materialise(s, a, false), vb = materialise(s, b, false);
            emit_to(s, I_CONV_ANY, n, false, va, vb);
        } else {
            int va = materialise(s, a, true), vb = materialise(s, b, true);
            emit_to(s, I_CONV_EACH, n, false, va, vb);
        }
        return;
    }
    if (!n->batch || is_weight(a) || !is_weight(b)) {
        int va = materialise(s, a, false), vb = materialise(s, b, false);
        emit_to(s, I_CONV_ANY, n, false, va, vb);
        return;
    }
    const struct node *bias = NULL, *end = n;
    bool relu = false;
    if (n->op == OP_CONV) end = follow_tail(s, n, n->shape.dim[0], true, &bias, &relu);
    int va = materialise(s, a, true), vb = materialise(s, b, false), vbias = bias ? materialise(s, bias, false) : -1;
    struct instr *i = emit_to(s, I_CONV, end, true, va, vb);
    i->node = n;
    i->bias = vbias;
    i->relu = relu;
}

// Every number of x has a sum of its own: x seen as one long row.
static void emit_plain_sum(struct planner *s, const struct node *n) {
    const struct node *x = n->in[0];
    int64_t count = shape_count(&x->shape);
    int from = materialise(s, x, false), to = new_value(s, n, false, -1);
    struct instr *i = emit(s, I_VEC, n);
    i->whole = false;
    i->has_sum = true;
    i->rows = 1;
    i->cols = count;
    struct plan *p = s->p;
    i->program = (struct vec_program){.loads = 1, .stores = 1, .registers = 1};
    i->program.op = arena_take(p->arena, 1);
    i->program.load = keep(p, &(struct vec_load){0, true, count > 1}, sizeof(struct vec_load));
    i->program.store = keep(p, &(struct vec_store){0, VEC_SUM_ALL}, sizeof(struct vec_store));
    i->load = keep(p, &from, sizeof from);
    i->store = keep(p, &to, sizeof to);
    i->load_view = keep(p, &(struct vec_view){NULL, is_weight(x) ? 0 : count, 0}, sizeof(struct vec_view));
    i->store_view = keep(p, &(struct vec_view){0}, sizeof(struct vec_view));
    vec_prepare(&i->program);
}

static void emit_sum_examples(struct planner *s, const struct node *n) {
    const struct node *x = n->in[0];
    if (is_weight(x)) {
        emit_plain_sum(s, n);
        return;
    }
    if (x->op == OP_MATMUL && x->shape.rank == 2 && !is_weight(x->in[0]) && !is_weight(x->in[1])) {
        int va = materialise(s, x->in[0], false), vb = materialise(s, x->in[1], false);
        struct instr *i = emit_to(s, I_GEMM_SUM, n, false, va, vb);
        i->node = x;
        i->whole = false;
        return;
    }
    if (x->op == OP_CONV_DW && !is_weight(x->in[0]) && !is_weight(x->in[1])) {
        int va = materialise(s, x->in[0], true), vb = materialise(s, x->in[1], true);
        struct instr *i = emit_to(s, I_CONV_SUM, n, false, va, vb);
        i->node = x;
        i->whole = false;
        i->has_sum = true;
        return;
    }
    int64_t rows, cols;
    if (s->left[x->id]) {
        bool last = s->last[x->in[0]->id];
        space_of(&x->in[0]->shape, last, &rows, &cols);
        join(s, n, last, rows, cols, x->in[0], NULL);
        return;
    }
    bool last = s->last[x->id];
    space_of(&x->shape, last, &rows, &cols);
    if (rows == 1) {
        join(s, n, last, rows, cols, x, NULL);
        return;
    }
    emit_plain_sum(s, n);
}

// ---- making values on demand

static void make(struct planner *s, const struct node *n) {
    const struct node *x = n->in[0];
    bool last = s->last[n->id];
    if (s->cluster[n->id] >= 0) {
        close_cluster(s, s->cluster[n->id]);
        return;
    }
    switch (n->op) {
    case OP_INPUT: new_value(s, n, false, -1); return;
    case OP_FILL: emit_copy(s, n, false, -1, (struct strided){0}); return;
    case OP_BROADCAST: {
        int from = materialise(s, x, s->last[x->id]);
        emit_copy(s, n, last, from, walk_of(s, n, last, from));
        return;
    }
    case OP_RESHAPE: {
        bool keeps = s->last[x->id] && last;  // both channels-last with the same axis 0
        int from = materialise(s, x, keeps);
        new_value(s, n, keeps, s->p->value[from].root);
        return;
    }
    case OP_TRANSPOSE: {
        if (last || (s->last[x->id] && moves_first_to_end(n))) {
            int from = materialise(s, x, !last);
            new_value(s, n, last, s->p->value[from].root);
            return;
        }
        int from = materialise(s, x, s->last[x->id]);
        emit_copy(s, n, last, from, walk_of(s, n, last, from));
        return;
    }
    case OP_SLICE: case OP_PAD: {
        int from = materialise(s, x, s->last[x->id]);
        emit_copy(s, n, last, from, walk_of(s, n, last, from));
        return;
    }
    case OP_MATMUL: emit_product(s, n); return;
    case OP_CONV: case OP_CONV_DX: case OP_CONV_DW: emit_conv(s, n); return;
    case OP_POOL_ARGMAX: {  // the maxima come with their places
        int a = materialise(s, x, true), top = -1;
        for (int i = 0; i < s->users[n->id]; i++) {
            const struct node *u = graph_node(s->g, s->user[n->id][i]);
            if (u->op == OP_POOL_GATHER && u->in[0] == x && u->in[1] == n) top = new_value(s, u, true, -1);
        }
        emit_to(s, I_POOL, n, true, a, -1)->top = top;
        return;
    }
    case OP_POOL_GATHER: case OP_POOL_SCATTER: {
        int a = materialise(s, x, true), b = materialise(s, n->in[1], true);
        if (s->value[n->id][1] < 0) emit_to(s, I_POOL, n, true, a, b)->top = -1;
        return;
    }
    case OP_UNIFORM: {
        int a = materialise(s, x, false);
        emit_to(s, I_UNIFORM, n, last, a, -1);
        return;
    }
    default: BUG("node %d (%s) was not computed in time", n->id, op_name[n->op]);
    }
}

static int materialise(struct planner *s, const struct node *n, bool last) {
    if (n->op == OP_EACH) return materialise(s, n->in[0], last);
    if (s->value[n->id][last] >= 0) return s->value[n->id][last];
    if (s->value[n->id][!last] < 0) make(s, n);
    if (s->value[n->id][last] >= 0) return s->value[n->id][last];
    int from = s->value[n->id][!last];
    BUG_IF(from < 0, "node %d (%s) has no value", n->id, op_name[n->op]);
    emit_copy(s, n, last, from, walk_of(s, n, last, from));
    return s->value[n->id][last];
}

// ---- walking the nodes

static bool row_op(const struct node *n) { return n->op == OP_GATHER || n->op == OP_ARGMAX || n->op == OP_ROW_MAX || n->op == OP_SCATTER; }

// Gathers and others that the vector path does not take: several indices a row.
static bool generic_row_op(const struct node *n) {
    const struct node *index = n->in[1];
    return index && index->shape.dim[index->shape.rank - 1] != 1;
}

static void process(struct planner *s, const struct node *n) {
    if (s->done[n->id] || s->cluster[n->id] >= 0 || s->value[n->id][0] >= 0 || s->value[n->id][1] >= 0) return;
    const struct node *x = n->in[0], *y = n->in[1];
    int64_t rows, cols;
    bool last = s->last[n->id];
    if (op_elementwise(n->op)) {
        space_of(&n->shape, last, &rows, &cols);
        join(s, n, last, rows, cols, x, y);
        return;
    }
    if (row_op(n)) {
        const struct node *base = n->op == OP_SCATTER ? n : x;
        if (generic_row_op(n)) {
            int a = materialise(s, x, false), b = materialise(s, y, false);
            emit_to(s, I_GATHER, n, false, a, b);
            return;
        }
        if (s->last[base->id]) materialise(s, x, false);  // along the logical last axis
        space_of(&base->shape, false, &rows, &cols);
        join(s, n, false, rows, cols, x, y);
        return;
    }
    switch (n->op) {
    case OP_SUM: {
        bool xl = s->last[x->id];
        enum sum_form form = sum_form(n, xl);
        if (form == SUM_OTHER) {
            int a = materialise(s, x, xl);
            struct strided w = {0};
            int64_t in[GRAPH_RANK_MAX], out[GRAPH_RANK_MAX];
            strides_in(&x->shape, xl, in);
            strides_in(&n->shape, last, out);
            for (int i = 0; i < x->shape.rank; i++) {
                w.dim[i] = x->shape.dim[i];
                w.from[i] = in[i];
                w.to[i] = n->shape.dim[i] == 1 ? 0 : out[i];
            }
            emit_to(s, I_SUM, n, last, a, -1)->walk = w;
            return;
        }
        if (form != SUM_LAST && s->users[n->id] == 1 && !s->output[n->id] && graph_node(s->g, s->user[n->id][0])->op == OP_SUM_EXAMPLES) {
            s->done[n->id] = s->left[n->id] = true;
            return;
        }
        space_of(&x->shape, xl, &rows, &cols);
        join(s, n, xl, rows, cols, x, NULL);
        return;
    }
    case OP_SUM_EXAMPLES: emit_sum_examples(s, n); return;
    case OP_RESHAPE: {
        // Within a program a reshape that keeps rows and columns is the same register.
        int64_t r, c;
        bool xl = s->last[x->id];
        if (s->cluster[x->id] < 0 || ends_program(s, x)) return;
        space_of(&n->shape, last, &rows, &cols);
        space_of(&x->shape, xl, &r, &c);
        bool alike = (xl == last) || flat_layout(&x->shape) || flat_layout(&n->shape);
        if (r == rows && c == cols && alike) join(s, n, last, rows, cols, x, NULL);
        return;
    }
    case OP_MATMUL: case OP_CONV_DW: {
        bool sums_only = !s->output[n->id] && n->batch;
        for (int i = 0; sums_only && i < s->users[n->id]; i++)
            sums_only = graph_node(s->g, s->user[n->id][i])->op == OP_SUM_EXAMPLES;
        if (sums_only && !is_weight(x) && !is_weight(y) && (n->op == OP_CONV_DW || n->shape.rank == 2)) return;
        make(s, n);
        return;
    }
    case OP_CONV: case OP_CONV_DX: case OP_POOL_ARGMAX: case OP_POOL_GATHER: case OP_POOL_SCATTER: case OP_UNIFORM: make(s, n); return;
    default: return;  // inputs, constants and views are made when somebody asks
    }
}

// ---- liveness

static int align(int64_t floats) { return (int)((floats + 1) / 2 * 2); }

struct span {
    int value, born, dies;
    int64_t floats;
};

// First fit over the spans in order of birth; returns the arena's size per example.
static int64_t pack(struct plan *p, struct span *span, int count) {
    int64_t top = 0;
    for (int i = 0; i < count; i++) {
        int64_t at = 0;
        for (bool moved = true; moved;) {
            moved = false;
            for (int j = 0; j < i; j++) {
                const struct value *w = &p->value[span[j].value];
                bool together = span[j].born <= span[i].dies && span[i].born <= span[j].dies;
                if (together && w->offset < at + span[i].floats && at < w->offset + span[j].floats) {
                    at = w->offset + span[j].floats;
                    moved = true;
                }
            }
        }
        p->value[span[i].value].offset = at;
        if (at + span[i].floats > top) top = at + span[i].floats;
    }
    return top;
}

static void touch(struct plan *p, int v, int at, int segment, int *first, int *final, bool *wide, bool job) {
    if (v < 0) return;
    int r = p->value[v].root;
    if (p->value[r].born < 0) p->value[r].born = at;
    p->value[r].dies = at;
    if (first[r] < 0) first[r] = segment;
    final[r] = segment;
    if (job) wide[r] = true;
}

static void place_values(struct plan *p) {
    int *first = memory_take((size_t)(p->values + 1) * sizeof(int)), *final = memory_zero((size_t)(p->values + 1) * sizeof(int));
    int *in_pass = memory_take((size_t)(p->values + 1) * sizeof(int));
    bool *wide = memory_zero((size_t)(p->values + 1)), *crosses = memory_zero((size_t)(p->values + 1));
    for (int v = 0; v < p->values; v++) first[v] = -1, in_pass[v] = -1;
    int segment = 0;
    for (int t = 0; t < p->instrs; t++) {
        const struct instr *i = &p->instr[t];
        if (i->whole) continue;
        if (i->by_job || (t && (p->instr[t - 1].by_job || p->instr[t - 1].pass != i->pass))) segment++;
        int all[5], count = 0;
        for (int j = 0; j < 2; j++) all[count++] = i->in[j];
        all[count++] = i->out;
        all[count++] = i->bias;
        all[count++] = i->top;
        for (int j = 0; j < count + i->program.loads + i->program.stores; j++) {
            int v = j < count ? all[j] : j < count + i->program.loads ? i->load[j - count] : i->store[j - count - i->program.loads];
            touch(p, v, t, segment, first, final, wide, i->by_job);
            if (v < 0) continue;
            int r = p->value[v].root;
            if (in_pass[r] >= 0 && in_pass[r] != i->pass) crosses[r] = true;
            in_pass[r] = i->pass;
        }
        if (i->code == I_GEMM_SUM)
            for (int j = 0; j < 2; j++) crosses[p->value[i->in[j]].root] = true;
    }
    for (int i = 0; i < p->outputs; i++) crosses[p->value[p->output_value[i]].root] = true;
    struct span *span = memory_take((size_t)(p->values + 1) * sizeof *span);
    for (int kind = 0; kind < 2; kind++) {
        int count = 0;
        for (int t = 0; t < p->instrs; t++)  // in order of birth
            for (int v = 0; v < p->values; v++) {
                struct value *w = &p->value[v];
                if (w->root != v || w->born != t || w->place == AT_INPUT || w->place == AT_WHOLE) continue;
                if (crosses[v]) {
                    w->place = AT_BATCH;
                    continue;
                }
                w->place = wide[v] || first[v] != final[v] ? AT_JOB : AT_SHARD;
                if ((w->place == AT_JOB) != kind) continue;
                span[count++] = (struct span){v, kind ? first[v] : w->born, kind ? final[v] : w->dies, align(w->floats)};
            }
        *(kind ? &p->job_floats : &p->shard_floats) = pack(p, span, count);
    }
    for (int v = 0; v < p->values; v++) {
        struct value *w = &p->value[v], *r = &p->value[w->root];
        w->place = r->place;
        w->offset = r->offset;
    }
    free(first);
    free(final);
    free(in_pass);
    free(wide);
    free(crosses);
    free(span);
}

// ---- the whole

static void find_passes(struct planner *s) {
    for (int id = 0; id < s->n; id++) {
        const struct node *n = graph_node(s->g, id);
        s->pass[id] = 0;
        for (int i = 0; i < op_inputs[n->op]; i++) {
            int from = s->pass[n->in[i]->id] + (n->op == OP_SUM_EXAMPLES);
            if (from > s->pass[id]) s->pass[id] = from;
        }
    }
}

// Draws, and what is computed from draws alone, have no layout of their own: they take their users'.
static void lend_layouts(struct planner *s) {
    bool *is_draw = memory_zero((size_t)s->n);
    for (int id = 0; id < s->n; id++) {
        const struct node *n = graph_node(s->g, id);
        double a;
        is_draw[id] = n->op == OP_UNIFORM;
        if (!op_elementwise(n->op)) continue;
        for (int i = 0; i < op_inputs[n->op]; i++) is_draw[id] |= is_draw[n->in[i]->id];
        for (int i = 0; i < op_inputs[n->op]; i++) is_draw[id] &= is_draw[n->in[i]->id] || is_number(n->in[i], &a);
    }
    for (int id = s->n - 1; id >= 0; id--) {
        if (!is_draw[id] || flat_layout(&graph_node(s->g, id)->shape)) continue;
        for (int i = 0; i < s->users[id]; i++)
            if (op_elementwise(graph_node(s->g, s->user[id][i])->op) && s->last[s->user[id][i]]) s->last[id] = true;
    }
    free(is_draw);
}

// Nodes in the order in which they are written: by id, but a sum over the examples, which calculus puts at
// the end, right behind what it sums, while that is in the cache or still part of an open cluster.
static void find_order(struct planner *s) {
    int *key = memory_take((size_t)s->n * sizeof *key), *start = memory_zero((size_t)(2 * s->n + 3) * sizeof *start);
    for (int id = 0; id < s->n; id++) {
        const struct node *n = graph_node(s->g, id), *x = n->in[0];
        bool one_user = s->users[id] == 1 && graph_node(s->g, s->user[id][0])->op == OP_SUM_EXAMPLES;
        bool waits = n->batch && one_user && (n->op == OP_MATMUL || n->op == OP_CONV_DW || n->op == OP_SUM);
        key[id] = 2 * id;
        if (n->op == OP_SUM_EXAMPLES || waits) {
            key[id] = key[x->id];
            if (n->in[1] && key[n->in[1]->id] > key[id]) key[id] = key[n->in[1]->id];
            if (n->op != OP_SUM && waits) key[id] |= 1;  // products close what they take: sums first
        }
    }
    for (int id = 0; id < s->n; id++) start[key[id] + 1]++;  // counting sort, stable in id
    for (int i = 0; i < 2 * s->n + 1; i++) start[i + 1] += start[i];
    for (int id = 0; id < s->n; id++) s->order[start[key[id]]++] = id;
    free(key);
    free(start);
}

static void find_users(struct planner *s) {
    for (int id = s->n - 1; id >= 0; id--) {
        const struct node *n = graph_node(s->g, id);
        if (!s->live[id]) continue;
        for (int i = 0; i < op_inputs[n->op]; i++) s->live[n->in[i]->id] = true;
    }
    for (int id = 0; id < s->n; id++) {
        const struct node *n = graph_node(s->g, id);
        if (!s->live[id]) continue;
        for (int i = 0; i < op_inputs[n->op]; i++) {
            int x = n->in[i]->id;
            if (i && n->in[0] == n->in[1]) continue;
            s->user[x] = memory_grow(s->user[x], (size_t)(s->users[x] + 1) * sizeof(int));
            s->user[x][s->users[x]++] = id;
        }
    }
}

static int by_pass(const void *a, const void *b) {
    const struct instr *x = a, *y = b;
    if (x->pass != y->pass) return x->pass - y->pass;
    if (x->whole != y->whole) return x->whole ? -1 : 1;
    return 0;
}

struct plan *plan_new(struct graph *g, struct node *const *outputs, int count) {
    struct plan *p = memory_zero(sizeof *p);
    p->g = g;
    p->arena = memory_zero(sizeof *p->arena);
    p->outputs = count;
    p->output = arena_take(p->arena, (size_t)count * sizeof *p->output + 1);
    p->rewritten = arena_take(p->arena, (size_t)count * sizeof *p->rewritten + 1);
    p->output_value = arena_take(p->arena, (size_t)count * sizeof *p->output_value + 1);
    memcpy(p->output, outputs, (size_t)count * sizeof *p->output);
    rewrite_all(g, outputs, count, p->rewritten);

    struct planner *s = memory_zero(sizeof *s);
    size_t n = (size_t)(s->n = graph_count(g));
    s->p = p;
    s->g = g;
    s->live = memory_zero(n);
    s->pass = memory_zero(n * sizeof *s->pass);
    s->user = memory_zero(n * sizeof *s->user);
    s->users = memory_zero(n * sizeof *s->users);
    s->order = memory_take(n * sizeof *s->order);
    s->output = memory_zero(n);
    s->last = memory_zero(n);
    s->value = memory_take(n * sizeof *s->value);
    memset(s->value, -1, n * sizeof *s->value);
    s->done = memory_zero(n);
    s->left = memory_zero(n);
    s->spread = memory_zero(n);
    s->vary = memory_zero(n);
    s->cluster = memory_take(n * sizeof *s->cluster);
    memset(s->cluster, -1, n * sizeof *s->cluster);
    for (int i = 0; i < count; i++) s->live[p->rewritten[i]->id] = s->output[p->rewritten[i]->id] = true;
    find_users(s);
    find_passes(s);
    for (int again = 0; again < 2; again++) {
        for (int id = 0; id < s->n; id++) s->last[id] |= home_layout(s, graph_node(g, id));
        if (!again) lend_layouts(s);
    }
    for (int id = 0; id < s->n; id++) {
        if (s->live[id] && s->pass[id] + graph_node(g, id)->batch > p->passes) p->passes = s->pass[id] + graph_node(g, id)->batch;
    }
    find_order(s);
    for (s->now = 0; s->now <= p->passes; s->now++)
        for (int batch = 0; batch < 2; batch++) {
            for (int i = 0; i < s->n; i++) {
                int id = s->order[i];
                const struct node *node = graph_node(g, id);
                // a sum over the examples is work of the pass it sums over
                bool in_batch = node->batch || node->op == OP_SUM_EXAMPLES;
                int pass = s->pass[id] - (node->op == OP_SUM_EXAMPLES);
                if (s->live[id] && pass == s->now && in_batch == batch) process(s, node);
            }
            for (int i = 0; i < count; i++) {  // what is asked for and can be had by now
                const struct node *o = p->rewritten[i];
                if (s->pass[o->id] == s->now && o->batch == batch) p->output_value[i] = materialise(s, o, false);
            }
            for (int k = 0; k < CLUSTERS; k++) close_cluster(s, k);
        }
    // A stable sort: whole instructions of a pass were sometimes asked for while its shards were written.
    for (int i = 1; i < p->instrs; i++)
        for (int j = i; j > 0 && by_pass(&p->instr[j - 1], &p->instr[j]) > 0; j--) {
            struct instr t = p->instr[j];
            p->instr[j] = p->instr[j - 1];
            p->instr[j - 1] = t;
        }
    place_values(p);
    p->input_value = arena_take(p->arena, (size_t)p->values * sizeof *p->input_value + 1);
    for (int v = 0; v < p->values; v++)
        if (p->value[v].place == AT_INPUT && p->value[v].root == v) p->input_value[p->inputs++] = v;

    for (int id = 0; id < s->n; id++) free(s->user[id]);
    free(s->live);
    free(s->pass);
    free(s->user);
    free(s->users);
    free(s->order);
    free(s->output);
    free(s->last);
    free(s->value);
    free(s->done);
    free(s->left);
    free(s->spread);
    free(s->vary);
    free(s->cluster);
    free(s);
    return p;
}

void plan_free(struct plan *p) {
    if (!p) return;
    for (int i = 0; i < p->instrs; i++)
        if (p->instr[i].code == I_VEC) vec_release(&p->instr[i].program);
    arena_free(p->arena);
    free(p->arena);
    free(p->value);
    free(p->instr);
    free(p);
}

struct node *const *plan_outputs(const struct plan *p, int *count) {
    *count = p->outputs;
    return p->output;
}

struct graph *plan_graph(const struct plan *p) { return p->g; }

static void print_value(const struct plan *p, int v, FILE *f) {
    static const char *const name[] = {"nowhere", "input", "shard", "job", "batch", "whole"};
    char shape[96];
    if (v < 0) return;
    const struct value *w = &p->value[v];
    fprintf(f, " v%d%s:%s%s", w->root, shape_text(&w->node->shape, shape), name[w->place], w->last ? "/last" : "");
}

static void print_program(const struct plan *p, const struct instr *i, FILE *f) {
    static const char *const code[] = {"add", "sub", "mul", "div", "neg", "exp", "log", "sqrt", "tanh", "sigmoid", "erf", "relu", "step", "sign", "copy", "scale", "shift", "fill", "row_sum", "row_max", "row_argmax", "row_gather", "row_scatter"};
    static const char *const store[] = {"store", "sum rows", "sum all"};
    fprintf(f, " rows %" PRId64 " cols %" PRId64 "\n", i->rows, i->cols);
    for (int j = 0; j < i->program.loads; j++) {
        fprintf(f, "          r%d = load", i->program.load[j].reg);
        print_value(p, i->load[j], f);
        fputc('\n', f);
    }
    for (int j = 0; j < i->program.ops; j++) {
        const struct vec_op *o = &i->program.op[j];
        fprintf(f, "          r%d = %s", o->out, code[o->code]);
        if (o->x >= 0) fprintf(f, " r%d", o->x);
        if (o->y >= 0) fprintf(f, " r%d", o->y);
        if (o->code == VEC_SCALE || o->code == VEC_SHIFT || o->code == VEC_FILL) fprintf(f, " %g", o->a);
        fputc('\n', f);
    }
    for (int j = 0; j < i->program.stores; j++) {
        fprintf(f, "          %s r%d ->", store[i->program.store[j].kind], i->program.store[j].reg);
        print_value(p, i->store[j], f);
        fputc('\n', f);
    }
}

void plan_print(const struct plan *p, FILE *f) {
    static const char *const name[] = {
        [I_VEC] = "vec", [I_GEMM] = "gemm", [I_GEMM_SUM] = "gemm_sum", [I_PRODUCT] = "product", [I_CONV] = "conv", [I_CONV_SUM] = "conv_sum",
        [I_CONV_EACH] = "conv_each", [I_CONV_ANY] = "conv_any", [I_POOL] = "pool", [I_COPY] = "copy", [I_GATHER] = "gather", [I_SUM] = "sum", [I_UNIFORM] = "uniform"};
    fprintf(f, "%d instructions, %d passes over the examples, shards of %d; arenas of %" PRId64 " (shard) and %" PRId64 " (job) floats an example\n",
            p->instrs, p->passes, SHARD, p->shard_floats, p->job_floats);
    for (int t = 0; t < p->instrs; t++) {
        const struct instr *i = &p->instr[t];
        if (!t || i->pass != i[-1].pass || i->whole != i[-1].whole)
            fprintf(f, i->whole ? "once, before pass %d\n" : "pass %d\n", i->pass + 1);
        fprintf(f, "%5d %s %s", t, i->by_job ? "job  " : i->whole ? "whole" : "shard", name[i->code]);
        if (i->code == I_VEC) {
            print_program(p, i, f);
            continue;
        }
        if (strcmp(name[i->code], op_name[i->node->op]) != 0) fprintf(f, " (%s)", op_name[i->node->op]);
        print_value(p, i->in[0], f);
        print_value(p, i->in[1], f);
        if (i->bias >= 0) fprintf(f, " + bias"), print_value(p, i->bias, f);
        if (i->relu) fprintf(f, " relu");
        fprintf(f, " ->");
        print_value(p, i->out, f);
        print_value(p, i->top, f);
        fputc('\n', f);
    }
}

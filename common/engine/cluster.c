// cluster.c: gathers elementwise chains greedily, in the order of the nodes, and writes them as programs.
#include "cluster.h"

#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/error.h"
#include "planner.h"

uint64_t cluster_needs(const struct planner *s, const struct node *n) {
    if (s->value[n->id][0] >= 0 || s->value[n->id][1] >= 0) return 0;
    int k = s->cluster[n->id];
    uint64_t needs = k >= 0 ? 1ull << k | s->open[k].needs : 0;
    for (int i = 0; k < 0 && i < op_inputs[n->op]; i++) needs |= cluster_needs(s, n->in[i]);
    return needs;
}

enum { VARY_ROW = 1, VARY_COL = 2 };

// How operand o looks from a space: the view's strides, and along what it varies. False where no view does.
static bool view_in(const struct node *o, bool last, int64_t rows, int64_t cols, struct vec_view *view, unsigned *vary,
                    bool batch) {
    const struct node *src = planner_under_broadcast(o);
    const struct node *value = src->op == OP_EACH ? src->in[0] : src;
    int64_t q[GRAPH_RANK_MAX], p[GRAPH_RANK_MAX];
    bool by_row, by_col;
    if (o->op == OP_BROADCAST) {
        layout_physical(&src->shape, last, q);
        layout_physical(&o->shape, last, p);
        int r = o->shape.rank;
        by_col = r && q[r - 1] > 1;
        bool all = true, none = true;
        for (int i = 0; i + 1 < r; i++) {
            if (q[i] != p[i]) all = false;
            if (q[i] != 1) none = false;
        }
        if (!all && !none) return false;
        by_row = !none;
    } else {
        int64_t r, c;
        layout_space(&o->shape, last, &r, &c);
        if (r != rows || (c != cols && c != 1 && cols != 1)) return false;
        by_row = rows > 1;
        by_col = c > 1;
    }
    int64_t count = shape_count(&src->shape),
            width = by_col ? (last ? src->shape.dim[0] : src->shape.dim[src->shape.rank - 1]) : 1;
    *view = (struct vec_view){NULL, value->batch ? count : 0, by_row ? width : 0};
    bool rowwise = value->batch || by_row || !batch;
    *vary = (rowwise ? VARY_ROW : 0u) | (by_col ? VARY_COL : 0u);
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
    case OP_RELU:
    case OP_SOFT_RELU: return VEC_RELU;
    case OP_STEP: return VEC_STEP;
    case OP_SIGN: return VEC_SIGN;
    case OP_GATHER: return VEC_ROW_GATHER;
    case OP_SCATTER: return VEC_ROW_SCATTER;
    case OP_ARGMAX: return VEC_ROW_ARGMAX;
    case OP_ROW_MAX: return VEC_ROW_MAX;
    case OP_SUM: return VEC_ROW_SUM;
    case OP_RESHAPE:
    case OP_DETACH: return VEC_COPY;
    default: BUG("op %s is no part of a fused program", op_name[op]);
    }
}

enum sum_form cluster_sum_form(const struct node *n, bool last) {
    const struct shape *x = &n->in[0]->shape;
    int64_t p[GRAPH_RANK_MAX], q[GRAPH_RANK_MAX];
    layout_physical(x, last, p);
    layout_physical(&n->shape, last, q);
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
bool cluster_ends(const struct planner *s, const struct node *n) {
    if (n->op == OP_SUM_EXAMPLES) return true;
    if (n->op != OP_SUM) return false;
    return cluster_sum_form(n, s->last[n->in[0]->id]) != SUM_LAST;
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
    bool load_stored[2 * MEMBERS];
    int reg[MEMBERS];  // of members
    bool has_sum;
};

static int add_op(struct build *b, enum vec_code code, int x, int y, float a) {
    b->op[b->q.ops++] = (struct vec_op){.code = code, .x = x, .y = y, .out = b->q.registers, .a = a};
    return b->q.registers++;
}

static void add_store(struct build *b, int reg, enum vec_store_kind kind, const struct node *n, int64_t example,
                      int64_t row) {
    int i = b->q.stores++;
    b->store[i] = (struct vec_store){reg, kind};
    b->store_view[i] = (struct vec_view){NULL, example, row};
    b->store_value[i] = planner_value(b->s, n, b->s->last[n->id], -1);
}

static int member_register(const struct build *b, const struct node *o) {
    for (int i = 0; i < b->c->count; i++)
        if (b->c->member[i] == o) return b->reg[i];
    return -1;
}

// Whether n is computed from numbers only. Nothing then gives its result an extent, so they are loaded.
static bool numbers_alone(const struct node *n) {
    double a;
    for (int i = 0; i < op_inputs[n->op]; i++)
        if (!planner_number(n->in[i], &a)) return false;
    return op_elementwise(n->op);
}

// The register that holds operand o of member n.
static int operand(struct build *b, const struct node *n, const struct node *o) {
    struct planner *s = b->s;
    double a;
    int r = member_register(b, o);
    if (r < 0 && o->op == OP_BROADCAST && !s->spread[n->id]) r = member_register(b, o->in[0]);
    if (r >= 0) return r;
    if (planner_number(o, &a) && !numbers_alone(n)) return add_op(b, VEC_FILL, -1, -1, (float)a);
    bool stored = o->op == OP_BROADCAST && s->spread[n->id];
    for (int i = 0; i < b->q.loads; i++)
        if (b->load_node[i] == o && b->load_stored[i] == stored) return b->load[i].reg;
    int i = b->q.loads++;
    unsigned vary;
    const struct node *seen = stored ? &(struct node){.op = OP_INPUT, .batch = o->batch, .shape = o->shape} : o;
    if (!view_in(seen, b->c->last, b->c->rows, b->c->cols, &b->load_view[i], &vary, b->c->batch))
        BUG("operand %d (%s) of node %d (%s) fits no view", o->id, op_name[o->op], n->id, op_name[n->op]);
    b->load_node[i] = o;
    b->load_stored[i] = stored;
    b->load_value[i] = planner_materialise(s, stored ? o : planner_under_broadcast(o), b->c->last);
    b->load[i] = (struct vec_load){b->q.registers++, (vary & VARY_ROW) != 0, (vary & VARY_COL) != 0};
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
        enum sum_form form = sum ? cluster_sum_form(sum, b->c->last) : SUM_ROWS;
        int64_t rows, cols = 1;  // of what is summed, which may be one number a row of a wider space
        if (sum) layout_space(&sum->in[0]->shape, b->c->last, &rows, &cols);
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
    } else if ((n->op == OP_MUL || n->op == OP_ADD) && (planner_number(n->in[0], &a) || planner_number(n->in[1], &a))) {
        const struct node *x = planner_number(n->in[0], &a) ? n->in[1] : n->in[0];
        planner_number(x == n->in[0] ? n->in[1] : n->in[0], &a);
        b->reg[at] = add_op(b, n->op == OP_MUL ? VEC_SCALE : VEC_SHIFT, operand(b, n, x), -1, (float)a);
    } else {
        int x = operand(b, n, n->in[0]), y = operand(b, n, n->in[1]);
        b->reg[at] = add_op(b, vec_code(n->op), x, y, 0);
    }
}

static int compare_nodes(const void *a, const void *b) {
    return (*(const struct node *const *)a)->id - (*(const struct node *const *)b)->id;
}

// Turns cluster k into one instruction.
void cluster_close(struct planner *s, int k) {
    struct cluster *c = &s->open[k];
    if (!c->open) return;
    for (int i = 0; i < CLUSTERS; i++)
        if (c->needs >> i & 1) cluster_close(s, i);
    c->open = false;
    qsort(c->member, (size_t)c->count, sizeof *c->member, compare_nodes);
    struct build *b = memory_zero(sizeof *b);
    b->s = s;
    b->c = c;
    b->k = k;
    for (int i = 0; i < c->count; i++) build_member(b, i);
    for (int i = 0; i < c->count; i++) {
        const struct node *n = c->member[i];
        if (cluster_ends(s, n) || !used_outside(s, n, k)) continue;
        int64_t rows, cols, count = shape_count(&n->shape);
        layout_space(&n->shape, c->last, &rows, &cols);
        add_store(b, b->reg[i], VEC_STORE, n, count, cols == c->cols && !(cols == 1 && c->cols > 1) ? cols : 1);
    }
    b->q.op = b->op;
    b->q.load = b->load;
    b->q.store = b->store;
    vec_fuse(&b->q, sizeof b->op / sizeof *b->op);
    struct plan *p = s->p;
    struct instr *in = planner_emit(s, I_VEC, c->member[c->count - 1]);
    in->whole = !c->batch;
    in->rows = c->rows;
    in->cols = c->cols;
    in->has_sum = b->has_sum;
    in->program = b->q;
    in->program.op = planner_keep(p, b->op, (size_t)b->q.ops * sizeof *b->op);
    in->program.load = planner_keep(p, b->load, (size_t)b->q.loads * sizeof *b->load);
    in->program.store = planner_keep(p, b->store, (size_t)b->q.stores * sizeof *b->store);
    in->load = planner_keep(p, b->load_value, (size_t)b->q.loads * sizeof *b->load_value);
    in->store = planner_keep(p, b->store_value, (size_t)b->q.stores * sizeof *b->store_value);
    in->load_view = planner_keep(p, b->load_view, (size_t)b->q.loads * sizeof *b->load_view);
    in->store_view = planner_keep(p, b->store_view, (size_t)b->q.stores * sizeof *b->store_view);
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
        cluster_close(s, k);
    }
    s->open[k] = (struct cluster){.open = true, .batch = batch, .last = last, .rows = rows, .cols = cols};
    return k;
}

static bool fits_space(const struct cluster *c, bool batch, bool last, int64_t rows, int64_t cols) {
    return c->open && c->batch == batch && c->rows == rows && c->last == last &&
           (c->cols == cols || c->cols == 1 || cols == 1);
}

// Decides how member n, in a space of rows and columns, takes its operands. A register may hold one number a
// row (or a column, or one in all) where a whole row of them is the value: `vary` says along what it really
// changes. Where n's value must have its full extent and no operand brings it, or where an operand repeats in
// a way that no view describes, n is `spread`: its broadcasts are stored first, by others, and loaded in full.
static void settle_extent(struct planner *s, const struct node *n, bool last, int64_t rows, int64_t cols,
                          const struct node *const operand[2], bool batch) {
    bool spread = false, along = op_elementwise(n->op) || n->op == OP_RESHAPE, ends = cluster_ends(s, n);
    bool scatters = n->op == OP_SCATTER;
    // Every other op, a scatter too, makes its own: a number a row, or a row.
    unsigned vary = scatters ? VARY_ROW | VARY_COL : along || n->op == OP_SUM_EXAMPLES ? 0 : VARY_ROW;
    unsigned wanted = (along || scatters || ends) && cols > 1 ? VARY_ROW | VARY_COL : VARY_ROW;
    for (int i = 0; i < 2; i++) {
        const struct node *o = operand[i], *src = o ? planner_under_broadcast(o) : NULL;
        double a;
        struct vec_view view;
        unsigned v;
        if (!o || planner_number(o, &a)) continue;
        if (!view_in(o, last, rows, cols, &view, &v, batch))
            spread = true;
        else
            vary |= s->cluster[src->id] >= 0 ? v & s->vary[src->id] : v;
    }
    if ((vary & wanted) != wanted) spread = true;
    s->spread[n->id] = spread;
    s->vary[n->id] = (unsigned char)(ends ? VARY_ROW : along && !spread ? vary : wanted);
    for (int i = 0; spread && i < 2; i++)
        if (operand[i] && operand[i]->op == OP_BROADCAST) planner_materialise(s, operand[i], last);
}

// Whether one of the clusters c and d, number k and `into`, can only be written after the other.
static bool closes_circle(const struct planner *s, int k, int into) {
    uint64_t both = 1ull << k | 1ull << into, needs = s->open[k].needs | s->open[into].needs;
    if (needs & both) return true;
    for (int j = 0; j < CLUSTERS; j++)
        if (needs >> j & 1 && s->open[j].needs & both) return true;
    return false;
}

// Moves the members of cluster k to another one.
static void merge(struct planner *s, int k, int into) {
    struct cluster *c = &s->open[k], *d = &s->open[into];
    for (int j = 0; j < c->count; j++) {
        d->member[d->count++] = c->member[j];
        s->cluster[c->member[j]->id] = into;
    }
    if (c->cols > d->cols) d->cols = c->cols;
    d->needs |= c->needs;
    c->open = false;
    for (int j = 0; j < CLUSTERS; j++)
        if (s->open[j].needs >> k & 1) s->open[j].needs = (s->open[j].needs & ~(1ull << k)) | 1ull << into;
}

// Whether a member reads what n reads: what is loaded once may serve both.
static bool shares_operand(const struct planner *s, const struct cluster *c, const struct node *const operand[2]) {
    for (int i = 0; i < 2; i++) {
        const struct node *src = operand[i] ? planner_under_broadcast(operand[i]) : NULL;
        if (!src || !src->batch || planner_weight(src)) continue;
        for (int j = 0; j < c->count; j++) {
            const struct node *m = c->member[j];
            if (m->op == OP_SUM_EXAMPLES && s->left[m->in[0]->id]) m = m->in[0];
            for (int k = 0; k < op_inputs[m->op]; k++)
                if (planner_under_broadcast(m->in[k]) == src) return true;
        }
    }
    return false;
}

void cluster_join(struct planner *s, const struct node *n, bool last, int64_t rows, int64_t cols, const struct node *x,
                  const struct node *y) {
    const struct node *const operand[2] = {x, y};
    uint64_t needs = 0;
    int into = -1;
    bool batch = n->batch || n->op == OP_SUM_EXAMPLES;
    settle_extent(s, n, last, rows, cols, operand, batch);

    for (int i = 0; i < 2; i++) {
        const struct node *o = operand[i];
        if (!o) continue;
        const struct node *src = s->spread[n->id] ? o : planner_under_broadcast(o);
        int k = s->cluster[src->id];
        if (k < 0) {
            needs |= cluster_needs(s, src);
            continue;
        }
        struct cluster *c = &s->open[k];
        struct vec_view view;
        unsigned v;
        bool can = k != into && !cluster_ends(s, src) && fits_space(c, batch, last, rows, cols) &&
                   c->count < MEMBERS - 1 && (s->last[src->id] == last || layout_flat(&src->shape)) &&
                   view_in(o, last, rows, cols, &view, &v, batch);
        if (can && into < 0) {
            into = k;
            continue;
        }
        if (can && !closes_circle(s, k, into) && fits_space(&s->open[into], c->batch, c->last, c->rows, c->cols) &&
            c->count + s->open[into].count < MEMBERS - 1) {
            merge(s, k, into);
            continue;
        }
        if (k != into || cluster_ends(s, src)) needs |= 1ull << k | c->needs;
    }
    // Joining a cluster that something we need depends on would close a circle.
    if (into >= 0 && needs >> into & 1) {
        needs |= s->open[into].needs | 1ull << into;
        into = -1;
    }
    for (int k = 0; k < CLUSTERS && into < 0 && n->op != OP_RESHAPE; k++) {
        const struct cluster *c = &s->open[k];
        if (!(needs >> k & 1) && fits_space(c, batch, last, rows, cols) && c->count < MEMBERS - 1 && shares_operand(s, c, operand)) into = k;
    }
    if (n->op == OP_RESHAPE && (into < 0 || into != s->cluster[x->id])) return;  // no register to rename: a view
    if (into < 0) {
        into = new_cluster(s, batch, last, rows, cols);
        for (int k = 0; k < CLUSTERS; k++)  // it may have pushed out an old one, and what that one needed
            if (k == into || !s->open[k].open) needs &= ~(1ull << k);
    }
    struct cluster *c = &s->open[into];
    if (cols > c->cols) c->cols = cols;
    c->needs |= needs;
    c->member[c->count++] = n;
    s->cluster[n->id] = into;
    for (int j = 0; j < CLUSTERS; j++)  // what waits for this cluster now waits for its needs too
        if (s->open[j].open && s->open[j].needs >> into & 1) s->open[j].needs |= c->needs;
}

// planner.c: makes values on demand: inputs, constants, views, copies, products; and sums over the examples.
#include "planner.h"

#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/error.h"
#include "concat.h"

enum { BIG_WEIGHT = 1 << 15 };  // floats above which a product wants many rows

bool planner_number(const struct node *o, double *a) {
    while (o->op == OP_EACH || o->op == OP_BROADCAST) o = o->in[0];
    if (o->op != OP_FILL) return false;
    *a = o->a;
    return true;
}

void *planner_keep(struct plan *p, const void *bytes, size_t size) {
    void *copy = arena_take(p->arena, size ? size : 1);
    memcpy(copy, bytes, size);
    return copy;
}

// ---- values and instructions

int planner_room(struct planner *s, const struct node *n, bool last, int root) {
    struct plan *p = s->p;
    if (p->values == p->value_room) {
        p->value_room = p->value_room ? 2 * p->value_room : 64;
        p->value = memory_grow(p->value, (size_t)p->value_room * sizeof *p->value);
    }
    int64_t count = shape_count(&n->shape);
    struct value v = {
        .node = n, .last = last, .root = root < 0 ? p->values : root, .born = -1, .dies = -1, .pass = s->now};
    v.bytes = n->op == OP_POOL_ARGMAX && last;
    v.floats = v.bytes ? (count + 3) / 4 : count;
    if (n->op == OP_INPUT && !last)
        v.place = AT_INPUT;
    else if (!n->batch)
        v.place = AT_WHOLE;
    p->value[p->values] = v;
    return p->values++;
}

void planner_hand_out(struct planner *s, int value) {
    const struct value *v = &s->p->value[value];
    s->value[v->node->id][v->last] = value;
    if (layout_flat(&v->node->shape) && v->node->op != OP_POOL_ARGMAX) s->value[v->node->id][!v->last] = value;
}

int planner_value(struct planner *s, const struct node *n, bool last, int root) {
    int v = planner_room(s, n, last, root);
    planner_hand_out(s, v);
    return v;
}

// A place for an instruction that computes n; the caller fills the rest.
struct instr *planner_emit(struct planner *s, enum code code, const struct node *n) {
    struct plan *p = s->p;
    if (p->instrs == p->instr_room) {
        p->instr_room = p->instr_room ? 2 * p->instr_room : 64;
        p->instr = memory_grow(p->instr, (size_t)p->instr_room * sizeof *p->instr);
    }
    struct instr *i = &p->instr[p->instrs++];
    *i = (struct instr){
        .code = code, .pass = s->now, .whole = !n->batch, .node = n, .in = {-1, -1}, .out = -1, .bias = -1, .top = -1};
    return i;
}

// The same with operands and a fresh value. Operands are materialised before, since that emits too.
struct instr *planner_emit_to(struct planner *s, enum code code, const struct node *n, bool last, int a, int b) {
    int out = planner_value(s, n, last, -1);
    struct instr *i = planner_emit(s, code, n);
    i->in[0] = a;
    i->in[1] = b;
    i->out = out;
    return i;
}

// ---- views and copies

// n's value, in whichever layout it comes.
static int own_value(struct planner *s, const struct node *n) {
    bool last = s->last[n->id];
    if (n->op == OP_POOL_ARGMAX) return planner_materialise(s, n, false);  // not its bytes
    if (s->value[n->id][0] < 0 && s->value[n->id][1] < 0) planner_make(s, n);
    return s->value[n->id][last] >= 0 ? s->value[n->id][last] : planner_materialise(s, n, !last);
}

static struct planner_view whole_view(const struct planner *s, int value) {
    const struct value *v = &s->p->value[value];
    struct planner_view all = {.value = value};
    layout_strides(&v->node->shape, v->last, all.lies.stride);
    return all;
}

struct planner_view planner_view(struct planner *s, const struct node *n) {
    if (n->op == OP_EACH) return planner_view(s, n->in[0]);
    bool made = s->value[n->id][0] >= 0 || s->value[n->id][1] >= 0 || s->cluster[n->id] >= 0;
    if (!made && (n->op == OP_RESHAPE || n->op == OP_TRANSPOSE || n->op == OP_SLICE)) {
        struct planner_view v = planner_view(s, n->in[0]);
        if (layout_view_of(n, &v.lies)) return v;
    }
    return whole_view(s, own_value(s, n));
}

void planner_copy(struct planner *s, const struct node *n, const struct shape *shape, struct planner_view from,
                  struct planner_view to) {
    struct instr *i = planner_emit(s, I_COPY, n);
    i->in[0] = from.value;
    i->out = to.value;
    for (int d = 0; d < shape->rank; d++) {
        i->walk.dim[d] = shape->dim[d];
        i->walk.from[d] = from.lies.stride[d];
        i->walk.to[d] = to.lies.stride[d];
    }
    i->walk.from_start = from.lies.start;
    i->walk.to_start = to.lies.start;
}

// n, which is no value yet, seen in its input.
static struct planner_view view_through(struct planner *s, const struct node *n) {
    struct planner_view v = planner_view(s, n->in[0]);
    layout_view_of(n, &v.lies);
    return v;
}

// n in a layout of its own, from where its elements are.
static void copy_out(struct planner *s, const struct node *n, bool last, struct planner_view from) {
    int out = planner_value(s, n, last, -1);
    planner_copy(s, n, &n->shape, from, whole_view(s, out));
}

// ---- products

// Rows of A that follow each other at one distance over all examples, so that a job is one product.
static bool rows_uniform(const struct node *n) {
    const struct shape *a = &n->in[0]->shape;
    for (int i = 0; i < a->rank - 2; i++)
        if (a->dim[i] != 1) return false;
    int r = a->rank;
    return !n->ta || a->dim[r - 1] == 1 || a->dim[r - 2] == 1;
}

// Follows bias and ReLU behind a product whose rows have `cols` numbers; returns the node that is computed.
static const struct node *follow_tail(struct planner *s, const struct node *n, int64_t cols, bool conv,
                                      const struct node **bias, bool *relu) {
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
            const struct node *other = u->in[0] == at ? u->in[1] : u->in[0], *src = planner_under_broadcast(other);
            if (!planner_weight(src) || src->in[0]->op == OP_FILL || shape_count(&src->shape) != cols) break;
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

// Follows the views behind product n as far as its rows can be written in place where they lead: into another
// shape or order, into a PAD, into a part of a concatenation. The nodes on the way get no values of their own.
static struct planner_view product_place(struct planner *s, const struct node *n) {
    enum { WAY = 8 };
    const struct node *way[WAY] = {n};
    int count = 1, r = n->shape.rank;
    while (count < WAY && way[count - 1]->op != OP_PAD && s->users[way[count - 1]->id] == 1 && !s->output[way[count - 1]->id]) {
        const struct node *u = graph_node(s->g, s->user[way[count - 1]->id][0]);
        bool follows = u->op == OP_RESHAPE || u->op == OP_TRANSPOSE;
        if (u->op == OP_PAD) {
            int into = s->concat[u->id];  // where the PAD itself is asked for too, its input is needed for that
            follows = into < 0 || (s->users[u->id] == 1 && !s->output[u->id] && graph_node(s->g, into)->batch == n->batch);
        }
        if (!follows) break;
        way[count++] = u;
    }
    for (; count > 1; count--) {
        const struct node *end = way[count - 1];
        bool pad = end->op == OP_PAD;
        const struct node *into = pad && s->concat[end->id] >= 0 ? graph_node(s->g, s->concat[end->id]) : end;
        struct planner_view v = {.value = -1};
        layout_strides(&into->shape, s->last[into->id], v.lies.stride);
        bool fits = true;
        for (int i = count - 1; i > 0 && fits; i--) fits = layout_view_under(way[i], &v.lies);
        if (!fits || (v.lies.stride[r - 1] != 1 && n->shape.dim[r - 1] > 1)) continue;
        for (int i = 0; i < count; i++) s->done[way[i]->id] = true;
        v.value = pad ? concat_open(s, into) : planner_value(s, end, s->last[end->id], -1);
        return v;
    }
    return whole_view(s, planner_value(s, n, false, -1));
}

// The last two axes in each other's place: a transposed operand.
static void swap_ends(const struct node *n, struct layout_view *v) {
    int r = n->shape.rank;
    int64_t row = v->stride[r - 2];
    v->stride[r - 2] = v->stride[r - 1];
    v->stride[r - 1] = row;
}

static void emit_product(struct planner *s, const struct node *n) {
    const struct node *a = n->in[0], *b = n->in[1];
    int64_t cols = n->shape.dim[n->shape.rank - 1], k = a->shape.dim[a->shape.rank - 1 - n->ta];
    if (n->batch && planner_weight(b) && !planner_weight(a) && rows_uniform(n)) {
        const struct node *bias;
        bool relu;
        const struct node *end = follow_tail(s, n, cols, false, &bias, &relu);
        int va = planner_materialise(s, a, false), vb = planner_materialise(s, b, false),
            vbias = bias ? planner_materialise(s, bias, false) : -1;
        struct instr *i = planner_emit_to(s, I_GEMM, end, false, va, vb);
        i->node = n;
        i->by_job = cols * k > BIG_WEIGHT;
        i->bias = vbias;
        i->relu = relu;
        return;
    }
    struct planner_view va = planner_view(s, a), vb = planner_view(s, b), out = product_place(s, n);
    if (n->ta) swap_ends(n, &va.lies);
    if (n->tb) swap_ends(n, &vb.lies);
    struct instr *i = planner_emit(s, I_PRODUCT, n);
    i->in[0] = va.value;
    i->in[1] = vb.value;
    i->out = out.value;
    i->view[0] = va.lies;
    i->view[1] = vb.lies;
    i->view[2] = out.lies;
    const struct node *end = s->p->value[out.value].node;
    if (end->op == OP_PAD && s->concat[end->id] < 0) concat_close(s, end);
}

static void emit_conv(struct planner *s, const struct node *n) {
    const struct node *a = n->in[0], *b = n->in[1];
    if (n->op == OP_CONV_DW) {
        if (!n->batch || planner_weight(a) || planner_weight(b)) {
            int va = planner_materialise(s, a, false), vb = planner_materialise(s, b, false);
            planner_emit_to(s, I_CONV_ANY, n, false, va, vb);
        } else {
            int va = planner_materialise(s, a, true), vb = planner_materialise(s, b, true);
            planner_emit_to(s, I_CONV_EACH, n, false, va, vb);
        }
        return;
    }
    if (!n->batch || planner_weight(a) || !planner_weight(b)) {
        int va = planner_materialise(s, a, false), vb = planner_materialise(s, b, false);
        planner_emit_to(s, I_CONV_ANY, n, false, va, vb);
        return;
    }
    const struct node *bias = NULL, *end = n;
    bool relu = false;
    if (n->op == OP_CONV) end = follow_tail(s, n, n->shape.dim[0], true, &bias, &relu);
    int va = planner_materialise(s, a, true), vb = planner_materialise(s, b, false),
        vbias = bias ? planner_materialise(s, bias, false) : -1;
    struct instr *i = planner_emit_to(s, I_CONV, end, true, va, vb);
    i->node = n;
    i->bias = vbias;
    i->relu = relu;
}

// Every number of x has a sum of its own: x seen as one long row.
static void emit_plain_sum(struct planner *s, const struct node *n) {
    const struct node *x = n->in[0];
    int64_t count = shape_count(&x->shape);
    int from = planner_materialise(s, x, false), to = planner_value(s, n, false, -1);
    struct instr *i = planner_emit(s, I_VEC, n);
    i->whole = false;
    i->has_sum = true;
    i->rows = 1;
    i->cols = count;
    struct plan *p = s->p;
    i->program = (struct vec_program){.loads = 1, .stores = 1, .registers = 1};
    i->program.op = arena_take(p->arena, 1);
    i->program.load = planner_keep(p, &(struct vec_load){0, true, count > 1}, sizeof(struct vec_load));
    i->program.store = planner_keep(p, &(struct vec_store){0, VEC_SUM_ALL}, sizeof(struct vec_store));
    i->load = planner_keep(p, &from, sizeof from);
    i->store = planner_keep(p, &to, sizeof to);
    i->load_view = planner_keep(p, &(struct vec_view){NULL, planner_weight(x) ? 0 : count, 0}, sizeof(struct vec_view));
    i->store_view = planner_keep(p, &(struct vec_view){0}, sizeof(struct vec_view));
    vec_prepare(&i->program);
}

void planner_sum_examples(struct planner *s, const struct node *n) {
    const struct node *x = n->in[0];
    if (planner_weight(x)) {
        emit_plain_sum(s, n);
        return;
    }
    if (x->op == OP_MATMUL && x->shape.rank == 2 && !planner_weight(x->in[0]) && !planner_weight(x->in[1])) {
        int va = planner_materialise(s, x->in[0], false), vb = planner_materialise(s, x->in[1], false);
        struct instr *i = planner_emit_to(s, I_GEMM_SUM, n, false, va, vb);
        i->node = x;
        i->whole = false;
        return;
    }
    if (x->op == OP_CONV_DW && !planner_weight(x->in[0]) && !planner_weight(x->in[1])) {
        int va = planner_materialise(s, x->in[0], true), vb = planner_materialise(s, x->in[1], true);
        struct instr *i = planner_emit_to(s, I_CONV_SUM, n, false, va, vb);
        i->node = x;
        i->whole = false;
        i->has_sum = true;
        return;
    }
    int64_t rows, cols;
    if (s->left[x->id]) {
        bool last = s->last[x->in[0]->id];
        layout_space(&x->in[0]->shape, last, &rows, &cols);
        cluster_join(s, n, last, rows, cols, x->in[0], NULL);
        return;
    }
    bool last = s->last[x->id];
    layout_space(&x->shape, last, &rows, &cols);
    if (rows == 1) {
        cluster_join(s, n, last, rows, cols, x, NULL);
        return;
    }
    emit_plain_sum(s, n);
}

// ---- making values on demand

void planner_make(struct planner *s, const struct node *n) {
    const struct node *x = n->in[0];
    bool last = s->last[n->id];
    if (s->cluster[n->id] >= 0) {
        cluster_close(s, s->cluster[n->id]);
        return;
    }
    switch (n->op) {
    case OP_INPUT: planner_value(s, n, false, -1); return;
    case OP_FILL: copy_out(s, n, false, (struct planner_view){.value = -1}); return;
    case OP_BROADCAST:
    case OP_SLICE: copy_out(s, n, last, view_through(s, n)); return;
    case OP_PAD: concat_close(s, n); return;
    case OP_RESHAPE: {
        bool keeps = s->last[x->id] && last;  // both channels-last with the same axis 0
        int from = planner_materialise(s, x, keeps);
        planner_value(s, n, keeps, s->p->value[from].root);
        return;
    }
    case OP_TRANSPOSE: {
        if (last || (s->last[x->id] && layout_first_to_end(n))) {
            int from = planner_materialise(s, x, !last);
            planner_value(s, n, last, s->p->value[from].root);
            return;
        }
        copy_out(s, n, last, view_through(s, n));
        return;
    }
    case OP_MATMUL: emit_product(s, n); return;
    case OP_CONV:
    case OP_CONV_DX:
    case OP_CONV_DW: emit_conv(s, n); return;
    case OP_POOL_ARGMAX: {  // the maxima come with their places
        int a = planner_materialise(s, x, true), top = -1;
        for (int i = 0; i < s->users[n->id]; i++) {
            const struct node *u = graph_node(s->g, s->user[n->id][i]);
            if (u->op == OP_POOL_GATHER && u->in[0] == x && u->in[1] == n && u->stride == n->stride)
                top = planner_value(s, u, true, -1);
        }
        planner_emit_to(s, I_POOL, n, true, a, -1)->top = top;
        return;
    }
    case OP_POOL_GATHER:
    case OP_POOL_SCATTER: {
        int a = planner_materialise(s, x, true), b = planner_materialise(s, n->in[1], true);
        if (s->value[n->id][1] < 0) planner_emit_to(s, I_POOL, n, true, a, b)->top = -1;
        return;
    }
    case OP_UNIFORM: {
        int a = planner_materialise(s, x, false);
        planner_emit_to(s, I_UNIFORM, n, last, a, -1);
        return;
    }
    default: BUG("node %d (%s) was not computed in time", n->id, op_name[n->op]);
    }
}

int planner_materialise(struct planner *s, const struct node *n, bool last) {
    if (n->op == OP_EACH) return planner_materialise(s, n->in[0], last);
    if (s->value[n->id][last] >= 0) return s->value[n->id][last];
    if (s->value[n->id][!last] < 0) planner_make(s, n);
    if (s->value[n->id][last] >= 0) return s->value[n->id][last];
    int from = s->value[n->id][!last];
    BUG_IF(from < 0, "node %d (%s) has no value", n->id, op_name[n->op]);
    copy_out(s, n, last, whole_view(s, from));
    return s->value[n->id][last];
}

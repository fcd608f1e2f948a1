// graph.c: building graphs. A node is looked up before it is made, so equal nodes are one node; the only
// simplifications here return one of the inputs or a constant, because a derivative may be asked for with
// respect to any node that was returned. Everything else is the planner's.
#include "graph.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/error.h"

const char *const op_name[OPS] = {
#define X(name, text, inputs) [OP_##name] = text,
    GRAPH_OPS(X)
#undef X
};
const int op_inputs[OPS] = {
#define X(name, text, inputs) [OP_##name] = inputs,
    GRAPH_OPS(X)
#undef X
};

bool op_elementwise(enum op op) { return op >= OP_ADD && op <= OP_DETACH; }

struct graph {
    struct arena arena;
    struct node **node;
    int count, room;
    int *bucket;  // hash table of ids + 1, open addressing
    int buckets;
};

struct graph *graph_new(void) {
    struct graph *g = memory_zero(sizeof *g);
    g->buckets = 1024;
    g->bucket = memory_zero((size_t)g->buckets * sizeof *g->bucket);
    return g;
}

void graph_free(struct graph *g) {
    if (!g) return;
    arena_free(&g->arena);
    free(g->node);
    free(g->bucket);
    free(g);
}

int graph_count(const struct graph *g) { return g->count; }
struct node *graph_node(const struct graph *g, int id) { return g->node[id]; }

// ---- shapes

struct shape shape_of(int rank, ...) {
    BUG_IF(rank < 0 || rank > GRAPH_RANK_MAX, "rank %d", rank);
    struct shape s = {.rank = rank};
    va_list dims;
    va_start(dims, rank);
    for (int i = 0; i < rank; i++) s.dim[i] = va_arg(dims, int);
    va_end(dims);
    return s;
}

int64_t shape_count(const struct shape *s) {
    int64_t n = 1;
    for (int i = 0; i < s->rank; i++) n *= s->dim[i];
    return n;
}

bool shape_equal(const struct shape *a, const struct shape *b) {
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i]) return false;
    return true;
}

char *shape_text(const struct shape *s, char out[96]) {
    size_t used = (size_t)snprintf(out, 96, "[");
    for (int i = 0; i < s->rank && used < 96; i++)  // six sizes beyond 10^14 are cut short
        used += (size_t)snprintf(out + used, 96 - used, "%s%" PRId64, i ? "," : "", s->dim[i]);
    if (used < 96) snprintf(out + used, 96 - used, "]");
    return out;
}

static _Noreturn void shape_bug(const char *op, const struct node *x, const struct shape *other) {
    char a[96], b[96];
    BUG("%s: node %d (%s%s%s) has shape %s, which does not fit %s", op, x->id, op_name[x->op], x->name ? " " : "",
        x->name ? x->name : "", shape_text(&x->shape, a), shape_text(other, b));
}

// ---- nodes

static uint64_t mix(uint64_t h, uint64_t v) {
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    return h ^ (h >> 29);
}

static uint64_t node_hash(const struct node *n) {
    uint64_t h = mix(mix(1, (uint64_t)n->op), (uint64_t)n->batch * 2 + n->index), a;
    for (int i = 0; i < op_inputs[n->op]; i++) h = mix(h, (uint64_t)n->in[i]->id);
    for (int i = 0; i < n->shape.rank; i++) h = mix(h, (uint64_t)n->shape.dim[i]);
    memcpy(&a, &n->a, sizeof a);
    h = mix(mix(h, a), (uint64_t)n->from * 7 + (uint64_t)n->axis);
    for (int i = 0; i < GRAPH_RANK_MAX; i++) h = mix(h, (uint64_t)n->perm[i]);
    h = mix(h, (uint64_t)(n->ta + 2 * n->tb + 4 * n->stride + 4096 * n->padding));
    h = mix(h, n->stream.key[0] | (uint64_t)n->stream.key[1] << 32);
    if (n->name)
        for (const char *c = n->name; *c; c++) h = mix(h, (unsigned char)*c);
    return h;
}

static bool node_equal(const struct node *a, const struct node *b) {
    return a->op == b->op && a->batch == b->batch && a->index == b->index && shape_equal(&a->shape, &b->shape) &&
           a->in[0] == b->in[0] && a->in[1] == b->in[1] && memcmp(&a->a, &b->a, sizeof a->a) == 0 &&
           a->axis == b->axis && a->from == b->from && memcmp(a->perm, b->perm, sizeof a->perm) == 0 &&
           a->ta == b->ta && a->tb == b->tb && a->stride == b->stride && a->padding == b->padding &&
           memcmp(&a->stream, &b->stream, sizeof a->stream) == 0 &&
           (a->name == b->name || (a->name && b->name && strcmp(a->name, b->name) == 0));
}

static void rehash(struct graph *g) {
    g->buckets *= 2;
    free(g->bucket);
    g->bucket = memory_zero((size_t)g->buckets * sizeof *g->bucket);
    for (int i = 0; i < g->count; i++) {
        uint64_t at = node_hash(g->node[i]) & (uint64_t)(g->buckets - 1);
        while (g->bucket[at]) at = (at + 1) & (uint64_t)(g->buckets - 1);
        g->bucket[at] = i + 1;
    }
}

// The node equal to `want`, made if there is none yet.
static struct node *intern(struct graph *g, const struct node *want) {
    uint64_t at = node_hash(want) & (uint64_t)(g->buckets - 1);
    for (; g->bucket[at]; at = (at + 1) & (uint64_t)(g->buckets - 1))
        if (node_equal(g->node[g->bucket[at] - 1], want)) return g->node[g->bucket[at] - 1];
    if (g->count == g->room) {
        g->room = g->room ? 2 * g->room : 256;
        g->node = memory_grow(g->node, (size_t)g->room * sizeof *g->node);
    }
    struct node *n = arena_take(&g->arena, sizeof *n);
    *n = *want;
    if (want->name) n->name = arena_text(&g->arena, want->name);
    n->id = g->count;
    g->node[g->count++] = n;
    g->bucket[at] = g->count;
    if (2 * g->count > g->buckets) rehash(g);
    return n;
}

static void same_sort(enum op op, const struct node *x, const struct node *y) {
    BUG_IF(x->batch != y->batch, "%s: node %d (%s) is a %s node and node %d (%s) is not: graph_each is missing", op_name[op],
           x->id, op_name[x->op], x->batch ? "batch" : "whole", y->id, op_name[y->op]);
}

static struct node *make(struct graph *g, struct node want, struct node *x, struct node *y) {
    want.in[0] = x;
    want.in[1] = y;
    if (x) want.batch = x->batch;
    if (x && y) same_sort(want.op, x, y);
    return intern(g, &want);
}

static void real_only(enum op op, const struct node *x) {
    BUG_IF(x->index, "%s: node %d (%s) holds indices, not reals", op_name[op], x->id, op_name[x->op]);
}

// Whether x is the same number everywhere.
static bool is_fill(const struct node *x, double *a) {
    if (x->op == OP_EACH) x = x->in[0];
    if (x->op != OP_FILL) return false;
    *a = x->a;
    return true;
}

static struct node *input(struct graph *g, const char *name, bool batch, bool index, struct shape s) {
    struct node want = {.op = OP_INPUT, .batch = batch, .index = index, .shape = s, .name = name};
    return intern(g, &want);
}
struct node *graph_input(struct graph *g, const char *name, bool batch, struct shape s) {
    return input(g, name, batch, false, s);
}
struct node *graph_input_index(struct graph *g, const char *name, bool batch, struct shape s) {
    return input(g, name, batch, true, s);
}

struct node *graph_fill(struct graph *g, double a, struct shape s) {
    struct node want = {.op = OP_FILL, .a = a == 0 ? 0 : a, .shape = s};
    return intern(g, &want);
}
struct node *graph_fill_like(struct graph *g, double a, const struct node *like) {
    struct node *f = graph_fill(g, a, like->shape);
    return like->batch ? graph_each(g, f) : f;
}

struct node *graph_uniform(struct graph *g, struct stream s, struct node *key, struct shape shape) {
    BUG_IF(!key->index || shape_count(&key->shape) != 3, "uniform: the key is an index of 3 numbers");
    return make(g, (struct node){.op = OP_UNIFORM, .stream = s, .shape = shape}, key, NULL);
}

struct node *graph_each(struct graph *g, struct node *x) {
    if (x->batch) return x;
    struct node want = {.op = OP_EACH, .batch = true, .index = x->index, .shape = x->shape, .in = {x}};
    return intern(g, &want);
}

struct node *graph_sum_examples(struct graph *g, struct node *x) {
    real_only(OP_SUM_EXAMPLES, x);
    BUG_IF(!x->batch, "sum_examples: node %d (%s) has no example axis", x->id, op_name[x->op]);
    double a;
    if (is_fill(x, &a) && a == 0) return graph_fill(g, 0, x->shape);
    struct node want = {.op = OP_SUM_EXAMPLES, .shape = x->shape, .in = {x}};
    return intern(g, &want);
}

// ---- shape ops

struct node *graph_broadcast(struct graph *g, struct node *x, struct shape s) {
    bool fits = x->shape.rank == s.rank;
    for (int i = 0; fits && i < s.rank; i++) fits = x->shape.dim[i] == s.dim[i] || x->shape.dim[i] == 1;
    if (!fits) shape_bug("broadcast", x, &s);
    double a;
    if (shape_equal(&x->shape, &s)) return x;
    if (is_fill(x, &a)) return graph_fill_like(g, a, &(struct node){.batch = x->batch, .shape = s});
    return make(g, (struct node){.op = OP_BROADCAST, .shape = s, .index = x->index}, x, NULL);
}

struct node *graph_sum(struct graph *g, struct node *x, struct shape s) {
    real_only(OP_SUM, x);
    bool fits = x->shape.rank == s.rank;
    for (int i = 0; fits && i < s.rank; i++) fits = x->shape.dim[i] == s.dim[i] || s.dim[i] == 1;
    if (!fits) shape_bug("sum", x, &s);
    if (shape_equal(&x->shape, &s)) return x;
    double a;
    if (is_fill(x, &a)) {
        double times = (double)(shape_count(&x->shape) / shape_count(&s));
        return graph_fill_like(g, a * times, &(struct node){.batch = x->batch, .shape = s});
    }
    return make(g, (struct node){.op = OP_SUM, .shape = s}, x, NULL);
}

struct node *graph_reshape(struct graph *g, struct node *x, struct shape s) {
    if (shape_count(&x->shape) != shape_count(&s)) shape_bug("reshape", x, &s);
    if (shape_equal(&x->shape, &s)) return x;
    double a;
    if (is_fill(x, &a)) return graph_fill_like(g, a, &(struct node){.batch = x->batch, .shape = s});
    return make(g, (struct node){.op = OP_RESHAPE, .shape = s, .index = x->index}, x, NULL);
}

struct node *graph_transpose(struct graph *g, struct node *x, const int *perm) {
    struct node want = {.op = OP_TRANSPOSE, .index = x->index, .shape.rank = x->shape.rank};
    bool same = true;
    int seen = 0;
    for (int i = 0; i < x->shape.rank; i++) {
        BUG_IF(perm[i] < 0 || perm[i] >= x->shape.rank, "transpose: axis %d of a node of rank %d", perm[i], x->shape.rank);
        want.perm[i] = perm[i];
        want.shape.dim[i] = x->shape.dim[perm[i]];
        same &= perm[i] == i;
        seen |= 1 << perm[i];
    }
    BUG_IF(seen != (1 << x->shape.rank) - 1, "transpose: an axis is named twice");
    double a;
    if (same) return x;
    if (is_fill(x, &a)) return graph_fill_like(g, a, &(struct node){.batch = x->batch, .shape = want.shape});
    return make(g, want, x, NULL);
}

struct node *graph_slice(struct graph *g, struct node *x, int axis, int64_t from, int64_t count) {
    BUG_IF(axis < 0 || axis >= x->shape.rank || from < 0 || count < 0 || from + count > x->shape.dim[axis],
           "slice: [%" PRId64 ", %" PRId64 ") of axis %d", from, from + count, axis);
    if (count == x->shape.dim[axis]) return x;
    struct node want = {.op = OP_SLICE, .shape = x->shape, .axis = axis, .from = from, .index = x->index};
    want.shape.dim[axis] = count;
    double a;
    if (is_fill(x, &a)) return graph_fill_like(g, a, &(struct node){.batch = x->batch, .shape = want.shape});
    return make(g, want, x, NULL);
}

struct node *graph_pad(struct graph *g, struct node *x, int axis, int64_t from, int64_t size) {
    real_only(OP_PAD, x);
    BUG_IF(axis < 0 || axis >= x->shape.rank || from < 0 || from + x->shape.dim[axis] > size,
           "pad: to %" PRId64 " from %" PRId64 " on axis %d", size, from, axis);
    if (size == x->shape.dim[axis]) return x;
    struct node want = {.op = OP_PAD, .shape = x->shape, .axis = axis, .from = from};
    want.shape.dim[axis] = size;
    double a;
    if (is_fill(x, &a) && a == 0) return graph_fill_like(g, 0, &(struct node){.batch = x->batch, .shape = want.shape});
    return make(g, want, x, NULL);
}

// The shape of x with its last dimension replaced.
static struct shape with_last(const struct node *x, int64_t last) {
    BUG_IF(x->shape.rank < 1, "node %d (%s) has no last axis", x->id, op_name[x->op]);
    struct shape s = x->shape;
    s.dim[s.rank - 1] = last;
    return s;
}

static void same_but_last(const char *op, const struct node *x, const struct node *index) {
    struct shape s = with_last(x, index->shape.rank ? index->shape.dim[index->shape.rank - 1] : 0);
    if (!index->index || !shape_equal(&s, &index->shape)) shape_bug(op, x, &index->shape);
}

struct node *graph_gather(struct graph *g, struct node *x, struct node *index) {
    real_only(OP_GATHER, x);
    same_but_last("gather", x, index);
    return make(g, (struct node){.op = OP_GATHER, .shape = index->shape}, x, index);
}

struct node *graph_scatter(struct graph *g, struct node *v, struct node *index, int64_t n) {
    real_only(OP_SCATTER, v);
    same_but_last("scatter", v, index);
    if (!shape_equal(&v->shape, &index->shape)) shape_bug("scatter", v, &index->shape);
    return make(g, (struct node){.op = OP_SCATTER, .shape = with_last(v, n)}, v, index);
}

struct node *graph_argmax(struct graph *g, struct node *x) {
    real_only(OP_ARGMAX, x);
    return make(g, (struct node){.op = OP_ARGMAX, .shape = with_last(x, 1), .index = true}, x, NULL);
}

struct node *graph_row_max(struct graph *g, struct node *x) {
    real_only(OP_ROW_MAX, x);
    return make(g, (struct node){.op = OP_ROW_MAX, .shape = with_last(x, 1)}, x, NULL);
}

// ---- elementwise

static struct node *unary(struct graph *g, enum op op, struct node *x, double a) {
    real_only(op, x);
    return make(g, (struct node){.op = op, .shape = x->shape, .a = a}, x, NULL);
}

// Before anything is simplified: what is wrong is wrong with a constant too.
static void check_binary(enum op op, const struct node *x, const struct node *y) {
    real_only(op, x);
    real_only(op, y);
    same_sort(op, x, y);
    if (!shape_equal(&x->shape, &y->shape)) shape_bug(op_name[op], x, &y->shape);
}

static struct node *binary(struct graph *g, enum op op, struct node *x, struct node *y) {
    return make(g, (struct node){.op = op, .shape = x->shape}, x, y);
}

struct node *graph_add(struct graph *g, struct node *x, struct node *y) {
    check_binary(OP_ADD, x, y);
    double a = 0, b = 0;
    bool fx = is_fill(x, &a), fy = is_fill(y, &b);
    if (fx && fy) return graph_fill_like(g, a + b, x);
    if (fx && a == 0) return y;
    if (fy && b == 0) return x;
    if (x->id > y->id) return binary(g, OP_ADD, y, x);  // one order, so that x + y is y + x
    return binary(g, OP_ADD, x, y);
}

struct node *graph_sub(struct graph *g, struct node *x, struct node *y) {
    check_binary(OP_SUB, x, y);
    double a = 0, b = 0;
    bool fx = is_fill(x, &a), fy = is_fill(y, &b);
    if (fx && fy) return graph_fill_like(g, a - b, x);
    if (fy && b == 0) return x;
    if (fx && a == 0) return graph_neg(g, y);
    return binary(g, OP_SUB, x, y);
}

struct node *graph_mul(struct graph *g, struct node *x, struct node *y) {
    check_binary(OP_MUL, x, y);
    double a = 0, b = 0;
    bool fx = is_fill(x, &a), fy = is_fill(y, &b);
    if (fx && fy) return graph_fill_like(g, a * b, x);
    if ((fx && a == 0) || (fy && b == 1)) return x;
    if ((fy && b == 0) || (fx && a == 1)) return y;
    if (x->id > y->id) return binary(g, OP_MUL, y, x);
    return binary(g, OP_MUL, x, y);
}

struct node *graph_div(struct graph *g, struct node *x, struct node *y) {
    check_binary(OP_DIV, x, y);
    double a = 0, b = 0;
    bool fx = is_fill(x, &a), fy = is_fill(y, &b);
    if (fx && fy && b != 0) return graph_fill_like(g, a / b, x);
    if (fx && a == 0) return x;
    if (fy && b == 1) return x;
    return binary(g, OP_DIV, x, y);
}

struct node *graph_neg(struct graph *g, struct node *x) {
    double a;
    if (is_fill(x, &a)) return graph_fill_like(g, -a, x);
    if (x->op == OP_NEG) return x->in[0];
    return unary(g, OP_NEG, x, 0);
}

struct node *graph_exp(struct graph *g, struct node *x) { return unary(g, OP_EXP, x, 0); }
struct node *graph_log(struct graph *g, struct node *x) { return unary(g, OP_LOG, x, 0); }
struct node *graph_sqrt(struct graph *g, struct node *x) { return unary(g, OP_SQRT, x, 0); }
struct node *graph_tanh(struct graph *g, struct node *x) { return unary(g, OP_TANH, x, 0); }
struct node *graph_sigmoid(struct graph *g, struct node *x) { return unary(g, OP_SIGMOID, x, 0); }
struct node *graph_erf(struct graph *g, struct node *x) { return unary(g, OP_ERF, x, 0); }
struct node *graph_relu(struct graph *g, struct node *x) { return unary(g, OP_RELU, x, 0); }
struct node *graph_soft_relu(struct graph *g, struct node *x, double sharpness) {
    return unary(g, OP_SOFT_RELU, x, sharpness);
}
struct node *graph_step(struct graph *g, struct node *x) { return unary(g, OP_STEP, x, 0); }
struct node *graph_sign(struct graph *g, struct node *x) { return unary(g, OP_SIGN, x, 0); }
struct node *graph_detach(struct graph *g, struct node *x) { return unary(g, OP_DETACH, x, 0); }

// ---- products

struct node *graph_matmul(struct graph *g, struct node *x, struct node *y, bool tx, bool ty) {
    real_only(OP_MATMUL, x);
    real_only(OP_MATMUL, y);
    int r = x->shape.rank;
    bool fits = r >= 2 && y->shape.rank == r;
    for (int i = 0; fits && i < r - 2; i++) fits = x->shape.dim[i] == y->shape.dim[i];
    if (!fits || x->shape.dim[r - 1 - tx] != y->shape.dim[r - 2 + ty]) shape_bug("matmul", x, &y->shape);
    struct node want = {.op = OP_MATMUL, .shape = x->shape, .ta = tx, .tb = ty};
    want.shape.dim[r - 2] = x->shape.dim[r - 2 + tx];
    want.shape.dim[r - 1] = y->shape.dim[r - 1 - ty];
    return make(g, want, x, y);
}

// Checks that y = conv(x, w) fits in every dimension.
static void conv_fits(const char *op, const struct shape *x, const struct shape *w, const struct shape *y, int stride, int padding) {
    bool fits = x->rank == 3 && w->rank == 4 && y->rank == 3 && stride > 0 && padding >= 0 && x->dim[0] == w->dim[1] && y->dim[0] == w->dim[0];
    for (int i = 1; fits && i < 3; i++) {
        int64_t room = x->dim[i] + 2 * padding - w->dim[i + 1];
        fits = room >= 0 && y->dim[i] == room / stride + 1;
    }
    char a[96], b[96], c[96];
    BUG_IF(!fits, "%s: x %s, w %s and y %s do not fit with stride %d and padding %d", op, shape_text(x, a), shape_text(w, b), shape_text(y, c), stride, padding);
}

struct node *graph_conv(struct graph *g, struct node *x, struct node *w, int stride, int padding) {
    real_only(OP_CONV, x);
    real_only(OP_CONV, w);
    if (x->shape.rank != 3 || w->shape.rank != 4) shape_bug("conv", x, &w->shape);
    struct node want = {.op = OP_CONV, .stride = stride, .padding = padding, .shape = {.rank = 3, .dim = {w->shape.dim[0]}}};
    BUG_IF(stride < 1, "conv: stride %d", stride);
    for (int i = 1; i < 3; i++) want.shape.dim[i] = (x->shape.dim[i] + 2 * padding - w->shape.dim[i + 1]) / stride + 1;
    conv_fits("conv", &x->shape, &w->shape, &want.shape, stride, padding);
    return make(g, want, x, w);
}

struct node *graph_conv_dx(struct graph *g, struct node *dy, struct node *w, struct shape x, int stride, int padding) {
    real_only(OP_CONV_DX, dy);
    real_only(OP_CONV_DX, w);
    conv_fits("conv_dx", &x, &w->shape, &dy->shape, stride, padding);
    return make(g, (struct node){.op = OP_CONV_DX, .stride = stride, .padding = padding, .shape = x}, dy, w);
}

struct node *graph_conv_dw(struct graph *g, struct node *x, struct node *dy, struct shape w, int stride, int padding) {
    real_only(OP_CONV_DW, x);
    real_only(OP_CONV_DW, dy);
    conv_fits("conv_dw", &x->shape, &w, &dy->shape, stride, padding);
    return make(g, (struct node){.op = OP_CONV_DW, .stride = stride, .padding = padding, .shape = w}, x, dy);
}

static struct shape pooled(const struct node *x, int k) {
    BUG_IF(k > 16, "pooling windows of %d x %d: the index has one byte", k, k);
    BUG_IF(k < 1 || x->shape.rank != 3 || x->shape.dim[1] < k || x->shape.dim[2] < k, "pooling %d x %d of node %d (%s)", k, k, x->id, op_name[x->op]);
    return (struct shape){3, {x->shape.dim[0], x->shape.dim[1] / k, x->shape.dim[2] / k}};
}

struct node *graph_pool_argmax(struct graph *g, struct node *x, int k) {
    real_only(OP_POOL_ARGMAX, x);
    return make(g, (struct node){.op = OP_POOL_ARGMAX, .stride = k, .shape = pooled(x, k), .index = true}, x, NULL);
}

struct node *graph_pool_gather(struct graph *g, struct node *x, struct node *index, int k) {
    real_only(OP_POOL_GATHER, x);
    struct shape s = pooled(x, k);
    if (!index->index || !shape_equal(&index->shape, &s)) shape_bug("pool_gather", index, &s);
    return make(g, (struct node){.op = OP_POOL_GATHER, .stride = k, .shape = s}, x, index);
}

struct node *graph_pool_scatter(struct graph *g, struct node *v, struct node *index, struct shape x, int k) {
    real_only(OP_POOL_SCATTER, v);
    struct shape s = pooled(&(struct node){.shape = x}, k);
    if (!index->index || !shape_equal(&index->shape, &s)) shape_bug("pool_scatter", index, &s);
    if (!shape_equal(&v->shape, &s)) shape_bug("pool_scatter", v, &s);
    return make(g, (struct node){.op = OP_POOL_SCATTER, .stride = k, .shape = x}, v, index);
}

// ---- compositions

struct node *graph_scale(struct graph *g, struct node *x, double a) { return graph_mul(g, x, graph_fill_like(g, a, x)); }
struct node *graph_shift(struct graph *g, struct node *x, double a) { return graph_add(g, x, graph_fill_like(g, a, x)); }
struct node *graph_square(struct graph *g, struct node *x) { return graph_mul(g, x, x); }

struct node *graph_sum_all(struct graph *g, struct node *x) {
    return graph_sum(g, graph_reshape(g, x, (struct shape){1, {shape_count(&x->shape)}}), shape_of(1, 1));
}

struct node *graph_sum_last(struct graph *g, struct node *x) { return graph_sum(g, x, with_last(x, 1)); }

struct node *graph_max_pool(struct graph *g, struct node *x, int k) {
    return graph_pool_gather(g, x, graph_pool_argmax(g, x, k), k);
}

struct node *graph_log_sum_exp(struct graph *g, struct node *x) {
    struct node *m = graph_row_max(g, x);
    struct node *e = graph_exp(g, graph_sub(g, x, graph_broadcast(g, m, x->shape)));
    return graph_add(g, m, graph_log(g, graph_sum_last(g, e)));
}

struct node *graph_softmax(struct graph *g, struct node *x) {
    struct node *e = graph_exp(g, graph_sub(g, x, graph_broadcast(g, graph_row_max(g, x), x->shape)));
    return graph_div(g, e, graph_broadcast(g, graph_sum_last(g, e), x->shape));
}

struct node *graph_again(struct graph *g, const struct node *n, struct node *x, struct node *y) {
    switch (n->op) {
    case OP_INPUT: return input(g, n->name, n->batch, n->index, n->shape);
    case OP_FILL: return graph_fill(g, n->a, n->shape);
    case OP_UNIFORM: return graph_uniform(g, n->stream, x, n->shape);
    case OP_EACH: return graph_each(g, x);
    case OP_SUM_EXAMPLES: return graph_sum_examples(g, x);
    case OP_BROADCAST: return graph_broadcast(g, x, n->shape);
    case OP_SUM: return graph_sum(g, x, n->shape);
    case OP_RESHAPE: return graph_reshape(g, x, n->shape);
    case OP_TRANSPOSE: return graph_transpose(g, x, n->perm);
    case OP_SLICE: return graph_slice(g, x, n->axis, n->from, n->shape.dim[n->axis]);
    case OP_PAD: return graph_pad(g, x, n->axis, n->from, n->shape.dim[n->axis]);
    case OP_GATHER: return graph_gather(g, x, y);
    case OP_SCATTER: return graph_scatter(g, x, y, n->shape.dim[n->shape.rank - 1]);
    case OP_ARGMAX: return graph_argmax(g, x);
    case OP_ROW_MAX: return graph_row_max(g, x);
    case OP_ADD: return graph_add(g, x, y);
    case OP_SUB: return graph_sub(g, x, y);
    case OP_MUL: return graph_mul(g, x, y);
    case OP_DIV: return graph_div(g, x, y);
    case OP_NEG: return graph_neg(g, x);
    case OP_EXP: case OP_LOG: case OP_SQRT: case OP_TANH: case OP_SIGMOID: case OP_ERF: case OP_RELU:
    case OP_SOFT_RELU: case OP_STEP: case OP_SIGN: case OP_DETACH: return unary(g, n->op, x, n->a);
    case OP_MATMUL: return graph_matmul(g, x, y, n->ta, n->tb);
    case OP_CONV: return graph_conv(g, x, y, n->stride, n->padding);
    case OP_CONV_DX: return graph_conv_dx(g, x, y, n->shape, n->stride, n->padding);
    case OP_CONV_DW: return graph_conv_dw(g, x, y, n->shape, n->stride, n->padding);
    case OP_POOL_ARGMAX: return graph_pool_argmax(g, x, n->stride);
    case OP_POOL_GATHER: return graph_pool_gather(g, x, y, n->stride);
    case OP_POOL_SCATTER: return graph_pool_scatter(g, x, y, n->shape, n->stride);
    case OPS: break;
    }
    BUG("no op %d", n->op);
}

static void print_node(const struct node *n, FILE *f) {
    char s[96];
    fprintf(f, "%5d %s %-12s %s%-16s", n->id, n->batch ? "batch" : "whole", op_name[n->op], n->index ? "index " : "", shape_text(&n->shape, s));
    for (int i = 0; i < op_inputs[n->op]; i++) fprintf(f, " %%%d", n->in[i]->id);
    if (n->name) fprintf(f, " \"%s\"", n->name);
    if (n->op == OP_FILL || n->op == OP_SOFT_RELU) fprintf(f, " a=%g", n->a);
    if (n->op == OP_SLICE || n->op == OP_PAD) fprintf(f, " axis=%d from=%" PRId64, n->axis, n->from);
    if (n->op == OP_MATMUL && (n->ta || n->tb)) fprintf(f, " %s%s", n->ta ? "A'" : "A", n->tb ? "B'" : "B");
    if (n->op == OP_CONV || n->op == OP_CONV_DX || n->op == OP_CONV_DW) fprintf(f, " stride=%d padding=%d", n->stride, n->padding);
    if (n->op == OP_TRANSPOSE)
        for (int i = 0; i < n->shape.rank; i++) fprintf(f, "%s%d", i ? "," : " perm=", n->perm[i]);
    fputc('\n', f);
}

void graph_print(const struct graph *g, FILE *f) {
    for (int i = 0; i < g->count; i++) print_node(g->node[i], f);
}

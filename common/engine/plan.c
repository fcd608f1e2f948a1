// plan.c: the planner, in the order in which it works:
//   1. rewrite (rewrite.c), reachability, the pass of every node, its layout (layout.c), sums that only put parts
//      side by side (concat.c), the order;
//   2. walk the nodes and write instructions: elementwise ops and their reductions gather in clusters
//      (cluster.c), values are made when somebody asks (planner.c);
//   3. decide where every value lives, and pack the arenas by liveness (place.c).
#include "plan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/error.h"
#include "concat.h"
#include "place.h"
#include "planner.h"
#include "rewrite.h"

static bool home_layout(const struct planner *s, const struct node *n) {
    const struct node *x = n->in[0], *y = n->in[1];
    if (!n->batch || layout_flat(&n->shape)) return false;
    switch (n->op) {
    case OP_CONV:
    case OP_CONV_DX:
    case OP_POOL_GATHER:
    case OP_POOL_SCATTER: return true;
    case OP_POOL_ARGMAX: return false;  // for its views: channels-last it has bytes, which only pooling reads
    case OP_SLICE:
    case OP_PAD:
    case OP_SUM: return s->last[x->id];
    case OP_BROADCAST: return s->last[x->id];
    case OP_RESHAPE: return s->last[x->id] && x->shape.dim[0] == n->shape.dim[0];
    case OP_TRANSPOSE: return !s->last[x->id] && !layout_flat(&x->shape) && layout_end_to_first(n);
    default: break;
    }
    if (!op_elementwise(n->op)) return false;
    return s->last[x->id] || (y && s->last[y->id]);
}

// ---- walking the nodes

static bool row_op(const struct node *n) {
    return n->op == OP_GATHER || n->op == OP_ARGMAX || n->op == OP_ROW_MAX || n->op == OP_SCATTER;
}

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
    if (s->concat[n->id] == n->id) {
        concat_close(s, n);
        return;
    }
    if (op_elementwise(n->op)) {
        layout_space(&n->shape, last, &rows, &cols);
        cluster_join(s, n, last, rows, cols, x, y);
        return;
    }
    if (row_op(n)) {
        const struct node *base = n->op == OP_SCATTER ? n : x;
        if (generic_row_op(n)) {
            int a = planner_materialise(s, x, false), b = planner_materialise(s, y, false);
            planner_emit_to(s, I_GATHER, n, false, a, b);
            return;
        }
        if (s->last[base->id]) planner_materialise(s, x, false);  // along the logical last axis
        layout_space(&base->shape, false, &rows, &cols);
        cluster_join(s, n, false, rows, cols, x, y);
        return;
    }
    switch (n->op) {
    case OP_SUM: {
        bool xl = s->last[x->id];
        enum sum_form form = cluster_sum_form(n, xl);
        if (form == SUM_OTHER) {
            int a = planner_materialise(s, x, xl);
            struct strided w = {0};
            int64_t in[GRAPH_RANK_MAX], out[GRAPH_RANK_MAX];
            layout_strides(&x->shape, xl, in);
            layout_strides(&n->shape, last, out);
            for (int i = 0; i < x->shape.rank; i++) {
                w.dim[i] = x->shape.dim[i];
                w.from[i] = in[i];
                w.to[i] = n->shape.dim[i] == 1 ? 0 : out[i];
            }
            planner_emit_to(s, I_SUM, n, last, a, -1)->walk = w;
            return;
        }
        if (form != SUM_LAST && s->users[n->id] == 1 && !s->output[n->id] &&
            graph_node(s->g, s->user[n->id][0])->op == OP_SUM_EXAMPLES) {
            s->done[n->id] = s->left[n->id] = true;
            return;
        }
        layout_space(&x->shape, xl, &rows, &cols);
        cluster_join(s, n, xl, rows, cols, x, NULL);
        return;
    }
    case OP_SUM_EXAMPLES: planner_sum_examples(s, n); return;
    case OP_RESHAPE: {
        // Within a program a reshape that keeps rows and columns is the same register.
        int64_t r, c;
        bool xl = s->last[x->id];
        if (s->cluster[x->id] < 0 || cluster_ends(s, x)) return;
        layout_space(&n->shape, last, &rows, &cols);
        layout_space(&x->shape, xl, &r, &c);
        if (r == rows && c == cols && xl == last) cluster_join(s, n, last, rows, cols, x, NULL);
        return;
    }
    case OP_MATMUL:
    case OP_CONV_DW: {
        bool sums_only = !s->output[n->id] && n->batch;
        for (int i = 0; sums_only && i < s->users[n->id]; i++)
            sums_only = graph_node(s->g, s->user[n->id][i])->op == OP_SUM_EXAMPLES;
        if (sums_only && !planner_weight(x) && !planner_weight(y) && (n->op == OP_CONV_DW || n->shape.rank == 2))
            return;
        planner_make(s, n);
        return;
    }
    case OP_CONV:
    case OP_CONV_DX:
    case OP_POOL_ARGMAX:
    case OP_POOL_GATHER:
    case OP_POOL_SCATTER:
    case OP_UNIFORM: planner_make(s, n); return;
    default: return;  // inputs, constants and views are made when somebody asks
    }
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
        for (int i = 0; i < op_inputs[n->op]; i++) is_draw[id] &= is_draw[n->in[i]->id] || planner_number(n->in[i], &a);
    }
    for (int id = s->n - 1; id >= 0; id--) {
        if (!is_draw[id] || layout_flat(&graph_node(s->g, id)->shape)) continue;
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
        const struct node *user = s->users[id] == 1 ? graph_node(s->g, s->user[id][0]) : NULL;
        bool summed = user && user->op == OP_SUM_EXAMPLES;
        bool waits = n->batch && summed && (n->op == OP_MATMUL || n->op == OP_CONV_DW || n->op == OP_SUM);
        // what only such a sum reads, too
        if (user && user->op == OP_SUM && s->users[user->id] == 1 && op_elementwise(n->op))
            waits = n->batch && graph_node(s->g, s->user[user->id][0])->op == OP_SUM_EXAMPLES;
        key[id] = 2 * id;
        if (n->op == OP_SUM_EXAMPLES || waits) {
            key[id] = key[x->id];
            if (n->in[1] && key[n->in[1]->id] > key[id]) key[id] = key[n->in[1]->id];
            if ((n->op == OP_MATMUL || n->op == OP_CONV_DW) && waits) key[id] |= 1;  // products close what they take: sums first
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
    s->concat = memory_take(n * sizeof *s->concat);
    memset(s->concat, -1, n * sizeof *s->concat);
    s->room = memory_take(n * sizeof *s->room);
    memset(s->room, -1, n * sizeof *s->room);
    for (int i = 0; i < count; i++) s->live[p->rewritten[i]->id] = s->output[p->rewritten[i]->id] = true;
    find_users(s);
    find_passes(s);
    for (int again = 0; again < 2; again++) {
        for (int id = 0; id < s->n; id++) s->last[id] |= home_layout(s, graph_node(g, id));
        if (!again) lend_layouts(s);
    }
    for (int id = 0; id < s->n; id++) {
        if (s->live[id] && s->pass[id] + graph_node(g, id)->batch > p->passes)
            p->passes = s->pass[id] + graph_node(g, id)->batch;
    }
    concat_find(s);
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
                if (s->pass[o->id] == s->now && o->batch == batch)
                    p->output_value[i] = planner_materialise(s, o, false);
            }
            for (int k = 0; k < CLUSTERS; k++) cluster_close(s, k);
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
    free(s->concat);
    free(s->room);
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

struct graph *plan_graph(const struct plan *p) {
    return p->g;
}

static void print_value(const struct plan *p, int v, FILE *f) {
    static const char *const name[] = {"nowhere", "input", "shard", "job", "batch", "whole"};
    char shape[96];
    if (v < 0) return;
    const struct value *w = &p->value[v];
    fprintf(f, " v%d%s:%s%s", w->root, shape_text(&w->node->shape, shape), name[w->place], w->last ? "/last" : "");
}

static void print_program(const struct plan *p, const struct instr *i, FILE *f) {
    static const char *const code[] = {
        [VEC_ADD] = "add", [VEC_SUB] = "sub", [VEC_MUL] = "mul", [VEC_DIV] = "div", [VEC_COMBINE] = "combine", [VEC_GATE] = "gate", [VEC_MUL_SCALED] = "mul_scaled",
        [VEC_MUL_ADD] = "mul_add", [VEC_NEG] = "neg", [VEC_EXP] = "exp", [VEC_LOG] = "log", [VEC_SQRT] = "sqrt",
        [VEC_TANH] = "tanh", [VEC_SIGMOID] = "sigmoid", [VEC_ERF] = "erf", [VEC_RELU] = "relu", [VEC_STEP] = "step",
        [VEC_SIGN] = "sign", [VEC_COPY] = "copy", [VEC_SCALE] = "scale", [VEC_SHIFT] = "shift", [VEC_AFFINE] = "affine",
        [VEC_FILL] = "fill", [VEC_ROW_SUM] = "row_sum", [VEC_ROW_DOT] = "row_dot", [VEC_ROW_MAX] = "row_max",
        [VEC_ROW_ARGMAX] = "row_argmax", [VEC_ROW_GATHER] = "row_gather", [VEC_ROW_SCATTER] = "row_scatter"};
    static const char *const store[] = {"store", "sum rows", "sum all"};
    fprintf(f, " rows %" PRId64 " cols %" PRId64 "\n", i->rows, i->cols);
    for (int j = 0; j < i->program.loads; j++) {
        fprintf(f, "          r%d = load", i->program.load[j].reg);
        print_value(p, i->load[j], f);
        fputc('\n', f);
    }
    for (int j = 0; j < i->program.ops; j++) {
        const struct vec_op *o = &i->program.op[j];
        int in[3], operands = vec_operands(o, in);
        fprintf(f, "          r%d = %s", o->out, code[o->code]);
        for (int k = 0; k < operands; k++) fprintf(f, " r%d", in[k]);
        if (o->code == VEC_SCALE || o->code == VEC_SHIFT || o->code == VEC_FILL || o->code == VEC_MUL_SCALED) fprintf(f, " %g", o->a);
        if (o->code == VEC_AFFINE || o->code == VEC_COMBINE || o->code == VEC_MUL_ADD) fprintf(f, " (%g, %g)", o->a, o->b);
        if (o->affine) fprintf(f, " (%g x + %g; %g y + %g)", o->a, o->b, o->c, o->d);
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
        [I_VEC] = "vec",        [I_GEMM] = "gemm",         [I_GEMM_SUM] = "gemm_sum",   [I_PRODUCT] = "product",
        [I_CONV] = "conv",      [I_CONV_SUM] = "conv_sum", [I_CONV_EACH] = "conv_each", [I_CONV_ANY] = "conv_any",
        [I_POOL] = "pool",      [I_COPY] = "copy",         [I_GATHER] = "gather",       [I_SUM] = "sum",
        [I_UNIFORM] = "uniform"};
    fprintf(f,
            "%d instructions, %d passes over the examples, shards of %d; arenas of %" PRId64 " (shard) and %" PRId64
            " (job) floats an example\n",
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

// cpu.c: the CPU executor. A pass hands jobs, a few consecutive shards each, to the workers; within a job,
// instructions that want many rows run once, all others run shard by shard while the data is warm.
//
// No result depends on the number of threads: a row depends on its example alone, whatever stands beside
// it; sums over examples have one slot per shard, added in shard order, or are products whose order of
// summation is fixed. How many shards make a job is therefore free.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/msg.h"
#include "device.h"
#include "dnn.h"
#include "gemm.h"
#include "instr.h"

enum {
    JOB = 8,     // shards a job has at most
    ROUND = 64,  // shards whose partial sums are kept at a time
    PACK_COLUMNS = 4 * GEMM_PANEL,
    SUM_COLUMNS = 3 * GEMM_PANEL,
    REDUCE_FLOATS = 8192,
};

// What an instruction needs besides the plan.
struct kernel {
    struct dnn_conv *conv;
    float *packed;  // weights in the layout of the product
    uint64_t packed_version;
    float *slots;  // partial sums: [1 + shards of a round][slot_floats]; the first row carries earlier rounds
    int64_t slot_floats, slot_rows;
    int64_t *slot_at;     // I_VEC: per store, its place in a slot
    struct strided walk;  // I_COPY, I_SUM: dimensions merged and ordered
    int dims;
};

struct task {  // a piece of work between passes
    int instr, store;
    int64_t from, to;
};

struct worker {
    float *shard, *job, *stage;
    void *scratch;
    struct vec_view *view;  // of the program that runs
    double busy[PARTS];
    char gap[64];
};

struct cpu {
    const struct plan *p;
    struct pool *pool;
    int threads;
    float **memory;         // by value: inputs, batch rows, whole values
    uint64_t *version;      // by value: changes with the contents of a whole input
    int64_t *capacity;      // by value: examples that fit in its memory
    struct kernel *kernel;  // by instruction
    struct worker *worker;
    float **out;                 // by output
    struct task *pack, *finish;  // of all passes; finish: largest first
    int packs, finishes;
    struct vec_program sum;  // adds slots
    uint64_t runs;
    double wall;
    // the pass being run
    int64_t examples;
    int64_t shards, round_first, round_shards;
    int job_shards;
    int from, to;  // instructions
    int *pending;  // tasks of this moment
};

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

// ---- where things are

struct where {  // the rows an instruction works on
    struct worker *w;
    int64_t first;  // example
    int rows;       // examples that are there
    int in_job;     // examples between the job's first and this first
};

static float *at(const struct cpu *c, int v, const struct where *h) {
    const struct value *x = &c->p->value[v];
    switch (x->place) {
    case AT_WHOLE: return c->memory[x->root];
    case AT_INPUT: return c->memory[x->root] + (value_batch(x) ? h->first * x->floats : 0);
    case AT_BATCH: return c->memory[x->root] + h->first * c->p->value[x->root].floats;
    case AT_JOB: return h->w->job + x->offset * JOB * SHARD + h->in_job * c->p->value[x->root].floats;
    case AT_SHARD: return h->w->shard + x->offset * SHARD;
    case AT_NOWHERE: break;
    }
    BUG("value %d is nowhere", v);
}

static int64_t row_stride(const struct cpu *c, int v) {
    return value_batch(&c->p->value[v]) ? c->p->value[v].floats : 0;
}

// ---- convolutions

static struct dnn_shape conv_shape(const struct node *n, int examples) {
    const struct shape *x = n->op == OP_CONV_DX ? &n->shape : &n->in[0]->shape;
    const struct shape *y = n->op == OP_CONV ? &n->shape : n->op == OP_CONV_DX ? &n->in[0]->shape : &n->in[1]->shape;
    const struct shape *w = n->op == OP_CONV_DW ? &n->shape : &n->in[1]->shape;
    return (struct dnn_shape){(int)x->dim[0], (int)x->dim[1], (int)x->dim[2], (int)y->dim[0],
                              (int)y->dim[1], (int)y->dim[2], (int)w->dim[2], (int)w->dim[3],
                              n->stride,      n->padding,     examples};
}

// An operand of a primitive for SHARD examples: rows that are not there are zeros, in memory that is ours.
static float *whole_shard(const struct cpu *c, int v, const struct where *h, float *stage) {
    float *rows = at(c, v, h);
    int64_t floats = c->p->value[v].floats;
    if (h->rows == SHARD) return rows;
    if (c->p->value[v].place == AT_INPUT) {
        memcpy(stage, rows, (size_t)(h->rows * floats) * sizeof(float));
        rows = stage;
    }
    memset(rows + h->rows * floats, 0, (size_t)((SHARD - h->rows) * floats) * sizeof(float));
    return rows;
}

static float *slot_of(const struct cpu *c, const struct kernel *k, const struct where *h) {
    return k->slots + (1 + h->first / SHARD - c->round_first) * k->slot_floats;
}

static void run_conv(const struct cpu *c, const struct instr *i, const struct kernel *k, const struct where *h) {
    int64_t half = c->p->value[i->in[0]].floats * SHARD;
    float *x = whole_shard(c, i->in[0], h, h->w->stage);
    float *bias = i->bias >= 0 ? at(c, i->bias, h) : NULL;
    if (i->code == I_CONV_SUM) {
        float *y = whole_shard(c, i->in[1], h, h->w->stage + half);
        dnn_conv_run(k->conv, x, slot_of(c, k, h), NULL, y, h->w->scratch);
        return;
    }
    if (i->code == I_CONV_EACH) {  // one example at a time, each with its own weights
        float *out = at(c, i->out, h), *packed = h->w->stage + 2 * half;
        int64_t fx = c->p->value[i->in[0]].floats, fy = c->p->value[i->in[1]].floats, fw = c->p->value[i->out].floats;
        float *y = at(c, i->in[1], h);
        for (int e = 0; e < h->rows; e++) {
            dnn_conv_run(k->conv, x + e * fx, packed, NULL, y + e * fy, h->w->scratch);
            dnn_conv_unpack(k->conv, packed, out + e * fw);
        }
        return;
    }
    float *out = at(c, i->out, h);
    if (i->node->op == OP_CONV)
        dnn_conv_run(k->conv, x, k->packed, bias, out, h->w->scratch);
    else
        dnn_conv_run(k->conv, out, k->packed, NULL, x, h->w->scratch);
}

// Any convolution in logical layout, example by example: for the mixtures that no library call covers.
static void run_conv_any(const struct cpu *c, const struct instr *i, const struct where *h) {
    struct dnn_shape s = conv_shape(i->node, 1);
    const struct value *out = &c->p->value[i->out];
    for (int e = 0; e < h->rows; e++) {
        const float *a = at(c, i->in[0], h) + e * row_stride(c, i->in[0]),
                    *b = at(c, i->in[1], h) + e * row_stride(c, i->in[1]);
        float *y = at(c, i->out, h) + e * out->floats;
        memset(y, 0, (size_t)out->floats * sizeof(float));
        for (int o = 0; o < s.out_channels; o++)
            for (int ch = 0; ch < s.channels; ch++)
                for (int p = 0; p < s.out_height; p++)
                    for (int q = 0; q < s.out_width; q++)
                        for (int u = 0; u < s.kernel_height; u++)
                            for (int v = 0; v < s.kernel_width; v++) {
                                int row = p * s.stride + u - s.padding, col = q * s.stride + v - s.padding;
                                if (row < 0 || row >= s.height || col < 0 || col >= s.width) continue;
                                int64_t ix = ((int64_t)ch * s.height + row) * s.width + col;
                                int64_t iw =
                                    (((int64_t)o * s.channels + ch) * s.kernel_height + u) * s.kernel_width + v;
                                int64_t iy = ((int64_t)o * s.out_height + p) * s.out_width + q;
                                if (i->node->op == OP_CONV)
                                    y[iy] += a[ix] * b[iw];
                                else if (i->node->op == OP_CONV_DX)
                                    y[ix] += a[iy] * b[iw];
                                else
                                    y[iw] += a[ix] * b[iy];
                            }
    }
}

static void run_pool(const struct cpu *c, const struct instr *i, const struct where *h) {
    const struct node *n = i->node;
    const struct shape *x = n->op == OP_POOL_SCATTER ? &n->shape : &n->in[0]->shape;
    int ch = (int)x->dim[0], hh = (int)x->dim[1], w = (int)x->dim[2], k = n->stride;
    const int64_t in = row_stride(c, i->in[0]), out = c->p->value[i->out].floats;
    const struct value *index = &c->p->value[n->op == OP_POOL_ARGMAX ? i->out : i->in[1]];
    int64_t windows = (int64_t)ch * (hh / k) * (w / k);
    bool dense = index->bytes && index->floats * 4 == windows && in;  // bytes of an example fill its floats
    int step = dense ? h->rows : 1;
    for (int e = 0; e < h->rows; e += step) {
        float *a = at(c, i->in[0], h) + e * in, *y = at(c, i->out, h) + e * out;
        if (n->op == OP_POOL_ARGMAX) {
            float *top = i->top >= 0 ? at(c, i->top, h) + e * c->p->value[i->top].floats : NULL;
            dnn_pool_argmax(a, step, hh, w, ch, k, top, (unsigned char *)y);
            continue;
        }
        const float *wide = at(c, i->in[1], h) + e * row_stride(c, i->in[1]);
        unsigned char *narrow = (unsigned char *)h->w->stage;
        if (!index->bytes)
            for (int64_t j = 0; j < windows; j++) narrow[j] = (unsigned char)((const int32_t *)wide)[j];
        const unsigned char *from = index->bytes ? (const unsigned char *)wide : narrow;
        if (n->op == OP_POOL_GATHER)
            dnn_pool_gather(a, from, step, hh, w, ch, k, y);
        else
            dnn_pool_scatter(a, from, step, hh, w, ch, k, y);
    }
}

// ---- products

static struct gemm_matrix matrix(const float *at, int64_t cols, bool transposed) {
    return transposed ? (struct gemm_matrix){at, 1, cols} : (struct gemm_matrix){at, cols, 1};
}
static int64_t dim_of(const struct node *n, int from_end) { return n->shape.dim[n->shape.rank - from_end]; }

// The product's k, and how wide a row of A and B as stored is.
static void product_shape(const struct node *n, int64_t *m, int64_t *cols, int64_t *k) {
    *m = dim_of(n, 2);
    *cols = dim_of(n, 1);
    *k = dim_of(n->in[0], n->ta ? 2 : 1);
}

static void run_gemm(const struct cpu *c, const struct instr *i, const struct kernel *kernel, const struct where *h) {
    int64_t m, n, k;
    product_shape(i->node, &m, &n, &k);
    struct gemm_tail tail = {.bias = i->bias >= 0 ? at(c, i->bias, h) : NULL, .relu = i->relu};
    bool column = i->node->ta && k == 1;  // rows of one number, side by side
    struct gemm_matrix a = {at(c, i->in[0], h), column ? 1 : k, 1};
    gemm_packed(h->rows * m, n, k, a, kernel->packed, at(c, i->out, h), n, 0, n, &tail, h->w->scratch);
}

// One product for every leading index.
static void product_dims(const struct instr *i, int d, int64_t k, const float *a, const float *b, float *out, void *scratch) {
    const struct shape *s = &i->node->shape;
    const int64_t *sa = i->view[0].stride + d, *sb = i->view[1].stride + d, *so = i->view[2].stride + d;
    if (d + 2 == s->rank) {
        gemm_plain(s->dim[d], s->dim[d + 1], k, (struct gemm_matrix){a, sa[0], sa[1]}, (struct gemm_matrix){b, sb[0], sb[1]},
                   out, so[0], NULL, scratch);
        return;
    }
    for (int64_t l = 0; l < s->dim[d]; l++)
        product_dims(i, d + 1, k, a + l * *sa, b + l * *sb, out + l * *so, scratch);
}

static void run_product(const struct cpu *c, const struct instr *i, const struct where *h) {
    int64_t m, n, k, step[3];
    product_shape(i->node, &m, &n, &k);
    const int value[3] = {i->in[0], i->in[1], i->out};
    float *base[3];
    for (int j = 0; j < 3; j++) {
        base[j] = at(c, value[j], h) + i->view[j].start;
        step[j] = row_stride(c, value[j]);
    }
    for (int e = 0; e < h->rows; e++)
        product_dims(i, 0, k, base[0] + e * step[0], base[1] + e * step[1], base[2] + e * step[2], h->w->scratch);
}

// Columns [from, to) of the sum over all examples of A B.
static void run_gemm_sum(const struct cpu *c, const struct instr *i, int64_t from, int64_t to, struct worker *w) {
    const struct node *n = i->node;
    int64_t m, cols, k;
    product_shape(n, &m, &cols, &k);
    struct where h = {w, c->round_first * SHARD, 0, 0};
    int64_t rows = c->examples - h.first < ROUND * SHARD ? c->examples - h.first : ROUND * SHARD;
    const float *a = at(c, i->in[0], &h), *b = at(c, i->in[1], &h);
    float *out = at(c, i->out, &h) + from;
    struct gemm_tail tail = {.add = c->round_first > 0};
    struct gemm_matrix ma = matrix(a, dim_of(n->in[0], 1), n->ta), mb = matrix(b, dim_of(n->in[1], 1), n->tb);
    // Over the examples k goes on at the same stride where A holds its k along rows, or has one of them.
    bool chain_a = n->ta || k == 1 || m == 1, chain_b = !n->tb || k == 1 || cols == 1;
    if (chain_a && chain_b) {
        if (k == 1 || !n->ta) ma = (struct gemm_matrix){a, 1, m};
        if (k == 1 || n->tb) mb = (struct gemm_matrix){b, cols, 1};
        mb.at += from * mb.col;
        gemm_plain(m, to - from, rows * k, ma, mb, out, cols, &tail, w->scratch);
        return;
    }
    for (int64_t e = 0; e < rows; e++) {
        struct gemm_matrix ea = ma, eb = mb;
        ea.at += e * m * k;
        eb.at += e * k * cols + from * mb.col;
        tail.add |= e > 0;
        gemm_plain(m, to - from, k, ea, eb, out, cols, &tail, w->scratch);
    }
}

// ---- moves

// Drops dimensions of 1, orders by the stride of the result, merges what is contiguous on both sides.
static int tidy(struct strided *w, bool merge) {
    int n = 0;
    for (int i = 0; i < GRAPH_RANK_MAX; i++)
        if (w->dim[i] > 1) {
            w->dim[n] = w->dim[i];
            w->from[n] = w->from[i];
            w->to[n] = w->to[i];
            n++;
        }
    for (int i = 1; i < n; i++)
        for (int j = i; j > 0 && w->to[j - 1] < w->to[j]; j--) {
            struct strided t = *w;
            w->dim[j] = t.dim[j - 1], w->from[j] = t.from[j - 1], w->to[j] = t.to[j - 1];
            w->dim[j - 1] = t.dim[j], w->from[j - 1] = t.from[j], w->to[j - 1] = t.to[j];
        }
    for (int i = n - 2; merge && i >= 0; i--)
        if (w->from[i] == w->from[i + 1] * w->dim[i + 1] && w->to[i] == w->to[i + 1] * w->dim[i + 1]) {
            w->dim[i] *= w->dim[i + 1];
            w->from[i] = w->from[i + 1], w->to[i] = w->to[i + 1];
            for (int j = i + 1; j + 1 < n; j++)
                w->dim[j] = w->dim[j + 1], w->from[j] = w->from[j + 1], w->to[j] = w->to[j + 1];
            n--;
        }
    return n;
}

static void copy_dims(const struct strided *w, int d, int n, const float *from, float *to) {
    if (n - d == 2 && w->to[d + 1] == 1 && w->from[d] == 1 && w->from[d + 1] == w->dim[d] &&
        w->to[d] == w->dim[d + 1]) {
        dnn_to_channels_last(from, 1, (int)w->dim[d + 1], (int)w->dim[d], to);  // a transposed matrix
    } else if (d + 1 < n) {
        for (int64_t i = 0; i < w->dim[d]; i++) copy_dims(w, d + 1, n, from + i * w->from[d], to + i * w->to[d]);
    } else if (n == 0) {
        *to = *from;
    } else if (w->from[d] == 1 && w->to[d] == 1) {
        memcpy(to, from, (size_t)w->dim[d] * sizeof(float));
    } else {
        for (int64_t i = 0; i < w->dim[d]; i++) to[i * w->to[d]] = from[i * w->from[d]];
    }
}

static void fill_dims(const struct strided *w, int d, int n, float number, float *to) {
    if (d == n) {
        *to = number;
        return;
    }
    for (int64_t i = 0; i < w->dim[d]; i++)
        if (d + 1 == n) to[i * w->to[d]] = number;
        else fill_dims(w, d + 1, n, number, to + i * w->to[d]);
}

static void add_dims(const struct strided *w, int d, int n, const float *from, float *to) {
    if (d == n) {
        *to += *from;
        return;
    }
    for (int64_t i = 0; i < w->dim[d]; i++) add_dims(w, d + 1, n, from + i * w->from[d], to + i * w->to[d]);
}

// A pooling index from bytes to the int32 of every other index.
static void widen_dims(const struct strided *w, int d, int n, const unsigned char *from, int32_t *to) {
    if (d == n) {
        *to = *from;
        return;
    }
    for (int64_t i = 0; i < w->dim[d]; i++) widen_dims(w, d + 1, n, from + i * w->from[d], to + i * w->to[d]);
}

static void run_copy(const struct cpu *c, const struct instr *i, const struct kernel *k, const struct where *h) {
    int64_t floats = c->p->value[i->out].floats;
    float *out = at(c, i->out, h);
    if (i->in[0] < 0) {
        for (int e = 0; e < h->rows; e++)
            fill_dims(&k->walk, 0, k->dims, (float)i->node->a, out + e * floats + k->walk.to_start);
        return;
    }
    const float *in = at(c, i->in[0], h);
    int64_t step = row_stride(c, i->in[0]);
    if (c->p->value[i->in[0]].bytes) {
        for (int e = 0; e < h->rows; e++)
            widen_dims(&k->walk, 0, k->dims, (const unsigned char *)(in + e * step), (int32_t *)out + e * floats);
        return;
    }
    if (i->code == I_SUM) memset(out, 0, (size_t)(h->rows * floats) * sizeof(float));
    for (int e = 0; e < h->rows; e++) {
        const float *from = in + e * step + k->walk.from_start;
        float *to = out + e * floats + k->walk.to_start;
        if (i->code == I_SUM)
            add_dims(&k->walk, 0, k->dims, from, to);
        else
            copy_dims(&k->walk, 0, k->dims, from, to);
    }
}

static void run_gather(const struct cpu *c, const struct instr *i, const struct where *h) {
    const struct node *n = i->node;
    bool gather = n->op == OP_GATHER;
    int64_t wide = dim_of(gather ? n->in[0] : n, 1), some = dim_of(n->in[1], 1), out = c->p->value[i->out].floats;
    int64_t rows = (gather ? out / (some ? some : 1) : wide ? out / wide : 0);
    for (int e = 0; e < h->rows; e++) {
        const float *x = at(c, i->in[0], h) + e * row_stride(c, i->in[0]);
        const int32_t *index = (const int32_t *)at(c, i->in[1], h) + e * row_stride(c, i->in[1]);
        float *y = at(c, i->out, h) + e * out;
        if (!gather) memset(y, 0, (size_t)out * sizeof *y);
        for (int64_t j = 0; j < rows * some; j++)
            BUG_IF(index[j] < 0 || index[j] >= wide, "node %d (%s): index %d of %" PRId64, n->id, op_name[n->op], index[j], wide);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t j = 0; j < some; j++)
                if (gather)
                    y[r * some + j] = x[r * wide + index[r * some + j]];
                else
                    y[r * wide + index[r * some + j]] += x[r * some + j];
    }
}

static void run_uniform(const struct cpu *c, const struct instr *i, const struct where *h) {
    const struct value *v = &c->p->value[i->out];
    int64_t channels = v->last ? v->node->shape.dim[0] : 1;
    for (int e = 0; e < h->rows; e++) {
        const int32_t *key = (const int32_t *)at(c, i->in[0], h) + e * row_stride(c, i->in[0]);
        float *out = at(c, i->out, h) + e * v->floats, *draws = v->last ? h->w->stage : out;
        rng_uniform(i->node->stream, (uint32_t)key[0], (uint32_t)key[1], (uint32_t)key[2], draws, (long)v->floats);
        if (v->last) dnn_to_channels_last(draws, 1, (int)channels, (int)(v->floats / channels), out);
    }
}

static void run_vec(const struct cpu *c, const struct instr *i, const struct kernel *k, const struct where *h) {
    struct vec_view *load = h->w->view, *store = load + i->program.loads;
    for (int j = 0; j < i->program.loads; j++) {
        load[j] = i->load_view[j];
        load[j].at = at(c, i->load[j], h);
    }
    for (int j = 0; j < i->program.stores; j++) {
        store[j] = i->store_view[j];
        store[j].at =
            i->program.store[j].kind == VEC_SUM_ALL ? slot_of(c, k, h) + k->slot_at[j] : at(c, i->store[j], h);
    }
    vec_run(&i->program, load, store, h->rows, i->rows, i->cols, h->w->scratch);
}

static void run_instr(struct cpu *c, int t, const struct where *h) {
    static const enum exec_part part[] = {
        [I_VEC] = PART_ELEMENTWISE,    [I_GEMM] = PART_MATMUL,   [I_GEMM_SUM] = PART_MATMUL, [I_PRODUCT] = PART_MATMUL,
        [I_CONV] = PART_CONV,          [I_CONV_SUM] = PART_CONV, [I_CONV_EACH] = PART_CONV,  [I_CONV_ANY] = PART_CONV,
        [I_POOL] = PART_POOL,          [I_COPY] = PART_MOVE,     [I_GATHER] = PART_MOVE,     [I_SUM] = PART_MOVE,
        [I_UNIFORM] = PART_ELEMENTWISE};
    const struct instr *i = &c->p->instr[t];
    const struct kernel *k = &c->kernel[t];
    double start = msg_clock();
    switch (i->code) {
    case I_VEC: run_vec(c, i, k, h); break;
    case I_GEMM: run_gemm(c, i, k, h); break;
    case I_GEMM_SUM: break;  // after the pass
    case I_PRODUCT: run_product(c, i, h); break;
    case I_CONV:
    case I_CONV_SUM:
    case I_CONV_EACH: run_conv(c, i, k, h); break;
    case I_CONV_ANY: run_conv_any(c, i, h); break;
    case I_POOL: run_pool(c, i, h); break;
    case I_COPY:
    case I_SUM: run_copy(c, i, k, h); break;
    case I_GATHER: run_gather(c, i, h); break;
    case I_UNIFORM: run_uniform(c, i, h); break;
    }
    h->w->busy[part[i->code]] += msg_clock() - start;
}

// ---- passes

static int rows_from(const struct cpu *c, int64_t first, int64_t most) {
    int64_t rest = c->examples - first;
    return (int)(rest < most ? rest : most);
}

static void run_job(void *data, long j, int worker) {
    struct cpu *c = data;
    int64_t begin = c->round_first + j * c->job_shards, end = begin + c->job_shards;
    if (end > c->round_first + c->round_shards) end = c->round_first + c->round_shards;
    struct worker *w = &c->worker[worker];
    for (int t = c->from; t < c->to;) {
        if (c->p->instr[t].by_job) {
            struct where h = {w, begin * SHARD, rows_from(c, begin * SHARD, (end - begin) * SHARD), 0};
            run_instr(c, t++, &h);
            continue;
        }
        int stop = t;
        while (stop < c->to && !c->p->instr[stop].by_job) stop++;
        for (int64_t s = begin; s < end; s++) {
            struct where h = {w, s * SHARD, rows_from(c, s * SHARD, SHARD), (int)(s - begin) * SHARD};
            for (int u = t; u < stop; u++) run_instr(c, u, &h);
        }
        t = stop;
    }
}

// Weights into the layout of their products.
static void run_pack(void *data, long j, int worker) {
    struct cpu *c = data;
    const struct task *t = &c->pack[c->pending[j]];
    const struct instr *i = &c->p->instr[t->instr];
    struct kernel *k = &c->kernel[t->instr];
    double start = msg_clock();
    const float *w = at(c, i->in[1], &(struct where){.w = &c->worker[worker]});
    if (k->conv) {
        dnn_conv_pack(k->conv, w, k->packed);
    } else {
        int64_t m, n, kk;
        product_shape(i->node, &m, &n, &kk);
        gemm_pack(k->packed, matrix(w, dim_of(i->node->in[1], 1), i->node->tb), kk, n, t->from, t->to);
    }
    c->worker[worker].busy[PART_MOVE] += msg_clock() - start;
}

// Sums over the examples: slots added in order, products over all rows.
static void run_finish(void *data, long j, int worker) {
    struct cpu *c = data;
    const struct task *t = &c->finish[c->pending[j]];
    const struct instr *i = &c->p->instr[t->instr];
    struct kernel *k = &c->kernel[t->instr];
    struct worker *w = &c->worker[worker];
    double start = msg_clock();
    if (i->code == I_GEMM_SUM) {
        run_gemm_sum(c, i, t->from, t->to, w);
        w->busy[PART_MATMUL] += msg_clock() - start;
        return;
    }
    bool carry = c->round_first > 0, more = c->round_first + c->round_shards < c->shards;
    float *slots = k->slots + (carry ? 0 : k->slot_floats) + t->from, *to = k->slots + t->from;
    int64_t rows = c->round_shards + carry;
    if (i->code == I_VEC && !more)
        to = at(c, i->store[t->store], &(struct where){.w = w}) + t->from - k->slot_at[t->store];
    struct vec_view load = {slots, k->slot_floats, 0}, store = {to, 0, 0};
    float sums[REDUCE_FLOATS];  // the first slot is read and, between rounds, written
    store.at = sums;
    vec_run(&c->sum, &load, &store, rows, 1, t->to - t->from, w->scratch);
    memcpy(to, sums, (size_t)(t->to - t->from) * sizeof(float));
    w->busy[PART_ELEMENTWISE] += msg_clock() - start;
}

static void run_tasks(struct cpu *c, int count, void (*work)(void *, long, int)) {
    if (count) pool_run(c->pool, count, work, c);
}

static bool stale(struct cpu *c, int t) {
    const struct instr *i = &c->p->instr[t];
    const struct value *w = &c->p->value[c->p->value[i->in[1]].root];
    uint64_t version = w->place == AT_INPUT ? c->version[w->root] : c->runs;
    return c->kernel[t].packed_version != version;
}

static void pack_weights(struct cpu *c, int pass) {
    int count = 0;
    for (int j = 0; j < c->packs; j++)
        if (c->p->instr[c->pack[j].instr].pass == pass && stale(c, c->pack[j].instr)) c->pending[count++] = j;
    run_tasks(c, count, run_pack);
    for (int j = 0; j < count; j++) {
        int t = c->pack[c->pending[j]].instr;
        const struct value *w = &c->p->value[c->p->value[c->p->instr[t].in[1]].root];
        c->kernel[t].packed_version = w->place == AT_INPUT ? c->version[w->root] : c->runs;
    }
}

static void finish_sums(struct cpu *c, int pass) {
    int count = 0;
    for (int j = 0; j < c->finishes; j++)
        if (c->p->instr[c->finish[j].instr].pass == pass) c->pending[count++] = j;
    run_tasks(c, count, run_finish);
    bool more = c->round_first + c->round_shards < c->shards;
    for (int t = c->from; t < c->to && !more; t++)
        if (c->p->instr[t].code == I_CONV_SUM) {
            struct where h = {.w = &c->worker[0]};
            dnn_conv_unpack(c->kernel[t].conv, c->kernel[t].slots, at(c, c->p->instr[t].out, &h));
        }
}

static void zero_sums(struct cpu *c, int pass) {
    struct where h = {.w = &c->worker[0]};
    for (int t = c->from; t < c->to; t++) {
        const struct instr *i = &c->p->instr[t];
        if (i->pass != pass) continue;
        if (i->code == I_GEMM_SUM || i->code == I_CONV_SUM)
            memset(at(c, i->out, &h), 0, (size_t)c->p->value[i->out].floats * sizeof(float));
        for (int j = 0; j < i->program.stores; j++)
            if (i->program.store[j].kind == VEC_SUM_ALL)
                memset(at(c, i->store[j], &h), 0, (size_t)c->p->value[i->store[j]].floats * sizeof(float));
    }
}

// Whether the pass has an instruction that is better off with the rows of several shards.
static bool wants_rows(const struct cpu *c) {
    for (int t = c->from; t < c->to; t++)
        if (c->p->instr[t].by_job) return true;
    return false;
}

static void run_pass(struct cpu *c, int pass) {
    for (; c->to < c->p->instrs && c->p->instr[c->to].pass == pass && c->p->instr[c->to].whole; c->to++) {
        struct where h = {.w = &c->worker[0], .rows = 1};
        run_instr(c, c->to, &h);
    }
    c->from = c->to;
    while (c->to < c->p->instrs && c->p->instr[c->to].pass == pass) c->to++;
    if (c->from == c->to) return;
    if (!c->examples) {
        zero_sums(c, pass);
        return;
    }
    pack_weights(c, pass);
    for (c->round_first = 0; c->round_first < c->shards; c->round_first += ROUND) {
        c->round_shards = c->shards - c->round_first < ROUND ? c->shards - c->round_first : ROUND;
        int64_t share = (c->round_shards + c->threads - 1) / c->threads;
        c->job_shards = wants_rows(c) ? (int)(share < JOB ? share : JOB) : 1;
        pool_run(c->pool, (c->round_shards + c->job_shards - 1) / c->job_shards, run_job, c);
        finish_sums(c, pass);
    }
}

// Memory that follows the number of examples: rows that cross passes, slots of partial sums.
static void grow_batches(struct cpu *c) {
    int64_t rows = 1 + (c->shards < ROUND ? c->shards : ROUND);
    for (int t = 0; t < c->p->instrs; t++) {
        struct kernel *k = &c->kernel[t];
        if (!k->slot_floats || k->slot_rows >= rows) continue;
        free(k->slots);
        k->slot_rows = rows;
        k->slots = memory_take((size_t)(rows * k->slot_floats) * sizeof(float));
    }
    for (int v = 0; v < c->p->values; v++) {
        const struct value *x = &c->p->value[v];
        if (x->place != AT_BATCH || x->root != v || c->capacity[v] >= c->shards * SHARD) continue;
        free(c->memory[v]);
        c->capacity[v] = c->shards * SHARD;
        c->memory[v] = memory_take((size_t)(c->capacity[v] * x->floats) * sizeof(float));
    }
}

static bool run(void *state, int64_t examples, struct error *e) {
    (void)e;
    struct cpu *c = state;
    double start = msg_clock();
    c->examples = examples;
    c->shards = (examples + SHARD - 1) / SHARD;
    c->runs++;
    c->to = 0;
    for (int i = 0; i < c->p->inputs; i++) {
        const struct value *v = &c->p->value[c->p->input_value[i]];
        BUG_IF(!c->memory[v->root] && (examples || !v->node->batch), "input \"%s\" was not set", v->node->name);
    }
    grow_batches(c);
    for (int pass = 0; pass <= c->p->passes; pass++) run_pass(c, pass);
    struct where h = {.w = &c->worker[0]};
    for (int i = 0; i < c->p->outputs; i++) {
        int v = c->p->output_value[i];
        const struct value *x = &c->p->value[v];
        if (!c->out[i] || (value_batch(x) && !examples)) continue;
        int64_t rows = c->p->rewritten[i]->batch ? examples : 1, floats = shape_count(&x->node->shape);
        if (value_batch(x) || rows == 1)
            memcpy(c->out[i], at(c, v, &h), (size_t)(rows * floats) * sizeof(float));
        else
            for (int64_t r = 0; r < rows; r++)
                memcpy(c->out[i] + r * floats, at(c, v, &h), (size_t)floats * sizeof(float));
    }
    c->wall += msg_clock() - start;
    return true;
}

// ---- opening

static void add_task(struct task **list, int *count, struct task t) {
    *list = memory_grow(*list, (size_t)(*count + 1) * sizeof **list);
    (*list)[(*count)++] = t;
}

static void add_tasks(struct task **list, int *count, int instr, int store, int64_t from, int64_t to, int64_t step) {
    for (int64_t a = from; a < to; a += step)
        add_task(list, count, (struct task){instr, store, a, a + step < to ? a + step : to});
}

static void open_instr(struct cpu *c, int t, size_t *scratch, size_t *stage, size_t *views) {
    const struct instr *i = &c->p->instr[t];
    struct kernel *k = &c->kernel[t];
    switch (i->code) {
    case I_VEC: {
        *scratch = larger(*scratch, vec_scratch(&i->program, i->cols));
        *views = larger(*views, (size_t)(i->program.loads + i->program.stores));
        k->slot_at = memory_zero((size_t)(i->program.stores + 1) * sizeof *k->slot_at);
        for (int j = 0; j < i->program.stores; j++) {
            if (i->program.store[j].kind != VEC_SUM_ALL) continue;
            int64_t width = c->p->value[i->store[j]].floats;
            k->slot_at[j] = k->slot_floats;
            add_tasks(&c->finish, &c->finishes, t, j, k->slot_floats, k->slot_floats + width, REDUCE_FLOATS);
            k->slot_floats += (width + 15) / 16 * 16;
        }
        break;
    }
    case I_GEMM: {
        int64_t m, n, kk;
        product_shape(i->node, &m, &n, &kk);
        k->packed = memory_take(gemm_packed_floats(kk, n) * sizeof(float));
        add_tasks(&c->pack, &c->packs, t, 0, 0, n, PACK_COLUMNS);
        break;
    }
    case I_GEMM_SUM: add_tasks(&c->finish, &c->finishes, t, 0, 0, dim_of(i->node, 1), SUM_COLUMNS); break;
    case I_CONV:
    case I_CONV_SUM:
    case I_CONV_EACH: {
        struct dnn_shape s = conv_shape(i->node, i->code == I_CONV_EACH ? 1 : SHARD);
        enum dnn_kind kind = i->node->op == OP_CONV ? DNN_FORWARD : i->node->op == OP_CONV_DX ? DNN_DX : DNN_DW;
        k->conv = dnn_conv_new(kind, &s, i->bias >= 0, i->relu);
        size_t floats = dnn_conv_weight_floats(k->conv);
        *scratch = larger(*scratch, dnn_conv_scratch(k->conv));
        size_t operands = (size_t)(c->p->value[i->in[0]].floats + c->p->value[i->in[1]].floats) * SHARD;
        *stage = larger(*stage, (2 * operands + floats) * sizeof(float));
        if (i->code == I_CONV) {
            k->packed = memory_zero(floats * sizeof(float));
            add_task(&c->pack, &c->packs, (struct task){t, 0, 0, 1});
        } else if (i->code == I_CONV_SUM) {
            k->slot_floats = (int64_t)(floats + 15) / 16 * 16;
            add_tasks(&c->finish, &c->finishes, t, 0, 0, k->slot_floats, REDUCE_FLOATS);
        }
        break;
    }
    case I_UNIFORM: *stage = larger(*stage, (size_t)c->p->value[i->out].floats * sizeof(float)); break;
    case I_POOL: *stage = larger(*stage, (size_t)(c->p->value[i->in[0]].floats + c->p->value[i->out].floats)); break;
    case I_COPY:
    case I_SUM:
        k->walk = i->walk;
        k->dims = tidy(&k->walk, true);
        break;
    default: break;
    }
}

// Large tasks first: workers take them in this order and finish together.
static int64_t task_cost(const struct cpu *c, const struct task *t) {
    const struct instr *i = &c->p->instr[t->instr];
    return (t->to - t->from) * (i->code == I_GEMM_SUM ? dim_of(i->node, 2) : 1);
}

static void sort_tasks(const struct cpu *c, struct task *list, int count) {
    for (int i = 1; i < count; i++)
        for (int j = i; j > 0 && task_cost(c, &list[j - 1]) < task_cost(c, &list[j]); j--) {
            struct task t = list[j];
            list[j] = list[j - 1];
            list[j - 1] = t;
        }
}

static void *open_cpu(const struct plan *p, struct pool *pool, struct error *e) {
    (void)e;
    BUG_IF(!pool, "the cpu executor needs a pool");
    struct cpu *c = memory_zero(sizeof *c);
    c->p = p;
    c->pool = pool;
    c->threads = pool_threads(pool);
    size_t values = (size_t)p->values + 1, scratch = gemm_scratch(), stage = 64, views = 1;
    c->memory = memory_zero(values * sizeof *c->memory);
    c->version = memory_zero(values * sizeof *c->version);
    c->capacity = memory_zero(values * sizeof *c->capacity);
    c->kernel = memory_zero((size_t)(p->instrs + 1) * sizeof *c->kernel);
    c->out = memory_zero((size_t)(p->outputs + 1) * sizeof *c->out);
    for (int t = 0; t < p->instrs; t++) open_instr(c, t, &scratch, &stage, &views);
    sort_tasks(c, c->finish, c->finishes);
    c->pending = memory_zero((size_t)(c->packs + c->finishes + 1) * sizeof *c->pending);
    for (int v = 0; v < p->values; v++)
        if (p->value[v].root == v && p->value[v].place == AT_WHOLE)
            c->memory[v] = memory_zero((size_t)p->value[v].floats * sizeof(float) + 64);
    c->sum = (struct vec_program){.loads = 1, .stores = 1, .registers = 1};
    c->sum.op = memory_zero(1);
    c->sum.load = memory_zero(sizeof *c->sum.load);
    c->sum.store = memory_zero(sizeof *c->sum.store);
    *c->sum.load = (struct vec_load){0, true, true};
    *c->sum.store = (struct vec_store){0, VEC_SUM_ALL};
    vec_prepare(&c->sum);
    scratch = larger(scratch, vec_scratch(&c->sum, REDUCE_FLOATS));
    c->worker = memory_zero((size_t)c->threads * sizeof *c->worker);
    for (int w = 0; w < c->threads; w++) {
        c->worker[w].shard = memory_zero((size_t)p->shard_floats * SHARD * sizeof(float) + 64);
        c->worker[w].job = memory_zero((size_t)p->job_floats * SHARD * JOB * sizeof(float) + 64);
        c->worker[w].stage = memory_zero(stage);
        c->worker[w].scratch = memory_take(scratch + 64);
        c->worker[w].view = memory_take(views * sizeof(struct vec_view));
    }
    return c;
}

static void free_cpu(void *state) {
    struct cpu *c = state;
    for (int t = 0; t < c->p->instrs; t++) {
        struct kernel *k = &c->kernel[t];
        dnn_conv_free(k->conv);
        free(k->packed);
        free(k->slots);
        free(k->slot_at);
    }
    for (int v = 0; v < c->p->values; v++)
        if (c->p->value[v].place != AT_INPUT) free(c->memory[v]);
    for (int w = 0; w < c->threads; w++) {
        free(c->worker[w].shard);
        free(c->worker[w].job);
        free(c->worker[w].stage);
        free(c->worker[w].scratch);
        free(c->worker[w].view);
    }
    vec_release(&c->sum);
    free(c->sum.op);
    free(c->sum.load);
    free(c->sum.store);
    free(c->memory);
    free(c->version);
    free(c->capacity);
    free(c->kernel);
    free(c->worker);
    free(c->out);
    free(c->pack);
    free(c->finish);
    free(c->pending);
    free(c);
}

static void set(void *state, const struct node *input, const void *data) {
    struct cpu *c = state;
    for (int i = 0; i < c->p->inputs; i++) {
        int v = c->p->input_value[i];
        if (c->p->value[v].node != input) continue;
        c->memory[v] = (float *)data;
        c->version[v]++;
    }
}

static void get(void *state, const struct node *output, void *data) {
    struct cpu *c = state;
    for (int i = 0; i < c->p->outputs; i++)
        if (c->p->output[i] == output) c->out[i] = data;
}

static void profile(void *state, double seconds[PARTS]) {
    struct cpu *c = state;
    double busy = 0;
    memset(seconds, 0, PARTS * sizeof *seconds);
    for (int w = 0; w < c->threads; w++)
        for (int i = 0; i < PARTS; i++) {
            seconds[i] += c->worker[w].busy[i];
            busy += c->worker[w].busy[i];
            c->worker[w].busy[i] = 0;
        }
    seconds[PART_IDLE] = fmax(0, c->wall * c->threads - busy);
    c->wall = 0;
}

const struct exec_device exec_cpu = {"cpu", open_cpu, free_cpu, sizeof(float), set, get, run, profile};

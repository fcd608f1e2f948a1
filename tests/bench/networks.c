// networks.c: how fast assay is, beside sgemm and beside the products limit; bench_networks.py asks and prints.
//
// Every line of standard input asks for one measurement and is answered by one line of numbers:
//
//     sgemm T               GFLOP/s of OpenBLAS, 2048 x 2048 x 2048, on T of its own threads
//     train NET T           images/s of an epoch in batches of 128 by Adam, as trainclf runs it
//     evaluate NET T        images/s to logits, as attack --method clean runs it
//     gradient NET T        images/s to d loss / d image, as attack --method pgd runs it
//     products TASK NET T   images/s if nothing but the task's products had to be done; then the same where
//                           convolutions may also be Winograd's
//     flop TASK NET         of one image, by the direct method
//     detail TASK NET T     a line on standard error for each product: what was fastest, GFLOP/s; answers 0
//
// The products limit: each convolution and matrix product of the network by itself, all threads at it, each with
// warm operands of its own, in the fastest of these ways: oneDNN channels-last or in its own layout, shards of 8 to
// 128; oneDNN's inner product or matmul with weights in its own layout, OpenBLAS, assay's kernels, by shards or
// with the output cut among the threads. What is fastest is found out the first time a product is asked for; the
// best few are then measured each time. Networks are written out here by hand, not taken from a plan, so that a slow
// plan cannot lower its own bar; the weights are counted against the architecture.
#include <cblas.h>
#include <dnnl.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit/slope.h"
#include "base/arena.h"
#include "base/msg.h"
#include "engine/dnn.h"
#include "engine/gemm.h"
#include "nn/train.h"

extern void openblas_set_num_threads(int);

enum { BATCH = 128, THREADS_MAX = 64, CLASSES = 10 };
static const double SLICE = 12e-3;  // seconds a candidate is measured for

static struct pool *pool_of(int threads) {
    static struct pool *pools[THREADS_MAX + 1];
    if (!pools[threads])
        pools[threads] = pool_new(threads);
    return pools[threads];
}

static float *numbers(size_t count) {
    float *p = memory_take((count + 16) * sizeof *p);
    static uint32_t state = 1;
    for (size_t i = 0; i < count + 16; i++)
        p[i] = (float)((state = state * 1664525 + 1013904223) >> 8) * 0x1p-24f - .5f;
    return p;
}

// ---- the networks' products

enum form {
    CONV,      // as `conv` says
    ROWS,      // m rows an image by weights: [m k] [k n]
    WEIGHTS,   // gradient of weights: [m, images * k] [images * k, n]
    PAIRS,     // `times` products an image of two activations: [m k] [k n]
};
enum mask { TRAIN = 1, EVALUATE = 2, GRADIENT = 4 };
static const struct {
    const char *name;
    enum mask mask;
} tasks[] = {{"train", TRAIN}, {"evaluate", EVALUATE}, {"gradient", GRADIENT}};

struct product {
    enum form form;
    enum dnn_kind kind;     // of CONV, and of ROWS for the inner product
    struct dnn_shape conv;  // examples unset
    int m, n, k, times;
    bool ta, tb;            // how the operands lie
    int tasks;              // the tasks that need it
    double flop;            // of one image
    int64_t weights;        // that it brings into the network (forward products only)
    struct limit *limit[THREADS_MAX + 1];
};

enum { PRODUCTS = 64 };
struct net {
    const char *name;
    int images;             // of an epoch
    int count;
    struct product product[PRODUCTS];
    struct model *model[THREADS_MAX + 1];
    struct training *training[THREADS_MAX + 1];
    struct evaluator *evaluator[THREADS_MAX + 1];
    struct slope *slope[THREADS_MAX + 1];
    struct dataset *data;
    struct train_split split;
};

static void add(struct net *n, struct product p) {
    BUG_IF(n->count == PRODUCTS, "more than %d products", PRODUCTS);
    if (p.form == CONV) {
        const struct dnn_shape *s = &p.conv;
        p.flop = 2. * s->out_height * s->out_width * s->out_channels * s->channels * s->kernel_height * s->kernel_width;
    } else
        p.flop = 2. * p.m * p.n * p.k * p.times;
    n->product[n->count++] = p;
}

// `inner`: something before it is trained too, so training needs its input gradient.
static void add_conv(struct net *n, int c, int side, int o, int k, bool inner) {
    const struct dnn_shape s = {.channels = c, .height = side, .width = side, .out_channels = o, .out_height = side,
                                .out_width = side, .kernel_height = k, .kernel_width = k, .stride = 1, .padding = k / 2};
    add(n, (struct product){.form = CONV, .kind = DNN_FORWARD, .conv = s, .weights = (int64_t)o * c * k * k,
                            .tasks = TRAIN | EVALUATE | GRADIENT});
    add(n, (struct product){.form = CONV, .kind = DNN_DX, .conv = s, .tasks = GRADIENT | (inner ? TRAIN : 0)});
    add(n, (struct product){.form = CONV, .kind = DNN_DW, .conv = s, .tasks = TRAIN});
}

static void add_linear(struct net *n, int rows, int in, int out, int layers, bool inner) {
    add(n, (struct product){.form = ROWS, .kind = DNN_FORWARD, .m = rows, .n = out, .k = in, .tb = true, .times = layers,
                            .weights = (int64_t)layers * in * out, .tasks = TRAIN | EVALUATE | GRADIENT});
    add(n, (struct product){.form = ROWS, .kind = DNN_DX, .m = rows, .n = in, .k = out, .times = layers,
                            .tasks = GRADIENT | (inner ? TRAIN : 0)});
    add(n, (struct product){.form = WEIGHTS, .kind = DNN_DW, .m = out, .n = in, .k = rows, .ta = true, .times = layers,
                            .tasks = TRAIN});
}

// x y, and the gradients dz y' and x' dz.
static void add_pairs(struct net *n, int m, int width, int k, bool tb, int times) {
    add(n, (struct product){.form = PAIRS, .m = m, .n = width, .k = k, .tb = tb, .times = times,
                            .tasks = TRAIN | EVALUATE | GRADIENT});
    add(n, (struct product){.form = PAIRS, .m = m, .n = k, .k = width, .tb = !tb, .times = times, .tasks = TRAIN | GRADIENT});
    add(n, (struct product){.form = PAIRS, .m = k, .n = width, .k = m, .ta = true, .times = times, .tasks = TRAIN | GRADIENT});
}

static void add_products(struct net *n) {
    if (!strcmp(n->name, "cnn")) {
        add_conv(n, 1, 28, 32, 3, false);
        add_conv(n, 32, 28, 64, 3, true);
        add_conv(n, 64, 14, 128, 3, true);
        add_linear(n, 1, 6272, 256, 1, true);
        add_linear(n, 1, 256, CLASSES, 1, true);
    } else if (!strcmp(n->name, "mlp")) {
        add_linear(n, 1, 784, 512, 1, false);
        add_linear(n, 1, 512, 256, 1, true);
        add_linear(n, 1, 256, CLASSES, 1, true);
    } else {
        enum { PATCHES = 16, TOKENS = 17, WIDTH = 64, HEADS = 4, HIDDEN = 256 };
        add_linear(n, PATCHES, 49, WIDTH, 1, false);
        for (int layer = 0; layer < 2; layer++) {  // of the last, the head wants the class token alone
            const int wanted = layer ? 1 : TOKENS;
            if (layer) {
                add_linear(n, TOKENS, WIDTH, 2 * WIDTH, 1, true);
                add_linear(n, wanted, WIDTH, WIDTH, 1, true);
            } else
                add_linear(n, TOKENS, WIDTH, 3 * WIDTH, 1, true);
            add_pairs(n, wanted, TOKENS, WIDTH / HEADS, true, HEADS);   // queries and keys
            add_pairs(n, wanted, WIDTH / HEADS, TOKENS, false, HEADS);  // attention and values
            add_linear(n, wanted, WIDTH, WIDTH, 1, true);
            add_linear(n, wanted, WIDTH, HIDDEN, 1, true);
            add_linear(n, wanted, HIDDEN, WIDTH, 1, true);
        }
        add_linear(n, 1, WIDTH, WIDTH, 1, true);
        add_linear(n, 1, WIDTH, CLASSES, 1, true);
    }
}

static void check_products(const struct net *n, const struct arch *a) {
    int64_t want = 0, have = 0;
    for (int i = 0; i < a->count; i++)
        if (a->param[i].shape.rank > 1 && a->param[i].shape.dim[0] > 1 && a->param[i].shape.dim[0] != 17)  // no tokens
            want += a->param[i].count;
    for (int i = 0; i < n->count; i++)
        have += n->product[i].weights;
    BUG_IF(want != have, "%s: %lld weights in its products, %lld in its architecture", n->name, (long long)have, (long long)want);
}

// ---- the ways to compute one

enum { ARGS = 4, BEST = 2 };
struct candidate {
    char name[64];
    double images;  // that one call is worth; with the output cut among threads, a part of the batch
    bool winograd;
    void (*run)(const struct candidate *c, int worker);
    int m, n, k, calls;     // calls: of the product in one run
    bool ta, tb;
    struct dnn_conv *conv;
    dnnl_primitive_t primitive;
    struct lent {
        float *at[ARGS];
        dnnl_exec_arg_t arg[ARGS];
        dnnl_stream_t stream;
    } *worker;
    int threads;
    double seconds;  // for an image
};
// The best of a product: BEST direct ones, and one of Winograd's.
struct limit {
    struct candidate best[BEST + 1];
};

static dnnl_engine_t engine(void) {
    static dnnl_engine_t e;
    if (!e)
        dnnl_engine_create(&e, dnnl_cpu, 0);
    return e;
}

static void run_library(const struct candidate *c, int worker) {
    struct lent *l = &c->worker[worker];
    for (int i = 0; i < c->calls; i++)
        dnnl_primitive_execute(c->primitive, l->stream, ARGS, l->arg);
    dnnl_stream_wait(l->stream);
}

static void run_conv(const struct candidate *c, int worker) {
    float **at = c->worker[worker].at;
    dnn_conv_run(c->conv, at[0], at[1], NULL, at[2], at[3]);
}

static void run_packed(const struct candidate *c, int worker) {
    float **at = c->worker[worker].at;
    gemm_packed(c->m, c->n, c->k, (struct gemm_matrix){at[0], c->k, 1}, at[1], at[2], c->n, 0, c->n, NULL, at[3]);
}

static void run_plain(const struct candidate *c, int worker) {
    float **at = c->worker[worker].at;
    for (int i = 0; i < c->calls; i++) {
        size_t mk = (size_t)c->m * c->k * i, kn = (size_t)c->k * c->n * i, mn = (size_t)c->m * c->n * i;
        struct gemm_matrix a = c->ta ? (struct gemm_matrix){at[0] + mk, 1, c->m} : (struct gemm_matrix){at[0] + mk, c->k, 1};
        struct gemm_matrix b = c->tb ? (struct gemm_matrix){at[1] + kn, 1, c->k} : (struct gemm_matrix){at[1] + kn, c->n, 1};
        gemm_plain(c->m, c->n, c->k, a, b, at[2] + mn, c->n, NULL, at[3]);
    }
}

static void run_blas(const struct candidate *c, int worker) {
    float **at = c->worker[worker].at;
    for (int i = 0; i < c->calls; i++)
        cblas_sgemm(CblasRowMajor, c->ta ? CblasTrans : CblasNoTrans, c->tb ? CblasTrans : CblasNoTrans, c->m, c->n, c->k, 1,
                    at[0] + (size_t)c->m * c->k * i, c->ta ? c->m : c->k, at[1] + (size_t)c->k * c->n * i, c->tb ? c->k : c->n, 0,
                    at[2] + (size_t)c->m * c->n * i, c->n);
}

static void lend(struct candidate *c, int threads) {
    c->threads = threads;
    c->worker = memory_zero((size_t)threads * sizeof *c->worker);
}

static void candidate_free(struct candidate *c) {
    for (int w = 0; w < c->threads; w++) {
        for (int i = 0; i < ARGS; i++) {
            free(c->worker[w].at[i]);
            if (c->worker[w].arg[i].memory)
                dnnl_memory_destroy(c->worker[w].arg[i].memory);
        }
        if (c->worker[w].stream)
            dnnl_stream_destroy(c->worker[w].stream);
    }
    free(c->worker);
    if (c->primitive)
        dnnl_primitive_destroy(c->primitive);
    dnn_conv_free(c->conv);
    *c = (struct candidate){0};
}

struct part {
    int arg;
    dnnl_query_t query;
};
static const struct part parts[3][ARGS] = {
    {{DNNL_ARG_SRC, dnnl_query_src_md}, {DNNL_ARG_WEIGHTS, dnnl_query_weights_md}, {DNNL_ARG_DST, dnnl_query_dst_md},
     {DNNL_ARG_SCRATCHPAD, dnnl_query_scratchpad_md}},
    {{DNNL_ARG_DIFF_SRC, dnnl_query_diff_src_md}, {DNNL_ARG_WEIGHTS, dnnl_query_weights_md},
     {DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md}, {DNNL_ARG_SCRATCHPAD, dnnl_query_scratchpad_md}},
    {{DNNL_ARG_SRC, dnnl_query_src_md}, {DNNL_ARG_DIFF_WEIGHTS, dnnl_query_diff_weights_md},
     {DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md}, {DNNL_ARG_SCRATCHPAD, dnnl_query_scratchpad_md}},
};

static dnnl_primitive_attr_t own_scratch(void) {
    static dnnl_primitive_attr_t a;
    if (!a) {
        dnnl_primitive_attr_create(&a);
        dnnl_primitive_attr_set_scratchpad_mode(a, dnnl_scratchpad_mode_user);
    }
    return a;
}

// Takes the description. `forward`: the description that a backward one hints at, or NULL.
static bool library(struct candidate *c, const void *description, dnnl_primitive_desc_t forward, enum dnn_kind kind,
                    int threads) {
    dnnl_primitive_desc_t p;
    if (dnnl_primitive_desc_create(&p, description, own_scratch(), engine(), forward))
        return false;
    const char *text = "";
    dnnl_primitive_desc_query(p, dnnl_query_impl_info_str, 0, &text);
    strncat(c->name, text, sizeof c->name - strlen(c->name) - 1);
    c->run = run_library;
    bool fine = !dnnl_primitive_create(&c->primitive, p);
    if (fine)
        lend(c, threads);
    for (int w = 0; fine && w < threads; w++) {
        struct lent *l = &c->worker[w];
        dnnl_stream_create(&l->stream, engine(), dnnl_stream_default_flags);
        for (int i = 0; i < ARGS; i++) {
            const dnnl_memory_desc_t *d = dnnl_primitive_desc_query_md(p, parts[kind][i].query, 0);
            l->at[i] = numbers(dnnl_memory_desc_get_size(d) / sizeof(float) + 16);
            l->arg[i].arg = parts[kind][i].arg;
            dnnl_memory_create(&l->arg[i].memory, d, engine(), l->at[i]);
        }
    }
    dnnl_primitive_desc_destroy(p);
    return fine;
}

static bool library_conv(struct candidate *c, const struct product *p, int examples, dnnl_format_tag_t layout, bool winograd,
                         int threads) {
    const struct dnn_shape *s = &p->conv;
    const dnnl_dims_t dx = {examples, s->channels, s->height, s->width}, dy = {examples, s->out_channels, s->out_height, s->out_width},
                      dw = {s->out_channels, s->channels, s->kernel_height, s->kernel_width}, stride = {s->stride, s->stride},
                      padding = {s->padding, s->padding};
    const dnnl_alg_kind_t method = winograd ? dnnl_convolution_winograd : dnnl_convolution_direct;
    dnnl_memory_desc_t x, y, w;
    dnnl_memory_desc_init_by_tag(&x, 4, dx, dnnl_f32, layout);
    dnnl_memory_desc_init_by_tag(&y, 4, dy, dnnl_f32, layout);
    dnnl_memory_desc_init_by_tag(&w, 4, dw, dnnl_f32, dnnl_format_tag_any);
    *c = (struct candidate){.images = examples, .winograd = winograd, .calls = 1};
    snprintf(c->name, sizeof c->name, "%d %s ", examples, layout == dnnl_nhwc ? "channels-last" : "own layout");
    dnnl_convolution_desc_t d;
    dnnl_primitive_desc_t forward = NULL;
    if (dnnl_convolution_forward_desc_init(&d, dnnl_forward_training, p->kind == DNN_FORWARD ? method : dnnl_convolution_auto, &x, &w,
                                           NULL, &y, stride, padding, padding))
        return false;
    if (p->kind == DNN_FORWARD)
        return library(c, &d, NULL, p->kind, threads);
    if (dnnl_primitive_desc_create(&forward, &d, own_scratch(), engine(), NULL))
        return false;
    bool bad = p->kind == DNN_DX ? dnnl_convolution_backward_data_desc_init(&d, method, &x, &w, &y, stride, padding, padding)
                                 : dnnl_convolution_backward_weights_desc_init(&d, method, &x, &w, NULL, &y, stride, padding, padding);
    bool fine = !bad && library(c, &d, forward, p->kind, threads);
    dnnl_primitive_desc_destroy(forward);
    return fine;
}

static bool our_conv(struct candidate *c, const struct product *p, int threads) {
    struct dnn_shape s = p->conv;
    s.examples = SHARD;
    *c = (struct candidate){.name = "assay", .images = SHARD, .calls = 1, .run = run_conv, .conv = dnn_conv_new(p->kind, &s, false, false)};
    lend(c, threads);
    for (int w = 0; w < threads; w++) {
        float **at = c->worker[w].at;
        at[0] = numbers((size_t)SHARD * s.channels * s.height * s.width);
        at[1] = numbers(dnn_conv_weight_floats(c->conv));
        at[2] = numbers((size_t)SHARD * s.out_channels * s.out_height * s.out_width);
        at[3] = numbers(dnn_conv_scratch(c->conv) / sizeof(float) + 1);
    }
    return true;
}

// The inner product in the library's own layouts: forward [m k] [k n], the input's gradient, the weights'.
static bool library_inner(struct candidate *c, enum dnn_kind kind, int threads) {
    const int rows = kind == DNN_DW ? c->k : c->m, in = kind == DNN_FORWARD ? c->k : c->n, out = kind == DNN_FORWARD ? c->n : kind == DNN_DX ? c->k : c->m;
    dnnl_memory_desc_t x, y, w;
    dnnl_memory_desc_init_by_tag(&x, 2, (dnnl_dims_t){rows, in}, dnnl_f32, dnnl_ab);
    dnnl_memory_desc_init_by_tag(&y, 2, (dnnl_dims_t){rows, out}, dnnl_f32, dnnl_ab);
    dnnl_memory_desc_init_by_tag(&w, 2, (dnnl_dims_t){out, in}, dnnl_f32, dnnl_format_tag_any);
    dnnl_inner_product_desc_t d;
    dnnl_primitive_desc_t forward = NULL;
    if (dnnl_inner_product_forward_desc_init(&d, dnnl_forward_training, &x, &w, NULL, &y))
        return false;
    if (kind == DNN_FORWARD)
        return library(c, &d, NULL, kind, threads);
    if (dnnl_primitive_desc_create(&forward, &d, own_scratch(), engine(), NULL))
        return false;
    bool bad = kind == DNN_DX ? dnnl_inner_product_backward_data_desc_init(&d, &x, &w, &y)
                              : dnnl_inner_product_backward_weights_desc_init(&d, &x, &w, NULL, &y);
    bool fine = !bad && library(c, &d, forward, kind, threads);
    dnnl_primitive_desc_destroy(forward);
    return fine;
}

static bool library_matmul(struct candidate *c, bool weights, int threads) {
    const int64_t count = c->calls, m = c->m, n = c->n, k = c->k;
    dnnl_memory_desc_t a, b, y;
    dnnl_matmul_desc_t d;
    dnnl_memory_desc_init_by_strides(&a, 3, (dnnl_dims_t){count, m, k}, dnnl_f32, c->ta ? (dnnl_dims_t){m * k, 1, m} : (dnnl_dims_t){m * k, k, 1});
    dnnl_memory_desc_init_by_strides(&b, 3, (dnnl_dims_t){count, k, n}, dnnl_f32, c->tb ? (dnnl_dims_t){k * n, 1, k} : (dnnl_dims_t){k * n, n, 1});
    dnnl_memory_desc_init_by_tag(&y, 3, (dnnl_dims_t){count, m, n}, dnnl_f32, dnnl_abc);
    if (weights)
        dnnl_memory_desc_init_by_tag(&b, 3, (dnnl_dims_t){count, k, n}, dnnl_f32, dnnl_format_tag_any);
    if (dnnl_matmul_desc_init(&d, &a, &b, NULL, &y) || !library(c, &d, NULL, DNN_FORWARD, threads))
        return false;
    c->calls = 1;
    return true;
}

enum way { OURS, BLAS, MATMUL, INNER, WAYS };
static bool matrix(struct candidate *c, const struct product *p, enum way way, int examples, bool cut, int threads) {
    const int share = cut ? threads : 1;
    *c = (struct candidate){.images = (double)examples / share, .m = p->m, .n = p->n, .k = p->k, .calls = 1, .ta = p->ta, .tb = p->tb};
    if (p->form == ROWS) {
        c->m *= examples;
        c->n = (c->n + share - 1) / share;
    } else if (p->form == WEIGHTS) {
        c->k *= examples;
        if (c->m > c->n)
            c->m = (c->m + share - 1) / share;
        else
            c->n = (c->n + share - 1) / share;
    } else {
        c->calls = examples * p->times;
    }
    snprintf(c->name, sizeof c->name, "%d%s %s", examples, cut ? " cut" : "", way == OURS ? "assay" : way == BLAS ? "OpenBLAS" : way == INNER ? "inner " : "matmul ");
    if (way == MATMUL)
        return library_matmul(c, p->form == ROWS, threads);
    if (way == INNER)
        return p->form != PAIRS && library_inner(c, p->kind, threads);
    c->run = way == BLAS ? run_blas : p->form == ROWS ? run_packed : run_plain;
    lend(c, threads);
    for (int w = 0; w < threads; w++) {
        float **at = c->worker[w].at;
        at[0] = numbers((size_t)c->m * c->k * c->calls);
        at[1] = numbers(c->run == run_packed ? gemm_packed_floats(c->k, c->n) : (size_t)c->k * c->n * c->calls);
        at[2] = numbers((size_t)c->m * c->n * c->calls);
        at[3] = numbers(gemm_scratch() / sizeof(float) + 1);
    }
    return true;
}

// ---- measuring one

struct lap {
    const struct candidate *c;
    long inner;
};

static void lap_job(void *data, long i, int worker) {
    (void)i;
    const struct lap *l = data;
    for (long k = 0; k < l->inner; k++)
        l->c->run(l->c, worker);
}

static double lap(struct pool *pool, const struct lap *l, long jobs) {
    double start = msg_clock();
    pool_run(pool, jobs, lap_job, (void *)l);
    return msg_clock() - start;
}

// Seconds an image, all threads at work. Jobs are handed out one by one, so a thread that is held up does not
// hold up the others.
static double measure(const struct candidate *c, double slice) {
    const int threads = c->threads;
    struct pool *pool = pool_of(threads);
    struct lap l = {c, 1};
    lap(pool, &l, threads);
    double once = lap(pool, &l, threads);
    l.inner = once < 50e-6 ? 1 + (long)(50e-6 / (once + 1e-7)) : 1;
    long jobs = threads * (1 + (long)(slice / (once * (double)l.inner)));
    return lap(pool, &l, jobs) / ((double)jobs * (double)l.inner * c->images);
}

// Keeps it where it belongs among the best, or frees it.
static void consider(struct limit *l, struct candidate *c) {
    c->seconds = DBL_MAX;
    for (int i = 0; i < 3; i++)
        c->seconds = fmin(c->seconds, measure(c, SLICE / 3));
    int from = c->winograd ? BEST : 0, to = c->winograd ? BEST + 1 : BEST;
    for (int i = from; i < to; i++) {
        if (l->best[i].run && l->best[i].seconds <= c->seconds)
            continue;
        struct candidate worse = l->best[i];
        l->best[i] = *c;
        *c = worse;
        if (!c->run)
            return;
    }
    candidate_free(c);
}

static struct limit *find_best(const struct product *p, int threads) {
    static const int examples[] = {8, 16, 32, 128};
    struct limit *l = memory_zero(sizeof *l);
    struct candidate c;
#define CONSIDER(make) ((make) ? consider(l, &c) : candidate_free(&c))
    for (int i = 0; i < 4 && p->form == CONV; i++)
        for (int w = 0; w < 2; w++) {
            CONSIDER(library_conv(&c, p, examples[i], dnnl_format_tag_any, w, threads));
            CONSIDER(library_conv(&c, p, examples[i], dnnl_nhwc, w, threads));
        }
    if (p->form == CONV)
        CONSIDER(our_conv(&c, p, threads));
    for (int i = 0; i < 4 && p->form != CONV; i++)
        for (enum way way = 0; way < WAYS; way++)
            CONSIDER(matrix(&c, p, way, examples[i], false, threads));
    for (enum way way = 0; way < WAYS && p->form != CONV && p->form != PAIRS && threads > 1; way++)
        CONSIDER(matrix(&c, p, way, BATCH, true, threads));
    BUG_IF(!l->best[0].run, "a product nobody can compute");
    return l;
}

static double limit_seconds(struct product *p, int threads, bool winograd) {
    if (!p->limit[threads])
        p->limit[threads] = find_best(p, threads);
    struct limit *l = p->limit[threads];
    double best = DBL_MAX;
    for (int i = winograd ? BEST : 0; i < (winograd ? BEST + 1 : BEST); i++)
        if (l->best[i].run)
            best = fmin(best, l->best[i].seconds = measure(&l->best[i], SLICE));
    return best * (p->form == PAIRS || p->form == CONV ? 1 : p->times);
}

static void answer_products(struct net *n, enum mask task, int threads) {
    double direct = 0, any = 0;
    for (int i = 0; i < n->count; i++)
        if (n->product[i].tasks & task) {
            double d = limit_seconds(&n->product[i], threads, false);
            direct += d;
            any += fmin(d, limit_seconds(&n->product[i], threads, true));
        }
    printf("%.6g %.6g\n", 1 / direct, 1 / any);
}

static void detail(struct net *n, enum mask task, int threads) {
    static const char *const kinds[] = {"forward", "input", "weights"};
    for (int i = 0; i < n->count; i++) {
        struct product *p = &n->product[i];
        if (!(p->tasks & task))
            continue;
        double seconds[] = {limit_seconds(p, threads, false), limit_seconds(p, threads, true)};
        char what[64];
        if (p->form == CONV)
            snprintf(what, sizeof what, "conv %dx%dx%d -> %d, %s", p->conv.channels, p->conv.height, p->conv.width, p->conv.out_channels, kinds[p->kind]);
        else
            snprintf(what, sizeof what, "%d x (%d x %d x %d), %s", p->times, p->m, p->n, p->k, p->form == PAIRS ? "pairs" : kinds[p->kind]);
        for (int w = 0; w < 2; w++) {
            const struct candidate *best = &p->limit[threads]->best[w ? BEST : 0];
            if (!w && best[1].run && best[1].seconds < best->seconds)
                best++;
            if (best->run)
                fprintf(stderr, "%-36s %8.2f us %8.1f GFLOP/s  %s\n", what, 1e6 * seconds[w], p->flop / seconds[w] * 1e-9, best->name);
        }
    }
    printf("0\n");
}

static double sgemm(int threads) {
    enum { N = 2048 };
    static float *x, *w, *y;
    if (!x) {
        x = numbers(N * N);
        w = numbers(N * N);
        y = numbers(N * N);
    }
    openblas_set_num_threads(threads);
    double seconds = DBL_MAX;
    for (int i = 0; i < 4; i++) {
        double start = msg_clock();
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, N, N, N, 1, x, N, w, N, 0, y, N);
        if (i)  // the first warms up
            seconds = fmin(seconds, msg_clock() - start);
    }
    openblas_set_num_threads(1);
    usleep(60000);  // its threads spin for a while before they sleep
    return 2. * N * N * N / seconds * 1e-9;
}

// ---- assay itself

static void take_data(struct net *n) {
    struct error e = {0};
    uint8_t *x = memory_take((size_t)n->images * 784);
    int64_t *y = memory_take((size_t)n->images * sizeof *y);
    uint32_t state = 7;
    for (long i = 0; i < n->images * 784l; i++)
        x[i] = (uint8_t)((state = state * 1664525 + 1013904223) >> 24);
    for (int i = 0; i < n->images; i++)
        y[i] = i % CLASSES;
    struct blob *b = blob_new("dataset");
    blob_add(b, "x", U8, 4, (int64_t[]){n->images, 1, 28, 28}, x);
    blob_add(b, "y", I64, 1, (int64_t[]){n->images}, y);
    n->data = dataset_of(b, &e);
    unsigned char *keep = n->data ? dataset_choose("all", n->images, &e) : NULL;
    if (!keep)
        msg_fail(&e);
    n->split = train_split(keep, n->images, 0, 0);
    free(keep);
}

static struct model *model_of(struct net *n, int threads) {
    struct error e = {0};
    if (n->model[threads])
        return n->model[threads];
    if (!n->data)
        take_data(n);
    struct arch *a = arch_parse(n->name, shape_of(3, 1, 28, 28), CLASSES, &e);
    if (!a)
        msg_fail(&e);
    check_products(n, a);
    struct model *m = n->model[threads] = model_new(a, 1);
    if (!train_normalise(m, "scalar", n->data, n->split.train, n->split.trains, pool_of(threads), &e))
        msg_fail(&e);
    return m;
}

static double train(struct net *n, int threads) {
    enum { EPOCHS = 10000 };
    // One more epoch each time: the run borrows its options and looks at `epochs` as it goes.
    static struct train_options options = {.device = "cpu", .batch = BATCH, .lr = 1e-3, .schedule = "constant", .epochs = EPOCHS};
    struct error e = {0};
    struct model *m = model_of(n, threads);
    bool first = !n->training[threads];
    if (first) {
        optim_defaults(&options.optim, OPTIM_ADAM);
        options.epochs = EPOCHS;
        n->training[threads] = train_open(m, &options, NULL, n->data, &n->split, NULL, pool_of(threads), &e);
        if (!n->training[threads])
            msg_fail(&e);
    }
    struct training *t = n->training[threads];
    double seconds = 0;
    for (int i = 0; i < (first ? 2 : 1); i++) {  // the very first makes buffers and primitives
        options.epochs = t->epoch + 1;
        double start = msg_clock();
        if (!train_run(t, &e))
            msg_fail(&e);
        seconds = msg_clock() - start;
    }
    return n->images / seconds;
}

static double evaluate(struct net *n, int threads) {
    struct error e = {0};
    struct model *m = model_of(n, threads);
    bool first = !n->evaluator[threads];
    if (first && !(n->evaluator[threads] = evaluator_open(m, "cpu", pool_of(threads), &e)))
        msg_fail(&e);
    evaluator_refresh(n->evaluator[threads]);
    float *logits = memory_take((size_t)n->images * CLASSES * sizeof *logits);
    double seconds = 0;
    for (int i = 0; i < (first ? 2 : 1); i++) {
        double start = msg_clock();
        if (!evaluator_dataset(n->evaluator[threads], n->data, NULL, n->images, logits, &e))
            msg_fail(&e);
        seconds = msg_clock() - start;
    }
    free(logits);
    return n->images / seconds;
}

static double gradient(struct net *n, int threads) {
    enum { SOME = 4 * BATCH };  // images in [0, 1] are kept as an attack keeps them
    struct error e = {0};
    struct model *m = model_of(n, threads);
    bool first = !n->slope[threads];
    if (first && !(n->slope[threads] = slope_open(m, SLOPE_CE, "cpu", pool_of(threads), &e)))
        msg_fail(&e);
    static float *x, *logits, *gradient;
    static int32_t y[SOME];
    if (!x) {
        x = numbers(SOME * 784);
        gradient = numbers(SOME * 784);
        logits = numbers(SOME * CLASSES);
        for (int i = 0; i < SOME; i++)
            y[i] = i % CLASSES;
        for (int i = 0; i < SOME * 784; i++)
            x[i] += .5f;
    }
    double seconds = 0;
    int batches = n->images / SOME ? n->images / SOME * (SOME / BATCH) : 1;
    for (int i = 0; i < (first ? 2 : 1); i++) {
        double start = msg_clock();
        for (int b = 0; b < batches; b++) {
            size_t from = (size_t)(b % (SOME / BATCH)) * BATCH;
            if (!slope_run(n->slope[threads], x + from * 784, y + from, BATCH, logits + from * CLASSES, gradient + from * 784, &e))
                msg_fail(&e);
        }
        seconds = msg_clock() - start;
    }
    return (double)batches * BATCH / seconds;
}

// ---- questions and answers

static struct net nets[] = {{.name = "cnn", .images = 1536}, {.name = "mlp", .images = 25600}, {.name = "vit", .images = 3072}};

static struct net *net_of(const char *name) {
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++)
        if (!strcmp(nets[i].name, name)) {
            if (!nets[i].count)
                add_products(&nets[i]);
            return &nets[i];
        }
    msg_usage("network %s: cnn, mlp or vit expected", name);
}

static enum mask task_of(const char *name) {
    for (int i = 0; i < 3; i++)
        if (!strcmp(tasks[i].name, name))
            return tasks[i].mask;
    msg_usage("task %s: train, evaluate or gradient expected", name);
}

static double flop_of(const struct net *n, enum mask task) {
    double flop = 0;
    for (int i = 0; i < n->count; i++)
        flop += n->product[i].tasks & task ? n->product[i].flop : 0;
    return flop;
}

static void answer(const char *line) {
    char what[16] = "", task[16] = "", net[16] = "";
    int threads = 0;
    bool about = sscanf(line, "%15s %15s %15s %d", what, task, net, &threads) >= 3 &&
                 (!strcmp(what, "products") || !strcmp(what, "detail") || !strcmp(what, "flop"));
    if (about && !strcmp(what, "flop")) {
        printf("%.0f\n", flop_of(net_of(net), task_of(task)));
        return;
    }
    if (!about && sscanf(line, "sgemm %d", &threads) != 1 && sscanf(line, "%15s %15s %d", task, net, &threads) != 3)
        msg_usage("\"%s\" is no question", line);
    if (threads < 1 || threads > THREADS_MAX)
        msg_usage("%d threads: 1 to %d expected", threads, THREADS_MAX);
    if (about && !strcmp(what, "products"))
        answer_products(net_of(net), task_of(task), threads);
    else if (about)
        detail(net_of(net), task_of(task), threads);
    else if (!*net)
        printf("%.6g\n", sgemm(threads));
    else
        printf("%.6g\n", (task_of(task) == TRAIN ? train : task_of(task) == EVALUATE ? evaluate : gradient)(net_of(net), threads));
}

int main(void) {
    msg_open("networks");
    msg_verbosity(-1);
    openblas_set_num_threads(1);
    pool_of(1);  // OpenMP on one thread, denormals flushed, before anything else is asked of the libraries
    char line[128];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        answer(line);
        fflush(stdout);
    }
    return 0;
}

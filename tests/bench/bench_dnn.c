// bench_dnn.c: convolutions beside sgemm and beside what else the library offers, in one run.
//
//     bench_dnn [ROUNDS [ROWS]]    (OPENBLAS_CORETYPE=SkylakeX where OpenBLAS does not know the machine)
//
// Each row is one product: `ours` as the engine runs it (channels-last, a shard of 8), the library's direct method
// channels-last and in its own choice of layout, and Winograd. GFLOP/s count the direct method's operations.
// Every figure is the median over interleaved rounds; two threads run the same product each. Then pooling and layouts
// beside a plain copy of as many bytes, and what one call costs.
#include <cblas.h>
#include <dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/msg.h"
#include "base/pool.h"
#include "engine/dnn.h"

extern void openblas_set_num_threads(int);

enum { WORKERS = 2, ROUNDS_MAX = 51, REPEATS_FLOP = 800000000 };

struct subject {
    char name[64];
    double flop;
    void (*run)(struct subject *s, int worker);
    // ours
    struct dnn_conv *conv;
    float *x[WORKERS], *w[WORKERS], *b[WORKERS], *y[WORKERS], *scratch[WORKERS];
    // the library's
    dnnl_primitive_t primitive;
    dnnl_exec_arg_t arg[WORKERS][5];
    int args;
    double rate[WORKERS][ROUNDS_MAX];
};

static dnnl_engine_t engine;
static dnnl_stream_t stream[WORKERS];

static float *numbers(size_t count) {
    float *p = aligned_alloc(64, (count + 16) / 16 * 64);
    for (size_t i = 0; i < count; i++) p[i] = (float)rand() / (float)RAND_MAX - .5f;
    return p;
}

// ---- the subjects

static void run_sgemm(struct subject *s, int worker) {
    const int n = 2048;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, n, n, 1, s->x[worker], n, s->w[worker], n, 0, s->y[worker], n);
}

static void run_ours(struct subject *s, int i) {
    dnn_conv_run(s->conv, s->x[i], s->w[i], s->b[i], s->y[i], s->scratch[i]);
}

static void run_library(struct subject *s, int i) {
    dnnl_primitive_execute(s->primitive, stream[i], s->args, s->arg[i]);
    dnnl_stream_wait(stream[i]);
}

static double flop(const struct dnn_shape *s) {
    return 2. * s->examples * s->out_height * s->out_width * s->out_channels * s->channels * s->kernel_height * s->kernel_width;
}

static struct subject ours(enum dnn_kind kind, const struct dnn_shape *s) {
    struct subject r = {.name = "ours", .run = run_ours, .flop = flop(s)};
    r.conv = dnn_conv_new(kind, s, kind != DNN_DX, kind == DNN_FORWARD);
    for (int i = 0; i < WORKERS; i++) {
        r.x[i] = numbers((size_t)s->examples * s->channels * s->height * s->width);
        r.y[i] = numbers((size_t)s->examples * s->out_channels * s->out_height * s->out_width);
        r.w[i] = numbers(dnn_conv_weight_floats(r.conv));
        r.b[i] = numbers(s->out_channels);
        r.scratch[i] = numbers(dnn_conv_scratch(r.conv) / sizeof(float));
    }
    return r;
}

static bool library(struct subject *r, enum dnn_kind kind, const struct dnn_shape *s, dnnl_format_tag_t layout,
                    dnnl_alg_kind_t method) {
    const dnnl_dims_t dx = {s->examples, s->channels, s->height, s->width};
    const dnnl_dims_t dy = {s->examples, s->out_channels, s->out_height, s->out_width};
    const dnnl_dims_t dw = {s->out_channels, s->channels, s->kernel_height, s->kernel_width}, db = {s->out_channels};
    const dnnl_dims_t stride = {s->stride, s->stride}, padding = {s->padding, s->padding};
    dnnl_memory_desc_t x, y, w, b;
    dnnl_memory_desc_init_by_tag(&x, 4, dx, dnnl_f32, layout);
    dnnl_memory_desc_init_by_tag(&y, 4, dy, dnnl_f32, layout);
    dnnl_memory_desc_init_by_tag(&w, 4, dw, dnnl_f32, dnnl_format_tag_any);
    dnnl_memory_desc_init_by_tag(&b, 1, db, dnnl_f32, dnnl_a);
    dnnl_convolution_desc_t d;
    dnnl_primitive_desc_t forward, p;
    dnnl_primitive_attr_t attr;
    dnnl_primitive_attr_create(&attr);
    dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    dnnl_convolution_forward_desc_init(&d, dnnl_forward_training, kind == DNN_FORWARD ? method : dnnl_convolution_auto, &x,
                                       &w, &b, &y, stride, padding, padding);
    if (dnnl_primitive_desc_create(&forward, &d, attr, engine, NULL)) return false;
    if (kind == DNN_DX) dnnl_convolution_backward_data_desc_init(&d, method, &x, &w, &y, stride, padding, padding);
    if (kind == DNN_DW) dnnl_convolution_backward_weights_desc_init(&d, method, &x, &w, &b, &y, stride, padding, padding);
    if (dnnl_primitive_desc_create(&p, &d, attr, engine, kind == DNN_FORWARD ? NULL : forward)) return false;
    const char *implementation = "";
    dnnl_primitive_desc_query(p, dnnl_query_impl_info_str, 0, &implementation);
    *r = (struct subject){.run = run_library, .flop = flop(s)};
    snprintf(r->name, sizeof r->name, "%s %s", layout == dnnl_nhwc ? "last" : "own", implementation);
    dnnl_primitive_create(&r->primitive, p);
    static const struct {
        int name;
        dnnl_query_t query;
    } part[][5] = {
        {{DNNL_ARG_SRC, dnnl_query_src_md}, {DNNL_ARG_WEIGHTS, dnnl_query_weights_md}, {DNNL_ARG_DST, dnnl_query_dst_md},
         {DNNL_ARG_SCRATCHPAD, dnnl_query_scratchpad_md}, {DNNL_ARG_BIAS, dnnl_query_undef}},
        {{DNNL_ARG_DIFF_SRC, dnnl_query_diff_src_md}, {DNNL_ARG_WEIGHTS, dnnl_query_weights_md},
         {DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md}, {DNNL_ARG_SCRATCHPAD, dnnl_query_scratchpad_md}, {0, dnnl_query_undef}},
        {{DNNL_ARG_SRC, dnnl_query_src_md}, {DNNL_ARG_DIFF_WEIGHTS, dnnl_query_diff_weights_md},
         {DNNL_ARG_DIFF_DST, dnnl_query_diff_dst_md}, {DNNL_ARG_SCRATCHPAD, dnnl_query_scratchpad_md},
         {DNNL_ARG_DIFF_BIAS, dnnl_query_undef}},
    };
    r->args = kind == DNN_DX ? 4 : 5;
    for (int i = 0; i < WORKERS; i++)
        for (int a = 0; a < r->args; a++) {
            const dnnl_memory_desc_t *md = a == 4 ? &b : dnnl_primitive_desc_query_md(p, part[kind][a].query, 0);
            r->arg[i][a].arg = part[kind][a].name;
            dnnl_memory_create(&r->arg[i][a].memory, md, engine, numbers(dnnl_memory_desc_get_size(md) / sizeof(float) + 16));
        }
    return true;
}

static void subject_free(struct subject *s) {
    for (int i = 0; i < WORKERS; i++) {
        for (int a = 0; a < s->args; a++) {
            void *at;
            dnnl_memory_get_data_handle(s->arg[i][a].memory, &at);
            dnnl_memory_destroy(s->arg[i][a].memory);
            free(at);
        }
        free(s->x[i]), free(s->w[i]), free(s->b[i]), free(s->y[i]), free(s->scratch[i]);
    }
    if (s->primitive) dnnl_primitive_destroy(s->primitive);
    dnn_conv_free(s->conv);
}

// ---- measuring

struct lap {
    struct subject *subject;
    long repeats;
};

static void lap_job(void *data, long i, int worker) {
    (void)i;
    struct lap *l = data;
    for (long k = 0; k < l->repeats; k++) l->subject->run(l->subject, worker);
}

static double rate(struct pool *pool, struct subject *s) {
    const int threads = pool_threads(pool);
    struct lap l = {s, 1 + (long)(REPEATS_FLOP / s->flop)};
    struct lap warm = {s, 1};
    if (s->run != run_sgemm) pool_run(pool, threads, lap_job, &warm);
    double start = msg_clock();
    pool_run(pool, threads, lap_job, &l);
    return threads * l.repeats * s->flop / (msg_clock() - start) / 1e9;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double middle(double *x, int n) {
    qsort(x, n, sizeof *x, ascending);
    return x[n / 2];
}

static double median(const struct subject *s, int threads, int rounds) {
    double v[ROUNDS_MAX];
    memcpy(v, s->rate[threads - 1], rounds * sizeof *v);
    return middle(v, rounds);
}

static struct dnn_shape shape(int examples, int C, int H, int O, int k, int stride, int padding) {
    const int out = (H + 2 * padding - k) / stride + 1;
    return (struct dnn_shape){.examples = examples, .channels = C, .height = H, .width = H, .out_channels = O,
                              .out_height = out, .out_width = out, .kernel_height = k, .kernel_width = k,
                              .stride = stride, .padding = padding};
}

// ---- pooling, layouts, the price of a call

static void bench_moves(int rounds) {
    enum { N = 8, H = 28, C = 64, LARGE = N * H * H * C, SMALL = LARGE / 4 };
    static const char *const name[] = {"argmax 2x2, values and index", "argmax 2x2, values", "gather 2x2", "scatter 2x2",
                                       "to channels first", "to channels last"};
    static const double bytes[] = {4. * LARGE + 5. * SMALL, 4. * (LARGE + SMALL), 4. * LARGE + 5. * SMALL,
                                   4. * LARGE + 5. * SMALL, 8. * LARGE, 8. * LARGE};
    float *large = numbers(LARGE), *other = numbers(LARGE), *small = numbers(SMALL);
    unsigned char *index = malloc(SMALL);
    printf("\n%-40s %10s %10s\n", "8 x 28 x 28 x 64", "GB/s", "of a copy");
    for (int m = 0; m < 6; m++) {
        double moved[ROUNDS_MAX], copied[ROUNDS_MAX];
        for (int k = 0; k < rounds; k++) {
            double start = msg_clock();
            for (int i = 0; i < 40; i++) {
                if (m == 0) dnn_pool_argmax(large, N, H, H, C, 2, small, index);
                if (m == 1) dnn_pool_argmax(large, N, H, H, C, 2, small, NULL);
                if (m == 2) dnn_pool_gather(large, index, N, H, H, C, 2, small);
                if (m == 3) dnn_pool_scatter(small, index, N, H, H, C, 2, other);
                if (m == 4) dnn_to_channels_first(large, N, C, H * H, other);
                if (m == 5) dnn_to_channels_last(large, N, C, H * H, other);
            }
            moved[k] = 40 * bytes[m] / (msg_clock() - start) / 1e9;
            start = msg_clock();
            for (int i = 0; i < 40; i++) {
                memcpy(other, large, sizeof(float) * LARGE);
                __asm__ volatile("" ::: "memory");
            }
            copied[k] = 40 * 8. * LARGE / (msg_clock() - start) / 1e9;
        }
        double rate = middle(moved, rounds);
        printf("%-40s %10.1f %9.0f%%\n", name[m], rate, 100 * rate / middle(copied, rounds));
    }
    free(large), free(other), free(small), free(index);
}

// The smallest convolution: all of it is the call.
static void bench_call(int rounds) {
    const struct dnn_shape s = shape(1, 16, 1, 16, 1, 1, 0);
    struct subject least = ours(DNN_FORWARD, &s);
    double seconds[ROUNDS_MAX];
    for (int k = 0; k < rounds; k++) {
        double start = msg_clock();
        for (int i = 0; i < 20000; i++) run_ours(&least, 0);
        seconds[k] = (msg_clock() - start) / 20000;
    }
    printf("\none call: %.2f microseconds\n", 1e6 * middle(seconds, rounds));
    subject_free(&least);
}

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 5;
    if (rounds < 1 || rounds > ROUNDS_MAX) rounds = 5;
    struct pool *pools[WORKERS] = {pool_new(1), pool_new(2)};
    openblas_set_num_threads(1);
    dnnl_engine_create(&engine, dnnl_cpu, 0);
    for (int i = 0; i < WORKERS; i++) dnnl_stream_create(&stream[i], engine, dnnl_stream_default_flags);

    struct subject sgemm = {.name = "sgemm 2048", .flop = 2. * 2048 * 2048 * 2048, .run = run_sgemm};
    for (int i = 0; i < WORKERS; i++)
        sgemm.x[i] = numbers(2048 * 2048), sgemm.w[i] = numbers(2048 * 2048), sgemm.y[i] = numbers(2048 * 2048);

    static const int rows[][7] = {  // examples, C, H, O, k, stride, padding
        {8, 1, 28, 32, 3, 1, 1},  {8, 32, 28, 64, 3, 1, 1},  {8, 64, 14, 128, 3, 1, 1},  // the CNN
        {16, 32, 28, 64, 3, 1, 1}, {16, 64, 14, 128, 3, 1, 1}, {32, 32, 28, 64, 3, 1, 1}, {32, 64, 14, 128, 3, 1, 1},
        {1, 1, 28, 32, 3, 1, 1},  {1, 32, 28, 64, 3, 1, 1},  {1, 64, 14, 128, 3, 1, 1},  // one example's weight gradient
        {8, 3, 32, 64, 3, 1, 1},  {8, 1, 28, 32, 4, 2, 1},   {8, 32, 14, 64, 4, 2, 1},   // colour; down and up by 2
        {8, 1, 28, 6, 5, 1, 2},   {8, 6, 14, 16, 5, 1, 0},   {8, 4, 28, 32, 3, 1, 1},
    };
    size_t count_rows = sizeof rows / sizeof *rows;
    if (argc > 2 && (size_t)atoi(argv[2]) < count_rows) count_rows = (size_t)atoi(argv[2]);
    printf("%-4s %-22s %-34s %9s %9s %8s %8s\n", "", "", "GFLOP/s", "1 thread", "2", "of sgemm", "of sgemm");
    for (size_t r = 0; r < count_rows; r++)
        for (int kind = 0; kind < 3; kind++) {
            const int *v = rows[r];
            const struct dnn_shape s = shape(v[0], v[1], v[2], v[3], v[4], v[5], v[6]);
            if (s.examples == 1 && kind != DNN_DW) continue;
            struct subject subject[4] = {ours(kind, &s)};
            int count = 1;
            count += library(&subject[count], kind, &s, dnnl_nhwc, dnnl_convolution_direct);
            count += library(&subject[count], kind, &s, dnnl_format_tag_any, dnnl_convolution_direct);
            count += library(&subject[count], kind, &s, dnnl_format_tag_any, dnnl_convolution_winograd);
            for (int k = 0; k < rounds; k++)
                for (int t = 0; t < WORKERS; t++) {
                    sgemm.rate[t][k] = rate(pools[t], &sgemm);
                    for (int i = 0; i < count; i++) subject[i].rate[t][k] = rate(pools[t], &subject[i]);
                }
            const double one = median(&sgemm, 1, rounds), two = median(&sgemm, 2, rounds);
            for (int i = 0; i < count; i++) {
                char text[64];
                snprintf(text, sizeof text, "%dx %d->%d @%d k%d s%d", v[0], v[1], v[3], v[2], v[4], v[5]);
                printf("%-4s %-22s %-34s %9.1f %9.1f %7.0f%% %7.0f%%\n",
                       kind == DNN_FORWARD ? "fwd" : kind == DNN_DX ? "dx" : "dw", text, subject[i].name,
                       median(&subject[i], 1, rounds), median(&subject[i], 2, rounds),
                       100 * median(&subject[i], 1, rounds) / one, 100 * median(&subject[i], 2, rounds) / two);
                subject_free(&subject[i]);
            }
            printf("     %-22s %-34s %9.1f %9.1f\n", "", sgemm.name, one, two);
            fflush(stdout);
        }
    bench_moves(rounds);
    bench_call(rounds);
    for (int i = 0; i < WORKERS; i++) {
        free(sgemm.x[i]), free(sgemm.w[i]), free(sgemm.y[i]);
        dnnl_stream_destroy(stream[i]);
        pool_free(pools[i]);
    }
    dnnl_engine_destroy(engine);
}

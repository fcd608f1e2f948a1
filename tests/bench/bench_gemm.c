// Speed of the matrix products beside OpenBLAS and oneDNN, one thread, interleaved, medians.
//
//   gcc -O2 -D_GNU_SOURCE -Icommon tests/bench/bench_gemm.c build/libassay.a -ldnnl -lopenblas -lgomp -lpthread -lm
//   ./a.out [part of a name]
//
// "hot": the same operands again and again; "cold": a ring of operands larger than the caches. GFLOP/s.
// sgemm and oneDNN multiply the same views; where ours is packed, oneDNN's weights lie in its own layout and
// neither packing is timed.
#include <cblas.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/gemm.h"

enum { ROUNDS = 9, RING_MAX = 64 };

// Whole rows of length k (or n) lie side by side, unless `ta` or `tb` says that the transpose does; lda, ldb:
// distance of what lies side by side, 0 for no gaps.
struct shape {
    const char *name;
    int m, n, k;
    bool ta, tb, packed;
    int lda, ldb;
};

static const struct shape shapes[] = {
    {"sgemm's own", 1024, 1024, 1024, .ta = false},
    {"forward fc1, 8 rows", 8, 256, 6272, .tb = true, .packed = true},
    {"forward fc1, 32 rows", 32, 256, 6272, .tb = true, .packed = true},
    {"forward fc1, 128 rows", 128, 256, 6272, .tb = true, .packed = true},
    {"forward mlp1", 128, 512, 784, .tb = true, .packed = true},
    {"forward mlp2", 128, 256, 512, .tb = true, .packed = true},
    {"forward mlp3", 128, 10, 256, .tb = true, .packed = true},
    {"forward vit patch", 128, 64, 49, .tb = true, .packed = true},
    {"forward vit qkv", 136, 192, 64, .tb = true, .packed = true},
    {"forward vit out", 136, 64, 64, .tb = true, .packed = true},
    {"forward vit up", 136, 256, 64, .tb = true, .packed = true},
    {"forward vit down", 136, 64, 256, .tb = true, .packed = true},
    {"forward wide", 200, 1000, 784, .tb = true, .packed = true},
    {"input fc1, 32 rows, packed", 32, 6272, 256, .packed = true},
    {"input fc1, 128 rows, packed", 128, 6272, 256, .packed = true},
    {"input fc1, 8 rows", 8, 6272, 256, .ta = false},
    {"input fc1, 32 rows", 32, 6272, 256, .ta = false},
    {"input fc1, 128 rows", 128, 6272, 256, .ta = false},
    {"input mlp1", 128, 784, 512, .ta = false},
    {"input vit qkv", 136, 64, 192, .ta = false},
    {"input vit up", 136, 64, 256, .ta = false},
    {"input vit down", 136, 256, 64, .ta = false},
    {"weight fc1", 256, 6272, 128, .ta = true},
    {"weight fc1, 8 examples", 256, 6272, 8, .ta = true},
    {"weight mlp1", 512, 784, 128, .ta = true},
    {"weight mlp2", 256, 512, 128, .ta = true},
    {"weight vit qkv", 192, 64, 2176, .ta = true},
    {"weight vit up", 256, 64, 2176, .ta = true},
    {"weight vit down", 64, 256, 2176, .ta = true},
    {"weight vit qkv, a shard", 192, 64, 136, .ta = true},
    {"weight vit patch, a shard", 64, 49, 128, .ta = true},
    {"forward plain wide", 200, 1000, 784, .tb = true},
    {"attention q k'", 17, 17, 16, .tb = true, .lda = 192, .ldb = 192},
    {"attention p v", 17, 16, 17, .ldb = 192},
    {"attention p' dy", 17, 16, 17, .ta = true, .ldb = 192},
};

struct work {
    const struct shape *s;
    int ring, lda, ldb;
    float *a[RING_MAX], *b[RING_MAX], *c[RING_MAX], *packed[RING_MAX], *reordered[RING_MAX];
    struct gemm_matrix a_view, b_view;
    float *scratch;
    dnnl_primitive_t matmul;
    dnnl_memory_t dnn_a[RING_MAX], dnn_b[RING_MAX], dnn_c[RING_MAX];
};

static dnnl_engine_t engine;
static dnnl_stream_t stream;

static void *take(size_t floats) {
    float *p = aligned_alloc(64, (4 * floats + 4096) / 64 * 64);
    if (!p) exit(4);
    for (size_t i = 0; i < floats + 1000; i++) p[i] = (float)rand() / (float)RAND_MAX - .5f;
    return p;
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);  // others may be using the machine
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void ours(struct work *w, int i) {
    const struct shape *s = w->s;
    struct gemm_matrix a = w->a_view, b = w->b_view;

    a.at = w->a[i];
    b.at = w->b[i];
    if (s->packed)
        gemm_packed(s->m, s->n, s->k, a, w->packed[i], w->c[i], s->n, 0, s->n, NULL, w->scratch);
    else
        gemm_plain(s->m, s->n, s->k, a, b, w->c[i], s->n, NULL, w->scratch);
}

static void blas(struct work *w, int i) {
    const struct shape *s = w->s;
    cblas_sgemm(CblasRowMajor, s->ta ? CblasTrans : CblasNoTrans, s->tb ? CblasTrans : CblasNoTrans, s->m, s->n, s->k, 1,
                w->a[i], w->lda, w->b[i], w->ldb, 0, w->c[i], s->n);
}

static void dnn(struct work *w, int i) {
    dnnl_exec_arg_t args[] = {
        {DNNL_ARG_SRC, w->dnn_a[i]}, {DNNL_ARG_WEIGHTS, w->dnn_b[i]}, {DNNL_ARG_DST, w->dnn_c[i]}};
    dnnl_primitive_execute(w->matmul, stream, 3, args);
}

static void pack(struct work *w, int i) {
    struct gemm_matrix b = w->b_view;
    b.at = w->b[i];
    gemm_pack(w->packed[i], b, w->s->k, w->s->n, 0, w->s->n);
}

static void prepare(struct work *w, const struct shape *s, int ring) {
    dnnl_memory_desc_t a, b, c, any;
    dnnl_matmul_desc_t d;
    dnnl_primitive_desc_t pd;

    *w = (struct work){.s = s, .ring = ring};
    w->lda = s->lda ? s->lda : s->ta ? s->m : s->k;
    w->ldb = s->ldb ? s->ldb : s->tb ? s->k : s->n;
    w->a_view = s->ta ? (struct gemm_matrix){NULL, 1, w->lda} : (struct gemm_matrix){NULL, w->lda, 1};
    w->b_view = s->tb ? (struct gemm_matrix){NULL, 1, w->ldb} : (struct gemm_matrix){NULL, w->ldb, 1};
    w->scratch = take(gemm_scratch() / 4);
    dnnl_memory_desc_init_by_strides(&a, 2, (dnnl_dims_t){s->m, s->k}, dnnl_f32, (dnnl_dims_t){w->a_view.row, w->a_view.col});
    dnnl_memory_desc_init_by_strides(&b, 2, (dnnl_dims_t){s->k, s->n}, dnnl_f32, (dnnl_dims_t){w->b_view.row, w->b_view.col});
    dnnl_memory_desc_init_by_tag(&any, 2, (dnnl_dims_t){s->k, s->n}, dnnl_f32, dnnl_format_tag_any);
    dnnl_memory_desc_init_by_tag(&c, 2, (dnnl_dims_t){s->m, s->n}, dnnl_f32, dnnl_ab);
    dnnl_matmul_desc_init(&d, &a, s->packed ? &any : &b, NULL, &c);
    if (dnnl_primitive_desc_create(&pd, &d, NULL, engine, NULL) != dnnl_success) exit(4);
    any = *dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    dnnl_primitive_create(&w->matmul, pd);
    dnnl_primitive_desc_destroy(pd);
    for (int i = 0; i < ring; i++) {
        w->a[i] = take((size_t)w->lda * (size_t)(s->ta ? s->k : s->m));
        w->b[i] = take((size_t)w->ldb * (size_t)(s->tb ? s->n : s->k));
        w->c[i] = take((size_t)s->m * (size_t)s->n);
        w->packed[i] = take(gemm_packed_floats(s->k, s->n));
        w->reordered[i] = take(dnnl_memory_desc_get_size(&any) / 4);
        pack(w, i);
        dnnl_memory_create(&w->dnn_a[i], &a, engine, w->a[i]);
        dnnl_memory_create(&w->dnn_b[i], &any, engine, s->packed ? w->reordered[i] : w->b[i]);
        dnnl_memory_create(&w->dnn_c[i], &c, engine, w->c[i]);
    }
}

static void drop(struct work *w) {
    for (int i = 0; i < w->ring; i++) {
        dnnl_memory_destroy(w->dnn_a[i]);
        dnnl_memory_destroy(w->dnn_b[i]);
        dnnl_memory_destroy(w->dnn_c[i]);
        free(w->a[i]);
        free(w->b[i]);
        free(w->c[i]);
        free(w->packed[i]);
        free(w->reordered[i]);
    }
    free(w->scratch);
    dnnl_primitive_destroy(w->matmul);
}

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef void runner(struct work *, int);

static double time_of(runner *run, struct work *w, int times) {
    const double start = seconds();
    for (int i = 0; i < times; i++) run(w, i % w->ring);
    return (seconds() - start) / times;
}

// Medians of seconds a call.
static void measure(struct work *w, int kinds, runner *const *run, double *median) {
    double t[4][ROUNDS];
    int times[4];

    for (int i = 0; i < kinds; i++) {
        time_of(run[i], w, w->ring);
        times[i] = 1 + (int)(3e-3 / time_of(run[i], w, w->ring > 3 ? w->ring : 3));
    }
    for (int r = 0; r < ROUNDS; r++)
        for (int i = 0; i < kinds; i++) t[i][r] = time_of(run[i], w, times[i]);
    for (int i = 0; i < kinds; i++) {
        qsort(t[i], ROUNDS, sizeof *t[i], compare);
        median[i] = t[i][ROUNDS / 2];
    }
}

int main(int argc, char **argv) {
    // OpenBLAS reads these when it is loaded.
    if (!getenv("OPENBLAS_CORETYPE") || !getenv("OMP_NUM_THREADS")) {
        setenv("OPENBLAS_CORETYPE", "SkylakeX", 0);
        setenv("OPENBLAS_NUM_THREADS", "1", 1);
        setenv("OMP_NUM_THREADS", "1", 1);
        execv("/proc/self/exe", argv);
    }
    dnnl_engine_create(&engine, dnnl_cpu, 0);
    dnnl_stream_create(&stream, engine, dnnl_stream_default_flags);
    printf("%-28s %17s  %-5s %7s %7s %7s   %s\n", "", "m x n x k", "", "assay", "sgemm", "oneDNN", "packing GB/s (read + written)");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const struct shape *s = &shapes[i];
        if (argc > 1 && !strstr(s->name, argv[1])) continue;
        const double bytes = 4. * ((double)s->m * s->k + (double)s->k * s->n + (double)s->m * s->n);
        const double flops = 2. * s->m * s->n * s->k;
        for (int cold = 0; cold < 2; cold++) {
            const int ring = cold ? (int)(100e6 / bytes) : 1;
            if (cold && bytes < 3e6) continue;
            struct work w;
            double t[4];
            prepare(&w, s, ring > RING_MAX ? RING_MAX : ring < 1 ? 1 : ring);
            measure(&w, s->packed ? 4 : 3, (runner *const[]){ours, blas, dnn, pack}, t);
            printf("%-28s %5d %5d %5d  %-5s %7.1f %7.1f %7.1f", s->name, s->m, s->n, s->k, cold ? "cold" : "hot",
                   flops / t[0] * 1e-9, flops / t[1] * 1e-9, flops / t[2] * 1e-9);
            if (s->packed) printf("   %.1f", 8e-9 * s->k * s->n / t[3]);
            printf("\n");
            fflush(stdout);
            drop(&w);
        }
    }
    return 0;
}

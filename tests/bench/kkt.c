// kkt.c: how fast a step of the direct attack is, beside sgemm; bench_kkt.py asks and prints.
//
// 784-1000-10 with a bias in the first layer, 50 images, 200 candidates in the span: what `invert --method kkt` does by
// default on 50 images. Every line of standard input is answered by one line of numbers:
//
//     step T    milliseconds of one step on T threads: gradient and update, mean of 300
//     sgemm T   GFLOP/s of OpenBLAS, 2048 x 2048 x 2048, on T of its own threads
//     flop      GFLOP of the matrix products of a step
#include <cblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/kkt.h"
#include "base/arena.h"

extern void openblas_set_num_threads(int);

enum { IMAGES = 50, CANDIDATES = 4 * IMAGES, WIDTH = 1000, CLASSES = 10, PIXELS = 784, STEPS = 300, SGEMM = 2048 };

static double step(const struct reduced *in, int threads) {
    struct error e = {0};
    struct pool *pool = pool_new(threads);
    struct kkt_options o = kkt_defaults(true);
    o.candidates = CANDIDATES;
    o.steps = STEPS;
    o.restarts = 2;
    struct kkt *k = kkt_open(in->full, in, &o, pool, &e);
    bool interrupted = false;
    if (!k) msg_fail(&e);
    k->stop = 1;  // warm
    if (!kkt_run(k, &interrupted, &e)) msg_fail(&e);
    k->stop = 2;
    double start = msg_clock();
    if (!kkt_run(k, &interrupted, &e)) msg_fail(&e);
    double seconds = msg_clock() - start;
    kkt_free(k);
    pool_free(pool);
    return 1e3 * seconds / STEPS;
}

static double sgemm(int threads) {
    float *m[3];
    for (int i = 0; i < 3; i++) m[i] = memory_zero((size_t)SGEMM * SGEMM * sizeof(float));
    openblas_set_num_threads(threads);
    double best = INFINITY;
    for (int i = 0; i < 4; i++) {
        double start = msg_clock();
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, SGEMM, SGEMM, SGEMM, 1, m[0], SGEMM, m[1], SGEMM, 0, m[2], SGEMM);
        best = fmin(best, msg_clock() - start);
    }
    for (int i = 0; i < 3; i++) free(m[i]);
    return 2e-9 * SGEMM * SGEMM * SGEMM / best;
}

// First layer: forward, sum over the candidates, and two for the derivative of that sum's square. Second: forward (h W2' in the
// residual's derivative only), lambda W2, the sum, and two for each of both. Box: there and back.
static double flop(void) {
    double first = 4. * CANDIDATES * IMAGES * WIDTH, second = 5. * CANDIDATES * CLASSES * WIDTH, box = 2. * CANDIDATES * IMAGES * PIXELS;
    return 2e-9 * (first + second + box);
}

int main(void) {
    struct error e = {0};
    msg_open("bench");
    struct arch *a = arch_parse("homogeneous 1000", shape_of(3, 1, 28, 28), CLASSES, &e);
    if (!a) msg_fail(&e);
    struct model *m = model_new(a, 1);
    struct span *s = span_open(m, &e);
    struct reduced *in = s ? reduced_open(s, IMAGES, &e) : NULL;
    if (!in) msg_fail(&e);
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        int threads = atoi(line + strcspn(line, " "));
        if (!strncmp(line, "step", 4)) printf("%.6g\n", step(in, threads));
        else if (!strncmp(line, "sgemm", 5)) printf("%.6g\n", sgemm(threads));
        else printf("%.6g\n", flop());
        fflush(stdout);
    }
    reduced_free(in);
    span_free(s);
    model_free(m);
    return 0;
}

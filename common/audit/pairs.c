// pairs.c: image by image.
#include "pairs.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "../base/arena.h"
#include "../io/record.h"
#include "bootstrap.h"

enum { PER_JOB = 16 };

struct comparing {
    const struct images *a, *b;
    enum similarity_window window;
    struct pairs *out;
};

static void compare(void *data, long job, int worker) {
    (void)worker;
    const struct comparing *c = data;
    float *a = memory_take((size_t)c->a->size * sizeof *a), *b = memory_take((size_t)c->a->size * sizeof *b);
    for (int64_t i = job * PER_JOB; i < (job + 1) * PER_JOB && i < c->out->count; i++) {
        images_row(c->a, i, a);
        images_row(c->b, i, b);
        struct similarity s = similarity_of(a, b, c->a->channels, c->a->height, c->a->width, c->window);
        c->out->ssim[i] = s.ssim;
        c->out->psnr[i] = s.psnr;
        c->out->mse[i] = s.mse;
        c->out->ncc[i] = s.ncc;
    }
    free(a);
    free(b);
}

bool pairs_of(const struct images *a, const struct images *b, enum similarity_window window, struct pool *pool, struct pairs *out,
              struct error *e) {
    if (!images_agree(a, b, e)) return false;
    if (a->count != b->count)
        return error_set(e, EXIT_INPUT, "%s: %lld images expected, as in %s, %lld found", b->name, (long long)a->count, a->name,
                         (long long)b->count);
    if (!similarity_fits(window, a->height, a->width, e)) return error_prefix(e, "%s", a->name);
    size_t bytes = (size_t)a->count * sizeof(double);
    *out = (struct pairs){a->count, memory_take(bytes), memory_take(bytes), memory_take(bytes), memory_take(bytes)};
    struct comparing c = {a, b, window, out};
    pool_run(pool, (long)((a->count + PER_JOB - 1) / PER_JOB), compare, &c);
    return true;
}

void pairs_free(struct pairs *p) {
    free(p->ssim);
    free(p->psnr);
    free(p->mse);
    free(p->ncc);
    *p = (struct pairs){0};
}

void pairs_save(const struct pairs *p, uint64_t seed, struct blob *b, json_t *record) {
    int64_t equal = 0;
    blob_add(b, "ssim", F64, 1, &p->count, p->ssim);
    blob_add(b, "psnr", F64, 1, &p->count, p->psnr);
    blob_add(b, "mse", F64, 1, &p->count, p->mse);
    blob_add(b, "ncc", F64, 1, &p->count, p->ncc);
    pairs_summary(p->ssim, p->count, seed, record, "metrics.ssim");
    pairs_summary(p->psnr, p->count, seed, record, "metrics.psnr");
    pairs_summary(p->mse, p->count, seed, record, "metrics.mse");
    pairs_summary(p->ncc, p->count, seed, record, "metrics.ncc");
    for (int64_t i = 0; i < p->count; i++) equal += p->mse[i] == 0;
    record_int(record, "metrics.count", p->count);
    record_int(record, "metrics.identical", equal);
}

static double mean_of(const double *x, int64_t n) { return n ? stats_sum(x, (long)n) / (double)n : NAN; }

void pairs_summary(const double *value, int64_t count, uint64_t seed, json_t *record, const char *path) {
    char key[256];
    int64_t there = 0, finite = 0;
    double *all = memory_take((size_t)(count + 1) * sizeof *all), *some = memory_take((size_t)(count + 1) * sizeof *some);
    for (int64_t i = 0; i < count; i++) {
        if (isnan(value[i])) continue;
        all[there++] = value[i];
        if (isfinite(value[i])) some[finite++] = value[i];
    }
    struct interval interval = bootstrap_mean(some, finite, seed, "score/mean");
    snprintf(key, sizeof key, "%s.mean", path);
    record_estimate(record, key, mean_of(some, finite), interval);
    snprintf(key, sizeof key, "%s.median", path);
    record_real(record, key, stats_median(all, (long)there));
    free(all);
    free(some);
}

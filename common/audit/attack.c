// attack.c: the clean evaluation, the verdicts, and what of them is written.
#include "attack.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/opt.h"
#include "../base/out.h"
#include "../base/stats.h"
#include "../io/record.h"

enum { CONFUSION_MAX = 1024 };  // classes; beyond, the table would outgrow everything else

struct attack_queue {
    struct attack_result *r;  // whose images these are
    int64_t n;
    int64_t i[EVALUATE_BATCH];
    int32_t step[EVALUATE_BATCH];
    bool broken[EVALUATE_BATCH];
    bool inside[EVALUATE_BATCH];     // filled when the verdict is due
    double distance[EVALUATE_BATCH];
    float *x, *logits;
    float *clean;  // an image for each worker
};

// ---- the clean images

float attack_margin(const float *z, int64_t classes, int64_t y) {
    float other = -INFINITY;
    for (int64_t k = 0; k < classes; k++)
        if (k != y && !(z[k] <= other)) other = z[k];
    return z[y] - other;
}

static double cross_entropy(const float *z, int64_t classes, int64_t y) {
    double most = z[evaluation_class(z, (int)classes)], sum = 0;
    for (int64_t k = 0; k < classes; k++) sum += exp(z[k] - most);
    return log(sum) + most - z[y];
}

static int64_t position(const struct dataset *d, int64_t i) { return d->index ? d->index[i] : i; }

static bool evaluate_clean(struct attack *a, struct error *e) {
    int64_t n = a->o.count, classes = a->classes;
    a->logits = memory_take((size_t)(n * classes) * sizeof *a->logits);
    a->margin = memory_take((size_t)n * sizeof *a->margin);
    a->y = memory_take((size_t)n * sizeof *a->y);
    a->index = memory_take((size_t)n * sizeof *a->index);
    a->prediction = memory_take((size_t)n * sizeof *a->prediction);
    if (!evaluator_dataset(a->evaluator, a->d, NULL, n, a->logits, e)) return false;
    double *loss = memory_take((size_t)n * sizeof *loss);
    for (int64_t i = 0; i < n; i++) {
        const float *z = a->logits + i * classes;
        for (int64_t k = 0; k < classes; k++)
            if (!isfinite(z[k])) {
                free(loss);
                return error_set(e, EXIT_INPUT, "%s: logit %lld of image %lld is %g: the network is broken",
                                 a->m->blob ? a->m->blob->source : "model", (long long)k, (long long)i, (double)z[k]);
            }
        a->y[i] = model_label(a->m, a->d->y[i]);
        a->index[i] = position(a->d, i);
        a->prediction[i] = evaluation_class(z, (int)classes);
        a->margin[i] = attack_margin(z, classes, a->y[i]);
        a->right += a->prediction[i] == a->y[i];
        loss[i] = cross_entropy(z, classes, a->y[i]);
    }
    a->loss = stats_sum(loss, n) / (double)n;
    free(loss);
    a->x = memory_take(((size_t)(a->o.keep * a->size) + 1) * sizeof *a->x);
    model_images(a->d, NULL, 0, a->o.keep, a->x, a->pool);
    if (classes > CONFUSION_MAX) return true;
    a->confusion = memory_zero((size_t)(classes * classes) * sizeof *a->confusion);
    for (int64_t i = 0; i < n; i++) a->confusion[a->y[i] * classes + a->prediction[i]]++;
    return true;
}

struct attack *attack_open(const struct model *m, const struct dataset *d, const struct attack_options *o, struct pool *pool,
                           struct error *e) {
    if (!model_fits(m, d, e)) return NULL;
    struct attack *a = memory_zero(sizeof *a);
    *a = (struct attack){.m = m, .d = d, .pool = pool, .o = *o, .size = dataset_image_size(d), .classes = m->classes};
    if (!o->count || o->count > d->count) a->o.count = d->count;
    if (o->keep < 0 || o->keep > a->o.count) a->o.keep = a->o.count;
    if (o->batch < 1) a->o.batch = EVALUATE_BATCH;
    struct attack_queue *q = a->queue = memory_zero(sizeof *q);
    q->x = memory_take((size_t)(EVALUATE_BATCH * a->size) * sizeof *q->x);
    q->clean = memory_take((size_t)(pool_threads(pool) * a->size) * sizeof *q->clean);
    q->logits = memory_take((size_t)(EVALUATE_BATCH * a->classes) * sizeof *q->logits);
    a->evaluator = evaluator_open(m, o->device, pool, e);
    if (a->evaluator && evaluate_clean(a, e)) return a;
    attack_free(a);
    return NULL;
}

void attack_free(struct attack *a) {
    if (!a) return;
    evaluator_free(a->evaluator);
    slope_free(a->slope);
    free(a->queue->x);
    free(a->queue->clean);
    free(a->queue->logits);
    void *own[] = {a->queue, a->y, a->index, a->prediction, a->logits, a->margin, a->x, a->confusion};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) free(own[i]);
    free(a);
}

struct slope *attack_slope(struct attack *a, struct error *e) {
    if (!a->slope) a->slope = slope_open(a->m, a->o.loss, a->o.device, a->pool, e);
    return a->slope;
}

// ---- results and verdicts

struct attack_result *attack_result_new(const struct attack *a, const char *method, struct ball ball) {
    struct attack_result *r = memory_zero(sizeof *r);
    size_t n = (size_t)a->o.count;
    *r = (struct attack_result){.method = method, .ball = ball, .attacked = a->right, .stands = a->right};
    r->broken = memory_zero(n);
    r->step = memory_take(n * sizeof *r->step);
    r->margin = memory_take(n * sizeof *r->margin);
    r->norm = memory_zero(n * sizeof *r->norm);
    r->loss = memory_take(n * sizeof *r->loss);
    r->prediction = memory_take(n * sizeof *r->prediction);
    r->x = memory_take(((size_t)(a->o.keep * a->size) + 1) * sizeof *r->x);
    memcpy(r->prediction, a->prediction, n * sizeof *r->prediction);
    memcpy(r->margin, a->margin, n * sizeof *r->margin);
    for (int64_t i = 0; i < a->o.count; i++) {
        r->step[i] = -1;
        r->loss[i] = -INFINITY;  // nothing offered yet
    }
    memcpy(r->x, a->x, (size_t)(a->o.keep * a->size) * sizeof *r->x);
    return r;
}

void attack_result_free(struct attack_result *r) {
    if (!r) return;
    void *own[] = {r->broken, r->step, r->margin, r->norm, r->loss, r->prediction, r->x};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) free(own[i]);
    free(r);
}

int64_t attack_standing(const struct attack *a, const struct attack_result *r, int64_t *out) {
    int64_t n = 0;
    for (int64_t i = 0; i < a->o.count; i++)
        if (a->prediction[i] == a->y[i] && !r->broken[i]) out[n++] = i;
    return n;
}

bool attack_offer(struct attack *a, struct attack_result *r, int64_t i, int32_t step, bool broken, const float *x, struct error *e) {
    struct attack_queue *q = a->queue;
    BUG_IF(q->n && q->r != r, "images of two results in one queue");
    q->r = r;
    q->i[q->n] = i;
    q->step[q->n] = step;
    q->broken[q->n] = broken;
    memcpy(q->x + q->n * a->size, x, (size_t)a->size * sizeof *x);
    return ++q->n < EVALUATE_BATCH || attack_settle(a, r, e);
}

enum { MEASURED_PER_JOB = 8 };
static void measure(void *data, long job, int worker) {
    struct attack *a = data;
    struct attack_queue *q = a->queue;
    float *clean = q->clean + worker * a->size;
    for (int64_t i = (int64_t)job * MEASURED_PER_JOB; i < q->n && i < (int64_t)(job + 1) * MEASURED_PER_JOB; i++) {
        dataset_image(a->d, q->i[i], clean);
        q->inside[i] = ball_holds(&q->r->ball, clean, q->x + i * a->size, &q->distance[i]);
    }
}

static bool judge(struct attack *a, struct attack_result *r, int64_t slot, struct error *e) {
    const struct attack_queue *q = a->queue;
    const float *z = q->logits + slot * a->classes, *x = q->x + slot * a->size;
    int64_t i = q->i[slot], y = a->y[i], prediction = evaluation_class(z, (int)a->classes);
    for (int64_t k = 0; k < a->classes; k++)
        if (!isfinite(z[k]))
            return error_set(e, EXIT_INPUT, "%s at eps %g: logit %lld of the image made of image %lld is %g", r->method, r->ball.eps,
                             (long long)k, (long long)i, (double)z[k]);
    bool broken = q->inside[slot] && prediction != y;
    float margin = attack_margin(z, a->classes, y);
    r->rejected += q->broken[slot] && !broken;
    if (!q->inside[slot]) return true;
    bool first = r->loss[i] == -INFINITY;
    if (!first && (r->broken[i] || (!broken && margin >= r->margin[i]))) return true;
    r->stands -= broken;
    r->broken[i] = broken;
    r->step[i] = broken ? q->step[slot] : -1;
    r->margin[i] = margin;
    r->norm[i] = (float)q->distance[slot];
    r->loss[i] = (float)cross_entropy(z, a->classes, y);
    r->prediction[i] = prediction;
    if (i < a->o.keep) memcpy(r->x + i * a->size, x, (size_t)a->size * sizeof *x);
    return true;
}

bool attack_settle(struct attack *a, struct attack_result *r, struct error *e) {
    struct attack_queue *q = a->queue;
    bool fine = evaluator_rows(a->evaluator, q->x, q->n, q->logits, e);
    pool_run(a->pool, (long)((q->n + MEASURED_PER_JOB - 1) / MEASURED_PER_JOB), measure, a);
    for (int64_t slot = 0; slot < q->n && fine; slot++) fine = judge(a, r, slot, e);
    q->n = 0;
    return fine;
}

// ---- what is written

// Per class: how many, how many of them right, and the interval of that share; null where there are none.
static void save_classes(const struct attack *a, struct blob *b, json_t *record) {
    int64_t k = a->classes;
    if (!a->confusion) return;
    blob_add(b, "confusion", I64, 2, (int64_t[]){k, k}, a->confusion);
    json_t *counts = json_array(), *rates = json_array(), *intervals = json_array();
    for (int64_t c = 0; c < k; c++) {
        int64_t n = 0, right = a->confusion[c * k + c];
        for (int64_t other = 0; other < k; other++) n += a->confusion[c * k + other];
        struct interval i = stats_clopper_pearson((long)right, (long)n, .95);
        json_array_append_new(counts, json_integer(n));
        json_array_append_new(rates, n ? json_real((double)right / (double)n) : json_null());
        json_array_append_new(intervals, json_pack("[f, f]", i.low, i.high));
    }
    record_set(record, "metrics.clean.per_class.count", counts);
    record_set(record, "metrics.clean.per_class.accuracy", rates);
    record_set(record, "metrics.clean.per_class.accuracy_interval", intervals);
}

void attack_save_clean(const struct attack *a, struct blob *b, json_t *record) {
    int64_t n = a->o.count;
    blob_add(b, "clean.logits", F32, 2, (int64_t[]){n, a->classes}, a->logits);
    blob_add(b, "clean.prediction", I64, 1, &n, a->prediction);
    blob_add(b, "y", I64, 1, &n, a->y);
    blob_add(b, "index", I64, 1, &n, a->index);
    record_int(record, "metrics.clean.count", n);
    record_int(record, "metrics.clean.right", a->right);
    record_rate(record, "metrics.clean.accuracy", (long)a->right, (long)n);
    record_real(record, "metrics.clean.loss", a->loss);
    save_classes(a, b, record);
    const char *source = a->d->index ? blob_meta(a->d->blob, "assay.source") : a->d->blob->digest;
    if (source) blob_set_meta(b, "assay.source", source);
    if (a->o.keep) blob_add(b, "clean.x", F32, 4, (int64_t[]){a->o.keep, a->d->channels, a->d->height, a->d->width}, a->x);
}

void attack_save(const struct attack *a, const struct attack_result *r, struct blob *b, json_t *record) {
    char key[32], name[96];
    int64_t n = a->o.count;
    record_eps_key(r->ball.eps, key);
#define TENSOR(suffix) (snprintf(name, sizeof name, "%s.%s.%s", r->method, key, suffix), name)
#define METRIC(suffix) (snprintf(name, sizeof name, "metrics.robust.%s.%s.%s", r->method, key, suffix), name)
    blob_add(b, TENSOR("broken"), U8, 1, &n, r->broken);
    blob_add(b, TENSOR("step"), I32, 1, &n, r->step);
    blob_add(b, TENSOR("margin"), F32, 1, &n, r->margin);
    blob_add(b, TENSOR("norm"), F32, 1, &n, r->norm);
    blob_add(b, TENSOR("prediction"), I64, 1, &n, r->prediction);
    if (a->o.keep) blob_add(b, TENSOR("x"), F32, 4, (int64_t[]){a->o.keep, a->d->channels, a->d->height, a->d->width}, r->x);
    record_rate(record, METRIC("accuracy"), (long)r->stands, (long)n);
    record_rate(record, METRIC("success"), (long)(r->attacked - r->stands), (long)r->attacked);
    record_real(record, METRIC("eps"), r->ball.eps);
    record_int(record, METRIC("count"), n);
    record_int(record, METRIC("attacked"), r->attacked);
    record_int(record, METRIC("broken"), r->attacked - r->stands);
    record_int(record, METRIC("rejected"), r->rejected);
#undef TENSOR
#undef METRIC
}

bool attack_rows_header(struct out *o, struct error *e) {
    return out_print(o, e, "index\tlabel\tprediction\tmethod\teps\tbroken\tstep\tmargin\tnorm\n");
}

bool attack_rows(const struct attack *a, const struct attack_result *r, struct out *o, struct error *e) {
    char eps[32] = "0", margin[32], norm[32] = "0";
    if (r) format_real(r->ball.eps, false, eps);
    for (int64_t i = 0; i < a->o.count; i++) {
        format_real(r ? r->margin[i] : a->margin[i], true, margin);
        if (r) format_real(r->norm[i], true, norm);
        if (!out_print(o, e, "%" PRId64 "\t%" PRId64 "\t%" PRId64 "\t%s\t%s\t%d\t%d\t%s\t%s\n", a->index[i], a->y[i], a->prediction[i],
                       r ? r->method : "clean", eps, r ? r->broken[i] : 0, r ? (int)r->step[i] : -1, margin, norm))
            return false;
    }
    return true;
}

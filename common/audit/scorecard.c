// scorecard.c: the matching of candidates with members and with each block of control, and what follows.
#include "scorecard.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/rng.h"
#include "../io/record.h"
#include "assign.h"
#include "bootstrap.h"
#include "ncc.h"
#include "roc.h"

// ---- matching

struct matching {
    const struct control *s;
    const struct images *candidates;
    enum similarity_window window;
    struct scorecard_match *m;
    struct ncc_side side;
    int64_t from;        // the first of the sets that are matched now
    int64_t *nearest;    // [those sets, candidates]: the nearest image of each
    float *nearest_ncc;
};

static void measure_pair(const struct matching *g, const struct images *from, int64_t row, int64_t at, float *a, float *b) {
    struct scorecard_match *m = g->m;
    struct similarity found = {NAN, NAN, NAN, NAN};
    if (m->candidate[at] >= 0) {
        images_row(from, row, a);
        images_row(g->candidates, m->candidate[at], b);
        found = similarity_of(a, b, from->channels, from->height, from->width, g->window);
    }
    m->ssim[at] = found.ssim;
    m->psnr[at] = found.psnr;
    m->mse[at] = found.mse;
}

static void match_set(void *data, long at, int worker) {
    (void)worker;
    const struct matching *g = data;
    int64_t set = g->from + at;
    const struct control *s = g->s;
    struct scorecard_match *m = g->m;
    const struct images *from = control_images(s, set);
    const int64_t *rows = control_rows(s, set);
    int64_t n = s->n, count = m->candidates;
    float *x = ncc_centred(from, rows, n), *ncc = memory_take((size_t)(n * count) * sizeof *ncc);
    ncc_products(x, n, &g->side, ncc);
    int64_t *candidate = m->candidate + set * n, *nearest = g->nearest + at * count;
    float *best = g->nearest_ncc + at * count;
    assign_best(ncc, count, n, count, candidate, NULL, NULL);
    for (int64_t i = 0; i < n; i++) m->ncc[set * n + i] = candidate[i] < 0 ? -1 : ncc[i * count + candidate[i]];
    for (int64_t j = 0; j < count; j++) best[j] = -INFINITY;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < count; j++)
            if (ncc[i * count + j] > best[j]) {
                best[j] = ncc[i * count + j];
                nearest[j] = rows ? rows[i] : i;
            }
    free(ncc);
    free(x);
    if (!m->ssim) return;
    float *a = memory_take((size_t)from->size * sizeof *a), *b = memory_take((size_t)from->size * sizeof *b);
    for (int64_t i = 0; i < n; i++) measure_pair(g, from, rows ? rows[i] : i, set * n + i, a, b);
    free(a);
    free(b);
}

// Of the sets that were matched, each in its turn.
static void take_nearest(struct matching *g, int64_t sets) {
    struct scorecard_match *m = g->m;
    int64_t count = m->candidates;
    for (int64_t at = 0; at < sets; at++) {
        int64_t *to = g->from + at ? m->held_out : m->member;
        float *ncc = g->from + at ? m->held_out_ncc : m->member_ncc;
        for (int64_t j = 0; j < count; j++)
            if (g->nearest_ncc[at * count + j] > ncc[j]) {
                ncc[j] = g->nearest_ncc[at * count + j];
                to[j] = g->nearest[at * count + j];
            }
    }
}

static void match_all(struct matching *g) {
    const struct control *s = g->s;
    int64_t sets = s->o.blocks + 1, count = g->m->candidates, most = s->room / ((s->n + 3) * count);
    if (most > sets) most = sets;
    g->nearest = memory_take((size_t)(most * count) * sizeof *g->nearest);
    g->nearest_ncc = memory_take((size_t)(most * count) * sizeof *g->nearest_ncc);
    for (int64_t j = 0; j < count; j++) g->m->member_ncc[j] = g->m->held_out_ncc[j] = -INFINITY;
    for (int64_t now; g->from < sets; g->from += now) {
        now = sets - g->from < most ? sets - g->from : most;
        pool_run(s->pool, (long)now, match_set, g);
        take_nearest(g, now);
    }
    free(g->nearest);
    free(g->nearest_ncc);
}

struct scorecard_match *scorecard_match(const struct control *s, const struct images *candidates, int64_t limit,
                                        const enum similarity_window *pairs, struct error *e) {
    if (!images_agree(s->truth, candidates, e)) return NULL;
    if (pairs && !similarity_fits(*pairs, candidates->height, candidates->width, e)) {
        error_prefix(e, "%s", candidates->name);
        return NULL;
    }
    int64_t taken = limit && limit < candidates->count ? limit : candidates->count, most = s->room / (s->n + 3);
    if (taken > most) {
        error_set(e, EXIT_INPUT, "%s: at most %lld candidates expected beside %lld training images, %lld found", candidates->name,
                  (long long)most, (long long)s->n, (long long)taken);
        return NULL;
    }
    struct scorecard_match *m = memory_zero(sizeof *m);
    size_t scores = (size_t)(s->o.blocks + 1) * (size_t)s->n, count = (size_t)taken;
    m->candidates = taken;
    m->ncc = memory_take(scores * sizeof *m->ncc);
    m->candidate = memory_take(scores * sizeof *m->candidate);
    m->ssim = pairs ? memory_take(scores * sizeof *m->ssim) : NULL;
    m->psnr = pairs ? memory_take(scores * sizeof *m->psnr) : NULL;
    m->mse = pairs ? memory_take(scores * sizeof *m->mse) : NULL;
    m->member = memory_zero(count * sizeof *m->member);
    m->held_out = memory_zero(count * sizeof *m->held_out);
    m->member_ncc = memory_take(count * sizeof *m->member_ncc);
    m->held_out_ncc = memory_take(count * sizeof *m->held_out_ncc);
    struct matching g = {.s = s, .candidates = candidates, .window = pairs ? *pairs : SIMILARITY_UNIFORM, .m = m};
    g.side = ncc_side_of(candidates, taken);
    match_all(&g);
    ncc_side_free(&g.side);
    return m;
}

void scorecard_match_free(struct scorecard_match *m) {
    if (!m) return;
    free(m->ncc);
    free(m->candidate);
    free(m->ssim);
    free(m->psnr);
    free(m->mse);
    free(m->member);
    free(m->held_out);
    free(m->member_ncc);
    free(m->held_out_ncc);
    free(m);
}

// ---- baselines

static void add_row(const struct images *s, int64_t i, float *room, double *sum) {
    images_row(s, i, room);
    for (int64_t j = 0; j < s->size; j++) sum[j] += room[j];
}

// Row k of x becomes the mean of the members of class class[k % classes], of all where classes is 0.
static void fill_means(const struct control *s, const int64_t *class, int64_t classes, float *x, int64_t count) {
    const struct images *t = s->truth;
    int64_t distinct = classes ? classes : 1;
    float *room = memory_take((size_t)t->size * sizeof *room);
    double *sum = memory_take((size_t)t->size * sizeof *sum);
    for (int64_t k = 0; k < count; k++) {
        float *row = x + k * t->size;
        if (k >= distinct) {
            memcpy(row, row - distinct * t->size, (size_t)t->size * sizeof *row);
            continue;
        }
        int64_t n = 0;
        memset(sum, 0, (size_t)t->size * sizeof *sum);
        for (int64_t i = 0; i < s->n; i++)
            if (!classes || t->y[i] == class[k]) {
                add_row(t, i, room, sum);
                n++;
            }
        for (int64_t j = 0; j < t->size; j++) row[j] = (float)(sum[j] / (double)n);
    }
    free(room);
    free(sum);
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

// The members' classes, each once; free() it.
static int64_t *distinct_classes(const struct control *s, int64_t *count) {
    int64_t *y = memory_take((size_t)s->n * sizeof *y);
    memcpy(y, s->truth->y, (size_t)s->n * sizeof *y);
    qsort(y, (size_t)s->n, sizeof *y, ascending);
    *count = 0;
    for (int64_t i = 0; i < s->n; i++)
        if (!i || y[i] != y[i - 1]) y[(*count)++] = y[i];
    return y;
}

struct images *scorecard_baseline(const struct control *s, const char *name, int64_t count) {
    float *x;
    bool held_out = !strcmp(name, "heldout");
    if (held_out && !s->spares) return NULL;
    struct images *made = images_made(s->truth, name, held_out && s->spares < count ? s->spares : count, &x);
    if (held_out) {
        for (int64_t i = 0; i < made->count; i++) images_row(s->held_out, s->spare[i], x + i * made->size);
    } else if (!strcmp(name, "noise")) {
        struct stream stream = rng_stream(s->o.seed, "score/noise");
        for (int64_t i = 0; i < count; i++) rng_uniform(stream, (uint32_t)i, 0, 0, x + i * made->size, (long)made->size);
    } else if (!strcmp(name, "mean")) {
        fill_means(s, NULL, 0, x, count);
    } else if (!strcmp(name, "classes")) {
        int64_t classes, *class = distinct_classes(s, &classes);
        fill_means(s, class, classes, x, count);
        free(class);
    } else
        BUG("baseline %s", name);
    return made;
}

// ---- what is written

static void add_scores(const struct control *s, const struct scorecard_match *m, const char *prefix, struct blob *b) {
    char name[160];
    snprintf(name, sizeof name, "%struth.ncc", prefix);
    blob_add(b, name, F32, 1, &s->n, m->ncc);
    snprintf(name, sizeof name, "%scontrol.ncc", prefix);
    blob_add(b, name, F32, 2, (int64_t[]){s->o.blocks, s->n}, m->ncc + s->n);
}

void scorecard_save_baseline(const struct control *s, const struct scorecard_match *m, const char *name, struct blob *b) {
    char prefix[128];
    snprintf(prefix, sizeof prefix, "baseline.%s.", name);
    add_scores(s, m, prefix, b);
}

void scorecard_save_tensors(const struct control *s, const struct scorecard_match *m, struct blob *b) {
    const int64_t blocks[2] = {s->o.blocks, s->n};
    blob_add(b, "index", I64, 1, &s->n, s->index);
    blob_add(b, "y", I64, 1, &s->n, s->truth->y);
    blob_add(b, "control.index", I64, 2, blocks, s->position);
    add_scores(s, m, "", b);
    blob_add(b, "truth.candidate", I64, 1, &s->n, m->candidate);
    blob_add(b, "control.candidate", I64, 2, blocks, m->candidate + s->n);
    blob_add(b, "candidate.member", I64, 1, &m->candidates, m->member);
    blob_add(b, "candidate.ncc", F32, 1, &m->candidates, m->member_ncc);
    blob_add(b, "candidate.control", I64, 1, &m->candidates, m->held_out);
    blob_add(b, "candidate.control_ncc", F32, 1, &m->candidates, m->held_out_ncc);
    blob_add(b, "twin.index", I64, 2, (int64_t[]){s->twins, 2}, s->twin_index);
    blob_add(b, "twin.ncc", F32, 1, &s->twins, s->twin_ncc);
    if (!m->ssim) return;
    blob_add(b, "truth.ssim", F64, 1, &s->n, m->ssim);
    blob_add(b, "truth.psnr", F64, 1, &s->n, m->psnr);
    blob_add(b, "truth.mse", F64, 1, &s->n, m->mse);
}

struct scorecard_run scorecard_run(const struct control *s, const struct scorecard_match *m) {
    return (struct scorecard_run){m->ncc, m->ncc + s->n, s->n, s->o.blocks};
}

static bool check_scores(const struct blob *b, const struct tensor *t, struct error *e) {
    const float *x = t->data;
    for (int64_t i = 0; i < tensor_count(t); i++)
        if (!(x[i] >= -1 && x[i] <= 1))
            return blob_refuse(b, e, "tensor %s: correlations in [-1, 1] expected, %g found", t->name, (double)x[i]);
    return true;
}

bool scorecard_run_of(const struct blob *b, const char *baseline, struct scorecard_run *out, struct error *e) {
    char name[2][160];
    for (int i = 0; i < 2; i++)
        snprintf(name[i], sizeof name[i], "%s%s%s%s", baseline ? "baseline." : "", baseline ? baseline : "", baseline ? "." : "",
                 i ? "control.ncc" : "truth.ncc");
    if (baseline && !blob_find(b, name[0])) return false;
    const struct tensor *truth = blob_need(b, name[0], e), *control = truth ? blob_need(b, name[1], e) : NULL;
    if (!control) return error_prefix(e, "%s: not the score of a reconstruction", b->source);
    char shape[128];
    if (truth->dtype != F32 || truth->rank != 1 || truth->dim[0] < 1)
        return blob_refuse(b, e, "tensor %s: F32 [N] expected, %s %s found", name[0], dtype_name(truth->dtype),
                           tensor_shape_text(truth, shape));
    if (control->dtype != F32 || control->rank != 2 || control->dim[0] < 1 || control->dim[0] > INT_MAX ||
        control->dim[1] != truth->dim[0])
        return blob_refuse(b, e, "tensor %s: F32 [blocks, %lld] expected, %s %s found", name[1], (long long)truth->dim[0],
                           dtype_name(control->dtype), tensor_shape_text(control, shape));
    if (truth->dim[0] > BOOTSTRAP_MOST || control->dim[0] * control->dim[1] > BOOTSTRAP_MOST)
        return blob_refuse(b, e, "tensors %s and %s: at most %d scores each expected", name[0], name[1], BOOTSTRAP_MOST);
    *out = (struct scorecard_run){truth->data, control->data, truth->dim[0], (int)control->dim[0]};
    return check_scores(b, truth, e) && check_scores(b, control, e);
}

// ---- numbers

static int ascending_floats(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double median_of(float *x, int64_t n) {
    if (!n) return NAN;
    qsort(x, (size_t)n, sizeof *x, ascending_floats);
    return n % 2 ? (double)x[n / 2] : ((double)x[n / 2 - 1] + (double)x[n / 2]) / 2;
}

// Medians over all runs together.
static void save_medians(const struct scorecard_run *run, int runs, json_t *record, const char *path) {
    char key[256];
    int64_t n = 0, m = 0, all[2] = {0};
    for (int i = 0; i < runs; i++) {
        all[0] += run[i].n;
        all[1] += run[i].n * run[i].blocks;
    }
    float *truth = memory_take((size_t)(all[0] + 1) * sizeof *truth);
    float *control = memory_take((size_t)(all[1] + 1) * sizeof *control);
    for (int i = 0; i < runs; n += run[i].n, m += run[i].n * run[i].blocks, i++) {
        memcpy(truth + n, run[i].truth, (size_t)run[i].n * sizeof *truth);
        memcpy(control + m, run[i].control, (size_t)(run[i].n * run[i].blocks) * sizeof *control);
    }
    snprintf(key, sizeof key, "%s.median.truth", path);
    record_real(record, key, median_of(truth, n));
    snprintf(key, sizeof key, "%s.median.control", path);
    record_real(record, key, median_of(control, m));
    free(truth);
    free(control);
}

static int64_t count_from(const float *x, int64_t n, float bar) {
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) count += x[i] >= bar;
    return count;
}

static void save_matched(const struct scorecard_run *run, int runs, float bar, const char *name, json_t *record,
                         const char *path) {
    char key[256];
    int64_t truth = 0;
    double control = 0;
    for (int i = 0; i < runs; i++) {
        truth += count_from(run[i].truth, run[i].n, bar);
        control += (double)count_from(run[i].control, run[i].n * run[i].blocks, bar) / run[i].blocks;
    }
    snprintf(key, sizeof key, "%s.%s.truth", path, name);
    if (runs == 1)
        record_int(record, key, truth);
    else
        record_real(record, key, (double)truth / runs);
    snprintf(key, sizeof key, "%s.%s.control", path, name);
    record_real(record, key, control / runs);
}

void scorecard_save(const struct scorecard_run *run, int runs, uint64_t seed, json_t *record, const char *path) {
    char key[256];
    struct roc_run *roc = memory_take((size_t)(runs + 1) * sizeof *roc);
    struct roc_above *above = memory_take((size_t)(runs + 1) * sizeof *above);
    for (int i = 0; i < runs; i++) {
        roc[i] = (struct roc_run){run[i].truth, run[i].control, run[i].n, run[i].n * run[i].blocks};
        above[i] = roc_above(&roc[i]);
    }
    struct roc_rate rate = roc_rate(above, runs, .01);
    snprintf(key, sizeof key, "%s.auc", path);
    record_estimate(record, key, roc_auc(roc, runs), roc_auc_interval(roc, runs, seed));
    snprintf(key, sizeof key, "%s.tpr_at_fpr_1e-2", path);
    record_estimate(record, key, (double)rate.hits / (double)rate.positives, rate.interval);
    snprintf(key, sizeof key, "%s.threshold_at_fpr_1e-2", path);
    if (runs == 1) record_real(record, key, roc_threshold(&roc[0], .01));
    save_matched(run, runs, .95f, "matched_at_0p95", record, path);
    save_matched(run, runs, .999f, "matched_at_0p999", record, path);
    save_medians(run, runs, record, path);
    for (int i = 0; i < runs; i++) free(above[i].count);
    free(above);
    free(roc);
}

struct scorecard_found scorecard_identify(const struct control *s, const struct scorecard_match *m) {
    struct scorecard_found found = {0, m->candidates, (double)s->n / (double)(s->n + s->used)};
    for (int64_t j = 0; j < m->candidates; j++) found.count += m->member_ncc[j] > m->held_out_ncc[j];
    return found;
}

// ---- a wall

struct scorecard_wall scorecard_wall(const struct control *s, const struct scorecard_match *m, const struct images *candidates,
                                     const unsigned char *verdict, int64_t count) {
    struct scorecard_wall w = {.count = count < m->candidates ? count : m->candidates};
    int64_t size = s->truth->size;
    w.x = memory_take((size_t)(w.count * 3 * size + 1) * sizeof *w.x);
    w.ncc = memory_take((size_t)(w.count * 2 + 1) * sizeof *w.ncc);
    w.mark = memory_zero((size_t)w.count + 1);
    for (int64_t j = 0; j < w.count; j++) {
        images_row(s->truth, m->member[j], w.x + 3 * j * size);
        images_row(candidates, j, w.x + (3 * j + 1) * size);
        images_row(s->held_out, m->held_out[j], w.x + (3 * j + 2) * size);
        w.ncc[2 * j] = m->member_ncc[j];
        w.ncc[2 * j + 1] = m->held_out_ncc[j];
        if (candidates->certified && candidates->certified[j]) w.mark[j] = verdict && verdict[j] ? 2 : 1;
    }
    return w;
}

void scorecard_wall_free(struct scorecard_wall *w) {
    free(w->x);
    free(w->ncc);
    free(w->mark);
    *w = (struct scorecard_wall){0};
}

void scorecard_save_wall(const struct control *s, const struct scorecard_wall *w, struct blob *b) {
    const struct images *t = s->truth;
    blob_add(b, "wall.x", F32, 5, (int64_t[]){w->count, 3, t->channels, t->height, t->width}, w->x);
    blob_add(b, "wall.ncc", F32, 2, (int64_t[]){w->count, 2}, w->ncc);
    blob_add(b, "wall.mark", U8, 1, &w->count, w->mark);
}

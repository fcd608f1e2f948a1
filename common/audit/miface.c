// miface.c: all images go side by side, and those that are done leave the batch.
#include "miface.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../io/record.h"
#include "slope.h"

struct miface_options miface_defaults(void) {
    return (struct miface_options){.device = "cpu", .each = 10, .steps = 500, .patience = 100, .smooth_every = 10, .step = .5,
                                   .enough = .99999, .spread = 1};
}

void miface_describe(const struct miface_options *o, json_t *config) {
    json_object_update_new(config, json_pack("{s:I, s:I, s:I, s:f, s:f, s:o}", "steps", (json_int_t)o->steps,
                                             "patience", (json_int_t)o->patience, "smooth_every", (json_int_t)o->smooth_every,
                                             "step", o->step, "enough", o->enough, "seed", record_seed(o->seed)));
}

struct work {
    const struct model *m;
    const struct miface_options *o;
    struct slope *slope;
    struct candidates *c;
    int64_t *active, count;    // images that still move
    int64_t *since;            // [all]: steps without a better probability
    float *x;                  // [all, size]: the iterates; c->x holds the best
    float *rows, *gradient, *logits, *scratch;
    int32_t *y;
};

// [1 2 1] along one axis: n numbers `stride` apart, the ends repeated.
static void smooth_line(float *x, int64_t n, int64_t stride, float *scratch) {
    for (int64_t i = 0; i < n; i++) scratch[i] = x[i * stride];
    for (int64_t i = 0; i < n; i++)
        x[i * stride] = .25f * scratch[i ? i - 1 : 0] + .5f * scratch[i] + .25f * scratch[i + 1 < n ? i + 1 : i];
}

static void smooth(const struct shape *s, float *x, float *scratch) {
    int64_t h = s->dim[1], w = s->dim[2];
    for (int64_t c = 0; c < s->dim[0]; c++, x += h * w) {
        for (int64_t i = 0; i < h; i++) smooth_line(x + i * w, w, 1, scratch);
        for (int64_t j = 0; j < w; j++) smooth_line(x + j, h, w, scratch);
    }
}

static void draw_starts(struct work *w) {
    struct stream s = rng_stream(w->o->seed, "miface/start");
    for (int64_t i = 0; i < w->c->count; i++) {
        float *x = w->x + i * w->c->size;
        w->c->y[i] = i % w->m->classes;
        w->active[i] = i;
        if (i < w->m->classes) continue;  // black
        rng_uniform(s, (uint32_t)i, 0, 0, x, (long)w->c->size);
        for (int64_t j = 0; j < w->c->size; j++) x[j] = fminf(fmaxf(.5f + (float)w->o->spread * (x[j] - .5f), 0), 1);
    }
    w->count = w->c->count;
}

// Notes the probability of every image that moves; those that are done leave, the others move on, the last step excepted.
static bool one_step(struct work *w, int64_t step, struct error *e) {
    struct candidates *c = w->c;
    int64_t classes = w->m->classes, left = 0;
    for (int64_t k = 0; k < w->count; k++) {
        memcpy(w->rows + k * c->size, w->x + w->active[k] * c->size, (size_t)c->size * sizeof *w->rows);
        w->y[k] = (int32_t)c->y[w->active[k]];
    }
    if (!slope_run(w->slope, w->rows, w->y, w->count, w->logits, w->gradient, e)) return false;
    for (int64_t k = 0; k < w->count; k++) {
        int64_t i = w->active[k];
        float *x = w->x + i * c->size;
        const float *g = w->gradient + k * c->size;
        double p = candidates_probability(w->logits + k * classes, classes, c->y[i]), squares = 0;
        for (int64_t j = 0; j < c->size; j++) squares += (double)g[j] * g[j];
        if (!isfinite(p) || !isfinite(squares))
            return error_set(e, EXIT_INPUT, "step %lld: the gradient of image %lld is not finite", (long long)step, (long long)i);
        w->since[i]++;
        if (p > c->score[i] || !step) {
            c->score[i] = p;
            w->since[i] = 0;
            memcpy(c->x + i * c->size, x, (size_t)c->size * sizeof *x);
        }
        if (p >= w->o->enough || w->since[i] >= w->o->patience) continue;
        w->active[left++] = i;
        float scale = (float)(w->o->step / (sqrt(squares) + 1e-12));
        for (int64_t j = 0; j < c->size; j++) x[j] = fminf(fmaxf(x[j] - scale * g[j], 0), 1);
        if (w->o->smooth_every && (step + 1) % w->o->smooth_every == 0) smooth(&c->shape, x, w->scratch);
    }
    w->count = left;
    return true;
}

bool miface_run(const struct model *m, const struct miface_options *o, struct pool *pool, struct miface *out, struct error *e) {
    struct work w = {.m = m, .o = o};
    int64_t n = o->each * m->classes;
    *out = (struct miface){NULL, 0};
    w.slope = slope_open(m, SLOPE_CE, o->device, pool, e);
    if (!w.slope) return false;
    struct candidates *c = w.c = candidates_new(m->arch->input, n);
    size_t pixels = (size_t)(n * c->size) + 1;
    w.active = memory_take((size_t)(n + 1) * sizeof *w.active);
    w.since = memory_zero((size_t)(n + 1) * sizeof *w.since);
    w.y = memory_zero((size_t)(n + 1) * sizeof *w.y);
    w.x = memory_zero(pixels * sizeof *w.x);
    w.rows = memory_take(pixels * sizeof *w.rows);
    w.gradient = memory_take(pixels * sizeof *w.gradient);
    w.logits = memory_take((size_t)(n * m->classes + 1) * sizeof *w.logits);
    w.scratch = memory_take((size_t)(c->shape.dim[1] + c->shape.dim[2]) * sizeof *w.scratch);
    draw_starts(&w);
    bool fine = true;
    for (int64_t step = 0; fine && step <= o->steps && w.count; step++) {
        out->steps += step < o->steps ? w.count : 0;
        fine = one_step(&w, step, e);
        if (o->progress) progress_step(o->progress, (long)step, NULL);
    }
    slope_free(w.slope);
    free(w.active), free(w.since), free(w.y), free(w.x), free(w.rows), free(w.gradient), free(w.logits), free(w.scratch);
    if (!fine) {
        candidates_free(c);
        return false;
    }
    for (int64_t i = 0; i < n; i++) c->confidence[i] = (float)c->score[i];
    candidates_rank(c, 0);
    out->found = c;
    return true;
}

// pgd.c: x_0 in the ball; x_{k+1} = P(x_k + a sign(dL/dx)), in L2 along dL/dx / |dL/dx| (Madry et al. 2018, "Towards
// deep learning models resistant to adversarial attacks"); with one step from the clean image, the fast gradient sign
// method (Goodfellow et al. 2015, "Explaining and harnessing adversarial examples").
//
// Examples take places in a batch that is kept full: one that is broken or done leaves, the next moves in. What
// happens to an example does not depend on its neighbours, because the engine's rows and all draws do not.
#include "pgd.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/stats.h"

struct pgd pgd_noise(int draws) { return (struct pgd){.name = "noise", .start = PGD_EDGE, .restarts = draws}; }
struct pgd pgd_fgsm(double eps) { return (struct pgd){.name = "fgsm", .start = PGD_CLEAN, .steps = 1, .restarts = 1, .step = eps}; }
struct pgd pgd_of(double step, int steps, int restarts) {
    return (struct pgd){.name = "pgd", .start = PGD_INSIDE, .steps = steps, .restarts = restarts, .step = step};
}
double pgd_default_step(double eps) { return fmax(1e-3, eps / 6); }

enum { PLACES_PER_JOB = 4 };
enum fate { GOING, DONE, BROKEN, SPOILT };  // SPOILT: a number that is not finite

struct place {
    int64_t i;  // example
    int step;   // its iterate
    enum fate fate;
};

struct hunt {
    struct attack *a;
    const struct pgd *p;
    struct attack_result *r;
    struct stream stream;
    int restart;
    int64_t n, fresh;   // places taken; those from `fresh` on hold an example that just came
    struct place *place;
    int32_t *y;
    float *x0, *x, *gradient, *logits;
    unsigned char *flat;  // [count] the first gradient was zero
    float *late;          // [count] loss at the iterate `tenth`; NaN: not there yet
    int tenth;
};

// ---- one example

static void begin(struct hunt *h, int64_t at) {
    const struct attack *a = h->a;
    struct place *place = h->place + at;
    float *x0 = h->x0 + at * a->size, *x = h->x + at * a->size;
    uint32_t example = (uint32_t)a->index[place->i];
    dataset_image(a->d, place->i, x0);
    switch (h->p->start) {
    case PGD_CLEAN: memcpy(x, x0, (size_t)a->size * sizeof *x); break;
    case PGD_INSIDE: ball_inside(&h->r->ball, h->stream, example, (uint32_t)h->restart, x0, x); break;
    case PGD_EDGE: ball_edge(&h->r->ball, h->stream, example, (uint32_t)h->restart, x0, x); break;
    }
    if (!h->p->steps) place->fate = DONE;
}

// Logits and gradient of the iterate are there: is it broken, and if not, what is the next one?
static void advance(struct hunt *h, int64_t at) {
    const struct attack *a = h->a;
    struct place *place = h->place + at;
    const float *z = h->logits + at * a->classes;
    float margin = attack_margin(z, a->classes, h->y[at]);
    bool start = place->step == 0;
    if (margin < 0 && !(start && h->p->start == PGD_CLEAN)) {
        place->fate = BROKEN;
        return;
    }
    // The cross-entropy, whatever loss is followed; the own logit is the largest here, so nothing overflows.
    if (place->step == h->tenth && h->restart == 0) {
        double sum = 0;
        for (int64_t k = 0; k < a->classes; k++) sum += exp((double)z[k] - z[h->y[at]]);
        h->late[place->i] = (float)log(sum);
    }
    struct ball_slope slope = ball_step(&h->r->ball, h->x0 + at * a->size, h->gradient + at * a->size, h->p->step, h->x + at * a->size);
    if (start && h->restart == 0) h->flat[place->i] = slope.zero;
    place->step++;
    if (!slope.finite || !(margin >= 0 || margin < 0)) place->fate = SPOILT;
    else if (place->step == h->p->steps) place->fate = DONE;
}

static void job(struct hunt *h, long j, int64_t from, void (*work)(struct hunt *h, int64_t at)) {
    int64_t first = from + (int64_t)j * PLACES_PER_JOB;
    for (int64_t at = first; at < first + PLACES_PER_JOB && at < h->n; at++) work(h, at);
}
static void begin_job(void *data, long j, int worker) {
    (void)worker;
    struct hunt *h = data;
    job(h, j, h->fresh, begin);
}
static void advance_job(void *data, long j, int worker) {
    (void)worker;
    job(data, j, 0, advance);
}
static void each(struct hunt *h, int64_t from, void (*work)(void *, long, int)) {
    pool_run(h->a->pool, (long)((h->n - from + PLACES_PER_JOB - 1) / PLACES_PER_JOB), work, h);
}

// ---- the batch

// Offers those that are done and moves the last into their places.
static bool settle(struct hunt *h, struct error *e) {
    struct attack *a = h->a;
    for (int64_t at = 0; at < h->n;) {
        struct place *place = h->place + at;
        if (place->fate == GOING) {
            at++;
            continue;
        }
        if (place->fate == SPOILT)
            return error_set(e, EXIT_INPUT, "%s at eps %g, step %d: the gradient in image %lld is not finite", h->p->name, h->r->ball.eps,
                             place->step, (long long)place->i);
        int32_t step = (int32_t)(h->restart * (h->p->steps + 1) + place->step);
        if (!attack_offer(a, h->r, place->i, step, place->fate == BROKEN, h->x + at * a->size, e)) return false;
        int64_t last = --h->n;
        if (at == last) break;
        size_t row = (size_t)a->size * sizeof *h->x;
        *place = h->place[last];
        h->y[at] = h->y[last];
        memcpy(h->x0 + at * a->size, h->x0 + last * a->size, row);
        memcpy(h->x + at * a->size, h->x + last * a->size, row);
    }
    return true;
}

static void draw_progress(struct hunt *h, double share) {
    struct attack *a = h->a;
    if (!a->progress) return;
    char note[96];
    snprintf(note, sizeof note, "%s eps %.4g: %.2f %% stand", h->p->name, h->r->ball.eps, 100 * (double)h->r->stands / (double)a->o.count);
    progress_step(a->progress, (long)(a->progressed + ((double)h->restart + share) / h->p->restarts * (double)a->o.count), note);
}

static bool attack_all(struct hunt *h, struct slope *slope, const int64_t *example, int64_t count, struct error *e) {
    struct attack *a = h->a;
    for (int64_t next = 0; next < count || h->n;) {
        h->fresh = h->n;
        for (; h->n < a->o.batch && next < count; h->n++, next++) {
            h->place[h->n] = (struct place){.i = example[next]};
            h->y[h->n] = (int32_t)a->y[example[next]];
        }
        if (h->n > h->fresh) each(h, h->fresh, begin_job);
        if (slope) {
            if (!slope_run(slope, h->x, h->y, h->n, h->logits, h->gradient, e)) return false;
            each(h, 0, advance_job);
        }
        if (!settle(h, e)) return false;
        draw_progress(h, (double)(next - h->n) / (double)(count ? count : 1));
    }
    return attack_settle(a, h->r, e);
}

// After the first start: what the gradients looked like, and whether the loss still rose where it did not suffice.
static void note_course(struct hunt *h, const int64_t *example, int64_t count) {
    struct attack_result *r = h->r;
    double *late = memory_take((size_t)(2 * count + 1) * sizeof *late), *last = late + count;
    r->followed = count;
    for (int64_t j = 0; j < count; j++) {
        int64_t i = example[j];
        r->flat += h->flat[i];
        if (r->broken[i] || isnan(h->late[i]) || !isfinite(r->loss[i])) continue;
        late[r->lasted] = h->late[i];
        last[r->lasted++] = r->loss[i];
    }
    if (r->lasted) {
        r->late_loss = stats_sum(late, r->lasted) / (double)r->lasted;
        r->last_loss = stats_sum(last, r->lasted) / (double)r->lasted;
    }
    free(late);
}

bool pgd_run(struct attack *a, const struct pgd *p, struct attack_result *r, struct error *e) {
    struct slope *slope = p->steps ? attack_slope(a, e) : NULL;
    if (p->steps && !slope) return false;
    size_t room = (size_t)a->o.batch, pixels = room * (size_t)a->size, count = (size_t)a->o.count;
    char purpose[64];
    snprintf(purpose, sizeof purpose, "attack/%s", p->name);
    struct hunt h = {.a = a, .p = p, .r = r, .stream = rng_stream(a->o.seed, purpose)};
    h.place = memory_take(room * sizeof *h.place);
    h.y = memory_take(room * sizeof *h.y);
    h.x0 = memory_take(2 * pixels * sizeof *h.x0);
    h.x = h.x0 + pixels;
    h.gradient = slope ? memory_take(pixels * sizeof *h.gradient) : NULL;
    h.logits = slope ? memory_take(room * (size_t)a->classes * sizeof *h.logits) : NULL;
    h.flat = memory_zero(count);
    h.late = memory_take(count * sizeof *h.late);
    h.tenth = p->steps > 1 ? p->steps - (p->steps + 9) / 10 : -1;
    for (size_t i = 0; i < count; i++) h.late[i] = NAN;
    int64_t *example = memory_take(count * sizeof *example);
    bool fine = true;
    for (; fine && h.restart < p->restarts; h.restart++) {
        int64_t n = attack_standing(a, r, example);
        if (!n) break;
        fine = attack_all(&h, slope, example, n, e);
        if (fine && slope && h.restart == 0) note_course(&h, example, n);
    }
    a->progressed += (double)a->o.count;
    void *own[] = {h.place, h.y, h.x0, h.gradient, h.logits, h.flat, h.late, example};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) free(own[i]);
    return fine;
}

// optim.c: optimisers and learning-rate schedules. The loops are in optim_isa.c; here are the numbers of a
// step, worked out in double, and the cut into tiles.
#include "optim.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/isa.h"
#include "../base/opt.h"
#include "optim_isa.h"

enum { TILE = 16384 };  // floats: 64 KB of each array

bool optim_parse(const char *name, enum optim_kind *kind) {
    static const char *const names[] = {[OPTIM_SGD] = "sgd", [OPTIM_ADAM] = "adam", [OPTIM_ADAMW] = "adamw"};
    for (int i = 0; i < 3; i++)
        if (!strcmp(names[i], name)) {
            *kind = (enum optim_kind)i;
            return true;
        }
    return false;
}

void optim_defaults(struct optim *o, enum optim_kind kind) {
    *o = (struct optim){.kind = kind, .beta1 = .9, .beta2 = .999, .epsilon = 1e-8, .weight_decay = kind == OPTIM_ADAMW ? .01 : 0};
}

void optim_open(struct optim *o, int64_t size) {
    o->size = size;
    if (o->kind != OPTIM_SGD || o->momentum > 0) o->m = memory_zero((size_t)size * sizeof *o->m);
    if (o->kind != OPTIM_SGD) o->v = memory_zero((size_t)size * sizeof *o->v);
    o->spoilt = memory_zero((size_t)((size + TILE - 1) / TILE) + 1);
}

void optim_close(struct optim *o) {
    free(o->m);
    free(o->v);
    free(o->spoilt);
    o->m = o->v = NULL;
    o->spoilt = NULL;
}

struct update {
    struct optim *o;
    struct optim_numbers numbers;
    optim_loop *loop;
    float *p;
    const float *g;
};

static void update_tile(void *data, long tile, int worker) {
    (void)worker;
    struct update *u = data;
    const struct optim *o = u->o;
    int64_t from = (int64_t)tile * TILE, n = o->size - from < TILE ? o->size - from : TILE, whole = n / OPTIM_LANES * OPTIM_LANES;
    float *m = o->m ? o->m + from : NULL, *v = o->v ? o->v + from : NULL, *p = u->p + from;
    const float *g = u->g + from;
    bool fine = u->loop(&u->numbers, whole, p, g, m, v);
    if (whole < n) {  // a ragged end goes through a full set of lanes
        size_t bytes = (size_t)(n - whole) * sizeof *p;
        float lane[4][OPTIM_LANES] = {0}, *at[4] = {p + whole, NULL, m ? m + whole : NULL, v ? v + whole : NULL};
        for (int i = 0; i < 4; i++)
            if (i == 1) memcpy(lane[i], g + whole, bytes);
            else if (at[i]) memcpy(lane[i], at[i], bytes);
        fine = u->loop(&u->numbers, OPTIM_LANES, lane[0], lane[1], lane[2], lane[3]) && fine;
        for (int i = 0; i < 4; i++)
            if (at[i]) memcpy(at[i], lane[i], bytes);
    }
    u->o->spoilt[tile] = !fine;
}

static const struct optim_loops *loops(void) {
    return ISA_PICK(optim_loops);
}

int64_t optim_step(struct optim *o, double lr, float *p, const float *g, struct pool *pool) {
    long tiles = (long)((o->size + TILE - 1) / TILE);
    double t = (double)++o->step;
    struct update u = {.o = o, .p = p, .g = g};
    u.numbers = (struct optim_numbers){
        .l2 = (float)o->l2,
        .keep = (float)(o->kind == OPTIM_ADAMW ? 1 - lr * o->weight_decay : 1),
        .lr = (float)lr, .momentum = (float)o->momentum,
        .beta1 = (float)o->beta1, .rest1 = (float)(1 - o->beta1), .beta2 = (float)o->beta2, .rest2 = (float)(1 - o->beta2),
        .step = (float)(lr / (1 - pow(o->beta1, t))), .root = (float)(1 / sqrt(1 - pow(o->beta2, t))), .epsilon = (float)o->epsilon,
    };
    const struct optim_loops *l = loops();
    u.loop = o->kind != OPTIM_SGD ? l->adam : !o->m ? l->sgd : o->nesterov ? l->nesterov : l->momentum;
    pool_run(pool, tiles, update_tile, &u);
    int64_t found = -1;
    for (long i = 0; i < tiles && found < 0; i++)
        for (int64_t j = (int64_t)i * TILE; o->spoilt[i] && j < o->size && found < 0; j++)
            if (!isfinite(g[j])) found = j;
    return found;
}

bool schedule_parse(struct schedule *s, const char *text, double lr, int64_t steps_per_epoch, int64_t epochs, struct error *e) {
    *s = (struct schedule){.lr = lr, .gamma = 1, .every = 1, .total = steps_per_epoch * epochs};
    if (!strcmp(text, "constant")) s->kind = SCHEDULE_CONSTANT;
    else if (!strcmp(text, "cosine")) s->kind = SCHEDULE_COSINE;
    else if (!strcmp(text, "one-cycle") || !strcmp(text, "onecycle")) s->kind = SCHEDULE_ONECYCLE;
    else if (!strncmp(text, "step:", 5)) {
        char word[64];
        const char *gamma = strchr(text + 5, ':');
        snprintf(word, sizeof word, "%.*s", gamma ? (int)(gamma - text - 5) : 0, text + 5);
        s->kind = SCHEDULE_STEP;
        if (!gamma || !parse_int(word, &s->every) || s->every < 1 || s->every > 1000000 || !parse_real(gamma + 1, &s->gamma) ||
            !(s->gamma > 0 && s->gamma <= 1))
            return error_set(e, EXIT_USAGE, "schedule \"%s\": step:EPOCHS:GAMMA with EPOCHS >= 1 and 0 < GAMMA <= 1 expected", text);
        s->every *= steps_per_epoch;
    } else return error_set(e, EXIT_USAGE, "schedule \"%s\": constant, cosine, step:EPOCHS:GAMMA or one-cycle expected", text);
    return true;
}

// From a to b by half a cosine, t in [0, 1].
static double cosine(double a, double b, double t) { return b + (a - b) * (1 + cos(M_PI * t)) / 2; }

double schedule_lr(const struct schedule *s, int64_t step) {
    double t = (double)step, total = (double)s->total;
    switch (s->kind) {
    case SCHEDULE_CONSTANT: return s->lr;
    case SCHEDULE_COSINE: return cosine(s->lr, 0, t / total);
    case SCHEDULE_STEP: return s->lr * pow(s->gamma, (double)(step / s->every));
    case SCHEDULE_ONECYCLE: {
        double low = s->lr / 25, top = .3 * total - 1, end = total - 1;
        if (t <= top) return cosine(low, s->lr, t / top);
        return cosine(s->lr, low / 1e4, end > top ? (t - top) / (end - top) : 1);
    }
    }
    BUG("schedule %d", (int)s->kind);
}

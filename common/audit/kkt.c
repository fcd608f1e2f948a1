// kkt.c: the residual as a graph of gradients, and Adam on what it is made of.
#include "kkt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/out.h"
#include "../engine/grad.h"
#include "../io/checkpoint.h"
#include "../io/record.h"

static const double POLISH_RATE = .04;  // of the learning rates

struct kkt_engine {
    struct arena arena;
    struct graph *g;
    struct node *x, *l, *sign, *sharpness, *basis, *mean;
    struct node *residual, *dx, *dl;
    struct model_nodes nodes;
    struct node **explained;         // of each parameter, where the reduced network has such
    struct plan *plan;
    struct exec *exec;
    struct model_binding binding;
    float *signs;                    // [candidates][classes]: 1 for the own class, else -1
    float *basis_data;               // [pixels][columns]
    float *dx_row, *dl_row;          // gradients, as x and l
    float *m_x, *v_x, *m_l, *v_l;    // moments; v_x: one for each candidate
    float *best_x, *best_l;
    double best;
    double *wide;                    // everything above as doubles, on a device that takes them
};

struct kkt_options kkt_defaults(bool in_span) {
    return (struct kkt_options){.device = "cpu", .steps = 3500, .polish = 4. / 7, .restarts = 3, .lr = in_span ? .5 : .01,
                                .lr_multiplier = .1, .start = in_span ? .1 : .01, .sharpness = {10, 300},
                                .box = 1e-3, .floor = 1e-2, .margin = 6, .share = 1};
}

void kkt_describe(const struct kkt_options *o, json_t *config) {
    json_object_update_new(config, json_pack("{s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:[f, f], s:o}",
                                             "candidates", (json_int_t)o->candidates, "restarts", (json_int_t)o->restarts,
                                             "steps", (json_int_t)o->steps, "lr", o->lr, "multiplier_lr", o->lr_multiplier,
                                             "spread", o->start, "box", o->box, "margin", o->margin, "sharpen",
                                             o->sharpness[0], o->sharpness[1], "seed", record_seed(o->seed)));
}

static const struct model *net_of(const struct kkt *k) { return k->in ? k->in->net : k->m; }

// ---- the graph

// sum over all numbers of max(0, x - 1)^2 + max(0, -x)^2, for each example.
static struct node *outside(struct graph *g, struct node *x) {
    struct node *high = graph_relu(g, graph_shift(g, x, -1)), *low = graph_relu(g, graph_neg(g, x));
    return graph_sum_all(g, graph_add(g, graph_square(g, high), graph_square(g, low)));
}

static struct node *images(struct kkt *k) {
    struct kkt_engine *w = k->engine;
    struct graph *g = w->g;
    if (!k->in) return w->x;
    int64_t pixels = k->in->pixels, columns = k->columns;
    w->basis = graph_input(g, "basis", false, (struct shape){2, {pixels, columns}});
    w->mean = graph_input(g, "mean", false, (struct shape){2, {1, pixels}});
    struct node *row = graph_reshape(g, w->x, (struct shape){2, {1, columns}});
    return graph_add(g, graph_matmul(g, row, graph_each(g, w->basis), false, true), graph_each(g, w->mean));
}

// |theta - sum_i sum_k lambda_ik grad z_k|^2 over |theta|^2, where theta is what known images leave of the weights.
static struct node *residual(struct kkt *k, struct node *lambda, double squares) {
    struct kkt_engine *w = k->engine;
    struct graph *g = w->g;
    const struct arch *a = net_of(k)->arch;
    struct node **d = arena_take(&w->arena, (size_t)(a->count + 1) * sizeof(struct node *)), *sum = NULL;
    grad_of(g, w->nodes.logits, lambda, w->nodes.arch.param, a->count, d);
    for (int i = 0; i < a->count; i++) {
        if (a->param[i].fixed) continue;
        struct node *left = w->nodes.arch.param[i];
        if (w->explained) left = graph_sub(g, left, w->explained[i] = graph_input(g, "explained", false, a->param[i].shape));
        struct node *part = graph_sum_all(g, graph_square(g, graph_sub(g, left, d[i])));
        sum = sum ? graph_add(g, sum, part) : part;
    }
    return graph_scale(g, sum, 1 / squares);
}

static void build(struct kkt *k, double squares) {
    struct kkt_engine *w = k->engine;
    const struct model *net = net_of(k);
    struct graph *g = w->g = graph_new();
    struct shape classes = {1, {k->classes}};
    w->x = graph_input(g, "candidates", true, net->arch->input);
    w->l = graph_input(g, "multipliers", true, classes);
    w->sign = graph_input(g, "signs", true, classes);
    w->sharpness = graph_input(g, "sharpness", false, shape_of(1, 1));
    w->nodes.arch.sharpness = w->sharpness;
    model_build(net, g, &w->arena, &w->nodes, w->x);
    w->residual = residual(k, graph_scale(g, w->l, k->scale), squares);
    struct node *wrong = graph_relu(g, graph_neg(g, graph_mul(g, w->l, w->sign)));
    struct node *penalty = graph_add(g, graph_scale(g, outside(g, images(k)), k->o.box),
                                     graph_scale(g, graph_sum_all(g, graph_square(g, wrong)), k->o.floor));
    struct node *total = graph_add(g, w->residual, graph_sum_examples(g, penalty)), *d[2];
    grad_of(g, total, NULL, (struct node *const[]){w->x, w->l}, 2, d);
    w->dx = d[0];
    w->dl = d[1];
    w->plan = plan_new(g, (struct node *const[]){w->residual, w->dx, w->dl}, 3);
}

static void start(struct kkt *k, int64_t restart);

struct kkt *kkt_open(const struct model *m, const struct reduced *in, const struct kkt_options *o, struct pool *pool,
                     struct error *e) {
    struct kkt *k = memory_zero(sizeof *k);
    struct kkt_engine *w = k->engine = memory_zero(sizeof *w);
    k->m = m;
    k->in = in;
    k->o = *o;
    k->stop = o->restarts;
    k->pool = pool;
    k->classes = m->classes;
    k->columns = in ? in->columns : shape_count(&m->arch->input);
    const struct model *net = net_of(k);
    double squares = in ? in->left : model_trained_squares(net);
    if (!(squares > 0)) {
        error_set(e, EXIT_INPUT, "the trained weights are all zero");
        kkt_free(k);
        return NULL;
    }
    // Euler's identity is about the whole network and all images; a share of them has that share of the sum.
    k->scale = model_trained_squares(in && in->explained ? m : net) * o->share / (model_degree(m) * o->margin * (double)o->candidates);
    if (in && in->explained) w->explained = arena_take(&w->arena, (size_t)net->arch->count * sizeof(struct node *));
    build(k, squares);
    w->exec = exec_open(o->device, w->plan, pool, e);
    if (!w->exec) {
        kkt_free(k);
        return NULL;
    }
    model_bind(net, &w->nodes, w->exec, &w->binding);
    size_t n = (size_t)o->candidates, columns = (size_t)k->columns, classes = (size_t)k->classes;
    size_t all = n * (size_t)o->restarts;
    k->y = memory_zero(all * sizeof *k->y);
    k->x = memory_zero(all * columns * sizeof(float));
    k->l = memory_zero(all * classes * sizeof(float));
    w->signs = memory_zero(n * classes * sizeof(float));
    float **rows[] = {&w->dx_row, &w->m_x, &w->best_x};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) *rows[i] = memory_zero(n * columns * sizeof(float));
    float **multipliers[] = {&w->dl_row, &w->m_l, &w->v_l, &w->best_l};
    for (size_t i = 0; i < sizeof multipliers / sizeof *multipliers; i++)
        *multipliers[i] = memory_zero(n * classes * sizeof(float));
    w->v_x = memory_zero(n * sizeof(float));
    if (in) {
        w->basis_data = memory_take((size_t)(in->pixels * in->columns) * sizeof(float));
        for (int64_t i = 0; i < in->pixels * in->columns; i++) w->basis_data[i] = (float)in->basis[i];
    }
    if (exec_real_size(w->exec) == 4) {  // the same in every run; doubles are set with the rest
        exec_set(w->exec, w->sign, w->signs);
        if (in) exec_set(w->exec, w->basis, w->basis_data);
        if (in) exec_set(w->exec, w->mean, in->mean);
        for (int i = 0; w->explained && i < net->arch->count; i++)
            if (w->explained[i]) exec_set(w->exec, w->explained[i], in->explained + net->arch->param[i].offset);
    }
    k->history = memory_take((size_t)(o->restarts * o->steps + 1) * sizeof *k->history);
    for (int64_t i = 0; i < o->restarts * o->steps; i++) k->history[i] = NAN;
    k->residual = memory_take((size_t)(o->restarts + 1) * sizeof *k->residual);
    for (int64_t i = 0; i < o->restarts; i++) k->residual[i] = NAN;
    for (int64_t i = 0; i < o->restarts; i++) start(k, i);
    return k;
}

void kkt_free(struct kkt *k) {
    if (!k) return;
    struct kkt_engine *w = k->engine;
    exec_free(w->exec);
    plan_free(w->plan);
    graph_free(w->g);
    arena_free(&w->arena);
    model_unbind(&w->binding);
    void *own[] = {w->signs, w->basis_data, w->dx_row, w->dl_row, w->m_x, w->v_x, w->m_l, w->v_l, w->best_x, w->best_l, w->wide,
                   w, k->y, k->x, k->l, k->history, k->residual, k};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) free(own[i]);
}

const struct plan *kkt_plan(const struct kkt *k) { return k->engine->plan; }
void kkt_profile(struct kkt *k, double seconds[PARTS]) { exec_profile(k->engine->exec, seconds); }

// ---- a run of the plan

static double *widen(double **at, const float *x, int64_t n) {
    double *start = *at;
    for (int64_t i = 0; x && i < n; i++) start[i] = x[i];
    *at += n;
    return start;
}

static bool run_wide(struct kkt *k, const float *x, const float *l, double sharpness, double *residual, float *dx, float *dl,
                     struct error *e) {
    struct kkt_engine *w = k->engine;
    int64_t nx = k->o.candidates * k->columns, nl = k->o.candidates * k->classes, pixels = k->in ? k->in->pixels : 0;
    const struct arch *a = net_of(k)->arch;
    if (!w->wide) w->wide = memory_take((size_t)(2 * nx + 3 * nl + pixels * (k->columns + 1) + a->size + 1) * sizeof *w->wide);
    double *at = w->wide;
    exec_set(w->exec, w->x, widen(&at, x, nx));
    exec_set(w->exec, w->l, widen(&at, l, nl));
    exec_set(w->exec, w->sign, widen(&at, w->signs, nl));
    exec_set(w->exec, w->sharpness, &sharpness);
    if (k->in) {
        exec_set(w->exec, w->basis, widen(&at, w->basis_data, pixels * k->columns));
        exec_set(w->exec, w->mean, widen(&at, k->in->mean, pixels));
    }
    for (int i = 0; w->explained && i < a->count; i++)
        if (w->explained[i]) exec_set(w->exec, w->explained[i], widen(&at, k->in->explained + a->param[i].offset, a->param[i].count));
    double *gx = widen(&at, NULL, nx), *gl = widen(&at, NULL, nl);
    exec_get(w->exec, w->residual, residual);
    exec_get(w->exec, w->dx, gx);
    exec_get(w->exec, w->dl, gl);
    if (!exec_run(w->exec, k->o.candidates, e)) return false;
    for (int64_t i = 0; i < nx; i++) dx[i] = (float)gx[i];
    for (int64_t i = 0; i < nl; i++) dl[i] = (float)gl[i];
    return true;
}

static int64_t coarse_steps(const struct kkt *k) { return k->o.steps - (int64_t)(k->o.polish * (double)k->o.steps); }

static double sharpness_at(const struct kkt *k, int64_t step) {
    int64_t coarse = coarse_steps(k);
    const double *s = k->o.sharpness;
    if (step < coarse) return s[0] * pow(s[1] / s[0], (double)step / (double)coarse);
    return s[1] / 3 * pow(9, (double)(step - coarse) / (double)(k->o.steps - coarse));
}

bool kkt_gradient(struct kkt *k, int64_t restart, int64_t step, double *residual, float *dx, float *dl, struct error *e) {
    struct kkt_engine *w = k->engine;
    const float *x = k->x + restart * k->o.candidates * k->columns, *l = k->l + restart * k->o.candidates * k->classes;
    double sharpness = sharpness_at(k, step);
    if (exec_real_size(w->exec) == 8) return run_wide(k, x, l, sharpness, residual, dx, dl, e);
    float sharp = (float)sharpness, value;
    exec_set(w->exec, w->x, x);
    exec_set(w->exec, w->l, l);
    exec_set(w->exec, w->sharpness, &sharp);
    exec_get(w->exec, w->residual, &value);
    exec_get(w->exec, w->dx, dx);
    exec_get(w->exec, w->dl, dl);
    if (!exec_run(w->exec, k->o.candidates, e)) return false;
    *residual = value;
    return true;
}

// ---- the descent

// Adam (Kingma & Ba 2015). shared: one second moment for a row, the mean of its squares.
static void adam(double lr, int64_t step, int64_t rows, int64_t columns, bool shared, float *p, const float *g, float *m,
                 float *v) {
    float rate = (float)(lr / (1 - pow(.9, (double)step))), unbias = (float)(1 / (1 - pow(.999, (double)step)));
    for (int64_t i = 0; i < rows; i++, p += columns, g += columns, m += columns) {
        float common = 0;
        for (int64_t j = 0; shared && j < columns; j++) common += g[j] * g[j];
        if (shared) v[i] = .999f * v[i] + .001f * common / (float)columns;
        float root = shared ? rate / (sqrtf(v[i] * unbias) + 1e-12f) : 0;
        for (int64_t j = 0; j < columns; j++) {
            m[j] = .9f * m[j] + .1f * g[j];
            if (!shared) {
                float *own = v + i * columns + j;
                *own = .999f * *own + .001f * g[j] * g[j];
                root = rate / (sqrtf(*own * unbias) + 1e-12f);
            }
            p[j] -= root * m[j];
        }
    }
}

// The draws of a restart. Signs are the same in all.
static void start(struct kkt *k, int64_t restart) {
    int64_t n = k->o.candidates;
    char purpose[32];
    snprintf(purpose, sizeof purpose, k->o.round ? "invert/kkt/%d" : "invert/kkt", k->o.round);
    struct stream stream = rng_stream(k->o.seed, purpose);
    for (int64_t i = 0; i < n; i++) {
        float *x = k->x + (restart * n + i) * k->columns, *l = k->l + (restart * n + i) * k->classes;
        rng_normal(stream, (uint32_t)i, 0, (uint32_t)restart, x, (long)k->columns);
        for (int64_t j = 0; j < k->columns; j++) {
            double mean = k->in ? 0 : k->m->mean_count ? k->m->mean[k->m->mean_count > 1 ? j : 0] : .5;
            x[j] = (float)(mean + k->o.start * x[j]);
        }
        if (k->in && k->in->last > 0) x[k->columns - 1] = (float)k->in->last;
        int64_t y = k->y[restart * n + i] = i * k->classes / n;
        for (int64_t c = 0; c < k->classes; c++) {
            k->engine->signs[i * k->classes + c] = c == y ? 1 : -1;
            l[c] = c == y ? 1 : -.1f;
        }
    }
}

int64_t kkt_start(struct kkt *k, const float *image, const int64_t *y, int64_t count) {
    int64_t all = k->o.restarts * k->o.candidates, pixels = shape_count(&k->m->arch->input), started = 0;
    int64_t *next = memory_zero((size_t)k->classes * sizeof *next);  // of each class: the first candidate that may be without
    for (int64_t i = 0; i < count; i++, image += pixels) {
        int64_t *at = &next[y[i]];
        while (*at < all && k->y[*at] != y[i]) ++*at;
        if (*at == all) continue;
        float *x = k->x + (*at)++ * k->columns;
        if (k->in) reduced_coordinates(k->in, image, 1, x);
        else memcpy(x, image, (size_t)pixels * sizeof *x);
        started++;
    }
    free(next);
    return started;
}

static void forget(struct kkt *k) {
    struct kkt_engine *w = k->engine;
    size_t n = (size_t)k->o.candidates, columns = (size_t)k->columns, classes = (size_t)k->classes;
    memset(w->m_x, 0, n * columns * sizeof(float));
    memset(w->v_x, 0, n * sizeof(float));
    memset(w->m_l, 0, n * classes * sizeof(float));
    memset(w->v_l, 0, n * classes * sizeof(float));
    w->best = INFINITY;
}

static void keep_best(struct kkt *k, const float *x, const float *l, double residual) {
    struct kkt_engine *w = k->engine;
    if (!(residual < w->best)) return;
    w->best = residual;
    memcpy(w->best_x, x, (size_t)(k->o.candidates * k->columns) * sizeof(float));
    memcpy(w->best_l, l, (size_t)(k->o.candidates * k->classes) * sizeof(float));
}

static bool run_restart(struct kkt *k, struct error *e) {
    struct kkt_engine *w = k->engine;
    int64_t n = k->o.candidates, steps = k->o.steps, last = steps - steps / 10 - 1;
    float *x = k->x + k->restart * n * k->columns, *l = k->l + k->restart * n * k->classes;
    int64_t coarse = coarse_steps(k);
    for (; k->step < steps && !out_stopping(); k->step++) {
        bool fine = k->step >= coarse;
        int64_t at = fine ? k->step - coarse : k->step;
        double residual, fall = .5 * (1 + cos(M_PI * (double)at / (double)(fine ? steps - coarse : coarse)));
        if (fine) fall *= POLISH_RATE;
        if (!at) forget(k);
        if (!kkt_gradient(k, k->restart, k->step, &residual, w->dx_row, w->dl_row, e)) return false;
        if (!isfinite(residual))
            return error_set(e, EXIT_INPUT, "restart %lld, step %lld: the residual is not finite; a smaller learning rate may "
                             "help", (long long)k->restart, (long long)k->step);
        k->history[k->restart * steps + k->step] = residual;
        if (k->step >= last) keep_best(k, x, l, residual);
        for (int64_t i = 0; k->in && k->in->last > 0 && i < n; i++) w->dx_row[(i + 1) * k->columns - 1] = 0;
        adam(k->o.lr * fall, at + 1, n, k->columns, true, x, w->dx_row, w->m_x, w->v_x);
        adam(k->o.lr_multiplier * fall, at + 1, n, k->classes, false, l, w->dl_row, w->m_l, w->v_l);
        if (k->progress && k->step % 16 == 0) {
            char note[64];
            snprintf(note, sizeof note, "residual %.4f", sqrt(residual));
            progress_step(k->progress, (long)(k->restart * steps + k->step), note);
        }
    }
    if (k->step < steps) return true;
    memcpy(x, w->best_x, (size_t)(n * k->columns) * sizeof(float));
    memcpy(l, w->best_l, (size_t)(n * k->classes) * sizeof(float));
    k->residual[k->restart++] = w->best;
    k->step = 0;
    return true;
}

bool kkt_run(struct kkt *k, bool *interrupted, struct error *e) {
    while (k->restart < k->stop && !out_stopping())
        if (!run_restart(k, e)) return false;
    *interrupted = out_stopping();
    return true;
}

// ---- checkpoints

enum { PLACE = 2, SAVED = 12 };

static void parts_of(const struct kkt *k, int64_t place[PLACE], struct checkpoint_part out[SAVED]) {
    struct kkt_engine *w = k->engine;
    int64_t n = k->o.candidates, x = n * k->columns, l = n * k->classes, restarts = k->o.restarts;
    const struct checkpoint_part part[SAVED] = {
        {"assay.run.place", I64, 1, {PLACE}, place},
        {"assay.run.x", F32, 1, {restarts * x}, k->x},
        {"assay.run.l", F32, 1, {restarts * l}, k->l},
        {"assay.run.best_x", F32, 1, {x}, w->best_x},
        {"assay.run.best_l", F32, 1, {l}, w->best_l},
        {"assay.run.m_x", F32, 1, {x}, w->m_x},
        {"assay.run.v_x", F32, 1, {n}, w->v_x},
        {"assay.run.m_l", F32, 1, {l}, w->m_l},
        {"assay.run.v_l", F32, 1, {l}, w->v_l},
        {"assay.run.history", F64, 2, {restarts, k->o.steps}, k->history},
        {"assay.run.residual", F64, 1, {restarts}, k->residual},
        {"assay.run.best", F64, 0, {0}, &w->best},
    };
    memcpy(out, part, sizeof part);
}

bool kkt_save(const struct kkt *k, const json_t *identity, const char *path, struct error *e) {
    struct checkpoint_part part[SAVED];
    int64_t place[PLACE] = {k->restart, k->step};
    parts_of(k, place, part);
    struct checkpoint c = checkpoint_begin(identity, part, SAVED);
    return checkpoint_end(&c, path, e);
}

bool kkt_resume(struct kkt *k, const json_t *identity, const char *path, struct error *e) {
    struct checkpoint_part part[SAVED];
    int64_t place[PLACE];
    struct blob *b = checkpoint_open(path, identity, e);
    if (!b) return false;
    parts_of(k, place, part);
    bool fine = checkpoint_take(b, part, 1, e);
    if (fine && (place[0] < 0 || place[0] > k->o.restarts || place[1] < 0 || place[1] >= k->o.steps))
        fine = blob_refuse(b, e, "assay.run.place: restart %lld, step %lld", (long long)place[0], (long long)place[1]);
    fine = fine && checkpoint_take(b, part, SAVED, e);
    if (fine) {
        k->restart = place[0];
        k->step = place[1];
        if (k->restart > k->stop || (k->restart == k->stop && k->step)) k->stop = k->o.restarts;  // it went on past the look
    }
    blob_free(b);
    return fine;
}

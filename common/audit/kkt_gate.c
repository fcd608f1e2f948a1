// kkt_gate.c: the residual's graph, its least over multipliers of given signs, and over derivatives on kinks in turn.
#include "kkt_gate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/stats.h"
#include "../engine/grad.h"
#include "../io/record.h"
#include "../nn/settle.h"
#include "candidates.h"

// Multipliers are l = sign v with v >= 0.
struct gate {
    const struct model *m;
    struct pool *pool;
    int64_t n, width, count;  // images, neurons of the first layer (0: no kinks), multipliers
    float *image;             // [n][C H W]
    int64_t *y;
    double *sign;             // [count]: 1 for the own class, else -1
    double reach, *broad;     // of the Hessian: about its largest eigenvalue, and nearly its vector
    struct arena arena;
    struct graph *g;
    struct node *x, *l, *derivative, *target, *residual, *dl, *slope;
    struct model_nodes nodes;
    struct model_binding binding;
    struct plan *plan;
    struct exec *exec;
    float *multiplier, *gradient, *logits;    // [n][classes]
    float *slopes, *inputs, *derivatives;     // [n][width]: d logits / d activations, pre-activations, ReLU's derivative
};

// ---- the residual

// |target theta - sum_ik l_ik grad z_k|^2 over |theta|^2. The gradient of a first layer is written with its ReLUs' derivative
// apart: that of its outputs times `derivative`, led on into its weights.
static void build(struct gate *t, double squares) {
    struct graph *g = t->g = graph_new();
    const struct arch *a = t->m->arch;
    const struct arch_build *b = &t->nodes.arch;
    const struct arch_tensor *bias, *first = arch_first_linear(a, &bias);
    struct node **d = arena_take(&t->arena, (size_t)(a->count + 1) * sizeof *d), *sum = NULL;
    t->x = graph_input(g, "images", true, a->input);
    t->l = graph_input(g, "multipliers", true, shape_of(1, t->m->classes));
    t->target = graph_input(g, "target", false, shape_of(1, 1));
    model_build(t->m, g, &t->arena, &t->nodes, t->x);
    grad_of(g, t->nodes.logits, t->l, b->param, a->count, d);
    if (b->first_out && !first->fixed) {
        int64_t at = first - a->param;  // its bias comes next
        t->derivative = graph_input(g, "derivative", true, b->first_in->shape);
        grad_of(g, t->nodes.logits, t->l, &b->first_out, 1, &t->slope);
        grad_of(g, b->first_in, graph_mul(g, t->derivative, t->slope), b->param + at, 1 + (bias != NULL), d + at);
    }
    for (int i = 0; i < a->count; i++) {
        if (a->param[i].fixed) continue;
        struct shape ones = {.rank = d[i]->shape.rank};
        for (int k = 0; k < ones.rank; k++) ones.dim[k] = 1;
        struct node *target = graph_broadcast(g, graph_reshape(g, t->target, ones), d[i]->shape);
        struct node *part = graph_sum_all(g, graph_square(g, graph_sub(g, graph_mul(g, target, b->param[i]), d[i])));
        sum = sum ? graph_add(g, sum, part) : part;
    }
    t->residual = graph_scale(g, sum, 1 / squares);
    grad_of(g, t->residual, NULL, &t->l, 1, &t->dl);
    struct node *const outputs[] = {t->residual, t->dl, t->nodes.logits, b->first_in, t->slope};
    t->plan = plan_new(g, outputs, t->slope ? 5 : 3);
}

static float *floats(int64_t n) { return memory_zero((size_t)(n + 1) * sizeof(float)); }
static double *doubles(int64_t n) { return memory_zero((size_t)(n + 1) * sizeof(double)); }

static bool gate_open(struct gate *t, const struct images *members, double squares, struct error *e) {
    const struct model *m = t->m;
    t->count = t->n * m->classes;
    t->image = floats(t->n * members->size);
    t->y = memory_take((size_t)t->n * sizeof *t->y);
    t->sign = doubles(t->count);
    for (int64_t i = 0; i < t->n; i++) {
        images_row(members, i, t->image + i * members->size);
        t->y[i] = model_label(m, members->y[i]);
        for (int64_t k = 0; k < m->classes; k++) t->sign[i * m->classes + k] = k == t->y[i] ? 1 : -1;
    }
    build(t, squares);
    t->width = t->slope ? shape_count(&t->slope->shape) : 0;
    t->broad = doubles(t->count);
    for (int64_t i = 0; i < t->count; i++) t->broad[i] = 1;
    float **rows[] = {&t->multiplier, &t->gradient, &t->logits}, **pairs[] = {&t->slopes, &t->inputs, &t->derivatives};
    for (int i = 0; i < 3; i++) *rows[i] = floats(t->count), *pairs[i] = floats(t->n * t->width);
    t->exec = exec_open("cpu", t->plan, t->pool, e);
    if (!t->exec) return false;
    model_bind(m, &t->nodes, t->exec, &t->binding);
    exec_set(t->exec, t->x, t->image);
    exec_set(t->exec, t->l, t->multiplier);
    exec_get(t->exec, t->dl, t->gradient);
    exec_get(t->exec, t->nodes.logits, t->logits);
    if (!t->slope) return true;
    exec_set(t->exec, t->derivative, t->derivatives);
    exec_get(t->exec, t->slope, t->slopes);
    exec_get(t->exec, t->nodes.arch.first_in, t->inputs);
    return true;
}

static void gate_close(struct gate *t) {
    exec_free(t->exec);
    plan_free(t->plan);
    graph_free(t->g);
    arena_free(&t->arena);
    model_unbind(&t->binding);
    void *own[] = {t->image,    t->y,      t->sign,   t->broad,  t->multiplier,
                   t->gradient, t->logits, t->slopes, t->inputs, t->derivatives};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) free(own[i]);
}

// The squared residual at v, and half its gradient in v: H v - target b.
static bool evaluate(struct gate *t, const double *v, float target, double *residual, double *gradient, struct error *e) {
    float value;
    for (int64_t i = 0; i < t->count; i++) t->multiplier[i] = (float)(t->sign[i] * v[i]);
    exec_set(t->exec, t->target, &target);
    exec_get(t->exec, t->residual, &value);
    if (!exec_run(t->exec, t->n, e)) return false;
    if (!isfinite(value)) return error_set(e, EXIT_INPUT, "the KKT residual at the truth is %s", isnan(value) ? "nan" : "inf");
    for (int64_t i = 0; i < t->count; i++) gradient[i] = t->sign[i] * t->gradient[i] / 2;
    *residual = value;
    return true;
}

static bool product(struct gate *t, const double *v, double *out, struct error *e) {
    double spare;
    return evaluate(t, v, 0, &spare, out, e);
}

// ---- the least over v >= 0

static double dot(const double *a, const double *b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

// The largest eigenvalue of H, by power iteration from where the last one ended.
static bool find_reach(struct gate *t, int times, struct error *e) {
    double *next = doubles(t->count);
    bool fine = true;
    for (int i = 0; i < times && fine; i++) {
        double length = sqrt(dot(t->broad, t->broad, t->count));
        for (int64_t k = 0; k < t->count; k++) t->broad[k] /= length;
        fine = product(t, t->broad, next, e);
        t->reach = sqrt(dot(next, next, t->count));
        if (!fine || !(t->reach > 0)) break;
        memcpy(t->broad, next, (size_t)t->count * sizeof *next);
    }
    free(next);
    return fine;
}

// A gradient in two parts: of what is free to move, and of what is at 0 and wants to leave it. Returns whether the first part,
// shortened to what a step of 1 / reach could use, is the larger.
static bool split(const struct gate *t, const double *v, const double *g, double *free_part, double *chopped) {
    double useful = 0, bound = 0;
    for (int64_t i = 0; i < t->count; i++) {
        free_part[i] = v[i] > 0 ? g[i] : 0;
        chopped[i] = v[i] > 0 ? 0 : fmin(g[i], 0);
        useful += free_part[i] * fmin(free_part[i], v[i] * t->reach);
        bound += chopped[i] * chopped[i];
    }
    return useful >= bound;
}

// v + step d, cut at 0.
static void move(const struct gate *t, double *v, double step, const double *d) {
    for (int64_t i = 0; i < t->count; i++) v[i] = fmax(0, v[i] + step * d[i]);
}

enum { PRODUCTS = 500, WINDOW = 50 };
static const double ENOUGH = 1e-4;  // WINDOW products that lower the squared residual by less than this share end it

// Lowers the squared residual over v >= 0: conjugate gradients among what is free; where that meets the bound, a projected
// step of 1 / reach; and where what is bound has the larger part of the gradient, a step that frees it. *settled: it stopped
// falling.
static bool improve(struct gate *t, double *v, double *residual, bool *settled, struct error *e) {
    int64_t n = t->count;
    double *g = doubles(6 * n), *p = g + n, *h = p + n, *part = h + n, *chopped = part + n, *best = chopped + n;
    bool fine = find_reach(t, t->reach > 0 ? 2 : 12, e) && evaluate(t, v, 1, residual, g, e), fresh = true;
    *settled = !(t->reach > 0);
    memcpy(best, v, (size_t)n * sizeof *v);
    double start = *residual, seen = start;
    for (int i = 1; fine && !*settled && i <= PRODUCTS; i++) {
        bool inside = split(t, v, g, part, chopped);
        const double *d = !inside ? chopped : fresh ? part : p;
        if (d == part) memcpy(p, part, (size_t)n * sizeof *p);
        if (!(fine = product(t, d, h, e))) break;
        double slope = dot(g, d, n), curvature = dot(d, h, n), step = slope / curvature, most = INFINITY;
        if (!(slope > 0 && curvature > 0)) {  // as low as these numbers go
            *settled = true;
            break;
        }
        for (int64_t k = 0; k < n && inside; k++)
            if (d[k] > 0) most = fmin(most, v[k] / d[k]);
        bool whole = step <= most;
        if (!whole) step = most;
        *residual -= 2 * step * slope - step * step * curvature;
        move(t, v, -step, d);
        for (int64_t k = 0; k < n; k++) g[k] -= step * h[k];
        fresh = !inside || !whole;
        if (!whole) {  // on to where several meet the bound
            split(t, v, g, part, chopped);
            move(t, v, -1 / t->reach, part);
            if (!(fine = evaluate(t, v, 1, residual, g, e))) break;
        } else if (inside) {
            split(t, v, g, part, chopped);
            double along = dot(part, h, n) / curvature;
            for (int64_t k = 0; k < n; k++) p[k] = part[k] - along * p[k];
        }
        if (i % WINDOW) continue;
        *settled = !(*residual < (1 - ENOUGH) * seen);
        seen = *residual;
    }
    if (fine && (fine = evaluate(t, v, 1, residual, g, e)) && *residual > start) {
        memcpy(v, best, (size_t)n * sizeof *v);
        *residual = start;
    }
    free(g);
    return fine;
}

// ---- the three figures

// Coupled L2 of a plain cross-entropy, or 0 where the record does not say that there was one.
static double decay_of(const struct model *m) {
    double l2 = model_coupled_l2(m), smoothing = 0;
    if (!(l2 > 0)) return 0;
    const json_t *weights = record_get(m->blob->record, "config.class_weights");
    bool weighted = json_is_string(weights) && strcmp(json_string_value(weights), "none");
    record_get_real(m->blob->record, "config.label_smoothing", &smoothing);
    return weighted || smoothing > 0 ? 0 : l2;
}

// ReLU's derivative at the pre-activations of the last run.
static void take_steps(struct gate *t) {
    for (int64_t i = 0; i < t->n * t->width; i++) t->derivatives[i] = t->inputs[i] > 0;
}

// Probabilities and pre-activations come of a run at v = 0, whatever the derivatives are.
static bool dictate(struct gate *t, double *v, struct kkt_gate *out, struct error *e) {
    double *g = doubles(t->count), residual, squares = 0;
    int64_t classes = t->m->classes;
    bool fine = evaluate(t, v, 1, &residual, g, e);
    free(g);
    for (int64_t i = 0; i < t->n * t->width; i++) squares += (double)t->inputs[i] * t->inputs[i];
    if (t->width) out->bound = KKT_GATE_KINK * sqrt(squares / (double)(t->n * t->width));
    take_steps(t);
    for (int64_t i = 0; i < t->count; i++) {
        double p = candidates_probability(t->logits + i / classes * classes, classes, i % classes);
        v[i] = t->sign[i] > 0 ? 1 - p : p;
    }
    return fine;
}

// v: the dictated multipliers with the scale that fits best, which is where the search for the best ones starts.
static bool measure_given(struct gate *t, double *given, double *v, double *residual, struct kkt_gate *out, struct error *e) {
    double *g = doubles(2 * t->count), *h = g + t->count, l2 = decay_of(t->m);
    bool fine = dictate(t, given, out, e) && evaluate(t, v, 1, residual, g, e) && product(t, given, h, e);
    double along = -dot(g, given, t->count), curvature = dot(given, h, t->count);
    double fit = curvature > 0 ? fmax(0, along / curvature) : 0;
    out->fitted = !(l2 > 0);
    out->scale = out->fitted ? fit : 1 / ((double)t->n * l2);
    for (int64_t i = 0; i < t->count; i++) {
        v[i] = fit * given[i];
        given[i] *= out->scale;
    }
    fine = fine && evaluate(t, given, 1, residual, g, e);
    out->given = sqrt(*residual);
    free(g);
    return fine;
}

// Frees the derivatives on kinks at multipliers v, from where they stand.
static bool free_derivatives(struct gate *t, const double *v, double *residual, struct kkt_gate *out, struct error *e) {
    int64_t pairs = t->n * t->width;
    double *u = doubles(2 * pairs), *s = u + pairs, *g = doubles(t->count);
    bool fine = evaluate(t, v, 1, residual, g, e);
    for (int64_t i = 0; i < pairs; i++) {
        u[i] = -t->slopes[i];
        s[i] = t->derivatives[i];
    }
    settle_kinks(t->m, t->image, t->n, 1, out->bound, u, s, &out->kinks, t->pool);
    for (int64_t i = 0; i < pairs; i++) t->derivatives[i] = (float)s[i];
    fine = fine && evaluate(t, v, 1, residual, g, e);
    free(u);
    free(g);
    return fine;
}

enum { ROUNDS = 20 };

// Derivatives and multipliers in turn: neither step raises the residual. v: the best multipliers, or, where they leave less once
// the derivatives are free, the given ones.
static bool measure_free(struct gate *t, const double *given, double *v, struct kkt_gate *out, struct error *e) {
    double by_given = NAN, residual = NAN;
    bool fine = free_derivatives(t, given, &by_given, out, e);
    take_steps(t);
    fine = fine && free_derivatives(t, v, &residual, out, e);
    if (by_given < residual) {
        memcpy(v, given, (size_t)t->count * sizeof *v);
        take_steps(t);
    }
    bool settled = false;
    for (int round = 0; round < ROUNDS && fine && !settled; round++) {
        double before = residual;
        fine = free_derivatives(t, v, &residual, out, e) && improve(t, v, &residual, &settled, e);
        settled = settled && round && !(residual < .99 * before);
    }
    out->pairs = t->n * t->width;
    out->settled = out->settled && settled;
    out->free_kinks = fmin(sqrt(residual), out->best);
    return fine;
}

bool kkt_gate_fits(const struct model *m, const struct images *s, struct error *e) {
    const int64_t *in = m->arch->input.dim;
    double squares = model_trained_squares(m);
    if (s->channels != in[0] || s->height != in[1] || s->width != in[2])
        return error_set(e, EXIT_INPUT, "%s: images of [%d, %d, %d], and the model takes [%lld, %lld, %lld]", s->name,
                         s->channels, s->height, s->width, (long long)in[0], (long long)in[1], (long long)in[2]);
    if (!s->y) return error_set(e, EXIT_INPUT, "%s: classes (tensor y) expected", s->name);
    for (int64_t i = 0; !m->binary && i < s->count; i++)
        if (s->y[i] >= m->classes)
            return error_set(e, EXIT_INPUT, "%s: label %lld of image %lld, and the model has %d classes", s->name,
                             (long long)s->y[i], (long long)i, m->classes);
    if (s->count > KKT_GATE_IMAGES)
        return error_set(e, EXIT_INPUT, "%s: %lld images, and the KKT residual is measured on up to %d", s->name,
                         (long long)s->count, KKT_GATE_IMAGES);
    return (squares > 0 && isfinite(squares)) ||
           error_set(e, EXIT_INPUT, "the trained weights are %s", squares == 0 ? "all zero" : "not finite");
}

bool kkt_gate_measure(const struct model *m, const struct images *members, struct kkt_gate *out, struct pool *pool,
                      struct error *e) {
    double residual = NAN;
    *out = (struct kkt_gate){.free_kinks = NAN};
    if (!kkt_gate_fits(m, members, e)) return false;
    struct gate t = {.m = m, .pool = pool, .n = members->count};
    bool fine = gate_open(&t, members, model_trained_squares(m), e);
    double *given = doubles(2 * t.count), *v = given + t.count;
    fine = fine && measure_given(&t, given, v, &residual, out, e) && improve(&t, v, &residual, &out->settled, e);
    out->best = fmin(sqrt(residual), out->given);  // but for rounding it is
    if (!t.width) out->refused = "no ReLU follows a trained first layer that is linear in the whole image";
    else fine = fine && measure_free(&t, given, v, out, e);
    free(given);
    gate_close(&t);
    return fine;
}

void kkt_gate_save(const struct kkt_gate *gate, json_t *record) {
    record_real(record, "metrics.kkt_gate.given", gate->given);
    record_real(record, "metrics.kkt_gate.best", gate->best);
    if (gate->refused) record_text(record, "metrics.kkt_gate.free_kinks_refused", gate->refused);
    else {
        record_real(record, "metrics.kkt_gate.free_kinks", gate->free_kinks);
        record_int(record, "metrics.kkt_gate.kinks", gate->kinks);
        record_int(record, "metrics.kkt_gate.pairs", gate->pairs);
    }
    record_real(record, "metrics.kkt_gate.scale", gate->scale);
    record_set(record, "metrics.kkt_gate.scale_fitted", json_boolean(gate->fitted));
    record_set(record, "metrics.kkt_gate.settled", json_boolean(gate->settled));
    if (gate->settled) return;
    record_note(record, "kkt_gate: the search stopped before its end, so best and free_kinks are upper bounds");
}

void kkt_gate_pool(const struct blob *const *score, int scores, json_t *record) {
    static const char *const key[] = {"metrics.kkt_gate.given", "metrics.kkt_gate.best", "metrics.kkt_gate.free_kinks"};
    double *value = memory_take((size_t)scores * sizeof *value);
    for (size_t k = 0; k < sizeof key / sizeof *key; k++) {
        int have = 0;
        while (have < scores && record_get_real(score[have]->record, key[k], &value[have])) have++;
        if (scores && have == scores) record_real(record, key[k], stats_median(value, scores));
    }
    free(value);
}

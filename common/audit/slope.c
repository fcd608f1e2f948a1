// slope.c: one plan with two outputs, the logits and the gradient in the images. The derivative is asked for in
// the images alone, so the planner never sees a weight's gradient.
#include "slope.h"

#include <stdlib.h>

#include "../engine/grad.h"
#include "../nn/loss.h"

const char *const slope_loss_name[2] = {[SLOPE_CE] = "ce", [SLOPE_MARGIN] = "margin"};

struct slope {
    const struct model *m;
    struct arena arena;
    struct graph *g;
    struct node *x, *y, *gradient;
    struct model_nodes nodes;
    struct plan *plan;
    struct exec *exec;
    struct model_binding binding;
    int64_t size, room;
    double *wide;  // [room][images, logits, gradient], on a device of doubles
};

struct slope *slope_open(const struct model *m, enum slope_loss loss, const char *device, struct pool *pool, struct error *e) {
    struct slope *s = memory_zero(sizeof *s);
    struct graph *g = s->g = graph_new();
    s->m = m;
    s->size = shape_count(&m->arch->input);
    s->x = graph_input(g, "images", true, m->arch->input);
    s->y = graph_input_index(g, "labels", true, shape_of(1, 1));
    model_build(m, g, &s->arena, &s->nodes, s->x);
    struct node *z = s->nodes.logits;
    struct node *l = loss == SLOPE_CE ? loss_cross_entropy(g, z, s->y, 0, NULL) : graph_neg(g, loss_margin(g, z, s->y));
    grad_of(g, l, NULL, &s->x, 1, &s->gradient);
    s->plan = plan_new(g, (struct node *const[]){z, s->gradient}, 2);
    s->exec = exec_open(device, s->plan, pool, e);
    if (!s->exec) {
        slope_free(s);
        return NULL;
    }
    model_bind(m, &s->nodes, s->exec, &s->binding);
    return s;
}

void slope_free(struct slope *s) {
    if (!s) return;
    exec_free(s->exec);
    plan_free(s->plan);
    graph_free(s->g);
    arena_free(&s->arena);
    model_unbind(&s->binding);
    free(s->wide);
    free(s);
}

const struct plan *slope_plan(const struct slope *s) { return s->plan; }
void slope_profile(struct slope *s, double seconds[PARTS]) { exec_profile(s->exec, seconds); }

static bool run_wide(struct slope *s, const float *x, int64_t n, float *logits, float *gradient, struct error *e) {
    int64_t pixels = n * s->size, outputs = n * s->m->classes;
    if (n > s->room) {
        free(s->wide);
        s->wide = memory_take((size_t)(2 * pixels + outputs) * sizeof *s->wide);
        s->room = n;
    }
    double *z = s->wide + pixels, *g = z + outputs;
    for (int64_t i = 0; i < pixels; i++) s->wide[i] = x[i];
    exec_set(s->exec, s->x, s->wide);
    exec_get(s->exec, s->nodes.logits, z);
    exec_get(s->exec, s->gradient, g);
    if (!exec_run(s->exec, n, e)) return false;
    for (int64_t i = 0; i < outputs; i++) logits[i] = (float)z[i];
    for (int64_t i = 0; i < pixels; i++) gradient[i] = (float)g[i];
    return true;
}

bool slope_run(struct slope *s, const float *x, const int32_t *y, int64_t n, float *logits, float *gradient, struct error *e) {
    exec_set(s->exec, s->y, y);
    if (exec_real_size(s->exec) == 8) return run_wide(s, x, n, logits, gradient, e);
    exec_set(s->exec, s->x, x);
    exec_get(s->exec, s->nodes.logits, logits);
    exec_get(s->exec, s->gradient, gradient);
    return exec_run(s->exec, n, e);
}

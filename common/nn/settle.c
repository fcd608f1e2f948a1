// settle.c: gradient descent and L-BFGS (Liu & Nocedal 1989; weak Wolfe search by bisection, Lewis & Overton 2013) on the
// loss of all examples at once.
//
// Minima of the smooth forms approach a stationary point of the ReLU network as k grows, and their derivatives
// sigmoid(k x) the multipliers in [0, 1] of its kinks; each k starts from the one before.
#include "settle.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/isa.h"
#include "../base/msg.h"
#include "../base/opt.h"
#include "../base/out.h"
#include "../engine/grad.h"
#include "loss.h"
#include "optim.h"
#include "settle_isa.h"

bool settle_parse(const char *word, enum settle_method *method, int64_t *steps, struct error *e) {
    bool sgd = !strncmp(word, "sgd:", 4), lbfgs = !strncmp(word, "lbfgs:", 6);
    *method = sgd ? SETTLE_SGD : SETTLE_LBFGS;
    if ((sgd || lbfgs) && parse_int(strchr(word, ':') + 1, steps) && *steps >= 0 && *steps <= 1000000) return true;
    return error_set(e, EXIT_USAGE, "settle \"%s\": sgd:STEPS or lbfgs:STEPS with 0 to 1000000 steps expected", word);
}

const char *settle_refused(const struct model *m) {
    if (m->arch->drops) return "dropout makes its loss random";
    if (m->arch->batch_norm) return "batch norm makes an example's loss depend on the others";
    return NULL;
}

// ---- the loss and its gradient

// One network on fixed examples. m is the caller's model, or one that takes coordinates in place of images.
struct problem {
    struct model *m;
    const struct settle_options *o;
    int64_t n, size;       // examples, numbers of an image
    float *images;
    int32_t *label;
    double weight;         // sum of the examples' weights
    struct graph *g;
    struct arena arena;
    struct plan *plan;
    struct exec *exec;
    struct model_nodes nodes;
    struct model_binding binding;
    struct node *x, *y, *scale, *loss, *sharpness, *class_weight, **gradient;
    struct node *in, *slope;  // of the first layer: pre-activations, d loss / d activations; or NULL
    float *theta, *flat;      // flat: the gradient, l2 included
    void *rows, *losses, *out, *one, *sharp, *weights, *slopes;  // as the device takes and gives them
    struct pool *pool;
};

static bool is_wide(const struct problem *p) { return exec_real_size(p->exec) == 8; }

static void *device_reals(const struct problem *p, const float *from, int64_t n) {
    void *to = memory_zero((size_t)(n + 1) * (is_wide(p) ? 8 : 4));
    for (int64_t i = 0; from && i < n; i++)
        if (is_wide(p)) ((double *)to)[i] = from[i];
        else ((float *)to)[i] = from[i];
    return to;
}

static double real_at(const struct problem *p, const void *from, int64_t i) {
    return is_wide(p) ? ((const double *)from)[i] : (double)((const float *)from)[i];
}

static void set_number(const struct problem *p, void *at, double value) {
    if (is_wide(p)) *(double *)at = value;
    else *(float *)at = (float)value;
}

static void build(struct problem *p, bool smooth, bool kinks) {
    struct graph *g = p->g = graph_new();
    const struct arch *a = p->m->arch;
    struct arch_build *b = &p->nodes.arch;
    p->x = graph_input(g, "images", true, a->input);
    p->y = graph_input_index(g, "labels", true, shape_of(1, 1));
    p->scale = graph_input(g, "scale", false, shape_of(1, 1));
    if (smooth) b->smooth = p->sharpness = graph_input(g, "sharpness", false, shape_of(1, 1));
    model_build(p->m, g, &p->arena, &p->nodes, p->x);
    if (p->o->class_weight) p->class_weight = graph_input(g, "class_weight", false, shape_of(1, p->m->classes));
    p->loss = loss_cross_entropy(g, p->nodes.logits, p->y, p->o->smoothing, p->class_weight ? graph_each(g, p->class_weight) : NULL);
    p->gradient = arena_take(&p->arena, (size_t)(a->count + 1) * sizeof *p->gradient);
    struct node **of = arena_take(&p->arena, (size_t)(a->count + 1) * sizeof *of), **outputs = arena_take(&p->arena, (size_t)(a->count + 2) * sizeof *outputs);
    memcpy(of, b->param, (size_t)a->count * sizeof *of);
    kinks = kinks && b->first_out;
    of[a->count] = b->first_out;
    grad_of(g, p->loss, graph_each(g, p->scale), of, a->count + kinks, p->gradient);
    if (kinks) p->slope = p->gradient[a->count];
    outputs[0] = p->loss;
    memcpy(outputs + 1, p->gradient, (size_t)(a->count + kinks) * sizeof *outputs);
    p->plan = plan_new(g, outputs, 1 + a->count + kinks);
}

static bool problem_open(struct problem *p, bool smooth, bool kinks, struct error *e) {
    const struct arch *a = p->m->arch;
    build(p, smooth, kinks);
    p->exec = exec_open(p->o->device, p->plan, p->pool, e);
    if (!p->exec) return false;
    p->theta = p->m->theta;
    p->flat = memory_zero((size_t)(a->size + 1) * sizeof *p->flat);
    p->rows = device_reals(p, p->images, p->n * p->size);
    p->losses = device_reals(p, NULL, p->n);
    p->out = device_reals(p, NULL, a->size);
    p->one = device_reals(p, NULL, 1);
    p->sharp = device_reals(p, NULL, 1);
    p->weights = device_reals(p, NULL, p->m->classes);
    p->weight = 0;
    for (int64_t i = 0; i < p->n; i++) p->weight += p->o->class_weight ? p->o->class_weight[p->label[i]] : 1;
    set_number(p, p->one, p->weight > 0 ? 1 / p->weight : 0);
    size_t real = is_wide(p) ? 8 : 4;
    for (int k = 0; p->o->class_weight && k < p->m->classes; k++) set_number(p, (char *)p->weights + (size_t)k * real, p->o->class_weight[k]);
    exec_set(p->exec, p->x, p->rows);
    exec_set(p->exec, p->y, p->label);
    exec_set(p->exec, p->scale, p->one);
    if (p->class_weight) exec_set(p->exec, p->class_weight, p->weights);
    exec_get(p->exec, p->loss, p->losses);
    for (int i = 0; i < a->count; i++) exec_get(p->exec, p->gradient[i], (char *)p->out + (size_t)a->param[i].offset * real);
    if (p->slope) exec_get(p->exec, p->slope, p->slopes = device_reals(p, NULL, p->n * shape_count(&p->slope->shape)));
    return true;
}

static void problem_close(struct problem *p) {
    exec_free(p->exec);
    plan_free(p->plan);
    graph_free(p->g);
    arena_free(&p->arena);
    model_unbind(&p->binding);
    void *own[] = {p->images, p->label, p->flat, p->rows, p->losses, p->out, p->one, p->sharp, p->weights, p->slopes};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) free(own[i]);
}

static const struct settle_loops *loops(void) {
    return ISA_PICK(settle_loops);
}

// Tiles of a fixed size whose results are added in their order: the same bits whatever the threads.
enum { TILE = 16384 };
struct vectors {
    int64_t n;
    float a;
    const float *x, *y;
    float *to;
    double *part;
};
static void dot_tile(void *data, long tile, int worker) {
    (void)worker;
    struct vectors *v = data;
    int64_t from = (int64_t)tile * TILE, n = v->n - from < TILE ? v->n - from : TILE;
    v->part[tile] = loops()->dot(n, v->x + from, v->y + from);
}
static void along_tile(void *data, long tile, int worker) {
    (void)worker;
    struct vectors *v = data;
    int64_t from = (int64_t)tile * TILE, n = v->n - from < TILE ? v->n - from : TILE;
    loops()->along(n, v->a, v->x + from, v->to + from);
}

static double dot(const struct problem *p, const float *x, const float *y) {
    int64_t n = p->m->arch->size, tiles = (n + TILE - 1) / TILE;
    double part[256], *room = tiles <= 256 ? part : memory_take((size_t)tiles * sizeof *room), sum = 0;
    pool_run(p->pool, (long)tiles, dot_tile, &(struct vectors){.n = n, .x = x, .y = y, .part = room});
    for (int64_t i = 0; i < tiles; i++) sum += room[i];
    if (room != part) free(room);
    return sum;
}

static void along(const struct problem *p, double a, const float *x, float *to) {
    int64_t n = p->m->arch->size;
    pool_run(p->pool, (long)((n + TILE - 1) / TILE), along_tile, &(struct vectors){.n = n, .a = (float)a, .x = x, .to = to});
}

// |theta|^2 of what moves.
static double squares(const struct problem *p) {
    double sum = dot(p, p->theta, p->theta);
    for (int i = 0; i < p->m->arch->count; i++) {
        const struct arch_tensor *t = &p->m->arch->param[i];
        if (t->fixed) sum -= loops()->dot(t->count, p->theta + t->offset, p->theta + t->offset);
    }
    return sum;
}

// J at theta, and its gradient in p->flat.
static bool evaluate(struct problem *p, double sharpness, double *loss, struct error *e) {
    const struct arch *a = p->m->arch;
    double sum = 0;
    if (p->sharpness) {
        set_number(p, p->sharp, sharpness);
        exec_set(p->exec, p->sharpness, p->sharp);
    }
    model_bind(p->m, &p->nodes, p->exec, &p->binding);
    if (!exec_run(p->exec, p->n, e)) return false;
    for (int64_t i = 0; i < p->n; i++) sum += real_at(p, p->losses, i);
    *loss = sum / p->weight + .5 * p->o->l2 * squares(p);
    if (is_wide(p))
        for (int64_t i = 0; i < a->size; i++) p->flat[i] = (float)real_at(p, p->out, i);
    else memcpy(p->flat, p->out, (size_t)a->size * sizeof *p->flat);
    along(p, p->o->l2, p->theta, p->flat);
    for (int i = 0; i < a->count; i++)
        if (a->param[i].fixed) memset(p->flat + a->param[i].offset, 0, (size_t)a->param[i].count * sizeof *p->flat);
    return true;
}

static double residual_of(const struct problem *p) {
    double theta = squares(p);
    return theta > 0 ? sqrt(dot(p, p->flat, p->flat) / theta) / p->o->l2 : NAN;
}

// ---- the examples

static int32_t *take_labels(const struct model *m, const struct dataset *d, const int64_t *index, int64_t n) {
    int32_t *label = memory_take((size_t)(n + 1) * sizeof *label);
    for (int64_t i = 0; i < n; i++) label[i] = model_label(m, d->y[index[i]]);
    return label;
}

static float *take_images(const struct dataset *d, const int64_t *index, int64_t n, struct pool *pool) {
    float *image = memory_take((size_t)(n * dataset_image_size(d) + 1) * sizeof *image);
    model_images(d, index, 0, n, image, pool);
    return image;
}

static struct problem whole_problem(struct model *m, const struct dataset *d, const int64_t *index, int64_t n, const struct settle_options *o,
                                    struct pool *pool) {
    struct problem p = {.m = m, .o = o, .n = n, .size = dataset_image_size(d), .pool = pool};
    p.images = take_images(d, index, n, pool);
    p.label = take_labels(m, d, index, n);
    return p;
}

// Rows [x, 1] (no 1 without a bias) of normalised images.
static double *augmented(const struct model *m, const float *image, int64_t n, int64_t columns) {
    int64_t size = shape_count(&m->arch->input);
    double *row = memory_take((size_t)(n * columns + 1) * sizeof *row);
    for (int64_t i = 0; i < n; i++, image += size) {
        for (int64_t j = 0; j < size; j++)
            row[i * columns + j] = (image[j] - (m->mean_count ? (double)m->mean[m->mean_count > 1 ? j : 0] : 0)) / m->std;
        if (columns > size) row[i * columns + size] = 1;
    }
    return row;
}

static double inner(const double *x, const double *y, int64_t n) {
    double lane[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++) lane[j] += x[i + j] * y[i + j];
    for (; i < n; i++) lane[0] += x[i] * y[i];
    return ((lane[0] + lane[4]) + (lane[1] + lane[5])) + ((lane[2] + lane[6]) + (lane[3] + lane[7]));
}

// ---- coordinates in the examples' span

struct coordinates {
    int64_t n, columns, rank;
    double *row;    // [n][columns]
    double *basis;  // [rank][columns], orthonormal
};

// Gram-Schmidt, every row twice ("twice is enough", Giraud et al. 2005); rows that depend on others add nothing.
static struct coordinates coordinates_of(const struct model *m, const float *image, int64_t n, int64_t columns) {
    struct coordinates c = {.n = n, .columns = columns, .row = augmented(m, image, n, columns)};
    c.basis = memory_take((size_t)(n * columns + 1) * sizeof *c.basis);
    for (int64_t i = 0; i < n; i++) {
        double *v = c.basis + c.rank * columns, before = sqrt(inner(c.row + i * columns, c.row + i * columns, columns));
        memcpy(v, c.row + i * columns, (size_t)columns * sizeof *v);
        for (int pass = 0; pass < 2; pass++)
            for (int64_t k = 0; k < c.rank; k++) {
                const double *q = c.basis + k * columns;
                double t = inner(v, q, columns);
                for (int64_t j = 0; j < columns; j++) v[j] -= t * q[j];
            }
        double after = sqrt(inner(v, v, columns));
        if (!(after > 1e-6 * before)) continue;
        for (int64_t j = 0; j < columns; j++) v[j] /= after;
        c.rank++;
    }
    return c;
}

static void coordinates_free(struct coordinates *c) {
    free(c->row);
    free(c->basis);
}

// The same network behind `rank` coordinates: its first layer has no bias, since the 1 is one of the augmented image's numbers.
static struct model *model_within(const struct model *m, int64_t rank, struct error *e) {
    const char *line = m->arch->line, *from = strstr(line, "linear "), *to = from + strcspn(from, "|");
    while (to > from && to[-1] == ' ') to--;
    size_t room = strlen(line) + 16;
    char *text = memory_take(room);
    bool bare = to - from >= 7 && !strncmp(to - 7, " nobias", 7);
    snprintf(text, room, "%.*s%s%s", (int)(to - line), line, bare ? "" : " nobias", to);
    struct arch *a = arch_parse(text, shape_of(3, 1, 1, (int)rank), m->arch->outputs, e);
    free(text);
    if (!a) return NULL;
    struct model *within = model_new(a, 0);
    within->positive = m->positive;
    return within;
}

// W = V basis, row by row, there and back; everything behind the first layer is the same numbers.
static void move(const struct model *m, struct model *within, const struct coordinates *c, bool back) {
    const struct arch_tensor *bias, *weight = arch_first_linear(m->arch, &bias);
    float *w = m->theta + weight->offset, *b = bias ? m->theta + bias->offset : NULL, *v = within->theta + within->arch->param[0].offset;
    int64_t inputs = weight->shape.dim[1], width = weight->shape.dim[0];
    double *row = memory_take((size_t)c->columns * sizeof *row);
    for (int64_t i = 0; i < width; i++) {
        for (int64_t j = 0; j < c->columns; j++) row[j] = back ? 0 : j < inputs ? w[i * inputs + j] : b[i];
        for (int64_t k = 0; k < c->rank; k++) {
            const double *q = c->basis + k * c->columns;
            if (!back) v[i * c->rank + k] = (float)inner(row, q, c->columns);
            else
                for (int64_t j = 0; j < c->columns; j++) row[j] += v[i * c->rank + k] * q[j];
        }
        for (int64_t j = 0; back && j < c->columns; j++)
            if (j < inputs) w[i * inputs + j] = (float)row[j];
            else b[i] = (float)row[j];
    }
    free(row);
    for (int i = 1, shift = bias != NULL; i < within->arch->count; i++) {
        const struct arch_tensor *inner_one = &within->arch->param[i], *outer = &m->arch->param[i + shift];
        float *a = within->theta + inner_one->offset, *o = m->theta + outer->offset;
        size_t bytes = (size_t)outer->count * sizeof *o;
        if (back) memcpy(o, a, bytes);
        else memcpy(a, o, bytes);
    }
}

static struct problem problem_within(struct model *within, const struct model *m, const struct coordinates *c, const struct dataset *d,
                                     const int64_t *index, const struct settle_options *o, struct pool *pool) {
    struct problem p = {.m = within, .o = o, .n = c->n, .size = c->rank, .pool = pool};
    p.images = memory_take((size_t)(c->n * c->rank + 1) * sizeof *p.images);
    for (int64_t i = 0; i < c->n; i++)
        for (int64_t k = 0; k < c->rank; k++)
            p.images[i * c->rank + k] = (float)inner(c->row + i * c->columns, c->basis + k * c->columns, c->columns);
    p.label = take_labels(m, d, index, c->n);
    return p;
}

// ---- how it goes

struct course {
    int64_t step, steps, said;
    double residual;
    bool interrupted;
};

// False where the work is to stop.
static bool go_on(struct course *c, const struct problem *p, double loss) {
    if (out_stopping()) {
        c->interrupted = true;
        return false;
    }
    if (c->step * 10 / c->steps > c->said) {
        c->said = c->step * 10 / c->steps;
        msg_say("settle %lld/%lld: loss %.8f, residual %.5f", (long long)c->step, (long long)c->steps, loss, c->residual);
    }
    return !(p->o->residual > 0 && c->residual <= p->o->residual);
}

static bool spoilt(const struct problem *p, const struct course *c, double loss, struct error *e) {
    if (isfinite(loss)) return true;
    return error_set(e, EXIT_INPUT, "settle, step %lld: the loss is %s%s", (long long)c->step + 1, isnan(loss) ? "nan" : "inf",
                     p->o->method == SETTLE_SGD ? "; a smaller learning rate may help" : "");
}

// ---- gradient descent

static bool descend(struct problem *p, struct course *c, struct error *e) {
    struct optim optim;
    double loss;
    optim_defaults(&optim, OPTIM_SGD);
    optim.momentum = .9;
    optim_open(&optim, p->m->arch->size);
    bool fine = true;
    for (; fine && c->step < c->steps; c->step++) {
        fine = evaluate(p, 0, &loss, e) && spoilt(p, c, loss, e);
        if (!fine) break;
        c->residual = residual_of(p);
        if (!go_on(c, p, loss)) break;
        double t = .5 * (1 + cos(M_PI * (double)c->step / (double)c->steps));
        if (optim_step(&optim, p->o->lr * (.001 + .999 * t), p->theta, p->flat, p->pool) >= 0)
            fine = error_set(e, EXIT_INPUT, "settle, step %lld: a gradient is not finite; a smaller learning rate may help", (long long)c->step + 1);
    }
    optim_close(&optim);
    return fine;
}

// ---- L-BFGS

enum { PAIRS = 10, TRIALS = 25 };
struct memory {
    float *s[PAIRS], *y[PAIRS];  // the newest at `next` - 1
    double rho[PAIRS], scale;    // 1 / s'y; s'y / y'y of the newest
    int next, count;
    float *direction, *start, *gradient;
};

static void memory_open(struct memory *h, int64_t n) {
    *h = (struct memory){0};
    float **all[] = {&h->direction, &h->start, &h->gradient};
    for (int i = 0; i < 3; i++) *all[i] = memory_zero((size_t)(n + 1) * sizeof(float));
    for (int i = 0; i < PAIRS; i++) {
        h->s[i] = memory_zero((size_t)(n + 1) * sizeof(float));
        h->y[i] = memory_zero((size_t)(n + 1) * sizeof(float));
    }
}

static void memory_close(struct memory *h) {
    free(h->direction);
    free(h->start);
    free(h->gradient);
    for (int i = 0; i < PAIRS; i++) {
        free(h->s[i]);
        free(h->y[i]);
    }
}

// Two loops over the pairs: direction = -H gradient.
static void find_direction(const struct problem *p, struct memory *h) {
    int64_t n = p->m->arch->size;
    double alpha[PAIRS];
    memset(h->direction, 0, (size_t)n * sizeof *h->direction);
    along(p, -1, h->gradient, h->direction);
    for (int i = 1; i <= h->count; i++) {
        int k = (h->next - i + PAIRS) % PAIRS;
        alpha[k] = h->rho[k] * dot(p, h->s[k], h->direction);
        along(p, -alpha[k], h->y[k], h->direction);
    }
    if (h->count) along(p, h->scale - 1, h->direction, h->direction);
    for (int i = h->count; i >= 1; i--) {
        int k = (h->next - i + PAIRS) % PAIRS;
        along(p, alpha[k] - h->rho[k] * dot(p, h->y[k], h->direction), h->s[k], h->direction);
    }
}

// Takes the pair of a step that was made, where the curvature along it is positive.
static void learn(const struct problem *p, struct memory *h) {
    int64_t n = p->m->arch->size;
    float *s = h->s[h->next], *y = h->y[h->next];
    memcpy(s, p->theta, (size_t)n * sizeof *s);
    memcpy(y, p->flat, (size_t)n * sizeof *y);
    along(p, -1, h->start, s);
    along(p, -1, h->gradient, y);
    double sy = dot(p, s, y), yy = dot(p, y, y);
    if (!(sy > 1e-10 * sqrt(yy * dot(p, s, s)))) return;
    h->rho[h->next] = 1 / sy;
    h->scale = sy / yy;
    h->next = (h->next + 1) % PAIRS;
    if (h->count < PAIRS) h->count++;
}

// Logits of order ten in float32 leave a mean loss uncertain by about this.
#define LOSS_NOISE 1e-6

// Along the direction to a point that satisfies the weak Wolfe conditions (or, where the loss no longer shows a
// difference, the gradient's half of them: Hager & Zhang 2005). False: none was found; theta is at the start.
static bool search(struct problem *p, struct memory *h, double sharpness, double *loss, bool *found, struct error *e) {
    int64_t n = p->m->arch->size;
    double slope = dot(p, h->gradient, h->direction), low = 0, high = INFINITY, before = *loss;
    double step = h->count ? 1 : 1 / (1 + sqrt(dot(p, h->gradient, h->gradient)));
    *found = false;
    memcpy(h->start, p->theta, (size_t)n * sizeof *h->start);
    for (int i = 0; i < TRIALS && slope < 0; i++) {
        memcpy(p->theta, h->start, (size_t)n * sizeof *p->theta);
        along(p, step, h->direction, p->theta);
        if (!evaluate(p, sharpness, loss, e)) return false;
        double now = dot(p, p->flat, h->direction);
        bool less = *loss <= before + 1e-4 * step * slope || (*loss <= before + LOSS_NOISE && now <= -.9998 * slope);
        if (!less || !isfinite(now)) high = step;
        else if (now < .9 * slope) low = step;
        else {
            *found = true;
            return true;
        }
        step = isfinite(high) ? (low + high) / 2 : 2 * low;
    }
    memcpy(p->theta, h->start, (size_t)n * sizeof *p->theta);
    return evaluate(p, sharpness, loss, e);
}

static bool minimise(struct problem *p, struct memory *h, double sharpness, int64_t until, double enough, struct course *c, struct error *e) {
    int64_t n = p->m->arch->size;
    double loss;
    h->count = h->next = 0;
    if (!evaluate(p, sharpness, &loss, e) || !spoilt(p, c, loss, e)) return false;
    for (; c->step < until; c->step++) {
        c->residual = residual_of(p);
        if (!go_on(c, p, loss) || c->residual <= enough) return true;
        memcpy(h->gradient, p->flat, (size_t)n * sizeof *h->gradient);
        find_direction(p, h);
        bool found;
        if (!search(p, h, sharpness, &loss, &found, e) || !spoilt(p, c, loss, e)) return false;
        if (found) learn(p, h);
        else if (h->count) h->count = h->next = 0;  // once more from the gradient itself
        else return true;                           // as low as these numbers go
    }
    return true;
}

// The residual at which a form that a sharper one will replace is left.
#define PASSING 1e-3

static bool quasi_newton(struct problem *p, struct course *c, struct error *e) {
    static const double sharpness[] = {100, 300, 1000, 3000, 10000, 30000};
    enum { STAGES = sizeof sharpness / sizeof *sharpness };
    bool smooth = p->nodes.arch.smooth && strstr(p->m->arch->line, "relu") != NULL;
    struct memory h;
    memory_open(&h, p->m->arch->size);
    bool fine = true;
    int first = smooth ? 0 : STAGES - 1;
    for (int i = first; fine && i < STAGES && !c->interrupted; i++)
        fine = minimise(p, &h, sharpness[i], c->steps * (i + 1 - first) / (STAGES - first), i < STAGES - 1 ? PASSING : 0, c, e);
    memory_close(&h);
    return fine;
}

// ---- what is offered

static bool run(struct problem *p, int64_t *steps, bool *interrupted, struct error *e) {
    struct course c = {.steps = p->o->steps};
    int64_t n = p->m->arch->size;
    float *kept = memory_take((size_t)(n + 1) * sizeof *kept);
    memcpy(kept, p->m->theta, (size_t)n * sizeof *kept);
    bool fine = problem_open(p, p->o->method == SETTLE_LBFGS, false, e) && (!c.steps || (p->o->method == SETTLE_SGD ? descend : quasi_newton)(p, &c, e));
    *steps = c.step;
    *interrupted = c.interrupted;
    if (!fine || c.interrupted) memcpy(p->m->theta, kept, (size_t)n * sizeof *kept);
    free(kept);
    return fine;
}

// Columns of the first layer, its bias counted as one, where it is linear in the image; else 0.
static int64_t first_columns(const struct model *m) {
    const struct arch_tensor *bias, *weight = arch_first_linear(m->arch, &bias);
    return weight ? weight->shape.dim[1] + (bias != NULL) : 0;
}

bool settle_run(struct model *m, const struct dataset *d, const int64_t *index, int64_t n, const struct settle_options *o,
                int64_t *steps, bool *interrupted, struct pool *pool, struct error *e) {
    if (settle_refused(m)) return error_set(e, EXIT_USAGE, "this network cannot be settled: %s", settle_refused(m));
    if (n >= first_columns(m) || m->arch->param[0].fixed) {
        struct problem p = whole_problem(m, d, index, n, o, pool);
        bool fine = run(&p, steps, interrupted, e);
        problem_close(&p);
        return fine;
    }
    float *image = take_images(d, index, n, pool);
    struct coordinates c = coordinates_of(m, image, n, first_columns(m));
    free(image);
    struct model *within = model_within(m, c.rank, e);
    bool fine = within != NULL;
    if (fine) {
        move(m, within, &c, false);
        struct problem p = problem_within(within, m, &c, d, index, o, pool);
        fine = run(&p, steps, interrupted, e);
        problem_close(&p);
        if (fine && !*interrupted) move(m, within, &c, true);
    }
    model_free(within);
    coordinates_free(&c);
    return fine;
}

// ---- the residual with free derivatives

struct freeing {
    const struct model *m;
    const double *row, *gram, *u;  // [n][columns], [n][n], [n][width]
    int64_t n, columns, width;
    double l2, bound, *s, *least;  // [n][width] or NULL; per neuron: the least squared gradient of its row of [W | b]
    int64_t *kinks;
};

// Row j of the gradient is l2 w + sum_i c_i x_i with c_i = s_i u_i, u_i the loss's derivative in the activation, so its square
// is l2^2 |w|^2 + 2 l2 c'a + c' G c with pre-activations a = X w and G = X X'. Over s in [0, 1] on kinks it is least by
// coordinate descent (convex, separable bounds).
static void free_neuron(void *data, long job, int worker) {
    (void)worker;
    struct freeing *f = data;
    enum { SWEEPS = 1000 };
    int64_t n = f->n, j = job, kinks = 0;
    const struct arch_tensor *bias, *weight = arch_first_linear(f->m->arch, &bias);
    const float *theta = f->m->theta;
    double *w = memory_take((size_t)(f->columns + 5 * n) * sizeof *w), *a = w + f->columns, *u = a + n, *s = u + n, *r = s + n, *c = r + n, squares = 0;
    int64_t *kink = memory_take((size_t)(n + 1) * sizeof *kink), inputs = weight->shape.dim[1];
    for (int64_t k = 0; k < f->columns; k++) {
        w[k] = k < inputs ? theta[weight->offset + j * inputs + k] : theta[bias->offset + j];
        squares += w[k] * w[k];
    }
    for (int64_t i = 0; i < n; i++) {
        a[i] = inner(w, f->row + i * f->columns, f->columns);
        u[i] = f->u[i * f->width + j];
        s[i] = f->s ? f->s[i * f->width + j] : a[i] > 0;
        c[i] = s[i] * u[i];
        if (fabs(a[i]) < f->bound) kink[kinks++] = i;
    }
    for (int64_t i = 0; i < n; i++) r[i] = f->l2 * a[i] + inner(f->gram + i * n, c, n);  // x_i times the row
    for (int sweep = 0; sweep < SWEEPS; sweep++) {
        double most = 0;
        for (int64_t k = 0; k < kinks; k++) {
            int64_t i = kink[k];
            double curvature = u[i] * f->gram[i * n + i];
            if (!(fabs(curvature) > 0)) continue;
            double next = s[i] - r[i] / curvature, change;
            next = next < 0 ? 0 : next > 1 ? 1 : next;
            change = next - s[i];
            if (change == 0) continue;
            s[i] = next;
            c[i] += change * u[i];
            for (int64_t l = 0; l < n; l++) r[l] += change * u[i] * f->gram[i * n + l];
            if (fabs(change) > most) most = fabs(change);
        }
        if (most < 1e-9) break;
    }
    double least = f->l2 * f->l2 * squares + f->l2 * inner(c, a, n) + inner(c, r, n);
    f->least[j] = least > 0 ? least : 0;
    f->kinks[j] = kinks;
    for (int64_t i = 0; f->s && i < n; i++) f->s[i * f->width + j] = s[i];
    free(w);
    free(kink);
}

double settle_kinks(const struct model *m, const float *image, int64_t n, double l2, double bound, const double *u, double *s,
                    int64_t *kinks, struct pool *pool) {
    const struct arch_tensor *bias, *weight = arch_first_linear(m->arch, &bias);
    struct freeing f = {.m = m, .u = u, .n = n, .columns = first_columns(m), .width = weight->shape.dim[0], .l2 = l2};
    f.bound = bound;
    f.s = s;
    double *row = augmented(m, image, n, f.columns), *gram = memory_take((size_t)(n * n + 1) * sizeof *gram), total = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) gram[i * n + j] = gram[j * n + i] = inner(row + i * f.columns, row + j * f.columns, f.columns);
    f.row = row;
    f.gram = gram;
    f.least = memory_take((size_t)f.width * sizeof *f.least);
    f.kinks = memory_take((size_t)f.width * sizeof *f.kinks);
    pool_run(pool, (long)f.width, free_neuron, &f);
    *kinks = 0;
    for (int64_t j = 0; j < f.width; j++) total += f.least[j], *kinks += f.kinks[j];
    free(row);
    free(gram);
    free(f.least);
    free(f.kinks);
    return total;
}

static void free_kinks(const struct problem *p, double plain, struct stationarity *out) {
    const struct arch_tensor *bias, *weight = arch_first_linear(p->m->arch, &bias);
    out->pairs = p->n * weight->shape.dim[0];
    double *u = memory_take((size_t)(out->pairs + 1) * sizeof *u);
    for (int64_t i = 0; i < out->pairs; i++) u[i] = real_at(p, p->slopes, i);
    double total = settle_kinks(p->m, p->images, p->n, p->o->l2, SETTLE_KINK, u, NULL, &out->kinks, p->pool);
    free(u);
    // All other parameters keep their gradient: the whole's less the first layer's.
    double first = 0;
    for (int64_t i = 0; i < weight->count; i++) first += (double)p->flat[weight->offset + i] * p->flat[weight->offset + i];
    for (int64_t i = 0; bias && i < bias->count; i++) first += (double)p->flat[bias->offset + i] * p->flat[bias->offset + i];
    if (plain > first) total += plain - first;
    out->residual_kinks = sqrt(total) / (p->o->l2 * out->norm);
}

bool settle_measure(struct model *m, const struct dataset *d, const int64_t *index, int64_t n, const struct settle_options *o,
                    struct stationarity *out, struct pool *pool, struct error *e) {
    *out = (struct stationarity){.residual_kinks = NAN};
    if (settle_refused(m)) return error_set(e, EXIT_USAGE, "the stationarity of this network cannot be measured: %s", settle_refused(m));
    struct problem p = whole_problem(m, d, index, n, o, pool);
    bool fine = problem_open(&p, false, n <= SETTLE_EXAMPLES, e) && evaluate(&p, 0, &out->loss, e);
    if (fine) {
        double plain = dot(&p, p.flat, p.flat);
        out->norm = sqrt(squares(&p));
        out->residual = residual_of(&p);
        if (p.slope && out->norm > 0) free_kinks(&p, plain, out);
    }
    problem_close(&p);
    return fine;
}

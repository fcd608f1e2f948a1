// generator.c: the generator's two graphs, training and sampling, and the loop around them.
//
// The network is three architecture lines (arch.h): the embedding of the class, the half before the class matrix and the
// half after it. Their parameters lie in one flat array, and so do their running statistics.
#include "generator.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/out.h"
#include "../engine/grad.h"
#include "../io/checkpoint.h"
#include "../io/record.h"

enum { LATENT = 100, MIRRORS = 16, EMBEDDING = 0, LOWER = 1, UPPER = 2, NETS = 3 };
static const char *const net_name[NETS] = {"embedding", "lower", "upper"};

const char *const generator_column_name[GENERATOR_COLUMNS] = {"alpha", "alpha_prime", "beta", "beta_prime", "gamma", "delta",
                                                              "eta1", "eta2", "eta3", "eta4", "total", "accuracy"};

// An array of the host as the device has it: itself, or a copy in doubles.
struct mirror {
    float *host;
    double *wide;
    int64_t count;
    bool out;
};

// A graph with the generator in it, and its executor.
struct machine {
    struct graph *g;
    struct arena arena;
    struct arch_build net[NETS];
    struct node *z, *y, *matrix, *image;  // batch: [LATENT], index [1], [1, h, w], [C, H, W]
    struct model_nodes classifier;
    struct plan *plan;
    struct exec *exec;
    struct model_binding binding;
    struct mirror mirror[MIRRORS];
    int mirrors;
    void *theta, *state;  // the generator's, as the device has them
};

struct generator_run {
    const struct model *m;
    struct generator_options o;
    struct pool *pool;
    struct arch *net[NETS];
    int64_t param_at[NETS], state_at[NETS], size, state_size;

    struct machine train, sample;
    struct inversion_loss loss;
    struct node *ramp, *a, *key;
    struct node **gradient;  // of every parameter of every net, then of a

    float *theta, *slope, *state, *new_state;  // [size], [size], [state_size], [state_size]
    float *multiplier, *multiplier_slope;      // a: [batch]
    struct optim optim, multiplier_optim;
    float *z, *matrix, *term, *total, *logits, *ramp_now;  // of a step
    int32_t *y, *slot_key;
};

struct generator_options generator_defaults(void) {
    struct generator_options o = {.device = "cpu", .steps = 1000, .batch = 64, .width = 64, .lr = 3e-3, .multiplier_lr = .01,
                                  .noise = .6, .sharpness = 100, .ramp = 500};
    inversion_preset("all", &o.weight);
    return o;
}

void generator_describe(const struct generator_options *o, json_t *config) {
    json_t *weights = json_object();
    for (int i = 0; i < INVERSION_TERMS; i++) json_object_set_new(weights, inversion_term_name[i], json_real(o->weight.of[i]));
    json_object_update_new(config, json_pack("{s:o, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:o}", "weights", weights,
                                             "steps", (json_int_t)o->steps, "batch", (json_int_t)o->batch,
                                             "width", (json_int_t)o->width, "ramp", (json_int_t)o->ramp, "lr", o->lr,
                                             "multiplier_lr", o->multiplier_lr, "noise", o->noise, "smoothing", o->smoothing,
                                             "sharpness", o->sharpness, "margin", o->margin, "seed", record_seed(o->seed)));
}

// ---- the networks

static bool make_nets(struct generator_run *r, struct error *e) {
    const struct arch *target = r->m->arch;
    int64_t w = r->o.width, side = target->input.dim[1];
    struct arena text = {0};
    const char *const *given = r->o.line;
    const char *line[NETS] = {"flatten | linear 100 | init normal:.02"};
    long long shown = (long long)w;
#define BLOCK "norm batch | relu | "
#define DROPPED "norm batch | dropout2d .1 | relu | "
    // No bias before a batch norm, which takes it away again.
    line[LOWER] = arena_print(&text, "deconv %lld 4 nobias | " BLOCK "deconv %lld 4 nobias | " BLOCK
                              "deconv %lld 4 nobias | norm batch | relu | init normal:.02", shown, 2 * shown, 4 * shown);
    line[UPPER] = arena_print(&text, "deconv %lld 4 p 1 nobias | " DROPPED "deconv %lld 4 p 1 nobias | " DROPPED
                              "deconv %lld 4 s 2 p 1 nobias | " DROPPED "deconv %lld 4 nobias | " DROPPED
                              "deconv %lld %lld p 1 | sigmoid | init normal:.02", 8 * shown, 4 * shown, 2 * shown, shown,
                              (long long)target->input.dim[0], (long long)(side - 24));
#undef BLOCK
#undef DROPPED
    bool fine = true;
    if (!given[UPPER] && (side != target->input.dim[2] || side < 25 || side > 64))
        fine = error_set(e, EXIT_USAGE, "the generator makes squares of 25 to 64 pixels a side, and the model takes %lld x %lld",
                         (long long)side, (long long)target->input.dim[2]);
    struct shape in = shape_of(3, r->m->classes, 1, 1);
    for (int i = 0; i < NETS && fine; i++) {
        struct arch *a = r->net[i] = arch_parse(given[i] ? given[i] : line[i], in, 0, e);
        if (!a) {
            fine = error_prefix(e, "generator, %s", net_name[i]);
            break;
        }
        r->param_at[i] = r->size;
        r->state_at[i] = r->state_size;
        r->size += a->size;
        r->state_size += a->state_size;
        int want = i == EMBEDDING ? 1 : 3;
        char shape[96];
        if (a->output.rank != want || (i == UPPER && !shape_equal(&a->output, &target->input)))
            fine = error_set(e, EXIT_USAGE, "generator, %s: it ends with %s", net_name[i], shape_text(&a->output, shape));
        if (i == EMBEDDING) in = shape_of(3, LATENT + (int)a->output.dim[0], 1, 1);
        else in = a->output, in.dim[0]++;
    }
    arena_free(&text);
    return fine;
}

// x [n] at `from` in a vector of `size`.
static struct node *vector_at(struct graph *g, struct node *x, int64_t from, int64_t size) {
    return graph_pad(g, x, 0, from, size);
}

// The image of (z, y), with the generator in training or in evaluation mode.
static void build_generator(const struct generator_run *r, struct machine *t, bool training, struct node *key) {
    struct graph *g = t->g = graph_new();
    int classes = r->m->classes;
    const struct shape *lower = &r->net[LOWER]->output;
    t->z = graph_input(g, "z", true, shape_of(1, LATENT));
    t->y = graph_input_index(g, "labels", true, shape_of(1, 1));
    t->matrix = graph_input(g, "class_matrix", true, (struct shape){3, {1, lower->dim[1], lower->dim[2]}});
    for (int i = 0; i < NETS; i++) {
        struct arch_build *b = &t->net[i];
        b->training = training;
        // Streams of their own: the seed may be the classifier's too, which drops by the same names.
        char purpose[32];
        snprintf(purpose, sizeof purpose, "generator/%s", net_name[i]);
        struct stream s = rng_stream(r->o.seed, purpose);
        b->seed = (uint64_t)s.key[1] << 32 | s.key[0];
        b->count = graph_fill(g, (double)r->o.batch, shape_of(1, 1));
        char prefix[32];
        snprintf(prefix, sizeof prefix, "generator.%s.", net_name[i]);
        arch_inputs(r->net[i], g, &t->arena, prefix, b);
        if (training) b->key = key ? key : graph_input_index(g, "key", true, shape_of(1, 3));
        key = b->key;
    }
    struct node *one = graph_each(g, graph_fill(g, 1, shape_of(1, 1)));
    struct node *hot = graph_reshape(g, graph_scatter(g, one, t->y, classes), shape_of(3, classes, 1, 1));
    arch_build(r->net[EMBEDDING], g, &t->net[EMBEDDING], hot);
    struct node *embedding = t->net[EMBEDDING].logits;
    int64_t all = LATENT + embedding->shape.dim[0];
    struct node *start = graph_add(g, vector_at(g, t->z, 0, all), vector_at(g, embedding, LATENT, all));
    arch_build(r->net[LOWER], g, &t->net[LOWER], graph_reshape(g, start, (struct shape){3, {all, 1, 1}}));
    int64_t channels = lower->dim[0];
    struct node *joined = graph_add(g, graph_pad(g, t->net[LOWER].logits, 0, 0, channels + 1),
                                    graph_pad(g, t->matrix, 0, channels, channels + 1));
    arch_build(r->net[UPPER], g, &t->net[UPPER], joined);
    t->image = t->net[UPPER].logits;
}

// ---- what the device sees

static void *mirror(struct machine *t, float *host, int64_t count, bool out) {
    if (exec_real_size(t->exec) == 4) return host;
    BUG_IF(t->mirrors == MIRRORS, "more than %d mirrors", MIRRORS);
    struct mirror *k = &t->mirror[t->mirrors++];
    *k = (struct mirror){host, memory_zero((size_t)(count + 1) * sizeof *k->wide), count, out};
    return k->wide;
}

static void *at(const struct machine *t, void *base, int64_t offset) { return (char *)base + offset * exec_real_size(t->exec); }

static bool machine_run(struct machine *t, int64_t n, struct error *e) {
    for (int i = 0; i < t->mirrors; i++)
        for (int64_t j = 0; !t->mirror[i].out && j < t->mirror[i].count; j++) t->mirror[i].wide[j] = t->mirror[i].host[j];
    if (!exec_run(t->exec, n, e)) return false;
    for (int i = 0; i < t->mirrors; i++)
        for (int64_t j = 0; t->mirror[i].out && j < t->mirror[i].count; j++) t->mirror[i].host[j] = (float)t->mirror[i].wide[j];
    return true;
}

static void machine_free(struct machine *t) {
    exec_free(t->exec);
    plan_free(t->plan);
    if (t->g) graph_free(t->g);
    arena_free(&t->arena);
    model_unbind(&t->binding);
    for (int i = 0; i < t->mirrors; i++) free(t->mirror[i].wide);
}

// Once and again after they changed.
static void bind_weights(const struct generator_run *r, struct machine *t) {
    for (int i = 0; i < NETS; i++) {
        const struct arch *a = r->net[i];
        const struct arch_build *net = &t->net[i];
        for (int j = 0; j < a->count; j++) exec_set(t->exec, net->param[j], at(t, t->theta, r->param_at[i] + a->param[j].offset));
        for (int j = 0; j < a->states; j++)
            exec_set(t->exec, net->state[j], at(t, t->state, r->state_at[i] + a->state[j].offset));
    }
}

// ---- the graph of a step

// The mean of a^2 = U + .01 at the start is .51.
static double multiplier_scale(const struct generator_run *r) {
    double squares = model_trained_squares(r->m), degree = model_degree(r->m);
    if (!(r->o.margin > 0)) return 1;
    return squares > 0 && degree > 0 ? squares / (degree * r->o.margin * .51 * (double)r->o.batch) : 1;
}

static void build_step(struct generator_run *r) {
    struct machine *t = &r->train;
    build_generator(r, t, true, NULL);
    struct graph *g = t->g;
    r->key = t->net[EMBEDDING].key;
    r->a = graph_input(g, "a", true, shape_of(1, 1));
    r->ramp = graph_input(g, "ramp", false, shape_of(1, 1));
    if (r->o.sharpness > 0) t->classifier.arch.sharpness = graph_fill(g, r->o.sharpness, shape_of(1, 1));
    r->loss = (struct inversion_loss){.weight = r->o.weight, .batch = r->o.batch, .smoothing = r->o.smoothing,
                                      .noise = r->o.noise, .scale = multiplier_scale(r),
                                      .stream = rng_stream(r->o.seed, "generator/perturb"),
                                      .x = t->image, .y = t->y, .key = r->key, .a = r->a, .ramp = r->ramp};
    inversion_loss_build(r->m, g, &t->arena, &t->classifier, &r->loss);

    int params = 0, states = 0;
    for (int i = 0; i < NETS; i++) params += r->net[i]->count, states += r->net[i]->states;
    struct node **weight = arena_take(&t->arena, (size_t)(params + 1) * sizeof *weight);
    int n = 0;
    for (int i = 0; i < NETS; i++)
        for (int j = 0; j < r->net[i]->count; j++) weight[n++] = t->net[i].param[j];
    weight[n++] = r->a;
    r->gradient = arena_take(&t->arena, (size_t)n * sizeof *r->gradient);
    grad_of(g, r->loss.total, NULL, weight, n, r->gradient);

    struct node **output = arena_take(&t->arena, (size_t)(n + states + INVERSION_TERMS + 2) * sizeof *output);
    int outputs = 0;
    for (int i = 0; i < n; i++) output[outputs++] = r->gradient[i];
    for (int i = 0; i < NETS; i++)
        for (int j = 0; j < r->net[i]->states; j++) output[outputs++] = t->net[i].new_state[j];
    for (int i = 0; i < INVERSION_TERMS; i++)
        if (r->loss.term[i]) output[outputs++] = r->loss.term[i];
    output[outputs++] = r->loss.total;
    output[outputs++] = r->loss.logits;
    t->plan = plan_new(g, output, outputs);
}

static bool open_step(struct generator_run *r, struct error *e) {
    struct machine *t = &r->train;
    build_step(r);
    t->exec = exec_open(r->o.device, t->plan, r->pool, e);
    if (!t->exec) return false;
    int64_t b = r->o.batch;
    exec_set(t->exec, t->z, mirror(t, r->z, b * LATENT, false));
    exec_set(t->exec, t->matrix, mirror(t, r->matrix, b * shape_count(&t->matrix->shape), false));
    exec_set(t->exec, t->y, r->y);
    exec_set(t->exec, r->key, r->slot_key);
    exec_set(t->exec, r->a, mirror(t, r->multiplier, b, false));
    exec_set(t->exec, r->ramp, mirror(t, r->ramp_now, 1, false));
    model_bind(r->m, &t->classifier, t->exec, &t->binding);
    t->theta = mirror(t, r->theta, r->size, false);
    t->state = mirror(t, r->state, r->state_size, false);
    void *slope = mirror(t, r->slope, r->size, true), *state = mirror(t, r->new_state, r->state_size, true);
    void *term = mirror(t, r->term, INVERSION_TERMS, true);
    int n = 0;
    for (int i = 0; i < NETS; i++) {
        const struct arch *a = r->net[i];
        for (int j = 0; j < a->count; j++) exec_get(t->exec, r->gradient[n++], at(t, slope, r->param_at[i] + a->param[j].offset));
        for (int j = 0; j < a->states; j++)
            exec_get(t->exec, t->net[i].new_state[j], at(t, state, r->state_at[i] + a->state[j].offset));
    }
    exec_get(t->exec, r->gradient[n], mirror(t, r->multiplier_slope, b, true));
    for (int i = 0; i < INVERSION_TERMS; i++)
        if (r->loss.term[i]) exec_get(t->exec, r->loss.term[i], at(t, term, i));
    exec_get(t->exec, r->loss.total, mirror(t, r->total, 1, true));
    exec_get(t->exec, r->loss.logits, mirror(t, r->logits, b * r->m->classes, true));
    return true;
}

// ---- opening

// Row and column y of a square cut into K stripes, and at least one of each.
static void class_matrix(const struct generator_run *r, int64_t y, float *out) {
    const struct shape *s = &r->train.matrix->shape;
    int64_t k = r->m->classes, h = s->dim[1], w = s->dim[2];
    int64_t top = h * y / k, bottom = h * (y + 1) / k, left = w * y / k, right = w * (y + 1) / k;
    bottom += bottom == top;
    right += right == left;
    for (int64_t i = 0; i < h; i++)
        for (int64_t j = 0; j < w; j++) out[i * w + j] = (i >= top && i < bottom) || (j >= left && j < right);
}

static void take_arrays(struct generator_run *r) {
    int64_t b = r->o.batch, classes = r->m->classes;
    const struct shape *lower = &r->net[LOWER]->output;
    float **array[] = {&r->theta, &r->slope, &r->state, &r->new_state, &r->multiplier, &r->multiplier_slope, &r->z, &r->matrix,
                       &r->term, &r->total, &r->logits, &r->ramp_now};
    int64_t count[] = {r->size, r->size, r->state_size, r->state_size, b, b, b * LATENT, b * lower->dim[1] * lower->dim[2],
                       INVERSION_TERMS, 1, b * classes, 1};
    for (size_t i = 0; i < sizeof array / sizeof *array; i++) *array[i] = memory_zero((size_t)(count[i] + 16) * sizeof(float));
    r->y = memory_zero((size_t)(b + 1) * sizeof *r->y);
    r->slot_key = memory_zero((size_t)(3 * b + 1) * sizeof *r->slot_key);
}

static void draw_start(struct generator_run *r) {
    for (int i = 0; i < NETS; i++)
        arch_init(r->net[i], r->train.net[i].seed, r->theta + r->param_at[i], r->state + r->state_at[i]);
    // a_0 = sqrt(U + .01), so that no multiplier starts at zero, where its gradient is zero too.
    struct stream s = rng_stream(r->o.seed, "generator/multipliers");
    for (int64_t i = 0; i < r->o.batch; i++) {
        r->multiplier[i] = (float)sqrt(rng_one(s, (uint32_t)i, 0, 0) + .01);
        r->y[i] = (int32_t)(i % r->m->classes);
        class_matrix(r, r->y[i], r->matrix + i * shape_count(&r->train.matrix->shape));
    }
}

struct generator *generator_open(const struct model *m, const struct generator_options *o, struct pool *pool, struct error *e) {
    struct generator *t = memory_zero(sizeof *t);
    struct generator_run *r = t->run = memory_zero(sizeof *r);
    r->m = m;
    r->o = *o;
    r->pool = pool;
    t->history = memory_take((size_t)(GENERATOR_COLUMNS * o->steps + 1) * sizeof *t->history);
    for (int64_t i = 0; i < GENERATOR_COLUMNS * o->steps; i++) t->history[i] = NAN;
    bool fine = o->batch >= 2 || error_set(e, EXIT_USAGE, "the generator needs batches of two images or more");
    fine = fine && make_nets(r, e);
    if (fine) {
        take_arrays(r);
        fine = open_step(r, e);
    }
    if (!fine) {
        generator_free(t);
        return NULL;
    }
    for (int i = 0; i < NETS; i++) t->parameters += r->net[i]->parameters;
    draw_start(r);
    optim_defaults(&r->optim, OPTIM_ADAM);
    optim_open(&r->optim, r->size);
    optim_defaults(&r->multiplier_optim, OPTIM_ADAM);
    optim_open(&r->multiplier_optim, o->batch);
    return t;
}

void generator_free(struct generator *t) {
    if (!t) return;
    struct generator_run *r = t->run;
    machine_free(&r->train);
    machine_free(&r->sample);
    for (int i = 0; i < NETS; i++) arch_free(r->net[i]);
    if (r->optim.size) optim_close(&r->optim);
    if (r->multiplier_optim.size) optim_close(&r->multiplier_optim);
    void *own[] = {r->theta, r->slope, r->state, r->new_state, r->multiplier, r->multiplier_slope, r->z, r->matrix, r->term,
                   r->total, r->logits, r->ramp_now, r->y, r->slot_key, t->history};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) free(own[i]);
    free(r);
    free(t);
}

const struct plan *generator_plan(const struct generator *t) { return t->run->train.plan; }
void generator_profile(struct generator *t, double seconds[PARTS]) { exec_profile(t->run->train.exec, seconds); }

// ---- training

static bool finite_step(const struct generator *t, struct error *e) {
    const struct generator_run *r = t->run;
    for (int i = 0; i < INVERSION_TERMS; i++)
        if (r->loss.term[i] && !isfinite(r->term[i]))
            return error_set(e, EXIT_INPUT, "step %lld: the term %s is not finite", (long long)t->step, inversion_term_name[i]);
    return isfinite(*r->total) ||
           error_set(e, EXIT_INPUT, "step %lld: the weighted sum of the terms is not finite", (long long)t->step);
}

static const char *parameter_at(const struct generator_run *r, int64_t i, char text[96]) {
    int net = NETS - 1;
    while (net && i < r->param_at[net]) net--;
    snprintf(text, 96, "%s %s", net_name[net], arch_param_at(r->net[net], i - r->param_at[net])->name);
    return text;
}

static bool train_step(struct generator *t, struct error *e) {
    struct generator_run *r = t->run;
    int64_t b = r->o.batch, classes = r->m->classes, right = 0;
    struct stream s = rng_stream(r->o.seed, "generator/z");
    for (int64_t i = 0; i < b; i++) {
        rng_normal(s, (uint32_t)i, (uint32_t)t->step, 0, r->z + i * LATENT, LATENT);
        r->slot_key[3 * i] = (int32_t)i;
        r->slot_key[3 * i + 1] = (int32_t)t->step;
    }
    *r->ramp_now = r->o.ramp > 0 && t->step < r->o.ramp ? (float)((double)t->step / (double)r->o.ramp) : 1;
    if (!machine_run(&r->train, b, e)) return false;
    // Terms that are one node (alpha without smoothing is beta; the only term, of weight 1, is the sum) were written once, to
    // the last of them.
    for (int i = INVERSION_TERMS - 1; i >= 0; i--)
        for (int j = i + 1; r->loss.term[i] && j < INVERSION_TERMS; j++)
            if (r->loss.term[j] == r->loss.term[i]) r->term[i] = r->term[j];
    for (int i = 0; i < INVERSION_TERMS; i++)
        if (r->loss.term[i] == r->loss.total) r->term[i] = *r->total;
    if (!finite_step(t, e)) return false;
    for (int64_t i = 0; i < b; i++) right += evaluation_class(r->logits + i * classes, (int)classes) == r->y[i];
    for (int i = 0; i < INVERSION_TERMS; i++)
        if (r->loss.term[i]) t->history[i * r->o.steps + t->step] = r->term[i];
    t->history[INVERSION_TERMS * r->o.steps + t->step] = *r->total;
    t->history[(INVERSION_TERMS + 1) * r->o.steps + t->step] = (double)right / (double)b;
    int64_t spoilt = optim_step(&r->optim, r->o.lr, r->theta, r->slope, r->pool);
    char name[96];
    if (spoilt >= 0)
        return error_set(e, EXIT_INPUT, "step %lld: the gradient of the generator's %s is not finite", (long long)t->step,
                         parameter_at(r, spoilt, name));
    if (r->loss.term[INVERSION_ETA4])
        spoilt = optim_step(&r->multiplier_optim, r->o.multiplier_lr, r->multiplier, r->multiplier_slope, r->pool);
    if (spoilt >= 0)
        return error_set(e, EXIT_INPUT, "step %lld: the gradient of multiplier %lld is not finite", (long long)t->step,
                         (long long)spoilt);
    memcpy(r->state, r->new_state, (size_t)r->state_size * sizeof *r->state);
    t->step++;
    return true;
}

bool generator_train(struct generator *t, int64_t to, struct error *e) {
    struct generator_run *r = t->run;
    if (to > r->o.steps) to = r->o.steps;
    while (t->step < to && !out_stopping()) {
        bind_weights(r, &r->train);
        if (!train_step(t, e)) return false;
        char text[64];
        snprintf(text, sizeof text, "loss %.4g", *r->total);
        if (t->progress) progress_step(t->progress, (long)t->step, text);
    }
    t->interrupted = out_stopping();
    return true;
}

// Multipliers of zero, which are there for any images, leave the weights' own square: less than that is explained by images.
static void note_stationary(const struct generator *t, json_t *record) {
    const struct generator_run *r = t->run;
    double squares = model_trained_squares(r->m), loss;
    if (!(r->o.weight.of[INVERSION_ETA4] > 0)) return;
    record_real(record, "metrics.weights_squared", squares);
    if (!record_get_real(record, "metrics.loss.eta4", &loss) || loss < squares) return;
    record_note(record, "the stationary loss ended at %.4g and would be %.4g with every multiplier 0: these images explain nothing of the "
                        "weights", loss, squares);
}

void generator_note(const struct generator *t, struct blob *b, json_t *record) {
    int64_t steps = t->run->o.steps, tail = steps / 10 ? steps / 10 : 1;
    for (int i = 0; i < GENERATOR_COLUMNS; i++) {
        const double *row = t->history + i * steps;
        char path[64];
        double sum = 0;
        if (isnan(row[0])) continue;
        for (int64_t s = steps - tail; s < steps; s++) sum += row[s];
        snprintf(path, sizeof path, "loss.%s", generator_column_name[i]);
        blob_add(b, path, F64, 1, &steps, row);
        snprintf(path, sizeof path, "metrics.loss.%s", generator_column_name[i]);
        record_real(record, path, sum / (double)tail);
    }
    record_int(record, "metrics.generator_parameters", t->parameters);
    note_stationary(t, record);
}

// ---- sampling

enum { SAMPLE_BATCH = 64 };

static bool open_sample(struct generator_run *r, float *z, float *matrix, int32_t *y, float *x, float *logits, struct error *e) {
    struct machine *t = &r->sample;
    if (!t->g) {
        build_generator(r, t, false, NULL);
        model_build(r->m, t->g, &t->arena, &t->classifier, t->image);
        t->plan = plan_new(t->g, (struct node *const[]){t->image, t->classifier.logits}, 2);
        t->exec = exec_open(r->o.device, t->plan, r->pool, e);
        if (!t->exec) return false;
    }
    for (int i = 0; i < t->mirrors; i++) free(t->mirror[i].wide);
    t->mirrors = 0;
    exec_set(t->exec, t->z, mirror(t, z, SAMPLE_BATCH * LATENT, false));
    exec_set(t->exec, t->matrix, mirror(t, matrix, SAMPLE_BATCH * shape_count(&t->matrix->shape), false));
    exec_set(t->exec, t->y, y);
    exec_get(t->exec, t->image, mirror(t, x, SAMPLE_BATCH * shape_count(&t->image->shape), true));
    exec_get(t->exec, t->classifier.logits, mirror(t, logits, SAMPLE_BATCH * r->m->classes, true));
    model_bind(r->m, &t->classifier, t->exec, &t->binding);
    t->theta = mirror(t, r->theta, r->size, false);
    t->state = mirror(t, r->state, r->state_size, false);
    bind_weights(r, t);
    return true;
}

struct candidates *generator_sample(struct generator *t, int64_t each, struct error *e) {
    struct generator_run *r = t->run;
    int64_t classes = r->m->classes, total = each * classes, square = shape_count(&r->train.matrix->shape);
    struct candidates *c = candidates_new(r->m->arch->input, total);
    float *z = memory_zero(SAMPLE_BATCH * LATENT * sizeof *z);
    float *matrix = memory_zero((size_t)(SAMPLE_BATCH * square) * sizeof *matrix);
    float *x = memory_zero((size_t)(SAMPLE_BATCH * c->size) * sizeof *x);
    float *logits = memory_zero((size_t)(SAMPLE_BATCH * classes) * sizeof *logits);
    float *every = memory_zero((size_t)(total * classes + 1) * sizeof *every);
    int32_t y[SAMPLE_BATCH] = {0};
    struct stream s = rng_stream(r->o.seed, "generator/sample");
    bool fine = open_sample(r, z, matrix, y, x, logits, e);
    for (int64_t from = 0, n; from < total && fine; from += n) {
        n = total - from < SAMPLE_BATCH ? total - from : SAMPLE_BATCH;
        for (int64_t i = 0; i < n; i++) {
            y[i] = (int32_t)((from + i) % classes);
            c->y[from + i] = y[i];
            class_matrix(r, y[i], matrix + i * square);
            rng_normal(s, (uint32_t)(from + i), 0, 0, z + i * LATENT, LATENT);
        }
        fine = machine_run(&r->sample, n, e);
        memcpy(c->x + from * c->size, x, (size_t)(n * c->size) * sizeof *x);
        memcpy(every + from * classes, logits, (size_t)(n * classes) * sizeof *logits);
    }
    if (fine) {
        candidates_judge(c, every, classes);
        candidates_rank(c, 0);
    }
    free(z), free(matrix), free(x), free(logits), free(every);
    if (fine) return c;
    candidates_free(c);
    return NULL;
}

// ---- checkpoints

enum { SAVED = 9 };

static void parts_of(const struct generator *t, int64_t *step, struct checkpoint_part out[SAVED]) {
    const struct generator_run *r = t->run;
    int64_t b = r->o.batch;
    const struct checkpoint_part part[SAVED] = {
        {"assay.run.step", I64, 0, {0}, step},
        {"assay.run.theta", F32, 1, {r->size}, r->theta},
        {"assay.run.m", F32, 1, {r->size}, r->optim.m},
        {"assay.run.v", F32, 1, {r->size}, r->optim.v},
        {"assay.run.state", F32, 1, {r->state_size}, r->state},
        {"assay.run.a", F32, 1, {b}, r->multiplier},
        {"assay.run.a_m", F32, 1, {b}, r->multiplier_optim.m},
        {"assay.run.a_v", F32, 1, {b}, r->multiplier_optim.v},
        {"assay.run.history", F64, 2, {GENERATOR_COLUMNS, r->o.steps}, t->history},
    };
    memcpy(out, part, sizeof part);
}

bool generator_save(const struct generator *t, const json_t *identity, const char *path, struct error *e) {
    struct checkpoint_part part[SAVED];
    int64_t step = t->step;
    parts_of(t, &step, part);
    struct checkpoint c = checkpoint_begin(identity, part, SAVED);
    return checkpoint_end(&c, path, e);
}

bool generator_resume(struct generator *t, const json_t *identity, const char *path, struct error *e) {
    struct generator_run *r = t->run;
    struct checkpoint_part part[SAVED];
    int64_t step;
    struct blob *b = checkpoint_open(path, identity, e);
    if (!b) return false;
    parts_of(t, &step, part);
    bool fine = checkpoint_take(b, part, 1, e);
    if (fine && (step < 0 || step > r->o.steps))
        fine = blob_refuse(b, e, "assay.run.step: step %lld of %lld", (long long)step, (long long)r->o.steps);
    fine = fine && checkpoint_take(b, part, SAVED, e);
    if (fine) t->step = r->optim.step = r->multiplier_optim.step = step;
    blob_free(b);
    return fine;
}

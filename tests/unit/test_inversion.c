// Reconstruction by losses: PyTorch's values and gradients of the ten terms, the generator's gradient against differences,
// the same bytes on any number of threads and after a cut, class-gradient ascent, weight rows.
#include "differences.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "audit/generator.h"
#include "audit/knowledge.h"
#include "audit/miface.h"
#include "audit/weight_rows.h"
#include "base/out.h"
#include "io/record.h"

static const char *const golden = "tests/golden/inversion_torch.st";
static const char *const devices[] = {"ref", "cpu"};

static struct model *model(const char *line, struct shape input, int outputs, double gain) {
    struct error e = {0};
    struct arch *a = arch_parse(line, input, outputs, &e);
    if (!a) fail_msg("%s", e.text);
    struct model *m = model_new(a, 11);
    for (int64_t i = 0; i < a->size; i++) m->theta[i] *= (float)gain;
    return m;
}

static void normalise(struct model *m, double mean, double deviation) {
    m->mean = memory_take(sizeof *m->mean);
    m->mean[0] = (float)mean;
    m->mean_count = 1;
    m->std = (float)deviation;
}

// ---- the terms

static void test_presets(void **state) {
    (void)state;
    static const double all[INVERSION_TERMS] = {5, 5, 10, 10, 10, 7, 2, 0, 2, 2};
    struct inversion_weights w;
    assert_true(inversion_preset("all", &w));
    for (int i = 0; i < INVERSION_TERMS; i++) assert_true(w.of[i] == all[i]);
    assert_true(inversion_preset("no-stationary", &w));
    for (int i = 0; i < INVERSION_TERMS; i++) assert_true(w.of[i] == (i == INVERSION_ETA4 ? 0 : all[i]));
    assert_true(inversion_preset("stationary-only", &w));
    for (int i = 0; i < INVERSION_TERMS; i++) assert_true(i == INVERSION_ETA4 ? w.of[i] > 0 : w.of[i] == 0);
    assert_false(inversion_preset("stationary", &w));
}

// One term by itself on given images: its value and its gradients in the images and in a.
struct answer {
    double value, *dx, *da;
};

struct question {
    const struct model *m;
    const char *device;
    enum inversion_term t;
    double sharpness, smoothing, noise;
    struct stream stream;
    int64_t count;
    const float *x, *a;
    const int32_t *y;
    const int32_t *key;
};

static struct answer ask(const struct question *q) {
    struct graph *g = graph_new();
    struct arena arena = {0};
    struct error e = {0};
    struct model_nodes n = {.arch = {.sharpness = q->sharpness > 0 ? graph_fill(g, q->sharpness, shape_of(1, 1)) : NULL}};
    struct inversion_loss l = {.weight = {{0}}, .batch = q->count, .smoothing = q->smoothing, .noise = q->noise, .scale = 1,
                               .stream = q->stream};
    l.weight.of[q->t] = 1;
    l.x = graph_input(g, "x", true, q->m->arch->input);
    l.y = graph_input_index(g, "y", true, shape_of(1, 1));
    l.key = graph_input_index(g, "key", true, shape_of(1, 3));
    l.a = graph_input(g, "a", true, shape_of(1, 1));
    l.ramp = graph_fill(g, 1, shape_of(1, 1));
    inversion_loss_build(q->m, g, &arena, &n, &l);
    for (int i = 0; i < INVERSION_TERMS; i++) assert_true((l.term[i] != NULL) == (i == (int)q->t));
    struct node *d[2];
    grad_of(g, l.total, NULL, (struct node *const[]){l.x, l.a}, 2, d);
    struct plan *plan = plan_new(g, (struct node *const[]){l.total, d[0], d[1]}, 3);
    struct pool *pool = pool_new(1);
    struct exec *x = exec_open(q->device, plan, pool, &e);
    if (!x) fail_msg("%s", e.text);
    int64_t size = shape_count(&q->m->arch->input), pixels = q->count * size;
    struct answer out = {0, memory_zero((size_t)pixels * 8), memory_zero((size_t)q->count * 8)};
    float value, *dx = memory_zero((size_t)pixels * 4), *da = memory_zero((size_t)q->count * 4);
    double *wx = memory_zero((size_t)pixels * 8), *wa = memory_zero((size_t)q->count * 8);
    struct model_binding binding = {0};
    bool wide = exec_real_size(x) == 8;
    for (int64_t i = 0; i < pixels; i++) wx[i] = q->x[i];
    for (int64_t i = 0; i < q->count; i++) wa[i] = q->a[i];
    model_bind(q->m, &n, x, &binding);
    exec_set(x, l.x, wide ? (const void *)wx : q->x);
    exec_set(x, l.a, wide ? (const void *)wa : q->a);
    exec_set(x, l.y, q->y);
    exec_set(x, l.key, q->key);
    exec_get(x, l.total, wide ? (void *)&out.value : &value);
    exec_get(x, d[0], wide ? (void *)out.dx : dx);
    exec_get(x, d[1], wide ? (void *)out.da : da);
    if (!exec_run(x, q->count, &e)) fail_msg("%s", e.text);
    if (!wide) out.value = value;
    for (int64_t i = 0; i < pixels && !wide; i++) out.dx[i] = dx[i];
    for (int64_t i = 0; i < q->count && !wide; i++) out.da[i] = da[i];
    free(dx), free(da), free(wx), free(wa);
    model_unbind(&binding);
    exec_free(x);
    plan_free(plan);
    graph_free(g);
    arena_free(&arena);
    pool_free(pool);
    return out;
}

static void answer_free(struct answer *a) { free(a->dx), free(a->da); }

static double worst(const double *have, const double *want, int64_t n) {
    double most = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        most = fmax(most, fabs(have[i] - want[i]));
        size = fmax(size, fabs(want[i]));
    }
    return most / (size > 1 ? size : 1);
}

static const struct tensor *need(const struct blob *b, const char *name) {
    struct error e = {0};
    const struct tensor *t = blob_need(b, name, &e);
    if (!t) fail_msg("%s", e.text);
    return t;
}

static struct model *golden_model(const struct blob *b, int which) {
    struct error e = {0};
    char key[16];
    snprintf(key, sizeof key, "line%d", which);
    struct model *m = model(blob_meta(b, key), shape_of(3, 2, 6, 6), 4, 1);
    struct blob *own = blob_new("");
    for (int i = 0; i < b->count; i++) {
        const struct tensor *t = &b->tensor[i];
        const char *name = t->name + 2;
        if (t->name[0] != '0' + which || t->name[1] != '/' || !strchr(name, '.')) continue;
        blob_add(own, name, t->dtype, t->rank, t->dim, t->data);
    }
    if (!model_load(m, own, &e)) fail_msg("%s", e.text);
    blob_free(own);
    normalise(m, .4, .3);
    return m;
}

static void test_terms_are_pytorchs(void **state) {
    (void)state;
    enum { COUNT = 5, SIZE = 72 };
    struct error e = {0};
    struct blob *b = blob_open(golden, &e);
    if (!b) fail_msg("%s", e.text);
    int32_t y[COUNT], key[3 * COUNT] = {0};
    for (int i = 0; i < COUNT; i++) y[i] = (int32_t)((const int64_t *)need(b, "y")->data)[i];
    for (int which = 0; which < 2; which++) {
        struct model *m = golden_model(b, which);
        char name[3][16];
        for (int i = 0; i < 3; i++) snprintf(name[i], sizeof name[i], "%d/%s", which, (const char *[]){"value", "dx", "da"}[i]);
        const double *value = need(b, name[0])->data, *dx = need(b, name[1])->data, *da = need(b, name[2])->data;
        for (int device = 0; device < 2; device++)
            for (int t = 0; t < INVERSION_TERMS; t++) {
                struct question q = {m, devices[device], (enum inversion_term)t, 5, .1, 0, {{0}}, COUNT,
                                     need(b, "x")->data, need(b, "a")->data, y, key};
                struct answer a = ask(&q);
                // Both in double: the deviation .3 is a float here. In float a term is a sum of up to some hundred products.
                double tolerance = device ? 2e-5 : 1e-6, worst_x = worst(a.dx, dx + t * COUNT * SIZE, COUNT * SIZE);
                if (worst(&a.value, value + t, 1) > tolerance || worst_x > tolerance ||
                    worst(a.da, da + t * COUNT, COUNT) > tolerance)
                    fail_msg("case %d, %s, %s: %.9g, and PyTorch has %.9g; gradient off by %g", which, devices[device],
                             inversion_term_name[t], a.value, value[t], worst_x);
                assert_true(t == INVERSION_ETA4 || worst(a.da, (double[COUNT]){0}, COUNT) == 0);
                answer_free(&a);
            }
        model_free(m);
    }
    blob_free(b);
}

// x' is x plus or minus noise, a coin for each pixel, which may leave [0, 1]; the primed terms are the plain ones there.
static void test_perturbed_image(void **state) {
    (void)state;
    enum { COUNT = 40, SIZE = 36 };
    struct model *m = model("flatten | linear 5 | tanh | linear 3", shape_of(3, 1, 6, 6), 3, 2);
    struct stream s = rng_stream(9, "test/perturb");
    float x[COUNT * SIZE], moved[COUNT * SIZE], a[COUNT] = {0}, u[SIZE];
    int32_t y[COUNT], key[3 * COUNT];
    int up = 0;
    for (int i = 0; i < COUNT; i++) {
        y[i] = i % 3;
        key[3 * i] = i, key[3 * i + 1] = 7, key[3 * i + 2] = 0;
        rng_uniform(rng_stream(1, "test/images"), (uint32_t)i, 0, 0, x + i * SIZE, SIZE);
        rng_uniform(s, (uint32_t)i, 7, 0, u, SIZE);
        for (int j = 0; j < SIZE; j++) {
            moved[i * SIZE + j] = x[i * SIZE + j] + (u[j] > .5f ? .6f : -.6f);
            up += u[j] > .5f;
        }
    }
    assert_true(abs(up - COUNT * SIZE / 2) < 5 * sqrt(COUNT * SIZE) / 2);  // five standard errors
    for (int t = INVERSION_ALPHA; t <= INVERSION_BETA; t += 2) {
        struct question noisy = {m, "cpu", (enum inversion_term)(t + 1), 0, .2, .6, s, COUNT, x, a, y, key}, plain = noisy;
        plain.t = (enum inversion_term)t;
        plain.x = moved;
        struct answer p = ask(&plain), q = ask(&noisy);
        assert_true(fabs(p.value - q.value) < 1e-5 * (1 + fabs(p.value)));
        assert_true(worst(q.dx, p.dx, COUNT * SIZE) < 1e-5);
        plain.x = x;
        struct answer still = ask(&plain);
        assert_true(fabs(still.value - p.value) > 1e-3);
        answer_free(&p), answer_free(&q), answer_free(&still);
    }
    model_free(m);
}

// With a one-hot target the divergence is the cross-entropy; at a network of zeros, uniform, it is log K.
static void test_divergence_closed_form(void **state) {
    (void)state;
    struct model *m = model("flatten | linear 4", shape_of(3, 1, 6, 6), 4, 0);
    float x[36] = {0}, a[1] = {0};
    int32_t y[1] = {2}, key[3] = {0};
    for (int i = 0; i < 2; i++) {
        double s = i ? .3 : 0, own = 1 - s + s / 4, other = s / 4;
        struct question q = {m, "ref", INVERSION_ALPHA, 0, s, 0, {{0}}, 1, x, a, y, key};
        struct answer got = ask(&q);
        assert_true(fabs(got.value - (log(4) + own * log(own) + (s > 0 ? 3 * other * log(other) : 0))) < 1e-12);
        answer_free(&got);
    }
    model_free(m);
}

// A classifier that is the sum of its training examples' gradients, of a linear network: the stationary loss is zero there
// and nowhere near.
static void test_stationary_at_the_truth(void **state) {
    (void)state;
    enum { COUNT = 4, SIZE = 36 };
    struct model *m = model("flatten | linear 2 nobias", shape_of(3, 1, 6, 6), 2, 1);
    float x[COUNT * SIZE], a[COUNT];
    int32_t y[COUNT], key[3 * COUNT] = {0};
    memset(m->theta, 0, (size_t)m->arch->size * sizeof *m->theta);
    for (int i = 0; i < COUNT; i++) {
        rng_uniform(rng_stream(2, "test/images"), (uint32_t)i, 0, 0, x + i * SIZE, SIZE);
        a[i] = .3f + .2f * (float)i;
        y[i] = i % 2;
        // m = z_y - z_other, so its gradient is x in row y and -x in the other
        for (int j = 0; j < SIZE; j++)
            for (int k = 0; k < 2; k++) m->theta[k * SIZE + j] += (k == y[i] ? 1 : -1) * a[i] * a[i] * x[i * SIZE + j];
    }
    struct question q = {m, "ref", INVERSION_ETA4, 0, 0, 0, {{0}}, COUNT, x, a, y, key};
    struct answer at = ask(&q);
    assert_true(at.value < 1e-10);  // the weights are floats
    x[3] += .5f;
    struct answer off = ask(&q);
    assert_true(off.value > 1e-3);
    answer_free(&at), answer_free(&off);
    model_free(m);
}

// ---- the generator

static const char *const tiny[3] = {
    "flatten | linear 4 | init normal:.5", "deconv 3 2 nobias | norm batch | tanh | init normal:.1",
    "deconv 3 3 s 2 p 1 nobias | norm batch | dropout2d .1 | tanh | deconv 1 4 | sigmoid | init normal:.4"};

static struct generator_options tiny_options(const char *device, int64_t batch) {
    struct generator_options o = generator_defaults();
    o.device = device;
    o.seed = 4;
    o.steps = 12;
    o.batch = batch;
    o.ramp = 4;
    o.smoothing = .1;
    memcpy(o.line, tiny, sizeof tiny);
    return o;
}

static struct generator *open_generator(const struct model *m, const struct generator_options *o, struct pool *pool) {
    struct error e = {0};
    struct generator *t = generator_open(m, o, pool, &e);
    if (!t) fail_msg("%s", e.text);
    return t;
}

// The gradients that a step follows, of every weight of the generator and of the multipliers, against differences of the
// weighted sum, at random values of everything.
static void test_gradient_against_differences(void **state) {
    (void)state;
    static const char *const targets[] = {"flatten | linear 5 | tanh | linear 3",
                                          "conv 2 3 | norm batch | gelu | flatten | linear 4 | sigmoid | linear 3"};
    for (int which = 0; which < 2; which++) {
        struct model *m = model(targets[which], shape_of(3, 1, 6, 6), 3, 2);
        struct generator_options o = tiny_options("ref", N);
        o.weight.of[INVERSION_ETA2] = 1;
        struct generator *t = open_generator(m, &o, NULL);
        int outputs, weights = 0;
        struct node *const *output = plan_outputs(generator_plan(t), &outputs), *x[VARIABLES], *gradient[VARIABLES];
        struct subject s = {.g = plan_graph(generator_plan(t)), .draws = {77}};
        // The inputs in the order they were made: the outputs begin with the gradients of the generator's in that order, then
        // of a.
        struct node *a = NULL, *total = NULL;
        for (int i = 0; i < graph_count(s.g); i++) {
            struct node *n = graph_node(s.g, i);
            if (n->op != OP_INPUT) continue;
            bool own = !strncmp(n->name, "generator.", 10), running = strstr(n->name, "running") != NULL;
            struct variable *v = &s.variable[s.variables++];
            *v = (struct variable){.node = n, .domain = own || !strcmp(n->name, "z") ? SMALL : ANY, .limit = 3};
            if (!strcmp(n->name, "labels")) v->domain = CHOICE;
            if (!strcmp(n->name, "key")) v->domain = COUNTER;
            if (strstr(n->name, "running_var")) v->domain = POSITIVE;
            if (!strcmp(n->name, "a")) a = n;
            if (own && !running) x[weights++] = n;
        }
        x[weights++] = a;
        for (int i = 0; i < weights; i++) gradient[i] = output[i];
        total = output[outputs - 2];
        assert_true(!total->batch && output[outputs - 1]->batch);
        struct node *one = weights_for(&s, total);
        double *value[VARIABLES];
        values_new(&s, N, false, value);
        value[variable_of(&s, one)][0] = 1;
        // The weighted sum is some hundreds here, its third derivatives thousands: relative to that, a tenth of the tests'
        // tolerance.
        double off = disagreement(&s, value, &total, &one, 1, x, gradient, weights);
        if (off > 10) fail_msg("target %d: off by %g times the tolerance", which, off);
        values_free(value, s.variables);
        generator_free(t);
        model_free(m);
    }
}

struct outcome {
    double history[GENERATOR_COLUMNS * 12];
    float x[9 * 36], confidence[9];
    int64_t y[9];
};

static void finish(struct generator *t, const struct generator_options *o, struct outcome *out) {
    struct error e = {0};
    memset(out, 0, sizeof *out);
    if (!generator_train(t, o->steps, &e)) fail_msg("%s", e.text);
    assert_int_equal(t->step, o->steps);
    memcpy(out->history, t->history, sizeof out->history);
    struct candidates *c = generator_sample(t, 3, &e);
    if (!c) fail_msg("%s", e.text);
    assert_int_equal(c->count, 9);
    memcpy(out->x, c->x, sizeof out->x);
    memcpy(out->confidence, c->confidence, sizeof out->confidence);
    memcpy(out->y, c->y, sizeof out->y);
    candidates_free(c);
}

static void test_bytes_do_not_depend_on_threads_or_cuts(void **state) {
    (void)state;
    struct model *m = model("conv 2 3 | relu | flatten | linear 6 | leaky .2 | linear 3", shape_of(3, 1, 6, 6), 3, 2);
    struct error e = {0};
    struct outcome got[4];
    struct pool *pool[2] = {pool_new(1), pool_new(3)};
    struct generator_options o = tiny_options("cpu", 20);
    json_t *identity = json_pack("{s:i}", "seed", 4), *other = json_pack("{s:i}", "seed", 5);
    char path[] = "/tmp/assay-test-generator-XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    for (int i = 0; i < 2; i++) {
        struct generator *t = open_generator(m, &o, pool[i]);
        assert_true(t->parameters > 0);
        finish(t, &o, &got[i]);
        generator_free(t);
    }
    assert_memory_equal(&got[0], &got[1], sizeof got[0]);
    // Cut after five steps, and continued by another process' worth of objects.
    struct generator *t = open_generator(m, &o, pool[0]);
    if (!generator_train(t, 5, &e) || !generator_save(t, identity, path, &e)) fail_msg("%s", e.text);
    assert_int_equal(t->step, 5);
    generator_free(t);
    t = open_generator(m, &o, pool[1]);
    if (!generator_resume(t, identity, path, &e)) fail_msg("%s", e.text);
    assert_int_equal(t->step, 5);
    finish(t, &o, &got[2]);
    assert_true(generator_save(t, identity, path, &e));
    generator_free(t);
    assert_memory_equal(&got[0], &got[2], sizeof got[0]);
    // The end of a run samples the same again; another run is refused.
    t = open_generator(m, &o, pool[1]);
    if (!generator_resume(t, identity, path, &e)) fail_msg("%s", e.text);
    finish(t, &o, &got[3]);
    generator_free(t);
    assert_memory_equal(&got[0], &got[3], sizeof got[0]);
    t = open_generator(m, &o, pool[1]);
    assert_false(generator_resume(t, other, path, &e));
    assert_int_equal(e.status, EXIT_INPUT);
    assert_non_null(strstr(e.text, "checkpoint of another run: seed is 4 there and 5 here"));
    generator_free(t);
    unlink(path);
    json_decref(identity), json_decref(other);
    pool_free(pool[0]), pool_free(pool[1]);
    model_free(m);
}

// Both devices go the same way; terms that are one node are both in the history; a ramp starts at nothing.
static void test_history(void **state) {
    (void)state;
    struct model *m = model("flatten | linear 6 | tanh | linear 3", shape_of(3, 1, 6, 6), 3, 2);
    struct pool *pool = pool_new(1);
    struct outcome got[2];
    struct generator_options o = tiny_options("ref", 12);
    o.smoothing = 0;
    for (int i = 0; i < 2; i++) {
        o.device = devices[i];
        struct generator *t = open_generator(m, &o, pool);
        finish(t, &o, &got[i]);
        generator_free(t);
    }
    const double *h = got[0].history, *weight = o.weight.of;
    for (int s = 0; s < 12; s++) {
        double sum = 0;
        for (int i = 0; i < INVERSION_TERMS; i++) {
            double v = h[i * 12 + s];
            assert_true(weight[i] > 0 ? isfinite(v) : isnan(v));
            if (weight[i] > 0) sum += weight[i] * v * (i == INVERSION_ETA1 ? fmin(s / 4., 1) : 1);
        }
        assert_true(fabs(sum / h[INVERSION_TERMS * 12 + s] - 1) < 1e-5);
        assert_true(h[INVERSION_ALPHA * 12 + s] == h[INVERSION_BETA * 12 + s]);
        assert_true(h[INVERSION_ALPHA_PRIME * 12 + s] == h[INVERSION_BETA_PRIME * 12 + s]);
        // In float Adam's first steps are signs, and a sign may flip: the paths part slowly.
        assert_true(fabs(got[1].history[INVERSION_TERMS * 12 + s] / h[INVERSION_TERMS * 12 + s] - 1) < (s ? 1e-2 : 1e-4));
    }
    assert_true(h[INVERSION_TERMS * 12 + 11] < h[INVERSION_TERMS * 12]);
    pool_free(pool);
    model_free(m);
}

// What is asked for comes: with cross-entropy alone the classifier puts the images where they belong.
static void test_generator_learns_its_classes(void **state) {
    (void)state;
    struct model *m = model("flatten | linear 8 | tanh | linear 3", shape_of(3, 1, 6, 6), 3, 3);
    struct pool *pool = pool_new(2);
    struct error e = {0};
    struct generator_options o = tiny_options("cpu", 24);
    o.weight = (struct inversion_weights){{[INVERSION_BETA] = 1}};
    o.steps = 300;
    o.lr = 1e-2;
    struct generator *t = open_generator(m, &o, pool);
    if (!generator_train(t, o.steps, &e)) fail_msg("%s", e.text);
    const double *accuracy = t->history + (INVERSION_TERMS + 1) * o.steps;
    assert_true(accuracy[0] < .8 && accuracy[o.steps - 1] > .95);
    struct candidates *c = generator_sample(t, 10, &e);
    if (!c) fail_msg("%s", e.text);
    for (int64_t i = 1; i < c->count; i++) assert_true(c->confidence[i - 1] >= c->confidence[i]);
    assert_true(c->confidence[c->count / 2] > .9);
    candidates_free(c);
    generator_free(t);
    pool_free(pool);
    model_free(m);
}

static void test_shapes_of_images(void **state) {
    (void)state;
    struct pool *pool = pool_new(1);
    struct error e = {0};
    for (int i = 0; i < 4; i++) {
        int channels = i % 2 ? 3 : 1, side = i / 2 ? 32 : 28;
        struct model *m = model("conv 2 3 s 2 | relu | flatten | linear 10", shape_of(3, channels, side, side), 10, 1);
        struct generator_options o = generator_defaults();
        o.width = 8;
        o.batch = 4;
        o.steps = 1;
        struct generator *t = open_generator(m, &o, pool);
        if (!generator_train(t, o.steps, &e)) fail_msg("%s", e.text);
        struct candidates *c = generator_sample(t, 1, &e);
        if (!c) fail_msg("%s", e.text);
        assert_int_equal(c->count, 10);
        assert_true(c->shape.dim[0] == channels && c->shape.dim[1] == side && c->shape.dim[2] == side);
        double low = 1, high = 0;
        for (int64_t j = 0; j < c->count * c->size; j++) low = fmin(low, c->x[j]), high = fmax(high, c->x[j]);
        if (!(low >= 0 && high <= 1 && high > low)) fail_msg("%d x %d: %g to %g", channels, side, low, high);
        candidates_free(c);
        generator_free(t);
        model_free(m);
    }
    // Weights of the published network: embedding 10 x 100 + 100, then 16 times the products of channels.
    struct model *m = model("flatten | linear 10", shape_of(3, 1, 28, 28), 10, 1);
    struct generator_options o = generator_defaults();
    struct generator *t = open_generator(m, &o, pool);
    int64_t convolutions = 16 * (200 * 64 + 64 * 128 + 128 * 256 + 257 * 512 + 512 * 256 + 256 * 128 + 128 * 64 + 64 * 1);
    assert_int_equal(t->parameters, 1100 + convolutions + 1 + 2 * (64 + 128 + 256 + 512 + 256 + 128 + 64));
    generator_free(t);
    model_free(m);
    m = model("flatten | linear 10", shape_of(3, 1, 8, 8), 10, 1);
    assert_null(generator_open(m, &o, pool, &e));
    assert_int_equal(e.status, EXIT_USAGE);
    assert_non_null(strstr(e.text, "8 x 8"));
    model_free(m);
    pool_free(pool);
}

// A signal that comes after the last step has cut nothing short, and is told all the same.
static void test_late_signal_is_told(void **state) {
    (void)state;
    pid_t child = fork();
    if (!child) {
        struct model *m = model("flatten | linear 6 | tanh | linear 3", shape_of(3, 1, 6, 6), 3, 2);
        struct error e = {0};
        struct generator_options o = tiny_options("cpu", 3);
        struct generator *t = open_generator(m, &o, pool_new(1));
        out_handle_signals();
        out_graceful();
        bool told = generator_train(t, o.steps, &e) && !t->interrupted && t->step == o.steps;
        raise(SIGTERM);
        told = told && generator_train(t, o.steps, &e) && t->interrupted && t->step == o.steps;
        _exit(told ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_loss_that_is_no_number_stops(void **state) {
    (void)state;
    struct model *m = model("flatten | linear 6 | tanh | linear 3", shape_of(3, 1, 6, 6), 3, 2);
    struct pool *pool = pool_new(1);
    struct error e = {0};
    m->theta[3] = 1e30f;  // its square is no float
    struct generator_options o = tiny_options("cpu", 12);
    struct generator *t = open_generator(m, &o, pool);
    assert_false(generator_train(t, o.steps, &e));
    assert_int_equal(e.status, EXIT_INPUT);
    assert_non_null(strstr(e.text, "step 0: the term eta4 is not finite"));
    generator_free(t);
    pool_free(pool);
    model_free(m);
}

// ---- class-gradient ascent

static void test_miface(void **state) {
    (void)state;
    struct error e = {0};
    struct model *m = model("flatten | linear 3", shape_of(3, 1, 6, 6), 3, 6);
    struct miface_options o = miface_defaults();
    o.each = 4;
    o.smooth_every = 0;
    o.enough = 2;  // never
    o.steps = 200;
    struct miface out[2];
    for (int i = 0; i < 2; i++) {
        struct pool *pool = pool_new(1 + 2 * i);
        if (!miface_run(m, &o, pool, &out[i], &e)) fail_msg("%s", e.text);
        pool_free(pool);
    }
    struct candidates *c = out[0].found;
    assert_int_equal(c->count, 12);
    assert_memory_equal(c->x, out[1].found->x, (size_t)(c->count * c->size) * sizeof *c->x);
    // For two of three logits equal to a linear function, the surest image is a corner: every pixel where the gradient of
    // its class points, here checked as no smaller probability than the corner of z_y minus the mean of the others.
    for (int64_t i = 0; i < c->count; i++) {
        const float *w = m->theta + m->arch->param[0].offset, *b = m->theta + m->arch->param[1].offset;
        float z[3];
        for (int k = 0; k < 3; k++) {
            z[k] = b[k];
            for (int j = 0; j < 36; j++) {
                double slope = 1.5 * w[c->y[i] * 36 + j] - .5 * (w[j] + w[36 + j] + w[72 + j]);
                z[k] += w[k * 36 + j] * (slope > 0 ? 1 : 0);
            }
        }
        assert_true(c->confidence[i] >= candidates_probability(z, 3, c->y[i]) - 1e-3);
        if (i) assert_true(c->confidence[i - 1] >= c->confidence[i]);
    }
    candidates_free(out[1].found);
    // An image's path does not depend on what runs beside it, and enough is enough.
    struct miface fewer;
    struct pool *pool = pool_new(2);
    o.each = 1;
    o.enough = .5;
    if (!miface_run(m, &o, pool, &fewer, &e)) fail_msg("%s", e.text);
    assert_int_equal(fewer.found->count, 3);
    assert_true(fewer.steps < out[0].steps / 4);
    for (int64_t i = 0; i < 3; i++) assert_true(fewer.found->confidence[i] >= .5);
    candidates_free(fewer.found);
    // Smoothing takes the checkerboard out: neighbours come closer.
    double rough[2] = {0, 0};
    for (int k = 0; k < 2; k++) {
        o.each = 2, o.enough = 2, o.steps = 50, o.smooth_every = k;
        if (!miface_run(m, &o, pool, &fewer, &e)) fail_msg("%s", e.text);
        for (int64_t i = 0; i < fewer.found->count; i++)
            for (int j = 0; j < 35; j++)
                if (j % 6 < 5) rough[k] += fabs(fewer.found->x[i * 36 + j] - fewer.found->x[i * 36 + j + 1]);
        candidates_free(fewer.found);
    }
    assert_true(rough[1] < .7 * rough[0]);
    pool_free(pool);
    candidates_free(c);
    model_free(m);
}

// ---- rows

static void test_weight_rows(void **state) {
    (void)state;
    struct error e = {0};
    struct pool *pool = pool_new(1);
    struct model *m = model("flatten | linear 4 | relu | linear 3", shape_of(3, 1, 3, 3), 3, 1);
    float *w = m->theta + m->arch->param[0].offset;
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 9; j++) w[9 * i + j] = (float)((i == 2 ? 10 : i + 1) * (j - 3));
    struct candidates *c = weight_rows(m, 0, "cpu", pool, &e);
    if (!c) fail_msg("%s", e.text);
    assert_int_equal(c->count, 8);
    for (int i = 0; i < 8; i++)  // each row runs from -3 to 5 times a factor: the longest first, then its negative
        for (int j = 0; j < 9; j++) assert_true(fabs(c->x[9 * i + j] - (i % 2 ? 8 - j : j) / 8.) < 1e-6);
    assert_true(c->score[0] == c->score[1] && c->score[0] > 2 * c->score[2]);
    for (int i = 0; i < 8; i++) assert_true(c->confidence[i] >= 1 / 3. - 1e-6);
    candidates_free(c);
    c = weight_rows(m, 3, "cpu", pool, &e);
    assert_int_equal(c->count, 3);
    candidates_free(c);
    model_free(m);
    m = model("conv 2 3 | flatten | linear 3", shape_of(3, 1, 3, 3), 3, 1);
    assert_null(weight_rows(m, 0, "cpu", pool, &e));
    assert_int_equal(e.status, EXIT_INPUT);
    assert_non_null(strstr(e.text, "not linear in the whole image"));
    model_free(m);
    pool_free(pool);
}

// Unknown words are kept, each once; what is no word is not printed on a terminal.
static void test_knowledge_out_of_a_file(void **state) {
    (void)state;
    json_t *list = json_pack("[s, s]", "weights", "classes"), *want = json_pack("[s, s, s]", "weights", "classes", "some-labels");
    json_t *other = json_pack("[s, s, s, s, s, i]", "weights", "some-labels", "some-labels", "\033[31m", "", 3);
    knowledge_join(list, other);
    knowledge_join(list, NULL);
    assert_true(json_equal(list, want));
    json_decref(list), json_decref(other), json_decref(want);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_presets),
        cmocka_unit_test(test_terms_are_pytorchs),
        cmocka_unit_test(test_perturbed_image),
        cmocka_unit_test(test_divergence_closed_form),
        cmocka_unit_test(test_stationary_at_the_truth),
        cmocka_unit_test(test_gradient_against_differences),
        cmocka_unit_test(test_bytes_do_not_depend_on_threads_or_cuts),
        cmocka_unit_test(test_history),
        cmocka_unit_test(test_generator_learns_its_classes),
        cmocka_unit_test(test_shapes_of_images),
        cmocka_unit_test(test_late_signal_is_told),
        cmocka_unit_test(test_loss_that_is_no_number_stops),
        cmocka_unit_test(test_miface),
        cmocka_unit_test(test_knowledge_out_of_a_file),
        cmocka_unit_test(test_weight_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

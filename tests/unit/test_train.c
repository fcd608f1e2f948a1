// Training: PyTorch's answers for every element and optimiser on every device, the same bytes on any number
// of threads, a cut run that continues bit for bit, the hooks of a regime, the model's file.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/msg.h"
#include "base/out.h"
#include "io/record.h"
#include "nn/train.h"

static const char *const golden = "tests/golden/nn_torch.st";
static const char *const devices[] = {"ref", "cpu"};
static char directory[] = "/tmp/assay-test-train-XXXXXX";

static const char *file(const char *name) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

// ---- data and models

enum { IMAGES = 75, SIDE = 6 };
static uint8_t pixel[IMAGES * SIDE * SIDE];
static int64_t digit[IMAGES];

// Three patterns and noise.
static struct dataset *data_new(void) {
    struct error e = {0};
    for (int i = 0; i < IMAGES; i++) {
        digit[i] = (i * 7 + i / 5) % 3;
        for (int j = 0; j < SIDE * SIDE; j++)
            pixel[i * SIDE * SIDE + j] = (uint8_t)(128 + 80 * sin(j * (1 + .6 * (double)digit[i])) + 40 * sin(97.3 * i + 31.7 * j * j));
    }
    struct blob *b = blob_new("dataset");
    blob_add(b, "x", U8, 4, (int64_t[]){IMAGES, 1, SIDE, SIDE}, pixel);
    blob_add(b, "y", I64, 1, (int64_t[]){IMAGES}, digit);
    struct dataset *d = dataset_of(b, &e);
    if (!d) fail_msg("%s", e.text);
    return d;
}

static const char *const everything = "conv 4 3 nobias | norm batch | relu | maxpool 2 | dropout .2 | flatten | linear 8 | norm layer | gelu | linear 3";

static struct model *model(const char *line, struct shape input, int outputs) {
    struct error e = {0};
    struct arch *a = arch_parse(line, input, outputs, &e);
    if (!a) fail_msg("%s", e.text);
    return model_new(a, 5);
}

struct setting {
    const char *line, *device, *augment;
    int threads;
    double validation, lr;
    int64_t epochs, patience;
    bool keep_best;
    struct regime *regime;
    const char *resume, *checkpoint;
};

struct outcome {
    struct model *m;
    double history[64];
    int64_t steps, epochs, best_epoch;
    bool interrupted;
    struct error e;
};

static struct outcome run(const struct setting *s) {
    struct outcome out = {0};
    struct dataset *d = data_new();
    struct model *m = out.m = model(s->line, shape_of(3, 1, SIDE, SIDE), 3);
    struct pool *pool = pool_new(s->threads ? s->threads : 1);
    m->keep_count = d->count;
    m->keep = dataset_choose("all", d->count, &out.e);
    struct train_split split = train_split(m->keep, d->count, s->validation, 5);
    struct train_options o = {.seed = 5, .device = s->device ? s->device : "cpu", .epochs = s->epochs, .batch = 16, .lr = s->lr ? s->lr : .01,
                              .schedule = "cosine", .patience = s->patience, .keep_best = s->keep_best, .checkpoint = s->checkpoint};
    json_t *identity = json_pack("{s:s}", "arch", m->arch->line);
    o.identity = identity;
    optim_defaults(&o.optim, OPTIM_ADAM);
    assert_true(train_normalise(m, "scalar", d, split.train, split.trains, pool, &out.e));
    assert_true(augment_parse(&o.augment, s->augment ? s->augment : "none", SIDE, SIDE, 5, &out.e));
    struct training *t = train_open(m, &o, s->regime, d, &split, d, pool, &out.e);
    if (t && (!s->resume || train_resume(t, s->resume, &out.e))) {
        train_run(t, &out.e);
        memcpy(out.history, t->history, (size_t)(TRAIN_COLUMNS * s->epochs) * sizeof *out.history);
        out.steps = t->step;
        out.epochs = t->epoch;
        out.best_epoch = t->best_epoch;
        out.interrupted = t->interrupted;
    }
    train_free(t);
    json_decref(identity);
    train_split_free(&split);
    pool_free(pool);
    dataset_free(d);
    return out;
}

static void expect_equal(const struct outcome *a, const struct outcome *b, int64_t epochs) {
    assert_memory_equal(a->m->theta, b->m->theta, (size_t)a->m->arch->size * sizeof(float));
    assert_memory_equal(a->m->state, b->m->state, (size_t)a->m->arch->state_size * sizeof(float));
    assert_memory_equal(a->history, b->history, (size_t)(TRAIN_COLUMNS * epochs) * sizeof(double));
}

// ---- PyTorch

// The tensors of blob `from` whose names begin with prefix, without it.
static struct blob *part(const struct blob *from, const char *prefix) {
    struct blob *b = blob_new("");
    size_t n = strlen(prefix);
    for (int i = 0; i < from->count; i++) {
        const struct tensor *t = &from->tensor[i];
        if (!strncmp(t->name, prefix, n)) blob_add(b, t->name + n, t->dtype, t->rank, t->dim, t->data);
    }
    return b;
}

static double furthest(const struct arch_tensor *t, int count, const float *have, const struct blob *want, const char *passed_over) {
    double most = 0;
    struct error e = {0};
    for (int i = 0; i < count; i++) {
        const struct tensor *w = blob_need(want, t[i].name, &e);
        if (!w) fail_msg("%s", e.text);
        if (passed_over && strstr(t[i].name, passed_over)) continue;
        for (int64_t j = 0; j < t[i].count; j++) most = fmax(most, fabs((double)have[t[i].offset + j] - tensor_value(w, j)));
    }
    return most;
}

static void compare_training(const struct blob *g, struct dataset *d, int which, const char *device, const char *name, double tolerance) {
    struct error e = {0};
    char key[32];
    snprintf(key, sizeof key, "line%d", which);
    struct model *m = model(blob_meta(g, key), shape_of(3, 2, 8, 8), 4);
    snprintf(key, sizeof key, "%d/start/", which);
    struct blob *start = part(g, key);
    if (!model_load(m, start, &e)) fail_msg("%s", e.text);
    struct pool *pool = pool_new(2);
    unsigned char keep[12];
    memset(keep, 1, sizeof keep);
    struct train_split split = train_split(keep, 12, 0, 0);
    bool sgd = !strcmp(name, "sgd");
    struct train_options o = {.device = device, .epochs = 10, .batch = 12, .lr = sgd ? .05 : .01, .schedule = "constant", .smoothing = sgd ? .2 : 0,
                              .class_weight = sgd ? (double[]){.5, 1, 1.5, 2} : NULL};
    enum optim_kind kind = OPTIM_SGD;
    assert_true(optim_parse(name, &kind));
    optim_defaults(&o.optim, kind);
    if (sgd) o.optim.momentum = .9, o.optim.nesterov = true;
    o.optim.weight_decay = .1;
    o.optim.l2 = kind == OPTIM_ADAMW ? 0 : .01;
    assert_true(train_normalise(m, "constant:.4,.3", d, split.train, split.trains, pool, &e));
    struct training *t = train_open(m, &o, NULL, d, &split, NULL, pool, &e);
    if (!t) fail_msg("%s", e.text);

    struct evaluator *v = evaluator_open(m, device, pool, &e);
    float logits[48];
    assert_true(evaluator_dataset(v, d, NULL, 12, logits, &e));
    snprintf(key, sizeof key, "%d/logits", which);
    const struct tensor *want = blob_need(g, key, &e);
    for (int i = 0; i < 48; i++) assert_true(fabs((double)logits[i] - tensor_value(want, i)) < 2e-6);
    evaluator_free(v);

    if (!train_run(t, &e)) fail_msg("%s", e.text);
    snprintf(key, sizeof key, "%d/%s/", which, name);
    struct blob *end = part(g, key);
    // A bias of the keys moves every score of a row alike, which softmax does not see: its gradient is rounding
    // noise, and without L2 Adam follows that.
    const char *idle = kind == OPTIM_ADAMW && !strcmp(device, "cpu") ? "in_proj_bias" : NULL;
    double far = fmax(furthest(m->arch->param, m->arch->count, m->theta, end, idle),
                      furthest(m->arch->state, m->arch->states, m->state, end, NULL));
    if (!(far < tolerance)) fail_msg("network %d, %s on %s: weights are %g away after ten steps", which, name, device, far);
    assert_true(furthest(m->arch->param, m->arch->count, m->theta, start, NULL) > .05);  // it has moved
    train_free(t);
    train_split_free(&split);
    blob_free(start);
    blob_free(end);
    pool_free(pool);
    model_free(m);
}

static void test_ten_steps_are_pytorchs(void **state) {
    (void)state;
    static const char *const names[] = {"adam", "adamw", "sgd"};
    struct error e = {0};
    struct blob *g = blob_open(golden, &e);
    if (!g) fail_msg("%s", e.text);
    struct blob *xy = blob_new("");
    const struct tensor *x = blob_find(g, "x"), *y = blob_find(g, "y");
    blob_add(xy, "x", x->dtype, x->rank, x->dim, x->data);
    blob_add(xy, "y", y->dtype, y->rank, y->dim, y->data);
    struct dataset *d = dataset_of(xy, &e);
    if (!d) fail_msg("%s", e.text);
    for (int which = 0; which < 5; which++)
        for (int o = 0; o < 3; o++) {
            // ref computes in double and keeps weights as floats: ten roundings of numbers up to 2. cpu computes in
            // single, and Adam divides gradients by their own size: small ones carry their error into the weight.
            compare_training(g, d, which, "ref", names[o], 1e-6);
            compare_training(g, d, which, "cpu", names[o], 2e-5);
        }
    dataset_free(d);
    blob_free(g);
}

// ---- bits

static void test_threads_do_not_matter(void **state) {
    (void)state;
    for (int k = 0; k < 2; k++) {
        struct setting s = {.line = k ? "patch 3 8 | cls | pos | encoder 2 16 dropout .1 | norm layer | head | linear 3" : everything,
                            .augment = "flip,shift:1,crop:2", .epochs = 2, .validation = .2, .threads = 1};
        struct outcome one = run(&s);
        if (one.e.status) fail_msg("%s", one.e.text);
        assert_int_equal(one.steps, 2 * 4);
        static const int threads[] = {2, 3, 8};
        for (int i = 0; i < 3; i++) {
            s.threads = threads[i];
            struct outcome more = run(&s);
            expect_equal(&one, &more, 2);
            model_free(more.m);
        }
        model_free(one.m);
    }
}

static bool terminate_at_7(void *own, struct training *t, const int64_t *index, int64_t n, float *images, struct error *e) {
    (void)own, (void)index, (void)n, (void)images, (void)e;
    if (t->step == 7) raise(SIGTERM);
    return true;
}

static void test_a_cut_run_continues_bit_for_bit(void **state) {
    (void)state;
    struct setting s = {.line = everything, .epochs = 4, .validation = .2, .keep_best = true, .augment = "shift:2", .patience = 3};
    struct outcome whole = run(&s);
    if (whole.e.status) fail_msg("%s", whole.e.text);
    const char *path = file("cut.st");
    pid_t child = fork();
    if (!child) {
        struct regime r = {.name = "cut", .perturb = terminate_at_7};
        s.regime = &r;
        s.checkpoint = path;
        msg_open("test");
        msg_verbosity(-1);
        out_graceful();
        struct outcome cut = run(&s);
        // Seven steps and the one in which the signal came, in the middle of the second epoch of four steps.
        _exit(cut.interrupted && cut.steps == 8 && !cut.e.status ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    s.resume = path;
    struct outcome rest = run(&s);
    if (rest.e.status) fail_msg("%s", rest.e.text);
    expect_equal(&whole, &rest, 4);
    assert_int_equal(whole.best_epoch, rest.best_epoch);
    model_free(rest.m);

    s.line = "flatten | linear 3";  // another run's checkpoint
    rest = run(&s);
    assert_int_equal(rest.e.status, EXIT_INPUT);
    assert_non_null(strstr(rest.e.text, "checkpoint of another run: arch is"));
    model_free(rest.m);
    model_free(whole.m);
}

// ---- regimes

static struct {
    int64_t batches, seen;
    int finished, epochs;
} calls;

static int64_t batch_of_three_or_none(void *own, struct training *t, int64_t *index, int64_t room) {
    (void)own;
    assert_true(room >= 20);
    calls.batches++;
    int64_t n = t->step % 2 ? 0 : 20;
    for (int64_t i = 0; i < n; i++) index[i] = t->split.train[i];
    calls.seen += n;
    return n;
}
static struct node *half_loss(void *own, struct training *t, struct node *loss) {
    (void)own;
    return graph_scale(t->graph, loss, .5);
}
static bool check_gradient(void *own, struct training *t, int64_t n, float *gradient, struct error *e) {
    (void)own, (void)t, (void)e;
    calls.finished++;
    bool zero = true;
    for (int64_t i = 0; i < t->model->arch->size; i++) zero = zero && gradient[i] == 0;
    assert_true(zero == (n == 0));  // no example: sums over nothing
    memset(gradient, 0, (size_t)t->model->arch->size * sizeof *gradient);
    return true;
}
static bool stop_after_two(void *own, struct training *t, double *score, bool *stop, struct error *e) {
    (void)own, (void)e;
    calls.epochs++;
    *score = -(double)t->epoch;
    *stop = t->epoch == 1;
    return true;
}

// A fixed tensor has the bits of its start, and every other moves.
static void test_what_is_fixed_stays(void **state) {
    (void)state;
    const char *line = "flatten | linear 6 fixed | relu | linear 8 | relu | linear 3 nobias fixed";
    struct outcome o = run(&(struct setting){.line = line, .epochs = 3});
    assert_int_equal(o.e.status, 0);
    struct model *start = model(line, shape_of(3, 1, SIDE, SIDE), 3);
    for (int i = 0; i < start->arch->count; i++) {
        const struct arch_tensor *p = &start->arch->param[i];
        assert_int_equal(p->fixed, i != 2 && i != 3);
        bool same = !memcmp(start->theta + p->offset, o.m->theta + p->offset, (size_t)p->count * sizeof(float));
        assert_int_equal(same, p->fixed);
    }
    model_free(start);
    model_free(o.m);
}

static void test_a_regime_takes_over(void **state) {
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        memset(&calls, 0, sizeof calls);
        struct regime r = {.name = "test", .batch = batch_of_three_or_none, .most = 20, .loss = half_loss, .finish = check_gradient,
                           .epoch_end = stop_after_two};
        struct setting s = {.line = "flatten | linear 5 | relu | linear 3", .device = devices[i], .epochs = 5, .regime = &r, .keep_best = true};
        struct outcome o = run(&s);
        if (o.e.status) fail_msg("%s", o.e.text);
        assert_int_equal(o.steps, 2 * 5);  // 75 examples in batches of 16
        assert_int_equal(calls.batches, 10);
        assert_int_equal(calls.finished, 10);
        assert_int_equal(calls.epochs, 2);
        assert_int_equal(o.best_epoch, 1);
        struct model *fresh = model(s.line, shape_of(3, 1, SIDE, SIDE), 3);
        assert_memory_equal(fresh->theta, o.m->theta, (size_t)fresh->arch->size * sizeof(float));  // gradients were wiped
        model_free(fresh);
        model_free(o.m);
    }
}

static void test_training_learns_and_notes_it(void **state) {
    (void)state;
    struct setting s = {.line = everything, .epochs = 8, .lr = .02};
    struct outcome o = run(&s);
    if (o.e.status) fail_msg("%s", o.e.text);
    const double *h = o.history;
    assert_true(h[TRAIN_LOSS * 8] > h[TRAIN_LOSS * 8 + 7]);
    assert_true(h[TEST_ACCURACY * 8 + 7] > .9);  // three clear patterns
    assert_true(isnan(h[VALIDATION_LOSS * 8]));
    assert_true(h[TRAIN_LR * 8] > h[TRAIN_LR * 8 + 7]);
    model_free(o.m);
}

static bool poison(void *own, struct training *t, const int64_t *index, int64_t n, float *images, struct error *e) {
    (void)own, (void)index, (void)n, (void)e;
    if (t->step == 3) images[5] = NAN;
    return true;
}
static bool poison_gradient(void *own, struct training *t, int64_t n, float *gradient, struct error *e) {
    (void)own, (void)n, (void)e;
    if (t->step == 2) gradient[t->model->arch->param[2].offset + 1] = INFINITY;
    return true;
}

static void test_numbers_that_are_not_finite_stop_the_run(void **state) {
    (void)state;
    struct regime images = {.name = "poison", .perturb = poison}, gradient = {.name = "poison", .finish = poison_gradient};
    struct setting s = {.line = "flatten | linear 5 | tanh | linear 3", .epochs = 2, .regime = &images};
    struct outcome o = run(&s);
    assert_int_equal(o.e.status, EXIT_INPUT);
    assert_non_null(strstr(o.e.text, "step 4 (epoch 1): the loss of example "));
    model_free(o.m);
    s.regime = &gradient;
    o = run(&s);
    assert_int_equal(o.e.status, EXIT_INPUT);
    assert_non_null(strstr(o.e.text, "step 3 (epoch 1): the gradient of tensor 3.weight is inf"));
    model_free(o.m);
}

static void test_early_stop_keeps_the_best(void **state) {
    (void)state;
    struct setting s = {.line = "flatten | linear 40 | relu | linear 3", .epochs = 8, .validation = .4, .lr = 3, .patience = 2, .keep_best = true};
    struct outcome o = run(&s);
    if (o.e.status) fail_msg("%s", o.e.text);
    const double *loss = o.history + VALIDATION_LOSS * 8;
    int best = 0;
    for (int i = 1; i < o.epochs; i++)
        if (loss[i] < loss[best]) best = i;
    assert_int_equal(o.best_epoch, best + 1);
    if (o.epochs < 8) assert_int_equal(o.epochs, o.best_epoch + 2);
    struct outcome again = (s.epochs = 8, run(&s));
    assert_memory_equal(o.m->theta, again.m->theta, (size_t)o.m->arch->size * sizeof(float));
    model_free(again.m);
    model_free(o.m);
}

static void test_the_split(void **state) {
    (void)state;
    unsigned char keep[100];
    int times[100] = {0};
    for (int i = 0; i < 100; i++) keep[i] = i % 4 != 0;
    struct train_split s = train_split(keep, 100, .2, 9), other;
    assert_int_equal(s.trains, 60);
    assert_int_equal(s.validations, 15);
    for (int i = 0; i < 60; i++) times[s.train[i]]++, assert_true(keep[s.train[i]]);
    for (int i = 0; i < 15; i++) times[s.validation[i]]++, assert_false(keep[s.validation[i]]);
    for (int i = 0; i < 100; i++) assert_int_equal(times[i], i % 4 != 0);
    memset(keep, 1, sizeof keep);
    other = train_split(keep, 100, .2, 10);
    assert_memory_not_equal(s.validation, other.validation, 15 * sizeof *s.validation);
    train_split_free(&s);
    train_split_free(&other);
}

// ---- the model as a value

static void test_normalisation(void **state) {
    (void)state;
    struct dataset *d = data_new();
    struct pool *pool = pool_new(2);
    struct error e = {0};
    int64_t index[IMAGES];
    for (int i = 0; i < IMAGES; i++) index[i] = i;
    struct model *m = model("flatten | linear 3 nobias", shape_of(3, 1, SIDE, SIDE), 3);
    double mean = 0, square = 0, n = 20 * SIDE * SIDE, first = 0;
    for (int i = 0; i < 20 * SIDE * SIDE; i++) mean += pixel[i] / 255. / n, square += pixel[i] / 255. * pixel[i] / 255. / n;
    assert_true(train_normalise(m, "scalar", d, index, 20, pool, &e));
    assert_true(fabs(m->mean[0] - mean) < 1e-6 && fabs(m->std - sqrt(square - mean * mean)) < 1e-6);
    assert_true(train_normalise(m, "mean-image", d, index, IMAGES, pool, &e));
    assert_int_equal(m->mean_count, SIDE * SIDE);
    for (int i = 0; i < IMAGES; i++) first += pixel[i * SIDE * SIDE] / 255. / IMAGES;
    assert_true(fabs(m->mean[0] - first) < 1e-6 && m->std == 1);

    // Logits are W (x - mean) / std, on every device.
    float z[2][IMAGES * 3];
    for (int k = 0; k < 2; k++) {
        struct evaluator *v = evaluator_open(m, devices[k], pool, &e);
        if (!v) fail_msg("%s", e.text);
        assert_true(evaluator_dataset(v, d, NULL, IMAGES, z[k], &e));
        evaluator_free(v);
        for (int i = 0; i < IMAGES; i++)
            for (int c = 0; c < 3; c++) {
                double sum = 0;
                for (int j = 0; j < SIDE * SIDE; j++)
                    sum += (double)m->theta[c * SIDE * SIDE + j] * (pixel[i * SIDE * SIDE + j] / 255. - (double)m->mean[j]);
                assert_true(fabs(sum - (double)z[k][i * 3 + c]) < 1e-5);
            }
    }
    struct evaluation v = evaluation_of(m, z[0], d->y, NULL, IMAGES);
    int64_t right = 0;
    for (int i = 0; i < IMAGES; i++) right += evaluation_class(z[0] + i * 3, 3) == d->y[i];
    assert_int_equal(v.right, right);
    static const char *const wrong[] = {"median", "constant", "constant:1", "constant:a,1", "constant:.5,0", "constant:0,-1"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        e = (struct error){0};
        assert_false(train_normalise(m, wrong[i], d, index, IMAGES, pool, &e));
        assert_int_equal(e.status, EXIT_USAGE);
    }
    model_free(m);
    pool_free(pool);
    dataset_free(d);
}

static void write_model(const struct model *m, const char *path) {
    struct error e = {0};
    struct blob *b = blob_new("model");
    json_t *record = record_new();
    model_save(m, b, record);
    blob_set_record(b, record);
    if (!blob_write(b, path, &e)) fail_msg("%s", e.text);
    json_decref(record);
    blob_free(b);
}

static void test_a_model_survives_its_file(void **state) {
    (void)state;
    struct error e = {0};
    struct setting s = {.line = everything, .epochs = 1};
    struct outcome o = run(&s);
    char path[128];
    snprintf(path, sizeof path, "%s", file("model.st"));
    write_model(o.m, path);
    struct model *m = model_open(path, &e);
    if (!m) fail_msg("%s", e.text);
    assert_string_equal(m->arch->line, o.m->arch->line);
    assert_memory_equal(m->theta, o.m->theta, (size_t)m->arch->size * sizeof(float));
    assert_memory_equal(m->state, o.m->state, (size_t)m->arch->state_size * sizeof(float));
    assert_true(m->mean[0] == o.m->mean[0] && m->std == o.m->std && !m->binary && m->classes == 3);
    assert_int_equal(m->keep_count, IMAGES);
    assert_string_equal(m->normalise, "scalar");
    model_free(m);
    model_free(o.m);

    struct blob *b = blob_open(path, &e);
    // Another architecture's weights, by name and shape; a tensor too many.
    struct model *narrow = model("conv 5 3 nobias | norm batch | relu | maxpool 2 | dropout .2 | flatten | linear 8 | norm layer | gelu | linear 3",
                                 shape_of(3, 1, SIDE, SIDE), 3);
    assert_false(model_load(narrow, b, &e));
    assert_non_null(strstr(e.text, "tensor 0.weight: F32 [5,1,3,3] expected by the architecture, F32 [4, 1, 3, 3] found"));
    model_free(narrow);
    e = (struct error){0};
    struct model *shorter = model("conv 4 3 nobias | norm batch | relu | maxpool 2 | dropout .2 | flatten | linear 3", shape_of(3, 1, SIDE, SIDE), 3);
    assert_false(model_load(shorter, b, &e));
    assert_int_equal(e.status, EXIT_INPUT);
    model_free(shorter);
    blob_free(b);
}

// A network with one output z is the two-class network (0, z): its loss is the logistic loss.
static void test_binary(void **state) {
    (void)state;
    struct error e = {0};
    struct dataset *d = data_new();
    struct pool *pool = pool_new(1);
    struct model *m = model("flatten | linear 1", shape_of(3, 1, SIDE, SIDE), 1);
    m->positive = 1 << 0 | 1 << 2;
    assert_true(m->binary && m->classes == 2 && model_fits(m, d, &e));
    assert_true(model_label(m, 0) == 1 && model_label(m, 1) == 0 && model_label(m, 2) == 1);
    struct evaluator *v = evaluator_open(m, "cpu", pool, &e);
    if (!v) fail_msg("%s", e.text);
    float z[IMAGES * 2];
    double loss = 0;
    assert_true(evaluator_dataset(v, d, NULL, IMAGES, z, &e));
    for (int i = 0; i < IMAGES; i++) {
        assert_true(z[2 * i] == 0);
        loss += log1p(exp((digit[i] == 1 ? 1 : -1) * (double)z[2 * i + 1])) / IMAGES;
    }
    assert_true(fabs(evaluation_of(m, z, d->y, NULL, IMAGES).loss - loss) < 1e-9);
    char path[128];
    snprintf(path, sizeof path, "%s", file("binary.st"));
    write_model(m, path);
    struct model *again = model_open(path, &e);
    if (!again) fail_msg("%s", e.text);
    assert_true(again->binary && again->positive == m->positive);
    model_free(again);
    evaluator_free(v);
    model_free(m);
    pool_free(pool);
    dataset_free(d);
}

static void test_augmentation(void **state) {
    (void)state;
    struct augment a;
    struct error e = {0};
    float image[2 * 20], was[2 * 20], scratch[2 * 20];
    int seen[3][3] = {{0}}, flips = 0;
    assert_true(augment_parse(&a, "flip,shift:1", 4, 5, 3, &e));
    for (uint32_t k = 0; k < 400; k++) {
        for (int i = 0; i < 40; i++) image[i] = was[i] = (float)(i + 1);
        augment_image(&a, image, 2, 4, 5, k, 9, scratch);
        // Find the one change that explains both channels.
        int found = 0;
        for (int flip = 0; flip < 2; flip++)
            for (int down = -1; down <= 1; down++)
                for (int right = -1; right <= 1; right++) {
                    bool same = true;
                    for (int i = 0; i < 40; i++) {
                        int c = i / 20, row = i % 20 / 5 - down, col = i % 5;
                        col = (flip ? 4 - col : col) - right;
                        float want = row < 0 || row > 3 || col < 0 || col > 4 ? 0 : was[c * 20 + row * 5 + col];
                        same = same && image[i] == want;
                    }
                    if (same) found++, flips += flip, seen[down + 1][right + 1]++;
                }
        assert_int_equal(found, 1);
    }
    assert_in_range(flips, 150, 250);  // binomial(400, 1/2): five standard deviations
    for (int i = 0; i < 9; i++) assert_in_range(seen[i / 3][i % 3], 13, 76);  // binomial(400, 1/9)
    // A constant image stays constant under a crop, a ramp stays a ramp inside the old range.
    assert_true(augment_parse(&a, "crop:2", 4, 5, 3, &e));
    bool moved = false;
    for (uint32_t k = 0; k < 50; k++) {
        for (int i = 0; i < 20; i++) image[i] = .7f, image[20 + i] = (float)(i % 5);
        augment_image(&a, image, 2, 4, 5, k, 0, scratch);
        for (int i = 0; i < 20; i++) {
            assert_true(fabsf(image[i] - .7f) < 1e-6f);
            assert_true(image[20 + i] >= 0 && image[20 + i] <= 4 && (i % 5 == 0 || image[20 + i] >= image[19 + i]));
            moved = moved || image[20 + i] != (float)(i % 5);
        }
    }
    assert_true(moved);
    static const char *const wrong[] = {"spin", "shift", "shift:", "shift:0", "shift:4", "flip,", "crop:x", ""};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        e = (struct error){0};
        assert_false(augment_parse(&a, wrong[i], 4, 5, 3, &e));
        assert_int_equal(e.status, EXIT_USAGE);
    }
}

static int enter(void **state) {
    (void)state;
    msg_verbosity(-1);
    return mkdtemp(directory) ? 0 : -1;
}
static int leave(void **state) {
    (void)state;
    static const char *const names[] = {"cut.st", "model.st", "binary.st"};
    for (int i = 0; i < 3; i++) unlink(file(names[i]));
    return rmdir(directory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ten_steps_are_pytorchs),          cmocka_unit_test(test_threads_do_not_matter),
        cmocka_unit_test(test_a_cut_run_continues_bit_for_bit), cmocka_unit_test(test_what_is_fixed_stays), cmocka_unit_test(test_a_regime_takes_over),
        cmocka_unit_test(test_training_learns_and_notes_it),    cmocka_unit_test(test_numbers_that_are_not_finite_stop_the_run),
        cmocka_unit_test(test_early_stop_keeps_the_best),       cmocka_unit_test(test_the_split),
        cmocka_unit_test(test_normalisation),                   cmocka_unit_test(test_a_model_survives_its_file),
        cmocka_unit_test(test_binary),                          cmocka_unit_test(test_augmentation),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}

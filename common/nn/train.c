// train.c: minibatch gradient descent over the plan of one step (Robbins & Monro 1951; in its present form
// e.g. Bottou, Curtis & Nocedal 2018).
//
// Every draw is keyed by (example, step), every sum over examples is in double and in a fixed order, and the
// whole state of a run is the model, the optimiser's moments and a few numbers: so a run is the same bits on
// any number of threads and can be cut at any step.
#include "train.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/msg.h"
#include "../base/opt.h"
#include "../base/out.h"
#include "../engine/grad.h"
#include "../io/checkpoint.h"
#include "loss.h"

const char *const train_column_name[TRAIN_COLUMNS] = {
    [TRAIN_LOSS] = "train_loss", [TRAIN_ACCURACY] = "train_accuracy",
    [VALIDATION_LOSS] = "validation_loss", [VALIDATION_ACCURACY] = "validation_accuracy",
    [TEST_LOSS] = "test_loss", [TEST_ACCURACY] = "test_accuracy", [TRAIN_LR] = "lr",
};

// What stands in a checkpoint beside arrays.
enum counter { STEP, EPOCH, EPOCH_STEP, HANDED_OUT, SEEN, RIGHT, BEST_EPOCH, BAD_EPOCHS, STOPPED, COUNTERS };

struct train_run {
    struct plan *plan;
    struct exec *exec;
    struct model_binding binding;
    struct evaluator *evaluator;
    struct optim optim;
    struct schedule schedule;
    struct node **gradient;    // whole, per parameter
    struct node *scale, *count, *class_weight;  // whole inputs

    int64_t room;              // examples a step may have
    int64_t *index;            // [room] positions in the data
    float *images;             // [room][C H W]
    float *scratch;            // an image for each worker
    int32_t *label, *key;      // [room][1], [room][3]
    float *flat;               // gradient
    float *fixed;              // as theta: parameters that do not move, or NULL
    void *x, *losses, *logits, *slope, *state;  // as the device takes and gives them; slope is the gradient
    void *one, *many, *weights;

    int64_t *order;            // of this epoch: positions in split.train
    int64_t epoch_step, handed_out, seen, right, bad_epochs;
    double loss_sum;
    bool stopped;
    float *best_theta, *best_state;
};

// ---- the split

struct train_split train_split(unsigned char *keep, int64_t count, double fraction, uint64_t seed) {
    struct train_split s = {0};
    for (int64_t i = 0; i < count; i++) s.trains += keep[i] != 0;
    s.validations = (int64_t)floor(fraction * (double)s.trains);
    s.train = memory_take((size_t)(s.trains + 1) * sizeof *s.train);
    s.validation = memory_take((size_t)(s.validations + 1) * sizeof *s.validation);
    int64_t *member = memory_take((size_t)(s.trains + 1) * sizeof *member), *order = memory_take((size_t)(s.trains + 1) * sizeof *order);
    for (int64_t i = 0, n = 0; i < count; i++)
        if (keep[i]) member[n++] = i;
    if (s.validations) rng_permutation(rng_stream(seed, "train/validation"), 0, order, s.trains);
    for (int64_t i = 0; i < s.validations; i++) keep[member[order[i]]] = 0;
    int64_t t = 0, v = 0;
    for (int64_t i = 0; i < s.trains; i++)
        if (keep[member[i]]) s.train[t++] = member[i];
        else s.validation[v++] = member[i];
    s.trains = t;
    free(member);
    free(order);
    return s;
}

void train_split_free(struct train_split *s) {
    free(s->train);
    free(s->validation);
    *s = (struct train_split){0};
}

// ---- the classes

static bool list_of_weights(const char *text, double *weight, int classes) {
    enum { WEIGHT_MOST = 1000000 };
    for (int k = 0; k < classes; k++) {
        char word[64];
        size_t length = strcspn(text, ",");
        if (length >= sizeof word || (text[length] == ',') != (k + 1 < classes)) return false;
        memcpy(word, text, length);
        word[length] = 0;
        if (!parse_real(word, &weight[k]) || !(weight[k] >= 0 && weight[k] <= WEIGHT_MOST)) return false;
        text += length + 1;
    }
    return true;
}

double *train_class_weights(const char *word, const struct model *m, const struct dataset *d, const struct train_split *s,
                            struct error *e) {
    if (!strcmp(word, "none")) return NULL;
    int64_t *count = memory_zero((size_t)m->classes * sizeof *count);
    double *weight = memory_zero((size_t)m->classes * sizeof *weight);
    bool balanced = !strcmp(word, "balanced");
    for (int64_t i = 0; i < s->trains; i++) count[model_label(m, d->y[s->train[i]])]++;
    if (!balanced && !list_of_weights(word, weight, m->classes))
        error_set(e, EXIT_USAGE, "class weights \"%s\": none, balanced or %d numbers from 0 to 1e6 expected", word, m->classes);
    double total = 0;
    for (int k = 0; k < m->classes; k++) {
        if (balanced && count[k]) weight[k] = (double)s->trains / ((double)m->classes * (double)count[k]);
        total += weight[k] * (double)count[k];
    }
    if (!e->status && !(total > 0)) error_set(e, EXIT_USAGE, "class weights \"%s\": no example to train on has a positive weight", word);
    free(count);
    if (!e->status) return weight;
    free(weight);
    return NULL;
}

bool train_two_classes(const struct model *m, const struct dataset *d, const struct train_split *s, struct error *e) {
    int64_t positive = 0;
    for (int64_t i = 0; i < s->trains; i++) positive += model_label(m, d->y[s->train[i]]);
    if (positive > 0 && positive < s->trains) return true;
    return error_set(e, EXIT_INPUT, "%s: %s of the %lld examples to train on %s in the positive class", d->blob->source, positive ? "all" : "none",
                     (long long)s->trains, positive ? "are" : "is");
}

// ---- the normalisation

struct pixels {
    const struct dataset *d;
    const int64_t *index;
    int64_t n, size;
    double *sum, *squares;  // per example
    float *scratch;         // an image for each worker
};
enum { SUMS_PER_JOB = 64 };

static void sum_examples(void *data, long job, int worker) {
    struct pixels *p = data;
    float *image = p->scratch + worker * p->size;
    for (int64_t i = (int64_t)job * SUMS_PER_JOB; i < p->n && i < (int64_t)(job + 1) * SUMS_PER_JOB; i++) {
        dataset_image(p->d, p->index[i], image);
        double sum = 0, squares = 0;
        for (int64_t j = 0; j < p->size; j++) {
            sum += image[j];
            squares += (double)image[j] * image[j];
        }
        p->sum[i] = sum;
        p->squares[i] = squares;
    }
}

bool train_normalise(struct model *m, const char *word, const struct dataset *d, const int64_t *index, int64_t n,
                     struct pool *pool, struct error *e) {
    bool constant = !strncmp(word, "constant:", 9), image = !strcmp(word, "mean-image");
    m->mean_count = 0;
    m->std = 1;
    bool whole = (size_t)snprintf(m->normalise, sizeof m->normalise, "%s", word) < sizeof m->normalise;
    if (!strcmp(word, "none")) return true;
    if (!whole || (!constant && !image && strcmp(word, "scalar")))
        return error_set(e, EXIT_USAGE, "normalisation \"%s\": none, constant:M,S, scalar or mean-image expected", word);
    int64_t size = shape_count(&m->arch->input);
    m->mean_count = image ? size : 1;
    free(m->mean);
    m->mean = memory_zero((size_t)m->mean_count * sizeof *m->mean);
    if (constant) {
        char mean_text[64];
        const char *comma = strchr(word, ',');
        double mean, std;
        snprintf(mean_text, sizeof mean_text, "%.*s", comma ? (int)(comma - word - 9) : 0, word + 9);
        if (!comma || !parse_real(mean_text, &mean) || !parse_real(comma + 1, &std) || !(std > 0))
            return error_set(e, EXIT_USAGE, "normalisation \"%s\": constant:MEAN,DEVIATION with a positive deviation expected", word);
        m->mean[0] = (float)mean;
        m->std = (float)std;
        return true;
    }
    if (image) {
        double *sum = memory_zero((size_t)size * sizeof *sum);
        float *one = memory_take((size_t)size * sizeof *one);
        for (int64_t i = 0; i < n; i++) {
            dataset_image(d, index[i], one);
            for (int64_t j = 0; j < size; j++) sum[j] += one[j];
        }
        for (int64_t j = 0; j < size; j++) m->mean[j] = (float)(sum[j] / (double)n);
        free(sum);
        free(one);
        return true;
    }
    struct pixels p = {.d = d, .index = index, .n = n, .size = size};
    p.sum = memory_take((size_t)(2 * n + 1) * sizeof *p.sum);
    p.squares = p.sum + n;
    p.scratch = memory_take((size_t)(size * pool_threads(pool)) * sizeof *p.scratch);
    pool_run(pool, (long)((n + SUMS_PER_JOB - 1) / SUMS_PER_JOB), sum_examples, &p);
    double sum = 0, squares = 0, count = (double)n * (double)size;
    for (int64_t i = 0; i < n; i++) sum += p.sum[i], squares += p.squares[i];
    double mean = sum / count, variance = squares / count - mean * mean;
    m->mean[0] = (float)mean;
    m->std = variance > 1e-12 ? (float)sqrt(variance) : 1;  // images of one colour
    free(p.sum);
    free(p.scratch);
    return true;
}

// ---- the device's reals

static bool is_wide(const struct train_run *r) { return exec_real_size(r->exec) == 8; }

static void *take_reals(const struct train_run *r, int64_t n) { return memory_zero((size_t)(n + 1) * (is_wide(r) ? 8 : 4)); }

static void to_device(const struct train_run *r, void *to, const float *from, int64_t n) {
    if (to == from) return;
    for (int64_t i = 0; i < n; i++)
        if (is_wide(r)) ((double *)to)[i] = from[i];
        else ((float *)to)[i] = from[i];
}

static double real_at(const struct train_run *r, const void *from, int64_t i) {
    return is_wide(r) ? ((const double *)from)[i] : (double)((const float *)from)[i];
}

static void from_device(const struct train_run *r, float *to, const void *from, int64_t n) {
    if (to == from) return;
    for (int64_t i = 0; i < n; i++) to[i] = (float)real_at(r, from, i);
}

static void set_number(const struct train_run *r, void *at, double value) {
    if (is_wide(r)) *(double *)at = value;
    else *(float *)at = (float)value;
}

// ---- opening

static void build_graph(struct training *t) {
    struct train_run *r = t->run;
    const struct train_options *o = t->options;
    struct graph *g = t->graph = graph_new();
    struct arch_build *b = &t->nodes.arch;
    t->x = graph_input(g, "images", true, t->model->arch->input);
    t->y = graph_input_index(g, "labels", true, shape_of(1, 1));
    t->key = graph_input_index(g, "key", true, shape_of(1, 3));
    r->scale = graph_input(g, "scale", false, shape_of(1, 1));
    r->count = graph_input(g, "count", false, shape_of(1, 1));
    t->scale = graph_each(g, r->scale);
    b->training = true;
    b->seed = o->seed;
    b->key = t->key;
    b->count = r->count;
    model_build(t->model, g, &t->arena, &t->nodes, t->x);
    if (o->class_weight) r->class_weight = graph_input(g, "class_weight", false, shape_of(1, t->model->classes));
    t->loss = loss_cross_entropy(g, t->nodes.logits, t->y, o->smoothing, r->class_weight ? graph_each(g, r->class_weight) : NULL);
    if (t->regime->loss) t->loss = t->regime->loss(t->regime->own, t, t->loss);

    const struct arch *a = t->model->arch;
    r->gradient = arena_take(&t->arena, (size_t)(a->count + 1) * sizeof *r->gradient);
    if (t->regime->reduce) t->regime->reduce(t->regime->own, t, t->loss, r->gradient);
    else grad_of(g, t->loss, t->scale, b->param, a->count, r->gradient);
    struct node **outputs = arena_take(&t->arena, (size_t)(2 + a->count + a->states) * sizeof *outputs);
    int n = 0;
    outputs[n++] = t->loss;
    outputs[n++] = t->nodes.logits;
    for (int i = 0; i < a->count; i++) outputs[n++] = r->gradient[i];
    for (int i = 0; i < a->states; i++) outputs[n++] = b->new_state[i];
    r->plan = plan_new(g, outputs, n);
}

static void take_buffers(struct training *t) {
    struct train_run *r = t->run;
    const struct arch *a = t->model->arch;
    int64_t size = shape_count(&a->input);
    r->index = memory_take((size_t)r->room * sizeof *r->index);
    r->images = memory_zero((size_t)(r->room * size) * sizeof *r->images);
    r->scratch = memory_take((size_t)(size * pool_threads(t->pool)) * sizeof *r->scratch);
    r->label = memory_zero((size_t)r->room * sizeof *r->label);
    r->key = memory_zero((size_t)r->room * 3 * sizeof *r->key);
    r->order = memory_take((size_t)(t->split.trains + 1) * sizeof *r->order);
    r->flat = memory_zero((size_t)(a->size + 1) * sizeof *r->flat);
    if (a->fixed) r->fixed = memory_zero((size_t)(a->size + 1) * sizeof *r->fixed);
    r->x = is_wide(r) ? take_reals(r, r->room * size) : r->images;
    r->slope = is_wide(r) ? take_reals(r, a->size) : r->flat;
    r->losses = take_reals(r, r->room);
    r->logits = take_reals(r, r->room * t->model->classes);
    r->state = take_reals(r, a->state_size);
    r->one = take_reals(r, 1);
    r->many = take_reals(r, 1);
    exec_set(r->exec, t->x, r->x);
    exec_set(r->exec, t->y, r->label);
    exec_set(r->exec, t->key, r->key);
    exec_get(r->exec, t->loss, r->losses);
    exec_get(r->exec, t->nodes.logits, r->logits);
    size_t real = is_wide(r) ? 8 : 4;
    for (int i = 0; i < a->count; i++) exec_get(r->exec, r->gradient[i], (char *)r->slope + (size_t)a->param[i].offset * real);
    for (int i = 0; i < a->states; i++)
        exec_get(r->exec, t->nodes.arch.new_state[i], (char *)r->state + (size_t)a->state[i].offset * real);
    if (r->class_weight) {
        r->weights = take_reals(r, t->model->classes);
        for (int k = 0; k < t->model->classes; k++)
            set_number(r, (char *)r->weights + (size_t)k * real, t->options->class_weight[k]);
        exec_set(r->exec, r->class_weight, r->weights);
    }
}

struct training *train_open(struct model *m, const struct train_options *o, struct regime *regime, const struct dataset *data,
                            const struct train_split *split, const struct dataset *test, struct pool *pool, struct error *e) {
    static struct regime plain = {.name = "erm"};
    struct training *t = memory_zero(sizeof *t);
    struct train_run *r = t->run = memory_zero(sizeof *r);
    t->model = m;
    t->options = o;
    t->regime = regime ? regime : &plain;
    t->pool = pool;
    t->data = data;
    t->test = test;
    t->split = *split;
    t->history = memory_take((size_t)(TRAIN_COLUMNS * o->epochs + 1) * sizeof *t->history);
    for (int64_t i = 0; i < TRAIN_COLUMNS * o->epochs; i++) t->history[i] = NAN;

    bool norm = m->arch->batch_norm, fine = true;
    int64_t n = split->trains, b = o->batch < n || n < 1 ? o->batch : n;
    if (n < 1 || (norm && n < 2)) fine = error_set(e, EXIT_INPUT, "%lld examples to train on%s", (long long)n, norm ? ", and batch norm needs two" : "");
    if (fine && norm && b < 2) fine = error_set(e, EXIT_USAGE, "batch norm needs batches of two examples or more");
    t->steps_per_epoch = (n + b - 1) / b;
    if (norm && n % b == 1 && n > b) t->steps_per_epoch--;  // batch norm: a last example by itself joins the batch before
    r->room = (t->regime->most > b ? t->regime->most : b) + 1;
    fine = fine && schedule_parse(&r->schedule, o->schedule, o->lr, t->steps_per_epoch, o->epochs, e);
    fine = fine && (!t->regime->open || t->regime->open(t->regime->own, t, e));
    if (fine) {
        build_graph(t);
        r->exec = exec_open(o->device, r->plan, pool, e);
        r->evaluator = r->exec ? evaluator_open(m, o->device, pool, e) : NULL;
        fine = r->evaluator != NULL;
    }
    if (!fine) {
        train_free(t);
        return NULL;
    }
    r->optim = o->optim;
    optim_open(&r->optim, m->arch->size);
    take_buffers(t);
    r->best_theta = memory_take((size_t)(m->arch->size + 1) * sizeof *r->best_theta);
    r->best_state = memory_take((size_t)(m->arch->state_size + 1) * sizeof *r->best_state);
    t->best_score = -INFINITY;
    return t;
}

void train_free(struct training *t) {
    if (!t) return;
    struct train_run *r = t->run;
    bool wide = r->exec && is_wide(r);
    evaluator_free(r->evaluator);
    exec_free(r->exec);
    plan_free(r->plan);
    graph_free(t->graph);
    arena_free(&t->arena);
    model_unbind(&r->binding);
    optim_close(&r->optim);
    if (wide) {
        free(r->x);
        free(r->slope);
    }
    void *own[] = {r->index, r->images, r->scratch, r->label, r->key, r->flat, r->fixed, r->losses, r->logits, r->state,
                   r->one, r->many, r->weights, r->order, r->best_theta, r->best_state, t->history};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) free(own[i]);
    free(r);
    free(t);
}

const struct plan *train_plan(const struct training *t) { return t->run->plan; }

// ---- a step

static int64_t next_batch(struct training *t) {
    struct train_run *r = t->run;
    if (t->regime->batch) return t->regime->batch(t->regime->own, t, r->index, r->room);
    int64_t left = t->split.trains - r->handed_out, n = left < t->options->batch ? left : t->options->batch;
    if (t->model->arch->batch_norm && left - n == 1) n = left;
    for (int64_t i = 0; i < n; i++) r->index[i] = t->split.train[r->order[r->handed_out + i]];
    r->handed_out += n;
    return n;
}

enum { AUGMENTED_PER_JOB = 8 };
struct changing {
    struct training *t;
    int64_t n;
};
static void change_images(void *data, long job, int worker) {
    struct changing *c = data;
    struct training *t = c->t;
    struct train_run *r = t->run;
    const struct dataset *d = t->data;
    int64_t size = dataset_image_size(d);
    for (int64_t i = (int64_t)job * AUGMENTED_PER_JOB; i < c->n && i < (int64_t)(job + 1) * AUGMENTED_PER_JOB; i++)
        augment_image(&t->options->augment, r->images + i * size, d->channels, d->height, d->width, (uint32_t)r->index[i],
                      (uint32_t)t->step, r->scratch + worker * size);
}

static bool make_batch(struct training *t, int64_t n, struct error *e) {
    struct train_run *r = t->run;
    double start = msg_clock();
    model_images(t->data, r->index, 0, n, r->images, t->pool);
    if (augment_any(&t->options->augment))
        pool_run(t->pool, (long)((n + AUGMENTED_PER_JOB - 1) / AUGMENTED_PER_JOB), change_images, &(struct changing){t, n});
    double weight = 0;
    for (int64_t i = 0; i < n; i++) {
        r->label[i] = model_label(t->model, t->data->y[r->index[i]]);
        r->key[3 * i] = (int32_t)r->index[i];
        r->key[3 * i + 1] = (int32_t)t->step;
        r->key[3 * i + 2] = 0;
        weight += t->options->class_weight ? t->options->class_weight[r->label[i]] : 1;
    }
    double middle = msg_clock();
    t->seconds[TRAIN_DATA] += middle - start;
    if (t->regime->perturb && n && !t->regime->perturb(t->regime->own, t, r->index, n, r->images, e)) return false;
    t->seconds[TRAIN_HOOKS] += msg_clock() - middle;
    to_device(r, r->x, r->images, n * dataset_image_size(t->data));
    set_number(r, r->one, weight > 0 ? 1 / weight : 0);
    set_number(r, r->many, (double)n);
    return true;
}

// printf signs the not-a-number that x86 makes.
static const char *not_finite(double v) { return isnan(v) ? "nan" : v > 0 ? "inf" : "-inf"; }

// Losses and hits of the step just run.
static bool take_losses(struct training *t, int64_t n, struct error *e) {
    struct train_run *r = t->run;
    int classes = t->model->classes;
    for (int64_t i = 0; i < n; i++) {
        double loss = real_at(r, r->losses, i);
        if (!isfinite(loss))
            return error_set(e, EXIT_INPUT, "step %lld (epoch %lld): the loss of example %lld is %s; a smaller --lr may help",
                             (long long)t->step + 1, (long long)t->epoch + 1, (long long)r->index[i], not_finite(loss));
        r->loss_sum += loss;
        int best = 0;
        for (int k = 1; k < classes; k++)
            if (real_at(r, r->logits, i * classes + k) > real_at(r, r->logits, i * classes + best)) best = k;
        r->right += best == r->label[i];
    }
    r->seen += n;
    return true;
}

// Parameters that are not to move, kept over an update.
static void hold_fixed(const struct training *t, bool back) {
    const struct arch *a = t->model->arch;
    float *kept = t->run->fixed;
    for (int i = 0; a->fixed && i < a->count; i++) {
        const struct arch_tensor *p = &a->param[i];
        if (!p->fixed) continue;
        memcpy(back ? t->model->theta + p->offset : kept + p->offset, back ? kept + p->offset : t->model->theta + p->offset,
               (size_t)p->count * sizeof *kept);
    }
}

static bool train_step(struct training *t, struct error *e) {
    struct train_run *r = t->run;
    struct model *m = t->model;
    int64_t n = next_batch(t);
    if (!make_batch(t, n, e)) return false;
    model_bind(m, &t->nodes, r->exec, &r->binding);
    exec_set(r->exec, r->scale, r->one);
    exec_set(r->exec, r->count, r->many);
    if (!exec_run(r->exec, n, e) || !take_losses(t, n, e)) return false;
    double start = msg_clock();
    from_device(r, r->flat, r->slope, m->arch->size);
    if (t->regime->finish && !t->regime->finish(t->regime->own, t, n, r->flat, e)) return false;
    double middle = msg_clock();
    hold_fixed(t, false);
    int64_t spoilt = optim_step(&r->optim, schedule_lr(&r->schedule, t->step), m->theta, r->flat, t->pool);
    hold_fixed(t, true);
    if (spoilt >= 0)
        return error_set(e, EXIT_INPUT, "step %lld (epoch %lld): the gradient of tensor %s is %s; a smaller --lr may help",
                         (long long)t->step + 1, (long long)t->epoch + 1, arch_param_at(m->arch, spoilt)->name, not_finite((double)r->flat[spoilt]));
    if (n) from_device(r, m->state, r->state, m->arch->state_size);
    t->seconds[TRAIN_HOOKS] += middle - start;
    t->seconds[TRAIN_OPTIMISER] += msg_clock() - middle;
    t->step++;
    r->epoch_step++;
    return true;
}

// ---- evaluation and the end of an epoch

bool train_evaluate(struct training *t, const struct dataset *d, const int64_t *index, int64_t n, struct evaluation *out,
                    struct error *e) {
    struct train_run *r = t->run;
    evaluator_refresh(r->evaluator);
    float *logits = memory_take((size_t)(n * t->model->classes + 1) * sizeof *logits);
    bool fine = evaluator_dataset(r->evaluator, d, index, n, logits, e);
    if (fine) *out = evaluation_of(t->model, logits, d->y, index, n);
    free(logits);
    return fine;
}

static void note(struct training *t, enum train_column c, double value) { t->history[c * t->options->epochs + t->epoch] = value; }

static bool note_evaluation(struct training *t, enum train_column loss, const struct dataset *d, const int64_t *index, int64_t n,
                            struct evaluation *v, struct error *e) {
    if (!train_evaluate(t, d, index, n, v, e)) return false;
    note(t, loss, v->loss);
    note(t, loss + 1, (double)v->right / (double)(n ? n : 1));
    return true;
}

// Of many epochs only every so many, so that a long run of one-step epochs is not a matter of printing.
enum { EPOCHS_SAID = 200 };
static void say_epoch(const struct training *t, double seconds, int64_t seen) {
    const struct train_options *o = t->options;
    if (o->epochs > EPOCHS_SAID && (t->epoch + 1) % (o->epochs / (EPOCHS_SAID / 2)) && t->epoch + 1 < o->epochs) return;
    char rest[128] = "";
    for (int c = VALIDATION_LOSS; c <= TEST_LOSS; c += TEST_LOSS - VALIDATION_LOSS) {
        double loss = t->history[c * o->epochs + t->epoch], rate = t->history[(c + 1) * o->epochs + t->epoch];
        size_t n = strlen(rest);
        if (!isnan(loss))
            snprintf(rest + n, sizeof rest - n, "; %s %.4f, %.2f %%", c == TEST_LOSS ? "test" : "validation", loss, 100 * rate);
    }
    msg_say("epoch %lld/%lld: loss %.4f, accuracy %.2f %%%s; %.0f images/s", (long long)t->epoch + 1, (long long)o->epochs,
            t->history[TRAIN_LOSS * o->epochs + t->epoch], 100 * t->history[TRAIN_ACCURACY * o->epochs + t->epoch], rest,
            (double)seen / (seconds > 0 ? seconds : 1));
}

static bool end_epoch(struct training *t, double seconds, int64_t seen, struct error *e) {
    struct train_run *r = t->run;
    const struct train_options *o = t->options;
    const struct arch *a = t->model->arch;
    double start = msg_clock(), score = NAN;
    struct evaluation v;
    note(t, TRAIN_LOSS, r->loss_sum / (double)(r->seen ? r->seen : 1));
    note(t, TRAIN_ACCURACY, (double)r->right / (double)(r->seen ? r->seen : 1));
    note(t, TRAIN_LR, schedule_lr(&r->schedule, t->step - 1));
    if (t->split.validations) {
        if (!note_evaluation(t, VALIDATION_LOSS, t->data, t->split.validation, t->split.validations, &v, e)) return false;
        score = -v.loss;
    }
    if (t->test && !note_evaluation(t, TEST_LOSS, t->test, NULL, t->test->count, &v, e)) return false;
    t->seconds[TRAIN_EVALUATION] += msg_clock() - start;
    if (t->regime->epoch_end && !t->regime->epoch_end(t->regime->own, t, &score, &r->stopped, e)) return false;
    say_epoch(t, seconds, seen);
    t->epoch++;
    if (score > t->best_score) {
        t->best_score = score;
        t->best_epoch = t->epoch;
        r->bad_epochs = 0;
        memcpy(r->best_theta, t->model->theta, (size_t)a->size * sizeof *r->best_theta);
        memcpy(r->best_state, t->model->state, (size_t)a->state_size * sizeof *r->best_state);
    } else r->bad_epochs++;
    if (o->patience && t->best_epoch && r->bad_epochs >= o->patience && t->epoch < o->epochs) {
        msg_say("stopped early: %lld epochs without a better score", (long long)r->bad_epochs);
        r->stopped = true;
    }
    r->epoch_step = r->handed_out = r->seen = r->right = 0;
    r->loss_sum = 0;
    return true;
}

// ---- checkpoints

struct saved {
    int64_t counter[COUNTERS];
    double number[2];  // sum of losses, best score
};
enum { SAVED = 7, COUNTS = 2 };  // COUNTS: of the parts, what tells how many there are

// How many they are depends on the optimiser and on whether there was a best epoch.
static int parts_of(const struct training *t, struct saved *s, struct checkpoint_part out[SAVED]) {
    const struct train_run *r = t->run;
    int64_t size = t->model->arch->size, state = t->model->arch->state_size;
    int n = 0;
    out[n++] = (struct checkpoint_part){"assay.run.counters", I64, 1, {COUNTERS}, s->counter};
    out[n++] = (struct checkpoint_part){"assay.run.numbers", F64, 1, {2}, s->number};
    out[n++] = (struct checkpoint_part){"assay.run.history", F64, 2, {TRAIN_COLUMNS, t->options->epochs}, t->history};
    if (r->optim.m) out[n++] = (struct checkpoint_part){"assay.run.m", F32, 1, {size}, r->optim.m};
    if (r->optim.v) out[n++] = (struct checkpoint_part){"assay.run.v", F32, 1, {size}, r->optim.v};
    if (!s->counter[BEST_EPOCH]) return n;
    out[n++] = (struct checkpoint_part){"assay.run.best_theta", F32, 1, {size}, r->best_theta};
    out[n++] = (struct checkpoint_part){"assay.run.best_state", F32, 1, {state}, r->best_state};
    return n;
}

bool train_save(struct training *t, struct error *e) {
    if (!t->options->checkpoint) return true;
    struct train_run *r = t->run;
    struct checkpoint_part part[SAVED];
    struct saved s = {{[STEP] = t->step, [EPOCH] = t->epoch, [EPOCH_STEP] = r->epoch_step, [HANDED_OUT] = r->handed_out,
                       [SEEN] = r->seen, [RIGHT] = r->right, [BEST_EPOCH] = t->best_epoch, [BAD_EPOCHS] = r->bad_epochs,
                       [STOPPED] = r->stopped}, {r->loss_sum, t->best_score}};
    struct checkpoint c = checkpoint_begin(t->options->identity, part, parts_of(t, &s, part));
    model_save(t->model, c.blob, c.record);
    return checkpoint_end(&c, t->options->checkpoint, e);
}

// Counters of a file from anywhere: what no run comes to is refused, so that none overflows or reads what is not there.
static bool check_counters(const struct training *t, const int64_t *c, const char *path, struct error *e) {
    bool there = c[EPOCH] >= 0 && c[EPOCH] <= t->options->epochs && c[EPOCH_STEP] >= 0 && c[EPOCH_STEP] <= t->steps_per_epoch &&
                 c[STEP] == c[EPOCH] * t->steps_per_epoch + c[EPOCH_STEP];
    if (!there)
        return error_set(e, EXIT_INPUT, "%s: assay.run.counters: step %lld of epoch %lld, the %lldth of all, does not exist in this run", path,
                         (long long)c[EPOCH_STEP], (long long)c[EPOCH], (long long)c[STEP]);
    if (c[HANDED_OUT] < 0 || c[HANDED_OUT] > t->split.trains || c[RIGHT] < 0 || c[RIGHT] > c[SEEN] || c[SEEN] > INT64_C(1) << 53 ||
        c[BEST_EPOCH] < 0 || c[BEST_EPOCH] > c[EPOCH] || c[BAD_EPOCHS] < 0 || c[BAD_EPOCHS] > c[EPOCH])
        return error_set(e, EXIT_INPUT, "%s: assay.run.counters: no run comes to these numbers", path);
    return true;
}

bool train_resume(struct training *t, const char *path, struct error *e) {
    struct train_run *r = t->run;
    struct checkpoint_part part[SAVED];
    struct saved s = {0};
    struct blob *b = checkpoint_open(path, t->options->identity, e);
    if (!b) return false;
    parts_of(t, &s, part);
    const int64_t *c = s.counter;
    bool fine = checkpoint_take(b, part, COUNTS, e) && check_counters(t, c, path, e);
    fine = fine && checkpoint_take(b, part, parts_of(t, &s, part), e) && model_load(t->model, b, e);
    if (fine) {
        t->step = r->optim.step = c[STEP];
        t->epoch = c[EPOCH];
        r->epoch_step = c[EPOCH_STEP];
        r->handed_out = c[HANDED_OUT];
        r->seen = c[SEEN];
        r->right = c[RIGHT];
        t->best_epoch = c[BEST_EPOCH];
        r->bad_epochs = c[BAD_EPOCHS];
        r->stopped = c[STOPPED];
        r->loss_sum = s.number[0];
        t->best_score = s.number[1];
    }
    blob_free(b);
    return fine;
}

// ---- the run

static bool train_epoch(struct training *t, struct progress *p, struct error *e) {
    struct train_run *r = t->run;
    double start = msg_clock();
    int64_t seen = r->seen;
    rng_permutation(rng_stream(t->options->seed, "train/shuffle"), (uint32_t)t->epoch, r->order, t->split.trains);
    while (r->epoch_step < t->steps_per_epoch) {
        if (out_stopping()) {
            t->interrupted = true;
            return true;
        }
        if (!train_step(t, e)) return false;
        if (!p) continue;
        char text[48];
        snprintf(text, sizeof text, "loss %.4f", r->loss_sum / (double)(r->seen ? r->seen : 1));
        progress_step(p, (long)(t->epoch * t->split.trains + r->seen), text);
    }
    return end_epoch(t, msg_clock() - start, r->seen - seen, e);
}

bool train_run(struct training *t, struct error *e) {
    struct train_run *r = t->run;
    struct progress progress;
    bool terminal = isatty(STDERR_FILENO);  // elsewhere the line of every epoch says enough
    if (terminal) progress_open(&progress, "images", (long)(t->options->epochs * t->split.trains));
    bool fine = true;
    while (fine && !r->stopped && !t->interrupted && t->epoch < t->options->epochs) {
        fine = train_epoch(t, terminal ? &progress : NULL, e);
        // A signal while an epoch ended, the last one included.
        t->interrupted = t->interrupted || out_stopping();
        if (fine && (t->interrupted || t->options->checkpoint_epochs)) fine = train_save(t, e);
    }
    if (terminal) progress_close(&progress);
    if (fine && !t->interrupted && t->options->keep_best && t->best_epoch) {
        memcpy(t->model->theta, r->best_theta, (size_t)t->model->arch->size * sizeof *r->best_theta);
        memcpy(t->model->state, r->best_state, (size_t)t->model->arch->state_size * sizeof *r->best_state);
    }
    double parts[PARTS];
    exec_profile(r->exec, parts);
    for (int i = 0; i < PARTS; i++) t->seconds[i] += parts[i];
    return fine;
}

void train_say_profile(const struct training *t) {
    static const char *const own[] = {"data", "optimiser", "regime", "evaluation"};
    double total = 0, share[TRAIN_PARTS];
    for (int i = 0; i < TRAIN_PARTS; i++) total += share[i] = t->seconds[i] * (i < PARTS ? 1 : pool_threads(t->pool));
    for (int i = 0; i < TRAIN_PARTS; i++)
        msg_say("%-12s %9.3f s %5.1f %%", i < PARTS ? exec_part_name[i] : own[i - PARTS], share[i], 100 * share[i] / (total > 0 ? total : 1));
    msg_say("%-12s %9.3f s of %d threads", "all", total, pool_threads(t->pool));
}

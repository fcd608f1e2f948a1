// model.c: a classifier as a value: its file, its nodes in a graph, its logits on images.
#include "model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../io/record.h"

static struct model *take(struct arch *a) {
    struct model *m = memory_zero(sizeof *m);
    m->arch = a;
    m->binary = a->outputs == 1;
    m->classes = m->binary ? 2 : a->outputs;
    strcpy(m->normalise, "none");
    m->std = 1;
    return m;
}

static void take_arrays(struct model *m) {
    m->theta = memory_zero(((size_t)m->arch->size + 1) * sizeof *m->theta);
    m->state = memory_zero(((size_t)m->arch->state_size + 1) * sizeof *m->state);
}

struct model *model_new(struct arch *a, uint64_t seed) {
    struct model *m = take(a);
    take_arrays(m);
    arch_init(a, seed, m->theta, m->state);
    return m;
}

void model_free(struct model *m) {
    if (!m) return;
    arch_free(m->arch);
    free(m->theta);
    free(m->state);
    free(m->mean);
    free(m->keep);
    blob_free(m->blob);
    free(m);
}

// ---- reading

static bool is_float(enum dtype d) { return d == F32 || d == F16 || d == BF16 || d == F64; }

static const struct tensor *find_weights(const struct blob *from, const struct arch_tensor *t, struct error *e) {
    const struct tensor *found = blob_need(from, t->name, e);
    if (!found) return NULL;
    bool fits = is_float(found->dtype) && found->rank == t->shape.rank;
    for (int i = 0; fits && i < found->rank; i++) fits = found->dim[i] == t->shape.dim[i];
    char a[96], b[128];
    if (!fits) {
        error_set(e, EXIT_INPUT, "%s: tensor %s: F32 %s expected by the architecture, %s %s found", from->source, t->name,
                  shape_text(&t->shape, a), dtype_name(found->dtype), tensor_shape_text(found, b));
        return NULL;
    }
    return found;
}

static const struct arch_tensor *known(const struct arch *a, const char *name) {
    for (int i = 0; i < a->count; i++)
        if (!strcmp(a->param[i].name, name)) return &a->param[i];
    for (int i = 0; i < a->states; i++)
        if (!strcmp(a->state[i].name, name)) return &a->state[i];
    return NULL;
}

// Everything the architecture names is there with its shape, and nothing else. Costs no memory, so a false
// architecture in a hostile file stops here.
static bool check_weights(const struct arch *a, const struct blob *from, struct error *e) {
    for (int i = 0; i < a->count; i++)
        if (!find_weights(from, &a->param[i], e)) return false;
    for (int i = 0; i < a->states; i++)
        if (!find_weights(from, &a->state[i], e)) return false;
    for (int i = 0; i < from->count; i++) {
        const char *name = from->tensor[i].name, *dot = strrchr(name, '.');
        if (!strncmp(name, "assay.", 6) || known(a, name)) continue;
        if (a->batch_norm && dot && !strcmp(dot, ".num_batches_tracked")) continue;  // PyTorch's counter, of no use here
        return error_set(e, EXIT_INPUT, "%s: tensor %s has no place in the architecture \"%s\"", from->source, name, a->line);
    }
    return true;
}

static bool copy_weights(const struct arch_tensor *t, int count, const struct blob *from, float *to, struct error *e) {
    for (int i = 0; i < count; i++) {
        const struct tensor *found = find_weights(from, &t[i], e);
        if (!found) return false;
        for (int64_t j = 0; j < t[i].count; j++) {
            float v = found->dtype == F32 ? ((const float *)found->data)[j] : (float)tensor_value(found, j);
            if (!isfinite(v))
                return error_set(e, EXIT_INPUT, "%s: tensor %s: number %lld is not finite", from->source, t[i].name, (long long)j);
            to[t[i].offset + j] = v;
        }
    }
    return true;
}

bool model_load(struct model *m, const struct blob *from, struct error *e) {
    return check_weights(m->arch, from, e) && copy_weights(m->arch->param, m->arch->count, from, m->theta, e) &&
           copy_weights(m->arch->state, m->arch->states, from, m->state, e);
}

int64_t model_outputs(const struct blob *weights) {
    int64_t last = -1, outputs = 0;
    for (int i = 0; i < weights->count; i++) {
        const struct tensor *t = &weights->tensor[i];
        char *end;
        long element = strtol(t->name, &end, 10);
        if (end == t->name || element < last || t->rank < 1) continue;
        last = element;
        outputs = t->dim[0];
    }
    return outputs;
}

static bool read_input(const struct blob *b, struct shape *s, struct error *e) {
    const json_t *input = b->record ? record_get(b->record, "config.input") : NULL;
    bool fine = json_is_array(input) && json_array_size(input) == 3;
    *s = (struct shape){.rank = 3};
    for (int i = 0; fine && i < 3; i++) {
        const json_t *n = json_array_get(input, (size_t)i);
        s->dim[i] = json_integer_value(n);
        fine = json_is_integer(n) && s->dim[i] >= 1;
    }
    return fine || error_set(e, EXIT_INPUT, "%s: record config.input: [channels, height, width] expected", b->source);
}

static bool read_normalisation(struct model *m, const struct blob *b, struct error *e) {
    const json_t *word = record_get(b->record, "config.normalise");
    if (json_is_string(word)) snprintf(m->normalise, sizeof m->normalise, "%s", json_string_value(word));
    const struct tensor *mean = blob_find(b, "assay.mean"), *std = blob_find(b, "assay.std");
    if (!mean && !std) return true;
    if (!mean || !std) return error_set(e, EXIT_INPUT, "%s: assay.mean and assay.std: one is there without the other", b->source);
    int64_t dim[3];
    for (int i = 0; i < 3; i++) dim[i] = m->arch->input.dim[i];
    if (!tensor_expect(std, F32, 0, NULL, e) || !tensor_expect(mean, F32, mean->rank ? 3 : 0, dim, e))
        return error_prefix(e, "%s", b->source);
    m->std = *(const float *)std->data;
    m->mean_count = tensor_count(mean);
    m->mean = memory_take((size_t)m->mean_count * sizeof *m->mean);
    memcpy(m->mean, mean->data, (size_t)m->mean_count * sizeof *m->mean);
    bool finite = true;
    for (int64_t i = 0; i < m->mean_count; i++) finite = finite && isfinite(m->mean[i]);
    if (!finite || !(m->std > 0) || !isfinite(m->std))
        return error_set(e, EXIT_INPUT, "%s: assay.mean, assay.std: finite numbers and a positive deviation expected", b->source);
    return true;
}

static bool read_keep(struct model *m, const struct blob *b, struct error *e) {
    const struct tensor *keep = blob_find(b, "assay.keep");
    if (!keep) return true;
    if (!tensor_expect(keep, U8, 1, (int64_t[]){-1}, e)) return error_prefix(e, "%s", b->source);
    m->keep_count = keep->dim[0];
    m->keep = memory_take((size_t)m->keep_count + 1);
    memcpy(m->keep, keep->data, (size_t)m->keep_count);
    return true;
}

static bool read_positive(struct model *m, const struct blob *b, struct error *e) {
    if (!m->binary) return true;
    const json_t *list = record_get(b->record, "config.positive");
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_int_t label = json_integer_value(json_array_get(list, i));
        if (!json_is_integer(json_array_get(list, i)) || label < 0 || label > 63)
            return error_set(e, EXIT_INPUT, "%s: record config.positive: labels 0 to 63 expected", b->source);
        m->positive |= (uint64_t)1 << label;
    }
    return m->positive || error_set(e, EXIT_INPUT, "%s: a network with one output, and no config.positive in the record", b->source);
}

static struct model *read_model(struct blob *b, struct error *e) {
    struct shape input;
    if (!blob_expect_kind(b, "model|checkpoint", e) || !read_input(b, &input, e)) return NULL;
    const json_t *line = record_get(b->record, "config.arch"), *outputs = record_get(b->record, "config.outputs");
    if (!json_is_string(line) || !json_is_integer(outputs) || json_integer_value(outputs) < 1 || json_integer_value(outputs) > 65536) {
        error_set(e, EXIT_INPUT, "%s: record config.arch and config.outputs: a line and a number expected", b->source);
        return NULL;
    }
    struct error wrong = {0};
    struct arch *a = arch_parse(json_string_value(line), input, (int)json_integer_value(outputs), &wrong);
    if (!a || !check_weights(a, b, e)) {
        if (!a) error_set(e, EXIT_INPUT, "%s: %s", b->source, wrong.text);
        arch_free(a);
        return NULL;
    }
    struct model *m = take(a);
    take_arrays(m);
    if (model_load(m, b, e) && read_normalisation(m, b, e) && read_keep(m, b, e) && read_positive(m, b, e)) return m;
    model_free(m);
    return NULL;
}

struct model *model_open(const char *path, struct error *e) {
    struct blob *b = blob_open(path, e);
    if (!b) return NULL;
    struct model *m = read_model(b, e);
    if (m) m->blob = b;
    else blob_free(b);
    return m;
}

// ---- writing

void model_save(const struct model *m, struct blob *to, json_t *record) {
    const struct arch *a = m->arch;
    for (int i = 0; i < a->count; i++)
        blob_add(to, a->param[i].name, F32, a->param[i].shape.rank, a->param[i].shape.dim, m->theta + a->param[i].offset);
    for (int i = 0; i < a->states; i++)
        blob_add(to, a->state[i].name, F32, a->state[i].shape.rank, a->state[i].shape.dim, m->state + a->state[i].offset);
    if (m->mean_count) {
        blob_add(to, "assay.mean", F32, m->mean_count == 1 ? 0 : 3, a->input.dim, m->mean);
        blob_add(to, "assay.std", F32, 0, NULL, &m->std);
    }
    if (m->keep) blob_add(to, "assay.keep", U8, 1, &m->keep_count, m->keep);
    record_text(record, "config.arch", a->line);
    record_set(record, "config.input", json_pack("[I, I, I]", (json_int_t)a->input.dim[0], (json_int_t)a->input.dim[1], (json_int_t)a->input.dim[2]));
    record_int(record, "config.outputs", a->outputs);
    record_int(record, "config.classes", m->classes);
    record_int(record, "config.parameters", a->parameters);
    record_text(record, "config.normalise", m->normalise);
    if (m->binary) record_set(record, "config.positive", model_positive(m));
}

// ---- labels

int model_label(const struct model *m, int64_t label) {
    return m->binary ? label < 64 && (m->positive >> label & 1) : (int)label;
}

json_t *model_positive(const struct model *m) {
    json_t *labels = json_array();
    for (int i = 0; i < 64; i++)
        if (m->positive >> i & 1) json_array_append_new(labels, json_integer(i));
    return labels;
}

bool model_fits(const struct model *m, const struct dataset *d, struct error *e) {
    const int64_t *in = m->arch->input.dim;
    if (d->channels != in[0] || d->height != in[1] || d->width != in[2])
        return error_set(e, EXIT_INPUT, "%s: images of [%d, %d, %d], and the model takes [%lld, %lld, %lld]", d->blob->source, d->channels,
                         d->height, d->width, (long long)in[0], (long long)in[1], (long long)in[2]);
    for (int64_t i = 0; !m->binary && i < d->count; i++)
        if (d->y[i] >= m->classes)
            return error_set(e, EXIT_INPUT, "%s: label %lld of image %lld, and the model has %d classes", d->blob->source,
                             (long long)d->y[i], (long long)i, m->classes);
    return true;
}

// ---- in a graph

void model_build(const struct model *m, struct graph *g, struct arena *arena, struct model_nodes *n, struct node *x) {
    if (!n->arch.param) {
        arch_inputs(m->arch, g, arena, NULL, &n->arch);
        if (m->mean_count > 1) n->mean = graph_input(g, "assay.mean", false, m->arch->input);
    }
    if (n->mean) x = graph_sub(g, x, graph_each(g, n->mean));
    else if (m->mean_count && m->mean[0] != 0) x = graph_shift(g, x, -m->mean[0]);
    if (m->mean_count && m->std != 1) x = graph_div(g, x, graph_fill_like(g, m->std, x));
    arch_build(m->arch, g, &n->arch, x);
    n->features = n->arch.features;
    n->logits = m->binary ? graph_pad(g, n->arch.logits, 0, 1, 2) : n->arch.logits;
}

static const void *widen(double **wide, const float *x, int64_t n) {
    double *start = *wide;
    for (int64_t i = 0; i < n; i++) start[i] = x[i];
    *wide += n;
    return start;
}

void model_bind(const struct model *m, const struct model_nodes *n, struct exec *x, struct model_binding *b) {
    const struct arch *a = m->arch;
    const float *theta = m->theta, *state = m->state;
    const double *theta_wide = NULL, *state_wide = NULL;
    const void *mean = m->mean;
    if (exec_real_size(x) == 8) {
        if (!b->wide) b->wide = memory_take((size_t)(a->size + a->state_size + m->mean_count + 1) * sizeof *b->wide);
        double *at = b->wide;
        theta_wide = widen(&at, theta, a->size);
        state_wide = widen(&at, state, a->state_size);
        mean = widen(&at, m->mean, m->mean_count);
    }
#define PLACE(array, offset) (array##_wide ? (const void *)(array##_wide + (offset)) : (const void *)(array + (offset)))
    for (int i = 0; i < a->count; i++) exec_set(x, n->arch.param[i], PLACE(theta, a->param[i].offset));
    for (int i = 0; i < a->states; i++) exec_set(x, n->arch.state[i], PLACE(state, a->state[i].offset));
#undef PLACE
    if (n->mean) exec_set(x, n->mean, mean);
}

void model_unbind(struct model_binding *b) {
    free(b->wide);
    b->wide = NULL;
}

// ---- images

struct images {
    const struct dataset *d;
    const int64_t *index;
    int64_t from, size, n;
    float *out;
    float unit[256];  // a byte's value, as dataset_image has it: a division a pixel would show beside a small network
};
enum { IMAGES_PER_JOB = 16 };

static void convert(void *data, long job, int worker) {
    (void)worker;
    const struct images *r = data;
    int64_t end = (int64_t)(job + 1) * IMAGES_PER_JOB;
    for (int64_t i = (int64_t)job * IMAGES_PER_JOB; i < end && i < r->n; i++) {
        int64_t image = r->index ? r->index[i] : r->from + i;
        float *out = r->out + i * r->size;
        if (r->d->x->dtype != U8) {
            dataset_image(r->d, image, out);
            continue;
        }
        BUG_IF(image < 0 || image >= r->d->count, "image %lld of %lld", (long long)image, (long long)r->d->count);
        const uint8_t *pixel = (const uint8_t *)r->d->x->data + image * r->size;
        for (int64_t j = 0; j < r->size; j++) out[j] = r->unit[pixel[j]];
    }
}

void model_images(const struct dataset *d, const int64_t *index, int64_t from, int64_t n, float *out, struct pool *pool) {
    struct images r = {.d = d, .index = index, .from = from, .size = dataset_image_size(d), .n = n, .out = out};
    for (int i = 0; i < 256; i++) r.unit[i] = (float)i / 255.0f;
    pool_run(pool, (long)((n + IMAGES_PER_JOB - 1) / IMAGES_PER_JOB), convert, &r);
}

// ---- evaluation

struct evaluator {
    const struct model *m;
    struct pool *pool;
    struct arena arena;
    struct graph *g;
    struct node *x;
    struct model_nodes nodes;
    struct plan *plan;
    struct exec *exec;
    struct model_binding binding;
    float *rows;    // a batch of a data set
    double *wide;   // images, then logits, on a device of doubles
};

struct evaluator *evaluator_open(const struct model *m, const char *device, struct pool *pool, struct error *e) {
    struct evaluator *v = memory_zero(sizeof *v);
    v->m = m;
    v->pool = pool;
    v->g = graph_new();
    v->x = graph_input(v->g, "images", true, m->arch->input);
    model_build(m, v->g, &v->arena, &v->nodes, v->x);
    v->plan = plan_new(v->g, &v->nodes.logits, 1);
    v->exec = exec_open(device, v->plan, pool, e);
    if (!v->exec) {
        evaluator_free(v);
        return NULL;
    }
    evaluator_refresh(v);
    return v;
}

void evaluator_free(struct evaluator *v) {
    if (!v) return;
    exec_free(v->exec);
    plan_free(v->plan);
    graph_free(v->g);
    arena_free(&v->arena);
    model_unbind(&v->binding);
    free(v->rows);
    free(v->wide);
    free(v);
}

void evaluator_refresh(struct evaluator *v) { model_bind(v->m, &v->nodes, v->exec, &v->binding); }

// At most EVALUATE_BATCH rows.
static bool run_batch(struct evaluator *v, const float *rows, int64_t n, float *logits, struct error *e) {
    int64_t size = shape_count(&v->m->arch->input), classes = v->m->classes;
    if (exec_real_size(v->exec) == 4) {
        exec_set(v->exec, v->x, rows);
        exec_get(v->exec, v->nodes.logits, logits);
        return exec_run(v->exec, n, e);
    }
    if (!v->wide) v->wide = memory_take((size_t)((size + classes) * EVALUATE_BATCH) * sizeof *v->wide);
    double *wide_logits = v->wide + size * EVALUATE_BATCH;
    for (int64_t i = 0; i < n * size; i++) v->wide[i] = rows[i];
    exec_set(v->exec, v->x, v->wide);
    exec_get(v->exec, v->nodes.logits, wide_logits);
    if (!exec_run(v->exec, n, e)) return false;
    for (int64_t i = 0; i < n * classes; i++) logits[i] = (float)wide_logits[i];
    return true;
}

bool evaluator_rows(struct evaluator *v, const float *rows, int64_t n, float *logits, struct error *e) {
    int64_t size = shape_count(&v->m->arch->input);
    for (int64_t at = 0, batch; at < n; at += batch) {
        batch = n - at < EVALUATE_BATCH ? n - at : EVALUATE_BATCH;
        if (!run_batch(v, rows + at * size, batch, logits + at * v->m->classes, e)) return false;
    }
    return true;
}

bool evaluator_dataset(struct evaluator *v, const struct dataset *d, const int64_t *index, int64_t n, float *logits,
                       struct error *e) {
    int64_t size = shape_count(&v->m->arch->input);
    BUG_IF(dataset_image_size(d) != size, "images of %lld numbers for a model that takes %lld", (long long)dataset_image_size(d), (long long)size);
    if (!v->rows) v->rows = memory_take((size_t)(size * EVALUATE_BATCH) * sizeof *v->rows);
    for (int64_t at = 0, batch; at < n; at += batch) {
        batch = n - at < EVALUATE_BATCH ? n - at : EVALUATE_BATCH;
        model_images(d, index ? index + at : NULL, at, batch, v->rows, v->pool);
        if (!run_batch(v, v->rows, batch, logits + at * v->m->classes, e)) return false;
    }
    return true;
}

int evaluation_class(const float *logits, int classes) {
    int best = 0;
    for (int k = 1; k < classes; k++)
        if (logits[k] > logits[best]) best = k;
    return best;
}

struct evaluation evaluation_of(const struct model *m, const float *logits, const int64_t *labels, const int64_t *index, int64_t n) {
    struct evaluation r = {.count = n};
    for (int64_t i = 0; i < n; i++, logits += m->classes) {
        int y = model_label(m, labels[index ? index[i] : i]), best = evaluation_class(logits, m->classes);
        double sum = 0;
        for (int k = 0; k < m->classes; k++) sum += exp((double)logits[k] - logits[best]);
        r.loss += log(sum) + logits[best] - logits[y];
        r.right += best == y;
    }
    if (n) r.loss /= (double)n;
    return r;
}

double model_coupled_l2(const struct model *m) {
    const json_t *record = m->blob ? m->blob->record : NULL, *optimiser = record ? record_get(record, "config.optimiser") : NULL;
    bool decoupled = json_is_string(optimiser) && !strcmp(json_string_value(optimiser), "adamw");
    double l2 = 0;
    return record && record_get_real(record, "config.l2", &l2) && l2 > 0 && !decoupled ? l2 : 0;
}

double model_trained_squares(const struct model *m) {
    double squares = 0;
    for (int i = 0; i < m->arch->count; i++) {
        const struct arch_tensor *t = &m->arch->param[i];
        for (int64_t j = 0; j < t->count && !t->fixed; j++) squares += (double)m->theta[t->offset + j] * m->theta[t->offset + j];
    }
    return squares;
}

int model_degree(const struct model *m) {
    int degree = 0;
    for (int i = 0; i < m->arch->count; i++) degree += m->arch->param[i].shape.rank > 1 && !m->arch->param[i].fixed;
    return degree ? degree : 1;
}

// invert: rebuilds training images out of a classifier's weights.
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../common/audit/generator.h"
#include "../common/audit/miface.h"
#include "../common/audit/weight_rows.h"
#include "../common/base/msg.h"
#include "../common/base/opt.h"
#include "../common/base/out.h"
#include "../common/io/gate.h"
#include "../common/io/record.h"

static struct {
    const char *output, *method, *device, *fail_if, *preset, *checkpoint, *resume;
    double weight[INVERSION_TERMS], lr, multiplier_lr, noise, smoothing, sharpness, margin, step, enough;
    int64_t count, steps, batch, width, ramp, patience, smooth_every, every, threads;
    uint64_t seed;
    bool json, profile, explain;
} o = {.method = "generator", .count = 100, .preset = "all", .weight = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN}, .lr = 3e-3,
       .multiplier_lr = .01, .noise = .6, .sharpness = 100, .batch = 64, .width = 64, .step = .5, .enough = .99999, .patience = 100,
       .smooth_every = 10, .ramp = -1, .device = "cpu"};

#define WEIGHT(name, term, help) {name, 0, OPT_REAL, &o.weight[term], "R", help, NULL, 0, 1e6, false}
static struct opt opts[] = {
    {"output", 'o', OPT_FILE, &o.output, "CANDIDATES", "where the images go; standard output without it", NULL, 0, 0, false},
    {"method", 'm', OPT_CHOICE, &o.method, "NAME", "how they are found", "generator|miface|rows", 0, 0, false},
    {"count", 'n', OPT_INT, &o.count, "N", "images written, best first", NULL, 1, 1e6, false},
    {"steps", 0, OPT_INT, &o.steps, "N", "steps; 0: the method's own, generator 1000, miface 500", NULL, 0, 1e7, false},
    {"preset", 0, OPT_CHOICE, &o.preset, "NAME", "weights of generator's losses", "all|stationary-only|no-stationary", 0, 0, false},
    WEIGHT("alpha", INVERSION_ALPHA, "weight of the divergence from the target; the preset's without it, as for all of these"),
    WEIGHT("alpha-prime", INVERSION_ALPHA_PRIME, "weight of the same on a perturbed image"),
    WEIGHT("beta", INVERSION_BETA, "weight of the cross-entropy"),
    WEIGHT("beta-prime", INVERSION_BETA_PRIME, "weight of the same on a perturbed image"),
    WEIGHT("gamma", INVERSION_GAMMA, "weight of the mean cosine of two images' features"),
    WEIGHT("delta", INVERSION_DELTA, "weight of the features' distance from orthonormal"),
    WEIGHT("eta1", INVERSION_ETA1, "weight of the total variation, once --ramp is over"),
    WEIGHT("eta2", INVERSION_ETA2, "weight of the distance outside [0, 1]"),
    WEIGHT("eta3", INVERSION_ETA3, "weight of the norm of the loss' gradient"),
    WEIGHT("eta4", INVERSION_ETA4, "weight of the stationary loss"),
    {"batch", 'b', OPT_INT, &o.batch, "N", "images a step of generator", NULL, 2, 65536, false},
    {"width", 0, OPT_INT, &o.width, "N", "channels of generator's first layer; the others are multiples", NULL, 1, 512, false},
    {"lr", 0, OPT_REAL, &o.lr, "R", "learning rate of generator's weights", NULL, 1e-9, 10, false},
    {"multiplier-lr", 0, OPT_REAL, &o.multiplier_lr, "R", "learning rate of its multipliers", NULL, 1e-9, 10, false},
    {"noise", 0, OPT_REAL, &o.noise, "R", "how far a pixel of the perturbed image moves", NULL, 0, 10, false},
    {"smoothing", 0, OPT_REAL, &o.smoothing, "R", "share of the target spread over all classes", NULL, 0, .999, false},
    {"sharpness", 0, OPT_REAL, &o.sharpness, "R", "a ReLU's derivative is sigmoid(R x); 0: a step", NULL, 0, 1e6, false},
    {"margin", 0, OPT_REAL, &o.margin, "R", "assumed of the images, for the scale of the multipliers; 0: no scale", NULL, 0, 1e6, false},
    {"ramp", 0, OPT_INT, &o.ramp, "N", "steps until eta1 has its whole weight; -1: half of all", NULL, -1, 1e7, false},
    {"step", 0, OPT_REAL, &o.step, "R", "length of a step of miface", NULL, 1e-9, 1e6, false},
    {"patience", 0, OPT_INT, &o.patience, "N", "miface: steps without a surer image before it is left", NULL, 1, 1e7, false},
    {"enough", 0, OPT_REAL, &o.enough, "R", "miface: a probability that is sure enough", NULL, 0, 2, false},
    {"smooth-every", 0, OPT_INT, &o.smooth_every, "N", "miface: steps between two smoothings; 0: none", NULL, 0, 1e7, false},
    {"checkpoint", 0, OPT_FILE, &o.checkpoint, "FILE", "generator: save here (CANDIDATES.checkpoint when interrupted)", NULL, 0, 0, false},
    {"every", 0, OPT_INT, &o.every, "N", "steps between two saves; 0: at the end of the steps", NULL, 0, 1e7, false},
    {"resume", 0, OPT_FILE, &o.resume, "FILE", "continue a checkpoint, bit for bit", NULL, 0, 0, false},
    {"fail-if", 0, OPT_TEXT, &o.fail_if, "EXPR", "exit with 1 where this holds of the record, such as confidence.mean>.9", NULL, 0, 0, false},
    {"seed", 's', OPT_SEED, &o.seed, "N", "seed of every random draw", NULL, 0, 0, false},
    {"threads", 'j', OPT_INT, &o.threads, "N", "worker threads; 0: as many as processors", NULL, 0, 1024, false},
    {"device", 0, OPT_TEXT, &o.device, "NAME", "ref, cpu or cuda", NULL, 0, 0, false},
    {"json", 0, OPT_FLAG, &o.json, NULL, "print the record; write images only where -o says", NULL, 0, 0, false},
    {"profile", 0, OPT_FLAG, &o.profile, NULL, "say where the time went", NULL, 0, 0, false},
    {"explain", 0, OPT_FLAG, &o.explain, NULL, "print the plan of a step of generator and end", NULL, 0, 0, false},
};

static struct program program = {
    .name = "invert", .summary = "rebuild training images out of a classifier's weights", .operands = "MODEL", .operands_min = 1,
    .operands_max = 1, .opts = opts, .count = sizeof opts / sizeof *opts,
    .examples = "fetch synthetic --count 50 -o few.st\n"
                "trainclf -i few.st --arch 'homogeneous 60' --epochs 40 --batch 50 --l2 1e-3 -o few-mlp.st\n"
                "invert few-mlp.st -m rows -n 20 -o rows.st\n"
                "invert few-mlp.st -m miface -n 20 --steps 50 -o surest.st\n"
                "invert few-mlp.st -m generator --width 4 --batch 20 --steps 5 -n 20 -o made.st\n"
                "tensor png made.st -t x -o made.png",
    .see_also = "trainclf(1), ssim(1), tensor(1), blob(5)",
};

// ---- the work

struct work {
    const struct model *m;
    struct pool *pool;
    json_t *config;             // the settings that decide the result
    struct candidates *found;
    struct blob *b;
    json_t *record;
    struct generator *generator;  // what the blob borrows its history from
};

static int64_t each_class(const struct model *m) { return (o.count + m->classes - 1) / m->classes; }

static void real(json_t *c, const char *key, double value) { json_object_set_new(c, key, json_real(value)); }
static void whole(json_t *c, const char *key, int64_t value) { json_object_set_new(c, key, json_integer(value)); }

static void say_profile(const double part[PARTS], double seconds, int threads) {
    seconds *= threads;
    for (int i = 0; i < PARTS; i++) msg_say("%-12s %9.3f s %5.1f %%", exec_part_name[i], part[i], 100 * part[i] / (seconds > 0 ? seconds : 1));
    msg_say("%-12s %9.3f s of %d threads", "all", seconds, threads);
}

// ---- generator

static struct inversion_weights chosen_weights(void) {
    struct inversion_weights w;
    BUG_IF(!inversion_preset(o.preset, &w), "preset %s", o.preset);
    for (int i = 0; i < INVERSION_TERMS; i++)
        if (!isnan(o.weight[i])) w.of[i] = o.weight[i];
    return w;
}

static void check_generator(void) {
    struct inversion_weights w = chosen_weights();
    double sum = 0;
    for (int i = 0; i < INVERSION_TERMS; i++) sum += w.of[i];
    if (!(sum > 0)) msg_usage("every weight is zero: there is nothing to train for");
}

static struct generator_options generator_settings(const struct work *w) {
    struct generator_options g = generator_defaults();
    g.device = o.device;
    g.seed = o.seed;
    g.weight = chosen_weights();
    if (o.steps) g.steps = o.steps;
    g.batch = o.batch;
    g.width = o.width;
    g.lr = o.lr;
    g.multiplier_lr = o.multiplier_lr;
    g.noise = o.noise;
    g.smoothing = o.smoothing;
    g.sharpness = o.sharpness;
    g.margin = o.margin;
    g.ramp = o.ramp < 0 ? g.steps / 2 : o.ramp;
    json_t *c = w->config, *weights = json_object();
    for (int i = 0; i < INVERSION_TERMS; i++) real(weights, inversion_term_name[i], g.weight.of[i]);
    json_object_set_new(c, "weights", weights);
    whole(c, "steps", g.steps);
    whole(c, "batch", g.batch);
    whole(c, "width", g.width);
    real(c, "lr", g.lr);
    real(c, "multiplier_lr", g.multiplier_lr);
    real(c, "noise", g.noise);
    real(c, "smoothing", g.smoothing);
    real(c, "sharpness", g.sharpness);
    real(c, "margin", g.margin);
    whole(c, "ramp", g.ramp);
    json_object_set_new(c, "seed", record_seed(o.seed));
    g.identity = c;
    return g;
}

// Terms and accuracy: every step as a tensor, the mean of the last tenth in the record.
static void save_history(struct work *w, int64_t steps) {
    int64_t tail = steps / 10 ? steps / 10 : 1;
    for (int i = 0; i < GENERATOR_COLUMNS; i++) {
        const double *row = w->generator->history + i * steps;
        char path[64];
        double sum = 0;
        if (isnan(row[0])) continue;
        for (int64_t s = steps - tail; s < steps; s++) sum += row[s];
        snprintf(path, sizeof path, "loss.%s", generator_column_name[i]);
        blob_add(w->b, path, F64, 1, &steps, row);
        snprintf(path, sizeof path, "metrics.loss.%s", generator_column_name[i]);
        record_real(w->record, path, sum / (double)tail);
    }
    record_int(w->record, "metrics.generator_parameters", w->generator->parameters);
}

// Where an interrupted run is kept: --checkpoint, or beside the output.
static const char *checkpoint_path(void) {
    static char beside[4096];
    if (o.checkpoint) return o.checkpoint;
    bool there = o.output && strcmp(o.output, "-") && (size_t)snprintf(beside, sizeof beside, "%s.checkpoint", o.output) < sizeof beside;
    return there ? beside : NULL;
}

static _Noreturn void end_interrupted(const struct generator *t, struct error *e) {
    const char *path = checkpoint_path();
    if (path && generator_save(t, path, e)) msg_say("interrupted after step %lld; --resume %s continues", (long long)t->step, path);
    else msg_warn("interrupted after step %lld; nothing is kept%s%s", (long long)t->step, path ? ": " : ": -o FILE or --checkpoint FILE would",
                  path ? e->text : "");
    out_interrupted();
}

static bool train_generator(struct generator *t, int64_t steps, struct error *e) {
    struct progress progress;
    progress_open(&progress, "steps", (long)steps);
    t->progress = &progress;
    out_graceful(true);
    bool fine = true;
    while (fine && t->step < steps) {
        fine = generator_train(t, o.every ? t->step + o.every : steps, e);
        if (t->interrupted) end_interrupted(t, e);
        if (fine && o.checkpoint) fine = generator_save(t, o.checkpoint, e);
    }
    out_graceful(false);
    progress_close(&progress);
    t->progress = NULL;
    return fine;
}

static bool run_generator(struct work *w, struct error *e) {
    struct generator_options g = generator_settings(w);
    struct generator *t = w->generator = generator_open(w->m, &g, w->pool, e);
    if (!t) return false;
    if (o.explain) {
        plan_print(generator_plan(t), stdout);
        return (fflush(stdout) == 0 && !ferror(stdout)) || error_set(e, EXIT_SYSTEM, "standard output: cannot write: %s", strerror(errno));
    }
    if (o.resume && !generator_resume(t, o.resume, e)) return false;
    double start = msg_clock(), part[PARTS];
    if (!train_generator(t, g.steps, e)) return false;
    if (o.profile) {
        generator_profile(t, part);
        say_profile(part, msg_clock() - start, pool_threads(w->pool));
    }
    msg_say("%.1f %% of the last batch are in their class", 100 * t->history[(INVERSION_TERMS + 1) * g.steps + g.steps - 1]);
    w->found = generator_sample(t, each_class(w->m), e);
    if (w->found) save_history(w, g.steps);
    return w->found != NULL;
}

// ---- class-gradient ascent, rows

static bool run_miface(struct work *w, struct error *e) {
    struct miface_options f = miface_defaults();
    struct progress progress;
    f.device = o.device;
    f.seed = o.seed;
    f.each = each_class(w->m);
    if (o.steps) f.steps = o.steps;
    f.patience = o.patience;
    f.smooth_every = o.smooth_every;
    f.step = o.step;
    f.enough = o.enough;
    json_t *c = w->config;
    whole(c, "steps", f.steps);
    whole(c, "patience", f.patience);
    whole(c, "smooth_every", f.smooth_every);
    real(c, "step", f.step);
    real(c, "enough", f.enough);
    json_object_set_new(c, "seed", record_seed(o.seed));
    progress_open(&progress, "steps", (long)f.steps);
    f.progress = &progress;
    struct miface found;
    bool fine = miface_run(w->m, &f, w->pool, &found, e);
    progress_close(&progress);
    w->found = found.found;
    if (fine) record_int(w->record, "metrics.gradients", found.steps);
    return fine;
}

static bool run_rows(struct work *w, struct error *e) {
    w->found = weight_rows(w->m, o.count, o.device, w->pool, e);
    return w->found != NULL;
}

static const struct method {
    const char *name;
    void (*check)(void);                        // of the command line, or NULL
    bool (*run)(struct work *w, struct error *e);  // fills config, record and found
    const char *options;                        // that only it has, with spaces around each
} methods[] = {
    {"generator", check_generator, run_generator, " preset alpha alpha-prime beta beta-prime gamma delta eta1 eta2 eta3 eta4 batch width lr multiplier-lr "
                                                  "noise smoothing sharpness margin ramp checkpoint every resume profile explain "},
    {"miface", NULL, run_miface, " step patience enough smooth-every "},
    {"rows", NULL, run_rows, " "},
};

static const struct method *method(void) {
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (!strcmp(methods[i].name, o.method)) return &methods[i];
    BUG("method %s", o.method);
}

static void check(struct gate *gate) {
    struct error e = {0};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        for (int k = 0; k < program.count; k++) {
            char name[64];
            snprintf(name, sizeof name, " %s ", opts[k].name);
            if (opts[k].given && strstr(methods[i].options, name) && strcmp(methods[i].name, o.method))
                msg_usage("--%s is for --method %s", opts[k].name, methods[i].name);
        }
    if (opt_given(&program, "steps") && !strcmp(o.method, "rows")) msg_usage("--method rows takes no steps");
    if (o.every && !o.checkpoint) msg_usage("--every needs --checkpoint");
    if (method()->check) method()->check();
    gate->count = 0;
    if (o.fail_if && !gate_parse(o.fail_if, gate, &e)) msg_usage("--fail-if: %s", e.text);
    if (o.explain) return;
    bool blob = o.output || !o.json;
    if (o.json && o.output && !strcmp(o.output, "-")) msg_usage("standard output can take one of the images and --json");
    if ((blob && !out_check(o.output, true, &e)) || (o.checkpoint && !out_check(o.checkpoint, true, &e))) msg_fail(&e);
}

// What of the model the attacker had, for the record.
static json_t *knowledge(const struct model *m) {
    json_t *list = json_pack("[s, s, s]", "weights", "architecture", "classes");
    if (m->mean_count) json_array_append_new(list, json_string(m->mean_count > 1 ? "mean-image" : "scalar-normalisation"));
    return list;
}

static void copy_config(json_t *record, const struct blob *from, const char *key) {
    char path[64];
    snprintf(path, sizeof path, "config.%s", key);
    json_t *value = from->record ? record_get(from->record, path) : NULL;
    if (value) record_set(record, path, json_incref(value));
}

static bool write_all(struct work *w, struct error *e) {
    struct candidates *c = w->found;
    candidates_rank(c, o.count);
    candidates_save(c, w->b);
    double sum = 0;
    for (int64_t i = 0; i < c->count; i++) sum += c->confidence[i];
    blob_set_lineage(w->b, "invert", w->config, (const struct blob *[]){w->m->blob}, 1);
    json_object_update(json_object_get(w->record, "config"), w->config);
    record_set(w->record, "config.know", knowledge(w->m));
    copy_config(w->record, w->m->blob, "arch");
    record_int(w->record, "metrics.candidates", c->count);
    record_real(w->record, "metrics.confidence.mean", sum / (double)c->count);
    blob_set_record(w->b, w->record);
    msg_say("%lld images; the model gives them %.1f %% for their class on average", (long long)c->count, 100 * sum / (double)c->count);
    if ((o.output || !o.json) && !blob_write(w->b, o.output, e)) return false;
    return !o.json || record_print(w->record, e);
}

int main(int argc, char **argv) {
    struct error e = {0};
    struct gate gate;
    struct operands operands = opt_parse(&program, argc, argv);
    check(&gate);
    struct pool *pool = pool_new((int)o.threads);
    struct model *m = model_open(operands.value[0], &e);
    if (!m) msg_fail(&e);
    struct work w = {.m = m, .pool = pool, .config = json_object(), .b = blob_new("reconstruction"), .record = record_new()};
    json_object_set_new(w.config, "method", json_string(o.method));
    json_object_set_new(w.config, "device", json_string(o.device));
    json_object_set_new(w.config, "model", json_string(m->blob->digest));
    whole(w.config, "count", o.count);
    if (!method()->run(&w, &e) || (!o.explain && !write_all(&w, &e))) msg_fail(&e);
    int status = gate_close(&gate, o.explain ? NULL : w.record);
    blob_free(w.b);
    candidates_free(w.found);
    generator_free(w.generator);
    json_decref(w.config);
    json_decref(w.record);
    model_free(m);
    pool_free(pool);
    return status;
}

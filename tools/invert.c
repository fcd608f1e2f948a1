// invert: rebuilds training images out of a classifier's weights.
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../common/audit/direct.h"
#include "../common/audit/generator.h"
#include "../common/audit/miface.h"
#include "../common/audit/weight_rows.h"
#include "../common/base/msg.h"
#include "../common/base/opt.h"
#include "../common/base/out.h"
#include "../common/io/checkpoint.h"
#include "../common/io/gate.h"
#include "../common/io/record.h"

static struct {
    const char *output, *method, *device, *fail_if, *preset, *checkpoint, *resume, *span;
    double weight[INVERSION_TERMS], lr, multiplier_lr, spread, box, noise, smoothing, sharpness, margin, step, enough;
    int64_t count, images, candidates, restarts, steps, batch, width, ramp, patience, smooth_every, every, threads;
    struct reals sharpen;
    uint64_t seed;
    bool json, profile, explain;
} o = {.method = "kkt", .preset = "all", .span = "auto", .restarts = 3, .spread = NAN, .box = 1e-3, .sharpen = {2, {10, 300}}, .weight = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN}, .lr = NAN,
       .multiplier_lr = NAN, .noise = .6, .sharpness = 100, .margin = NAN, .batch = 64, .width = 64, .step = .5, .enough = .99999, .patience = 100,
       .smooth_every = 10, .ramp = -1, .device = "cpu"};

#define WEIGHT(name, term, help) {name, 0, OPT_REAL, &o.weight[term], "R", help, NULL, 0, 1e6, false}
static struct opt opts[] = {
    {"output", 'o', OPT_FILE, &o.output, "CANDIDATES", "where the images go; standard output without it", NULL, 0, 0, false},
    {"method", 'm', OPT_CHOICE, &o.method, "NAME", "how they are found", "kkt|generator|miface|rows", 0, 0, false},
    {"count", 'n', OPT_INT, &o.count, "N", "images written, best first; 0: all of kkt, 100 of the others", NULL, 0, 1e6, false},
    {"steps", 0, OPT_INT, &o.steps, "N", "steps; 0: the method's own, kkt 3500 a restart, generator 1000, miface 500", NULL, 0, 1e7, false},
    {"images", 0, OPT_INT, &o.images, "N", "training images, where the attacker knows; 0: kkt reads it off the first layer", NULL, 0, 1e6, false},
    {"span", 0, OPT_CHOICE, &o.span, "WORD", "kkt: seek images in the first layer's span where it has one, or among pixels", "auto|off", 0, 0, false},
    {"candidates", 0, OPT_INT, &o.candidates, "N", "images sought in a restart of kkt; 0: four for each training image", NULL, 0, 1e6, false},
    {"restarts", 0, OPT_INT, &o.restarts, "N", "starts of kkt, whose candidates are ranked together", NULL, 1, 1000, false},
    {"spread", 0, OPT_REAL, &o.spread, "R", "kkt: deviation of candidates from the mean at the start; .1 in the span, .01 of pixels", NULL, 0, 1e3, false},
    {"box", 0, OPT_REAL, &o.box, "R", "kkt: weight of the squared distance outside [0, 1]", NULL, 0, 1e6, false},
    {"sharpen", 0, OPT_REALS, &o.sharpen, "LIST", "kkt: sharpness of a ReLU's derivative at the first step and before polishing", NULL, 1e-6, 1e6, false},
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
    {"lr", 0, OPT_REAL, &o.lr, "R", "learning rate; kkt .5 in the span and .01 of pixels, generator .003", NULL, 1e-9, 10, false},
    {"multiplier-lr", 0, OPT_REAL, &o.multiplier_lr, "R", "learning rate of the multipliers; kkt .1 of their scale, generator .01", NULL, 1e-9, 10, false},
    {"noise", 0, OPT_REAL, &o.noise, "R", "how far a pixel of the perturbed image moves", NULL, 0, 10, false},
    {"smoothing", 0, OPT_REAL, &o.smoothing, "R", "share of the target spread over all classes", NULL, 0, .999, false},
    {"sharpness", 0, OPT_REAL, &o.sharpness, "R", "generator: a ReLU's derivative is sigmoid(R x); 0: a step", NULL, 0, 1e6, false},
    {"margin", 0, OPT_REAL, &o.margin, "R", "assumed of the images, for the scale of the multipliers; kkt 6, generator 0: no scale", NULL, 0, 1e6, false},
    {"ramp", 0, OPT_INT, &o.ramp, "N", "steps until eta1 has its whole weight; -1: half of all", NULL, -1, 1e7, false},
    {"step", 0, OPT_REAL, &o.step, "R", "length of a step of miface", NULL, 1e-9, 1e6, false},
    {"patience", 0, OPT_INT, &o.patience, "N", "miface: steps without a surer image before it is left", NULL, 1, 1e7, false},
    {"enough", 0, OPT_REAL, &o.enough, "R", "miface: a probability that is sure enough", NULL, 0, 2, false},
    {"smooth-every", 0, OPT_INT, &o.smooth_every, "N", "miface: steps between two smoothings; 0: none", NULL, 0, 1e7, false},
    {"checkpoint", 0, OPT_FILE, &o.checkpoint, "FILE", "kkt, generator: save here (CANDIDATES.checkpoint when interrupted)", NULL, 0, 0, false},
    {"every", 0, OPT_INT, &o.every, "N", "steps of generator between two saves; 0: at the end of the steps", NULL, 0, 1e7, false},
    {"resume", 0, OPT_FILE, &o.resume, "FILE", "continue a checkpoint, bit for bit", NULL, 0, 0, false},
    {"fail-if", 0, OPT_TEXT, &o.fail_if, "EXPR", "exit with 1 where this holds of the record, such as confidence.mean>.9", NULL, 0, 0, false},
    {"seed", 's', OPT_SEED, &o.seed, "N", "seed of every random draw", NULL, 0, 0, false},
    {"threads", 'j', OPT_INT, &o.threads, "N", "worker threads; 0: as many as processors", NULL, 0, 1024, false},
    {"device", 0, OPT_TEXT, &o.device, "NAME", "ref, cpu or cuda", NULL, 0, 0, false},
    {"json", 0, OPT_FLAG, &o.json, NULL, "print the record; write images only where -o says", NULL, 0, 0, false},
    {"profile", 0, OPT_FLAG, &o.profile, NULL, "say where the time went", NULL, 0, 0, false},
    {"explain", 0, OPT_FLAG, &o.explain, NULL, "print the plan of a step of kkt or generator and end", NULL, 0, 0, false},
};

static struct program program = {
    .name = "invert", .summary = "rebuild training images out of a classifier's weights", .operands = "MODEL", .operands_min = 1,
    .operands_max = 1, .opts = opts, .count = sizeof opts / sizeof *opts,
    .examples = "fetch synthetic --count 50 -o few.st\n"
                "trainclf -i few.st --arch 'homogeneous 60' --epochs 40 --batch 50 --l2 1e-3 -o few-mlp.st\n"
                "invert few-mlp.st --images 10 --steps 100 --restarts 2 -o solved.st\n"
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
    struct generator *generator;  // what the blob borrows its history from: this,
    struct direct *direct;        // or this
};

static int64_t wanted(void) { return o.count ? o.count : 100; }
static int64_t each_class(const struct model *m) { return (wanted() + m->classes - 1) / m->classes; }

static void real(json_t *c, const char *key, double value) { json_object_set_new(c, key, json_real(value)); }
static void whole(json_t *c, const char *key, int64_t value) { json_object_set_new(c, key, json_integer(value)); }

static void say_profile(const double part[PARTS], double seconds, int threads) {
    seconds *= threads;
    for (int i = 0; i < PARTS; i++)
        msg_say("%-12s %9.3f s %5.1f %%", exec_part_name[i], part[i], 100 * part[i] / (seconds > 0 ? seconds : 1));
    msg_say("%-12s %9.3f s of %d threads", "all", seconds, threads);
}

// Where an interrupted run is kept: --checkpoint, or beside the output.
static const char *checkpoint_path(void) {
    static char beside[CHECKPOINT_ROOM];
    return o.checkpoint ? o.checkpoint : checkpoint_beside(o.output, beside);
}

static bool print_plan(const struct plan *p, struct error *e) {
    plan_print(p, stdout);
    return (fflush(stdout) == 0 && !ferror(stdout)) || error_set(e, EXIT_SYSTEM, "standard output: cannot write: %s", strerror(errno));
}

// ---- kkt

static void check_kkt(void) {
    if (o.margin <= 0) msg_usage("--margin 0: kkt needs a margin for the scale of the multipliers");
    if (o.sharpen.count != 2) msg_usage("--sharpen: two numbers expected, the first sharpness and the last");
}

static struct kkt_options kkt_settings(const struct work *w) {
    struct kkt_options k = kkt_defaults(true);
    k.device = o.device;
    k.seed = o.seed;
    k.candidates = o.candidates;
    k.restarts = o.restarts;
    if (o.steps) k.steps = o.steps;
    k.lr = o.lr;
    k.start = o.spread;
    if (!isnan(o.multiplier_lr)) k.lr_multiplier = o.multiplier_lr;
    if (!isnan(o.margin)) k.margin = o.margin;
    k.box = o.box;
    k.sharpness[0] = o.sharpen.value[0];
    k.sharpness[1] = o.sharpen.value[1];
    json_object_set_new(w->config, "span", json_string(o.span));
    json_object_set_new(w->config, "seed", record_seed(o.seed));
    return k;
}

// What the attack settled on.
static void note_kkt(struct work *w) {
    const struct direct *d = w->direct;
    const struct kkt_options *k = &d->kkt->o;
    json_t *c = w->config;
    whole(c, "images", d->images);
    whole(c, "candidates", k->candidates);
    whole(c, "restarts", k->restarts);
    whole(c, "steps", k->steps);
    real(c, "lr", k->lr);
    real(c, "multiplier_lr", k->lr_multiplier);
    real(c, "spread", k->start);
    real(c, "box", k->box);
    real(c, "margin", k->margin);
    json_object_set_new(c, "sharpen", json_pack("[f, f]", k->sharpness[0], k->sharpness[1]));
    if (d->span) msg_say("first layer: gap of %.3g after the %lldth singular value; images are sought in %lld dimensions of %lld", d->span->gap,
                         (long long)d->span->rank, (long long)d->reduced->dims, (long long)d->reduced->pixels);
    else msg_say("no span: %s; images are sought pixel by pixel", span_refused(w->m) ? span_refused(w->m) : "--span off");
    msg_say("%lld training images, %s", (long long)d->images, d->images_given ? "as told" : "read off the singular values");
    record_note(w->record, "%s", direct_claim(w->m));
    if (d->span) {
        record_real(w->record, "metrics.span.gap", d->span->gap);
        record_int(w->record, "metrics.span.rank", d->span->rank);
    }
}

static bool solve(struct work *w, struct error *e) {
    struct kkt *k = w->direct->kkt;
    struct progress progress;
    bool interrupted = false;
    progress_open(&progress, "steps", (long)(k->o.restarts * k->o.steps));
    k->progress = &progress;
    out_graceful(true);
    bool fine = kkt_run(k, &interrupted, e);
    out_graceful(false);
    k->progress = NULL;
    if (fine && !interrupted) progress_step(&progress, (long)(k->o.restarts * k->o.steps), NULL);
    progress_close(&progress);
    const char *path = interrupted ? checkpoint_path() : o.checkpoint;
    bool saved = fine && path && kkt_save(k, w->config, path, e);
    if (interrupted) {
        if (saved) msg_say("interrupted in restart %lld; --resume %s continues", (long long)k->restart, path);
        else msg_warn("interrupted in restart %lld; nothing is kept%s%s", (long long)k->restart, path ? ": " : ": -o FILE or --checkpoint FILE would",
                      path ? e->text : "");
        out_interrupted();
    }
    return fine && (saved || !path);
}

static void save_kkt(struct work *w) {
    const struct direct *d = w->direct;
    const struct kkt *k = d->kkt;
    double least = INFINITY;
    for (int64_t i = 0; i < k->o.restarts; i++) least = fmin(least, sqrt(k->residual[i]));
    blob_add(w->b, "loss.residual", F64, 2, (int64_t[]){k->o.restarts, k->o.steps}, k->history);
    record_real(w->record, "metrics.residual", least);
    if (!d->certificate) return;
    record_int(w->record, "metrics.certified.images", d->certified);
    record_int(w->record, "metrics.certified.candidates", d->copies);
    msg_say("residual %.4f; certain of %lld images, which %lld candidates found", least, (long long)d->certified, (long long)d->copies);
}

static bool run_kkt(struct work *w, struct error *e) {
    struct kkt_options k = kkt_settings(w);
    struct direct *d = w->direct = direct_open(w->m, !strcmp(o.span, "auto"), o.images, &k, w->pool, e);
    if (!d) return false;
    if (o.explain) return print_plan(kkt_plan(d->kkt), e);
    note_kkt(w);
    if (o.resume && !kkt_resume(d->kkt, w->config, o.resume, e)) return false;
    double start = msg_clock(), part[PARTS];
    if (!solve(w, e)) return false;
    double seconds = msg_clock() - start;
    w->found = direct_candidates(d, w->pool, e);
    if (!w->found) return false;
    if (o.profile) {
        kkt_profile(d->kkt, part);
        say_profile(part, seconds, pool_threads(w->pool));
        msg_say("certificate and ranking %.3f s", msg_clock() - start - seconds);
    }
    save_kkt(w);
    return true;
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
    if (!isnan(o.lr)) g.lr = o.lr;
    if (!isnan(o.multiplier_lr)) g.multiplier_lr = o.multiplier_lr;
    g.noise = o.noise;
    g.smoothing = o.smoothing;
    g.sharpness = o.sharpness;
    if (!isnan(o.margin)) g.margin = o.margin;
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

static _Noreturn void end_interrupted(const struct work *w, struct error *e) {
    const struct generator *t = w->generator;
    const char *path = checkpoint_path();
    if (path && generator_save(t, w->config, path, e)) msg_say("interrupted after step %lld; --resume %s continues", (long long)t->step, path);
    else if (path) msg_warn("interrupted after step %lld; nothing is kept: %s", (long long)t->step, e->text);
    else msg_warn("interrupted after step %lld; nothing is kept: -o FILE or --checkpoint FILE would", (long long)t->step);
    out_interrupted();
}

static bool train_generator(struct work *w, int64_t steps, struct error *e) {
    struct generator *t = w->generator;
    struct progress progress;
    progress_open(&progress, "steps", (long)steps);
    t->progress = &progress;
    out_graceful(true);
    bool fine = true;
    while (fine && t->step < steps) {
        fine = generator_train(t, o.every ? t->step + o.every : steps, e);
        if (t->interrupted) end_interrupted(w, e);
        if (fine && o.checkpoint) fine = generator_save(t, w->config, o.checkpoint, e);
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
    if (o.explain) return print_plan(generator_plan(t), e);
    if (o.resume && !generator_resume(t, w->config, o.resume, e)) return false;
    double start = msg_clock(), part[PARTS];
    if (!train_generator(w, g.steps, e)) return false;
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
    w->found = weight_rows(w->m, wanted(), o.device, w->pool, e);
    return w->found != NULL;
}

static const struct method {
    const char *name;
    void (*check)(void);                        // of the command line, or NULL
    bool (*run)(struct work *w, struct error *e);  // fills config, record and found
    const char *options;                        // of some methods that it takes, with spaces around each
} methods[] = {
    {"kkt", check_kkt, run_kkt, " steps images span candidates restarts spread box sharpen lr multiplier-lr margin checkpoint resume profile explain "},
    {"generator", check_generator, run_generator, " steps preset alpha alpha-prime beta beta-prime gamma delta eta1 eta2 eta3 eta4 batch width lr "
                                                  "multiplier-lr noise smoothing sharpness margin ramp checkpoint every resume profile explain "},
    {"miface", NULL, run_miface, " steps step patience enough smooth-every "},
    {"rows", NULL, run_rows, " "},
};

static const struct method *method(void) {
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (!strcmp(methods[i].name, o.method)) return &methods[i];
    BUG("method %s", o.method);
}

static void check(struct gate *gate) {
    struct error e = {0};
    for (int k = 0; k < program.count; k++) {
        char name[64], takers[64] = "";
        snprintf(name, sizeof name, " %s ", opts[k].name);
        if (!opts[k].given || strstr(method()->options, name)) continue;
        for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
            if (strstr(methods[i].options, name)) sprintf(takers + strlen(takers), "%s%s", *takers ? " or " : "", methods[i].name);
        if (*takers) msg_usage("--%s is for --method %s", opts[k].name, takers);
    }
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
static json_t *knowledge(const struct work *w) {
    const struct model *m = w->m;
    json_t *list = json_pack("[s, s, s]", "weights", "architecture", "classes");
    if (m->mean_count) json_array_append_new(list, json_string(m->mean_count > 1 ? "mean-image" : "scalar-normalisation"));
    if (w->direct && w->direct->images_given) json_array_append_new(list, json_string("number-of-images"));
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
    candidates_rank(c, o.count || w->direct ? o.count : wanted());
    candidates_save(c, w->b);
    double sum = 0;
    for (int64_t i = 0; i < c->count; i++) sum += c->confidence[i];
    blob_set_lineage(w->b, "invert", w->config, (const struct blob *[]){w->m->blob}, 1);
    json_object_update(json_object_get(w->record, "config"), w->config);
    record_set(w->record, "config.know", knowledge(w));
    copy_config(w->record, w->m->blob, "arch");
    record_int(w->record, "metrics.candidates", c->count);
    record_real(w->record, "metrics.confidence.mean", sum / (double)c->count);
    blob_set_record(w->b, w->record);
    if (w->direct) msg_say("%lld images, mean confidence %.2f", (long long)c->count, sum / (double)c->count);
    else msg_say("%lld images; the model gives them %.1f %% for their class on average", (long long)c->count, 100 * sum / (double)c->count);
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
    if (strcmp(o.method, "kkt")) whole(w.config, "count", wanted());
    else if (o.count) whole(w.config, "count", o.count);
    if (!method()->run(&w, &e) || (!o.explain && !write_all(&w, &e))) msg_fail(&e);
    int status = gate_close(&gate, o.explain ? NULL : w.record);
    blob_free(w.b);
    candidates_free(w.found);
    generator_free(w.generator);
    direct_free(w.direct);
    json_decref(w.config);
    json_decref(w.record);
    model_free(m);
    pool_free(pool);
    return status;
}

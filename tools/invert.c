// invert: rebuilds training images out of a classifier's weights.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/audit/direct.h"
#include "../common/audit/generator.h"
#include "../common/audit/knowledge.h"
#include "../common/audit/miface.h"
#include "../common/audit/weight_rows.h"
#include "../common/base/msg.h"
#include "../common/base/opt.h"
#include "../common/base/out.h"
#include "../common/io/checkpoint.h"
#include "../common/io/gate.h"
#include "../common/io/record.h"

static struct {
    const char *output, *method, *also, *device, *fail_if, *preset, *checkpoint, *resume, *span;
    double weight[INVERSION_TERMS], lr, multiplier_lr, spread, box, noise, smoothing, sharpness, margin, step, enough;
    int64_t count, images, candidates, restarts, rounds, steps, batch, width, ramp, patience, smooth_every, every, threads;
    struct reals sharpen;
    uint64_t seed;
    bool json, profile, explain, know;
} o = {
    .method = "kkt", .preset = "all", .span = "auto", .restarts = 3, .rounds = 8, .spread = NAN, .box = 1e-3, .sharpen = {2, {10, 300}},
    .weight = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN}, .lr = NAN, .multiplier_lr = NAN, .noise = .6, .sharpness = 100,
    .margin = NAN, .batch = 64, .width = 64, .step = .5, .enough = .99999, .patience = 100, .smooth_every = 10, .ramp = -1,
    .device = "cpu",
};

#define WEIGHT(name, term, help) {name, 0, OPT_REAL, &o.weight[term], "R", help, NULL, 0, 1e6, false}
static struct opt opts[] = {
    {"output", 'o', OPT_FILE, &o.output, "CANDIDATES", "where the images go; standard output without it", NULL, 0, 0, false},
    {"method", 'm', OPT_CHOICE, &o.method, "NAME", "how they are found", "kkt|generator|miface|rows", 0, 0, false},
    {"count", 'n', OPT_INT, &o.count, "N", "images written, best first; 0: all of kkt, 100 of the others", NULL, 0, 1e6, false},
    {"steps", 0, OPT_INT, &o.steps, "N",
     "steps; 0: the method's own, kkt 3500 a restart, generator 1000, miface 500", NULL, 0, 1e7, false},
    {"also", 0, OPT_FILE, &o.also, "FILE",
     "kkt: start also at these images, which invert made of MODEL, as by generator", NULL, 0, 0, false},
    {"images", 0, OPT_INT, &o.images, "N",
     "training images, where the attacker knows; 0: kkt reads it off the first layer", NULL, 0, 1e6, false},
    {"span", 0, OPT_CHOICE, &o.span, "WORD",
     "kkt: seek images in the first layer's span where it has one, or among pixels", "auto|off", 0, 0, false},
    {"candidates", 0, OPT_INT, &o.candidates, "N",
     "images sought in a restart of kkt; 0: four for each training image", NULL, 0, 1e6, false},
    {"restarts", 0, OPT_INT, &o.restarts, "N", "starts of kkt, whose candidates are ranked together", NULL, 1, 1000, false},
    {"rounds", 0, OPT_INT, &o.rounds, "N", "kkt: searches, each for what the images that are certain leave of the weights", NULL, 1, DIRECT_ROUNDS, false},
    {"spread", 0, OPT_REAL, &o.spread, "R",
     "kkt: deviation of candidates from the mean at the start; .1 in the span, .01 of pixels", NULL, 0, 1e3, false},
    {"box", 0, OPT_REAL, &o.box, "R", "kkt: weight of the squared distance outside [0, 1]", NULL, 0, 1e6, false},
    {"sharpen", 0, OPT_REALS, &o.sharpen, "LIST",
     "kkt: sharpness of a ReLU's derivative at the first step and before polishing", NULL, 1e-6, 1e6, false},
    {"preset", 0, OPT_CHOICE, &o.preset, "NAME", "weights of generator's losses",
     "all|stationary-only|no-stationary", 0, 0, false},
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
    {"multiplier-lr", 0, OPT_REAL, &o.multiplier_lr, "R",
     "learning rate of the multipliers; kkt .1 of their scale, generator .01", NULL, 1e-9, 10, false},
    {"noise", 0, OPT_REAL, &o.noise, "R", "how far a pixel of the perturbed image moves", NULL, 0, 10, false},
    {"smoothing", 0, OPT_REAL, &o.smoothing, "R", "share of the target spread over all classes", NULL, 0, .999, false},
    {"sharpness", 0, OPT_REAL, &o.sharpness, "R",
     "generator: a ReLU's derivative is sigmoid(R x); 0: a step", NULL, 0, 1e6, false},
    {"margin", 0, OPT_REAL, &o.margin, "R",
     "assumed of the images, for the scale of the multipliers; kkt 6, generator 0: no scale", NULL, 0, 1e6, false},
    {"ramp", 0, OPT_INT, &o.ramp, "N", "steps until eta1 has its whole weight; -1: half of all", NULL, -1, 1e7, false},
    {"step", 0, OPT_REAL, &o.step, "R", "length of a step of miface", NULL, 1e-9, 1e6, false},
    {"patience", 0, OPT_INT, &o.patience, "N", "miface: steps without a surer image before it is left", NULL, 1, 1e7, false},
    {"enough", 0, OPT_REAL, &o.enough, "R", "miface: a probability that is sure enough", NULL, 0, 2, false},
    {"smooth-every", 0, OPT_INT, &o.smooth_every, "N", "miface: steps between two smoothings; 0: none", NULL, 0, 1e7, false},
    {"checkpoint", 0, OPT_FILE, &o.checkpoint, "FILE",
     "kkt, generator: save here (CANDIDATES.checkpoint when interrupted)", NULL, 0, 0, false},
    {"every", 0, OPT_INT, &o.every, "N", "steps of generator between two saves; 0: at the end of the steps", NULL, 0, 1e7, false},
    {"resume", 0, OPT_FILE, &o.resume, "FILE", "continue a checkpoint, bit for bit", NULL, 0, 0, false},
    {"fail-if", 0, OPT_TEXT, &o.fail_if, "EXPR",
     "exit with 1 where this holds of the record, such as confidence.mean>.9", NULL, 0, 0, false},
    {"seed", 's', OPT_SEED, &o.seed, "N", "seed of every random draw", NULL, 0, 0, false},
    {"threads", 'j', OPT_INT, &o.threads, "N", "worker threads; 0: as many as processors", NULL, 0, 1024, false},
    {"device", 0, OPT_TEXT, &o.device, "NAME", "ref, cpu or cuda", NULL, 0, 0, false},
    {"json", 0, OPT_FLAG, &o.json, NULL, "print the record; write images only where -o says", NULL, 0, 0, false},
    {"profile", 0, OPT_FLAG, &o.profile, NULL, "say where the time went", NULL, 0, 0, false},
    {"know", 0, OPT_FLAG, &o.know, NULL, "print what the attack would use, an item a line, and end", NULL, 0, 0, false},
    {"explain", 0, OPT_FLAG, &o.explain, NULL, "print the plan of a step of kkt or generator and end", NULL, 0, 0, false},
};

static struct program program = {
    .name = "invert", .summary = "rebuild training images out of a classifier's weights", .operands = "MODEL", .operands_min = 1,
    .operands_max = 1, .opts = opts, .count = sizeof opts / sizeof *opts,
    .examples = "fetch synthetic --count 50 -o few.st\n"
                "trainclf -i few.st --arch 'flatten | linear 200 | relu | linear classes nobias fixed | init he,first:1e-3' \\\n"
                "    --normalise mean-image --batch 50 --epochs 300 --l2 1e-3 --settle lbfgs:300 -o few-mlp.st\n"
                "invert few-mlp.st --restarts 1 -o solved.st\n"
                "invert few-mlp.st -m rows -n 20 -o rows.st\n"
                "invert few-mlp.st -m miface -n 20 --steps 50 -o surest.st\n"
                "invert few-mlp.st -m generator --width 4 --batch 20 --steps 5 -n 20 -o made.st\n"
                "invert few-mlp.st --also made.st --restarts 1 --steps 500 -o both.st\n"
                "invert few-mlp.st --know\n"
                "tensor png solved.st -t x -o solved.png",
    .see_also = "trainclf(1), ssim(1), tensor(1), blob(5)",
};

// ---- the work

struct work {
    struct model *m;
    struct pool *pool;
    struct blob *also;            // images to start at too, or NULL
    json_t *config;               // the settings that decide the result
    json_t *know;                 // what the attacker used
    struct candidates *found;
    struct blob *b;
    json_t *record;
    struct generator *generator;  // what the blob borrows its history from: this,
    struct direct *direct;        // or this
};

static int64_t wanted(void) { return o.count ? o.count : 100; }
static int64_t each_class(const struct model *m) { return (wanted() + m->classes - 1) / m->classes; }

static void say_profile(const double part[PARTS], double seconds, int threads) {
    seconds *= threads;
    for (int i = 0; i < PARTS; i++)
        msg_say("%-12s %9.3f s %5.1f %%", exec_part_name[i], part[i], 100 * part[i] / (seconds > 0 ? seconds : 1));
    msg_say("%-12s %9.3f s of %d threads", "all", seconds, threads);
}

// ---- kkt and generator: runs that are kept

static bool save(const struct work *w, const char *path, struct error *e) {
    return w->direct ? kkt_save(w->direct->round[0].kkt, w->config, path, e) : generator_save(w->generator, w->config, path, e);
}

static const char *kept_in(void) {
    static char beside[CHECKPOINT_ROOM];
    return o.checkpoint ? o.checkpoint : checkpoint_beside(o.output, beside);
}

// Ends the program where a signal came, once the run is kept: in --checkpoint, or beside the output.
static void heed_signal(const struct work *w) {
    struct error e = {0};
    if (!out_stopping()) return;
    const struct kkt *k = w->direct ? w->direct->round[0].kkt : NULL;
    long long steps = (long long)(k ? k->restart * k->o.steps + k->step : w->generator->step);
    const char *path = kept_in();
    if (path && save(w, path, &e)) msg_say("interrupted after step %lld; --resume %s continues", steps, path);
    else msg_warn("interrupted after step %lld; nothing is kept: %s", steps,
                  path ? e.text : "-o FILE or --checkpoint FILE would");
    out_interrupted();
}

// ---- kkt

static void check_kkt(void) {
    if (o.margin <= 0) msg_usage("--margin 0: kkt needs a margin for the scale of the multipliers");
    if (o.sharpen.count != 2) msg_usage("--sharpen: two numbers expected, the first sharpness and the last");
}

static struct kkt_options kkt_settings(void) {
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
    return k;
}

// What the attack settled on.
static void note_kkt(struct work *w) {
    const struct direct *d = w->direct;
    const char *refused = span_refused(w->m);
    kkt_describe(&d->o, w->config);
    json_object_update_new(w->config, json_pack("{s:I, s:I, s:s, s:s?}", "images", (json_int_t)d->images, "rounds", (json_int_t)o.rounds, "span", o.span,
                                                "also", w->also ? w->also->digest : NULL));
    const struct reduced *in = d->round[0].reduced;
    if (d->span) msg_say("first layer: gap of %.3g after the %lldth singular value; images are sought in %lld dimensions of %lld",
                         d->span->gap, (long long)d->span->rank, (long long)in->dims, (long long)in->pixels);
    else msg_say("no span: %s; images are sought pixel by pixel", refused ? refused : "--span off");
    if (d->span && d->images_given && d->span->gap >= SPAN_GAP && d->span->rank != d->images)
        msg_warn("--images %lld, but the singular values have their gap after the %lldth: what is certain may be wrong", (long long)d->images,
                 (long long)d->span->rank);
    msg_say("%lld training images, %s", (long long)d->images, d->images_given ? "as told" : "read off the singular values");
    record_note(w->record, "%s", direct_claim(w->m));
}

static bool start_also(struct work *w, struct error *e) {
    struct kkt *k = direct_kkt(w->direct);
    if (!w->also) return true;
    struct candidates *c = candidates_of(w->also, w->m, e);
    if (!c) return false;
    k->stop = k->o.restarts;  // an image may start any of them
    int64_t started = kkt_start(k, c->x, c->y, c->count);
    record_int(w->record, "metrics.started", started);
    msg_say("%lld of %lld candidates start at images of %s, which has %lld", (long long)started,
            (long long)(k->o.restarts * k->o.candidates), w->also->source, (long long)c->count);
    candidates_free(c);
    return true;
}

static bool solve(struct work *w, struct error *e) {
    struct kkt *k = direct_kkt(w->direct);
    struct progress progress;
    bool interrupted;
    long steps = (long)(k->stop * k->o.steps);
    progress_open(&progress, "steps", steps);
    k->progress = &progress;
    out_graceful();
    bool fine = kkt_run(k, &interrupted, e);
    k->progress = NULL;
    if (fine && !interrupted) progress_step(&progress, steps, NULL);
    progress_close(&progress);
    if (fine) heed_signal(w);
    return fine && (!o.checkpoint || w->direct->rounds > 1 || save(w, o.checkpoint, e));
}

// Restarts, and rounds for what is not certain yet.
static bool solve_rounds(struct work *w, struct error *e) {
    struct direct *d = w->direct;
    if (!solve(w, e)) return false;
    for (int rounds = d->rounds; direct_next(d, (int)o.rounds, w->pool, e); rounds = d->rounds) {
        heed_signal(w);
        if (d->rounds > rounds)
            msg_say("certain of %lld images; the other %lld are sought in what these leave of the weights", (long long)direct_certified(d),
                    (long long)d->round[d->rounds - 1].images);
        if (solve(w, e)) continue;
        if (d->rounds == 1) return false;
        msg_warn("round %d: %s; what was certain before it stands", d->rounds, e->text);
        record_note(w->record, "round %d: %s", d->rounds, e->text);
        *e = (struct error){0};
        direct_drop(d);
        break;
    }
    heed_signal(w);
    return !e->status;
}

static bool run_kkt(struct work *w, struct error *e) {
    struct kkt_options k = kkt_settings();
    struct direct *d = w->direct = direct_open(w->m, !strcmp(o.span, "auto"), o.images, &k, w->pool, e);
    if (!d) return false;
    if (o.explain) return plan_print(kkt_plan(direct_kkt(d)), stdout), true;
    note_kkt(w);
    if (!start_also(w, e) || (o.resume && !kkt_resume(direct_kkt(d), w->config, o.resume, e))) return false;
    double start = msg_clock(), part[PARTS];
    if (!solve_rounds(w, e)) return false;
    double seconds = msg_clock() - start;
    w->found = direct_candidates(d, w->pool, e);
    heed_signal(w);
    if (!w->found) return false;
    if (o.profile) {
        direct_profile(d, part);
        say_profile(part, seconds, pool_threads(w->pool));
        msg_say("certificate and ranking %.3f s", msg_clock() - start - seconds);
    }
    direct_note(d, w->b, w->record);
    if (d->round[0].certificate)
        msg_say("residual %.4f; certain of %lld images", direct_residual(&d->round[0]), (long long)direct_certified(d));
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

static struct generator_options generator_settings(void) {
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
    return g;
}

static bool train(struct work *w, int64_t steps, struct error *e) {
    struct generator *t = w->generator;
    struct progress progress;
    progress_open(&progress, "steps", (long)steps);
    t->progress = &progress;
    out_graceful();
    bool fine = true;
    while (fine && t->step < steps) {
        fine = generator_train(t, o.every ? t->step + o.every : steps, e);
        if (fine) heed_signal(w);
        if (fine && o.checkpoint) fine = save(w, o.checkpoint, e);
    }
    progress_close(&progress);
    t->progress = NULL;
    return fine;
}

static bool run_generator(struct work *w, struct error *e) {
    struct generator_options g = generator_settings();
    struct generator *t = w->generator = generator_open(w->m, &g, w->pool, e);
    if (!t) return false;
    if (o.explain) return plan_print(generator_plan(t), stdout), true;
    generator_describe(&g, w->config);
    if (o.resume && !generator_resume(t, w->config, o.resume, e)) return false;
    double start = msg_clock(), part[PARTS];
    if (!train(w, g.steps, e)) return false;
    if (o.profile) {
        generator_profile(t, part);
        say_profile(part, msg_clock() - start, pool_threads(w->pool));
    }
    msg_say("%.1f %% of the last batch are in their class", 100 * t->history[(INVERSION_TERMS + 1) * g.steps + g.steps - 1]);
    w->found = generator_sample(t, each_class(w->m), e);
    heed_signal(w);
    if (w->found) generator_note(t, w->b, w->record);
    double loss, squares;
    if (w->found && record_get_real(w->record, "metrics.weights_squared", &squares) && record_get_real(w->record, "metrics.loss.eta4", &loss))
        msg_say("stationary loss %.4g; without any image %.4g%s", loss, squares, loss < squares ? "" : ": these explain nothing of the weights");
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
    miface_describe(&f, w->config);
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
    void (*check)(void);                           // of the command line, or NULL
    bool (*run)(struct work *w, struct error *e);  // fills config, record and found
    bool balanced;                                 // takes classes to have as many images each
    const char *options;                           // of some methods that it takes, with spaces around each
} methods[] = {
    {"kkt", check_kkt, run_kkt, true,
     " steps also images span candidates restarts rounds spread box sharpen lr multiplier-lr margin checkpoint resume profile explain "},
    {"generator", check_generator, run_generator, true,
     " steps preset alpha alpha-prime beta beta-prime gamma delta eta1 eta2 eta3 eta4 batch width lr multiplier-lr noise "
     "smoothing sharpness margin ramp checkpoint every resume profile explain "},
    {"miface", NULL, run_miface, false, " steps step patience enough smooth-every "},
    {"rows", NULL, run_rows, false, " "},
};

static const struct method *method(void) {
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (!strcmp(methods[i].name, o.method)) return &methods[i];
    BUG("method %s", o.method);
}

// ---- from the command line to the file

static void check(const struct operands *operands) {
    struct error e = {0};
    const char *model = operands->value[0];
    for (int k = 0; k < program.count; k++) {
        char name[64], takers[64] = "";
        snprintf(name, sizeof name, " %s ", opts[k].name);
        if (!opts[k].given || strstr(method()->options, name)) continue;
        for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
            if (strstr(methods[i].options, name))
                sprintf(takers + strlen(takers), "%s%s", *takers ? " or " : "", methods[i].name);
        if (*takers) msg_usage("--%s is for --method %s", opts[k].name, takers);
    }
    if (o.every && !o.checkpoint) msg_usage("--every needs --checkpoint");
    if (path_is_dash(model) + path_is_dash(o.also) + path_is_dash(o.resume) > 1)
        msg_usage("standard input can give one of the model, the images of --also and the checkpoint");
    if (method()->check) method()->check();
    if (o.explain || o.know) return;
    bool blob = o.output || !o.json;
    opt_keep_apart(&program, "output,checkpoint", "also", operands);
    opt_keep_apart(&program, "output", "resume", NULL);  // a checkpoint may go on in its own file
    if (o.json && path_is_dash(o.output)) msg_usage("standard output can take one of the images and --json");
    if ((blob && !out_check(o.output, true, &e)) || (o.checkpoint && !out_check(o.checkpoint, true, &e))) msg_fail(&e);
    if (!o.checkpoint && strstr(method()->options, " checkpoint ")) checkpoint_warn(kept_in(), o.resume);
}

static bool open_work(struct work *w, const char *model, struct error *e) {
    w->m = model_open(model, e);
    w->also = w->m && o.also ? blob_open(o.also, e) : NULL;
    if (!w->m || (o.also && !w->also)) return false;
    w->config = json_pack("{s:s, s:s, s:s}", "method", o.method, "device", o.device, "model", w->m->blob->digest);
    int64_t count = strcmp(o.method, "kkt") ? wanted() : o.count;
    if (count) json_object_set_new(w->config, "count", json_integer(count));
    w->know = knowledge_of(w->m);
    if (method()->balanced) knowledge_add(w->know, "equal-classes");
    if (o.images) knowledge_add(w->know, "number-of-images");
    if (o.margin > 0) knowledge_add(w->know, "margin");
    if (w->also && w->also->record) knowledge_join(w->know, record_get(w->also->record, "config.know"));
    w->b = blob_new("reconstruction");
    w->record = record_new();
    return true;
}

static bool write_all(struct work *w, struct error *e) {
    struct candidates *c = w->found;
    candidates_rank(c, o.count || w->direct ? o.count : wanted());
    candidates_save(c, w->b);
    double sum = 0;
    for (int64_t i = 0; i < c->count; i++) sum += c->confidence[i];
    double mean = sum / (double)c->count;
    blob_set_lineage(w->b, "invert", w->config, (const struct blob *[]){w->m->blob, w->also}, w->also ? 2 : 1);
    json_object_update(json_object_get(w->record, "config"), w->config);
    record_set(w->record, "config.know", json_incref(w->know));
    record_copy(w->record, w->m->blob->record, "config.arch");
    record_int(w->record, "metrics.candidates", c->count);
    record_real(w->record, "metrics.confidence.mean", mean);
    blob_set_record(w->b, w->record);
    if (w->direct) msg_say("%lld images, mean confidence %.2f", (long long)c->count, mean);
    else msg_say("%lld images; the model gives them %.1f %% for their class on average", (long long)c->count, 100 * mean);
    if ((o.output || !o.json) && !blob_write(w->b, o.output, e)) return false;
    if (o.json && !record_print(w->record, e)) return false;
    if (out_stopping()) {
        msg_say("interrupted while the images were written; they are whole");
        out_interrupted();
    }
    return true;
}

int main(int argc, char **argv) {
    struct error e = {0};
    struct operands operands = opt_parse(&program, argc, argv);
    struct gate gate = gate_open(o.fail_if);
    check(&operands);
    struct work w = {.pool = pool_new((int)o.threads)};
    bool fine = open_work(&w, operands.value[0], &e), just_told = o.know || o.explain;
    if (fine && o.know) knowledge_print(w.know);
    else fine = fine && method()->run(&w, &e) && (just_told || write_all(&w, &e));
    if (!fine) msg_fail(&e);
    int status = gate_close(&gate, just_told ? NULL : w.record);
    blob_free(w.b);
    blob_free(w.also);
    candidates_free(w.found);
    generator_free(w.generator);
    direct_free(w.direct);
    json_decref(w.config);
    json_decref(w.know);
    json_decref(w.record);
    model_free(w.m);
    pool_free(w.pool);
    return status;
}

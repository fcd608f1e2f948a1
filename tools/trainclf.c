// trainclf: trains a classifier on a data set and writes it as one blob.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/base/hash.h"
#include "../common/base/msg.h"
#include "../common/base/opt.h"
#include "../common/base/out.h"
#include "../common/base/stats.h"
#include "../common/io/record.h"
#include "../common/nn/train.h"

static struct {
    const char *input, *test, *arch, *output, *import, *image;
    int64_t epochs, batch, threads, patience;
    double lr, momentum, l2, weight_decay, smoothing, validation;
    const char *optimiser, *schedule, *augment, *class_weights, *normalise, *subset, *positive, *device, *checkpoint, *resume;
    bool nesterov, keep_best, json, profile, explain;
    uint64_t seed;
} o = {.arch = "cnn", .epochs = 10, .batch = 128, .lr = 1e-3, .momentum = .9, .weight_decay = .01, .optimiser = "adam",
       .schedule = "constant", .augment = "none", .class_weights = "none", .normalise = "scalar", .subset = "all", .device = "cpu"};

static struct opt opts[] = {
    {"input", 'i', OPT_FILE, &o.input, "DATA", "images and labels to train on", NULL, 0, 0, false},
    {"output", 'o', OPT_FILE, &o.output, "MODEL", "where the model goes; standard output without it", NULL, 0, 0, false},
    {"test", 't', OPT_FILE, &o.test, "DATA", "evaluate on these images after every epoch", NULL, 0, 0, false},
    {"arch", 'a', OPT_TEXT, &o.arch, "LINE", "a preset (cnn, mlp, vit, ...) or an architecture line", NULL, 0, 0, false},
    {"epochs", 'e', OPT_INT, &o.epochs, "N", "passes over the training examples", NULL, 1, 1e6, false},
    {"batch", 'b', OPT_INT, &o.batch, "N", "examples a step", NULL, 1, 1e6, false},
    {"optimiser", 0, OPT_CHOICE, &o.optimiser, "NAME", "sgd, adam or adamw", "sgd|adam|adamw", 0, 0, false},
    {"lr", 0, OPT_REAL, &o.lr, "R", "learning rate, the largest of the schedule", NULL, 1e-12, 1e6, false},
    {"schedule", 0, OPT_TEXT, &o.schedule, "WORD", "constant, cosine, step:EPOCHS:GAMMA or onecycle", NULL, 0, 0, false},
    {"momentum", 0, OPT_REAL, &o.momentum, "R", "momentum of sgd", NULL, 0, .9999, false},
    {"nesterov", 0, OPT_FLAG, &o.nesterov, NULL, "Nesterov's momentum for sgd", NULL, 0, 0, false},
    {"l2", 0, OPT_REAL, &o.l2, "R", "coupled L2: R times every parameter is added to its gradient", NULL, 0, 1e3, false},
    {"weight-decay", 0, OPT_REAL, &o.weight_decay, "R", "decoupled weight decay of adamw", NULL, 0, 1e3, false},
    {"label-smoothing", 0, OPT_REAL, &o.smoothing, "R", "share of the target spread over all classes", NULL, 0, .999, false},
    {"class-weights", 0, OPT_TEXT, &o.class_weights, "WORD", "none, balanced or a weight for each class, with commas", NULL, 0, 0, false},
    {"augment", 0, OPT_TEXT, &o.augment, "LIST", "none, or some of flip,shift:PIXELS,crop:PIXELS", NULL, 0, 0, false},
    {"normalise", 0, OPT_TEXT, &o.normalise, "WORD", "none, constant:M,S, scalar or mean-image", NULL, 0, 0, false},
    {"subset", 0, OPT_TEXT, &o.subset, "WORD", "train on all, first:K, random-half:SEED[:other] or the mask in a file", NULL, 0, 0, false},
    {"positive", 0, OPT_TEXT, &o.positive, "LIST", "labels of the positive class: a network with one output", NULL, 0, 0, false},
    {"validation", 0, OPT_REAL, &o.validation, "F", "share of the training examples held out for validation", NULL, 0, .9, false},
    {"patience", 0, OPT_INT, &o.patience, "N", "stop after N epochs without a better validation loss; 0: never", NULL, 0, 1e6, false},
    {"keep-best", 0, OPT_FLAG, &o.keep_best, NULL, "end with the weights of the best validation loss", NULL, 0, 0, false},
    {"import", 0, OPT_FILE, &o.import, "FILE", "no training: turn a state dict in safetensors into a model", NULL, 0, 0, false},
    {"image", 0, OPT_TEXT, &o.image, "C,H,W", "with --import: the shape of an image, where no -i tells", NULL, 0, 0, false},
    {"checkpoint", 0, OPT_FILE, &o.checkpoint, "FILE", "save here after every epoch (MODEL.checkpoint when interrupted)", NULL, 0, 0, false},
    {"resume", 0, OPT_FILE, &o.resume, "FILE", "continue a checkpoint, bit for bit", NULL, 0, 0, false},
    {"seed", 's', OPT_SEED, &o.seed, "N", "seed of every random draw", NULL, 0, 0, false},
    {"threads", 'j', OPT_INT, &o.threads, "N", "worker threads; 0: as many as processors", NULL, 0, 1024, false},
    {"device", 0, OPT_TEXT, &o.device, "NAME", "ref, cpu or cuda", NULL, 0, 0, false},
    {"json", 0, OPT_FLAG, &o.json, NULL, "print the record; write a model only where -o says", NULL, 0, 0, false},
    {"profile", 0, OPT_FLAG, &o.profile, NULL, "say where the time went", NULL, 0, 0, false},
    {"explain", 0, OPT_FLAG, &o.explain, NULL, "print the plan of a training step and end", NULL, 0, 0, false},
};

static struct program program = {
    .name = "trainclf", .summary = "train an image classifier", .operands = "", .opts = opts, .count = sizeof opts / sizeof *opts,
    .examples = "fetch synthetic --count 300 | trainclf -i - --arch mlp --epochs 2 -o mlp.st\n"
                "fetch synthetic --count 300 | trainclf -i - --arch \"flatten | linear 64 | relu | linear 10\" --l2 1e-4 --json\n"
                "trainclf --import mlp.st --arch mlp --image 1,28,28 -o same.st",
    .see_also = "fetch(1), attack(1), report(1), tensor(1), blob(5)",
};

// ---- from words to settings

static int64_t list_of_reals(const char *text, double *value, int64_t room) {
    int64_t n = 0;
    for (const char *c = text;; c++) {
        char word[64];
        size_t length = strcspn(c, ",");
        snprintf(word, sizeof word, "%.*s", (int)(length < 63 ? length : 63), c);
        if (n == room || !parse_real(word, &value[n++])) return -1;
        c += length;
        if (!*c) return n;
    }
}

static uint64_t positive_labels(void) {
    double value[64];
    uint64_t mask = 0;
    if (!o.positive) return 0;
    int64_t n = list_of_reals(o.positive, value, 64);
    for (int64_t i = 0; i < n; i++) {
        if (!(value[i] >= 0 && value[i] <= 63) || value[i] != (int)value[i]) n = -1;
        else mask |= (uint64_t)1 << (int)value[i];
    }
    if (n < 1) msg_usage("--positive %s: labels from 0 to 63, separated by commas", o.positive);
    return mask;
}

static void check(void) {
    if (o.import && (o.resume || o.explain || o.test)) msg_usage("--import does not train: no --resume, --explain, --test");
    if (!o.import && !o.input) msg_usage("-i DATA is missing");
    if (o.image && (!o.import || o.input)) msg_usage("--image is for --import without -i");
    if (o.patience && !(o.validation > 0)) msg_usage("--patience needs --validation");
    if (o.keep_best && !(o.validation > 0)) msg_usage("--keep-best needs --validation");
    if (strcmp(o.optimiser, "sgd") && (opt_given(&program, "momentum") || o.nesterov)) msg_usage("--momentum and --nesterov are for --optimiser sgd");
    if (o.nesterov && !(o.momentum > 0)) msg_usage("--nesterov needs --momentum over 0");
    if (strcmp(o.optimiser, "adamw") && opt_given(&program, "weight-decay")) msg_usage("--weight-decay is for --optimiser adamw; --l2 is the coupled form");
    positive_labels();
}

// PyTorch's weights balanced as scikit-learn does: n / (classes x examples of the class).
static double *class_weights(const struct model *m, const struct dataset *d, const struct train_split *s, struct error *e) {
    if (!strcmp(o.class_weights, "none")) return NULL;
    double *weight = memory_zero((size_t)m->classes * sizeof *weight);
    if (strcmp(o.class_weights, "balanced")) {
        bool fine = list_of_reals(o.class_weights, weight, m->classes) == m->classes;
        for (int k = 0; k < m->classes; k++) fine = fine && weight[k] >= 0;
        if (!fine) error_set(e, EXIT_USAGE, "--class-weights %s: none, balanced or %d numbers expected", o.class_weights, m->classes);
        return weight;
    }
    for (int64_t i = 0; i < s->trains; i++) weight[model_label(m, d->y[s->train[i]])]++;
    for (int k = 0; k < m->classes; k++)
        if (weight[k] > 0) weight[k] = (double)s->trains / (m->classes * weight[k]);
    return weight;
}

// ---- --import

// A state dict does not say how many classes there are, its last tensor does.
static int outputs_of(const struct blob *b) {
    long last = -1;
    int64_t outputs = 0;
    for (int i = 0; i < b->count; i++) {
        char *end;
        long element = strtol(b->tensor[i].name, &end, 10);
        if (end == b->tensor[i].name || element < last || b->tensor[i].rank < 1) continue;
        last = element;
        outputs = b->tensor[i].dim[0];
    }
    return outputs >= 1 && outputs <= 65536 ? (int)outputs : 10;
}

static struct shape image_shape(struct error *e) {
    double side[3] = {0};
    bool fine = o.image && list_of_reals(o.image, side, 3) == 3;
    for (int i = 0; i < 3; i++) fine = fine && side[i] >= 1 && side[i] <= 32768 && side[i] == (int)side[i];
    if (!fine) error_set(e, EXIT_USAGE, "--import needs the shape of an image: -i DATA or --image C,H,W");
    return shape_of(3, (int)side[0], (int)side[1], (int)side[2]);
}

static struct model *import(const struct dataset *d, struct blob *from, struct pool *pool, struct error *e) {
    struct shape input = d ? shape_of(3, d->channels, d->height, d->width) : image_shape(e);
    struct arch *a = e->status ? NULL : arch_parse(o.arch, input, o.positive ? 1 : outputs_of(from), e);
    if (!a) return NULL;
    struct model *m = model_new(a, 0);
    m->positive = positive_labels();
    if (!d && !opt_given(&program, "normalise")) o.normalise = "none";
    if (!d && (!strcmp(o.normalise, "scalar") || !strcmp(o.normalise, "mean-image")))
        error_set(e, EXIT_USAGE, "--normalise %s is measured on the images of -i DATA", o.normalise);
    unsigned char *all = d ? dataset_choose("all", d->count, e) : NULL;
    struct train_split s = d && all ? train_split(all, d->count, 0, 0) : (struct train_split){0};
    free(all);
    bool fine = !e->status && model_load(m, from, e) && train_normalise(m, o.normalise, d, s.train, s.trains, pool, e);
    train_split_free(&s);
    if (fine) return m;
    model_free(m);
    return NULL;
}

// ---- what is written

static json_t *identity(const struct model *m, const struct dataset *d, const struct dataset *test) {
    json_t *c = json_object();
    char keep[65];
    unsigned char digest[32];
    struct hash *h = hash_new();
    hash_add(h, m->keep, (size_t)m->keep_count);
    hash_end(h, digest);
    bool word = !strcmp(o.subset, "all") || !strncmp(o.subset, "first:", 6) || !strncmp(o.subset, "random-half:", 12);
#define TEXT(key, value) json_object_set_new(c, key, json_string(value))
#define REAL(key, value) json_object_set_new(c, key, json_real(value))
#define INT(key, value) json_object_set_new(c, key, json_integer((json_int_t)(value)))
    TEXT("arch", m->arch->line);
    TEXT("regime", "erm");
    TEXT("data", d->blob->digest);
    if (test) TEXT("test", test->blob->digest);
    TEXT("subset", word ? o.subset : "mask");
    TEXT("keep", hash_hex(digest, keep));
    TEXT("normalisation", o.normalise);
    TEXT("optimiser", o.optimiser);
    TEXT("schedule", o.schedule);
    TEXT("augment", o.augment);
    TEXT("class_weights", o.class_weights);
    TEXT("device", o.device);
    INT("epochs", o.epochs);
    INT("batch", o.batch);
    INT("patience", o.patience);
    INT("seed", o.seed);
    REAL("lr", o.lr);
    REAL("l2", o.l2);
    REAL("label_smoothing", o.smoothing);
    REAL("validation", o.validation);
    json_object_set_new(c, "keep_best", json_boolean(o.keep_best));
    if (!strcmp(o.optimiser, "sgd")) {
        REAL("momentum", o.momentum);
        json_object_set_new(c, "nesterov", json_boolean(o.nesterov));
    }
    if (!strcmp(o.optimiser, "adamw")) REAL("weight_decay", o.weight_decay);
    if (o.positive) TEXT("positive_labels", o.positive);
    return c;
#undef TEXT
#undef REAL
#undef INT
}

static bool note_metrics(struct training *t, const char *set, const struct dataset *d, const int64_t *index, int64_t n,
                         json_t *record, struct error *e) {
    struct evaluation v;
    char path[64];
    if (!train_evaluate(t, d, index, n, &v, e)) return false;
    snprintf(path, sizeof path, "metrics.%s.accuracy", set);
    record_rate(record, path, (long)v.right, (long)v.count);
    snprintf(path, sizeof path, "metrics.%s.loss", set);
    record_real(record, path, v.loss);
    struct interval i = stats_clopper_pearson((long)v.right, (long)v.count, .95);
    msg_say("%s: accuracy %.2f %% (%.2f to %.2f), loss %.4f", set, 100 * (double)v.right / (double)v.count, 100 * i.low, 100 * i.high, v.loss);
    return true;
}

static void note_history(const struct training *t, struct blob *b, json_t *record) {
    record_int(record, "metrics.epochs", t->epoch);
    record_int(record, "metrics.steps", t->step);
    if (t->best_epoch) record_int(record, "metrics.best_epoch", t->best_epoch);
    for (int c = 0; c < TRAIN_COLUMNS; c++) {
        const double *column = t->history + c * o.epochs;
        char name[64];
        if (isnan(column[0])) continue;
        json_t *list = json_array();
        for (int64_t i = 0; i < t->epoch; i++) json_array_append_new(list, json_real(column[i]));
        snprintf(name, sizeof name, "metrics.history.%s", train_column_name[c]);
        record_set(record, name, list);
        snprintf(name, sizeof name, "assay.history.%s", train_column_name[c]);
        blob_add(b, name, F64, 1, &t->epoch, column);
    }
}

static void say_profile(const struct training *t) {
    static const char *const own[] = {"data", "optimiser", "regime", "evaluation"};
    double total = 0, share[TRAIN_PARTS];
    for (int i = 0; i < TRAIN_PARTS; i++) total += share[i] = t->seconds[i] * (i < PARTS ? 1 : pool_threads(t->pool));
    for (int i = 0; i < TRAIN_PARTS; i++)
        msg_say("%-12s %9.3f s %5.1f %%", i < PARTS ? exec_part_name[i] : own[i - PARTS], share[i], 100 * share[i] / (total > 0 ? total : 1));
    msg_say("%-12s %9.3f s of %d threads", "all", total, pool_threads(t->pool));
}

static bool write_model(const struct model *m, struct blob *b, json_t *record, struct error *e) {
    model_save(m, b, record);
    blob_set_record(b, record);
    if ((o.output || !o.json) && !blob_write(b, o.output, e)) return false;
    if (!o.json) return true;
    struct out *out = out_open(NULL, false, e);
    char *text = record_dump(record);
    bool fine = out && out_print(out, e, "%s\n", text) && out_close(out, e);
    free(text);
    return fine;
}

// ---- the two things it does

static bool import_model(const struct dataset *d, struct pool *pool, struct error *e) {
    struct blob *from = blob_open(o.import, e);
    struct model *m = from ? import(d, from, pool, e) : NULL;
    if (!m) return false;
    struct blob *b = blob_new("model");
    json_t *record = record_new(), *options = json_pack("{s:s, s:s}", "arch", m->arch->line, "normalisation", o.normalise);
    blob_set_lineage(b, "trainclf", options, (const struct blob *[]){from}, 1);
    return write_model(m, b, record, e);
}

static bool train_model(struct dataset *d, struct dataset *test, struct pool *pool, struct error *e) {
    struct shape input = shape_of(3, d->channels, d->height, d->width);
    struct arch *a = arch_parse(o.arch, input, o.positive ? 1 : d->classes, e);
    if (!a) return false;
    struct model *m = model_new(a, o.seed);
    m->positive = positive_labels();
    m->keep_count = d->count;
    m->keep = dataset_choose(o.subset, d->count, e);
    if (!m->keep || (test && !model_fits(m, test, e))) return false;
    struct train_split split = train_split(m->keep, d->count, o.validation, o.seed);
    if (!split.trains) return error_set(e, EXIT_INPUT, "%s: --subset %s leaves no example to train on", d->blob->source, o.subset);
    struct train_options options = {
        .seed = o.seed, .device = o.device, .epochs = o.epochs, .batch = o.batch, .lr = o.lr, .schedule = o.schedule, .smoothing = o.smoothing,
        .patience = o.patience, .keep_best = o.keep_best, .checkpoint = o.checkpoint, .checkpoint_epochs = o.checkpoint != NULL,
    };
    enum optim_kind kind;
    char beside[4096];
    if (!optim_parse(o.optimiser, &kind)) BUG("optimiser %s", o.optimiser);
    optim_defaults(&options.optim, kind);
    if (kind == OPTIM_SGD) options.optim.momentum = o.momentum;
    options.optim.nesterov = o.nesterov;
    options.optim.l2 = o.l2;
    if (kind == OPTIM_ADAMW) options.optim.weight_decay = o.weight_decay;
    if (!o.checkpoint && o.output && strcmp(o.output, "-") && (size_t)snprintf(beside, sizeof beside, "%s.checkpoint", o.output) < sizeof beside)
        options.checkpoint = beside;
    if (!train_normalise(m, o.normalise, d, split.train, split.trains, pool, e)) return false;
    if (!augment_parse(&options.augment, o.augment, d->height, d->width, o.seed, e)) return false;
    options.class_weight = class_weights(m, d, &split, e);
    if (e->status) return false;
    json_t *run = identity(m, d, test);
    options.identity = run;

    struct training *t = train_open(m, &options, NULL, d, &split, test, pool, e);
    if (!t) return false;
    if (o.explain) {
        plan_print(train_plan(t), stdout);
        return fflush(stdout) == 0 || error_set(e, EXIT_SYSTEM, "standard output: write failed");
    }
    if (o.resume && !train_resume(t, o.resume, e)) return false;
    msg_say("%lld parameters, %lld examples, %lld steps an epoch, %d threads", (long long)a->parameters, (long long)split.trains,
            (long long)t->steps_per_epoch, pool_threads(pool));
    out_graceful(true);
    if (!train_run(t, e)) return false;
    if (t->interrupted) {
        if (options.checkpoint) msg_say("interrupted after step %lld; --resume %s continues", (long long)t->step, options.checkpoint);
        out_interrupted();
    }
    out_graceful(false);

    struct blob *b = blob_new("model");
    json_t *record = record_new();
    json_object_update(json_object_get(record, "config"), run);
    record_int(record, "config.examples", split.trains);
    if (!note_metrics(t, "train", d, split.train, split.trains, record, e)) return false;
    if (split.validations && !note_metrics(t, "validation", d, split.validation, split.validations, record, e)) return false;
    if (test && !note_metrics(t, "test", test, NULL, test->count, record, e)) return false;
    note_history(t, b, record);
    blob_set_lineage(b, "trainclf", run, (const struct blob *[]){d->blob, test ? test->blob : NULL}, test ? 2 : 1);
    if (o.profile) say_profile(t);
    return write_model(m, b, record, e);
}

int main(int argc, char **argv) {
    struct error e = {0};
    opt_parse(&program, argc, argv);
    check();
    struct pool *pool = pool_new((int)o.threads);
    struct dataset *d = o.input ? dataset_open(o.input, &e) : NULL;
    struct dataset *test = o.test && !e.status ? dataset_open(o.test, &e) : NULL;
    bool fine = !e.status && (o.import ? import_model(d, pool, &e) : train_model(d, test, pool, &e));
    if (!fine) msg_fail(&e);
    return msg_close();
}

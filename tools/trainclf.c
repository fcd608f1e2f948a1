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
#include "../common/io/checkpoint.h"
#include "../common/io/record.h"
#include "../common/nn/settle.h"
#include "../common/nn/train.h"

static struct {
    const char *input, *test, *arch, *output, *import;
    int64_t epochs, batch, threads, patience;
    double lr, momentum, l2, weight_decay, smoothing, validation;
    const char *optimiser, *schedule, *augment, *class_weights, *normalise, *subset, *device, *checkpoint, *resume, *settle;
    double settle_to, settle_lr;
    bool stationarity;
    bool nesterov, keep_best, json, profile, explain;
    struct reals positive, image;
    uint64_t seed;
} o = {.arch = "cnn", .epochs = 10, .batch = 128, .lr = 1e-3, .momentum = .9, .weight_decay = .01, .optimiser = "adam",
       .schedule = "constant", .augment = "none", .class_weights = "none", .normalise = "scalar", .subset = "all", .device = "cpu", .settle_lr = .1};

static struct opt opts[] = {
    {"input", 'i', OPT_FILE, &o.input, "DATA", "images and labels to train on", NULL, 0, 0, false},
    {"output", 'o', OPT_FILE, &o.output, "MODEL", "where the model goes; standard output without it", NULL, 0, 0, false},
    {"test", 't', OPT_FILE, &o.test, "DATA", "evaluate on these images after every epoch", NULL, 0, 0, false},
    {"arch", 'a', OPT_TEXT, &o.arch, "LINE", "a preset (cnn, mlp, vit, ...) or an architecture line", NULL, 0, 0, false},
    {"epochs", 'e', OPT_INT, &o.epochs, "N", "passes over the training examples", NULL, 1, 1e6, false},
    {"batch", 'b', OPT_INT, &o.batch, "N", "examples a step", NULL, 1, 1e6, false},
    {"optimiser", 0, OPT_CHOICE, &o.optimiser, "NAME", "the rule of an update", "sgd|adam|adamw", 0, 0, false},
    {"lr", 0, OPT_REAL, &o.lr, "R", "learning rate, the largest of the schedule", NULL, 1e-12, 1e6, false},
    {"schedule", 0, OPT_TEXT, &o.schedule, "WORD", "constant, cosine, step:EPOCHS:GAMMA or one-cycle", NULL, 0, 0, false},
    {"momentum", 0, OPT_REAL, &o.momentum, "R", "momentum of sgd", NULL, 0, .9999, false},
    {"nesterov", 0, OPT_FLAG, &o.nesterov, NULL, "Nesterov's momentum for sgd", NULL, 0, 0, false},
    {"l2", 0, OPT_REAL, &o.l2, "R", "coupled L2: R times every parameter is added to its gradient", NULL, 0, 1e3, false},
    {"weight-decay", 0, OPT_REAL, &o.weight_decay, "R", "decoupled weight decay of adamw", NULL, 0, 1e3, false},
    {"label-smoothing", 0, OPT_REAL, &o.smoothing, "R", "share of the target spread over all classes", NULL, 0, .999, false},
    {"class-weights", 0, OPT_TEXT, &o.class_weights, "WORD", "none, balanced or a weight for each class, with commas", NULL, 0, 0, false},
    {"augment", 0, OPT_TEXT, &o.augment, "LIST", "none, or some of flip,shift:PIXELS,crop:PIXELS", NULL, 0, 0, false},
    {"normalise", 0, OPT_TEXT, &o.normalise, "WORD", "none, constant:M,S, scalar or mean-image", NULL, 0, 0, false},
    {"subset", 0, OPT_TEXT, &o.subset, "WORD", "train on all, first:K, random-half:SEED[:other] or the mask in a file", NULL, 0, 0, false},
    {"positive", 0, OPT_REALS, &o.positive, "LIST", "labels of the positive class: a network with one output", NULL, 0, 63, false},
    {"validation", 0, OPT_REAL, &o.validation, "F", "share of the training examples held out for validation", NULL, 0, .9, false},
    {"patience", 0, OPT_INT, &o.patience, "N", "stop after N epochs without a better validation loss; 0: never", NULL, 0, 1e6, false},
    {"keep-best", 0, OPT_FLAG, &o.keep_best, NULL, "end with the weights of the best validation loss", NULL, 0, 0, false},
    {"stationarity", 0, OPT_FLAG, &o.stationarity, NULL, "measure |gradient of the whole loss| / (l2 |weights|) at the end", NULL, 0, 0, false},
    {"settle", 0, OPT_TEXT, &o.settle, "WORD", "then come to rest by sgd:STEPS or lbfgs:STEPS on all examples at once", NULL, 0, 0, false},
    {"settle-to", 0, OPT_REAL, &o.settle_to, "R", "settle until the residual is R; 0: all steps", NULL, 0, 1e3, false},
    {"settle-lr", 0, OPT_REAL, &o.settle_lr, "R", "learning rate of --settle sgd, falling by a cosine", NULL, 1e-12, 1e6, false},
    {"import", 0, OPT_FILE, &o.import, "FILE", "no training: turn a state dict in safetensors into a model", NULL, 0, 0, false},
    {"image", 0, OPT_REALS, &o.image, "C,H,W", "with --import: the shape of an image, where no -i tells", NULL, 1, 32768, false},
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
                "trainclf --import mlp.st --arch mlp --image 1,28,28 -o same.st\n"
                "fetch synthetic --count 50 | trainclf -i - --arch \"homogeneous 200 | init he,first:1e-3\" --normalise mean-image --l2 1e-3 \\\n"
                "    --epochs 100 --settle lbfgs:100 -o rest.st",
    .see_also = "fetch(1), attack(1), mia(1), report(1), tensor(1), blob(5)",
};

// ---- from words to settings

static bool is_whole(const struct reals *r) {
    for (int i = 0; i < r->count; i++)
        if (r->value[i] != floor(r->value[i])) return false;
    return true;
}

static uint64_t positive_labels(void) {
    uint64_t mask = 0;
    for (int i = 0; i < o.positive.count; i++) mask |= (uint64_t)1 << (int)o.positive.value[i];
    return mask;
}

static void check_import(void) {
    static const char *const used[] = {"import", "input", "output", "arch", "image", "normalise", "positive", "threads", "json"};
    for (size_t i = 0; i < sizeof opts / sizeof *opts; i++) {
        bool fine = !opts[i].given;
        for (size_t j = 0; j < sizeof used / sizeof *used; j++) fine = fine || !strcmp(opts[i].name, used[j]);
        if (!fine) msg_usage("--%s is for training, and --import does not train", opts[i].name);
    }
    if (o.image.count && o.input) msg_usage("--image is for --import without -i");
    if (!o.input && o.image.count != 3) msg_usage("--import needs the shape of an image: -i DATA or --image C,H,W");
}

static void check(void) {
    if (o.import) check_import();
    else if (!o.input) msg_usage("-i DATA is missing");
    else if (o.image.count) msg_usage("--image is for --import without -i");
    if (!is_whole(&o.image)) msg_usage("--image: three whole numbers expected");
    if (!is_whole(&o.positive)) msg_usage("--positive: labels are whole numbers");
    if (o.patience && !(o.validation > 0)) msg_usage("--patience needs --validation");
    if (o.keep_best && !(o.validation > 0)) msg_usage("--keep-best needs --validation");
    if (strcmp(o.optimiser, "sgd") && (opt_given(&program, "momentum") || o.nesterov)) msg_usage("--momentum and --nesterov are for --optimiser sgd");
    if (o.nesterov && !(o.momentum > 0)) msg_usage("--nesterov needs --momentum over 0");
    if (strcmp(o.optimiser, "adamw") && opt_given(&program, "weight-decay")) msg_usage("--weight-decay is for --optimiser adamw; --l2 is the coupled form");
    if ((o.settle || o.stationarity) && !(o.l2 > 0)) msg_usage("--%s needs --l2 over 0", o.settle ? "settle" : "stationarity");
    if (o.settle && !strcmp(o.optimiser, "adamw")) msg_usage("--settle minimises the loss with --l2, and adamw's decay is another");
    if ((o.settle || o.stationarity) && strcmp(o.augment, "none")) msg_usage("--%s needs the images as they are: no --augment", o.settle ? "settle" : "stationarity");
    opt_keep_apart(&program, "output,checkpoint", "input,test,import,subset", NULL);
    opt_keep_apart(&program, "output", "resume", NULL);  // a checkpoint may go on in its own file
    if (!o.settle && (opt_given(&program, "settle-to") || opt_given(&program, "settle-lr"))) msg_usage("--settle-to and --settle-lr are for --settle");
    if (!strcmp(o.schedule, "onecycle")) o.schedule = "one-cycle";  // one word for one thing in records and checkpoints
}

// ---- what is written

// What a run is: the same identity is the same result, and a checkpoint of another one is refused.
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
    TEXT("normalise", m->normalise);
    TEXT("optimiser", o.optimiser);
    TEXT("schedule", o.schedule);
    TEXT("augment", o.augment);
    TEXT("class_weights", o.class_weights);
    TEXT("device", o.device);
    INT("epochs", o.epochs);
    INT("batch", o.batch);
    INT("patience", o.patience);
    REAL("lr", o.lr);
    REAL("l2", o.l2);
    REAL("label_smoothing", o.smoothing);
    REAL("validation", o.validation);
    json_object_set_new(c, "seed", record_seed(o.seed));
    json_object_set_new(c, "keep_best", json_boolean(o.keep_best));
    if (!strcmp(o.optimiser, "sgd")) {
        REAL("momentum", o.momentum);
        json_object_set_new(c, "nesterov", json_boolean(o.nesterov));
    }
    if (!strcmp(o.optimiser, "adamw")) REAL("weight_decay", o.weight_decay);
    if (o.settle) {
        TEXT("settle", o.settle);
        REAL("settle_to", o.settle_to);
        REAL("settle_lr", o.settle_lr);
    }
    if (m->binary) json_object_set_new(c, "positive", model_positive(m));
    return c;
#undef TEXT
#undef REAL
#undef INT
}

// Training that diverges may end at weights that are finite and worth nothing.
static void heed_loss(const struct model *m, double loss, json_t *record) {
    static const char *const message = "training ended at a loss of %.4g, where a model that knows nothing has %.4g; a smaller --lr may help";
    double ignorant = log(m->binary ? 2 : m->classes);
    if (loss <= 2 * ignorant) return;
    msg_warn(message, loss, ignorant);
    record_note(record, message, loss, ignorant);
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
    if (!strcmp(set, "train")) heed_loss(t->model, v.loss, record);
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

static bool print(const char *text, struct error *e) {
    struct out *out = out_open(NULL, false, e);
    if (out && out_print(out, e, "%s", text)) return out_close(out, e);
    out_drop(out);
    return false;
}

static bool write_model(const struct model *m, struct blob *b, json_t *record, struct error *e) {
    model_save(m, b, record);
    blob_set_record(b, record);
    if ((o.output || !o.json) && !blob_write(b, o.output, e)) return false;
    return !o.json || record_print(record, e);
}

// ---- --import

static bool import_weights(struct model *m, const struct dataset *d, const struct blob *from, struct pool *pool, struct error *e) {
    bool measured = !strcmp(o.normalise, "scalar") || !strcmp(o.normalise, "mean-image");
    if (!d && !opt_given(&program, "normalise")) o.normalise = "none";
    else if (!d && measured) return error_set(e, EXIT_USAGE, "--normalise %s is measured on the images of -i DATA", o.normalise);
    if (m->binary && !m->positive) return error_set(e, EXIT_USAGE, "%s: a network with one output needs --positive", o.import);
    unsigned char *all = d ? dataset_choose("all", d->count, e) : NULL;
    if (d && !all) return false;
    struct train_split s = d ? train_split(all, d->count, 0, 0) : (struct train_split){0};
    bool fine = model_load(m, from, e) && train_normalise(m, o.normalise, d, s.train, s.trains, pool, e);
    train_split_free(&s);
    free(all);
    return fine;
}

static bool import_model(const struct dataset *d, struct pool *pool, struct error *e) {
    struct shape input = d ? shape_of(3, d->channels, d->height, d->width)
                           : shape_of(3, (int)o.image.value[0], (int)o.image.value[1], (int)o.image.value[2]);
    struct blob *from = blob_open(o.import, e);
    if (!from) return false;
    int64_t outputs = o.positive.count ? 1 : model_outputs(from);
    if (outputs < 1 || outputs > 65536) outputs = 10;  // the message about names that are missing says more
    struct arch *a = arch_parse(o.arch, input, (int)outputs, e);
    struct model *m = a ? model_new(a, 0) : NULL;
    if (m) m->positive = positive_labels();
    bool fine = m && import_weights(m, d, from, pool, e);
    if (fine) {
        struct blob *b = blob_new("model");
        json_t *record = record_new(), *options = json_pack("{s:s, s:s}", "arch", m->arch->line, "normalise", m->normalise);
        if (m->binary) json_object_set_new(options, "positive", model_positive(m));
        blob_set_lineage(b, "trainclf", options, (const struct blob *[]){from, d ? d->blob : NULL}, d ? 2 : 1);
        fine = write_model(m, b, record, e);
        json_decref(options);
        json_decref(record);
        blob_free(b);
    }
    model_free(m);
    blob_free(from);
    return fine;
}

// ---- training

// Which examples train, what the network sees of them, and what each of them weighs.
static bool prepare(struct model *m, struct train_split *split, struct dataset *d, struct dataset *test, struct pool *pool, struct error *e) {
    m->positive = positive_labels();
    m->keep_count = d->count;
    m->keep = dataset_choose(o.subset, d->count, e);
    if (!m->keep || (test && !model_fits(m, test, e))) return false;
    if (m->binary && !m->positive)
        return error_set(e, EXIT_INPUT, "%s: one class only; a classifier needs two, or --positive", d->blob->source);
    *split = train_split(m->keep, d->count, o.validation, o.seed);
    if (!split->trains) return error_set(e, EXIT_INPUT, "%s: --subset %s leaves no example to train on", d->blob->source, o.subset);
    if (o.validation > 0 && !split->validations)
        return error_set(e, EXIT_USAGE, "--validation %g of %lld examples is none", o.validation, (long long)split->trains);
    return (!m->binary || train_two_classes(m, d, split, e)) && train_normalise(m, o.normalise, d, split->train, split->trains, pool, e);
}

static bool fill_options(struct train_options *options, double **weight, const struct model *m, const struct dataset *d,
                   const struct train_split *split, struct error *e) {
    static char beside[CHECKPOINT_ROOM];
    *options = (struct train_options){
        .seed = o.seed, .device = o.device, .epochs = o.epochs, .batch = o.batch, .lr = o.lr, .schedule = o.schedule, .smoothing = o.smoothing,
        .patience = o.patience, .keep_best = o.keep_best, .checkpoint = o.checkpoint, .checkpoint_epochs = o.checkpoint != NULL,
    };
    enum optim_kind kind;
    if (!optim_parse(o.optimiser, &kind)) BUG("optimiser %s", o.optimiser);
    optim_defaults(&options->optim, kind);
    if (kind == OPTIM_SGD) options->optim.momentum = o.momentum;
    options->optim.nesterov = o.nesterov;
    options->optim.l2 = o.l2;
    if (kind == OPTIM_ADAMW) options->optim.weight_decay = o.weight_decay;
    if (!o.checkpoint) {
        options->checkpoint = checkpoint_beside(o.output, beside);
        checkpoint_warn(options->checkpoint, o.resume);
    }
    options->class_weight = *weight = train_class_weights(o.class_weights, m, d, split, e);
    return !e->status && augment_parse(&options->augment, o.augment, d->height, d->width, o.seed, e);
}

static bool explain(const struct training *t, struct error *e) {
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    BUG_IF(!f, "no memory stream");
    plan_print(train_plan(t), f);
    BUG_IF(fclose(f) != 0, "no memory for a plan");
    bool fine = print(text, e);
    free(text);
    return fine;
}

// After train_run or train_save.
static _Noreturn void end_interrupted(const struct training *t) {
    if (t->options->checkpoint) msg_say("interrupted after step %lld; --resume %s continues", (long long)t->step, t->options->checkpoint);
    else msg_warn("interrupted after step %lld; nothing is kept: -o FILE or --checkpoint FILE would", (long long)t->step);
    out_interrupted();
}

static bool note_results(struct training *t, json_t *record, struct error *e) {
    const struct train_split *s = &t->split;
    record_int(record, "config.examples", s->trains);
    if (!note_metrics(t, "train", t->data, s->train, s->trains, record, e)) return false;
    if (s->validations && !out_stopping() && !note_metrics(t, "validation", t->data, s->validation, s->validations, record, e)) return false;
    return !t->test || out_stopping() || note_metrics(t, "test", t->test, NULL, t->test->count, record, e);
}

static struct settle_options settling;

// Before any training, so that a mistake costs none.
static bool check_rest(const struct model *m, const double *weight, struct error *e) {
    settling = (struct settle_options){.residual = o.settle_to, .lr = o.settle_lr, .l2 = o.l2, .smoothing = o.smoothing, .class_weight = weight,
                                       .device = o.device};
    if (!o.settle && !o.stationarity) return true;
    if (settle_refused(m)) return error_set(e, EXIT_USAGE, "--%s: %s", o.settle ? "settle" : "stationarity", settle_refused(m));
    return !o.settle || settle_parse(o.settle, &settling.method, &settling.steps, e);
}

// --settle and --stationarity, once the epochs are over.
static bool come_to_rest(struct training *t, json_t *record, struct error *e) {
    struct settle_options s = settling;
    struct stationarity at;
    int64_t steps = 0;
    if (o.settle && !settle_run(t->model, t->data, t->split.train, t->split.trains, &s, &steps, &t->interrupted, t->pool, e)) return false;
    if (t->interrupted) return train_save(t, e);
    if (!settle_measure(t->model, t->data, t->split.train, t->split.trains, &s, &at, t->pool, e)) return false;
    if (o.settle) record_int(record, "metrics.settle.steps", steps);
    record_real(record, "metrics.stationarity.loss", at.loss);
    record_real(record, "metrics.stationarity.norm", at.norm);
    record_real(record, "metrics.stationarity.residual", at.residual);
    if (isnan(at.residual_kinks)) {
        msg_say("stationarity: residual %.5f", at.residual);
        return true;
    }
    record_real(record, "metrics.stationarity.residual_kinks", at.residual_kinks);
    record_int(record, "metrics.stationarity.kinks", at.kinks);
    record_int(record, "metrics.stationarity.pairs", at.pairs);
    msg_say("stationarity: residual %.5f; with derivatives free on the %lld of %lld kinks of the first layer %.5f", at.residual, (long long)at.kinks,
            (long long)at.pairs, at.residual_kinks);
    return true;
}

static bool write_result(struct training *t, json_t *record, struct error *e) {
    struct blob *b = blob_new("model");
    const struct dataset *test = t->test;
    note_history(t, b, record);
    blob_set_lineage(b, "trainclf", t->options->identity, (const struct blob *[]){t->data->blob, test ? test->blob : NULL}, test ? 2 : 1);
    bool fine = write_model(t->model, b, record, e);
    blob_free(b);
    struct error second = {0};
    if (!fine && t->options->checkpoint && train_save(t, &second))
        msg_say("the model is not written; the run is kept, and --resume %s ends it", t->options->checkpoint);
    return fine;
}

static bool run(struct training *t, struct error *e) {
    if (o.resume && !train_resume(t, o.resume, e)) return false;
    msg_say("%lld parameters, %lld examples, %lld steps an epoch, %d threads", (long long)t->model->arch->parameters, (long long)t->split.trains,
            (long long)t->steps_per_epoch, pool_threads(t->pool));
    out_graceful();
    if (!train_run(t, e)) return false;
    if (t->interrupted) end_interrupted(t);
    json_t *record = record_new();
    json_object_update(json_object_get(record, "config"), (json_t *)t->options->identity);
    bool fine = (!o.settle && !o.stationarity) || come_to_rest(t, record, e);
    if (fine && t->interrupted) end_interrupted(t);
    fine = fine && note_results(t, record, e);
    if (fine && out_stopping() && train_save(t, e)) end_interrupted(t);
    fine = fine && !e->status;
    if (fine && o.profile) train_say_profile(t);
    fine = fine && write_result(t, record, e);
    json_decref(record);
    if (fine && out_stopping()) {
        msg_say("interrupted while the model was written; it is whole");
        out_interrupted();
    }
    return fine;
}

static bool train_model(struct dataset *d, struct dataset *test, struct pool *pool, struct error *e) {
    struct arch *a = arch_parse(o.arch, shape_of(3, d->channels, d->height, d->width), o.positive.count ? 1 : d->classes, e);
    if (!a) return false;
    struct model *m = model_new(a, o.seed);
    struct train_split split = {0};
    struct train_options options;
    struct training *t = NULL;
    json_t *is = NULL;
    double *weight = NULL;
    if (prepare(m, &split, d, test, pool, e) && fill_options(&options, &weight, m, d, &split, e) && check_rest(m, weight, e)) {
        options.identity = is = identity(m, d, test);
        t = train_open(m, &options, NULL, d, &split, test, pool, e);
    }
    bool fine = t && (o.explain ? explain(t, e) : run(t, e));
    train_free(t);
    json_decref(is);
    free(weight);
    train_split_free(&split);
    model_free(m);
    return fine;
}

static bool check_outputs(struct error *e) {
    if (o.explain) return out_check(NULL, false, e);
    return ((!o.output && o.json) || out_check(o.output, true, e)) && (!o.checkpoint || out_check(o.checkpoint, true, e));
}

int main(int argc, char **argv) {
    struct error e = {0};
    opt_parse(&program, argc, argv);
    check();
    if (!check_outputs(&e)) msg_fail(&e);
    struct pool *pool = pool_new((int)o.threads);
    struct dataset *d = o.input ? dataset_open(o.input, &e) : NULL;
    if (d) blob_expect_kind(d->blob, "|dataset", &e);  // reconstructions look like one, and would be taken for the real images
    struct dataset *test = o.test && !e.status ? dataset_open(o.test, &e) : NULL;
    bool fine = !e.status && (o.import ? import_model(d, pool, &e) : train_model(d, test, pool, &e));
    dataset_free(test);
    dataset_free(d);
    pool_free(pool);
    if (!fine) msg_fail(&e);
    return msg_close();
}

// summary.c: from the records of models and attacks to the one JSON value that a report shows.
//
// A model and an attack belong together when the attack's record names the model's digest (config.model) or its
// lineage took it in. What follows from the numbers is drawn in verdict.c.
#include "summary.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/opt.h"
#include "../io/record.h"
#include "memberships.h"
#include "scores.h"
#include "trials.h"
#include "verdict.h"

enum { ID_MAX = 40 };

struct summary {
    json_t *root;
    bool titled;  // by the caller
    json_t *models, *attacks;  // what was read, in order
    json_t *class_names;       // by the digest of a data set
    json_t *entry_of;          // digest of an attack blob -> id
};

// ---- readers

double summary_real(const json_t *at, const char *key) {
    double value;
    return record_get_real(at, key, &value) ? value : NAN;
}

const char *summary_text(const json_t *at, const char *key) {
    const char *text = json_string_value(record_get(at, key));
    return text ? text : "";
}

bool summary_true(const json_t *at, const char *key) {
    return json_is_true(record_get(at, key));
}

bool summary_has(const json_t *list, const char *key, const char *value) {
    size_t i;
    json_t *one;
    json_array_foreach (list, i, one)
        if (!strcmp(summary_text(one, key), value)) return true;
    return false;
}

void summary_new_id(const json_t *list, const char *stem, char id[SUMMARY_ID]) {
    snprintf(id, SUMMARY_ID, "%.28s", stem);
    for (unsigned i = 2; summary_has(list, "id", id); i++) snprintf(id, SUMMARY_ID, "%.24s_%u", stem, i);
}

struct summary_rate summary_rate(const json_t *at, const char *key) {
    char sibling[ID_MAX + 16];
    snprintf(sibling, sizeof sibling, "%s_interval", key);
    const json_t *i = record_get(at, sibling);
    struct summary_rate r = {summary_real(at, key), NAN, NAN};
    if (json_array_size(i) == 2 && json_is_number(json_array_get(i, 0)) && json_is_number(json_array_get(i, 1))) {
        r.low = json_number_value(json_array_get(i, 0));
        r.high = json_number_value(json_array_get(i, 1));
    }
    return r;
}

const json_t *summary_metrics(const json_t *summary, const json_t *entry) {
    return json_object_get(json_object_get(summary, "metrics"), summary_text(entry, "id"));
}

const char *summary_norm_name(const char *norm) {
    return !strcmp(norm, "linf") ? "L\xe2\x88\x9e" : !strcmp(norm, "l2") ? "L2" : norm;
}

const char *summary_method_name(const char *method) {
    static const char *const names[][2] = {{"fgsm", "FGSM"},  {"pgd", "PGD"},       {"apgd", "APGD"},
                                           {"fab", "FAB"},    {"square", "Square"}, {"auto", "AutoAttack"},
                                           {"noise", "noise"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(method, names[i][0])) return names[i][1];
    return method;
}

// "eps_0p1" -> .1
double summary_eps(const char *key) {
    char text[32];
    double eps;
    if (strncmp(key, "eps_", 4)) return NAN;
    snprintf(text, sizeof text, "%s", key + 4);
    for (char *c = text; *c; c++)
        if (*c == 'p') *c = '.';
    return parse_real(text, &eps) && eps >= 0 ? eps : NAN;
}

static int by_eps(const void *a, const void *b) {
    double x = summary_eps(*(const char *const *)a), y = summary_eps(*(const char *const *)b);
    return x < y ? -1 : x > y;
}

const char **summary_eps_keys(const json_t *object, size_t *count) {
    size_t all, kept = 0;
    const char **key = record_keys(object, &all);
    for (size_t i = 0; i < all; i++)
        if (isfinite(summary_eps(key[i])) && strlen(key[i]) < 24) key[kept++] = key[i];
    qsort(key, kept, sizeof *key, by_eps);
    *count = kept;
    return key;
}

// ---- writers

void summary_put_real(json_t *to, const char *key, double value) {
    if (isfinite(value)) json_object_set_new(to, key, json_real(value));
}

void summary_put_rate(json_t *to, const char *key, struct summary_rate r) {
    char sibling[ID_MAX + 16];
    if (!isfinite(r.value)) return;
    summary_put_real(to, key, r.value);
    snprintf(sibling, sizeof sibling, "%s_interval", key);
    if (isfinite(r.low) && isfinite(r.high)) json_object_set_new(to, sibling, json_pack("[f, f]", r.low, r.high));
}

static void put_copy(json_t *to, const char *key, const json_t *value) {
    if (value) json_object_set_new(to, key, json_deep_copy(value));
}

// Text that may be no UTF-8 (a file's name).
static json_t *text_of(const char *text) {
    json_t *value = json_string(text);
    if (value) return value;
    char *plain = strdup(text);
    for (char *c = plain; *c; c++)
        if (*c & 0x80) *c = '?';
    value = json_string(plain);
    free(plain);
    return value;
}

void summary_say(json_t *list, const char *format, ...) {
    char text[600];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    json_array_append_new(list, text_of(text));
}

// Letters, digits, - and _ of a text, for keys and file names.
static char *slug(const char *text, char out[ID_MAX]) {
    size_t n = 0;
    for (; *text && n < ID_MAX - 8; text++)
        out[n++] = isalnum((unsigned char)*text) || *text == '-' || *text == '_' ? *text : '_';
    if (!n) out[n++] = '_';
    out[n] = 0;
    return out;
}

// The file's name without directories and endings; what came through a pipe has none.
static char *stem_of(const char *source, char out[ID_MAX]) {
    char name[256];
    const char *slash = strrchr(source, '/');
    snprintf(name, sizeof name, "%s", slash ? slash + 1 : source);
    if (name[0]) name[1 + strcspn(name + 1, ".")] = 0;
    if (!strcmp(source, "standard input")) return strcpy(out, "");
    return slug(name, out);
}

// ---- taking in

struct summary *summary_new(const char *title) {
    struct summary *s = memory_zero(sizeof *s);
    s->root = json_pack("{s:s, s:o, s:[], s:{}, s:[], s:[], s:[], s:[], s:[], s:[], s:[], s:[]}", "schema", "assay.report/1",
                        "title", text_of(title ? title : ""), "entries", "metrics", "verdict", "reconstructions", "memberships",
                        "searches", "blobs", "lineage", "limits", "notes");
    s->titled = title != NULL;
    s->models = json_array();
    s->attacks = json_array();
    s->class_names = json_object();
    s->entry_of = json_object();
    return s;
}

void summary_free(struct summary *s) {
    if (!s) return;
    json_decref(s->root);
    json_decref(s->models);
    json_decref(s->attacks);
    json_decref(s->class_names);
    json_decref(s->entry_of);
    free(s);
}

static json_t *part(const struct summary *s, const char *key) {
    return json_object_get(s->root, key);
}

// The position of an entry of lineage among the steps, added where it is new.
static json_t *step_of(json_t *steps, const json_t *entry) {
    for (size_t i = 0; i < json_array_size(steps); i++) {
        json_t *step = json_array_get(steps, i);
        if (json_equal(json_object_get(step, "entry"), entry)) return step;
    }
    json_t *step = json_object();
    put_copy(step, "entry", entry);
    json_array_append_new(steps, step);
    return step;
}

static bool is_output(const json_t *own, const json_t *digest) {
    size_t i;
    json_t *step;
    json_array_foreach (own, i, step)
        if (json_equal(json_object_get(step, "output"), digest)) return true;
    return false;
}

// A lineage is the inputs' own lineages in the order of the inputs, then the last step: so when as many steps
// are without an output as inputs are without a step, they belong together in order.
static void add_lineage(struct summary *s, const struct blob *b) {
    json_t *own = json_array();
    size_t i, k;
    json_t *entry, *digest, *step;
    json_array_foreach (b->lineage, i, entry) {
        if (!json_is_object(entry)) continue;
        json_t *unknown = json_array(), *open = json_array();
        json_array_foreach (json_object_get(entry, "inputs"), k, digest)
            if (json_is_string(digest) && !is_output(own, digest)) json_array_append(unknown, digest);
        json_array_foreach (own, k, step)
            if (!json_object_get(step, "output")) json_array_append(open, step);
        if (json_array_size(unknown) == json_array_size(open))
            json_array_foreach (open, k, step) json_object_set(step, "output", json_array_get(unknown, k));
        json_array_append(own, step_of(part(s, "lineage"), entry));
        json_decref(unknown);
        json_decref(open);
    }
    step = json_array_get(own, json_array_size(own) - 1);
    if (step && !json_object_get(step, "output")) json_object_set_new(step, "output", json_string(b->digest));
    json_decref(own);
}

void summary_add(struct summary *s, const struct blob *b) {
    char stem[ID_MAX];
    if (summary_has(part(s, "blobs"), "digest", b->digest)) {
        summary_say(part(s, "notes"), "%s: the same content (%.12s) was given before; counted once.", b->source,
                    b->digest);
        return;
    }
    const char *slash = strrchr(b->source, '/');
    json_array_append_new(part(s, "blobs"),
                          json_pack("{s:o, s:o, s:s, s:b}", "name", text_of(slash ? slash + 1 : b->source), "kind",
                                    text_of(b->kind), "digest", b->digest, "sealed", b->sealed));
    add_lineage(s, b);
    json_t *names = record_get(b->record, "config.class_names");
    if (names && !strcmp(b->kind, "dataset")) json_object_set(s->class_names, b->digest, names);
    if (scores_shown(b)) json_object_set_new(s->entry_of, b->digest, json_string(scores_add(s->root, b, stem_of(b->source, stem))));
    if (memberships_shown(b)) memberships_add(s->root, b, stem_of(b->source, stem));
    if (!strcmp(b->kind, "trials")) trials_add(s->root, b, stem_of(b->source, stem));
    bool model = !strcmp(b->kind, "model");
    if (!model && strcmp(b->kind, "attack")) return;
    json_t *one = json_pack("{s:s, s:s}", "digest", b->digest, "stem", stem_of(b->source, stem));
    put_copy(one, "record", b->record);
    put_copy(one, "lineage", b->lineage);
    json_array_append_new(model ? s->models : s->attacks, one);
}

// ---- who belongs to whom

static const json_t *by_digest(const json_t *list, const char *digest) {
    size_t i;
    json_t *one;
    json_array_foreach (list, i, one)
        if (!strcmp(summary_text(one, "digest"), digest)) return one;
    return NULL;
}

static const char *model_of(const struct summary *s, const json_t *attack) {
    const char *named = summary_text(attack, "record.config.model");
    if (*named) return named;
    const json_t *lineage = json_object_get(attack, "lineage");
    const json_t *inputs = record_get(json_array_get(lineage, json_array_size(lineage) - 1), "inputs");
    for (size_t i = 0; i < json_array_size(inputs); i++) {
        const char *digest = json_string_value(json_array_get(inputs, i));
        if (digest && by_digest(s->models, digest)) return digest;
    }
    return "";
}

// The options of the training step in a lineage: what an attack still knows of a model that was not given.
static const json_t *training_of(const json_t *lineage) {
    for (size_t i = json_array_size(lineage); i-- > 0;) {
        const json_t *entry = json_array_get(lineage, i);
        if (!strcmp(summary_text(entry, "program"), "trainclf")) return json_object_get(entry, "options");
    }
    return NULL;
}

// What people call such a network, told from its elements.
static const char *family_of(const char *arch) {
    if (!*arch) return "";
    if (strstr(arch, "encoder ")) return "vit";
    if (strstr(arch, "conv ")) return "cnn";
    return strstr(arch, "linear ") ? "mlp" : "";
}

static void free_id(const struct summary *s, const char *wanted, char id[ID_MAX]) {
    snprintf(id, ID_MAX, "%s", wanted);
    for (unsigned i = 2; json_object_get(part(s, "metrics"), id); i++) snprintf(id, ID_MAX, "%.24s_%u", wanted, i);
}

static json_t *new_entry(struct summary *s, const json_t *model, const json_t *attack) {
    const char *digest = model ? summary_text(model, "digest") : model_of(s, attack);
    const json_t *config = model ? record_get(model, "record.config") : training_of(json_object_get(attack, "lineage"));
    const char *arch = summary_text(config, "arch"), *regime = summary_text(config, "regime"),
               *family = family_of(arch);
    const char *norm = attack ? summary_text(attack, "record.config.norm") : "";
    char wanted[ID_MAX], id[ID_MAX];
    snprintf(wanted, sizeof wanted, "%s", model ? summary_text(model, "stem") : "");
    if (!*wanted && *digest) snprintf(wanted, sizeof wanted, "%s_%.6s", *family ? family : "model", digest);
    slug(*wanted ? wanted : "model", id);
    snprintf(wanted, sizeof wanted, "%.*s%s", ID_MAX - 12, id, !strcmp(norm, "l2") ? "_l2" : "");
    free_id(s, wanted, id);

    json_t *entry = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:[], s:[]}", "id", id, "model", digest,
                              "arch", arch, "family", family, "regime", regime, "norm", norm, "data",
                              attack ? summary_text(attack, "record.config.data") : "", "given", model != NULL,
                              "attacked", attack != NULL, "settings", "notes");
    put_copy(entry, "parameters", json_object_get(config, "parameters"));
    put_copy(entry, "examples", json_object_get(config, "examples"));
    put_copy(entry, "epochs", json_object_get(config, "epochs"));
    json_array_append_new(part(s, "entries"), entry);
    json_object_set_new(part(s, "metrics"), id, json_object());
    return entry;
}

static json_t *metrics_of(const struct summary *s, const json_t *entry) {
    return json_object_get(part(s, "metrics"), summary_text(entry, "id"));
}

// ---- numbers of a model's own record

static void copy_set(json_t *to, const char *set, const json_t *record) {
    char path[64];
    snprintf(path, sizeof path, "metrics.%s", set);
    const json_t *from = record_get(record, path);
    json_t *rates = json_object();
    summary_put_rate(rates, "accuracy", summary_rate(from, "accuracy"));
    summary_put_real(rates, "loss", summary_real(from, "loss"));
    if (json_object_size(rates)) json_object_set(to, set, rates);
    json_decref(rates);
}

static void copy_history(json_t *to, const json_t *record) {
    const json_t *from = record_get(record, "metrics.history");
    size_t count;
    const char **key = record_keys(from, &count);
    json_t *history = json_object();
    for (size_t i = 0; i < count && i < 32; i++) {
        char name[ID_MAX];
        const json_t *list = json_object_get(from, key[i]);
        if (!json_array_size(list)) continue;
        json_t *numbers = json_array();
        for (size_t k = 0; k < json_array_size(list); k++)
            json_array_append(numbers, json_is_number(json_array_get(list, k)) ? json_array_get(list, k) : json_null());
        json_object_set_new(history, slug(key[i], name), numbers);
    }
    free(key);
    if (json_object_size(history)) json_object_set(to, "history", history);
    json_decref(history);
}

// ---- numbers of an attack's record

json_t *summary_object(json_t *at, const char *key) {
    json_t *there = json_object_get(at, key);
    if (!there) json_object_set_new(at, key, there = json_object());
    return there;
}

static void copy_robust(struct summary *s, const json_t *entry, const json_t *record) {
    const json_t *from = record_get(record, "metrics.robust");
    json_t *metrics = metrics_of(s, entry);
    size_t methods, count;
    const char **method = record_keys(from, &methods);
    for (size_t m = 0; m < methods && m < 32; m++) {
        char name[ID_MAX];
        const json_t *of = json_object_get(from, method[m]);
        const char **key = summary_eps_keys(of, &count);
        for (size_t i = 0; i < count && i < OPT_REALS_MAX; i++) {
            struct summary_rate r = summary_rate(json_object_get(of, key[i]), "accuracy");
            if (!isfinite(r.value)) continue;
            json_t *to =
                summary_object(summary_object(summary_object(metrics, "robust"), slug(method[m], name)), key[i]);
            double before = summary_real(to, "accuracy");
            if (isfinite(before) && before != r.value)
                summary_say(part(s, "notes"),
                            "%s: %s at eps %g was measured more than once; the lower accuracy is shown.",
                            summary_text(entry, "id"), name, summary_eps(key[i]));
            if (before <= r.value) continue;
            json_object_clear(to);
            summary_put_real(to, "eps", summary_eps(key[i]));
            summary_put_rate(to, "accuracy", r);
            char path[96];
            snprintf(path, sizeof path, "metrics.checks.%s.%s.stopped_early", name, key[i]);
            if (summary_true(record, path)) json_object_set_new(to, "stopped_early", json_true());
        }
        free(key);
    }
    free(method);
}

// A list for each column; a row for each class here.
static void copy_classes(struct summary *s, const json_t *entry, const json_t *attack) {
    const json_t *from = record_get(attack, "record.metrics.clean.per_class");
    const json_t *names = record_get(attack, "record.config.class_names");
    const json_t *accuracy = json_object_get(from, "accuracy");
    if (!names) names = json_object_get(s->class_names, summary_text(entry, "data"));
    json_t *rows = json_array();
    for (size_t i = 0; i < json_array_size(accuracy) && i < 1000; i++) {
        const char *name = json_string_value(json_array_get(names, i));
        json_t *row = json_pack("{s:I, s:s}", "class", (json_int_t)i, "name", name ? name : "");
        char path[64];
        snprintf(path, sizeof path, "count.%zu", i);
        if (json_is_integer(record_get(from, path))) put_copy(row, "count", record_get(from, path));
        struct summary_rate r = {NAN, NAN, NAN};
        if (json_is_number(json_array_get(accuracy, i))) r.value = json_number_value(json_array_get(accuracy, i));
        snprintf(path, sizeof path, "accuracy_interval.%zu.0", i);
        r.low = summary_real(from, path);
        snprintf(path, sizeof path, "accuracy_interval.%zu.1", i);
        r.high = summary_real(from, path);
        summary_put_rate(row, "accuracy", r);
        json_array_append_new(rows, row);
    }
    if (json_array_size(rows)) json_object_set(metrics_of(s, entry), "per_class", rows);
    json_decref(rows);
}

static void add_attack(struct summary *s, json_t *entry, const json_t *attack) {
    const json_t *record = json_object_get(attack, "record"), *from = record_get(record, "metrics.clean");
    json_t *metrics = metrics_of(s, entry), *clean = summary_object(metrics, "clean"), *note;
    summary_put_rate(clean, "accuracy", summary_rate(from, "accuracy"));
    summary_put_real(clean, "loss", summary_real(from, "loss"));
    if (!json_object_size(clean)) json_object_del(metrics, "clean");
    const json_t *count = record_get(from, "count");
    if (json_is_integer(count)) json_object_set_new(entry, "count", json_integer(json_integer_value(count)));
    copy_robust(s, entry, record);
    copy_classes(s, entry, attack);
    const json_t *config = json_object_get(record, "config");
    json_t *settings = json_object();
    put_copy(settings, "attack", json_object_get(attack, "digest"));
    put_copy(settings, "config", config);
    json_array_append_new(json_object_get(entry, "settings"), settings);
    size_t i;
    json_array_foreach (json_object_get(record, "notes"), i, note)
        if (json_is_string(note)) json_array_append(json_object_get(entry, "notes"), note);
    json_object_set_new(s->entry_of, summary_text(attack, "digest"), json_string(summary_text(entry, "id")));
}

// Steps as people read them: the entry's own fields, and the output where it is known.
static void finish_lineage(struct summary *s) {
    json_t *steps = json_array(), *step, *inputs = json_array(), *blob;
    size_t i;
    json_array_foreach (part(s, "lineage"), i, step) {
        json_t *one = json_copy(json_object_get(step, "entry"));
        put_copy(one, "output", json_object_get(step, "output"));
        json_array_append_new(steps, one);
    }
    json_array_foreach (part(s, "blobs"), i, blob) json_array_append(inputs, json_object_get(blob, "digest"));
    json_array_append_new(steps, json_pack("{s:s, s:s, s:{}, s:o}", "program", "report", "version", ASSAY_VERSION,
                                           "options", "inputs", inputs));
    json_object_set_new(s->root, "lineage", steps);
}

// The entry an attack goes to: of this model, on these images, in this norm. One that only looked at clean
// images fits any norm.
static json_t *entry_for(const struct summary *s, const json_t *attack) {
    const char *model = model_of(s, attack), *data = summary_text(attack, "record.config.data");
    const char *norm = summary_text(attack, "record.config.norm");
    size_t i;
    json_t *entry;
    if (!*model) return NULL;
    json_array_foreach (part(s, "entries"), i, entry) {
        const char *its = summary_text(entry, "norm");
        if (!summary_true(entry, "attacked") || strcmp(summary_text(entry, "model"), model)) continue;
        if (strcmp(summary_text(entry, "data"), data)) continue;
        if (*norm && *its && strcmp(norm, its)) continue;
        if (*norm) json_object_set_new(entry, "norm", json_string(norm));
        return entry;
    }
    return NULL;
}

static void place_attack(struct summary *s, const json_t *model, const json_t *attack) {
    json_t *entry = entry_for(s, attack);
    if (!entry) {
        entry = new_entry(s, model, attack);
        if (!model)
            summary_say(part(s, "notes"), "%s: attacked, but the model itself is not among the inputs.",
                        summary_text(entry, "id"));
    }
    add_attack(s, entry, attack);
}

static bool shows_nothing(const struct summary *s) {
    return !json_array_size(part(s, "entries")) && !json_array_size(part(s, "reconstructions")) &&
           !json_array_size(part(s, "memberships")) && !json_array_size(part(s, "searches"));
}

// Models have the first word; without any the page is about what else there is.
static void find_title(struct summary *s) {
    static const char *const parts[][2] = {
        {"memberships", "membership"}, {"reconstructions", "reconstruction"}, {"searches", "search"}};
    char title[80] = "";
    for (int i = 0; i < 3; i++)
        if (json_array_size(part(s, parts[i][0]))) {
            size_t used = strlen(title);
            snprintf(title + used, sizeof title - used, "%s%s", used ? " and " : "", parts[i][1]);
        }
    title[0] = (char)toupper((unsigned char)title[0]);
    bool other = *title && !json_array_size(part(s, "entries"));
    json_object_set_new(s->root, "title", json_string(other ? title : "Utility and robustness"));
}

const json_t *summary_end(struct summary *s) {
    size_t i, k;
    json_t *model, *attack, *entry, *note;
    json_array_foreach (s->models, i, model) {
        bool attacked = false;
        json_array_foreach (s->attacks, k, attack) {
            if (strcmp(model_of(s, attack), summary_text(model, "digest"))) continue;
            place_attack(s, model, attack);
            attacked = true;
        }
        if (!attacked) new_entry(s, model, NULL);
    }
    json_array_foreach (s->attacks, k, attack)
        if (!by_digest(s->models, model_of(s, attack))) place_attack(s, NULL, attack);
    json_array_foreach (part(s, "entries"), i, entry) {
        json_t *metrics = metrics_of(s, entry);
        const json_t *record = json_object_get(by_digest(s->models, summary_text(entry, "model")), "record");
        copy_set(metrics, "train", record);
        copy_set(metrics, "test", record);
        copy_history(metrics, record);
        put_copy(entry, "classes", record_get(record, "config.classes"));
        json_array_foreach (json_object_get(record, "notes"), k, note)
            if (json_is_string(note))
                summary_say(part(s, "notes"), "%s: %s", summary_text(entry, "id"), json_string_value(note));
    }
    if (shows_nothing(s))
        summary_say(part(s, "notes"), "There is neither a model nor an attack among the inputs.");
    if (!s->titled) find_title(s);
    finish_lineage(s);
    verdict_add(s->root);
    scores_limits(s->root, part(s, "limits"));
    memberships_limits(s->root, part(s, "limits"));
    trials_limits(s->root, part(s, "limits"));
    return s->root;
}

const char *summary_entry_of(const struct summary *s, const char *digest) {
    return json_string_value(json_object_get(s->entry_of, digest));
}

// ---- text

static bool is_flat(const json_t *list) {
    size_t i;
    json_t *v;
    json_array_foreach (list, i, v)
        if (json_is_object(v) || json_is_array(v) || json_is_string(v)) return false;
    return true;
}

static void dump(FILE *f, const json_t *v, int depth) {
    size_t count = json_is_object(v) ? json_object_size(v) : json_is_array(v) && !is_flat(v) ? json_array_size(v) : 0;
    if (!count) {
        char *text = record_dump(v);
        fputs(text, f);
        free(text);
        return;
    }
    const char **key = json_is_object(v) ? record_keys(v, &count) : NULL;
    fputs(key ? "{" : "[", f);
    for (size_t i = 0; i < count; i++) {
        fprintf(f, "%s\n%*s", i ? "," : "", 2 * depth + 2, "");
        if (key) {
            json_t *name = json_string(key[i]);
            dump(f, name, 0);
            fputs(": ", f);
            json_decref(name);
        }
        dump(f, key ? json_object_get(v, key[i]) : json_array_get(v, i), depth + 1);
    }
    fprintf(f, "\n%*s%s", 2 * depth, "", key ? "}" : "]");
    free(key);
}

char *summary_dump(const json_t *summary) {
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    BUG_IF(!f, "no memory stream");
    dump(f, summary, 0);
    fputc('\n', f);
    BUG_IF(fclose(f) != 0, "no memory for a summary");
    return text;
}

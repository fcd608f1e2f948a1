// search.c: keeps as many commands running as wanted, and writes down what came of them.
#include "search.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/msg.h"
#include "../base/opt.h"
#include "../base/out.h"
#include "../base/shell.h"
#include "effect.h"

// Beyond it squares overflow.
static const double value_most = 1e100;

enum { NOTES_MOST = 10 };  // failures told one by one

struct search *search_new(const struct search_options *o) {
    struct search *s = memory_zero(sizeof *s);
    size_t room = (size_t)o->trials;
    s->o = o;
    s->u = memory_zero(room * (size_t)o->space->count * sizeof *s->u);
    s->value = memory_zero(room * sizeof *s->value);
    s->status = memory_zero(room);
    s->record = record_new();
    s->best = -1;
    s->starts = o->starts ? o->starts : o->trials / 5;
    if (s->starts < 2) s->starts = 2;
    if (s->starts > o->trials) s->starts = o->trials;
    return s;
}

void search_free(struct search *s) {
    if (!s) return;
    free(s->u);
    free(s->value);
    free(s->status);
    json_decref(s->record);
    arena_free(&s->saved);
    free(s);
}

// ---- what a command printed

static bool number_in(const json_t *json, const char *path, double *value, char why[200]) {
    char longer[512];
    const json_t *found = record_get(json, path);
    snprintf(longer, sizeof longer, "metrics.%s", path);
    if (!found) found = record_get(json, longer);
    *value = json_is_number(found) ? json_number_value(found) : NAN;
    if (!found) snprintf(why, 200, "%.120s is not in what it printed", path);
    else if (!json_is_number(found)) snprintf(why, 200, "%.120s is no number", path);
    else if (!(fabs(*value) <= value_most)) snprintf(why, 200, "%.120s is %g, too large", path, *value);
    else return true;
    return false;
}

bool search_read(const char *text, size_t length, const char *path, double *value, char why[200]) {
    struct error e = {0};
    json_t *json = record_parse(text, length, "what it printed", &e);
    while (!json && length && strchr(" \t\r\n", text[length - 1])) length--;
    if (!json && length) {
        size_t from = length;
        while (from && text[from - 1] != '\n') from--;
        e = (struct error){0};
        json = record_parse(text + from, length - from, "the last line it printed", &e);
    }
    if (!json) snprintf(why, 200, "%.199s", length ? e.text : "it printed nothing");
    bool fine = json && number_in(json, path, value, why);
    json_decref(json);
    return fine;
}

// ---- trials

static double sense(const struct search *s, double value) { return s->o->maximise ? -value : value; }

// The values that stand in a command.
static void values_at(const struct search *s, int64_t trial, double *x) {
    for (int j = 0; j < s->o->space->count; j++)
        x[j] = space_value(&s->o->space->axis[j], s->u[trial * s->o->space->count + j]);
}

static char *settings_text(const struct search *s, int64_t trial) {
    char *text = NULL, one[SPACE_TEXT];
    size_t size;
    double x[SPACE_AXES];
    FILE *f = open_memstream(&text, &size);
    BUG_IF(!f, "no memory stream");
    values_at(s, trial, x);
    for (int j = 0; j < s->o->space->count; j++)
        fprintf(f, "%s%s %s", j ? ", " : "", s->o->space->axis[j].name, space_text(&s->o->space->axis[j], x[j], one));
    BUG_IF(fclose(f) != 0, "no memory for settings");
    return text;
}

static void count_in(struct search *s, int64_t trial) {
    if (s->status[trial] == BAYES_FAILED) {
        s->failed++;
        return;
    }
    s->done++;
    if (s->best < 0 || sense(s, s->value[trial]) < sense(s, s->value[s->best])) s->best = trial;
}

static void conclude(struct search *s, int64_t trial, const struct shell *ran) {
    char why[200] = "", *settings = settings_text(s, trial);
    size_t size = 0;
    double value = NAN;
    bool found = false;
    const char *failure = shell_failure(ran);
    char *printed = failure ? NULL : shell_printed(ran, &size);
    if (failure)
        snprintf(why, sizeof why, "%s", failure);
    else if (!printed)
        snprintf(why, sizeof why, "what it printed cannot be read back");
    else
        found = search_read(printed, size, s->o->metric, &value, why);
    free(printed);
    s->value[trial] = found ? value : NAN;
    s->status[trial] = found ? BAYES_DONE : BAYES_FAILED;
    count_in(s, trial);
    if (s->status[trial] == BAYES_DONE) {
        msg_more("trial %lld: %s: %.6g%s", (long long)trial, settings, value,
                 s->best == trial ? ", the best so far" : "");
    } else {
        const char *said = shell_said(ran);
        msg_say("trial %lld failed: %s (%s)%s%s", (long long)trial, why, settings, failure && *said ? ": " : "",
                failure ? said : "");
        if (s->failed <= NOTES_MOST) record_note(s->record, "trial %lld failed: %s", (long long)trial, why);
    }
    free(settings);
}

static struct shell *begin(struct search *s, struct error *e) {
    const struct search_options *o = s->o;
    struct bayes b = {o->space, o->seed, s->starts, o->xi, 10000};
    int64_t d = o->space->count, trial = s->trials;
    double *y = memory_take((size_t)(trial + 1) * sizeof *y), x[SPACE_AXES];
    for (int64_t i = 0; i < trial; i++) y[i] = sense(s, s->value[i]);
    s->exhausted = !bayes_propose(&b, trial, s->u, y, s->status, s->u + trial * d);
    free(y);
    if (s->exhausted) return NULL;
    values_at(s, trial, x);
    char *command = space_command(o->space, o->command, x, trial);
    struct shell *ran = shell_start(command, o->timeout, e);
    free(command);
    if (!ran) return NULL;
    s->status[trial] = BAYES_PENDING;
    s->value[trial] = NAN;
    s->trials++;
    return ran;
}

static bool save_checkpoint(struct search *s, struct error *e) {
    if (!s->o->checkpoint) return true;
    struct blob *b = search_save(s, false);
    bool fine = blob_write(b, s->o->checkpoint, e);
    blob_free(b);
    return fine;
}

static bool starts_failed(const struct search *s, struct error *e) {
    if (s->done || s->failed < s->starts) return false;
    const json_t *notes = json_object_get(s->record, "notes");
    const char *last = json_string_value(json_array_get(notes, json_array_size(notes) - 1));
    error_set(e, EXIT_INPUT, "no trial gave a value, and all %lld starts are through: %s", (long long)s->failed,
              last ? last : "");
    return true;
}

struct running {
    int count;
    struct shell **shell;
    int64_t *trial;
};

static void take_out(struct running *r, int place) {
    shell_end(&r->shell[place], 1);
    r->count--;
    memmove(r->shell + place, r->shell + place + 1, (size_t)(r->count - place) * sizeof *r->shell);
    memmove(r->trial + place, r->trial + place + 1, (size_t)(r->count - place) * sizeof *r->trial);
}

static void show(struct progress *p, const struct search *s) {
    char note[64] = "no value yet";
    if (s->best >= 0) snprintf(note, sizeof note, "best %.6g", s->value[s->best]);
    progress_step(p, (long)(s->done + s->failed), note);
}

bool search_run(struct search *s, struct error *e) {
    struct running r = {0, memory_zero((size_t)s->o->parallel * sizeof *r.shell),
                        memory_zero((size_t)s->o->parallel * sizeof *r.trial)};
    struct progress p;
    bool fine = true;
    progress_open(&p, "trials", (long)s->o->trials);
    while (fine && !s->interrupted) {
        while (fine && r.count < s->o->parallel && s->trials < s->o->trials && !s->exhausted && !out_stopping()) {
            struct shell *ran = begin(s, e);
            fine = !e->status;
            if (!ran) break;
            r.trial[r.count] = s->trials - 1;
            r.shell[r.count++] = ran;
        }
        if (!fine || (!r.count && !out_stopping())) break;
        int place = r.count ? shell_wait(r.shell, r.count, s->o->watch) : SHELL_STOPPED;
        s->interrupted = place < 0;
        s->unread = place == SHELL_UNREAD;
        if (s->interrupted) break;
        conclude(s, r.trial[place], r.shell[place]);
        take_out(&r, place);
        show(&p, s);
        fine = (!s->done || save_checkpoint(s, e)) && !starts_failed(s, e);  // failures alone are nothing to go on from
    }
    shell_end(r.shell, r.count);
    progress_close(&p);
    free(r.shell);
    free(r.trial);
    return fine && (!s->interrupted || save_checkpoint(s, e));
}

// ---- the log

static json_t *ranges_of(const struct space *space) {
    json_t *list = json_array();
    for (int j = 0; j < space->count; j++)
        json_array_append_new(list, json_sprintf("%s=%s", space->axis[j].name, space->axis[j].range));
    return list;
}

// What a search is: the same of these is the same search.
static json_t *identity(const struct search_options *o) {
    return json_pack("{s:s, s:s, s:s, s:o, s:f, s:o}", "command", o->command, "metric", o->metric, "goal",
                     o->maximise ? "maximise" : "minimise", "ranges", ranges_of(o->space), "xi", o->xi, "seed",
                     record_seed(o->seed));
}

static json_t *settings_of(const struct search *s) {
    const struct search_options *o = s->o;
    json_t *c = identity(o);
    json_object_set_new(c, "trials", json_integer(o->trials));
    json_object_set_new(c, "starts", json_integer(s->starts));
    json_object_set_new(c, "parallel", json_integer(o->parallel));
    if (o->timeout > 0) json_object_set_new(c, "timeout", json_real(o->timeout));
    return c;
}

static void note_best(const struct search *s, json_t *record) {
    const struct space *space = s->o->space;
    double x[SPACE_AXES], starts = NAN;
    char path[128], text[SPACE_TEXT];
    if (s->best < 0) return;
    values_at(s, s->best, x);
    record_real(record, "metrics.best.value", s->value[s->best]);
    char *command = space_command(space, s->o->command, x, s->best);
    record_text(record, "metrics.best.command", command);
    free(command);
    for (int j = 0; j < space->count; j++) {
        const struct space_axis *a = &space->axis[j];
        snprintf(path, sizeof path, "metrics.best.at.%.90s", a->name);
        if (a->kind == SPACE_CHOICE)
            record_text(record, path, space_text(a, x[j], text));
        else if (a->kind == SPACE_INT)
            record_int(record, path, (int64_t)x[j]);
        else
            record_real(record, path, x[j]);
    }
    for (int64_t i = 0, seen = 0; i < s->trials && seen < s->starts; i++) {
        seen += s->status[i] != BAYES_PENDING;
        if (s->status[i] == BAYES_DONE && !(sense(s, starts) <= sense(s, s->value[i]))) starts = s->value[i];
    }
    record_real(record, "metrics.starts.best", starts);
}

static void add_curve(struct search *s, struct blob *b, const char *name, const char *what, int64_t n,
                      const double *from) {
    char tensor[128];
    double *copy = arena_take(&s->saved, (size_t)(n + 1) * sizeof *copy);
    memcpy(copy, from, (size_t)n * sizeof *copy);
    snprintf(tensor, sizeof tensor, "effect.%.90s.%s", name, what);
    blob_add(b, tensor, F64, 1, &n, copy);
}

// What the process makes of the trials, in the units and the direction of the values.
static void note_model(struct search *s, struct blob *b, json_t *record) {
    const struct space *space = s->o->space;
    struct bayes bayes = {.space = space, .seed = s->o->seed};
    double *y = memory_take((size_t)(s->trials + 1) * sizeof *y), share[SPACE_AXES], total[SPACE_AXES], mean, sd;
    char path[128];
    for (int64_t i = 0; i < s->trials; i++) y[i] = sense(s, s->value[i]);
    struct gp *g = bayes_model(&bayes, s->trials, s->u, y, s->status);
    free(y);
    if (!g) return;
    const double *best = s->u + s->best * space->count;
    gp_predict(g, 1, best, &mean, &sd);
    record_real(record, "metrics.best.expected", sense(s, mean));
    record_real(record, "metrics.best.expected_sd", sd);
    record_real(record, "metrics.model.noise_sd", g->scale * sqrt(g->noise));
    record_real(record, "metrics.model.variance", g->variance * g->scale * g->scale);
    record_real(record, "metrics.model.likelihood", g->likelihood);
    effect_shares(space, g, share, total);
    for (int j = 0; j < space->count; j++) {
        struct effect along;
        snprintf(path, sizeof path, "metrics.importance.%.90s.share", space->axis[j].name);
        record_real(record, path, share[j]);
        snprintf(path, sizeof path, "metrics.importance.%.90s.total", space->axis[j].name);
        record_real(record, path, total[j]);
        snprintf(path, sizeof path, "metrics.importance.%.90s.length", space->axis[j].name);
        record_real(record, path, g->length[j]);
        effect_along(space, g, j, best, &along);
        for (int64_t i = 0; i < along.count; i++) along.mean[i] = sense(s, along.mean[i]);
        add_curve(s, b, space->axis[j].name, "x", along.count, along.x);
        add_curve(s, b, space->axis[j].name, "mean", along.count, along.mean);
        add_curve(s, b, space->axis[j].name, "sd", along.count, along.sd);
    }
    gp_free(g);
}

// The best value up to every trial that ended; NaN before the first.
static void best_so_far(const struct search *s, const double *value, int64_t n, double *best) {
    double now = NAN;
    for (int64_t i = 0; i < n; i++) {
        if (isfinite(value[i]) && !(sense(s, now) <= sense(s, value[i]))) now = value[i];
        best[i] = now;
    }
}

struct blob *search_save(struct search *s, bool model) {
    arena_free(&s->saved);
    struct blob *b = blob_new("trials");
    int64_t d = s->o->space->count, n = s->done + s->failed, at = 0, dim[2] = {n, d};
    double *x = arena_take(&s->saved, (size_t)(n * d + 1) * sizeof *x),
           *value = arena_take(&s->saved, (size_t)(n + 1) * sizeof *value),
           *best = arena_take(&s->saved, (size_t)(n + 1) * sizeof *best);
    unsigned char *status = arena_take(&s->saved, (size_t)n + 1);
    json_t *record = json_deep_copy(s->record), *config = settings_of(s);
    for (int64_t i = 0; i < s->trials; i++) {
        if (s->status[i] == BAYES_PENDING) continue;
        values_at(s, i, x + at * d);
        value[at] = s->value[i];
        status[at++] = s->status[i];
    }
    best_so_far(s, value, n, best);
    blob_add(b, "x", F64, 2, dim, x);
    blob_add(b, "value", F64, 1, &n, value);
    blob_add(b, "best", F64, 1, &n, best);
    blob_add(b, "status", U8, 1, &n, status);
    blob_set_lineage(b, "tune", config, NULL, 0);
    json_object_update(json_object_get(record, "config"), config);
    json_decref(config);
    record_int(record, "metrics.trials", n);
    record_int(record, "metrics.failed", s->failed);
    note_best(s, record);
    if (model && s->best >= 0) note_model(s, b, record);
    if (s->failed > NOTES_MOST)
        record_note(record, "%lld trials failed; the first %d are named.", (long long)s->failed, NOTES_MOST);
    if (s->exhausted) record_note(record, "The ranges hold %lld points, and all were tried.", (long long)n);
    blob_set_record(b, record);
    json_decref(record);
    return b;
}

// ---- going on

static bool same_search(struct search *s, const struct blob *b, struct error *e) {
    json_t *mine = identity(s->o);
    const json_t *theirs = b->record ? record_get(b->record, "config") : NULL, *value;
    const char *key;
    json_object_foreach(mine, key, value) if (!json_equal(json_object_get(theirs, key), value)) {
        char *there = json_object_get(theirs, key) ? record_dump(json_object_get(theirs, key)) : NULL,
             *here = record_dump(value);
        blob_refuse(b, e, "the log of another search: %s is %.150s there and %.150s here", key,
                    there ? there : "missing", here);
        free(there);
        free(here);
        break;
    }
    json_decref(mine);
    // Not asked for, the starts are those of the log: more trials than it was meant for change nothing in its beginning.
    const json_t *starts = json_object_get(theirs, "starts");
    if (e->status) return false;
    if (!json_is_integer(starts) || json_integer_value(starts) < 1)
        return blob_refuse(b, e, "config.starts is no number of trials");
    if (s->o->starts && s->o->starts != json_integer_value(starts))
        return blob_refuse(b, e, "the log of another search: %lld starts there and %lld here",
                           (long long)json_integer_value(starts), (long long)s->o->starts);
    s->starts = json_integer_value(starts);
    return true;
}

static bool take_trials(struct search *s, const struct blob *b, struct error *e) {
    const struct space *space = s->o->space;
    const struct tensor *x = blob_need(b, "x", e), *value = x ? blob_need(b, "value", e) : NULL,
                        *status = value ? blob_need(b, "status", e) : NULL;
    if (!status) return false;
    int64_t n = status->rank == 1 ? status->dim[0] : 0, dim[2] = {n, space->count};
    if (!tensor_expect(x, F64, 2, dim, e) || !tensor_expect(value, F64, 1, &n, e) ||
        !tensor_expect(status, U8, 1, &n, e))
        return error_prefix(e, "%s: ", b->source);
    if (n > s->o->trials)
        return blob_refuse(b, e, "%lld trials there, and --trials %lld", (long long)n, (long long)s->o->trials);
    for (int64_t i = 0; i < n; i++) {
        for (int j = 0; j < space->count; j++) {
            double v = tensor_value(x, i * space->count + j);
            double u = space_unit(&space->axis[j], v);
            if (space_value(&space->axis[j], u) != v)
                return blob_refuse(b, e, "trial %lld: %s is %g, no value of its range", (long long)i,
                                   space->axis[j].name, v);
            s->u[i * space->count + j] = u;
        }
        s->value[i] = tensor_value(value, i);
        s->status[i] = (unsigned char)tensor_value(status, i);
        if (s->status[i] > BAYES_DONE || (s->status[i] == BAYES_DONE) != (fabs(s->value[i]) <= value_most))
            return blob_refuse(b, e, "trial %lld: status %d and value %g do not fit", (long long)i, s->status[i],
                               s->value[i]);
        count_in(s, i);
    }
    s->trials = n;
    return true;
}

bool search_resume(struct search *s, const char *path, struct error *e) {
    struct blob *b = blob_open(path, e);
    bool fine = b && blob_expect_kind(b, "trials", e) && same_search(s, b, e) && take_trials(s, b, e);
    size_t i;
    json_t *note;
    // What was said of the trials; what was concluded is concluded again.
    if (fine)
        json_array_foreach(json_object_get(b->record, "notes"), i,
                           note) if (json_is_string(note) && !strncmp(json_string_value(note), "trial ", 6) &&
                                     json_array_size(json_object_get(s->record, "notes")) < NOTES_MOST)
            record_note(s->record, "%s", json_string_value(note));
    blob_free(b);
    return fine;
}

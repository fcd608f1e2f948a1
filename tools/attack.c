// attack: evaluates a classifier on labelled images, as they are and under attack.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../common/audit/pgd.h"
#include "../common/audit/triptych.h"
#include "../common/audit/trust.h"
#include "../common/base/msg.h"
#include "../common/base/opt.h"
#include "../common/base/out.h"
#include "../common/base/stats.h"
#include "../common/io/gate.h"
#include "../common/io/png.h"
#include "../common/io/record.h"

static struct {
    const char *input, *output, *method, *norm, *loss, *rows, *png, *keep, *device, *fail_if;
    struct reals eps;
    double step;
    int64_t steps, restarts, draws, limit, batch, threads;
    uint64_t seed;
    bool no_sanity, json, profile, explain;
} o = {.method = "clean,noise,fgsm,pgd", .eps = {3, {.1, .2, .3}}, .norm = "linf", .loss = "ce", .steps = 10, .step = NAN,
       .restarts = 1, .draws = 1, .keep = "16", .batch = 512, .device = "cpu"};

static struct opt opts[] = {
    {"input", 'i', OPT_FILE, &o.input, "DATA", "images and labels", NULL, 0, 0, false},
    {"output", 'o', OPT_FILE, &o.output, "RESULT", "where the result goes; standard output without it", NULL, 0, 0, false},
    {"method", 'm', OPT_WORDS, &o.method, "LIST", "what to run; clean is always there", "clean|noise|fgsm|pgd", 0, 0, false},
    {"eps", 'e', OPT_REALS, &o.eps, "LIST", "radii of the ball around an image; 8/255 is fine", NULL, 0, 1e6, false},
    {"norm", 0, OPT_CHOICE, &o.norm, "NAME", "norm of the ball", "linf|l2", 0, 0, false},
    {"steps", 0, OPT_INT, &o.steps, "N", "steps of pgd", NULL, 1, 1e6, false},
    {"step", 0, OPT_REAL, &o.step, "R", "length of a step of pgd; the larger of 1e-3 and eps/6 without it", NULL, 1e-9, 1e6,
     false},
    {"restarts", 0, OPT_INT, &o.restarts, "N", "starts of pgd, of which the worst counts", NULL, 1, 1e6, false},
    {"draws", 0, OPT_INT, &o.draws, "N", "draws of noise, of which the worst counts", NULL, 1, 1e6, false},
    {"loss", 0, OPT_CHOICE, &o.loss, "NAME", "what fgsm and pgd climb", "ce|margin", 0, 0, false},
    {"limit", 'n', OPT_INT, &o.limit, "N", "the first N images; 0: all", NULL, 0, 1e12, false},
    {"keep", 'k', OPT_TEXT, &o.keep, "N", "store adversarial images of the first N examples, or of all", NULL, 0, 0, false},
    {"rows", 0, OPT_FILE, &o.rows, "FILE", "a line per example and attack, separated by tabs", NULL, 0, 0, false},
    {"png", 0, OPT_FILE, &o.png, "FILE", "a picture of clean and adversarial images and their differences", NULL, 0, 0, false},
    {"fail-if", 0, OPT_TEXT, &o.fail_if, "EXPR", "exit with 1 where this holds of the record, such as clean.accuracy<.8", NULL, 0,
     0, false},
    {"no-sanity", 0, OPT_FLAG, &o.no_sanity, NULL, "leave out the attack that may go anywhere", NULL, 0, 0, false},
    {"seed", 's', OPT_SEED, &o.seed, "N", "seed of every random draw", NULL, 0, 0, false},
    {"batch", 'b', OPT_INT, &o.batch, "N", "images worked on at a time; no result depends on it", NULL, 1, 1e6, false},
    {"threads", 'j', OPT_INT, &o.threads, "N", "worker threads; 0: as many as processors", NULL, 0, 1024, false},
    {"device", 0, OPT_TEXT, &o.device, "NAME", "ref, cpu or cuda", NULL, 0, 0, false},
    {"json", 0, OPT_FLAG, &o.json, NULL, "print the record; write a result only where -o says", NULL, 0, 0, false},
    {"profile", 0, OPT_FLAG, &o.profile, NULL, "say where the time went", NULL, 0, 0, false},
    {"explain", 0, OPT_FLAG, &o.explain, NULL, "print the plan of the gradient and end", NULL, 0, 0, false},
};

static struct program program = {
    .name = "attack", .summary = "evaluate a classifier on images as they are and under attack", .operands = "MODEL",
    .operands_min = 1, .operands_max = 1, .opts = opts, .count = sizeof opts / sizeof *opts,
    .examples = "fetch synthetic --count 300 | trainclf -i - --arch mlp --epochs 2 -o mlp.st\n"
                "fetch synthetic --count 100 --split test -o test.st\n"
                "attack mlp.st -i test.st --method clean --json\n"
                "attack mlp.st -i test.st --eps .05,8/255 -o result.st\n"
                "attack mlp.st -i test.st -m pgd --norm l2 --eps 1 --steps 20 --restarts 2 -n 50 --rows rows.tsv "
                "--png look.png -o result.st\n"
                "attack mlp.st -i test.st -m clean --fail-if 'clean.accuracy<.1' -o result.st",
    .see_also = "fetch(1), trainclf(1), report(1), tensor(1), blob(5)",
};

enum { METHODS = 3 };
static const char *const methods[METHODS] = {"noise", "fgsm", "pgd"};

// ---- from words to settings

static bool wanted(const char *method) {
    size_t length = strlen(method);
    for (const char *at = o.method; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (!strncmp(at, method, length) && (at[length] == ',' || !at[length])) return true;
    return false;
}

static bool attacks(void) { return wanted("noise") || wanted("fgsm") || wanted("pgd"); }

// Whether the blob of the result is written at all: not where only the record, a table or a picture is asked for, or where a
// terminal would get it.
static bool bare(void) { return !o.output && !o.json && isatty(STDOUT_FILENO); }
static bool wants_blob(void) { return o.output || !(o.json || bare() || path_is_dash(o.rows) || path_is_dash(o.png)); }

static int64_t kept(void) {
    int64_t n;
    if (!strcmp(o.keep, "all")) return -1;
    if (!parse_int(o.keep, &n) || n < 0) msg_usage("--keep %s: a number of examples, or all", o.keep);
    return n;
}

static void check(const struct operands *operands) {
    struct error e = {0};
    if (!o.input) msg_usage("-i DATA is missing");
    bool blob = path_is_dash(o.output) || (!o.output && !o.json && !bare());
    if (blob + o.json + path_is_dash(o.rows) + path_is_dash(o.png) > 1)
        msg_usage("standard output can take one of the result, --json, --rows and --png; -o FILE names another place");
    opt_keep_apart(&program, "output,rows,png", "input", operands);
    kept();
    if (!strcmp(o.norm, "l2") && attacks() && !opt_given(&program, "eps")) msg_usage("--norm l2 needs --eps");
    for (int i = 0; i < o.eps.count; i++)
        for (int j = 0; j < i; j++) {
            char a[32], b[32];
            if (!strcmp(record_eps_key(o.eps.value[i], a), record_eps_key(o.eps.value[j], b)))
                msg_usage("--eps names %g twice (six digits count)", o.eps.value[i]);
        }
    for (int i = 0; i < o.eps.count && !strcmp(o.norm, "linf"); i++)
        if (o.eps.value[i] > 1)
            msg_usage("--eps %g: images lie in [0, 1], so 1 is everything (8/255 is accepted)", o.eps.value[i]);
    if (o.png && !kept()) msg_usage("--png shows adversarial images, and --keep 0 keeps none");
    if (o.png && !attacks()) msg_usage("--png shows attacks, and --method names none");
    if (!wanted("pgd") && (opt_given(&program, "steps") || opt_given(&program, "step") || opt_given(&program, "restarts")))
        msg_usage("--steps, --step and --restarts are for --method pgd");
    if (!wanted("noise") && opt_given(&program, "draws")) msg_usage("--draws is for --method noise");
    if (o.explain && !wanted("fgsm") && !wanted("pgd"))
        msg_usage("--explain prints a gradient's plan, and --method names none that has one");
    if (o.explain) return;  // writes none of these
    bool fine = (!wants_blob() || out_check(o.output, true, &e)) && (!o.rows || out_check(o.rows, false, &e)) &&
                (!o.png || out_check(o.png, true, &e));
    if (!fine) msg_fail(&e);
}

static struct pgd method_of(const char *name, double eps) {
    if (!strcmp(name, "noise")) return pgd_noise((int)o.draws);
    if (!strcmp(name, "fgsm")) return pgd_fgsm(eps);
    return pgd_of(isnan(o.step) ? pgd_default_step(eps) : o.step, (int)o.steps, (int)o.restarts);
}

// The options that decide the result, in one form.
static json_t *settings(const struct attack *a) {
    json_t *c = json_object(), *list = json_array();
#define TEXT(key, value) json_object_set_new(c, key, json_string(value))
#define INT(key, value) json_object_set_new(c, key, json_integer((json_int_t)(value)))
    json_array_append_new(list, json_string("clean"));
    for (int i = 0; i < METHODS; i++)
        if (wanted(methods[i])) json_array_append_new(list, json_string(methods[i]));
    json_object_set_new(c, "methods", list);
    TEXT("device", o.device);
    INT("count", a->o.count);
    INT("keep", a->o.keep);
    if (!attacks()) return c;
    json_object_set_new(c, "eps", list = json_array());
    for (int i = 0; i < o.eps.count; i++) json_array_append_new(list, json_real(o.eps.value[i]));
    TEXT("norm", o.norm);
    json_object_set_new(c, "seed", record_seed(o.seed));
    if (wanted("noise")) INT("draws", o.draws);
    json_object_set_new(c, "sanity", json_boolean(!o.no_sanity && (wanted("fgsm") || wanted("pgd"))));
    if (wanted("fgsm") || wanted("pgd")) TEXT("loss", o.loss);
    if (!wanted("pgd")) return c;
    INT("steps", o.steps);
    INT("restarts", o.restarts);
    json_object_set_new(c, "step", isnan(o.step) ? json_string("max(1e-3,eps/6)") : json_real(o.step));
    return c;
#undef TEXT
#undef INT
}

// ---- what is said

static void say_rate(const char *what, int64_t k, int64_t n) {
    struct interval i = stats_clopper_pearson((long)k, (long)n, .95);
    msg_say("%-20s %6.2f %% (%.2f to %.2f)", what, 100 * (double)k / (double)n, 100 * i.low, 100 * i.high);
}

static void say_profile(struct attack *a, double seconds) {
    double part[PARTS], total = 0;
    slope_profile(attack_slope(a, NULL), part);
    for (int i = 0; i < PARTS; i++) total += part[i];
    seconds *= pool_threads(a->pool);
    for (int i = 0; i < PARTS; i++)
        msg_say("gradient: %-12s %9.3f s %5.1f %%", exec_part_name[i], part[i], 100 * part[i] / seconds);
    msg_say("forward, draws, steps   %8.3f s %5.1f %%", seconds - total, 100 * (seconds - total) / seconds);
    msg_say("all                     %8.3f s of %d threads", seconds, pool_threads(a->pool));
}

// ---- the work

struct work {
    struct attack *a;
    struct blob *b;
    json_t *record;
    struct attack_result *result[METHODS * OPT_REALS_MAX];
    int results;
};

static bool run_methods(struct work *w, struct error *e) {
    struct attack *a = w->a;
    struct progress progress;
    int jobs = 0;
    for (int m = 0; m < METHODS; m++) jobs += wanted(methods[m]) ? o.eps.count : 0;
    bool terminal = isatty(STDERR_FILENO), fine = true;  // elsewhere the line of every result says enough
    if (terminal && jobs) {
        progress_open(&progress, "images", (long)(jobs * a->o.count));
        a->progress = &progress;
    }
    enum ball_norm norm = strcmp(o.norm, "l2") ? BALL_LINF : BALL_L2;
    for (int m = 0; m < METHODS && fine; m++)
        for (int i = 0; i < o.eps.count && wanted(methods[m]) && fine; i++) {
            struct pgd p = method_of(methods[m], o.eps.value[i]);
            struct attack_result *r = attack_result_new(a, methods[m], (struct ball){norm, o.eps.value[i], a->size});
            w->result[w->results++] = r;
            fine = pgd_run(a, &p, r, e);
            if (!fine) break;
            char what[64], path[96], key[32];
            snprintf(what, sizeof what, "%-5s eps %.6g", r->method, r->ball.eps);
            say_rate(what, r->stands, a->o.count);
            attack_save(a, r, w->b, w->record);
            snprintf(path, sizeof path, "metrics.robust.%s.%s.step", r->method, record_eps_key(r->ball.eps, key));
            if (p.steps) record_real(w->record, path, p.step);
            trust_result(a, r, w->record);
        }
    if (a->progress) progress_close(a->progress);
    a->progress = NULL;
    if (!fine || o.no_sanity || !(wanted("fgsm") || wanted("pgd"))) return fine;
    struct pgd p = pgd_of(pgd_default_step(1), 10, 1);
    return trust_reach(a, &p, norm, w->record, e);
}

static bool write_rows(const struct work *w, struct error *e) {
    struct out *out = out_open(o.rows, false, e);
    if (!out) return false;
    bool fine = attack_rows_header(out, e) && attack_rows(w->a, NULL, out, e);
    for (int i = 0; i < w->results && fine; i++) fine = attack_rows(w->a, w->result[i], out, e);
    if (fine) return out_close(out, e);
    out_drop(out);
    return false;
}

static bool write_picture(const struct work *w, struct error *e) {
    struct picture *p = triptych(w->a, w->result, w->results, 8);
    BUG_IF(!p, "no picture");
    bool fine = png_picture_write(p, o.png, e);
    picture_free(p);
    return fine;
}

static bool write_all(const struct work *w, struct error *e) {
    blob_set_record(w->b, w->record);
    if (bare() && !o.rows && !o.png) msg_say("only this summary, since standard output is a terminal; -o FILE keeps the result");
    // The result first: what was looked at beside it is of no use without it.
    if (wants_blob() && !blob_write(w->b, o.output, e)) return false;
    if (o.rows && !write_rows(w, e)) return false;
    if (o.png && !write_picture(w, e)) return false;
    return !o.json || record_print(w->record, e);
}

static bool explain(struct attack *a, struct error *e) {
    if (!attack_slope(a, e)) return false;
    plan_print(slope_plan(a->slope), stdout);
    return true;
}

static bool measure(struct work *w, const struct model *m, const struct dataset *d, struct error *e) {
    w->b = blob_new("attack");
    w->record = record_new();
    json_t *config = settings(w->a);
    blob_set_lineage(w->b, "attack", config, (const struct blob *[]){m->blob, d->blob}, 2);
    json_object_update(json_object_get(w->record, "config"), config);
    json_decref(config);
    record_text(w->record, "config.model", m->blob->digest);
    record_text(w->record, "config.data", d->blob->digest);
    // What a report names things by, out of the inputs' own records.
    record_copy(w->record, m->blob->record, "config.arch");
    record_copy(w->record, m->blob->record, "config.regime");
    if (!m->binary) record_copy(w->record, d->blob->record, "config.class_names");
    attack_save_clean(w->a, w->b, w->record);
    say_rate("clean", w->a->right, w->a->o.count);
    double start = msg_clock();
    if (!trust_model(w->a, w->record, e) || !run_methods(w, e)) return false;
    if (o.profile && w->a->slope) say_profile(w->a, msg_clock() - start);
    return write_all(w, e);
}

// The record, for the gate, is the caller's; there is none with --explain.
static bool run(const struct model *m, const struct dataset *d, struct pool *pool, json_t **record, struct error *e) {
    struct attack_options options = {.device = o.device, .loss = strcmp(o.loss, "margin") ? SLOPE_CE : SLOPE_MARGIN,
                                     .seed = o.seed, .count = o.limit, .batch = o.batch, .keep = kept()};
    if (o.png && d->channels != 1 && d->channels != 3)
        return error_set(e, EXIT_INPUT, "--png: images of %d channels cannot be shown", d->channels);
    struct work w = {.a = attack_open(m, d, &options, pool, e)};
    if (!w.a) return false;
    bool fine = o.explain ? explain(w.a, e) : measure(&w, m, d, e);
    *record = w.record;
    for (int i = 0; i < w.results; i++) attack_result_free(w.result[i]);
    blob_free(w.b);
    attack_free(w.a);
    return fine;
}

int main(int argc, char **argv) {
    struct error e = {0};
    struct operands operands = opt_parse(&program, argc, argv);
    struct gate gate = gate_open(o.fail_if);
    check(&operands);
    struct pool *pool = pool_new((int)o.threads);
    struct model *m = model_open(operands.value[0], &e);
    struct dataset *d = m ? dataset_open(o.input, &e) : NULL;
    json_t *record = NULL;
    if (!d || !run(m, d, pool, &record, &e)) msg_fail(&e);
    int status = gate_close(&gate, record);
    json_decref(record);
    dataset_free(d);
    model_free(m);
    pool_free(pool);
    return status;
}

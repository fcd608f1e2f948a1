// mia: tells which images a model was trained on.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../common/audit/membership.h"
#include "../common/audit/span.h"
#include "../common/base/msg.h"
#include "../common/base/opt.h"
#include "../common/base/out.h"
#include "../common/chart/spectrum.h"
#include "../common/io/gate.h"
#include "../common/io/record.h"

static struct {
    const char *input, *output, *method, *members, *rows, *png, *fail_if;
    int64_t rank, threads;
    bool json;
} o = {.method = "span"};

static struct opt opts[] = {
    {"input", 'i', OPT_FILE, &o.input, "DATA", "images, members and others", NULL, 0, 0, false},
    {"output", 'o', OPT_FILE, &o.output, "RESULT", "where the result goes; standard output without it", NULL, 0, 0, false},
    {"method", 'm', OPT_WORDS, &o.method, "LIST", "what to run", "span", 0, 0, false},
    {"members", 0, OPT_TEXT, &o.members, "WORD",
     "the truth: first:K, a mask or a data set in a file; the model's own record without it", NULL, 0, 0, false},
    {"rank", 0, OPT_INT, &o.rank, "N", "dimensions of the span; 0: where the singular values have their gap", NULL, 0, 1e6,
     false},
    {"rows", 0, OPT_FILE, &o.rows, "FILE", "a line per image, separated by tabs", NULL, 0, 0, false},
    {"png", 0, OPT_FILE, &o.png, "FILE", "a picture of the singular values", NULL, 0, 0, false},
    {"fail-if", 0, OPT_TEXT, &o.fail_if, "EXPR", "exit with 1 where this holds of the record, such as leverage.auc>.6", NULL, 0,
     0, false},
    {"threads", 'j', OPT_INT, &o.threads, "N", "worker threads; 0: as many as processors", NULL, 0, 1024, false},
    {"json", 0, OPT_FLAG, &o.json, NULL, "print the record; write a result only where -o says", NULL, 0, 0, false},
};

static struct program program = {
    .name = "mia", .summary = "tell which images a model was trained on", .operands = "MODEL",
    .operands_min = 1, .operands_max = 1, .opts = opts, .count = sizeof opts / sizeof *opts,
    .examples = "fetch synthetic --count 300 -o all.st\n"
                "trainclf -i all.st --subset first:30 --arch \"homogeneous 200 | init he,first:1e-3\" --normalise mean-image "
                "--l2 1e-3 \\\n"
                "    --epochs 100 --settle sgd:500 -o rest.st\n"
                "mia rest.st -i all.st -o result.st\n"
                "tensor release rest.st -o released.st\n"
                "mia released.st -i all.st --members first:30 --rank 30 --rows rows.tsv -o released-result.st\n"
                "mia rest.st -i all.st --fail-if 'leverage.auc>2' --json\n"
                "report rest.st result.st -o report",
    .see_also = "fetch(1), trainclf(1), report(1), tensor(1), blob(5)",
};

// ---- from words to settings

// Whether the blob of the result is written at all: not where only the record, a table or a picture is asked for, or where a
// terminal would get it.
static bool bare(void) { return !o.output && !o.json && isatty(STDOUT_FILENO); }
static bool wants_blob(void) { return o.output || !(o.json || bare() || path_is_dash(o.rows) || path_is_dash(o.png)); }

static void check(const struct operands *operands) {
    struct error e = {0};
    if (!o.input) msg_usage("-i DATA is missing");
    if ((wants_blob() && (!o.output || path_is_dash(o.output))) + o.json + path_is_dash(o.rows) + path_is_dash(o.png) > 1)
        msg_usage("standard output can take one of the result, --json, --rows and --png; -o FILE names another place");
    opt_keep_apart(&program, "output,rows,png", "input,members", operands);
    if ((wants_blob() && !out_check(o.output, true, &e)) || (o.rows && !out_check(o.rows, false, &e)) ||
        (o.png && !out_check(o.png, true, &e)))
        msg_fail(&e);
}

// ---- the work

struct work {
    const struct model *m;
    const struct dataset *d;
    struct pool *pool;
    struct blob *b;
    json_t *record;
    struct span *span;
    int64_t rank;               // of the hard form; 0: there is none
    unsigned char *member;
    int64_t *index;
    double *distance, *leverage;
    double *roc[2];             // of the two
};

static void say(const char *what, const struct membership *s) {
    msg_say("%-9s AUC %.4f (%.4f to %.4f; chance is .5), %lld of %lld members at up to %lld false positives, %lld at up to %lld",
            what, s->auc, s->interval.low, s->interval.high, (long long)s->at[0].hits, (long long)s->members,
            (long long)s->at[0].allowed, (long long)s->at[1].hits, (long long)s->at[1].allowed);
}

// Low distances and leverages mean member.
static void score(struct work *w, const char *what, const double *low, double **roc) {
    char path[64];
    int64_t dim[2] = {0, 2};
    double *high = memory_take((size_t)(w->d->count + 1) * sizeof *high);
    for (int64_t i = 0; i < w->d->count; i++) high[i] = -low[i];
    struct membership s = membership_of(high, w->member, w->d->count);
    snprintf(path, sizeof path, "metrics.%s", what);
    membership_save(&s, w->record, path);
    say(what, &s);
    *roc = membership_roc(high, w->member, w->d->count, dim);
    snprintf(path, sizeof path, "%s.roc", what);
    blob_add(w->b, path, F64, 2, dim, *roc);
    free(high);
}

static bool choose_rank(struct work *w, struct error *e) {
    const struct span *s = w->span;
    if (o.rank > s->values)
        return error_set(e, EXIT_USAGE, "--rank %lld: the first layer has %lld singular values", (long long)o.rank,
                         (long long)s->values);
    w->rank = o.rank ? o.rank : s->gap >= SPAN_GAP ? s->rank : 0;
    record_int(w->record, "metrics.span.rank", o.rank ? o.rank : s->rank);
    record_real(w->record, "metrics.span.gap", o.rank && o.rank < s->values ? span_ratio(s, o.rank) : s->gap);
    msg_say("the singular values of the first layer fall most, by a factor %.3g, after %lld", s->gap, (long long)s->rank);
    if (w->rank) return true;
    record_text(w->record, "metrics.span.refused",
                "the singular values show no gap of 2, so the number of images is not known; --rank would name it");
    msg_say("span: no gap of %d, so only the soft form is given; --rank N gives the other", SPAN_GAP);
    return true;
}

static bool measure(struct work *w, struct error *e) {
    int64_t n = w->d->count;
    w->member = membership_truth(w->m, w->d, o.members, e);
    w->span = w->member ? span_open(w->m, e) : NULL;
    if (!w->span || !choose_rank(w, e)) return false;
    w->leverage = memory_take((size_t)(n + 1) * sizeof *w->leverage);
    w->distance = w->rank ? memory_take((size_t)(n + 1) * sizeof *w->distance) : NULL;
    w->index = memory_take((size_t)(n + 1) * sizeof *w->index);
    for (int64_t i = 0; i < n; i++) w->index[i] = w->d->index ? w->d->index[i] : i;
    span_measure(w->span, w->rank, w->d, NULL, n, w->distance, w->leverage, w->pool);
    if (w->distance) score(w, "span", w->distance, &w->roc[0]);
    score(w, "leverage", w->leverage, &w->roc[1]);
    blob_add(w->b, "index", I64, 1, &n, w->index);
    blob_add(w->b, "member", U8, 1, &n, w->member);
    if (w->distance) blob_add(w->b, "span.distance", F64, 1, &n, w->distance);
    blob_add(w->b, "leverage", F64, 1, &n, w->leverage);
    blob_add(w->b, "span.singular", F64, 1, &w->span->values, w->span->value);
    return true;
}

static void refuse(struct work *w, const char *reason) {
    record_text(w->record, "metrics.span.refused", reason);
    record_text(w->record, "metrics.leverage.refused", reason);
    msg_say("span: %s", reason);
}

static bool write_rows(const struct work *w, struct error *e) {
    struct out *out = out_open(o.rows, false, e);
    if (!out) return false;
    bool fine = out_print(out, e, "index\tlabel\tmember\tdistance\tleverage\n");
    for (int64_t i = 0; w->leverage && fine && i < w->d->count; i++) {
        char distance[32] = "", leverage[32];
        if (w->distance) format_real(w->distance[i], false, distance);
        format_real(w->leverage[i], false, leverage);
        fine = out_print(out, e, "%" PRId64 "\t%" PRId64 "\t%d\t%s\t%s\n", w->index[i], w->d->y[i], w->member[i], distance,
                         leverage);
    }
    if (fine) return out_close(out, e);
    out_drop(out);
    return false;
}

static bool write_picture(const struct work *w, struct error *e) {
    struct chart_bytes png = {0};
    if (!w->span) return error_set(e, EXIT_INPUT, "--png: this network has no span to show");
    struct spectrum shown = {"", w->span->value, w->span->values, w->rank, 0, 0};
    if (w->rank && w->rank < w->span->values) shown.gap = span_ratio(w->span, w->rank);
    struct out *out = spectrum_png(&shown, &png, e) ? out_open(o.png, true, e) : NULL;
    bool fine = out && out_write(out, png.data, png.size, e);
    free(png.data);
    if (fine) return out_close(out, e);
    out_drop(out);
    return false;
}

static bool write_all(struct work *w, struct error *e) {
    blob_set_record(w->b, w->record);
    if (bare() && !o.rows && !o.png) msg_say("only this summary, since standard output is a terminal; -o FILE keeps the result");
    if (wants_blob() && !blob_write(w->b, o.output, e)) return false;
    if (o.rows && !write_rows(w, e)) return false;
    if (o.png && !write_picture(w, e)) return false;
    return !o.json || record_print(w->record, e);
}

// The options that decide the result. Who the members are is a file or a word, and the result holds it as `member`.
static void describe(struct work *w) {
    const struct dataset *d = w->d;
    json_t *c = json_pack("{s:s}", "method", o.method);
    if (o.rank) json_object_set_new(c, "rank", json_integer((json_int_t)o.rank));
    blob_set_lineage(w->b, "mia", c, (const struct blob *[]){w->m->blob, d->blob}, 2);
    json_object_update(json_object_get(w->record, "config"), c);
    json_decref(c);
    record_text(w->record, "config.model", w->m->blob->digest);
    record_text(w->record, "config.data", d->blob->digest);
    record_text(w->record, "config.arch", w->m->arch->line);
    const char *source = d->index ? blob_meta(d->blob, "assay.source") : d->blob->digest;
    if (source) blob_set_meta(w->b, "assay.source", source);
}

static bool run(const struct model *m, const struct dataset *d, struct pool *pool, json_t **record, struct error *e) {
    if (!model_fits(m, d, e)) return false;
    struct work w = {.m = m, .d = d, .pool = pool, .b = blob_new("membership"), .record = record_new()};
    *record = w.record;
    describe(&w);
    bool fine = true;
    if (span_refused(m)) refuse(&w, span_refused(m));
    else fine = measure(&w, e);
    fine = fine && write_all(&w, e);
    blob_free(w.b);
    span_free(w.span);
    free(w.member);
    free(w.index);
    free(w.distance);
    free(w.leverage);
    for (int i = 0; i < 2; i++) free(w.roc[i]);
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

// ssim: how alike images are, and whether a reconstruction's candidates are training images.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../common/audit/images.h"
#include "../common/audit/kkt_gate.h"
#include "../common/audit/marks.h"
#include "../common/audit/pairs.h"
#include "../common/audit/scorecard.h"
#include "../common/base/arena.h"
#include "../common/base/msg.h"
#include "../common/base/opt.h"
#include "../common/base/out.h"
#include "../common/chart/wall.h"
#include "../common/io/gate.h"
#include "../common/io/part.h"
#include "../common/io/png.h"
#include "../common/io/record.h"

static struct {
    const char *truth, *control, *among, *model, *beside, *baselines, *output, *png, *fail_if;
    int64_t blocks, threads;
    uint64_t seed;
    bool exclude, gaussian, pool, json;
} o = {.baselines = "noise,mean,classes,heldout", .blocks = 20};

static struct opt opts[] = {
    {"truth", 't', OPT_FILE, &o.truth, "DATA", "the training images that candidates are matched with", NULL, 0, 0, false},
    {"control", 'c', OPT_FILE, &o.control, "DATA", "images that the model did not see, matched in the same way", NULL, 0, 0,
     false},
    {"exclude", 0, OPT_FLAG, &o.exclude, NULL, "leave control images out that are training images too", NULL, 0, 0, false},
    {"blocks", 0, OPT_INT, &o.blocks, "N", "blocks of control, each of as many images as the truth", NULL, 1, 1000, false},
    {"among", 'a', OPT_FILE, &o.among, "DATA",
     "images a certified candidate must not be nearer to than to its own; the control without it", NULL, 0, 0, false},
    {"model", 0, OPT_FILE, &o.model, "MODEL",
     "what was inverted: its KKT residual at the truth, an oracle's diagnostic", NULL, 0, 0, false},
    {"baselines", 0, OPT_WORDS, &o.baselines, "LIST", "what else is scored as candidates are", "none|noise|mean|classes|heldout",
     0, 0, false},
    {"beside", 0, OPT_TEXT, &o.beside, "LIST",
     "more candidates to score, NAME=FILE with commas: other attacks, or a model of other images", NULL, 0, 0, false},
    {"gaussian", 0, OPT_FLAG, &o.gaussian, NULL, "SSIM with Gaussian windows of sigma 1.5 instead of uniform ones of 7 x 7", NULL,
     0, 0, false},
    {"pool", 0, OPT_FLAG, &o.pool, NULL, "take scores, and score all runs together", NULL, 0, 0, false},
    {"output", 'o', OPT_FILE, &o.output, "SCORE", "where the score goes; standard output without it", NULL, 0, 0, false},
    {"png", 0, OPT_FILE, &o.png, "FILE", "a picture of candidates between their nearest training and held-out images", NULL, 0, 0,
     false},
    {"fail-if", 0, OPT_TEXT, &o.fail_if, "EXPR", "exit with 1 where this holds of the record, such as ncc.auc>.6", NULL, 0, 0,
     false},
    {"seed", 's', OPT_SEED, &o.seed, "N", "seed of blocks, noise and intervals", NULL, 0, 0, false},
    {"threads", 'j', OPT_INT, &o.threads, "N", "worker threads; 0: as many as processors", NULL, 0, 1024, false},
    {"json", 0, OPT_FLAG, &o.json, NULL, "print the record; write a score only where -o says", NULL, 0, 0, false},
};

static struct program program = {
    .name = "ssim", .summary = "score reconstructed images against training and held-out images", .operands = "[FILE ...]",
    .operands_min = 0, .operands_max = -1, .opts = opts, .count = sizeof opts / sizeof *opts,
    .examples = "fetch synthetic --count 100 --seed 1 -o other.st\n"
                "ssim test.st other.st --json\n"
                "tensor cut train.st --rows 0:10 -o members.st\n"
                "ssim members.st --truth members.st --control train.st --exclude -o one.st --png wall.png\n"
                "trainclf -i members.st --arch \"homogeneous 100\" --l2 1e-3 --epochs 200 --settle lbfgs:200 -o model.st\n"
                "ssim members.st -t members.st -c train.st --exclude --model model.st -o one.st\n"
                "ssim other.st -t members.st -c train.st --exclude --beside test=test.st -o two.st\n"
                "ssim other.st -t members.st -c train.st --exclude --baselines none --fail-if 'ncc.auc>.9' -o two.st\n"
                "ssim --pool one.st two.st --json",
    .see_also = "fetch(1), invert(1), trainclf(1), tensor(1), report(1), blob(5)",
};

// ---- the command line

static bool bare(void) { return !o.output && !o.json && isatty(STDOUT_FILENO); }
static bool wants_blob(void) { return o.output || !(o.json || bare() || path_is_dash(o.png)); }

static enum similarity_window window_of(void) { return o.gaussian ? SIMILARITY_GAUSSIAN : SIMILARITY_UNIFORM; }

static void check_mode(const struct operands *operands) {
    static const char *const only_card[] = {"control", "exclude", "blocks", "among", "model", "baselines", "beside", "png"};
    if (o.pool && o.truth) msg_usage("--pool takes scores, and --truth makes one");
    for (size_t i = 0; i < sizeof only_card / sizeof *only_card && !o.truth; i++)
        if (opt_given(&program, only_card[i])) msg_usage("--%s is for --truth", only_card[i]);
    if (o.pool && o.gaussian) msg_usage("--gaussian is for images, and --pool takes scores");
    if (o.truth && !o.control) msg_usage("--control DATA is missing: without it a score says nothing");
    if (o.truth && operands->count != 1) msg_usage("one file of candidates expected, %d found", operands->count);
    if (!o.truth && !o.pool && operands->count != 2)
        msg_usage("two files of images, or one and --truth, expected, %d found", operands->count);
}

static void check(const struct operands *operands) {
    struct error e = {0};
    check_mode(operands);
    int from_stdin = path_is_dash(o.truth) + path_is_dash(o.control) + path_is_dash(o.among) + path_is_dash(o.model);
    for (int i = 0; i < operands->count; i++) from_stdin += path_is_dash(operands->value[i]);
    if (from_stdin > 1) msg_usage("standard input can be one of the inputs");
    if ((path_is_dash(o.output) || (!o.output && !o.json && !bare() && !path_is_dash(o.png))) + o.json + path_is_dash(o.png) > 1)
        msg_usage("standard output can take one of the score, --json and --png; -o FILE names another place");
    opt_keep_apart(&program, "output,png", "truth,control,among,model", operands);
    if (part_names_hold(o.baselines, "none") && strcmp(o.baselines, "none")) msg_usage("--baselines none stands alone");
    if ((wants_blob() && !out_check(o.output, true, &e)) || (o.png && !out_check(o.png, true, &e))) msg_fail(&e);
}

// ---- other candidates: NAME=FILE,...

enum { BESIDE_MAX = 32, BASELINES = 4 };
static const char *const baselines[BASELINES] = {"noise", "mean", "classes", "heldout"};

struct beside {
    int count;
    struct {
        char *name;
        struct images *images;
    } at[BESIDE_MAX];
    struct arena arena;
};

static bool is_name(const char *name) {
    for (int i = 0; i < BASELINES; i++)
        if (!strcmp(name, baselines[i])) return false;
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    return *name && strlen(name) <= 40 && strspn(name, allowed) == strlen(name);
}

static void parse_beside(struct beside *b, char *path[BESIDE_MAX]) {
    char *text = o.beside ? arena_text(&b->arena, o.beside) : NULL, *save = NULL;
    for (char *word = text ? strtok_r(text, ",", &save) : NULL; word; word = strtok_r(NULL, ",", &save)) {
        char *equal = strchr(word, '=');
        if (b->count == BESIDE_MAX) msg_usage("--beside: at most %d files", BESIDE_MAX);
        if (!equal || !equal[1]) msg_usage("--beside %s: NAME=FILE expected", word);
        if (path_is_dash(equal + 1)) msg_usage("--beside %s: a file expected", word);
        if (out_same_file(o.output, equal + 1) || out_same_file(o.png, equal + 1))
            msg_usage("--beside %s is also an output, and would be lost", word);
        *equal = 0;
        if (!is_name(word))
            msg_usage("--beside %s: a name of up to 40 letters, digits, - and _ expected, and no baseline's", word);
        for (int i = 0; i < b->count; i++)
            if (!strcmp(b->at[i].name, word)) msg_usage("--beside names %s twice", word);
        b->at[b->count].name = word;
        path[b->count++] = equal + 1;
    }
}

static bool open_beside(struct beside *b, const struct images *truth, struct error *e) {
    char *path[BESIDE_MAX];
    parse_beside(b, path);
    for (int i = 0; i < b->count; i++)
        if (!(b->at[i].images = images_open(path[i], e)) || !images_agree(truth, b->at[i].images, e)) return false;
    return true;
}

static void free_beside(struct beside *b) {
    for (int i = 0; i < b->count; i++) images_free(b->at[i].images);
    arena_free(&b->arena);
}

// ---- what is said

static double real(const json_t *record, const char *path) {
    double value;
    return record_get_real(record, path, &value) ? value : 0. / 0.;
}

static void say_digits(const json_t *record, const char *what, const char *path, int digits, const char *more) {
    char low[160], high[160], interval[80] = "";
    snprintf(low, sizeof low, "%s_interval.0", path);
    snprintf(high, sizeof high, "%s_interval.1", path);
    if (record_get(record, low))
        snprintf(interval, sizeof interval, " (%.*f to %.*f)", digits, real(record, low), digits, real(record, high));
    msg_say("%-24s %7.*f%s%s", what, digits, real(record, path), interval, more);
}

static void say_interval(const json_t *record, const char *what, const char *path, const char *more) {
    say_digits(record, what, path, 3, more);
}

static void say_scores(const json_t *record, const char *name, const char *path) {
    char what[80], key[160], more[80];
    snprintf(what, sizeof what, "%s AUC", name);
    snprintf(key, sizeof key, "%s.tpr_at_fpr_1e-2", path);
    snprintf(more, sizeof more, ", TPR at FPR 1 %% %.3f", real(record, key));
    snprintf(key, sizeof key, "%s.auc", path);
    say_interval(record, what, key, more);
}

static void say_matched(const json_t *record) {
    msg_say("%-24s %7.6g of the members; a block of control %.3g", "matched at .95",
            real(record, "metrics.ncc.matched_at_0p95.truth"), real(record, "metrics.ncc.matched_at_0p95.control"));
}

static void say_marks(const json_t *record) {
    if (record_get(record, "metrics.certified"))
        msg_say("%-24s %7.0f, %.0f right, %.0f of the members", "certified", real(record, "metrics.certified.count"),
                real(record, "metrics.certified.right"), real(record, "metrics.certified.members"));
}

static void say_gate(const json_t *record) {
    char more[64] = "";
    if (!record_get(record, "metrics.kkt_gate")) return;
    if (record_get(record, "metrics.kkt_gate.free_kinks"))
        snprintf(more, sizeof more, ", and derivatives free on kinks %.2g", real(record, "metrics.kkt_gate.free_kinks"));
    msg_say("%-24s %7.5f; with the best multipliers %.5f%s (an oracle's diagnostic)", "KKT residual at truth",
            real(record, "metrics.kkt_gate.given"), real(record, "metrics.kkt_gate.best"), more);
}

static void say_card(const json_t *record) {
    char more[80];
    say_scores(record, "NCC", "metrics.ncc");
    say_interval(record, "TPR at FPR 1 %", "metrics.ncc.tpr_at_fpr_1e-2", "");
    say_matched(record);
    say_scores(record, "first n candidates", "metrics.pick");
    snprintf(more, sizeof more, ", chance %.3f", real(record, "metrics.identification.chance"));
    say_interval(record, "identification", "metrics.identification.rate", more);
    snprintf(more, sizeof more, ", control %.3f", real(record, "metrics.control.ssim.mean"));
    say_interval(record, "SSIM of matches", "metrics.ssim.mean", more);
    say_marks(record);
}

static void say_twins(const struct control *s, json_t *record) {
    enum { NAMED = 5 };
    record_int(record, "metrics.twins.count", s->twins);
    if (!s->twins) return;
    char text[400] = "";
    for (int64_t i = 0; i < s->twins && i < NAMED; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%lld and %lld (%.4f)", i ? ", " : "",
                 (long long)s->twin_index[2 * i], (long long)s->twin_index[2 * i + 1], (double)s->twin_ncc[i]);
    record_note(record, "%s%lld near-duplicates between members and control (correlation over .98), by position: %s%s",
                s->more_twins ? "at least " : "", (long long)s->twins, text, s->twins > NAMED ? ", ..." : "");
    msg_say("near-duplicates of members in the control, by position: %s%s", text, s->twins > NAMED ? ", ..." : "");
}

// ---- writing

struct result {
    struct blob *b;
    json_t *record;
};

static void begin(struct result *r, json_t *settings, const struct blob *const *input, int inputs) {
    r->b = blob_new("score");
    r->record = record_new();
    blob_set_lineage(r->b, "ssim", settings, input, inputs);
    json_object_update(json_object_get(r->record, "config"), settings);
    json_decref(settings);
}

static bool write_picture(const struct blob *b, struct error *e) {
    struct picture *p = wall_of(b);
    if (!p) return error_set(e, EXIT_INPUT, "--png: images that are neither grey nor RGB, or beyond 256 pixels, cannot be shown");
    bool fine = png_picture_write(p, o.png, e);
    picture_free(p);
    return fine;
}

static bool write_all(struct result *r, struct error *e) {
    blob_set_record(r->b, r->record);
    if (bare() && !o.png) msg_say("only this summary, since standard output is a terminal; -o FILE keeps the score");
    if (wants_blob() && !blob_write(r->b, o.output, e)) return false;
    if (o.png && !write_picture(r->b, e)) return false;
    return !o.json || record_print(r->record, e);
}

// ---- two sets, pair by pair

static bool compare(char **path, struct pool *pool, struct result *r, struct error *e) {
    struct images *a = images_open(path[0], e), *b = a ? images_open(path[1], e) : NULL;
    struct pairs pairs = {0};
    bool fine = b && pairs_of(a, b, window_of(), pool, &pairs, e);
    if (fine) {
        json_t *settings = json_pack("{s:s}", "window", o.gaussian ? "gaussian" : "uniform");
        json_object_set_new(settings, "seed", record_seed(o.seed));
        begin(r, settings, (const struct blob *[]){a->blob, b->blob}, 2);
        pairs_save(&pairs, o.seed, r->b, r->record);
        say_interval(r->record, "SSIM", "metrics.ssim.mean", "");
        say_interval(r->record, "PSNR, dB", "metrics.psnr.mean", "");
        say_digits(r->record, "MSE", "metrics.mse.mean", 6, "");
        say_interval(r->record, "NCC", "metrics.ncc.mean", "");
        fine = write_all(r, e);
    }
    pairs_free(&pairs);
    images_free(a);
    images_free(b);
    return fine;
}

// ---- the scorecard

struct card {
    struct images *candidates, *truth, *control, *among;
    struct model *model;
    struct pool *pool;
    struct beside beside;
    struct control *s;
    struct scorecard_match *match[1 + BASELINES + BESIDE_MAX];  // they own the numbers of the tensors
    int matches;
    struct marks marks;
    struct scorecard_wall wall;
};

static json_t *settings_of(const struct card *c) {
    json_t *settings = json_object(), *list = json_array();
    json_object_set_new(settings, "window", json_string(o.gaussian ? "gaussian" : "uniform"));
    json_object_set_new(settings, "blocks", json_integer((json_int_t)o.blocks));
    json_object_set_new(settings, "exclude", json_boolean(o.exclude));
    json_object_set_new(settings, "seed", record_seed(o.seed));
    for (int i = 0; i < BASELINES; i++)
        if (part_names_hold(o.baselines, baselines[i])) json_array_append_new(list, json_string(baselines[i]));
    json_object_set_new(settings, "baselines", list);
    json_object_set_new(settings, "beside", list = json_array());
    for (int i = 0; i < c->beside.count; i++) json_array_append_new(list, json_string(c->beside.at[i].name));
    return settings;
}

static void begin_card(const struct card *c, struct result *r) {
    const struct blob *input[5 + BESIDE_MAX] = {c->candidates->blob, c->truth->blob, c->control->blob};
    int inputs = 3;
    if (c->among) input[inputs++] = c->among->blob;
    if (c->model) input[inputs++] = c->model->blob;
    for (int i = 0; i < c->beside.count; i++) input[inputs++] = c->beside.at[i].images->blob;
    begin(r, settings_of(c), input, inputs);
    record_text(r->record, "config.candidates", c->candidates->blob->digest);
    record_text(r->record, "config.truth", c->truth->blob->digest);
    record_text(r->record, "config.control", c->control->blob->digest);
    if (c->among) record_text(r->record, "config.among", c->among->blob->digest);
    if (c->model) record_text(r->record, "config.model", c->model->blob->digest);
    if (c->truth->source) blob_set_meta(r->b, "assay.source", c->truth->source);
}

static void note_odd(const struct card *c, json_t *record) {
    int64_t all = o.blocks * c->s->n;
    record_int(record, "metrics.count.candidates", c->candidates->count);
    record_int(record, "metrics.count.truth", c->s->n);
    record_int(record, "metrics.count.control", all);
    record_int(record, "metrics.count.control_distinct", c->s->used);
    record_int(record, "metrics.count.excluded", c->s->excluded);
    record_int(record, "metrics.count.clamped", c->candidates->outside);
    if (c->s->excluded) msg_say("%lld control images are training images and were left out", (long long)c->s->excluded);
    if (c->candidates->outside)
        msg_say("%lld values of candidates lay outside [0, 1] and were clamped", (long long)c->candidates->outside);
    if (c->s->used < all) {
        record_note(record,
                    "blocks of control share images: %lld distinct ones for %lld places, so the control is less certain than "
                    "it seems", (long long)c->s->used, (long long)all);
        msg_warn("blocks of control share images: %lld for %lld places; more held-out images, or fewer --blocks, would part them",
                 (long long)c->s->used, (long long)all);
    }
    if (o.blocks < 20) record_note(record, "%d blocks of control; 20 or more are meant to be there", (int)o.blocks);
}

// The candidates, and what the attacker could have picked: as many of his first ones as there are members.
static bool score_candidates(struct card *c, struct result *r, struct error *e) {
    enum similarity_window window = window_of();
    struct scorecard_match *m = c->match[c->matches++] = scorecard_match(c->s, c->candidates, 0, &window, e);
    struct scorecard_match *pick = m ? scorecard_match(c->s, c->candidates, c->s->n, NULL, e) : NULL;
    if (!pick) return false;
    int64_t n = c->s->n, blocks = o.blocks;
    struct scorecard_run run = scorecard_run(c->s, m), picked = scorecard_run(c->s, pick);
    struct scorecard_found found = scorecard_identify(c->s, m);
    scorecard_save_tensors(c->s, m, r->b);
    scorecard_save(&run, 1, o.seed, r->record, "metrics.ncc");
    scorecard_save(&picked, 1, o.seed, r->record, "metrics.pick");
    record_rate(r->record, "metrics.identification.rate", (long)found.count, (long)found.of);
    record_real(r->record, "metrics.identification.chance", found.chance);
    pairs_summary(m->ssim, n, o.seed, r->record, "metrics.ssim");
    pairs_summary(m->psnr, n, o.seed, r->record, "metrics.psnr");
    pairs_summary(m->mse, n, o.seed, r->record, "metrics.mse");
    pairs_summary(m->ssim + n, blocks * n, o.seed, r->record, "metrics.control.ssim");
    pairs_summary(m->psnr + n, blocks * n, o.seed, r->record, "metrics.control.psnr");
    pairs_summary(m->mse + n, blocks * n, o.seed, r->record, "metrics.control.mse");
    scorecard_match_free(pick);
    return true;
}

static bool score_marks(struct card *c, struct result *r, struct error *e) {
    if (!c->candidates->certified) return true;
    if (!marks_judge(c->s, c->match[0], c->candidates, c->among, &c->marks, e)) return false;
    blob_add(r->b, "certified", U8, 1, &c->candidates->count, c->candidates->certified);
    blob_add(r->b, "certified.right", U8, 1, &c->candidates->count, c->marks.verdict);
    marks_save(c->marks.count, c->marks.right, c->marks.members, r->record);
    return true;
}

static bool score_model(const struct card *c, struct result *r, struct error *e) {
    struct kkt_gate gate;
    if (!c->model) return true;
    if (!kkt_gate_measure(c->model, c->truth, &gate, c->pool, e)) return false;
    kkt_gate_save(&gate, r->record);
    say_gate(r->record);
    return true;
}

static bool score_beside(struct card *c, const struct images *images, const char *name, struct result *r, struct error *e) {
    char path[96];
    struct scorecard_match *m = scorecard_match(c->s, images, 0, NULL, e);
    if (!m) return false;
    c->match[c->matches++] = m;
    struct scorecard_run run = scorecard_run(c->s, m);
    scorecard_save_baseline(c->s, m, name, r->b);
    snprintf(path, sizeof path, "metrics.baseline.%s", name);
    scorecard_save(&run, 1, o.seed, r->record, path);
    say_scores(r->record, name, path);
    return true;
}

static bool score_baselines(struct card *c, struct result *r, struct error *e) {
    for (int i = 0; i < BASELINES; i++) {
        if (!part_names_hold(o.baselines, baselines[i])) continue;
        struct images *made = scorecard_baseline(c->s, baselines[i], c->candidates->count);
        if (!made) record_note(r->record, "no baseline of held-out images: all control images are in blocks");
        bool fine = !made || score_beside(c, made, baselines[i], r, e);
        images_free(made);
        if (!fine) return false;
    }
    for (int i = 0; i < c->beside.count; i++)
        if (!score_beside(c, c->beside.at[i].images, c->beside.at[i].name, r, e)) return false;
    return true;
}

static bool open_card(struct card *c, const char *path, struct error *e) {
    struct control_options options = {(int)o.blocks, o.seed, o.exclude};
    if (!(c->candidates = images_open(path, e)) || !(c->truth = images_open(o.truth, e)) ||
        !(c->control = images_open(o.control, e)))
        return false;
    if (o.among && (!(c->among = images_open(o.among, e)) || !images_agree(c->truth, c->among, e))) return false;
    if (!open_beside(&c->beside, c->truth, e)) return false;
    if (o.model && (!(c->model = model_open(o.model, e)) || !kkt_gate_fits(c->model, c->truth, e))) return false;
    c->s = control_open(c->truth, c->control, &options, c->pool, e);
    return c->s;
}

static bool score(const char *path, struct pool *pool, struct result *r, struct error *e) {
    struct card c = {.pool = pool};
    bool fine = open_card(&c, path, e);
    if (fine) {
        begin_card(&c, r);
        note_odd(&c, r->record);
        say_twins(c.s, r->record);
        fine = score_candidates(&c, r, e) && score_marks(&c, r, e);
    }
    if (fine) {
        say_card(r->record);
        c.wall = scorecard_wall(c.s, c.match[0], c.candidates, c.marks.verdict, WALL_MAX);
        scorecard_save_wall(c.s, &c.wall, r->b);
        fine = score_baselines(&c, r, e) && score_model(&c, r, e) && write_all(r, e);
    }
    for (int i = 0; i < c.matches; i++) scorecard_match_free(c.match[i]);
    scorecard_wall_free(&c.wall);
    free(c.marks.verdict);
    control_free(c.s);
    free_beside(&c.beside);
    images_free(c.candidates);
    images_free(c.truth);
    images_free(c.control);
    images_free(c.among);
    model_free(c.model);
    return fine;
}

// ---- many runs

struct runs {
    int count;
    struct blob **blob;
    struct scorecard_run *run;
};

// A run counts once.
static bool check_run(const struct runs *r, const struct blob *b, struct error *e) {
    for (int i = 0; i < r->count; i++)
        if (!strcmp(r->blob[i]->digest, b->digest)) return blob_refuse(b, e, "the same score as %s", r->blob[i]->source);
    return true;
}

static bool read_runs(const char *path, struct runs *r, struct error *e) {
    struct blob_stream *stream = blob_stream_open(path, e);
    struct blob *b;
    bool fine = stream;
    while (fine && (b = blob_next(stream, e))) {
        fine = blob_expect_kind(b, "score", e) && check_run(r, b, e);
        r->blob = memory_grow(r->blob, (size_t)(r->count + 1) * sizeof *r->blob);
        r->run = memory_grow(r->run, (size_t)(r->count + 1) * sizeof *r->run);
        r->blob[r->count++] = b;
        fine = fine && scorecard_run_of(b, NULL, &r->run[r->count - 1], e);
    }
    blob_stream_close(stream);
    return fine && !e->status;
}

// Intervals take the training images of different runs for different ones.
static void note_same_members(const struct runs *r, json_t *record) {
    int same = 0;
    for (int i = 0; i < r->count; i++)
        for (int k = 0; k < i; k++) {
            const struct tensor *a = blob_find(r->blob[i], "index"), *b = blob_find(r->blob[k], "index");
            const char *from = blob_meta(r->blob[i], "assay.source"), *other = blob_meta(r->blob[k], "assay.source");
            if (!a || !b || !from || !other || strcmp(from, other) || tensor_bytes(a) != tensor_bytes(b)) continue;
            if (memcmp(a->data, b->data, tensor_bytes(a))) continue;
            same++;
            break;
        }
    if (!same) return;
    record_note(record,
                "%d of %d runs have the training images of another one: the intervals take them for different ones and are too "
                "narrow", same, r->count);
    msg_warn("%d of %d runs have the training images of another one: intervals are too narrow", same, r->count);
}

// The baselines that every run has.
static bool pool_baselines(const struct runs *r, json_t *record, struct error *e) {
    size_t names = 0;
    const char **name = record_keys(record_get(r->blob[0]->record, "metrics.baseline"), &names);
    struct scorecard_run *run = memory_take((size_t)r->count * sizeof *run);
    for (size_t k = 0; k < names && !e->status; k++) {
        char path[300];
        int have = 0;
        while (have < r->count && strlen(name[k]) <= 40 && scorecard_run_of(r->blob[have], name[k], &run[have], e)) have++;
        if (have < r->count) continue;
        snprintf(path, sizeof path, "metrics.baseline.%s", name[k]);
        scorecard_save(run, r->count, o.seed, record, path);
        say_scores(record, name[k], path);
    }
    free(run);
    free(name);
    return !e->status;
}

static bool pool_scores(const struct operands *operands, struct result *r, struct error *e) {
    struct runs runs = {0};
    bool fine = operands->count || read_runs("-", &runs, e);
    for (int i = 0; i < operands->count && fine; i++) fine = read_runs(operands->value[i], &runs, e);
    if (fine && !runs.count) fine = error_set(e, EXIT_INPUT, "no scores among the inputs");
    if (fine) {
        json_t *settings = json_object();
        json_object_set_new(settings, "seed", record_seed(o.seed));
        begin(r, settings, (const struct blob *const *)runs.blob, runs.count);
        record_int(r->record, "metrics.count.runs", runs.count);
        note_same_members(&runs, r->record);
        scorecard_save(runs.run, runs.count, o.seed, r->record, "metrics.ncc");
        say_scores(r->record, "NCC", "metrics.ncc");
        say_interval(r->record, "TPR at FPR 1 %", "metrics.ncc.tpr_at_fpr_1e-2", "");
        say_matched(r->record);
        marks_pool((const struct blob *const *)runs.blob, runs.count, r->record);
        say_marks(r->record);
        kkt_gate_pool((const struct blob *const *)runs.blob, runs.count, r->record);
        say_gate(r->record);
        fine = pool_baselines(&runs, r->record, e) && write_all(r, e);
    }
    for (int i = 0; i < runs.count; i++) blob_free(runs.blob[i]);
    free(runs.blob);
    free(runs.run);
    return fine;
}

int main(int argc, char **argv) {
    struct error e = {0};
    struct result r = {0};
    struct operands operands = opt_parse(&program, argc, argv);
    struct gate gate = gate_open(o.fail_if);
    check(&operands);
    struct pool *pool = pool_new((int)o.threads);
    bool fine = o.pool    ? pool_scores(&operands, &r, &e)
                : o.truth ? score(operands.value[0], pool, &r, &e)
                          : compare(operands.value, pool, &r, &e);
    if (!fine) msg_fail(&e);
    int status = gate_close(&gate, r.record);
    json_decref(r.record);
    blob_free(r.b);
    pool_free(pool);
    return status;
}

// tune: looks for the settings of a command with which a number in its record is best.
#include <string.h>
#include <unistd.h>

#include "../common/audit/search.h"
#include "../common/base/msg.h"
#include "../common/base/opt.h"
#include "../common/base/out.h"
#include "../common/io/checkpoint.h"
#include "../common/io/gate.h"

static struct {
    const char *output, *metric, *checkpoint, *resume, *fail_if;
    bool maximise, json;
    int64_t trials, starts, parallel;
    double timeout, xi;
    uint64_t seed;
} o = {.trials = 40, .parallel = 1, .xi = .01};

static struct opt opts[] = {
    {"metric", 'm', OPT_TEXT, &o.metric, "PATH", "the number to look at in the JSON that the command prints", NULL, 0, 0, false},
    {"maximise", 'M', OPT_FLAG, &o.maximise, NULL, "look for its greatest value, not its least", NULL, 0, 0, false},
    {"output", 'o', OPT_FILE, &o.output, "TRIALS", "where the trials go; standard output without it", NULL, 0, 0, false},
    {"trials", 'n', OPT_INT, &o.trials, "N", "how often the command runs", NULL, 1, 2000, false},
    {"starts", 0, OPT_INT, &o.starts, "N", "trials spread evenly before the model is asked; 0: a fifth of all", NULL, 0, 2000, false},
    {"parallel", 'p', OPT_INT, &o.parallel, "N", "trials that run at a time", NULL, 1, 256, false},
    {"timeout", 't', OPT_REAL, &o.timeout, "S", "seconds that a trial may take; 0: any", NULL, 0, 1e7, false},
    {"xi", 0, OPT_REAL, &o.xi, "R", "smallest improvement worth a trial, over the spread of the better half", NULL, 0, 10, false},
    {"checkpoint", 0, OPT_FILE, &o.checkpoint, "FILE", "save the trials here after each one (TRIALS.checkpoint while it runs)", NULL, 0, 0, false},
    {"resume", 0, OPT_FILE, &o.resume, "FILE", "go on from a checkpoint, or from trials, with more of them", NULL, 0, 0, false},
    {"fail-if", 0, OPT_TEXT, &o.fail_if, "EXPR", "exit with 1 where this holds of the record, such as best.value<.8", NULL, 0, 0, false},
    {"seed", 's', OPT_SEED, &o.seed, "N", "seed of every random draw", NULL, 0, 0, false},
    {"json", 0, OPT_FLAG, &o.json, NULL, "print the record; write trials only where -o says", NULL, 0, 0, false},
};

static struct program program = {
    .name = "tune", .summary = "search for the settings with which a command does best", .operands = "COMMAND NAME=RANGE...", .operands_min = 2,
    .operands_max = -1, .opts = opts, .count = sizeof opts / sizeof *opts,
    .examples = "tune -m value -n 12 -o trials.st 'echo \"{\\\"value\\\": $((({a} - 3) * ({a} - 3) + {b}))}\"' a=0..9:int b=0,5\n"
                "tune -m clean.accuracy -M -n 4 -p 2 -o lr.st 'trainclf -q -i train.st -a mlp -e 1 --lr {lr} | attack -q - -i test.st -m clean --json' lr=1e-4..1e-1:log\n"
                "report lr.st -o report",
    .see_also = "attack(1), report(1), trainclf(1), blob(5)",
};

static struct space space;

// ---- from words to settings

static bool to_stdout(void) { return !o.output ? !o.json : !strcmp(o.output, "-"); }

// Where the log goes while the search runs: a file that the user named, or one beside the output where that is a file.
static const char *log_path(void) {
    static char beside[CHECKPOINT_ROOM];
    return o.checkpoint ? o.checkpoint : checkpoint_beside(o.output, beside);
}

static void check(const struct operands *operands) {
    struct error e = {0};
    if (!o.metric) msg_usage("-m PATH is missing: the number to look at in what the command prints, such as metrics.clean.accuracy");
    for (int i = 1; i < operands->count; i++)
        if (!space_add(&space, operands->value[i], &e)) msg_usage("%s", e.text);
    if (!space_fits(&space, operands->value[0], &e)) msg_usage("%s", e.text);
    if (to_stdout() && o.json) msg_usage("standard output can take one of the trials and --json; -o FILE names another place");
    if (o.starts > o.trials) msg_usage("--starts %lld of --trials %lld", (long long)o.starts, (long long)o.trials);
    const char *log = log_path();
    if (((to_stdout() || o.output) && !out_check(o.output, true, &e)) || (log && !out_check(log, true, &e))) msg_fail(&e);
    if (log && !o.checkpoint && !o.resume && !access(log, F_OK))
        msg_usage("%s is the log of a search that did not end: --resume goes on with it; or name another output, or remove it",
                  log);
}

// ---- the work

static void say_best(const json_t *record) {
    double value, expected, sd;
    if (!record_get_real(record, "metrics.best.value", &value)) return;
    bool model = record_get_real(record, "metrics.best.expected", &expected) && record_get_real(record, "metrics.best.expected_sd", &sd);
    msg_say("best %.6g%s: %s", value, o.maximise ? "" : " (least)", json_string_value(record_get(record, "metrics.best.command")));
    if (model) msg_say("the model expects %.6g there, with a standard deviation of %.2g", expected, sd);
}

static _Noreturn void end_interrupted(const struct search *s, const char *path) {
    if (path) msg_say("interrupted after %lld trials; --resume %s goes on", (long long)(s->done + s->failed), path);
    else msg_warn("interrupted after %lld trials; nothing is kept: -o FILE or --checkpoint FILE would", (long long)(s->done + s->failed));
    if (s->unread) out_pipe_closed();
    out_interrupted();
}

static bool write_all(struct search *s, json_t **record, struct error *e) {
    struct blob *b = search_save(s, true);
    *record = json_incref(b->record);
    say_best(*record);
    bool fine = ((!to_stdout() && !o.output) || blob_write(b, o.output, e)) && (!o.json || record_print(*record, e));
    blob_free(b);
    return fine;
}

// The record, for the gate, is the caller's.
static bool run(const char *command, json_t **record, struct error *e) {
    const char *path = log_path();
    struct search_options options = {.space = &space, .command = command, .metric = o.metric, .maximise = o.maximise, .trials = o.trials,
                                     .starts = o.starts, .parallel = o.parallel, .timeout = o.timeout, .xi = o.xi, .seed = o.seed,
                                     .checkpoint = path, .watch = to_stdout() || o.json};
    struct search *s = search_new(&options);
    bool fine = !o.resume || search_resume(s, o.resume, e);
    out_graceful();
    fine = fine && search_run(s, e);
    if (fine && s->interrupted) end_interrupted(s, path);
    fine = fine && write_all(s, record, e);
    // What was kept for the case of an interruption only.
    if (fine && path && !o.checkpoint) unlink(path);
    if (fine && out_stopping()) {
        msg_say("interrupted while the trials were written; they are whole");
        out_interrupted();
    }
    search_free(s);
    return fine;
}

int main(int argc, char **argv) {
    struct error e = {0};
    json_t *record = NULL;
    struct operands operands = opt_parse(&program, argc, argv);
    struct gate gate = gate_open(o.fail_if);
    check(&operands);
    if (!run(operands.value[0], &record, &e)) msg_fail(&e);
    int status = gate_close(&gate, record);
    json_decref(record);
    space_free(&space);
    return status;
}

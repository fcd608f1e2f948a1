// rows.c: plain tables.
#include "rows.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/opt.h"
#include "../io/record.h"
#include "summary.h"

// ---- CSV. No field needs quotes: ids, methods and columns hold letters, digits, - and _ only.

struct row {
    const char *entry, *set, *method;
    double eps;
    long class, epoch;  // -1, 0: none
    const char *metric;
};

static void put_number(FILE *f, double value) {
    char text[32];
    fputc(',', f);
    if (!isfinite(value)) return;
    format_real(value, false, text);
    fputs(text, f);
}

static void put_row(FILE *f, struct row r, struct summary_rate v) {
    if (!isfinite(v.value)) return;
    fprintf(f, "%s,%s,%s", r.entry, r.set, r.method);
    put_number(f, r.eps);
    fputc(',', f);
    if (r.class >= 0) fprintf(f, "%ld", r.class);
    fputc(',', f);
    if (r.epoch > 0) fprintf(f, "%ld", r.epoch);
    fprintf(f, ",%s", r.metric);
    put_number(f, v.value);
    put_number(f, v.low);
    put_number(f, v.high);
    fputc('\n', f);
}

static struct summary_rate plain(double value) {
    return (struct summary_rate){value, NAN, NAN};
}

static void put_entry(FILE *f, const char *id, const json_t *metrics) {
    static const char *const sets[] = {"train", "test", "clean"};
    struct row r = {id, "", "", NAN, -1, 0, "accuracy"};
    const char *method, *column;
    json_t *of, *row, *list, *value;
    size_t i, count;
    for (int s = 0; s < 3; s++) {
        const json_t *at = json_object_get(metrics, sets[s]);
        r.set = sets[s];
        r.metric = "accuracy";
        put_row(f, r, summary_rate(at, "accuracy"));
        r.metric = "loss";
        put_row(f, r, plain(summary_real(at, "loss")));
    }
    r.metric = "accuracy";
    json_object_foreach (json_object_get(metrics, "robust"), method, of) {
        const char **key = summary_eps_keys(of, &count);
        for (i = 0; i < count; i++)
            put_row(f, (struct row){id, "robust", method, summary_eps(key[i]), -1, 0, "accuracy"},
                    summary_rate(json_object_get(of, key[i]), "accuracy"));
        free(key);
    }
    json_array_foreach (json_object_get(metrics, "per_class"), i, row)
        put_row(f, (struct row){id, "class", "", NAN, (long)i, 0, "accuracy"}, summary_rate(row, "accuracy"));
    json_object_foreach (json_object_get(metrics, "history"), column, list)
        json_array_foreach (list, i, value)
            if (json_is_number(value))
                put_row(f, (struct row){id, "history", "", NAN, -1, (long)i + 1, column},
                        plain(json_number_value(value)));
}

static void put_reconstruction(FILE *f, const char *id, const char *method, const json_t *at) {
    static const char *const rates[] = {"auc", "tpr_at_fpr_1e-2", "matched", "matched_control", "identification", "ssim", "ssim_control"};
    struct row r = {id, "reconstruction", method, NAN, -1, 0, ""};
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        r.metric = rates[i];
        put_row(f, r, summary_rate(at, rates[i]));
    }
}

static void put_score(FILE *f, const json_t *score) {
    size_t i;
    json_t *baseline;
    put_reconstruction(f, summary_text(score, "id"), "", score);
    json_array_foreach (json_object_get(score, "baselines"), i, baseline)
        put_reconstruction(f, summary_text(score, "id"), summary_text(baseline, "name"), baseline);
}

// The number of a singular value, of a corner of a curve, of a bin, of a trial: it stands where others have the epoch.
static void put_list(FILE *f, struct row r, const char *metric, const json_t *list) {
    size_t i;
    json_t *value;
    r.metric = metric;
    json_array_foreach (list, i, value) {
        r.epoch = (long)i + 1;
        if (json_is_number(value)) put_row(f, r, plain(json_number_value(value)));
    }
}

static void put_membership(FILE *f, const json_t *result) {
    static const char *const rates[] = {"auc", "tpr_at_fpr_1e-2", "tpr_at_fpr_1e-3"};
    static const char *const lists[][3] = {{"roc_fpr", "roc", "fpr"}, {"roc_tpr", "roc", "tpr"}, {"edge", "scores", "edge"},
                                           {"members", "scores", "members"}, {"others", "scores", "others"}};
    struct row r = {summary_text(result, "id"), "membership", "", NAN, -1, 0, ""};
    const char *method;
    json_t *at;
    for (int i = 0; i < 2; i++) {
        r.metric = i ? "gap" : "rank";
        put_row(f, r, plain(summary_real(result, r.metric)));
    }
    put_list(f, r, "singular", json_object_get(result, "singular"));
    json_object_foreach (json_object_get(result, "methods"), method, at) {
        r.method = method;
        for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
            r.metric = rates[i];
            put_row(f, r, summary_rate(at, rates[i]));
        }
        for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
            put_list(f, r, lists[i][0], json_object_get(json_object_get(at, lists[i][1]), lists[i][2]));
    }
}

static void put_search(FILE *f, const json_t *search) {
    struct row r = {summary_text(search, "id"), "search", "", NAN, -1, 0, ""};
    size_t k;
    json_t *range;
    put_list(f, r, "value", json_object_get(search, "value"));
    put_list(f, r, "so_far", json_object_get(search, "so_far"));
    json_array_foreach(json_object_get(search, "ranges"), k, range)
        put_list(f, r, summary_text(range, "name"), json_object_get(range, "x"));
}

char *rows_csv(const json_t *summary) {
    char *text = NULL;
    size_t size, i;
    json_t *entry;
    FILE *f = open_memstream(&text, &size);
    BUG_IF(!f, "no memory stream");
    fputs("entry,set,method,eps,class,epoch,metric,value,low,high\n", f);
    json_array_foreach (json_object_get(summary, "entries"), i, entry)
        put_entry(f, summary_text(entry, "id"), summary_metrics(summary, entry));
    json_array_foreach (json_object_get(summary, "reconstructions"), i, entry) put_score(f, entry);
    json_array_foreach (json_object_get(summary, "memberships"), i, entry) put_membership(f, entry);
    json_array_foreach (json_object_get(summary, "searches"), i, entry) put_search(f, entry);
    BUG_IF(fclose(f) != 0, "no memory for rows");
    return text;
}

// ---- terminal

enum { EPS_MAX = 5 };  // columns

static char *rate_text(struct arena *a, struct summary_rate r) {
    if (!isfinite(r.value)) return "-";
    if (!isfinite(r.low)) return arena_print(a, "%.1f %%", 100 * r.value);
    return arena_print(a, "%.1f %% (%.1f to %.1f)", 100 * r.value, 100 * r.low, 100 * r.high);
}

static bool is_noise(const json_t *at, double chance) {
    (void)chance;
    return json_is_false(json_object_get(at, "differs_from_noise"));
}

static bool is_below_chance(const json_t *at, double chance) {
    return summary_rate(at, "accuracy").high < chance;
}

static bool is_chance(const json_t *at, double chance) {
    (void)chance;
    return json_is_false(json_object_get(at, "differs_from_chance"));
}

static bool is_early(const json_t *at, double chance) {
    (void)chance;
    return summary_true(at, "stopped_early");
}

// What the model's numbers do not say by themselves, with the epsilons it holds of.
static const char *note_of(struct arena *a, const json_t *verdict, const json_t *strongest) {
    static const struct {
        const char *text;
        bool (*holds)(const json_t *at, double chance);
    } notes[] = {{"no more than noise", is_noise},
                 {"worse than chance", is_below_chance},
                 {"no better than chance", is_chance},
                 {"the attack stopped too early", is_early}};
    const json_t *utility = json_object_get(verdict, "utility"), *robustness = json_object_get(verdict, "robustness");
    if (!summary_true(utility, "measured")) return "accuracy not measured";
    if (json_is_false(json_object_get(utility, "differs_from_chance"))) return "no better than chance";
    if (!summary_true(robustness, "measured")) return "robustness not measured";
    const char *all = json_object_get(robustness, "noise") ? "" : "no noise beside the attack";
    double chance = summary_real(robustness, "chance");
    size_t count;
    const char **key = summary_eps_keys(strongest, &count);
    for (size_t i = 0; i < sizeof notes / sizeof *notes; i++) {
        const char *where = "";
        for (size_t k = 0; k < count; k++)
            if (notes[i].holds(json_object_get(strongest, key[k]), chance))
                where = arena_print(a, "%s%s%g", where, *where ? ", " : "", summary_eps(key[k]));
        if (*where) all = arena_print(a, "%s%s%s at eps %s", all, *all ? "; " : "", notes[i].text, where);
    }
    free(key);
    return all;
}

// The epsilons of all entries, the smallest first.
static json_t *all_eps(const json_t *summary) {
    json_t *all = json_object(), *entry;
    size_t i;
    json_array_foreach (json_object_get(summary, "entries"), i, entry)
        json_object_update_missing(all, json_object_get(summary_metrics(summary, entry), "strongest"));
    return all;
}

static void put_cells(FILE *f, const char *const *cell, size_t lines, size_t columns) {
    for (size_t l = 0; l < lines; l++) {
        size_t blank = 0;  // held back, so that no line ends in blanks
        for (size_t c = 0; c < columns; c++) {
            const char *what = cell[l * columns + c];
            size_t width = 0, length = strlen(what);
            for (size_t k = 0; k < lines; k++)
                width = strlen(cell[k * columns + c]) > width ? strlen(cell[k * columns + c]) : width;
            if (length) fprintf(f, "%*s%s", (int)blank, "", what);
            blank = (length ? 0 : blank) + width - length + 2;
        }
        fputc('\n', f);
    }
}

static char *score_text(struct arena *a, struct summary_rate r) {
    if (!isfinite(r.value)) return "-";
    return isfinite(r.low) ? arena_print(a, "%.3f (%.3f to %.3f)", r.value, r.low, r.high) : arena_print(a, "%.3f", r.value);
}

static void put_scores(FILE *f, const json_t *scores, struct arena *a) {
    static const char *const head[] = {"reconstruction", "AUC", "at 1 % false positives", "correlation from .95", "note"};
    enum { COLUMNS = sizeof head / sizeof *head };
    size_t lines = json_array_size(scores) + 1, i;
    const char **cell = arena_take(a, lines * COLUMNS * sizeof *cell);
    json_t *score;
    memcpy(cell, head, sizeof head);
    json_array_foreach (scores, i, score) {
        const char **row = cell + (i + 1) * COLUMNS;
        struct summary_rate auc = summary_rate(score, "auc");
        row[0] = summary_text(score, "id");
        row[1] = score_text(a, auc);
        row[2] = score_text(a, summary_rate(score, "tpr_at_fpr_1e-2"));
        row[3] = arena_print(a, "%.4g, control %.3g", summary_real(score, "matched"), summary_real(score, "matched_control"));
        row[4] = auc.low <= .5 && auc.high >= .5 ? "no better than chance" : "";
    }
    put_cells(f, cell, lines, COLUMNS);
}

static void put_memberships(FILE *f, const json_t *results, struct arena *a) {
    static const char *const head[] = {"membership", "by", "AUC", "at 1 % false positives", "at .1 %", "rank", "gap", "note"};
    enum { COLUMNS = sizeof head / sizeof *head };
    size_t lines = 1, i;
    json_t *result, *at;
    const char *method;
    json_array_foreach (results, i, result) lines += json_object_size(json_object_get(result, "methods"));
    const char **cell = arena_take(a, lines * COLUMNS * sizeof *cell), **row = cell;
    memcpy(cell, head, sizeof head);
    json_array_foreach (results, i, result)
        json_object_foreach (json_object_get(result, "methods"), method, at) {
            struct summary_rate auc = summary_rate(at, "auc");
            double rank = summary_real(result, "rank"), gap = summary_real(result, "gap");
            bool span = !strcmp(method, "span");
            row += COLUMNS;
            row[0] = summary_text(result, "id");
            row[1] = method;
            row[2] = score_text(a, auc);
            row[3] = score_text(a, summary_rate(at, "tpr_at_fpr_1e-2"));
            row[4] = score_text(a, summary_rate(at, "tpr_at_fpr_1e-3"));
            row[5] = span && isfinite(rank) ? arena_print(a, "%.0f", rank) : "";
            row[6] = span && isfinite(gap) ? arena_print(a, "%.3g", gap) : "";
            row[7] = isfinite(auc.value) ? auc.low <= .5 && auc.high >= .5 ? "no better than chance" : ""
                                         : summary_text(at, "refused");
        }
    put_cells(f, cell, lines, COLUMNS);
}

// A setting as a word or a number. A file may come from anywhere, and a terminal obeys some letters.
static char *word_text(struct arena *a, const json_t *value) {
    char *dump = json_is_string(value) ? NULL : record_dump(value);
    char *text = arena_print(a, "%.40s", dump ? dump : json_string_value(value));
    for (char *c = text; *c; c++)
        if (*c < 32 || *c > 126) *c = '?';
    free(dump);
    return text;
}

static void put_searches(FILE *f, const json_t *searches, struct arena *a) {
    static const char *const head[] = {"search", "best", "at", "trials"};
    enum { COLUMNS = sizeof head / sizeof *head };
    size_t lines = json_array_size(searches) + 1, i, k;
    const char **cell = arena_take(a, lines * COLUMNS * sizeof *cell);
    json_t *search, *range;
    memcpy(cell, head, sizeof head);
    json_array_foreach (searches, i, search) {
        const char **row = cell + (i + 1) * COLUMNS, *at = "";
        double best = summary_real(search, "best.value"), trials = summary_real(search, "trials");
        json_array_foreach (json_object_get(search, "ranges"), k, range) {
            const char *name = summary_text(range, "name");
            const json_t *value = json_object_get(record_get(search, "best.at"), name);
            if (value) at = arena_print(a, "%s%s%s=%s", at, *at ? ", " : "", name, word_text(a, value));
        }
        row[0] = summary_text(search, "id");
        row[1] = isfinite(best) ? arena_print(a, "%.5g", best) : "-";
        row[2] = *at ? at : "-";
        row[3] = isfinite(trials) ? arena_print(a, "%.0f", trials) : "";
    }
    put_cells(f, cell, lines, COLUMNS);
}

char *rows_table(const json_t *summary) {
    const json_t *entries = json_object_get(summary, "entries");
    size_t lines = json_array_size(entries) + 1, count, i;
    json_t *eps = all_eps(summary), *entry;
    const char **key = summary_eps_keys(eps, &count);
    if (count > EPS_MAX) count = EPS_MAX;
    size_t columns = count + 4;
    struct arena arena = {0};
    const char **cell = arena_take(&arena, lines * columns * sizeof *cell);
    cell[0] = "model";
    cell[1] = "training";
    cell[2] = "clean";
    cell[columns - 1] = "note";
    for (size_t k = 0; k < count; k++) cell[3 + k] = arena_print(&arena, "eps %g", summary_eps(key[k]));
    json_array_foreach (entries, i, entry) {
        const json_t *metrics = summary_metrics(summary, entry),
                     *verdict = json_array_get(json_object_get(summary, "verdict"), i);
        const char **row = cell + (i + 1) * columns;
        row[0] = summary_text(entry, "id");
        // The accuracy on the images trained on is no estimate, so it stands without an interval.
        row[1] = rate_text(&arena, plain(summary_real(json_object_get(metrics, "train"), "accuracy")));
        row[2] = rate_text(&arena, summary_rate(json_object_get(verdict, "utility"), "accuracy"));
        for (size_t k = 0; k < count; k++) {
            const json_t *at = json_object_get(json_object_get(metrics, "strongest"), key[k]);
            row[3 + k] = rate_text(&arena, summary_rate(at, "accuracy"));
            if (at) row[3 + k] = arena_print(&arena, "%s %s", row[3 + k], summary_text(at, "method"));
        }
        row[columns - 1] = note_of(&arena, verdict, json_object_get(metrics, "strongest"));
    }
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    BUG_IF(!f, "no memory stream");
    const json_t *scores = json_object_get(summary, "reconstructions"), *results = json_object_get(summary, "memberships"),
                 *searches = json_object_get(summary, "searches");
    if (json_array_size(entries)) put_cells(f, cell, lines, columns);
    if (json_array_size(results)) put_memberships(f, results, &arena);
    if (json_array_size(scores)) put_scores(f, scores, &arena);
    if (json_array_size(searches)) put_searches(f, searches, &arena);
    BUG_IF(fclose(f) != 0, "no memory for a table");
    free(key);
    json_decref(eps);
    arena_free(&arena);
    return text;
}

// scores.c: from the record of a score to numbers that a page shows.
#include "scores.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../io/record.h"
#include "summary.h"

bool scores_shown(const struct blob *b) {
    return !strcmp(b->kind, "score") && json_is_number(record_get(b->record, "metrics.ncc.auc"));
}

static bool is_name(const char *text) {
    for (const char *c = text; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '_' && *c != '-') return false;
    return *text && strlen(text) <= 40;
}

// What the attack's own step in the lineage took in.
static json_t *made_from(const json_t *lineage) {
    json_t *list = json_array(), *entry, *digest;
    size_t i, k;
    json_array_foreach (lineage, i, entry) {
        if (strcmp(summary_text(entry, "program"), "invert")) continue;
        json_array_foreach (json_object_get(entry, "inputs"), k, digest)
            if (json_is_string(digest)) json_array_append(list, digest);
    }
    return list;
}

static void put_scores(json_t *to, const json_t *from) {
    summary_put_rate(to, "auc", summary_rate(from, "auc"));
    summary_put_rate(to, "tpr_at_fpr_1e-2", summary_rate(from, "tpr_at_fpr_1e-2"));
    summary_put_real(to, "matched", summary_real(from, "matched_at_0p95.truth"));
    summary_put_real(to, "matched_control", summary_real(from, "matched_at_0p95.control"));
}

static void put_baselines(json_t *to, const json_t *from) {
    size_t count;
    const char **name = record_keys(from, &count);
    json_t *list = json_array();
    for (size_t i = 0; i < count && i < SCORES_BASELINES; i++) {
        if (!is_name(name[i])) continue;
        json_t *one = json_pack("{s:s}", "name", name[i]);
        put_scores(one, json_object_get(from, name[i]));
        json_array_append_new(list, one);
    }
    json_object_set_new(to, "baselines", list);
    free(name);
}

const char *scores_add(json_t *summary, const struct blob *b, const char *stem) {
    static const char *const numbers[][2] = {{"members", "count.truth"}, {"candidates", "count.candidates"}, {"runs", "count.runs"},
                                             {"chance", "identification.chance"}, {"ssim_control", "control.ssim.mean"},
                                             {"certified", "certified.count"}, {"certified_right", "certified.right"},
                                             {"certified_members", "certified.members"}, {"kkt_residual", "kkt_gate.given"},
                                             {"kkt_residual_best", "kkt_gate.best"}, {"kkt_residual_free_kinks", "kkt_gate.free_kinks"}};
    json_t *list = json_object_get(summary, "reconstructions");
    const json_t *metrics = record_get(b->record, "metrics");
    char id[SUMMARY_ID];
    summary_new_id(list, *stem ? stem : "reconstruction", id);
    json_t *one = json_pack("{s:s, s:s, s:o, s:[]}", "id", id, "digest", b->digest, "made_from", made_from(b->lineage), "notes");
    put_scores(one, json_object_get(metrics, "ncc"));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) summary_put_real(one, numbers[i][0], summary_real(metrics, numbers[i][1]));
    summary_put_rate(one, "identification", summary_rate(json_object_get(metrics, "identification"), "rate"));
    summary_put_rate(one, "ssim", summary_rate(json_object_get(metrics, "ssim"), "mean"));
    put_baselines(one, json_object_get(metrics, "baseline"));
    size_t i;
    json_t *note;
    json_array_foreach (record_get(b->record, "notes"), i, note)
        if (json_is_string(note)) json_array_append(json_object_get(one, "notes"), note);
    json_array_append_new(list, one);
    return summary_text(one, "id");
}

const json_t *scores_of_model(const json_t *summary, const char *digest) {
    const json_t *best = NULL;
    size_t i, k;
    json_t *one, *from;
    json_array_foreach (json_object_get(summary, "reconstructions"), i, one)
        json_array_foreach (json_object_get(one, "made_from"), k, from)
            if (*digest && !strcmp(json_string_value(from), digest) && !(best && summary_real(best, "auc") >= summary_real(one, "auc"))) best = one;
    return best;
}

void scores_limits(const json_t *summary, json_t *limits) {
    if (!json_array_size(json_object_get(summary, "reconstructions"))) return;
    summary_say(limits, "A reconstruction is scored against held-out images under the same matcher, whose area is .5 by chance. It bounds what a "
                        "model leaks from below: another attack may find more.");
    summary_say(limits, "A high SSIM by itself shows nothing: held-out images reach it too, as the column beside it tells.");
}

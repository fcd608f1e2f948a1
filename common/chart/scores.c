// scores.c: from a scorecard's record to the rows of a table.
#include "scores.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../io/record.h"
#include "summary.h"

static bool is_name(const char *text) {
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)text[i]) && text[i] != '_' && text[i] != '-') return false;
    return n > 0 && n <= 40;
}

static const json_t *score_with(const json_t *summary, const char *key, const char *value) {
    size_t i;
    json_t *one;
    json_array_foreach (json_object_get(summary, "reconstructions"), i, one)
        if (!strcmp(summary_text(one, key), value)) return one;
    return NULL;
}

const char *scores_id(const json_t *summary, const char *digest) {
    const json_t *one = score_with(summary, "digest", digest);
    return one ? summary_text(one, "id") : NULL;
}

static void add_row(json_t *rows, const char *name, const json_t *metrics) {
    static const char *const rates[] = {"auc", "tpr_at_fpr_1e-2"};
    static const struct {
        const char *key, *from;
    } numbers[] = {{"matched", "matched_at_0p95.truth"},
                   {"control_matched", "matched_at_0p95.control"},
                   {"median", "median.truth"},
                   {"control_median", "median.control"}};
    if (!isfinite(summary_real(metrics, "auc"))) return;
    json_t *row = json_pack("{s:s}", "name", name);
    for (int i = 0; i < 2; i++) summary_put_rate(row, rates[i], summary_rate(metrics, rates[i]));
    for (int i = 0; i < 4; i++) summary_put_real(row, numbers[i].key, summary_real(metrics, numbers[i].from));
    json_array_append_new(rows, row);
}

void scores_add(json_t *summary, const struct blob *b, const char *stem) {
    static const char *const marks[] = {"count", "right", "members"}, *const keys[] = {"certified", "right", "certified_members"};
    json_t *rows = json_array();
    char id[40];
    snprintf(id, sizeof id, "%.28s", *stem ? stem : "score");
    for (unsigned i = 2; score_with(summary, "id", id); i++) snprintf(id, sizeof id, "%.24s_%u", *stem ? stem : "score", i);
    add_row(rows, "attack", record_get(b->record, "metrics.ncc"));
    json_t *first = json_array_get(rows, 0);
    for (int i = 0; i < 3 && first && summary_real(b->record, "metrics.certified.count") > 0; i++) {
        char path[40];
        snprintf(path, sizeof path, "metrics.certified.%s", marks[i]);
        summary_put_real(first, keys[i], summary_real(b->record, path));
    }
    size_t count;
    const json_t *others = record_get(b->record, "metrics.baseline");
    const char **name = record_keys(json_is_object(others) ? others : NULL, &count);
    for (size_t i = 0; i < count && i < SCORES_ROWS; i++)
        if (is_name(name[i])) add_row(rows, name[i], json_object_get(others, name[i]));
    free(name);
    json_t *one = json_pack("{s:s, s:s}", "id", id, "digest", b->digest);
    summary_put_real(one, "candidates", summary_real(b->record, "metrics.count.candidates"));
    summary_put_real(one, "members", summary_real(b->record, "metrics.count.truth"));
    json_object_set_new(one, "rows", rows);
    json_array_append_new(json_object_get(summary, "reconstructions"), one);
}

void scores_limits(const json_t *summary, json_t *limits) {
    if (!json_array_size(json_object_get(summary, "reconstructions"))) return;
    summary_say(limits, "A reconstruction that scores no more than its control shows that this attack found nothing, not "
                        "that there is nothing to find.");
}

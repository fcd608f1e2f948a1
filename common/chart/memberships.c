// memberships.c: from the result of a membership test to numbers that a page shows.
#include "memberships.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../io/record.h"
#include "summary.h"

const struct membership_method membership_methods[] = {
    {"span", "span.distance", "distance from the span"},
    {"leverage", "leverage", "leverage"},
    {NULL, NULL, NULL},
};

static const json_t *method_of(const struct blob *b, const char *name) {
    return json_object_get(record_get(b->record, "metrics"), name);
}

bool memberships_shown(const struct blob *b) {
    bool any = false;
    for (const struct membership_method *m = membership_methods; m->name; m++) any = any || json_is_object(method_of(b, m->name));
    return any && !strcmp(b->kind, "membership");
}

// ---- tensors. What does not fit is passed over: a file may come from anywhere.

static const struct tensor *doubles(const struct blob *b, const char *name, int rank) {
    const struct tensor *t = blob_find(b, name);
    return t && t->dtype == F64 && t->rank == rank ? t : NULL;
}

static json_t *singular_of(const struct blob *b) {
    const struct tensor *t = doubles(b, "span.singular", 1);
    json_t *list = json_array();
    for (int64_t i = 0; t && i < t->dim[0] && i < MEMBERSHIPS_SINGULAR && isfinite(tensor_value(t, i)); i++)
        json_array_append_new(list, json_real(tensor_value(t, i)));
    return list;
}

// A corner 2 % beyond the last in neither rate cannot be told from it on logarithmic axes.
static json_t *roc_of(const struct blob *b, const char *method) {
    char name[40];
    snprintf(name, sizeof name, "%s.roc", method);
    const struct tensor *t = doubles(b, name, 2);
    json_t *fpr = json_array(), *tpr = json_array();
    double x = -1, y = -1;
    for (int64_t i = 0; t && t->dim[1] == 2 && i < t->dim[0]; i++) {
        double u = tensor_value(t, 2 * i), v = tensor_value(t, 2 * i + 1);
        if (!(u >= x && v >= y && u <= 1 && v <= 1)) break;  // no curve
        bool last = i + 1 == t->dim[0];
        if (i && !last && u <= 1.02 * x && v <= 1.02 * y) continue;
        json_array_append_new(fpr, json_real(x = u));
        json_array_append_new(tpr, json_real(y = v));
    }
    return json_pack("{s:o, s:o}", "fpr", fpr, "tpr", tpr);
}

// Equal steps of the logarithm from the least to the greatest score, at most twelve decades; what is below is in the first.
static json_t *scores_of(const struct blob *b, const char *tensor) {
    const struct tensor *t = doubles(b, tensor, 1), *member = blob_find(b, "member");
    if (!t || !member || member->dtype != U8 || member->rank != 1 || member->dim[0] != t->dim[0]) return NULL;
    double least = INFINITY, most = 0;
    for (int64_t i = 0; i < t->dim[0]; i++) {
        double v = tensor_value(t, i);
        if (!(v >= 0 && v <= 1e300)) return NULL;
        if (v > 0) least = fmin(least, v);
        most = fmax(most, v);
    }
    if (!(most > 1e-280)) return NULL;
    least = fmax(least, 1e-12 * most);
    double low = log10(least), step = fmax(log10(most) - low, .01) / MEMBERSHIPS_BINS;
    long count[2][MEMBERSHIPS_BINS] = {{0}};
    for (int64_t i = 0; i < t->dim[0]; i++) {
        double at = (log10(fmax(tensor_value(t, i), least)) - low) / step;
        int bin = at < MEMBERSHIPS_BINS - 1 ? (int)at : MEMBERSHIPS_BINS - 1;
        count[tensor_value(member, i) != 0][bin]++;
    }
    json_t *edge = json_array(), *groups[2] = {json_array(), json_array()};
    for (int i = 0; i <= MEMBERSHIPS_BINS; i++) json_array_append_new(edge, json_real(pow(10, low + i * step)));
    for (int g = 0; g < 2; g++)
        for (int i = 0; i < MEMBERSHIPS_BINS; i++) json_array_append_new(groups[g], json_integer(count[g][i]));
    return json_pack("{s:o, s:o, s:o}", "edge", edge, "others", groups[0], "members", groups[1]);
}

// ---- the record

static json_t *put_method(const struct blob *b, const struct membership_method *m) {
    static const char *const rates[] = {"auc", "tpr_at_fpr_1e-2", "tpr_at_fpr_1e-3"};
    static const char *const counts[] = {"false_positives_at_fpr_1e-2", "false_positives_at_fpr_1e-3"};
    const json_t *from = method_of(b, m->name);
    json_t *to = json_object(), *scores;
    if (!json_is_number(json_object_get(from, "auc"))) {
        json_object_set_new(to, "refused",
                            json_string(*summary_text(from, "refused") ? summary_text(from, "refused") : "not measured"));
        return to;
    }
    for (int i = 0; i < 3; i++) summary_put_rate(to, rates[i], summary_rate(from, rates[i]));
    for (int i = 0; i < 2; i++) summary_put_real(to, counts[i], summary_real(from, counts[i]));
    json_object_set_new(to, "roc", roc_of(b, m->name));
    if ((scores = scores_of(b, m->tensor))) json_object_set_new(to, "scores", scores);
    return to;
}

void memberships_add(json_t *summary, const struct blob *b, const char *stem) {
    json_t *list = json_object_get(summary, "memberships"), *methods = json_object();
    char id[SUMMARY_ID];
    summary_new_id(list, *stem ? stem : "membership", id);
    json_t *one = json_pack("{s:s, s:s, s:s, s:s, s:b, s:o, s:o}", "id", id, "digest", b->digest, "model",
                            summary_text(b->record, "config.model"), "data", summary_text(b->record, "config.data"), "rank_given",
                            summary_real(b->record, "config.rank") > 0, "singular", singular_of(b), "methods", methods);
    for (const struct membership_method *m = membership_methods; m->name; m++) {
        const json_t *from = method_of(b, m->name);
        if (!json_is_object(from)) continue;
        json_object_set_new(methods, m->name, put_method(b, m));
        summary_put_real(one, "members", summary_real(from, "members"));
        summary_put_real(one, "others", summary_real(from, "others"));
    }
    summary_put_real(one, "rank", summary_real(b->record, "metrics.span.rank"));
    summary_put_real(one, "gap", summary_real(b->record, "metrics.span.gap"));
    json_array_append_new(list, one);
}

const json_t *memberships_of_model(const json_t *summary, const char *digest, const json_t **result, const char **method) {
    const json_t *best = NULL;
    size_t i;
    json_t *one;
    *result = NULL;
    json_array_foreach (json_object_get(summary, "memberships"), i, one) {
        if (!*digest || strcmp(summary_text(one, "model"), digest)) continue;
        if (!*result) *result = one;
        for (const struct membership_method *m = membership_methods; m->name; m++) {
            const json_t *at = json_object_get(json_object_get(one, "methods"), m->name);
            double auc = summary_real(at, "auc");
            if (!isfinite(auc) || (best && auc <= summary_real(best, "auc"))) continue;
            best = at;
            *result = one;
            *method = m->name;
        }
    }
    return best;
}

void memberships_limits(const json_t *summary, json_t *limits) {
    if (!json_array_size(json_object_get(summary, "memberships"))) return;
    summary_say(
        limits,
        "A membership test bounds from below what a model tells of its training set. The span reads the first layer only: an "
        "area of .5, or a first layer that is refused, does not show that the model keeps its training images to itself; a "
        "test with shadow models may find more.");
    summary_say(
        limits,
        "The number of images is claimed only where the singular values have a gap of 2 or more; without one, the distance "
        "from the span is not given.");
}

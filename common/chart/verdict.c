// verdict.c: what follows from the numbers.
//
// Chance is what guessing gives: the share of the most frequent class where the classes' sizes are known, else one over
// the number of classes. A rate is told from chance when its 95 % interval leaves chance out; an attack is told from
// noise of the same size when the two intervals do not meet, which asks for more than a test of the difference would.
// Of several attacks at one epsilon the strongest, not the mean, bounds what the model withstands.
#include "verdict.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../io/record.h"
#include "memberships.h"
#include "scores.h"
#include "summary.h"

// Noise is a baseline, and smoothing and interval bounds prove a lower bound: none of them is an attack.
static bool is_attack(const char *method) {
    return strcmp(method, "noise") && strcmp(method, "smooth") && strcmp(method, "ibp");
}

static void put_bool(json_t *to, const char *key, bool known, bool value) {
    if (known) json_object_set_new(to, key, json_boolean(value));
}

static void tell_from_chance(json_t *at, struct summary_rate r, double chance) {
    put_bool(at, "differs_from_chance", isfinite(r.low) && isfinite(chance), r.low > chance || r.high < chance);
}

static void tell_from_noise(json_t *at, struct summary_rate r, struct summary_rate noise) {
    summary_put_rate(at, "noise", noise);
    put_bool(at, "differs_from_noise", isfinite(r.low) && isfinite(noise.low),
             r.high < noise.low || noise.high < r.low);
}

static void add_chance(json_t *metrics, double classes) {
    const json_t *rows = json_object_get(metrics, "per_class");
    double most = 0, all = 0;
    size_t i;
    json_t *row;
    json_array_foreach (rows, i, row) {
        double count = summary_real(row, "count");
        all += count;
        most = fmax(most, count);
    }
    if (!(classes >= 2)) classes = (double)json_array_size(rows);
    if (all > 0) {
        summary_put_real(metrics, "chance", most / all);
        json_object_set_new(metrics, "chance_is", json_string("always answering the most frequent class"));
    } else if (classes >= 2) {
        summary_put_real(metrics, "chance", 1 / classes);
        json_object_set_new(metrics, "chance_is", json_string("guessing among the classes"));
    }
}

// Noise beside every attack, and the strongest attack at each epsilon.
static void add_strongest(json_t *metrics) {
    json_t *robust = json_object_get(metrics, "robust"), *of, *at;
    const char *method, *key;
    double chance = summary_real(metrics, "chance");
    json_object_foreach (robust, method, of) {
        json_object_foreach (of, key, at) {
            struct summary_rate r = summary_rate(at, "accuracy");
            tell_from_chance(at, r, chance);
            if (!is_attack(method)) continue;
            tell_from_noise(at, r, summary_rate(json_object_get(json_object_get(robust, "noise"), key), "accuracy"));
            json_t *strongest = summary_object(metrics, "strongest");
            const json_t *before = json_object_get(strongest, key);
            if (before && r.value > summary_real(before, "accuracy"))
                continue;  // of two alike the later: PGD, not FGSM
            json_t *copy = json_copy(at);
            json_object_set_new(copy, "method", json_string(method));
            json_object_set_new(strongest, key, copy);
        }
    }
}

static const json_t *strongest_of(const json_t *summary, const json_t *entry) {
    return json_object_get(summary_metrics(summary, entry), "strongest");
}

// The smallest epsilon that every attacked entry of this norm was attacked with, so that entries compare; else
// the entry's own smallest.
static const char *common_eps(const json_t *summary, const json_t *entry) {
    size_t count, k;
    const char **key = summary_eps_keys(strongest_of(summary, entry), &count), *found = count ? key[0] : NULL;
    for (size_t i = count; i-- > 0;) {
        bool all = true;
        json_t *other;
        json_array_foreach (json_object_get(summary, "entries"), k, other)
            if (strongest_of(summary, other) && !strcmp(summary_text(other, "norm"), summary_text(entry, "norm")))
                all = all && json_object_get(strongest_of(summary, other), key[i]);
        if (all) found = key[i];
    }
    free(key);
    return found;
}

static json_t *utility_of(const json_t *metrics) {
    const char *set = json_object_get(metrics, "clean") ? "clean" : "test";
    struct summary_rate r = summary_rate(json_object_get(metrics, set), "accuracy");
    double chance = summary_real(metrics, "chance");
    json_t *u = json_pack("{s:b}", "measured", isfinite(r.value));
    if (!isfinite(r.value)) return u;
    json_object_set_new(u, "set", json_string(set));
    summary_put_rate(u, "accuracy", r);
    summary_put_real(u, "chance", chance);
    tell_from_chance(u, r, chance);
    return u;
}

static json_t *robustness_of(const json_t *summary, const json_t *entry) {
    const char *key = common_eps(summary, entry);
    json_t *r = json_pack("{s:b}", "measured", key != NULL);
    if (!key) return r;
    json_object_update(r, json_object_get(strongest_of(summary, entry), key));
    json_object_set_new(r, "key", json_string(key));
    summary_put_real(r, "chance", summary_real(summary_metrics(summary, entry), "chance"));
    return r;
}

static json_t *membership_of(const json_t *summary, const json_t *entry) {
    const json_t *result;
    const char *method;
    const json_t *at = memberships_of_model(summary, summary_text(entry, "model"), &result, &method);
    json_t *m = json_pack("{s:b}", "measured", at != NULL);
    if (result) json_object_set_new(m, "result", json_string(summary_text(result, "id")));
    if (result && !at) json_object_set(m, "refused", record_get(result, "methods.span.refused"));
    if (!at) return m;
    struct summary_rate auc = summary_rate(at, "auc");
    json_object_set_new(m, "method", json_string(method));
    summary_put_rate(m, "auc", auc);
    summary_put_rate(m, "tpr_at_fpr_1e-3", summary_rate(at, "tpr_at_fpr_1e-3"));
    tell_from_chance(m, auc, .5);
    return m;
}

static json_t *reconstruction_of(const json_t *summary, const json_t *entry) {
    const json_t *score = scores_of_model(summary, summary_text(entry, "model"));
    json_t *r = json_pack("{s:b}", "measured", score != NULL);
    if (!score) return r;
    struct summary_rate auc = summary_rate(score, "auc");
    json_object_set_new(r, "score", json_string(summary_text(score, "id")));
    summary_put_rate(r, "auc", auc);
    summary_put_rate(r, "tpr_at_fpr_1e-2", summary_rate(score, "tpr_at_fpr_1e-2"));
    tell_from_chance(r, auc, .5);
    return r;
}

static void add_limits(json_t *summary) {
    json_t *limits = json_object_get(summary, "limits"), *entry;
    bool attacked = false, blind = false;
    size_t i;
    json_array_foreach (json_object_get(summary, "entries"), i, entry) {
        const json_t *robust = json_object_get(summary_metrics(summary, entry), "robust");
        attacked = attacked || strongest_of(summary, entry);
        blind = blind || json_object_get(robust, "auto") || json_object_get(robust, "square");
    }
    summary_say(
        limits,
        "Intervals are of 95 %% over the images evaluated. They do not cover what another "
        "training seed, or images of another kind, would change.");
    if (attacked)
        summary_say(
            limits,
            "Accuracy under attack is an upper bound: a stronger attack can only lower it. Nothing here proves that an "
            "image withstands every change of that size.");
    if (attacked && !blind)
        summary_say(
            limits,
            "No attack without gradients was run: a model that hides its gradients would look more robust than it is.");
    if (!attacked) summary_say(limits, "No attack was run: robustness is unknown.");
    bool told = json_array_size(json_object_get(summary, "memberships")),
         rebuilt = json_array_size(json_object_get(summary, "reconstructions"));
    if (!told && !rebuilt)
        summary_say(limits, "Membership inference and reconstruction of training images were not measured: nothing here "
                            "speaks for privacy.");
    else if (!told) summary_say(limits, "Membership inference was not measured.");
    else if (!rebuilt) summary_say(limits, "Reconstruction of training images was not measured.");
    summary_say(limits,
                "Intervals that do not meet show a difference; intervals that meet do not show that there is none.");
}

void verdict_add(json_t *summary) {
    size_t i;
    json_t *entry;
    json_array_foreach (json_object_get(summary, "entries"), i, entry) {
        json_t *metrics = json_object_get(json_object_get(summary, "metrics"), summary_text(entry, "id"));
        add_chance(metrics, summary_real(entry, "classes"));
        add_strongest(metrics);
    }
    json_array_foreach (json_object_get(summary, "entries"), i, entry)
        json_array_append_new(json_object_get(summary, "verdict"),
                              json_pack("{s:s, s:o, s:o, s:o, s:o}", "id", summary_text(entry, "id"), "utility",
                                        utility_of(summary_metrics(summary, entry)), "robustness",
                                        robustness_of(summary, entry), "membership", membership_of(summary, entry),
                                        "reconstruction", reconstruction_of(summary, entry)));
    add_limits(summary);
}

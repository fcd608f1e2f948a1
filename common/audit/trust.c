// trust.c: checks that an evaluation deserves to be believed.
#include "trust.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../io/record.h"

__attribute__((format(printf, 2, 3))) static void fire(json_t *record, const char *format, ...) {
    char text[480];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    record_note(record, "%s", text);
    msg_say("check: %s", text);
}

// The images again, from the second on, so that each stands at another place.
static bool check_repeat(struct attack *a, json_t *record, struct error *e) {
    int64_t n = a->o.count < EVALUATE_BATCH ? a->o.count : EVALUATE_BATCH, from = n > 1;
    int64_t *index = memory_take((size_t)n * sizeof *index);
    float *again = memory_take((size_t)(n * a->classes) * sizeof *again);
    for (int64_t i = from; i < n; i++) index[i - from] = i;
    bool fine = evaluator_dataset(a->evaluator, a->d, index, n - from, again, e);
    double most = 0;
    for (int64_t i = 0; fine && i < (n - from) * a->classes; i++) {
        double d = fabs((double)again[i] - (double)a->logits[from * a->classes + i]);
        if (!(d <= most)) most = d;
    }
    free(index);
    free(again);
    if (!fine) return false;
    record_real(record, "metrics.checks.repeat_difference", most);
    if (most != 0)
        fire(record, "two forward passes differ by up to %g: the network draws at random when it predicts; attacks must average over its draws", most);
    return true;
}

static void check_logits(const struct attack *a, json_t *record) {
    bool inside = true, sums = true;
    for (int64_t i = 0; i < a->o.count && inside; i++) {
        const float *z = a->logits + i * a->classes;
        double sum = 0;
        for (int64_t k = 0; k < a->classes; k++) {
            inside = inside && z[k] >= 0 && z[k] <= 1;
            sum += z[k];
        }
        sums = sums && fabs(sum - 1) < 1e-3;
    }
    bool probabilities = inside && (sums || a->classes > 2);  // a binary network's first logit is always 0
    record_set(record, "metrics.checks.outputs_are_logits", json_boolean(!probabilities));
    if (probabilities)
        fire(record, "all outputs lie in [0, 1]%s: they look like probabilities, not logits, and gradients of the cross-entropy of them "
             "vanish; leave out the last activation of the network and run again", sums ? " and sum to 1" : "");
}

bool trust_model(struct attack *a, json_t *record, struct error *e) {
    check_logits(a, record);
    return check_repeat(a, record, e);
}

bool trust_reach(struct attack *a, const struct pgd *p, enum ball_norm norm, json_t *record, struct error *e) {
    struct attack_options o = a->o;
    o.count = o.count < TRUST_SAMPLE ? o.count : TRUST_SAMPLE;
    o.keep = 0;
    struct attack *part = attack_open(a->m, a->d, &o, a->pool, e);
    if (!part) return false;
    struct pgd far = *p;
    struct ball all = {norm, norm == BALL_L2 ? sqrt((double)a->size) : 1, a->size};
    far.step = pgd_default_step(all.eps);
    struct attack_result *r = attack_result_new(part, p->name, all);
    bool fine = pgd_run(part, &far, r, e);
    if (fine) {
        record_rate(record, "metrics.checks.full_ball.accuracy", (long)r->stands, (long)o.count);
        record_real(record, "metrics.checks.full_ball.eps", all.eps);
    }
    if (fine && r->stands > o.count / 100)
        fire(record, "%lld of %lld images withstand %s at eps %.4g, where every image is allowed: the gradients are masked or vanish%s; "
             "do not believe robust accuracies of this model before noise and --loss margin were tried beside",
             (long long)r->stands, (long long)o.count, p->name, all.eps,
             r->flat ? " (some are zero)" : "");
    attack_result_free(r);
    attack_free(part);
    return fine;
}

void trust_result(const struct attack *a, const struct attack_result *r, json_t *record) {
    char key[32], name[96];
    record_eps_key(r->ball.eps, key);
#define METRIC(suffix) (snprintf(name, sizeof name, "metrics.checks.%s.%s.%s", r->method, key, suffix), name)
    if (r->rejected)
        fire(record, "%s at eps %.4g: %lld images looked broken and were not when they were classified again; they count as standing. "
             "Their margins are within rounding of 0", r->method, r->ball.eps, (long long)r->rejected);
    if (r->followed) {
        double share = (double)r->flat / (double)r->followed;
        record_real(record, METRIC("zero_gradients"), share);
        if (share > .01)
            fire(record, "%s at eps %.4g: the gradient of %.1f %% of the images is zero: dead units, or a loss so small that float32 "
                 "loses it; try --loss margin", r->method, r->ball.eps, 100 * share);
    }
    if (r->lasted) {
        double rise = (r->last_loss - r->late_loss) / fmax(fabs(r->last_loss), 1e-12);
        record_real(record, METRIC("late_rise"), rise);
        bool early = rise > .05 && r->stands > a->o.count / 200;
        record_set(record, METRIC("stopped_early"), json_boolean(early));
        if (early)
            fire(record, "%s at eps %.4g: the loss of the images that stand still rose by %.1f %% in the last tenth of the steps: the attack "
                 "stopped too early; more --steps", r->method, r->ball.eps, 100 * rise);
    }
#undef METRIC
}

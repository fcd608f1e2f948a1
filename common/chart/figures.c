// figures.c: which charts a summary gives, and what stands in them.
//
// A model keeps its colour and point shape through all charts: they are its place among the entries. What is dashed
// and hollow is a baseline (noise of the same size), what is dotted a limit (chance).
#include "figures.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/opt.h"
#include "../base/out.h"
#include "memberships.h"
#include "spectrum.h"
#include "summary.h"

enum {
    POINTS_MAX = 160,  // of a history; more are thinned, nobody can see them
    PERCENT_LOW = -2,
    PERCENT_HIGH = 102,  // so that a point at either end is seen whole
};

static const char *const norms[] = {"linf", "l2", ""};

static struct figure *add_figure(struct figures *f, enum figure_kind kind, const char *stem, const char *norm,
                                 size_t room) {
    f->figure = memory_grow(f->figure, (size_t)(f->count + 1) * sizeof *f->figure);
    struct figure *g = &f->figure[f->count++];
    *g = (struct figure){.kind = kind, .caption = ""};
    struct chart *c = &g->chart;
    c->stem = arena_print(&f->arena, "%s%s", stem, strcmp(norm, "l2") ? "" : "_l2");
    c->x_low = c->x_high = c->y_low = c->y_high = NAN;
    c->series = arena_take(&f->arena, room * sizeof *c->series);
    return g;
}

static struct chart_series *add_series(struct figures *f, struct figure *g, const char *name, enum chart_style style,
                                       size_t colour, size_t room) {
    struct chart_series *s = &g->chart.series[g->chart.count++];
    *s = (struct chart_series){.name = name, .style = style, .colour = (int)colour};
    s->point = arena_take(&f->arena, room * sizeof *s->point);
    return s;
}

static void add_point(struct chart_series *s, double x, struct summary_rate y, double times) {
    s->point[s->count++] = (struct chart_point){x, times * y.value, times * y.low, times * y.high, NAN, NAN, NULL};
}

static void drop_figure(struct figures *f) {
    f->count--;
}

static bool same_norm(const json_t *entry, const char *norm) {
    return !strcmp(summary_text(entry, "norm"), norm);
}

// The names and last values of the lines, for the alternative text.
static const char *ends_of(struct figures *f, const struct chart *c) {
    char *text = "";
    for (int i = 0; i < c->count; i++) {
        const struct chart_series *s = &c->series[i];
        if (s->style == CHART_LINE && s->count)
            text = arena_print(&f->arena, "%s%s%s ends at %.3g", text, *text ? ", " : "", s->name,
                               s->point[s->count - 1].y);
    }
    return text;
}

// Chance as a dotted line, where all entries shown have the same.
static void add_chance(struct figures *f, struct figure *g, const json_t *summary, const char *norm) {
    double chance = NAN;
    size_t i;
    json_t *entry;
    json_array_foreach (json_object_get(summary, "entries"), i, entry) {
        double own = summary_real(summary_metrics(summary, entry), "chance");
        if (norm && !same_norm(entry, norm)) continue;
        if (!isfinite(own) || (isfinite(chance) && own != chance)) return;
        chance = own;
    }
    if (!isfinite(chance)) return;
    struct chart_series *s = add_series(f, g, "chance", CHART_RULE, 0, 2);
    add_point(s, g->chart.x_low, (struct summary_rate){chance, NAN, NAN}, 100);
    add_point(s, g->chart.x_high, (struct summary_rate){chance, NAN, NAN}, 100);
}

// ---- curves per epoch

static bool first_of_its_model(const json_t *entries, size_t place) {
    const char *model = summary_text(json_array_get(entries, place), "model");
    for (size_t i = 0; i < place; i++)
        if (!strcmp(summary_text(json_array_get(entries, i), "model"), model)) return !*model;
    return true;
}

static void add_history(struct figures *f, const json_t *summary, const char *stem, const char *column, bool rate) {
    const json_t *entries = json_object_get(summary, "entries");
    size_t i, epochs = 0;
    json_t *entry;
    struct figure *g = add_figure(f, FIGURE_TRAINING, stem, "", json_array_size(entries) + 1);
    struct chart *c = &g->chart;
    json_array_foreach (entries, i, entry) {
        const json_t *metrics = summary_metrics(summary, entry),
                     *list = json_object_get(json_object_get(metrics, "history"), column);
        size_t count = json_array_size(list), step = 1 + count / POINTS_MAX;
        if (i >= FIGURE_ENTRIES || !count || !first_of_its_model(entries, i)) continue;
        epochs = count > epochs ? count : epochs;
        struct chart_series *s = add_series(f, g, summary_text(entry, "id"), CHART_LINE, i, count / step + 2);
        for (size_t k = 0; k < count; k++) {
            const json_t *value = json_array_get(list, k);
            if ((k % step && k + 1 < count) || !json_is_number(value)) continue;
            struct summary_rate r = {json_number_value(value), NAN, NAN},
                                end = summary_rate(json_object_get(metrics, "test"), "accuracy");
            if (rate && k + 1 == count && end.value == r.value) r = end;
            add_point(s, (double)k + 1, r, rate ? 100 : 1);
        }
        if (!s->count) c->count--;  // a list without a number
    }
    if (!c->count) {
        drop_figure(f);
        return;
    }
    c->title = rate ? "Test accuracy after each epoch" : "Test loss after each epoch";
    c->x_label = "epoch";
    c->y_label = rate ? "test accuracy (%)" : "test loss (cross-entropy)";
    c->x_low = epochs > 1 ? 1 : 0;
    c->x_high = epochs > 1 ? (double)epochs : 2;
    c->y_low = rate ? PERCENT_LOW : 0;
    if (rate) c->y_high = PERCENT_HIGH;
    c->whole_x = true;
    c->alt = arena_print(&f->arena, "Line chart: %s, one line for each model. %s.", c->title, ends_of(f, c));
    if (rate) add_chance(f, g, summary, NULL);
    double margin = .02 * (c->x_high - c->x_low);
    c->x_low -= margin;
    c->x_high += margin;
    g->caption = rate ? "The bar at the last epoch is the 95 % interval of the test accuracy."
                      : "Accuracy that holds while the loss "
                        "rises is a model that grows too sure.";
}

// ---- robust accuracy against epsilon

static struct summary_rate clean_of(const json_t *metrics) {
    return summary_rate(json_object_get(metrics, "clean"), "accuracy");
}

static bool add_eps_line(struct figures *f, struct figure *g, const json_t *metrics, const char *method,
                         const char *name, enum chart_style style, size_t colour) {
    const json_t *of = json_object_get(json_object_get(metrics, "robust"), method);
    size_t count;
    const char **key = summary_eps_keys(of, &count);
    if (count) {
        struct chart_series *s = add_series(f, g, name, style, colour, count + 1);
        struct summary_rate clean = clean_of(metrics);
        if (isfinite(clean.value) && summary_eps(key[0]) > 0) add_point(s, 0, clean, 100);
        for (size_t i = 0; i < count; i++) {
            add_point(s, summary_eps(key[i]), summary_rate(json_object_get(of, key[i]), "accuracy"), 100);
            g->chart.x_high = fmax(g->chart.x_high, summary_eps(key[i]));
        }
    }
    free(key);
    return count > 0;
}

static void add_robust(struct figures *f, const json_t *summary, const char *method, const char *norm) {
    const json_t *entries = json_object_get(summary, "entries");
    char *stem = arena_print(&f->arena, "robust_%s", method);
    struct figure *g = add_figure(f, FIGURE_ROBUST, stem, norm, 2 * json_array_size(entries) + 1);
    struct chart *c = &g->chart;
    size_t i;
    json_t *entry;
    bool noise = false, any = false;
    c->x_low = c->x_high = 0;
    c->y_low = PERCENT_LOW;
    c->y_high = PERCENT_HIGH;
    json_array_foreach (entries, i, entry) {
        const json_t *metrics = summary_metrics(summary, entry);
        if (i >= FIGURE_ENTRIES || !same_norm(entry, norm)) continue;
        const char *id = summary_text(entry, "id");
        if (!add_eps_line(f, g, metrics, method, id, CHART_LINE, i)) continue;
        any = true;
        noise |= add_eps_line(f, g, metrics, "noise", arena_print(&f->arena, "%s, noise", id), CHART_DASHED, i);
    }
    if (!any) {
        drop_figure(f);
        return;
    }
    if (!(c->x_high > 0)) c->x_high = 1;
    const char *name = summary_method_name(method);
    c->title = arena_print(&f->arena, "Accuracy under %s", name);
    c->x_label = *norm ? arena_print(&f->arena, "epsilon (%s, pixels in [0, 1])", summary_norm_name(norm)) : "epsilon";
    c->y_label = "accuracy (%)";
    c->alt = arena_print(
        &f->arena, "Line chart: accuracy under %s against epsilon from 0 to %g, one solid line for each model%s. %s.",
        name, c->x_high, noise ? " and a dashed one for noise of the same size" : "", ends_of(f, c));
    for (int k = 0; k < c->count; k++)
        c->series[k].shift = .004 * c->x_high * (c->series[k].colour - (double)(json_array_size(entries) - 1) / 2);
    add_chance(f, g, summary, norm);
    c->x_low = -.03 * c->x_high;
    c->x_high *= 1.03;
    g->caption = noise ? "Bars are 95 % intervals. Dashed and hollow: random noise of the same size, which an attack "
                         "must beat. Epsilon 0 "
                         "is the clean image."
                       : "Bars are 95 % intervals. Epsilon 0 is the clean image. No noise of the same size was "
                         "measured beside it.";
}

// ---- trade-off

static void add_tradeoff(struct figures *f, const json_t *summary, const char *norm) {
    const json_t *entries = json_object_get(summary, "entries");
    struct figure *g = add_figure(f, FIGURE_TRADEOFF, "tradeoff", norm, json_array_size(entries) + 2);
    struct chart *c = &g->chart;
    size_t i, count;
    json_t *entry;
    double left = 100, right = 0;
    json_array_foreach (entries, i, entry) {
        const json_t *metrics = summary_metrics(summary, entry), *strongest = json_object_get(metrics, "strongest");
        struct summary_rate clean = clean_of(metrics);
        if (i >= FIGURE_ENTRIES || !same_norm(entry, norm) || !strongest || !isfinite(clean.value)) continue;
        const char **key = summary_eps_keys(strongest, &count);
        struct chart_series *s = add_series(f, g, summary_text(entry, "id"), CHART_MARKS, i, count);
        for (size_t k = 0; k < count; k++) {
            char eps[32];
            add_point(s, 100 * clean.value, summary_rate(json_object_get(strongest, key[k]), "accuracy"), 100);
            s->point[k].x_low = 100 * clean.low;
            s->point[k].x_high = 100 * clean.high;
            format_real(summary_eps(key[k]), true, eps);
            s->point[k].label = arena_text(&f->arena, eps);
        }
        left = fmin(left, 100 * (isfinite(clean.low) ? clean.low : clean.value));
        right = fmax(right, 100 * (isfinite(clean.high) ? clean.high : clean.value));
        free(key);
    }
    if (!c->count) {
        drop_figure(f);
        return;
    }
    c->x_low = fmax(0, 5 * floor(left / 5 - 1));
    c->x_high = fmin(100, 5 * ceil(right / 5 + 1));
    c->y_low = PERCENT_LOW;
    c->y_high = PERCENT_HIGH;
    c->title = "Clean accuracy against accuracy under the strongest attack";
    c->x_label = "clean accuracy (%)";
    c->y_label = arena_print(&f->arena, "accuracy under attack (%%)");
    struct chart_series *s = add_series(f, g, "no loss", CHART_RULE, 0, 2);
    add_point(s, c->x_low, (struct summary_rate){c->x_low, NAN, NAN}, 1);
    add_point(s, c->x_high, (struct summary_rate){c->x_high, NAN, NAN}, 1);
    c->alt = arena_print(
        &f->arena,
        "Scatter chart: clean accuracy across, accuracy under the strongest attack upwards, a mark for each of %d "
        "model%s and each epsilon.",
        c->count - 1, c->count > 2 ? "s" : "");
    g->caption = arena_print(
        &f->arena,
        "A mark for each model and epsilon%s%s; the number beside it is the epsilon. Up and right is better; on "
        "the dotted line the attack costs nothing. Bars are 95 %% intervals.",
        *norm ? " in " : "", summary_norm_name(norm));
}

// ---- lists of numbers

static double item(const json_t *list, size_t i) {
    const json_t *v = json_array_get(list, i);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static void add_number(struct chart_series *s, double x, double y, double low, double high) {
    if (isfinite(x) && isfinite(y)) s->point[s->count++] = (struct chart_point){x, y, low, high, NAN, NAN, NULL};
}

// ---- membership

// Of its model, where that is an entry, so that it keeps its colour.
static size_t colour_of(const json_t *summary, const json_t *result, size_t place) {
    const json_t *entries = json_object_get(summary, "entries");
    size_t i;
    json_t *entry;
    json_array_foreach (entries, i, entry)
        if (!strcmp(summary_text(entry, "model"), summary_text(result, "model"))) return i;
    return json_array_size(entries) + place;
}

static const json_t *told_by(const json_t *result, const char *method) {
    const json_t *at = json_object_get(json_object_get(result, "methods"), method);
    return isfinite(summary_real(at, "auc")) ? at : NULL;
}

static void add_singular(struct figures *f, const json_t *summary, const json_t *results) {
    struct spectrum *s = arena_take(&f->arena, (FIGURE_ENTRIES + 1) * sizeof *s);
    int count = 0;
    size_t i, k;
    json_t *result, *value;
    json_array_foreach (results, i, result) {
        const json_t *list = json_object_get(result, "singular");
        if (i == FIGURE_ENTRIES || !(item(list, 0) > 0)) continue;
        double rank = summary_real(result, "rank"), *to = arena_take(&f->arena, json_array_size(list) * sizeof *to);
        json_array_foreach (list, k, value) to[k] = json_number_value(value);
        bool known = told_by(result, "span") && rank >= 1 && rank < (double)json_array_size(list);
        s[count++] = (struct spectrum){summary_text(result, "id"), to, (int64_t)json_array_size(list), known ? (int64_t)rank : 0,
                                       summary_real(result, "gap"), (int)colour_of(summary, result, i)};
    }
    if (!count) return;
    struct figure *g = add_figure(f, FIGURE_MEMBERSHIP, "mia_singular", "", 0);
    const char *stem = g->chart.stem;
    g->chart = spectrum_chart(s, count, &f->arena);
    g->chart.stem = stem;
    g->caption = "A network at rest has as many singular values that are not small as there were training images: they fall at "
                 "the dotted line. Where they fall nowhere by a factor of 2 (no gap), the number of images is not known and "
                 "the claim stops. What is below a billionth of the largest is drawn there.";
}

// Both axes are logarithmic: what counts is who is found while hardly anybody is accused wrongly (Carlini et al. 2022).
static void add_roc(struct figures *f, const json_t *summary, const json_t *results, const struct membership_method *m) {
    struct figure *g = add_figure(f, FIGURE_MEMBERSHIP, arena_print(&f->arena, "mia_roc_%s", m->name), "", FIGURE_ENTRIES + 1);
    struct chart *c = &g->chart;
    double members = 1, others = 1;
    size_t i;
    json_t *result;
    json_array_foreach (results, i, result) {
        const json_t *roc = json_object_get(told_by(result, m->name), "roc"), *fpr = json_object_get(roc, "fpr"),
                     *tpr = json_object_get(roc, "tpr");
        double own_members = summary_real(result, "members"), own_others = summary_real(result, "others");
        if (i >= FIGURE_ENTRIES || json_array_size(fpr) < 2 || !(own_members >= 1 && own_others >= 1)) continue;
        struct chart_series *s =
            add_series(f, g, summary_text(result, "id"), CHART_CURVE, colour_of(summary, result, i), json_array_size(fpr));
        for (size_t k = 0; k < json_array_size(fpr); k++)
            if (item(tpr, k) > 0) add_number(s, fmax(item(fpr, k), 1 / own_others), item(tpr, k), NAN, NAN);
        members = fmax(members, own_members);
        others = fmax(others, own_others);
    }
    if (!c->count) {
        drop_figure(f);
        return;
    }
    c->log_x = c->log_y = true;
    c->x_low = 1 / others;
    c->x_high = 1;
    c->y_low = .5 / members;
    c->y_high = 1.1;
    c->title = arena_print(&f->arena, "Members found by their %s", m->title);
    c->x_label = "share of others taken for members (false positives)";
    c->y_label = "share of members found";
    c->alt = arena_print(
        &f->arena,
        "ROC curves, both axes logarithmic: the share of members found against the share of others that are taken for members, "
        "a line for each of %d result%s, and the diagonal of chance.",
        c->count, c->count > 1 ? "s" : "");
    struct chart_series *chance = add_series(f, g, "chance", CHART_RULE, 0, 2);
    double corner = fmax(c->x_low, c->y_low);
    add_number(chance, corner, corner, NAN, NAN);
    add_number(chance, 1, 1, NAN, NAN);
    g->caption = "Up and left is more told; on the dotted line nothing is. A line begins at one false positive, and shows "
                 "there what is found without any; where it begins further right, no member is found before.";
}

// Members and others of one result, by its distances where there are any, else by its leverages.
static void add_member_scores(struct figures *f, const json_t *result) {
    static const char *const groups[] = {"members", "others"};
    const struct membership_method *m = membership_methods;
    while (m->name && !json_object_get(told_by(result, m->name), "scores")) m++;
    if (!m->name) return;
    const json_t *scores = json_object_get(told_by(result, m->name), "scores"), *edge = json_object_get(scores, "edge");
    const char *id = summary_text(result, "id");
    size_t bins = json_array_size(edge) - 1;
    struct figure *g = add_figure(f, FIGURE_MEMBERSHIP, arena_print(&f->arena, "mia_scores_%s", id), "", 2);
    struct chart *c = &g->chart;
    for (size_t k = 2; k-- > 0;) {  // members lie in front
        const json_t *count = json_object_get(scores, groups[k]);
        double all = 0;
        for (size_t i = 0; i < bins; i++) all += item(count, i);
        struct chart_series *s = add_series(f, g, groups[k], CHART_STEPS, 1 - k, bins + 1);
        for (size_t i = 0; i <= bins; i++)
            add_number(s, item(edge, i), i < bins ? 100 * item(count, i) / fmax(all, 1) : 0, NAN, NAN);
    }
    c->log_x = true;
    c->x_low = item(edge, 0);
    c->x_high = item(edge, bins);
    c->y_low = 0;
    c->title = arena_print(&f->arena, "%s: %s", id, m->title);
    c->x_label = arena_print(&f->arena, "%s (low means member)", m->title);
    c->y_label = "share of the group (%)";
    c->alt = arena_print(&f->arena, "Two histograms over the %s, from %.2g to %.2g: of the members and of the other images.",
                         m->title, c->x_low, c->x_high);
    g->caption = "Each group by itself is 100 %, in equal steps of the logarithm. Where the two lie apart, members are told "
                 "from others without error.";
}

static void add_memberships(struct figures *f, const json_t *summary) {
    const json_t *results = json_object_get(summary, "memberships");
    size_t i;
    json_t *result;
    add_singular(f, summary, results);
    for (const struct membership_method *m = membership_methods; m->name; m++) add_roc(f, summary, results, m);
    json_array_foreach (results, i, result)
        if (i < FIGURE_ENTRIES) add_member_scores(f, result);
}

// ---- searches

enum { SEARCHES_MAX = 8 };

static void add_progress(struct figures *f, const json_t *search) {
    const json_t *value = json_object_get(search, "value"), *so_far = json_object_get(search, "so_far");
    size_t n = json_array_size(value);
    if (!n || json_array_size(so_far) != n) return;
    const char *id = summary_text(search, "id");
    struct figure *g = add_figure(f, FIGURE_SEARCH, arena_print(&f->arena, "search_%s", id), "", 2);
    struct chart *c = &g->chart;
    struct chart_series *all = add_series(f, g, "trial", CHART_MARKS, 5, n),
                        *best = add_series(f, g, "best so far", CHART_LINE, 0, n);
    for (size_t i = 0; i < n; i++) {
        add_number(all, (double)i + 1, item(value, i), NAN, NAN);
        add_number(best, (double)i + 1, item(so_far, i), NAN, NAN);
    }
    if (!best->count) {
        drop_figure(f);
        return;
    }
    double starts = summary_real(search, "starts");
    c->title = arena_print(&f->arena, "%s: the search's progress", id);
    c->x_label = "trial";
    c->y_label = summary_text(search, "metric");
    c->x_low = .5;
    c->x_high = (double)n + .5;
    c->whole_x = true;
    c->alt = arena_print(
        &f->arena, "Chart: the value of each of %zu trials as marks, and the best so far as a line that ends at %.4g.",
        n, best->point[best->count - 1].y);
    g->caption = arena_print(
        &f->arena, "The %s value so far is the line.%s A trial that failed has no mark.",
        strcmp(summary_text(search, "goal"), "maximise") ? "least" : "greatest",
        isfinite(starts)
            ? arena_print(&f->arena, " The first %.0f trials are spread evenly, the model chose the rest.", starts)
            : "");
}

static void add_words(struct figures *f, struct chart *c, const json_t *words) {
    c->words = (int)json_array_size(words);
    const char **word = arena_take(&f->arena, (size_t)(c->words + 1) * sizeof *word);
    for (int i = 0; i < c->words; i++) word[i] = json_string_value(json_array_get(words, (size_t)i));
    c->word = word;
}

static void add_effect(struct figures *f, const json_t *search, const json_t *range) {
    const json_t *effect = json_object_get(range, "effect"), *x = json_object_get(effect, "x"),
                 *value = json_object_get(search, "value"), *tried = json_object_get(range, "x"),
                 *words = json_object_get(range, "words");
    size_t count = json_array_size(x), n = json_array_size(value);
    if (!count) return;
    const char *id = summary_text(search, "id"), *name = summary_text(range, "name");
    struct figure *g = add_figure(f, FIGURE_SEARCH, arena_print(&f->arena, "search_%s_%s", id, name), "", 2);
    struct chart *c = &g->chart;
    struct chart_series *model =
        add_series(f, g, "model at the best settings", words ? CHART_MARKS : CHART_BAND, 0, count);
    for (size_t i = 0; i < count; i++) {
        double mean = item(json_object_get(effect, "mean"), i), sd = item(json_object_get(effect, "sd"), i);
        add_number(model, item(x, i), mean, mean - 2 * sd, mean + 2 * sd);
    }
    struct chart_series *all = add_series(f, g, "trial", CHART_MARKS, 5, n + 1);
    if (words) all->shift = .12;
    for (size_t i = 0; i < n; i++) add_number(all, item(tried, i), item(value, i), NAN, NAN);
    if (!model->count) {
        drop_figure(f);
        return;
    }
    double low = model->point[0].x, high = low;
    c->log_x = summary_true(range, "log");
    for (int s = 0; s < c->count; s++)
        for (int i = 0; i < c->series[s].count; i++) {
            low = fmin(low, c->series[s].point[i].x);
            high = fmax(high, c->series[s].point[i].x);
        }
    c->log_x = c->log_x && low > 0;
    double edge = c->log_x ? pow(high / low, .03) : words ? .5 : .03 * (high - low);
    c->x_low = c->log_x ? low / edge : low - edge;
    c->x_high = c->log_x ? high * edge : high + edge;
    if (words) add_words(f, c, words);
    c->title = arena_print(&f->arena, "%s: effect of %s", id, name);
    c->x_label = name;
    c->y_label = summary_text(search, "metric");
    c->alt = arena_print(&f->arena,
                         "Chart: %s against %s: what the model expects with everything else as in the best trial, with "
                         "a band of two standard "
                         "deviations, and the trials as marks.",
                         c->y_label, name);
    double share = summary_real(range, "share"), total = summary_real(range, "total");
    g->caption = arena_print(&f->arena,
                             "What the Gaussian process expects with all other settings as in the best trial, give or "
                             "take two standard deviations. "
                             "The marks are trials, whose other settings differ.%s",
                             isfinite(share) && isfinite(total)
                                 ? arena_print(&f->arena,
                                               " Of the variance that the model sees over all ranges it explains %.0f "
                                               "%% alone, and %.0f %% with what it "
                                               "does together with others.",
                                               100 * share, 100 * total)
                                 : "");
}

static void add_searches(struct figures *f, const json_t *summary) {
    size_t i, k;
    json_t *search, *range;
    json_array_foreach(json_object_get(summary, "searches"), i, search) {
        if (i == SEARCHES_MAX) break;
        add_progress(f, search);
        json_array_foreach(json_object_get(search, "ranges"), k, range) add_effect(f, search, range);
    }
}

void figures_of(const json_t *summary, struct figures *f) {
    *f = (struct figures){0};
    for (size_t n = 0; n < sizeof norms / sizeof *norms; n++) add_tradeoff(f, summary, norms[n]);
    add_history(f, summary, "test_acc_vs_epoch", "test_accuracy", true);
    add_history(f, summary, "test_loss_vs_epoch", "test_loss", false);
    // Every method that any entry has, in the order of their first appearance.
    json_t *seen = json_object();
    size_t i;
    json_t *entry, *of;
    const char *method;
    json_array_foreach (json_object_get(summary, "entries"), i, entry)
        json_object_foreach (json_object_get(summary_metrics(summary, entry), "robust"), method, of)
            if (strcmp(method, "noise")) json_object_set_new(seen, method, json_true());
    json_object_foreach (seen, method, of)
        for (size_t n = 0; n < sizeof norms / sizeof *norms; n++)
            add_robust(f, summary, arena_text(&f->arena, method), norms[n]);
    json_decref(seen);
    add_memberships(f, summary);
    add_searches(f, summary);
}

bool figures_draw(struct figures *f, const char *directory, struct error *e) {
    for (int i = 0; i < f->count; i++) {
        struct figure *g = &f->figure[i];
        struct chart_bytes png;
        if (!chart_svg(&g->chart, &g->svg, e) || !chart_png(&g->chart, &png, e)) return false;
        struct out *o = out_open(arena_print(&f->arena, "%s/%s.png", directory, g->chart.stem), true, e);
        bool fine = o && out_write(o, png.data, png.size, e);
        free(png.data);
        if (o && !fine) out_drop(o);
        if (!fine || !out_close(o, e)) return false;
    }
    return true;
}

void figures_free(struct figures *f) {
    for (int i = 0; i < f->count; i++) free(f->figure[i].svg.data);
    free(f->figure);
    arena_free(&f->arena);
}

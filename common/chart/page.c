// page.c: summary, charts and pictures into one HTML file.
#include "page.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/opt.h"
#include "../io/record.h"
#include "markup.h"
#include "memberships.h"
#include "style.h"
#include "summary.h"

enum { TEXT_MAX = 300, TABLE_ROWS = 60 };

struct page {
    FILE *f;
    const json_t *summary, *entries;
    const struct figures *figures;
    const struct page_picture *picture;
    int pictures;
};

// ---- small pieces

// A record's text, cut where it is too long to read.
static void put_text(FILE *f, const char *text) {
    char cut[TEXT_MAX + 4];
    size_t n = strlen(text);
    if (n > TEXT_MAX) {
        n = TEXT_MAX;
        while (n && (text[n] & 0xc0) == 0x80) n--;
        snprintf(cut, sizeof cut, "%.*s...", (int)n, text);
        text = cut;
    }
    markup(f, "%s", text);
}

static void put_rate(FILE *f, struct summary_rate r) {
    if (!isfinite(r.value)) fputs("-", f);
    else if (!isfinite(r.low)) markup(f, "%.1f&#160;%%", 100 * r.value);
    else markup(f, "%.1f&#160;%% <span class=\"soft\">(%.1f to %.1f)</span>", 100 * r.value, 100 * r.low, 100 * r.high);
}

static void put_cell_rate(FILE *f, struct summary_rate r) {
    fputs("<td class=\"n\">", f);
    put_rate(f, r);
    fputs("</td>", f);
}

// Any JSON value as text, a digest short.
static void put_value(FILE *f, const json_t *v) {
    char *text = json_is_string(v) ? strdup(json_string_value(v)) : record_dump(v);
    if (json_is_string(v) && strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64) text[12] = 0;
    put_text(f, text);
    free(text);
}

static void put_digest(FILE *f, const char *digest) {
    markup(f, "<code title=\"%s\">%.12s</code>", digest, digest);
}

static void put_yes_no(FILE *f, const char *question, const json_t *answer) {
    if (!answer) markup(f, "<p>%s <span class=\"soft\">unknown</span></p>\n", question);
    else markup(f, "<p>%s <strong>%s</strong></p>\n", question, json_is_true(answer) ? "yes" : "no");
}

// 0 to 100 %: the interval as a band, the number as a dot, chance as a tick, noise as a ring.
static void put_bar(FILE *f, struct summary_rate r, double chance, double noise) {
    markup(f, "<svg viewBox=\"-6 0 212 20\" role=\"img\" aria-label=\"%.1f percent", 100 * r.value);
    if (isfinite(r.low)) markup(f, ", interval %.1f to %.1f", 100 * r.low, 100 * r.high);
    if (isfinite(chance)) markup(f, ", chance %.1f", 100 * chance);
    if (isfinite(noise)) markup(f, ", noise %.1f", 100 * noise);
    fputs("\"><rect x=\"0\" y=\"8\" width=\"200\" height=\"5\" rx=\"2\" fill=\"var(--track)\"/>", f);
    if (isfinite(r.low))
        markup(f, "<rect x=\"%.2f\" y=\"5\" width=\"%.2f\" height=\"11\" rx=\"2\" fill=\"var(--band)\"/>", 200 * r.low,
               fmax(1, 200 * (r.high - r.low)));
    if (isfinite(chance))
        markup(f, "<rect x=\"%.2f\" y=\"1\" width=\"2\" height=\"19\" fill=\"var(--mark)\"/>", 200 * chance - 1);
    if (isfinite(noise))
        markup(f, "<circle cx=\"%.2f\" cy=\"10.5\" r=\"4\" fill=\"none\" stroke=\"var(--soft)\" stroke-width=\"1.5\"/>",
               200 * noise);
    markup(f, "<circle cx=\"%.2f\" cy=\"10.5\" r=\"4\" fill=\"var(--dot)\"/></svg>\n", 200 * r.value);
}

static void put_interval(FILE *f, struct summary_rate r) {
    if (isfinite(r.low)) markup(f, "<p>95&#160;%% interval %.1f to %.1f&#160;%%</p>\n", 100 * r.low, 100 * r.high);
    else fputs("<p>no interval in the record</p>\n", f);
}

static void open_tile(FILE *f, const char *name) {
    markup(f, "<div class=\"tile\"><h4>%s</h4>\n", name);
}

static void not_measured(FILE *f, const char *name) {
    open_tile(f, name);
    fputs("<div class=\"none\">not measured</div></div>\n", f);
}

static bool has_figures(const struct page *p, enum figure_kind kind) {
    for (int i = 0; i < p->figures->count; i++)
        if (p->figures->figure[i].kind == kind) return true;
    return false;
}

static const char *method_title(const char *name) {
    for (const struct membership_method *m = membership_methods; m->name; m++)
        if (!strcmp(m->name, name)) return m->title;
    return name;
}

// ---- verdict

static void put_utility(FILE *f, const json_t *u, const json_t *entry) {
    struct summary_rate r = summary_rate(u, "accuracy");
    double chance = summary_real(u, "chance"), count = summary_real(entry, "count");
    if (!summary_true(u, "measured")) {
        not_measured(f, "Utility");
        return;
    }
    open_tile(f, "Utility");
    markup(f, "<div class=\"number\">%.1f %%</div>\n", 100 * r.value);
    put_bar(f, r, chance, NAN);
    fputs(isfinite(count) ? "<p>accuracy on " : "<p>accuracy on the test images", f);
    if (isfinite(count)) markup(f, "%.0f clean images", count);
    fputs("</p>\n", f);
    put_interval(f, r);
    if (isfinite(chance)) markup(f, "<p>chance %.1f %%</p>\n", 100 * chance);
    put_yes_no(f, "Distinguishable from chance:", json_object_get(u, "differs_from_chance"));
    fputs("</div>\n", f);
}

static void put_robustness(FILE *f, const json_t *v, const json_t *entry) {
    struct summary_rate r = summary_rate(v, "accuracy"), noise = summary_rate(v, "noise");
    double chance = summary_real(v, "chance");
    if (!summary_true(v, "measured")) {
        not_measured(f, "Robustness");
        return;
    }
    open_tile(f, "Robustness");
    markup(f, "<div class=\"number\">%.1f %%</div>\n", 100 * r.value);
    put_bar(f, r, chance, noise.value);
    markup(f, "<p>accuracy under %s at epsilon %g", summary_method_name(summary_text(v, "method")),
           summary_real(v, "eps"));
    if (*summary_text(entry, "norm")) markup(f, ", %s", summary_norm_name(summary_text(entry, "norm")));
    fputs("</p>\n", f);
    put_interval(f, r);
    if (isfinite(noise.value)) markup(f, "<p>noise of that size %.1f %%", 100 * noise.value);
    else fputs("<p>no noise of that size measured", f);
    if (isfinite(chance)) markup(f, "; chance %.1f %%", 100 * chance);
    fputs("</p>\n", f);
    put_yes_no(f, "Attack distinguishable from noise:", json_object_get(v, "differs_from_noise"));
    if (summary_true(v, "stopped_early"))
        fputs("<p><strong>The attack stopped too early</strong>; more --steps may break more.</p>\n", f);
    bool under = r.high < chance;
    put_yes_no(f, under ? "Model distinguishable from chance (it is worse):" : "Model distinguishable from chance:",
               json_object_get(v, "differs_from_chance"));
    fputs("</div>\n", f);
}

static void put_membership(FILE *f, const json_t *v) {
    struct summary_rate auc = summary_rate(v, "auc"), tpr = summary_rate(v, "tpr_at_fpr_1e-3");
    if (!summary_true(v, "measured")) {
        if (!*summary_text(v, "refused")) not_measured(f, "Membership");
        else {
            open_tile(f, "Membership");
            fputs("<div class=\"none\">refused</div><p>", f);
            put_text(f, summary_text(v, "refused"));
            fputs("</p></div>\n", f);
        }
        return;
    }
    open_tile(f, "Membership");
    markup(f, "<div class=\"number\">%.3f</div>\n", auc.value);
    put_bar(f, auc, .5, NAN);
    markup(f, "<p>AUC by %s, training images against others</p>\n", method_title(summary_text(v, "method")));
    if (isfinite(auc.low)) markup(f, "<p>95&#160;%% interval %.3f to %.3f; chance .5</p>\n", auc.low, auc.high);
    if (isfinite(tpr.value)) markup(f, "<p>found at .1&#160;%% false positives: %.1f&#160;%%</p>\n", 100 * tpr.value);
    put_yes_no(f, "Distinguishable from chance:", json_object_get(v, "differs_from_chance"));
    fputs("</div>\n", f);
}

static void put_reconstruction(FILE *f, const json_t *v) {
    struct summary_rate auc = summary_rate(v, "auc"), tpr = summary_rate(v, "tpr_at_fpr_1e-2");
    if (!summary_true(v, "measured")) {
        not_measured(f, "Reconstruction");
        return;
    }
    open_tile(f, "Reconstruction");
    markup(f, "<div class=\"number\">%.3f</div>\n", auc.value);
    put_bar(f, auc, .5, NAN);
    fputs("<p>AUC of rebuilt images, training against held-out ones</p>\n", f);
    if (isfinite(auc.low)) markup(f, "<p>95&#160;%% interval %.3f to %.3f; chance .5</p>\n", auc.low, auc.high);
    if (isfinite(tpr.value)) markup(f, "<p>found at 1&#160;%% false positives: %.1f&#160;%%</p>\n", 100 * tpr.value);
    put_yes_no(f, "Distinguishable from chance:", json_object_get(v, "differs_from_chance"));
    fputs("</div>\n", f);
}

// Nothing but searches, reconstructions and membership tests: no model to give a verdict on.
static bool no_verdict(const struct page *p) {
    return !json_array_size(p->entries) &&
           (has_figures(p, FIGURE_SEARCH) || json_array_size(json_object_get(p->summary, "reconstructions")) ||
            json_array_size(json_object_get(p->summary, "memberships")));
}

static void put_verdicts(const struct page *p) {
    size_t i;
    json_t *v;
    if (no_verdict(p)) return;
    fputs("<h2 id=\"verdict\">Verdict</h2>\n<p class=\"small\">Each number with its 95 % interval (band). The tick is "
          "chance, the ring is "
          "random noise of the attack's size.</p>\n",
          p->f);
    if (json_array_size(p->entries) > FIGURE_ENTRIES)
        markup(p->f,
               "<p>The first %d of %zu models are shown here, in the charts and in the table of classes; all are in "
               "<code>rows.csv</code>.</p>\n",
               (int)FIGURE_ENTRIES, json_array_size(p->entries));
    json_array_foreach (json_object_get(p->summary, "verdict"), i, v) {
        if (i == FIGURE_ENTRIES) break;
        const json_t *entry = json_array_get(p->entries, i);
        markup(p->f, "<h3>%s", summary_text(v, "id"));
        if (*summary_text(entry, "regime")) {
            fputs(" <span class=\"soft small\">regime ", p->f);
            put_text(p->f, summary_text(entry, "regime"));
            fputs("</span>", p->f);
        }
        fputs("</h3>\n<div class=\"strip\">\n", p->f);
        put_utility(p->f, json_object_get(v, "utility"), entry);
        put_robustness(p->f, json_object_get(v, "robustness"), entry);
        put_membership(p->f, json_object_get(v, "membership"));
        put_reconstruction(p->f, json_object_get(v, "reconstruction"));
        fputs("</div>\n", p->f);
    }
}

// ---- charts

static void put_number(FILE *f, const struct chart_point *p) {
    markup(f, "%.4g", p->y);
    if (isfinite(p->low) && isfinite(p->high))
        markup(f, " <span class=\"soft\">(%.4g to %.4g)</span>", p->low, p->high);
}

static const struct chart_point *point_at(const struct chart_series *s, double x) {
    for (int i = 0; i < s->count; i++)
        if (s->point[i].x == x) return &s->point[i];
    return NULL;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

// A row for each x, a column for each line.
static void put_lines_table(FILE *f, const struct chart *c) {
    size_t n = 0, kept = 0;
    for (int s = 0; s < c->count; s++) n += (size_t)c->series[s].count;
    double *x = memory_take((n + 1) * sizeof *x);
    n = 0;
    for (int s = 0; s < c->count; s++)
        for (int i = 0; i < c->series[s].count && c->series[s].style != CHART_RULE; i++)
            x[n++] = c->series[s].point[i].x;
    qsort(x, n, sizeof *x, by_value);
    for (size_t i = 0; i < n; i++)
        if (!kept || x[i] != x[kept - 1]) x[kept++] = x[i];
    size_t step = 1 + (kept - 1) / TABLE_ROWS;
    markup(f, "<table><caption>%s; values: %s%s</caption>\n<thead><tr><th class=\"n\">%s</th>", c->title, c->y_label,
           step > 1 ? "; some rows left out, all are in rows.csv" : "", c->x_label);
    for (int s = 0; s < c->count; s++)
        if (c->series[s].style != CHART_RULE) markup(f, "<th class=\"n\">%s</th>", c->series[s].name);
    fputs("</tr></thead>\n<tbody>\n", f);
    for (size_t i = 0; i < kept; i++) {
        if (i % step && i + 1 < kept) continue;
        markup(f, "<tr><th class=\"n\">%g</th>", x[i]);
        for (int s = 0; s < c->count; s++) {
            if (c->series[s].style == CHART_RULE) continue;
            const struct chart_point *p = point_at(&c->series[s], x[i]);
            fputs("<td class=\"n\">", f);
            if (p) put_number(f, p);
            fputs("</td>", f);
        }
        fputs("</tr>\n", f);
    }
    fputs("</tbody></table>\n", f);
    free(x);
}

// A row for each mark.
static void put_marks_table(FILE *f, const struct chart *c) {
    markup(f,
           "<table><caption>%s</caption>\n<thead><tr><th>model</th><th class=\"n\">epsilon</th><th "
           "class=\"n\">%s</th><th class=\"n\">%s</th>"
           "</tr></thead>\n<tbody>\n",
           c->title, c->x_label, c->y_label);
    for (int s = 0; s < c->count; s++)
        for (int i = 0; i < c->series[s].count && c->series[s].style == CHART_MARKS; i++) {
            const struct chart_point *p = &c->series[s].point[i];
            markup(f, "<tr><th>%s</th><td class=\"n\">%s</td><td class=\"n\">%.4g</td><td class=\"n\">",
                   c->series[s].name, p->label ? p->label : "", p->x);
            put_number(f, p);
            fputs("</td></tr>\n", f);
        }
    fputs("</tbody></table>\n", f);
}

// heading NULL: the section has one.
static void put_figures(const struct page *p, enum figure_kind kind, const char *id, const char *heading) {
    bool any = !heading;
    for (int i = 0; i < p->figures->count; i++) {
        const struct figure *g = &p->figures->figure[i];
        if (g->kind != kind) continue;
        if (!any) markup(p->f, "<h2 id=\"%s\">%s</h2>\n", id, heading);
        any = true;
        fputs("<figure>\n", p->f);
        if (g->svg.data) fwrite(g->svg.data, 1, g->svg.size, p->f);
        markup(p->f,
               "<figcaption>%s Also as <code>%s.png</code>.</figcaption>\n<details><summary>The values as a "
               "table</summary><div class=\"wide\">\n",
               g->caption, g->chart.stem);
        if (kind == FIGURE_TRADEOFF) put_marks_table(p->f, &g->chart);
        else put_lines_table(p->f, &g->chart);
        fputs("</div></details>\n</figure>\n", p->f);
    }
}

static void put_picture(FILE *f, const struct page_picture *g, size_t *used) {
    const char *method = summary_method_name(g->method);
    size_t size = (g->png.size + 2) / 3 * 4;
    markup(f, "<figure>\n<h3>%s under %s</h3>\n", g->entry, method);
    if (*used + size <= PAGE_PICTURES) {
        *used += size;
        markup(f,
               "<img alt=\"Rows of images: clean, then for each epsilon the image that %s made against %s and its "
               "difference.\" "
               "src=\"data:image/png;base64,",
               method, g->entry);
        markup_base64(f, g->png.data, g->png.size);
        fputs("\"/>\n", f);
    } else {
        fputs("<p class=\"soft\">Left out of this page for its size.</p>\n", f);
    }
    markup(f, "<figcaption>Also as <code>%s</code>.</figcaption>\n</figure>\n", g->file);
}

static bool has_pictures(const struct page *p, bool wall) {
    for (int k = 0; k < p->pictures; k++)
        if (p->picture[k].wall == wall) return true;
    return false;
}

static void put_pictures(const struct page *p) {
    size_t used = 0, i;
    json_t *entry;
    if (!has_pictures(p, false)) return;
    fputs("<h2 id=\"images\">Images under attack</h2>\n<p>The first images that the model gets right by itself, then "
          "for each epsilon the "
          "adversarial image and its difference from the clean one. Under an image stands the class that the model "
          "finds; a frame marks one it "
          "gets wrong. Grey is no difference; each difference is stretched to its own largest value.</p>\n",
          p->f);
    json_array_foreach (p->entries, i, entry)
        for (int k = 0; k < p->pictures; k++)
            if (!p->picture[k].wall && !strcmp(p->picture[k].entry, summary_text(entry, "id"))) put_picture(p->f, &p->picture[k], &used);
}

// ---- tables

static void put_robust_table(const struct page *p) {
    size_t i, k, count;
    json_t *entry, *of;
    const char *method;
    fputs("<div class=\"wide\"><table><caption>Every attack, and noise, as "
          "measured</caption>\n<thead><tr><th>model</th><th>method</th>"
          "<th class=\"n\">epsilon</th><th class=\"n\">accuracy</th><th class=\"n\">noise of that size</th><th>differs "
          "from noise</th>"
          "<th>against chance</th></tr></thead>\n<tbody>\n",
          p->f);
    json_array_foreach (p->entries, i, entry)
        json_object_foreach (json_object_get(summary_metrics(p->summary, entry), "robust"), method, of) {
            const char **key = summary_eps_keys(of, &count);
            for (k = 0; k < count; k++) {
                const json_t *at = json_object_get(of, key[k]);
                markup(p->f, "<tr><th>%s</th><td>%s</td><td class=\"n\">%g</td>", summary_text(entry, "id"),
                       summary_method_name(method), summary_eps(key[k]));
                put_cell_rate(p->f, summary_rate(at, "accuracy"));
                put_cell_rate(p->f, summary_rate(at, "noise"));
                const json_t *noise = json_object_get(at, "differs_from_noise"),
                             *chance = json_object_get(at, "differs_from_chance");
                bool above = summary_real(at, "accuracy") > summary_real(summary_metrics(p->summary, entry), "chance");
                markup(p->f, "<td>%s</td>", !noise ? "-" : json_is_true(noise) ? "yes" : "no");
                markup(p->f, "<td>%s</td></tr>\n", !chance ? "-" : json_is_false(chance) ? "no" : above ? "above" : "below");
            }
            free(key);
        }
    fputs("</tbody></table></div>\n", p->f);
}

static size_t classes_of(const struct page *p) {
    size_t most = 0, i;
    json_t *entry;
    json_array_foreach (p->entries, i, entry) {
        size_t n = json_array_size(json_object_get(summary_metrics(p->summary, entry), "per_class"));
        most = n > most ? n : most;
    }
    return most;
}

static const char *class_name(const struct page *p, size_t class) {
    size_t i;
    json_t *entry;
    json_array_foreach (p->entries, i, entry) {
        const json_t *row = json_array_get(json_object_get(summary_metrics(p->summary, entry), "per_class"), class);
        if (*summary_text(row, "name")) return summary_text(row, "name");
    }
    return "";
}

static void put_classes(const struct page *p) {
    size_t classes = classes_of(p), i;
    bool named = false;
    json_t *entry;
    if (!classes) return;
    fputs("<h2 id=\"classes\">Per class</h2>\n<div class=\"wide\"><table><caption>Accuracy on the clean images of each "
          "class, with its 95 % interval"
          "</caption>\n<thead><tr><th class=\"n\">class</th>",
          p->f);
    for (size_t c = 0; c < classes && !named; c++) named = *class_name(p, c);
    if (named) fputs("<th>name</th>", p->f);
    json_array_foreach (p->entries, i, entry)
        if (i < FIGURE_ENTRIES && json_object_get(summary_metrics(p->summary, entry), "per_class"))
            markup(p->f, "<th class=\"n\">%s</th>", summary_text(entry, "id"));
    fputs("</tr></thead>\n<tbody>\n", p->f);
    for (size_t c = 0; c < classes; c++) {
        markup(p->f, "<tr><th class=\"n\">%zu</th>", c);
        if (named) {
            fputs("<td>", p->f);
            put_text(p->f, class_name(p, c));
            fputs("</td>", p->f);
        }
        json_array_foreach (p->entries, i, entry) {
            const json_t *rows = json_object_get(summary_metrics(p->summary, entry), "per_class");
            if (rows && i < FIGURE_ENTRIES) put_cell_rate(p->f, summary_rate(json_array_get(rows, c), "accuracy"));
        }
        fputs("</tr>\n", p->f);
    }
    fputs("</tbody></table></div>\n", p->f);
}

static void put_models(const struct page *p) {
    size_t i;
    json_t *entry;
    if (!json_array_size(p->entries)) return;
    fputs("<div class=\"wide\"><table><caption>What is "
          "compared</caption>\n<thead><tr><th>model</th><th>architecture</th><th class=\"n\">parameters</th>"
          "<th class=\"n\">trained on</th><th class=\"n\">training accuracy</th><th class=\"n\">clean "
          "accuracy</th></tr></thead>\n<tbody>\n",
          p->f);
    json_array_foreach (p->entries, i, entry) {
        const json_t *metrics = summary_metrics(p->summary, entry);
        double parameters = summary_real(entry, "parameters"), examples = summary_real(entry, "examples");
        markup(p->f, "<tr><th>%s</th><td><code>", summary_text(entry, "id"));
        put_text(p->f, *summary_text(entry, "arch") ? summary_text(entry, "arch") : "unknown");
        fputs("</code></td><td class=\"n\">", p->f);
        if (isfinite(parameters)) markup(p->f, "%.0f", parameters);
        fputs("</td><td class=\"n\">", p->f);
        if (isfinite(examples)) markup(p->f, "%.0f", examples);
        fputs("</td>", p->f);
        put_cell_rate(p->f, summary_rate(json_object_get(metrics, "train"), "accuracy"));
        put_cell_rate(p->f,
                      summary_rate(json_object_get(metrics, json_object_get(metrics, "clean") ? "clean" : "test"), "accuracy"));
        fputs("</tr>\n", p->f);
    }
    fputs("</tbody></table></div>\n", p->f);
}

static void put_list(FILE *f, const json_t *list) {
    size_t i;
    json_t *text;
    fputs("<ul>\n", f);
    json_array_foreach(list, i, text) {
        fputs("<li>", f);
        put_text(f, json_is_string(text) ? json_string_value(text) : "");
        fputs("</li>\n", f);
    }
    fputs("</ul>\n", f);
}

// A number between 0 and 1 that is no percentage.
static void put_cell_score(FILE *f, struct summary_rate r) {
    fputs("<td class=\"n\">", f);
    if (isfinite(r.value)) markup(f, "%.3f", r.value);
    else fputs("-", f);
    if (isfinite(r.low)) markup(f, " <span class=\"soft\">(%.3f to %.3f)</span>", r.low, r.high);
    fputs("</td>", f);
}

// ---- membership

static void put_membership_rates(FILE *f, const json_t *at) {
    static const char *const rates[][2] = {{"tpr_at_fpr_1e-2", "false_positives_at_fpr_1e-2"},
                                           {"tpr_at_fpr_1e-3", "false_positives_at_fpr_1e-3"}};
    put_cell_score(f, summary_rate(at, "auc"));
    for (int i = 0; i < 2; i++) {
        double allowed = summary_real(at, rates[i][1]);
        put_cell_rate(f, summary_rate(at, rates[i][0]));
        fputs("<td class=\"n\">", f);
        if (isfinite(allowed)) markup(f, "%.0f", allowed);
        fputs("</td>", f);
    }
}

// The rank and its gap belong to the distance; where that is refused, they are what was found and not believed.
static void put_rank(FILE *f, const json_t *result) {
    double rank = summary_real(result, "rank"), gap = summary_real(result, "gap");
    fputs("<td class=\"n\">", f);
    if (isfinite(rank)) markup(f, "%.0f", rank);
    if (summary_true(result, "rank_given")) fputs(" <span class=\"soft\">(given)</span>", f);
    fputs("</td><td class=\"n\">", f);
    if (isfinite(gap)) markup(f, "%.3g", gap);
    fputs("</td>", f);
}

static void put_membership_method(FILE *f, const json_t *result, const char *method, const json_t *at, bool first) {
    double members = summary_real(result, "members"), others = summary_real(result, "others");
    bool refused = *summary_text(at, "refused"), ranked = !strcmp(method, "span");
    fputs("<tr>", f);
    if (first) {
        markup(f, "<th rowspan=\"%zu\">%s", json_object_size(json_object_get(result, "methods")), summary_text(result, "id"));
        if (isfinite(members))
            markup(f, "<br/><span class=\"soft small\">%.0f&#160;of&#160;%.0f</span>", members, members + others);
        fputs("</th>", f);
    }
    markup(f, "<td>%s</td>", method);
    if (refused) {
        fputs("<td class=\"soft\" colspan=\"5\">refused: ", f);
        put_text(f, summary_text(at, "refused"));
        fputs("</td>", f);
    } else {
        put_membership_rates(f, at);
    }
    if (ranked) put_rank(f, result);
    else fputs("<td></td><td></td>", f);
    fputs("</tr>\n", f);
}

static void put_memberships(const struct page *p) {
    const json_t *results = json_object_get(p->summary, "memberships");
    size_t i;
    json_t *result, *at;
    const char *method;
    if (!json_array_size(results)) return;
    fputs("<h2 id=\"membership\">Membership</h2>\n<p>Each image has a score that the first layer of the model gives it, and "
          "low means member. AUC: how often a training image has the lower score of two; .5 is chance. Beside each share of "
          "members found stands how many of the others may be taken for members beside them. span: the distance from the span of "
          "the training images, whose number a gap of 2 or more in the singular values tells; leverage: the same, softened, "
          "without that number.</p>\n<div class=\"wide tight\"><table><caption>With 95 % intervals</caption>\n"
          "<thead><tr><th>result</th><th>by</th><th class=\"n\">AUC</th><th class=\"n\">found at 1 %</th><th "
          "class=\"n\">allowed</th><th class=\"n\">found at .1 %</th><th class=\"n\">allowed</th><th class=\"n\">rank</th><th "
          "class=\"n\">gap</th></tr></thead>\n<tbody>\n",
          p->f);
    json_array_foreach (results, i, result) {
        bool first = true;
        json_object_foreach (json_object_get(result, "methods"), method, at) {
            put_membership_method(p->f, result, method, at, first);
            first = false;
        }
    }
    fputs("</tbody></table></div>\n", p->f);
    put_figures(p, FIGURE_MEMBERSHIP, NULL, NULL);
}

// ---- reconstructions

static void put_score_cells(FILE *f, const json_t *at) {
    put_cell_score(f, summary_rate(at, "auc"));
    put_cell_score(f, summary_rate(at, "tpr_at_fpr_1e-2"));
    double matched = summary_real(at, "matched"), control = summary_real(at, "matched_control");
    fputs("<td class=\"n\">", f);
    if (isfinite(matched)) markup(f, "%.4g", matched);
    if (isfinite(control)) markup(f, " <span class=\"soft\">(%.3g)</span>", control);
    fputs("</td>", f);
}

static void put_score(FILE *f, const json_t *score) {
    size_t i;
    json_t *baseline;
    double members = summary_real(score, "members"), runs = summary_real(score, "runs"), chance = summary_real(score, "chance");
    double ssim = summary_real(score, "ssim"), control = summary_real(score, "ssim_control"), marks = summary_real(score, "certified");
    markup(f, "<tr><th>%s</th><td class=\"n\">", summary_text(score, "id"));
    if (isfinite(runs)) markup(f, "%.0f runs", runs);
    else if (isfinite(members)) markup(f, "%.0f / %.0f", members, summary_real(score, "candidates"));
    fputs("</td>", f);
    put_score_cells(f, score);
    put_cell_rate(f, summary_rate(score, "identification"));
    fputs("<td class=\"n\">", f);
    if (isfinite(chance)) markup(f, "%.1f %%", 100 * chance);
    fputs("</td><td class=\"n\">", f);
    if (isfinite(ssim)) markup(f, "%.3f", ssim);
    if (isfinite(control)) markup(f, " <span class=\"soft\">(%.3f)</span>", control);
    fputs("</td><td class=\"n\">", f);
    if (isfinite(marks)) markup(f, "%.0f of %.0f", summary_real(score, "certified_right"), marks);
    fputs("</td></tr>\n", f);
    json_array_foreach (json_object_get(score, "baselines"), i, baseline) {
        markup(f, "<tr><td class=\"soft\">%s</td><td></td>", summary_text(baseline, "name"));
        put_score_cells(f, baseline);
        fputs("<td></td><td></td><td></td><td></td></tr>\n", f);
    }
}

static void put_walls(const struct page *p, const char *id, size_t *used) {
    for (int k = 0; k < p->pictures; k++) {
        const struct page_picture *g = &p->picture[k];
        size_t size = (g->png.size + 2) / 3 * 4;
        if (!g->wall || strcmp(g->entry, id)) continue;
        markup(p->f, "<figure>\n<h3>%s</h3>\n", id);
        if (*used + size <= PAGE_PICTURES) {
            *used += size;
            fputs("<img alt=\"Rebuilt images, each between the training image and the held-out image that are nearest to it.\" "
                  "src=\"data:image/png;base64,", p->f);
            markup_base64(p->f, g->png.data, g->png.size);
            fputs("\"/>\n", p->f);
        } else {
            fputs("<p class=\"soft\">Left out of this page for its size.</p>\n", p->f);
        }
        markup(p->f,
               "<figcaption>Each rebuilt image between the training image and the held-out image that are nearest to it, in "
               "the attack's own order, best first; below the neighbours stands their correlation with the rebuilt image. A "
               "blue frame: the attack is certain, and right; an orange one: certain, and wrong. Also as "
               "<code>%s</code>.</figcaption>\n</figure>\n",
               g->file);
    }
}

static void put_residual(FILE *f, const json_t *score) {
    double best = summary_real(score, "kkt_residual_best"), kinks = summary_real(score, "kkt_residual_free_kinks");
    if (!isfinite(best)) return;
    markup(f, "<p>%s: at the training images themselves, which no attacker has, %.2g of the weights stay unexplained by the best "
           "multipliers", summary_text(score, "id"), best);
    if (isfinite(kinks)) markup(f, ", %.2g where derivatives are free on kinks", kinks);
    fputs(".</p>\n", f);
}

static void put_reconstructions(const struct page *p) {
    const json_t *scores = json_object_get(p->summary, "reconstructions");
    size_t i, used = 0;
    json_t *score;
    if (!json_array_size(scores)) return;
    fputs(
        "<h2 id=\"reconstruction\">Reconstruction</h2>\n<p>Images rebuilt from a model, matched one to one with its training "
        "images, and with blocks of held-out images of the same number and classes. AUC: how often a training image has the "
        "better match; .5 is chance. Below each attack stand baselines, which know nothing of the weights, and what else was "
        "scored beside it.</p>\n<div class=\"wide tight\"><table><caption>With 95 % intervals; in brackets: the same of a block "
        "of held-out images</caption>\n<thead><tr><th>candidates</th><th class=\"n\">members / candidates</th><th "
        "class=\"n\">AUC</th><th class=\"n\">found at 1 % false positives</th><th class=\"n\">correlation from .95</th><th "
        "class=\"n\">nearest is a training image</th><th class=\"n\">by chance</th><th class=\"n\">SSIM</th><th "
        "class=\"n\">certain and right</th></tr></thead>\n<tbody>\n",
        p->f);
    json_array_foreach (scores, i, score) put_score(p->f, score);
    fputs("</tbody></table></div>\n", p->f);
    json_array_foreach (scores, i, score) {
        put_walls(p, summary_text(score, "id"), &used);
        put_residual(p->f, score);
        if (!json_array_size(json_object_get(score, "notes"))) continue;
        markup(p->f, "<p>Noted of %s:</p>\n", summary_text(score, "id"));
        put_list(p->f, json_object_get(score, "notes"));
    }
}

// ---- searches

static void put_real(FILE *f, double value) {
    if (isfinite(value))
        markup(f, "%.5g", value);
    else
        fputs("-", f);
}

static void put_best(FILE *f, const json_t *search) {
    double expected = summary_real(search, "best.expected"), sd = summary_real(search, "best.expected_sd"),
           starts = summary_real(search, "starts_best");
    markup(f, "<h3>%s</h3>\n<p>The %s ", summary_text(search, "id"),
           strcmp(summary_text(search, "goal"), "maximise") ? "least" : "greatest");
    put_text(f, summary_text(search, "metric"));
    fputs(" found is <strong>", f);
    put_real(f, summary_real(search, "best.value"));
    markup(f, "</strong>, in %.0f trials of which %.0f failed.", summary_real(search, "trials"),
           summary_real(search, "failed"));
    if (isfinite(expected))
        markup(f, " The model expects %.5g there, with a standard deviation of %.2g.", expected, sd);
    if (isfinite(starts)) markup(f, " The best of the evenly spread trials, which no model chose, is %.5g.", starts);
    fputs("</p>\n<p><code>", f);
    put_text(f, summary_text(search, "best.command"));
    fputs("</code></p>\n", f);
}

static void put_searches(const struct page *p) {
    size_t i, k;
    json_t *search, *range;
    json_array_foreach(json_object_get(p->summary, "searches"), i, search) {
        put_best(p->f, search);
        fputs("<div class=\"wide\"><table><caption>Ranges; share: of the variance that the model sees, what the "
              "setting explains alone; total: "
              "alone and together with others; length: how far "
              "apart two settings may be and still tell of each other, in units of the "
              "range</caption>\n<thead><tr><th>setting</th><th>range</th>"
              "<th class=\"n\">best</th><th class=\"n\">share</th><th class=\"n\">total</th><th "
              "class=\"n\">length</th></tr></thead>\n<tbody>\n",
              p->f);
        json_array_foreach(json_object_get(search, "ranges"), k, range) {
            const json_t *best = json_object_get(record_get(search, "best.at"), summary_text(range, "name"));
            markup(p->f, "<tr><th>%s</th><td>", summary_text(range, "name"));
            put_text(p->f, summary_text(range, "range"));
            fputs("</td><td class=\"n\">", p->f);
            if (best) put_value(p->f, best);
            fputs("</td><td class=\"n\">", p->f);
            put_real(p->f, summary_real(range, "share"));
            fputs("</td><td class=\"n\">", p->f);
            put_real(p->f, summary_real(range, "total"));
            fputs("</td><td class=\"n\">", p->f);
            put_real(p->f, summary_real(range, "length"));
            fputs("</td></tr>\n", p->f);
        }
        fputs("</tbody></table></div>\n", p->f);
        if (json_array_size(json_object_get(search, "notes"))) put_list(p->f, json_object_get(search, "notes"));
    }
}

// ---- how strong the attacks were

// `without`: keys between blanks that are shown elsewhere.
static void put_options(FILE *f, const json_t *options, const char *without) {
    size_t count, shown = 0;
    const char **key = record_keys(options, &count);
    for (size_t i = 0; i < count && shown < 64; i++) {
        const char *at = strstr(without, key[i]);
        if (at && at > without && at[-1] == ' ' && at[strlen(key[i])] == ' ') continue;
        fputs(shown++ ? ", " : "", f);
        put_text(f, key[i]);
        fputs("&#160;=&#160;", f);
        put_value(f, json_object_get(options, key[i]));
    }
    free(key);
}

static void put_stronger(FILE *f, const json_t *robust, const json_t *config) {
    double steps = summary_real(config, "steps"), restarts = summary_real(config, "restarts");
    if (!json_object_get(robust, "pgd") && !json_object_get(robust, "auto"))
        fputs("an attack of many steps (PGD); ", f);
    if (steps < 100) markup(f, "more steps than %g; ", steps);
    if (restarts < 5) fputs("more restarts; ", f);
    fputs(json_object_get(robust, "auto") ? "an attack written against this very model"
                                          : "several losses and an attack without gradients, as in AutoAttack",
          f);
}

// Not by looking at clean images only.
static bool is_attacked(const struct page *p, const json_t *entry) {
    return json_object_size(json_object_get(summary_metrics(p->summary, entry), "robust")) > 0;
}

static void put_strength(const struct page *p) {
    size_t i, k;
    json_t *entry, *settings;
    bool any = false;
    json_array_foreach (p->entries, i, entry) any = any || is_attacked(p, entry);
    if (!any) return;
    fputs("<h2 id=\"strength\">How strong the attacks were</h2>\n<div "
          "class=\"wide\"><table><thead><tr><th>model</th><th>attack</th><th>settings</th>"
          "<th>what would make it stronger</th></tr></thead>\n<tbody>\n",
          p->f);
    json_array_foreach (p->entries, i, entry) {
        if (!is_attacked(p, entry)) continue;
        json_array_foreach (json_object_get(entry, "settings"), k, settings) {
            const json_t *config = json_object_get(settings, "config");
            markup(p->f, "<tr><th>%s</th><td>", summary_text(entry, "id"));
            put_digest(p->f, summary_text(settings, "attack"));
            fputs("</td><td class=\"small\">", p->f);
            put_options(p->f, config, " arch regime model data device keep class_names ");
            fputs("</td><td class=\"small\">", p->f);
            put_stronger(p->f, json_object_get(summary_metrics(p->summary, entry), "robust"), config);
            fputs("</td></tr>\n", p->f);
        }
    }
    fputs("</tbody></table></div>\n", p->f);
    json_array_foreach (p->entries, i, entry) {
        if (!json_array_size(json_object_get(entry, "notes"))) continue;
        markup(p->f, "<p>What the attack's own checks say of %s:</p>\n", summary_text(entry, "id"));
        put_list(p->f, json_object_get(entry, "notes"));
    }
}

// ---- provenance

static const char *name_of(const struct page *p, const char *digest) {
    size_t i;
    json_t *blob;
    json_array_foreach (json_object_get(p->summary, "blobs"), i, blob)
        if (!strcmp(summary_text(blob, "digest"), digest)) return summary_text(blob, "name");
    return "";
}

static void put_named_digest(const struct page *p, const char *digest) {
    put_digest(p->f, digest);
    if (!*name_of(p, digest)) return;
    fputs(" <span class=\"soft\">", p->f);
    put_text(p->f, name_of(p, digest));
    fputs("</span>", p->f);
}

static void put_steps(const struct page *p) {
    size_t i, k;
    json_t *step, *input;
    fputs("<h3>From data set to report</h3>\n<div class=\"wide\"><table><thead><tr><th "
          "class=\"n\">step</th><th>program</th><th>takes</th>"
          "<th>options</th><th>gives</th></tr></thead>\n<tbody>\n",
          p->f);
    json_array_foreach (json_object_get(p->summary, "lineage"), i, step) {
        markup(p->f, "<tr><th class=\"n\">%zu</th><td>", i + 1);
        put_text(p->f, summary_text(step, "program"));
        fputs(" <span class=\"soft\">", p->f);
        put_text(p->f, summary_text(step, "version"));
        fputs("</span></td><td>", p->f);
        json_array_foreach (json_object_get(step, "inputs"), k, input) {
            if (k) fputs("<br/>", p->f);
            if (k == 12) {
                markup(p->f, "and %zu more", json_array_size(json_object_get(step, "inputs")) - k);
                break;
            }
            if (json_is_string(input)) put_named_digest(p, json_string_value(input));
        }
        fputs("</td><td class=\"small\">", p->f);
        put_options(p->f, json_object_get(step, "options"), "");
        if (json_object_get(step, "seed")) {
            fputs(json_object_size(json_object_get(step, "options")) ? ", seed&#160;=&#160;" : "seed&#160;=&#160;",
                  p->f);
            put_value(p->f, json_object_get(step, "seed"));
        }
        fputs("</td><td>", p->f);
        if (*summary_text(step, "output")) put_named_digest(p, summary_text(step, "output"));
        else if (i + 1 == json_array_size(json_object_get(p->summary, "lineage"))) fputs("this report", p->f);
        fputs("</td></tr>\n", p->f);
    }
    fputs("</tbody></table></div>\n", p->f);
}

static void put_blobs(const struct page *p) {
    size_t i;
    json_t *blob;
    fputs("<h3>What was read</h3>\n<div class=\"wide\"><table><thead><tr><th>file</th><th>kind</th><th>digest "
          "(SHA-256)</th><th>sealed</th></tr></thead>\n"
          "<tbody>\n",
          p->f);
    json_array_foreach (json_object_get(p->summary, "blobs"), i, blob) {
        const char *kind = summary_text(blob, "kind");
        fputs("<tr><td>", p->f);
        put_text(p->f, summary_text(blob, "name"));
        fputs("</td><td>", p->f);
        put_text(p->f, *kind ? kind : "plain safetensors");
        bool shown = !strcmp(kind, "model") || !strcmp(kind, "attack") || !strcmp(kind, "trials") || !strcmp(kind, "dataset") ||
                     summary_has(json_object_get(p->summary, "reconstructions"), "digest", summary_text(blob, "digest")) ||
                     summary_has(json_object_get(p->summary, "memberships"), "digest", summary_text(blob, "digest"));
        if (!shown)
            fputs(" <span class=\"soft\">(not shown here)</span>", p->f);
        markup(p->f, "</td><td><code>%s</code></td><td>%s</td></tr>\n", summary_text(blob, "digest"),
               summary_true(blob, "sealed") ? "yes" : "no");
    }
    fputs("</tbody></table></div>\n", p->f);
}

// ---- the whole

static void put_head(const struct page *p) {
    const char *title = summary_text(p->summary, "title");
    fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
          // Nothing may be fetched, whatever a text in it says.
          "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src "
          "'unsafe-inline'\"/>\n",
          p->f);
    markup(p->f, "<meta name=\"generator\" content=\"assay report %s\"/>\n<title>%s</title>\n<style>\n", ASSAY_VERSION,
           title);
    fputs(style_sheet, p->f);
    markup(p->f, "</style>\n</head>\n<body>\n<header>\n<h1>%s</h1>\n", title);
    markup(p->f, "<p class=\"soft\">%s, and how sure that is.</p>\n<nav>",
           no_verdict(p) ? "What was measured" : "What these classifiers are worth, what they withstand");
    if (!no_verdict(p)) fputs("<a href=\"#verdict\">Verdict</a> ", p->f);
    if (has_figures(p, FIGURE_TRADEOFF)) fputs("<a href=\"#tradeoff\">Trade-off</a> ", p->f);
    if (has_figures(p, FIGURE_TRAINING)) fputs("<a href=\"#training\">Training</a> ", p->f);
    if (has_figures(p, FIGURE_ROBUST)) fputs("<a href=\"#robustness\">Robustness</a> ", p->f);
    if (has_pictures(p, false)) fputs("<a href=\"#images\">Images</a> ", p->f);
    if (classes_of(p)) fputs("<a href=\"#classes\">Classes</a> ", p->f);
    if (json_array_size(json_object_get(p->summary, "memberships"))) fputs("<a href=\"#membership\">Membership</a> ", p->f);
    if (json_array_size(json_object_get(p->summary, "reconstructions"))) fputs("<a href=\"#reconstruction\">Reconstruction</a> ", p->f);
    if (has_figures(p, FIGURE_SEARCH)) fputs("<a href=\"#search\">Search</a> ", p->f);
    fputs("<a href=\"#provenance\">Provenance</a> <a href=\"#limits\">Limits</a></nav>\n</header>\n<main>\n", p->f);
}

char *page_html(const json_t *summary, const struct figures *figures, const struct page_picture *picture,
                int pictures) {
    char *text = NULL;
    size_t size;
    struct page p = {
        open_memstream(&text, &size), summary, json_object_get(summary, "entries"), figures, picture, pictures};
    BUG_IF(!p.f, "no memory stream");
    put_head(&p);
    put_verdicts(&p);
    if (json_array_size(json_object_get(summary, "notes"))) {
        fputs("<h3>Notes</h3>\n", p.f);
        put_list(p.f, json_object_get(summary, "notes"));
    }
    put_models(&p);
    put_figures(&p, FIGURE_TRADEOFF, "tradeoff", "Trade-off");
    put_figures(&p, FIGURE_TRAINING, "training", "Training");
    put_figures(&p, FIGURE_ROBUST, "robustness", "Robustness");
    if (has_figures(&p, FIGURE_ROBUST)) put_robust_table(&p);
    put_pictures(&p);
    put_classes(&p);
    put_strength(&p);
    put_memberships(&p);
    put_reconstructions(&p);
    put_figures(&p, FIGURE_SEARCH, "search", "Search");
    if (has_figures(&p, FIGURE_SEARCH)) put_searches(&p);
    fputs("<h2 id=\"provenance\">Provenance</h2>\n", p.f);
    put_steps(&p);
    put_blobs(&p);
    fputs("<h2 id=\"limits\">Limits</h2>\n", p.f);
    put_list(p.f, json_object_get(summary, "limits"));
    markup(p.f,
           "</main>\n<footer class=\"small soft\"><p>Every number here is in <code>summary.json</code> (%s), one a "
           "line in <code>rows.csv</code>.</p></footer>\n",
           summary_text(summary, "schema"));
    fputs("</body>\n</html>\n", p.f);
    BUG_IF(fclose(p.f) != 0, "no memory for a page");
    return text;
}

// spectrum.c: singular values over their number.
#include "spectrum.h"

#include <math.h>
#include <string.h>

// What lies lower than this share of the largest is rounding of float32, and is drawn at the bottom.
static const double bottom = 1e-9;

static struct chart_point point_at(double x, double y) { return (struct chart_point){x, y, NAN, NAN, NAN, NAN, NULL}; }

// Along a logarithmic axis a point every 3 % is as good as all of them; both sides of the gap are always there.
static void add_line(struct chart_series *to, const struct spectrum *s, struct arena *a) {
    const char *colon = *s->name ? ": " : "";
    double least = bottom * s->value[0];
    int64_t last = 0;
    *to = (struct chart_series){
        .name = s->rank ? arena_print(a, "%s%srank %lld, gap %.2g", s->name, colon, (long long)s->rank, s->gap)
                        : arena_print(a, "%s%sno gap", s->name, colon),
        .style = CHART_CURVE,
        .colour = s->colour};
    to->point = arena_take(a, (size_t)s->count * sizeof *to->point);
    for (int64_t k = 1; k <= s->count; k++) {
        bool edge = s->rank && (k == s->rank || k == s->rank + 1);
        if (!edge && k != 1 && k != s->count && (double)k < 1.03 * (double)last) continue;
        to->point[to->count++] = point_at((double)k, fmax(s->value[k - 1], least));
        last = k;
    }
}

static bool marked(const struct chart *c, const char *name) {
    for (int i = 0; i < c->count; i++)
        if (c->series[i].style == CHART_RULE && !strcmp(c->series[i].name, name)) return true;
    return false;
}

static bool add_rule(struct chart *c, int64_t rank, struct arena *a) {
    const char *name = arena_print(a, "after %lld", (long long)rank);
    if (marked(c, name)) return false;
    struct chart_point *end = arena_take(a, 2 * sizeof *end);
    double x = sqrt((double)rank * ((double)rank + 1));
    end[0] = point_at(x, c->y_low);
    end[1] = point_at(x, c->y_high);
    c->series[c->count++] = (struct chart_series){.name = name, .style = CHART_RULE, .count = 2, .point = end};
    return true;
}

struct chart spectrum_chart(const struct spectrum *s, int count, struct arena *a) {
    struct chart c = {.title = "Singular values of the first layer",
                      .x_label = "number, from the largest on",
                      .y_label = "singular value",
                      .x_low = .9,
                      .x_high = 1,
                      .y_low = NAN,
                      .y_high = NAN,
                      .log_x = true,
                      .log_y = true};
    c.series = arena_take(a, (size_t)(count + SPECTRUM_RULES) * sizeof *c.series);
    for (int i = 0; i < count; i++) {
        if (s[i].count < 1 || !(s[i].value[0] > 0)) continue;
        add_line(&c.series[c.count++], &s[i], a);
        c.x_high = fmax(c.x_high, 1.1 * (double)s[i].count);
        c.y_high = fmax(c.y_high, 2 * s[i].value[0]);
        for (int64_t k = 0; k < s[i].count; k++) c.y_low = fmin(c.y_low, fmax(s[i].value[k], bottom * s[i].value[0]) / 2);
    }
    for (int i = 0, rules = 0; i < count && rules < SPECTRUM_RULES; i++)
        if (s[i].rank > 0 && s[i].rank < s[i].count) rules += add_rule(&c, s[i].rank, a);
    c.alt = arena_print(a, "Line chart, both axes logarithmic: the singular values of %s, the largest first%s.",
                        count > 1 ? "first layers" : "a first layer",
                        count == 1 && s[0].rank
                            ? arena_print(a, ", which fall by a factor %.3g after %lld", s[0].gap, (long long)s[0].rank)
                            : "");
    return c;
}

bool spectrum_png(const struct spectrum *s, struct chart_bytes *out, struct error *e) {
    struct arena a = {0};
    struct chart c = spectrum_chart(s, 1, &a);
    c.stem = "spectrum";
    bool fine = chart_png(&c, out, e);
    arena_free(&a);
    return fine;
}

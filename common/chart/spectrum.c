// spectrum.c: singular values over their number, on a logarithmic scale.
#include "spectrum.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "../base/arena.h"

bool spectrum_png(const double *value, int64_t count, int64_t rank, struct chart_bytes *out, struct error *e) {
    const struct chart_point none = {NAN, NAN, NAN, NAN, NAN, NAN, NULL};
    struct chart_point *point = memory_take((size_t)(count + 1) * sizeof *point), rule[2] = {none, none};
    double least = count && value[0] > 0 ? log10(value[0]) - 9 : 0;  // what lies lower is rounding
    for (int64_t i = 0; i < count; i++) {
        point[i] = none;
        point[i].x = (double)(i + 1);
        point[i].y = value[i] > 0 ? fmax(log10(value[i]), least) : least;
    }
    rule[0].x = rule[1].x = (double)rank + .5;
    rule[0].y = least;
    rule[1].y = count && value[0] > 0 ? log10(value[0]) : 0;
    for (int64_t i = 0; i < count; i++) rule[0].y = i ? fmin(rule[0].y, point[i].y) : point[i].y;
    char name[64];
    snprintf(name, sizeof name, "after %lld", (long long)rank);
    struct chart_series series[] = {{.name = "singular values", .style = CHART_LINE, .colour = 0, .count = (int)count, .point = point},
                                    {.name = name, .style = CHART_RULE, .colour = 1, .count = 2, .point = rule}};
    struct chart c = {.stem = "spectrum", .title = "What the first layer spans", .x_label = "number", .y_label = "log10 of the singular value",
                      .alt = "The singular values of the first layer, the largest first.", .x_low = NAN, .x_high = NAN, .y_low = NAN, .y_high = NAN,
                      .whole_x = true, .count = rank ? 2 : 1, .series = series};
    bool fine = chart_png(&c, out, e);
    free(point);
    return fine;
}

// chart.h: a chart as data, and its picture by gnuplot, which is run as a program: this writes script and data.
//
// Colours are Okabe and Ito's (2008), told apart with any kind of colour vision; every series has its own
// point shape too. A struct chart borrows its texts and points.
#ifndef ASSAY_CHART_CHART_H
#define ASSAY_CHART_CHART_H

#include <stddef.h>
#include "../base/error.h"

enum chart_style {
    CHART_LINE,    // points joined by a line
    CHART_DASHED,  // the same, dashed and hollow: a baseline
    CHART_MARKS,   // points alone
    CHART_RULE,    // a thin dotted line without points: a limit
    CHART_BAND,    // a line without points, and its intervals as a pale band around it
    CHART_STEPS,   // each point's y from its x to the next one's, filled to 0: a histogram
    CHART_CURVE,   // a line through many points, of which a few have their shape, to be told by
};

struct chart_point {
    double x, y;
    double low, high;      // interval of y, NaN for none
    double x_low, x_high;  // of x, CHART_MARKS only
    const char *label;     // beside the point, CHART_MARKS only, or NULL
};

struct chart_series {
    const char *name;
    enum chart_style style;
    int colour;    // 0, 1, ...: also chooses the shape
    double shift;  // of x where it is drawn, so that series with equal values can be told apart
    int count;
    struct chart_point *point;
};

struct chart {
    const char *stem;   // of its file
    const char *title, *x_label, *y_label;
    const char *alt;    // what a person who cannot see it is told
    double x_low, x_high, y_low, y_high;  // NaN: as the data have it
    bool whole_x;       // ticks at whole numbers only
    int count;
    struct chart_series *series;
    bool log_x, log_y;  // a logarithmic axis; every x, or every y and interval, is above 0
    int words;          // x = 0, 1, ... are these, where there are any
    const char *const *word;
};

struct chart_bytes {
    char *data;  // free()
    size_t size;
};

// The script for gnuplot. `picture`: for terminal pngcairo, else for svg. free() it.
char *chart_script(const struct chart *c, bool picture);
// A PNG file of 1280 x 800 pixels on white.
bool chart_png(const struct chart *c, struct chart_bytes *out, struct error *e);
// An svg element to stand in a page: ink and colours follow the page (currentColor, --series-0 ...), ids
// begin with the chart's stem, nothing in it refers to anything outside.
bool chart_svg(const struct chart *c, struct chart_bytes *out, struct error *e);

#endif

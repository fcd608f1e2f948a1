// spectrum.h: the singular values of first layers as a picture (audit/span.h): where they fall is how many images there were.
#ifndef ASSAY_CHART_SPECTRUM_H
#define ASSAY_CHART_SPECTRUM_H

#include <stdint.h>
#include "../base/arena.h"
#include "chart.h"

enum { SPECTRUM_RULES = 4 };  // ranks that are marked; more cannot be told apart

// Borrowed.
struct spectrum {
    const char *name;     // in the key, before the rank; "" for none
    const double *value;  // [count], the largest first
    int64_t count;
    int64_t rank;         // 0: nobody knows how many images there were
    double gap;           // the value at the rank over the next
    int colour;
};

// Both axes are logarithmic. A line for each, which says its rank and gap, and a rule where they lie. Texts and points are the
// arena's, the stem is left to the caller.
struct chart spectrum_chart(const struct spectrum *s, int count, struct arena *a);
// One as a PNG file; free() data.
bool spectrum_png(const struct spectrum *s, struct chart_bytes *out, struct error *e);

#endif

// spectrum.h: the singular values of a first layer as a picture (audit/span.h): where they fall is how many images there were.
#ifndef ASSAY_CHART_SPECTRUM_H
#define ASSAY_CHART_SPECTRUM_H

#include <stdint.h>
#include "chart.h"

// value: [count], the largest first. rank: the number that was taken, marked by a rule; 0: none. A PNG file; free() data.
bool spectrum_png(const double *value, int64_t count, int64_t rank, struct chart_bytes *out, struct error *e);

#endif

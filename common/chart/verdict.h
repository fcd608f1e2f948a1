// verdict.h: what follows from the numbers of a summary (summary.h): chance, the strongest attack, what is
// distinguishable from what, and the limits of all that.
#ifndef ASSAY_CHART_VERDICT_H
#define ASSAY_CHART_VERDICT_H

#include <jansson.h>

// Completes `metrics` and writes `verdict` and `limits`.
void verdict_add(json_t *summary);

#endif

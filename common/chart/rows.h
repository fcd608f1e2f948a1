// rows.h: a summary's numbers as plain tables: one for programs, one for a terminal.
#ifndef ASSAY_CHART_ROWS_H
#define ASSAY_CHART_ROWS_H

#include <jansson.h>

// CSV with a header line: entry, set (train, test, clean, robust, class, history, reconstruction, membership, search), method,
// eps, class, epoch, metric, value, low, high. What does not apply is empty. free() it.
char *rows_csv(const json_t *summary);
// A line for each entry: accuracy on its training images, on clean ones, and under the strongest attack at each epsilon, in
// percent with intervals, and a note; then one for each membership test and method and for each reconstruction, where there
// are any. free() it.
char *rows_table(const json_t *summary);

#endif

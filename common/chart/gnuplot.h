// gnuplot.h: runs the program gnuplot.
#ifndef ASSAY_CHART_GNUPLOT_H
#define ASSAY_CHART_GNUPLOT_H

#include <stddef.h>
#include "../base/error.h"

// Feeds it a script and takes what it prints: free() *output. EXIT_SYSTEM with the package's name where there is no
// gnuplot, and with its own first complaint where it fails.
bool gnuplot_run(const char *script, char **output, size_t *size, struct error *e);

#endif

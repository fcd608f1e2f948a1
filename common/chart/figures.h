// figures.h: the charts of a report, out of its summary (summary.h) alone.
#ifndef ASSAY_CHART_FIGURES_H
#define ASSAY_CHART_FIGURES_H

#include <jansson.h>
#include "../base/arena.h"
#include "chart.h"

enum { FIGURE_ENTRIES = 24 };  // entries drawn, the first; nobody can tell more apart

enum figure_kind { FIGURE_TRADEOFF, FIGURE_TRAINING, FIGURE_ROBUST, FIGURE_MEMBERSHIP, FIGURE_SEARCH };

struct figure {
    enum figure_kind kind;
    struct chart chart;
    const char *caption;     // a sentence or two on how to read it
    struct chart_bytes svg;  // figures_draw
};

struct figures {
    int count;
    struct figure *figure;
    struct arena arena;  // owns all but the bytes drawn
};

// Borrows texts from the summary. tradeoff, test_acc_vs_epoch, test_loss_vs_epoch and robust_METHOD, where there is
// anything to draw; those in L2 end in _l2. mia_singular, mia_roc_METHOD and mia_scores_ID for membership tests. search_ID and
// search_ID_RANGE for every search.
void figures_of(const json_t *summary, struct figures *f);
// Runs gnuplot: fills in every svg, and writes STEM.png into the directory.
bool figures_draw(struct figures *f, const char *directory, struct error *e);
void figures_free(struct figures *f);

#endif

// trials.h: what a report shows of a search by tune(1), out of its blob of kind "trials".
//
// Each search is one object in the list `searches` of a summary (summary.h): id, digest, goal, metric, command, trials,
// failed, starts, best (value, command, at ...), starts_best, value and so_far (a number or null for each trial), and
// ranges: name, range, log, words (of a choice), x (a number for each trial), share, total and length, effect (x, mean, sd).
#ifndef ASSAY_CHART_TRIALS_H
#define ASSAY_CHART_TRIALS_H

#include "../io/blob.h"

enum { TRIALS_SHOWN = 2000, TRIALS_RANGES = 32 };  // of one search, the first

// `stem`: what the search is called, letters, digits, - and _; a number is added where another one has that name. What does
// not fit is passed over: a file may come from anywhere.
void trials_add(json_t *summary, const struct blob *b, const char *stem);
// A sentence on what a search's best value is worth, where there is a search.
void trials_limits(const json_t *summary, json_t *limits);

#endif

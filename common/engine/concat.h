// concat.h: a sum of PADs that lie side by side is a concatenation: one value, into which every part is written in
// place. The gradient of slices is one, and so are tokens put before others.
#ifndef ASSAY_ENGINE_CONCAT_H
#define ASSAY_ENGINE_CONCAT_H

#include "planner.h"

// Finds the concatenations and marks their PADs and the sums within them.
void concat_find(struct planner *s);
// The value of a concatenation, or of a PAD outside of one, for those who write a part of it; such a part's PAD is
// marked as done.
int concat_open(struct planner *s, const struct node *n);
// Writes the parts that nobody wrote, clears what no part covers, and hands the value out.
void concat_close(struct planner *s, const struct node *n);

#endif

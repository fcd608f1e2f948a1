// synthetic.h: labelled drawings, as many as wanted, for tests and for a machine without data.
#ifndef ASSAY_IO_SYNTHETIC_H
#define ASSAY_IO_SYNTHETIC_H

#include "intake.h"

struct synthetic {
    int64_t count;
    int classes;  // the i-th drawing is of class i mod classes
    int channels, height, width;
    uint64_t seed;
    bool test;  // other drawings of the same classes
};

// The shape of a class depends on its number alone, so sets of any two seeds go together; a drawing depends on the
// seed and its own number, so a smaller set is the beginning of a larger one.
bool synthetic_read(const struct synthetic *s, struct intake *in, struct error *e);

#endif

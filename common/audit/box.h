// box.h: the least value of a smooth function within a box, by limited-memory BFGS (Liu & Nocedal 1989, "On the limited
// memory BFGS method for large scale optimization") on the variables that are free, with steps projected into the box
// (Bertsekas 1982, "Projected Newton methods for optimization problems with simple constraints").
#ifndef ASSAY_AUDIT_BOX_H
#define ASSAY_AUDIT_BOX_H

enum { BOX_VARIABLES = 64 };

struct box {
    int n;                     // variables, at most BOX_VARIABLES
    const double *low, *high;  // [n]
    // The value at x, and its gradient [n]. Infinite where there is none: a step there is shortened.
    double (*value)(void *data, const double *x, double *gradient);
    void *data;
};

// Goes downhill from x, which is moved into the box first, and leaves the best point found there. Returns its value; at most
// `calls` of the function. A local minimum; the same on every call.
double box_minimise(const struct box *b, double *x, int calls);

#endif

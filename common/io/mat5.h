// mat5.h: numeric arrays out of a MATLAB level 5 MAT-file (MathWorks, "MAT-File Format"), the subset data sets
// use: little-endian, top-level real arrays, zlib-compressed or not. Cells, structures, characters, sparse
// and complex arrays are stepped over or refused.
#ifndef ASSAY_IO_MAT5_H
#define ASSAY_IO_MAT5_H

#include "bytes.h"

enum { MAT5_RANK_MAX = 8 };

struct mat5 {
    int rank;
    int64_t dim[MAT5_RANK_MAX];  // column-major: the first one runs fastest
    int type;                    // miINT8 = 1 ... miDOUBLE = 9: how the values are stored
    int64_t count;               // product of the dimensions
    bool inside;                 // up to four bytes of values stand in their tag: in `data`, not in the stream
    unsigned char data[4];
};

// Leaves the stream at the first value of the array called `name`; no more than `most` values.
bool mat5_find(struct bytes *b, const char *name, int64_t most, struct mat5 *m, struct error *e);
// The next `count` values as integers; a value that is none is refused.
bool mat5_integers(struct bytes *b, const struct mat5 *m, int64_t *out, int64_t count, struct error *e);

#endif

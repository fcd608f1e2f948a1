// look.h: what a person sees of a blob: its list, statistics, values, differences to another, pictures.
//
// Text goes to an open output, false and an error where it cannot be written. Names and texts out of a file
// are printed without their control characters.
#ifndef ASSAY_IO_LOOK_H
#define ASSAY_IO_LOOK_H

#include "../base/out.h"
#include "blob.h"
#include "picture.h"

// Kind, tensors, record and lineage back to the data set's checksum. `full` shortens neither digests nor lists.
bool look_list(const struct blob *b, bool full, struct out *o, struct error *e);
json_t *look_list_json(const struct blob *b);
// "FILE: good: KIND DIGEST", or that it has no seal.
bool look_verified(const struct blob *b, struct out *o, struct error *e);

// `names`: separated by commas, NULL for all.
bool look_statistics(const struct blob *b, const char *names, struct out *o, struct error *e);
json_t *look_statistics_json(const struct blob *b, const char *names);

// A line for each row of the last dimension, for each value of a list; integers exactly, floats by their
// shortest text.
bool look_values(const struct tensor *t, struct out *o, struct error *e);
bool look_heading(const struct tensor *t, struct out *o, struct error *e);  // "# NAME DTYPE [SHAPE]"

// Says where the tensors differ by more than `tolerance` (NaN equals NaN alone). *same: nowhere. Metadata are
// not compared.
bool look_differences(const struct blob *a, const struct blob *b, const char *names, double tolerance, bool *same,
                      struct out *o, struct error *e);

struct look_wall {
    const char *name;  // of the tensor, NULL: x, or the only one of rank 3 or 4
    int64_t limit;     // images at most
    int columns, scale;
    bool stretch;      // each image from its least to its greatest value, instead of 0 to 1
};
// A grid of images [N, C, H, W] or [N, H, W] (U8 counts as value / 255), each labelled with its position and,
// where the blob has them, its label y and the label's name. *outside: how many values lay outside [0, 1].
struct picture *look_picture(const struct blob *b, const struct look_wall *wall, int64_t *outside, struct error *e);

#endif

// own.h: a user's own labelled images.
#ifndef ASSAY_IO_OWN_H
#define ASSAY_IO_OWN_H

#include "../base/arena.h"
#include "intake.h"

// A directory with one sub-directory of PNG files per class, all of one size. Classes and files are taken in natural
// order (2 before 10); what does not end in .png or begins with a dot is not looked at. Names go to `names`.
bool own_pictures(const char *directory, struct intake *in, struct arena *names, struct error *e);

// Two .npy files: X of [N, H, W], [N, C, H, W] or, where only the last dimension can be a channel (1 or 3),
// [N, H, W, C]; bytes, or floats in [0, 1]. Y of N integers.
bool own_arrays(const char *x_path, const char *y_path, struct intake *in, struct error *e);

#endif

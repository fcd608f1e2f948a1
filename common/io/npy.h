// npy.h: one array in numpy's .npy format (versions 1 to 3, little-endian, row-major).
#ifndef ASSAY_IO_NPY_H
#define ASSAY_IO_NPY_H

#include "tensor.h"

// A tensor that owns its name and data; npy_free it. Big-endian, Fortran-ordered, structured and object
// arrays are refused with a sentence on how to save them instead.
struct tensor *npy_read(const char *path, struct error *e);
void npy_free(struct tensor *t);

// numpy has no bfloat16: BF16 is written as F32. Atomic for files; "-" and NULL are standard output.
bool npy_write(const struct tensor *t, const char *path, struct error *e);

#endif

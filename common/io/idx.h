// idx.h: IDX, the container of MNIST and FashionMNIST (LeCun, Cortes & Burges, "The MNIST database"): a
// big-endian magic number (0x0803 images, 0x0801 labels; bytes of rank 3 and 1), the dimensions, the bytes;
// gzipped or not.
#ifndef ASSAY_IO_IDX_H
#define ASSAY_IO_IDX_H

#include "bytes.h"
#include "intake.h"

// Labels as I64, owned by the caller; *count of them, in [1, most]. The stream must end with them.
int64_t *idx_labels(struct bytes *b, int64_t most, int64_t *count, struct error *e);
// Images of in's shape, U8: labels are counted already, the choice is not yet made.
bool idx_images(struct bytes *b, struct intake *in, const int64_t *label, int64_t count, struct error *e);

#endif

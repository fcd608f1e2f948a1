// svhn.h: Street View House Numbers, cropped digits (Netzer et al. 2011): a MAT-file with X, bytes
// 32 x 32 x 3 x N, and y, N labels in 1..10, where 10 stands for the digit 0.
#ifndef ASSAY_IO_SVHN_H
#define ASSAY_IO_SVHN_H

#include "bytes.h"
#include "intake.h"

bool svhn_read(struct bytes *b, struct intake *in, int64_t most, struct error *e);

#endif

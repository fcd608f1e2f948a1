// cifar.h: CIFAR-10, binary version (Krizhevsky 2009): a tar archive, usually gzipped, with six members of rows
// of 3073 bytes: label, then the red, green and blue planes of 32x32.
#ifndef ASSAY_IO_CIFAR_H
#define ASSAY_IO_CIFAR_H

#include "bytes.h"
#include "intake.h"

// The members of one split, in the order of their numbers wherever they stand in the archive. Nothing else
// of the archive is looked at and nothing is ever unpacked to disk. `exact`: members have 10 000 rows, as published;
// otherwise up to that many.
bool cifar_read(struct bytes *b, struct intake *in, bool test, bool exact, struct error *e);

#endif

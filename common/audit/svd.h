// svd.h: the singular value decomposition, by LAPACK's dgesdd (Gu & Eisenstat 1995), on one thread: the bits of a result do not
// depend on the processors.
//
// Everything is row-major and the caller's: a [rows][columns] = left diag(value) right, with k = min(rows, columns),
//   value [k], the largest first; left [rows][k], orthonormal columns; right [k][columns], orthonormal rows.
#ifndef ASSAY_AUDIT_SVD_H
#define ASSAY_AUDIT_SVD_H

#include <stdint.h>

#include "../base/error.h"

// Overwrites a. EXIT_INPUT where the iteration does not converge, as on what is no number; `what` names the matrix then.
bool svd(int64_t rows, int64_t columns, double *a, double *value, double *left, double *right, const char *what, struct error *e);

#endif

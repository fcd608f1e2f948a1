// svd.c: LAPACK is column-major, so what it decomposes is the transpose, and the two sides change places.
#include "svd.h"

#include <cblas.h>
#include <stdlib.h>

#include "../base/arena.h"

// libopenblas has it, no header of Debian's does.
extern void dgesdd_(const char *job, const int *m, const int *n, double *a, const int *lda, double *s, double *u, const int *ldu,
                    double *vt, const int *ldvt, double *work, const int *lwork, int *iwork, int *info);

bool svd(int64_t rows, int64_t columns, double *a, double *value, double *left, double *right, const char *what,
         struct error *e) {
    int m = (int)columns, n = (int)rows, k = m < n ? m : n, lwork = -1, info = 0;
    int *iwork = memory_take((size_t)(8 * k) * sizeof *iwork);
    double size;
    openblas_set_num_threads(1);
    dgesdd_("S", &m, &n, a, &m, value, right, &m, left, &k, &size, &lwork, iwork, &info);
    lwork = (int)size;
    double *work = memory_take((size_t)lwork * sizeof *work);
    dgesdd_("S", &m, &n, a, &m, value, right, &m, left, &k, work, &lwork, iwork, &info);
    free(work);
    free(iwork);
    return !info || error_set(e, EXIT_INPUT, "the singular values of %s did not converge", what);
}

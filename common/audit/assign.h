// assign.h: the linear assignment problem, exactly: rows to columns, one to one, so that the sum of gains is the largest.
//
// Shortest augmenting paths in the dense matrix (Jonker & Volgenant 1987, "A shortest augmenting path algorithm for dense
// and sparse linear assignment problems"; rectangular as in Crouse 2016, "On implementing 2D rectangular assignment
// algorithms"), after a greedy start that keeps the duals feasible. O(rows^2 cols) at worst; in double.
#ifndef ASSAY_AUDIT_ASSIGN_H
#define ASSAY_AUDIT_ASSIGN_H

#include <stdint.h>

// gain: [rows, cols], a row `stride` elements apart, all finite (BUG). col [rows]: the column of each row; where there are
// more rows than columns, -1 in those that got none. Returns the sum of gains.
// u [rows] and v [cols] are the dual solution, which proves the optimum (NULL: not wanted): u_i + v_j >= gain_ij, with
// equality where matched; on the longer side no dual is negative, and it is 0 where unmatched.
double assign_best(const float *gain, int64_t stride, int64_t rows, int64_t cols, int64_t *col, double *u, double *v);

#endif

// part.h: taking a part out of a blob, and putting parts together again.
//
// A row is a position along the first dimension. Rows of a data set carry `index`, their positions in the
// source, and its digest as assay.source, so that members and held-out examples can be told later. Results
// are blobs under construction: they borrow from the blobs they were made of, which must live as long.
// Metrics describe the whole they were measured on, so a part and a union of parts have none.
#ifndef ASSAY_IO_PART_H
#define ASSAY_IO_PART_H

#include "blob.h"

// Whether `names`, separated by commas (NULL: any), holds `name`.
bool part_names_hold(const char *names, const char *name);
// Refuses names that the blob does not have.
bool part_check_names(const struct blob *b, const char *names, struct error *e);

struct part_rows {
    int64_t from, to;  // [from, to)
};
// "A:B", "A:", ":B"; an open end is INT64_MAX. EXIT_USAGE.
bool part_parse_rows(const char *text, struct part_rows *r, struct error *e);

// The tensors named (NULL: all), and of these the rows (NULL: all).
struct blob *part_cut(const struct blob *b, const char *names, const struct part_rows *rows, struct error *e);
// Part `k` of `n`, 1-based, by rows as even as can be; assay.part says which.
struct blob *part_of(const struct blob *b, const char *names, int64_t k, int64_t n, struct error *e);

// The rows of all blobs behind each other: in the order of assay.part where they carry it (parts that are
// missing, doubled or of another set are refused by number), else in the order given. Tensors without rows
// must be the same in all. The parts of a whole data set give that data set.
struct blob *part_join(const struct blob *const *blob, int count, struct error *e);

#endif

// tensor.h: a named view of numbers. Tensors borrow; arenas, blobs and plans own.
// Row-major, little-endian, no gaps: strides are never stored.
#ifndef ASSAY_IO_TENSOR_H
#define ASSAY_IO_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "../base/error.h"

enum dtype { BOOL, U8, I8, I16, U16, I32, U32, I64, U64, F16, BF16, F32, F64, DTYPES };

enum { TENSOR_RANK_MAX = 8 };

struct tensor {
    const char *name;
    enum dtype dtype;
    int rank;                      // 0: a scalar
    int64_t dim[TENSOR_RANK_MAX];  // a dimension may be 0
    void *data;                    // 64-byte aligned where a blob or an arena owns it
};

size_t dtype_size(enum dtype d);
const char *dtype_name(enum dtype d);                // "F32"
bool dtype_parse(const char *name, enum dtype *d);

int64_t tensor_count(const struct tensor *t);        // product of the dimensions; 1 at rank 0
size_t tensor_bytes(const struct tensor *t);
double tensor_value(const struct tensor *t, int64_t i);  // element i as a double, whatever the dtype (I64 rounds)
// "[3, 28, 28]" into out (128 bytes), for messages.
char *tensor_shape_text(const struct tensor *t, char *out);
// "47 040 000" into out (32 bytes), for messages that name sizes.
char *tensor_size_text(uint64_t size, char *out);
// Says "tensor x: U8 [N, 1, 28, 28] expected, F32 [3] found". A dim of -1 matches any size.
bool tensor_expect(const struct tensor *t, enum dtype d, int rank, const int64_t *dim, struct error *e);

#endif

// tensor.c: element types and shapes. The half-precision formats are IEEE 754 binary16 and bfloat16 (the
// upper half of a binary32).
#include "tensor.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} types[DTYPES] = {
    [BOOL] = {"BOOL", 1}, [U8] = {"U8", 1},   [I8] = {"I8", 1},   [I16] = {"I16", 2}, [U16] = {"U16", 2},
    [I32] = {"I32", 4},   [U32] = {"U32", 4}, [I64] = {"I64", 8}, [U64] = {"U64", 8}, [F16] = {"F16", 2},
    [BF16] = {"BF16", 2}, [F32] = {"F32", 4}, [F64] = {"F64", 8},
};

size_t dtype_size(enum dtype d) {
    BUG_IF((unsigned)d >= DTYPES, "dtype %d", (int)d);
    return types[d].size;
}

const char *dtype_name(enum dtype d) {
    BUG_IF((unsigned)d >= DTYPES, "dtype %d", (int)d);
    return types[d].name;
}

bool dtype_parse(const char *name, enum dtype *d) {
    for (int i = 0; i < DTYPES; i++)
        if (strcmp(name, types[i].name) == 0) {
            *d = (enum dtype)i;
            return true;
        }
    return false;
}

int64_t tensor_count(const struct tensor *t) {
    int64_t count = 1;
    for (int i = 0; i < t->rank; i++) count *= t->dim[i];
    return count;
}

size_t tensor_bytes(const struct tensor *t) {
    return (size_t)tensor_count(t) * dtype_size(t->dtype);
}

static double half_value(uint16_t bits) {
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double magnitude = exponent == 0    ? ldexp(fraction, -24)
                       : exponent == 31 ? (fraction ? NAN : INFINITY)
                                        : ldexp(1024 + fraction, exponent - 25);
    return bits >> 15 ? -magnitude : magnitude;
}

static double bfloat_value(uint16_t bits) {
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

double tensor_value(const struct tensor *t, int64_t i) {
    switch (t->dtype) {
    case BOOL: return ((const uint8_t *)t->data)[i] != 0;
    case U8: return ((const uint8_t *)t->data)[i];
    case I8: return ((const int8_t *)t->data)[i];
    case I16: return ((const int16_t *)t->data)[i];
    case U16: return ((const uint16_t *)t->data)[i];
    case I32: return ((const int32_t *)t->data)[i];
    case U32: return ((const uint32_t *)t->data)[i];
    case I64: return (double)((const int64_t *)t->data)[i];
    case U64: return (double)((const uint64_t *)t->data)[i];
    case F16: return half_value(((const uint16_t *)t->data)[i]);
    case BF16: return bfloat_value(((const uint16_t *)t->data)[i]);
    case F32: return ((const float *)t->data)[i];
    case F64: return ((const double *)t->data)[i];
    case DTYPES: break;
    }
    BUG("dtype %d", (int)t->dtype);
}

enum { SHAPE_TEXT = 128 };

// A negative dimension stands for any size: "N" in front, where examples are counted, else "any".
static char *shape_text(int rank, const int64_t *dim, char *out) {
    size_t at = 0;
    at += (size_t)snprintf(out, SHAPE_TEXT, "[");
    for (int i = 0; i < rank && at < SHAPE_TEXT; i++) {
        const char *comma = i ? ", " : "";
        if (dim[i] < 0)
            at += (size_t)snprintf(out + at, SHAPE_TEXT - at, "%s%s", comma, i ? "any" : "N");
        else
            at += (size_t)snprintf(out + at, SHAPE_TEXT - at, "%s%lld", comma, (long long)dim[i]);
    }
    if (at < SHAPE_TEXT) snprintf(out + at, SHAPE_TEXT - at, "]");
    return out;
}

char *tensor_shape_text(const struct tensor *t, char *out) {
    return shape_text(t->rank, t->dim, out);
}

char *tensor_size_text(uint64_t size, char *out) {
    char plain[24];
    int length = snprintf(plain, sizeof plain, "%llu", (unsigned long long)size), at = 0;
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0) out[at++] = ' ';
        out[at++] = plain[i];
    }
    out[at] = 0;
    return out;
}

bool tensor_expect(const struct tensor *t, enum dtype d, int rank, const int64_t *dim, struct error *e) {
    bool fits = t->dtype == d && t->rank == rank;
    for (int i = 0; fits && i < rank; i++) fits = dim[i] < 0 || dim[i] == t->dim[i];
    if (fits) return true;
    char expected[SHAPE_TEXT], found[SHAPE_TEXT];
    return error_set(e, EXIT_INPUT, "tensor %s: %s %s expected, %s %s found", t->name, dtype_name(d),
                     shape_text(rank, dim, expected), dtype_name(t->dtype), tensor_shape_text(t, found));
}

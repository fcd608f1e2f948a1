// npy.c: numpy's .npy files: a magic number, a version, a length, a Python dictionary as text, the data.
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#include "npy.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/out.h"
#include "bytes.h"

enum { HEADER_MAX = 1 << 16, ALIGNMENT = 64 };
static const unsigned char magic[6] = {0x93, 'N', 'U', 'M', 'P', 'Y'};

static const struct {
    const char *descr;
    enum dtype dtype;
} types[] = {
    {"|b1", BOOL}, {"|u1", U8},  {"|i1", I8},  {"<i2", I16}, {"<u2", U16}, {"<i4", I32},
    {"<u4", U32},  {"<i8", I64}, {"<u8", U64}, {"<f2", F16}, {"<f4", F32}, {"<f8", F64},
};

// What stands behind `'key':` in the dictionary, or NULL.
static const char *entry(const char *header, const char *key) {
    char quoted[32];
    snprintf(quoted, sizeof quoted, "'%s'", key);
    const char *at = strstr(header, quoted);
    if (!at) return NULL;
    at += strlen(quoted);
    at += strspn(at, " ");
    if (*at++ != ':') return NULL;
    return at + strspn(at, " ");
}

static bool parse_descr(const char *at, struct tensor *t, struct error *e) {
    if (!at || *at != '\'')
        return error_set(e, EXIT_INPUT, "a plain number type expected as descr; structured arrays are not read");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strncmp(at + 1, types[i].descr, 3) == 0 && at[4] == '\'') {
            t->dtype = types[i].dtype;
            return true;
        }
    int length = (int)strcspn(at + 1, "'");
    return error_set(e, EXIT_INPUT,
                     "descr %.*s is not read; save it with .astype() as little-endian bool, int, uint or float",
                     length > 20 ? 20 : length, at + 1);
}

static bool parse_shape(const char *at, struct tensor *t, struct error *e) {
    if (!at || *at++ != '(') return error_set(e, EXIT_INPUT, "a tuple expected as shape");
    uint64_t bytes = dtype_size(t->dtype);
    bool empty = false;
    for (t->rank = 0; at += strspn(at, " ,"), *at != ')'; t->rank++) {
        if (!isdigit((unsigned char)*at)) return error_set(e, EXIT_INPUT, "shape: a number of 0 or more expected");
        if (t->rank == TENSOR_RANK_MAX)
            return error_set(e, EXIT_INPUT, "shape: at most %d dimensions expected", TENSOR_RANK_MAX);
        uint64_t dim = 0;
        bool over = false;
        for (; isdigit((unsigned char)*at); at++)
            over = over || __builtin_mul_overflow(dim, 10u, &dim) ||
                   __builtin_add_overflow(dim, (uint64_t)(*at - '0'), &dim);
        over = over || dim > INT64_MAX || (dim > 0 && __builtin_mul_overflow(bytes, dim, &bytes)) || bytes > INT64_MAX;
        if (over) return error_set(e, EXIT_INPUT, "shape: the product of the dimensions overflows");
        empty = empty || dim == 0;
        t->dim[t->rank] = (int64_t)dim;
    }
    return true;
}

static bool parse_header(const char *header, struct tensor *t, struct error *e) {
    if (!parse_descr(entry(header, "descr"), t, e) || !parse_shape(entry(header, "shape"), t, e)) return false;
    const char *order = entry(header, "fortran_order");
    return (order && strncmp(order, "False", 5) == 0) ||
           error_set(e, EXIT_INPUT, "rows first expected, Fortran order found; save it with numpy.ascontiguousarray()");
}

static bool read_array(struct bytes *b, struct tensor *t, struct error *e) {
    const char *name = bytes_name(b);
    unsigned char head[12];
    if (!bytes_take(b, head, 10, e)) return false;
    if (memcmp(head, magic, sizeof magic) != 0)
        return error_set(e, EXIT_INPUT, "%s: a .npy file expected; its magic number is missing", name);
    if (head[6] < 1 || head[6] > 3)
        return error_set(e, EXIT_INPUT, "%s: version 1 to 3 expected, %d found", name, head[6]);
    size_t length = (size_t)(head[8] | head[9] << 8), at = 10;
    if (head[6] > 1) {
        if (!bytes_take(b, head + 10, 2, e)) return false;
        length |= (size_t)head[10] << 16 | (size_t)head[11] << 24;
        at = 12;
    }
    if (length > HEADER_MAX)
        return error_set(e, EXIT_INPUT, "%s: a header of %zu bytes announced, the limit is %d", name, length,
                         HEADER_MAX);
    char *header = memory_zero(length + 1);
    bool good = bytes_take(b, header, length, e) && (parse_header(header, t, e) || error_prefix(e, "%s", name));
    free(header);
    if (!good) return false;

    int64_t there = bytes_size(b) - (int64_t)(at + length);
    char shape[128];
    if (there < 0 || (uint64_t)there != tensor_bytes(t))
        return error_set(e, EXIT_INPUT, "%s: %zu bytes of %s %s expected, %lld there", name, tensor_bytes(t),
                         dtype_name(t->dtype), tensor_shape_text(t, shape), (long long)there);
    t->data = memory_take(there ? (size_t)there : 1);
    return bytes_take(b, t->data, (size_t)there, e);
}

struct tensor *npy_read(const char *path, struct error *e) {
    struct bytes *b = bytes_open(path, e);
    if (!b) return NULL;
    struct tensor *t = memory_zero(sizeof *t);
    t->name = strdup(path);
    if (!read_array(b, t, e)) {
        npy_free(t);
        t = NULL;
    }
    bytes_close(b);
    return t;
}

void npy_free(struct tensor *t) {
    if (!t) return;
    free((char *)t->name);
    free(t->data);
    free(t);
}

bool npy_write(const struct tensor *t, const char *path, struct error *e) {
    int64_t count = tensor_count(t);
    const void *data = t->data;
    size_t size = tensor_bytes(t);
    enum dtype dtype = t->dtype;
    float *wide = NULL;
    if (dtype == BF16) {
        dtype = F32;
        size = (size_t)count * sizeof *wide;
        data = wide = memory_take(size ? size : 1);
        for (int64_t i = 0; i < count; i++) wide[i] = (float)tensor_value(t, i);
    }
    const char *descr = NULL;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].dtype == dtype) descr = types[i].descr;

    char header[512];
    int at = snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
    for (int i = 0; i < t->rank; i++)
        at += snprintf(header + at, sizeof header - (size_t)at,
                       t->rank == 1 ? "%lld,"
                       : i          ? ", %lld"
                                    : "%lld",
                       (long long)t->dim[i]);
    at += snprintf(header + at, sizeof header - (size_t)at, "), }");
    while ((10 + at + 1) % ALIGNMENT) header[at++] = ' ';
    header[at++] = '\n';
    unsigned char prefix[10] = {0, 0, 0, 0, 0, 0, 1, 0, (unsigned char)at, (unsigned char)(at >> 8)};
    memcpy(prefix, magic, sizeof magic);

    struct out *o = out_open(path, true, e);
    bool good = o && out_write(o, prefix, sizeof prefix, e) && out_write(o, header, (size_t)at, e) &&
                out_write(o, data, size, e);
    if (good)
        good = out_close(o, e);
    else if (o)
        out_drop(o);
    free(wide);
    return good;
}

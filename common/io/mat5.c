// mat5.c: MAT-file level 5. A file is 128 bytes of header, then elements: tag (type, bytes), data padded to
// eight. A compressed element is one zlib stream of one such element and is not padded. Tags of up to four
// bytes of data may hold them inside ("small" elements).
#include "mat5.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"

enum { INT8 = 1, UINT8, INT16, UINT16, INT32, UINT32, SINGLE, DOUBLE = 9, INT64 = 12, UINT64, MATRIX, COMPRESSED };
enum { CLASS_DOUBLE = 6, CLASS_UINT64 = 15 };  // the numeric classes lie between
enum { HEAD = 128, NAME_MAX_BYTES = 64 };

struct tag {
    uint32_t type, bytes;
    bool small;
    unsigned char data[4];  // of a small one
};

static uint32_t u32_of(const unsigned char *c) {
    return (uint32_t)c[3] << 24 | (uint32_t)c[2] << 16 | (uint32_t)c[1] << 8 | c[0];
}

// Bytes of a value.
static size_t size_of(int type) {
    static const unsigned char size[] = {[INT8] = 1,   [UINT8] = 1,  [INT16] = 2,  [UINT16] = 2, [INT32] = 4,
                                         [UINT32] = 4, [SINGLE] = 4, [DOUBLE] = 8, [INT64] = 8,  [UINT64] = 8};
    return type > 0 && type <= UINT64 ? size[type] : 0;
}

static bool read_tag(struct bytes *b, struct tag *t, struct error *e) {
    unsigned char c[8];
    if (!bytes_take(b, c, 8, e)) return false;
    *t = (struct tag){.type = u32_of(c), .bytes = u32_of(c + 4)};
    if (t->type >> 16) {
        t->small = true;
        t->bytes = t->type >> 16;
        t->type &= 0xffff;
        memcpy(t->data, c + 4, 4);
        if (t->bytes > 4) return error_set(e, EXIT_INPUT, "%s: a small element of %u bytes", bytes_name(b), t->bytes);
    }
    return true;
}

// A short sub-element whole, with its padding.
static bool read_part(struct bytes *b, uint32_t type, unsigned char *out, uint32_t most, uint32_t *bytes,
                      struct error *e) {
    struct tag t;
    if (!read_tag(b, &t, e)) return false;
    if (t.type != type || t.bytes > most)
        return error_set(e, EXIT_INPUT,
                         "%s: an element of type %u with at most %u bytes expected, type %u with %u found",
                         bytes_name(b), type, most, t.type, t.bytes);
    *bytes = t.bytes;
    if (t.small) {
        memcpy(out, t.data, t.bytes);
        return true;
    }
    return bytes_take(b, out, t.bytes, e) && bytes_skip(b, (8 - t.bytes % 8) % 8, e);
}

// Flags, dimensions and name of a matrix: everything before its values. *numeric is false for other kinds, of
// which nothing more is read.
static bool read_matrix_head(struct bytes *b, struct mat5 *m, char name[NAME_MAX_BYTES + 1], bool *numeric,
                             struct error *e) {
    unsigned char c[8 * MAT5_RANK_MAX];
    uint32_t bytes;
    if (!read_part(b, UINT32, c, 8, &bytes, e)) return false;
    *numeric = bytes == 8 && c[0] >= CLASS_DOUBLE && c[0] <= CLASS_UINT64 && !(c[1] & 8);  // bit 3: complex
    if (!*numeric) return true;
    if (!read_part(b, INT32, c, 4 * MAT5_RANK_MAX, &bytes, e)) return false;
    if (bytes < 8 || bytes % 4) return error_set(e, EXIT_INPUT, "%s: an array without dimensions", bytes_name(b));
    m->rank = (int)(bytes / 4);
    m->count = 1;
    for (int i = 0; i < m->rank; i++) {
        m->dim[i] = (int32_t)u32_of(c + 4 * i);
        if (m->dim[i] < 0 || __builtin_mul_overflow(m->count, m->dim[i], &m->count))
            return error_set(e, EXIT_INPUT, "%s: an array with a dimension of %lld", bytes_name(b),
                             (long long)m->dim[i]);
    }
    if (!read_part(b, INT8, (unsigned char *)name, NAME_MAX_BYTES, &bytes, e)) return false;
    name[bytes] = 0;
    return true;
}

// Right before the values: their tag must agree with the dimensions.
static bool open_values(struct bytes *b, const char *name, int64_t most, struct mat5 *m, struct error *e) {
    struct tag t;
    if (!read_tag(b, &t, e)) return false;
    m->type = (int)t.type;
    size_t size = t.type <= UINT64 ? size_of((int)t.type) : 0;
    if (!size)
        return error_set(e, EXIT_INPUT, "%s: array %s: values of type %u are not read", bytes_name(b), name, t.type);
    if (m->count < 1 || m->count > most)
        return error_set(e, EXIT_INPUT, "%s: array %s: values in [1, %lld] expected, %lld found", bytes_name(b), name,
                         (long long)most, (long long)m->count);
    if ((uint64_t)m->count * size != t.bytes)
        return error_set(e, EXIT_INPUT, "%s: array %s: %lld values of %zu bytes expected, %u bytes found",
                         bytes_name(b), name, (long long)m->count, size, t.bytes);
    m->inside = t.small;
    memcpy(m->data, t.data, sizeof t.data);
    return true;
}

static bool read_file_head(struct bytes *b, struct error *e) {
    unsigned char c[HEAD];
    if (!bytes_seek(b, 0, e) || !bytes_take(b, c, HEAD, e)) return false;
    if (c[126] != 'I' || c[127] != 'M' || c[124] != 0 || c[125] != 1)
        return error_set(e, EXIT_INPUT, "%s: a little-endian MATLAB level 5 file expected", bytes_name(b));
    return true;
}

bool mat5_find(struct bytes *b, const char *name, int64_t most, struct mat5 *m, struct error *e) {
    if (!read_file_head(b, e)) return false;
    for (int64_t at = HEAD; at < bytes_size(b);) {
        struct tag t;
        char found[NAME_MAX_BYTES + 1];
        bool numeric;
        if (!bytes_seek(b, at, e) || !read_tag(b, &t, e)) return false;
        at += 8 + (t.small ? 0 : (int64_t)t.bytes);
        if (at > bytes_size(b))
            return error_set(e, EXIT_INPUT, "%s: ends early: an element up to byte %lld, the file has %lld",
                             bytes_name(b), (long long)at, (long long)bytes_size(b));
        if (t.type == COMPRESSED) {
            // Room for the values of eight bytes, and for what stands before them.
            if (!bytes_unzlib(b, t.bytes, most * 8 + 4096, e) || !read_tag(b, &t, e)) return false;
        } else if (!t.small) {
            at += (8 - t.bytes % 8) % 8;
        }
        if (t.type != MATRIX || t.small) continue;
        if (!read_matrix_head(b, m, found, &numeric, e)) return false;
        if (numeric && strcmp(found, name) == 0) return open_values(b, name, most, m, e);
    }
    return error_set(e, EXIT_INPUT, "%s: holds no numeric array %s", bytes_name(b), name);
}

static double value_of(const unsigned char *c, int type) {
    union {
        uint64_t u;
        int64_t i;
        double d;
        uint32_t w;
        float f;
    } v = {.u = 0};
    for (size_t k = 0; k < size_of(type); k++) v.u |= (uint64_t)c[k] << 8 * k;
    switch (type) {
    case INT8: return (int8_t)v.u;
    case INT16: return (int16_t)v.u;
    case INT32: return (int32_t)v.u;
    case SINGLE: return v.f;
    case DOUBLE: return v.d;
    case INT64: return (double)v.i;
    default: return (double)v.u;
    }
}

bool mat5_integers(struct bytes *b, const struct mat5 *m, int64_t *out, int64_t count, struct error *e) {
    unsigned char c[8];
    size_t size = size_of(m->type);
    for (int64_t i = 0; i < count; i++) {
        if (!m->inside && !bytes_take(b, c, size, e)) return false;
        double value = value_of(m->inside ? m->data + (size_t)i * size : c, m->type);
        if (!(fabs(value) < 1e15) || value != floor(value))
            return error_set(e, EXIT_INPUT, "%s: integers expected, %g found", bytes_name(b), value);
        out[i] = (int64_t)value;
    }
    return true;
}

// svhn.c: labels first (an element can be stepped over without unpacking it), then the images one by one: the
// extra split has 1.6 GB of them, and only those asked for are kept.
#include "svhn.h"

#include <stdlib.h>

#include "../base/arena.h"
#include "mat5.h"

enum { SIDE = 32, PLANE = SIDE * SIDE, IMAGE = 3 * PLANE, UINT8_VALUES = 2 };

static int64_t *read_labels(struct bytes *b, int64_t most, int64_t *count, struct error *e) {
    struct mat5 m;
    if (!mat5_find(b, "y", most, &m, e)) return NULL;
    int64_t *label = memory_take((size_t)m.count * sizeof *label);
    bool good = mat5_integers(b, &m, label, m.count, e);
    for (int64_t i = 0; good && i < m.count; i++) {
        if (label[i] < 1 || label[i] > 10)
            good = error_set(e, EXIT_INPUT, "%s: labels in [1, 10] expected, %lld found", bytes_name(b),
                             (long long)label[i]);
        label[i] %= 10;
    }
    *count = m.count;
    if (good) return label;
    free(label);
    return NULL;
}

static bool read_images(struct bytes *b, struct intake *in, const int64_t *label, int64_t count, struct error *e) {
    struct mat5 m;
    if (!mat5_find(b, "X", count * IMAGE, &m, e)) return false;
    // MATLAB drops a last dimension of 1.
    bool fits = !m.inside && m.type == UINT8_VALUES && (m.rank == 4 || (m.rank == 3 && count == 1)) &&
                m.dim[0] == SIDE && m.dim[1] == SIDE && m.dim[2] == 3 && m.count == count * IMAGE;
    if (!fits)
        return error_set(e, EXIT_INPUT, "%s: X: bytes of 32 x 32 x 3 x %lld expected, as y has them", bytes_name(b),
                         (long long)count);
    if (!intake_begin(in, count, label, e)) return false;
    uint8_t column[IMAGE], row[IMAGE];  // column-major as stored, row-major as kept
    for (int64_t i = 0; i < count; i++) {
        if (!bytes_take(b, column, IMAGE, e)) return false;
        for (int c = 0; c < 3; c++)
            for (int h = 0; h < SIDE; h++)
                for (int w = 0; w < SIDE; w++) row[c * PLANE + h * SIDE + w] = column[c * PLANE + w * SIDE + h];
        if (!intake_image(in, row, e)) return false;
    }
    return bytes_drain(b, e) && intake_end(in, e);  // to the end, where zlib's own checksum stands
}

bool svhn_read(struct bytes *b, struct intake *in, int64_t most, struct error *e) {
    int64_t count;
    BUG_IF(in->dtype != U8 || intake_image_bytes(in) != IMAGE, "SVHN has images of 3x32x32 bytes");
    int64_t *label = read_labels(b, most, &count, e);
    bool good = label && read_images(b, in, label, count, e);
    free(label);
    return good;
}

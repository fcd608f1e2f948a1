// idx.c: IDX of bytes. Dimensions are compared with what is expected before anything is read for them.
#include "idx.h"

#include <stdlib.h>

#include "../base/arena.h"

enum { BATCH = 64 };  // images unpacked at a time: they stay in cache until hashed and stored

static bool read_u32(struct bytes *b, uint32_t *value, struct error *e) {
    unsigned char c[4];
    if (!bytes_take(b, c, 4, e)) return false;
    *value = (uint32_t)c[0] << 24 | (uint32_t)c[1] << 16 | (uint32_t)c[2] << 8 | c[3];
    return true;
}

static bool read_head(struct bytes *b, uint32_t magic, uint32_t *dim, struct error *e) {
    uint32_t found;
    if (!read_u32(b, &found, e)) return false;
    if (found != magic)
        return error_set(e, EXIT_INPUT, "%s: IDX of %s expected (magic 0x%08x), 0x%08x found", bytes_name(b),
                         magic == 0x803 ? "images" : "labels", magic, found);
    for (uint32_t i = 0; i < (magic & 255); i++)
        if (!read_u32(b, &dim[i], e)) return false;
    return true;
}

int64_t *idx_labels(struct bytes *b, int64_t most, int64_t *count, struct error *e) {
    uint32_t n;
    if (!bytes_gunzip(b, 8 + most, e) || !read_head(b, 0x801, &n, e)) return NULL;
    if (n < 1 || n > most) {
        error_set(e, EXIT_INPUT, "%s: labels in [1, %lld] expected, %u found", bytes_name(b), (long long)most, n);
        return NULL;
    }
    uint8_t *byte = memory_take(n);
    int64_t *label = NULL;
    if (bytes_take(b, byte, n, e) && bytes_end(b, e)) {
        label = memory_take(n * sizeof *label);
        for (uint32_t i = 0; i < n; i++) label[i] = byte[i];
        *count = n;
    }
    free(byte);
    return label;
}

bool idx_images(struct bytes *b, struct intake *in, const int64_t *label, int64_t count, struct error *e) {
    uint32_t dim[3];
    size_t size = intake_image_bytes(in);
    if (!bytes_gunzip(b, 16 + count * (int64_t)size, e) || !read_head(b, 0x803, dim, e)) return false;
    if (dim[0] != count || dim[1] != (uint32_t)in->height || dim[2] != (uint32_t)in->width)
        return error_set(e, EXIT_INPUT, "%s: %lld images of %dx%d expected, %u of %ux%u found", bytes_name(b),
                         (long long)count, in->height, in->width, dim[0], dim[1], dim[2]);
    if (!intake_begin(in, count, label, e)) return false;
    uint8_t *batch = memory_take(BATCH * size);
    bool good = true;
    for (int64_t i = 0; good && i < count; i += BATCH) {
        int64_t n = count - i < BATCH ? count - i : BATCH;
        good = bytes_take(b, batch, (size_t)n * size, e);
        for (int64_t j = 0; good && j < n; j++) good = intake_image(in, batch + (size_t)j * size, e);
    }
    free(batch);
    return good && bytes_end(b, e) && intake_end(in, e);
}

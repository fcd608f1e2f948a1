// png.c: PNG files through libpng's simplified interface, which needs no long jumps.
#include "png.h"

#include <png.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/out.h"
#include "bytes.h"

enum {
    SIDE_MAX = 1 << 15,
    DEFLATE_RATIO = 1032,  // no deflate stream unpacks to more: 258 bytes cost two bits
};

struct picture *png_picture_decode(const void *bytes, size_t count, const char *name, struct error *e) {
    png_image image = {.version = PNG_IMAGE_VERSION};
    struct picture *p = NULL;
    if (!png_image_begin_read_from_memory(&image, bytes, count)) {
        error_set(e, EXIT_INPUT, "%s: a PNG file expected: %s", name, image.message);
        return NULL;
    }
    int channels = image.format & PNG_FORMAT_FLAG_COLOR ? 3 : 1;
    uint64_t pixels = (uint64_t)image.width * image.height;
    if (image.format & PNG_FORMAT_FLAG_LINEAR)
        error_set(e, EXIT_INPUT, "%s: 8 bits a sample expected, 16 found", name);
    else if (image.format & PNG_FORMAT_FLAG_ALPHA)
        error_set(e, EXIT_INPUT, "%s: grey or RGB expected, an alpha channel found", name);
    else if (image.width > SIDE_MAX || image.height > SIDE_MAX)
        error_set(e, EXIT_INPUT, "%s: at most %d pixels a side expected, %u x %u found", name, SIDE_MAX, image.width,
                  image.height);
    else if (pixels / 8 > (uint64_t)count * DEFLATE_RATIO)  // a palette's pixel may be one bit
        error_set(e, EXIT_INPUT, "%s: %u x %u pixels expected, %zu bytes cannot hold them", name, image.width,
                  image.height, count);
    else {
        p = picture_new((int)image.width, (int)image.height, channels, 0);
        image.format = channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
        if (!png_image_finish_read(&image, NULL, p->pixel, 0, NULL)) {
            error_set(e, EXIT_INPUT, "%s: broken PNG file: %s", name, image.message);
            picture_free(p);
            p = NULL;
        }
    }
    png_image_free(&image);
    return p;
}

struct picture *png_picture_read(const char *path, struct error *e) {
    struct bytes *b = bytes_open(path, e);
    if (!b) return NULL;
    size_t size = (size_t)bytes_size(b);
    void *data = memory_take(size ? size : 1);
    struct picture *p = bytes_take(b, data, size, e) ? png_picture_decode(data, size, path, e) : NULL;
    free(data);
    bytes_close(b);
    return p;
}

bool png_picture_write(const struct picture *p, const char *path, struct error *e) {
    png_image image = {
        .version = PNG_IMAGE_VERSION,
        .width = (png_uint_32)p->width,
        .height = (png_uint_32)p->height,
        .format = p->channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY,
    };
    png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
    void *packed = memory_take(size);
    bool good = png_image_write_to_memory(&image, packed, &size, 0, p->pixel, 0, NULL);
    if (!good) error_set(e, EXIT_SYSTEM, "%s: libpng: %s", path ? path : "standard output", image.message);
    struct out *o = good ? out_open(path, true, e) : NULL;
    good = o && out_write(o, packed, size, e);
    if (good)
        good = out_close(o, e);
    else if (o)
        out_drop(o);
    free(packed);
    return good;
}

// png.h: PNG files by libpng, 8 bits, grey or RGB.
#ifndef ASSAY_IO_PNG_H
#define ASSAY_IO_PNG_H

#include <stddef.h>
#include "../base/error.h"
#include "picture.h"

// A grey or RGB file of 8 bits; palettes are resolved. Alpha and 16 bits are refused, and so is a size that
// the bytes of the file cannot unpack to.
struct picture *png_picture_read(const char *path, struct error *e);
struct picture *png_picture_decode(const void *bytes, size_t count, const char *name, struct error *e);
// Atomic for files; "-" and NULL are standard output. The same picture is the same bytes.
bool png_picture_write(const struct picture *p, const char *path, struct error *e);

#endif

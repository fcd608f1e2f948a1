// picture.h: 8-bit pictures, grey or RGB, text on them, and labelled grids of images for people to look at.
//
// A picture owns its pixels. What a picture is made of is copied.
#ifndef ASSAY_IO_PICTURE_H
#define ASSAY_IO_PICTURE_H

#include <stdint.h>

struct picture {
    int width, height;
    int channels;          // 1: grey, 3: RGB
    unsigned char *pixel;  // [height, width, channels]
};

struct picture *picture_new(int width, int height, int channels, unsigned char shade);  // all bytes `shade`
void picture_free(struct picture *p);

// Text in a built-in 5 x 7 font, each dot `scale` pixels square; what lies outside the picture is cut off.
// A character takes PICTURE_TEXT_WIDTH x PICTURE_TEXT_HEIGHT dots, its margin to the next included; bytes
// outside printable ASCII are drawn as '?'.
enum { PICTURE_TEXT_WIDTH = 6, PICTURE_TEXT_HEIGHT = 9 };
void picture_text(struct picture *p, int x, int y, int scale, const unsigned char colour[3], const char *text);

// ---- grids

struct picture_cell {
    const float *image;             // [C, H, W] in [0, 1], clamped; NaN is black; NULL leaves the place empty
    const char *label;              // drawn under the image, cut to its width; NULL for none
    const unsigned char *frame;     // colour of a frame around the image, or NULL
};
struct picture_grid {
    int channels, height, width;    // of every image: 1 or 3 channels
    int columns;                    // images a row, >= 1
    int scale;                      // pixels a side for each image's pixel, >= 1
    const char *title;              // one line above, or NULL
};
// Cells row by row on white.
struct picture *picture_of_grid(const struct picture_grid *g, const struct picture_cell *cell, int64_t count);

#endif

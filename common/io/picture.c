// picture.c: drawing into 8-bit pictures: a font of 5 x 7 dots, and grids of images with a label under each.
#include "picture.h"

#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/error.h"

// Printable ASCII from the space on, each glyph seven rows of five dots, top to bottom.
enum { GLYPH_WIDTH = 5, GLYPH_HEIGHT = 7 };
static const char *const font[] = {
    "..... ..... ..... ..... ..... ..... .....",  // space
    "..#.. ..#.. ..#.. ..#.. ..#.. ..... ..#..",  // !
    ".#.#. .#.#. .#.#. ..... ..... ..... .....",  // "
    ".#.#. .#.#. ##### .#.#. ##### .#.#. .#.#.",  // #
    "..#.. .#### #.#.. .###. ..#.# ####. ..#..",  // $
    "##..# ##..# ...#. ..#.. .#... #..## #..##",  // %
    ".##.. #..#. #.#.. .#... #.#.# #..#. .##.#",  // &
    "..#.. ..#.. .#... ..... ..... ..... .....",  // '
    "...#. ..#.. .#... .#... .#... ..#.. ...#.",  // (
    ".#... ..#.. ...#. ...#. ...#. ..#.. .#...",  // )
    "..... ..#.. #.#.# .###. #.#.# ..#.. .....",  // *
    "..... ..#.. ..#.. ##### ..#.. ..#.. .....",  // +
    "..... ..... ..... ..... .##.. ..#.. .#...",  // ,
    "..... ..... ..... ##### ..... ..... .....",  // -
    "..... ..... ..... ..... ..... .##.. .##..",  // .
    "....# ....# ...#. ..#.. .#... #.... #....",  // /
    ".###. #...# #..## #.#.# ##..# #...# .###.",  // 0
    "..#.. .##.. ..#.. ..#.. ..#.. ..#.. .###.",  // 1
    ".###. #...# ....# ...#. ..#.. .#... #####",  // 2
    ".###. #...# ....# ..##. ....# #...# .###.",  // 3
    "...#. ..##. .#.#. #..#. ##### ...#. ...#.",  // 4
    "##### #.... ####. ....# ....# #...# .###.",  // 5
    "..##. .#... #.... ####. #...# #...# .###.",  // 6
    "##### ....# ...#. ...#. ..#.. ..#.. ..#..",  // 7
    ".###. #...# #...# .###. #...# #...# .###.",  // 8
    ".###. #...# #...# .#### ....# ...#. .##..",  // 9
    "..... .##.. .##.. ..... .##.. .##.. .....",  // :
    "..... .##.. .##.. ..... .##.. ..#.. .#...",  // ;
    "...#. ..#.. .#... #.... .#... ..#.. ...#.",  // <
    "..... ..... ##### ..... ##### ..... .....",  // =
    ".#... ..#.. ...#. ....# ...#. ..#.. .#...",  // >
    ".###. #...# ....# ...#. ..#.. ..... ..#..",  // ?
    ".###. #...# #.### #.#.# #.##. #.... .###.",  // @
    ".###. #...# #...# ##### #...# #...# #...#",  // A
    "####. #...# #...# ####. #...# #...# ####.",  // B
    ".###. #...# #.... #.... #.... #...# .###.",  // C
    "###.. #..#. #...# #...# #...# #..#. ###..",  // D
    "##### #.... #.... ####. #.... #.... #####",  // E
    "##### #.... #.... ####. #.... #.... #....",  // F
    ".###. #...# #.... #.### #...# #...# .####",  // G
    "#...# #...# #...# ##### #...# #...# #...#",  // H
    ".###. ..#.. ..#.. ..#.. ..#.. ..#.. .###.",  // I
    "..### ...#. ...#. ...#. ...#. #..#. .##..",  // J
    "#...# #..#. #.#.. ##... #.#.. #..#. #...#",  // K
    "#.... #.... #.... #.... #.... #.... #####",  // L
    "#...# ##.## #.#.# #.#.# #...# #...# #...#",  // M
    "#...# #...# ##..# #.#.# #..## #...# #...#",  // N
    ".###. #...# #...# #...# #...# #...# .###.",  // O
    "####. #...# #...# ####. #.... #.... #....",  // P
    ".###. #...# #...# #...# #.#.# #..#. .##.#",  // Q
    "####. #...# #...# ####. #.#.. #..#. #...#",  // R
    ".#### #.... #.... .###. ....# ....# ####.",  // S
    "##### ..#.. ..#.. ..#.. ..#.. ..#.. ..#..",  // T
    "#...# #...# #...# #...# #...# #...# .###.",  // U
    "#...# #...# #...# #...# #...# .#.#. ..#..",  // V
    "#...# #...# #...# #.#.# #.#.# #.#.# .#.#.",  // W
    "#...# #...# .#.#. ..#.. .#.#. #...# #...#",  // X
    "#...# #...# #...# .#.#. ..#.. ..#.. ..#..",  // Y
    "##### ....# ...#. ..#.. .#... #.... #####",  // Z
    ".###. .#... .#... .#... .#... .#... .###.",  // [
    "#.... #.... .#... ..#.. ...#. ....# ....#",  // backslash
    ".###. ...#. ...#. ...#. ...#. ...#. .###.",  // ]
    "..#.. .#.#. #...# ..... ..... ..... .....",  // ^
    "..... ..... ..... ..... ..... ..... #####",  // _
    ".#... ..#.. ...#. ..... ..... ..... .....",  // `
    "..... ..... .###. ....# .#### #...# .####",  // a
    "#.... #.... #.##. ##..# #...# #...# ####.",  // b
    "..... ..... .###. #.... #.... #...# .###.",  // c
    "....# ....# .##.# #..## #...# #...# .####",  // d
    "..... ..... .###. #...# ##### #.... .###.",  // e
    "..##. .#..# .#... ###.. .#... .#... .#...",  // f
    "..... .#### #...# #...# .#### ....# .###.",  // g
    "#.... #.... #.##. ##..# #...# #...# #...#",  // h
    "..#.. ..... .##.. ..#.. ..#.. ..#.. .###.",  // i
    "...#. ..... ..##. ...#. ...#. #..#. .##..",  // j
    "#.... #.... #..#. #.#.. ##... #.#.. #..#.",  // k
    ".##.. ..#.. ..#.. ..#.. ..#.. ..#.. .###.",  // l
    "..... ..... ##.#. #.#.# #.#.# #...# #...#",  // m
    "..... ..... #.##. ##..# #...# #...# #...#",  // n
    "..... ..... .###. #...# #...# #...# .###.",  // o
    "..... ..... ####. #...# ####. #.... #....",  // p
    "..... ..... .##.# #..## .#### ....# ....#",  // q
    "..... ..... #.##. ##..# #.... #.... #....",  // r
    "..... ..... .###. #.... .###. ....# ####.",  // s
    ".#... .#... ###.. .#... .#... .#..# ..##.",  // t
    "..... ..... #...# #...# #...# #..## .##.#",  // u
    "..... ..... #...# #...# #...# .#.#. ..#..",  // v
    "..... ..... #...# #...# #.#.# #.#.# .#.#.",  // w
    "..... ..... #...# .#.#. ..#.. .#.#. #...#",  // x
    "..... ..... #...# #...# .#### ....# .###.",  // y
    "..... ..... ##### ...#. ..#.. .#... #####",  // z
    "...#. ..#.. ..#.. .#... ..#.. ..#.. ...#.",  // {
    "..#.. ..#.. ..#.. ..#.. ..#.. ..#.. ..#..",  // |
    ".#... ..#.. ..#.. ...#. ..#.. ..#.. .#...",  // }
    "..... ..... .#... #.#.# ...#. ..... .....",  // ~
};

struct picture *picture_new(int width, int height, int channels, unsigned char shade) {
    BUG_IF(width < 1 || height < 1 || (channels != 1 && channels != 3), "picture %d x %d x %d", width, height,
           channels);
    struct picture *p = memory_zero(sizeof *p);
    size_t size = (size_t)width * (size_t)height * (size_t)channels;
    *p = (struct picture){width, height, channels, memory_take(size)};
    memset(p->pixel, shade, size);
    return p;
}

void picture_free(struct picture *p) {
    if (!p) return;
    free(p->pixel);
    free(p);
}

static void fill(struct picture *p, int x, int y, int width, int height, const unsigned char colour[3]) {
    for (int row = y < 0 ? 0 : y; row < y + height && row < p->height; row++)
        for (int column = x < 0 ? 0 : x; column < x + width && column < p->width; column++)
            memcpy(p->pixel + ((size_t)row * (size_t)p->width + (size_t)column) * (size_t)p->channels, colour,
                   (size_t)p->channels);
}

void picture_text(struct picture *p, int x, int y, int scale, const unsigned char colour[3], const char *text) {
    for (; *text && x < p->width; text++, x += PICTURE_TEXT_WIDTH * scale) {
        const char *glyph = font[(*text < ' ' || *text > '~' ? '?' : *text) - ' '];
        for (int row = 0; row < GLYPH_HEIGHT; row++, glyph++)
            for (int column = 0; column < GLYPH_WIDTH; column++)
                if (*glyph++ == '#') fill(p, x + column * scale, y + row * scale, scale, scale, colour);
    }
}

static const unsigned char black[3] = {0, 0, 0};

static unsigned char shade(float value) {
    return value > 0 ? (value < 1 ? (unsigned char)(value * 255 + 0.5f) : 255) : 0;  // NaN is black
}

static void draw_image(struct picture *p, int x, int y, const struct picture_grid *g, const float *image) {
    for (int row = 0; row < g->height; row++)
        for (int column = 0; column < g->width; column++) {
            unsigned char colour[3];
            for (int c = 0; c < 3; c++)
                colour[c] = shade(image[((c < g->channels ? c : 0) * g->height + row) * g->width + column]);
            fill(p, x + column * g->scale, y + row * g->scale, g->scale, g->scale, colour);
        }
}

static void draw_label(struct picture *p, int x, int y, int width, const char *text) {
    char cut[256];
    int fits = width / PICTURE_TEXT_WIDTH;
    if (fits > (int)sizeof cut - 1) fits = sizeof cut - 1;
    size_t length = strnlen(text, (size_t)fits);
    memcpy(cut, text, length);
    cut[length] = 0;
    picture_text(p, x, y, 1, black, cut);
}

struct picture *picture_of_grid(const struct picture_grid *g, const struct picture_cell *cell, int64_t count) {
    BUG_IF(g->columns < 1 || g->scale < 1 || (g->channels != 1 && g->channels != 3),
           "grid of %d columns, scale %d, %d channels", g->columns, g->scale, g->channels);
    enum { GAP = 4, FRAME = 2 };
    bool labels = false, colour = g->channels == 3;
    for (int64_t i = 0; i < count; i++) {
        labels = labels || cell[i].label;
        colour = colour || cell[i].frame;
    }
    int wide = g->width * g->scale, high = g->height * g->scale;
    int across = wide + 2 * GAP, down = high + 2 * GAP + (labels ? PICTURE_TEXT_HEIGHT : 0);
    int top = g->title ? PICTURE_TEXT_HEIGHT + GAP : 0;
    int columns = count < g->columns ? (count ? (int)count : 1) : g->columns;
    int rows = count ? (int)((count + columns - 1) / columns) : 1;
    int width = columns * across, text = g->title ? 2 * GAP + (int)strnlen(g->title, 1000) * PICTURE_TEXT_WIDTH : 0;
    struct picture *p = picture_new(width > text ? width : text, top + rows * down, colour ? 3 : 1, 255);
    if (g->title) picture_text(p, GAP, GAP, 1, black, g->title);
    for (int64_t i = 0; i < count; i++) {
        int x = (int)(i % columns) * across + GAP, y = top + (int)(i / columns) * down + GAP;
        if (cell[i].frame) fill(p, x - FRAME, y - FRAME, wide + 2 * FRAME, high + 2 * FRAME, cell[i].frame);
        if (cell[i].image) draw_image(p, x, y, g, cell[i].image);
        // A label may use the gap to its right, up to the next one.
        if (cell[i].label) draw_label(p, x, y + high + FRAME + 1, wide + GAP, cell[i].label);
    }
    return p;
}

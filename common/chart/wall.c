// wall.c: triples of images in rows.
#include "wall.h"

#include <stdio.h>
#include <string.h>

#include "../base/arena.h"

enum { TRIPLES = 4, ACROSS = TRIPLES * 4 - 1, SIDE_MAX = 256 };  // three images and a gap, but none after the last

static const unsigned char right[3] = {0x00, 0x72, 0xB2}, wrong[3] = {0xD5, 0x5E, 0x00};

static const struct tensor *wall_images(const struct blob *b) {
    const struct tensor *x = blob_find(b, "wall.x"), *ncc = blob_find(b, "wall.ncc"), *mark = blob_find(b, "wall.mark");
    if (!x || !ncc || !mark || x->dtype != F32 || ncc->dtype != F32 || mark->dtype != U8) return NULL;
    if (x->rank != 5 || ncc->rank != 2 || mark->rank != 1 || x->dim[0] < 1 || x->dim[1] != 3 || (x->dim[2] != 1 && x->dim[2] != 3)) return NULL;
    if (ncc->dim[0] != x->dim[0] || ncc->dim[1] != 2 || mark->dim[0] != x->dim[0]) return NULL;
    for (int i = 3; i < 5; i++)
        if (x->dim[i] < 1 || x->dim[i] > SIDE_MAX) return NULL;
    return x;
}

struct picture *wall_of(const struct blob *b) {
    const struct tensor *x = wall_images(b);
    if (!x) return NULL;
    struct arena arena = {0};
    const float *image = x->data, *ncc = blob_find(b, "wall.ncc")->data;
    const unsigned char *mark = blob_find(b, "wall.mark")->data;
    int64_t size = x->dim[2] * x->dim[3] * x->dim[4], count = x->dim[0] < WALL_MAX ? x->dim[0] : WALL_MAX;
    int64_t rows = (count + TRIPLES - 1) / TRIPLES;
    struct picture_cell *cell = arena_take(&arena, (size_t)(rows * ACROSS) * sizeof *cell);
    for (int64_t j = 0; j < count; j++) {
        struct picture_cell *at = cell + j / TRIPLES * ACROSS + j % TRIPLES * 4;
        const unsigned char *frame = mark[j] == 2 ? right : mark[j] ? wrong : NULL;
        at[0] = (struct picture_cell){image + 3 * j * size, arena_print(&arena, "%.3f", (double)ncc[2 * j]), NULL};
        at[1] = (struct picture_cell){image + (3 * j + 1) * size, arena_print(&arena, "%lld%s", (long long)j, mark[j] ? " certain" : ""), frame};
        at[2] = (struct picture_cell){image + (3 * j + 2) * size, arena_print(&arena, "%.3f", (double)ncc[2 * j + 1]), NULL};
    }
    int width = (int)x->dim[4];
    struct picture_grid grid = {(int)x->dim[2], (int)x->dim[3], width, ACROSS, width < 64 ? (63 + width) / width : 1,
                                "nearest training image | rebuilt, in the attack's own order | nearest held-out image; below: correlation with it"};
    struct picture *p = picture_of_grid(&grid, cell, rows * ACROSS);
    arena_free(&arena);
    return p;
}

// triptych.c: grids of clean, adversarial and difference images.
#include "triptych.h"

#include <math.h>
#include <stdio.h>

static const unsigned char red[3] = {200, 30, 30};

static float *difference(struct arena *arena, const float *clean, const float *x, int64_t size) {
    float *d = arena_take(arena, (size_t)size * sizeof *d), most = 0;
    for (int64_t i = 0; i < size; i++) {
        d[i] = x[i] - clean[i];
        most = fmaxf(most, fabsf(d[i]));
    }
    for (int64_t i = 0; i < size; i++) d[i] = most > 0 ? .5f + d[i] / (2 * most) : .5f;
    return d;
}

struct picture *triptych(const struct attack *a, struct attack_result *const *r, int results, int rows) {
    struct arena arena = {0};
    int columns = 1 + 2 * results, shown = 0;
    bool any = true;  // none is right: wrong ones, then
    for (int64_t i = 0; i < a->o.keep; i++) any = any && a->prediction[i] != a->y[i];
    struct picture_cell *cell = arena_take(&arena, (size_t)(rows * columns + 1) * sizeof *cell);
    for (int64_t i = 0; i < a->o.keep && shown < rows; i++) {
        bool right = a->prediction[i] == a->y[i];
        if (!right && !any) continue;
        struct picture_cell *row = cell + shown++ * columns;
        const float *clean = a->x + i * a->size;
        row[0] = (struct picture_cell){clean, arena_print(&arena, "%lld: %lld", (long long)a->index[i], (long long)a->y[i]),
                                       right ? NULL : red};
        for (int j = 0; j < results; j++) {
            const float *x = r[j]->x + i * a->size;
            row[1 + 2 * j] = (struct picture_cell){x, arena_print(&arena, "%s: %lld", r[j]->method, (long long)r[j]->prediction[i]),
                                                   r[j]->broken[i] ? red : NULL};
            row[2 + 2 * j] = (struct picture_cell){difference(&arena, clean, x, a->size), arena_print(&arena, "eps %.4g", r[j]->ball.eps), NULL};
        }
    }
    int side = a->d->width, scale = side < 72 ? (72 + side - 1) / side : 1;
    struct picture_grid grid = {a->d->channels, a->d->height, a->d->width, columns, scale,
                                "position: class, attack: class found, difference"};
    struct picture *p = shown && (a->d->channels == 1 || a->d->channels == 3) ? picture_of_grid(&grid, cell, (int64_t)shown * columns) : NULL;
    arena_free(&arena);
    return p;
}

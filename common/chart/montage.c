// montage.c: pictures of clean and adversarial images and their differences.
#include "montage.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/opt.h"
#include "../io/record.h"
#include "summary.h"

enum { SIDE_MAX = 256, CELLS = MONTAGE_ROWS * (1 + 2 * MONTAGE_EPS) };

static const unsigned char wrong[3] = {0xD5, 0x5E, 0x00};

struct shown {
    const struct blob *b;
    const struct tensor *clean, *y;
    int64_t size;
    int64_t row[MONTAGE_ROWS];
    int rows;
    struct arena arena;
};

static bool is_like(const struct tensor *t, const struct tensor *clean) {
    return t && t->dtype == F32 && t->rank == 4 && !memcmp(t->dim, clean->dim, 4 * sizeof *t->dim);
}

// Class i of a list of at least n classes, -1 where there is none.
static int64_t class_at(const struct tensor *t, int64_t i, int64_t n) {
    return t && t->dtype == I64 && t->rank == 1 && t->dim[0] >= n ? ((const int64_t *)t->data)[i] : -1;
}

static const char *class_text(struct shown *s, int64_t class) {
    const json_t *names = record_get(s->b->record, "config.class_names");
    const char *name = class < 0 ? "" : json_string_value(json_array_get(names, (size_t) class));
    return name ? name : arena_print(&s->arena, "%lld", (long long)class);
}

static bool look(const struct blob *b, struct shown *s) {
    s->b = b;
    s->clean = blob_find(b, "clean.x");
    s->y = blob_find(b, "y");
    const struct tensor *t = s->clean, *found = blob_find(b, "clean.prediction");
    if (!t || t->dtype != F32 || t->rank != 4 || (t->dim[1] != 1 && t->dim[1] != 3)) return false;
    for (int i = 2; i < 4; i++)
        if (t->dim[i] < 1 || t->dim[i] > SIDE_MAX) return false;
    s->size = t->dim[1] * t->dim[2] * t->dim[3];
    for (int64_t i = 0; i < t->dim[0] && s->rows < MONTAGE_ROWS; i++)
        if (class_at(s->y, i, t->dim[0]) == class_at(found, i, t->dim[0])) s->row[s->rows++] = i;
    return s->rows > 0;
}

static const float *difference(struct shown *s, const float *from, const float *to) {
    float *d = arena_take(&s->arena, (size_t)s->size * sizeof *d), most = 0;
    for (int64_t k = 0; k < s->size; k++)
        if (fabsf(to[k] - from[k]) > most) most = fabsf(to[k] - from[k]);
    for (int64_t k = 0; k < s->size; k++) d[k] = .5f + (most > 0 ? (to[k] - from[k]) / (2 * most) : 0);
    return d;
}

static struct picture *montage(struct shown *s, const char *method, const char *const *key, int count) {
    struct picture_cell cell[CELLS];
    int cells = 0;
    char *title = arena_print(&s->arena, "%s: clean", summary_method_name(method));
    for (int k = 0; k < count; k++) {
        char eps[32];
        format_real(summary_eps(key[k]), true, eps);
        title = arena_print(&s->arena, "%s | eps %s, difference", title, eps);
    }
    for (int r = 0; r < s->rows; r++) {
        int64_t i = s->row[r], n = s->clean->dim[0], y = class_at(s->y, i, n);
        const float *clean = (const float *)s->clean->data + i * s->size;
        cell[cells++] = (struct picture_cell){clean, class_text(s, y), NULL};
        for (int k = 0; k < count; k++) {
            const struct tensor *x = blob_find(s->b, arena_print(&s->arena, "%s.%s.x", method, key[k]));
            const struct tensor *found = blob_find(s->b, arena_print(&s->arena, "%s.%s.prediction", method, key[k]));
            if (!is_like(x, s->clean)) return NULL;
            const float *image = (const float *)x->data + i * s->size;
            int64_t class = class_at(found, i, n);
            cell[cells++] = (struct picture_cell){image, class_text(s, class), class >= 0 && class != y ? wrong : NULL};
            cell[cells++] = (struct picture_cell){difference(s, clean, image), "", NULL};
        }
    }
    int width = (int)s->clean->dim[3];
    return picture_of_grid(&(struct picture_grid){(int)s->clean->dim[1], (int)s->clean->dim[2], width, 1 + 2 * count,
                                                  width < 84 ? (83 + width) / width : 1, title},
                           cell, cells);
}

int montages_of(const struct blob *attack, struct montage out[MONTAGE_METHODS]) {
    struct shown s = {0};
    int made = 0;
    size_t methods = 0, count;
    const json_t *robust = record_get(attack->record, "metrics.robust");
    const char **method = record_keys(robust, &methods);
    bool fine = look(attack, &s);
    for (size_t m = 0; m < methods && fine && made < MONTAGE_METHODS; m++) {
        if (!strcmp(method[m], "noise") || strlen(method[m]) >= sizeof out->method) continue;
        const char **key = summary_eps_keys(json_object_get(robust, method[m]), &count);
        struct picture *p = count ? montage(&s, method[m], key, count < MONTAGE_EPS ? (int)count : MONTAGE_EPS) : NULL;
        if (p) {
            out[made].picture = p;
            snprintf(out[made++].method, sizeof out->method, "%s", method[m]);
        }
        free(key);
    }
    free(method);
    arena_free(&s.arena);
    return made;
}

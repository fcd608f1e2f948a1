// control.c: members in the control, blocks, near-duplicates.
#include "control.h"

#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/rng.h"
#include "bootstrap.h"
#include "ncc.h"

// ---- members that are in the control too

struct mark {
    uint64_t hash;
    int64_t row;
};

static int by_hash(const void *a, const void *b) {
    const struct mark *p = a, *q = b;
    if (p->hash != q->hash) return p->hash < q->hash ? -1 : 1;
    return (p->row > q->row) - (p->row < q->row);
}

static uint64_t hash_row(const struct images *s, int64_t i, float *room) {
    uint64_t h = 14695981039346656037u;  // FNV-1a over words; equality is looked at afterwards
    uint32_t word;
    images_row(s, i, room);
    for (int64_t j = 0; j < s->size; j++) {
        memcpy(&word, &room[j], sizeof word);
        h = (h ^ word) * 1099511628211u;
        h ^= h >> 32;
    }
    return h;
}

static bool same_place(const struct images *a, int64_t i, const struct images *b, int64_t j) {
    return a->source && b->source && !strcmp(a->source, b->source) && images_position(a, i) == images_position(b, j);
}

// Sorted by position or by pixels, for a search by either.
static struct mark *marks_of(const struct images *s, bool pixels, float *room) {
    struct mark *m = memory_take((size_t)s->count * sizeof *m);
    for (int64_t i = 0; i < s->count; i++)
        m[i] = (struct mark){pixels ? hash_row(s, i, room) : (uint64_t)images_position(s, i), i};
    qsort(m, (size_t)s->count, sizeof *m, by_hash);
    return m;
}

static const struct mark *first_mark(const struct mark *m, int64_t count, uint64_t hash) {
    int64_t low = 0, high = count;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (m[middle].hash < hash)
            low = middle + 1;
        else
            high = middle;
    }
    return m + low;
}

// drop: one byte for each held-out image, set where it is a member. Returns how many; *member and *image name the first.
static int64_t find_members(const struct images *truth, const struct images *held_out, unsigned char *drop, int64_t *member,
                            int64_t *image, bool *by_place) {
    int64_t found = 0;
    float *a = memory_take((size_t)truth->size * sizeof *a), *b = memory_take((size_t)truth->size * sizeof *b);
    struct mark *place = marks_of(truth, false, a), *look = marks_of(truth, true, a);
    for (int64_t i = 0; i < held_out->count; i++) {
        int64_t twin = -1;
        bool at_place = false;
        uint64_t key = (uint64_t)images_position(held_out, i);
        for (const struct mark *m = first_mark(place, truth->count, key), *end = place + truth->count;
             twin < 0 && m < end && m->hash == key; m++)
            if (same_place(truth, m->row, held_out, i)) {
                twin = m->row;
                at_place = true;
            }
        key = hash_row(held_out, i, b);
        for (const struct mark *m = first_mark(look, truth->count, key), *end = look + truth->count;
             twin < 0 && m < end && m->hash == key; m++) {
            images_row(truth, m->row, a);
            if (!memcmp(a, b, (size_t)truth->size * sizeof *a)) twin = m->row;
        }
        if (twin < 0) continue;
        drop[i] = 1;
        if (found++) continue;
        *member = twin;
        *image = i;
        *by_place = at_place;
    }
    free(place);
    free(look);
    free(a);
    free(b);
    return found;
}

static bool check_members(struct control *s, unsigned char *drop, struct error *e) {
    int64_t member = 0, image = 0;
    bool by_place = false;
    s->excluded = find_members(s->truth, s->held_out, drop, &member, &image, &by_place);
    if (!s->excluded || s->o.exclude) return true;
    return error_set(e, EXIT_INPUT,
                     "%s: image %lld is image %lld of %s, %s; %lld of %lld control images are members "
                     "(--exclude leaves them out)",
                     s->held_out->name, (long long)image, (long long)member, s->truth->name,
                     by_place ? "by its position in their source" : "pixel for pixel", (long long)s->excluded,
                     (long long)s->held_out->count);
}

// ---- blocks

struct class {
    int64_t members, images;
    int64_t *image;  // rows of the held-out set, shuffled
    int64_t given;   // how many a block's loop has passed
};

static bool check_class(const struct control *s, const struct class *c, int64_t number, struct error *e) {
    return c->images >= c->members ||
           error_set(e, EXIT_INPUT,
                     "%s: %lld images of class %lld expected, as in %s (%d blocks of their own need %lld), %lld found",
                     s->held_out->name, (long long)c->members, (long long)number, s->truth->name, s->o.blocks,
                     (long long)(c->members * s->o.blocks), (long long)c->images);
}

// Images of each class in a keyed order.
static void shuffle(const struct control *s, const unsigned char *drop, struct class *class, int64_t classes) {
    struct stream stream = rng_stream(s->o.seed, "score/block");
    for (int64_t i = 0; i < s->held_out->count; i++)
        if (!drop[i]) class[s->held_out->y[i]].image[class[s->held_out->y[i]].images++] = i;
    for (int64_t c = 0; c < classes; c++) {
        int64_t n = class[c].images, *order = memory_take((size_t)(n + 1) * sizeof *order);
        int64_t *sorted = memory_take((size_t)(n + 1) * sizeof *sorted);
        rng_permutation(stream, (uint32_t)c, order, n);
        memcpy(sorted, class[c].image, (size_t)n * sizeof *sorted);
        for (int64_t i = 0; i < n; i++) class[c].image[i] = sorted[order[i]];
        free(order);
        free(sorted);
    }
}

static void deal(struct control *s, struct class *class, int64_t classes) {
    int64_t left = 0;
    for (int b = 0; b < s->o.blocks; b++)
        for (int64_t k = 0; k < s->n; k++) {
            struct class *c = &class[s->truth->y[k]];
            // Where there are too few they are dealt again; a block's images stay distinct.
            s->image[b * s->n + k] = c->image[c->given++ % c->images];
        }
    for (int64_t c = 0; c < classes; c++) {
        s->used += class[c].given < class[c].images ? class[c].given : class[c].images;
        left += class[c].given < class[c].images ? class[c].images - class[c].given : 0;
    }
    s->spare = memory_take((size_t)(left + 1) * sizeof *s->spare);
    while (s->spares < left)
        for (int64_t c = 0; c < classes; c++)
            if (class[c].given < class[c].images) s->spare[s->spares++] = class[c].image[class[c].given++];
}

static int64_t classes_of(const struct images *a, const struct images *b) {
    int64_t most = 0;
    for (int64_t i = 0; i < a->count; i++) most = a->y[i] > most ? a->y[i] : most;
    for (int64_t i = 0; i < b->count; i++) most = b->y[i] > most ? b->y[i] : most;
    return most + 1;
}

enum { CLASSES_MAX = 65536 };  // a label out of a hostile file must not size tables

static bool cut_blocks(struct control *s, const unsigned char *drop, struct error *e) {
    struct arena arena = {0};
    int64_t classes = classes_of(s->truth, s->held_out);
    if (classes > CLASSES_MAX)
        return error_set(e, EXIT_INPUT, "classes below %d expected, %lld found", CLASSES_MAX, (long long)(classes - 1));
    struct class *class = arena_take(&arena, (size_t)classes * sizeof *class);
    for (int64_t i = 0; i < s->held_out->count; i++) class[s->held_out->y[i]].images += !drop[i];
    for (int64_t i = 0; i < s->n; i++) class[s->truth->y[i]].members++;
    bool fine = s->o.blocks * s->n <= BOOTSTRAP_MOST ||
                error_set(e, EXIT_INPUT, "--blocks %d: at most %d control images expected, %lld found", s->o.blocks,
                          BOOTSTRAP_MOST, (long long)(s->o.blocks * s->n));
    for (int64_t c = 0; c < classes && fine; c++) {
        fine = check_class(s, &class[c], c, e);
        class[c].image = arena_take(&arena, (size_t)(class[c].images + 1) * sizeof *class[c].image);
        class[c].images = 0;
    }
    if (fine) {
        shuffle(s, drop, class, classes);
        s->image = memory_take((size_t)(s->o.blocks * s->n) * sizeof *s->image);
        deal(s, class, classes);
    }
    arena_free(&arena);
    return fine;
}

// ---- near-duplicates

struct twins {
    const struct control *s;
    struct ncc_side members;
    struct twin_list {
        int64_t count;  // with those past the room, which are not kept
        struct control_twin *twin;
    } *of_block;
};

enum { STRIP = 256 };  // rows of a block at a time, so that large sets need no table of all pairs

static void find_twins(void *data, long b, int worker) {
    (void)worker;
    struct twins *t = data;
    const struct control *s = t->s;
    struct twin_list *list = &t->of_block[b];
    const int64_t *rows = s->image + b * s->n;
    float *ncc = memory_take((size_t)(STRIP * s->n) * sizeof *ncc);
    for (int64_t from = 0, count; from < s->n; from += count) {
        count = s->n - from < STRIP ? s->n - from : STRIP;
        float *x = ncc_centred(s->held_out, rows + from, count);
        ncc_products(x, count, &t->members, ncc);
        for (int64_t i = 0; i < count; i++)
            for (int64_t j = 0; j < s->n; j++)
                if (ncc[i * s->n + j] > CONTROL_TWIN) {
                    int64_t at = list->count++;
                    if (at >= CONTROL_TWINS / s->o.blocks) continue;
                    if (!(at & (at - 1))) list->twin = memory_grow(list->twin, (size_t)(at ? 2 * at : 1) * sizeof *list->twin);
                    list->twin[at] = (struct control_twin){j, rows[from + i], ncc[i * s->n + j]};
                }
        free(x);
    }
    free(ncc);
}

static int by_pair(const void *a, const void *b) {
    const struct control_twin *p = a, *q = b;
    if (p->member != q->member) return p->member < q->member ? -1 : 1;
    return (p->control > q->control) - (p->control < q->control);
}

static void take_twins(struct control *s) {
    struct twins t = {s, ncc_side_of(s->truth, s->n), memory_zero((size_t)s->o.blocks * sizeof *t.of_block)};
    int64_t count = 0;
    pool_run(s->pool, s->o.blocks, find_twins, &t);
    for (int b = 0; b < s->o.blocks; b++) {
        int64_t room = CONTROL_TWINS / s->o.blocks, *found = &t.of_block[b].count;
        s->more_twins = s->more_twins || *found > room;
        *found = *found < room ? *found : room;
        count += *found;
    }
    s->twin = memory_take((size_t)(count + 1) * sizeof *s->twin);
    int64_t at = 0;
    for (int b = 0; b < s->o.blocks; b++) {
        if (t.of_block[b].count) memcpy(s->twin + at, t.of_block[b].twin, (size_t)t.of_block[b].count * sizeof *s->twin);
        at += t.of_block[b].count;
        free(t.of_block[b].twin);
    }
    qsort(s->twin, (size_t)count, sizeof *s->twin, by_pair);
    for (int64_t i = 0; i < count; i++)  // blocks that share images find them again
        if (!i || by_pair(&s->twin[i], &s->twin[i - 1])) s->twin[s->twins++] = s->twin[i];
    free(t.of_block);
    ncc_side_free(&t.members);
}

static void take_positions(struct control *s) {
    s->index = memory_take((size_t)s->n * sizeof *s->index);
    s->position = memory_take((size_t)(s->o.blocks * s->n) * sizeof *s->position);
    s->twin_index = memory_take((size_t)(2 * s->twins + 1) * sizeof *s->twin_index);
    s->twin_ncc = memory_take((size_t)(s->twins + 1) * sizeof *s->twin_ncc);
    for (int64_t i = 0; i < s->n; i++) s->index[i] = images_position(s->truth, i);
    for (int64_t i = 0; i < s->o.blocks * s->n; i++) s->position[i] = images_position(s->held_out, s->image[i]);
    for (int64_t i = 0; i < s->twins; i++) {
        s->twin_index[2 * i] = images_position(s->truth, s->twin[i].member);
        s->twin_index[2 * i + 1] = images_position(s->held_out, s->twin[i].control);
        s->twin_ncc[i] = s->twin[i].ncc;
    }
}

struct control *control_open(const struct images *truth, const struct images *held_out, const struct control_options *o,
                                 struct pool *pool, struct error *e) {
    const struct images *set[2] = {truth, held_out};
    for (int i = 0; i < 2; i++)
        if (!set[i]->y) {
            error_set(e, EXIT_INPUT, "%s: classes (tensor y) expected, since the control is matched in them", set[i]->name);
            return NULL;
        }
    if (!images_agree(truth, held_out, e)) return NULL;
    struct control *s = memory_zero(sizeof *s);
    *s = (struct control){.truth = truth, .held_out = held_out, .o = *o, .pool = pool, .room = CONTROL_ROOM, .n = truth->count};
    unsigned char *drop = memory_zero((size_t)held_out->count);
    bool fine = check_members(s, drop, e) && cut_blocks(s, drop, e);
    free(drop);
    if (fine) {
        take_twins(s);
        take_positions(s);
        return s;
    }
    control_free(s);
    return NULL;
}

void control_free(struct control *s) {
    if (!s) return;
    free(s->image);
    free(s->spare);
    free(s->twin);
    free(s->index);
    free(s->position);
    free(s->twin_index);
    free(s->twin_ncc);
    free(s);
}

const int64_t *control_rows(const struct control *s, int64_t set) { return set ? s->image + (set - 1) * s->n : NULL; }
const struct images *control_images(const struct control *s, int64_t set) { return set ? s->held_out : s->truth; }

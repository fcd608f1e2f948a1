// scorecard.c: blocks of control, the matching of candidates with members and with each block, and what follows.
#include "scorecard.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/rng.h"
#include "../engine/gemm.h"
#include "../io/record.h"
#include "assign.h"
#include "roc.h"

// NCC is computed in single precision: products of the same two images agree to the bit wherever they stand (gemm.h),
// those of two copies stored as bytes and as floats to this, the rounding of a chain of some hundred sums.
static const float ROUNDING = 1e-5f, CERTAIN = .95f;

enum { AMONG_ROWS = 256 };

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
    for (int64_t i = 0; i < s->count; i++) m[i] = (struct mark){pixels ? hash_row(s, i, room) : (uint64_t)images_position(s, i), i};
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

// drop: one byte for each control image, set where it is a member. Returns how many; *member and *image name the first.
static int64_t find_members(const struct images *truth, const struct images *control, unsigned char *drop, int64_t *member, int64_t *image,
                            bool *by_place) {
    int64_t found = 0;
    float *a = memory_take((size_t)truth->size * sizeof *a), *b = memory_take((size_t)truth->size * sizeof *b);
    struct mark *place = marks_of(truth, false, a), *look = marks_of(truth, true, a);
    for (int64_t i = 0; i < control->count; i++) {
        int64_t twin = -1;
        bool at_place = false;
        uint64_t key = (uint64_t)images_position(control, i);
        for (const struct mark *m = first_mark(place, truth->count, key); twin < 0 && m < place + truth->count && m->hash == key; m++)
            if (same_place(truth, m->row, control, i)) {
                twin = m->row;
                at_place = true;
            }
        key = hash_row(control, i, b);
        for (const struct mark *m = first_mark(look, truth->count, key); twin < 0 && m < look + truth->count && m->hash == key; m++) {
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

static bool check_members(struct scorecard *s, unsigned char *drop, struct error *e) {
    int64_t member = 0, image = 0;
    bool by_place = false;
    s->excluded = find_members(s->truth, s->control, drop, &member, &image, &by_place);
    if (!s->excluded || s->o.exclude) return true;
    return error_set(e, EXIT_INPUT, "%s: image %lld is image %lld of %s, %s; %lld of %lld control images are members (--exclude leaves them out)", s->control->name,
                     (long long)image, (long long)member, s->truth->name, by_place ? "by its position in their source" : "pixel for pixel",
                     (long long)s->excluded, (long long)s->control->count);
}

// ---- blocks

struct class {
    int64_t members, images;
    int64_t *image;  // rows of control, shuffled
    int64_t given;   // how many a block's loop has passed
};

static bool check_class(const struct scorecard *s, const struct class *c, int64_t number, struct error *e) {
    return c->images >= c->members ||
           error_set(e, EXIT_INPUT, "%s: %lld images of class %lld expected, as in %s (%d blocks of their own need %lld), %lld found", s->control->name,
                     (long long)c->members, (long long)number, s->truth->name, s->o.blocks, (long long)(c->members * s->o.blocks), (long long)c->images);
}

// Images of each class in a keyed order.
static void shuffle(const struct scorecard *s, const unsigned char *drop, struct class *class, int64_t classes) {
    struct stream stream = rng_stream(s->o.seed, "score/block");
    for (int64_t i = 0; i < s->control->count; i++)
        if (!drop[i]) class[s->control->y[i]].image[class[s->control->y[i]].images++] = i;
    for (int64_t c = 0; c < classes; c++) {
        int64_t n = class[c].images, *order = memory_take((size_t)(n + 1) * sizeof *order), *sorted = memory_take((size_t)(n + 1) * sizeof *sorted);
        rng_permutation(stream, (uint32_t)c, order, n);
        memcpy(sorted, class[c].image, (size_t)n * sizeof *sorted);
        for (int64_t i = 0; i < n; i++) class[c].image[i] = sorted[order[i]];
        free(order);
        free(sorted);
    }
}

static void deal(struct scorecard *s, struct class *class, int64_t classes) {
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

static bool cut_blocks(struct scorecard *s, const unsigned char *drop, struct error *e) {
    struct arena arena = {0};
    int64_t classes = classes_of(s->truth, s->control);
    if (classes > CLASSES_MAX) return error_set(e, EXIT_INPUT, "classes below %d expected, %lld found", CLASSES_MAX, (long long)(classes - 1));
    struct class *class = arena_take(&arena, (size_t)classes * sizeof *class);
    for (int64_t i = 0; i < s->control->count; i++) class[s->control->y[i]].images += !drop[i];
    for (int64_t i = 0; i < s->n; i++) class[s->truth->y[i]].members++;
    bool fine = true;
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

// ---- products of images

// Images less their means, of norm 1. rows NULL: the first `count`.
static float *centred(const struct images *s, const int64_t *rows, int64_t count) {
    float *x = memory_take((size_t)(count * s->size + 1) * sizeof *x);
    for (int64_t i = 0; i < count; i++) {
        images_row(s, rows ? rows[i] : i, x + i * s->size);
        similarity_centre(x + i * s->size, s->size);
    }
    return x;
}

// The right side of many products: images that others are compared with.
struct side {
    int64_t count, size;
    float *packed;
};

static struct side side_of(const struct images *s, int64_t count) {
    float *x = centred(s, NULL, count);
    struct side side = {count, s->size, memory_take(gemm_packed_floats(s->size, count) * sizeof(float))};
    gemm_pack(side.packed, (struct gemm_matrix){x, 1, s->size}, s->size, count, 0, count);
    free(x);
    return side;
}

// ncc: [rows, side's count] of centred images x.
static void products(const float *x, int64_t rows, const struct side *side, float *ncc) {
    void *scratch = memory_take(gemm_scratch());
    gemm_packed(rows, side->count, side->size, (struct gemm_matrix){x, side->size, 1}, side->packed, ncc, side->count, 0, side->count, NULL, scratch);
    for (int64_t i = 0; i < rows * side->count; i++) ncc[i] = ncc[i] < -1 ? -1 : ncc[i] > 1 ? 1 : ncc[i];
    free(scratch);
}

static const int64_t *rows_of_set(const struct scorecard *s, long set) { return set ? s->image + (set - 1) * s->n : NULL; }

// ---- near-duplicates

struct twins {
    const struct scorecard *s;
    struct side members;
    struct twin_list {
        int64_t count;
        struct scorecard_twin *twin;
    } *of_block;
};

static void find_twins(void *data, long b, int worker) {
    (void)worker;
    struct twins *t = data;
    const struct scorecard *s = t->s;
    struct twin_list *list = &t->of_block[b];
    const int64_t *rows = s->image + b * s->n;
    float *x = centred(s->control, rows, s->n), *ncc = memory_take((size_t)(s->n * s->n) * sizeof *ncc);
    products(x, s->n, &t->members, ncc);
    for (int64_t i = 0; i < s->n; i++)
        for (int64_t j = 0; j < s->n; j++)
            if (ncc[i * s->n + j] > SCORECARD_TWIN) {
                list->twin = memory_grow(list->twin, (size_t)(list->count + 1) * sizeof *list->twin);
                list->twin[list->count++] = (struct scorecard_twin){j, rows[i], ncc[i * s->n + j]};
            }
    free(x);
    free(ncc);
}

static int by_pair(const void *a, const void *b) {
    const struct scorecard_twin *p = a, *q = b;
    if (p->member != q->member) return p->member < q->member ? -1 : 1;
    return (p->control > q->control) - (p->control < q->control);
}

static void take_twins(struct scorecard *s) {
    struct twins t = {s, side_of(s->truth, s->n), memory_zero((size_t)s->o.blocks * sizeof *t.of_block)};
    int64_t count = 0;
    pool_run(s->pool, s->o.blocks, find_twins, &t);
    for (int b = 0; b < s->o.blocks; b++) count += t.of_block[b].count;
    s->twin = memory_take((size_t)(count + 1) * sizeof *s->twin);
    for (int b = 0, at = 0; b < s->o.blocks; b++) {
        if (t.of_block[b].count) memcpy(s->twin + at, t.of_block[b].twin, (size_t)t.of_block[b].count * sizeof *s->twin);
        at += (int)t.of_block[b].count;
        free(t.of_block[b].twin);
    }
    qsort(s->twin, (size_t)count, sizeof *s->twin, by_pair);
    for (int64_t i = 0; i < count; i++)  // blocks that share images find them again
        if (!i || by_pair(&s->twin[i], &s->twin[i - 1])) s->twin[s->twins++] = s->twin[i];
    free(t.of_block);
    free(t.members.packed);
}

static void take_positions(struct scorecard *s) {
    s->index = memory_take((size_t)s->n * sizeof *s->index);
    s->position = memory_take((size_t)(s->o.blocks * s->n) * sizeof *s->position);
    s->twin_index = memory_take((size_t)(2 * s->twins + 1) * sizeof *s->twin_index);
    s->twin_ncc = memory_take((size_t)(s->twins + 1) * sizeof *s->twin_ncc);
    for (int64_t i = 0; i < s->n; i++) s->index[i] = images_position(s->truth, i);
    for (int64_t i = 0; i < s->o.blocks * s->n; i++) s->position[i] = images_position(s->control, s->image[i]);
    for (int64_t i = 0; i < s->twins; i++) {
        s->twin_index[2 * i] = images_position(s->truth, s->twin[i].member);
        s->twin_index[2 * i + 1] = images_position(s->control, s->twin[i].control);
        s->twin_ncc[i] = s->twin[i].ncc;
    }
}

struct scorecard *scorecard_open(const struct images *truth, const struct images *control, const struct scorecard_options *o,
                                 struct pool *pool, struct error *e) {
    const struct images *set[2] = {truth, control};
    for (int i = 0; i < 2; i++)
        if (!set[i]->y) {
            error_set(e, EXIT_INPUT, "%s: classes (tensor y) expected, since the control is matched in them", set[i]->name);
            return NULL;
        }
    if (!images_agree(truth, control, e)) return NULL;
    if (!similarity_fits(o->window, truth->height, truth->width, e)) {
        error_prefix(e, "%s", truth->name);
        return NULL;
    }
    struct scorecard *s = memory_zero(sizeof *s);
    *s = (struct scorecard){.truth = truth, .control = control, .o = *o, .pool = pool, .n = truth->count};
    unsigned char *drop = memory_zero((size_t)control->count);
    bool fine = check_members(s, drop, e) && cut_blocks(s, drop, e);
    free(drop);
    if (fine) {
        take_twins(s);
        take_positions(s);
        return s;
    }
    scorecard_free(s);
    return NULL;
}

void scorecard_free(struct scorecard *s) {
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

// ---- matching

struct matching {
    const struct scorecard *s;
    const struct images *candidates;
    struct scorecard_match *m;
    struct side side;
    int64_t *nearest;    // [1 + blocks, candidates]: the nearest image of each set
    float *nearest_ncc;
};

static void measure_pair(const struct matching *g, const struct images *from, int64_t row, int64_t at, float *a, float *b) {
    struct scorecard_match *m = g->m;
    struct similarity found = {NAN, NAN, NAN, NAN};
    if (m->candidate[at] >= 0) {
        images_row(from, row, a);
        images_row(g->candidates, m->candidate[at], b);
        found = similarity_of(a, b, from->channels, from->height, from->width, g->s->o.window);
    }
    m->ssim[at] = found.ssim;
    m->psnr[at] = found.psnr;
    m->mse[at] = found.mse;
}

static void match_set(void *data, long set, int worker) {
    (void)worker;
    const struct matching *g = data;
    const struct scorecard *s = g->s;
    struct scorecard_match *m = g->m;
    const struct images *from = set ? s->control : s->truth;
    const int64_t *rows = rows_of_set(s, set);
    int64_t n = s->n, count = m->candidates;
    float *x = centred(from, rows, n), *ncc = memory_take((size_t)(n * count) * sizeof *ncc);
    products(x, n, &g->side, ncc);
    int64_t *candidate = m->candidate + set * n, *nearest = g->nearest + set * count;
    float *best = g->nearest_ncc + set * count;
    assign_best(ncc, count, n, count, candidate, NULL, NULL);
    for (int64_t i = 0; i < n; i++) m->ncc[set * n + i] = candidate[i] < 0 ? -1 : ncc[i * count + candidate[i]];
    for (int64_t j = 0; j < count; j++) best[j] = -INFINITY;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < count; j++)
            if (ncc[i * count + j] > best[j]) {
                best[j] = ncc[i * count + j];
                nearest[j] = rows ? rows[i] : i;
            }
    free(ncc);
    free(x);
    if (!m->ssim) return;
    float *a = memory_take((size_t)from->size * sizeof *a), *b = memory_take((size_t)from->size * sizeof *b);
    for (int64_t i = 0; i < n; i++) measure_pair(g, from, rows ? rows[i] : i, set * n + i, a, b);
    free(a);
    free(b);
}

static void take_nearest(struct matching *g) {
    struct scorecard_match *m = g->m;
    int64_t count = m->candidates;
    for (int64_t j = 0; j < count; j++) {
        m->member[j] = g->nearest[j];
        m->member_ncc[j] = g->nearest_ncc[j];
        m->held_out_ncc[j] = -INFINITY;
        for (int b = 1; b <= g->s->o.blocks; b++)
            if (g->nearest_ncc[b * count + j] > m->held_out_ncc[j]) {
                m->held_out_ncc[j] = g->nearest_ncc[b * count + j];
                m->held_out[j] = g->nearest[b * count + j];
            }
    }
}

struct scorecard_match *scorecard_match(const struct scorecard *s, const struct images *candidates, int64_t limit, bool pairs,
                                        struct error *e) {
    if (!images_agree(s->truth, candidates, e)) return NULL;
    struct scorecard_match *m = memory_zero(sizeof *m);
    size_t sets = (size_t)s->o.blocks + 1, scores = sets * (size_t)s->n;
    m->candidates = limit && limit < candidates->count ? limit : candidates->count;
    size_t count = (size_t)m->candidates;
    m->ncc = memory_take(scores * sizeof *m->ncc);
    m->candidate = memory_take(scores * sizeof *m->candidate);
    m->ssim = pairs ? memory_take(scores * sizeof *m->ssim) : NULL;
    m->psnr = pairs ? memory_take(scores * sizeof *m->psnr) : NULL;
    m->mse = pairs ? memory_take(scores * sizeof *m->mse) : NULL;
    m->member = memory_zero(count * sizeof *m->member);
    m->held_out = memory_zero(count * sizeof *m->held_out);
    m->member_ncc = memory_take(count * sizeof *m->member_ncc);
    m->held_out_ncc = memory_take(count * sizeof *m->held_out_ncc);
    struct matching g = {s, candidates, m, side_of(candidates, m->candidates), memory_take(sets * count * sizeof *g.nearest),
                         memory_take(sets * count * sizeof *g.nearest_ncc)};
    pool_run(s->pool, (long)sets, match_set, &g);
    take_nearest(&g);
    free(g.side.packed);
    free(g.nearest);
    free(g.nearest_ncc);
    return m;
}

void scorecard_match_free(struct scorecard_match *m) {
    if (!m) return;
    free(m->ncc);
    free(m->candidate);
    free(m->ssim);
    free(m->psnr);
    free(m->mse);
    free(m->member);
    free(m->held_out);
    free(m->member_ncc);
    free(m->held_out_ncc);
    free(m);
}

// ---- baselines

static void add_row(const struct images *s, int64_t i, float *room, double *sum) {
    images_row(s, i, room);
    for (int64_t j = 0; j < s->size; j++) sum[j] += room[j];
}

// Row k of x becomes the mean of the members of class class[k % classes], of all where classes is 0.
static void fill_means(const struct scorecard *s, const int64_t *class, int64_t classes, float *x, int64_t count) {
    const struct images *t = s->truth;
    int64_t distinct = classes ? classes : 1;
    float *room = memory_take((size_t)t->size * sizeof *room);
    double *sum = memory_take((size_t)t->size * sizeof *sum);
    for (int64_t k = 0; k < count; k++) {
        float *row = x + k * t->size;
        if (k >= distinct) {
            memcpy(row, row - distinct * t->size, (size_t)t->size * sizeof *row);
            continue;
        }
        int64_t n = 0;
        memset(sum, 0, (size_t)t->size * sizeof *sum);
        for (int64_t i = 0; i < s->n; i++)
            if (!classes || t->y[i] == class[k]) {
                add_row(t, i, room, sum);
                n++;
            }
        for (int64_t j = 0; j < t->size; j++) row[j] = (float)(sum[j] / (double)n);
    }
    free(room);
    free(sum);
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

// The members' classes, each once; free() it.
static int64_t *distinct_classes(const struct scorecard *s, int64_t *count) {
    int64_t *y = memory_take((size_t)s->n * sizeof *y);
    memcpy(y, s->truth->y, (size_t)s->n * sizeof *y);
    qsort(y, (size_t)s->n, sizeof *y, ascending);
    *count = 0;
    for (int64_t i = 0; i < s->n; i++)
        if (!i || y[i] != y[i - 1]) y[(*count)++] = y[i];
    return y;
}

struct images *scorecard_baseline(const struct scorecard *s, const char *name, int64_t count) {
    float *x;
    bool held_out = !strcmp(name, "heldout");
    if (held_out && !s->spares) return NULL;
    struct images *made = images_made(s->truth, name, held_out && s->spares < count ? s->spares : count, &x);
    if (held_out) {
        for (int64_t i = 0; i < made->count; i++) images_row(s->control, s->spare[i], x + i * made->size);
    } else if (!strcmp(name, "noise")) {
        struct stream stream = rng_stream(s->o.seed, "score/noise");
        for (int64_t i = 0; i < count; i++) rng_uniform(stream, (uint32_t)i, 0, 0, x + i * made->size, (long)made->size);
    } else if (!strcmp(name, "mean")) {
        fill_means(s, NULL, 0, x, count);
    } else if (!strcmp(name, "classes")) {
        int64_t classes, *class = distinct_classes(s, &classes);
        fill_means(s, class, classes, x, count);
        free(class);
    } else
        BUG("baseline %s", name);
    return made;
}

// ---- what is written

static void add_scores(const struct scorecard *s, const struct scorecard_match *m, const char *prefix, struct blob *b) {
    char name[160];
    snprintf(name, sizeof name, "%struth.ncc", prefix);
    blob_add(b, name, F32, 1, &s->n, m->ncc);
    snprintf(name, sizeof name, "%scontrol.ncc", prefix);
    blob_add(b, name, F32, 2, (int64_t[]){s->o.blocks, s->n}, m->ncc + s->n);
}

void scorecard_save_baseline(const struct scorecard *s, const struct scorecard_match *m, const char *name, struct blob *b) {
    char prefix[128];
    snprintf(prefix, sizeof prefix, "baseline.%s.", name);
    add_scores(s, m, prefix, b);
}

void scorecard_save_tensors(const struct scorecard *s, const struct scorecard_match *m, struct blob *b) {
    const int64_t blocks[2] = {s->o.blocks, s->n};
    blob_add(b, "index", I64, 1, &s->n, s->index);
    blob_add(b, "y", I64, 1, &s->n, s->truth->y);
    blob_add(b, "control.index", I64, 2, blocks, s->position);
    add_scores(s, m, "", b);
    blob_add(b, "truth.candidate", I64, 1, &s->n, m->candidate);
    blob_add(b, "control.candidate", I64, 2, blocks, m->candidate + s->n);
    blob_add(b, "candidate.member", I64, 1, &m->candidates, m->member);
    blob_add(b, "candidate.ncc", F32, 1, &m->candidates, m->member_ncc);
    blob_add(b, "candidate.control", I64, 1, &m->candidates, m->held_out);
    blob_add(b, "candidate.control_ncc", F32, 1, &m->candidates, m->held_out_ncc);
    blob_add(b, "twin.index", I64, 2, (int64_t[]){s->twins, 2}, s->twin_index);
    blob_add(b, "twin.ncc", F32, 1, &s->twins, s->twin_ncc);
    if (!m->ssim) return;
    blob_add(b, "truth.ssim", F64, 1, &s->n, m->ssim);
    blob_add(b, "truth.psnr", F64, 1, &s->n, m->psnr);
    blob_add(b, "truth.mse", F64, 1, &s->n, m->mse);
}

struct scorecard_run scorecard_run(const struct scorecard *s, const struct scorecard_match *m) {
    return (struct scorecard_run){m->ncc, m->ncc + s->n, s->n, s->o.blocks};
}

static bool check_scores(const struct blob *b, const struct tensor *t, struct error *e) {
    const float *x = t->data;
    for (int64_t i = 0; i < tensor_count(t); i++)
        if (!(x[i] >= -1 && x[i] <= 1)) return blob_refuse(b, e, "tensor %s: correlations in [-1, 1] expected, %g found", t->name, (double)x[i]);
    return true;
}

bool scorecard_run_of(const struct blob *b, const char *baseline, struct scorecard_run *out, struct error *e) {
    char name[2][160];
    for (int i = 0; i < 2; i++)
        snprintf(name[i], sizeof name[i], "%s%s%s%s", baseline ? "baseline." : "", baseline ? baseline : "", baseline ? "." : "",
                 i ? "control.ncc" : "truth.ncc");
    if (baseline && !blob_find(b, name[0])) return false;
    const struct tensor *truth = blob_need(b, name[0], e), *control = truth ? blob_need(b, name[1], e) : NULL;
    if (!control) return error_prefix(e, "%s: not the score of a reconstruction", b->source);
    char shape[128];
    if (truth->dtype != F32 || truth->rank != 1 || truth->dim[0] < 1)
        return blob_refuse(b, e, "tensor %s: F32 [N] expected, %s %s found", name[0], dtype_name(truth->dtype), tensor_shape_text(truth, shape));
    if (control->dtype != F32 || control->rank != 2 || control->dim[0] < 1 || control->dim[0] > INT_MAX || control->dim[1] != truth->dim[0])
        return blob_refuse(b, e, "tensor %s: F32 [blocks, %lld] expected, %s %s found", name[1], (long long)truth->dim[0],
                           dtype_name(control->dtype), tensor_shape_text(control, shape));
    *out = (struct scorecard_run){truth->data, control->data, truth->dim[0], (int)control->dim[0]};
    return check_scores(b, truth, e) && check_scores(b, control, e);
}

// ---- numbers

static int ascending_floats(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double median_of(float *x, int64_t n) {
    if (!n) return NAN;
    qsort(x, (size_t)n, sizeof *x, ascending_floats);
    return n % 2 ? (double)x[n / 2] : ((double)x[n / 2 - 1] + (double)x[n / 2]) / 2;
}

// Medians over all runs together.
static void save_medians(const struct scorecard_run *run, int runs, json_t *record, const char *path) {
    char key[256];
    int64_t n = 0, m = 0, all[2] = {0};
    for (int i = 0; i < runs; i++) {
        all[0] += run[i].n;
        all[1] += run[i].n * run[i].blocks;
    }
    float *truth = memory_take((size_t)(all[0] + 1) * sizeof *truth), *control = memory_take((size_t)(all[1] + 1) * sizeof *control);
    for (int i = 0; i < runs; n += run[i].n, m += run[i].n * run[i].blocks, i++) {
        memcpy(truth + n, run[i].truth, (size_t)run[i].n * sizeof *truth);
        memcpy(control + m, run[i].control, (size_t)(run[i].n * run[i].blocks) * sizeof *control);
    }
    snprintf(key, sizeof key, "%s.median.truth", path);
    record_real(record, key, median_of(truth, n));
    snprintf(key, sizeof key, "%s.median.control", path);
    record_real(record, key, median_of(control, m));
    free(truth);
    free(control);
}

static int64_t count_from(const float *x, int64_t n, float bar) {
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) count += x[i] >= bar;
    return count;
}

static void save_matched(const struct scorecard_run *run, int runs, float bar, const char *name, json_t *record, const char *path) {
    char key[256];
    int64_t truth = 0;
    double control = 0;
    for (int i = 0; i < runs; i++) {
        truth += count_from(run[i].truth, run[i].n, bar);
        control += (double)count_from(run[i].control, run[i].n * run[i].blocks, bar) / run[i].blocks;
    }
    snprintf(key, sizeof key, "%s.%s.truth", path, name);
    if (runs == 1)
        record_int(record, key, truth);
    else
        record_real(record, key, (double)truth / runs);
    snprintf(key, sizeof key, "%s.%s.control", path, name);
    record_real(record, key, control / runs);
}

void scorecard_save(const struct scorecard_run *run, int runs, uint64_t seed, json_t *record, const char *path) {
    char key[256];
    struct roc_run *roc = memory_take((size_t)(runs + 1) * sizeof *roc);
    int64_t hits = 0, members = 0;
    float threshold = 0;
    for (int i = 0; i < runs; i++) {
        roc[i] = (struct roc_run){run[i].truth, run[i].control, run[i].n, run[i].n * run[i].blocks};
        hits += roc_hits(&roc[i], .01, &threshold);
        members += run[i].n;
    }
    struct interval interval = roc_auc_interval(roc, runs, seed);
    snprintf(key, sizeof key, "%s.auc", path);
    record_real(record, key, roc_auc(roc, runs));
    snprintf(key, sizeof key, "%s.auc_interval", path);
    record_set(record, key, json_pack("[f, f]", interval.low, interval.high));
    snprintf(key, sizeof key, "%s.tpr_at_fpr_1e-2", path);
    record_rate(record, key, (long)hits, (long)members);
    snprintf(key, sizeof key, "%s.threshold_at_fpr_1e-2", path);
    if (runs == 1) record_real(record, key, threshold);
    save_matched(run, runs, CERTAIN, "matched_at_0p95", record, path);
    save_matched(run, runs, .999f, "matched_at_0p999", record, path);
    save_medians(run, runs, record, path);
    free(roc);
}

struct scorecard_found scorecard_identify(const struct scorecard *s, const struct scorecard_match *m) {
    struct scorecard_found found = {0, m->candidates, (double)s->n / (double)(s->n + s->used)};
    for (int64_t j = 0; j < m->candidates; j++) found.count += m->member_ncc[j] > m->held_out_ncc[j];
    return found;
}

// ---- marks

struct judging {
    const struct images *among;
    struct side marked;
    float *nearest;  // [chunks of among, marked]
};

static void look_among(void *data, long chunk, int worker) {
    (void)worker;
    const struct judging *g = data;
    int64_t from = chunk * AMONG_ROWS, rows = g->among->count - from < AMONG_ROWS ? g->among->count - from : AMONG_ROWS, index[AMONG_ROWS];
    for (int64_t i = 0; i < rows; i++) index[i] = from + i;
    float *x = centred(g->among, index, rows), *ncc = memory_take((size_t)(rows * g->marked.count) * sizeof *ncc);
    float *nearest = g->nearest + chunk * g->marked.count;
    products(x, rows, &g->marked, ncc);
    for (int64_t j = 0; j < g->marked.count; j++) nearest[j] = -INFINITY;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < g->marked.count; j++) nearest[j] = fmaxf(nearest[j], ncc[i * g->marked.count + j]);
    free(x);
    free(ncc);
}

static struct images *marked_images(const struct images *candidates, int64_t count) {
    float *x;
    struct images *marked = images_made(candidates, "marked", count, &x);
    for (int64_t j = 0, k = 0; j < candidates->count; j++)
        if (candidates->certified[j]) images_row(candidates, j, x + k++ * candidates->size);
    return marked;
}

bool scorecard_judge(const struct scorecard *s, const struct scorecard_match *m, const struct images *candidates,
                     const struct images *among, struct scorecard_marks *out, struct error *e) {
    *out = (struct scorecard_marks){.verdict = memory_zero((size_t)candidates->count)};
    if (!among) among = s->control;
    BUG_IF(!candidates->certified || m->candidates != candidates->count, "marks of other candidates");
    if (!images_agree(s->truth, among, e)) return false;
    for (int64_t j = 0; j < candidates->count; j++) out->count += candidates->certified[j];
    if (!out->count) return true;
    struct images *marked = marked_images(candidates, out->count);
    long chunks = (long)((among->count + AMONG_ROWS - 1) / AMONG_ROWS);
    struct judging g = {among, side_of(marked, out->count), memory_take((size_t)(chunks * out->count) * sizeof *g.nearest)};
    pool_run(s->pool, chunks, look_among, &g);
    unsigned char *named = memory_zero((size_t)s->n);
    for (int64_t j = 0, k = 0; j < candidates->count; j++) {
        if (!candidates->certified[j]) continue;
        float other = -INFINITY;
        for (long c = 0; c < chunks; c++) other = fmaxf(other, g.nearest[c * out->count + k]);
        k++;
        // The member itself, where it is among them, comes as near and no nearer.
        out->verdict[j] = m->member_ncc[j] >= CERTAIN && other <= m->member_ncc[j] + ROUNDING;
        out->right += out->verdict[j];
        if (out->verdict[j]) named[m->member[j]] = 1;
    }
    for (int64_t i = 0; i < s->n; i++) out->members += named[i];
    free(named);
    free(g.marked.packed);
    free(g.nearest);
    images_free(marked);
    return true;
}

// ---- a wall

struct scorecard_wall scorecard_wall(const struct scorecard *s, const struct scorecard_match *m, const struct images *candidates,
                                     const unsigned char *verdict, int64_t count) {
    struct scorecard_wall w = {.count = count < m->candidates ? count : m->candidates};
    int64_t size = s->truth->size;
    w.x = memory_take((size_t)(w.count * 3 * size + 1) * sizeof *w.x);
    w.ncc = memory_take((size_t)(w.count * 2 + 1) * sizeof *w.ncc);
    w.mark = memory_zero((size_t)w.count + 1);
    for (int64_t j = 0; j < w.count; j++) {
        images_row(s->truth, m->member[j], w.x + 3 * j * size);
        images_row(candidates, j, w.x + (3 * j + 1) * size);
        images_row(s->control, m->held_out[j], w.x + (3 * j + 2) * size);
        w.ncc[2 * j] = m->member_ncc[j];
        w.ncc[2 * j + 1] = m->held_out_ncc[j];
        if (candidates->certified && candidates->certified[j]) w.mark[j] = verdict && verdict[j] ? 2 : 1;
    }
    return w;
}

void scorecard_wall_free(struct scorecard_wall *w) {
    free(w->x);
    free(w->ncc);
    free(w->mark);
    *w = (struct scorecard_wall){0};
}

void scorecard_save_wall(const struct scorecard *s, const struct scorecard_wall *w, struct blob *b) {
    const struct images *t = s->truth;
    blob_add(b, "wall.x", F32, 5, (int64_t[]){w->count, 3, t->channels, t->height, t->width}, w->x);
    blob_add(b, "wall.ncc", F32, 2, (int64_t[]){w->count, 2}, w->ncc);
    blob_add(b, "wall.mark", U8, 1, &w->count, w->mark);
}

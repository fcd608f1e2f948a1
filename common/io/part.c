// part.c: parts of blobs, and their union.
#include "part.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/opt.h"
#include "record.h"

bool part_names_hold(const char *names, const char *name) {
    size_t length = strlen(name);
    for (const char *at = names; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (strcspn(at, ",") == length && memcmp(at, name, length) == 0) return true;
    return !names;
}

bool part_check_names(const struct blob *b, const char *names, struct error *e) {
    for (const char *at = names; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        char *name = strndup(at, strcspn(at, ","));
        bool there = blob_need(b, name, e) != NULL;
        free(name);
        if (!there) return false;
    }
    return true;
}

bool part_parse_rows(const char *text, struct part_rows *r, struct error *e) {
    const char *colon = strchr(text, ':');
    *r = (struct part_rows){0, INT64_MAX};
    char *from = strndup(text, colon ? (size_t)(colon - text) : 0);
    bool good = colon && (!*from || parse_int(from, &r->from)) && (!colon[1] || parse_int(colon + 1, &r->to));
    free(from);
    if (!good || r->from < 0 || r->to < r->from)
        return error_set(e, EXIT_USAGE, "rows: A:B with 0 <= A <= B expected, either may be left out, %s found", text);
    return true;
}

static void *row(const struct tensor *t, int64_t i) {
    struct tensor one = *t;
    one.dim[0] = 1;
    return (char *)t->data + (size_t)i * tensor_bytes(&one);
}

static void drop_metrics(struct blob *b) {
    if (!b->record) return;
    json_t *record = json_copy(b->record);
    json_object_set_new(record, "metrics", json_object());
    blob_set_record(b, record);
    json_decref(record);
}

// A shape like [2^60, 0] costs nothing to claim, so its rows are not to size an index or a sum.
static bool has_rows(const struct blob *b, const struct tensor *t, struct error *e) {
    char shape[128];
    return t->rank == 0 || (uint64_t)t->dim[0] <= tensor_bytes(t) ||
           blob_refuse(b, e, "tensor %s: %s has rows with nothing in them", t->name, tensor_shape_text(t, shape));
}

// How many rows the tensors named have; -1 and an error where they do not agree.
static int64_t count_rows(const struct blob *b, const char *names, struct error *e) {
    const struct tensor *first = NULL;
    for (int i = 0; i < b->count; i++) {
        const struct tensor *t = &b->tensor[i];
        if (!part_names_hold(names, t->name)) continue;
        if (!has_rows(b, t, e)) return -1;
        if (!first) first = t;
        if (t->rank == 0 || t->dim[0] != first->dim[0]) {
            char one[128], other[128];
            blob_refuse(b, e, "tensor %s %s and tensor %s %s do not have the same rows; name those to cut", first->name,
                        tensor_shape_text(first, one), t->name, tensor_shape_text(t, other));
            return -1;
        }
    }
    if (first) return first->dim[0];
    blob_refuse(b, e, "no tensors, so no rows to cut");
    return -1;
}

static void name_rows(struct blob *part, const struct blob *whole, int64_t from, int64_t count) {
    if (blob_find(part, "index")) return;
    int64_t *index = arena_take(part->arena, (size_t)(count + 1) * sizeof *index);
    const struct tensor *positions = blob_find(whole, "index");
    for (int64_t i = 0; i < count; i++) index[i] = positions ? ((const int64_t *)positions->data)[from + i] : from + i;
    blob_add(part, "index", I64, 1, &count, index);
    if (!blob_meta(part, "assay.source")) blob_set_meta(part, "assay.source", whole->digest);
}

struct blob *part_cut(const struct blob *b, const char *names, const struct part_rows *rows, struct error *e) {
    if (!part_check_names(b, names, e)) return NULL;
    int64_t all = rows ? count_rows(b, names, e) : 0;
    if (all < 0) return NULL;
    if (rows && (rows->from > all || (rows->to > all && rows->to != INT64_MAX))) {
        blob_refuse(b, e, "rows 0:%lld expected, %lld:%lld asked for", (long long)all, (long long)rows->from,
                    (long long)rows->to);
        return NULL;
    }
    bool dataset = strcmp(b->kind, "dataset") == 0;
    const struct tensor *index = blob_find(b, "index");
    if (rows && dataset && index && !tensor_expect(index, I64, 1, &all, e)) {
        error_prefix(e, "%s", b->source);
        return NULL;
    }
    int64_t count = rows ? (rows->to < all ? rows->to : all) - rows->from : 0;
    struct blob *part = blob_like(b);
    for (int i = 0; i < b->count; i++) {
        struct tensor t = b->tensor[i];
        if (!part_names_hold(names, t.name)) continue;
        if (rows) {
            t.data = row(&t, rows->from);
            t.dim[0] = count;
        }
        blob_add(part, t.name, t.dtype, t.rank, t.dim, t.data);
    }
    if (rows) drop_metrics(part);
    if (rows && dataset) name_rows(part, b, rows->from, count);
    return part;
}

struct blob *part_of(const struct blob *b, const char *names, int64_t k, int64_t n, struct error *e) {
    int64_t all = part_check_names(b, names, e) ? count_rows(b, names, e) : -1;
    if (all < 0) return NULL;
    // all * k may not fit into 64 bits.
    int64_t each = all / n, more = all % n, before = k - 1;
    int64_t from = before * each + (before < more ? before : more);
    struct part_rows rows = {from, from + each + (before < more)};
    struct blob *part = part_cut(b, names, &rows, e);
    if (!part) return NULL;
    char text[48];
    snprintf(text, sizeof text, "%lld/%lld", (long long)k, (long long)n);
    blob_set_meta(part, "assay.part", text);
    return part;
}

// ---- union

static bool parse_part(const struct blob *b, int64_t *k, int64_t *n, struct error *e) {
    const char *text = blob_meta(b, "assay.part"), *slash = text ? strchr(text, '/') : NULL;
    if (!text) return blob_refuse(b, e, "assay.part expected, as the other blobs have it");
    char *left = strndup(text, slash ? (size_t)(slash - text) : 0);
    bool good = slash && parse_int(left, k) && parse_int(slash + 1, n) && *k >= 1 && *k <= *n;
    free(left);
    return good || blob_refuse(b, e, "assay.part: K/N with 1 <= K <= N expected, %.40s found", text);
}

struct place {
    int64_t k;
    const struct blob *blob;
};

static int by_part(const void *a, const void *b) {
    int64_t x = ((const struct place *)a)->k, y = ((const struct place *)b)->k;
    return (x > y) - (x < y);
}

// Names the first few parts that are not there; `place` is sorted.
static bool refuse_missing(const struct place *place, int count, int64_t n, struct error *e) {
    char list[160] = "";
    size_t at = 0;
    bool more = false;
    int64_t next = 1;
    for (int i = 0; i <= count && !more; i++) {
        int64_t end = i < count ? place[i].k : n + 1;
        for (; next < end && !more; next++) {
            more = at + 48 > sizeof list;
            if (!more) at += (size_t)snprintf(list + at, sizeof list - at, "%s%lld", at ? ", " : "", (long long)next);
        }
        next = end + 1;
    }
    return error_set(e, EXIT_INPUT, "%lld of %lld parts are missing: %s%s", (long long)(n - count), (long long)n, list,
                     more ? ", ..." : "");
}

// The blobs in the order of their parts; as they were given where none is a part.
static bool put_in_order(const struct blob *const *blob, int count, struct place *place, struct error *e) {
    bool parts = false;
    for (int i = 0; i < count; i++) {
        place[i].blob = blob[i];
        parts = parts || blob_meta(blob[i], "assay.part");
    }
    if (!parts) return true;
    int64_t n = 0, first = 0;
    for (int i = 0; i < count; i++) {
        if (!parse_part(blob[i], &place[i].k, &n, e)) return false;
        if (i == 0) first = n;
        if (n != first)
            return blob_refuse(blob[i], e, "a part of %lld expected, part %lld of %lld found", (long long)first,
                               (long long)place[i].k, (long long)n);
    }
    qsort(place, (size_t)count, sizeof *place, by_part);
    for (int i = 1; i < count; i++)
        if (place[i].k == place[i - 1].k)
            return blob_refuse(place[i].blob, e, "part %lld of %lld is there twice", (long long)place[i].k,
                               (long long)n);
    return n == count || refuse_missing(place, count, n, e);
}

static bool same_text(const char *a, const char *b) {
    return a == b || (a && b && strcmp(a, b) == 0);
}

// Whether two blobs can be rows of one: kind, source and tensors agree but for the number of rows.
static bool agree(const struct blob *a, const struct blob *b, struct error *e) {
    char one[128], other[128];
    if (strcmp(a->kind, b->kind) != 0)
        return blob_refuse(b, e, "kind %s expected as in %s, %s found", a->kind, a->source, b->kind);
    if (!same_text(blob_meta(a, "assay.source"), blob_meta(b, "assay.source")))
        return blob_refuse(b, e, "is a part of another data set than %s", a->source);
    for (int i = 0; i < a->count; i++) {
        const struct tensor *t = &a->tensor[i], *u = blob_need(b, t->name, e);
        if (!u) return false;
        if (!has_rows(a, t, e) || !has_rows(b, u, e)) return false;
        struct tensor like = *t;
        if (t->rank && u->rank) like.dim[0] = u->dim[0];
        if (u->dtype != t->dtype || u->rank != t->rank ||
            memcmp(u->dim, like.dim, sizeof *u->dim * (size_t)u->rank) != 0)
            return blob_refuse(b, e, "tensor %s: %s %s cannot stand behind %s %s", t->name, dtype_name(u->dtype),
                               tensor_shape_text(u, one), dtype_name(t->dtype), tensor_shape_text(t, other));
        if (t->rank == 0 && memcmp(t->data, u->data, tensor_bytes(t)) != 0)
            return blob_refuse(b, e, "tensor %s: the same value expected as in %s", t->name, a->source);
    }
    return b->count == a->count ||
           blob_refuse(b, e, "%d tensors expected as in %s, %d found", a->count, a->source, b->count);
}

static void join_tensor(struct blob *joined, const struct place *place, int count, const struct tensor *t) {
    struct tensor whole = *t;
    if (t->rank == 0) {
        blob_add(joined, t->name, t->dtype, 0, NULL, t->data);
        return;
    }
    whole.dim[0] = 0;
    for (int i = 0; i < count; i++) whole.dim[0] += blob_find(place[i].blob, t->name)->dim[0];
    char *data = arena_take(joined->arena, tensor_bytes(&whole) + 1);
    blob_add(joined, t->name, t->dtype, t->rank, whole.dim, data);
    for (int i = 0; i < count; i++) {
        const struct tensor *piece = blob_find(place[i].blob, t->name);
        if (tensor_bytes(piece)) memcpy(data, piece->data, tensor_bytes(piece));
        data += tensor_bytes(piece);
    }
}

// Where all positions 0, 1, ... of the source are there and the rest has its digest, this is the source.
static void restore_source(struct blob *b) {
    const struct tensor *index = blob_find(b, "index");
    const char *source = blob_meta(b, "assay.source");
    if (!index || index->dtype != I64 || !source) return;
    for (int64_t i = 0; i < tensor_count(index); i++)
        if (((const int64_t *)index->data)[i] != i) return;
    struct tensor saved = *index;
    int at = (int)(index - b->tensor);
    memmove(b->tensor + at, b->tensor + at + 1, (size_t)(--b->count - at) * sizeof saved);
    blob_compute_digest(b);
    if (strcmp(b->digest, source) == 0)
        json_object_del(b->metadata, "assay.source");
    else
        blob_add(b, saved.name, saved.dtype, saved.rank, saved.dim, saved.data);
}

struct blob *part_join(const struct blob *const *blob, int count, struct error *e) {
    BUG_IF(count < 1, "a union of %d blobs", count);
    struct place *place = memory_zero((size_t)count * sizeof *place);
    bool good = put_in_order(blob, count, place, e);
    for (int i = 1; good && i < count; i++) good = agree(place[0].blob, place[i].blob, e);
    struct blob *joined = NULL;
    if (good) {
        joined = blob_like(place[0].blob);
        json_object_del(joined->metadata, "assay.part");
        for (int i = 0; i < place[0].blob->count; i++) join_tensor(joined, place, count, &place[0].blob->tensor[i]);
        if (count > 1) drop_metrics(joined);
        restore_source(joined);
    }
    free(place);
    return joined;
}

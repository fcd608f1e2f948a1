// blob.c: reading and writing safetensors files with assay's metadata, as blob(5) describes them.
//
// A blob is 8 bytes of length N, N bytes of JSON, the data. The reader checks the whole header before it takes
// memory for data, and memory for data grows with what was really read. The digest names the contents whatever
// their layout; the seal covers the metadata and, through the digest, the contents.
//
// A file is read, not mapped: a mapped one that somebody writes to changes behind the digest that was checked, and one
// that is cut kills the program. A map of 47 MB would save 20 ms, and memory only where several programs share it.
#include "blob.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "../base/arena.h"
#include "../base/hash.h"
#include "../base/out.h"
#include "record.h"

enum {
    HEADER_MAX = 8 << 20,  // a JSON tree costs twenty times its text
    STEP = 1 << 20,        // the first piece of memory for data that may not be there
    BUFFER = 1 << 16,
    ALIGNMENT = 64,  // of the data section
    VERSION = 1,
};
static const uint64_t format_limit = 100000000;  // bytes of a header: what the format itself allows

struct blob_memory {
    void *data;
    struct blob_memory *next;
};

// ---- messages

static bool refuse(const char *source, struct error *e, const char *format, va_list list) {
    char text[sizeof e->text];
    vsnprintf(text, sizeof text, format, list);
    return error_set(e, EXIT_INPUT, "%s: %s", source, text);
}

bool blob_refuse(const struct blob *b, struct error *e, const char *format, ...) {
    va_list list;
    va_start(list, format);
    refuse(b->source, e, format, list);
    va_end(list);
    return false;
}

// ---- the stream of bytes: a file or pipe, gzip undone

struct blob_stream {
    char *name;
    int fd;
    uint64_t left;  // bytes of a regular file that read() has not given yet; 0 where unknown
    unsigned char buffer[BUFFER];
    size_t at, have;  // buffer[at..have) is not consumed
    bool end;         // read() said so
    bool sniff;       // a gzip member may begin here
    bool inflating, inflate_ready;
    z_stream z;
    long blobs;
};

static bool stream_refuse(const struct blob_stream *s, struct error *e, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static bool stream_refuse(const struct blob_stream *s, struct error *e, const char *format, ...) {
    va_list list;
    va_start(list, format);
    refuse(s->name, e, format, list);
    va_end(list);
    return false;
}

static struct blob_stream *stream_new(int fd, const char *name) {
    struct blob_stream *s = memory_zero(sizeof *s);
    s->fd = fd;
    s->name = strdup(name);
    struct stat info;
    off_t at = lseek(fd, 0, SEEK_CUR);
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && at >= 0 && info.st_size > at)
        s->left = (uint64_t)(info.st_size - at);
    return s;
}

struct blob_stream *blob_stream_open(const char *path, struct error *e) {
    if (!path || strcmp(path, "-") == 0) return stream_new(STDIN_FILENO, "standard input");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        error_set(e, EXIT_SYSTEM, "%s: cannot open: %s", path, strerror(errno));
        return NULL;
    }
    return stream_new(fd, path);
}

void blob_stream_close(struct blob_stream *s) {
    if (!s) return;
    if (s->inflate_ready) inflateEnd(&s->z);
    if (s->fd != STDIN_FILENO) close(s->fd);
    free(s->name);
    free(s);
}

static ssize_t read_some(struct blob_stream *s, void *out, size_t count, struct error *e) {
    ssize_t got;
    do got = read(s->fd, out, count);
    while (got < 0 && errno == EINTR);
    if (got < 0) error_set(e, EXIT_SYSTEM, "%s: cannot read: %s", s->name, strerror(errno));
    if (got == 0) s->end = true;
    if (got > 0) s->left = s->left > (uint64_t)got ? s->left - (uint64_t)got : 0;
    return got;
}

// Has at least `count` bytes in the buffer unless the stream ends before.
static bool fill(struct blob_stream *s, size_t count, struct error *e) {
    while (s->have - s->at < count && !s->end) {
        if (s->at > 0) {
            memmove(s->buffer, s->buffer + s->at, s->have - s->at);
            s->have -= s->at;
            s->at = 0;
        }
        ssize_t got = read_some(s, s->buffer + s->have, BUFFER - s->have, e);
        if (got < 0) return false;
        s->have += (size_t)got;
    }
    return true;
}

// gzip begins 1f 8b 08. So may the length of a header, but then the ninth byte is its '{', which gzip, with its
// compression level's mark there, does not have.
static bool sniff_gzip(struct blob_stream *s, struct error *e) {
    s->sniff = false;
    if (!fill(s, 9, e)) return false;
    const unsigned char *p = s->buffer + s->at;
    if (s->have - s->at < 9 || p[0] != 0x1f || p[1] != 0x8b || p[2] != 8 || p[8] == '{') return true;
    int rc = s->inflate_ready ? inflateReset(&s->z) : inflateInit2(&s->z, 15 + 16);
    if (rc != Z_OK) return error_set(e, EXIT_SYSTEM, "%s: zlib: %s", s->name, zError(rc));
    s->inflating = s->inflate_ready = true;
    return true;
}

// Up to `count` bytes, at least one; 0 at the end, -1 on failure.
static ssize_t stream_read(struct blob_stream *s, void *out, size_t count, struct error *e) {
    for (;;) {
        if (s->sniff && !s->inflating && !sniff_gzip(s, e)) return -1;
        if (s->at == s->have && !s->inflating && count >= BUFFER) return s->end ? 0 : read_some(s, out, count, e);
        if (!fill(s, 1, e)) return -1;
        size_t there = s->have - s->at;
        if (!s->inflating) {
            size_t take = there < count ? there : count;
            memcpy(out, s->buffer + s->at, take);
            s->at += take;
            return (ssize_t)take;
        }
        s->z.next_in = s->buffer + s->at;
        s->z.avail_in = (uInt)there;
        s->z.next_out = out;
        s->z.avail_out = (uInt)(count < (1u << 30) ? count : 1u << 30);
        uInt room = s->z.avail_out;
        int rc = inflate(&s->z, Z_NO_FLUSH);
        s->at = s->have - s->z.avail_in;
        if (rc == Z_STREAM_END) {
            s->inflating = false;
            s->sniff = true;
        } else if (rc != Z_OK && rc != Z_BUF_ERROR) {
            stream_refuse(s, e, "gzip data is broken: %s", s->z.msg ? s->z.msg : zError(rc));
            return -1;
        }
        if (s->z.avail_out < room) return (ssize_t)(room - s->z.avail_out);
        if (s->inflating && s->end && s->at == s->have) {
            stream_refuse(s, e, "gzip data stops early: its end mark expected, end of file found");
            return -1;
        }
    }
}

// Reads `size` bytes into memory of its own (free()), *got of them when the stream stops early. Memory is
// taken in steps, twice what has been read at most, unless the size of the file vouches for the rest.
static void *take(struct blob_stream *s, uint64_t size, uint64_t *got, struct error *e) {
    uint64_t sure = s->inflating || s->sniff ? 0 : s->left + (s->have - s->at);
    uint64_t capacity = sure > STEP ? sure : STEP;
    if (capacity > size) capacity = size;
    unsigned char *data = memory_take(capacity ? capacity : 1);
    *got = 0;
    while (*got < size) {
        if (*got == capacity) {
            capacity = capacity > size / 2 ? size : capacity * 2;
            unsigned char *larger = memory_take(capacity);
            memcpy(larger, data, *got);
            free(data);
            data = larger;
        }
        ssize_t more = stream_read(s, data + *got, capacity - *got, e);
        if (more < 0) {
            free(data);
            return NULL;
        }
        if (more == 0) break;
        *got += (uint64_t)more;
    }
    return data;
}

// ---- reading a header

struct span {  // one tensor as the header announces it
    struct tensor tensor;
    uint64_t begin, end;
};

static bool read_dtype(const struct blob_stream *s, const char *name, const json_t *entry, enum dtype *d,
                       struct error *e) {
    static const char *const unsupported[] = {"F4",      "F6_E2M3",     "F6_E3M2",     "F8_E5M2", "F8_E4M3",
                                              "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "C64"};
    const char *text = json_string_value(json_object_get(entry, "dtype"));
    if (!text) return stream_refuse(s, e, "tensor %s: a string expected as its dtype", name);
    if (dtype_parse(text, d)) return true;
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++)
        if (strcmp(text, unsupported[i]) == 0)
            return stream_refuse(s, e,
                                 "tensor %s: dtype %s is known but not supported here; convert it to F16, BF16 or F32",
                                 name, text);
    return stream_refuse(
        s, e, "tensor %s: dtype %.40s is unknown; one of BOOL U8 I8 I16 U16 I32 U32 I64 U64 F16 BF16 F32 F64 expected",
        name, text);
}

static bool read_span(const struct blob_stream *s, const char *name, const json_t *entry, struct span *span,
                      struct error *e) {
    struct tensor *t = &span->tensor;
    if (!json_is_object(entry))
        return stream_refuse(s, e, "tensor %s: an object with dtype, shape and data_offsets expected", name);
    if (!read_dtype(s, name, entry, &t->dtype, e)) return false;

    const json_t *shape = json_object_get(entry, "shape");
    if (!json_is_array(shape)) return stream_refuse(s, e, "tensor %s: an array expected as its shape", name);
    if (json_array_size(shape) > TENSOR_RANK_MAX)
        return stream_refuse(s, e, "tensor %s: at most %d dimensions expected, %zu found", name, TENSOR_RANK_MAX,
                             json_array_size(shape));
    t->rank = (int)json_array_size(shape);
    uint64_t bytes = dtype_size(t->dtype);
    for (int i = 0; i < t->rank; i++) {
        const json_t *dim = json_array_get(shape, (size_t)i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return stream_refuse(s, e, "tensor %s: dimension %d is no integer of 0 or more", name, i);
        t->dim[i] = json_integer_value(dim);
        // Overflow counts even where another dimension is 0: the product of the others is used as a stride.
        if (t->dim[i] > 0 && bytes > 0 && __builtin_mul_overflow(bytes, (uint64_t)t->dim[i], &bytes))
            return stream_refuse(s, e, "tensor %s: the product of its dimensions overflows", name);
        if (bytes > INT64_MAX) return stream_refuse(s, e, "tensor %s: the product of its dimensions overflows", name);
    }
    for (int i = 0; i < t->rank; i++)
        if (t->dim[i] == 0) bytes = 0;

    const json_t *offsets = json_object_get(entry, "data_offsets");
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end) ||
        json_integer_value(begin) < 0 || json_integer_value(end) < 0)
        return stream_refuse(s, e, "tensor %s: two integers of 0 or more expected as data_offsets", name);
    span->begin = (uint64_t)json_integer_value(begin);
    span->end = (uint64_t)json_integer_value(end);
    char a[32], b[32], text[128];
    if (span->end < span->begin)
        return stream_refuse(s, e, "tensor %s: data_offsets end at %s before they begin at %s", name,
                             tensor_size_text(span->end, a), tensor_size_text(span->begin, b));
    if (span->end - span->begin != bytes)
        return stream_refuse(s, e, "tensor %s: %s %s takes %s bytes, its data_offsets hold %s", name,
                             dtype_name(t->dtype), tensor_shape_text(t, text), tensor_size_text(bytes, a),
                             tensor_size_text(span->end - span->begin, b));
    return true;
}

static int by_offset(const void *a, const void *b) {
    const struct span *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1;
    return strcmp(x->tensor.name, y->tensor.name);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

// The tensors a header announces, in the order of their data, which covers the section exactly.
static bool read_spans(const struct blob_stream *s, const json_t *header, struct blob *b, struct span *spans,
                       int *count, struct error *e) {
    const char *name;
    json_t *entry;
    *count = 0;
    json_object_foreach ((json_t *)header, name, entry) {
        if (strcmp(name, "__metadata__") == 0) continue;
        spans[*count].tensor.name = arena_text(b->arena, name);
        if (!read_span(s, name, entry, &spans[(*count)++], e)) return false;
    }
    qsort(spans, (size_t)*count, sizeof *spans, by_offset);
    uint64_t cursor = 0;
    char x[32], y[32];
    for (int i = 0; i < *count; i++) {
        if (spans[i].begin < cursor)
            return stream_refuse(s, e, "tensor %s: overlaps %s: offset %s expected, %s found", spans[i].tensor.name,
                                 i ? spans[i - 1].tensor.name : "", tensor_size_text(cursor, x),
                                 tensor_size_text(spans[i].begin, y));
        if (spans[i].begin > cursor)
            return stream_refuse(s, e, "tensor %s: a hole before it: offset %s expected, %s found",
                                 spans[i].tensor.name, tensor_size_text(cursor, x),
                                 tensor_size_text(spans[i].begin, y));
        cursor = spans[i].end;
    }
    return true;
}

// ---- metadata, digest and seal

static void seal_text(const json_t *metadata, char out[65]) {
    struct hash *h = hash_new();
    size_t count;
    const char **keys = record_keys(metadata, &count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(keys[i], "assay.seal") == 0) continue;
        hash_add_counted(h, keys[i]);
        hash_add_counted(h, json_string_value(json_object_get(metadata, keys[i])));
    }
    free(keys);
    unsigned char digest[32];
    hash_end(h, digest);
    hash_hex(digest, out);
}

void blob_compute_digest(struct blob *b) {
    struct hash *h = hash_new();
    for (int i = 0; i < b->count; i++) {
        const struct tensor *t = &b->tensor[i];
        hash_add_counted(h, t->name);
        hash_add_counted(h, dtype_name(t->dtype));
        hash_add_u64(h, (uint64_t)t->rank);
        for (int k = 0; k < t->rank; k++) hash_add_u64(h, (uint64_t)t->dim[k]);
        hash_add_u64(h, tensor_bytes(t));
        hash_add(h, t->data, tensor_bytes(t));
    }
    unsigned char digest[32];
    hash_end(h, digest);
    hash_hex(digest, b->digest);
}

// The parsed forms of assay.kind, assay.record and assay.lineage; NULL values are dropped.
static bool parse_metadata(struct blob *b, struct error *e) {
    b->kind = json_string_value(json_object_get(b->metadata, "assay.kind"));
    if (!b->kind) b->kind = "";
    const json_t *record = json_object_get(b->metadata, "assay.record"),
                 *lineage = json_object_get(b->metadata, "assay.lineage");
    if (record) {
        b->record = record_parse(json_string_value(record), json_string_length(record), "assay.record", e);
        if (!b->record) return error_prefix(e, "%s", b->source);
        if (!json_is_object(b->record)) return blob_refuse(b, e, "assay.record: a JSON object expected");
    }
    if (lineage) {
        b->lineage = record_parse(json_string_value(lineage), json_string_length(lineage), "assay.lineage", e);
        if (!b->lineage) return error_prefix(e, "%s", b->source);
        if (!json_is_array(b->lineage)) return blob_refuse(b, e, "assay.lineage: a JSON array expected");
    }
    return true;
}

// Takes the metadata over; `digest` becomes what the file claims, or "".
static bool read_metadata(const json_t *header, struct blob *b, char digest[65], struct error *e) {
    const json_t *stored = json_object_get(header, "__metadata__");
    digest[0] = 0;
    b->metadata = json_object();
    if (!stored) return parse_metadata(b, e);
    if (!json_is_object(stored)) return blob_refuse(b, e, "__metadata__: an object of strings expected");
    bool ours = false;
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)stored, key, value) {
        if (!json_is_string(value)) return blob_refuse(b, e, "__metadata__: a string expected as the value of %s", key);
        json_object_set(b->metadata, key, value);
        ours = ours || strncmp(key, "assay.", 6) == 0;
    }
    if (!ours) return parse_metadata(b, e);

    const char *version = blob_meta(b, "assay.version");
    if (version) {
        char *rest;
        unsigned long major = *version >= '0' && *version <= '9' ? strtoul(version, &rest, 10) : 0;
        if (major != VERSION || (*rest && *rest != '.'))
            return blob_refuse(b, e, "assay.version: %d expected, %.40s found; a newer assay may read it", VERSION,
                               version);
    }
    const char *seal = blob_meta(b, "assay.seal"), *claimed = blob_meta(b, "assay.digest");
    if (!seal || !claimed)
        return blob_refuse(b, e, "assay.%s is missing, though the file has other assay.* metadata",
                           seal ? "digest" : "seal");
    char expected[65];
    seal_text(b->metadata, expected);
    if (strcmp(seal, expected) != 0)
        return blob_refuse(b, e, "the seal does not match: the metadata give %s, assay.seal says %.64s", expected,
                           seal);
    if (strlen(claimed) != 64)
        return blob_refuse(b, e, "assay.digest: 64 hexadecimal digits expected, %zu bytes found", strlen(claimed));
    memcpy(digest, claimed, 65);
    json_object_del(b->metadata, "assay.digest");
    json_object_del(b->metadata, "assay.seal");
    return parse_metadata(b, e);
}

static struct blob *blob_empty(const char *source) {
    struct blob *b = memory_zero(sizeof *b);
    b->arena = memory_zero(sizeof *b->arena);
    b->kind = "";
    b->source = arena_text(b->arena, source);
    return b;
}

// ---- reading a blob

// What else a file may be that is given for a blob, by its first eight bytes; NULL where that is not known.
static const char *begins_like(const unsigned char first[8]) {
    static const struct {
        const char *bytes;
        size_t count;
        const char *what;
    } known[] = {
        {"\211PNG", 4, "a PNG picture"}, {"\377\330\377", 3, "a JPEG picture"}, {"\223NUMPY", 6, "a NumPy array"},
        {"PK\3\4", 4, "a zip archive"}, {"\211HDF", 4, "an HDF5 file"}, {"\37\213\10", 3, "gzip inside gzip"},
        {"\0\0\10\1", 4, "an IDX file"}, {"\0\0\10\3", 4, "an IDX file"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!memcmp(first, known[i].bytes, known[i].count)) return known[i].what;
    for (int i = 0; i < 8; i++)
        if ((first[i] < ' ' || first[i] > '~') && !memchr("\t\r\n", first[i], 3)) return NULL;
    return "text";
}

static void refuse_beginning(const struct blob_stream *s, const unsigned char first[8], struct error *e) {
    const char *what = begins_like(first);
    stream_refuse(s, e, "%s%s%s", s->blobs ? "no blob follows the last one" : "not a safetensors file",
                  what ? ": it begins like " : "", what ? what : "");
}

// The header as JSON, or NULL; *end where the stream ends instead of beginning a blob.
static json_t *read_header(struct blob_stream *s, bool *end, struct error *e) {
    unsigned char prefix[8];
    uint64_t size = 0, got = 0;
    char a[32], b[32];
    s->sniff = true;
    while (got < sizeof prefix) {
        ssize_t more = stream_read(s, prefix + got, sizeof prefix - got, e);
        if (more < 0) return NULL;
        if (more == 0) break;
        got += (uint64_t)more;
    }
    *end = got == 0;
    if (*end) return NULL;
    if (got < sizeof prefix) return stream_refuse(s, e, "8 bytes of header length expected, %d there", (int)got), NULL;
    for (int i = 7; i >= 0; i--) size = size << 8 | prefix[i];
    if (size > format_limit) return refuse_beginning(s, prefix, e), NULL;
    if (size > HEADER_MAX)
        return stream_refuse(s, e, "a header of %s bytes announced, the limit is %s", tensor_size_text(size, a),
                             tensor_size_text(HEADER_MAX, b)),
               NULL;
    char *text = take(s, size, &got, e);
    if (!text) return NULL;
    json_t *header = NULL;
    if (got > 0 && text[0] != '{' && begins_like(prefix))
        refuse_beginning(s, prefix, e);
    else if (got < size)
        stream_refuse(s, e, "%s bytes of header expected, %s there", tensor_size_text(size, a),
                      tensor_size_text(got, b));
    else if (size == 0)
        stream_refuse(s, e, "a header that begins with '{' expected, 0 bytes of header found");
    else if (text[0] != '{')
        stream_refuse(s, e, "a header that begins with '{' expected, byte 0x%02x found", (unsigned char)text[0]);
    else if ((header = record_parse(text, size, "header", e)) == NULL)
        error_prefix(e, "%s", s->name);
    free(text);
    return header;
}

static bool read_data(struct blob_stream *s, struct blob *b, const struct span *spans, int count, struct error *e) {
    b->tensor = memory_zero((size_t)(count ? count : 1) * sizeof *b->tensor);
    for (int i = 0; i < count; i++) {
        uint64_t size = spans[i].end - spans[i].begin, got;
        struct blob_memory *memory = arena_take(b->arena, sizeof *memory);
        memory->data = take(s, size, &got, e);
        if (!memory->data) return false;
        memory->next = b->memory;
        b->memory = memory;
        char x[32], y[32];
        if (got < size)
            return stream_refuse(s, e, "%s bytes of %s expected, %s there", tensor_size_text(size, x),
                                 spans[i].tensor.name, tensor_size_text(got, y));
        b->tensor[b->count] = spans[i].tensor;
        b->tensor[b->count++].data = memory->data;
    }
    qsort(b->tensor, (size_t)b->count, sizeof *b->tensor, by_name);
    return true;
}

struct blob *blob_next(struct blob_stream *s, struct error *e) {
    bool end = false;
    json_t *header = read_header(s, &end, e);
    if (!header) {
        if (end && s->blobs == 0) stream_refuse(s, e, "a blob expected, nothing found: the input is empty");
        return NULL;
    }
    struct blob *b = blob_empty(s->name);
    struct span *spans = memory_zero((json_object_size(header) + 1) * sizeof *spans);
    int count;
    char claimed[65];
    bool good = read_metadata(header, b, claimed, e) && read_spans(s, header, b, spans, &count, e);
    json_decref(header);
    good = good && read_data(s, b, spans, count, e);
    free(spans);
    if (good) {
        blob_compute_digest(b);
        b->sealed = claimed[0];
        if (claimed[0] && strcmp(claimed, b->digest) != 0)
            good = blob_refuse(b, e, "the digest does not match: the tensors give %s, assay.digest says %.64s",
                               b->digest, claimed);
    }
    if (!good) {
        blob_free(b);
        return NULL;
    }
    s->blobs++;
    return b;
}

struct blob *blob_open(const char *path, struct error *e) {
    struct blob_stream *s = blob_stream_open(path, e);
    if (!s) return NULL;
    struct blob *b = blob_next(s, e);
    if (b) {
        unsigned char more;
        s->sniff = true;
        ssize_t got = stream_read(s, &more, 1, e);
        if (got > 0) stream_refuse(s, e, "one blob expected, more bytes follow it");
        if (got != 0) {
            blob_free(b);
            b = NULL;
        }
    }
    blob_stream_close(s);
    return b;
}

void blob_free(struct blob *b) {
    if (!b) return;
    json_decref(b->metadata);
    json_decref(b->record);
    json_decref(b->lineage);
    for (struct blob_memory *m = b->memory; m; m = m->next) free(m->data);
    arena_free(b->arena);
    free(b->arena);
    free(b->tensor);
    free(b);
}

// ---- looking into a blob

const struct tensor *blob_find(const struct blob *b, const char *name) {
    struct tensor key = {.name = name};
    return b->count ? bsearch(&key, b->tensor, (size_t)b->count, sizeof key, by_name) : NULL;
}

const struct tensor *blob_need(const struct blob *b, const char *name, struct error *e) {
    const struct tensor *t = blob_find(b, name);
    if (t) return t;
    char there[256] = "no tensors";
    size_t at = 0;
    for (int i = 0; i < b->count && at < sizeof there; i++)
        at += (size_t)snprintf(there + at, sizeof there - at, "%s%s", i ? ", " : "", b->tensor[i].name);
    blob_refuse(b, e, "tensor %s expected, %s%s found", name, there, at >= sizeof there ? "..." : "");
    return NULL;
}

const char *blob_meta(const struct blob *b, const char *key) {
    return json_string_value(json_object_get(b->metadata, key));
}

bool blob_expect_kind(const struct blob *b, const char *kinds, struct error *e) {
    size_t length = strlen(b->kind);
    for (const char *k = kinds;; k++) {
        size_t word = strcspn(k, "|");
        if (word == length && memcmp(k, b->kind, word) == 0) return true;
        k += word;
        if (!*k) break;
    }
    return blob_refuse(b, e, "kind %s expected, %s found", *kinds == '|' ? kinds + 1 : kinds,
                       *b->kind ? b->kind : "a plain safetensors file");
}

// ---- writing

struct blob *blob_new(const char *kind) {
    struct blob *b = blob_empty("new blob");
    b->metadata = json_object();
    if (kind && *kind) blob_set_meta(b, "assay.kind", kind);
    return b;
}

struct blob *blob_like(const struct blob *from) {
    struct blob *b = blob_new(NULL);
    json_object_update(b->metadata, from->metadata);
    b->kind = *from->kind ? blob_meta(b, "assay.kind") : "";
    b->record = json_deep_copy(from->record);
    b->lineage = json_deep_copy(from->lineage);
    return b;
}

void blob_add(struct blob *b, const char *name, enum dtype d, int rank, const int64_t *dim, const void *data) {
    BUG_IF(rank < 0 || rank > TENSOR_RANK_MAX, "tensor %s: rank %d", name, rank);
    struct tensor t = {.name = arena_text(b->arena, name), .dtype = d, .rank = rank, .data = (void *)data};
    for (int i = 0; i < rank; i++) {
        BUG_IF(dim[i] < 0, "tensor %s: dimension %d is %lld", name, i, (long long)dim[i]);
        t.dim[i] = dim[i];
    }
    BUG_IF(!data && tensor_count(&t) > 0, "tensor %s has no data", name);
    int at = b->count;
    while (at > 0 && strcmp(b->tensor[at - 1].name, name) > 0) at--;
    BUG_IF(at > 0 && strcmp(b->tensor[at - 1].name, name) == 0, "two tensors named %s", name);
    b->tensor = memory_grow(b->tensor, (size_t)(b->count + 1) * sizeof t);
    memmove(b->tensor + at + 1, b->tensor + at, (size_t)(b->count - at) * sizeof t);
    b->tensor[at] = t;
    b->count++;
}

void blob_set_meta(struct blob *b, const char *key, const char *value) {
    BUG_IF(json_object_set_new(b->metadata, key, json_string(value)) != 0, "metadata %s is not UTF-8", key);
    if (strcmp(key, "assay.kind") == 0) b->kind = blob_meta(b, key);
}

static void set_json(struct blob *b, const char *key, const json_t *value) {
    char *text = record_dump(value);
    blob_set_meta(b, key, text);
    free(text);
}

void blob_set_record(struct blob *b, const json_t *record) {
    json_t *copy = json_deep_copy(record);
    json_decref(b->record);
    b->record = copy;
    set_json(b, "assay.record", copy);
}

static bool holds(const json_t *array, const json_t *entry) {
    for (size_t i = 0; i < json_array_size(array); i++)
        if (json_equal(json_array_get(array, i), entry)) return true;
    return false;
}

void blob_set_lineage(struct blob *b, const char *program, const json_t *options, const struct blob *const *inputs,
                      int count) {
    json_t *lineage = json_array(), *digests = json_array();
    for (int i = 0; i < count; i++) {
        json_array_append_new(digests, json_string(inputs[i]->digest));
        for (size_t k = 0; k < json_array_size(inputs[i]->lineage); k++) {
            json_t *entry = json_array_get(inputs[i]->lineage, k);
            if (!holds(lineage, entry)) json_array_append(lineage, entry);
        }
    }
    json_t *own = options ? json_deep_copy(options) : json_object();
    json_t *entry = json_pack("{s:s, s:s}", "program", program, "version", ASSAY_VERSION);
    json_t *seed = json_object_get(own, "seed");
    if (seed) json_object_set(entry, "seed", seed);
    json_object_del(own, "seed");
    json_object_set_new(entry, "options", own);
    json_object_set_new(entry, "inputs", digests);
    json_array_append_new(lineage, entry);
    json_decref(b->lineage);
    b->lineage = lineage;
    set_json(b, "assay.lineage", lineage);
}

static int by_layout(const void *a, const void *b) {
    const struct tensor *x = *(const struct tensor *const *)a, *y = *(const struct tensor *const *)b;
    size_t p = dtype_size(x->dtype), q = dtype_size(y->dtype);
    return p != q ? (p > q ? -1 : 1) : strcmp(x->name, y->name);
}

static void print_json(FILE *f, json_t *value) {  // takes the reference
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
    BUG_IF(!text, "a name or metadata value is not UTF-8");
    fputs(text, f);
    free(text);
    json_decref(value);
}

// 8 bytes of length and the header, padded; *size bytes in all. free() it.
static char *header_text(const struct blob *b, const struct tensor *const *order, size_t *size) {
    json_t *metadata = json_copy(b->metadata);
    if (!json_object_get(metadata, "format")) json_object_set_new(metadata, "format", json_string("pt"));
    if (!json_object_get(metadata, "assay.version"))
        json_object_set_new(metadata, "assay.version", json_sprintf("%d", VERSION));
    json_object_set_new(metadata, "assay.digest", json_string(b->digest));
    char seal[65];
    seal_text(metadata, seal);
    json_object_set_new(metadata, "assay.seal", json_string(seal));

    char *text = NULL;
    FILE *f = open_memstream(&text, size);
    BUG_IF(!f, "no memory stream");
    fputs("12345678{\"__metadata__\":", f);
    print_json(f, metadata);
    uint64_t at = 0;
    for (int i = 0; i < b->count; i++) {
        const struct tensor *t = order[i];
        fputc(',', f);
        print_json(f, json_string(t->name));
        fprintf(f, ":{\"dtype\":\"%s\",\"shape\":[", dtype_name(t->dtype));
        for (int k = 0; k < t->rank; k++) fprintf(f, "%s%lld", k ? "," : "", (long long)t->dim[k]);
        uint64_t end = at + tensor_bytes(t);
        fprintf(f, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at, (unsigned long long)end);
        at = end;
    }
    fputc('}', f);
    fflush(f);
    for (size_t pad = (ALIGNMENT - *size % ALIGNMENT) % ALIGNMENT; pad > 0; pad--) fputc(' ', f);
    BUG_IF(fclose(f) != 0, "no memory for a header");
    for (int i = 0; i < 8; i++) text[i] = (char)((*size - 8) >> (8 * i));
    return text;
}

bool blob_emit(struct blob *b, struct out *o, struct error *e) {
    blob_compute_digest(b);
    const struct tensor **order = memory_take((size_t)(b->count + 1) * sizeof *order);
    for (int i = 0; i < b->count; i++) order[i] = &b->tensor[i];
    qsort(order, (size_t)b->count, sizeof *order, by_layout);

    size_t size;
    char *header = header_text(b, order, &size), found[32], most[32];
    bool good = size - 8 <= HEADER_MAX ||
                error_set(e, EXIT_INPUT, "the header of the blob to write would take %s bytes, the limit is %s",
                          tensor_size_text(size - 8, found), tensor_size_text(HEADER_MAX, most));
    good = good && out_write(o, header, size, e);
    for (int i = 0; good && i < b->count; i++) good = out_write(o, order[i]->data, tensor_bytes(order[i]), e);
    free(header);
    free(order);
    return good;
}

bool blob_write(struct blob *b, const char *path, struct error *e) {
    struct out *o = out_open(path, true, e);
    if (!o) return false;
    if (blob_emit(b, o, e)) return out_close(o, e);
    out_drop(o);
    return false;
}

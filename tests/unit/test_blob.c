// Blobs: the check values of blob(5), round trips, every kind of malformed file, every truncation and every
// single-bit flip, streams, gzip, and sizes that lie.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include "io/blob.h"
#include "io/record.h"

#define DIGEST "4b2af574165e0415d54f59bf43cc550c042fa2ede90efd2d07e92212f7f68f05"
#define SEAL "c279d88d6d5177bddada0051a9c48aee8d3ce63774e37f86c350c65c52db76f6"

struct bytes {
    unsigned char *data;
    size_t size;
};

// ---- files out of memory

static int memory_file(const void *data, size_t size) {
    int fd = memfd_create("blob", 0);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, size), size);
    return fd;
}

static struct blob *open_bytes(const void *data, size_t size, struct error *e) {
    char path[64];
    int fd = memory_file(data, size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    *e = (struct error){0};
    struct blob *b = blob_open(path, e);
    close(fd);
    return b;
}

static void expect_refusal(const void *data, size_t size, const char *reason) {
    struct error e;
    struct blob *b = open_bytes(data, size, &e);
    if (b || e.status != EXIT_INPUT || !strstr(e.text, reason))
        fail_msg("refusal with \"%s\" expected, status %d \"%s\" found", reason, (int)e.status, e.text);
}

static struct bytes file_of(const char *header, size_t data) {
    size_t n = strlen(header);
    struct bytes f = {calloc(1, 8 + n + data), 8 + n + data};
    for (int i = 0; i < 8; i++) f.data[i] = (unsigned char)(n >> (8 * i));
    memcpy(f.data + 8, header, n);
    return f;
}

static void expect_header_refused(const char *header, size_t data, const char *reason) {
    struct bytes f = file_of(header, data);
    expect_refusal(f.data, f.size, reason);
    free(f.data);
}

static struct bytes written(struct blob *b) {
    char path[] = "/tmp/test_blob.XXXXXX";
    close(mkstemp(path));
    struct error e = {0};
    if (!blob_write(b, path, &e)) fail_msg("%s", e.text);
    int fd = open(path, O_RDONLY);
    struct stat info;
    assert_int_equal(fstat(fd, &info), 0);
    struct bytes f = {malloc((size_t)info.st_size), (size_t)info.st_size};
    assert_int_equal(read(fd, f.data, f.size), f.size);
    close(fd);
    unlink(path);
    return f;
}

// A small blob with everything in it: record, lineage, an unknown key, rank 0, an empty tensor, NaN.
static struct bytes small(void) {
    static const float a = 1.5f, nan[2] = {NAN, -INFINITY};
    static const uint8_t x[3] = {1, 2, 3};
    static const int64_t three[1] = {3}, two[1] = {2}, empty[2] = {0, 7};
    struct blob *b = blob_new("dataset");
    blob_add(b, "x", U8, 1, three, x);
    blob_add(b, "a", F32, 0, NULL, &a);
    blob_add(b, "nan", F32, 1, two, nan);
    blob_add(b, "void", I64, 2, empty, NULL);
    json_t *record = record_new();
    record_real(record, "metrics.clean.accuracy", .1);
    record_text(record, "config.arch", "linear 10");
    blob_set_record(b, record);
    json_t *options = json_pack("{s:i, s:s}", "seed", 7, "arch", "mlp");
    blob_set_lineage(b, "test", options, NULL, 0);
    blob_set_meta(b, "someone.elses", "caf\u00e9");
    json_decref(options);
    json_decref(record);
    struct bytes f = written(b);
    blob_free(b);
    return f;
}

static void assert_same(const struct blob *a, const struct blob *b) {
    assert_string_equal(a->digest, b->digest);
    assert_true(json_equal(a->metadata, b->metadata));
}

// ---- tests

static void check_values(void **state) {
    (void)state;
    const char *format = "{\"__metadata__\":{\"assay.kind\":\"dataset\",\"assay.digest\":\"%s\",\"assay.seal\":\"%s\"},"
                         "\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
                         "\"x\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[4,7]}}";
    const unsigned char data[7] = {0, 0, 0xc0, 0x3f, 1, 2, 3};
    char header[1000];
    struct error e;
    snprintf(header, sizeof header, format, DIGEST, SEAL);
    struct bytes f = file_of(header, 7);
    memcpy(f.data + f.size - 7, data, 7);
    struct blob *b = open_bytes(f.data, f.size, &e);
    if (!b) fail_msg("%s", e.text);
    assert_string_equal(b->digest, DIGEST);
    assert_string_equal(b->kind, "dataset");
    assert_true(b->sealed);
    assert_null(blob_meta(b, "assay.seal"));
    assert_true(tensor_value(blob_find(b, "a"), 0) == 1.5);
    blob_free(b);

    f.data[f.size - 1] ^= 1;
    expect_refusal(f.data, f.size, "digest does not match");
    free(f.data);
    snprintf(header, sizeof header, format, DIGEST, DIGEST);
    expect_header_refused(header, 7, "seal does not match");
    snprintf(header, sizeof header, format, "ab", "8b5be77d3cf39f6c33c8f1b1ac7c3de2b6a6b1b1a4a2bf9ed7d2f0c1c4d7f0aa");
    expect_header_refused(header, 7, "seal does not match");

    float a = 1.5f;
    b = blob_new("dataset");
    int64_t three = 3;
    blob_add(b, "x", U8, 1, &three, "\1\2\3");
    blob_add(b, "a", F32, 0, NULL, &a);
    blob_compute_digest(b);
    assert_string_equal(b->digest, DIGEST);
    blob_free(b);
}

static void round_trip(void **state) {
    (void)state;
    struct bytes f = small(), again = small();
    assert_int_equal(f.size, again.size);
    assert_memory_equal(f.data, again.data, f.size);  // identical saves are identical files
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--) n = n << 8 | f.data[i];
    assert_int_equal((8 + n) % 64, 0);

    struct error e;
    struct blob *b = open_bytes(f.data, f.size, &e);
    if (!b) fail_msg("%s", e.text);
    assert_int_equal(b->count, 4);
    for (int i = 0; i < b->count; i++) assert_int_equal((uintptr_t)b->tensor[i].data % 64, 0);
    assert_true(isnan(tensor_value(blob_find(b, "nan"), 0)));
    assert_int_equal(tensor_count(blob_find(b, "void")), 0);
    assert_int_equal(blob_find(b, "a")->rank, 0);
    assert_null(blob_find(b, "b"));
    assert_string_equal(blob_meta(b, "someone.elses"), "caf\u00e9");
    assert_string_equal(blob_meta(b, "format"), "pt");
    double accuracy;
    assert_true(record_get_real(b->record, "metrics.clean.accuracy", &accuracy));
    assert_true(accuracy == .1);
    assert_non_null(strstr(blob_meta(b, "assay.record"), ":0.1}"));  // the shortest text, not 0.10000000000000001
    assert_int_equal(json_integer_value(record_get(b->lineage, "0.seed")), 7);
    assert_null(record_get(b->lineage, "0.options.seed"));
    struct bytes rewritten = written(b);  // unknown keys are kept
    assert_int_equal(f.size, rewritten.size);
    assert_memory_equal(f.data, rewritten.data, f.size);

    assert_null(blob_need(b, "y", &e));
    assert_non_null(strstr(e.text, "tensor y expected, a, nan, void, x found"));
    e = (struct error){0};
    assert_false(blob_expect_kind(b, "model|checkpoint", &e));
    assert_non_null(strstr(e.text, "kind model|checkpoint expected, dataset found"));
    assert_true(blob_expect_kind(b, "model|dataset", &e));
    assert_false(blob_expect_kind(b, "data|set", &e));
    blob_free(b);
    free(f.data);
    free(again.data);
    free(rewritten.data);
}

static void every_type(void **state) {
    (void)state;
    static const unsigned char raw[16] = {0x00, 0x3c, 0x00, 0xbc, 0x01, 0x00, 0xff, 0x7b,
                                          0x00, 0x80, 0x00, 0xfc, 0,    0,    0,    0x40};
    struct blob *b = blob_new(NULL);
    for (int d = 0; d < DTYPES; d++) {
        int64_t dim[2] = {1, (int64_t)(sizeof raw / dtype_size((enum dtype)d))};
        blob_add(b, dtype_name((enum dtype)d), (enum dtype)d, 2, dim, raw);
    }
    struct bytes f = written(b);
    struct error e;
    struct blob *back = open_bytes(f.data, f.size, &e);
    if (!back) fail_msg("%s", e.text);
    assert_same(back, back);
    for (int d = 0; d < DTYPES; d++) {
        const struct tensor *t = blob_find(back, dtype_name((enum dtype)d));
        assert_non_null(t);
        assert_int_equal(t->dtype, d);
        assert_memory_equal(t->data, raw, sizeof raw);
    }
    const struct tensor *half = blob_find(back, "F16");
    assert_true(tensor_value(half, 0) == 1 && tensor_value(half, 1) == -1);
    assert_true(tensor_value(half, 2) == 0x1p-24 && tensor_value(half, 3) == 65504);
    assert_true(signbit(tensor_value(half, 4)) && tensor_value(half, 5) == -INFINITY);
    assert_true(tensor_value(blob_find(back, "I16"), 1) == -17408 && tensor_value(blob_find(back, "U16"), 1) == 48128);
    assert_true(tensor_value(blob_find(back, "BF16"), 7) == 2);
    assert_string_equal(back->kind, "");
    assert_true(back->sealed);
    blob_free(back);
    blob_free(b);
    free(f.data);
}

static void malformed(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        const char *reason;
    } cases[] = {
        {"", 0, "'{' expected"},
        {" {}", 0, "'{' expected"},
        {"[]", 0, "'{' expected"},
        {"{", 0, "JSON expected"},
        {"{}x", 0, "JSON expected"},
        {"{\"a\":\"\xff\"}", 0, "JSON expected"},
        {"{\"a\\u0000b\":{}}", 0, "JSON expected"},
        {"{}", 1, "more bytes follow"},
        {"{\"t\":3}", 0, "an object with dtype"},
        {"{\"t\":{}}", 0, "dtype"},
        {"{\"t\":{\"dtype\":\"U8\",\"data_offsets\":[0,0]}}", 0, "shape"},
        {"{\"t\":{\"dtype\":\"U8\",\"shape\":[0]}}", 0, "data_offsets"},
        {"{\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,2]}}", 1, "two integers"},
        {"{\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[-1,0]}}", 1, "two integers"},
        {"{\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1.0]}}", 1, "two integers"},
        {"{\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,99999999999999999999]}}", 1, "JSON expected"},
        {"{\"t\":{\"dtype\":\"F4096\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "F4096 is unknown"},
        {"{\"t\":{\"dtype\":\"F8_E4M3\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
         "F8_E4M3 is known but not supported"},
        {"{\"t\":{\"dtype\":\"C64\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8, "C64 is known but not supported"},
        {"{\"t\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "a string expected as its dtype"},
        {"{\"t\":{\"dtype\":\"U8\",\"shape\":[-1],\"data_offsets\":[0,1]}}", 1, "dimension 0"},
        {"{\"t\":{\"dtype\":\"U8\",\"shape\":[1.5],\"data_offsets\":[0,1]}}", 1, "dimension 0"},
        {"{\"t\":{\"dtype\":\"U8\",\"shape\":[18446744073709551616],\"data_offsets\":[0,1]}}", 1, "JSON expected"},
        {"{\"t\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1, "at most 8 dimensions"},
        {"{\"t\":{\"dtype\":\"F64\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0, "overflows"},
        {"{\"t\":{\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0, "overflows"},
        {"{\"t\":{\"dtype\":\"F32\",\"shape\":[0,4294967296,4294967296],\"data_offsets\":[0,0]}}", 0, "overflows"},
        {"{\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,0]}}", 1, "before they begin"},
        {"{\"t\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4,
         "F32 [2] takes 8 bytes, its data_offsets hold 4"},
        {"{\"t\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,0]}}", 0, "takes 4 bytes"},
        {"{\"t\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}", 3,
         "a hole before it: offset 0 expected, 1 found"},
        {"{\"t\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"u\":{\"dtype\":\"U8\",\"shape\":[2],\"data_"
         "offsets\":[1,3]}}",
         3, "u: overlaps t"},
        {"{\"t\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"u\":{\"dtype\":\"U8\",\"shape\":[2],\"data_"
         "offsets\":[0,2]}}",
         2, "u: overlaps t"},
        {"{\"t\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"u\":{\"dtype\":\"U8\",\"shape\":[2],\"data_"
         "offsets\":[3,5]}}",
         5, "u: a hole before it"},
        {"{\"t\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"u\":{\"dtype\":\"U8\",\"shape\":[0],\"data_"
         "offsets\":[1,1]}}",
         2, "overlaps"},
        {"{\"t\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"t\":{\"dtype\":\"U8\",\"shape\":[2],\"data_"
         "offsets\":[0,2]}}",
         2, "duplicate"},
        {"{\"t\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 2, "duplicate"},
        {"{\"__metadata__\":{\"a\":\"1\",\"a\":\"1\"}}", 0, "duplicate"},
        {"{\"t\":{\"dtype\":\"U8\",\"shape\":[2000],\"data_offsets\":[0,2000]}}", 1500,
         "2 000 bytes of t expected, 1 500 there"},
        {"{\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 2, "more bytes follow"},
        {"{\"__metadata__\":3}", 0, "an object of strings"},
        {"{\"__metadata__\":{\"a\":3}}", 0, "a string expected as the value of a"},
        {"{\"__metadata__\":{\"assay.kind\":\"model\"}}", 0, "assay.seal is missing"},
        {"{\"__metadata__\":{\"assay.seal\":\"00\"}}", 0, "assay.digest is missing"},
        {"{\"__metadata__\":{\"assay.version\":\"2\",\"assay.kind\":\"model\"}}", 0,
         "assay.version: 1 expected, 2 found"},
        {"{\"__metadata__\":{\"assay.version\":\"11\"}}", 0, "assay.version"},
        {"{\"__metadata__\":{\"assay.version\":\"one\"}}", 0, "assay.version"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_header_refused(cases[i].header, cases[i].data, cases[i].reason);

    expect_refusal("", 0, "the input is empty");
    expect_refusal("\4\0\0", 3, "8 bytes of header length expected, 3 there");
    expect_refusal("\100\0\0\0\0\0\0\0{}", 10, "64 bytes of header expected, 2 there");
    expect_refusal("\1\0\200\0\0\0\0\0{}", 10, "8 388 609 bytes announced, the limit is 8 388 608");
    expect_refusal("\377\377\377\377\377\377\377\377{}", 10, "not a safetensors file");

    // What was given by mistake is named.
    expect_refusal("\211PNG\r\n\32\n\0\0\0\rIHDR", 16, "not a safetensors file: it begins like a PNG picture");
    expect_refusal("\223NUMPY\1\0v\0{'descr'", 18, "it begins like a NumPy array");
    expect_refusal("index\tlabel\n0\t1\n", 16, "it begins like text");
    expect_refusal("PK\3\4\24\0\0\0\10\0", 10, "it begins like a zip archive");
    expect_refusal("\0\0\10\3\0\0\352\140\0\0\0\34", 12, "it begins like an IDX file");

    struct error e = {0};
    assert_null(blob_open("/no/such/file", &e));
    assert_int_equal(e.status, EXIT_SYSTEM);
}

static void legal(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        int count;
    } cases[] = {
        {"{}", 0, 0},
        {"{}   \n", 0, 0},
        {"{\"__metadata__\":{\"a\":\"b\"}}", 0, 0},
        {"{\"t\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4, 1},
        {"{\"t\":{\"dtype\":\"F32\",\"shape\":[2,0,3],\"data_offsets\":[0,0]}}", 0, 1},
        // Not aligned, not in order, a field nobody knows: the reference reader takes it, so do we.
        {"{\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[1,5],\"new\":[1]},\"u\":{\"dtype\":\"U8\","
         "\"shape\":[1],\"data_offsets\":[0,1]},"
         "\"v\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[1,1]}}",
         5, 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bytes f = file_of(cases[i].header, cases[i].data);
        struct error e;
        struct blob *b = open_bytes(f.data, f.size, &e);
        if (!b) fail_msg("%s: %s", cases[i].header, e.text);
        assert_int_equal(b->count, cases[i].count);
        assert_null(b->record);
        blob_free(b);
        free(f.data);
    }
}

static void versions(void **state) {
    (void)state;
    static const struct {
        const char *key, *value, *reason;  // reason NULL: read
    } cases[] = {
        {"assay.version", "1", NULL},
        {"assay.version", "1.7", NULL},
        {"assay.version", "2.0", "assay.version"},
        {"assay.version", "1x", "assay.version"},
        {"assay.later", "kept", NULL},
        {"assay.record", "{", "assay.record"},
        {"assay.record", "[]", "a JSON object expected"},
        {"assay.record", "{\"a\":1,\"a\":1}", "duplicate"},
        {"assay.lineage", "{}", "a JSON array expected"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct blob *b = blob_new("model");
        blob_set_meta(b, cases[i].key, cases[i].value);
        struct bytes f = written(b);
        blob_free(b);
        struct error e;
        if (cases[i].reason)
            expect_refusal(f.data, f.size, cases[i].reason);
        else {
            b = open_bytes(f.data, f.size, &e);
            if (!b) fail_msg("%s", e.text);
            assert_string_equal(blob_meta(b, cases[i].key), cases[i].value);
            blob_free(b);
        }
        free(f.data);
    }
}

// Refused, or the same contents and metadata.
static bool same_or_refused(const struct bytes *f, const struct blob *whole) {
    struct error e;
    struct blob *b = open_bytes(f->data, f->size, &e);
    if (!b) return e.status == EXIT_INPUT && *e.text;
    bool same = strcmp(b->digest, whole->digest) == 0 && json_equal(b->metadata, whole->metadata);
    blob_free(b);
    return same;
}

static void damage(struct bytes f) {
    struct error e;
    struct blob *whole = open_bytes(f.data, f.size, &e);
    if (!whole) fail_msg("%s", e.text);
    for (size_t size = 0; size < f.size; size++) {
        struct blob *b = open_bytes(f.data, size, &e);
        if (b || e.status != EXIT_INPUT) fail_msg("cut after %zu of %zu bytes: \"%s\"", size, f.size, e.text);
    }
    for (size_t bit = 0; bit < 8 * f.size; bit++) {
        f.data[bit / 8] ^= (unsigned char)(1 << bit % 8);
        if (!same_or_refused(&f, whole)) fail_msg("bit %zu of byte %zu: read, but not the same", bit % 8, bit / 8);
        f.data[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    blob_free(whole);
    free(f.data);
}

static struct bytes packed(struct bytes f) {
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY), Z_OK);
    struct bytes g = {malloc(f.size + 1000), 0};
    z.next_in = f.data;
    z.avail_in = (uInt)f.size;
    z.next_out = g.data;
    z.avail_out = (uInt)(f.size + 1000);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    g.size = z.total_out;
    deflateEnd(&z);
    return g;
}

static void damaged(void **state) {
    (void)state;
    damage(small());
}

static void damaged_gzip(void **state) {
    (void)state;
    struct bytes f = small();
    damage(packed(f));
    free(f.data);
}

static struct bytes joined(struct bytes a, struct bytes b) {
    struct bytes f = {malloc(a.size + b.size), a.size + b.size};
    memcpy(f.data, a.data, a.size);
    memcpy(f.data + a.size, b.data, b.size);
    return f;
}

// Reads `count` blobs and then the end, or the error that `reason` is part of.
static void expect_stream(const char *path, int count, const char *reason) {
    struct error e = {0};
    struct blob_stream *s = blob_stream_open(path, &e);
    assert_non_null(s);
    for (int i = 0; i < count; i++) {
        struct blob *b = blob_next(s, &e);
        if (!b) fail_msg("blob %d: %s", i, e.text);
        assert_int_equal(b->count, 4);
        blob_free(b);
    }
    assert_null(blob_next(s, &e));
    if (!reason)
        assert_int_equal(e.status, EXIT_DONE);
    else if (e.status != EXIT_INPUT || !strstr(e.text, reason))
        fail_msg("\"%s\" expected, \"%s\" found", reason, e.text);
    blob_stream_close(s);
}

static void streams(void **state) {
    (void)state;
    struct bytes plain = small(), gzip = packed(plain);
    const struct bytes kinds[2] = {plain, gzip};
    for (int pipe_too = 0; pipe_too < 2; pipe_too++)
        for (int i = 0; i < 8; i++) {  // three blobs, each packed or not
            struct bytes two = joined(kinds[i & 1], kinds[i >> 1 & 1]), three = joined(two, kinds[i >> 2 & 1]);
            char path[64];
            int fd[2];
            if (pipe_too) {
                assert_int_equal(pipe(fd), 0);
                assert_int_equal(write(fd[1], three.data, three.size), three.size);
                close(fd[1]);
                int standard_input = dup(0);
                dup2(fd[0], 0);
                expect_stream("-", 3, NULL);
                dup2(standard_input, 0);
                close(standard_input);
                close(fd[0]);
            } else {
                fd[0] = memory_file(three.data, three.size);
                snprintf(path, sizeof path, "/proc/self/fd/%d", fd[0]);
                expect_stream(path, 3, NULL);
                assert_int_equal(ftruncate(fd[0], (off_t)three.size - 1), 0);
                // gzip's own check comes after the data, so a blob is whole before its absence is seen.
                if (i >> 2 & 1)
                    expect_stream(path, 3, "gzip data stops early");
                else
                    expect_stream(path, 2, "bytes of x expected");
                assert_int_equal(ftruncate(fd[0], 0), 0);
                expect_stream(path, 0, "the input is empty");
                close(fd[0]);
                expect_refusal(two.data, two.size, "one blob expected, more bytes follow it");
            }
            free(two.data);
            free(three.data);
        }
    free(plain.data);
    free(gzip.data);
}

// The length of a header may begin with gzip's magic bytes.
static void length_like_gzip(void **state) {
    (void)state;
    size_t n = 0x088b1f;
    char *header = malloc(n + 1);
    memset(header, ' ', n);
    header[n] = 0;
    memcpy(header, "{}", 2);
    struct bytes f = file_of(header, 0);
    assert_memory_equal(f.data, "\x1f\x8b\x08", 3);
    struct error e;
    struct blob *b = open_bytes(f.data, f.size, &e);
    if (!b) fail_msg("%s", e.text);
    blob_free(b);
    free(f.data);
    free(header);
}

// A header may claim 4 TiB; reading it must cost no more than what is there.
static void claims_cost_nothing(void **state) {
    (void)state;
    struct bytes f =
        file_of("{\"t\":{\"dtype\":\"U8\",\"shape\":[4398046511104],\"data_offsets\":[0,4398046511104]}}", 100);
    struct bytes g = packed(f);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        unsigned long pages = 0;  // what is mapped already: much, under a sanitizer
        FILE *statm = fopen("/proc/self/statm", "r");
        if (!statm || fscanf(statm, "%lu", &pages) != 1) _exit(2);
        fclose(statm);
        rlim_t most = (rlim_t)pages * (rlim_t)getpagesize() + (256 << 20);
        if (setrlimit(RLIMIT_AS, &(struct rlimit){most, most}) != 0) _exit(3);
        struct error e;
        struct blob *b = open_bytes(f.data, f.size, &e);
        bool good = !b && strstr(e.text, "4 398 046 511 104 bytes of t expected, 100 there");
        b = open_bytes(g.data, g.size, &e);
        good = good && !b && strstr(e.text, "4 398 046 511 104 bytes of t expected, 100 there");
        _exit(good ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    free(f.data);
    free(g.data);
}

// What is computed with stays what the digest was checked of, whatever becomes of the file: blobs are not mapped.
static void file_changes_later(void **state) {
    (void)state;
    struct bytes f = small();
    int fd = memory_file(f.data, f.size);
    char path[64], before[65];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct error e = {0};
    struct blob *b = blob_open(path, &e);
    if (!b) fail_msg("%s", e.text);
    memcpy(before, b->digest, sizeof before);
    memset(f.data, 0, f.size);
    assert_int_equal(pwrite(fd, f.data, f.size, 0), f.size);
    blob_compute_digest(b);
    assert_string_equal(b->digest, before);
    assert_int_equal(ftruncate(fd, 0), 0);
    blob_compute_digest(b);
    assert_string_equal(b->digest, before);
    close(fd);
    blob_free(b);
    free(f.data);
}

static void large(void **state) {
    (void)state;
    int64_t size = 5 << 20;  // more than one step of growth
    unsigned char *data = malloc((size_t)size);
    for (int64_t i = 0; i < size; i++) data[i] = (unsigned char)(i * 2654435761u >> 13);
    struct blob *b = blob_new("samples");
    blob_add(b, "big", U8, 1, &size, data);
    struct bytes f = written(b), g = packed(f);
    blob_free(b);
    const struct bytes forms[2] = {f, g};
    for (int i = 0; i < 2; i++) {
        struct error e;
        b = open_bytes(forms[i].data, forms[i].size, &e);
        if (!b) fail_msg("%s", e.text);
        assert_memory_equal(b->tensor[0].data, data, (size_t)size);
        blob_free(b);
        free(forms[i].data);
    }
    free(data);
}

static void lineage_of_inputs(void **state) {
    (void)state;
    struct blob *data = blob_new("dataset"), *model = blob_new("model"), *result = blob_new("attack");
    blob_set_lineage(data, "fetch", NULL, NULL, 0);
    blob_compute_digest(data);
    blob_set_lineage(model, "trainclf", NULL, (const struct blob *const[]){data}, 1);
    blob_set_lineage(result, "attack", NULL, (const struct blob *const[]){model, data}, 2);
    assert_int_equal(json_array_size(result->lineage), 3);  // fetch stands there once
    assert_string_equal(json_string_value(record_get(result->lineage, "0.program")), "fetch");
    assert_string_equal(json_string_value(record_get(result->lineage, "1.program")), "trainclf");
    assert_string_equal(json_string_value(record_get(result->lineage, "1.inputs.0")), data->digest);
    assert_string_equal(json_string_value(record_get(result->lineage, "2.program")), "attack");
    blob_free(data);
    blob_free(model);
    blob_free(result);
}

static void write_errors(void **state) {
    (void)state;
    struct error e = {0};
    int64_t size = 1 << 20;
    unsigned char *data = calloc(1, (size_t)size);
    struct blob *b = blob_new("samples");
    blob_add(b, "x", U8, 1, &size, data);
    assert_false(blob_write(b, "/dev/full", &e));
    assert_int_equal(e.status, EXIT_SYSTEM);
    e = (struct error){0};
    assert_false(blob_write(b, "/no/such/directory/file", &e));
    assert_int_equal(e.status, EXIT_SYSTEM);
    blob_free(b);
    free(data);
}

static void many_headers_in_the_limit(void **state) {
    (void)state;
    struct blob *b = blob_new("samples");
    char *note = malloc((9 << 20) + 1);
    memset(note, 'x', 9 << 20);
    note[9 << 20] = 0;
    blob_set_meta(b, "note", note);
    struct error e = {0};
    assert_false(blob_write(b, "/dev/null", &e));
    assert_non_null(strstr(e.text, "the limit is 8 388 608"));
    free(note);
    blob_free(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_values),
        cmocka_unit_test(round_trip),
        cmocka_unit_test(every_type),
        cmocka_unit_test(malformed),
        cmocka_unit_test(legal),
        cmocka_unit_test(versions),
        cmocka_unit_test(damaged),
        cmocka_unit_test(damaged_gzip),
        cmocka_unit_test(streams),
        cmocka_unit_test(length_like_gzip),
        cmocka_unit_test(claims_cost_nothing),
        cmocka_unit_test(file_changes_later),
        cmocka_unit_test(large),
        cmocka_unit_test(lineage_of_inputs),
        cmocka_unit_test(write_errors),
        cmocka_unit_test(many_headers_in_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// Containers of data sets: known answers out of small ones made here byte by byte, every truncation, every flipped bit,
// and headers that lie.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>
#include <zlib.h>

#include "../../common/io/bytes.h"
#include "../../common/io/cifar.h"
#include "../../common/io/idx.h"
#include "../../common/io/mat5.h"
#include "../../common/io/record.h"
#include "../../common/io/sources.h"
#include "../../common/io/svhn.h"
#include "../../common/io/synthetic.h"

// ---- building containers

struct made {
    size_t count, room;
    unsigned char *at;
};

static void put(struct made *m, const void *bytes, size_t count) {
    if (m->count + count > m->room) m->at = realloc(m->at, m->room = 2 * (m->count + count));
    if (count) memcpy(m->at + m->count, bytes, count);
    m->count += count;
}

static void put_byte(struct made *m, int value) {
    put(m, &(unsigned char){(unsigned char)value}, 1);
}

static void put_big(struct made *m, uint32_t v) {
    for (int i = 3; i >= 0; i--) put_byte(m, (int)(v >> 8 * i & 255));
}

static void put_little(struct made *m, uint32_t v) {
    for (int i = 0; i < 4; i++) put_byte(m, (int)(v >> 8 * i & 255));
}

static struct made packed(const struct made *m, bool gzip) {
    struct made out = {.room = compressBound(m->count) + 64};
    z_stream z = {0};
    out.at = malloc(out.room);
    deflateInit2(&z, 6, Z_DEFLATED, gzip ? 31 : 15, 8, Z_DEFAULT_STRATEGY);
    z.next_in = m->at;
    z.avail_in = (unsigned)m->count;
    z.next_out = out.at;
    z.avail_out = (unsigned)out.room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    out.count = z.total_out;
    deflateEnd(&z);
    return out;
}

static void expect_error(const struct error *e, enum exit_status status, const char *word) {
    if (e->status != status || !strstr(e->text, word))
        fail_msg("status %d and '%s' expected, %d and '%s' found", (int)status, word, (int)e->status, e->text);
}

// ---- bytes

static void gzip_is_unpacked_member_by_member(void **state) {
    (void)state;
    struct made a = {0}, all = {0};
    put(&a, "hello, ", 7);
    struct made first = packed(&a, true);
    a.count = 0;
    put(&a, "world", 5);
    struct made second = packed(&a, true);
    put(&all, first.at, first.count);
    put(&all, second.at, second.count);
    struct error e = {0};
    char text[13] = {0};
    struct bytes *b = bytes_of(all.at, all.count, "two");
    assert_true(bytes_gunzip(b, 12, &e) && bytes_take(b, text, 12, &e) && bytes_end(b, &e));
    assert_string_equal(text, "hello, world");
    bytes_close(b);

    b = bytes_of(all.at, all.count, "two");  // a limit that is one byte short
    assert_true(bytes_gunzip(b, 11, &e));
    assert_false(bytes_take(b, text, 12, &e));
    expect_error(&e, EXIT_INPUT, "more than the 11 bytes");
    bytes_close(b);

    put(&all, "junk", 4);
    e = (struct error){0};
    b = bytes_of(all.at, all.count, "two");
    assert_true(bytes_gunzip(b, 100, &e));
    assert_false(bytes_drain(b, &e));
    expect_error(&e, EXIT_INPUT, "after the end of the gzip data");
    bytes_close(b);
    free(a.at);
    free(all.at);
    free(first.at);
    free(second.at);
}

static void the_digest_is_of_what_was_taken(void **state) {
    (void)state;
    struct error e = {0};
    struct bytes *b = bytes_of("xabc", 4, "b");
    char c[3];
    assert_true(bytes_skip(b, 1, &e));
    bytes_hash(b);
    assert_true(bytes_take(b, c, 3, &e));
    assert_true(
        bytes_check(b, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", &e));  // FIPS 180-2, "abc"
    bytes_hash(b);
    assert_false(bytes_check(b, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", &e));
    expect_error(&e, EXIT_INPUT, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");  // of nothing
    bytes_close(b);
}

static void pages_are_named(void **state) {
    (void)state;
    const char *pages[] = {"<!DOCTYPE html><p>moved", "\n  <html>", "<?xml version='1.0'?><Error>"},
               *others[] = {"<", "", "\x1f\x8b", "< html"};
    for (int i = 0; i < 3; i++) {
        struct error e = {0};
        struct bytes *b = bytes_of(pages[i], strlen(pages[i]), "p");
        assert_false(bytes_refuse_page(b, &e));
        expect_error(&e, EXIT_INPUT, "web page");
        bytes_close(b);
    }
    for (int i = 0; i < 4; i++) {
        struct error e = {0};
        struct bytes *b = bytes_of(others[i], strlen(others[i]), "p");
        assert_true(bytes_refuse_page(b, &e));
        bytes_close(b);
    }
}

// ---- the three containers behind one call each

static struct intake shaped(int channels, int height, int width, int classes) {
    return (struct intake){.dtype = U8, .channels = channels, .height = height, .width = width, .classes = classes};
}

// N images of 2x3 whose pixels count up, labels i mod 3.
enum { IDX_N = 7 };

static struct made idx_of_images(uint32_t magic, uint32_t n, uint32_t h, uint32_t w, int pixels) {
    struct made m = {0};
    put_big(&m, magic);
    put_big(&m, n);
    put_big(&m, h);
    put_big(&m, w);
    for (int i = 0; i < pixels; i++) put_byte(&m, i);
    return m;
}

static struct made idx_of_labels(uint32_t magic, uint32_t n, int there) {
    struct made m = {0};
    put_big(&m, magic);
    put_big(&m, n);
    for (int i = 0; i < there; i++) put_byte(&m, i % 3);
    return m;
}

static bool read_idx(const struct made *images, const struct made *labels, struct intake *in, struct error *e) {
    struct bytes *b = bytes_of(labels->at, labels->count, "labels"), *c = bytes_of(images->at, images->count, "images");
    int64_t count = 0, *label = idx_labels(b, IDX_N, &count, e);
    bool good = label && idx_images(c, in, label, count, e);
    free(label);
    bytes_close(b);
    bytes_close(c);
    return good;
}

// Nothing hostile may cost more memory than this, or time than a test has.
static void limit_memory(void) {
    struct rlimit r;
    getrlimit(RLIMIT_AS, &r);
    FILE *f = fopen("/proc/self/statm", "r");
    long pages = 0;
    assert_int_equal(fscanf(f, "%ld", &pages), 1);
    fclose(f);
    r.rlim_cur = (rlim_t)pages * 4096 + (64 << 20);
    if (pages < 1 << 22) setrlimit(RLIMIT_AS, &r);  // a sanitizer maps terabytes
}

static void idx_images_and_labels_come_together(void **state) {
    (void)state;
    struct made images = idx_of_images(0x803, IDX_N, 2, 3, IDX_N * 6), labels = idx_of_labels(0x801, IDX_N, IDX_N);
    struct made gz_images = packed(&images, true), gz_labels = packed(&labels, true);
    for (int gz = 0; gz < 2; gz++) {
        struct error e = {0};
        struct intake in = shaped(1, 2, 3, 3);
        assert_true(read_idx(gz ? &gz_images : &images, gz ? &gz_labels : &labels, &in, &e));
        assert_int_equal(in.count, IDX_N);
        assert_false(in.part);
        for (int i = 0; i < IDX_N * 6; i++) assert_int_equal(((uint8_t *)in.x)[i], i);
        for (int i = 0; i < IDX_N; i++) assert_int_equal(in.y[i], i % 3);
        intake_free(&in);
    }
    // Every truncation of either file is refused, plain or packed.
    for (int k = 0; k < 4; k++) {
        const struct made *file[] = {&images, &labels, &gz_images, &gz_labels};
        for (size_t n = 0; n < file[k]->count; n++) {
            struct error e = {0};
            struct intake in = shaped(1, 2, 3, 3);
            struct made cut = {.count = n, .at = file[k]->at};
            assert_false(read_idx(k % 2 ? file[k - 1] : &cut, k % 2 ? &cut : file[k + 1], &in, &e));
            assert_int_equal(e.status, EXIT_INPUT);
            intake_free(&in);
        }
    }
    free(images.at);
    free(labels.at);
    free(gz_images.at);
    free(gz_labels.at);
}

static void idx_headers_that_lie_are_refused(void **state) {
    (void)state;
    const struct {
        uint32_t magic, n, h, w;
        int pixels;
        const char *word;
    } images[] = {{0x801, IDX_N, 2, 3, 42, "IDX of images"},
                  {0x80803, IDX_N, 2, 3, 42, "IDX of images"},
                  {0x803, IDX_N + 1, 2, 3, 48, "7 images of 2x3"},
                  {0x803, UINT32_MAX, UINT32_MAX, UINT32_MAX, 42, "4294967295"},
                  {0x803, IDX_N, 3, 2, 42, "7 of 3x2"},
                  {0x803, IDX_N, 2, 3, 43, "more than"},
                  {0x803, IDX_N, 2, 3, 41, "ends early"}};
    const struct {
        uint32_t magic, n;
        int there;
        const char *word;
    } labels[] = {{0x803, IDX_N, IDX_N, "IDX of labels"},
                  {0x801, 0, 0, "[1, 7]"},
                  {0x801, UINT32_MAX, IDX_N, "4294967295"},
                  {0x801, IDX_N - 1, IDX_N, "left over"}};
    for (size_t i = 0; i < sizeof images / sizeof *images; i++) {
        struct error e = {0};
        struct intake in = shaped(1, 2, 3, 3);
        struct made x = idx_of_images(images[i].magic, images[i].n, images[i].h, images[i].w, images[i].pixels),
                    y = idx_of_labels(0x801, IDX_N, IDX_N);
        assert_false(read_idx(&x, &y, &in, &e));
        expect_error(&e, EXIT_INPUT, images[i].word);
        intake_free(&in);
        free(x.at);
        free(y.at);
    }
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++) {
        struct error e = {0};
        struct intake in = shaped(1, 2, 3, 3);
        struct made x = idx_of_images(0x803, IDX_N, 2, 3, 42),
                    y = idx_of_labels(labels[i].magic, labels[i].n, labels[i].there);
        assert_false(read_idx(&x, &y, &in, &e));
        expect_error(&e, EXIT_INPUT, labels[i].word);
        intake_free(&in);
        free(x.at);
        free(y.at);
    }
    struct error e = {0};
    struct intake in = shaped(1, 2, 3, 2);  // a label beyond the classes
    struct made x = idx_of_images(0x803, IDX_N, 2, 3, 42), y = idx_of_labels(0x801, IDX_N, IDX_N);
    assert_false(read_idx(&x, &y, &in, &e));
    expect_error(&e, EXIT_INPUT, "labels in [0, 1]");
    intake_free(&in);
    free(x.at);
    free(y.at);
}

// ---- CIFAR-10

enum { ROW = 3073 };

static void put_tar(struct made *m, const char *name, char type, size_t size, const void *data, size_t there) {
    unsigned char h[512] = {0};
    strncpy((char *)h, name, 100);
    snprintf((char *)h + 100, 8, "%07o", 0644);
    snprintf((char *)h + 124, 12, "%011llo", (unsigned long long)size & 077777777777);
    memset(h + 148, ' ', 8);
    h[156] = (unsigned char)type;
    memcpy(h + 257,
           "ustar\0"
           "00",
           8);
    unsigned sum = 0;
    for (int i = 0; i < 512; i++) sum += h[i];
    snprintf((char *)h + 148, 7, "%06o", sum);
    h[155] = ' ';
    put(m, h, 512);
    put(m, data, there);
    static const unsigned char zero[512];
    put(m, zero, (512 - there % 512) % 512);
}

static void put_tar_end(struct made *m) {
    static const unsigned char zero[1024];
    put(m, zero, sizeof zero);
}

static const char *member_name(int k) {
    static char name[64];
    if (k == 0) return "cifar-10-batches-bin/test_batch.bin";
    snprintf(name, sizeof name, "cifar-10-batches-bin/data_batch_%d.bin", k);
    return name;
}

// `rows` rows of member k: the first byte of a row its label, pixels all 10 k + row.
static void put_batch(struct made *m, int k, int rows) {
    unsigned char *row = malloc((size_t)rows * ROW);
    for (int i = 0; i < rows; i++) {
        memset(row + i * ROW, 10 * k + i, ROW);
        row[i * ROW] = (unsigned char)((k + i) % 10);
        row[i * ROW + 1 + 1024] = 200;  // the first pixel of the green plane
    }
    put_tar(m, member_name(k), '0', (size_t)rows * ROW, row, (size_t)rows * ROW);
    free(row);
}

static bool read_cifar(const struct made *m, bool test, bool exact, struct intake *in, struct error *e) {
    struct bytes *b = bytes_of(m->at, m->count, "cifar");
    *in = shaped(3, 32, 32, 10);
    bool good = cifar_read(b, in, test, exact, e);
    bytes_close(b);
    return good;
}

static struct made small_cifar(void) {
    struct made m = {0};
    put_tar(&m, "cifar-10-batches-bin/", '5', 0, NULL, 0);
    put_tar(&m, "././@LongLink", 'L', 30, "cifar-10-batches-bin/data_batch", 30);
    static const char text[700] = "<html>";
    put_tar(&m, "cifar-10-batches-bin/readme.html", '0', sizeof text, text, sizeof text);
    const int order[] = {4, 1, 0, 5, 3, 2};
    for (int i = 0; i < 6; i++) put_batch(&m, order[i], 2);
    put_tar(&m, "../cifar-10-batches-bin/test_batch.bin", '0', 5, "evil!", 5);
    put_tar(&m, "/cifar-10-batches-bin/test_batch.bin", '0', 5, "evil!", 5);
    put_tar(&m, "cifar-10-batches-bin/test_batch.bin", '2', 0, NULL, 0);  // a link
    put_tar(&m, "", '0', 3, "odd", 3);
    put_tar(&m, "\xff\xfe\n\x1b[31m", '0', 3, "odd", 3);
    put_tar_end(&m);
    return m;
}

static void cifar_members_come_in_the_order_of_their_numbers(void **state) {
    (void)state;
    struct made tar = small_cifar(), gz = packed(&tar, true);
    struct intake in;
    for (int k = 0; k < 2; k++) {
        struct error e = {0};
        assert_true(read_cifar(k ? &gz : &tar, false, false, &in, &e));
        assert_int_equal(in.count, 10);
        for (int i = 0; i < 10; i++) {
            const uint8_t *image = (uint8_t *)in.x + i * 3072;
            assert_int_equal(in.y[i], (i / 2 + 1 + i % 2) % 10);
            assert_int_equal(image[0], 10 * (i / 2 + 1) + i % 2);
            assert_int_equal(image[1023], image[0]);
            assert_int_equal(image[1024], 200);
        }
        intake_free(&in);
        assert_true(read_cifar(k ? &gz : &tar, true, false, &in, &e));
        assert_int_equal(in.count, 2);
        assert_int_equal(((uint8_t *)in.x)[3072], 1);
        intake_free(&in);
    }
    struct error e = {0};
    assert_false(read_cifar(&gz, true, true, &in, &e));  // as published a member has ten thousand rows
    expect_error(&e, EXIT_INPUT, "10000 rows");
    intake_free(&in);
    for (size_t n = 0; n < gz.count; n += gz.count / 97 + 1) {
        struct made cut = {.count = n, .at = gz.at};
        e = (struct error){0};
        assert_false(read_cifar(&cut, false, false, &in, &e));
        assert_int_equal(e.status, EXIT_INPUT);
        intake_free(&in);
    }
    free(tar.at);
    free(gz.at);
}

static void cifar_archives_that_lie_are_refused(void **state) {
    (void)state;
    struct intake in;
    static unsigned char row[3 * ROW];
    for (int k = 0; k < 8; k++) {
        static const char *word[] = {"twice",
                                     "10000 rows",
                                     "10000 rows",
                                     "ends early",
                                     "sum is wrong",
                                     "test_batch.bin of CIFAR-10 is missing",
                                     "labels in [0, 9]",
                                     "without a size"};
        struct error e = {0};
        struct made m = {0};
        row[0] = k == 6 ? 11 : 3;
        if (k == 0) put_batch(&m, 0, 1);
        size_t size = k == 1 ? ROW + 1 : k == 2 ? (size_t)077777777777 : k == 3 ? 3 * ROW : ROW;
        put_tar(&m, k == 5 ? "cifar-10-batches-bin/test_batch.bim" : member_name(0), '0', size, row, ROW);
        if (k == 4) m.at[20] ^= 1;
        if (k == 7) {
            m.at[124] = 0x80;  // base-256, for sizes that octal cannot hold
            snprintf((char *)m.at + 148, 7, "%06o", (unsigned)(strtoul((char *)m.at + 148, NULL, 8) + 0x80 - '0'));
        }
        if (k != 3) put_tar_end(&m);
        assert_false(read_cifar(&m, true, false, &in, &e));
        expect_error(&e, EXIT_INPUT, word[k]);
        intake_free(&in);
        free(m.at);
    }
}

// ---- SVHN

enum { SVHN_N = 6 };
enum how { PLAIN_ELEMENTS, COMPRESSED_ELEMENTS };

static void put_part(struct made *m, uint32_t type, const void *data, uint32_t bytes) {
    static const unsigned char zero[8];
    if (bytes <= 4) {  // a small element
        put_little(m, bytes << 16 | type);
        put(m, data, bytes);
        put(m, zero, 4 - bytes);
        return;
    }
    put_little(m, type);
    put_little(m, bytes);
    put(m, data, bytes);
    put(m, zero, (8 - bytes % 8) % 8);
}

struct array {
    const char *name;
    int class, flags, type;  // class and storage are independent: MATLAB stores doubles that are bytes as bytes
    int rank;
    const int32_t *dim;
    const void *data;
    uint32_t bytes;
};

static void put_array(struct made *m, const struct array *a, enum how how) {
    struct made body = {0}, whole = {0};
    const unsigned char flags[8] = {(unsigned char)a->class, (unsigned char)a->flags};
    put_part(&body, 6, flags, 8);
    put_part(&body, 5, a->dim, 4 * (uint32_t)a->rank);
    put_part(&body, 1, a->name, (uint32_t)strlen(a->name));
    put_part(&body, (uint32_t)a->type, a->data, a->bytes);
    put_little(&whole, 14);
    put_little(&whole, (uint32_t)body.count);
    put(&whole, body.at, body.count);
    if (how == COMPRESSED_ELEMENTS) {
        struct made z = packed(&whole, false);
        put_little(m, 15);
        put_little(m, (uint32_t)z.count);
        put(m, z.at, z.count);
        free(z.at);
    } else {
        put(m, whole.at, whole.count);
    }
    free(body.at);
    free(whole.at);
}

static void put_mat_head(struct made *m) {
    char text[124];
    memset(text, ' ', sizeof text);
    memcpy(text, "MATLAB 5.0 MAT-file", 19);
    put(m, text, sizeof text);
    put(m, "\0\1IM", 4);
}

// Pixel (c, h, w) of image n, so that a transposition shows.
static uint8_t pixel_of(int n, int c, int h, int w) {
    return (uint8_t)(n * 50 + c * 7 + h * 3 + w);
}

static struct made small_svhn(enum how how, int n, const char *x_name, const int32_t *x_dim, bool doubles) {
    static uint8_t x[SVHN_N * 3072], y[SVHN_N] = {10, 1, 9, 10, 5, 2};
    double real[SVHN_N];
    const int32_t y_dim[2] = {n, 1}, dim[4] = {32, 32, 3, n}, three[2] = {3, 1};
    for (int i = 0; i < n; i++) {
        real[i] = y[i];
        for (int c = 0; c < 3; c++)
            for (int w = 0; w < 32; w++)
                for (int h = 0; h < 32; h++) x[((i * 3 + c) * 32 + w) * 32 + h] = pixel_of(i, c, h, w);
    }
    struct made m = {0};
    put_mat_head(&m);
    put_array(&m, &(struct array){"text", 4, 0, 4, 2, three, "a\0b\0c\0", 6}, how);  // characters: stepped over
    put_array(&m, &(struct array){x_name, 9, 0, 2, 4, x_dim ? x_dim : dim, x, (uint32_t)n * 3072}, how);
    put_array(&m,
              &(struct array){"y", doubles ? 6 : 9, 0, doubles ? 9 : 2, 2, y_dim, doubles ? (void *)real : y,
                              (uint32_t)n * (doubles ? 8 : 1)},
              how);
    return m;
}

static bool read_svhn(const struct made *m, struct intake *in, struct error *e) {
    struct bytes *b = bytes_of(m->at, m->count, "svhn");
    *in = shaped(3, 32, 32, 10);
    bool good = svhn_read(b, in, 100, e);
    bytes_close(b);
    return good;
}

static void svhn_is_turned_and_ten_is_zero(void **state) {
    (void)state;
    for (int k = 0; k < 8; k++) {
        struct error e = {0};
        struct intake in;
        int n = k & 4 ? 2 : SVHN_N;  // two labels fit into a tag
        struct made m = small_svhn(k & 1 ? COMPRESSED_ELEMENTS : PLAIN_ELEMENTS, n, "X", NULL, k & 2);
        if (!read_svhn(&m, &in, &e)) fail_msg("%s", e.text);
        assert_int_equal(in.count, n);
        const int64_t y[SVHN_N] = {0, 1, 9, 0, 5, 2};
        assert_memory_equal(in.y, y, (size_t)n * sizeof *y);
        const uint8_t *x = in.x;
        for (int i = 0; i < n; i++)
            for (int c = 0; c < 3; c++)
                for (int h = 0; h < 32; h++)
                    for (int w = 0; w < 32; w++) assert_int_equal(*x++, pixel_of(i, c, h, w));
        intake_free(&in);
        free(m.at);
    }
}

static void svhn_files_that_lie_are_refused(void **state) {
    (void)state;
    const int32_t more[4] = {32, 32, 3, SVHN_N + 1}, turned[4] = {3, 32, 32, SVHN_N},
                  huge[4] = {INT32_MAX, INT32_MAX, INT32_MAX, INT32_MAX}, negative[4] = {-32, 32, 3, -SVHN_N};
    const struct {
        const char *name;
        const int32_t *dim;
        const char *word;
    } cases[] = {{"Z", NULL, "no numeric array X"},
                 {"X", more, "values"},
                 {"X", turned, "32 x 32 x 3"},
                 {"X", huge, "2147483647"},
                 {"X", negative, "-32"}};
    struct intake in;
    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        struct error e = {0};
        struct made m = small_svhn(i % 2 ? COMPRESSED_ELEMENTS : PLAIN_ELEMENTS, SVHN_N, cases[i / 2].name,
                                   cases[i / 2].dim, false);
        assert_false(read_svhn(&m, &in, &e));
        expect_error(&e, EXIT_INPUT, cases[i / 2].word);
        intake_free(&in);
        free(m.at);
    }
    for (int how = 0; how < 2; how++) {
        struct made m = small_svhn(how, SVHN_N, "X", NULL, false);
        for (size_t n = 0; n < m.count; n += n < 400 || n + 200 > m.count ? 1 : 131) {
            struct error e = {0};
            struct made cut = {.count = n, .at = m.at};
            assert_false(read_svhn(&cut, &in, &e));
            assert_int_equal(e.status, EXIT_INPUT);
            intake_free(&in);
        }
        free(m.at);
    }
}

// Whatever bit is wrong, the answer is an error of the input or a set of the right shape.
static void flipped_bits_do_no_harm(void **state) {
    (void)state;
    struct made x = idx_of_images(0x803, IDX_N, 2, 3, 42), y = idx_of_labels(0x801, IDX_N, IDX_N),
                gz = packed(&x, true);
    struct made tar = small_cifar(), svhn = small_svhn(PLAIN_ELEMENTS, SVHN_N, "X", NULL, false),
                mat = small_svhn(COMPRESSED_ELEMENTS, 2, "X", NULL, false);
    const struct made *file[] = {&x, &gz, &tar, &svhn, &mat};
    for (int k = 0; k < 5; k++)
        for (size_t bit = 0; bit < 8 * file[k]->count; bit += bit < 8 * 700 ? 1 : 1009) {
            struct error e = {0};
            struct intake in = shaped(1, 2, 3, 3);
            file[k]->at[bit / 8] ^= (unsigned char)(1 << bit % 8);
            bool good = k < 2    ? read_idx(file[k], &y, &in, &e)
                        : k == 2 ? read_cifar(&tar, true, false, &in, &e)
                                 : read_svhn(file[k], &in, &e);
            assert_int_equal(e.status, good ? EXIT_DONE : EXIT_INPUT);
            if (good) assert_int_equal(in.count, k < 2 ? IDX_N : k == 2 ? 2 : k == 3 ? SVHN_N : 2);
            intake_free(&in);
            file[k]->at[bit / 8] ^= (unsigned char)(1 << bit % 8);
        }
    free(x.at);
    free(y.at);
    free(gz.at);
    free(tar.at);
    free(svhn.at);
    free(mat.at);
}

// ---- the choice

static bool choose(struct choice c, struct intake *in, struct error *e) {
    struct made x = idx_of_images(0x803, IDX_N, 2, 3, IDX_N * 6),
                y = idx_of_labels(0x801, IDX_N, IDX_N);  // labels 0 1 2 0 1 2 0
    *in = shaped(1, 2, 3, 3);
    in->choice = c;
    in->class_name[0] = "Cat";
    in->class_name[1] = "Dog";
    in->class_name[2] = "Eel";
    bool good = read_idx(&x, &y, in, e);
    free(x.at);
    free(y.at);
    return good;
}

static void classes_are_numbered_as_they_are_named(void **state) {
    (void)state;
    struct error e = {0};
    struct intake in;
    assert_true(choose((struct choice){.classes = "eel,0"}, &in, &e));
    const int64_t y[] = {1, 0, 1, 0, 1}, index[] = {0, 2, 3, 5, 6};
    assert_int_equal(in.count, 5);
    assert_memory_equal(in.y, y, sizeof y);
    assert_memory_equal(in.index, index, sizeof index);
    assert_int_equal(((uint8_t *)in.x)[6], 12);  // the second one is image 2
    assert_int_equal(in.classes, 2);
    assert_string_equal(in.class_name[0], "Eel");
    assert_int_equal(in.chosen[0], 2);
    intake_free(&in);
    const char *wrong[] = {"3", "-1", "cow", "", "0,,1", "0,Cat"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        e = (struct error){0};
        assert_false(choose((struct choice){.classes = wrong[i]}, &in, &e));
        expect_error(&e, EXIT_USAGE, "--classes");
        intake_free(&in);
    }
}

static void a_part_names_its_source(void **state) {
    (void)state;
    struct error e = {0};
    struct intake whole, part, rest;
    assert_true(choose((struct choice){0}, &whole, &e));
    assert_true(choose((struct choice){.subset = "random-half:3"}, &part, &e));
    assert_int_equal(part.count, 3);
    json_t *record = record_new();
    struct blob *b = intake_blob(&whole, record);
    blob_compute_digest(b);
    assert_null(blob_find(b, "index"));
    assert_string_equal(part.source, b->digest);  // the name a blob of the whole would have
    struct blob *p = intake_blob(&part, record);
    assert_string_equal(blob_meta(p, "assay.source"), b->digest);
    struct dataset *d = dataset_of(p, &e);
    assert_non_null(d);
    assert_true(choose((struct choice){.exclude = d}, &rest, &e));
    assert_int_equal(rest.count, 4);
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 3; k++) assert_int_not_equal(rest.index[i], part.index[k]);
    intake_free(&rest);
    assert_true(choose((struct choice){.subset = "random-half:3:other"}, &rest, &e));
    assert_int_equal(rest.count, 4);
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 3; k++) assert_int_not_equal(rest.index[i], part.index[k]);
    intake_free(&rest);

    // Another source, whose positions mean other images.
    blob_set_meta(p, "assay.source", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
    assert_false(choose((struct choice){.exclude = d}, &rest, &e));
    expect_error(&e, EXIT_INPUT, "another set");
    intake_free(&rest);
    dataset_free(d);
    intake_free(&whole);
    intake_free(&part);
    blob_free(b);
    json_decref(record);
}

static void a_number_of_each_class(void **state) {
    (void)state;
    struct error e = {0};
    struct intake a, b;
    assert_true(choose((struct choice){.per_class = 2, .seed = 1}, &a, &e));
    assert_int_equal(a.count, 6);
    int64_t found[3] = {0};
    for (int i = 0; i < 6; i++) found[a.y[i]]++;
    assert_true(found[0] == 2 && found[1] == 2 && found[2] == 2);
    bool differ = false;  // class 0 has three to choose from: twenty seeds that all agree would be one chance in 3^19
    for (uint64_t seed = 2; seed < 22; seed++) {
        assert_true(choose((struct choice){.per_class = 2, .seed = seed}, &b, &e));
        differ |= memcmp(a.index, b.index, 6 * sizeof *a.index) != 0;
        intake_free(&b);
    }
    assert_true(differ);
    intake_free(&a);
    assert_false(choose((struct choice){.per_class = 3}, &b, &e));
    expect_error(&e, EXIT_INPUT, "class 1 has 2");
    intake_free(&b);
}

static void the_options_act_in_their_order(void **state) {
    (void)state;
    struct error e = {0};
    struct intake in, test, rest;
    assert_true(choose((struct choice){.classes = "0", .subset = "first:2", .limit = 1}, &in, &e));
    assert_int_equal(in.count, 1);
    assert_int_equal(in.index[0], 0);
    intake_free(&in);
    assert_true(choose((struct choice){.test_fraction = 0.3, .test = true, .seed = 4}, &test, &e));
    assert_true(choose((struct choice){.test_fraction = 0.3, .test = false, .seed = 4}, &rest, &e));
    assert_int_equal(test.count, 2);
    assert_int_equal(rest.count, 5);
    int seen = 0;
    for (int i = 0; i < 2; i++) seen |= 1 << test.index[i];
    for (int i = 0; i < 5; i++) seen |= 1 << rest.index[i];
    assert_int_equal(seen, 127);
    intake_free(&test);
    intake_free(&rest);
    assert_false(
        choose((struct choice){.classes = "1", .subset = "random-half:1", .limit = 9, .per_class = 2}, &in, &e));
    assert_int_equal(e.status, EXIT_INPUT);  // one image of class 1 is in the half
    intake_free(&in);
}

// ---- drawings

static void draw(struct synthetic s, struct intake *in) {
    struct error e = {0};
    *in = (struct intake){0};
    assert_true(synthetic_read(&s, in, &e));
}

static void drawings_are_keyed_by_seed_and_number(void **state) {
    (void)state;
    const struct synthetic s = {.count = 20, .classes = 4, .channels = 3, .height = 12, .width = 16, .seed = 9};
    const size_t size = 3 * 12 * 16;
    struct intake a, b;
    draw(s, &a);
    struct synthetic other = s;
    other.count = 8;
    draw(other, &b);
    assert_memory_equal(a.x, b.x, 8 * size);
    intake_free(&b);
    other = s;
    other.seed = 10;
    draw(other, &b);
    assert_memory_not_equal(a.x, b.x, size);
    intake_free(&b);
    other = s;
    other.test = true;
    draw(other, &b);
    assert_memory_not_equal(a.x, b.x, size);
    intake_free(&b);
    for (int i = 0; i < 20; i++) assert_int_equal(a.y[i], i % 4);
    intake_free(&a);
}

// A rule as plain as the nearest class mean beats guessing by far and is far from perfect.
static void drawings_can_be_learnt_but_not_at_once(void **state) {
    (void)state;
    enum { CLASSES = 10, SIZE = 28 * 28, N = 2000 };
    struct intake train, test;
    draw((struct synthetic){.count = N, .classes = CLASSES, .channels = 1, .height = 28, .width = 28, .seed = 1},
         &train);
    draw((struct synthetic){.count = N, .classes = CLASSES, .channels = 1, .height = 28, .width = 28, .seed = 2},
         &test);
    static double mean[CLASSES][SIZE];
    for (int i = 0; i < N; i++)
        for (int j = 0; j < SIZE; j++)
            mean[train.y[i]][j] += ((uint8_t *)train.x)[i * SIZE + j] / (double)(N / CLASSES);
    int right = 0;
    for (int i = 0; i < N; i++) {
        double best = 1e300;
        int guess = 0;
        for (int c = 0; c < CLASSES; c++) {
            double d = 0;
            for (int j = 0; j < SIZE; j++) {
                double v = ((uint8_t *)test.x)[i * SIZE + j] - mean[c][j];
                d += v * v;
            }
            if (d < best) {
                best = d;
                guess = c;
            }
        }
        right += guess == test.y[i];
    }
    assert_in_range(right, N * 3 / 10, N * 9 / 10);
    intake_free(&train);
    intake_free(&test);
}

// ---- the table

static void the_table_inside_is_the_file(void **state) {
    (void)state;
    struct error e = {0};
    unsetenv("ASSAY_SOURCES");
    struct sources *inside = sources_open(&e);
    setenv("ASSAY_SOURCES", "data/SOURCES", 1);
    struct sources *file = sources_open(&e);
    unsetenv("ASSAY_SOURCES");
    if (!inside || !file) fail_msg("%s", e.text);
    assert_int_equal(inside->count, file->count);
    for (int i = 0; i < file->count; i++) {
        const struct source_set *a = inside->set[i], *b = file->set[i];
        assert_string_equal(a->name, b->name);
        assert_int_equal(a->mirrors, b->mirrors);
        assert_int_equal(a->files, b->files);
        for (int k = 0; k < b->mirrors; k++) assert_string_equal(a->mirror[k], b->mirror[k]);
        for (int k = 0; k < b->files; k++) {
            assert_int_equal(a->file[k].bytes, b->file[k].bytes);
            assert_string_equal(a->file[k].sha256, b->file[k].sha256);
        }
    }
    const struct source_set *fashion = sources_find(inside, "fashion");
    assert_non_null(fashion);
    assert_string_equal(fashion->class_name[9], "Ankle boot");
    const struct source_file *f = sources_file(fashion, "train", "images");
    assert_int_equal(f->bytes, 26421880);
    assert_string_equal(f->plain_sha256, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888");
    assert_null(sources_find(inside, "imagenet"));
    sources_free(inside);
    sources_free(file);
}

static void table_refused(const char *text, const char *word) {
    struct error e = {0};
    assert_null(sources_parse(text, strlen(text), "table", &e));
    expect_error(&e, EXIT_INPUT, word);
}

static void tables_are_checked(void **state) {
    (void)state;
    table_refused("Set: a\n", "set a: title");
    table_refused("File: a\n", "before any set");
    table_refused("Title: a\n", "before any set");
    table_refused("Set: ../a\n", "plain name");
    table_refused("Set: a\nFile: b/c\n", "plain name");
    table_refused("Set: a\nFile: ..\n", "plain name");
    table_refused("Set: a\nShape: 1x2\n", "1x28x28");
    table_refused("Set: a\nFile: b\nSHA256: 12\n", "64");
    table_refused("Set: a\nFile: b\nBytes: many\n", "number");
    table_refused("Set: a\n\nColour: red\n", "table:3: unknown key");
    table_refused("Set: a\nrubbish\n", "Key: value");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gzip_is_unpacked_member_by_member),
        cmocka_unit_test(the_digest_is_of_what_was_taken),
        cmocka_unit_test(pages_are_named),
        cmocka_unit_test(idx_images_and_labels_come_together),
        cmocka_unit_test(idx_headers_that_lie_are_refused),
        cmocka_unit_test(cifar_members_come_in_the_order_of_their_numbers),
        cmocka_unit_test(cifar_archives_that_lie_are_refused),
        cmocka_unit_test(svhn_is_turned_and_ten_is_zero),
        cmocka_unit_test(svhn_files_that_lie_are_refused),
        cmocka_unit_test(flipped_bits_do_no_harm),
        cmocka_unit_test(classes_are_numbered_as_they_are_named),
        cmocka_unit_test(a_part_names_its_source),
        cmocka_unit_test(a_number_of_each_class),
        cmocka_unit_test(the_options_act_in_their_order),
        cmocka_unit_test(drawings_are_keyed_by_seed_and_number),
        cmocka_unit_test(drawings_can_be_learnt_but_not_at_once),
        cmocka_unit_test(the_table_inside_is_the_file),
        cmocka_unit_test(tables_are_checked),
    };
    limit_memory();
    return cmocka_run_group_tests_name("containers", tests, NULL, NULL);
}

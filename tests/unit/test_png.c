// Pictures, PNG files and numpy arrays: what is written comes back, and what is wrong is refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/npy.h"
#include "io/png.h"

static char path[64];

static int make_path(void **state) {
    (void)state;
    strcpy(path, "/tmp/test_png.XXXXXX");
    int fd = mkstemp(path);
    return fd < 0 || close(fd);
}

static int drop_path(void **state) {
    (void)state;
    return unlink(path);
}

static unsigned char *load(size_t *size) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    unsigned char *data = malloc(1 << 20);
    *size = fread(data, 1, 1 << 20, f);
    fclose(f);
    return data;
}

static void store(const void *data, size_t size) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static void pictures_come_back(void **state) {
    (void)state;
    for (int channels = 1; channels <= 3; channels += 2) {
        struct picture *p = picture_new(13, 7, channels, 0);
        for (int i = 0; i < 13 * 7 * channels; i++) p->pixel[i] = (unsigned char)(i * 37);
        struct error e = {0};
        if (!png_picture_write(p, path, &e)) fail_msg("%s", e.text);
        size_t size, again;
        unsigned char *first = load(&size);
        struct picture *q = png_picture_read(path, &e);
        if (!q) fail_msg("%s", e.text);
        assert_true(q->width == 13 && q->height == 7 && q->channels == channels);
        assert_memory_equal(p->pixel, q->pixel, (size_t)(13 * 7 * channels));
        assert_true(png_picture_write(q, path, &e));
        unsigned char *second = load(&again);
        assert_int_equal(size, again);
        assert_memory_equal(first, second, size);  // no date inside
        // No cut file is taken for whole but one that lacks the end mark alone; no flip crashes.
        for (size_t cut = 0; cut + 12 < size; cut++) {
            e = (struct error){0};
            struct picture *r = png_picture_decode(first, cut, "cut", &e);
            assert_null(r);
            assert_int_equal(e.status, EXIT_INPUT);
        }
        for (size_t bit = 0; bit < 8 * size; bit++) {
            first[bit / 8] ^= (unsigned char)(1 << bit % 8);
            e = (struct error){0};
            struct picture *r = png_picture_decode(first, size, "flipped", &e);
            assert_true(r ? e.status == EXIT_DONE : e.status == EXIT_INPUT);
            picture_free(r);
            first[bit / 8] ^= (unsigned char)(1 << bit % 8);
        }
        free(first);
        free(second);
        picture_free(p);
        picture_free(q);
    }
}

static void unfit_pictures(void **state) {
    (void)state;
    // Signature and header of a PNG file, then nothing.
    static const struct {
        unsigned char width[4], depth, colour;
        const char *reason;
    } cases[] = {
        {{0, 0, 0x40, 0}, 8, 2, "cannot hold them"},
        {{0, 0, 0, 1}, 16, 0, "8 bits a sample expected, 16 found"},
        {{0, 0, 0, 1}, 8, 6, "an alpha channel found"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned char file[80] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0, 0, 0, 13, 'I', 'H', 'D', 'R'};
        memcpy(file + 16, cases[i].width, 4);
        memcpy(file + 20, cases[i].width, 4);
        file[24] = cases[i].depth;
        file[25] = cases[i].colour;
        uint32_t crc = ~0u;  // the CRC of PNG and zip, bit by bit
        for (int k = 12; k < 29; k++) {
            crc ^= file[k];
            for (int b = 0; b < 8; b++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
        }
        for (int k = 0; k < 4; k++) file[29 + k] = (unsigned char)(~crc >> (24 - 8 * k));
        memcpy(file + 33, "\0\0\0\0IDAT", 8);
        memcpy(file + 41, "\x35\xaf\x06\x1e", 4);
        struct error e = {0};
        assert_null(png_picture_decode(file, 45, "picture", &e));
        if (e.status != EXIT_INPUT || !strstr(e.text, cases[i].reason))
            fail_msg("%s expected, %s found", cases[i].reason, e.text);
    }
    struct error e = {0};
    assert_null(png_picture_decode("GIF89a", 6, "picture", &e));
    assert_int_equal(e.status, EXIT_INPUT);
}

static void grids(void **state) {
    (void)state;
    const float image[5][4] = {{0, 1, .5f, NAN}, {-1, 2, .25f, .75f}, {1, 1, 1, 1}, {0, 0, 0, 0}, {0, 0, 0, 0}};
    struct picture_cell cell[5] = {{0}};
    for (int i = 0; i < 5; i++) cell[i].image = image[i];
    cell[4].image = NULL;
    struct picture_grid g = {.channels = 1, .height = 2, .width = 2, .columns = 3, .scale = 2};
    struct picture *p = picture_of_grid(&g, cell, 5);
    assert_true(p->channels == 1 && p->width == 3 * 12 && p->height == 2 * 12);
#define AT(x, y) p->pixel[(y)*p->width + (x)]
    assert_true(AT(4, 4) == 0 && AT(5, 5) == 0 && AT(6, 4) == 255 && AT(4, 6) == 128 && AT(7, 7) == 0);  // NaN is black
    assert_true(AT(16, 4) == 0 && AT(18, 4) == 255 && AT(16, 6) == 64 && AT(18, 6) == 191);              // clamped
    assert_true(AT(4, 16) == 0 && AT(16, 16) == 255 && AT(0, 0) == 255);
    picture_free(p);

    // Labels make the cells higher, frames make the grid coloured.
    cell[0].label = "7 right and much too long for its cell";
    cell[1].frame = (const unsigned char[3]){255, 0, 0};
    struct picture *q = picture_of_grid(&g, cell, 5);
    assert_true(q->channels == 3 && q->width == 36 && q->height == 2 * (12 + PICTURE_TEXT_HEIGHT));
    assert_memory_equal(q->pixel + (2 * 36 + 14) * 3, "\xff\0\0", 3);
    int dark = 0;
    for (int y = 8; y < 12 + PICTURE_TEXT_HEIGHT; y++)
        for (int x = 0; x < 36; x++) {
            bool black = q->pixel[(y * 36 + x) * 3 + 1] == 0 && q->pixel[(y * 36 + x) * 3] == 0;
            dark += black;
            assert_true(!black || x < 12);  // a label does not run into its neighbour
        }
    assert_true(dark >= 7);
    picture_free(q);
}

static void every_letter_differs(void **state) {
    (void)state;
    const unsigned char black[3] = {0};
    unsigned char seen[95][54];
    for (int c = ' '; c <= '~'; c++) {
        struct picture *p = picture_new(PICTURE_TEXT_WIDTH, PICTURE_TEXT_HEIGHT, 1, 255);
        picture_text(p, 0, 0, 1, black, (const char[2]){(char)c, 0});
        memcpy(seen[c - ' '], p->pixel, 54);
        for (int d = ' '; d < c; d++)
            if (memcmp(seen[d - ' '], p->pixel, 54) == 0) fail_msg("%c and %c look the same", c, d);
        for (int row = 0; row < PICTURE_TEXT_HEIGHT; row++) assert_int_equal(p->pixel[row * 6 + 5], 255);  // the margin
        picture_free(p);
    }
    struct picture *p = picture_new(20, 8, 3, 255);
    picture_text(p, -3, -4, 5, black, "\xc3\xa9 off every edge");  // nothing outside is touched: the sanitizers look
    picture_free(p);
}

static void arrays_come_back(void **state) {
    (void)state;
    unsigned char raw[48];
    for (int i = 0; i < 48; i++) raw[i] = (unsigned char)(i * 5);
    for (int d = 0; d < DTYPES; d++)
        for (int rank = 0; rank <= 3; rank++) {
            struct tensor t = {.name = "t", .dtype = (enum dtype)d, .rank = rank, .dim = {2, 1, 3}, .data = raw};
            struct error e = {0};
            if (!npy_write(&t, path, &e)) fail_msg("%s", e.text);
            struct tensor *back = npy_read(path, &e);
            if (!back) fail_msg("%s", e.text);
            assert_int_equal(back->dtype, d == BF16 ? F32 : d);
            assert_int_equal(back->rank, rank);
            assert_memory_equal(back->dim, t.dim, sizeof *t.dim * (size_t)rank);
            for (int64_t i = 0; i < tensor_count(&t); i++) {
                double a = tensor_value(&t, i), b = tensor_value(back, i);
                assert_true(a == b || (isnan(a) && isnan(b)));
            }
            npy_free(back);
        }
    struct tensor empty = {.name = "t", .dtype = F32, .rank = 2, .dim = {0, 5}, .data = raw};
    struct error e = {0};
    assert_true(npy_write(&empty, path, &e));
    struct tensor *back = npy_read(path, &e);
    assert_non_null(back);
    assert_int_equal(tensor_count(back), 0);
    npy_free(back);
}

static void unfit_arrays(void **state) {
    (void)state;
    static const struct {
        const char *header, *reason;
    } cases[] = {
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", "8 bytes of F32 [2] expected, 16 there"},
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (4,), }", "descr >f4 is not read"},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (4,), }", "descr |O is not read"},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (4,), }", "structured arrays"},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (4,), }", "Fortran order"},
        {"{'descr': '<f4', 'shape': (4,), }", "Fortran order"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-4,), }", "shape"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296,4294967296), }", "overflows"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", "overflows"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,4), }", "at most 8"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4", "shape"},
        {"{'descr': '<f4', 'fortran_order': False}", "shape"},
        {"", "descr"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned char file[200] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (unsigned char)strlen(cases[i].header)};
        memcpy(file + 10, cases[i].header, strlen(cases[i].header));
        store(file, 10 + strlen(cases[i].header) + 16);
        struct error e = {0};
        assert_null(npy_read(path, &e));
        if (e.status != EXIT_INPUT || !strstr(e.text, cases[i].reason))
            fail_msg("%s expected, %s found", cases[i].reason, e.text);
        assert_memory_equal(e.text, path, strlen(path));
    }
    float data[4] = {0};
    struct tensor t = {.name = "t", .dtype = F32, .rank = 1, .dim = {4}, .data = data};
    struct error e = {0};
    assert_true(npy_write(&t, path, &e));
    size_t size;
    unsigned char *file = load(&size);
    for (size_t cut = 0; cut < size; cut++) {
        store(file, cut);
        e = (struct error){0};
        assert_null(npy_read(path, &e));
        assert_int_equal(e.status, EXIT_INPUT);
    }
    free(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures_come_back),   cmocka_unit_test(unfit_pictures),   cmocka_unit_test(grids),
        cmocka_unit_test(every_letter_differs), cmocka_unit_test(arrays_come_back), cmocka_unit_test(unfit_arrays),
    };
    return cmocka_run_group_tests(tests, make_path, drop_path);
}

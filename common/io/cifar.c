// cifar.c: the rows of CIFAR-10 out of its archive. The tar headers (POSIX.1-1988 ustar and before) are checked
// by their sums; long-name and pax records are stepped over, since no name we want is long.
#include "cifar.h"

#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"

enum { IMAGE = 3 * 32 * 32, ROW = 1 + IMAGE, ROWS = 10000, BLOCK = 512, TRAIN_MEMBERS = 5 };

struct member {
    uint8_t *row;  // [rows, ROW]
    int64_t rows;
};

// Octal digits up to a blank or NUL; -1 for anything else, base-256 included.
static int64_t octal(const unsigned char *field, int width) {
    int64_t value = 0;
    int i = 0, digits = 0;
    while (i < width && field[i] == ' ') i++;
    for (; i < width && field[i] >= '0' && field[i] <= '7'; i++, digits++) value = value * 8 + (field[i] - '0');
    return digits && (i == width || field[i] == ' ' || field[i] == 0) ? value : -1;
}

static bool sum_is_right(const unsigned char *block) {
    int64_t sum = 0;
    for (int i = 0; i < BLOCK; i++) sum += i >= 148 && i < 156 ? ' ' : block[i];
    return octal(block + 148, 8) == sum;
}

static bool all_zero(const unsigned char *block) {
    for (int i = 0; i < BLOCK; i++)
        if (block[i]) return false;
    return true;
}

// Which member of the split a header names, or -1.
static int place_of(const unsigned char *block, bool test) {
    char name[101] = {0};
    memcpy(name, block, 100);
    if (block[156] != '0' && block[156] != 0) return -1;  // no regular file
    const char *at = strncmp(name, "./", 2) == 0 ? name + 2 : name;
    if (strncmp(at, "cifar-10-batches-bin/", 21) != 0) return -1;
    at += 21;
    if (test) return strcmp(at, "test_batch.bin") == 0 ? 0 : -1;
    bool batch = strncmp(at, "data_batch_", 11) == 0 && at[11] >= '1' && at[11] <= '5' && strcmp(at + 12, ".bin") == 0;
    return batch ? at[11] - '1' : -1;
}

static bool read_member(struct bytes *b, struct member *m, int64_t size, bool exact, const char *name, struct error *e) {
    if (m->row) return error_set(e, EXIT_INPUT, "%s: member %s is there twice", bytes_name(b), name);
    if (size < ROW || size > (int64_t)ROWS * ROW || size % ROW || (exact && size != (int64_t)ROWS * ROW))
        return error_set(e, EXIT_INPUT, "%s: member %s: %d rows of %d bytes expected, %lld bytes found", bytes_name(b),
                         name, ROWS, ROW, (long long)size);
    m->rows = size / ROW;
    m->row = memory_take((size_t)size);
    return bytes_take(b, m->row, (size_t)size, e);
}

static bool read_archive(struct bytes *b, struct member *member, bool test, bool exact, struct error *e) {
    unsigned char block[BLOCK];
    for (;;) {
        if (!bytes_take(b, block, BLOCK, e)) return false;
        if (all_zero(block)) return bytes_drain(b, e);  // the end mark, then padding up to the block size of a tape
        if (!sum_is_right(block))
            return error_set(e, EXIT_INPUT, "%s: a tar header expected, its sum is wrong", bytes_name(b));
        int64_t size = octal(block + 124, 12);
        if (size < 0) return error_set(e, EXIT_INPUT, "%s: a tar header without a size", bytes_name(b));
        int place = place_of(block, test);
        char name[101] = {0};
        memcpy(name, block, 100);
        if (place >= 0 ? !read_member(b, &member[place], size, exact, name, e) : !bytes_skip(b, size, e)) return false;
        if (!bytes_skip(b, (BLOCK - size % BLOCK) % BLOCK, e)) return false;
    }
}

// Members are freed as they are taken: together with the images that come out of them they would double the memory.
static bool take(struct bytes *b, struct member *member, int members, struct intake *in, struct error *e) {
    int64_t total = 0, n = 0;
    for (int m = 0; m < members; m++) {
        if (!member[m].row)
            return error_set(e, EXIT_INPUT, "%s: member %s%.0d.bin of CIFAR-10 is missing", bytes_name(b),
                             members == 1 ? "test_batch" : "data_batch_", members == 1 ? 0 : m + 1);
        total += member[m].rows;
    }
    int64_t *label = memory_take((size_t)total * sizeof *label);
    for (int m = 0; m < members; m++)
        for (int64_t i = 0; i < member[m].rows; i++) label[n++] = member[m].row[i * ROW];
    bool good = intake_begin(in, total, label, e);
    free(label);
    for (int m = 0; m < members; m++) {
        for (int64_t i = 0; good && i < member[m].rows; i++) good = intake_image(in, member[m].row + i * ROW + 1, e);
        free(member[m].row);
        member[m].row = NULL;
    }
    return good && intake_end(in, e);
}

bool cifar_read(struct bytes *b, struct intake *in, bool test, bool exact, struct error *e) {
    struct member member[TRAIN_MEMBERS] = {0};
    int members = test ? 1 : TRAIN_MEMBERS;
    BUG_IF(in->dtype != U8 || intake_image_bytes(in) != IMAGE, "CIFAR-10 has images of 3x32x32 bytes");
    // The archive as published unpacks to 184 MB.
    bool good = bytes_gunzip(b, (int64_t)8 * ROWS * ROW, e) && read_archive(b, member, test, exact, e) &&
                take(b, member, members, in, e);
    for (int m = 0; m < TRAIN_MEMBERS; m++) free(member[m].row);
    return good;
}

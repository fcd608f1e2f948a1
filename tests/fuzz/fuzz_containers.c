// Fuzzes the readers of containers (libFuzzer): the first byte chooses one, the rest is its file. A success must
// hold what intake.h promises; anything else must be an error of the input.
//
//     clang -fsanitize=fuzzer,address,undefined ... fuzz_containers.c libassay.a; ./fuzz_containers corpus/containers
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "../../common/io/bytes.h"
#include "../../common/io/cifar.h"
#include "../../common/io/idx.h"
#include "../../common/io/mat5.h"
#include "../../common/io/sources.h"
#include "../../common/io/svhn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { IMAGES_MOST = 64 };

static void promised(const struct intake *in, bool good, const struct error *e) {
    if (good != (e->status == EXIT_DONE) || (!good && e->status != EXIT_INPUT)) abort();
    for (int64_t i = 0; good && i < in->count; i++) {
        if (in->y[i] < 0 || in->y[i] >= in->classes || in->index[i] < i || in->index[i] >= in->total) abort();
        if (i && in->index[i] <= in->index[i - 1]) abort();
    }
}

// The first byte says how long the labels are; the images follow them.
static bool read_idx(const uint8_t *data, size_t size, struct intake *in, struct error *e) {
    if (size < 1 || data[0] >= size) return error_set(e, EXIT_INPUT, "no labels");
    struct bytes *labels = bytes_of(data + 1, data[0], "labels"),
                 *images = bytes_of(data + 1 + data[0], size - 1 - data[0], "images");
    int64_t count, *label = idx_labels(labels, IMAGES_MOST, &count, e);
    bool good = label && idx_images(images, in, label, count, e);
    free(label);
    bytes_close(labels);
    bytes_close(images);
    return good;
}

static void fuzz_images(uint8_t reader, const uint8_t *data, size_t size) {
    struct error e = {0};
    struct intake in = {
        .dtype = U8, .channels = 3, .height = 32, .width = 32, .classes = 10, .choice = {.limit = size % 5}};
    struct bytes *b = bytes_of(data, size, "input");
    bool good;
    if (reader == 0) {
        in.channels = 1;
        in.height = in.width = 4;
        good = read_idx(data, size, &in, &e);
    } else if (reader == 1) {
        good = cifar_read(b, &in, size & 1, false, &e);
    } else {
        good = svhn_read(b, &in, IMAGES_MOST, &e);
    }
    promised(&in, good, &e);
    intake_free(&in);
    bytes_close(b);
}

static void fuzz_array(const uint8_t *data, size_t size) {
    struct error e = {0};
    struct mat5 m;
    int64_t value[256];
    struct bytes *b = bytes_of(data, size, "input");
    if (mat5_find(b, "y", 256, &m, &e) && mat5_integers(b, &m, value, m.count, &e) && (m.count < 1 || m.count > 256))
        abort();
    if (e.status != EXIT_DONE && e.status != EXIT_INPUT) abort();
    bytes_close(b);
}

static void fuzz_table(const uint8_t *data, size_t size) {
    struct error e = {0};
    struct sources *s = sources_parse((const char *)data, size, "input", &e);
    if (!s != (e.status == EXIT_INPUT)) abort();
    sources_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) return 0;
    if (data[0] % 5 < 3) fuzz_images(data[0] % 5, data + 1, size - 1);
    if (data[0] % 5 == 3) fuzz_array(data + 1, size - 1);
    if (data[0] % 5 == 4) fuzz_table(data + 1, size - 1);
    return 0;
}

// Fuzzes the reader of blobs (libFuzzer): the input is a stream of them, packed or not. Every blob that is
// read must hold what blob.h promises; anything else must be an error of the input.
//
//     clang -fsanitize=fuzzer,address,undefined ... fuzz_blob.c libassay.a; ./fuzz_blob corpus/blob
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../common/io/blob.h"
#include "../../common/io/look.h"
#include "../../common/io/part.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// What a program may do with any blob it was given.
static void use(struct blob *b, size_t size) {
    struct error e = {0};
    char before[65];
    size_t bytes = 0;
    strcpy(before, b->digest);
    blob_compute_digest(b);
    if (strcmp(before, b->digest) != 0) abort();
    for (int i = 0; i < b->count; i++) {
        if (i && strcmp(b->tensor[i - 1].name, b->tensor[i].name) >= 0) abort();
        if ((uintptr_t)b->tensor[i].data % 64) abort();
        if (blob_find(b, b->tensor[i].name) != &b->tensor[i]) abort();
        bytes += tensor_bytes(&b->tensor[i]);
    }
    if (bytes / 1100 > size) abort();  // deflate packs 1032 bytes into one
    struct out *null = out_open("/dev/null", true, &e);
    if (!null || !look_list(b, false, null, &e) || !look_statistics(b, NULL, null, &e) || !blob_emit(b, null, &e)) abort();
    struct part_rows row = {0, 1};
    struct blob *part = part_cut(b, NULL, &row, &e);
    if (!part != (e.status == EXIT_INPUT)) abort();
    blob_free(part);
    out_drop(null);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[64];
    int fd = memfd_create("blob", 0);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct error e = {0};
    struct blob_stream *s = blob_stream_open(path, &e);
    struct blob *b;
    while (s && (b = blob_next(s, &e))) {
        use(b, size);
        blob_free(b);
    }
    if (e.status != EXIT_DONE && e.status != EXIT_INPUT) abort();
    blob_stream_close(s);
    close(fd);
    return 0;
}

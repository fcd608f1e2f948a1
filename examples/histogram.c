// Reads a blob from standard input, prints how often each label occurs, and writes the counts as a blob:
//
//     gcc histogram.c $(pkg-config --cflags --libs assay) -o histogram
//     assay fetch synthetic | ./histogram counts.st
#include <assay/blob.h>
#include <stdio.h>

enum { CLASSES = 1000 };

int main(int argc, char **argv) {
    struct error e = {0};
    struct blob *in = blob_open("-", &e);
    const struct tensor *y = in ? blob_need(in, "y", &e) : NULL;
    if (!y || !tensor_expect(y, I64, 1, (int64_t[]){-1}, &e)) {
        fprintf(stderr, "histogram: %s\n", e.text);
        return e.status;
    }
    // Tensors are views: these bytes belong to the blob until blob_free.
    const int64_t *label = y->data;
    int64_t count[CLASSES] = {0}, classes = 0;
    for (int64_t i = 0; i < tensor_count(y); i++) {
        if (label[i] < 0 || label[i] >= CLASSES) continue;
        count[label[i]]++;
        if (classes <= label[i]) classes = label[i] + 1;
    }
    for (int64_t c = 0; c < classes; c++) printf("%lld %lld\n", (long long)c, (long long)count[c]);

    struct blob *out = blob_new("score");
    blob_add(out, "counts", I64, 1, &classes, count);
    blob_set_lineage(out, "histogram", json_object(), (const struct blob *const[]){in}, 1);
    if (argc > 1 && !blob_write(out, argv[1], &e)) fprintf(stderr, "histogram: %s\n", e.text);
    blob_free(out);
    blob_free(in);
    return e.status;
}

// dataset.h: labelled images as every program takes them.
//
// A data set is a blob with `x`, U8 or F32 [N, C, H, W] (U8 counts as value / 255, so images lie in [0, 1]), `y`, I64 [N],
// and, where it is a part of another set, `index` (I64 [N], positions in the source) with the source's
// digest in the metadata key `assay.source`.
#ifndef ASSAY_IO_DATASET_H
#define ASSAY_IO_DATASET_H

#include "blob.h"

struct dataset {
    struct blob *blob;  // owned; everything below is borrowed from it
    int64_t count;
    int channels, height, width;
    int classes;           // largest label + 1, or `classes` of the record's config where that is larger
    const struct tensor *x;
    const int64_t *y;
    const int64_t *index;  // or NULL
};

struct dataset *dataset_open(const char *path, struct error *e);   // refuses what is no data set
struct dataset *dataset_of(struct blob *b, struct error *e);       // takes the blob, also on failure
void dataset_free(struct dataset *d);

int64_t dataset_image_size(const struct dataset *d);               // C H W
void dataset_image(const struct dataset *d, int64_t i, float *out);  // one image in [0, 1]

// Which examples a word chooses: "all", "first:K", "random-half:SEED", "random-half:SEED:other", or a file
// with one byte per example (a raw mask, or a blob with a U8 or BOOL tensor `keep` or `assay.keep`).
// keep: one byte per example, owned by the caller. random-half ranks rng draws per example (stream
// "subset/half"), so exactly floor(n / 2) are kept and ":other" keeps the rest.
unsigned char *dataset_choose(const char *word, int64_t count, struct error *e);

#endif

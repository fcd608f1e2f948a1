// images.h: sets of images that are compared with each other: candidates of a reconstruction, its truth, its control.
//
// Looser than a data set (io/dataset.h): a blob, or a plain safetensors file, with `x`, U8 or F32 [N, C, H, W] or
// [N, H, W]. U8 counts as value / 255; floats are clamped to [0, 1] and nothing is ever rescaled. `y`, `index` and
// `certified` are optional. A struct images owns its blob, or, where it was made here, its numbers.
#ifndef ASSAY_AUDIT_IMAGES_H
#define ASSAY_AUDIT_IMAGES_H

#include "../io/blob.h"

struct images {
    struct blob *blob;        // NULL where it was made
    const char *name;         // for messages
    int64_t count;
    int channels, height, width;
    int64_t size;             // C H W
    const struct tensor *x;
    const int64_t *y;         // classes, >= 0, or NULL
    const int64_t *index;     // positions in the source, or NULL: this set is a source itself
    const char *source;       // digest of the set that positions refer to, or NULL where it is not known
    const unsigned char *certified;  // 1 where an attack calls a candidate a training image, or NULL
    int64_t outside;          // values that were clamped
    struct tensor made;       // private
};

struct images *images_open(const char *path, struct error *e);
struct images *images_of(struct blob *b, struct error *e);  // takes the blob, also on failure
// `count` black images of the shape of another set, to be filled in: *x is [count, size] and the set's.
struct images *images_made(const struct images *like, const char *name, int64_t count, float **x);
void images_free(struct images *s);

// Refuses sets whose images differ in shape (EXIT_INPUT).
bool images_agree(const struct images *a, const struct images *b, struct error *e);
void images_row(const struct images *s, int64_t i, float *out);  // image i, [C, H, W] in [0, 1]
int64_t images_position(const struct images *s, int64_t i);      // in the source

#endif

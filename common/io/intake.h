// intake.h: taking a part of a labelled set while it is read. A reader first tells all labels, the choice is
// made, and only the images chosen are kept: memory follows what is asked for, not what the container holds.
//
// The options act in this order: test fraction, classes, exclude, subset, per class, limit. Images keep
// the order of their source; `index` says where they stood there, and the source's name is the digest
// that a blob of the whole source would have.
#ifndef ASSAY_IO_INTAKE_H
#define ASSAY_IO_INTAKE_H

#include "dataset.h"

enum { INTAKE_CLASSES_MAX = 1000 };

struct choice {
    const char *classes;   // numbers or names with commas between, or NULL: all; renumbered in this order
    const struct dataset *exclude;  // whose examples are left out, or NULL
    const char *subset;    // a word of dataset_choose, or NULL
    int64_t per_class;     // that many of each class, at random; 0: all
    int64_t limit;         // the first so many of what is left; 0: all
    double test_fraction;  // of the source, at random; 0: no such split
    bool test;             // with a test fraction: that part, else the rest
    uint64_t seed;         // of per_class and test_fraction
};

struct intake {
    struct choice choice;
    // What the reader knows. Names of classes may be NULL.
    enum dtype dtype;  // U8 or F32
    int channels, height, width;
    int classes;
    const char *class_name[INTAKE_CLASSES_MAX];  // afterwards those of the classes chosen
    // What comes out.
    int64_t count;       // images chosen
    int64_t *index, *y;  // [count]
    int chosen[INTAKE_CLASSES_MAX];  // number in the source of each class
    void *x;             // [count, channels, height, width]
    bool part;           // not the whole source as it stands
    char source[65];     // digest of the whole source; only where a part is taken
    // private
    int64_t total, seen, kept;
    int64_t *label;  // [total]
    struct hash *hash;
    const char *excluded;  // digest of the source that `exclude` is a part of
};

// Once, when shape and labels (copied) are known: makes the choice. Then every image of the source
// in its order, as stored bytes; then the end, after which the outputs are there.
bool intake_begin(struct intake *in, int64_t total, const int64_t *label, struct error *e);
bool intake_image(struct intake *in, const void *image, struct error *e);
bool intake_end(struct intake *in, struct error *e);
void intake_free(struct intake *in);

size_t intake_image_bytes(const struct intake *in);

// A data set of what was taken, which borrows from `in`; classes and counts are added to `record`.
struct blob *intake_blob(const struct intake *in, json_t *record);

#endif

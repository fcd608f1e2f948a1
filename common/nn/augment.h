// augment.h: random changes to training images. Keyed by (example, step): the same whatever the thread,
// batch or order of work.
#ifndef ASSAY_NN_AUGMENT_H
#define ASSAY_NN_AUGMENT_H

#include <stdbool.h>
#include <stdint.h>
#include "../base/error.h"
#include "../base/rng.h"

struct augment {
    bool flip;        // left and right swapped, with probability 1/2
    int64_t shift;    // moved by up to so many pixels each way, zeros come in
    int64_t crop;     // a window smaller by up to so many pixels, stretched back (bilinear)
    struct stream stream;
};

// "none" or a list such as "flip,shift:2,crop:4". height and width bound the numbers.
bool augment_parse(struct augment *a, const char *text, int64_t height, int64_t width, uint64_t seed, struct error *e);
bool augment_any(const struct augment *a);
// image: [C, H, W], changed in place; scratch: as many floats.
void augment_image(const struct augment *a, float *image, int64_t channels, int64_t height, int64_t width, uint32_t example,
                   uint32_t step, float *scratch);

#endif

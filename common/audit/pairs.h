// pairs.h: two sets compared image by image, and the summary of any such list of numbers.
#ifndef ASSAY_AUDIT_PAIRS_H
#define ASSAY_AUDIT_PAIRS_H

#include "../base/pool.h"
#include "images.h"
#include "similarity.h"

struct pairs {
    int64_t count;
    double *ssim, *psnr, *mse, *ncc;  // [count]; psnr is infinite for equal images
};

// EXIT_INPUT where the sets differ in number or shape, or no window of SSIM fits. Free with pairs_free.
bool pairs_of(const struct images *a, const struct images *b, enum similarity_window window, struct pool *pool, struct pairs *out,
              struct error *e);
void pairs_free(struct pairs *p);

// Tensors ssim, psnr, mse and ncc, F64 [count], borrowed, and their summaries; identical: how many pairs are equal.
void pairs_save(const struct pairs *p, uint64_t seed, struct blob *b, json_t *record);

// PATH.mean, PATH.mean_interval (bootstrap, keyed by the seed) and PATH.median of what is no NaN. Infinite values count in the
// median, not in the mean.
void pairs_summary(const double *value, int64_t count, uint64_t seed, json_t *record, const char *path);

#endif

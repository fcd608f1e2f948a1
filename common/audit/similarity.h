// similarity.h: how alike two images are: structural similarity, mean squared error, peak signal-to-noise ratio,
// centred normalised cross-correlation.
//
// SSIM is Wang, Bovik, Sheikh & Simoncelli 2004, "Image quality assessment: from error visibility to structural
// similarity", eq. 13 with K1 = .01, K2 = .03 and a range of 1: the mean over every window that lies wholly inside the
// image, and over channels. Images are [C, H, W] in [0, 1]; everything is in double.
#ifndef ASSAY_AUDIT_SIMILARITY_H
#define ASSAY_AUDIT_SIMILARITY_H

#include <stdint.h>
#include "../base/error.h"

enum similarity_window {
    SIMILARITY_UNIFORM,   // 7 x 7, variances by 1 / (N - 1): the defaults of scikit-image
    SIMILARITY_GAUSSIAN,  // 11 x 11, sigma 1.5, variances as weighted means: the paper's own
};

struct similarity {
    double ssim;
    double psnr;  // dB: -10 log10 mse, infinite for equal images
    double mse;
    double ncc;   // of the images less their means; 0 where one of them is constant
};

// Whether a window fits an image at all (EXIT_INPUT where it does not).
bool similarity_fits(enum similarity_window window, int height, int width, struct error *e);
// BUG where the window does not fit.
struct similarity similarity_of(const float *a, const float *b, int channels, int height, int width,
                                enum similarity_window window);

// Takes the mean off and divides by the norm of what is left, so that the ncc of two images is a dot product. A
// constant image becomes 0: one whose root mean square is below 1e-6, far under an 8-bit step in a single pixel.
void similarity_centre(float *x, int64_t size);

#endif

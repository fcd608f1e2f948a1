// montage.h: what attacks did to images, as pictures: a row for each image, clean, then for every epsilon the
// adversarial image and the difference.
#ifndef ASSAY_CHART_MONTAGE_H
#define ASSAY_CHART_MONTAGE_H

#include "../io/blob.h"
#include "../io/picture.h"

enum { MONTAGE_ROWS = 5, MONTAGE_EPS = 4, MONTAGE_METHODS = 8 };

struct montage {
    char method[24];
    struct picture *picture;
};

// One for each method but noise that left images METHOD.eps_E.x [N, C, H, W] beside clean.x in an attack's blob; returns
// how many, at most MONTAGE_METHODS. Shown are the first images that the model gets right by itself. A difference d is
// drawn as 1/2 + d / (2 max |d|). Under an image stands the class the model finds; a frame marks one it gets wrong.
int montages_of(const struct blob *attack, struct montage out[MONTAGE_METHODS]);

#endif

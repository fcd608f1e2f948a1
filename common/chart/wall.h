// wall.h: a reconstruction for people to look at: rebuilt images, each between the training image and the held-out image
// that are nearest to it.
#ifndef ASSAY_CHART_WALL_H
#define ASSAY_CHART_WALL_H

#include "../io/blob.h"
#include "../io/picture.h"

enum { WALL_MAX = 48 };

// Out of wall.x, wall.ncc and wall.mark of a score's blob, the first WALL_MAX. Under the neighbours stands their correlation
// with the rebuilt image. A blue frame marks what the attack itself is certain of, and is right; an orange one where it is
// wrong. NULL where the blob has no wall, or images that are neither grey nor RGB.
struct picture *wall_of(const struct blob *score);

#endif

// augment.c: mirror, translation, random crop.
#include "augment.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../base/opt.h"

bool augment_parse(struct augment *a, const char *text, int64_t height, int64_t width, uint64_t seed, struct error *e) {
    *a = (struct augment){.stream = rng_stream(seed, "train/augment")};
    if (!strcmp(text, "none")) return true;
    int64_t side = height < width ? height : width;
    for (const char *c = text;; c++) {
        size_t n = strcspn(c, ",");
        char word[64];
        snprintf(word, sizeof word, "%.*s", (int)(n < sizeof word ? n : sizeof word - 1), c);
        int64_t *number = !strncmp(word, "shift:", 6) ? &a->shift : !strncmp(word, "crop:", 5) ? &a->crop : NULL;
        if (!strcmp(word, "flip")) a->flip = true;
        else if (!number || !parse_int(strchr(word, ':') + 1, number))
            return error_set(e, EXIT_USAGE, "augmentation \"%s\": flip, shift:N or crop:N expected", word);
        else if (*number < 1 || *number >= side)
            return error_set(e, EXIT_USAGE, "augmentation \"%s\": 1 to %lld pixels expected", word, (long long)side - 1);
        c += n;
        if (!*c) return true;
    }
}

bool augment_any(const struct augment *a) { return a->flip || a->shift || a->crop; }

// One channel: row and column of the result come from these places of the source; outside is 0.
static float at(const float *x, int64_t height, int64_t width, int64_t row, int64_t col) {
    return row < 0 || col < 0 || row >= height || col >= width ? 0 : x[row * width + col];
}

static int64_t draw(float u, int64_t count) { return (int64_t)((double)u * (double)count); }  // u < 1

void augment_image(const struct augment *a, float *image, int64_t channels, int64_t height, int64_t width, uint32_t example,
                   uint32_t step, float *scratch) {
    float u[6];  // every change has its own draws, so that one option does not change another's
    rng_uniform(a->stream, example, step, 0, u, 6);
    bool mirrored = a->flip && u[0] < .5f;
    int64_t down = draw(u[1], 2 * a->shift + 1) - a->shift, right = draw(u[2], 2 * a->shift + 1) - a->shift;
    int64_t less = draw(u[3], a->crop + 1), top = draw(u[4], less + 1), left = draw(u[5], less + 1);
    double tall = (double)(height - less) / (double)height, wide = (double)(width - less) / (double)width;
    size_t size = (size_t)(height * width);
    for (int64_t c = 0; c < channels; c++) {
        float *x = image + c * height * width;
        memcpy(scratch, x, size * sizeof *x);
        for (int64_t i = 0; i < height; i++)
            for (int64_t j = 0; j < width; j++) {
                int64_t row = i - down, col = (mirrored ? width - 1 - j : j) - right;
                float *to = &x[i * width + j];
                if (!less) {
                    *to = at(scratch, height, width, row, col);
                    continue;
                }
                if (row < 0 || col < 0 || row >= height || col >= width) {
                    *to = 0;
                    continue;
                }
                // Pixel centres of the result laid over the window; its border repeats.
                double y = ((double)row + .5) * tall - .5, z = ((double)col + .5) * wide - .5;
                y = fmin(fmax(y, 0), (double)(height - less - 1)), z = fmin(fmax(z, 0), (double)(width - less - 1));
                int64_t r = (int64_t)y, s = (int64_t)z, r1 = r + 1 < height - less ? r + 1 : r, s1 = s + 1 < width - less ? s + 1 : s;
                double fy = y - (double)r, fz = z - (double)s;
                const float *from = scratch + top * width + left;
                *to = (float)((1 - fy) * ((1 - fz) * from[r * width + s] + fz * from[r * width + s1]) +
                              fy * ((1 - fz) * from[r1 * width + s] + fz * from[r1 * width + s1]));
            }
    }
}

// similarity.c: SSIM by separable sums over windows, and its simpler relatives.
#include "similarity.h"

#include <math.h>
#include <stdlib.h>

#include "../base/arena.h"

enum { MOMENTS = 5, SIDE_MAX = 11 };  // of a window: a, b, aa, bb, ab
static const double C1 = .01 * .01, C2 = .03 * .03, CONSTANT = 1e-6;

struct window {
    int side;
    double weight[SIDE_MAX];  // of a row; a window's weights are products of these
    double correction;        // from weighted means to variances
};

static struct window window_of(enum similarity_window kind) {
    struct window w = {.side = kind == SIMILARITY_GAUSSIAN ? 11 : 7, .correction = 1};
    double sum = 0;
    for (int i = 0; i < w.side; i++) {
        double t = (i - w.side / 2) / 1.5;
        sum += w.weight[i] = kind == SIMILARITY_GAUSSIAN ? exp(-t * t / 2) : 1;
    }
    for (int i = 0; i < w.side; i++) w.weight[i] /= sum;
    if (kind == SIMILARITY_UNIFORM) w.correction = 49. / 48;
    return w;
}

bool similarity_fits(enum similarity_window kind, int height, int width, struct error *e) {
    int side = window_of(kind).side;
    return (height >= side && width >= side) ||
           error_set(e, EXIT_INPUT, "images of %d x %d: SSIM needs %d x %d at least, the size of its window", height, width,
                     side, side);
}

// One channel. row: MOMENTS x height x (width - side + 1), the moments of the windows' rows.
static double ssim_plane(const float *a, const float *b, int height, int width, const struct window *w, double *row) {
    int across = width - w->side + 1, down = height - w->side + 1;
    for (int y = 0; y < height; y++)
        for (int x = 0; x < across; x++) {
            double m[MOMENTS] = {0};
            for (int i = 0; i < w->side; i++) {
                double p = a[y * width + x + i], q = b[y * width + x + i], g = w->weight[i];
                m[0] += g * p;
                m[1] += g * q;
                m[2] += g * p * p;
                m[3] += g * q * q;
                m[4] += g * p * q;
            }
            for (int k = 0; k < MOMENTS; k++) row[(y * across + x) * MOMENTS + k] = m[k];
        }
    double sum = 0;
    for (int y = 0; y < down; y++)
        for (int x = 0; x < across; x++) {
            double m[MOMENTS] = {0};
            for (int i = 0; i < w->side; i++)
                for (int k = 0; k < MOMENTS; k++) m[k] += w->weight[i] * row[((y + i) * across + x) * MOMENTS + k];
            double va = w->correction * (m[2] - m[0] * m[0]), vb = w->correction * (m[3] - m[1] * m[1]);
            double cov = w->correction * (m[4] - m[0] * m[1]);
            sum += (2 * m[0] * m[1] + C1) * (2 * cov + C2) / ((m[0] * m[0] + m[1] * m[1] + C1) * (va + vb + C2));
        }
    return sum / down / across;
}

static double mean_of(const float *x, int64_t size) {
    double sum = 0;
    for (int64_t i = 0; i < size; i++) sum += x[i];
    return sum / (double)size;
}

static double ncc_of(const float *a, const float *b, int64_t size) {
    double ma = mean_of(a, size), mb = mean_of(b, size), aa = 0, bb = 0, ab = 0;
    for (int64_t i = 0; i < size; i++) {
        double p = a[i] - ma, q = b[i] - mb;
        aa += p * p;
        bb += q * q;
        ab += p * q;
    }
    double least = CONSTANT * CONSTANT * (double)size;
    return aa < least || bb < least ? 0 : ab / sqrt(aa) / sqrt(bb);
}

struct similarity similarity_of(const float *a, const float *b, int channels, int height, int width,
                                enum similarity_window kind) {
    struct window w = window_of(kind);
    struct similarity s = {0};
    BUG_IF(height < w.side || width < w.side, "SSIM of %d x %d", height, width);
    int64_t plane = (int64_t)height * width, size = channels * plane;
    double *row = memory_take((size_t)(plane * MOMENTS) * sizeof *row);
    for (int c = 0; c < channels; c++) s.ssim += ssim_plane(a + c * plane, b + c * plane, height, width, &w, row) / channels;
    free(row);
    for (int64_t i = 0; i < size; i++) s.mse += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    s.mse /= (double)size;
    s.psnr = s.mse > 0 ? -10 * log10(s.mse) : INFINITY;
    s.ncc = ncc_of(a, b, size);
    return s;
}

void similarity_centre(float *x, int64_t size) {
    double mean = mean_of(x, size), sum = 0;
    for (int64_t i = 0; i < size; i++) sum += (x[i] - mean) * (x[i] - mean);
    double scale = sum < CONSTANT * CONSTANT * (double)size ? 0 : 1 / sqrt(sum);
    for (int64_t i = 0; i < size; i++) x[i] = (float)((x[i] - mean) * scale);
}

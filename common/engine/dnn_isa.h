// dnn_isa.h: the loops of dnn.c that are compiled for several instruction sets (dnn_isa.c); private to dnn.c.
#ifndef ASSAY_ENGINE_DNN_ISA_H
#define ASSAY_ENGINE_DNN_ISA_H

#include "dnn.h"

struct dnn_loops {
    void (*pool_argmax)(const float *x, int n, int height, int width, int channels, int k, float *y,
                        unsigned char *index);
    void (*pool_gather)(const float *x, const unsigned char *index, int n, int height, int width, int channels, int k,
                        float *y);
    void (*pool_scatter)(const float *v, const unsigned char *index, int n, int height, int width, int channels,
                         int k, float *dx);
    // n matrices [rows, cols] -> [cols, rows].
    void (*transpose)(const float *x, int n, int64_t rows, int64_t cols, float *y);
    // Convolutions of few channels, weights as below. `padded` holds one example of x with its padding, `lines` kh
    // lines of dy.
    void (*narrow_forward)(const struct dnn_shape *s, const float *x, const float *w, const float *bias, bool relu,
                           float *y, float *padded);
    void (*narrow_dx)(const struct dnn_shape *s, const float *dy, const float *w, float *dx, float *lines);
    void (*narrow_dw)(const struct dnn_shape *s, const float *x, float *w, const float *dy, float *padded);
};

// Their weights: [kh, kw, C, O], O filled up to whole panels; the weight gradient has one tap more, the bias gradient.
// For the input gradient: [C, kh, kw, O].
enum { DNN_NARROW_PANEL = 32, DNN_NARROW_TAPS = 64 };

static inline int64_t dnn_narrow_panels(const struct dnn_shape *s) {
    return (s->out_channels + DNN_NARROW_PANEL - 1) / DNN_NARROW_PANEL * DNN_NARROW_PANEL;
}

// Floats of one of the input gradient's kh lines: a row of dy with zeros on both sides, as far as taps and blocks
// of eight reach.
static inline int64_t dnn_narrow_line(const struct dnn_shape *s) {
    int reach = (s->width - 1 + s->padding) / s->stride + 8;
    if (reach < s->out_width) reach = s->out_width;
    return (int64_t)(s->kernel_width - 1 + reach) * s->out_channels;
}

extern const struct dnn_loops dnn_loops_baseline, dnn_loops_avx2, dnn_loops_avx512;

#endif

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
    // Convolutions of few channels. `padded` holds one example with its padding, w is as below.
    void (*narrow_forward)(const struct dnn_shape *s, const float *x, const float *w, const float *bias, bool relu,
                           float *y, float *padded);
    void (*narrow_dx)(const struct dnn_shape *s, const float *dy, const float *w, float *dx);
    void (*narrow_dw)(const struct dnn_shape *s, const float *x, float *w, const float *dy, float *padded);
};

// Their weights. Forward: [kh, kw, C, O], O filled up with zeros to whole panels. The weight gradient: the same,
// and behind the last tap, as one tap more, the bias gradient. The input gradient: [C, kh, kw, O].
enum { DNN_NARROW_PANEL = 32 };

extern const struct dnn_loops dnn_loops_baseline, dnn_loops_avx2, dnn_loops_avx512;

#endif

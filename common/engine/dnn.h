// dnn.h: convolutions of SHARD examples by oneDNN's C API, activations channels-last, one worker a call.
//
// A dnn_conv is one primitive for fixed shapes, created once and run by any number of workers at a time
// (scratch is the worker's). Weights are PyTorch's [O, C, k, k] outside and in the library's own layout
// inside: dnn_conv_pack and dnn_conv_unpack go between. A row (example) of a result does not depend on the
// other examples. Convolutions from one to three channels are our own loops: oneDNN runs them at a tenth to a third
// of its speed.
#ifndef ASSAY_ENGINE_DNN_H
#define ASSAY_ENGINE_DNN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dnn_kind { DNN_FORWARD, DNN_DX, DNN_DW };

struct dnn_shape {
    int channels, height, width;          // of x
    int out_channels, out_height, out_width;  // of y
    int kernel_height, kernel_width, stride, padding;
    int examples;                         // SHARD, or 1 for per-example weight gradients
};

struct dnn_conv;
// Call it on a thread that keeps OpenMP to one thread and flushes denormals (pool.h), as those that run it do.
// Tails: FORWARD: bias [O] and ReLU fused into the primitive (NaN stays NaN, negatives become -0); DW: the bias
// gradient, sum of dy over examples and positions, comes with it.
struct dnn_conv *dnn_conv_new(enum dnn_kind kind, const struct dnn_shape *s, bool bias, bool relu);
void dnn_conv_free(struct dnn_conv *c);
size_t dnn_conv_weight_floats(const struct dnn_conv *c);  // in the library's layout
size_t dnn_conv_scratch(const struct dnn_conv *c);        // bytes a worker must lend
void dnn_conv_pack(const struct dnn_conv *c, const float *weights, float *packed);    // FORWARD, DX
void dnn_conv_unpack(const struct dnn_conv *c, const float *packed, float *weights);  // DW

// FORWARD: x, packed w, bias -> y.  DX: y is dy, -> x.  DW: x, y = dy -> packed w and, with bias, bias.
void dnn_conv_run(const struct dnn_conv *c, float *x, float *packed, float *bias, float *y, void *scratch);

// Max pooling k x k (stride k), channels-last, n examples; index: position in the window (0 .. k k - 1), the first
// maximum wins, a NaN counts as one.
// k is at most 16. Rows and columns that no window covers are ignored; scatter leaves zeros there.
void dnn_pool_argmax(const float *x, int n, int height, int width, int channels, int k, float *y,
                     unsigned char *index);  // y or index may be NULL
void dnn_pool_gather(const float *x, const unsigned char *index, int n, int height, int width, int channels, int k,
                     float *y);
void dnn_pool_scatter(const float *v, const unsigned char *index, int n, int height, int width, int channels, int k,
                      float *dx);

// [C, H*W] <-> [H*W, C] for n examples.
void dnn_to_channels_last(const float *x, int n, int channels, int positions, float *y);
void dnn_to_channels_first(const float *x, int n, int channels, int positions, float *y);

#endif

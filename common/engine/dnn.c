// dnn.c: convolutions by oneDNN, on the thread that calls; the library's direct method, channels-last.
//
// What the library keeps per primitive is read-only once created: memory objects and the stream belong to a
// call, scratch to the worker, so any number of workers run one primitive at a time. Its loops run over
// examples outside and each element is one sum over taps and channels in an order that the shape fixes.
#include "dnn.h"

#include <dnnl.h>
#include <float.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/error.h"
#include "../base/isa.h"
#include "dnn_isa.h"

// Convolutions from up to so many channels (grey or colour images) to a vector's worth of them or more are our own
// loops: oneDNN's kernels block the channels by 16.
enum { NARROW = 3, WIDE = 16 };

struct dnn_conv {
    enum dnn_kind kind;
    struct dnn_shape shape;
    bool bias, relu;
    bool narrow;  // our own loop; nothing of the library below
    dnnl_primitive_t conv;
    dnnl_primitive_t reorder;  // weights: PyTorch's layout to the library's, or back
    dnnl_memory_desc_t x, y, weights, tail, scratch;  // tail: the bias or its gradient
    dnnl_memory_desc_t plain;  // weights as [O, C, kh, kw]
};

static void check(dnnl_status_t status, const char *what) {
    BUG_IF(status != dnnl_success, "oneDNN: %s gives status %d", what, (int)status);
}
#define CHECK(call) check(call, #call)

static const struct dnn_loops *loops(void) {
    return ISA_PICK(dnn_loops);
}

// One engine for the process, never destroyed: it outlives every thread.
static dnnl_engine_t engine;
static void engine_start(void) {
    CHECK(dnnl_engine_create(&engine, dnnl_cpu, 0));
}

// ---- creation

static dnnl_memory_desc_t describe(int rank, const dnnl_dims_t dim, dnnl_format_tag_t layout) {
    dnnl_memory_desc_t d;
    CHECK(dnnl_memory_desc_init_by_tag(&d, rank, dim, dnnl_f32, layout));
    return d;
}

static dnnl_primitive_desc_t describe_conv(const struct dnn_conv *c, enum dnn_kind kind,
                                           dnnl_primitive_desc_t hint) {
    const struct dnn_shape *s = &c->shape;
    const dnnl_dims_t strides = {s->stride, s->stride}, padding = {s->padding, s->padding};
    const dnnl_memory_desc_t *tail = c->bias ? &c->tail : NULL;
    dnnl_memory_desc_t weights = describe(4, c->plain.dims, dnnl_format_tag_any);
    dnnl_convolution_desc_t d;
    switch (kind) {
    case DNN_FORWARD:
        CHECK(dnnl_convolution_forward_desc_init(&d, dnnl_forward_training, dnnl_convolution_direct, &c->x, &weights,
                                                 tail, &c->y, strides, padding, padding));
        break;
    case DNN_DX:
        CHECK(dnnl_convolution_backward_data_desc_init(&d, dnnl_convolution_direct, &c->x, &weights, &c->y, strides,
                                                       padding, padding));
        break;
    case DNN_DW:
        CHECK(dnnl_convolution_backward_weights_desc_init(&d, dnnl_convolution_direct, &c->x, &weights, tail, &c->y,
                                                          strides, padding, padding));
        break;
    }
    dnnl_primitive_attr_t attr;
    CHECK(dnnl_primitive_attr_create(&attr));
    CHECK(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user));
    if (kind == c->kind && c->relu) {
        // The library's ReLU is max(x, 0) by an instruction that turns NaN into 0, and a diverged network would
        // look healthy. Its leaky one multiplies, so NaN stays; two of slope 1e-38 leave -0 of any negative.
        dnnl_post_ops_t after;
        CHECK(dnnl_post_ops_create(&after));
        for (int i = 0; i < 2; i++) CHECK(dnnl_post_ops_append_eltwise(after, 1, dnnl_eltwise_relu, FLT_MIN, 0));
        CHECK(dnnl_primitive_attr_set_post_ops(attr, after));
        CHECK(dnnl_post_ops_destroy(after));
    }
    dnnl_primitive_desc_t p;
    CHECK(dnnl_primitive_desc_create(&p, &d, attr, engine, hint));
    CHECK(dnnl_primitive_attr_destroy(attr));
    return p;
}

static void create(struct dnn_conv *c) {
    dnnl_primitive_desc_t forward = NULL;  // the library wants to see it before either gradient
    if (c->kind != DNN_FORWARD) forward = describe_conv(c, DNN_FORWARD, NULL);
    dnnl_primitive_desc_t p = describe_conv(c, c->kind, forward);
    const dnnl_query_t weights = c->kind == DNN_DW ? dnnl_query_diff_weights_md : dnnl_query_weights_md;
    c->weights = *dnnl_primitive_desc_query_md(p, weights, 0);
    c->scratch = *dnnl_primitive_desc_query_md(p, dnnl_query_scratchpad_md, 0);
    CHECK(dnnl_primitive_create(&c->conv, p));
    CHECK(dnnl_primitive_desc_destroy(p));
    if (forward) CHECK(dnnl_primitive_desc_destroy(forward));

    const dnnl_memory_desc_t *from = c->kind == DNN_DW ? &c->weights : &c->plain;
    const dnnl_memory_desc_t *to = c->kind == DNN_DW ? &c->plain : &c->weights;
    CHECK(dnnl_reorder_primitive_desc_create(&p, from, engine, to, engine, NULL));
    CHECK(dnnl_primitive_create(&c->reorder, p));
    CHECK(dnnl_primitive_desc_destroy(p));
}

struct dnn_conv *dnn_conv_new(enum dnn_kind kind, const struct dnn_shape *s, bool bias, bool relu) {
    const int rows = s->height + 2 * s->padding - s->kernel_height, cols = s->width + 2 * s->padding - s->kernel_width;
    BUG_IF(s->examples < 1 || s->channels < 1 || s->out_channels < 1 || s->stride < 1 || s->padding < 0 || rows < 0 ||
               cols < 0 || s->out_height != rows / s->stride + 1 || s->out_width != cols / s->stride + 1,
           "convolution of %d x [%d, %d, %d] by %d x %d, stride %d, padding %d to [%d, %d, %d]", s->examples, s->channels,
           s->height, s->width, s->kernel_height, s->kernel_width, s->stride, s->padding, s->out_channels, s->out_height,
           s->out_width);
    BUG_IF(bias && kind == DNN_DX, "an input gradient has no bias");
    BUG_IF(relu && kind != DNN_FORWARD, "only a forward convolution ends in a ReLU");
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, engine_start);

    struct dnn_conv *c = memory_zero(sizeof *c);
    c->kind = kind;
    c->shape = *s;
    c->bias = bias;
    c->relu = relu;
    c->narrow = s->channels <= NARROW && s->out_channels >= WIDE &&
                s->kernel_height * s->kernel_width <= DNN_NARROW_TAPS;
    c->x = describe(4, (dnnl_dims_t){s->examples, s->channels, s->height, s->width}, dnnl_nhwc);
    c->y = describe(4, (dnnl_dims_t){s->examples, s->out_channels, s->out_height, s->out_width}, dnnl_nhwc);
    c->plain = describe(4, (dnnl_dims_t){s->out_channels, s->channels, s->kernel_height, s->kernel_width}, dnnl_oihw);
    c->tail = describe(1, (dnnl_dims_t){s->out_channels}, dnnl_a);
    if (!c->narrow) create(c);
    return c;
}

void dnn_conv_free(struct dnn_conv *c) {
    if (!c) return;
    if (!c->narrow) {
        CHECK(dnnl_primitive_destroy(c->conv));
        CHECK(dnnl_primitive_destroy(c->reorder));
    }
    free(c);
}

// ---- few channels: sizes and weights of our own loops

static int64_t taps(const struct dnn_shape *s) {
    return (int64_t)s->kernel_height * s->kernel_width * s->channels;
}

static size_t narrow_floats(const struct dnn_conv *c) {
    const struct dnn_shape *s = &c->shape;
    if (c->kind == DNN_DX) return taps(s) * s->out_channels;
    return (taps(s) + (c->kind == DNN_DW)) * dnn_narrow_panels(s);
}

static size_t narrow_scratch(const struct dnn_conv *c) {
    const struct dnn_shape *s = &c->shape;
    if (c->kind == DNN_DX) return s->kernel_height * dnn_narrow_line(s) * sizeof(float);
    if (!s->padding) return 0;
    return (size_t)(s->height + 2 * s->padding) * (s->width + 2 * s->padding) * s->channels * sizeof(float);
}

// Where weight [o, c, i, j] stands in the packed form.
static int64_t narrow_place(const struct dnn_conv *c, int64_t o, int64_t channel, int64_t place) {
    const struct dnn_shape *s = &c->shape;
    if (c->kind == DNN_DX) return (channel * s->kernel_height * s->kernel_width + place) * s->out_channels + o;
    return (place * s->channels + channel) * dnn_narrow_panels(s) + o;
}

static void narrow_pack(const struct dnn_conv *c, const float *weights, float *packed) {
    const struct dnn_shape *s = &c->shape;
    memset(packed, 0, narrow_floats(c) * sizeof *packed);
    for (int64_t o = 0; o < s->out_channels; o++)
        for (int64_t k = 0; k < s->channels; k++)
            for (int64_t p = 0; p < s->kernel_height * s->kernel_width; p++) packed[narrow_place(c, o, k, p)] = *weights++;
}

static void narrow_unpack(const struct dnn_conv *c, const float *packed, float *weights) {
    const struct dnn_shape *s = &c->shape;
    for (int64_t o = 0; o < s->out_channels; o++)
        for (int64_t k = 0; k < s->channels; k++)
            for (int64_t p = 0; p < s->kernel_height * s->kernel_width; p++) *weights++ = packed[narrow_place(c, o, k, p)];
}

static void narrow_run(const struct dnn_conv *c, float *x, float *packed, float *bias, float *y, void *scratch) {
    const struct dnn_shape *s = &c->shape;
    switch (c->kind) {
    case DNN_FORWARD: loops()->narrow_forward(s, x, packed, c->bias ? bias : NULL, c->relu, y, scratch); break;
    case DNN_DX: loops()->narrow_dx(s, y, packed, x, scratch); break;
    case DNN_DW:
        loops()->narrow_dw(s, x, packed, y, scratch);
        if (c->bias) memcpy(bias, packed + taps(s) * dnn_narrow_panels(s), s->out_channels * sizeof *bias);
        break;
    }
}

size_t dnn_conv_weight_floats(const struct dnn_conv *c) {
    return c->narrow ? narrow_floats(c) : dnnl_memory_desc_get_size(&c->weights) / sizeof(float);
}

size_t dnn_conv_scratch(const struct dnn_conv *c) {
    return c->narrow ? narrow_scratch(c) : dnnl_memory_desc_get_size(&c->scratch);
}

// ---- running

// A primitive's arguments live for one call; making them costs far less than any convolution.
struct call {
    int count;
    dnnl_exec_arg_t arg[5];
};

static void call_add(struct call *c, int name, const dnnl_memory_desc_t *d, const void *at) {
    dnnl_exec_arg_t *a = &c->arg[c->count++];
    a->arg = name;
    CHECK(dnnl_memory_create(&a->memory, d, engine, (void *)at));
}

static void call_run(struct call *c, dnnl_primitive_t p) {
    dnnl_stream_t stream;
    CHECK(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags));
    CHECK(dnnl_primitive_execute(p, stream, c->count, c->arg));
    CHECK(dnnl_stream_wait(stream));
    CHECK(dnnl_stream_destroy(stream));
    for (int i = 0; i < c->count; i++) CHECK(dnnl_memory_destroy(c->arg[i].memory));
}

void dnn_conv_pack(const struct dnn_conv *c, const float *weights, float *packed) {
    BUG_IF(c->kind == DNN_DW, "weight gradients are unpacked");
    if (c->narrow) {
        narrow_pack(c, weights, packed);
        return;
    }
    struct call call = {0};
    call_add(&call, DNNL_ARG_FROM, &c->plain, weights);
    call_add(&call, DNNL_ARG_TO, &c->weights, packed);
    call_run(&call, c->reorder);
}

void dnn_conv_unpack(const struct dnn_conv *c, const float *packed, float *weights) {
    BUG_IF(c->kind != DNN_DW, "only weight gradients are unpacked");
    if (c->narrow) {
        narrow_unpack(c, packed, weights);
        return;
    }
    struct call call = {0};
    call_add(&call, DNNL_ARG_FROM, &c->weights, packed);
    call_add(&call, DNNL_ARG_TO, &c->plain, weights);
    call_run(&call, c->reorder);
}

void dnn_conv_run(const struct dnn_conv *c, float *x, float *packed, float *bias, float *y, void *scratch) {
    if (c->narrow) {
        narrow_run(c, x, packed, bias, y, scratch);
        return;
    }
    // Per kind: x, weights, bias, y.
    static const int name[][4] = {
        [DNN_FORWARD] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS, DNNL_ARG_DST},
        [DNN_DX] = {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, 0, DNNL_ARG_DIFF_DST},
        [DNN_DW] = {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_BIAS, DNNL_ARG_DIFF_DST},
    };
    struct call call = {0};
    call_add(&call, name[c->kind][0], &c->x, x);
    call_add(&call, name[c->kind][1], &c->weights, packed);
    if (c->bias) call_add(&call, name[c->kind][2], &c->tail, bias);
    call_add(&call, name[c->kind][3], &c->y, y);
    call_add(&call, DNNL_ARG_SCRATCHPAD, &c->scratch, scratch);
    call_run(&call, c->conv);
}

// ---- pooling and layouts

static void check_pool(int height, int width, int k) {
    BUG_IF(k < 1 || k > 16 || k > height || k > width, "pooling %d x %d by %d (an index is one byte)", height, width, k);
}

void dnn_pool_argmax(const float *x, int n, int height, int width, int channels, int k, float *y,
                     unsigned char *index) {
    check_pool(height, width, k);
    loops()->pool_argmax(x, n, height, width, channels, k, y, index);
}

void dnn_pool_gather(const float *x, const unsigned char *index, int n, int height, int width, int channels, int k,
                     float *y) {
    check_pool(height, width, k);
    loops()->pool_gather(x, index, n, height, width, channels, k, y);
}

void dnn_pool_scatter(const float *v, const unsigned char *index, int n, int height, int width, int channels, int k,
                      float *dx) {
    check_pool(height, width, k);
    loops()->pool_scatter(v, index, n, height, width, channels, k, dx);
}

void dnn_to_channels_last(const float *x, int n, int channels, int positions, float *y) {
    loops()->transpose(x, n, channels, positions, y);
}

void dnn_to_channels_first(const float *x, int n, int channels, int positions, float *y) {
    loops()->transpose(x, n, positions, channels, y);
}

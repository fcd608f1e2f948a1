// device.h: what an executor provides. exec.c finds one by name and checks what it is asked; everything
// above common/engine goes through exec.h.
//
// `open` returns the executor's own state, which every other entry takes back; NULL with a sentence in *e
// when the device is not there. exec.c passes only INPUT nodes to `set` and only a plan's outputs to `get`.
#ifndef ASSAY_ENGINE_DEVICE_H
#define ASSAY_ENGINE_DEVICE_H

#include "exec.h"

struct exec_device {
    const char *name;
    void *(*open)(const struct plan *p, struct pool *pool, struct error *e);
    void (*free)(void *state);
    int real_size;  // bytes of a real in inputs and outputs: 4 or 8
    void (*set)(void *state, const struct node *input, const void *data);
    void (*get)(void *state, const struct node *output, void *data);
    bool (*run)(void *state, int64_t examples, struct error *e);
    void (*profile)(void *state, double seconds[PARTS]);  // as exec_profile
};

extern const struct exec_device exec_ref;
extern const struct exec_device exec_cpu;
extern const struct exec_device exec_cuda;  // only in a build with CUDA=1

#endif

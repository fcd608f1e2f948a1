// exec.c: finds the executor a user named and checks what it is asked to do.
#include "exec.h"

#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "device.h"

// The one place that knows which executors were built.
static const struct exec_device *const devices[] = {
    &exec_ref,
    &exec_cpu,
#ifdef ASSAY_CUDA
    &exec_cuda,
#endif
};
enum { DEVICES = sizeof devices / sizeof *devices };

const char *const exec_part_name[PARTS] = {
    [PART_CONV] = "conv", [PART_MATMUL] = "matmul", [PART_ELEMENTWISE] = "elementwise",
    [PART_POOL] = "pool", [PART_MOVE] = "move", [PART_IDLE] = "idle",
};

struct exec {
    const struct exec_device *device;
    const struct plan *plan;
    void *state;
};

static const struct exec_device *find(const char *name, struct error *e) {
    for (int i = 0; i < DEVICES; i++)
        if (!strcmp(devices[i]->name, name)) return devices[i];
    if (!strcmp(name, "cuda"))
        error_set(e, EXIT_SYSTEM, "device cuda: this version has no executor for CUDA; cpu and ref are there");
    else
        error_set(e, EXIT_USAGE, "no device \"%s\": expected ref, cpu or cuda", name);
    return NULL;
}

struct exec *exec_open(const char *device, const struct plan *p, struct pool *pool, struct error *e) {
    const struct exec_device *found = find(device, e);
    void *state = found ? found->open(p, pool, e) : NULL;
    if (!state) return NULL;
    struct exec *x = memory_take(sizeof *x);
    *x = (struct exec){found, p, state};
    return x;
}

void exec_free(struct exec *x) {
    if (!x) return;
    x->device->free(x->state);
    free(x);
}

int exec_real_size(const struct exec *x) { return x->device->real_size; }

void exec_set(struct exec *x, const struct node *input, const void *data) {
    BUG_IF(input->op != OP_INPUT, "node %d is a %s, not an input", input->id, op_name[input->op]);
    x->device->set(x->state, input, data);
}

void exec_get(struct exec *x, const struct node *output, void *data) {
    int count;
    struct node *const *outputs = plan_outputs(x->plan, &count);
    for (int i = 0; i < count; i++)
        if (outputs[i] == output) {
            x->device->get(x->state, output, data);
            return;
        }
    BUG("node %d (%s) is no output of the plan", output->id, op_name[output->op]);
}

bool exec_run(struct exec *x, int64_t examples, struct error *e) {
    BUG_IF(examples < 0, "%lld examples", (long long)examples);
    return x->device->run(x->state, examples, e);
}

void exec_profile(struct exec *x, double seconds[PARTS]) { x->device->profile(x->state, seconds); }

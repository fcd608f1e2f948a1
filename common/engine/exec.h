// exec.h: running a plan. Three executors stand behind one small table of functions: `ref` (double, naive
// loops, the oracle), `cpu` and `cuda`. Nothing above common/engine knows which one runs.
//
// An exec borrows its plan and its pool and owns every buffer. Inputs are borrowed until the run they are
// set for has ended. Asking for a device that is not there is an error, never a silent fallback.
#ifndef ASSAY_ENGINE_EXEC_H
#define ASSAY_ENGINE_EXEC_H

#include "../base/error.h"
#include "../base/pool.h"
#include "plan.h"

struct exec;

// device: "ref", "cpu", "cuda". The pool may be NULL for ref.
struct exec *exec_open(const char *device, const struct plan *p, struct pool *pool, struct error *e);
void exec_free(struct exec *x);

// Reals are float for cpu and cuda and double for ref: exec_real_size tells (4 or 8). Batch inputs hold one
// row per example, rows of the node's logical shape; index nodes hold int32.
int exec_real_size(const struct exec *x);

// Binds an input node. A whole input's memory stays bound over runs; call exec_set again (same pointer or
// not) whenever its contents changed, since reordered copies are kept. Batch inputs are read during the run.
// An input that no output depends on may be set too, and is not read.
void exec_set(struct exec *x, const struct node *input, const void *data);
// Binds the memory an output is written to: a value, or rows for the examples of the run.
void exec_get(struct exec *x, const struct node *output, void *data);

// Runs the plan for `examples` examples (0 is legal: sums over no example are zero). Returns false only for
// a lost device; numbers that are not finite are the caller's business.
bool exec_run(struct exec *x, int64_t examples, struct error *e);

// Where the time went since the last call, in seconds of all workers together.
enum exec_part { PART_CONV, PART_MATMUL, PART_ELEMENTWISE, PART_POOL, PART_MOVE, PART_IDLE, PARTS };
extern const char *const exec_part_name[PARTS];
void exec_profile(struct exec *x, double seconds[PARTS]);

#endif

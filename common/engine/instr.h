// instr.h: what a plan consists of, for the planner that writes it and the executors that read it.
//
// A *pass* p is a walk over the examples, shard by shard; before it come the whole instructions that it
// needs. Values live in one of five places; a worker owns a shard arena and a job arena (a job is a few
// consecutive shards), the exec owns the rest.
#ifndef ASSAY_ENGINE_INSTR_H
#define ASSAY_ENGINE_INSTR_H

#include "exec.h"
#include "layout.h"
#include "vec.h"

enum place {
    AT_NOWHERE,  // never stored
    AT_INPUT,    // the caller's memory
    AT_SHARD,    // used up within one segment of one shard
    AT_JOB,      // rows of a job side by side
    AT_BATCH,    // rows of all examples: crosses passes, or is summed over the whole batch
    AT_WHOLE,    // one value
};

struct value {
    const struct node *node;  // after rewriting
    bool last;                // channels-last: axis 0 lies last in memory
    bool bytes;               // a pooling index as the pooling kernels keep it: one byte each
    int root;                 // the value whose memory this is: itself, or the one it is a view of
    enum place place;
    int64_t floats;  // of one example, or of the whole value
    int64_t offset;  // within its place: floats, times examples in an arena of examples
    int born, dies;  // instructions of the same pass; planning only
    int pass;
};

enum code {
    I_VEC,        // a fused elementwise program
    I_GEMM,       // out = A each(W): rows of all examples of a job at once; optional bias and ReLU
    I_GEMM_SUM,   // out = sum over the examples of A B: after the pass, all examples at once
    I_PRODUCT,    // out = A B for every example and leading index
    I_CONV,       // node->op says which of three; weights each(W); forward has optional bias and ReLU
    I_CONV_SUM,   // out = sum over the examples of conv_dw
    I_CONV_EACH,  // conv_dw of every example by itself
    I_CONV_ANY,   // naive loops: any mixture of whole and batch operands
    I_POOL,       // node->op says which of three
    I_COPY,       // strided copy: layouts, transposes, slices, parts, broadcasts; without input: node's constant
    I_GATHER,     // gather, scatter with several indices a row; argmax and others off the vector path
    I_SUM,        // sum over any dimensions
    I_UNIFORM,
};

struct strided {  // how I_COPY and I_SUM walk
    int64_t dim[GRAPH_RANK_MAX], from[GRAPH_RANK_MAX], to[GRAPH_RANK_MAX];
    int64_t from_start, to_start;
};

struct instr {
    enum code code;
    int pass;
    bool whole;   // runs once, before its pass; else for every shard
    bool by_job;  // wants many rows: run per job, not per shard
    const struct node *node;
    int in[2], out;  // values
    int bias;        // value, or -1
    int top;         // I_POOL argmax: where the maxima go too, or -1
    bool relu;
    struct strided walk;
    struct layout_view view[3];  // I_PRODUCT: A, B and the result, rows and columns of the product last
    // I_VEC
    struct vec_program program;
    int *load, *store;                        // values
    struct vec_view *load_view, *store_view;  // strides; `at` is filled by the executor
    int64_t rows, cols;
    bool has_sum;  // some store is VEC_SUM_ALL over the examples: one slot per shard
};

struct plan {
    struct graph *g;
    int outputs;
    struct node **output;  // as the caller knows them
    struct node **rewritten;
    int *output_value;  // in the logical layout
    int values, value_room;
    struct value *value;
    int instrs, instr_room;
    struct instr *instr;               // by pass; whole ones first
    int passes;                        // batch passes; a last group of whole instructions has pass == passes
    int64_t shard_floats, job_floats;  // arenas: per example
    int inputs;
    int *input_value;
    struct arena *arena;
};

// Whether a value has a row for every example.
static inline bool value_batch(const struct value *v) {
    return v->place != AT_WHOLE && (v->place != AT_INPUT || v->node->batch);
}

#endif

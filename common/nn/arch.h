// arch.h: the architecture line, a network as one line of text, and the graph it stands for.
//
//     conv 32 3 | relu | maxpool 2 | flatten | linear 10
//
// Elements are separated by `|`: a name, then positional values, then words. An element's position in the
// line (from 0; `init` is not counted) names its parameters, `0.weight`, `4.bias`, as a torch.nn.Sequential
// of the same modules does; encoders use the names of torch.nn.TransformerEncoderLayer. Weights are laid
// out as PyTorch lays them out.
//
// A struct arch owns everything it points to and never changes. All parameters live in ONE flat array of
// arch->size floats: each starts at its offset (a multiple of ARCH_ALIGN floats), the gaps are zero and stay
// zero under every optimiser. What a network keeps besides parameters (batch norm's running statistics) is
// its *state*, a second flat array of the same kind.
#ifndef ASSAY_NN_ARCH_H
#define ASSAY_NN_ARCH_H

#include "../base/arena.h"
#include "../base/error.h"
#include "../engine/graph.h"

enum { ARCH_ALIGN = 16 };

struct arch_tensor {
    const char *name;      // "3.weight", "1.self_attn.in_proj_bias", "2.running_mean"
    struct shape shape;    // as stored
    int64_t offset, count; // floats, in the flat array
    int element;           // position in the line
    bool fixed;            // stays as it was drawn: no update, no decay (a classifier's fixed last layer: Hoffer et al. 2018)
    int draw;              // private: how it starts
    double spread;         // private: bound or standard deviation of its start
};

struct arch {
    char *line;                 // canonical: presets written out, one space between words
    struct shape input;         // [C, H, W]
    int outputs;                // of the last element: the number of classes, or 1 for a binary network; 0: any shape
    struct shape output;        // of the last element
    int count;                  // parameters
    struct arch_tensor *param;
    int64_t size;               // floats of the flat array of parameters, gaps included
    int64_t parameters;         // numbers a user would count
    int states;
    struct arch_tensor *state;  // running_mean, running_var of every batch norm
    int64_t state_size;
    bool drops;                 // has dropout: a training graph needs the key
    bool fixed;                 // some parameter is
    bool batch_norm;            // a training graph needs the number of examples
    bool homogeneous;           // (leaky) ReLU and max pooling only, no bias but in the first layer
    int elements;
    struct arch_element *element;  // private
    struct arena arena;            // private
};

// Parses and checks `text`, a preset's name or a line, for images of shape `input`. `outputs` is what the
// last element must give, and what the word "classes" stands for, as in a preset's last element; 0 takes whatever the line ends
// with. Errors (EXIT_USAGE) name the place: architecture, column 17, "linear x": ...
struct arch *arch_parse(const char *text, struct shape input, int outputs, struct error *e);
void arch_free(struct arch *a);
extern const char *const arch_presets;  // "cnn, mlp, vit, ...", for help texts

// Draws the starting values (arch->size floats; state: arch->state_size, variances 1) from the streams
// "init/NAME" of the seed. PyTorch's defaults unless the line says `init`.
void arch_init(const struct arch *a, uint64_t seed, float *theta, float *state);

// The parameter that holds position i of the flat array (gaps count to the one before), for messages.
const struct arch_tensor *arch_param_at(const struct arch *a, int64_t i);

// The first layer's weight [out, C H W] and bias (NULL where it has none) where that layer is linear in the whole image
// and sees it as it is: `flatten | linear ...`. NULL for any other network.
const struct arch_tensor *arch_first_linear(const struct arch *a, const struct arch_tensor **bias);

// ---- the graph

struct arch_build {
    bool training;         // dropout drops, batch norm uses the statistics of the batch
    uint64_t seed;         // of the dropout streams "train/dropoutI"
    struct node *key;      // training with dropout: index [3] = example, step, restart (batch)
    struct node *count;    // training with batch norm: [1], the number of examples (whole)
    struct node *sharpness;  // relu, leaky: whole [1] s, and the derivative is sigmoid(s x) instead of a step; NULL: a step
    // Whole nodes, one per parameter and state; arch_inputs makes them inputs of the tensors' names.
    struct node **param;
    struct node **state;
    struct node *smooth;     // whole [1] k, or NULL: relu x is log(1 + exp(k x)) / k, its smooth form; not with sharpness
    // Results of arch_build:
    struct node **each;      // graph_each(param[i]): derivatives with respect to it are per example
    struct node **new_state; // training with batch norm: whole, what replaces state[i]
    struct node *features;   // input of the last linear element: [in]
    struct node *logits;     // [outputs]
    // Input and output [width] of a relu right behind arch_first_linear, or NULL.
    struct node *first_in, *first_out;
};

// Takes the four arrays from the arena and makes param and state inputs of the graph, named
// PREFIX + tensor name (prefix may be NULL).
void arch_inputs(const struct arch *a, struct graph *g, struct arena *arena, const char *prefix, struct arch_build *b);
// x: batch [C, H, W], already normalised. Fills the results.
void arch_build(const struct arch *a, struct graph *g, struct arch_build *b, struct node *x);

#endif

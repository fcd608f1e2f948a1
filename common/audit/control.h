// control.h: what a reconstruction is compared with: held-out images in blocks of the members' own number and classes.
//
// A matcher that may choose among many images finds better matches by itself, so members are compared with blocks as large
// as they are, each matched alone.
//
// A struct control borrows sets and pool and owns the rest.
#ifndef ASSAY_AUDIT_CONTROL_H
#define ASSAY_AUDIT_CONTROL_H

#include "../base/pool.h"
#include "images.h"

struct control_options {
    int blocks;
    uint64_t seed;  // of the blocks
    bool exclude;   // leave out held-out images that are members; without it they are refused
};

struct control_twin {
    int64_t member, control;  // rows of the two sets
    float ncc;
};
#define CONTROL_TWIN .98f
enum { CONTROL_TWINS = 1 << 20 };  // that are kept of all blocks together, the first of each

// 2^28, a GiB in single precision.
#define CONTROL_ROOM ((int64_t)1 << 28)

struct control {
    const struct images *truth, *held_out;
    struct control_options o;
    struct pool *pool;
    int64_t room;            // CONTROL_ROOM: numbers that tables of correlations may hold at a time
    int64_t n;               // members
    int64_t *image;          // [blocks, n]: rows of held_out; image k of a block has member k's class
    int64_t *index, *position;  // [n], [blocks, n]: where members and these images stand in their sources
    int64_t used, excluded;  // held-out images in blocks, each counted once; left out as members
    int64_t spares, *spare;  // held-out images in no block, classes in turn: for a baseline
    int64_t twins;           // near-duplicates of members in blocks, an NCC of more than CONTROL_TWIN
    bool more_twins;         // there are more: a block has over its share of CONTROL_TWINS
    struct control_twin *twin;
    int64_t *twin_index;     // [twins, 2]: positions in the sources
    float *twin_ncc;         // [twins]
};

// EXIT_INPUT: shapes differ, classes are missing, a class has fewer held-out images than members, or held-out images are
// members (the same position of the same source, or pixel for pixel), which are named.
// Where a class has enough for one block and not for all, blocks share images: used < blocks * n.
struct control *control_open(const struct images *truth, const struct images *held_out, const struct control_options *o,
                             struct pool *pool, struct error *e);
void control_free(struct control *s);

// Set 0 are the members, set 1 + b is block b: the rows (NULL: all), and what they are rows of.
const int64_t *control_rows(const struct control *s, int64_t set);
const struct images *control_images(const struct control *s, int64_t set);

#endif

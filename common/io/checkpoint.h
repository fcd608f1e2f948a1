// checkpoint.h: what a run needs to be continued bit for bit: a blob of kind "checkpoint" with arrays of the run, and as its
// record's config the run's identity, the settings that decide the result. One of another identity is refused.
#ifndef ASSAY_IO_CHECKPOINT_H
#define ASSAY_IO_CHECKPOINT_H

#include "blob.h"

struct checkpoint_part {
    const char *name;  // of the tensor
    enum dtype dtype;
    int rank;
    int64_t dim[2];
    void *at;          // saved from here, taken back to here
};

// Under construction: whoever keeps more than parts adds it to both. The blob borrows the parts' arrays.
struct checkpoint {
    struct blob *blob;
    json_t *record;
};
// identity NULL: none.
struct checkpoint checkpoint_begin(const json_t *identity, const struct checkpoint_part *part, int count);
// Writes as blob_write; frees both whatever happens.
bool checkpoint_end(struct checkpoint *c, const char *path, struct error *e);

// EXIT_INPUT where it is no checkpoint, or one of another identity, naming the first difference. Free with blob_free.
struct blob *checkpoint_open(const char *path, const json_t *identity, struct error *e);
// Fills all parts, or none where one is missing or of another shape (EXIT_INPUT).
bool checkpoint_take(const struct blob *b, const struct checkpoint_part *part, int count, struct error *e);

// Where a run without a checkpoint of its own is kept when it is interrupted: beside its output, OUTPUT.checkpoint, in `room`;
// NULL where the output is standard output or a device, or its name too long.
enum { CHECKPOINT_ROOM = 4096 };
const char *checkpoint_beside(const char *output, char room[CHECKPOINT_ROOM]);
// A warning where an earlier run is kept there, which the next interruption would replace, unless it is the one that `resume`
// (NULL: none) goes on with. NULL: nothing.
void checkpoint_warn(const char *beside, const char *resume);

#endif

// published.h: a split of a published data set: found, checked, read.
#ifndef ASSAY_IO_PUBLISHED_H
#define ASSAY_IO_PUBLISHED_H

#include <jansson.h>

#include "intake.h"
#include "sources.h"

// Where files are looked for: `from`, or else the package's directory, the cache ($XDG_CACHE_HOME/assay/SET),
// the mirrors, in this order.
struct lookup {
    const char *from;  // a directory, and then nowhere else; or NULL
    bool offline;      // no mirrors
    bool unchecked;    // takes a stand-in from `from`: neither size nor checksum, any number of images up to the set's own
    int timeout;       // seconds
};

// Reads the split into `in`, whose shape and classes are set here. *files becomes a list of {name, sha256}: what was
// checked (new reference, also when empty).
bool published_read(const struct source_set *set, const char *split, const struct lookup *where, struct intake *in, json_t **files,
                    struct error *e);

// Where a file is now: its path in `path` (owned by the caller), or NULL. Downloads nothing, checks nothing.
char *published_place(const struct source_set *set, const struct source_file *file, const char *from);

#endif

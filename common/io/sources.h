// sources.h: the table of known data sets, data/SOURCES, which explains its form. The table owns all its texts.
#ifndef ASSAY_IO_SOURCES_H
#define ASSAY_IO_SOURCES_H

#include <stdint.h>

#include "../base/arena.h"
#include "../base/error.h"
#include "intake.h"

enum { SOURCES_SETS = 32, SOURCES_FILES = 12, SOURCES_MIRRORS = 8 };

struct source_file {
    const char *name, *split, *part;
    int64_t count;  // images
    int64_t bytes;
    const char *sha256;
    const char *plain_sha256;  // of the unpacked bytes, or NULL
};

struct source_set {
    const char *name, *title, *licence, *container;
    const char *system, *package;  // or NULL
    int channels, height, width;
    int classes;
    const char *class_name[INTAKE_CLASSES_MAX];
    int mirrors, files;
    const char *mirror[SOURCES_MIRRORS];
    struct source_file file[SOURCES_FILES];
};

struct sources {
    int count;
    struct source_set *set[SOURCES_SETS];
    struct arena arena;
};

// The file that ASSAY_SOURCES names, else the copy inside the program.
struct sources *sources_open(struct error *e);
struct sources *sources_parse(const char *text, size_t length, const char *where, struct error *e);
void sources_free(struct sources *s);

const struct source_set *sources_find(const struct sources *s, const char *name);  // or NULL
// The file of a split that holds `part` ("images", "labels", "both"), or NULL.
const struct source_file *sources_file(const struct source_set *set, const char *split, const char *part);

#endif

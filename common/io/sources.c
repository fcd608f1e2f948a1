// sources.c: data/SOURCES, read from the copy the assembler put into the program, so that an installed fetch
// needs no file beside it and the facts stand in one place only.
#include "sources.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/opt.h"
#include "bytes.h"

// The path is relative to the directory the compiler runs in: the root of the tree.
__asm__(".pushsection .rodata\n"
        "sources_text_begin: .incbin \"data/SOURCES\"\n"
        "sources_text_end:\n"
        ".popsection\n");
extern const char sources_text_begin[], sources_text_end[];

enum { FILE_MAX = 1 << 20 };

struct parser {
    struct sources *s;
    struct source_set *set;    // the paragraph's set
    struct source_file *file;  // and its file, NULL in the set's own paragraph
    const char *where;
    int line;
    struct error *e;
};

static bool wrong(const struct parser *p, const char *what, const char *value) {
    return error_set(p->e, EXIT_INPUT, "%s:%d: %s: '%s'", p->where, p->line, what, value);
}

static char *trim(char *text) {
    while (*text == ' ' || *text == '\t') text++;
    for (char *end = text + strlen(text); end > text && strchr(" \t\r", end[-1]);) *--end = 0;
    return text;
}

static bool parse_shape(struct parser *p, const char *value) {
    struct source_set *set = p->set;
    char rest;
    bool good = sscanf(value, "%4dx%4dx%4d%c", &set->channels, &set->height, &set->width, &rest) == 3 &&
                set->channels > 0 && set->height > 0 && set->width > 0;
    return good || wrong(p, "a shape such as 1x28x28 expected", value);
}

static bool parse_classes(struct parser *p, char *value) {
    for (char *word; (word = strsep(&value, ","));) {
        if (p->set->classes == INTAKE_CLASSES_MAX) return wrong(p, "too many classes", word);
        p->set->class_name[p->set->classes++] = trim(word);
    }
    return true;
}

static bool parse_number(struct parser *p, const char *value, int64_t *number) {
    return (parse_int(value, number) && *number > 0) || wrong(p, "a number above 0 expected", value);
}

static bool parse_digest(struct parser *p, const char *value, const char **digest) {
    *digest = value;
    return (strlen(value) == 64 && strspn(value, "0123456789abcdef") == 64) ||
           wrong(p, "64 lower-case hexadecimal digits expected", value);
}

// A name becomes a path: no directories in it.
static bool parse_name(struct parser *p, const char *value, const char **name) {
    *name = value;
    return (*value && *value != '.' && !strchr(value, '/')) || wrong(p, "a plain name expected", value);
}

static bool begin_set(struct parser *p, const char *value) {
    if (p->s->count == SOURCES_SETS) return wrong(p, "too many sets", value);
    p->set = p->s->set[p->s->count++] = arena_take(&p->s->arena, sizeof *p->set);
    p->file = NULL;
    return parse_name(p, value, &p->set->name);
}

static bool begin_file(struct parser *p, const char *value) {
    if (!p->set || p->set->files == SOURCES_FILES)
        return wrong(p, p->set ? "too many files in a set" : "a file before any set", value);
    p->file = &p->set->file[p->set->files++];
    return parse_name(p, value, &p->file->name);
}

static bool parse_set_line(struct parser *p, const char *key, char *value) {
    struct source_set *set = p->set;
    const struct {
        const char *key;
        const char **at;
    } text[] = {{"Title", &set->title},
                {"Licence", &set->licence},
                {"Container", &set->container},
                {"System", &set->system},
                {"Package", &set->package}};
    for (size_t i = 0; i < sizeof text / sizeof *text; i++)
        if (strcmp(key, text[i].key) == 0) return *text[i].at = value, true;
    if (strcmp(key, "Shape") == 0) return parse_shape(p, value);
    if (strcmp(key, "Classes") == 0) return parse_classes(p, value);
    if (strcmp(key, "Mirror") != 0) return wrong(p, "unknown key", key);
    if (set->mirrors == SOURCES_MIRRORS) return wrong(p, "too many mirrors", value);
    set->mirror[set->mirrors++] = value;
    return true;
}

static bool parse_file_line(struct parser *p, const char *key, char *value) {
    struct source_file *file = p->file;
    if (strcmp(key, "Split") == 0) return file->split = value, true;
    if (strcmp(key, "Part") == 0) return file->part = value, true;
    if (strcmp(key, "Count") == 0) return parse_number(p, value, &file->count);
    if (strcmp(key, "Bytes") == 0) return parse_number(p, value, &file->bytes);
    if (strcmp(key, "SHA256") == 0) return parse_digest(p, value, &file->sha256);
    if (strcmp(key, "Plain-SHA256") == 0) return parse_digest(p, value, &file->plain_sha256);
    return wrong(p, "unknown key", key);
}

static bool parse_line(struct parser *p, char *line) {
    line = trim(line);
    if (!*line || *line == '#') return true;
    char *value = strchr(line, ':');
    if (!value) return wrong(p, "'Key: value' expected", line);
    *value++ = 0;
    value = trim(value);
    if (strcmp(line, "Set") == 0) return begin_set(p, value);
    if (strcmp(line, "File") == 0) return begin_file(p, value);
    if (!p->set) return wrong(p, "a line before any set", line);
    return p->file ? parse_file_line(p, line, value) : parse_set_line(p, line, value);
}

static bool whole(const struct parser *p, const struct sources *s) {
    for (int i = 0; i < s->count; i++) {
        const struct source_set *set = s->set[i];
        if (!set->title || !set->licence || !set->container || !set->channels || !set->classes)
            return error_set(p->e, EXIT_INPUT, "%s: set %s: title, licence, container, shape and classes expected",
                             p->where, set->name);
        for (int k = 0; k < set->files; k++) {
            const struct source_file *f = &set->file[k];
            if (!f->split || !f->part || !f->count || !f->bytes || !f->sha256)
                return error_set(p->e, EXIT_INPUT, "%s: file %s: split, part, count, bytes and SHA256 expected",
                                 p->where, f->name);
        }
    }
    return true;
}

struct sources *sources_parse(const char *text, size_t length, const char *where, struct error *e) {
    struct sources *s = memory_zero(sizeof *s);
    struct parser p = {.s = s, .where = where, .e = e};
    char *rest = arena_take(&s->arena, length + 1), *line;
    memcpy(rest, text, length);
    while ((line = strsep(&rest, "\n"))) {
        p.line++;
        if (!parse_line(&p, line)) goto failed;
    }
    if (whole(&p, s)) return s;
failed:
    sources_free(s);
    return NULL;
}

static struct sources *read_file(const char *path, struct error *e) {
    struct bytes *b = bytes_open(path, e);
    if (!b) return NULL;
    struct sources *s = NULL;
    int64_t size = bytes_size(b);
    char *text = memory_take(FILE_MAX);
    if (size > FILE_MAX)
        error_set(e, EXIT_INPUT, "%s: at most %d bytes expected", path, FILE_MAX);
    else if (bytes_take(b, text, (size_t)size, e))
        s = sources_parse(text, (size_t)size, path, e);
    free(text);
    bytes_close(b);
    return s;
}

struct sources *sources_open(struct error *e) {
    const char *path = getenv("ASSAY_SOURCES");
    if (path && *path) return read_file(path, e);
    return sources_parse(sources_text_begin, (size_t)(sources_text_end - sources_text_begin), "data/SOURCES", e);
}

void sources_free(struct sources *s) {
    if (!s) return;
    arena_free(&s->arena);
    free(s);
}

const struct source_set *sources_find(const struct sources *s, const char *name) {
    for (int i = 0; i < s->count; i++)
        if (strcmp(s->set[i]->name, name) == 0) return s->set[i];
    return NULL;
}

const struct source_file *sources_file(const struct source_set *set, const char *split, const char *part) {
    for (int i = 0; i < set->files; i++)
        if (strcmp(set->file[i].split, split) == 0 && strcmp(set->file[i].part, part) == 0) return &set->file[i];
    return NULL;
}

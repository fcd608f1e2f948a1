// error.c: errors as values and bugs as aborts. Texts may quote names out of hostile files, so control
// characters are made harmless here, once, before anything reaches a terminal or a log.
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "out.h"

static void clean(char *text) {
    for (unsigned char *c = (unsigned char *)text; *c; c++)
        if (*c < 0x20 || *c == 0x7f)
            *c = '?';
}

// A cut text says so, and is not cut inside a UTF-8 sequence.
static void mark_cut(char *text, size_t size) {
    size_t end = size - 4;
    while (end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80)
        end--;
    strcpy(text + end, "...");
}

bool error_set(struct error *e, enum exit_status status, const char *format, ...) {
    if (e == NULL || e->status != EXIT_DONE)
        return false;
    va_list args;
    va_start(args, format);
    int length = vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    if (length >= (int)sizeof e->text)
        mark_cut(e->text, sizeof e->text);
    clean(e->text);
    e->status = status;
    return false;
}

bool error_prefix(struct error *e, const char *format, ...) {
    if (e == NULL || e->status == EXIT_DONE)
        return false;
    char prefix[sizeof e->text], old[sizeof e->text];
    va_list args;
    va_start(args, format);
    vsnprintf(prefix, sizeof prefix, format, args);
    va_end(args);
    clean(prefix);
    memcpy(old, e->text, sizeof old);
    int length = snprintf(e->text, sizeof e->text, "%s: %s", prefix, old);
    if (length >= (int)sizeof e->text)
        mark_cut(e->text, sizeof e->text);
    return false;
}

void bug_at(const char *file, int line, const char *function, const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    clean(text);
    fprintf(stderr, "bug: %s:%d: %s: %s\n", file, line, function, text);
    out_remove_unfinished();
    abort();
}

// arena.c: memory that lives and dies together: a list of blocks, each taken from zeroed memory, so large
// arrays cost no page until they are touched.
#include "arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "msg.h"

enum { ALIGN = 64 };

// Under a sanitizer every piece is its own allocation, so that an overrun is seen.
#if defined(__SANITIZE_ADDRESS__)
enum { BLOCK = 0 };
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
enum { BLOCK = 0 };
#else
enum { BLOCK = 64 << 10 };
#endif
#else
enum { BLOCK = 64 << 10 };
#endif

struct arena_block {
    struct arena_block *next;
    char *free;
    size_t left;
};

static _Noreturn void no_memory(size_t bytes) {
    struct error e = {0};
    error_set(&e, EXIT_SYSTEM, "out of memory: %.1f MiB asked for", (double)bytes / (1 << 20));
    msg_fail(&e);
}

void *arena_take(struct arena *a, size_t bytes) {
    if (bytes > SIZE_MAX / 2)
        no_memory(bytes);
    size_t room = bytes ? (bytes + ALIGN - 1) / ALIGN * ALIGN : ALIGN;
    struct arena_block *b = a->first;
    if (b == NULL || b->left < room) {
        size_t size = room > BLOCK ? (BLOCK ? room : bytes) : BLOCK;
        b = calloc(1, sizeof *b + ALIGN + size);
        if (b == NULL)
            no_memory(bytes);
        b->free = (char *)(((uintptr_t)(b + 1) + ALIGN - 1) / ALIGN * ALIGN);
        b->left = size;
        // A block with one large piece goes second: the first may still have room for small ones.
        if (a->first && size == room && a->first->left > 0) {
            b->next = a->first->next;
            a->first->next = b;
        } else {
            b->next = a->first;
            a->first = b;
        }
    }
    void *piece = b->free;
    b->free += room;
    b->left -= room < b->left ? room : b->left;
    return piece;
}

char *arena_text(struct arena *a, const char *text) {
    size_t size = strlen(text) + 1;
    return memcpy(arena_take(a, size), text, size);
}

char *arena_print(struct arena *a, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    BUG_IF(length < 0, "format '%s'", format);
    char *text = arena_take(a, (size_t)length + 1);
    va_start(args, format);
    vsnprintf(text, (size_t)length + 1, format, args);
    va_end(args);
    return text;
}

void arena_free(struct arena *a) {
    for (struct arena_block *b = a->first, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    a->first = NULL;
}

void *memory_take(size_t bytes) {
    void *memory = NULL;
    if (posix_memalign(&memory, ALIGN, bytes ? bytes : 1) != 0)
        no_memory(bytes);
    return memory;
}

void *memory_zero(size_t bytes) {
    return memset(memory_take(bytes), 0, bytes);
}

void *memory_grow(void *old, size_t bytes) {
    void *memory = realloc(old, bytes ? bytes : 1);
    if (memory == NULL)
        no_memory(bytes);
    return memory;
}

// arena.h: memory that lives and dies together. An arena owns everything taken from it; nothing is freed
// singly. Out of memory ends the program with EXIT_SYSTEM and the size asked for: sizes that come from an
// input are checked before they get here.
#ifndef ASSAY_BASE_ARENA_H
#define ASSAY_BASE_ARENA_H

#include <stddef.h>

struct arena {
    struct arena_block *first;
};

void *arena_take(struct arena *a, size_t bytes);  // zeroed, 64-byte aligned
char *arena_text(struct arena *a, const char *text);
char *arena_print(struct arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
void arena_free(struct arena *a);  // leaves an empty, usable arena

// Plain memory, 64-byte aligned, ending the program when there is none. Free with free().
void *memory_take(size_t bytes);              // not zeroed
void *memory_zero(size_t bytes);
void *memory_grow(void *old, size_t bytes);   // realloc; alignment of malloc only

#endif

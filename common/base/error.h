// error.h: errors as values, bugs as aborts, exit codes with one meaning each.
//
// A function that can fail on its input or on the system takes a `struct error *` last, returns false or
// NULL and leaves one sentence there: it names the file, the tensor or option, what was expected and what
// was found. Nothing below tools/ calls exit; a tool ends with `msg_fail(&error)`. Misuse inside the
// program is no error value: BUG aborts and names the place.
#ifndef ASSAY_BASE_ERROR_H
#define ASSAY_BASE_ERROR_H

#include <stdbool.h>

enum exit_status {
    EXIT_DONE = 0,    // finished
    EXIT_GATE = 1,    // ran, and a gate the user asked for (--fail-if) failed
    EXIT_USAGE = 2,   // the command line is wrong
    EXIT_INPUT = 3,   // an input is wrong: malformed file, digest, missing tensor, NaN
    EXIT_SYSTEM = 4,  // the machine: no memory, disk full, cannot open, no such device
};

struct error {
    enum exit_status status;  // EXIT_DONE while nothing went wrong
    char text[480];           // one sentence, no newline, no program name
};

// Fills *e and returns false, so that a caller can write `return error_set(e, EXIT_INPUT, "...", ...)`.
// A text that is already there is kept: the first cause is the one worth reading.
bool error_set(struct error *e, enum exit_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// Puts "PREFIX: " in front of the text: a reader knows the tensor, its caller the file.
bool error_prefix(struct error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

_Noreturn void bug_at(const char *file, int line, const char *function, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
#define BUG(...) bug_at(__FILE__, __LINE__, __func__, __VA_ARGS__)
#define BUG_IF(condition, ...) \
    do {                       \
        if (condition) BUG(__VA_ARGS__); \
    } while (0)

#endif

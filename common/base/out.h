// out.h: outputs that are there whole or not at all.
//
// A file is written under a temporary name in its own directory, every write is checked, it is synced,
// closed and renamed. "-" and NULL are standard output, written straight through. When the program ends
// early (msg_fail, or a signal that stops it: SIGINT, SIGQUIT, SIGTERM, SIGHUP) unfinished files are removed. Binary is
// not written to a terminal.
#ifndef ASSAY_BASE_OUT_H
#define ASSAY_BASE_OUT_H

#include <stddef.h>
#include <stdio.h>
#include "error.h"

struct out;  // owned by the caller between open and close or drop

struct out *out_open(const char *path, bool binary, struct error *e);
bool out_write(struct out *o, const void *bytes, size_t count, struct error *e);
bool out_print(struct out *o, struct error *e, const char *format, ...) __attribute__((format(printf, 3, 4)));
bool out_close(struct out *o, struct error *e);  // publishes; frees o whatever happens
void out_drop(struct out *o);                    // removes; frees o

// Whether out_open(path, binary) would go well now, told as it would tell it, with nothing opened for writing and
// nothing created: for before long work, since an output that cannot be written then costs the work.
bool out_check(const char *path, bool binary, struct error *e);

// Whether a path is "-", standard input or output, which NULL is not; and whether two would end in one regular file, so that the
// last one written would be all that is left.
bool path_is_dash(const char *path);
bool out_same_file(const char *a, const char *b);

// Set by a signal that stops, once out_graceful() was called, to the end of the program: long work polls it, saves a checkpoint
// and ends through out_interrupted(), also where the signal came too late to cut anything short. Without out_graceful a signal
// removes unfinished outputs and ends the program with 128 + signal at once; so does a second one.
void out_graceful(void);
bool out_stopping(void);
_Noreturn void out_interrupted(void);  // removes unfinished outputs, exits 128 + signal

// For msg.c and error.c, which end programs. The first is safe inside a signal handler.
void out_remove_unfinished(void);
void out_handle_signals(void);
_Noreturn void out_pipe_closed(void);  // nobody reads standard output any more: ends quietly, status 0

#endif

// shell.h: commands of the shell, several at a time, each in a process group of its own that ends as a whole.
//
// A command reads nothing (/dev/null), what it prints is kept in an unnamed file, and so is the end of what it says. Nothing of
// it is left running when it is over, nor when this program ends, in whatever way: what is still in its group is killed.
// Signals that come while shell_wait sleeps wake it (out_graceful).
#ifndef ASSAY_BASE_SHELL_H
#define ASSAY_BASE_SHELL_H

#include <stdbool.h>
#include <stddef.h>
#include "error.h"

struct shell;  // a running command

enum { SHELL_PRINTED_MOST = 16 << 20 };  // bytes; a command that prints more is killed

// Runs `/bin/sh -c COMMAND`, for at most so many seconds; 0: for as long as it likes.
struct shell *shell_start(const char *command, double seconds, struct error *e);

enum { SHELL_STOPPED = -1, SHELL_UNREAD = -2 };
// Sleeps until one of them, count > 0, is over, and returns its place. SHELL_STOPPED once out_stopping(); with
// `watch`, SHELL_UNREAD once nobody reads standard output any more.
int shell_wait(struct shell *const *s, int count, bool watch);

// Of one that is over: NULL where it ended well, else why not in a few words: "exit status 3", "killed by signal 9", "still
// ran after 10 s", "it printed more than 16 MiB".
const char *shell_failure(const struct shell *s);
// The last line it said on standard error that is not blank; "" where there is none.
const char *shell_said(const struct shell *s);
// What one that ended well printed, and a zero; free() it. NULL where it cannot be read back.
char *shell_printed(const struct shell *s, size_t *size);

// Asks those that run to end (SIGTERM), kills what is left of them two seconds later, and frees them all.
void shell_end(struct shell **s, int count);

#endif

// msg.h: what a tool says on stderr: messages, progress, the closing line; and how it ends.
//
// Every line is prefixed with the tool's name and written whole. NO_COLOR is respected. Nothing here
// writes to stdout: that belongs to results.
#ifndef ASSAY_BASE_MSG_H
#define ASSAY_BASE_MSG_H

#include "error.h"

// Names the program, starts the wall clock of the closing line, makes SIGPIPE quiet (a closed pipe ends a
// tool with status 0 and no message) and installs the signal handlers of out.h.
void msg_open(const char *program);

// -q sets -1 (errors and warnings only), the default is 0, -v sets 1.
void msg_verbosity(int level);

void msg_say(const char *format, ...) __attribute__((format(printf, 1, 2)));   // unless -q
void msg_more(const char *format, ...) __attribute__((format(printf, 1, 2)));  // with -v
void msg_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));  // always

// Prints the error and ends the program with its status; unfinished outputs are removed.
_Noreturn void msg_fail(const struct error *e);
// A mistake on the command line: the sentence, then where to find help; EXIT_USAGE.
_Noreturn void msg_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

// The closing line: version, wall and CPU time, peak memory. Returns EXIT_DONE for `return msg_close();`.
int msg_close(void);

// Progress of long work. On a terminal one line is redrawn at most ten times a second (done, total, rate,
// time left, note); elsewhere a line per tenth of the work. Call from one thread. With -q nothing.
struct progress {
    const char *what;  // "images", "steps"
    long total;        // 0: unknown
    long done;
    double start;      // seconds, monotonic
    double drawn;
    int tenths;
};
void progress_open(struct progress *p, const char *what, long total);
// `note` may be NULL: the metric that matters now, e.g. "loss 0.412".
void progress_step(struct progress *p, long done, const char *note);
void progress_close(struct progress *p);

double msg_clock(void);  // seconds, monotonic

#endif

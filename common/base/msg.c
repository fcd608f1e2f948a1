// msg.c: what a tool says on stderr, and how it ends. Every line is put together first and leaves in one
// write, so that lines of several programs in a pipeline do not mix.
#include "msg.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "out.h"

static const char *name = "assay";
static int level;
static double start;
static bool terminal, colour;
static bool drawn;  // a progress line stands on the terminal

double msg_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void msg_open(const char *program) {
    name = program;
    start = msg_clock();
    out_handle_signals();
    const char *type = getenv("TERM"), *no_colour = getenv("NO_COLOR");
    terminal = isatty(STDERR_FILENO) && !(type && strcmp(type, "dumb") == 0);
    colour = terminal && !(no_colour && *no_colour);
}

void msg_verbosity(int new_level) {
    level = new_level;
}

static void put(const char *text, size_t length) {
    while (length > 0) {
        ssize_t written = write(STDERR_FILENO, text, length);
        if (written < 0 && errno != EINTR)
            return;  // nobody to tell
        if (written > 0) {
            text += written;
            length -= (size_t)written;
        }
    }
}

static void erase(void) {
    if (drawn)
        put("\r\033[K", 4);
    drawn = false;
}

// Prints each line of a text as "NAME: LABEL: line"; control characters out of file names and tensors are not
// for the terminal.
static void say(const char *label, const char *label_colour, const char *format, va_list args) {
    char *text = NULL;
    if (vasprintf(&text, format, args) < 0)
        return;
    erase();
    char *rest = text;
    do {
        char *line = rest, *all = NULL, *end = strchr(line, '\n');
        rest = end && end[1] ? end + 1 : NULL;
        if (end)
            *end = '\0';
        for (unsigned char *c = (unsigned char *)line; *c; c++)
            if ((*c < 0x20 && *c != '\t') || *c == 0x7f)
                *c = '?';
        int length = asprintf(&all, "%s: %s%s%s%s\n", name, colour ? label_colour : "", label,
                              colour && *label_colour ? "\033[m" : "", line);
        if (length > 0)
            put(all, (size_t)length);
        free(all);
    } while (rest);
    free(text);
}

#define SAY(label, label_colour)                   \
    do {                                           \
        va_list args;                              \
        va_start(args, format);                    \
        say(label, label_colour, format, args);    \
        va_end(args);                              \
    } while (0)

static void say_plain(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say_plain(const char *format, ...) {
    SAY("", "");
}

static void say_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say_error(const char *format, ...) {
    SAY("error: ", "\033[31m");
}

void msg_say(const char *format, ...) {
    if (level >= 0)
        SAY("", "");
}

void msg_more(const char *format, ...) {
    if (level >= 1)
        SAY("", "");
}

void msg_warn(const char *format, ...) {
    SAY("warning: ", "\033[33m");
}

// Not by exit: workers may still compute, and must not meet libraries that are being torn down.
static _Noreturn void end(enum exit_status status) {
    out_remove_unfinished();
    fflush(stdout);
    _exit(status);
}

void msg_fail(const struct error *e) {
    BUG_IF(e->status == EXIT_DONE, "failed without a reason");
    say_error("%s", e->text);
    end(e->status);
}

void msg_usage(const char *format, ...) {
    SAY("error: ", "\033[31m");
    say_plain("try '%s --help'", name);
    end(EXIT_USAGE);
}

// The peak since this program was started. getrusage's figure would include the process that forked us.
static double peak_mib(void) {
    double kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %lf kB", &kib) == 1)
            break;
    if (f)
        fclose(f);
    struct rusage r;
    if (kib == 0 && getrusage(RUSAGE_SELF, &r) == 0)
        kib = (double)r.ru_maxrss;
    return kib / 1024;
}

int msg_close(void) {
    // The last moment at which a full disk behind printf's buffer can be reported.
    errno = 0;
    if (fflush(stdout) != 0 || ferror(stdout)) {
        if (errno == EPIPE)
            out_pipe_closed();
        struct error e = {0};
        error_set(&e, EXIT_SYSTEM, "standard output: cannot write: %s", strerror(errno ? errno : EIO));
        msg_fail(&e);
    }
    if (level >= 0) {
        struct rusage r = {0};
        getrusage(RUSAGE_SELF, &r);
        double cpu = (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
                     1e-6 * (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
        say_plain("%s, %.1f s wall, %.1f s CPU, %.0f MiB peak", ASSAY_VERSION, msg_clock() - start, cpu, peak_mib());
    }
    return EXIT_DONE;
}

// --- progress ---

static void format_rate(double rate, char out[16]) {
    if (rate >= 1e6)
        snprintf(out, 16, "%.3gM/s", rate * 1e-6);
    else if (rate >= 1e4)
        snprintf(out, 16, "%.3gk/s", rate * 1e-3);
    else
        snprintf(out, 16, rate >= 100 ? "%.0f/s" : "%.3g/s", rate);
}

static void format_left(double seconds, char out[24]) {
    if (!(seconds < 1e7))
        snprintf(out, 24, "long");
    else if (seconds >= 3600)
        snprintf(out, 24, "%d h %02d min", (int)seconds / 3600, (int)seconds / 60 % 60);
    else if (seconds >= 60)
        snprintf(out, 24, "%d min %02d s", (int)seconds / 60, (int)seconds % 60);
    else
        snprintf(out, 24, "%.0f s", seconds);
}

void progress_open(struct progress *p, const char *what, long total) {
    double now = msg_clock();
    *p = (struct progress){.what = what, .total = total, .start = now, .drawn = now};
}

void progress_step(struct progress *p, long done, const char *note) {
    p->done = done;
    if (level < 0)
        return;
    double now = msg_clock(), spent = now - p->start;
    if (terminal) {
        if (now - p->drawn < 0.1)
            return;
    } else if (p->total > 0) {
        int tenths = (int)(10.0 * (double)done / (double)p->total);
        if (tenths <= p->tenths)
            return;
        p->tenths = tenths;
    } else if (now - p->drawn < 10) {
        return;
    }
    p->drawn = now;

    char line[512], rate[16], left[24];
    double speed = spent > 0 ? (double)done / spent : 0;
    format_rate(speed, rate);
    size_t used = 0;
    if (p->total > 0) {
        format_left(speed > 0 ? (double)(p->total - done) / speed : INFINITY, left);
        used += (size_t)snprintf(line, sizeof line, "%ld/%ld %s, %s, %s left", done, p->total, p->what, rate, left);
    } else {
        used += (size_t)snprintf(line, sizeof line, "%ld %s, %s", done, p->what, rate);
    }
    if (note && used < sizeof line)
        snprintf(line + used, sizeof line - used, ", %s", note);
    if (!terminal) {
        say_plain("%s", line);
        return;
    }
    struct winsize w;
    int columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 20 ? w.ws_col : 80;
    char all[640];
    int length = snprintf(all, sizeof all, "\r%s: %s", name, line);
    if (length > columns)
        length = columns;  // a full last column would wrap
    if (length >= (int)sizeof all)
        length = (int)sizeof all - 1;
    put(all, (size_t)length);
    put("\033[K", 3);
    drawn = true;
}

void progress_close(struct progress *p) {
    (void)p;
    erase();
}

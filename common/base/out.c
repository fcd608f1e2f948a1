// out.c: outputs that are there whole or not at all.
//
// A regular file is written as .assay.PID.N.part beside its final name, synced and renamed. A device, a FIFO
// and standard output have no "whole", and are written straight through. The temporary names stand in one
// fixed table of atomic pointers: whoever takes a pointer out of it, a signal handler included, owns the name.
#include "out.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arena.h"

enum { BUFFER = 64 << 10, UNFINISHED_MAX = 256, LINKS_MAX = 40 };

struct out {
    int file;
    int slot;     // in `unfinished`; -1 when written straight through
    int failure;  // errno of the first failed write
    char *name;   // as the user knows it
    char *path;   // behind symbolic links
    char *part;   // the temporary name
    size_t used;
    char buffer[BUFFER];
};

static _Atomic(char *) unfinished[UNFINISHED_MAX];
static pid_t owner;  // a forked child must not remove its parent's files
static atomic_bool graceful;
static atomic_int stop_signal;

// --- ends ---

void out_remove_unfinished(void) {
    if (owner != getpid())
        return;
    for (int i = 0; i < UNFINISHED_MAX; i++) {
        char *part = atomic_exchange(&unfinished[i], NULL);
        if (part)
            unlink(part);  // not freed: free is not safe in a signal handler, and the program ends
    }
}

static void at_exit(void) {
    out_remove_unfinished();
}

static void on_stop(int number) {
    int none = 0;
    if (atomic_load(&graceful) && atomic_compare_exchange_strong(&stop_signal, &none, number))
        return;
    out_remove_unfinished();
    _exit(128 + number);
}

// Only a reader of standard output that has gone away ends the program; a socket or a child's pipe that breaks is
// an error where it was written.
static void on_pipe(int number) {
    (void)number;
    int saved = errno;
    struct pollfd out = {.fd = STDOUT_FILENO};
    if (poll(&out, 1, 0) == 1 && out.revents & POLLERR)
        out_pipe_closed();
    errno = saved;
}

void out_pipe_closed(void) {
    out_remove_unfinished();
    _exit(EXIT_DONE);
}

void out_handle_signals(void) {
    struct sigaction a = {.sa_handler = on_stop, .sa_flags = SA_RESTART};
    sigemptyset(&a.sa_mask);
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGQUIT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
    struct sigaction old;
    if (sigaction(SIGHUP, NULL, &old) == 0 && old.sa_handler != SIG_IGN)  // not under nohup
        sigaction(SIGHUP, &a, NULL);
    a.sa_handler = on_pipe;
    sigaction(SIGPIPE, &a, NULL);
    a.sa_handler = SIG_IGN;
    sigaction(SIGXFSZ, &a, NULL);  // a file size limit is reported by write like a full disk

    // A tool started with a closed stream must not open its model as file 1 and print into it. A descriptor of
    // the wrong direction keeps the place, and using it still fails.
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
            _exit(EXIT_SYSTEM);
}

void out_graceful(void) {
    atomic_store(&graceful, true);
}

bool out_stopping(void) {
    return atomic_load_explicit(&stop_signal, memory_order_relaxed) != 0;
}

void out_interrupted(void) {
    int number = atomic_load(&stop_signal);
    BUG_IF(number == 0, "no signal came");
    fflush(stderr);
    out_remove_unfinished();
    _exit(128 + number);
}

// --- opening ---

static bool is_standard(const char *path) {
    return path == NULL || path_is_dash(path);
}

static bool system_error(struct error *e, const struct out *o, const char *what, int number) {
    return error_set(e, EXIT_SYSTEM, "%s: %s%s", o->name, what, strerror(number));
}

// The file that `path` means: links are followed even where the last one points to nothing yet. A link into
// /proc stands for an open file, not for a name: NULL. Also NULL, with errno, when it cannot be told.
static char *follow(const char *path) {
    char *at = strdup(path), target[PATH_MAX];
    for (int links = 0; at && links <= LINKS_MAX; links++) {
        ssize_t length = readlink(at, target, sizeof target - 1);
        if (length < 0)
            return at;
        target[length] = '\0';
        const char *slash = target[0] == '/' ? NULL : strrchr(at, '/');
        char *next = NULL;
        if (asprintf(&next, "%.*s%s", slash ? (int)(slash - at + 1) : 0, at, target) < 0)
            next = NULL;
        free(at);
        at = next;
        if (at && strncmp(at, "/proc/", 6) == 0)
            errno = 0;
        else
            continue;
        free(at);
        return NULL;
    }
    errno = at ? ELOOP : ENOMEM;
    free(at);
    return NULL;
}

// With its last slash; 0 when the path is a bare name.
static int directory_length(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? (int)(slash - path + 1) : 0;
}

static bool open_straight(struct out *o, const char *path, struct error *e) {
    o->file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666);
    return o->file >= 0 || system_error(e, o, "cannot open: ", errno);
}

static bool open_part(struct out *o, const struct stat *old, struct error *e) {
    static atomic_int number;
    int directory = directory_length(o->path);
    do {
        free(o->part);
        o->part = NULL;
        if (asprintf(&o->part, "%.*s.assay.%ld.%d.part", directory, o->path, (long)getpid(), ++number) < 0)
            return system_error(e, o, "", ENOMEM);
        o->file = open(o->part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    } while (o->file < 0 && errno == EEXIST);
    if (o->file < 0)
        return system_error(e, o, "cannot create: ", errno);
    // A replaced file keeps its group and mode where the system lets us.
    if (old) {
        if (fchown(o->file, (uid_t)-1, old->st_gid) != 0)
            (void)0;
        if (fchmod(o->file, old->st_mode & 07777) != 0)
            (void)0;
    }
    if (owner != getpid()) {
        if (owner == 0)
            atexit(at_exit);
        for (int i = 0; i < UNFINISHED_MAX; i++)  // after a fork: the parent's names are the parent's
            atomic_store(&unfinished[i], NULL);
        owner = getpid();
    }
    for (int i = 0; i < UNFINISHED_MAX && o->slot < 0; i++) {
        char *none = NULL;
        if (atomic_compare_exchange_strong(&unfinished[i], &none, o->part))
            o->slot = i;
    }
    BUG_IF(o->slot < 0, "more than %d outputs open at once", UNFINISHED_MAX);
    return true;
}

// What is at `path` now. Where the output would take a name of its own o->path is that name; it stays NULL for what is
// written straight through.
static bool destination(struct out *o, const char *path, struct stat *old, bool *exists, struct error *e) {
    *exists = stat(path, old) == 0;
    if (!*exists && errno != ENOENT)
        return system_error(e, o, "cannot open: ", errno);
    if (*exists && S_ISDIR(old->st_mode))
        return system_error(e, o, "cannot open: ", EISDIR);
    if (*exists && !S_ISREG(old->st_mode))
        return true;
    errno = 0;
    o->path = follow(path);
    if (o->path == NULL)
        return errno == 0 || system_error(e, o, "cannot open: ", errno);
    if (*exists && faccessat(AT_FDCWD, o->path, W_OK, AT_EACCESS) != 0)
        return system_error(e, o, "cannot write: ", errno);
    const char *slash = strrchr(o->path, '/');
    if (slash ? slash[1] == '\0' : o->path[0] == '\0')
        return system_error(e, o, "cannot create: ", EISDIR);
    return true;
}

static bool open_file(struct out *o, const char *path, struct error *e) {
    struct stat old;
    bool exists;
    if (!destination(o, path, &old, &exists, e))
        return false;
    return o->path ? open_part(o, exists ? &old : NULL, e) : open_straight(o, path, e);
}

// Takes the temporary name out of the table; false when a signal handler was faster.
static bool claim(struct out *o) {
    char *mine = o->part;
    return o->slot >= 0 && atomic_compare_exchange_strong(&unfinished[o->slot], &mine, NULL);
}

static void out_free(struct out *o) {
    if (o->file >= 0 && o->file != STDOUT_FILENO)
        close(o->file);
    free(o->name);
    free(o->path);
    free(o->part);
    free(o);
}

static struct out *out_new(const char *path, struct error *e) {
    struct out *o = memory_take(sizeof *o);
    *o = (struct out){.file = -1, .slot = -1};
    o->name = strdup(is_standard(path) ? "standard output" : path);
    if (o->name)
        return o;
    error_set(e, EXIT_SYSTEM, "out of memory");
    out_free(o);
    return NULL;
}

static bool no_terminal(const struct out *o, int file, struct error *e) {
    return !isatty(file) ||
           error_set(e, EXIT_USAGE, "%s: not writing binary data to a terminal; give a file or a pipe", o->name);
}

struct out *out_open(const char *path, bool binary, struct error *e) {
    struct out *o = out_new(path, e);
    if (o == NULL)
        return NULL;
    bool ok = true;
    if (is_standard(path)) {
        fflush(stdout);
        o->file = STDOUT_FILENO;
    } else {
        ok = open_file(o, path, e);
    }
    if (ok && (!binary || o->slot >= 0 || no_terminal(o, o->file, e)))
        return o;
    out_free(o);
    return NULL;
}

// Only a character device is opened to look at it: opening a FIFO would wait for its reader.
static bool check_file(struct out *o, const char *path, bool binary, struct error *e) {
    struct stat old;
    bool exists;
    if (!destination(o, path, &old, &exists, e))
        return false;
    if (o->path) {
        int length = directory_length(o->path);
        char *directory = length ? strndup(o->path, (size_t)length) : strdup(".");
        if (directory == NULL)
            return system_error(e, o, "", ENOMEM);
        bool ok = faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS) == 0;
        int number = errno;
        free(directory);
        return ok || system_error(e, o, "cannot create: ", number);
    }
    if (faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) != 0)
        return system_error(e, o, "cannot open: ", errno);
    if (binary && S_ISCHR(old.st_mode))
        o->file = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    return o->file < 0 || no_terminal(o, o->file, e);
}

bool out_check(const char *path, bool binary, struct error *e) {
    struct out *o = out_new(path, e);
    if (o == NULL)
        return false;
    bool ok = is_standard(path) ? !binary || no_terminal(o, STDOUT_FILENO, e) : check_file(o, path, binary, e);
    out_free(o);
    return ok;
}

bool path_is_dash(const char *path) {
    return path != NULL && strcmp(path, "-") == 0;
}

bool out_same_file(const char *a, const char *b) {
    struct stat first, second;
    if (a == NULL || b == NULL || path_is_dash(a) || path_is_dash(b))
        return false;
    if (stat(a, &first) != 0)
        return strcmp(a, b) == 0;
    return stat(b, &second) == 0 && S_ISREG(first.st_mode) && first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

// --- writing ---

static bool write_all(struct out *o, const char *bytes, size_t count, struct error *e) {
    while (count > 0 && !o->failure) {
        ssize_t written = write(o->file, bytes, count < 1u << 30 ? count : 1u << 30);
        if (written > 0) {
            bytes += written;
            count -= (size_t)written;
        } else if (written < 0 && errno == EAGAIN) {
            poll(&(struct pollfd){.fd = o->file, .events = POLLOUT}, 1, -1);
        } else if (written < 0 && errno == EPIPE && o->slot < 0) {
            out_pipe_closed();
        } else if (written == 0 || errno != EINTR) {
            o->failure = written == 0 ? EIO : errno;
        }
    }
    return !o->failure || system_error(e, o, "cannot write: ", o->failure);
}

static bool flush(struct out *o, struct error *e) {
    size_t used = o->used;
    o->used = 0;
    return write_all(o, o->buffer, used, e);
}

bool out_write(struct out *o, const void *bytes, size_t count, struct error *e) {
    if (count > sizeof o->buffer - o->used && !flush(o, e))
        return false;
    if (count >= sizeof o->buffer)
        return write_all(o, bytes, count, e);
    if (count > 0)
        memcpy(o->buffer + o->used, bytes, count);
    o->used += count;
    return !o->failure || system_error(e, o, "cannot write: ", o->failure);
}

bool out_print(struct out *o, struct error *e, const char *format, ...) {
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length < 0)
        return error_set(e, EXIT_SYSTEM, "out of memory");
    bool ok = out_write(o, text, (size_t)length, e);
    free(text);
    return ok;
}

bool out_close(struct out *o, struct error *e) {
    bool ok = flush(o, e);
    // Some file systems report a full disk only here. Standard output stays open: its copy is closed.
    if (ok && o->slot >= 0 && fsync(o->file) != 0 && errno != EINVAL && errno != ENOSYS)
        ok = system_error(e, o, "cannot write: ", errno);
    int last = o->file == STDOUT_FILENO ? fcntl(o->file, F_DUPFD_CLOEXEC, 3) : o->file;
    if (o->file != STDOUT_FILENO)
        o->file = -1;
    if (last >= 0 && close(last) != 0 && errno != EINTR && ok)
        ok = system_error(e, o, "cannot write: ", errno);
    if (ok && o->slot >= 0 && rename(o->part, o->path) != 0)
        ok = system_error(e, o, "cannot rename: ", errno);
    if (claim(o) && !ok)
        unlink(o->part);
    out_free(o);
    return ok;
}

void out_drop(struct out *o) {
    if (o == NULL)
        return;
    if (claim(o))
        unlink(o->part);
    out_free(o);
}

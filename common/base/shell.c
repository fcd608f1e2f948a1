// shell.c: children by posix_spawn. The end of one wakes the sleeper by SIGCHLD.
//
// The leader of a command's process group is a guard, a child that only waits for the end of its parent and then kills the
// group: however this program ends, by SIGKILL or by a fault of its own too, its commands end with it. The guard is collected
// last, so the group's number cannot have gone to somebody else before the group was killed.
#include "shell.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "arena.h"
#include "msg.h"
#include "out.h"

extern char **environ;

static const double grace = 2;    // seconds between asking and killing
static const double glance = .1;  // seconds between two looks at what a command printed

struct shell {
    pid_t group, command;  // the group by its leader, the guard
    FILE *printed, *said;
    double seconds, deadline;
    bool over, late, flooded;
    int status;  // of waitpid
    char why[64], last[240];
};

static void wake(int number) { (void)number; }

static void listen_for_children(void) {
    struct sigaction a = {.sa_handler = wake, .sa_flags = SA_NOCLDSTOP};
    sigemptyset(&a.sa_mask);
    sigaction(SIGCHLD, &a, NULL);
}

// A file that other children do not inherit. Whoever writes to it writes to its end, also after it was emptied.
static FILE *private_file(void) {
    FILE *f = tmpfile();
    if (f) fcntl(fileno(f), F_SETFD, FD_CLOEXEC);
    if (f) fcntl(fileno(f), F_SETFL, O_APPEND);
    return f;
}

// No signal is taken, each is a reason to look; the parent's end is one (PR_SET_PDEATHSIG). Nothing is kept open, or a reader
// of this program's output would wait for the guard.
static _Noreturn void guard(pid_t parent) {
    sigset_t all;
    int number;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGHUP);
    close_range(0, ~0u, 0);
    while (getppid() == parent) sigwait(&all, &number);
    kill(-getpid(), SIGKILL);
    _exit(EXIT_DONE);
}

static int start_guard(struct shell *s) {
    pid_t parent = getpid();
    s->group = fork();
    if (s->group < 0) return errno;
    if (!s->group) guard(parent);
    setpgid(s->group, s->group);  // whichever of the two comes first
    return 0;
}

static int collect(pid_t child) {
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    return status;
}

// The whole group, and its guard with it.
static void kill_group(struct shell *s) {
    kill(-s->group, SIGKILL);
    collect(s->group);
}

static int spawn(struct shell *s, const char *command) {
    char *const arguments[] = {"sh", "-c", (char *)command, NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, plain;
    sigemptyset(&none);
    sigemptyset(&plain);  // what this program ignores or handles is the shell's own business
    for (const int *n = (const int[]){SIGXFSZ, SIGPIPE, SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGCHLD, 0}; *n; n++)
        sigaddset(&plain, *n);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, fileno(s->printed), STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&files, fileno(s->said), STDERR_FILENO);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&attributes, s->group);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &plain);
    int failure = posix_spawn(&s->command, "/bin/sh", &files, &attributes, arguments, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    return failure;
}

static void free_shell(struct shell *s) {
    if (s->printed) fclose(s->printed);
    if (s->said) fclose(s->said);
    free(s);
}

struct shell *shell_start(const char *command, double seconds, struct error *e) {
    struct shell *s = memory_zero(sizeof *s);
    listen_for_children();
    s->printed = private_file();
    s->said = private_file();
    s->seconds = seconds;
    s->deadline = seconds > 0 ? msg_clock() + seconds : INFINITY;
    int failure = s->printed && s->said ? start_guard(s) : errno;
    if (!failure && (failure = spawn(s, command))) kill_group(s);
    if (!failure) return s;
    error_set(e, EXIT_SYSTEM, "/bin/sh: cannot start it: %s", strerror(failure));
    free_shell(s);
    return NULL;
}

// ---- ends

static off_t length(FILE *f) {
    struct stat there;
    return fstat(fileno(f), &there) ? 0 : there.st_size;
}

// The line that says what went wrong is the last one, as a rule.
static void last_line(struct shell *s) {
    char tail[4096], *rest;
    off_t size = length(s->said), most = sizeof tail - 1, from = size > most ? size - most : 0;
    ssize_t got = pread(fileno(s->said), tail, sizeof tail - 1, from);
    tail[got > 0 ? got : 0] = 0;
    for (ssize_t i = 0; i < got; i++)
        if (!tail[i]) tail[i] = '?';
    for (char *line = strtok_r(tail, "\r\n", &rest); line; line = strtok_r(NULL, "\r\n", &rest))
        if (line[strspn(line, " \t")]) snprintf(s->last, sizeof s->last, "%s", line);
}

// Whether it is over; then the group is gone too.
static bool over(struct shell *s) {
    if (s->over) return true;
    if (waitpid(s->command, &s->status, WNOHANG) != s->command) return false;
    kill_group(s);
    s->over = true;
    last_line(s);
    if (s->flooded || length(s->printed) > SHELL_PRINTED_MOST)
        snprintf(s->why, sizeof s->why, "it printed more than %d MiB", SHELL_PRINTED_MOST >> 20);
    else if (s->late)
        snprintf(s->why, sizeof s->why, "still ran after %g s", s->seconds);
    else if (WIFSIGNALED(s->status))
        snprintf(s->why, sizeof s->why, "killed by signal %d", WTERMSIG(s->status));
    else if (WEXITSTATUS(s->status))
        snprintf(s->why, sizeof s->why, "exit status %d", WEXITSTATUS(s->status));
    return true;
}

// One that is late is asked to end, then killed.
static void hurry(struct shell *s) {
    double now = msg_clock();
    if (s->over || now < s->deadline) return;
    kill(-s->group, s->late ? SIGKILL : SIGTERM);
    s->deadline = s->late ? INFINITY : now + grace;
    s->late = true;
}

// Neither stream may fill the disk: no result is as long as that, and of what was said only the end is asked for.
static void limit_output(struct shell *s) {
    if (s->over) return;
    if (length(s->printed) > SHELL_PRINTED_MOST) {
        kill(-s->group, SIGKILL);
        s->flooded = true;
    }
    if (length(s->said) > SHELL_PRINTED_MOST) {
        last_line(s);
        if (ftruncate(fileno(s->said), 0)) (void)0;  // tried again at the next glance
    }
}

// Until a signal comes or `until`, a glance at most.
static bool sleep_until(double until, bool watch, const sigset_t *mask) {
    struct timespec t = {0, (long)(1e9 * fmin(fmax(until - msg_clock(), 0), glance))};
    struct pollfd reader = {.fd = watch ? STDOUT_FILENO : -1};
    return ppoll(&reader, 1, &t, mask) == 1 && reader.revents & (POLLERR | POLLHUP | POLLNVAL);
}

static double nearest(struct shell *const *s, int count) {
    double until = INFINITY;
    for (int i = 0; i < count; i++) until = fmin(until, s[i]->over ? INFINITY : s[i]->deadline);
    return until;
}

int shell_wait(struct shell *const *s, int count, bool watch) {
    sigset_t block, before;
    int place = SHELL_STOPPED;
    BUG_IF(count < 1, "nothing to wait for");
    sigemptyset(&block);
    for (const int *n = (const int[]){SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGCHLD, 0}; *n; n++) sigaddset(&block, *n);
    pthread_sigmask(SIG_BLOCK, &block, &before);  // so that none comes between looking and sleeping
    while (!out_stopping()) {
        for (int i = 0; i < count && place < 0; i++)
            if (over(s[i])) place = i;
        if (place >= 0) break;
        for (int i = 0; i < count; i++) {
            hurry(s[i]);
            limit_output(s[i]);
        }
        if (sleep_until(nearest(s, count), watch, &before)) {
            place = SHELL_UNREAD;
            break;
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return place;
}

const char *shell_failure(const struct shell *s) { return *s->why ? s->why : NULL; }
const char *shell_said(const struct shell *s) { return s->last; }

char *shell_printed(const struct shell *s, size_t *size) {
    *size = (size_t)length(s->printed);
    char *text = memory_take(*size + 1);
    if (pread(fileno(s->printed), text, *size, 0) != (ssize_t)*size) {
        free(text);
        return NULL;
    }
    text[*size] = 0;
    return text;
}

void shell_end(struct shell **s, int count) {
    double until = msg_clock() + grace;
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    for (int i = 0; i < count; i++)
        if (!over(s[i])) kill(-s[i]->group, SIGTERM);
    for (int left = count; left && msg_clock() < until;) {
        left = 0;
        for (int i = 0; i < count; i++) left += !over(s[i]);
        if (left) sleep_until(fmin(until, msg_clock() + .05), false, &mask);
    }
    for (int i = 0; i < count; i++) {
        if (!s[i]->over) {
            kill_group(s[i]);
            collect(s[i]->command);
        }
        free_shell(s[i]);
        s[i] = NULL;
    }
}

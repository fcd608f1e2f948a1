// shell.c: children by posix_spawn. The end of one wakes the sleeper by SIGCHLD; it is left a zombie until its group is
// killed, so that the group's number cannot have gone to somebody else.
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
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "arena.h"
#include "msg.h"
#include "out.h"

extern char **environ;

static const double grace = 2;  // seconds between asking and killing

struct shell {
    pid_t group;  // and its leader
    FILE *printed, *said;
    double seconds, deadline;
    bool over, late;
    int status;  // of waitpid
    char why[64], last[240];
};

static void wake(int number) { (void)number; }

static void listen_for_children(void) {
    struct sigaction a = {.sa_handler = wake, .sa_flags = SA_NOCLDSTOP};
    sigemptyset(&a.sa_mask);
    sigaction(SIGCHLD, &a, NULL);
}

// A file that other children do not inherit.
static FILE *private_file(void) {
    FILE *f = tmpfile();
    if (f) fcntl(fileno(f), F_SETFD, FD_CLOEXEC);
    return f;
}

static int spawn(struct shell *s, const char *command) {
    char *const arguments[] = {"sh", "-c", (char *)command, NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, plain;
    sigemptyset(&none);
    sigemptyset(&plain);  // what this program ignores or handles is the shell's own business
    for (const int *n = (const int[]){SIGXFSZ, SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGCHLD, 0}; *n; n++)
        sigaddset(&plain, *n);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, fileno(s->printed), STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&files, fileno(s->said), STDERR_FILENO);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &plain);
    int failure = posix_spawn(&s->group, "/bin/sh", &files, &attributes, arguments, environ);
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
    int failure = s->printed && s->said ? spawn(s, command) : errno;
    if (!failure) return s;
    error_set(e, EXIT_SYSTEM, "/bin/sh: cannot start it: %s", strerror(failure));
    free_shell(s);
    return NULL;
}

// ---- ends

// The line that says what went wrong is the last one, as a rule.
static void last_line(struct shell *s) {
    char line[sizeof s->last];
    rewind(s->said);
    while (fgets(line, sizeof line, s->said)) {
        line[strcspn(line, "\n")] = 0;
        if (line[strspn(line, " \t")]) memcpy(s->last, line, sizeof line);
    }
}

// Whether it is over; then the group is gone too.
static bool over(struct shell *s) {
    siginfo_t info = {0};
    if (s->over) return true;
    if (waitid(P_PID, (id_t)s->group, &info, WEXITED | WNOHANG | WNOWAIT) || !info.si_pid) return false;
    kill(-s->group, SIGKILL);
    while (waitpid(s->group, &s->status, 0) < 0 && errno == EINTR) continue;
    s->over = true;
    last_line(s);
    if (s->late)
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

// Until a signal comes or `until`. A signal that another thread took is seen a second later.
static bool sleep_until(double until, bool watch, const sigset_t *mask) {
    double left = fmin(fmax(until - msg_clock(), 0), 1);
    struct timespec t = {(time_t)left, (long)(1e9 * (left - floor(left)))};
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
    for (const int *n = (const int[]){SIGINT, SIGTERM, SIGHUP, SIGCHLD, 0}; *n; n++) sigaddset(&block, *n);
    pthread_sigmask(SIG_BLOCK, &block, &before);  // so that none comes between looking and sleeping
    while (!out_stopping()) {
        for (int i = 0; i < count && place < 0; i++)
            if (over(s[i])) place = i;
        if (place >= 0) break;
        for (int i = 0; i < count; i++) hurry(s[i]);
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

char *shell_printed(const struct shell *s, size_t most, size_t *size) {
    struct stat there;
    if (fstat(fileno(s->printed), &there) || there.st_size < 0 || (size_t)there.st_size > most) return NULL;
    *size = (size_t)there.st_size;
    char *text = memory_take(*size + 1);
    ssize_t got = pread(fileno(s->printed), text, *size, 0);
    if (got != (ssize_t)*size) {
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
            kill(-s[i]->group, SIGKILL);
            while (waitpid(s[i]->group, &s[i]->status, 0) < 0 && errno == EINTR) continue;
        }
        free_shell(s[i]);
        s[i] = NULL;
    }
}

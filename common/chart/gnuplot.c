// gnuplot.c: one run of gnuplot. The script is a file it reads, its complaints are a file it writes, so only its
// output is a pipe, and nobody can wait for the other for ever.
#include "gnuplot.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../base/arena.h"

extern char **environ;

static bool drain(int from, char **output, size_t *size) {
    size_t room = 0;
    *output = NULL;
    *size = 0;
    for (;;) {
        if (*size + 1 >= room) *output = memory_grow(*output, room = room ? 2 * room : 1 << 16);
        ssize_t got = read(from, *output + *size, room - *size - 1);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            (*output)[*size] = 0;
            return got == 0;
        }
        *size += (size_t)got;
    }
}

// The line of its complaints that says what is wrong: the last that is not blank.
static void complaint(FILE *f, char out[200]) {
    char line[200];
    rewind(f);
    snprintf(out, 200, "no message");
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        if (line[strspn(line, " \t^")]) snprintf(out, 200, "%s", line);
    }
}

static bool ran(FILE *script, FILE *said, char **output, size_t *size, struct error *e) {
    // -d: no start-up files, so that a picture does not depend on who makes it.
    char *const arguments[] = {"gnuplot", "-d", "-", NULL};
    int link[2], status = 0;
    if (pipe(link)) return error_set(e, EXIT_SYSTEM, "gnuplot: no pipe: %s", strerror(errno));
    posix_spawn_file_actions_t a;
    posix_spawn_file_actions_init(&a);
    posix_spawn_file_actions_adddup2(&a, fileno(script), STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&a, link[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&a, fileno(said), STDERR_FILENO);
    posix_spawn_file_actions_addclose(&a, link[0]);
    posix_spawn_file_actions_addclose(&a, link[1]);
    pid_t child;
    int failure = posix_spawnp(&child, "gnuplot", &a, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&a);
    close(link[1]);
    bool fine = !failure && drain(link[0], output, size);
    close(link[0]);
    if (failure == ENOENT)
        return error_set(e, EXIT_SYSTEM, "charts need the program gnuplot: install the package gnuplot-nox");
    if (failure) return error_set(e, EXIT_SYSTEM, "gnuplot: %s", strerror(failure));
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    if (fine && WIFEXITED(status) && WEXITSTATUS(status) == 0 && *size) return true;
    char why[200];
    complaint(said, why);
    free(*output);
    return error_set(e, EXIT_SYSTEM, "gnuplot failed: %s", why);
}

bool gnuplot_run(const char *script, char **output, size_t *size, struct error *e) {
    FILE *in = tmpfile(), *said = tmpfile();
    bool fine = in && said && fputs(script, in) >= 0 && fflush(in) == 0 && fseek(in, 0, SEEK_SET) == 0;
    if (!fine) error_set(e, EXIT_SYSTEM, "gnuplot: no room for a temporary file: %s", strerror(errno));
    fine = fine && ran(in, said, output, size, e);
    if (in) fclose(in);
    if (said) fclose(said);
    return fine;
}

// Outputs are there whole or not at all: full disks, signals, closed pipes, links, devices, modes. And the lines
// of msg.h, which end programs.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/msg.h"
#include "base/out.h"

static char home[] = "/tmp/assay-out-XXXXXX";

static int set_up(void **state) {
    (void)state;
    umask(022);
    return mkdtemp(home) && chdir(home) == 0 ? 0 : -1;
}

static int clear(void **state) {
    (void)state;
    DIR *d = opendir(".");
    for (struct dirent *f; d && (f = readdir(d));)
        if (f->d_name[0] != '.' || strstr(f->d_name, ".part"))
            if (unlink(f->d_name) != 0)
                rmdir(f->d_name);
    closedir(d);
    return 0;
}

static int tear_down(void **state) {
    clear(state);
    return rmdir(home);
}

static int files(void) {
    int count = 0;
    DIR *d = opendir(".");
    for (struct dirent *f; (f = readdir(d));)
        count += strcmp(f->d_name, ".") != 0 && strcmp(f->d_name, "..") != 0;
    closedir(d);
    return count;
}

static const char *content(const char *path) {
    static char text[8000];
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return "(missing)";
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    return text;
}

static void put(const char *path, const char *text) {
    struct error e = {0};
    struct out *o = out_open(path, true, &e);
    if (!o || !out_write(o, text, strlen(text), &e) || !out_close(o, &e))
        fail_msg("%s: %s", path, e.text);
}

static mode_t mode(const char *path) {
    struct stat s;
    assert_int_equal(stat(path, &s), 0);
    return s.st_mode & 07777;
}

static void test_whole_or_not_at_all(void **state) {
    (void)state;
    struct error e = {0};
    put("a", "old");
    struct out *o = out_open("a", true, &e);
    assert_true(out_write(o, "new", 3, &e));
    assert_true(out_print(o, &e, " %d", 42));
    assert_string_equal(content("a"), "old");
    assert_int_equal(files(), 2);
    assert_true(out_close(o, &e));
    assert_string_equal(content("a"), "new 42");
    assert_int_equal(files(), 1);

    o = out_open("a", true, &e);
    assert_true(out_write(o, "never", 5, &e));
    out_drop(o);
    assert_string_equal(content("a"), "new 42");
    assert_int_equal(files(), 1);
    out_drop(NULL);
    assert_int_equal(e.status, EXIT_DONE);
}

static void test_large_and_small_pieces(void **state) {
    (void)state;
    struct error e = {0};
    enum { N = 300000 };
    char *x = malloc(N), *y = malloc(N + 1);
    for (int i = 0; i < N; i++)
        x[i] = (char)(i * 7 + i / 256);
    struct out *o = out_open("big", true, &e);
    for (size_t at = 0, n = 1; at < N; at += n, n = n * 3 % 100003) {
        if (n > N - at)
            n = N - at;
        assert_true(out_write(o, x + at, n, &e));
    }
    assert_true(out_write(o, NULL, 0, &e));
    assert_true(out_close(o, &e));
    FILE *f = fopen("big", "r");
    assert_int_equal(fread(y, 1, N + 1, f), N);
    fclose(f);
    assert_memory_equal(x, y, N);
    free(x);
    free(y);
}

static void test_modes_and_links(void **state) {
    (void)state;
    umask(027);
    put("fresh", "x");
    assert_int_equal(mode("fresh"), 0640);
    umask(022);
    put("fresh2", "x");
    assert_int_equal(mode("fresh2"), 0644);
    assert_int_equal(chmod("fresh", 0600), 0);
    put("fresh", "y");
    assert_int_equal(mode("fresh"), 0600);  // a private file stays private

    assert_int_equal(mkdir("sub", 0755), 0);
    assert_int_equal(symlink("sub/target", "link"), 0);
    assert_int_equal(symlink("link", "link2"), 0);
    struct stat s;
    for (int i = 0; i < 2; i++) {  // first to nothing, then to a file
        put("link2", i ? "second" : "first");
        assert_string_equal(content("sub/target"), i ? "second" : "first");
        assert_true(lstat("link", &s) == 0 && S_ISLNK(s.st_mode));
        assert_true(lstat("link2", &s) == 0 && S_ISLNK(s.st_mode));
    }
    assert_int_equal(unlink("sub/target"), 0);
    assert_int_equal(symlink("b", "loop"), 0);
    assert_int_equal(symlink("loop", "b"), 0);
    struct error e = {0};
    assert_null(out_open("loop", true, &e));
    assert_int_equal(e.status, EXIT_SYSTEM);
}

static void refuse(const char *path, const char *why) {
    struct error e = {0};
    struct out *o = out_open(path, true, &e);
    if (o || e.status != EXIT_SYSTEM || !strstr(e.text, why) || strncmp(e.text, path, strlen(path)) != 0)
        fail_msg("%s: '%s'", path, e.text);
    struct error told = {0};
    if (out_check(path, true, &told) || told.status != e.status || strcmp(told.text, e.text) != 0)
        fail_msg("%s: '%s' when checked, '%s' when opened", path, told.text, e.text);
}

static void test_check_touches_nothing(void **state) {
    (void)state;
    struct error e = {0};
    put("a", "kept");
    assert_int_equal(mkfifo("fifo", 0600), 0);  // without a reader: opening it would wait
    assert_int_equal(mkdir("shut", 0500), 0);
    assert_int_equal(symlink("later", "link"), 0);
    const char *good[] = {"a", "new", "./new", "fifo", "link", "/dev/null", "/dev/full"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!out_check(good[i], true, &e))
            fail_msg("%s: %s", good[i], e.text);
    assert_int_equal(files(), 4);
    struct stat s;
    assert_true(stat("a", &s) == 0 && s.st_size == 4);

    bool root = geteuid() == 0;  // whom no mode stops
    if (root)
        assert_true(chmod(".", 0755) == 0 && chown("shut", 65534, 0) == 0 && seteuid(65534) == 0);
    bool fine = out_check("shut/a", true, &e);
    if (root)
        assert_int_equal(seteuid(0), 0);
    assert_false(fine);
    assert_int_equal(e.status, EXIT_SYSTEM);
    assert_non_null(strstr(e.text, "shut/a: cannot create: Permission denied"));
}

static void test_no_binary_to_a_terminal(void **state) {
    (void)state;
    int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    char *name = terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0 ? ptsname(terminal) : NULL;
    if (!name)
        skip();
    struct error opened = {0}, checked = {0};
    assert_null(out_open(name, true, &opened));
    assert_false(out_check(name, true, &checked));
    assert_int_equal(checked.status, EXIT_USAGE);
    assert_string_equal(checked.text, opened.text);
    assert_true(out_check(name, false, &checked));

    int side = open(name, O_WRONLY | O_NOCTTY), kept = dup(STDOUT_FILENO);
    fflush(stdout);
    dup2(side, STDOUT_FILENO);
    checked = (struct error){0};
    bool binary = out_check(NULL, true, &checked), text = out_check("-", false, &opened);
    dup2(kept, STDOUT_FILENO);
    close(kept);
    close(side);
    close(terminal);
    assert_true(text && !binary);
    assert_int_equal(checked.status, EXIT_USAGE);
}

static void test_cannot_open(void **state) {
    (void)state;
    refuse("nowhere/a", "No such file or directory");
    refuse(".", "Is a directory");
    refuse("new/", "");
    refuse("", "");
    put("a", "x");
    refuse("a/b", "Not a directory");
    assert_int_equal(chmod("a", 0444), 0);
    if (geteuid() != 0)
        refuse("a", "Permission denied");
    assert_int_equal(files(), 1);
}

static void test_devices(void **state) {
    (void)state;
    struct stat before, after;
    stat("/dev/null", &before);
    put("/dev/null", "into nothing");
    stat("/dev/null", &after);
    assert_true(S_ISCHR(after.st_mode) && before.st_ino == after.st_ino && before.st_rdev == after.st_rdev);

    for (int large = 0; large < 2; large++) {
        struct error e = {0};
        static char x[200000];
        struct out *o = out_open("/dev/full", true, &e);
        assert_non_null(o);
        bool wrote = out_write(o, x, large ? sizeof x : 10, &e);
        assert_int_equal(wrote, !large);
        assert_false(out_close(o, &e));
        assert_int_equal(e.status, EXIT_SYSTEM);
        assert_string_equal(e.text, "/dev/full: cannot write: No space left on device");
        assert_int_equal(stat("/dev/full", &after), 0);
    }

    assert_int_equal(mkfifo("fifo", 0600), 0);
    int reader = open("fifo", O_RDONLY | O_NONBLOCK);
    put("fifo", "through");
    char text[20] = {0};
    assert_int_equal(read(reader, text, sizeof text), 7);
    assert_string_equal(text, "through");
    close(reader);
    struct stat s;
    assert_true(stat("fifo", &s) == 0 && S_ISFIFO(s.st_mode));
}

// Runs `play` in a child with stdout and stderr in files "out" and "err" (or stdout as given). Returns the exit status,
// or 1000 + signal.
static int apart(void (*play)(void), int stdout_file) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        dup2(stdout_file >= 0 ? stdout_file : open("out", O_WRONLY | O_CREAT | O_TRUNC, 0644), 1);
        dup2(open("err", O_WRONLY | O_CREAT | O_TRUNC, 0644), 2);
        play();
        _exit(77);
    }
    int status;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static struct out *half_done(const char *path) {
    struct error e = {0};
    static char x[100000];
    static struct out *open[8];  // seen by a leak check: these are left open on purpose
    static int count;
    struct out *o = open[count++] = out_open(path, true, &e);
    if (!o || !out_write(o, x, sizeof x, &e))
        _exit(78);
    return o;
}

static int which;

static void play_ends(void) {
    msg_open("tool");
    half_done("result");
    half_done("other");
    struct error e = {0};
    switch (which) {
    case 0: raise(SIGINT); break;
    case 1: raise(SIGTERM); break;
    case 2:
        error_set(&e, EXIT_INPUT, "model.st: no tensor 'x'");
        msg_fail(&e);
    case 3: msg_usage("option --eps: %s", "missing");
    case 4: exit(9);
    case 5: BUG("node %d", 7);
    case 6:
        out_graceful();
        raise(SIGTERM);
        if (!out_stopping())
            _exit(79);
        out_interrupted();
    case 7:
        out_graceful();
        raise(SIGINT);
        raise(SIGINT);  // the second does not wait
        break;
    case 8: raise(SIGQUIT); break;
    case 9:
        signal(SIGHUP, SIG_DFL);
        msg_open("tool");
        raise(SIGHUP);
        break;
    case 10:
        signal(SIGHUP, SIG_IGN);  // nohup
        msg_open("tool");
        raise(SIGHUP);
        exit(9);
    }
}

static void test_no_end_leaves_anything(void **state) {
    (void)state;
    static const int status[] = {130, 143, EXIT_INPUT, EXIT_USAGE, 9, 1000 + SIGABRT, 143, 130, 131, 129, 9};
    static const char *const said[] = {"", "", "tool: error: model.st: no tensor 'x'\n",
                                       "tool: error: option --eps: missing\ntool: try 'tool --help'\n", "", "bug: ", "", "", "", "", ""};
    struct rlimit none = {0};
    setrlimit(RLIMIT_CORE, &none);
    for (which = 0; which < 11; which++) {
        assert_int_equal(apart(play_ends, -1), status[which]);
        assert_int_equal(files(), 2);  // out and err
        assert_memory_equal(content("err"), said[which], strlen(said[which]));
        if (which < 5)
            assert_string_equal(content("err"), said[which]);
        assert_string_equal(content("out"), "");
    }
}

static void play_child_exits(void) {
    struct error e = {0};
    struct out *o = half_done("result");
    pid_t child = fork();
    if (child == 0)
        exit(0);
    waitpid(child, NULL, 0);
    _exit(out_close(o, &e) ? 0 : 80);
}

static void test_a_child_does_not_remove_its_parents_file(void **state) {
    (void)state;
    assert_int_equal(apart(play_child_exits, -1), 0);
    assert_int_equal(strlen(content("result")), 0);  // zero bytes, as text
    struct stat s;
    assert_true(stat("result", &s) == 0 && s.st_size == 100000);
}

static void play_limit(void) {
    msg_open("tool");
    struct rlimit limit = {.rlim_cur = 50000, .rlim_max = 50000};
    setrlimit(RLIMIT_FSIZE, &limit);
    struct error e = {0};
    static char x[100000];
    struct out *o = out_open("result", true, &e);
    if (!o || out_write(o, x, sizeof x, &e))
        _exit(78);
    if (out_close(o, &(struct error){0}))
        _exit(79);
    msg_fail(&e);
}

static void test_no_room(void **state) {
    (void)state;
    assert_int_equal(apart(play_limit, -1), EXIT_SYSTEM);
    assert_string_equal(content("err"), "tool: error: result: cannot write: File too large\n");
    assert_int_equal(files(), 2);
}

static void play_pipe(void) {
    if (which == 1)
        signal(SIGPIPE, SIG_IGN);  // as some callers leave it
    msg_open("tool");
    half_done("result");
    struct error e = {0};
    static char x[300000];
    if (which == 2) {
        for (int i = 0; i < 10000; i++)
            printf("line %d\n", i);
        exit(msg_close());
    }
    struct out *o = out_open("-", true, &e);
    out_write(o, x, sizeof x, &e);
    out_close(o, &e);
    msg_fail(&e);
}

static void test_closed_pipe_is_quiet(void **state) {
    (void)state;
    for (which = 0; which < 3; which++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        close(ends[0]);
        assert_int_equal(apart(play_pipe, ends[1]), EXIT_DONE);
        close(ends[1]);
        assert_string_equal(content("err"), "");
        assert_int_equal(files(), 1);
    }
}

static void play_other_pipe(void) {
    msg_open("tool");
    int ends[2];
    if (pipe(ends) != 0 || close(ends[0]) != 0)
        _exit(78);
    _exit(write(ends[1], "x", 1) < 0 && errno == EPIPE ? 0 : 79);
}

static void test_another_broken_pipe_is_an_error_there(void **state) {
    (void)state;
    assert_int_equal(apart(play_other_pipe, -1), 0);
}

static void play_closed(void) {
    close(1);
    msg_open("tool");
    struct error e = {0};
    put("result", "whole");  // must not become file 1
    if (which == 0) {
        printf("hello\n");
        exit(msg_close());
    }
    struct out *o = out_open("-", true, &e);
    out_write(o, "hello", 5, &e);
    if (out_close(o, &e))
        _exit(78);
    msg_fail(&e);
}

static void test_closed_standard_output(void **state) {
    (void)state;
    for (which = 0; which < 2; which++) {
        assert_int_equal(apart(play_closed, -1), EXIT_SYSTEM);
        assert_non_null(strstr(content("err"), "standard output: cannot write: "));
        assert_string_equal(content("result"), "whole");
    }
}

static void play_lines(void) {
    msg_open("tool");
    msg_verbosity(which);
    msg_say("say %d\nsecond line", 1);
    msg_more("more");
    msg_warn("careful: \033[2J");
    struct progress p;
    progress_open(&p, "images", 1000);
    for (long i = 1; i <= 1000; i++)
        progress_step(&p, i, "loss 0.5");
    progress_close(&p);
    exit(msg_close());
}

static void test_lines(void **state) {
    (void)state;
    static const int lines[] = {1, 14, 15};  // warning; 2 said, warning, 10 tenths, closing line; and one more
    for (which = -1; which <= 1; which++) {
        assert_int_equal(apart(play_lines, -1), EXIT_DONE);
        const char *text = content("err");
        int count = 0;
        for (const char *c = text; *c; c = strchr(c, '\n') + 1) {
            assert_memory_equal(c, "tool: ", 6);
            count++;
        }
        assert_int_equal(count, lines[which + 1]);
        assert_non_null(strstr(text, "tool: warning: careful: ?[2J\n"));
        assert_null(strchr(text, '\033'));
        if (which < 0)
            continue;
        assert_non_null(strstr(text, "tool: say 1\ntool: second line\n"));
        assert_non_null(strstr(text, "tool: 100/1000 images, "));
        assert_non_null(strstr(text, " left, loss 0.5\n"));
        assert_null(strstr(text, "tool: 101/1000"));
        double wall, cpu, peak;
        const char *last = strstr(text, "tool: " ASSAY_VERSION ", ");
        assert_non_null(last);
        assert_int_equal(sscanf(last, "tool: " ASSAY_VERSION ", %lf s wall, %lf s CPU, %lf MiB peak", &wall, &cpu, &peak), 3);
        assert_true(wall >= 0 && wall < 60 && peak >= 1);
    }
}

// Outputs that would overwrite each other are known by the file, not by the name; devices take any number.
static void test_same_file(void **state) {
    (void)state;
    assert_true(path_is_dash("-") && !path_is_dash(NULL) && !path_is_dash("./-"));
    assert_true(out_same_file("new", "new"));
    assert_false(out_same_file("new", "other"));
    assert_int_equal(close(open("there", O_CREAT | O_WRONLY, 0600)), 0);
    assert_int_equal(symlink("there", "link"), 0);
    assert_true(out_same_file("there", "link") && out_same_file("./there", "there"));
    assert_false(out_same_file("there", "new"));
    assert_false(out_same_file("-", "-") || out_same_file(NULL, "there") || out_same_file("/dev/null", "/dev/null"));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, NULL, clear)
    const struct CMUnitTest tests[] = {
        TEST(test_whole_or_not_at_all), TEST(test_large_and_small_pieces), TEST(test_modes_and_links),
        TEST(test_cannot_open), TEST(test_check_touches_nothing),
        TEST(test_no_binary_to_a_terminal), TEST(test_devices), TEST(test_no_end_leaves_anything),
        TEST(test_a_child_does_not_remove_its_parents_file), TEST(test_no_room), TEST(test_closed_pipe_is_quiet),
        TEST(test_another_broken_pipe_is_an_error_there), TEST(test_closed_standard_output), TEST(test_same_file),
        TEST(test_lines),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

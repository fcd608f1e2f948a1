// report: one page on what classifiers are worth and what they withstand, out of the blobs of other programs.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../common/base/arena.h"
#include "../common/base/msg.h"
#include "../common/base/opt.h"
#include "../common/base/out.h"
#include "../common/chart/figures.h"
#include "../common/chart/memberships.h"
#include "../common/chart/montage.h"
#include "../common/chart/page.h"
#include "../common/chart/rows.h"
#include "../common/chart/scores.h"
#include "../common/chart/summary.h"
#include "../common/chart/wall.h"
#include "../common/io/gate.h"
#include "../common/io/png.h"

static struct {
    const char *output, *title, *fail_if;
    bool json;
} o;

static struct opt opts[] = {
    {"output", 'o', OPT_FILE, &o.output, "DIR", "directory for the report, made where there is none", NULL, 0, 0,
     false},
    {"title", 't', OPT_TEXT, &o.title, "TEXT", "title of the page", NULL, 0, 0, false},
    {"fail-if", 0, OPT_TEXT, &o.fail_if, "EXPR",
     "exit with 1 where this holds of the summary, such as mlp.clean.accuracy<.8", NULL, 0, 0, false},
    {"json", 0, OPT_FLAG, &o.json, NULL, "print the summary; write files only where -o says", NULL, 0, 0, false},
};

static struct program program = {
    .name = "report",
    .summary = "one page on what classifiers are worth and what they withstand",
    .operands = "[BLOB ...]",
    .operands_min = 0,
    .operands_max = -1,
    .opts = opts,
    .count = sizeof opts / sizeof *opts,
    .examples = "report mlp.st result.st -o report\n"
                "attack mlp.st -i test.st | report mlp.st - -o report --title \"First look\"\n"
                "report mlp.st result.st --json --fail-if 'mlp.strongest.eps_0p1.accuracy>.9'",
    .see_also = "trainclf(1), attack(1), mia(1), ssim(1), tune(1), tensor(1), blob(5)",
};

// The report's directory may have to be made, and those above it too: the first one that is not there counts.
static bool check_directory(struct error *e) {
    char path[4200];
    struct stat there;
    if (strlen(o.output) >= 4000) return error_set(e, EXIT_USAGE, "%s: too long a name", o.output);
    snprintf(path, sizeof path, "%s", o.output);
    for (char *c = path + 1;; c++) {
        if (*c && *c != '/') continue;
        char kept = *c;
        *c = 0;
        if (stat(path, &there)) return out_check(path, false, e);
        if (!S_ISDIR(there.st_mode)) return error_set(e, EXIT_SYSTEM, "%s: a directory expected", path);
        *c = kept;
        if (!kept) break;
    }
    strcat(path, "/report.html");
    return out_check(path, false, e);
}

static void check(void) {
    struct error e = {0};
    if (!o.output && !o.json) msg_usage("-o DIR is missing");
    if (o.output && (!*o.output || !strcmp(o.output, "-"))) msg_usage("-o DIR: a report is a directory");
    if (o.output && !check_directory(&e)) msg_fail(&e);
}

// ---- reading

struct pictures {
    int count;
    struct one {
        char digest[65];  // of the attack, or of the score
        bool wall;
        struct montage montage;
    } *one;
};

static void take_pictures(struct pictures *p, const struct blob *b) {
    struct montage made[MONTAGE_METHODS];
    int count = montages_of(b, made);
    p->one = memory_grow(p->one, (size_t)(p->count + count + 1) * sizeof *p->one);
    for (int i = 0; i < count; i++) {
        struct one *one = &p->one[p->count++];
        memcpy(one->digest, b->digest, sizeof one->digest);
        one->wall = false;
        one->montage = made[i];
    }
}

static void take_wall(struct pictures *p, const struct blob *b) {
    struct picture *wall = wall_of(b);
    if (!wall) return;
    p->one = memory_grow(p->one, (size_t)(p->count + 1) * sizeof *p->one);
    struct one *one = &p->one[p->count++];
    *one = (struct one){.wall = true, .montage = {.method = "wall", .picture = wall}};
    memcpy(one->digest, b->digest, sizeof one->digest);
}

// Counts in *shown what a report can show.
static bool read_all(const char *path, struct summary *s, struct pictures *p, int *shown, struct error *e) {
    struct blob_stream *stream = blob_stream_open(path, e);
    struct blob *b;
    while (stream && (b = blob_next(stream, e))) {
        bool attack = !strcmp(b->kind, "attack");
        summary_add(s, b);
        if (attack) take_pictures(p, b);
        if (scores_shown(b)) take_wall(p, b);
        *shown += attack || !strcmp(b->kind, "model") || !strcmp(b->kind, "trials") || scores_shown(b) || memberships_shown(b);
        blob_free(b);
    }
    blob_stream_close(stream);
    return !e->status;
}

// ---- writing

static bool make_directory(const char *path, struct error *e) {
    char part[4096];
    struct stat there;
    if ((size_t)snprintf(part, sizeof part, "%s", path) >= sizeof part)
        return error_set(e, EXIT_USAGE, "%s: too long a name", path);
    for (char *c = part + 1;; c++) {
        if (*c && *c != '/') continue;
        char kept = *c;
        *c = 0;
        if (mkdir(part, 0777) && errno != EEXIST)
            return error_set(e, EXIT_SYSTEM, "%s: cannot make the directory: %s", part, strerror(errno));
        *c = kept;
        if (!kept) break;
    }
    if (stat(path, &there) || !S_ISDIR(there.st_mode))
        return error_set(e, EXIT_SYSTEM, "%s: a directory expected", path);
    return true;
}

static bool write_to(const char *path, const char *text, struct error *e) {  // NULL: standard output
    struct out *out = out_open(path, false, e);
    if (!out) return false;
    if (out_write(out, text, strlen(text), e)) return out_close(out, e);
    out_drop(out);
    return false;
}

static bool write_text(const char *name, const char *text, struct error *e) {
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", o.output, name);
    return write_to(path, text, e);
}

static bool load(const char *path, struct chart_bytes *to, struct error *e) {
    FILE *f = fopen(path, "rb");
    struct stat s;
    bool fine = f && !fstat(fileno(f), &s);
    if (fine) {
        to->size = (size_t)s.st_size;
        to->data = memory_take(to->size + 1);
        fine = fread(to->data, 1, to->size, f) == to->size;
    }
    if (f) fclose(f);
    return fine || error_set(e, EXIT_SYSTEM, "%s: cannot read it back: %s", path, strerror(errno));
}

// Writes the pictures as files and takes their bytes for the page.
static bool write_pictures(const struct summary *s, struct pictures *p, struct page_picture *page, struct arena *arena,
                           struct error *e) {
    for (int i = 0; i < p->count; i++) {
        struct one *one = &p->one[i];
        const char *entry = summary_entry_of(s, one->digest);
        int twin = 0;  // one entry may have been attacked twice by one method
        for (int k = 0; k < i; k++)
            twin += !strcmp(page[k].entry, entry) && !strcmp(page[k].method, one->montage.method);
        page[i].entry = entry;
        page[i].method = one->montage.method;
        page[i].wall = one->wall;
        page[i].file = one->wall ? arena_print(arena, "wall_%s.png", entry) : twin ? arena_print(arena, "images_%s_%s_%d.png", entry, page[i].method, twin + 1)
                            : arena_print(arena, "images_%s_%s.png", entry, page[i].method);
        const char *path = arena_print(arena, "%s/%s", o.output, page[i].file);
        if (!png_picture_write(one->montage.picture, path, e) || !load(path, &page[i].png, e)) return false;
    }
    return true;
}

static bool write_report(const struct summary *s, const json_t *summary, struct pictures *p, struct error *e) {
    struct arena arena = {0};
    struct figures figures;
    struct page_picture *page = memory_zero((size_t)(p->count + 1) * sizeof *page);
    char *text = summary_dump(summary), *rows = rows_csv(summary), *html = NULL;
    figures_of(summary, &figures);
    bool fine = make_directory(o.output, e) && figures_draw(&figures, o.output, e) &&
                write_pictures(s, p, page, &arena, e) && write_text("rows.csv", rows, e);
    if (fine) html = page_html(summary, &figures, page, p->count);
    // The summary last: where it is, the rest is.
    fine = fine && write_text("report.html", html, e) && write_text("summary.json", text, e);
    for (int i = 0; i < p->count; i++) free(page[i].png.data);
    free(text);
    free(rows);
    free(html);
    free(page);
    figures_free(&figures);
    arena_free(&arena);
    return fine;
}

// The last thing on standard output: the summary where it is asked for, else a table and where the page is.
static bool print_end(const json_t *summary, struct error *e) {
    if (o.json) {
        char *text = summary_dump(summary);
        bool fine = write_to(NULL, text, e);
        free(text);
        return fine;
    }
    struct arena arena = {0};
    char *table = rows_table(summary);
    const char *slash = o.output[strlen(o.output) - 1] == '/' ? "" : "/";
    bool fine = write_to(NULL, arena_print(&arena, "%s%s%sreport.html\n", table, o.output, slash), e);
    arena_free(&arena);
    free(table);
    return fine;
}

int main(int argc, char **argv) {
    struct error e = {0};
    struct operands operands = opt_parse(&program, argc, argv);
    struct gate gate = gate_open(o.fail_if);
    check();
    struct summary *s = summary_new(o.title);
    struct pictures p = {0};
    int shown = 0;
    bool fine = operands.count || read_all("-", s, &p, &shown, &e);
    for (int i = 0; i < operands.count && fine; i++) fine = read_all(operands.value[i], s, &p, &shown, &e);
    if (fine && !shown)
        fine = error_set(&e, EXIT_INPUT,
                         "no model, no attack, no membership test, no reconstruction and no search among the inputs");
    const json_t *summary = fine ? summary_end(s) : NULL;
    fine = fine && (!o.output || write_report(s, summary, &p, &e)) && print_end(summary, &e);
    if (!fine) msg_fail(&e);
    int status = gate_close(&gate, summary);
    for (int i = 0; i < p.count; i++) picture_free(p.one[i].montage.picture);
    free(p.one);
    summary_free(s);
    return status;
}

// tensor: looks into any blob, and cuts, joins, verifies and releases them.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/base/arena.h"
#include "../common/base/msg.h"
#include "../common/base/opt.h"
#include "../common/base/out.h"
#include "../common/io/blob.h"
#include "../common/io/look.h"
#include "../common/io/npy.h"
#include "../common/io/part.h"
#include "../common/io/png.h"
#include "../common/io/record.h"
#include "../common/io/release.h"

static struct {
    const char *output, *tensors, *rows;
    int64_t parts, limit, columns, scale;
    double tolerance;
    bool json, full, raw, blob, stretch;
} o = {.limit = 100, .columns = 10, .scale = 2};

static struct opt options[] = {
    {"output", 'o', OPT_FILE, &o.output, "FILE", "where the result goes; standard output without it", NULL, 0, 0,
     false},
    {"tensors", 't', OPT_TEXT, &o.tensors, "LIST", "only these, by name, separated by commas; png, npy: one name", NULL,
     0, 0, false},
    {"json", 0, OPT_FLAG, &o.json, NULL, "ls, stat: JSON, one line a blob", NULL, 0, 0, false},
    {"full", 0, OPT_FLAG, &o.full, NULL, "ls: whole digests and whole values", NULL, 0, 0, false},
    {"raw", 0, OPT_FLAG, &o.raw, NULL, "cat: the bytes of the data", NULL, 0, 0, false},
    {"blob", 0, OPT_FLAG, &o.blob, NULL, "cat: the blobs themselves, checked, as a stream", NULL, 0, 0, false},
    {"tolerance", 0, OPT_REAL, &o.tolerance, "T", "cmp: values this far apart are the same", NULL, 0, 1e300, false},
    {"limit", 'n', OPT_INT, &o.limit, "N", "png: so many images at most", NULL, 1, 1000000, false},
    {"columns", 0, OPT_INT, &o.columns, "N", "png: images a row", NULL, 1, 1000, false},
    {"scale", 0, OPT_INT, &o.scale, "N", "png: pixels a side for each of the image's", NULL, 1, 64, false},
    {"stretch", 0, OPT_FLAG, &o.stretch, NULL, "png: each image from its least to its greatest value", NULL, 0, 0,
     false},
    {"rows", 0, OPT_TEXT, &o.rows, "A:B", "cut: rows A to B - 1, from 0; either may be left out", NULL, 0, 0, false},
    {"parts", 0, OPT_INT, &o.parts, "N", "cut: a stream of N parts of all rows", NULL, 1, 1000000, false},
};

static struct program program = {
    .name = "tensor",
    .summary = "look into blobs, cut, join, check and release them",
    .operands = "ls|stat|cat|cmp|png|npy|cut|join|verify|release [FILE...]",
    .operands_min = 1,
    .operands_max = -1,
    .opts = options,
    .count = sizeof options / sizeof *options,
    .examples = "fetch synthetic --count 300 --classes 3 -o train.st\n"
                "tensor ls train.st\n"
                "tensor stat --json train.st\n"
                "tensor png train.st --limit 40 -o train.png\n"
                "tensor cut --rows 0:100 train.st | tensor ls\n"
                "tensor cut --parts 4 train.st | tensor join -o again.st\n"
                "tensor cmp train.st again.st\n"
                "tensor verify train.st again.st\n",
    .see_also = "fetch(1), trainclf(1), blob(5)",
};

// ---- files in, one result out

// Unwraps what a call into the library gave; ends the program where it failed.
static void need(bool good, const struct error *e) {
    if (!good) msg_fail(e);
}

// Visits every blob of a file (NULL: standard input), also those before one that cannot be read.
static bool each_blob(const char *file, void (*visit)(struct blob *b, void *data), void *data, struct error *e) {
    struct blob_stream *s = blob_stream_open(file, e);
    for (struct blob *b; s && (b = blob_next(s, e));) visit(b, data);
    blob_stream_close(s);
    return !e->status;
}

static void each_file(const struct operands *files, void (*visit)(struct blob *b, void *data), void *data) {
    struct error e = {0};
    for (int i = 0; i < files->count; i++) need(each_blob(files->value[i], visit, data, &e), &e);
}

static struct blob *only_blob(const char *file) {
    struct error e = {0};
    struct blob *b = blob_open(file, &e);
    need(b != NULL, &e);
    return b;
}

static struct out *open_output(bool binary) {
    struct error e = {0};
    struct out *out = out_open(o.output, binary, &e);
    need(out != NULL, &e);
    return out;
}

static void close_output(struct out *out) {
    struct error e = {0};
    need(out_close(out, &e), &e);
}

// ---- commands that show what is there

static void print_json(struct out *out, json_t *value, struct error *e) {
    char *text = record_dump(value);
    need(out_print(out, e, "%s\n", text), e);
    free(text);
    json_decref(value);
}

static void list_blob(struct blob *b, void *out) {
    struct error e = {0};
    if (o.json)
        print_json(out, look_list_json(b), &e);
    else
        need(look_list(b, o.full, out, &e), &e);
    blob_free(b);
}

static void stat_blob(struct blob *b, void *out) {
    struct error e = {0};
    need(part_check_names(b, o.tensors, &e), &e);
    if (o.json)
        print_json(out, look_statistics_json(b, o.tensors), &e);
    else
        need(look_statistics(b, o.tensors, out, &e), &e);
    blob_free(b);
}

static void cat_blob(struct blob *b, void *out) {
    struct error e = {0};
    need(part_check_names(b, o.tensors, &e), &e);
    bool one = o.tensors && !strchr(o.tensors, ',');
    if (o.blob) need(blob_emit(b, out, &e), &e);
    for (int i = 0; i < b->count && !o.blob; i++) {
        const struct tensor *t = &b->tensor[i];
        if (!part_names_hold(o.tensors, t->name)) continue;
        if (o.raw) {
            need(out_write(out, t->data, tensor_bytes(t), &e), &e);
            continue;
        }
        if (!one) need(look_heading(t, out, &e), &e);
        need(look_values(t, out, &e), &e);
    }
    blob_free(b);
}

static void visit_into_output(const struct operands *files, bool binary, void (*visit)(struct blob *b, void *out)) {
    struct out *out = open_output(binary);
    each_file(files, visit, out);
    close_output(out);
}

static int run_ls(const struct operands *files) {
    visit_into_output(files, false, list_blob);
    return EXIT_DONE;
}

static int run_stat(const struct operands *files) {
    visit_into_output(files, false, stat_blob);
    return EXIT_DONE;
}

static int run_cat(const struct operands *files) {
    if (o.raw && o.blob) msg_usage("cat: --raw and --blob exclude each other");
    if (o.blob && o.tensors) msg_usage("cat: --blob gives blobs whole; cut takes --tensors");
    visit_into_output(files, o.raw || o.blob, cat_blob);
    return EXIT_DONE;
}

static void verify_blob(struct blob *b, void *out) {
    struct error e = {0};
    need(look_verified(b, out, &e), &e);
    blob_free(b);
}

// Goes on after a bad file, so that one run names them all.
static int run_verify(const struct operands *files) {
    enum exit_status status = EXIT_DONE;
    struct out *out = open_output(false);
    for (int i = 0; i < files->count; i++) {
        struct error e = {0};
        if (each_blob(files->value[i], verify_blob, out, &e)) continue;
        msg_warn("%s", e.text);
        if (e.status > status) status = e.status;
    }
    close_output(out);
    return (int)status;
}

static int run_cmp(const struct operands *files) {
    struct error e = {0};
    struct blob *a = only_blob(files->value[0]), *b = only_blob(files->value[1]);
    bool same, known = strcmp(a->digest, b->digest) == 0;
    if (!part_check_names(a, o.tensors, &e)) {  // in one of the two is enough
        e = (struct error){0};
        need(part_check_names(b, o.tensors, &e), &e);
    }
    struct out *out = open_output(false);
    need(look_differences(a, b, o.tensors, o.tolerance, &same, out, &e), &e);
    close_output(out);
    if (same && known && !json_equal(a->metadata, b->metadata))
        msg_say("the tensors are the same, the metadata differ");
    blob_free(a);
    blob_free(b);
    return same ? EXIT_DONE : EXIT_GATE;
}

static void check_one_name(void) {
    if (o.tensors && strchr(o.tensors, ',')) msg_usage("--tensors: one name expected here, %s found", o.tensors);
}

static int run_png(const struct operands *files) {
    check_one_name();
    struct error e = {0};
    struct blob *b = only_blob(files->value[0]);
    const struct look_wall wall = {o.tensors, o.limit, (int)o.columns, (int)o.scale, o.stretch};
    int64_t outside;
    struct picture *p = look_picture(b, &wall, &outside, &e);
    need(p && png_picture_write(p, o.output, &e), &e);
    if (outside && !o.stretch)
        msg_warn("%lld values lie outside [0, 1] and are drawn as black or white; --stretch shows them",
                 (long long)outside);
    picture_free(p);
    blob_free(b);
    return EXIT_DONE;
}

static int run_npy(const struct operands *files) {
    check_one_name();
    struct error e = {0};
    struct blob *b = only_blob(files->value[0]);
    if (!o.tensors && b->count != 1) {
        blob_refuse(b, &e, "%d tensors found; choose one with --tensors", b->count);
        msg_fail(&e);
    }
    const struct tensor *t = o.tensors ? blob_need(b, o.tensors, &e) : b->tensor;
    need(t && npy_write(t, o.output, &e), &e);
    blob_free(b);
    return EXIT_DONE;
}

// ---- commands that write a blob: what they did stands in its lineage

static void write_result(struct blob *result, json_t *done, const struct blob *const *inputs, int count,
                         struct out *out) {
    struct error e = {0};
    blob_set_lineage(result, "tensor", done, inputs, count);
    json_decref(done);
    need(blob_emit(result, out, &e), &e);
    blob_free(result);
}

// In one form, however the user typed it.
static json_t *cut_options(const struct blob *b, const struct part_rows *rows) {
    json_t *j = json_pack("{s:s}", "command", "cut");
    if (o.tensors) {
        json_t *names = json_array();
        for (int i = 0; i < b->count; i++)
            if (part_names_hold(o.tensors, b->tensor[i].name))
                json_array_append_new(names, json_string(b->tensor[i].name));
        json_object_set_new(j, "tensors", names);
    }
    if (o.rows) json_object_set_new(j, "from", json_integer(rows->from));
    if (o.rows && rows->to != INT64_MAX) json_object_set_new(j, "to", json_integer(rows->to));
    if (o.parts) json_object_set_new(j, "parts", json_integer(o.parts));
    return j;
}

static int run_cut(const struct operands *files) {
    struct error e = {0};
    struct part_rows rows = {0, INT64_MAX};
    if (o.rows && o.parts) msg_usage("cut: --rows and --parts exclude each other");
    if (!o.rows && !o.parts && !o.tensors) msg_usage("cut: --tensors, --rows or --parts expected");
    if (o.rows && !part_parse_rows(o.rows, &rows, &e)) msg_usage("cut: %s", e.text);
    const struct blob *b = only_blob(files->value[0]);
    struct out *out = open_output(true);
    for (int64_t k = 1; k <= (o.parts ? o.parts : 1); k++) {
        struct blob *part =
            o.parts ? part_of(b, o.tensors, k, o.parts, &e) : part_cut(b, o.tensors, o.rows ? &rows : NULL, &e);
        need(part != NULL, &e);
        write_result(part, cut_options(b, &rows), &b, 1, out);
    }
    close_output(out);
    blob_free((struct blob *)b);
    return EXIT_DONE;
}

struct collection {
    const struct blob **blob;
    int count;
};

static void collect(struct blob *b, void *data) {
    struct collection *c = data;
    c->blob = memory_grow(c->blob, (size_t)(c->count + 1) * sizeof *c->blob);
    c->blob[c->count++] = b;
}

static int run_join(const struct operands *files) {
    struct error e = {0};
    struct collection c = {0};
    each_file(files, collect, &c);
    struct blob *joined = part_join(c.blob, c.count, &e);
    need(joined != NULL, &e);
    struct out *out = open_output(true);
    write_result(joined, json_pack("{s:s}", "command", "join"), c.blob, c.count, out);
    close_output(out);
    for (int i = 0; i < c.count; i++) blob_free((struct blob *)c.blob[i]);
    free(c.blob);
    return EXIT_DONE;
}

static int run_release(const struct operands *files) {
    struct error e = {0};
    struct blob *model = only_blob(files->value[0]);
    bool mean_image;
    struct blob *b = release_of(model, &mean_image, &e);
    need(b && blob_write(b, o.output, &e), &e);
    if (mean_image)
        msg_warn(
            "the normalisation holds a mean image of the training set (assay.mean): it is released with the model, "
            "which does not work without it; train with --normalise scalar to give none away");
    blob_free(b);
    blob_free(model);
    return EXIT_DONE;
}

// ---- which command, and which options it takes

static const struct command {
    const char *name;
    int (*run)(const struct operands *files);  // one at least, NULL for standard input
    int files_min, files_max;  // max -1: any number
    const char *takes;
} commands[] = {
    {"ls", run_ls, 0, -1, "output,json,full"},
    {"stat", run_stat, 0, -1, "output,tensors,json"},
    {"cat", run_cat, 0, -1, "output,tensors,raw,blob"},
    {"cmp", run_cmp, 2, 2, "output,tensors,tolerance"},
    {"png", run_png, 0, 1, "output,tensors,limit,columns,scale,stretch"},
    {"npy", run_npy, 0, 1, "output,tensors"},
    {"cut", run_cut, 0, 1, "output,tensors,rows,parts"},
    {"join", run_join, 0, -1, "output"},
    {"verify", run_verify, 0, -1, "output"},
    {"release", run_release, 0, 1, "output"},
};

// What is made of blobs may take the place of one; a picture, an array or a text may not.
static bool writes_blobs(const struct command *c) {
    return c->run == run_cut || c->run == run_join || c->run == run_release || (c->run == run_cat && o.blob);
}

static const struct command *check(const struct operands *a) {
    const struct command *c = NULL;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(a->value[0], commands[i].name) == 0) c = &commands[i];
    if (!c)
        msg_usage("one of %.*s expected, '%s' found", (int)strcspn(program.operands, " "), program.operands, a->value[0]);
    for (int i = 0; i < program.count; i++)
        if (options[i].given && !part_names_hold(c->takes, options[i].name))
            msg_usage("%s takes no --%s", c->name, options[i].name);
    int files = a->count - 1;
    if (files < c->files_min || (c->files_max >= 0 && files > c->files_max))
        msg_usage(c->files_min ? "%s: two files expected, %d found" : "%s: one file expected, %d found", c->name,
                  files);
    if (!writes_blobs(c)) opt_keep_apart(&program, "output", "", &(struct operands){files, a->value + 1});
    return c;
}

int main(int argc, char **argv) {
    struct operands a = opt_parse(&program, argc, argv);
    const struct command *c = check(&a);
    static char *standard_input[] = {NULL};
    const struct operands files = a.count > 1 ? (struct operands){a.count - 1, a.value + 1} : (struct operands){1, standard_input};
    int status = c->run(&files);
    msg_close();
    return status;
}

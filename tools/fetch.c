// fetch: gets a set of labelled images, whole or a part of it, and writes it as a data set.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/base/arena.h"
#include "../common/base/msg.h"
#include "../common/base/opt.h"
#include "../common/base/out.h"
#include "../common/io/bytes.h"
#include "../common/io/own.h"
#include "../common/io/published.h"
#include "../common/io/record.h"
#include "../common/io/synthetic.h"

static struct {
    const char *output, *split, *classes, *subset, *exclude, *from, *size;
    int64_t limit, per_class, count, timeout;
    uint64_t seed;
    double test_fraction;
    bool offline, unchecked, list, json;
} o = {.split = "train", .size = "1x28x28", .count = 1000, .timeout = 30};

static struct opt options[] = {
    {"output", 'o', OPT_FILE, &o.output, "FILE", "data set to write; standard output without it", NULL, 0, 0, false},
    {"split", 0, OPT_CHOICE, &o.split, "NAME", "which split", "train|test|extra", 0, 0, false},
    {"classes", 0, OPT_TEXT, &o.classes, "LIST",
     "only these, by number or name, renumbered in this order; of synthetic: how many", NULL, 0, 0, false},
    {"exclude", 0, OPT_FILE, &o.exclude, "FILE", "leave out what this data set holds", NULL, 0, 0, false},
    {"subset", 0, OPT_TEXT, &o.subset, "WORD", "random-half:SEED, random-half:SEED:other, first:K, or a mask file",
     NULL, 0, 0, false},
    {"per-class", 0, OPT_INT, &o.per_class, "K", "K of each class, at random; 0 for all", NULL, 0, 0x1p53, false},
    {"limit", 'n', OPT_INT, &o.limit, "N", "the first N of what is left; 0 for all", NULL, 0, 0x1p53, false},
    {"seed", 0, OPT_SEED, &o.seed, "S", "of --per-class, --test-fraction and synthetic", NULL, 0, 0, false},
    {"test-fraction", 0, OPT_REAL, &o.test_fraction, "F", "png and npy: share that is the test split, at random", NULL,
     0, 0.99, false},
    {"count", 0, OPT_INT, &o.count, "N", "synthetic: how many drawings", NULL, 1, 10000000, false},
    {"size", 0, OPT_TEXT, &o.size, "CxHxW", "synthetic: channels, height, width", NULL, 0, 0, false},
    {"from", 0, OPT_FILE, &o.from, "DIR", "take the published files from this directory only", NULL, 0, 0, false},
    {"offline", 0, OPT_FLAG, &o.offline, NULL, "download nothing", NULL, 0, 0, false},
    {"unchecked", 0, OPT_FLAG, &o.unchecked, NULL, "with --from: accept files without their size and checksum", NULL, 0,
     0, false},
    {"timeout", 0, OPT_INT, &o.timeout, "SECONDS", "give up a mirror that is silent for so long", NULL, 1, 86400,
     false},
    {"list", 0, OPT_FLAG, &o.list, NULL, "list the known sets and where they are", NULL, 0, 0, false},
    {"json", 0, OPT_FLAG, &o.json, NULL, "print the record on standard output; the data set goes to -o only", NULL, 0,
     0, false},
};

static struct program program = {
    .name = "fetch",
    .summary = "get a set of labelled images",
    .operands = "SET | synthetic | png DIR | npy X Y",
    .operands_min = 0,
    .operands_max = 3,
    .opts = options,
    .count = sizeof options / sizeof *options,
    .examples = "fetch --list\n"
                "fetch synthetic --count 300 --classes 3 -o train.st\n"
                "fetch synthetic --count 100 --classes 3 --split test -o test.st\n"
                "fetch synthetic --count 200 --subset random-half:1 -o members.st\n"
                "fetch synthetic --count 200 --exclude members.st --json -o others.st\n",
    .see_also = "tensor(1), trainclf(1), blob(5)",
};

enum kind { PUBLISHED, SYNTHETIC, PNG, NPY };

static struct synthetic drawings(void) {
    struct synthetic s = {.count = o.count, .classes = 10, .seed = o.seed, .test = strcmp(o.split, "test") == 0};
    int64_t classes = s.classes;
    char rest;
    if (o.classes && (!parse_int(o.classes, &classes) || classes < 1 || classes > INTAKE_CLASSES_MAX))
        msg_usage("option --classes: synthetic takes a number of classes in [1, %d], '%s' found", INTAKE_CLASSES_MAX,
                  o.classes);
    s.classes = (int)classes;
    bool good = sscanf(o.size, "%3dx%5dx%5d%c", &s.channels, &s.height, &s.width, &rest) == 3 && s.channels >= 1 &&
                s.channels <= 16 && s.height >= 4 && s.height <= 2048 && s.width >= 4 && s.width <= 2048;
    if (!good) msg_usage("option --size: CxHxW with C in [1, 16], H and W in [4, 2048] expected, '%s' found", o.size);
    return s;
}

static enum kind check(const struct operands *a) {
    if (!a->count) msg_usage("a set expected: fashion, mnist, cifar10, svhn, synthetic, png DIR or npy X Y");
    const char *set = a->value[0];
    enum kind kind = strcmp(set, "synthetic") == 0 ? SYNTHETIC
                     : strcmp(set, "png") == 0     ? PNG
                     : strcmp(set, "npy") == 0     ? NPY
                                                   : PUBLISHED;
    int wanted = kind == PNG ? 2 : kind == NPY ? 3 : 1;
    bool own = kind == PNG || kind == NPY;
    for (int i = 1; i < a->count && own; i++)
        if (strcmp(a->value[i], "-") == 0) msg_usage("%s does not read standard input; ./- names a file called so", set);
    if (a->count != wanted)
        msg_usage("%s takes %d operand%s, %d found", set, wanted - 1, wanted == 2 ? "" : "s", a->count - 1);
    if (kind != SYNTHETIC && (opt_given(&program, "count") || opt_given(&program, "size")))
        msg_usage("--count and --size go with synthetic only (--limit takes a part of another set)");
    if (kind != PUBLISHED && (o.from || o.offline || o.unchecked))
        msg_usage("--from, --offline and --unchecked go with published sets only");
    if (o.unchecked && !o.from) msg_usage("--unchecked goes with --from only");
    if (!own && opt_given(&program, "test-fraction")) msg_usage("--test-fraction goes with png and npy only");
    if (own && opt_given(&program, "split") && o.test_fraction == 0)
        msg_usage("--split of %s needs --test-fraction", set);
    if (kind != PUBLISHED && strcmp(o.split, "extra") == 0) msg_usage("%s has no split extra", set);
    return kind;
}

static int list(const struct sources *known) {
    printf("%-10s%-7s%9s  %-9s%s\n", "SET", "SPLIT", "IMAGES", "SHAPE", "WHERE");
    for (int i = 0; i < known->count; i++) {
        const struct source_set *set = known->set[i];
        for (int k = 0; k < set->files; k++) {
            const struct source_file *f = &set->file[k];
            if (strcmp(f->part, "labels") == 0) continue;
            char *path = published_place(set, f, o.from);
            printf("%-10s%-7s%9lld  %dx%dx%-4d%s\n", set->name, f->split, (long long)f->count, set->channels,
                   set->height, set->width, path ? path : "-");
            free(path);
        }
        printf("%10s%s. Licence: %s.\n", "", set->title, set->licence);
    }
    return msg_close();
}

// ---- what the record and the lineage say

// A mask file is named by its bytes: the same mask under another name is the same command.
static json_t *subset_name(struct error *e) {
    char hex[65] = "";
    if (strcmp(o.subset, "all") == 0 || strncmp(o.subset, "first:", 6) == 0 ||
        strncmp(o.subset, "random-half:", 12) == 0)
        return json_string(o.subset);
    struct bytes *b = bytes_open(o.subset, e);
    if (b) {
        bytes_hash(b);
        if (bytes_drain(b, e)) bytes_digest(b, hex);
    }
    bytes_close(b);
    return json_sprintf("sha256:%s", hex);
}

static json_t *chosen_classes(const struct intake *in) {
    json_t *j = json_array();
    for (int c = 0; c < in->classes; c++) json_array_append_new(j, json_integer(in->chosen[c]));
    return j;
}

// The options that made a difference, in one form whatever the user typed.
static json_t *settings(const struct operands *a, enum kind kind, const struct intake *in, json_t *files,
                        struct error *e) {
    json_t *j = json_object();
    json_object_set_new(j, "set", json_string(a->value[0]));
    if (kind == PUBLISHED || kind == SYNTHETIC || o.test_fraction > 0)
        json_object_set_new(j, "split", json_string(o.split));
    if (kind == SYNTHETIC) {
        json_object_set_new(j, "count", json_integer(o.count));
        json_object_set_new(j, "size", json_pack("[i, i, i]", in->channels, in->height, in->width));
        json_object_set_new(j, "classes", json_integer(in->classes));
    } else if (o.classes)
        json_object_set_new(j, "chosen_classes", chosen_classes(in));
    if (o.test_fraction > 0) json_object_set_new(j, "test_fraction", json_real(o.test_fraction));
    if (o.exclude) json_object_set_new(j, "exclude", json_string(in->choice.exclude->blob->digest));
    if (o.subset) json_object_set_new(j, "subset", subset_name(e));
    if (o.per_class) json_object_set_new(j, "per_class", json_integer(o.per_class));
    if (o.limit) json_object_set_new(j, "limit", json_integer(o.limit));
    if (kind == SYNTHETIC || o.test_fraction > 0 || o.per_class) json_object_set_new(j, "seed", record_seed(o.seed));
    if (o.unchecked) json_object_set_new(j, "unchecked", json_true());
    if (json_array_size(files)) json_object_set(j, "files", files);
    return j;
}

static bool read_images(const struct operands *a, enum kind kind, const struct sources *known,
                        const struct synthetic *s, struct intake *in, json_t **files, struct arena *names,
                        struct error *e) {
    const struct lookup where = {
        .from = o.from, .offline = o.offline, .unchecked = o.unchecked, .timeout = (int)o.timeout};
    const struct source_set *set = kind == PUBLISHED ? sources_find(known, a->value[0]) : NULL;
    switch (kind) {
    case SYNTHETIC: return synthetic_read(s, in, e);
    case PNG: return own_pictures(a->value[1], in, names, e);
    case NPY: return own_arrays(a->value[1], a->value[2], in, e);
    case PUBLISHED: break;
    }
    if (!set) msg_usage("'%s' is no known set; fetch --list lists them", a->value[0]);
    return published_read(set, o.split, &where, in, files, e);
}

// A data set goes to standard output unless --json took that.
static bool wants_set(void) {
    return o.output || !o.json;
}

static bool write_set(const struct intake *in, const json_t *config, struct error *e) {
    const struct dataset *exclude = in->choice.exclude;
    json_t *record = record_new();
    json_object_update(json_object_get(record, "config"), (json_t *)config);
    struct blob *b = intake_blob(in, record);
    blob_set_lineage(b, "fetch", config, exclude ? (const struct blob *const[]){exclude->blob} : NULL, exclude != NULL);
    bool good = (!wants_set() || blob_write(b, o.output, e)) && (!o.json || record_print(record, e));
    blob_free(b);
    json_decref(record);
    return good;
}

int main(int argc, char **argv) {
    struct operands a = opt_parse(&program, argc, argv);
    struct error e = {0};
    struct sources *known = sources_open(&e);
    if (!known) msg_fail(&e);
    if (o.list) return list(known);
    enum kind kind = check(&a);
    opt_keep_apart(&program, "output", "exclude,subset", kind == NPY ? &(struct operands){2, a.value + 1} : NULL);
    struct synthetic drawn = kind == SYNTHETIC ? drawings() : (struct synthetic){0};
    if (wants_set() && !out_check(o.output, true, &e)) msg_fail(&e);
    struct dataset *exclude = o.exclude ? dataset_open(o.exclude, &e) : NULL;
    if (e.status) msg_fail(&e);
    struct intake in = {.choice = {.classes = kind == SYNTHETIC ? NULL : o.classes,
                                   .exclude = exclude,
                                   .subset = o.subset,
                                   .per_class = o.per_class,
                                   .limit = o.limit,
                                   .test_fraction = o.test_fraction,
                                   .test = strcmp(o.split, "test") == 0,
                                   .seed = o.seed}};
    json_t *files = NULL;
    struct arena names = {0};
    if (!read_images(&a, kind, known, &drawn, &in, &files, &names, &e)) msg_fail(&e);
    json_t *config = settings(&a, kind, &in, files, &e);
    if (e.status || !write_set(&in, config, &e)) msg_fail(&e);
    msg_say("%lld images %dx%dx%d of %d classes", (long long)in.count, in.channels, in.height, in.width, in.classes);
    json_decref(config);
    json_decref(files);
    intake_free(&in);
    dataset_free(exclude);
    arena_free(&names);
    sources_free(known);
    return msg_close();
}

// published.c: from a line of data/SOURCES to images. A file that is there but wrong is never passed over in
// silence: the program says which, and ends.
#include "published.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bytes.h"
#include "cifar.h"
#include "download.h"
#include "idx.h"
#include "svhn.h"

// ---- finding

static char *join(const char *directory, const char *set, const char *name) {
    char *path;
    int n = set ? asprintf(&path, "%s/assay/%s/%s", directory, set, name) : asprintf(&path, "%s/%s", directory, name);
    BUG_IF(n < 0, "no memory for a path");
    return path;
}

static char *cache_path(const struct source_set *set, const char *name) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache && *cache == '/') return join(cache, set->name, name);  // a relative one is invalid, says the standard
    char *base = join(home && *home ? home : ".", NULL, ".cache");
    char *path = join(base, set->name, name);
    free(base);
    return path;
}

static char *if_there(char *path) {
    if (access(path, F_OK) == 0) return path;
    free(path);
    return NULL;
}

char *published_place(const struct source_set *set, const struct source_file *file, const char *from) {
    if (from) return if_there(join(from, NULL, file->name));
    char *path = set->system ? if_there(join(set->system, NULL, file->name)) : NULL;
    return path ? path : if_there(cache_path(set, file->name));
}

static bool make_directories(char *path, struct error *e) {
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        bool good = mkdir(path, 0755) == 0 || errno == EEXIST || errno == EISDIR || errno == EROFS;
        if (!good) error_set(e, EXIT_SYSTEM, "%s: cannot make this directory: %s", path, strerror(errno));
        *slash = '/';
        if (!good) return false;
    }
    return true;
}

// ---- checking

static const char *deciding_digest(const struct source_file *f) {
    return f->plain_sha256 ? f->plain_sha256 : f->sha256;
}

// The whole file against size and checksum; the stream is at its start afterwards.
static bool check_stored(struct bytes *b, const struct source_file *f, struct error *e) {
    if (bytes_size(b) != f->bytes)
        return error_set(e, EXIT_INPUT, "%s: %lld bytes expected, %lld there", bytes_name(b), (long long)f->bytes,
                         (long long)bytes_size(b));
    bytes_hash(b);
    return bytes_drain(b, e) && bytes_check(b, f->sha256, e) && bytes_seek(b, 0, e);
}

static bool check_plain(struct bytes *b, const struct source_file *f, struct error *e) {
    bytes_hash(b);
    return bytes_gunzip(b, (int64_t)1 << 32, e) && bytes_drain(b, e) && bytes_check(b, f->plain_sha256, e);
}

static bool check_file(const char *path, const void *data, struct error *e) {
    const struct source_file *f = data;
    struct bytes *b = bytes_open(path, e);
    bool good = b && bytes_refuse_page(b, e) && (f->plain_sha256 ? check_plain(b, f, e) : check_stored(b, f, e));
    bytes_close(b);
    return good;
}

// ---- fetching

enum { REPACKED = 4096 };  // where the unpacked bytes decide, the packed ones may differ by about a header

static bool from_mirrors(const struct source_set *set, const struct source_file *f, char *path, int timeout,
                         struct error *e) {
    char *address[SOURCES_MIRRORS];
    struct download d = {.address = (const char *const *)address,
                         .addresses = set->mirrors,
                         .path = path,
                         .bytes = f->bytes + (f->plain_sha256 ? REPACKED : 0),
                         .timeout = timeout,
                         .check = check_file,
                         .data = f};
    if (!make_directories(path, e)) return false;
    for (int i = 0; i < set->mirrors; i++)
        BUG_IF(asprintf(&address[i], "%s%s", set->mirror[i], f->name) < 0, "no memory for an address");
    bool good = download(&d, e);
    for (int i = 0; i < set->mirrors; i++) free(address[i]);
    return good;
}

static char *locate(const struct source_set *set, const struct source_file *f, const struct lookup *where,
                    struct error *e) {
    char *path = published_place(set, f, where->from);
    if (path) return path;
    if (where->from) {
        error_set(e, EXIT_SYSTEM, "%s/%s: no such file (--from looks nowhere else)", where->from, f->name);
        return NULL;
    }
    path = cache_path(set, f->name);
    if (where->offline)
        error_set(e, EXIT_SYSTEM, "%s: not there, and --offline downloads nothing%s%s", path,
                  set->package ? "; the system's package has it: " : "", set->package ? set->package : "");
    else if (from_mirrors(set, f, path, where->timeout, e))
        return path;
    free(path);
    return NULL;
}

// What there is to do about a file that is not the published one.
static bool damaged(const struct lookup *where, struct error *e) {
    if (!where->from && e->status == EXIT_INPUT) error_prefix(e, "damaged (remove it to have it fetched again)");
    return false;
}

// A file ready to be read. Where the unpacked bytes decide, they are hashed while they are read (unpacking twice would
// double the time); `close_checked` compares. Otherwise the file is checked before a byte of it is looked at.
static struct bytes *open_checked(const struct source_set *set, const struct source_file *f, const struct lookup *where,
                                  struct error *e) {
    char *path = locate(set, f, where, e);
    struct bytes *b = path ? bytes_open(path, e) : NULL;
    bool good = b && bytes_refuse_page(b, e);
    if (good && !where->unchecked) {
        if (f->plain_sha256)
            bytes_hash(b);
        else
            good = check_stored(b, f, e) || damaged(where, e);
    }
    free(path);
    if (good) return b;
    bytes_close(b);
    return NULL;
}

// After a failure as well: a file that could not be read because it is not the published one is better told as such.
static bool close_checked(struct bytes *b, const struct source_file *f, const struct lookup *where, bool good,
                          struct error *e) {
    bool pending = f->plain_sha256 && !where->unchecked;
    struct error why = {0};
    if (pending && good)
        good = bytes_check(b, f->plain_sha256, e) || damaged(where, e);
    else if (pending && e->status == EXIT_INPUT && !check_file(bytes_name(b), f, &why)) {
        *e = why;
        damaged(where, e);
    }
    bytes_close(b);
    return good;
}

// ---- reading

static bool read_idx(const struct source_set *set, const struct source_file *images, const struct source_file *labels,
                     const struct lookup *where, struct intake *in, struct error *e) {
    int64_t count = 0;
    struct bytes *b = open_checked(set, labels, where, e);
    if (!b) return false;
    int64_t *label = idx_labels(b, labels->count, &count, e);
    bool good = close_checked(b, labels, where, label != NULL, e);
    if (good) {
        b = open_checked(set, images, where, e);
        good = b && close_checked(b, images, where, idx_images(b, in, label, count, e), e);
    }
    free(label);
    return good;
}

static bool read_one(const struct source_set *set, const struct source_file *f, const struct lookup *where,
                     struct intake *in, struct error *e) {
    struct bytes *b = open_checked(set, f, where, e);
    if (!b) return false;
    bool good = strcmp(set->container, "svhn") == 0
                    ? svhn_read(b, in, f->count, e)
                    : cifar_read(b, in, strcmp(f->split, "test") == 0, !where->unchecked, e);
    return close_checked(b, f, where, good, e);
}

bool published_read(const struct source_set *set, const char *split, const struct lookup *where, struct intake *in,
                    json_t **files, struct error *e) {
    const struct source_file *part[] = {sources_file(set, split, "both"), sources_file(set, split, "images"),
                                        sources_file(set, split, "labels")};
    bool idx = strcmp(set->container, "idx") == 0;
    *files = json_array();
    if (idx ? !part[1] || !part[2] : !part[0])
        return error_set(e, EXIT_USAGE, "%s has no split '%s'", set->name, split);
    if (!idx && strcmp(set->container, "cifar") != 0 && strcmp(set->container, "svhn") != 0)
        return error_set(e, EXIT_INPUT, "set %s: container idx, cifar or svhn expected, '%s' found", set->name,
                         set->container);
    if (set->channels != (idx ? 1 : 3) || (!idx && (set->height != 32 || set->width != 32)))
        return error_set(e, EXIT_INPUT, "set %s: shape %dx%dx%d does not go with container %s", set->name,
                         set->channels, set->height, set->width, set->container);
    in->dtype = U8;
    in->channels = set->channels;
    in->height = set->height;
    in->width = set->width;
    in->classes = set->classes;
    memcpy(in->class_name, set->class_name, sizeof in->class_name);
    if (!where->unchecked)
        for (int i = 0; i < 3; i++)
            if (part[i])
                json_array_append_new(
                    *files, json_pack("{s:s, s:s}", "name", part[i]->name, "sha256", deciding_digest(part[i])));
    return idx ? read_idx(set, part[1], part[2], where, in, e) : read_one(set, part[0], where, in, e);
}

// bytes.c: the window between a file and the readers of containers. Unpacking goes straight into the reader's
// own memory: sixty thousand images are inflated once and copied never.
#include "bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "../base/arena.h"
#include "../base/hash.h"

enum { WINDOW = 1 << 16 };

struct bytes {
    const char *name;
    int fd;               // -1: memory
    int64_t size;         // as stored
    int64_t at;           // stored position of `next`
    const uint8_t *next;  // what is in the window and not yet used
    size_t have;
    uint8_t *window;  // file only
    enum { PLAIN, GZIP, ZLIB } packing;
    bool over;             // the zlib stream or the last gzip member has ended
    int64_t packed_left;   // stored bytes that belong to the zlib stream
    int64_t taken, limit;  // unpacked
    z_stream z;
    struct hash *hash;
};

struct bytes *bytes_open(const char *path, struct error *e) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        error_set(e, EXIT_SYSTEM, "%s: cannot open: %s", path, strerror(errno));
        if (fd >= 0) close(fd);
        return NULL;
    }
    if (!S_ISREG(st.st_mode)) {
        error_set(e, EXIT_INPUT, "%s: a regular file expected", path);
        close(fd);
        return NULL;
    }
    struct bytes *b = memory_zero(sizeof *b);
    b->name = strdup(path);
    b->fd = fd;
    b->size = st.st_size;
    b->window = memory_take(WINDOW);
    b->limit = INT64_MAX;
    return b;
}

struct bytes *bytes_of(const void *data, size_t count, const char *name) {
    struct bytes *b = memory_zero(sizeof *b);
    b->name = strdup(name);
    b->fd = -1;
    b->size = (int64_t)count;
    b->next = data;
    b->have = count;
    b->limit = INT64_MAX;
    return b;
}

static void pack_end(struct bytes *b) {
    if (b->packing != PLAIN) inflateEnd(&b->z);
    b->packing = PLAIN;
}

void bytes_close(struct bytes *b) {
    if (!b) return;
    unsigned char digest[32];
    pack_end(b);
    if (b->hash) hash_end(b->hash, digest);
    if (b->fd >= 0) close(b->fd);
    free(b->window);
    free((char *)b->name);
    free(b);
}

const char *bytes_name(const struct bytes *b) {
    return b->name;
}
int64_t bytes_size(const struct bytes *b) {
    return b->size;
}

// Makes sure the window holds at least one byte, unless the stored bytes are at their end.
static bool refill(struct bytes *b, struct error *e) {
    if (b->have || b->fd < 0) return true;
    ssize_t got;
    do got = read(b->fd, b->window, WINDOW);
    while (got < 0 && errno == EINTR);
    if (got < 0) return error_set(e, EXIT_SYSTEM, "%s: cannot read: %s", b->name, strerror(errno));
    b->next = b->window;
    b->have = (size_t)got;
    return true;
}

static void use(struct bytes *b, size_t count) {
    b->next += count;
    b->have -= count;
    b->at += (int64_t)count;
}

static bool pack_begin(struct bytes *b, int packing, int64_t limit, struct error *e) {
    memset(&b->z, 0, sizeof b->z);
    // 15 is the largest window; 16 more asks for gzip's wrapping.
    if (inflateInit2(&b->z, packing == GZIP ? 15 + 16 : 15) != Z_OK)
        return error_set(e, EXIT_SYSTEM, "%s: zlib does not start", b->name);
    b->packing = packing;
    b->over = false;
    b->taken = 0;
    b->limit = limit;
    return true;
}

bool bytes_gunzip(struct bytes *b, int64_t limit, struct error *e) {
    if (!refill(b, e)) return false;
    b->limit = limit;
    if (b->have < 2 || b->next[0] != 0x1f || b->next[1] != 0x8b) return true;
    return pack_begin(b, GZIP, limit, e);
}

bool bytes_unzlib(struct bytes *b, int64_t packed, int64_t limit, struct error *e) {
    pack_end(b);
    b->packed_left = packed;
    return pack_begin(b, ZLIB, limit, e);
}

bool bytes_seek(struct bytes *b, int64_t position, struct error *e) {
    pack_end(b);
    b->limit = INT64_MAX;
    b->taken = 0;
    if (position < 0 || position > b->size)
        return error_set(e, EXIT_INPUT, "%s: byte %lld expected, the file has %lld", b->name, (long long)position,
                         (long long)b->size);
    if (b->fd < 0) {  // memory: the window is everything
        b->next += position - b->at;
        b->have = (size_t)(b->size - position);
    } else {
        if (lseek(b->fd, position, SEEK_SET) < 0)
            return error_set(e, EXIT_SYSTEM, "%s: cannot seek: %s", b->name, strerror(errno));
        b->have = 0;
    }
    b->at = position;
    return true;
}

// gzip allows several members in a row; anything else after one is damage.
static bool next_member(struct bytes *b, struct error *e) {
    b->over = true;
    if (b->packing == ZLIB) return true;
    if (!refill(b, e) || !b->have) return b->have || !e->status;
    if (b->next[0] != 0x1f) return error_set(e, EXIT_INPUT, "%s: bytes after the end of the gzip data", b->name);
    b->over = false;
    return inflateReset(&b->z) == Z_OK || error_set(e, EXIT_SYSTEM, "%s: zlib does not restart", b->name);
}

// Up to `count` unpacked bytes, at least one unless the stream is at its end; -1 on failure.
static ssize_t unpack(struct bytes *b, uint8_t *out, size_t count, struct error *e) {
    if (count > 1u << 30) count = 1u << 30;
    b->z.next_out = out;
    b->z.avail_out = (unsigned)count;
    while (b->z.avail_out == count && !b->over) {
        if (!refill(b, e)) return -1;
        size_t offer = b->have < 1u << 30 ? b->have : 1u << 30;
        if (b->packing == ZLIB && (int64_t)offer > b->packed_left) offer = (size_t)b->packed_left;
        b->z.next_in = (unsigned char *)b->next;
        b->z.avail_in = (unsigned)offer;
        int status = inflate(&b->z, Z_NO_FLUSH);
        size_t used = offer - b->z.avail_in;
        use(b, used);
        b->packed_left -= (int64_t)used;
        if (status == Z_STREAM_END) {
            if (!next_member(b, e)) return -1;
        } else if (status == Z_BUF_ERROR) {  // neither bytes in nor bytes out
            error_set(e, EXIT_INPUT, "%s: the packed data ends early, after %lld of its bytes", b->name,
                      (long long)b->at);
            return -1;
        } else if (status == Z_MEM_ERROR) {
            error_set(e, EXIT_SYSTEM, "%s: zlib has no memory", b->name);
            return -1;
        } else if (status != Z_OK) {
            error_set(e, EXIT_INPUT, "%s: the packed data is damaged near byte %lld (%s)", b->name, (long long)b->at,
                      b->z.msg ? b->z.msg : "no dictionary");
            return -1;
        }
    }
    return (ssize_t)(count - b->z.avail_out);
}

static ssize_t copy(struct bytes *b, uint8_t *out, size_t count, struct error *e) {
    if (!refill(b, e)) return -1;
    if (count > b->have) count = b->have;
    if (count) memcpy(out, b->next, count);
    use(b, count);
    return (ssize_t)count;
}

static ssize_t some(struct bytes *b, uint8_t *out, size_t count, struct error *e) {
    ssize_t got = b->packing == PLAIN ? copy(b, out, count, e) : unpack(b, out, count, e);
    if (got > 0) {
        b->taken += got;
        if (b->taken > b->limit) {
            error_set(e, EXIT_INPUT, "%s: holds more than the %lld bytes expected at most", b->name,
                      (long long)b->limit);
            return -1;
        }
        if (b->hash) hash_add(b->hash, out, (size_t)got);
    }
    return got;
}

bool bytes_take(struct bytes *b, void *out, size_t count, struct error *e) {
    uint8_t *at = out;
    for (size_t left = count; left;) {
        ssize_t got = some(b, at, left, e);
        if (got < 0) return false;
        if (!got)
            return error_set(e, EXIT_INPUT, "%s: ends early: %zu more bytes expected, %zu there", b->name, count,
                             count - left);
        at += got;
        left -= (size_t)got;
    }
    return true;
}

bool bytes_skip(struct bytes *b, int64_t count, struct error *e) {
    uint8_t waste[16384];
    while (count > 0) {
        size_t step = count < (int64_t)sizeof waste ? (size_t)count : sizeof waste;
        if (!bytes_take(b, waste, step, e)) return false;
        count -= (int64_t)step;
    }
    return true;
}

bool bytes_end(struct bytes *b, struct error *e) {
    uint8_t byte;
    ssize_t got = some(b, &byte, 1, e);
    return got == 0 || (got > 0 && error_set(e, EXIT_INPUT, "%s: bytes left over after the data", b->name));
}

bool bytes_drain(struct bytes *b, struct error *e) {
    uint8_t waste[16384];
    ssize_t got;
    while ((got = some(b, waste, sizeof waste, e)) > 0) {
    }
    return got == 0;
}

void bytes_hash(struct bytes *b) {
    BUG_IF(b->hash, "%s is hashed already", b->name);
    b->hash = hash_new();
}

char *bytes_digest(struct bytes *b, char out[65]) {
    unsigned char digest[32];
    BUG_IF(!b->hash, "%s is not hashed", b->name);
    hash_end(b->hash, digest);
    b->hash = NULL;
    return hash_hex(digest, out);
}

bool bytes_check(struct bytes *b, const char *sha256, struct error *e) {
    char found[65];
    return strcmp(bytes_digest(b, found), sha256) == 0 ||
           error_set(e, EXIT_INPUT, "%s: SHA-256 %s expected, %s found", b->name, sha256, found);
}

bool bytes_are_page(const void *first, size_t count) {
    static const char *const opening[] = {"<!doctype", "<html", "<?xml"};
    const char *at = first, *end = at + count;
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n')) at++;
    for (size_t i = 0; i < sizeof opening / sizeof *opening; i++) {
        size_t n = strlen(opening[i]);
        if ((size_t)(end - at) >= n && strncasecmp(at, opening[i], n) == 0) return true;
    }
    return false;
}

bool bytes_refuse_page(struct bytes *b, struct error *e) {
    return refill(b, e) &&
           (!bytes_are_page(b->next, b->have) || error_set(e, EXIT_INPUT, "%s: is a web page, not the file", b->name));
}

// download.c: HTTP by libcurl. What a server says about lengths and ranges is believed only as far as the bytes
// bear it out: a part grows by what really came, and the caller's check has the last word.
#include "download.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../base/msg.h"
#include "bytes.h"

enum { ATTEMPTS = 2 };  // in a row without a new byte, for one address

struct transfer {
    const struct download *d;
    CURL *curl;
    int fd;         // the part
    int64_t have;   // bytes in it
    int64_t asked;  // where the range begins
    bool begun;     // the first byte of this answer has come
    bool page;      // the answer is HTML
    bool too_large;
    int failed;  // errno of a write, 0 while all went well
    struct progress progress;
};

static bool is_page(struct transfer *t) {
    char *type = NULL;
    curl_easy_getinfo(t->curl, CURLINFO_CONTENT_TYPE, &type);
    return type && strncasecmp(type, "text/html", 9) == 0;
}

// An answer to a Range request is the rest (206) or, from a server that ignores ranges, everything (200).
static bool begin_answer(struct transfer *t, const char *bytes, size_t count) {
    long status = 0;
    t->begun = true;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    t->page = is_page(t) || bytes_are_page(bytes, count);
    if (t->page) return false;
    if (t->asked && status != 206) {
        msg_more("the server ignores ranges: beginning again");
        t->have = 0;
        if (ftruncate(t->fd, 0) != 0) t->failed = errno;
    }
    return !t->failed;
}

static size_t receive(char *bytes, size_t size, size_t count, void *data) {
    struct transfer *t = data;
    size_t left = size * count;
    if (!t->begun && !begin_answer(t, bytes, left)) return 0;
    t->too_large = t->have + (int64_t)left > t->d->bytes;
    if (t->too_large) return 0;
    while (left) {
        ssize_t put = pwrite(t->fd, bytes, left, t->have);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) {
            t->failed = errno;
            return 0;
        }
        bytes += put;
        left -= (size_t)put;
        t->have += put;
    }
    progress_step(&t->progress, (long)(t->have >> 10), NULL);
    return size * count;
}

// Keeps a range's answer honest: "bytes FROM-TO/ALL" must begin where we stopped.
static size_t read_header(char *line, size_t size, size_t count, void *data) {
    struct transfer *t = data;
    size_t length = size * count;
    char text[128];
    long long from;
    if (t->asked && length > 14 && length < sizeof text && strncasecmp(line, "content-range:", 14) == 0) {
        memcpy(text, line, length);
        text[length] = 0;
        if (sscanf(text + 14, " bytes %lld-", &from) == 1 && from != t->asked) return 0;
    }
    return length;
}

static void set_up(struct transfer *t, const char *address, char *range, size_t room, char *detail) {
    CURL *c = t->curl;
    curl_easy_reset(c);
    *detail = 0;
    curl_easy_setopt(c, CURLOPT_URL, address);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(c, CURLOPT_MAXREDIRS, 5L);
    curl_easy_setopt(c, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "assay/" ASSAY_VERSION);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)t->d->timeout);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 64L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)t->d->timeout);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, detail);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, read_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    t->asked = t->have;
    if (t->asked) {
        snprintf(range, room, "%lld-", (long long)t->asked);
        curl_easy_setopt(c, CURLOPT_RANGE, range);
    }
    t->begun = t->page = t->too_large = false;
}

static bool empty_part(struct transfer *t, struct error *e) {
    t->have = 0;
    return ftruncate(t->fd, 0) == 0 || error_set(e, EXIT_SYSTEM, "%s.part: %s", t->d->path, strerror(errno));
}

static bool publish(struct transfer *t, const char *part, struct error *e) {
    if (fsync(t->fd) == 0 && rename(part, t->d->path) == 0) return true;
    return error_set(e, EXIT_SYSTEM, "%s: cannot be put in place: %s", t->d->path, strerror(errno));
}

enum outcome { WHOLE, CUT, REFUSED };

static enum outcome transfer(struct transfer *t, const char *address, struct error *why) {
    char detail[CURL_ERROR_SIZE], range[32];
    if (t->have == t->d->bytes) return WHOLE;
    set_up(t, address, range, sizeof range, detail);
    CURLcode code = curl_easy_perform(t->curl);
    long status = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    if (code == CURLE_OK && t->have) return WHOLE;
    if (t->page || (is_page(t) && code == CURLE_OK)) {
        error_set(why, EXIT_INPUT, "%s: answers with a web page, not the file", address);
        return REFUSED;
    }
    if (t->failed) {
        error_set(why, EXIT_SYSTEM, "%s.part: cannot write: %s", t->d->path, strerror(t->failed));
        return REFUSED;
    }
    if (t->too_large) {
        error_set(why, EXIT_INPUT, "%s: sends more than the %lld bytes expected", address, (long long)t->d->bytes);
        return REFUSED;
    }
    if (status == 416) {  // our part is no part of what is there
        error_set(why, EXIT_INPUT, "%s: has no bytes after %lld", address, (long long)t->have);
        return empty_part(t, why) ? CUT : REFUSED;
    }
    error_set(why, EXIT_SYSTEM, "%s: %s", address,
              code == CURLE_OK ? "an empty answer"
              : *detail        ? detail
                               : curl_easy_strerror(code));
    if (code == CURLE_WRITE_ERROR)
        return empty_part(t, why) ? CUT : REFUSED;  // read_header: another range than the one asked for
    bool passing = code == CURLE_PARTIAL_FILE || code == CURLE_OPERATION_TIMEDOUT || code == CURLE_RECV_ERROR ||
                   code == CURLE_GOT_NOTHING || code == CURLE_OK ||
                   (code == CURLE_HTTP_RETURNED_ERROR && status >= 500);
    return passing ? CUT : REFUSED;
}

// One address until it delivers, refuses, or brings nothing new several times. New is what goes beyond `most`, so a
// server that ignores ranges and always cuts ends this as well.
static bool from_address(struct transfer *t, const char *address, const char *part, struct error *why) {
    int64_t most = t->have;
    bool spoilt = false;
    for (int idle = 0; idle < ATTEMPTS;) {
        int64_t before = t->have;
        *why = (struct error){0};
        enum outcome o = transfer(t, address, why);
        if (o == REFUSED) return false;
        if (o == WHOLE) {
            if (t->d->check(part, t->d->data, why)) return publish(t, part, why);
            // Short: a server that lied about the length, and the rest may still come. Else these bytes are wrong,
            // perhaps those of an old part: once more from the start.
            bool shorter = t->have < t->d->bytes && t->have > before;
            if (!shorter && !empty_part(t, why)) return false;
            if (!shorter && spoilt) return false;
            spoilt |= !shorter;
        }
        msg_more("%s", why->text);
        idle = t->have > most ? 0 : idle + 1;
        most = t->have > most ? t->have : most;
        if (idle) usleep(100000u << idle);
    }
    return false;
}

static bool from_any(struct transfer *t, const char *part, struct error *e) {
    struct error why = {0};
    for (int i = 0; i < t->d->addresses; i++) {
        msg_say("%s", t->d->address[i]);
        if (from_address(t, t->d->address[i], part, &why)) return true;
        if (t->failed) break;
        if (i + 1 < t->d->addresses) msg_warn("%s; trying the next mirror", why.text);
    }
    return error_set(e, why.status ? why.status : EXIT_SYSTEM, "%s",
                     why.status ? why.text : "no address to download from");
}

// The part, locked; -1 with no error when another program has delivered the file while we waited.
static int open_part(const char *part, const char *path, struct error *e) {
    struct stat st, now;
    for (;;) {
        int fd = open(part, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (fd < 0 || fstat(fd, &st) != 0) {
            error_set(e, EXIT_SYSTEM, "%s: cannot open: %s", part, strerror(errno));
            if (fd >= 0) close(fd);
            return -1;
        }
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            msg_say("%s: another program is fetching it, waiting", path);
            flock(fd, LOCK_EX);
        }
        // The lock is worth something only on the file that has the name now.
        if (stat(part, &now) == 0 && now.st_ino == st.st_ino && now.st_dev == st.st_dev) return fd;
        close(fd);
        if (access(path, F_OK) == 0) return -1;
    }
}

bool download(const struct download *d, struct error *e) {
    char part[4096];
    struct stat st;
    if (snprintf(part, sizeof part, "%s.part", d->path) >= (int)sizeof part)
        return error_set(e, EXIT_SYSTEM, "%s: the path is too long", d->path);
    struct transfer t = {.d = d, .fd = open_part(part, d->path, e)};
    if (t.fd < 0) return !e->status;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    t.curl = curl_easy_init();
    bool good = false;
    if (!t.curl || fstat(t.fd, &st) != 0)
        error_set(e, EXIT_SYSTEM, "%s: the download does not start", d->path);
    else {
        t.have = st.st_size;
        progress_open(&t.progress, "KiB", (long)(d->bytes >> 10));
        if (t.have <= d->bytes || empty_part(&t, e)) good = from_any(&t, part, e);
        progress_close(&t.progress);
    }
    curl_easy_cleanup(t.curl);
    curl_global_cleanup();
    close(t.fd);
    return good;
}

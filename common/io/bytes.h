// bytes.h: a stream of bytes for the readers of containers: out of a file or memory, inflated on the way where
// it is packed, hashed as it passes. Nothing is allocated but a fixed window, whatever the input claims, and
// a limit on what it may unpack to stops bombs. Errors name the stream.
#ifndef ASSAY_IO_BYTES_H
#define ASSAY_IO_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../base/error.h"

struct bytes;  // freed by bytes_close

struct bytes *bytes_open(const char *path, struct error *e);  // a regular file
struct bytes *bytes_of(const void *data, size_t count, const char *name);  // borrows both
void bytes_close(struct bytes *b);
const char *bytes_name(const struct bytes *b);
int64_t bytes_size(const struct bytes *b);  // as stored

// From here on what is taken is unpacked, if the stream begins with gzip's magic (several members are one
// stream, as gzip has it); a plain stream stays as it is. More than `limit` bytes are refused.
bool bytes_gunzip(struct bytes *b, int64_t limit, struct error *e);
// The next `packed` bytes as stored are one zlib stream. bytes_seek leaves it.
bool bytes_unzlib(struct bytes *b, int64_t packed, int64_t limit, struct error *e);
bool bytes_seek(struct bytes *b, int64_t position, struct error *e);  // to a stored position, unpacking nothing

bool bytes_take(struct bytes *b, void *out, size_t count, struct error *e);  // all of them, or an error that says how many came
bool bytes_skip(struct bytes *b, int64_t count, struct error *e);
bool bytes_end(struct bytes *b, struct error *e);                // refuses bytes that are left over
bool bytes_drain(struct bytes *b, struct error *e);              // takes whatever is left

// SHA-256, in lower-case hex, of everything taken from bytes_hash on. bytes_check compares and says both.
void bytes_hash(struct bytes *b);
char *bytes_digest(struct bytes *b, char out[65]);  // ends the hashing
bool bytes_check(struct bytes *b, const char *sha256, struct error *e);

// A web page is what a mirror that has moved likes to send.
bool bytes_are_page(const void *first, size_t count);
// Looks at the stream's next bytes, takes none.
bool bytes_refuse_page(struct bytes *b, struct error *e);

#endif

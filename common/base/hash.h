// hash.h: SHA-256 by libcrypto.
#ifndef ASSAY_BASE_HASH_H
#define ASSAY_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

struct hash;  // freed by hash_end
struct hash *hash_new(void);
void hash_add(struct hash *h, const void *bytes, size_t count);
void hash_add_u64(struct hash *h, uint64_t value);             // little-endian
void hash_add_counted(struct hash *h, const char *text);       // u64 length, then the bytes
void hash_end(struct hash *h, unsigned char digest[32]);
char *hash_hex(const unsigned char digest[32], char out[65]);

#endif

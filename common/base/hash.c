// hash.c: SHA-256 by libcrypto's EVP interface, which picks the processor's own instructions.
#include "hash.h"

#include <openssl/evp.h>
#include <string.h>

#include "error.h"

// The type is never completed: a hash *is* libcrypto's context.
static EVP_MD_CTX *context(struct hash *h) {
    return (EVP_MD_CTX *)h;
}

struct hash *hash_new(void) {
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    BUG_IF(c == NULL || EVP_DigestInit_ex(c, EVP_sha256(), NULL) != 1, "libcrypto has no SHA-256");
    return (struct hash *)c;
}

void hash_add(struct hash *h, const void *bytes, size_t count) {
    BUG_IF(EVP_DigestUpdate(context(h), bytes, count) != 1, "SHA-256 failed");
}

void hash_add_u64(struct hash *h, uint64_t value) {
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(value >> 8 * i);
    hash_add(h, bytes, sizeof bytes);
}

void hash_add_counted(struct hash *h, const char *text) {
    size_t length = strlen(text);
    hash_add_u64(h, length);
    hash_add(h, text, length);
}

void hash_end(struct hash *h, unsigned char digest[32]) {
    BUG_IF(EVP_DigestFinal_ex(context(h), digest, NULL) != 1, "SHA-256 failed");
    EVP_MD_CTX_free(context(h));
}

char *hash_hex(const unsigned char digest[32], char out[65]) {
    for (int i = 0; i < 32; i++) {
        out[2 * i] = "0123456789abcdef"[digest[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
    }
    out[64] = '\0';
    return out;
}

// blob.h: the exchange format: a safetensors file with assay's metadata (blob(5)).
//
// A struct blob owns its tensors' bytes, names and metadata; views taken from it live as long as it does.
// Readers refuse anything malformed with EXIT_INPUT and a sentence that names the file, what was expected
// and what was found; what a hostile header claims never drives an allocation beyond the bytes really read.
#ifndef ASSAY_IO_BLOB_H
#define ASSAY_IO_BLOB_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include "tensor.h"

struct blob {
    int count;
    struct tensor *tensor;  // in byte order of their names
    json_t *metadata;       // object of strings, as stored, without assay.digest and assay.seal
    json_t *record;         // parsed assay.record, or NULL
    json_t *lineage;        // parsed assay.lineage (array, oldest first), or NULL
    const char *kind;       // assay.kind, or "" for a plain safetensors file
    char digest[65];        // SHA-256 of the contents, lower-case hex; computed for plain files too
    bool sealed;            // read, and its seal and digest were right; false for plain files
    const char *source;     // file name for messages, "standard input" for "-"
    struct arena *arena;    // private: names
    struct blob_memory *memory;  // private: tensor data of a blob that was read
};

// ---- reading

// A stream of concatenated blobs: a file, a pipe, "-" or NULL for standard input, gzip or not.
struct blob_stream;
struct blob_stream *blob_stream_open(const char *path, struct error *e);
// The next blob, or NULL: at the end e->status is EXIT_DONE, on failure it is not.
struct blob *blob_next(struct blob_stream *s, struct error *e);
void blob_stream_close(struct blob_stream *s);

// Exactly one blob; bytes left over are refused.
struct blob *blob_open(const char *path, struct error *e);
void blob_free(struct blob *b);

// By name, or NULL. blob_need says in the error which tensors there are.
const struct tensor *blob_find(const struct blob *b, const char *name);
const struct tensor *blob_need(const struct blob *b, const char *name, struct error *e);
const char *blob_meta(const struct blob *b, const char *key);  // or NULL
// "SOURCE: " in front of the text that says what is wrong with a blob; false, EXIT_INPUT.
bool blob_refuse(const struct blob *b, struct error *e, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
// Refuses a blob whose kind is none of `kinds` ("model|checkpoint"); a plain file passes when kinds starts with '|'.
bool blob_expect_kind(const struct blob *b, const char *kinds, struct error *e);

// ---- writing

// A blob under construction; kind NULL or "" for none. Tensor data is borrowed until blob_write or blob_free;
// names and records are copied. blob_add moves the array: pointers from blob_find do not survive it.
struct blob *blob_new(const char *kind);
void blob_add(struct blob *b, const char *name, enum dtype d, int rank, const int64_t *dim, const void *data);
void blob_set_meta(struct blob *b, const char *key, const char *value);
void blob_set_record(struct blob *b, const json_t *record);  // copied
// Lineage: the inputs' own lineages (each entry once, oldest first), then this program's entry.
// `options` is an object of the options that affect the result (paths never, their digests instead); its
// "seed", where there is one, becomes the entry's. The inputs' digests are added here.
void blob_set_lineage(struct blob *b, const char *program, const json_t *options,
                      const struct blob *const *inputs, int count);
// A blob under construction with the kind, metadata, record and lineage of another and no tensors.
struct blob *blob_like(const struct blob *from);
// Seals and writes behind what `o` holds already: several blobs make a stream.
struct out;
bool blob_emit(struct blob *b, struct out *o, struct error *e);
// Seals and writes. path NULL or "-": standard output. Atomic for files (out.h).
bool blob_write(struct blob *b, const char *path, struct error *e);

// The digest of the tensors a blob holds now (also of one under construction).
void blob_compute_digest(struct blob *b);

#endif

// record.h: the JSON record of a blob: {"config": {...}, "metrics": {...}, "notes": [...]}.
//
// Numbers are numbers. A key never holds a dot, so a path splits at dots: "metrics.robust.pgd.eps_0p1.accuracy".
// Rates are fractions; the interval of NAME is its sibling NAME_interval, [low, high], 95 %.
// Built on jansson: a record is a json_t the caller owns (json_decref).
#ifndef ASSAY_IO_RECORD_H
#define ASSAY_IO_RECORD_H

#include <jansson.h>
#include <stdint.h>
#include "../base/error.h"
#include "../base/stats.h"

json_t *record_new(void);  // {"config": {}, "metrics": {}, "notes": []}

// Set a value by a dotted path that begins with "config." or "metrics." (BUG otherwise), making objects on the way.
void record_set(json_t *record, const char *path, json_t *value);  // takes the value's reference
void record_copy(json_t *record, const json_t *from, const char *path);  // what stands there in another; from NULL: nothing
void record_real(json_t *record, const char *path, double value);  // NaN and infinities become null
void record_int(json_t *record, const char *path, int64_t value);
void record_text(json_t *record, const char *path, const char *value);
// A value with its interval as the sibling PATH_interval; null for each of the two that is no number.
void record_estimate(json_t *record, const char *path, double value, struct interval interval);
// A rate k / n with its Clopper-Pearson interval as the sibling PATH_interval.
void record_rate(json_t *record, const char *path, long k, long n);
// A seed as a value: an integer as far as JSON has them (2^63 - 1), decimal text beyond. A new reference.
json_t *record_seed(uint64_t seed);
void record_note(json_t *record, const char *format, ...) __attribute__((format(printf, 2, 3)));

json_t *record_get(const json_t *record, const char *path);  // borrowed; NULL where absent; "a.1" indexes arrays
bool record_get_real(const json_t *record, const char *path, double *value);

// Whether a record's config has every key of `identity` with its value: what a checkpoint must agree in. EXIT_INPUT names
// `where` and the first difference.
bool record_continues(const json_t *record, const json_t *identity, const char *where, struct error *e);

// "eps_0p1" for .1, "eps_0p0313725" for 8/255: six significant digits, shortest, 'p' for the point.
char *record_eps_key(double eps, char out[32]);

// The keys of an object in byte order, borrowed from it; free() the array.
const char **record_keys(const json_t *object, size_t *count);
// Compact, keys sorted, reals by shortest round trip: the same record is the same text. Free with free().
char *record_dump(const json_t *value);
bool record_print(const json_t *value, struct error *e);  // that text as a line on standard output: --json
// Duplicate keys refused, depth bounded by jansson. `where` names the source in the message.
json_t *record_parse(const char *text, size_t length, const char *where, struct error *e);

#endif

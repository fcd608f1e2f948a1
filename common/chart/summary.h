// summary.h: what a report says, as one JSON value: every number in the page, the charts, the rows and on the
// terminal is read from here, and summary.json is this value.
//
//     schema       "assay.report/1"; the number changes when a key changes its meaning or goes
//     title        text
//     entries      what is compared, in the order of the input: a model on one set of images in one norm.
//                  id (letters, digits, - and _; the key in `metrics`), model (digest), arch, family, regime,
//                  data (digest), norm, count, settings and notes of the attacks ...
//     metrics      by id: chance, train, test, history, clean, robust.METHOD.eps_E, strongest.eps_E, per_class.
//                  Rates are fractions with their 95 % intervals beside them (NAME_interval).
//     verdict      one for each entry: utility, robustness, membership, reconstruction
//     reconstructions  how images rebuilt from models score (scores.h)
//     memberships  how members are told from others (memberships.h)
//     searches     what tune(1) tried (trials.h)
//     blobs        what was read: name, kind, digest
//     lineage      every step that led here, oldest first, with its inputs' digests and, where known, its output's
//     limits       sentences: what these numbers do not say
//     notes        sentences: what is odd about this input
//
// Records come from anywhere: values of a wrong type are passed over, keys that end in paths and file names
// are reduced to letters, digits, - and _.
#ifndef ASSAY_CHART_SUMMARY_H
#define ASSAY_CHART_SUMMARY_H

#include <jansson.h>
#include "../io/blob.h"

struct summary;  // owns all it holds

struct summary *summary_new(const char *title);  // NULL: what the page is about
void summary_free(struct summary *s);
// Takes what it needs of one input, in any order; kinds it does not know are listed among the blobs.
void summary_add(struct summary *s, const struct blob *b);
// Matches models with attacks and draws the conclusions. Borrowed from `s`. Once.
const json_t *summary_end(struct summary *s);
// The id of the entry an attack blob went to, or of the reconstruction that a score is, or NULL; after summary_end.
const char *summary_entry_of(const struct summary *s, const char *digest);

// ---- reading it

struct summary_rate {
    double value, low, high;  // NaN where not there; fractions
};
struct summary_rate summary_rate(const json_t *at, const char *key);
double summary_real(const json_t *at, const char *key);         // NaN where not there
const char *summary_text(const json_t *at, const char *key);    // "" where not there
bool summary_true(const json_t *at, const char *key);
bool summary_has(const json_t *list, const char *key, const char *value);  // an object with that text there
const json_t *summary_metrics(const json_t *summary, const json_t *entry);

double summary_eps(const char *key);  // "eps_0p1" -> .1, NaN where it is no such key
// The keys of an object that stand for an epsilon, the smallest first; borrowed, free() the array.
const char **summary_eps_keys(const json_t *object, size_t *count);

// Names of norms and methods as people write them: "L\xe2\x88\x9e", "PGD". A method without one keeps its key,
// and the text lives as long as the argument.
const char *summary_norm_name(const char *norm);
const char *summary_method_name(const char *method);

// ---- writing it

void summary_put_real(json_t *to, const char *key, double value);  // NaN and infinities leave nothing
void summary_put_rate(json_t *to, const char *key, struct summary_rate r);
json_t *summary_object(json_t *at, const char *key);  // the object there, made where it is not; borrowed
// An id that no object of the list has: stem, or where it is taken the stem with a number behind it.
enum { SUMMARY_ID = 40 };
void summary_new_id(const json_t *list, const char *stem, char id[SUMMARY_ID]);
void summary_say(json_t *list, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Indented, keys sorted, reals by shortest round trip, lists of numbers on one line. Free with free().
char *summary_dump(const json_t *summary);

#endif

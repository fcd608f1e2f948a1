// search.h: trials of a command with settings that a Gaussian process proposes (bayes.h), and the log they leave.
//
// A trial runs the command with values in its braces and reads one number out of the JSON that it prints. One that fails,
// prints no JSON, lacks the number or takes too long is a failed trial: it is kept, and the model takes it for as bad as
// the worst. Trials that run at a time know of each other what the model expects of them.
//
// One at a time, the same command and seed try the same points; several at a time, the order in which they end has a say.
// A struct search borrows its options and owns the rest.
#ifndef ASSAY_AUDIT_SEARCH_H
#define ASSAY_AUDIT_SEARCH_H

#include "../io/blob.h"
#include "../io/record.h"
#include "bayes.h"

struct search_options {
    const struct space *space;
    const char *command, *metric;  // shell line; path in the record it prints
    bool maximise;
    int64_t trials, parallel;
    int64_t starts;  // trials before the model is asked; 0: a fifth of all, 2 at least
    double timeout;  // seconds, 0: none
    double xi;       // bayes.h
    uint64_t seed;
    const char *checkpoint;  // written after every trial, once one gave a value; NULL: not
    bool watch;              // end when nobody reads standard output any more
};

struct search {
    const struct search_options *o;
    int64_t trials;         // there are, those that run included; in the order they began
    double *u;              // [trials, D], snapped
    double *value;          // [trials], as the command gave them; NaN where it gave none
    unsigned char *status;  // [trials], enum bayes_status
    int64_t starts;
    int64_t done, failed, best;  // best: a trial, -1 without one
    bool exhausted;              // every point of the space was tried
    bool interrupted;            // by a signal, or by a reader that went away
    bool unread;                 // by the latter
    json_t *record;              // private: notes
    struct arena saved;          // private: tensors of search_save
};

struct search *search_new(const struct search_options *o);
void search_free(struct search *s);

// Takes over the trials of a log (search_save). One of another command, metric, goal, xi, seed or other ranges is refused, its
// number of trials may be smaller than the one wanted now; its starts count where none were asked for.
bool search_resume(struct search *s, const char *path, struct error *e);

// Runs what is left of the trials. EXIT_INPUT where every one of the starts failed. Interrupted, it ends what runs, writes the
// checkpoint and returns true.
bool search_run(struct search *s, struct error *e);

// The log of what ended so far, as a blob of kind "trials" with its record; with `model` also what the process makes of it.
// Tensors are borrowed from s and live until the next search_save.
struct blob *search_save(struct search *s, bool model);

// The number at `path` of the JSON in `text`: of the whole, or else of its last line that is not blank. A leading "metrics."
// may be left out. False with a few words in `why`.
bool search_read(const char *text, size_t length, const char *path, double *value, char why[200]);

#endif

// bayes.h: where to look next for the least value of a function that is costly to call (Jones, Schonlau & Welch 1998,
// "Efficient global optimization of expensive black-box functions").
//
// The first trials are a low-discrepancy sequence. Each later one is where a Gaussian process (gp.h) of all values so far
// expects the most improvement. A proposal is a function of the trials before it, their number and the seed, of nothing
// else: a search that is interrupted goes on as it would have gone.
#ifndef ASSAY_AUDIT_BAYES_H
#define ASSAY_AUDIT_BAYES_H

#include "../base/rng.h"
#include "gp.h"
#include "space.h"

enum bayes_status {  // as stored in blobs
    BAYES_FAILED,    // ran and gave no value: modelled as the worst value there is
    BAYES_DONE,
    BAYES_PENDING,  // still runs: modelled as what is expected of it
};

struct bayes {
    const struct space *space;
    uint64_t seed;
    int64_t starts;  // trials before the model is asked
    double xi;       // improvements smaller than this times the better half's mean distance from the best value do not count
    int64_t
        candidates;  // points at which the expected improvement is looked at, of which the best BAYES_REFINED are refined
};
enum { BAYES_REFINED = 5 };

// E[max(best - xi - f, 0)] for f ~ N(mean, sd^2), and its logarithm, which tells points apart whose improvement is less
// than any double (Ament et al. 2023, "Unexpected improvements to expected improvement"), with its slopes where they are not NULL.
double bayes_improvement(double mean, double sd, double best, double xi);
double bayes_log_improvement(double mean, double sd, double best, double xi, double *by_mean, double *by_sd);

// Point number `trial` (the trials before it are 0 .. trial - 1), snapped, different from all before: u [trial, D] are
// those, value [trial] theirs (smaller is better; read where the status is BAYES_DONE). False when every point was tried.
bool bayes_propose(const struct bayes *b, int64_t trial, const double *u, const double *value,
                   const unsigned char *status, double *next);

// The process that stands behind a proposal, of the trials that ended; NULL while none gave a value.
struct gp *bayes_model(const struct bayes *b, int64_t trials, const double *u, const double *value,
                       const unsigned char *status);

// Points [count, d] of a low-discrepancy sequence in [0, 1)^d, number `from` and those behind it: Roberts 2018, "The
// unreasonable effectiveness of quasirandom sequences" (additive recurrence by powers of 1 / g, g^(d+1) = g + 1), shifted
// by draws of (stream, number) (Cranley & Patterson 1976).
void bayes_sequence(int64_t d, struct stream shift, uint32_t number, int64_t from, int64_t count, double *u);

#endif

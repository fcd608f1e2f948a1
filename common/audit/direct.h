// direct.h: the direct attack from a model to ranked candidates: how many images, in what space, which of what was found, and again.
//
// Where the first layer spans the training images (span.h) the attack runs inside the span and reads the number of images
// off the singular values; elsewhere, or where it is told to, it works on pixels and must be told the number. Candidates
// are ranked without the truth: by how well the nearest candidate of another restart agrees (NCC of the same class), which is
// the confidence; with one restart by the multiplier of the own class, over the largest. Where there is a certificate
// (certificate.h) one candidate for each member found goes before them, certified ones first, then their copies; their confidence
// is the share of slopes in [0, 1] times the share of signs that are right. One candidate of a member is marked.
//
// Where a quarter of the images are certain after the first restart, by exact rows, training came to rest and no other restart is
// made. What is certain is peeled off (reduced.h) and the others are looked for anew in what it leaves of the weights, with
// candidates for them alone, in as many dimensions as they are: a round finds what the one before could not tell apart, until one
// finds nothing that is certain. The candidates of all restarts and rounds are ranked together.
//
// A struct direct borrows model and pool and owns the rest.
#ifndef ASSAY_AUDIT_DIRECT_H
#define ASSAY_AUDIT_DIRECT_H

#include "candidates.h"
#include "certificate.h"
#include "kkt.h"

struct direct_round {
    struct reduced *reduced;         // NULL on pixels
    struct kkt *kkt;
    struct certificate *certificate; // NULL where there is none, and before direct_next or direct_candidates
    int64_t images;                  // training images sought
    int64_t certified, copies;       // candidates marked, one for each member; all that would have been
    bool peeled;                     // another round follows: only exact rows are marked, and are peeled off
};

enum { DIRECT_ROUNDS = 16 };

struct direct {
    const struct model *m;
    struct span *span;               // NULL on pixels
    struct direct_round round[DIRECT_ROUNDS];
    int rounds;                      // opened so far, from 1
    int64_t images;                  // training images of all rounds
    bool images_given;
    struct kkt_options o;            // of the first round
};

// images 0: read off the span; refused (EXIT_USAGE) where it cannot be. o->candidates 0: four for each image; o->lr and o->start
// NAN: kkt_defaults of the space.
struct direct *direct_open(const struct model *m, bool in_span, int64_t images, const struct kkt_options *o, struct pool *pool,
                           struct error *e);
void direct_free(struct direct *d);
struct kkt *direct_kkt(const struct direct *d);  // of the last round: to run
// Once that has run to its stop: makes ready what is to run next, its other restarts or a round for what is not certain yet.
// False where there is nothing more, at most `rounds` rounds, and on an error.
bool direct_next(struct direct *d, int rounds, struct pool *pool, struct error *e);
void direct_drop(struct direct *d);  // the last round, which is not the first and did not run to its end
// Once all rounds have run. Cut short by out_stopping(): nothing it says is to be believed then.
struct candidates *direct_candidates(struct direct *d, struct pool *pool, struct error *e);
int64_t direct_certified(const struct direct *d);
void direct_profile(struct direct *d, double seconds[PARTS]);  // of all rounds, as exec_profile
// After direct_candidates: the first round's residuals before each step as loss.residual [restarts, steps], which the blob
// borrows, and what the attack says of itself in the record's metrics.
void direct_note(const struct direct *d, struct blob *b, json_t *record);
double direct_residual(const struct direct_round *r);  // the least of all restarts, a length
// What the identity behind the attack rests on, for this model: a sentence.
const char *direct_claim(const struct model *m);

#endif

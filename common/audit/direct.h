// direct.h: the direct attack from a model to ranked candidates: how many images, in what space, which of what was found.
//
// Where the first layer spans the training images (span.h) the attack runs inside the span and reads the number of images
// off the singular values; elsewhere, or where it is told to, it works on pixels and must be told the number. Candidates
// are ranked without the truth: by how well the nearest candidate of another restart agrees (NCC of the same class), which is
// the confidence; with one restart by the multiplier of the own class, over the largest. Where there is a certificate
// (certificate.h) one candidate for each member found goes before them, certified ones first, then their copies; their confidence
// is the share of slopes in [0, 1] times the share of signs that are right. One candidate of a member is marked.
//
// A struct direct borrows model and pool and owns the rest.
#ifndef ASSAY_AUDIT_DIRECT_H
#define ASSAY_AUDIT_DIRECT_H

#include "candidates.h"
#include "certificate.h"
#include "kkt.h"

struct direct {
    const struct model *m;
    struct span *span;               // NULL on pixels
    struct reduced *reduced;
    struct kkt *kkt;
    struct certificate *certificate; // NULL where there is none
    int64_t images;                  // training images sought
    bool images_given;
    int64_t certified, copies;       // candidates marked, one for each member; all that would have been
};

// images 0: read off the span; refused (EXIT_USAGE) where it cannot be. o->candidates 0: four for each image; o->lr and o->start
// NAN: kkt_defaults of the space.
struct direct *direct_open(const struct model *m, bool in_span, int64_t images, const struct kkt_options *o, struct pool *pool,
                           struct error *e);
void direct_free(struct direct *d);
// Once d->kkt has run. Cut short by out_stopping(): nothing it says is to be believed then.
struct candidates *direct_candidates(struct direct *d, struct pool *pool, struct error *e);
// After direct_candidates: the residuals before each step as loss.residual [restarts, steps], which the blob borrows, and what
// the attack says of itself in the record's metrics.
void direct_note(const struct direct *d, struct blob *b, json_t *record);
double direct_residual(const struct direct *d);  // the least of all restarts, a length
// What the identity behind the attack rests on, for this model: a sentence.
const char *direct_claim(const struct model *m);

#endif

// trust.h: whether the numbers of an evaluation can be believed (after Athalye et al. 2018, "Obfuscated gradients give
// a false sense of security", and Carlini et al. 2019, "On evaluating adversarial robustness").
//
// Every check leaves what it measured under metrics.checks; one that fires is said aloud and noted in the record, with
// its likely cause and the next step.
#ifndef ASSAY_AUDIT_TRUST_H
#define ASSAY_AUDIT_TRUST_H

#include "pgd.h"

enum { TRUST_SAMPLE = 200 };  // examples that trust_reach attacks

// Two forward passes agree bit for bit; outputs are logits, not probabilities.
bool trust_model(struct attack *a, json_t *record, struct error *e);
// An attack that may go anywhere in [0, 1] breaks everything: p on the first TRUST_SAMPLE images, at eps = 1 (L2:
// the diagonal of the unit cube).
bool trust_reach(struct attack *a, const struct pgd *p, enum ball_norm norm, json_t *record, struct error *e);
// What an attack says about itself: gradients that are zero, a loss that still rose at the end, images whose verdict
// differed from what the attack had seen.
void trust_result(const struct attack *a, const struct attack_result *r, json_t *record);

#endif

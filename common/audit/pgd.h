// pgd.h: projected gradient descent and its two simplest relatives. One description covers all three:
//
//     noise  starts at the edge of the ball and takes no step; restarts are further draws
//     fgsm   starts at the clean image and takes one step of length eps
//     pgd    starts anywhere in the ball and takes `steps` steps of length `step`
//
// An example is left alone as soon as an iterate, the start included, is misclassified.
#ifndef ASSAY_AUDIT_PGD_H
#define ASSAY_AUDIT_PGD_H

#include "attack.h"

enum pgd_start { PGD_CLEAN, PGD_INSIDE, PGD_EDGE };

struct pgd {
    const char *name;    // of the method, and of its stream: "attack/NAME"
    enum pgd_start start;
    int steps, restarts; // restarts counts the first start too: >= 1
    double step;
};
struct pgd pgd_noise(int draws);
struct pgd pgd_fgsm(double eps);
struct pgd pgd_of(double step, int steps, int restarts);
double pgd_default_step(double eps);  // max(1e-3, eps / 6)

// Attacks every example that stands in r, at r->ball.
bool pgd_run(struct attack *a, const struct pgd *p, struct attack_result *r, struct error *e);

#endif

// attack.h: a model on labelled images: how it does on them as they are, and what an attack made of them.
//
// Methods (pgd.h) propose images, attack_offer and attack_settle judge them: an example counts as broken only
// after the image that would be stored, in float32, was classified again without any gradient and was
// found in the ball and in [0, 1]. Examples that the model gets wrong by itself are not attacked. Robust accuracy is the
// share of all examples that are right on the clean image and not broken.
//
// A struct attack borrows model, data and pool and owns the rest; results are the caller's. Every draw is keyed by the
// example's position in the source, so a row does not depend on what else is attacked, nor on batches or threads.
#ifndef ASSAY_AUDIT_ATTACK_H
#define ASSAY_AUDIT_ATTACK_H

#include "../base/msg.h"
#include "ball.h"
#include "slope.h"

struct attack_options {
    const char *device;
    enum slope_loss loss;
    uint64_t seed;
    int64_t count;  // the first so many images; 0: all
    int64_t batch;  // images worked on at a time; no result depends on it
    int64_t keep;   // adversarial images are kept of the first so many examples; -1: of all
};

struct attack {
    const struct model *m;
    const struct dataset *d;
    struct pool *pool;
    struct attack_options o;  // count and keep as numbers of images
    int64_t size, classes;    // of an image, of a row of logits
    struct evaluator *evaluator;
    struct slope *slope;      // attack_slope
    struct progress *progress;  // NULL, or drawn from `progressed` on
    double progressed;

    // The clean images. [count]
    int64_t *y, *index, *prediction;  // class, position in the source, class found
    float *logits, *margin;           // [count, classes], [count]: z_y - max of the others
    float *x;                         // [keep, size]
    int64_t *confusion;               // [classes, classes]: class, class found; NULL with over a thousand classes
    int64_t right;
    double loss;                      // mean cross-entropy

    struct attack_queue *queue;  // private: images waiting for their verdict
};

// Evaluates the clean images. Logits that are not finite are refused (EXIT_INPUT, naming the image).
struct attack *attack_open(const struct model *m, const struct dataset *d, const struct attack_options *o, struct pool *pool,
                           struct error *e);
void attack_free(struct attack *a);
struct slope *attack_slope(struct attack *a, struct error *e);  // made when first asked for

// What one method at one radius came to. Arrays are [count]; of examples that were not attacked broken is 0, step is
// -1, and margin and prediction are the clean image's.
struct attack_result {
    const char *method;
    struct ball ball;
    unsigned char *broken;
    int32_t *step;        // the iterate that broke it, counted over all restarts from 0, the first start; or -1
    float *margin, *norm; // of the worst image found: its margin, and its distance from the clean image
    float *loss;          // and its cross-entropy
    int64_t *prediction;
    float *x;             // [keep, size]: that image
    int64_t attacked, stands;  // right on the clean image; of these, not broken
    int64_t rejected;     // seemed broken, and the verdict did not agree
    // Filled by methods that follow a gradient; followed is 0 otherwise.
    int64_t followed, flat;       // examples, and those whose first gradient was zero everywhere
    double late_loss, last_loss;  // mean loss a tenth of the steps before the end, and at it, of those that stood
    int64_t lasted;               // how many that were
};
struct attack_result *attack_result_new(const struct attack *a, const char *method, struct ball ball);
void attack_result_free(struct attack_result *r);

// The examples that an attack has still to break, in order; returns how many. out: [count].
int64_t attack_standing(const struct attack *a, const struct attack_result *r, int64_t *out);
// Queues an image x for example i; copies it. `broken`: the method saw it misclassified.
bool attack_offer(struct attack *a, struct attack_result *r, int64_t i, int32_t step, bool broken, const float *x, struct error *e);
// Gives the verdict on every image offered so far. The worst image of an example stays: broken before not, then the
// smallest margin, then the earliest.
bool attack_settle(struct attack *a, struct attack_result *r, struct error *e);

float attack_margin(const float *logits, int64_t classes, int64_t y);  // z_y - max_{j != y} z_j

// ---- what is written: tensors (borrowed from a and r) and metrics

void attack_save_clean(const struct attack *a, struct blob *b, json_t *record);
void attack_save(const struct attack *a, const struct attack_result *r, struct blob *b, json_t *record);
// A header line, then a line per example: index, label, prediction, method, eps, broken, step, margin, norm.
// r NULL: the clean images.
struct out;
bool attack_rows_header(struct out *o, struct error *e);
bool attack_rows(const struct attack *a, const struct attack_result *r, struct out *o, struct error *e);

#endif

// ball.c: steps, projections and random points of the L-infinity and the L2 ball around an image.
//
// L-infinity: x <- P(x + a sign(g)); L2: x <- P(x + a g / (|g| + 1e-12)) (Madry et al. 2018, "Towards deep learning
// models resistant to adversarial attacks"). A point uniform in the L2 ball is a normal vector's direction times
// eps u^(1/d) (e.g. Knuth, The Art of Computer Programming 2, 3.4.1).
#include "ball.h"

#include <math.h>
#include <string.h>

#include "../base/isa.h"
#include "ball_isa.h"

const char *const ball_norm_name[2] = {[BALL_LINF] = "linf", [BALL_L2] = "l2"};

static const struct ball_loops *loops(void) {
    return ISA_PICK(ball_loops);
}

// Back onto the L2 ball where x has left it, then into [0, 1].
static void project_l2(const struct ball_loops *l, const struct ball *b, const float *x0, float *x) {
    double d = sqrt(l->squares(b->size, x0, x));
    l->shrink(b->size, x0, d > b->eps ? (float)(b->eps / d) : 1, x);
}

struct ball_slope ball_step(const struct ball *b, const float *x0, const float *g, double step, float *x) {
    const struct ball_loops *l = loops();
    int flags = l->look(b->size, g);
    struct ball_slope slope = {.zero = !(flags & BALL_NONZERO), .finite = !(flags & BALL_WILD)};
    if (!slope.finite) return slope;
    if (b->norm == BALL_LINF) {
        l->corner(b->size, x0, g, (float)step, (float)b->eps, x);
        return slope;
    }
    double length = sqrt(l->squares(b->size, NULL, g));
    l->along(b->size, g, (float)(step / (length + 1e-12)), x);
    project_l2(l, b, x0, x);
    return slope;
}

// x holds normal draws: x0 + radius x / |x|, projected.
static void direct(const struct ball *b, const float *x0, double radius, float *x) {
    const struct ball_loops *l = loops();
    double length = sqrt(l->squares(b->size, NULL, x));
    double scale = radius / (length > 0 ? length : 1);
    for (int64_t i = 0; i < b->size; i++) x[i] = (float)(x0[i] + scale * x[i]);
    project_l2(l, b, x0, x);
}

void ball_inside(const struct ball *b, struct stream s, uint32_t example, uint32_t restart, const float *x0, float *x) {
    if (b->norm == BALL_L2) {
        rng_normal(s, example, 0, restart, x, b->size);
        direct(b, x0, b->eps * pow(rng_one(s, example, 1, restart), 1 / (double)b->size), x);
        return;
    }
    float eps = (float)b->eps;
    rng_uniform(s, example, 0, restart, x, b->size);
    for (int64_t i = 0; i < b->size; i++) {
        float far = x0[i] + eps * (2 * x[i] - 1);
        x[i] = far < 0 ? 0 : far > 1 ? 1 : far;
    }
}

void ball_edge(const struct ball *b, struct stream s, uint32_t example, uint32_t restart, const float *x0, float *x) {
    if (b->norm == BALL_L2) {
        rng_normal(s, example, 0, restart, x, b->size);
        direct(b, x0, b->eps, x);
        return;
    }
    float eps = (float)b->eps;
    rng_uniform(s, example, 0, restart, x, b->size);
    for (int64_t i = 0; i < b->size; i++) {
        float far = x0[i] + (x[i] < .5f ? -eps : eps);
        x[i] = far < 0 ? 0 : far > 1 ? 1 : far;
    }
}

double ball_distance(const struct ball *b, const float *x0, const float *x) {
    const struct ball_loops *l = loops();
    return b->norm == BALL_L2 ? sqrt(l->squares(b->size, x0, x)) : l->furthest(b->size, x0, x);
}

bool ball_holds(const struct ball *b, const float *x0, const float *x, double *distance) {
    double rounding = 0x1p-24 * (b->norm == BALL_L2 ? sqrt((double)b->size) : 1);
    *distance = ball_distance(b, x0, x);
    return !loops()->outside(b->size, x) && *distance <= b->eps + rounding;
}

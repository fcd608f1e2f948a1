// differences.h: derivatives of the oracle's values by central differences, in double.
#ifndef ASSAY_TESTS_DIFFERENCES_H
#define ASSAY_TESTS_DIFFERENCES_H

#include "oracle.h"

// The error of a central difference is about h^2 f''' / 6 + 1e-16 |f| / h: 1e-10 at h = 1e-5 for the
// functions here, whose third derivatives stay below some hundreds.
static const double STEP = 1e-5, TOLERANCE = 1e-6;  // the tolerance is relative, absolute below 1

enum { N = 3 };  // examples

// Added to the subject: something to weigh the entries of `node` with, of its sort and shape.
static inline struct node *weights_for(struct subject *s, const struct node *node) {
    return subject_variable(s, node->batch, ANY, 0, node->shape);
}

static inline double dot(const double *x, const double *y, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += x[i] * y[i];
    return sum;
}

static inline int variable_of(const struct subject *s, const struct node *node) {
    for (int i = 0; i < s->variables; i++)
        if (s->variable[i].node == node) return i;
    fail_msg("node %d is no variable", node->id);
    return -1;
}

// sum_i <f[i], weights[i]> at the values given.
static inline double weighed(struct runner *r, const struct subject *s, double **value, struct node *const *weight) {
    double *got[VARIABLES], sum = 0;
    runner_run(r, s, N, value, got);
    for (int i = 0; i < r->outputs; i++) sum += dot(got[i], value[variable_of(s, weight[i])], node_count(r->output[i], N));
    values_free(got, r->outputs);
    return sum;
}

// The largest difference, over the tolerance, between `gradient` (of sum_i <f[i], weight[i]> in x) and central differences.
static inline double disagreement(struct subject *s, double **value, struct node *const *f, struct node *const *weight, int count,
                           struct node *const *x, struct node *const *gradient, int reals) {
    struct runner forward = runner_open("ref", 0, s->g, f, count), backward = runner_open("ref", 0, s->g, gradient, reals);
    double *got[VARIABLES], worst = 0;
    runner_run(&backward, s, N, value, got);
    for (int i = 0; i < reals; i++) {
        assert_true(gradient[i]->batch == x[i]->batch && shape_equal(&gradient[i]->shape, &x[i]->shape));
        double *at = value[variable_of(s, x[i])];
        for (int64_t j = 0; j < node_count(x[i], N); j++) {
            double before = at[j];
            at[j] = before + STEP;
            double high = weighed(&forward, s, value, weight);
            at[j] = before - STEP;
            double low = weighed(&forward, s, value, weight);
            at[j] = before;
            double want = (high - low) / (2 * STEP);
            worst = fmax(worst, fabs(got[i][j] - want) / (TOLERANCE * (1 + fabs(want))));
        }
    }
    values_free(got, reals);
    runner_close(&forward);
    runner_close(&backward);
    return worst;
}

#endif

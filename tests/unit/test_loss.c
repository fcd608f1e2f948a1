// Losses against their formulas worked out by hand in double.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "engine/exec.h"
#include "nn/loss.h"

enum { N = 6, K = 4 };
static const double logits[N * K] = {.3, -1, 2, .5,   1, 1, 1, 1,   5e3, 0, -5e3, 1,   -5e3, 5e3, 2, 0,   -2, -3, -4, -1,   7, 7, 3, 2};
static const int32_t label[N] = {2, 0, 0, 0, 1, 1};
static const double weight[K] = {.5, 1, 2, 4};

static void run(struct graph *g, struct node *out, struct node *z, struct node *y, struct node *w, double *to) {
    struct error e = {0};
    struct plan *p = plan_new(g, &out, 1);
    struct exec *x = exec_open("ref", p, NULL, &e);
    assert_non_null(x);
    exec_set(x, z, logits);
    exec_set(x, y, label);
    if (w) exec_set(x, w, weight);
    exec_get(x, out, to);
    assert_true(exec_run(x, N, &e));
    exec_free(x);
    plan_free(p);
}

static double log_softmax(const double *z, int k) {
    double most = z[0], sum = 0;
    for (int j = 0; j < K; j++) most = fmax(most, z[j]);
    for (int j = 0; j < K; j++) sum += exp(z[j] - most);
    return z[k] - most - log(sum);
}

static void test_cross_entropy(void **state) {
    (void)state;
    for (int weighted = 0; weighted < 2; weighted++)
        for (int smooth = 0; smooth < 2; smooth++) {
            struct graph *g = graph_new();
            struct node *z = graph_input(g, "z", true, shape_of(1, K)), *y = graph_input_index(g, "y", true, shape_of(1, 1));
            struct node *w = weighted ? graph_input(g, "w", false, shape_of(1, K)) : NULL;
            double got[N], part = smooth ? .3 : 0;
            run(g, loss_cross_entropy(g, z, y, part, w ? graph_each(g, w) : NULL), z, y, w, got);
            for (int i = 0; i < N; i++) {
                double want = 0;
                for (int k = 0; k < K; k++) {
                    double target = part / K + (k == label[i] ? 1 - part : 0);
                    if (target > 0) want -= target * (weighted ? weight[k] : 1) * log_softmax(logits + i * K, k);
                }
                assert_true(isfinite(got[i]));
                assert_true(fabs(got[i] - want) <= 1e-12 * (1 + fabs(want)));
            }
            graph_free(g);
        }
}

static void test_margin(void **state) {
    (void)state;
    static const double want[N] = {1.5, 0, 4999, -1e4, -2, 0};
    struct graph *g = graph_new();
    struct node *z = graph_input(g, "z", true, shape_of(1, K)), *y = graph_input_index(g, "y", true, shape_of(1, 1));
    double got[N];
    run(g, loss_margin(g, z, y), z, y, NULL, got);
    for (int i = 0; i < N; i++) assert_true(got[i] == want[i]);
    graph_free(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cross_entropy), cmocka_unit_test(test_margin)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

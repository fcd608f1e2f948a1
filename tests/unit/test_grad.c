// Derivatives: every rule against central differences of the oracle, twice; the rules that are declared
// instead; and that the test would notice a wrong one.
#include "differences.h"

static bool declared(enum op op) { return op == OP_SOFT_RELU || op == OP_DETACH || op == OP_ROW_MAX; }

// The op's derivatives in all its real inputs, and with `second` the derivatives of those.
static double op_disagreement(enum op op, uint64_t seed, bool second) {
    struct subject s = subject_make(op, seed, 3);
    struct node *seed_node = weights_for(&s, s.out), *x[VARIABLES], *d[VARIABLES], *dd[VARIABLES], *weight[VARIABLES];
    int reals = subject_reals(&s, x), first = reals - 1;  // the seed came last
    grad_of(s.g, s.out, seed_node, x, first, d);
    struct node *total = graph_fill(s.g, 0, shape_of(1, 1));
    for (int i = 0; second && i < first; i++) {
        weight[i] = weights_for(&s, d[i]);
        struct node *part = graph_sum_all(s.g, graph_mul(s.g, d[i], weight[i]));
        total = graph_add(s.g, total, part->batch ? graph_sum_examples(s.g, part) : part);
    }
    double *value[VARIABLES], worst = 0;
    values_new(&s, N, false, value);
    if (second && first) {
        grad_of(s.g, total, NULL, x, reals, dd);
        worst = disagreement(&s, value, d, weight, first, x, dd, reals);
    } else if (!second && !declared(op)) {
        worst = disagreement(&s, value, &s.out, &seed_node, 1, x, d, first);
    }
    values_free(value, s.variables);
    graph_free(s.g);
    return worst;
}

static void every_rule(bool second) {
    for (int op = 0; op < OPS; op++)
        for (uint64_t seed = 0; seed < 12; seed++) {
            double worst = op_disagreement((enum op)op, seed, second);
            if (!(worst <= 1)) fail_msg("%s, seed %d: off by %g tolerances", op_name[op], (int)seed, worst);
        }
}

static void gradients_are_differences(void **state) {
    (void)state;
    every_rule(false);
}

static void second_gradients_are_differences_of_first(void **state) {
    (void)state;
    every_rule(true);
}

// What is declared is tested against its declaration: sigmoid(a x) dy, or zero.
static void declared_derivatives(void **state) {
    (void)state;
    const enum op ops[] = {OP_SOFT_RELU, OP_DETACH, OP_ROW_MAX, OP_STEP, OP_SIGN};
    for (int k = 0; k < 5; k++)
        for (uint64_t seed = 0; seed < 10; seed++) {
            struct subject s = subject_make(ops[k], seed, 4);
            struct node *seed_node = weights_for(&s, s.out), *x = s.variable[0].node, *in = s.node->in[0], *d;
            grad_of(s.g, s.out, seed_node, &in, 1, &d);  // in the op's own input, be it a variable or each(variable)
            double *value[VARIABLES], *got[1];
            values_new(&s, N, false, value);
            struct runner r = runner_open("ref", 0, s.g, &d, 1);
            runner_run(&r, &s, N, value, got);
            int64_t size = shape_count(&x->shape);
            for (int64_t i = 0; i < node_count(d, N); i++) {
                double at = value[0][x->batch ? i : i % size];
                double want = ops[k] == OP_SOFT_RELU ? value[1][i] / (1 + exp(-s.node->a * at)) : 0;
                assert_float_equal(got[0][i], want, 1e-12);
            }
            values_free(value, s.variables);
            values_free(got, 1);
            runner_close(&r);
            graph_free(s.g);
        }
}

static void every_op_has_a_rule_or_a_declared_zero(void **state) {
    (void)state;
    for (int op = 0; op < OPS; op++)
        if (grad_kind((enum op)op) != GRAD_RULE && grad_kind((enum op)op) != GRAD_ZERO)
            fail_msg("%s has neither a rule nor a declared zero", op_name[op]);
}

// A rule of the wrong sign must not pass the first of the tests above (soft_relu: its declaration).
static void a_flipped_rule_is_noticed(void **state) {
    (void)state;
    for (int op = 0; op < OPS; op++) {
        if (grad_kind((enum op)op) != GRAD_RULE) continue;
        double worst = 0;
        grad_flip_for_test((enum op)op);
        for (uint64_t seed = 0; seed < 12; seed++) worst = fmax(worst, op_disagreement((enum op)op, seed, false));
        grad_flip_for_test((enum op)op);
        if (op == OP_SOFT_RELU) {
            struct graph *g = graph_new();
            struct node *x = graph_input(g, "x", true, shape_of(1, 3)), *y = graph_soft_relu(g, x, 2), *right, *wrong;
            grad_of(g, y, NULL, &x, 1, &right);
            grad_flip_for_test(OP_SOFT_RELU);
            grad_of(g, y, NULL, &x, 1, &wrong);
            grad_flip_for_test(OP_SOFT_RELU);
            assert_ptr_not_equal(right, wrong);
            graph_free(g);
        } else if (!(worst > 100))
            fail_msg("%s: a flipped rule is off by only %g tolerances", op_name[op], worst);
        for (uint64_t seed = 0; seed < 3; seed++) assert_true(op_disagreement((enum op)op, seed, false) <= 1);  // as before
    }
}

// grad_of(y, NULL, ...) of a batch y: each example's own gradient, and their sum for a weight.
static void gradients_of_a_batch(void **state) {
    (void)state;
    struct subject s = {.g = graph_new(), .draws = {5}};
    struct node *x = subject_variable(&s, true, ANY, 0, shape_of(1, 4)), *w = subject_variable(&s, false, ANY, 0, shape_of(1, 4));
    struct node *unused = subject_variable(&s, true, ANY, 0, shape_of(1, 2));
    struct node *each = graph_each(s.g, w), *y = graph_sum_all(s.g, graph_mul(s.g, graph_square(s.g, x), each));
    struct node *in[] = {x, w, each, unused}, *d[4];
    grad_of(s.g, y, NULL, in, 4, d);
    double *value[VARIABLES], *got[4];
    values_new(&s, N, false, value);
    struct runner r = runner_open("ref", 0, s.g, d, 4);
    runner_run(&r, &s, N, value, got);
    for (int i = 0; i < 4; i++) {
        double sum = 0;
        for (int n = 0; n < N; n++) {
            double v = value[0][4 * n + i];
            sum += v * v;
            assert_float_equal(got[0][4 * n + i], 2 * v * value[1][i], 1e-12);
            assert_float_equal(got[2][4 * n + i], v * v, 1e-12);
        }
        assert_float_equal(got[1][i], sum, 1e-12);
    }
    for (int i = 0; i < 2 * N; i++) assert_true(got[3][i] == 0);
    values_free(got, 4);
    runner_run(&r, &s, 0, value, got);  // no example: every sum is zero
    for (int i = 0; i < 4; i++) assert_true(got[1][i] == 0);
    values_free(got, 4);
    values_free(value, s.variables);
    runner_close(&r);
    graph_free(s.g);
}

// A mask drawn in the forward pass is the same in every derivative.
static void dropout_is_one_mask(void **state) {
    (void)state;
    struct subject s = {.g = graph_new(), .draws = {3}};
    struct node *x = subject_variable(&s, true, ANY, 0, shape_of(1, 50)), *key = subject_variable(&s, true, COUNTER, 0, shape_of(1, 3));
    struct node *u = graph_uniform(s.g, rng_stream(1, "train/dropout3"), key, shape_of(1, 50));
    struct node *keep = graph_step(s.g, graph_shift(s.g, u, -.5)), *y = graph_mul(s.g, keep, graph_mul(s.g, x, graph_square(s.g, x)));
    struct node *d, *dd, *out[3];
    grad_of(s.g, y, NULL, &x, 1, &d);
    grad_of(s.g, d, NULL, &x, 1, &dd);
    out[0] = keep, out[1] = d, out[2] = dd;
    double *value[VARIABLES], *got[3];
    values_new(&s, N, false, value);
    struct runner r = runner_open("ref", 0, s.g, out, 3);
    runner_run(&r, &s, N, value, got);
    int kept = 0;
    for (int i = 0; i < 50 * N; i++) {
        kept += got[0][i] == 1;
        assert_true(got[0][i] == 0 || got[0][i] == 1);
        assert_float_equal(got[1][i], got[0][i] * 3 * value[0][i] * value[0][i], 1e-12);
        assert_float_equal(got[2][i], got[0][i] * 6 * value[0][i], 1e-12);
    }
    assert_in_range(kept, 50, 100);  // 75 expected, standard deviation 6
    values_free(value, s.variables);
    values_free(got, 3);
    runner_close(&r);
    graph_free(s.g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_op_has_a_rule_or_a_declared_zero), cmocka_unit_test(gradients_are_differences),
        cmocka_unit_test(second_gradients_are_differences_of_first), cmocka_unit_test(declared_derivatives),
        cmocka_unit_test(a_flipped_rule_is_noticed), cmocka_unit_test(gradients_of_a_batch), cmocka_unit_test(dropout_is_one_mask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

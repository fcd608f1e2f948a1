// The derivatives that training, attack, reconstruction and privacy are made of, on tiny networks, by the
// oracle: against central differences and against examples taken one by one.
#include "differences.h"
#include "tiny.h"

static const struct {
    const char *name;
    unary *build;
} activations[] = {{"tanh", graph_tanh}, {"gelu", gelu}, {"relu", graph_relu}};
enum { ACTIVATIONS = 3 };

// `f` ([1], of any sort) differentiated in x[0..count), against differences.
static void compare(struct tiny *t, struct node *f, struct node *const *x, int count, const char *what, enum net net, int activation) {
    struct node *weight = weights_for(&t->s, f), *d[VARIABLES];
    grad_of(t->s.g, f, weight, x, count, d);
    double *value[VARIABLES];
    values_new(&t->s, N, false, value);
    double worst = disagreement(&t->s, value, &f, &weight, 1, x, d, count);
    if (!(worst <= 1)) fail_msg("%s of %s with %s: off by %g tolerances", what, net_name[net], activations[activation].name, worst);
    values_free(value, t->s.variables);
}

static void loss_in_weights_and_images(void **state) {
    (void)state;
    for (int net = 0; net < NETS; net++)
        for (int a = 0; a < ACTIVATIONS; a++) {
            struct tiny t = tiny_make((enum net)net, activations[a].build, 11);
            struct node *x[TENSORS + 1];
            memcpy(x, t.theta, sizeof t.theta);
            x[t.tensors] = t.x;
            compare(&t, t.loss, x, t.tensors + 1, "the loss", (enum net)net, a);
            graph_free(t.s.g);
        }
}

static void stationarity_in_images_and_multipliers(void **state) {
    (void)state;
    for (int net = 0; net < NETS; net++)
        for (int a = 0; a < ACTIVATIONS; a++) {
            struct tiny t = tiny_make((enum net)net, activations[a].build, 12);
            struct node *lambda = subject_variable(&t.s, true, POSITIVE, 0, shape_of(1, 1)), *x[] = {t.x, lambda};
            compare(&t, tiny_stationarity(&t, lambda), x, 2, "stationarity", (enum net)net, a);
            graph_free(t.s.g);
        }
}

static void clipped_sum_is_one_by_one(void **state) {
    (void)state;
    enum { EXAMPLES = 5 };
    for (int net = 0; net < NETS; net++) {
        struct tiny t = tiny_make((enum net)net, graph_relu, 13);
        struct node *out[TENSORS + 1], *single[TENSORS];
        const double clip = .8;
        tiny_clipped(&t, clip, out, &out[t.tensors]);
        grad_of(t.s.g, t.loss, NULL, t.theta, t.tensors, single);
        double *value[VARIABLES], *got[TENSORS + 1], *sum[TENSORS];
        values_new(&t.s, EXAMPLES, false, value);
        struct runner all = runner_open("ref", 0, t.s.g, out, t.tensors + 1), one = runner_open("ref", 0, t.s.g, single, t.tensors);
        runner_run(&all, &t.s, EXAMPLES, value, got);
        for (int i = 0; i < t.tensors; i++) sum[i] = memory_zero((size_t)shape_count(&t.theta[i]->shape) * sizeof **sum);
        int clipped = 0;
        for (int n = 0; n < EXAMPLES; n++) {
            double *row[VARIABLES], *d[TENSORS], squares = 1e-12;
            for (int i = 0; i < t.s.variables; i++)
                row[i] = value[i] + (t.s.variable[i].node->batch ? n * shape_count(&t.s.variable[i].node->shape) : 0);
            runner_run(&one, &t.s, 1, row, d);
            for (int i = 0; i < t.tensors; i++) squares += dot(d[i], d[i], shape_count(&t.theta[i]->shape));
            double norm = sqrt(squares), factor = norm > clip ? clip / norm : 1;
            clipped += norm > clip;
            assert_float_equal(got[t.tensors][n], norm, 1e-11 * norm);
            for (int i = 0; i < t.tensors; i++)
                for (int64_t j = 0; j < shape_count(&t.theta[i]->shape); j++) sum[i][j] += factor * d[i][j];
            values_free(d, t.tensors);
        }
        assert_in_range(clipped, 1, EXAMPLES);
        for (int i = 0; i < t.tensors; i++)
            for (int64_t j = 0; j < shape_count(&t.theta[i]->shape); j++) assert_float_equal(got[i][j], sum[i][j], 1e-11);
        runner_close(&all);
        runner_close(&one);
        values_free(sum, t.tensors);
        values_free(got, t.tensors + 1);
        values_free(value, t.s.variables);
        graph_free(t.s.g);
    }
}

static bool flip_noticed(struct tiny *t, enum op op) {
    struct node *x[] = {t->x, t->theta[0], t->theta[3]}, *weight = weights_for(&t->s, t->loss), *d[3];
    grad_flip_for_test(op);
    grad_of(t->s.g, t->loss, weight, x, 3, d);
    grad_flip_for_test(op);
    double *value[VARIABLES];
    values_new(&t->s, N, false, value);
    double worst = disagreement(&t->s, value, &t->loss, &weight, 1, x, d, 3);
    values_free(value, t->s.variables);
    return worst > 100;
}

// Flip the sign of any rule that these networks use, and one of the three above must be wrong. (theta[3], the
// transformer's positions, meets one slice; the image meets two, and two flips are none.)
static void a_flipped_rule_is_noticed(void **state) {
    (void)state;
    for (int op = 0; op < OPS; op++) {
        if (grad_kind((enum op)op) != GRAD_RULE || op == OP_SOFT_RELU) continue;
        bool used = false, noticed = false;
        for (int net = 0; net < NETS && !noticed; net++)
            for (int a = 0; a < ACTIVATIONS && !noticed; a++) {
                struct tiny t = tiny_make((enum net)net, activations[a].build, 14);
                bool here = false;
                for (int i = 0; i <= t.loss->id; i++) here |= (int)graph_node(t.s.g, i)->op == op;
                if (here) noticed = flip_noticed(&t, (enum op)op);
                used |= here;
                graph_free(t.s.g);
            }
        if (used && !noticed) fail_msg("nothing notices a flipped %s", op_name[op]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loss_in_weights_and_images), cmocka_unit_test(stationarity_in_images_and_multipliers),
        cmocka_unit_test(clipped_sum_is_one_by_one), cmocka_unit_test(a_flipped_rule_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// Graphs: what is one node, what is refused, and the small compositions' known answers.
#include "oracle.h"

static void equal_nodes_are_one(void **state) {
    (void)state;
    struct graph *g = graph_new();
    struct node *x = graph_input(g, "x", true, shape_of(2, 3, 4)), *w = graph_input(g, "w", false, shape_of(2, 3, 4));
    assert_ptr_equal(x, graph_input(g, "x", true, shape_of(2, 3, 4)));
    assert_ptr_not_equal(x, graph_input(g, "z", true, shape_of(2, 3, 4)));
    assert_ptr_not_equal(x, graph_input(g, "x", false, shape_of(2, 3, 4)));
    assert_ptr_equal(graph_each(g, w), graph_each(g, w));
    assert_ptr_equal(graph_each(g, x), x);
    assert_ptr_equal(graph_add(g, x, graph_each(g, w)), graph_add(g, x, graph_each(g, w)));
    assert_ptr_not_equal(graph_sub(g, x, graph_each(g, w)), graph_sub(g, graph_each(g, w), x));
    assert_ptr_not_equal(graph_scale(g, x, 2), graph_scale(g, x, 3));
    assert_ptr_not_equal(graph_slice(g, x, 1, 0, 2), graph_slice(g, x, 1, 1, 2));
    assert_ptr_not_equal(graph_pad(g, x, 1, 0, 6), graph_pad(g, x, 1, 1, 6));
    assert_ptr_not_equal(graph_soft_relu(g, x, 1), graph_soft_relu(g, x, 2));
    assert_ptr_not_equal(graph_matmul(g, x, x, false, true), graph_matmul(g, x, x, true, false));
    struct node *image = graph_input(g, "image", true, shape_of(3, 1, 6, 6)), *k = graph_each(g, graph_input(g, "k", false, shape_of(4, 1, 1, 2, 2)));
    // 6 x 6 by 2 x 2: stride 2 with and without padding differ in shape, padding 1 and stride 1 in sums alone
    assert_ptr_not_equal(graph_conv(g, image, k, 1, 0), graph_conv(g, image, k, 2, 0));
    assert_ptr_not_equal(graph_conv(g, image, k, 1, 1), graph_conv(g, image, k, 1, 0));
    int before = graph_count(g);
    for (int i = 0; i < 5000; i++) graph_shift(g, x, i + .5);  // the table of nodes grows on the way
    for (int i = 0; i < 5000; i++) graph_shift(g, x, i + .5);
    assert_int_equal(graph_count(g), before + 3 * 5000);  // fill, each, add
    for (int i = 0; i < graph_count(g); i++) {
        const struct node *n = graph_node(g, i);
        assert_int_equal(n->id, i);
        for (int j = 0; j < op_inputs[n->op]; j++) assert_true(n->in[j]->id < n->id);
    }
    graph_free(g);
}

static void streams_are_part_of_a_node(void **state) {
    (void)state;
    struct graph *g = graph_new();
    struct node *key = graph_input_index(g, "key", true, shape_of(1, 3));
    struct stream one = {{1, 2}}, other = {{1, 3}};
    assert_ptr_equal(graph_uniform(g, one, key, shape_of(1, 5)), graph_uniform(g, one, key, shape_of(1, 5)));
    assert_ptr_not_equal(graph_uniform(g, one, key, shape_of(1, 5)), graph_uniform(g, other, key, shape_of(1, 5)));
    assert_ptr_not_equal(graph_uniform(g, one, key, shape_of(1, 5)), graph_uniform(g, one, key, shape_of(1, 6)));
    graph_free(g);
}

static void an_op_again_is_the_same_node(void **state) {
    (void)state;
    for (int op = 0; op < OPS; op++)
        for (uint64_t seed = 0; seed < 5; seed++) {
            struct subject s = subject_make((enum op)op, seed, 4);
            for (int i = 0; i < graph_count(s.g); i++) {
                struct node *n = graph_node(s.g, i);
                assert_ptr_equal(graph_again(s.g, n, n->in[0], n->in[1]), n);
            }
            graph_free(s.g);
        }
}

// ---- misuse. Every function below must end in an abort.

static struct graph *g;
static struct node *batch(int a, int b) { return graph_input(g, "b", true, shape_of(2, a, b)); }
static struct node *whole(int a, int b) { return graph_input(g, "w", false, shape_of(2, a, b)); }
static struct node *index_of(int a, int b) { return graph_input_index(g, "i", true, shape_of(2, a, b)); }
static struct node *image(int c, int h, int w) { return graph_input(g, "x", true, shape_of(3, c, h, w)); }
static struct node *kernel(int o, int c, int k) { return graph_input(g, "k", true, shape_of(4, o, c, k, k)); }

static void no_misuse(void) { graph_add(g, batch(2, 3), batch(2, 3)); }
static void add_of_two_shapes(void) { graph_add(g, batch(2, 3), batch(3, 2)); }
static void add_that_would_broadcast(void) { graph_add(g, batch(2, 3), batch(1, 3)); }
static void add_of_two_sorts(void) { graph_add(g, batch(2, 3), whole(2, 3)); }
static void add_of_a_zero_of_another_shape(void) { graph_add(g, batch(2, 3), graph_each(g, graph_fill(g, 0, shape_of(2, 3, 2)))); }
static void mul_of_a_one_of_another_sort(void) { graph_mul(g, batch(2, 3), graph_fill(g, 1, shape_of(2, 2, 3))); }
static void gather_of_a_large_window(void) { graph_pool_gather(g, image(1, 20, 20), graph_input_index(g, "i", true, shape_of(3, 1, 1, 1)), 20); }
static void exp_of_an_index(void) { graph_exp(g, index_of(2, 3)); }
static void broadcast_of_two(void) { graph_broadcast(g, batch(2, 3), shape_of(2, 4, 3)); }
static void broadcast_to_another_rank(void) { graph_broadcast(g, batch(1, 3), shape_of(3, 2, 1, 3)); }
static void sum_to_a_part(void) { graph_sum(g, batch(4, 3), shape_of(2, 2, 3)); }
static void sum_over_examples_of_a_weight(void) { graph_sum_examples(g, whole(2, 3)); }
static void reshape_to_more(void) { graph_reshape(g, batch(2, 3), shape_of(1, 7)); }
static void transpose_twice_the_same(void) { graph_transpose(g, batch(2, 3), (const int[]){1, 1}); }
static void transpose_out_of_range(void) { graph_transpose(g, batch(2, 3), (const int[]){0, 2}); }
static void slice_past_the_end(void) { graph_slice(g, batch(2, 3), 1, 2, 2); }
static void slice_of_no_axis(void) { graph_slice(g, batch(2, 3), 2, 0, 1); }
static void pad_to_less(void) { graph_pad(g, batch(2, 3), 1, 1, 3); }
static void gather_by_reals(void) { graph_gather(g, batch(2, 3), batch(2, 3)); }
static void gather_of_other_rows(void) { graph_gather(g, batch(2, 3), index_of(3, 1)); }
static void scatter_of_other_length(void) { graph_scatter(g, batch(2, 3), index_of(2, 2), 5); }
static void matmul_that_does_not_fit(void) { graph_matmul(g, batch(2, 3), batch(2, 3), false, false); }
static void matmul_of_other_stacks(void) { graph_matmul(g, image(2, 3, 4), image(3, 4, 3), false, false); }
static void conv_of_other_channels(void) { graph_conv(g, image(2, 5, 5), kernel(3, 1, 3), 1, 1); }
static void conv_of_a_large_kernel(void) { graph_conv(g, image(2, 2, 5), kernel(3, 2, 4), 1, 0); }
static void conv_without_stride(void) { graph_conv(g, image(2, 5, 5), kernel(3, 2, 3), 0, 1); }
static void conv_dx_of_other_shape(void) { graph_conv_dx(g, image(3, 5, 5), kernel(3, 2, 3), shape_of(3, 2, 6, 5), 1, 1); }
static void conv_dw_of_other_shape(void) { graph_conv_dw(g, image(2, 5, 5), image(3, 5, 5), shape_of(4, 3, 2, 4, 4), 1, 1); }
static void pool_of_a_small_image(void) { graph_pool_argmax(g, image(2, 1, 5), 2); }
static void pool_by_another_index(void) { graph_pool_gather(g, image(2, 4, 4), graph_pool_argmax(g, image(2, 4, 4), 4), 2); }
static void uniform_of_a_short_key(void) { graph_uniform(g, (struct stream){{1, 2}}, index_of(1, 2), shape_of(1, 4)); }
static void gradient_of_an_index(void) { struct node *x = batch(2, 3), *out; grad_of(g, graph_argmax(g, x), NULL, &x, 1, &out); }
static void gradient_with_another_seed(void) { struct node *x = batch(2, 3), *out; grad_of(g, x, batch(3, 2), &x, 1, &out); }

static void misuse_aborts(void **state) {
    (void)state;
    static const struct {
        const char *name;
        void (*run)(void);
    } misuses[] = {
#define MISUSE(name) {#name, name}
        MISUSE(add_of_two_shapes), MISUSE(add_that_would_broadcast), MISUSE(add_of_two_sorts), MISUSE(exp_of_an_index),
        MISUSE(add_of_a_zero_of_another_shape), MISUSE(mul_of_a_one_of_another_sort), MISUSE(gather_of_a_large_window),
        MISUSE(broadcast_of_two), MISUSE(broadcast_to_another_rank), MISUSE(sum_to_a_part),
        MISUSE(sum_over_examples_of_a_weight), MISUSE(reshape_to_more), MISUSE(transpose_twice_the_same),
        MISUSE(transpose_out_of_range), MISUSE(slice_past_the_end), MISUSE(slice_of_no_axis), MISUSE(pad_to_less),
        MISUSE(gather_by_reals), MISUSE(gather_of_other_rows), MISUSE(scatter_of_other_length),
        MISUSE(matmul_that_does_not_fit), MISUSE(matmul_of_other_stacks), MISUSE(conv_of_other_channels),
        MISUSE(conv_of_a_large_kernel), MISUSE(conv_without_stride), MISUSE(conv_dx_of_other_shape),
        MISUSE(conv_dw_of_other_shape), MISUSE(pool_of_a_small_image), MISUSE(pool_by_another_index),
        MISUSE(uniform_of_a_short_key), MISUSE(gradient_of_an_index), MISUSE(gradient_with_another_seed),
    };
    g = graph_new();
    assert_false(aborts(no_misuse));  // the check itself can tell
    for (size_t i = 0; i < sizeof misuses / sizeof *misuses; i++)
        if (!aborts(misuses[i].run)) fail_msg("%s was let through", misuses[i].name);
    graph_free(g);
}

// ---- executors asked for what they are not

static void devices_that_are_not_there(void **state) {
    (void)state;
    struct graph *graph = graph_new();
    struct node *x = graph_input(graph, "x", true, shape_of(1, 2));
    struct plan *p = plan_new(graph, &x, 1);
    struct error e = {0};
    assert_null(exec_open("gpu", p, NULL, &e));
    assert_int_equal(e.status, EXIT_USAGE);
    assert_non_null(strstr(e.text, "gpu"));
#ifndef ASSAY_CUDA
    e = (struct error){0};
    assert_null(exec_open("cuda", p, NULL, &e));
    assert_int_equal(e.status, EXIT_SYSTEM);
    assert_non_null(strstr(e.text, "no executor for CUDA"));
#endif
    plan_free(p);
    graph_free(graph);
}

// ---- compositions

static void compositions_known_answers(void **state) {
    (void)state;
    struct subject s = {.g = graph_new(), .draws = {7}, .batch = true};
    struct node *x = subject_variable(&s, true, ANY, 0, shape_of(2, 3, 5));
    struct node *im = subject_variable(&s, true, ANY, 0, shape_of(3, 2, 5, 4));
    struct node *out[] = {
        graph_scale(s.g, x, -1.5), graph_shift(s.g, x, .25), graph_square(s.g, x), graph_sum_all(s.g, x),
        graph_sum_last(s.g, x), graph_log_sum_exp(s.g, x), graph_softmax(s.g, x), graph_max_pool(s.g, im, 2),
    };
    enum { OUT = sizeof out / sizeof *out, N = 3 };
    double *value[VARIABLES], *got[OUT];
    values_new(&s, N, false, value);
    value[0][0] = 900, value[0][1] = 899;  // exp alone would overflow
    struct runner r = runner_open("ref", 0, s.g, out, OUT);
    runner_run(&r, &s, N, value, got);
    for (int n = 0; n < N; n++) {
        const double *v = value[0] + 15 * n;
        double all = 0;
        for (int row = 0; row < 3; row++) {
            double sum = 0, total = 0, most = -INFINITY;
            for (int col = 0; col < 5; col++) {
                sum += v[row * 5 + col];
                most = fmax(most, v[row * 5 + col]);
            }
            all += sum;
            for (int col = 0; col < 5; col++) total += exp(v[row * 5 + col] - most);
            for (int col = 0; col < 5; col++) {
                int i = 15 * n + row * 5 + col;
                assert_float_equal(got[0][i], -1.5 * value[0][i], 1e-12);
                assert_float_equal(got[1][i], value[0][i] + .25, 1e-12);
                assert_float_equal(got[2][i], value[0][i] * value[0][i], 1e-9);
                assert_float_equal(got[6][i], exp(value[0][i] - most) / total, 1e-12);
            }
            assert_float_equal(got[4][3 * n + row], sum, 1e-12);
            assert_float_equal(got[5][3 * n + row], most + log(total), 1e-11);
        }
        assert_float_equal(got[3][n], all, 1e-11);
        for (int c = 0; c < 2; c++)
            for (int i = 0; i < 2; i++)
                for (int j = 0; j < 2; j++) {
                    const double *at = value[1] + ((n * 2 + c) * 5 + 2 * i) * 4 + 2 * j;
                    assert_true(got[7][((n * 2 + c) * 2 + i) * 2 + j] == fmax(fmax(at[0], at[1]), fmax(at[4], at[5])));
                }
    }
    runner_close(&r);
    values_free(value, s.variables);
    values_free(got, OUT);
    graph_free(s.g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_nodes_are_one), cmocka_unit_test(streams_are_part_of_a_node),
        cmocka_unit_test(an_op_again_is_the_same_node), cmocka_unit_test(misuse_aborts),
        cmocka_unit_test(devices_that_are_not_there), cmocka_unit_test(compositions_known_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

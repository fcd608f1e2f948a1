// The architecture line: what it names, what it refuses and where, how it starts, and that the graph it
// stands for has the gradient of its own loss. Values against PyTorch stand in test_train.c.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/exec.h"
#include "engine/grad.h"
#include "nn/arch.h"
#include "nn/loss.h"

static struct arch *parse(const char *line, struct shape input, int outputs) {
    struct error e = {0};
    struct arch *a = arch_parse(line, input, outputs, &e);
    if (!a) fail_msg("%s: %s", line, e.text);
    return a;
}

static void test_presets_have_the_known_parameters(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int count;
        long parameters;
    } known[] = {{"cnn", 10, 1701130}, {"mlp", 6, 535818}, {"vit", 34, 109258}, {"homogeneous 1000", 3, 795000}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct arch *a = parse(known[i].name, shape_of(3, 1, 28, 28), 10);
        assert_int_equal(a->count, known[i].count);
        assert_int_equal(a->parameters, known[i].parameters);
        arch_free(a);
    }
    const char *rest[] = {"ee691-mlp", "ee691-cnn", "ee691-vit"};
    for (int i = 0; i < 3; i++) arch_free(parse(rest[i], shape_of(3, 1, 28, 28), 10));
    // Presets fit the data: three channels, 32 x 32, two classes.
    for (size_t i = 0; i < 3; i++) arch_free(parse(known[i].name, shape_of(3, 3, 32, 32), 2));
}

static void test_position_names_the_parameters(void **state) {
    (void)state;
    struct arch *a = parse("patch 7 8 |cls|pos|  encoder 2 16|norm layer|head|linear 3", shape_of(3, 1, 28, 28), 3);
    static const char *const names[] = {
        "0.weight", "0.bias", "1.weight", "2.weight", "3.self_attn.in_proj_weight", "3.self_attn.in_proj_bias",
        "3.self_attn.out_proj.weight", "3.self_attn.out_proj.bias", "3.linear1.weight", "3.linear1.bias", "3.linear2.weight",
        "3.linear2.bias", "3.norm1.weight", "3.norm1.bias", "3.norm2.weight", "3.norm2.bias", "4.weight", "4.bias", "6.weight", "6.bias"};
    assert_int_equal(a->count, (int)(sizeof names / sizeof *names));
    int64_t end = 0;
    for (int i = 0; i < a->count; i++) {
        assert_string_equal(a->param[i].name, names[i]);
        assert_int_equal(a->param[i].offset % ARCH_ALIGN, 0);
        assert_true(a->param[i].offset >= end);
        end = a->param[i].offset + a->param[i].count;
        assert_ptr_equal(arch_param_at(a, a->param[i].offset), &a->param[i]);
        assert_ptr_equal(arch_param_at(a, end - 1), &a->param[i]);
    }
    assert_true(end <= a->size);
    assert_string_equal(a->line, "patch 7 8 | cls | pos | encoder 2 16 | norm layer | head | linear 3");
    arch_free(a);
    a = parse("init he | flatten | linear 3", shape_of(3, 1, 2, 2), 3);
    assert_string_equal(a->param[0].name, "1.weight");  // init is not counted
    arch_free(a);
    a = parse("conv 2 3 | norm batch | flatten | linear 3", shape_of(3, 1, 4, 4), 3);
    assert_int_equal(a->states, 2);
    assert_string_equal(a->state[1].name, "1.running_var");
    arch_free(a);
}

static void test_errors_name_the_place(void **state) {
    (void)state;
    static const struct {
        const char *line, *says;
    } wrong[] = {
        {"", "a line expected"},
        {"conv 32 3 | rlu | linear 3", "column 13 (\"rlu\"): no such element"},
        {"flatten | | linear 3", "column 11 (\"\"): an element is missing"},
        {"flatten |", "an element is missing"},
        {"conv 32 | relu", "column 6 (\"conv 32\"): K is missing: conv OUT K"},
        {"conv x 3 | relu", "column 6 (\"conv x 3\"): OUT: a whole number expected"},
        {"conv 4 3 s 0", "column 12 (\"conv 4 3 s 0\"): stride: 1 to"},
        {"conv 4 4 p same", "needs an odd K"},
        {"conv 4 3 q 2", "column 10 (\"conv 4 3 q 2\"): unexpected \"q\""},
        {"conv 4 99", "a window of 99 does not fit an image of 8 x 8"},
        {"relu | linear 3", "column 8 (\"linear 3\"): takes a vector or tokens (write flatten before it), but [2,8,8] arrives here"},
        {"flatten | linear 3 4", "column 20 (\"linear 3 4\"): unexpected \"4\""},
        {"flatten | linear 4", "column 11 (\"linear 4\"): the network ends with [4] where [3] is needed"},
        {"flatten | linear 3 | maxpool 2", "column 22 (\"maxpool 2\"): takes an image"},
        {"patch 3 8", "column 7 (\"patch 3 8\"): patches of 3 x 3 do not tile an image of 8 x 8"},
        {"patch 4 6 | encoder 4 8", "column 21 (\"encoder 4 8\"): a width of 6 does not make 4 heads"},
        {"patch 4 6 | head | linear 3", "column 13 (\"head\"): takes the class token, and no cls came before it"},
        {"norm group 3 | flatten | linear 3", "2 channels do not make 3 groups"},
        {"norm | flatten", "batch, layer or group expected"},
        {"dropout 1 | flatten | linear 3", "column 9 (\"dropout 1\"): P: 0 to 0.999 expected"},
        {"flatten | linear 3 | init he | init he", "init is given twice"},
        {"flatten | linear 3 | init normal:x", "column 27"},
        {"flatten | linear 1048576 | linear 1048576 | linear 3", "too large"},
        {"deconv 2 256 s 256 | deconv 2 256 s 256", "images of more than"},
        {"homogeneous", "column 1 (\"homogeneous\"): WIDTHS is missing"},
        {"homogeneous | init he", "column 1 (\"homogeneous\"): WIDTHS is missing"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct error e = {0};
        struct arch *a = arch_parse(wrong[i].line, shape_of(3, 2, 8, 8), 3, &e);
        if (a) fail_msg("\"%s\" is taken for \"%s\"", wrong[i].line, a->line);
        assert_int_equal(e.status, EXIT_USAGE);
        if (!strstr(e.text, wrong[i].says)) fail_msg("\"%s\" says \"%s\", not \"%s\"", wrong[i].line, e.text, wrong[i].says);
    }
}

// The word stands for a number, and the number stands in the line, so that a file says it without its data.
static void test_classes_are_the_outputs(void **state) {
    (void)state;
    struct arch *a = parse("flatten | linear 4|relu | linear  classes nobias", shape_of(3, 1, 4, 4), 7);
    assert_string_equal(a->line, "flatten | linear 4 | relu | linear 7 nobias");
    arch_free(a);
    struct error e = {0};
    assert_null(arch_parse("flatten | linear classes", shape_of(3, 1, 4, 4), 0, &e));
    assert_non_null(strstr(e.text, "column 18 (\"linear classes\")"));
    e = (struct error){0};
    assert_null(arch_parse("flatten | linear classes | linear 4", shape_of(3, 1, 4, 4), 3, &e));  // columns are those of the text
    assert_non_null(strstr(e.text, "column 28 (\"linear 4\"): the network ends with [4] where [3] is needed"));
}

static void test_homogeneous_is_recognised(void **state) {
    (void)state;
    static const struct {
        const char *line;
        bool is;
    } known[] = {{"homogeneous 20 10", true}, {"homogeneous 20 | init he,first:1e-3", true}, {"flatten | linear 4 nobias | relu | linear 3", false},
                 {"flatten | linear 4 | leaky .1 | linear 3 nobias", true}, {"flatten | linear 4 | tanh | linear 3 nobias", false}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct arch *a = parse(known[i].line, shape_of(3, 1, 4, 4), 3);
        assert_int_equal(a->homogeneous, known[i].is);
        arch_free(a);
    }
}

// Mean and spread of every tensor's start: U(+-b) has the deviation b / sqrt 3.
static void check_start(const struct arch *a, const float *theta, int i, double deviation, double bound) {
    const struct arch_tensor *t = &a->param[i];
    double sum = 0, squares = 0, most = 0, n = (double)t->count;
    for (int64_t j = 0; j < t->count; j++) {
        double v = theta[t->offset + j];
        sum += v, squares += v * v, most = fmax(most, fabs(v));
    }
    assert_true(most <= bound * (1 + 1e-6));
    if (deviation == 0) return;
    // Five standard errors: a right generator misses once in a million.
    assert_true(fabs(sum / n) < 5 * deviation / sqrt(n));
    assert_true(fabs(sqrt(squares / n) / deviation - 1) < 5 / sqrt(n));
}

static void test_start_is_as_pytorch_draws_it(void **state) {
    (void)state;
    struct arch *a = parse("conv 40 5 | relu | flatten | linear 30 | relu | linear 3", shape_of(3, 2, 8, 8), 3);
    float *theta = calloc((size_t)a->size, sizeof *theta), *again = calloc((size_t)a->size, sizeof *theta);
    arch_init(a, 7, theta, NULL);
    check_start(a, theta, 0, 1 / sqrt(50. * 3), 1 / sqrt(50.));
    check_start(a, theta, 1, 1 / sqrt(50. * 3), 1 / sqrt(50.));
    check_start(a, theta, 2, 1 / sqrt(640. * 3), 1 / sqrt(640.));
    arch_init(a, 7, again, NULL);
    assert_memory_equal(theta, again, (size_t)a->size * sizeof *theta);
    arch_init(a, 8, again, NULL);
    assert_memory_not_equal(theta, again, (size_t)a->size * sizeof *theta);
    free(theta), free(again);
    arch_free(a);

    a = parse("patch 4 32 | cls | pos | encoder 4 64 | head | linear 3", shape_of(3, 2, 8, 8), 3);
    theta = calloc((size_t)a->size, sizeof *theta);
    arch_init(a, 0, theta, NULL);
    check_start(a, theta, 3, .02, 1);                                // pos
    check_start(a, theta, 4, sqrt(6 / 128.) / sqrt(3), sqrt(6 / 128.));  // in_proj: xavier over 32 + 96
    check_start(a, theta, 5, 0, 0);
    check_start(a, theta, 6, 1 / sqrt(32. * 3), 1 / sqrt(32.));
    check_start(a, theta, 7, 0, 0);
    assert_true(theta[a->param[12].offset] == 1 && theta[a->param[13].offset] == 0);  // norm1
    free(theta);
    arch_free(a);

    a = parse("deconv 40 3 | flatten | linear 30 | linear 3 | init he,first:1e-3", shape_of(3, 2, 8, 8), 3);
    theta = calloc((size_t)a->size, sizeof *theta);
    arch_init(a, 0, theta, NULL);
    check_start(a, theta, 0, 1e-3, 1);
    check_start(a, theta, 1, 0, 0);
    check_start(a, theta, 2, sqrt(2 / 4000.), 1);
    check_start(a, theta, 3, 0, 0);
    free(theta);
    arch_free(a);
}

// ---- the graph, on the oracle

struct network {
    struct arch *a;
    struct graph *g;
    struct arena arena;
    struct arch_build b;
    struct node *x, *y;
    double *theta, *state;
};
enum { EXAMPLES = 5 };

static void build(struct network *n, const char *line, bool training) {
    *n = (struct network){.a = parse(line, shape_of(3, 2, 8, 8), 3), .g = graph_new()};
    n->x = graph_input(n->g, "x", true, n->a->input);
    n->y = graph_input_index(n->g, "y", true, shape_of(1, 1));
    n->b.training = training;
    n->b.key = graph_input_index(n->g, "key", true, shape_of(1, 3));
    n->b.count = graph_input(n->g, "count", false, shape_of(1, 1));
    arch_inputs(n->a, n->g, &n->arena, "net.", &n->b);
    arch_build(n->a, n->g, &n->b, n->x);
    float *f = calloc((size_t)(n->a->size + n->a->state_size), sizeof *f);
    arch_init(n->a, 3, f, f + n->a->size);
    n->theta = calloc((size_t)n->a->size, sizeof *n->theta);
    n->state = calloc((size_t)n->a->state_size + 1, sizeof *n->state);
    for (int64_t i = 0; i < n->a->size; i++) n->theta[i] = f[i] + .3 * sin(.7 * (double)i);
    for (int64_t i = 0; i < n->a->state_size; i++) n->state[i] = f[n->a->size + i] + .1 + .05 * sin((double)i);
    free(f);
}

static void release(struct network *n) {
    graph_free(n->g);
    arena_free(&n->arena);
    arch_free(n->a);
    free(n->theta);
    free(n->state);
}

static double image[EXAMPLES * 128];
static int32_t label[EXAMPLES] = {0, 1, 2, 1, 0}, key[EXAMPLES * 3];
static const double count = EXAMPLES;

static void run(const struct network *n, struct node *const *outputs, void *const *to, int outs) {
    struct error e = {0};
    struct plan *p = plan_new(n->g, outputs, outs);
    struct exec *x = exec_open("ref", p, NULL, &e);
    assert_non_null(x);
    for (int i = 0; i < EXAMPLES * 128; i++) image[i] = .5 + .5 * sin(1.3 * i + .01 * i * i);
    for (int i = 0; i < EXAMPLES; i++) key[3 * i] = i;
    exec_set(x, n->x, image);
    exec_set(x, n->y, label);
    exec_set(x, n->b.key, key);
    exec_set(x, n->b.count, &count);
    for (int i = 0; i < n->a->count; i++) exec_set(x, n->b.param[i], n->theta + n->a->param[i].offset);
    for (int i = 0; i < n->a->states; i++) exec_set(x, n->b.state[i], n->state + n->a->state[i].offset);
    for (int i = 0; i < outs; i++) exec_get(x, outputs[i], to[i]);
    assert_true(exec_run(x, EXAMPLES, &e));
    exec_free(x);
    plan_free(p);
}

// d loss / d theta along a direction against a central difference, in double. Every element stands in one of
// the lines, dropout and batch statistics included.
static void test_gradient_is_that_of_the_loss(void **state) {
    (void)state;
    static const char *const lines[] = {
        ("conv 3 3 | norm batch | gelu | avgpool 2 | dropout .2 | deconv 2 2 s 2 | tanh | norm group 2 | dropout2d .3 | flatten | "
         "linear 6 | norm batch | tempered 2 1.5 1 | linear 5 nobias | norm layer | sigmoid | linear 3"),
        "patch 4 8 | cls | pos | encoder 2 6 dropout .2 | encoder 4 5 post dropout .1 | norm layer | linear 5 | gelu | head | linear 3",
        "conv 4 2 s 2 | maxpool 2 | norm layer | tanh | flatten | linear 4 | leaky .5 | norm group 2 | linear 3",
    };
    for (size_t k = 0; k < sizeof lines / sizeof *lines; k++) {
        struct network n;
        build(&n, lines[k], true);
        struct node *loss = graph_sum_examples(n.g, loss_cross_entropy(n.g, n.b.logits, n.y, .1, NULL));
        struct node **gradient = calloc((size_t)n.a->count, sizeof *gradient);
        grad_of(n.g, loss, NULL, n.b.param, n.a->count, gradient);
        double *g = calloc((size_t)n.a->size, sizeof *g), slope = 0, value[2], h = 1e-5;
        void **to = calloc((size_t)n.a->count, sizeof *to);
        for (int i = 0; i < n.a->count; i++) to[i] = g + n.a->param[i].offset;
        run(&n, gradient, to, n.a->count);
        for (int64_t i = 0; i < n.a->size; i++) slope += g[i] * cos(2.1 * (double)i);
        for (int side = 0; side < 2; side++) {
            for (int64_t i = 0; i < n.a->size; i++) n.theta[i] += (side ? 2 : -1) * h * cos(2.1 * (double)i);
            run(&n, &loss, (void *[]){&value[side]}, 1);
        }
        // The difference is off by h^2 f''' / 6 and by rounding, 1e-16 / h: some 1e-9 of a slope of order 1.
        double difference = (value[1] - value[0]) / (2 * h);
        if (!(fabs(difference - slope) < 1e-6 * (1 + fabs(slope)))) fail_msg("line %zu: slope %.10g, difference %.10g", k, slope, difference);
        assert_true(fabs(slope) > 1e-3);
        free(to), free(g), free(gradient);
        release(&n);
    }
}

static void test_dropout_keeps_the_mean(void **state) {
    (void)state;
    struct network n;
    build(&n, "dropout .25 | flatten | linear 3", true);
    double kept[EXAMPLES * 128];
    run(&n, &n.b.features, (void *[]){kept}, 1);
    int zeros = 0;
    for (int i = 0; i < EXAMPLES * 128; i++) {
        zeros += kept[i] == 0;
        assert_true(kept[i] == 0 || fabs(kept[i] - image[i] / .75) < 1e-12);
    }
    assert_in_range(zeros, 105, 215);  // binomial(640, 1/4): five standard deviations around 160
    release(&n);
    build(&n, "dropout .25 | flatten | linear 3", false);
    run(&n, &n.b.features, (void *[]){kept}, 1);
    for (int i = 0; i < EXAMPLES * 128; i++) assert_true(kept[i] == image[i]);
    release(&n);
}

static void test_features_are_the_last_layers_input(void **state) {
    (void)state;
    struct network n;
    build(&n, "flatten | linear 7 | relu | linear 3", false);
    double f[EXAMPLES * 7], z[EXAMPLES * 3];
    run(&n, (struct node *[]){n.b.features, n.b.logits}, (void *[]){f, z}, 2);
    const double *w = n.theta + n.a->param[2].offset, *bias = n.theta + n.a->param[3].offset;
    for (int i = 0; i < EXAMPLES; i++)
        for (int k = 0; k < 3; k++) {
            double sum = bias[k];
            for (int j = 0; j < 7; j++) sum += w[k * 7 + j] * f[i * 7 + j];
            assert_true(fabs(sum - z[i * 3 + k]) < 1e-12);
        }
    release(&n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_presets_have_the_known_parameters), cmocka_unit_test(test_position_names_the_parameters),
        cmocka_unit_test(test_errors_name_the_place),             cmocka_unit_test(test_homogeneous_is_recognised),
        cmocka_unit_test(test_classes_are_the_outputs),
        cmocka_unit_test(test_start_is_as_pytorch_draws_it),      cmocka_unit_test(test_gradient_is_that_of_the_loss),
        cmocka_unit_test(test_dropout_keeps_the_mean),            cmocka_unit_test(test_features_are_the_last_layers_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

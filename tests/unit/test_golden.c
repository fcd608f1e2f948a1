// PyTorch's answers for a tiny mlp, cnn and vit, on every device: logits, gradients, the gradient of a
// function of gradients, ten steps of Adam. The file is made by tests/golden/engine_torch.py.
#include "oracle.h"

#include "io/blob.h"
#include "nn/arch.h"
#include "nn/loss.h"
#include "nn/optim.h"

static const char *const golden = "tests/golden/engine_torch.st";

struct net {
    struct subject s;
    struct arch *arch;
    struct arena arena;
    struct arch_build build;
    struct node *x, *y, *lambda;
    struct node *loss, *margin;  // batch [1]
    double *value[VARIABLES];    // of x, y, lambda, then the weights
    int64_t examples;
};

static const struct tensor *need(const struct blob *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
static const struct tensor *need(const struct blob *b, const char *format, ...) {
    char name[96];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    struct error e = {0};
    const struct tensor *t = blob_need(b, name, &e);
    if (!t) fail_msg("%s", e.text);
    return t;
}

static void net_value(struct net *n, struct node *node, const struct tensor *t) {
    int i = n->s.variables++;
    assert_true(i < VARIABLES);
    n->s.variable[i].node = node;
    assert_int_equal(tensor_count(t), node_count(node, n->examples));
    n->value[i] = memory_take((size_t)tensor_count(t) * sizeof **n->value);
    for (int64_t j = 0; j < tensor_count(t); j++) n->value[i][j] = tensor_value(t, j);
}

static struct net net_open(const struct blob *b, int which) {
    struct net n = {.s = {.g = graph_new()}};
    struct graph *g = n.s.g;
    struct error e = {0};
    char key[16];
    snprintf(key, sizeof key, "line%d", which);
    n.arch = arch_parse(blob_meta(b, key), shape_of(3, 1, 8, 8), 3, &e);
    if (!n.arch) fail_msg("%s", e.text);
    n.examples = need(b, "x")->dim[0];
    n.x = graph_input(g, "x", true, shape_of(3, 1, 8, 8));
    n.y = graph_input_index(g, "y", true, shape_of(1, 1));
    n.lambda = graph_input(g, "lambda", true, shape_of(1, 1));
    arch_inputs(n.arch, g, &n.arena, NULL, &n.build);
    arch_build(n.arch, g, &n.build, n.x);
    n.loss = loss_cross_entropy(g, n.build.logits, n.y, 0, NULL);
    n.margin = loss_margin(g, n.build.logits, n.y);
    net_value(&n, n.x, need(b, "x"));
    net_value(&n, n.y, need(b, "y"));
    net_value(&n, n.lambda, need(b, "lambda"));
    for (int i = 0; i < n.arch->count; i++) net_value(&n, n.build.param[i], need(b, "%d/start/%s", which, n.arch->param[i].name));
    return n;
}

static void net_close(struct net *n) {
    values_free(n->value, n->s.variables);
    arena_free(&n->arena);
    arch_free(n->arch);
    graph_free(n->s.g);
}

// Against the largest entry of the tensor, or 1.
static void expect(const double *got, const struct tensor *want, double tolerance, const char *device) {
    double most = 1;
    for (int64_t i = 0; i < tensor_count(want); i++) most = fmax(most, fabs(tensor_value(want, i)));
    for (int64_t i = 0; i < tensor_count(want); i++)
        if (!(fabs(got[i] - tensor_value(want, i)) <= tolerance * most))
            fail_msg("%s, %s, element %d: %.9g, PyTorch says %.9g", device, want->name, (int)i, got[i], tensor_value(want, i));
}

// The file holds floats, and ref computes in double from the same floats: half a unit, 6e-8. cpu computes in
// single: sums of some hundred products, twice over for gradients of gradients.
static const struct {
    const char *device;
    int threads;
    double first, second, trained;
} devices[] = {{"ref", 0, 1e-7, 1e-7, 2e-6}, {"cpu", 2, 3e-6, 1e-5, 2e-5}};
enum { DEVICES = 2, NETS = 3 };

static void derivatives_are_pytorchs(void **state) {
    (void)state;
    struct error e = {0};
    struct blob *b = blob_open(golden, &e);
    if (!b) fail_msg("%s", e.text);
    for (int which = 0; which < NETS; which++) {
        struct net n = net_open(b, which);
        struct graph *g = n.s.g;
        int tensors = n.arch->count, count = 0;
        struct node *out[VARIABLES], *d[VARIABLES], *residual = graph_fill(g, 0, shape_of(1, 1));
        out[count++] = n.build.logits;
        grad_of(g, n.loss, NULL, &n.x, 1, out + count++);
        grad_of(g, n.loss, NULL, n.build.param, tensors, out + count);
        count += tensors;
        grad_of(g, n.margin, n.lambda, n.build.param, tensors, d);
        for (int i = 0; i < tensors; i++)
            residual = graph_add(g, residual, graph_sum_all(g, graph_square(g, graph_sub(g, n.build.param[i], d[i]))));
        out[count++] = residual;
        grad_of(g, residual, NULL, (struct node *[]){n.x, n.lambda}, 2, out + count);
        count += 2;
        for (int k = 0; k < DEVICES; k++) {
            const char *device = devices[k].device;
            double *got[VARIABLES];
            struct runner r = runner_open(device, devices[k].threads, g, out, count);
            runner_run(&r, &n.s, n.examples, n.value, got);
            expect(got[0], need(b, "%d/logits", which), devices[k].first, device);
            expect(got[1], need(b, "%d/loss/x", which), devices[k].first, device);
            for (int i = 0; i < tensors; i++)
                expect(got[2 + i], need(b, "%d/loss/%s", which, n.arch->param[i].name), devices[k].first, device);
            expect(got[2 + tensors], need(b, "%d/residual", which), devices[k].second, device);
            expect(got[3 + tensors], need(b, "%d/residual/x", which), devices[k].second, device);
            expect(got[4 + tensors], need(b, "%d/residual/lambda", which), devices[k].second, device);
            values_free(got, count);
            runner_close(&r);
        }
        net_close(&n);
    }
    blob_free(b);
}

static void ten_steps_of_adam_are_pytorchs(void **state) {
    (void)state;
    struct error e = {0};
    struct blob *b = blob_open(golden, &e);
    if (!b) fail_msg("%s", e.text);
    for (int which = 0; which < NETS; which++)
        for (int k = 0; k < DEVICES; k++) {
            struct net n = net_open(b, which);
            int tensors = n.arch->count;
            struct node *d[VARIABLES];
            grad_of(n.s.g, n.loss, NULL, n.build.param, tensors, d);
            struct runner r = runner_open(devices[k].device, devices[k].threads, n.s.g, d, tensors);
            struct pool *pool = pool_new(1);
            struct optim o;
            optim_defaults(&o, OPTIM_ADAM);
            o.l2 = 1e-2;
            optim_open(&o, n.arch->size);
            float *theta = memory_zero((size_t)n.arch->size * sizeof *theta), *gradient = memory_zero((size_t)n.arch->size * sizeof *theta);
            double **weight = n.value + 3, *got[VARIABLES];
            for (int step = 0; step < 10; step++) {
                runner_run(&r, &n.s, n.examples, n.value, got);
                for (int i = 0; i < tensors; i++)
                    for (int64_t j = 0; j < n.arch->param[i].count; j++) {
                        theta[n.arch->param[i].offset + j] = (float)weight[i][j];
                        gradient[n.arch->param[i].offset + j] = (float)(got[i][j] / (double)n.examples);
                    }
                values_free(got, tensors);
                assert_int_equal(optim_step(&o, 1e-2, theta, gradient, pool), -1);
                for (int i = 0; i < tensors; i++)
                    for (int64_t j = 0; j < n.arch->param[i].count; j++) weight[i][j] = theta[n.arch->param[i].offset + j];
            }
            for (int i = 0; i < tensors; i++)
                expect(weight[i], need(b, "%d/adam/%s", which, n.arch->param[i].name), devices[k].trained, devices[k].device);
            free(theta);
            free(gradient);
            optim_close(&o);
            pool_free(pool);
            runner_close(&r);
            net_close(&n);
        }
    blob_free(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(derivatives_are_pytorchs), cmocka_unit_test(ten_steps_of_adam_are_pytorchs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

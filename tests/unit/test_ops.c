// The oracle: every op against its meaning, worked out here another way, over random shapes.
#include "oracle.h"

// ---- a formula for one example: z from x and y, the values of the op's inputs

typedef void formula(const struct node *n, const double *x, const double *y, double *z);

// Row-major strides of a shape.
static void strides(const struct shape *s, int64_t stride[GRAPH_RANK_MAX]) {
    int64_t step = 1;
    for (int i = s->rank - 1; i >= 0; i--) stride[i] = step, step *= s->dim[i];
}

// A copy between two strided arrays of one shape by recursion over its dimensions.
static void strided(int rank, const int64_t *dim, const int64_t *from, const int64_t *to, const double *x, double *z, bool add) {
    if (!rank) {
        *z = add ? *z + *x : *x;
        return;
    }
    for (int64_t i = 0; i < *dim; i++) strided(rank - 1, dim + 1, from + 1, to + 1, x + i * *from, z + i * *to, add);
}

static void broadcast(const struct node *n, const double *x, const double *y, double *z) {
    (void)y;
    int64_t from[GRAPH_RANK_MAX], to[GRAPH_RANK_MAX];
    strides(&n->in[0]->shape, from);
    strides(&n->shape, to);
    for (int i = 0; i < n->shape.rank; i++)
        if (n->in[0]->shape.dim[i] == 1) from[i] = 0;
    strided(n->shape.rank, n->shape.dim, from, to, x, z, false);
}

static void sum(const struct node *n, const double *x, const double *y, double *z) {
    (void)y;
    int64_t from[GRAPH_RANK_MAX], to[GRAPH_RANK_MAX];
    strides(&n->in[0]->shape, from);
    strides(&n->shape, to);
    for (int i = 0; i < n->shape.rank; i++)
        if (n->shape.dim[i] == 1) to[i] = 0;
    for (int64_t i = 0; i < shape_count(&n->shape); i++) z[i] = 0;
    strided(n->shape.rank, n->in[0]->shape.dim, from, to, x, z, true);
}

static void reshape(const struct node *n, const double *x, const double *y, double *z) {
    (void)y;
    memcpy(z, x, (size_t)shape_count(&n->shape) * sizeof *z);
}

static void transpose(const struct node *n, const double *x, const double *y, double *z) {
    (void)y;
    int64_t natural[GRAPH_RANK_MAX], from[GRAPH_RANK_MAX], to[GRAPH_RANK_MAX];
    strides(&n->in[0]->shape, natural);
    strides(&n->shape, to);
    for (int i = 0; i < n->shape.rank; i++) from[i] = natural[n->perm[i]];
    strided(n->shape.rank, n->shape.dim, from, to, x, z, false);
}

static void slice(const struct node *n, const double *x, const double *y, double *z) {
    (void)y;
    int64_t from[GRAPH_RANK_MAX], to[GRAPH_RANK_MAX];
    strides(&n->in[0]->shape, from);
    strides(&n->shape, to);
    strided(n->shape.rank, n->shape.dim, from, to, x + n->from * from[n->axis], z, false);
}

static void pad(const struct node *n, const double *x, const double *y, double *z) {
    (void)y;
    int64_t from[GRAPH_RANK_MAX], to[GRAPH_RANK_MAX];
    strides(&n->in[0]->shape, from);
    strides(&n->shape, to);
    for (int64_t i = 0; i < shape_count(&n->shape); i++) z[i] = 0;
    strided(n->shape.rank, n->in[0]->shape.dim, from, to, x, z + n->from * to[n->axis], false);
}

static int64_t last(const struct node *n) { return n->shape.dim[n->shape.rank - 1]; }
static int64_t rows(const struct node *n) { return shape_count(&n->shape) / last(n); }

static void gather(const struct node *n, const double *x, const double *y, double *z) {
    for (int64_t r = 0; r < rows(n); r++)
        for (int64_t j = 0; j < last(n); j++) z[r * last(n) + j] = x[r * last(n->in[0]) + (int64_t)y[r * last(n) + j]];
}

// By the one-hot matrix of the indices.
static void scatter(const struct node *n, const double *x, const double *y, double *z) {
    int64_t m = last(n->in[0]);
    for (int64_t r = 0; r < rows(n); r++)
        for (int64_t i = 0; i < last(n); i++) {
            z[r * last(n) + i] = 0;
            for (int64_t j = 0; j < m; j++) z[r * last(n) + i] += x[r * m + j] * (y[r * m + j] == (double)i);
        }
}

static void row_max(const struct node *n, const double *x, const double *y, double *z) {
    (void)y;
    for (int64_t r = 0; r < rows(n); r++) {
        z[r] = -INFINITY;
        for (int64_t j = 0; j < last(n->in[0]); j++) z[r] = fmax(z[r], x[r * last(n->in[0]) + j]);
    }
}

// From the end, so that the first of equals is what remains.
static void argmax(const struct node *n, const double *x, const double *y, double *z) {
    double most[4096];
    row_max(n, x, y, most);
    for (int64_t r = 0; r < rows(n); r++)
        for (int64_t j = last(n->in[0]); j-- > 0;)
            if (x[r * last(n->in[0]) + j] == most[r]) z[r] = (double)j;
}

#define ELEMENTWISE(name, value)                                                                  \
    static void name(const struct node *n, const double *x, const double *y, double *z)           \
    {                                                                                             \
        (void)x, (void)y;                                                                         \
        for (int64_t i = 0; i < shape_count(&n->shape); i++) z[i] = (value);                      \
    }
ELEMENTWISE(add, x[i] + y[i])
ELEMENTWISE(sub, x[i] - y[i])
ELEMENTWISE(mul, x[i] * y[i])
ELEMENTWISE(divide, x[i] / y[i])
ELEMENTWISE(neg, -x[i])
ELEMENTWISE(exponential, pow(M_E, x[i]))
ELEMENTWISE(logarithm, log10(x[i]) * M_LN10)
ELEMENTWISE(root, pow(x[i], .5))
ELEMENTWISE(hyperbolic, (exp(x[i]) - exp(-x[i])) / (exp(x[i]) + exp(-x[i])))
ELEMENTWISE(sigmoid, .5 + .5 * tanh(x[i] / 2))
ELEMENTWISE(error_function, 1 - erfc(x[i]))
ELEMENTWISE(relu, fmax(x[i], 0))
ELEMENTWISE(step, x[i] > 0 ? 1 : 0)
ELEMENTWISE(sign, x[i] == 0 ? 0 : copysign(1, x[i]))
ELEMENTWISE(same, x[i])
ELEMENTWISE(fill, n->a)

// By the definition's index order: transposes are made, then multiplied row by row.
static void matmul(const struct node *n, const double *x, const double *y, double *z) {
    const struct shape *sx = &n->in[0]->shape, *sy = &n->in[1]->shape;
    int r = n->shape.rank;
    int64_t m = n->shape.dim[r - 2], cols = n->shape.dim[r - 1], k = sx->dim[r - 2] * sx->dim[r - 1] / m;
    for (int64_t i = 0; i < shape_count(&n->shape); i++) z[i] = 0;
    for (int64_t b = 0; b < shape_count(&n->shape) / (m * cols); b++)
        for (int64_t l = 0; l < k; l++)  // a sum of outer products
            for (int64_t i = 0; i < m; i++)
                for (int64_t j = 0; j < cols; j++) {
                    const double *px = x + b * m * k, *py = y + b * k * cols;
                    double left = n->ta ? px[l * sx->dim[r - 1] + i] : px[i * sx->dim[r - 1] + l];
                    double right = n->tb ? py[j * sy->dim[r - 1] + l] : py[l * sy->dim[r - 1] + j];
                    z[(b * m + i) * cols + j] += left * right;
                }
}

// Cross-correlation over a copy of the image with its border of zeros.
static void correlate(const struct shape *sx, const struct shape *sw, int stride, int padding, const double *x, const double *w, double *y) {
    int64_t channels = sx->dim[0], high = sx->dim[1] + 2 * padding, wide = sx->dim[2] + 2 * padding, k = sw->dim[2];
    double *bordered = memory_zero((size_t)(channels * high * wide) * sizeof *bordered);
    for (int64_t c = 0; c < channels; c++)
        for (int64_t i = 0; i < sx->dim[1]; i++)
            memcpy(bordered + (c * high + i + padding) * wide + padding, x + (c * sx->dim[1] + i) * sx->dim[2], (size_t)sx->dim[2] * sizeof *x);
    for (int64_t o = 0; o < sw->dim[0]; o++)
        for (int64_t i = 0; i + k <= high; i += stride)
            for (int64_t j = 0; j + k <= wide; j += stride, y++) {
                *y = 0;
                for (int64_t c = 0; c < channels; c++)
                    for (int64_t p = 0; p < k; p++)
                        for (int64_t q = 0; q < k; q++)
                            *y += bordered[(c * high + i + p) * wide + j + q] * w[((o * channels + c) * k + p) * k + q];
            }
    free(bordered);
}

static void conv(const struct node *n, const double *x, const double *w, double *z) {
    correlate(&n->in[0]->shape, &n->in[1]->shape, n->stride, n->padding, x, w, z);
}

// The transposes of a linear map, one unit vector at a time.
static void conv_dx(const struct node *n, const double *dy, const double *w, double *z) {
    int64_t inputs = shape_count(&n->shape), outputs = shape_count(&n->in[0]->shape);
    double *unit = memory_zero((size_t)inputs * sizeof *unit), *y = memory_take((size_t)outputs * sizeof *y);
    for (int64_t i = 0; i < inputs; i++) {
        unit[i] = 1, z[i] = 0;
        correlate(&n->shape, &n->in[1]->shape, n->stride, n->padding, unit, w, y);
        for (int64_t j = 0; j < outputs; j++) z[i] += y[j] * dy[j];
        unit[i] = 0;
    }
    free(unit);
    free(y);
}

static void conv_dw(const struct node *n, const double *x, const double *dy, double *z) {
    int64_t inputs = shape_count(&n->shape), outputs = shape_count(&n->in[1]->shape);
    double *unit = memory_zero((size_t)inputs * sizeof *unit), *y = memory_take((size_t)outputs * sizeof *y);
    for (int64_t i = 0; i < inputs; i++) {
        unit[i] = 1, z[i] = 0;
        correlate(&n->in[0]->shape, &n->shape, n->stride, n->padding, x, unit, y);
        for (int64_t j = 0; j < outputs; j++) z[i] += y[j] * dy[j];
        unit[i] = 0;
    }
    free(unit);
    free(y);
}

// For every place of the image that is in a window: `at` in the image, `to` of its window, `index` in the window.
#define EVERY_PLACE(big, small, k)                                                                \
    for (int64_t c = 0, at, to, index; c < (big)->dim[0]; c++)                                    \
        for (int64_t i = 0; i < (small)->dim[1] * (k); i++)                                       \
            for (int64_t j = 0; j < (small)->dim[2] * (k); j++)                                   \
                if (at = (c * (big)->dim[1] + i) * (big)->dim[2] + j,                             \
                    to = (c * (small)->dim[1] + i / (k)) * (small)->dim[2] + j / (k),             \
                    index = i % (k) * (k) + j % (k), index >= 0)

static void pool_argmax(const struct node *n, const double *x, const double *y, double *z) {
    (void)y;
    double most[4096];
    for (int64_t i = 0; i < shape_count(&n->shape); i++) most[i] = -INFINITY, z[i] = n->stride * n->stride;
    EVERY_PLACE(&n->in[0]->shape, &n->shape, n->stride) most[to] = fmax(most[to], x[at]);
    EVERY_PLACE(&n->in[0]->shape, &n->shape, n->stride) if (x[at] == most[to]) z[to] = fmin(z[to], (double)index);
}

static void pool_gather(const struct node *n, const double *x, const double *y, double *z) {
    EVERY_PLACE(&n->in[0]->shape, &n->shape, n->stride) if (y[to] == (double)index) z[to] = x[at];
}

static void pool_scatter(const struct node *n, const double *x, const double *y, double *z) {
    for (int64_t i = 0; i < shape_count(&n->shape); i++) z[i] = 0;
    EVERY_PLACE(&n->shape, &n->in[0]->shape, n->stride) if (y[to] == (double)index) z[at] = x[to];
}

static void uniform(const struct node *n, const double *x, const double *y, double *z) {
    (void)y;
    float draws[4096];
    rng_uniform(n->stream, (uint32_t)(int64_t)x[0], (uint32_t)(int64_t)x[1], (uint32_t)(int64_t)x[2], draws, shape_count(&n->shape));
    for (int64_t i = 0; i < shape_count(&n->shape); i++) {
        assert_true(draws[i] >= 0 && draws[i] < 1);
        z[i] = draws[i];
    }
}

static formula *const formulas[OPS] = {
    [OP_FILL] = fill, [OP_UNIFORM] = uniform, [OP_BROADCAST] = broadcast, [OP_SUM] = sum, [OP_RESHAPE] = reshape,
    [OP_TRANSPOSE] = transpose, [OP_SLICE] = slice, [OP_PAD] = pad, [OP_GATHER] = gather, [OP_SCATTER] = scatter,
    [OP_ARGMAX] = argmax, [OP_ROW_MAX] = row_max, [OP_ADD] = add, [OP_SUB] = sub, [OP_MUL] = mul, [OP_DIV] = divide,
    [OP_NEG] = neg, [OP_EXP] = exponential, [OP_LOG] = logarithm, [OP_SQRT] = root, [OP_TANH] = hyperbolic,
    [OP_SIGMOID] = sigmoid, [OP_ERF] = error_function, [OP_RELU] = relu, [OP_SOFT_RELU] = relu, [OP_STEP] = step,
    [OP_SIGN] = sign, [OP_DETACH] = same, [OP_MATMUL] = matmul, [OP_CONV] = conv, [OP_CONV_DX] = conv_dx,
    [OP_CONV_DW] = conv_dw, [OP_POOL_ARGMAX] = pool_argmax, [OP_POOL_GATHER] = pool_gather,
    [OP_POOL_SCATTER] = pool_scatter,
};

// What the node should hold for all examples; `x`, `y` are its inputs' values, `given` what INPUT was set to.
static double *expected(const struct node *n, int64_t examples, const double *x, const double *y, const double *given) {
    int64_t count = node_count(n, examples), size = shape_count(&n->shape);
    double *z = memory_zero((size_t)(count + 1) * sizeof *z);
    if (n->op == OP_INPUT)
        memcpy(z, given, (size_t)count * sizeof *z);
    else if (n->op == OP_EACH)
        for (int64_t i = 0; i < examples; i++) memcpy(z + i * size, x, (size_t)size * sizeof *z);
    else if (n->op == OP_SUM_EXAMPLES)
        for (int64_t j = 0; j < size; j++)
            for (int64_t i = 0; i < examples; i++) z[j] += x[i * size + j];
    else if (!formulas[n->op])
        fail_msg("op %s has no formula in test_ops.c", op_name[n->op]);
    else
        for (int64_t i = 0; i < (n->batch ? examples : 1); i++)
            formulas[n->op](n, x ? x + i * shape_count(&n->in[0]->shape) : NULL, y ? y + i * shape_count(&n->in[1]->shape) : NULL, z + i * size);
    return z;
}

// Returns whether the builder made a node of this op at all (it may return its input).
static bool check(enum op op, uint64_t seed, bool edges) {
    struct subject s = subject_make(op, seed, 5);
    bool made = s.node->op == op;
    for (int64_t examples = 0; made && examples <= 3; examples += 3) {
        struct node *output[3] = {s.node, s.node->in[0], s.node->in[1]};
        int outputs = 1 + op_inputs[op];
        double *value[VARIABLES], *got[3] = {0};
        values_new(&s, examples, edges, value);
        struct runner r = runner_open("ref", 0, s.g, output, outputs);
        runner_run(&r, &s, examples, value, got);
        double *want = expected(s.node, examples, got[1], got[2], s.variables ? value[0] : NULL);
        for (int64_t i = 0; i < node_count(s.node, examples); i++)
            // both are double; exp by pow and sums in another order differ in the last bits
            if (!(fabs(got[0][i] - want[i]) <= 1e-12 * (1 + fabs(want[i])) * 100))
                fail_msg("%s, seed %d: element %d is %.17g, expected %.17g", op_name[op], (int)seed, (int)i, got[0][i], want[i]);
        free(want);
        runner_close(&r);
        values_free(value, s.variables);
        values_free(got, outputs);
    }
    graph_free(s.g);
    return made;
}

static void every_op_means_what_it_says(void **state) {
    (void)state;
    for (int op = 0; op < OPS; op++) {
        int made = 0;
        for (uint64_t seed = 0; seed < 40; seed++) made += check((enum op)op, seed, seed % 2);
        if (made < 10) fail_msg("only %d of 40 subjects held a node of op %s", made, op_name[op]);
    }
}

// 1 x 3 x 3 by hand: 1..9 with the kernel 1 2 / 3 4 (embedded in 3 x 3), one padding, stride 2.
static void a_convolution_by_hand(void **state) {
    (void)state;
    struct subject s = {.g = graph_new()};
    struct node *x = subject_variable(&s, true, ANY, 0, shape_of(3, 1, 3, 3));
    struct node *w = subject_variable(&s, false, ANY, 0, shape_of(4, 1, 1, 3, 3));
    struct node *y = graph_conv(s.g, x, graph_each(s.g, w), 2, 1);
    double image[] = {1, 2, 3, 4, 5, 6, 7, 8, 9}, weights[] = {1, 2, 0, 3, 4, 0, 0, 0, 0}, *value[] = {image, weights}, *got[1];
    struct runner r = runner_open("ref", 0, s.g, &y, 1);
    runner_run(&r, &s, 1, value, got);
    // rows above are zeros for the first window row: 4*1 | 3*2 + 4*3; then 2*4 + 4*7 | 1*5 + 2*6 + 3*8 + 4*9
    const double want[] = {4, 18, 36, 77};
    for (int i = 0; i < 4; i++) assert_true(got[0][i] == want[i]);
    values_free(got, 1);
    runner_close(&r);
    graph_free(s.g);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_op_means_what_it_says), cmocka_unit_test(a_convolution_by_hand)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// The CPU executor against the oracle, and what it promises beyond: the same bits whatever the number of
// threads, and for a row whatever else is in the batch. Guards around every buffer are oracle.h's.
#include <malloc.h>
#include <stdio.h>

#include "fuzz.h"
#include "tiny.h"

static const int64_t sizes[] = {0, 1, 2, 7, 8, 9, 17, 40};
enum { SIZES = sizeof sizes / sizeof *sizes };
static const int threads[] = {1, 2, 3, 8};

// Float against double. A result here is a sum of at most some hundred products of numbers of order 1, whose
// rounding errors grow like the root of their number: 64 units of the largest entry of the tensor (or of 1)
// is far above that and far below any mistake. `sway` is what an error of one unit in the inputs does to it.
static void assert_close(const double *got, const double *want, const struct node *n, int64_t examples, double sway, const char *what, int seed) {
    double most = 0;
    for (int64_t i = 0; i < node_count(n, examples); i++) most = fmax(most, fabs(want[i]));
    double allowed = n->index ? 0 : 64 * FLT_EPSILON * (1 + most) + 32 * sway;
    for (int64_t i = 0; i < node_count(n, examples); i++)
        if (!(fabs(got[i] - want[i]) <= allowed)) {
            char shape[96];
            fail_msg("%s, seed %d, %d examples: node %d (%s %s%s), element %d is %.9g, expected %.9g, allowed %.2g", what, seed,
                     (int)examples, n->id, op_name[n->op], n->batch ? "batch " : "", shape_text(&n->shape, shape), (int)i, got[i], want[i], allowed);
        }
}

static void assert_same_bits(const double *a, const double *b, int64_t count, const struct node *n, const char *what, int seed, const char *why) {
    for (int64_t i = 0; i < count; i++)
        if (memcmp(&a[i], &b[i], sizeof *a))
            fail_msg("%s, seed %d: node %d (%s), element %d of %d, is %.9g, not %.9g, %s", what, seed, n->id, op_name[n->op], (int)i, (int)count, a[i], b[i], why);
}

// Whether a row of each node may depend on other rows, by node id.
static bool *mixes_examples(const struct graph *g) {
    bool *mixes = memory_zero((size_t)graph_count(g) * sizeof *mixes);
    for (int id = 0; id < graph_count(g); id++) {
        const struct node *n = graph_node(g, id);
        mixes[id] = n->op == OP_SUM_EXAMPLES;
        for (int i = 0; i < op_inputs[n->op]; i++) mixes[id] |= mixes[n->in[i]->id];
    }
    return mixes;
}

// ---- the checks, of any graph

static void check_values(struct subject *s, struct node *const *out, int count, int64_t examples, bool edges, const char *what, int seed) {
    double *value[VARIABLES], *want[VARIABLES], *got[VARIABLES];
    values_new(s, examples, edges, value);
    struct runner ref = runner_open("ref", 0, s->g, out, count), cpu = runner_open("cpu", 2, s->g, out, count);
    runner_run(&ref, s, examples, value, want);
    runner_run(&cpu, s, examples, value, got);
    for (int i = 0; i < count; i++) assert_close(got[i], want[i], out[i], examples, 0, what, seed);
    runner_close(&ref);
    runner_close(&cpu);
    values_free(value, s->variables);
    values_free(want, count);
    values_free(got, count);
}

// Threads, a second run after runs of other sizes, and the plan's own printing.
static void check_bits(struct subject *s, struct node *const *out, int count, int64_t examples, const char *what, int seed) {
    double *value[VARIABLES], *first[VARIABLES], *got[VARIABLES];
    values_new(s, examples, false, value);
    for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
        struct runner r = runner_open("cpu", threads[t], s->g, out, count);
        if (t == 1)  // a larger arena, an empty run, before the one that counts
            for (int64_t other = 0; other <= 23; other += 23) {
                double *v[VARIABLES];
                values_new(s, other, false, v);
                runner_run(&r, s, other, v, got);
                values_free(v, s->variables);
                values_free(got, count);
            }
        runner_run(&r, s, examples, value, t ? got : first);
        for (int i = 0; t && i < count; i++) assert_same_bits(got[i], first[i], node_count(out[i], examples), out[i], what, seed, t == 1 ? "with 2 threads, after other sizes" : "for another number of threads");
        if (t) values_free(got, count);
        runner_close(&r);
    }
    values_free(value, s->variables);
    values_free(first, count);
}

// Rows of a batch of 17 again in batches of other sizes, at other positions, among other and among NaN rows.
static void check_rows(struct subject *s, struct node *const *all, int total, const char *what, int seed) {
    enum { BASE = 17 };
    struct node *out[VARIABLES];
    int count = 0;
    bool *mixes = mixes_examples(s->g);
    for (int i = 0; i < total; i++)
        if (all[i]->batch && !mixes[all[i]->id]) out[count++] = all[i];
    free(mixes);
    if (!count) return;
    double *value[VARIABLES], *base[VARIABLES], *got[VARIABLES], *other[VARIABLES];
    values_new(s, BASE, false, value);
    struct runner r = runner_open("cpu", 2, s->g, out, count);
    runner_run(&r, s, BASE, value, base);
    for (int k = 1; k < SIZES; k++) {
        int64_t examples = sizes[k];
        values_new(s, examples, false, other);
        int64_t row = draw_int(&s->draws, 0, BASE - 1), at = draw_int(&s->draws, 0, (int)examples - 1);
        for (int i = 0; i < s->variables; i++) {
            const struct node *n = s->variable[i].node;
            int64_t size = shape_count(&n->shape);
            if (!n->batch) {
                memcpy(other[i], value[i], (size_t)size * sizeof **value);
                continue;
            }
            for (int64_t j = 0; k % 2 && !n->index && j < examples * size; j++) other[i][j] = NAN;
            memcpy(other[i] + at * size, value[i] + row * size, (size_t)size * sizeof **value);
        }
        runner_run(&r, s, examples, other, got);
        for (int i = 0; i < count; i++) {
            int64_t size = shape_count(&out[i]->shape);
            assert_same_bits(got[i] + at * size, base[i] + row * size, size, out[i], what, seed, "in another batch");
        }
        values_free(other, s->variables);
        values_free(got, count);
    }
    runner_close(&r);
    values_free(value, s->variables);
    values_free(base, count);
}

// ---- every op, with its first and second derivatives

static int op_outputs(struct subject *s, struct node **out) {
    int count = 0;
    struct node *x[VARIABLES], *d[VARIABLES], *dd[VARIABLES], *total = graph_fill(s->g, 0, shape_of(1, 1));
    struct node *seed = subject_variable(s, s->out->batch, ANY, 0, s->out->shape);
    int reals = subject_reals(s, x);
    grad_of(s->g, s->out, seed, x, reals, d);
    out[count++] = s->node;
    out[count++] = s->out;
    for (int i = 0; i < reals; i++) {
        out[count++] = d[i];
        struct node *part = graph_sum_all(s->g, graph_square(s->g, d[i]));
        part = graph_scale(s->g, part, 1. / (double)shape_count(&d[i]->shape));
        total = graph_add(s->g, total, part->batch ? graph_sum_examples(s->g, part) : part);
    }
    grad_of(s->g, total, NULL, x, reals, dd);
    for (int i = 0; i < reals; i++) out[count++] = dd[i];
    return count;
}

static void every_op_agrees(void **state) {
    (void)state;
    for (int op = 0; op < OPS; op++)
        for (int seed = 0; seed < 4 * SIZES; seed++) {
            struct subject s = subject_make((enum op)op, (uint64_t)seed, seed % 4 == 3 ? 40 : 5);
            struct node *out[VARIABLES];
            // forward alone half of the time: a plan may fuse more where nothing else needs a value
            int count = seed % 2 ? op_outputs(&s, out) : (out[0] = s.node, 1);
            check_values(&s, out, count, sizes[seed / 4], seed % 4 == 0, op_name[op], seed);
            graph_free(s.g);
        }
}

static void every_op_has_the_same_bits(void **state) {
    (void)state;
    for (int op = 0; op < OPS; op++)
        for (int seed = 0; seed < 4; seed++) {
            struct subject s = subject_make((enum op)op, (uint64_t)(100 + seed), seed == 3 ? 40 : 5);
            struct node *out[VARIABLES];
            int count = op_outputs(&s, out);
            check_bits(&s, out, count, seed % 2 ? 40 : 17, op_name[op], seed);
            check_rows(&s, out, count, op_name[op], seed);
            graph_free(s.g);
        }
}

// ---- tiny networks: logits, gradients, stationarity, clipped sums

static int tiny_outputs(struct tiny *t, struct node **out) {
    int count = 0;
    struct node *lambda = subject_variable(&t->s, true, POSITIVE, 0, shape_of(1, 1)), *x[] = {t->x, lambda}, *norm;
    out[count++] = t->logits;
    out[count++] = t->loss;
    out[count++] = t->margin;
    grad_of(t->s.g, t->loss, NULL, &t->x, 1, out + count++);
    grad_of(t->s.g, t->loss, NULL, t->theta, t->tensors, out + count);
    count += t->tensors;
    out[count++] = tiny_stationarity(t, lambda);
    grad_of(t->s.g, out[count - 1], NULL, x, 2, out + count);
    count += 2;
    struct node *clipped[TENSORS];
    tiny_clipped(t, .8, clipped, &norm);
    out[count++] = norm;
    for (int i = 0; i < t->tensors && count < VARIABLES; i++) out[count++] = clipped[i];
    return count;
}

static void tiny_networks_agree(void **state) {
    (void)state;
    unary *const activations[] = {graph_relu, graph_tanh, gelu, soft_relu};
    for (int net = 0; net < NETS; net++)
        for (int a = 0; a < 4; a++) {
            struct tiny t = tiny_make((enum net)net, activations[a], 21);
            struct node *out[VARIABLES];
            int count = tiny_outputs(&t, out);
            for (int k = a % 2; k < SIZES; k += 2) check_values(&t.s, out, count, sizes[k], false, net_name[net], a);
            check_values(&t.s, out, 1, 9, false, net_name[net], a);  // logits alone
            check_bits(&t.s, out, count, 40, net_name[net], a);
            check_rows(&t.s, out, count, net_name[net], a);
            check_rows(&t.s, out, 1, net_name[net], a);
            graph_free(t.s.g);
        }
}

// More examples than one round of partial sums holds, and then three rounds of which the last one is short.
static void many_examples(void **state) {
    (void)state;
    for (int net = 0; net < NETS; net++) {
        struct tiny t = tiny_make((enum net)net, graph_relu, 24);
        struct node *out[VARIABLES];
        int count = tiny_outputs(&t, out);
        check_values(&t.s, out, count, 1100, false, net_name[net], 24);
        check_bits(&t.s, out, count, 513, net_name[net], 24);
        graph_free(t.s.g);
    }
}

// The sum of clipped gradients against batches of one, both by the CPU.
static void clipped_sum_is_one_by_one(void **state) {
    (void)state;
    enum { EXAMPLES = 19 };
    for (int net = 0; net < NETS; net++) {
        struct tiny t = tiny_make((enum net)net, graph_relu, 22);
        struct node *out[TENSORS], *single[TENSORS], *norm;
        const double clip = .8;
        tiny_clipped(&t, clip, out, &norm);
        grad_of(t.s.g, t.loss, NULL, t.theta, t.tensors, single);
        double *value[VARIABLES], *got[TENSORS], *sum[TENSORS];
        values_new(&t.s, EXAMPLES, false, value);
        struct runner all = runner_open("cpu", 2, t.s.g, out, t.tensors), one = runner_open("cpu", 2, t.s.g, single, t.tensors);
        runner_run(&all, &t.s, EXAMPLES, value, got);
        for (int i = 0; i < t.tensors; i++) sum[i] = memory_zero((size_t)shape_count(&t.theta[i]->shape) * sizeof **sum);
        for (int n = 0; n < EXAMPLES; n++) {
            double *row[VARIABLES], *d[TENSORS], squares = 1e-12;
            for (int i = 0; i < t.s.variables; i++)
                row[i] = value[i] + (t.s.variable[i].node->batch ? n * shape_count(&t.s.variable[i].node->shape) : 0);
            runner_run(&one, &t.s, 1, row, d);
            for (int i = 0; i < t.tensors; i++)
                for (int64_t j = 0; j < shape_count(&t.theta[i]->shape); j++) squares += d[i][j] * d[i][j];
            for (int i = 0; i < t.tensors; i++)
                for (int64_t j = 0; j < shape_count(&t.theta[i]->shape); j++) sum[i][j] += fmin(1, clip / sqrt(squares)) * d[i][j];
            values_free(d, t.tensors);
        }
        for (int i = 0; i < t.tensors; i++) assert_close(got[i], sum[i], out[i], 1, 0, net_name[net], 22);
        runner_close(&all);
        runner_close(&one);
        values_free(sum, t.tensors);
        values_free(got, t.tensors);
        values_free(value, t.s.variables);
        graph_free(t.s.g);
    }
}

// ---- random graphs

// Returns whether the graph's values could be compared.
static bool random_graph_agrees(struct fuzz f, const char *what, int seed) {
    int64_t examples = seed % 64 == 9 ? 530 : sizes[seed / 8 % SIZES];  // 530: two rounds of 64 shards
    double *value[VARIABLES], *want[VARIABLES], *got[VARIABLES], *swayed[VARIABLES];
    values_new(&f.s, examples, false, value);
    struct runner ref = runner_open("ref", 0, f.s.g, f.output, f.outputs), cpu = runner_open("cpu", 2, f.s.g, f.output, f.outputs);
    runner_run(&ref, &f.s, examples, value, want);
    runner_run(&cpu, &f.s, examples, value, got);
    runner_close(&ref);
    runner_close(&cpu);
    bool compared = !fuzz_on_edge(&f, examples, value, 1e-5);
    if (compared) {
        struct subject shaking = f.s;  // with the keys as two more variables
        struct node *key = subject_variable(&shaking, true, COUNTER, 0, shape_of(1, 3)), *shaken[VARIABLES];
        struct node *whole_key = subject_variable(&shaking, false, COUNTER, 0, shape_of(1, 3));
        double sway[VARIABLES] = {0}, *drawn[VARIABLES];
        fuzz_shaken(&f, key, whole_key, shaken);
        ref = runner_open("ref", 0, f.s.g, shaken, f.outputs);
        for (int k = 0; k < 2; k++) {
            values_new(&shaking, examples, false, drawn);
            for (int i = 0; i < f.s.variables; i++)
                memcpy(drawn[i], value[i], (size_t)node_count(f.s.variable[i].node, examples) * sizeof **value);
            runner_run(&ref, &shaking, examples, drawn, swayed);
            for (int i = 0; i < f.outputs; i++)
                for (int64_t j = 0; j < node_count(f.output[i], examples); j++) sway[i] = fmax(sway[i], fabs(swayed[i][j] - want[i][j]));
            values_free(drawn, shaking.variables);
            values_free(swayed, f.outputs);
        }
        runner_close(&ref);
        for (int i = 0; i < f.outputs; i++) assert_close(got[i], want[i], f.output[i], examples, sway[i], what, seed);
    }
    values_free(value, f.s.variables);
    values_free(want, f.outputs);
    values_free(got, f.outputs);
    if (seed % 8 == 0) {
        check_bits(&f.s, f.output, f.outputs, 25, what, seed);
        check_rows(&f.s, f.output, f.outputs, what, seed);
    }
    graph_free(f.s.g);
    return compared;
}

static bool random_network_agrees(int seed) {
    return random_graph_agrees(fuzz_make((uint64_t)seed, seed % 8 == 7 ? 30 : 5), "random network", seed);
}
static bool random_tensors_agree(int seed) { return random_graph_agrees(fuzz_tensors((uint64_t)seed), "random tensors", seed); }

static bool random_parts_agree(int seed) { return random_graph_agrees(fuzz_parts((uint64_t)seed), "random parts", seed); }

// The first ones, and those of thirty thousand that once did not agree.
static void random_graphs_agree(void **state) {
    (void)state;
    static const int found[] = {2129, 6222, 8035, 11592, 12222, 14348, 17637, 19512, 29348, 29478, 29787};
    int compared = 0;
    for (size_t i = 0; i < sizeof found / sizeof *found; i++) random_network_agrees(found[i]);
    random_tensors_agree(17808);
    random_tensors_agree(301469);  // x - x is 0 after fusing too
    random_network_agrees(201056);
    for (int seed = 0; seed < 400; seed++) compared += random_network_agrees(seed) + random_tensors_agree(seed) + random_parts_agree(seed);
    assert_in_range(compared, 600, 1200);
}

// ---- and the rest of the contract

// Outputs that are inputs, constants, twice the same, or need no example at all.
static void odd_outputs(void **state) {
    (void)state;
    struct subject s = {.g = graph_new(), .draws = {9}};
    struct node *x = subject_variable(&s, true, ANY, 0, shape_of(2, 3, 2)), *w = subject_variable(&s, false, ANY, 0, shape_of(2, 3, 2));
    struct node *index = subject_variable(&s, true, CHOICE, 2, shape_of(2, 3, 1));
    struct node *sum = graph_add(s.g, x, graph_each(s.g, w));
    struct node *out[] = {
        x, w, index, graph_fill(s.g, 3, shape_of(1, 5)), graph_fill_like(s.g, 2, x), graph_each(s.g, w), sum, sum,
        graph_reshape(s.g, x, shape_of(1, 6)), graph_transpose(s.g, w, (const int[]){1, 0}), graph_exp(s.g, w),
        graph_gather(s.g, sum, index), graph_sum_examples(s.g, graph_each(s.g, w)), graph_detach(s.g, x),
        graph_sum_examples(s.g, graph_fill_like(s.g, 1, x)), graph_each(s.g, graph_sum_examples(s.g, x)),
    };
    for (int k = 0; k < SIZES; k++) check_values(&s, out, sizeof out / sizeof *out, sizes[k], false, "odd outputs", k);
    for (size_t i = 0; i < sizeof out / sizeof *out; i++) check_values(&s, &out[i], 1, 9, false, "one odd output", (int)i);
    check_bits(&s, out, sizeof out / sizeof *out, 17, "odd outputs", 0);
    graph_free(s.g);
}

// What reads or makes a value in an unusual way: each alone, and all together.
static void odd_operands(void **state) {
    (void)state;
    struct subject s = {.g = graph_new(), .draws = {10}};
    struct graph *g = s.g;
    struct node *image = subject_variable(&s, true, ANY, 0, shape_of(3, 3, 7, 7)), *row = subject_variable(&s, true, ANY, 0, shape_of(2, 3, 5));
    struct node *narrow = subject_variable(&s, true, ANY, 0, shape_of(3, 3, 1, 7)), *two = graph_fill(g, 2, row->shape);
    struct node *few = subject_variable(&s, true, ANY, 0, shape_of(3, 1, 5, 1)), *some = graph_broadcast(g, few, shape_of(3, 2, 5, 1));
    struct node *index = graph_pool_argmax(g, image, 2), *flat = graph_reshape(g, index, shape_of(2, 3, 9));
    struct node *out[] = {
        graph_exp(g, two), graph_add(g, row, graph_each(g, graph_tanh(g, two))),                      // functions of a number
        graph_add(g, graph_exp(g, image), graph_broadcast(g, graph_exp(g, narrow), image->shape)),  // some rows repeated
        graph_exp(g, graph_broadcast(g, graph_exp(g, some), shape_of(3, 2, 5, 4))),                   // and then the columns
        index, flat, graph_gather(g, row, flat), graph_slice(g, index, 0, 1, 2), graph_slice(g, index, 2, 1, 2),  // views of
        graph_transpose(g, index, (const int[]){1, 2, 0}), graph_transpose(g, index, (const int[]){2, 0, 1}),  // an index
        graph_pool_gather(g, image, graph_pool_argmax(g, image, 4), 5),  // places in windows of another size
    };
    int count = sizeof out / sizeof *out;
    for (int i = 0; i < count; i++) check_values(&s, &out[i], 1, 9, false, "one odd operand", i);
    check_values(&s, out, count, 17, false, "odd operands", 0);
    check_bits(&s, out, count, 17, "odd operands", 0);
    graph_free(g);
}

// Concatenations whose parts somebody else wants too, or that come from elsewhere: another pass, or all examples.
static void odd_parts(void **state) {
    (void)state;
    struct subject s = {.g = graph_new(), .draws = {13}};
    struct graph *g = s.g;
    struct node *x = subject_variable(&s, true, ANY, 0, shape_of(2, 2, 3)), *y = subject_variable(&s, true, ANY, 0, shape_of(2, 3, 4));
    struct node *w = subject_variable(&s, false, ANY, 0, shape_of(2, 2, 3)), *v = subject_variable(&s, false, ANY, 0, shape_of(2, 3, 4));
    struct node *xy = graph_matmul(g, x, y, false, false), *yx = graph_matmul(g, y, x, true, true), *wv = graph_matmul(g, w, v, false, false);
    struct node *later = graph_each(g, graph_sum_examples(g, graph_tanh(g, xy)));
    struct node *a = graph_pad(g, xy, 0, 0, 7), *b = graph_pad(g, graph_transpose(g, yx, (const int[]){1, 0}), 0, 3, 7);
    struct node *c = graph_pad(g, graph_each(g, wv), 0, 5, 7), *d = graph_pad(g, later, 0, 5, 7), *e = graph_pad(g, xy, 0, 1, 7);
    struct node *image = graph_relu(g, graph_conv(g, subject_variable(&s, true, ANY, 0, shape_of(3, 2, 4, 4)),
                                                  graph_each(g, subject_variable(&s, false, ANY, 0, shape_of(4, 3, 2, 3, 3))), 1, 1));
    struct node *channels = graph_add(g, graph_pad(g, image, 0, 0, 5), graph_pad(g, graph_slice(g, image, 0, 1, 2), 0, 3, 5));
    struct node *out[] = {
        graph_add(g, a, b), graph_add(g, graph_add(g, a, b), c), graph_add(g, graph_add(g, d, a), b), graph_add(g, a, c),
        graph_add(g, a, e), graph_add(g, graph_add(g, a, e), d), graph_tanh(g, graph_add(g, b, c)), a, b, xy,
        graph_pad(g, xy, 1, 1, 6), graph_pad(g, yx, 1, 0, 3), graph_pad(g, wv, 0, 1, 4), channels,
        graph_sum_examples(g, graph_mul(g, graph_add(g, b, d), graph_add(g, b, d))),
    };
    int count = sizeof out / sizeof *out;
    for (int i = 0; i < count; i++) check_values(&s, &out[i], 1, 17, false, "one odd part", i);
    for (int i = 0; i < count; i++)
        for (int j = 0; j < i; j++) {
            struct node *pair[] = {out[i], out[j]};
            check_values(&s, pair, 2, 9, false, "two odd parts", i * count + j);
        }
    check_values(&s, out, count, 17, false, "odd parts", 0);
    check_bits(&s, out, count, 17, "odd parts", 0);
    graph_free(g);
}

// A graph as deep as an optimisation unrolled into it.
static void deep_graphs(void **state) {
    (void)state;
    struct subject s = {.g = graph_new(), .draws = {12}};
    struct node *x = subject_variable(&s, true, ANY, 0, shape_of(1, 3)), *y = x;
    for (int i = 0; i < 100000; i++) y = graph_scale(s.g, graph_add(s.g, y, x), .5);
    check_values(&s, &y, 1, 9, false, "deep graph", 0);
    graph_free(s.g);
}

// |A' B|^2 where the rows of A' B cancel: whoever takes the root must not get NaN.
static void squared_norms_are_not_negative(void **state) {
    (void)state;
    enum { EXAMPLES = 100 };
    struct subject s = {.g = graph_new(), .draws = {11}};
    struct graph *g = s.g;
    struct node *a = subject_variable(&s, true, ANY, 0, shape_of(2, 1, 30)), *b = subject_variable(&s, true, ANY, 0, shape_of(2, 1, 30));
    struct node *near = graph_scale(g, a, 1 + 1e-6), *away = graph_neg(g, b);
    struct node *rows_a = graph_add(g, graph_pad(g, a, 0, 0, 2), graph_pad(g, near, 0, 1, 2));
    struct node *rows_b = graph_add(g, graph_pad(g, b, 0, 0, 2), graph_pad(g, away, 0, 1, 2));
    struct node *norm = graph_sum_all(g, graph_square(g, graph_matmul(g, rows_a, rows_b, true, false)));
    double *in[VARIABLES], *got[1];
    values_new(&s, EXAMPLES, false, in);
    struct runner r = runner_open("cpu", 2, g, &norm, 1);
    runner_run(&r, &s, EXAMPLES, in, got);
    for (int i = 0; i < EXAMPLES; i++) assert_true(got[0][i] >= 0 && got[0][i] < 1e-2);
    runner_close(&r);
    values_free(in, s.variables);
    values_free(got, 1);
    graph_free(g);
}

// A weight that is set again is read again; --explain prints; the profile sums up and starts anew.
static void rebinding_and_profile(void **state) {
    (void)state;
    struct tiny t = tiny_make(CNN, graph_relu, 23);
    struct runner r = runner_open("cpu", 2, t.s.g, &t.logits, 1);
    double *value[VARIABLES] = {0}, *before[1], *after[1], *fresh[1], seconds[PARTS], total = 0, again = 0;
    values_new(&t.s, 9, false, value);
    runner_run(&r, &t.s, 9, value, before);
    for (int i = 0; i < t.s.variables; i++)
        if (!t.s.variable[i].node->batch) value[i][0] += .5;
    runner_run(&r, &t.s, 9, value, after);
    exec_profile(r.exec, seconds);
    for (int i = 0; i < PARTS; i++) {
        assert_true(seconds[i] >= 0);
        assert_non_null(exec_part_name[i]);
        total += seconds[i];
    }
    exec_profile(r.exec, seconds);
    for (int i = 0; i < PARTS; i++) again += seconds[i];
    assert_true(total > 0 && again < total);
    struct runner other = runner_open("cpu", 2, t.s.g, &t.logits, 1);
    runner_run(&other, &t.s, 9, value, fresh);
    assert_same_bits(after[0], fresh[0], 27, t.logits, "cnn", 23, "after its weights changed");
    assert_true(memcmp(before[0], after[0], 27 * sizeof **after));
    char *text;
    size_t length;
    FILE *f = open_memstream(&text, &length);
    plan_print(r.plan, f);
    fclose(f);
    assert_non_null(strstr(text, "conv"));
    free(text);
    runner_close(&r);
    runner_close(&other);
    values_free(before, 1);
    values_free(after, 1);
    values_free(fresh, 1);
    values_free(value, t.s.variables);
    graph_free(t.s.g);
}

// The libraries look at the machine once, so other instruction sets get a process of their own.
static void other_instruction_sets(void **state) {
    (void)state;
    const char *const sets[][2] = {{"avx2", "AVX2"}, {"baseline", "SSE41"}};
    for (int i = 0; i < 2; i++) {
        fflush(NULL);
        pid_t child = fork();
        assert_true(child >= 0);
        if (!child) {
            setenv("ASSAY_ISA", sets[i][0], 1);
            setenv("ONEDNN_MAX_CPU_ISA", sets[i][1], 1);
            setenv("ASSAY_TEST_INNER", "1", 1);
            execl("/proc/self/exe", "test_cpu", (char *)NULL);
            _exit(127);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        if (!WIFEXITED(status) || WEXITSTATUS(status)) fail_msg("fails with ASSAY_ISA=%s ONEDNN_MAX_CPU_ISA=%s", sets[i][0], sets[i][1]);
    }
}

// ASSAY_TEST_SEEDS=FROM:COUNT runs the random graphs of these seeds and nothing else; a test for every hundred,
// so that one that aborts is nearly named.
enum { SOAK_STEP = 100 };

static void soak(void **state) {
    const int *range = *state;
    for (int seed = range[0]; seed < range[1]; seed++) random_network_agrees(seed), random_tensors_agree(seed), random_parts_agree(seed);
}

static int run_soak(const char *text) {
    int from, count, used = 0, tests = 0;
    if (sscanf(text, "%d:%d%n", &from, &count, &used) != 2 || text[used] || from < 0 || count < 1) {
        fprintf(stderr, "ASSAY_TEST_SEEDS=%s: expected FROM:COUNT\n", text);
        return 2;
    }
    size_t most = (size_t)count / SOAK_STEP + 1;
    struct CMUnitTest *test = memory_zero(most * sizeof *test);
    int (*range)[2] = memory_zero(most * sizeof *range);
    char(*name)[48] = memory_zero(most * sizeof *name);
    for (int at = from; at < from + count; at += SOAK_STEP, tests++) {
        range[tests][0] = at;
        range[tests][1] = at + SOAK_STEP < from + count ? at + SOAK_STEP : from + count;
        snprintf(name[tests], sizeof *name, "random_graphs_%d_to_%d", at, range[tests][1] - 1);
        test[tests] = (struct CMUnitTest){.name = name[tests], .test_func = soak, .initial_state = range[tests]};
    }
    int failed = _cmocka_run_group_tests("soak", test, (size_t)tests, NULL, NULL);
    free(test);
    free(range);
    free(name);
    return failed;
}

int main(void) {
    mallopt(M_PERTURB, 0x80);  // fresh memory holds 3.4e38: nobody reads what was not written and goes unseen
    const char *seeds = getenv("ASSAY_TEST_SEEDS");
    if (seeds && *seeds) return run_soak(seeds);
    const struct CMUnitTest inner[] = {
        cmocka_unit_test(every_op_agrees), cmocka_unit_test(every_op_has_the_same_bits), cmocka_unit_test(tiny_networks_agree),
        cmocka_unit_test(many_examples),
        cmocka_unit_test(clipped_sum_is_one_by_one), cmocka_unit_test(random_graphs_agree), cmocka_unit_test(odd_outputs),
        cmocka_unit_test(odd_operands), cmocka_unit_test(odd_parts), cmocka_unit_test(deep_graphs), cmocka_unit_test(squared_norms_are_not_negative),
        cmocka_unit_test(rebinding_and_profile),
    };
    const struct CMUnitTest outer[] = {cmocka_unit_test(other_instruction_sets)};
    int failed = cmocka_run_group_tests(inner, NULL, NULL);
    return failed || getenv("ASSAY_TEST_INNER") ? failed : cmocka_run_group_tests(outer, NULL, NULL);
}

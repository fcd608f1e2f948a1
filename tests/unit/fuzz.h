// fuzz.h: random graphs of many ops, with first and second derivatives: what a planner must not break.
#ifndef ASSAY_TESTS_FUZZ_H
#define ASSAY_TESTS_FUZZ_H

#include "oracle.h"

enum { POOL = 40 };
struct fuzz {
    struct subject s;
    struct node *pool[POOL];  // batch nodes of rank 2
    int count;
    struct node *output[VARIABLES];
    int outputs;
};

static inline struct node *fuzz_pick(struct fuzz *f) { return f->pool[draw_int(&f->s.draws, f->count > 12 ? f->count - 12 : 0, f->count - 1)]; }
static inline struct node *fuzz_input(struct fuzz *f, struct shape shape) { return subject_input(&f->s, ANY, 0, shape); }

// Positive and away from 0.
static inline struct node *fuzz_positive(struct graph *g, struct node *x) { return graph_shift(g, graph_square(g, x), .5); }
static inline struct node *fuzz_mean(struct graph *g, struct node *x, struct shape s) {
    return graph_scale(g, graph_sum(g, x, s), (double)shape_count(&s) / (double)shape_count(&x->shape));
}

static inline struct node *fuzz_unary(struct fuzz *f, struct node *x) {
    struct graph *g = f->s.g;
    switch (draw_int(&f->s.draws, 0, 13)) {
    case 0: return graph_tanh(g, x);
    case 1: return graph_sigmoid(g, x);
    case 2: return graph_erf(g, x);
    case 3: return graph_neg(g, x);
    case 4: return graph_relu(g, x);
    case 5: return graph_soft_relu(g, x, 2);
    case 6: return graph_exp(g, graph_tanh(g, x));
    case 7: return graph_log(g, fuzz_positive(g, x));
    case 8: return graph_sqrt(g, fuzz_positive(g, x));
    case 9: return graph_mul(g, x, graph_detach(g, x));
    case 10: return graph_mul(g, x, graph_step(g, x));
    case 11: return graph_mul(g, x, graph_sign(g, x));
    case 12: return graph_scale(g, x, draw_real(&f->s.draws, -1, 1));
    default: return graph_shift(g, x, draw_real(&f->s.draws, -1, 1));
    }
}

static inline struct node *fuzz_binary(struct fuzz *f, struct node *x, struct node *y) {
    struct graph *g = f->s.g;
    struct shape s = x->shape;
    for (int i = 0; i < 2; i++) {
        if (s.dim[i] == 1) s.dim[i] = y->shape.dim[i];
        if (y->shape.dim[i] != 1 && y->shape.dim[i] != s.dim[i]) return NULL;
    }
    x = graph_broadcast(g, x, s);
    y = graph_broadcast(g, y, s);
    switch (draw_int(&f->s.draws, 0, 3)) {
    case 0: return graph_add(g, x, y);
    case 1: return graph_sub(g, x, y);
    case 2: return graph_mul(g, x, y);
    default: return graph_div(g, x, fuzz_positive(g, y));
    }
}

static inline struct node *fuzz_matmul(struct fuzz *f, struct node *x, struct node *y) {
    struct graph *g = f->s.g;
    bool ta = draw_bool(&f->s.draws), tb = draw_bool(&f->s.draws);
    if (x->shape.dim[!ta] != y->shape.dim[tb]) {
        // a weight that fits
        int64_t k = x->shape.dim[!ta], n = subject_dim(&f->s);
        y = fuzz_input(f, tb ? shape_of(2, (int)n, (int)k) : shape_of(2, (int)k, (int)n));
    }
    return graph_scale(g, graph_matmul(g, x, y, ta, tb), 1 / sqrt((double)x->shape.dim[!ta]));
}

static inline struct node *fuzz_shape(struct fuzz *f, struct node *x) {
    struct graph *g = f->s.g;
    struct draws *d = &f->s.draws;
    int64_t rows = x->shape.dim[0], cols = x->shape.dim[1];
    int axis = draw_int(d, 0, 1);
    switch (draw_int(d, 0, 8)) {
    case 0: return graph_transpose(g, x, (const int[]){1, 0});
    case 1: return graph_reshape(g, x, shape_of(2, (int)cols, (int)rows));
    case 2: return graph_reshape(g, x, shape_of(2, 1, (int)(rows * cols)));
    case 3: {
        int from = draw_int(d, 0, (int)x->shape.dim[axis] - 1);
        return graph_slice(g, x, axis, from, draw_int(d, 1, (int)x->shape.dim[axis] - from));
    }
    case 4: {
        int from = draw_int(d, 0, 2);
        return graph_pad(g, x, axis, from, from + x->shape.dim[axis] + draw_int(d, 0, 2));
    }
    case 5: return graph_gather(g, x, subject_input(&f->s, CHOICE, cols, shape_of(2, (int)rows, draw_int(d, 1, 5))));
    case 6: {
        int n = draw_int(d, 1, 6);
        return graph_scatter(g, x, subject_input(&f->s, CHOICE, n, x->shape), n);
    }
    case 7: {  // heads: split, swap, join
        if (cols % 2) return NULL;
        struct node *split = graph_reshape(g, x, shape_of(3, (int)rows, 2, (int)cols / 2));
        struct node *swapped = graph_transpose(g, split, (const int[]){1, 0, 2});
        struct node *score = graph_softmax(g, graph_matmul(g, swapped, swapped, false, true));
        swapped = graph_matmul(g, score, swapped, false, false);
        return graph_reshape(g, graph_transpose(g, swapped, (const int[]){1, 0, 2}), x->shape);
    }
    default: return graph_broadcast(g, fuzz_mean(g, x, subject_shrunk(&f->s, x->shape)), x->shape);
    }
}

static inline struct node *fuzz_row(struct fuzz *f, struct node *x) {
    struct graph *g = f->s.g;
    switch (draw_int(&f->s.draws, 0, 4)) {
    case 0: return graph_softmax(g, x);
    case 1: return graph_log_sum_exp(g, x);
    case 2: return graph_gather(g, x, graph_argmax(g, x));
    case 3: return fuzz_mean(g, x, subject_shrunk(&f->s, x->shape));
    default: {
        struct shape narrow = shape_of(2, (int)x->shape.dim[0], 1);
        struct node *centred = graph_sub(g, x, graph_broadcast(g, fuzz_mean(g, x, narrow), x->shape));
        struct node *variance = fuzz_mean(g, graph_square(g, centred), narrow);
        return graph_div(g, centred, graph_broadcast(g, graph_sqrt(g, graph_shift(g, variance, 1e-2)), x->shape));
    }
    }
}

// conv, bias, activation, sometimes pooling, flattened
static inline struct node *fuzz_image(struct fuzz *f) {
    struct graph *g = f->s.g;
    struct draws *d = &f->s.draws;
    int c = draw_int(d, 1, 3), o = draw_int(d, 1, 4), side = draw_int(d, 4, 7);
    struct node *x = subject_variable(&f->s, true, ANY, 0, shape_of(3, c, side, side + draw_int(d, 0, 1)));
    for (int layer = draw_int(d, 1, 2); layer > 0; layer--) {
        int k = draw_bool(d) ? 3 : 1;
        struct node *w = subject_input(&f->s, SMALL, 0, shape_of(4, o, (int)x->shape.dim[0], k, k));
        struct node *b = subject_input(&f->s, SMALL, 0, shape_of(3, o, 1, 1));
        x = graph_conv(g, x, w, draw_int(d, 1, 2), k / 2);
        x = graph_add(g, x, graph_broadcast(g, b, x->shape));
        x = draw_bool(d) ? graph_relu(g, x) : graph_tanh(g, x);
    }
    if (draw_bool(d) && x->shape.dim[1] >= 2 && x->shape.dim[2] >= 2) x = graph_max_pool(g, x, 2);
    if (draw_bool(d)) return graph_reshape(g, x, shape_of(2, o, (int)(x->shape.dim[1] * x->shape.dim[2])));
    return graph_reshape(g, x, shape_of(2, 1, (int)shape_count(&x->shape)));
}

static inline void fuzz_output(struct fuzz *f, struct node *n) {
    if (f->outputs < VARIABLES) f->output[f->outputs++] = n;
}

// The sum over everything of the squares' means of some nodes: whole [1].
static inline struct node *fuzz_total(struct graph *g, struct node *const *x, int count) {
    struct node *sum = graph_fill(g, 0, shape_of(1, 1));
    for (int i = 0; i < count; i++) {
        struct node *part = graph_scale(g, graph_sum_all(g, graph_square(g, x[i])), 1. / (double)shape_count(&x[i]->shape));
        sum = graph_add(g, sum, part->batch ? graph_sum_examples(g, part) : part);
    }
    return sum;
}

// Some nodes, a loss of the last one, and its first and perhaps second derivatives.
static inline void fuzz_finish(struct fuzz *f) {
    struct draws *d = &f->s.draws;
    for (int i = draw_int(d, 1, 3); i > 0; i--) fuzz_output(f, fuzz_pick(f));
    struct node *x[VARIABLES], *dx[VARIABLES], *ddx[VARIABLES], *last = f->pool[f->count - 1];
    int reals = subject_reals(&f->s, x);
    struct node *loss = fuzz_total(f->s.g, &last, 1);
    fuzz_output(f, loss);
    grad_of(f->s.g, loss, NULL, x, reals, dx);
    for (int i = 0; i < reals; i++)
        if (draw_int(d, 0, 3)) fuzz_output(f, dx[i]);
    if (draw_bool(d)) {
        grad_of(f->s.g, fuzz_total(f->s.g, dx, reals), NULL, x, reals, ddx);
        for (int i = 0; i < reals; i++) fuzz_output(f, ddx[i]);
    }
}

// Networks: rank 2, an image now and then.
static inline struct fuzz fuzz_make(uint64_t seed, int scale) {
    struct fuzz f = {.s = {.g = graph_new(), .draws = {seed}, .batch = true, .scale = scale}};
    struct draws *d = &f.s.draws;
    f.pool[f.count++] = subject_variable(&f.s, true, ANY, 0, subject_shape(&f.s, 2, 2));
    f.pool[f.count++] = fuzz_input(&f, subject_shape(&f.s, 2, 2));
    if (draw_bool(d)) f.pool[f.count++] = fuzz_image(&f);
    for (int step = draw_int(d, 4, 14); step > 0; step--) {
        struct node *x = fuzz_pick(&f), *y = fuzz_pick(&f), *z = NULL;
        if (shape_count(&x->shape) > 60 * scale) continue;
        switch (draw_int(d, 0, 9)) {
        case 0: case 1: case 2: z = fuzz_unary(&f, x); break;
        case 3: case 4: z = fuzz_binary(&f, x, y); break;
        case 5: z = fuzz_matmul(&f, x, y); break;
        case 6: z = fuzz_shape(&f, x); break;
        case 7: z = fuzz_row(&f, x); break;
        case 8: z = graph_each(f.s.g, graph_scale(f.s.g, graph_sum_examples(f.s.g, x), .1)); break;
        default: z = fuzz_binary(&f, x, fuzz_input(&f, subject_shrunk(&f.s, x->shape)));
        }
        if (z && draw_int(d, 0, 3) == 0) z = graph_tanh(f.s.g, z);
        if (z && f.count < POOL) f.pool[f.count++] = z;
    }
    fuzz_finish(&f);
    return f;
}

// ---- tensors: any rank, and every op that looks at layouts

static inline struct shape fuzz_regrouped(struct fuzz *f, struct shape s) {
    struct shape to = {.rank = draw_int(&f->s.draws, 1, 4), .dim = {1, 1, 1, 1}};
    for (int i = 0, at = 0; i < s.rank; i++) {  // the same factors, grouped otherwise
        while (at + 1 < to.rank && draw_bool(&f->s.draws)) at++;
        int64_t rest = s.dim[i];
        for (int64_t k = 2; k <= rest; k++)
            while (rest % k == 0) {
                to.dim[at] *= k;
                rest /= k;
                if (at + 1 < to.rank && draw_int(&f->s.draws, 0, 3) == 0) at++;
            }
    }
    return to;
}

static inline struct node *fuzz_view(struct fuzz *f, struct node *x) {
    struct graph *g = f->s.g;
    struct draws *d = &f->s.draws;
    int perm[GRAPH_RANK_MAX] = {0, 1, 2, 3}, rank = x->shape.rank, axis = draw_int(d, 0, rank - 1), from;
    switch (draw_int(d, 0, x->index ? 3 : 4)) {
    case 0: return graph_reshape(g, x, fuzz_regrouped(f, x->shape));
    case 1:  // around
        for (int i = 0, by = draw_int(d, 1, 3); i < rank; i++) perm[i] = (i + by) % rank;
        return graph_transpose(g, x, perm);
    case 2:
        for (int i = rank - 1, j, swap; i > 0; i--) j = draw_int(d, 0, i), swap = perm[i], perm[i] = perm[j], perm[j] = swap;
        return graph_transpose(g, x, perm);
    case 3:
        from = draw_int(d, 0, (int)x->shape.dim[axis] - 1);
        return graph_slice(g, x, axis, from, draw_int(d, 1, (int)x->shape.dim[axis] - from));
    default:
        from = draw_int(d, 0, 2);
        return graph_pad(g, x, axis, from, from + x->shape.dim[axis] + draw_int(d, 0, 2));
    }
}

// Operands of one shape: another node where it can be broadcast, else an input or x's own mean.
static inline struct node *fuzz_elementwise(struct fuzz *f, struct node *x, struct node *y) {
    struct graph *g = f->s.g;
    struct shape s = x->shape;
    bool fits = y->shape.rank == s.rank;
    for (int i = 0; i < s.rank && fits; i++) {
        fits = s.dim[i] == 1 || y->shape.dim[i] == 1 || s.dim[i] == y->shape.dim[i];
        if (s.dim[i] == 1) s.dim[i] = y->shape.dim[i];
    }
    if (!fits || shape_count(&s) > 200) {
        s = x->shape;
        y = draw_bool(&f->s.draws) ? fuzz_input(f, subject_shrunk(&f->s, s)) : fuzz_mean(g, x, subject_shrunk(&f->s, s));
        if (draw_bool(&f->s.draws)) y = graph_tanh(g, y);
    }
    x = graph_broadcast(g, x, s);
    y = graph_broadcast(g, y, s);
    switch (draw_int(&f->s.draws, 0, 3)) {
    case 0: return graph_add(g, x, y);
    case 1: return graph_sub(g, y, x);
    case 2: return graph_mul(g, x, y);
    default: return graph_div(g, x, fuzz_positive(g, y));
    }
}

static inline struct node *fuzz_product(struct fuzz *f, struct node *x) {
    struct shape s = x->shape;
    int r = s.rank;
    if (r < 2) return NULL;
    bool ta = draw_bool(&f->s.draws), tb = draw_bool(&f->s.draws);
    int64_t k = s.dim[r - 1 - ta], n = subject_dim(&f->s);
    s.dim[r - 2] = tb ? n : k;
    s.dim[r - 1] = tb ? k : n;
    struct node *y = draw_int(&f->s.draws, 0, 3) ? fuzz_input(f, s) : x;
    if (y == x) tb = !ta;
    return graph_scale(f->s.g, graph_matmul(f->s.g, x, y, ta, tb), 1 / sqrt((double)k));
}

// Convolution in its three forms, and pooling: of what has rank 3.
static inline struct node *fuzz_spatial(struct fuzz *f, struct node *x) {
    struct graph *g = f->s.g;
    struct draws *d = &f->s.draws;
    if (x->shape.rank != 3) return NULL;
    int c = (int)x->shape.dim[0], h = (int)x->shape.dim[1], w = (int)x->shape.dim[2], o = draw_int(d, 1, 4), k = draw_int(d, 1, 3);
    if (draw_bool(d)) {
        if (h < 2 || w < 2) return NULL;
        struct node *index = graph_pool_argmax(g, x, 2);
        if (draw_bool(d)) return graph_pool_gather(g, draw_bool(d) ? x : graph_tanh(g, x), index, 2);
        index = fuzz_view(f, index);  // into rows of at least 4 numbers
        struct shape row = index->shape;
        row.dim[row.rank - 1] = 4 + draw_int(d, 0, 2);
        return graph_gather(g, fuzz_input(f, row), index);
    }
    int stride = draw_int(d, 1, 2), padding = draw_int(d, 0, k / 2);
    if (h + 2 * padding < k || w + 2 * padding < k) return NULL;
    double scale = 1 / sqrt((double)(c * k * k));
    struct shape y = shape_of(3, o, (h + 2 * padding - k) / stride + 1, (w + 2 * padding - k) / stride + 1);
    if (draw_int(d, 0, 2) == 0)
        return graph_scale(g, graph_conv_dw(g, x, fuzz_input(f, y), shape_of(4, o, c, k, k), stride, padding), scale);
    struct node *z = graph_conv(g, x, fuzz_input(f, shape_of(4, o, c, k, k)), stride, padding);
    if (draw_bool(d)) z = graph_add(g, z, graph_broadcast(g, fuzz_input(f, shape_of(3, o, 1, 1)), z->shape));
    return graph_scale(g, draw_bool(d) ? graph_relu(g, z) : z, scale);
}

static inline struct node *fuzz_indexed(struct fuzz *f, struct node *x) {
    struct graph *g = f->s.g;
    struct shape s = x->shape;
    int64_t n = s.dim[s.rank - 1], m = draw_int(&f->s.draws, 1, 3);
    switch (draw_int(&f->s.draws, 0, 3)) {
    case 0: s.dim[s.rank - 1] = m; return graph_gather(g, x, subject_input(&f->s, CHOICE, n, s));
    case 1: return graph_scatter(g, x, subject_input(&f->s, CHOICE, m, s), m);
    case 2: return graph_softmax(g, x);
    default: {
        struct node *key = subject_input(&f->s, COUNTER, 0, shape_of(1, 3));
        return graph_mul(g, x, graph_uniform(g, rng_stream(draw(&f->s.draws), "test/mask"), key, s));
    }
    }
}

static inline struct fuzz fuzz_tensors(uint64_t seed) {
    struct fuzz f = {.s = {.g = graph_new(), .draws = {~seed}, .batch = true, .scale = 4}};
    struct draws *d = &f.s.draws;
    f.pool[f.count++] = subject_variable(&f.s, true, ANY, 0, subject_shape(&f.s, 1, 4));
    f.pool[f.count++] = subject_variable(&f.s, true, ANY, 0, shape_of(3, draw_int(d, 1, 3), draw_int(d, 2, 5), draw_int(d, 2, 5)));
    for (int step = draw_int(d, 4, 16); step > 0; step--) {
        struct node *x = fuzz_pick(&f), *z = NULL;
        if (shape_count(&x->shape) > 150 || f.s.variables > VARIABLES - 10) continue;
        switch (draw_int(d, 0, 9)) {
        case 0: case 1: z = fuzz_unary(&f, x); break;
        case 2: case 3: z = fuzz_elementwise(&f, x, fuzz_pick(&f)); break;
        case 4: z = fuzz_product(&f, x); break;
        case 5: case 6: z = fuzz_spatial(&f, x); break;
        case 7: z = fuzz_indexed(&f, x); break;
        case 8: z = fuzz_mean(f.s.g, x, subject_shrunk(&f.s, x->shape)); break;
        default: z = graph_each(f.s.g, graph_scale(f.s.g, graph_sum_examples(f.s.g, x), .1));
        }
        if (z && draw_bool(d)) z = fuzz_view(&f, z);
        if (z && f.count < POOL) f.pool[f.count++] = z;
    }
    fuzz_finish(&f);
    return f;
}

// ---- parts: products between views, and values put together from others

// A product with a square weight, on x as it is or with its axes in another order: x's shape again.
static inline struct node *fuzz_mixed(struct fuzz *f, struct node *x) {
    struct graph *g = f->s.g;
    struct draws *d = &f->s.draws;
    int rank = x->shape.rank, perm[GRAPH_RANK_MAX], back[GRAPH_RANK_MAX];
    if (rank < 2) return x;
    for (int i = 0, by = draw_int(d, 0, rank - 1); i < rank; i++) perm[i] = (i + by) % rank, back[perm[i]] = i;
    x = graph_transpose(g, x, perm);
    struct shape square = x->shape;
    bool right = draw_bool(d);
    square.dim[rank - 2 + !right] = square.dim[rank - 2 + right];
    struct node *w = fuzz_input(f, square);
    x = right ? graph_matmul(g, x, w, false, draw_bool(d)) : graph_matmul(g, w, x, draw_bool(d), false);
    return graph_transpose(g, x, back);
}

// Slices of x, and what was made of them, side by side in any order; now and then with room between or one upon another.
static inline struct node *fuzz_together(struct fuzz *f, struct node *x) {
    enum { MOST = 4 };
    struct graph *g = f->s.g;
    struct draws *d = &f->s.draws;
    int axis = draw_int(d, 0, x->shape.rank - 1), count = draw_int(d, 2, MOST), size = (int)x->shape.dim[axis];
    struct node *part[MOST];
    int64_t at[MOST], end = draw_int(d, 0, 1), total = 0;
    for (int i = 0; i < count; i++) {
        int from = draw_int(d, 0, size - 1);
        part[i] = graph_slice(g, x, axis, from, draw_int(d, 1, size - from));
        switch (draw_int(d, 0, 5)) {
        case 0: part[i] = fuzz_unary(f, part[i]); break;
        case 1: case 2: part[i] = fuzz_mixed(f, part[i]); break;
        case 3: part[i] = fuzz_input(f, part[i]->shape); break;
        default: break;
        }
        at[i] = draw_int(d, 0, 9) || !end ? end : end - 1;
        end = at[i] + part[i]->shape.dim[axis] + (draw_int(d, 0, 3) == 0);
        if (end > total) total = end;
    }
    for (int i = 0; i < count; i++) part[i] = graph_pad(g, part[i], axis, at[i], total);
    for (; count > 1; count--) {
        int i = draw_int(d, 0, count - 2);
        part[i] = graph_add(g, part[i], part[count - 1]);
    }
    return part[0];
}

// As arch.c writes it, of x [T, D], with any sizes.
static inline struct node *fuzz_attention(struct fuzz *f, struct node *x) {
    struct graph *g = f->s.g;
    if (x->shape.rank != 2) return NULL;
    int tokens = (int)x->shape.dim[0], heads = draw_int(&f->s.draws, 1, 3), width = draw_int(&f->s.draws, 1, 3), all = heads * width;
    struct node *w = subject_input(&f->s, SMALL, 0, shape_of(2, (int)x->shape.dim[1], 3 * all)), *part[3];
    struct node *y = graph_matmul(g, x, w, false, false);
    for (int i = 0; i < 3; i++) {
        part[i] = graph_reshape(g, graph_slice(g, y, 1, i * all, all), shape_of(3, tokens, heads, width));
        part[i] = graph_transpose(g, part[i], (const int[]){1, 0, 2});
    }
    struct node *score = graph_softmax(g, graph_matmul(g, part[0], part[1], false, true));
    y = graph_transpose(g, graph_matmul(g, score, part[2], false, false), (const int[]){1, 0, 2});
    return graph_reshape(g, y, shape_of(2, tokens, all));
}

static inline struct fuzz fuzz_parts(uint64_t seed) {
    struct fuzz f = {.s = {.g = graph_new(), .draws = {seed ^ 0x5eed}, .batch = true, .scale = 4}};
    struct draws *d = &f.s.draws;
    f.pool[f.count++] = subject_variable(&f.s, true, ANY, 0, subject_shape(&f.s, 2, 4));
    f.pool[f.count++] = subject_variable(&f.s, true, ANY, 0, subject_shape(&f.s, 2, 2));
    for (int step = draw_int(d, 3, 12); step > 0; step--) {
        struct node *x = fuzz_pick(&f), *z = NULL;
        if (shape_count(&x->shape) > 150 || f.s.variables > VARIABLES - 10) continue;
        switch (draw_int(d, 0, 9)) {
        case 0: z = fuzz_elementwise(&f, x, fuzz_pick(&f)); break;
        case 1: z = fuzz_product(&f, x); break;
        case 2: case 3: z = fuzz_attention(&f, x); break;
        case 4: case 5: z = fuzz_mixed(&f, x); break;
        case 6:  // once for all examples
            f.s.batch = false;
            z = graph_each(f.s.g, fuzz_together(&f, graph_scale(f.s.g, graph_sum_examples(f.s.g, x), .1)));
            f.s.batch = true;
            break;
        default: z = fuzz_together(&f, x);
        }
        for (int i = draw_int(d, 0, 2); z && i > 0; i--) z = fuzz_view(&f, z);
        if (z && draw_int(d, 0, 3) == 0) z = graph_tanh(f.s.g, z);
        if (z && f.count < POOL) f.pool[f.count++] = z;
    }
    fuzz_finish(&f);
    return f;
}

// ---- how exact a result can be

// The outputs again, with an error of up to one unit of float32 in every input and behind every op that rounds:
// what that does to a result is what rounding may do. The errors are draws; `key` [3], one per example, and
// `whole_key` choose them.
static inline void fuzz_shaken(struct fuzz *f, struct node *key, struct node *whole_key, struct node **out) {
    struct graph *g = f->s.g;
    int count = graph_count(g);
    struct node **now = memory_zero((size_t)count * sizeof *now);
    for (int id = 0; id < count; id++) {
        const struct node *n = graph_node(g, id);
        now[id] = graph_again(g, n, n->in[0] ? now[n->in[0]->id] : NULL, n->in[1] ? now[n->in[1]->id] : NULL);
        bool rounds = n->op == OP_INPUT || n->op == OP_SUM || n->op == OP_SUM_EXAMPLES || n->op == OP_SCATTER ||
                      (n->op >= OP_ADD && n->op <= OP_ERF && n->op != OP_NEG) || (n->op >= OP_MATMUL && n->op <= OP_CONV_DW);
        if (!rounds || n->index) continue;
        struct node *u = graph_uniform(g, rng_stream((uint64_t)id, "test/shake"), n->batch ? key : whole_key, n->shape);
        now[id] = graph_mul(g, now[id], graph_shift(g, graph_scale(g, u, 2 * FLT_EPSILON), 1 - (double)FLT_EPSILON));
    }
    for (int i = 0; i < f->outputs; i++) out[i] = now[f->output[i]->id];
    free(now);
}

// Where a step, a sign or a maximum hangs on the last bits, float and double may rightly differ: whether
// any is within `margin` of that, by the oracle.
static inline bool fuzz_on_edge(struct fuzz *f, int64_t examples, double **value, double margin) {
    struct node *watched[VARIABLES];
    double *got[VARIABLES];
    int count = 0;
    bool edge = false;
    for (int i = 0; i < graph_count(f->s.g); i++) {
        struct node *n = graph_node(f->s.g, i);
        bool kink = n->op == OP_RELU || n->op == OP_STEP || n->op == OP_SIGN, maximum = n->op == OP_ARGMAX || n->op == OP_POOL_ARGMAX;
        if ((kink || maximum) && count < VARIABLES) watched[count++] = n->in[0];
    }
    if (!count) return false;
    struct runner r = runner_open("ref", 0, f->s.g, watched, count);
    runner_run(&r, &f->s, examples, value, got);
    for (int i = 0; i < count; i++)
        for (int64_t j = 0; j < node_count(watched[i], examples); j++) {
            edge |= got[i][j] != 0 && fabs(got[i][j]) < margin;
            // two neighbours in a row or window that are nearly, not quite, equal
            for (int64_t k = j + 1; k < j + 16 && k < node_count(watched[i], examples); k++)
                edge |= got[i][j] != got[i][k] && fabs(got[i][j] - got[i][k]) < margin;
        }
    values_free(got, count);
    runner_close(&r);
    return edge;
}

#endif

// Matrix products: every instruction set against sums in double, and the promises about bits.
//
// Memory that is lent ends at a page that may not be touched, so a read or write beyond it is a crash here;
// elements between rows and columns of A and B are NaN and those of C are watched.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/gemm.h"
#include "base/isa.h"
#include "engine/vec.h"

static uint64_t state = 88172645463325252u;

static uint64_t draw(void) {  // xorshift64: G. Marsaglia, Xorshift RNGs, 2003
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static int64_t up_to(int64_t limit) {
    return (int64_t)((draw() >> 11) % (uint64_t)(limit + 1));
}

static float number(void) {
    return (float)((double)(draw() >> 11) / (double)(1ull << 52) - 1);
}

// `floats` floats that end at a page nobody may touch.
struct lent {
    float *at;
    void *map;
    size_t bytes;
};

static struct lent lend(int64_t floats) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), size = sizeof(float) * (size_t)floats;
    struct lent l = {.bytes = (size + page - 1) / page * page + page};

    l.map = mmap(NULL, l.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(l.map, MAP_FAILED);
    assert_int_equal(mprotect((char *)l.map + l.bytes - page, page, PROT_NONE), 0);
    l.at = (float *)((char *)l.map + l.bytes - page - size);
    return l;
}

static void give_back(struct lent *l) {
    munmap(l->map, l->bytes);
}

enum order { BY_ROW, BY_COL, SPREAD };

// rows x cols numbers with gaps of NaN.
static struct gemm_matrix fill(struct lent *l, int64_t rows, int64_t cols, enum order order) {
    const int64_t gap = order == SPREAD ? 2 : 1;
    struct gemm_matrix v = {NULL, cols * gap + up_to(5), gap};
    int64_t size = 0;

    if (order == BY_COL) v.row = 1, v.col = rows + up_to(5);
    if (rows && cols) size = (rows - 1) * v.row + (cols - 1) * v.col + 1;
    *l = lend(size);
    for (int64_t i = 0; i < size; i++) l->at[i] = NAN;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) l->at[i * v.row + j * v.col] = number();
    v.at = l->at;
    return v;
}

struct problem {
    int64_t m, n, k, ldc;
    struct gemm_matrix a, b;
    struct gemm_tail tail;
    struct lent a_mem, b_mem, bias, packed, scratch;
};

static struct problem pose(int64_t m, int64_t n, int64_t k, enum order a, enum order b) {
    struct problem p = {.m = m, .n = n, .k = k, .ldc = n + up_to(4)};

    p.a = fill(&p.a_mem, m, k, a);
    p.b = fill(&p.b_mem, k, n, b);
    p.bias = lend(n);
    for (int64_t j = 0; j < n; j++) p.bias.at[j] = number();
    p.packed = lend((int64_t)gemm_packed_floats(k, n));
    p.scratch = lend((int64_t)(gemm_scratch() / sizeof(float)));
    return p;
}

static struct problem pose_random(int64_t m, int64_t n, int64_t k) {
    struct problem p = pose(m, n, k, (enum order)up_to(2), (enum order)up_to(2));

    p.tail.add = up_to(1);
    p.tail.bias = up_to(1) ? p.bias.at : NULL;
    p.tail.relu = up_to(1);
    return p;
}

static void drop(struct problem *p) {
    give_back(&p->a_mem);
    give_back(&p->b_mem);
    give_back(&p->bias);
    give_back(&p->packed);
    give_back(&p->scratch);
}

// C before the product: [m][ldc], gaps included, nothing behind the last column of the last row.
static struct lent ground(const struct problem *p) {
    const int64_t size = p->m && p->n ? (p->m - 1) * p->ldc + p->n : 0;
    struct lent c = lend(size);

    for (int64_t i = 0; i < size; i++) c.at[i] = (float)(i % 7) - 3;
    return c;
}

static void assert_gaps_kept(const struct problem *p, const float *c) {
    for (int64_t i = 0; i + 1 < p->m; i++)
        for (int64_t j = p->n; j < p->ldc; j++)
            if (p->n) assert_true(c[i * p->ldc + j] == (float)((i * p->ldc + j) % 7) - 3);
}

static void assert_same(const struct problem *p, const float *x, const float *y) {
    for (int64_t i = 0; i < p->m; i++)
        if (p->n) assert_memory_equal(x + i * p->ldc, y + i * p->ldc, sizeof(float) * (size_t)p->n);
}

static void run(const struct problem *p, bool packed, float *c) {
    if (!packed) {
        gemm_plain(p->m, p->n, p->k, p->a, p->b, c, p->ldc, &p->tail, p->scratch.at);
        return;
    }
    gemm_pack(p->packed.at, p->b, p->k, p->n, 0, p->n);
    gemm_packed(p->m, p->n, p->k, p->a, p->packed.at, c, p->ldc, 0, p->n, &p->tail, p->scratch.at);
}

// k + 2 roundings, each at most eps/2 of the sum of magnitudes: (k + 2) eps |a||b| leaves a factor of two.
static void assert_right(const struct problem *p, const float *c, const float *before) {
    for (int64_t i = 0; i < p->m; i++)
        for (int64_t j = 0; j < p->n; j++) {
            double sum = p->tail.add ? before[i * p->ldc + j] : 0, size = fabs(sum);
            for (int64_t k = 0; k < p->k; k++) {
                const double x = (double)p->a.at[i * p->a.row + k * p->a.col] * p->b.at[k * p->b.row + j * p->b.col];
                sum += x;
                size += fabs(x);
            }
            if (p->tail.bias) sum += p->tail.bias[j], size += fabs((double)p->tail.bias[j]);
            if (p->tail.relu && sum < 0) sum = 0;
            const double error = fabs(c[i * p->ldc + j] - sum);
            if (!(error <= (double)(p->k + 2) * FLT_EPSILON * size))
                fail_msg("%ld x %ld x %ld at [%ld][%ld]: %.9g, expected %.9g", (long)p->m, (long)p->n, (long)p->k,
                         (long)i, (long)j, (double)c[i * p->ldc + j], sum);
        }
}

static void check(struct problem p) {
    struct lent before = ground(&p), packed = ground(&p), plain = ground(&p);

    run(&p, true, packed.at);
    assert_right(&p, packed.at, before.at);
    assert_gaps_kept(&p, packed.at);
    run(&p, false, plain.at);
    assert_right(&p, plain.at, before.at);
    assert_gaps_kept(&p, plain.at);
    give_back(&before);
    give_back(&packed);
    give_back(&plain);
    drop(&p);
}

static void right_for_random_shapes(void **s) {
    (void)s;
    for (int i = 0; i < 150; i++) check(pose_random(up_to(40), up_to(130), up_to(90)));
    for (int i = 0; i < 30; i++) check(pose_random(up_to(20), up_to(40), 200 + up_to(700)));
    for (int m = 1; m < 20; m++) check(pose_random(m, 17, 16));
    for (int i = 0; i < 9; i++) check(pose(41, 500, 140, (enum order)(i / 3), (enum order)(i % 3)));
}

static void right_without_rows_columns_or_sums(void **s) {
    (void)s;
    for (int i = 0; i < 16; i++) {
        check(pose_random(0, 20, 5));
        check(pose_random(9, 0, 5));
        check(pose_random(9, 35, 0));
        check(pose_random(0, 0, 0));
    }
}

static void no_tail_is_an_empty_tail(void **s) {
    (void)s;
    struct problem p = pose(11, 37, 20, BY_ROW, BY_ROW);
    struct lent with = ground(&p), without = ground(&p);

    run(&p, true, with.at);
    gemm_packed(p.m, p.n, p.k, p.a, p.packed.at, without.at, p.ldc, 0, p.n, NULL, p.scratch.at);
    assert_same(&p, with.at, without.at);
    run(&p, false, with.at);
    gemm_plain(p.m, p.n, p.k, p.a, p.b, without.at, p.ldc, NULL, p.scratch.at);
    assert_same(&p, with.at, without.at);
    give_back(&with);
    give_back(&without);
    drop(&p);
}

// One chain of multiply-adds: what lets k, rows and columns be cut anywhere without a change of bits.
static void sums_are_chains_in_the_order_of_k(void **s) {
    (void)s;
    const bool fused = strcmp(isa_name(), "baseline") != 0;
    for (int i = 0; i < 12; i++) {
        struct problem p = pose(1 + up_to(60), 16 * (1 + up_to(5)) + (i % 2 ? up_to(15) : 0), i ? up_to(600) : 0,
                                (enum order)up_to(2), (enum order)up_to(2));
        struct lent before = ground(&p), expected = ground(&p), c = ground(&p);
        p.tail = (struct gemm_tail){.add = i % 3 == 0, .bias = i % 4 ? p.bias.at : NULL, .relu = i % 5 == 0};
        for (int64_t r = 0; r < p.m; r++)
            for (int64_t j = 0; j < p.n; j++) {
                float sum = p.tail.add ? before.at[r * p.ldc + j] : 0;
                for (int64_t k = 0; k < p.k; k++) {
                    const float x = p.a.at[r * p.a.row + k * p.a.col], y = p.b.at[k * p.b.row + j * p.b.col];
                    sum = fused ? fmaf(x, y, sum) : x * y + sum;
                }
                if (p.tail.bias) sum += p.tail.bias[j];
                expected.at[r * p.ldc + j] = p.tail.relu && sum < 0 ? 0 : sum;
            }
        for (int packed = 0; packed < 2; packed++) {
            memcpy(c.at, before.at, sizeof(float) * (size_t)((p.m - 1) * p.ldc + p.n));
            run(&p, packed, c.at);
            assert_same(&p, expected.at, c.at);
        }
        give_back(&before);
        give_back(&expected);
        give_back(&c);
        drop(&p);
    }
}

// Any run of rows alone gives the bits it has among the others.
static void check_rows(struct problem p) {
    for (int packed = 0; packed < 2; packed++) {
        struct lent whole = ground(&p);
        run(&p, packed, whole.at);
        for (int i = 0; i < 12; i++) {
            const int64_t first = up_to(p.m - 1), rows = 1 + up_to(p.m - 1 - first);
            struct lent part = ground(&p);
            struct problem q = p;
            q.m = rows;
            q.a.at += first * p.a.row;
            run(&q, packed, part.at + first * p.ldc);
            assert_same(&q, whole.at + first * p.ldc, part.at + first * p.ldc);
            give_back(&part);
        }
        give_back(&whole);
    }
    drop(&p);
}

static void rows_do_not_depend_on_each_other(void **s) {
    (void)s;
    for (int i = 0; i < 20; i++) check_rows(pose_random(1 + up_to(40), 1 + up_to(150), up_to(100)));
    check_rows(pose_random(33, 70, 1500));
    check_rows(pose(130, 528, 270, BY_ROW, BY_ROW));
    check_rows(pose(300, 500, 40, BY_COL, BY_ROW));
}

// Workers share the packing and the product by ranges of columns.
static void ranges_of_columns_are_parts_of_the_whole(void **s) {
    (void)s;
    for (int i = 0; i < 20; i++) {
        struct problem p = pose_random(up_to(20), 300 + up_to(300), i == 0 ? 1000 : up_to(80));
        struct lent whole = ground(&p), parts = ground(&p), again = lend((int64_t)gemm_packed_floats(p.k, p.n));
        run(&p, true, whole.at);
        for (int64_t from = 0; from < p.n;) {
            const int64_t to = from + GEMM_PANEL * (1 + up_to(4));
            gemm_pack(again.at, p.b, p.k, p.n, from, to < p.n ? to : p.n);
            from = to;
        }
        for (int64_t from = 0; from < p.n;) {
            const int64_t to = from + GEMM_PANEL * (1 + up_to(4));
            gemm_packed(p.m, p.n, p.k, p.a, again.at, parts.at, p.ldc, from, to < p.n ? to : p.n, &p.tail,
                        p.scratch.at);
            from = to;
        }
        assert_same(&p, whole.at, parts.at);
        assert_gaps_kept(&p, parts.at);
        give_back(&whole);
        give_back(&parts);
        give_back(&again);
        drop(&p);
    }
}

// Infinity times a pad would be NaN beside it, and a ReLU must not hide a NaN.
static void infinity_and_nan_stay_in_their_row_and_column(void **s) {
    (void)s;
    for (int packed = 0; packed < 2; packed++)
        for (int n = 1; n < 70; n += 3) {
            struct problem p = pose(10, n, 33, BY_ROW, packed ? BY_COL : BY_ROW);
            struct lent c = ground(&p);
            p.tail.relu = true;
            p.a_mem.at[3 * p.a.row + 5] = INFINITY;
            p.a_mem.at[7 * p.a.row + 32] = NAN;
            run(&p, packed, c.at);
            for (int64_t i = 0; i < p.m; i++)
                for (int64_t j = 0; j < n; j++) {
                    const float x = c.at[i * p.ldc + j], sign = p.b.at[5 * p.b.row + j * p.b.col];
                    if (i == 3) assert_true(sign > 0 ? x == INFINITY : x == 0);
                    else assert_true(i == 7 ? isnan(x) : isfinite(x));
                }
            give_back(&c);
            drop(&p);
        }
}

int main(void) {
    static const char *const isa[] = {"baseline", "avx2", "avx512"};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_for_random_shapes),
        cmocka_unit_test(right_without_rows_columns_or_sums),
        cmocka_unit_test(no_tail_is_an_empty_tail),
        cmocka_unit_test(sums_are_chains_in_the_order_of_k),
        cmocka_unit_test(rows_do_not_depend_on_each_other),
        cmocka_unit_test(ranges_of_columns_are_parts_of_the_whole),
        cmocka_unit_test(infinity_and_nan_stay_in_their_row_and_column),
    };
    int failed = 0;

    // The instruction set is chosen once a process.
    for (int i = 0; i < 3; i++) {
        int status = 1;
        fflush(NULL);
        const pid_t child = fork();
        if (child == 0) {
            setenv("ASSAY_ISA", isa[i], 1);
            _exit(cmocka_run_group_tests_name(isa[i], tests, NULL, NULL) != 0);
        }
        failed += child < 0 || waitpid(child, &status, 0) != child || status != 0;
    }
    return failed != 0;
}

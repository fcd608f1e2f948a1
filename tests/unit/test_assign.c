// Linear assignment: all permutations of small problems, scipy's answers, and the proof by duals of large ones.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/assign.h"
#include "base/arena.h"
#include "base/rng.h"

// The best sum over all ways, rows from `i` on.
static double best_of_all(const float *gain, int rows, int cols, int i, unsigned taken, int skips) {
    double best = -INFINITY;
    if (i == rows) return 0;
    for (int j = 0; j < cols; j++)
        if (!(taken >> j & 1)) best = fmax(best, gain[i * cols + j] + best_of_all(gain, rows, cols, i + 1, taken | 1u << j, skips));
    if (skips) best = fmax(best, best_of_all(gain, rows, cols, i + 1, taken, skips - 1));
    return best;
}

// One to one, as many as can be, and the sum that was said.
static void check_matching(const float *gain, int64_t stride, int64_t rows, int64_t cols, const int64_t *col, double said) {
    unsigned char *taken = memory_zero((size_t)cols + 1);
    double sum = 0;
    int64_t matched = 0;
    for (int64_t i = 0; i < rows; i++) {
        if (col[i] < 0) continue;
        assert_true(col[i] < cols && !taken[col[i]]++);
        sum += gain[i * stride + col[i]];
        matched++;
    }
    assert_int_equal(matched, rows < cols ? rows : cols);
    assert_true(fabs(sum - said) < 1e-9);
    free(taken);
}

static void test_small(void **state) {
    (void)state;
    static const int sizes[][2] = {{1, 1}, {1, 5}, {5, 1}, {2, 2}, {3, 5}, {5, 3}, {5, 5}, {4, 6}, {6, 6}, {6, 4}};
    float gain[36];
    int64_t col[6];
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
        for (uint32_t t = 0; t < 60; t++) {
            int rows = sizes[k][0], cols = sizes[k][1];
            rng_uniform(rng_stream(5, "test/assign"), (uint32_t)k, t, 0, gain, rows * cols);
            // Every other problem is full of ties; signs are mixed.
            for (int i = 0; i < rows * cols; i++) gain[i] = t % 2 ? floorf(4 * gain[i]) - 2 : gain[i] - .5f;
            double sum = assign_best(gain, cols, rows, cols, col, NULL, NULL);
            check_matching(gain, cols, rows, cols, col, sum);
            double wanted = best_of_all(gain, rows, cols, 0, 0, rows > cols ? rows - cols : 0);
            if (fabs(sum - wanted) > 1e-9) fail_msg("%d x %d, %u: %.9g, and %.9g is possible", rows, cols, t, sum, wanted);
        }
}

// scipy.optimize.linear_sum_assignment 1.10.1 on integers.
static void test_scipy(void **state) {
    (void)state;
    static const struct {
        int rows, cols, modulus;
        double sum;
    } answers[] = {{5, 5, 251, 885},  {5, 5, 7, 28},      {7, 12, 251, 1615}, {7, 12, 7, 42},     {12, 7, 251, 1516},
                   {12, 7, 7, 42},    {40, 100, 251, 9890}, {40, 100, 7, 240},  {30, 30, 251, 7072}, {30, 30, 7, 180}};
    static float gain[4000];
    int64_t col[100];
    for (size_t k = 0; k < sizeof answers / sizeof *answers; k++) {
        int rows = answers[k].rows, cols = answers[k].cols;
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < cols; j++) gain[i * cols + j] = (float)((i * i * 31 + i * j * 17 + j * j * 13 + 3 * i + 5 * j) % answers[k].modulus);
        double sum = assign_best(gain, cols, rows, cols, col, NULL, NULL);
        check_matching(gain, cols, rows, cols, col, sum);
        assert_true(sum == answers[k].sum);
    }
}

// Weak duality: a feasible dual that is tight where matched proves the optimum, without any other solver.
static void prove(const float *gain, int64_t stride, int64_t rows, int64_t cols) {
    int64_t *col = memory_take((size_t)rows * sizeof *col);
    double *u = memory_take((size_t)rows * sizeof *u), *v = memory_take((size_t)cols * sizeof *v), dual = 0;
    unsigned char *taken = memory_zero((size_t)cols);
    double sum = assign_best(gain, stride, rows, cols, col, u, v);
    check_matching(gain, stride, rows, cols, col, sum);
    // Gains have 24 bits and duals are sums of at most `rows` of them in double.
    const double tiny = 1e-10;
    for (int64_t i = 0; i < rows; i++) {
        if (rows > cols) assert_true(col[i] < 0 ? u[i] == 0 : u[i] >= 0);
        if (col[i] >= 0) {
            taken[col[i]] = 1;
            assert_true(fabs(u[i] + v[col[i]] - gain[i * stride + col[i]]) < tiny);
        }
        for (int64_t j = 0; j < cols; j++) assert_true(u[i] + v[j] >= gain[i * stride + j] - tiny);
        dual += u[i];
    }
    for (int64_t j = 0; j < cols; j++) {
        if (rows < cols) assert_true(taken[j] ? v[j] >= 0 : v[j] == 0);
        dual += v[j];
    }
    assert_true(fabs(dual - sum) < 1e-7);
    free(col);
    free(u);
    free(v);
    free(taken);
}

static void test_large(void **state) {
    (void)state;
    enum { ROWS = 250, COLS = 1000, STRIDE = COLS + 3 };
    float *gain = memory_zero(ROWS * STRIDE * sizeof *gain);
    for (uint32_t kind = 0; kind < 4; kind++) {
        for (uint32_t i = 0; i < ROWS; i++) {
            float *row = gain + i * STRIDE, scale;
            rng_uniform(rng_stream(6, "test/assign"), i, kind, 0, row, COLS);
            rng_uniform(rng_stream(6, "test/scale"), i, kind, 0, &scale, 1);
            // Alike in all rows (hard: everyone wants the same columns), copies of few columns, products of two vectors.
            for (int j = 0; j < COLS; j++) {
                if (kind == 1) row[j] = .9f * (i ? gain[j] : row[j]) + .1f * row[j];
                if (kind == 2) row[j] = row[j % 7];
                if (kind == 3) row[j] = scale * (i ? gain[j] : 1 + row[j]);
            }
        }
        prove(gain, STRIDE, ROWS, COLS);
        prove(gain, STRIDE, ROWS, 100);
        prove(gain, STRIDE, ROWS, ROWS);
    }
    free(gain);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_small), cmocka_unit_test(test_scipy), cmocka_unit_test(test_large)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

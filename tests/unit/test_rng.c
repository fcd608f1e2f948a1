// Random streams: published answers, the same bits in every form, and the moments of what is drawn.
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/rng.h"
#include "base/rng_isa.h"

static void test_known_answers(void **state) {
    (void)state;
    // Random123's kat_vectors, philox4x32-10: counter, key, output.
    static const uint32_t answer[][10] = {
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {~0u, ~0u, ~0u, ~0u, ~0u, ~0u, 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
    };
    for (size_t i = 0; i < sizeof answer / sizeof *answer; i++) {
        uint32_t out[4];
        rng_block(answer[i], (struct stream){{answer[i][4], answer[i][5]}}, out);
        assert_memory_equal(out, answer[i] + 6, sizeof out);
    }
}

static void test_key_is_the_hash_of_seed_and_purpose(void **state) {
    (void)state;
    // printf '\x07\0\0\0\0\0\0\0train/dropout3' | sha256sum
    struct stream s = rng_stream(7, "train/dropout3");
    unsigned char digest[32];
    char hex[65];
    struct hash *h = hash_new();
    hash_add(h, "\7\0\0\0\0\0\0\0train/dropout3", 22);
    hash_end(h, digest);
    assert_string_equal(hash_hex(digest, hex), "f9bc8808bf561ed8b768e5e1d6ebe58355b163a7731bab4458dadc63f7574fa9");
    assert_memory_equal(s.key, digest, 8);  // little-endian words
    assert_memory_not_equal(&s, &(struct stream){{0}}, sizeof s);
    struct stream t = rng_stream(8, "train/dropout3"), u = rng_stream(7, "train/dropout4");
    assert_memory_not_equal(&s, &t, sizeof s);
    assert_memory_not_equal(&s, &u, sizeof s);
}

static void test_uniform_is_the_blocks(void **state) {
    (void)state;
    struct stream s = rng_stream(1, "test/uniform");
    float x[1000];
    rng_uniform(s, 5, 6, 7, x, 1000);
    for (uint32_t i = 0; i < 1000; i++) {
        uint32_t word[4];
        rng_block((uint32_t[]){5, 6, 7, i / 4}, s, word);
        assert_true(x[i] == (float)(word[i % 4] >> 8) / 16777216);
        assert_true(x[i] >= 0 && x[i] < 1);
    }
}

static void test_value_does_not_depend_on_count(void **state) {
    (void)state;
    struct stream s = rng_stream(2, "test/count");
    enum { N = 300 };
    float whole[N], part[N + 1];
    for (int normal = 0; normal < 2; normal++) {
        void (*draw)(struct stream, uint32_t, uint32_t, uint32_t, float *, long) = normal ? rng_normal : rng_uniform;
        draw(s, 1, 2, 3, whole, N);
        for (int n = 0; n <= N; n++) {
            part[n] = -77;
            draw(s, 1, 2, 3, part, n);
            assert_memory_equal(whole, part, (size_t)n * sizeof *part);
            assert_true(part[n] == -77);  // nothing written behind the end
        }
        draw(s, 2, 2, 3, part, N);
        assert_memory_not_equal(whole, part, sizeof whole);
        draw(s, 1, 3, 3, part, N);
        assert_memory_not_equal(whole, part, sizeof whole);
        draw(s, 1, 2, 4, part, N);
        assert_memory_not_equal(whole, part, sizeof whole);
    }
}

static void test_instruction_sets_agree(void **state) {
    (void)state;
    rng_fill *variant[][3] = {{rng_uniform_baseline, rng_uniform_avx2, rng_uniform_avx512},
                              {rng_normal_baseline, rng_normal_avx2, rng_normal_avx512}};
    bool have[3] = {true};
#if defined(__x86_64__)
    have[1] = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    have[2] = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
    uint32_t key[2] = {0xdeadbeef, 0xfffffff0}, counter[3] = {~0u, 1, 0x80000000};
    for (int kind = 0; kind < 2; kind++)
        for (uint32_t first = 0; first < 20000 * RNG_LANES; first += RNG_LANES) {
            float expected[RNG_WORDS] = {0}, found[RNG_WORDS] = {0};
            variant[kind][0](key, counter, first - 64, expected);  // over the counter's wrap
            for (int v = 1; v < 3; v++)
                if (have[v]) {
                    variant[kind][v](key, counter, first - 64, found);
                    assert_memory_equal(expected, found, sizeof found);
                }
        }
}

// Box-Muller by the C library, from the same bits.
static void test_normal_is_box_muller(void **state) {
    (void)state;
    struct stream s = rng_stream(3, "test/normal");
    enum { N = 20000 };
    static float x[N];
    rng_normal(s, 9, 8, 7, x, N);
    for (uint32_t block = 0; block < N / 2; block++) {
        uint32_t word[4];
        rng_block((uint32_t[]){9, 8, 7, block}, s, word);
        double u = 1 - (double)(((uint64_t)word[1] << 32 | word[0]) >> 12) * 0x1p-52;
        double v = (double)(((uint64_t)word[3] << 32 | word[2]) >> 12) * 0x1p-52;
        double r = sqrt(-2 * log(u));
        // 1e-7 relative is float's rounding; near a zero of sine or cosine the reference itself is off by 1e-15 r.
        assert_true(fabs(x[2 * block] - r * cos(2 * M_PI * v)) <= 6e-8 * fabs(x[2 * block]) + 1e-14);
        assert_true(fabs(x[2 * block + 1] - r * sin(2 * M_PI * v)) <= 6e-8 * fabs(x[2 * block + 1]) + 1e-14);
    }
}

static int ascending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

// Kolmogorov-Smirnov: sqrt(n) D exceeds 2 with probability 7e-4, and the seed is fixed.
static void test_distributions(void **state) {
    (void)state;
    enum { N = 1 << 20 };
    float *x = malloc(N * sizeof *x);
    for (int normal = 0; normal < 2; normal++) {
        struct stream s = rng_stream(4, normal ? "test/ks-normal" : "test/ks-uniform");
        (normal ? rng_normal : rng_uniform)(s, 0, 0, 0, x, N);
        double mean = 0, square = 0, lag = 0;
        for (long i = 0; i < N; i++) {
            double c = normal ? x[i] : (x[i] - 0.5) * sqrt(12), before = i == 0 ? 0 : normal ? x[i - 1] : (x[i - 1] - 0.5) * sqrt(12);
            mean += c / N;
            square += c * c / N;
            lag += c * before / N;
        }
        assert_true(fabs(mean) < 4e-3 && fabs(square - 1) < 6e-3 && fabs(lag) < 4e-3);  // four standard errors
        qsort(x, N, sizeof *x, ascending);
        double d = 0;
        for (long i = 0; i < N; i++) {
            double f = normal ? 0.5 * erfc(-x[i] / sqrt(2)) : x[i];
            d = fmax(d, fmax(fabs(f - (double)i / N), fabs(f - (double)(i + 1) / N)));
        }
        assert_true(sqrt(N) * d < 2);
        if (normal)
            assert_true(x[N - 1] > 4.2 && x[N - 1] < 8.5);  // the tail is there
    }
    free(x);
}

static void test_one_and_below(void **state) {
    (void)state;
    struct stream s = rng_stream(5, "test/below");
    double mean = 0;
    long count[6] = {0};
    for (uint32_t i = 0; i < 60000; i++) {
        double one = rng_one(s, i, 0, 0);
        assert_true(one >= 0 && one < 1);
        mean += one / 60000;
        uint64_t k = rng_below(s, i, 1, 0, 6);
        assert_true(k < 6);
        count[k]++;
        assert_int_equal(rng_below(s, i, 1, 0, 1), 0);
        // 3 * 2^62: a quarter of the first draws must be refused, and a third of the results lie in each third.
        assert_true(rng_below(s, i, 2, 0, 3ull << 62) < 3ull << 62);
    }
    assert_true(fabs(mean - 0.5) < 5 * 0.2887 / sqrt(60000));
    for (int k = 0; k < 6; k++)
        assert_true(labs(count[k] - 10000) < 5 * 92);
}

static void test_below_is_unbiased_where_it_must_refuse(void **state) {
    (void)state;
    // A plain multiply-shift maps twice as many words to even thirds of 3 * 2^62: share of results = 0 mod 3
    // would be 1/2.
    struct stream s = rng_stream(6, "test/refuse");
    long third = 0;
    for (uint32_t i = 0; i < 60000; i++)
        third += rng_below(s, i, 0, 0, 3ull << 62) % 3 == 0;
    assert_true(labs(third - 20000) < 5 * 116);
}

static void test_permutation(void **state) {
    (void)state;
    struct stream s = rng_stream(7, "test/permutation");
    enum { N = 1000, TIMES = 3000 };
    int64_t x[N], y[N];
    char seen[N] = {0};
    rng_permutation(s, 0, x, N);
    for (int i = 0; i < N; i++) {
        assert_in_range(x[i], 0, N - 1);
        assert_false(seen[x[i]]++);
    }
    rng_permutation(s, 1, y, N);
    assert_memory_not_equal(x, y, sizeof x);
    rng_permutation(s, 0, y, N);
    assert_memory_equal(x, y, sizeof x);
    rng_permutation(s, 0, y, 0);
    rng_permutation(s, 0, y, 1);
    assert_int_equal(y[0], 0);

    // All 24 orders of four, 3000 times: chi-square with 23 degrees, 99.99 % point 54.
    long order[256] = {0};
    for (uint32_t t = 0; t < TIMES; t++) {
        rng_permutation(s, t, x, 4);
        order[x[0] | x[1] << 2 | x[2] << 4 | x[3] << 6]++;
    }
    double chi = 0;
    int kinds = 0;
    for (int i = 0; i < 256; i++)
        if (order[i]) {
            kinds++;
            chi += pow((double)order[i] - TIMES / 24.0, 2) / (TIMES / 24.0);
        }
    assert_int_equal(kinds, 24);
    assert_true(chi < 54);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_key_is_the_hash_of_seed_and_purpose),
        cmocka_unit_test(test_uniform_is_the_blocks),
        cmocka_unit_test(test_value_does_not_depend_on_count),
        cmocka_unit_test(test_instruction_sets_agree),
        cmocka_unit_test(test_normal_is_box_muller),
        cmocka_unit_test(test_distributions),
        cmocka_unit_test(test_one_and_below),
        cmocka_unit_test(test_below_is_unbiased_where_it_must_refuse),
        cmocka_unit_test(test_permutation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// Arenas, hashes and error texts.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/hash.h"

static void test_pieces(void **state) {
    (void)state;
    struct arena a = {0};
    enum { N = 400 };
    unsigned char *piece[N];
    size_t size[N];
    for (int round = 0; round < 2; round++) {  // the second time in a freed arena
        uint32_t x = 1;
        for (int i = 0; i < N; i++) {
            x = x * 1664525 + 1013904223;
            size[i] = i % 50 == 0 ? 100000 + (size_t)i : i % 7 == 0 ? 0 : (x >> 20) % 3000;
            piece[i] = arena_take(&a, size[i]);
            assert_int_equal((uintptr_t)piece[i] % 64, 0);
            for (size_t k = 0; k < size[i]; k++)
                assert_int_equal(piece[i][k], 0);
            memset(piece[i], i + 1, size[i]);
        }
        for (int i = 0; i < N; i++)
            for (size_t k = 0; k < size[i]; k++)
                assert_int_equal(piece[i][k], (i + 1) & 255);  // nobody else wrote there
        arena_free(&a);
        assert_null(a.first);
    }
}

static void test_text(void **state) {
    (void)state;
    struct arena a = {0};
    char *x = arena_text(&a, "conv1.weight"), *y = arena_print(&a, "%s/%d", x, 42);
    assert_string_equal(x, "conv1.weight");
    assert_string_equal(y, "conv1.weight/42");
    assert_string_equal(arena_text(&a, ""), "");
    char *longer = arena_print(&a, "%0200000d", 7);
    assert_int_equal(strlen(longer), 200000);
    arena_free(&a);
}

static void test_memory(void **state) {
    (void)state;
    for (size_t n = 0; n < 300; n += 7) {
        char *x = memory_take(n), *y = memory_zero(n);
        assert_int_equal((uintptr_t)x % 64, 0);
        assert_int_equal((uintptr_t)y % 64, 0);
        for (size_t k = 0; k < n; k++)
            assert_int_equal(y[k], 0);
        memset(x, 1, n);
        x = memory_grow(x, n + 1000);
        for (size_t k = 0; k < n; k++)
            assert_int_equal(x[k], 1);
        free(x);
        free(y);
    }
}

static void test_errors(void **state) {
    (void)state;
    struct error e = {0};
    assert_false(error_prefix(&e, "unused"));
    assert_int_equal(e.status, EXIT_DONE);
    assert_false(error_set(&e, EXIT_INPUT, "tensor 'a\nb\033[2J': %d found, %d expected", 3, 4));
    assert_string_equal(e.text, "tensor 'a?b?[2J': 3 found, 4 expected");
    error_set(&e, EXIT_SYSTEM, "a consequence");
    assert_int_equal(e.status, EXIT_INPUT);  // the first cause stays
    error_prefix(&e, "%s", "model.st");
    assert_string_equal(e.text, "model.st: tensor 'a?b?[2J': 3 found, 4 expected");

    struct error cut = {0};
    char name[2000];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    error_set(&cut, EXIT_INPUT, "%s", name);
    assert_int_equal(strlen(cut.text), sizeof cut.text - 1);
    assert_string_equal(cut.text + sizeof cut.text - 4, "...");
    error_prefix(&cut, "model.st");
    assert_memory_equal(cut.text, "model.st: xxx", 13);
    assert_string_equal(cut.text + sizeof cut.text - 4, "...");

    struct error utf = {0};
    for (int i = 0; i < 998; i += 2)
        memcpy(name + i, "\303\274", 2);
    name[998] = '\0';
    error_set(&utf, EXIT_INPUT, "x%s", name);
    size_t n = strlen(utf.text) - 3;
    assert_string_equal(utf.text + n, "...");
    assert_int_equal(n % 2, 1);  // no half of a letter
    error_set(NULL, EXIT_INPUT, "nobody listens");
}

static void test_hash(void **state) {
    (void)state;
    // FIPS 180-2, appendix B.
    static const char *const answer[][2] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    unsigned char digest[32], other[32];
    char hex[65];
    for (int i = 0; i < 3; i++) {
        struct hash *h = hash_new();
        for (const char *c = answer[i][0]; *c; c++)
            hash_add(h, c, 1);
        hash_end(h, digest);
        assert_string_equal(hash_hex(digest, hex), answer[i][1]);
    }
    struct hash *x = hash_new(), *y = hash_new();
    hash_add_u64(x, 0x0102030405060708);
    hash_add_counted(x, "ab");
    hash_add(y, "\10\7\6\5\4\3\2\1\2\0\0\0\0\0\0\0ab", 18);
    hash_end(x, digest);
    hash_end(y, other);
    assert_memory_equal(digest, other, 32);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces), cmocka_unit_test(test_text), cmocka_unit_test(test_memory),
        cmocka_unit_test(test_errors), cmocka_unit_test(test_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// The worker pool: every job once, results seen by the caller, used thousands of times, denormals flushed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/pool.h"

extern int omp_get_max_threads(void);

struct row {
    int threads;
    int *times;  // plain memory: pool_run must make the workers' writes visible
    atomic_int wrong;
};

static void mark(void *data, long i, int worker) {
    struct row *r = data;
    r->times[i]++;
    if (worker < 0 || worker >= r->threads)
        atomic_fetch_add(&r->wrong, 1);
}

static void test_every_job_once(void **state) {
    (void)state;
    enum { MOST = 1000 };
    int times[MOST];
    for (int threads = 1; threads <= 9; threads += threads < 3 ? 1 : 3) {
        struct pool *p = pool_new(threads);
        assert_int_equal(pool_threads(p), threads);
        for (int run = 0; run < 2000; run++) {
            long count = run % 50 == 0 ? MOST : run % 7;
            struct row r = {.threads = threads, .times = times};
            memset(times, 0, sizeof times);
            pool_run(p, count, mark, &r);
            for (long i = 0; i < MOST; i++)
                if (times[i] != (i < count))
                    fail_msg("%d threads, run %d: job %ld of %ld ran %d times", threads, run, i, count, times[i]);
            assert_int_equal(r.wrong, 0);
        }
        pool_free(p);
    }
}

static void test_after_sleep(void **state) {
    (void)state;
    struct pool *p = pool_new(3);
    int times[8];
    for (int run = 0; run < 20; run++) {
        nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL);  // longer than any spinning
        struct row r = {.threads = 3, .times = times};
        memset(times, 0, sizeof times);
        pool_run(p, 8, mark, &r);
        for (int i = 0; i < 8; i++)
            assert_int_equal(times[i], 1);
    }
    pool_free(p);
}

// Two jobs that wait for each other end only if two workers run them at the same time.
static void meet(void *data, long i, int worker) {
    (void)i;
    (void)worker;
    atomic_int *here = data;
    atomic_fetch_add(here, 1);
    while (atomic_load(here) < 2)
        sched_yield();
}

static void test_workers_run_together(void **state) {
    (void)state;
    struct pool *p = pool_new(2);
    for (int run = 0; run < 200; run++) {
        if (run % 50 == 0)
            nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL);
        atomic_int here = 0;
        pool_run(p, 2, meet, &here);
        assert_int_equal(here, 2);
    }
    pool_free(p);
}

struct findings {
    atomic_int here, denormals, many;
};

static void look(void *data, long i, int worker) {
    (void)i;
    (void)worker;
    struct findings *f = data;
    atomic_fetch_add(&f->here, 1);
    while (atomic_load(&f->here) < 3)
        sched_yield();
    volatile float tiny = 1e-38f, zero = tiny * 0.01f, given = 1e-42f, grown = given * 1e10f;
#if defined(__x86_64__)
    if (zero != 0 || grown != 0)
        atomic_fetch_add(&f->denormals, 1);
#endif
    if (omp_get_max_threads() != 1)
        atomic_fetch_add(&f->many, 1);
}

static void test_denormals_and_openmp(void **state) {
    (void)state;
    struct pool *p = pool_new(3);
    struct findings f = {0};
    pool_run(p, 3, look, &f);
    assert_int_equal(f.here, 3);
    assert_int_equal(f.denormals, 0);
    assert_int_equal(f.many, 0);
    pool_free(p);
}

static void test_zero_means_this_process_processors(void **state) {
    (void)state;
    cpu_set_t old, one;
    assert_int_equal(sched_getaffinity(0, sizeof old, &old), 0);
    struct pool *p = pool_new(0);
    assert_int_equal(pool_threads(p), CPU_COUNT(&old));
    pool_free(p);
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &old))
            CPU_SET(i, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    p = pool_new(0);
    assert_int_equal(pool_threads(p), 1);
    pool_free(p);
    assert_int_equal(sched_setaffinity(0, sizeof old, &old), 0);
    pool_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_job_once),       cmocka_unit_test(test_after_sleep),
        cmocka_unit_test(test_workers_run_together), cmocka_unit_test(test_denormals_and_openmp),
        cmocka_unit_test(test_zero_means_this_process_processors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

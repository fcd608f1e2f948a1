// pool.c: worker threads that share a row of jobs.
//
// One counter holds how many jobs are still to be handed out. Taking one is a single fetch_sub; a positive
// result r means job number count - r, and pins the run: it cannot end, and so `job`, `data` and `count`
// cannot change, before that job is counted as done. A worker that wakes late finds nothing left and touches
// nothing else, or takes part in the next run; so nobody ever waits for a sleeping worker.
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "arena.h"
#include "error.h"
#include "msg.h"

extern void omp_set_num_threads(int threads);  // libgomp; <omp.h> is the compiler's, and clang has none by itself

enum { LINE = 64, SPINS = 4000 };  // about 100 microseconds: the pause between two stages of a training step

struct worker {
    pthread_t thread;
    struct pool *pool;
    int number;
};

struct pool {
    int threads, spins;
    struct worker *workers;
    bool running;

    // The run.
    void (*job)(void *data, long i, int worker);
    void *data;
    long count;
    _Alignas(LINE) atomic_long left;  // to be handed out; <= 0: none
    _Alignas(LINE) atomic_long done;

    _Alignas(LINE) atomic_int sleepers;  // workers inside or on their way into pthread_cond_wait
    atomic_bool waiting;                 // the caller, likewise
    atomic_bool stop;
    pthread_mutex_t mutex;
    pthread_cond_t wake, finished;
};

void pool_flush_denormals(void) {
#if defined(__x86_64__)
    _mm_setcsr(_mm_getcsr() | 0x8040);  // FTZ, DAZ
#endif
}

static void relax(void) {
#if defined(__x86_64__)
    _mm_pause();
#endif
}

// Runs jobs until none is left, and wakes the caller if that completed the run.
static void work(struct pool *p, int worker) {
    long finished = 0, count = 0, r;
    while (atomic_load_explicit(&p->left, memory_order_relaxed) > 0 && (r = atomic_fetch_sub(&p->left, 1)) > 0) {
        count = p->count;
        p->job(p->data, count - r, worker);
        finished++;
    }
    if (finished == 0 || atomic_fetch_add(&p->done, finished) + finished < count)
        return;
    if (worker != 0 && atomic_load(&p->waiting)) {
        pthread_mutex_lock(&p->mutex);
        pthread_cond_signal(&p->finished);
        pthread_mutex_unlock(&p->mutex);
    }
}

static bool called(struct pool *p) {
    return atomic_load(&p->left) > 0 || atomic_load(&p->stop);
}

static void *worker_main(void *argument) {
    struct worker *w = argument;
    struct pool *p = w->pool;
    pool_flush_denormals();
    omp_set_num_threads(1);
    while (!atomic_load(&p->stop)) {
        work(p, w->number);
        for (int i = 0; i < p->spins && !called(p); i++)
            relax();
        if (called(p))
            continue;
        pthread_mutex_lock(&p->mutex);
        atomic_fetch_add(&p->sleepers, 1);
        while (!called(p))
            pthread_cond_wait(&p->wake, &p->mutex);
        atomic_fetch_sub(&p->sleepers, 1);
        pthread_mutex_unlock(&p->mutex);
    }
    return NULL;
}

static int processors(void) {
    for (int most = 1024; most <= 1 << 20; most *= 2) {
        cpu_set_t *set = CPU_ALLOC((size_t)most);
        size_t size = CPU_ALLOC_SIZE((size_t)most);
        int found = set && sched_getaffinity(0, size, set) == 0 ? CPU_COUNT_S(size, set) : 0;
        CPU_FREE(set);
        if (found > 0)
            return found;
    }
    return 1;
}

struct pool *pool_new(int threads) {
    BUG_IF(threads < 0, "a pool of %d threads", threads);
    int available = processors();
    struct pool *p = memory_zero(sizeof *p);
    p->threads = threads ? threads : available;
    p->spins = p->threads <= available ? SPINS : 0;  // a spinning worker must not keep a working one off its processor
    p->workers = memory_zero((size_t)p->threads * sizeof *p->workers);
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->finished, NULL);
    pool_flush_denormals();
    omp_set_num_threads(1);

    // Signals belong to the caller's thread: a worker is never interrupted in the middle of a product.
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (int i = 1; i < p->threads; i++) {
        p->workers[i] = (struct worker){.pool = p, .number = i};
        int failure = pthread_create(&p->workers[i].thread, NULL, worker_main, &p->workers[i]);
        if (failure) {
            struct error e = {0};
            error_set(&e, EXIT_SYSTEM, "cannot start thread %d of %d: %s", i + 1, p->threads, strerror(failure));
            msg_fail(&e);
        }
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return p;
}

static void wake_all(struct pool *p) {
    if (atomic_load(&p->sleepers) > 0) {
        pthread_mutex_lock(&p->mutex);
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->mutex);
    }
}

void pool_free(struct pool *p) {
    if (p == NULL)
        return;
    atomic_store(&p->stop, true);
    wake_all(p);
    for (int i = 1; i < p->threads; i++)
        pthread_join(p->workers[i].thread, NULL);
    pthread_cond_destroy(&p->finished);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->mutex);
    free(p->workers);
    free(p);
}

int pool_threads(const struct pool *p) {
    return p->threads;
}

void pool_run(struct pool *p, long count, void (*job)(void *data, long i, int worker), void *data) {
    BUG_IF(p->running, "pool_run called from inside a job");
    if (count <= 0)
        return;
    p->running = true;
    if (p->threads == 1 || count == 1) {
        for (long i = 0; i < count; i++)
            job(data, i, 0);
        p->running = false;
        return;
    }
    p->job = job;
    p->data = data;
    p->count = count;
    atomic_store(&p->done, 0);
    atomic_store(&p->left, count);
    wake_all(p);
    work(p, 0);

    for (int i = 0; i < p->spins && atomic_load(&p->done) < count; i++)
        relax();
    if (atomic_load(&p->done) < count) {
        pthread_mutex_lock(&p->mutex);
        atomic_store(&p->waiting, true);
        while (atomic_load(&p->done) < count)
            pthread_cond_wait(&p->finished, &p->mutex);
        atomic_store(&p->waiting, false);
        pthread_mutex_unlock(&p->mutex);
    }
    p->running = false;
}

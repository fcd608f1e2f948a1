// pool.h: worker threads that share a row of jobs. The caller is worker 0, so a pool of one has no threads.
// Jobs are handed out by a counter; which worker runs which job is not determined, so a job's result must
// depend on the job alone. Workers spin briefly, then sleep. Every worker flushes denormals (FTZ and DAZ)
// and keeps the OpenMP libraries it calls on one thread (omp_set_num_threads(1) before any of them runs).
#ifndef ASSAY_BASE_POOL_H
#define ASSAY_BASE_POOL_H

struct pool;

// threads >= 1; 0 means the processors this process may run on (sched_getaffinity).
struct pool *pool_new(int threads);
void pool_free(struct pool *p);
int pool_threads(const struct pool *p);

// Runs job(data, i, worker) for i in [0, count), worker in [0, threads); returns when all are done. Not reentrant.
void pool_run(struct pool *p, long count, void (*job)(void *data, long i, int worker), void *data);

// FTZ and DAZ for the calling thread (x86; nothing elsewhere). pool_new does it for its caller.
void pool_flush_denormals(void);

#endif

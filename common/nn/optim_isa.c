// optim_isa.c: the updates, every array touched once. Vectors of the compiler's own kind, so the formulas
// read as in the papers.
#include "optim_isa.h"

#if defined ISA_avx512
#include <immintrin.h>
typedef __m512 vector;
#define LOAD(at) _mm512_loadu_ps(at)
#define STORE(at, x) _mm512_storeu_ps(at, x)
#define ALL(x) _mm512_set1_ps(x)
#define ROOT(x) _mm512_sqrt_ps(x)
#elif defined ISA_avx2
#include <immintrin.h>
typedef __m256 vector;
#define LOAD(at) _mm256_loadu_ps(at)
#define STORE(at, x) _mm256_storeu_ps(at, x)
#define ALL(x) _mm256_set1_ps(x)
#define ROOT(x) _mm256_sqrt_ps(x)
#elif defined __SSE2__
#include <emmintrin.h>
typedef __m128 vector;
#define LOAD(at) _mm_loadu_ps(at)
#define STORE(at, x) _mm_storeu_ps(at, x)
#define ALL(x) _mm_set1_ps(x)
#define ROOT(x) _mm_sqrt_ps(x)
#else
#include <math.h>
typedef float vector;
#define LOAD(at) (*(at))
#define STORE(at, x) (*(at) = (x))
#define ALL(x) (x)
#define ROOT(x) sqrtf(x)
#endif

enum { LANES = sizeof(vector) / sizeof(float) };

// g - g is 0, or NaN where g is not finite; sums of it stay NaN.
static inline bool finite_sum(vector sum) {
    float lane[LANES], total = 0;
    STORE(lane, sum);
    for (int i = 0; i < LANES; i++) total += lane[i];
    return total == 0;
}

// m == NULL: no momentum (the compiler makes three loops of this one).
static inline bool descend(const struct optim_numbers *c, int64_t n, float *p, const float *g, float *m, bool nesterov) {
    const vector l2 = ALL(c->l2), lr = ALL(c->lr), momentum = ALL(c->momentum);
    vector check = ALL(0.0f);
    for (int64_t i = 0; i < n; i += LANES) {
        vector grad = LOAD(g + i), x = LOAD(p + i);
        check = check + (grad - grad);
        vector d = grad + l2 * x;
        if (m) {
            vector next = momentum * LOAD(m + i) + d;
            STORE(m + i, next);
            if (nesterov) d = d + momentum * next;
            else d = next;
        }
        STORE(p + i, x - lr * d);
    }
    return finite_sum(check);
}

static bool sgd(const struct optim_numbers *c, int64_t n, float *p, const float *g, float *m, float *v) {
    (void)m, (void)v;
    return descend(c, n, p, g, (float *)0, false);
}
static bool momentum(const struct optim_numbers *c, int64_t n, float *p, const float *g, float *m, float *v) {
    (void)v;
    return descend(c, n, p, g, m, false);
}
static bool nesterov(const struct optim_numbers *c, int64_t n, float *p, const float *g, float *m, float *v) {
    (void)v;
    return descend(c, n, p, g, m, true);
}

static bool adam(const struct optim_numbers *c, int64_t n, float *p, const float *g, float *m, float *v) {
    const vector l2 = ALL(c->l2), keep = ALL(c->keep), beta1 = ALL(c->beta1), rest1 = ALL(c->rest1), beta2 = ALL(c->beta2),
                 rest2 = ALL(c->rest2), step = ALL(c->step), root = ALL(c->root), epsilon = ALL(c->epsilon);
    vector check = ALL(0.0f);
    for (int64_t i = 0; i < n; i += LANES) {
        vector grad = LOAD(g + i), x = LOAD(p + i);
        check = check + (grad - grad);
        grad = grad + l2 * x;
        vector first = beta1 * LOAD(m + i) + rest1 * grad, second = beta2 * LOAD(v + i) + rest2 * (grad * grad);
        STORE(m + i, first);
        STORE(v + i, second);
        STORE(p + i, x * keep - step * (first / (ROOT(second) * root + epsilon)));
    }
    return finite_sum(check);
}

#define NAME_(isa) optim_loops_##isa
#define NAME(isa) NAME_(isa)
const struct optim_loops NAME(ISA) = {sgd, momentum, nesterov, adam};

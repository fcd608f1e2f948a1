// roc.c: areas and rates from sorted scores.
#include "roc.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/error.h"
#include "bootstrap.h"

struct item {
    float score;
    int64_t at;  // positives first, then negatives
};

static int by_score(const void *a, const void *b) {
    float x = ((const struct item *)a)->score, y = ((const struct item *)b)->score;
    return (x > y) - (x < y);
}

// The distinct scores of a run, ascending, and which of them each positive and negative has.
struct levels {
    int64_t count;
    int64_t *level;              // [positives + negatives]
    int64_t *positive, *negative;  // [count]: how many there are at a level
};

static struct levels levels_of(const struct roc_run *r) {
    int64_t n = r->positives + r->negatives;
    struct item *item = memory_take((size_t)(n + 1) * sizeof *item);
    struct levels l = {.level = memory_take((size_t)(n + 1) * sizeof *l.level)};
    for (int64_t i = 0; i < n; i++) {
        item[i] = (struct item){i < r->positives ? r->positive[i] : r->negative[i - r->positives], i};
        BUG_IF(isnan(item[i].score), "a score is no number");
    }
    qsort(item, (size_t)n, sizeof *item, by_score);
    for (int64_t i = 0; i < n; i++) {
        l.count += i == 0 || item[i].score > item[i - 1].score;
        l.level[item[i].at] = l.count - 1;
    }
    l.positive = memory_take((size_t)(l.count + 1) * sizeof *l.positive);
    l.negative = memory_take((size_t)(l.count + 1) * sizeof *l.negative);
    free(item);
    return l;
}

static void levels_free(struct levels *l) {
    free(l->level);
    free(l->positive);
    free(l->negative);
}

// How many pairs are won, ties for half. pick: the positions that count, positives then negatives; NULL: each once.
static double pairs_won(const struct roc_run *r, struct levels *l, const int64_t *pick) {
    memset(l->positive, 0, (size_t)l->count * sizeof *l->positive);
    memset(l->negative, 0, (size_t)l->count * sizeof *l->negative);
    for (int64_t i = 0; i < r->positives; i++) l->positive[l->level[pick ? pick[i] : i]]++;
    for (int64_t i = r->positives; i < r->positives + r->negatives; i++)
        l->negative[l->level[pick ? r->positives + pick[i] : i]]++;
    int64_t below = 0;
    double won = 0;
    for (int64_t k = 0; k < l->count; k++) {
        won += (double)l->positive[k] * ((double)below + .5 * (double)l->negative[k]);
        below += l->negative[k];
    }
    return won;
}

static bool empty(const struct roc_run *run, int runs) {
    for (int i = 0; i < runs; i++)
        if (!run[i].positives || !run[i].negatives) return true;
    return !runs;
}

static double all_positives(const struct roc_run *run, int runs) {
    double n = 0;
    for (int i = 0; i < runs; i++) n += (double)run[i].positives;
    return n;
}

double roc_auc(const struct roc_run *run, int runs) {
    double sum = 0;
    if (empty(run, runs)) return NAN;
    for (int i = 0; i < runs; i++) {
        struct levels l = levels_of(&run[i]);
        sum += pairs_won(&run[i], &l, NULL) / (double)run[i].negatives;
        levels_free(&l);
    }
    return sum / all_positives(run, runs);
}

struct interval roc_widen(struct interval found, double area, int64_t k) {
    double seen = pow(.025, 1 / (double)k);
    return (struct interval){fmin(found.low, seen * area), fmax(found.high, 1 - seen * (1 - area))};
}

struct interval roc_auc_interval(const struct roc_run *run, int runs, uint64_t seed) {
    if (empty(run, runs)) return (struct interval){NAN, NAN};
    int64_t positives = 0, negatives = 0;
    for (int i = 0; i < runs; i++) {
        positives += run[i].positives;
        negatives += run[i].negatives;
    }
    struct stream s = rng_stream(seed, "roc/bootstrap");
    double *auc = memory_zero(BOOTSTRAP_DRAWS * sizeof *auc);
    for (int i = 0; i < runs; i++) {
        struct levels l = levels_of(&run[i]);
        int64_t *pick = memory_take((size_t)(run[i].positives + run[i].negatives) * sizeof *pick);
        for (uint32_t d = 0; d < BOOTSTRAP_DRAWS; d++) {
            bootstrap_sample(s, d, (uint32_t)i, 0, run[i].positives, pick);
            bootstrap_sample(s, d, (uint32_t)i, 1, run[i].negatives, pick + run[i].positives);
            auc[d] += pairs_won(&run[i], &l, pick) / (double)run[i].negatives / (double)positives;
        }
        free(pick);
        levels_free(&l);
    }
    struct interval found = bootstrap_percentiles(auc, BOOTSTRAP_DRAWS);
    free(auc);
    return roc_widen(found, roc_auc(run, runs), positives < negatives ? positives : negatives);
}

// ---- rates

static int descending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

// free() it.
static float *sorted(const float *x, int64_t n) {
    float *s = memory_take((size_t)(n + 1) * sizeof *s);
    memcpy(s, x, (size_t)n * sizeof *s);
    qsort(s, (size_t)n, sizeof *s, descending);
    return s;
}

int64_t roc_allowed(int64_t negatives, double fpr) {
    return (int64_t)(fpr * (double)negatives * (1 + 1e-12));  // .01 of 100 is 1, whatever its last bit
}

float roc_threshold(const struct roc_run *r, double fpr) {
    int64_t allowed = roc_allowed(r->negatives, fpr);
    float *negative = sorted(r->negative, r->negatives), threshold = allowed < r->negatives ? negative[allowed] : -INFINITY;
    free(negative);
    return threshold;
}

struct roc_above roc_above(const struct roc_run *r) {
    struct roc_above above = {r->positives, r->negatives, memory_take((size_t)(r->negatives + 2) * sizeof *above.count)};
    float *positive = sorted(r->positive, r->positives), *negative = sorted(r->negative, r->negatives);
    int64_t at = 0;
    for (int64_t j = 0; j < r->negatives; j++) {
        while (at < r->positives && positive[at] > negative[j]) at++;
        above.count[j + 1] = at;
    }
    above.count[0] = 0;
    above.count[r->negatives + 1] = r->positives;
    free(positive);
    free(negative);
    return above;
}

// A distribution over the whole numbers from `from` on.
struct law {
    int64_t from, count;
    double *weight;
};

// Weights beyond this share of the largest are left out: far below what an interval shows.
static const double LIGHT = 1e-15;

// P(j + 1) / P(j) of B(n, p).
static double rise(int64_t n, double p, int64_t j) { return (double)(n - j) / (double)(j + 1) * p / (1 - p); }

// B(n, p), from its mode outwards.
static struct law binomial(int64_t n, double p) {
    int64_t mode = (int64_t)((double)(n + 1) * p), low = mode, high = mode;
    for (double w = 1; low > 0 && w > LIGHT; low--) w /= rise(n, p, low - 1);
    for (double w = 1; high < n && w > LIGHT; high++) w *= rise(n, p, high);
    struct law law = {low, high - low + 1, memory_take((size_t)(high - low + 1) * sizeof *law.weight)};
    double *w = law.weight, sum = 0;
    w[mode - low] = 1;
    for (int64_t j = mode; j > low; j--) w[j - low - 1] = w[j - low] / rise(n, p, j - 1);
    for (int64_t j = mode; j < high; j++) w[j - low + 1] = w[j - low] * rise(n, p, j);
    for (int64_t j = 0; j < law.count; j++) sum += w[j];
    for (int64_t j = 0; j < law.count; j++) w[j] /= sum;
    return law;
}

// Of above[J], J drawn from `rank`; above[] rises.
static struct law hits_of(const struct law *rank, const int64_t *above) {
    above += rank->from;
    struct law law = {above[0], above[rank->count - 1] - above[0] + 1, NULL};
    law.weight = memory_zero((size_t)law.count * sizeof *law.weight);
    for (int64_t j = 0; j < rank->count; j++) law.weight[above[j] - law.from] += rank->weight[j];
    return law;
}

// Of the sum of two; what is light at either end is left out, so that sums over many runs stay short. Frees both.
static struct law sum_of(struct law a, struct law b) {
    struct law sum = {a.from + b.from, a.count + b.count - 1, NULL};
    double *w = sum.weight = memory_zero((size_t)sum.count * sizeof *w);
    for (int64_t i = 0; i < a.count; i++)
        for (int64_t j = 0; j < b.count; j++) w[i + j] += a.weight[i] * b.weight[j];
    int64_t first = 0;
    while (first < sum.count - 1 && w[first] < LIGHT) first++;
    while (sum.count - 1 > first && w[sum.count - 1] < LIGHT) sum.count--;
    sum.from += first;
    sum.count -= first;
    memmove(w, w + first, (size_t)sum.count * sizeof *w);
    free(a.weight);
    free(b.weight);
    return sum;
}

// The mean over the hits k of n of P(B(n, rate) >= k), or of P(B(n, rate) <= k): what Clopper & Pearson make 2.5 % for a given k.
static double tail(const struct law *hits, int64_t n, double rate, bool upper) {
    double sum = 0;
    for (int64_t i = 0; i < hits->count; i++) {
        double k = (double)(hits->from + i), m = (double)n;
        if (hits->weight[i] == 0) continue;
        double above = upper ? (k > 0 ? stats_beta(k, m - k + 1, rate) : 1) : k < m ? 1 - stats_beta(k + 1, m - k, rate) : 1;
        sum += hits->weight[i] * above;
    }
    return sum;
}

// Where the tail is 2.5 %: it rises with the rate for the low end of an interval (upper) and falls for the high one.
static double end_of(const struct law *hits, int64_t n, bool upper) {
    double low = 0, high = 1;
    if (tail(hits, n, upper ? 0 : 1, upper) >= .025) return upper ? 0 : 1;
    for (int i = 0; i < 60; i++) {
        double middle = (low + high) / 2;
        if ((tail(hits, n, middle, upper) < .025) == upper)
            low = middle;
        else
            high = middle;
    }
    return (low + high) / 2;
}

struct roc_rate roc_rate(const struct roc_above *run, int runs, double fpr) {
    struct roc_rate rate = {0};
    struct law low = {0, 1, memory_zero(sizeof *low.weight)}, high = {0, 1, memory_zero(sizeof *high.weight)};
    low.weight[0] = high.weight[0] = 1;
    for (int i = 0; i < runs; i++) {
        const struct roc_above *r = &run[i];
        BUG_IF(r->negatives < 1, "a rate without negatives");
        struct law rank = binomial(r->negatives, fpr);
        low = sum_of(low, hits_of(&rank, r->count));
        high = sum_of(high, hits_of(&rank, r->count + 1));
        rate.hits += r->count[roc_allowed(r->negatives, fpr) + 1];
        rate.positives += r->positives;
        free(rank.weight);
    }
    rate.interval = rate.positives ? (struct interval){end_of(&low, rate.positives, true), end_of(&high, rate.positives, false)}
                                   : (struct interval){0, 1};
    free(low.weight);
    free(high.weight);
    return rate;
}

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

// Of the area 1.
static struct interval apart(const struct roc_run *run, int runs) {
    double positives = 0, negatives = 0;
    for (int i = 0; i < runs; i++) {
        positives += (double)run[i].positives;
        negatives += (double)run[i].negatives;
    }
    return (struct interval){pow(.025, 1 / fmin(positives, negatives)), 1};
}

struct interval roc_auc_interval(const struct roc_run *run, int runs, uint64_t seed) {
    if (empty(run, runs)) return (struct interval){NAN, NAN};
    double area = roc_auc(run, runs);
    struct interval all = apart(run, runs);
    if (area == 1) return all;
    if (area == 0) return (struct interval){0, 1 - all.low};
    struct stream s = rng_stream(seed, "roc/bootstrap");
    double *auc = memory_zero(BOOTSTRAP_DRAWS * sizeof *auc), n = all_positives(run, runs);
    for (int i = 0; i < runs; i++) {
        struct levels l = levels_of(&run[i]);
        int64_t *pick = memory_take((size_t)(run[i].positives + run[i].negatives) * sizeof *pick);
        for (uint32_t d = 0; d < BOOTSTRAP_DRAWS; d++) {
            bootstrap_sample(s, d, (uint32_t)i, 0, run[i].positives, pick);
            bootstrap_sample(s, d, (uint32_t)i, 1, run[i].negatives, pick + run[i].positives);
            auc[d] += pairs_won(&run[i], &l, pick) / (double)run[i].negatives / n;
        }
        free(pick);
        levels_free(&l);
    }
    struct interval found = bootstrap_percentiles(auc, BOOTSTRAP_DRAWS);
    free(auc);
    return found;
}

static int descending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

int64_t roc_hits(const struct roc_run *r, double fpr, float *threshold) {
    int64_t hits = 0, spare = (int64_t)(fpr * (double)r->negatives * (1 + 1e-12));  // .01 of 100 is 1, whatever its last bit
    float *sorted = memory_take((size_t)(r->negatives + 1) * sizeof *sorted);
    memcpy(sorted, r->negative, (size_t)r->negatives * sizeof *sorted);
    qsort(sorted, (size_t)r->negatives, sizeof *sorted, descending);
    *threshold = spare < r->negatives ? sorted[spare] : -INFINITY;
    for (int64_t i = 0; i < r->positives; i++) hits += r->positive[i] > *threshold;
    free(sorted);
    return hits;
}

// membership.c: truth and score of a membership test.
#include "membership.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/hash.h"
#include "../io/record.h"
#include "roc.h"

const double membership_fpr[MEMBERSHIP_RATES] = {1e-2, 1e-3};
const char *const membership_fpr_key[MEMBERSHIP_RATES] = {"1e-2", "1e-3"};

// ---- the truth

// The digest of the set a model was trained on, or NULL.
static const char *trained_on(const struct model *m) {
    return m->blob && m->blob->record ? json_string_value(record_get(m->blob->record, "config.data")) : NULL;
}

// What the positions of a set count in: its source, or itself.
static const char *source_of(const struct dataset *d) { return d->index ? blob_meta(d->blob, "assay.source") : d->blob->digest; }

static int64_t position(const struct dataset *d, int64_t i) { return d->index ? d->index[i] : i; }

static bool own_keep(const struct model *m, const struct dataset *d, unsigned char *member, struct error *e) {
    const char *data = trained_on(m), *source = source_of(d);
    if (!m->keep || !data)
        return error_set(e, EXIT_USAGE, "%s does not say which images it was trained on: --members names them",
                         m->blob ? m->blob->source : "the model");
    bool itself = !strcmp(data, d->blob->digest), part = d->index && source && !strcmp(data, source);
    if (!itself && !part)
        return error_set(e, EXIT_USAGE,
                         "%s was trained on images of %.12s, and %s is %.12s: --members names those it was trained on "
                         "(first:K, a mask, or that data set)", m->blob->source, data, d->blob->source, d->blob->digest);
    for (int64_t i = 0; i < d->count; i++) {
        int64_t at = itself ? i : d->index[i];
        if (at < 0 || at >= m->keep_count)
            return error_set(e, EXIT_INPUT, "%s: index %lld is not among the %lld images of the model's assay.keep",
                             d->blob->source, (long long)at, (long long)m->keep_count);
        member[i] = m->keep[at] != 0;
    }
    return true;
}

struct mark {
    unsigned char key[32];  // of an image's pixels, or its position in front
};
static int by_key(const void *a, const void *b) { return memcmp(a, b, sizeof(struct mark)); }

static struct mark mark_of(const struct dataset *d, int64_t i, bool by_position, float *image) {
    struct mark m = {{0}};
    int64_t at = position(d, i);
    if (by_position) memcpy(m.key, &at, sizeof at);
    else {
        dataset_image(d, i, image);
        struct hash *h = hash_new();
        hash_add(h, image, (size_t)dataset_image_size(d) * sizeof *image);
        hash_end(h, m.key);
    }
    return m;
}

static bool by_data(const struct model *m, const struct dataset *d, const struct dataset *other, unsigned char *member,
                    struct error *e) {
    const char *here = source_of(d), *there = source_of(other), *data = trained_on(m);
    bool by_position = here && there && !strcmp(here, there);
    bool kept = data && m->keep && !strcmp(data, other->blob->digest) && m->keep_count == other->count;
    if (other->channels != d->channels || other->height != d->height || other->width != d->width)
        return error_set(e, EXIT_INPUT, "%s: images of %d x %d x %d expected as in %s, %d x %d x %d found", other->blob->source,
                         d->channels, d->height, d->width, d->blob->source, other->channels, other->height, other->width);
    struct mark *mark = memory_take((size_t)(other->count + 1) * sizeof *mark);
    float *image = memory_take((size_t)dataset_image_size(d) * sizeof *image);
    int64_t marks = 0;
    for (int64_t i = 0; i < other->count; i++)
        if (!kept || m->keep[i]) mark[marks++] = mark_of(other, i, by_position, image);
    qsort(mark, (size_t)marks, sizeof *mark, by_key);
    for (int64_t i = 0; i < d->count; i++) {
        struct mark one = mark_of(d, i, by_position, image);
        member[i] = bsearch(&one, mark, (size_t)marks, sizeof *mark, by_key) != NULL;
    }
    free(mark);
    free(image);
    return true;
}

static bool is_word(const char *word) {
    return !strcmp(word, "all") || !strncmp(word, "first:", 6) || !strncmp(word, "random-half:", 12);
}

// A data set where the file is one, else NULL without an error: it may be a mask.
static struct dataset *data_in(const char *path) {
    struct error none = {0};
    struct blob *b = blob_open(path, &none);
    if (!b) return NULL;
    if (blob_find(b, "x") && blob_find(b, "y")) return dataset_of(b, &none);
    blob_free(b);
    return NULL;
}

unsigned char *membership_truth(const struct model *m, const struct dataset *d, const char *word, struct error *e) {
    unsigned char *member = word ? NULL : memory_zero((size_t)d->count + 1);
    struct dataset *other = word && !is_word(word) ? data_in(word) : NULL;
    bool fine;
    if (!word) fine = own_keep(m, d, member, e);
    else if (other) fine = by_data(m, d, other, member = memory_zero((size_t)d->count + 1), e);
    else fine = (member = dataset_choose(word, d->count, e)) != NULL;
    int64_t members = 0;
    for (int64_t i = 0; fine && i < d->count; i++) members += member[i] != 0;
    if (fine && (!members || members == d->count))
        fine = error_set(e, EXIT_INPUT, "%s: %s of its %lld images %s in the training set, so there is nothing to tell apart",
                         d->blob->source, members ? "all" : "none", (long long)d->count, members ? "are" : "is");
    dataset_free(other);
    if (fine) return member;
    free(member);
    return NULL;
}

// ---- the score

struct ranked {
    double score;
    int64_t at;
    bool member;
};
static int by_score(const void *a, const void *b) {
    const struct ranked *x = a, *y = b;
    return x->score != y->score ? (x->score > y->score) - (x->score < y->score) : (x->at > y->at) - (x->at < y->at);
}

static double variance(const double *x, const unsigned char *which, bool wanted, int64_t n, int64_t count) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++)
        if (which[i] == wanted) sum += x[i];
    for (int64_t i = 0; i < n; i++)
        if (which[i] == wanted) squares += (x[i] - sum / (double)count) * (x[i] - sum / (double)count);
    return count > 1 ? squares / (double)(count - 1) : 0;
}

// The share of the other group that lies on the wrong side of each, a tie counting half: with R the rank among all and r
// that within its own group, R - r of the other group lie below.
static double *placements(const struct ranked *r, int64_t n, int64_t members, int64_t others) {
    double *place = memory_take((size_t)(n + 1) * sizeof *place);
    int64_t members_below = 0, others_below = 0;
    for (int64_t i = 0, end; i < n; i = end) {
        int64_t tied_members = 0, tied_others = 0;
        for (end = i; end < n && r[end].score == r[i].score; end++) tied_members += r[end].member, tied_others += !r[end].member;
        for (int64_t j = i; j < end; j++)
            place[r[j].at] = r[j].member ? ((double)others_below + .5 * (double)tied_others) / (double)others
                                         : ((double)(members - members_below) - .5 * (double)tied_members) / (double)members;
        members_below += tied_members;
        others_below += tied_others;
    }
    return place;
}

static struct interval logit_interval(double auc, double variance_of_auc) {
    if (!(auc > 0 && auc < 1)) return (struct interval){auc, auc};
    double logit = log(auc / (1 - auc)), wide = stats_normal_quantile(.975) * sqrt(variance_of_auc) / (auc * (1 - auc));
    return (struct interval){1 / (1 + exp(wide - logit)), 1 / (1 + exp(-wide - logit))};
}

// How many members are over each of the others, the best first.
static struct roc_above above_of(const struct ranked *r, int64_t n, int64_t members, int64_t others) {
    struct roc_above above = {members, others, memory_take((size_t)(others + 2) * sizeof *above.count)};
    int64_t over = 0, passed = 0;
    for (int64_t i = n - 1, end; i >= 0; i = end) {
        int64_t tied = 0;
        for (end = i; end >= 0 && r[end].score == r[i].score; end--) {
            if (r[end].member) tied++;
            else above.count[++passed] = over;
        }
        over += tied;
    }
    above.count[0] = 0;
    above.count[others + 1] = members;
    return above;
}

struct membership membership_of(const double *score, const unsigned char *member, int64_t n) {
    struct membership s = {0};
    struct ranked *r = memory_take((size_t)(n + 1) * sizeof *r);
    unsigned char *which = memory_take((size_t)n + 1);
    for (int64_t i = 0; i < n; i++) {
        which[i] = member[i] != 0;
        r[i] = (struct ranked){score[i], i, which[i]};
        s.members += which[i];
    }
    s.others = n - s.members;
    BUG_IF(!s.members || !s.others, "%lld members among %lld", (long long)s.members, (long long)n);
    qsort(r, (size_t)n, sizeof *r, by_score);
    double *place = placements(r, n, s.members, s.others), sum = 0;
    for (int64_t i = 0; i < n; i++)
        if (which[i]) sum += place[i];
    s.auc = sum / (double)s.members;
    double of_members = variance(place, which, true, n, s.members) / (double)s.members;
    double of_others = variance(place, which, false, n, s.others) / (double)s.others;
    s.interval = roc_widen(logit_interval(s.auc, of_members + of_others), s.auc, s.members < s.others ? s.members : s.others);
    struct roc_above above = above_of(r, n, s.members, s.others);
    for (int k = 0; k < MEMBERSHIP_RATES; k++) {
        struct roc_rate rate = roc_rate(&above, 1, membership_fpr[k]);
        s.at[k].allowed = roc_allowed(s.others, membership_fpr[k]);
        s.at[k].hits = rate.hits;
        s.at[k].interval = rate.interval;
    }
    free(above.count);
    free(r);
    free(which);
    free(place);
    return s;
}

double *membership_roc(const double *score, const unsigned char *member, int64_t n, int64_t *corners) {
    struct ranked *r = memory_take((size_t)(n + 1) * sizeof *r);
    double *at = memory_zero((size_t)(n + 2) * 2 * sizeof *at);
    int64_t members = 0, hits = 0, alarms = 0, last_hits = 0, last_alarms = 0, count = 1;
    for (int64_t i = 0; i < n; i++) {
        r[i] = (struct ranked){score[i], i, member[i] != 0};
        members += r[i].member;
    }
    qsort(r, (size_t)n, sizeof *r, by_score);
    for (int64_t i = n - 1, next; i >= 0; i = next) {
        int64_t more_hits = 0, more_alarms = 0;
        for (next = i; next >= 0 && r[next].score == r[i].score; next--)
            more_hits += r[next].member, more_alarms += !r[next].member;
        bool straight = count > 1 && more_hits * last_alarms == more_alarms * last_hits;  // goes on as it came: no corner
        hits += more_hits;
        alarms += more_alarms;
        count -= straight;
        at[2 * count] = (double)alarms / (double)(n - members);
        at[2 * count + 1] = (double)hits / (double)members;
        count++;
        last_hits = more_hits;
        last_alarms = more_alarms;
    }
    free(r);
    *corners = count;
    return at;
}

void membership_save(const struct membership *s, json_t *record, const char *path) {
    char name[96];
#define KEY(...) (snprintf(name, sizeof name, __VA_ARGS__), name)
    record_estimate(record, KEY("%s.auc", path), s->auc, s->interval);
    record_int(record, KEY("%s.members", path), s->members);
    record_int(record, KEY("%s.others", path), s->others);
    for (int k = 0; k < MEMBERSHIP_RATES; k++) {
        double rate = (double)s->at[k].hits / (double)s->members;
        record_estimate(record, KEY("%s.tpr_at_fpr_%s", path, membership_fpr_key[k]), rate, s->at[k].interval);
        record_int(record, KEY("%s.false_positives_at_fpr_%s", path, membership_fpr_key[k]), s->at[k].allowed);
    }
#undef KEY
}

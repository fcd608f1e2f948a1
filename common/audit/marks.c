// marks.c: marks against the truth and everything else.
#include "marks.h"

#include <math.h>
#include <stdlib.h>

#include "../base/arena.h"
#include "../io/record.h"
#include "ncc.h"

enum { AMONG_ROWS = 256 };

struct judging {
    const struct images *among;
    struct ncc_side marked;
    float *nearest;  // [workers, marked]: the largest NCC that a worker has met
};

static void look_among(void *data, long chunk, int worker) {
    const struct judging *g = data;
    int64_t from = chunk * AMONG_ROWS, index[AMONG_ROWS] = {0};
    int64_t rows = g->among->count - from < AMONG_ROWS ? g->among->count - from : AMONG_ROWS;
    for (int64_t i = 0; i < rows; i++) index[i] = from + i;
    float *x = ncc_centred(g->among, index, rows), *ncc = memory_take((size_t)(rows * g->marked.count) * sizeof *ncc);
    float *nearest = g->nearest + worker * g->marked.count;
    ncc_products(x, rows, &g->marked, ncc);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < g->marked.count; j++) nearest[j] = fmaxf(nearest[j], ncc[i * g->marked.count + j]);
    free(x);
    free(ncc);
}

static struct images *marked_images(const struct images *candidates, int64_t count) {
    float *x;
    struct images *marked = images_made(candidates, "marked", count, &x);
    for (int64_t j = 0, k = 0; j < candidates->count; j++)
        if (candidates->certified[j]) images_row(candidates, j, x + k++ * candidates->size);
    return marked;
}

bool marks_judge(const struct control *s, const struct scorecard_match *m, const struct images *candidates,
                     const struct images *among, struct marks *out, struct error *e) {
    *out = (struct marks){.verdict = memory_zero((size_t)candidates->count)};
    if (!among) among = s->held_out;
    BUG_IF(!candidates->certified || m->candidates != candidates->count, "marks of other candidates");
    if (!images_agree(s->truth, among, e)) return false;
    for (int64_t j = 0; j < candidates->count; j++) out->count += candidates->certified[j];
    if (!out->count) return true;
    struct images *marked = marked_images(candidates, out->count);
    long chunks = (long)((among->count + AMONG_ROWS - 1) / AMONG_ROWS);
    int64_t workers = pool_threads(s->pool);
    struct judging g = {among, ncc_side_of(marked, out->count), memory_take((size_t)(workers * out->count) * sizeof *g.nearest)};
    for (int64_t i = 0; i < workers * out->count; i++) g.nearest[i] = -INFINITY;
    pool_run(s->pool, chunks, look_among, &g);
    unsigned char *named = memory_zero((size_t)s->n);
    for (int64_t j = 0, k = 0; j < candidates->count; j++) {
        if (!candidates->certified[j]) continue;
        float other = -INFINITY;
        for (int64_t w = 0; w < workers; w++) other = fmaxf(other, g.nearest[w * out->count + k]);
        k++;
        // The member itself, where it is among them, comes as near and no nearer.
        out->verdict[j] = m->member_ncc[j] >= MARKS_BAR && other <= m->member_ncc[j] + NCC_ROUNDING;
        out->right += out->verdict[j];
        if (out->verdict[j]) named[m->member[j]] = 1;
    }
    for (int64_t i = 0; i < s->n; i++) out->members += named[i];
    free(named);
    ncc_side_free(&g.marked);
    free(g.nearest);
    images_free(marked);
    return true;
}

void marks_save(int64_t count, int64_t right, int64_t members, json_t *record) {
    record_int(record, "metrics.certified.count", count);
    record_int(record, "metrics.certified.right", right);
    record_int(record, "metrics.certified.members", members);
    record_rate(record, "metrics.certified.precision", (long)right, (long)count);
}

void marks_pool(const struct blob *const *score, int scores, json_t *record) {
    static const char *const key[] = {"metrics.certified.count", "metrics.certified.right", "metrics.certified.members"};
    enum { KEYS = sizeof key / sizeof *key, MOST = 1 << 30 };
    int64_t sum[KEYS] = {0};
    for (int i = 0; i < scores; i++) {
        double value[KEYS];
        for (int k = 0; k < KEYS; k++)
            if (!record_get_real(score[i]->record, key[k], &value[k]) || !(value[k] >= 0 && value[k] <= MOST)) return;
        if (value[1] > value[0]) return;
        for (int k = 0; k < KEYS; k++) sum[k] += (int64_t)value[k];
    }
    marks_save(sum[0], sum[1], sum[2], record);
}

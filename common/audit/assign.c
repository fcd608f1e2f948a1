// assign.c: shortest augmenting paths. Inside, costs are negated gains and rows are never more than columns.
#include "assign.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/error.h"

struct search {
    const float *gain;
    int64_t stride, rows, cols;
    int64_t *col, *row;   // [rows], [cols]: the partner, or -1
    double *u, *v;        // duals: -gain_ij - u_i - v_j >= 0, 0 where matched; v <= 0, 0 where unmatched
    double *distance;     // [cols]: of the shortest path found to a column
    int64_t *before;      // [cols]: the row it comes from
    int64_t *open;        // [cols]: columns whose shortest path is not known yet
    int64_t *done;        // [cols]: those where it is, in the order they were found
};

// The best column of each row is right for it alone: those rows that find theirs free need no search.
static void start(struct search *s) {
    for (int64_t j = 0; j < s->cols; j++) s->row[j] = -1;
    for (int64_t i = 0; i < s->rows; i++) {
        const float *g = s->gain + i * s->stride;
        int64_t best = -1;
        s->col[i] = -1;
        for (int64_t j = 0; j < s->cols; j++) {
            BUG_IF(!isfinite(g[j]), "gain %lld, %lld is %g", (long long)i, (long long)j, (double)g[j]);
            if (best < 0 || g[j] > g[best] || (g[j] == g[best] && s->row[best] >= 0 && s->row[j] < 0)) best = j;
        }
        s->u[i] = -g[best];
        if (s->row[best] >= 0) continue;
        s->row[best] = i;
        s->col[i] = best;
    }
}

// Dijkstra from a free row to the nearest free column, then the duals that keep all reduced costs >= 0, then the path.
static void augment(struct search *s, int64_t from) {
    int64_t open = s->cols, done = 0, i = from, sink = -1;
    double reached = 0;  // length of the shortest path to row i
    for (int64_t j = 0; j < s->cols; j++) {
        s->open[j] = j;
        s->distance[j] = INFINITY;
    }
    while (sink < 0) {
        const float *g = s->gain + i * s->stride;
        double base = reached - s->u[i], least = INFINITY;
        int64_t at = -1;
        for (int64_t k = 0; k < open; k++) {
            int64_t j = s->open[k];
            double d = base - g[j] - s->v[j];
            if (d < s->distance[j]) {
                s->distance[j] = d;
                s->before[j] = i;
            }
            // Of equal columns a free one ends the search.
            if (s->distance[j] < least || (s->distance[j] == least && s->row[j] < 0)) {
                least = s->distance[j];
                at = k;
            }
        }
        int64_t j = s->open[at];
        s->open[at] = s->open[--open];
        s->done[done++] = j;
        reached = least;
        if (s->row[j] < 0)
            sink = j;
        else
            i = s->row[j];
    }
    s->u[from] += reached;
    for (int64_t k = 0; k < done; k++) {
        int64_t j = s->done[k];
        double slack = reached - s->distance[j];
        if (s->row[j] >= 0) s->u[s->row[j]] += slack;
        s->v[j] -= slack;
    }
    for (int64_t j = sink, next; j >= 0; j = next) {
        int64_t owner = s->before[j];
        next = s->col[owner];
        s->row[j] = owner;
        s->col[owner] = j;
    }
}

static void solve(struct search *s) {
    start(s);
    for (int64_t i = 0; i < s->rows; i++)
        if (s->col[i] < 0) augment(s, i);
}

double assign_best(const float *gain, int64_t stride, int64_t rows, int64_t cols, int64_t *col, double *u, double *v) {
    struct arena a = {0};
    bool turned = rows > cols;
    struct search s = {.gain = gain, .stride = stride, .rows = turned ? cols : rows, .cols = turned ? rows : cols};
    for (int64_t i = 0; i < rows; i++) col[i] = -1;
    if (turned) {
        float *t = arena_take(&a, (size_t)(rows * cols + 1) * sizeof *t);
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < cols; j++) t[j * rows + i] = gain[i * stride + j];
        s.gain = t;
        s.stride = rows;
    }
    s.col = arena_take(&a, (size_t)(s.rows + 1) * sizeof *s.col);
    s.row = arena_take(&a, (size_t)(s.cols + 1) * sizeof *s.row);
    s.u = arena_take(&a, (size_t)(s.rows + 1) * sizeof *s.u);
    s.v = arena_take(&a, (size_t)(s.cols + 1) * sizeof *s.v);
    s.distance = arena_take(&a, (size_t)(s.cols + 1) * sizeof *s.distance);
    s.before = arena_take(&a, (size_t)(s.cols + 1) * sizeof *s.before);
    s.open = arena_take(&a, (size_t)(s.cols + 1) * sizeof *s.open);
    s.done = arena_take(&a, (size_t)(s.cols + 1) * sizeof *s.done);
    solve(&s);
    double sum = 0;
    for (int64_t i = 0; i < s.rows; i++) {
        int64_t j = s.col[i];
        sum += s.gain[i * s.stride + j];
        col[turned ? j : i] = turned ? i : j;
    }
    double *short_side = turned ? v : u, *long_side = turned ? u : v;
    for (int64_t i = 0; i < s.rows && short_side; i++) short_side[i] = -s.u[i];
    for (int64_t j = 0; j < s.cols && long_side; j++) long_side[j] = s.v[j] < 0 ? -s.v[j] : 0;
    arena_free(&a);
    return sum;
}

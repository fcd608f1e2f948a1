// box.c: projected L-BFGS. A variable at its bound whose slope points outwards is held there; the others take the
// quasi-Newton step of the last pairs, seen in these variables alone.
#include "box.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "../base/error.h"

enum { PAIRS = 10 };

struct memory {
    int count, next;
    double s[PAIRS][BOX_VARIABLES], y[PAIRS][BOX_VARIABLES];
};

static double dot(const double *a, const double *b, const bool *held, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += held && held[i] ? 0 : a[i] * b[i];
    return sum;
}

// The two loops (Nocedal & Wright 2006, algorithm 7.4): d = -H g in the free variables.
static void direction(const struct memory *m, const double *g, const bool *held, int n, double *d) {
    double a[PAIRS], scale = 1;
    bool scaled = false;
    for (int i = 0; i < n; i++) d[i] = held[i] ? 0 : -g[i];
    for (int k = 1; k <= m->count; k++) {  // the newest first
        int at = (m->next + PAIRS - k) % PAIRS;
        double curvature = dot(m->s[at], m->y[at], held, n), size = dot(m->y[at], m->y[at], held, n);
        a[at] = NAN;
        if (!(curvature > 1e-10 * size)) continue;  // bent downwards in the variables that are left
        a[at] = dot(m->s[at], d, held, n) / curvature;
        for (int i = 0; i < n; i++) d[i] -= held[i] ? 0 : a[at] * m->y[at][i];
        if (!scaled) scale = curvature / size;
        scaled = true;
    }
    for (int i = 0; i < n; i++) d[i] *= scale;
    for (int k = m->count; k >= 1; k--) {
        int at = (m->next + PAIRS - k) % PAIRS;
        if (isnan(a[at])) continue;
        double b = dot(m->y[at], d, held, n) / dot(m->s[at], m->y[at], held, n);
        for (int i = 0; i < n; i++) d[i] += held[i] ? 0 : (a[at] - b) * m->s[at][i];
    }
}

static void remember(struct memory *m, const double *x, const double *g, const double *x2, const double *g2, int n) {
    double *s = m->s[m->next], *y = m->y[m->next];
    for (int i = 0; i < n; i++) {
        s[i] = x2[i] - x[i];
        y[i] = g2[i] - g[i];
    }
    if (!(dot(s, y, NULL, n) > 0)) return;
    m->next = (m->next + 1) % PAIRS;
    if (m->count < PAIRS) m->count++;
}

double box_minimise(const struct box *b, double *x, int calls) {
    double g[BOX_VARIABLES], d[BOX_VARIABLES], x2[BOX_VARIABLES], g2[BOX_VARIABLES];
    bool held[BOX_VARIABLES];
    struct memory m = {0};
    int n = b->n;
    BUG_IF(n > BOX_VARIABLES, "%d variables", n);
    for (int i = 0; i < n; i++) x[i] = fmin(fmax(x[i], b->low[i]), b->high[i]);
    double f = b->value(b->data, x, g);
    for (calls--; isfinite(f) && calls > 0;) {
        double steepest = 0, slope = 0;
        for (int i = 0; i < n; i++) {
            held[i] = (x[i] <= b->low[i] && g[i] > 0) || (x[i] >= b->high[i] && g[i] < 0);
            steepest = held[i] ? steepest : fmax(steepest, fabs(g[i]));
        }
        if (!(steepest > 1e-7 * fmax(1, fabs(f)))) break;
        direction(&m, g, held, n, d);
        slope = dot(g, d, held, n);
        if (!(slope < 0)) {
            m.count = 0;
            direction(&m, g, held, n, d);
        }
        // Without a memory nothing says how far: a tenth of the box along the steepest variable.
        double t = 1, f2 = INFINITY, gain = 0;
        if (!m.count) {
            double widest = 0;
            for (int i = 0; i < n; i++) widest = fmax(widest, b->high[i] - b->low[i]);
            t = fmin(1, .1 * widest / steepest);
        }
        for (; calls > 0 && t > 1e-12; t *= isfinite(f2) ? .3 : .1) {
            for (int i = 0; i < n; i++) x2[i] = fmin(fmax(x[i] + t * d[i], b->low[i]), b->high[i]);
            gain = 0;
            for (int i = 0; i < n; i++) gain += g[i] * (x2[i] - x[i]);
            f2 = b->value(b->data, x2, g2);
            calls--;
            if (f2 <= f + 1e-4 * gain) break;  // Armijo's condition along the projected path
        }
        if (!(f2 <= f + 1e-4 * gain)) {
            if (!m.count) break;
            m.count = 0;  // once more, along the slope alone
            continue;
        }
        remember(&m, x, g, x2, g2, n);
        double before = f;
        f = f2;
        memcpy(x, x2, (size_t)n * sizeof *x);
        memcpy(g, g2, (size_t)n * sizeof *g);
        if (before - f <= 1e-11 * fmax(1, fabs(f))) break;
    }
    return f;
}

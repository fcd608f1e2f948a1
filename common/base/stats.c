// stats.c: intervals and sums that results are printed with.
//
// The incomplete beta function is the continued fraction of DiDonato & Morris 1992 ("Algorithm 708", BFRAC) by
// Lentz's method; it takes x and 1 - x apart, so rates like 3 in a million keep their digits. Its prefactor
// x^a (1-x)^b / B(a, b) is Loader's saddle-point form of the binomial density (C. Loader 2000, "Fast and
// accurate computation of binomial probabilities"): differences of log-gammas lose nine digits for a million
// trials, this loses none.
#include "stats.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "error.h"

// ln n! minus Stirling's formula: lgamma(n + 1) - (n + 1/2) ln n + n - ln(2 pi) / 2.
static double stirling_rest(double n) {
    if (n < 16) {
        int sign;
        return lgamma_r(n + 1, &sign) - (n + 0.5) * log(n) + n - 0.918938533204672741780329736406;
    }
    double m = 1 / (n * n);
    return (1.0 / 12 - m * (1.0 / 360 - m * (1.0 / 1260 - m * (1.0 / 1680 - m * (1.0 / 1188 - m * 691 / 360360))))) / n;
}

// x ln(x / m) + m - x, without cancellation near x = m: d is m - x, exact where it is small.
static double deviance(double x, double m, double d) {
    if (fabs(d) > 0.1 * (x + m))
        return d - x * log(m / x);
    double v = -d / (x + m), sum = -d * v, term = 2 * x * v;
    for (int j = 3;; j += 2) {
        term *= v * v;
        double next = sum + term / j;
        if (next == sum)
            return sum;
        sum = next;
    }
}

// x^a y^b / B(a, b) with y = 1 - x; the smaller of x and y is the exact one.
static double beta_front(double a, double b, double x, double y) {
    double n = a + b, d = x <= y ? n * x - a : b - n * y;
    double exponent = stirling_rest(n) - stirling_rest(a) - stirling_rest(b) - deviance(a, n * x, d) -
                      deviance(b, n * y, -d);
    return sqrt(a * b / (2 * M_PI * n)) * exp(exponent);
}

// x^a y^b / B(a, b) / I_x(a, b).
static double beta_fraction(double a, double b, double x, double y) {
    double f = 0, c = 0, d = 0;
    // It converges within a few times sqrt(max(a, b)) terms on the side of the mean where it is used.
    for (double m = 0; m < 1e7; m++) {
        double over = (a + m - 1) * (a + b + m - 1) * m * (b - m) * x * x / ((a + 2 * m - 1) * (a + 2 * m - 1));
        double plain = m + m * (b - m) * x / (a + 2 * m - 1) +
                       (a + m) * (a * y - b * x + 1 + m * (1 + y)) / (a + 2 * m + 1);
        if (m == 0) {
            f = c = plain = a * (a * y - b * x + 1) / (a + 1);
            continue;
        }
        d = 1 / (plain + over * d);
        c = plain + over / c;
        f *= c * d;
        if (fabs(c * d - 1) < 2e-16)
            break;
    }
    return f;
}

// I_x(a, b) with y = 1 - x given apart, so that neither end loses digits.
static double beta_xy(double a, double b, double x, double y) {
    if (x <= 0)
        return 0;
    if (y <= 0)
        return 1;
    double front = beta_front(a, b, x, y);
    if (x <= (a + 1) / (a + b + 2))
        return front / beta_fraction(a, b, x, y);
    return 1 - front / beta_fraction(b, a, y, x);
}

double stats_beta(double a, double b, double x) {
    BUG_IF(!(a > 0 && b > 0 && x >= 0 && x <= 1), "beta(%g, %g) at %g", a, b, x);
    return beta_xy(a, b, x, 1 - x);
}

// The x with I_x(a, b) = p, where p + q = 1 and the smaller of the two is exact. The unknown is whichever of x
// and 1 - x is the small one, and the tail whichever is the smaller, so that neither loses digits. Newton on the
// logarithm of the tail against that of x, both near straight lines far out; halving where a step leaves the bracket.
static double beta_solve(double a, double b, double p, double q) {
    if (a > b)
        return 1 - beta_solve(b, a, q, p);
    bool lower = p <= q;
    double target = lower ? p : q, low = 0, high = 1, x = a / (a + b);
    for (int i = 0; i < 400; i++) {
        double value = lower ? beta_xy(a, b, x, 1 - x) : beta_xy(b, a, 1 - x, x);
        if ((value < target) == lower)
            low = x;
        else
            high = x;
        double slope = beta_front(a, b, x, 1 - x) / ((1 - x) * value);  // |d ln tail / d ln x|
        double next = x * exp((lower ? 1 : -1) * log(target / value) / slope);
        if (!(next > low && next < high)) {
            // The geometric mean reaches roots like 1e-200 as fast as 1e-2.
            next = low > 0 ? sqrt(low) * sqrt(high) : high * 1e-3;
            if (!(next > low && next < high) || next < 1e-300)
                return x;
        }
        if (fabs(next - x) <= 2e-16 * x)
            return next;
        x = next;
    }
    return x;
}

double stats_beta_inverse(double a, double b, double p) {
    BUG_IF(!(a > 0 && b > 0 && p >= 0 && p <= 1), "inverse beta(%g, %g) at %g", a, b, p);
    return p == 0 || p == 1 ? p : beta_solve(a, b, p, 1 - p);
}

double stats_normal_cdf(double z) {
    return 0.5 * erfc(-z * M_SQRT1_2);
}

// Abramowitz & Stegun 26.2.23 (error below 4.5e-4), then Halley's cubic steps on the distribution itself.
double stats_normal_quantile(double p) {
    BUG_IF(!(p > 0 && p < 1), "normal quantile of %g", p);
    if (p > 0.5)
        return -stats_normal_quantile(1 - p);
    double t = sqrt(-2 * log(p));
    double z = (2.515517 + t * (0.802853 + t * 0.010328)) / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308))) - t;
    for (int i = 0; i < 3; i++) {
        double u = (stats_normal_cdf(z) - p) * sqrt(2 * M_PI) * exp(z * z / 2);
        z -= u / (1 + z * u / 2);
    }
    return z;
}

struct interval stats_clopper_pearson(long k, long n, double level) {
    BUG_IF(n < 0 || k < 0 || k > n || !(level > 0 && level < 1), "%ld of %ld at level %g", k, n, level);
    double tail = (1 - level) / 2, x = (double)k, y = (double)(n - k);
    return (struct interval){
        .low = k == 0 ? 0 : beta_solve(x, y + 1, tail, 1 - tail),
        .high = k == n ? 1 : beta_solve(x + 1, y, 1 - tail, tail),
    };
}

// Eight running sums over at most 128 values, then halves: the order is a function of n alone.
enum { SUM_BASE = 128 };

double stats_sum(const double *x, long n) {
    if (n > SUM_BASE) {
        long half = n / 2 / 8 * 8;
        return stats_sum(x, half) + stats_sum(x + half, n - half);
    }
    double s[8] = {0};
    long i = 0;
    for (; i + 8 <= n; i += 8)
        for (int lane = 0; lane < 8; lane++)
            s[lane] += x[i + lane];
    for (int lane = 0; i < n; i++, lane++)
        s[lane] += x[i];
    return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double stats_median(double *x, long n) {
    if (!n) return NAN;
    qsort(x, (size_t)n, sizeof *x, ascending);
    double low = x[(n - 1) / 2], high = x[n / 2];
    return low == high ? low : (low + high) / 2;
}

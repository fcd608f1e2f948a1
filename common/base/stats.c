// stats.c: intervals and sums that results are printed with.
//
// The incomplete beta function is the continued fraction of DLMF 8.17.22 by Lentz's method. Its prefactor
// x^a (1-x)^b / B(a, b) is Loader's saddle-point form of the binomial density (C. Loader 2000, "Fast and
// accurate computation of binomial probabilities"): differences of log-gammas lose nine digits for a million
// trials, this loses none.
#include "stats.h"

#include <math.h>
#include <stdlib.h>

#include "error.h"

// ln n! minus Stirling's formula: lgamma(n + 1) - (n + 1/2) ln n + n - ln(2 pi) / 2.
static double stirling_rest(double n)
{
    if (n < 16) {
        int sign;
        return lgamma_r(n + 1, &sign) - (n + 0.5) * log(n) + n - 0.918938533204672741780329736406;
    }
    double m = 1 / (n * n);
    return (1.0 / 12 - m * (1.0 / 360 - m * (1.0 / 1260 - m * (1.0 / 1680 - m * (1.0 / 1188 - m * 691 / 360360))))) / n;
}

// x ln(x / m) + m - x without cancellation near x = m.
static double deviance(double x, double m)
{
    if (fabs(x - m) > 0.1 * (x + m))
        return x * log(x / m) + m - x;
    double v = (x - m) / (x + m), sum = (x - m) * v, term = 2 * x * v;
    for (int j = 3;; j += 2) {
        term *= v * v;
        double next = sum + term / j;
        if (next == sum)
            return sum;
        sum = next;
    }
}

// x^a y^b / B(a, b) with y = 1 - x.
static double beta_front(double a, double b, double x, double y)
{
    double n = a + b;
    double exponent = stirling_rest(n) - stirling_rest(a) - stirling_rest(b) - deviance(a, n * x) - deviance(b, n * y);
    return sqrt(a * b / (2 * M_PI * n)) * exp(exponent);
}

static double beta_fraction(double a, double b, double x)
{
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1);
    d = 1 / (fabs(d) < tiny ? tiny : d);
    double f = d;
    // It converges within a few times sqrt(max(a, b)) terms on the side of the mean where it is used.
    for (double m = 1; m < 1e7; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        d = 1 + even * d;
        c = 1 + even / c;
        d = 1 / (fabs(d) < tiny ? tiny : d);
        c = fabs(c) < tiny ? tiny : c;
        f *= c * d;
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        d = 1 + odd * d;
        c = 1 + odd / c;
        d = 1 / (fabs(d) < tiny ? tiny : d);
        c = fabs(c) < tiny ? tiny : c;
        f *= c * d;
        if (fabs(c * d - 1) < 2e-16)
            break;
    }
    return f;
}

// I_x(a, b) with y = 1 - x given apart, so that neither end loses digits.
static double beta_xy(double a, double b, double x, double y)
{
    if (x <= 0)
        return 0;
    if (y <= 0)
        return 1;
    double front = beta_front(a, b, x, y);
    if (x <= (a + 1) / (a + b + 2))
        return front * beta_fraction(a, b, x) / a;
    return 1 - front * beta_fraction(b, a, y) / b;
}

double stats_beta(double a, double b, double x)
{
    BUG_IF(!(a > 0 && b > 0 && x >= 0 && x <= 1), "beta(%g, %g) at %g", a, b, x);
    return beta_xy(a, b, x, 1 - x);
}

// For p <= 1/2: Newton on ln I against ln x, which is concave, so it comes to the root from below in big
// steps; halving of the bracket where a step leaves it.
static double lower_inverse(double a, double b, double p)
{
    double low = 0, high = 1, x = a / (a + b);
    for (int i = 0; i < 400; i++) {
        double value = beta_xy(a, b, x, 1 - x);
        if (value < p)
            low = x;
        else
            high = x;
        double slope = value > 0 ? beta_front(a, b, x, 1 - x) / ((1 - x) * value) : 0;  // d ln I / d ln x
        double next = slope > 0 ? x * exp(log(p / value) / slope) : 0;
        if (!(next > low && next < high)) {
            // The geometric mean reaches roots like 1e-200 as fast as 1e-2.
            next = low > 0 ? sqrt(low) * sqrt(high) : high * 1e-3;
            if (high < 1e-300)
                return 0;
            if (!(next > low && next < high))
                return x;
        }
        if (fabs(next - x) <= 2e-16 * x)
            return next;
        x = next;
    }
    return x;
}

double stats_beta_inverse(double a, double b, double p)
{
    BUG_IF(!(a > 0 && b > 0 && p >= 0 && p <= 1), "inverse beta(%g, %g) at %g", a, b, p);
    if (p == 0 || p == 1)
        return p;
    return p <= 0.5 ? lower_inverse(a, b, p) : 1 - lower_inverse(b, a, 1 - p);
}

double stats_normal_cdf(double z)
{
    return 0.5 * erfc(-z * M_SQRT1_2);
}

// Abramowitz & Stegun 26.2.23 (error below 4.5e-4), then Halley's cubic steps on the distribution itself.
double stats_normal_quantile(double p)
{
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

struct interval stats_clopper_pearson(long k, long n, double level)
{
    BUG_IF(n < 0 || k < 0 || k > n || !(level > 0 && level < 1), "%ld of %ld at level %g", k, n, level);
    double tail = (1 - level) / 2, x = (double)k, y = (double)(n - k);
    return (struct interval){
        .low = k == 0 ? 0 : stats_beta_inverse(x, y + 1, tail),
        .high = k == n ? 1 : 1 - stats_beta_inverse(y, x + 1, tail),
    };
}

// Eight running sums over at most 128 values, then halves: the order is a function of n alone.
enum { SUM_BASE = 128 };
#define PAIRWISE(name, type)                                                             \
    double name(const type *x, long n)                                                   \
    {                                                                                    \
        if (n > SUM_BASE) {                                                              \
            long half = n / 2 / 8 * 8;                                                   \
            return name(x, half) + name(x + half, n - half);                             \
        }                                                                                \
        double s[8] = {0};                                                               \
        long i = 0;                                                                      \
        for (; i + 8 <= n; i += 8)                                                       \
            for (int lane = 0; lane < 8; lane++)                                         \
                s[lane] += (double)x[i + lane];                                          \
        for (int lane = 0; i < n; i++, lane++)                                           \
            s[lane] += (double)x[i];                                                     \
        return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));        \
    }
PAIRWISE(stats_sum, double)
PAIRWISE(stats_sum_float, float)

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return isnan(x) || isnan(y) ? !!isnan(x) - !!isnan(y) : (x > y) - (x < y);  // NaN last
}

double stats_median(double *x, long n)
{
    BUG_IF(n <= 0, "median of %ld values", n);
    qsort(x, (size_t)n, sizeof *x, ascending);
    return n % 2 ? x[n / 2] : x[n / 2 - 1] + (x[n / 2] - x[n / 2 - 1]) / 2;
}

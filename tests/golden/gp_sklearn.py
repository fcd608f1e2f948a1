# Prints the values that tests/unit/test_gp.c compares with: scikit-learn's GaussianProcessRegressor (Debian 12's
# python3-sklearn, 1.2.1) with its kernel given and not fitted.
#
#   /usr/bin/python3 tests/golden/gp_sklearn.py
import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

N, D, M, NOISE = 12, 3, 4, .01
# Points that both sides can write down: multiples of powers of the golden ratio's kin, modulo 1.
x = np.array([[((i + 1) * s) % 1 for s in (.8191725133961645, .6710436067037893, .5497004779019703)] for i in range(N)])
y = np.array([np.sin(7 * a) + 2 * b * b - a * c for a, b, c in x])
at = np.array([[((i + .5) * s) % 1 for s in (.37, .73, .91)] for i in range(M)])
kernel = ConstantKernel(1.7) * Matern([.3, .8, 2.5], nu=2.5) + WhiteKernel(NOISE)
g = GaussianProcessRegressor(kernel, alpha=0, optimizer=None, normalize_y=True).fit(x, y)
mean, sd = g.predict(at, return_std=True)
sd = np.sqrt(sd ** 2 - NOISE * np.std(y) ** 2)  # of the function: scikit-learn's holds the noise of an observation too
value, slope = g.log_marginal_likelihood(g.kernel_.theta, eval_gradient=True)
for name, v in ("mean", mean), ("sd", sd), ("likelihood", [value]), ("slope", slope):
    print(f"{name} = {{" + ", ".join(repr(float(e)) for e in v) + "}")

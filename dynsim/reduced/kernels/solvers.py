"""What solvers of flows do with their arrays, in a fixed order of operations (reduced/lsoda.py, reduced/dop853.py).

history (orders + 1, n): h^j / j! times the j-th derivative of y (Nordsieck). weight (n,): one over the error allowed in every
entry. `found` (n,): what corrections have added to h dy/dt so far.
"""

import numpy as np
from numba import njit

from dynsim.reduced.kernels.elementary import exp, log
from dynsim.reduced.kernels.quadrature import dot, inner
from dynsim.reduced.kernels.simd import WIDTH, broadcast, fma, load_at, load_head, store_at


@njit(cache=True, nogil=True, error_model="numpy")
def root(x, k):
    """The k-th root of x >= 0."""
    return exp(log(x) / k)


@njit(cache=True, nogil=True, error_model="numpy")
def clear(out):
    """Zeros."""
    for i in range(out.size):
        out[i] = 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def copy(v, out):
    """The same entries."""
    for i in range(v.size):
        out[i] = v[i]


@njit(cache=True, nogil=True, error_model="numpy")
def multiply(v, factor, out):
    """A multiple."""
    for i in range(v.size):
        out[i] = factor * v[i]


@njit(cache=True, nogil=True, error_model="numpy")
def subtract(v, w, out):
    """The difference."""
    for i in range(v.size):
        out[i] = v[i] - w[i]


@njit(cache=True, nogil=True, error_model="numpy")
def norm(v, weight):
    """Largest entry by its weight."""
    most = 0.0
    for i in range(v.size):
        size = abs(v[i]) * weight[i]
        if not size <= most:
            if size != size:
                return size
            most = size
    return most


@njit(cache=True, nogil=True, error_model="numpy")
def rms(v, weight):
    """Root mean square of entries by their weight."""
    scaled = v * weight
    return np.sqrt(dot(scaled, scaled) / v.size)


@njit(cache=True, nogil=True, error_model="numpy")
def step(y, h, slopes, weights, count):
    """y + h times the weighted sum of the first `count` slopes (stages, n)."""
    n = y.size
    out = np.empty(n)
    flat = slopes.reshape(-1)
    for i in range(0, n, WIDTH):
        total = broadcast(0.0)
        for s in range(count):
            total = fma(weights[s], load_head(flat, s * n + i, n - i, total, 0.0), total)
        x = fma(h, total, load_head(y, i, n - i, total, 0.0))
        if i + WIDTH <= n:
            store_at(out, i, x)
        else:
            last = np.empty(WIDTH)
            store_at(last, 0, x)
            out[i:] = last[: n - i]
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def set_weights(y, rtol, atol, weight):
    """One over rtol |y| + atol."""
    for i in range(y.size):
        weight[i] = 1.0 / (rtol * abs(y[i]) + atol[i])


@njit(cache=True, nogil=True, error_model="numpy")
def largest(v):
    """Largest entry, in size; nan where there is one."""
    most = 0.0
    for i in range(v.size):
        if not abs(v[i]) <= most:
            most = abs(v[i])
            if most != most:
                return most
    return most


@njit(cache=True, nogil=True, error_model="numpy")
def within(v, limit):
    """The entries, held to +-limit; copied."""
    y = v.copy()
    for i in range(y.size):
        if y[i] < -limit:
            y[i] = -limit
        elif y[i] > limit:
            y[i] = limit
    return y


@njit(cache=True, nogil=True, error_model="numpy")
def on_clock(dY, speed, t0, tau):
    """Turn dy/dt, all but the last entry of dY, into (dy/ds, dtau/ds) with dt/ds = 1 / (speed + 1 / (t + t0))."""
    pace = t0 * exp(min(tau, 700.0))
    last = dY.size - 1
    dY[last] = 1.0 / (1.0 + pace * speed)
    pace *= dY[last]
    for i in range(last):
        dY[i] *= pace


@njit(cache=True, nogil=True, error_model="numpy")
def predict(history, order, weight, y, found):
    """One step ahead along the polynomial: y there, nothing found yet; its norm."""
    for k in range(order):
        for j in range(order - 1, k - 1, -1):
            for i in range(history.shape[1]):
                history[j, i] += history[j + 1, i]
    for i in range(y.size):
        y[i] = history[0, i]
        found[i] = 0.0
    return norm(y, weight)


@njit(cache=True, nogil=True, error_model="numpy")
def retract(history, order):
    """One step back."""
    for k in range(order):
        for j in range(order - 1, k - 1, -1):
            for i in range(history.shape[1]):
                history[j, i] -= history[j + 1, i]


@njit(cache=True, nogil=True, error_model="numpy")
def rescale(history, order, factor):
    """Turn to a step that is longer by a factor."""
    power = 1.0
    for j in range(1, order + 1):
        power *= factor
        for i in range(history.shape[1]):
            history[j, i] *= power


@njit(cache=True, nogil=True, error_model="numpy")
def iterate(history, first, h, f, found, y, weight):
    """A functional iteration: `found` and y anew from f = dy/dt, which is overwritten; the norm of the change of `found`."""
    for i in range(y.size):
        correction = h * f[i] - history[1, i]
        y[i] = history[0, i] + first * correction
        f[i] = correction - found[i]
        found[i] = correction
    return norm(f, weight)


@njit(cache=True, nogil=True, error_model="numpy")
def newton(history, first, h, f, found, y, weight, matrix, share):
    """The same by a Newton iteration, with the `matrix` of `factorise`; share: of the correction, what is taken. 2 / (1 + ratio)
    serves where h first J has changed by a ratio since (Brown, Byrne and Hindmarsh 1989)."""
    J, columns, pace, scale, factors, pivots = matrix
    for i in range(y.size):
        f[i] = h * f[i] - (history[1, i] + found[i])
    m, size = J.shape
    x, moved, zero = np.empty(m), np.empty(size), broadcast(0.0)
    for i in range(m):
        x[i] = f[columns[i]]
    solve(factors, pivots, x)
    for i in range(0, size if m < f.size else 0, WIDTH):
        sums = zero
        for j in range(m):
            sums = fma(x[j], load_at(J, j * size + i, zero), sums)
        store_at(moved, i, sums)
    for i in range(f.size if m < f.size else 0):
        f[i] += scale * pace[i] * moved[i]
    for i in range(m):
        f[columns[i]] = x[i]
    for i in range(y.size):
        f[i] *= share
        found[i] += f[i]
        y[i] = history[0, i] + first * found[i]
    return norm(f, weight)


@njit(cache=True, nogil=True, error_model="numpy")
def correct(history, order, weights, first, found):
    """Add the correction to the history, by the weights from the first on."""
    for j in range(order + 1):
        for i in range(found.size):
            history[j, i] += weights[first + j] * found[i]


@njit(cache=True, nogil=True, error_model="numpy")
def interpolate(history, lengths, ahead):
    """y at `ahead` of the time of the history, where its rows belong to steps of these lengths."""
    out = history[0].copy()
    for j in range(1, history.shape[0]):
        power = 1.0
        for _ in range(j):
            power *= ahead / lengths[j]
        for i in range(out.size):
            out[i] += power * history[j, i]
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def matrix_norm(J, columns, pace, weight):
    """The norm that goes with `norm` of the matrix that `factorise` calls A."""
    most = 0.0
    for i in range(weight.size):
        total = 0.0
        for j in range(columns.size):
            total += abs(J[j, i]) / weight[columns[j]]
        most = max(most, total * weight[i] * pace[i])
    return most


@njit(cache=True, nogil=True, error_model="numpy")
def faster(pace, before):
    """By how much the fastest entry is faster than that of before."""
    most, last = 0.0, 0.0
    for i in range(pace.size):
        most, last = max(most, pace[i]), max(last, before[i])
    return most / last


@njit(cache=True, nogil=True, error_model="numpy")
def factorise(J, columns, pace, scale, factors, pivots):
    """Triangular factors of 1 - scale A in these rows and columns, with partial pivoting, whole vectors; whether there are any.

    A (n, n): pace (n,) times the rows of a Jacobian that is zero but for some columns. J (m, n'): these, side by side, in whole
    vectors. columns (m,): which they are. factors (m, m'): whole vectors. pivots (m,): the row exchanged with each."""
    n, width, like = columns.size, factors.shape[1], broadcast(0.0)
    for i in range(n):
        for j in range(n):
            factors[i, j] = -scale * pace[columns[i]] * J[j, columns[i]]
        factors[i, i] += 1.0
    right = np.zeros(width)  # of the pivot in its row
    for k in range(n):
        best = k
        for i in range(k + 1, n):
            if abs(factors[i, k]) > abs(factors[best, k]):
                best = i
        pivots[k] = best
        if not abs(factors[best, k]) > 0.0:
            return False
        if best != k:
            for j in range(n):
                factors[k, j], factors[best, j] = factors[best, j], factors[k, j]
        inverse = 1.0 / factors[k, k]
        right[k] = 0.0
        for j in range(k + 1, n):
            right[j] = factors[k, j]
        for i in range(k + 1, n):
            if factors[i, k] != 0.0:
                multiple = factors[i, k] * inverse
                minus = 0.0 - multiple
                for j in range(k // WIDTH * WIDTH, width, WIDTH):
                    at = i * width + j
                    store_at(factors, at, fma(minus, load_at(right, j, like), load_at(factors, at, like)))
                factors[i, k] = multiple
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def solve(factors, pivots, x):
    """Solve with the factors of `factorise`, in place."""
    n, width = x.size, factors.shape[1]
    for k in range(n):
        x[k], x[pivots[k]] = x[pivots[k]], x[k]
    for i in range(n):
        x[i] -= inner(factors, i * width, x, 0, i)
    for i in range(n - 1, -1, -1):
        x[i] = (x[i] - inner(factors, i * width + i + 1, x, i + 1, n - i - 1)) / factors[i, i]

"""Gauss rules from recurrences, in a fixed order of operations: the same bits on every machine, which LAPACK's are not."""

import math
from functools import lru_cache

import numpy as np
from numba import njit

from dynsim.reduced.kernels.simd import WIDTH, broadcast, fma, load_head, total

CONVERGED = 2.0**-56  # of the largest entry: an off-diagonal entry that small changes no eigenvalue


@njit(cache=True, nogil=True, error_model="numpy")
def dot(x, y):
    """Inner product of two arrays (n,)."""
    return inner(x, 0, y, 0, x.size)


@njit(cache=True, nogil=True, error_model="numpy")
def inner(x, at_x, y, at_y, n):
    """Inner product of n consecutive elements of two arrays, from at_x and at_y on."""
    s = broadcast(0.0)
    for i in range(0, n, WIDTH):
        s = fma(load_head(x, at_x + i, n - i, s, 0.0), load_head(y, at_y + i, n - i, s, 0.0), s)
    return total(s)


@njit(cache=True, nogil=True, error_model="numpy")
def gauss_rule(x, weight, nodes):
    """Nodes and weights, (nodes,), of the Gauss rule of a discrete law x, weight: Lanczos on diag(x) from sqrt(weight), with full
    reorthogonalisation."""
    center = dot(weight, x)
    basis = np.empty((nodes + 1, x.size))
    for i in range(x.size):
        basis[0, i] = math.sqrt(weight[i])
    diagonal, off = np.empty(nodes), np.empty(nodes)
    for k in range(nodes):
        image = basis[k + 1]
        for i in range(x.size):
            image[i] = (x[i] - center) * basis[k, i]
        diagonal[k] = dot(basis[k], image)
        for _ in range(2):
            for b in range(k + 1):
                share = dot(basis[b], image)
                for i in range(x.size):
                    image[i] -= share * basis[b, i]
        off[k] = math.sqrt(dot(image, image))
        for i in range(x.size):
            image[i] /= off[k]
    values, first = eigenvalues(diagonal, off)
    for k in range(nodes):
        values[k] += center
        first[k] *= first[k]
    return values, first


@njit(cache=True, nogil=True, error_model="numpy")
def eigenvalues(diagonal, off):
    """Eigenvalues of a symmetric tridiagonal matrix in ascending order, and the first entries of the eigenvectors: QL steps with
    implicit shifts (Golub and Welsch).

    diagonal: (n,). off: (n - 1,), or longer."""
    n = diagonal.size
    d, e, v = np.zeros(n), np.zeros(n), np.zeros(n)
    v[0] = 1.0
    small = 0.0
    for i in range(n):
        d[i] = diagonal[i]
        e[i] = off[i] if i < n - 1 else 0.0
        small = max(small, CONVERGED * abs(d[i]), CONVERGED * abs(e[i]))
    for first in range(n):
        while True:
            last = first
            while last < n - 1 and abs(e[last]) > small:
                last += 1
            if last == first:
                break
            g = 0.5 * (d[first + 1] - d[first]) / e[first]
            r = math.sqrt(g * g + 1.0)
            g = d[last] - d[first] + e[first] / (g + r if g >= 0.0 else g - r)
            s, c, p = 1.0, 1.0, 0.0
            for i in range(last - 1, first - 1, -1):
                f, b = s * e[i], c * e[i]
                r = math.sqrt(f * f + g * g)
                e[i + 1] = r
                if r == 0.0:
                    break
                s, c = f / r, g / r
                g = d[i + 1] - p
                r = (d[i] - g) * s + 2.0 * c * b
                p = s * r
                d[i + 1] = g + p
                g = c * r - b
                v[i], v[i + 1] = c * v[i] - s * v[i + 1], s * v[i] + c * v[i + 1]
            else:
                d[first] -= p
                e[first] = g
                e[last] = 0.0
                continue
            d[i + 1] -= p
            e[last] = 0.0
    for i in range(1, n):  # (NumPy's own would take seconds to compile)
        for k in range(i, 0, -1):
            if d[k] < d[k - 1]:
                d[k], d[k - 1], v[k], v[k - 1] = d[k - 1], d[k], v[k - 1], v[k]
    return d, v


@lru_cache
def hermite(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and probabilities of the Gauss rule of the standard normal law, (nodes,); read-only."""
    rule = eigenvalues(np.zeros(nodes), np.sqrt(np.arange(1.0, nodes)))
    x, weight = rule[0], rule[1] ** 2
    for array in (x, weight):
        array.setflags(write=False)
    return x, weight

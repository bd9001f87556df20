"""Gauss-Legendre nodes and whole powers by +, -, *, / in a fixed order: the same bits on every machine."""

from functools import lru_cache
from math import pi

import numpy as np
from numpy.typing import ArrayLike

NEWTON = 4  # steps; the start is good to 1/n^3 or so, and every step squares the error
COSINE = 14  # terms of its series: the next one is below 1e-24 at pi / 2


@lru_cache
def legendre(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the Gauss-Legendre rule on [-1, 1].

    Parameters
    ----------
    n : int
        Number of nodes.

    Returns
    -------
    x : ndarray of shape (n,)
        Nodes, in ascending order; read-only.
    weight : ndarray of shape (n,)
        Weights, which sum to 2; read-only.

    Notes
    -----
    Newton's method on the polynomial, which its three-term recurrence gives with its derivative, for the nodes in (0, 1); the
    others are their mirror images. Nodes and weights are good to 1e-15.

    Examples
    --------
    >>> from dynsim.model.quadrature import legendre
    >>> x, weight = legendre(3)
    >>> x.round(6).tolist(), weight.round(6).tolist()
    ([-0.774597, 0.0, 0.774597], [0.555556, 0.888889, 0.555556])
    """
    half = n // 2
    x = (1.0 - (n - 1.0) / (8.0 * n**3)) * _cosine(pi * (4.0 * np.arange(1, half + 1) - 1.0) / (4.0 * n + 2.0))
    for _ in range(NEWTON):
        value, slope = _polynomial(n, x)
        x = x - value / slope
    x = np.concatenate([-x, np.zeros(n % 2), x[::-1]])
    _, slope = _polynomial(n, x)
    weight = 2.0 / ((1.0 - x) * (1.0 + x) * slope * slope)
    weight *= 2.0 / weight.sum()
    x.setflags(write=False)
    weight.setflags(write=False)
    return x, weight


def whole_powers(x: ArrayLike, most: int) -> np.ndarray:
    """Return x^0, x^1, .., x^most, factor by factor: the same bits on every machine, unlike those of ``**``.

    Parameters
    ----------
    x : array_like of shape (n,)
        Numbers.
    most : int
        The largest exponent.

    Returns
    -------
    ndarray of shape (most + 1, n)
        A row for each exponent.

    Examples
    --------
    >>> from dynsim.model.quadrature import whole_powers
    >>> whole_powers([2.0, 0.0], 2).tolist()
    [[1.0, 1.0], [2.0, 0.0], [4.0, 0.0]]
    """
    x = np.asarray(x, dtype=float)
    return np.cumprod(np.concatenate([np.ones((1, x.size)), np.tile(x, (most, 1))]), axis=0)


def _polynomial(n: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Legendre's polynomial of degree n and its derivative, at abs(x) < 1."""
    before, value = np.zeros_like(x), np.ones_like(x)
    for k in range(n):
        before, value = value, ((2.0 * k + 1.0) * x * value - k * before) / (k + 1.0)
    return value, n * (before - x * value) / ((1.0 - x) * (1.0 + x))


def _cosine(angle: np.ndarray) -> np.ndarray:
    """Cosine of angles in [0, pi / 2] by its series."""
    total = np.ones_like(angle)
    for k in range(COSINE, 0, -1):
        total = 1.0 - angle * angle / ((2.0 * k - 1.0) * (2.0 * k)) * total
    return total

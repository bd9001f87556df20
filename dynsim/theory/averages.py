"""Averages over amplitudes and masks, and the quadrature, that the closed forms of theory.py are made of.

Amplitudes: E[z^j e^(x z)] in the log domain, with nodes that resolve a sharply tilted law. Masks: with p masked, the others
are N = P - 1 patches of which U are unmasked, so the count among m given ones is hypergeometric; sums of logarithms of
ratios, never differences of log-gammas, which at P = 1e100 cancel to nothing. An own area: A = n e^(z phi) / (n e^(z phi) +
P - n) at a given FP correlation phi, averaged over z and n.
"""

import math
from collections.abc import Callable
from typing import Any, overload

import numpy as np
from scipy import integrate, optimize, special

from dynsim.errors import InputError
from dynsim.model.amplitude import Law, Uniform
from dynsim.model.problem import Problem

DIRECT = 4096  # sums up to this length are taken term by term, longer ones by quadrature
COUNTS = 256  # own areas up to this size: the number of unmasked patches is summed, above it is its mean
GAUSS = np.polynomial.legendre.leggauss(16)


@overload
def tilted(law: Law, power: int, x: float) -> float: ...
@overload
def tilted(law: Law, power: int, x: np.ndarray) -> np.ndarray: ...
def tilted(law: Law, power: int, x: Any) -> Any:
    """log E[z^power e^(x z)]; x may be an array whose members have one sign."""
    largest = np.max(np.abs(x))
    z, weight = amplitude_nodes(law, largest, math.copysign(math.inf, np.sum(x)))
    edge = z.max() if np.sum(x) > 0 else z.min()
    log = np.log(np.exp(np.multiply.outer(x, z - edge)) @ (weight * z**power)) + x * edge
    return log if np.ndim(x) else float(log)


def amplitude_nodes(law: Law, x: float, peak: float) -> tuple[np.ndarray, np.ndarray]:
    """Amplitudes and probabilities, each (nodes,), for averages of what varies over 1 / x around z = `peak` and falls off as
    e^-x|z - peak| away from it. Uniform: Gauss-Legendre on intervals that double away from the peak. Discrete: all values.
    Other laws: their own 64 nodes, enough while x (U - L) < 50."""
    if not isinstance(law, Uniform) or law.L == law.U:
        return law.nodes(64)
    width, peak = law.U - law.L, min(max(peak, law.L), law.U)
    doubling = 4 / max(x, 4 / width) * 2.0 ** np.arange(math.ceil(math.log2(max(x * width / 4, 1))) + 1)
    edges = np.concatenate([[law.L, law.U, peak], peak - doubling, peak + doubling])
    edges = np.unique(edges[(edges >= law.L) & (edges <= law.U)])
    half, middle = np.diff(edges)[:, None] / 2, (edges[:-1] + edges[1:])[:, None] / 2
    return (middle + half * GAUSS[0]).ravel(), (half / width * GAUSS[1]).ravel()


def log_none_unmasked(m: float, U: float, N: float) -> float:
    """log Pr[none of m given places is among U drawn from N without replacement] = sum_{i < m} log(1 - U / (N - i))."""
    m, U = float(min(m, U)), max(m, U)  # symmetric; (a whole number beyond 2^63 is no number to NumPy before 2)
    if m + U > N:
        return -math.inf
    if m <= DIRECT:
        return float(np.log1p(-U / (N - np.arange(m))).sum())
    x, weight = GAUSS  # the midpoint rule backwards: a sum this long is the integral over [-1/2, m - 1/2]
    return float(m / 2 * (weight @ np.log1p(-U / (N - (m * (1 + x) - 1) / 2))))


def hypergeometric(m: int, U: float, N: float) -> np.ndarray:
    """Pr[n of m given places are among U drawn from N], n = 0..m: (m + 1,). N and U may be real and large."""
    with np.errstate(divide="ignore", invalid="ignore"):
        left = [np.maximum(a - np.arange(m), 0.0) / N for a in (U, N - U, N)]  # over N: what is summed stays of order one
        log_steps = [np.append(0.0, np.cumsum(np.log(x))) for x in left]
        n = np.arange(m + 1)
        ways = special.gammaln(m + 1) - special.gammaln(n + 1) - special.gammaln(m - n + 1)
        return np.exp(ways + log_steps[0][n] + log_steps[1][m - n] - log_steps[2][m])


def unmasked_counts(problem: Problem, C: float) -> tuple[np.ndarray, np.ndarray]:
    """Unmasked patches among the others of an own area of C, and their probabilities; a mean size mixes whole ones."""
    small, (U, N) = math.floor(C), (problem.unmasked, problem.P - 1)
    prob = (1 - (C - small)) * np.append(hypergeometric(small - 1, U, N), 0.0) + (C - small) * hypergeometric(small, U, N)
    keep = prob > 1e-18
    return np.flatnonzero(keep).astype(float), prob[keep]


class OwnArea:
    """Averages over amplitude and unmasked count n of the attention A to an own area of C patches, at an FP correlation phi.

    All other scores are zero; the area's PP correlation follows phi to first order, Upsilon = phi E[z^2] / E[z^3] / (C - 1)."""

    def __init__(self, problem: Problem, C: float) -> None:
        if C <= 1:
            raise InputError(f"own areas of {C:g} patch leave nothing to attend to: raise kappa_s, kappa_c or P")
        self.law, self.mean_n = problem.amplitude, (C - 1) * problem.unmasked / (problem.P - 1)
        n: np.ndarray
        self.prob: np.ndarray
        n, self.prob = unmasked_counts(problem, C) if C <= COUNTS else (np.array([self.mean_n]), np.ones(1))
        with np.errstate(divide="ignore"):
            self.log_odds = np.log(n) - np.log(problem.P - n)  # -inf: nothing to see
        self.seen = self.prob * (n > 0)
        self.centre = math.log(problem.P / self.mean_n)  # A takes off where z phi comes to this
        self.pp = self.law.moment(2) / self.law.moment(3) / (C - 1)

    def attention(self, phi: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """z (nodes,), its weight (nodes,), A and 1 - A (nodes, counts)."""
        z, weight = amplitude_nodes(self.law, phi, self.centre / phi if phi > 0 else math.inf)
        x = ((z + self.pp) * phi)[:, None] + self.log_odds
        return z, weight, special.expit(x), special.expit(-x)

    def drive(self, phi: float, power: int, shown: int = 1) -> float:
        """E[z^power A^shown (1 - A)^2]."""
        z, weight, A, rest = self.attention(phi)
        return float((weight * z**power) @ (A**shown * rest**2) @ self.prob)

    def excess(self, phi: float) -> float:
        """1/2 E[z^2 (1 - A)^2] over images that show something of the area: the loss above its floor."""
        z, weight, _, rest = self.attention(phi)
        return float((weight * z**2) @ rest**2 @ self.seen) / 2

    def half(self) -> float:
        """phi at which E[A] = 1/2: 0 if it starts above, inf where the area is wholly masked half of the time."""

        def lead(phi: float) -> float:
            _, weight, A, _ = self.attention(phi)
            return float(weight @ A @ self.prob) - 0.5

        if lead(0.0) >= 0 or self.seen.sum() <= 0.5:
            return 0.0 if lead(0.0) >= 0 else math.inf
        return root(lead, 0.0, self.centre / self.law.U)


def doubling_edges(end: float, first: float) -> list[float]:
    """0, first, 2 first, 4 first, ..., end."""
    edges = [0.0]
    while edges[-1] < end:
        edges.append(min(end, 2 * edges[-1] if edges[-1] else first))
    return edges


def fading_integral(f: Callable[[np.ndarray], np.ndarray], end: float, first: float) -> float:
    """int_0^end f of an f that takes arrays and falls off as an exponential of range `first` or more slowly: 16 Gauss nodes on
    intervals that double from `first`, good to 1e-12."""
    edges = np.array(doubling_edges(end, first))
    half, middle = np.diff(edges)[:, None] / 2, (edges[:-1] + edges[1:])[:, None] / 2
    return float((half * GAUSS[1]).ravel() @ f((middle + half * GAUSS[0]).ravel()))


def integral(f: Callable[[float], float], end: float, first: float) -> float:
    """int_0^end f by adaptive quadrature on intervals that double from `first`."""
    edges, total = doubling_edges(end, first), 0.0
    for a, b in zip(edges, edges[1:], strict=False):
        total += integrate.quad(f, a, b, epsabs=1e-13 * total, epsrel=1e-10, limit=200)[0]
    return total


def root(f: Callable[[float], float], low: float, high: float) -> float:
    """Zero of f above `low`, where f is negative; the search starts between low and high."""
    while f(high) < 0:
        low, high = high, 2 * high
    return optimize.brentq(f, low, high, xtol=1e-12 * high, rtol=1e-12)


def log_log1p_exp(x: float) -> float:
    """log log(1 + e^x), without overflow or underflow."""
    if x < -36:
        return x
    return math.log(math.log1p(math.exp(x)) if x < 36 else x)

"""Averages over amplitudes and masks, and the quadrature, that closed forms are made of.

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
from dynsim.model.quadrature import legendre

DIRECT = 4096  # sums up to this length are taken term by term, longer ones by quadrature
COUNTS = 256  # own areas up to this size: the number of unmasked patches is summed, above it is its mean
GAUSS = legendre(16)


@overload
def tilted(law: Law, power: int, x: float) -> float: ...
@overload
def tilted(law: Law, power: int, x: np.ndarray) -> np.ndarray: ...
def tilted(law: Law, power: int, x: Any) -> Any:
    """Return log E[z^power e^(x z)].

    Parameters
    ----------
    law : Law
        Law of z.
    power : int
        Exponent of z.
    x : float or ndarray
        Exponents of the tilt; the members of an array must have one sign.

    Returns
    -------
    float or ndarray
        In the shape of x.

    Examples
    --------
    >>> import math
    >>> import dynsim
    >>> from dynsim.theory import averages
    >>> averages.tilted(dynsim.Fixed(1.0), 3, 5.0)
    5.0
    >>> round(averages.tilted(dynsim.Uniform(0.0001, 1.0), 0, 1e4) - (1e4 - math.log(1e4)), 4)  # no overflow
    0.0001
    """
    largest = np.max(np.abs(x))
    z, weight = amplitude_nodes(law, largest, math.copysign(math.inf, np.sum(x)))
    edge = z.max() if np.sum(x) > 0 else z.min()
    log = np.log(np.exp(np.multiply.outer(x, z - edge)) @ (weight * z**power)) + x * edge
    return log if np.ndim(x) else float(log)


def amplitude_nodes(law: Law, x: float, peak: float) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes for averages over z of a function that is concentrated around one amplitude.

    Parameters
    ----------
    law : Law
        Law of z.
    x : float
        The function varies over 1 / x around the peak and falls off as e^(-x abs(z - peak)).
    peak : float
        Where; outside of [L, U] the nearer end is meant.

    Returns
    -------
    z : ndarray of shape (nodes,)
        Amplitudes.
    weight : ndarray of shape (nodes,)
        Their probabilities.

    Notes
    -----
    Uniform: Gauss-Legendre on intervals that double away from the peak. Discrete: all values. Other laws: their own 64 nodes,
    enough while x (U - L) < 50.

    Examples
    --------
    >>> import numpy as np
    >>> import dynsim
    >>> from dynsim.theory import averages
    >>> z, weight = averages.amplitude_nodes(dynsim.Uniform(0.5, 1.5), 1e6, 1.5)
    >>> round(float(weight @ np.exp(1e6 * (z - 1.5))) * 1e6, 8)
    1.0
    """
    if not isinstance(law, Uniform) or law.L == law.U:
        return law.nodes(64)
    width, peak = law.U - law.L, min(max(peak, law.L), law.U)
    doubling = 4 / max(x, 4 / width) * 2.0 ** np.arange(math.ceil(math.log2(max(x * width / 4, 1))) + 1)
    edges = np.concatenate([[law.L, law.U, peak], peak - doubling, peak + doubling])
    edges = np.unique(edges[(edges >= law.L) & (edges <= law.U)])
    half, middle = np.diff(edges)[:, None] / 2, (edges[:-1] + edges[1:])[:, None] / 2
    return (middle + half * GAUSS[0]).ravel(), (half / width * GAUSS[1]).ravel()


def log_none_unmasked(m: float, U: float, N: float) -> float:
    """Return the log probability that given patches are all masked.

    Parameters
    ----------
    m : float
        Number of given patches.
    U : float
        Unmasked patches.
    N : float
        Patches among which they are drawn without replacement.

    Returns
    -------
    float
        The sum over i < m of log(1 - U / (N - i)); -inf where m + U > N.

    Examples
    --------
    >>> import math
    >>> from dynsim.theory import averages
    >>> round(math.exp(averages.log_none_unmasked(2, 3, 10)), 12)  # 7/10 x 6/9
    0.466666666667
    """
    m, U = float(min(m, U)), max(m, U)  # symmetric; (a whole number beyond 2^63 is no number to NumPy before 2)
    if m + U > N:
        return -math.inf
    if m <= DIRECT:
        return float(np.log1p(-U / (N - np.arange(m))).sum())
    x, weight = GAUSS  # the midpoint rule backwards: a sum this long is the integral over [-1/2, m - 1/2]
    return float(m / 2 * (weight @ np.log1p(-U / (N - (m * (1 + x) - 1) / 2))))


def hypergeometric(m: int, U: float, N: float) -> np.ndarray:
    """Return probabilities of how many of m given patches are unmasked.

    Parameters
    ----------
    m : int
        Number of given patches.
    U : float
        Unmasked patches, any real number.
    N : float
        Patches among which they are drawn without replacement, any real number.

    Returns
    -------
    ndarray of shape (m + 1,)
        Pr[n], n = 0..m.

    Examples
    --------
    >>> from dynsim.theory import averages
    >>> averages.hypergeometric(2, 3, 10).round(4)
    array([0.4667, 0.4667, 0.0667])
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        left = [np.maximum(a - np.arange(m), 0.0) / N for a in (U, N - U, N)]  # over N: what is summed stays of order one
        log_steps = [np.append(0.0, np.cumsum(np.log(x))) for x in left]
        n = np.arange(m + 1)
        ways = special.gammaln(m + 1) - special.gammaln(n + 1) - special.gammaln(m - n + 1)
        return np.exp(ways + log_steps[0][n] + log_steps[1][m - n] - log_steps[2][m])


def unmasked_counts(problem: Problem, C: float) -> tuple[np.ndarray, np.ndarray]:
    """Return how many of the other patches of an own area are unmasked, with probabilities.

    Parameters
    ----------
    problem : Problem
        Gives P and the number of unmasked patches.
    C : float
        Patches of the area; a mean size mixes the laws of the two whole numbers around it.

    Returns
    -------
    n : ndarray of shape (counts,)
        Unmasked patches besides the query.
    prob : ndarray of shape (counts,)
        Their probabilities; those below 1e-18 are left out.

    Examples
    --------
    >>> import dynsim
    >>> from dynsim.theory import averages
    >>> n, prob = averages.unmasked_counts(dynsim.Problem(P=64, gamma=0.75), 8.0)
    >>> n
    array([0., 1., 2., 3., 4., 5., 6., 7.])
    >>> round(float(prob[0]), 3)
    0.114
    """
    small, (U, N) = math.floor(C), (problem.unmasked, problem.P - 1)
    prob = (1 - (C - small)) * np.append(hypergeometric(small - 1, U, N), 0.0) + (C - small) * hypergeometric(small, U, N)
    keep = prob > 1e-18
    return np.flatnonzero(keep).astype(float), prob[keep]


class OwnArea:
    """Averages over amplitude and unmasked count of the attention A to an own area, at an FP correlation phi.

    Parameters
    ----------
    problem : Problem
        Gives P, the masks and the law of z.
    C : float
        Patches of the own area, above 1.

    Raises
    ------
    InputError
        If C <= 1.

    Notes
    -----
    A = n e^(z phi) / (n e^(z phi) + P - n) for n unmasked patches: all other scores are zero. The area's PP correlation follows
    phi to first order, Upsilon = phi E[z^2] / E[z^3] / (C - 1), and is added to the exponent.

    Examples
    --------
    >>> import dynsim
    >>> from dynsim.theory.averages import OwnArea
    >>> problem = dynsim.Problem(P=1e12, gamma=0.75, amplitude=dynsim.Fixed(1.0))
    >>> own = OwnArea(problem, problem.C_local)
    >>> round(own.half(), 2), round(own.excess(own.half()), 3)
    (17.96, 0.125)
    """

    def __init__(self, problem: Problem, C: float) -> None:
        if C <= 1:
            raise InputError(f"own areas of {C:g} patch leave nothing to attend to: raise kappa_s, kappa_c or P")
        self.law, self.mean_n = problem.amplitude, (C - 1) * problem.unmasked / (problem.P - 1)
        n: np.ndarray
        self.prob: np.ndarray
        n, self.prob = unmasked_counts(problem, C) if C <= COUNTS else (np.array([self.mean_n]), np.ones(1))
        with np.errstate(divide="ignore"):
            self.log_odds = np.log(n) - np.log(problem.P - n)  # -inf: none unmasked
        self.seen = self.prob * (n > 0)
        self.centre = math.log(problem.P / self.mean_n)  # A is about one half where z phi is this
        self.pp = self.law.moment(2) / self.law.moment(3) / (C - 1)

    def attention(self, phi: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return A on a grid of amplitudes and counts.

        Parameters
        ----------
        phi : float
            FP correlation with the own area.

        Returns
        -------
        z : ndarray of shape (nodes,)
            Amplitudes.
        weight : ndarray of shape (nodes,)
            Their probabilities.
        A : ndarray of shape (nodes, counts)
            Attention to the own area.
        rest : ndarray of shape (nodes, counts)
            1 - A.
        """
        z, weight = amplitude_nodes(self.law, phi, self.centre / phi if phi > 0 else math.inf)
        x = ((z + self.pp) * phi)[:, None] + self.log_odds
        return z, weight, special.expit(x), special.expit(-x)

    def drive(self, phi: float, power: int, shown: int = 1) -> float:
        """Return E[z^power A^shown (1 - A)^2].

        Parameters
        ----------
        phi : float
            FP correlation with the own area.
        power : int
            Exponent of z.
        shown : int
            Exponent of A.

        Returns
        -------
        float
            With power = 3 and shown = 1, K / gamma times the velocity of phi.
        """
        z, weight, A, rest = self.attention(phi)
        return float((weight * z**power) @ (A**shown * rest**2) @ self.prob)

    def excess(self, phi: float) -> float:
        """Return the loss above its floor, 1/2 E[z^2 (1 - A)^2].

        Parameters
        ----------
        phi : float
            FP correlation with the own area.

        Returns
        -------
        float
            Per masked patch, from images that show a patch of the area.
        """
        z, weight, _, rest = self.attention(phi)
        return float((weight * z**2) @ rest**2 @ self.seen) / 2

    def half(self) -> float:
        """Return the correlation phi at which E[A] = 1/2.

        Returns
        -------
        float
            0 if A starts above, inf where the area is wholly masked half of the time.
        """

        def lead(phi: float) -> float:
            _, weight, A, _ = self.attention(phi)
            return float(weight @ A @ self.prob) - 0.5

        if lead(0.0) >= 0 or self.seen.sum() <= 0.5:
            return 0.0 if lead(0.0) >= 0 else math.inf
        return root(lead, 0.0, self.centre / self.law.U)


def doubling_edges(end: float, first: float) -> list[float]:
    """Return interval edges 0, first, 2 first, 4 first, ..., end.

    Parameters
    ----------
    end : float
        Last edge.
    first : float
        Length of the first interval.

    Returns
    -------
    list of float
        Rising edges.

    Examples
    --------
    >>> from dynsim.theory import averages
    >>> averages.doubling_edges(5.0, 1.0)
    [0.0, 1.0, 2.0, 4.0, 5.0]
    """
    edges = [0.0]
    while edges[-1] < end:
        edges.append(min(end, 2 * edges[-1] if edges[-1] else first))
    return edges


def fading_integral(f: Callable[[np.ndarray], np.ndarray], end: float, first: float) -> float:
    """Integrate a function that falls off as an exponential of known range, or more slowly.

    Parameters
    ----------
    f : callable
        Takes and returns arrays.
    end : float
        The integral is from 0 to here.
    first : float
        Range of the exponential.

    Returns
    -------
    float
        The integral, with 16 Gauss nodes on intervals that double from ``first``: good to 1e-12.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim.theory import averages
    >>> round(averages.fading_integral(lambda x: np.exp(-x), 50.0, 1.0), 12)
    1.0
    """
    edges = np.array(doubling_edges(end, first))
    half, middle = np.diff(edges)[:, None] / 2, (edges[:-1] + edges[1:])[:, None] / 2
    return float((half * GAUSS[1]).ravel() @ f((middle + half * GAUSS[0]).ravel()))


def integral(f: Callable[[float], float], end: float, first: float) -> float:
    """Integrate a function by adaptive quadrature on intervals that double.

    Parameters
    ----------
    f : callable
        Takes and returns numbers.
    end : float
        The integral is from 0 to here.
    first : float
        Length of the first interval.

    Returns
    -------
    float
        The integral, to a relative 1e-10.

    Examples
    --------
    >>> import math
    >>> from dynsim.theory import averages
    >>> round(averages.integral(lambda x: math.exp(-x), 50.0, 1.0), 10)
    1.0
    """
    edges, total = doubling_edges(end, first), 0.0
    for a, b in zip(edges, edges[1:], strict=False):
        total += integrate.quad(f, a, b, epsabs=1e-13 * total, epsrel=1e-10, limit=200)[0]
    return total


def root(f: Callable[[float], float], low: float, high: float) -> float:
    """Find a zero of a function.

    Parameters
    ----------
    f : callable
        Negative at ``low``, not negative far above.
    low, high : float
        The search starts between them and goes up.

    Returns
    -------
    float
        The zero, to a relative 1e-12.

    Examples
    --------
    >>> from dynsim.theory import averages
    >>> round(averages.root(lambda x: x - 7.0, 0.0, 1.0), 9)
    7.0
    """
    while f(high) < 0:
        low, high = high, 2 * high
    return optimize.brentq(f, low, high, xtol=1e-12 * high, rtol=1e-12)


def log_log1p_exp(x: float) -> float:
    """Return log log(1 + e^x), without overflow or underflow.

    Parameters
    ----------
    x : float
        Any number.

    Returns
    -------
    float
        About x far below zero, log x far above.

    Examples
    --------
    >>> from dynsim.theory import averages
    >>> averages.log_log1p_exp(-1000.0)
    -1000.0
    """
    if x < -36:
        return x
    return math.log(math.log1p(math.exp(x)) if x < 36 else x)

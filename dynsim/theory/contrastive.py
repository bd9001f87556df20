"""Closed forms of contrastive and mixed learning: when attention collapses to the global area, how far, and what that delays.

L_con is InfoNCE over two masked views with many negatives, L = L_rec + alpha P L_con the mixed loss; time is t = eta x step.
Derivations and equation numbers (E): docs/contrastive-population.md. In every cluster an area with a share eps = rho C / P of the
softmax draws A(z) = eps e^(z phi) / (1 - eps + eps e^(z phi)) at an FP correlation phi and an amplitude z; f(z) = z A(z) is
what a view shows of it, and the other images of a cluster push it away by

    N(f) = (1 / K) E'[e^(f f' / tau) f'] / ((K - 1) / K + (1 / K) E'[e^(f f' / tau)]).

Class *asymptotic* is large P (or long t); *closed*: the equation for phi solved as it stands at this P, without PP, the local
areas and the scatter of unmasked counts.
"""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from dynsim.errors import InputError
from dynsim.model.amplitude import Discrete, Law, Uniform, is_number
from dynsim.model.problem import Problem
from dynsim.theory.averages import COUNTS, amplitude_nodes, fading_integral, hypergeometric, integral, tilted
from dynsim.theory.reconstruction import escape_time

LOWEST, STEPS = -30.0, 2000  # where the search for a settled correlation begins, and how finely it looks


def winning_area(problem: Problem) -> str:
    """The area that contrastive attention collapses to: "global", "local", or "both" where they are equally large.

    Before any area is seen by much, phi grows at a rate share^2, the same for all but for this factor (E10): the largest area
    blows up first and takes all attention, by however little it leads.

    Returns
    -------
    str

    Notes
    -----
    Class: asymptotic, many patches in both areas. Equation (E10), (D8) of the derivation.

    Examples
    --------
    >>> from dynsim.theory.contrastive import winning_area
    >>> winning_area(Problem(P=1e12, kappa_c=0.9, kappa_s=0.4))
    'global'
    """
    if problem.C_global == problem.C_local:
        return "both"
    return "global" if problem.C_global > problem.C_local else "local"


def runner_up(problem: Problem) -> float:
    """FP correlation of the smaller kind of area when the larger one takes off.

    int_0^phi dphi / G = (c / c')^2 int_0^inf dphi / G, c < c' the two sizes, G(phi) = E[z^3 e^(2 z phi)] - E[z^2 e^(z phi)]
    E[z e^(z phi)] / K: for fixed z, phi = -log(1 - (c / c')^2) / (2 z), of order one however close the race; inf where both
    are equal.

    Returns
    -------
    float

    Notes
    -----
    Class: asymptotic. Equation (E10).

    Examples
    --------
    >>> from dynsim.theory.contrastive import runner_up
    >>> from dynsim.model.amplitude import Fixed
    >>> round(runner_up(Problem(P=1e12, kappa_c=0.5, kappa_s=0.49, amplitude=Fixed(1.0))), 3)
    0.428
    """
    small, large = sorted((problem.C_local, problem.C_global))
    if small == large:
        return math.inf
    goal = (small / large) ** 2 * _take_off_integral(problem.amplitude, problem.K)
    law = problem.amplitude

    def left(phi: float) -> float:
        return fading_integral(lambda x: 1 / _push(law, problem.K, x), phi, min(phi, 0.25 / law.U)) - goal if phi else -goal

    high = 1.0 / law.U
    while left(high) < 0:
        high *= 2
    return float(optimize.brentq(left, 0.0, high, xtol=1e-13)) if goal > 0 else 0.0


def collapse_time(
    problem: Problem, stop_gradient: bool = True, finite: bool = False, temperature: float = 0.5
) -> float:
    """Time at which contrastive learning alone, L = L_con, collapses to the global area: a float, unit t = eta x step.

    t = (P K / eps^2) int_0^inf dphi / G(phi), eps = rho C_g / P, for either sign of Delta (E8):
    K^2 / (K - 1) P^(1 + 2 (1 - kappa_c)) / (2 z^4 rho^2) for fixed z. Without stop-gradient half of it.

    Parameters
    ----------
    problem : Problem
    stop_gradient : bool
        Whether only one view of a pair learns.
    finite : bool
        Until E[A] = 1/2, with A not small: t = P K int dphi / E[z^2 A (1 - A) D] (E9), D = f - N(f).
    temperature : float
        tau; enters with finite=True only.

    Returns
    -------
    float
        inf for K = 1 and fixed z, where all images agree and nothing is learnt.

    Raises
    ------
    InputError
        For a temperature that is not positive.

    Notes
    -----
    Class: asymptotic; relative error of the order of eps log(1 / eps), half of it at P = 100. finite=True: closed, with the
    scatter of the unmasked count n of the area.

    Examples
    --------
    >>> from dynsim.theory.contrastive import collapse_time
    >>> from dynsim.model.amplitude import Fixed
    >>> f"{collapse_time(Problem(K=4, P=1e12, amplitude=Fixed(1.0))):.3e}"
    '1.675e+16'
    """
    views = 1.0 if stop_gradient else 2.0
    _check_temperature(temperature)
    law, K = problem.amplitude, problem.K
    if K == 1 and law.L == law.U:
        return math.inf
    P = float(problem.P)
    if not finite:
        eps = problem.rho * problem.C_global / P
        return P * K / eps * (_take_off_integral(law, K) / eps) / views
    n, chance = _unmasked(problem)
    log_odds = np.log(n) - np.log(P - n)

    def drive(phi: float) -> float:
        z, weight = amplitude_nodes(law, max(phi, 1e-9), -float(log_odds @ chance) / max(phi, 1e-9))
        x = (z * phi)[:, None] + log_odds
        A, rest = special.expit(x), special.expit(-x)
        both = weight[:, None] * chance
        f = z[:, None] * A
        D = (f @ chance)[:, None] - _negatives(f.ravel(), f.ravel(), both.ravel(), K, temperature).reshape(f.shape)
        return float((both * z[:, None] ** 2 * A * rest * D).sum())

    def lead(phi: float) -> float:
        z, weight = amplitude_nodes(law, max(phi, 1e-9), -float(log_odds @ chance) / max(phi, 1e-9))
        return float(weight @ special.expit((z * phi)[:, None] + log_odds) @ chance) - 0.5

    if lead(0.0) >= 0:
        return 0.0
    high = 1.0 / law.U
    while lead(high) < 0:
        high *= 2
    half = optimize.brentq(lead, 0.0, high, xtol=1e-12 * high)
    return P * K * integral(lambda phi: 1 / drive(phi), half, 0.5 / law.U) / views


def late_collapse(problem: Problem, t: ArrayLike, temperature: float = 0.5, stop_gradient: bool = True) -> np.ndarray:
    """E[1 - A] of the global area long after the collapse, under L = L_con, in the shape of t.

    P K (K - 1 + e^(z^2 / tau)) / ((K - 1) z^4 t) for fixed z (E11): 1 / t, against t^(-1/2) in reconstruction. Random z: phi from
    t = P K eps / (1 - eps) int^phi dphi / E[z^2 D e^(-z phi)] with all images collapsed.

    Parameters
    ----------
    problem : Problem
    t : array_like
        Times, well beyond `collapse_time(problem)`.
    temperature : float
    stop_gradient : bool

    Returns
    -------
    ndarray
        nan where D is not positive on average: images of small amplitude are pushed out again.

    Raises
    ------
    InputError
        For times that are not positive.

    Notes
    -----
    Class: asymptotic in t; relative error (1 - A) log(1 / (1 - A)) and t_col / t. Equation (E11).

    Examples
    --------
    >>> from dynsim.theory.contrastive import late_collapse
    >>> from dynsim.model.amplitude import Fixed
    >>> float(late_collapse(Problem(K=4, P=1e6, amplitude=Fixed(1.0)), 1e12).round(9))
    1.3852e-05
    """
    _check_temperature(temperature)
    t = np.asarray(t, dtype=float)
    if not (t > 0).all():
        raise InputError(f"the late stage needs times t > 0, got {t.min():g}: take t well beyond collapse_time(problem)")
    law, K, P = problem.amplitude, problem.K, float(problem.P)
    log_odds = math.log(problem.rho * problem.C_global / P) - math.log1p(-problem.rho * problem.C_global / P)
    unit = P * K / (1.0 if stop_gradient else 2.0)

    def rates(phi: float) -> tuple[float, float]:
        """log E[e^(-z phi)] and log E[z^2 D e^(-z phi)]."""
        z, weight = amplitude_nodes(law, phi, law.L)
        D = z - _negatives(z, z, weight, K, temperature)
        fall = weight * np.exp(-(z - law.L) * phi)
        push = float(fall @ (z**2 * D))
        return math.log(fall.sum()) - law.L * phi, (math.log(push) if push > 0 else math.nan) - law.L * phi

    def time(phi: float) -> float:
        """log of the time, by its last e-folding: dphi / E[...] grows as e^(L phi)."""
        left, push = rates(phi)
        return math.log(unit) + log_odds - push - math.log(law.L + (0.0 if law.L == law.U else 1.0 / phi))

    found = np.full(t.shape, math.nan)
    for i in map(tuple, np.argwhere(np.isfinite(t))):
        low, high = 1e-3, 10.0
        if not math.isfinite(time(high)):
            continue
        while time(high) < math.log(t[i]):
            high *= 2
        goal = math.log(t[i])
        phi = optimize.brentq(lambda x, goal=goal: time(x) - goal, low, high, xtol=1e-12 * high)
        found[i] = math.exp(rates(phi)[0] - log_odds)
    return found


def critical_weight(problem: Problem) -> float:
    """Weight alpha above which attention of local queries collapses to the global area, part of it at least: a float.

    gamma / (1 - p / K) with p the probability of the largest amplitude (E13): gamma K / (K - 1) for fixed z; gamma for a law
    with a density, whose largest amplitudes have no equals to be distinguished from and collapse first.

    Returns
    -------
    float
        inf for K = 1 and fixed z.

    Notes
    -----
    Class: asymptotic, Delta > 0. For fixed z reached as P^-(1 - kappa_c); for a density as 1 / log P only: at finite P see
    `collapsed_attention(finite=True)`.

    Examples
    --------
    >>> from dynsim.theory.contrastive import critical_weight
    >>> from dynsim.model.amplitude import Fixed
    >>> round(critical_weight(Problem(K=4, gamma=0.8, amplitude=Fixed(1.0), P=1e12)), 4)
    1.0667
    """
    apart = 1.0 - _top(problem.amplitude) / problem.K
    return problem.masked / problem.P / apart if apart > 0 else math.inf


def collapse_weight(problem: Problem, temperature: float = 0.5) -> float:
    """Weight alpha above which all images collapse and local queries keep no attention for their own area: a float.

    Fixed z: gamma (1 + e^(z^2 / tau) / (K - 1)) (E15). Uniform amplitudes: gamma / (1 - (2 tau / L^2) log(1 + E[e^(L z / tau)
    - 1] / K)) (E17), inf where that is not positive: then the smallest amplitudes never collapse.

    Returns
    -------
    float

    Raises
    ------
    InputError
        For a discrete law of several amplitudes: use `collapsed_attention(finite=True)`.

    Notes
    -----
    Class: asymptotic, Delta > 0; errors as for `critical_weight`.

    Examples
    --------
    >>> from dynsim.theory.contrastive import collapse_weight
    >>> from dynsim.model.amplitude import Fixed
    >>> round(collapse_weight(Problem(K=4, gamma=0.8, amplitude=Fixed(1.0), P=1e12)), 4)
    2.7704
    """
    _check_temperature(temperature)
    law, K, gamma = problem.amplitude, problem.K, problem.masked / problem.P
    if law.L == law.U:
        return gamma * (1 + math.exp(law.L**2 / temperature) / (K - 1)) if K > 1 else math.inf
    _check_density(law)
    left = 0.5 * law.L**2 - temperature * _log_pile(law, K, temperature, law.L)
    return 0.5 * gamma * law.L**2 / left if left > 0 else math.inf


def collapsed_attention(problem: Problem, weight: float, temperature: float = 0.5, finite: bool = False) -> float:
    """Attention of local queries on the global area before their escape, E[A_g], at weight alpha: a float.

    Fixed z (E14): 0 below the critical weight, sqrt(tau log((K - 1)(alpha / gamma - 1))) / z up to the collapse weight, then
    1. Uniform amplitudes (E16): the probability of z > z*, where (alpha - gamma) z*^2 / 2 = alpha tau log(1 + E[e^(z* z / tau)
    - 1; z > z*] / K).

    Parameters
    ----------
    problem : Problem
    weight : float
        alpha in L = L_rec + alpha P L_con.
    temperature : float
    finite : bool
        At this P: the lowest root of both pushes, with the share of the global area and its own queries in the pooled output
        (E12).

    Returns
    -------
    float

    Raises
    ------
    InputError
        For a discrete law of several amplitudes without finite=True, or values out of range.

    Notes
    -----
    Class: asymptotic, Delta > 0, between the escapes of global and local queries. Relative error for fixed z of the order of
    C_g / P; for a density the edge at z* is 1 / phi ~ 1 / ((1 - kappa_c) log P) wide. finite=True: closed, error of the order
    of (C_g / P)^2 from counts, the local areas P^-(1 - kappa_s).

    Examples
    --------
    >>> from dynsim.theory.contrastive import collapsed_attention
    >>> from dynsim.model.amplitude import Fixed
    >>> round(collapsed_attention(Problem(K=4, gamma=0.8, amplitude=Fixed(1.0), P=1e12), 2.0), 4)
    0.8672
    """
    _check_temperature(temperature)
    if not (is_number(weight) and weight >= 0):
        raise InputError(f"weight must be at least 0 and finite, got {weight!r}: take e.g. 1.0")
    law, K, gamma = problem.amplitude, problem.K, problem.masked / problem.P
    if finite:
        return _Settled(problem, weight, temperature).attention()
    if weight <= critical_weight(problem):
        return 0.0
    if law.L == law.U:
        return min(1.0, math.sqrt(temperature * math.log((K - 1) * (weight / gamma - 1))) / law.L)
    _check_density(law)

    def net(edge: float) -> float:
        return 0.5 * (weight - gamma) * edge**2 - weight * temperature * _log_pile(law, K, temperature, edge)

    edges = np.linspace(law.U, law.L, STEPS)
    for a, b in zip(edges, edges[1:], strict=False):
        if net(b) < 0:
            return (law.U - optimize.brentq(net, b, a)) / (law.U - law.L)
    return 1.0


def mixed_escape_time(problem: Problem, weight: float, temperature: float = 0.5, finite: bool = False) -> float:
    """Time at which own attention of local queries takes off under L = L_rec + alpha P L_con, Delta > 0: a float.

    escape_time(problem) / (1 - A_g) for fixed z (E18), A_g = collapsed_attention(...); random z: K P^(1 - kappa_s) / rho times
    int_0^inf dphi / (a E[z^3 e^(z phi)] + b E[z e^(z phi)]), a = gamma E[1 - A_g], b = E[(1 - A_g)(gamma z^2 A_g^2 - alpha z
    A_g D)].

    Parameters
    ----------
    problem : Problem
    weight : float
    temperature : float
    finite : bool
        With A_g at this P, and the corrections of escape_time(finite=True) (those to the area's counts and to saturation).

    Returns
    -------
    float
        inf from the collapse weight on: there 1 - A_g falls as 1 / t, and the time is exp(O(P^(1 - kappa_s))) up to twice that
        weight, infinite beyond (E19).

    Notes
    -----
    Class: asymptotic; finite=True: closed. The global queries escape before, at a time that is relatively P^-Delta or less.

    Examples
    --------
    >>> from dynsim.theory.contrastive import mixed_escape_time
    >>> from dynsim.model.amplitude import Fixed
    >>> f"{mixed_escape_time(Problem(K=4, gamma=0.8, amplitude=Fixed(1.0), P=1e12), 2.0):.3g}"
    '2.98e+09'
    """
    law = problem.amplitude
    base = escape_time(problem, finite=finite)
    if law.L == law.U:
        left = 1.0 - collapsed_attention(problem, weight, temperature, finite)
        return base / left if left > 0 and weight < collapse_weight(problem, temperature) else math.inf
    settled = _Settled(problem, weight, temperature)
    a, b = settled.left()
    gamma = problem.masked / problem.P

    def rate(phi: np.ndarray) -> np.ndarray:
        return a * np.exp(tilted(law, 3, phi)) + b * np.exp(tilted(law, 1, phi))

    end = 45 * math.exp(tilted(law, 3, 0.0) - tilted(law, 4, 0.0))
    if not a > 0 or rate(np.array([0.0]))[0] <= 0:
        return math.inf
    slower = fading_integral(lambda phi: 1 / rate(phi), end, 0.5 / law.U)
    free = fading_integral(lambda phi: np.exp(-tilted(law, 3, phi)) / gamma, end, 0.5 / law.U)
    return base * slower / free


class _Settled:
    """Where the global correlation of a local query comes to rest: the lowest root of both pushes, at this P (E12)."""

    def __init__(self, problem: Problem, weight: float, temperature: float) -> None:
        self.law, self.K, self.tau, self.weight = problem.amplitude, problem.K, temperature, weight
        self.gamma, self.c = problem.masked / problem.P, problem.C_global / problem.P
        self.log_odds = math.log(problem.rho * self.c) - math.log1p(-problem.rho * self.c)
        self.largest = (60.0 - self.log_odds) / self.law.L
        self.phi = self._root()

    def pieces(self, phi: float) -> tuple[np.ndarray, ...]:
        """z, weight, A, 1 - A, D (nodes,)."""
        z, weight = amplitude_nodes(self.law, max(abs(phi), 1e-9), -self.log_odds / phi if phi > 0 else self.law.U)
        A, rest = special.expit(z * phi + self.log_odds), special.expit(-z * phi - self.log_odds)
        f = z * (self.c + (1 - self.c) * A)
        return z, weight, A, rest, f - _negatives(f, f, weight, self.K, self.tau)

    def net(self, phi: float) -> float:
        """Both pushes over E[z^2 A (1 - A)]."""
        z, weight, A, rest, D = self.pieces(phi)
        scale = weight * z**2 * A * rest
        return float(scale @ (self.weight * D - self.gamma * z * A) / scale.sum())

    def _root(self) -> float:
        before = LOWEST / self.law.U
        if self.net(before) <= 0:
            return -math.inf
        for phi in np.linspace(before, self.largest, STEPS)[1:].tolist():
            if self.net(phi) < 0:
                return float(optimize.brentq(self.net, before, phi, xtol=1e-13))
            before = phi
        return math.inf

    def attention(self) -> float:
        """E[A_g]."""
        if math.isinf(self.phi):
            return 1.0 if self.phi > 0 else 0.0
        _, weight, A, _, _ = self.pieces(self.phi)
        return float(weight @ A)

    def left(self) -> tuple[float, float]:
        """a and b of (E18)."""
        if math.isinf(self.phi):
            return (0.0, 0.0) if self.phi > 0 else (self.gamma, 0.0)
        z, weight, A, rest, D = self.pieces(self.phi)
        return self.gamma * float(weight @ rest), float((weight * rest) @ (self.gamma * z**2 * A**2 - self.weight * z * A * D))


def _negatives(f: np.ndarray, others: np.ndarray, weight: np.ndarray, K: int, tau: float) -> np.ndarray:
    """N(f) with the images `others` of the same cluster, in the shape of f; exponents are shifted by their largest."""
    s = np.multiply.outer(f, others) / tau
    top = np.maximum(s.max(axis=-1, keepdims=True), 0.0)
    e = weight * np.exp(s - top)
    return (e @ others) / ((K - 1) * np.exp(-top[..., 0]) + e.sum(axis=-1))


def _push(law: Law, K: int, phi: np.ndarray) -> np.ndarray:
    """G(phi) = E[z^3 e^(2 z phi)] - E[z^2 e^(z phi)] E[z e^(z phi)] / K."""
    return np.exp(tilted(law, 3, 2 * phi)) - np.exp(tilted(law, 2, phi) + tilted(law, 1, phi)) / K


def _take_off_integral(law: Law, K: int) -> float:
    """int_0^inf dphi / G: K / (2 (K - 1) z^4) for fixed z."""
    if K == 1 and law.L == law.U:
        return math.inf
    end = 45 / (2 * law.L)  # G >= G(0) e^(2 L phi)
    return fading_integral(lambda phi: 1 / _push(law, K, phi), end, 0.25 / law.U)


def _log_pile(law: Law, K: int, tau: float, edge: float) -> float:
    """log(1 + E[e^(edge z / tau) - 1; z > edge] / K) of uniform amplitudes."""
    x, w = np.polynomial.legendre.leggauss(48)
    z = edge + (law.U - edge) * (1 + x) / 2
    return math.log1p(float(w @ np.expm1(edge * z / tau)) / 2 * (law.U - edge) / (law.U - law.L) / K)


def _unmasked(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Unmasked patches of the global area and their probabilities: all counts of a small one, the mean of a large one."""
    C = problem.C_global
    if C > COUNTS:
        return np.array([C * problem.rho]), np.ones(1)
    chance = hypergeometric(int(C), problem.unmasked, problem.P)
    kept = (chance > 1e-18) & (np.arange(C + 1) > 0)
    return np.flatnonzero(kept).astype(float), chance[kept] / chance[kept].sum()


def _top(law: Law) -> float:
    """Probability of the largest amplitude."""
    if law.L == law.U:
        return 1.0
    return float(law.weights[int(np.argmax(law.values))]) if isinstance(law, Discrete) else 0.0


def _check_density(law: Law) -> None:
    if not isinstance(law, Uniform):
        raise InputError(f"the limit is known for fixed and uniform amplitudes, got {law!r}: collapsed_attention(finite=True)")


def _check_temperature(temperature: float) -> None:
    if not (is_number(temperature) and temperature > 0):
        raise InputError(f"temperature must be positive and finite, got {temperature!r}: take e.g. 0.5")

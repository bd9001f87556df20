"""Closed forms of mixed learning: where reconstruction and contrast balance, and when local queries escape all the same.

The loss is L = L_rec + alpha P L_con with InfoNCE over two masked views and many negatives; time is t = eta x step. Derivations
and equation numbers (E): docs/contrastive-population.md. After global queries have escaped, attention A_g of a local query on
the global area of its cluster rests where alpha E[z^2 A_g (1 - A_g) D] = gamma E[z^3 A_g^2 (1 - A_g)], D = f - N(f) as in
contrastive.py, f = z (c + (1 - c) A_g) with c = C_g / P; once it has escaped, the right side doubles.

Class *asymptotic*: large P; *closed* (finite=True): c counted, all other areas and PP left out.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import optimize, special

from dynsim.errors import InputError
from dynsim.model.amplitude import Discrete, Law, Uniform, check_temperature, is_number
from dynsim.model.problem import Problem
from dynsim.model.quadrature import legendre
from dynsim.theory._pairs import negatives, push
from dynsim.theory._remember import remembered
from dynsim.theory.averages import amplitude_nodes, fading_integral, tilted
from dynsim.theory.reconstruction import escape_time

LOWEST, STEPS = -30.0, 2000  # where the search for a settled correlation begins, and how finely it looks
NODES = legendre(48)  # for averages over a part of a uniform law
FAR = 60.0  # largest z phi at which two pushes are compared while attention is small


def critical_weight(problem: Problem) -> float:
    """Return the weight above which attention of local queries collapses to the global area, in part at least (E13).

    Parameters
    ----------
    problem : Problem
        What is simulated.

    Returns
    -------
    float
        The weight alpha from which on contrast wins at every global correlation phi on the way, while A_g is small: the largest
        over phi >= 0 of gamma rho E[z^3 e^(2 z phi)] / (E[z^3 e^(z phi)] - E[z] E[z^2 e^(z phi)] / K + rho G(phi)), G as in
        `collapse_time`. gamma K / (K - 1) for fixed z; between that and gamma for random z; inf for K = 1 and fixed z.

    Notes
    -----
    Class: asymptotic, Delta > 0; relative error of the order of C_g / P. A law with a density has a collapsed balance, too,
    from gamma on: its largest amplitudes have no equals to be distinguished from. But a run that starts at Q = 0 rests at a
    lower root before.

    Examples
    --------
    >>> import dynsim
    >>> laws = dynsim.Fixed(1.0), dynsim.Uniform(0.8, 1.2), dynsim.Uniform(0.5, 1.5)
    >>> problems = [dynsim.Problem(K=4, gamma=0.8, P=1e12, amplitude=law) for law in laws]
    >>> [round(dynsim.theory.critical_weight(problem), 4) for problem in problems]
    [1.0667, 0.9436, 0.8693]
    """
    law, K, gamma, rho = problem.amplitude, problem.K, problem.masked / problem.P, problem.rho
    apart = 1.0 - _top(law) / K
    if law.L == law.U:
        return gamma / apart if apart > 0 else math.inf

    def needed(phi: np.ndarray) -> np.ndarray:
        rec = gamma * rho * np.exp(tilted(law, 3, 2 * phi))
        return rec / (_by_global_queries(law, K, phi) + rho * push(law, K, phi))

    grid = np.linspace(0.0, FAR / law.U, STEPS)
    at = int(np.argmax(needed(grid)))
    low, high = grid[max(at - 1, 0)], grid[min(at + 1, STEPS - 1)]
    best = optimize.minimize_scalar(lambda phi: -needed(np.array([phi]))[0], bounds=(low, high), method="bounded")
    return max(float(-best.fun), gamma / apart)


@remembered
def collapse_weight(problem: Problem, temperature: float = 0.5) -> float:
    """Return the weight above which all images collapse, and local queries keep no attention for their own area (E15, E17).

    Parameters
    ----------
    problem : Problem
        What is simulated.
    temperature : float
        Of the softmax over negatives, tau > 0.

    Returns
    -------
    float
        The weight alpha: gamma (1 + e^(z^2 / tau) / (K - 1)) for fixed z, gamma / (1 - (2 tau / L^2) log(1 + E[e^(L z / tau)
        - 1] / K)) for uniform amplitudes, inf where that is not positive: then the smallest amplitudes never collapse.

    Raises
    ------
    InputError
        For a discrete law of several amplitudes (use `collapsed_attention(finite=True)`), or a temperature that is not positive.

    Notes
    -----
    Class: asymptotic, Delta > 0; for a density reached as 1 / log P only. "No escape" is strictly true from twice this weight
    on only; below, it is put off by exp(O(P^(1 - kappa_s))) (E19).

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=4, gamma=0.8, P=1e12, amplitude=dynsim.Fixed(1.0))
    >>> round(dynsim.theory.collapse_weight(problem), 4)
    2.7704
    """
    check_temperature(temperature)
    law, K, gamma = problem.amplitude, problem.K, problem.masked / problem.P
    if law.L == law.U:
        if K == 1 or law.L**2 > 700 * temperature:  # beyond what a number holds
            return math.inf
        return gamma * (1 + math.exp(law.L**2 / temperature) / (K - 1))
    _check_density(law)
    left = 0.5 * law.L**2 - temperature * _log_pile(law, K, temperature, law.L)
    return 0.5 * gamma * law.L**2 / left if left > 0 else math.inf


def collapsed_attention(problem: Problem, weight: float, temperature: float = 0.5, finite: bool = False) -> float:
    """Return attention of local queries on the global area between the escape of global queries and their own (E14, E16).

    Parameters
    ----------
    problem : Problem
        What is simulated.
    weight : float
        The alpha in L = L_rec + alpha P L_con, at least 0.
    temperature : float
        Of the softmax over negatives, tau > 0.
    finite : bool
        Whether to solve for the next root of both pushes from zero on, at this P, with the share of the global area and its own
        queries in the pooled output (E12).

    Returns
    -------
    float
        E[A_g]. Fixed z: 0 below the critical weight, sqrt(tau log((K - 1)(alpha / gamma - 1))) / z up to the collapse weight,
        then 1. Uniform amplitudes: the probability of z > z*, where (alpha - gamma) z*^2 / 2 = alpha tau log(1 + E[e^(z* z /
        tau) - 1; z > z*] / K).

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
    >>> import dynsim
    >>> problem = dynsim.Problem(K=4, gamma=0.8, P=1e12, amplitude=dynsim.Fixed(1.0))
    >>> round(dynsim.theory.collapsed_attention(problem, weight=2.0), 4)
    0.8672
    """
    check_temperature(temperature)
    _check_weight(weight)
    law, K, gamma = problem.amplitude, problem.K, problem.masked / problem.P
    if finite:
        return _settled(problem, weight, temperature).attention()
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


@remembered
def mixed_escape_time(problem: Problem, weight: float, temperature: float = 0.5, finite: bool = False) -> float:
    """Return the time at which own attention of local queries takes off under a mixed loss (E18).

    Parameters
    ----------
    problem : Problem
        What is simulated.
    weight : float
        The alpha in L = L_rec + alpha P L_con, at least 0.
    temperature : float
        Of the softmax over negatives, tau > 0.
    finite : bool
        Whether to take A_g at this P, and the corrections of ``escape_time(finite=True)`` (counts of the area, saturation).

    Returns
    -------
    float
        In units of t = eta x step: escape_time(problem) / (1 - A_g) for fixed z, A_g = collapsed_attention(...). Random z:
        K P^(1 - kappa_s) / rho times int_0^inf dphi / (a E[z^3 e^(z phi)] + b E[z e^(z phi)]), a = gamma E[1 - A_g],
        b = E[(1 - A_g)(gamma z^2 A_g^2 - alpha z A_g D)]. inf from the collapse weight on: there 1 - A_g falls as 1 / t, and the
        time is exp(O(P^(1 - kappa_s))) up to twice that weight, infinite beyond (E19).

    Raises
    ------
    InputError
        For a weight below 0, or a temperature that is not positive.

    Notes
    -----
    Class: asymptotic, Delta > 0; finite=True: closed. The global queries escape before, at a time that is relatively P^-Delta or
    less.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=4, gamma=0.8, P=1e12, amplitude=dynsim.Fixed(1.0))
    >>> f"{dynsim.theory.mixed_escape_time(problem, weight=2.0):.3g}"
    '2.98e+09'
    """
    check_temperature(temperature)
    _check_weight(weight)
    law = problem.amplitude
    base = escape_time(problem, finite=finite)
    if law.L == law.U:
        left = 1.0 - collapsed_attention(problem, weight, temperature, finite)
        return base / left if left > 0 and weight < collapse_weight(problem, temperature) else math.inf
    settled = _settled(problem, weight, temperature)
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


def escaped_attention(problem: Problem, weight: float, temperature: float = 0.5, finite: bool = False) -> float:
    """Return attention of local queries on the global area long after their own escape (E20), fixed amplitude.

    Parameters
    ----------
    problem : Problem
        What is simulated.
    weight : float
        The alpha in L = L_rec + alpha P L_con, at least 0.
    temperature : float
        Of the softmax over negatives, tau > 0.
    finite : bool
        Whether to count the share of the global area, whose queries are a part of the pooled output, at this P.

    Returns
    -------
    float
        The A_g at which alpha D = 2 gamma z A_g: 0 up to twice the critical weight, then sqrt(tau log((K - 1)(alpha / (2 gamma)
        - 1))) / z, 1 from twice the collapse weight on. finite=True: the lowest root of that with f = z (c + (1 - c) A_g); of
        order c up to twice the critical weight.

    Raises
    ------
    InputError
        For random amplitudes, a weight below 0, or a temperature that is not positive.

    Notes
    -----
    Class: asymptotic; Delta > 0. From the collapse weight on it is reached after `mixed_escape_time` only, which is exponentially
    late there. For Delta < 0 local queries that have escaped keep nothing for the global area: A_g falls as 1 - A_o. finite=True:
    closed, error of the order of c / P^kappa_s and of (C_s / P)^2 P^(1 - kappa_s).

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=4, gamma=0.8, P=1e12, amplitude=dynsim.Fixed(1.0))
    >>> [round(dynsim.theory.escaped_attention(problem, weight), 4) for weight in (2.0, 2.3, 2.6)]
    [0.0, 0.3687, 0.5606]
    >>> round(dynsim.theory.escaped_attention(problem, 2.0, finite=True), 4)
    0.3082
    """
    check_temperature(temperature)
    _check_weight(weight)
    law, K, gamma = problem.amplitude, problem.K, problem.masked / problem.P
    if law.L != law.U:
        raise InputError(f"attention after the escape is known for a fixed amplitude, got {law!r}: run a MixedOrbitField")
    if not finite:
        left = (K - 1) * (weight / (2 * gamma) - 1)
        return min(1.0, math.sqrt(temperature * math.log(left)) / law.L) if left > 1 else 0.0
    c = problem.C_global / problem.P

    def net(A: float) -> float:
        f = law.L * (c + (1 - c) * A)
        less = math.exp(-f * f / temperature)
        apart = (K - 1) * f * less / ((K - 1) * less + 1) if K > 1 else 0.0
        return weight * apart - 2 * gamma * law.L * A

    grid = np.linspace(0.0, 1.0, STEPS)
    for a, b in zip(grid, grid[1:], strict=False):
        if net(b) < 0:
            return float(optimize.brentq(net, a, b, xtol=1e-15))
    return 1.0


def overtaking_weight(problem: Problem) -> float:
    """Return the weight above which the global area takes all attention before the own area of a local query escapes (E21).

    Parameters
    ----------
    problem : Problem
        What is simulated.

    Returns
    -------
    float
        The weight alpha at which both take off at one time: the root of int_0^inf dphi / (alpha (E[z^3 e^(z phi)] - E[z] E[z^2
        e^(z phi)] / K) + rho (alpha G(phi) - gamma E[z^3 e^(2 z phi)])) = P^Delta I_1 / gamma, G as in `collapse_time`, I_1 as in
        `escape_time`. Fixed z, Delta well below 0: gamma K / (K - 1) P^(-Delta) (1 - rho log(1 + 1 / rho)). The critical weight
        where the global area wins at any weight above it; inf for K = 1 and fixed z.

    Raises
    ------
    InputError
        Where global queries are not first, kappa_c <= kappa_s.

    Notes
    -----
    Class: asymptotic, similarities small against tau; relative error of the order of P^-(kappa_c - kappa_s), the time at which
    global queries escape, in that of local ones. For Delta < 0 it grows as P^-Delta, so that any fixed weight is diverse in the
    end.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=4, gamma=0.8, P=1e12, kappa_c=0.6, kappa_s=0.4, amplitude=dynsim.Fixed(1.0))
    >>> round(dynsim.theory.overtaking_weight(problem))
    172
    """
    if not problem.kappa_c > problem.kappa_s:
        raise InputError(
            f"global queries must be first, kappa_c > kappa_s, got {problem.kappa_c:g} and {problem.kappa_s:g}: raise kappa_c"
        )
    law, K, gamma, rho = problem.amplitude, problem.K, problem.masked / problem.P, problem.rho
    lowest = critical_weight(problem)
    if math.isinf(lowest):
        return math.inf
    end = 45 / law.L
    goal = float(problem.P) ** problem.Delta / gamma
    goal *= fading_integral(lambda phi: np.exp(-tilted(law, 3, phi)), end, 0.5 / law.U)

    def left(log_weight: float) -> float:
        weight = math.exp(log_weight)

        def late(phi: np.ndarray) -> np.ndarray:
            by_local = weight * push(law, K, phi) - gamma * np.exp(tilted(law, 3, 2 * phi))
            return 1 / (weight * _by_global_queries(law, K, phi) + rho * by_local)

        return fading_integral(late, end, 0.25 / law.U) - goal

    low = math.log(lowest) + 1e-9
    if left(low) <= 0:
        return lowest
    return math.exp(optimize.brentq(left, low, low - math.log(goal) + 9.0, xtol=1e-12))


@remembered
def _settled(problem: Problem, weight: float, temperature: float) -> _Settled:
    """One search for all that is asked of it."""
    return _Settled(problem, weight, temperature)


class _Settled:
    """Where the global correlation of a local query comes to rest from zero on: the next root of both pushes, at this P (E12)."""

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
        return z, weight, A, rest, f - negatives(f, f, weight, self.K, self.tau)

    def net(self, phi: float) -> float:
        """Both pushes over E[z^2 A (1 - A)]."""
        z, weight, A, rest, D = self.pieces(phi)
        scale = weight * z**2 * A * rest
        return float(scale @ (self.weight * D - self.gamma * z * A) / scale.sum())

    def _root(self) -> float:
        before, up = 0.0, self.net(0.0) > 0
        for phi in np.linspace(before, self.largest if up else LOWEST / self.law.U, STEPS)[1:].tolist():
            if (self.net(phi) > 0) != up:
                return float(optimize.brentq(self.net, before, phi, xtol=1e-13))
            before = phi
        return math.inf if up else -math.inf

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


def _by_global_queries(law: Law, K: int, phi: np.ndarray) -> np.ndarray:
    """E[z^3 e^(z phi)] - E[z] E[z^2 e^(z phi)] / K: what escaped global queries add to the push on a local one."""
    return np.exp(tilted(law, 3, phi)) - law.moment(1) * np.exp(tilted(law, 2, phi)) / K


def _log_pile(law: Law, K: int, tau: float, edge: float) -> float:
    """log(1 + E[e^(edge z / tau) - 1; z > edge] / K) of uniform amplitudes."""
    x, w = NODES
    s = edge * (edge + (law.U - edge) * (1 + x) / 2) / tau
    share, top = (law.U - edge) / (law.U - law.L) / K, float(s[-1])
    if top < 30 or share <= 0:
        return math.log1p(float(w @ np.expm1(np.minimum(s, 30))) / 2 * share)
    return top + math.log(math.exp(-top) + float(w @ (np.exp(s - top) - math.exp(-top))) / 2 * share)


def _top(law: Law) -> float:
    """Probability of the largest amplitude."""
    if law.L == law.U:
        return 1.0
    return float(law.weights[int(np.argmax(law.values))]) if isinstance(law, Discrete) else 0.0


def _check_density(law: Law) -> None:
    if not isinstance(law, Uniform):
        raise InputError(f"the limit is known for fixed and uniform amplitudes, got {law!r}: collapsed_attention(finite=True)")


def _check_weight(weight: float) -> None:
    if not (is_number(weight) and weight >= 0):
        raise InputError(f"weight must be at least 0 and finite, got {weight!r}: take e.g. 1.0")

"""Closed forms of contrastive learning: which area attention collapses to, when, and how completely.

L_con is InfoNCE over two masked views with many negatives; time is t = eta x step; what it does beside reconstruction is in
balance.py. Derivations and equation numbers (E): docs/contrastive-population.md. In every cluster an area with a share eps =
rho C / P of the softmax draws A(z) = eps e^(z phi) / (1 - eps + eps e^(z phi)) at an FP correlation phi and an amplitude z;
f(z) = z A(z) is what a view shows of it, and the other images of a cluster push it away by

    N(f) = (1 / K) E'[e^(f f' / tau) f'] / ((K - 1) / K + (1 / K) E'[e^(f f' / tau)]).

Class *asymptotic* is large P (or long t); *closed*: the equation for phi solved as it stands at this P, without PP and the local
areas.
"""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from dynsim.errors import InputError
from dynsim.model.amplitude import Uniform, check_temperature
from dynsim.model.problem import Problem
from dynsim.theory._pairs import push, pushed_away, take_off_integral
from dynsim.theory._remember import remembered
from dynsim.theory.averages import COUNTS, amplitude_nodes, fading_integral, hypergeometric, integral


def winning_area(problem: Problem) -> str:
    """Return the area that contrastive attention collapses to (E10).

    Parameters
    ----------
    problem : Problem
        What is simulated.

    Returns
    -------
    str
        "global", "local", or "both" where they are equally large.

    Notes
    -----
    Class: asymptotic, many patches in both areas. Before any area is seen by much, phi grows at a rate share^2, the same for
    all but for this factor: the largest area blows up first and takes all attention, by however little it leads.

    Examples
    --------
    >>> import dynsim
    >>> dynsim.theory.winning_area(dynsim.Problem(P=1e12, kappa_c=0.9, kappa_s=0.4))
    'global'
    """
    if problem.C_global == problem.C_local:
        return "both"
    return "global" if problem.C_global > problem.C_local else "local"


def runner_up(problem: Problem) -> float:
    """Return the FP correlation of the smaller type of area when the larger one takes off (E10).

    Parameters
    ----------
    problem : Problem
        What is simulated.

    Returns
    -------
    float
        The root of int_0^phi dphi / G = (c / c')^2 int_0^inf dphi / G, c < c' the two sizes, G(phi) = E[z^3 e^(2 z phi)] -
        E[z^2 e^(z phi)] E[z e^(z phi)] / K: for fixed z, -log(1 - (c / c')^2) / (2 z), of order one however close the race; inf
        where both are equal.

    Raises
    ------
    InputError
        For K = 1 and a fixed amplitude.

    Notes
    -----
    Class: asymptotic; contrast alone.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(P=1e12, kappa_c=0.5, kappa_s=0.49, amplitude=dynsim.Fixed(1.0))
    >>> round(dynsim.theory.runner_up(problem), 3)
    0.428
    """
    small, large = sorted((problem.C_local, problem.C_global))
    if small == large:
        return math.inf
    goal = (small / large) ** 2 * take_off_integral(problem.amplitude, problem.K)
    if goal == math.inf:
        raise InputError("with K=1 and one amplitude nothing is learnt from contrast, and no area wins: take K >= 2")
    law = problem.amplitude

    def left(phi: float) -> float:
        return fading_integral(lambda x: 1 / push(law, problem.K, x), phi, min(phi, 0.25 / law.U)) - goal if phi else -goal

    high = 1.0 / law.U
    while left(high) < 0:
        high *= 2
    return float(optimize.brentq(left, 0.0, high, xtol=1e-13)) if goal > 0 else 0.0


@remembered
def collapse_time(
    problem: Problem, stop_gradient: bool = True, finite: bool = False, temperature: float = 0.5
) -> float:
    """Return the time at which contrastive learning alone, L = L_con, collapses to the global area (E8, E9).

    Parameters
    ----------
    problem : Problem
        What is simulated.
    stop_gradient : bool
        Whether only one view of a pair learns; else it takes half as long, for random z about so with finite=True.
    finite : bool
        Whether to integrate until E[A] = 1/2 with A not small: t = P K int dphi / E[z^2 A (1 - A) D], D = f - N(f).
    temperature : float
        Of the softmax over negatives, tau > 0; enters with finite=True only.

    Returns
    -------
    float
        In units of t = eta x step, for either sign of Delta: (P K / eps^2) int_0^inf dphi / G(phi), eps = rho C_g / P, G as in
        `runner_up`; K^2 / (K - 1) P^(1 + 2 (1 - kappa_c)) / (2 z^4 rho^2) for fixed z. inf for K = 1 and fixed z, where all
        images agree and nothing is learnt; with finite=True also where E[A] comes to rest below 1/2, as it may where few patches
        of a small area are unmasked.

    Raises
    ------
    InputError
        For a temperature that is not positive.

    Notes
    -----
    Class: asymptotic; relative error 4 eps for fixed z, half of it all at P = 100. finite=True: closed, with the scatter of the
    unmasked count of the area; PP and the local areas are left out: 1.3 % at P = 100, of the order of 1 / C_g and, for both
    forms, of rho C_l / C_g, which is much where local areas are nearly as large (4 % for kappas .5, .45 at P = 1e12).

    Examples
    --------
    >>> import dynsim
    >>> f"{dynsim.theory.collapse_time(dynsim.Problem(K=4, P=1e12, amplitude=dynsim.Fixed(1.0))):.3e}"
    '1.675e+16'
    """
    views = 1.0 if stop_gradient else 2.0
    check_temperature(temperature)
    law, K = problem.amplitude, problem.K
    if K == 1 and law.L == law.U:
        return math.inf
    P = float(problem.P)
    if not finite:
        eps = problem.rho * problem.C_global / P
        return P * K / eps * (take_off_integral(law, K) / eps) / views
    n, chance = _unmasked(problem)
    shown = n > 0
    if chance[shown].sum() <= 0.5:  # E[A] comes no further
        return math.inf
    log_odds = np.full(n.size, -math.inf)
    log_odds[shown] = np.log(n[shown]) - np.log(P - n[shown])
    middle = float(log_odds[shown] @ chance[shown] / chance[shown].sum()) if not shown.all() else float(log_odds @ chance)

    def drive(phi: float) -> float:
        z, weight = amplitude_nodes(law, max(phi, 1e-9), -middle / max(phi, 1e-9))
        x = (z * phi)[:, None] + log_odds
        A, rest = special.expit(x), special.expit(-x)
        both = weight[:, None] * chance
        f = z[:, None] * A
        D = (f @ chance)[:, None] - pushed_away(f.ravel(), both.ravel(), K, temperature, stop_gradient).reshape(f.shape)
        return float((both * z[:, None] ** 2 * A * rest * D).sum())

    def lead(phi: float) -> float:
        z, weight = amplitude_nodes(law, max(phi, 1e-9), -middle / max(phi, 1e-9))
        return float(weight @ special.expit((z * phi)[:, None] + log_odds) @ chance) - 0.5

    if lead(0.0) >= 0:
        return 0.0
    high = 1.0 / law.U
    while lead(high) < 0:
        high *= 2
    half = optimize.brentq(lead, 0.0, high, xtol=1e-12 * high)
    if min(drive(phi) for phi in np.linspace(0.0, half, 33)[1:]) <= 0:  # it comes to rest before
        return math.inf
    return P * K * integral(lambda phi: 1 / drive(phi), half, 0.5 / law.U) / views


def late_collapse(problem: Problem, t: ArrayLike, temperature: float = 0.5, stop_gradient: bool = True) -> np.ndarray:
    """Return the mean attention that the global area lacks long after the collapse, E[1 - A], under L = L_con (E11).

    Parameters
    ----------
    problem : Problem
        What is simulated.
    t : array_like
        Times in units of eta x step, well beyond `collapse_time(problem)`.
    temperature : float
        Of the softmax over negatives, tau > 0.
    stop_gradient : bool
        Whether only one view of a pair learns; else it is half as much.

    Returns
    -------
    ndarray
        In the shape of t: P K (K - 1 + e^(z^2 / tau)) / ((K - 1) z^4 t) for fixed z, 1 / t, against t^(-1/2) in reconstruction.
        Random z: phi from t = P K eps / (1 - eps) int^phi dphi / E[z^2 D e^(-z phi)] with all images collapsed; nan where D is
        not positive on average, as images of small amplitude are pushed out again, and where t is too small.

    Raises
    ------
    InputError
        For times or a temperature that are not positive.

    Notes
    -----
    Class: asymptotic in t; relative error (1 - A) log(1 / (1 - A)) and t_col / t.

    Examples
    --------
    >>> import dynsim
    >>> float(dynsim.theory.late_collapse(dynsim.Problem(K=4, P=1e6, amplitude=dynsim.Fixed(1.0)), 1e12).round(9))
    1.3852e-05
    """
    check_temperature(temperature)
    t = np.asarray(t, dtype=float)
    if not (t > 0).all():
        raise InputError(f"the late stage needs times t > 0, got {t.min():g}: take t well beyond collapse_time(problem)")
    law, K, P = problem.amplitude, problem.K, float(problem.P)
    log_odds = math.log(problem.rho * problem.C_global / P) - math.log1p(-problem.rho * problem.C_global / P)
    unit = P * K / (1.0 if stop_gradient else 2.0)

    def rates(phi: float) -> tuple[float, float]:
        """log E[e^(-z phi)] and log E[z^2 D e^(-z phi)]."""
        z, weight = amplitude_nodes(law, phi, law.L)
        D = z - pushed_away(z, weight, K, temperature, stop_gradient)
        fall = weight * np.exp(-(z - law.L) * phi)
        push = float(fall @ (z**2 * D))
        return math.log(fall.sum()) - law.L * phi, (math.log(push) if push > 0 else math.nan) - law.L * phi

    def time(phi: float) -> float:
        """log of the time, by its last e-folding: dphi / E[...] grows as e^(L phi), times phi where amplitudes have a density."""
        left, push = rates(phi)
        return math.log(unit) + log_odds - push - math.log(law.L + (1.0 / phi if isinstance(law, Uniform) else 0.0))

    found = np.full(t.shape, math.nan)
    for i in map(tuple, np.argwhere(np.isfinite(t))):
        low, high = 1e-3, 10.0
        if not math.isfinite(time(high)):
            continue
        while time(high) < math.log(t[i]):
            high *= 2
        goal = math.log(t[i])
        if time(low) >= goal:  # too early for the late stage
            continue
        phi = optimize.brentq(lambda x, goal=goal: time(x) - goal, low, high, xtol=1e-12 * high)
        found[i] = math.exp(rates(phi)[0] - log_odds)
    return found


def _unmasked(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Unmasked patches of the global area and their probabilities: all counts of a small one, the mean of a large one."""
    C = problem.C_global
    if C > COUNTS:
        return np.array([C * problem.rho]), np.ones(1)
    chance = hypergeometric(int(C), problem.unmasked, problem.P)
    kept = chance > 1e-18
    return np.flatnonzero(kept).astype(float), chance[kept] / chance[kept].sum()

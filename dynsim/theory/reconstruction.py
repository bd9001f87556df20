"""Closed forms of the reconstruction dynamics: what they do, without integrating them.

Time is t = eta x step, losses are per masked patch, all correlations start at zero. In every cluster a query sees an *own*
area of C patches: C ~ P^kappa_s for a local query ("L"), C ~ P^kappa_c for a global one ("G"). Its FP correlation phi obeys,
where areas are large and K clusters decouple::

    dphi/dt = (gamma / K) E[z^3 A (1 - A)^2],    A = n e^(z phi) / (n e^(z phi) + P - n),    n ~ rho C

and almost everything below is this one equation. Each function says of what class it is: *exact* for the population
dynamics, *closed* (a stated closure, then no approximation but of stated order), or *asymptotic* in P or t, with the
conditions. Equation numbers are those of docs/model.md; the derivations stand there.

A query type is "L" or "G" (any cluster whose own area is of that type), or one of these for each cluster ("LLGL").
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize

from dynsim.errors import InputError
from dynsim.model.amplitude import Law
from dynsim.model.partition import Partition
from dynsim.model.problem import Problem
from dynsim.theory._remember import remembered
from dynsim.theory.averages import (
    OwnArea,
    amplitude_nodes,
    fading_integral,
    integral,
    log_log1p_exp,
    log_none_unmasked,
    root,
    tilted,
)

BOUNDARY = 1e-12  # |Delta| below this is rounding of kappa_c and kappa_s

# What the paper states, for tables that put it beside a measured exponent. None: it bounds this, but the number in its
# theorems was not at hand, and is left out rather than guessed.
PUBLISHED: dict[str, dict] = {
    "escape_time": {"bound": "from above", "exponent": None, "source": "Huang, Wen, Chi, Liang, arXiv 2403.02233"},
}


def information_gap(problem: Problem) -> float:
    """Return the information gap (eq. 7).

    Parameters
    ----------
    problem : Problem
        Gives the exponents of the area sizes.

    Returns
    -------
    float
        Delta = (1 - kappa_s) - 2 (1 - kappa_c).

    Notes
    -----
    Class: exact.

    Examples
    --------
    >>> import dynsim
    >>> round(dynsim.theory.information_gap(dynsim.Problem(kappa_c=0.9, kappa_s=0.4)), 12)
    0.4
    """
    return problem.Delta


def regime(problem: Problem) -> str:
    """Return which phases a local query goes through, from the sign of Delta (eq. 7).

    Parameters
    ----------
    problem : Problem
        Gives the exponents of the area sizes.

    Returns
    -------
    str
        "two phases" (Delta > 0: the global FP correlation falls first, then the own one takes off), "one phase" (Delta < 0: the
        global one hardly moves) or "boundary".

    Notes
    -----
    Class: asymptotic; the change is gradual while P^abs(Delta) is of order one.

    Examples
    --------
    >>> import dynsim
    >>> dynsim.theory.regime(dynsim.Problem(kappa_c=0.9)), dynsim.theory.regime(dynsim.Problem(kappa_c=0.6))
    ('two phases', 'one phase')
    """
    if abs(problem.Delta) < BOUNDARY:
        return "boundary"
    return "two phases" if problem.Delta > 0 else "one phase"


def escape_integral(law: Law) -> float:
    """Return the integral I_1 of an amplitude law that the escape time contains (eq. 8).

    Parameters
    ----------
    law : Law
        Law of z.

    Returns
    -------
    float
        I_1 = int_0^inf dphi / E[z^3 e^(z phi)]; 1 / z^4 when z is fixed.

    Notes
    -----
    Class: exact.

    Examples
    --------
    >>> import dynsim
    >>> round(dynsim.theory.escape_integral(dynsim.Fixed(2.0)), 10)
    0.0625
    """
    # log E is convex in phi: the integrand stays below exp(-phi E[z^4] / E[z^3]), and what is cut off below e^-45
    end = 45 * math.exp(tilted(law, 3, 0.0) - tilted(law, 4, 0.0))
    return fading_integral(lambda phi: np.exp(-tilted(law, 3, phi)), end, 0.5 / law.U)


def escape_time(problem: Problem, query: str = "L", finite: bool = False) -> float:
    """Return the time at which the own attention takes off, in the cluster that takes longest.

    Parameters
    ----------
    problem : Problem
        What is simulated.
    query : str
        Query type, "L", "G", or one of them for each cluster.
    finite : bool
        Whether to count what vanishes for large P (eq. 15).

    Returns
    -------
    float
        Time t = eta x step; with ``finite``, inf where E[A] cannot reach 1/2, as the own area is wholly masked half of the time.

    Raises
    ------
    InputError
        If the query type does not fit K.

    Notes
    -----
    Local (eq. 8) and global clusters (eq. 11): t = K / (gamma rho) P^(1 - kappa) I_1 with kappa = kappa_s or kappa_c, for
    either sign of Delta. Class: asymptotic, P^kappa and P^(1 - kappa) >> 1. Relative corrections, eps = rho P^-(1 - kappa):
    3 eps log(1 / eps), slow for global queries (18 % at P = 1e12, 0.7 % at 1e30 for kappa_c = 0.9); -1 / (z^2 P^kappa) from
    PP; for local queries -rho P^-(1 - kappa_c) if Delta > 0. The threshold of attention does not enter, unless two
    neighbouring amplitudes z > z' have no weight between them: then the slower ones add P^-(3 (1 - kappa) z' / (2 z + z')).

    ``finite=True`` (eq. 15): until E[A] = 1/2, with areas counted exactly and softmax saturation, PP and the fall of the global
    correlation to first order. Class: closed, error of second order in the corrections above and, from the other local areas,
    about -2 rho^2 P^-(1 - kappa_s).

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=1, gamma=0.75, P=1e12, amplitude=dynsim.Fixed(1.0))
    >>> round(dynsim.theory.escape_time(problem) / (1e12**0.6 / (0.75 * 0.25)), 6)
    1.0
    >>> round(dynsim.theory.escape_time(problem, finite=True) / dynsim.theory.escape_time(problem), 4)
    0.9844
    """
    return max(_escape(problem, area, finite) for area in set(_query_type(problem, query)))


@remembered
def global_depth(problem: Problem, finite: bool = False) -> float:
    """Return how far a local query's global FP correlation has fallen at its escape (eq. 9).

    Parameters
    ----------
    problem : Problem
        What is simulated.
    finite : bool
        Whether to count what vanishes for large P (eq. 16).

    Returns
    -------
    float
        Phi_g <= 0; with ``finite``, nan where the own attention never reaches 1/2.

    Notes
    -----
    int_{Phi_g}^0 dphi / E[z^3 e^(2 z phi)] = rho P^Delta I_1; for fixed z, Phi_g = -(1 / 2z) log(1 + 2 rho P^Delta). Either
    sign of Delta. Class: asymptotic, kappa_c > kappa_s. Error if Delta > 0 of the order of rho P^-(1 - kappa_c); if Delta < 0
    the escape itself lowers it further, relatively by P^-(kappa_c - kappa_s) log P, which dominates where kappa_c <= kappa_s.

    ``finite=True`` (eq. 16): with the counts and the time of (15), and that further fall to first order. Class: closed.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=1, gamma=0.75, P=1e12, amplitude=dynsim.Fixed(1.0))
    >>> round(dynsim.theory.global_depth(problem), 4), round(dynsim.theory.global_depth(problem, finite=True), 4)
    (-5.1796, -5.1891)
    """
    law = problem.amplitude
    if finite:
        return _depth_at_this_size(problem)
    return -_depth(law, math.log(problem.rho) + problem.Delta * math.log(problem.P) + math.log(escape_integral(law)))


def log_depth_integral(law: Law, depth: float) -> float:
    """Return the logarithm of the integral that the depth of the global correlation inverts (eq. 9).

    Parameters
    ----------
    law : Law
        Law of z.
    depth : float
        The global FP correlation, below 0.

    Returns
    -------
    float
        The value of log int_depth^0 dphi / E[z^3 e^(2 z phi)]: log(rho P^Delta I_1) where depth is that of (9).

    Notes
    -----
    For fixed z it is log((e^(2 z abs(depth)) - 1) / (2 z^4)). Class: exact.

    Examples
    --------
    >>> import math
    >>> import dynsim
    >>> round(dynsim.theory.log_depth_integral(dynsim.Fixed(1.0), -2.0) - math.log(math.expm1(4.0) / 2), 10)
    0.0
    """
    y, end = -depth, tilted(law, 3, 2 * depth)
    return math.log(fading_integral(lambda s: np.exp(end - tilted(law, 3, -2 * (y - s))), y, min(y, 0.5 / law.U))) - end


def loss_floor(problem: Problem, part: Partition | None = None, query: str | None = None) -> float:
    """Return the loss that no training removes, because the own area is wholly masked (eq. 6).

    Parameters
    ----------
    problem : Problem
        What is simulated; P up to 1e100 without a partition.
    part : Partition, optional
        Area sizes; those of the problem by default.
    query : str, optional
        Query type over which to average; all patches by default.

    Returns
    -------
    float
        Loss per masked patch.

    Raises
    ------
    InputError
        If the partition is one of another problem, or the query type does not fit K or does not occur in it.

    Notes
    -----
    Mean over p, k of Pr[the other C - 1 patches of the own area are masked | p masked] x E[z^2] / 2. Class: exact.

    Examples
    --------
    >>> import dynsim
    >>> round(dynsim.theory.loss_floor(dynsim.Problem(K=4, gamma=0.8, P=196)), 5)
    0.04219
    """
    N, U = problem.P - 1, problem.unmasked
    chance = _mean_over_areas(problem, part, query, lambda C, k: math.exp(log_none_unmasked(C - 1, U, N)))
    return chance * problem.amplitude.moment(2) / 2


def initial_loss(problem: Problem, part: Partition | None = None, query: str | None = None) -> float:
    """Return the loss at t = 0, where every key has attention 1 / P (eq. 14).

    Parameters
    ----------
    problem : Problem
        What is simulated; P up to 1e100 without a partition.
    part : Partition, optional
        Area sizes; those of the problem by default.
    query : str, optional
        Query type over which to average; all patches by default.

    Returns
    -------
    float
        Loss per masked patch.

    Raises
    ------
    InputError
        If the partition is one of another problem, or the query type does not fit K or does not occur in it.

    Notes
    -----
    E[z^2] / 2 x (sum_m E[n_m^2] / P^2 - 2 E[n_own] / P + 1), with n_m the unmasked patches of area m given that p is masked,
    hypergeometric. Class: exact, for any P.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=2, gamma=0.75, P=64)
    >>> part = dynsim.Partition.blocks(problem)
    >>> round(dynsim.theory.initial_loss(problem, part) / dynsim.reduced.PopulationField(problem, part).velocity(
    ...     dynsim.reduced.PopulationField(problem, part).start())[0], 9)
    1.0
    """
    P, N, U = problem.P, problem.P - 1, problem.unmasked
    one, pair = U / N, U / N * (U - 1) / max(N - 1, 1)

    def square(C: Any) -> Any:  # numbers or arrays; E[n^2] / P^2 of C places
        return C / P * (one / P + (C - 1) / P * pair)

    if part is None:
        local = sum(share / C * square(C) for C, share in _sizes(problem)["L"]) * (P - problem.C_global)
        total = [square(problem.C_global) + local] * problem.K
    else:
        _check_partition(problem, part)
        total = [square(part.size[a:b].astype(float)).sum() for a, b in zip(part.offset, part.offset[1:], strict=False)]

    def loss(C: float, k: int) -> float:
        return total[k] - square(C) + square(C - 1) - 2 * (C - 1) / P * one + 1

    return _mean_over_areas(problem, part, query, loss) * problem.amplitude.moment(2) / 2


def late_loss(problem: Problem, t: ArrayLike, query: str = "L", finite: bool = False) -> np.ndarray:
    """Return the excess of the loss over its floor long after the escape (eq. 12).

    Parameters
    ----------
    problem : Problem
        What is simulated.
    t : array_like
        Times eta x step, above 0.
    query : str
        Query type, "L", "G", or one of them for each cluster.
    finite : bool
        Whether to count what vanishes for late times.

    Returns
    -------
    ndarray
        Excess loss per masked patch, in the shape of t: K / (4 gamma L^2 t), L the smallest amplitude; with ``finite``, nan
        before the escape (15).

    Raises
    ------
    InputError
        If the query type does not fit K, or t <= 0.

    Notes
    -----
    Class: asymptotic, t - t_esc ~ t >> K / gamma (for random z >> (K / gamma) log(P)^2). Slope -1 for every law. Fixed z:
    relative error O(t^-1/2). Random z: the images with the smallest amplitude come last and dominate; if the law has a density
    at L the value is reached only as 1 - 1 / (L phi), where phi ~ log t. At very late times images that show nothing of the own
    area take over, with up to loss_floor x (rho C_global / P)^2.

    ``finite=True``: T(phi) - T(half) = t - t_esc, T = K l / (gamma s w^2), with the excess l = E[z^2 (1 - A)^2] / 2, w =
    E[z^3 A^2 (1 - A)^2] and s = 1 + 1 / (L^2 (C - 1)), the part that PP takes in the descent. Class: closed, relative error
    O(1 / (L phi)^2).

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=1, gamma=0.75, P=1e12, amplitude=dynsim.Fixed(1.0))
    >>> float(dynsim.theory.late_loss(problem, 1e12) * 1e12 * 3)
    1.0
    """
    t, areas = np.asarray(t, dtype=float), _query_type(problem, query)
    if not (t > 0).all():
        raise InputError(f"the late stage needs times t > 0, got {t.min():g}: take t well beyond escape_time(problem)")
    if not finite:
        return problem.K / (4 * _gamma(problem) * problem.amplitude.L**2 * t)
    excess = {area: _late(problem, area, t)[0] for area in set(areas)}
    return sum(excess[area] for area in areas) / len(areas)  # type: ignore[return-value]  # arrays, at least one


def pp_size(problem: Problem, query: str = "L", t: float | None = None) -> float:
    """Return the PP correlation of a query with another patch of its own area in one cluster (eq. 13).

    Parameters
    ----------
    problem : Problem
        What is simulated.
    query : str
        Query type, "L", "G", or one of them for each cluster.
    t : float, optional
        Time eta x step after the escape; at the escape (E[A] = 1/2) by default.

    Returns
    -------
    float
        Upsilon, the largest over clusters.

    Raises
    ------
    InputError
        If the query type does not fit K, t is before the escape, or own areas are too small ever to escape.

    Notes
    -----
    Upsilon = (1 / (C - 1) - (1 - rho) / (P - n)) int_0^phi w_2 / w_3 dphi, with w_j = E[z^j A (1 - A)^2]; for a time t, phi is
    that of ``late_loss(finite=True)``. For fixed z and large P it is phi / (z C) at all times, at the escape
    log(P^(1 - kappa) / rho) / (z^2 P^kappa). A key that lies in the query's own area in j of K clusters has j times as much.
    Class: asymptotic, relative error O(P^-kappa) + O(P^-(1 - kappa_c)).

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=1, gamma=0.75, P=1e30, amplitude=dynsim.Fixed(1.0))
    >>> import math
    >>> round(dynsim.theory.pp_size(problem) / (math.log(1e30**0.6 / problem.rho) / 1e30**0.4), 6)
    1.0
    """
    return max(_pp(problem, area, t) for area in set(_query_type(problem, query)))


def _gamma(problem: Problem) -> float:
    return problem.masked / problem.P


def _own_size(problem: Problem, area: str) -> float:
    return problem.C_local if area == "L" else problem.C_global


@remembered
def _escape(problem: Problem, area: str, finite: bool) -> float:
    law, rate, C = problem.amplitude, _gamma(problem) / problem.K, _own_size(problem, area)
    if not finite:
        kappa = problem.kappa_s if area == "L" else problem.kappa_c
        return float(problem.P) ** (1 - kappa) * escape_integral(law) / (rate * problem.rho)
    if C <= 1:
        return math.inf
    own = OwnArea(problem, C)
    half = own.half()
    if half == math.inf:
        return half
    faster = _thinning(problem) * problem.P / own.mean_n if area == "L" else 0.0
    return integral(lambda phi: 1 / own.drive(phi, 3) - faster * math.exp(-tilted(law, 3, phi)), half, 1 / law.U) / rate


@remembered
def _thinning(problem: Problem) -> float:
    """By how much, relatively, the fall of the global area out of the softmax shortens the escape: rho C_g / P times the mean
    over time of 1 - E[e^(z Phi_g)], which for fixed z is tanh(z |Phi_g| / 2)."""
    law, share = problem.amplitude, problem.rho * problem.C_global / problem.P
    log_r = math.log(share) + math.log(problem.C_global / problem.C_local) + math.log(escape_integral(law))

    def fallen(y: float) -> float:
        z, weight = amplitude_nodes(law, y, law.L)
        return -float(weight @ np.expm1(-z * y)) * math.exp(-tilted(law, 3, -2 * y) - log_r)

    depth = _depth(law, log_r)
    return share * integral(fallen, depth, min(depth, 1 / law.U))


def _depth_at_this_size(problem: Problem) -> float:
    """(16): n_g unmasked patches in the global area, Z = P (1 - thinning), and the further fall during the escape,
    E[z e^(z Phi_g)] n_g / Z int w_2 / w_3 dphi."""
    law, time = problem.amplitude, _escape(problem, "L", True)
    if not 0 < time < math.inf:
        return math.nan if time else 0.0
    own = OwnArea(problem, problem.C_local)
    n_g = problem.C_global * (problem.unmasked - own.mean_n) / (problem.P - problem.C_local)
    share = n_g / problem.P / (1 - _thinning(problem))
    depth = _depth(law, math.log(_gamma(problem) / problem.K * time) + 2 * math.log(share))
    return -depth - math.exp(tilted(law, 1, -depth)) * share * _pp_integral(own, own.half())


def _pp_integral(own: OwnArea, phi: float) -> float:
    """int_0^phi w_2 / w_3 dphi, w_j = E[z^j A (1 - A)^2]: phi / z for fixed z."""
    return integral(lambda x: own.drive(x, 2) / own.drive(x, 3), phi, 1 / own.law.U)


def _depth(law: Law, log_r: float) -> float:
    """y >= 0 with int_0^y ds / E[z^3 e^(-2 z s)] = r, from log r, in log y: nothing overflows, nothing rounds to zero."""
    log_z3 = tilted(law, 3, 0.0)
    slope = math.exp(tilted(law, 4, 0.0) - log_z3)
    # E[z^3] e^(-2 slope s) <= E[z^3 e^(-2 z s)] <= U^3 e^(-2 L s) and <= E[z^3]: brackets of y, equal for fixed z
    low = log_log1p_exp(math.log(2 * slope) + log_z3 + log_r) - math.log(2 * slope)
    high = log_log1p_exp(math.log(2 * law.L * law.U**3) + log_r) - math.log(2 * law.L)
    high = min(high, log_z3 + log_r)
    if high - low < 1e-13:
        return math.exp(low)

    def surplus(log_y: float) -> float:
        return log_depth_integral(law, -math.exp(log_y)) - log_r

    return math.exp(optimize.brentq(surplus, low - 1e-9, high + 1e-9, xtol=1e-13))


def _late(problem: Problem, area: str, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Excess loss and phi of one cluster at times t after its escape, each in the shape of t; nan before."""
    C, escaped = _own_size(problem, area), _escape(problem, area, True)
    excess, found = np.full(t.shape, math.nan), np.full(t.shape, math.nan)
    if not (t > escaped).any():
        return excess, found
    own = OwnArea(problem, C)
    half, rate = own.half(), _gamma(problem) / problem.K * (1 + 1 / (problem.amplitude.L**2 * (C - 1)))

    def log_time(phi: float) -> float:
        drive = own.drive(phi, 3, 2)
        return math.log(own.excess(phi) / rate) - 2 * math.log(drive) if drive else math.inf

    start = math.exp(log_time(half))
    for i in map(tuple, np.argwhere(t > escaped)):

        def ahead(phi: float, target: float = math.log(t[i] - escaped + start)) -> float:
            return log_time(phi) - target

        found[i] = root(ahead, half, half + own.centre / own.law.U)
        excess[i] = own.excess(found[i])
    return excess, found


def _pp(problem: Problem, area: str, t: float | None) -> float:
    C = _own_size(problem, area)
    own = OwnArea(problem, C)
    phi = own.half() if t is None else float(_late(problem, area, np.asarray(float(t)))[1])
    if not phi < math.inf:
        when = "own areas are wholly masked half of the time" if t is None else f"t={t:g} is not after it"
        raise InputError(f"PP is predicted from the escape on, but {when}: see escape_time(problem, finite=True)")
    keys = 1 / (C - 1) - (1 - own.mean_n / (C - 1)) / (problem.P - own.mean_n)  # unmasked keys rise, masked ones fall
    return keys * _pp_integral(own, phi)


# Queries and areas


def _query_type(problem: Problem, query: str) -> str:
    if not isinstance(query, str) or len(query) not in (1, problem.K) or set(query) - set("LG"):
        example = "L" * problem.K
        rule = f"query type must be L or G, or one of them for each of K={problem.K} clusters"
        raise InputError(f"{rule}, got {query!r}: take {example}")
    return query


def _sizes(problem: Problem) -> dict[str, list[tuple[float, float]]]:
    """(size, share of patches) of the own areas by query type; local areas are the two whole numbers around C_local."""
    small = math.floor(problem.C_local)
    extra = problem.C_local - small
    local = [(small, (1 - extra) * small / problem.C_local), (small + 1, extra * (small + 1) / problem.C_local)]
    return {"G": [(problem.C_global, 1.0)], "L": [(C, share) for C, share in local if share > 0]}


def _mean_over_areas(
    problem: Problem, part: Partition | None, query: str | None, value: Callable[[float, int], float]
) -> float:
    """Mean of value(own area size, cluster) over the patches and clusters of a query type."""
    if part is not None:
        _check_partition(problem, part)
        table = np.empty(part.own.shape)
        for k in range(part.K):
            sizes = part.size[part.offset[k] : part.offset[k + 1]].tolist()
            table[k] = np.array([value(C, k) for C in sizes])[part.labels[k]]
        return float(table[_occurs(problem, part, query)].mean())
    mean = {area: sum(share * value(C, 0) for C, share in sizes) for area, sizes in _sizes(problem).items()}
    if query is None:
        return mean["L"] + (mean["G"] - mean["L"]) * (problem.C_global / problem.P)
    return float(np.mean([mean[area] for area in _query_type(problem, query)]))


def _occurs(problem: Problem, part: Partition, query: str | None) -> np.ndarray:
    """bool (K, P): the pairs of cluster and patch of a query type."""
    is_global = part.labels == 0
    if query is None:
        return np.ones_like(is_global)
    fits = is_global == np.array([area == "G" for area in _query_type(problem, query)])[:, None]
    if len(query) == problem.K:
        fits = np.broadcast_to(fits.all(axis=0), fits.shape)
    if not fits.any():
        raise InputError(f"no patch of this partition is of query type {query!r}: take another, or leave the query out")
    return fits


def _check_partition(problem: Problem, part: Partition) -> None:
    if (part.K, part.P) != (problem.K, problem.P):
        raise InputError(f"partition of K={part.K}, P={part.P} is not one of the problem's K={problem.K}, P={problem.P}")

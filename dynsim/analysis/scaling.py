"""Exponents of escape time, depth, late loss, PP size and collapse time, measured on orbit flows, beside what theory derives.

The rule by which an exponent and its error are measured is that of ``exponent``.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import log
from typing import Any

import numpy as np

from dynsim import reduced, theory
from dynsim.analysis._slopes import Exponent, exponent, local_slopes
from dynsim.analysis.columns import plane
from dynsim.errors import InputError, Interrupted
from dynsim.model.problem import Problem
from dynsim.trajectory import Progress, Trajectory

DEFAULT_P = tuple(float(f"{P:.12g}") for P in np.geomspace(1e6, 1e30, 13))
RTOL = 1e-8
CONTRAST_RTOL, CONTRAST_NOISE = 1e-6, 1e-4  # of flows with contrast, whose quadratures are good to 1e-6; of their events
LATE = 100.0  # escape times after which the late stage begins; it is followed to the third power of that time
BEGIN = 1e16  # the late stage is measured at the largest P where it begins before this
QUANTITIES = ("escape_time", "depth", "late_loss", "pp_size")  # of reconstruction
COLLAPSE = ("collapse_time", "delayed_escape")  # of contrastive learning alone; of both, at a weight


def measure(
    problem: Problem,
    P: Iterable[float] = DEFAULT_P,
    quantities: Sequence[str] = QUANTITIES,
    progress: Progress | None = None,
    weight: float = 1.0,
    temperature: float = 0.5,
) -> list[Exponent]:
    """Measure exponents of the local queries of a problem.

    Parameters
    ----------
    problem : Problem
        Gives all but P.
    P : iterable of float
        Numbers of patches.
    quantities : sequence of str
        Names in QUANTITIES and COLLAPSE.
    progress : callable, optional
        Called with (done, total) after every run.
    weight, temperature : float
        Of the mixed objective, for "delayed_escape".

    Returns
    -------
    list of Exponent
        One for each quantity.

    Raises
    ------
    InputError
        If P are too few, a quantity does not exist, or no query escapes at some P.
    Interrupted
        On Ctrl-C.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=1, gamma=0.75, kappa_c=0.6, kappa_s=0.4)
    >>> P = [1e9, 1e12, 1e15, 1e18, 1e21]
    >>> [round(row.exponent, 2) for row in dynsim.analysis.scaling.measure(problem, P, ["escape_time", "depth"])]
    [0.6, -0.2]
    """
    for name in quantities:
        if name not in QUANTITIES + COLLAPSE:
            raise InputError(f"quantities are {', '.join(QUANTITIES + COLLAPSE)}, got {name!r}: take one of them")
    P = sorted({float(value) for value in P})
    problems = [replace(problem, P=value) for value in P]
    along_P = [name for name in quantities if name in QUANTITIES and name != "late_loss"]
    collapsing = [name for name in quantities if name in COLLAPSE]
    total = len(P) * (bool(along_P) + len(collapsing)) + ("late_loss" in quantities)
    counted = itertools.count(1)
    report = progress or (lambda done, total: None)
    rows: dict[str, Exponent] = {}
    try:
        found = []
        for one in problems if along_P else []:
            found.append(_at_escape(one))
            report(next(counted), total)
        rows |= {name: _along_P(name, problems, found) for name in along_P}
        if "late_loss" in quantities:
            rows["late_loss"] = _late(problems)
            report(next(counted), total)
        for name in collapsing:
            times = []
            for one in problems:
                times.append(_collapsing(name, one, weight, temperature))
                report(next(counted), total)
            rows[name] = _of_collapse(name, problems, times, weight, temperature)
    except KeyboardInterrupt:
        raise Interrupted("stopped before all exponents were measured: run it again") from None
    return [rows[name] for name in quantities]


def _collapsing(name: str, problem: Problem, weight: float, temperature: float) -> float:
    """When attention collapses under contrast alone, or own attention escapes under both objectives."""
    objective, event = {"collapse_time": ("contrastive", "collapse"), "delayed_escape": ("mixed", "escape")}[name]
    options = {"temperature": temperature} | ({"weight": weight} if name == "delayed_escape" else {})
    field = reduced.field_of_any_size(objective).from_options(problem, **options)
    end = field.horizon()
    time = reduced.flow(field, t_end=end, keep=2, rtol=CONTRAST_RTOL, until=event).meta["events"][event]
    if time is None:
        raise InputError(
            f"the {event} must come, at P={problem.P:.4g} it did not by t={end:.4g}: take larger P"
            f"{' or a smaller weight' if name == 'delayed_escape' else ''}"
        )
    return float(time)


def _of_collapse(
    name: str, problems: Sequence[Problem], times: Sequence[float], weight: float, temperature: float
) -> Exponent:
    P, problem = [one.P for one in problems], problems[-1]
    value, error, window, slopes = exponent(P, times, CONTRAST_NOISE)
    if name == "collapse_time":
        meaning, derived = "t_col ~ P^x", 1 + 2 * (1 - problem.kappa_c)
        closed = [theory.collapse_time(one, finite=True, temperature=temperature) for one in problems[-2:]]
    else:
        meaning, derived = "t_esc ~ P^x, mixed", 1 - problem.kappa_s
        closed = [_escape_at_weight(one, weight, temperature) for one in problems[-2:]]
    expected = float(local_slopes(P[-2:], closed)[0]) if np.isfinite(closed).all() else float("nan")
    if name == "delayed_escape" and np.isfinite(expected):
        error += abs(expected - derived)  # for random z the limit is reached as 1 / log P
    return Exponent(name, meaning, tuple(P), tuple(times), window, slopes, value, error, derived, expected)


def _escape_at_weight(problem: Problem, weight: float, temperature: float) -> float:
    """Closed form at this P; for Delta < 0 own attention escapes first, as without contrast."""
    if problem.Delta <= 0:
        return theory.escape_time(problem, finite=True)
    return theory.mixed_escape_time(problem, weight, temperature, finite=True)


def _at_escape(problem: Problem) -> dict[str, float]:
    """Escape time, and how far the global FP correlation has fallen and the own PP correlation grown by then."""
    field, limit = _orbit(problem), 4 * theory.escape_time(problem)
    traj = reduced.flow(field, t_end=limit, keep=2, rtol=RTOL)
    escape = traj.meta["events"]["escape"]
    if escape is None:
        raise InputError(
            f"own attention must pass one half, at P={problem.P:.4g} it did not by t={limit:.4g}: take larger P or kappa_s"
        )
    at = _escape_index(traj, escape)
    one_area = field.layout.class_of(np.array([[0], *[[2]] * (problem.K - 1)]))[0]  # own in one cluster, other elsewhere
    return {"escape_time": escape, "depth": _fallen(problem, traj.fp[at][:, 1].mean()), "pp_size": traj.pp[at][one_area]}


def _orbit(problem: Problem) -> Any:
    """The field that reaches any P: the first one registered."""
    return reduced.field_of_any_size().from_options(problem)


def _escape_index(traj: Trajectory, escape: float) -> int:
    """Index of the saved time of the escape. Beyond P = 1e20 the take-off has one t throughout: take that with half attention."""
    same = np.flatnonzero(traj.t == escape)
    return same[np.abs(traj.attention[same, :, 0].mean(axis=1) - 0.5).argmin()]


def _along_P(name: str, problems: Sequence[Problem], found: Sequence[Mapping[str, float]]) -> Exponent:
    P, y = [problem.P for problem in problems], [values[name] for values in found]
    problem = problems[-1]
    value, error, window, slopes = exponent(P, y)
    meaning, derived, closed = {
        "escape_time": ("t_esc ~ P^x", 1 - problem.kappa_s, lambda p: theory.escape_time(p, finite=True)),
        "depth": ("R(Phi_g) ~ P^x", problem.Delta, lambda p: _fallen(p, theory.global_depth(p))),
        "pp_size": ("Upsilon ~ P^x log P", -problem.kappa_s, theory.pp_size),
    }[name]
    expected = local_slopes(P[-2:], [closed(p) for p in problems[-2:]])[0]
    measured = tuple(P), tuple(map(float, y)), window, slopes, value, error
    return Exponent(name, meaning, *measured, derived, float(expected), theory.PUBLISHED.get(name))


def _fallen(problem: Problem, depth: float) -> float:
    """R(Phi_g) = int_{Phi_g}^0 dphi / E[z^3 e^(2 z phi)], which by (9) is a power of P for either sign of Delta and any law of z.
    (Phi_g itself nears -Delta log P / (2 L), only as 1 / log P for random z, or P^Delta.)"""
    return float(np.exp(theory.log_depth_integral(problem.amplitude, depth)))


def _late(problems: Sequence[Problem]) -> Exponent:
    """Excess loss along t, at a large P, where nothing but the own area is left of it."""
    problem = max((p for p in problems if LATE * theory.escape_time(p) <= BEGIN), key=lambda p: p.P, default=problems[0])
    field, start = _orbit(problem), LATE * theory.escape_time(problem)
    times = np.geomspace(start, start**3, 34)
    traj = reduced.flow(field, t_end=times[-1], keep=times, rtol=RTOL)
    saved = np.isin(traj.t, times)
    x, y = traj.t[saved], traj.loss[saved] - field.floor
    value, error, window, slopes = exponent(x, y)
    expected = local_slopes(times[-2:], theory.late_loss(problem, times[-2:], finite=True))[0]
    measured = tuple(x.tolist()), tuple(y.tolist()), window, slopes, value, error
    return Exponent("late_loss", "loss - floor ~ t^x", *measured, -1.0, float(expected), theory.PUBLISHED.get("late_loss"))


@dataclass(frozen=True)
class Boundary:
    """Where one phase turns into two, by P, and its limit for large P.

    Parameters
    ----------
    P : tuple of float
        Numbers of patches.
    Delta : tuple of float
        Information gap at the boundary for each P, mean over kappa_s.
    spread : tuple of float
        Largest less smallest Delta over kappa_s.
    limit : float
        Of the fit Delta = limit + slope / log P. Theory: 0.
    error : float
        Range of the limit as one P after another is left out.
    slope : float
        Of the fit. Theory: log(1 / rho).

    Examples
    --------
    >>> from dynsim.analysis.scaling import Boundary
    >>> Boundary((1e6, 1e9, 1e12), (0.1, 0.07, 0.05), (0.0, 0.0, 0.0), limit=0.0, error=1e-3, slope=1.4).limit
    0.0
    """

    P: tuple[float, ...]
    Delta: tuple[float, ...]
    spread: tuple[float, ...]
    limit: float
    error: float
    slope: float


def boundary(table: Mapping[str, np.ndarray]) -> Boundary:
    """Locate the boundary between one and two phases in the (kappa_c, kappa_s) plane, from runs alone.

    Parameters
    ----------
    table : mapping of str to ndarray
        Columns by name, as from ``sweep.load``, method orbit, for three or more P.

    Returns
    -------
    Boundary
        The boundary for each P, and its limit.

    Raises
    ------
    InputError
        If there are fewer P, or the boundary does not cross the grid.

    Notes
    -----
    At the boundary the global and the own FP correlation start equally fast; the ratio of theory's speeds is rho P^Delta. The
    place is interpolated between neighbouring kappa_c, in the logarithm of the ratio.

    Examples
    --------
    >>> import itertools
    >>> import numpy as np
    >>> from dynsim.analysis import scaling
    >>> grid = np.array(list(itertools.product([1e6, 1e9, 1e12], np.linspace(0.5, 0.95, 10), [0.2, 0.4]))).T
    >>> ratio = 0.25 * grid[0] ** ((1 - grid[2]) - 2 * (1 - grid[1]))
    >>> table = dict(zip(("P", "kappa_c", "kappa_s"), grid), speed_own=np.ones(60), speed_global=-ratio)
    >>> found = scaling.boundary(table)
    >>> abs(found.limit) < 1e-12, abs(found.slope - float(np.log(4))) < 1e-12
    (True, True)
    """
    where, spread, Ps = [], [], np.unique(table["P"])
    if len(Ps) < 3:
        raise InputError(f"a limit for large P needs at least 3 values of P, got {len(Ps)}: sweep --P over more")
    for P in Ps:
        rows = {name: values[table["P"] == P] for name, values in table.items()}
        kappa_c, kappa_s, own = plane(rows, "speed_own")
        with np.errstate(invalid="ignore", divide="ignore"):
            lead = np.log(-plane(rows, "speed_global")[2] / own)
        found = [_crossing(kappa_c, line) for line in lead]
        gaps = [1 - s - 2 * (1 - c) for c, s in zip(found, kappa_s, strict=True) if c is not None]
        if not gaps:
            raise InputError(f"the boundary must cross the grid, at P={P:.4g} it does not: take a wider range of kappa_c")
        where.append(float(np.mean(gaps)))
        spread.append(float(np.ptp(gaps)))
    x, y = 1 / np.log(Ps), np.array(where)
    slope, limit = np.polyfit(x, y, 1)
    without = [np.polyfit(np.delete(x, i), np.delete(y, i), 1)[1] for i in range(len(x))]
    return Boundary(tuple(Ps), tuple(where), tuple(spread), float(limit), float(np.ptp([*without, limit])), float(slope))


def _crossing(x: np.ndarray, y: np.ndarray) -> float | None:
    """First x at which y turns positive, between neighbours by a straight line; None where it does not."""
    for i in range(len(x) - 1):
        if y[i] < 0 <= y[i + 1]:
            return x[i] - y[i] * (x[i + 1] - x[i]) / (y[i + 1] - y[i])
    return None


def expected_boundary(problem: Problem) -> float:
    """Return the information gap at which the starting speeds of (eq. 5) are equal.

    Parameters
    ----------
    problem : Problem
        Gives rho and P.

    Returns
    -------
    float
        The gap, log(1 / rho) / log P.

    Examples
    --------
    >>> import dynsim
    >>> round(dynsim.analysis.scaling.expected_boundary(dynsim.Problem(gamma=0.75, P=1e12)), 4)
    0.0502
    """
    return log(1 / problem.rho) / log(problem.P)

"""Exponents of escape time, depth, late loss and PP size, measured on orbit flows, beside what theory derives.

A quantity y is followed along x (P at fixed exponents kappa, or t), and its *local slopes* d log y / d log x are taken
between neighbours. The rule is the same for all:

========  ======================================================================================================
window    x from x_max^(1/3) to x_max: the upper two thirds on the log axis
exponent  the last local slope
error     how far the local slopes in the window lie apart, and what the integrator's accuracy leaves open
========  ======================================================================================================

A slope that tends to its limit as x^-b, b > 0, or as 1 / log x, has at x_max^(1/3) at least three times the error that it has
at x_max, so the limit lies within the error (at most half of it, for a monotonic slope). It is an error of the window, not a
statistical one: nothing is random.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import log
from typing import Any

import numpy as np

from dynsim import reduced, theory
from dynsim.analysis.columns import plane
from dynsim.errors import InputError, Interrupted
from dynsim.model.problem import Problem
from dynsim.trajectory import Progress, Trajectory

DEFAULT_P = tuple(float(f"{P:.12g}") for P in np.geomspace(1e6, 1e30, 13))
RTOL = 1e-8
NOISE = 1e-6  # upper bound of the relative error of events and correlations at that rtol
LATE = 100.0  # escape times after which the late stage begins; it is followed to the third power of that time
BEGIN = 1e16  # the late stage is measured at the largest P where it begins before this
LEAST = 4  # points in a window
Reals = Sequence[float] | np.ndarray
QUANTITIES = ("escape_time", "depth", "late_loss", "pp_size")


@dataclass(frozen=True)
class Exponent:
    """One measured exponent.

    Parameters
    ----------
    quantity : str
        Name in QUANTITIES.
    meaning : str
        What grows with what.
    x, y : tuple of float
        All that was measured.
    window : tuple of float
        Smallest and largest x used.
    slopes : tuple of float
        Local slopes in the window.
    exponent : float
        The last of them.
    error : float
        Its error, by the rule of this module.
    derived : float
        The limit of the exponent for large x.
    expected : float
        The last local slope of the closed form at the same finite x.
    published : dict, optional
        A bound from the paper.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=1, gamma=0.75)
    >>> (found,) = dynsim.analysis.scaling.measure(problem, [1e9, 1e12, 1e15, 1e18, 1e21], ["escape_time"])
    >>> found.meaning, round(found.exponent, 3), found.derived, found.agrees
    ('t_esc ~ P^x', 0.6, 0.6, True)
    """

    quantity: str
    meaning: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    window: tuple[float, float]
    slopes: tuple[float, ...]
    exponent: float
    error: float
    derived: float
    expected: float
    published: dict | None = None

    @property
    def agrees(self) -> bool:
        """Whether the derived exponent lies within the error."""
        return bool(abs(self.exponent - self.derived) <= self.error)


def local_slopes(x: Reals, y: Reals) -> np.ndarray:
    """Return the slopes d log|y| / d log x between neighbours.

    Parameters
    ----------
    x, y : array_like of shape (n,)
        Coordinates of a curve, x positive.

    Returns
    -------
    ndarray of shape (n - 1,)
        The slopes.

    Examples
    --------
    >>> from dynsim.analysis import scaling
    >>> scaling.local_slopes([1.0, 2.0, 4.0], [1.0, 4.0, 16.0]).round(12)
    array([2., 2.])
    """
    return np.diff(np.log(np.abs(y))) / np.diff(np.log(x))


def exponent(
    x: Reals, y: Reals, noise: float = NOISE
) -> tuple[float, float, tuple[float, float], tuple[float, ...]]:
    """Return the exponent of y along x, by the rule of this module.

    Parameters
    ----------
    x : array_like of shape (n,)
        Rising values > 1.
    y : array_like of shape (n,)
        Values of one sign.
    noise : float
        Relative accuracy of y.

    Returns
    -------
    exponent : float
        The last local slope.
    error : float
        Its error.
    window : tuple of float
        Smallest and largest x used.
    slopes : tuple of float
        Local slopes in the window.

    Raises
    ------
    InputError
        If the window holds fewer than four points, or y is not finite there.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim.analysis import scaling
    >>> x = np.geomspace(1e3, 1e9, 7)
    >>> slope, error, window, _ = scaling.exponent(x, x**0.5 + 1)
    >>> round(slope, 4), round(error, 3), window
    (0.5, 0.009, (1000.0, 1000000000.0))
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    inside = x >= x[-1] ** (1 / 3) * (1 - 1e-9)
    if inside.sum() < LEAST or not (np.diff(x) > 0).all() or x[0] <= 1:
        raise InputError(
            f"an exponent needs at least {LEAST} rising values from x_max^(1/3) to x_max, x > 1, got {inside.sum()}: "
            f"give more, or a wider range"
        )
    a, b = x[inside], y[inside]
    if not (np.isfinite(b).all() and b.all()):
        raise InputError(f"an exponent needs finite values, got {b.tolist()}: leave out where the event does not come")
    slopes = local_slopes(a, b)
    error = np.ptp(slopes) + 2 * noise / np.diff(np.log(a)).min()
    return float(slopes[-1]), float(error), (float(a[0]), float(a[-1])), tuple(slopes.tolist())


def measure(
    problem: Problem,
    P: Iterable[float] = DEFAULT_P,
    quantities: Sequence[str] = QUANTITIES,
    progress: Progress | None = None,
) -> list[Exponent]:
    """Measure exponents of the local queries of a problem.

    Parameters
    ----------
    problem : Problem
        Gives all but P.
    P : iterable of float
        Numbers of patches.
    quantities : sequence of str
        Names in QUANTITIES.
    progress : callable, optional
        Called with (done, total) after every run.

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
        if name not in QUANTITIES:
            raise InputError(f"quantities are {', '.join(QUANTITIES)}, got {name!r}: take one of them")
    P = sorted({float(value) for value in P})
    problems = [replace(problem, P=value) for value in P]
    total = len(P) + ("late_loss" in quantities)
    report = progress or (lambda done, total: None)
    try:
        found = []
        for i, one in enumerate(problems):
            found.append(_at_escape(one))
            report(i + 1, total)
        rows = [_along_P(name, problems, found) for name in quantities if name != "late_loss"]
        if "late_loss" in quantities:
            rows.insert(quantities.index("late_loss"), _late(problems))
            report(total, total)
    except KeyboardInterrupt:
        raise Interrupted("stopped before all exponents were measured: run it again") from None
    return rows


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
    return reduced.field_class(reduced.method_key()).from_options(problem)


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

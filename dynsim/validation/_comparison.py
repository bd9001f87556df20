"""Deviations between two trajectories of the same run, number by number.

Deviations are taken over all saved times and entries: absolute for the correlations FP and PP and for attention, which start
at zero or are of order one, relative for the loss. The default bounds are those of rounding: a step adds a few units of
1e-16 and the dynamics contract, so that 1e-12 leaves two to three digits over hundreds of steps.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike

from dynsim.errors import InputError
from dynsim.trajectory import Trajectory

Arrays = Mapping[str, ArrayLike]

BOUNDS = {"fp": 1e-12, "pp": 1e-12, "loss": 1e-12, "attention": 1e-12}


@dataclass(frozen=True)
class Row:
    """One checked number of a level.

    Parameters
    ----------
    level : str
        Name in LEVELS.
    case : str
        The problem.
    quantity : str
        What was measured.
    deviation : float
        How far off it is.
    bound : float
        How far off it may be.
    passed : bool
        Whether the deviation is within the bound.
    note : str
        Circumstances, in words.

    Examples
    --------
    >>> from dynsim import validation
    >>> validation.Row("exact", "P=64", "fp", deviation=3e-15, bound=1e-12, passed=True).passed
    True
    """

    level: str
    case: str
    quantity: str
    deviation: float
    bound: float
    passed: bool
    note: str = ""


@dataclass(frozen=True)
class Difference:
    """Largest deviation of one quantity along a run.

    Parameters
    ----------
    quantity : str
        "fp", "pp", "loss" or "attention".
    deviation : float
        The largest deviation; relative for the loss.
    when : float
        Time t at which it occurs.
    bound : float
        How large it may be.
    passed : bool
        Whether it is within the bound.

    Examples
    --------
    >>> from dynsim import validation
    >>> validation.Difference("fp", deviation=3e-15, when=20.0, bound=1e-12, passed=True).when
    20.0
    """

    quantity: str
    deviation: float
    when: float
    bound: float
    passed: bool


@dataclass(frozen=True)
class Comparison:
    """Result of ``compare``: one Difference per quantity.

    Parameters
    ----------
    rows : tuple of Difference
        For FP, PP, loss and attention.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=1, gamma=0.75, P=16)
    >>> comparison = dynsim.validation.exact(problem, n=8, steps=5)
    >>> comparison.passed, [row.quantity for row in comparison.rows]
    (True, ['fp', 'pp', 'loss', 'attention'])
    >>> print(comparison)
    Comparison: passed
        fp: ... at t=..., bound 1e-12
        pp: ... at t=..., bound 1e-12
        loss: ... at t=..., bound 1e-12
        attention: ... at t=..., bound 1e-12
    >>> comparison.to_dict()["passed"]
    True
    """

    rows: tuple[Difference, ...]

    def __repr__(self) -> str:
        lines = [f"Comparison: {verdict(self.passed)}"]
        for row in self.rows:
            off = "" if row.passed else f"{verdict(False).upper()}, "
            lines.append(f"{row.quantity}: {off}{row.deviation:.3g} at t={row.when:.4g}, bound {row.bound:.3g}")
        return "\n    ".join(lines)

    @property
    def passed(self) -> bool:
        """Whether every quantity stayed within its bound."""
        return all(row.passed for row in self.rows)

    def to_dict(self) -> dict:
        """Return the comparison as plain data.

        Returns
        -------
        dict
            ``passed``, and ``rows``: a dict for each quantity.
        """
        return {"passed": self.passed, "rows": [asdict(row) for row in self.rows]}


def verdict(passed: bool) -> str:
    """The verdict in a word."""
    return "passed" if passed else "failed"


def compare(a: Trajectory | Arrays, b: Trajectory, bounds: Mapping[str, float] | None = None) -> Comparison:
    """Compare two trajectories, or arrays of your own and a trajectory, saved at the same times.

    Parameters
    ----------
    a : Trajectory or mapping of str to array_like
        The trajectory that is checked, or arrays from elsewhere: any of "fp", "pp", "loss" and "attention", shaped as in ``b``
        with time leading, and their times "t" (left out: those of ``b``). What is not given is not compared.
    b : Trajectory
        The reference.
    bounds : mapping of str to float, optional
        Bounds by quantity (fp, pp, loss, attention); those left out are taken from BOUNDS.

    Returns
    -------
    Comparison
        The largest deviation of each quantity over the whole run; for the loss, relative to ``b``.

    Raises
    ------
    InputError
        If times or shapes differ, arrays have other names or are no real numbers, or a bound is no number of at least 0.

    Notes
    -----
    A number that is not finite in one trajectory only is infinitely far off.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=1, gamma=0.75, P=16)
    >>> part = dynsim.Partition.blocks(problem)
    >>> data = dynsim.sample(problem, part, n=8, seed=0)
    >>> reduced = dynsim.reduced.descend(dynsim.reduced.EmpiricalField(part, data), steps=5)
    >>> full = dynsim.full.descend(part, data, steps=5)
    >>> dynsim.validation.compare(reduced, full).passed
    True
    >>> dynsim.validation.compare(reduced, full, {"fp": 0.0}).passed
    False
    >>> mine = {"fp": full.fp + 1e-3, "loss": full.loss}  # from anywhere
    >>> print(dynsim.validation.compare(mine, reduced, {"fp": 1e-4}))
    Comparison: failed
        fp: FAILED, 0.001 at t=..., bound 0.0001
        loss: ... at t=..., bound 1e-12
    """
    bounds = {**BOUNDS, **(bounds or {})}
    for name, bound in bounds.items():
        if name not in BOUNDS or not bound >= 0:
            raise InputError(f"bounds are numbers >= 0 for {', '.join(BOUNDS)}, got {name}={bound!r}: see validation.BOUNDS")
    given = {name: getattr(a, name) for name in ("t", *BOUNDS)} if isinstance(a, Trajectory) else _arrays(a)
    t = given.pop("t", b.t)
    if len(t) != len(b) or not np.allclose(t, b.t, rtol=1e-12, atol=0):
        raise InputError(f"trajectories must be saved at the same times, got {len(t)} and {len(b)} of them: pass the same keep")
    return Comparison(tuple(_difference(given[name], b, name, bounds[name]) for name in BOUNDS if name in given))


def _arrays(given: Arrays) -> dict[str, np.ndarray]:
    """Arrays from elsewhere as arrays of numbers by name."""
    if not isinstance(given, Mapping) or not set(given) & set(BOUNDS) or not set(given) <= {"t", *BOUNDS}:
        names = ", ".join(map(str, given)) if isinstance(given, Mapping) else type(given).__name__
        raise InputError(f"arrays to compare are any of {', '.join(BOUNDS)}, and t, got {names or 'none'}: name them so")
    try:
        if any(np.iscomplexobj(values) for values in given.values()):
            raise TypeError("complex numbers")
        found = {name: np.asarray(values, dtype=float) for name, values in given.items()}
    except (TypeError, ValueError, RuntimeError) as error:  # the last one from tensors that need a gradient
        raise InputError(f"arrays to compare must be of real numbers, got something else ({error}): convert them") from None
    if found.get("t", np.zeros(1)).ndim != 1:
        raise InputError(f"times must be t (T,), got {found['t'].shape}: one for each entry of the arrays")
    return found


def _difference(x: np.ndarray, b: Trajectory, name: str, bound: float) -> Difference:
    y = getattr(b, name)
    if x.shape != y.shape:
        raise InputError(f"trajectories must have the same shapes, got {name} of {x.shape} and {y.shape}: same part, same field")
    with np.errstate(invalid="ignore", divide="ignore"):
        miss = np.abs(x - y) / (np.abs(y) if name == "loss" else 1.0)
    miss = np.where((x == y) | (np.isnan(x) & np.isnan(y)), 0.0, miss)
    miss = np.where(np.isnan(miss), np.inf, miss).reshape(len(x), -1).max(axis=1)
    at = int(miss.argmax())
    return Difference(name, float(miss[at]), float(b.t[at]), float(bound), bool(miss[at] <= bound))

"""Two trajectories of the same run, number by number.

Deviations are taken over all kept moments and entries: absolute for the correlations FP and PP and for attention, which start
at zero or are of order one, relative for the loss. The default bounds are those of rounding: a step adds a few units of
1e-16 and the dynamics contract, so that 1e-12 leaves two to three digits over hundreds of steps.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from dynsim.errors import InputError
from dynsim.trajectory import Trajectory

BOUNDS = {"fp": 1e-12, "pp": 1e-12, "loss": 1e-12, "attention": 1e-12}


@dataclass(frozen=True)
class Row:
    """One checked number: level and case, what was measured, how far off it may be, and the verdict."""

    level: str
    case: str
    quantity: str
    deviation: float
    bound: float
    passed: bool
    note: str = ""


@dataclass(frozen=True)
class Difference:
    """The largest deviation of one quantity, the time t at which it occurs, its bound and the verdict."""

    quantity: str
    deviation: float
    when: float
    bound: float
    passed: bool


@dataclass(frozen=True)
class Comparison:
    """One Difference per quantity."""

    rows: tuple[Difference, ...]

    @property
    def passed(self) -> bool:
        """Whether every quantity stayed within its bound."""
        return all(row.passed for row in self.rows)

    def to_dict(self) -> dict:
        """The comparison as plain data."""
        return {"passed": self.passed, "rows": [asdict(row) for row in self.rows]}


def compare(a: Trajectory, b: Trajectory, bounds: Mapping[str, float] | None = None) -> Comparison:
    """Deviations of trajectory `a` from trajectory `b` over the whole run, against `bounds`: a Comparison.

    bounds: by quantity (fp, pp, loss, attention), those left out as in BOUNDS; the loss is relative. A number that is not
    finite in one of them only is infinitely far off. Raises InputError where times or shapes differ, or for a bound that is
    none."""
    bounds = {**BOUNDS, **(bounds or {})}
    for name, bound in bounds.items():
        if name not in BOUNDS or not bound >= 0:
            raise InputError(f"bounds are numbers >= 0 for {', '.join(BOUNDS)}, got {name}={bound!r}: see validation.BOUNDS")
    if len(a) != len(b) or not np.allclose(a.t, b.t, rtol=1e-12, atol=0):
        raise InputError(f"trajectories must be kept at the same times, got {len(a)} and {len(b)} of them: pass the same keep")
    return Comparison(tuple(_difference(a, b, name, bounds[name]) for name in ("fp", "pp", "loss", "attention")))


def _difference(a: Trajectory, b: Trajectory, name: str, bound: float) -> Difference:
    x, y = getattr(a, name), getattr(b, name)
    if x.shape != y.shape:
        raise InputError(f"trajectories must be of the same kind, got {name} of {x.shape} and {y.shape}: same part, same field")
    with np.errstate(invalid="ignore", divide="ignore"):
        miss = np.abs(x - y) / (np.abs(y) if name == "loss" else 1.0)
    miss = np.where((x == y) | (np.isnan(x) & np.isnan(y)), 0.0, miss)
    miss = np.where(np.isnan(miss), np.inf, miss).reshape(len(x), -1).max(axis=1)
    at = int(miss.argmax())
    return Difference(name, float(miss[at]), float(a.t[at]), float(bound), bool(miss[at] <= bound))

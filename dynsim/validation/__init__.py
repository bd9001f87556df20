"""The reduced dynamics held against what they stand for, level by level, with a bound and a verdict for every number.

    exact         reduced recursion against full descent on the same images: rounding
    statistical   full descent on n images against the population: falls as n^-1/2, z-scores
    finite-size   explicit partitions against orbits: rounding for product partitions, else explained by how areas overlap
    asymptotic    escape and depth of the orbit flow against the closed forms (8), (9), (15), (16): falling with P

A level is a function (quick, seed, progress) -> rows. Bounds are derived, or a stated probability of a false alarm.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from dynsim.errors import InputError
from dynsim.trajectory import Progress
from dynsim.validation import _asymptotic, _exact, _finite_size, _statistical
from dynsim.validation._comparison import BOUNDS, Comparison, Difference, Row, compare
from dynsim.validation._exact import exact
from dynsim.validation._fields import Check, FieldReport, check_field

__all__ = [
    "BOUNDS", "LEVELS", "Check", "Comparison", "Difference", "FieldReport", "Report", "Row", "check_field", "compare", "exact",
    "run",
]

LEVELS = {
    "exact": _exact.level,
    "statistical": _statistical.level,
    "finite-size": _finite_size.level,
    "asymptotic": _asymptotic.level,
}
SECONDS = {"exact": 20.0, "statistical": 80.0, "finite-size": 15.0, "asymptotic": 8.0}  # a level's share of the progress bar


@dataclass(frozen=True)
class Report:
    """What `run` found: one Row per checked number, and the verdict over all of them."""

    rows: tuple[Row, ...]
    quick: bool
    seed: int

    @property
    def passed(self) -> bool:
        """Whether every row passed."""
        return all(row.passed for row in self.rows)

    def to_dict(self) -> dict:
        """The report as plain data."""
        return {"passed": self.passed, "quick": self.quick, "seed": self.seed, "rows": [asdict(row) for row in self.rows]}


def run(
    levels: Iterable[str] | None = None, quick: bool = False, seed: int = 0, progress: Progress | None = None
) -> Report:
    """Run the levels named (None: all, in the order of LEVELS): a Report. Images and partitions are drawn from `seed`.

    quick: smaller and fewer cases, the same bounds. progress(done, total) is called as work comes in.
    Raises InputError for a level that does not exist or a seed that is none."""
    names = list(LEVELS) if levels is None else list(levels)
    for name in names:
        if name not in LEVELS:
            raise InputError(f"levels must be among {', '.join(LEVELS)}, got {name!r}: leave them out for all")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed must be a whole number of at least 0, got {seed!r}: take e.g. seed=0")
    total, before = sum(SECONDS[name] for name in names), 0.0
    rows: list[Row] = []
    for name in names:
        rows += LEVELS[name](quick, seed, _part_of(progress, before, SECONDS[name], total))
        before += SECONDS[name]
    return Report(tuple(rows), bool(quick), seed)


def _part_of(progress: Progress | None, before: float, share: float, total: float) -> Progress | None:
    """The progress of a level, as progress of the whole."""
    return progress and (lambda done, of: progress(before + share * done / of, total))

"""The reduced dynamics checked level by level, with a bound and a verdict for every number.

===========  ====================================================================================================
level        what is compared, and within what
===========  ====================================================================================================
exact        reduced recursion with full descent on the same images: rounding
statistical  full descent on n images with the population: falls as n^-1/2, z-scores; fresh pairs of views with mixed orbits
finite-size  explicit partitions with orbits: rounding for product partitions, else explained by how areas overlap
asymptotic   escape and depth of the orbit flow with the closed forms (8), (9), (15), (16), collapse and balance of contrast with
             (E8), (E9), (E12), (E14), (E18): falls with P
===========  ====================================================================================================

A level is a function (quick, seed, progress) -> rows. Bounds are derived, or a stated probability of a false alarm.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

from dynsim.errors import InputError
from dynsim.trajectory import Progress
from dynsim.validation import _asymptotic, _contrast, _exact, _finite_size, _statistical, bits, prediction
from dynsim.validation._comparison import BOUNDS, Comparison, Difference, Row, compare, verdict
from dynsim.validation._exact import exact
from dynsim.validation._fields import Check, FieldReport, check_field
from dynsim.validation.bits import SameBits, same_bits

__all__ = [
    "BOUNDS", "LEVELS", "Check", "Comparison", "Difference", "FieldReport", "Report", "Row", "SameBits", "bits", "check_field",
    "compare", "exact", "prediction", "run", "same_bits",
]

Level = Callable[[bool, int, Progress | None], list[Row]]


def _part_of(progress: Progress | None, before: float, share: float, total: float) -> Progress | None:
    """The progress of a level, as progress of the whole."""
    return progress and (lambda done, of: progress(before + share * done / of, total))


def _joined(first: Level, second: Level, share: float) -> Level:
    """Rows of both, the first of which takes a share of the time."""

    def level(quick: bool, seed: int, progress: Progress | None) -> list[Row]:
        rows = first(quick, seed, _part_of(progress, 0.0, share, 1.0))
        return rows + second(quick, seed, _part_of(progress, share, 1.0 - share, 1.0))

    return level


LEVELS: dict[str, Level] = {
    "exact": _exact.level,
    "statistical": _joined(_statistical.level, _contrast.statistical, 0.9),
    "finite-size": _finite_size.level,
    "asymptotic": _joined(_asymptotic.level, _contrast.asymptotic, 0.7),
}
SECONDS = {"exact": 50.0, "statistical": 90.0, "finite-size": 15.0, "asymptotic": 12.0}  # a level's share of the progress bar


@dataclass(frozen=True)
class Report:
    """Result of ``run``: one Row per checked number, and the verdict over all of them.

    Parameters
    ----------
    rows : tuple of Row
        The checked numbers.
    quick : bool
        Whether smaller and fewer cases were run.
    seed : int
        Seed of images and partitions.

    Examples
    --------
    >>> from dynsim import validation
    >>> row = validation.Row("exact", "P=64", "fp", deviation=3e-15, bound=1e-12, passed=True)
    >>> report = validation.Report((row,), quick=True, seed=0)
    >>> report
    Report: passed, 1 of 1 numbers within their bounds (quick, seed 0)
        numbers per level: exact 1
        closest to its bound: exact, P=64: fp 3e-15, bound 1e-12
    >>> report.passed, report.to_dict()["rows"][0]["quantity"]
    (True, 'fp')
    """

    rows: tuple[Row, ...]
    quick: bool
    seed: int

    def __repr__(self) -> str:
        good = sum(row.passed for row in self.rows)
        how = f"{'quick, ' if self.quick else ''}seed {self.seed}"
        lines = [f"Report: {verdict(self.passed)}, {good} of {len(self.rows)} numbers within their bounds ({how})"]
        if self.rows:
            counts = Counter(row.level for row in self.rows)
            lines.append("numbers per level: " + ", ".join(f"{name} {count}" for name, count in counts.items()))
            worst = max(self.rows, key=lambda row: (not row.passed, row.deviation / max(row.bound, 1e-300)))
            what = "closest to its bound" if worst.passed else "furthest beyond its bound"
            lines.append(f"{what}: {worst.level}, {worst.case}: {worst.quantity} {worst.deviation:.3g}, bound {worst.bound:.3g}")
        return "\n    ".join(lines)

    @property
    def passed(self) -> bool:
        """Whether every row passed."""
        return all(row.passed for row in self.rows)

    def to_dict(self) -> dict:
        """Return the report as plain data.

        Returns
        -------
        dict
            ``passed``, ``quick``, ``seed``, and ``rows``: a dict for each.
        """
        return {"passed": self.passed, "quick": self.quick, "seed": self.seed, "rows": [asdict(row) for row in self.rows]}


def run(
    levels: Iterable[str] | None = None, quick: bool = False, seed: int = 0, progress: Progress | None = None
) -> Report:
    """Run levels of validation.

    Parameters
    ----------
    levels : iterable of str, optional
        Names in LEVELS; all of them, in that order, by default.
    quick : bool
        Whether to run smaller and fewer cases, with the same bounds.
    seed : int
        Seed of images and partitions.
    progress : callable, optional
        Called with (done, total) as results come in.

    Returns
    -------
    Report
        A row for each checked number.

    Raises
    ------
    InputError
        If a level does not exist, or the seed is none.

    Examples
    --------
    >>> from dynsim import validation
    >>> validation.run(["asymptotic"], quick=True).passed  # some seconds  # doctest: +SKIP
    True
    >>> validation.run(["exactly"])
    Traceback (most recent call last):
    dynsim.errors.InputError: levels must be among exact, ... got 'exactly': leave them out for all
    """
    names = list(LEVELS) if levels is None else list(levels)
    if not names:
        raise InputError("a validation has a level at least, got none: leave levels out for all")
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

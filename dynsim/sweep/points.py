"""Points of a sweep: a grid over the fields of Problem, or a list, times seeds.

A point is a tuple of numbers (PARAMETERS, then the seed). Its key is a digest of everything that decides its result: parameters,
seed, method, options and package version, as canonical JSON. Points are made one by one: a grid of any size takes no memory.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from math import isfinite, prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dynsim.analysis.columns import PARAMETERS
from dynsim.errors import InputError

Point = tuple[float, ...]  # PARAMETERS, then the seed

WHOLE = ("K", "P")
MOST = 1e9  # points in one sweep
AXIS = "write one number, a list 0.1,0.2 or a range start:stop:count (start:stop:count:log for equal ratios)"


def span(start: float, stop: float, count: float, log: bool = False, whole: bool = False) -> tuple[float, ...]:
    """Return values of a range, equally spaced or in equal ratios.

    Parameters
    ----------
    start, stop : float
        First and last value.
    count : int
        How many.
    log : bool
        Whether in equal ratios.
    whole : bool
        Whether rounded to whole numbers (up to 2^53).

    Returns
    -------
    tuple of float
        Rounded to 12 digits, so that grids which share a value share the point.

    Raises
    ------
    InputError
        If the range is none.

    Examples
    --------
    >>> from dynsim import sweep
    >>> sweep.span(1e6, 1e30, 3, log=True)
    (1000000.0, 1e+18, 1e+30)
    """
    if not (count == int(count) and count >= 1 and isfinite(start) and isfinite(stop)) or (log and min(start, stop) <= 0):
        raise InputError(f"a range needs finite ends and a whole count, got {start:g}:{stop:g}:{count:g}: {AXIS}")
    values = (np.geomspace if log else np.linspace)(start, stop, int(count))
    return tuple(float(round(v)) if whole and abs(v) < 2.0**53 else float(f"{v:.12g}") for v in values)


def parse_axis(text: str, whole: bool = False) -> tuple[float, ...]:
    """Return the values of an axis from its text.

    Parameters
    ----------
    text : str
        "0.3", "0.1,0.2,0.4", "0.5:1:51" or "1e4:1e30:14:log".
    whole : bool
        Whether values of ranges are rounded to whole numbers (P and K).

    Returns
    -------
    tuple of float
        The values.

    Raises
    ------
    InputError
        If the text is something else.

    Examples
    --------
    >>> from dynsim import sweep
    >>> sweep.parse_axis("0.1,0.5:1:3")
    (0.1, 0.5, 0.75, 1.0)
    """
    values = []
    for part in text.split(","):
        pieces = part.split(":")
        try:
            if len(pieces) == 1:
                values.append(float(part))
            elif len(pieces) == 3 or (len(pieces) == 4 and pieces[3] == "log"):
                start, stop, count = map(float, pieces[:3])
                values.extend(span(start, stop, count, log=len(pieces) == 4, whole=whole))
            else:
                raise ValueError
        except (ValueError, OverflowError) as error:
            raise error if isinstance(error, InputError) else InputError(f"cannot read the axis {text!r}: {AXIS}") from None
    return tuple(values)


class Points:
    """Points of a sweep, in order; has a length, and iterates over them.

    Parameters
    ----------
    axes : mapping, optional
        Field -> a number or several; every combination. Fields left out have Problem's defaults.
    points : iterable of mapping, optional
        Points, field -> number each, in place of axes.
    seeds : int or sequence of int
        How many, or which, at every point.
    method : str
        What is run, for the keys.
    options : mapping, optional
        Its options, for the keys.
    version : str, optional
        Version of dynsim, for the keys.

    Raises
    ------
    InputError
        If a value breaks a rule.

    Examples
    --------
    >>> from dynsim.sweep.points import Points
    >>> points = Points({"P": [1e6, 1e9], "kappa_c": (0.6, 0.9)}, seeds=2)
    >>> len(points), points.shape(), len(points.key(next(iter(points))))
    (8, '2 P x 2 kappa_c x 2 seeds', 32)
    """

    def __init__(
        self,
        axes: Mapping[str, Any] | None = None,
        points: Iterable[Mapping[str, Any]] | None = None,
        seeds: ArrayLike = (0,),
        method: str = "",
        options: Mapping[str, Any] | None = None,
        version: str | None = None,
    ) -> None:
        if axes is not None and points is not None:
            raise InputError("a sweep takes axes or a list of points, got both: drop one")
        self.method, self.version, self.options = method, version, dict(sorted((options or {}).items()))
        self.seeds = _seeds(seeds)
        self._listed = None if points is None else [_values(point) for point in points]
        axes = dict.fromkeys(PARAMETERS) | {name: None for name in axes or {} if name not in PARAMETERS} | dict(axes or {})
        self.axes = {name: _axis(name, PARAMETERS.get(name) if values is None else values) for name, values in axes.items()}
        if len(self) > MOST:
            raise InputError(f"a sweep has up to {MOST:.0e} points, got {len(self):.4g}: take fewer values per axis")
        head = {"method": method, "options": self.options, "version": version}
        try:
            self._head = json.dumps(head, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError):
            raise InputError(f"options of a method are plain numbers and texts, got {self.options}") from None

    def __len__(self) -> int:
        return len(self.seeds) * (prod(map(len, self.axes.values())) if self._listed is None else len(self._listed))

    def __iter__(self) -> Iterator[Point]:
        base = product(*self.axes.values()) if self._listed is None else self._listed
        return ((*values, seed) for values in base for seed in self.seeds)

    def key(self, point: Point) -> str:
        """Return a digest of a point and everything that decides its result.

        Parameters
        ----------
        point : tuple of float
            A point.

        Returns
        -------
        str
            32 hexadecimal digits.
        """
        return hashlib.sha256((self._head + repr(point)).encode()).hexdigest()[:32]

    def shape(self) -> str:
        """Return the sizes of the axes, as text.

        Returns
        -------
        str
            Such as "51 kappa_c x 46 kappa_s".
        """
        if self._listed is not None:
            return f"{len(self._listed)} listed" + (f" x {len(self.seeds)} seeds" if len(self.seeds) > 1 else "")
        sizes = [f"{len(v)} {name}" for name, v in self.axes.items() if len(v) > 1]
        return " x ".join(sizes + [f"{len(self.seeds)} seeds"] * (len(self.seeds) > 1)) or "one point"


def _axis(name: str, values: Any) -> tuple[float, ...]:
    if name not in PARAMETERS:
        raise InputError(f"a sweep runs over the fields {', '.join(PARAMETERS)}, got {name!r}: drop it or mend the name")
    values = (values,) if np.ndim(values) == 0 else tuple(values)
    if not values:
        raise InputError(f"an axis needs a value, got none for {name}: give one, or leave it out for {PARAMETERS[name]:g}")
    return tuple(dict.fromkeys(_number(name, value) for value in values))


def _number(name: str, value: Any) -> float:
    try:
        value = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be a number, got {value!r}: write e.g. {PARAMETERS[name]:g}") from None
    if not isfinite(value):
        raise InputError(f"{name} must be finite, got {value}: write e.g. {PARAMETERS[name]:g}")
    return value


def _values(point: Mapping[str, Any]) -> tuple[float, ...]:
    return tuple(_axis(name, value)[0] for name, value in {**PARAMETERS, **point}.items())


def _seeds(seeds: Any) -> tuple[int, ...]:
    values = tuple(range(seeds)) if np.ndim(seeds) == 0 and isinstance(seeds, (int, np.integer)) else seeds
    good = np.ndim(values) == 1 and len(values) and all(
        isinstance(s, (int, np.integer)) and not isinstance(s, bool) and 0 <= s < 2**63 for s in values
    )
    if not good:
        raise InputError(f"seeds must be how many, or a list of whole numbers of at least 0, got {seeds!r}: take e.g. seeds=3")
    return tuple(dict.fromkeys(int(s) for s in values))

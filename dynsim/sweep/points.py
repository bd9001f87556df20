"""Points of a sweep: a grid over the fields of Problem and options of the method, or a list, times seeds.

A point is a tuple: PARAMETERS, the seed, then the options that have an axis. Its key is a digest of everything that decides its
result: parameters, seed, method, options (of a file what is in it) and package version, as canonical JSON; whether an option
has an axis is no part of it.
Points are made one by one: a grid of any size takes no memory.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, product
from math import isfinite, prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dynsim.analysis.columns import PARAMETERS
from dynsim.errors import InputError

Point = tuple[Any, ...]  # PARAMETERS, the seed, options that have an axis
Task = tuple[str, Point, dict[str, Any]]  # key, PARAMETERS and the seed, all options

NUMBERS = len(PARAMETERS) + 1  # at the beginning of a point
MOST = 1e9  # points in one sweep
LONGEST = 10**6  # values on one axis, and seeds
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
    if not (isfinite(count) and count == int(count) and 1 <= count <= LONGEST and isfinite(start) and isfinite(stop)):
        what = f"{start:g}:{stop:g}:{count:g}"
        raise InputError(f"a range needs finite ends and a whole count from 1 to {LONGEST:.0e}, got {what}: {AXIS}")
    if log and min(start, stop) <= 0:
        raise InputError(f"a range in equal ratios needs ends above 0, got {start:g}:{stop:g}:{count:g}:log: {AXIS}")
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
        Field of Problem or option of the method -> a value or several; every combination. What is left out has its default.
    points : iterable of mapping, optional
        Points, name -> value each, in place of axes.
    seeds : int or sequence of int
        How many, or which, at every point.
    method : str
        What is run, for the keys.
    options : mapping, optional
        Options that all points share.
    version : str, optional
        Version of dynsim, for the keys.
    reader : callable, optional
        From (name, value) of an option to the value as the method takes it; raises InputError for a name that is none.
    content : callable, optional
        From (name, value) of an option to what a key holds of it: of a file what is in it, not its name.

    Attributes
    ----------
    names : tuple of str
        Options that have an axis, or a place in the list.

    Raises
    ------
    InputError
        If a value breaks a rule.

    Examples
    --------
    >>> from dynsim.sweep.points import Points
    >>> points = Points({"P": [1e6, 1e9], "weight": (0.5, 2.0)}, seeds=2, reader=lambda name, value: value)
    >>> len(points), points.shape(), points.names
    (8, '2 P x 2 weight x 2 seeds', ('weight',))
    >>> points.task(next(iter(points)))[1:]
    ((4.0, 0.8, 1000000.0, 0.9, 0.4, 0.8, 1.2, 0), {'weight': 0.5})
    """

    def __init__(
        self,
        axes: Mapping[str, Any] | None = None,
        points: Iterable[Mapping[str, Any]] | None = None,
        seeds: ArrayLike = (0,),
        method: str = "",
        options: Mapping[str, Any] | None = None,
        version: str | None = None,
        reader: Callable[[str, Any], Any] | None = None,
        content: Callable[[str, Any], Any] = lambda name, value: value,
    ) -> None:
        if axes is not None and points is not None:
            raise InputError("a sweep takes axes or a list of points, got both: drop one")
        self.method, self.version, self.options = method, version, dict(sorted((options or {}).items()))
        self.seeds, self._reader, self._content = _seeds(seeds), reader, content
        listed = None if points is None else [dict(point) for point in points]
        given_names = chain.from_iterable([axes or {}] if listed is None else listed)
        self.names = tuple(name for name in dict.fromkeys(given_names) if name not in PARAMETERS)
        for name in self.names:
            if name in self.options:
                raise InputError(f"an option has an axis or one value for all points, got both for {name}: drop one")
        given: dict[str, Any] = {**PARAMETERS, **dict.fromkeys(self.names), **(axes or {})}
        self.axes = {name: self._axis(name, PARAMETERS.get(name) if values is None else values) for name, values in given.items()}
        self._listed = None if listed is None else list(dict.fromkeys(self._listed_values(point) for point in listed))
        if len(self) > MOST:
            raise InputError(f"a sweep has up to {MOST:.0e} points, got {len(self):.4g}: take fewer values per axis")
        self._common = self._head((None,) * len(self.names))

    def __len__(self) -> int:
        return len(self.seeds) * (prod(map(len, self.axes.values())) if self._listed is None else len(self._listed))

    def __iter__(self) -> Iterator[Point]:
        base = product(*self.axes.values()) if self._listed is None else self._listed
        n = len(PARAMETERS)
        return ((*values[:n], seed, *values[n:]) for values in base for seed in self.seeds)

    def key(self, point: Point) -> str:
        """Return a digest of a point and everything that decides its result.

        Parameters
        ----------
        point : tuple
            A point.

        Returns
        -------
        str
            32 hexadecimal digits.
        """
        head = self._head(point[NUMBERS:]) if self.names else self._common
        return hashlib.sha256((head + repr(point[:NUMBERS])).encode()).hexdigest()[:32]

    def task(self, point: Point) -> Task:
        """Return what a worker is sent of a point.

        Parameters
        ----------
        point : tuple
            A point.

        Returns
        -------
        key : str
            Its key.
        numbers : tuple of float
            PARAMETERS, and the seed.
        options : dict
            All options of the method, those with an axis at this point.
        """
        return self.key(point), point[:NUMBERS], self._options(point[NUMBERS:])

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

    def _options(self, values: Point) -> dict[str, Any]:
        """All options where those with an axis have these values; None leaves one out."""
        return {**self.options, **{name: value for name, value in zip(self.names, values, strict=True) if value is not None}}

    def _head(self, values: Point) -> str:
        """What keys have in common where the options with an axis have these values."""
        options = self._options(values)
        try:
            seen = {name: self._content(name, value) for name, value in options.items()}
            head = {"method": self.method, "options": seen, "version": self.version}
            return json.dumps(head, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError):
            raise InputError(f"options of a method are plain numbers and texts, got {options}") from None

    def _axis(self, name: str, values: Any) -> tuple[Any, ...]:
        """The values of an axis, each once."""
        values = (values,) if np.ndim(values) == 0 else tuple(values)
        if not values:
            default = f" for {PARAMETERS[name]:g}" if name in PARAMETERS else ""
            raise InputError(f"an axis needs a value, got none for {name}: give one, or leave it out{default}")
        return tuple(dict.fromkeys(self._value(name, value) for value in values))

    def _value(self, name: str, value: Any) -> Any:
        if name in PARAMETERS:
            return _number(name, value)
        if self._reader is None:
            raise InputError(f"a sweep runs over the fields {', '.join(PARAMETERS)}, got {name!r}: drop it or mend the name")
        return self._reader(name, value)

    def _listed_values(self, point: Mapping[str, Any]) -> tuple[Any, ...]:
        given = {**PARAMETERS, **dict.fromkeys(self.names), **point}
        return tuple(self._value(name, value) for name, value in given.items())


def _number(name: str, value: Any) -> float:
    try:
        value = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be a number, got {value!r}: write e.g. {PARAMETERS[name]:g}") from None
    if not isfinite(value):
        raise InputError(f"{name} must be finite, got {value}: write e.g. {PARAMETERS[name]:g}")
    return value


def _seeds(seeds: Any) -> tuple[int, ...]:
    values = seeds
    if np.ndim(seeds) == 0 and isinstance(seeds, (int, np.integer)):
        if seeds > LONGEST:
            raise InputError(f"a sweep has up to {LONGEST:.0e} seeds, got {seeds}: take fewer")
        values = tuple(range(seeds))
    good = np.ndim(values) == 1 and len(values) and all(
        isinstance(s, (int, np.integer)) and not isinstance(s, bool) and 0 <= s < 2**63 for s in values
    )
    if not good:
        raise InputError(f"seeds must be how many, or a list of whole numbers of at least 0, got {seeds!r}: take e.g. seeds=3")
    return tuple(dict.fromkeys(int(s) for s in values))

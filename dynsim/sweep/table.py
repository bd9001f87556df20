"""Rows of a store as columns, and as CSV or netCDF files."""

import csv
import json
import os
from typing import Any

import numpy as np

from dynsim import __version__
from dynsim.analysis.columns import PARAMETERS, Table, axes, on_axes, options
from dynsim.errors import InputError
from dynsim.sweep.methods import default
from dynsim.sweep.rows import Rows
from dynsim.sweep.store import Store
from dynsim.writing import Path, replace

TEXTS = ("key", "version", "method", "options", "status", "message", "finished")


def load(path: Path, version: str | None = __version__, method: str | None = None) -> Rows:
    """Read the rows of a store as columns.

    Parameters
    ----------
    path : str or path
        The store.
    version : str or None
        Version of dynsim whose rows are read; by default this one's; None for all.
    method : str, optional
        One method only.

    Returns
    -------
    Rows
        A dict, column -> ndarray, sorted by options and parameters; missing numbers are NaN. Every option that a row gives has a
        column: numbers, booleans, or texts; where a row does not give it, its default. ``to_pandas`` makes a table of it.

    Raises
    ------
    FileError
        If the store cannot be read.

    Examples
    --------
    >>> from dynsim import sweep
    >>> counts = sweep.run("sweep.db", {"K": 1, "P": [1e6, 1e9]}, method="orbit", workers=1)
    >>> sweep.load("sweep.db")["P"]
    array([1.e+06, 1.e+09])
    """
    with Store(path, write=False) as store:
        names, rows = store.rows(version, method)
        columns: list[tuple] = list(zip(*rows, strict=True)) or [()] * len(names)
    table = {
        name: np.array(values, dtype=_kind(name)) if name != "message" else np.array(values, dtype=object)
        for name, values in zip(names, columns, strict=True)
    }
    given = {name: _option_column(table, name) for name in options(table)}
    table |= given
    order = np.lexsort([table[name] for name in reversed(("version", "method", *given, *PARAMETERS, "seed"))])
    return Rows({name: column[order] for name, column in table.items()})


def _option_column(table: Table, name: str) -> np.ndarray:
    """The column of an option: what rows give, else its default, else a result of that name."""
    values = [*map(_Options(name), table["method"].tolist(), table["options"].tolist())]
    known = [value for value in values if value is not None]
    if all(isinstance(value, bool) for value in values):
        return np.array(values, dtype=bool)
    if not all(isinstance(value, (int, float)) for value in known):
        return np.array(["" if value is None else str(value) for value in values])
    column = np.array(values, dtype=float)
    return np.where(np.isnan(column), table[name], column) if name in table else column


class _Options:
    """Value of an option by method and options (JSON) of a row; None where it depends on others or is not known."""

    def __init__(self, name: str) -> None:
        self.name, self.seen = name, {}  # type: ignore[var-annotated]

    def __call__(self, method: str, text: str) -> Any:
        if (method, text) not in self.seen:
            given = json.loads(text)
            self.seen[method, text] = given[self.name] if self.name in given else default(method, self.name)
        return self.seen[method, text]


def _kind(name: str) -> type:
    return str if name in TEXTS else np.int64 if name == "seed" else float


def export(path: Path, target: Path, version: str | None = __version__, method: str | None = None) -> int:
    """Write the rows of a store to a file.

    Parameters
    ----------
    path : str or path
        The store.
    target : str or path
        The file; .csv, or .nc (with the extra ``data``) on named axes.
    version : str or None
        Version of dynsim whose rows are written; by default this one's; None for all.
    method : str, optional
        One method only.

    Returns
    -------
    int
        How many rows.

    Raises
    ------
    InputError
        If the name ends in something else, or the rows lie on no grid.
    FileError
        If a file cannot be read or written.

    Examples
    --------
    >>> from dynsim import sweep
    >>> counts = sweep.run("sweep.db", {"K": 1, "P": [1e6, 1e9]}, method="orbit", workers=1)
    >>> sweep.export("sweep.db", "sweep.csv")
    2
    """
    ending = os.path.splitext(target)[1]
    if ending not in (".csv", ".nc"):
        raise InputError(f"export writes .csv or .nc, got {target!r}: end the name with one of them")
    if ending == ".nc":
        data = _dataset(load(path, version, method))
        count = int((data["status"] != "").sum())
        replace(target, lambda temporary: data.to_netcdf(temporary, engine="h5netcdf"), "give another file")
        return count
    with Store(path, write=False) as store:
        names, rows = store.rows(version, method)
        more = {name: _Options(name) for name in store.options(version, method) if name not in names}
        at = names.index("method"), names.index("options")
        count = 0

        def write(temporary: str) -> None:
            nonlocal count
            with open(temporary, "w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow([*names, *more])
                for row in rows:  # one at a time: a store may be larger than memory
                    writer.writerow([*row, *(value(row[at[0]], row[at[1]]) for value in more.values())])
                    count += 1

        replace(target, write, "give another file")
        return count


def _dataset(table: Table) -> Any:
    """The rows on named axes, an xarray.Dataset."""
    try:
        import h5netcdf  # noqa: F401
        import h5py  # noqa: F401
        import xarray
    except ImportError:
        raise InputError("netCDF needs the extra `data`, not there yet: pip install 'dynsim[data]', or end in .csv") from None
    if not len(table["key"]):
        raise InputError("there must be a row to export, got none of this version and method: run the sweep first")
    named = axes(table) or {"P": np.unique(table["P"])}
    size = np.prod([float(len(values)) for values in named.values()])
    if size > max(1e6, 100 * len(table["key"])):
        raise InputError(f"netCDF lays rows on a grid, here of {size:.3g} places for {len(table['key'])} rows: end in .csv")
    given = options(table)
    skip = {*PARAMETERS, "seed", "key", "version", "method", "options", "finished", *given}
    values = {name: on_axes(table, name, named) for name in table if name not in skip}
    values["message"] = values["message"].astype(str)
    fixed = {name: float(table[name][0]) for name in PARAMETERS if name not in named}
    plain = {name: table[name][0].item() for name in given if name not in named}
    fixed |= {name: int(value) if isinstance(value, bool) else value for name, value in plain.items()}  # netCDF has no booleans
    one = {name: str(table[name][0]) for name in ("version", "method")}
    return xarray.Dataset({name: (tuple(named), value) for name, value in values.items()}, named, {**fixed, **one})

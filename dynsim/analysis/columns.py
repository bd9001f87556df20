"""Tables as columns by name, and columns laid out on the axes that vary."""

from collections.abc import Mapping

import numpy as np

from dynsim.errors import InputError

Table = Mapping[str, np.ndarray]  # columns by name

PARAMETERS = {"K": 4.0, "gamma": 0.8, "P": 196.0, "kappa_c": 0.9, "kappa_s": 0.4, "L": 0.8, "U": 1.2}  # of a problem, defaults


def axes(table: Table) -> dict[str, np.ndarray]:
    """The parameters that vary in a table from `load`, each with its sorted values: {name: array}."""
    found = {name: np.unique(table[name]) for name in (*PARAMETERS, "seed")}
    return {name: values for name, values in found.items() if len(values) > 1}


def plane(table: Table, name: str, x: str = "kappa_c", y: str = "kappa_s") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Column `name` on the axes x and y: x values (X,), y values (Y,), and an array (Y, X), NaN where there is no row.

    Raises InputError where several rows fall on one place (another parameter varies)."""
    xs, ys = np.unique(table[x]), np.unique(table[y])
    return xs, ys, on_axes(table, name, {y: ys, x: xs})


def on_axes(table: Table, name: str, named: Mapping[str, np.ndarray]) -> np.ndarray:
    places = tuple(np.searchsorted(values, table[axis]) for axis, values in named.items())
    shape = tuple(map(len, named.values()))
    if len(np.unique(np.ravel_multi_index(places, shape))) < len(table[name]):
        others = [axis for axis in axes(table) if axis not in named] or ["method, options or version"]
        raise InputError(f"one row for each place of {', '.join(named)}, but {', '.join(others)} vary too: select one first")
    values = np.full(shape, np.nan if table[name].dtype.kind == "f" else "", dtype=table[name].dtype)
    values[places] = table[name]
    return values

"""Tables as columns by name, and columns laid out on the axes that vary.

Parameters of a problem and the seed have a column each. So has every option of the method that a row gives; ``options`` holds all
of them as JSON, and says which columns are options.
"""

import json
from collections.abc import Mapping

import numpy as np

from dynsim.errors import InputError

Table = Mapping[str, np.ndarray]  # columns by name

PARAMETERS = {"K": 4.0, "gamma": 0.8, "P": 196.0, "kappa_c": 0.9, "kappa_s": 0.4, "L": 0.8, "U": 1.2}  # of a problem, defaults


def axes(table: Table) -> dict[str, np.ndarray]:
    """Return the parameters, options and seeds that vary in a table.

    Parameters
    ----------
    table : mapping of str to ndarray
        Columns by name, as from ``sweep.load``.

    Returns
    -------
    dict
        Name of each parameter, of ``seed`` and of each option with more than one value -> its sorted values.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim.analysis import columns
    >>> ones = {name: np.ones(4) for name in (*columns.PARAMETERS, "seed")}
    >>> table = {**ones, "kappa_c": np.array([0.5, 0.9, 0.5, 0.9])}
    >>> columns.axes(table)
    {'kappa_c': array([0.5, 0.9])}
    """
    names = [*PARAMETERS, "seed", *options(table)]
    found = {name: np.unique(table[name]) for name in names}
    return {name: values for name, values in found.items() if len(values) > 1}


def options(table: Table) -> list[str]:
    """Return the names of all options that rows of a table give.

    Parameters
    ----------
    table : mapping of str to ndarray
        Columns by name, as from ``sweep.load``.

    Returns
    -------
    list of str
        Names, sorted; empty for a table without the column ``options``.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim.analysis import columns
    >>> columns.options({"options": np.array(['{"weight": 0.5}', '{"temperature": 1.0, "weight": 0.5}'])})
    ['temperature', 'weight']
    """
    return sorted({name for text in np.unique(table.get("options", ())) for name in json.loads(text)})


def plane(table: Table, name: str, x: str = "kappa_c", y: str = "kappa_s") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lay a column out on two axes.

    Parameters
    ----------
    table : mapping of str to ndarray
        Columns by name, as from ``sweep.load``.
    name : str
        The column.
    x, y : str
        Columns whose values are the axes.

    Returns
    -------
    x : ndarray of shape (X,)
        Sorted values of the first axis.
    y : ndarray of shape (Y,)
        Sorted values of the second axis.
    values : ndarray of shape (Y, X)
        The column; NaN, or empty text, where there is no row.

    Raises
    ------
    InputError
        If several rows have the same x and y, because another parameter varies.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim import sweep
    >>> table = {"kappa_c": np.array([0.5, 0.9, 0.5]), "kappa_s": np.array([0.1, 0.1, 0.4]), "escape": np.array([1.0, 2.0, 3.0])}
    >>> sweep.plane(table, "escape")[2]
    array([[ 1.,  2.],
           [ 3., nan]])
    """
    xs, ys = np.unique(table[x]), np.unique(table[y])
    return xs, ys, on_axes(table, name, {y: ys, x: xs})


def on_axes(table: Table, name: str, named: Mapping[str, np.ndarray]) -> np.ndarray:
    """Lay a column out on any number of axes.

    Parameters
    ----------
    table : mapping of str to ndarray
        Columns by name, as from ``sweep.load``.
    name : str
        The column.
    named : mapping of str to ndarray
        Columns whose values are the axes -> their sorted values.

    Returns
    -------
    ndarray
        The column, one dimension per axis; NaN, or empty text, where there is no row.

    Raises
    ------
    InputError
        If several rows fall on one element, because another parameter varies.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim.analysis.columns import on_axes
    >>> table = {"P": np.array([10.0, 100.0]), "escape": np.array([1.0, 2.0])}
    >>> on_axes(table, "escape", {"P": np.array([10.0, 100.0, 1000.0])})
    array([ 1.,  2., nan])
    """
    places = tuple(np.searchsorted(values, table[axis]) for axis, values in named.items())
    shape = tuple(map(len, named.values()))
    if len(np.unique(np.ravel_multi_index(places, shape))) < len(table[name]):
        others = [axis for axis in axes(table) if axis not in named] or ["method, options or version"]
        raise InputError(f"one row for each place of {', '.join(named)}, but {', '.join(others)} vary too: select one first")
    values = np.full(shape, np.nan if table[name].dtype.kind == "f" else "", dtype=table[name].dtype)
    values[places] = table[name]
    return values

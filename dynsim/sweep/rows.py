"""Rows of a store as columns by name: a dict of arrays that also turns itself into a pandas table."""

import re
from typing import Any

import numpy as np

from dynsim.analysis.columns import PARAMETERS, axes
from dynsim.errors import InputError
from dynsim.reduced import FIELDS, field_class

TIMES, LOSSES = "escape|half|excess|phase_end|t_end|collapse", "loss|loss_start|floor|population_loss|population_floor|gap_loss"
GIVEN = ("version", "method")  # what may also tell rows apart


class Rows(dict[str, np.ndarray]):
    """Columns of a sweep by name, as ``sweep.load`` returns them: a dict of arrays of one length.

    Examples
    --------
    >>> from dynsim import sweep
    >>> counts = sweep.run("sweep.db", {"K": 1, "P": [1e6, 1e9]}, method="orbit", workers=1)
    >>> rows = sweep.load("sweep.db")
    >>> type(rows).__name__, rows["P"].tolist()
    ('Rows', [1000000.0, 1000000000.0])
    """

    def to_pandas(self) -> Any:
        """Return the rows as a pandas table, indexed by the axes that vary.

        Returns
        -------
        pandas.DataFrame
            A row for each point; the index holds the parameters and options with more than one value (also ``seed``, and
            ``version`` or ``method`` where they differ), or numbers where none has. Its ``attrs`` hold ``units`` by name,
            ``fixed`` (the parameters with one value) and the version and method that all rows share.

        Raises
        ------
        InputError
            If pandas is not installed.

        Examples
        --------
        >>> from dynsim import sweep
        >>> counts = sweep.run("sweep.db", {"K": 1, "P": [1e6, 1e9]}, method="orbit", workers=1)
        >>> table = sweep.load("sweep.db").to_pandas()
        >>> table.index.names, table.attrs["units"]["escape"], table.attrs["fixed"]["K"], table.attrs["method"]
        (FrozenList(['P']), 'eta x step', 1.0, 'orbit')
        >>> bool(table["escape"].is_monotonic_increasing)
        True
        """
        try:
            import pandas
        except ImportError:
            raise InputError("a pandas table needs the extra `data`, not there yet: pip install 'dynsim[data]'") from None
        table = pandas.DataFrame({name: values for name, values in self.items()})
        named = [*axes(self), *(name for name in ("version", "method") if len(np.unique(self[name])) > 1)]
        alike = [name for name in (*PARAMETERS, "seed") if name not in named]
        first = table.iloc[0] if len(table) else {}
        alone = all(_of_reconstruction(method) for method in np.unique(self["method"]))
        attrs: dict[str, Any] = {"units": {name: unit for name in self if (unit := _unit(name, alone))}}
        attrs["fixed"] = {name: float(first[name]) for name in alike if len(table)}
        attrs.update({name: str(first[name]) for name in GIVEN if len(table) and (self[name] == first[name]).all()})
        table = table.set_index(named) if named else table
        table.attrs = attrs
        return table


def _unit(name: str, alone: bool) -> str | None:
    """The unit of a column, where it has one; alone: all rows are of reconstruction."""
    if re.fullmatch(f"({TIMES})(_.*)?", name):
        return "eta x step"
    if name.startswith("speed_"):
        return "1 / (eta x step)"
    if re.fullmatch(LOSSES, name):
        return "per masked patch" if alone else None
    return {"P": "patches", "seconds": "s"}.get(name)


def _of_reconstruction(method: str) -> bool:
    return method not in FIELDS or field_class(method).objective == "reconstruction"

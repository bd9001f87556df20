"""What an integrator saves along a run, and what it needs to go on from a step or time."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dynsim.errors import NoRecipe
from dynsim.reduced.field import Field, Observation
from dynsim.trajectory import Trajectory


class State(NamedTuple):
    """All that a run needs to go on, bit for bit: the step it stands before, the state, what the optimiser or the solver
    remembers (arrays), and the moments kept so far (a Trajectory; None: they are not wanted in the result)."""

    step: int
    y: np.ndarray
    memory: tuple[np.ndarray, ...] = ()
    kept: Trajectory | None = None


Checkpoint = Callable[[State, "Record"], object]  # called with (state, record) along a run


class Record:
    """What has been saved of a run under way."""

    def __init__(self, field: Field, meta: dict, past: Trajectory | None = None) -> None:
        self.field, self.meta = field, {**field.describe(), **meta}
        self.rows: list[tuple] = []
        self.terms: list[Mapping[str, float]] = []
        if past is not None:
            self.rows = list(zip(past.t, past.step, past.loss, past.fp, past.pp, past.attention, strict=True))
            self.terms = [{name: values[i] for name, values in past.terms.items()} for i in range(len(past))]

    def add(self, step: int, t: float, y: np.ndarray, seen: Observation) -> None:
        """Save state y, observed as `seen`."""
        self.rows.append((t, step, seen.loss, *self.field.correlations(y), seen.attention))
        self.terms.append(seen.terms)

    def trajectory(self, **meta: Any) -> Trajectory | None:
        """All that was saved; None where nothing was."""
        return self._as_trajectory(self.rows, self.terms, meta) if self.rows else None

    def nothing(self) -> Trajectory:
        """A Trajectory of no times, shaped as it will be."""
        y = self.field.start()
        seen = self.field.observe(y)
        row = (0.0, 0, seen.loss, *self.field.correlations(y), seen.attention)
        empty = self._as_trajectory([row], [seen.terms], {})
        columns = {name: getattr(empty, name)[:0] for name in ("t", "step", "loss", "fp", "pp", "attention")}
        return replace(empty, **columns, terms={name: values[:0] for name, values in empty.terms.items()})

    def _as_trajectory(self, rows: list[tuple], terms: list[Mapping[str, float]], meta: dict) -> Trajectory:
        t, step, loss, fp, pp, attention = (np.array(column) for column in zip(*rows, strict=True))
        by_name = {name: np.array([row[name] for row in terms]) for name in terms[0]}
        try:
            recipe = self.field.recipe()
        except NoRecipe:
            recipe = None
        return Trajectory(t, step, loss, fp, pp, attention, {**self.meta, **meta}, by_name, self.field.layout, recipe)


def plain(keep: ArrayLike | None) -> Any:
    """`keep` as plain data."""
    return keep if keep is None else np.asarray(keep).tolist()

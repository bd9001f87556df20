"""What an integrator saves along a run, and what it needs to go on from a step or time."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dynsim.reduced.field import Field
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
    """The kept moments of a run under way."""

    def __init__(self, field: Field, meta: dict, past: Trajectory | None = None) -> None:
        self.field, self.meta = field, {**field.describe(), **meta}
        columns = () if past is None else (past.t, past.step, past.loss, past.fp, past.pp, past.attention)
        self.rows = list(zip(*columns, strict=True))

    def add(self, step: int, t: float, loss: float, y: np.ndarray) -> None:
        self.rows.append((t, step, loss, *self.field.correlations(y), self.field.attention(y)))

    def trajectory(self, **meta: Any) -> Trajectory | None:
        if not self.rows:
            return None
        t, step, loss, fp, pp, attention = (np.array(column) for column in zip(*self.rows, strict=True))
        return Trajectory(t, step, loss, fp, pp, attention, {**self.meta, **meta})


def plain(keep: ArrayLike | None) -> Any:
    """`keep` as plain data."""
    return keep if keep is None else np.asarray(keep).tolist()

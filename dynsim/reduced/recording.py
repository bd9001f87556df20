"""What an integrator saves along a run, and what it needs to resume from a step or time."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dynsim.errors import NoRecipe
from dynsim.reduced.field import Field, Observation
from dynsim.trajectory import Trajectory, passage


class State(NamedTuple):
    """All that a run needs to be resumed, bit for bit.

    Parameters
    ----------
    step : int
        The step it stands before.
    y : ndarray
        The state of the field.
    memory : tuple of ndarray
        What the optimiser or the solver remembers.
    kept : Trajectory, optional
        What was saved so far; None where the result need not hold it.

    Examples
    --------
    >>> import dynsim
    >>> from dynsim.reduced.recording import State
    >>> problem = dynsim.Problem(K=1, gamma=0.75, P=16)
    >>> part = dynsim.Partition.blocks(problem)
    >>> field = dynsim.reduced.EmpiricalField(part, dynsim.sample(problem, part, n=8, seed=0))
    >>> states = []
    >>> def store(state, record):
    ...     states.append(State(state.step, state.y.copy(), state.memory, record.trajectory()))
    >>> whole = dynsim.reduced.descend(field, steps=6, checkpoint=store)
    >>> resumed = dynsim.reduced.descend(field, steps=6, start=states[3])
    >>> bool((resumed.fp == whole.fp).all())
    True
    """

    step: int
    y: np.ndarray
    memory: tuple[np.ndarray, ...] = ()
    kept: Trajectory | None = None


Checkpoint = Callable[[State, "Record"], object]  # called with (state, record) along a run


class Record:
    """Saved steps or times of a run in progress.

    Events of the field are found between them, unless an integrator that finds them itself says so by ``meta["events"]``.

    Parameters
    ----------
    field : Field
        What is integrated.
    meta : dict
        Plain data on the run, added to that of the field.
    past : Trajectory, optional
        What was saved before the run was resumed.

    Examples
    --------
    >>> import dynsim
    >>> from dynsim.reduced.recording import Record
    >>> field = dynsim.reduced.OrbitField(dynsim.Problem(K=1, gamma=0.75, P=1e6), query="L")
    >>> record = Record(field, {"integrator": "my own"})
    >>> len(record.nothing())
    0
    >>> record.add(0, 0.0, field.start(), field.observe(field.start()))
    >>> len(record.trajectory(status="stopped")), record.trajectory().meta["integrator"]
    (1, 'my own')
    """

    def __init__(self, field: Field, meta: dict, past: Trajectory | None = None) -> None:
        self.field, self.meta = field, {**field.describe(), "objective": field.objective, **meta}
        self.rows: list[tuple] = []
        self.terms: list[Mapping[str, float]] = []
        self._values: list[dict[str, float]] = []  # of events, for the first so many rows
        if past is not None:
            self.rows = list(zip(past.t, past.step, past.loss, past.fp, past.pp, past.attention, strict=True))
            self.terms = [{name: values[i] for name, values in past.terms.items()} for i in range(len(past))]

    def add(self, step: int, t: float, y: np.ndarray, seen: Observation) -> None:
        """Save a step or time.

        Parameters
        ----------
        step : int
            Number of the step.
        t : float
            Time.
        y : ndarray
            State of the field.
        seen : Observation
            What the field gives of it.
        """
        self.rows.append((t, step, seen.loss, *self.field.correlations(y), seen.attention))
        self.terms.append(seen.terms)

    def trajectory(self, **meta: Any) -> Trajectory | None:
        """Return the trajectory so far.

        Parameters
        ----------
        **meta : object
            Added to the plain data on the run.

        Returns
        -------
        Trajectory or None
            None where nothing is saved yet.
        """
        return self._as_trajectory(self.rows, self.terms, meta) if self.rows else None

    def nothing(self) -> Trajectory:
        """Return a trajectory of no times, with arrays shaped as they will be.

        Returns
        -------
        Trajectory
            Of length 0.
        """
        y = self.field.start()
        seen = self.field.observe(y)
        row = (0.0, 0, seen.loss, *self.field.correlations(y), seen.attention)
        empty = self._as_trajectory([row], [seen.terms], {})
        self._values.clear()
        return empty.at([])

    def _as_trajectory(self, rows: list[tuple], terms: list[Mapping[str, float]], meta: dict) -> Trajectory:
        t, step, loss, fp, pp, attention = (np.array(column) for column in zip(*rows, strict=True))
        events = dict(self.meta["events"]) if "events" in self.meta else self._events(t, loss, attention)
        meta = {**self.meta, **meta, "events": events}
        by_name = {name: np.array([row[name] for row in terms]) for name in terms[0]}
        try:
            recipe = self.field.recipe()
        except NoRecipe:
            recipe = None
        return Trajectory(t, step, loss, fp, pp, attention, meta, by_name, self.field.layout, recipe)

    def _events(self, t: np.ndarray, loss: np.ndarray, attention: np.ndarray) -> dict[str, float | None]:
        """The time of every event of the field, between saved times; None where it did not happen."""
        if not self.field.events:
            return {}
        for i in range(len(self._values), len(t)):
            self._values.append(self.field.event_values(float(loss[i]), attention[i], float(loss[0])))
        return {name: passage(t, [row[name] for row in self._values]) for name in self.field.events}


def plain(keep: ArrayLike | None) -> Any:
    """Return ``keep`` as plain data.

    Parameters
    ----------
    keep : array_like, optional
        As given to an integrator.

    Returns
    -------
    object
        None, a number or a list.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim.reduced.recording import plain
    >>> plain(np.array([1, 10])), plain(5), plain(None)
    ([1, 10], 5, None)
    """
    return keep if keep is None else np.asarray(keep).tolist()

"""What a run generalises to: the loss of another field along it, and the gap to its own (docs/mask-budgets.md).

A run on given images lowers their loss. The loss of the population, or of other images, at the same correlations is what it
generalises to, and the difference is the gap,

    gap(t) = L_population(y(t)) - L_training(y(t)) = (excess_population - excess_training) + (floor_population - floor_training).

No attention lowers a loss below its floor (eq. 6), which differs between sets of images: the last bracket is luck of the draw,
zero in the mean, and the first is what training has to answer for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from dynsim.errors import InputError
from dynsim.trajectory import Trajectory

if TYPE_CHECKING:
    from dynsim.model.problem import Problem
    from dynsim.reduced.field import Field


class _Measure(Protocol):
    """A field whose loss is asked for: its state from correlations, its loss, and the floor of it."""

    @property
    def floor(self) -> float | None:
        """Loss per masked patch that no attention can lower."""

    def state(self, fp: np.ndarray, pp: np.ndarray, /) -> np.ndarray:
        """The state that has these correlations."""

    def start(self) -> np.ndarray:
        """The state at Q = 0."""

    def velocity(self, y: np.ndarray, step: int = 0, /) -> tuple[float, np.ndarray]:
        """(loss per masked patch, dy/dt)."""


@dataclass(frozen=True, eq=False)
class Gap:
    """Training and population loss along a run, each (T,), per masked patch.

    Parameters
    ----------
    t : (T,) float
        Time, step size x step.
    training, population : (T,) float
        Losses.
    training_floor, population_floor : float or None
        What no attention removes of each; None where it is not known.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim.analysis.generalisation import Gap
    >>> found = Gap(np.arange(2.0), np.array([0.4, 0.1]), np.array([0.4, 0.2]), training_floor=0.05, population_floor=0.06)
    >>> found.gap.round(2).tolist(), found.excess_gap.round(2).tolist()
    ([0.0, 0.1], [-0.01, 0.09])
    """

    t: np.ndarray
    training: np.ndarray
    population: np.ndarray
    training_floor: float | None = None
    population_floor: float | None = None

    @property
    def gap(self) -> np.ndarray:
        """Population less training loss, (T,)."""
        return self.population - self.training

    @property
    def floors(self) -> float:
        """What of the gap is in the floors alone: population less training floor; 0 where one is not known."""
        if self.training_floor is None or self.population_floor is None:
            return 0.0
        return self.population_floor - self.training_floor

    @property
    def excess_gap(self) -> np.ndarray:
        """The gap without that of the floors: what training has to answer for, (T,)."""
        return self.gap - self.floors

    def to_dict(self) -> dict:
        """Plain data: losses and gap at the end, floors, the largest gap and when."""
        largest = int(np.argmax(self.excess_gap))
        return {
            "training": float(self.training[-1]),
            "population_loss": float(self.population[-1]),
            "gap": float(self.gap[-1]),
            "excess_gap": float(self.excess_gap[-1]),
            "training_floor": self.training_floor,
            "population_floor": self.population_floor,
            "largest_excess_gap": float(self.excess_gap[largest]),
            "at": float(self.t[largest]),
        }


def evaluate(field: _Measure, traj: Trajectory) -> np.ndarray:
    """Loss of `field` at the saved correlations of a run on another one.

    Parameters
    ----------
    field : Field
        A field of the correlations of every query: samples, minibatch, population. Minibatches are those of the saved steps.
    traj : Trajectory
        A run on the same partition under the same embedding.

    Returns
    -------
    (T,) float
        Loss per masked patch at each saved time.

    Raises
    ------
    InputError
        Where the correlations are not those of this field.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=3, P=64)
    >>> part = dynsim.Partition.blocks(problem)
    >>> field = dynsim.reduced.EmpiricalField(part, dynsim.sample(problem, part, n=8))
    >>> run = dynsim.reduced.descend(field, eta=4.0, steps=100, keep=50)
    >>> population = dynsim.reduced.PopulationField(problem, part)
    >>> dynsim.analysis.evaluate(population, run).round(2)
    array([0.42, 0.17, 0.14])
    """
    if not hasattr(field, "state"):
        raise InputError(
            f"a loss along a run needs a field that is rebuilt from correlations, got {type(field).__name__}: take one of "
            f"samples, minibatches or the population"
        )
    losses = []
    for step, fp, pp in zip(traj.step, traj.fp, traj.pp, strict=True):
        _check_shapes(field, fp, pp)
        losses.append(field.velocity(field.state(fp, pp), int(step))[0])
    return np.array(losses)


def gap(traj: Trajectory, training: _Measure, population: _Measure) -> Gap:
    """Training loss, population loss, and their floors along a run.

    Parameters
    ----------
    traj : Trajectory
        The run.
    training : Field
        The field of the training images: of all of them, also where the run took them batch by batch.
    population : Field
        What the run should generalise to: the population's field, or that of other images.

    Returns
    -------
    Gap
        Along the saved times.

    Raises
    ------
    InputError
        As `evaluate` does.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=3, P=64)
    >>> part = dynsim.Partition.blocks(problem)
    >>> training = dynsim.reduced.EmpiricalField(part, dynsim.sample(problem, part, n=8))
    >>> run = dynsim.reduced.descend(training, eta=4.0, steps=200, keep=100)
    >>> found = dynsim.analysis.generalisation.gap(run, training, dynsim.reduced.PopulationField(problem, part))
    >>> bool(found.gap[-1] > 0.01)
    True
    """
    return Gap(traj.t, evaluate(training, traj), evaluate(population, traj), training.floor, population.floor)


def of_run(field: Field, traj: Trajectory, problem: Problem) -> Gap | None:
    """Training and population loss of a run on given images.

    Parameters
    ----------
    field : Field
        The field that was run.
    traj : Trajectory
        The run.
    problem : Problem
        The law of the images.

    Returns
    -------
    Gap or None
        Along the saved times, the training loss as the run has it; None where the field does not run on given images, or there is
        no closed population for its vectors (``Field.population``).

    Raises
    ------
    InputError
        As `evaluate` does.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=3, P=64)
    >>> field = dynsim.reduced.EmpiricalField.from_options(problem, n=8)
    >>> run = dynsim.reduced.descend(field, eta=4.0, steps=200, keep=100)
    >>> found = dynsim.analysis.generalisation.of_run(field, run, problem)
    >>> bool((found.training == run.loss).all()), bool(found.gap[-1] > 0.01)
    (True, True)
    """
    population = field.population(problem)
    if population is None:
        return None
    return Gap(traj.t, traj.loss, evaluate(population, traj), field.floor, population.floor)  # type: ignore[arg-type]


def _check_shapes(field: _Measure, fp: np.ndarray, pp: np.ndarray) -> None:
    """Raise InputError unless correlations have the shapes of the field's own."""
    rows, P = field.start().shape[-2:] if field.start().ndim == 2 else (0, 0)
    if fp.ndim != 2 or pp.shape != (P, P) or fp.shape != (P, rows - P):
        raise InputError(
            f"the run's correlations must be those of the field's partition, got fp {fp.shape} and pp {pp.shape} for a state of "
            f"shape {field.start().shape}: take a field on the partition that it ran on"
        )

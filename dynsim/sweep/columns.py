"""Columns of a sweep that not every run has: measures of runs on pictures, and what a run generalises to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dynsim.model.problem import Problem
    from dynsim.reduced.field import Field
    from dynsim.trajectory import Trajectory


def of_pictures(field: Field, traj: Trajectory) -> dict[str, float | None]:
    """Return the columns of a run on pictures, which has no areas.

    Parameters
    ----------
    field : Field
        With ``images``.
    traj : Trajectory
        The run.

    Returns
    -------
    dict
        Losses per masked patch at start and end as "loss_start" and "loss", those of the terms of a sum by their names, "t_end",
        and the measures of attention at start and end, "distance_start" and "distance", and so on, over some rows.

    Examples
    --------
    >>> import numpy as np, dynsim
    >>> from dynsim.sweep.columns import of_pictures
    >>> pictures = np.random.default_rng(0).uniform(size=(20, 6, 6))
    >>> field = dynsim.reduced.ImageField(dynsim.Images.cut(pictures, patch=2))
    >>> found = of_pictures(field, dynsim.reduced.descend(field, steps=10))
    >>> bool(found["distance"] < found["distance_start"]), "mutual_information" in found
    (True, True)
    """
    from dynsim.analysis import image_attention

    found: dict[str, float | None] = {"loss_start": traj.loss[0], "loss": traj.loss[-1], "t_end": traj.t[-1]}
    for name, losses in traj.terms.items():
        name = name.replace(" ", "_")
        found |= {f"{name}_start": losses[0], name: losses[-1]}
    for name, values in image_attention.overview(field.images, traj, times=2).items():
        found |= {} if name == "t" else {f"{name}_start": values[0], name: values[-1]}
    return found


def of_population(field: Field, traj: Trajectory, problem: Problem) -> dict[str, float | None]:
    """Return what a run on given images generalises to at its end.

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
    dict
        Values of "population_loss" and "population_floor", per masked patch, "gap_loss", population less training loss, and
        "gap_excess", the same above the floors. Empty where the field knows no population.

    Examples
    --------
    >>> import dynsim
    >>> from dynsim.sweep.columns import of_population
    >>> problem = dynsim.Problem(K=3, P=64)
    >>> field = dynsim.reduced.EmpiricalField.from_options(problem, n=8)
    >>> found = of_population(field, dynsim.reduced.descend(field, eta=4.0, steps=200), problem)
    >>> list(found), bool(found["gap_loss"] > 0.01)
    (['population_loss', 'population_floor', 'gap_loss', 'gap_excess'], True)
    """
    from dynsim.analysis import generalisation

    gap = generalisation.of_run(field, traj.at([-1]), problem)
    if gap is None:
        return {}
    return {
        "population_loss": gap.population[0], "population_floor": gap.population_floor, "gap_loss": gap.gap[0],
        "gap_excess": gap.excess_gap[0],
    }  # fmt: skip

"""Curves by area along a run."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from dynsim.analysis import summary as moves
from dynsim.errors import InputError
from dynsim.model.partition import Partition
from dynsim.model.problem import Problem
from dynsim.plots.style import IN_GLOBAL, SORTS
from dynsim.trajectory import Trajectory


def by_letter(
    traj: Trajectory, problem: Problem, part: Partition | None = None
) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """Attention, FP and PP along a run for clusters in which the query is local ("L") and global ("G"):
    {letter: {"attention" | "fp" | "pp": {sort: (T, pairs)}}}, pairs of query and cluster. Raises InputError."""
    where: Any  # what lies where: an orbit field, or the partition
    at_moment: Callable
    if "query" in traj.meta:
        from dynsim.reduced import OrbitField

        options = {name: traj.meta[name] for name in ("masks", "intersections")}
        where, at_moment = OrbitField(problem, traj.meta["query"], **options), moves.orbit
        is_global = np.array([letter == "G" for letter in traj.meta["query"]])
    elif part is not None:
        where, at_moment, is_global = part, moves.explicit, part.labels == 0
    else:
        raise InputError("a run on an explicit partition is drawn by areas, got no partition: give part=")
    rows = [at_moment(where, traj, at) for at in range(len(traj))]
    chosen = {"L": ~is_global, "G": is_global}
    return {
        letter: {
            name: {sort: np.array([row[name][sort][at] for row in rows]) for sort in sorts} for name, sorts in rows[0].items()
        }
        for letter, at in chosen.items()
        if at.any()
    }


def curves(ax: Axes, t: np.ndarray, table: Mapping[str, np.ndarray], letter: str = "L") -> None:
    """Draw {sort: (T, pairs)} against t: the mean over pairs, and a band from their 5th to their 95th percentile."""
    marker = {} if letter == "L" else IN_GLOBAL
    for sort, style in SORTS.items():
        if sort not in table or (letter == "G" and sort == "global"):
            continue
        values = table[sort][:, np.isfinite(table[sort]).all(axis=0)]  # pairs that no image shows have no attention
        if not values.size:
            continue
        ax.plot(t, values.mean(axis=1), **{**style, **marker, "label": "_" + style["label"]})
        low, high = np.percentile(values, [5, 95], axis=1)
        if (high - low).max() > 1e-9 * np.abs(values).max():
            ax.fill_between(t, low, high, color=style["color"], alpha=0.15 if letter == "L" else 0.08, lw=0)

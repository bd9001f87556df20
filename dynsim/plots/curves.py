"""Curves by area along a run."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from dynsim.analysis.phases import layout_for
from dynsim.model.partition import Partition
from dynsim.plots.style import IN_GLOBAL, ROLES
from dynsim.trajectory import Trajectory


def by_area(traj: Trajectory, part: Partition | None = None) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """Attention, FP and PP along a run for clusters in which the query is local ("L") and global ("G"):
    {"L" | "G": {"attention" | "fp" | "pp": {role: (T, pairs)}}}, pairs of query and cluster.

    part: of a trajectory that does not say itself where its areas lie. Raises InputError."""
    layout = layout_for(traj, part)
    rows = [layout.areas(*tables) for tables in zip(traj.fp, traj.pp, traj.attention, strict=True)]
    return {
        letter: {
            name: {role: np.array([row[name][role][at] for row in rows]) for role in roles} for name, roles in rows[0].items()
        }
        for letter, at in (("L", ~layout.is_global), ("G", layout.is_global))
        if at.any()
    }


def curves(ax: Axes, t: np.ndarray, table: Mapping[str, np.ndarray], letter: str = "L") -> None:
    """Draw {role: (T, pairs)} against t: the mean over pairs, and a band from their 5th to their 95th percentile."""
    marker = {} if letter == "L" else IN_GLOBAL
    for role, style in ROLES.items():
        if role not in table or (letter == "G" and role == "global"):
            continue
        values = table[role][:, np.isfinite(table[role]).all(axis=0)]  # pairs that no image shows have no attention
        if not values.size:
            continue
        ax.plot(t, values.mean(axis=1), **{**style, **marker, "label": "_" + style["label"]})
        low, high = np.percentile(values, [5, 95], axis=1)
        if (high - low).max() > 1e-9 * np.abs(values).max():
            ax.fill_between(t, low, high, color=style["color"], alpha=0.15 if letter == "L" else 0.08, lw=0)

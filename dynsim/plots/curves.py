"""Curves by area along a run."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from dynsim.analysis.phases import layout_for
from dynsim.model.partition import Partition
from dynsim.plots.style import IN_GLOBAL, ROLES
from dynsim.trajectory import Trajectory


def by_area(traj: Trajectory, part: Partition | None = None) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """Arrange attention, FP and PP along a run by the role of areas.

    Parameters
    ----------
    traj : Trajectory
        A run.
    part : Partition, optional
        Areas of a trajectory that does not say itself where they lie.

    Returns
    -------
    dict
        For clusters in which the query is local ("L") and global ("G"), as far as there are any: name ("attention", "fp", "pp")
        -> role -> ndarray (T, pairs), pairs of query and cluster.

    Raises
    ------
    InputError
        If a partition is missing, or does not fit.

    Examples
    --------
    >>> import dynsim
    >>> field = dynsim.reduced.OrbitField(dynsim.Problem(K=2, gamma=0.75, P=1e6), query="LL")
    >>> run = dynsim.reduced.flow(field, t_end=10.0, keep=3)
    >>> tables = dynsim.plots.by_area(run)
    >>> list(tables), tables["L"]["fp"]["own"].shape
    (['L'], (3, 2))
    """
    layout = layout_for(traj, part)
    rows = [layout.areas(*tables) for tables in zip(traj.fp, traj.pp, traj.attention, strict=True)]
    return {
        area: {
            name: {role: np.array([row[name][role][at] for row in rows]) for role in roles} for name, roles in rows[0].items()
        }
        for area, at in (("L", ~layout.is_global), ("G", layout.is_global))
        if at.any()
    }


def curves(ax: Axes, t: np.ndarray, table: Mapping[str, np.ndarray], area: str = "L") -> None:
    """Draw a table by role against time: the mean over pairs, and a band from their 5th to their 95th percentile.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    t : ndarray of shape (T,)
        Times.
    table : mapping of str to ndarray
        Role -> (T, pairs), as from ``by_area``.
    area : {"L", "G"}
        Whether the query is local or global in these clusters; "G" has markers.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim import plots
    >>> made, ax = plots.figure()
    >>> plots.curves(ax, np.array([1.0, 2.0]), {"own": np.array([[0.0, 0.1], [0.5, 0.7]])})
    >>> ax.lines[0].get_ydata().round(3).tolist()
    [0.05, 0.6]
    """
    marker = {} if area == "L" else IN_GLOBAL
    for role, style in ROLES.items():
        if role not in table or (area == "G" and role == "global"):
            continue
        values = table[role][:, np.isfinite(table[role]).all(axis=0)]  # pairs that no image shows have no attention
        if not values.size:
            continue
        ax.plot(t, values.mean(axis=1), **{**style, **marker, "label": "_" + style["label"]})
        low, high = np.percentile(values, [5, 95], axis=1)
        if (high - low).max() > 1e-9 * np.abs(values).max():
            ax.fill_between(t, low, high, color=style["color"], alpha=0.15 if area == "L" else 0.08, lw=0)

"""Summary of a run in numbers: by query type, how attention and correlations moved.

Within a query type (L local, G global for each cluster), clusters where the query is local and clusters where it is global are
listed separately. Attention is that of a query on the unmasked patches of its own area, of the global one, of all others
together, and on masked patches; FP and PP are means over areas and keys of that role.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dynsim.model.areas import ROLES, Table

if TYPE_CHECKING:
    from dynsim.model.areas import Layout
    from dynsim.trajectory import Trajectory

__all__ = ["ROLES", "by_query_type", "events_of", "global_depth"]


def by_query_type(traj: Trajectory, layout: Layout | None = None) -> list[dict]:
    """Summarise a run by query type.

    Parameters
    ----------
    traj : Trajectory
        A run.
    layout : Layout, optional
        Layout of a run that does not have one itself.

    Returns
    -------
    list of dict
        Plain data for every query type: "query", "share" of the patches, and under "clusters" one dict for clusters with "area" L
        and one for G, with start and end of attention, fp and pp by role.

    Examples
    --------
    >>> import dynsim
    >>> field = dynsim.reduced.OrbitField(dynsim.Problem(K=2, gamma=0.75, P=1e6), query="LG")
    >>> run = dynsim.reduced.flow(field, t_end=10.0, keep=3)
    >>> (row,) = dynsim.analysis.summary.by_query_type(run)
    >>> row["query"], [cluster["area"] for cluster in row["clusters"]], sorted(row["clusters"][0]["fp"])
    ('LG', ['L', 'G'], ['global', 'others', 'own'])
    """
    layout = traj.layout if layout is None else layout
    ends = [layout.areas(traj.fp[at], traj.pp[at], traj.attention[at]) for at in (0, -1)]
    found = []
    for query, share in layout.share.items():
        rows = []
        for area in sorted(set(query), reverse=True):
            pairs = (layout.query_type == query) & (layout.is_global == (area == "G"))
            rows.append({"area": area, **_moves(ends, pairs)})
        found.append({"query": query, "share": share, "clusters": rows})
    return found


def global_depth(traj: Trajectory, t: float | None, query: str = "") -> float:
    """Return the FP correlation with the global area at a time.

    Parameters
    ----------
    traj : Trajectory
        A run.
    t : float or None
        A saved time, or one between saved times.
    query : str
        A query type; all by default.

    Returns
    -------
    float
        Mean over the pairs of query and cluster in which the query is local; NaN where there is none, or t is None.

    Examples
    --------
    >>> import dynsim
    >>> field = dynsim.reduced.OrbitField(dynsim.Problem(K=1, gamma=0.75, P=1e12))
    >>> run = dynsim.reduced.flow(field, t_end=2 * dynsim.theory.escape_time(field.problem), keep=2)
    >>> depth = dynsim.analysis.summary.global_depth(run, run.meta["events"]["escape"])
    >>> abs(depth / dynsim.theory.global_depth(field.problem, finite=True) - 1) < 1e-3
    True
    """
    pairs = ~np.asarray(traj.layout.is_global) & ((np.asarray(traj.layout.query_type) == query) | (not query))
    if t is None or not pairs.any():
        return float("nan")
    at = np.flatnonzero(traj.t == t)[:1]
    if at.size:
        return float(traj.layout.areas(fp=traj.fp[at[0]])["fp"]["global"][pairs].mean())
    return float(np.interp(t, traj.t, [traj.layout.areas(fp=fp)["fp"]["global"][pairs].mean() for fp in traj.fp]))


def events_of(traj: Trajectory, query: str) -> dict[str, float | None]:
    """Return the events of attention of one query type.

    Parameters
    ----------
    traj : Trajectory
        A run.
    query : str
        A query type of the run.

    Returns
    -------
    dict
        Time t = eta x step by name of the event ("escape", "collapse"), None where it did not happen; empty where the run has no
        events of this query type.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=2, gamma=0.75, P=36, kappa_c=0.85, kappa_s=0.45)
    >>> part = dynsim.Partition.blocks(problem)
    >>> field = dynsim.reduced.ContrastiveField(part, dynsim.sample_pairs(problem, part, n=32))
    >>> found = dynsim.analysis.summary.events_of(dynsim.reduced.descend(field, eta=36.0, steps=400), "LL")
    >>> sorted(found), found["escape"], round(found["collapse"])
    (['collapse', 'escape'], None, 6768)
    """
    events = traj.meta.get("events", {})
    own = {name.partition(" ")[0]: t for name, t in events.items() if name.partition(" ")[2] == query}
    if not own and len(traj.layout.share) == 1:  # a run of one query type: its events are those of the run
        return {name: t for name, t in events.items() if name in ("escape", "collapse")}
    return own


def _moves(ends: Sequence[Table], pairs: np.ndarray) -> dict:
    return {
        name: {role: [_mean(end[name][role][pairs]) for end in ends] for role in roles} for name, roles in ends[0].items()
    }


def _mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")

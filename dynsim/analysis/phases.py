"""Phases of a run, from its trajectory alone (docs/what-to-expect.md).

Means over the clusters in which a query is local, of its own and its global area, give three times that divide a run:

===========  =========================================================================  ===========================
phase        what happens                                                               until
===========  =========================================================================  ===========================
I            the global FP correlation moves faster than the own one: it decouples      abs(dPhi_g) = abs(dPhi_own)
II           the own FP correlation moves faster, until own attention takes off         own attention = 1/2
convergence  the loss comes down to its floor                                           1 % of the excess is left
===========  =========================================================================  ===========================

Where attention on the global area has passed one half (the event "collapse" of contrast) the phases are the same, and the regime
says so: the names are those of the plane of weight and information gap (docs/contrastive-population.md).

Events that the run itself has found, on its way (flow) or between saved steps (descent), are taken over; what else is needed is
interpolated between saved times. Time is t = eta x step. Which phases the exponents of the problem predict is for
``theory.regime`` to answer.
"""

import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from dynsim.errors import InputError
from dynsim.model.areas import Layout, PartitionLayout, local_pairs
from dynsim.model.partition import Partition
from dynsim.reduced.field import LOSS_EVENTS
from dynsim.trajectory import Trajectory, passage

TAKE_OFF = 0.5  # own attention at escape
APART = 1e-6  # saved times closer than this (relative) are one: their difference is rounding
CURVES = (("fp", "own"), ("fp", "global"), ("attention", "own"))
GLOBAL_FASTER = "the global FP correlation moves faster than the own one"
OWN_FASTER = "the own FP correlation moves faster, until own attention passes one half"
CONVERGES = "from the escape until 1 % of the excess loss at the start is left"


@dataclass(frozen=True)
class Phase:
    """One phase of a run.

    Parameters
    ----------
    name : str
        "I", "II" or "convergence".
    start : float or None
        Time t = eta x step; None where the run ends before it.
    end : float or None
        Time; None where the run ends before it.
    defined_by : str
        What happens, in words.

    Examples
    --------
    >>> from dynsim.analysis.phases import Phase
    >>> Phase("I", 0.0, 12.5, "the global correlation moves faster").end
    12.5
    """

    name: str
    start: float | None
    end: float | None
    defined_by: str


@dataclass(frozen=True)
class Phases:
    """Result of ``find``: the three phases of a run; iterates over them.

    Parameters
    ----------
    regime : str
        "two phases" where phase I lasts, "one phase" where it does not; where attention on the global area has passed one half,
        "delayed" if own attention has as well, else (by the end of the run) "collapsed".
    decoupling, growth, convergence : Phase
        Phases I, II and convergence.

    Examples
    --------
    >>> import dynsim
    >>> field = dynsim.reduced.OrbitField(dynsim.Problem(K=1, gamma=0.75, P=1e12))
    >>> run = dynsim.reduced.flow(field, t_end=3 * dynsim.theory.escape_time(field.problem))
    >>> found = dynsim.analysis.phases.find(run)
    >>> [phase.name for phase in found], found.to_dict()["regime"]
    (['I', 'II', 'convergence'], 'two phases')
    """

    regime: str
    decoupling: Phase
    growth: Phase
    convergence: Phase

    def __iter__(self) -> Iterator[Phase]:
        return iter((self.decoupling, self.growth, self.convergence))

    def to_dict(self) -> dict:
        """Return the phases as plain data.

        Returns
        -------
        dict
            "regime", and "phases" in order.
        """
        return {"regime": self.regime, "phases": [asdict(phase) for phase in self]}


def find(traj: Trajectory, part: Partition | None = None, floor: float | None = None) -> Phases:
    """Find the phases of a trajectory.

    Parameters
    ----------
    traj : Trajectory
        A run.
    part : Partition, optional
        Areas of a trajectory that does not say itself where they lie (files of other programs).
    floor : float, optional
        Loss per masked patch that no training removes (``Field.floor``, ``theory.loss_floor``); by default what the run
        says of itself, else 0.

    Returns
    -------
    Phases
        The three phases.

    Raises
    ------
    InputError
        If there are fewer than three saved times, or a partition is missing or does not fit.

    Examples
    --------
    >>> import dynsim
    >>> field = dynsim.reduced.OrbitField(dynsim.Problem(K=1, gamma=0.75, P=1e12, amplitude=dynsim.Fixed(1.0)))
    >>> escape = dynsim.theory.escape_time(field.problem)
    >>> found = dynsim.analysis.phases.find(dynsim.reduced.flow(field, t_end=3 * escape))
    >>> round(found.decoupling.end / escape, 2)  # one third, docs/what-to-expect.md
    0.33
    """
    apart = _apart(traj.t)
    if len(apart) < 3:
        raise InputError(f"phases need at least 3 saved times, got {len(apart)}: save more of the run")
    own, at_global, _ = _curves(traj, part)
    found = events(traj, floor, part)
    escape, end = found["escape"], found.get("excess")
    slower = _overtaken(traj.t[apart], own[apart], at_global[apart])
    if escape is not None:
        slower = escape if slower is None else min(slower, escape)
    if found.get("collapse") is None:
        regime = "one phase" if slower == 0.0 else "two phases"
    else:
        regime = "collapsed" if escape is None else "delayed"
    return Phases(
        regime,
        Phase("I", 0.0, slower, GLOBAL_FASTER),
        Phase("II", slower, escape, OWN_FASTER),
        Phase("convergence", escape, end, CONVERGES),
    )


def events(traj: Trajectory, floor: float | None = None, part: Partition | None = None) -> dict[str, float | None]:
    """Return the events of a trajectory: those of its field, or escape, half and excess where it does not say any.

    Parameters
    ----------
    traj : Trajectory
        A run.
    floor : float, optional
        As for ``find``; half and excess of a flow are those that it has found by the floor of its field.
    part : Partition, optional
        As for ``find``.

    Returns
    -------
    dict
        Time t = eta x step by name; None for those that did not happen.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=2, gamma=0.75, P=36, kappa_c=0.8, kappa_s=0.4)
    >>> field = dynsim.reduced.PopulationField(problem, dynsim.Partition.blocks(problem))
    >>> found = dynsim.analysis.phases.events(dynsim.reduced.descend(field, eta=2.0, steps=400))
    >>> {name: round(time) for name, time in found.items()}
    {'escape': 160, 'half': 51, 'excess': 405}
    """
    found = dict(traj.meta.get("events", {}))
    if found and (floor is None or traj.meta.get("integrator") == "flow"):
        return found
    floor = traj.meta.get("loss_floor", 0.0) if floor is None else floor
    left = (traj.loss - floor) / (traj.loss[0] - floor) if traj.loss[0] > floor else np.zeros(len(traj))
    of_loss = {name: passage(traj.t, share - left) for name, share in LOSS_EVENTS.items()}
    if found:
        return {**found, **{name: time for name, time in of_loss.items() if name in found}}
    return {"escape": passage(traj.t, _curves(traj, part)[2] - TAKE_OFF), **of_loss}


def _apart(t: np.ndarray) -> np.ndarray:
    """Indices of the saved times that are apart from the one before."""
    chosen = [0]
    for i in range(1, len(t)):
        if t[i] - t[chosen[-1]] > APART * t[i]:
            chosen.append(i)
    return np.array(chosen)


def _curves(traj: Trajectory, part: Partition | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Own and global FP correlation and own attention, each (T,): means over the pairs of query and cluster where the query
    is local (over all pairs where none is)."""
    layout = layout_for(traj, part)
    local, rows = local_pairs(layout), []
    for fp, attention in zip(traj.fp, traj.attention, strict=True):
        tables = layout.areas(fp=fp, attention=attention)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the mean of nothing: no images show any such pair
            rows.append([np.nanmean(tables[name][role][local]) for name, role in CURVES])
    own, at_global, attended = np.array(rows).T
    return own, at_global, attended


def layout_for(traj: Trajectory, part: Partition | None) -> Layout:
    """Return the layout that says where the queries of a trajectory find their areas.

    Parameters
    ----------
    traj : Trajectory
        A run.
    part : Partition or None
        Areas, in place of those that the trajectory itself knows.

    Returns
    -------
    Layout
        The layout.

    Raises
    ------
    InputError
        If there is none, or the partition does not fit.

    Examples
    --------
    >>> import dynsim
    >>> field = dynsim.reduced.OrbitField(dynsim.Problem(K=1, gamma=0.75, P=1e6))
    >>> run = dynsim.reduced.flow(field, t_end=10.0, keep=3)
    >>> dynsim.analysis.phases.layout_for(run, None) is run.layout
    True
    """
    if part is None and traj.layout is None:
        raise InputError("this trajectory has a correlation for every patch: say which lies where, phases.find(traj, part)")
    if part is not None and (traj.fp.ndim != 3 or traj.fp.shape[1] != part.P or traj.attention.shape[2:] != (part.F,)):
        raise InputError(
            f"the partition must be the run's, got P={part.P}, F={part.F} for fp of shape {traj.fp.shape}: pass the one it ran on"
        )
    layout = traj.layout if part is None else PartitionLayout(part, traj.fp.shape[2] > part.F)
    if not len(layout.query_type):
        raise InputError("this run knows no areas, own or global: estimate some with analysis.areas.fit, and pass its part")
    return layout


def _overtaken(t: np.ndarray, own: np.ndarray, at_global: np.ndarray) -> float | None:
    """When the own correlation first moves at least as fast as the global one; 0 where it does from the start, None: never."""
    speed, other = np.abs(np.diff(own)), np.abs(np.diff(at_global))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(other > 0, speed / other, np.inf)
    if ratio[0] >= 1:
        return 0.0
    return _first((t[1:] + t[:-1]) / 2, ratio)


def _first(t: np.ndarray, x: np.ndarray) -> float | None:
    """When x > 0 first passes 1, interpolated in log x and log t; None: never, or not within the saved times."""
    above = np.flatnonzero(x >= 1)
    if not above.size:
        return None
    i = above[0]
    if i == 0 or t[i - 1] <= 0 or x[i - 1] <= 0 or not np.isfinite(x[i]):
        return float(t[i])
    a, b = np.log(x[i - 1]), np.log(x[i])
    return float(t[i - 1] * (t[i] / t[i - 1]) ** (-a / (b - a)))

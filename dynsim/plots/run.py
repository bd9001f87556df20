"""A run in four panels, with its phases and what theory predicts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dynsim import theory
from dynsim.analysis import phases
from dynsim.analysis.generalisation import Gap
from dynsim.analysis.phase_theory import has_theory
from dynsim.analysis.phases import layout_for
from dynsim.errors import InputError
from dynsim.model.partition import Partition
from dynsim.model.problem import Problem
from dynsim.plots.curves import by_area, curves
from dynsim.plots.generalisation import excess, losses
from dynsim.plots.style import BLACK, DOUBLE, GREY, IN_GLOBAL, PANELS, PURPLE, RED, ROLES, SHADES, STYLE, TIME, figure, smaller
from dynsim.trajectory import Trajectory, loss_label


def shade(ax: Axes, found: phases.Phases, end: float, label: bool = True) -> None:
    """Shade the phases of a run, and name them at the top.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw; its time axis is logarithmic.
    found : Phases
        As from ``phases.find``.
    end : float
        Time at which the axis ends.
    label : bool
        Whether phases are named.

    Examples
    --------
    >>> from dynsim import plots
    >>> from dynsim.analysis.phases import Phase, Phases
    >>> found = Phases("two phases", Phase("I", 0.0, 10.0, ""), Phase("II", 10.0, 30.0, ""), Phase("convergence", 30.0, None, ""))
    >>> made, ax = plots.figure()
    >>> plots.log_time(ax, [0.0, 1.0, 100.0])
    >>> plots.shade(ax, found, 100.0)
    >>> [text.get_text() for text in ax.texts]
    ['I', 'II', 'convergence']
    """
    for phase, color, name in zip(found, SHADES, ("I", "II", "convergence"), strict=True):
        stop = end if phase.end is None else phase.end
        if phase.start is None or stop <= max(phase.start, ax.get_xlim()[0]):
            continue
        ax.axvspan(phase.start, stop, color=color, lw=0, zorder=-2)
        start = ax.get_xlim()[0]
        middle = np.sqrt(max(phase.start, start) * min(stop, end))
        if label and np.log10(min(stop, end) / middle) > 0.1:
            style: dict = {"ha": "center", "va": "bottom", "fontsize": smaller(ax), "color": GREY}
            if len(name) > 2 and np.log(end / middle) < 0.15 * np.log(end / start):  # a word at the edge stays inside
                middle, style["ha"] = end, "right"
            ax.text(middle, 1.01, name, transform=ax.get_xaxis_transform(), **style)


@rc_context(STYLE)
def summary(
    trajs: Trajectory | list[Trajectory] | tuple[Trajectory, ...],
    problem: Problem,
    part: Partition | None = None,
    gap: Gap | None = None,
) -> Figure:
    """Draw FP, PP, area attention and loss of a run in four panels, with its phases and what theory predicts.

    Parameters
    ----------
    trajs : Trajectory or list of Trajectory
        A run; or one run per query type, of which the most local and the most global one are drawn.
    problem : Problem
        What was simulated.
    part : Partition, optional
        Areas of a run that does not say itself where they lie.
    gap : Gap, optional
        Population loss along a run on given images, from ``analysis.generalisation``: adds two panels.

    Returns
    -------
    matplotlib.figure.Figure
        Two columns wide.

    Raises
    ------
    InputError
        If there are several runs of all query types, or a partition is missing or does not fit.

    Notes
    -----
    Means over pairs of query and cluster, with a band. Drawn in: escape time (eq. 8, 15), depth (eq. 9), late loss (eq. 12) and
    floor (eq. 6).

    Examples
    --------
    >>> import dynsim
    >>> field = dynsim.reduced.OrbitField(dynsim.Problem(K=1, gamma=0.75, P=1e6))
    >>> run = dynsim.reduced.flow(field, t_end=10 * dynsim.theory.escape_time(field.problem))
    >>> len(dynsim.plots.summary(run, field.problem).axes)
    4
    """
    drawn = _chosen(list(trajs) if isinstance(trajs, (list, tuple)) else [trajs], part)
    runs = list({id(traj): traj for traj in drawn.values()}.values())
    made, axes = figure(2, 2, DOUBLE, 4.6, sharex=True) if gap is None else figure(3, 2, DOUBLE, 6.6, sharex=True)
    panels, below = axes[:2], axes[2:]
    start, end = _span(runs)
    for ax, name, label in zip(panels.flat, "abcd", PANELS.values(), strict=True):
        ax.set(xscale="log", xlim=(start, end), ylabel=label)
        ax.set_title(f"({name})", loc="left", fontsize=STYLE["axes.titlesize"])
    handles: dict = {}
    for area, traj in drawn.items():
        tables = by_area(traj, part).get(area, {})
        for ax, name in zip(panels.flat, PANELS, strict=True):
            if name in tables:
                curves(ax, traj.t, tables[name], area)
        for role in tables.get("attention", ()):
            handles.setdefault(role, axes[0, 0].plot([], [], **ROLES[role])[0])
    for traj in runs:
        axes[1, 1].plot(traj.t, traj.loss, color=BLACK, **({} if traj is runs[0] else IN_GLOBAL))
    if "G" in drawn:
        handles["G"] = axes[0, 0].plot([], [], color=GREY, label="query in the global area", **IN_GLOBAL)[0]
    if all(traj.meta.get("objective", "reconstruction") == "reconstruction" and has_theory(traj) for traj in runs):
        _predictions(axes, drawn, problem, part, end, handles)
        for ax in axes.flat if len(runs[0]) >= 3 else ():
            shade(ax, phases.find(runs[0], part), end)
    axes[1, 1].set_ylabel(loss_label(*runs))
    if gap is not None:
        for ax, draw, name in zip(below[0], (losses, excess), "ef", strict=True):
            draw(ax, gap)
            ax.set_title(f"({name})", loc="left", fontsize=STYLE["axes.titlesize"])
    axes[0, 1].yaxis.set_major_formatter("{x:g}")
    axes[1, 0].set_ylim(-0.02, 1.02)
    for ax in axes[-1]:
        ax.set_xlabel(TIME)
    _log_if_wide(axes[1, 1])
    made.legend(handles=list(handles.values()), loc="outside upper center", ncols=4, frameon=False, handlelength=2.4)
    return made


def _chosen(trajs: Sequence[Trajectory], part: Partition | None) -> dict[str, Trajectory]:
    """The run to draw for clusters in which the query is local, and the one for global ones: {"L" | "G": Trajectory}."""
    layouts = [layout_for(traj, part) for traj in trajs]
    if len(trajs) > 1 and any(len(layout.share) > 1 for layout in layouts):
        raise InputError(f"one run of all query types makes a figure, got {len(trajs)} runs: draw them one by one")
    local = [float(np.mean(~layout.is_global)) for layout in layouts]
    best = {"L": int(np.argmax(local)), "G": int(np.argmin(local))}
    return {area: trajs[i] for area, i in best.items() if (local[i] > 0 if area == "L" else local[i] < 1)}


def _span(runs: Sequence[Trajectory]) -> tuple[float, float]:
    """First positive and last time of the runs, of use to a logarithmic axis."""
    times = np.concatenate([traj.t[traj.t > 0] for traj in runs])
    return (times.min(), times.max()) if times.size and times.max() > times.min() else (0.1, 10.0)


def _predictions(
    axes: np.ndarray, drawn: dict[str, Trajectory], problem: Problem, part: Partition | None, end: float, handles: dict
) -> None:
    """What theory says, on the panels, with a legend entry each."""

    def entry(name: str, **style: Any) -> None:
        handles[name] = axes[0, 0].plot([], [], label=name, **style)[0]

    if "L" in drawn:
        at_this_P = theory.escape_time(problem, "L", finite=True), (0, (4, 1.5)), "escape, theory at this $P$"
        for t, dashes, name in (at_this_P, (theory.escape_time(problem), (0, (1, 1.5)), r"escape, theory $P\to\infty$")):
            if t <= end:
                line = {"color": GREY, "lw": 0.8, "ls": dashes, "zorder": -1}
                for ax in axes.flat:
                    ax.axvline(t, **line)
                entry(name, **line)
        line = {"color": RED, "lw": 0.8, "ls": (0, (1, 1)), "zorder": -1}
        axes[0, 0].axhline(theory.global_depth(problem), **line)
        entry("depth at the escape, theory", **line)
    line = {"color": PURPLE, "lw": 1.0, "ls": (0, (3, 1, 1, 1))}
    for query in {_only_query_type(traj, part) for traj in drawn.values()}:
        floor, late = theory.loss_floor(problem, part, query), 3 * theory.escape_time(problem, query or "L")
        axes[1, 1].axhline(floor, **line)
        if query is not None and late < end:
            times = np.geomspace(late, end, 50)
            axes[1, 1].plot(times, theory.late_loss(problem, times, query) + floor, **line)
    entry("loss floor and late stage, theory", **line)


def _only_query_type(traj: Trajectory, part: Partition | None) -> str | None:
    """The query type of a run of one; None for a run of several."""
    types = list(layout_for(traj, part).share)
    return types[0] if len(types) == 1 else None


def _log_if_wide(ax: Axes) -> None:
    """A logarithmic loss axis where the curves span more than a factor of ten."""
    drawn: list[Any] = [line.get_ydata() for line in ax.lines]
    values = np.array([y for line in drawn if len(line) > 2 for y in line if y > 0])
    if any(np.min(line, initial=0.0) < 0 for line in drawn):  # of contrast
        return
    if values.size and values.max() > 10 * values.min():
        ax.set(yscale="log", ylim=(values.min() / 1.5, values.max() * 1.5))
    else:
        ax.set_ylim(bottom=0)

"""Figures for a two-column paper; the only module that imports matplotlib.

Every function draws on the Axes it is given and sets no global state; `figure` makes some at the width of one or of two columns,
`save` writes PNG, PDF or SVG whose bytes repeat. Colour says what is attended to (Okabe and Ito's palette, and a line style
each), a marker says that the query lies in the global area. Time is t = eta x step, losses are per masked patch.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.legend import Legend
from matplotlib.ticker import NullFormatter

from dynsim import phases, theory
from dynsim import summary as moves
from dynsim.errors import InputError
from dynsim.partition import Partition
from dynsim.problem import Problem
from dynsim.sweep import plane
from dynsim.trajectory import Trajectory

SINGLE, DOUBLE = 3.25, 6.75  # inches: one column, two columns
BLACK, ORANGE, SKY, GREEN, BLUE, RED, PURPLE = "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"
GREY, SHADES = "#666666", ("#F4F4F4", "#E6E6E6", "#F4F4F4")
IN_GLOBAL: dict = {"marker": "o", "markevery": 0.12, "mfc": "white", "lw": 0.8}  # lines of a query in the global area
SORTS: dict[str, dict] = {
    "own": {"color": BLUE, "ls": "-", "label": "own area"},
    "global": {"color": RED, "ls": "--", "label": "global area"},
    "others": {"color": GREEN, "ls": "-.", "label": "other areas"},
    "masked": {"color": ORANGE, "ls": ":", "label": "masked patches"},
}
STYLE: dict = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.0,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
SAVING: dict = {"pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "dynsim"}
BARE = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Producer": None, "Creator": None}, "svg": {"Date": None}}
TINY = 1e-18  # stands for a deviation of zero on a logarithmic axis
TIME, LOSS = r"time $t=\eta\times$step", "loss per masked patch"


def figure(
    rows: int = 1, cols: int = 1, width: float = SINGLE, height: float | None = None, **subplots: Any
) -> tuple[Figure, Any]:
    """A Figure of rows x cols Axes, `width` inches wide, 8 pt; returns (Figure, Axes or array of them)."""
    with rc_context(STYLE):
        made = Figure(figsize=(width, 0.75 * width * rows / cols if height is None else height), layout="constrained")
        axes = made.subplots(rows, cols, **subplots)
        for ax in np.ravel(axes):
            ax.tick_params(which="both", labelsize=STYLE["xtick.labelsize"], width=0.6)
    return made, axes


def save(figure: Figure, path: str | os.PathLike[str], dpi: float = 160) -> None:
    """Write `figure` to `path`, in the format its ending names. The same figure gives the same bytes. Raises InputError."""
    ending = os.path.splitext(path)[1][1:].lower()
    if ending not in BARE:
        raise InputError(f"figures are written as png, pdf or svg, got {str(path)!r}: name the file e.g. figure.pdf")
    with rc_context(SAVING):
        figure.savefig(path, format=ending, dpi=dpi, metadata=BARE[ending])


def legend(ax: Axes, *entries: Any, **options: Any) -> Legend:
    """A legend one point smaller than the axis labels, without frame."""
    return ax.legend(*entries, **{"fontsize": _smaller(ax), "frameon": False, **options})


def _smaller(ax: Any) -> float:
    """One point less than the axis labels."""
    return ax.xaxis.label.get_size() - 1


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


def log_time(ax: Axes, t: np.ndarray) -> None:
    """A logarithmic time axis from the first positive moment to the last."""
    t = np.asarray(t)
    ax.set_xscale("log")
    ax.set_xlim(t[t > 0][0], t[-1])
    ax.set_xlabel(TIME)


def shade(ax: Axes, found: phases.Phases, end: float, label: bool = True) -> None:
    """Shade the phases `found` by phases.find up to time `end`, and name them at the top."""
    for phase, color, name in zip(found, SHADES, ("I", "II", "conv."), strict=True):
        stop = end if phase.end is None else phase.end
        if phase.start is None or stop <= max(phase.start, ax.get_xlim()[0]):
            continue
        ax.axvspan(phase.start, stop, color=color, lw=0, zorder=-2)
        middle = np.sqrt(max(phase.start, ax.get_xlim()[0]) * min(stop, end))
        if label and np.log10(min(stop, end) / middle) > 0.1:
            style: dict = {"ha": "center", "va": "bottom", "fontsize": _smaller(ax), "color": GREY}
            ax.text(middle, 1.01, name, transform=ax.get_xaxis_transform(), **style)


@rc_context(STYLE)
def summary(
    trajs: Trajectory | list[Trajectory] | tuple[Trajectory, ...], problem: Problem, part: Partition | None = None
) -> Figure:
    """Four panels of a run: FP, PP, area attention and loss, with the phases shaded and the theory's escape time (eq. 8, 15),
    depth (eq. 9), late loss (eq. 12) and floor (eq. 6) drawn in: a Figure.

    trajs: a Trajectory or a list of them (orbit runs, one per kind of query: the most local and the most global one are
    drawn). part: the partition of a run that has one (mean over pairs of query and cluster, with a band). Raises InputError.
    """
    drawn = _chosen(list(trajs) if isinstance(trajs, (list, tuple)) else [trajs])
    runs = list({id(traj): traj for traj in drawn.values()}.values())
    made, axes = figure(2, 2, DOUBLE, 4.6, sharex=True)
    start, end = _span(runs)
    for ax, name, label in zip(axes.flat, "abcd", PANELS.values(), strict=True):
        ax.set(xscale="log", xlim=(start, end), ylabel=label)
        ax.set_title(f"({name})", loc="left", fontsize=STYLE["axes.titlesize"])
    handles: dict = {}
    for letter, traj in drawn.items():
        tables = by_letter(traj, problem, part).get(letter, {})
        for ax, name in zip(axes.flat, PANELS, strict=True):
            if name in tables:
                curves(ax, traj.t, tables[name], letter)
        for sort in tables.get("attention", ()):
            handles.setdefault(sort, axes[0, 0].plot([], [], **SORTS[sort])[0])
    for traj in runs:
        axes[1, 1].plot(traj.t, traj.loss, color=BLACK, **({} if traj is runs[0] else IN_GLOBAL))
    if "G" in drawn:
        handles["G"] = axes[0, 0].plot([], [], color=GREY, label="query in the global area", **IN_GLOBAL)[0]
    _predictions(axes, drawn, problem, part, end, handles)
    if len(runs[0]) >= 3:
        for ax in axes.flat:
            shade(ax, phases.find(runs[0], part), end)
    axes[0, 1].yaxis.set_major_formatter("{x:g}")
    axes[1, 0].set(xlabel=TIME, ylim=(-0.02, 1.02))
    axes[1, 1].set(xlabel=TIME)
    _log_if_wide(axes[1, 1])
    made.legend(handles=list(handles.values()), loc="outside upper center", ncols=4, frameon=False, handlelength=2.4)
    return made


PANELS = {"fp": r"FP correlation $\Phi$", "pp": r"PP correlation $\Upsilon$", "attention": "area attention", "loss": LOSS}


def _chosen(trajs: Sequence[Trajectory]) -> dict[str, Trajectory]:
    """The run to draw for clusters in which the query is local, and the one for global ones: {letter: Trajectory}."""
    if any("query" not in traj.meta for traj in trajs):
        if len(trajs) > 1:
            raise InputError(f"one run on an explicit partition makes a figure, got {len(trajs)} runs: draw them one by one")
        return {"L": trajs[0], "G": trajs[0]}
    queries = [traj.meta["query"] for traj in trajs]
    best = {a: max(range(len(trajs)), key=[query.count(a) for query in queries].__getitem__) for a in "LG"}
    return {a: trajs[i] for a, i in best.items() if a in queries[i]}


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
    for query in {traj.meta.get("query") for traj in drawn.values()}:
        floor, late = theory.loss_floor(problem, part, query), 3 * theory.escape_time(problem, query or "L")
        axes[1, 1].axhline(floor, **line)
        if query is not None and late < end:
            times = np.geomspace(late, end, 50)
            axes[1, 1].plot(times, theory.late_loss(problem, times, query) + floor, **line)
    entry("loss floor and late stage, theory", **line)


def _log_if_wide(ax: Axes) -> None:
    """A logarithmic loss axis where the curves span more than a factor of ten."""
    drawn: list[Any] = [line.get_ydata() for line in ax.lines]
    values = np.array([y for line in drawn if len(line) > 2 for y in line if y > 0])
    if values.size and values.max() > 10 * values.min():
        ax.set(yscale="log", ylim=(values.min() / 1.5, values.max() * 1.5))
    else:
        ax.set_ylim(bottom=0)


@rc_context(STYLE)
def deviation(
    reduced: Trajectory, full: Trajectory, bounds: Mapping[str, float] | None = None, entries: int = 5
) -> Figure:
    """Two runs of the same images or problem on top of each other: FP, PP and loss of `reduced` (lines) and `full` (circles)
    along time above; below their absolute deviation, over all entries the median, the 5th to 95th percentile and the largest,
    with the bound of each where `bounds` gives one: a Figure.

    entries: so many FP and PP correlations are drawn, evenly spread over the order of their last values. bounds: {"fp" | "pp" |
    "loss": absolute bound}. Raises InputError for runs that were not kept at the same moments or differ in shape."""
    if reduced.fp.shape != full.fp.shape or reduced.pp.shape != full.pp.shape or not np.array_equal(reduced.t, full.t):
        raise InputError(
            f"two runs are compared moment by moment, got {len(reduced)} and {len(full)} moments, FP of shape "
            f"{reduced.fp.shape[1:]} and {full.fp.shape[1:]}: run both on one partition with the same keep"
        )
    made, axes = figure(2, 3, DOUBLE, 3.6, sharex=True, height_ratios=(3, 2))
    t, at = full.t, np.unique(np.linspace(0, len(full) - 1, 13).astype(int))
    for (above, below), name, label in zip(axes.T, ("fp", "pp", "loss"), (PANELS["fp"], PANELS["pp"], LOSS), strict=True):
        a, b = (getattr(run, name).reshape(len(t), -1) for run in (reduced, full))
        order = np.argsort(b[-1], kind="stable")
        for i, one in enumerate(order[np.unique(np.linspace(0, len(order) - 1, entries).astype(int))]):
            color = (BLUE, GREEN, ORANGE, RED, PURPLE)[i % 5]
            above.plot(t, a[:, one], color=color)
            above.plot(t[at], b[at, one], "o", color=color, mfc="white", mew=0.8)
        apart = np.abs(a - b)
        low, middle, high, most = np.percentile(np.where(apart > 0, apart, TINY), [5, 50, 95, 100], axis=1)
        below.plot(t, most, color=BLACK, ls="--", label="largest")
        if len(order) > 1:
            below.fill_between(t, low, high, color=SKY, alpha=0.4, lw=0, label="5 % to 95 %")
            below.plot(t, middle, color=BLUE, label="median")
        if bounds and name in bounds:
            below.axhline(bounds[name], color=RED, ls=":", label="bound")
        above.set_title(label, fontsize=STYLE["axes.titlesize"])
        seen = low[low > TINY]
        top = max(most.max(), TINY, (bounds or {}).get(name, 0.0))
        bottom = min(seen.min() if seen.size else top, top / 100)
        below.set(yscale="log", xlabel=TIME, xlim=(0, t[-1]), ylim=(bottom / 3, top * 3))
        below.yaxis.set_minor_formatter(NullFormatter())
    axes[0, 0].plot([], [], color=GREY, label="reduced")
    axes[0, 0].plot([], [], "o", color=GREY, mfc="white", mew=0.8, label="full")
    legend(axes[0, 0], loc="best")
    axes[0, 0].set_ylabel("correlation, loss")
    axes[1, 0].set_ylabel("deviation")
    handles, names = axes[1, 0].get_legend_handles_labels()
    made.legend(handles, names, loc="outside lower center", ncols=4, frameon=False)
    return made


def attention_map(
    ax: Axes,
    row: np.ndarray,
    grid: tuple[int, int],
    query: int | None = None,
    labels: np.ndarray | None = None,
    vmax: float | None = None,
) -> AxesImage:
    """Draw what one query pays to every patch, `row` (P,), on the patch grid (rows, columns): the AxesImage, for a colour bar.

    query: the patch that asks, marked by a cross. labels (P,): areas, whose edges are drawn. vmax: top of the colour scale."""
    image = ax.imshow(np.reshape(row, grid), cmap="cividis", vmin=0, vmax=vmax, interpolation="nearest")
    if labels is not None:
        _edges(ax, np.reshape(labels, grid))
    if query is not None:
        y, x = divmod(int(query), grid[1])
        ax.plot([x], [y], "x", color=RED, ms=5, mew=1.4)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return image


def _edges(ax: Axes, labels: np.ndarray) -> None:
    """Lines between patches of different areas."""
    style: dict = {"color": "white", "lw": 0.7}
    for r, c in np.argwhere(labels[:, 1:] != labels[:, :-1]):
        ax.plot([c + 0.5, c + 0.5], [r - 0.5, r + 0.5], **style)
    for r, c in np.argwhere(labels[1:] != labels[:-1]):
        ax.plot([c - 0.5, c + 0.5], [r + 0.5, r + 0.5], **style)


def phase_diagram(ax: Axes, table: Mapping[str, np.ndarray], vmax: float | None = None) -> QuadMesh:
    """Draw a sweep over (kappa_c, kappa_s) at one P: colour is how deep the global FP correlation has fallen at the escape,
    -Phi_g / log P; a solid line parts one phase from two (at t = 0 the global and the own correlation move equally fast), a
    dashed one is Delta = 0 (eq. 7). table: from sweep.load. Returns the colour mesh, for a colour bar. Raises InputError."""
    P = np.unique(table["P"])
    if len(P) != 1:
        raise InputError(f"a phase diagram is one of a single P, got {len(P)} values: select rows of the table first")
    kappa_c, kappa_s, depth = plane(table, "depth")
    own, at_global = plane(table, "speed_own")[2], plane(table, "speed_global")[2]
    colors: dict = {"cmap": "cividis", "vmin": 0, "vmax": vmax, "rasterized": True}
    mesh = ax.pcolormesh(kappa_c, kappa_s, -depth / np.log(P[0]), shading="nearest", **colors)
    ratio = np.log(-at_global / own) if np.isfinite(own).any() else own
    if np.nanmin(ratio) < 0 < np.nanmax(ratio):
        ax.contour(kappa_c, kappa_s, ratio, [0.0], colors="white", linewidths=1.4)
    ax.plot(kappa_c, 1 - 2 * (1 - kappa_c), color=ORANGE, ls="--", lw=1.2)
    ax.set(xlim=kappa_c[[0, -1]], ylim=kappa_s[[0, -1]], xlabel=r"$\kappa_c$ (global areas)", ylabel=r"$\kappa_s$ (local areas)")
    return mesh

"""Two runs on top of each other, and their deviation."""

from collections.abc import Mapping

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from dynsim.errors import InputError
from dynsim.plots.style import (
    BLACK,
    BLUE,
    DOUBLE,
    GREEN,
    GREY,
    ORANGE,
    PANELS,
    PURPLE,
    RED,
    SKY,
    STYLE,
    TIME,
    figure,
    legend,
)
from dynsim.trajectory import Trajectory, loss_label

TINY = 1e-18  # stands for a deviation of zero on a logarithmic axis


@rc_context(STYLE)
def deviation(
    reduced: Trajectory, full: Trajectory, bounds: Mapping[str, float] | None = None, entries: int = 5
) -> Figure:
    """Draw two runs on top of each other, and their deviation.

    FP, PP and loss of ``reduced`` (lines) and ``full`` (circles) along time above. Below, their absolute deviation over all
    entries: the median, the 5th to 95th percentile and the largest, with the bound of each where ``bounds`` gives one.

    Parameters
    ----------
    reduced : Trajectory
        The run that is drawn as lines.
    full : Trajectory
        The run that is drawn as circles, of the same images or problem.
    bounds : mapping of str to float, optional
        Absolute bounds by name: "fp", "pp", "loss".
    entries : int
        So many FP and PP correlations are drawn, evenly chosen in the order of their last values.

    Returns
    -------
    matplotlib.figure.Figure
        Two columns wide.

    Raises
    ------
    InputError
        If the runs were not saved at the same times, or differ in shape.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=1, gamma=0.75, P=16)
    >>> part = dynsim.Partition.blocks(problem)
    >>> data = dynsim.sample(problem, part, n=8, seed=0)
    >>> reduced = dynsim.reduced.descend(dynsim.reduced.EmpiricalField(part, data), steps=5)
    >>> made = dynsim.plots.deviation(reduced, dynsim.full.descend(part, data, steps=5), {"fp": 1e-12})
    >>> len(made.axes)
    6
    """
    if reduced.fp.shape != full.fp.shape or reduced.pp.shape != full.pp.shape or not np.array_equal(reduced.t, full.t):
        raise InputError(
            f"two runs must be saved at the same times, got {len(reduced)} and {len(full)} of them, FP of shape "
            f"{reduced.fp.shape[1:]} and {full.fp.shape[1:]}: run both on one partition with the same keep"
        )
    made, axes = figure(2, 3, DOUBLE, 3.6, sharex=True, height_ratios=(3, 2))
    t, at = full.t, np.unique(np.linspace(0, len(full) - 1, 13).astype(int))
    labels = {"fp": PANELS["fp"], "pp": PANELS["pp"], "loss": loss_label(full)}
    for (above, below), (name, label) in zip(axes.T, labels.items(), strict=True):
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

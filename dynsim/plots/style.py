"""How figures look: widths, colours, line styles; making and saving them.

Colour says what is attended to (Okabe and Ito's palette, and a line style each), a marker says that the query lies in the global
area. No global state is set.
"""

import os
from functools import partial
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.ticker import LogFormatterSciNotation

from dynsim.errors import InputError

SINGLE, DOUBLE = 3.25, 6.75  # inches: one column, two columns
BLACK, ORANGE, SKY, GREEN, BLUE, RED, PURPLE = "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"
GREY, SHADES = "#666666", ("#F4F4F4", "#E6E6E6", "#F4F4F4")
IN_GLOBAL: dict = {"marker": "o", "markevery": 0.12, "mfc": "white", "lw": 0.8}  # lines of a query in the global area
ROLES: dict[str, dict] = {
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
TIME, LOSS = r"time $t=\eta\times$step", "loss per masked patch"
PANELS = {"fp": r"FP correlation $\Phi$", "pp": r"PP correlation $\Upsilon$", "attention": "area attention", "loss": LOSS}


def figure(
    rows: int = 1, cols: int = 1, width: float = SINGLE, height: float | None = None, **subplots: Any
) -> tuple[Figure, Any]:
    """Make a figure for a paper: 8 pt type, constrained layout.

    Parameters
    ----------
    rows, cols : int
        Numbers of Axes.
    width : float
        Width in inches: SINGLE or DOUBLE for one or two columns.
    height : float, optional
        Height in inches; by default three quarters of the width of an Axes for each row.
    **subplots : object
        Passed on to ``Figure.subplots``.

    Returns
    -------
    made : matplotlib.figure.Figure
        The figure.
    axes : Axes or ndarray of Axes
        What ``Figure.subplots`` returns.

    Examples
    --------
    >>> from dynsim import plots
    >>> made, axes = plots.figure(1, 2, plots.DOUBLE)
    >>> axes.shape, float(made.get_figwidth())
    ((2,), 6.75)
    """
    with rc_context(STYLE):
        made = Figure(figsize=(width, 0.75 * width * rows / cols if height is None else height), layout="constrained")
        axes = made.subplots(rows, cols, **subplots)
        for ax in np.ravel(axes):
            ax.tick_params(which="both", labelsize=STYLE["xtick.labelsize"], width=0.6)
    return made, axes


def save(figure: Figure, path: str | os.PathLike[str], dpi: float = 160) -> None:
    """Write a figure to a file whose bytes repeat, with ``few_log_labels``.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        What to write.
    path : str or path
        Name of the file; it ends in .png, .pdf or .svg.
    dpi : float
        Dots per inch of PNG.

    Raises
    ------
    InputError
        If the name ends in something else.

    Examples
    --------
    >>> from dynsim import plots
    >>> made, ax = plots.figure()
    >>> plots.save(made, "empty.svg")
    """
    ending = os.path.splitext(path)[1][1:].lower()
    if ending not in BARE:
        raise InputError(f"figures are written as png, pdf or svg, got {str(path)!r}: name the file e.g. figure.pdf")
    for ax in figure.axes:
        few_log_labels(ax)
    with rc_context(SAVING):
        figure.savefig(path, format=ending, dpi=dpi, metadata=BARE[ending])


def few_log_labels(ax: Axes) -> None:
    """Label the decades of logarithmic axes, and 2 and 5 times a decade where not even two decades are in view.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Its axes, as far as they have the labels that matplotlib gives them, which overlap at print size.

    Examples
    --------
    >>> from dynsim import plots
    >>> made, ax = plots.figure()
    >>> ax.set(yscale="log", ylim=(0.15, 0.9))
    [...]
    >>> plots.few_log_labels(ax)
    >>> inside = [label for label in ax.get_yticklabels(minor=True) if 0.15 <= label.get_position()[1] <= 0.9]
    >>> [label.get_text()[-9:] for label in inside if label.get_text()]
    ['10^{-1}}$', '10^{-1}}$']
    """
    for axis in (ax.xaxis, ax.yaxis):
        if axis.get_scale() == "log" and type(axis.get_minor_formatter()) is LogFormatterSciNotation:
            axis.set_minor_formatter(partial(_two_and_five, axis))


def _two_and_five(axis: Axis, value: float, position: int | None = None) -> str:
    """The label of a tick between decades."""
    low, high = np.log10(sorted(axis.get_view_interval()))
    exponent = int(np.floor(np.log10(value) + 1e-9))
    digit = round(value / 10.0**exponent)
    if np.floor(high) - np.ceil(low) >= 1 or digit not in (2, 5):
        return ""
    return rf"$\mathdefault{{{digit}\times10^{{{exponent}}}}}$"


def legend(ax: Axes, *entries: Any, **options: Any) -> Legend:
    """Add a legend one point smaller than the axis labels, without frame.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    *entries : object
        Passed on to ``Axes.legend``.
    **options : object
        Passed on to ``Axes.legend``.

    Returns
    -------
    matplotlib.legend.Legend
        The legend.

    Examples
    --------
    >>> from dynsim import plots
    >>> made, ax = plots.figure()
    >>> line = ax.plot([0, 1], label="loss")
    >>> plots.legend(ax).get_frame_on()
    False
    """
    return ax.legend(*entries, **{"fontsize": smaller(ax), "frameon": False, **options})


def smaller(ax: Any) -> float:
    """Return one point less than the size of the axis labels.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes with labels.

    Returns
    -------
    float
        Size in points.

    Examples
    --------
    >>> from dynsim import plots
    >>> from dynsim.plots.style import smaller
    >>> made, ax = plots.figure()
    >>> smaller(ax)
    7.0
    """
    return ax.xaxis.label.get_size() - 1


def log_time(ax: Axes, t: np.ndarray) -> None:
    """Make the time axis logarithmic, from the first positive saved time to the last.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Its x axis.
    t : array_like of shape (T,)
        Saved times.

    Examples
    --------
    >>> from dynsim import plots
    >>> made, ax = plots.figure()
    >>> plots.log_time(ax, [0.0, 1.0, 100.0])
    >>> ax.get_xscale(), [float(x) for x in ax.get_xlim()]
    ('log', [1.0, 100.0])
    """
    t = np.asarray(t)
    ax.set_xscale("log")
    ax.set_xlim(t[t > 0][0], t[-1])
    ax.set_xlabel(TIME)

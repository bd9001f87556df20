"""Phase diagrams: sweeps over any two axes, where one phase becomes two, and where attention collapses."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import ListedColormap
from matplotlib.ticker import LogLocator, NullFormatter

from dynsim.analysis.columns import plane
from dynsim.errors import InputError
from dynsim.plots.style import GREEN, ORANGE, RED

LABELS = {
    "kappa_c": r"$\kappa_c$ (global areas)", "kappa_s": r"$\kappa_s$ (local areas)", "gamma": r"$\gamma$ (masked)", "P": "$P$",
    "K": "$K$",
}
PHASES = {"neither": "#F4F4F4", "diverse": GREEN, "delayed": ORANGE, "collapsed": RED}
DECADE = 10.0  # axes of equal ratios over more than this are logarithmic
FEW, SUBS = 1e3, (1.0, 2.0, 5.0)  # logarithmic axes over less have ticks at these, times powers of ten


def phase_diagram(
    ax: Axes, table: Mapping[str, np.ndarray], vmax: float | None = None, x: str = "kappa_c", y: str = "kappa_s"
) -> QuadMesh:
    """Draw how deep the global FP correlation falls, in a sweep over two axes at one P.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    table : mapping of str to ndarray
        Columns by name, as from ``sweep.load``.
    vmax : float, optional
        Top of the colour scale.
    x, y : str
        The axes: parameters of a problem or options of the method, columns of the table.

    Returns
    -------
    matplotlib.collections.QuadMesh
        For a colour bar.

    Raises
    ------
    InputError
        If the table has several P, or several rows for one place.

    Notes
    -----
    Colour is how deep the global FP correlation has fallen at the escape, -Phi_g / log P. A solid line divides one phase from two
    (at t = 0 the global and the own correlation move equally fast); over kappa_c and kappa_s, a dashed one is Delta = 0 (eq. 7).

    Examples
    --------
    >>> import itertools
    >>> import numpy as np
    >>> from dynsim import plots
    >>> kappa_c, kappa_s = np.array(list(itertools.product([0.5, 0.7, 0.9], [0.1, 0.4]))).T
    >>> table = {"P": np.full(6, 1e6), "kappa_c": kappa_c, "kappa_s": kappa_s, "depth": -kappa_c, "speed_own": np.ones(6)}
    >>> made, ax = plots.figure()
    >>> mesh = plots.phase_diagram(ax, {**table, "speed_global": -10 * kappa_c**4})
    >>> mesh.get_array().size
    6
    """
    P = _one_size(table)
    xs, ys, depth = plane(table, "depth", x, y)
    own, at_global = plane(table, "speed_own", x, y)[2], plane(table, "speed_global", x, y)[2]
    mesh = _cells(ax, xs, ys, -depth / np.log(P), x, y, cmap="cividis", vmin=0, vmax=vmax)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.log(-at_global / own) if np.isfinite(own).any() else own
    if np.isfinite(ratio).any() and np.nanmin(ratio) < 0 < np.nanmax(ratio):
        ax.contour(_places(xs), _places(ys), ratio, [0.0], colors="white", linewidths=1.4)
    if (x, y) == ("kappa_c", "kappa_s"):
        ax.plot(xs, 1 - 2 * (1 - xs), color=ORANGE, ls="--", lw=1.2)
        ax.set(xlim=xs[[0, -1]], ylim=ys[[0, -1]])
    return mesh


def collapse_diagram(ax: Axes, table: Mapping[str, np.ndarray], x: str = "kappa_c", y: str = "kappa_s") -> QuadMesh:
    """Draw which runs of a sweep over two axes at one P were diverse, delayed or collapsed.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    table : mapping of str to ndarray
        Columns by name, as from ``sweep.load``, with ``escape`` and ``collapse``.
    x, y : str
        The axes: parameters of a problem or options of the method, columns of the table.

    Returns
    -------
    matplotlib.collections.QuadMesh
        Its values are places in ``PHASES``: 0 neither, 1 diverse (own attention has escaped and attention has never collapsed to
        the global area), 2 delayed (it had collapsed before), 3 collapsed (there was no escape).

    Raises
    ------
    InputError
        If the table has several P, or several rows for one place.

    Notes
    -----
    From the runs alone: an escape after their end counts as none.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim import plots
    >>> weight, kappa_s = np.array([1.0, 2.0, 1.0, 2.0]), np.array([0.3, 0.3, 0.4, 0.4])
    >>> escape, collapse = np.array([5.0, 9.0, 4.0, np.nan]), np.array([np.nan, 2.0, np.nan, 1.0])
    >>> made, ax = plots.figure()
    >>> table = {"P": np.full(4, 1e6), "weight": weight, "kappa_s": kappa_s, "escape": escape, "collapse": collapse}
    >>> plots.collapse_diagram(ax, table, "weight").get_array().ravel().tolist()
    [1, 2, 1, 3]
    """
    _one_size(table)
    xs, ys, escape = plane(table, "escape", x, y)
    collapse = plane(table, "collapse", x, y)[2]
    phase = np.isfinite(escape) + 2 * np.isfinite(collapse)
    phase = np.array([0, 1, 3, 2])[phase]
    mesh = _cells(ax, xs, ys, phase, x, y, cmap=ListedColormap(list(PHASES.values())), vmin=-0.5, vmax=3.5)
    for i in np.unique(phase):
        at = np.argwhere(phase == i)
        row, column = at[np.abs(at - at.mean(axis=0)).sum(axis=1).argmin()]
        where, size = (_places(xs)[column], _places(ys)[row]), ax.xaxis.label.get_fontsize()
        ax.text(*where, list(PHASES)[i], ha="center", va="center", fontsize=size)
    return mesh


def _one_size(table: Mapping[str, np.ndarray]) -> float:
    P = np.unique(table["P"])
    if len(P) != 1:
        raise InputError(f"a phase diagram is one of a single P, got {len(P)} values: select rows of the table first")
    return float(P[0])


def _cells(ax: Axes, xs: np.ndarray, ys: np.ndarray, values: np.ndarray, x: str, y: str, **colors: Any) -> QuadMesh:
    """A cell for each place of two axes, which are logarithmic where values have equal ratios; texts stand side by side."""
    mesh = ax.pcolormesh(_edges(xs), _edges(ys), values, rasterized=True, **colors)
    for axis, at, name in ((ax.xaxis, xs, x), (ax.yaxis, ys, y)):
        axis.set_label_text(LABELS.get(name, name))
        if _equal_ratios(at):
            (ax.set_xscale if axis is ax.xaxis else ax.set_yscale)("log")
            axis.set_major_locator(LogLocator(subs=SUBS if at[-1] < FEW * at[0] else (1.0,)))
            axis.set_minor_formatter(NullFormatter())
            if at[-1] < FEW * at[0]:
                axis.set_major_formatter("{x:g}")
        elif at.dtype.kind not in "fi":
            axis.set_ticks(_places(at), [str(value) for value in at])
    return mesh


def _places(values: np.ndarray) -> np.ndarray:
    return values if values.dtype.kind in "fi" else np.arange(len(values))


def _equal_ratios(values: np.ndarray) -> bool:
    if values.dtype.kind not in "fi" or len(values) < 3 or values[0] <= 0 or values[-1] <= DECADE * values[0]:
        return False
    ratios = values[1:] / values[:-1]
    return bool(ratios.max() <= 1.01 * ratios.min())


def _edges(values: np.ndarray) -> np.ndarray:
    """Edges of cells around values: half way between neighbours, in their logarithm where ratios are equal."""
    if _equal_ratios(values):
        return np.exp(_edges(np.log(values)))
    at = _places(values).astype(float)
    step = np.diff(at) if len(at) > 1 else np.ones(1)
    return np.concatenate([[at[0] - step[0] / 2], at[:-1] + np.diff(at) / 2, [at[-1] + step[-1] / 2]])

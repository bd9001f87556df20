"""Phase diagram: where in the plane of area sizes one phase becomes two."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh

from dynsim.analysis.columns import plane
from dynsim.errors import InputError
from dynsim.plots.style import ORANGE


def phase_diagram(ax: Axes, table: Mapping[str, np.ndarray], vmax: float | None = None) -> QuadMesh:
    """Draw a sweep over (kappa_c, kappa_s) at one P.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    table : mapping of str to ndarray
        Columns by name, as from ``sweep.load``.
    vmax : float, optional
        Top of the colour scale.

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
    (at t = 0 the global and the own correlation move equally fast), a dashed one is Delta = 0 (eq. 7).

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

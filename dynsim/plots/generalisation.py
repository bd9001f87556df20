"""Training and population loss of a run, and what training has to answer for."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from dynsim.plots.style import BLACK, GREY, LOSS, ORANGE

if TYPE_CHECKING:
    from dynsim.analysis.generalisation import Gap

STYLES: tuple[dict, ...] = (
    {"color": BLACK, "label": "training images"},
    {"color": ORANGE, "ls": "--", "label": "the population"},
)


def losses(ax: Axes, gap: "Gap") -> None:
    """Draw both losses, and the floor of each as a thin line.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    gap : Gap
        From ``analysis.generalisation``.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim import plots
    >>> from dynsim.analysis.generalisation import Gap
    >>> found = Gap(np.arange(3.0), np.array([0.4, 0.2, 0.1]), np.array([0.4, 0.3, 0.2]), 0.05, 0.06)
    >>> made, ax = plots.figure()
    >>> plots.losses(ax, found)
    >>> len(ax.lines), ax.get_ylabel()
    (4, 'loss per masked patch')
    """
    for loss, floor, style in _curves(gap):
        ax.plot(gap.t, loss, **style)
        if floor is not None:
            ax.axhline(floor, lw=0.6, zorder=-1, **{**style, "label": None})
    ax.set_ylabel(LOSS)
    ax.legend(loc="best")


def excess(ax: Axes, gap: "Gap") -> None:
    """Draw what is left of both losses above their floors, and their difference, on a logarithmic axis.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    gap : Gap
        From ``analysis.generalisation``, with floors.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim import plots
    >>> from dynsim.analysis.generalisation import Gap
    >>> found = Gap(np.arange(3.0), np.array([0.4, 0.2, 0.1]), np.array([0.4, 0.3, 0.2]), 0.05, 0.06)
    >>> made, ax = plots.figure()
    >>> plots.excess(ax, found)
    >>> len(ax.lines), ax.get_yscale()
    (3, 'log')
    """
    for loss, floor, style in _curves(gap):
        ax.plot(gap.t, loss - (floor or 0.0), **style)
    ax.plot(gap.t, np.where(gap.excess_gap > 0, gap.excess_gap, np.nan), color=GREY, ls=":", label="gap, where positive")
    ax.set(yscale="log", ylabel="excess over its floor")
    ax.legend(loc="best")


def _curves(gap: "Gap") -> list[tuple[np.ndarray, float | None, dict]]:
    """Loss, floor and style of the training images, and of the population."""
    pairs = ((gap.training, gap.training_floor), (gap.population, gap.population_floor))
    return [(*pair, style) for pair, style in zip(pairs, STYLES, strict=True)]

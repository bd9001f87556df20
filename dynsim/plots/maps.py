"""Attention maps on the patch grid."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from dynsim.plots.style import RED


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
    """Lines between patches of different areas: one Line2D with gaps, since a moving picture draws it in every frame."""
    upright, level = np.argwhere(labels[:, 1:] != labels[:, :-1]), np.argwhere(labels[1:] != labels[:-1])
    gap = np.array([-0.5, 0.5, np.nan])
    x = np.concatenate([(upright[:, [1]] + [0.5, 0.5, np.nan]).ravel(), (level[:, [1]] + gap).ravel()])
    y = np.concatenate([(upright[:, [0]] + gap).ravel(), (level[:, [0]] + [0.5, 0.5, np.nan]).ravel()])
    ax.plot(x, y, color="white", lw=0.7)

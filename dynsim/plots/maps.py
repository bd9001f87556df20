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
    """Draw the attention of one query to every patch, on the patch grid.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    row : ndarray of shape (P,)
        Attention to each patch.
    grid : tuple of int
        Rows and columns of the patch grid.
    query : int, optional
        The query's patch, marked by a cross.
    labels : ndarray of shape (P,), optional
        Areas, whose edges are drawn.
    vmax : float, optional
        Top of the colour scale.

    Returns
    -------
    matplotlib.image.AxesImage
        For a colour bar.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim import plots
    >>> made, ax = plots.figure()
    >>> image = plots.attention_map(ax, np.full(16, 1 / 16), (4, 4), query=5)
    >>> image.get_array().shape
    (4, 4)
    """
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

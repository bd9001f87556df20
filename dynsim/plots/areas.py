"""Areas fitted to pictures, drawn over the mean picture of their cluster."""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from dynsim.errors import InputError
from dynsim.plots.style import BLUE, DOUBLE, GREEN, ORANGE, PURPLE, RED, SKY, figure

if TYPE_CHECKING:
    from dynsim.analysis.areas import Areas

COLOURS = (ORANGE, SKY, GREEN, BLUE, PURPLE, "#F0E442")
TINT = 0.35  # opacity of an area's colour
COLUMNS = 4  # clusters side by side


def area_map(ax: Axes, found: Areas, cluster: int, patch: int | None = None) -> AxesImage:
    """Draw the areas of one cluster over its mean picture.

    The global area stays untinted within a red line; each local area has a tint (colours repeat) and dark lines.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    found : Areas
        From ``analysis.areas.fit``.
    cluster : int
        Number of the cluster, from 0.
    patch : int, optional
        Side of a patch in pixels. Left out, patches of s^2 numbers are taken as grey and of 3 s^2 as colour; others are drawn as
        one shade each, the norm of the mean patch.

    Returns
    -------
    matplotlib.image.AxesImage
        The picture.

    Raises
    ------
    InputError
        For a cluster that is not there.

    Examples
    --------
    >>> import numpy as np
    >>> import dynsim
    >>> pictures = np.random.default_rng(0).uniform(0.5, 1.5, (60, 1, 1)) * np.tile([1.0, 0.0], 4) * np.ones((8, 1))
    >>> found = dynsim.analysis.areas.fit(pictures, K=1, areas=2, patch=2, bootstrap=0)
    >>> made, ax = dynsim.plots.figure()
    >>> dynsim.plots.area_map(ax, found, 0).get_array().shape
    (8, 8)
    """
    part = found.part
    if not (isinstance(cluster, (int, np.integer)) and 0 <= cluster < part.K):
        raise InputError(f"cluster numbers one of K={part.K} from 0, got {cluster!r}: take e.g. cluster=0")
    rows, columns = part.grid
    labels = part.labels[cluster].reshape(part.grid)
    mean = found.images.patches[found.images.image[found.data.cluster == cluster]].mean(axis=0)
    place: dict = {"extent": (-0.5, columns - 0.5, rows - 0.5, -0.5), "interpolation": "nearest"}
    image = ax.imshow(pixels(mean, part.grid, patch), cmap="gray", vmin=0, vmax=1, **place)
    tint = np.array([(0.0, 0.0, 0.0, 0.0)] + [to_rgba(COLOURS[m % len(COLOURS)], TINT) for m in range(int(labels.max()))])
    ax.imshow(tint[labels], **place)
    _outline(ax, labels)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return image


def area_maps(found: Areas, patch: int | None = None, width: float = DOUBLE) -> Figure:
    """Make a figure with the areas of every cluster.

    Parameters
    ----------
    found : Areas
        From ``analysis.areas.fit``.
    patch : int, optional
        Side of a patch in pixels, as for ``area_map``.
    width : float
        Width in inches.

    Returns
    -------
    matplotlib.figure.Figure
        One Axes for each cluster.

    Examples
    --------
    >>> import numpy as np
    >>> import dynsim
    >>> pictures = np.random.default_rng(0).uniform(0.5, 1.5, (60, 1, 1)) * np.tile([1.0, 0.0], 4) * np.ones((8, 1))
    >>> found = dynsim.analysis.areas.fit(pictures, K=1, areas=2, patch=2, bootstrap=0)
    >>> len(dynsim.plots.area_maps(found).axes)
    1
    """
    K, count = found.part.K, np.bincount(found.data.cluster, minlength=found.part.K)
    columns = min(K, COLUMNS)
    rows = -(-K // columns)
    ratio = found.part.grid[0] / found.part.grid[1]
    made, axes = figure(rows, columns, width, rows * (width / columns * ratio + 0.25), squeeze=False)
    for k, ax in enumerate(axes.flat):
        if k < K:
            area_map(ax, found, k, patch)
            ax.set_title(f"cluster {k}: {count[k]} pictures, {found.part.N[k]} areas", fontsize=7)
        else:
            ax.set_axis_off()
    return made


def pixels(patches: np.ndarray, grid: tuple[int, int], side: int | None = None) -> np.ndarray:
    """Return patches as a picture.

    Parameters
    ----------
    patches : ndarray of shape (P, d)
        Patches row by row.
    grid : (int, int)
        Rows and columns of patches.
    side : int, optional
        Side of a patch in pixels. Left out, patches of s^2 numbers are taken as grey and of 3 s^2 as colour.

    Returns
    -------
    ndarray
        Numbers between 0 and 1: grey (H, W), colour (H, W, 3) without alpha, or, where d is no number of pixels, the norm of
        each patch.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim.plots.areas import pixels
    >>> pixels(np.arange(16.0).reshape(4, 4), (2, 2)).shape, pixels(np.ones((4, 5)), (2, 2)).shape
    ((4, 4), (2, 2))
    """
    d = patches.shape[1]
    if side is None:
        side = next((s for s in (isqrt(d), isqrt(d // 3)) if s > 1 and d in (s * s, 3 * s * s)), None)
    if side and d % side**2 == 0:
        low, high = patches.min(), patches.max()
        picture = (patches - low) / (high - low if high > low else 1.0)
        picture = picture.reshape(*grid, side, side, -1).transpose(0, 2, 1, 3, 4).reshape(grid[0] * side, grid[1] * side, -1)
        return picture[:, :, :3] if picture.shape[2] > 2 else picture[:, :, 0]
    norm = np.linalg.norm(patches, axis=1).reshape(grid)
    return norm / max(norm.max(), np.finfo(float).tiny)


def _outline(ax: Axes, labels: np.ndarray) -> None:
    """Lines between patches of different areas, red where one of them is global."""
    for axis in (0, 1):
        a, b = np.split(labels, [-1], axis=axis)[0], np.split(labels, [1], axis=axis)[1]
        for r, c in np.argwhere(a != b):
            style: dict = {"color": RED if 0 in (a[r, c], b[r, c]) else "black", "lw": 1.2, "solid_capstyle": "round"}
            x, y = ([c - 0.5, c + 0.5], [r + 0.5, r + 0.5]) if axis == 0 else ([c + 0.5, c + 0.5], [r - 0.5, r + 0.5])
            ax.plot(x, y, **style)

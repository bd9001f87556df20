"""A run on any images: attention of chosen queries over a picture, before and after, and measures along training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dynsim.analysis import image_attention
from dynsim.errors import InputError
from dynsim.model.images import Images
from dynsim.plots.style import BLACK, BLUE, DOUBLE, GREEN, LOSS, ORANGE, RED, STYLE, TIME, figure
from dynsim.trajectory import Trajectory

LABELS = {
    "distance": "attention distance (patches)",
    "entropy": "entropy (nats)",
    "mutual_information": "normalised\nmutual information",
}


@rc_context(STYLE)
def picture_summary(traj: Trajectory, images: Images, row: int = 0, queries: Sequence[int] | None = None) -> Figure:
    """Draw a run on any images.

    Parameters
    ----------
    traj : Trajectory
        Of an image field, or of full.descend_images: fp (T, P, d), pp (T, P, P).
    images : Images
        What it ran on.
    row : int
        Row of the data whose picture and mask are shown.
    queries : sequence of int, optional
        Masked patches of that row, one to three; by default three along the diagonal.

    Returns
    -------
    Figure
        Above, the masked picture and the attention of each query, at the start and at the end; below, loss, distance, entropy and
        normalised mutual information along time.

    Raises
    ------
    InputError
        If the run is not one on these images, or a query is not masked there.

    Examples
    --------
    >>> import numpy as np, dynsim
    >>> images = dynsim.Images.cut(np.random.default_rng(0).random((6, 8, 8)), patch=2, gamma=0.5)
    >>> run = dynsim.reduced.descend(dynsim.reduced.ImageField(images), eta=0.1, steps=3)
    >>> len(dynsim.plots.picture_summary(run, images).axes)
    12
    """
    if traj.fp.shape[1:] != (images.P, images.d):
        sizes = f"P={images.P}, d={images.d}"
        raise InputError(f"a run is drawn on its images, got fp of {traj.fp.shape[1:]} for {sizes}: pass those")
    queries = _diagonal(images, row) if queries is None else list(queries)
    bad = [q for q in queries if not images.masked[row, q]]
    if bad or not 1 <= len(queries) <= 3:
        raise InputError(f"queries are one to three masked patches of the row, got {queries}: leave them out")
    made, axes = figure(3, 4, DOUBLE, 5.4)
    for line, at in ((0, 0), (1, -1)):
        attn = image_attention.attention_map(images, traj.fp[at], traj.pp[at], row=row)
        _over_picture(axes[line, 0], images, row)
        axes[line, 0].set_title(f"$t={traj.t[at]:.4g}$", fontsize=STYLE["axes.titlesize"])
        for ax, q in zip(axes[line, 1:], queries, strict=False):
            _over_picture(ax, images, row, attn[q], q)
        for ax in axes[line, 1 + len(queries) :]:
            ax.remove()
    chosen = np.unique(np.linspace(0, len(traj) - 1, 20).astype(int))
    rows = [image_attention.measures(images, traj.fp[i], traj.pp[i]) for i in chosen]
    panels = {"loss": (traj.t, traj.loss, LOSS)}
    panels |= {name: (traj.t[chosen], np.array([one[name] for one in rows]), text) for name, text in LABELS.items()}
    for ax, (t, values, text), colour in zip(axes[2], panels.values(), (BLACK, BLUE, GREEN, RED), strict=True):
        ax.plot(t, values, color=colour)
        ax.set(xlabel=TIME, ylabel=text, xscale="symlog" if t[-1] > 100 else "linear")
        ax.set_xlim(0, t[-1])
    return made


def _diagonal(images: Images, row: int) -> list[int]:
    """Three masked patches: nearest to a quarter, a half and three quarters of the diagonal."""
    rows, columns = images.grid
    masked = np.flatnonzero(images.masked[row])
    y, x = np.divmod(masked, columns)
    return [int(masked[np.argmin((y - f * (rows - 1)) ** 2 + (x - f * (columns - 1)) ** 2)]) for f in (0.25, 0.5, 0.75)]


def _over_picture(ax: Axes, images: Images, row: int, attn: np.ndarray | None = None, query: int | None = None) -> None:
    """The mean of each patch in grey, with masked patches dark, or with the attention of a query in colour."""
    rows, columns = images.grid
    grey = images.patches[images.image[row]].mean(axis=1).reshape(rows, columns)
    ax.imshow(grey, cmap="gray", interpolation="nearest", alpha=1.0 if attn is None else 0.5)
    if attn is None:
        veil = np.zeros((rows, columns, 4))
        veil[..., 3] = 0.7 * images.masked[row].reshape(rows, columns)
        ax.imshow(veil, interpolation="nearest")
    else:
        colour = np.zeros((rows, columns, 4))
        colour[..., :3] = [int(ORANGE[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        colour[..., 3] = 0.9 * (attn / attn.max()).reshape(rows, columns)
        ax.imshow(colour, interpolation="nearest")
    if query is not None:
        y, x = divmod(query, columns)
        ax.plot([x], [y], "x", color=BLUE, ms=5, mew=1.4)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)

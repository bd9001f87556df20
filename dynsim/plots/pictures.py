"""A run on any images: attention of chosen queries over a picture, before and after, and measures along training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dynsim.analysis import image_attention
from dynsim.errors import InputError
from dynsim.model.images import Images
from dynsim.plots.areas import area_map, pixels
from dynsim.plots.style import BLACK, BLUE, DOUBLE, GREEN, GREY, ORANGE, PURPLE, RED, STYLE, TIME, figure
from dynsim.trajectory import Trajectory, loss_label

if TYPE_CHECKING:
    from dynsim.analysis.areas import Areas
    from dynsim.validation.prediction import Prediction

LABELS = {
    "distance": "distance (patches)",
    "entropy": "entropy (nats)",
    "mutual_information": "mutual information",
    "similarity": "query similarity",
}
FAINT = 3  # attention below so many times the uniform one is not drawn in full colour
COLOURS = (BLACK, BLUE, GREEN, RED, PURPLE)


@rc_context(STYLE)
def picture_summary(
    traj: Trajectory,
    images: Images,
    row: int = 0,
    queries: Sequence[int] | None = None,
    predicted: tuple[Areas, Prediction] | None = None,
) -> Figure:
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
    predicted : (Areas, Prediction), optional
        Areas fitted to the pictures, and what they predict.

    Returns
    -------
    Figure
        Above, the picture, under its mask, and the attention of each query at the start and at the end. On the right, areas of
        the largest cluster, and attention of local queries on their own area, on pictures and on areas alone, with one half and
        the escape times of theory; without them, what the first query attends to in the mean over pictures. Below, loss,
        attention distance, entropy, normalised mutual information and similarity of queries along time.

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
    15
    """
    if traj.fp.shape[1:] != (images.P, images.d):
        sizes = f"P={images.P}, d={images.d}"
        raise InputError(f"a run is drawn on its images, got fp of {traj.fp.shape[1:]} for {sizes}: pass those")
    queries = _diagonal(images, row) if queries is None else list(queries)
    bad = [q for q in queries if not images.masked[row, q]]
    if bad or not 1 <= len(queries) <= 3:
        raise InputError(f"queries are one to three masked patches of the row, got {queries}: leave them out")
    made, axes = figure(3, 5, DOUBLE, 4.8)
    _over_picture(axes[0, 0], images, row)
    axes[0, 0].set_title("picture")
    _over_picture(axes[1, 0], images, row, dark=images.masked[row])
    axes[1, 0].set_title("masked")
    for line, at in ((0, 0), (1, -1)):
        attn = image_attention.attention_map(images, traj.fp[at], traj.pp[at], row=row)
        for ax, q in zip(axes[line, 1:], queries, strict=False):
            _over_picture(ax, images, row, attn[q], q)
        axes[line, 1].set_title(f"attention at $t={traj.t[at]:.4g}$", loc="left")
        for ax in axes[line, 1 + len(queries) : 4]:
            ax.set_axis_off()
        if predicted is None:
            mean = image_attention.attention_map(images, traj.fp[at], traj.pp[at])
            _over_picture(axes[line, 4], images, None, mean[queries[0]], queries[0])
            axes[line, 4].set_title("first, mean")
    if predicted is not None:
        found, prediction = predicted
        count = np.bincount(found.data.cluster, minlength=found.part.K)
        area_map(axes[0, 4], found, int(count.argmax()))
        axes[0, 4].set_title("areas" if found.has_areas else "no clear areas")
        _own_attention(axes[1, 4], prediction)
    measured = image_attention.overview(images, traj)
    panels = [(traj.t, traj.loss, loss_label(traj))] + [(measured["t"], measured[name], text) for name, text in LABELS.items()]
    for ax, (t, values, text), colour in zip(axes[2], panels, COLOURS, strict=True):
        ax.plot(t, values, color=colour)
        ax.set_title(text, loc="left", fontsize=7)
        _time(ax, t[-1])
    axes[2, 2].set_xlabel(TIME)
    return made


def _own_attention(ax: Axes, prediction: Prediction) -> None:
    """Attention on the own area of both runs, with one half and the escape times of theory."""
    ax.plot(prediction.t, prediction.own, color=BLUE, label="pictures")
    ax.plot(prediction.t, prediction.own_model, color=ORANGE, ls="--", label="areas")
    ax.axhline(0.5, color=GREY, lw=0.6, zorder=-1)
    for t, dashes in ((prediction.escape_finite, (0, (4, 1.5))), (prediction.escape_asymptotic, (0, (1, 1.5)))):
        if t <= prediction.t[-1]:
            ax.axvline(t, color=GREY, lw=0.8, ls=dashes, zorder=-1)
    ax.set_title("own attention", loc="left", fontsize=7)
    ax.set_ylim(0, 1)
    ax.legend(loc="upper left", fontsize=6, handlelength=1.6)
    _time(ax, prediction.t[-1])


def _time(ax: Axes, end: float) -> None:
    """A time axis from 0, logarithmic where the run is long."""
    if end > 100:
        ax.set_xscale("symlog")
        ax.set_xticks([0, *10.0 ** np.arange(1, np.floor(np.log10(end)) + 1, 2)])
    if end > 0:
        ax.set_xlim(0, end)


def _diagonal(images: Images, row: int) -> list[int]:
    """Up to three masked patches: nearest to a quarter, a half and three quarters of the diagonal, each once."""
    rows, columns = images.grid
    masked = np.flatnonzero(images.masked[row])
    y, x = np.divmod(masked, columns)
    chosen: list[int] = []
    for f in (0.25, 0.5, 0.75)[: len(masked)]:
        order = masked[np.argsort((y - f * (rows - 1)) ** 2 + (x - f * (columns - 1)) ** 2, kind="stable")]
        chosen.append(int(next(q for q in order if q not in chosen)))
    return chosen


def _over_picture(
    ax: Axes,
    images: Images,
    row: int | None,
    attn: np.ndarray | None = None,
    query: int | None = None,
    dark: np.ndarray | None = None,
) -> None:
    """A picture in grey, or the mean one where there is no row; with patches dark, or with the attention of a query in colour."""
    rows, columns = images.grid
    place: dict = {"extent": (-0.5, columns - 0.5, rows - 0.5, -0.5), "interpolation": "nearest"}
    shown = images.patches.mean(axis=0) if row is None else images.patches[images.image[row]]
    ax.imshow(pixels(shown, images.grid), cmap="gray", vmin=0, vmax=1, alpha=1.0 if attn is None else 0.5, **place)
    veil = np.zeros((rows, columns, 4))
    if attn is not None:
        veil[..., :3] = [int(ORANGE[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        veil[..., 3] = 0.9 * (attn / max(attn.max(), FAINT / len(attn))).reshape(rows, columns)
    elif dark is not None:
        veil[..., 3] = 0.7 * dark.reshape(rows, columns)
    ax.imshow(veil, **place)
    if query is not None:
        y, x = divmod(query, columns)
        ax.plot([x], [y], "x", color=BLUE, ms=5, mew=1.4)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)

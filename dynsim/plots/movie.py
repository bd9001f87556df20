"""A run as a moving picture: attention along time, with the loss and the correlations beside it.

On an explicit partition: what some queries pay to every patch of the grid, expected over images of one cluster (eq. 2, exact for
those images). For orbits, which have no places: the attention on the own, the global, all other areas and on masked patches.
Frames are saved times of the run; nothing is interpolated.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.animation import FFMpegWriter, FuncAnimation, HTMLWriter, PillowWriter
from matplotlib.figure import Figure

from dynsim.analysis import attention
from dynsim.errors import InputError
from dynsim.model.dataset import Dataset, sample
from dynsim.model.partition import Partition
from dynsim.model.problem import Problem
from dynsim.plots.curves import by_area, curves
from dynsim.plots.maps import attention_map
from dynsim.plots.style import BLACK, DOUBLE, GREY, PANELS, RED, ROLES, STYLE, TIME, figure, legend
from dynsim.trajectory import Trajectory, loss_label

ENDINGS = ("html", "gif", "mp4")
LARGEST = 10 * 2**20  # bytes of a file
DPI = 120
IMAGES = 64  # drawn for maps where none are given
FONT = "https://maxcdn.bootstrapcdn.com"  # whose icons matplotlib's page asks for; they are drawn by these characters instead
ICONS = {
    "minus": "\u2212", "fast-backward": "|\u25c2\u25c2", "step-backward": "|\u25c2", "pause": "\u2016", "play": "\u25b8",
    "step-forward": "\u25b8|", "fast-forward": "\u25b8\u25b8|", "plus": "+",
}


@rc_context(STYLE)
def movie(
    traj: Trajectory,
    problem: Problem | None = None,
    part: Partition | None = None,
    data: Dataset | None = None,
    queries: Sequence[int] | None = None,
    cluster: int = 0,
    frames: int = 60,
) -> FuncAnimation:
    """Make a moving picture of a run.

    Parameters
    ----------
    traj : Trajectory
        Of a field on a partition, or of orbits.
    problem : Problem, optional
        Of the run: what images are drawn from where none are given.
    part : Partition, optional
        Of a run that does not say itself where its areas lie; orbits have none.
    data : Dataset, optional
        Images whose amplitudes and masks the maps are averaged over; by default 64 of the problem, drawn with seed 0.
    queries : sequence of int, optional
        Patches whose attention is drawn, one to four; by default three local ones and a global one.
    cluster : int
        Of the images.
    frames : int
        Largest number of frames, at least 2.

    Returns
    -------
    matplotlib.animation.FuncAnimation
        For `save_movie`, or for matplotlib's own `to_jshtml`.

    Raises
    ------
    InputError
        For a run that knows no areas, a partition without images or problem, queries or a cluster that it does not have, or
        fewer than two saved times.

    Notes
    -----
    Maps are those of `analysis.attention.attention_map`, curves the means of `plots.curves`. Times are t = eta x step.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=1, P=1e6)
    >>> run = dynsim.reduced.flow(dynsim.reduced.OrbitField(problem), t_end=1e6, keep=20)
    >>> dynsim.plots.save_movie(dynsim.plots.movie(run, problem), "run.html")    # doctest: +SKIP
    """
    if isinstance(frames, bool) or frames != int(frames) or frames < 2 or len(traj) < 2:
        raise InputError(f"a moving picture has at least 2 frames, got frames={frames!r} and {len(traj)} saved times: keep more")
    shown = np.unique(np.linspace(0, len(traj) - 1, int(frames)).round().astype(int))
    areas = by_area(traj, part)  # refused here where it has none
    kind = "L" if "L" in areas else "G"
    part = getattr(traj.layout, "part", None) if part is None else part
    made, axes = figure(1, 1, DOUBLE, 3.4)
    axes.remove()
    grid = made.add_gridspec(2, 2, width_ratios=(1.15, 1))
    if part is None:
        draw = _bars(made.add_subplot(grid[:, 0]), areas[kind]["attention"])
    else:
        draw = _maps(made, grid[:, 0], traj, part, _images(problem, part, data, cluster), queries, cluster, shown)
    above, below = made.add_subplot(grid[0, 1]), made.add_subplot(grid[1, 1])
    cursors = _beside(above, below, traj, areas[kind]["fp"])
    title = made.suptitle(" ", fontsize=STYLE["axes.titlesize"], x=0.02, ha="left", family="monospace")
    title.set_in_layout(True)

    def update(frame: int) -> list:
        at = shown[frame]
        title.set_text(f"t = {traj.t[at]:9.3g}   step {traj.step[at]}" if "eta" in traj.meta else f"t = {traj.t[at]:9.3g}")
        for line in cursors:
            line.set_xdata([traj.t[at], traj.t[at]])
        return [title, *cursors, *draw(at)]

    update(len(shown) - 1)
    made.draw_without_rendering()
    made.set_layout_engine("none")  # from here on nothing shifts
    moving: Any = FuncAnimation(made, update, frames=len(shown), interval=100, blit=False, cache_frame_data=False)
    moving._draw_was_started = True  # no warning where none of it is ever shown
    return moving


def frame(animation: FuncAnimation, number: int = 0) -> Figure:
    """Draw one frame of a moving picture.

    Parameters
    ----------
    animation : matplotlib.animation.FuncAnimation
        From `movie`.
    number : int
        Of the frame; -1 is the last one.

    Returns
    -------
    matplotlib.figure.Figure
        The animation's own figure, for `save`.

    Examples
    --------
    >>> import dynsim
    >>> field = dynsim.reduced.OrbitField(dynsim.Problem(K=1, P=1e6))
    >>> moving = dynsim.plots.movie(dynsim.reduced.flow(field, t_end=1e6, keep=5))
    >>> len(dynsim.plots.frame(moving, -1).axes)
    3
    """
    moving: Any = animation  # of which matplotlib's types show only a part
    numbers = list(moving.new_saved_frame_seq())
    moving._init_draw()
    moving._draw_frame(numbers[number])
    return moving._fig


def save_movie(animation: FuncAnimation, path: str | os.PathLike[str], fps: int = 10) -> None:
    """Write a moving picture to one file: a page with play and pause that needs no network (.html), .gif, or .mp4.

    Parameters
    ----------
    animation : matplotlib.animation.FuncAnimation
        From `movie`.
    path : path
        Its ending names the format. A page is made of PNG frames, coarser where it would pass 10 MB otherwise.
    fps : int
        Frames in a second.

    Raises
    ------
    InputError
        For another ending, for .mp4 where there is no ffmpeg, or where 10 MB do not hold the frames.

    Examples
    --------
    >>> import dynsim
    >>> field = dynsim.reduced.OrbitField(dynsim.Problem(K=1, P=1e6))
    >>> moving = dynsim.plots.movie(dynsim.reduced.flow(field, t_end=1e6, keep=5))
    >>> dynsim.plots.save_movie(moving, "run.html")    # doctest: +SKIP
    """
    ending = os.path.splitext(path)[1][1:].lower()
    if ending not in ENDINGS:
        raise InputError(f"moving pictures are written as {', '.join(ENDINGS)}, got {str(path)!r}: name the file e.g. run.html")
    if not fps > 0:
        raise InputError(f"fps, frames in a second, must be positive, got {fps!r}: take e.g. 10")
    if ending == "html":
        text = _page(animation, fps)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return
    if ending == "mp4" and not FFMpegWriter.isAvailable():
        raise InputError(f"mp4 needs ffmpeg, which is not installed, got {str(path)!r}: write .html or .gif")
    # even numbers of pixels, as codecs want them, follow from the size of the figure
    animation.save(os.fspath(path), writer=(PillowWriter if ending == "gif" else FFMpegWriter)(fps=fps), dpi=DPI)


def _page(animation: FuncAnimation, fps: int) -> str:
    """The page by matplotlib's own writer, whole and without a request to anywhere."""
    for dpi in (DPI, 0.8 * DPI, 0.6 * DPI):
        with tempfile.TemporaryDirectory() as folder:
            name = os.path.join(folder, "movie.html")
            writer = HTMLWriter(fps=fps, embed_frames=True, default_mode="loop", embed_limit=1024)
            animation.save(name, writer=writer, dpi=dpi)
            with open(name, encoding="utf-8") as file:
                text = file.read()
        text = re.sub(rf'<link[^>]*{re.escape(FONT)}[^>]*>', f"<style>{_icons()}</style>", text)
        for found in set(re.findall(r"[0-9a-f]{32}(?=\b|\")", re.sub(r'"data:image[^"]*"', "", text))):
            text = text.replace(found, hashlib.md5(text.replace(found, "").encode(), usedforsecurity=False).hexdigest())
        text = (
            '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>dynsim</title>\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            "<style>body { margin: 1em; } .animation { max-width: 100%; } .animation img { max-width: 100%; }</style></head>\n"
            f"<body>\n{text}\n</body>\n</html>\n"
        )
        if len(text.encode()) <= LARGEST:
            return text
    raise InputError(f"a page holds at most {LARGEST // 2**20} MB, got {len(text) / 2**20:.0f}: take fewer frames")


def _icons() -> str:
    """Style that draws the icons of matplotlib's buttons with characters."""
    rules = [f'.fa-{name}::before {{ content: "{mark}"; }}' for name, mark in ICONS.items()]
    flip = ".fa { font: 14px/1 sans-serif; } .fa-flip-horizontal { display: inline-block; transform: scaleX(-1); }"
    return " ".join([flip, *rules])


def _images(problem: Problem | None, part: Partition, data: Dataset | None, cluster: int) -> Dataset:
    """Images of one cluster, with the amplitudes and masks of those given."""
    if not 0 <= cluster < part.K:
        raise InputError(f"cluster numbers one of K={part.K} clusters from 0, got {cluster!r}: take e.g. 0")
    if data is None:
        if problem is None:
            raise InputError("maps are averages over images, got neither images nor a problem: give data= or problem=")
        data = sample(problem, part, n=IMAGES, seed=0)
    return Dataset(np.full(data.n, cluster), data.z, data.masked)


def _maps(
    made: Any, place: Any, traj: Trajectory, part: Partition, data: Dataset, queries: Sequence[int] | None, cluster: int,
    shown: np.ndarray,
) -> Callable[[int], list]:
    """Draw a map for each query; returns what updates them."""
    chosen = _queries(part.labels[cluster]) if queries is None else [int(query) for query in queries]
    if not 1 <= len(chosen) <= 4 or not all(0 <= query < part.P for query in chosen):
        raise InputError(f"queries are one to four patches from 0 to P - 1 = {part.P - 1}, got {chosen}: take e.g. [0]")
    maps = {at: attention.attention_map(part, traj.fp[at], traj.pp[at], data)[chosen] for at in shown}
    top = np.nanquantile(maps[shown[-1]], 0.997)
    rows = (len(chosen) + 1) // 2
    cells = place.subgridspec(rows, min(2, len(chosen)), wspace=0.05)
    images = []
    for i, query in enumerate(chosen):
        ax = made.add_subplot(cells[i // 2, i % 2])
        images.append(attention_map(ax, maps[shown[-1]][i], part.grid, query, part.labels[cluster], vmax=top))
        ax.set_title(("local query", "global query")[int(part.labels[cluster][query] == 0)], fontsize=STYLE["axes.titlesize"])
    made.colorbar(images[-1], ax=[image.axes for image in images], aspect=30, extend="max", label="attention")

    def draw(at: int) -> list:
        for image, row in zip(images, maps[at], strict=True):
            image.set_data(row.reshape(part.grid))
        return images

    return draw


def _queries(labels: np.ndarray) -> list[int]:
    """Three local queries in different areas, where there are as many, and a global one."""
    areas = np.unique(labels)
    chosen = [areas[min(i, len(areas) - 1)] for i in (1, len(areas) // 2, len(areas) - 1, 0)]
    return [int(np.flatnonzero(labels == area)[(labels == area).sum() // 2]) for area in dict.fromkeys(chosen)]


def _bars(ax: Any, attention_by_role: Mapping[str, np.ndarray]) -> Callable[[int], list]:
    """Draw attention by role as bars; returns what updates them."""
    table = {role: values.mean(axis=1) for role, values in attention_by_role.items()}
    roles = [role for role in ROLES if role in table and np.isfinite(table[role]).all()]
    bars = ax.bar(range(len(roles)), [1.0] * len(roles), color=[ROLES[role]["color"] for role in roles])
    ax.set_xticks(range(len(roles)), [ROLES[role]["label"].replace(" ", "\n") for role in roles])
    ax.set(ylim=(0, 1), ylabel=PANELS["attention"])

    def draw(at: int) -> list:
        for bar, role in zip(bars, roles, strict=True):
            bar.set_height(table[role][at])
        return list(bars)

    return draw


def _beside(above: Any, below: Any, traj: Trajectory, fp: Mapping[str, np.ndarray]) -> list:
    """Draw the loss and the FP correlations, each with a line where the picture is: those lines."""
    curves(below, traj.t, fp)
    above.plot(traj.t, traj.loss, color=BLACK)
    above.set(ylabel=loss_label(traj), ylim=(0, None) if traj.loss.min() >= 0 else None)
    below.set(ylabel=PANELS["fp"], xlabel=TIME)
    handles = [below.plot([], [], **ROLES[role])[0] for role in ("own", "global", "others")]
    legend(below, handles=handles, loc="best")
    positive = traj.t[traj.t > 0]
    for ax in (above, below):
        if len(positive) > 1:
            ax.set(xscale="log", xlim=(positive[0], positive[-1]))
    above.tick_params(labelbottom=False)
    return [ax.axvline(traj.t[-1], color=RED if ax is above else GREY, lw=0.8) for ax in (above, below)]

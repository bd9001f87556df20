"""`dynsim plot`: draw what other commands have written."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser, Namespace, _SubParsersAction
from functools import partial
from typing import TYPE_CHECKING

from dynsim.cli import _pictures, _show
from dynsim.cli._files import Folder
from dynsim.errors import FileError, InputError

if TYPE_CHECKING:
    from dynsim.model.problem import Problem
    from dynsim.plots.style import Figure
    from dynsim.trajectory import Trajectory

ENDINGS = (".png", ".pdf", ".svg")
MOVING = (".html", ".gif", ".mp4")


def add_parser(sub: _SubParsersAction) -> ArgumentParser:
    """Declare the options."""
    parser = sub.add_parser(
        "plot",
        help="draw what simulate or sweep have written",
        description="Draw a folder of `dynsim simulate --out` (FP, PP, attention, loss) or a store of `dynsim sweep` over two "
        "axes, and P (phase diagram). A run as .html, .gif or .mp4 is a moving picture.",
    )
    parser.add_argument("source", metavar="SOURCE", help="a folder of simulate, or a store of sweep")
    parser.add_argument("--out", required=True, metavar="FILE", help="figure: .png, .pdf, .svg; moving: .html, .gif, .mp4")
    parser.add_argument("--quiet", action="store_true", help="no remarks on standard error")
    parser.set_defaults(run=run)
    return parser


def run(args: Namespace) -> int:
    """Write the figure; exit status 0."""
    place, name = os.path.split(args.out)
    ending = os.path.splitext(name)[1].lower()
    if ending not in ENDINGS + MOVING:
        raise InputError(f"figures end in {', '.join(ENDINGS + MOVING)}, got {args.out!r}: rename --out")
    if not os.path.exists(args.source):
        raise FileError(f"a source must exist, got {args.source!r}, which does not: check the name")
    if os.path.splitext(args.source)[1] in (".npz", ".nc"):
        raise InputError(f"a figure is one of a folder or a store, got the file {args.source!r}: name the folder that it is in")
    if ending in MOVING and not os.path.isdir(args.source):
        raise InputError(f"a moving picture is one of a run, got the store {args.source!r}: name a folder of simulate --out")
    from dynsim import plots

    if ending in MOVING:
        problem, trajs, _ = _read_folder(args.source)
        write = partial(plots.save_movie, plots.movie(trajs[0], problem))
    else:
        write = partial(plots.save, (_run_folder if os.path.isdir(args.source) else _store)(args.source))
    folder = Folder(place or ".")
    try:
        folder.write(name, write)
    finally:
        folder.leave()
    _show.remark(args, f"wrote {args.out}")
    return 0


def _read_folder(source: str) -> tuple[Problem | None, list[Trajectory], dict]:
    """(problem, None for pictures; trajectories; summary.json) of a folder, from summary.json and the files that it names."""
    from dynsim import runs
    from dynsim.model.amplitude import Uniform
    from dynsim.model.problem import Problem

    try:
        with open(os.path.join(source, "summary.json"), encoding="utf-8") as file:
            summary = json.load(file)
        p, names = summary["parameters"], [os.path.basename(name) for name in summary["trajectories"]]
        problem = None
        if "regime" in summary:
            numbers = {name: p[name] for name in ("K", "gamma", "P", "kappa_c", "kappa_s")}
            problem = Problem(**numbers, amplitude=Uniform(p["L"], p["U"]))
    except (OSError, ValueError, TypeError, KeyError) as error:
        what = f"{type(error).__name__}: {error}"
        raise FileError(f"{source!r} holds no summary.json of a run ({what}): name a folder of simulate --out") from None
    missing = [name for name in names if not os.path.exists(os.path.join(source, name))]
    if missing or not names:
        what = missing[0] if missing else "trajectory"
        raise FileError(f"a run needs its trajectories, {source!r} holds no {what}: run it again")
    return problem, [runs.load(os.path.join(source, name)) for name in names], summary


def _run_folder(source: str) -> Figure:
    """The summary figure of a folder, as `dynsim simulate` has drawn it."""
    from dynsim import plots
    from dynsim.analysis import generalisation
    from dynsim.runs import recipe

    problem, trajs, summary = _read_folder(source)
    field = recipe.build(*trajs[0].recipe) if len(trajs) == 1 else None  # type: ignore[misc]
    if problem is None:
        clusters = summary.get("areas", {}).get("K", 0)
        return _pictures.figure(field, trajs[0], _pictures.predict(field, trajs[0], clusters, summary.get("seed", 0)))
    return plots.summary(trajs, problem, gap=None if field is None else generalisation.of_run(field, trajs[0], problem))


def _store(source: str) -> Figure:
    """The phase diagram of a sweep, a panel for each P: of the collapse, where its runs have that event, else of depths."""
    import numpy as np

    from dynsim import plots, sweep
    from dynsim.analysis.columns import PARAMETERS

    table = sweep.load(source)
    varied = [name for name in sweep.axes(table) if name != "P"]
    if len(varied) != 2:
        found = ", ".join(varied) or "none"
        raise InputError(f"a phase diagram needs two axes beside P, say kappa_c and kappa_s, {source!r} has {found}: sweep two")
    x, y = varied if (varied[0] in PARAMETERS) == (varied[1] in PARAMETERS) else varied[::-1]  # options across, parameters up
    sizes = np.unique(table["P"])
    figure, axes = plots.figure(1, len(sizes), plots.SINGLE if len(sizes) == 1 else plots.DOUBLE, squeeze=False)
    collapses = "collapse" in table and np.isfinite(table["collapse"]).any()
    if not collapses and "depth" not in table:
        raise InputError(f"a phase diagram shows depths or collapses, {source!r} has neither: draw the columns of sweep.load")
    deepest = np.nanmax(-table["depth"] / np.log(table["P"]), initial=0.0)
    for ax, P in zip(axes[0], sizes, strict=True):
        rows = {name: column[table["P"] == P] for name, column in table.items()}
        draw = partial(plots.collapse_diagram, ax, rows) if collapses else partial(plots.phase_diagram, ax, rows, deepest)
        mesh = draw(x=x, y=y)
        ax.set_title(f"$P=10^{{{np.log10(P):.3g}}}$", fontsize=ax.xaxis.label.get_size())
    if collapses:
        return figure
    bar = figure.colorbar(mesh, ax=axes[0, -1])
    bar.set_label(r"$-\Phi_g/\log P$", fontsize=ax.xaxis.label.get_size())
    bar.ax.tick_params(labelsize=ax.xaxis.label.get_size() - 1)
    return figure

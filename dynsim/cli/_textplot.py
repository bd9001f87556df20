"""Loss and attention of runs as small plots of characters, for those who work over ssh; drawn by uniplot (extra `terminal`)."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from dynsim.errors import InputError
from dynsim.trajectory import Trajectory, loss_label

WIDEST, NARROWEST, HEIGHT = 70, 20, 12  # characters of a plot without its labels
MARGIN = 14  # for its labels
MARKS = {"own": "o", "global": "g", "others": ".", "masked": "m"}  # readable without colour, and in ASCII


def text_plot(runs: Trajectory | Sequence[Trajectory], width: int | None = None) -> str:
    """Draw the loss, and the attention by role, of one run or of several.

    Parameters
    ----------
    runs : Trajectory or sequence of Trajectory
        Orbit runs, one per query type, or one run on a partition. Attention is that of the first.
    width : int, optional
        Of the plots without their labels, in characters; by default what the terminal has, at most 70.

    Returns
    -------
    str
        Plots over time t = eta x step, on a logarithmic axis, in ASCII characters, without colours.

    Raises
    ------
    InputError
        Where uniplot is not installed, or fewer than two times after 0 were saved.

    Examples
    --------
    >>> import dynsim
    >>> run = dynsim.reduced.flow(dynsim.reduced.OrbitField(dynsim.Problem(K=1, P=1e6)), t_end=1e6, keep=20)
    >>> print(text_plot(run))      # doctest: +SKIP
    """
    try:
        import uniplot
    except ImportError:
        raise InputError("plots in the terminal need uniplot, which is missing: pip install 'dynsim[terminal]'") from None
    trajs = [runs] if isinstance(runs, Trajectory) else list(runs)
    saved = int((trajs[0].t > 0).sum())
    if saved < 2:
        raise InputError(f"a plot needs at least 2 saved times after 0, got {saved}: save more of the run")
    if width is None:
        width = max(NARROWEST, min(WIDEST, shutil.get_terminal_size((WIDEST + MARGIN, 24)).columns - MARGIN))
    names = [traj.meta.get("query", "") for traj in trajs]
    marks = "o123456789abcdef"[: len(trajs)]
    key = ", ".join(f"{mark} {name}" for mark, name in zip(marks, names, strict=False) if name)
    losses = [(traj.t, traj.loss) for traj in trajs[: len(marks)]]
    text = [_draw(uniplot, loss_label(*trajs) + (f": {key}" if key else ""), losses, marks, width)]
    table = {role: values for role, values in _attention(trajs[0]).items() if role in MARKS}
    if table:
        of, drawn = f" of {names[0]}" if names[0] else "", "".join(MARKS[role] for role in table)
        key = ", ".join(f"{MARKS[role]} {role}" for role in table)
        text.append(_draw(uniplot, f"attention{of}: {key}", [(trajs[0].t, values) for values in table.values()], drawn, width))
    return "\n\n".join(text)


def _attention(traj: Trajectory) -> dict[str, np.ndarray]:
    """Attention by role along the run, (T,), mean over the pairs in which the query is local; empty where there are no areas."""
    from dynsim.model.areas import local_pairs

    if traj.layout is None or not len(traj.layout.query_type):
        return {}
    local = local_pairs(traj.layout)
    rows = [traj.layout.areas(attention=attention).get("attention", {}) for attention in traj.attention]
    found = {}
    for role in rows[0]:
        values = np.array([row[role][local] for row in rows])
        seen = np.isfinite(values).all(axis=0)
        if seen.any():
            found[role] = values[:, seen].mean(axis=1)
    return found


def _draw(uniplot: Any, title: str, lines: Sequence[tuple[np.ndarray, np.ndarray]], marks: str, width: int) -> str:
    """One plot as text, from zero on where nothing is below."""
    bottom = {"y_min": 0} if all(values.min() >= 0 for _, values in lines) else {}
    text = uniplot.plot_to_string(
        [values[t > 0] for t, values in lines], [t[t > 0] for t, _ in lines], x_as_log=True, lines=True, color=False,
        width=width, height=HEIGHT, y_gridlines=[], x_gridlines=[],
        character_set="ascii", force_ascii_characters=list(marks), **bottom,
    )
    rows = [line.rstrip() for line in (title, *text.splitlines(), f"{'time t = eta x step':^{width}}")]
    shown = "\n".join(rows)
    try:
        shown.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:  # the frame in what the terminal has
        shown = shown.translate(str.maketrans("┌┐└┘─│┤├┬┴┼", "++++-||||++"))
    return shown

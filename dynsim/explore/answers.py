"""What the page shows, as plain data: settings -> curves, phases, predictions, and the commands that make the same run.

The run is that of `dynsim simulate --query LL...L`: gradient flow of the orbit field (docs/model.md) of a query that is local in
every cluster, with the field's own `run_options`. Nothing here knows of a browser.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import numpy as np

from dynsim.errors import InputError
from dynsim.explore._run import DEFAULTS, any_size, command, complete, plain, python, simulated, text_of

if TYPE_CHECKING:
    from dynsim.trajectory import Trajectory

LATE = 3  # escape times after which the late stage of theory is drawn


def read_settings(pairs: Iterable[tuple[str, str]] | Mapping[str, str]) -> dict[str, float]:
    """Read settings from text, as in a link.

    Parameters
    ----------
    pairs : iterable of (str, str), or mapping of str to str
        Names of DEFAULTS and numbers; those left out have their default.

    Returns
    -------
    dict
        All settings, by name.

    Raises
    ------
    InputError
        For a name that is none of them, or text that is no number.

    Examples
    --------
    >>> import dynsim
    >>> dynsim.explore.answers.read_settings({"K": "2", "P": "1e30"})["P"]
    1e+30
    """
    found = dict(DEFAULTS)
    for name, text in pairs.items() if isinstance(pairs, Mapping) else pairs:
        if name not in DEFAULTS:
            raise InputError(f"a link holds settings, {', '.join(DEFAULTS)}, got {name[:40]!r}: drop it")
        try:
            found[name] = float(text)
        except ValueError:
            raise InputError(f"{name} must be a number, got {text[:40]!r}: write e.g. {DEFAULTS[name]:g}") from None
    return found


def from_link(link: str) -> dict[str, float]:
    """Read the settings from a link of the page, or from what stands behind its question mark.

    Parameters
    ----------
    link : str
        E.g. "http://127.0.0.1:5006/...?K=2&P=1e30" or "K=2&P=1e30".

    Returns
    -------
    dict
        All settings, by name.

    Raises
    ------
    InputError
        As `read_settings` does, and where the link holds no setting.

    Examples
    --------
    >>> import dynsim
    >>> dynsim.explore.from_link("?K=2&gamma=0.5")["gamma"]
    0.5
    """
    query = urlsplit(link).query if "?" in link else link
    pairs = parse_qsl(query, keep_blank_values=True)
    if not pairs:
        raise InputError(f"a link holds settings behind a question mark, got {link[:60]!r}: take e.g. '?K=2&P=1e30'")
    return read_settings(pairs)


def to_link(settings: Mapping[str, float]) -> str:
    """Write settings as the part of a link from the question mark on.

    Parameters
    ----------
    settings : mapping of str to float
        From `read_settings`.

    Returns
    -------
    str
        Which `from_link` reads back to the same settings.

    Examples
    --------
    >>> import dynsim
    >>> dynsim.explore.to_link({"K": 2.0, "P": 1e30})
    '?K=2&P=1e30'
    """
    return "?" + urlencode({name: text_of(value) for name, value in settings.items()})


def answer(settings: Mapping[str, float]) -> dict[str, Any]:
    """Run the problem of the settings, and say what came of it and what theory predicts.

    Parameters
    ----------
    settings : mapping of str to float
        Names of DEFAULTS; those left out have their default. K in clusters, P in patches, amplitudes uniform on [L, U].

    Returns
    -------
    dict
        Plain data: ``settings``; ``t`` (T,), unit eta x step; ``fp``, ``pp`` and ``attention``, by role (T,), means over
        clusters; ``loss`` (T,) per masked patch; ``events``, when each was passed, or None; ``regime`` and ``phases`` of the run;
        ``predictions``: ``escape_time`` (eq. 15) and ``escape_time_large`` (eq. 8), ``global_depth`` (eq. 16) and
        ``global_depth_large`` (eq. 9), ``loss_floor`` (eq. 6), ``late_t`` and ``late_loss`` (eq. 12), ``regime`` and ``Delta``
        (eq. 7); ``boundary``, the Delta at which the global and the own correlation set out equally fast at this P; ``command``,
        ``python`` and ``link``. Numbers that do not exist are None.

    Raises
    ------
    InputError
        For settings that make no problem.
    Diverged
        Where the flow leaves the range of the closure.

    Notes
    -----
    The run is closed, escape times and depths at this P are closed, those for large P asymptotic (docs/what-to-expect.md).

    Examples
    --------
    >>> import dynsim
    >>> found = dynsim.explore.answer({"K": 1, "P": 1e6})
    >>> found["regime"], len(found["t"]) == len(found["attention"]["own"])
    ('two phases', True)
    """
    from dynsim import theory
    from dynsim.analysis import phases, scaling, summary

    chosen = complete(settings)
    problem, field, traj = simulated(chosen)
    events, escape = traj.meta["events"], theory.escape_time(problem)
    late = np.geomspace(LATE * escape, traj.t[-1], 30)
    run = phases.find(traj).to_dict()
    return plain({
        "settings": dict(chosen),
        "t": traj.t,
        **_by_role(traj),
        "loss": traj.loss,
        "events": events,
        "regime": run["regime"],
        "phases": run["phases"],
        "measured_depth": summary.global_depth(traj, events["escape"]),
        "predictions": {
            "Delta": problem.Delta,
            "regime": theory.regime(problem),
            "escape_time": theory.escape_time(problem, finite=True),
            "escape_time_large": escape,
            "global_depth": theory.global_depth(problem, finite=True),
            "global_depth_large": theory.global_depth(problem),
            "loss_floor": field.floor,
            "late_t": late,
            "late_loss": theory.late_loss(problem, late, field.query) + field.floor,
        },
        "boundary": scaling.expected_boundary(problem),
        "command": command(dict(chosen)),
        "python": python(dict(chosen), any_size().run_options(problem)),
        "link": to_link(dict(chosen)),
    })


def _by_role(traj: Trajectory) -> dict[str, dict[str, np.ndarray]]:
    """fp, pp and attention by role along the run, each (T,): means over clusters."""
    rows = [traj.layout.areas(*tables) for tables in zip(traj.fp, traj.pp, traj.attention, strict=True)]
    return {
        name: {role: np.array([row[name][role].mean() for row in rows]) for role in roles} for name, roles in rows[0].items()
    }

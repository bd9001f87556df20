"""What the page shows, as plain data: settings -> curves, phases, predictions, and the commands that make the same run.

The run is that of `dynsim simulate`: gradient flow of the field that reaches any P under the chosen objective, with the field's
own `run_options` (where it is stiff, few amplitude nodes and a rough accuracy); what is shown is a query that is local in every
cluster. Nothing here knows of a browser.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import numpy as np

from dynsim.errors import InputError
from dynsim.explore._run import (
    NUMBERS,
    Settings,
    command,
    complete,
    defaults,
    flow_options,
    objectives,
    plain,
    python,
    simulated,
    text_of,
)

if TYPE_CHECKING:
    from dynsim.model.problem import Problem
    from dynsim.trajectory import Trajectory

DEFAULTS = defaults()
MEASURED = ("escape_time", "global_depth", "collapse_time")  # what predictions stand beside
LATE = 3  # escape times after which the late stage of theory is drawn


def read_settings(pairs: Iterable[tuple[str, str]] | Mapping[str, str]) -> dict[str, Any]:
    """Read settings from text, as in a link.

    Parameters
    ----------
    pairs : iterable of (str, str), or mapping of str to str
        Names of DEFAULTS, and numbers, or the name of an objective; those left out have their default.

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
        if name == "objective":
            found[name] = text
            continue
        try:
            found[name] = float(text)
        except ValueError:
            raise InputError(f"{name} must be a number, got {text[:40]!r}: write e.g. {DEFAULTS[name]:g}") from None
    return found


def from_link(link: str) -> dict[str, Any]:
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


def to_link(settings: Settings) -> str:
    """Write settings as the part of a link from the question mark on.

    Parameters
    ----------
    settings : mapping
        From `read_settings`. Those that the objective does not have, and the first objective, are left out.

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
    first = next(iter(objectives()))
    names = [name for name, _ in complete(settings)]  # in one order, whatever that of the settings
    said = {name: settings[name] for name in names if name in settings and settings[name] != first}
    return "?" + urlencode({name: text_of(value) for name, value in said.items()})


def answer(settings: Settings) -> dict[str, Any]:
    """Run the problem of the settings, and say what came of it and what theory predicts.

    Parameters
    ----------
    settings : mapping
        Names of DEFAULTS; those left out have their default. "objective" is a text, all others are numbers: K in clusters, P in
        patches, amplitudes uniform on [L, U], and the options that the objective has, such as "weight".

    Returns
    -------
    dict
        Plain data: ``settings``; ``t`` (T,), unit eta x step; ``fp``, ``pp`` and ``attention``, by role (T,), means over
        clusters; ``loss`` (T,) per masked patch, and ``terms``, its parts by name; ``events``, when each was passed, or None;
        ``regime`` and ``phases`` of the run; ``predictions``: ``escape_time`` (eq. 15) and ``escape_time_large`` (eq. 8),
        ``global_depth`` (eq. 16) and ``global_depth_large`` (eq. 9), ``collapse_time_large`` (E8), ``critical_weight``,
        ``collapse_weight`` and ``collapsed_attention`` where the objective is mixed, ``loss_floor`` (eq. 6), ``late_t`` and
        ``late_loss`` (eq. 12), ``regime`` and ``Delta`` (eq. 7); ``boundary``, the Delta at which the global and the own
        correlation set out equally fast at this P; ``command``, ``python`` and ``link``. Numbers that do not exist are None.

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
    s, query, events = dict(chosen), "L" * problem.K, traj.meta["events"]
    options = {name: value for name, value in s.items() if name not in (*NUMBERS, "objective")}
    found = field.predictions(problem, query, closed=not field.stiff, **options)
    late = _late(problem, query, field.floor, traj.t[-1]) if found.get("global_depth_theory") is not None else ([], [])
    run, flow = phases.find(traj).to_dict(), flow_options(field, problem)
    return plain({
        "settings": s,
        "t": traj.t,
        **_by_role(traj, query),
        "loss": traj.loss,
        "terms": traj.terms,
        "events": events,
        "regime": run["regime"],
        "phases": run["phases"],
        "measured_depth": summary.global_depth(traj, events["escape"], query),
        "predictions": {
            "Delta": problem.Delta,
            "regime": theory.regime(problem),
            **{name: found.get(f"{name}_closed") for name in MEASURED},
            **{f"{name}_large": found.get(f"{name}_theory") for name in MEASURED},
            **field.thresholds(problem, **options),
            "loss_floor": field.floor,
            "late_t": late[0],
            "late_loss": late[1],
        },
        "boundary": scaling.expected_boundary(problem),
        "command": command(s, field, flow),
        "python": python(s, field, flow),
        "link": to_link(s),
    })


def _late(problem: Problem, query: str, floor: float, end: float) -> tuple[np.ndarray, np.ndarray]:
    """Times of the late stage, and the loss that theory predicts there."""
    from dynsim import theory

    t = np.geomspace(LATE * theory.escape_time(problem), end, 30)
    return t, theory.late_loss(problem, t, query) + floor


def _by_role(traj: Trajectory, query: str) -> dict[str, dict[str, np.ndarray]]:
    """fp, pp and attention of a query type by role along the run, each (T,): means over clusters."""
    rows = [traj.layout.areas(*tables) for tables in zip(traj.fp, traj.pp, traj.attention, strict=True)]
    at = traj.layout.query_type == query
    return {
        name: {role: np.array([row[name][role][at].mean() for row in rows]) for role in roles} for name, roles in rows[0].items()
    }

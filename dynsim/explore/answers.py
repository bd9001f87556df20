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
from dynsim.explore._run import DEFAULTS, command, complete, plain, python, simulated, text_of

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
    >>> from dynsim.explore.answers import read_settings
    >>> read_settings({"K": "2", "P": "1e30"})["P"]
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
    >>> from dynsim.explore.answers import from_link
    >>> from_link("?K=2&gamma=0.5")["gamma"]
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
    >>> from dynsim.explore.answers import to_link
    >>> to_link({"K": 2.0, "P": 1e30})
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
    >>> from dynsim.explore.answers import answer
    >>> found = answer({"K": 1, "P": 1e6})
    >>> found["regime"], len(found["t"]) == len(found["attention"]["own"])
    ('two phases', True)
    """
    from dynsim import theory
    from dynsim.analysis import phases, scaling, summary
    from dynsim.reduced.orbit import OrbitField

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
        "python": python(dict(chosen), OrbitField.run_options(problem)),
        "link": to_link(dict(chosen)),
    })


def complete(settings: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """Return every setting, in order.

    Parameters
    ----------
    settings : mapping of str to float
        Names of DEFAULTS; those left out have their default.

    Returns
    -------
    tuple of (str, float)
        Names and values.

    Examples
    --------
    >>> from dynsim.explore.answers import complete
    >>> complete({"P": 1e6})[:3]
    (('K', 4.0), ('gamma', 0.8), ('P', 1000000.0))
    """
    return tuple((name, float(settings.get(name, value))) for name, value in DEFAULTS.items())


@lru_cache(maxsize=8)
def simulated(settings: tuple[tuple[str, float], ...]) -> tuple[Problem, OrbitField, Trajectory]:
    """Run the problem of some settings; the last eight results are remembered.

    Parameters
    ----------
    settings : tuple of (str, float)
        As from ``complete``.

    Returns
    -------
    problem : Problem
        What was simulated.
    field : Field
        The field of its all-local query type.
    run : Trajectory
        The flow.

    Examples
    --------
    >>> from dynsim.explore.answers import complete, simulated
    >>> problem, field, run = simulated(complete({"K": 1, "P": 1e6}))
    >>> field.query, problem.P
    ('L', 1000000)
    """
    from dynsim.model.amplitude import Uniform
    from dynsim.model.problem import Problem
    from dynsim.reduced.gradient_flow import flow
    from dynsim.reduced.orbit import OrbitField

    s = dict(settings)
    problem = Problem(s["K"], s["gamma"], s["P"], s["kappa_c"], s["kappa_s"], Uniform(s["L"], s["U"]))  # type: ignore[arg-type]
    field = OrbitField(problem, "L" * problem.K)
    return problem, field, flow(field, **OrbitField.run_options(problem))


def command(settings: Mapping[str, float]) -> str:
    """Return the command line that makes the same run.

    Parameters
    ----------
    settings : mapping of str to float
        All settings.

    Returns
    -------
    str
        A command.

    Examples
    --------
    >>> from dynsim.explore.answers import DEFAULTS, command
    >>> command({**DEFAULTS, "K": 2.0})
    'dynsim simulate --K 2 --gamma 0.8 --P 1e12 --kappa-c 0.9 --kappa-s 0.4 --L 0.8 --U 1.2 --query LL'
    """
    options = [f"--{name.replace('_', '-')} {text_of(value)}" for name, value in settings.items()]
    return " ".join(["dynsim simulate", *options, "--query", "L" * int(settings["K"])])


def python(settings: Mapping[str, float], options: Mapping[str, Any]) -> str:
    """Return the lines of Python that make the same run.

    Parameters
    ----------
    settings : mapping of str to float
        All settings.
    options : mapping
        Options of the flow.

    Returns
    -------
    str
        Python code.

    Examples
    --------
    >>> from dynsim.explore.answers import DEFAULTS, python
    >>> print(python(DEFAULTS, {"t_end": 10.0}).splitlines()[-1])
    run = dynsim.reduced.flow(field, t_end=10.0)
    """
    s = {name: text_of(value) for name, value in settings.items()}
    numbers = ", ".join(f"{name}={s[name]}" for name in ("K", "gamma", "P", "kappa_c", "kappa_s"))
    return (
        "import dynsim\n"
        f"problem = dynsim.Problem({numbers}, amplitude=dynsim.Uniform({s['L']}, {s['U']}))\n"
        f"field = dynsim.reduced.OrbitField(problem, query=\"{'L' * int(settings['K'])}\")\n"
        f"run = dynsim.reduced.flow(field, {', '.join(f'{name}={value!r}' for name, value in options.items())})\n"
    )


def csv(found: Mapping[str, Any]) -> str:
    """Return the curves of an answer as comma-separated values.

    Parameters
    ----------
    found : mapping
        As from ``answer``.

    Returns
    -------
    str
        A line of names, then one for each saved time.

    Examples
    --------
    >>> from dynsim.explore.answers import answer, csv
    >>> csv(answer({"K": 1, "P": 1e6})).splitlines()[0].split(",")[:3]
    ['t', 'fp_own', 'fp_global']
    """
    columns: dict[str, list] = {"t": found["t"]}
    for name in ("fp", "pp", "attention"):
        columns |= {f"{name}_{role}": values for role, values in found[name].items()}
    columns["loss"] = found["loss"]
    rows = zip(*columns.values(), strict=True)
    text = ("" if value is None else repr(value) for row in rows for value in row)
    width = len(columns)
    cells = list(text)
    lines = [",".join(columns), *(",".join(cells[i : i + width]) for i in range(0, len(cells), width))]
    return "\n".join(lines) + "\n"


def plain(value: Any) -> Any:
    """Return lists and numbers for arrays, and None for what is not finite.

    Parameters
    ----------
    value : object
        Numbers, arrays, lists and mappings of them.

    Returns
    -------
    object
        What JSON can hold.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim.explore.answers import plain
    >>> plain({"t": np.array([1.0, np.inf])})
    {'t': [1.0, None]}
    """
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _by_role(traj: Trajectory) -> dict[str, dict[str, np.ndarray]]:
    """fp, pp and attention by role along the run, each (T,): means over clusters."""
    rows = [traj.layout.areas(*tables) for tables in zip(traj.fp, traj.pp, traj.attention, strict=True)]
    return {
        name: {role: np.array([row[name][role].mean() for row in rows]) for role in roles} for name, roles in rows[0].items()
    }


def text_of(value: float) -> str:
    """Return a setting as short text that reads back to the same number.

    Parameters
    ----------
    value : float
        A number.

    Returns
    -------
    str
        Such as "1e12".

    Examples
    --------
    >>> from dynsim.explore.answers import text_of
    >>> text_of(1e12), text_of(0.123456789)
    ('1e12', '0.123456789')
    """
    short = f"{value:g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")
    return short if float(short) == value else repr(value)

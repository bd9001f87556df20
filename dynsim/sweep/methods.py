"""What a sweep measures at a point, and the worker's side of it: one function of plain data, the same in every process.

A method is the name of a registered field, run by its own integrator; "full", explicit weights on given images; or a callable
``(problem, seed, **options) -> {name: number or None}`` of your own, "package.module:function", whose names become columns.
Fields give

==================================  =========================================================================================
escape, half, excess                event times (t = eta x step): own attention passes 1/2; the loss has come half way to its
                                    floor; it is within 1 % of its start above its floor; and whatever other events the field
                                    has, such as collapse, and escape_llg of one query type
depth, own                          FP correlation with the global and the own area at the escape, where the query is local
speed_own, speed_global             dPhi/dt of the same two at t = 0
loss_start, loss, floor, t_end      losses per masked patch at t = 0 and t_end, and the floor
gap, escape_theory, depth_theory    eqs. 7, 8, 9, or what else the field predicts for large P, such as collapse_theory
critical_weight, ...                what it predicts for a problem as a whole
phase_end                           end of phase I (see phases); gradient flow with keep > 2
population_loss, population_floor,  of runs on given images, with generalisation=True: loss of the population at the end, its
gap_loss, gap_excess                floor, population less training loss, and the same above the floors
distance, distance_start, ..        of runs on pictures, in place of all of these but the losses: measures of attention
==================================  =========================================================================================
"""

import hashlib
import importlib
import inspect
import os
import re
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np

from dynsim import __version__
from dynsim.analysis.columns import PARAMETERS
from dynsim.errors import DynsimError, FileError, InputError
from dynsim.model.amplitude import Uniform
from dynsim.model.problem import Problem
from dynsim.reduced import FIELDS, field_class
from dynsim.reduced.field import Field, Option
from dynsim.sweep import columns
from dynsim.sweep.store import FIXED

if TYPE_CHECKING:  # a worker loads these when asked, or never
    from dynsim.sweep.points import Point, Task
    from dynsim.sweep.store import Row
    from dynsim.trajectory import Trajectory

Results = dict[str, float | None]  # by name of their column

RESERVED = {name.lower() for name in FIXED}  # SQLite tells no case apart
RTOL = 1e-5  # of the flow in a sweep: 6/10 of the time that 1e-8 takes; what it does to events is measured in docs/sweeps.md
SAVED = 200  # saved steps between which events of a descent are interpolated
INTEGRATORS = {  # their options
    "flow": (
        Option("rtol", float, RTOL, "accuracy of gradient flow", least=0.0),
        Option("t_end", float, None, "end of gradient flow (past the last event)", least=0.0),
        Option("keep", int, 2, "saved times; 20 or more find the end of phase I", least=2),
    ),
    "descend": (
        Option("eta", float, 1.0, "step size of gradient descent"),
        Option("steps", int, 500, "steps of gradient descent", least=1),
    ),
}
GENERALISATION = Option("generalisation", bool, False, "also the population loss at the end, and the gap")
_ALONE = threading.Lock()  # warnings are caught for a whole process; a Dask worker may have several threads


def run_field(
    problem: Problem,
    seed: int = 0,
    method: str = "",
    rtol: float = RTOL,
    t_end: float | None = None,
    keep: int = 2,
    eta: float = 1.0,
    steps: int = 500,
    generalisation: bool = False,
    **options: Any,
) -> Results:
    """Measure one run of a registered field, by its own integrator.

    Parameters
    ----------
    problem : Problem
        The point.
    seed : int
        Seed of areas and images.
    method : str
        Name in ``reduced.FIELDS``.
    rtol : float
        Option of ``flow``.
    t_end : float, optional
        Option of ``flow``; by default it ends well past the last event.
    keep : int
        Option of ``flow``.
    eta : float
        Option of ``descend``.
    steps : int
        Option of ``descend``.
    generalisation : bool
        Whether the population loss is asked for, too, where the field knows a population.
    **options : object
        Options of the field.

    Returns
    -------
    dict
        The columns.

    Examples
    --------
    >>> import dynsim
    >>> from dynsim.sweep import methods
    >>> found = methods.run_field(dynsim.Problem(K=1, gamma=0.75, P=1e12), method="orbit")
    >>> abs(found["escape"] / found["escape_theory"] - 1) < 0.02
    True
    """
    from dynsim import reduced

    cls = field_class(method)
    field = cls.from_options(problem, seed, threads=1, **options)
    speed = None if field.images is not None else field.correlations(field.velocity(field.start())[1])[0]
    if cls.integrator == "flow":
        traj = reduced.flow(field, t_end=field.horizon() if t_end is None else t_end, keep=keep, rtol=rtol)
    else:
        traj = reduced.descend(field, eta, steps, _saved(steps))
    if speed is None:
        return columns.of_pictures(field, traj)
    predicted = partial(cls.predictions, problem, closed=False, **options)
    found = {**_measured(problem, traj, field.floor or 0.0, speed, predicted), **cls.thresholds(problem, **options)}
    return {**found, **columns.of_population(field, traj, problem)} if generalisation else found


def full(
    problem: Problem, seed: int = 0, partition: str = "blocks", n: int = 256, eta: float = 1.0, steps: int = 500
) -> Results:
    """Measure gradient descent with explicit weights.

    Parameters
    ----------
    problem : Problem
        The point.
    seed : int
        Seed of areas and images.
    partition : {"blocks", "random", "product"}
        How areas lie.
    n : int
        Images.
    eta : float
        Step size.
    steps : int
        Steps.

    Returns
    -------
    dict
        The columns.

    Examples
    --------
    >>> import dynsim
    >>> from dynsim.sweep import methods
    >>> found = methods.full(dynsim.Problem(K=1, gamma=0.75, P=16), n=8, steps=5)
    >>> bool(found["loss"] < found["loss_start"])
    True
    """
    from dynsim import full, theory
    from dynsim.model.dataset import sample
    from dynsim.reduced.explicit import choose_partition

    part = choose_partition(problem, partition, seed, n)
    data = sample(problem, part, n, seed=seed)
    traj = full.descend(part, data, eta, steps, _saved(steps))
    first = int(np.flatnonzero(traj.t > 0)[0]) if len(traj) > 1 else 0
    speed = traj.fp[first] / traj.t[first] if first else traj.fp[0]
    predicted = partial(theory.predictions, problem, closed=False)
    return _measured(problem, traj, float(data.floor(part).sum()) / data.masked_mean, speed, predicted)


METHODS: tuple[str, ...] = (*FIELDS, "full")


def find(name: str) -> Callable[..., Any]:
    """Return the callable of a method.

    Parameters
    ----------
    name : str
        A name in METHODS, or "package.module:function".

    Returns
    -------
    callable
        Takes ``(problem, seed, **options)``.

    Raises
    ------
    InputError
        If there is none.

    Examples
    --------
    >>> from dynsim.sweep import methods
    >>> methods.find("math:cos").__name__
    'cos'
    """
    if name == "full":
        return full
    if name in FIELDS:
        return partial(run_field, method=name)
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function) if function else None
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"cannot find method {name!r} ({error}): install its module where the workers see it") from None
    if not callable(found):
        offered = [key for key in FIELDS if field_class(key).offered()]
        raise InputError(
            f"method must be {', '.join(offered)}, full or your own package.module:function, got {name!r}: take {offered[0]}"
        )
    return found


def read_option(method: str, name: str, value: Any) -> Any:
    """Return a value of an option as a method takes it.

    Parameters
    ----------
    method : str
        A method.
    name : str
        Name of the option.
    value : object
        A value, or its text; None, for what is left out, stays None.

    Returns
    -------
    object
        The value.

    Raises
    ------
    InputError
        If the method has no such option, or it cannot have this value.

    Examples
    --------
    >>> from dynsim.sweep import methods
    >>> methods.read_option("orbit", "nodes", "12"), methods.read_option("samples", "partition", "random")
    (12, 'random')
    """
    if not takes(method, name):
        fields = ", ".join(PARAMETERS)
        raise InputError(f"a sweep runs over the fields {fields} and options of its method, got {name!r}: see {method}'s options")
    known = {option.name: option for option in _options(method)}
    if name in known:
        return known[name].read(value)
    value = value.item() if isinstance(value, np.generic) else value
    if not isinstance(value, (str, int, float, bool, NoneType)):
        raise InputError(f"a value on an axis is a number, a text or a boolean, got {name}={value!r}: give it in options")
    return value


def content(method: str, name: str, value: Any) -> Any:
    """Return what a value of an option stands for: the value, or, of one that names a file or folder, a digest of what is in it.

    Parameters
    ----------
    method : str
        A method.
    name : str
        Name of the option.
    value : object
        A value, as from `read_option`.

    Returns
    -------
    object
        The value, or a text.

    Raises
    ------
    FileError
        If a file cannot be read.

    Examples
    --------
    >>> from dynsim.sweep import methods
    >>> methods.content("orbit", "nodes", 12)
    12
    """
    loaded = {option.name for option in _options(method) if option.loader is not None}
    if name not in loaded or not isinstance(value, str):
        return value
    try:
        paths = sorted(path for path in Path(value).iterdir() if path.is_file()) if os.path.isdir(value) else [Path(value)]
        return f"content {_digest(tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in paths))}"
    except OSError as error:
        raise FileError(f"cannot read {value!r} ({error.strerror or error}): mend the path") from None


@lru_cache
def _digest(files: tuple[tuple[Path, int, int], ...]) -> str:
    """Of the contents of files, read again where time or size has changed; of several, with their names."""
    found = hashlib.sha256()
    for path, *_ in files:
        content = path.read_bytes()
        found.update(f"{path.name if len(files) > 1 else ''} {len(content)}\n".encode())
        found.update(content)
    return found.hexdigest()


def takes(method: str, name: str) -> bool:
    """Return whether a method has an option.

    Parameters
    ----------
    method : str
        A method.
    name : str
        Name of the option.

    Returns
    -------
    bool
        True also where a callable takes any.

    Examples
    --------
    >>> from dynsim.sweep import methods
    >>> methods.takes("orbit", "masks"), methods.takes("orbit", "n")
    (True, False)
    """
    if method in FIELDS:
        return name in [option.name for option in _options(method)]
    parameters = inspect.signature(find(method)).parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def default(method: str, name: str) -> Any:
    """Return the default of an option of a method.

    Parameters
    ----------
    method : str
        A method, or the name of one that is not there.
    name : str
        Name of the option.

    Returns
    -------
    object
        The value; None where it depends on others or is not known.

    Examples
    --------
    >>> from dynsim.sweep import methods
    >>> methods.default("orbit", "nodes"), methods.default("my.module:f", "nodes")
    (24, None)
    """
    return next((option.default for option in _options(method) if option.name == name), None)


def _options(method: str) -> tuple[Option, ...]:
    """Options of a registered field and its integrator; none for other methods, whose options have no declared type."""
    if method not in FIELDS:
        return ()
    cls = field_class(method)
    known = (*cls.options, *INTEGRATORS[cls.integrator])
    return known if cls.population is Field.population else (*known, GENERALISATION)


def draws(name: str) -> bool:
    """Return whether several seeds make sense for a method.

    Parameters
    ----------
    name : str
        A method.

    Returns
    -------
    bool
        False for a field that draws nothing.

    Examples
    --------
    >>> from dynsim.sweep import methods
    >>> methods.draws("orbit"), methods.draws("samples")
    (False, True)
    """
    return field_class(name).seeded if name in FIELDS else True


def run_chunk(
    version: str, method: str, place: str | None, chunk: Sequence["Task"]
) -> list["Row"]:
    """Compute the rows of a chunk of points, in a worker.

    Parameters
    ----------
    version : str
        Version of dynsim that the driver has.
    method : str
        A method.
    place : str or None
        Module and class of a registered field.
    chunk : sequence of Task
        Keys, points, and the options of the method at each.

    Returns
    -------
    list of tuple
        Rows (key, point, options, status, message, seconds, results); an error at a point is a row with its reason.

    Raises
    ------
    InputError
        If driver and worker have different versions.

    Examples
    --------
    >>> from dynsim import __version__
    >>> from dynsim.sweep import methods
    >>> point = (1, 0.75, 1e6, 0.9, 0.4, 0.8, 1.2, 0)
    >>> [(key, _, _, status, *rest)] = methods.run_chunk(__version__, "orbit", None, [("key", point, {})])
    >>> key, status
    ('key', 'done')
    """
    if version != __version__:
        raise InputError(f"driver and workers need one version of dynsim, got {version} and {__version__}: install the same")
    if place is not None:
        FIELDS.setdefault(method, place)  # one that the driver has registered
    function = find(method)
    return [(key, point, options, *_measure(function, point, options)) for key, point, options in chunk]


def _measure(function: Callable[..., Any], point: "Point", options: Mapping[str, Any]) -> tuple[str, str, float, Results]:
    *values, seed = point
    message, began = "", time.perf_counter()
    results: Results = {}
    with _ALONE, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            K, gamma, P, kappa_c, kappa_s, low, high = values
            problem = Problem(K, gamma, P, kappa_c, kappa_s, Uniform(low, high))
            results = _plain(function(problem, seed=seed, **options))
            status = "done"
        except DynsimError as error:
            status, message = "failed", str(error)
        except Exception as error:  # a defect at one point is a row too
            status, message = "failed", f"{type(error).__name__}: {error}"
    if warned and not message:
        message = f"warning: {warned[0].message}"
    return status, " ".join(message.split())[:500], time.perf_counter() - began, results


def _plain(results: dict[str, Any]) -> Results:
    for name, value in results.items():
        if name in RESERVED:
            raise InputError(f"a result has a name that no parameter or column of a store has, got {name!r}: rename it")
        if not re.fullmatch("[a-z][a-z0-9_]{0,40}", name):
            raise InputError(f"names of results are lower-case words, got {name!r}: rename it")
        results[name] = None if value is None or value != value else float(value)
    return results


def _saved(steps: int) -> np.ndarray:
    return np.unique(np.geomspace(1, max(1, steps), SAVED).astype(int)).clip(max=steps)


def _measured(
    problem: Problem, traj: "Trajectory", floor: float, speed: np.ndarray, predicted: Callable[[str], Results]
) -> Results:
    """The columns of a run; events that it did not find itself are interpolated between saved steps."""
    from dynsim.analysis import phases
    from dynsim.model.areas import local_pairs

    layout = traj.layout
    local, has_local = local_pairs(layout), not layout.is_global.all()
    at_start = layout.areas(fp=speed)["fp"]
    events = phases.events(traj, floor)
    own, depth = _at_escape(traj, local, events.get("escape"))
    found: Results = {name.lower().replace(" ", "_"): t for name, t in events.items()}
    if traj.meta["integrator"] == "flow" and len(traj) > 2 and traj.meta["keep"] != 2:
        found["phase_end"] = phases.find(traj).decoupling.end
    query = max(layout.share, key=lambda each: each.count("L")) if has_local else min(layout.share)
    theory = {name.replace("_time_", "_").replace("global_", ""): value for name, value in predicted(query).items()}
    return {
        **found, "depth": depth if has_local else None, "own": own,
        "speed_own": at_start["own"][local].mean(), "speed_global": at_start["global"][local].mean() if has_local else None,
        "loss_start": traj.loss[0], "loss": traj.loss[-1], "floor": floor, "t_end": traj.meta.get("t_end", traj.t[-1]),
        "gap": problem.Delta, **theory,
    }


def _at_escape(traj: "Trajectory", local: np.ndarray, escape: float | None) -> tuple[float | None, float | None]:
    """FP with the own and the global area at the escape, where there is one."""
    if escape is None:
        return None, None
    same = np.flatnonzero(traj.t == escape)  # of a flow; beyond P = 1e20 the whole take-off has one t
    if same.size:
        tables = [traj.layout.areas(fp=traj.fp[i], attention=traj.attention[i]) for i in same]
        own = [np.nanmean(table["attention"]["own"][local]) for table in tables]
        fp = tables[np.abs(np.array(own) - 0.5).argmin()]["fp"]
        return float(fp["own"][local].mean()), float(fp["global"][local].mean())
    rows = [traj.layout.areas(fp=fp)["fp"] for fp in traj.fp]
    between = [np.interp(escape, traj.t, [row[role][local].mean() for row in rows]) for role in ("own", "global")]
    return float(between[0]), float(between[1])

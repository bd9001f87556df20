"""What a sweep measures at a point, and the worker's side of it: one function of plain data, the same in every process.

A method is a callable (problem, seed, **options) -> {name: number or None}. Those here return

    escape, half, excess   event times (t = eta x step): own attention passes 1/2; the loss has come half way to its floor;
                           it is within 1 % of its start above its floor
    depth, own             FP correlation with the global and the own area at the escape, where the query is local
    speed_own, speed_global   dPhi/dt of the same two at t = 0
    loss_start, loss, floor, t_end   losses per masked patch at t = 0 and t_end, and the floor
    gap, escape_theory, depth_theory   eqs. 7, 8, 9
    phase_end              end of phase I (see phases); orbits with keep > 2

"package.module:function" names a callable of one's own; its names become columns.
"""

import importlib
import inspect
import re
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dynsim import __version__
from dynsim.errors import DynsimError, InputError
from dynsim.model.amplitude import Uniform
from dynsim.model.problem import Problem

if TYPE_CHECKING:  # a worker loads these when asked, or never
    from dynsim.model.partition import Partition
    from dynsim.sweep.points import Point
    from dynsim.sweep.store import Row
    from dynsim.trajectory import Trajectory

Results = dict[str, float | None]  # by name of their column

RTOL = 1e-5  # of the flow in a sweep: 6/10 of the time that 1e-8 takes; what it does to events is measured in docs/sweeps.md
MOMENTS = 200  # kept steps between which events of a descent are interpolated
_ALONE = threading.Lock()  # LSODA runs once per process; a Dask worker may have several threads


def orbit(
    problem: Problem,
    seed: int = 0,
    query: str | None = None,
    rtol: float = RTOL,
    t_end: float | None = None,
    keep: int = 2,
) -> Results:
    """Gradient flow of one kind of query (all local by default), to well past the last event, with `keep` kept times."""
    from dynsim import reduced, theory
    from dynsim.analysis import phases

    query = "L" * problem.K if query is None else query
    field = reduced.OrbitField(problem, query)
    law, escape = problem.amplitude, theory.escape_time(problem, query)
    if t_end is None:
        late = 50 * problem.K / (problem.gamma * law.L**2 * law.moment(2))  # (12) at 1 % of the first loss
        t_end = 4 * (escape + late)
    local = [k for k, letter in enumerate(query) if letter == "L"] or list(range(problem.K))
    speed = field.correlations(field.velocity(field.start())[1])[0][local].mean(axis=0)
    traj = reduced.flow(field, t_end=t_end, keep=keep, rtol=rtol)
    events = traj.meta["events"]
    own = depth = None
    if events["escape"] is not None:
        same = np.flatnonzero(traj.t == events["escape"])  # beyond P = 1e20 the whole take-off has one t
        at = same[np.abs(traj.attention[same][:, local, 0].mean(axis=1) - 0.5).argmin()]
        own, depth = traj.fp[at][local, :2].mean(axis=0)
    phase = {} if keep < 3 else {"phase_end": phases.find(traj).decoupling.end}
    return {
        **events, **phase, "depth": depth if "L" in query else None, "own": own,
        "speed_own": speed[0], "speed_global": speed[1] if "L" in query else None,
        "loss_start": traj.loss[0], "loss": traj.loss[-1], "floor": field.floor, "t_end": t_end,
        "gap": problem.Delta, "escape_theory": escape, "depth_theory": theory.global_depth(problem) if "L" in query else None,
    }


def population(problem: Problem, seed: int = 0, partition: str = "blocks", eta: float = 1.0, steps: int = 500) -> Results:
    """Gradient descent of the population on an explicit partition drawn from the seed."""
    from dynsim import reduced

    part = _partition(problem, seed, partition)
    field = reduced.PopulationField(problem, part, threads=1)
    return _explicit(problem, part, field.floor, reduced.descend(field, eta, steps, _moments(steps)))


def samples(
    problem: Problem, seed: int = 0, partition: str = "blocks", n: int = 256, eta: float = 1.0, steps: int = 500
) -> Results:
    """Gradient descent on n images; partition and images are drawn from the seed."""
    from dynsim import reduced
    from dynsim.model.dataset import sample

    part = _partition(problem, seed, partition)
    field = reduced.EmpiricalField(part, sample(problem, part, n, seed=seed), threads=1)
    floor: float = field.floor  # type: ignore[assignment]  # orthonormal: known
    return _explicit(problem, part, floor, reduced.descend(field, eta, steps, _moments(steps)))


def full(
    problem: Problem, seed: int = 0, partition: str = "blocks", n: int = 256, eta: float = 1.0, steps: int = 500
) -> Results:
    """The same with explicit weights."""
    from dynsim import full, reduced
    from dynsim.model.dataset import sample

    part = _partition(problem, seed, partition)
    data = sample(problem, part, n, seed=seed)
    floor: float = reduced.EmpiricalField(part, data, threads=1).floor  # type: ignore[assignment]  # orthonormal: known
    return _explicit(problem, part, floor, full.descend(part, data, eta, steps, _moments(steps)))


METHODS: dict[str, Callable[..., Results]] = {"orbit": orbit, "population": population, "samples": samples, "full": full}
RANDOM = ("population", "samples", "full")  # several seeds make sense


def find(name: str) -> Callable[..., Any]:
    """The callable of a method. Raises InputError."""
    if name in METHODS:
        return METHODS[name]
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function) if function else None
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"cannot find method {name!r} ({error}): install its module where the workers see it") from None
    if not callable(found):
        raise InputError(f"method must be {', '.join(METHODS)} or your own package.module:function, got {name!r}: take orbit")
    return found


def takes(name: str, option: str) -> bool:
    """Whether a method has an option of that name."""
    parameters = inspect.signature(find(name)).parameters
    return option in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def run_chunk(version: str, method: str, options: Mapping[str, Any], chunk: Sequence[tuple[str, "Point"]]) -> list["Row"]:
    """Rows of the (key, point) pairs of a chunk: [(key, point, status, message, seconds, results), ...]; nothing escapes but
    an interruption, or InputError where driver and worker are of different versions."""
    if version != __version__:
        raise InputError(f"driver and workers need one version of dynsim, got {version} and {__version__}: install the same")
    function = find(method)
    return [(key, point, *_measure(function, point, options)) for key, point in chunk]


def _measure(function: Callable[..., Any], point: "Point", options: Mapping[str, Any]) -> tuple[str, str, float, Results]:
    *values, seed = point
    message, began = "", time.perf_counter()
    results: Results = {}
    with _ALONE, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            K, gamma, P, kappa_c, kappa_s, low, high = values
            problem = Problem(K, gamma, P, kappa_c, kappa_s, Uniform(low, high))  # type: ignore[arg-type]  # it makes K whole
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
        if not re.fullmatch("[a-z][a-z0-9_]{0,40}", name):
            raise InputError(f"names of results are lower-case words, got {name!r}: rename it")
        results[name] = None if value is None or value != value else float(value)
    return results


def _partition(problem: Problem, seed: int, kind: str) -> "Partition":
    from dynsim.model.partition import Partition

    if kind not in ("blocks", "random", "product"):
        raise InputError(f"partition must be blocks, random or product, got {kind!r}: take blocks")
    return Partition.product(problem) if kind == "product" else getattr(Partition, kind)(problem, seed=seed)


def _moments(steps: int) -> np.ndarray:
    return np.unique(np.geomspace(1, max(1, steps), MOMENTS).astype(int)).clip(max=steps)


def _explicit(problem: Problem, part: "Partition", floor: float, traj: "Trajectory") -> Results:
    """The same measurements on an explicit partition, between kept moments by linear interpolation."""
    from dynsim import theory

    local = part.labels > 0
    if not local.any():
        local = ~local
    patch = np.broadcast_to(np.arange(part.P), part.own.shape)[local]
    own_area, global_area = part.own[local], np.broadcast_to(part.offset[:-1, None], part.own.shape)[local]
    attention = np.nanmean(traj.attention[:, patch, own_area], axis=1)
    own, depth = (traj.fp[:, patch, area].mean(axis=1) for area in (own_area, global_area))
    left = (traj.loss - floor) / (traj.loss[0] - floor)
    escape = _passes(traj.t, attention, 0.5)
    return {
        "escape": escape, "half": _passes(traj.t, -left, -0.5), "excess": _passes(traj.t, -left, -0.01),
        "depth": None if escape is None else np.interp(escape, traj.t, depth),
        "own": None if escape is None else np.interp(escape, traj.t, own),
        "speed_own": own[1] / traj.t[1], "speed_global": depth[1] / traj.t[1],
        "loss_start": traj.loss[0], "loss": traj.loss[-1], "floor": floor, "t_end": traj.t[-1],
        "gap": problem.Delta, "escape_theory": theory.escape_time(problem), "depth_theory": theory.global_depth(problem),
    }


def _passes(t: np.ndarray, value: np.ndarray, threshold: float) -> float | None:
    """First time at which a kept value reaches the threshold, or None."""
    above = np.flatnonzero(value >= threshold)
    if not above.size:
        return None
    i = above[0]
    return t[0] if i == 0 else t[i - 1] + (t[i] - t[i - 1]) * (threshold - value[i - 1]) / (value[i] - value[i - 1])

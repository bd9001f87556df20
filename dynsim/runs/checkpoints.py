"""Runs that outlive their process: checkpoints along a run, resuming from one, and running a file again.

A checkpoint is a result file (files) that also holds the field (recipe) and the integrator's State with the number of
times saved before it. ``run`` writes one when the run begins, then every so often, and the finished run over it; whatever
stops the process in between leaves the last one whole. Resuming from it gives the uninterrupted run, bit for bit.
"""

import os
from collections.abc import Mapping
from time import monotonic
from typing import Any, NamedTuple

import numpy as np

from dynsim import reduced
from dynsim.errors import Diverged, FileError, InputError, Interrupted
from dynsim.reduced import optimisers
from dynsim.reduced.field import Field, without_prefix
from dynsim.reduced.recording import Record, State
from dynsim.runs import files, recipe
from dynsim.trajectory import Progress, Trajectory
from dynsim.writing import Path, remove_leftovers

EVERY = 10.0  # seconds between checkpoints, at least
PATIENCE = 20.0  # and at least so many times what the last one took to write: under 5 % of the run
MAY_CHANGE = ("steps", "t_end", "until", "events", "status", "evaluations")  # in the meta of a run that goes on


def run(
    path: Path,
    field: Field,
    integrator: str = "descend",
    every: float = EVERY,
    resume: bool = False,
    seed: int | None = None,
    command: list[str] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Trajectory:
    """Run an integrator on a field, with checkpoints in a file.

    Parameters
    ----------
    path : str or path
        The file, .npz or .nc.
    field : Field
        What is integrated.
    integrator : {"descend", "flow"}
        The integrator.
    every : float
        Seconds between checkpoints (0: one at every step), at least 20 times what writing one takes.
    resume : bool
        Whether to resume from the file where there is one. It must be of the same run; with a later end (steps, t_end) the times
        saved from there on are those that ``keep`` gives for the new end.
    seed : int, optional
        Stored in the file.
    command : list of str, optional
        Stored in the file.
    progress : callable, optional
        Called with (done, total) along the run.
    **options : object
        Arguments of the integrator.

    Returns
    -------
    Trajectory
        The finished run, which the file holds, too.

    Raises
    ------
    InputError
        If a value breaks a rule.
    FileError
        If the file cannot be written, or is of another run.
    Diverged
        If the run left its range; the file holds all that was saved.
    Interrupted
        On Ctrl-C; the file holds the last checkpoint.

    Examples
    --------
    >>> import dynsim
    >>> field = dynsim.reduced.OrbitField(dynsim.Problem(K=1, gamma=0.75, P=1e6))
    >>> traj = dynsim.runs.run("run.npz", field, "flow", t_end=100.0, keep=5)
    >>> bool((dynsim.runs.load("run.npz").fp == traj.fp).all())
    True
    """
    if not (isinstance(every, (int, float)) and every >= 0):
        raise InputError(f"every must be seconds between checkpoints, at least 0, got {every!r}: take e.g. 10")
    if integrator not in ("descend", "flow"):
        raise InputError(f'integrator must be "descend" or "flow", got {integrator!r}: take one of them')
    writer, start = _Writer(path, field, every, seed, command), None
    if resume and os.path.lexists(path):
        start = writer.go_on()
    try:
        traj = getattr(reduced, integrator)(field, start=start, progress=progress, checkpoint=writer, **options)
    except Diverged as error:
        if error.trajectory is not None:
            writer.state = None  # nothing to go on from
            writer.write(error.trajectory, finished=True)
            raise Diverged(f"{error}; {path} holds what was reached", error.trajectory) from None
        raise
    except Interrupted as error:
        raise Interrupted(f"{error}; {path} holds it up to {writer.reached} and can be resumed", error.trajectory) from None
    writer.write(traj, finished=True)
    return traj


def resume(
    path: Path,
    until: float | None = None,
    more: int | None = None,
    field: Field | None = None,
    every: float = EVERY,
    progress: Progress | None = None,
) -> Trajectory:
    """Resume the run in a file.

    Parameters
    ----------
    path : str or path
        The file; the result takes its place.
    until : float, optional
        Time of a later end; the planned end by default.
    more : int, optional
        Steps of gradient descent beyond the planned end, or beyond where the loss has ended the run.
    field : Field, optional
        Needed for one that holds code of your own.
    every : float
        Seconds between checkpoints.
    progress : callable, optional
        Called with (done, total) along the run.

    Returns
    -------
    Trajectory
        The whole run.

    Raises
    ------
    InputError
        If the end cannot be.
    FileError
        If the file cannot be read or written, or does not hold its field.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=1, gamma=0.75, P=16)
    >>> part = dynsim.Partition.blocks(problem)
    >>> field = dynsim.reduced.EmpiricalField(part, dynsim.sample(problem, part, n=8, seed=0))
    >>> traj = dynsim.runs.run("run.npz", field, steps=10)
    >>> int(dynsim.runs.resume("run.npz", more=5).step[-1])
    15
    """
    _, header, arrays = files.read(path)
    integrator, options = _options(header["meta"])
    if until is not None and more is not None:
        raise InputError(f"until= is a time and more= a number of steps, got {until!r} and {more!r}: give one of them")
    if more is not None:
        if integrator != "descend" or isinstance(more, bool) or not isinstance(more, (int, np.integer)) or more < 0:
            raise InputError(f"more= is a whole number of steps of descent, got {more!r} for {integrator}: give until=, a time")
        ended = header["meta"].get("status", "").startswith("ended by")  # the end was where the loss said
        options |= {"steps": int(more) + (header["state"]["step"] if ended else options["steps"]), "until": None}
    if until is not None:
        if isinstance(until, bool) or not isinstance(until, (int, float)) or not 0 < until < float("inf"):
            raise InputError(f"until= is a time, positive and finite, got {until!r}: take e.g. until=1e4")
        options |= {"until": None, **({"t_end": until} if integrator == "flow" else {"steps": round(until / options["eta"])})}
    field = _field(path, header, arrays) if field is None else field
    stored = {"seed": header.get("seed"), "command": header["about"].get("command")}
    return run(path, field, integrator, every, True, progress=progress, **stored, **options)


class Rerun(NamedTuple):
    """Result of running a file again.

    Parameters
    ----------
    trajectory : Trajectory
        The new run.
    same : bool
        Whether every bit of every array agrees.
    deviation : float
        The largest deviation of any array, over its largest value; inf where shapes differ.
    versions : dict
        The versions that differ: name -> (then, now).

    Examples
    --------
    >>> import dynsim
    >>> field = dynsim.reduced.OrbitField(dynsim.Problem(K=1, gamma=0.75, P=1e6))
    >>> traj = dynsim.runs.run("run.npz", field, "flow", t_end=100.0, keep=5)
    >>> again = dynsim.runs.rerun("run.npz")
    >>> again.same, again.deviation, again.versions
    (True, 0.0, {})
    """

    trajectory: Trajectory
    same: bool
    deviation: float
    versions: dict[str, tuple]


def rerun(path: Path, field: Field | None = None, progress: Progress | None = None) -> Rerun:
    """Run a file again, from the start, and compare.

    Parameters
    ----------
    path : str or path
        The file, of a finished run; it stays as it is.
    field : Field, optional
        Needed for one that holds code of your own.
    progress : callable, optional
        Called with (done, total) along the run.

    Returns
    -------
    Rerun
        The new run, and how it differs.

    Raises
    ------
    FileError
        If the file cannot be read, is unfinished, or does not hold its field.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=1, gamma=0.75, P=16)
    >>> part = dynsim.Partition.blocks(problem)
    >>> field = dynsim.reduced.EmpiricalField(part, dynsim.sample(problem, part, n=8, seed=0))
    >>> traj = dynsim.runs.run("run.npz", field, steps=10)
    >>> dynsim.runs.rerun("run.npz").same
    True
    """
    old, header, arrays = files.read(path)
    if not header.get("finished"):
        raise FileError(f"only a finished run can be compared, got {str(path)!r}, which is unfinished: resume it first")
    integrator, options = _options(header["meta"])
    try:
        new = getattr(reduced, integrator)(
            _field(path, header, arrays) if field is None else field, progress=progress, **options
        )
    except Diverged as error:
        new = error.trajectory
    pairs = [(getattr(old, name), getattr(new, name)) for name in files.ARRAYS]
    same = all(a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs)
    now = files.versions()
    versions = {name: (header["about"].get(name), now[name]) for name in now if header["about"].get(name) != now[name]}
    return Rerun(new, same, max(_deviation(a, b) for a, b in pairs), versions)


class _Writer:
    """The checkpoint that an integrator calls; writes the file when its time has come."""

    def __init__(self, path: Path, field: Field, every: float, seed: int | None, command: list[str] | None) -> None:
        self.path, self.every, self.seed, self.command = path, every, seed, command
        self.recipe, self.arrays = recipe.describe(field)
        self.state: State | None = None
        self.old_meta: dict | None = None
        self.kept, self.reached, self.began, self.due = 0, "its start", monotonic(), 0.0

    def go_on(self) -> State:
        """The State in the file, once sure that it is of this field."""
        traj, header, arrays = files.read(self.path)
        if "state" not in header:
            raise FileError(f"a checkpoint holds a state to go on from, {str(self.path)!r} holds none: run anew, without resume")
        mine = without_prefix(arrays, "field")
        if files.digest(mine, {"field": header["field"]}) != files.digest(self.arrays, {"field": files.plain(self.recipe)}):
            raise FileError(f"a run goes on from its own file, {str(self.path)!r} is of another problem or field: choose another")
        remove_leftovers(self.path)
        self.old_meta, step, kept = header["meta"], header["state"]["step"], header["state"]["kept"]
        columns: dict = {name: getattr(traj, name)[:kept] for name in files.ARRAYS}
        columns["terms"] = {name: values[:kept] for name, values in traj.terms.items()}
        meta = dict(traj.meta)
        if "events" in meta:  # those after the state will come again
            meta["events"] = {name: t if t in columns["t"] else None for name, t in meta["events"].items()}
        memory = tuple(arrays[f"state.{i}"].copy() for i in range(header["state"]["arrays"]))
        past = Trajectory(**columns, meta=meta) if kept else None
        return State(step, arrays["state.y"].copy(), memory, past)

    def __call__(self, state: State, record: Record) -> None:
        if self.old_meta is not None:
            self._check(self.old_meta, record.meta)
        self.state, self.kept = state, len(record.rows)
        if monotonic() >= self.due:
            self.write(record.trajectory() or record.nothing(), finished=False)

    def write(self, traj: Trajectory, finished: bool) -> None:
        """Put `traj` and the last state into the file."""
        began = monotonic()
        header: dict[str, Any] = {"seed": self.seed, "finished": finished}
        arrays: files.Arrays = {}
        if self.state is not None:
            step, y, memory, _ = self.state
            header["state"] = {"step": step, "kept": self.kept, "arrays": len(memory)}
            arrays = {"state.y": y, **{f"state.{i}": array for i, array in enumerate(memory)}}
        files.save(self.path, traj, header, arrays, {"command": self.command, "seconds": began - self.began})
        self.reached = f"step {self.state.step}" if self.state is not None else "its end"
        self.due = monotonic() + max(self.every, PATIENCE * (monotonic() - began) if self.every else 0.0)

    def _check(self, old: dict, meta: dict) -> None:
        """Refuse to go on with another integrator or other options than those in the file."""
        for name in [name for name in files.plain(meta) if name not in MAY_CHANGE]:
            then, now = old.get(name), files.plain(meta[name])
            if then != now:
                raise FileError(f"a run goes on as it began: {name} was {then}, got {now}: choose another file or {name}={then}")
        self.old_meta = None


def _options(meta: dict) -> tuple[str, dict]:
    """(integrator, its options) of a run that says so in its meta."""
    if meta.get("integrator") == "flow":
        return "flow", {**{name: meta.get(name) for name in ("t_end", "keep", "rtol", "until")}, "method": meta["solver"]}
    options = {name: meta.get(name) for name in ("eta", "steps", "keep", "until")}
    return "descend", {**options, "optimiser": optimisers.build(meta["optimiser"])}


def _field(path: Path, header: dict, arrays: Mapping[str, np.ndarray]) -> Field:
    if header.get("field") is None:
        raise FileError(f"{str(path)!r} does not hold its field (it was saved without, or holds code of its own): give field=")
    return recipe.build(header["field"], without_prefix(arrays, "field"))


def _deviation(a: np.ndarray, b: np.ndarray) -> float:
    if a.shape != b.shape:
        return float("inf")
    gap = np.abs(np.subtract(a, b, dtype=float))
    gap = gap[~(np.isnan(a) & np.isnan(b))]
    return float(gap.max() / max(np.nanmax(np.abs(a)), 1e-300)) if gap.size else 0.0

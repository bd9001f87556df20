"""One battery of checks for every field, and for one of your own.

==============  ====================================================================================================
check           what it holds the field to
==============  ====================================================================================================
gradient        dy/dt = -M dL/dy with the field's own M (``Field.mobility``): differences over four points, drawn directions
purity          evaluating changes neither the state nor the next answer, and ``out`` is what is returned
one pass        observe gives what velocity and attention give
shapes          correlations, attention and layout agree, axis by axis; attention adds up to one
descend, flow   both run; a flow of a field that draws images is refused
recipe          what a file holds makes a field of the same bits and the same description
threads         1, 2 and 3 threads: the same bits
second process  the same bits
resume          a run resumed from a file: the same bits
errors          values that are not allowed are refused by InputError, in one line
==============  ====================================================================================================
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dynsim import reduced, runs
from dynsim.errors import InputError
from dynsim.model.problem import Problem
from dynsim.reduced.field import Field
from dynsim.runs import recipe
from dynsim.validation import _second_process

STEP = 1e-2  # of differences over four points: their error is STEP^4 / 30 times the fifth derivative, 3e-10 for one of order one
GRADIENT = 1e-6  # of the sum of |dy/dt u|: the error above, and rounding of the loss, 1e-16 / (STEP |dy/dt u|)
DIRECTIONS = 4
NEARBY, DRAWS = 2.0**-46, 8  # of states that differ by some last bits: the loss itself changes by less than GRADIENT can tell
SUM = 1e-9  # by how much attention may miss one: closures take means over areas one by one
SMALL = Problem(K=2, gamma=0.5, P=16, kappa_c=0.6, kappa_s=0.4)  # what bad options are tried on
ETA, STEPS = 1e-3, 4


@dataclass(frozen=True)
class Check:
    """One check of a field.

    Parameters
    ----------
    name : str
        What is checked.
    passed : bool
        The verdict.
    found : str
        What was found, or why the check is skipped.
    skipped : bool
        Whether it does not apply.

    Examples
    --------
    >>> from dynsim import validation
    >>> validation.Check("gradient", True, "1e-9").passed
    True
    """

    name: str
    passed: bool
    found: str = ""
    skipped: bool = False


@dataclass(frozen=True, repr=False)
class FieldReport:
    """Result of ``check_field``: one Check each, and the verdict over all of them.

    Parameters
    ----------
    field : str
        Name of the field's class.
    checks : tuple of Check
        The checks.

    Examples
    --------
    >>> from dynsim import validation
    >>> report = validation.FieldReport("MyField", (validation.Check("gradient", True, "1e-9"),))
    >>> report.passed, report
    (True, FieldReport of MyField: PASS, 1 checks)
    """

    field: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(check.passed for check in self.checks)

    def to_dict(self) -> dict:
        """Return the report as plain data.

        Returns
        -------
        dict
            ``field``, ``passed`` and ``checks``.
        """
        return {"field": self.field, "passed": self.passed, "checks": [asdict(check) for check in self.checks]}

    def __repr__(self) -> str:
        failed = "".join(f"\n{check.name}: {check.found}" for check in self.checks if not check.passed)
        skipped = ", ".join(check.name for check in self.checks if check.skipped)
        ran = sum(not check.skipped for check in self.checks)
        verdict = "PASS" if self.passed else "FAIL"
        return f"FieldReport of {self.field}: {verdict}, {ran} checks{', skipped ' + skipped if skipped else ''}{failed}"


class _Skip(Exception):
    """A check that does not apply, and why."""


def check_field(field: Field, scale: float = 0.5, seed: int = 0) -> FieldReport:
    """Hold a field to what integrators, files and figures rely on.

    Parameters
    ----------
    field : Field
        A registered field or your own, small enough to be evaluated some hundred times.
    scale : float
        Size of the drawn correlations at which it is evaluated, in units of `field.scale()`.
    seed : int
        Of the drawn states and directions.

    Returns
    -------
    FieldReport
        A verdict for each check; one that does not apply is skipped, with the reason.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=2, gamma=0.5, P=16, kappa_c=0.6, kappa_s=0.4)
    >>> field = dynsim.reduced.PopulationField(problem, dynsim.Partition.random(problem))
    >>> dynsim.validation.check_field(field).passed
    True
    """
    rng = np.random.default_rng(seed)
    y = scale * np.reshape(field.scale(), field.start().shape) * rng.standard_normal(field.start().shape)
    checks: dict[str, Callable[[], str]] = {
        "gradient": lambda: _gradient(field, y, rng),
        "purity": lambda: _purity(field, y),
        "one pass": lambda: _one_pass(field, y),
        "shapes": lambda: _shapes(field, y),
        "descend": lambda: _descends(field),
        "flow": lambda: _flows(field),
        "recipe": lambda: _recipe(field, y),
        "threads": lambda: _threads(field, y),
        "second process": lambda: _elsewhere(field, y),
        "resume": lambda: _resumes(field),
        "errors": lambda: _errors(field),
    }
    return FieldReport(type(field).__name__, tuple(_judged(name, check) for name, check in checks.items()))


def _judged(name: str, check: Callable[[], str]) -> Check:
    """The verdict on a check: a function that returns what it found and raises AssertionError where that is wrong."""
    try:
        return Check(name, True, check())
    except _Skip as why:
        return Check(name, True, str(why), skipped=True)
    except Exception as error:  # whatever a field of somebody's own raises is a finding
        what = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
        return Check(name, False, " ".join(what.split())[:300])


def _wants(condition: Any, what: str) -> None:
    if not condition:
        raise AssertionError(what)


def _gradient(field: Field, y: np.ndarray, rng: np.random.Generator) -> str:
    """The loss changes along y + h M u by -<dy/dt, u> h, for drawn u: that is dy/dt = -M dL/dy for a symmetric M."""
    if isinstance(field, reduced.SumField):  # losses of terms are in different units: terms are checked, and that they add
        loss, dy = field.velocity(y.copy())
        parts = [(weight, *term.velocity(y.copy())) for weight, term in zip(field.weights, field.fields, strict=True)]
        apart = np.abs(dy - sum(weight * part for weight, _, part in parts)).max() / np.abs(dy).max()
        _wants(apart <= 1e-14 and abs(loss - sum(w * x for w, x, _ in parts)) <= 1e-14 * abs(loss), "terms do not add up")
        return "; ".join(_gradient(term, y, rng) for term in field.fields)
    if not field.conservative:
        raise _Skip("the gradient is stopped on purpose")
    dy = field.velocity(y.copy())[1].copy()
    size = np.reshape(field.scale(), y.shape)
    worst = 0.0
    for _ in range(DIRECTIONS):
        u = rng.standard_normal(y.shape) / size
        v = field.mobility(u)
        u = np.where(v == 0.0, 0.0, u)  # what is held, or does not occur
        v = field.mobility(u)
        _wants(np.any(v), "its mobility says that nothing moves")
        h = STEP / max(float(np.abs(v / size).max()), 1e-300)
        along, terms = float((dy * u).sum()), max(float(np.abs(dy * u).sum()), 1e-300)
        off = abs(along + _slope(field, y, v, h))
        if off > GRADIENT * terms:  # shorter differences for a loss that bends, less what rounding makes of one that rests
            rounding = 2.0 * _rounding(field, y)
            off = min(off - rounding / h, abs(along + _slope(field, y, v, h / 4)) - 4 * rounding / h)
        worst = max(worst, off / terms)
    _wants(worst <= GRADIENT, f"velocity is not minus the gradient of the loss: off by {worst:.2g}, allowed {GRADIENT:g}")
    return f"off by {worst:.1g}, allowed {GRADIENT:g}"


def _slope(field: Field, y: np.ndarray, v: np.ndarray, h: float) -> float:
    """Derivative of the loss along v, from four points."""
    near, far = (field.velocity(y + k * v)[0] - field.velocity(y - k * v)[0] for k in (h, 2 * h))
    return (8 * near - far) / (12 * h)


def _rounding(field: Field, y: np.ndarray) -> float:
    """By how much the loss differs between states that differ in their last bits; at least one bit of it."""
    rng = np.random.default_rng(0)
    size = NEARBY * np.reshape(field.scale(), y.shape)
    nearby = [field.velocity(y + size * rng.uniform(-1.0, 1.0, y.shape))[0] for _ in range(DRAWS)]
    return max(max(nearby) - min(nearby), 2.0**-52 * max(map(abs, nearby)))


def _purity(field: Field, y: np.ndarray) -> str:
    before, out = y.copy(), np.full(y.shape, np.nan)
    loss, dy = field.velocity(y)
    first = dy.copy()
    again, filled = field.velocity(y, out=out)
    _wants(np.array_equal(y, before), "velocity changes the state that it is given")
    _wants(filled is out and np.array_equal(out, first) and again == loss, "a second evaluation, into out, gives another answer")
    field.observe(y)
    field.attention(y)
    field.correlations(y)[0].fill(0.0)
    _wants(np.array_equal(y, before), "observe, attention or correlations change the state that they are given")
    return "the state is left alone"


def _one_pass(field: Field, y: np.ndarray) -> str:
    loss, dy = field.velocity(y)
    dy, seen, attention = dy.copy(), field.observe(y), field.attention(y)
    same = seen.loss == loss and np.array_equal(seen.velocity, dy) and np.array_equal(seen.attention, attention, equal_nan=True)
    _wants(same, "observe gives another loss, velocity or attention than velocity and attention do")
    return "observe is velocity and attention"


def _shapes(field: Field, y: np.ndarray) -> str:
    layout = field.layout
    (fp, pp), attention = field.correlations(y), field.attention(y)
    size: dict[str, int] = {}
    for name, array in (("fp", fp), ("pp", pp), ("attention", attention)):
        dims = layout.dims.get(name, ())
        _wants(len(dims) == array.ndim, f"layout names {len(dims)} axes of {name}, which has shape {array.shape}")
        for axis, length in zip(dims, array.shape, strict=True):
            _wants(size.setdefault(axis, length) == length, f"axis {axis} has {size[axis]} and {length} entries")
    for axis, labels in layout.coords.items():
        _wants(len(labels) == size.get(axis), f"axis {axis} has {len(labels)} labels for {size.get(axis)} entries")
    _wants(np.shape(field.scale()) == (field.start().size,), f"scale has shape {np.shape(field.scale())}, not one entry each")
    _wants(not np.any(field.start()), "a run starts from zero correlations")
    pairs = len(layout.query_type)
    if not pairs:
        return "axes agree; no areas"
    _wants(len(layout.is_global) == pairs, "query_type and is_global have different lengths")
    tables = layout.areas(fp, pp, attention)
    for name, roles in tables.items():
        for role, values in roles.items():
            _wants(np.shape(values) == (pairs,), f"areas of {name}, {role}, have shape {np.shape(values)}, not ({pairs},)")
    at = tables["attention"]
    for role, values in at.items():  # "masked" is what the others leave of one
        known = values[np.isfinite(values)]
        within = -SUM < known.min(initial=0.0) and known.max(initial=0.0) < 1 + SUM
        _wants(within, f"attention on areas of role {role} is not between zero and one")
    return f"axes agree; {pairs} pairs of query and cluster"


def _descends(field: Field) -> str:
    traj = reduced.descend(field, eta=ETA, steps=STEPS, keep=1)
    finite = all(np.isfinite(getattr(traj, name)).all() for name in ("loss", "fp", "pp"))
    _wants(finite and len(traj) == STEPS + 1, "a few steps of descent are not finite")
    held = field.describe().get("hold")
    _wants(held is None or not np.any(getattr(traj, held)), f"{held} is held and moves")
    rises = np.diff(traj.loss).max() - 1e-12 * abs(traj.loss[0])
    downhill = rises <= 0 or rises <= 2.0 * _rounding(field, field.start())
    _wants(downhill or not (field.deterministic and field.conservative), "small steps of descent go uphill")
    json.dumps(traj.meta)
    return f"loss {traj.loss[0]:.6g} -> {traj.loss[-1]:.6g}"


def _flows(field: Field) -> str:
    if not field.deterministic:
        try:
            reduced.flow(field, t_end=1.0)
        except InputError:
            return "refused: other images at every step"
        raise AssertionError("a flow of a field that draws images must be refused")
    traj = reduced.flow(field, t_end=1.0, keep=3)
    _wants(np.isfinite(traj.loss).all(), "a flow is not finite")
    _wants(set(field.events) == set(field.crossings(field.start())[1]), "crossings are not those of the events of the field")
    return f"{traj.meta['evaluations']} evaluations"


def _made_again(field: Field) -> tuple[dict, dict[str, np.ndarray]]:
    plain, arrays = recipe.describe(field)
    if plain is None:
        raise _Skip("no recipe: it holds code of yours, or is not registered")
    return json.loads(json.dumps(plain)), arrays


def _recipe(field: Field, y: np.ndarray) -> str:
    plain, arrays = _made_again(field)
    again = recipe.build(plain, arrays)
    same = runs.files.plain(again.describe()) == runs.files.plain(field.describe())
    _wants(same, "the recipe makes a field of another description")
    _wants(_digest(again, y) == _digest(field, y), "the recipe makes a field of other bits")
    _wants(runs.files.plain(recipe.describe(again)[0]) == plain, "the recipe of the field that it makes is another one")
    layout = recipe.layout(plain, arrays)
    _wants(layout is not None and dict(layout.dims) == dict(field.layout.dims), "the recipe makes another layout")
    return "the same description and bits"


def _digest(field: Field, y: np.ndarray) -> str:
    """SHA-256 over loss, velocity and attention, at two steps."""
    content = hashlib.sha256()
    for step in (0, 5):
        seen = field.observe(y, step)
        for part in (np.float64(seen.loss), seen.velocity, np.ascontiguousarray(seen.attention)):
            content.update(part.tobytes())
    return content.hexdigest()


@contextmanager
def _threads_of_environment(count: int) -> Iterator[None]:
    before = os.environ.get("NUMBA_NUM_THREADS")
    os.environ["NUMBA_NUM_THREADS"] = str(count)
    try:
        yield
    finally:
        if before is None:
            del os.environ["NUMBA_NUM_THREADS"]
        else:
            os.environ["NUMBA_NUM_THREADS"] = before


def _threads(field: Field, y: np.ndarray) -> str:
    plain, arrays = _made_again(field)
    found = []
    for count in (1, 2, 3):
        with _threads_of_environment(count):
            found.append(_digest(recipe.build(plain, arrays), y))
    _wants(len(set(found)) == 1, "bits depend on the number of threads")
    return "1, 2, 3 threads: the same bits"


def _elsewhere(field: Field, y: np.ndarray) -> str:
    _made_again(field)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "field.npz"
        runs.save(path, reduced.descend(field, eta=ETA, steps=1), arrays={"y": y})
        found = _second_process.digest(path, field)
    _wants(found == _digest(field, y), f"a second process gives other bits: {found}")
    return "the same bits"


def _resumes(field: Field) -> str:
    whole = reduced.descend(field, eta=ETA, steps=2 * STEPS, keep=1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.npz"
        runs.run(path, field, eta=ETA, steps=STEPS, keep=1)
        again = runs.resume(path, more=STEPS, field=field)
    for name in ("t", "loss", "fp", "pp", "attention"):
        same = getattr(whole, name).tobytes() == getattr(again, name).tobytes()
        _wants(same, f"going on from a file gives other bits of {name}")
    _wants({n: v.tobytes() for n, v in whole.terms.items()} == {n: v.tobytes() for n, v in again.terms.items()}, "other terms")
    return "the same bits"


def _errors(field: Field) -> str:
    if not type(field).offered():
        raise _Skip("not built from options")
    if any(option.selects for option in type(field).options):
        raise _Skip("its options name a file")
    tried = 0
    for option in type(field).options:
        bad = "nonsense" if option.choices else None if option.least is None else option.type(option.least - 1)
        if bad is None:
            continue
        tried += 1
        try:
            type(field).from_options(SMALL, 0, **{option.name: bad})
        except InputError as error:
            _wants("\n" not in str(error) and str(bad) in str(error), f"the error for {option.name}={bad!r} says {error}")
        else:
            raise AssertionError(f"{option.name}={bad!r} is not allowed and not refused")
    return f"{tried} bad values refused"

"""What a field is: a state, the correlations in whatever shape, with its loss, its velocity, and all that others ask of it.

A field is one file. Integrators, result files, summaries, phases, figures, the command line and sweeps know this class only; to
add a field, write its file, add a line to FIELDS in reduced/__init__.py, and pass validation.check_field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from dynsim.errors import InputError, NoRecipe
from dynsim.model.areas import Layout, local_pairs

if TYPE_CHECKING:
    from dynsim.model.embedding import Embedding
    from dynsim.model.problem import Problem

Recipe = tuple[dict, dict[str, np.ndarray]]  # plain data, arrays by name

EVENTS = {
    "escape": "own attention passes one half",
    "half": "the loss has come half way from its start to its floor",
    "excess": "the loss is within 1 % of its start above its floor",
}


@dataclass(frozen=True)
class Option:
    """One choice about a field, as data: the command line, sweeps and the docs read it.

    name: of the keyword argument of `from_options`, with - for _ that of the command line. type: int, float, str or bool.
    default: None where it depends on other choices; `help` then says how. choices: allowed values, empty for any. least: the
    smallest number allowed."""

    name: str
    type: type
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    least: float | None = None


class Observation(NamedTuple):
    """What one evaluation gives of a state: loss per masked patch, dy/dt, attention in its public shape, and the loss of each
    term of a sum by name (unweighted; empty for a field that is no sum)."""

    loss: float
    velocity: np.ndarray
    attention: np.ndarray
    terms: Mapping[str, float] = {}


class Field:
    """A state y, the correlations in whatever shape, with its loss and its velocity dy/dt = -dL/dy.

    A field of your own derives from this class, sets `layout` and defines `start`, `velocity`, `correlations`, `attention` and
    `describe`; for the command line and sweeps also `options` and `from_options`, for result files `recipe` and `from_recipe`.

    Attributes
    ----------
    method : str
        Its name in FIELDS, in files, and after --method.
    objective : str
        What is minimised: "reconstruction", or another.
    options : tuple of Option
        What a person may choose.
    integrator : str
        "descend" or "flow": what the command line and sweeps run it with unless told otherwise.
    seeded : bool
        Whether `from_options` draws anything from the seed.
    deterministic : bool
        Whether the velocity is the same at every evaluation: what gradient flow needs.
    limit : float
        Largest correlation that the softmax takes.
    floor : float or None
        Loss per masked patch that no attention can lower; None where it is not known.
    embedding : Embedding or None
        The vectors behind the correlations; None for orthonormal ones.
    layout : Layout
        Axes of the public arrays, and where each query finds its areas.
    events : dict
        What a gradient flow looks for: name -> what happens there, in words.
    """

    method: ClassVar[str] = ""
    objective: ClassVar[str] = "reconstruction"
    options: ClassVar[tuple[Option, ...]] = ()
    integrator: ClassVar[str] = "descend"
    seeded: ClassVar[bool] = True
    events: ClassVar[Mapping[str, str]] = EVENTS
    deterministic: bool = True
    limit: float = 300.0
    floor: float | None = None
    embedding: Embedding | None = None
    layout: Layout
    _first_loss: float | None = None

    # ---- what an integrator needs

    def start(self) -> np.ndarray:
        """The state at Q = 0: all correlations zero."""
        raise NotImplementedError

    def velocity(self, y: np.ndarray, step: int = 0, out: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """(loss per masked patch, dy/dt) at state y; dy is written to `out` where one is given."""
        raise NotImplementedError

    def correlations(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """FP and PP correlations of state y, in public shapes, copied."""
        raise NotImplementedError

    def attention(self, y: np.ndarray) -> np.ndarray:
        """Expected area attention of a query, in its public shape."""
        raise NotImplementedError

    def observe(self, y: np.ndarray, step: int = 0, out: np.ndarray | None = None) -> Observation:
        """All that is saved of a state, in one pass where the field can."""
        loss, dy = self.velocity(y, step, out)
        return Observation(loss, dy, self.attention(y))

    def scale(self) -> np.ndarray:
        """Natural size of each entry of the state, flat: what the absolute tolerance of a flow is relative to."""
        return np.ones(self.start().size)

    def mobility(self, u: np.ndarray) -> np.ndarray:
        """M u, shaped as the state, with M the symmetric map in dy/dt = -M dL/dy, L the loss that is told: its unit against that
        of the loss descended on, how many correlations an entry stands for, and inner products of an embedding."""
        return u

    def describe(self) -> dict:
        """What this field is, as plain data; goes into Trajectory.meta."""
        return {"method": self.method}

    # ---- events

    def crossings(self, y: np.ndarray) -> tuple[float, dict[str, float]]:
        """(loss, each of `events` as a number that turns positive where it happens) at state y."""
        seen = self.observe(y)
        own = self.layout.areas(attention=seen.attention)["attention"]["own"][local_pairs(self.layout)]
        return seen.loss, self.standard_crossings(seen.loss, float(np.nanmean(own)))

    def standard_crossings(self, loss: float, own: float) -> dict[str, float]:
        """The crossings of EVENTS, from the loss and the mean attention on the own area."""
        if self._first_loss is None:
            self._first_loss = self.velocity(self.start())[0]
        floor = self.floor or 0.0
        left = (loss - floor) / (self._first_loss - floor)
        return {"escape": own - 0.5, "half": 0.5 - left, "excess": 0.01 - left}

    # ---- how it is built and stored

    @classmethod
    def from_options(cls, problem: Problem, seed: int = 0, **options: Any) -> Field:
        """The field of a problem, built from the values of `options`; areas and images are drawn from `seed`."""
        raise InputError(f"{cls.__name__} is built in Python only: see its documentation")

    @classmethod
    def variants(cls, problem: Problem, **options: Any) -> list[dict]:
        """Further options of the runs that together show the whole problem: one run for most fields."""
        return [{}]

    @classmethod
    def offered(cls) -> bool:
        """Whether `from_options` builds it: what the command line and sweeps offer."""
        return cls.from_options.__func__ is not Field.from_options.__func__  # type: ignore[attr-defined]

    @classmethod
    def predictions(cls, problem: Problem, query: str, **options: Any) -> dict[str, float | None]:
        """What theory says of a query type, by name: numbers to put beside what is measured."""
        from dynsim import theory

        return theory.predictions(problem, query)

    @classmethod
    def run_options(cls, problem: Problem) -> dict:
        """Options of the integrator for a run of the whole story."""
        return {"eta": 1.0, "steps": 500}

    def horizon(self) -> float:
        """A time by which, after theory, every event has passed: where a flow in a sweep ends. Raises InputError."""
        raise InputError(f"{self.method} does not know when its events have passed: give t_end")

    def recipe(self) -> Recipe:
        """Plain data and arrays from which `from_recipe` makes the same field. Raises NoRecipe where it holds code of yours."""
        raise NoRecipe(f"{type(self).__name__} says no recipe: pass the field itself")

    @classmethod
    def from_recipe(cls, plain: dict, arrays: Mapping[str, np.ndarray]) -> Field:
        """The field of a recipe."""
        raise NoRecipe(f"{cls.__name__} takes no recipe: pass the field itself")

    @classmethod
    def layout_of(cls, plain: dict, arrays: Mapping[str, np.ndarray]) -> Layout:
        """The layout of the field of a recipe."""
        return cls.from_recipe(plain, arrays).layout

    # ---- sums

    def on_state(self, shape: tuple[int, ...]) -> Field:
        """The same field on a state of the given shape. Raises InputError where there is none."""
        if self.start().shape != tuple(shape):
            raise InputError(
                f"fields add on one state, got one of shape {self.start().shape} and one of {tuple(shape)}: "
                f"take fields of one partition (images) and one kind"
            )
        return self


def check_nodes(nodes: int | None) -> None:
    """Raise InputError unless this is a number of quadrature nodes, or None."""
    if nodes is not None and (isinstance(nodes, bool) or not isinstance(nodes, (int, np.integer)) or nodes < 1):
        raise InputError(f"nodes must be a whole number of at least 1, got {nodes!r}: leave it out for the default")


def prefixed(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Arrays with `prefix.` before each name."""
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def without_prefix(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Those arrays whose name begins with `prefix.`, without it."""
    return {name.removeprefix(prefix + "."): array for name, array in arrays.items() if name.startswith(prefix + ".")}

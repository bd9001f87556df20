"""Field: a state, the correlations in whatever shape, with its loss, its velocity, and all that others ask of it.

A field is one file. Integrators, result files, summaries, phases, figures, the command line and sweeps know this class only; to
add a field, write its file, add a line to FIELDS in reduced/__init__.py, and pass validation.check_field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import inf, isfinite, nan, sqrt
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from dynsim.errors import InputError, NoRecipe
from dynsim.model.areas import Layout, local_pairs

if TYPE_CHECKING:
    from dynsim.model.embedding import Embedding
    from dynsim.model.problem import Problem

Recipe = tuple[dict, dict[str, np.ndarray]]  # plain data, arrays by name

MOST_STEPS = 20_000  # of a descent that ends by its loss
STEPS = 2_000  # of one with a safe step size, where the floor of the loss is not known
MOST_NODES = 1000  # of a quadrature; a rule of n nodes takes n^3 operations
EVENTS = {
    "escape": "own attention passes one half",
    "half": "the loss has come half way from its start to its floor",
    "excess": "the loss is within 1 % of its start above its floor",
}
LOSS_EVENTS = {"half": 0.5, "excess": 0.01}  # of them, those that need a floor: share of the excess that is left by then
ATTENTION_EVENTS = {
    "escape": "own attention of local queries passes one half",
    "collapse": "attention of local queries on the global area passes one half",
}


@dataclass(frozen=True)
class Option:
    """One choice about a field, as data that the command line, sweeps and the docs read.

    Parameters
    ----------
    name : str
        Keyword argument of ``from_options``; with - for _ that of the command line.
    type : type
        One of int, float, str, bool.
    default : object
        Value where nothing is chosen; None where it depends on other choices (``help`` then says how).
    help : str
        One line.
    choices : tuple of str
        Allowed values; empty for any.
    least : float, optional
        The smallest number allowed.
    selects : bool
        Whether giving it on the command line chooses the field, where no method is given.
    loader : callable, optional
        Reads what the value names, before the field is built: called with it and with ``progress``.

    Examples
    --------
    >>> import dynsim
    >>> [option.name for option in dynsim.reduced.OrbitField.options]
    ['query', 'masks', 'intersections', 'nodes']
    """

    name: str
    type: type
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    selects: bool = False
    loader: Callable[..., Any] | None = None

    def read(self, value: Any) -> Any:
        """Return a value, or the text of one, in the type of this option.

        Parameters
        ----------
        value : object
            A value or its text; "yes" and "no" for booleans. None, for what is left out, stays None.

        Returns
        -------
        object
            The value.

        Raises
        ------
        InputError
            If it is none.

        Examples
        --------
        >>> from dynsim.reduced import Option
        >>> Option("n", int, 256, "images", least=2).read("1e3"), Option("fresh", bool, False, "new ones").read("yes")
        (1000, True)
        """
        if value is None:
            return None
        if self.type is bool:
            truth = {"yes": True, "true": True, "no": False, "false": False}
            return self._checked(truth.get(str(value).lower()), value, "yes or no")
        if self.type is str:
            allowed = isinstance(value, str) and (not self.choices or value in self.choices)
            return self._checked(value if allowed else None, value, ", ".join(self.choices) or "a text")
        least = -inf if self.least is None else self.least
        try:
            number = nan if isinstance(value, (bool, np.bool_)) else float(value)
        except (TypeError, ValueError):
            number = nan
        from_least = "" if self.least is None else f" of at least {self.least:g}"
        if self.type is float:
            return self._checked(number if isfinite(number) and number >= least else None, value, f"a number{from_least}")
        whole = isfinite(number) and number == int(number) and number >= least
        return self._checked(int(number) if whole else None, value, f"a whole number{from_least}")

    def _checked(self, found: Any, value: Any, rule: str) -> Any:
        if found is None:
            raise InputError(f"{self.name} must be {rule}, got {value!r}: mend it, or leave it out for the default")
        return found


class Observation(NamedTuple):
    """Result of one evaluation of a field.

    Parameters
    ----------
    loss : float
        Loss per masked patch.
    velocity : ndarray
        The velocity dy/dt, in the shape of the state.
    attention : ndarray
        Expected area attention, in its public shape.
    terms : mapping of str to float
        Loss of each term of a sum by name, not weighted; empty for a field that is no sum.

    Examples
    --------
    >>> import dynsim
    >>> field = dynsim.reduced.OrbitField(dynsim.Problem(K=1, gamma=0.75, P=1e6), query="L")
    >>> seen = field.observe(field.start())
    >>> round(seen.loss, 3), seen.attention.shape, seen.terms
    (0.509, (1, 3), {})
    """

    loss: float
    velocity: np.ndarray
    attention: np.ndarray
    terms: Mapping[str, float] = {}


class Field:
    """Base of the fields: a state y, the correlations, with its loss and its velocity dy/dt = -dL/dy.

    A field of your own derives from this class, sets ``layout`` and defines ``start``, ``velocity``, ``correlations``,
    ``attention`` and ``describe``; for the command line and sweeps also ``options`` and ``from_options``, for result files
    ``recipe`` and ``from_recipe``.

    Attributes
    ----------
    method : str
        Its name in FIELDS, in files, and after --method.
    objective : str
        What is minimised: "reconstruction", or another.
    options : tuple of Option
        What a person may choose.
    integrator : str
        "descend" or "flow": what the command line and sweeps run it with by default.
    seeded : bool
        Whether ``from_options`` draws anything from the seed.
    deterministic : bool
        Whether the velocity is the same at every evaluation: what gradient flow needs.
    conservative : bool
        Whether the velocity is minus the gradient of the loss (not where a gradient is stopped on purpose, or where a sum reports
        losses of different units).
    limit : float
        Largest correlation that the softmax takes.
    floor : float or None
        Loss per masked patch that no attention can lower; None where it is not known.
    embedding : Embedding or None
        The vectors behind the correlations; None for orthonormal ones.
    images : Images or None
        Pictures of a field that runs on any pictures; None where images are made of areas.
    layout : Layout
        Axes of the public arrays, and where each query finds its areas.
    events : dict
        What a gradient flow looks for: name -> what happens there, in words.
    stiff : bool
        Whether a flow slides along a balance, for which the field has a ``slide_rate``, a ``jacobian`` and ``slides_seen``.

    Notes
    -----
    A field keeps memory from one evaluation to the next, and may use several threads itself: evaluate it from one thread at a
    time. Copies and pickled fields are independent of each other.

    Examples
    --------
    A quadratic well around FP = 1, on a partition:

    >>> import numpy as np
    >>> import dynsim
    >>> from dynsim.model.areas import PartitionLayout
    >>> class Well(dynsim.reduced.Field):
    ...     method = "well"
    ...     floor = 0.0
    ...     def __init__(self, part):
    ...         self.part, self.layout = part, PartitionLayout(part)
    ...     def start(self):
    ...         return np.zeros((self.part.F + self.part.P, self.part.P))
    ...     def velocity(self, y, step=0, out=None):
    ...         dy = np.empty_like(y) if out is None else out
    ...         dy[:] = 0.0
    ...         dy[: self.part.F] = 1 - y[: self.part.F]
    ...         return 0.5 * float((dy**2).sum()), dy
    ...     def correlations(self, y):
    ...         return y[: self.part.F].T.copy(), y[self.part.F :].T.copy()
    ...     def attention(self, y):
    ...         return np.full((self.part.P, self.part.F), np.nan)
    >>> run = dynsim.reduced.descend(Well(dynsim.Partition([[0, 0, 1, 1]])), eta=0.1, steps=100)
    >>> round(float(run.fp[-1].mean()), 4)
    1.0
    """

    method: ClassVar[str] = ""
    objective: ClassVar[str] = "reconstruction"
    options: ClassVar[tuple[Option, ...]] = ()
    integrator: ClassVar[str] = "descend"
    seeded: ClassVar[bool] = True
    events: ClassVar[Mapping[str, str]] = EVENTS
    stiff: bool = False
    deterministic: bool = True
    conservative: bool = True
    limit: float = 300.0
    floor: float | None = None
    embedding: Embedding | None = None
    images: Any = None  # Images
    layout: Layout
    _first_loss: float | None = None

    # ---- what an integrator needs

    def start(self) -> np.ndarray:
        """Return the state at Q = 0: all correlations zero.

        Returns
        -------
        ndarray
            In the field's own shape.
        """
        raise NotImplementedError

    def velocity(self, y: np.ndarray, step: int = 0, out: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """Return the loss and its negative gradient.

        Parameters
        ----------
        y : ndarray
            State.
        step : int
            Number of the step, for fields on other images at every step.
        out : ndarray, optional
            Array for the velocity.

        Returns
        -------
        loss : float
            Loss per masked patch.
        velocity : ndarray
            The velocity dy/dt, in the shape of y.
        """
        raise NotImplementedError

    def correlations(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the correlations of a state, copied.

        Parameters
        ----------
        y : ndarray
            State.

        Returns
        -------
        fp : ndarray
            FP correlations, in their public shape.
        pp : ndarray
            PP correlations, in their public shape.
        """
        raise NotImplementedError

    def attention(self, y: np.ndarray) -> np.ndarray:
        """Return the expected area attention of a query.

        Parameters
        ----------
        y : ndarray
            State.

        Returns
        -------
        ndarray
            In its public shape.
        """
        raise NotImplementedError

    def observe(self, y: np.ndarray, step: int = 0, out: np.ndarray | None = None) -> Observation:
        """Return all that is saved of a state, in one pass where the field can.

        Parameters
        ----------
        y : ndarray
            State.
        step : int
            Number of the step.
        out : ndarray, optional
            Array for the velocity.

        Returns
        -------
        Observation
            Loss, velocity, attention, and the losses of the terms of a sum.
        """
        loss, dy = self.velocity(y, step, out)
        return Observation(loss, dy, self.attention(y))

    def scale(self) -> np.ndarray:
        """Return the natural size of each entry of the state, for the absolute tolerance of a flow.

        Returns
        -------
        ndarray
            As many numbers as the state has, flat.
        """
        return np.ones(self.start().size)

    def speed(self, v: np.ndarray) -> float:
        """Return how fast the state moves, for the clock of a flow.

        Parameters
        ----------
        v : ndarray
            Velocity of the last evaluation.

        Returns
        -------
        float
            Its Euclidean norm, averaged (rms) over the queries of a 2-D state.
        """
        from dynsim.reduced.kernels.quadrature import dot

        flat = np.ascontiguousarray(v, dtype=float).reshape(-1)
        return sqrt(dot(flat, flat) / (v.shape[-1] if v.ndim == 2 else 1))

    def slides_seen(self, before: np.ndarray | None = None) -> np.ndarray:
        """Return which pairs of entries of a field that is ``stiff`` slide up together, what one takes from the other in balance.

        Parameters
        ----------
        before : ndarray of bool, optional
            Which of them did so before: they do until they clearly do not.

        Returns
        -------
        ndarray of bool
            For each pair that may, at the state that was evaluated last.
        """
        raise NotImplementedError

    def to_slide(self, y: np.ndarray, sliding: np.ndarray) -> np.ndarray:
        """Return the state with the slide of each pair in place of one of its entries, of a field that is ``stiff``.

        Parameters
        ----------
        y : ndarray
            State.
        sliding : ndarray of bool
            As ``slides_seen`` returns it.

        Returns
        -------
        ndarray of shape (n,)
            The state in coordinates in which slow motion is one of them.
        """
        raise NotImplementedError

    def from_slide(self, u: np.ndarray, sliding: np.ndarray) -> np.ndarray:
        """Return the state of given coordinates: the inverse of ``to_slide``.

        Parameters
        ----------
        u : ndarray of shape (n,)
            Coordinates.
        sliding : ndarray of bool
            As ``slides_seen`` returns it.

        Returns
        -------
        ndarray
            State.
        """
        raise NotImplementedError

    def slide_rate(
        self,
        Y: np.ndarray,
        sliding: np.ndarray,
        t0: float,
        out: np.ndarray,
        paces: np.ndarray,
        solver: tuple | None = None,
        watch: np.ndarray | None = None,
    ) -> tuple[int, int]:
        """Write how fast the coordinates of a field that is ``stiff`` move on the clock of a flow, as kernels/balance.py has it.

        Their velocity comes without cancellation in that of a slide. Correlations beyond ``limit`` count as that: a solver tries
        more than it accepts.

        Parameters
        ----------
        Y : ndarray of shape (n + 1,)
            Coordinates, and tau = log(1 + t / t0).
        sliding : ndarray of bool
            As ``slides_seen`` returns it.
        t0 : float
            Unit of time of tau.
        out : ndarray of shape (n + 1,)
            Rates of the coordinates and of tau; written.
        paces : ndarray of shape (n + 1,)
            What their velocities, and the one of logarithmic time, are multiplied with; written.
        solver : tuple, optional
            As kernels.multistep.advance takes it: to go on for as long as it asks for rates at Y, which it changes.
        watch : ndarray of shape (3,), optional
            Where to end its steps: at this tau; after so many steps; where other events have happened than in this number, which
            has a bit for each (kept up to date); besides, where other pairs slide or ``limit`` is passed.

        Returns
        -------
        asked : int
            What else the solver asks for, or how its step ended.
        evaluations : int
            How often rates were written.
        """
        raise NotImplementedError

    def jacobian(self, y: np.ndarray, sliding: np.ndarray, pace: float) -> np.ndarray:
        """Return the derivative of the velocity of the coordinates of a field that is ``stiff``.

        Parameters
        ----------
        y : ndarray
            State.
        sliding : ndarray of bool
            As ``slides_seen`` returns it.
        pace : float
            Time per unit of the clock of a flow.

        Returns
        -------
        ndarray of shape (n, n)
            A row for each entry of the velocity; a solver bears it if slow parts are left out.
        """
        raise NotImplementedError

    def mobility(self, u: np.ndarray) -> np.ndarray:
        """Apply the symmetric map M of dy/dt = -M dL/dy, with L the loss per masked patch.

        Parameters
        ----------
        u : ndarray
            A vector in the shape of the state.

        Returns
        -------
        ndarray
            M u. M holds the unit of this loss against that of the loss descended on, how many correlations an entry stands for,
            and inner products of an embedding.
        """
        return u

    def describe(self) -> dict:
        """Return what this field is, for ``Trajectory.meta``.

        Returns
        -------
        dict
            Plain data, with "method".
        """
        return {"method": self.method}

    # ---- events

    def crossings(self, y: np.ndarray) -> tuple[float, dict[str, float]]:
        """Return the loss, and each event as a number that turns positive where it happens.

        Parameters
        ----------
        y : ndarray
            State.

        Returns
        -------
        loss : float
            Loss per masked patch.
        crossings : dict
            A number for each name in ``events``.
        """
        seen = self.observe(y)
        return seen.loss, self.event_values(seen.loss, seen.attention, self._loss_at_start())

    def crossings_seen(self) -> tuple[float, dict[str, float]]:
        """Return the ``crossings`` of the state that was evaluated last, of a field that is ``stiff``.

        Returns
        -------
        loss : float
            Loss per masked patch.
        crossings : dict
            A number for each name in ``events``.
        """
        raise NotImplementedError

    def event_values(self, loss: float, attention: np.ndarray, first_loss: float) -> dict[str, float]:
        """Return each event as a number that turns positive where it happens, from what is saved of a state.

        A field whose events are not those of EVENTS and ATTENTION_EVENTS, alone or followed by a query type, defines it itself.

        Parameters
        ----------
        loss : float
            Loss per masked patch.
        attention : ndarray
            Expected area attention, in its public shape.
        first_loss : float
            Loss at zero correlations.

        Returns
        -------
        dict
            A number for each name in ``events``; NaN where nothing is known of it.
        """
        found, of_loss = {}, loss_crossings(loss, first_loss, self.floor or 0.0)
        by_role = self.layout.areas(attention=attention)["attention"]
        for name in self.events:
            what, _, query = name.partition(" ")
            if what in of_loss:
                found[name] = of_loss[what]
                continue
            values = by_role["own" if what == "escape" else "global"][self._pairs_of(query)]
            values = values[np.isfinite(values)]
            found[name] = float(values.mean()) - 0.5 if values.size else nan
        return found

    def _pairs_of(self, query: str) -> np.ndarray:
        """The pairs of a query type (of all: "") and a cluster in which it is local, or all of its pairs where it never is."""
        if not query:
            return local_pairs(self.layout)
        pairs = np.asarray(self.layout.query_type) == query
        local = pairs & ~np.asarray(self.layout.is_global)
        return local if local.any() else pairs

    def standard_crossings(self, loss: float, own: float) -> dict[str, float]:
        """Return the crossings of EVENTS.

        Parameters
        ----------
        loss : float
            Loss per masked patch.
        own : float
            Mean attention on the own area.

        Returns
        -------
        dict
            A number for each name in EVENTS.
        """
        return {"escape": own - 0.5, **loss_crossings(loss, self._loss_at_start(), self.floor or 0.0)}

    def _loss_at_start(self) -> float:
        if self._first_loss is None:
            self._first_loss = self.velocity(self.start())[0]
        return self._first_loss

    # ---- how it is built and stored

    @classmethod
    def from_options(cls, problem: Problem, seed: int = 0, **options: Any) -> Field:
        """Build the field of a problem from the values of ``options``.

        Parameters
        ----------
        problem : Problem
            What is simulated.
        seed : int
            Seed of areas and images.
        **options : object
            Values by name of the option.

        Returns
        -------
        Field
            The field.

        Raises
        ------
        InputError
            If a value breaks a rule, or the field is built in Python only.
        """
        raise InputError(f"{cls.__name__} is built in Python only: see its documentation")

    @classmethod
    def variants(cls, problem: Problem, **options: Any) -> list[dict]:
        """Return further options of the runs that together show the whole problem.

        Parameters
        ----------
        problem : Problem
            What is simulated.
        **options : object
            Values that are chosen already.

        Returns
        -------
        list of dict
            One dict per run; one empty dict for most fields.
        """
        return [{}]

    @classmethod
    def offered(cls) -> bool:
        """Return whether the command line and sweeps can build it.

        Returns
        -------
        bool
            Whether ``from_options`` is defined.
        """
        return cls.from_options.__func__ is not Field.from_options.__func__  # type: ignore[attr-defined]

    @classmethod
    def predictions(cls, problem: Problem, query: str, /, closed: bool = True, **options: Any) -> dict[str, float | None]:
        """Return what theory predicts for a query type, to put beside what is measured.

        Parameters
        ----------
        problem : Problem
            What is simulated.
        query : str
            Query type.
        closed : bool
            Whether closed forms at this P, which take longer than the limit of large P, are among them.
        **options : object
            Values of the field's options.

        Returns
        -------
        dict
            Numbers by name, that of what is measured with "_theory" or "_closed" behind; None where theory has none.
        """
        from dynsim import theory

        return theory.predictions(problem, query, closed)

    @classmethod
    def thresholds(cls, problem: Problem, **options: Any) -> dict[str, float | None]:
        """Return what theory predicts for a problem as a whole, all query types together.

        Parameters
        ----------
        problem : Problem
            What is simulated.
        **options : object
            Values of the field's options.

        Returns
        -------
        dict
            Numbers by name; None where theory has none. Empty for most fields.
        """
        return {}

    def curvature(self) -> float | None:
        """Return an upper bound of the curvature of the loss that is descended on, along any direction of Q, at any state.

        Returns
        -------
        float or None
            None where none is known. Plain descent with eta up to 2 / curvature never raises a fixed loss, and with eta = 1 /
            curvature every step lowers it by at least eta / 2 times the squared gradient.
        """
        return None

    @classmethod
    def plain_options(cls, problem: Problem) -> dict:
        """Return options of ``descend`` for a run whose step size or number of steps is chosen by hand.

        Parameters
        ----------
        problem : Problem
            What is simulated.

        Returns
        -------
        dict
            "eta" and "steps".
        """
        return {"eta": 1.0, "steps": 500}

    def run_options(self, problem: Problem) -> dict:
        """Return options of the integrator for a run through all phases.

        Parameters
        ----------
        problem : Problem
            What is simulated.

        Returns
        -------
        dict
            Keyword arguments of ``descend`` or ``flow``. Where ``curvature`` is known, a descent with eta = 1 / curvature, and,
            where the floor is, to the event "excess".
        """
        bound = self.curvature()
        if bound is None:
            return self.plain_options(problem)
        safe = {"eta": rounded_down(1 / bound)}
        return {**safe, "steps": STEPS} if self.floor is None else {**safe, "steps": MOST_STEPS, "until": "excess"}

    def horizon(self) -> float:
        """Return a time by which, after theory, every event has passed.

        Returns
        -------
        float
            Where a flow in a sweep ends.

        Raises
        ------
        InputError
            If the field does not know one.
        """
        raise InputError(f"{self.method} does not know when its events have passed: give t_end")

    def recipe(self) -> Recipe:
        """Return plain data and arrays from which ``from_recipe`` makes the same field.

        Returns
        -------
        plain : dict
            With "method".
        arrays : dict of str to ndarray
            Arrays by name.

        Raises
        ------
        NoRecipe
            If the field holds code of the user's own.
        """
        raise NoRecipe(f"{type(self).__name__} says no recipe: pass the field itself")

    @classmethod
    def from_recipe(cls, plain: dict, arrays: Mapping[str, np.ndarray]) -> Field:
        """Build the field of a recipe.

        Parameters
        ----------
        plain : dict
            As from ``recipe``.
        arrays : mapping of str to ndarray
            As from ``recipe``.

        Returns
        -------
        Field
            The same field, with the same bits.
        """
        raise NoRecipe(f"{cls.__name__} takes no recipe: pass the field itself")

    @classmethod
    def layout_of(cls, plain: dict, arrays: Mapping[str, np.ndarray]) -> Layout:
        """Return the layout of the field of a recipe, without building the field where possible.

        Parameters
        ----------
        plain : dict
            As from ``recipe``.
        arrays : mapping of str to ndarray
            As from ``recipe``.

        Returns
        -------
        Layout
            The layout.
        """
        return cls.from_recipe(plain, arrays).layout

    def population(self, problem: Problem) -> Field | None:
        """Return the field of the law that given images were drawn from: what a run generalises to is its loss.

        Parameters
        ----------
        problem : Problem
            The law.

        Returns
        -------
        Field or None
            A field with ``state``; None where images are not given, or no closed one is known.
        """
        return None

    # ---- sums

    def on_state(self, shape: tuple[int, ...]) -> Field:
        """Return the same field on a state of another shape, for sums of fields.

        Parameters
        ----------
        shape : tuple of int
            Shape of the state.

        Returns
        -------
        Field
            This field where the shape is its own.

        Raises
        ------
        InputError
            If the field cannot be written on such a state.
        """
        if self.start().shape != tuple(shape):
            raise InputError(
                f"fields add on one state, got one of shape {self.start().shape} and one of {tuple(shape)}: "
                f"take fields of one partition (images) and one kind"
            )
        return self


def loss_crossings(loss: float, first_loss: float, floor: float) -> dict[str, float]:
    """Return the events of the loss alone as numbers that turn positive where they happen.

    Parameters
    ----------
    loss, first_loss, floor : float
        Losses per masked patch: now, at zero correlations, and that no attention can lower.

    Returns
    -------
    dict
        A number for each name in LOSS_EVENTS; where there is no excess over the floor to lose, all of it is lost.

    Examples
    --------
    >>> from dynsim.reduced.field import loss_crossings
    >>> loss_crossings(0.25, 0.5, 0.0), loss_crossings(0.1, 0.1, 0.1)
    ({'half': 0.0, 'excess': -0.49}, {'half': 0.5, 'excess': 0.01})
    """
    left = (loss - floor) / (first_loss - floor) if first_loss > floor else 0.0
    return {name: share - left for name, share in LOSS_EVENTS.items()}


def by_query_type(events: Mapping[str, str], types: Iterable[str]) -> dict[str, str]:
    """Add to events of attention those of each query type, "escape LG": the mean over its queries alone.

    Parameters
    ----------
    events : mapping of str to str
        Name -> what happens, in words.
    types : iterable of str
        Query types.

    Returns
    -------
    dict
        All of them. A query that is global in all clusters has no collapse, and escapes to the global area, which is its own.

    Examples
    --------
    >>> from dynsim.reduced.field import by_query_type
    >>> list(by_query_type({"collapse": "attention of local queries on the global area passes one half"}, ["LL", "LG", "GG"]))
    ['collapse', 'collapse LL', 'collapse LG']
    """
    found = dict(events)
    for name, text in events.items():
        if name in ("escape", "collapse"):
            for query in types:
                if "L" in query or name == "escape":
                    found[f"{name} {query}"] = text.replace("local queries", query)
    return found


def rounded_down(value: float) -> float:
    """Return a positive number with three digits, not above it: one that can be typed.

    Parameters
    ----------
    value : float
        The number.

    Returns
    -------
    float
        The largest number of three digits that is not larger.

    Examples
    --------
    >>> from dynsim.reduced.field import rounded_down
    >>> rounded_down(1.2769), rounded_down(0.03)
    (1.27, 0.03)
    """
    near = float(f"{value:.3g}")
    return near if near <= value else float(f"{near - 10.0 ** (np.floor(np.log10(value)) - 2):.3g}")


def check_nodes(nodes: int | None) -> None:
    """Raise InputError unless a number of quadrature nodes is one, or None.

    Parameters
    ----------
    nodes : int or None
        Number of nodes.

    Raises
    ------
    InputError
        If it is something else.

    Examples
    --------
    >>> from dynsim.reduced.field import check_nodes
    >>> check_nodes(8)
    >>> check_nodes(0)
    Traceback (most recent call last):
    dynsim.errors.InputError: nodes must be a whole number of at least 1 and at most 1000, got 0: leave it out for the default
    """
    whole = isinstance(nodes, (int, np.integer)) and not isinstance(nodes, bool)
    if nodes is not None and not (whole and 1 <= nodes <= MOST_NODES):
        raise InputError(
            f"nodes must be a whole number of at least 1 and at most {MOST_NODES}, got {nodes!r}: leave it out for the default"
        )


def prefixed(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Put a prefix before the names of arrays.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Arrays by name.
    prefix : str
        What comes before each name, with a dot.

    Returns
    -------
    dict
        The same arrays.

    Examples
    --------
    >>> from dynsim.reduced.field import prefixed, without_prefix
    >>> prefixed({"labels": 1}, "part")
    {'part.labels': 1}
    """
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def without_prefix(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Select the arrays whose names have a prefix, and drop it.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Arrays by name.
    prefix : str
        The prefix, without its dot.

    Returns
    -------
    dict
        The selected arrays.

    Examples
    --------
    >>> from dynsim.reduced.field import without_prefix
    >>> without_prefix({"part.labels": 1, "data.z": 2}, "part")
    {'labels': 1}
    """
    return {name.removeprefix(prefix + "."): array for name, array in arrays.items() if name.startswith(prefix + ".")}

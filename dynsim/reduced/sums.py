"""SumField: fields add, L = sum_i w_i L_i on one state, so dy/dt = sum_i w_i (dy/dt)_i."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dynsim.errors import InputError
from dynsim.model.amplitude import is_number
from dynsim.model.areas import Layout
from dynsim.model.embedding import Embedding
from dynsim.reduced import field_class
from dynsim.reduced.field import LOSS_EVENTS, Field, Observation, Recipe, prefixed, without_prefix


class SumField(Field):
    """Weighted sum of fields on one state.

    Parameters
    ----------
    terms : sequence of (float, Field)
        Weights of at least 0, one of them positive, and fields. The first one gives the public shapes, areas and attention; a
        term that can be written on its state (``Field.on_state``) is.

    Attributes
    ----------
    weights : list of float
        The weights.
    fields : list of Field
        The fields, on one state.
    names : list of str
        Their names in ``Trajectory.terms``: the objective ("reconstruction"; "reconstruction 2" for the next one).

    Raises
    ------
    InputError
        If weights are negative or not finite, none is positive, or states, embeddings or held correlations differ.

    Notes
    -----
    The loss is the sum of the weighted losses; a trajectory has that of each term, not weighted, in ``Trajectory.terms``. The
    floor is known where it is of all terms.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=2, gamma=0.75, P=16)
    >>> part = dynsim.Partition.blocks(problem)
    >>> fields = [dynsim.reduced.EmpiricalField(part, dynsim.sample(problem, part, n=16, seed=seed)) for seed in (0, 1)]
    >>> both = dynsim.reduced.SumField([(0.5, field) for field in fields])
    >>> run = dynsim.reduced.descend(both, steps=10)
    >>> sorted(run.terms)
    ['reconstruction', 'reconstruction 2']
    >>> bool(abs(run.loss - 0.5 * sum(run.terms.values())).max() < 1e-12)
    True
    """

    method = "sum"

    def __init__(self, terms: Sequence[tuple[float, Field]]) -> None:
        pairs = list(terms)
        if not all(isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[1], Field) for pair in pairs):
            raise InputError("a sum takes pairs (weight, field), got something else: give e.g. [(1.0, field)]")
        if not pairs:
            raise InputError("a sum needs at least one pair (weight, field), got none: give e.g. [(1.0, field)]")
        for weight, _ in pairs:
            if not (is_number(weight) and weight >= 0):
                raise InputError(f"weights must be at least 0 and finite, got {weight!r}: take e.g. 1.0")
        if not any(weight > 0 for weight, _ in pairs):
            raise InputError("a sum needs a term of positive weight, got weight 0 for all: give one of them weight 1.0")
        self.weights = [float(weight) for weight, _ in pairs]
        shape = max((field.start().shape for _, field in pairs), key=len)
        self.fields = [field.on_state(shape) for _, field in pairs]
        first = self.fields[0]
        for field in self.fields[1:]:
            if field.layout.dims != first.layout.dims:
                raise InputError(
                    f"fields add where their correlations mean the same, got axes {dict(first.layout.dims)} and "
                    f"{dict(field.layout.dims)}: take fields of one kind"
                )
            if not _same_vectors(field.embedding, first.embedding):
                raise InputError(
                    "fields add where their correlations come from the same vectors, got different embeddings: give all the same"
                )
            if field.describe().get("hold") != first.describe().get("hold"):
                held = " and ".join(repr(one.describe().get("hold")) for one in (first, field))
                raise InputError(f"fields add where the same correlations are held, got hold={held}: give all the same")
        self.names = _names(field.objective for field in self.fields)
        self.layout: Layout = first.layout
        self.images = next((field.images for field in self.fields if field.images is not None), None)
        given = [field.embedding for field in self.fields if field.embedding is not None]
        self.embedding = next((vectors for vectors in given if not vectors.is_onehot), given[0] if given else None)
        self.deterministic = all(field.deterministic for field in self.fields)
        one_unit = len({field.objective for field in self.fields}) == 1  # else the sum of what terms report is not what falls
        self.conservative = one_unit and all(field.conservative for field in self.fields)
        events = {name: text for field in reversed(self.fields) for name, text in field.events.items()}
        known = self.floor is not None  # else there is nothing that the loss could be half way to
        self.events = {name: text for name, text in events.items() if known or name not in LOSS_EVENTS}  # type: ignore[misc]
        self._more, self._weighted = np.empty(shape), np.empty(shape)

    @property
    def limit(self) -> float:  # type: ignore[override]  # an attribute of Field
        """Largest correlation that every term takes."""
        return min(field.limit for field in self.fields)

    @property
    def floor(self) -> float | None:  # type: ignore[override]  # an attribute of Field
        """Weighted sum of the floors, no more than a bound; None where one is not known."""
        floors = [field.floor if field.deterministic else None for field in self.fields]
        known = [floor for floor in floors if floor is not None]
        return sum(w * f for w, f in zip(self.weights, known, strict=True)) if len(known) == len(floors) else None

    def curvature(self) -> float | None:
        """Return the weighted sum of the bounds, one of the sum; None where one is not known."""
        bounds = [field.curvature() for field in self.fields]
        known = [bound for bound in bounds if bound is not None]
        return sum(w * b for w, b in zip(self.weights, known, strict=True)) if len(known) == len(bounds) else None

    def start(self) -> np.ndarray:
        """Return the state at Q = 0: all correlations zero."""
        return self.fields[0].start()

    def velocity(self, y: np.ndarray, step: int = 0, out: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """Return the sum of the weighted losses and its negative gradient."""
        loss, dy = self.fields[0].velocity(y, step, out)
        return self._add_rest(y, step, loss, dy)[:2]

    def observe(self, y: np.ndarray, step: int = 0, out: np.ndarray | None = None) -> Observation:
        """Return loss, velocity, the attention of the first term, and the loss of every term."""
        seen = self.fields[0].observe(y, step, out)
        loss, dy, losses = self._add_rest(y, step, seen.loss, seen.velocity)
        return Observation(loss, dy, seen.attention, dict(zip(self.names, losses, strict=True)))

    def attention(self, y: np.ndarray) -> np.ndarray:
        """Return the attention of the first term."""
        return self.fields[0].attention(y)

    def correlations(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return FP and PP correlations, copied."""
        return self.fields[0].correlations(y)

    def scale(self) -> np.ndarray:
        """Return the natural size of each entry of the state."""
        return self.fields[0].scale()

    def describe(self) -> dict:
        """Return the first term's description, with the terms and their weights."""
        terms = [{"weight": w, **field.describe()} for w, field in zip(self.weights, self.fields, strict=True)]
        return {**self.fields[0].describe(), "method": self.method, "terms": terms}

    def recipe(self) -> Recipe:
        """Return the recipes of the terms."""
        plain: list[dict] = []
        arrays: dict[str, np.ndarray] = {}
        for i, field in enumerate(self.fields):
            one, more = field.recipe()
            plain.append({"weight": self.weights[i], "field": one})
            arrays |= prefixed(more, str(i))
        return {"method": self.method, "terms": plain}, arrays

    @classmethod
    def from_recipe(cls, plain: dict, arrays: Mapping[str, np.ndarray]) -> SumField:
        """Build the sum of a recipe."""
        return cls([
            (term["weight"], field_class(term["field"]["method"]).from_recipe(term["field"], without_prefix(arrays, str(i))))
            for i, term in enumerate(plain["terms"])
        ])

    @classmethod
    def layout_of(cls, plain: dict, arrays: Mapping[str, np.ndarray]) -> Layout:
        """Return the layout of the first term of a recipe."""
        first = plain["terms"][0]["field"]
        return field_class(first["method"]).layout_of(first, without_prefix(arrays, "0"))

    def _add_rest(self, y: np.ndarray, step: int, loss: float, dy: np.ndarray) -> tuple[float, np.ndarray, list[float]]:
        losses = [loss]
        if self.weights[0] != 1.0:
            dy *= self.weights[0]
        for weight, field in zip(self.weights[1:], self.fields[1:], strict=True):
            more, self._more = field.velocity(y, step, self._more)
            losses.append(more)
            dy += np.multiply(self._more, weight, out=self._weighted)
        return sum(w * x for w, x in zip(self.weights, losses, strict=True)), dy, losses


def _same_vectors(one: Embedding | None, other: Embedding | None) -> bool:
    """Whether correlations under both come from the same Q in the same way."""
    plain = [vectors is None or vectors.is_orthonormal for vectors in (one, other)]
    if one is None or other is None or all(plain):
        return all(plain)
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("keys", "queries", "content"))


def _names(objectives: Any) -> list[str]:
    """Each objective, and a number behind those that came before."""
    names: list[str] = []
    for objective in objectives:
        before = sum(name.split(" ")[0] == objective for name in names)
        names.append(objective if not before else f"{objective} {before + 1}")
    return names

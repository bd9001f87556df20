"""The exact field on a minibatch: other images at every step.

A draw is a function of the step that returns a Dataset; the same step always gets the same images, so a run can be
repeated, continued, and followed by full.descend, which takes the same draw in place of its images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dynsim.errors import InputError, NoRecipe
from dynsim.model.dataset import Dataset, sample
from dynsim.model.embedding import Embedding
from dynsim.model.partition import Partition
from dynsim.model.problem import Problem
from dynsim.reduced import field_class
from dynsim.reduced.explicit import PARTITION, VECTORS, ExplicitField, choose_partition, choose_vectors, part_of, vectors_of
from dynsim.reduced.field import Observation, Option, Recipe, prefixed, without_prefix


@dataclass(frozen=True, eq=False)
class Fresh:
    """The draw of n new images of `problem` at every step."""

    problem: Problem
    part: Partition
    n: int
    seed: int

    def __call__(self, step: int) -> Dataset:
        return sample(self.problem, self.part, self.n, seed=[self.seed, step])


@dataclass(frozen=True, eq=False)
class Chosen:
    """The draw of n images of the set `data` at every step, independently by their weights."""

    data: Dataset
    n: int
    seed: int

    def __call__(self, step: int) -> Dataset:
        data = self.data
        chosen = np.random.default_rng([self.seed, step]).choice(data.n, self.n, p=data.weight)
        return Dataset(data.cluster[chosen], data.z[chosen], data.masked[chosen])


class MinibatchField(ExplicitField):
    """Velocity of the correlations on the images `draw(step)`; loss and attention are those of these images.

    embedding, hold, threads as in the field on given images. Raises InputError where images, partition and embedding do not
    fit."""

    method = "minibatch"
    options = (Option("n", int, 64, "images in a batch, drawn anew at every step", least=1), PARTITION, *VECTORS)
    deterministic = False

    def __init__(
        self,
        part: Partition,
        draw: Callable[[int], Dataset],
        embedding: Embedding | None = None,
        hold: str | None = None,
        threads: int | None = 1,
    ) -> None:
        self._place(part, embedding, hold)
        self.draw, self._threads = draw, threads
        self._images = field_class("samples")
        self._step: int | None = None
        self._at(0)

    @classmethod
    def fresh(cls, problem: Problem, part: Partition, n: int = 64, seed: int = 0, **options: Any) -> MinibatchField:
        """n new images of `problem` at every step."""
        return cls(part, Fresh(problem, part, n, seed), **options)

    @classmethod
    def of(cls, part: Partition, data: Dataset, n: int = 64, seed: int = 0, **options: Any) -> MinibatchField:
        """n images of the set `data` at every step, drawn independently by their weights, so that the mean velocity is that of
        the field on all of them. Raises InputError for n < 1."""
        if not (isinstance(n, (int, np.integer)) and n >= 1):
            raise InputError(f"a minibatch holds a whole number of at least 1 image, got n={n!r}: take e.g. n=64")
        return cls(part, Chosen(data, n, seed), **options)

    @classmethod
    def from_options(
        cls,
        problem: Problem,
        seed: int = 0,
        n: int = 64,
        partition: str = "blocks",
        embedding: str = "orthonormal",
        d: int | None = None,
        hold: str | None = None,
        threads: int | None = 1,
        **options: Any,
    ) -> MinibatchField:
        """n new images of the problem at every step; areas and images drawn from `seed`."""
        part = choose_partition(problem, partition, seed, n)
        return cls.fresh(problem, part, n, seed, threads=threads, **choose_vectors(part, embedding, d, hold, seed))

    def recipe(self) -> Recipe:
        """The draw with its seed, areas and vectors. Raises NoRecipe for a draw of your own."""
        draw = self.draw
        if type(draw) is Fresh:
            return self._recipe(problem=draw.problem.recipe(), n=int(draw.n), seed=draw.seed)
        if type(draw) is Chosen:
            plain, arrays = self._recipe(n=int(draw.n), seed=draw.seed)
            return plain, {**arrays, **prefixed(draw.data.recipe(), "data")}
        raise NoRecipe(f"a draw of minibatches of your own has no recipe, got {draw!r}: pass the field itself")

    @classmethod
    def from_recipe(cls, plain: dict, arrays: Mapping[str, np.ndarray]) -> MinibatchField:
        """The field of a recipe."""
        part, vectors = part_of(plain, arrays), vectors_of(plain, arrays)
        if "problem" in plain:
            return cls.fresh(Problem.from_recipe(plain["problem"]), part, plain["n"], plain["seed"], **vectors)
        return cls.of(part, Dataset(**without_prefix(arrays, "data")), plain["n"], plain["seed"], **vectors)

    @property
    def limit(self) -> float:  # type: ignore[override]  # an attribute of Field
        """Largest correlation that the softmax takes, on the images of the last step."""
        return self._field.limit

    @property
    def floor(self) -> float | None:  # type: ignore[override]  # an attribute of Field
        """Loss per masked patch that no attention can lower, on the images of the last step; None where it is not known."""
        return self._field.floor

    def velocity(self, y: np.ndarray, step: int = 0, out: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """(loss per masked patch, dy/dt) at state y on the images of `step`."""
        self._at(step)
        return self._field.velocity(y, step, out)

    def observe(self, y: np.ndarray, step: int = 0, out: np.ndarray | None = None) -> Observation:
        """Loss, velocity and area attention on the images of `step`, in one pass."""
        self._at(step)
        return self._field.observe(y, step, out)

    def attention(self, y: np.ndarray) -> np.ndarray:
        """Expected area attention (P, F) on the images of the last step; NaN where a cluster shows no such query."""
        return self._field.attention(y)

    def masked_patches(self) -> float:
        """Mean over the images of the last step."""
        return self._field.masked_patches()

    def crossings(self, y: np.ndarray) -> tuple[float, dict[str, float]]:
        """(loss, events) on the images of the last step."""
        return self._field.crossings(y)

    def describe(self) -> dict:
        """What this field is, as plain data."""
        return {**self._field.describe(), "method": self.method}

    def _at(self, step: int) -> None:
        if step != self._step:
            self._field = self._images(self.part, self.draw(step), self._threads, self.embedding, self.metric.hold)
            self._step = step

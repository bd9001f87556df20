"""The exact field on a minibatch: other images at every step.

A draw is a function of the step that returns a Dataset; the same step always gets the same images, so a run can be
repeated, continued, and followed by full.descend, which takes the same draw in place of its images.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dynsim.errors import InputError
from dynsim.model.dataset import Dataset, sample
from dynsim.model.embedding import Embedding
from dynsim.model.partition import Partition
from dynsim.model.problem import Problem
from dynsim.reduced.empirical import EmpiricalField
from dynsim.reduced.metric import Metric


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


class MinibatchField:
    """Velocity of the correlations on the images `draw(step)`; loss and attention are those of these images.

    embedding, hold, threads as in EmpiricalField. Raises InputError where images, partition and embedding do not fit."""

    deterministic = False

    def __init__(
        self,
        part: Partition,
        draw: Callable[[int], Dataset],
        embedding: Embedding | None = None,
        hold: str | None = None,
        threads: int | None = 1,
    ) -> None:
        self.part, self.draw, self.embedding = part, draw, embedding
        self.metric = Metric(part, embedding, hold)
        self._threads = threads
        self._step: int | None = None
        self._at(0)

    @classmethod
    def fresh(cls, problem: Problem, part: Partition, n: int = 64, seed: int = 0, **options: Any) -> "MinibatchField":
        """n new images of `problem` at every step."""
        return cls(part, Fresh(problem, part, n, seed), **options)

    @classmethod
    def of(cls, part: Partition, data: Dataset, n: int = 64, seed: int = 0, **options: Any) -> "MinibatchField":
        """n images of the set `data` at every step, drawn independently by their weights, so that the mean velocity is that of
        EmpiricalField(part, data). Raises InputError for n < 1."""
        if not (isinstance(n, (int, np.integer)) and n >= 1):
            raise InputError(f"a minibatch holds a whole number of at least 1 image, got n={n!r}: take e.g. n=64")
        return cls(part, Chosen(data, n, seed), **options)

    @property
    def limit(self) -> float:
        """Largest correlation that the softmax takes, on the images of the last step."""
        return self._field.limit

    @property
    def floor(self) -> float | None:
        """Loss per masked patch that no attention can lower, on the images of the last step; None as in EmpiricalField."""
        return self._field.floor

    def start(self) -> np.ndarray:
        """The state at Q = 0: all correlations zero."""
        return self._field.start()

    def velocity(self, y: np.ndarray, step: int = 0, out: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """(loss per masked patch, dy/dt) at state y on the images of `step`."""
        self._at(step)
        return self._field.velocity(y, step, out)

    def attention(self, y: np.ndarray) -> np.ndarray:
        """Expected area attention (P, F) on the images of the last step; NaN where a cluster shows no such query."""
        return self._field.attention(y)

    def summary(self, y: np.ndarray) -> tuple[float, float]:
        """(loss, mean attention on the own area) on the images of the last step, as in EmpiricalField."""
        return self._field.summary(y)

    def correlations(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """FP (P, F), with a mask token (P, F + 1), and PP (P, P) correlations of state y, copied."""
        return self._field.correlations(y)

    def describe(self) -> dict:
        """What this field is, as plain data."""
        return {**self._field.describe(), "method": "minibatch"}

    def _at(self, step: int) -> None:
        if step != self._step:
            self._field = EmpiricalField(self.part, self.draw(step), self._threads, self.embedding, self.metric.hold)
            self._step = step

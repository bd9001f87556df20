"""The exact field on a minibatch: other images at every step.

A draw is a function of the step that returns a Dataset; the same step always gets the same images, so a run can be
repeated, continued, and followed by full.descend, which takes the same draw in place of its images.
"""

from dataclasses import dataclass

import numpy as np

from dynsim.dataset import Dataset, sample
from dynsim.errors import InputError
from dynsim.reduced.empirical import EmpiricalField
from dynsim.reduced.metric import Metric


@dataclass(frozen=True, eq=False)
class Fresh:
    """The draw of n new images of `problem` at every step."""

    problem: object
    part: object
    n: int
    seed: int

    def __call__(self, step):
        return sample(self.problem, self.part, self.n, seed=[self.seed, step])


@dataclass(frozen=True, eq=False)
class Chosen:
    """The draw of n images of the set `data` at every step, independently by their weights."""

    data: Dataset
    n: int
    seed: int

    def __call__(self, step):
        data = self.data
        chosen = np.random.default_rng([self.seed, step]).choice(data.n, self.n, p=data.weight)
        return Dataset(data.cluster[chosen], data.z[chosen], data.masked[chosen])


class MinibatchField:
    """Velocity of the correlations on the images `draw(step)`; loss and attention are those of these images.

    embedding, hold, threads as in EmpiricalField. Raises InputError where images, partition and embedding do not fit."""

    deterministic = False

    def __init__(self, part, draw, embedding=None, hold=None, threads=1):
        self.part, self.draw, self.embedding = part, draw, embedding
        self.metric = Metric(part, embedding, hold)
        self._threads, self._step = threads, None
        self._at(0)

    @classmethod
    def fresh(cls, problem, part, n=64, seed=0, **options):
        """n new images of `problem` at every step."""
        return cls(part, Fresh(problem, part, n, seed), **options)

    @classmethod
    def of(cls, part, data, n=64, seed=0, **options):
        """n images of the set `data` at every step, drawn independently by their weights, so that the mean velocity is that of
        EmpiricalField(part, data). Raises InputError for n < 1."""
        if not (isinstance(n, (int, np.integer)) and n >= 1):
            raise InputError(f"a minibatch holds a whole number of at least 1 image, got n={n!r}: take e.g. n=64")
        return cls(part, Chosen(data, n, seed), **options)

    @property
    def limit(self):
        """Largest correlation that the softmax takes, on the images of the last step."""
        return self._field.limit

    @property
    def floor(self):
        """Loss per masked patch that no attention can lower, on the images of the last step; None as in EmpiricalField."""
        return self._field.floor

    def start(self):
        """The state at Q = 0: all correlations zero."""
        return self._field.start()

    def velocity(self, y, step=0, out=None):
        """(loss per masked patch, dy/dt) at state y on the images of `step`."""
        self._at(step)
        return self._field.velocity(y, step, out)

    def attention(self, y):
        """Expected area attention (P, F) on the images of the last step; NaN where a cluster shows no such query."""
        return self._field.attention(y)

    def summary(self, y):
        """(loss, mean attention on the own area) on the images of the last step, as in EmpiricalField."""
        return self._field.summary(y)

    def correlations(self, y):
        """FP (P, F), with a mask token (P, F + 1), and PP (P, P) correlations of state y, copied."""
        return self._field.correlations(y)

    def describe(self):
        """What this field is, as plain data."""
        return {**self._field.describe(), "method": "minibatch"}

    def _at(self, step):
        if step != self._step:
            self._field = EmpiricalField(self.part, self.draw(step), self._threads, self.embedding, self.metric.hold)
            self._step = step

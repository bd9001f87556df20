"""The exact field on a minibatch: other images at every step.

A draw is a function of the step that returns a Dataset; the same step always gets the same images, so a run can be
repeated, continued, and followed by full.descend, which takes the same draw in place of its images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import nan
from typing import Any

import numpy as np

from dynsim.errors import NoRecipe
from dynsim.model.amplitude import seed_of
from dynsim.model.dataset import Dataset
from dynsim.model.embedding import Embedding
from dynsim.model.partition import Partition
from dynsim.model.problem import Problem
from dynsim.reduced.batch import BatchField
from dynsim.reduced.draws import EPOCHS, Chosen, Fresh, Resampled
from dynsim.reduced.explicit import PARTITION, VECTORS, choose_partition, choose_vectors, part_of, vectors_of
from dynsim.reduced.field import LOSS_EVENTS, Option, Recipe, prefixed, without_prefix


class MinibatchField(BatchField):
    """Velocity of the correlations on other images at every step; exact, step by step.

    Parameters
    ----------
    part : Partition
        Areas of every cluster.
    draw : callable
        Function of the step that returns the Dataset to use there, the same one for the same step.
    embedding : Embedding, optional
        Positions, features and mask token; orthonormal by default.
    hold : {None, "fp", "pp"}
        Correlation held at zero (projected descent).
    threads : int, optional
        Threads; they change the time a step takes, never the bits.

    Raises
    ------
    InputError
        If images, partition and embedding do not fit.

    Notes
    -----
    Loss and attention are those of the images of the step.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=2, gamma=0.75, P=16)
    >>> part = dynsim.Partition.blocks(problem)
    >>> field = dynsim.reduced.MinibatchField.fresh(problem, part, n=16, seed=0)
    >>> run = dynsim.reduced.descend(field, steps=10)
    >>> dynsim.validation.compare(run, dynsim.full.descend(part, field.draw, steps=10)).passed
    True
    """

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
        self.draw, self._step = draw, 0
        self._load(draw(0), threads)

    @classmethod
    def fresh(
        cls, problem: Problem, part: Partition, n: int = 64, seed: int = 0, *, rng: Any = None, **options: Any
    ) -> MinibatchField:
        """Build the field of n new images of a problem at every step.

        Parameters
        ----------
        problem : Problem
            Law of the images.
        part : Partition
            Their areas.
        n : int
            Images in a batch.
        seed : int
            Seed of the images.
        rng : optional
            A numpy.random.Generator or what makes one, in place of ``seed``: a seed is drawn from it.
        **options : object
            Further arguments of MinibatchField.

        Returns
        -------
        MinibatchField
            The field.
        """
        return cls(part, Fresh(problem, part, n, seed_of(seed, rng)), **options)

    @classmethod
    def of(
        cls, part: Partition, data: Dataset, n: int = 64, seed: int = 0, *, rng: Any = None, **options: Any
    ) -> MinibatchField:
        """Build the field of n images of a data set at every step, drawn independently by their weights.

        Parameters
        ----------
        part : Partition
            Areas of every cluster.
        data : Dataset
            The set.
        n : int
            Images in a batch.
        seed : int
            Seed of the choice.
        rng : optional
            A numpy.random.Generator or what makes one, in place of ``seed``: a seed is drawn from it.
        **options : object
            Further arguments of MinibatchField.

        Returns
        -------
        MinibatchField
            Its mean velocity is that of the field on the whole set.

        Raises
        ------
        InputError
            If n is no whole number of at least 1.
        """
        return cls(part, Chosen(part, data, n, seed_of(seed, rng)), **options)

    @classmethod
    def resampled(
        cls,
        part: Partition,
        data: Dataset,
        n: int = 64,
        seed: int = 0,
        masks: str = "step",
        replacement: bool = False,
        shuffle: bool = True,
        drop_last: bool = False,
        *,
        rng: Any = None,
        **options: Any,
    ) -> MinibatchField:
        """The images of `data`, n at a time, under fresh masks: masked pretraining as it is done.

        Parameters
        ----------
        part : Partition
            Where the areas lie.
        data : Dataset
            The images; each once, in however many rows it stands.
        n : int
            Images in a batch.
        seed : int
            Seed of the order and of the masks. The batch of a step depends on the seed and the step alone.
        masks : {"step", "epoch", "fixed"}
            When masks are drawn anew, as many patches of each image as in its first row; "fixed": never, and every row of `data`
            counts as an image. Without replacement an image comes once an epoch, so that "step" and "epoch" are one law.
        replacement : bool
            False: epochs, every image once in each. True: n images by their weights, independently at every step.
        shuffle : bool
            Another order in every epoch; False: that of `data`.
        drop_last : bool
            What becomes of the last batch of an epoch where n does not divide the images: kept, smaller (False), or dropped.
        rng : optional
            A numpy.random.Generator or what makes one, in place of ``seed``: a seed is drawn from it.
        **options
            As of MinibatchField.

        Returns
        -------
        MinibatchField
            Its `draw.steps_per_epoch` says how many steps an epoch has.

        Raises
        ------
        InputError
            Where a batch is larger than the set, or weights differ, without replacement.

        Notes
        -----
        n, replacement, shuffle and drop_last are batch_size, replacement, shuffle and drop_last of PyTorch's DataLoader and its
        samplers. A batch is averaged over its own images, so those of a smaller last one count more.

        Examples
        --------
        >>> import dynsim
        >>> problem = dynsim.Problem(K=3, P=64)
        >>> part = dynsim.Partition.blocks(problem)
        >>> field = dynsim.reduced.MinibatchField.resampled(part, dynsim.sample(problem, part, n=100), n=32)
        >>> field.draw.steps_per_epoch, [field.draw(step).n for step in range(5)]
        (4, [32, 32, 32, 4, 32])
        """
        seed = seed_of(seed, rng)
        draw = Resampled(part, data, n, seed, masks=masks, replacement=replacement, shuffle=shuffle, drop_last=drop_last)
        return cls(part, draw, **options)

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
        """Build the field of n new images of the problem at every step; areas and images are drawn from ``seed``."""
        part = choose_partition(problem, partition, seed, n)
        return cls.fresh(problem, part, n, seed, threads=threads, **choose_vectors(part, embedding, d, hold, seed))

    def recipe(self) -> Recipe:
        """Return the draw with its seed, areas and vectors."""
        draw = self.draw
        if isinstance(draw, Fresh):
            return self._recipe(problem=draw.problem.recipe(), n=int(draw.n), seed=draw.seed)
        if isinstance(draw, (Chosen, Resampled)):
            plain, arrays = self._recipe(n=int(draw.n), seed=draw.seed, **draw.options)
            return plain, {**arrays, **prefixed(draw.data.recipe(), "data")}
        raise NoRecipe(f"a draw of minibatches of your own has no recipe, got {draw!r}: pass the field itself")

    @classmethod
    def from_recipe(cls, plain: dict, arrays: Mapping[str, np.ndarray]) -> MinibatchField:
        """Build the field of a recipe."""
        part, vectors = part_of(plain, arrays), vectors_of(plain, arrays)
        if "problem" in plain:
            return cls.fresh(Problem.from_recipe(plain["problem"]), part, plain["n"], plain["seed"], **vectors)
        data, epochs = Dataset(**without_prefix(arrays, "data")), {name: plain[name] for name in EPOCHS if name in plain}
        make = cls.resampled if epochs else cls.of
        return make(part, data, plain["n"], plain["seed"], **epochs, **vectors)

    def describe(self) -> dict:
        """Return what this field is, as plain data; n counts the images of a whole batch."""
        return {**super().describe(), **({"n": int(self.draw.n)} if hasattr(self.draw, "n") else {})}

    def crossings(self, y: np.ndarray) -> tuple[float, dict[str, float]]:
        """Return the loss and the events, on the images of the last step."""
        first_loss = self.velocity(self.start(), self._step)[0]
        seen = self._observed(y, None)
        return seen.loss, super().event_values(seen.loss, seen.attention, first_loss)

    def event_values(self, loss: float, attention: np.ndarray, first_loss: float) -> dict[str, float]:
        """Return those of attention; what the loss has come to is not known, as every batch has a floor of its own."""
        found = super().event_values(loss, attention, first_loss)
        return {name: nan if name in LOSS_EVENTS else value for name, value in found.items()}

    def _at(self, step: int) -> None:
        if step != self._step:
            self._batch.load(self.draw(step))
            self._step = step

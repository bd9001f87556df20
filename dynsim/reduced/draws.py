"""Which images a step of stochastic descent sees: functions of the step that return a Dataset.

The same step always gets the same images, so a run can be repeated, continued in the middle of an epoch, and followed by
full.descend, which takes the same draw in place of its images.

    Fresh      n new images of a problem at every step
    Chosen     n rows of a set at every step, independently by their weights
    Resampled  epochs over the images of a set, in the order of a data loader, under masks of their own, fresh in each epoch or
               at each step
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, sqrt

import numpy as np

from dynsim.errors import InputError
from dynsim.model.dataset import Dataset, check_sizes, draw_images
from dynsim.model.partition import Partition
from dynsim.model.problem import Problem

Draw = Callable[[int], Dataset]
MASKS = ("step", "epoch", "fixed")
EPOCHS = ("masks", "replacement", "shuffle", "drop_last")  # options of Resampled
ORDER, MASK = 1, 2  # streams of a seed: the order of an epoch, masks
ROWS = 4096  # rows whose words are drawn at a time


@dataclass(frozen=True, eq=False)
class Fresh:
    """The draw of n new images of `problem` at every step: those of sample(problem, part, n, seed=[seed, step]).

    Parameters
    ----------
    problem, part : Problem, Partition
        Law of the images, and their areas.
    n : int
        Images in a batch.
    seed : int
        Seed of all batches.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=3, P=64)
    >>> draw = dynsim.reduced.draws.Fresh(problem, dynsim.Partition.blocks(problem), n=16, seed=0)
    >>> draw(3).n
    16
    """

    problem: Problem
    part: Partition
    n: int
    seed: int

    def __post_init__(self) -> None:
        _check_batch(self.n)
        check_sizes(self.problem, self.part)
        _check_seed(self.seed)

    def __call__(self, step: int) -> Dataset:
        return draw_images(self.problem, self.part, self.n, np.random.default_rng([self.seed, step]), draw_masks=draw_masks)


class Chosen:
    """The draw of n rows of `data` at every step, independently by their weights.

    Parameters
    ----------
    part : Partition
        Where the areas lie.
    data : Dataset
        The rows to draw from.
    n : int
        Rows in a batch.
    seed : int
        Seed of all batches.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=3, P=64)
    >>> part = dynsim.Partition.blocks(problem)
    >>> draw = dynsim.reduced.draws.Chosen(part, dynsim.sample(problem, part, n=8), n=16, seed=0)
    >>> draw(3).n
    16
    """

    def __init__(self, part: Partition, data: Dataset, n: int, seed: int) -> None:
        _check_batch(n)
        _check_seed(seed)
        data.check(part)
        self.part, self.data, self.n, self.seed = part, data, n, seed
        self.options: dict = {}
        self._share = data.weight.cumsum()
        self._share /= self._share[-1]

    def __call__(self, step: int) -> Dataset:
        chosen = _by_weight(self._share, np.random.default_rng([self.seed, step]), self.n)
        return _rows_of(self.part, self.data, chosen)


class Resampled:
    """The draw of n images of `data` at every step, epoch by epoch, under fresh masks or their own.

    Parameters
    ----------
    part : Partition
        Where the areas lie.
    data : Dataset
        The images.
    n : int
        Images in a batch.
    seed : int
        Seed of order and masks.
    masks, replacement, shuffle, drop_last : str, bool, bool, bool
        See MinibatchField.resampled.

    Attributes
    ----------
    steps_per_epoch : int
        Steps in which every image is seen once (with replacement: as many draws as there are images).

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=3, P=64)
    >>> part = dynsim.Partition.blocks(problem)
    >>> draw = dynsim.reduced.draws.Resampled(part, dynsim.sample(problem, part, n=8), n=5, seed=0)
    >>> sorted([*draw(0).image.tolist(), *draw(1).image.tolist()])
    [0, 1, 2, 3, 4, 5, 6, 7]
    """

    def __init__(
        self,
        part: Partition,
        data: Dataset,
        n: int,
        seed: int,
        masks: str = "step",
        replacement: bool = False,
        shuffle: bool = True,
        drop_last: bool = False,
    ) -> None:
        _check_batch(n)
        _check_seed(seed)
        data.check(part)
        if masks not in MASKS:
            raise InputError(f"masks must be one of {', '.join(MASKS)}, got {masks!r}: step draws them anew at every step")
        self.part, self.data, self.n, self.seed = part, data, int(n), seed
        self.masks, self.replacement, self.shuffle, self.drop_last = masks, replacement, shuffle, drop_last
        self.options = {name: getattr(self, name) for name in EPOCHS}
        if masks == "fixed":
            rows, weight = np.arange(data.n), data.weight
        else:  # images in the order of their first rows
            _, first, image = np.unique(data.image, return_index=True, return_inverse=True)
            rows, weight = np.sort(first), np.bincount(image, data.weight)[np.argsort(first)]
        self._rows = rows
        if not replacement and n > len(rows):
            raise InputError(
                f"a batch without replacement holds at most the {len(rows)} images of the set, got n={n}: take a smaller n, or "
                f"replacement=True"
            )
        if not replacement and np.ptp(weight) > 1e-9 * weight.max():
            raise InputError(
                f"without replacement every image counts once an epoch, got weights from {weight.min():g} to {weight.max():g}: "
                f"take replacement=True, or equal weights"
            )
        self._share = weight.cumsum()
        self._share /= self._share[-1]
        self._count = data.masked[rows].sum(axis=1)
        self.steps_per_epoch = len(rows) // n if drop_last and n <= len(rows) else ceil(len(rows) / n)
        self._order: tuple[int, np.ndarray] = -1, rows
        self._masked: tuple[int, np.ndarray] = -1, data.masked

    def __call__(self, step: int) -> Dataset:
        epoch, at = divmod(step, self.steps_per_epoch)
        if self.replacement:
            chosen = _by_weight(self._share, np.random.default_rng([self.seed, ORDER, step]), self.n)
        else:
            chosen = self._epoch_order(epoch)[at * self.n : (at + 1) * self.n]
        return _rows_of(self.part, self.data, self._rows[chosen], self._fresh_masks(step, epoch, chosen))

    def _epoch_order(self, epoch: int) -> np.ndarray:
        """The order of all images in an epoch."""
        if not self.shuffle:
            return np.arange(len(self._rows))
        if self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self.seed, ORDER, epoch]).permutation(len(self._rows))
        return self._order[1]

    def _fresh_masks(self, step: int, epoch: int, chosen: np.ndarray) -> np.ndarray | None:
        """Masks of the chosen images; None: their own."""
        if self.masks == "fixed":
            return None
        if self.masks == "step":
            return draw_masks(np.random.default_rng([self.seed, MASK, step]), self._count[chosen], self.part.P)
        if self._masked[0] != epoch:
            self._masked = epoch, draw_masks(np.random.default_rng([self.seed, MASK, epoch]), self._count, self.part.P)
        return self._masked[1][chosen]


def _rows_of(part: Partition, data: Dataset, rows: np.ndarray, masked: np.ndarray | None = None) -> Dataset:
    """These rows of `data`, which fits `part`, equally weighted; masked: under these masks."""
    masked = data.masked[rows] if masked is None else masked
    return Dataset._trusted(part, data.cluster[rows], data.z[rows], masked, image=data.image[rows])


def _by_weight(share: np.ndarray, rng: np.random.Generator, n: int) -> np.ndarray:
    """Draw n numbers as rng.choice does, from cumulated probabilities."""
    return share.searchsorted(rng.random(n), side="right")


def draw_masks(rng: np.random.Generator, count: np.ndarray, P: int) -> np.ndarray:
    """Draw masks, those of rng.permuted bit for bit, in a kernel.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where words come from. More are drawn than masks take: nothing is to be drawn from it afterwards.
    count : (rows,) int
        Masked patches of each row.
    P : int
        Patches.

    Returns
    -------
    (rows, P) bool
        Masks.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim.reduced import draws
    >>> masked = draws.draw_masks(np.random.default_rng(0), np.array([3, 5]), 8)
    >>> masked.sum(axis=1).tolist()
    [3, 5]
    """
    from dynsim.reduced.kernels import masks

    masked, begin = np.empty((len(count), P), dtype=bool), 0
    state = rng.bit_generator.state  # half of the last 64-bit word may wait
    words = np.full(state["has_uint32"], state["uinteger"], dtype=np.uint32)
    mean, variance = _words(P)
    while begin < len(count):
        rows = min(ROWS, len(count) - begin)
        more = ceil((rows * mean + 6 * sqrt(rows * variance)) / 2) + 1
        raw = rng.bit_generator.random_raw(more).astype("<u8", copy=False).view("<u4")  # low half first
        words = np.concatenate([words, raw]) if words.size else raw
        begin, used = masks.draw(words, 0, count, begin, masked)
        words = words[used:]
    return masked


@lru_cache
def _words(P: int) -> tuple[float, float]:
    """Mean and variance of how many words one row takes: a place i waits for a word of the next power of two below i + 1."""
    chance = np.array([(i + 1) / 2 ** i.bit_length() for i in range(1, P)])
    return float(np.sum(1 / chance)), float(np.sum((1 - chance) / chance**2))


def _check_batch(n: int) -> None:
    """Raise InputError unless n is a size of a minibatch."""
    if isinstance(n, bool) or not (isinstance(n, (int, np.integer)) and n >= 1):
        raise InputError(f"a minibatch holds a whole number of at least 1 image, got n={n!r}: take e.g. n=64")


def _check_seed(seed: int) -> None:
    if isinstance(seed, bool) or not (isinstance(seed, (int, np.integer)) and seed >= 0):
        raise InputError(f"seed must be a whole number of at least 0, got {seed!r}: take e.g. seed=0")

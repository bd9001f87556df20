"""Estimates with intervals: exponents from area sizes, shares of energy, the law of amplitudes (dynsim/analysis/areas.py)."""

from collections.abc import Sequence
from math import ceil, floor, log
from typing import NamedTuple

import numpy as np

from dynsim.model.amplitude import Discrete, Law, generator

NODES = 16  # amplitudes in the estimated law
LEVEL = 0.95  # of all intervals
SMALLEST = 1e-6  # amplitude that a law takes
EXHAUSTED = 1e-9  # a control that leaves less than this share leaves nothing to explain


class Estimate(NamedTuple):
    """A number with its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def exponents(sizes: Sequence[np.ndarray], P: int) -> tuple[Estimate, Estimate]:
    """kappa_c and kappa_s of areas of the given sizes, for each cluster an array, with the range that gives the same sizes.

    A Problem rounds: C_global = round(P^kappa_c), and round(rest / round(P^kappa_s)) local areas share the rest. The range holds
    every exponent from which these sizes follow (of clusters that differ: their means)."""
    largest = float(np.mean([size.max() for size in sizes]))
    number = float(np.mean([len(size) - 1 for size in sizes]))
    rest, scale = P - largest, log(P)
    local = rest / number
    low, high = ceil(rest / (number + 0.5) - 1e-9), floor(rest / (number - 0.5) + 1e-9)  # what P^kappa_s may round to
    low, high = min(low, floor(local)), max(high, ceil(local))
    edge = lambda x: min(max(log(max(x, 1.0)) / scale, 0.0), 1.0)  # noqa: E731
    return (
        Estimate(edge(largest), edge(largest - 0.5), edge(largest + 0.5)),
        Estimate(edge(local), edge(low - 0.5), edge(high + 0.5)),
    )


def intervals(sizes: Sequence[Sequence[np.ndarray]], P: int) -> tuple[Estimate, Estimate, Estimate]:
    """kappa_c, kappa_s and Delta of the first sizes, and their quantiles over all."""
    found = np.array([exponents(one, P) for one in sizes])  # (resampled, 2, 3)
    gap = np.stack([(1 - found[:, 1, i]) - 2 * (1 - found[:, 0, j]) for i, j in ((0, 0), (2, 1), (1, 2))], axis=1)
    return _interval(found[:, 0]), _interval(found[:, 1]), _interval(gap)


def _interval(found: np.ndarray) -> Estimate:
    """The first of found (resampled,), or (resampled, 3) of value, low, high, with quantiles of the lows and of the highs."""
    tail = (1 - LEVEL) / 2
    found = found.reshape(len(found), -1)[:, [0, -2, -1] if found.ndim > 1 else [0, 0, 0]]
    low, high = np.quantile(found[:, 1], tail), np.quantile(found[:, 2], 1 - tail)
    return Estimate(float(found[0, 0]), float(min(low, found[0, 1])), float(max(high, found[0, 2])))


def shares(explained: np.ndarray, control: np.ndarray, energy: np.ndarray, seed: int) -> tuple[Estimate, Estimate, Estimate]:
    """Explained, control and margin, with intervals over held-out pictures drawn again."""
    drawn = generator(seed).multinomial(len(energy), np.full(len(energy), 1.0 / len(energy)), size=1000)
    weight = np.concatenate([np.ones((1, len(energy))), drawn])
    a, b = weight @ explained / (weight @ energy), weight @ control / (weight @ energy)
    margin = np.divide(a - b, 1 - b, out=np.zeros_like(a), where=1 - b > EXHAUSTED)
    return _interval(a), _interval(b), _interval(margin)


def law_of(z: np.ndarray, noise: float) -> Law:
    """The law of amplitudes z (count,): means of bins of equally many, smallest to largest, drawn towards the mean by as much as
    noise, the variance that the measurement adds, has spread them."""
    bins = np.array([part.mean() for part in np.array_split(np.sort(z), NODES) if len(part)])
    spread = float(z.var())
    shrunk = bins.mean() + (bins - bins.mean()) * np.sqrt(max(0.0, 1 - noise / spread) if spread > 0 else 0.0)
    return Discrete(tuple(np.maximum(shrunk, SMALLEST).tolist()))


def fitting(kappa_c: float, kappa_s: float, P: int) -> tuple[float, float]:
    """Exponents that a Problem takes: means over clusters that differ may, once rounded, ask for a patch too many."""
    return kappa_c, min(kappa_s, log(P - round(P**kappa_c)) / log(P))

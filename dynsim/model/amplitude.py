"""Laws of the amplitude z that multiplies a feature in an image, and what else is drawn: generators from seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from typing import Any, Protocol

import numpy as np

from dynsim.errors import InputError

_leggauss = lru_cache(np.polynomial.legendre.leggauss)


class Law(Protocol):
    """A law of amplitudes z in [L, U]; one of your own needs no more than this."""

    @property
    def L(self) -> float:
        """Smallest amplitude."""

    @property
    def U(self) -> float:
        """Largest amplitude."""

    def sample(self, rng: np.random.Generator, size: tuple[int, ...], /) -> np.ndarray:
        """Draw amplitudes of the given shape."""

    def nodes(self, n: int, /) -> tuple[np.ndarray, np.ndarray]:
        """About n amplitudes and probabilities, each (nodes,), for averages over z."""

    def moment(self, power: int, /) -> float:
        """E[z^power]."""


@dataclass(frozen=True)
class Uniform:
    """Amplitudes uniform on [L, U]."""

    L: float = 0.8
    U: float = 1.2

    def __post_init__(self) -> None:
        _check_amplitudes((self.L, self.U), "L and U")
        if self.L > self.U:
            raise InputError(f"amplitudes need L <= U, got L={self.L:g} and U={self.U:g}: swap them")

    def sample(self, rng: np.random.Generator, size: int | tuple[int, ...]) -> np.ndarray:
        """Draw amplitudes of the given shape from a `numpy.random.Generator`."""
        return rng.uniform(self.L, self.U, size)

    def nodes(self, n: int = 16) -> tuple[np.ndarray, np.ndarray]:
        """Gauss-Legendre amplitudes and probabilities, each (n,): exact for polynomials up to degree 2n - 1."""
        if self.L == self.U:
            return np.array([float(self.L)]), np.ones(1)
        x, weight = _leggauss(n)
        return 0.5 * (self.L + self.U) + 0.5 * (self.U - self.L) * x, 0.5 * weight

    def moment(self, power: int) -> float:
        """E[z^power]."""
        z, weight = self.nodes(max(2, power))
        return float(weight @ z**power)


@dataclass(frozen=True)
class Fixed:
    """Every amplitude equal to z."""

    z: float = 1.0

    def __post_init__(self) -> None:
        _check_amplitudes((self.z,), "z")

    @property
    def L(self) -> float:
        """Smallest amplitude."""
        return self.z

    @property
    def U(self) -> float:
        """Largest amplitude."""
        return self.z

    def sample(self, rng: np.random.Generator, size: int | tuple[int, ...]) -> np.ndarray:
        """The amplitude, in the given shape; draws nothing."""
        return np.full(size, float(self.z))

    def nodes(self, n: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """The one amplitude and its probability, each (1,)."""
        return np.array([float(self.z)]), np.ones(1)

    def moment(self, power: int) -> float:
        """E[z^power]."""
        return float(self.z) ** power


@dataclass(frozen=True)
class Discrete:
    """Amplitudes from a finite list with given probabilities (equal when left out)."""

    values: tuple[float, ...]
    weights: tuple[float, ...] = None  # type: ignore[assignment]  # never None once built

    def __post_init__(self) -> None:
        values: tuple = tuple(self.values) if np.ndim(self.values) == 1 else (self.values,)
        _check_amplitudes(values, "values")
        values = tuple(float(v) for v in values)
        weights = (1.0,) * len(values) if self.weights is None else tuple(float(w) for w in self.weights)
        if len(weights) != len(values):
            raise InputError(f"one weight per amplitude, got {len(weights)} for {len(values)}: give as many of each")
        if not all(isfinite(w) and w > 0 for w in weights):
            raise InputError(f"weights must be positive and finite, got {weights}: leave out what never occurs")
        total = sum(weights)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "weights", tuple(w / total for w in weights))

    @property
    def L(self) -> float:
        """Smallest amplitude."""
        return min(self.values)

    @property
    def U(self) -> float:
        """Largest amplitude."""
        return max(self.values)

    def sample(self, rng: np.random.Generator, size: int | tuple[int, ...]) -> np.ndarray:
        """Draw amplitudes of the given shape from a `numpy.random.Generator`."""
        return rng.choice(self.values, size, p=self.weights)

    def nodes(self, n: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """All amplitudes and their probabilities: exact."""
        return np.array(self.values), np.array(self.weights)

    def moment(self, power: int) -> float:
        """E[z^power]."""
        z, weight = self.nodes()
        return float(weight @ z**power)


LAWS: dict[str, Any] = {"Uniform": Uniform, "Fixed": Fixed, "Discrete": Discrete}  # by name, for recipes


def _check_amplitudes(values: Sequence[float], what: str) -> None:
    if not values or not all(is_number(v) and 1e-6 <= v <= 1e6 for v in values):
        raise InputError(f"amplitudes must be between 1e-6 and 1e6, got {what}={values}: take e.g. Uniform(0.8, 1.2)")


def is_number(value: Any) -> bool:
    """Whether a value is one finite real number."""
    real = not isinstance(value, (bool, str)) and np.isscalar(value) and np.isreal(value)
    return bool(real and isfinite(value))


def generator(seed: int | Sequence[int]) -> np.random.Generator:
    """The `numpy.random.Generator` of a seed. Raises InputError where it is none."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError):
        raise InputError(f"seed must be a whole number of at least 0, got {seed!r}: take e.g. seed=0") from None

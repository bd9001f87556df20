"""Laws of the amplitude z that multiplies a feature in an image, and random generators from seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Protocol

import numpy as np

from dynsim.errors import InputError
from dynsim.model.quadrature import legendre


class Law(Protocol):
    """Protocol of a law of amplitudes z in [L, U]; one of your own needs no more than this.

    Examples
    --------
    >>> import dynsim
    >>> import numpy as np
    >>> class Power:
    ...     "Density proportional to z on [0, 1] + 1/2."
    ...     L, U = 0.5, 1.5
    ...     def sample(self, rng, size):
    ...         return 0.5 + np.sqrt(rng.random(size))
    ...     def nodes(self, n):
    ...         x, weight = np.polynomial.legendre.leggauss(n)
    ...         return 1 + x / 2, weight * (1 + x) / 2
    ...     def moment(self, power):
    ...         z, weight = self.nodes(power + 2)
    ...         return float(weight @ z**power)
    >>> law = Power()
    >>> round(law.moment(1), 6)
    1.166667
    >>> dynsim.Problem(amplitude=law).amplitude is law
    True
    """

    @property
    def L(self) -> float:
        """Smallest amplitude."""

    @property
    def U(self) -> float:
        """Largest amplitude."""

    def sample(self, rng: np.random.Generator, size: tuple[int, ...], /) -> np.ndarray:
        """Draw amplitudes.

        Parameters
        ----------
        rng : numpy.random.Generator
            Source of randomness.
        size : tuple of int
            Shape of the result.

        Returns
        -------
        ndarray of shape ``size``
            Independent amplitudes.
        """

    def nodes(self, n: int, /) -> tuple[np.ndarray, np.ndarray]:
        """Return amplitudes and probabilities for averages over z.

        Parameters
        ----------
        n : int
            About how many.

        Returns
        -------
        z : ndarray of shape (nodes,)
            Amplitudes.
        weight : ndarray of shape (nodes,)
            Their probabilities, which sum to one.
        """

    def moment(self, power: int, /) -> float:
        """Return E[z^power].

        Parameters
        ----------
        power : int
            Exponent, at least 0.

        Returns
        -------
        float
            The mean of z^power.
        """


@dataclass(frozen=True)
class Uniform:
    """Amplitudes uniform on [L, U].

    Parameters
    ----------
    L : float
        Smallest amplitude, between 1e-6 and 1e6.
    U : float
        Largest amplitude, between L and 1e6.

    Raises
    ------
    InputError
        If a bound is out of range, or L > U.

    Examples
    --------
    >>> import dynsim
    >>> law = dynsim.Uniform(0.5, 1.5)
    >>> round(law.moment(2), 6)
    1.083333
    >>> import numpy as np
    >>> law.sample(np.random.default_rng(0), (2, 3)).shape
    (2, 3)
    """

    L: float = 0.8
    U: float = 1.2

    def __post_init__(self) -> None:
        _check_amplitudes((self.L, self.U), "L and U")
        if self.L > self.U:
            raise InputError(f"amplitudes need L <= U, got L={self.L:g} and U={self.U:g}: swap them")

    def sample(self, rng: np.random.Generator, size: int | tuple[int, ...]) -> np.ndarray:
        """Draw amplitudes.

        Parameters
        ----------
        rng : numpy.random.Generator
            Source of randomness.
        size : int or tuple of int
            Shape of the result.

        Returns
        -------
        ndarray of shape ``size``
            Independent amplitudes.
        """
        return rng.uniform(self.L, self.U, size)

    def nodes(self, n: int = 16) -> tuple[np.ndarray, np.ndarray]:
        """Return Gauss-Legendre amplitudes and probabilities.

        Parameters
        ----------
        n : int
            Number of nodes; the rule is exact for polynomials up to degree 2n - 1.

        Returns
        -------
        z : ndarray of shape (n,)
            Amplitudes; a single one where L = U.
        weight : ndarray of shape (n,)
            Their probabilities, which sum to one.
        """
        if self.L == self.U:
            return np.array([float(self.L)]), np.ones(1)
        x, weight = legendre(n)
        return 0.5 * (self.L + self.U) + 0.5 * (self.U - self.L) * x, 0.5 * weight

    def moment(self, power: int) -> float:
        """Return E[z^power], exact to rounding.

        Parameters
        ----------
        power : int
            Exponent, at least 0.

        Returns
        -------
        float
            The mean of z^power.
        """
        return _mean_power(*self.nodes(max(2, power)), power)


@dataclass(frozen=True)
class Fixed:
    """Every amplitude equal to z.

    Parameters
    ----------
    z : float
        The amplitude, between 1e-6 and 1e6.

    Raises
    ------
    InputError
        If z is out of range.

    Examples
    --------
    >>> import dynsim
    >>> dynsim.Fixed(2.0).moment(3)
    8.0
    """

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
        """Return the amplitude in a given shape.

        Parameters
        ----------
        rng : numpy.random.Generator
            Not used: nothing is drawn.
        size : int or tuple of int
            Shape of the result.

        Returns
        -------
        ndarray of shape ``size``
            The amplitude throughout.
        """
        return np.full(size, float(self.z))

    def nodes(self, n: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Return the one amplitude and its probability.

        Parameters
        ----------
        n : int
            Not used.

        Returns
        -------
        z : ndarray of shape (1,)
            The amplitude.
        weight : ndarray of shape (1,)
            One.
        """
        return np.array([float(self.z)]), np.ones(1)

    def moment(self, power: int) -> float:
        """Return z^power.

        Parameters
        ----------
        power : int
            Exponent, at least 0.

        Returns
        -------
        float
            The mean of z^power.
        """
        return float(self.z) ** power


@dataclass(frozen=True)
class Discrete:
    """Amplitudes from a finite list with given probabilities.

    Parameters
    ----------
    values : sequence of float
        The amplitudes, each between 1e-6 and 1e6.
    weights : sequence of float, optional
        As many positive numbers, scaled to sum to one; equal by default.

    Raises
    ------
    InputError
        If an amplitude is out of range, or weights are not positive or not as many.

    Examples
    --------
    >>> import dynsim
    >>> law = dynsim.Discrete((0.5, 1.5), (3, 1))
    >>> law.weights, law.moment(1)
    ((0.75, 0.25), 0.75)
    """

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
        """Draw amplitudes.

        Parameters
        ----------
        rng : numpy.random.Generator
            Source of randomness.
        size : int or tuple of int
            Shape of the result.

        Returns
        -------
        ndarray of shape ``size``
            Independent amplitudes.
        """
        return rng.choice(self.values, size, p=self.weights)

    def nodes(self, n: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return all amplitudes and their probabilities: averages are exact.

        Parameters
        ----------
        n : int, optional
            Not used.

        Returns
        -------
        z : ndarray of shape (values,)
            Amplitudes.
        weight : ndarray of shape (values,)
            Their probabilities, which sum to one.
        """
        return np.array(self.values), np.array(self.weights)

    def moment(self, power: int) -> float:
        """Return E[z^power].

        Parameters
        ----------
        power : int
            Exponent, at least 0.

        Returns
        -------
        float
            The mean of z^power.
        """
        return _mean_power(*self.nodes(), power)


LAWS: dict[str, Any] = {"Uniform": Uniform, "Fixed": Fixed, "Discrete": Discrete}  # by name, for recipes


def _mean_power(z: np.ndarray, weight: np.ndarray, power: int) -> float:
    """Sum of weight z^power, factor by factor: the same bits on every machine, unlike a BLAS and ``**``."""
    terms = weight.copy()
    for _ in range(power):
        terms *= z
    return float(terms.sum())


def _check_amplitudes(values: Sequence[float], what: str) -> None:
    if not values or not all(is_number(v) and 1e-6 <= v <= 1e6 for v in values):
        raise InputError(f"amplitudes must be between 1e-6 and 1e6, got {what}={values}: take e.g. Uniform(0.8, 1.2)")


def is_number(value: Any) -> bool:
    """Return whether a value is one finite real number.

    Parameters
    ----------
    value : object
        Anything.

    Returns
    -------
    bool
        False also for truth values and text.

    Examples
    --------
    >>> from dynsim.model.amplitude import is_number
    >>> is_number(1e3), is_number(True), is_number("3"), is_number(float("nan"))
    (True, False, False, False)
    """
    real = not isinstance(value, (bool, str)) and np.isscalar(value) and np.isreal(value)
    return bool(real and isfinite(value))


def check_temperature(temperature: float) -> None:
    """Raise InputError unless a temperature is positive and its inverse finite.

    Parameters
    ----------
    temperature : float
        The tau of a softmax over pairs.

    Raises
    ------
    InputError
        If it is something else.

    Examples
    --------
    >>> from dynsim.model.amplitude import check_temperature
    >>> check_temperature(0.5)
    """
    if not (is_number(temperature) and temperature > 0 and np.isfinite(1 / temperature)):
        raise InputError(f"temperature must be positive and finite, got {temperature!r}: take e.g. 0.5")


def seed_of(seed: Any, rng: Any, default: Any = 0) -> Any:
    """Return the seed to draw with, where a function takes `seed` or, in place of it, `rng` (SPEC 7 of Scientific Python).

    Parameters
    ----------
    seed : int, sequence of int or None
        The seed that was given.
    rng : None, numpy.random.Generator, or what numpy.random.default_rng takes
        Where it is given, a seed is drawn from it: what is recorded is a number, with which everything is drawn again.
    default : int or None
        What ``seed`` is where it was left out.

    Returns
    -------
    int, sequence of int or None
        The seed.

    Raises
    ------
    InputError
        If both are given, or rng makes no generator.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim.model.amplitude import seed_of
    >>> seed_of(3, None), seed_of(0, 7) == seed_of(0, np.random.default_rng(7))
    (3, True)
    """
    if rng is None:
        return seed
    if not (seed is default or (is_number(seed) and seed == default)):
        raise InputError(f"give seed or rng, got both, seed={seed!r} and rng={rng!r}: leave one of them out")
    try:
        return int(np.random.default_rng(rng).integers(2**63))
    except (TypeError, ValueError, AttributeError):
        raise InputError(
            f"rng must be a numpy.random.Generator or a whole number of at least 0, got {rng!r}: take e.g. rng=1"
        ) from None


def generator(seed: int | Sequence[int]) -> np.random.Generator:
    """Return the random generator of a seed.

    Parameters
    ----------
    seed : int or sequence of int
        Whole numbers of at least 0.

    Returns
    -------
    numpy.random.Generator
        A new generator: the same draws for the same seed.

    Raises
    ------
    InputError
        If the seed is none.

    Examples
    --------
    >>> from dynsim.model.amplitude import generator
    >>> generator(0).integers(100, size=3).tolist() == generator(0).integers(100, size=3).tolist()
    True
    """
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError):
        raise InputError(f"seed must be a whole number of at least 0, got {seed!r}: take e.g. seed=0") from None

"""Embedding: the vectors that stand for positions and features, orthonormal or not.

Position p has the vector e_p = E[:, p], feature f the vector v_f = V[:, f], both in R^d. A masked patch carries the mask
token mu: as a query its vector is e_p + mu, as a key e_q + mu, and its value is 0 ("zero") or mu ("token"); an unmasked
patch has key X_q + e_q and value X_q (docs/beyond.md, eq. B1-B3). The paper takes E and V orthonormal and mu = 0. The
dynamics depend on the vectors only through their inner products.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from dynsim.errors import InputError
from dynsim.model.amplitude import generator, is_number, seed_of
from dynsim.model.partition import Partition

ORTHONORMAL = 1e-13  # largest entry of B^T B - I that counts as rounding


@dataclass(frozen=True, eq=False)
class Embedding:
    """Vectors of positions and features, and a mask token; frozen, the arrays copied and made read-only.

    Parameters
    ----------
    E : array_like of shape (d, P)
        Vectors of the positions, one per column.
    V : array_like of shape (d, F)
        Vectors of the features, one per column, counted cluster by cluster.
    mu : array_like of shape (d,), optional
        Mask token; none by default.
    masked_value : {"zero", "token"}
        What a masked key has as its value.
    origin : dict, optional
        How the vectors came about, as plain data.

    Raises
    ------
    InputError
        If shapes are wrong, entries not finite, or a token value is asked for without a token.

    Examples
    --------
    >>> import dynsim
    >>> part = dynsim.Partition.blocks(dynsim.Problem(K=2, gamma=0.75, P=16))
    >>> embedding = dynsim.Embedding.sinusoidal_2d(part, d=64)
    >>> embedding
    Embedding: 16 positions and 4 features in R^64, no mask token
        sinusoidal_2d, temperature=10000.0, seed=0, normalise=True
    >>> embedding.is_orthonormal, embedding.has_orthonormal_features
    (False, True)
    >>> dynsim.Embedding(embedding.E, embedding.V[:, :3]).check(part)
    Traceback (most recent call last):
    dynsim.errors.InputError: V needs one column per feature ..., 4 here, got 3: build it for this partition
    """

    E: np.ndarray
    V: np.ndarray
    mu: np.ndarray | None = None
    masked_value: str = "zero"
    origin: dict = field(default_factory=lambda: {"kind": "arrays"})

    def __post_init__(self) -> None:
        for name in ("E", "V", "mu"):
            value = getattr(self, name)
            if value is None and name == "mu":
                continue
            try:
                value = np.array(value, dtype=float)
            except (TypeError, ValueError):
                raise InputError(f"{name} must be real numbers, got {type(value).__name__}: give an array") from None
            ndim = 1 if name == "mu" else 2
            if value.ndim != ndim or value.size == 0:
                shape = {"E": "(d, P)", "V": "(d, F)", "mu": "(d,)"}[name]
                raise InputError(f"{name} must be of shape {shape}, got {value.shape}: one vector of R^d per column")
            if not np.isfinite(value).all():
                bad = tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0])
                raise InputError(f"{name} must be finite, got {value[bad]} at {bad}: remove or replace such entries")
            value.setflags(write=False)
            object.__setattr__(self, name, value)
        for name in ("V", "mu"):
            value = getattr(self, name)
            if value is not None and len(value) != self.d:
                raise InputError(f"E, V and mu lie in one space R^d, got d={self.d} for E and {len(value)} for {name}: same d")
        if self.masked_value not in ("zero", "token"):
            raise InputError(f"masked_value must be 'zero' or 'token', got {self.masked_value!r}: take 'zero'")
        if self.masked_value == "token" and self.mu is None:
            raise InputError("masked_value='token' needs a mask token, got mu=None: give mu of shape (d,)")

    def __repr__(self) -> str:
        token = "no mask token"
        if self.mu is not None:
            token = f'mask token of norm {np.linalg.norm(self.mu):.3g}, masked value "{self.masked_value}"'
        origin = ", ".join([str(self.origin.get("kind")), *(f"{k}={v!r}" for k, v in self.origin.items() if k != "kind")])
        return (
            f"Embedding: {self.P} positions and {self.F} features in R^{self.d}, {token}\n"
            f"    {origin if len(origin) < 120 else origin[:117] + '...'}"
        )

    @property
    def d(self) -> int:
        """Dimension of the space."""
        return self.E.shape[0]

    @property
    def P(self) -> int:
        """Number of positions."""
        return self.E.shape[1]

    @property
    def F(self) -> int:
        """Number of features."""
        return self.V.shape[1]

    @property
    def queries(self) -> np.ndarray:
        """Vectors of the masked queries, e_p + mu, of shape (d, P)."""
        return self.E if self.mu is None else self.E + self.mu[:, None]

    @property
    def content(self) -> np.ndarray:
        """Vectors that a key carries beside its position: features, then the mask token if any, (d, F) or (d, F + 1)."""
        return self.V if self.mu is None else np.column_stack([self.V, self.mu])

    @cached_property
    def keys(self) -> np.ndarray:
        """All vectors that make up keys: features, mask token if any, positions, (d, F + P) or (d, F + 1 + P)."""
        return np.column_stack([self.content, self.E])

    @cached_property
    def gram(self) -> np.ndarray:
        """Inner products of the vectors in ``keys``."""
        return self.keys.T @ self.keys

    @cached_property
    def is_orthonormal(self) -> bool:
        """Whether positions and features are orthonormal, all together, to rounding, and there is no mask token."""
        return self.mu is None and self.d >= self.P + self.F and bool(_is_identity(self.gram))

    @cached_property
    def has_orthonormal_features(self) -> bool:
        """Whether the features are orthonormal among themselves, to rounding, and there is no mask token."""
        return self.mu is None and self.d >= self.F and bool(_is_identity(self.V.T @ self.V))

    @cached_property
    def is_onehot(self) -> bool:
        """Whether the vectors are orthonormal and coordinate axes, so that elementwise optimisers reduce exactly."""
        return self.is_orthonormal and bool(np.isin(self.keys, (0.0, 1.0)).all())

    def with_token(self, mu: np.ndarray, masked_value: str = "zero") -> "Embedding":
        """Return the same positions and features with a mask token.

        Parameters
        ----------
        mu : array_like of shape (d,)
            The mask token.
        masked_value : {"zero", "token"}
            What a masked key has as its value.

        Returns
        -------
        Embedding
            A new embedding.

        Raises
        ------
        InputError
            If mu has another shape, or entries that are not finite.

        Examples
        --------
        >>> import dynsim
        >>> import numpy as np
        >>> part = dynsim.Partition.blocks(dynsim.Problem(K=1, gamma=0.75, P=16))
        >>> dynsim.Embedding.random(part, d=8).with_token(np.full(8, 0.5), "token")
        Embedding: 16 positions and 2 features in R^8, mask token of norm 1.41, masked value "token"
            random, seed=0
        """
        return replace(self, mu=mu, masked_value=masked_value)

    def check(self, part: Partition) -> None:
        """Raise InputError unless these vectors fit a partition.

        Parameters
        ----------
        part : Partition
            The partition they are to be used with.

        Raises
        ------
        InputError
            If the number of positions or features is another.
        """
        for name, columns, wanted in (("E", self.P, part.P), ("V", self.F, part.F)):
            if columns != wanted:
                what = "position" if name == "E" else "feature (one per area, cluster by cluster)"
                raise InputError(f"{name} needs one column per {what}, {wanted} here, got {columns}: build it for this partition")

    def describe(self) -> dict:
        """Return what this embedding is, as plain data.

        Returns
        -------
        dict
            The origin, ``d``, whether the vectors are ``orthonormal``, and the ``token`` (norm and masked value, or None).
        """
        token = None if self.mu is None else {"norm": float(np.linalg.norm(self.mu)), "masked_value": self.masked_value}
        return {**self.origin, "d": self.d, "orthonormal": self.is_orthonormal, "token": token}

    @classmethod
    def orthonormal(cls, part: Partition, d: int | None = None, seed: int | None = None, *, rng: Any = None) -> "Embedding":
        """Return orthonormal positions and features, the paper's assumption.

        Parameters
        ----------
        part : Partition
            Gives the numbers of positions and features.
        d : int, optional
            Dimension, at least P + F, which is the default.
        seed : int, optional
            Seed of a random rotation; coordinate axes by default.
        rng : optional
            A numpy.random.Generator or what makes one, in place of ``seed``: a seed is drawn from it.

        Returns
        -------
        Embedding
            An orthonormal embedding.

        Raises
        ------
        InputError
            If d < P + F.

        Examples
        --------
        >>> import dynsim
        >>> part = dynsim.Partition.blocks(dynsim.Problem(K=1, gamma=0.75, P=16))
        >>> dynsim.Embedding.orthonormal(part).is_onehot, dynsim.Embedding.orthonormal(part, seed=0).is_onehot
        (True, False)
        """
        seed, need = seed_of(seed, rng, None), part.P + part.F
        d = need if d is None else _dimension(d)
        if d < need:
            raise InputError(f"orthonormal positions and features need d >= P + F = {need}, got d={d}: take d={need}")
        B = np.eye(d, need) if seed is None else _rotation(generator(seed), d, need)
        return cls(B[:, : part.P], B[:, part.P :], origin={"kind": "orthonormal", "seed": seed})

    @classmethod
    def sinusoidal_2d(
        cls, part: Partition, d: int, temperature: float = 10000.0, seed: int = 0, normalise: bool = True, *, rng: Any = None
    ) -> "Embedding":
        """Return sines and cosines of the place of a patch on the grid, as in masked autoencoders.

        Parameters
        ----------
        part : Partition
            Gives the grid and the number of features.
        d : int
            Dimension, a multiple of 4.
        temperature : float
            Ratio of the longest to the shortest wavelength.
        seed : int
            Seed of the features.
        normalise : bool
            Whether vectors are divided by their norm sqrt(d / 2), which the reference implementation leaves.
        rng : optional
            A numpy.random.Generator or what makes one, in place of ``seed``: a seed is drawn from it.

        Returns
        -------
        Embedding
            Features are random, orthonormal among themselves where d >= F (not to the positions), else unit vectors.

        Raises
        ------
        InputError
            Unless 4 divides d and the temperature is positive.

        Notes
        -----
        d / 2 entries for the column of a patch, then d / 2 for its row; of each, d / 4 sines, then d / 4 cosines, of frequencies
        temperature^(-i / (d / 4)).

        Examples
        --------
        >>> import dynsim
        >>> part = dynsim.Partition.blocks(dynsim.Problem(K=1, gamma=0.75, P=16))
        >>> dynsim.Embedding.sinusoidal_2d(part, d=8).E.shape
        (8, 16)
        """
        d = _dimension(d)
        if d % 4:
            raise InputError(f"d must be a multiple of 4 (sines and cosines of two axes), got {d}: take d={d + 4 - d % 4}")
        if not (is_number(temperature) and temperature > 0):
            raise InputError(f"temperature must be positive and finite, got {temperature!r}: take e.g. 10000")
        row, column = np.divmod(np.arange(part.P), part.grid[1])
        omega = float(temperature) ** -(np.arange(d // 4) / (d // 4))
        waves = [wave(np.outer(omega, place)) for place in (column, row) for wave in (np.sin, np.cos)]
        E = np.concatenate(waves) / (np.sqrt(d / 2) if normalise else 1.0)
        seed = seed_of(seed, rng)
        draw = generator(seed)
        V = _rotation(draw, d, part.F) if d >= part.F else _unit(draw, d, part.F)
        origin = {"kind": "sinusoidal_2d", "temperature": float(temperature), "seed": seed, "normalise": bool(normalise)}
        return cls(E, V, origin=origin)

    @classmethod
    def random(cls, part: Partition, d: int, seed: int = 0, *, rng: Any = None) -> "Embedding":
        """Draw positions and features uniformly from the unit sphere.

        Parameters
        ----------
        part : Partition
            Gives the numbers of positions and features.
        d : int
            Dimension, any.
        seed : int
            Seed of the draws.
        rng : optional
            A numpy.random.Generator or what makes one, in place of ``seed``: a seed is drawn from it.

        Returns
        -------
        Embedding
            Inner products are of size d^(-1/2).

        Raises
        ------
        InputError
            If d is no whole number of at least 1.

        Examples
        --------
        >>> import dynsim
        >>> part = dynsim.Partition.blocks(dynsim.Problem(K=1, gamma=0.75, P=16))
        >>> dynsim.Embedding.random(part, d=8).V.shape
        (8, 2)
        """
        d, seed = _dimension(d), seed_of(seed, rng)
        draw = generator(seed)
        return cls(_unit(draw, d, part.P), _unit(draw, d, part.F), origin={"kind": "random", "seed": seed})

    @classmethod
    def correlated(cls, part: Partition, gram: np.ndarray) -> "Embedding":
        """Return orthonormal positions, and features orthogonal to them with given inner products.

        Parameters
        ----------
        part : Partition
            Gives the numbers of positions and features.
        gram : array_like of shape (F, F)
            Inner products of the features, counted cluster by cluster: symmetric, without negative eigenvalues.

        Returns
        -------
        Embedding
            In R^(P + F).

        Raises
        ------
        InputError
            If gram has another shape, is not symmetric, or has a negative eigenvalue.

        Examples
        --------
        >>> import dynsim
        >>> import numpy as np
        >>> part = dynsim.Partition.blocks(dynsim.Problem(K=1, gamma=0.75, P=16))
        >>> embedding = dynsim.Embedding.correlated(part, 0.8 * np.eye(2) + 0.2)
        >>> round(float(embedding.V[:, 0] @ embedding.V[:, 1]), 12)
        0.2
        """
        gram, F = np.array(gram, dtype=float), part.F
        if gram.shape != (F, F):
            raise InputError(f"gram must be (F, F) with F={F} features, got {gram.shape}: features count cluster by cluster")
        if not np.isfinite(gram).all() or not np.allclose(gram, gram.T, rtol=0, atol=1e-12 * np.abs(gram).max()):
            raise InputError("gram must be finite and symmetric, got one that is not: take e.g. (gram + gram.T) / 2")
        values, vectors = np.linalg.eigh((gram + gram.T) / 2)
        if values[0] < -1e-12 * max(values[-1], 0.0) or values[-1] <= 0:
            raise InputError(f"gram must have no negative eigenvalue, got {values[0]:g}: weaken the correlations")
        root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
        E, V = np.eye(part.P + F, part.P), np.zeros((part.P + F, F))
        V[part.P :] = root
        return cls(E, V, origin={"kind": "correlated"})


def _dimension(d: int) -> int:
    if isinstance(d, bool) or not isinstance(d, (int, np.integer)) or d < 1:
        raise InputError(f"d must be a whole number of at least 1 dimension, got {d!r}: take e.g. d=64")
    return int(d)


def _is_identity(gram: np.ndarray) -> bool:
    return np.abs(gram - np.eye(len(gram))).max() <= ORTHONORMAL


def _rotation(rng: np.random.Generator, d: int, n: int) -> np.ndarray:
    """n columns of a random rotation of R^d, uniformly distributed."""
    Q, R = np.linalg.qr(rng.standard_normal((d, n)))
    return Q * np.sign(np.diagonal(R))


def _unit(rng: np.random.Generator, d: int, n: int) -> np.ndarray:
    """n random unit vectors of R^d."""
    columns = rng.standard_normal((d, n))
    return columns / np.linalg.norm(columns, axis=0)

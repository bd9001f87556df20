"""The contrastive objective on any images, exact (docs/images.md, eq. I3-I5).

Every picture i is seen under two masks: views a and b, with unmasked sets U. Every patch p, masked or not, queries with its
position, and outputs are pooled in pixel space. With attn_p. the softmax over q of 1{q in U} Phi_p . X_q + Upsilon_pq,

    F(X) = (1/P) sum_p sum_q attn_pq 1{q in U} X_q,   s_ij = F(X_i^a) . F(X_j^b),   w_ij = softmax_j(s_ij / tau),
    L = -(tau/n) sum_i log w_ii,
    G_i = dL/dF(X_i^a) = (1/n) sum_j (w_ij - 1{i=j}) F(X_j^b),   g_q = 1{q in U} X_q . G_i / P,   gbar_p = sum_q attn_pq g_q
    dPhi_p/dt = -sum attn_pq (g_q - gbar_p) 1{q in U} X_q,   dUpsilon_pq/dt = -sum attn_pq (g_q - gbar_p)

summed over pictures; without stop-gradient also over views b. Velocities depend on p only through Phi_p and Upsilon_p: from a
start at zero on all queries are one another's copy, and one of them is enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dynsim.errors import InputError
from dynsim.model.amplitude import check_temperature
from dynsim.model.areas import Layout
from dynsim.model.images import Images
from dynsim.reduced.field import Field, Observation, Option, Recipe
from dynsim.reduced.image_layout import ImageLayout
from dynsim.reduced.image_options import PICTURES, choose_images

if TYPE_CHECKING:
    from dynsim.model.problem import Problem


class ImageContrastiveField(Field):
    """Velocity of the correlations under the contrastive loss of two views of any images; exact.

    Parameters
    ----------
    first, second : Images
        The views: the same pictures row by row, under two masks, with equal weights. E.g. two `Images.cut` with other seeds.
    temperature : float
        The tau of the softmax over pairs.
    stop_gradient : bool
        Whether only the first view learns, as in momentum contrast.

    Raises
    ------
    InputError
        Where the views do not show the same pictures, or an option is out of range.

    Notes
    -----
    State and public shapes are those of `ImageField`, with which it adds up; attention (P, P) is the mean over first views of
    what every query, masked or not, pays to each key. The loss is L of (I3), not per patch.

    Examples
    --------
    >>> import numpy as np, dynsim
    >>> pictures = np.random.default_rng(0).uniform(size=(20, 12, 12))
    >>> views = [dynsim.Images.cut(pictures, patch=4, seed=seed, scale="unit") for seed in (0, 1)]
    >>> run = dynsim.reduced.descend(dynsim.reduced.ImageContrastiveField(*views), eta=10.0, steps=50, keep=50)
    >>> bool(run.loss[-1] < run.loss[0]), bool((run.fp[-1] == run.fp[-1, 0]).all())
    (True, True)
    """

    method = "contrastive-any-images"
    objective = "contrastive"
    options = (
        *PICTURES,
        Option("temperature", float, 0.5, "of the softmax over pairs, positive"),
        Option("stop_gradient", bool, True, "take the second view as a constant in the gradient"),
    )
    events: ClassVar[Mapping[str, str]] = {}

    def __init__(self, first: Images, second: Images, temperature: float = 0.5, stop_gradient: bool = True) -> None:
        for view in (first, second):
            if not isinstance(view, Images):
                raise InputError(f"views must be Images, got {type(view).__name__}: cut the pictures twice, with two seeds")
            if np.ptp(view.weight) > 1e-12:
                raise InputError("views must have equal weights, got unequal ones: leave weight out")
        same = first.patches.shape == second.patches.shape and first.n == second.n and (first.image == second.image).all()
        if not (same and (first.patches == second.patches).all()):
            raise InputError(f"views must show the same pictures row by row, got n={first.n} and {second.n}: cut the same twice")
        if first.n < 2:
            raise InputError("contrast needs at least 2 pictures, got 1: give more")
        check_temperature(temperature)
        self.first, self.second, self.images = first, second, first
        self.conservative = not stop_gradient
        self.temperature, self.stop_gradient = float(temperature), bool(stop_gradient)
        self.P, self.d = first.P, first.d
        self.layout: Layout = ImageLayout()
        self._prepare()

    def start(self) -> np.ndarray:
        """The state at Q = 0: all correlations zero, (d + P, P)."""
        return np.zeros((self.d + self.P, self.P))

    def velocity(self, y: np.ndarray, step: int = 0, out: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """(L, dy/dt) at state y; dy is written to `out` where one is given."""
        from dynsim.reduced.kernels import image_pairs

        queries = self._queries(y)
        self._pool(queries)
        image_pairs.contrast((self._outputs, self._slopes, self._outputs), self._pairs, self._settings)
        found = np.zeros_like(queries)
        for view, start in zip(self._views[: 1 if self.stop_gradient else 2], (0, self._size), strict=False):
            image_pairs.back(queries, view, self._slopes, start, self._stride, found)
        result = np.empty(y.shape) if out is None else out
        result[...] = found.T
        return float(self._loss.sum()) / self.first.n, result

    def attention(self, y: np.ndarray) -> np.ndarray:
        """Mean attention (P, P) of every query on each key, over first views."""
        return np.broadcast_to(self._pool(self._queries(y)) / self.first.n, (self.P, self.P)).copy()

    def observe(self, y: np.ndarray, step: int = 0, out: np.ndarray | None = None) -> Observation:
        """Loss, velocity and attention."""
        return Observation(*self.velocity(y, step, out), self.attention(y))

    def correlations(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """FP (P, d), along the pixel axes, and PP (P, P) correlations of state y, copied."""
        return y[: self.d].T.copy(), y[self.d :].T.copy()

    def event_values(self, loss: float, attention: np.ndarray, first_loss: float) -> dict[str, float]:
        """No events."""
        return {}

    def describe(self) -> dict:
        """What this field is, as plain data."""
        sizes = {"n": self.first.n, "P": self.P, "d": self.d, "grid": list(self.first.grid)}
        return {"method": self.method, **sizes, "temperature": self.temperature, "stop_gradient": self.stop_gradient}

    @classmethod
    def from_options(
        cls,
        problem: Problem | None = None,
        seed: int = 0,
        temperature: float = 0.5,
        stop_gradient: bool = True,
        threads: int | None = None,
        **pictures: Any,
    ) -> ImageContrastiveField:
        """Build the field of two views of every picture, whose masks are drawn from ``seed``; ``threads`` are those of BLAS."""
        first = choose_images(problem, seed, **pictures)
        return cls(first, first.with_masks([seed, 1]), temperature, stop_gradient)

    @classmethod
    def predictions(cls, problem: Problem, query: str, /, closed: bool = True, **options: Any) -> dict[str, float | None]:
        """Nothing: theory of reconstruction does not hold here."""
        return {}

    @classmethod
    def plain_options(cls, problem: Problem | None = None) -> dict:
        """Options of the integrator for a run of the whole story; the gradient of a query is of order 1 / P."""
        return {"eta": 50.0, "steps": 1000}

    def recipe(self) -> Recipe:
        """Plain data and arrays from which `from_recipe` makes the same field."""
        numbers = {"temperature": self.temperature, "stop_gradient": self.stop_gradient}
        plain = {"method": self.method, "grid": list(self.first.grid), **numbers}
        arrays = {"patches": self.first.patches, "image": self.first.image}
        return plain, {**arrays, "first": self.first.masked, "second": self.second.masked}

    @classmethod
    def from_recipe(cls, plain: dict, arrays: Mapping[str, np.ndarray]) -> ImageContrastiveField:
        """The field of a recipe."""
        first, second = (
            Images(arrays["patches"], arrays[name], tuple(plain["grid"]), image=arrays["image"]) for name in ("first", "second")
        )
        return cls(first, second, plain["temperature"], plain["stop_gradient"])

    @classmethod
    def layout_of(cls, plain: dict, arrays: Mapping[str, np.ndarray]) -> Layout:
        """The layout of the field of a recipe."""
        return ImageLayout()

    # ---- inside

    def _prepare(self) -> None:
        """Arrays of the kernels: all pictures are pairs of one cluster, and pixels its areas."""
        from dynsim.reduced.kernels.simd import WIDTH

        n, d = self.first.n, self.d
        self._stride = (-(-n // WIDTH) | 1) * WIDTH  # an odd number of vectors: powers of two would share few sets of a cache
        size, whole = d * self._stride, np.int64
        self._views = [(view.patches, view.image, view.masked.view(np.uint8)) for view in (self.first, self.second)]
        self._outputs, self._slopes, self._loss = np.zeros(2 * size), np.zeros(2 * size), np.empty(n)
        one = [np.array([number], dtype=whole) for number in (0, n, self._stride, 0, d)]
        self._size, self._pairs = size, (np.array([0, n], dtype=whole), *one, size)
        weights = np.zeros(0 if self.stop_gradient else n * self._stride)
        none = np.zeros(1, dtype=whole), np.zeros(0, dtype=whole)
        row_at = np.arange(n, dtype=whole) * self._stride
        self._settings = self.temperature, self._loss, np.zeros(n, dtype=whole), *none, weights, row_at

    def _queries(self, y: np.ndarray) -> np.ndarray:
        """The queries that differ, (P, d + P), or (1, d + P) where all are one another's copy."""
        return np.ascontiguousarray(y[:, :1].T if (y == y[:, :1]).all() else y.T, dtype=float)

    def _pool(self, queries: np.ndarray) -> np.ndarray:
        """Fill in the outputs of both views: attention (queries, P) summed over first views."""
        from dynsim.reduced.kernels import image_pairs

        seen = np.empty((2, len(queries), self.P))
        for i, view in enumerate(self._views):
            image_pairs.pool(queries, view, self._outputs, i * self._size, self._stride, seen[i])
        return seen[0]

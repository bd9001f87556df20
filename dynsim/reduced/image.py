"""The exact field on any images (docs/images.md, eq. I1).

Patches X_q in R^d along orthonormal pixel axes u_j, positions e_p orthonormal and orthogonal to them. With Phi_pj = e_p^T Q u_j,
Upsilon_pq = e_p^T Q e_q, the softmax attn_p. over q of s_pq, the output F_p = sum_q attn_pq 1{q unmasked} X_q, r_p = F_p - X_p,

    s_pq = 1{q unmasked} Phi_p . X_q + Upsilon_pq,   g_q = 1{q unmasked} r_p . X_q,   gbar = sum_q attn_pq g_q,
    dPhi_p/dt = -sum_q attn_pq (g_q - gbar) 1{q unmasked} X_q,   dUpsilon_pq/dt = -attn_pq (g_q - gbar),

averaged over images; those that do not mask p contribute zero. No approximation: this is gradient descent on Q, written in the
correlations, for any pictures. A mask token mu of the pixel space stands in masked keys and is added to masked queries, which
then share |mu|^2 of every step (I2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from dynsim.errors import InputError, NoRecipe
from dynsim.model import memory
from dynsim.model.amplitude import seed_of
from dynsim.model.areas import Layout
from dynsim.model.images import Images
from dynsim.reduced.field import Field, Observation, Option, Recipe
from dynsim.reduced.image_layout import ImageLayout
from dynsim.reduced.image_options import PICTURES, choose_images

if TYPE_CHECKING:
    from dynsim.model.problem import Problem

LARGEST_EXPONENT = 300.0  # Upsilon beyond this makes a one-hot softmax; scores of content are shifted by the kernel
SMALL = 2e5  # multiply-adds below which handing work to threads costs more than it saves
DEPARTURE = 0.05


@dataclass(frozen=True)
class TokenVectors:
    """Vectors behind the correlations with a mask token, as far as optimisers need them.

    Parameters
    ----------
    size : float
        Norm of the token.

    Examples
    --------
    >>> from dynsim.reduced.image import TokenVectors
    >>> TokenVectors(2.0).describe()
    {'kind': 'mask-token', 'size': 2.0}
    """

    size: float
    is_onehot: ClassVar[bool] = False

    def describe(self) -> dict:
        """Return kind and size.

        Returns
        -------
        dict
            Plain data.
        """
        return {"kind": "mask-token", "size": self.size}


class ImageField(Field):
    """Velocity of the correlations on any images; exact.

    Parameters
    ----------
    images : Images, or callable
        The images; or a function of the step that returns those of the step.
    threads : int, optional
        Threads to use; all cores when left out. Changes the time that a step takes, never the bits.
    hold : {"fp", "pp"}, optional
        Keeps that correlation at zero (projected descent).
    token : array (d,), optional
        Mask token mu of the pixel space.
    masked_value : {"zero", "token"}
        Value of a masked key: zero, or the token.
    batch : int, optional
        Rows of the data at every step, drawn independently by their weights; all of them when left out.
    seed : int
        Of the draw of batches.
    rng : optional
        A numpy.random.Generator or what makes one, in place of ``seed``: a seed is drawn from it.

    Attributes
    ----------
    floor : None
        No lower bound of the loss is known.
    images : Images
        The images; of the last step where they are drawn.

    Raises
    ------
    InputError
        Where an option or the token does not fit the images.

    Notes
    -----
    The state is one array (d + P, P): Phi transposed above Upsilon transposed, queries on the contiguous axis. Public shapes: fp
    (P, d), pp (P, P), attention (P, P), the mean over images that mask the query of what it pays to each key, masked keys
    included; rows sum to one, and are NaN where no image masks the query. Equation (I1) of docs/images.md.

    Examples
    --------
    >>> import numpy as np, dynsim
    >>> pictures = np.random.default_rng(0).uniform(size=(20, 12, 12))
    >>> field = dynsim.reduced.ImageField(dynsim.Images.cut(pictures, patch=4), threads=1)
    >>> run = dynsim.reduced.descend(field, eta=1.0, steps=10, keep=10)
    >>> run.fp.shape, run.pp.shape, bool(run.loss[-1] < run.loss[0])
    ((2, 9, 16), (2, 9, 9), True)
    """

    method = "any-images"
    options = (
        *PICTURES,
        Option("masks_per_image", int, 1, "masks that every image is seen under", least=1),
        Option("batch", int, None, "rows of the data at every step; all when left out", least=1),
        Option("hold", str, None, "a correlation to keep at zero", choices=("fp", "pp")),
    )
    events = {"departure": f"the loss has fallen by {DEPARTURE:.0%} of its start"}

    def __init__(
        self,
        images: Images | Callable[[int], Images],
        threads: int | None = None,
        hold: str | None = None,
        token: ArrayLike | None = None,
        masked_value: str = "zero",
        batch: int | None = None,
        seed: int = 0,
        *,
        rng: Any = None,
    ) -> None:
        if not isinstance(images, Images) and not callable(images):
            raise InputError(f"images must be Images or a function of the step, got {type(images).__name__}: see Images.cut")
        if hold not in (None, "fp", "pp"):
            raise InputError(f"hold must be None, 'fp' or 'pp', got {hold!r}: name the correlation to keep at zero")
        if batch is not None and (isinstance(batch, bool) or not isinstance(batch, (int, np.integer)) or batch < 1):
            raise InputError(f"batch must be a whole number of at least 1 row, got {batch!r}: leave it out for all")
        if batch is not None and not isinstance(images, Images):
            raise InputError("batch is for given Images, got a function of the step: let it return so many rows")
        self.source, self.hold, self.batch, self.seed, self.threads = images, hold, batch, int(seed_of(seed, rng)), threads
        self.deterministic = batch is None and isinstance(images, Images)
        self._step: int | None = None
        self._prepare(images if isinstance(images, Images) else images(0))
        self.P, self.d = self.images.P, self.images.d
        self.mu, self.masked_value = self._token(token, masked_value), masked_value
        size = float(self.mu @ self.mu)
        self.embedding = TokenVectors(size) if token is not None else None  # type: ignore[assignment]  # what optimisers ask
        self.layout: Layout = ImageLayout()
        self.limit = LARGEST_EXPONENT
        memory.check(6 * 8 * (self.d + self.P) * self.P, f"a run on P={self.P} patches", "take larger patches")
        self._coupling = size
        self._given = token is not None, self.mu, float(masked_value == "token")
        self._loss = np.empty((1, self.P))
        self._attention, self._no_attention = np.empty((self.P, self.P)), np.empty((0, 0))
        self._at(0)

    def start(self) -> np.ndarray:
        """The state at Q = 0: all correlations zero, (d + P, P)."""
        return np.zeros((self.d + self.P, self.P))

    def velocity(self, y: np.ndarray, step: int = 0, out: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """(loss per masked patch, dy/dt) at state y, on the images of `step`; dy is written to `out` where one is given."""
        self._at(step)
        dy = np.empty(y.shape) if out is None else out
        return self._run(y, dy, self._no_attention), dy

    def attention(self, y: np.ndarray) -> np.ndarray:
        """Mean attention (P, P) of a masked query on each key, on the images of the last step; NaN for one never masked."""
        self._run(y, np.empty(y.shape), self._attention)
        return self._mean_attention()

    def observe(self, y: np.ndarray, step: int = 0, out: np.ndarray | None = None) -> Observation:
        """Loss, velocity and attention in one pass."""
        self._at(step)
        dy = np.empty(y.shape) if out is None else out
        loss = self._run(y, dy, self._attention)
        return Observation(loss, dy, self._mean_attention())

    def correlations(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """FP (P, d), along the pixel axes, and PP (P, P) correlations of state y, copied."""
        return y[: self.d].T.copy(), y[self.d :].T.copy()

    def scale(self) -> np.ndarray:
        """One for PP; for FP the inverse of the root mean square of |X_p|: scores of order one."""
        X = self.images.patches
        size = (float(np.einsum("npd,npd->", X, X)) / (X.shape[0] * X.shape[1])) ** 0.5
        return np.repeat([1.0 / size, 1.0], [self.d * self.P, self.P * self.P])

    def event_values(self, loss: float, attention: np.ndarray, first_loss: float) -> dict[str, float]:
        """Each of `events` as a number that turns positive where it happens."""
        return {"departure": 1 - DEPARTURE - loss / first_loss}

    def mobility(self, u: np.ndarray) -> np.ndarray:
        """Masked patches of an image, and what queries share by the token."""
        moved = self._masked_mean * u
        if self.hold is not None:
            moved[slice(None, self.d) if self.hold == "fp" else slice(self.d, None)] = 0.0
        return moved + self._coupling * moved.sum(axis=1, keepdims=True)

    def describe(self) -> dict:
        """What this field is, as plain data."""
        sizes = {"n": self.images.n, "P": self.P, "d": self.d, "grid": list(self.images.grid)}
        token = {} if self.embedding is None else {"token": self._coupling, "masked_value": self.masked_value}
        return {"method": self.method, **sizes, "batch": self.batch, "hold": self.hold, **token}

    def draw(self, step: int) -> Images:
        """Return the images of a step, as full.descend_images takes them.

        Parameters
        ----------
        step : int
            Number of the step.

        Returns
        -------
        Images
            The images.
        """
        if not isinstance(self.source, Images):
            return self.source(step)
        return self.source if self.batch is None else _equal(self.source.take(self._rows(step)))

    # ---- how it is built and stored

    @classmethod
    def from_options(
        cls,
        problem: Problem | None = None,
        seed: int = 0,
        batch: int | None = None,
        hold: str | None = None,
        threads: int | None = None,
        **pictures: Any,
    ) -> ImageField:
        """Build the field on the pictures of a file or folder, on an array of pictures, or on Images.

        Masks and batches are drawn from ``seed``. No problem is needed: where one is given, its gamma is used unless there is
        another.
        """
        return cls(choose_images(problem, seed, **pictures), threads, hold, batch=batch, seed=seed)

    @classmethod
    def plain_options(cls, problem: Problem | None = None) -> dict:
        """Options of ``descend``: no floor is known at which a run could end."""
        return {"eta": 2.0, "steps": 2000}

    def recipe(self) -> Recipe:
        """Plain data and arrays from which `from_recipe` makes the same field. Raises NoRecipe for a function of the step."""
        if not isinstance(self.source, Images):
            raise NoRecipe("a function that draws images is code of yours: pass the field itself")
        images = self.source
        plain = {
            "method": self.method, "grid": list(images.grid), "hold": self.hold, "masked_value": self.masked_value,
            "batch": self.batch, "seed": self.seed,
        }
        arrays = {name: getattr(images, name) for name in ("patches", "masked", "weight", "image")}
        return plain, {**arrays, **({} if self.embedding is None else {"token": self.mu})}

    @classmethod
    def from_recipe(cls, plain: dict, arrays: Mapping[str, np.ndarray]) -> ImageField:
        """The field of a recipe."""
        images = Images(arrays["patches"], arrays["masked"], tuple(plain["grid"]), arrays["weight"], arrays["image"])
        chosen = {name: plain[name] for name in ("hold", "masked_value", "batch", "seed")}
        return cls(images, token=arrays.get("token"), **chosen)

    @classmethod
    def layout_of(cls, plain: dict, arrays: Mapping[str, np.ndarray]) -> Layout:
        """The layout of the field of a recipe."""
        return ImageLayout()

    # ---- inside

    def _token(self, token: ArrayLike | None, masked_value: str) -> np.ndarray:
        """The mask token (d,), zero where there is none."""
        if masked_value not in ("zero", "token") or (token is None and masked_value == "token"):
            raise InputError(f"masked_value must be 'zero', or 'token' with a token, got {masked_value!r}: give token=")
        mu = np.zeros(self.d) if token is None else np.array(token, dtype=float)
        if mu.shape != (self.d,) or not np.isfinite(mu).all():
            raise InputError(f"token must be d={self.d} finite numbers, got shape {mu.shape}: one for each pixel of a patch")
        return mu

    def _rows(self, step: int) -> np.ndarray:
        """Rows of the data that are drawn at a step."""
        return np.random.default_rng([self.seed, step]).choice(self.images.n, self.batch, p=self.images.weight)

    def _prepare(self, images: Images) -> None:
        """Arrays of the kernel for these images."""
        from dynsim.reduced.kernels.reconstruction import division
        from dynsim.reduced.kernels.simd import WIDTH
        from dynsim.reduced.kernels.threads import ThreadPool, thread_count

        self.images = images
        m, P, d = images.patches.shape
        padded = P + -P % WIDTH
        columns = np.zeros((m, d, padded))
        columns[:, :, :P] = images.patches.transpose(0, 2, 1)
        masked = np.zeros((images.n, padded), dtype=np.uint8)
        masked[:, :P] = images.masked
        row, key = np.nonzero(~images.masked)
        key_ptr = np.searchsorted(row, np.arange(images.n + 1))
        self._arrays = images.patches.reshape(-1), columns.reshape(-1), images.image, masked, key_ptr, key
        if not hasattr(self, "_pool"):
            work = float(images.masked.sum()) * float((~images.masked).sum()) / images.n * d
            self._pool = ThreadPool(division(P)[1], 1 if work < SMALL else thread_count(self.threads))

    def _at(self, step: int) -> None:
        """Turn to the images of a step."""
        if step == self._step or (self.deterministic and self._step is not None):
            return
        if not isinstance(self.source, Images):
            images = self.source(step)
            images.check(self.images)
            if images is not self.images:
                self._prepare(images)
        images, self._step = self.images, step
        if self.batch is None:
            self._sum = np.arange(images.n), images.weight
        else:
            self._sum = self._rows(step), np.full(self.batch, 1.0 / self.batch)
        self._masked_mean = float((self._sum[1] * images.masked[self._sum[0]].sum(axis=1)).sum())

    def _run(self, y: np.ndarray, dy: np.ndarray, attention: np.ndarray) -> float:
        """Loss per masked patch; dy/dt and, where it is not empty, attention are filled in."""
        from dynsim.reduced.kernels.images import image_blocks

        y = np.ascontiguousarray(y, dtype=float)
        self._pool.run(image_blocks, y, self._arrays, self._sum, self._given, attention.size > 0, dy, self._loss, attention)
        if self._coupling:
            dy += self._coupling * dy.sum(axis=1, keepdims=True)
        if self.hold is not None:
            dy[slice(None, self.d) if self.hold == "fp" else slice(self.d, None)] = 0.0
        return float(self._loss.sum()) / self._masked_mean

    def _mean_attention(self) -> np.ndarray:
        """Attention of the last run over the weight of the rows that mask each query, (P, P)."""
        seen = (self._sum[1][:, None] * self.images.masked[self._sum[0]]).sum(axis=0)
        mean = np.full((self.P, self.P), np.nan)
        np.divide(self._attention.T, seen[:, None], out=mean, where=seen[:, None] > 0)
        return mean


def _equal(images: Images) -> Images:
    """The same rows with equal weights: they were drawn by them."""
    return Images(images.patches, images.masked, images.grid, image=images.image)

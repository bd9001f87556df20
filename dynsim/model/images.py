"""Any images, cut into patches, with the masks under which they are seen (docs/images.md).

A picture of H x W pixels and C channels is cut into P = (H / patch) (W / patch) patches of d = patch^2 C numbers; patch p,
counted row by row, is the vector X_p of R^d. A row of the data is a picture under one mask: masked patches are set to zero and
are the ones to reconstruct. Nothing is assumed about the X_p; the images of the paper's model are `Dataset`.

What is done to the numbers, in this order, is stated here once:

- uint8 and uint16 are divided by the largest value of their type, so that they lie in [0, 1]; bool becomes 0 and 1; other
  integers and floats are taken as they are;
- centring subtracts the mean picture of the set, pixel by pixel;
- scaling multiplies everything by one number: a given one, or that which makes the mean of |X_p|^2 one ("unit", as in the model).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from dynsim.errors import InputError
from dynsim.model.amplitude import generator, is_number, seed_of
from dynsim.model.partition import square_grid

if TYPE_CHECKING:
    from dynsim.trajectory import Progress

CHANNELS = 4  # at most this many on the last axis: grey, with alpha, colour, with alpha


class Shaped(Protocol):
    """Protocol of what has a number of patches: a Partition, other Images.

    Examples
    --------
    >>> import dynsim
    >>> dynsim.Partition([[0, 0, 1, 1]]).P
    4
    """

    @property
    def P(self) -> int:
        """Number of patches."""


@dataclass(frozen=True, eq=False)
class Images:
    """Patches of pictures, and the masks under which they are seen.

    Frozen; the arrays are copied and made read-only.

    Parameters
    ----------
    patches : array (m, P, d)
        Patches of m pictures, row by row on the grid, real numbers.
    masked : array of bool (n, P)
        Which patches each row of the data hides.
    grid : (int, int), optional
        Rows and columns of the patch grid; rows x columns = P. Left out: the factors of P nearest to a square.
    weight : array (n,), optional
        Weight of each row, summing to 1; equal when left out.
    image : array of int (n,), optional
        Which picture each row shows; 0, 1, .. when left out, where n = m.

    Attributes
    ----------
    n, P, d : int
        Rows (pictures under a mask), patches of a picture, numbers in a patch.
    masked_mean : float
        Mean number of masked patches of a row: what the loss is divided by.

    Raises
    ------
    InputError
        Where arrays disagree, are not finite, or a row masks no patch or all of them.

    See Also
    --------
    Images.cut : From pictures.
    Images.load : From a file or a folder.

    Examples
    --------
    >>> import numpy as np, dynsim
    >>> pictures = np.random.default_rng(0).uniform(size=(10, 8, 12))
    >>> images = dynsim.Images.cut(pictures, patch=4, gamma=0.5)
    >>> images.n, images.P, images.d, images.grid
    (10, 6, 16, (2, 3))
    """

    patches: np.ndarray
    masked: np.ndarray
    grid: tuple[int, int] = None  # type: ignore[assignment]  # never None once built
    weight: np.ndarray = None  # type: ignore[assignment]
    image: np.ndarray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        patches = _real(self.patches, "patches", copy=True)
        masked = _array(self.masked, "masked")
        if patches.ndim != 3 or not patches.size:
            raise InputError(f"patches must be (m, P, d), none of them 0, got shape {patches.shape}: see Images.cut for pictures")
        m, P, d = patches.shape
        if masked.dtype != bool or masked.ndim != 2 or masked.shape[1] != P or not len(masked):
            raise InputError(f"masked must be bool (n, P) with P={P}, got {masked.dtype} of shape {masked.shape}: one per patch")
        n = len(masked)
        count = masked.sum(axis=1)
        if count.min() < 1 or count.max() == P:
            bad = int(np.flatnonzero((count < 1) | (count == P))[0])
            raise InputError(f"every row needs a masked and an unmasked patch, got {count[bad]} of {P} masked in row {bad}")
        if self.image is None and n != m:
            raise InputError(f"masks are for {n} rows, patches for {m} pictures: say which picture each row shows with image=")
        image = np.arange(m) if self.image is None else _array(self.image, "image")
        if image.shape != (n,) or image.dtype.kind not in "iu" or image.min() < 0 or image.max() >= m:
            raise InputError(f"image must be n={n} whole numbers from 0 to {m - 1}, got {image.dtype} of shape {image.shape}")
        weight = np.full(n, 1.0 / n) if self.weight is None else _array(self.weight, "weight").astype(float)
        if weight.shape != (n,) or not (weight >= 0).all() or not abs(weight.sum() - 1) < 1e-9:
            raise InputError(
                f"weight must be n={n} numbers >= 0 that sum to 1, got shape {weight.shape}, sum {weight.sum():g}: normalise it"
            )
        if not np.any(patches):
            raise InputError("patches must hold something to learn, got zeros only: pictures must differ from their mean")
        grid = square_grid(P) if self.grid is None else tuple(np.ravel(np.asarray(self.grid)).tolist())
        if len(grid) != 2 or not all(isinstance(x, int) and x > 0 for x in grid) or grid[0] * grid[1] != P:
            raise InputError(f"grid must hold the P={P} patches, got {grid}: rows x columns = P")
        arrays = {"patches": patches, "masked": masked.copy(), "weight": weight, "image": image.astype(np.int64)}
        for name, value in arrays.items():
            value.setflags(write=False)
            object.__setattr__(self, name, value)
        object.__setattr__(self, "grid", grid)

    @property
    def n(self) -> int:
        """Rows of the data: pictures under a mask."""
        return len(self.masked)

    @property
    def P(self) -> int:
        """Patches of a picture."""
        return self.patches.shape[1]

    @property
    def d(self) -> int:
        """Numbers in a patch."""
        return self.patches.shape[2]

    def __repr__(self) -> str:
        return (
            f"Images: n={self.n} rows of {len(self.patches)} pictures, P={self.P} patches of d={self.d} numbers on a grid of "
            f"{' x '.join(map(str, self.grid))}\n{self.masked_mean / self.P:.3g} of the patches masked"
        )

    @property
    def masked_mean(self) -> float:
        """Mean number of masked patches of a row: what the loss is divided by."""
        return float(self.weight @ self.masked.sum(axis=1))

    def check(self, like: Shaped) -> None:
        """Raise InputError unless these images have the patches of something else.

        Parameters
        ----------
        like : Shaped
            A Partition, or other Images.

        Raises
        ------
        InputError
            If the number or length of the patches is another.
        """
        d = getattr(like, "d", self.d)
        if (self.P, self.d) != (like.P, d):
            raise InputError(f"images must have P={like.P} patches of d={d} numbers, got P={self.P}, d={self.d}: cut them alike")

    def take(self, rows: ArrayLike) -> Images:
        """Return some rows of the data, in the given order, with their pictures.

        Parameters
        ----------
        rows : array_like of int or bool
            Numbers of rows, or whether each is wanted.

        Returns
        -------
        Images
            Weights are scaled to sum to 1.

        Raises
        ------
        InputError
            If a row does not exist, or none has a weight.
        """
        try:
            chosen = np.arange(self.n)[np.asarray(rows)]
        except IndexError as error:
            raise InputError(f"rows must number n={self.n} rows from 0, or say of each whether it is wanted: {error}") from None
        weight = self.weight[chosen]
        if not weight.sum() > 0:
            raise InputError(f"rows must hold one with a weight, got {len(chosen)} rows: take e.g. range({self.n})")
        used, image = np.unique(self.image[chosen], return_inverse=True)
        return Images(self.patches[used], self.masked[chosen], self.grid, weight / weight.sum(), image.reshape(-1))

    def with_masks(self, seed: int | Sequence[int] = 0, *, rng: Any = None) -> Images:
        """Return the same rows under fresh masks, each of as many patches as before.

        Parameters
        ----------
        seed : int or sequence of int
            Of the masks.
        rng : optional
            A numpy.random.Generator or what makes one, in place of ``seed``: a seed is drawn from it.

        Returns
        -------
        Images
            Pictures, rows and weights as before.

        Examples
        --------
        >>> import numpy as np, dynsim
        >>> images = dynsim.Images.cut(np.random.default_rng(0).uniform(size=(10, 8, 8)), patch=2)
        >>> again = images.with_masks(1)
        >>> bool((again.patches == images.patches).all()), bool((again.masked == images.masked).all()), int(again.masked[0].sum())
        (True, False, 12)
        """
        order = generator(seed_of(seed, rng)).permuted(np.broadcast_to(np.arange(self.P), (self.n, self.P)), axis=1)
        return Images(self.patches, order < self.masked.sum(axis=1)[:, None], self.grid, self.weight, self.image)

    @classmethod
    def cut(
        cls,
        pictures: ArrayLike,
        patch: int = 4,
        gamma: float = 0.75,
        seed: int | Sequence[int] = 0,
        centre: bool = True,
        scale: float | str | None = None,
        masks: int = 1,
        *,
        rng: Any = None,
    ) -> Images:
        """Cut pictures into patches, and draw `masks` masks for each.

        Parameters
        ----------
        pictures : array (m, H, W) or (m, H, W, C)
            Grey or colour pictures of real numbers or integers, channels last. How numbers are converted: see the module.
        patch : int
            Side of a patch in pixels; divides H and W.
        gamma : float
            Masked fraction: exactly round(gamma P) patches of every row are masked, uniformly without replacement.
        seed : int
            Of the masks.
        centre : bool
            Subtract the mean picture.
        scale : float, "unit" or None
            Multiply all numbers: by a given one; so that the mean of |X_p|^2 is 1; not at all.
        masks : int
            Masks that each picture is seen under: n = m masks rows.
        rng : optional
            A numpy.random.Generator or what makes one, in place of ``seed``: a seed is drawn from it.

        Returns
        -------
        Images

        Raises
        ------
        InputError
            For pictures of another shape or kind, not finite, constant, a single one with centring, a patch that does not
            divide, a gamma that masks no patch or all.

        Examples
        --------
        >>> import numpy as np, dynsim
        >>> pictures = np.random.default_rng(0).integers(256, size=(10, 8, 8, 3)).astype(np.uint8)
        >>> images = dynsim.Images.cut(pictures, patch=2, masks=3, scale="unit")
        >>> images.patches.shape, images.masked.shape, int(images.masked[0].sum())
        ((10, 16, 12), (30, 16), 12)
        """
        for name, value, usual in (("patch", patch, 4), ("masks", masks, 1)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise InputError(f"{name} must be a whole number of at least 1, got {value!r}: take e.g. {name}={usual}")
        X = _pictures(pictures)
        m, H, W, C = X.shape
        if H % patch or W % patch:
            common = np.gcd(H, W)
            sides = [side for side in range(1, common + 1) if common % side == 0]
            raise InputError(f"patch must divide the pictures' {H} x {W} pixels, got {patch}: take one of {sides}, or crop them")
        grid = (int(H // patch), int(W // patch))
        P = grid[0] * grid[1]
        count = int(round(gamma * P)) if is_number(gamma) else 0
        if not 1 <= count <= P - 1:
            instead = f"{0.5 / P:.3g} < gamma < {1 - 0.5 / P:.3g}" if P > 1 else "a smaller patch"
            raise InputError(
                f"round(gamma P) of P={P} patches are masked, at least 1 and at most P - 1, got gamma={gamma!r}: take {instead}"
            )
        if centre:
            if m < 2:
                raise InputError("centring needs at least 2 pictures, got 1: give more, or centre=False")
            X = X - X.mean(axis=0)
        patches = X.reshape(m, grid[0], patch, grid[1], patch, C).transpose(0, 1, 3, 2, 4, 5).reshape(m, P, patch * patch * C)
        patches = patches * _factor(patches, scale)
        order = generator(seed_of(seed, rng)).permuted(np.broadcast_to(np.arange(P), (m * masks, P)), axis=1)
        masked = np.zeros((m * masks, P), dtype=bool)
        np.put_along_axis(masked, order[:, :count], True, axis=1)
        return cls(patches, masked, grid, image=np.repeat(np.arange(m), masks))

    @classmethod
    def load(
        cls,
        path: str | PathLike,
        key: str | None = None,
        grey: bool = False,
        size: tuple[int, int] | None = None,
        limit: int | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> Images:
        """Read pictures from a file or a folder, and cut them.

        Parameters
        ----------
        path : str or path
            A .npy or .npz file of an array as `cut` takes it, or a folder of pictures (PNG, JPEG, TIFF, ..; extra `images`),
            read in the order of their names.
        key : str, optional
            Which array of an .npz file; needed where there are several that could be meant.
        grey, size : bool, (int, int)
            Convert pictures of a folder to grey; resize them to (H, W). Left out: they must agree.
        limit : int, optional
            Read only so many pictures.
        progress : callable, optional
            Called with (pictures read, pictures) while a folder is read.
        **options
            Those of `cut`: patch, gamma, seed, centre, scale, masks.

        Returns
        -------
        Images

        Raises
        ------
        FileError
            Where the file or folder cannot be read.
        InputError
            As in `cut`; where pictures of a folder differ in size, or no library to read them is installed.
        """
        from dynsim.model import pictures  # reads files; not needed for arrays

        return cls.cut(pictures.read(path, key, grey, size, limit, progress), **options)


def _pictures(pictures: ArrayLike) -> np.ndarray:
    """Pictures as real numbers (m, H, W, C)."""
    X = _array(pictures, "pictures")
    if X.ndim not in (3, 4) or not X.size:
        raise InputError(f"pictures must be (m, H, W) or (m, H, W, C), none of them 0, got shape {X.shape}: stack them")
    if X.ndim == 4 and X.shape[3] > CHANNELS:
        raise InputError(f"channels come last and are at most {CHANNELS}, got shape {X.shape}: np.moveaxis(pictures, 1, -1)?")
    full = float(np.iinfo(X.dtype).max) if X.dtype in (np.uint8, np.uint16) else 1.0
    X = _real(X, "pictures") / full
    if (X.reshape(len(X), -1).min(axis=1) == X.reshape(len(X), -1).max(axis=1)).all():
        raise InputError(f"pictures must show something, got {len(X)} of one constant value each: see that they were read right")
    if len(X) > 1 and (X == X[0]).all():
        raise InputError(f"pictures must differ, got {len(X)} times the same: see that they were read right")
    return X.reshape(*X.shape[:3], -1)


def _factor(patches: np.ndarray, scale: float | str | None) -> float:
    """What the patches are multiplied by."""
    if scale is None:
        return 1.0
    if scale == "unit":
        mean = float(np.einsum("npd,npd->", patches, patches)) / (patches.shape[0] * patches.shape[1])
        return mean**-0.5 if mean > 0 else 1.0
    if not (is_number(scale) and scale > 0):  # type: ignore[operator]  # a number by then
        raise InputError(f"scale must be a positive number, 'unit' or None, got {scale!r}: take e.g. scale='unit'")
    return float(scale)


def _array(value: Any, name: str) -> np.ndarray:
    """A value as an array."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be one array, got what makes none ({error}): all of one size") from None


def _real(value: Any, name: str, copy: bool = False) -> np.ndarray:
    """A value as finite doubles in C order."""
    array = _array(value, name)
    if array.dtype.kind not in "buif":
        raise InputError(f"{name} must be real numbers, got {array.dtype} of shape {array.shape}: convert them, e.g. to float")
    array = np.array(array, dtype=float, order="C") if copy else np.ascontiguousarray(array, dtype=float)
    if not np.isfinite(array).all():
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise InputError(f"{name} must be finite, got {array[first]:g} at {first}: remove or replace it")
    return array

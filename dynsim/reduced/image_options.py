"""What fields on any images share: the options that name pictures and say how they are cut."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from dynsim.errors import InputError
from dynsim.model import pictures
from dynsim.model.images import Images
from dynsim.reduced.field import Option

if TYPE_CHECKING:
    from dynsim.model.problem import Problem

PICTURES = (
    Option("images", str, None, "pictures: a .npy or .npz file, or a folder", selects=True, loader=pictures.read),
    Option("patch", int, 4, "side of a patch in pixels", least=1),
    Option("centre", bool, True, "subtract the mean picture"),
    Option("scale", str, None, "multiply pixels by this number, or 'unit'; as they are when left out"),
)


def choose_images(
    problem: Problem | None,
    seed: int,
    images: str | PathLike | ArrayLike | Images | None = None,
    masks_per_image: int = 1,
    **cut: Any,
) -> Images:
    """Return the images that the options of a field ask for.

    Parameters
    ----------
    problem : Problem or None
        Its gamma is used where there is no other.
    seed : int
        Of the masks.
    images : str, path, array (m, H, W) or (m, H, W, C), or Images
        A file or folder, its pictures, or Images, which are taken as they are.
    masks_per_image : int
        Masks that every picture is seen under.
    **cut : object
        Of patch, centre, scale and gamma, as for ``Images.cut``.

    Returns
    -------
    Images
        Pictures, cut, under their masks.

    Raises
    ------
    InputError
        If there are no pictures, an option is unknown, or a value breaks a rule.

    Examples
    --------
    >>> import numpy as np
    >>> import dynsim
    >>> from dynsim.reduced.image_options import choose_images
    >>> pictures = np.random.default_rng(0).uniform(size=(20, 12, 12))
    >>> images = choose_images(dynsim.Problem(gamma=0.5), 0, pictures, masks_per_image=2, patch=3)
    >>> images.masked.shape, int(images.masked[0].sum())
    ((40, 16), 8)
    """
    known = {option.name for option in PICTURES[1:]} | {"gamma"}
    if not set(cut) <= known:
        raise InputError(f"options of images are {sorted(known)}, got {sorted(set(cut) - known)}: leave it out")
    if images is None:
        raise InputError("images needs pictures, got none: give images=FILE, a .npy or .npz file or a folder")
    if isinstance(images, Images):
        return images
    if problem is not None:
        cut.setdefault("gamma", problem.gamma)
    if isinstance(cut.get("scale"), str) and cut["scale"] != "unit":
        try:
            cut["scale"] = float(cut["scale"])
        except ValueError:
            raise InputError(f"scale must be a number or 'unit', got {cut['scale']!r}: leave it out") from None
    shown = pictures.read(images) if isinstance(images, (str, PathLike)) else images
    return Images.cut(shown, seed=seed, masks=masks_per_image, **cut)

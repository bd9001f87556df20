"""Pictures from files: arrays in .npy and .npz, folders of pictures. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dynsim.errors import FileError, InputError

if TYPE_CHECKING:
    from dynsim.trajectory import Progress

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".pgm", ".ppm")


def read(
    path: str | PathLike,
    key: str | None = None,
    grey: bool = False,
    size: tuple[int, int] | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Read the pictures of a file or a folder.

    Parameters
    ----------
    path : str or path
        An .npy or .npz file, or a folder of pictures.
    key : str, optional
        Which array of an .npz file; the only one that could be by default.
    grey : bool
        Whether pictures of a folder become grey.
    size : (int, int), optional
        Rows and columns that pictures of a folder are resized to.
    limit : int, optional
        Read so many at most.
    progress : callable, optional
        Called with (done, total).

    Returns
    -------
    array (m, H, W) or (m, H, W, C)
        The pictures.

    Raises
    ------
    FileError
        If something cannot be read.
    InputError
        If a value breaks a rule.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim.model.pictures import read
    >>> np.save("pictures.npy", np.zeros((10, 8, 8)))
    >>> read("pictures.npy", limit=3).shape
    (3, 8, 8)
    """
    path = Path(path)
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, (int, np.integer)) or limit < 1):
        raise InputError(f"limit must be a whole number of at least 1 picture, got {limit!r}: leave it out for all")
    if path.is_dir():
        return _folder(path, grey, size, limit, progress)
    if grey or size is not None:
        raise InputError(f"grey and size are for folders of pictures, got the file {path}: convert the array yourself")
    if path.suffix.lower() not in (".npy", ".npz"):
        raise InputError(f"pictures come from .npy, .npz or a folder of pictures, got {path}: save them with numpy.save")
    return _file(path, key)[:limit]


def _file(path: Path, key: str | None) -> np.ndarray:
    """The array of an .npy or .npz file; no pickled objects are read."""
    try:
        with open(path, "rb") as file:
            loaded: Any = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            name = _key(path, {name: loaded[name].ndim for name in loaded.files}, key)
            return loaded[name]
    except InputError:
        raise
    except (OSError, ValueError, EOFError, KeyError) as error:
        what = [*str(error).splitlines(), type(error).__name__][0]
        raise FileError(f"cannot read pictures from {path}: {what}") from None
    except Exception as error:  # a damaged archive: zipfile.BadZipFile, zlib.error, ..
        raise FileError(f"cannot read pictures from {path}: damaged ({type(error).__name__})") from None


def _key(path: Path, dims: dict[str, int], key: str | None) -> str:
    """Which array of an archive holds the pictures: the one asked for, or the only one that could."""
    if key is not None:
        if key not in dims:
            raise InputError(f"{path} has no array {key!r}: there are {sorted(dims)}")
        return key
    fit = [name for name, ndim in dims.items() if ndim in (3, 4)]
    if len(fit) != 1:
        raise InputError(f"{path} must hold one array of pictures, got {fit or 'none'} of {sorted(dims)}: give key=")
    return fit[0]


def _folder(
    path: Path, grey: bool, size: tuple[int, int] | None, limit: int | None, progress: Progress | None
) -> np.ndarray:
    """The pictures of a folder, in the order of their names."""
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in ENDINGS)[:limit]
    if not files:
        raise InputError(f"a folder of pictures holds files that end in {', '.join(ENDINGS)}, got none in {path}: see the path")
    if size is not None and not (np.shape(size) == (2,) and all(isinstance(x, (int, np.integer)) and x > 0 for x in size)):
        raise InputError(f"size must be (H, W) in pixels, got {size!r}: take e.g. size=(32, 32)")
    open_picture = _reader()
    stack: list[np.ndarray] = []
    for done, file in enumerate(files, start=1):
        try:
            stack.append(open_picture(file, grey, size))
        except InputError:
            raise
        except Exception as error:  # whatever the library raises for a file that is no picture
            what = [*str(error).splitlines(), type(error).__name__][0]
            raise FileError(f"cannot read the picture {file}: {what}") from None
        if stack[-1].shape != stack[0].shape:
            raise InputError(
                f"pictures must agree in size and channels, got {stack[-1].shape} in {file.name}, {stack[0].shape} before: "
                f"give size=(H, W), grey=True"
            )
        if progress is not None:
            progress(done, len(files))
    return np.stack(stack)


def _reader() -> Callable[[Path, bool, tuple[int, int] | None], np.ndarray]:
    """How one picture is read, by Pillow: (file, grey, size) -> array (H, W) or (H, W, 3)."""
    try:
        from PIL import Image
    except ImportError:
        raise InputError("folders of pictures are read by Pillow, which is not installed: pip install 'dynsim[images]'") from None

    def open_picture(file: Path, grey: bool, size: tuple[int, int] | None) -> np.ndarray:
        with Image.open(file) as opened:
            picture: Image.Image = opened
            deep = picture.mode.startswith(("I", "F"))  # 16 bits and more: grey, kept
            if not deep:
                alike = picture.mode in ("1", "L", "LA")
                picture = picture.convert("L" if grey or alike else "RGB")
            if size is not None:
                picture = picture.resize((int(size[1]), int(size[0])))
            array = np.asarray(picture)
        small = deep and array.dtype.kind in "iu" and 0 <= array.min() and array.max() < 2**16
        return array.astype(np.uint16) if small else array

    return open_picture

"""Files are written whole or not at all: under another name in the same folder, moved into place once they are on the disk."""

import os
import threading
from collections.abc import Callable
from fnmatch import fnmatchcase
from glob import escape

from dynsim.errors import FileError

Path = str | os.PathLike[str]


def replace(path: Path, writer: Callable[[str], object], remedy: str = "free space or choose another place") -> None:
    """Let a function write a file, and put that in the place of another.

    Parameters
    ----------
    path : str or path
        The file; where it is a link, what it leads to.
    writer : callable
        Called with the name to write to, which ends as `path` does.
    remedy : str
        What to do where it cannot be written, in a few words.

    Raises
    ------
    FileError
        If the file cannot be written.

    Examples
    --------
    >>> import pathlib
    >>> from dynsim.writing import replace
    >>> replace("note.txt", lambda name: pathlib.Path(name).write_text("one line"))
    >>> pathlib.Path("note.txt").read_text()
    'one line'
    """
    temporary = None
    try:
        final = os.path.realpath(path)
        folder, name = os.path.split(final)
        ending = os.path.splitext(name)[1]
        temporary = os.path.join(folder, f".{name}.{os.getpid()}-{threading.get_ident()}.part{ending}")
        writer(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, final)
    except FileError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileError(f"cannot write {str(path)!r} ({reason}): {remedy}") from None
    finally:
        if temporary is not None and os.path.lexists(temporary):
            os.unlink(temporary)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files that killed writers of a file have left beside it.

    Parameters
    ----------
    path : str or path
        The file.

    Examples
    --------
    >>> import pathlib
    >>> from dynsim.writing import remove_leftovers
    >>> pathlib.Path(".run.npz.123-4.part.npz").touch()
    >>> remove_leftovers("run.npz")
    >>> pathlib.Path(".run.npz.123-4.part.npz").exists()
    False
    """
    folder, name = os.path.split(os.path.realpath(path))
    for entry in os.listdir(folder):
        if fnmatchcase(entry, f".{escape(name)}.*.part*"):
            os.unlink(os.path.join(folder, entry))

"""Output folders: tried before a run starts, files written under another name first and then moved into place."""

import os
import tempfile
from collections.abc import Callable

from dynsim.errors import FileError
from dynsim.writing import replace


class Folder:
    """A folder that can be written. Raises FileError where it cannot; what it made and nobody filled, `leave` removes."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._made: list[str] = []
        try:
            missing = os.path.abspath(path)
            while not os.path.lexists(missing):
                self._made.append(missing)
                missing = os.path.dirname(missing)
            os.makedirs(path, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                pass
        except (OSError, ValueError) as error:
            self.leave()
            reason = getattr(error, "strerror", None) or error
            raise FileError(f"the output folder must be one to write in, got {path!r} ({reason}): give another --out") from None

    def write(self, name: str, writer: Callable[[str], object]) -> str:
        """Call writer(temporary path) and move what it wrote to `name`, whole or not at all. Returns the final path."""
        final = os.path.join(self.path, name)
        replace(final, writer, "free space or give another --out")
        return final

    def write_text(self, name: str, text: str) -> str:
        """The same for a text."""

        def writer(path: str) -> None:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text + "\n")

        return self.write(name, writer)

    def leave(self) -> None:
        """Remove the folders made for nothing: those still empty."""
        for path in self._made:
            try:
                os.rmdir(path)
            except OSError:
                return

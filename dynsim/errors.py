"""The errors dynsim raises on purpose, one small family.

Everything a user can cause derives from `DynsimError`; its text is one line that gives the rule, the value that broke it
and what to do instead. Anything else that escapes is a defect.
"""

from typing import Any


class DynsimError(Exception):
    """Base of every error that dynsim raises on purpose."""


class InputError(DynsimError, ValueError):
    """A value from the user breaks a rule; command line status 2."""


class FileError(DynsimError, OSError):
    """A file cannot be read or written as asked; command line status 2."""


class Diverged(DynsimError, ArithmeticError):
    """A run left the range in which it means anything; `trajectory` holds what was kept up to there."""

    def __init__(self, message: str, trajectory: Any = None) -> None:  # a Trajectory, which stands below in the house
        super().__init__(message)
        self.trajectory = trajectory


class Interrupted(DynsimError):
    """The user stopped a run; `trajectory` holds what was kept, and can be continued."""

    def __init__(self, message: str, trajectory: Any = None) -> None:
        super().__init__(message)
        self.trajectory = trajectory


class NoRecipe(InputError):
    """A field (or law of amplitudes, draw of images) that only its author's code can make again."""

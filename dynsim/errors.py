"""The errors dynsim raises on purpose, one small family.

Everything a user can cause derives from `DynsimError`; its text is one line that gives the rule, the value that broke it
and what to do instead. Anything else that escapes is a defect.
"""

from typing import Any


class DynsimError(Exception):
    """Base of every error that dynsim raises on purpose.

    Examples
    --------
    >>> import dynsim
    >>> try:
    ...     dynsim.Problem(K=0)
    ... except dynsim.DynsimError as error:
    ...     print(error)
    K must be a whole number of at least 1 cluster, got 0: take e.g. K=4
    """


class InputError(DynsimError, ValueError):
    """A value from the user breaks a rule; exit status 2 of the command.

    Examples
    --------
    >>> import dynsim
    >>> dynsim.Uniform(1.2, 0.8)
    Traceback (most recent call last):
    dynsim.errors.InputError: amplitudes need L <= U, got L=1.2 and U=0.8: swap them
    """


class FileError(DynsimError, OSError):
    """A file cannot be read or written as asked; exit status 2 of the command.

    Examples
    --------
    >>> import dynsim
    >>> try:
    ...     dynsim.runs.load("absent.npz")
    ... except dynsim.FileError as error:
    ...     print(type(error).__name__)
    FileError
    """


class Diverged(DynsimError, ArithmeticError):
    """A run left the range in which its numbers are meaningful.

    Parameters
    ----------
    message : str
        Which quantity left its range, at which step or time, and what to change.
    trajectory : Trajectory or None
        What was saved up to there.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=1, gamma=0.75, P=16)
    >>> part = dynsim.Partition.blocks(problem)
    >>> field = dynsim.reduced.EmpiricalField(part, dynsim.sample(problem, part, n=8, seed=0))
    >>> try:
    ...     dynsim.reduced.descend(field, eta=1e6)
    ... except dynsim.Diverged as error:
    ...     print(error.trajectory.step)
    [0]
    """

    def __init__(self, message: str, trajectory: Any = None) -> None:  # Any: a Trajectory imports this module
        super().__init__(message)
        self.trajectory = trajectory


class Interrupted(DynsimError):
    """The user stopped a run (Ctrl-C); it can be resumed.

    Parameters
    ----------
    message : str
        How far the run had come.
    trajectory : Trajectory or None
        What was saved up to there.

    Examples
    --------
    >>> import dynsim
    >>> def stop(done, total):
    ...     raise KeyboardInterrupt
    >>> problem = dynsim.Problem(K=1, gamma=0.75, P=16)
    >>> part = dynsim.Partition.blocks(problem)
    >>> field = dynsim.reduced.EmpiricalField(part, dynsim.sample(problem, part, n=8, seed=0))
    >>> dynsim.reduced.descend(field, steps=5, progress=stop)
    Traceback (most recent call last):
    dynsim.errors.Interrupted: stopped at step 1 of 5
    """

    def __init__(self, message: str, trajectory: Any = None) -> None:
        super().__init__(message)
        self.trajectory = trajectory


class NoRecipe(InputError):
    """A field, amplitude law or sampler holds code of the user's own, so that a result file cannot describe it.

    Examples
    --------
    >>> import dynsim
    >>> issubclass(dynsim.errors.NoRecipe, dynsim.InputError)
    True
    """

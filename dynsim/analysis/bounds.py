"""A bound of your own beside a measured exponent: whether it holds, and how far off it is.

A theorem says y = O(x^a): with some constant y stays below c x^a. Against a measurement that is a statement on the exponent: the
bound holds where a is at least the measured exponent, less its error (analysis.scaling), and is *tight* where both agree within
it. From below, y = Omega(x^a), the other way round. A function of the problem has its constant with it and is held against every
measured value.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from dynsim.analysis._slopes import NOISE, Exponent, local_slopes
from dynsim.errors import InputError
from dynsim.model.amplitude import is_number
from dynsim.model.problem import Problem

Claim = float | Callable[[Problem], float]


@dataclass(frozen=True)
class Bound:
    """A claimed bound held against a measurement.

    Parameters
    ----------
    quantity : str
        What is bounded, a name in scaling.QUANTITIES.
    lower : bool
        Whether it is bounded from below.
    claimed : float
        Exponent of the bound; of a function, its local slope at the last two x.
    measured, error : float
        The measured exponent and its error.
    holds : bool
        Whether the bound holds: for an exponent within the error, for a function at every measured x.
    off : float
        How far the exponents are apart, positive on the side on which the bound holds.
    factor : float
        How far off at the largest x, as a factor, larger than one where the bound holds: a function by itself, an exponent with
        the constant that meets the measured value where the window begins.

    Examples
    --------
    >>> from dynsim.analysis.bounds import Bound
    >>> Bound("escape_time", False, 1.2, 0.6, 1e-3, True, 0.6, 1e12).verdict
    'bounds'
    """

    quantity: str
    lower: bool
    claimed: float
    measured: float
    error: float
    holds: bool
    off: float
    factor: float

    @property
    def tight(self) -> bool:
        """Whether both exponents agree within the error."""
        return bool(abs(self.off) <= self.error)

    @property
    def verdict(self) -> str:
        """The verdict in words: "bounds", "bounds, tight" or "does not bound"."""
        return "does not bound" if not self.holds else "bounds, tight" if self.tight else "bounds"

    def to_dict(self) -> dict:
        """Return the verdict as plain data.

        Returns
        -------
        dict
            All numbers by name, ``tight`` and ``verdict``.
        """
        return {**self.__dict__, "tight": self.tight, "verdict": self.verdict}


def hold(row: Exponent, claim: Claim, problem: Problem | None = None, lower: bool = False) -> Bound:
    """Hold a claimed bound against a measured exponent.

    Parameters
    ----------
    row : Exponent
        The measurement, as from ``scaling.measure``.
    claim : float or function
        The exponent of the bound, or the bound itself as a function of the problem, for what is measured along P.
    problem : Problem, optional
        That of the measurement, needed for a function; P is set to each value in turn.
    lower : bool
        Whether it bounds from below.

    Returns
    -------
    Bound
        The verdict.

    Raises
    ------
    InputError
        If the claim is no finite number; for a function, if there is no problem, the measurement is not along P, or a value is
        not positive.

    Examples
    --------
    >>> import dynsim
    >>> from dynsim.analysis import bounds, scaling
    >>> problem = dynsim.Problem(K=1, gamma=0.75, kappa_s=0.4)
    >>> (row,) = scaling.measure(problem, [1e9, 1e12, 1e15, 1e18, 1e21], ["escape_time"])
    >>> loose = bounds.hold(row, 1.2)
    >>> loose.verdict, round(loose.off, 3), f"{loose.factor:.0e}"
    ('bounds', 0.6, '2e+07')
    >>> bounds.hold(row, 0.6).verdict, bounds.hold(row, 0.5).verdict, bounds.hold(row, 0.5, lower=True).verdict
    ('bounds, tight', 'does not bound', 'bounds')
    >>> mine = bounds.hold(row, lambda problem: 10 * problem.P ** (1 - problem.kappa_s), problem)
    >>> mine.verdict, round(mine.factor, 2)
    ('bounds, tight', 2.05)
    """
    sign, x, y = (-1.0 if lower else 1.0), np.array(row.x), np.abs(row.y)
    if callable(claim):
        values = _values(row, claim, problem)
        ratio = (values / y) ** sign
        claimed, holds, factor = local_slopes(x[-2:], values[-2:])[0], ratio.min() >= 1 - NOISE, ratio[-1]
        off = sign * (claimed - row.exponent)
    elif is_number(claim):
        claimed, off = float(claim), sign * (float(claim) - row.exponent)
        i, j = (int(np.abs(np.log(x / end)).argmin()) for end in row.window)
        gained = sign * (claimed * np.log(x[j] / x[i]) - np.log(y[j] / y[i]))
        holds, factor = off >= -row.error, np.exp(min(gained, 709.0))
    else:
        raise InputError(f"a bound is an exponent or a function of the problem, got {claim!r}: give e.g. 1.2")
    return Bound(row.quantity, bool(lower), float(claimed), row.exponent, row.error, bool(holds), float(off), float(factor))


def _values(row: Exponent, claim: Callable[[Problem], float], problem: Problem | None) -> np.ndarray:
    """The claimed bound at every P of the measurement."""
    if problem is None or "P^x" not in row.meaning:
        raise InputError(
            f"a function as a bound needs the problem of a measurement along P, got problem={problem!r} and {row.meaning}: "
            f"pass problem=, or an exponent"
        )
    try:
        values = np.array([float(claim(replace(problem, P=P))) for P in row.x])
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"a bound must return a number for a problem, got {type(error).__name__} ({error}): mend it") from None
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise InputError(f"a bound must be positive and finite at every P, got {values.tolist()}: mend the function")
    return values

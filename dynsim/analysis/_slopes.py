"""Exponents from curves, with an error.

A quantity y is followed along x (P at fixed exponents kappa, or t), and its *local slopes* d log y / d log x are taken
between neighbours. The rule is the same for all:

========  ======================================================================================================
window    x from x_max^(1/3) to x_max: the upper two thirds on the log axis
exponent  the last local slope
error     how far the local slopes in the window lie apart, and what the integrator's accuracy leaves open
========  ======================================================================================================

A slope that tends to its limit as x^-b, b > 0, or as 1 / log x, has at x_max^(1/3) at least three times the error that it has
at x_max, so the limit lies within the error (at most half of it, for a monotonic slope). It is an error of the window, not a
statistical one: nothing is random.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dynsim.errors import InputError

NOISE = 1e-6  # upper bound of the relative error of events and correlations at rtol 1e-8
LEAST = 4  # points in a window
Reals = Sequence[float] | np.ndarray


@dataclass(frozen=True)
class Exponent:
    """One measured exponent.

    Parameters
    ----------
    quantity : str
        Name in QUANTITIES.
    meaning : str
        What grows with what.
    x, y : tuple of float
        All that was measured.
    window : tuple of float
        Smallest and largest x used.
    slopes : tuple of float
        Local slopes in the window.
    exponent : float
        The last of them.
    error : float
        Its error, by the rule of this module.
    derived : float
        The limit of the exponent for large x.
    expected : float
        The last local slope of the closed form at the same finite x.
    published : dict, optional
        A bound from the paper.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=1, gamma=0.75)
    >>> (found,) = dynsim.analysis.scaling.measure(problem, [1e9, 1e12, 1e15, 1e18, 1e21], ["escape_time"])
    >>> found.meaning, round(found.exponent, 3), found.derived, found.agrees
    ('t_esc ~ P^x', 0.6, 0.6, True)
    """

    quantity: str
    meaning: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    window: tuple[float, float]
    slopes: tuple[float, ...]
    exponent: float
    error: float
    derived: float
    expected: float
    published: dict | None = None

    @property
    def agrees(self) -> bool:
        """Whether the derived exponent lies within the error."""
        return bool(abs(self.exponent - self.derived) <= self.error)


def local_slopes(x: Reals, y: Reals) -> np.ndarray:
    """Return the slopes d log|y| / d log x between neighbours.

    Parameters
    ----------
    x, y : array_like of shape (n,)
        Coordinates of a curve, x positive.

    Returns
    -------
    ndarray of shape (n - 1,)
        The slopes.

    Examples
    --------
    >>> from dynsim.analysis import scaling
    >>> scaling.local_slopes([1.0, 2.0, 4.0], [1.0, 4.0, 16.0]).round(12)
    array([2., 2.])
    """
    return np.diff(np.log(np.abs(y))) / np.diff(np.log(x))


def exponent(
    x: Reals, y: Reals, noise: float = NOISE
) -> tuple[float, float, tuple[float, float], tuple[float, ...]]:
    """Return the exponent of y along x, by the rule of this module.

    Parameters
    ----------
    x : array_like of shape (n,)
        Rising values > 1.
    y : array_like of shape (n,)
        Values of one sign.
    noise : float
        Relative accuracy of y.

    Returns
    -------
    exponent : float
        The last local slope.
    error : float
        Its error.
    window : tuple of float
        Smallest and largest x used.
    slopes : tuple of float
        Local slopes in the window.

    Raises
    ------
    InputError
        If the window holds fewer than four points, or y is not finite there.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim.analysis import scaling
    >>> x = np.geomspace(1e3, 1e9, 7)
    >>> slope, error, window, _ = scaling.exponent(x, x**0.5 + 1)
    >>> round(slope, 4), round(error, 3), window
    (0.5, 0.009, (1000.0, 1000000000.0))
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    inside = x >= x[-1] ** (1 / 3) * (1 - 1e-9)
    if inside.sum() < LEAST or not (np.diff(x) > 0).all() or x[0] <= 1:
        raise InputError(
            f"an exponent needs at least {LEAST} rising values from x_max^(1/3) to x_max, x > 1, got {inside.sum()}: "
            f"give more, or a wider range"
        )
    a, b = x[inside], y[inside]
    if not (np.isfinite(b).all() and b.all()):
        raise InputError(f"an exponent needs finite values, got {b.tolist()}: leave out where the event does not come")
    slopes = local_slopes(a, b)
    error = np.ptp(slopes) + 2 * noise / np.diff(np.log(a)).min()
    return float(slopes[-1]), float(error), (float(a[0]), float(a[-1])), tuple(slopes.tolist())

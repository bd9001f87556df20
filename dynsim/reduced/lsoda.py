"""LSODA: Adams' methods and backward differentiation, of variable step and order, and which of them a problem needs.

The method is that of Petzold and Hindmarsh (ODEPACK). SciPy's solver of this name factorises matrices in LAPACK, whose last bits
are those of a processor; here every operation has its place, so that a flow has the same bits on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from math import factorial, sqrt
from typing import Any

import numpy as np
from scipy.integrate import DenseOutput, OdeSolver

from dynsim.reduced.kernels import multistep as kernels
from dynsim.reduced.kernels import solvers
from dynsim.reduced.kernels.multistep import ADAMS, BDF, ORDERS, UNIT
from dynsim.reduced.kernels.simd import WIDTH, whole_vectors

AWAY = 100.0  # change of pace with a new Jacobian: too large a matrix makes small corrections, which pass for converged
DEARER = 5, 2  # by how much steps of backward differentiation must be longer, as they cost more; where the Jacobian is given
FAILS = {kernels.DIVERGES: "the corrector does not converge", kernels.FAILS: "the error test fails"}


@lru_cache
def coefficients(method: int, order: int) -> tuple[tuple[float, ...], tuple[float, float, float]]:
    """Return how a method of a given order corrects the history, and the constants of its error tests.

    Parameters
    ----------
    method : int
        ADAMS or BDF.
    order : int
        From 1 to 12, or to 5.

    Returns
    -------
    weights : tuple of float
        What each row of the history gets of a correction; order + 1 numbers.
    tests : tuple of float
        By which corrections are divided for the error one order below, at this order, and one above.

    Examples
    --------
    >>> from dynsim.reduced import lsoda
    >>> lsoda.coefficients(lsoda.ADAMS, 2)[0], lsoda.coefficients(lsoda.BDF, 1)[0]
    ((0.5, 1.0, 0.5), (1.0, 1.0))
    """
    if method == BDF:
        p = _product(order + 1)
        weights = [c / p[1] for c in p]
        tests = Fraction(1, factorial(order - 1)), (order + 1) / weights[0], (order + 2) / weights[0]
    else:
        p = _product(order)
        constant = sum((c * Fraction((-1) ** i, i + 1) for i, c in enumerate(p)), Fraction(0))
        weights = [c / factorial(order - 1) for c in (constant, *(c / (i + 1) for i, c in enumerate(p)))]
        tests = (
            1 / (_lean(order - 1) * order) if order > 1 else Fraction(0), factorial(order) / _lean(order),
            factorial(order + 1) / _lean(order + 1),
        )
    return tuple(float(w) for w in weights), (float(tests[0]), float(tests[1]), float(tests[2]))


@lru_cache
def table() -> np.ndarray:
    """All of them, as kernels.multistep takes them: by method and order, the tests' constants, then the weights."""
    known = np.zeros((2, ORDERS[ADAMS] + 1, 3 + ORDERS[ADAMS] + 1))
    for method in (ADAMS, BDF):
        for order in range(1, ORDERS[method] + 1):
            weights, tests = coefficients(method, order)
            known[method, order, : 4 + order] = *tests, *weights
    return known


def _product(n: int) -> list[Fraction]:
    """Coefficients of (x + 1) (x + 2) .. (x + n - 1), constant first."""
    p = [Fraction(1)]
    for k in range(1, n):
        p = [k * a + b for a, b in zip([*p, Fraction(0)], [Fraction(0), *p], strict=True)]
    return p


def _lean(order: int) -> Fraction:
    """Minus the integral of x times that product from -1 to 0."""
    return sum((c * Fraction((-1) ** i, i + 2) for i, c in enumerate(_product(order))), Fraction(0))


class LSODA(OdeSolver):
    """Multistep solver that changes between Adams' methods and backward differentiation.

    Parameters
    ----------
    fun : callable
        Function (t, y) that returns dy/dt.
    t0 : float
        Start.
    y0 : ndarray of shape (n,)
        State there.
    t_bound : float
        End; it may be infinite. A last step may pass it.
    rtol : float
        Relative tolerance of a step.
    atol : float or ndarray of shape (n,)
        Absolute tolerance of a step.
    jac : callable, optional
        Function (t, y) that returns the Jacobian of fun, (n, n); by differences where left out.
    pace : ndarray of shape (n,), optional
        How fast each entry of fun is, where jac is the Jacobian at pace one: fun = pace x g and jac = dg/dy. fun writes it at
        every call. For functions whose pace changes sooner than dg/dy does: a Jacobian serves for longer.
    first_step : float, optional
        Length of the first step.
    advance : callable, optional
        Function (solver, y, f), f its last dy/dt, that does what kernels.multistep.advance does and evaluates fun itself, in
        compiled code, over any number of steps: it returns what else is asked for, and how many evaluations it took.

    Attributes
    ----------
    made, lowest : int
        Steps that the last call of ``step`` has made, and how many of them ended with order one.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim.reduced.lsoda import LSODA
    >>> solver = LSODA(lambda t, y: -1e6 * (y - np.cos(t)), 0.0, np.array([2.0]), np.inf, rtol=1e-8, atol=1e-8)
    >>> while solver.t < 1:
    ...     message = solver.step()
    >>> bool(abs(solver.dense_output()(1.0)[0] - np.cos(1.0)) < 2e-6), solver.nfev < 500
    (True, True)
    """

    made = lowest = 0

    def __init__(
        self,
        fun: Callable,
        t0: float,
        y0: np.ndarray,
        t_bound: float,
        rtol: float = 1e-3,
        atol: Any = 1e-6,
        jac: Callable | None = None,
        pace: np.ndarray | None = None,
        first_step: float | None = None,
        advance: Callable | None = None,
    ) -> None:
        super().__init__(fun, t0, y0, t_bound, vectorized=False)
        size, self.jac, self.advance = self.n, jac, advance
        x, n = np.zeros(len(kernels.REALS)), np.zeros(len(kernels.COUNTS), dtype=np.int64)
        self.history, self.rows = np.zeros((ORDERS[ADAMS] + 2, size)), tuple(np.zeros((len(kernels.ROWS), size)))
        # the Jacobian's columns that are not zero, which these are, and the factors of the matrix of Newton's method
        self.matrix: tuple[np.ndarray, ...] = (
            np.zeros((0, whole_vectors(size, WIDTH))), np.zeros(0, dtype=np.int64), np.zeros((0, 0)), np.zeros(0, dtype=np.int64)
        )
        self.pace, self.trial, self.slope = np.ones(size) if pace is None else pace, self.rows[kernels.TRIAL], np.empty(size)
        for row, value in ((kernels.ATOL, atol), (kernels.Y, y0), (kernels.PACE_THEN, 1.0), (kernels.PACE_FORMED, 1.0)):
            self.rows[row][:] = value
        self.y, weight = self.rows[kernels.Y].copy(), self.rows[kernels.WEIGHT]
        f = self.fun(self.t, self.y)
        solvers.set_weights(self.y, rtol, self.rows[kernels.ATOL], weight)
        speed = solvers.norm(f, weight)
        h = first_step or (1.0 / (sqrt(min(max(rtol, 100 * UNIT), 1e-3)) * speed) if speed > 0 else 1.0)
        self.history[0], self.history[1] = self.y, h * f
        x[kernels.T], x[kernels.H], x[kernels.H_USED], x[kernels.RTOL] = t0, h, h, rtol
        x[kernels.AWAY], x[kernels.DEARER] = AWAY, DEARER[jac is not None]
        x[kernels.RATIO], x[kernels.TRUSTED], x[kernels.MOST] = 1.0, 0.7, 1e4
        n[kernels.METHOD], n[kernels.ORDER], n[kernels.ORDER_USED] = ADAMS, 1, 1
        n[kernels.WAITING], n[kernels.LOOK] = 2, kernels.WAIT
        n[kernels.MISSING], n[kernels.GIVEN] = 1, jac is not None
        self.x: Any = x.tolist() if advance is None else x  # Python reads lists sooner
        self.counts: Any = n.tolist() if advance is None else n

    @property
    def method(self) -> int:
        """ADAMS or BDF."""
        return int(self.counts[kernels.METHOD])

    @property
    def order(self) -> int:
        """Order of the next step."""
        return int(self.counts[kernels.ORDER])

    def _step_impl(self) -> tuple[bool, str | None]:
        steps, low = self.counts[kernels.STEPS], self.counts[kernels.LOW]
        asked = kernels.SLOPE
        while asked in (kernels.SLOPE, kernels.JACOBIAN):
            solver = self.x, self.counts, self.history, self.rows, table(), *self.matrix
            if self.advance is None:
                asked = kernels.advance(solver, self.pace, self.slope)
            else:
                asked, evaluations = self.advance(solver, self.trial, self.slope)
                self.nfev += evaluations
            if asked == kernels.SLOPE:
                self.slope = self.fun(self.x[kernels.AT], self.trial)
            elif asked == kernels.JACOBIAN:
                self._form()
        self.t, self.y = float(self.x[kernels.T]), self.rows[kernels.Y].copy()
        self.made, self.lowest = int(self.counts[kernels.STEPS] - steps), int(self.counts[kernels.LOW] - low)
        return asked == kernels.DONE, FAILS.get(asked)

    def _form(self) -> None:
        """The Jacobian where it is asked for."""
        t, y, weight = self.x[kernels.AT], self.trial, self.rows[kernels.WEIGHT]
        J = self._differences(t, y, weight) if self.jac is None else np.asarray(self.jac(t, y), dtype=float)
        columns = np.flatnonzero(J.any(axis=0))
        m = columns.size
        held = np.zeros((m, whole_vectors(self.n, WIDTH)))
        held[:, : self.n] = J[:, columns].T
        self.x[kernels.NORM] = solvers.matrix_norm(held, columns, self.pace, weight)
        self.matrix = held, columns, np.zeros((m, whole_vectors(m, WIDTH))), np.zeros(m, dtype=np.int64)

    def _differences(self, t: float, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """The Jacobian of a function that gives none."""
        J, f = np.empty((self.n, self.n)), self.slope
        least = 1000 * abs(self.x[kernels.H]) * UNIT * self.n * solvers.norm(f, weight)
        for j in range(self.n):
            kept = y[j]
            step = max(sqrt(UNIT) * abs(kept), (least or 1.0) / weight[j])
            y[j] += step
            J[:, j] = (self.fun(t, y) - f) / step
            y[j] = kept
        return J

    def change_coordinates(self, change: Callable) -> None:
        """Go on in other coordinates: a linear function of the state.

        Parameters
        ----------
        change : callable
            Function of a state that returns it in the new coordinates.

        Examples
        --------
        >>> import numpy as np
        >>> from dynsim.reduced.lsoda import LSODA
        >>> solver = LSODA(lambda t, y: -y, 0.0, np.array([1.0, 2.0]), np.inf)
        >>> message = solver.step()
        >>> solver.change_coordinates(lambda y: y[::-1])
        >>> bool(solver.y[0] == 2 * solver.y[1])
        True
        """
        for row in (*self.history, self.rows[kernels.SPARE], self.rows[kernels.Y]):
            row[:] = change(row)
        self.y = self.rows[kernels.Y].copy()
        self.counts[kernels.STALE], self.counts[kernels.MISSING] = self.method == BDF, 1

    def _dense_output_impl(self) -> DenseOutput:
        order, h, used = int(self.counts[kernels.ORDER_USED]), self.x[kernels.H], self.x[kernels.H_USED]
        lengths = [h if j <= self.order else used for j in range(order + 1)]  # rows beyond the order are not rescaled
        return _Polynomial(self.x[kernels.T_OLD], self.t, self.history[: order + 1].copy(), np.array(lengths))


class _Polynomial(DenseOutput):
    """The polynomial of the history after a step."""

    def __init__(self, t_old: float, t: float, history: np.ndarray, lengths: np.ndarray) -> None:
        super().__init__(t_old, t)
        self.history, self.lengths = history, lengths

    def _call_impl(self, t: np.ndarray) -> np.ndarray:
        if t.ndim == 0:
            return solvers.interpolate(self.history, self.lengths, float(t) - self.t)
        return np.stack([self(s) for s in t], axis=-1)

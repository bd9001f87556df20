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

from dynsim.reduced.kernels import solvers as kernels

ADAMS, BDF = 0, 1
ORDERS = 12, 5  # at most
STABLE = (0.5, 0.575, 0.55, 0.45, 0.35, 0.25, 0.2, 0.15, 0.1, 0.075, 0.05, 0.025)  # h x Lipschitz constant of Adams' methods
UNIT = 2.0**-52
ITERATIONS = 3  # of the corrector, at most
FAILURES = 10  # in a row, after which the solver gives up
OLD = 50  # steps after which a Jacobian is formed anew
AWAY = 100.0  # change of pace after which it is, too: corrections by too large a matrix are small, and pass for converged
DRIFT = 0.3  # relative change of h x leading coefficient x pace after which its matrix is factorised anew
WAIT = 20  # steps between two looks at the other method
DEARER = 5, 2  # by how much steps of backward differentiation must be longer, as they cost more; where the Jacobian is given


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
    ) -> None:
        super().__init__(fun, t0, y0, t_bound, vectorized=False)
        n, self.y = self.n, np.array(y0, dtype=float)
        self.rtol, self.atol, self.jac = float(rtol), np.broadcast_to(np.asarray(atol, dtype=float), (n,)).copy(), jac
        self.history, self.weight = np.zeros((ORDERS[ADAMS] + 2, n)), np.empty(n)
        self.found, self.trial, self.change = np.empty(n), np.empty(n), np.empty(n)
        self.spare = np.empty(n)  # the last correction before the order may rise
        self.pace = np.ones(n) if pace is None else pace
        self.pace_then, self.pace_formed = np.ones((2, n))  # where the matrix was factorised, and the Jacobian formed
        self.matrix: tuple | None = None  # of Newton's method, as kernels.newton takes it
        self.slopes: np.ndarray | None = None  # the Jacobian at pace one, its columns that are not zero; None: to be formed
        self.columns, self.slope_norm = np.arange(n), 0.0  # which these are
        f = self.fun(self.t, self.y)
        kernels.set_weights(self.y, self.rtol, self.atol, self.weight)
        tol = min(max(self.rtol, 100 * UNIT), 1e-3)
        speed = kernels.norm(f, self.weight)
        self.h = first_step or (1.0 / (sqrt(tol) * speed) if speed > 0 else 1.0)
        self.history[0], self.history[1] = self.y, self.h * f
        self.method, self.order, self.used = ADAMS, 1, (self.h, 1)
        self.weights, self.tests = coefficients(ADAMS, 1)
        self.corrections = np.array(self.weights)
        self.ratio, self.rate_kept = 1.0, 0.7  # h x leading coefficient over that of the matrix; convergence rate
        self.until_change, self.most = 2, 1e4  # steps to a change of order; by how much the step may grow
        self.stale, self.steps, self.formed = False, 0, 0  # whether to form the Jacobian; steps, and where it was formed
        self.look, self.held, self.lipschitz, self.seen = WAIT, False, 0.0, 0.0  # at the other method

    # ---- a step

    def _step_impl(self) -> tuple[bool, str | None]:
        failures = errors = 0
        kernels.set_weights(self.history[0], self.rtol, self.atol, self.weight)
        while True:
            if self.method == BDF and self.steps >= self.formed + OLD:
                self.stale, self.slopes = True, None
            size = kernels.predict(self.history, self.order, self.weight, self.trial, self.found)
            last, iterations = self._corrected(size)
            if iterations < 0:
                kernels.retract(self.history, self.order)
                failures += 1
                if failures == FAILURES or not np.isfinite(self.h) or self.t + 0.25 * self.h == self.t:
                    return False, "the corrector does not converge"
                self.most, self.stale = 2.0, self.method == BDF
                self._rescale(0.25)
                continue
            error = (last if iterations == 0 else kernels.norm(self.found, self.weight)) / self.tests[1]
            if error <= 1.0:
                break
            kernels.retract(self.history, self.order)
            errors += 1
            self.most = 2.0
            if errors == FAILURES or self.t + 0.1 * self.h == self.t:
                return False, "the error test fails"
            if errors < 3:
                self._change_order(error, errors)
            else:
                self._start_over()
        self.t += self.h
        self.steps += 1
        self.used = self.h, self.order
        self.y = kernels.correct(self.history, self.order, self.corrections, self.found)
        self.look -= 1
        if self.look < 0 and self._turned(error, size):
            self.most = 10.0
            return True, None
        self.until_change -= 1
        if self.until_change == 0:
            self._change_order(error, 0)
        elif self.until_change == 1 and self.order < ORDERS[self.method]:
            self.spare[:] = self.found
        return True, None

    def _corrected(self, size: float) -> tuple[float, int]:
        """Solve for the corrected step: (the last change, iterations before the last; -1 where they do not converge)."""
        first, y = self.weights[0], self.trial
        while True:
            rate = before = 0.0
            f, fresh = self.fun(self.t + self.h, y), False
            ratio = self.ratio * kernels.faster(self.pace, self.pace_then) if self.method == BDF else 1.0
            if self.stale or abs(ratio - 1.0) > DRIFT:
                if not 1.0 / AWAY < kernels.faster(self.pace, self.pace_formed) < AWAY:
                    self.slopes = None
                ratio, fresh = 1.0, self.slopes is None
                if not self._form_matrix(y, f):
                    return 0.0, -1
            for m in range(ITERATIONS):
                if self.method == BDF:
                    change = kernels.newton(
                        self.history, first, self.h, f, self.found, y, self.weight, self.matrix,
                        1.0 if self.jac is None else 2.0 / (1.0 + ratio),
                    )
                else:
                    change = kernels.iterate(self.history, first, self.h, f, self.found, y, self.weight)
                if change <= 100 * size * UNIT:
                    return change, m
                if m > 0 or self.method == BDF:
                    if m > 0:
                        step = change / before if change <= 1024 * before else 1024.0
                        rate = max(rate, step)
                        self.rate_kept = max(0.2 * self.rate_kept, step)
                    if change * min(1.0, 1.5 * self.rate_kept) <= self.tests[1] * 0.5 / (self.order + 2):
                        self.seen = max(self.seen, rate / abs(self.h * first))
                        if self.seen:
                            self.lipschitz = self.seen
                        return change, m
                if m + 1 == ITERATIONS or (m > 0 and not change <= 2 * before):
                    break
                before = change
                f = self.fun(self.t + self.h, y)
            if self.method == ADAMS or fresh:
                return change, -1
            self.stale, self.slopes = True, None
            y[:] = self.history[0]
            self.found[:] = 0.0

    def _form_matrix(self, y: np.ndarray, f: np.ndarray) -> bool:
        """Jacobian and the factors of the matrix of Newton's method."""
        if self.slopes is None:
            J, self.formed, self.pace_formed = self._jacobian(y, f), self.steps, self.pace.copy()
            self.columns = np.flatnonzero(J.any(axis=0))
            self.slopes = np.ascontiguousarray(J[:, self.columns])
            self.slope_norm = kernels.matrix_norm(self.slopes, self.columns, self.pace, self.weight)
        self.stale, self.ratio, self.rate_kept = False, 1.0, 0.7
        self.pace_then[:] = self.pace
        m, scale = self.columns.size, self.h * self.weights[0]
        factors, pivots = np.zeros((m, -(-m // kernels.WIDTH) * kernels.WIDTH)), np.zeros(m, dtype=np.int64)
        self.matrix = self.slopes, self.columns, self.pace_then, scale, factors, pivots
        return kernels.factorise(self.slopes, self.columns, self.pace_then, scale, factors, pivots)

    def _jacobian(self, y: np.ndarray, f: np.ndarray) -> np.ndarray:
        """Of the function, by differences where it gives none."""
        n = self.n
        if self.jac is not None:
            J = np.asarray(self.jac(self.t + self.h, y), dtype=float)
        else:
            J = np.empty((n, n))
            least = 1000 * abs(self.h) * UNIT * n * kernels.norm(f, self.weight)
            for j in range(n):
                kept = y[j]
                step = max(sqrt(UNIT) * abs(kept), (least or 1.0) / self.weight[j])
                y[j] += step
                J[:, j] = (self.fun(self.t + self.h, y) - f) / step
                y[j] = kept
        return J

    # ---- step, order, method

    def _take_coefficients(self) -> None:
        before = self.weights[0]
        self.weights, self.tests = coefficients(self.method, self.order)
        self.corrections = np.array(self.weights)
        self.ratio *= self.weights[0] / before

    def _rescale(self, factor: float) -> None:
        """Take a step longer by a factor, as far as it may grow, and Adams' method stays stable."""
        factor = min(factor, self.most)
        if self.method == ADAMS:
            self.held = False
            stiff = max(abs(self.h) * self.lipschitz, 1e-6)
            if factor * stiff * 1.00001 >= STABLE[self.order - 1]:
                factor, self.held = STABLE[self.order - 1] / stiff, True
        kernels.rescale(self.history, self.order, factor)
        self.h *= factor
        self.ratio *= factor
        self.until_change = self.order + 1

    def _longer(self, error: float, order: int, margin: float) -> float:
        """By how much the step may grow where the error grows with its power `order`."""
        return 1.0 / (margin * kernels.root(error, order) + margin * 1e-6)

    def _change_order(self, error: float, errors: int) -> None:
        """Choose the order that allows the longest step; errors: how many tests have failed."""
        q, highest = self.order, ORDERS[self.method]
        same, up, down = self._longer(error, q + 1, 1.2), 0.0, 0.0
        if not errors and q < highest:
            np.subtract(self.found, self.spare, out=self.change)
            up = self._longer(kernels.norm(self.change, self.weight) / self.tests[2], q + 2, 1.4)
        if q > 1:
            down = self._longer(kernels.norm(self.history[q], self.weight) / self.tests[0], q, 1.3)
        stiff = max(abs(self.h) * self.lipschitz, 1e-6)
        if self.method == ADAMS:
            if q < highest:
                up = min(up, STABLE[q] / stiff)
            same = min(same, STABLE[q - 1] / stiff)
            if q > 1:
                down = min(down, STABLE[q - 2] / stiff)
            self.seen = 0.0
        if up > max(same, down):
            if up < 1.1:
                self.until_change = 3
                return
            self.history[q + 1] = self.weights[q] / (q + 1) * self.found
            order, factor = q + 1, up
        else:
            order, factor = (q, same) if same >= down else (q - 1, min(down, 1.0) if errors else down)
            bound = self.method == ADAMS and factor * stiff * 1.00001 >= STABLE[order - 1]
            if not errors and not bound and factor < 1.1:
                self.until_change = 3
                return
            if errors >= 2:
                factor = min(factor, 0.2)
        if order != q:
            self.order = order
            self._take_coefficients()
        self._rescale(factor)
        if not errors:
            self.most = 10.0

    def _start_over(self) -> None:
        """After several errors the history is wrong: order one, from the slope."""
        self.h *= 0.1
        self.history[1] = self.h * self.fun(self.t, self.history[0])
        self.stale, self.slopes, self.until_change = self.method == BDF, None, 5
        if self.order != 1:
            self.order = 1
            self._take_coefficients()

    def _turned(self, error: float, size: float) -> bool:
        """Turn to the other method where it allows much longer steps."""
        q = self.order
        if self.method == ADAMS:
            if q > ORDERS[BDF]:
                return False
            if error > 100 * size * UNIT and self.seen:
                here = self._adams_step(self._longer(error, q + 1, 1.2), self.lipschitz)
                there = self._longer(error * _first_error(ADAMS, q) / _first_error(BDF, q), q + 1, 1.2)
                if there < DEARER[self.jac is not None] * here:
                    return False
            elif self.held:
                there = 2.0
            else:
                return False
            self.method, factor = BDF, there
        else:
            if self.slope_norm * abs(self.h) > 1.0:
                return False  # Adams' steps could be at most .575 times this one, the next is at least 1 / 1.2 times it
            scaled = error * _first_error(BDF, q) / _first_error(ADAMS, q)
            there = self._adams_step(self._longer(scaled, q + 1, 1.2), self.slope_norm)
            if there * 5 < 5 * self._longer(error, q + 1, 1.2):
                return False
            if kernels.root(max(1e-3, there), q + 1) * scaled <= 1000 * UNIT * size:
                return False
            self.method, factor = ADAMS, there
        self.look, self.lipschitz = WAIT, 0.0
        self._rescale(factor)
        self._take_coefficients()
        self.stale, self.slopes = self.method == BDF, None
        self.until_change = self.order + 1
        return True

    def _adams_step(self, factor: float, lipschitz: float) -> float:
        """A factor of the step, as far as Adams' method stays stable."""
        stiff = lipschitz * abs(self.h)
        bound = STABLE[self.order - 1] / stiff if stiff * factor > 1e-5 else 2 * factor
        return min(factor, bound)

    # ---- between steps

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
        for row in self.history:
            row[:] = change(row)
        self.spare[:] = change(self.spare)
        self.y = self.history[0].copy()
        self.stale, self.slopes = self.method == BDF, None

    def _dense_output_impl(self) -> DenseOutput:
        h, order = self.used
        lengths = [self.h if j <= self.order else h for j in range(order + 1)]  # rows beyond the order are not rescaled
        return _Polynomial(self.t_old, self.t, self.history[: order + 1].copy(), np.array(lengths))


def _first_error(method: int, order: int) -> float:
    """Constant of the error of a step: of the method's correction, in units of the last row of the history."""
    weights, tests = coefficients(method, order)
    return tests[1] * weights[order]


class _Polynomial(DenseOutput):
    """The polynomial of the history after a step."""

    def __init__(self, t_old: float, t: float, history: np.ndarray, lengths: np.ndarray) -> None:
        super().__init__(t_old, t)
        self.history, self.lengths = history, lengths

    def _call_impl(self, t: np.ndarray) -> np.ndarray:
        if t.ndim == 0:
            return kernels.interpolate(self.history, self.lengths, float(t) - self.t)
        return np.stack([self(s) for s in t], axis=-1)

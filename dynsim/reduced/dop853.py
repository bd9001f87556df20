"""DOP853 with sums in a fixed order: SciPy's explicit Runge-Kutta method of order 8, whose inner products are those of a BLAS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import integrate
from scipy.integrate import DenseOutput

from dynsim.reduced.kernels import solvers as kernels

SAFETY, LEAST, MOST = 0.9, 0.2, 10.0  # of the step that the error allows; by how much a step shrinks or grows


class DOP853(integrate.DOP853):
    """Explicit Runge-Kutta method of order 8, with coefficients and interpolation of SciPy's class of this name.

    Parameters
    ----------
    fun : callable
        Function (t, y) that returns dy/dt.
    t0 : float
        Start.
    y0 : ndarray of shape (n,)
        State there.
    t_bound : float
        End, later than the start; it may be infinite.
    rtol : float
        Relative tolerance of a step.
    atol : float or ndarray of shape (n,)
        Absolute tolerance of a step.
    first_step : float, optional
        Length of the first step.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim.reduced.dop853 import DOP853
    >>> solver = DOP853(lambda t, y: -y, 0.0, np.ones(1), np.inf, rtol=1e-10, atol=1e-10)
    >>> while solver.t < 1:
    ...     message = solver.step()
    >>> bool(abs(solver.dense_output()(1.0)[0] - np.exp(-1.0)) < 1e-9)
    True
    """

    t: float
    y: np.ndarray
    h_abs: float

    def __init__(
        self,
        fun: Callable,
        t0: float,
        y0: np.ndarray,
        t_bound: float,
        rtol: float = 1e-3,
        atol: Any = 1e-6,
        first_step: float | None = None,
    ) -> None:
        evaluations = 0
        if first_step is None:
            first_step, evaluations = _first_step(fun, t0, y0, rtol, atol), 2
        super().__init__(fun, t0, y0, t_bound, rtol=rtol, atol=atol, first_step=first_step)
        self.nfev += evaluations
        self._A = np.ascontiguousarray(self.A)
        self._A_more = np.ascontiguousarray(self.A_EXTRA)

    def _step_impl(self) -> tuple[bool, str | None]:
        rejected = False
        while True:
            h = self.h_abs
            if not h > 10 * abs(np.nextafter(self.t, np.inf) - self.t):
                return False, self.TOO_SMALL_STEP
            y, f = self._stages(h)
            weight = 1.0 / (self.atol + np.maximum(np.abs(self.y), np.abs(y)) * self.rtol)
            error = self._error(h, weight)
            self.h_abs *= min(MOST, max(LEAST, SAFETY / kernels.root(error, 8)))
            if error < 1:
                break
            rejected = True
        if rejected:
            self.h_abs = min(self.h_abs, h)
        self.h_previous, self.y_old = h, self.y
        self.t, self.y, self.f = self.t + h, y, f
        return True, None

    def _stages(self, h: float) -> tuple[np.ndarray, np.ndarray]:
        """Fill the slopes of a step: the state at its end, and its slope there."""
        K, n = self.K, self.n_stages
        K[0] = self.f
        for s in range(1, n):
            K[s] = self.fun(self.t + self.C[s] * h, kernels.step(self.y, h, K, self._A[s], s))
        y = kernels.step(self.y, h, K, self.B, n)
        K[n] = self.fun(self.t + h, y)
        return y, K[n].copy()

    def _error(self, h: float, weight: np.ndarray) -> float:
        """Error of the step over what is allowed, from the embedded formulas of order 5 and 3."""
        zero = np.zeros(self.n)
        fifth, third = (kernels.step(zero, 1.0, self.K, E, len(E)) for E in (self.E5, self.E3))
        high, low = kernels.rms(fifth, weight), kernels.rms(third, weight)
        size = float(np.sqrt(high * high + 0.01 * low * low))
        return h * high * high / size if size > 0 else 0.0

    def _dense_output_impl(self) -> DenseOutput:
        K, h, first = self.K_extended, self.h_previous, self.n_stages + 1
        for s, (a, c) in enumerate(zip(self._A_more, self.C_EXTRA, strict=True), start=first):
            K[s] = self.fun(self.t_old + c * h, kernels.step(self.y_old, h, K, a, s))
        moved, zero = self.y - self.y_old, np.zeros(self.n)
        rows = [moved, h * K[0] - moved, 2 * moved - h * (self.f + K[0])]
        return _Interpolant(self.t_old, self.t, self.y_old, [*rows, *(kernels.step(zero, h, K, d, len(d)) for d in self.D)])


class _Interpolant(DenseOutput):
    """y_old + x (F0 + (1 - x) (F1 + x (F2 + ..))), x from 0 to 1 over the step."""

    def __init__(self, t_old: float, t: float, y_old: np.ndarray, rows: list[np.ndarray]) -> None:
        super().__init__(t_old, t)
        self.y_old, self.rows = y_old, rows

    def _call_impl(self, t: np.ndarray) -> np.ndarray:
        x = (t - self.t_old) / (self.t - self.t_old)
        y = np.zeros((self.y_old.size, *t.shape))
        for i, row in enumerate(reversed(self.rows)):
            y += row.reshape(-1, *[1] * t.ndim)
            y *= 1 - x if (len(self.rows) - 1 - i) % 2 else x
        return y + self.y_old.reshape(-1, *[1] * t.ndim)


def _first_step(fun: Callable, t0: float, y0: np.ndarray, rtol: float, atol: Any) -> float:
    """Length of the first step, after Hairer, Norsett and Wanner (II.4)."""
    weight, f = 1.0 / (atol + np.abs(y0) * rtol), np.asarray(fun(t0, y0))
    size, speed = kernels.rms(y0, weight), kernels.rms(f, weight)
    h = 1e-6 if size < 1e-5 or speed < 1e-5 else 0.01 * size / speed
    bend = kernels.rms(np.asarray(fun(t0 + h, y0 + h * f)) - f, weight) / h
    most = max(speed, bend)
    return min(100 * h, kernels.root(0.01 / most, 8) if most > 1e-15 else max(1e-6, 1e-3 * h))

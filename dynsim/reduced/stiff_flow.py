"""Gradient flow of a field that comes to balances of opposite pushes and then slides along them.

Where pushes of size g balance, what is left of the velocity is rounding, 1e-16 g, and a solver that takes it for motion stops. Two
things keep it going. Where two correlations slide up together, what they take from each other leaves no digit of their slow
motion; a field knows that motion on its own, and the solver is given it in place of one of the two (`Field.slides`). And an entry
comes to a balance within 1 / FASTEST of a unit of the clock instead of whatever fraction of it, and lags behind by as much.
"""

from math import exp
from typing import Any

import numpy as np

from dynsim.reduced.gradient_flow import Flow
from dynsim.reduced.recording import State

FASTEST = 1e13  # relaxation to a balance, in units of the clock: beyond, rounding of the state is all that moves
NOISE = 1e-8  # of opposite pushes on an entry, what a solver may leave of them at a balance


class StiffFlow(Flow):
    """A flow of a field that is ``stiff``: Y = (u, tau), u the coordinates in which the field slides. In one go, as LSODA starts with
    a method that a balance stops; it starts afresh only where other pairs slide, when nothing is fast."""

    sliding: np.ndarray

    def prepare(self, start: State) -> State:
        """The state in the coordinates of its own slides."""
        self.segment = None
        y = start.y[:-1].reshape(self.shape)
        self.sliding = self.field.slides(y)
        return State(start.step, np.append(self.field.to_slide(y, self.sliding), start.y[-1]), start.memory, start.kept)

    def state(self, Y: np.ndarray) -> np.ndarray:
        """The state of the field, within its range: a solver tries more than it accepts."""
        y = self.field.from_slide(Y[:-1], self.sliding)
        return np.minimum(np.maximum(y, -self.limit), self.limit)

    def clock(self, Y: np.ndarray) -> tuple[np.ndarray, float, float, np.ndarray]:
        """Velocity du/dt, (t + t0), dtau/ds with dt/ds = 1 / (speed + 1 / (t + t0)), and the factor that slows each entry."""
        v, pushes = self.field.pushes(self.state(Y), self.sliding)
        pace = self.t0 * exp(min(Y[-1], 700.0))
        left = 1.0 / (1.0 + pace * speed(v, pushes))
        return v, pace, left, 1.0 / (1.0 + pushes * (pace * left / FASTEST))

    def rate(self, s: float, Y: np.ndarray) -> np.ndarray:
        """(du/ds, dtau/ds)."""
        v, pace, left, slower = self.clock(Y)
        return np.append(v * slower * (pace * left), left)

    def jacobian(self, s: float, Y: np.ndarray) -> np.ndarray:
        """d(rate)/dY; how the clock and the slowing depend on u is left out, as they do so gently."""
        v, pace, left, slower = self.clock(Y)
        J = np.zeros((Y.size, Y.size))
        J[:-1, :-1] = self.field.jacobian(self.state(Y), self.sliding, pace * left * slower.max())
        J[:-1, :-1] *= (pace * left * slower)[:, None]
        J[:-1, -1] = pace * left * left * v * slower * slower
        J[-1, -1] = -(1.0 - left) * left
        return J

    def own_options(self) -> dict[str, Any]:
        """The Jacobian, for solvers that take one."""
        return {"jac": self.jacobian} if self.name in ("LSODA", "Radau") else {}

    def restart(self) -> bool:
        """Start the solver afresh in other coordinates, where other pairs slide now."""
        y = self.state(self.solver.y)
        sliding = self.field.slides(y)
        if (sliding == self.sliding).all():
            return False
        self.sliding = sliding
        memory = np.array([self.solver.t, 0.0, self.solver.nfev, self.t0])
        self.solver = self.begin(State(self.steps, np.append(self.field.to_slide(y, sliding), self.solver.y[-1]), (memory,)))
        return True


def speed(v: np.ndarray, pushes: np.ndarray) -> float:
    """How fast the state moves, without what slides along a balance of opposite pushes.

    Where the pushes on an entry cancel to a fraction x of their sum, it counts as v x^2, times a smooth step from 0 to 1 in log10 x
    over the two decades above NOISE: what is left below is the error of the solver times a large rate, and a clock that followed
    it would stop. (The square lets the problem turn stiff step by step, for the solver to notice.)

    Parameters
    ----------
    v : ndarray of shape (n,)
        Velocity.
    pushes : ndarray of shape (n,)
        Sum of the sizes of what it is the sum of.

    Returns
    -------
    float
        Euclidean norm of what is left of it.

    Examples
    --------
    >>> speed(np.array([3.0, 4.0, 1e-9]), np.array([3.0, 4.0, 1.0]))
    5.0
    """
    x = np.abs(v) / np.maximum(pushes, 1e-300)
    step = np.minimum(1.0, 0.5 * np.log10(np.maximum(x, NOISE) / NOISE))
    moving = v * (x * x * step * step * step * (10.0 - step * (15.0 - 6.0 * step)))
    return float(np.sqrt(moving @ moving))

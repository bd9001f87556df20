"""Gradient flow of a field that comes to balances of opposite pushes and then slides along them.

Where pushes of size g balance, what is left of the velocity is rounding, 1e-16 g, and a solver that takes it for motion stops.
Two things keep it going. Where two correlations slide up together, what they take from each other leaves no digit of their slow
motion; a field knows that motion on its own, and the solver is given it in place of one of the two (`Field.slides_seen`). And an
entry comes to a balance within 1 / FASTEST of a unit of the clock instead of whatever fraction of it, and lags behind by as much.
Both go by the sizes of pushes, amplitude by amplitude: small and large ones may hold each other as well.
"""

from typing import Any

import numpy as np

from dynsim.reduced._flow_run import SAFETY, Flow
from dynsim.reduced.kernels import solvers
from dynsim.reduced.kernels.elementary import exp
from dynsim.reduced.recording import State

# A solver follows rounding where of so many steps at least such a share has order one, and all of them move no more than this.
CRAWL, LOWEST, MOVED = 2000, 0.4, 0.05
STEPS = 100  # in compiled code, at most: as many as progress may be behind, and Ctrl-C waits for
LEAST = 1e-8  # local tolerance of entries finer than one: at a balance of the others they move by rounding of that order


class StiffFlow(Flow):
    """A flow of a field that is ``stiff``: Y = (u, tau), u the coordinates in which the field slides.

    In one go, as LSODA starts with a method that a balance stops: it starts afresh only where it fails.
    """

    sliding: np.ndarray  # which pairs of entries do, in the coordinates of the solver
    seen: np.ndarray  # and which did where the last step ended
    paces: np.ndarray  # what makes velocities the rate, where it was evaluated last
    rates: np.ndarray  # that rate
    failed = -np.inf  # where the solver failed last
    lowest = 0  # steps at order one, of the last CRAWL
    watch: np.ndarray  # where compiled steps end: tau, the number of steps, and the signs of events as a number
    before: np.ndarray | None = None  # the state and its tau in front of them

    def prepare(self, start: State) -> State:
        """The state in the coordinates of its own slides, and tolerances that rounding allows."""
        y = start.y[:-1].reshape(self.shape)
        fine = self.scale < 1.0
        self.scale[fine] = np.maximum(self.scale[fine], LEAST / (SAFETY * self.rtol))
        self.field.velocity(y)
        self.sliding, self.paces, self.watch = self.field.slides_seen(), np.ones(start.y.size), np.array([np.inf, 1.0, -1.0])
        return State(start.step, np.append(self.field.to_slide(y, self.sliding), start.y[-1]), start.memory, start.kept)

    def state(self, Y: np.ndarray) -> np.ndarray:
        """The state of the field, within its range."""
        return solvers.within(self.field.from_slide(Y[:-1], self.sliding), self.limit)

    def rate(self, s: float, Y: np.ndarray) -> np.ndarray:
        """(du/ds, dtau/ds) with dt/ds = 1 / (speed + 1 / (t + t0)): see kernels/balance.py."""
        self.rates = np.empty_like(Y)
        self.field.slide_rate(Y, self.sliding, self.t0, self.rates, self.paces)
        return self.rates

    def compiled(self, solver: tuple, Y: np.ndarray, rates: np.ndarray) -> tuple[int, int]:
        """Steps of LSODA in compiled code, up to where there is something to do."""
        self.rates = rates
        return self.field.slide_rate(Y, self.sliding, self.t0, rates, self.paces, solver, self.watch)

    def jacobian(self, s: float, Y: np.ndarray) -> np.ndarray:
        """d(rate / paces)/dY where the rate was evaluated last; how the clock depends on u is left out."""
        left = self.paces[-1]
        unit = left * self.t0 * exp(min(Y[-1], 700.0))
        J = np.zeros((Y.size, Y.size))
        J[:-1, -1] = self.rates[:-1] * (left / unit)
        J[-1, -1] = left - 1.0
        J[:-1, :-1] = self.field.jacobian(self.state(Y), self.sliding, unit)
        return J

    def reached(self) -> tuple[float, dict[str, float]]:
        """The same where the last step ended, as the solver has evaluated it: to its tolerance; and what slides there."""
        self.seen = self.field.slides_seen(self.sliding)
        return self.field.crossings_seen()

    def largest(self) -> float:
        """The largest correlation, in size."""
        return solvers.largest(self.field.from_slide(self.solver.y[:-1], self.sliding))

    def leave(self) -> None:
        """End in front of the step that leaves the range of the softmax: attention is a step of the amplitudes by then, and
        goes on to sharpen only."""
        dense = self.solver.dense_output()
        Y = dense(dense.t_old)
        self.tau = Y[-1]
        self.save(self.t, Y)
        self.ended = f"ended at t={self.t:.6g}, where a correlation passes {self.limit:.4g}"

    def own_options(self) -> dict[str, Any]:
        """The Jacobian, for solvers that take one."""
        if self.name == "LSODA":
            return {"jac": self.jacobian, "pace": self.paces, "advance": self.compiled}
        return {"jac": lambda s, Y: self.paces[:, None] * self.jacobian(s, Y)} if self.name == "Radau" else {}

    def advance(self) -> str | None:
        """One step of the solver or many, afresh where it fails, but once."""
        most = 1 if self.field.conservative else min(STEPS, CRAWL - self.steps % CRAWL)
        self.watch[:2] = min([self.end, *(tau for _, tau in self.waiting[:1])]), most
        message = self.solver.step()
        if self.solver.status == "failed" and self.solver.t > self.failed:
            self.failed = self.solver.t
            self.afresh(self.solver.y)
            message = self.solver.step()
        if self.solver.status == "failed":
            self.tau = self.solver.y[-1]
        return message

    def step(self) -> None:
        """Steps, and other coordinates where other pairs slide now."""
        super().step()
        self.lowest += getattr(self.solver, "lowest", 0)
        if self.steps % CRAWL == 0:
            self.end_where_it_crawls()
        if self.ended or self.seen.tobytes() == self.sliding.tobytes():
            return
        before, self.sliding = self.sliding, self.seen

        def change(Y: np.ndarray) -> np.ndarray:
            return np.append(self.field.to_slide(self.field.from_slide(Y[:-1], before), self.sliding), Y[-1])

        if self.name == "LSODA":
            self.solver.change_coordinates(change)
        else:
            self.afresh(change(self.solver.y))

    def end_where_it_crawls(self) -> None:
        """End where many steps have moved neither an entry, relative to one and itself, nor tau."""
        y, tau = self.field.from_slide(self.solver.y[:-1], self.sliding).ravel(), self.solver.y[-1]
        before, self.before = self.before, np.append(y, tau)
        lowest, self.lowest = self.lowest, 0
        if before is None or self.ended or lowest < LOWEST * CRAWL:
            return
        if np.all(np.abs(self.before - before) < MOVED * np.append(1.0 + np.abs(y), 1.0)):
            self.save(self.t, self.solver.y)
            self.ended = f"ended at t={self.t:.6g}, where pushes on FP and PP cancel to rounding"

    def afresh(self, Y: np.ndarray) -> None:
        """A new solver where this one stands."""
        self.solver = self.begin(State(self.steps, Y, (np.array([self.solver.t, 0.0, self.solver.nfev, self.t0]),)))

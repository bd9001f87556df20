"""A gradient flow in progress: the clock, the solver, and what is saved on the way."""

from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import RK45, Radau
from scipy.optimize import brentq

from dynsim.errors import Diverged, InputError
from dynsim.model.amplitude import is_number
from dynsim.reduced.dop853 import DOP853
from dynsim.reduced.field import Field
from dynsim.reduced.kernels import solvers
from dynsim.reduced.kernels.elementary import exp, expm1, log, log1p
from dynsim.reduced.lsoda import LSODA
from dynsim.reduced.recording import Checkpoint, Record, State, plain
from dynsim.trajectory import Progress

SOLVERS = {"LSODA": LSODA, "Radau": Radau, "DOP853": DOP853, "RK45": RK45}
RISES = 1e-5  # of the first loss over the floor: by this much (or rtol) no error of the solver makes a flow's loss rise
SAFETY = 0.01  # local tolerance over rtol, so that halving rtol moves the answer itself by less than rtol


class Flow:
    """A gradient flow in progress: Y = (y, tau) with tau = log(1 + t / t0), integrated over s."""

    ended: str | None = None  # how, where it is neither by time nor by an event

    def __init__(
        self, field: Field, t_end: float, keep: ArrayLike | None, rtol: float, name: str, start: State | None, segment: int,
        until: str | None,
    ) -> None:
        self.field, self.t_end, self.rtol, self.name, self.until = field, t_end, rtol, name, until
        y = field.start()
        self.shape, self.limit = y.shape, field.limit
        self.scale = np.append(field.scale(), 1.0)
        first_loss, v = field.velocity(y)
        self.rise = max(RISES, rtol) * abs(first_loss - (field.floor or 0.0)) if field.conservative else np.inf
        self.segment = None if field.stiff else segment
        if start is None:
            t0 = min(t_end, 0.1 / max(field.speed(v), 1e-300))
            start = State(0, np.append(y.ravel(), 0.0), (np.array([0.0, 0.0, 0.0, t0]),))
        elif np.shape(start.y) != (y.size + 1,) or [np.shape(m) for m in start.memory] != [(4,)]:
            raise InputError(f"a run goes on from its own state of {y.size + 1} numbers, got {np.shape(start.y)}: start anew")
        self.t0 = float(start.memory[0][3])
        self.end, self.tau = self.tau_at(t_end), start.y[-1]
        if self.tau > self.end:
            raise InputError(
                f"a run goes on to a later time than it has reached, t={self.t:g}, got t_end={t_end:g}: give a later one"
            )
        times = [(t, self.tau_at(t)) for t in _times_to_save(self.t0, t_end, keep)]
        self.waiting = [(t, tau) for t, tau in times if tau > self.tau or start.step == 0]
        if not self.waiting and start.kept is None:
            raise InputError(f"a run needs a saved time from its start on, t={self.t:g}, got none in keep: add a later one")
        meta = {"integrator": "flow", "rtol": rtol, "t_end": t_end, "solver": name, "keep": plain(keep), "until": until}
        self.record = Record(field, meta, start.kept)
        self.events = self.record.meta["events"] = {
            **dict.fromkeys(field.events), **(start.kept.meta["events"] if start.kept else {})
        }
        self.start = start
        self.steps, self.solver = start.step, self.begin(self.prepare(start))
        self.loss, self.signs = self.crossings(self.solver.y)
        if start.step == 0:
            self.events.update({e: 0.0 for e in field.events if self.signs[e] >= 0})

    @property
    def t(self) -> float:
        """The time reached."""
        return self.t_at(self.tau)

    def tau_at(self, t: float) -> float:
        """Its tau."""
        return log1p(t / self.t0)

    def t_at(self, tau: float) -> float:
        """Its time."""
        return self.t0 * expm1(float(tau))

    def prepare(self, start: State) -> State:
        """The state as the solver takes it."""
        return start

    def state(self, Y: np.ndarray) -> np.ndarray:
        """The state of the field."""
        return Y[:-1].reshape(self.shape)

    def rate(self, s: float, Y: np.ndarray) -> np.ndarray:
        """(dy/ds, dtau/ds) with dt/ds = 1 / (speed + 1 / (t + t0))."""
        dY = np.empty_like(Y)
        y = solvers.within(Y[:-1], self.limit).reshape(self.shape)  # a solver tries more than it accepts
        _, v = self.field.velocity(y, out=dY[:-1].reshape(self.shape))
        solvers.on_clock(dY, self.field.speed(v), self.t0, Y[-1])
        return dY

    def advance(self) -> str | None:
        """One step of the solver; what it says where it fails."""
        return self.solver.step()

    def own_options(self) -> dict[str, Any]:
        """What else the solver is given."""
        return {}

    def crossings(self, Y: np.ndarray) -> tuple[float, dict[str, float]]:
        """(loss, each event as a number that turns positive where it happens)."""
        return self.field.crossings(self.state(Y))

    def reached(self) -> tuple[float, dict[str, float]]:
        """The same where the last step ended."""
        return self.crossings(self.solver.y)

    def begin(self, state: State) -> Any:
        """A solver that starts afresh from a state."""
        s, h, evaluations, _ = state.memory[0]
        tolerance = SAFETY * self.rtol
        solver = SOLVERS[self.name](
            self.rate, s, state.y, np.inf, rtol=tolerance, atol=tolerance * self.scale, first_step=h or None,
            **self.own_options(),
        )
        solver.nfev += int(evaluations)
        return solver

    def go(self, progress: Progress | None, checkpoint: Checkpoint | None) -> None:
        """Integrate to the end."""
        if checkpoint is not None:
            checkpoint(self.start, self.record)
        due = bool(self.waiting) and self.waiting[0][0] == 0.0
        if due or (self.steps == 0 and 0.0 in self.events.values()):
            del self.waiting[: int(due)]
            self.save(0.0, self.start.y)
        while self.tau < self.end and self.ended is None and (self.until is None or self.events[self.until] is None):
            self.step()
            if progress is not None:
                progress(min(self.tau, self.end), self.end)
            if self.segment and self.steps % self.segment == 0 and self.tau < self.end:
                memory = np.array([self.solver.t, getattr(self.solver, "h_abs", 0.0), self.solver.nfev, self.t0])
                state = State(self.steps, self.solver.y.copy(), (memory,))
                if checkpoint is not None:
                    checkpoint(state, self.record)
                self.solver = self.begin(state)

    def step(self) -> None:
        """One step of the solver; saves events and times that it passes. Raises Diverged."""
        message = self.advance()
        if self.solver.status == "failed":
            raise self.stopped(f"{message}: try method='Radau' or a larger rtol")
        if not self.largest() <= self.limit:
            self.leave()
            return
        before, loss = self.signs, self.loss
        self.loss, self.signs = self.reached()
        if self.loss > loss + max(self.rise, self.rtol * abs(loss)):
            raise self.stopped(f"its loss rises, so the closure is off: end at t_end={self.t:.4g}")
        self.tau, self.steps = self.solver.y[-1], self.steps + getattr(self.solver, "made", 1)
        found = [e for e in self.field.events if self.events[e] is None and before[e] < 0 <= self.signs[e]]
        due = list(takewhile(lambda time: time[1] <= self.tau, self.waiting))
        del self.waiting[: len(due)]
        if found or due:
            self.save_passed(found, due)

    def largest(self) -> float:
        """The largest correlation, in size."""
        return solvers.largest(self.solver.y[:-1])

    def leave(self) -> None:
        """What to do where a correlation has left the range of the softmax. Raises Diverged."""
        beyond = f"a correlation left +-{self.limit:.4g}, beyond which the softmax overflows"
        raise self.stopped(f"{beyond}: end at t_end={self.t:.4g}")

    def save_passed(self, found: Sequence[str], due: Sequence[tuple[float, float]]) -> None:
        """Save the events found and the times due in the last step, in their order, from the solver's dense output."""
        dense = self.solver.dense_output()
        a, b = dense.t_old, dense.t
        points: list[tuple[float, float | None, str]]
        points = [(_crossing(lambda s, e=e: self.crossings(dense(s))[1][e], a, b), None, e) for e in found]
        points += [(_crossing(lambda s, tau=tau: dense(s)[-1] - tau, a, b), t, "") for t, tau in due]
        for s, t, e in sorted(points, key=lambda point: point[0]):
            Y = dense(s)
            t = max(self.t_at(Y[-1]), self.record.rows[-1][0] if self.record.rows else 0.0) if t is None else t
            if t <= self.t_end:
                self.events.update({e: t} if e else {})
                self.save(t, Y)

    def save(self, t: float, Y: np.ndarray) -> None:
        """Save one time."""
        y = self.state(Y)
        self.record.add(len(self.record.rows), t, y, self.field.observe(y))

    def stopped(self, why: str) -> Diverged:
        """The error of a flow that cannot go on, with what it has reached."""
        return Diverged(f"the flow stopped at t={self.t:.4g}: {why}", self.record.trajectory())


def _crossing(f: Callable[..., float], a: float, b: float) -> float:
    """Where f turns positive between a and b; the nearer end where the dense output, unlike the steps, has it on one side."""
    fa, fb = f(a), f(b)
    if fa >= 0 or fb < 0:
        return a if fa >= 0 else b
    return brentq(f, a, b, xtol=1e-13, rtol=1e-13)


def _times_to_save(t0: float, t_end: float, keep: ArrayLike | None) -> list[float]:
    if keep is None or np.ndim(keep) == 0:
        count: Any = 200 if keep is None else keep
        if not (is_number(count) and count == int(count) and count >= 2):
            raise InputError(f"keep must be at least 2 times or a list of times, got {keep!r}: take e.g. keep=200")
        first, steps = min(t0, t_end / 10), int(count) - 2
        growth = (log(t_end) - log(first)) / max(steps, 1)
        return [0.0, *(exp(log(first) + growth * i) for i in range(steps)), t_end]
    times = np.unique(np.asarray(keep, dtype=float))
    if not (times.size and np.isfinite(times).all() and times[0] >= 0 and times[-1] <= t_end):
        raise InputError(f"saved times must lie between 0 and t_end={t_end:g}, got {np.asarray(keep).ravel()[:5].tolist()}...")
    return times.tolist()

"""The two integrators: gradient descent (a recursion) and gradient flow (an ODE), for every field.

    descend:  y <- y + eta dy/dt(y), time t = eta x step        flow:  dy/dt integrated in log time
"""

from typing import NamedTuple

import numpy as np

from dynsim.errors import Diverged, InputError, Interrupted
from dynsim.reduced.optimisers import Descent, check
from dynsim.trajectory import Trajectory, steps_to_keep

RISE = 1.0 + 1e-9  # plain descent on a fixed loss does not end above its start; rounding stays far below this


class State(NamedTuple):
    """All that a run needs to go on: the step it stands before, the field's state, and the optimiser's memory."""

    step: int
    y: np.ndarray
    memory: tuple = ()


def descend(field, eta=1.0, steps=500, keep=None, optimiser=None, start=None, progress=None, checkpoint=None):
    """Gradient descent on `field` from zero correlations: a Trajectory with t = eta x step.

    keep: see trajectory.steps_to_keep. optimiser: Descent() by default. start: a State to go on from; the kept moments
    before it are then not in the result. progress(done, total) is called after every step, checkpoint(state, trajectory)
    before every kept step.

    Raises InputError for a bad eta or steps, Diverged (with the trajectory so far and a step size to try) where
    correlations leave the range of the softmax or plain descent ends up above its first loss, and Interrupted (with the
    trajectory so far) on Ctrl-C.
    """
    if not (np.isscalar(eta) and np.isfinite(eta) and eta > 0):
        raise InputError(f"eta, the step size, must be positive and finite, got {eta!r}: take e.g. eta=1")
    optimiser = check(optimiser, getattr(field, "embedding", None))
    kept = set(steps_to_keep(steps, keep).tolist())
    step, y, memory = (0, field.start(), None) if start is None else start
    y = np.array(y)
    memory = optimiser.start(y) if memory is None else tuple(np.array(m) for m in memory)
    first_loss = field.velocity(field.start())[0] if field.deterministic and type(optimiser) is Descent else np.inf
    record = _Record(field, {"integrator": "descend", "eta": float(eta), "steps": int(steps), "optimiser": optimiser.describe()})
    dy = np.empty_like(y)
    try:
        while True:
            loss, dy = field.velocity(y, step=step, out=dy)
            if not np.isfinite(loss) or loss > first_loss * RISE:
                raise _diverged(f"the loss is {loss:.4g}, above {first_loss:.4g} at the start", step, eta, field, record)
            if step in kept:
                record.add(step, eta * step, loss, y)
                if checkpoint is not None:
                    checkpoint(State(step, y, memory), record)
            if step == steps:
                return record.trajectory()
            optimiser.update(y, dy, eta, memory, step)
            step += 1
            if not max(y.max(), -y.min()) <= field.limit:
                raise _diverged(f"a correlation left +-{field.limit:.4g} ({np.abs(y).max():.4g})", step, eta, field, record)
            if progress is not None:
                progress(step, steps)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped at step {step} of {steps}", record.trajectory()) from None


class _Record:
    """The kept moments of a run under way."""

    def __init__(self, field, meta):
        self.field, self.meta, self.rows = field, {**field.describe(), **meta}, []

    def add(self, step, t, loss, y):
        self.rows.append((t, step, loss, *self.field.correlations(y), self.field.attention(y)))

    def trajectory(self, **meta):
        if not self.rows:
            return None
        t, step, loss, fp, pp, attention = (np.array(column) for column in zip(*self.rows, strict=True))
        return Trajectory(t, step, loss, fp, pp, attention, {**self.meta, **meta})


def _diverged(what, step, eta, field, record):
    """The error for a run that left its range, with a step size below the inverse curvature along the first gradient."""
    y = field.start()
    loss, v = field.velocity(y)
    h = 1e-3 / max(np.abs(v).max(), 1e-300)
    curvature = np.linalg.norm(field.velocity(y + h * v)[1] - v) / (h * max(np.linalg.norm(v), 1e-300))
    smaller = min(eta / 10, 1.0 / max(curvature, 1e-300))
    return Diverged(
        f"diverged at step {step}: {what}; the step size eta={eta:.4g} is too large: try eta={smaller:.2g}", record.trajectory()
    )

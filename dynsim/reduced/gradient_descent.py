"""Gradient descent, y <- y + eta dy/dt(y), for every field and optimiser; time is t = eta x step."""

import numpy as np
from numpy.typing import ArrayLike

from dynsim.errors import Diverged, InputError, Interrupted
from dynsim.model.amplitude import is_number
from dynsim.reduced.field import LOSS_EVENTS, Field
from dynsim.reduced.optimisers import Descent, Rule, check
from dynsim.reduced.recording import Checkpoint, Record, State, plain
from dynsim.trajectory import Progress, Trajectory, steps_to_keep

RISE = 1e-9  # of the first loss: plain descent on a fixed loss does not end above its start; rounding stays far below this


def descend(
    field: Field,
    eta: float = 1.0,
    steps: int = 500,
    keep: ArrayLike | None = None,
    optimiser: Rule | None = None,
    start: State | None = None,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
    until: str | None = None,
) -> Trajectory:
    """Run gradient descent on a field, from zero correlations.

    Parameters
    ----------
    field : Field
        What is descended.
    eta : float
        Step size.
    steps : int
        Number of steps; with ``until`` the most that are taken.
    keep : int or array_like of int, optional
        Saved steps: every so many, or exactly these; about 60 log-spaced ones by default. The first and the last are always
        saved.
    optimiser : Rule, optional
        Descent() by default.
    start : State, optional
        A state to resume from.
    progress : callable, optional
        Called with (done, total) after every step.
    checkpoint : callable, optional
        Called with (state, record) before every step. The state is that of the run: copy what is to be stored.
        ``record.trajectory()`` is the trajectory up to there.
    until : {"excess", "half"}, optional
        Event that ends the run at the first step where it has happened: the loss is within 1 % of its start above the floor of
        the field, or half way there. On minibatches loss and floor are those of the batch.

    Returns
    -------
    Trajectory
        At the saved steps, with t = eta x step. ``meta["status"]`` says how the run ended.

    Raises
    ------
    InputError
        If a value breaks a rule, the optimiser does not reduce exactly under the field's embedding, or the run should end by the
        loss and the field knows no floor.
    Diverged
        If correlations leave the range of the softmax, or plain descent of a gradient ends above its first loss. It carries the
        trajectory so far, and says a step size to try.
    Interrupted
        On Ctrl-C, with the trajectory so far.

    Notes
    -----
    Exact where the field is: on given images this is the recursion (eq. 5). ``field.run_options(problem)`` gives a step size that
    is safe and an end; with eta at most ``2 / field.curvature()`` plain descent on a fixed loss never rises (docs/model.md).

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=2, gamma=0.75, P=16)
    >>> part = dynsim.Partition.blocks(problem)
    >>> field = dynsim.reduced.EmpiricalField(part, dynsim.sample(problem, part, n=64, seed=0))
    >>> run = dynsim.reduced.descend(field, eta=2.0, steps=100, keep=50)
    >>> run.t
    array([  0., 100., 200.])
    >>> bool(run.loss[-1] < run.loss[0])
    True
    """
    if not (is_number(eta) and eta > 0):
        raise InputError(f"eta, the step size, must be positive and finite, got {eta!r}: take e.g. eta=1")
    optimiser = check(optimiser, field.embedding)
    kept = set(steps_to_keep(steps, keep).tolist())
    step, y, memory, past = State(0, field.start()) if start is None else start
    if step > steps or np.shape(y) != field.start().shape:
        raise InputError(f"a run goes on from its own state and before steps={steps}, got step {step}: give more steps")
    y = np.array(y)
    memory = tuple(np.array(m) for m in memory) or optimiser.start(y)
    first_loss, enough = _bounds(field, optimiser, until)
    meta = {"integrator": "descend", "eta": float(eta), "steps": int(steps), "optimiser": optimiser.describe(), "until": until}
    record = Record(field, {**meta, "keep": plain(keep)}, past)
    dy = np.empty_like(y)
    try:
        while True:
            if checkpoint is not None:
                checkpoint(State(step, y, memory), record)
            seen = field.observe(y, step, dy) if step in kept else None
            loss, dy = field.velocity(y, step, dy) if seen is None else (seen.loss, seen.velocity)
            if not np.isfinite(loss) or loss > first_loss + RISE * abs(first_loss):
                raise _diverged(f"the loss is {loss:.4g}, above {first_loss:.4g} at the start", step, eta, field, record)
            done = until is not None and loss - field.floor <= enough  # type: ignore[operator]  # _bounds has checked the floor
            if done and seen is None:
                seen = field.observe(y, step, dy)
            if seen is not None:
                record.add(step, eta * step, y, seen)
            if done or step == steps:
                status = f"ended by {until} at step={step}" if done else f"reached steps={steps}"
                return record.trajectory(status=status)  # type: ignore[return-value]  # the last step is saved
            optimiser.update(y, dy, eta, memory, step)
            step += 1
            if not max(y.max(), -y.min()) <= field.limit:
                raise _diverged(f"a correlation left +-{field.limit:.4g} ({np.abs(y).max():.4g})", step, eta, field, record)
            if progress is not None:
                progress(step, steps)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped at step {step} of {steps}", record.trajectory()) from None


def _bounds(field: Field, optimiser: Rule, until: str | None) -> tuple[float, float]:
    """(loss above which a run has diverged, excess at which it ends)."""
    if until not in (None, *LOSS_EVENTS):
        raise InputError(f"until must be {' or '.join(LOSS_EVENTS)} for a descent, got {until!r}: leave it out")
    falls = field.deterministic and field.conservative and type(optimiser) is Descent
    first = field.velocity(field.start())[0] if falls or until is not None else np.inf
    if until is None:
        return (first if falls else np.inf), -np.inf
    if field.floor is None:
        raise InputError(f"until={until!r} needs the floor of the loss, which {field.method} does not know: leave it out")
    return (first if falls else np.inf), LOSS_EVENTS[until] * (first - field.floor)


def _diverged(what: str, step: int, eta: float, field: Field, record: Record) -> Diverged:
    """The error for a run that left its range, with a step size below the inverse curvature along the first gradient."""
    y = field.start()
    loss, v = field.velocity(y)
    h = 1e-3 / max(np.abs(v).max(), 1e-300)
    curvature = np.linalg.norm(field.velocity(y + h * v)[1] - v) / (h * max(np.linalg.norm(v), 1e-300))
    smaller = min(eta / 10, 1.0 / max(curvature, 1e-300))
    return Diverged(
        f"diverged at step {step}: {what}; the step size eta={eta:.4g} is too large: try eta={smaller:.2g}", record.trajectory()
    )

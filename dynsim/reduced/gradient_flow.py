"""Gradient flow, dy/dt integrated in log time or path length, for every field whose velocity is the same at every evaluation."""

from numpy.typing import ArrayLike

from dynsim.errors import InputError, Interrupted
from dynsim.model.amplitude import is_number
from dynsim.reduced._flow_run import SOLVERS, Flow
from dynsim.reduced._stiff_flow import StiffFlow
from dynsim.reduced.field import Field
from dynsim.reduced.recording import Checkpoint, State
from dynsim.trajectory import Progress, Trajectory

SEGMENT = {"LSODA": 500, "Radau": 50, "DOP853": 10, "RK45": 20}  # steps after which a solver starts afresh, see flow
DENSE = 1000  # numbers in the state up to which a stiff solver, with its full Jacobian, is the default


def flow(
    field: Field,
    t_end: float = 1e4,
    keep: ArrayLike | None = None,
    rtol: float = 1e-8,
    method: str | None = None,
    start: State | None = None,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
    until: str | None = None,
) -> Trajectory:
    """Integrate the gradient flow of a field, from zero correlations.

    Parameters
    ----------
    field : Field
        A deterministic field.
    t_end : float
        Time to integrate to.
    keep : int or array_like, optional
        Saved times: so many, log-spaced (200 by default), or exactly these.
    rtol : float
        Accuracy of the correlations, relative to max(1, abs(y)); for PP at large P, relative to one over the size of the own
        area (where the field is ``stiff``, a step leaves 1e-8 of PP at least). From 1e-12 to 1e-2.
    method : {"LSODA", "Radau", "DOP853", "RK45"}, optional
        Solver; LSODA by default, DOP853 for large states (these two in a fixed order of operations, the others SciPy's).
    start : State, optional
        A state to resume from.
    progress : callable, optional
        Called with (done, total) after every step of the solver, in logarithmic time.
    checkpoint : callable, optional
        Called with (state, record) at every restart of the solver.
    until : str, optional
        An event that ends the run where it happens, before ``t_end``.

    Returns
    -------
    Trajectory
        At the saved times and the events. ``meta["events"]`` holds the time of every event (None where it did not happen),
        ``meta["status"]`` how the run ended.

    Raises
    ------
    InputError
        If a value breaks a rule, or the field is not deterministic.
    Diverged
        If a correlation leaves the range of the softmax, or the loss rises. It carries the trajectory so far. (Where the field
        is ``stiff``, a run ends in front of that step, and its status says so.)
    Interrupted
        On Ctrl-C, with the trajectory so far.

    Notes
    -----
    Integrated over s with dt/ds = 1 / (abs(dy/dt) + 1 / (t + t0)): log time while little moves, path length where much does
    (own attention takes off within a fraction P^-(1 - kappa_s) of the time passed: at large P neither t nor log t resolves
    that). t is carried as tau = log(1 + t / t0). Events are located on the solver's dense output.

    Every SEGMENT steps the solver is restarted from its state, whether or not a checkpoint is taken, so that a run resumed from
    such a state is the same run bit for bit. (Runge-Kutta solvers remember nothing but their step size, which is kept.) A field
    that is ``stiff`` gives its own Jacobian and runs in one go, without checkpoints.

    Examples
    --------
    >>> import dynsim
    >>> field = dynsim.reduced.OrbitField(dynsim.Problem(K=2, gamma=0.75, P=1e12), query="LL")
    >>> run = dynsim.reduced.flow(field, t_end=2 * dynsim.theory.escape_time(field.problem))
    >>> round(run.meta["events"]["escape"] / dynsim.theory.escape_time(field.problem, finite=True), 3)
    1.0
    """
    if not (is_number(t_end) and t_end > 0):
        raise InputError(f"t_end, the time to integrate to, must be positive and finite, got {t_end!r}: take e.g. t_end=1e4")
    if not (is_number(rtol) and 1e-12 <= rtol <= 1e-2):
        raise InputError(f"rtol must be between 1e-12 and 1e-2, got {rtol!r}: take e.g. rtol=1e-8")
    name = ("LSODA" if field.start().size <= DENSE else "DOP853") if method is None else method
    if name not in SOLVERS:
        raise InputError(f"method must be one of {', '.join(SOLVERS)}, got {method!r}: leave it out for the default")
    if not field.deterministic:
        raise InputError("flow needs a field that is the same at every evaluation, got fresh samples: use descend")
    if until is not None and until not in field.events:
        raise InputError(f"until must be one of the events {', '.join(field.events)}, got {until!r}: leave it out")
    run = (StiffFlow if field.stiff else Flow)(field, float(t_end), keep, rtol, name, start, SEGMENT[name], until)
    try:
        run.go(progress, checkpoint)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped at t={run.t:.4g} of {t_end:.4g}", run.record.trajectory()) from None
    by_event = f"ended by {until} at t={run.events[until]:.6g}" if until is not None and run.events[until] is not None else None
    status = f"reached t_end={t_end:.6g}" if run.tau >= run.end else run.ended or by_event
    traj = run.record.trajectory(status=status, evaluations=int(run.solver.nfev))
    assert traj is not None  # Flow has checked that a time is saved
    return traj

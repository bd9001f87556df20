"""The phases of a run beside those that theory predicts, and why they differ where they do.

The sign of Delta says which phases there are as P grows; ``theory.decoupling_time`` and ``theory.escape_time`` when they end, for
large P and with the sizes of this P.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dynsim.analysis import phases
from dynsim.analysis.phases import Phases

if TYPE_CHECKING:
    from dynsim.model.problem import Problem
    from dynsim.trajectory import Trajectory

CLOSE = 0.05  # relative difference of times up to which nothing is said


def has_theory(traj: Trajectory) -> bool:
    """Return whether the times that theory predicts are those of a run.

    Parameters
    ----------
    traj : Trajectory
        A run.

    Returns
    -------
    bool
        False under another rule than plain descent, where FP is held, and where vectors are not orthonormal.

    Examples
    --------
    >>> import dynsim
    >>> from dynsim.analysis import phase_theory
    >>> field = dynsim.reduced.OrbitField(dynsim.Problem(K=1, P=1e6))
    >>> phase_theory.has_theory(dynsim.reduced.descend(field, steps=1))
    True
    >>> phase_theory.has_theory(dynsim.reduced.descend(field, steps=1, optimiser=dynsim.reduced.Momentum()))
    False
    """
    rule, vectors = (traj.meta.get(name) or {} for name in ("optimiser", "embedding"))
    plain = rule.get("name", "descent") == "descent" and vectors.get("kind", "orthonormal") == "orthonormal"
    return plain and traj.meta.get("hold") != "fp"


def beside(problem: Problem, traj: Trajectory, floor: float | None = None) -> dict:
    """Find the phases of a run on local queries, and put those that theory predicts beside them.

    Parameters
    ----------
    problem : Problem
        What was simulated.
    traj : Trajectory
        A run, of reconstruction alone.
    floor : float, optional
        As for ``phases.find``.

    Returns
    -------
    dict
        Plain data: "regime" as measured and "regime_theory" after the sign of Delta; "phases" in order, with "name", "start",
        "end", and where theory has them "end_closed" at this P and "end_theory" at large P; "why", a line for each
        way in which they differ.

    Raises
    ------
    InputError
        As ``phases.find``.

    Examples
    --------
    >>> import dynsim
    >>> from dynsim.analysis import phase_theory
    >>> field = dynsim.reduced.OrbitField(dynsim.Problem(kappa_c=0.75))
    >>> found = phase_theory.beside(field.problem, dynsim.reduced.flow(field, t_end=2000.0))
    >>> found["regime"], found["regime_theory"]
    ('one phase', 'two phases')
    >>> print(found["why"][0])
    at this P the global FP starts 0.403 times as fast as the own one; phase I lasts where that is above 1
    """
    from dynsim import theory

    found, expected = phases.find(traj, floor=floor), theory.regime(problem)
    ends = {"I": theory.decoupling_time, "II": lambda problem, finite=False: theory.escape_time(problem, finite=finite)}
    rows = []
    for phase in found:
        row: dict = {"name": phase.name, "start": phase.start, "end": phase.end}
        if phase.name in ends:
            row |= {"end_closed": ends[phase.name](problem, finite=True), "end_theory": ends[phase.name](problem)}
        rows.append(row)
    reasons = [_regimes(problem, found, expected), _times(problem, rows), _end(traj, rows)]
    return {"regime": found.regime, "regime_theory": expected, "phases": rows, "why": [text for text in reasons if text]}


def _regimes(problem: Problem, found: Phases, expected: str) -> str | None:
    """Why there are other phases than Delta predicts."""
    from dynsim import theory

    if found.regime == expected:
        return None
    lead = theory.lead(problem, finite=True)
    return f"at this P the global FP starts {lead:.3g} times as fast as the own one; phase I lasts where that is above 1"


def _times(problem: Problem, rows: list[dict]) -> str | None:
    """Why times at this P are others than at large P."""
    pairs = [(row["end_closed"], row["end_theory"]) for row in rows if "end_closed" in row]
    apart = [abs(closed / large - 1) for closed, large in pairs if large > 0 and math.isfinite(closed)]
    if max(apart, default=0.0) <= CLOSE:
        return None
    areas = f"areas of {problem.C_global:.4g} and {problem.C_local:.3g} patches"
    return f"times of large P are off by up to {100 * max(apart):.2g} %: at P={problem.P:.4g} {areas} count one by one"


def _end(traj: Trajectory, rows: list[dict]) -> str | None:
    """Why the escape is missing."""
    row = rows[1]
    if row["end"] is not None:
        return None
    if math.isinf(row["end_closed"]):
        return "the escape never comes: local areas are so small that all their patches are masked in half of the images"
    return f"the run ends at t={traj.t[-1]:.4g}, before the escape, expected at {row['end_closed']:.4g}"

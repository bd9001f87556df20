"""The result of a run: correlations, attention and loss along time. Frozen; analysis is functions on it.

Time is the leading axis of every array and t = eta x step. The loss is per masked patch, L / (gamma P).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dynsim.errors import InputError

Progress = Callable[[float, float], object]  # called with (done, total) along a run


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Saved times of a run; frozen, the arrays read-only.

    Parameters
    ----------
    t : ndarray of shape (T,)
        Times, eta x step.
    step : ndarray of int, shape (T,)
        Numbers of the steps.
    loss : ndarray of shape (T,)
        Loss per masked patch.
    fp : ndarray of shape (T, P, F) or (T, K, 3)
        FP correlations (eq. 4); for orbits by cluster and role (own, global, others).
    pp : ndarray of shape (T, P, P) or (T, S + 1)
        PP correlations (eq. 4); for orbits by class of keys, the query itself last.
    attention : ndarray of the shape of fp
        Expected area attention of a masked query.
    meta : dict
        Plain data that says what was run (method, integrator, parameters, events).
    terms : mapping of str to ndarray
        For a sum of fields, the loss of each by name, (T,), not weighted.
    layout : Layout, optional
        Names of the axes of fp, pp and attention, and where each query finds its areas in them.
    recipe : tuple, optional
        Plain data and arrays that make the field again; None where it holds code of the user's own.

    Raises
    ------
    InputError
        If an array has not one entry for each time.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=2, gamma=0.75, P=16)
    >>> part = dynsim.Partition.blocks(problem)
    >>> field = dynsim.reduced.EmpiricalField(part, dynsim.sample(problem, part, n=32, seed=0))
    >>> run = dynsim.reduced.descend(field, eta=2.0, steps=100, keep=[10, 100])
    >>> len(run), run.t[-1].item(), run.fp.shape
    (3, 200.0, (3, 16, 4))
    >>> print(run)
    Trajectory of samples, descend integrator
    ...
    """

    t: np.ndarray
    step: np.ndarray
    loss: np.ndarray
    fp: np.ndarray
    pp: np.ndarray
    attention: np.ndarray
    meta: dict = field(default_factory=dict)
    terms: Mapping[str, np.ndarray] = field(default_factory=dict)
    layout: Any = None
    recipe: tuple[dict, dict[str, np.ndarray]] | None = None

    def __post_init__(self) -> None:
        arrays = {name: np.asarray(getattr(self, name)) for name in ("t", "step", "loss", "fp", "pp", "attention")}
        terms = {name: np.asarray(values) for name, values in self.terms.items()}
        for name, value in {**arrays, **terms}.items():
            if len(value) != len(arrays["t"]):
                raise InputError(f"time leads every array: {name} has {len(value)} entries for {len(arrays['t'])} times")
            value.setflags(write=False)
        for name, value in arrays.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "terms", terms)

    def __len__(self) -> int:
        return len(self.t)

    def __repr__(self) -> str:
        what = [f"Trajectory of {self.meta.get('method', 'a run')}, {self.meta.get('integrator', 'unknown')} integrator"]
        if len(self):
            steps = f"steps {self.step[0]} to {self.step[-1]}"
            what.append(f"{len(self)} saved times, t = {self.t[0]:g} to {self.t[-1]:.6g} ({steps})")
            terms = "".join(f", {name} {values[0]:.4g} -> {values[-1]:.4g}" for name, values in self.terms.items())
            what.append(f"loss {self.loss[0]:.4g} -> {self.loss[-1]:.4g}{terms}")
        what.append(f"fp {self.fp.shape}, pp {self.pp.shape}, attention {self.attention.shape}")
        return "\n".join(what)


def steps_to_keep(steps: int, keep: ArrayLike | None = None) -> np.ndarray:
    """Return the saved steps of a run.

    Parameters
    ----------
    steps : int
        Number of steps.
    keep : int or array_like of int, optional
        Save every so many, or exactly these; about 60 log-spaced ones by default.

    Returns
    -------
    ndarray of int
        Sorted, without doubles; the first and the last step always belong to them.

    Raises
    ------
    InputError
        If a value breaks a rule.

    Examples
    --------
    >>> from dynsim.trajectory import steps_to_keep
    >>> steps_to_keep(10, 4), steps_to_keep(10, [3])
    (array([ 0,  4,  8, 10]), array([ 0,  3, 10]))
    """
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or steps < 0:
        raise InputError(f"steps must be a whole number of at least 0, got {steps!r}: take e.g. steps=500")
    if keep is None:
        kept = np.round(np.geomspace(1, max(1, steps), 60)).astype(np.int64)
    elif np.ndim(keep) == 0:
        if not isinstance(keep, (int, np.integer)) or isinstance(keep, bool) or keep < 1:
            raise InputError(f"keep must be a whole number of at least 1 or a list of steps, got {keep!r}: take e.g. keep=10")
        kept = np.arange(0, steps + 1, int(keep))
    else:
        kept = np.asarray(keep)
        if kept.size and (kept.dtype.kind not in "iu" or kept.min() < 0 or kept.max() > steps):
            raise InputError(f"kept steps must be whole numbers from 0 to steps={steps}, got {kept.tolist()[:5]}: drop some")
    return np.unique(np.concatenate([[0], kept[kept <= steps], [steps]]).astype(np.int64))


def passage(t: ArrayLike, values: ArrayLike) -> float | None:
    """Return when a saved curve first turns positive, on straight lines between saved times.

    Parameters
    ----------
    t : array_like of shape (T,)
        Rising times.
    values : array_like of shape (T,)
        The curve; NaN where it is not known.

    Returns
    -------
    float or None
        A time; None where it never is.

    Examples
    --------
    >>> from dynsim.trajectory import passage
    >>> passage([0.0, 1.0, 2.0], [-0.5, -0.25, 0.25]), passage([0.0, 1.0], [-1.0, -0.5])
    (1.5, None)
    """
    t, values = np.asarray(t, dtype=float), np.asarray(values, dtype=float)
    at = np.flatnonzero(values >= 0)
    if not at.size:
        return None
    i = at[0]
    if i == 0 or not np.isfinite(values[i - 1]):
        return float(t[i])
    return float(t[i - 1] - (t[i] - t[i - 1]) * values[i - 1] / (values[i] - values[i - 1]))

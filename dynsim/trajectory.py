"""The result of a run: correlations, attention and loss along time. Frozen; analysis is functions on it.

Time is the leading axis of every array and t = eta x step. The loss is per masked patch, L / (gamma P).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dynsim.errors import InputError

Progress = Callable[[float, float], object]  # called with (done, total) along a run
WORDS = {  # name and unit of each array, of a run of reconstruction
    "t": ("time", "eta x step"), "step": ("step", "1"), "loss": ("loss", "per masked patch"), "fp": ("FP correlation", "1"),
    "pp": ("PP correlation", "1"), "attention": ("area attention of a masked query", "1"),
}


def words_of(meta: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the name and unit of each array of a run.

    Parameters
    ----------
    meta : mapping
        Plain data on the run, as in ``Trajectory.meta``.

    Returns
    -------
    dict
        Name of the array -> (name in words, unit).

    Examples
    --------
    >>> from dynsim.trajectory import words_of
    >>> words_of({"objective": "reconstruction"})["loss"], words_of({"objective": "contrastive"})["loss"]
    (('loss', 'per masked patch'), ('loss', '1'))
    """
    if meta.get("objective", "reconstruction") == "reconstruction":
        return WORDS
    every = {"attention": ("area attention of a query", "1")} if meta["objective"] == "contrastive" else {}
    return {**WORDS, "loss": ("loss", "1"), **every}


def loss_label(*runs: "Trajectory") -> str:
    """Return the loss of runs in words, with its unit where it has one and it is that of all.

    Parameters
    ----------
    *runs : Trajectory
        The runs.

    Returns
    -------
    str
        For an axis or a title.

    Examples
    --------
    >>> import dynsim
    >>> from dynsim.trajectory import loss_label
    >>> field = dynsim.reduced.ContrastiveOrbitField(dynsim.Problem(K=2, P=1e6))
    >>> loss_label(dynsim.reduced.flow(field, t_end=1.0, keep=2))
    'loss'
    """
    units = {words_of(run.meta)["loss"][1] for run in runs}
    return f"loss {units.pop()}" if len(units) == 1 and units != {"1"} else "loss"


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
        for name, value in arrays.items():
            object.__setattr__(self, name, _read_only(value))
        object.__setattr__(self, "terms", {name: _read_only(value) for name, value in terms.items()})

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

    def at(self, rows: ArrayLike) -> "Trajectory":
        """Return the run at some of its saved times.

        Parameters
        ----------
        rows : array_like of int
            Their numbers, from 0; negative ones count from the end.

        Returns
        -------
        Trajectory
            With all else as it is.

        Examples
        --------
        >>> import dynsim
        >>> field = dynsim.reduced.OrbitField(dynsim.Problem(K=1, gamma=0.75, P=1e6), "L")
        >>> dynsim.reduced.descend(field, steps=4, keep=1).at([0, -1]).step
        array([0, 4])
        """
        rows = np.asarray(rows, dtype=np.intp)
        arrays = {name: getattr(self, name)[rows] for name in ("t", "step", "loss", "fp", "pp", "attention")}
        return replace(self, **arrays, terms={name: values[rows] for name, values in self.terms.items()})

    def to_xarray(self) -> Any:
        """Return the run as an xarray data set, with named axes, units, and all that was run as text.

        Returns
        -------
        xarray.Dataset
            Variables loss, fp, pp, attention, and one "loss_NAME" for each term, on the axis "time" and those of ``layout``;
            coordinates are the times, the steps and the labels of axes that have some. ``attrs["meta"]`` is ``meta`` as JSON.

        Raises
        ------
        InputError
            If xarray is not installed.

        Notes
        -----
        ``runs.save`` to a name in .nc keeps more: what makes the field again, and a hash of everything.

        Examples
        --------
        >>> import dynsim
        >>> problem = dynsim.Problem(K=2, gamma=0.75, P=16)
        >>> part = dynsim.Partition.blocks(problem)
        >>> field = dynsim.reduced.EmpiricalField(part, dynsim.sample(problem, part, n=8, seed=0))
        >>> data = dynsim.reduced.descend(field, eta=2.0, steps=10).to_xarray()
        >>> data.fp.dims, data.time.attrs["units"], float(data.loss.sel(time=20.0)) < float(data.loss[0])
        (('time', 'query', 'feature'), 'eta x step', True)
        """
        try:
            import xarray
        except ImportError:
            raise InputError("xarray is in the extra `data`, not there yet: pip install 'dynsim[data]'") from None
        named = {} if self.layout is None else self.layout.dims
        arrays = {"loss": self.loss, **{f"loss_{name}": values for name, values in self.terms.items()}}
        arrays |= {name: getattr(self, name) for name in ("fp", "pp", "attention")}
        variables, words = {}, words_of(self.meta)
        for name, values in arrays.items():
            axes = tuple(named.get(name, ()))
            axes = axes if len(axes) == values.ndim - 1 else tuple(f"{name}_{i}" for i in range(1, values.ndim))
            text, unit = words["loss" if name.startswith("loss") else name]
            variables[name] = (("time", *axes), values, {"long_name": text, "units": unit})
        used = {axis for axes, *_ in variables.values() for axis in axes}
        labels = {} if self.layout is None else {axis: list(text) for axis, text in self.layout.coords.items() if axis in used}
        coords = {
            name: ("time", getattr(self, at), {"long_name": WORDS[at][0], "units": WORDS[at][1]})
            for name, at in (("time", "t"), ("step", "step"))
        }
        meta = json.dumps(self.meta, default=lambda value: value.tolist())
        title = f"dynsim {self.meta.get('method', '')} run"
        return xarray.Dataset(variables, {**coords, **labels}, {"title": title, "meta": meta})


def _read_only(array: np.ndarray) -> np.ndarray:
    """A view that cannot be written to; the caller's own array stays as it is."""
    view = array.view()
    view.setflags(write=False)
    return view


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

"""What areas fitted to pictures predict of a run on the pictures themselves (docs/areas.md).

An ImageField (I1) knows pixels and no areas. Seen along the features v_f of fitted areas it has the shape of a run on a
partition,

    Phi_pf = e_p^T Q v_f,    A_pm = E over pictures of cluster k that mask p of sum_{q unmasked, q in area m} attn_pq,

exactly: `on_areas` gives it so, and everything that reads runs on a partition reads it. `predicted` puts beside it the same areas
as images of the model, run by the exact field of docs/model.md with the features' inner products, and what theory says of the
estimated problem. Classes: both runs exact; theory asymptotic (8) and closed (15).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dynsim import reduced, theory
from dynsim.analysis import phases
from dynsim.analysis.areas import Areas
from dynsim.errors import InputError
from dynsim.trajectory import Progress, Trajectory

BLOCK = 4_000_000  # numbers in a temporary array
HALF = 0.5  # own attention at the escape
PHASES = 3  # saved times that it takes to find phases


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """Run on pictures beside what their areas predict; frozen.

    Parameters
    ----------
    t : array (T,)
        Saved times, eta x step.
    own, own_model : array (T,)
        Attention on the own area, mean over local queries of every cluster: of the run on the pictures, of that on their areas.
    loss, loss_model : array (T,)
        Per masked patch, of the same.
    escape, escape_model : float or None
        When they pass one half; None where they do not.
    escape_asymptotic, escape_finite : float
        The same from theory, for large P (8) and at this P (15; inf where it does not come).
    Delta, regime : float, str
        Of the estimated problem (7).
    regime_run : str or None
        Of the run on the pictures along their areas, by `phases.find`; None for fewer than three saved times.

    Examples
    --------
    >>> import numpy as np
    >>> from dynsim.validation.prediction import Prediction
    >>> t, own = np.array([0.0, 10.0]), np.array([0.1, 0.6])
    >>> found = Prediction(t, own, own + 0.1, own, own, 8.0, 4.0, 6.0, 5.0, 0.4, "two phases", None)
    >>> round(found.deviation, 3), found.ratio
    (0.1, 2.0)
    """

    t: np.ndarray
    own: np.ndarray
    own_model: np.ndarray
    loss: np.ndarray
    loss_model: np.ndarray
    escape: float | None
    escape_model: float | None
    escape_asymptotic: float
    escape_finite: float
    Delta: float
    regime: str
    regime_run: str | None

    @property
    def deviation(self) -> float:
        """How far own attention of the pictures' run lies from that of their areas, at most, over the saved times."""
        return float(np.abs(self.own - self.own_model).max())

    @property
    def ratio(self) -> float:
        """Escape time of the pictures' run over that of their areas; NaN where either does not come."""
        return self.escape / self.escape_model if self.escape and self.escape_model else float("nan")

    def to_dict(self) -> dict:
        """Return the prediction in numbers.

        Returns
        -------
        dict
            Escape times as "escape_time" of the pictures' run, "escape_time_areas", "_closed" (15) and "_theory" (8); own
            attention at start and end of both runs; how far apart they are at most; Delta and regimes.
        """
        return {
            "Delta": self.Delta, "regime": self.regime, "regime_run": self.regime_run,
            "escape_time": self.escape, "escape_time_areas": self.escape_model,
            "escape_time_closed": self.escape_finite, "escape_time_theory": self.escape_asymptotic,
            "own_attention": [float(self.own[0]), float(self.own[-1])],
            "own_attention_areas": [float(self.own_model[0]), float(self.own_model[-1])], "deviation": self.deviation,
        }  # fmt: skip

    def __repr__(self) -> str:
        times = {
            "pictures": self.escape, "areas": self.escape_model, "(15)": self.escape_finite, "(8)": self.escape_asymptotic,
        }  # fmt: skip
        said = ", ".join(f"{name} {'none' if t is None else format(t, '.4g')}" for name, t in times.items())
        return (
            f"<Prediction: Delta {self.Delta:.3f}, {self.regime}; the run: {self.regime_run or 'too few saved times'}>\n"
            f"escape: {said}\n"
            f"own attention at the end: pictures {self.own[-1]:.3f}, areas {self.own_model[-1]:.3f}; "
            f"at most {self.deviation:.3f} apart"
        )


def on_areas(found: Areas, run: Trajectory, progress: Progress | None = None) -> Trajectory:
    """A run on pictures as one on their areas.

    Parameters
    ----------
    found : Areas
        From `areas.fit`, with the images of the run or others cut alike.
    run : Trajectory
        Of an ImageField, or of full.descend_images: fp (T, P, d), pp (T, P, P).
    progress : callable, optional
        Called with (done, total).

    Returns
    -------
    Trajectory
        With fp (T, P, F), pp (T, P, P), attention (T, P, F), NaN for patches that no picture of a cluster masks; loss as it was.

    Raises
    ------
    InputError
        Where the run's shapes are not those of the images.

    Examples
    --------
    >>> import numpy as np
    >>> import dynsim
    >>> from dynsim.validation.prediction import on_areas
    >>> pictures = np.random.default_rng(0).uniform(0.5, 1.5, (60, 1, 1)) * np.tile([1.0, 0.0], 4) * np.ones((8, 1))
    >>> found = dynsim.analysis.areas.fit(pictures, K=1, areas=2, patch=2, bootstrap=0)
    >>> run = dynsim.reduced.descend(dynsim.reduced.ImageField(found.images), steps=4)
    >>> on_areas(found, run).attention.shape[1:]
    (16, 2)
    """
    images, part = found.images, found.part
    if run.fp.shape[1:] != (images.P, images.d) or run.pp.shape[1:] != (images.P, images.P):
        raise InputError(
            f"the run must be one on pictures, fp (T, {images.P}, {images.d}) and pp (T, {images.P}, {images.P}), got "
            f"{run.fp.shape} and {run.pp.shape}: take reduced.ImageField(found.images)"
        )
    attention = np.empty((len(run), part.P, part.F))
    for i, (fp, pp) in enumerate(zip(run.fp, run.pp, strict=True)):
        attention[i] = _attention(found, fp, pp)
        if progress:
            progress(i + 1, len(run))
    meta = {name: value for name, value in run.meta.items() if name != "events"}
    return Trajectory(run.t, run.step, run.loss, run.fp @ found.features.T, run.pp, attention, meta)


def _attention(found: Areas, fp: np.ndarray, pp: np.ndarray) -> np.ndarray:
    """Expected attention (P, F) of masked queries on the unmasked patches of each area, on the pictures."""
    images, part, cluster = found.images, found.part, found.data.cluster
    total, seen = np.zeros((part.P, part.F)), np.zeros((part.P, part.F))
    step = max(1, BLOCK // part.P**2)
    for k in range(part.K):
        rows, columns = np.flatnonzero(cluster == k), slice(part.offset[k], part.offset[k + 1])
        areas = np.eye(part.N[k])[part.labels[k]]  # (P, N)
        for i in range(0, len(rows), step):
            some = rows[i : i + step]
            hidden = images.masked[some]
            score = fp @ images.patches[images.image[some]].transpose(0, 2, 1)  # (rows, query, key)
            score *= ~hidden[:, None, :]
            score += pp
            score -= score.max(axis=2, keepdims=True)
            np.exp(score, out=score)
            score /= score.sum(axis=2, keepdims=True)
            score *= ~hidden[:, None, :]
            weight = images.weight[some][:, None] * hidden  # (rows, query)
            total[:, columns] += np.einsum("rq,rqn->qn", weight, score @ areas)
            seen[:, columns] += weight.sum(axis=0)[:, None]
    return np.divide(total, seen, out=np.full(total.shape, np.nan), where=seen > 0)


def predicted(found: Areas, run: Trajectory, threads: int | None = None, progress: Progress | None = None) -> Prediction:
    """What fitted areas, and theory for their problem, say of a run by gradient descent on the pictures.

    Parameters
    ----------
    found : Areas
        From `areas.fit`.
    run : Trajectory
        Of reduced.descend on reduced.ImageField(found.images), or on the pictures that these are some of, by plain descent; a
        correlation that it holds at zero is held here, too.
    threads : int, optional
        Threads of the run on areas.
    progress : callable, optional
        Called with (done, total).

    Returns
    -------
    Prediction
        Both runs, and what theory says.

    Raises
    ------
    InputError
        Where the run is not one on pictures by plain descent, or has no step.

    Examples
    --------
    >>> import numpy as np, dynsim
    >>> rng = np.random.default_rng(0)
    >>> left, right = rng.uniform(0.5, 1.5, size=(2, 100, 1, 1))
    >>> stripes = np.tile([1.0, 0.0], 4)
    >>> pictures = np.where(np.arange(8) < 6, left * stripes, right * stripes[:, None])
    >>> found = dynsim.analysis.areas.fit(pictures, K=1, patch=2, bootstrap=0)
    >>> field = dynsim.reduced.ImageField(found.images, threads=1)
    >>> run = dynsim.reduced.descend(field, eta=1.0, steps=100, keep=25)
    >>> dynsim.validation.prediction.predicted(found, run, threads=1).deviation < 1e-12  # here pictures are what the areas say
    True
    """
    if run.step[-1] < 1:
        raise InputError("a prediction needs a run of at least 1 step, got the start alone: descend further")
    rule = run.meta.get("optimiser", {}).get("name")
    if (run.meta.get("integrator"), rule) != ("descend", "descent"):
        what = " with ".join(str(word) for word in (run.meta.get("integrator"), rule) if word)
        raise InputError(f"areas predict plain gradient descent, got a run by {what or 'nothing known'}: use descend alone")
    part, eta = found.part, float(run.meta["eta"])
    share: Callable = progress or (lambda done, total: None)
    seen = on_areas(found, run, lambda done, total: share(done, 2 * total))
    held = run.meta.get("hold")
    field = reduced.EmpiricalField(part, found.data, threads=threads, embedding=found.embedding, hold=held)
    model = reduced.descend(
        field, eta=eta, steps=int(run.step[-1]), keep=run.step, progress=lambda done, total: share(total + done, 2 * total)
    )
    own, own_model = _own(found, seen.attention), _own(found, model.attention)
    problem = found.problem
    return Prediction(
        run.t, own, own_model, run.loss, model.loss, _passes(run.t, own), _passes(run.t, own_model),
        theory.escape_time(problem), theory.escape_time(problem, finite=True), problem.Delta, theory.regime(problem),
        phases.find(seen, part).regime if len(run) >= PHASES else None,
    )  # fmt: skip


def _own(found: Areas, attention: np.ndarray) -> np.ndarray:
    """Attention (T, P, F) on the own area, mean over local queries of every cluster, (T,)."""
    cluster, query = np.nonzero(found.part.labels > 0)
    return np.nanmean(attention[:, query, found.part.own[cluster, query]], axis=1)


def _passes(t: np.ndarray, own: np.ndarray) -> float | None:
    """When own attention first passes one half, between saved times by a straight line."""
    above = np.flatnonzero(own >= HALF)
    if not above.size or above[0] == 0:
        return float(t[0]) if above.size else None
    i = int(above[0])
    return float(t[i - 1] + (t[i] - t[i - 1]) * (HALF - own[i - 1]) / (own[i] - own[i - 1]))

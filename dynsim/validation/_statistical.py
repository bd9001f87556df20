"""Statistical level: full descent on n random images against the population trajectory.

Descent on n images differs from descent on their expectation by the fluctuation of n independent draws. With y the
correlations at a saved time, y* those of the population field and R replicates of every n,

    |y_n - y*|  =  sigma n^-s x a random factor,  s = 1/2                        fitted s: its interval must contain 1/2
    a_n = <y_n, y*> / <y*, y*>  =  1 + delta + b / n + O(n^-3/2) noise            delta must vanish: z = delta / error

(for the loss a_n is the ratio). b / n is the bias of nonlinear dynamics on noisy gradients and is fitted; delta is where a
wrong population gradient shows, and the closure's own bias, which is measured where every mask can be listed.

Bounds are probabilities of a false alarm, ALARM per row, by Student's law for the scatter that the replicates show. A closure
bias of HALF an error raises ALARM less than tenfold.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from dynsim import full
from dynsim.model.amplitude import Fixed, Uniform
from dynsim.model.dataset import sample
from dynsim.model.partition import Partition
from dynsim.model.problem import Problem
from dynsim.reduced import PopulationField, descend
from dynsim.trajectory import Progress, Trajectory
from dynsim.validation._comparison import Row
from dynsim.validation._workers import in_parallel

LEVEL = "statistical"
ALARM = 1e-5
HALF = 0.5
WIDEST = 0.2  # half-width at most of an interval for s, so that it excludes 0.3 and 0.7
QUANTITIES = ("fp", "pp", "loss")
Saved = dict[str, np.ndarray]  # QUANTITIES at the saved times of one run


@dataclass(frozen=True)
class Case:
    """A problem, how its areas lie, how it is run and sampled; `listed`: amplitude nodes with which every mask is listed."""

    name: str
    problem: Problem
    make: Callable[[Problem, int], Partition]
    sizes: tuple[int, ...]
    replicates: int
    listed: int | None = None
    eta: float = 2.5
    keep: tuple[int, ...] = (10, 20)

    @property
    def run(self) -> dict:
        """Options of a descent."""
        return {"eta": self.eta, "steps": self.keep[-1], "keep": list(self.keep)}


FIXED = Problem(K=2, gamma=0.5, P=14, kappa_c=0.6, kappa_s=0.4, amplitude=Fixed(1.0))
RANDOM = Problem(K=2, gamma=0.75, P=16, kappa_c=0.75, kappa_s=0.5, amplitude=Uniform(0.8, 1.2))
LARGER = Problem(K=3, gamma=0.75, P=36, kappa_c=0.75, kappa_s=0.5, amplitude=Uniform(0.8, 1.2))


def cases(quick: bool) -> list[Case]:
    """What is run: two problems small enough to list every mask, and a larger one on blocks."""
    if quick:
        return [Case("P=14 K=2 z=1", FIXED, Partition.random, (128, 256, 512, 1024), 10, listed=1)]
    sizes = (128, 256, 512, 1024, 2048)
    return [
        Case("P=14 K=2 z=1", FIXED, Partition.random, sizes, 16, listed=1),
        Case("P=16 K=2 z~U", RANDOM, Partition.random, sizes, 16, listed=2),
        Case("P=36 K=3 z~U", LARGER, Partition.blocks, sizes[:-1], 12),
    ]


def level(quick: bool, seed: int, progress: Progress | None) -> list[Row]:
    """Rows of the statistical level."""
    chosen = cases(quick)
    parts = [case.make(case.problem, seed) for case in chosen]
    tasks = [
        (case.problem, part, n, [seed, at, n, r], case.run)
        for at, (case, part) in enumerate(zip(chosen, parts, strict=True))
        for n in case.sizes[::-1]
        for r in range(case.replicates)
    ]
    found = iter(in_parallel(replicate, tasks, progress))
    rows = []
    for case, part in zip(chosen, parts, strict=True):
        runs = {n: [next(found) for _ in range(case.replicates)] for n in case.sizes[::-1]}
        rows += judge(case, part, {n: runs[n] for n in case.sizes})
    return rows


def replicate(problem: Problem, part: Partition, n: int, seed: Sequence[int], run: dict) -> Saved:
    """Full descent on n images drawn from `seed`: saved correlations and losses."""
    traj = full.descend(part, sample(problem, part, n, seed), **run)
    return {name: getattr(traj, name)[1:] for name in QUANTITIES}


def judge(case: Case, part: Partition, runs: Mapping[int, list[Saved]]) -> list[Row]:
    """Rows of one case from its replicates, a dict n -> list of R results."""
    population = descend(PopulationField(case.problem, part), **case.run)
    listed = case.listed and descend(PopulationField(case.problem, part, masks="exact", nodes=case.listed), **case.run)
    rows = [_exponent(case, name, population, runs) for name in ("fp", "pp")]
    for name in QUANTITIES:
        for at, step in enumerate(case.keep):
            y = getattr(population, name)[at + 1]
            delta, error, b, freedom = intercept({n: [ratio(run[name][at], y) for run in runs[n]] for n in runs})
            where = f"{name} at t={step * case.eta:g}"
            bound = float(stats.t.isf(ALARM / 2, freedom))
            z = abs(delta) / error
            rows.append(_row(case, f"z of {where}", z, bound, f"off by {delta:+.2%} +- {error:.2%}, and {b:+.2g} / n"))
            if listed:
                bias = ratio(y, getattr(listed, name)[at + 1]) - 1
                note = f"closure off by {bias:+.3%} from all masks"
                rows.append(_row(case, f"closure bias of {where}, in errors", abs(bias) / error, HALF, note))
    return rows


def ratio(y: np.ndarray, reference: np.ndarray) -> float:
    """<y, y*> / <y*, y*>: by what factor y is y*."""
    return float(np.vdot(y, reference) / np.vdot(reference, reference))


def intercept(values: Mapping[int, Sequence[float]]) -> tuple[float, float, float, int]:
    """Weighted fit of a_n = 1 + delta + b / n to R values for every n, their variance going as 1 / n.

    (delta, its standard error, b, degrees of freedom)."""
    n = np.repeat(list(values), [len(v) for v in values.values()]).astype(float)
    a = np.concatenate([np.asarray(v, dtype=float) for v in values.values()]) - 1
    # scatter within each n, so that what the fit cannot describe does not widen the error
    freedom = sum(len(v) - 1 for v in values.values())
    variance = sum(size * np.sum((np.asarray(v) - np.mean(v)) ** 2) for size, v in values.items()) / freedom
    X = np.stack([np.ones_like(n), 1 / n], axis=1)
    covariance = np.linalg.inv(X.T @ (n[:, None] * X))
    delta, b = covariance @ (X.T @ (n * a))
    return float(delta), float(np.sqrt(variance * covariance[0, 0])), float(b), freedom


def exponent(deviations: Mapping[int, Sequence[Any]]) -> tuple[float, float, int]:
    """Straight line through log |y_n - y*| of R runs for every n, against log n: (s, its standard error, degrees of freedom).

    Their logarithms scatter alike for every n, nearly normally (each is a norm of many fluctuations)."""
    x = np.log(list(deviations))
    logs = np.log(list(deviations.values()))
    freedom = logs.size - len(logs)
    variance = np.sum((logs - logs.mean(axis=1, keepdims=True)) ** 2) / freedom
    x -= x.mean()
    s = -(x @ logs.mean(axis=1)) / (x @ x)
    return float(s), float(np.sqrt(variance / logs.shape[1] / (x @ x))), freedom


def _exponent(case: Case, name: str, population: Trajectory, runs: Mapping[int, list[Saved]]) -> Row:
    y = getattr(population, name)[1:]
    s, error, freedom = exponent({n: [np.linalg.norm(run[name] - y) for run in runs[n]] for n in runs})
    width = float(stats.t.isf(ALARM / 2, freedom)) * error
    note = f"s = {s:.3f} +- {error:.3f} over n = {min(runs)} .. {max(runs)}"
    return _row(case, f"s of {name}, from 1/2", abs(s - 0.5), min(width, WIDEST), note)


def _row(case: Case, quantity: str, deviation: float, bound: float, note: str) -> Row:
    return Row(LEVEL, case.name, quantity, float(deviation), float(bound), bool(deviation <= bound), note)

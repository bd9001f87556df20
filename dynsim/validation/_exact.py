"""Exact level: on the same images, the reduced recursion (5) is gradient descent on the explicit Q, to rounding."""

import numpy as np
from numpy.typing import ArrayLike

from dynsim import full
from dynsim.model.amplitude import Fixed, Uniform, generator
from dynsim.model.dataset import sample
from dynsim.model.partition import Partition
from dynsim.model.problem import Problem
from dynsim.reduced import EmpiricalField, descend
from dynsim.trajectory import Progress
from dynsim.validation._comparison import Comparison, Row, compare
from dynsim.validation._workers import in_parallel

HEADLINE = "P=64 K=4 gamma=0.8"
CASES: dict[str, dict] = {
    HEADLINE: {},
    "uneven areas": {"uneven": True},
    "K=1": {"K": 1},
    "K=7": {"K": 7},
    "fixed z": {"amplitude": Fixed(1.0)},
    "z in [0.1, 3]": {"amplitude": Uniform(0.1, 3.0)},
    "P=37": {"P": 37},
    "gamma=0.5": {"gamma": 0.5},
}


def exact(
    problem: Problem,
    n: int = 256,
    seed: int = 0,
    steps: int = 200,
    eta: float = 1.0,
    part: Partition | None = None,
    keep: ArrayLike | None = None,
) -> Comparison:
    """Run the reduced recursion and full descent on the same images, and compare.

    Parameters
    ----------
    problem : Problem
        What is simulated.
    n : int
        Images.
    seed : int
        Seed of the images, of the partition where none is given, and of the basis of Q.
    steps : int
        Steps of descent.
    eta : float
        Step size.
    part : Partition, optional
        Areas; blocks drawn from ``seed`` by default.
    keep : array_like, optional
        Saved steps, as in ``reduced.descend``.

    Returns
    -------
    Comparison
        Of FP, PP, loss and attention.

    Raises
    ------
    InputError
        If a value breaks a rule.
    Diverged
        If the step size is too large.

    Examples
    --------
    >>> import dynsim
    >>> dynsim.validation.exact(dynsim.Problem(K=2, gamma=0.75, P=16), n=8, steps=5).passed
    True
    """
    part = Partition.blocks(problem, seed) if part is None else part
    data = sample(problem, part, n, seed)
    reduced = descend(EmpiricalField(part, data), eta=eta, steps=steps, keep=keep)
    return compare(reduced, full.descend(part, data, eta=eta, steps=steps, keep=keep, basis_seed=seed))


def level(quick: bool, seed: int, progress: Progress | None) -> list[Row]:
    """Rows of the exact level: CASES, the first of them with 256 images and the others with 64, 200 steps at eta = 1."""
    tasks = [(name, *((24, 50) if quick else (256 if name == HEADLINE else 64, 200)), seed) for name in CASES]
    found = in_parallel(case, tasks, progress)
    return [
        Row("exact", name, row.quantity, row.deviation, row.bound, row.passed, f"largest at t={row.when:g}, n={n}, {steps} steps")
        for (name, n, steps, _), comparison in zip(tasks, found, strict=True)
        for row in comparison.rows
    ]


def case(name: str, n: int, steps: int, seed: int) -> Comparison:
    """One of CASES: a Comparison."""
    options = dict(CASES[name])
    uneven = options.pop("uneven", False)
    problem = Problem(**{"K": 4, "gamma": 0.8, "P": 64, **options})
    return exact(problem, n, seed, steps, part=_uneven(problem, seed) if uneven else None)


def _uneven(problem: Problem, seed: int) -> Partition:
    """Local areas of 1, 2, 3, ... patches, one more of them in each cluster, on patches drawn at random."""
    rng = generator(seed)
    labels = []
    for k in range(problem.K):
        sizes = np.arange(1, 5 + k)
        areas = np.repeat(np.arange(len(sizes) + 1), [problem.P - sizes.sum(), *sizes])
        labels.append(rng.permutation(areas))
    return Partition(np.array(labels))

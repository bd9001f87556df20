"""Exact level: on the same images, the reduced recursions (5) and (D3) are gradient descent on the explicit Q, to rounding."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dynsim import full
from dynsim.errors import InputError
from dynsim.model.amplitude import Fixed, Uniform, generator
from dynsim.model.dataset import sample
from dynsim.model.embedding import Embedding
from dynsim.model.pairs import sample_pairs
from dynsim.model.partition import Partition
from dynsim.model.problem import Problem
from dynsim.reduced import ContrastiveField, EmpiricalField, SumField, descend
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
    "contrastive": {"objective": "contrastive", "K": 3},
    "contrastive, tau=0.1": {"objective": "contrastive", "K": 3, "temperature": 0.1},
    "contrastive, tau=2": {"objective": "contrastive", "K": 3, "temperature": 2.0},
    "contrastive, both views": {"objective": "contrastive", "K": 3, "stop_gradient": False},
    "contrastive, uneven areas": {"objective": "contrastive", "K": 3, "uneven": True},
    "contrastive, K=1": {"objective": "contrastive", "K": 1, "amplitude": Uniform(0.1, 3.0)},  # it learns from the spread of z
    "contrastive, sinusoidal": {"objective": "contrastive", "K": 3, "sinusoidal": 64},
    "mixed": {"objective": "mixed", "weight": 64.0, "K": 3},
    "mixed, both views": {"objective": "mixed", "weight": 64.0, "K": 3, "stop_gradient": False},
    "mixed, sinusoidal": {"objective": "mixed", "weight": 64.0, "K": 3, "sinusoidal": 64},
}
OBJECTIVES = ("reconstruction", "contrastive", "mixed")
SINUSOIDAL = dict.fromkeys(("fp", "pp", "loss", "attention"), 1e-11)  # two more products of matrices a step, with more roundings


def exact(
    problem: Problem,
    n: int = 256,
    seed: int = 0,
    steps: int = 200,
    eta: float = 1.0,
    part: Partition | None = None,
    keep: ArrayLike | None = None,
    objective: str = "reconstruction",
    weight: float = 1.0,
    temperature: float = 0.5,
    stop_gradient: bool = True,
    embedding: Embedding | None = None,
) -> Comparison:
    """Run the reduced recursion and full descent on the same images, and compare.

    Parameters
    ----------
    problem : Problem
        What is simulated.
    n : int
        Images, or pairs of views.
    seed : int
        Of images and pairs, of the partition where none is given, and of the basis of Q.
    steps : int
        Steps of descent.
    eta : float
        Step size.
    part : Partition, optional
        Areas; blocks drawn from ``seed`` by default.
    keep : array_like, optional
        Saved steps, as in ``reduced.descend``.
    objective : {"reconstruction", "contrastive", "mixed"}
        What is minimised.
    weight : float
        Weight of the contrastive loss.
    temperature : float
        The tau of the contrastive loss.
    stop_gradient : bool
        Whether its second view is a constant in the gradient.
    embedding : Embedding, optional
        Orthonormal when left out, turned at random for the explicit Q.

    Returns
    -------
    Comparison
        Of FP, PP, loss and attention, against BOUNDS, ten times as wide for an embedding that is not orthonormal.

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
    if objective not in OBJECTIVES:
        raise InputError(f"objective must be one of {', '.join(OBJECTIVES)}, got {objective!r}: take 'reconstruction'")
    part = Partition.blocks(problem, seed) if part is None else part
    data, pairs, terms = None, None, list[tuple[float, Any]]()
    if objective != "contrastive":
        data = sample(problem, part, n, seed)
        terms.append((1.0, EmpiricalField(part, data, embedding=embedding)))
    if objective != "reconstruction":
        pairs = sample_pairs(problem, part, n, [seed, 1])
        terms.append((weight, ContrastiveField(part, pairs, temperature, stop_gradient, embedding=embedding)))
    field = terms[0][1] if objective == "reconstruction" else SumField(terms)
    reduced = descend(field, eta=eta, steps=steps, keep=keep)
    contrastive = {"weight": weight, "temperature": temperature, "stop_gradient": stop_gradient}
    explicit = full.descend(part, data, eta, steps, keep, embedding, basis_seed=seed, pairs=pairs, **contrastive)  # type: ignore
    return compare(reduced, explicit, SINUSOIDAL if embedding is not None else None)


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
    """One of CASES: a Comparison. eta = 1, and P for the contrastive loss alone, where each query has 1/P of the output."""
    options = dict(CASES[name])
    uneven, d = options.pop("uneven", False), options.pop("sinusoidal", None)
    how = {key: options.pop(key) for key in ("objective", "weight", "temperature", "stop_gradient") if key in options}
    problem = Problem(**{"K": 4, "gamma": 0.8, "P": 64, **options})
    part = _uneven(problem, seed) if uneven else Partition.blocks(problem, seed)
    embedding = None if d is None else Embedding.sinusoidal_2d(part, d)
    eta = float(problem.P) if how.get("objective") == "contrastive" else 1.0
    return exact(problem, n, seed, steps, eta, part, embedding=embedding, **how)


def _uneven(problem: Problem, seed: int) -> Partition:
    """Local areas of 1, 2, 3, ... patches, one more of them in each cluster, on patches drawn at random."""
    rng = generator(seed)
    labels = []
    for k in range(problem.K):
        sizes = np.arange(1, 5 + k)
        areas = np.repeat(np.arange(len(sizes) + 1), [problem.P - sizes.sum(), *sizes])
        labels.append(rng.permutation(areas))
    return Partition(np.array(labels))

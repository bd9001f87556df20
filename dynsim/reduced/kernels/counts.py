"""Probability law of how many patches of an area stay unmasked, as nodes and weights.

Given that the query is masked, the ``unmasked`` patches are drawn from the P - 1 others, n of which are in the area: the
count j is hypergeometric. Its weights are built from the ratios of neighbours,

    p(j + 1) / p(j) = (n - j) (unmasked - j) / ((j + 1) (P - n - unmasked + j)),

which loses nothing at any P.
"""

from collections.abc import Sequence

import numpy as np

from dynsim.reduced.kernels.elementary import exp, log, log1p
from dynsim.reduced.kernels.quadrature import gauss_rule, hermite

Nodes = tuple[np.ndarray, np.ndarray]  # x and weights

REACH = 12.0  # standard deviations that are summed: what lies beyond weighs less than 1e-30
EMPTY = 1e-9  # chance of no unmasked patch above which every count is summed (the loss jumps there)
NORMAL = 1e3  # standard deviation of j beyond which a normal law has the same Gauss rule to 1e-12
NODES = 16  # Gauss nodes at most
APART = 16  # of what is not all masked
LN10 = 2.302585092994046


def unmasked_law(
    P: float, unmasked: float, n: float, mean_field: bool = False, most: int | None = None, coarse: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return nodes for averages over the unmasked patches of an area.

    Parameters
    ----------
    P : float
        Patches.
    unmasked : float
        Unmasked patches of an image.
    n : float
        Patches of the area besides the query; between two whole numbers (uneven areas) the laws of both are mixed.
    mean_field : bool
        Whether to take the mean count only.
    most : int, optional
        Take a Gauss rule of at most so many nodes, whatever the area.
    coarse : bool
        Half as many nodes: means of rational functions to 1e-5 where the count spreads by a fifth, to 2e-7 from an eighth on.
        Where many counts would be summed, sum that of none, and take a Gauss rule of the rest (to 1e-6).

    Returns
    -------
    x : ndarray of shape (nodes,)
        Unmasked fraction j / n.
    weight : ndarray of shape (nodes,)
        Its probability.
    rho : ndarray of shape (nodes,)
        Probability that a key outside the area is unmasked, given j.
    rho2 : ndarray of shape (nodes,)
        Probability that both keys of a pair outside are.

    Notes
    -----
    Every count is summed where the area is likely to be all masked; else the Gauss rule of the law is taken (docs/model.md,
    eq. C1-C2, "Sums over j"). A mixture of two laws has a Gauss rule of its own, of the same degree.
    """
    x: np.ndarray
    weight: np.ndarray
    if mean_field or n <= 0:
        x, weight = np.array([unmasked / max(P - 1.0, 1.0)]), np.ones(1)
    else:
        low, part = divmod(n, 1.0)
        mixed = [(s, _law(P, unmasked, m, most, coarse)) for s, m in ((1 - part, low), (part, low + 1)) if s > 0 and m > 0]
        x = np.concatenate([law[0] for _, law in mixed] + ([np.zeros(1)] if low == 0 else []))
        weight = np.concatenate([s * law[1] for s, law in mixed] + ([np.array([1 - part])] if low == 0 else []))
        if len(mixed) == 2 and x.min() > 0.0:  # no count is summed for its own sake: as many nodes as either law has
            x, weight = gauss_rule(x, weight, max(len(law[0]) for _, law in mixed))
        seen = x > 0.0
        if coarse and seen.sum() > APART:
            chance = weight[seen].sum()
            rest = gauss_rule(x[seen], weight[seen] / chance, APART)
            x, weight = np.append(0.0, np.minimum(rest[0], x.max())), np.append(weight[~seen].sum(), chance * rest[1])
    others = 1.0 - (1.0 + n) / P  # in shares of P, so that nothing is lost at P = 1e100
    left = unmasked / P - x * n / P
    rho = np.clip(left / others, 0.0, 1.0) if others * P > 0.5 else np.zeros_like(x)
    pairs = others - 1.0 / P
    rho2 = rho * np.clip((left - 1.0 / P) / pairs, 0.0, 1.0) if pairs * P > 0.5 else np.zeros_like(x)
    return x, weight, rho, rho * rho if mean_field else rho2


def all_masked(P: float, unmasked: float, n: float) -> float:
    """Return the probability that all patches of an area are masked (eq. 6).

    Parameters
    ----------
    P : float
        Patches.
    unmasked : float
        Unmasked patches of an image.
    n : float
        Patches of the area besides a masked query; between two whole numbers the probabilities of both are mixed.

    Returns
    -------
    float
        The product over i < n of 1 - unmasked / (P - 1 - i).
    """
    (low, part), share = divmod(n, 1.0), unmasked / (P - 1.0)
    if low and (share >= 1.0 or low * log1p(-share) < -750.0):  # no factor exceeds the first: below the least float
        return 0.0
    if low > 1e6:  # zero to rounding unless hardly anything is unmasked: the product by its middle factor
        return float(exp(n * log1p(-unmasked / (P - 1.0 - n / 2))))
    chance = np.maximum(0.0, 1.0 - unmasked / (P - 1.0 - np.arange(low + (part > 0))))
    total = chance[: int(low)].prod()
    return float(total * (1 - part + part * chance[-1])) if part else float(total)


def _law(P: float, unmasked: float, n: float, most: int | None = None, coarse: bool = False) -> Nodes:
    """x = j / n and weights for a whole n >= 1; where `most` is given, a Gauss rule of at most so many; see unmasked_law."""
    share = unmasked / (P - 1.0)
    mean = n * share
    deviation = np.sqrt(max(0.0, mean * (1 - share) * (1 - (n - 1) / max(1.0, P - 2.0))))
    nodes = min(_nodes(deviation / mean if mean > 0.0 else 0.0, coarse), most or NODES)
    if deviation > NORMAL:
        g, weight = hermite(nodes)
        return (mean + deviation * g) / n, weight / weight.sum()
    whole, part = divmod(unmasked, 1.0)
    if part == 0.0 or n <= unmasked <= P - 1.0 - n:
        j, weight = _chances(P, unmasked, n, mean, deviation)
    else:  # a mean of images, near the ends of what an area can hold: both whole numbers are mixed
        both = [_chances(P, u, n, n * u / (P - 1.0), deviation) for u in (whole, min(whole + 1.0, P - 1.0))]
        j = np.arange(min(at[0] for at, _ in both), max(at[-1] for at, _ in both) + 1)
        weight = np.zeros(len(j))
        for (at, chance), share in zip(both, (1.0 - part, part), strict=True):
            weight[int(at[0] - j[0]) : int(at[-1] - j[0]) + 1] += share * chance
    kept = weight > 1e-17
    few = len(j) <= NODES and not coarse
    if kept.sum() <= (most or nodes) or (most is None and ((j[0] == 0 and weight[0] > EMPTY) or few)):
        return j[kept] / n, weight[kept]
    return gauss_rule(j / n, weight, nodes)


def _chances(P: float, unmasked: float, n: float, mean: float, deviation: float) -> Nodes:
    """How many of n patches may be unmasked, as far as it is likely, and the chances."""
    least, most = max(0.0, unmasked + n - (P - 1.0)), min(n, unmasked)
    low = max(least, np.floor(mean - REACH * deviation - 40))
    high = min(most, np.ceil(mean + REACH * deviation + 40))
    j = np.arange(low, high + 1)
    ratio = (n - j[:-1]) * (unmasked - j[:-1]) / ((j[:-1] + 1) * (P - n - unmasked + j[:-1]))
    peak = np.count_nonzero(ratio >= 1.0)  # ratios fall
    down, up = np.cumprod(1.0 / ratio[:peak][::-1])[::-1], np.cumprod(ratio[peak:])
    weight = np.concatenate([down, [1.0], up])
    return j, weight / weight.sum()


def _nodes(relative: float, coarse: bool) -> int:
    """How many Gauss nodes make the error of smooth functions of j, about relative^(2 nodes), negligible, or 1e-8."""
    return int(np.clip(np.ceil((4.0 if coarse else 8.0) / max(0.5, -log(max(relative, 1e-300)) / LN10)), 1, NODES))


def law_tables(laws: Sequence[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    """Node tables of several laws as arrays (laws, nodes), padded with zeros, and how many nodes each has."""
    count = np.array([len(law[0]) for law in laws])
    tables = np.zeros((4, len(laws), count.max()))
    for i, law in enumerate(laws):
        tables[:, i, : count[i]] = law
    return *tables, count

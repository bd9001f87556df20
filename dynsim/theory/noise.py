"""Noise of the velocity at the start: how much of it is in the images, how much in their masks (docs/mask-budgets.md).

At Q = 0 attention is uniform, A_m = u_m / P with u_m unmasked patches in area m, so the velocity (5) that one image gives under
one mask is a polynomial in amplitudes and counts. Its covariance splits by the law of total variance,

    C = C_image + C_mask,   C_image = Cov_x( E_mask[v | x] ),   C_mask = E_x( Cov_mask[v | x] ),

and n images under R masks each have the velocity's covariance (C_image + C_mask / R) / n. Expectations are means over `draws`
images under two masks each, with their standard errors.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from dynsim.errors import InputError
from dynsim.model.amplitude import seed_of
from dynsim.model.dataset import sample
from dynsim.model.partition import Partition
from dynsim.model.problem import Problem

CHUNK = 2000  # images at a time
PARTS = ("fp", "pp")


@dataclass(frozen=True)
class Noise:
    """Traces of the covariance of the velocity at the start, of FP and PP together or apart, each with its standard error.

    Parameters
    ----------
    image, mask : dict
        Traces of C_image and C_mask: "fp", "pp" and "all" -> (value, standard error).
    signal : dict
        Square of the mean velocity, likewise.
    masked : float
        Masked patches: losses are per masked patch, velocities are not.

    Examples
    --------
    >>> from dynsim.theory import Noise
    >>> noise = Noise(image={"all": (3.0, 0.1)}, mask={"all": (1.0, 0.1)}, signal={"all": (2.0, 0.1)}, masked=10.0)
    >>> noise.variance(n=8, masks=2), noise.images(n=7, masks=2), noise.resolved(eta=1.0, n=4)
    (0.4375, 8.0, 0.5)
    """

    image: dict[str, tuple[float, float]]
    mask: dict[str, tuple[float, float]]
    signal: dict[str, tuple[float, float]]
    masked: float

    def variance(self, n: float, masks: float = 1, part: str = "all") -> float:
        """Trace of the covariance of the velocity on n images under `masks` masks each (eq. M1).

        Parameters
        ----------
        n : float
            Images.
        masks : float
            Masks of each.
        part : str
            "fp", "pp" or "all".

        Returns
        -------
        float
            Variance, summed over entries.
        """
        return (self.image[part][0] + self.mask[part][0] / masks) / n

    def images(self, n: float, masks: float, part: str = "all") -> float:
        """How many images under one mask are as good as n images under `masks` masks: as little noise (eq. M2).

        Parameters
        ----------
        n : float
            Images.
        masks : float
            Masks of each.
        part : str
            "fp", "pp" or "all".

        Returns
        -------
        float
            Images.
        """
        return self.variance(1, 1, part) / self.variance(n, masks, part)

    def gap_rate(self, n: float, masks: float = 1) -> float:
        """Rate at which the mean gap between population and training loss opens at t = 0, per masked patch (eq. M3).

        Parameters
        ----------
        n : float
            Images.
        masks : float
            Masks of each.

        Returns
        -------
        float
            Loss per masked patch and unit of time.
        """
        return self.variance(n, masks) / self.masked

    def scatter(self, t: float, eta: float, n: float, part: str = "all") -> float:
        """Trace of the covariance of the correlations at time t of stochastic descent, n new images a step (eq. M5).

        Parameters
        ----------
        t : float
            Time, step size x step.
        eta : float
            Step size.
        n : float
            Images in a batch.
        part : str
            "fp", "pp" or "all".

        Returns
        -------
        float
            Variance, summed over entries.
        """
        return t * eta * self.variance(n, 1, part)

    def resolved(self, eta: float, n: float, part: str = "all") -> float:
        """Time from which on the mean of correlations stands out from the noise of stochastic descent (eq. M6).

        Parameters
        ----------
        eta : float
            Step size.
        n : float
            Images in a batch.
        part : str
            "fp", "pp" or "all".

        Returns
        -------
        float
            Time, step size x step.
        """
        return eta * self.variance(n, 1, part) / self.signal[part][0]


def initial_noise(problem: Problem, part: Partition, draws: int = 20000, seed: int = 0, *, rng: Any = None) -> Noise:
    """Covariance of the velocity at the start, split into images and masks.

    Parameters
    ----------
    problem, part : Problem, Partition
        Law of the images, and their areas.
    draws : int
        Images, each under two masks, that expectations are averaged over.
    seed : int
        Seed of the images.
    rng : optional
        A numpy.random.Generator or what makes one, in place of ``seed``: a seed is drawn from it.

    Returns
    -------
    Noise
        Traces, with standard errors.

    Raises
    ------
    InputError
        For fewer than 100 draws.

    Notes
    -----
    For a velocity v under one mask and v' of the same image under another, E v.v' is the second moment of E[v | x]; the mean
    over d images estimates the square of the mean velocity with bias tr C / d, which is taken off (eq. M1, M2).

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=3, P=64)
    >>> noise = dynsim.theory.initial_noise(problem, dynsim.Partition.blocks(problem), draws=2000)
    >>> 1 < noise.images(1, 16) < 16  # sixteen masks of an image are worth less than sixteen images
    True
    """
    if isinstance(draws, bool) or not isinstance(draws, (int, np.integer)) or draws < 100:
        raise InputError(f"draws must be a whole number of at least 100 images, got {draws!r}: take e.g. draws=20000")
    data = sample(problem, part, n=int(draws), seed=[seed_of(seed, rng), 0], masks=2)
    first, second = data.masked[:draws], data.masked[draws:]
    products = {name: np.empty((2, draws)) for name in PARTS}
    mean = {"fp": np.zeros((part.P, part.F)), "pp": np.zeros((part.P, part.P))}

    def in_turn() -> Iterator[tuple[np.ndarray, list[_Views]]]:
        """Numbers of images, so many at a time and of one cluster, and their velocities under both masks."""
        for start in range(0, draws, CHUNK):
            for k in range(part.K):
                rows = np.flatnonzero(data.cluster[:draws][start : start + CHUNK] == k) + start
                yield rows, [_Views(part, k, data.z[rows, : part.N[k]], masked[rows]) for masked in (first, second)]

    for rows, views in in_turn():
        for name in PARTS:
            products[name][0, rows] = (views[0].dot(views[0], name) + views[1].dot(views[1], name)) / 2
            products[name][1, rows] = views[0].dot(views[1], name)
            for view in views:
                view.add_mean(mean[name], name)
    for name in PARTS:
        mean[name] /= 2 * draws
    products["all"] = products["fp"] + products["pp"]
    squares = {name: float(np.sum(mean[name] ** 2)) for name in PARTS}
    squares["all"] = sum(squares.values())
    along = {name: np.empty(draws) for name in mean}  # each image's inner product with the mean
    for rows, views in in_turn():
        for name in mean:
            along[name][rows] = (views[0].along(mean[name], name) + views[1].along(mean[name], name)) / 2
    along["all"] = along["fp"] + along["pp"]
    for name in squares:  # less their bias, the variance of the mean of so many images under two masks
        squares[name] = (squares[name] - float(products[name].mean()) / draws) / (1 - 1 / draws)

    def error(values: np.ndarray) -> float:
        return float(values.std(ddof=1) / np.sqrt(draws))

    image, mask, signal = {}, {}, {}
    for name, (own, cross) in products.items():
        image[name] = float(cross.mean() - squares[name]), error(cross - 2 * along[name])
        mask[name] = float(own.mean() - cross.mean()), error(own - cross)
        signal[name] = squares[name], error(2 * along[name])
    return Noise(image, mask, signal, float(problem.masked))


class _Views:
    """The velocities at the start that images of cluster k give under one mask each, by counts in areas.

    With u_m unmasked patches in area m and a query of area a: g_m = z_m^2 (u_m / P - 1{m = a}), gbar = sum_m u_m g_m / P,
    dPhi_m = -z_m u_m / P (g_m - gbar), dUpsilon_q = -(1{q unmasked} g_m(q) - gbar) / P."""

    def __init__(self, part: Partition, k: int, z: np.ndarray, masked: np.ndarray) -> None:
        self.part, self.k, self.masked = part, k, masked
        self.area = np.eye(part.N[k])[part.labels[k]]  # (P, N): which area a patch lies in
        A = (~masked @ self.area) / part.P
        g = z[:, None] ** 2 * (A[:, None] - np.eye(part.N[k]))  # (n, a, m)
        gbar = np.einsum("im,iam->ia", A, g)[..., None]
        self.phi = -(z * A)[:, None] * (g - gbar)  # (n, a, m) of a query of area a
        self.shown, self.hidden = -(g - gbar) / part.P, gbar[..., 0] / part.P  # dUpsilon of an unmasked, a masked key

    def dot(self, other: "_Views", name: str) -> np.ndarray:
        """Inner product of the velocities of every image under the two masks, (n,)."""
        queries = (self.masked & other.masked) @ self.area  # (n, a)
        if name == "fp":
            return np.einsum("ia,iam,iam->i", queries, self.phi, other.phi)
        both = (~self.masked & ~other.masked) @ self.area
        only, alone = (~self.masked & other.masked) @ self.area, (self.masked & ~other.masked) @ self.area
        neither = (self.masked & other.masked).sum(axis=1)
        found = np.einsum("ia,im,iam,iam->i", queries, both, self.shown, other.shown)
        found += np.einsum("ia,im,iam,ia->i", queries, only, self.shown, other.hidden)
        found += np.einsum("ia,im,ia,iam->i", queries, alone, self.hidden, other.shown)
        return found + np.einsum("ia,i,ia,ia->i", queries, neither, self.hidden, other.hidden)

    def along(self, mean: np.ndarray, name: str) -> np.ndarray:
        """Inner product of the velocity of every image with the mean one, (n,)."""
        part, k = self.part, self.k
        label, found = part.labels[k], np.zeros(len(self.masked))
        for a in range(part.N[k]):
            queries = np.flatnonzero(label == a)
            masked = self.masked[:, queries].astype(float)
            if name == "fp":
                rows = masked @ mean[np.ix_(queries, np.arange(part.offset[k], part.offset[k + 1]))]
                found += np.einsum("im,im->i", rows, self.phi[:, a])
            else:
                keys = np.where(self.masked, self.hidden[:, a, None], self.shown[:, a][:, label])
                found += np.einsum("iq,iq->i", masked @ mean[queries], keys)
        return found

    def add_mean(self, total: np.ndarray, name: str) -> None:
        """Add the velocities of all images to `total`, (P, F) or (P, P)."""
        part, k = self.part, self.k
        label = part.labels[k]
        for a in range(part.N[k]):
            queries = np.flatnonzero(label == a)
            masked = self.masked[:, queries].astype(float)
            if name == "fp":
                total[np.ix_(queries, np.arange(part.offset[k], part.offset[k + 1]))] += masked.T @ self.phi[:, a]
            else:
                keys = np.where(self.masked, self.hidden[:, a, None], self.shown[:, a][:, label])
                total[queries] += masked.T @ keys

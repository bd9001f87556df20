"""Objective: what is descended, L = L_rec + weight L_con or one of its terms, with all checks of what a user gives."""

from typing import NamedTuple

import numpy as np

from dynsim.errors import InputError
from dynsim.full import contrastive, reconstruction
from dynsim.model.amplitude import check_temperature, is_number
from dynsim.model.dataset import Dataset
from dynsim.model.embedding import Embedding
from dynsim.model.pairs import Pairs
from dynsim.model.partition import Partition


class Objective(NamedTuple):
    """The objective L = L_rec + weight L_con on given images and pairs, or one of the two.

    Parameters
    ----------
    part : Partition
        Areas.
    embedding : Embedding
        Positions, features and mask token.
    weight : float
        Weight of L_con.
    temperature : float
        The tau of L_con.
    stop_gradient : bool
        Whether view b is a constant in the gradient.

    Examples
    --------
    >>> import dynsim
    >>> from dynsim.full.objective import Objective
    >>> part = dynsim.Partition([[0, 0, 1, 1]])
    >>> objective = Objective(part, dynsim.Embedding.orthonormal(part), 2.0, 0.5, True)
    >>> objective.reported({"reconstruction": 0.5, "contrastive": 0.25})
    1.0
    """

    part: Partition
    embedding: Embedding
    weight: float
    temperature: float
    stop_gradient: bool

    def at(
        self, Q: np.ndarray, data: Dataset | None, pairs: Pairs | None, attention: bool = False
    ) -> tuple[float, np.ndarray, dict[str, float], np.ndarray | None]:
        """Evaluate the objective at a Q.

        Parameters
        ----------
        Q : ndarray of shape (d, d)
            The matrix.
        data : Dataset or None
            Images of L_rec.
        pairs : Pairs or None
            Images of L_con.
        attention : bool
            Whether area attention is wanted.

        Returns
        -------
        loss : float
            L, not divided by the masked patches.
        gradient : ndarray of shape (d, d)
            Gradient with respect to Q.
        terms : dict
            Each loss as reported, by name.
        attention : ndarray of shape (P, F) or None
            Expected area attention: of L_rec where there is one.
        """
        total, dQ, terms, areas = 0.0, np.zeros((self.embedding.d,) * 2), {}, None
        if data is not None:
            loss, dQ, areas = reconstruction.loss_and_gradient(Q, self.part, data, self.embedding, attention)
            total, terms["reconstruction"] = loss, loss / data.masked_mean
        if pairs is not None:
            options = (self.embedding, self.temperature, self.stop_gradient, attention and data is None)
            loss, slope, seen = contrastive.loss_and_gradient(Q, self.part, pairs, *options)
            total, terms["contrastive"] = total + self.weight * loss, loss
            dQ = dQ + self.weight * slope
            areas = seen if data is None else areas
        return total, dQ, terms, areas

    def reported(self, terms: dict[str, float]) -> float:
        """Return the loss of a Trajectory: the sum of what is reported of each term.

        Parameters
        ----------
        terms : dict
            Each loss as reported, by name.

        Returns
        -------
        float
            Their weighted sum.
        """
        return sum(value * (self.weight if name == "contrastive" else 1.0) for name, value in terms.items())


def checked(
    part: Partition,
    data: Dataset | None,
    pairs: Pairs | None,
    embedding: Embedding,
    weight: float,
    temperature: float,
    stop_gradient: bool,
) -> Objective:
    """Return the objective, if everything fits.

    Parameters
    ----------
    part : Partition
        Areas.
    data : Dataset or None
        Images of L_rec.
    pairs : Pairs or None
        Images of L_con.
    embedding : Embedding
        Positions, features and mask token.
    weight : float
        Weight of L_con.
    temperature : float
        The tau of L_con.
    stop_gradient : bool
        Whether view b is a constant in the gradient.

    Returns
    -------
    Objective
        The objective.

    Raises
    ------
    InputError
        If something does not fit, or is out of range.

    Examples
    --------
    >>> import dynsim
    >>> from dynsim.full.objective import checked
    >>> part = dynsim.Partition([[0, 0, 1, 1]])
    >>> checked(part, None, None, dynsim.Embedding.orthonormal(part), 1.0, 0.5, True)
    Traceback (most recent call last):
    dynsim.errors.InputError: there must be something to descend, got data=None and pairs=None: give images, pairs or both
    """
    embedding.check(part)
    if data is None and pairs is None:
        raise InputError("there must be something to descend, got data=None and pairs=None: give images, pairs or both")
    for name, given, kind in (("data", data, Dataset), ("pairs", pairs, Pairs)):
        if given is not None and not isinstance(given, kind):
            raise InputError(f"{name} must be a {kind.__name__}, got {type(given).__name__}: take sample or sample_pairs")
        if given is not None:
            given.check(part)
    if pairs is not None:
        if embedding.mu is not None:
            raise InputError(
                "a contrastive loss takes no mask token, got one: its unmasked queries carry none, so that fp and pp would not "
                "be the whole state; leave the token out"
            )
        if not (is_number(weight) and weight >= 0):
            raise InputError(f"weight must be a finite number of at least 0, got {weight!r}: take e.g. weight=1")
        if data is None and weight == 0:
            raise InputError("weight must be positive without reconstruction, got 0, which leaves nothing: take weight=1")
        check_temperature(temperature)
        if not isinstance(stop_gradient, (bool, np.bool_)):
            raise InputError(f"stop_gradient must be True or False, got {stop_gradient!r}: take True")
    return Objective(part, embedding, float(weight), float(temperature), bool(stop_gradient))

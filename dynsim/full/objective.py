"""What is descended: L = L_rec + weight L_con, one of its terms or both, with all checks of what a user gives."""

from typing import NamedTuple

import numpy as np

from dynsim.errors import InputError
from dynsim.full import contrastive, reconstruction
from dynsim.model.amplitude import is_number
from dynsim.model.dataset import Dataset
from dynsim.model.embedding import Embedding
from dynsim.model.pairs import Pairs
from dynsim.model.partition import Partition


class Objective(NamedTuple):
    """L = L_rec + weight L_con on given images and pairs, or one of the two."""

    part: Partition
    embedding: Embedding
    weight: float
    temperature: float
    stop_gradient: bool

    def at(
        self, Q: np.ndarray, data: Dataset | None, pairs: Pairs | None, attention: bool = False
    ) -> tuple[float, np.ndarray, dict[str, float], np.ndarray | None]:
        """(L not divided, dL/dQ, each loss as reported by name, area attention where wanted: of L_rec where there is one)."""
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
        """The loss of a Trajectory: the sum of what is reported of each term."""
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
    """The objective, once sure that everything fits. Raises InputError."""
    embedding.check(part)
    if data is None and pairs is None:
        raise InputError("there must be something to descend, got data=None and pairs=None: give images, pairs or both")
    if data is not None:
        data.check(part)
    if pairs is not None:
        pairs.check(part)
        if embedding.mu is not None:
            raise InputError(
                "a contrastive loss takes no mask token, got one: its unmasked queries carry none, so that fp and pp would not "
                "be the whole state; leave the token out"
            )
        if not (is_number(weight) and weight >= 0):
            raise InputError(f"weight must be a finite number of at least 0, got {weight!r}: take e.g. weight=1")
        if data is None and weight == 0:
            raise InputError("weight must be positive without reconstruction, got 0, which leaves nothing: take weight=1")
        if not (is_number(temperature) and temperature > 0 and np.isfinite(1 / temperature)):
            raise InputError(f"temperature must be positive and finite, got {temperature!r}: take e.g. 0.5")
        if not isinstance(stop_gradient, (bool, np.bool_)):
            raise InputError(f"stop_gradient must be True or False, got {stop_gradient!r}: take True")
    return Objective(part, embedding, float(weight), float(temperature), bool(stop_gradient))

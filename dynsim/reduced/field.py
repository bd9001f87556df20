"""What an integrator asks of a field, whatever it averages over; one of your own needs no more than this."""

from typing import Protocol

import numpy as np


class Field(Protocol):
    """A state, the correlations in whatever shape, with its loss and its velocity (docs/design.md)."""

    @property
    def deterministic(self) -> bool:
        """Whether the velocity is the same at every evaluation: what gradient flow needs."""

    @property
    def limit(self) -> float:
        """Largest correlation that the softmax takes."""

    @property
    def floor(self) -> float | None:
        """Loss per masked patch that no attention can lower; None where it is not known."""

    def start(self) -> np.ndarray:
        """The state at Q = 0: all correlations zero."""

    def velocity(self, y: np.ndarray, step: int = 0, out: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """(loss per masked patch, dy/dt) at state y; dy is written to `out` where one is given."""

    def correlations(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """FP and PP correlations of state y, in public shapes."""

    def attention(self, y: np.ndarray) -> np.ndarray:
        """Expected area attention of a masked query, shaped as FP."""

    def summary(self, y: np.ndarray) -> tuple[float, float]:
        """(loss per masked patch, mean attention on the own area)."""

    def describe(self) -> dict:
        """What this field is, as plain data."""

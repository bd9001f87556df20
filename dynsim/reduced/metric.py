"""From the gradient in the correlations to their velocity: the inner products of the embeddings.

The state is S = B^T Q^T E' with B the vectors that make up keys (features, mask token, positions) and E' those of the
queries. If D = -dL/dS, then gradient descent on Q moves S by (docs/model.md, eq. B10-B11)

    dS/dt = G D H,   G = B^T (1 - Pi) B,   H = E'^T E',

Pi the projection onto the vectors whose correlation is held at zero (none: Pi = 0). Orthonormal vectors: G = H = 1.
"""

import numpy as np

from dynsim.errors import InputError
from dynsim.model.embedding import Embedding
from dynsim.model.partition import Partition


class Metric:
    """G and H of an embedding (None: orthonormal) on partition `part`; hold: None, "fp" or "pp".

    `content`: rows of the state before those of the positions, F, or F + 1 with a mask token. Raises InputError."""

    def __init__(self, part: Partition, embedding: Embedding | None = None, hold: str | None = None) -> None:
        if hold not in (None, "fp", "pp"):
            raise InputError(f"hold must be None, 'fp' or 'pp', got {hold!r}: name the correlation to keep at zero")
        self.embedding, self.hold = embedding, hold
        self.content = part.F + (embedding is not None and embedding.mu is not None)
        self._held = {None: slice(0), "fp": slice(self.content), "pp": slice(self.content, None)}[hold]
        self._grams: tuple[np.ndarray, np.ndarray] | None = None
        if embedding is not None:
            embedding.check(part)
            if not embedding.is_orthonormal:
                keys = _without(embedding.keys, embedding.keys[:, self._held])
                self._grams = keys.T @ keys, embedding.queries.T @ embedding.queries

    def apply(self, D: np.ndarray) -> None:
        """Turn D = -dL/dS into the velocity of S, in place."""
        if self._grams is not None:
            D[...] = self._grams[0] @ D @ self._grams[1]
        D[self._held] = 0.0

    def describe(self) -> dict:
        """The embedding and what is held, in plain data; empty for orthonormal and nothing."""
        described = {} if self.embedding is None else {"embedding": self.embedding.describe()}
        return described if self.hold is None else {**described, "hold": self.hold}


def _without(vectors: np.ndarray, held: np.ndarray) -> np.ndarray:
    """The vectors less their projection onto the span of the held ones (singular values below 1e-12 of it are rounding)."""
    if not held.size:
        return vectors
    U, s, _ = np.linalg.svd(held, full_matrices=False)
    U = U[:, s > s[0] * 1e-12 * max(held.shape)]
    return vectors - U @ (U.T @ vectors)

"""Metric: from the gradient with respect to the correlations to their velocity, by the embedding's inner products.

The state is S = B^T Q^T E' with B the vectors that make up keys (features, mask token, positions) and E' those of the
queries. If D = -dL/dS, then gradient descent on Q moves S by (docs/beyond.md, eq. B10-B11)::

    dS/dt = G D H,   G = B^T (1 - Pi) B,   H = E'^T E'

with Pi the projection onto the vectors whose correlation is held at zero (none: Pi = 0). Orthonormal vectors: G = H = 1.
"""

import numpy as np

from dynsim.errors import InputError
from dynsim.model.embedding import Embedding
from dynsim.model.partition import Partition


class Metric:
    """The matrices G and H of an embedding on a partition.

    Parameters
    ----------
    part : Partition
        Gives the numbers of positions and features.
    embedding : Embedding, optional
        The vectors; orthonormal by default.
    hold : {None, "fp", "pp"}
        Correlation held at zero.

    Attributes
    ----------
    content : int
        Rows of the state before those of the positions: F, or F + 1 with a mask token.

    Raises
    ------
    InputError
        If ``hold`` is something else, or the embedding does not fit the partition.

    Examples
    --------
    >>> import numpy as np
    >>> import dynsim
    >>> from dynsim.reduced.metric import Metric
    >>> part = dynsim.Partition([[0, 0, 1, 1]])
    >>> D = np.ones((part.F + part.P, part.P))
    >>> Metric(part, hold="pp").apply(D)
    >>> D[:, 0]
    array([1., 1., 0., 0., 0., 0.])
    >>> metric = Metric(part, dynsim.Embedding.correlated(part, [[1.0, 0.5], [0.5, 1.0]]))
    >>> D = np.eye(6, 4)
    >>> metric.apply(D)
    >>> D[:2, :2].round(12)
    array([[1. , 0.5],
           [0.5, 1. ]])
    >>> metric.describe()["embedding"]["kind"]
    'correlated'
    """

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
        """Turn D = -dL/dS into the velocity of S, in place.

        Parameters
        ----------
        D : ndarray of shape (content + P, P)
            Minus the gradient; changed.
        """
        if self._grams is not None:
            D[...] = self._grams[0] @ D @ self._grams[1]
        if self.hold is not None:
            D[self._held] = 0.0

    def stretch(self) -> float:
        """Return by how much vectors that are not orthonormal enlarge the curvature of the loss (docs/model.md).

        Returns
        -------
        float
            Product of the largest eigenvalues of the inner products of keys, of queries and of contents; 1 for orthonormal ones.
        """
        if self.embedding is None or self._grams is None:
            return 1.0
        content = self.embedding.content
        return float(np.prod([np.linalg.norm(gram, 2) for gram in (*self._grams, content.T @ content)]))

    def describe(self) -> dict:
        """Return the embedding and what is held.

        Returns
        -------
        dict
            Plain data; empty for orthonormal vectors and nothing held.
        """
        described = {} if self.embedding is None else {"embedding": self.embedding.describe()}
        return described if self.hold is None else {**described, "hold": self.hold}


def _without(vectors: np.ndarray, held: np.ndarray) -> np.ndarray:
    """The vectors less their projection onto the span of the held ones (singular values below 1e-12 of it are rounding)."""
    if not held.size:
        return vectors
    U, s, _ = np.linalg.svd(held, full_matrices=False)
    U = U[:, s > s[0] * 1e-12 * max(held.shape)]
    return vectors - U @ (U.T @ vectors)

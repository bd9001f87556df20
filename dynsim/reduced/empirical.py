"""The exact field on given images (docs/model.md, eq. 5).

For one image (cluster k, amplitudes z, mask) and a masked query p whose own area is a, with A_m the area attention,

    g_m = z_m^2 (A_m - 1{m = a}),   gbar = sum_m A_m g_m,
    dPhi_{p,(k,m)}/dt = -z_m A_m (g_m - gbar),   dUpsilon_{p,q}/dt = -attn_{p,q} (1{q unmasked} g_{m(q)} - gbar),

averaged over images. No approximation: this is gradient descent on Q, written in the correlations. Other embeddings than
orthonormal ones change the metric (metric.py, eq. B10); features that are not orthonormal, or a mask token, the kernel too
(kernels/general.py, eq. B5-B8).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dynsim.model.dataset import Dataset, sample
from dynsim.model.embedding import Embedding
from dynsim.model.partition import Partition
from dynsim.model.problem import Problem
from dynsim.reduced import field_class
from dynsim.reduced.batch import BatchField
from dynsim.reduced.explicit import PARTITION, VECTORS, choose_partition, choose_vectors, part_of, vectors_of
from dynsim.reduced.field import Field, Option, Recipe, prefixed, without_prefix


class EmpiricalField(BatchField):
    """Velocity of the correlations on given images; exact.

    Parameters
    ----------
    part : Partition
        Areas of every cluster.
    data : Dataset
        The images.
    threads : int, optional
        Threads; they change the time a step takes, never the bits.
    embedding : Embedding, optional
        Positions, features and mask token; orthonormal by default.
    hold : {None, "fp", "pp"}
        Correlation held at zero (projected descent).

    Raises
    ------
    InputError
        If images, partition and embedding do not fit.

    Notes
    -----
    Equation (5) of docs/model.md; for other embeddings (B5)-(B11) of docs/beyond.md. ``floor`` is the loss per masked patch that
    no attention can lower; None where features are not orthonormal or masked keys carry a token.

    Examples
    --------
    >>> import dynsim
    >>> problem = dynsim.Problem(K=2, gamma=0.75, P=16)
    >>> part = dynsim.Partition.blocks(problem)
    >>> data = dynsim.sample(problem, part, n=32, seed=0)
    >>> run = dynsim.reduced.descend(dynsim.reduced.EmpiricalField(part, data), steps=10)
    >>> dynsim.validation.compare(run, dynsim.full.descend(part, data, steps=10)).passed
    True
    """

    method = "samples"
    options = (
        Option("n", int, 256, "images", least=1),
        Option("masks_per_image", int, 1, "masks that every image is seen under", least=1),
        PARTITION,
        *VECTORS,
    )

    def __init__(
        self,
        part: Partition,
        data: Dataset,
        threads: int | None = None,
        embedding: Embedding | None = None,
        hold: str | None = None,
    ) -> None:
        self._place(part, embedding, hold)
        self.data = data
        self._load(data, threads)

    @classmethod
    def from_options(
        cls,
        problem: Problem,
        seed: int = 0,
        n: int = 256,
        masks_per_image: int = 1,
        partition: str = "blocks",
        embedding: str = "orthonormal",
        d: int | None = None,
        hold: str | None = None,
        threads: int | None = None,
        **options: Any,
    ) -> EmpiricalField:
        """Build the field of n images under masks of their own; areas and images are drawn from ``seed``."""
        part = choose_partition(problem, partition, seed, n * masks_per_image)
        data = sample(problem, part, n, seed=seed, masks=masks_per_image)
        return cls(part, data, threads, **choose_vectors(part, embedding, d, hold, seed))

    def population(self, problem: Problem) -> Field | None:
        """Return the closed mean over images on the same areas; None for features that are not orthonormal, or a mask token."""
        if self.embedding is not None and not self.embedding.has_orthonormal_features:
            return None
        return field_class("population")(problem, self.part, embedding=self.embedding)

    def recipe(self) -> Recipe:
        """Return images, areas and vectors, written out."""
        plain, arrays = self._recipe()
        return plain, {**arrays, **prefixed(self.data.recipe(), "data")}

    @classmethod
    def from_recipe(cls, plain: dict, arrays: Mapping[str, np.ndarray]) -> EmpiricalField:
        """Build the field of a recipe."""
        return cls(part_of(plain, arrays), Dataset(**without_prefix(arrays, "data")), **vectors_of(plain, arrays))

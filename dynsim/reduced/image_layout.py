"""How the arrays of a run on any images are laid out: pixel axes and keys, no areas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dynsim.model.areas import ROLES, Table


@dataclass(frozen=True)
class ImageLayout:
    """Layout of runs on pictures, which have no areas: fp (P, d), pp (P, P), attention (P, P).

    Examples
    --------
    >>> from dynsim.reduced.image_layout import ImageLayout
    >>> ImageLayout().dims["fp"], len(ImageLayout().query_type)
    (('query', 'axis'), 0)
    """

    @property
    def dims(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the axes."""
        return {"fp": ("query", "axis"), "pp": ("query", "key"), "attention": ("query", "key")}

    @property
    def coords(self) -> Mapping[str, Sequence[str]]:
        """None of the axes has labels but numbers."""
        return {}

    @property
    def query_type(self) -> np.ndarray:
        """Empty: there are no areas."""
        return np.empty(0, dtype=str)

    @property
    def is_global(self) -> np.ndarray:
        """Empty: there are no areas."""
        return np.empty(0, dtype=bool)

    @property
    def share(self) -> Mapping[str, float]:
        """Empty: there are no areas."""
        return {}

    def areas(
        self, fp: np.ndarray | None = None, pp: np.ndarray | None = None, attention: np.ndarray | None = None
    ) -> Table:
        """Return tables without entries, by role.

        Parameters
        ----------
        fp, pp, attention : ndarray, optional
            Arrays at one saved time.

        Returns
        -------
        dict
            As Layout.areas, each (0,).
        """
        roles = {"attention": (*ROLES, "masked"), "fp": ROLES, "pp": ("self", *ROLES)}
        given = {"attention": attention, "fp": fp, "pp": pp}
        return {name: {role: np.empty(0) for role in roles[name]} for name, table in given.items() if table is not None}

"""How the arrays of a run on any images are laid out: pixel axes and keys, no areas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dynsim.model.areas import ROLES, Table


@dataclass(frozen=True)
class ImageLayout:
    """fp (P, d), pp (P, P), attention (P, P) of the queries of pictures, which have no areas."""

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
        """By role, each (0,)."""
        roles = {"attention": (*ROLES, "masked"), "fp": ROLES, "pp": ("self", *ROLES)}
        given = {"attention": attention, "fp": fp, "pp": pp}
        return {name: {role: np.empty(0) for role in roles[name]} for name, table in given.items() if table is not None}

"""A field as plain data and arrays, and back: what a result file holds so that its run can be made again.

Images, areas and vectors are written out, so nothing depends on drawing them again. What holds code of yours (a law of
amplitudes, a draw of minibatches, a field that is not registered) has no recipe.
"""

from collections.abc import Mapping

import numpy as np

from dynsim.errors import NoRecipe
from dynsim.model.areas import Layout
from dynsim.reduced import FIELDS, field_class, optimisers
from dynsim.reduced.field import Field
from dynsim.trajectory import Trajectory


def describe(field: Field) -> tuple[dict | None, dict[str, np.ndarray]]:
    """(plain data, arrays by name) from which `build` makes the same field; (None, {}) where it holds code of yours."""
    try:
        plain, arrays = field.recipe()
    except NoRecipe:
        return None, {}
    return (plain, arrays) if plain["method"] in FIELDS else (None, {})


def of(traj: Trajectory) -> tuple[dict | None, dict[str, np.ndarray]]:
    """The same of the field that made a trajectory."""
    return traj.recipe if traj.recipe is not None and traj.recipe[0]["method"] in FIELDS else (None, {})


def layout(plain: dict, arrays: Mapping[str, np.ndarray]) -> Layout | None:
    """Where the queries of that field find their areas; None where the field is not registered here."""
    return field_class(plain["method"]).layout_of(plain, arrays) if plain["method"] in FIELDS else None


def build(plain: dict, arrays: Mapping[str, np.ndarray]) -> Field:
    """The field that `describe` described."""
    return field_class(plain["method"]).from_recipe(plain, arrays)


def build_optimiser(plain: dict) -> optimisers.Rule:
    """The optimiser that describes itself so."""
    rules = {rule.name: rule for rule in (optimisers.Descent, optimisers.Momentum, optimisers.Adam, optimisers.Sign)}
    return rules[plain["name"]](**{name: value for name, value in plain.items() if name != "name"})

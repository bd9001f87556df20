"""Fields as plain data and arrays, and back: what a result file holds so that its run can be made again.

Images, areas and vectors are written out, so nothing depends on drawing them again. What holds code of yours (a law of
amplitudes, a sampler of minibatches, a field that is not registered) has no recipe.
"""

from collections.abc import Mapping

import numpy as np

from dynsim.errors import NoRecipe
from dynsim.model.areas import Layout
from dynsim.reduced import FIELDS, field_class
from dynsim.reduced.field import Field
from dynsim.trajectory import Trajectory


def describe(field: Field) -> tuple[dict | None, dict[str, np.ndarray]]:
    """Return plain data and arrays from which ``build`` makes the same field.

    Parameters
    ----------
    field : Field
        Any field.

    Returns
    -------
    plain : dict or None
        Plain data; None where the field holds code of yours.
    arrays : dict of str to ndarray
        Arrays by name.

    Examples
    --------
    >>> import dynsim
    >>> from dynsim.runs import recipe
    >>> plain, arrays = recipe.describe(dynsim.reduced.OrbitField(dynsim.Problem(K=1)))
    >>> plain["method"], plain["query"], arrays
    ('orbit', 'L', {})
    """
    try:
        plain, arrays = field.recipe()
    except NoRecipe:
        return None, {}
    return (plain, arrays) if _known(plain) else (None, {})


def _known(plain: dict) -> bool:
    """Whether a recipe, with those of its terms, is one of fields that dynsim knows."""
    return plain["method"] in FIELDS and all(_known(term["field"]) for term in plain.get("terms", ()))


def of(traj: Trajectory) -> tuple[dict | None, dict[str, np.ndarray]]:
    """Return plain data and arrays of the field that made a trajectory.

    Parameters
    ----------
    traj : Trajectory
        A run.

    Returns
    -------
    plain : dict or None
        Plain data; None where there is no recipe.
    arrays : dict of str to ndarray
        Arrays by name.

    Examples
    --------
    >>> import dynsim
    >>> from dynsim.runs import recipe
    >>> run = dynsim.reduced.flow(dynsim.reduced.OrbitField(dynsim.Problem(K=1)), t_end=1.0, keep=2)
    >>> recipe.of(run)[0]["method"]
    'orbit'
    """
    return traj.recipe if traj.recipe is not None and _known(traj.recipe[0]) else (None, {})


def layout(plain: dict, arrays: Mapping[str, np.ndarray]) -> Layout | None:
    """Return where the queries of a field find their areas.

    Parameters
    ----------
    plain : dict
        As from ``describe``.
    arrays : mapping of str to ndarray
        As from ``describe``.

    Returns
    -------
    Layout or None
        None where the field is not registered here.

    Examples
    --------
    >>> import dynsim
    >>> from dynsim.runs import recipe
    >>> recipe.layout(*recipe.describe(dynsim.reduced.OrbitField(dynsim.Problem(K=2)))).share.keys()
    dict_keys(['LL'])
    """
    return field_class(plain["method"]).layout_of(plain, arrays) if plain["method"] in FIELDS else None


def build(plain: dict, arrays: Mapping[str, np.ndarray]) -> Field:
    """Build the field of a recipe.

    Parameters
    ----------
    plain : dict
        As from ``describe``.
    arrays : mapping of str to ndarray
        As from ``describe``.

    Returns
    -------
    Field
        The same field.

    Examples
    --------
    >>> import dynsim
    >>> from dynsim.runs import recipe
    >>> recipe.build(*recipe.describe(dynsim.reduced.OrbitField(dynsim.Problem(K=2), query="LG"))).query
    'LG'
    """
    return field_class(plain["method"]).from_recipe(plain, arrays)

"""The reduced dynamics: fields and two integrators, the interface for figure scripts.

FIELDS is the registry: a field has one line here, its name in files and its module and class. The name is what comes after
``--method``; with another objective than reconstruction, objective-method, and ``--objective`` chooses it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynsim.reduced.contrastive import ContrastiveField
    from dynsim.reduced.contrastive_orbit import ContrastiveOrbitField, MixedOrbitField
    from dynsim.reduced.empirical import EmpiricalField
    from dynsim.reduced.field import Field, Option
    from dynsim.reduced.gradient_descent import descend
    from dynsim.reduced.gradient_flow import flow
    from dynsim.reduced.image import ImageField
    from dynsim.reduced.image_contrastive import ImageContrastiveField
    from dynsim.reduced.image_mixed import MixedImageField
    from dynsim.reduced.minibatch import MinibatchField
    from dynsim.reduced.mixed import MixedField
    from dynsim.reduced.optimisers import Adam, Descent, Momentum, Sign
    from dynsim.reduced.orbit import OrbitField
    from dynsim.reduced.population import PopulationField
    from dynsim.reduced.sums import SumField

__all__ = [
    "EmpiricalField", "MinibatchField", "PopulationField", "OrbitField", "ContrastiveField", "ImageField",
    "ImageContrastiveField", "MixedImageField", "MixedField", "ContrastiveOrbitField", "MixedOrbitField", "SumField",
    "Field", "Option", "descend", "flow", "Descent", "Momentum", "Adam", "Sign", "FIELDS", "field_class",
    "field_of_any_size", "method_key",
]

FIELDS = {  # the first of an objective is what is run where no method is named
    "orbit": "dynsim.reduced.orbit:OrbitField",
    "samples": "dynsim.reduced.empirical:EmpiricalField",
    "population": "dynsim.reduced.population:PopulationField",
    "minibatch": "dynsim.reduced.minibatch:MinibatchField",
    "any-images": "dynsim.reduced.image:ImageField",
    "contrastive-orbit": "dynsim.reduced.contrastive_orbit:ContrastiveOrbitField",
    "contrastive-samples": "dynsim.reduced.contrastive:ContrastiveField",
    "contrastive-any-images": "dynsim.reduced.image_contrastive:ImageContrastiveField",
    "mixed-orbit": "dynsim.reduced.contrastive_orbit:MixedOrbitField",
    "mixed-samples": "dynsim.reduced.mixed:MixedField",
    "mixed-any-images": "dynsim.reduced.image_mixed:MixedImageField",
    "sum": "dynsim.reduced.sums:SumField",
}

_HOME = {
    **{place.partition(":")[2]: place.partition(":")[0] for place in FIELDS.values()},
    "Field": "dynsim.reduced.field",
    "Option": "dynsim.reduced.field",
    "descend": "dynsim.reduced.gradient_descent",
    "flow": "dynsim.reduced.gradient_flow",
    "Descent": "dynsim.reduced.optimisers",
    "Momentum": "dynsim.reduced.optimisers",
    "Adam": "dynsim.reduced.optimisers",
    "Sign": "dynsim.reduced.optimisers",
}


def field_class(method: str) -> Any:
    """Return the class of a registered field.

    Parameters
    ----------
    method : str
        Name in FIELDS.

    Returns
    -------
    type
        A class derived from Field.

    Raises
    ------
    InputError
        If the name is not registered.

    Examples
    --------
    >>> import dynsim
    >>> dynsim.reduced.field_class("orbit").__name__
    'OrbitField'
    """
    if method not in FIELDS:
        from dynsim.errors import InputError

        raise InputError(f"method must be one of {', '.join(FIELDS)}, got {method!r}: see dynsim.reduced.FIELDS")
    module, _, name = FIELDS[method].partition(":")
    return getattr(import_module(module), name)


def method_key(objective: str = "reconstruction", method: str | None = None) -> str:
    """Return the name in FIELDS of an objective and a method.

    Parameters
    ----------
    objective : str
        What is minimised.
    method : str, optional
        The method; by default the first one registered for that objective.

    Returns
    -------
    str
        Name in FIELDS.

    Raises
    ------
    InputError
        If there is none.

    Examples
    --------
    >>> import dynsim
    >>> dynsim.reduced.method_key(), dynsim.reduced.method_key("reconstruction", "samples")
    ('orbit', 'samples')
    """
    of = {key.removeprefix(f"{objective}-"): key for key in FIELDS if key.startswith(f"{objective}-")}
    if objective == "reconstruction":
        of = {key: key for key in FIELDS}
    if method in FIELDS and objective == "reconstruction":
        return str(method)
    if not of or (method is not None and method not in of):
        from dynsim.errors import InputError

        what = f"method must be one of {', '.join(of)}, got {method!r}" if of else f"objective must be known, got {objective!r}"
        raise InputError(f"{what}: see dynsim.reduced.FIELDS")
    return of[method] if method is not None else next(iter(of.values()))


def field_of_any_size(objective: str = "reconstruction") -> Any:
    """Return the field of an objective that needs no images and reaches any P by its own flow: the first one registered.

    Parameters
    ----------
    objective : str
        What is minimised.

    Returns
    -------
    type
        A class derived from Field.

    Raises
    ------
    InputError
        If there is none.

    Examples
    --------
    >>> import dynsim
    >>> dynsim.reduced.field_of_any_size("mixed").__name__
    'MixedOrbitField'
    """
    for cls in map(field_class, FIELDS):
        if cls.objective == objective and cls.offered() and cls.integrator == "flow" and not cls.seeded:
            return cls
    from dynsim.errors import InputError

    raise InputError(f"objective must be one with a field of any size, got {objective!r}: see dynsim.reduced.FIELDS")


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'dynsim.reduced' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

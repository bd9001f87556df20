"""The reduced dynamics: fields and two integrators, the face for figure scripts."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dynsim.reduced.empirical import EmpiricalField
    from dynsim.reduced.gradient_descent import descend
    from dynsim.reduced.gradient_flow import flow
    from dynsim.reduced.image import ImageField
    from dynsim.reduced.image_contrastive import ImageContrastiveField
    from dynsim.reduced.minibatch import MinibatchField
    from dynsim.reduced.optimisers import Adam, Descent, Momentum, Sign
    from dynsim.reduced.orbit import OrbitField
    from dynsim.reduced.population import PopulationField

__all__ = [
    "EmpiricalField", "MinibatchField", "PopulationField", "OrbitField", "ImageField", "ImageContrastiveField",
    "descend", "flow", "Descent", "Momentum", "Adam", "Sign",
]

_HOME = {
    "EmpiricalField": "empirical",
    "MinibatchField": "minibatch",
    "PopulationField": "population",
    "OrbitField": "orbit",
    "ImageField": "image",
    "ImageContrastiveField": "image_contrastive",
    "descend": "gradient_descent",
    "flow": "gradient_flow",
    "Descent": "optimisers",
    "Momentum": "optimisers",
    "Adam": "optimisers",
    "Sign": "optimisers",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'dynsim.reduced' has no attribute {name!r}")
    value = getattr(import_module(f"dynsim.reduced.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

"""The reduced dynamics: fields and two integrators, the face for figure scripts."""

from importlib import import_module

_HOME = {
    "EmpiricalField": "empirical",
    "MinibatchField": "minibatch",
    "PopulationField": "population",
    "OrbitField": "orbit",
    "descend": "integrate",
    "flow": "integrate",
    "Descent": "optimisers",
    "Momentum": "optimisers",
    "Adam": "optimisers",
    "Sign": "optimisers",
}

__all__ = list(_HOME)


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module 'dynsim.reduced' has no attribute {name!r}")
    value = getattr(import_module(f"dynsim.reduced.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted([*globals(), *__all__])

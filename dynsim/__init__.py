"""Masked-pretraining dynamics of a one-layer softmax-attention transformer, from theory (see docs/model.md).

Everything is loaded on first use: `dynsim.Problem`, `dynsim.reduced`, `dynsim.theory`, ... need no import of their own.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {
    "Problem": "problem",
    "Uniform": "problem",
    "Fixed": "problem",
    "Discrete": "problem",
    "Partition": "partition",
    "Dataset": "dataset",
    "sample": "dataset",
    "Embedding": "embedding",
    "Trajectory": "trajectory",
    "DynsimError": "errors",
    "InputError": "errors",
    "FileError": "errors",
    "Diverged": "errors",
    "Interrupted": "errors",
}
_MODULES = ("reduced", "full", "observables", "theory", "phases", "scaling", "validation", "sweep", "plots", "storage", "runs")

__all__ = [*_HOME, *_MODULES]


def __getattr__(name):
    if name in _HOME:
        value = getattr(import_module(f"dynsim.{_HOME[name]}"), name)
    elif name in _MODULES:
        value = import_module(f"dynsim.{name}")
    else:
        raise AttributeError(f"module 'dynsim' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__():
    return sorted([*globals(), *__all__])

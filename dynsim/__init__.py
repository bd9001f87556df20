"""Masked-pretraining dynamics of a one-layer softmax-attention transformer, from theory (see docs/model.md).

Everything is loaded on first use: `dynsim.Problem`, `dynsim.reduced`, `dynsim.theory`, ... need no import of their own.
"""

from importlib import import_module

TYPE_CHECKING = False  # what typing has by this name, without the time that it takes to load
if TYPE_CHECKING:
    from dynsim import analysis, explore, full, plots, reduced, runs, sweep, theory, validation
    from dynsim.errors import Diverged, DynsimError, FileError, InputError, Interrupted
    from dynsim.model.amplitude import Discrete, Fixed, Uniform
    from dynsim.model.dataset import Dataset, sample
    from dynsim.model.embedding import Embedding
    from dynsim.model.images import Images
    from dynsim.model.pairs import Pairs, sample_pairs
    from dynsim.model.partition import Partition
    from dynsim.model.problem import Problem
    from dynsim.trajectory import Trajectory

__version__ = "0.1.0"
__all__ = [
    "Problem", "Uniform", "Fixed", "Discrete", "Partition", "Dataset", "sample", "Pairs", "sample_pairs", "Images",
    "Embedding", "Trajectory", "DynsimError", "InputError", "FileError", "Diverged", "Interrupted", "reduced", "full",
    "theory", "analysis", "validation", "sweep", "plots", "runs", "explore",
]

_HOME = {
    "Problem": "model.problem",
    "Uniform": "model.amplitude",
    "Fixed": "model.amplitude",
    "Discrete": "model.amplitude",
    "Partition": "model.partition",
    "Dataset": "model.dataset",
    "sample": "model.dataset",
    "Pairs": "model.pairs",
    "sample_pairs": "model.pairs",
    "Images": "model.images",
    "Embedding": "model.embedding",
    "Trajectory": "trajectory",
    "DynsimError": "errors",
    "InputError": "errors",
    "FileError": "errors",
    "Diverged": "errors",
    "Interrupted": "errors",
}


def __getattr__(name: str) -> object:
    if name in _HOME:
        value = getattr(import_module(f"dynsim.{_HOME[name]}"), name)
    elif name in __all__:
        value = import_module(f"dynsim.{name}")
    else:
        raise AttributeError(f"module 'dynsim' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

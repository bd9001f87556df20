"""What runs and pictures say: attention maps and measures, phases, summaries, exponents, areas. Functions on results."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dynsim.analysis import areas, attention, bounds, generalisation, image_attention, phases, scaling, summary
    from dynsim.analysis.generalisation import evaluate

__all__ = [
    "areas", "attention", "bounds", "generalisation", "image_attention", "phases", "scaling", "summary", "evaluate",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'dynsim.analysis' has no attribute {name!r}")
    if name == "evaluate":
        return import_module("dynsim.analysis.generalisation").evaluate
    return import_module(f"dynsim.analysis.{name}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

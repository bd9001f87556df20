"""A page on this machine: sliders for a problem, and at once its correlations, attention, loss, phases and predictions.

`dynsim explore` opens it in the browser, `panel()` in a notebook. It is served by Bokeh on 127.0.0.1 alone, and only to who knows
the token in its address; nothing is fetched from elsewhere. What it shows is computed by `answer`, which knows no browser. The
only package that imports Bokeh (the extra `explore`).
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dynsim.explore.answers import DEFAULTS, answer, from_link, to_link
    from dynsim.explore.server import Panel, panel, serve

__all__ = ["DEFAULTS", "Panel", "answer", "from_link", "panel", "serve", "to_link"]

_HOME = {
    "DEFAULTS": "answers", "answer": "answers", "from_link": "answers", "to_link": "answers",
    "Panel": "server", "panel": "server", "serve": "server",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'dynsim.explore' has no attribute {name!r}")
    value = getattr(import_module(f"dynsim.explore.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

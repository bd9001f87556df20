"""The run behind an answer, and what of it is text: the command and the Python that make it again, its data as rows."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from dynsim.model.problem import Problem
    from dynsim.trajectory import Trajectory

DEFAULTS = {"K": 4.0, "gamma": 0.8, "P": 1e12, "kappa_c": 0.9, "kappa_s": 0.4, "L": 0.8, "U": 1.2}


def complete(settings: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """(name, value) of every setting, in order; those left out have their default."""
    return tuple((name, float(settings.get(name, value))) for name, value in DEFAULTS.items())


def any_size() -> Any:
    """The field that reaches any P: the first one registered."""
    from dynsim import reduced

    return reduced.field_class(reduced.method_key())


@lru_cache(maxsize=8)
def simulated(settings: tuple[tuple[str, float], ...]) -> tuple[Problem, Any, Trajectory]:
    """(problem, field, trajectory) of settings; the last ones are remembered, so that a figure or a file takes no second run."""
    from dynsim.model.amplitude import Uniform
    from dynsim.model.problem import Problem
    from dynsim.reduced.gradient_flow import flow

    s = dict(settings)
    problem = Problem(s["K"], s["gamma"], s["P"], s["kappa_c"], s["kappa_s"], Uniform(s["L"], s["U"]))  # type: ignore[arg-type]
    field = any_size().from_options(problem)  # all-local by default
    return problem, field, flow(field, **field.run_options(problem))


def command(settings: Mapping[str, float]) -> str:
    """The command line that makes the same run; settings complete."""
    options = [f"--{name.replace('_', '-')} {text_of(value)}" for name, value in settings.items()]
    return " ".join(["dynsim simulate", *options, "--query", "L" * int(settings["K"])])


def python(settings: Mapping[str, float], options: Mapping[str, Any]) -> str:
    """The lines of Python that make the same run; settings complete, options of the flow."""
    s = {name: text_of(value) for name, value in settings.items()}
    numbers = ", ".join(f"{name}={s[name]}" for name in ("K", "gamma", "P", "kappa_c", "kappa_s"))
    return (
        "import dynsim\n"
        f"problem = dynsim.Problem({numbers}, amplitude=dynsim.Uniform({s['L']}, {s['U']}))\n"
        f"field = dynsim.reduced.{any_size().__name__}(problem, query=\"{'L' * int(settings['K'])}\")\n"
        f"run = dynsim.reduced.flow(field, {', '.join(f'{name}={value!r}' for name, value in options.items())})\n"
    )


def csv(found: Mapping[str, Any]) -> str:
    """The curves of an answer as comma-separated values, a row for each saved time."""
    columns: dict[str, list] = {"t": found["t"]}
    for name in ("fp", "pp", "attention"):
        columns |= {f"{name}_{role}": values for role, values in found[name].items()}
    columns["loss"] = found["loss"]
    rows = zip(*columns.values(), strict=True)
    text = ("" if value is None else repr(value) for row in rows for value in row)
    width = len(columns)
    cells = list(text)
    lines = [",".join(columns), *(",".join(cells[i : i + width]) for i in range(0, len(cells), width))]
    return "\n".join(lines) + "\n"


def plain(value: Any) -> Any:
    """Lists and numbers for arrays, None for what is not finite."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def text_of(value: float) -> str:
    """A setting as short text that reads back to the same number."""
    short = f"{value:g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")
    return short if float(short) == value else repr(value)

"""The run behind an answer, and what of it is text: the command and the Python that make it again, its data as rows."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from dynsim.errors import InputError

if TYPE_CHECKING:
    from dynsim.model.problem import Problem
    from dynsim.trajectory import Trajectory

NUMBERS = {"K": 4.0, "gamma": 0.8, "P": 1e12, "kappa_c": 0.9, "kappa_s": 0.4, "L": 0.8, "U": 1.2}
FEW, ROUGH = 4, 1e-3  # amplitude nodes and accuracy of a flow that is stiff, so that it answers at once (docs/explore.md)
WRITTEN_OUT = 10_000  # clusters for which a query is written out: far more than a field takes
Settings = Mapping[str, Any]  # "objective", a text; numbers


@cache
def objectives() -> dict[str, Any]:
    """The first registered field of each objective that reaches any P: one without images, by its own flow."""
    from dynsim import reduced

    found: dict[str, Any] = {}
    for cls in map(reduced.field_class, reduced.FIELDS):
        if cls.offered() and cls.integrator == "flow" and not cls.seeded:
            found.setdefault(cls.objective, cls)
    return found


def sliding(objective: str) -> dict[str, float]:
    """Options of the field of an objective that have a slider, and their defaults."""
    return {option.name: option.default for option in objectives()[objective].options if option.type is float}


def defaults() -> dict[str, Any]:
    """Every setting and its default: the objective, the numbers of a problem, options of fields."""
    names = objectives()
    options = {name: value for objective in names for name, value in sliding(objective).items()}
    return {"objective": next(iter(names)), **NUMBERS, **options}


def complete(settings: Settings) -> tuple[tuple[str, Any], ...]:
    """(name, value) of every setting that its objective has, in order; those left out have their default."""
    first = next(iter(objectives()))
    objective = str(settings.get("objective", first))
    if objective not in objectives():
        raise InputError(f"objective must be {', '.join(objectives())}, got {objective[:40]!r}: take {first}")
    numbers = {**NUMBERS, **sliding(objective)}
    return ("objective", objective), *((name, float(settings.get(name, value))) for name, value in numbers.items())


def field_options(settings: Settings) -> dict[str, Any]:
    """Options of the field of settings: those with a slider, an all-local query, few nodes where their number is open."""
    known = {option.name: option for option in objectives()[settings["objective"]].options}
    found = {name: settings[name] for name in sliding(settings["objective"])}
    if "query" in known:
        found["query"] = "L" * int(min(settings["K"], WRITTEN_OUT))
    if "nodes" in known and known["nodes"].default is None:
        found["nodes"] = FEW
    return found


def flow_options(field: Any, problem: Problem) -> dict[str, Any]:
    """Options of the flow: the field's own, less accurate where it is stiff."""
    return {**field.run_options(problem), **({"rtol": ROUGH} if field.stiff else {})}


@lru_cache(maxsize=8)
def simulated(settings: tuple[tuple[str, Any], ...]) -> tuple[Problem, Any, Trajectory]:
    """(problem, field, trajectory) of settings; the last ones are remembered, so that a figure or a file takes no second run."""
    from dynsim.model.amplitude import Uniform
    from dynsim.model.problem import Problem
    from dynsim.reduced.gradient_flow import flow

    s = dict(settings)
    problem = Problem(s["K"], s["gamma"], s["P"], s["kappa_c"], s["kappa_s"], Uniform(s["L"], s["U"]))
    field = objectives()[s["objective"]].from_options(problem, **field_options(s))
    return problem, field, flow(field, **flow_options(field, problem))


def command(settings: Settings, field: Any, options: Settings) -> str:
    """The command line that makes the same run; settings complete, options of the flow."""
    words = ["dynsim simulate"]
    if settings["objective"] != next(iter(objectives())):
        words.append(f"--method {field.method}")
    words += [f"--{name.replace('_', '-')} {text_of(settings[name])}" for name in NUMBERS]
    words += [f"--{name.replace('_', '-')} {text_of(value)}" for name, value in field_options(settings).items()]
    if options["rtol"] == ROUGH:
        words.append(f"--rtol {text_of(ROUGH)}")
    return " ".join(words)


def python(settings: Settings, field: Any, options: Settings) -> str:
    """The lines of Python that make the same run; settings complete, options of the flow."""
    s = {name: text_of(settings[name]) for name in NUMBERS}
    numbers = ", ".join(f"{name}={s[name]}" for name in ("K", "gamma", "P", "kappa_c", "kappa_s"))
    chosen = "".join(f", {name}={_literal(value)}" for name, value in field_options(settings).items())
    return (
        "import dynsim\n"
        f"problem = dynsim.Problem({numbers}, amplitude=dynsim.Uniform({s['L']}, {s['U']}))\n"
        f"field = dynsim.reduced.{type(field).__name__}(problem{chosen})\n"
        f"run = dynsim.reduced.flow(field, {', '.join(f'{name}={value!r}' for name, value in options.items())})\n"
    )


def _literal(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else text_of(value)


def csv(found: Mapping[str, Any]) -> str:
    """The curves of an answer as comma-separated values, a row for each saved time."""
    columns: dict[str, list] = {"t": found["t"]}
    for name in ("fp", "pp", "attention"):
        columns |= {f"{name}_{role}": values for role, values in found[name].items()}
    columns |= {"loss": found["loss"], **{f"loss_{name}": values for name, values in found["terms"].items()}}
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


def text_of(value: Any) -> str:
    """A setting as short text that reads back to the same value."""
    if isinstance(value, str):
        return value
    short = f"{value:g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")
    return short if float(short) == value else repr(value)

"""A field as plain data and arrays, and back: what a result file holds so that its run can be made again.

Images, areas and vectors are written out, so nothing depends on drawing them again. What holds a user's own code (a law of
amplitudes, a draw of minibatches, a field) has no recipe.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from dynsim.model import amplitude as laws
from dynsim.model.dataset import Dataset
from dynsim.model.embedding import Embedding
from dynsim.model.partition import Partition
from dynsim.model.problem import Problem
from dynsim.reduced import optimisers
from dynsim.reduced.empirical import EmpiricalField
from dynsim.reduced.field import Field
from dynsim.reduced.minibatch import Chosen, Fresh, MinibatchField
from dynsim.reduced.orbit import OrbitField
from dynsim.reduced.population import PopulationField

LAWS = ("Uniform", "Fixed", "Discrete")
NUMBERS = ("K", "gamma", "P", "kappa_c", "kappa_s")
ORBIT = ("query", "masks", "intersections", "nodes")
POPULATION = ("masks", "nodes", "n", "seed")


def describe(field: Field) -> tuple[dict | None, dict[str, np.ndarray]]:
    """(plain data, arrays by name) from which `build` makes the same field; (None, {}) where it holds a user's own code."""
    kind = type(field).__name__
    plain: dict = {}
    arrays: dict[str, np.ndarray] = {}
    try:
        if type(field) is OrbitField:
            plain = {"problem": _problem(field.problem), **{name: getattr(field, name) for name in ORBIT}}
            return {"kind": kind, **plain}, arrays
        if type(field) is PopulationField:
            plain = {"problem": _problem(field.problem), **{name: getattr(field, name) for name in POPULATION}}
        elif type(field) is EmpiricalField:
            _add(arrays, "data", field.data, ("cluster", "z", "masked", "weight"))
        elif type(field) is MinibatchField and type(field.draw) is Fresh:
            plain = {"problem": _problem(field.draw.problem), "n": int(field.draw.n), "seed": field.draw.seed}
        elif type(field) is MinibatchField and type(field.draw) is Chosen:
            plain = {"n": int(field.draw.n), "seed": field.draw.seed}
            _add(arrays, "data", field.draw.data, ("cluster", "z", "masked", "weight"))
        else:
            return None, {}
    except _OwnCode:
        return None, {}
    embedding = field.embedding
    if embedding is not None:
        _add(arrays, "embedding", embedding, ("E", "V") if embedding.mu is None else ("E", "V", "mu"))
        plain["embedding"] = {"masked_value": embedding.masked_value, "origin": embedding.origin}
    _add(arrays, "part", field.part, ("labels",))
    return {"kind": kind, **plain, "grid": list(field.part.grid), "hold": field.metric.hold}, arrays


def build(plain: dict, arrays: Mapping[str, np.ndarray]) -> Field:
    """The field that `describe` described."""
    kind = plain["kind"]
    if kind == "OrbitField":
        return OrbitField(build_problem(plain["problem"]), **{name: plain[name] for name in ORBIT})
    part = Partition(arrays["part.labels"], tuple(plain["grid"]))
    options: dict = {"hold": plain["hold"]}
    if "embedding" in plain:
        vectors: list[Any] = [arrays.get(f"embedding.{name}") for name in ("E", "V", "mu")]
        options["embedding"] = Embedding(*vectors, **plain["embedding"])
    if kind == "PopulationField":
        return PopulationField(build_problem(plain["problem"]), part, **{name: plain[name] for name in POPULATION}, **options)
    if kind == "MinibatchField" and "problem" in plain:
        return MinibatchField.fresh(build_problem(plain["problem"]), part, plain["n"], plain["seed"], **options)
    data = Dataset(*(arrays[f"data.{name}"] for name in ("cluster", "z", "masked", "weight")))
    if kind == "MinibatchField":
        return MinibatchField.of(part, data, plain["n"], plain["seed"], **options)
    return EmpiricalField(part, data, **options)


def build_problem(plain: dict) -> Problem:
    """The Problem of plain data as in `describe`."""
    law = dict(plain["amplitude"])
    name, weights = law.pop("law"), law.get("weights")
    amplitude = getattr(laws, name)(**law)
    if weights is not None:  # normalised already; to normalise them again would change their last bits
        object.__setattr__(amplitude, "weights", tuple(weights))
    return Problem(**{name: plain[name] for name in NUMBERS}, amplitude=amplitude)


def build_optimiser(plain: dict) -> optimisers.Rule:
    """The optimiser that describes itself so."""
    rules = {rule.name: rule for rule in (optimisers.Descent, optimisers.Momentum, optimisers.Adam, optimisers.Sign)}
    return rules[plain["name"]](**{name: value for name, value in plain.items() if name != "name"})


class _OwnCode(Exception):
    """Something that only its author's code can make again."""


def _problem(problem: Problem) -> dict:
    law: Any = problem.amplitude
    if type(law) not in [getattr(laws, name) for name in LAWS]:
        raise _OwnCode
    return {**{name: getattr(problem, name) for name in NUMBERS}, "amplitude": {"law": type(law).__name__, **asdict(law)}}


def _add(arrays: dict[str, np.ndarray], prefix: str, owner: object, names: Iterable[str]) -> None:
    arrays.update({f"{prefix}.{name}": np.asarray(getattr(owner, name)) for name in names})

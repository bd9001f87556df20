"""Closed forms of a problem are asked for again for every query type, and to be put beside every run: they are kept."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar, cast

from dynsim.model.amplitude import Discrete, Fixed, Uniform
from dynsim.model.problem import Problem

MOST = 256  # results kept for each function
LAWS = (Discrete, Fixed, Uniform)  # one of a user's own may change
Function = TypeVar("Function", bound=Callable[..., Any])


def remembered(function: Function) -> Function:
    """Keep results of a function of a problem and plain values; other ones it computes, or refuses, each time."""
    kept = lru_cache(MOST, typed=True)(function)

    @wraps(function)
    def call(problem: Problem, *args: Any, **options: Any) -> Any:
        plain = all(isinstance(value, (float, int, str)) for value in (*args, *options.values()))
        return (kept if plain and type(problem.amplitude) in LAWS else function)(problem, *args, **options)

    return cast(Function, call)

"""Closed forms of a problem are asked for again for every query type, and to be put beside every run: they are kept."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar, cast

from dynsim.model.amplitude import Discrete, Fixed, Uniform
from dynsim.model.problem import Problem

MOST = 256  # results kept for each function
Function = TypeVar("Function", bound=Callable[..., Any])


def remembered(function: Function) -> Function:
    """Keep results of a function of a problem, but not where its law of z is a user's own, which may change."""
    kept = lru_cache(MOST)(function)

    @wraps(function)
    def call(problem: Problem, *args: Any, **options: Any) -> Any:
        known = isinstance(problem.amplitude, (Discrete, Fixed, Uniform))
        return (kept if known else function)(problem, *args, **options)

    return cast(Function, call)

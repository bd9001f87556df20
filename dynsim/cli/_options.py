"""What the subcommands' options share: number types, the options that make a Problem, errors of one line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from dynsim.errors import InputError

if TYPE_CHECKING:
    from dynsim.model.problem import Problem

LARGEST = 2**53

PROBLEM = (
    ("K", 4, "clusters"),
    ("gamma", 0.8, "masked fraction of the patches, in (0, 1)"),
    ("P", 196, "patches; up to 1e100 for orbits"),
    ("kappa_c", 0.9, "the global area of a cluster has P^kappa_c patches"),
    ("kappa_s", 0.4, "a local area has P^kappa_s patches"),
    ("L", 0.8, "smallest amplitude; amplitudes are uniform on [L, U]"),
    ("U", 1.2, "largest amplitude"),
)


class Parser(argparse.ArgumentParser):
    """A parser that takes no abbreviations and raises InputError where argparse would print its usage and exit."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)  # type: ignore[misc]  # args never reach that far

    def error(self, message: str) -> NoReturn:
        if "expected one argument" in message:
            message += " (a negative one as --option=-1)"
        raise InputError(f"{message}; `{self.prog} --help` lists what there is")


def number(text: str) -> float:
    """A real number: 0.8, 1e12."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, got {text!r}, write e.g. 4, 0.8 or 1e12") from None


def whole(low: int) -> Callable[[str], int]:
    """The type of whole numbers from `low`: 500, 1e6."""

    def convert(text: str) -> int:
        try:
            value: float = int(text)
        except ValueError:
            value = number(text)
        if not (low <= value <= LARGEST and value == int(value)):
            raise argparse.ArgumentTypeError(f"must be a whole number from {low} to 2^53, got {text!r}")
        return int(value)

    return convert


def seed(text: str) -> int | None:
    """A seed: a whole number, or "random" for one drawn by itself."""
    return None if text == "random" else whole(0)(text)


def add_problem(parser: argparse.ArgumentParser) -> None:
    """The options that make a Problem, named as its fields."""
    group = parser.add_argument_group("problem")
    for name, default, text in PROBLEM:
        group.add_argument("--" + name.replace("_", "-"), type=number, default=default, metavar="X", help=f"{text} ({default})")


def problem_from(args: argparse.Namespace) -> Problem:
    """The Problem that the options ask for. Raises InputError."""
    from dynsim.model.amplitude import Uniform
    from dynsim.model.problem import Problem

    return Problem(args.K, args.gamma, args.P, args.kappa_c, args.kappa_s, Uniform(args.L, args.U))


def add_output(parser: argparse.ArgumentParser, folder: str | None = None) -> None:
    """--json and --quiet; and --out, where `folder` says what it will hold."""
    group = parser.add_argument_group("output")
    if folder is not None:
        group.add_argument("--out", metavar="DIR", help=folder)
    group.add_argument("--json", action="store_true", help="print one JSON object on standard output and nothing else there")
    group.add_argument("--quiet", action="store_true", help="no progress and no remarks on standard error")


def seed_from(args: argparse.Namespace) -> int:
    """The seed asked for; one drawn by itself is told. An int."""
    if args.seed is not None:
        return args.seed
    import secrets

    drawn = secrets.randbits(32)
    from dynsim.cli._show import remark

    remark(args, f"seed {drawn} drawn; --seed {drawn} gives this run again")
    return drawn

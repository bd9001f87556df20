"""What the subcommands' options share: number types, the options that make a Problem, errors of one line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from dynsim.errors import InputError

if TYPE_CHECKING:
    from dynsim.model.problem import Problem
    from dynsim.reduced.field import Field, Option
    from dynsim.trajectory import Progress

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
    """A parser that takes no abbreviations and raises InputError where argparse would print its usage and exit.

    later: called with the parser to declare its options, once it is used."""

    def __init__(self, *args: Any, later: Callable[[Parser], object] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)  # type: ignore[misc]  # args never reach that far
        self._later = later

    def declare(self) -> None:
        """Declare the options that are declared late."""
        if self._later is not None:
            later, self._later = self._later, None
            later(self)

    def parse_known_args(self, *args: Any, **kwargs: Any) -> Any:
        self.declare()
        return super().parse_known_args(*args, **kwargs)

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


def clusters(low: int) -> Callable[[str], int | None]:
    """The type of numbers of clusters from `low`; None for "auto"."""

    def convert(text: str) -> int | None:
        try:
            return None if text == "auto" else whole(low)(text)
        except argparse.ArgumentTypeError:
            raise argparse.ArgumentTypeError(f'must be a whole number from {low} or "auto", got {text!r}') from None

    return convert


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


def fields() -> dict[str, type[Field]]:
    """The registered fields that the command line can build, by name."""
    from dynsim import reduced

    found = {key: reduced.field_class(key) for key in reduced.FIELDS}
    return {key: cls for key, cls in found.items() if cls.offered()}


def add_method(group: Any, default: str | None = None) -> None:
    """--objective and --method."""
    known = fields()
    objectives = list(dict.fromkeys(cls.objective for cls in known.values()))
    methods = list(dict.fromkeys(key.removeprefix(f"{cls.objective}-") for key, cls in known.items()))
    if len(objectives) > 1:
        group.add_argument(
            "--objective", choices=objectives, default=objectives[0], help=f"what is minimised ({objectives[0]})"
        )
    more = "" if default is None else f", {default}"
    group.add_argument("--method", metavar="NAME", help=f"what is averaged over: {', '.join(methods)}{more} ({methods[0]})")


def add_field_options(group: Any, axis: bool = False) -> None:
    """The options of all fields: one each, its help naming the methods that have it where not all do.

    axis: as text, which may hold several values, see `axis_values`; booleans then take yes, no or yes,no."""
    known = fields()
    for name, users in _options_of(known).items():
        first = next(iter(users.values()))
        kind = str if axis else {int: whole(int(first.least or 0)), float: number}.get(first.type, str)
        if first.type is bool:
            on: Any = {"nargs": "?", "const": "yes", "metavar": "yes,no"} if axis else {"action": argparse.BooleanOptionalAction}
            text = f"{first.help} ({', '.join(users)}; {'yes' if first.default else 'no'})"
            group.add_argument("--" + name.replace("_", "-"), default=None, help=text, **on)
            if axis:
                no = "--no-" + name.replace("_", "-")
                group.add_argument(no, dest=name, action="store_const", const="no", help=argparse.SUPPRESS)
            continue
        choices = list(dict.fromkeys(choice for option in users.values() for choice in option.choices))
        kinds = {int: "AXIS", float: "AXIS"} if axis else {int: "N", float: "X"}
        metavar = "{" + ",".join(choices) + "}" if choices else kinds.get(first.type, "TEXT")
        defaults = dict.fromkeys(option.default for option in users.values() if option.default is not None)
        default = "; ".join(f"{value}" for value in defaults)
        of = "" if len(users) == len(known) else ", ".join(users)
        tail = "; ".join(filter(None, [of, default]))
        group.add_argument(
            "--" + name.replace("_", "-"), type=kind, metavar=metavar, help=f"{first.help} ({tail})" if tail else first.help
        )


def field_options(args: argparse.Namespace, key: str) -> dict:
    """Those options of the field `key` that are given. Raises InputError for one of another field, or a value not allowed."""
    known, given = fields(), {}
    for name, users in _options_of(known).items():
        value = getattr(args, name)
        if value is None:
            continue
        text = "--" + name.replace("_", "-")
        if key not in users:
            raise InputError(f"{text} belongs to --method {' or '.join(users)}, got --method {key}: drop one")
        given[name] = value
        for one in value if isinstance(value, tuple) else (value,):
            if users[key].choices and one not in users[key].choices:
                allowed = ", ".join(users[key].choices)
                raise InputError(f"{text} must be {allowed} for --method {key}, got {one!r}: take one of them")
    return given


def read_axes(args: argparse.Namespace) -> None:
    """Put values in place of the texts of options declared with `axis`: one as it is, several as a tuple. Raises InputError."""
    from dynsim.sweep import parse_axis

    for name, users in _options_of(fields()).items():
        text, option = getattr(args, name), next(iter(users.values()))
        if text is None:
            continue
        try:
            values = parse_axis(text, whole=option.type is int) if option.type in (int, float) else text.split(",")
            read = tuple(dict.fromkeys(replace(option, choices=()).read(value) for value in values))
        except InputError as error:
            raise InputError(f"--{name.replace('_', '-')}: {error}") from None
        setattr(args, name, read[0] if len(read) == 1 else read)


def read_options(cls: type[Field], given: dict, progress: Progress | None) -> dict:
    """The same options with what they name, files or folders, read. Raises what reading raises."""
    loaders = {option.name: option.loader for option in cls.options if option.loader is not None}
    return {name: loaders[name](value, progress=progress) if name in loaders else value for name, value in given.items()}


def chosen_method(args: argparse.Namespace) -> str:
    """The name in reduced.FIELDS that --objective and --method ask for. Raises InputError."""
    from dynsim import reduced

    try:
        key = reduced.method_key(getattr(args, "objective", "reconstruction"), args.method)
        for name, users in _options_of(fields()).items():
            if args.method is None and getattr(args, name) is not None and next(iter(users.values())).selects:
                key = next((one for one in users if fields()[one].objective == fields()[key].objective), "")
    except InputError:
        key = ""
    if key not in fields():
        raise InputError(f"--method must be one of {', '.join(fields())}, got {args.method!r}: take {next(iter(fields()))}")
    return key


def given_options(args: argparse.Namespace) -> dict:
    """All options of fields that are given, whatever the method."""
    return {name: getattr(args, name) for name in _options_of(fields()) if getattr(args, name) is not None}


def _options_of(known: dict[str, type[Field]]) -> dict[str, dict[str, Option]]:
    """Every option by name: the fields that have it, and what each says of it."""
    found: dict[str, dict[str, Option]] = {}
    for key, cls in known.items():
        for option in cls.options:
            found.setdefault(option.name, {})[key] = option
    return found


def add_output(parser: argparse.ArgumentParser, folder: str | None = None) -> None:
    """--json and --quiet; and --out, where `folder` says what it will hold."""
    group = parser.add_argument_group("output")
    if folder is not None:
        group.add_argument("--out", metavar="DIR", help=folder)
    group.add_argument("--json", action="store_true", help="print one JSON object on standard output and nothing else there")
    group.add_argument("--quiet", action="store_true", help="no progress and no remarks on standard error")


def seed_from(args: argparse.Namespace) -> int:
    """The seed asked for, or one drawn at random, which is printed. An int."""
    if args.seed is not None:
        return args.seed
    import secrets

    drawn = secrets.randbits(32)
    from dynsim.cli._show import remark

    remark(args, f"seed {drawn} drawn; --seed {drawn} gives this run again")
    return drawn

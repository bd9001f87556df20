"""What the subcommands' options share: number types, the options that make a Problem, errors of one line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from dynsim.errors import InputError

if TYPE_CHECKING:
    from dynsim.model.problem import Problem
    from dynsim.reduced.field import Field, Option
    from dynsim.reduced.optimisers import Rule
    from dynsim.trajectory import Progress

LARGEST = 2**53

ANY = 1e15  # patches of a problem whose P says nothing: masks of every gamma
PROBLEM = (
    ("K", 4, "clusters"),
    ("gamma", 0.8, "masked fraction of the patches, in (0, 1)"),
    ("P", 196, "patches; up to 1e100 for orbits"),
    ("kappa_c", 0.9, "the global area has P^kappa_c patches"),
    ("kappa_s", 0.4, "a local area has P^kappa_s patches"),
    ("L", 0.8, "smallest amplitude; uniform on [L, U]"),
    ("U", 1.2, "largest amplitude"),
)


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Help with one line an option as far as it fits: room for long names, and --[no-]name for both."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=27)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n  " in text:  # an example, as it is written
            return super()._fill_text(text, width, indent)
        return argparse.HelpFormatter._fill_text(self, text, width, indent)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if isinstance(action, argparse.BooleanOptionalAction):
            return action.option_strings[0].replace("--", "--[no-]", 1)
        return super()._format_action_invocation(action)


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

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        if arg_strings == ["--"] and action.nargs is None and action.option_strings:  # of --K=--, which argparse makes a list
            self.error(f"argument {'/'.join(action.option_strings)}: expected one argument")
        return super()._get_values(action, arg_strings)

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

    selects = [name for name, users in options_of(fields()).items() if next(iter(users.values())).selects]
    given = [name for name in selects if getattr(args, name, None) is not None]
    if given:  # pictures: of a problem they take gamma alone
        for name, default, _ in PROBLEM:
            if name != "gamma" and getattr(args, name) != default:
                text = name.replace("_", "-")
                raise InputError(f"--{text} belongs to problems with areas, got --{given[0]} too: drop one of them")
        return Problem(gamma=args.gamma, P=ANY)
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
        words = f"{', '.join(objectives)} ({objectives[0]})"
        group.add_argument("--objective", choices=objectives, default=objectives[0], metavar="NAME", help=words)
    more = "" if default is None else f", {default}"
    group.add_argument("--method", metavar="NAME", help=f"what is averaged over: {', '.join(methods)}{more} ({methods[0]})")


def add_field_options(parser: argparse.ArgumentParser, axis: bool = False) -> None:
    """The options of all fields, a group for those that the same methods have.

    axis: as text, which may hold several values, see `read_axes`; booleans then take yes, no or yes,no."""
    known = fields()
    groups: dict[str, Any] = {}
    for name, users in options_of(known).items():
        title = "options of all methods" if len(users) == len(known) else f"options of {', '.join(users)}"
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        add_option(groups[title], name, users, axis)


def add_option(group: Any, name: str, users: dict[str, Option], axis: bool = False, prefix: str = "") -> None:
    """One option that `users` have, with its choices and defaults in its help."""
    first, text = next(iter(users.values())), "--" + name.replace("_", "-")
    choices = list(dict.fromkeys(choice for option in users.values() for choice in option.choices))
    words = prefix + first.help + (f": {', '.join(choices)}" if choices else "")
    words += f" ({default})" if (default := _default(users)) else ""
    if first.type is bool:
        on: Any = {"nargs": "?", "const": "yes", "metavar": "yes,no"} if axis else {"action": argparse.BooleanOptionalAction}
        group.add_argument(text, default=None, help=words, **on)
        if axis:
            group.add_argument("--no-" + text[2:], dest=name, action="store_const", const="no", help=argparse.SUPPRESS)
        return
    kind = str if axis else {int: whole(int(first.least or 0)), float: number}.get(first.type, str)
    kinds = {int: "AXIS", float: "AXIS"} if axis else {int: "N", float: "X"}
    group.add_argument(text, type=kind, metavar=kinds.get(first.type, "NAME" if choices else "TEXT"), help=words)


def _default(users: dict[str, Option]) -> str:
    """The default of most users, then those of others by name; empty where there is none."""
    texts = {key: "yes" if one.default is True else "no" if one.default is False else one.default for key, one in users.items()}
    given = {key: f"{value}" for key, value in texts.items() if value is not None}
    most = max(given.values(), key=list(given.values()).count, default="")
    return "; ".join([most, *(f"{key}: {value}" for key, value in given.items() if value != most)])


def add_optimiser(parser: argparse.ArgumentParser) -> None:
    """--optimiser and the parameters of all optimisers."""
    from dynsim.reduced.optimisers import RULES

    group = parser.add_argument_group("optimiser")
    group.add_argument("--optimiser", metavar="NAME", help=f"{', '.join(RULES)} ({next(iter(RULES))})")
    for name, users in options_of(RULES).items():
        add_option(group, name, users, prefix=f"{', '.join(users)}: ")


def optimiser_from(args: argparse.Namespace) -> Rule | None:
    """The optimiser that is asked for; None where none is. Raises InputError."""
    from dynsim.reduced.optimisers import RULES

    name = args.optimiser or next(iter(RULES))
    if name not in RULES:
        raise InputError(f"--optimiser must be one of {', '.join(RULES)}, got {name!r}: take {next(iter(RULES))}")
    given = given_of(args, RULES, name, "--optimiser")
    return RULES[name](**given) if args.optimiser else None


def field_options(args: argparse.Namespace, key: str) -> dict:
    """Those options of the field `key` that are given. Raises InputError for one of another field, or a value not allowed."""
    return given_of(args, fields(), key, "--method")


def given_of(args: argparse.Namespace, known: Mapping[str, Any], key: str, chooser: str) -> dict:
    """Those options of `key`, chosen by the option `chooser` among `known`, that are given. Raises InputError."""
    given = {}
    for name, users in options_of(known).items():
        value = getattr(args, name)
        if value is None:
            continue
        text = "--" + name.replace("_", "-")
        if key not in users:
            raise InputError(f"{text} belongs to {chooser} {' or '.join(users)}, got {chooser} {key}: drop one")
        given[name] = value
        for one in value if isinstance(value, tuple) else (value,):
            if users[key].choices and one not in users[key].choices:
                allowed = ", ".join(users[key].choices)
                raise InputError(f"{text} must be {allowed} for {chooser} {key}, got {one!r}: take one of them")
    return given


def read_axes(args: argparse.Namespace) -> None:
    """Put values in place of the texts of options declared with `axis`: one as it is, several as a tuple. Raises InputError."""
    from dataclasses import replace

    from dynsim.sweep import parse_axis

    for name, users in options_of(fields()).items():
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
        for name, users in options_of(fields()).items():
            if args.method is None and getattr(args, name) is not None and next(iter(users.values())).selects:
                key = next((one for one in users if fields()[one].objective == fields()[key].objective), "")
    except InputError:
        key = ""
    if key not in fields() and args.method in fields():
        able = [one for one in fields() if _takes(args.objective, one)]
        raise InputError(f"--objective {args.objective} runs by --method {', '.join(able)}, got {args.method}: take {able[0]}")
    if key not in fields():
        raise InputError(f"--method must be one of {', '.join(fields())}, got {args.method!r}: take {next(iter(fields()))}")
    return key


def _takes(objective: str, method: str) -> bool:
    """Whether a method runs an objective."""
    from dynsim import reduced

    try:
        return reduced.method_key(objective, method) in fields()
    except InputError:
        return False


def given_options(args: argparse.Namespace) -> dict:
    """All options of fields that are given, whatever the method."""
    return {name: getattr(args, name) for name in options_of(fields()) if getattr(args, name) is not None}


def options_of(known: Mapping[str, Any]) -> dict[str, dict[str, Option]]:
    """Every option by name: the fields, or optimisers, that have it, and what each says of it."""
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
    group.add_argument("--json", action="store_true", help="one JSON object on standard output, no text")
    group.add_argument("--quiet", action="store_true", help="no progress, no remarks on standard error")


def seed_from(args: argparse.Namespace) -> int:
    """The seed asked for, or one drawn at random, which is printed. An int."""
    if args.seed is not None:
        return args.seed
    import secrets

    drawn = secrets.randbits(32)
    from dynsim.cli._show import remark

    remark(args, f"seed {drawn} drawn; --seed {drawn} gives this run again")
    return drawn

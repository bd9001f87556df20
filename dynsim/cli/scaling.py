"""`dynsim scaling`: exponents in P and t, measured on orbit flows, beside what theory derives."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _SubParsersAction
from collections.abc import Sequence
from math import inf, isfinite
from typing import TYPE_CHECKING

from dynsim.cli import _show
from dynsim.cli._options import PROBLEM, add_output, number
from dynsim.errors import InputError

if TYPE_CHECKING:
    from dynsim.analysis.scaling import Exponent
    from dynsim.model.problem import Problem

COLUMNS = ["quantity", "law", "measured", "error", "derived", "closed form here", "published bound", "agrees"]


def add_parser(sub: _SubParsersAction) -> ArgumentParser:
    """Declare the options."""
    parser = sub.add_parser(
        "scaling",
        help="measure exponents in P and t beside theory's",
        description="Measure how escape time, depth, late loss and PP size scale, on orbit flows at rising P, beside the derived "
        "exponents, and bounds of your own; with --weight also the time of the collapse under contrast alone and the escape that "
        "contrast delays. Exit status 1 where a derived exponent lies outside its error, or a bound fails.",
    )
    group = parser.add_argument_group("problem")
    for name, default, text in PROBLEM:
        if name == "P":
            text = "patches: a list or start:stop:count:log (%(default)s)"
            group.add_argument("--P", metavar="AXIS", default="1e6:1e30:13:log", help=text)
        else:
            option, default = "--" + name.replace("_", "-"), 1 if name == "K" else default
            group.add_argument(option, type=number, default=default, metavar="X", help=f"{text} ({default})")
    group = parser.add_argument_group("collapse, of several clusters")
    group.add_argument("--weight", type=number, metavar="A", help="alpha in L_rec + alpha P L_con (collapse is not measured)")
    group.add_argument("--temperature", type=number, default=0.5, metavar="X", help="of the contrastive loss (0.5)")
    group = parser.add_argument_group("bounds of your own, as exponents; exit status 1 where one does not hold")
    group.add_argument("--bound", metavar="NAME=X", action="append", default=[], help="from above: e.g. escape_time=1.2")
    group.add_argument("--lower-bound", metavar="NAME=X", action="append", default=[], help="from below: e.g. depth=-0.5")
    add_output(parser, "folder for scaling.json")
    parser.set_defaults(run=run)
    return parser


def run(args: Namespace) -> int:
    """Do it; exit status 0, or 1 where an exponent disagrees or a bound fails. Raises what the library raises."""
    from dataclasses import asdict

    from dynsim.analysis import bounds, scaling
    from dynsim.cli._files import Folder
    from dynsim.model.amplitude import Uniform
    from dynsim.model.problem import Problem
    from dynsim.sweep import parse_axis

    P = parse_axis(args.P, whole=True)
    problem = Problem(args.K, args.gamma, max(P), args.kappa_c, args.kappa_s, Uniform(args.L, args.U))
    given = [(text, False) for text in args.bound] + [(text, True) for text in args.lower_bound]
    quantities = scaling.QUANTITIES + (scaling.COLLAPSE if args.weight is not None else ())
    claims = [(*_claim(text, quantities), lower) for text, lower in given]
    folder = Folder(args.out) if args.out is not None else None
    try:
        with _show.progress(args, "measuring") as progress:
            rows = scaling.measure(problem, P, quantities, progress, args.weight or 0.0, args.temperature)
    except BaseException:
        if folder is not None:
            folder.leave()
        raise
    by_name = {row.quantity: row for row in rows}
    held = [bounds.hold(by_name[name], value, lower=lower) for name, value, lower in claims]
    result = {
        "K": problem.K, "gamma": problem.gamma, "kappa_c": problem.kappa_c, "kappa_s": problem.kappa_s, "L": args.L, "U": args.U,
        "weight": args.weight, "temperature": args.temperature, "P": P, "information_gap": problem.Delta,
        "exponents": [{**asdict(row), "agrees": row.agrees} for row in rows],
        "bounds": [bound.to_dict() for bound in held],
    }
    if folder is not None:
        folder.write_text("scaling.json", _show.strict_json(result))
        _show.remark(args, f"wrote {args.out}")
    if args.json:
        _show.print_json(result)
    else:
        _report(problem, rows)
        for bound in held:
            side = ("from above", "from below")[bound.lower]
            apart = f"exponents {abs(bound.off):.3g} apart, at the largest x a factor {bound.factor:.3g}"
            _show.say(f"{bound.quantity} {side} by x^{bound.claimed:g}: {bound.verdict}; {apart}")
    return 0 if all(row.agrees for row in rows) and all(bound.holds for bound in held) else 1


def _claim(text: str, quantities: Sequence[str]) -> tuple[str, float]:
    """Name and exponent of NAME=X."""
    name, _, value = text.partition("=")
    try:
        found = float(value)
    except ValueError:
        found = inf
    if name not in quantities or not isfinite(found):
        raise InputError(f"a bound is NAME=X, of {', '.join(quantities)}, with an exponent, got {text!r}: e.g. escape_time=1.2")
    return name, found


def _report(problem: Problem, rows: Sequence[Exponent]) -> None:
    fields = ", ".join(f"{name}={getattr(problem, name):g}" for name in ("K", "gamma", "kappa_c", "kappa_s"))
    _show.say(f"Delta     {problem.Delta:.4g}; {fields}")
    _show.table(COLUMNS, [_cells(row) for row in rows], left=2)
    _show.say("\nmeasured: the last local slope; error: how far local slopes lie apart from x_max^(1/3) to x_max (x: P or t)")
    _show.say("derived: the limit for large x; closed form here: its local slope at the last two x, with all corrections it has")
    _show.say("R(Phi_g): int_{Phi_g}^0 dphi / E[z^3 e^(2 z phi)], by (9) a power of P")
    for row in rows:
        if row.published:
            _show.say(f"{row.quantity}: bounded {row.published['bound']} by {row.published['source']}" + _unknown(row.published))


def _unknown(published: dict) -> str:
    return ", exponent not at hand" if published.get("exponent") is None else ""


def _cells(row: Exponent) -> list[str]:
    bound = "-" if not row.published else _show.short(row.published.get("exponent"))
    numbers = [f"{row.exponent:.5f}", _show.short(row.error, 2), f"{row.derived:.5f}", f"{row.expected:.5f}"]
    return [row.quantity, row.meaning, *numbers, bound, "yes" if row.agrees else "NO"]

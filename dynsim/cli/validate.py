"""`dynsim validate`: hold the reduced dynamics against what they stand for, and give a verdict."""

from argparse import ArgumentParser, Namespace, _SubParsersAction

from dynsim.cli import _show
from dynsim.cli._options import add_output, seed, seed_from


def add_parser(sub: _SubParsersAction) -> ArgumentParser:
    """Declare the options."""
    parser = sub.add_parser(
        "validate",
        help="hold the reduced dynamics against explicit gradient descent",
        description="Run reduced and explicit dynamics side by side: for every number its deviation, the bound, PASS or FAIL. "
        "Exit status 1 where one fails.",
    )
    parser.add_argument("--level", action="append", metavar="NAME", help="run this level only; may be repeated (all)")
    parser.add_argument("--quick", action="store_true", help="smaller and fewer cases, the same bounds")
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help='of images and areas; "random" draws one (0)')
    add_output(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: Namespace) -> int:
    """Print the verdicts; exit status 0 where all passed, else 1."""
    from dynsim import validation

    drawn = seed_from(args)
    with _show.telling_of_compilation(args), _show.progress(args, "validating") as progress:
        report = validation.run(args.level, args.quick, drawn, progress)
    if args.json:
        _show.print_json(report.to_dict())
    else:
        verdict = {True: "PASS", False: "FAIL"}
        rows = [
            [row.level, row.case, row.quantity, f"{row.deviation:.3g}", f"{row.bound:.3g}", verdict[row.passed]]
            for row in report.rows
        ]
        _show.table(["level", "case", "quantity", "deviation", "bound", "verdict"], rows, left=3)
        held = sum(row.passed for row in report.rows)
        _show.say(f"\n{verdict[report.passed]}: {held} of {len(rows)} within their bounds, seed {drawn}")
    return 0 if report.passed else 1

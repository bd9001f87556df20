"""`dynsim cite`: what to cite."""

from argparse import ArgumentParser, Namespace, _SubParsersAction


def add_parser(sub: _SubParsersAction) -> ArgumentParser:
    """Declare the options."""
    parser = sub.add_parser(
        "cite",
        help="say what to cite",
        description="The paper whose model dynsim runs, this software, and the methods it stands on.",
    )
    parser.add_argument("--bibtex", action="store_true", help="as BibTeX")
    parser.set_defaults(run=run)
    return parser


def run(args: Namespace) -> int:
    """Print the references; exit status 0."""
    from dynsim import cite
    from dynsim.cli._show import say

    say(cite.bibtex() if args.bibtex else cite.text())
    return 0

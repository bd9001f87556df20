"""`dynsim explore`: a page on this machine that answers at once when a slider moves."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _SubParsersAction

from dynsim.cli import _show, process
from dynsim.cli._options import PROBLEM, number, whole
from dynsim.errors import InputError

LARGEST_PORT = 65535


def add_parser(sub: _SubParsersAction) -> ArgumentParser:
    """Declare the options."""
    parser = sub.add_parser(
        "explore",
        help="a page with sliders: correlations, attention, loss, phases",
        description="Serve a page with sliders for the problem to this machine's browser (127.0.0.1 only, with a token), until "
        "Ctrl-C. Needs the extra `explore`.",
    )
    parser.add_argument("link", metavar="LINK", nargs="?", help="a link copied from an earlier page, to begin with its settings")
    group = parser.add_argument_group("problem to begin with")
    for name, default, text in PROBLEM:
        default = 1e12 if name == "P" else default
        group.add_argument("--" + name.replace("_", "-"), type=number, metavar="X", help=f"{text} ({default:g})")
    group = parser.add_argument_group("server")
    group.add_argument("--port", type=whole(0), default=0, metavar="N", help="to listen on (0: any that is free)")
    group.add_argument("--no-browser", action="store_true", help="print the address and open nothing")
    group.add_argument("--quiet", action="store_true", help="no remarks on standard error")
    parser.set_defaults(run=run)
    return parser


def run(args: Namespace) -> int:
    """Serve until Ctrl-C; exit status 0. Raises InputError."""
    import logging

    from dynsim.explore import answers, server

    if args.port > LARGEST_PORT:
        raise InputError(f"a port is a number up to {LARGEST_PORT}, got {args.port}: take 0 for any that is free")
    settings = dict(answers.DEFAULTS) if args.link is None else answers.from_link(args.link)
    settings.update({name: value for name, _, _ in PROBLEM if (value := getattr(args, name)) is not None})

    def announce(address: str, opens: bool) -> None:
        print(address, flush=True)
        _show.remark(args, "a browser opens with it; Ctrl-C ends it" if opens else "open it in a browser; Ctrl-C ends it")

    logging.getLogger("tornado.access").setLevel(logging.ERROR)  # a refused request is none of the reader's business
    process.collected_as_usual()
    with _show.telling_of_compilation(args):
        server.serve(settings, args.port, not args.no_browser, announce)
    return 0

"""Messages of the library in the words of the command: arguments as its options, classes as the values that choose them.

The library says `kappa_c must be ...` or `take P=196`, as its callers write it; whoever typed a command reads `--kappa-c` and
`--P 196`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

NO_OPTIONS = ("command", "run", "default", "line", "file")  # of the parsed arguments
VERBS = "take|take e.g.|try|give|give e.g.|lower|raise|leave|needs|got|drop".replace(".", r"\.")
CALLS = (  # what the library builds -> what chooses it here
    (r"Embedding\.(\w+)\([^()]*\)", r"--embedding \1"),
    (r"Partition\.(\w+)\([^()]*\)", r"--partition \1"),
    (r"Uniform\(([^(),]+), ([^(),]+)\)(?: or Fixed\([^()]*\))?", r"--L \1 --U \2"),
)


def in_options(message: str, arguments: Iterable[str]) -> str:
    """A message of the library with options of the command in place of the arguments that they set.

    arguments: names of all that the command line has parsed."""
    from dynsim.reduced import FIELDS

    names = "|".join(sorted((re.escape(name) for name in arguments if name not in NO_OPTIONS), key=len, reverse=True))
    if not names:
        return message
    option = lambda found: "--" + found["name"].replace("_", "-")  # noqa: E731
    quotes = "'\""
    valued = lambda found: f"{found['before']}{option(found)} {found['value'].strip(quotes)}"  # noqa: E731
    for pattern, chosen in CALLS:
        message = re.sub(pattern, chosen, message)
    for method, place in FIELDS.items():
        message = re.sub(rf"\b{place.partition(':')[2]}\b", f"--method {method}", message)
    message = re.sub(rf"^(?P<name>{names})(?=,? )", option, message)
    value = r"""(?P<value>'[^']*'|"[^"]*"|[^\s,:;()]+)"""
    message = re.sub(rf"(?P<before>^|\b(?:{VERBS}|use|or|and) )(?P<name>{names})={value}", valued, message)
    message = re.sub(rf"(?<![\w^.-])(?P<name>(?=\w*_)(?:{names}))(?![\w(=])", option, message)
    return re.sub(rf"\b(?P<verb>{VERBS}) (?P<name>{names})(?= (?:out|between|above|below)\b|$)", _after_verb, message)


def _after_verb(found: re.Match[str]) -> str:
    return f"{found['verb']} --{found['name'].replace('_', '-')}"

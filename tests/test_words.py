"""Words: names that only this code had for things with a standard name stay out of code, tests, scripts and pages.

WORDS has each with what to say instead; ALLOWED has lines where the word is right. Search is without regard to case.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

WORDS = {
    "moments?": "saved times or steps (the moments of a distribution are moments)",
    "lanes?|narrow": "SIMD vector, vector width",
    "crew|board|told": "thread pool, shared counters, callback; distinguished; printed",
    "pull(s|ed)?|gain|what (a )?keys? gets?": "gradient with respect to keys, minus gradient",
    "sorts?": "role (own, global, others)",
    "letters?|kinds? of quer(y|ies)|by kind": "query type; area type; panel",
    "ours|yardstick": "reduced, reference",
    "house|cuts across": "layout, modules",
}

ALLOWED = {  # a word -> lines in which it is the right one
    "moments?": r"""(?x)
        \.moment\(|moment\(self|"moment"                           # Law.moment, and a law's own moments
        | (central|second|third|fourth|three|other|another|hypergeometric|explicit|exact|these|its|the|in\ its) \ moments?
        | moments? \ (of\ the\ draw|are\ held|differ)
    """,
    "pull(s|ed)?|gain|what (a )?keys? gets?": r"gain_p = ",  # by how much an error falls
    "sorts?": r"np\.sort|\.sort\(|sorts? \(|lexsort|argsort|sort_keys",
}

NOT_YET: tuple[str, ...] = ()  # files or folders that are left out of the search: not finished


def files():
    """What is searched, by path from the root."""
    for folder, endings in (("dynsim", (".py",)), ("scripts", (".py",)), ("tests", (".py",)), ("docs", (".md", ".rst", ".py"))):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in endings and not {"_build", "gallery"} & set(path.parts) and path.name != Path(__file__).name:
                yield path
    yield from sorted(ROOT.glob("*.md"))


def found(text):
    """(line number, line, what to say) of every old word in a text."""
    for number, line in enumerate(text.splitlines(), 1):
        for word, instead in WORDS.items():
            whole = rf"(?<![^\W_])({word})(?![^\W_])"  # parts of names between underscores are words, too
            if re.search(whole, line, re.I) and not (word in ALLOWED and re.search(ALLOWED[word], line)):
                yield number, line.strip(), instead


def is_left(path):
    name = path.relative_to(ROOT).as_posix()
    return any(name.startswith(start) for start in NOT_YET)


@pytest.mark.parametrize("path", [path for path in files() if not is_left(path)], ids=lambda path: str(path.relative_to(ROOT)))
def test_words(path):
    text = path.read_text(encoding="utf-8")
    wrong = [f"{path.name}:{number}: {line}\n    say {instead}" for number, line, instead in found(text)]
    assert not wrong, "\n".join(wrong)


def test_an_old_word_is_found():
    """The control, and what must pass."""
    for bad in (
        "the kept moments", "eight lanes", "a crew of threads", "is told apart", "what keys get", "for sort in sorts:",
        "a letter per cluster", "ours, yardstick = 1, 2", "def keep_moment(x):", "MOMENTS = 3", "_letters(query)", "the house",
    ):
        assert list(found(bad)), bad
    for good in ("the third moment", "law.moment(2)", "np.sort(x)", "x.sort()", "order = np.lexsort(a)", "saved times"):
        assert not list(found(good)), good


def test_files_not_yet_done_exist():
    assert all((ROOT / name).exists() for name in NOT_YET)


if __name__ == "__main__":
    for path in files():
        for number, line, _ in found(path.read_text(encoding="utf-8")):
            print(f"{path.relative_to(ROOT)}:{number}: {line[:140]}")

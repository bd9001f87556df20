"""What the documents say is what happens: their Python and console examples run, their pages build, their references hold."""

import contextlib
import doctest
import io
import re
import shlex
from pathlib import Path

import pytest

from dynsim.cli import main

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [*ROOT.glob("README.md"), *sorted(DOCS.glob("*.md")), *sorted((DOCS / "tutorials").glob("*.md"))]
SLOW = [path for path in PAGES if re.search(r"^```\w+ slow$", path.read_text(encoding="utf-8"), re.M)]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
FENCE = re.compile(r"^```(\w+(?: slow)?)\n(.*?)^```", re.M | re.S)


def examples(text):
    """(kind, line, source) of every fenced block, in order."""
    return [(m[1], text[: m.start()].count("\n") + 2, m[2]) for m in FENCE.finditer(text)]


def run_page(text, name, slow=False):
    """Run a page's examples, or also those marked slow, one after another, in the current folder, in one namespace; the failures.

    `python` blocks with prompts are doctests. In `console` blocks lines after "$ " are commands (a backslash goes on), what
    follows is their output (of it, lines that begin with "dynsim: " are remarks on standard error); only `dynsim` commands
    run, and output is compared where any is shown."""
    space, said = {}, []
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    for kind, line, source in examples(text):
        if kind.endswith(" slow") and not slow:
            continue
        if kind.startswith("python") and ">>>" in source:
            test = doctest.DocTestParser().get_doctest(source, space, f"{name}:{line}", name, line - 1)
            runner.run(test, out=said.append, clear_globs=False)
            space.update(test.globs)
        elif kind.startswith("console"):
            said += [f"{name}:{line}: {problem}" for problem in console(source)]
    return "\n".join(said)


def console(source):
    """What is wrong with the output of the commands in a console block."""
    wrong = []
    for part in re.split(r"^\$ ", source, flags=re.M)[1:]:
        command, _, wanted = part.replace("\\\n", " ").partition("\n")
        words = shlex.split(command, comments=True)
        if words[:1] != ["dynsim"]:
            continue
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(words[1:])
        remarks = [line for line in wanted.splitlines(True) if line.startswith("dynsim: ")]
        wanted = "".join(line for line in wanted.splitlines(True) if line not in remarks)
        same = doctest.OutputChecker().check_output
        printed = all(any(same(remark, line, FLAGS) for line in err.getvalue().splitlines(True)) for remark in remarks)
        if not printed or (wanted.strip() and not same(wanted, out.getvalue(), FLAGS)):
            wrong.append(f"`{command}` printed\n{out.getvalue()}{err.getvalue()}\nwhere the page has\n{part}")
        elif not wanted.strip() and not remarks and status != 0:
            wrong.append(f"`{command}` ended with {status}: {err.getvalue()}")
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_of_the_documents_run_and_print_what_they_say(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failures = run_page(page.read_text(encoding="utf-8"), page.name)
    assert not failures, failures


@pytest.mark.slow
@pytest.mark.parametrize("page", SLOW, ids=lambda page: page.stem)
def test_slow_examples_of_the_documents(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failures = run_page(page.read_text(encoding="utf-8"), page.name, slow=True)
    assert not failures, failures


def test_a_wrong_number_in_a_document_is_found(tmp_path, monkeypatch):
    # the control: the harness must fail on what is false, in both kinds of block
    monkeypatch.chdir(tmp_path)
    right = "```python\n>>> 1 + 1\n2\n```\n\n```console\n$ dynsim --version\ndynsim ...\n```\n"
    assert not run_page(right, "right")
    assert "Expected" in run_page(right.replace("\n2\n", "\n3\n"), "wrong")
    assert "printed" in run_page(right.replace("\ndynsim ...", "\nnothing"), "wrong")
    assert not run_page("```console\n$ dynsim simulate --K 0\ndynsim: --K must ...\n```\n", "right")
    assert "printed" in run_page("```console\n$ dynsim simulate --K 0\ndynsim: P must ...\n```\n", "wrong")
    assert "ended with 2" in run_page("```console\n$ dynsim simulate --K 0\n```\n", "wrong")


def test_usage_shows_every_command():
    from dynsim.cli import COMMANDS

    text = (DOCS / "usage.md").read_text(encoding="utf-8")
    shown = {shlex.split(command)[1] for command in re.findall(r"^\$ (dynsim .*)$", text, re.M)}
    assert set(COMMANDS) <= shown


def test_equation_numbers_in_docstrings_exist_in_the_documents():
    pages = "".join(path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md")))
    tags = re.findall(r"\\tag\{(\w+)\}", pages)
    assert len(tags) == len(set(tags))  # no number stands twice
    cited = {}
    for path in sorted((ROOT / "dynsim").rglob("*.py")):
        for a, b in re.findall(r"\beq\. \(?([BCDIM]?\d+)\)?(?:-\(?([BCDIM]?\d+))?", path.read_text(encoding="utf-8")):
            cited.update({number: path.name for number in (a, b) if number})
    assert len(cited) > 10 and "D2" in cited  # the pattern still finds them
    assert not {number: name for number, name in cited.items() if number not in tags}


def test_documents_named_in_the_code_exist():
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "dynsim").rglob("*.py"))
    named = set(re.findall(r"docs/[\w-]+\.md", code))
    assert named
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_links_of_the_documents_lead_somewhere():
    for page in PAGES:
        targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8"))
        missing = [target for target in targets if not (page.parent / target).exists()]
        assert not missing, f"{page.name}: {missing}"


def test_design_names_every_module():
    listed = (DOCS / "design.md").read_text(encoding="utf-8").split("```text")[1].split("```")[0]
    named = set(re.findall(r"\b(\w+)(?:\.py|/)", listed))
    top = [path for path in (ROOT / "dynsim").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    assert {path.stem for path in top if not path.name.startswith("_")} <= named
    assert named <= {"dynsim", *(path.stem for path in (ROOT / "dynsim").rglob("*"))}


@pytest.mark.slow
def test_documents_build_without_warnings(pages):
    assert r"\tag{C9}" in (pages / "model.html").read_text(encoding="utf-8")
    made = {path.stem for path in (pages / "gallery").glob("figure_*.html")}
    assert made == {path.stem for path in (ROOT / "scripts").glob("figure_*.py")}
    assert len(list((pages / "_downloads").rglob("figure_*.ipynb"))) == len(made)

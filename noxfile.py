#!/usr/bin/env -S uv run --script

# /// script
# dependencies = ["nox>=2024.4.15"]
# ///

"""Common tasks, each in an environment of its own: `pip install nox`, then `nox -s tests`, `nox -l` for the list."""

import nox

nox.needs_version = ">=2024.4.15"
nox.options.default_venv_backend = "uv|virtualenv"


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff and mypy."""
    session.install("-e.", "ruff", "mypy")
    session.run("ruff", "check", ".")
    session.run("mypy")


@nox.session(python=["3.11", "3.12", "3.13", "3.14", "3.15"], default=True)
def tests(session: nox.Session) -> None:
    """What is not slow; `-- ARGUMENTS` go to pytest, as `-- -m slow`."""
    session.install("-e.[test,data]")
    session.run("pytest", "-n", "auto", *session.posargs)


@nox.session(python="3.11", default=False)
def lowest(session: nox.Session) -> None:
    """The same with the lowest declared versions."""
    session.install("-e.[test]", "-c", ".ci/lowest.txt")
    session.run("pytest", "-n", "auto", *session.posargs)


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """The pages, warnings as errors."""
    session.install("-e.[docs]")
    session.run("python", "-m", "sphinx", "-W", "-b", "html", "docs", "docs/_build")


@nox.session(default=False)
def build(session: nox.Session) -> None:
    """Wheel and source archive in dist/."""
    session.install("build", "twine")
    session.run("python", "-m", "build")
    session.run("twine", "check", "--strict", "dist/*")


if __name__ == "__main__":
    nox.main()

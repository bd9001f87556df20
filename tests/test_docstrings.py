"""Docstrings of public names: their examples run, and numpydoc's validator finds nothing but what EXEMPT lists.

`python tests/test_docstrings.py` prints the numbers.
"""

import doctest
import importlib
import inspect
import os
import pkgutil
import re
import sys
import tempfile
from functools import lru_cache
from importlib.util import find_spec

import pytest

import dynsim

FACES = ("dynsim", *(f"dynsim.{name}" for name in ("reduced", "theory", "analysis", "validation", "sweep", "plots", "runs")))
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
NEEDS = {"to_xarray": "xarray", "to_pandas": "pandas"}  # what the examples of a method need beside dynsim

NOT_YET: tuple[str, ...] = ()  # modules that still have to be converted

EXEMPT = {  # faults of the validator that are none here, with the reason
    "GL02": "closing quotes end the line of a docstring of one line (PEP 257)",
    "ES01": "a summary that says all needs no second paragraph",
    "SA01": "pages and sections of the reference put related names side by side",
}
OF_MEMBERS = {  # of methods and properties
    "EX01": "the example of the class calls them",
    "RT01": "the summary of a property says what it is",
}

OF_OVERRIDES = {  # of methods that a base class of dynsim has, too
    "PR01": "the parameters are those of the method of the base class, and documented there",
    "RT01": "so is the result",
}
OF_PROTOCOLS = {
    "PR01": "a protocol is not built: its signature is typing's",
}


def modules():
    """Names of the modules that users import: not the command's, whose text is its help, nor the explorer's page and server,
    which browsers use, nor kernels, which fields call."""
    found = [module.name for module in pkgutil.walk_packages(dynsim.__path__, "dynsim.")]
    return [name for name in found if not re.search(r"\._|\.cli\b|\.kernels\b|\.explore\.(page|server|template)$", name)]


def public(name):
    """Public functions and classes that a module, or a private one of its folder that it offers them from, defines."""
    module = importlib.import_module(name)
    for key, value in list(vars(module).items()):
        if not key.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value)):
            offered = key in getattr(module, "__all__", ()) and value.__module__.startswith(name + "._")
            if value.__module__ == name or offered:
                yield f"{name}.{key}", value


def members(name, cls):
    """Public methods and properties that a class defines itself: dotted name, whether a base class of dynsim has it, too."""
    bases = [base for base in cls.__mro__[1:] if base.__module__.startswith("dynsim")]
    for key, value in vars(cls).items():
        value = getattr(value, "func", value)  # cached properties
        if not key.startswith("_") and (inspect.isroutine(value) or isinstance(value, (property, classmethod, staticmethod))):
            yield f"{name}.{key}", any(key in vars(base) for base in bases)


@lru_cache
def objects():
    """{dotted name: (object, or "member" or "override", module)} of all that is public."""
    found = {}
    for module in modules():
        for name, value in public(module):
            found[name] = value, module
            if inspect.isclass(value):
                for member, is_override in members(name, value):
                    found[member] = "override" if is_override else "member", module
    return found


def is_converted(module):
    return not any(module == name or module.startswith(name + ".") for name in NOT_YET)


CONVERTED = [module for module in modules() if is_converted(module)]


def faults(name, value=None):
    """What the validator finds wrong with the docstring of a dotted name; value: as in objects()."""
    from numpydoc.validate import validate

    fine = [*EXEMPT]
    fine += OF_MEMBERS if isinstance(value, str) else OF_PROTOCOLS if getattr(value, "_is_protocol", False) else ()
    fine += OF_OVERRIDES if value == "override" else ()
    return [f"{code}: {message}" for code, message in validate(name)["errors"] if code not in fine]


def run_examples(name, value):
    """(examples run, what failed) of a function, or of a class and its methods."""
    said, tried = [], 0
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    for test in doctest.DocTestFinder(exclude_empty=True).find(value, name, globs={}):
        if find_spec(NEEDS.get(test.name.rpartition(".")[2], "numpy")) is None:
            continue
        tried += len(test.examples)
        runner.run(test, out=said.append)
    return tried, "".join(said)


def test_every_public_name_is_in_a_public_module():
    """What the faces offer is defined where this test looks, or it would be checked nowhere."""
    known = {id(value) for value, _ in objects().values()}
    for face in FACES:
        module = importlib.import_module(face)
        for key in module.__all__:
            value = getattr(module, key)
            if inspect.isfunction(value) or (inspect.isclass(value) and value.__module__.startswith("dynsim")):
                assert id(value) in known, (face, key)


def test_modules_not_yet_converted_exist():
    assert set(NOT_YET) <= set(modules())


@pytest.mark.parametrize("module", CONVERTED)
def test_examples_run(module, tmp_path, monkeypatch):
    failed = ""
    for name, value in public(module):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        failed += run_examples(name, value)[1]
    assert not failed, failed


@pytest.mark.parametrize("module", CONVERTED)
def test_docstrings_are_complete(module):
    pytest.importorskip("numpydoc")
    found = {name: faults(name, value) for name, (value, home) in objects().items() if home == module}
    assert not any(found.values()), "\n".join(f"{name}: {fault}" for name, wrong in found.items() for fault in wrong)


def test_a_bad_docstring_is_found(monkeypatch):
    """The control: the validator and the doctests must find what is missing or false."""

    def bad(x):
        """Does things

        >>> 1 + 1
        3
        """

    tried, failed = run_examples("bad", bad)
    assert tried == 1 and "Expected" in failed
    pytest.importorskip("numpydoc")
    monkeypatch.setattr(dynsim.errors, "bad", bad, raising=False)
    found = {fault.split(":")[0] for fault in faults("dynsim.errors.bad")}
    assert {"PR01", "SS03"} <= found
    assert "EX01" in {fault.split(":")[0] for fault in faults("dynsim.analysis.scaling._crossing")}


if __name__ == "__main__":
    os.chdir(tempfile.mkdtemp())  # examples write files
    counted = {}
    for name, (value, home) in objects().items():
        wrong = faults(name, value)
        tried = run_examples(name, value)[0] if not isinstance(value, str) and is_converted(home) else 0
        a, b, c = counted.get(home, (0, 0, 0))
        counted[home] = a + 1, b + tried, c + len(wrong)
        if is_converted(home) or "-v" in sys.argv:
            for fault in wrong:
                print(f"{name}: {fault}")
    for home, (a, b, c) in counted.items():
        print(f"{home:32} {a:3} names, {b:3} examples, {c:3} faults{'' if is_converted(home) else '  (not yet)'}")
    done = [count for home, count in counted.items() if is_converted(home)]
    sums = map(sum, zip(*done, strict=True))
    print("converted:", *(f"{number} {what}" for number, what in zip(sums, ("names", "examples", "faults"), strict=True)))

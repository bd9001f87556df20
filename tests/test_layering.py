"""The order of modules: imports, read with ast, point only upward in the list of docs/design.md."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "dynsim"
FREE = ("dynsim", "dynsim.__main__")  # the door: knows names only, and starts the command
LAZY = ("dynsim", "dynsim.reduced", "dynsim.analysis")  # what they import for type checkers alone they load on first use


def listed():
    """Modules and packages in the order of the list, as dotted names; the indent says in which package they lie."""
    block = (ROOT / "docs" / "design.md").read_text(encoding="utf-8").split("```text\n")[1].split("```")[0]
    names, inside = [], []
    for line in block.splitlines()[1:]:
        depth = (len(line) - len(line.lstrip())) // 2 - 1
        inside = inside[:depth]
        for i, word in enumerate(re.findall(r"(?<!\S)\w+(?:\.py|/)(?=[\s:;,]|$)", line)):
            name = word.removesuffix(".py").removesuffix("/")
            if i == 0 and word.endswith("/"):
                inside.append(name)
                names.append(".".join(["dynsim", *inside]))
            else:
                names.append(".".join(["dynsim", *inside, name]))
    return names


def place(module, order):
    """Where a module stands: its own entry, else that of the nearest package around it."""
    while module and module != "dynsim":
        if module in order:
            return order.index(module)
        module = module.rpartition(".")[0]
    return None


@cache
def imports(source, module):
    """Dotted names that a module's source imports, anywhere in it; `from a import b` is a.b where that is a module, else a."""
    names = []
    tree = ast.parse(source)
    if module in LAZY:
        tree.body = [node for node in tree.body if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            names += [name if is_module(name) else node.module for name in full]
    return names


@cache
def is_module(name):
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def sources():
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found[name] = path.read_text(encoding="utf-8")
    return found


def wrong(code, order):
    """What breaks the order, in words."""
    found = []
    for module, source in code.items():
        at = place(module, order)
        if at is None and module not in FREE:
            found.append(f"{module} is not on the list")
        for name in imports(source, module):
            root = name.split(".")[0]
            if root == "matplotlib" and not module.startswith("dynsim.plots"):
                found.append(f"{module} imports {name}")
            if root in ("bokeh", "tornado") and not module.startswith("dynsim.explore."):
                found.append(f"{module} imports {name}")
            if root == "numba" and not module.startswith("dynsim.reduced.kernels."):
                found.append(f"{module} imports {name}")
            if module.startswith("dynsim.full") and name.startswith("dynsim.reduced"):
                found.append(f"{module} imports {name}")
            own = name.startswith(module + ".")  # what a package shows of its own parts
            if name in code and name not in FREE and module not in FREE and at is not None and not own:
                there = place(name, order)
                if there is not None and there > at:
                    found.append(f"{module} imports {name}, which stands below it")
    return found


def circles(code):
    """Modules that import themselves by way of others (those of one entry of the list have no order among them)."""
    edges = {module: {name for name in imports(source, module) if name in code} for module, source in code.items()}
    done, path = set(), []

    def visit(module):
        if module in path:
            return path[path.index(module) :]
        if module not in done:
            path.append(module)
            found = next(filter(None, map(visit, sorted(edges[module]))), None)
            path.pop()
            done.add(module)
            return found
        return None

    return next(filter(None, map(visit, sorted(edges))), None)


def test_the_list_is_read():
    order = listed()
    first = ["errors", "trajectory", "processes", "writing", "model"]
    assert order[:5] == [f"dynsim.{name}" for name in first] and order[-1] == "dynsim.cli"
    chain = ["model.problem", "reduced.kernels.closure", "reduced.empirical", "reduced.gradient_flow", "full", "plots"]
    places = [order.index(f"dynsim.{name}") for name in chain]
    assert places == sorted(places)
    for name in order:
        path = ROOT / name.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").is_file(), f"{name} is on the list but does not exist"


def test_imports_point_upward():
    assert wrong(sources(), listed()) == []


def test_no_circles():
    assert circles(sources()) is None


@pytest.mark.parametrize(
    "module, line",
    [
        ("dynsim.model.problem", "from dynsim.model.partition import Partition"),
        ("dynsim.model.dataset", "import dynsim.full"),
        ("dynsim.trajectory", "def late():\n    from dynsim.runs import files"),
        ("dynsim.full", "from dynsim.reduced import optimisers"),
        ("dynsim.reduced.empirical", "from dynsim.reduced import gradient_flow"),
        ("dynsim.reduced.kernels.reconstruction", "from dynsim.reduced.empirical import EmpiricalField"),
        ("dynsim.reduced.gradient_flow", "import dynsim.validation"),
        ("dynsim.theory", "import matplotlib.pyplot as plt"),
        ("dynsim.cli.explore", "import bokeh.server"),
        ("dynsim.full", "from numba import njit"),
        ("dynsim.reduced.empirical", "from numba import njit"),
        ("dynsim.unheard_of", ""),
    ],
)
def test_what_breaks_the_order_is_seen(module, line):
    code = sources()
    before = wrong(code, listed())
    code[module] = code.get(module, "") + "\n" + line + "\n"
    after = wrong(code, listed())
    assert len(after) > len(before) and module in set(after).difference(before).pop()


def test_circles_are_seen():
    code = sources()
    code["dynsim.validation._comparison"] += "\nfrom dynsim.validation import _exact\n"
    assert {"dynsim.validation._comparison", "dynsim.validation._exact"} <= set(circles(code))


def loaded(statement):
    """Top-level packages in memory after a statement in a fresh interpreter."""
    code = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split())


def test_import_is_light():
    assert not {"numpy", "scipy", "numba", "matplotlib", "rich"} & loaded("import dynsim")
    assert not {"numba", "matplotlib"} & loaded("import dynsim.cli; dynsim.cli.build_parser()")
    assert not {"numba", "matplotlib"} & loaded("import dynsim; dynsim.Problem, dynsim.sample, dynsim.full")
    assert not {"numba", "scipy"} & loaded("import dynsim; dynsim.reduced.EmpiricalField, dynsim.reduced.OrbitField")
    assert "numba" in loaded("import dynsim; dynsim.reduced.OrbitField(dynsim.Problem())")  # control

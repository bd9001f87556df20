"""What is installed is what is declared: metadata, the lazy package, and no more than the package."""

import ast
import configparser
import importlib
import inspect
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import dynsim
from dynsim import cite

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def declared():
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def test_the_installed_metadata_is_that_of_setup_cfg(declared):
    installed = metadata.metadata("dynsim")
    assert installed["Version"] == dynsim.__version__
    assert installed["Summary"] == declared["metadata"]["description"]
    assert set(installed.get_all("Provides-Extra")) == set(declared["options.extras_require"])
    required = {line.split(";")[0].strip() for line in metadata.requires("dynsim") if "extra ==" not in line}
    assert {line.replace(" ", "") for line in required} == set(declared["options"]["install_requires"].split())
    (script,) = metadata.entry_points(group="console_scripts", name="dynsim")
    assert script.value == "dynsim.cli:main"


def test_every_place_gives_the_same_version():
    assert f"version: {dynsim.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## {dynsim.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert dynsim.__version__ in cite.text()


def test_the_readme_has_the_two_commands_verbatim():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert "    python -m pip install . && dynsim simulate --K 4 --gamma 0.8" in lines
    assert "    python -m pip install '.[test]' && python -m pytest -n auto" in lines


def test_import_loads_only_the_standard_library():
    code = "import sys, dynsim; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "dynsim" in loaded and not loaded & {"numpy", "scipy", "numba", "matplotlib", "rich", "joblib", "xarray", "dask"}


def test_public_names_exist_and_no_others():
    assert set(dynsim.__all__) <= set(dir(dynsim))
    for name in dynsim.__all__:
        assert getattr(dynsim, name) is getattr(dynsim, name)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        dynsim.nonsense  # noqa: B018


@pytest.mark.parametrize("door", ["dynsim", "dynsim.reduced"])
def test_type_checkers_see_the_names_that_are_loaded_on_first_use(door):
    module = importlib.import_module(door)
    (block,) = [node for node in ast.parse(inspect.getsource(module)).body if isinstance(node, ast.If)]
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    home = {name: place if place.startswith("dynsim.") else f"{door}.{place}" for name, place in module._HOME.items()}
    defined = {name for name in module.__all__ if getattr(vars(module).get(name), "__module__", None) == door or name.isupper()}
    assert seen == {name: home.get(name, door) for name in module.__all__ if name not in defined}


def public():
    """Every function and method that is reached from `dynsim.__all__`, by name; those of classes that it names, too."""
    found, waiting = {}, [getattr(dynsim, name) for name in dynsim.__all__]
    while waiting:
        one = waiting.pop()
        if inspect.ismodule(one):
            names = [name for name in (one.__all__ if one.__name__ == "dynsim.reduced" else vars(one)) if name[0] != "_"]
            waiting += [value for value in (getattr(one, name) for name in names) if not inspect.ismodule(value)]
        elif not getattr(one, "__module__", "").startswith("dynsim."):
            continue
        elif inspect.isclass(one):
            found |= {f"{one.__module__}.{one.__qualname__}.{name}": method for name, method in methods(one)}
            waiting += one.__bases__
        elif inspect.isfunction(one):
            found[f"{one.__module__}.{one.__qualname__}"] = one
    return found


def methods(one):
    """(name, function) of what a class defines itself: its constructor, public methods, properties."""
    for name, value in vars(one).items():
        for inside in ("__func__", "fget", "func"):  # of a class method, a property, a cached one
            value = getattr(value, inside, value)
        if inspect.isfunction(value) and (name[0] != "_" or name == "__init__" and not hasattr(one, "_is_protocol")):
            yield name, value


def bare(function):
    """What of a function has no annotation: names of its parameters, "return"."""
    signature = inspect.signature(function)
    named = {name: each.annotation for name, each in signature.parameters.items() if name not in ("self", "cls")}
    return [name for name, hint in {**named, "return": signature.return_annotation}.items() if hint is inspect.Signature.empty]


def test_everything_public_has_type_hints():
    found = public()
    assert len(found) > 100 and {"dynsim.model.partition.Partition.blocks", "dynsim.model.embedding.Embedding.keys"} <= set(found)
    assert {name: bare(function) for name, function in found.items() if bare(function)} == {}
    assert bare(lambda x, *y, z=0: x) == ["x", "y", "z", "return"]  # control


def test_what_is_installed_is_the_package_alone():
    listed = [[str(path) for path in one.files or ()] for one in metadata.distributions(name="dynsim")]
    files = next((files for files in listed if any(path.endswith(".dist-info/RECORD") for path in files)), [])
    if "dynsim/__init__.py" not in files:
        pytest.skip("installed in place")
    kept = [path for path in files if "__pycache__" not in path and not path.endswith("/bin/dynsim")]
    assert {path.split("/")[0] for path in kept} == {"dynsim", f"dynsim-{dynsim.__version__}.dist-info"}
    assert all(path.endswith((".py", "/py.typed")) for path in kept if path.startswith("dynsim/"))


@pytest.mark.slow
def test_wheel_and_sdist_hold_what_they_should(tmp_path):
    import tarfile
    import zipfile

    copy = tmp_path / "copy"
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if names.returncode != 0 or not (ROOT / "dynsim").is_dir():
        pytest.skip("needs a git checkout")
    for name in names.stdout.splitlines():
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-c", "import sys; from setuptools import build_meta as b; b.build_wheel('.'); b.build_sdist('.')"]
    done = subprocess.run(build, cwd=copy, capture_output=True, text=True)
    if any(text in done.stderr for text in ("No module named 'setuptools'", "invalid command 'bdist_wheel'")):
        pytest.skip("needs setuptools, before its version 70.1 also wheel")
    assert done.returncode == 0, done.stderr
    (wheel,), (sdist,) = copy.glob("*.whl"), copy.glob("*.tar.gz")
    inside = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in inside} == {"dynsim", f"dynsim-{dynsim.__version__}.dist-info"}
    assert all(name.endswith((".py", "/py.typed")) for name in inside if name.startswith("dynsim/"))
    assert "dynsim/cli/__init__.py" in inside and "dynsim/reduced/kernels/reconstruction.py" in inside
    held = {name.split("/", 1)[1] for name in tarfile.open(sdist).getnames() if "/" in name}
    assert "dynsim/py.typed" in inside and "dynsim/py.typed" in held
    wanted = {"tests/cli/test_cli.py", "docs/model.md", "scripts/benchmark.py", "CITATION.cff", "LICENSE", ".ci/run"}
    wanted |= {".ci/lowest", ".ci/lowest.txt", ".github/workflows/ci.yml", "conda/meta.yaml", "noxfile.py", "paper.md"}
    assert wanted <= held, wanted - held

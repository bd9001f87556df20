"""Every figure script runs from an empty folder in --quick mode, writes its PNG and PDF, and can be read alone.

The time is that of the processor (a script and its workers), which other work on the machine does not change much.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parent.parent / "scripts").glob("figure_*.py"))
LONGEST = 20.0  # seconds, compilation included


def run(script, folder, *options):
    """Run a script in an empty folder, single-threaded: (its result, processor seconds)."""
    resource = pytest.importorskip("resource")
    root = str(Path(__file__).parent.parent)
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, str(script), *options]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_quick(script, tmp_path):
    done, seconds = run(script, tmp_path, "--quick")
    assert done.returncode == 0, done.stderr
    name = script.stem.removeprefix("figure_")
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert done.stdout.strip(), "a script prints what it measured"
    assert "nan" not in done.stdout
    assert seconds < LONGEST


@pytest.mark.slow
def test_all_by_one_command(tmp_path):
    every = SCRIPTS[0].parent / "figures.py"
    done, _ = run(every, tmp_path, "--quick", "--only", "questions", "--out", "made/here")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "made/here").iterdir()) == ["questions.pdf", "questions.png"]
    missing, _ = run(every, tmp_path, "--only", "nothing")
    assert missing.returncode == 2 and "questions" in missing.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_reads_alone(script):
    """Nothing is imported but the standard library, numpy, matplotlib and dynsim; no name of dynsim that starts with _."""
    tree = ast.parse(script.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            top = name.split(".")[0]
            assert top in ("dynsim", "numpy", "matplotlib") or top in sys.stdlib_module_names, name
            assert not any(part.startswith("_") for part in name.split(".")), name
    assert ast.get_docstring(tree)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_has_a_title_for_the_gallery(script):
    """A page of the gallery begins with the docstring: a title, underlined, then text; the page runs it without __doc__."""
    tree = ast.parse(script.read_text(encoding="utf-8"))
    title, line, empty, text = ast.get_docstring(tree).splitlines()[:4]
    assert line == "=" * len(title) and not empty and text
    assert "__doc__" not in {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}

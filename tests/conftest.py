"""What the test files share: small problems, and property tests that draw the same examples every time."""

import os
import signal
import subprocess
import sys
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # several test processes: their BLAS threads would wait for each other
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import settings

import dynsim

settings.register_profile("dynsim", derandomize=True, deadline=None, max_examples=40)
settings.load_profile("dynsim")
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell runs the tests in the background, and handed on


@pytest.fixture(scope="session")
def problem():
    """P = 18 with uneven local areas (8 + 4 + 3 + 3), three clusters, random amplitudes."""
    return dynsim.Problem(K=3, gamma=0.6, P=18, kappa_c=0.7, kappa_s=0.4)


@pytest.fixture(scope="session")
def part(problem):
    return dynsim.Partition.random(problem, seed=1)


@pytest.fixture(scope="session")
def data(problem, part):
    return dynsim.sample(problem, part, n=20, seed=2)


@pytest.fixture
def correlations(part):
    """FP (P, F) and PP (P, P) of no particular shape, of order one."""
    rng = np.random.default_rng(3)
    return rng.normal(size=(part.P, part.F)), rng.normal(size=(part.P, part.P))


@pytest.fixture(scope="session")
def pages(tmp_path_factory):
    """The folder of the built pages; they must build without a warning. Skipped where the extra `docs` is not installed."""
    for module in ("sphinx", "myst_parser", "furo", "numpydoc", "sphinx_design", "sphinx_copybutton", "sphinx_gallery"):
        pytest.importorskip(module)
    folder = tmp_path_factory.mktemp("pages")
    root = Path(__file__).parents[1]
    build = ["-q", "-W", "--keep-going", "-b", "html", "-d", folder / "trees", root / "docs", folder / "html"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))}
    done = subprocess.run([sys.executable, "-m", "sphinx", *build], capture_output=True, text=True, cwd=folder, env=env)
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """A real browser; skipped where there is none."""
    import browsing

    with browsing.chromium(tmp_path_factory.mktemp("profile")) as context:
        yield context

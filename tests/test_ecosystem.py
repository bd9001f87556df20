"""What is said in several places is the same: versions of Python and packages, references of the paper, pinned actions."""

import configparser
import re
from pathlib import Path

import pytest

from dynsim import cite

ROOT = Path(__file__).parents[1]


def text(path):
    return (ROOT / path).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def declared():
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def lowest(requirements):
    """{package: lowest version} of lines like numpy>=1.24."""
    return dict(re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", line).groups() for line in requirements.split())


def same(a, b):
    """Whether 1.24 and 1.24.0 are one version."""
    return re.sub(r"(\.0)+$", "", a) == re.sub(r"(\.0)+$", "", b)


def test_lowest_versions_are_those_declared(declared):
    need = lowest(declared["options"]["install_requires"]) | lowest(declared["options.extras_require"]["test"])
    pinned = dict(re.findall(r"^([\w-]+)==([\d.]+)$", text(".ci/lowest.txt"), re.M))
    assert set(need) <= set(pinned) and all(same(need[name], pinned[name]) for name in need)
    assert not same("1.24", "1.25.0") and same("13", "13.0.0")  # control


def test_the_recipe_for_conda_has_the_same_versions(declared):
    block = text("conda/meta.yaml").split("  run:\n")[1].split("\ntest:")[0]
    found = {name.removesuffix("-base"): version for name, version in re.findall(r"- ([\w-]+) >=([\d.]+)", block)}
    need = lowest(declared["options"]["install_requires"])
    assert found == {**need, "python": declared["options"]["python_requires"].removeprefix(">=")}


def test_one_range_of_pythons(declared):
    oldest = declared["options"]["python_requires"].removeprefix(">=")
    versions = re.findall(r":: (3\.\d+)$", declared["metadata"]["classifiers"], re.M)
    assert versions == [f"3.{minor}" for minor in range(int(oldest[2:]), int(oldest[2:]) + len(versions))]
    assert f'python: ["{oldest}", "{versions[-1]}"]' in text(".github/workflows/ci.yml")
    assert f'target-version = "py{oldest.replace(".", "")}"' in text("ruff.toml")
    assert re.search(r"nox.session\(python=\[(.*?)\]", text("noxfile.py"))[1] == ", ".join(f'"{v}"' for v in versions)
    for page in ("README.md", "docs/usage.md", "docs/index.md"):
        assert f"Python {oldest} or later" in text(page)


def test_actions_are_pinned_and_may_do_no_more_than_they_need():
    for path in sorted((ROOT / ".github" / "workflows").glob("*.yml")):
        used = re.findall(r"uses: (\S+)(.*)", path.read_text(encoding="utf-8"))
        assert used and all(re.search(r"@[0-9a-f]{40}$", action) and re.match(r" # v\d", what) for action, what in used), path
        assert "permissions:\n  contents: read\n" in path.read_text(encoding="utf-8")
        assert "password" not in path.read_text(encoding="utf-8")


def test_references_of_the_paper_are_there():
    paper, bib = text("paper.md"), text("paper.bib")
    cited = set(re.findall(r"@(\w+)", paper.split("---")[2]))
    assert len(cited) > 8 and cited <= set(re.findall(r"^@\w+\{(\w+),", bib, re.M))
    assert bib.startswith(cite.bibtex().strip())  # the entries of `dynsim cite --bibtex`, then other software
    wanted = ["Summary", "Statement of need", "State of the field", "Software design", "Research impact statement"]
    assert re.findall(r"^# (.*)$", paper, re.M)[:5] == wanted


def test_addresses_agree(declared):
    home = declared["metadata"]["url"]
    assert f"repository-code: {home}\n" in text("CITATION.cff") and f"home: {home}\n" in text("conda/meta.yaml")
    for page in ("SUPPORT.md", "SECURITY.md"):
        assert home in text(page)
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text(page)):
            assert (ROOT / target).exists(), target

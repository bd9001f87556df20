"""Moving pictures show the run's own attention, and are written as one file that needs nothing else."""

import re
import sys

import numpy as np
import pytest
from matplotlib.animation import FFMpegWriter

import dynsim
from dynsim import plots, reduced, theory
from dynsim.analysis import attention

movies = sys.modules[plots.movie.__module__]  # `plots.movie` is the function


@pytest.fixture(scope="module")
def run(problem, part, data):
    return reduced.descend(reduced.EmpiricalField(part, data), eta=2, steps=30, keep=10)


@pytest.fixture(scope="module")
def orbit():
    problem = dynsim.Problem(K=2, gamma=0.75, P=1e6)
    return problem, reduced.flow(reduced.OrbitField(problem), t_end=30 * theory.escape_time(problem), keep=6)


def test_maps_are_those_of_the_images(problem, part, data, run):
    made = plots.movie(run, problem, part, data, queries=[3, 7], cluster=1)
    one = dynsim.Dataset(np.ones(data.n, dtype=int), data.z, data.masked)
    for number, at in ((0, 0), (2, 2), (3, 3)):
        drawn = [ax.images[0].get_array() for ax in plots.frame(made, number).axes if ax.images]
        wanted = attention.attention_map(part, run.fp[at], run.pp[at], one)
        assert len(drawn) == 2
        for picture, query in zip(drawn, (3, 7), strict=True):
            assert np.array_equal(np.ravel(picture), wanted[query])
    assert not np.array_equal(np.ravel(drawn[0]), attention.attention_map(part, run.fp[0], run.pp[0], one)[3])  # control


def test_bars_are_the_attention_of_orbits(orbit):
    problem, run = orbit
    made = plots.movie(run, problem, frames=100)
    for at in (0, len(run) - 1):
        heights = [bar.get_height() for bar in plots.frame(made, at).axes[0].patches]
        assert heights[0] == pytest.approx(run.attention[at, :, 0].mean(), abs=1e-12)  # of own areas
        assert sum(heights) == pytest.approx(1, abs=1e-12)


def test_frames_are_spread_over_the_run(orbit):
    problem, run = orbit
    made = plots.movie(run, problem, frames=3)
    cursor = [line for line in plots.frame(made, 1).axes[1].lines if line.get_color() == plots.RED][-1]
    assert cursor.get_xdata()[0] == run.t[np.linspace(0, len(run) - 1, 3).round().astype(int)[1]]


def test_a_page_is_one_file_of_repeating_bytes(orbit, tmp_path):
    problem, run = orbit
    for name in ("a.html", "b.html"):
        made = plots.movie(run, problem, frames=3)
        plots.save_movie(made, tmp_path / name)
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert page == (tmp_path / "b.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 3
    assert not re.findall(r"""(?:src|href)=["'](?!data:)[^"']""", page) and "http" not in re.sub(r'"data:[^"]*"', "", page)
    assert len(page) < movies.LARGEST and page.startswith("<!DOCTYPE html>")


def test_gif_and_mp4(orbit, tmp_path):
    problem, run = orbit
    made = plots.movie(run, problem, frames=2)
    plots.save_movie(made, tmp_path / "a.gif")
    assert (tmp_path / "a.gif").read_bytes().startswith(b"GIF8")
    if FFMpegWriter.isAvailable():
        plots.save_movie(made, tmp_path / "a.mp4")
        assert b"ftyp" in (tmp_path / "a.mp4").read_bytes()[:16]


def test_coarser_where_it_would_be_too_large(orbit, tmp_path, monkeypatch):
    problem, run = orbit
    made = plots.movie(run, problem, frames=2)
    plots.save_movie(made, tmp_path / "fine.html")
    size = (tmp_path / "fine.html").stat().st_size
    monkeypatch.setattr(movies, "LARGEST", size - 1)
    plots.save_movie(made, tmp_path / "coarse.html")
    assert (tmp_path / "coarse.html").stat().st_size < size
    monkeypatch.setattr(movies, "LARGEST", 1000)
    with pytest.raises(dynsim.InputError, match="fewer frames"):
        plots.save_movie(made, tmp_path / "none.html")


def test_what_a_user_can_get_wrong(problem, part, data, run, orbit, tmp_path, monkeypatch):
    made = plots.movie(*reversed(orbit), frames=2)
    monkeypatch.setattr(FFMpegWriter, "isAvailable", classmethod(lambda cls: False))
    wrong = [
        lambda: plots.movie(run),
        lambda: plots.movie(run, problem, part, data, queries=[18]),
        lambda: plots.movie(run, problem, part, data, queries=[]),
        lambda: plots.movie(run, problem, part, data, cluster=3),
        lambda: plots.movie(run, problem, part, data, frames=1),
        lambda: plots.save_movie(made, tmp_path / "a.avi"),
        lambda: plots.save_movie(made, tmp_path / "a.html", fps=0),
        lambda: plots.save_movie(made, tmp_path / "a.mp4"),
    ]
    for each in wrong:
        with pytest.raises(dynsim.InputError, match=r"got .*: (take|give|keep|name|write)|keep more"):
            each()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_page_opened_from_disk_plays(chromium, orbit, tmp_path):
    from browsing import Watched

    problem, run = orbit
    plots.save_movie(plots.movie(run, problem), tmp_path / "run.html")
    watched = Watched(chromium)
    page = watched.page
    page.goto((tmp_path / "run.html").as_uri())
    picture = page.locator("img").first
    page.wait_for_function("document.querySelector('img').src.startsWith('data:image/png')")
    first = picture.get_attribute("src")
    page.locator("button[title='Play']").click()
    page.wait_for_function("first => document.querySelector('img').src !== first", arg=first)
    page.locator("button[title='Pause']").click()
    page.wait_for_timeout(300)
    still = picture.get_attribute("src")
    page.wait_for_timeout(500)
    assert picture.get_attribute("src") == still
    page.locator("button[title='Next frame']").click()
    page.wait_for_function("still => document.querySelector('img').src !== still", arg=still)
    shown = "element => getComputedStyle(element, '::before').content"
    assert all(icon.evaluate(shown) not in ("none", "normal") for icon in page.locator("button i").all())
    assert watched.complaints == [] and watched.left == [] and watched.failed == []
    page.close()

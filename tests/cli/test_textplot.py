"""Plots of characters: what is drawn where, in any terminal."""

import io
import re

import pytest

import dynsim
from dynsim import reduced, theory
from dynsim.cli._textplot import text_plot

pytest.importorskip("uniplot")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # uniplot's own


@pytest.fixture(scope="module")
def runs():
    problem = dynsim.Problem(K=2, gamma=0.75, P=1e6)
    end = 30 * theory.escape_time(problem)
    return [reduced.flow(reduced.OrbitField(problem, query), t_end=end, keep=40) for query in ("LL", "GG")]


def rows_of(text, mark):
    """Heights (from the top) at which a mark stands, by column, within the frame of a plot."""
    found = {}
    for height, line in enumerate(line for line in text.splitlines() if line.startswith(("│", "|"))):
        for column, character in enumerate(line[1 : 1 + 60]):
            if character == mark:
                found.setdefault(column, []).append(height)
    return found


def test_loss_falls_and_attention_rises(runs):
    text = text_plot(runs, width=60)
    loss, attention = text.split("\n\n")
    assert loss.startswith("loss per masked patch: o LL, 1 GG") and "attention of LL: o own, g global" in attention
    own, masked, losses = rows_of(attention, "o"), rows_of(attention, "m"), rows_of(loss, "o")
    assert min(own[max(own)]) < min(own[min(own)])  # higher up at the end
    assert max(masked[max(masked)]) > max(masked[min(masked)]) and max(losses[max(losses)]) > max(losses[min(losses)])
    assert "time t = eta x step" in text and "\x1b" not in text


def test_a_run_on_a_partition(problem, part, data):
    run = reduced.descend(reduced.EmpiricalField(part, data), eta=2, steps=30, keep=5)
    assert len(text_plot(run, width=40).split("\n\n")) == 2


@pytest.mark.parametrize("columns", ["25", "80", "300"])
def test_it_fits_the_terminal(runs, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    widest = max(map(len, text_plot(runs[0]).splitlines()[1:3]))
    assert widest <= max(int(columns), 40) and widest <= 90


def test_a_terminal_of_ascii(runs, monkeypatch):
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    text = text_plot(runs[0], width=40)
    assert text.isascii() and re.search(r"^\+-+\+", text, re.M)


def test_what_a_user_can_get_wrong(runs, monkeypatch):
    short = reduced.descend(reduced.OrbitField(dynsim.Problem(K=1, P=1e6)), eta=1.0, steps=1)
    with pytest.raises(dynsim.InputError, match="at least 2 saved times"):
        text_plot(short)
    monkeypatch.setitem(__import__("sys").modules, "uniplot", None)
    with pytest.raises(dynsim.InputError, match="pip install"):
        text_plot(runs[0])


def test_a_run_that_cannot_be_drawn_is_reported_all_the_same(capsys):
    from dynsim.cli import main

    assert main("simulate --K 1 --P 16 --method samples --n 3 --steps 0 --plot".split()) == 0
    out, err = capsys.readouterr()
    assert "loss" in out and err.startswith("dynsim: no plot: a plot needs at least 2 saved times") and err.count("\n") == 1

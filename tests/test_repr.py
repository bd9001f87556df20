"""Results show themselves: sizes and what was run, in at most five short lines, never arrays."""

import numpy as np
import pytest

import dynsim
from dynsim import validation
from dynsim.model.amplitude import Law


class Rough(Law):
    """A law of the user's own, whose repr is an array."""

    L, U = 0.5, 1.5

    def __repr__(self):
        return repr(np.linspace(0.5, 1.5, 100))


def check(thing, *wanted):
    """The repr, once it is short and holds what is wanted."""
    text = repr(thing)
    lines = text.splitlines()
    assert 1 <= len(lines) <= 5 and max(map(len, lines)) <= 130, text
    assert "array(" not in text and "[[" not in text, text
    for piece in wanted:
        assert piece in text, text
    return text


@pytest.mark.parametrize("P", [4, 196, 2**53, 1e30, 1e100])
def test_problem(P):
    problem = dynsim.Problem(K=2, gamma=0.5, P=P, kappa_c=0.6)
    check(problem, f"P={problem.P:.6g}", "K=2", "Delta", f"{problem.masked:.6g} of")


def test_problem_of_a_long_law():
    check(dynsim.Problem(amplitude=dynsim.Discrete(np.linspace(0.5, 1.5, 200))), "<Discrete on [0.5, 1.5]>")
    check(dynsim.Problem(amplitude=Rough()), "<Rough on [0.5, 1.5]>")


def test_partition():
    problem = dynsim.Problem(K=3, gamma=0.8, P=196)
    check(dynsim.Partition.blocks(problem), "K=3", "P=196", "14 x 14", "F=33", "116 patches", "local ones of 8")
    uneven = check(dynsim.Partition([[0, 0, 0, 1, 2, 2], [0, 0, 0, 0, 0, 0]]), "1 to 3 areas", "3 to 6 patches", "1 to 2")
    assert "local" in uneven and "local" not in repr(dynsim.Partition([[0, 0]]))


def test_embedding():
    part = dynsim.Partition.blocks(dynsim.Problem(K=2, gamma=0.75, P=16))
    vectors = dynsim.Embedding.random(part, d=8, seed=3)
    check(vectors, "16 positions", "4 features", "R^8", "no mask token", "random, seed=3")
    check(vectors.with_token(np.full(8, 0.5), "token"), "norm 1.41", '"token"')
    check(dynsim.Embedding(vectors.E, vectors.V, origin={"kind": "mine", "note": "x" * 500}), "mine")
    check(dynsim.Embedding(vectors.E, vectors.V, origin={}))


def test_comparison():
    problem = dynsim.Problem(K=2, gamma=0.75, P=16)
    found = validation.exact(problem, n=8, steps=5)
    assert found.passed
    check(found, "Comparison: passed", "fp", "pp", "loss", "attention", "bound 1e-12")
    part = dynsim.Partition.blocks(problem)
    fields = [dynsim.reduced.EmpiricalField(part, dynsim.sample(problem, part, 8, seed)) for seed in (0, 1)]
    a, b = (dynsim.reduced.descend(field, steps=5) for field in fields)
    check(validation.compare(a, b), "Comparison: failed", "fp: FAILED")  # control


def test_report():
    row = validation.Row("exact", "P=16", "fp", 1e-14, 1e-12, True)
    bad = validation.Row("statistical", "P=14", "z of fp", 9.0, 5.0, False)
    check(validation.Report((row,), True, 0), "Report: passed", "1 of 1", "quick", "seed 0", "exact 1", "P=16: fp")
    check(validation.Report((row, bad) * 40, False, 1), "Report: failed", "40 of 80", "statistical 40", "P=14: z of fp")
    check(validation.Report((), True, 0), "0 of 0")


def test_pairs_and_images():
    problem = dynsim.Problem(K=2, gamma=0.75, P=16)
    check(dynsim.sample_pairs(problem, dynsim.Partition.blocks(problem), n=8), "n=8 images", "P=16 patches", "0.75 of")
    pictures = np.random.default_rng(0).random((5, 8, 8))
    check(dynsim.Images.cut(pictures, patch=2, gamma=0.5), "5 pictures", "P=16", "4 x 4", "0.5 of")

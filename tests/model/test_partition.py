"""Partition: areas cover the patches, blocks are compact, products intersect as if independent, bad tables are named."""

from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dynsim import InputError, Partition, Problem

MAKERS = {"blocks": Partition.blocks, "random": Partition.random}


@given(
    P=st.integers(2, 400), K=st.integers(1, 5), kappa_c=st.floats(0, 0.95), kappa_s=st.floats(0, 0.95), seed=st.integers(0, 99)
)
def test_areas_cover_the_patches(P, K, kappa_c, kappa_s, seed):
    try:
        problem = Problem(K=K, gamma=0.5, P=P, kappa_c=kappa_c, kappa_s=kappa_s)
    except InputError:
        assume(False)
    for make in MAKERS.values():
        part = make(problem, seed=seed)
        assert (part.K, part.P, part.F) == (K, P, K * problem.N)
        for row in part.labels:
            np.testing.assert_array_equal(np.bincount(row), problem.sizes())
        np.testing.assert_array_equal(part.own, part.labels + np.arange(K)[:, None] * problem.N)
        np.testing.assert_array_equal(np.bincount(part.own.ravel()), part.size)
        assert part.grid[0] * part.grid[1] == P and part.offset[-1] == part.F


def test_uneven_areas():
    """P = 37: one global area of 18, three local ones of 7, 6 and 6."""
    part = Partition.blocks(Problem(K=2, P=37, kappa_c=0.8, kappa_s=0.5))
    np.testing.assert_array_equal(part.size, [18, 7, 6, 6] * 2)
    assert part.grid == (1, 37)


def test_clusters_may_differ_in_their_number_of_areas():
    part = Partition([[0, 1, 1, 0, 2, 2], [0, 0, 0, 0, 0, 1]])
    np.testing.assert_array_equal(part.N, [3, 2])
    np.testing.assert_array_equal(part.offset, [0, 3, 5])
    np.testing.assert_array_equal(part.own, [[0, 1, 1, 0, 2, 2], [3, 3, 3, 3, 3, 4]])
    np.testing.assert_array_equal(part.size, [2, 2, 2, 5, 1])
    assert part.grid == (2, 3) and Partition(part.labels, grid=(3, 2)).grid == (3, 2)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_seed_makes_the_partition(make):
    problem = Problem(K=3, P=64)
    a, b, c = make(problem, seed=1), make(problem, seed=1), make(problem, seed=2)
    np.testing.assert_array_equal(a.labels, b.labels)
    assert (a.labels != c.labels).any()
    assert all((a.labels[0] != row).any() for row in a.labels[1:])  # each cluster is cut anew


def connected(patches, grid):
    """Whether the patches hang together, side by side or by a corner (cuts through the middle of a row leave such)."""
    todo, left = [patches[0]], set(patches[1:])
    while todo:
        row, column = divmod(todo.pop(), grid[1])
        for r, c in product((row - 1, row, row + 1), (column - 1, column, column + 1)):
            if 0 <= r < grid[0] and 0 <= c < grid[1] and r * grid[1] + c in left:
                left.remove(r * grid[1] + c)
                todo.append(r * grid[1] + c)
    return not left


def spread(part):
    """Mean squared distance of the patches of an area from its centre, over that of a square of as many patches."""
    place = np.stack(np.divmod(np.arange(part.P), part.grid[1]), axis=1)
    values = [place[row == m].var(axis=0).sum() / (size / 6) for row in part.labels for m, size in enumerate(np.bincount(row))]
    return np.mean(values)


@pytest.mark.parametrize("P, kappa_c, kappa_s", [(196, 0.9, 0.4), (64, 0.7, 0.5), (256, 0.5, 0.5), (90, 0.8, 0.6)])
def test_blocks_are_compact(P, kappa_c, kappa_s):
    problem = Problem(K=4, P=P, kappa_c=kappa_c, kappa_s=kappa_s)
    scattered = spread(Partition.random(problem, seed=0))
    for seed in range(5):
        part = Partition.blocks(problem, seed)
        assert all(connected(np.flatnonzero(row == m), part.grid) for row in part.labels for m in range(problem.N))
        assert spread(part) < 2  # a rectangle 3 : 1 has 10/6 of a square's
    assert scattered > 4  # control: the measure tells blocks from scattered areas


def test_random_areas_intersect_as_if_independent_on_average():
    """E[patches in area a of one cluster and b of another] = C_a C_b / P; five standard errors over 300 draws."""
    problem = Problem(K=2, P=60, kappa_c=0.8, kappa_s=0.5)
    parts = [Partition.random(problem, seed) for seed in range(300)]
    both = np.array([[np.sum((p.labels[0] == a) & (p.labels[1] == b)) for a in (0, 1) for b in (0, 1)] for p in parts])
    size = problem.sizes()[:2]
    error = both.std(axis=0) / np.sqrt(len(parts))
    assert (np.abs(both.mean(axis=0) - np.outer(size, size).ravel() / 60) <= 5 * error).all()


@pytest.mark.parametrize(
    "K, P, kappa_c, kappa_s",
    [(1, 16, 0.75, 0.5), (2, 64, 0.5, 0.5), (2, 256, 0.875, 0.5), (3, 64, 0.834, 2 / 3), (2, 32, 0.8, 0.6)],
)
def test_product_areas_intersect_as_if_independent(K, P, kappa_c, kappa_s):
    problem = Problem(K=K, P=P, kappa_c=kappa_c, kappa_s=kappa_s)
    part = Partition.product(problem)
    assert (part.K, part.P) == (K, P)
    for row in part.labels:
        np.testing.assert_array_equal(np.bincount(row), problem.sizes())
    for k in range(K):
        for j in range(k):
            both = np.zeros((problem.N, problem.N), dtype=int)
            np.add.at(both, (part.labels[k], part.labels[j]), 1)
            np.testing.assert_array_equal(both * P, np.outer(problem.sizes(), problem.sizes()))


def test_product_says_what_it_needs():
    with pytest.raises(InputError, match=r"n\^K dividing P, got P=196, K=4, areas of 116 and 8: take e.g. P = n\^K"):
        Partition.product(Problem())
    Partition.product(Problem(K=4, P=3**4, kappa_c=0.75, kappa_s=0.75))  # the remedy works


def test_is_a_frozen_copy():
    labels = np.array([[0, 1, 1]])
    part = Partition(labels)
    labels[0, 0] = 1
    assert part.labels[0, 0] == 0
    with pytest.raises(ValueError, match="read-only"):
        part.labels[0, 0] = 1
    with pytest.raises(AttributeError):
        part.P = 4


@pytest.mark.parametrize(
    "make, rule",
    [
        (lambda: Partition(np.zeros((2, 3))), r"integers of shape \(K, P\), got float64"),
        (lambda: Partition(np.zeros(3, int)), r"integers of shape \(K, P\), got int64 of shape \(3,\): one row"),
        (lambda: Partition(np.zeros((0, 3), int)), "integers of shape"),
        (lambda: Partition([[0, 1], [0]]), "got rows of unequal length: one label"),
        (lambda: Partition("abc"), "integers of shape"),
        (lambda: Partition(None), "integers of shape"),
        (lambda: Partition([[0, -1]]), "numbered from 0, got -1: subtract"),
        (lambda: Partition([[1, 1]]), "without gaps, got none of area 0 but one of 1 in cluster 0: renumber"),
        (lambda: Partition([[0, 1, 1], [0, 2, 2]]), "without gaps, got none of area 1 but one of 2 in cluster 1: renumber"),
        (lambda: Partition([[0, 10**12]]), "numbered below P=2, got 1000000000000: renumber"),
        (lambda: Partition([[0, 1, 1]], grid=(2, 2)), r"hold the P=3 patches, got \(2, 2\): rows x columns"),
        (lambda: Partition([[0, 1, 1]], grid=(-1, -3)), "hold the P=3 patches"),
        (lambda: Partition([[0, 1, 1]], grid=3), "hold the P=3 patches"),
        (lambda: Partition.blocks(Problem(P=2**21)), "at most 1048576, got P=2.1e.06: use orbits"),
        (lambda: Partition.random(Problem(P=1e30)), "at most 1048576, got P=1e.30"),
        (lambda: Partition.blocks(Problem(), seed=-1), "seed must be .* got -1: take"),
        (lambda: Partition.random(Problem(), seed="a"), "seed must be .* got 'a': take"),
    ],
)
def test_bad_input_is_named(make, rule):
    with pytest.raises(InputError, match=rule) as caught:
        make()
    assert "\n" not in str(caught.value)

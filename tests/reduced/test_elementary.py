"""exp, log, log1p and expm1 of dynsim's own: their errors against extended precision, edges, and vectors against numbers."""

import math

import numpy as np
import pytest
from numba import njit

from dynsim.reduced.kernels import elementary
from dynsim.reduced.kernels.simd import HALF_WIDTH, broadcast_half, load, load_head, new_table, store, total

pytestmark = pytest.mark.kernel

DRAW = np.random.default_rng(0)
EXTENDED = np.finfo(np.longdouble).nmant >= 63  # else the reference would be no better than what is held against it


@njit
def each(function, x, out):
    for i in range(x.size):
        out[i] = function(x[i])


LOOSER = 1.0 if elementary.is_fused() else 1.5


def ulps(function, exact, x, factor=1.0):
    """Largest error of `function` times a factor, in units of the last place of the exact value."""
    found = np.empty(x.size)
    each(function, x, found)
    found *= factor
    reference = exact(x.astype(np.longdouble))
    return float(np.max(np.abs(found - reference) / np.spacing(np.abs(reference.astype(float)))))


CASES = {
    "exp": (elementary.exp, np.exp, DRAW.uniform(-700, 700, 100_000), 1.25),
    "log": (elementary.log, np.log, np.exp(DRAW.uniform(-700, 700, 100_000)), 1.0),
    "log about 1": (elementary.log, np.log, 1 + DRAW.uniform(-0.4, 1.0, 100_000), 1.0),
    "log1p": (elementary.log1p, np.log1p, DRAW.uniform(-0.999, 3.0, 100_000), 2.0),
    "log1p about 0": (elementary.log1p, np.log1p, DRAW.choice([-1, 1], 100_000) * np.exp(DRAW.uniform(-60, -1, 100_000)), 2.0),
    "expm1": (elementary.expm1, np.expm1, DRAW.uniform(-40, 40, 100_000), 4.0),
    "expm1 about 0": (elementary.expm1, np.expm1, DRAW.choice([-1, 1], 100_000) * np.exp(DRAW.uniform(-60, -0.5, 100_000)), 4.0),
}
CASES |= {f"{name} of a vector": (elementary.expm1_of_vector, *CASES[name][1:]) for name in ("expm1", "expm1 about 0")}


@pytest.mark.skipif(not EXTENDED, reason="needs an extended-precision longdouble as reference")
@pytest.mark.parametrize("name", CASES)
def test_errors_are_what_the_docstrings_say(name):
    function, exact, x, bound = CASES[name]
    assert ulps(function, exact, x) <= bound * LOOSER
    assert ulps(function, exact, x, 1 + 2**-49) > bound * LOOSER  # control: a few units more are seen


@pytest.mark.parametrize("name", ["exp", "log", "log1p", "expm1", "expm1_of_vector"])
def test_edges(name):
    function = getattr(elementary, name)
    assert math.isnan(function(math.nan))
    if name.startswith("log"):
        one = 1.0 if name == "log" else 0.0
        assert function(one) == 0.0 and function(one - 1.0) == -math.inf and math.isnan(function(-1.5))
        assert function(math.inf) == math.inf
    else:
        assert function(0.0) == (1.0 if name == "exp" else 0.0)
        assert function(1e4) == function(709.0) < math.inf  # the value at the edge
        assert function(-1e4) == function(-708.0)


def test_numbers_and_vectors_have_the_same_bits():
    x = DRAW.uniform(-20, 20, HALF_WIDTH)

    @njit
    def both(x, numbers, table):
        v = load(x.reshape(1, -1), 0, broadcast_half(0.0))
        store(table, 0, elementary.exp(v))
        store(table, 1, elementary.power(0.7, v))
        for i in range(x.size):
            numbers[0, i], numbers[1, i] = elementary.exp(x[i]), elementary.power(0.7, x[i])
        return total(v)

    numbers, table = np.empty((2, HALF_WIDTH)), new_table(2)[:, :HALF_WIDTH].copy()
    added = both(x, numbers, table)
    assert numbers.tobytes() == table.tobytes()
    assert added == total(x) and added != x[::-1].cumsum()[-1]  # in an order of its own


@pytest.mark.parametrize("count", [-1, 0, 1, HALF_WIDTH - 1, HALF_WIDTH, HALF_WIDTH + 1])
def test_the_head_of_an_array_is_loaded_and_no_more(count):
    x = np.arange(20.0)

    @njit
    def head(x, count, out):
        store(out, 0, load_head(x, 3, count, broadcast_half(0.0), -7.0))

    out = np.empty((1, HALF_WIDTH))
    head(x, count, out)
    kept = min(max(count, 0), HALF_WIDTH)
    assert out[0].tolist() == [*x[3 : 3 + kept], *[-7.0] * (HALF_WIDTH - kept)]

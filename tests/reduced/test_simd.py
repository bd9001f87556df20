"""SIMD vectors in compiled code against what the functions say in Python, bit by bit."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError

from dynsim.reduced.kernels import simd
from dynsim.reduced.kernels.simd import HALF_WIDTH, WIDTH, broadcast, broadcast_half, load, store

SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -2.5, 1e300])
MAKERS = {WIDTH: broadcast, HALF_WIDTH: broadcast_half}
add = lambda a, b: a + b  # noqa: E731
subtract = lambda a, b: a - b  # noqa: E731
multiply = lambda a, b: a * b  # noqa: E731
divide = lambda a, b: a / b  # noqa: E731
negate = lambda a, b: -a / b  # noqa: E731


def numbers(count, size, rng):
    """`count` arrays of `size` numbers, special ones against special ones among them."""
    x = rng.normal(size=(count, size))
    for c in range(count):
        x[c, rng.permutation(size)[: size // 2]] = rng.choice(SPECIAL, size // 2)
    return x


def compiled(function, count, make):
    """function of `count` values with vectors, on the rows of a table; on vectors and numbers alternately where `mixed`."""
    f = njit(function) if function.__name__ == "<lambda>" else function
    if count == 2:
        run = lambda x, out: store(out, 0, f(load(x, 0, make(0.0)), load(x, 1, make(0.0))))  # noqa: E731
        mixed = lambda x, out: store(out, 0, f(load(x, 0, make(0.0)), x[1, 0]))  # noqa: E731
    elif count == 3:
        run = lambda x, out: store(out, 0, f(load(x, 0, make(0.0)), load(x, 1, make(0.0)), load(x, 2, make(0.0))))  # noqa: E731
        mixed = lambda x, out: store(out, 0, f(load(x, 0, make(0.0)), x[1, 0], x[2, 0]))  # noqa: E731
    else:
        run = lambda x, out: store(  # noqa: E731
            out, 0, f(load(x, 0, make(0.0)), load(x, 1, make(0.0)), load(x, 2, make(0.0)), load(x, 3, make(0.0)))
        )
        mixed = lambda x, out: store(out, 0, f(load(x, 0, make(0.0)), x[1, 0], load(x, 2, make(0.0)), x[3, 0]))  # noqa: E731
    return njit(run), njit(mixed)


NAMES = ["add", "subtract", "multiply", "divide", "negate", "maximum", "clamp", "where"]
CASES = [
    (add, 2), (subtract, 2), (multiply, 2), (divide, 2), (negate, 2), (simd.maximum, 2), (simd.clamp, 3), (simd.select_equal, 4)
]


@pytest.mark.parametrize("size", [WIDTH, HALF_WIDTH])
@pytest.mark.parametrize("function, count", CASES, ids=NAMES)
def test_element_by_element(function, count, size):
    rng = np.random.default_rng(0)
    run, mixed = compiled(function, count, MAKERS[size])
    for _ in range(30):
        x = numbers(count, size, rng)
        x[1, :2] = x[0, :2]  # equal ones too
        out = np.empty((1, size))
        with np.errstate(all="ignore"):
            run(x, out)
            np.testing.assert_array_equal(out[0], function(*x))
            spread = [np.full(size, a[0]) for a in x]
            mixed(x, out)
            expected = function(*(x[c] if c in (0, 2) and (c == 0 or count == 4) else spread[c] for c in range(count)))
            np.testing.assert_array_equal(out[0], expected)


@njit
def fused(x, out):
    store(out, 0, simd.fma(load(x, 0, broadcast(0.0)), load(x, 1, broadcast(0.0)), load(x, 2, broadcast(0.0))))


def test_fma_is_rounded_once_or_twice():
    x = np.random.default_rng(1).normal(size=(3, WIDTH))
    x[2] *= 1e-3
    out = np.empty((1, WIDTH))
    fused(x, out)
    twice = x[0] * x[1] + x[2]
    once = (x[0].astype(np.longdouble) * x[1] + x[2]).astype(float)  # 64 bits hold neither exactly: one rounding more at times
    assert ((out[0] == twice) | (np.abs(out[0] - once) <= np.spacing(np.abs(once)))).all()
    assert np.abs(out[0] - x[0] * x[1]).max() > 1e-6  # control: the third is added


@njit
def powers(x, k, out):
    store(out, 0, simd.times_power(load(x, 0, broadcast_half(0.0)), load(k, 0, broadcast_half(0.0)) + 6755399441055744.0))


def test_times_power():
    k = np.array([[0.0, 1, -1, 100, -1000, 900, 7, -3]])
    x = np.random.default_rng(2).uniform(1, 2, (1, HALF_WIDTH)) * ([1, -1] * (HALF_WIDTH // 2))
    out = np.empty((1, HALF_WIDTH))
    powers(x, k, out)
    np.testing.assert_array_equal(out, np.ldexp(x, k.astype(int)))


@njit
def less(x):
    vectors = simd.any_less(load(x, 0, broadcast(0.0)), load(x, 1, broadcast(0.0)))
    return vectors, simd.any_less(load(x, 0, broadcast_half(0.0)), 0.5)


def test_any_less():
    x = np.ones((2, WIDTH))
    assert less(x) == (False, False)
    for i in (0, 7, 8, WIDTH - 1):
        x[0, i] = 0.0
        assert less(x) == (True, i < HALF_WIDTH)
        x[0, i] = np.nan
        assert less(x) == (False, False)
        x[0, i] = 1.0


@njit
def copied(array, first, wides, narrows):
    simd.store_at(wides, 3, simd.load_at(array, first, broadcast(0.0)))
    store(narrows, 1, simd.load_at(array, first, broadcast_half(0.0)))
    return simd.width(broadcast(0.0)), simd.width(broadcast_half(1))


@pytest.mark.parametrize("dtype", [np.float64, np.uint8])
def test_spans_and_rows(dtype):
    array = np.arange(200, dtype=dtype).reshape(10, 20)
    wides, narrows = np.full((3, WIDTH), -1.0), np.full((3, HALF_WIDTH), -1.0)
    assert copied(array, 137, wides, narrows) == (WIDTH, HALF_WIDTH)
    flat = wides.ravel()
    np.testing.assert_array_equal(flat[3 : 3 + WIDTH], np.arange(137, 137 + WIDTH))
    assert (flat[:3] == -1).all() and (flat[3 + WIDTH :] == -1).all()
    np.testing.assert_array_equal(narrows, [[-1] * HALF_WIDTH, np.arange(137, 137 + HALF_WIDTH), [-1] * HALF_WIDTH])


@njit
def shifted(a, out, p0):
    spare = simd.new_table(1)
    x = simd.load_columns(a, 1, p0, broadcast_half(0.0), spare)
    simd.store_columns(out, 1, p0, x + 1.0, spare)
    store(spare, 0, x)
    return spare.ravel()[:HALF_WIDTH].copy(), spare.ctypes.data % 64


@pytest.mark.parametrize("p0", [0, 3, 4, 5, 11])
def test_columns_end_with_the_array(p0):
    """12 columns: a vector from column 5 on has one element to spare, from 11 on seven."""
    a = np.arange(1.0, 37).reshape(3, 12)
    out = np.zeros((3, 12))
    x, start = shifted(a, out, p0)
    expected = np.zeros(HALF_WIDTH)
    expected[: 12 - p0] = a[1, p0 : p0 + HALF_WIDTH]
    np.testing.assert_array_equal(x, expected)
    there = np.zeros((3, 12), dtype=bool)
    there[1, p0 : p0 + HALF_WIDTH] = True
    np.testing.assert_array_equal(out, np.where(there, a + 1, 0))
    assert start == 0


def test_what_is_no_table_is_refused():
    """A wrong layout or element would be read as if it were right."""
    for array in (np.asfortranarray(np.ones((16, 16))), np.ones((16, 16), dtype=np.float32), np.ones((16, 16), dtype=int)):
        with pytest.raises(TypingError):
            copied(array, 0, np.ones((3, WIDTH)), np.ones((3, HALF_WIDTH)))
    both = njit(lambda x: load(x, 0, broadcast(0.0)) + load(x, 0, broadcast_half(0.0)))
    with pytest.raises(TypingError):
        both(np.ones((16, 16)))


@njit(nogil=True)
def claims(turn, most, out):
    found = 0
    while True:
        i = simd.fetch_add(turn, 1)
        if i >= most:
            return found
        out[i] += 1
        found += 1


def test_every_number_is_claimed_once():
    claims(np.zeros(2, dtype=np.intp), 1, np.zeros(1))
    turn, out = np.zeros(2, dtype=np.intp), np.zeros(1_000_000)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: claims(turn, len(out), out), range(4)))
    assert (out == 1).all() and sum(found) == len(out)
    assert turn[0] == 0 and turn[1] == len(out) + 4


@njit(nogil=True)
def changes(counter, times):
    done = 0
    while done < times:
        value = simd.atomic_load(counter, 0)
        done += simd.compare_exchange(counter, 0, value, value + 3)
    return simd.compare_exchange(counter, 1, 5, 6)


@njit(nogil=True)
def wait(counter, value):
    while simd.waiting_load(counter, 1) < value:
        pass
    return simd.atomic_load(counter, 1)


def test_a_thread_that_waits_sees_what_comes_and_pauses():
    counter = np.array([0, 1])
    assert wait(counter, 1) == 1
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait, counter, 7)
        counter[1] = 7
        assert waiting.result(timeout=60) == 7
    if simd.HAS_PAUSE and hasattr(wait, "inspect_asm"):
        assert all("pause" in code for code in wait.inspect_asm().values())


def test_no_change_is_lost():
    changes(np.zeros(2, dtype=np.intp), 1)
    counter = np.zeros(2, dtype=np.intp)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: changes(counter, 100_000), range(4))) == [False] * 4
    assert counter.tolist() == [1_200_000, 0]
    assert changes(np.array([0, 5]), 1)


@njit
def _sums(whole, pairs):
    whole, pairs = simd.borrowed((whole, pairs))
    first, (second, number) = pairs
    rows = whole[2:8].reshape(3, 2)
    rows[0, 1] = number
    total = 0.0
    for i in range(len(rows)):
        total += rows[i].sum() * first[i].sum() + simd.borrowed(second)[i]
    return total


def test_borrowed_arrays_are_themselves_and_nobody_counts_them():
    whole, first, second = np.arange(10.0), np.arange(6.0).reshape(3, 2), np.arange(3.0)
    expected = getattr(_sums, "py_func", _sums)(whole.copy(), (first, (second, 5.0)))
    counts = [sys.getrefcount(a) for a in (whole, first, second)]
    for _ in range(100):
        assert _sums(whole, (first, (second, 5.0))) == expected
    assert whole[3] == 5.0 and [sys.getrefcount(a) for a in (whole, first, second)] == counts

"""Lists of areas and keys, and masks from random words, each against a slow twin; memory that is kept between batches."""

import numpy as np
import pytest

import dynsim
from dynsim.reduced import draws
from dynsim.reduced.batch import BATCH, Batch
from dynsim.reduced.kernels import masks

pytestmark = pytest.mark.kernel


def uneven(seed=0, n=150, P=23):
    """Clusters of different numbers of areas, images with different numbers of masked patches, weights and amplitudes."""
    rng = np.random.default_rng(seed)
    labels = np.stack([np.arange(P) % 4, np.arange(P) % 7, np.arange(P) % 2])
    part = dynsim.Partition(rng.permuted(labels, axis=1))
    cluster, z = rng.integers(3, size=n), rng.uniform(0.5, 1.5, (n, 7))
    masked = rng.random((n, P)) < rng.uniform(0.1, 0.95, (n, 1))
    masked[:, 0], masked[:, 1] = True, False
    weight = rng.random(n)
    return part, dynsim.Dataset(cluster, z, masked, weight / weight.sum())


def slow_lists(part, data, batch):
    """seg_ptr, seg_f, seg_z, key_ptr, keys, visit_ptr, visits as plain lists."""
    seg_ptr, seg_f, seg_z, key_ptr, keys = [0], [], [], [0], []
    for k, z, masked in zip(data.cluster, data.z, data.masked, strict=True):
        for m in range(part.N[k]):
            shown = [q for q in range(part.P) if part.labels[k, q] == m and not masked[q]]
            if shown:
                seg_f.append(part.offset[k] + m)
                seg_z.append(z[m])
                keys += shown
                key_ptr.append(len(keys))
        seg_ptr.append(len(seg_f))
    visit_ptr, visits = [0], []
    for b in range(0, data.n, batch):
        first, last = seg_ptr[b], seg_ptr[min(b + batch, data.n)]
        for q in range(part.P):
            visits += [s - first for s in range(first, last) if q in keys[key_ptr[s] : key_ptr[s + 1]]]
            visit_ptr.append(len(visits))
    return seg_ptr, seg_f, seg_z, key_ptr, keys, visit_ptr, visits


def slow_sums(part, data):
    """(floor (P,), seen (K, P)): losses of queries whose area is all masked, weight of the images that mask a patch."""
    floor, seen = np.zeros(part.P), np.zeros((part.K, part.P))
    for k, z, masked, weight in zip(data.cluster, data.z, data.masked, data.weight, strict=True):
        seen[k] += weight * masked
        for q in range(part.P):
            if masked[part.labels[k] == part.labels[k, q]].all():
                floor[q] += weight * z[part.labels[k, q]] ** 2 / 2
    return floor, seen


def found(batch):
    """What the kernel reads of a batch, as far as it reads."""
    _, images, floor, (seg_ptr, seg_f, seg_z, key_ptr, keys), (_, visit_ptr, visits), longest, (count, largest) = batch.arguments
    n = int(count[0])
    areas = seg_ptr[n]
    shown = key_ptr[areas]
    batches = -(-n // BATCH)
    lists = (
        seg_ptr[: n + 1], seg_f[:areas], seg_z[:areas], key_ptr[: areas + 1], keys[:shown],
        visit_ptr[: batches * batch.part.P + 1], visits[:shown],
    )
    return images, floor, lists, longest, largest[0]


def check(batch, data):
    part = batch.part
    (own, padded, weight, cluster), floor, lists, longest, largest = found(batch)
    for mine, slow in zip(lists, slow_lists(part, data, BATCH), strict=True):
        np.testing.assert_array_equal(mine, slow)
    np.testing.assert_array_equal(own[:, : part.P], part.own)
    np.testing.assert_array_equal(padded[: data.n, : part.P], data.masked)
    assert not padded[:, part.P :].any() and not floor[part.P :].any()
    np.testing.assert_array_equal(weight[: data.n], data.weight)
    np.testing.assert_array_equal(cluster[: data.n], data.cluster)
    slow_floor, seen = slow_sums(part, data)
    np.testing.assert_allclose(floor[: part.P], slow_floor, rtol=1e-13)  # the same numbers added up in one order
    np.testing.assert_allclose(batch.seen, seen, rtol=1e-13)
    assert batch.masked_mean == pytest.approx(data.masked_mean, rel=1e-13)
    assert batch.floor == pytest.approx(slow_floor.sum() / data.masked_mean, rel=1e-13)
    assert largest == max(lists[2]) and batch.limit == 300.0 / max(1.0, data.z.max()) and longest == part.N.max()


@pytest.mark.parametrize("n", [1, BATCH - 1, BATCH, BATCH + 1, 150])
def test_lists_are_those_of_the_twin(n):
    part, data = uneven(n=n)
    batch = Batch(part)
    batch.load(data)
    check(batch, data)
    if n > 1:  # control: another mask is seen
        masked = data.masked.copy()
        masked[-1, 2] ^= True
        batch.load(dynsim.Dataset(data.cluster, data.z, masked, data.weight))
        assert [list(x) for x in found(batch)[2]] != [list(x) for x in slow_lists(part, data, BATCH)]


def test_memory_is_kept_as_long_as_images_fit():
    """What a larger batch left behind does not show in a smaller one; a larger one gets more room."""
    part, large = uneven(seed=1, n=150)
    _, small = uneven(seed=2, n=70)
    small.check(part)
    batch = Batch(part)
    batch.load(large)
    kept = batch.arguments
    batch.load(small)
    assert batch.arguments is kept
    check(batch, small)
    batch.load(large)
    assert batch.arguments is kept
    check(batch, large)
    _, larger = uneven(seed=3, n=200)
    batch.load(larger)
    assert batch.arguments is not kept
    check(batch, larger)


def test_order_of_the_arrays_does_not_matter():
    part, data = uneven(n=20)
    turned = dynsim.Dataset(data.cluster, np.asfortranarray(data.z), np.asfortranarray(data.masked), data.weight)
    batch = Batch(part)
    batch.load(turned)
    check(batch, data)


def shuffled(seed, count, P, skip=0):
    """Masks by the definition: the first places of a shuffled order."""
    rng = np.random.default_rng(seed)
    rng.integers(3, size=skip)  # an odd number of 32-bit words: half of a 64-bit one waits
    order = rng.permuted(np.broadcast_to(np.arange(P), (len(count), P)), axis=1)
    masked = np.zeros((len(count), P), dtype=bool)
    np.put_along_axis(masked, order, np.arange(P) < np.asarray(count)[:, None], axis=1)
    return masked


@pytest.mark.parametrize("P", [2, 3, 4, 5, 16, 17, 64, 100, 196, 257])
@pytest.mark.parametrize("skip", [0, 1])
def test_masks_are_those_of_permuted(P, skip):
    count = np.random.default_rng(P).integers(0, P + 1, 30)
    rng = np.random.default_rng(7)
    rng.integers(3, size=skip)
    drawn = draws.draw_masks(rng, count, P)
    np.testing.assert_array_equal(drawn, shuffled(7, count, P, skip))
    if P > 3:  # control: half a word more or less is seen (P = 3 turns the very first one down)
        assert (drawn != shuffled(7, count, P, 1 - skip)).any()


def test_masks_go_on_where_words_run_out(monkeypatch):
    monkeypatch.setattr(draws, "ROWS", 3)
    monkeypatch.setattr(draws, "_words", lambda P: (P / 2, 0.0))  # too few, so that a row is begun again and again
    count = np.arange(12)
    np.testing.assert_array_equal(draws.draw_masks(np.random.default_rng(1), count, 13), shuffled(1, count, 13))


def test_kernel_says_where_it_stopped():
    words, count = np.random.default_rng(0).integers(2**32, size=200, dtype=np.uint32), np.full(9, 5)
    whole, parts = np.empty((9, 16), dtype=bool), np.empty((9, 16), dtype=bool)
    rows, used = masks.draw(words, 0, count, 0, whole)
    assert rows == 9 and 9 * 15 <= used < 200
    assert masks.draw(words[: used - 1], 0, count, 0, parts)[0] == 8
    begin, first = 0, 0
    for size in range(40, 240, 40):
        begin, first = masks.draw(words[:size], first, count, begin, parts)
    assert (begin, first) == (9, used)
    np.testing.assert_array_equal(parts, whole)


def test_how_many_words_a_row_takes():
    """Mean and variance over rows, five standard errors."""
    P, n = 100, 4000
    words = np.random.default_rng(2).bit_generator.random_raw(n * P).view(np.uint32)
    used, taken = 0, []
    row, count = np.empty((1, P), dtype=bool), np.array([75])
    for _ in range(n):
        before, (_, used) = used, masks.draw(words, used, count, 0, row)
        taken.append(used - before)
    mean, variance = draws._words(P)
    assert abs(np.mean(taken) - mean) <= 5 * np.sqrt(variance / n) < abs(np.mean(taken) - P)
    assert abs(np.var(taken) / variance - 1) <= 5 * np.sqrt(2 / n)

"""ThreadPool: who does which block does not matter, whoever comes, is late, or fails."""

import pickle
import threading
import time

import numpy as np
import pytest
from numba import njit

import dynsim
from dynsim.reduced.kernels import threads
from dynsim.reduced.kernels.simd import fetch_add
from dynsim.reduced.kernels.threads import (
    DONE,
    LAST,
    LAST_RUN,
    ThreadPool,
    claim_block,
    current_run,
    current_turn,
    finished_turn,
    next_block,
)


@njit(nogil=True)
def mark(counters, spins, blocks, out):
    run = current_run(counters)
    while True:
        run, block = next_block(counters, run, blocks, spins)
        if run == LAST_RUN:
            return
        out[block] += 1
        fetch_add(counters, DONE)


def in_turn(counters, spins, blocks, work):
    """A kernel in Python: work(block) for every block it gets."""
    turn_by_turn(counters, spins, blocks, lambda turn, block: work(block))


@njit(nogil=True)
def accumulate(counters, spins, blocks, out):
    """Turn t of block b: what all blocks left in turn t - 1, and b."""
    run = current_run(counters)
    while True:
        run, block = next_block(counters, run, blocks, spins)
        if run == LAST_RUN:
            return
        turn = current_turn(counters, run)
        out[turn, block] = block
        for other in range(blocks):
            out[turn, block] += out[turn - 1, other] if turn > 0 else 0
        fetch_add(counters, DONE)


def turn_by_turn(counters, spins, blocks, work):
    """A kernel in Python: work(turn, block) for every block it gets, of all runs."""
    run = current_run(counters)
    while True:
        run, block = next_block(counters, run, blocks, spins)
        if run == LAST_RUN:
            return
        work(current_turn(counters, run), block)
        fetch_add_compiled(counters, DONE)


@njit
def fetch_add_compiled(counters, i):
    return fetch_add(counters, i)


def test_a_claim_is_for_its_own_run_only():
    counters = threads.new_counters()
    threads.start_run(counters, 2)
    none = threads.NO_BLOCK
    assert claim_block(counters, 1, 9, False) == claim_block(counters, 3, 9, True) == none and current_run(counters) == 2
    assert [claim_block(counters, 2, 9, False) for _ in range(3)] == [0, 1, 2]
    assert next_block(counters, 1, 9, 1) == (2, 8) and next_block(counters, 2, 4, 1000) == (LAST_RUN, none)
    threads.start_run(counters, LAST_RUN)
    assert current_run(counters) == LAST_RUN
    assert claim_block(counters, 2, 9, False) == claim_block(counters, LAST_RUN, 9, True) == none


@pytest.mark.parametrize("blocks", [1, 7, 65_000])
def test_helpers_claim_from_the_other_end_until_all_is_claimed(blocks):
    counters, rng = threads.new_counters(), np.random.default_rng(0)
    threads.start_run(counters, 5)
    ends = {False: list(range(blocks)), True: list(range(blocks))[::-1]}
    for _ in range(blocks):
        helps = bool(rng.integers(2))
        block = claim_block(counters, 5, blocks, helps)
        assert block == ends[helps].pop(0)
        ends[not helps].remove(block) if blocks < 100 else ends[not helps].pop()
    assert claim_block(counters, 5, blocks, False) == claim_block(counters, 5, blocks, True) == threads.NO_BLOCK


def test_the_calling_thread_starts_the_next_run_when_all_blocks_are_done():
    counters = threads.new_counters()
    counters[LAST] = 2
    threads.start_run(counters, 1)
    assert [next_block(counters, 1, 2, 0) for _ in range(2)] == [(1, 0), (1, 1)]
    counters[DONE] = 1
    assert next_block(counters, 1, 2, 0) == (LAST_RUN, threads.NO_BLOCK) and current_run(counters) == 1
    counters[DONE] = 2
    assert next_block(counters, 1, 2, 1) == (LAST_RUN, threads.NO_BLOCK)  # no other thread does
    assert [next_block(counters, 1, 2, 0), next_block(counters, 2, 2, 0)] == [(2, 0), (2, 1)]
    counters[DONE] = 4
    assert next_block(counters, 2, 2, 0) == (LAST_RUN, threads.NO_BLOCK) and current_run(counters) == 2


@pytest.mark.parametrize("threads", [1, 2, 3, 50])
def test_a_turn_finds_what_all_blocks_of_the_one_before_left(threads):
    """Also with more threads than cores, and where other runs come between."""
    pool, out, expected = ThreadPool(7, threads), np.zeros((5, 7)), np.zeros((5, 7))
    expected[0] = range(7)
    for turn in range(1, 5):
        expected[turn] = np.arange(7) + expected[turn - 1].sum()
    for run in range(300):
        out[:] = -1.0
        pool.run(accumulate, 7, out, turns=range(3 + run % 3))
        np.testing.assert_array_equal(out[: 3 + run % 3], expected[: 3 + run % 3])
        assert (out[3 + run % 3 :] == -1.0).all()
        pool.run(accumulate, 7, out, turns=range(2, 5))
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("short", [True, False])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_end_is_seen_once_and_by_the_calling_thread(threads, short):
    """Also where the kernel was called again, since a helper was slow."""
    caller, ends = threading.current_thread(), []

    def kernel(counters, spins, blocks):
        turn_by_turn(counters, spins, blocks, lambda *_: time.sleep(0.001 if threading.current_thread() is caller else 0.02))
        turn = finished_turn(counters, spins)
        if turn >= 0:
            ends.append((turn, int(counters[DONE]), threading.current_thread() is caller))

    pool = ThreadPool(6, threads)
    pool._short = short
    pool.run(kernel, 6, turns=range(1, 3))
    helpers = list(pool._helpers)
    pool._dismiss()
    for helper in helpers:  # they return after the end
        helper.result(10)
    assert ends == ([(2, 12, True)] if short or threads == 1 else [(1, 6, True), (2, 12, True)])


@pytest.mark.parametrize("threads", [1, 2, 3, 50])
def test_every_block_is_done_once(threads):
    pool = ThreadPool(7, threads)
    assert pool.threads == min(threads, 7)
    out = np.zeros(7)
    for run in range(300):
        pool.run(mark, 7, out)
        assert (out == run + 1).all()


@pytest.mark.parametrize("threads", [2, 3])
def test_helpers_never_work_for_former_arguments(threads):
    """Helpers of the run before are awake, with other arrays at hand."""
    pool = ThreadPool(7, threads)
    outs = [np.zeros(7) for _ in range(3)]
    for run in range(900):
        pool.run(mark, 7, outs[run % 3])
        assert [out.sum() for out in outs] == [7 * ((run + 3 - i) // 3) for i in range(3)]
    assert all((out == 300).all() for out in outs)


def test_the_same_job_in_one_tuple_keeps_its_helpers():
    pool, out = ThreadPool(7, 2), np.zeros(7)
    job = mark, 7, out
    pool.run_job(job)
    counters = pool._counters
    pool.run_job(job), pool.run_job((mark, 7, out)), pool.run(mark, 7, out)
    assert pool._counters is counters and (out == 4).all()
    pool.run_job((mark, 7, out.copy()))  # control: another array
    assert pool._counters is not counters


def test_no_thread_to_be_had(monkeypatch):
    """The error is raised; a later run does not wait for the blocks of that one."""
    pool, out = ThreadPool(7, 2), np.zeros(7)
    with monkeypatch.context() as patch:
        patch.setattr(pool._executor, "submit", lambda *args: {}["can't start new thread"])
        with pytest.raises(KeyError):
            pool.run(mark, 7, out)
    pool.run(mark, 7, out)
    assert (out == 1).all()


def test_an_error_ends_what_helpers_do(monkeypatch):
    """Raised in the calling thread while it waits; after it, the pool starts afresh."""
    caller, began, leave, done = threading.current_thread(), threading.Event(), threading.Event(), []

    def work(block):
        if threading.current_thread() is caller:
            began.wait()
        else:
            began.set()
            leave.wait()
        done.append(block)

    pool, out = ThreadPool(7, 2), np.zeros(7)
    with monkeypatch.context() as patch:
        patch.setattr(threads.time, "sleep", lambda seconds: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pool.run(in_turn, 7, work)
    assert len(done) == 6 and pool._job == () and pool._helpers == []
    leave.set()
    pool.run(mark, 7, out)
    np.testing.assert_array_equal(out, np.ones(7))


def test_a_slow_helper_is_waited_for():
    done = []
    threads.next_block(threads.new_counters(), 1, 0, 1), current_turn(threads.new_counters(), 1)  # compiled before
    caller = threading.current_thread()

    def work(block):
        time.sleep(0.001 if threading.current_thread() is caller else 0.1)
        done.append(block)

    ThreadPool(6, 2).run(in_turn, 6, work)
    assert sorted(done) == list(range(6))


def test_a_slow_helper_is_waited_for_in_every_turn():
    done = []
    threads.next_block(threads.new_counters(), 1, 0, 1), current_turn(threads.new_counters(), 1)  # compiled before
    caller = threading.current_thread()

    def work(turn, block):
        time.sleep(0.001 if threading.current_thread() is caller else 0.05)
        done.append((turn, block))

    ThreadPool(6, 2).run(turn_by_turn, 6, work, turns=range(3))
    assert [turn for turn, _ in done] == 6 * [0] + 6 * [1] + 6 * [2] and len(set(done)) == 18


def test_a_helper_that_does_not_come_is_not_waited_for():
    pool, leave = ThreadPool(6, 2), threading.Event()
    pool._executor.submit(leave.wait)  # keeps the only helper
    out = np.zeros(6)
    start = time.monotonic()
    pool.run(mark, 6, out)
    assert (out == 1).all() and time.monotonic() - start < 10
    leave.set()
    pool.run(mark, 6, out)
    assert (out == 2).all()


def test_an_error_of_a_helper_is_raised_where_a_block_is_left_undone():
    caller = threading.current_thread()

    def work(block):
        if threading.current_thread() is not caller:
            raise MemoryError(f"block {block}")
        time.sleep(0.01)  # so that the helper gets one

    pool = ThreadPool(6, 2)
    with pytest.raises(MemoryError, match="block"):
        pool.run(in_turn, 6, work)
    out = np.zeros(6)
    pool.run(mark, 6, out)  # and the pool goes on
    assert (out == 1).all()


@pytest.mark.parametrize("short", [True, False])
def test_an_error_of_a_helper_in_a_turn_is_raised(short):
    caller, failed = threading.current_thread(), []

    def work(turn, block):
        if threading.current_thread() is not caller and (turn == 1 or short):
            failed.append(turn)
            raise MemoryError(f"turn {turn}")
        assert not failed or turn == failed[0]  # no turn begins before the one before is done
        time.sleep(0.01)  # so that the helper gets one; after this it sleeps, and is called again if the run is not short

    pool = ThreadPool(6, 2)
    pool._short = short
    with pytest.raises(MemoryError, match=f"turn {0 if short else 1}"):
        pool.run(turn_by_turn, 6, work, turns=range(3))
    out = np.zeros((2, 6))
    pool.run(accumulate, 6, out, turns=range(2))  # and the pool goes on
    np.testing.assert_array_equal(out[1], 15 + np.arange(6))


def test_helpers_come_to_every_turn_of_a_long_run():
    caller, helped = threading.current_thread(), []

    def work(turn, block):
        time.sleep(0.02)  # longer than helpers wait for a turn
        if threading.current_thread() is not caller:
            helped.append(turn)

    pool = ThreadPool(10, 2)
    pool.run(turn_by_turn, 10, work, turns=range(3))
    assert not pool._short
    helped.clear()
    pool.run(turn_by_turn, 10, work, turns=range(3))
    assert sorted(set(helped)) == [0, 1, 2]
    pool = ThreadPool(3, 2)
    pool._short = False
    out = np.zeros((3, 3))
    assert any(pool.run(accumulate, 3, out, turns=range(3)) or pool._short for _ in range(1000))


def test_a_helper_that_is_going_to_sleep_is_replaced():
    """It has found no run to come to, but its thread is not free yet."""
    caller, come, leave, helped = threading.current_thread(), threading.Event(), threading.Event(), []

    def kernel(counters, spins, blocks):
        run = current_run(counters)
        while True:
            run, _ = next_block(counters, run, blocks, spins)
            if run == LAST_RUN:
                break
            if threading.current_thread() is not caller:
                come.set()
                helped.append(run)
            elif pool._runs == 2:
                leave.set()
            come.wait(10)
            time.sleep(0.01)
            fetch_add_compiled(counters, DONE)
        if threading.current_thread() is not caller:
            leave.wait(10)

    pool = ThreadPool(4, 2)
    pool.run(kernel, 4)
    while pool._counters[threads.ASLEEP] == 0:
        time.sleep(0.001)
    assert helped and not pool._helpers[0].done()
    helped.clear()
    pool.run(kernel, 4)
    assert helped


def test_runs_are_counted_anew_before_their_number_is_used_up():
    pool, out = ThreadPool(7, 2), np.zeros((3, 7))
    pool.run(accumulate, 7, out, turns=range(3))
    pool._runs = LAST_RUN // 2  # as after as many; a run of the number LAST_RUN would tell helpers to return
    for _ in range(2):
        out[:] = 0.0
        pool.run(accumulate, 7, out, turns=range(3))
        np.testing.assert_array_equal(out[1], 21 + np.arange(7))
    assert pool._runs == 6


def test_an_error_of_the_caller_is_raised():
    def work(block):
        raise MemoryError(f"block {block}")

    with pytest.raises(MemoryError, match="block"):
        ThreadPool(6, 1).run(in_turn, 6, work)


def test_helpers_go_to_sleep(monkeypatch):
    """They stay awake for SPINS looks, then their thread is free for others."""
    pool = ThreadPool(4, 3)
    pool.run(mark, 4, np.zeros(4))
    for helper in list(pool._helpers):
        helper.result(timeout=10)
    monkeypatch.setattr(threads, "SPINS", 1)
    out = np.zeros(4)
    for _ in range(50):  # and come again
        pool.run(mark, 4, out)
    assert (out == 50).all()


def test_thread_count_is_asked_for_or_found(monkeypatch):
    monkeypatch.setenv("NUMBA_NUM_THREADS", "5")
    assert threads.thread_count() == 5 and threads.thread_count(2) == 2 and threads.thread_count(0) == 1
    monkeypatch.delenv("NUMBA_NUM_THREADS")
    assert threads.thread_count() >= 1


def test_a_copy_has_threads_of_its_own():
    pool = ThreadPool(4, 2)
    copy = pickle.loads(pickle.dumps(pool))
    assert (copy.blocks, copy.threads) == (4, 2) and copy._executor is not pool._executor
    problem = dynsim.Problem(K=2, P=64)
    field = dynsim.reduced.PopulationField(problem, dynsim.Partition.blocks(problem), threads=2)
    y = field.start() + 0.1
    assert (pickle.loads(pickle.dumps(field)).velocity(y)[1] == field.velocity(y)[1]).all()

"""Crew: who does which block does not matter, whoever comes, is late, or fails."""

import threading
import time

import numpy as np
import pytest
from numba import njit

from dynsim.reduced import _threads
from dynsim.reduced._lanes import count_up
from dynsim.reduced._threads import DONE, OVER, Crew, claim, current, take


@njit(nogil=True)
def mark(board, spins, blocks, out):
    run = current(board)
    while True:
        run, block = take(board, run, blocks, spins)
        if run == OVER:
            return
        out[block] += 1
        count_up(board, DONE)


def in_turn(board, spins, blocks, work):
    """A kernel in Python: work(block) for every block it gets, of one run."""
    run = current(board)
    while (block := claim(board, run)) < blocks:
        work(block)
        count_up_(board, DONE)


@njit
def count_up_(board, i):
    return count_up(board, i)


def test_a_claim_is_for_its_own_run_only():
    board = np.zeros(2, dtype=np.intp)
    _threads.begin(board, 2)
    assert claim(board, 1) == claim(board, 3) == _threads.NONE and current(board) == 2
    assert [claim(board, 2) for _ in range(3)] == [0, 1, 2]
    assert take(board, 1, 9, 1) == (2, 3) and take(board, 2, 4, 1000) == (OVER, _threads.NONE)
    _threads.begin(board, OVER)
    assert current(board) == OVER and claim(board, 2) == claim(board, OVER) == _threads.NONE


@pytest.mark.parametrize("threads", [1, 2, 3, 50])
def test_every_block_is_done_once(threads):
    crew = Crew(7, threads)
    assert crew.threads == min(threads, 7)
    out = np.zeros(7)
    for run in range(300):
        crew.run(mark, 7, out)
        assert (out == run + 1).all()


@pytest.mark.parametrize("threads", [2, 3])
def test_helpers_never_work_for_former_arguments(threads):
    """Helpers of the run before are awake, with other arrays at hand."""
    crew = Crew(7, threads)
    outs = [np.zeros(7) for _ in range(3)]
    for run in range(900):
        crew.run(mark, 7, outs[run % 3])
        assert [out.sum() for out in outs] == [7 * ((run + 3 - i) // 3) for i in range(3)]
    assert all((out == 300).all() for out in outs)


def test_no_thread_to_be_had(monkeypatch):
    """The error is raised; a later run does not wait for the blocks of that one."""
    crew, out = Crew(7, 2), np.zeros(7)
    with monkeypatch.context() as patch:
        patch.setattr(crew._pool, "submit", lambda *args: {}["can't start new thread"])
        with pytest.raises(KeyError):
            crew.run(mark, 7, out)
    crew.run(mark, 7, out)
    assert (out == 1).all()


def test_an_error_ends_what_helpers_do(monkeypatch):
    """After it, the same arguments start afresh."""
    crew, out = Crew(7, 2), np.zeros(7)
    crew.run(mark, 7, out)
    with monkeypatch.context() as patch:
        patch.setattr(_threads, "reached", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            crew.run(mark, 7, out)
    assert crew._job == () and crew._helpers == []
    time.sleep(0.1)
    before = out.copy()
    crew.run(mark, 7, out)
    np.testing.assert_array_equal(out, before + 1)


def test_a_slow_helper_is_waited_for():
    done = []
    claim(np.zeros(2, dtype=np.intp), 0), count_up_(np.zeros(2, dtype=np.intp), 0)  # compiled before
    caller = threading.current_thread()

    def work(block):
        time.sleep(0.001 if threading.current_thread() is caller else 0.1)
        done.append(block)

    Crew(6, 2).run(in_turn, 6, work)
    assert sorted(done) == list(range(6))


def test_a_helper_that_does_not_come_is_not_waited_for():
    crew, leave = Crew(6, 2), threading.Event()
    crew._pool.submit(leave.wait)  # keeps the only helper
    out = np.zeros(6)
    start = time.monotonic()
    crew.run(mark, 6, out)
    assert (out == 1).all() and time.monotonic() - start < 10
    leave.set()
    crew.run(mark, 6, out)
    assert (out == 2).all()


def test_an_error_of_a_helper_is_raised_where_a_block_is_left_undone():
    caller = threading.current_thread()

    def work(block):
        if threading.current_thread() is not caller:
            raise MemoryError(f"block {block}")
        time.sleep(0.01)  # so that the helper gets one

    crew = Crew(6, 2)
    with pytest.raises(MemoryError, match="block"):
        crew.run(in_turn, 6, work)
    out = np.zeros(6)
    crew.run(mark, 6, out)  # and the crew goes on
    assert (out == 1).all()


def test_an_error_of_the_caller_is_raised():
    def work(block):
        raise MemoryError(f"block {block}")

    with pytest.raises(MemoryError, match="block"):
        Crew(6, 1).run(in_turn, 6, work)


def test_helpers_go_to_sleep(monkeypatch):
    """They stay awake for SPINS looks, then their thread is free for others."""
    crew = Crew(4, 3)
    crew.run(mark, 4, np.zeros(4))
    for helper in list(crew._helpers):
        helper.result(timeout=10)
    monkeypatch.setattr(_threads, "SPINS", 1)
    out = np.zeros(4)
    for _ in range(50):  # and come again
        crew.run(mark, 4, out)
    assert (out == 50).all()


def test_thread_count_is_asked_for_or_found(monkeypatch):
    monkeypatch.setenv("NUMBA_NUM_THREADS", "5")
    assert _threads.thread_count() == 5 and _threads.thread_count(2) == 2 and _threads.thread_count(0) == 1
    monkeypatch.delenv("NUMBA_NUM_THREADS")
    assert _threads.thread_count() >= 1

"""Crew: who does which block does not matter, whoever comes, is late, or fails."""

import threading
import time

import numpy as np
import pytest
from numba import njit

from dynsim.reduced import _threads
from dynsim.reduced._lanes import count_up
from dynsim.reduced._threads import Crew


@njit(nogil=True)
def mark(turn, blocks, out):
    while True:
        block = count_up(turn, 0)
        if block >= blocks:
            return
        out[block] += 1
        count_up(turn, 1)


@pytest.mark.parametrize("threads", [1, 2, 3, 50])
def test_every_block_is_done_once(threads):
    crew = Crew(7, threads)
    assert crew.threads == min(threads, 7)
    out = np.zeros(7)
    for run in range(200):
        crew.run(mark, 7, out)
        assert (out == run + 1).all()


def in_turn(turn, blocks, work):
    """A kernel in Python: work(block) for every block it gets."""
    while True:
        with LOCK:
            block = int(turn[0])
            turn[0] += 1
        if block >= blocks:
            return
        work(block)
        with LOCK:
            turn[1] += 1


LOCK = threading.Lock()


def test_a_slow_helper_is_waited_for():
    done = []
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
    for helper in crew._helpers:
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

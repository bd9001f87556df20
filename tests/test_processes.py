"""An interrupt waits until worker processes have started or a file is written, and none is lost."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from dynsim.processes import interrupts_held, starting_processes

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
KINDS = ["SIGINT", "SIGTERM", "SIGALRM"]


def interrupt(number, frame):
    raise KeyboardInterrupt


@pytest.fixture
def handlers():
    before = {getattr(signal, name): signal.signal(getattr(signal, name), interrupt) for name in KINDS}
    yield
    for which, handler in before.items():
        signal.signal(which, handler)


@pytest.mark.parametrize("held", [interrupts_held, starting_processes])
@pytest.mark.parametrize("name", KINDS)
def test_an_interrupt_waits_and_is_not_lost(handlers, name, held):
    came_to = []
    with pytest.raises(KeyboardInterrupt):
        with held():
            os.kill(os.getpid(), getattr(signal, name))
            came_to.append("end of the block")
        came_to.append("after it")
    assert came_to == ["end of the block"]
    assert signal.getsignal(getattr(signal, name)) is interrupt
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with pytest.raises(KeyboardInterrupt):  # control: without the block it comes at once
        os.kill(os.getpid(), getattr(signal, name))
        came_to.append("not reached")
    assert came_to == ["end of the block"]


@pytest.mark.parametrize("held", [interrupts_held, starting_processes])
def test_an_interrupt_that_another_thread_takes_waits_as_well(handlers, held):
    asleep, wake = threading.Thread(target=lambda: wake.wait(10)), threading.Event()
    asleep.start()  # before the block: it does not hold SIGINT
    came_to = []
    try:
        with pytest.raises(KeyboardInterrupt):
            with held():
                os.kill(os.getpid(), signal.SIGINT)
                came_to.extend(range(100_000))
            came_to.append("after it")
        assert len(came_to) == 100_000
    finally:
        wake.set()
        asleep.join()


def test_processes_that_start_inside_leave_interrupts_to_their_parent():
    code = "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('goes on')"
    with starting_processes():
        inside = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    outside = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (inside.stdout, inside.returncode) == ("goes on\n", 0)
    assert "KeyboardInterrupt" in outside.stderr and outside.returncode != 0


@pytest.mark.parametrize("held", [interrupts_held, starting_processes])
def test_errors_and_other_threads_pass_through(handlers, held):
    with pytest.raises(ValueError, match="inside"), held():
        raise ValueError("inside")
    seen = []

    def elsewhere():
        with held():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [interrupt]

"""Memory: a run that cannot fit says so before it starts."""

import os

from dynsim.errors import InputError


def available() -> float:
    """Bytes that can still be had: what the system calls available, less where a control group allows less."""
    free: float
    try:
        with open("/proc/meminfo") as lines:
            free = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else float("inf")
    try:
        with open("/sys/fs/cgroup/memory.max") as most, open("/sys/fs/cgroup/memory.current") as used:
            free = min(free, max(0, int(most.read()) - int(used.read())))
    except (OSError, ValueError):  # no such group, or "max": no limit
        pass
    return free


def check(need: float, what: str, instead: str) -> None:
    """Raise InputError where `need` bytes for `what` are not available; `instead` says what to do."""
    free = available()
    if need > free:
        raise InputError(f"{what} needs about {readable(need)} of memory, {readable(free)} are free: {instead}")


def readable(count: float) -> str:
    """A number of bytes for a person: 1.5 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} TiB"

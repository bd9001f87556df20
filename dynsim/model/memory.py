"""Memory: a run that does not fit is refused before it starts."""

import os

from dynsim.errors import InputError


def available() -> float:
    """Return how much memory can still be allocated.

    Returns
    -------
    float
        Bytes: what the system calls available, or less where a control group allows less.

    Examples
    --------
    >>> from dynsim.model import memory
    >>> memory.available() > 0
    True
    """
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
    """Raise InputError where an allocation does not fit.

    Parameters
    ----------
    need : float
        Bytes.
    what : str
        What needs them.
    instead : str
        What to do instead.

    Raises
    ------
    InputError
        If fewer bytes are available.

    Examples
    --------
    >>> from dynsim.model import memory
    >>> memory.check(1e20, "a table", "take a smaller P")
    Traceback (most recent call last):
    dynsim.errors.InputError: a table needs about 9.09e+07 TiB of memory, ... are free: take a smaller P
    """
    free = available()
    if need > free:
        raise InputError(f"{what} needs about {readable(need)} of memory, {readable(free)} are free: {instead}")


def readable(count: float) -> str:
    """Return a number of bytes as text.

    Parameters
    ----------
    count : float
        Bytes.

    Returns
    -------
    str
        Such as "1.5 GiB".

    Examples
    --------
    >>> from dynsim.model import memory
    >>> memory.readable(1.5 * 2**30)
    '1.5 GiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} TiB"

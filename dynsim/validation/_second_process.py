"""What a process knows of a field that has nothing but its file.

Starting a process and importing dynsim takes longer than all other checks of a field. So one process is kept that has done only
that, and makes a copy of itself (fork) for every field; where processes cannot do that, it answers once.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np

from dynsim import reduced, runs
from dynsim.processes import starting_processes
from dynsim.reduced.field import Field
from dynsim.runs import recipe

FORKS = hasattr(os, "fork")
SERVE = "from dynsim.validation import _fields, _second_process; _second_process.serve(_fields._digest)"
_kept: dict[int, subprocess.Popen] = {}  # by the process that started it
_one_at_a_time = threading.Lock()


def digest(path: Path, field: Field) -> str:
    """Digest, in another process, of the field that a file holds, at the state `y` of that file.

    Parameters
    ----------
    path : Path
        A result file.
    field : Field
        Says where its class is found.

    Returns
    -------
    str
        The digest, or what went wrong.
    """
    request = {"path": str(path), "method": field.method, "place": reduced.FIELDS[field.method], "folders": sys.path}
    with _one_at_a_time:
        process = _kept.get(os.getpid())
        if process is None:
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            with starting_processes():
                process = subprocess.Popen(
                    [sys.executable, "-c", SERVE], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            _kept[os.getpid()] = process
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline().strip()
        except BaseException:
            end()
            raise
        if not (FORKS and answer):
            end()
        return answer or "it died"


@atexit.register
def end() -> None:
    """End the process that is kept, if there is one."""
    process = _kept.pop(os.getpid(), None)
    if process is not None:
        with process:
            process.kill()


def serve(digest_of: Callable[[Field, np.ndarray], str]) -> None:
    """Answer a request a line, each in a copy of this process, until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin:
        if FORKS and os.fork():
            if os.wait()[1]:
                print("it died", flush=True)
            continue
        request = json.loads(line)
        sys.path[:] = request["folders"]
        try:
            reduced.FIELDS.setdefault(request["method"], request["place"])
            with redirect_stdout(sys.stderr):
                traj, _, arrays = runs.read(request["path"])
                assert traj.recipe is not None
                answer = digest_of(recipe.build(*traj.recipe), arrays["y"])
        except Exception as error:
            answer = f"{type(error).__name__}: {' '.join(str(error).split())}"
        print(answer, flush=True)
        os._exit(0)

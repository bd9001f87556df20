"""Soak test: for an hour (`--minutes`) a sweep that is killed at random, minibatch runs, and requests to the explorer.

Nothing that a sweep had stored may be lost or change, and memory must stay flat: the median of the last quarter of the time at
most 5 % above that of the second (the first is warming up). Prints figures; exit status 1 where one of them fails. Linux, for
/proc; the explorer takes part where the extra `explore` is installed.
"""

import argparse
import importlib.util
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter

from dynsim import sweep

FLAT = 0.05
PAGE = os.sysconf("SC_PAGE_SIZE")

MINIBATCHES = """
import dynsim
problem = dynsim.Problem(K=3, gamma=0.75, P=36)
part = dynsim.Partition.blocks(problem)
run = 0
while True:
    field = dynsim.reduced.MinibatchField.fresh(problem, part, n=32, seed=run)
    dynsim.reduced.descend(field, eta=1.0, steps=100)
    run += 1
    print(run, flush=True)
"""


def grid(seeds: int) -> list[str]:
    """A sweep of 12 points for each seed: the same command goes on where it was killed."""
    axes = ["--K", "1", "--P", "36,64", "--kappa-c", "0.7:0.9:3", "--kappa-s", "0.3,0.5", "--seeds", str(seeds)]
    return ["sweep", *axes, "--method", "samples", "--n", "16", "--steps", "60", "--workers", "1", "--quiet"]


def start(*command: str) -> subprocess.Popen:
    """A Python process of its own."""
    return subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


class Memory:
    """Resident memory of long-lived processes along time, in MB."""

    def __init__(self, seconds: float) -> None:
        self.began, self.seconds, self.seen = time.monotonic(), seconds, {}

    def note(self, name: str, pid: int) -> None:
        """Read how much a process has now."""
        try:
            with open(f"/proc/{pid}/statm") as file:
                size = int(file.read().split()[1]) * PAGE / 2**20
        except (FileNotFoundError, ProcessLookupError, IndexError):
            return
        self.seen.setdefault(name, []).append(((time.monotonic() - self.began) / self.seconds, size))

    def growth(self, name: str) -> tuple[float, float]:
        """Median of the second and of the last quarter of the time, MB; NaN where there is none."""
        quarters = [[size for at, size in self.seen[name] if low <= at < low + 0.25] for low in (0.25, 0.75)]
        return tuple(statistics.median(sizes) if sizes else float("nan") for sizes in quarters)


def requests(address: str, stop: threading.Event, count: Counter, draw: random.Random) -> None:
    """Ask the explorer for data, figures and pages, and for what it must refuse, until `stop` is set."""
    root = address.rsplit("/", 2)[0] + "/"
    first = True
    while not stop.is_set():
        query = f"?K={draw.randint(1, 3)}&P=1e{draw.randint(4, 30)}&kappa_s={draw.uniform(0.2, 0.5):.3f}"
        paths = [address + "data.json" + query] * 6 + [address + "data.csv" + query, address + "figure.png" + query, address]
        refused = [address + "data.json?K=two", address + "data.json?" + "x" * 5000, root, root + "x/data.json"]
        for path in paths + refused if first else [draw.choice(paths + refused)]:  # all once, so that everything is loaded
            try:
                with urllib.request.urlopen(path, timeout=120) as answer:
                    answer.read()
                    count[answer.status] += 1
            except urllib.error.HTTPError as error:
                count[error.code] += 1
                error.close()
            except OSError as error:
                count[f"no answer: {error}"] += 1
        first = False
        stop.wait(0.05)


class Sweep:
    """A sweep that is killed at random; what was in its store must stay in it, bit for bit."""

    def __init__(self, store: str, draw: random.Random) -> None:
        self.store, self.draw, self.rows, self.seeds = store, draw, {}, 1
        self.kills = self.finished = self.lost = 0
        self.begin()

    def begin(self) -> None:
        """Start it, or let it go on."""
        self.process = start("-m", "dynsim", *grid(self.seeds), "--out", self.store)
        self.until, self.version = None, self.stamp()
        if self.draw.random() < 0.25:  # at any time, also while it starts; otherwise some time after it has stored something
            self.until = time.monotonic() + self.draw.expovariate(1 / 4.0)

    def stamp(self) -> int:
        """When the store was written last."""
        return os.stat(self.store).st_mtime_ns if os.path.exists(self.store) else 0

    def step(self) -> None:
        """Kill it where its time has come, look at the store, and go on; with one more seed where it had ended."""
        if self.until is None and self.stamp() != self.version:
            self.until = time.monotonic() + self.draw.expovariate(1 / 2.0)
        running = self.process.poll() is None
        if running and (self.until is None or time.monotonic() < self.until):
            return
        if running:
            self.process.send_signal(signal.SIGKILL)
            self.kills += 1
        status = self.process.wait()
        self.look()
        if status == 0:
            self.finished += 1
            self.lost += len(self.rows) != 12 * self.seeds
            self.seeds += 1
        elif status != -signal.SIGKILL:
            self.lost += 1  # it must end well unless it was killed
        self.begin()

    def look(self) -> None:
        """Every row that was there is there, as it was."""
        if not os.path.exists(self.store):
            return
        table = sweep.load(self.store)
        now = {row[0]: repr(row) for row in zip(*(values.tolist() for values in [table["key"], *table.values()]), strict=True)}
        self.lost += sum(now.get(key) != row for key, row in self.rows.items())
        self.rows = now


def main() -> int:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (60)")
    parser.add_argument("--seed", type=int, default=0, help="of the times of kills and of the requests (0)")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no child is left behind
    seconds, draw, count, stop = args.minutes * 60, random.Random(args.seed), Counter(), threading.Event()
    runs, processes, threads = [0], {}, []
    with tempfile.TemporaryDirectory() as folder:
        memory, swept = Memory(seconds), Sweep(os.path.join(folder, "sweep.sqlite"), draw)
        processes["minibatch runs"] = start("-c", MINIBATCHES)

        def follow() -> None:
            for line in processes["minibatch runs"].stdout:
                runs[0] = int(line)

        threads.append(threading.Thread(target=follow, daemon=True))
        if importlib.util.find_spec("bokeh"):
            processes["explorer"] = start("-m", "dynsim", "explore", "--no-browser", "--K", "2", "--P", "1e6")
            address = processes["explorer"].stdout.readline().strip()
            job = (address, stop, count, random.Random(args.seed + 1))
            threads.append(threading.Thread(target=requests, args=job, daemon=True))
        try:
            for thread in threads:
                thread.start()
            while time.monotonic() - memory.began < seconds:
                swept.step()
                for name, process in processes.items():
                    memory.note(name, process.pid)
                time.sleep(0.2)
            stop.set()
            for thread in threads[1:]:
                thread.join()  # the last request is answered
            alive = {name: process.poll() is None for name, process in processes.items()}
        finally:
            stop.set()
            for process in (swept.process, *processes.values()):
                process.kill()
                process.wait()
        swept.look()
    figures = {
        "minutes": args.minutes,
        "sweep": {"kills": swept.kills, "finished": swept.finished, "rows": len(swept.rows), "lost or changed": swept.lost},
        "minibatch runs": {"runs": runs[0], "alive": alive["minibatch runs"]},
    }
    if "explorer" in processes:
        answers = {str(status): n for status, n in sorted(count.items(), key=str)}
        figures["explorer"] = {"answers": answers, "alive": alive["explorer"]}
    good = swept.lost == 0 and all(alive.values()) and not any(str(status).startswith("no answer") for status in count)
    for name in processes:
        before, after = memory.growth(name)
        figures[name] |= {"MB": [round(before, 1), round(after, 1)], "growth": round(after / before - 1, 4)}
        good &= after <= before * (1 + FLAT)
    print(json.dumps(figures, indent=1))
    print("passed" if good else "FAILED")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())

"""How fast dynsim is, against what a user would do instead and against the limit. Every row is a ratio of two timings.

    python scripts/benchmark.py [--quick] [--out FILE.json]

The two sides of a row are run in turn, A B A B ..., in one process and on the same number of threads; each turn times as many
calls in a row as take 50 ms, as a descent makes them, after as many that wake the cores and do not count (where a side is BLAS
or OpenMP, after a pause in which its threads come to rest). The table gives the medians, their ratio and its range over the
turns. Torch is used where it is installed. Whole grid: about 6 minutes.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

THREADS = int(os.environ.setdefault("NUMBA_NUM_THREADS", str(len(os.sched_getaffinity(0)))))
os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))
os.environ.setdefault("OPENBLAS_NUM_THREADS", str(THREADS))

import joblib  # noqa: E402 (after the thread counts)
import numpy as np  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from scipy.integrate import solve_ivp  # noqa: E402

import dynsim  # noqa: E402

REST = 0.05  # seconds: threads of BLAS and OpenMP go on spinning for a while after their work

try:
    import torch

    torch.set_num_threads(THREADS)
except ImportError:
    torch = None


def seconds(call):
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def repeated(call, rest):
    """Wall time per call, over as many calls in a row as take some 50 ms, after a rest and as many that do not count."""
    count = max(1, int(0.05 / max(seconds(call), 1e-9)))

    def run():
        time.sleep(rest)
        for _ in range(count if count > 1 else 0):  # a core that the other side left idle takes a while to come back
            call()
        return seconds(lambda: [call() for _ in range(count)]) / count

    return run


def in_turn(a, b, turns, rest=0.0):
    """Times of a and b per call, in turn."""
    a(), b()
    a, b = repeated(a, rest), repeated(b, rest)
    pairs = [(a(), b()) for _ in range(turns)]
    return [p[0] for p in pairs], [p[1] for p in pairs]


class Rows:
    """The table under way: what is compared, median times, ratio a / b with its range over the turns."""

    def __init__(self):
        self.rows = []

    def add(self, name, a, b, wanted=""):
        ratios = sorted(x / y for x, y in zip(a, b, strict=True))
        self.rows.append(
            {
                "row": name,
                "a_s": statistics.median(a),
                "b_s": statistics.median(b),
                "ratio": statistics.median(ratios),
                "ratio_min": ratios[0],
                "ratio_max": ratios[-1],
                "wanted": wanted,
            }
        )
        print(f"{name}: {self.rows[-1]['ratio']:.3g}", file=sys.stderr, flush=True)

    def show(self, header):
        table = Table(title=header)
        for column in ("row", "A [ms]", "B [ms]", "A / B", "range", "wanted"):
            table.add_column(column, justify="left" if column in ("row", "wanted") else "right")
        for r in self.rows:
            cells = [f"{1e3 * r['a_s']:.4g}", f"{1e3 * r['b_s']:.4g}", f"{r['ratio']:.3g}"]
            table.add_row(r["row"], *cells, f"{r['ratio_min']:.3g} .. {r['ratio_max']:.3g}", r["wanted"])
        Console(width=150).print(table)


def case(P=196, K=4, gamma=0.8, n=256, threads=THREADS):
    """Problem, partition, images, exact field, and a state that is not zero."""
    problem = dynsim.Problem(P=P, K=K, gamma=gamma)
    part = dynsim.Partition.blocks(problem)
    data = dynsim.sample(problem, part, n=n, seed=0)
    field = dynsim.reduced.EmpiricalField(part, data, threads=threads)
    y = 0.1 * np.random.default_rng(0).normal(size=field.start().shape)
    return problem, part, data, field, y


def recursion(field, y):
    """One step of the exact recursion, in place of a loop around it."""
    out = np.empty_like(y)
    return lambda: field.velocity(y, out=out)


def full_numpy(part, data):
    """One gradient of full descent in NumPy."""
    embedding = dynsim.Embedding.orthonormal(part)
    Q = np.zeros((embedding.d, embedding.d))
    return lambda: dynsim.full.gradient(Q, part, data, embedding)


def full_torch(part, data):
    """One gradient of full descent in torch: explicit Q, autograd, batched over all images, double precision."""
    P, d = part.P, part.P + part.F
    rows = torch.arange(P)
    X = torch.zeros(data.n, P, d, dtype=torch.float64)
    for i, k in enumerate(data.cluster):
        X[i, rows, torch.tensor(part.own[k])] = torch.tensor(data.z[i][part.labels[k]])
    positions = torch.zeros(P, d, dtype=torch.float64)
    positions[rows, part.F + rows] = 1.0
    masked = torch.tensor(data.masked, dtype=torch.float64)
    shown = X * (1 - masked)[:, :, None]
    keys = (shown + positions).reshape(data.n * P, d)
    Q = torch.zeros(d, d, dtype=torch.float64, requires_grad=True)

    def step():
        scores = (keys @ (positions @ Q).T).reshape(data.n, P, P).transpose(1, 2)
        F = torch.softmax(scores, dim=-1) @ shown
        loss = 0.5 * (((F - X) ** 2).sum(-1) * masked).sum() / data.n
        return torch.autograd.grad(loss, Q)

    return step


def exponentials(part, data):
    """One np.exp call over as many numbers as a step cannot avoid: masked query x shown area x image, and PP once."""
    shown = sum(
        int(masked.sum()) * len(np.unique(part.own[k][~masked])) for k, masked in zip(data.cluster, data.masked, strict=True)
    )
    x = np.random.default_rng(0).normal(size=shown + part.P**2)
    out = np.empty_like(x)
    return lambda: np.exp(x, out=out)


def additions(part, data):
    """As many additions as a step makes multiply-adds, forward and back, streamed within the second-level cache."""
    count = 2 * int((~data.masked).sum()) * round(data.masked_mean)
    block, total = np.random.default_rng(0).normal(size=16384), np.zeros(16384)

    def stream():
        for _ in range(count // block.size):
            np.add(total, block, out=total)

    return stream


def recursion_rows(rows, quick):
    cases = [(64, 64), (64, 256), (196, 64), (196, 256)] if quick else None
    cases = cases or [(64, 64), (64, 256), (64, 1024), (196, 64), (196, 256), (196, 1024), (576, 64), (576, 256)]
    for P, n in cases:
        _, part, data, field, y = case(P=P, n=n)
        turns = 3 if P < 576 else 2
        wanted = ">= 300" if (P, n) == (196, 256) else ""
        step = recursion(field, y)
        rows.add(f"full in NumPy / exact recursion, P={P} n={n}", *in_turn(full_numpy(part, data), step, turns, REST))
        if torch is not None:
            rows.add(f"full in torch / exact recursion, P={P} n={n}", *in_turn(full_torch(part, data), step, turns, REST), wanted)


def kernel_rows(rows, turns):
    _, part, data, field, y = case()
    step = recursion(field, y)
    rows.add("exact recursion / its exponentials", *in_turn(step, exponentials(part, data), turns), "<= 2.5")
    rows.add("exact recursion / its multiply-adds as np.add", *in_turn(step, additions(part, data), turns))
    one = recursion(case(threads=1)[3], y)
    rows.add("exact recursion, one thread / two", *in_turn(one, recursion(case(threads=2)[3], y), turns), ">= 1.8")
    rows.add("exact recursion, n=512 / n=256", *in_turn(recursion(case(n=512)[3], y), step, turns), "2 +- 10 %")
    problem, part = case()[:2]
    population = recursion(dynsim.reduced.PopulationField(problem, part, threads=THREADS), y)
    rows.add("population step, P=196 K=4 / 5 ms", *in_turn(population, lambda: time.sleep(0.005), turns), "<= 1")


def contrastive_case(P=196, K=4, gamma=0.8, n=256, threads=THREADS, **options):
    """Partition, pairs, field on one row of correlations, and a state that is not zero."""
    problem = dynsim.Problem(P=P, K=K, gamma=gamma)
    part = dynsim.Partition.blocks(problem)
    pairs = dynsim.sample_pairs(problem, part, n=n, seed=0)
    field = dynsim.reduced.ContrastiveField(part, pairs, threads=threads, **options)
    return part, pairs, field, 0.1 * np.random.default_rng(0).normal(size=field.start().shape)


def contrastive_torch(part, pairs, temperature=0.5):
    """One gradient of the contrastive loss in torch: explicit Q, autograd, batched over all views, double precision."""
    P, F, d, n = part.P, part.F, part.P + part.F, pairs.n
    own = torch.tensor(part.own[pairs.cluster])
    z = torch.tensor(np.take_along_axis(pairs.z, part.labels[pairs.cluster], axis=1))
    X = torch.zeros(n, P, d, dtype=torch.float64).scatter_(2, own[:, :, None], z[:, :, None])
    positions = torch.zeros(P, d, dtype=torch.float64)
    positions[torch.arange(P), F + torch.arange(P)] = 1.0
    shown = [X * torch.tensor(~view)[:, :, None] for view in pairs.views]
    keys = [(view + positions).reshape(n * P, d) for view in shown]
    Q = torch.zeros(d, d, dtype=torch.float64, requires_grad=True)

    def pooled(view):
        scores = (keys[view] @ (positions @ Q).T).reshape(n, P, P).transpose(1, 2)
        return (torch.softmax(scores, dim=-1) @ shown[view]).mean(dim=1)

    def step():
        a = pooled(0)
        with torch.no_grad():
            b = pooled(1)
        loss = temperature * torch.nn.functional.cross_entropy(a @ b.T / temperature, torch.arange(n))
        return torch.autograd.grad(loss, Q)

    return step


def contrastive_rows(rows, turns, quick):
    part, pairs, field, y = contrastive_case()
    step = recursion(field, y)
    a, _ = in_turn(step, lambda: time.sleep(0.001), turns)
    rows.add("contrastive step, P=196 n=256 pairs / 1 ms", a, [0.001] * len(a), "<= 1")
    if torch is not None:
        rows.add("contrastive step in torch / in one row", *in_turn(contrastive_torch(part, pairs), step, 3, REST), ">= 300")
    _, _, _, reconstruction, start = case()
    mixed = dynsim.reduced.SumField([(1.0, reconstruction), (part.P, field)])
    times = in_turn(recursion(mixed, start), recursion(reconstruction, start), turns)
    rows.add("mixed step / reconstruction step", *times, "<= 3.5")
    sizes = (256, 1024) if quick else (256, 4096)
    wanted = f"{sizes[1] // sizes[0]} +- 10 %"
    for one_row, name in ((True, "one row"), (False, "a row a query")):

        def steps(number, threads, one_row=one_row):
            options = {"one_row": one_row, "negatives": number, "threads": threads}
            return [recursion(*contrastive_case(n=n, **options)[2:]) for n in sizes[::-1]]

        # work per pair: what a step takes besides, 6 us and on two threads 3 us of waiting, few pairs do not hide
        alone, on_one = steps(1, THREADS), steps(1, 1)
        rows.add(f"{name}, one negative a pair, one thread: n={sizes[1]} / {sizes[0]}", *in_turn(*on_one, turns), wanted)
        rows.add(f"{name}, one negative a pair: n={sizes[1]} / {sizes[0]}", *in_turn(*alone, turns), wanted)
        rows.add(f"{name}, n={sizes[1]}: all negatives / one", *in_turn(steps(None, THREADS)[0], alone[0], turns))


def orbit(P, kappa_c=0.9):
    """One orbit run to well past its escape, K=4."""
    problem = dynsim.Problem(P=P, K=4, kappa_c=kappa_c)
    t_end = 100 * dynsim.theory.escape_time(problem)
    return lambda: dynsim.reduced.flow(dynsim.reduced.OrbitField(problem, "LLLL"), t_end=t_end)


def stochastic_row(rows, turns):
    """Whole runs of 100 steps: 64 new images at every step against the same 64 at every step."""
    problem, part, _, fixed, _ = case(n=64)
    fresh = dynsim.reduced.MinibatchField.fresh(problem, part, n=64, threads=THREADS)
    run = lambda field: lambda: dynsim.reduced.descend(field, steps=100, keep=100)  # noqa: E731
    rows.add("64 fresh images / 64 fixed ones, whole runs", *in_turn(run(fresh), run(fixed), turns), "<= 2")


def flow_rows(rows, turns):
    base = orbit(1e3)
    for P in (1e3, 1e12, 1e30, 1e100):
        run = orbit(P)
        rows.add(f"orbit run K=4, P={P:g} / 200 ms", *in_turn(run, lambda: time.sleep(0.2), turns), "<= 1")
        rows.add(f"orbit run K=4, P={P:g} / P=1e3", *in_turn(run, base, turns), "<= 5" if P == 1e100 else "")
    _, part, data, field, _ = case(P=64, K=2, n=64)
    embedding = dynsim.Embedding.orthonormal(part)
    d, t_end = embedding.d, 50.0

    def unreduced():
        rhs = lambda t, Q: -dynsim.full.gradient(Q.reshape(d, d), part, data, embedding)[1].ravel()  # noqa: E731
        solve_ivp(rhs, (0, t_end), np.zeros(d * d), rtol=1e-8, atol=1e-8, method="DOP853")

    reduced = lambda: dynsim.reduced.flow(field, t_end, keep=2, rtol=1e-6)  # noqa: E731 (local tolerance 1e-8)
    rows.add("plain solve_ivp on Q / flow, P=64 n=64, same tolerance", *in_turn(unreduced, reduced, 3))


def mixed_run(P, weight, amplitude=None):
    """One mixed run to its horizon, K=4: all query types, contrast against reconstruction."""
    problem = dynsim.Problem(P=P, K=4, **({} if amplitude is None else {"amplitude": amplitude}))

    def run():
        field = dynsim.reduced.MixedOrbitField(problem, weight=weight)
        dynsim.reduced.flow(field, **{**field.run_options(problem), "t_end": field.horizon()})

    return run


def plane_point(weight, kappa_s):
    """Escape and collapse at one point of the plane of weight and information gap, P=1e12, K=4, fixed amplitude."""
    problem = dynsim.Problem(P=1e12, K=4, kappa_s=kappa_s, amplitude=dynsim.Fixed(1.0))
    field = dynsim.reduced.MixedOrbitField(problem, weight=weight)
    return dynsim.reduced.flow(field, field.horizon(), keep=2, rtol=1e-4, until="escape").meta["events"]


def mixed_orbit_rows(rows, quick):
    code = (
        "import dynsim; f = dynsim.reduced.MixedOrbitField(dynsim.Problem(K=2, P=1e12), weight=2.0);"
        "import os; a = os.times(); f.velocity(f.start()); b = os.times(); print(b.user + b.system - a.user - a.system)"
    )
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment).stdout
    rows.add("mixed orbit: compiling its kernels, CPU / 6 s", [float(printed)], [6.0], "<= 1")
    for amplitude, name in ((dynsim.Fixed(1.0), "fixed z"), (None, "random z")):
        for P in (1e3, 1e12, 1e100):
            for weight in (0.0, 0.5, 1.5, 2.5, 5.0):
                run = mixed_run(P, weight, amplitude)
                times = [seconds(run) for _ in range(2 if quick else 4)][1:]
                rows.add(f"mixed run K=4, P={P:g}, weight {weight:g}, {name} / 500 ms", times, [0.5] * len(times), "<= 1")
    side = 8 if quick else 40
    points = [(w, k) for w in np.linspace(0.1, 4.0, side) for k in np.linspace(0.1, 0.85, side)]
    pool = joblib.Parallel(n_jobs=2)
    pool(joblib.delayed(plane_point)(*point) for point in points[:2])
    taken = seconds(lambda: pool(joblib.delayed(plane_point)(*point) for point in points))
    name = f"plane of {side} x {side} weights and gaps, P=1e12, two workers / 60 s for 40 x 40"
    rows.add(name, [taken], [60.0 * len(points) / 1600], "<= 1")


def sweep_row(rows, quick):
    grid = "--K 1 --P 1e12 --kappa-c 0.5:0.98:51 --kappa-s 0.05:0.5:46 --quiet".split()
    if quick:
        grid[5], grid[7] = "0.5:0.98:17", "0.05:0.5:15"

    def sweep(workers):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "sweep.db")
            return seconds(lambda: command("-m", "dynsim", "sweep", *grid, "--workers", workers, "--out", path))

    points = 17 * 15 if quick else 51 * 46
    one, two = sweep("1"), sweep("2")
    name = f"sweep of {points} points on two workers ({points / two:.0f} points/s) / 51 x 46 in 30 s"
    rows.add(name, [two], [points * 30 / (51 * 46)], "<= 1")
    rows.add(f"sweep of {points} points, one worker / two", [one], [two], "" if quick else ">= 1.8")


def command(*words, **environment):
    """Run Python with these words; its output is thrown away."""
    subprocess.run([sys.executable, *words], check=True, capture_output=True, env={**os.environ, **environment})


def start_rows(rows, turns):
    bare = lambda: command("-c", "pass")  # noqa: E731
    simulate = ("-m", "dynsim", "simulate", "--K", "4", "--gamma", "0.8")
    for name, words, limit in (
        ("dynsim --help", ("-m", "dynsim", "--help"), 0.15),
        ("import dynsim", ("-c", "import dynsim"), 0.05),
        ("dynsim simulate, again", simulate, 1.5),
    ):
        a, b = in_turn(lambda words=words: command(*words), bare, turns)
        rows.add(f"{name} / {limit} s", a, [limit] * len(a), "<= 1")
        if name.startswith("import"):
            own = [x - y for x, y in zip(a, b, strict=True)]
            rows.add("import dynsim, less bare Python / 0.05 s", own, [limit] * len(a), "<= 1")
    with tempfile.TemporaryDirectory() as folder:
        first = seconds(lambda: command(*simulate, NUMBA_CACHE_DIR=folder))
    rows.add("dynsim simulate, first (compiling) / 20 s", [first], [20.0], "<= 1")


def memory_rows(rows):
    epochs = "f = dynsim.reduced.MinibatchField.resampled(a, data, n=256, masks='epoch'); steps = f.draw.steps_per_epoch + 1"
    fixed = "f = dynsim.reduced.EmpiricalField(a, data); steps = 2"
    for name, field in (("P=196 n=10,000", fixed), ("an epoch of them", epochs)):
        code = (
            "import dynsim; p = dynsim.Problem(P=196, K=4); a = dynsim.Partition.blocks(p);"
            f"data = dynsim.sample(p, a, n=10000); {field}; dynsim.reduced.descend(f, steps=steps, keep=[0, steps]);"
            "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
        )  # (ru_maxrss would count the parent that it was forked from)
        peak = int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout) / 2**10
        rows.add(f"peak memory, {name}: {peak:.0f} MiB / 1 GiB", [peak], [1024.0], "<= 1")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer sizes and turns")
    names = ["recursion", "kernel", "stochastic", "contrastive", "flow", "mixed-orbit", "sweep", "start", "memory", "images"]
    parser.add_argument("--only", choices=names, help="one group of rows")
    parser.add_argument("--out", default="benchmark.json", help="where the rows go as JSON")
    options = parser.parse_args()
    turns = 9 if options.quick else 15
    rows = Rows()
    groups = {
        "recursion": lambda: recursion_rows(rows, options.quick),
        "kernel": lambda: kernel_rows(rows, turns),
        "stochastic": lambda: stochastic_row(rows, turns),
        "contrastive": lambda: contrastive_rows(rows, turns, options.quick),
        "flow": lambda: flow_rows(rows, turns),
        "mixed-orbit": lambda: mixed_orbit_rows(rows, options.quick),
        "sweep": lambda: sweep_row(rows, options.quick),
        "start": lambda: start_rows(rows, turns),
        "memory": lambda: memory_rows(rows),
        "images": lambda: image_rows(rows, turns),
    }
    for name, group in groups.items():
        if options.only in (None, name):
            group()
    versions = {"python": platform.python_version(), "numpy": np.__version__, "dynsim": dynsim.__version__}
    if torch is not None:
        versions["torch"] = torch.__version__
    machine = {"machine": platform.machine(), "processor": processor(), "threads": THREADS}
    rows.show(", ".join(f"{k} {v}" for k, v in {**machine, **versions}.items()))
    with open(options.out, "w") as file:
        json.dump({**machine, "versions": versions, "rows": rows.rows}, file, indent=1)


def processor():
    """The processor's name, as far as the system tells."""
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def any_images(P, patch, channels, n=1000):
    """Random pictures cut into P patches, their field and a state that is not zero."""
    rng = np.random.default_rng(0)
    side = round(P**0.5) * patch
    images = dynsim.Images.cut(rng.normal(size=(n, side, side, channels)), patch=patch, gamma=0.75, scale="unit")
    field = dynsim.reduced.ImageField(images, threads=THREADS)
    return images, field, 0.1 * rng.normal(size=field.start().shape)


def image_torch(images):
    """One gradient of full descent on any images in torch: explicit Q, autograd, batched over all images, double precision."""
    P, D = images.P, images.P + images.d
    X = torch.zeros(images.n, P, D, dtype=torch.float64)
    X[:, :, : images.d] = torch.tensor(images.patches)
    positions = torch.eye(D, dtype=torch.float64)[images.d :]
    masked = torch.tensor(images.masked, dtype=torch.float64)
    shown = X * (1 - masked)[:, :, None]
    keys = (shown + positions).reshape(images.n * P, D)
    Q = torch.zeros(D, D, dtype=torch.float64, requires_grad=True)

    def step():
        scores = (keys @ (positions @ Q).T).reshape(images.n, P, P).transpose(1, 2)
        F = torch.softmax(scores, dim=-1) @ shown
        loss = 0.5 * (((F - X) ** 2).sum(-1) * masked).sum() / images.n
        return torch.autograd.grad(loss, Q)

    return step


def image_products(images):
    """What a step on any images cannot avoid: for each image four products of masked queries, unmasked keys and d pixels, by BLAS
    on arrays that are gathered already, and the exponentials of the scores."""
    rng = np.random.default_rng(0)
    hidden = int(images.masked[0].sum())
    shown = images.patches[~images.masked].reshape(images.n, -1, images.d)
    wide = np.ascontiguousarray(shown.transpose(0, 2, 1))
    phi, score = rng.normal(size=(images.n, hidden, images.d)), rng.normal(size=(images.n, hidden, shown.shape[1]))
    pp = rng.normal(size=(images.P, images.P))
    outputs = np.empty_like(score), np.empty_like(phi)

    def step():
        for _ in range(2):
            np.matmul(phi, wide, out=outputs[0])
            np.matmul(score, shown, out=outputs[1])
        np.exp(score, out=outputs[0])
        np.exp(pp)

    return step


def image_rows(rows, turns):
    for P, patch, channels in ((49, 4, 1), (64, 4, 3)):
        images, field, y = any_images(P, patch, channels)
        step, name = recursion(field, y), f"P={P} d={images.d} n={images.n}"
        if torch is not None:
            full = image_torch(images)
            rows.add(f"any images: full in torch / exact recursion, {name}", *in_turn(full, step, 3, REST), ">= 20")
        rows.add(
            f"any images: exact recursion / its products and exponentials, {name}",
            *in_turn(step, image_products(images), turns, REST), "<= 2.5",
        )
    code = (
        "import numpy as np, dynsim; n, P, d = 10_000, 196, 48; rng = np.random.default_rng(0);"
        "images = dynsim.Images(rng.normal(size=(n, P, d)), rng.permuted(np.tile(np.arange(P) % 4 > 0, (n, 1)), axis=1));"
        "dynsim.reduced.descend(dynsim.reduced.ImageField(images), eta=1e-3, steps=2);"
        "peak = next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM'));"
        "print(int(peak) / 2**10 - images.patches.nbytes / 2**20)"
    )
    beside = float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    rows.add(f"any images: peak beside them, P=196 d=48 n=10,000: {beside:.0f} MiB / 2 GiB", [beside], [2048.0], "<= 1")


if __name__ == "__main__":
    main()

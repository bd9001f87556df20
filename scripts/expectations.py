"""What to expect of every part, measured: prints the tables of docs/what-to-expect.md (some four minutes; --quick leaves out
the Monte Carlo rows). tests/ takes its measurements from here and holds the bounds."""

import sys
import time

import numpy as np

import dynsim
from dynsim import theory
from dynsim.errors import Diverged
from dynsim.reduced import EmpiricalField, MinibatchField, MixedOrbitField, OrbitField, PopulationField, descend, flow

KEPT = [0, 10, 30, 60, 100, 150, 200, 300, 400]
FIXED, WIDE = dynsim.Fixed(1.0), dynsim.Uniform(0.5, 1.5)
TWO_PHASES, ONE_PHASE = ((0.9, 0.4), (0.8, 0.2)), ((0.6, 0.4), (0.65, 0.5))  # (kappa_c, kappa_s): Delta = .4 and -.2


def monte_carlo(problem, part, n, images=20_000, batches=20):
    """400 steps at eta=2 on n new images a step, twice: (fp, pp, loss, noise), noise a dict of the standard errors.

    fp, pp: mean of the two runs, whose difference tells the noise (rms over entries, largest over time). loss: of `images`
    other ones at these correlations, in batches, with the images' own loss at Q = 0 and own floor, both known exactly, as
    control variates (least squares over batches)."""
    runs = [descend(MinibatchField.fresh(problem, part, n, seed=seed), eta=2.0, steps=400, keep=KEPT) for seed in (1, 2)]
    fp, pp = (sum(getattr(run, name) for run in runs) / 2 for name in ("fp", "pp"))
    noise = {name: rms(getattr(runs[0], name) - getattr(runs[1], name)).max() / 2 for name in ("fp", "pp")}
    states = [np.concatenate([a.T, b.T]) for a, b in zip(fp, pp, strict=True)]
    losses, controls = [], []
    for batch in range(batches):
        field = EmpiricalField(part, dynsim.sample(problem, part, images // batches, seed=[3, batch]))
        losses.append([field.velocity(y)[0] for y in states])
        controls.append([1.0, losses[-1][0] - theory.initial_loss(problem, part), field.floor - theory.loss_floor(problem, part)])
    losses, controls = np.array(losses), np.array(controls)
    fit = np.linalg.lstsq(controls, losses, rcond=None)[0]
    scatter = ((losses - controls @ fit) ** 2).sum(axis=0) / (batches - 3)
    noise["loss"] = np.sqrt(scatter * np.linalg.inv(controls.T @ controls)[0, 0])
    return fp, pp, fit[0], noise


def against_monte_carlo(problem, part, reference, masks="own-area"):
    """Largest errors of a closure along the run, and of the Monte Carlo, in percent: of the loss; of the largest |FP|, |PP|."""
    fp, pp, loss, noise = reference
    try:
        run = descend(PopulationField(problem, part, masks=masks), eta=2.0, steps=400, keep=KEPT)
    except Diverged as error:
        run = error.trajectory
    seen = len(run)
    result = {"loss": 100 * np.abs(run.loss / loss[:seen] - 1).max(), "loss noise": 100 * (noise["loss"] / loss).max()}
    for name, table in (("fp", fp), ("pp", pp)):
        largest = np.abs(table).max()
        result[name] = 100 * rms(getattr(run, name) - table[:seen]).max() / largest
        result[name + " noise"] = 100 * noise[name] / largest
    return result


def rms(x):
    """Root mean square over all axes but the first."""
    return np.sqrt((x**2).mean(axis=tuple(range(1, x.ndim))))


def listed(gamma, masks="own-area"):
    """A closure against every mask listed, P=12, K=2, z of .8 or 1.2, 400 steps: largest errors as in against_monte_carlo."""
    problem = dynsim.Problem(K=2, gamma=gamma, P=12, kappa_c=0.6, kappa_s=0.5, amplitude=dynsim.Discrete((0.8, 1.2)))
    part = dynsim.Partition.random(problem, seed=0)
    truth = descend(PopulationField(problem, part, masks="exact"), eta=2.0, steps=400, keep=KEPT)
    quiet = dict(loss=0.0, fp=0.0, pp=0.0)
    return against_monte_carlo(problem, part, (truth.fp, truth.pp, truth.loss, quiet), masks)


def by_orbit(problem, part, pp, fp):
    """Orbit means of explicit tables fp (P, F), pp (P, P): {query: (fp (K, 3), pp (S + 1,), spread)}; NaN where empty.
    spread: the largest deviation of an entry from the mean of its orbit."""
    is_global = part.labels == 0
    found = {}
    for in_global in {tuple(column) for column in is_global.T}:
        query = "".join("G" if here else "L" for here in in_global)
        layout = OrbitField(problem, query).layout
        entries = [[[] for _ in range(3)] for _ in range(part.K)], [[] for _ in range(len(layout.number) + 1)]
        for p in np.flatnonzero((is_global.T == in_global).all(axis=1)):
            roles = np.where(part.labels == part.labels[:, [p]], 0, np.where(is_global, 1, 2))
            for k in range(part.K):
                own, first = part.own[k, p], part.offset[k]
                for f in range(first, part.offset[k + 1]):
                    entries[0][k][0 if f == own else 1 if f == first else 2].append(fp[p, f])
            column = layout.class_of(roles)
            column[p] = len(layout.number)
            for q in range(part.P):
                entries[1][column[q]].append(pp[p, q])
        mean = lambda x: np.mean(x) if x else np.nan  # noqa: E731
        means = np.array([[mean(x) for x in row] for row in entries[0]]), np.array([mean(x) for x in entries[1]])
        apart = [np.abs(np.array(x) - mean(x)).max() for x in [*sum(entries[0], []), *entries[1]] if x]
        found[query] = (*means, max(apart))
    return found


def orbit_error(problem, part, masks="own-area", intersections="product", steps=60):
    """Orbits against the explicit partition after `steps` steps at eta=1: the largest deviation of a mean over an orbit from
    OrbitField, and of an entry from the mean of its orbit, over all query types: (deviation, spread)."""
    run = descend(PopulationField(problem, part, masks=masks, nodes=8), steps=steps, keep=[steps])
    deviation, spread = 0.0, 0.0
    for query, (fp, pp, apart) in by_orbit(problem, part, run.pp[-1], run.fp[-1]).items():
        orbit = descend(OrbitField(problem, query, masks, intersections, nodes=8), steps=steps, keep=[steps])
        for mean, x in ((fp, orbit.fp[-1]), (pp, orbit.pp[-1])):
            deviation = max(deviation, np.nanmax(np.abs(mean - x)))
        spread = max(spread, apart)
    return deviation, spread


def escape(P, kappas, law, K=1, rtol=1e-8, times=3.0):
    """A run of OrbitField past its escape: dict with escape time over (8) and over (15), depth less (9), and PP at escape."""
    problem = dynsim.Problem(K=K, gamma=0.75, P=P, kappa_c=kappas[0], kappa_s=kappas[1], amplitude=law)
    field = OrbitField(problem)
    run = flow(field, t_end=times * theory.escape_time(problem), rtol=rtol)
    t = run.meta["events"]["escape"]
    same = np.flatnonzero(run.t == t)  # at large P several events share a float
    at = same[np.argmin(np.abs(run.attention[same, 0, 0] - 0.5))]
    own_once = field.layout.class_of(np.array([[0], *[[2]] * (K - 1)]))[0]  # own area of one cluster, others of all others
    return {
        "t": t,
        "ratio": t / theory.escape_time(problem),
        "finite": t / theory.escape_time(problem, finite=True),
        "depth": run.fp[at, 0, 1] - theory.global_depth(problem),
        "pp": run.pp[at, own_once],
        "shown": run.attention[at, 0, 0],
        "run": run,
        "problem": problem,
    }


def late_slope(law, P=1e30, kappas=(0.9, 0.4), window=(1e3, 1e6)):
    """Slope of the excess loss over time, least squares in logs, from `window` times the escape time."""
    problem = dynsim.Problem(K=1, gamma=0.75, P=P, kappa_c=kappas[0], kappa_s=kappas[1], amplitude=law)
    field = OrbitField(problem)
    t = theory.escape_time(problem) * np.geomspace(*window, 40)
    run = flow(field, t_end=t[-1], keep=t)
    kept = np.isin(run.t, t)
    return np.polyfit(np.log(run.t[kept]), np.log(run.loss[kept] - field.floor), 1)[0]


def order(problem, query=None, t=8.0, etas=(0.04, 0.02, 0.01, 0.005), late=0.0):
    """Fitted order in eta of |descend to time t - flow to time t + late|, over FP and PP of an orbit."""
    field = OrbitField(problem, query)
    exact = flow(field, t_end=t + late, keep=[t + late], rtol=1e-11)
    errors = []
    for eta in etas:
        run = descend(field, eta=eta, steps=round(t / eta), keep=[round(t / eta)])
        errors.append(max(np.abs(run.fp[-1] - exact.fp[-1]).max(), np.abs(run.pp[-1] - exact.pp[-1]).max()))
    return np.polyfit(np.log(etas), np.log(errors), 1)[0]


def cost(sizes=(1e3, 1e100), repeats=3):
    """CPU seconds of one run (K=4, one query, rtol=1e-8, 100 escape times) at each P, interleaved, the least of some repeats."""
    problems = [dynsim.Problem(K=4, gamma=0.8, P=P) for P in sizes]
    flow(OrbitField(problems[0]), t_end=1.0, rtol=1e-4)  # compiles
    spent = np.full((repeats, len(sizes)), np.inf)
    for i in range(repeats):
        for j, problem in enumerate(problems):
            began = time.process_time()
            flow(OrbitField(problem), t_end=100 * theory.escape_time(problem))
            spent[i, j] = time.process_time() - began
    return spent.min(axis=0)


def percent(found):
    """Errors of a closure as table cells: loss, FP, PP, and the noise of what they are measured against."""
    cells = [f"{found[name]:.2g} %" for name in ("loss", "fp", "pp")]
    noise = [f"{found[name + ' noise']:.2g}" for name in ("loss", "fp", "pp") if name + " noise" in found]
    return [*cells, ", ".join(noise) + " %" if any(float(x) for x in noise) else "none"]


def table(title, head, rows):
    """Print a Markdown table, row by row as it is measured."""
    print(f"\n{title}\n\n| " + " | ".join(head) + " |\n|" + " --- |" * len(head))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |", flush=True)


def exactness():
    """Largest deviations of what is exact, over all correlations."""
    problem = dynsim.Problem(K=2, gamma=0.75, P=16, kappa_c=0.6, kappa_s=0.4)
    part = dynsim.Partition.blocks(problem)
    data = dynsim.sample(problem, part, 30)
    a, b = descend(EmpiricalField(part, data), steps=50), dynsim.full.descend(part, data, steps=50)
    error = max(np.abs(a.fp - b.fp).max(), np.abs(a.pp - b.pp).max())
    yield "`EmpiricalField`", "exact", "`full.descend` (explicit Q), 50 steps", f"{error:.0e}"
    problem = dynsim.Problem(K=1, gamma=0.5, P=6, kappa_c=0.6, kappa_s=0.6)
    part = dynsim.Partition.random(problem, seed=0)
    y = np.random.default_rng(0).normal(size=(part.F + 6, 6))
    y[: part.F] *= 3 / np.abs(y[: part.F]).max()
    v = [PopulationField(problem, part, masks="exact", nodes=n).velocity(y)[1] for n in (6, 24)]
    error = np.abs(v[0] - v[1]).max()
    yield '`PopulationField`, `masks="exact"`', "exact, P <= 16", "24 amplitude nodes for 6, FP up to 3", f"{error:.0e}"
    for K, P, kappa_c, kappa_s in ((1, 16, 1 / 2, 1 / 2), (2, 64, 2 / 3, 1 / 2), (3, 64, 5 / 6, 2 / 3)):
        problem = dynsim.Problem(K=K, gamma=0.75, P=P, kappa_c=kappa_c, kappa_s=kappa_s)
        error = orbit_error(problem, dynsim.Partition.product(problem))[0]
        yield f'`OrbitField`, `intersections="product"`, K={K}', "same closure", "`PopulationField`, 60 steps", f"{error:.0e}"
    for P in (64, 144, 400):
        problem = dynsim.Problem(K=2, gamma=0.75, P=P, kappa_c=0.8, kappa_s=0.5)
        error, spread = orbit_error(problem, dynsim.Partition.random(problem, seed=0), intersections="independent")
        found = f"{error:.1g}, entries scatter by {spread:.1g}"
        yield f"`OrbitField`, P={P}", "mean of an orbit", "`PopulationField`, random partition", found
    yield "`descend`", "order 1 in eta", "`flow`", f"fitted order {order(dynsim.Problem(K=2, gamma=0.75, P=64)):.4f}"


def closures(quick):
    """Errors of the mask closures."""
    for gamma in (0.5, 0.75):
        for masks in ("own-area", "mean-field"):
            yield masks, 12, 2, gamma, "every mask", *percent(listed(gamma, masks))
    cases = ((64, 2, 0.75), (64, 2, 0.5), (64, 4, 0.8), (64, 4, 0.5), (196, 2, 0.75), (196, 4, 0.8))
    for P, K, gamma in () if quick else cases:
        problem = dynsim.Problem(K=K, gamma=gamma, P=P)
        part = dynsim.Partition.blocks(problem, seed=0)
        reference = monte_carlo(problem, part, 600, 20_000 if P == 64 else 6_000)
        for masks in ("own-area", "mean-field"):
            yield masks, P, K, gamma, "Monte Carlo", *percent(against_monte_carlo(problem, part, reference, masks))


def large():
    """Escape time, depth and PP of the orbits against the closed forms."""
    for law, name in ((FIXED, "z = 1"), (WIDE, "U[.5, 1.5]")):
        for kappas in (*TWO_PHASES, *ONE_PHASE):
            for P in (1e6, 1e12, 1e20, 1e30, 1e100):
                found = escape(P, kappas, law)
                pp = found["pp"] / theory.pp_size(found["problem"])
                cells = f"{found['ratio'] - 1:+.1e}", f"{found['finite'] - 1:+.1e}", f"{found['depth']:+.1e}", f"{pp - 1:+.1e}"
                yield name, *kappas, f"{found['problem'].Delta:+.1f}", f"{P:.0e}", *cells


def exponents():
    """Slopes: of the escape time and of PP in P, of the late loss in t."""
    for law, name in ((FIXED, "z = 1"), (WIDE, "U[.5, 1.5]")):
        for kappas in (TWO_PHASES[0], ONE_PHASE[0]):
            a, b = escape(1e20, kappas, law), escape(1e30, kappas, law)
            slopes = (np.log10(b[key] / a[key]) / 10 for key in ("t", "pp"))
            yield name, *kappas, *(f"{x:.4f}" for x in slopes), f"{late_slope(law, kappas=kappas):.4f}"


def tolerances(quick):
    """Mixed runs, random z, K=4, at several rtol: largest differences from rtol=1e-8 over weights and P, without events that one
    of two runs lacks (docs/contrastive-population.md, "What a run does not settle")."""
    sizes = (1e3, 1e12) if quick else (1e3, 1e6, 1e12, 1e20, 1e30, 1e60, 1e100)
    points = [(P, weight) for P in sizes for weight in (0.5, 1.5, 2.5, 5.0) if (P, weight) != (1e20, 2.5)]
    runs = {}
    for P, weight in points:
        field = MixedOrbitField(dynsim.Problem(P=P, K=4), weight)
        times = np.append(0.0, np.geomspace(1e-12, 1.0, 60)) * field.horizon()
        for rtol in (1e-4, 1e-5, 1e-6, 1e-8):
            runs[P, weight, rtol] = flow(field, field.horizon(), keep=times, rtol=rtol)
    for rtol in (1e-4, 1e-5, 1e-6):
        worst = np.zeros(5)
        for P, weight in points:
            run, exact = runs[P, weight, rtol], runs[P, weight, 1e-8]
            _, i, j = np.intersect1d(run.t, exact.t, return_indices=True)  # one may end early, and both save events
            found = []
            for name in ("attention", "fp"):
                moved = np.abs(getattr(run, name)[i] - getattr(exact, name)[j]).reshape(len(i), -1).max(axis=1)
                found += [np.median(moved), moved.max()]
            events = [(run.meta["events"][e], t) for e, t in exact.meta["events"].items() if t and run.meta["events"][e]]
            worst = np.maximum(worst, [max(abs(t / s - 1) for t, s in events), *found])
        yield f"{rtol:.0e}", *(f"{x:.0e}" for x in worst)


def main():
    dynsim.reduced.flow(OrbitField(dynsim.Problem(P=1e3)), t_end=1.0)  # compiles
    table("Exact parts", ("part", "class", "against", "largest deviation"), exactness())
    head = ("masks", "P", "K", "gamma", "against", "loss", "FP rms", "PP rms", "noise (loss, FP, PP)")
    table("Closures: largest error along 400 steps at eta=2, z ~ U[.8, 1.2]", head, closures("--quick" in sys.argv))
    head = ("z", "kappa_c", "kappa_s", "Delta", "P", "t / (8) - 1", "t / (15) - 1", "depth - (9)", "PP / (13) - 1")
    table("Large P: a local query, K=1, gamma=.75, at its escape", head, large())
    head = ("z", "kappa_c", "kappa_s", "escape time in P", "PP in P", "late excess loss in t")
    table("Exponents, P from 1e20 to 1e30; late loss at P=1e30, 1e3 to 1e6 escape times", head, exponents())
    head = ("rtol", "times of events", "attention, median", "largest", "FP, median", "largest")
    table("Mixed runs, random z, K=4: differences from rtol=1e-8", head, tolerances("--quick" in sys.argv))
    sizes = (1e3, 1e6, 1e12, 1e30, 1e100)
    row = (f"{seconds:.2f} s" for seconds in cost(sizes))
    table("CPU time of one query type, K=4, gamma=.8, rtol=1e-8, to 100 escape times", [f"P = {P:.0e}" for P in sizes], [row])


if __name__ == "__main__":
    main()

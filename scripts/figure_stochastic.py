"""Stochastic descent
==================

The scatter of the correlations against its theory, and what batch and step size do to the phases.

(a) P = 18, K = 3: trace of the covariance of FP and PP correlations over runs on fresh images, at t = 2, against eta / n, with
t eta C / n (M5) as lines; (b) its ratio to theory against t: one at the start, off by the drift later; (c) P = 196, K = 4:
global FP correlation of local queries (mean) along two batch sizes and the population, with the time from which it stands
out from the noise (M6); (d) end of phase I over runs against n / eta, with that of the population.
"""

import argparse
import os

import matplotlib
import numpy as np

from dynsim import Partition, Problem, analysis, plots, reduced, theory

parser = argparse.ArgumentParser(description="Stochastic descent")
parser.add_argument("--quick", action="store_true", help="fewer runs, shorter ones")
parser.add_argument("--out", default=".", help="folder for stochastic.png and .pdf")
args = parser.parse_args()
os.makedirs(args.out, exist_ok=True)
matplotlib.rcParams.update(plots.STYLE)

figure, ((first, second), (third, fourth)) = plots.figure(2, 2, plots.DOUBLE, 4.6)
small = Problem(K=3, gamma=0.6, P=18, kappa_c=0.7, kappa_s=0.4)
part = Partition.random(small, seed=1)
noise = theory.initial_noise(small, part, draws=5000 if args.quick else 40000)
runs, times = (25, np.array([2.0, 4.0])) if args.quick else (150, np.array([1.0, 2.0, 4.0, 8.0]))
settings = ((0.5, 16), (1.0, 8), (1.0, 64)) if args.quick else (
    (0.25, 64), (0.25, 16), (0.5, 16), (1.0, 64), (1.0, 16), (0.25, 4), (0.5, 4), (1.0, 4)
)
colors, fits = {"fp": plots.BLUE, "pp": plots.RED}, {"fp": [], "pp": []}
for eta, n in settings:
    keep = np.round(times / eta).astype(int).tolist()
    options = {"eta": eta, "steps": keep[-1], "keep": keep}
    found = [reduced.descend(reduced.MinibatchField.fresh(small, part, n, seed), **options) for seed in range(runs)]
    for name, marker in (("fp", "o"), ("pp", "s")):
        y = np.array([getattr(run, name)[1:] for run in found])
        each = np.sum((y - y.mean(axis=0)) ** 2, axis=(2, 3)) * runs / (runs - 1)
        value, error = each.mean(axis=0), each.std(axis=0, ddof=1) / np.sqrt(runs)
        theory_value = np.array([noise.scatter(t, eta, n, name) for t in times])
        fits[name].append((eta / n, value / theory_value, error / theory_value))
        at = int(np.flatnonzero(times == 2.0)[0])
        first.errorbar(eta / n, value[at], error[at], color=colors[name], marker=marker, ms=4, mfc="white", mew=0.8, lw=0.7)
        shift = 1.008 ** (settings.index((eta, n)) - len(settings) / 2)
        ratio, error = fits[name][-1][1:]
        second.errorbar(times * shift, ratio, error, color=colors[name], marker=marker, ms=3, lw=0.5, mfc="white", mew=0.6, ls="")
x = np.array([0.8 * min(eta / n for eta, n in settings), 1.25 * max(eta / n for eta, n in settings)])
for name, dashes in (("fp", "-"), ("pp", "--")):
    line = [noise.scatter(2.0, a, 1, name) for a in x]
    first.plot(x, line, color=colors[name], ls=dashes, label=f"{name.upper()}, theory (M5)")
    ratio = np.array([r for _, r, _ in fits[name]])
    error = np.array([e for _, _, e in fits[name]])
    # 1 + delta + b t, each point by its error; then the slope in log (eta / n) at t = 2
    w, X = 1 / error.ravel() ** 2, np.stack([np.ones(ratio.size), np.tile(times, len(settings))], axis=1)
    covariance = np.linalg.inv(X.T @ (w[:, None] * X))
    delta, b = covariance @ (X.T @ (w * (ratio.ravel() - 1)))
    second.plot(times, 1 + delta + b * times, color=colors[name], ls=dashes, label=name.upper())
    lx, ly, lw = np.log([f[0] for f in fits[name]]), np.log(ratio[:, at]), 1 / (error[:, at] / ratio[:, at]) ** 2
    lx = lx - np.average(lx, weights=lw)
    slope, slope_error = 1 + np.sum(lw * lx * ly) / np.sum(lw * lx**2), 1 / np.sqrt(np.sum(lw * lx**2))
    at_zero = np.sqrt(covariance[0, 0])
    print(f"{name}: scatter goes as (eta / n)^s, s = {slope:.3f} +- {slope_error:.3f} (z = {(slope - 1) / slope_error:+.1f}); "
          f"at t -> 0 it is off theory by {delta:+.3f} +- {at_zero:.3f} (z = {delta / at_zero:+.1f}), and {b:+.3f} t")
first.set(xscale="log", yscale="log", xlabel=r"step size / batch size, $\eta/n$", ylabel="trace of the covariance, $t=2$")
plots.legend(first, loc="upper left")
second.axhline(1, color=plots.GREY, lw=0.7)
second.set(xlabel=plots.TIME, ylabel="trace / theory (M5)")
plots.legend(second, loc="upper center")

problem = Problem(K=4, gamma=0.8, P=64 if args.quick else 196)
part = Partition.blocks(problem)
noise = theory.initial_noise(problem, part, draws=1000 if args.quick else 10000)
eta, steps = 4.0, 100 if args.quick else 300
own, cluster = part.own, part.offset[:-1]
local = part.labels > 0
options = {"eta": eta, "steps": steps, "keep": sorted({int(s) for s in np.geomspace(1, steps, 40)})}
population = reduced.descend(reduced.PopulationField(problem, part), **options)


def at_global(run):
    """Mean FP correlation of local queries with the global area, along the run."""
    query = np.nonzero(local)
    return run.fp[:, query[1], cluster[query[0]]].mean(axis=1)


def end_of_first(run):
    """End of phase I; None where the run does not show it."""
    return analysis.phases.find(run, part).decoupling.end


third.plot(population.t[1:], -at_global(population)[1:], color=plots.GREY, lw=2, label="population")
batches = (4, 64) if args.quick else (1, 4, 16, 64, 256)
ends = {}
for n in batches:
    repeats = 3 if args.quick else 10
    found = [reduced.descend(reduced.MinibatchField.fresh(problem, part, n, seed), **options) for seed in range(repeats)]
    if n in (batches[0], 64):
        color = plots.RED if n == batches[0] else plots.BLUE
        third.plot(found[0].t[1:], -at_global(found[0])[1:], color=color, label=f"$n={n}$")
        third.axvline(noise.resolved(eta, n, "fp"), color=color, ls=":", lw=0.8)
    ends[n] = [end for end in map(end_of_first, found) if end is not None]
    spread = np.array(ends[n])
    print(f"n={n}: phase I ends at {spread.mean():.4g}, sd {spread.std(ddof=1):.3g} over {len(spread)} runs; FP correlations "
          f"stand out from noise from t = {noise.resolved(eta, n, 'fp'):.3g} on")
    fourth.plot([n / eta] * len(spread), spread, color=plots.BLUE, marker="o", ms=3, mfc="white", mew=0.7, ls="")
third.set(xscale="log", yscale="log", xlabel=plots.TIME, ylabel="$-\\Phi$ on the global area,\nlocal queries")
plots.legend(third, loc="lower right")
end = end_of_first(population)
print(f"population: phase I ends at {end:.4g}")
fourth.axhline(end, color=plots.GREY, label="population")
n = np.geomspace(batches[0], batches[-1], 20)
fourth.plot(n / eta, [noise.resolved(eta, x, "fp") for x in n], color=plots.RED, ls="--", label="resolved from (M6)")
fourth.set(xscale="log", yscale="log", xlabel=r"batch size / step size, $n/\eta$", ylabel="end of phase I")
plots.legend(fourth, loc="best")
for ax, panel in zip((first, second, third, fourth), "abcd", strict=True):
    ax.set_title(f"({panel})", loc="left")
for ending in ("png", "pdf"):
    plots.save(figure, os.path.join(args.out, f"stochastic.{ending}"))

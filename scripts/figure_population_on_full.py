"""Population on full
==================

The closed population dynamics against explicit gradient descent on more and more images.

(a) Own FP correlations, mean over the pairs of query and cluster where it is local; (b) loss per masked patch; (c) root mean
square deviation of all FP and PP correlations, and of the loss, at the last step: it falls as n^-1/2.
"""

import argparse
import os

import matplotlib
import numpy as np

from dynsim import Partition, Problem, full, plots, reduced, sample

parser = argparse.ArgumentParser(description="Population on full")
parser.add_argument("--quick", action="store_true", help="fewer images and steps")
parser.add_argument("--out", default=".", help="folder for population_on_full.png and .pdf")
args = parser.parse_args()
os.makedirs(args.out, exist_ok=True)
matplotlib.rcParams.update(plots.STYLE)

numbers, steps, seeds = ((16, 64), 20, 1) if args.quick else ((64, 256, 1024), 100, 3)
problem = Problem(K=2, gamma=0.75, P=36)
part = Partition.blocks(problem, seed=0)
how = {"eta": 4.0, "steps": steps, "keep": 2}
theirs = reduced.descend(reduced.PopulationField(problem, part), **how)
cluster, query = np.nonzero(part.labels > 0)
own = part.own[cluster, query]
figure, (left, middle, right) = plots.figure(1, 3, plots.DOUBLE, 2.4)
apart = {"fp": [], "pp": [], "loss": []}
for n, color, dashes in zip(numbers, (plots.ORANGE, plots.GREEN, plots.BLUE), (":", "-.", "--"), strict=False):
    runs = [full.descend(part, sample(problem, part, n=n, seed=seed), **how) for seed in range(seeds)]
    left.plot(runs[0].t, runs[0].fp[:, query, own].mean(axis=1), color=color, ls=dashes)
    middle.plot(runs[0].t, runs[0].loss, color=color, ls=dashes, label=f"full, $n={n}$")
    for name, values in apart.items():
        last = getattr(theirs, name)[-1]
        values.append(np.sqrt(np.mean([np.mean((getattr(run, name)[-1] - last) ** 2) for run in runs])))
left.plot(theirs.t, theirs.fp[:, query, own].mean(axis=1), color=plots.BLACK)
middle.plot(theirs.t, theirs.loss, color=plots.BLACK, label="population")
for (name, values), color, marker in zip(apart.items(), (plots.BLUE, plots.RED, plots.BLACK), "os^", strict=True):
    label = {"fp": r"FP $\Phi$", "pp": r"PP $\Upsilon$", "loss": "loss"}[name]
    right.plot(numbers, values, marker=marker, color=color, mfc="white", label=label)
    slope = np.polyfit(np.log(numbers), np.log(values), 1)[0]
    print(f"{name}: rms deviation {values[-1]:.3g} at n={numbers[-1]}, slope {slope:.2f} in n ({seeds} seeds)")
ends = np.array([numbers[0], numbers[-1]])
right.plot(ends, apart["fp"][0] * 1.6 * (ends / ends[0]) ** -0.5, color=plots.GREY, lw=0.8, ls=":", label="slope $-1/2$")
left.set(xlabel=plots.TIME, ylabel=r"own FP correlation $\Phi$", xlim=(0, theirs.t[-1]))
middle.set(xlabel=plots.TIME, ylabel=plots.LOSS, xlim=(0, theirs.t[-1]), ylim=(0, None))
right.set(xlabel="number of images $n$", ylabel="rms deviation at the end", xscale="log", yscale="log")
right.set_ylim(bottom=min(map(min, apart.values())) / 6)
right.set_xticks(numbers, [str(n) for n in numbers])
right.minorticks_off()
for ax, panel in zip((left, middle, right), "abc", strict=True):
    ax.set_title(f"({panel})", loc="left")
plots.legend(middle)
plots.legend(right, loc="lower left", ncols=2)
for ending in ("png", "pdf"):
    plots.save(figure, os.path.join(args.out, f"population_on_full.{ending}"))

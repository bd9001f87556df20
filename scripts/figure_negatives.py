"""How many negatives are enough
=============================

Collapse time and final loss of contrastive learning against their number m.

P = 100, K = 4, exact reduction. Given pairs: 1024 of them, each compared with m others, drawn once. New pairs: m + 1 of them at
every step, each compared with all others. (a) Mean attention of local queries on the global area along training, given pairs.
(b) When it passes one half. While similarities are small against the temperature all weights of (D2) are 1 / (m + 1), and the
gradient is m / (m + 1) of what it is with many negatives: the line is the time with many, times 1 + 1/m. (c) The loss at the end,
on the same 1024 new pairs with all negatives for every run. Points are means over seeds, bars their range.
"""

import argparse
import os

import matplotlib
import numpy as np

from dynsim import Partition, Problem, plots, reduced, sample_pairs

parser = argparse.ArgumentParser(description="How many negatives are enough")
parser.add_argument("--quick", action="store_true", help="fewer pairs, numbers and seeds")
parser.add_argument("--out", default=".", help="folder for negatives.png and .pdf")
args = parser.parse_args()
os.makedirs(args.out, exist_ok=True)
matplotlib.rcParams.update(plots.STYLE)

n, seeds, steps = (64, 1, 800) if args.quick else (1024, 3, 1000)
numbers = [1, 7, n - 1] if args.quick else [1, 2, 3, 7, 15, 31, 63, 127, 255, 511, n - 1]
problem = Problem(K=4, gamma=0.75, P=100, kappa_c=0.85, kappa_s=0.45)
part = Partition.blocks(problem, seed=0)
cluster, query = np.nonzero(part.labels > 0)
keep = max(1, steps // 300)
test = reduced.ContrastiveField(part, sample_pairs(problem, part, n=n, seed=10**6))


def measured(field):
    """(trajectory, mean attention of local queries on the global area, when it passes one half, loss at the end on new pairs)."""
    run = reduced.descend(field, eta=problem.P, steps=steps, keep=keep)
    on_global = np.nanmean(run.attention[:, query, part.offset[cluster]], axis=1)
    passed = np.flatnonzero(on_global > 0.5)
    if len(passed):
        before, at = passed[0] - 1, passed[0]
        time = np.interp(0.5, on_global[[before, at]], run.t[[before, at]])
    else:
        time = np.inf
    return run, on_global, time, test.velocity(test.state(run.fp[-1], run.pp[-1]))[0]


def given(m, seed):
    pairs = sample_pairs(problem, part, n=n, seed=seed)
    return reduced.ContrastiveField(part, pairs, negatives=None if m == n - 1 else m, seed=seed)


def new(m, seed):
    return reduced.ContrastiveField.fresh(problem, part, n=m + 1, seed=seed)


figure, axes = plots.figure(1, 3, plots.DOUBLE, 2.5)
shown = dict(zip([1, 7, n - 1], (plots.ORANGE, plots.GREEN, plots.BLUE), strict=True))
for label, make, color, marker in (("given pairs", given, plots.BLUE, "o"), ("new pairs", new, plots.RED, "s")):
    times, losses = [], []
    for m in numbers:
        found = [measured(make(m, seed)) for seed in range(seeds)]
        times.append([time for _, _, time, _ in found])
        losses.append([loss for _, _, _, loss in found])
        if m in shown and make is given:
            axes[0].plot(found[0][0].t, found[0][1], color=shown[m], label=f"$m={m}$")
        print(f"{label}, m={m}: collapse at t={np.mean(times[-1]):.4g}, loss {np.mean(losses[-1]):.4g}")
    for ax, values in zip(axes[1:], (np.array(times), np.array(losses)), strict=True):
        mean = values.mean(axis=1)
        ax.errorbar(numbers, mean, [mean - values.min(axis=1), values.max(axis=1) - mean], color=color, marker=marker, ls="none",
                    mfc="white", lw=0.8, label=label)
    if make is given:
        many = np.mean(times[-1])
        off = np.mean(times, axis=1) / (many * (1 + 1 / np.array(numbers))) - 1
        print("given pairs, off the time for many times 1 + 1/m: " + ", ".join(f"{x:+.1%}" for x in off))
        axes[1].plot(numbers, many * (1 + 1 / np.array(numbers)), color=plots.GREY, lw=0.8, label=r"$t_\infty\,(1+1/m)$")
axes[0].axhline(0.5, color=plots.GREY, ls=":", lw=0.8)
axes[0].set(xlabel=plots.TIME + r" $/\,10^4$", ylabel="attention on the global area,\nlocal queries", ylim=(0, 1))
axes[1].set(xscale="log", xlabel="negatives $m$", ylabel=r"collapse time $/\,10^4$", ylim=(0, None))
for axis in (axes[0].xaxis, axes[1].yaxis):
    axis.set_major_formatter(lambda value, _: f"{value / 1e4:g}")
axes[2].set(xscale="log", xlabel="negatives $m$", ylabel=f"loss at the end, {n - 1} negatives")
for ax, panel in zip(axes, "abc", strict=True):
    ax.set_title(f"({panel})", loc="left")
    if panel != "c":
        plots.legend(ax)
for ending in ("png", "pdf"):
    plots.save(figure, os.path.join(args.out, f"negatives.{ending}"))

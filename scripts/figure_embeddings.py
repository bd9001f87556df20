"""Positions that are not orthonormal
==================================

How far sinusoidal and random embeddings move the escape from theory.

The same images throughout, exact reduction (docs/beyond.md), P = 64, K = 2; unit vectors. Left, own attention of local queries;
right, the loss and its floor. The theory, for orthonormal vectors at this P (15), is the dotted line. Sinusoidal positions are
alike where they are near: what one query learns moves its neighbours, which is quicker at first and less sharp at the end.
"""

import argparse
import os

import matplotlib
import numpy as np

from dynsim import Embedding, Partition, Problem, plots, reduced, sample, theory

parser = argparse.ArgumentParser(description="Positions that are not orthonormal")
parser.add_argument("--quick", action="store_true", help="fewer images and a shorter run")
parser.add_argument("--out", default=".", help="folder for embeddings.png and .pdf")
args = parser.parse_args()
os.makedirs(args.out, exist_ok=True)
matplotlib.rcParams.update(plots.STYLE)

n, end = (32, 200) if args.quick else (512, 2000)
problem = Problem(K=2, gamma=0.75, P=64, kappa_c=0.8, kappa_s=0.5)
part = Partition.blocks(problem, seed=0)
data = sample(problem, part, n=n, seed=0)
cases = [
    ("orthonormal", None, 1.0, plots.BLACK, "-"),
    ("random, $d=256$", Embedding.random(part, 256), 1.0, plots.GREEN, "-."),
    ("sinusoidal, $d=64$", Embedding.sinusoidal_2d(part, 64), 0.5, plots.BLUE, "--"),
    ("sinusoidal, $d=256$", Embedding.sinusoidal_2d(part, 256), 0.5, plots.RED, ":"),
    ("the same, temperature 10", Embedding.sinusoidal_2d(part, 256, temperature=10.0), 0.5, plots.ORANGE, (0, (3, 1, 1, 1))),
]
cluster, query = np.nonzero(part.labels > 0)
predicted = theory.escape_time(problem, finite=True)
figure, (left, right) = plots.figure(1, 2, plots.DOUBLE, 2.6)
for name, embedding, eta, color, dashes in cases:
    steps = round(end / eta)
    keep = np.unique(np.geomspace(1, steps, 30 if args.quick else 200).astype(int))
    run = reduced.descend(reduced.EmpiricalField(part, data, embedding=embedding), eta=eta, steps=steps, keep=keep)
    own = np.nanmean(run.attention[:, query, part.own[cluster, query]], axis=1)
    left.plot(run.t, own, color=color, ls=dashes, label=name)
    right.plot(run.t, run.loss, color=color, ls=dashes)
    escape = np.interp(0.5, own, run.t) if own[-1] > 0.5 else np.nan
    print(f"{name}: escape {escape:.4g}, {escape / predicted - 1:+.0%} of theory (15), {predicted:.4g}; "
          f"own attention {own[-1]:.3g}, loss {run.loss[-1]:.3g} at t={run.t[-1]:g}")
left.axvline(predicted, color=plots.GREY, ls=":", lw=0.8, label="escape, theory")
left.axhline(0.5, color=plots.GREY, lw=0.5, zorder=-1)
right.axhline(reduced.EmpiricalField(part, data).floor, color=plots.GREY, ls=":", lw=0.8)
left.set(ylabel="own attention,\nlocal queries", ylim=(0, 1))
right.set(ylabel=plots.LOSS, yscale="log")
for ax, panel in zip((left, right), "ab", strict=True):
    ax.set(xscale="log", xlim=(1, end), xlabel=plots.TIME)
    ax.set_title(f"({panel})", loc="left")
figure.legend(loc="outside lower center", ncols=3, handlelength=2.4)
for ending in ("png", "pdf"):
    plots.save(figure, os.path.join(args.out, f"embeddings.{ending}"))

"""FP alone against PP alone
=========================

What each correlation can learn while the other one is held at zero.

Population dynamics (projected gradient descent), P = 64, K = 2. (a) loss, with the floor (6); (b) own attention of local queries;
(c) normalised mutual information of query and key, mean over images: both tell queries apart, only FP tells clusters apart.
"""

import argparse
import os

import matplotlib
import numpy as np

from dynsim import Partition, Problem, plots, reduced, sample, theory
from dynsim.analysis import attention

parser = argparse.ArgumentParser(description="FP alone against PP alone")
parser.add_argument("--quick", action="store_true", help="a shorter run")
parser.add_argument("--out", default=".", help="folder for ablations.png and .pdf")
args = parser.parse_args()
os.makedirs(args.out, exist_ok=True)
matplotlib.rcParams.update(plots.STYLE)

n, end, eta = (20, 100, 2.0) if args.quick else (200, 20000, 2.0)
problem = Problem(K=2, gamma=0.75, P=64, kappa_c=0.8, kappa_s=0.5)
part = Partition.blocks(problem, seed=0)
data = sample(problem, part, n=n, seed=0)
cluster, query = np.nonzero(part.labels > 0)
keep = np.unique(np.geomspace(1, end / eta, 20 if args.quick else 80).astype(int))
figure, axes = plots.figure(1, 3, plots.DOUBLE, 2.4)
for hold, name, color, dashes in (
    (None, "FP and PP", plots.BLACK, "-"),
    ("pp", "FP alone", plots.BLUE, "--"),
    ("fp", "PP alone", plots.RED, "-."),
):
    run = reduced.descend(reduced.PopulationField(problem, part, hold=hold), eta=eta, steps=round(end / eta), keep=keep)
    own = run.attention[:, query, part.own[cluster, query]].mean(axis=1)
    shared = attention.along(part, run, data)["mutual_information"]
    for ax, values in zip(axes, (run.loss, own, shared), strict=True):
        ax.plot(run.t, values, color=color, ls=dashes, label=name)
    print(f"{name}: loss {run.loss[-1]:.4g}, own attention {own[-1]:.3g}, mutual information {shared[-1]:.3g} at t={run.t[-1]:g}")
floor = theory.loss_floor(problem, part)
axes[0].axhline(floor, color=plots.GREY, ls=":", lw=0.8, label="floor (6)")
print(f"floor {floor:.4g}, loss at the start {run.loss[0]:.4g}")
labels = (plots.LOSS, "own attention,\nlocal queries", "normalised\nmutual information")
for ax, label, panel in zip(axes, labels, "abc", strict=True):
    ax.set(xscale="log", xlim=(eta, end), xlabel=plots.TIME, ylabel=label)
    ax.set_title(f"({panel})", loc="left")
axes[0].set(yscale="log", ylim=(floor / 2, None))
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, handlelength=2.4)
for ending in ("png", "pdf"):
    plots.save(figure, os.path.join(args.out, f"ablations.{ending}"))

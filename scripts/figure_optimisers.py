"""Descent against Adam, momentum and sign descent
===============================================

The same population, the same steps.

One-hot positions and features, where all of them reduce exactly (docs/beyond.md); P = 64, K = 2. (a) loss above its floor;
(b) own attention of local queries; (c) FP correlation with the global area against the own one, local queries: the path,
whatever the pace (time runs to the right). Momentum follows the path of descent; sign descent moves both equally fast.
"""

import argparse
import os

import matplotlib
import numpy as np

from dynsim import Partition, Problem, plots, reduced, theory

parser = argparse.ArgumentParser(description="Descent against Adam, momentum and sign descent")
parser.add_argument("--quick", action="store_true", help="fewer steps")
parser.add_argument("--out", default=".", help="folder for optimisers.png and .pdf")
args = parser.parse_args()
os.makedirs(args.out, exist_ok=True)
matplotlib.rcParams.update(plots.STYLE)

steps = 400 if args.quick else 4000
problem = Problem(K=2, gamma=0.75, P=64, kappa_c=0.9, kappa_s=0.4)
part = Partition.blocks(problem, seed=0)
floor = theory.loss_floor(problem, part)
cluster, query = np.nonzero(part.labels > 0)
keep = np.unique(np.geomspace(1, steps, 20 if args.quick else 120).astype(int))
figure, axes = plots.figure(1, 3, plots.DOUBLE, 2.4)
for rule, eta, name, color, dashes in (
    (reduced.Descent(), 1.0, r"descent, $\eta=1$", plots.BLACK, "-"),
    (reduced.Momentum(0.9), 0.1, r"momentum 0.9, $\eta=0.1$", plots.GREEN, ":"),
    (reduced.Adam(), 0.01, r"Adam, $\eta=0.01$", plots.RED, "--"),
    (reduced.Sign(), 0.01, r"sign, $\eta=0.01$", plots.BLUE, "-."),
):
    run = reduced.descend(reduced.PopulationField(problem, part), eta=eta, steps=steps, keep=keep, optimiser=rule)
    own = run.attention[:, query, part.own[cluster, query]].mean(axis=1)
    near, far = run.fp[:, query, part.own[cluster, query]].mean(axis=1), run.fp[:, query, part.offset[cluster]].mean(axis=1)
    style = {"color": color, "ls": dashes}
    axes[0].plot(run.step, run.loss - floor, **style, label=name)
    axes[1].plot(run.step, own, **style)
    axes[2].plot(near, far, **style)
    escape = np.interp(0.5, own, run.step) if own[-1] > 0.5 else np.nan
    print(f"{name}: own attention 1/2 at step {escape:.4g}; at step {steps} loss {run.loss[-1] - floor:.3g} above its floor, "
          f"own attention {own[-1]:.3g}, own FP {near[-1]:.3g}, global FP {far[-1]:.3g}")
for ax, panel in zip(axes, "abc", strict=True):
    ax.set_title(f"({panel})", loc="left")
for ax in axes[:2]:
    ax.set(xscale="log", xlim=(1, steps), xlabel="step")
axes[0].set(yscale="log", ylabel="loss above its floor")
axes[1].set(ylabel="own attention,\nlocal queries", ylim=(0, 1))
axes[2].set(xlabel=r"own FP correlation $\Phi$", ylabel=r"global FP correlation $\Phi_g$", xlim=(0, 7), ylim=(-5, 0))
figure.legend(loc="outside lower center", ncols=4, handlelength=2.4)
for ending in ("png", "pdf"):
    plots.save(figure, os.path.join(args.out, f"optimisers.{ending}"))

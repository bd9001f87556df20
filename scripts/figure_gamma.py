"""The mask ratio
==============

What gamma does to the loss, to the escape time and to the floor that no training removes.

All-local queries, P = 1024, K = 4, gradient flow on orbits. (a) loss along time; (b) escape time against the theory for large P
(8) and for this P (15); (c) final loss and the floor (6), which rises as own areas are wholly masked more often.
"""

import argparse
import os

import matplotlib
import numpy as np

from dynsim import Problem, plots, reduced, theory

parser = argparse.ArgumentParser(description="The mask ratio")
parser.add_argument("--quick", action="store_true", help="fewer mask ratios")
parser.add_argument("--out", default=".", help="folder for gamma.png and .pdf")
args = parser.parse_args()
os.makedirs(args.out, exist_ok=True)
matplotlib.rcParams.update(plots.STYLE)

shown = ((0.25, plots.SKY, ":"), (0.5, plots.GREEN, "-."), (0.75, plots.BLUE, "-"), (0.9, plots.RED, "--"))
ratios = sorted({gamma for gamma, _, _ in shown} | set(() if args.quick else np.round(np.arange(0.05, 0.96, 0.05), 2)))
figure, (left, middle, right) = plots.figure(1, 3, plots.DOUBLE, 2.3)
escape, last, first, floor = [], [], [], []
for gamma in ratios:
    problem = Problem(K=4, gamma=gamma, P=1024, kappa_c=0.9, kappa_s=0.45)
    run = reduced.flow(reduced.OrbitField(problem), t_end=2e5, keep=100)
    escape.append([run.meta["events"]["escape"], theory.escape_time(problem), theory.escape_time(problem, finite=True)])
    first.append(run.loss[0])
    last.append(run.loss[-1])
    floor.append(theory.loss_floor(problem, query="L"))
    for color, dashes in [(c, d) for g, c, d in shown if g == gamma]:
        left.plot(run.t, run.loss, color=color, ls=dashes, label=rf"$\gamma={gamma}$")
escape = np.array(escape, dtype=float)
left.set(xscale="log", yscale="log", xlim=(1, 2e5), xlabel=plots.TIME, ylabel=plots.LOSS)
plots.legend(left, loc="lower left")
dots = {"marker": "o", "mfc": "white", "mew": 0.8, "lw": 0}
middle.plot(ratios, escape[:, 0], color=plots.BLUE, **dots, label="measured")
middle.plot(ratios, escape[:, 2], color=plots.BLUE, label="theory (15)")
middle.plot(ratios, escape[:, 1], color=plots.GREY, ls="--", label="large-$P$ theory (8)")
middle.set(yscale="log", xlabel=r"mask ratio $\gamma$", ylabel=r"escape time ($\eta\times$step)", xlim=(0, 1),
           ylim=(None, 4 * np.nanmax(escape)))
plots.legend(middle, loc="upper center")
right.plot(ratios, last, color=plots.BLUE, **dots, label=r"loss at $t=2\times10^5$")
right.plot(ratios, floor, color=plots.BLUE, label="floor (6)")
right.plot(ratios, first, color=plots.GREY, ls="--", label="loss at the start")
right.set(yscale="log", ylim=(1e-7, 3), xlabel=r"mask ratio $\gamma$", ylabel=plots.LOSS, xlim=(0, 1))
plots.legend(right, loc="upper left", bbox_to_anchor=(0.0, 0.9))
for ax, panel in zip((left, middle, right), "abc", strict=True):
    ax.set_title(f"({panel})", loc="left")
best = ratios[int(np.nanargmin(escape[:, 0]))]
off = np.nanmax(abs(escape[:, 0] / escape[:, 2] - 1))
print(f"escape is earliest at gamma={best} (measured on this grid); theory (15) is off by at most {off:.2g}")
for gamma, *row in zip(ratios, escape[:, 0], last, floor, strict=True):
    print("gamma={:.2f}: escape {:.5g}, last loss {:.4g}, floor {:.4g}".format(gamma, *row))
for ending in ("png", "pdf"):
    plots.save(figure, os.path.join(args.out, f"gamma.{ending}"))

"""What the paper leaves open
==========================

Delta = -1, 0 and 1, and local areas larger than the global one: what the paper leaves open, run.

Delta = (1 - kappa_s) - 2 (1 - kappa_c) reaches 1 only in the limit kappa_c -> 1, kappa_s -> 0 (here 0.97, at P = 1e100, where
such areas still hold patches). Where local areas are the larger ones, kappa_s > kappa_c, 1 - kappa_s < 1 - kappa_c, so Delta < 0:
there is one phase; Delta = -1 with positive kappa_c means kappa_s = 2 kappa_c, the case shown. FP correlations of a local query,
in units of log P, against time in units of the predicted escape time (in (d) the global one fell long before);
K = 1, gamma = 0.75, z = 1, gradient flow on orbits.
"""

import argparse
import os

import matplotlib
import numpy as np

from dynsim import Fixed, Problem, plots, reduced, theory
from dynsim.analysis import phases, summary

parser = argparse.ArgumentParser(description="What the paper leaves open")
parser.add_argument("--quick", action="store_true", help="fewer saved times")
parser.add_argument("--out", default=".", help="folder for questions.png and .pdf")
args = parser.parse_args()
os.makedirs(args.out, exist_ok=True)
matplotlib.rcParams.update(plots.STYLE)

cases = [(0.25, 0.5, 1e30), (0.6, 0.7, 1e30), (0.7, 0.4, 1e30), (0.995, 0.02, 1e100)]
figure, axes = plots.figure(1, 4, plots.DOUBLE, 2.2, sharey=True)
for ax, (kappa_c, kappa_s, P), panel in zip(axes, cases, "abcd", strict=True):
    problem = Problem(K=1, gamma=0.75, P=P, kappa_c=kappa_c, kappa_s=kappa_s, amplitude=Fixed(1.0))
    field, predicted = reduced.OrbitField(problem), theory.escape_time(problem)
    times = np.concatenate([[0], predicted * np.geomspace(1e-5, 30, 30 if args.quick else 300)])
    run = reduced.flow(field, t_end=times[-1], keep=times)
    table = plots.by_area(run)["L"]["fp"]
    plots.curves(ax, run.t / predicted, {name: values / np.log(P) for name, values in table.items()})
    larger = ", local > global" if kappa_s > kappa_c else ""
    ax.set_title(rf"({panel}) $\Delta={round(problem.Delta, 2) + 0.0:g}${larger}", loc="left", fontsize=7)
    ax.set(xscale="log", xlim=(1e-5, 30), xlabel=r"$t\,/\,t_\mathrm{esc}$", xticks=[1e-4, 1e-2, 1])
    ax.text(0.04, 0.96, rf"$\kappa_c={kappa_c:g}$, $\kappa_s={kappa_s:g}$", transform=ax.transAxes, va="top", fontsize=7)
    ax.text(0.04, 0.86, rf"$P=10^{{{np.log10(P):.0f}}}$", transform=ax.transAxes, va="top", fontsize=7)
    escape = run.meta["events"]["escape"]
    depth = summary.global_depth(run, escape)
    print(f"Delta={round(problem.Delta, 3) + 0.0:g} (kappa_c={kappa_c}, kappa_s={kappa_s}, P={P:g}): "
          f"{phases.find(run).regime}; escape / (8) = {escape / predicted:.6f}, "
          f"depth {depth:.5g} against (9) {theory.global_depth(problem):.5g}")
axes[0].set(ylabel=r"FP correlation $\Phi/\log P$", ylim=(None, 2))
handles = [axes[0].plot([], [], **plots.ROLES[role])[0] for role in ("own", "global", "others")]
figure.legend(handles=handles, loc="outside lower center", ncols=3, handlelength=2.4)
for ending in ("png", "pdf"):
    plots.save(figure, os.path.join(args.out, f"questions.{ending}"))

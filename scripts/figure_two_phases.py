"""Two phases against one
======================

FP correlations and area attention of a local query for either sign of the information gap.

Left, Delta > 0: the global correlation falls first (phase I), the own one grows in its shadow (phase II) and takes off. Right,
Delta < 0: the own correlation grows directly, the global one hardly moves. Population dynamics on orbits, gradient flow.
"""

import argparse
import os

import matplotlib
import numpy as np

from dynsim import Problem, plots, reduced, theory
from dynsim.analysis import phases, summary

parser = argparse.ArgumentParser(description="Two phases against one")
parser.add_argument("--quick", action="store_true", help="a smaller problem and fewer saved times")
parser.add_argument("--out", default=".", help="folder for two_phases.png and .pdf")
args = parser.parse_args()
os.makedirs(args.out, exist_ok=True)
matplotlib.rcParams.update(plots.STYLE)

P, K, keep = (1e6, 2, 60) if args.quick else (1e12, 4, 400)
figure, axes = plots.figure(2, 2, plots.DOUBLE, 3.7, sharex=True, sharey="row")
for (above, below), kappa_c, panels in zip(axes.T, (0.9, 0.6), ("ac", "bd"), strict=True):
    problem = Problem(K=K, gamma=0.8, P=P, kappa_c=kappa_c, kappa_s=0.4)
    field = reduced.OrbitField(problem)
    end = 30 * theory.escape_time(problem)
    run = reduced.flow(field, t_end=end, keep=np.concatenate([[0], np.geomspace(1e-7 * end, end, keep)]))
    found = phases.find(run)
    tables = plots.by_area(run)["L"]
    for ax, name, panel in ((above, "fp", panels[0]), (below, "attention", panels[1])):
        plots.curves(ax, run.t, tables[name])
        plots.log_time(ax, run.t)
        ax.set_title(f"({panel})", loc="left")
        ax.axvline(theory.escape_time(problem), color=plots.GREY, ls=":", lw=0.8, zorder=-1)
        plots.shade(ax, found, run.t[-1])
    above.axhline(theory.global_depth(problem), color=plots.RED, ls=(0, (1, 1)), lw=0.8)
    above.set_title(rf"$\Delta={problem.Delta:.1f}$ ($\kappa_c={kappa_c}$, $\kappa_s=0.4$)", pad=12)
    above.set(xlabel="", ylim=(-8, None))
    escape = run.meta["events"]["escape"]
    print(
        f"Delta={problem.Delta:.2f} P={P:g} K={K}: {found.regime}; phase I ends at {found.decoupling.end:.4g}, "
        f"escape {escape:.5g} (eq. 8: {theory.escape_time(problem):.5g}), "
        f"global FP then {summary.global_depth(run, escape):.4g} "
        f"(eq. 9: {theory.global_depth(problem):.4g})"
    )
axes[0, 0].set_ylabel(plots.PANELS["fp"])
axes[1, 0].set_ylabel(plots.PANELS["attention"])
handles = [axes[0, 0].plot([], [], **style)[0] for style in plots.ROLES.values()]
handles.append(axes[0, 0].plot([], [], color=plots.GREY, ls=":", lw=0.8, label="escape, theory")[0])
handles.append(axes[0, 0].plot([], [], color=plots.RED, ls=(0, (1, 1)), lw=0.8, label="depth, theory")[0])
figure.legend(handles=handles, loc="outside lower center", ncols=6, handlelength=2.4, columnspacing=1.2)
for ending in ("png", "pdf"):
    plots.save(figure, os.path.join(args.out, f"two_phases.{ending}"))

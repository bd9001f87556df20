"""Escape time and depth against theory
====================================

Escape time and depth of the global FP correlation against theory, from small P to P = 1e30.

Above, measured (markers) and the large-P theory (lines), for Delta = 0.4 and -0.2, fixed and random amplitudes; below, how far
theory is off: (8) and (9), and for the escape also (15), which counts what is left of finite P. Below 1e-8, the grey line, it is
the integrator's own error (rtol) that shows. K = 1, gradient flow on orbits.
"""

import argparse
import os

import matplotlib
import numpy as np

from dynsim import Fixed, Problem, Uniform, plots, reduced, theory
from dynsim.analysis import summary

parser = argparse.ArgumentParser(description="Escape time and depth against theory")
parser.add_argument("--quick", action="store_true", help="fewer values of P")
parser.add_argument("--out", default=".", help="folder for escape_depth.png and .pdf")
args = parser.parse_args()
os.makedirs(args.out, exist_ok=True)
matplotlib.rcParams.update(plots.STYLE)

sizes = 10.0 ** (np.array([4, 12, 30]) if args.quick else np.arange(3, 31))
cases = [
    (0.9, Fixed(1.0), r"$\Delta=0.4$, $z=1$", plots.BLUE, "o", "-"),
    (0.9, Uniform(0.5, 1.5), r"$\Delta=0.4$, $z\sim U[.5,1.5]$", plots.SKY, "s", "--"),
    (0.6, Fixed(1.0), r"$\Delta=-0.2$, $z=1$", plots.RED, "^", "-."),
    (0.6, Uniform(0.5, 1.5), r"$\Delta=-0.2$, $z\sim U[.5,1.5]$", plots.ORANGE, "v", ":"),
]
figure, axes = plots.figure(2, 2, plots.DOUBLE, 4.2, sharex=True)
for kappa_c, law, label, color, marker, dashes in cases:
    rows = []
    for P in sizes:
        problem = Problem(K=1, gamma=0.75, P=P, kappa_c=kappa_c, kappa_s=0.4, amplitude=law)
        field = reduced.OrbitField(problem)
        run = reduced.flow(field, t_end=3 * theory.escape_time(problem), keep=2)
        escape = run.meta["events"]["escape"]
        rows.append((escape, theory.escape_time(problem), theory.escape_time(problem, finite=True),
                     summary.global_depth(run, escape), theory.global_depth(problem)))
    escape, theory_8, theory_15, depth, theory_9 = np.array(rows, dtype=float).T
    points = {"color": color, "marker": marker, "mfc": "white", "mew": 0.8, "lw": 0}
    line = {"color": color, "ls": dashes, "lw": 1.0}
    axes[0, 0].plot(sizes, escape, **points, markevery=1 if args.quick else 2)
    axes[0, 0].plot(sizes, theory_8, **line, label=label)
    axes[1, 0].plot(sizes, abs(escape / theory_8 - 1), **points)
    axes[1, 0].plot(sizes, abs(escape / theory_15 - 1), **line)
    axes[0, 1].plot(sizes, -depth, **points, markevery=1 if args.quick else 2)
    axes[0, 1].plot(sizes, -theory_9, **line)
    axes[1, 1].plot(sizes, abs(depth - theory_9), **points)
    print(f"kappa_c={kappa_c} {law}: t_esc / (8) - 1 = {escape[-1] / theory_8[-1] - 1:.2e} at P={sizes[-1]:g}, "
          f"/ (15) - 1 = {escape[-1] / theory_15[-1] - 1:.2e}; depth {depth[-1]:.5g}, (9) {theory_9[-1]:.5g}; "
          f"at P={sizes[0]:g}: {escape[0] / theory_8[0] - 1:.2e}, {escape[0] / theory_15[0] - 1:.2e}, "
          f"{depth[0]:.4g}, {theory_9[0]:.4g}")
titles = (r"escape time $t_\mathrm{esc}$ ($\eta\times$step)", r"depth $-\Phi_g$ at the escape",
          r"$|t_\mathrm{esc}/$theory$-1|$", r"$|\Phi_g-$theory$|$")
for ax, title, panel in zip(axes.flat, titles, "abcd", strict=True):
    ax.set(xscale="log", yscale="log", ylabel=title)
    ax.set_title(f"({panel})", loc="left")
axes[1, 0].set_ylim(1e-13, None)
axes[1, 0].axhline(1e-8, color=plots.GREY, lw=0.6, ls="--", zorder=-1)
for ax in axes[1]:
    ax.set_xlabel("number of patches $P$")
dots = axes[1, 0].plot([], [], "o", color=plots.GREY, mfc="white", mew=0.8)[0]
line = axes[1, 0].plot([], [], color=plots.GREY)[0]
plots.legend(axes[1, 0], [dots, line], ["large-$P$ theory (8)", "finite-$P$ theory (15)"], loc="lower left", ncols=2)
plots.legend(axes[1, 1], [dots], ["large-$P$ theory (9)"], loc="lower left")
plots.legend(axes[0, 0], loc="upper left")
for ending in ("png", "pdf"):
    plots.save(figure, os.path.join(args.out, f"escape_depth.{ending}"))

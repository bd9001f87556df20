"""Phase diagram of contrast beside reconstruction
===============================================

Where attention of local queries ends under L_rec + alpha P L_con: over weight and information gap, at three sizes.

Colour: attention on the global area of the cluster when the own area would have escaped without contrast, from gradient flows
on orbits of all query types (kappa_s = .4, so that kappa_c sets Delta). Lines are predictions: critical weight (E13, solid),
collapse weight (E15, dashed), and the weight at which the global area takes off before the own one escapes (E21, dotted);
Delta = 0 in grey. As P grows the diverse phase takes the whole left side. Equations: docs/contrastive-population.md.
"""

import argparse
import os

import matplotlib
import numpy as np
from matplotlib.patheffects import withStroke

from dynsim import Fixed, Problem, plots, theory
from dynsim.reduced import MixedOrbitField, flow

parser = argparse.ArgumentParser(description="Phase diagram of contrast beside reconstruction")
parser.add_argument("--quick", action="store_true", help="a coarse grid")
parser.add_argument("--out", default=".", help="folder for mixed_phase_diagram.png and .pdf")
args = parser.parse_args()
os.makedirs(args.out, exist_ok=True)
matplotlib.rcParams.update(plots.STYLE)

KAPPA_S = 0.4
EDGE = [withStroke(linewidth=2.2, foreground="black")]  # white lines on yellow


def problem_of(P, gap):
    """K = 4 clusters, z = 1; the gap is (1 - kappa_s) - 2 (1 - kappa_c)."""
    return Problem(K=4, gamma=0.8, P=P, kappa_c=1 - (1 - KAPPA_S - gap) / 2, kappa_s=KAPPA_S, amplitude=Fixed(1.0))


def attention(problem, weight):
    """On the global area, of all-local queries, at the escape time without contrast."""
    t = theory.escape_time(problem)
    return flow(MixedOrbitField(problem, weight=weight), t_end=t, keep=[t], rtol=1e-5).attention[-1, 0, 0, 1]


across, up = (6, 5) if args.quick else (22, 17)
gaps, weights = np.linspace(-0.25, 0.45, across), np.geomspace(0.3, 300.0, up)
sizes = (1e6, 1e12, 1e30)
figure, axes = plots.figure(1, len(sizes), plots.DOUBLE, 2.4, sharey=True)
for ax, P in zip(axes, sizes, strict=True):
    problems = [problem_of(P, gap) for gap in gaps]
    found = np.array([[attention(problem, weight) for problem in problems] for weight in weights])
    mesh = ax.pcolormesh(gaps, weights, found, shading="nearest", cmap="viridis", vmin=0, vmax=1, rasterized=True)
    fine = np.linspace(gaps[0], gaps[-1], 200)
    positive = fine[fine > 0]
    lines = (
        (theory.critical_weight, positive, "-", r"$\alpha_c$"), (theory.collapse_weight, positive, "--", r"$\alpha_1$"),
        (theory.overtaking_weight, fine, ":", "(E21)"),
    )
    for weight_of, x, dashes, name in lines:
        ax.plot(x, [weight_of(problem_of(P, gap)) for gap in x], color="white", ls=dashes, label=name, path_effects=EDGE)
    ax.axvline(0, color=plots.GREY, lw=0.6)
    ax.set(yscale="log", ylim=(weights[0], weights[-1]), xlim=(gaps[0], gaps[-1]), xlabel=r"information gap $\Delta$")
    ax.set_title(f"$P=10^{{{np.log10(P):.0f}}}$")
    expected = np.array([[weight > theory.overtaking_weight(problem) for problem in problems] for weight in weights])
    print(f"P={P:g}: attention on the global area above one half at {np.mean(found > 0.5):.1%} of the plane, "
          f"{np.mean((found > 0.5) == expected):.1%} of it as predicted")
axes[0].set_ylabel(r"weight $\alpha$")
axes[1].text(-0.23, 0.5, "diverse", color="white", fontsize=7)
axes[1].text(0.2, 100, "collapsed", color="black", fontsize=7)
axes[0].legend(loc="lower left", labelcolor="white", frameon=False, fontsize=7)
figure.colorbar(mesh, ax=axes[-1], label="$A_g$")
for ending in ("png", "pdf"):
    plots.save(figure, os.path.join(args.out, f"mixed_phase_diagram.{ending}"))

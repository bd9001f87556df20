"""How much contrast collapses attention
=====================================

Attention of local queries on the global area under L_rec + alpha P L_con, before their own area escapes.

(a) Settled attention against the weight, from gradient flows on orbits of all query types, at three numbers of patches, on the
closed form (E14). (b) The three phases: attention of a local query on the global and on its own area along three runs. (c)
Temperature of the softmax over negatives: cold negatives hold attention back, hot ones make the collapse a jump. (d) Random
amplitudes smear the threshold: marks are runs, lines the balance at this P (E12), ticks the critical weight (E13). Equations:
docs/contrastive-population.md.
"""

import argparse
import os

import matplotlib
import numpy as np

from dynsim import Fixed, Problem, Uniform, plots, theory
from dynsim.reduced import MixedOrbitField, flow

parser = argparse.ArgumentParser(description="How much contrast collapses attention")
parser.add_argument("--quick", action="store_true", help="fewer weights")
parser.add_argument("--out", default=".", help="folder for collapsed_attention.png and .pdf")
args = parser.parse_args()
os.makedirs(args.out, exist_ok=True)
matplotlib.rcParams.update(plots.STYLE)

BASE = {"K": 4, "gamma": 0.8, "kappa_c": 0.9, "kappa_s": 0.4}


def settled(problem, weight, tau=0.5):
    """Attention of all-local queries on the global area at a hundredth of the escape time without contrast."""
    t = 1e-2 * theory.escape_time(problem)
    return flow(MixedOrbitField(problem, weight=weight, temperature=tau), t_end=t, keep=[t]).attention[-1, 0, 0, 1]


def limit(problem, weights, tau=0.5):
    return np.array([theory.collapsed_attention(problem, weight, tau) for weight in weights])


few = 5 if args.quick else 16
colors = (plots.BLUE, plots.GREEN, plots.RED)
figure, axes = plots.figure(2, 2, plots.DOUBLE, 4.6)
one = Problem(**BASE, P=1e12, amplitude=Fixed(1.0))
first, last = theory.critical_weight(one), theory.collapse_weight(one)
fine, weights = np.linspace(0.0, 3.2, 800), np.linspace(0.2, 3.1, few)

ax = axes[0, 0]
ax.plot(fine, limit(one, fine), color=plots.GREY, label="(E14)")
for P, color, mark in zip((1e6, 1e12, 1e30), colors, "os^", strict=True):
    problem = Problem(**BASE, P=P, amplitude=Fixed(1.0))
    found = np.array([settled(problem, weight) for weight in weights])
    ax.plot(weights, found, mark, color=color, mfc="white", ms=4, label=f"$P=10^{{{np.log10(P):.0f}}}$")
    print(f"P={P:g}: largest distance of settled attention from (E14) {np.abs(found - limit(problem, weights)).max():.4f}")
ax.set(xlabel=r"weight $\alpha$", ylabel=r"attention on the global area $A_g$")
for weight, label in ((first, r"$\alpha_c$"), (last, r"$\alpha_1$")):
    ax.axvline(weight, color=plots.GREY, lw=0.6, ls=":")
    ax.text(weight + 0.04, 0.04, label, color=plots.GREY, fontsize=7)
plots.legend(ax)

ax = axes[0, 1]
free = theory.escape_time(one)
for weight, color, name in zip((0.5, 2.0, 3.0), colors, ("diverse", "delayed", "collapsed"), strict=True):
    keep = np.geomspace(1e-7, 30, 20 if args.quick else 120) * free
    run = flow(MixedOrbitField(one, weight=weight), t_end=30 * free, keep=keep)
    ax.plot(run.t / free, run.attention[:, 0, 0, 1], color=color, label=rf"{name}, $\alpha={weight:g}$")
    ax.plot(run.t / free, run.attention[:, 0, 0, 0], color=color, ls="--")
    escape = run.meta["events"]["escape"]
    when = "no escape" if escape is None else f"escape at {escape / free:.3f} of that without contrast"
    print(f"alpha={weight:g}: {name}, {when}")
ax.set(xscale="log", xlim=(1e-7, 30), xlabel=r"$t / t_\mathrm{esc}$", ylabel=r"$A_g$ (solid), $A_\mathrm{own}$ (dashed)")
plots.legend(ax)

ax = axes[1, 0]
temperatures = (0.2, 0.5, 2.0)
problem = Problem(**BASE, P=1e20, amplitude=Fixed(1.0))
for tau, color, mark in zip(temperatures, colors, "os^", strict=True):
    ax.plot(fine, limit(problem, fine, tau), color=color)
    found = np.array([settled(problem, weight, tau) for weight in weights])
    ax.plot(weights, found, mark, color=color, mfc="white", ms=4, label=rf"$\tau={tau:g}$")
    end, off = theory.collapse_weight(problem, tau), np.abs(found - limit(problem, weights, tau)).max()
    print(f"tau={tau:g}: collapse weight {end:.4g}, runs within {off:.4f} of (E14)")
ax.set(xlabel=r"weight $\alpha$", ylabel="$A_g$")
plots.legend(ax)

ax = axes[1, 1]
laws = {"$z=1$": Fixed(1.0), "$z\\sim U[.8,1.2]$": Uniform(0.8, 1.2), "$z\\sim U[.5,1.5]$": Uniform(0.5, 1.5)}
wide = np.linspace(0.6, 3.1, 25 if args.quick else 120)
some = np.linspace(0.7, 2.9, 3 if args.quick else 12)
for (name, law), color, mark in zip(laws.items(), colors, "os^", strict=True):
    problem = Problem(**BASE, P=1e12, amplitude=law)
    ax.plot(wide, [theory.collapsed_attention(problem, weight, finite=True) for weight in wide], color=color)
    found = np.array([settled(problem, weight) for weight in some])
    ax.plot(some, found, mark, color=color, mfc="white", ms=4, label=name)
    ax.plot(theory.critical_weight(problem), 0, "|", color=color, ms=10, mew=1.5, clip_on=False)
    closed = [theory.collapsed_attention(problem, weight, finite=True) for weight in some]
    critical, off = theory.critical_weight(problem), np.abs(found - closed).max()
    print(f"{law}: critical weight {critical:.4f}, runs within {off:.1e} of (E12)")
ax.set(xlabel=r"weight $\alpha$", ylabel=r"$E[A_g]$")
plots.legend(ax)

for ax, panel in zip(axes.flat, "abcd", strict=True):
    ax.set_ylim(-0.02, 1.04)
    ax.set_title(f"({panel})", loc="left")
for ending in ("png", "pdf"):
    plots.save(figure, os.path.join(args.out, f"collapsed_attention.{ending}"))

"""Phase diagram
=============

Phase diagram over (kappa_c, kappa_s): how deep the global correlation falls, and where one phase becomes two, as P grows.

Colour: -Phi_g / log P at the escape, from a sweep of gradient flows on orbits (K = 1). Solid line: the global and the own FP
correlation set out equally fast, which parts one phase from two; dashed line: Delta = 0. The last panel is the Delta at which
they part, mean over kappa_s, against its prediction log(1 / rho) / log P. The sweep's store in the folder is taken up again.
"""

import argparse
import os

import matplotlib
import numpy as np

from dynsim import plots, sweep

parser = argparse.ArgumentParser(description="Phase diagram")
parser.add_argument("--quick", action="store_true", help="a coarse grid")
parser.add_argument("--out", default=".", help="folder for phase_diagram.png, .pdf and the store phase_diagram.db")
args = parser.parse_args()

GAMMA = 0.75


def main():
    os.makedirs(args.out, exist_ok=True)
    matplotlib.rcParams.update(plots.STYLE)
    store = os.path.join(args.out, "phase_diagram-quick.db" if args.quick else "phase_diagram.db")
    across, up, sizes = (5, 4, (1e6, 1e12)) if args.quick else (25, 20, (1e6, 1e12, 1e30))
    grid = {"K": 1, "gamma": GAMMA, "kappa_c": sweep.span(0.5, 0.98, across), "kappa_s": sweep.span(0.2, 0.6, up), "L": 1, "U": 1}
    sweep.run(store, {**grid, "P": sizes}, workers=1 if args.quick else None, tell=None if args.quick else print)
    table = sweep.load(store)
    figure, axes = plots.figure(1, len(sizes) + 1, plots.DOUBLE, 2.1)
    parted = []
    for ax, P in zip(axes, sizes, strict=False):
        rows = {name: column[table["P"] == P] for name, column in table.items()}
        mesh = plots.phase_diagram(ax, rows, vmax=0.45)
        ax.set_title(f"$P=10^{{{np.log10(P):.0f}}}$")
        parted.append(boundary(rows))
        print(f"P={P:g}: one phase becomes two at Delta={parted[-1]:.4f}, predicted {-np.log(1 - GAMMA) / np.log(P):.4f}")
    axes[0].text(0.72, 0.555, r"$\Delta=0$", color=plots.ORANGE, ha="right", fontsize=7)
    for ax in axes[1:-1]:
        ax.set_ylabel("")
    figure.colorbar(mesh, ax=axes[len(sizes) - 1], label=r"$-\Phi_g/\log P$")
    P = np.geomspace(sizes[0], sizes[-1], 50)
    axes[-1].plot(P, -np.log(1 - GAMMA) / np.log(P), color=plots.GREY, ls="--", label=r"$\log(1/\rho)/\log P$")
    axes[-1].plot(sizes, parted, "o", color=plots.BLUE, mfc="white", label="measured")
    axes[-1].set(xscale="log", xlabel="$P$", ylabel=r"$\Delta$ at the boundary", ylim=(0, None))
    axes[-1].set_xticks(sizes, [f"$10^{{{np.log10(P):.0f}}}$" for P in sizes])
    axes[-1].minorticks_off()
    plots.legend(axes[-1])
    for ending in ("png", "pdf"):
        plots.save(figure, os.path.join(args.out, f"phase_diagram.{ending}"))


def boundary(rows):
    """Mean over kappa_s of the Delta at which the two correlations set out equally fast, between grid points linear in log."""
    kappa_c, kappa_s, own = sweep.plane(rows, "speed_own")
    ratio = np.log(-sweep.plane(rows, "speed_global")[2] / own)
    crossing = [np.interp(0.0, row, kappa_c) for row in ratio]
    return float(np.mean((1 - kappa_s) - 2 * (1 - np.array(crossing))))


if __name__ == "__main__":  # worker processes import this file
    main()

"""Reduced on full
===============

The exact recursion in FP and PP correlations against explicit gradient descent on the same images.

Lines and circles on top of each other, and below them how far they are apart at every saved time, over all correlations.
"""

import argparse
import os

import numpy as np

from dynsim import Partition, Problem, full, plots, reduced, sample

parser = argparse.ArgumentParser(description="Reduced on full")
parser.add_argument("--quick", action="store_true", help="fewer images and steps")
parser.add_argument("--out", default=".", help="folder for reduced_on_full.png and .pdf")
args = parser.parse_args()
os.makedirs(args.out, exist_ok=True)

n, steps = (16, 40) if args.quick else (256, 200)
problem = Problem(K=4, gamma=0.8, P=64)
part = Partition.blocks(problem, seed=0)
data = sample(problem, part, n=n, seed=0)
how = {"eta": 4.0, "steps": steps, "keep": 4}
run, reference = reduced.descend(reduced.EmpiricalField(part, data), **how), full.descend(part, data, **how)
figure = plots.deviation(run, reference, {"fp": 1e-12, "pp": 1e-12, "loss": 1e-12})
for ending in ("png", "pdf"):
    plots.save(figure, os.path.join(args.out, f"reduced_on_full.{ending}"))
for name in ("fp", "pp", "loss"):
    a, b = getattr(run, name), getattr(reference, name)
    print(f"{name}: largest deviation {np.abs(a - b).max():.2g} over {steps} steps at eta=4, values up to {np.abs(b).max():.3g}")

"""A run as a moving picture
=========================

Attention of four queries on a 14 x 14 grid while the model learns to reconstruct masked patches, with the loss and the FP
correlations beside it: from uniform attention to local and diverse attention. Population dynamics, gradient descent; maps are
expected over masks and amplitudes, the cross is the query, lines are the cluster's areas. The picture shows the last frame.
"""

import argparse
import os

from dynsim import Partition, Problem, plots, reduced

parser = argparse.ArgumentParser(description="A run as a moving picture")
parser.add_argument("--quick", action="store_true", help="fewer steps, no moving picture")
parser.add_argument("--out", default=".", help="folder for moving.png, .pdf, .html and .gif")
args = parser.parse_args()
os.makedirs(args.out, exist_ok=True)

problem = Problem(K=4, gamma=0.75, P=196, kappa_c=0.75, kappa_s=0.45)
part = Partition.blocks(problem, seed=3)
run = reduced.descend(reduced.PopulationField(problem, part), eta=2.0, steps=60 if args.quick else 1000)

# %%
# `plots.movie` makes a matplotlib animation; `plots.save_movie` writes it as a page with play and pause, as GIF or MP4.

moving = plots.movie(run, problem, frames=2 if args.quick else 60)
if not args.quick:
    for ending in ("html", "gif"):
        plots.save_movie(moving, os.path.join(args.out, f"moving.{ending}"))
figure = plots.frame(moving, -1)
for ending in ("png", "pdf"):
    plots.save(figure, os.path.join(args.out, f"moving.{ending}"))
print(f"loss {run.loss[0]:.4g} -> {run.loss[-1]:.4g} after {run.step[-1]} steps, {len(run)} saved times")

"""Learned attention on the 14 x 14 patch grid
===========================================

Local and diverse, and how its measures move along training.

Above, what four queries pay to every patch on images of one cluster, before and after training (mean over masks and
amplitudes; the cross is the query, lines are the cluster's areas). Below: attention distance, entropy, normalised mutual
information of query and key, and the loss along training, mean over images; uniform attention is the dotted line.
"""

import argparse
import os

import matplotlib
import numpy as np

from dynsim import Dataset, Partition, Problem, plots, reduced, sample, theory
from dynsim.analysis import attention

parser = argparse.ArgumentParser(description="Learned attention on the 14 x 14 patch grid")
parser.add_argument("--quick", action="store_true", help="fewer steps and images")
parser.add_argument("--out", default=".", help="folder for attention_maps.png and .pdf")
args = parser.parse_args()
os.makedirs(args.out, exist_ok=True)
matplotlib.rcParams.update(plots.STYLE)

steps, n, keep = (60, 40, 30) if args.quick else (1000, 600, None)
problem = Problem(K=4, gamma=0.75, P=196, kappa_c=0.75, kappa_s=0.45)
part = Partition.blocks(problem, seed=3)
run = reduced.descend(reduced.PopulationField(problem, part), eta=2.0, steps=steps, keep=keep)
images = sample(problem, part, n=n, seed=0)
one = Dataset(np.zeros(n, dtype=int), images.z, images.masked)  # the same amplitudes and masks, all of cluster 0
labels = part.labels[0]
areas = np.unique(labels)[[1, len(np.unique(labels)) // 2, -1, 0]]
queries = [np.flatnonzero(labels == area)[(labels == area).sum() // 2] for area in areas]  # three local ones, one global

figure, axes = plots.figure(3, 4, plots.DOUBLE, 4.7, height_ratios=(1, 1, 0.85))
maps = [attention.attention_map(part, run.fp[at], run.pp[at], one) for at in (0, -1)]
for row, attn, when in zip(axes, maps, ("start", "end"), strict=False):
    for i, (ax, query) in enumerate(zip(row, queries, strict=True)):
        top = 1.5 / part.P if when == "start" else np.quantile(maps[1][queries], 0.997)
        image = plots.attention_map(ax, attn[query], part.grid, query, labels, vmax=top)
        if when == "start":
            ax.set_title(("local query", "global query")[i == 3])
    row[0].set_ylabel(f"{when} of training")
    figure.colorbar(image, ax=row, aspect=14, extend="max", label="attention")
measured = attention.along(part, run, Dataset(images.cluster[:n // 4], images.z[:n // 4], images.masked[:n // 4]))
loss = {"loss": run.loss}
labelled = {"distance": "attention\ndistance (patches)", "entropy": "entropy (nats)",
            "mutual_information": "normalised\nmutual information", "loss": plots.LOSS}
for ax, name, panel in zip(axes[2], labelled, "abcd", strict=True):
    values = {**measured, **loss}[name]
    ax.plot(run.t, values, color=plots.BLUE)
    ax.axhline(values[0] if name != "loss" else theory.loss_floor(problem, part), color=plots.GREY, ls=":", lw=0.8)
    plots.log_time(ax, run.t)
    ax.set(ylim=(0, None), ylabel=labelled[name])
    ax.set_title(f"({panel})", loc="left")
    print(f"{name}: {values[0]:.4g} -> {values[-1]:.4g}")
print(f"loss floor {theory.loss_floor(problem, part):.4g}; areas of {problem.C_global} and {problem.C_local:.3g} patches")
for ending in ("png", "pdf"):
    plots.save(figure, os.path.join(args.out, f"attention_maps.{ending}"))

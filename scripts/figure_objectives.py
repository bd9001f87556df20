"""Reconstruction is diverse, contrastive learning is not
======================================================

Attention on the 14 x 14 grid under three objectives.

Above, what three queries pay to every patch on images of one cluster: before training, where all objectives start, and after
training by reconstruction, by both at once (L_rec + alpha P L_con) and by contrastive learning alone (P L_con). The cross is the
query, lines are the cluster's areas, the largest of which is the global one; each map has its own scale, given beneath. Below,
along training: normalised mutual information of query and key, mean cosine similarity of the maps of two queries, attention
distance. Everything is measured as in trained vision transformers: on images that are not masked, every patch a query
(docs/contrastive.md). The same images throughout.
"""

import argparse
import os

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from dynsim import Dataset, Pairs, Partition, Problem, plots, reduced, sample, sample_pairs
from dynsim.analysis import attention

parser = argparse.ArgumentParser(description="Reconstruction is diverse, contrastive learning is not")
parser.add_argument("--quick", action="store_true", help="fewer steps and images")
parser.add_argument("--out", default=".", help="folder for objectives.png and .pdf")
args = parser.parse_args()
os.makedirs(args.out, exist_ok=True)
matplotlib.rcParams.update(plots.STYLE)

alpha, eta, whole = 2.0, 4.0, "unmasked images"
n, steps, saved, measured_on = (32, 40, 6, 4) if args.quick else (256, 1000, 40, 24)
problem = Problem(K=4, gamma=0.75, P=196, kappa_c=0.85, kappa_s=0.45)
part = Partition.blocks(problem, seed=3)
images, pairs = sample(problem, part, n=n, seed=0), sample_pairs(problem, part, n=n, seed=1)
reconstruction, contrastive = reduced.EmpiricalField(part, images), reduced.ContrastiveField(part, pairs, temperature=0.5)
fields = {
    "reconstruction": reduced.SumField([(1.0, reconstruction)]),
    rf"mixed, $\alpha={alpha:g}$": reduced.SumField([(1.0, reconstruction), (alpha * part.P, contrastive)]),
    "contrastive": reduced.SumField([(part.P, contrastive)]),
}
colors = dict(zip(fields, ((plots.BLUE, "-"), (plots.GREEN, "-."), (plots.RED, "--")), strict=True))
keep = np.unique(np.geomspace(1, steps, saved).astype(int))
runs = {name: reduced.descend(field, eta=eta, steps=steps, keep=keep) for name, field in fields.items()}

few = Pairs(pairs.cluster[:measured_on], pairs.z[:measured_on], pairs.masked[:measured_on])
measures = {name: attention.along(part, run, few, whole) for name, run in runs.items()}
one = Dataset(np.zeros(measured_on, dtype=int), images.z[:measured_on], images.masked[:measured_on])  # all of cluster 0
labels = part.labels[0]
areas = np.unique(labels)[[1, -1, 0]]
queries = [np.flatnonzero(labels == area)[(labels == area).sum() // 2] for area in areas]  # two local ones, one global

figure = Figure(figsize=(plots.DOUBLE, 6.8), layout="constrained")
above, below = figure.subfigures(2, 1, height_ratios=(4.9, 1.9))
axes = above.subplots(3, 4)
first = next(iter(runs.values()))
maps = {"before training": attention.attention_map(part, first.fp[0], first.pp[0], one, queries=whole)}
maps |= {name: attention.attention_map(part, run.fp[-1], run.pp[-1], one, queries=whole) for name, run in runs.items()}
for column, (name, attn) in zip(axes.T, maps.items(), strict=True):
    column[0].set_title(name)
    for ax, query in zip(column, queries, strict=True):
        scale = 2 / part.P if name == "before training" else np.quantile(attn[query], 0.99)
        image = plots.attention_map(ax, attn[query] / scale, part.grid, query, labels, vmax=1)
        ax.set_xlabel(f"scale {scale:.2g}", labelpad=1)
above.colorbar(image, ax=axes, aspect=40, extend="max", label="attention, in units of the scale")
for ax, name in zip(axes[:, 0], ("local query", "another local query", "global query"), strict=True):
    ax.set_ylabel(name)

labelled = {"mutual_information": "normalised\nmutual information", "similarity": "similarity of maps",
            "distance": "attention\ndistance (patches)"}
for ax, (name, label), panel in zip(below.subplots(1, 3), labelled.items(), "abc", strict=True):
    for objective, run in runs.items():
        color, dashes = colors[objective]
        ax.plot(run.t, measures[objective][name], color=color, ls=dashes, label=objective)
    plots.log_time(ax, first.t)
    low, high = ax.get_ylim()
    ax.set(ylim=(-0.02 * high, 1.02 * high), ylabel=label)
    ax.set_title(f"({panel})", loc="left")
    if panel == "b":
        plots.legend(ax)
for objective, run in runs.items():
    found = {name: values[-1] for name, values in measures[objective].items()}
    print(f"{objective.replace('$', '')}: " + ", ".join(f"{name} {value:.4g}" for name, value in found.items()))
    losses = ", ".join(f"{name} loss {values[0]:.4g} -> {values[-1]:.4g}" for name, values in run.terms.items())
    print(f"    {losses}, t={run.t[-1]:g}")
alone = measures["contrastive"]
print(f"contrastive at all times: NMI at most {alone['mutual_information'].max():.1e}, similarity 1 to within "
      f"{np.abs(alone['similarity'] - 1).max():.1e}")
for ending in ("png", "pdf"):
    plots.save(figure, os.path.join(args.out, f"objectives.{ending}"))

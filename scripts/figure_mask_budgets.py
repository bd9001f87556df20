"""What a mask is worth
====================

The gap between population and training loss against images n, masks per image R and time.

P = 64, K = 3, gamma = .75, descent at eta = 4 on n images under R fixed masks each, several sets of images; population loss on
other images, other ones for each set. (a) n x gap along time, with the rate at which it opens (M3); (b) rows x gap at two times
against n: before the escape images decide, after it rows; (c) how many images four masks are worth at equal gap, 95 % intervals
over sets of images, with the value at the start (M2); (d) population excess of 32 images under fixed masks, under fresh ones at
every step, and of fresh images.

The means use two control variates whose means are known to be zero: the gap at t = 0 and that of the floors.
"""

import argparse
import os

import matplotlib
import numpy as np

from dynsim import Partition, Problem, analysis, plots, reduced, sample, theory

parser = argparse.ArgumentParser(description="What a mask is worth")
parser.add_argument("--quick", action="store_true", help="fewer sets of images, sizes and steps")
parser.add_argument("--seeds", type=int, default=20, help="sets of images")
parser.add_argument("--table", action="store_true", help="print the table of docs/mask-budgets.md too: some minutes")
parser.add_argument("--out", default=".", help="folder for mask_budgets.png and .pdf")
args = parser.parse_args()
os.makedirs(args.out, exist_ok=True)
matplotlib.rcParams.update(plots.STYLE)

eta, masks = 4.0, (1, 2, 4, 8)
seeds, sizes, tests = (5, (32, 64, 128), 2048) if args.quick else (args.seeds, (32, 64, 128, 256), 8192)
keep = [0, 1, 2, 4, 8, 12, 16, 24, 32, 48, 64] + ([96, 128] if args.quick else [96, 128, 192, 256, 384, 512, 720, 1000])
most = 256 if args.quick else 1024
problem = Problem(K=3, gamma=0.75, P=64)
part = Partition.blocks(problem)
others = [reduced.EmpiricalField(part, sample(problem, part, tests, seed=[seed, 10**6])) for seed in range(seeds)]
run_options = {"eta": eta, "steps": keep[-1], "keep": keep}
t = eta * np.array(keep)


def gap(n, R, seed):
    """Gap along one run, and that of the floors."""
    field = reduced.EmpiricalField(part, sample(problem, part, n, seed=[seed, n], masks=R))
    found = analysis.generalisation.gap(reduced.descend(field, **run_options), field, others[seed])
    return found.gap, found.floors


pairs = [(n, R) for n in sizes for R in masks if n * R <= most]
gaps, floors = {}, {}
for pair in pairs:
    found = [gap(*pair, seed) for seed in range(seeds)]
    gaps[pair], floors[pair] = np.array([g for g, _ in found]), np.array([f for _, f in found])


def corrected(chosen):
    """Gaps (sets, T) of each pair for these sets of images, less what the two controls explain of their scatter."""
    centred = {pair: np.stack([gaps[pair][chosen, 0], floors[pair][chosen]], axis=1) for pair in pairs}
    x = np.concatenate([np.sqrt(pair[0]) * (c - c.mean(axis=0)) for pair, c in centred.items()])
    y = np.concatenate([np.sqrt(pair[0]) * (gaps[pair][chosen] - gaps[pair][chosen].mean(axis=0)) for pair in pairs])
    slope = np.linalg.lstsq(x, y, rcond=None)[0]
    return {pair: gaps[pair][chosen] - centred[pair] @ slope for pair in pairs}


def two_terms(values, least=64):
    """Weighted fit of mean gap = (A + B / R) / n over n >= least at every time but the first, where there is none, (T - 1,) each:
    A, B, their errors, chi^2 per degree of freedom; then the last with the next order, D / (n R)^2, as a third term."""
    used = [pair for pair in pairs if pair[0] >= least]
    X = np.array([[1 / n, 1 / (n * R), 1 / (n * R) ** 2] for n, R in used])
    mean = np.array([values[pair].mean(axis=0) for pair in used])
    error = np.array([values[pair].std(axis=0, ddof=1) / np.sqrt(len(values[pair])) for pair in used])
    found = []
    for at in range(1, len(t)):
        w, misfit = 1 / np.maximum(error[:, at], 1e-300), []
        for terms in (3, 2):
            theta = np.linalg.lstsq(w[:, None] * X[:, :terms], w * mean[:, at], rcond=None)[0]
            misfit.append(float(np.sum((w * (mean[:, at] - X[:, :terms] @ theta)) ** 2)) / (len(used) - terms))
        covariance = np.linalg.inv(X[:, :2].T @ (w[:, None] ** 2 * X[:, :2]))
        found.append([*theta, *np.sqrt(np.diag(covariance)), *misfit[::-1]])
    return np.array(found).T


values = corrected(np.arange(seeds))
A, B, error_A, error_B, off, next_order = two_terms(values)
rng = np.random.default_rng(0)
worth = []
for _ in range(200):
    a, b = two_terms(corrected(rng.integers(seeds, size=seeds)))[:2]
    worth.append((a + b) / (a + b / 4))
low, high = np.percentile(worth, [2.5, 97.5], axis=0)
noise = theory.initial_noise(problem, part, draws=5000 if args.quick else 20000)

figure, ((first, second), (third, fourth)) = plots.figure(2, 2, plots.DOUBLE, 4.8)
shown = sizes[-2]
for R, color, dashes in zip(masks, (plots.RED, plots.SKY, plots.GREEN, plots.BLUE), (":", "-.", "--", "-"), strict=True):
    if (shown, R) in values:
        first.plot(t[1:], shown * values[shown, R][:, 1:].mean(axis=0), color=color, ls=dashes, label=f"$R={R}$")
        first.plot(t[1:6], t[1:6] * noise.gap_rate(1, R), color=color, lw=0.7, label="theory (M3)" if R == masks[-1] else None)
first.set(xscale="log", yscale="log", xlabel=plots.TIME, ylabel=rf"$n\,\times$ gap, $n={shown}$", ylim=(3e-3, None))
plots.legend(first, loc="lower center" if not args.quick else "lower right")
early, late = 8, len(t) - 1
for at, face in ((early, "white"), (late, None)):
    for R, color, marker in zip(masks, (plots.RED, plots.SKY, plots.GREEN, plots.BLUE), "os^D", strict=True):
        rows = [(n, n * R * values[n, R][:, at].mean(), n * R * values[n, R][:, at].std(ddof=1) / np.sqrt(seeds))
                for n in sizes if (n, R) in values]
        x, y, error = np.array(rows).T
        second.errorbar(x * 1.04 ** (masks.index(R) - 1.5), y, error, color=color, marker=marker, ms=4, lw=0.7, mfc=face or color,
                        label=f"$R={R}$" if face is None else None)
    place = sizes[0], values[sizes[0], 1][:, at].mean() * sizes[0]
    second.annotate(f"$t={t[at]:g}$", place, (-8, 0), textcoords="offset points", fontsize="small", ha="right", va="center")
second.set(xscale="log", yscale="log", xlabel="images $n$", ylabel=r"rows $\times$ gap, $nR\,\times$ gap", ylim=(1e-3, 10))
second.set(xlim=(sizes[0] / 2.2, sizes[-1] * 1.3))
second.set_xticks(sizes, [str(n) for n in sizes], minor=False)
second.minorticks_off()
plots.legend(second, loc="lower left", ncols=4)
third.fill_between(t[1:], low, high, color=plots.BLUE, alpha=0.25, lw=0)
third.plot(t[1:], (A + B) / (A + B / 4), color=plots.BLUE, label="measured")
third.axhline(noise.images(1, 4), color=plots.GREY, ls="--", label="theory at the start (M2)")
third.axhline(4, color=plots.GREY, ls=":", label="masks as good as images")
third.set(xscale="log", xlabel=plots.TIME, ylabel="images that 4 masks are worth", ylim=(0, 7))
plots.legend(third, loc="upper left")

n = 32
base = [sample(problem, part, n, seed=[seed, n]) for seed in range(min(seeds, 10))]
kinds = (
    ("1 mask", plots.RED, ":", lambda data, seed: reduced.EmpiricalField(part, data)),
    ("4 masks", plots.GREEN, "--", lambda data, seed: reduced.EmpiricalField(part, data.with_masks(4, seed))),
    ("fresh masks", plots.BLUE, "-", lambda data, seed: reduced.MinibatchField.resampled(part, data, n, seed)),
    ("fresh images", plots.GREY, "-.", lambda data, seed: reduced.MinibatchField.fresh(problem, part, n, seed)),
)
for name, color, dashes, make in kinds:
    losses = []
    for seed, data in enumerate(base):
        losses.append(analysis.evaluate(others[seed], reduced.descend(make(data, seed), **run_options)) - others[seed].floor)
    mean, error = np.mean(losses, axis=0), np.std(losses, axis=0, ddof=1) / np.sqrt(len(losses))
    fourth.plot(t[1:], mean[1:], color=color, ls=dashes, label=name)
    fourth.fill_between(t[1:], (mean - error)[1:], (mean + error)[1:], color=color, alpha=0.25, lw=0)
    print(f"n={n}, {name}: population excess {mean[-1]:.5f} +- {error[-1]:.5f} at t={t[-1]:g}")
fourth.set(xscale="log", yscale="log", xlabel=plots.TIME, ylabel="population excess, $n=32$")
plots.legend(fourth, loc="lower left")
for ax, panel in zip((first, second, third, fourth), "abcd", strict=True):
    ax.set_title(f"({panel})", loc="left")
for time, a, b, da, db, x, y, lo, hi in zip(t[1:], A, B, error_A, error_B, off, next_order, low, high, strict=True):
    print(f"t={time:g}: n gap = ({a:.4f} +- {da:.4f}) + ({b:.4f} +- {db:.4f}) / R, chi^2 / freedom {x:.2f}, with 1 / (nR)^2 "
          f"{y:.2f}; 4 masks are worth {(a + b) / (a + b / 4):.2f} images, 95 % {lo:.2f} .. {hi:.2f}")
for pair in pairs:
    v = values[pair][:, -1]
    print(f"n={pair[0]}, R={pair[1]}: gap {v.mean():.3g} +- {v.std(ddof=1) / np.sqrt(seeds):.1g} at t={t[-1]:g}")
image, mask = noise.image["all"], noise.mask["all"]
print(f"at the start: tr C_image {image[0]:.4f} +- {image[1]:.4f}, tr C_mask {mask[0]:.4f} +- {mask[1]:.4f}")
if args.table:
    test = reduced.EmpiricalField(part, sample(problem, part, 16384, seed=[10**6]))
    for n, R in ((8, 1), (8, 4), (8, 16), (8, 64), (32, 1), (32, 4), (32, 16), (128, 1), (128, 4)):
        ends = []
        for seed in range(20):
            field = reduced.EmpiricalField(part, sample(problem, part, n, seed=seed, masks=R))
            run = reduced.descend(field, eta=eta, steps=1000, keep=1000)
            ends.append([run.loss[-1] - field.floor, analysis.evaluate(test, run)[-1] - test.floor])
        mean, error = np.mean(ends, axis=0), np.std(ends, axis=0, ddof=1) / np.sqrt(20)
        print(f"n={n}, R={R}, t=4000: training excess {mean[0]:.5f} +- {error[0]:.5f}, population excess "
              f"{mean[1]:.5f} +- {error[1]:.5f}, median {np.median(ends, axis=0)[1]:.5f}")
for ending in ("png", "pdf"):
    plots.save(figure, os.path.join(args.out, f"mask_budgets.{ending}"))

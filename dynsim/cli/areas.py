"""`dynsim areas`: clusters and areas of pictures, and the exponents and the regime that follow from them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _SubParsersAction
from collections.abc import Iterable
from typing import TYPE_CHECKING

from dynsim.cli import _show
from dynsim.cli._options import add_output, clusters, number, seed, seed_from, whole

if TYPE_CHECKING:
    from dynsim.analysis.areas import Areas
    from dynsim.cli._files import Folder

ESTIMATES = {
    "kappa_c": "global areas have P^kappa_c patches",
    "kappa_s": "local areas have P^kappa_s patches",
    "Delta": "information gap",
    "explained": "share of patch energy that the rest of its area says of a patch, on held-out pictures",
    "control": "the same with patches shuffled in every picture",
    "margin": "share explained of what the control leaves",
}


def add_parser(sub: _SubParsersAction) -> ArgumentParser:
    """Declare the options."""
    parser = sub.add_parser(
        "areas",
        help="estimate clusters, areas and exponents from pictures",
        description="Describe pictures by the model's clusters and areas, and say what theory makes of them. Exit status 1 where "
        "areas explain not clearly more than patches shuffled in every picture: then there are none.",
    )
    parser.add_argument("file", metavar="FILE", help=".npy or .npz file of pictures (m, H, W[, C]), or a folder of them")
    group = parser.add_argument_group("pictures")
    group.add_argument("--patch", type=whole(1), default=4, metavar="S", help="side of a patch in pixels (4)")
    group.add_argument("--gamma", type=number, default=0.75, metavar="X", help="masked fraction of the patches (0.75)")
    group.add_argument("--key", metavar="NAME", help="which array of an .npz file")
    group = parser.add_argument_group("estimate")
    group.add_argument("--clusters", type=clusters(1), default=3, metavar="K", help='clusters; "auto" chooses among 1 to 8 (3)')
    group.add_argument("--areas", type=whole(2), metavar="N", help="areas of every cluster (chosen on pictures not used)")
    group.add_argument("--held-out", type=number, default=0.2, metavar="X", help="fraction of pictures to measure on (0.2)")
    group.add_argument("--bootstrap", type=whole(0), default=50, metavar="B", help="resampled sets for the intervals (50)")
    group.add_argument("--seed", type=seed, default=0, metavar="S", help='of everything drawn, or "random" (0)')
    add_output(parser, "folder for areas.json, areas.npz and areas.png")
    parser.set_defaults(run=run)
    return parser


def run(args: Namespace) -> int:
    """Do it; exit status 0, or 1 where there are no areas. Raises what the library raises."""
    from dynsim.analysis import areas
    from dynsim.cli._files import Folder
    from dynsim.model.images import Images

    folder, drawn = Folder(args.out) if args.out is not None else None, seed_from(args)
    try:
        with _show.progress(args, "reading") as progress:
            options = {"patch": args.patch, "gamma": args.gamma, "seed": drawn, "centre": False, "scale": "unit"}
            images = Images.load(args.file, key=args.key, progress=progress, **options)
        with _show.progress(args, "fitting") as progress:
            found = areas.fit(
                images, args.clusters, args.areas, seed=drawn, held_out=args.held_out, bootstrap=args.bootstrap, progress=progress
            )
    except BaseException:
        if folder is not None:
            folder.leave()
        raise
    result = _record(found, drawn)
    if folder is not None:
        _write(found, result, folder, args.patch)
        _show.remark(args, f"wrote {args.out}")
    if args.json:
        _show.print_json(result)
    else:
        _report(found, result)
    return 0 if found.has_areas else 1


def _record(found: Areas, drawn: int) -> dict:
    """Plain data."""
    import numpy as np

    from dynsim import theory

    part, problem, images = found.part, found.problem, found.images
    count = np.bincount(found.data.cluster, minlength=part.K)
    sizes = np.split(part.size, part.offset[1:-1])
    within, between = found.largest_inner_product
    return {
        "pictures": len(images.patches), "P": part.P, "d": images.d, "grid": part.grid, "gamma": problem.gamma, "seed": drawn,
        "clusters": [{"pictures": count[k], "areas": part.N[k], "sizes": sizes[k]} for k in range(part.K)],
        **{name: getattr(found, name)._asdict() for name in ESTIMATES},
        "largest_inner_product": {"within": within, "between": between}, "clipped": found.clipped,
        "amplitude": {"mean": problem.amplitude.moment(1), "smallest": problem.amplitude.L, "largest": problem.amplitude.U},
        "regime": theory.regime(problem), "escape_time": theory.escape_time(problem),
        "escape_time_finite": theory.escape_time(problem, finite=True), "has_areas": found.has_areas,
    }  # fmt: skip


def _write(found: Areas, result: dict, folder: Folder, patch: int) -> None:
    """areas.json; areas.npz with labels, features, clusters, amplitudes; areas.png."""
    import numpy as np

    from dynsim import plots

    data = found.data
    arrays: dict = {"labels": found.part.labels, "features": found.features, "cluster": data.cluster, "z": data.z}
    folder.write_text("areas.json", _show.strict_json(result))
    folder.write("areas.npz", lambda path: np.savez(path, masked=data.masked, **arrays))
    folder.write("areas.png", lambda path: plots.save(plots.area_maps(found, patch), path))


def _report(found: Areas, result: dict) -> None:
    rows, columns = result["grid"]
    _show.say(f"pictures  {result['pictures']}, P={result['P']} patches ({rows} x {columns}) of d={result['d']} numbers\n")
    lines = [
        [str(k), str(one["pictures"]), str(one["areas"]), str(one["sizes"][0]), _sizes(one["sizes"][1:])]
        for k, one in enumerate(result["clusters"])
    ]
    _show.table(["cluster", "pictures", "areas", "global", "others"], lines, left=0)
    _show.say()
    named = [(name, getattr(found, name), text) for name, text in ESTIMATES.items()]
    lines = [[name, text, *(f"{x:.3f}" for x in one)] for name, one, text in named]
    _show.table(["estimate", "what it is", "value", "low", "high"], lines, left=2)
    within, between = found.largest_inner_product
    _show.say(f"\ninner products of features: at most {within:.2f} within a cluster, {between:.2f} between clusters")
    if found.clipped > 0:
        _show.say(f"amplitudes below 0, taken as 0: {found.clipped:.3f} of the patch energy")
    if found.has_areas:
        times = f"escape at t = {_show.short(result['escape_time_finite'])} (15), {_show.short(result['escape_time'])} (8)"
        _show.say(f"regime    {result['regime']}; {times}")
    else:
        _show.say("regime    none: there are no areas, they explain not clearly more than the control")


def _sizes(sizes: Iterable[int]) -> str:
    """Sizes and how many areas have them: 6 x 3, 5 x 2."""
    from collections import Counter

    count = Counter(int(size) for size in sizes)
    said = [f"{size} x {n}" if n > 1 else str(size) for size, n in sorted(count.items(), reverse=True)]
    return ", ".join(said if len(said) <= 8 else [*said[:7], "..."])

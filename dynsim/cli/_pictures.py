"""What `dynsim simulate --images` tells beside the run: measures of attention along it, and what fitted areas predict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dynsim.cli._show import say, short, table
from dynsim.errors import InputError

if TYPE_CHECKING:
    from dynsim.analysis.areas import Areas
    from dynsim.model.images import Images
    from dynsim.plots.style import Figure
    from dynsim.trajectory import Progress, Trajectory
    from dynsim.validation.prediction import Prediction

MOST, FEWEST = 1000, 100  # pictures that areas are fitted to, between which
WORK = 2e8  # multiply-adds, n P^2 d, decide
ROWS = 4000  # rows of the data that areas predict
RESAMPLED = 20  # sets of pictures for the intervals
MEASURES = {
    "distance": "distance to what is attended to, in patches",
    "entropy": "entropy of attention, in nats",
    "mutual_information": "mutual information of query and key, normalised",
    "similarity": "similarity of the attention of two queries",
}
ESTIMATES = {
    "kappa_c": "global areas have P^kappa_c patches",
    "kappa_s": "local areas have P^kappa_s patches",
    "Delta": "information gap",
    "margin": "share of patch energy that areas explain of what the control leaves",
}


def predict(
    field: Any, traj: Trajectory, clusters: int | None, seed: int, progress: Progress | None = None
) -> tuple[Areas, Prediction] | str:
    """Areas fitted to the pictures of a run, or to some of them, and what they predict of it; or why there are none."""
    from dynsim.analysis import areas
    from dynsim.validation import prediction

    plain = traj.meta["integrator"] == "descend" and traj.meta["optimiser"]["name"] == "descent"
    if clusters == 0:
        return "left out"
    if field.objective != "reconstruction" or not plain or traj.step[-1] < 1:
        return "left out: they predict plain gradient descent on reconstruction"
    images = _some(field.images)
    halves = [progress and (lambda done, total, i=i: progress(i + done / total, 2)) for i in (0, 1)]
    try:
        found = areas.fit(images, clusters, seed=seed, bootstrap=RESAMPLED, progress=halves[0])
        return found, prediction.predicted(found, traj, progress=halves[1])
    except InputError as error:
        return f"not fitted: {error}"


def _some(images: Images) -> Images:
    """At most so many pictures and rows, equally spaced, that areas are fitted within seconds."""
    import numpy as np

    most = int(np.clip(WORK / (images.P**2 * images.d), FEWEST, MOST))
    m = len(images.patches)
    rows = np.arange(images.n) if m <= most else np.flatnonzero(np.isin(images.image, np.linspace(0, m - 1, most).astype(int)))
    if len(rows) > ROWS:
        rows = rows[np.linspace(0, len(rows) - 1, ROWS).astype(int)]
    return images if len(rows) == images.n else images.take(rows)


def record(field: Any, traj: Trajectory, predicted: tuple[Areas, Prediction] | str) -> dict:
    """Plain data: "measures" along the run, and "areas"."""
    from dynsim.analysis import image_attention

    measures = image_attention.overview(field.images, traj)
    if isinstance(predicted, str):
        return {"measures": measures, "areas": {"why": predicted}}
    found, prediction = predicted
    about = {"pictures": len(found.images.patches), "K": found.part.K, "sizes": [row.tolist() for row in _sizes(found)]}
    estimates = {name: getattr(found, name)._asdict() for name in (*ESTIMATES, "explained", "control")}
    said = {name: value for name, value in prediction.to_dict().items() if name not in estimates}
    return {"measures": measures, "areas": {**about, **estimates, "has_areas": found.has_areas, **said}}


def _sizes(found: Areas) -> list:
    """Patches of every area, by cluster, the global one first."""
    import numpy as np

    return np.split(found.part.size, found.part.offset[1:-1])


def figure(field: Any, traj: Trajectory, predicted: tuple[Areas, Prediction] | str) -> Figure:
    """Attention maps, measures, and where there are any, areas and what they predict."""
    from dynsim import plots

    return plots.picture_summary(traj, field.images, predicted=None if isinstance(predicted, str) else predicted)


def show(result: dict) -> None:
    """Print it for a person."""
    measures, areas = result["measures"], result["areas"]
    say("\nAttention of masked queries")
    ends = [[text, *(short(float(measures[name][at])) for at in (0, -1))] for name, text in MEASURES.items()]
    table(["measure", "start", "end"], ends)
    if "why" in areas:
        say(f"\nareas     {areas['why']}")
        return
    clusters = f"{areas['K']} clusters" if areas["K"] > 1 else "one cluster"
    say(f"\nAreas of {clusters}, fitted to {areas['pictures']} pictures, and what they predict of this run")
    rows = [[name, text, *(f"{areas[name][one]:.3f}" for one in ("value", "low", "high"))] for name, text in ESTIMATES.items()]
    table(["estimate", "what it is", "value", "low", "high"], rows, left=2)
    if not areas["has_areas"]:
        say("areas     none that explain clearly more than the control: what follows is no prediction of theory")
    say(f"regime    {areas['regime']}; of the run on pictures {areas['regime_run'] or 'not known'}")
    names = {"pictures": "", "areas": "_areas", "(15)": "_closed", "(8)": "_theory"}
    times = ", ".join(f"{text} {short(areas[f'escape_time{name}'])}" for text, name in names.items())
    say(f"escape    of attention on the own area, t: {times}")
    own, model = (" -> ".join(short(x, 3) for x in areas[name]) for name in ("own_attention", "own_attention_areas"))
    say(f"own area  attention {own}; from areas alone {model}; at most {short(areas['deviation'], 2)} apart along the run")

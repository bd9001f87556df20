"""What `dynsim simulate` tells beside a run on given images: the loss of the population along it, and the gap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynsim.cli._show import say, short, table

if TYPE_CHECKING:
    from dynsim.analysis.generalisation import Gap


def record(gap: Gap) -> dict:
    """Plain data: "generalisation", with both losses along the run."""
    along = {"t": gap.t, "training_loss": gap.training, "population_loss": gap.population}
    return {"generalisation": {**gap.to_dict(), "along": along}}


def show(result: dict) -> None:
    """Print it for a person."""
    found = result["generalisation"]
    say("\nLoss of the population along this run, beside that of the training images; no attention removes a floor")
    along = [found["along"][name] for name in ("training_loss", "population_loss")]
    numbers: list[list] = [[float(losses[0]), float(losses[-1])] for losses in along]
    for losses, floor in zip(numbers, (found["training_floor"], found["population_floor"]), strict=True):
        losses += [floor, None if floor is None else losses[1] - floor]
    gap = [None if None in pair else pair[1] - pair[0] for pair in zip(*numbers, strict=True)]
    rows = [[name, *map(short, line)] for name, line in zip(("training images", "the population"), numbers, strict=True)]
    table(["loss", "start", "end", "floor", "end above floor"], [*rows, ["gap", *(short(x, 3) for x in gap)]])
    say(f"largest gap above the floors {short(found['largest_excess_gap'], 3)}, at t={short(found['at'])}")

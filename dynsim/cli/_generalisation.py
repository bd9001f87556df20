"""What `dynsim simulate` tells beside a run on given images: the loss of the population along it, and the gap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynsim.cli._show import say, short, table

if TYPE_CHECKING:
    from dynsim.analysis.generalisation import Gap


def record(gap: Gap) -> dict:
    """Plain data: "generalisation", with both losses along the run."""
    return {"generalisation": {**gap.to_dict(), "losses": {"t": gap.t, "training": gap.training, "population": gap.population}}}


def show(result: dict) -> None:
    """Print it for a person."""
    found = result["generalisation"]
    losses = found["losses"]
    say("\nLoss of the population along this run, beside that of the training images; no attention removes a floor")
    rows, last = [], {}
    for name in ("training", "population"):
        floor, (start, end) = found[f"{name}_floor"], (float(losses[name][at]) for at in (0, -1))
        last[name] = [start, end, floor, None if floor is None else end - floor]
        rows.append([name, *map(short, last[name])])
    apart = [None if None in pair else pair[1] - pair[0] for pair in zip(*last.values(), strict=True)]
    table(["loss", "start", "end", "floor", "end above floor"], [*rows, ["gap", *(short(x, 3) for x in apart)]])
    say(f"largest gap above the floors {short(found['largest_excess_gap'], 3)}, at t={short(found['at'])}")

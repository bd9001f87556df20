"""Closed forms of the reduced dynamics: what they do, without integrating them."""

from dynsim.theory.contrastive import (
    collapse_time,
    collapse_weight,
    collapsed_attention,
    critical_weight,
    late_collapse,
    mixed_escape_time,
    runner_up,
    winning_area,
)
from dynsim.theory.decoupling import decoupling_time, lead
from dynsim.theory.noise import Noise, initial_noise
from dynsim.theory.reconstruction import (
    PUBLISHED,
    escape_integral,
    escape_time,
    global_depth,
    information_gap,
    initial_loss,
    late_loss,
    log_depth_integral,
    loss_floor,
    pp_size,
    predictions,
    regime,
)

__all__ = [
    "PUBLISHED", "Noise", "initial_noise", "escape_integral", "escape_time", "global_depth", "information_gap",
    "initial_loss", "late_loss", "log_depth_integral", "loss_floor", "pp_size", "predictions", "regime", "collapse_time",
    "collapse_weight", "collapsed_attention", "critical_weight", "late_collapse", "mixed_escape_time", "runner_up",
    "winning_area", "decoupling_time", "lead",
]

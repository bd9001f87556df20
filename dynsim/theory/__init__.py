"""Closed forms of the reduced dynamics: what they do, without integrating them."""

from dynsim.theory.balance import (
    collapse_weight,
    collapsed_attention,
    critical_weight,
    escaped_attention,
    mixed_escape_time,
    overtaking_weight,
)
from dynsim.theory.contrastive import collapse_time, late_collapse, runner_up, winning_area
from dynsim.theory.decoupling import decoupling_time, lead
from dynsim.theory.noise import Noise, initial_noise
from dynsim.theory.predictions import contrastive_predictions, mixed_predictions, mixed_thresholds, predictions
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
    regime,
)

__all__ = [
    "PUBLISHED", "Noise", "initial_noise", "escape_integral", "escape_time", "global_depth", "information_gap",
    "initial_loss", "late_loss", "log_depth_integral", "loss_floor", "pp_size", "predictions", "regime", "collapse_time",
    "late_collapse", "runner_up", "winning_area", "collapse_weight", "collapsed_attention", "critical_weight",
    "escaped_attention", "mixed_escape_time", "overtaking_weight", "decoupling_time", "lead", "contrastive_predictions",
    "mixed_predictions", "mixed_thresholds",
]

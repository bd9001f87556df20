"""Sweeps: the same measurement at every point of a grid of problems, in a store that outlives the run (docs/sweeps.md)."""

from dynsim.analysis.columns import axes, plane
from dynsim.sweep.driver import run
from dynsim.sweep.methods import METHODS
from dynsim.sweep.points import parse_axis, span
from dynsim.sweep.table import export, load

__all__ = ["METHODS", "axes", "export", "load", "parse_axis", "plane", "run", "span"]

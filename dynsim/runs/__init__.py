"""Runs that outlive their process: result files, checkpoints, resuming from one, and running a file again."""

from dynsim.runs.checkpoints import EVERY, Rerun, rerun, resume, run
from dynsim.runs.files import load, read, save

__all__ = ["EVERY", "Rerun", "load", "read", "rerun", "resume", "run", "save"]

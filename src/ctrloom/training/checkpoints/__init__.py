"""Checkpoints: the state of every training loop of a stage, so that a stopped stage continues."""

from ctrloom.training.checkpoints.loop import Loop, Variables
from ctrloom.training.checkpoints.stage import Stopwatch, stage_checkpoints

__all__ = ["Loop", "Stopwatch", "Variables", "stage_checkpoints"]

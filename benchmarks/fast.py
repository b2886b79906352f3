"""Importing this first configures the process as ctrloom's commands and pipeline steps do."""

from ctrloom.config.environment import make_fast

make_fast()

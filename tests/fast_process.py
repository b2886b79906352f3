"""Importing this first configures the process as ctrloom's commands do."""

from ctrloom.config.environment import make_fast

make_fast()

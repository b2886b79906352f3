"""Tune models with the same budget for each."""

"""Run one trial of a random search."""

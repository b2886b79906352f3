"""Draw the trials of a random search."""

"""Statistics of candidate interactions, computed from the data without a model."""

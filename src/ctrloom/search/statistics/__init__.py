"""Statistics of candidate interactions, computed from their fields alone."""

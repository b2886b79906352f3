"""Columns as Arrow has them: by dictionaries, factorized, and taken by index."""

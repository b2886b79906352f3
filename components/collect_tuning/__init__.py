"""Collect what was tuned in several steps."""

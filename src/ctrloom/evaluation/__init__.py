"""Comparison of models, significance tests, drift, and verdicts."""

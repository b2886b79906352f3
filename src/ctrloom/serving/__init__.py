"""Scoring of raw rows, and the model registry."""

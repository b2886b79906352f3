"""Metrics of scores and labels."""

"""Pipelines: wiring of components."""

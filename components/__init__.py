"""Containerised steps: thin adapters over ctrloom.stages."""
